//! Microsoft's shader compiler, on the HLSL that naga writes for DX12.

use hassle_rs::{Dxc, DxcCompiler, DxcLibrary};
use naga::back::hlsl;
use rayon::prelude::*;

use super::{Kernel, all, installed, none_refused};
use crate::support::parsed;

/// One in so many of the kernels of samples, which differ in little, is compiled, and of those for software
/// adapters, which a DX12 device rarely is. Those of training steps are, all of them.
const EVERY: usize = 4;

/// What wgpu 30 gives naga: checks of bounds and loops, and registers that do not overlap.
fn hlsl(kernel: &Kernel) -> String {
    let (module, info) = parsed(&kernel.name, &kernel.source);
    let target = |register| Some(hlsl::BindTarget { register, ..hlsl::BindTarget::default() });
    let options = hlsl::Options {
        shader_model: hlsl::ShaderModel::V6_2,
        immediates_target: target(90),
        special_constants_binding: target(91),
        fake_missing_bindings: true,
        restrict_indexing: true,
        force_loop_bounding: true,
        ..hlsl::Options::default()
    };
    let mut text = String::new();
    hlsl::Writer::new(&mut text, &options, &hlsl::PipelineOptions::default())
        .write(&module, &info, None)
        .unwrap_or_else(|error| panic!("{}: HLSL: {error}", kernel.name));
    text
}

/// Why it is refused, with the arguments of wgpu-hal 30 (`dx12/shader_compilation.rs`).
fn refusal(compiler: &DxcCompiler, library: &DxcLibrary, kernel: &Kernel) -> Option<String> {
    let text = hlsl(kernel);
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
fn dxc_compiles_the_hlsl_of_every_kernel_for_hardware() {
    let Some(path) = installed("DXC", "libdxcompiler.so") else { return };
    let dxc = Dxc::new(Some(path)).unwrap();
    let mut count = 0;
    let mut kernels = all();
    kernels.retain(|kernel| {
        count += 1;
        kernel.is_of_a_step() && kernel.hardware || count % EVERY == 0
    });
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
