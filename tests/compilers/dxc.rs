//! Microsoft's shader compiler, on the HLSL that naga writes for DX12.

use hassle_rs::{Dxc, DxcCompiler, DxcLibrary};
use rayon::prelude::*;

use super::{installed, none_refused};
use crate::kernels::{Kernel, distinct};
use crate::support::{hlsl, parsed};

/// Why it is refused, with the arguments of wgpu-hal 30 (`dx12/shader_compilation.rs`).
fn refusal(compiler: &DxcCompiler, library: &DxcLibrary, kernel: &Kernel) -> Option<String> {
    let (module, info) = parsed(&kernel.name, &kernel.source);
    // With the checks of bounds and loops that wgpu 30 adds.
    let text = hlsl(&kernel.name, &module, &info, true);
    let mut args = vec!["-HV", "2018", "-no-warnings", "-Ges"];
    if kernel.has_f16() {
        args.push("-enable-16bit-types");
    }
    let blob = library.create_blob_with_encoding_from_str(&text).unwrap();
    let result = compiler.compile(&blob, "kernel.hlsl", "main", "cs_6_2", &args, None, &[]);
    let (result, _) = result.err()?;
    let errors = result.get_error_buffer().unwrap();
    Some(library.get_blob_as_string(&errors.into()).unwrap())
}

#[test]
fn dxc_compiles_the_hlsl_of_every_kind_of_kernel() {
    let Some(path) = installed("DXC", "libdxcompiler.so") else { return };
    let dxc = Dxc::new(Some(path)).unwrap();
    let kernels = distinct();
    let refused: Vec<_> = kernels
        .par_chunks(kernels.len().div_ceil(rayon::current_num_threads()))
        .flat_map_iter(|kernels| {
            let (compiler, library) =
                (dxc.create_compiler().unwrap(), dxc.create_library().unwrap());
            kernels.iter().filter_map(move |kernel| {
                Some((kernel.name.clone(), refusal(&compiler, &library, kernel)?))
            })
        })
        .collect();
    none_refused("DXC", kernels.len(), &refused);
}
