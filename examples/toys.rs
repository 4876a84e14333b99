//! Every loss on distributions with known answers: a ring of 8 Gaussians, a grid of 25, a swiss
//! roll. Prints a table of what each learns, and draws an image of it.
//!
//! `cargo run --release --example toys -- --out toys.png`
//!
//! The networks are small MLPs on points of the plane. All rows use the same networks and number of
//! steps, and the same optimizer unless a loss needs another: a Wasserstein loss needs its critic
//! ahead of the generator, and bounded, by clipped weights (with RMSprop, as in its paper) or by a
//! penalty.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use clap::Parser;
use dcgan::device::{Device, State};
use dcgan::error::Result;
use dcgan::images::figure::{Cell, Figure, Panel};
use dcgan::nn::{Layer, Mode, Pass, Sequential, WeightInit};
use dcgan::objectives::{Loss, Penalty};
use dcgan::optim::{Adam, Optimizer, RmsProp, moving_average};
use dcgan::program::{Options, Program};
use dcgan::rng::{Stream, unit};
use dcgan::tape::{Tape, Var};
use dcgan::tensor::{DType, Data, Tensor};
use image::{Rgb, RgbImage};

/// Batch size, latent dimension, width of the networks' two hidden layers.
const BATCH: usize = 256;
const LATENT: usize = 4;
const WIDTH: usize = 64;

/// Points used to evaluate a generator.
const JUDGED: usize = 2500;

/// The drawn part of the plane: from −`REACH` to `REACH`.
const REACH: f32 = 5.2;
/// Side of an image in pixels.
const SIDE: u32 = 120;

const ADAM: Optimizer = Optimizer::Adam(Adam { beta1: 0.0, beta2: 0.99, eps: 1e-8 });
const RMS_PROP: Optimizer = Optimizer::RmsProp(RmsProp { decay: 0.9, eps: 1e-8 });

/// The networks' gradients are clipped to this norm: the exponentials of the f-GANs are unbounded.
const LONGEST: f32 = 1.0;

/// Compares the losses of GANs on distributions in the plane.
#[derive(Debug, Parser)]
struct Args {
    /// Updates of the discriminator, for each loss and distribution
    #[arg(long, default_value_t = 6000)]
    steps: usize,
    /// cpu, or a GPU as `dcgan devices` lists them
    #[arg(long, default_value = "cpu")]
    device: String,
    /// The image
    #[arg(long, default_value = "toys.png")]
    out: PathBuf,
    /// Random seed of the data, the weights and the latents
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Only rows whose names contain this
    #[arg(long, default_value = "")]
    only: String,
}

/// A distribution whose points lie around known places.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Set {
    /// Eight Gaussians on a circle of radius 4.
    Ring,
    /// Five by five Gaussians, 2 apart.
    Grid,
    /// A spiral, one and a half times around.
    Roll,
}

const SETS: [Set; 3] = [Set::Ring, Set::Grid, Set::Roll];

impl Set {
    fn name(self) -> &'static str {
        match self {
            Self::Ring => "ring of 8",
            Self::Grid => "grid of 25",
            Self::Roll => "swiss roll",
        }
    }

    /// The standard deviation of points around their place, in each direction.
    fn spread(self) -> f32 {
        0.1
    }

    /// Modes, or parts of the curve that are equally likely.
    fn modes(self) -> usize {
        match self {
            Self::Ring => 8,
            Self::Grid => 25,
            Self::Roll => 20,
        }
    }

    /// The place for a parameter in [0, 1).
    fn place(self, u: f32) -> [f32; 2] {
        let mode = (u * self.modes() as f32).floor();
        match self {
            Self::Ring => {
                let (sin, cos) = (mode / 8.0 * std::f32::consts::TAU).sin_cos();
                [4.0 * cos, 4.0 * sin]
            }
            Self::Grid => [2.0 * (mode % 5.0) - 4.0, 2.0 * (mode / 5.0).floor() - 4.0],
            Self::Roll => {
                let angle = 1.5 * std::f32::consts::PI * (1.0 + 2.0 * u);
                [angle * angle.cos() / 3.2, angle * angle.sin() / 3.2]
            }
        }
    }

    /// Points of the distribution: `n` pairs.
    fn draw(self, stream: &mut Stream, n: usize) -> Vec<f32> {
        let point = |_| {
            let place = self.place(unit(stream.next_u32()));
            let noise = dcgan::rng::normal_pair(stream.next_u32(), stream.next_u32());
            [0, 1].map(|d| place[d] + self.spread() * noise[d])
        };
        (0..n).flat_map(point).collect()
    }

    /// The mode of the nearest place, and the distance to it.
    fn nearest(self, places: &[[f32; 2]], [x, y]: [f32; 2]) -> (usize, f32) {
        let distances = places.iter().map(|p| (x - p[0]).hypot(y - p[1]));
        let nearest = distances.enumerate().min_by(|a, b| a.1.total_cmp(&b.1));
        let (i, distance) = nearest.expect("every set has places");
        (i * self.modes() / places.len(), distance)
    }

    /// Places in the order of their modes: many for a curve.
    fn places(self) -> Vec<[f32; 2]> {
        let count = if self == Self::Roll { 40 * self.modes() } else { self.modes() };
        (0..count).map(|i| self.place((i as f32 + 0.5) / count as f32)).collect()
    }
}

/// The evaluation of a set of points.
#[derive(Clone, Copy, Debug)]
struct Score {
    /// Modes (or parts of the curve) that have at least a tenth of their share of good points.
    covered: usize,
    /// The share of points within three standard deviations of a mode (or of the curve).
    good: f64,
}

impl Score {
    fn of(set: Set, points: &[f32]) -> Self {
        let places = set.places();
        let mut counts = vec![0; set.modes()];
        for point in points.chunks_exact(2) {
            let (mode, distance) = set.nearest(&places, [point[0], point[1]]);
            // False for NaN.
            if distance <= 3.0 * set.spread() {
                counts[mode] += 1;
            }
        }
        let n = points.len() / 2;
        let covered = counts.iter().filter(|&&c| 10 * set.modes() * c >= n && c > 0).count();
        Self { covered, good: counts.iter().sum::<usize>() as f64 / n as f64 }
    }
}

/// The training method of a row of the table.
#[derive(Clone, Debug)]
struct TrainConfig {
    name: String,
    loss: Loss,
    /// With its weight.
    penalty: (Penalty, f32),
    /// Weights are clipped to ± this; 0 for no limit.
    clip: f32,
    /// Updates of the discriminator for each of the generator.
    n_critic: usize,
    optimizer: Optimizer,
    lr: f64,
}

/// All losses, and their usual combinations.
fn configs() -> Vec<TrainConfig> {
    use clap::ValueEnum as _;
    let plain = |loss: Loss| TrainConfig {
        name: loss.to_string(),
        loss,
        penalty: (Penalty::None, 0.0),
        clip: 0.0,
        n_critic: 1,
        optimizer: ADAM,
        lr: 6e-3,
    };
    let with = |loss: Loss, penalty: Penalty, weight: f32| TrainConfig {
        name: format!("{loss} + {penalty}"),
        penalty: (penalty, weight),
        ..plain(loss)
    };
    let mut all = Vec::new();
    for &loss in Loss::value_variants() {
        match loss {
            Loss::Wasserstein => {
                let ahead = TrainConfig { n_critic: 2, ..plain(loss) };
                let name = format!("{loss}, clipped");
                let (optimizer, lr) = (RMS_PROP, 2e-3);
                all.push(TrainConfig { name, clip: 0.1, optimizer, lr, ..ahead });
                all.push(TrainConfig { n_critic: 2, ..with(loss, Penalty::Gp, 0.1) });
            }
            _ => all.push(plain(loss)),
        }
        if matches!(loss, Loss::NonSaturating | Loss::Hinge | Loss::ReverseKl) {
            all.push(with(loss, Penalty::R1, 0.1));
        }
    }
    all
}

/// `from` inputs to `to` outputs, with two hidden layers.
fn mlp(from: usize, to: usize, slope: f32) -> Sequential {
    let he = |gain: f32| WeightInit::He { gain, uniform: false };
    let hidden = |from| Layer::linear(from, WIDTH, true).initialized(he(2.0_f32.sqrt()));
    let bent = || Layer::leaky_relu(slope);
    let last = Layer::linear(WIDTH, to, true).initialized(he(1.0));
    Sequential { layers: vec![hidden(from), bent(), hidden(WIDTH), bent(), last] }
}

/// One run of the program: updates of the discriminator, then one of the generator.
struct Step<'a> {
    config: &'a TrainConfig,
    generator: Sequential,
    discriminator: Sequential,
    /// The key of the latents.
    key: Var,
}

impl Step<'_> {
    fn fake(&self, t: &mut Tape, name: &str) -> Result<Var> {
        let z = t.random_normal(self.key, name, &[BATCH, 1, 1, LATENT])?;
        Ok(self.generator.record(t, "g", z, &Pass::new(Mode::Train))?.last())
    }

    fn judge(&self, t: &mut Tape, x: Var) -> Result<Var> {
        Ok(self.discriminator.record(t, "d", x, &Pass::new(Mode::Train))?.last())
    }

    /// The scores as the loss needs them: for a relativistic loss minus the others' mean.
    fn scores(&self, t: &mut Tape, [real, fake]: [Var; 2]) -> Result<[Var; 2]> {
        let scores = [self.judge(t, real)?, self.judge(t, fake)?];
        if !self.config.loss.is_relativistic() {
            return Ok(scores);
        }
        let loss = self.config.loss;
        Ok([loss.relative(t, scores[0], scores[1])?, loss.relative(t, scores[1], scores[0])?])
    }

    /// Updates the network `prefix` with the gradient of `loss`.
    fn update(
        &self,
        t: &mut Tape,
        network: &Sequential,
        prefix: &str,
        loss: Var,
        schedule: [Var; 2],
    ) -> Result<()> {
        let params: Vec<_> = network.params(prefix).into_iter().filter(|p| p.learned).collect();
        let vars = params
            .iter()
            .map(|p| t.read(&p.name, &p.shape, DType::F32))
            .collect::<Result<Vec<_>>>()?;
        let grads = t.grad(loss, &vars)?;
        let mut square = t.fill(&[], 1e-12)?;
        for &g in &grads {
            let own = t.mul(g, g)?;
            let own = t.sum_all(own)?;
            square = t.add(square, own)?;
        }
        let length = t.sqrt(square)?;
        let share = t.recip(length)?;
        let share = t.affine(share, LONGEST, 0.0)?;
        let share = t.clamp(share, 0.0, 1.0)?;
        for (param, g) in params.iter().zip(grads) {
            let g = t.mul(g, share)?;
            self.config.optimizer.update(t, &param.name, g, schedule, None)?;
            if prefix == "d" && self.config.clip > 0.0 {
                let w = t.read(&param.name, &param.shape, DType::F32)?;
                let w = t.clamp(w, -self.config.clip, self.config.clip)?;
                t.assign(&param.name, w)?;
            }
        }
        Ok(())
    }

    /// Records it on `reals` `[n_critic · BATCH, 1, 1, 2]`; `schedule` is fed for each update of
    /// either network, and `average` is the generator's weight in its moving average.
    fn record(&self, t: &mut Tape) -> Result<()> {
        let TrainConfig { loss, n_critic, penalty, .. } = *self.config;
        let reals = t.feed("reals", &[n_critic * BATCH, 1, 1, 2], DType::F32)?;
        let schedule = t.feed("schedule", &[2 * n_critic + 2], DType::F32)?;
        let average = t.feed("average", &[], DType::F32)?;
        let pair = |t: &mut Tape, k: usize| -> Result<[Var; 2]> {
            let [rate, root] = [t.range(schedule, 2 * k, 1)?, t.range(schedule, 2 * k + 1, 1)?];
            Ok([t.reshape(rate, &[])?, t.reshape(root, &[])?])
        };
        let mut real = reals;
        for k in 0..n_critic {
            real = t.slice(reals, &[k * BATCH, 0, 0, 0], &[BATCH, 1, 1, 2])?;
            let fake = self.fake(t, &format!("z.{k}"))?;
            let [r, f] = self.scores(t, [real, fake])?;
            let [of_real, of_fake] = [loss.real(t, r, 0.0)?, loss.fake(t, f)?];
            let mut total = t.add(of_real, of_fake)?;
            let mut uniform = |t: &mut Tape, name: &str, shape: &[usize]| {
                t.random_uniform(self.key, &format!("{name}.{k}"), shape)
            };
            let mut judge = |t: &mut Tape, x: Var| self.judge(t, x);
            let (kind, weight) = penalty;
            let slope = kind.record(t, weight, [real, fake], &mut uniform, &mut judge)?;
            if let Some(penalized) = slope {
                total = t.add(total, penalized.loss)?;
            }
            let numbers = pair(t, k)?;
            self.update(t, &self.discriminator, "d", total, numbers)?;
        }
        let fake = self.fake(t, "z.g")?;
        let of_g = if loss.is_relativistic() {
            let [r, f] = self.scores(t, [real, fake])?;
            loss.relativistic_generator(t, r, f)?
        } else {
            let f = self.judge(t, fake)?;
            loss.generator(t, f)?
        };
        let numbers = pair(t, n_critic)?;
        self.update(t, &self.generator, "g", of_g, numbers)?;
        for param in self.generator.params("g") {
            let mean = format!("mean.{}", param.name);
            moving_average(t, &mean, &param.name, &param.shape, average)?;
        }
        let next = t.advance(self.key)?;
        t.assign("key", next)
    }
}

/// Trains a generator and returns [`JUDGED`] of its points.
fn train(config: &TrainConfig, set: Set, args: &Args, device: &Device) -> Result<Vec<f32>> {
    let mut t = Tape::new();
    let key = t.read("key", &[4], DType::U32)?;
    let (generator, discriminator) = (mlp(LATENT, 2, 0.0), mlp(2, 1, 0.2));
    let step = Step { config, generator, discriminator, key };
    step.record(&mut t)?;

    let mut state = State::new(device);
    let halves = [args.seed as u32, (args.seed >> 32) as u32];
    state.set("key", &Tensor::with_data([4], Data::U32(vec![halves[0], halves[1], 0, 0]))?)?;
    for param in step.generator.params("g").into_iter().chain(step.discriminator.params("d")) {
        let start = param.initial(args.seed);
        for moment in config.optimizer.moments(&param.name) {
            state.set(&moment, &Tensor::full(param.shape.clone(), 0.0))?;
        }
        state.set(&format!("mean.{}", param.name), &start)?;
        state.set(&param.name, &start)?;
    }

    let mut program = Program::compile(&t, &state, &Options::default())?;
    let mut stream = Stream::new(args.seed, set.name(), 0);
    let rounds = (args.steps / config.n_critic).max(1);
    for round in 0..rounds {
        // The learning rate falls to 0 over the second half.
        let lr = config.lr * (2.0 - 2.0 * round as f64 / rounds as f64).min(1.0);
        let updates = (0..config.n_critic).map(|k| round * config.n_critic + k).chain([round]);
        let numbers = updates.flat_map(|update| config.optimizer.schedule(lr, update as u64 + 1));
        let schedule = Tensor::new([2 * config.n_critic + 2], numbers.collect())?;
        let n = config.n_critic * BATCH;
        let reals = Tensor::new([n, 1, 1, 2], set.draw(&mut stream, n))?;
        // Over the last fiftieth of all steps, and over fewer at the start.
        let average = Tensor::full([], (50.0 / rounds as f32).max(1.0 / (round + 1) as f32));
        program.run(
            &mut state,
            &[("reals", &reals), ("schedule", &schedule), ("average", &average)],
        )?;
    }

    let mut t = Tape::new();
    let z = t.feed("z", &[JUDGED, 1, 1, LATENT], DType::F32)?;
    let points = step.generator.record(&mut t, "mean.g", z, &Pass::new(Mode::Eval))?.last();
    t.fetch("points", points)?;
    let mut z = vec![0.0; JUDGED * LATENT];
    Stream::new(args.seed, "judged", 0).fill_normal(&mut z);
    let z = Tensor::new([JUDGED, 1, 1, LATENT], z)?;
    let mut sampler = Program::compile(&t, &state, &Options::default())?;
    Ok(sampler.call(&mut state, &[("z", &z)])?["points"].f32s().to_vec())
}

/// Draws points over the rings or the curve that they should lie on.
fn scatter(set: Set, points: &[f32]) -> Cell {
    let mut image = RgbImage::from_pixel(SIDE, SIDE, Rgb([250, 250, 251]));
    let scale = SIDE as f32 / (2.0 * REACH);
    let near = 3.0 * set.spread() * scale;
    for [x, y] in set.places() {
        let at = [(x + REACH) * scale, (REACH - y) * scale];
        for (px, py, pixel) in image.enumerate_pixels_mut() {
            if (px as f32 + 0.5 - at[0]).hypot(py as f32 + 0.5 - at[1]) <= near {
                *pixel = Rgb([236, 221, 200]);
            }
        }
    }
    for point in points.chunks_exact(2) {
        let at = [(point[0] + REACH) * scale, (REACH - point[1]) * scale];
        if at.iter().all(|v| (0.0..SIDE as f32).contains(v)) {
            let pixel = image.get_pixel_mut(at[0] as u32, at[1] as u32);
            for (under, ink) in pixel.0.iter_mut().zip([31.0, 104.0, 180.0]) {
                *under = (0.4 * f32::from(*under) + 0.6 * ink) as u8;
            }
        }
    }
    Cell::new(image.into())
}

/// One row of the table.
struct Row {
    name: String,
    /// For each of [`SETS`].
    points: Vec<Vec<f32>>,
}

/// Trains all rows on all sets. On the CPU one run per core at a time, each on one core: the
/// networks are too small for several.
fn all_rows(args: &Args) -> Result<Vec<Row>> {
    let configs: Vec<TrainConfig> =
        configs().into_iter().filter(|r| r.name.contains(&args.only)).collect();
    let device = Device::open(Some(&args.device), false)?;
    let cores = match device.is_cpu() {
        true => std::thread::available_parallelism().map_or(1, usize::from),
        false => 1,
    };
    let jobs: Vec<(&TrainConfig, Set)> =
        configs.iter().flat_map(|config| SETS.map(|set| (config, set))).collect();
    let results: Vec<OnceLock<Result<Vec<f32>>>> = jobs.iter().map(|_| OnceLock::new()).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        loop {
            let job = next.fetch_add(1, Ordering::Relaxed);
            let Some(&(config, set)) = jobs.get(job) else { return };
            results[job].get_or_init(|| train(config, set, args, &device));
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| match rayon::ThreadPoolBuilder::new().num_threads(1).build() {
                Ok(pool) if cores > 1 => pool.install(work),
                _ => work(),
            });
        }
    });
    let mut results = results.into_iter().filter_map(OnceLock::into_inner);
    let mut rows = Vec::new();
    for config in &configs {
        let points = results.by_ref().take(SETS.len()).collect::<Result<_>>()?;
        rows.push(Row { name: config.name.clone(), points });
    }
    let mut real = Stream::new(args.seed, "real", 0);
    let points = SETS.map(|set| set.draw(&mut real, JUDGED)).to_vec();
    rows.insert(0, Row { name: "(the data)".into(), points });
    Ok(rows)
}

fn table(rows: &[Row]) -> String {
    let mut text = format!("{:28}", "");
    for set in SETS {
        let _ = write!(text, "{:>22}", format!("{} (of {})", set.name(), set.modes()));
    }
    for row in rows {
        let _ = write!(text, "\n{:28}", row.name);
        for (set, points) in SETS.into_iter().zip(&row.points) {
            let Score { covered, good } = Score::of(set, points);
            let _ = write!(text, "{covered:>13}{:>7.1} %", 100.0 * good);
        }
    }
    text
}

fn figure(rows: &[Row]) -> Figure {
    let mut figure = Figure::new("What each loss learns of three distributions").note(format!(
        "{JUDGED} points of each generator, over what lies within three standard deviations of the \
         data's modes. Below: modes (or twentieths of the curve) that have at least a tenth of their \
         share of points, and the share of points that lie there."
    ));
    for part in rows.chunks(rows.len().div_ceil(2)) {
        let mut panel = Panel::new("").columns(SETS.map(Set::name));
        for row in part {
            let cells = SETS.into_iter().zip(&row.points).map(|(set, points)| {
                let Score { covered, good } = Score::of(set, points);
                scatter(set, points).caption(format!("{covered}, {:.0} %", 100.0 * good))
            });
            panel = panel.row(row.name.replace(['+', ','], "\n"), cells);
        }
        figure = figure.beside(panel);
    }
    figure
}

fn main() -> Result<()> {
    let args = Args::parse();
    let rows = all_rows(&args)?;
    println!("{}", table(&rows));
    figure(&rows).save(&args.out)?;
    println!("\nThe image: {}", args.out.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use clap::ValueEnum as _;

    use super::*;

    #[test]
    fn a_few_steps_give_the_right_rows() {
        let args = Args::parse_from(["toys", "--steps", "2", "--only", "hinge"]);
        let rows = all_rows(&args).unwrap();
        let names: Vec<&str> = rows.iter().map(|row| row.name.as_str()).collect();
        assert_eq!(names, ["(the data)", "hinge", "hinge + r1", "relativistic-hinge"]);
        let text = table(&rows);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 5, "{text}");
        assert!(lines.iter().all(|line| line.chars().count() == lines[0].len()), "{text}");
        for (row, line) in rows.iter().zip(&lines[1..]) {
            assert!(line.starts_with(&row.name) && line.matches('%').count() == 3, "{line}");
            assert!(row.points.iter().all(|points| points.len() == 2 * JUDGED));
            assert!(row.points.iter().flatten().all(|v| v.is_finite()));
        }
        let image = figure(&rows).draw().unwrap();
        assert!(image.width() > 6 * SIDE && image.height() > 2 * SIDE);
    }

    #[test]
    fn every_loss_has_a_row_and_a_wasserstein_critic_is_bounded() {
        let all = configs();
        for loss in Loss::value_variants() {
            assert!(all.iter().any(|config| config.loss == *loss), "{loss}");
        }
        for config in all.iter().filter(|config| config.loss == Loss::Wasserstein) {
            assert!(config.clip > 0.0 || config.penalty.0 != Penalty::None, "{}", config.name);
        }
    }

    #[test]
    fn the_data_scores_as_it_should_and_less_scores_less() {
        for set in SETS {
            let points = set.draw(&mut Stream::new(1, "test", 0), JUDGED);
            let Score { covered, good } = Score::of(set, &points);
            // Within three standard deviations in two directions: 1 − exp(−9 / 2).
            assert!(covered == set.modes() && good > 0.98, "{set:?}: {covered} {good}");

            let place = set.places()[0];
            let one: Vec<f32> = place.iter().copied().cycle().take(2 * JUDGED).collect();
            let Score { covered, good } = Score::of(set, &one);
            assert_eq!((covered, good), (1, 1.0), "{set:?}");

            let mut half = one.clone();
            half[..JUDGED].fill(f32::NAN);
            let Score { covered, good } = Score::of(set, &half);
            assert_eq!((covered, good), (1, 0.5), "{set:?}");
        }
    }
}
