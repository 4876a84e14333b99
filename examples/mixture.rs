//! ALI and a GAN of the same networks on the grid of 25 Gaussians of ALI's paper (Dumoulin et al.,
//! arXiv 1606.00704, and the authors' `ali_mixture.py`): how many modes each finds.
//!
//! `cargo run --release --example mixture`
//!
//! It also shows how to train custom networks: points of the plane are images of one pixel with two
//! channels, fed as floats; a family's system takes any networks of the right sizes.
//!
//! A mode is covered if it is the nearest to one of 10,000 samples (the authors: "falls to it"),
//! or, more strictly, if one lies within three standard deviations of it. They report 13.4 ± 5.8
//! modes for ALI and 10.4 ± 9.2 for a GAN, with wider networks and a tenth of this learning rate.

use std::fmt::Write as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use clap::Parser;
use dcgan::device::Device;
use dcgan::error::Result;
use dcgan::gan::{Family, ObjectiveConfig, Recording, TrainConfig, families};
use dcgan::model::{Networks, Pipeline, Pixels, Role, Size};
use dcgan::nn::LatentDistribution;
use dcgan::nn::{Dropout, Heads, Join, LATENT, Layer, Maxout, Sequential};
use dcgan::program::Options;
use dcgan::rng::{Stream, normal_pair, unit};
use dcgan::tensor::Tensor;
use dcgan::text::TextEncoder;
use dcgan::train::{Batch, Images, Trainer};

/// Batch size, and latent dimension.
const BATCH: usize = 100;
const LATENT_SIZE: usize = 2;

/// Modes in each row of the grid, their distance, and the standard deviation of each.
const ROW: usize = 5;
const MODES: usize = ROW * ROW;
const APART: f32 = 2.0;
const SPREAD: f32 = 0.05;

/// Samples used to evaluate a generator.
const JUDGED: usize = 10_000;

/// Channels over which maxout takes the maximum.
const PIECES: usize = 5;

/// Counts the modes of 25 Gaussians that ALI and a GAN find.
#[derive(Debug, Parser)]
struct Args {
    /// Steps of each training
    #[arg(long, default_value_t = 10_000)]
    steps: usize,
    /// Runs of each kind
    #[arg(long, default_value_t = 5)]
    seeds: u64,
    /// Width of the hidden layers
    #[arg(long, default_value_t = 64)]
    width: usize,
    /// Learning rate
    #[arg(long, default_value_t = 1e-3)]
    lr: f64,
    /// Probability of dropout in the discriminator
    #[arg(long, default_value_t = 0.0)]
    dropout: f32,
    /// Adam's decay of the mean of gradients
    #[arg(long, default_value_t = 0.8)]
    beta1: f64,
}

/// The center of a mode.
fn middle(mode: usize) -> [f32; 2] {
    [mode % ROW, mode / ROW].map(|i| APART * (i as f32 - (ROW / 2) as f32))
}

/// `n` points of the data, in pairs.
fn points(stream: &mut Stream, n: usize) -> Vec<f32> {
    let point = |_| {
        let middle = middle((unit(stream.next_u32()) * MODES as f32) as usize);
        let noise = normal_pair(stream.next_u32(), stream.next_u32());
        [0, 1].map(|d| middle[d] + SPREAD * noise[d])
    };
    (0..n).flat_map(point).collect()
}

/// `count` hidden layers with batch norm from `from` inputs, and a layer to `to` outputs.
fn normalized(width: usize, count: usize, from: usize, to: usize) -> Sequential {
    let mut layers = Vec::new();
    for i in 0..count {
        let from = if i == 0 { from } else { width };
        let dense = Layer::linear(from, width, false);
        layers.extend([dense, Layer::batch_norm(width), Layer::relu()]);
    }
    layers.push(Layer::linear(width, to, true));
    Sequential { layers }
}

/// A discriminator of points, or of points with latents.
fn discriminator(args: &Args, is_joint: bool) -> Sequential {
    let width = args.width / 2;
    let mut layers = Vec::new();
    let mut from = 2;
    if is_joint {
        layers.push(Layer::Join(Join { input: LATENT.into(), layers: Vec::new() }));
        from += LATENT_SIZE;
    }
    for _ in 0..3 {
        layers.push(Layer::linear(from, PIECES * width, true));
        layers.push(Layer::Maxout(Maxout { pieces: PIECES }));
        if args.dropout > 0.0 {
            layers.push(Layer::Dropout(Dropout::new(args.dropout)));
        }
        from = width;
    }
    layers.push(Layer::linear(from, 1, true));
    Sequential { layers }
}

/// The networks of a family.
fn networks(family: Family, args: &Args) -> Networks {
    let is_joint = family == Family::Ali;
    let encoder = is_joint.then(|| normalized(args.width, 2, 2, 2 * LATENT_SIZE));
    Networks {
        size: Size { height: 1, width: 1 },
        channels: 2,
        nz: LATENT_SIZE,
        latent_distribution: LatentDistribution::Normal,
        pixels: Pixels::Signed,
        classes: Vec::new(),
        text: TextEncoder::default(),
        heads: 0,
        by_name: Networks::usual([
            (Role::Generator, Some(normalized(args.width, 4, LATENT_SIZE, 2))),
            (Role::Discriminator, Some(discriminator(args, is_joint))),
            (Role::Encoder, encoder),
        ]),
        pipeline: Pipeline::default(),
        parts: Heads::default(),
    }
}

/// Trains a family's networks and returns [`JUDGED`] of its points.
fn train(family: Family, seed: u64, args: &Args) -> Result<Vec<f32>> {
    let objective = ObjectiveConfig { family, beta1: args.beta1, ..ObjectiveConfig::default() };
    let (lr_d, lr_g) = (args.lr, args.lr);
    let config =
        TrainConfig { objective, batch: BATCH, seed, lr_d, lr_g, ema: 0, ..TrainConfig::default() };
    let system = families::system(&config, networks(family, args))?;
    let recording = Recording { float_images: true, ..Recording::default() };
    let mut trainer =
        Trainer::with_system(config, system, recording, &Device::Cpu, &Options::default())?;
    let mut stream = Stream::new(seed, "points", 0);
    for _ in 0..args.steps {
        trainer.step(Batch::from(Images::Floats(points(&mut stream, BATCH))))?;
    }
    trainer.finish()?;
    let mut z = vec![0.0; JUDGED * LATENT_SIZE];
    LatentDistribution::Normal.fill(&Stream::new(seed, "judged", 0), &mut z);
    let mut sampler = trainer.sampler(1000)?;
    let samples = trainer.sample(&mut sampler, &Tensor::new([JUDGED, LATENT_SIZE], z)?)?;
    Ok(samples.f32s().to_vec())
}

/// The coverage of a set of samples.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Score {
    /// Modes that are the nearest one of a sample.
    nearest: usize,
    /// Modes with a sample within three standard deviations.
    within: usize,
    /// The share of samples within that distance of a mode.
    good: f64,
}

impl Score {
    fn of(samples: &[f32]) -> Self {
        let (mut nearest, mut within) = ([0; MODES], [0; MODES]);
        for point in samples.chunks_exact(2) {
            let distance = |mode: &usize| {
                let [x, y] = middle(*mode);
                (point[0] - x).hypot(point[1] - y)
            };
            let order = |a: &usize, b: &usize| distance(a).total_cmp(&distance(b));
            let mode = (0..MODES).min_by(order).expect("there are modes");
            // False for NaN.
            nearest[mode] += usize::from(distance(&mode).is_finite());
            within[mode] += usize::from(distance(&mode) <= 3.0 * SPREAD);
        }
        let covered = |counts: [usize; MODES]| counts.into_iter().filter(|&n| n > 0).count();
        let good = within.iter().sum::<usize>() as f64 / (samples.len() / 2) as f64;
        Self { nearest: covered(nearest), within: covered(within), good }
    }
}

const FAMILIES: [(&str, Family); 2] = [("ALI", Family::Ali), ("GAN", Family::Gan)];

/// The scores of all runs, family by family: one run per core at a time, each on one core, as the
/// networks are too small for several.
fn scores(args: &Args) -> Result<Vec<Vec<Score>>> {
    let each = |(_, family)| (0..args.seeds).map(move |seed| (family, seed));
    let jobs: Vec<(Family, u64)> = FAMILIES.into_iter().flat_map(each).collect();
    let done: Vec<OnceLock<Result<Score>>> = jobs.iter().map(|_| OnceLock::new()).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        loop {
            let job = next.fetch_add(1, Ordering::Relaxed);
            let Some(&(family, seed)) = jobs.get(job) else { return };
            done[job].get_or_init(|| Ok(Score::of(&train(family, seed, args)?)));
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| match rayon::ThreadPoolBuilder::new().num_threads(1).build() {
                Ok(pool) => pool.install(work),
                Err(_) => work(),
            });
        }
    });
    let mut done = done.into_iter().filter_map(OnceLock::into_inner);
    let mut row = || done.by_ref().take(args.seeds as usize).collect::<Result<Vec<Score>>>();
    FAMILIES.iter().map(|_| row()).collect()
}

/// The mean and the standard deviation of some counts.
fn spread(counts: &[usize]) -> (f64, f64) {
    let n = counts.len().max(1) as f64;
    let mean = counts.iter().sum::<usize>() as f64 / n;
    let square = counts.iter().map(|&c| (c as f64 - mean).powi(2)).sum::<f64>() / n;
    (mean, square.sqrt())
}

/// A way to count modes, and what it is called.
type Column = (&'static str, fn(&Score) -> usize);

fn table(scores: &[Vec<Score>]) -> String {
    let mut text = format!("{:22}", "modes of 25, by seed");
    for seed in 0..scores.first().map_or(0, Vec::len) {
        let _ = write!(text, "{seed:>7}");
    }
    let _ = write!(text, "{:>14}", "mean");
    for ((name, _), scores) in FAMILIES.iter().zip(scores) {
        let columns: [Column; 2] =
            [("nearest to a sample", |s| s.nearest), ("within 3 sigma", |s| s.within)];
        for (how, count) in columns {
            let counts: Vec<usize> = scores.iter().map(count).collect();
            let _ = write!(text, "\n{name}, {how:17}");
            for count in &counts {
                let _ = write!(text, "{count:>7}");
            }
            let (mean, std) = spread(&counts);
            let _ = write!(text, "{:>14}", format!("{mean:.1} ± {std:.1}"));
        }
        let _ = write!(text, "\n{name}, {:17}", "samples there");
        for score in scores {
            let _ = write!(text, "{:>5.0} %", 100.0 * score.good);
        }
    }
    text
}

fn main() -> Result<()> {
    let args = Args::parse();
    println!("{}", table(&scores(&args)?));
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn the_data_covers_all_modes_and_less_covers_less() {
        let data = points(&mut Stream::new(1, "test", 0), JUDGED);
        let Score { nearest, within, good } = Score::of(&data);
        // Within three standard deviations in two directions: 1 − exp(−9 / 2).
        assert!((nearest, within) == (MODES, MODES) && (good - 0.989).abs() < 0.005, "{good}");
        let between = middle(7).map(|x| x + 0.4);
        let one = [middle(7), between, [f32::NAN; 2], between].concat();
        assert_eq!(Score::of(&one), Score { nearest: 1, within: 1, good: 0.25 });
        assert_eq!(Score::of(&between), Score { nearest: 1, within: 0, good: 0.0 });
    }

    #[test]
    fn a_few_steps_of_each_give_a_table() {
        let args = Args::parse_from(["mixture", "--steps", "3", "--seeds", "2", "--width", "8"]);
        let scores = scores(&args).unwrap();
        assert_eq!(scores.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2]);
        let text = table(&scores);
        assert_eq!(text.lines().count(), 7, "{text}");
        assert!(
            text.contains("ALI, within 3 sigma") && text.contains("GAN, samples there"),
            "{text}"
        );
    }
}
