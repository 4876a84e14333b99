//! Whether BiGAN's encoder inverts the generator because it is trained to: BiGAN on MNIST, and the
//! same with an encoder that stays at its initial weights (Donahue et al., arXiv 1605.09782).
//!
//! `cargo run --release --example bigan -- FOLDER [EPOCHS]` (the IDX files of MNIST; 5 epochs)
//!
//! It prints, for the test images, the mean distance to an image's reconstruction (EGr), that to the
//! reconstruction of another image (EGr_b), and their ratio, as `dcgan reconstruct` does. The
//! authors' log has .911 after 1 epoch and .767 after 25. Without a trained encoder the ratio is 1.

use std::path::PathBuf;

use dcgan::data::{Part, Prepare, Source, sweep};
use dcgan::device::{Device, State};
use dcgan::error::{Error, Result};
use dcgan::experiments::reconstruct::Distances;
use dcgan::features::pixels;
use dcgan::gan::families::{self, ENCODER, GENERATOR};
use dcgan::gan::{Recording, TrainConfig};
use dcgan::model::Networks;
use dcgan::nn::{LATENT, Mode, Pass};
use dcgan::program::{Options, Program};
use dcgan::rng::Stream;
use dcgan::tape::Tape;
use dcgan::tensor::{DType, Data, Tensor};
use dcgan::train::Trainer;

/// Images reconstructed at a time.
const AT_ONCE: usize = 500;

/// The images of a part of a set, as bytes.
fn read(folder: &str, part: Part, config: &TrainConfig) -> Result<Vec<u8>> {
    let source = Source::open_part(Some(&PathBuf::from(folder)), part)?;
    let size = config.model.size;
    let prepare = Prepare {
        height: size.height,
        width: size.width,
        channels: config.model.channels,
        ..Prepare::default()
    };
    let items: Vec<u32> = (0..source.len() as u32).collect();
    let mut images = Vec::new();
    sweep(&source, &prepare, &items, 1024, |chunk| {
        images.extend(chunk.images);
        Ok(())
    })?;
    Ok(images)
}

/// The distances of images to their reconstructions by the networks in `state`.
fn reconstruct(model: &Networks, state: &mut State, images: &[u8]) -> Result<Distances> {
    let size = [model.size.height, model.size.width, model.channels];
    let numbers: usize = size.iter().product();
    let shape = [&[AT_ONCE], &size[..]].concat();
    let mut t = Tape::new();
    let x = t.feed("x", &shape, DType::U8)?;
    let x = pixels(&mut t, model, x)?;
    let pass = Pass::new(Mode::Eval);
    let z = model.encoder()?.record(&mut t, ENCODER, x, &pass)?.last();
    let made = model.generator()?.record(&mut t, GENERATOR, z, &pass.with(LATENT, z))?.last();
    for (name, images) in [("x", x), ("made", made)] {
        let images = model.pixels.to_signed(&mut t, images)?;
        t.fetch(name, images)?;
    }
    let mut program = Program::compile(&t, state, &Options::default())?;
    let mut distances = Distances::default();
    for images in images.chunks_exact(AT_ONCE * numbers) {
        let x = Tensor::with_data(shape.clone(), Data::U8(images.to_vec()))?;
        let fetched = program.call(state, &[("x", &x)])?;
        distances.add(fetched["x"].f32s(), fetched["made"].f32s(), numbers);
    }
    Ok(distances)
}

fn main() -> Result<()> {
    let mut typed = std::env::args().skip(1);
    let folder = typed.next().ok_or_else(|| Error::file(".", "give a folder with MNIST"))?;
    let epochs: usize = typed.next().map_or(5, |n| n.parse().expect("EPOCHS is a number"));
    let mut config = TrainConfig::preset("bigan")?;
    config.model.channels = 1;
    let train = read(&folder, Part::Train, &config)?;
    let test = read(&folder, Part::Test, &config)?;
    let numbers = config.model.size.height * config.model.size.width;
    let count = train.len() / numbers;

    println!("{:<20} {:>8} {:>8} {:>8}", format!("after {epochs} epochs"), "EGr", "EGr_b", "ratio");
    for (name, trains_encoder) in [("BiGAN", true), ("untrained encoder", false)] {
        let networks = families::networks(&config)?;
        let mut system = families::system(&config, networks.clone())?;
        if !trains_encoder {
            system.stages[0].phases[0].frozen.push(ENCODER.into());
        }
        let (recording, options) = (Recording::default(), Options::default());
        let mut trainer =
            Trainer::with_system(config.clone(), system, recording, &Device::Cpu, &options)?;
        for epoch in 0..epochs {
            let order = Stream::new(config.seed, "order", epoch as u32).permutation(count);
            for batch in order.chunks_exact(config.batch) {
                let image = |&i: &u32| &train[i as usize * numbers..][..numbers];
                trainer.step(batch.iter().flat_map(image).copied().collect::<Vec<u8>>())?;
            }
        }
        trainer.finish()?;
        let mut state = State::new(&Device::Cpu);
        networks.load(&mut state, &trainer.tensors()?)?;
        let distances = reconstruct(&networks, &mut state, &test)?;
        let [own, other, ratio] =
            [distances.own(), distances.other(), distances.ratio()].map(Option::unwrap_or_default);
        println!("{name:<20} {own:>8.3} {other:>8.3} {ratio:>8.3}");
    }
    Ok(())
}
