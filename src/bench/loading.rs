//! Whether images load as fast as a device trains on them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::data::{CacheMode, Loader, LoaderOptions, Prepare, Source};
use crate::device::Device;
use crate::error::Result;
use crate::program::Options;
use crate::train::{TrainConfig, Trainer};

use super::{WARM_UP, step};

/// How long each is timed at least: much longer than the batches made during compilation last.
const LEAST: Duration = Duration::from_secs(3);

/// The results. Nothing was kept in memory: every image was read, decoded, cropped and resized as
/// in the first pass over a set, and every other one mirrored.
#[derive(Clone, Debug, Serialize)]
pub struct Loading {
    /// Description of the set.
    pub data: String,
    /// Threads that read and decoded.
    pub threads: usize,
    /// Images per second with nothing else running.
    pub images_per_second: f64,
    /// Real images trained on per second, with reading and decoding at the same time.
    pub train_images_per_second: f64,
    /// The share of that training's time spent waiting for images.
    pub waiting: f64,
}

/// Reads a set alone with the given number of threads, then trains on it. `tell` receives progress.
///
/// # Errors
/// Errors of [`Loader::start`], [`Loader::next_batch`], [`Trainer::new`] and [`Trainer::step`].
pub fn loading(
    config: &TrainConfig,
    steps: usize,
    device: &Device,
    options: &Options,
    (source, threads): (&Arc<Source>, Option<usize>),
    tell: &dyn Fn(&'static str),
) -> Result<Loading> {
    let load = LoaderOptions {
        batch: config.step_images(),
        seed: config.seed,
        cache: CacheMode::Off,
        look: Duration::ZERO,
        ..LoaderOptions::default()
    };
    let load = LoaderOptions { workers: threads.unwrap_or(load.workers), ..load };
    let prepare = Prepare {
        height: config.model.size.height,
        width: config.model.size.width,
        channels: config.model.channels,
        flip: true,
        ..Prepare::default()
    };
    let start = || Loader::start(Arc::clone(source), prepare.clone(), &load, 0);

    tell("reading images");
    let mut loader = start()?;
    loader.next_batch()?;
    let begin = Instant::now();
    let mut images = 0;
    while begin.elapsed() < LEAST {
        images += loader.next_batch()?.items.len();
    }
    let images_per_second = images as f64 / begin.elapsed().as_secs_f64();
    drop(loader);

    tell("training on them");
    let mut trainer = Trainer::new(config.clone(), device, options)?;
    let mut loader = start()?;
    for _ in 0..WARM_UP {
        step(&mut trainer, loader.next_batch()?.images)?;
    }
    trainer.finish()?;
    let begin = Instant::now();
    let mut waited = Duration::ZERO;
    let mut done = 0;
    while done < steps || begin.elapsed() < LEAST {
        let asked = Instant::now();
        let batch = loader.next_batch()?;
        waited += asked.elapsed();
        step(&mut trainer, batch.images)?;
        done += 1;
    }
    trainer.finish()?;
    let seconds = begin.elapsed().as_secs_f64();
    Ok(Loading {
        data: format!("{}: {}", source.name(), source.description()),
        threads: load.workers,
        images_per_second,
        train_images_per_second: (done * config.step_images()) as f64 / seconds,
        waiting: waited.as_secs_f64() / seconds,
    })
}
