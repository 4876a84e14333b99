//! Training from parts: two networks built layer by layer, their weights under PyTorch's names, and
//! training on float images and latents from outside; then images of the trained generator.
//!
//! `cargo run --release --example from_parts [netG.pth netD.pth]`
//!
//! The files are state dicts of these two modules; without them, weights are initialized randomly:
//!
//! ```text
//! G = nn.Sequential(                                      D = nn.Sequential(
//!     nn.ConvTranspose2d(8, 32, 4, bias=False),               nn.Conv2d(1, 16, 4, 2, 1),
//!     nn.BatchNorm2d(32), nn.ReLU(),                          nn.LeakyReLU(0.2),
//!     nn.ConvTranspose2d(32, 16, 4, 2, 1, bias=False),        nn.Conv2d(16, 32, 4, 2, 1),
//!     nn.BatchNorm2d(16), nn.ReLU(),                          nn.LeakyReLU(0.2),
//!     nn.ConvTranspose2d(16, 1, 4, 2, 1), nn.Tanh())          nn.Conv2d(32, 1, 4))
//! ```

use std::collections::BTreeMap;
use std::path::Path;

use dcgan::device::Device;
use dcgan::error::{Error, Result};
use dcgan::gan::{Recording, families};
use dcgan::images;
use dcgan::model::{Networks, Pipeline, Pixels, Role};
use dcgan::models::{ModelConfig, Size};
use dcgan::nn::{Heads, LatentDistribution, Layer, Sequential};
use dcgan::ops::conv::ConvSpec;
use dcgan::program::Options;
use dcgan::rng::Stream;
use dcgan::tensor::Tensor;
use dcgan::text::TextEncoder;
use dcgan::train::{Batch, Images, TrainConfig, Trainer};
use dcgan::weights::read_state_dict;

const SIDE: usize = 16;
const NZ: usize = 8;
const BATCH: usize = 32;
const STEPS: u32 = 300;

/// The geometry of a 4×4 convolution of stride 2 between images of sides `large` and `large / 2`, in
/// either direction.
fn halving(large: usize) -> Result<ConvSpec> {
    ConvSpec::down([large; 2], [4, 4], [2, 2], [1, 1]).map_err(|what| Error::config("size", what))
}

/// Transposed convolutions list their output channels first.
fn generator() -> Result<Sequential> {
    let layers = vec![
        Layer::conv_transpose(ConvSpec::dense([4, 4]), 32, NZ, false),
        Layer::batch_norm(32),
        Layer::relu(),
        Layer::conv_transpose(halving(8)?, 16, 32, false),
        Layer::batch_norm(16),
        Layer::relu(),
        Layer::conv_transpose(halving(16)?, 1, 16, true),
        Layer::Tanh,
    ];
    Ok(Sequential { layers })
}

fn discriminator() -> Result<Sequential> {
    let layers = vec![
        Layer::conv(halving(16)?, 1, 16, true),
        Layer::leaky_relu(0.2),
        Layer::conv(halving(8)?, 16, 32, true),
        Layer::leaky_relu(0.2),
        Layer::conv(ConvSpec::dense([4, 4]), 32, 1, true),
    ];
    Ok(Sequential { layers })
}

/// A PyTorch state dict: from a file, or with DCGAN's random initialization.
fn state_dict(file: Option<&String>, network: &Sequential) -> Result<BTreeMap<String, Tensor>> {
    match file {
        Some(path) => read_state_dict(Path::new(path)),
        None => {
            let drawn = network.params("net").into_iter().map(|p| (p.name.clone(), p.initial(1)));
            let drawn: BTreeMap<String, Tensor> = drawn.collect();
            network.state_dict("net", |name| Ok(drawn[name].clone()))
        }
    }
}

/// Normal random numbers of one step.
fn latents(n: usize, step: u32) -> Result<Tensor> {
    let mut z = vec![0.0; n * NZ];
    Stream::new(1, "latents", step).fill_normal(&mut z);
    Tensor::new([n, NZ], z)
}

/// Real images in [−1, 1], `[BATCH, SIDE, SIDE, 1]`: bright disks of any radius and position.
fn disks(step: u32) -> Vec<f32> {
    let mut places = vec![0.0; 3 * BATCH];
    Stream::new(1, "disks", step).fill_uniform(&mut places);
    let disk = |place: &[f32]| {
        let (x, y, radius) = (5.0 + 6.0 * place[0], 5.0 + 6.0 * place[1], 2.5 + 2.0 * place[2]);
        let pixel = move |i: usize| {
            let away = (i % SIDE) as f32 - x;
            let away = away.hypot((i / SIDE) as f32 - y);
            (radius - away).clamp(-1.0, 1.0)
        };
        (0..SIDE * SIDE).map(pixel)
    };
    places.chunks(3).flat_map(disk).collect()
}

fn main() -> Result<()> {
    let files: Vec<String> = std::env::args().skip(1).collect();
    let (g, d) = (generator()?, discriminator()?);
    let model = Networks {
        size: Size { height: SIDE, width: SIDE },
        channels: 1,
        nz: NZ,
        latent_distribution: LatentDistribution::Normal,
        pixels: Pixels::Signed,
        classes: Vec::new(),
        text: TextEncoder::default(),
        heads: 0,
        by_name: Networks::usual([
            (Role::Generator, Some(g.clone())),
            (Role::Discriminator, Some(d.clone())),
        ]),
        pipeline: Pipeline::default(),
        parts: Heads::default(),
    };
    // Networks come from the model; the configuration only contributes classes and codes, and has
    // neither.
    let config =
        TrainConfig { batch: BATCH, ema: 2000, ..TrainConfig::new(ModelConfig::default()) };
    let system = families::gan::system(&config, model)?;
    let recording = Recording { feed_draws: true, float_images: true, ..Recording::default() };
    let device = Device::open(None, false)?;
    let mut trainer =
        Trainer::with_system(config, system, recording, &device, &Options::default())?;
    for (i, (name, network)) in [("generator", &g), ("discriminator", &d)].into_iter().enumerate() {
        let weights = state_dict(files.get(i), network)?;
        trainer.set_states(network.load_state_dict(name, &weights)?)?;
    }

    for step in 1..=STEPS {
        let batch = Batch::from(Images::Floats(disks(step))).feed("z", latents(BATCH, step)?);
        if let Some(metrics) = trainer.step(batch)?
            && step % 50 == 0
        {
            let [d, g] = ["loss_d", "loss_g"].map(|name| metrics.value(name));
            println!("step {step}: loss_d {d:.3}, loss_g {g:.3}");
        }
    }
    trainer.finish()?;

    let mut sampler = trainer.sampler(64)?;
    let images = trainer.sample(&mut sampler, &latents(64, 0)?)?;
    let grid = images::grid(images.f32s(), [64, SIDE, SIDE, 1])?;
    images::save_png(Path::new("from_parts.png"), &grid)?;
    // Back to PyTorch: the input of `load_state_dict` of the same modules.
    let trained = g.state_dict("generator", |name| trainer.state(name))?;
    println!("64 images in from_parts.png; {} tensors for PyTorch", trained.len());
    Ok(())
}
