//! The benefit of a learned similarity: a VAE trained on pixels and a VAE/GAN with the same
//! networks and steps (Larsen et al., arXiv 1512.09300), on held-out images.
//!
//! `cargo run --release --example vae_gan -- [DATA] [IMAGES] [WIDTH] [GAMMA] [LOSS]`; DATA `-` is the
//! bundled set, LOSS `saturating`, which is the authors', or `non-saturating`
//!
//! The authors' γ of 1e-6 to 1e-5 goes with features of 16,384 entries and 50,000 steps or more.
//! Networks this narrow, trained this briefly, need a larger one.
//!
//! Prints a table and saves the grid `vae_gan.png`. Pixel errors are mean squares in [−1, 1];
//! similarities are cosines of the features of the discriminator of a GAN that was trained
//! separately; sharpness is the mean |Laplacian|, relative to the images' own.

use std::path::Path;

use dcgan::data::{Prepare, Source};
use dcgan::device::{Device, State};
use dcgan::error::Result;
use dcgan::features::{Extractor, pixels};
use dcgan::gan::objective::{Family, OptimizerKind};
use dcgan::images;
use dcgan::model::{Networks, Role};
use dcgan::models::{Architecture, ModelConfig, Size};
use dcgan::nn::{LATENT, Mode, Pass};
use dcgan::objectives::Loss;
use dcgan::program::{Options, Program};
use dcgan::rng::Stream;
use dcgan::tape::Tape;
use dcgan::tensor::{DType, Data, Tensor};
use dcgan::train::{ObjectiveConfig, TrainConfig, Trainer};

const SIDE: usize = 32;
const NUMBERS: usize = SIDE * SIDE * 3;
/// Held-out images.
const HELD_OUT: usize = 256;
const SHOWN: usize = 16;

/// Trains `config` on `images` images of `set`; returns its networks on the CPU.
fn train(config: TrainConfig, set: &[Vec<u8>], images: usize) -> Result<(Networks, State)> {
    let (batch, model, seed) = (config.batch, config.networks()?, config.seed);
    let family = config.objective.family;
    let mut trainer = Trainer::new(config, &Device::Cpu, &Options::default())?;
    let mut order = Stream::new(seed, "order", 0);
    let steps = images / batch;
    for step in 1..=steps {
        let any = |_| set[(order.next_u32() as usize) % set.len()].iter().copied();
        let metrics = trainer.step((0..batch).flat_map(any).collect::<Vec<u8>>())?;
        if let (Some(metrics), true) = (metrics, step % (steps / 8).max(1) == 0) {
            let each: Vec<_> = metrics.iter().map(|(name, x)| format!("{name} {x:.3}")).collect();
            println!("{family} {step}/{steps}: {}", each.join(", "));
        }
    }
    trainer.finish()?;
    let mut state = State::new(&Device::Cpu);
    model.load(&mut state, &trainer.tensors()?)?;
    Ok((model, state))
}

/// Reconstructions of images from the means of their latents.
fn reconstruct((model, state): &mut (Networks, State), images: &[u8]) -> Result<Vec<f32>> {
    let n = images.len() / NUMBERS;
    let mut t = Tape::new();
    let x = t.feed("x", &[n, SIDE, SIDE, 3], DType::U8)?;
    let x = pixels(&mut t, model, x)?;
    let (encoder, generator) = (Role::Encoder.name(), Role::Generator.name());
    let pass = Pass::new(Mode::Eval);
    let code = model.encoder()?.record(&mut t, encoder, x, &pass)?.last();
    let code = t.reshape(code, &[n, 2 * model.nz])?;
    let mean = t.slice(code, &[0, 0], &[n, model.nz])?;
    let z = t.reshape(mean, &[n, 1, 1, model.nz])?;
    let made = model.generator()?.record(&mut t, generator, z, &pass.with(LATENT, z))?.last();
    t.fetch("made", made)?;
    let mut program = Program::compile(&t, state, &Options::default())?;
    let x = Tensor::with_data([n, SIDE, SIDE, 3], Data::U8(images.to_vec()))?;
    Ok(program.call(state, &[("x", &x)])?["made"].f32s().to_vec())
}

/// The mean |Laplacian| over all inner pixels.
fn sharpness(images: &[f32]) -> f64 {
    let at = |image: &[f32], y: usize, x: usize, c: usize| f64::from(image[(y * SIDE + x) * 3 + c]);
    let mut sum = 0.0;
    for image in images.chunks(NUMBERS) {
        for (y, x) in (1..SIDE - 1).flat_map(|y| (1..SIDE - 1).map(move |x| (y, x))) {
            for c in 0..3 {
                let around = at(image, y - 1, x, c) + at(image, y + 1, x, c);
                let around = around + at(image, y, x - 1, c) + at(image, y, x + 1, c);
                sum += (4.0 * at(image, y, x, c) - around).abs();
            }
        }
    }
    sum / (images.len() / NUMBERS * (SIDE - 2) * (SIDE - 2) * 3) as f64
}

fn mean_square(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>() / a.len() as f64
}

/// The mean cosine of the rows of two matrices minus `center`, with this row length.
fn cosine(a: &[f32], b: &[f32], center: &[f32]) -> f64 {
    let rows = a.chunks(center.len()).zip(b.chunks(center.len()));
    let each = rows.map(|(a, b)| {
        let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
        for ((&a, &b), &c) in a.iter().zip(b).zip(center) {
            let (a, b) = (f64::from(a - c), f64::from(b - c));
            (ab, aa, bb) = (ab + a * b, aa + a * a, bb + b * b);
        }
        ab / (aa * bb).sqrt().max(1e-12)
    });
    let each: Vec<f64> = each.collect();
    each.iter().sum::<f64>() / each.len() as f64
}

fn main() -> Result<()> {
    let typed: Vec<String> = std::env::args().skip(1).collect();
    let number = |i: usize, default: f32| {
        typed.get(i).map_or(default, |text| text.parse().expect("a number is needed"))
    };
    let data = typed.first().filter(|data| *data != "-").map(Path::new);
    let (images, width) = (number(1, 100_000.0) as usize, number(2, 16.0) as usize);
    let gamma = number(3, 0.1);
    let loss = match typed.get(4).map(String::as_str) {
        None | Some("non-saturating") => Loss::NonSaturating,
        Some("saturating") => Loss::Saturating,
        Some(other) => panic!("LOSS is saturating or non-saturating, not {other}"),
    };

    let source = Source::open(data)?;
    let prepare = Prepare { height: SIDE, width: SIDE, ..Prepare::default() };
    let order = Stream::new(0, "held out", 0).permutation(source.len());
    let set = order.iter().filter_map(|&i| source.prepared(i as usize, &prepare).ok());
    let mut set: Vec<Vec<u8>> = set.collect();
    let held_out = set.split_off(set.len().saturating_sub(HELD_OUT)).concat();
    println!("{} images to train on, {} held out", set.len(), held_out.len() / NUMBERS);

    let size = Size { height: SIDE, width: SIDE };
    let usual = ModelConfig::usual(Architecture::VaeGan, Some(size));
    let model = ModelConfig { nz: 64, ngf: width / 2, ndf: width, ..usual };
    let objective = ObjectiveConfig {
        optimizer: OptimizerKind::Rmsprop,
        beta2: 0.9,
        ..ObjectiveConfig::default()
    };
    let rates = TrainConfig { lr_d: 3.9e-4, lr_g: 3.9e-4, ema: 0, ..TrainConfig::new(model) };
    let config = TrainConfig { decay: images as u64, decay_to: 1.6e-6, decay_power: 0.75, ..rates };
    let of = |objective| TrainConfig { objective, ..config.clone() };
    let mut vae = train(of(ObjectiveConfig { family: Family::Vae, ..objective }), &set, images)?;
    let family = Family::VaeGan;
    let mut vae_gan =
        train(of(ObjectiveConfig { family, loss, gamma, ..objective }), &set, images)?;
    let judge = ModelConfig {
        ngf: width,
        ndf: width,
        ..ModelConfig::usual(Architecture::Dcgan, Some(size))
    };
    let (judge, mut judge_state) =
        train(TrainConfig { seed: 1, ema: 0, ..TrainConfig::new(judge) }, &set, images)?;

    let n = held_out.len() / NUMBERS;
    let mut extractor = Extractor::new(&judge, &mut judge_state, n)?;
    let mut features =
        |images: &[f32]| extractor.features(&mut judge_state, &images::bytes(images));
    let real: Vec<f32> = held_out.iter().map(|&byte| f32::from(byte) / 127.5 - 1.0).collect();
    let of_real = features(&real)?;
    let row = of_real.len() / n;
    let mut center = vec![0.0; row];
    for features in of_real.chunks(row) {
        center.iter_mut().zip(features).for_each(|(sum, x)| *sum += x / n as f32);
    }
    let sharp = sharpness(&real);
    let mut grid = real[..SHOWN * NUMBERS].to_vec();
    println!("{:10} {:>12} {:>12} {:>12}", "", "pixels' MSE", "similarity", "sharpness");
    println!("{:10} {:12.4} {:12.3} {:12.2}", "images", 0.0, 1.0, 1.0);
    for (name, trained) in [("VAE", &mut vae), ("VAE/GAN", &mut vae_gan)] {
        let made = reconstruct(trained, &held_out)?;
        println!(
            "{name:10} {:12.4} {:12.3} {:12.2}",
            mean_square(&made, &real),
            cosine(&features(&made)?, &of_real, &center),
            sharpness(&made) / sharp
        );
        grid.extend_from_slice(&made[..SHOWN * NUMBERS]);
    }
    let image = images::grid_of(&grid, [grid.len() / NUMBERS, SIDE, SIDE, 3], SHOWN)?;
    images::save_png(Path::new("vae_gan.png"), &image)?;
    println!("held-out images, those of the VAE and those of the VAE/GAN are in vae_gan.png");
    Ok(())
}
