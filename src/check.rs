//! Checks that a device computes correctly: every sample of every op, and whole training steps,
//! against the CPU. What `dcgan check` runs.
//!
//! The CPU itself is compared with its own results on one thread, which shows that its threads do
//! not disturb each other; the tests of this crate show that its values are correct.

use std::collections::BTreeMap;

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::device::{Device, State};
use crate::error::{Error, Result};
use crate::ops::samples::{NonFinite, Sample, Tolerance, samples};
use crate::program::tune::variants;
use crate::program::{Choices, Options, Program};
use crate::tensor::{Data, Tensor};

mod steps;

pub use steps::{GROUPS, StepCase, StepOutcome, step_cases};

/// The seed of all inputs.
const SEED: u64 = 1;

/// The outcome of one check.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Both devices agree.
    Passed(Difference),
    /// They differ by more than the tolerance.
    Differs(Difference),
    /// The device produced no result: a kernel does not compile, memory is full.
    Failed(String),
}

impl Outcome {
    /// Whether the check passed.
    #[cfg(test)]
    fn is_passed(&self) -> bool {
        matches!(self, Self::Passed(_))
    }

    /// How far apart the results are; infinite if there is no result.
    #[must_use]
    pub fn difference(&self) -> Difference {
        match self {
            Self::Passed(difference) | Self::Differs(difference) => *difference,
            Self::Failed(_) => Difference { error: f64::INFINITY, of_allowed: f64::INFINITY },
        }
    }

    fn of(difference: Difference) -> Self {
        // NaN fails every comparison.
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
    /// The largest difference, as a share of the largest value.
    pub error: f64,
    /// The same as a share of the tolerance: good up to 1.
    pub of_allowed: f64,
}

impl Difference {
    /// The worse of two, field by field. NaN counts as infinite.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        let worse = |a: f64, b: f64| if a >= b { a } else { b };
        let number = |x: f64| if x.is_nan() { f64::INFINITY } else { x };
        Self {
            error: worse(number(self.error), number(other.error)),
            of_allowed: worse(number(self.of_allowed), number(other.of_allowed)),
        }
    }

    /// `error` under the tolerance `allowed`.
    fn within(error: f64, allowed: f64) -> Self {
        Self { error, of_allowed: error / allowed }.max(Self::default())
    }
}

/// The values of a tensor of any type.
fn wide(tensor: &Tensor) -> Vec<f64> {
    match tensor.data() {
        Data::F32(v) => v.iter().map(|&v| f64::from(v)).collect(),
        Data::U32(v) => v.iter().map(|&v| f64::from(v)).collect(),
        Data::U8(v) => v.iter().map(|&v| f64::from(v)).collect(),
    }
}

/// The largest of some differences; infinite if one is NaN.
fn largest(all: impl Iterator<Item = f64>) -> f64 {
    all.fold(0.0, |m, e| if e.is_nan() { f64::INFINITY } else { m.max(e) })
}

/// The largest difference of two results as a share of the largest value; infinite if any value is
/// non-finite, or if their lengths differ.
fn share(got: &[f64], want: &[f64]) -> f64 {
    if got.len() != want.len() {
        return f64::INFINITY;
    }
    let error = largest(got.iter().zip(want).map(|(g, w)| (g - w).abs()));
    // Where all values are zero, no share can be computed.
    let most = largest(want.iter().map(|w| w.abs())).max(f64::from(f32::MIN_POSITIVE));
    if error.is_finite() { error / most } else { error }
}

/// Compares the result of one device with another's. Both may be off by `tolerance`, in opposite
/// directions.
#[must_use]
pub fn compare(got: &Tensor, want: &Tensor, tolerance: Tolerance) -> Outcome {
    let (got, want) = (wide(got), wide(want));
    let of_allowed = tolerance.worst(&got, &want) / 2.0;
    // If non-finite values are in their places, the others determine the difference.
    let finite = |(g, w): &(f64, f64)| g.is_finite() && w.is_finite() || of_allowed.is_infinite();
    let (got, want): (Vec<f64>, Vec<f64>) = got.into_iter().zip(want).filter(finite).unzip();
    Outcome::of(Difference { error: share(&got, &want), of_allowed })
}

/// A device under test, and its reference.
#[derive(Debug)]
pub struct Checker {
    device: Device,
    /// One thread, for comparing the CPU with itself.
    alone: Option<ThreadPool>,
}

impl Checker {
    /// A checker of `device`.
    ///
    /// # Errors
    /// [`Error::Device`] where the system cannot start a thread.
    pub fn new(device: Device) -> Result<Self> {
        let no_thread = |e| Error::Device(format!("no thread could be started: {e}"));
        let one_thread = || ThreadPoolBuilder::new().num_threads(1).build().map_err(no_thread);
        let alone = device.is_cpu().then(one_thread).transpose()?;
        Ok(Self { device, alone })
    }

    /// What the device is compared with.
    #[must_use]
    pub fn reference(&self) -> &'static str {
        match self.alone {
            Some(_) => "the CPU itself, on one thread",
            None => "the CPU",
        }
    }

    /// Runs `work` on the reference CPU.
    fn on_reference<T: Send>(&self, work: impl FnOnce(&Device) -> T + Send) -> T {
        match &self.alone {
            Some(pool) => pool.install(|| work(&Device::Cpu)),
            None => work(&Device::Cpu),
        }
    }

    /// The ways in which the device can run a sample, each as the choices that select it and its
    /// name: the default, which has no name, and every other variant of its kernels.
    ///
    /// # Errors
    /// Never for the samples of this crate, which fit their ops.
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
    /// [`Error::Lost`] where the device is lost, so that nothing more can be checked on it.
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

    /// Checks one training step: its results, group by group.
    ///
    /// # Errors
    /// Same as [`Checker::sample`].
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
    // Random spread is not the same on two devices that are both right.
    let spreads = |sample: &Sample| sample.tolerance.non_finite == NonFinite::Spreads;
    for sample in samples().into_iter().filter(|sample| !spreads(sample)) {
        match all.iter_mut().find(|(op, _)| *op == sample.op) {
            Some((_, of_op)) => of_op.push(sample),
            None => all.push((sample.op, vec![sample])),
        }
    }
    let place = |op: &str| crate::ops::table::OPS.iter().position(|info| info.name == op);
    all.sort_by_key(|(op, _)| place(op));
    all
}
#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    const TOLERANCE: Tolerance = Tolerance::new(1e-6, 1e-6);

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
        let loose = Tolerance::new(1e9, 1e9);
        for bad in [f32::NAN, f32::INFINITY] {
            let (bad, good) = (tensor(&[1.0, bad, 2.0]), tensor(&[1.0, 1.5, 2.0]));
            for (got, want) in [(&bad, &good), (&good, &bad), (&bad, &bad)] {
                let outcome = compare(got, want, loose);
                assert!(!outcome.is_passed(), "{got:?} against {want:?}: {outcome:?}");
            }
        }
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
