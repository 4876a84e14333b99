//! Where programs run: a GPU through wgpu, or the CPU.

pub mod gpu;
mod script;

pub use script::{BufferKind, BufferSpec, Readback, Script, ScriptStep};
