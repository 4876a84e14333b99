//! What the levels of a Laplacian pyramid of GANs lose when they are put together (LAPGAN, Denton et al.,
//! arXiv 1506.05751), and a flat GAN of the same budget.
//!
//! `cargo run --release --example lapgan -- [DATA] [BASE] [IMAGES] [WIDTH] [BATCH]`; DATA `-` is the
//! bundled set; BASE are real images for the base of 8x8 pixels, IMAGES for each level above it
//!
//! Each level learns from real low-pass images, and samples from generated ones. The table has the
//! sliced Wasserstein distance `swd-raw` of patches by level, to held-out images: of other held-out images,
//! of images generated from real low-pass images, of whole generated images, and of a DCGAN of the same
//! size. Its budget is that of all levels: multiplications in passes and derivatives of both networks, times
//! images.
//!
//! Images of 8x8 pixels are enlarged to 16x16, the least that the distance is defined for. It also saves
//! `lapgan.png`.

use std::path::Path;
use std::time::Instant;

use dcgan::data::{Prepare, Source};
use dcgan::device::{Device, State};
use dcgan::error::Result;
use dcgan::evaluation::ImageSet;
use dcgan::evaluation::metric::Context;
use dcgan::evaluation::swd::{Variant, swd};
use dcgan::gan::objective::Family;
use dcgan::images;
use dcgan::model::pipeline::{Call, IMAGES};
use dcgan::model::{Networks, Pipeline, Weights, seeded_latents};
use dcgan::models::lapgan::{doubled, halved};
use dcgan::models::{Architecture, ModelConfig, Size};
use dcgan::nn::{LATENT, Layer, Sequential};
use dcgan::program::{Options, Program};
use dcgan::rng::Stream;
use dcgan::tape::{Tape, Var};
use dcgan::tensor::{DType, Tensor};
use dcgan::train::{ObjectiveConfig, TrainConfig, Trainer};

const SIDE: usize = 32;
/// Halvings from 32x32 to the base.
const LEVELS: usize = 2;
const NUMBERS: usize = SIDE * SIDE * 3;
/// Held-out images, twice.
const HELD_OUT: usize = 500;
/// Images at a time, and those of the picture.
const AT_ONCE: usize = 50;
const SHOWN: usize = 12;

/// A trained model.
struct Trained {
    model: Networks,
    state: State,
    seconds: f64,
}

/// Trains `config` on `images` images of `set`.
fn train(config: TrainConfig, set: &[Vec<u8>], images: usize) -> Result<Trained> {
    let (batch, model, seed) = (config.batch, config.networks()?, config.seed);
    let mut trainer = Trainer::new(config, &Device::Cpu, &Options::default())?;
    let mut order = Stream::new(seed, "order", 0);
    let start = Instant::now();
    let (mut since, mut seen) = (start, 0);
    for step in 1..=images / batch {
        let stage = trainer.stage().name.clone();
        let any = |_| set[(order.next_u32() as usize) % set.len()].iter().copied();
        let metrics = trainer.step((0..batch).flat_map(any).collect::<Vec<u8>>())?;
        seen += batch;
        let is_over = trainer.is_phase_over() || step == images / batch;
        if let (Some(metrics), true) = (metrics, is_over || step % 1000 == 0) {
            let each: Vec<_> = metrics.iter().map(|(name, x)| format!("{name} {x:.3}")).collect();
            println!("{stage}, {seen} images: {}", each.join(", "));
        }
        if is_over {
            trainer.finish()?;
            let rate = seen as f64 / since.elapsed().as_secs_f64();
            println!("{stage}: {seen} images, {rate:.0} a second");
            (since, seen) = (Instant::now(), 0);
        }
    }
    let mut tensors = trainer.tensors()?;
    // The moving averages in place of the weights.
    let averages: Vec<_> = tensors
        .iter()
        .filter_map(|(name, tensor)| Some((name.strip_prefix("ema.")?.to_owned(), tensor.clone())))
        .collect();
    tensors.extend(averages);
    let mut state = State::new(&Device::Cpu);
    model.load(&mut state, &tensors)?;
    Ok(Trained { model, state, seconds: start.elapsed().as_secs_f64() })
}

/// Multiplications of one image's pass through a network.
fn multiplications(network: &Sequential) -> usize {
    let each = network.each().into_iter().map(|(_, layer)| {
        let (spec, channels) = match layer {
            Layer::Conv(conv) => (conv.spec, conv.large * conv.small),
            Layer::ConvTranspose(conv) => (conv.spec, conv.large * conv.small),
            _ => return 0,
        };
        channels * [spec.kernel, spec.small].into_iter().flatten().product::<usize>()
    });
    each.sum()
}

/// Those of a step for each real image. Derivatives by inputs cost as much as a pass, and so do those by
/// weights. A level's G makes half a batch for D, without derivatives, and a whole one for itself, and D sees a
/// batch; DCGAN's G makes one batch for both, and D sees two.
fn of_step(generator: &Sequential, discriminator: &Sequential, is_level: bool) -> f64 {
    let passes = if is_level { [3.5, 5.0] } else { [3.0, 8.0] };
    let both = [generator, discriminator].map(|network| multiplications(network) as f64);
    passes[0] * both[0] + passes[1] * both[1]
}

/// What `record` makes of images `[n, side, side, 3]`.
fn resized(
    images: &[f32],
    side: usize,
    record: impl Fn(&mut Tape, Var) -> Result<Var>,
) -> Result<Vec<f32>> {
    let mut state = State::new(&Device::Cpu);
    let mut t = Tape::new();
    let x = t.feed("x", &[AT_ONCE, side, side, 3], DType::F32)?;
    let y = record(&mut t, x)?;
    t.fetch("y", y)?;
    let mut program = Program::compile(&t, &state, &Options::default())?;
    let mut made = Vec::new();
    for images in images.chunks_exact(AT_ONCE * side * side * 3) {
        let x = Tensor::new([AT_ONCE, side, side, 3], images.to_vec())?;
        made.extend_from_slice(program.call(&mut state, &[("x", &x)])?["y"].f32s());
    }
    Ok(made)
}

/// Images generated by these calls of the pipeline, from the images `small` of the level before the first,
/// if there is one.
fn generated(
    Trained { model, state, .. }: &mut Trained,
    calls: std::ops::Range<usize>,
    small: Option<&[f32]>,
) -> Result<Vec<f32>> {
    let mut calls = Pipeline::of(model)?.0[calls].to_vec();
    let before = calls[0].input.clone();
    if let Some(last) = calls.last_mut() {
        *last = Call { output: IMAGES.into(), ..last.clone() };
    }
    let mut t = Tape::new();
    let z = t.feed("z", &[AT_ONCE, model.nz], DType::F32)?;
    let z = t.reshape(z, &[AT_ONCE, 1, 1, model.nz])?;
    let mut known = vec![(LATENT, z)];
    let side = small.map(|small| (small.len() / HELD_OUT / 3).isqrt());
    if let Some(side) = side {
        known.push((&before, t.feed("small", &[AT_ONCE, side, side, 3], DType::F32)?));
    }
    let made = Pipeline(calls).record(&mut t, model, Weights::Raw, &known)?;
    t.fetch("made", made)?;
    let mut program = Program::compile(&t, state, &Options::default())?;
    let mut images = Vec::new();
    for first in (0..HELD_OUT).step_by(AT_ONCE) {
        let seeds: Vec<u64> = (first as u64..).take(AT_ONCE).collect();
        let z = seeded_latents(&seeds, model.nz, model.latent_distribution);
        let part = small.zip(side).map(|(small, side)| {
            let numbers = side * side * 3;
            let rows = small[first * numbers..][..AT_ONCE * numbers].to_vec();
            Tensor::new([AT_ONCE, side, side, 3], rows)
        });
        let part = part.transpose()?;
        let mut feeds = vec![("z", &z)];
        feeds.extend(part.iter().map(|part| ("small", part)));
        images.extend_from_slice(program.call(state, &feeds)?["made"].f32s());
    }
    Ok(images)
}

/// The distances of images `[n, side, side, 3]` to real ones, by level.
fn distances(images: &[f32], real: &[f32], side: usize) -> Result<Vec<(String, f64)>> {
    let set = |images: &[f32]| ImageSet::new([side, side, 3], images::bytes(images));
    let context = Context { metric: "swd-raw", seed: 0, progress: &|_| () };
    Ok(swd(Variant::Raw, &set(images)?, &set(real)?, &context)?.parts)
}

fn main() -> Result<()> {
    let typed: Vec<String> = std::env::args().skip(1).collect();
    let number = |i: usize, usual: usize| {
        typed.get(i).map_or(usual, |text| text.parse().expect("a number is needed"))
    };
    let data = typed.first().filter(|data| *data != "-").map(Path::new);
    let (base, above) = (number(1, 200_000), number(2, 24_000));
    let (width, batch) = (number(3, 16), number(4, 16));

    let source = Source::open(data)?;
    let prepare = Prepare { height: SIDE, width: SIDE, ..Prepare::default() };
    let order = Stream::new(0, "held out", 0).permutation(source.len());
    let order = order.into_iter().take(20_000 + 2 * HELD_OUT);
    let set = order.filter_map(|i| source.prepared(i as usize, &prepare).ok());
    let mut set: Vec<Vec<u8>> = set.collect();
    let mut held_out = || {
        let bytes = set.split_off(set.len().saturating_sub(HELD_OUT)).concat();
        bytes.into_iter().map(|byte| images::value(byte.into())).collect::<Vec<f32>>()
    };
    let (real, other) = (held_out(), held_out());
    println!("{} images to train on, twice {} held out", set.len(), real.len() / NUMBERS);

    let size = Size { height: SIDE, width: SIDE };
    let config = |network| {
        let usual = ModelConfig::usual(network, Some(size));
        let model = ModelConfig { ngf: width, ndf: width, ..usual };
        TrainConfig { batch, ..TrainConfig::new(model) }
    };
    let objective = ObjectiveConfig { family: Family::Lapgan, ..ObjectiveConfig::default() };
    let stage_images = format!("8={base},16={above},32={above}").parse().expect("a list");
    let pyramid = TrainConfig { objective, stage_images, ..config(Architecture::Lapgan) };
    let (levels, _) = pyramid.model.pyramid()?;
    let flat = config(Architecture::Dcgan);
    let mut budget = 0.0;
    for (level, images) in levels.iter().zip([base, above, above]) {
        let cost = of_step(&level.generator, &level.discriminator, true);
        println!("level {}: {:.1} M multiplications an image", level.side[0], cost / 1e6);
        budget += cost * images as f64;
    }
    let cost = of_step(&flat.model.generator()?, &flat.model.discriminator()?, false);
    let of_flat = (budget / cost) as usize;
    println!("DCGAN: {:.1} M multiplications an image; {of_flat} images", cost / 1e6);

    // Steps of two levels that end in the middle of a batch are whole.
    let steps = base.div_ceil(batch) + LEVELS * above.div_ceil(batch);
    let mut pyramid = train(pyramid, &set, steps * batch)?;
    let mut flat = train(flat, &set, of_flat)?;
    println!("{:.0} s and {:.0} s", pyramid.seconds, flat.seconds);

    let half = |images: &[f32], side| resized(images, side, |t, x| halved(t, x, 1));
    let twice = |images: &[f32], side| resized(images, side, doubled);
    // Of each kind the images of 8, 16 and 32 pixels.
    let levels_of = |images: Vec<f32>| -> Result<[Vec<f32>; 3]> {
        let middle = half(&images, 32)?;
        Ok([half(&middle, 16)?, middle, images])
    };
    let real = levels_of(real)?;
    let other = levels_of(other)?;
    let alone = [
        generated(&mut pyramid, 0..1, None)?,
        generated(&mut pyramid, 1..2, Some(&other[0]))?,
        generated(&mut pyramid, 2..3, Some(&other[1]))?,
    ];
    let chain = [
        alone[0].clone(),
        generated(&mut pyramid, 0..2, None)?,
        generated(&mut pyramid, 0..3, None)?,
    ];
    let flat = levels_of(generated(&mut flat, 0..1, None)?)?;
    let enlarged = levels_of(twice(&other[1], 16)?)?;

    println!(
        "{:<28} {:>10} {:>14} {:>14} {:>10} {:>10}",
        "swd-raw", "real", "given real", "given made", "flat GAN", "enlarged"
    );
    for (i, side) in [8, 16, 32].into_iter().enumerate() {
        let of = |kind: &[Vec<f32>; 3]| match i {
            0 => distances(&twice(&kind[0], 8)?, &twice(&real[0], 8)?, 16),
            _ => distances(&kind[i], &real[i], side),
        };
        let each = [of(&other)?, of(&alone)?, of(&chain)?, of(&flat)?, of(&enlarged)?];
        for (part, (name, _)) in each[0].iter().enumerate() {
            let value = |kind: usize| each[kind][part].1;
            println!(
                "{:<28} {:10.1} {:14.1} {:14.1} {:10.1} {:10.1}",
                format!("{side}x{side}, level of {name}"),
                value(0),
                value(1),
                value(2),
                value(3),
                value(4)
            );
        }
    }

    // Rows: real images, and given their low-pass; the levels of generated ones; the flat GAN's.
    let whole = |images: &[f32], level: usize| -> Result<Vec<f32>> {
        let mut images = images.to_vec();
        for side in [8, 16].into_iter().skip(level) {
            images = twice(&images, side)?;
        }
        Ok(images[..SHOWN * NUMBERS].to_vec())
    };
    let rows = [
        whole(&other[2], 2)?,
        whole(&alone[2], 2)?,
        whole(&chain[0], 0)?,
        whole(&chain[1], 1)?,
        whole(&chain[2], 2)?,
        whole(&flat[2], 2)?,
    ];
    let image = images::grid_of(&rows.concat(), [rows.len() * SHOWN, SIDE, SIDE, 3], SHOWN)?;
    images::save_png(Path::new("lapgan.png"), &image)?;
    println!(
        "lapgan.png has real images; others generated from their low-pass; the levels of whole \
         generated images, one below the other; the flat GAN's"
    );
    Ok(())
}
