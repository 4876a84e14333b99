//! Other drivers than the machine's: Khronos's validation layer between it and the program, errors fatal,
//! and SwiftShader, the software adapter of Chromium. Each is chosen by the environment of a process of
//! its own, which runs some samples of ops and two steps of a training.

use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

use dcgan::device::Device;
use dcgan::device::gpu::GpuOptions;
use dcgan::models::{ModelConfig, Size};
use dcgan::ops::samples::samples;
use dcgan::program::Options;
use dcgan::train::{TrainConfig, Trainer};

use super::installed;
use crate::naive;
use crate::support::{fusion, gpu_selection, gpu_with, run, sources, wide};

/// One sample in so many.
const EVERY: usize = 12;

/// What wgpu logged: the layer's messages come that way.
static LOGGED: Mutex<Vec<(log::Level, String)>> = Mutex::new(Vec::new());

struct Logger;

impl log::Log for Logger {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::Level::Debug
    }

    fn log(&self, record: &log::Record<'_>) {
        let text = format!("{}: {}", record.target(), record.args());
        LOGGED.lock().unwrap().push((record.level(), text));
    }

    fn flush(&self) {}
}

/// Losses of two steps of a small training.
fn losses(device: &Device) -> Vec<[f32; 2]> {
    let size = Size { height: 16, width: 16 };
    let model = ModelConfig { size, nz: 8, ngf: 8, ndf: 8, ..ModelConfig::default() };
    let config = TrainConfig { batch: 4, ..TrainConfig::new(model) };
    let mut trainer = Trainer::new(config, device, &Options::default()).unwrap();
    let mut all = Vec::new();
    for step in 0..2_usize {
        let images: Vec<u8> =
            (0..4 * 16 * 16 * 3).map(|i| ((i * 37 + step * 11) % 251) as u8).collect();
        all.extend(trainer.step(images).unwrap());
    }
    all.extend(trainer.finish().unwrap());
    all.iter().map(|metrics| ["loss_d", "loss_g"].map(|name| metrics.value(name))).collect()
}

#[test]
#[ignore = "for a process with the environment of a driver"]
fn samples_and_a_training() {
    log::set_logger(&Logger).unwrap();
    log::set_max_level(log::LevelFilter::Debug);
    let wanted = std::env::var("DCGAN_WANTED").unwrap();
    let gpu = gpu_with(GpuOptions { hardware_kernels: true, ..GpuOptions::default() }).unwrap();
    let device = Device::Gpu(gpu);
    for sample in samples().iter().step_by(EVERY) {
        let (tape, _, y) = sample.tape().unwrap();
        let feeds = sample.feeds(3);
        let want = naive::eval(&tape, &sources(&feeds), &[y]).remove(0);
        let got = run(&tape, &device, &fusion(true), &feeds).remove("y").unwrap();
        let worst = sample.tolerance.worst(&wide(&got), &want);
        assert!(worst <= 1.0, "{sample:?} on {}: {worst} times the tolerance", device.name());
    }
    for (here, there) in losses(&device).iter().flatten().zip(losses(&Device::Cpu).iter().flatten())
    {
        assert!((here - there).abs() <= 1e-4 * there.abs(), "{here} here, {there} on the CPU");
    }
    let logged = LOGGED.lock().unwrap();
    let errors: Vec<_> = logged.iter().filter(|(level, _)| *level == log::Level::Error).collect();
    assert!(errors.is_empty(), "{errors:#?}");
    // That what was wanted is there at all.
    let found =
        device.name().contains(&wanted) || logged.iter().any(|(_, text)| text.contains(&wanted));
    assert!(found, "no {wanted:?} in {:?} and {} messages", device.name(), logged.len());
}

/// Runs that in an environment; `wanted` stands in the adapter's name or in a message.
fn child(wanted: &str, variables: &[(&str, &Path)]) {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--ignored", "--exact", "compilers::drivers::samples_and_a_training"]);
    child.env("DCGAN_WANTED", wanted).envs(variables.iter().copied());
    let output = child.output().unwrap();
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
#[cfg(target_os = "linux")]
fn the_validation_layer_finds_no_error() {
    let name = "layers/VkLayer_khronos_validation.json";
    let Some(layer) = installed("Vulkan's validation layer", name) else { return };
    if gpu_selection().is_none() {
        return;
    }
    let folder = layer.parent().unwrap();
    // Warnings of a kind that every program gets, or silence would mean nothing.
    let talk = Path::new("VK_VALIDATION_FEATURE_ENABLE_BEST_PRACTICES_EXT");
    child(
        "BestPractices",
        &[("VK_LAYER_PATH", folder), ("LD_LIBRARY_PATH", folder), ("VK_LAYER_ENABLES", talk)],
    );
}

#[test]
#[cfg(target_os = "linux")]
fn swiftshader_computes_the_same() {
    let name = "swiftshader/vk_swiftshader_icd.json";
    let Some(driver) = installed("SwiftShader", name) else { return };
    child("SwiftShader", &[("VK_ICD_FILENAMES", &driver), ("DCGAN_TEST_DEVICE", Path::new("0"))]);
}
