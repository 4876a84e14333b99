//! Which of 1,000 modes a generator misses: GAN and Reg-GAN on stacked MNIST, with the library
//! alone and custom networks.
//!
//! `cargo run --release --example stacked_mnist -- FOLDER` (the IDX files of MNIST)
//!
//! An image is three digits, one in each channel, so there are 1,000 equally likely modes. The
//! networks are those of Unrolled GAN's experiment (Metz et al., arXiv 1611.02163, section 3.3.1)
//! with a quarter of its discriminator: 4, 8 and 16 channels, against which a generator can win
//! with few modes. A judge, a classifier trained on single digits, predicts the mode of an image.
//!
//! A judge's few errors alone create modes: for a generator with 100 of them, a judge of 99 %
//! counts several hundred. So the table has modes with at least 6 images beside those with at least
//! one, the Kullback-Leibler divergence of the modes from the uniform distribution, which is
//! robust, and two control rows of real images: of all modes, and of 100.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Parser;
use dcgan::data::{Part, Prepare, Source, sweep};
use dcgan::device::{Device, State};
use dcgan::error::{Error, Result};
use dcgan::gan::{
    Curve, Family, Phase, Recorder, Recording, Scalar, Stage, Step, System, families,
};
use dcgan::images;
use dcgan::model::{Networks, Pipeline, Pixels, Role, Size, seeded_latents};
use dcgan::models::ModelConfig;
use dcgan::nn::{
    BatchNorm, Dropout, Heads, LatentDistribution, Layer, Mode, Pass, Sequential, WeightInit,
};
use dcgan::objectives::cross_entropy;
use dcgan::ops::conv::ConvSpec;
use dcgan::program::{Options, Program};
use dcgan::rng::Stream;
use dcgan::tape::Tape;
use dcgan::tensor::{DType, Data, Tensor};
use dcgan::text::TextEncoder;
use dcgan::train::{Batch, ObjectiveConfig, TrainConfig, Trainer};

/// Side of an image in pixels, digits in an image, classes of digits.
const SIDE: usize = 28;
const STACKED: usize = 3;
const DIGITS: usize = 10;
const MODES: usize = 1000;

/// Latent dimension.
const NZ: usize = 256;

/// Images of a mode that cannot be due to the judge's errors.
const SURE: usize = 6;

const CLASSIFIER: &str = "classifier";

/// Counts the modes of stacked MNIST that GAN and Reg-GAN miss.
#[derive(Debug, Parser)]
struct Args {
    /// A folder with the IDX files of MNIST
    data: PathBuf,
    /// Steps of each training
    #[arg(long, default_value_t = 2000)]
    steps: usize,
    /// Images in a batch
    #[arg(long, default_value_t = 64)]
    batch: usize,
    /// Runs of each kind, with seeds from 0
    #[arg(long, default_value_t = 3)]
    seeds: u64,
    /// The generator's learning rate; the discriminator's is twice that
    #[arg(long, default_value_t = 1e-3)]
    rate: f64,
    /// Channels of the discriminator's first layer; the next two have twice and four times as many:
    /// 4 for the experiment's K/4, 8 for K/2
    #[arg(long, default_value_t = 4)]
    width: usize,
    /// λ₁, the weight of Reg-GAN's mean squared distances
    #[arg(long, default_value_t = ObjectiveConfig::default().distance_weight)]
    distance_weight: f32,
    /// Images judged for each generator
    #[arg(long, default_value_t = 25_600)]
    samples: usize,
    /// Epochs of the judge on the training digits
    #[arg(long, default_value_t = 4)]
    epochs: usize,
    /// cpu, or a GPU as `dcgan devices` lists them
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Writes 64 samples of each run into this folder
    #[arg(long)]
    out: Option<PathBuf>,
}

/// Single digits.
struct Digits {
    /// Concatenated, one byte per pixel.
    images: Vec<u8>,
    labels: Vec<u32>,
}

impl Digits {
    fn read(folder: &Path, part: Part) -> Result<Self> {
        let source = Source::open_part(Some(folder), part)?;
        let Some(labels) = source.labels() else {
            return Err(Error::file(source.origin(), "has no labels: give the IDX files of MNIST"));
        };
        let prepare = Prepare { height: SIDE, width: SIDE, channels: 1, ..Prepare::default() };
        let items: Vec<u32> = (0..source.len() as u32).collect();
        let mut digits = Self { images: Vec::new(), labels: Vec::new() };
        sweep(&source, &prepare, &items, 1024, |chunk| {
            digits.labels.extend(chunk.places.iter().map(|place| labels[chunk.start + place]));
            digits.images.extend(chunk.images);
            Ok(())
        })?;
        match digits.labels.iter().all(|&label| (label as usize) < DIGITS) {
            true => Ok(digits),
            false => {
                Err(Error::file(source.origin(), "has more than ten classes: it is not MNIST"))
            }
        }
    }

    fn len(&self) -> usize {
        self.labels.len()
    }

    fn image(&self, i: usize) -> &[u8] {
        &self.images[i * SIDE * SIDE..][..SIDE * SIDE]
    }

    /// Appends three digits as the channels of one image.
    fn stack(&self, digits: [usize; STACKED], out: &mut Vec<u8>) {
        let channels = digits.map(|i| self.image(i));
        out.extend((0..SIDE * SIDE).flat_map(|p| channels.map(|channel| channel[p])));
    }

    /// `n` images of random digits.
    fn triples(&self, stream: &mut Stream, n: usize) -> Vec<u8> {
        let mut images = Vec::with_capacity(n * SIDE * SIDE * STACKED);
        for _ in 0..n {
            self.stack(
                [(); STACKED].map(|()| stream.below(self.len() as u32) as usize),
                &mut images,
            );
        }
        images
    }

    /// `n` images of only some modes.
    fn triples_of(&self, modes: &[u32], stream: &mut Stream, n: usize) -> Vec<u8> {
        let of = |digit| (0..self.len()).filter(move |&i| self.labels[i] == digit);
        let each: Vec<Vec<usize>> = (0..DIGITS as u32).map(|digit| of(digit).collect()).collect();
        let mut images = Vec::with_capacity(n * SIDE * SIDE * STACKED);
        for _ in 0..n {
            let mode = modes[stream.below(modes.len() as u32) as usize] as usize;
            let digits = [mode / 100, mode / 10 % 10, mode % 10];
            let digits =
                digits.map(|digit| each[digit][stream.below(each[digit].len() as u32) as usize]);
            self.stack(digits, &mut images);
        }
        images
    }
}

/// A convolution that halves images of `side`, with batch norm and leaky ReLU.
fn halving(side: usize, [from, to]: [usize; 2], slope: f32) -> [Layer; 3] {
    let half = side.div_ceil(2);
    let spec = ConvSpec::up([half; 2], [side; 2], [3; 2], [2; 2], [1; 2]);
    let spec = spec.expect("kernels of 3 with padding 1 halve every side, rounded up");
    [Layer::conv(spec, from, to, false), Layer::batch_norm(to), Layer::leaky_relu(slope)]
}

/// Its transpose, which doubles them, with ReLU.
fn doubling(side: usize, [from, to]: [usize; 2]) -> [Layer; 3] {
    let half = side.div_ceil(2);
    let spec = ConvSpec::up([half; 2], [side; 2], [3; 2], [2; 2], [1; 2]);
    let spec = spec.expect("as above");
    [Layer::conv_transpose(spec, to, from, false), Layer::batch_norm(to), Layer::relu()]
}

/// From a latent to an image.
fn generator() -> Sequential {
    let norm = BatchNorm { cells: [4, 4], ..BatchNorm::new(64) };
    let mut layers = vec![Layer::project([4, 4], 64, NZ, false), norm.into(), Layer::relu()];
    for (side, channels) in [(7, [64, 32]), (14, [32, 16]), (SIDE, [16, 8])] {
        layers.extend(doubling(side, channels));
    }
    let same = ConvSpec::down([SIDE; 2], [3; 2], [1; 2], [1; 2]).expect("the size stays");
    layers.extend([Layer::conv(same, 8, STACKED, true), Layer::Tanh]);
    Sequential { layers }
}

/// From an image to `outputs` values: the discriminator, and the encoder.
fn body(width: usize, outputs: usize) -> Sequential {
    let mut layers = Vec::new();
    for (side, channels) in
        [(SIDE, [STACKED, width]), (14, [width, 2 * width]), (7, [2 * width, 4 * width])]
    {
        layers.extend(halving(side, channels, 0.3));
    }
    layers.extend([Layer::Flatten, Layer::linear(4 * 4 * 4 * width, outputs, true)]);
    Sequential { layers }
}

/// From a digit to the logits of its class.
fn classifier() -> Sequential {
    let he = WeightInit::He { gain: 2.0_f32.sqrt(), uniform: false };
    let mut layers = Vec::new();
    for (side, channels) in [(SIDE, [1, 16]), (14, [16, 32]), (7, [32, 64])] {
        layers.extend(halving(side, channels, 0.0).map(|layer| layer.initialized(he)));
    }
    layers.extend([
        Layer::Flatten,
        Layer::linear(4 * 4 * 64, 64, false).initialized(he),
        Layer::batch_norm(64),
        Layer::relu(),
        Layer::Dropout(Dropout::new(0.3)),
        Layer::linear(64, DIGITS, true).initialized(he),
    ]);
    Sequential { layers }
}

/// The description of networks that generate or take images with this number of channels.
fn described<const N: usize>(
    channels: usize,
    networks: [(Role, Option<Sequential>); N],
) -> Networks {
    Networks {
        size: Size { height: SIDE, width: SIDE },
        channels,
        nz: NZ,
        latent_distribution: LatentDistribution::Normal,
        pixels: Pixels::Signed,
        classes: Vec::new(),
        text: TextEncoder::default(),
        heads: 0,
        by_name: Networks::usual(networks),
        pipeline: Pipeline::default(),
        parts: Heads::default(),
    }
}

/// A classifier of digits, compiled.
struct Judge {
    state: State,
    program: Program,
    accuracy: f64,
}

/// Digits classified at a time.
const JUDGED: usize = 300;

/// The judge's learning rate, which falls to 0.
const RATE: f64 = 2e-3;

impl Judge {
    /// Trains it, and measures it on held-out digits.
    fn train(args: &Args, device: &Device, train: &Digits, test: &Digits) -> Result<Self> {
        let batch = 100;
        let steps = args.epochs * train.len() / batch;
        let networks = described(1, [(Role::Classifier, Some(classifier()))]);
        let objective = ObjectiveConfig { beta1: 0.9, ..ObjectiveConfig::default() };
        let config = TrainConfig {
            batch,
            seed: 0,
            objective,
            ema: 0,
            ..TrainConfig::new(ModelConfig::default())
        };
        let falling = Curve::Rate { base: RATE, warm_up: 0, decay: (steps * batch) as u64 };
        let phase = Phase {
            networks: None,
            name: "judge".into(),
            image: [SIDE, SIDE, 1],
            batch,
            batches: 1,
            classes: DIGITS,
            images: None,
            frozen: Vec::new(),
            scalars: vec![Scalar::new("rate", falling)],
            enter: Vec::new(),
            record: Recorder::new(Self::record),
        };
        let stages = vec![Stage::new("judge", vec![phase])];
        let system = System { stages, ..System::new(&config, networks) };
        let (recording, options) = (Recording::default(), Options::default());
        let mut trainer = Trainer::with_system(config, system, recording, device, &options)?;
        for step in 0..steps {
            let mut stream = Stream::new(0, "digits", step as u32);
            let (mut images, mut labels) = (Vec::new(), Vec::new());
            for _ in 0..batch {
                let i = stream.below(train.len() as u32) as usize;
                labels.push(train.labels[i]);
                let by = [0, 1].map(|_| stream.below(5) as isize - 2);
                shifted(train.image(i), by, &mut images);
            }
            trainer.step(Batch::from(images).labels(&labels))?;
        }
        trainer.finish()?;
        let mut judge = Self::compile(&trainer, device)?;
        let said = judge.digits(&test.images)?;
        let right = said.iter().zip(&test.labels).filter(|(said, label)| said == label).count();
        judge.accuracy = right as f64 / test.len() as f64;
        Ok(judge)
    }

    fn record(t: &mut Tape, step: &mut Step<'_>) -> Result<()> {
        let mut update = step.update(t, CLASSIFIER, "rate")?;
        let labels = step.labels.expect("the phase has classes");
        let logits = step.forward(t, CLASSIFIER, step.images, step.pass("", None))?.last();
        let logits = t.reshape(logits, &[step.phase.batch, DIGITS])?;
        let loss = cross_entropy(t, logits, labels)?;
        update.minimize(t, loss)?;
        update.report("loss_class", loss);
        step.apply(t, [update])
    }

    fn compile(trainer: &Trainer, device: &Device) -> Result<Self> {
        let mut state = State::new(device);
        trainer.system().model.load(&mut state, &trainer.tensors()?)?;
        let mut t = Tape::new();
        let bytes = t.feed("digits", &[JUDGED, SIDE, SIDE, 1], DType::U8)?;
        let x = t.from_u8(bytes)?;
        let logits = classifier().record(&mut t, CLASSIFIER, x, &Pass::new(Mode::Eval))?.last();
        t.fetch("logits", logits)?;
        let program = Program::compile(&t, &state, &Options::default())?;
        Ok(Self { state, program, accuracy: f64::NAN })
    }

    /// Predicts the classes of digits.
    fn digits(&mut self, images: &[u8]) -> Result<Vec<u32>> {
        let mut said = Vec::with_capacity(images.len() / (SIDE * SIDE));
        for some in images.chunks(JUDGED * SIDE * SIDE) {
            let count = some.len() / (SIDE * SIDE);
            let mut some = some.to_vec();
            some.resize(JUDGED * SIDE * SIDE, 0);
            let digits = Tensor::with_data([JUDGED, SIDE, SIDE, 1], Data::U8(some))?;
            let fetched = self.program.call(&mut self.state, &[("digits", &digits)])?;
            let rows = fetched["logits"].f32s().chunks(DIGITS).take(count);
            said.extend(rows.map(|row| {
                let largest = (0..DIGITS).max_by(|&a, &b| row[a].total_cmp(&row[b]));
                largest.expect("there are ten") as u32
            }));
        }
        Ok(said)
    }

    /// Counts the modes of stacked images.
    fn count(&mut self, stacked: &[u8]) -> Result<Count> {
        let mut digits = Vec::with_capacity(stacked.len());
        for image in stacked.chunks(SIDE * SIDE * STACKED) {
            for channel in 0..STACKED {
                digits.extend(image.iter().skip(channel).step_by(STACKED));
            }
        }
        let mut hits = vec![0; MODES];
        for mode in self.digits(&digits)?.chunks(STACKED) {
            hits[mode.iter().fold(0, |mode, &digit| 10 * mode + digit as usize)] += 1;
        }
        Ok(Count::of(&hits))
    }
}

/// Appends a digit moved by up to two pixels, black where it came from.
fn shifted(digit: &[u8], by: [isize; 2], out: &mut Vec<u8>) {
    for y in 0..SIDE as isize {
        for x in 0..SIDE as isize {
            let [y, x] = [y + by[0], x + by[1]].map(usize::try_from);
            let inside = |v: &usize| *v < SIDE;
            let place = y.ok().filter(inside).zip(x.ok().filter(inside));
            out.push(place.map_or(0, |(y, x)| digit[y * SIDE + x]));
        }
    }
}

/// The evaluation of a set of images.
#[derive(Clone, Copy, Debug)]
struct Count {
    /// Modes with at least one image.
    any: usize,
    /// Modes with at least [`SURE`].
    sure: usize,
    /// `Σ p ln (1000 p)`, in nats.
    divergence: f64,
}

impl Count {
    fn of(hits: &[usize]) -> Self {
        let n: usize = hits.iter().sum();
        let at_least = |least| hits.iter().filter(|&&hits| hits >= least).count();
        let term = |&hits: &usize| {
            let p = hits as f64 / n as f64;
            if hits == 0 { 0.0 } else { p * (MODES as f64 * p).ln() }
        };
        Self { any: at_least(1), sure: at_least(SURE), divergence: hits.iter().map(term).sum() }
    }

    fn print(self, name: &str, more: &str) {
        let Self { any, sure, divergence } = self;
        println!("{name:<28} {any:>6} {sure:>6} {divergence:>8.3}  {more}");
    }
}

/// The kinds of training.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Gan,
    RegGan,
    /// With the regularizer as printed in the paper, which makes reconstructions look generated.
    Flipped,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Gan => "GAN",
            Self::RegGan => "Reg-GAN",
            Self::Flipped => "Reg-GAN, sign flipped",
        }
    }

    fn system(self, args: &Args, seed: u64) -> Result<(TrainConfig, System)> {
        let usual = ObjectiveConfig::default();
        let family = if self == Self::Gan { Family::Gan } else { Family::Mrgan };
        let sign = if self == Self::Flipped { -1.0 } else { 1.0 };
        let mode_weight = sign * usual.mode_weight;
        let distance_weight = args.distance_weight;
        let objective =
            ObjectiveConfig { family, distance_weight, mode_weight, beta2: 0.99, ..usual };
        let config = TrainConfig {
            batch: args.batch,
            seed,
            lr_g: args.rate,
            lr_d: 2.0 * args.rate,
            ema: 0,
            objective,
            ..TrainConfig::new(ModelConfig::default())
        };
        let networks = described(
            STACKED,
            [
                (Role::Generator, Some(generator())),
                (Role::Discriminator, Some(body(args.width, 1))),
                (Role::Encoder, (self != Self::Gan).then(|| body(args.width, NZ))),
            ],
        );
        networks.check().expect("the layers follow one another");
        let system = families::system(&config, networks)?;
        Ok((config, system))
    }

    /// Trains on triples, which depend only on seed and step, and counts the modes of samples.
    fn run(
        self,
        args: &Args,
        device: &Device,
        digits: &Digits,
        judge: &mut Judge,
        seed: u64,
    ) -> Result<Count> {
        let started = Instant::now();
        let (config, system) = self.system(args, seed)?;
        let (recording, options) = (Recording::default(), Options::default());
        let mut trainer = Trainer::with_system(config, system, recording, device, &options)?;
        for step in 0..args.steps {
            let mut stream = Stream::new(seed, "triples", step as u32);
            trainer.step(digits.triples(&mut stream, args.batch))?;
        }
        let last = trainer.finish()?.pop().unwrap_or_default();
        let mut sampler = trainer.sampler(JUDGED)?;
        let mut samples = Vec::with_capacity(args.samples * SIDE * SIDE * STACKED);
        let seeds: Vec<u64> = (0..args.samples as u64).collect();
        for seeds in seeds.chunks(10 * JUDGED) {
            let latents = seeded_latents(seeds, NZ, LatentDistribution::Normal);
            samples.extend(images::bytes(trainer.sample(&mut sampler, &latents)?.f32s()));
        }
        if let Some(folder) = &args.out {
            let shape = [64, SIDE, SIDE, STACKED];
            let first = &samples[..samples.len().min(shape.iter().product())];
            let shape = [first.len() / (SIDE * SIDE * STACKED), SIDE, SIDE, STACKED];
            let grid = images::grid(&images::values(first), shape)?;
            images::save_png(&folder.join(format!("{self:?}-{seed}.png")), &grid)?;
        }
        let count = judge.count(&samples)?;
        let metrics = ["loss_d", "loss_g", "distance", "d_near"];
        let metrics = metrics.iter().filter_map(|name| Some((name, last.get(name)?)));
        let metrics: Vec<String> = metrics.map(|(name, x)| format!("{name} {x:.3}")).collect();
        let took = started.elapsed().as_secs();
        count.print(
            &format!("{}, seed {seed}", self.name()),
            &format!("{took} s, {}", metrics.join(", ")),
        );
        Ok(count)
    }
}

fn main() -> Result<()> {
    let args = Args::parse();
    let device = Device::open(Some(&args.device), false)?;
    let train = Digits::read(&args.data, Part::Train)?;
    let test = Digits::read(&args.data, Part::Test)?;
    let started = Instant::now();
    let mut judge = Judge::train(&args, &device, &train, &test)?;
    let took = started.elapsed().as_secs();
    println!("judge: {:.2} % of {} test digits, {took} s", 100.0 * judge.accuracy, test.len());
    println!(
        "{} samples, {} steps of {} images, K/{}\n",
        args.samples,
        args.steps,
        args.batch,
        16 / args.width.max(1)
    );
    println!("{:<28} {:>6} {:>6} {:>8}", "modes with hits", ">= 1", format!(">= {SURE}"), "KL");

    let mut stream = Stream::new(0, "control", 0);
    judge.count(&test.triples(&mut stream, args.samples))?.print("real, test digits", "");
    let modes = &Stream::new(0, "modes", 0).permutation(MODES)[..100];
    let some = test.triples_of(modes, &mut stream, args.samples);
    judge.count(&some)?.print("real, 100 modes", "");

    let mut better = 0;
    for seed in 0..args.seeds {
        let [plain, regular] = [Kind::Gan, Kind::RegGan]
            .map(|kind| kind.run(&args, &device, &train, &mut judge, seed));
        let (plain, regular) = (plain?, regular?);
        better += u64::from(regular.sure > plain.sure && regular.divergence < plain.divergence);
    }
    Kind::Flipped.run(&args, &device, &train, &mut judge, 0)?;
    println!("\nReg-GAN has more modes and a lower KL in {better} of {} pairs", args.seeds);
    Ok(())
}

#[cfg(test)]
mod tests {
    use dcgan::gan::families::{DISCRIMINATOR, ENCODER, GENERATOR};

    use super::*;

    #[test]
    fn modes_are_counted() {
        let mut hits = vec![0; MODES];
        (hits[0], hits[7], hits[999]) = (SURE, SURE - 1, 1);
        let count = Count::of(&hits);
        assert_eq!((count.any, count.sure), (3, 1));
        assert!(Count::of(&[25; MODES]).divergence.abs() < 1e-12);
        hits.fill(0);
        hits[..100].fill(256);
        assert!((Count::of(&hits).divergence - 10.0_f64.ln()).abs() < 1e-12);
    }

    #[test]
    fn a_digit_moves() {
        let mut digit = vec![0; SIDE * SIDE];
        digit[0] = 9;
        digit[5 * SIDE + 7] = 3;
        let mut moved = Vec::new();
        shifted(&digit, [2, -1], &mut moved);
        assert_eq!(moved.len(), SIDE * SIDE);
        assert_eq!(moved.iter().filter(|&&v| v > 0).count(), 1);
        assert_eq!(moved[3 * SIDE + 8], 3);
    }

    #[test]
    fn networks_fit_and_reg_gan_has_an_encoder() {
        let args = Args::parse_from(["stacked_mnist", "."]);
        for kind in [Kind::Gan, Kind::RegGan, Kind::Flipped] {
            let (config, system) = kind.system(&args, 1).expect("it is a system");
            assert_eq!(system.network(ENCODER).is_ok(), kind != Kind::Gan);
            for name in [GENERATOR, DISCRIMINATOR] {
                assert!(system.network(name).is_ok());
            }
            assert_eq!(config.objective.mode_weight < 0.0, kind == Kind::Flipped);
        }
    }
}
