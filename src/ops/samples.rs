//! Samples of every op: small inputs that reveal where an op goes wrong. Tests compare each
//! device's results with plain loops in 64 bits; `dcgan check` compares a GPU's with the CPU's.
//!
//! For every op there is something tiny, something that no tile divides, and something awkward:
//! a batch of one, remainders, values up to ±150, every way to broadcast.

use crate::error::Result;
use crate::rng::Stream;
use crate::tape::{Tape, Var};
use crate::tensor::{DType, Data, Tensor};

use super::table::OPS;

/// The values of an input.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Normal values.
    Normal {
        /// Their mean.
        mean: f32,
        /// Their standard deviation.
        scale: f32,
    },
    /// Uniform values between the two.
    Uniform(f32, f32),
    /// Normal values pulled to within 0.03 of `k / 4 + offset` with whole `k`: with an offset of
    /// 0.125 they keep away from the kinks of `abs`, `relu` or `clamp`; two inputs of different
    /// offsets keep away from each other.
    Grid(f32),
    /// Values at which functions overflow or lose their digits, from −150 to 150, over and over.
    Ladder,
    /// Normal values, with these in every third place from the second on, until they are used up.
    Special(&'static [f32]),
    /// Bytes.
    Bytes,
    /// The key of a random stream; its shape is `[4]`.
    Key,
}

impl Kind {
    /// Standard normal values.
    pub const NORMAL: Self = Self::Normal { mean: 0.0, scale: 1.0 };
}

/// Around the thresholds of float32: `exp` overflows at 88.7, `tanh` by `exp(2x)` at 44.4.
const LADDER: [f32; 20] = [
    1e-6, 1e-3, 0.1, 0.5, 1.0, 2.0, 5.0, 8.0, 10.0, 15.0, 17.0, 20.0, 30.0, 44.0, 45.0, 60.0, 88.0,
    89.0, 100.0, 150.0,
];

/// One input of a sample.
#[derive(Clone, Debug)]
pub struct Input {
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its values.
    pub kind: Kind,
}

impl Input {
    /// An input of `shape` with values of `kind`.
    #[must_use]
    pub fn new(shape: &[usize], kind: Kind) -> Self {
        Self { shape: shape.to_vec(), kind }
    }

    /// Its element type.
    #[must_use]
    pub fn dtype(&self) -> DType {
        match self.kind {
            Kind::Bytes => DType::U8,
            Kind::Key => DType::U32,
            _ => DType::F32,
        }
    }

    /// Its values under `seed`: always the same.
    #[must_use]
    pub fn data(&self, seed: u64) -> Tensor {
        let len = self.shape.iter().product();
        let mut stream = Stream::new(seed, "sample", 0);
        let mut normal = vec![0.0; len];
        stream.fill_normal(&mut normal);
        let mut uniform = vec![0.0; len];
        Stream::new(seed, "sample", 1).fill_uniform(&mut uniform);
        let data = match self.kind {
            Kind::Normal { mean, scale } => {
                Data::F32(normal.iter().map(|n| mean + scale * n).collect())
            }
            Kind::Uniform(low, high) => {
                Data::F32(uniform.iter().map(|u| low + (high - low) * u).collect())
            }
            Kind::Grid(offset) => {
                let at = |(n, u): (&f32, &f32)| (4.0 * n).round() / 4.0 + offset + 0.06 * (u - 0.5);
                Data::F32(normal.iter().zip(&uniform).map(at).collect())
            }
            Kind::Ladder => {
                let signed = LADDER.iter().flat_map(|&v| [v, -v]).chain([0.0]);
                Data::F32(signed.cycle().take(len).collect())
            }
            Kind::Special(numbers) => {
                for (place, number) in normal[1.min(len)..].iter_mut().step_by(3).zip(numbers) {
                    *place = *number;
                }
                Data::F32(normal)
            }
            Kind::Bytes => Data::U8(normal.iter().map(|_| stream.next_u32() as u8).collect()),
            Kind::Key => Data::U32(vec![stream.next_u32(), stream.next_u32(), 7, 0]),
        };
        Tensor::with_data(self.shape.clone(), data).expect("as many numbers as its shape asks for")
    }
}

/// How non-finite values are treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NonFinite {
    /// Each is an error.
    Wrong,
    /// Each must be in its place: NaN for NaN, infinities by their sign.
    Same,
    /// Finite values may become non-finite: a product that computes a tile at once, by sums of
    /// several pixels, makes neighbors non-finite. Non-finite values may not be lost.
    Spreads,
}

/// How far a result may be from the exact one.
#[derive(Clone, Copy, Debug)]
pub struct Tolerance {
    /// As a part of the exact value.
    pub relative: f64,
    /// As a part of the largest exact value.
    pub of_max: f64,
    /// Whether a value may be non-finite.
    pub non_finite: NonFinite,
}

impl Tolerance {
    /// A tolerance for finite values.
    #[must_use]
    pub const fn new(relative: f64, of_max: f64) -> Self {
        Self { relative, of_max, non_finite: NonFinite::Wrong }
    }

    /// The largest error, as a multiple of the allowed one: good up to 1. Infinite where a value is
    /// non-finite and may not be, or is finite and may not be.
    #[must_use]
    pub fn worst(&self, got: &[f64], want: &[f64]) -> f64 {
        if got.len() != want.len() {
            return f64::INFINITY;
        }
        // Values that overflow 32 bits are infinite in them.
        let narrow = |x: f64| f64::from(x as f32);
        let finite = want.iter().copied().filter(|&w| narrow(w).is_finite());
        let max = finite.fold(0.0_f64, |m, w| m.max(w.abs()));
        let errors = got.iter().zip(want).map(|(&got, &want)| {
            let (is, should) = (narrow(got), narrow(want));
            if !is.is_finite() || !should.is_finite() {
                let right = match self.non_finite {
                    NonFinite::Wrong => false,
                    NonFinite::Same => is == should || is.is_nan() && should.is_nan(),
                    NonFinite::Spreads => !is.is_finite(),
                };
                return if right { 0.0 } else { f64::INFINITY };
            }
            // GPUs may flush values below the smallest normal one to zero.
            let allowed = self.relative * want.abs() + self.of_max * max + 1.2e-38;
            (got - want).abs() / allowed
        });
        errors.fold(0.0, f64::max)
    }
}

type Build = Box<dyn Fn(&mut Tape, &[Var]) -> Result<Var> + Send + Sync>;

/// An op on inputs of certain shapes and kinds.
pub struct Sample {
    /// The op's name in [`super::table::OPS`].
    pub op: &'static str,
    /// What distinguishes it from the op's other samples.
    pub label: String,
    /// Its inputs.
    pub inputs: Vec<Input>,
    /// How accurate a device must be.
    pub tolerance: Tolerance,
    /// Whether its gradients can be compared with differences: it is smooth around its inputs, and
    /// small.
    pub smooth: bool,
    build: Build,
}

impl std::fmt::Debug for Sample {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.op, self.label)
    }
}

impl Sample {
    pub(super) fn new(
        op: &'static str,
        inputs: Vec<Input>,
        build: impl Fn(&mut Tape, &[Var]) -> Result<Var> + Send + Sync + 'static,
    ) -> Self {
        let shapes: Vec<String> = inputs.iter().map(|i| format!("{:?}", i.shape)).collect();
        Self {
            op,
            label: shapes.join(" "),
            inputs,
            tolerance: Tolerance::new(1e-6, 1e-7),
            smooth: true,
            build: Box::new(build),
        }
    }

    /// Adds a note on what its shapes do not show.
    pub(super) fn note(mut self, note: impl std::fmt::Display) -> Self {
        self.label = format!("{} {note}", self.label).trim().into();
        self
    }

    pub(super) fn tolerance(mut self, relative: f64, of_max: f64) -> Self {
        (self.tolerance.relative, self.tolerance.of_max) = (relative, of_max);
        self
    }

    /// With non-finite values.
    pub(super) fn non_finite(mut self, non_finite: NonFinite) -> Self {
        self.tolerance.non_finite = non_finite;
        self.note("non-finite").rough()
    }

    /// Not for differences: it has a kink near its inputs, or would take too long.
    pub(super) fn rough(mut self) -> Self {
        self.smooth = false;
        self
    }

    /// A tape with the sample on it: feeds `x0`, `x1`, …, and the result, which the tape also
    /// fetches as `y`.
    ///
    /// # Errors
    /// Never for the samples of this crate, which fit their ops.
    pub fn tape(&self) -> Result<(Tape, Vec<Var>, Var)> {
        let mut tape = Tape::new();
        let mut inputs = Vec::new();
        for (i, input) in self.inputs.iter().enumerate() {
            inputs.push(tape.feed(&format!("x{i}"), &input.shape, input.dtype())?);
        }
        let y = (self.build)(&mut tape, &inputs)?;
        tape.fetch("y", y)?;
        Ok((tape, inputs, y))
    }

    /// The values of the feeds `x0`, `x1`, ….
    #[must_use]
    pub fn feeds(&self, seed: u64) -> Vec<(String, Tensor)> {
        let inputs = self.inputs.iter().enumerate();
        inputs.map(|(i, x)| (format!("x{i}"), x.data(seed + 1000 * i as u64))).collect()
    }
}

/// All samples: those of every op in [`OPS`].
#[must_use]
pub fn samples() -> Vec<Sample> {
    OPS.iter().flat_map(|op| (op.samples)(op.name)).collect()
}

/// Samples with NaN, infinities, denormal values and zeros of either sign among the others: NaN in,
/// NaN out, on every device and in every fusion. Otherwise a diverged network would look healthy.
pub(super) mod special {
    use super::{Input, Kind, NonFinite, Result, Sample, Tape, Var};

    /// Values for most functions.
    pub(in crate::ops) const ALL: &[f32] =
        &[f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e-40, -1e-40, -0.0, 0.0];

    /// Those for which a driver that flushes denormal values to zero takes the same branch.
    pub(in crate::ops) const DECIDED: &[f32] =
        &[f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0, 0.0];

    /// Those that suit a logarithm or a root, without any that a driver may flush to zero.
    pub(in crate::ops) const NOT_NEGATIVE: &[f32] = &[f32::NAN, f32::INFINITY, 0.0];

    /// Those whose sums are not all NaN.
    pub(in crate::ops) const ONE_NAN: &[f32] = &[f32::NAN];

    /// An op of one input, first with one NaN and then with all special values.
    pub(in crate::ops) fn one(
        op: &'static str,
        note: &str,
        shape: &[usize],
        build: fn(&mut Tape, &[Var]) -> Result<Var>,
    ) -> [Sample; 2] {
        [ONE_NAN, ALL].map(|numbers| {
            let x = vec![Input::new(shape, Kind::Special(numbers))];
            let sample = Sample::new(op, x, build).note(note).note(numbers.len());
            sample.tolerance(5e-6, 2e-6).non_finite(NonFinite::Same)
        })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_sample_records_its_op() {
        let samples = samples();
        let mut labels = BTreeSet::new();
        for sample in &samples {
            assert!(labels.insert(format!("{sample:?}")), "{sample:?} occurs twice");
            let (tape, _, y) = sample.tape().unwrap();
            let names: Vec<_> = tape.nodes().iter().map(|n| n.op.name()).collect();
            assert!(names.contains(&sample.op), "{sample:?} records {names:?}");
            assert!(!tape.shape(y).contains(&0));
        }
    }

    #[test]
    fn inputs_are_what_their_kind_says() {
        let grid = Input::new(&[1000], Kind::Grid(0.125)).data(3);
        let far = |v: &f32| (v * 4.0 - (v * 4.0).round()).abs() > 0.35;
        assert!(grid.f32s().iter().all(far));
        assert!(grid.f32s().iter().any(|&v| v > 1.0) && grid.f32s().iter().any(|&v| v < -1.0));
        let ladder = Input::new(&[41], Kind::Ladder).data(3);
        assert!([0.0, 150.0, -150.0].iter().all(|v| ladder.f32s().contains(v)));
        assert_eq!(Input::new(&[4], Kind::Key).data(1).u32s()[2..], [7, 0]);
        let normal = Input::new(&[9], Kind::NORMAL);
        assert_eq!(normal.data(5), normal.data(5));
        assert_ne!(normal.data(5), normal.data(6));
    }

    #[test]
    fn what_is_no_number_is_never_near_enough() {
        let loose = Tolerance::new(1e30, 1e30);
        assert!(loose.worst(&[1.0, 2.0], &[1.0, 2.0]) <= 1.0);
        for (got, want) in [(f64::NAN, 1.0), (1.0, f64::NAN), (f64::INFINITY, f64::INFINITY)] {
            assert!(loose.worst(&[1.0, got], &[1.0, want]) > 1.0);
        }
        assert!(loose.worst(&[1.0], &[1.0, 2.0]) > 1.0);
        let tight = Tolerance::new(1e-3, 0.0);
        assert!(tight.worst(&[1.0005], &[1.0]) <= 1.0 && tight.worst(&[1.002], &[1.0]) > 1.0);
    }

    #[test]
    fn what_is_non_finite_stays_so() {
        let (nan, inf) = (f64::NAN, f64::INFINITY);
        let same = Tolerance { non_finite: NonFinite::Same, ..Tolerance::new(1e-3, 1e-3) };
        assert!(same.worst(&[nan, inf, -inf, 1.0], &[nan, 1e39, -inf, 1.0005]) <= 1.0);
        for (got, want) in [(1.0, nan), (inf, nan), (nan, inf), (-inf, inf), (nan, 1.0), (2.0, 1.0)]
        {
            assert!(same.worst(&[got], &[want]) > 1.0, "{got} for {want}");
        }
        let spreads = Tolerance { non_finite: NonFinite::Spreads, ..same };
        assert!(spreads.worst(&[nan, nan, inf, 1.0], &[nan, inf, 1.0, 1.0005]) <= 1.0);
        assert!(spreads.worst(&[0.0], &[nan]) > 1.0 && spreads.worst(&[2.0], &[1.0]) > 1.0);
    }
}
