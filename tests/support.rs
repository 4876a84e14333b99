//! What several test modules share.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};

use dcgan::device::gpu::{Gpu, GpuOptions, list, strongest};
use dcgan::device::{Device, State};
use dcgan::program::{Fetched, Options, Program};
use dcgan::tape::Tape;
use dcgan::tensor::{Data, Tensor};
use naga::Module;
use naga::back::{hlsl, msl, spv};
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use safetensors::SafeTensors;

/// Tests that found no GPU.
static SKIPPED: AtomicUsize = AtomicUsize::new(0);

/// Every device that tests run on: the CPU, and a GPU where there is one.
pub(crate) fn devices() -> Vec<Device> {
    std::iter::once(Device::Cpu).chain(gpu().map(Device::Gpu)).collect()
}

/// A GPU to test on, with the compiler's checks on: the adapter that `DCGAN_TEST_DEVICE` names,
/// else the strongest, else a software one. Without any the test is to return at once; it says so,
/// and fails where `DCGAN_TEST_GPU=require`.
pub(crate) fn gpu() -> Option<Gpu> {
    gpu_with(GpuOptions { checked: true, ..GpuOptions::default() })
}

/// The same with other options.
pub(crate) fn gpu_with(options: GpuOptions) -> Option<Gpu> {
    Some(Gpu::open(&gpu_selection()?, options).unwrap())
}

/// What `--device` takes for that GPU.
pub(crate) fn gpu_selection() -> Option<String> {
    let named = std::env::var("DCGAN_TEST_DEVICE").ok();
    let adapters = list();
    let any = || strongest(&adapters).or(adapters.first().map(|adapter| adapter.index));
    let selection = named.or_else(|| any().map(|index| index.to_string()));
    if selection.is_none() {
        assert!(
            std::env::var("DCGAN_TEST_GPU").as_deref() != Ok("require"),
            "DCGAN_TEST_GPU=require, and there is no adapter: install a Vulkan driver such as \
             mesa-vulkan-drivers"
        );
        let count = SKIPPED.fetch_add(1, Ordering::Relaxed) + 1;
        let name = std::thread::current().name().unwrap_or_default().to_owned();
        skipped(&format!("SKIPPED ({count}), as there is no GPU adapter: {name}"));
    }
    selection
}

/// Says that a test was not run, or not in full.
pub(crate) fn skipped(text: &str) {
    // Not eprintln, which the test harness swallows where a test passes.
    writeln!(std::io::stderr().lock(), "{text}").unwrap();
}

/// The numbers of a tensor of any type.
pub(crate) fn wide(tensor: &Tensor) -> Vec<f64> {
    match tensor.data() {
        Data::F32(v) => v.iter().map(|&v| f64::from(v)).collect(),
        Data::U32(v) => v.iter().map(|&v| f64::from(v)).collect(),
        Data::U8(v) => v.iter().map(|&v| f64::from(v)).collect(),
    }
}

/// Options with fusion on or off.
pub(crate) fn fusion(fuse: bool) -> Options {
    Options { fuse, ..Options::default() }
}

/// Runs a tape without states once.
pub(crate) fn run(
    tape: &Tape,
    device: &Device,
    options: &Options,
    feeds: &[(String, Tensor)],
) -> Fetched {
    let mut state = State::new(device);
    let mut program = Program::compile(tape, &state, options).unwrap();
    let feeds: Vec<(&str, &Tensor)> = feeds.iter().map(|(n, t)| (n.as_str(), t)).collect();
    program.call(&mut state, &feeds).unwrap()
}

/// The feeds' numbers by the name that the naive interpreter knows them by.
pub(crate) fn sources(feeds: &[(String, Tensor)]) -> BTreeMap<String, Vec<f64>> {
    feeds.iter().map(|(name, tensor)| (name.clone(), wide(tensor))).collect()
}

/// A rendered kernel as naga reads it.
pub(crate) fn parsed(name: &str, source: &str) -> (Module, ModuleInfo) {
    let module = naga::front::wgsl::parse_str(source)
        .unwrap_or_else(|error| panic!("{}", error.emit_to_string_with_path(source, name)));
    let info = Validator::new(
        ValidationFlags::all(),
        Capabilities::SUBGROUP | Capabilities::IMMEDIATES | Capabilities::SHADER_FLOAT16,
    )
    .validate(&module)
    .unwrap_or_else(|error| panic!("{}", error.emit_to_string_with_path(source, name)));
    (module, info)
}

/// Checks of bounds, as wgpu has naga add them or not.
fn bounds(checked: bool) -> BoundsCheckPolicies {
    let policy = if checked { BoundsCheckPolicy::Restrict } else { BoundsCheckPolicy::Unchecked };
    BoundsCheckPolicies {
        index: policy,
        buffer: policy,
        image_load: policy,
        ..BoundsCheckPolicies::default()
    }
}

/// The SPIR-V that naga writes of a kernel.
pub(crate) fn spirv(name: &str, module: &Module, info: &ModuleInfo, checked: bool) -> Vec<u32> {
    let options = spv::Options {
        lang_version: (1, 3),
        bounds_check_policies: bounds(checked),
        force_loop_bounding: checked,
        ..spv::Options::default()
    };
    let words = spv::write_vec(module, info, &options, None);
    words.unwrap_or_else(|error| panic!("{name}: SPIR-V: {error}"))
}

/// The HLSL that naga writes of a kernel.
pub(crate) fn hlsl(name: &str, module: &Module, info: &ModuleInfo, checked: bool) -> String {
    // Registers that do not overlap.
    let target = |register| Some(hlsl::BindTarget { register, ..hlsl::BindTarget::default() });
    let options = hlsl::Options {
        shader_model: hlsl::ShaderModel::V6_2,
        immediates_target: target(90),
        special_constants_binding: target(91),
        fake_missing_bindings: true,
        restrict_indexing: checked,
        force_loop_bounding: checked,
        ..hlsl::Options::default()
    };
    let mut text = String::new();
    hlsl::Writer::new(&mut text, &options, &hlsl::PipelineOptions::default())
        .write(module, info, None)
        .unwrap_or_else(|error| panic!("{name}: HLSL: {error}"));
    text
}

/// Has naga write a rendered kernel as SPIR-V, MSL and HLSL, with and without runtime checks: what
/// Vulkan, Metal and DX12 compile.
pub(crate) fn write_everywhere(name: &str, source: &str) {
    let (module, info) = parsed(name, source);
    for checked in [false, true] {
        assert!(!spirv(name, &module, &info, checked).is_empty());

        let options = msl::Options {
            lang_version: (2, 4),
            fake_missing_bindings: true,
            bounds_check_policies: bounds(checked),
            force_loop_bounding: checked,
            ..msl::Options::default()
        };
        let text = msl::write_string(&module, &info, &options, &msl::PipelineOptions::default());
        let text = text.unwrap_or_else(|error| panic!("{name}: MSL: {error}")).0;
        assert!(text.contains("kernel void"), "{name}: {text}");

        let text = hlsl(name, &module, &info, checked);
        assert!(text.contains("numthreads"), "{name}: {text}");
    }
}

/// A file of `assets/reference`: its tensors by name, and the JSON that describes them.
pub(crate) fn reference(name: &str) -> (BTreeMap<String, Tensor>, serde_json::Value) {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/reference");
    let bytes = std::fs::read(format!("{folder}/{name}.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let tensors = file.tensors().into_iter().map(|(name, view)| {
        let data = bytemuck::pod_collect_to_vec(view.data());
        (name, Tensor::new(view.shape(), data).unwrap())
    });
    let json = std::fs::read(format!("{folder}/{name}.json")).unwrap();
    (tensors.collect(), serde_json::from_slice(&json).unwrap())
}
