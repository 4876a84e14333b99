//! Training with the library, without the command line: a small DCGAN on the bundled images, and a
//! grid of its samples.
//!
//! `cargo run --release --example training`

use std::path::Path;
use std::sync::Arc;

use dcgan::data::{Loader, LoaderOptions, Prepare, Source};
use dcgan::device::Device;
use dcgan::error::Result;
use dcgan::images;
use dcgan::model::seeded_latents;
use dcgan::models::Size;
use dcgan::models::{Architecture, ModelConfig};
use dcgan::program::Options;
use dcgan::train::{TrainConfig, Trainer};

fn main() -> Result<()> {
    let size = Size { height: 32, width: 32 };
    let model = ModelConfig {
        network: Architecture::Dcgan,
        size,
        channels: 3,
        nz: 64,
        ngf: 32,
        ndf: 32,
        ..ModelConfig::default()
    };
    let config = TrainConfig { batch: 32, ..TrainConfig::new(model) };

    let source = Arc::new(Source::open(None)?);
    let prepare = Prepare { height: 32, width: 32, ..Prepare::default() };
    let loading = LoaderOptions { batch: config.batch, ..LoaderOptions::default() };
    let mut loader = Loader::start(source, prepare, &loading, 0)?;

    let mut trainer = Trainer::new(config, &Device::open(None, false)?, &Options::default())?;
    for step in 1..=600 {
        let batch = loader.next_batch()?;
        if let Some(metrics) = trainer.step(batch.images)?
            && step % 100 == 0
        {
            println!(
                "step {step}: loss_d {:.3}, loss_g {:.3}",
                metrics.value("loss_d"),
                metrics.value("loss_g")
            );
        }
    }
    trainer.finish()?;

    let mut sampler = trainer.sampler(32)?;
    let latents =
        seeded_latents(&(0..32).collect::<Vec<_>>(), model.nz, model.network.latent_distribution());
    let samples = trainer.sample(&mut sampler, &latents)?;
    let grid = images::grid(samples.f32s(), [32, 32, 32, 3])?;
    images::save_png(Path::new("training.png"), &grid)?;
    println!("32 images in training.png");
    Ok(())
}
