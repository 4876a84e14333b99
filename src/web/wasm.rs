//! Kernels in WGSL as WebAssembly with vectors of 128 bits, for browsers without WebGPU.
//!
//! The kernels are those for a software adapter without subgroups and immediates
//! ([`crate::ops::Caps`]): no workgroup memory and no barrier, so that each invocation runs on its own
//! and a kernel is a loop over its workgroups and invocations.
//!
//! # The module
//!
//! It imports a memory, `env.memory`, and exports one function for each kernel: `k0`, `k1`, … All
//! parameters are integers of 32 bits, in this order:
//!
//! 1. the byte offset of each bound buffer, a multiple of 16, in the order of binding numbers;
//! 2. the number of workgroups along x, y and z;
//! 3. the first workgroup to run and the one after the last. Workgroup (x, y, z) of (X, Y, Z) has the
//!    number x + X (y + Y z): 0 and X · Y · Z run all.
//!
//! # A program
//!
//! A [`crate::program::Portable`] is run by any interpreter: each of its buffers gets a range of the
//! memory that starts at a multiple of 16; a part starts within another buffer, and programs that share
//! states share their buffers. The steps follow one another: a dispatch calls a kernel's function, a copy
//! copies bytes. Kernels touch nothing outside of the buffers that they bind.
//!
//! # How
//!
//! `lower` walks naga's IR and builds regions of values, `expressions` and `math` say what expressions
//! and built-in functions compute, and `emit` writes the instructions.

use naga::valid::{Capabilities, ValidationFlags, Validator};
use wasm_encoder::{
    CodeSection, EntityType, ExportKind, ExportSection, FunctionSection, ImportSection, MemoryType,
    Module, TypeSection, ValType,
};

use crate::error::{Error, Result};

mod emit;
mod expressions;
mod ir;
mod lower;
mod math;
mod values;

/// Compiles kernels, rendered WGSL, to one WebAssembly module (see the [module's page](self)).
///
/// # Errors
/// [`Error::Shader`] where a kernel is not valid WGSL or uses what is not supported: 16-bit floats,
/// workgroup memory, immediates, subgroups.
pub fn compile<S: AsRef<str>>(kernels: &[S]) -> Result<Vec<u8>> {
    let mut types = TypeSection::new();
    let mut imports = ImportSection::new();
    let mut functions = FunctionSection::new();
    let mut exports = ExportSection::new();
    let mut code = CodeSection::new();
    let memory = MemoryType {
        minimum: 1,
        maximum: None,
        memory64: false,
        shared: false,
        page_size_log2: None,
    };
    imports.import("env", "memory", EntityType::Memory(memory));
    for (i, source) in (0..).zip(kernels) {
        let source = source.as_ref();
        let name = format!("k{i}");
        let fail = |what: String| Error::Shader { kernel: name.clone(), what };
        let path = format!("{name}.wgsl");
        let module = naga::front::wgsl::parse_str(source)
            .map_err(|error| fail(error.emit_to_string_with_path(source, &path)))?;
        Validator::new(ValidationFlags::all(), Capabilities::empty())
            .validate(&module)
            .map_err(|error| fail(error.emit_to_string_with_path(source, &path)))?;
        let (builder, params) = lower::lower(&module)
            .map_err(|what| fail(format!("{what} cannot be compiled to WebAssembly")))?;
        types.ty().function(vec![ValType::I32; params as usize], []);
        functions.function(i);
        exports.export(&name, ExportKind::Func, i);
        code.function(&emit::encode(&builder, params));
    }
    let mut module = Module::new();
    module.section(&types).section(&imports).section(&functions).section(&exports).section(&code);
    Ok(module.finish())
}
