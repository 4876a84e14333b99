//! Training whose activations are 16-bit floats: the same numbers but for rounding, from half the
//! memory, and losses whose scale is found while training.

use std::collections::BTreeMap;

use dcgan::device::{Device, State};
use dcgan::models::{Architecture, Conditioning, ModelConfig, Size};
use dcgan::ops::conv::ConvSpec;
use dcgan::program::tune::{Effort, News, Tuner, tune};
use dcgan::program::{Fetched, Options, Precision, Program, preflight};
use dcgan::tape::{Tape, Var};
use dcgan::tensor::{DType, Tensor};
use dcgan::train::{Batch, Folder, ObjectiveConfig, Position, TrainConfig, Trainer};

use crate::cli::{Place, assert_same, latest};
use crate::support::{gpu, gpu_selection, gpu_with};

fn options(precision: Precision) -> Options {
    Options { precision, ..Options::default() }
}

/// A GPU that has 16-bit floats.
fn half_gpu() -> Option<Device> {
    gpu().filter(|gpu| gpu.caps().f16).map(Device::Gpu)
}

fn numbers(len: usize, seed: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 7919 + seed * 104_729) % 1999) as f32 / 999.0 - 1.0).collect()
}

/// What a convolution's output `[2, 8, 8, 12]` becomes, and gradients of it, with or without 16 bits.
fn run(
    device: &Device,
    precision: Precision,
    then: &dyn Fn(&mut Tape, Var) -> Var,
) -> (Fetched, u64) {
    let spec = ConvSpec::down([16, 16], [4, 4], [2, 2], [1, 1]).unwrap();
    let mut t = Tape::new();
    let x = t.feed("x", &[2, 16, 16, 8], DType::F32).unwrap();
    let w = t.feed("w", &[4, 4, 8, 12], DType::F32).unwrap();
    let y = t.conv2d(x, w, spec).unwrap();
    let z = then(&mut t, y);
    // Through a convolution once more, so that its gradient is an image too.
    let z = t.affine(z, 0.5, 0.25).unwrap();
    let loss = t.mean_all(z).unwrap();
    let up = t.conv_transpose2d(y, w, spec).unwrap();
    let up = t.tanh(up).unwrap();
    let other = t.mean_all(up).unwrap();
    let loss = t.add(loss, other).unwrap();
    let grads = t.grad(loss, &[x, w]).unwrap();
    t.fetch("z", z).unwrap();
    t.fetch("gx", grads[0]).unwrap();
    t.fetch("gw", grads[1]).unwrap();
    let feeds = [
        ("x", Tensor::new([2, 16, 16, 8], numbers(2 * 16 * 16 * 8, 1)).unwrap()),
        ("w", Tensor::new([4, 4, 8, 12], numbers(4 * 4 * 8 * 12, 2)).unwrap()),
    ];
    let feeds: Vec<(&str, &Tensor)> = feeds.iter().map(|(name, t)| (*name, t)).collect();
    let mut state = State::new(device);
    let mut program = Program::compile(&t, &state, &options(precision)).unwrap();
    let slots = program.memory().slots;
    (program.call(&mut state, &feeds).unwrap(), slots)
}

/// The largest difference, as a share of the largest number.
fn apart(a: &Tensor, b: &Tensor) -> f32 {
    let largest = b.f32s().iter().fold(0.0_f32, |m, x| m.max(x.abs()));
    let off = a.f32s().iter().zip(b.f32s()).map(|(a, b)| (a - b).abs());
    off.fold(0.0, |m: f32, x| if x.is_nan() { f32::INFINITY } else { m.max(x) }) / largest
}

type Then = fn(&mut Tape, Var) -> Var;

#[test]
fn every_kernel_reads_and_writes_both_widths() {
    let Some(device) = half_gpu() else { return };
    let cases: [(&str, Then); 13] = [
        ("elementwise", |t, y| t.leaky_relu(y, 0.2).unwrap()),
        ("broadcast", |t, y| {
            let scale = t.fill(&[12], 1.5).unwrap();
            let column = t.slice(y, &[0, 0, 0, 0], &[2, 1, 1, 12]).unwrap();
            let y = t.mul(y, scale).unwrap();
            t.mul(y, column).unwrap()
        }),
        ("batch norm", |t, y| {
            let moments = t.moments(y).unwrap();
            let statistics = [t.range(moments, 0, 12).unwrap(), t.range(moments, 12, 12).unwrap()];
            let (one, zero) = (t.fill(&[12], 1.0).unwrap(), t.fill(&[12], 0.0).unwrap());
            let y = t.batch_norm(y, statistics, [one, zero], 1e-5).unwrap();
            t.mul(y, y).unwrap()
        }),
        ("append", |t, y| {
            let v = t.fill(&[2, 4], 0.5).unwrap();
            let y = t.append(y, v).unwrap();
            t.tanh(y).unwrap()
        }),
        ("max pool", |t, y| t.max_pool(y, [4, 4]).unwrap()),
        ("shift", |t, y| {
            let by = t.fill(&[2, 2], 1.5).unwrap();
            let y = t.shift(y, by).unwrap();
            t.tanh(y).unwrap()
        }),
        ("permute", |t, y| {
            let y = t.permute(y, &[0, 3, 1, 2]).unwrap();
            t.tanh(y).unwrap()
        }),
        ("slice", |t, y| {
            let y = t.slice(y, &[0, 1, 2, 3], &[2, 6, 6, 9]).unwrap();
            t.tanh(y).unwrap()
        }),
        ("pad", |t, y| {
            let y = t.pad(y, &[0, 1, 0, 3], &[2, 10, 9, 16]).unwrap();
            t.tanh(y).unwrap()
        }),
        // The parts of a batch start at multiples of 8 elements; the rows of an image need not.
        ("range", |t, y| {
            let part = t.range(y, 768, 768).unwrap();
            let part = t.reshape(part, &[1, 8, 8, 12]).unwrap();
            t.tanh(part).unwrap()
        }),
        ("odd range", |t, y| {
            let part = t.range(y, 7, 768).unwrap();
            let part = t.reshape(part, &[1, 8, 8, 12]).unwrap();
            t.tanh(part).unwrap()
        }),
        // In 16 bits the squares of these numbers would all be zeros.
        ("summed squares", |t, y| {
            let small = t.affine(y, 1e-5, 0.0).unwrap();
            let squares = t.mul(small, small).unwrap();
            let sum = t.sum(squares, &[1, 2, 3]).unwrap();
            t.affine(sum, 1e8, 0.0).unwrap()
        }),
        ("matmul and softmax", |t, y| {
            let rows = t.reshape(y, &[2, 64, 12]).unwrap();
            let like = t.matmul_t(rows, rows, false, true).unwrap();
            let like = t.softmax(like).unwrap();
            t.matmul(like, rows).unwrap()
        }),
    ];
    for (name, then) in cases {
        let (wide, plenty) = run(&device, Precision::F32, &then);
        let (half, less) = run(&device, Precision::F16, &then);
        let (cpu, _) = run(&Device::Cpu, Precision::F32, &then);
        if name == "odd range" {
            assert_eq!(apart(&half["z"], &wide["z"]), 0.0, "{name}: it has to be kept as it is");
        }
        for what in ["z", "gx", "gw"] {
            assert!(apart(&wide[what], &cpu[what]) < 1e-5, "{name}: {what}");
            let off = apart(&half[what], &wide[what]);
            assert!(off < 4e-3, "{name}: {what} is off by {off:e}");
            // Else nothing was rounded at all.
            let rounded = what == "gw" || (what == "z" && name != "odd range");
            assert!(!rounded || off > 1e-6, "{name}: {what} is off by {off:e}");
        }
        assert!(less < plenty, "{name}: {less} of {plenty} bytes");
    }
}

fn model_config() -> ModelConfig {
    let size = Size { height: 32, width: 32 };
    ModelConfig { size, nz: 16, ngf: 8, ndf: 8, ..ModelConfig::default() }
}

fn config(precision: Precision) -> TrainConfig {
    TrainConfig { batch: 8, precision, ..TrainConfig::new(model_config()) }
}

fn images(step: usize) -> Vec<u8> {
    (0..8 * 32 * 32 * 3).map(|i| ((i + step * 977) * 31 % 251) as u8).collect()
}

/// The tensors of a trainer by name.
fn tensors(trainer: &Trainer) -> BTreeMap<String, Tensor> {
    trainer.tensors().unwrap()
}

/// A training in 16 bits that starts with the losses' scale, and the count of good updates, at these.
fn trainer_at(
    device: &Device,
    model: ModelConfig,
    objective: ObjectiveConfig,
    scaling: [f32; 2],
) -> Trainer {
    trainer_with(
        device,
        &Options::default(),
        TrainConfig { model, objective, ..config(Precision::F16) },
        scaling,
    )
}

fn trainer_with(
    device: &Device,
    options: &Options,
    config: TrainConfig,
    scaling: [f32; 2],
) -> Trainer {
    let fresh = Trainer::new(config.clone(), device, options).unwrap();
    let mut start = tensors(&fresh);
    for (name, value) in ["loss_scale", "loss_scale.good"].into_iter().zip(scaling) {
        start.insert(name.into(), Tensor::new([], vec![value]).unwrap());
    }
    Trainer::resume(config, device, options, &start, Position::default()).unwrap()
}

#[test]
fn a_training_has_the_numbers_of_one_in_32_bits_but_for_rounding() {
    let Some(device) = half_gpu() else { return };
    let designs = [
        ("dcgan", model_config()),
        (
            "classes",
            ModelConfig { classes: 3, conditioning: Conditioning::Concat, ..model_config() },
        ),
        ("resnet", ModelConfig { network: Architecture::Resnet, ..model_config() }),
    ];
    for (name, model) in designs {
        let run = |precision| {
            let options = Options::default();
            let mut trainer = match precision {
                // Not so large that the first updates are skipped.
                Precision::F16 => {
                    trainer_at(&device, model, ObjectiveConfig::default(), [1024.0, 0.0])
                }
                Precision::F32 => {
                    let config = TrainConfig { model, ..config(precision) };
                    Trainer::new(config, &device, &options).unwrap()
                }
            };
            let labels = [0, 1, 2, 0, 1, 2, 0, 1];
            let mut all = Vec::new();
            for step in 0..3 {
                all.extend(trainer.step(Batch::from(images(step)).labels(&labels)).unwrap());
            }
            all.extend(trainer.finish().unwrap());
            (all, trainer.memory().slots)
        };
        let ((wide, plenty), (half, less)) = (run(Precision::F32), run(Precision::F16));
        for (step, (a, b)) in half.iter().zip(&wide).enumerate() {
            let pairs =
                [("loss_d", 2e-2), ("loss_g", 2e-2), ("grad_norm_d", 5e-2), ("grad_norm_g", 5e-2)];
            for (what, limit) in pairs {
                let (a, b) = (a.value(what), b.value(what));
                let off = (a - b).abs() / b.abs();
                assert!(off < limit, "{name}: {what} of step {step}: {a} and {b}");
            }
            assert_eq!((a.get("loss_scale"), b.get("loss_scale")), (Some(1024.0), None), "{name}");
        }
        assert!(half != wide, "{name}: nothing was rounded");
        assert!(less * 10 < plenty * 9, "{name}: {less} of {plenty} bytes");
    }
}

#[test]
fn an_update_whose_gradients_overflow_is_skipped_and_halves_the_scale() {
    let Some(device) = half_gpu() else { return };
    let mut trainer = trainer_at(&device, model_config(), ObjectiveConfig::default(), [1e30, 7.0]);
    let before = tensors(&trainer);
    let mut metrics = trainer.step(images(0)).unwrap();
    metrics = metrics.or(trainer.finish().unwrap().pop());
    let metrics = metrics.unwrap();
    // Losses are reported as they are; the gradients of a skipped update as 0, which no watch takes for
    // a divergence.
    assert!(metrics.non_finite().is_none());
    assert_eq!(["grad_norm_d", "grad_norm_g"].map(|name| metrics.value(name)), [0.0, 0.0]);
    let after = tensors(&trainer);
    for (name, value) in &before {
        let same = after[name].bytes() == value.bytes();
        let moves = name.contains("running_") || name == "key" || name.starts_with("loss_scale");
        // Averages of the generator hold copies of its running statistics.
        assert!(same || moves, "{name} has changed");
        assert!(!name.contains("running_var") || !same, "{name} has not");
    }
    // Once for each network.
    assert_eq!(after["loss_scale"].f32s(), [1e30_f32 * 0.5 * 0.5]);
    assert_eq!(after["loss_scale.good"].f32s(), [0.0]);
}

#[test]
fn a_scale_that_is_too_large_comes_down_until_training_goes_on() {
    let Some(device) = half_gpu() else { return };
    let mut trainer =
        trainer_at(&device, model_config(), ObjectiveConfig::default(), [2.0_f32.powi(40), 0.0]);
    let before = tensors(&trainer);
    for step in 0..40 {
        trainer.step(images(step)).unwrap();
    }
    let last = trainer.finish().unwrap().pop().unwrap();
    let scale = last.value("loss_scale");
    assert!((64.0..2.0_f32.powi(34)).contains(&scale), "{scale}");
    assert!(last.value("grad_norm_d") > 0.0 && last.value("grad_norm_g") > 0.0, "{last:?}");
    let after = tensors(&trainer);
    for (name, value) in &after {
        if value.dtype() == DType::F32 {
            assert!(value.f32s().iter().all(|x| x.is_finite()), "{name}");
        }
    }
    let name = "discriminator.main.0.weight";
    assert!(before[name].bytes() != after[name].bytes(), "{name} was never updated");
}

/// Adam's first update moves every weight by the learning rate, whatever was skipped before it: skipped
/// updates do not count in its bias correction, nor in historical means.
#[test]
fn skipped_updates_do_not_count() {
    let Some(device) = half_gpu() else { return };
    let objective = ObjectiveConfig { historical: 1e-9, ..ObjectiveConfig::default() };
    let mut trainer = trainer_at(&device, model_config(), objective, [2.0_f32.powi(40), 0.0]);
    let name = "discriminator.main.0.weight";
    let mut before = tensors(&trainer);
    let mut skipped = 0;
    let after = loop {
        trainer.step(images(skipped)).unwrap();
        let metrics = trainer.finish().unwrap().pop().unwrap();
        let now = tensors(&trainer);
        if metrics.value("grad_norm_d") > 0.0 {
            break now;
        }
        assert_eq!(now["updates.discriminator"].f32s(), [0.0]);
        assert_eq!(now[&format!("history.{name}")], before[&format!("history.{name}")]);
        (before, skipped) = (now, skipped + 1);
    };
    assert!(skipped > 3, "{skipped}");
    assert_eq!(after["updates.discriminator"].f32s(), [1.0]);
    let mut moved: Vec<f32> =
        after[name].f32s().iter().zip(before[name].f32s()).map(|(a, b)| (a - b).abs()).collect();
    moved.sort_by(f32::total_cmp);
    let median = moved[moved.len() / 2] / 2e-4;
    assert!((0.99..1.01).contains(&median), "{median} times the learning rate");
}

/// Adam hardly sees the length of a gradient; its moments, limits on lengths and decay of weights do.
#[test]
fn the_optimizer_is_given_gradients_as_long_as_in_32_bits() {
    let Some(device) = half_gpu() else { return };
    let parts = ObjectiveConfig { micro_batch: 4, ..ObjectiveConfig::default() };
    for objective in [ObjectiveConfig::default(), ObjectiveConfig { orthogonal: 1e-2, ..parts }] {
        let run = |mut trainer: Trainer| {
            trainer.step(images(0)).unwrap();
            trainer.finish().unwrap();
            tensors(&trainer)
        };
        let half = run(trainer_at(&device, model_config(), objective, [1024.0, 0.0]));
        let config = TrainConfig { objective, ..config(Precision::F32) };
        let wide = run(Trainer::new(config, &device, &Options::default()).unwrap());
        let name = "adam.m.discriminator.main.2.weight";
        let size = |of: &BTreeMap<String, Tensor>| -> f32 {
            of[name].f32s().iter().map(|m| m.abs()).sum()
        };
        let ratio = size(&half) / size(&wide);
        assert!((0.95..1.05).contains(&ratio), "{ratio}");
    }
}

/// What overflows on the way forward makes all statistics behind it infinite: they keep their values.
#[test]
fn running_statistics_stay_finite_whatever_overflows() {
    let Some(device) = half_gpu() else { return };
    let config = config(Precision::F16);
    let fresh = Trainer::new(config.clone(), &device, &Options::default()).unwrap();
    let mut start = tensors(&fresh);
    let name = "discriminator.main.2.weight";
    let huge = start[name].f32s().iter().map(|w| 1e7 * w).collect();
    let huge = Tensor::new(start[name].shape().to_vec(), huge).unwrap();
    start.insert(name.into(), huge);
    let options = Options::default();
    let mut trainer =
        Trainer::resume(config, &device, &options, &start, Position::default()).unwrap();
    trainer.step(images(0)).unwrap();
    let metrics = trainer.finish().unwrap().pop().unwrap();
    assert_eq!(
        ["grad_norm_d", "grad_norm_g"].map(|name| metrics.value(name)),
        [0.0, 0.0],
        "nothing overflowed"
    );
    let after = tensors(&trainer);
    for name in ["discriminator.main.3.running_mean", "discriminator.main.3.running_var"] {
        assert_eq!(after[name].f32s(), start[name].f32s(), "{name}");
    }
    assert_eq!(after[name].f32s(), start[name].f32s(), "{name}");
}

#[test]
fn the_scale_doubles_after_2000_good_updates() {
    let Some(device) = half_gpu() else { return };
    let mut trainer =
        trainer_at(&device, model_config(), ObjectiveConfig::default(), [1024.0, 1998.0]);
    for (good, scale) in [(0.0, 2048.0), (2.0, 2048.0)] {
        trainer.step(images(0)).unwrap();
        trainer.finish().unwrap();
        let state = tensors(&trainer);
        assert_eq!(state["loss_scale.good"].f32s(), [good]);
        assert_eq!(state["loss_scale"].f32s(), [scale]);
    }
}

#[test]
fn a_run_in_16_bits_resumes_to_the_bit_and_logs_its_scale() {
    let Some(selection) = gpu_selection() else { return };
    if half_gpu().is_none() {
        return;
    }
    let place = Place::new();
    let f16 = ["--device", &selection, "--batch", "8", "--precision", "f16", "--tune", "off"];
    let half = ["--images", "40", "--save-every", "40", "--report-every", "8"];
    let whole = ["--images", "80", "--save-every", "40", "--report-every", "8", "--keep", "5"];
    let run = place.train("whole", &[&f16, &whole]);
    let stopped = place.train("half", &[&f16, &half]);
    let path = stopped.to_str().unwrap();
    let device = ["--device", &selection];
    place.dcgan(&[&["train", "--resume", path, "--images", "80"], &device]).ok();
    assert_same(&latest(&run), &latest(&stopped));

    let log = Folder::open(&run).unwrap().log().unwrap();
    assert_eq!(log.len(), 10);
    assert!(log.iter().all(|line| line.value("loss_scale") >= 1.0), "{log:?}");
    // What was trained in 16 bits is used as any other.
    let checkpoint = latest(&run);
    let sample = ["sample", checkpoint.to_str().unwrap(), "--device", "cpu", "--seeds", "0-3"];
    place.dcgan(&[&sample]).ok();
}

/// The batch that is advised is the largest that fits in the bits that were asked for.
#[test]
fn a_batch_that_does_not_fit_is_answered_with_one_that_does_in_these_bits() {
    let Some(device) = half_gpu() else { return };
    let fits = |precision| {
        let options = Options { memory_limit: Some(64 << 20), ..Options::default() };
        let large = TrainConfig { batch: 4096, ..config(precision) };
        let error = Trainer::new(large, &device, &options).unwrap_err().to_string();
        let (before, _) = error.split_once(" fits").unwrap();
        before.rsplit_once("`batch` ").unwrap().1.parse::<usize>().unwrap()
    };
    let (wide, half) = (fits(Precision::F32), fits(Precision::F16));
    assert!(half * 10 > wide * 12, "{half} and {wide}");
}

/// Kernels are chosen on tensors as the program keeps them, and run as they were chosen.
#[test]
fn kernels_are_tuned_in_the_bits_that_they_run_in() {
    let Some(device) = half_gpu() else { return };
    let spec = ConvSpec::down([32, 32], [4, 4], [2, 2], [1, 1]).unwrap();
    let mut tape = Tape::new();
    let x = tape.feed("x", &[4, 32, 32, 16], DType::F32).unwrap();
    let w = tape.feed("w", &[4, 4, 16, 16], DType::F32).unwrap();
    let y = tape.conv2d(x, w, spec).unwrap();
    let z = tape.conv_transpose2d(y, w, spec).unwrap();
    let z = tape.mean(z, &[0]).unwrap();
    tape.fetch("z", z).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let tuner = Tuner { effort: Effort::Quick, folder: Some(folder.path().to_owned()) };
    let tuned = |precision| {
        let mut news = Vec::new();
        let choices = tune(&[(&tape, precision)], &device, &tuner, &mut |n| news.push(n)).unwrap();
        assert!(!news.iter().any(|n| matches!(n, News::Warning(_))), "{news:?}");
        (choices, news)
    };
    let ((wide, _), (half, news)) = (tuned(Precision::F32), tuned(Precision::F16));
    assert!(wide.kernels.keys().all(|key| !key.contains("f16")), "{wide:?}");
    let keys: Vec<&String> = half.kernels.keys().collect();
    assert!(
        keys[0].starts_with("Conv2d") && keys[0].ends_with("[4, 4, 16, 16] to f16"),
        "{keys:?}"
    );
    assert!(keys[1].contains("[4, 16, 16, 16] f16, ") && keys[1].ends_with(" to f16"), "{keys:?}");
    // What was measured in 32 bits answers nothing here.
    let ends = |n: &News| matches!(n, News::Ends(summary) if summary.measured > 0);
    assert!(news.iter().any(ends), "{news:?}");

    let options = Options { choices: half.clone(), ..options(Precision::F16) };
    let mut state = State::new(&device);
    let mut program = Program::compile(&tape, &state, &options).unwrap();
    let (x, w) = (Tensor::full([4, 32, 32, 16], 0.5), Tensor::full([4, 4, 16, 16], 0.1));
    let steps = program.profile(&mut state, &[("x", &x), ("w", &w)], 1).unwrap();
    for chosen in half.kernels.values() {
        assert!(steps.iter().any(|step| step.variant == *chosen), "{chosen}: {steps:?}");
    }
}

#[test]
fn sixteen_bits_are_refused_where_there_are_none() {
    let place = Place::new();
    let train = ["train", "--precision", "f16", "--device", "cpu"];
    place.dcgan(&[&train]).refused(2, &["--precision", "CPU", "--device"]);
    assert!(place.runs("runs").is_empty());

    let tape = Tape::new();
    assert!(preflight(&tape, &Device::Cpu, &options(Precision::F32)).is_ok());
    let error = preflight(&tape, &Device::Cpu, &options(Precision::F16)).unwrap_err();
    assert!(error.to_string().contains("precision"), "{error}");
    // The kernels for hardware know both widths too.
    let hardware = dcgan::device::gpu::GpuOptions {
        checked: true,
        hardware_kernels: true,
        ..dcgan::device::gpu::GpuOptions::default()
    };
    let Some(gpu) = gpu_with(hardware).filter(|gpu| gpu.caps().f16) else { return };
    let device = Device::Gpu(gpu);
    let then: Then = |t, y| t.tanh(y).unwrap();
    let (wide, half) = (run(&device, Precision::F32, &then), run(&device, Precision::F16, &then));
    assert!((1e-6..4e-3).contains(&apart(&half.0["gw"], &wide.0["gw"])));
}

#[test]
fn fused_and_bundled_updates_are_those_of_single_kernels() {
    let Some(device) = half_gpu() else { return };
    // What a kernel keeps to itself is not rounded: gradients differ by that. Those of the generator
    // go through a discriminator that Adam has just updated, by little more than their signs.
    let run = |fuse| {
        let options = Options { fuse, ..Options::default() };
        let mut trainer = trainer_with(&device, &options, config(Precision::F16), [1024.0, 0.0]);
        trainer.step(images(0)).unwrap();
        trainer.finish().unwrap();
        tensors(&trainer)
    };
    let (fused, single) = (run(true), run(false));
    assert_eq!(fused["loss_scale"].f32s(), [1024.0]);
    for (name, value) in fused.iter().filter(|(name, _)| name.starts_with("adam.")) {
        let limit = if name.contains(".discriminator.") { 2e-2 } else { 1e-1 };
        let off = apart(value, &single[name]);
        assert!(off < limit, "{name} is off by {off}");
    }
}
