//! Whether a device computes what it should: every sample of every op, and whole training steps,
//! against the CPU. What `dcgan check` runs.
//!
//! The CPU itself is held against its own results on one thread, which says that its threads do not
//! disturb each other; that its numbers are right is what the tests of this crate show.

use std::collections::BTreeMap;

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::augment::Augment;
use crate::device::{Device, State};
use crate::error::{Error, Result};
use crate::models::{Conditioning, Design, Network, Norm, Size};
use crate::nn::Weight;
use crate::objectives::{Loss, Penalty};
use crate::ops::samples::{Sample, Tolerance, samples};
use crate::program::tune::variants;
use crate::program::{Choices, Fetched, Options, Precision, Program};
use crate::rng::Stream;
use crate::tape::Tape;
use crate::tensor::{Data, Tensor};
use crate::train::step::{self, AVERAGE, KEY, Schedule, StepOptions};
use crate::train::{Method, scale};

/// The seed of all inputs.
const SEED: u64 = 1;

/// What came of one check.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Both devices agree.
    Passed(Difference),
    /// They differ by more than is allowed.
    Differs(Difference),
    /// The device did not get as far as a result: a kernel does not compile, memory is full.
    Failed(String),
}

impl Outcome {
    /// Whether the check passed.
    #[must_use]
    pub fn is_passed(&self) -> bool {
        matches!(self, Self::Passed(_))
    }

    /// How far apart the results are; infinitely where there is none.
    #[must_use]
    pub fn difference(&self) -> Difference {
        match self {
            Self::Passed(difference) | Self::Differs(difference) => *difference,
            Self::Failed(_) => Difference { error: f64::INFINITY, of_allowed: f64::INFINITY },
        }
    }

    fn of(difference: Difference) -> Self {
        // NaN passes no comparison.
        if difference.of_allowed <= 1.0 && difference.error.is_finite() {
            Self::Passed(difference)
        } else {
            Self::Differs(difference)
        }
    }
}

/// How far apart two results are.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Difference {
    /// The largest difference, as a share of the largest number.
    pub error: f64,
    /// The same as a share of what is allowed: good up to 1.
    pub of_allowed: f64,
}

impl Difference {
    /// The worse of two, number by number. NaN counts as infinite.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        let worse = |a: f64, b: f64| if a >= b { a } else { b };
        let number = |x: f64| if x.is_nan() { f64::INFINITY } else { x };
        Self {
            error: worse(number(self.error), number(other.error)),
            of_allowed: worse(number(self.of_allowed), number(other.of_allowed)),
        }
    }

    /// `error` where `allowed` is allowed.
    fn within(error: f64, allowed: f64) -> Self {
        Self { error, of_allowed: error / allowed }.max(Self::default())
    }
}

/// The numbers of a tensor of any type.
fn wide(tensor: &Tensor) -> Vec<f64> {
    match tensor.data() {
        Data::F32(v) => v.iter().map(|&v| f64::from(v)).collect(),
        Data::U32(v) => v.iter().map(|&v| f64::from(v)).collect(),
        Data::U8(v) => v.iter().map(|&v| f64::from(v)).collect(),
    }
}

/// The largest of some differences; infinite where one is no number.
fn largest(all: impl Iterator<Item = f64>) -> f64 {
    all.fold(0.0, |m, e| if e.is_nan() { f64::INFINITY } else { m.max(e) })
}

/// The largest difference of two results as a share of the largest number; infinite where any
/// number is none, or where there are not as many on both sides.
fn share(got: &[f64], want: &[f64]) -> f64 {
    if got.len() != want.len() {
        return f64::INFINITY;
    }
    let error = largest(got.iter().zip(want).map(|(g, w)| (g - w).abs()));
    // Where all is zero there is nothing to be a share of.
    let most = largest(want.iter().map(|w| w.abs())).max(f64::from(f32::MIN_POSITIVE));
    if error.is_finite() { error / most } else { error }
}

/// Holds the result of one device against another's. Both may be off by `tolerance`, each to its
/// own side.
#[must_use]
pub fn compare(got: &Tensor, want: &Tensor, tolerance: Tolerance) -> Outcome {
    let (got, want) = (wide(got), wide(want));
    let of_allowed = tolerance.worst(&got, &want) / 2.0;
    Outcome::of(Difference { error: share(&got, &want), of_allowed })
}

/// A device under test, and what it is held against.
#[derive(Debug)]
pub struct Checker {
    device: Device,
    /// One thread, for where the CPU is held against itself.
    alone: Option<ThreadPool>,
}

impl Checker {
    /// A checker of `device`.
    ///
    /// # Errors
    /// [`Error::Device`] where the system gives no thread.
    pub fn new(device: Device) -> Result<Self> {
        let alone = match device {
            Device::Gpu(_) => None,
            Device::Cpu => {
                let pool = ThreadPoolBuilder::new().num_threads(1).build();
                Some(pool.map_err(|e| Error::Device(format!("no thread could be started: {e}")))?)
            }
        };
        Ok(Self { device, alone })
    }

    /// What the device is held against.
    #[must_use]
    pub fn reference(&self) -> &'static str {
        match self.alone {
            Some(_) => "the CPU itself, on one thread",
            None => "the CPU",
        }
    }

    /// Does `work` on the CPU that the device is held against.
    fn on_reference<T: Send>(&self, work: impl FnOnce(&Device) -> T + Send) -> T {
        match &self.alone {
            Some(pool) => pool.install(|| work(&Device::Cpu)),
            None => work(&Device::Cpu),
        }
    }

    /// The ways in which the device can run a sample, each as the choice that leads there and what
    /// it is called: the default, which has no name, and every other variant of its kernels.
    ///
    /// # Errors
    /// None for the samples of this crate: they fit their ops.
    pub fn ways(&self, sample: &Sample) -> Result<Vec<(String, Choices)>> {
        let (tape, ..) = sample.tape()?;
        let mut ways = vec![(String::new(), Choices::default())];
        for (key, names) in variants(&tape, &self.device) {
            for name in names.into_iter().skip(1) {
                let kernels = BTreeMap::from([(key.clone(), name.clone())]);
                ways.push((name, Choices { device: self.device.name(), kernels }));
            }
        }
        Ok(ways)
    }

    /// Checks one sample of an op in one of its ways.
    ///
    /// # Errors
    /// [`Error::Lost`] where the device is gone, so that nothing more can be checked on it.
    pub fn sample(&self, sample: &Sample, choices: &Choices) -> Result<Outcome> {
        let run = |device: &Device| -> Result<Tensor> {
            let (tape, ..) = sample.tape()?;
            let mut state = State::new(device);
            let options = Options { choices: choices.clone(), ..Options::default() };
            let mut program = Program::compile(&tape, &state, &options)?;
            let feeds = sample.feeds(SEED);
            let feeds: Vec<(&str, &Tensor)> = feeds.iter().map(|(n, t)| (n.as_str(), t)).collect();
            let mut fetched = program.call(&mut state, &feeds)?;
            let missing = || Error::Tensor { name: "y".into(), what: "was not computed".into() };
            fetched.remove("y").ok_or_else(missing)
        };
        let want = self.on_reference(run);
        match (run(&self.device), want) {
            (Ok(got), Ok(want)) => Ok(compare(&got, &want, sample.tolerance)),
            (Err(Error::Lost(what)), _) => Err(Error::Lost(what)),
            (Err(error), _) => Ok(Outcome::Failed(error.to_string())),
            (_, Err(error)) => Ok(Outcome::Failed(format!("on the CPU: {error}"))),
        }
    }

    /// Checks one training step: what it computes, group by group.
    ///
    /// # Errors
    /// As [`Checker::sample`].
    pub fn step(&self, case: &StepCase) -> Result<StepOutcome> {
        let want = self.on_reference(|device| case.run(device));
        match (case.run(&self.device), want) {
            (Ok(got), Ok(want)) => Ok(case.compare(&got, &want)),
            (Err(Error::Lost(what)), _) => Err(Error::Lost(what)),
            (Err(error), _) => Ok(StepOutcome::failed(&error.to_string())),
            (_, Err(error)) => Ok(StepOutcome::failed(&format!("on the CPU: {error}"))),
        }
    }
}

/// The samples by op, in the order of the table of ops.
#[must_use]
pub fn samples_by_op() -> Vec<(&'static str, Vec<Sample>)> {
    let mut all: Vec<(&'static str, Vec<Sample>)> = Vec::new();
    for sample in samples() {
        match all.iter_mut().find(|(op, _)| *op == sample.op) {
            Some((_, of_op)) => of_op.push(sample),
            None => all.push((sample.op, vec![sample])),
        }
    }
    let place = |op: &str| crate::ops::table::OPS.iter().position(|info| info.name == op);
    all.sort_by_key(|(op, _)| place(op));
    all
}

/// A training step to check.
#[derive(Clone, Copy, Debug)]
pub struct StepCase {
    /// The networks.
    pub model: Design,
    /// Pictures in a batch.
    pub batch: usize,
    /// How they are trained.
    pub method: Method,
    /// How a GPU keeps activations; the CPU, against which it is held, keeps all bits.
    pub precision: Precision,
    /// What sets it apart, in a few words; else empty.
    pub what: &'static str,
}

/// What a step checks, in the order of [`StepOutcome::groups`].
pub const GROUPS: [&str; 5] = ["losses", "gradients", "statistics", "weights", "latents' key"];

/// What came of a step's checks, one for each of [`GROUPS`].
#[derive(Clone, Debug)]
pub struct StepOutcome {
    /// The outcomes.
    pub groups: [Outcome; GROUPS.len()],
    /// The tensor that is furthest off, where one is.
    pub worst: [String; GROUPS.len()],
}

impl StepOutcome {
    fn failed(what: &str) -> Self {
        Self {
            groups: std::array::from_fn(|_| Outcome::Failed(what.into())),
            worst: std::array::from_fn(|_| String::new()),
        }
    }
}

/// The steps that are checked: every network on small and uneven networks, with the parts that the
/// GAN family adds, one whose layers have the shapes of DCGAN-64, and one in 16 bits where `halves`
/// says that the device has them.
#[must_use]
pub fn step_cases(halves: bool) -> Vec<StepCase> {
    let model = |network, side: usize, channels, width| Design {
        channels,
        nz: if width < 64 { 10 } else { 100 },
        ngf: width,
        ndf: width,
        ..Design::usual(network, Some(Size { height: side, width: side }))
    };
    let method = Method { smooth: 0.1, ..Method::default() };
    let plain =
        |model, batch| StepCase { model, batch, method, precision: Precision::F32, what: "" };
    let told = |classes, model| Design { classes, ..model };
    let mut cases = vec![
        plain(model(Network::Dcgan, 32, 3, 8), 6),
        plain(model(Network::Paper, 16, 3, 8), 8),
        plain(model(Network::Dcgan, 28, 1, 5), 3),
        plain(told(10, model(Network::Mnist, 28, 1, 4)), 6),
        plain(model(Network::Dcgan, 64, 3, 64), 2),
        StepCase {
            method: Method { loss: Loss::Hinge, ..Method::default() },
            what: "hinge, spectral norm",
            ..plain(Design { weight_d: Weight::Spectral, ..model(Network::Cnn, 32, 3, 8) }, 4)
        },
        StepCase {
            method: Method {
                loss: Loss::Wasserstein,
                penalty: Penalty::Gp,
                penalty_weight: 10.0,
                ..Method::default()
            },
            what: "gradient penalty, projection",
            ..plain(
                Design {
                    classes: 3,
                    conditioning: Conditioning::Projection,
                    norm_d: Norm::None,
                    ..model(Network::Resnet, 32, 3, 6)
                },
                4,
            )
        },
        StepCase {
            method: Method { augment: Augment::ALL, ..method },
            what: "attention, DiffAugment",
            ..plain(Design { attention: 16, ..model(Network::Dcgan, 32, 3, 8) }, 4)
        },
        StepCase {
            method: Method { feature_matching: true, ..method },
            what: "feature matching",
            ..plain(Design { weight_d: Weight::Norm, ..model(Network::Mlp, 16, 1, 24) }, 6)
        },
    ];
    if halves {
        let precision = Precision::F16;
        cases.push(StepCase {
            precision,
            what: "16 bits",
            ..plain(model(Network::Dcgan, 32, 3, 16), 8)
        });
    }
    cases
}

/// What a training step leaves behind.
struct After {
    fetched: Fetched,
    state: BTreeMap<String, Tensor>,
}

/// The learning rate of the steps that are checked.
const RATE: f64 = 2e-4;

/// The scale of losses in steps in 16 bits.
const LOSS_SCALE: f32 = 1024.0;

/// What the names of the optimiser's first moments begin with.
const MOMENT: &str = "adam.m.";

/// A tensor whose gradient is smaller than this share of the network's mean one may have none but
/// what rounding leaves.
const LEAST_GRADIENT: f64 = 1e-3;

/// How much further off numbers may be that are kept in 16 bits.
const COARSER: f64 = 8.0;

impl StepCase {
    /// Runs one step from the same state on the same pictures.
    fn run(&self, device: &Device) -> Result<After> {
        self.run_from(device, &|_, value| value)
    }

    /// Runs one step from the state that `start` makes of the usual one.
    fn run_from(&self, device: &Device, start: &dyn Fn(&str, Tensor) -> Tensor) -> Result<After> {
        let precision = match device {
            Device::Cpu => Precision::F32,
            Device::Gpu(_) => self.precision,
        };
        let method = self.method;
        let options = StepOptions {
            model: self.model,
            batch: self.batch,
            method,
            average: true,
            feed_draws: false,
            // Gradients are read from the optimiser's moments: fetching them would take four times
            // their memory.
            fetch_gradients: false,
            scaled: precision == Precision::F16,
        };
        let mut tape = Tape::new();
        step::record(&mut tape, &options)?;
        let mut state = State::new(device);
        for (name, value) in step::initial_state(&options, SEED)? {
            state.set(&name, &start(&name, value))?;
        }
        if options.scaled {
            // Small enough for the first update to be made.
            state.set(scale::SCALE, &Tensor::full(Vec::new(), LOSS_SCALE))?;
        }
        let compile = Options { precision, ..Options::default() };
        let mut program = Program::compile(&tape, &state, &compile)?;
        let numbers = method.optimizer().schedule(RATE, 1);
        let schedule = Schedule {
            discriminator: vec![numbers],
            generator: numbers,
            average: 0.3,
            history: 1.0,
        };
        let schedule = schedule.tensor();
        let pictures = self.pictures()?;
        let classes = self.model.classes;
        let labels: Vec<u32> = (0..self.batch).map(|i| (i % classes.max(1)) as u32).collect();
        let labels = Tensor::one_hot(&labels, classes.max(1))?;
        let mut feeds = vec![("pictures", &pictures), ("schedule", &schedule)];
        if classes > 0 {
            feeds.push(("labels", &labels));
        }
        let fetched = program.call(&mut state, &feeds)?;
        let names: Vec<String> = state.names().map(String::from).collect();
        let mut after = BTreeMap::new();
        for name in names {
            let value = state.get(&name)?;
            after.insert(name, value);
        }
        Ok(After { fetched, state: after })
    }

    /// Noise.
    fn pictures(&self) -> Result<Tensor> {
        let Design { size, channels, .. } = self.model;
        let shape = [self.batch, size.height, size.width, channels];
        let mut noise = Stream::new(SEED, "pictures", 0);
        let bytes = (0..shape.iter().product()).map(|_| noise.next_u32() as u8).collect();
        Tensor::with_data(shape, Data::U8(bytes))
    }

    /// Holds what one device made of the step against another's.
    fn compare(&self, got: &After, want: &After) -> StepOutcome {
        let worst = |all: &mut dyn Iterator<Item = (&str, Difference)>| {
            let mut worst = (String::new(), Difference::default());
            for (name, difference) in all {
                let both = worst.1.max(difference);
                if both.of_allowed > worst.1.of_allowed {
                    worst.0 = name.to_owned();
                }
                worst.1 = both;
            }
            worst
        };
        let pair = |name: &str| match (got.state.get(name), want.state.get(name)) {
            (Some(got), Some(want)) => (wide(got), wide(want)),
            // As many numbers as there are on no side: infinitely wrong.
            _ => (vec![f64::NAN], Vec::new()),
        };
        let names = || want.state.keys().map(String::as_str);
        let is_statistic = |name: &str| name.contains(".running_");
        let coarser = if self.precision == Precision::F16 { COARSER } else { 1.0 };

        let losses = worst(&mut want.fetched.iter().map(|(name, want)| {
            let got = got.fetched.get(name).map_or(vec![f64::NAN], wide);
            (name.as_str(), Difference::within(share(&got, &wide(want)), coarser * 2e-3))
        }));
        // After one step the first moment is a share of the gradient. A tensor's may be nothing but
        // rounding, such as that of a bias in front of a batch norm.
        let moments = || names().filter(|n| n.starts_with(MOMENT));
        let network =
            |name: &str| name.trim_start_matches(MOMENT).split('.').next().map(str::to_owned);
        let mean = |name: &str| {
            let of_network = moments().filter(|n| network(n) == network(name));
            let all: Vec<f64> = of_network.flat_map(|n| pair(n).1).collect();
            mean_size(&all)
        };
        let means: BTreeMap<_, f64> =
            ["generator", "discriminator"].map(|n| (Some(n.to_owned()), mean(n))).into();
        let least = |name: &str| LEAST_GRADIENT * means.get(&network(name)).copied().unwrap_or(0.0);
        let is_rounding = |name: &str| {
            let moment = format!("{MOMENT}{}", step::twin_of(name).unwrap_or(name));
            want.state.get(&moment).is_some_and(|m| mean_size(&wide(m)) < least(&moment))
        };
        let gradients = on_average(
            &mut moments().map(|name| {
                let (got, want) = pair(name);
                (name, relative(&got, &want, least(name)), want.len())
            }),
            [coarser * 0.01, 0.3],
        );
        let statistics = worst(&mut names().filter(|n| is_statistic(n)).map(|name| {
            let (got, want) = pair(name);
            (name, Difference::within(share(&got, &want), coarser * 1e-3))
        }));
        let is_weight = |n: &&str| !n.starts_with("adam.") && !is_statistic(n) && *n != KEY;
        let weights = on_average(
            &mut names().filter(is_weight).map(|name| {
                let (got, want) = pair(name);
                let part = if name.starts_with(AVERAGE) { 0.3 } else { 1.0 };
                let apart = rates_apart(&got, &want, part);
                // Where signs are those of rounding, only how far a step can go is to be seen.
                (name, if is_rounding(name) && apart.is_finite() { 0.0 } else { apart }, want.len())
            }),
            [coarser * 0.02, 0.3],
        );
        let (got_key, want_key) = pair(KEY);
        let key = (KEY.into(), Difference::within(share(&got_key, &want_key), 1e-12));
        let all = [losses, gradients, statistics, weights, key];
        StepOutcome {
            groups: all.each_ref().map(|(_, difference)| Outcome::of(*difference)),
            worst: all.map(|(name, _)| name),
        }
    }
}

/// The mean error over all numbers of some tensors, given as (name, mean error, numbers), and the
/// tensor that is worst. `allowed`: over all numbers, and over those of one tensor.
///
/// A step has hundreds of thousands of rectifiers. What rounding lifts over the kink of one of them
/// changes gradients behind it by up to a few hundredths, and Adam's first step moves a weight by
/// one learning rate along the sign of its gradient, whatever its size: no two devices agree much
/// better than that in every number of every step. On average they do; and the samples hold each op
/// by itself to its last digits.
fn on_average(
    tensors: &mut dyn Iterator<Item = (&str, f64, usize)>,
    allowed: [f64; 2],
) -> (String, Difference) {
    let (mut sum, mut count) = (0.0, 0);
    let mut worst = (String::new(), 0.0_f64);
    for (name, mean, len) in tensors {
        let mean = if mean.is_nan() { f64::INFINITY } else { mean };
        sum += mean * len.max(1) as f64;
        count += len.max(1);
        if mean > worst.1 {
            worst = (name.to_owned(), mean);
        }
    }
    let single = Difference { error: 0.0, of_allowed: worst.1 / allowed[1] };
    (worst.0, single.max(Difference::within(sum / count.max(1) as f64, allowed[0])))
}

/// The mean size of some numbers.
fn mean_size(numbers: &[f64]) -> f64 {
    numbers.iter().map(|x| x.abs()).sum::<f64>() / numbers.len().max(1) as f64
}

/// The mean difference as a share of the mean size, which is taken to be at least `least`.
fn relative(got: &[f64], want: &[f64], least: f64) -> f64 {
    let apart: Vec<f64> = got.iter().zip(want).map(|(g, w)| g - w).collect();
    let size = mean_size(want).max(least).max(f64::from(f32::MIN_POSITIVE));
    if got.len() == want.len() { mean_size(&apart) / size } else { f64::INFINITY }
}

/// The mean difference of new weights in learning rates, which enter them with the factor `part`.
/// Infinite where a weight is further off than a first step of Adam can take it.
fn rates_apart(got: &[f64], want: &[f64], part: f64) -> f64 {
    let apart = || got.iter().zip(want).map(|(g, w)| (g - w).abs() / (RATE * part));
    // Two learning rates, and the last digits of float32.
    if got.len() != want.len() || largest(apart()) > 2.05 {
        return f64::INFINITY;
    }
    apart().sum::<f64>() / got.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    const TOLERANCE: Tolerance = Tolerance { relative: 1e-6, of_max: 1e-6 };

    fn tensor(values: &[f32]) -> Tensor {
        Tensor::new([values.len()], values.to_vec()).unwrap()
    }

    #[test]
    fn a_wrong_number_fails() {
        let want = tensor(&[1.0, -2.0, 4.0]);
        let same = compare(&want, &want, TOLERANCE);
        assert!(same.is_passed() && same.difference() == Difference::default(), "{same:?}");
        let near = compare(&tensor(&[1.0, -2.0, 4.000_004]), &want, TOLERANCE);
        assert!(near.is_passed() && near.difference().error > 5e-7, "{near:?}");
        let wrong = compare(&tensor(&[1.0, -2.0, 4.001]), &want, TOLERANCE);
        assert!(!wrong.is_passed() && wrong.difference().of_allowed > 10.0, "{wrong:?}");
        let short = compare(&tensor(&[1.0, -2.0]), &want, TOLERANCE);
        assert!(!short.is_passed(), "{short:?}");
    }

    #[test]
    fn what_is_no_number_fails_on_either_side_and_on_both() {
        let loose = Tolerance { relative: 1e9, of_max: 1e9 };
        for bad in [f32::NAN, f32::INFINITY] {
            let (bad, good) = (tensor(&[1.0, bad, 2.0]), tensor(&[1.0, 1.5, 2.0]));
            for (got, want) in [(&bad, &good), (&good, &bad), (&bad, &bad)] {
                let outcome = compare(got, want, loose);
                assert!(!outcome.is_passed(), "{got:?} against {want:?}: {outcome:?}");
            }
        }
    }

    #[test]
    fn a_wrong_step_is_seen_group_by_group() {
        let case = step_cases(false)[1];
        let want = case.run(&Device::Cpu).unwrap();
        let judge = |spoil: &dyn Fn(&mut After)| -> Vec<bool> {
            let mut got = case.run(&Device::Cpu).unwrap();
            spoil(&mut got);
            let outcome = case.compare(&got, &want);
            outcome.groups.iter().map(Outcome::is_passed).collect()
        };
        assert_eq!(judge(&|_| ()), [true; 5]);
        let scale = |name: &'static str, factor: f32| {
            move |after: &mut After| {
                let tensor = &after.state[name];
                let values = tensor.f32s().iter().map(|x| x * factor).collect();
                let spoilt = Tensor::new(tensor.shape(), values).unwrap();
                after.state.insert(name.into(), spoilt);
            }
        };
        let weight = "generator.main.0.weight";
        let moment = "adam.m.generator.main.0.weight";
        assert!(want.state.contains_key(weight) && want.state.contains_key(moment));
        assert_eq!(judge(&scale(weight, 1.1)), [true, true, true, false, true]);
        assert_eq!(judge(&scale(weight, f32::NAN)), [true, true, true, false, true]);
        assert_eq!(judge(&scale(moment, 1.5)), [true, false, true, true, true]);
        let statistic = want.state.keys().find(|n| n.ends_with("running_var")).unwrap().clone();
        let statistic: &'static str = statistic.leak();
        assert_eq!(judge(&scale(statistic, 1.003)), [true, true, false, true, true]);
        let loss = |after: &mut After| {
            after.fetched.insert("loss_g".into(), tensor(&[f32::NAN]));
        };
        assert_eq!(judge(&loss), [false, true, true, true, true]);
        let key = |after: &mut After| {
            after.state.remove(KEY);
        };
        assert_eq!(judge(&key), [true, true, true, true, false]);
    }

    /// Rounding alone, here of the initial weights, stays within what is allowed, though it lifts
    /// numbers over the kinks of rectifiers.
    #[test]
    fn rounding_alone_is_allowed() {
        for case in &step_cases(false)[..3] {
            let want = case.run(&Device::Cpu).unwrap();
            for seed in 0..8 {
                let got =
                    case.run_from(&Device::Cpu, &|name, value| rounded(name, value, seed)).unwrap();
                let outcome = case.compare(&got, &want);
                eprintln!("{case:?} {seed}: {outcome:?}");
                assert!(outcome.groups.iter().all(Outcome::is_passed), "{outcome:?}");
            }
        }
    }

    /// `value` with a relative error of up to 3e-6.
    fn rounded(name: &str, value: Tensor, seed: u64) -> Tensor {
        if !name.ends_with("weight") || name.starts_with("adam") {
            return value;
        }
        let mut noise = vec![0.0; value.len()];
        Stream::new(seed, name, 0).fill_uniform(&mut noise);
        let moved = value.f32s().iter().zip(noise).map(|(v, u)| v * (1.0 + 6e-6 * (u - 0.5)));
        Tensor::new(value.shape(), moved.collect()).unwrap()
    }

    #[test]
    fn the_cpu_agrees_with_itself_on_one_thread() {
        let checker = Checker::new(Device::Cpu).unwrap();
        assert!(checker.reference().contains("one thread"));
        let (_, of_matmul) = samples_by_op().into_iter().find(|(op, _)| *op == "matmul").unwrap();
        for sample in &of_matmul {
            assert!(checker.sample(sample, &Choices::default()).unwrap().is_passed(), "{sample:?}");
        }
    }
}
