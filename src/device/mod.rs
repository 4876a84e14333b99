//! Where programs run: a GPU through wgpu, or the CPU.

mod script;

pub use script::{BufferKind, BufferSpec, Readback, Script, ScriptStep};
