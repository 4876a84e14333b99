//! Benchmarks of training and sampling on a device, with a time profile: `dcgan bench`.

mod loading;
pub mod predict;

use std::time::Instant;

use serde::Serialize;

use crate::device::host::{self, ProcessMemory};
use crate::device::{Device, Peak};
use crate::error::Result;
use crate::gan::Family;
use crate::gan::families::int_cls::WRONG;
use crate::model::seeded_latents;
use crate::nn::{NORMALS, TEXT};
use crate::program::{MemoryReport, Options, StepTime, product_flops};
use crate::rng::Stream;
use crate::tensor::{Data, Tensor};
use crate::train::{Batch, Metrics, TrainConfig, Trainer};

pub use loading::{Loading, loading};

/// Steps before the timed ones: clocks rise, caches fill.
const WARM_UP: usize = 2;

/// Images of one timed sampling.
pub const SAMPLES: usize = 64;

/// All runs of one kernel on one shape in a step.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KernelTime {
    /// The op or the fused ops.
    pub op: String,
    /// The shape of its result.
    pub shape: String,
    /// On a GPU: the variant of its kernel, where there is a choice; else empty.
    pub variant: String,
    /// How often it runs in a step.
    pub count: usize,
    /// Seconds for all runs together.
    pub seconds: f64,
    /// Floating-point operations of all runs together.
    pub flops: u64,
    /// Bytes that all runs together have to move at least.
    pub bytes: u64,
}

/// Groups the steps of a program by op and shape, the slowest first.
#[must_use]
pub fn by_kernel(steps: &[StepTime]) -> Vec<KernelTime> {
    let mut kernels: Vec<KernelTime> = Vec::new();
    for step in steps {
        let same = |k: &&mut KernelTime| {
            (&k.op, &k.shape, &k.variant) == (&step.label, &step.shape, &step.variant)
        };
        if let Some(kernel) = kernels.iter_mut().find(same) {
            kernel.count += 1;
            kernel.seconds += step.seconds;
            kernel.flops += step.flops;
            kernel.bytes += step.bytes;
        } else {
            kernels.push(KernelTime {
                op: step.label.clone(),
                shape: step.shape.clone(),
                variant: step.variant.clone(),
                count: 1,
                seconds: step.seconds,
                flops: step.flops,
                bytes: step.bytes,
            });
        }
    }
    kernels.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    kernels
}

/// The results of a benchmark.
#[derive(Clone, Debug, Serialize)]
pub struct Bench {
    /// Networks, batch, optimizer.
    #[serde(rename = "recipe")]
    pub config: TrainConfig,
    /// Timed training steps.
    pub steps: usize,
    /// Seconds to plan and compile the training step.
    pub compile_seconds: f64,
    /// Seconds from start to the result of the first step: weights, compilation, the step.
    pub first_step_seconds: f64,
    /// Seconds of one training step: the median.
    pub step_seconds: f64,
    /// Real images trained on per second.
    pub train_images_per_second: f64,
    /// Seconds of one sampling of [`SAMPLES`] images, images on the host: the median.
    pub sample_seconds: f64,
    /// Images generated per second.
    pub sample_images_per_second: f64,
    /// Floating-point operations of one image's share of a step: matrix products and convolutions.
    pub flops_per_image: f64,
    /// What the device can do.
    pub peak: Peak,
    /// The share of the device's peak that a training step reaches.
    pub share_of_peak: f64,
    /// Time of each kernel in a step.
    pub kernels: Vec<KernelTime>,
    /// Seconds of all kernels of a step (see [`crate::program::Program::profile`]).
    pub kernel_seconds: f64,
    /// The time of a step over the sum of its kernels' times: the loss between them.
    pub step_over_kernels: f64,
    /// Learned parameters of the generator and of the discriminator; 0 if absent.
    pub parameters: [usize; 2],
    /// The training's memory plan, in bytes.
    pub memory: MemoryReport,
    /// Memory of the process after training and sampling.
    pub process_memory: Option<ProcessMemory>,
}

/// Trains and samples on noise with `options`, and measures. `tell` receives progress messages.
///
/// # Errors
/// Errors of [`Trainer::new`] and [`Trainer::step`].
pub fn bench(
    config: &TrainConfig,
    steps: usize,
    device: &Device,
    options: &Options,
    tell: &dyn Fn(&'static str),
) -> Result<Bench> {
    let model = config.model;
    let noise = || {
        let len = config.step_images() * model.size.height * model.size.width * model.channels;
        let mut noise = Stream::new(0, "bench", 0);
        (0..len).map(|_| noise.next_u32() as u8).collect::<Vec<u8>>()
    };
    let images = noise();

    tell("compiling the training step");
    let start = Instant::now();
    let mut trainer = Trainer::new(config.clone(), device, options)?;
    let compile_seconds = start.elapsed().as_secs_f64();
    tell("the first step");
    step(&mut trainer, images.clone())?;
    trainer.finish()?;
    let first_step_seconds = start.elapsed().as_secs_f64();

    tell("training");
    // A call returns when the result of a step some calls ago has arrived: from then on, one call
    // per step. The last warm-up call is where the first timed step starts.
    let mut times = Vec::with_capacity(steps);
    let mut last: Option<Instant> = None;
    let mut warm = 0;
    while times.len() < steps {
        let came = step(&mut trainer, images.clone())?.is_some();
        let now = Instant::now();
        warm += usize::from(came);
        if warm >= WARM_UP {
            if let Some(last) = last {
                times.push((now - last).as_secs_f64());
            }
            last = Some(now);
        }
    }
    trainer.finish()?;
    let step_seconds = median(times);

    tell("sampling");
    let seeds: Vec<u64> = (0..SAMPLES as u64).collect();
    let networks = config.networks()?;
    let latents = seeded_latents(&seeds, networks.nz, networks.latent_distribution);
    let labels_of_samples = match networks.labels() {
        0 => Vec::new(),
        kinds => labels(kinds, SAMPLES),
    };
    let mut sampler = trainer.sampler(SAMPLES)?;
    let mut times = Vec::with_capacity(steps);
    for i in 0..WARM_UP + steps {
        let start = Instant::now();
        trainer.sample_labeled(&mut sampler, &latents, &labels_of_samples)?;
        if i >= WARM_UP {
            times.push(start.elapsed().as_secs_f64());
        }
    }
    drop(sampler);
    let sample_seconds = median(times);
    // Before the following measurements take memory of their own.
    let process_memory = host::process_memory();

    tell("timing every kernel");
    let profiled = batch(&trainer, images);
    let kernels = by_kernel(&trainer.profile(profiled, steps.min(5))?);
    let kernel_seconds: f64 = kernels.iter().map(|k| k.seconds).sum();
    tell("measuring what the device can do");
    let peak = device.measure_peak()?;
    let flops_per_image = product_flops(&config.tape()?) as f64 / config.step_images() as f64;
    let train_images_per_second = config.step_images() as f64 / step_seconds;
    Ok(Bench {
        config: config.clone(),
        steps,
        compile_seconds,
        first_step_seconds,
        step_seconds,
        train_images_per_second,
        sample_seconds,
        sample_images_per_second: SAMPLES as f64 / sample_seconds,
        flops_per_image,
        share_of_peak: train_images_per_second * flops_per_image / peak.flops,
        peak,
        kernels,
        kernel_seconds,
        step_over_kernels: step_seconds / kernel_seconds,
        parameters: ["generator", "discriminator"].map(|name| networks.learned(name)),
        memory: trainer.memory().clone(),
        process_memory,
    })
}

/// `n` labels: one class after the other.
fn labels(classes: usize, n: usize) -> Vec<u32> {
    (0..n).map(|i| (i % classes.max(1)) as u32).collect()
}

/// A step on `images`, with arbitrary labels if training needs them.
fn step(trainer: &mut Trainer, images: Vec<u8>) -> Result<Option<Metrics>> {
    let batch = batch(trainer, images);
    trainer.step(batch)
}

/// `images` as a batch, with arbitrary labels if training needs them.
fn batch(trainer: &Trainer, images: Vec<u8>) -> Batch {
    let model = trainer.config().model;
    let labels = labels(model.classes, trainer.config().step_images());
    let batch = Batch::from(images.clone()).labels(&labels);
    if model.text > 0 {
        let n = trainer.config().step_images();
        let text = Tensor::full([n, model.text], 1.0);
        let shape = [n, model.size.height, model.size.width, model.channels];
        let wrong =
            Tensor::with_data(shape, Data::U8(images)).expect("as many as the step's images");
        return batch.feed(TEXT, text).feed(WRONG, wrong);
    }
    if trainer.config().objective.family == Family::SsGan {
        let shape = [trainer.config().step_images(), model.size.height, model.size.width, 3];
        let len = shape.iter().product();
        let bytes = images.iter().copied().cycle().take(len).collect();
        let normals = Tensor::with_data(shape, Data::U8(bytes)).expect("as many as its shape has");
        return batch.feed(NORMALS, normals);
    }
    if model.is_semi_supervised() { batch.labeled(images) } else { batch }
}

/// The median; of an even number of values, the mean of the middle two.
fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    match times.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => times[n / 2],
        n => f64::midpoint(times[n / 2 - 1], times[n / 2]),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use crate::models::Size;
    use crate::models::{Architecture, ModelConfig};

    #[test]
    fn medians() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(Vec::new()).is_nan());
    }

    #[test]
    fn kernels_are_grouped_by_op_and_shape() {
        let time = |op: &str, shape: &str, seconds| StepTime {
            label: op.into(),
            shape: shape.into(),
            variant: String::new(),
            seconds,
            flops: 10,
            bytes: 4,
        };
        let steps = [
            time("add", "[2]", 1.0),
            time("mul", "[2]", 5.0),
            time("add", "[2]", 2.0),
            time("add", "[3]", 0.5),
        ];
        let kernels = by_kernel(&steps);
        let shown: Vec<_> =
            kernels.iter().map(|k| (&*k.op, &*k.shape, k.count, k.seconds)).collect();
        let expected = [("mul", "[2]", 1, 5.0), ("add", "[2]", 2, 3.0), ("add", "[3]", 1, 0.5)];
        assert_eq!(shown, expected);
        assert_eq!((kernels[1].flops, kernels[1].bytes), (20, 8));
    }

    /// The products of DCGAN-64's training step, counted by hand: 2.2746 GFLOP per image.
    #[test]
    fn the_step_of_dcgan_64_has_the_known_number_of_operations() {
        let size = Size { height: 64, width: 64 };
        let (channels, nz) = (3, 100);
        let model = ModelConfig {
            network: Architecture::Dcgan,
            size,
            channels,
            nz,
            ngf: 64,
            ndf: 64,
            ..ModelConfig::default()
        };
        let config = TrainConfig { batch: 64, ..TrainConfig::new(model) };
        let flops = product_flops(&config.tape().unwrap()) as f64 / 64.0;
        assert!((flops / 2.2746e9 - 1.0).abs() < 1e-3, "{flops}");
    }
}
