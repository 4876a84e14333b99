//! Gradient penalties on the discriminator: gradients of gradients, recorded on the tape.

use serde::{Deserialize, Serialize};

use crate::config::named;
use crate::error::Result;
use crate::ops::random::Uniform;
use crate::tape::{Tape, Var};

/// A penalty on the discriminator's gradient `g = ∇ₓ D(x)` with respect to an image, added to its
/// loss with the weight λ:
///
/// ```text
///               penalty                   x
/// gp            λ · mean (‖g‖ − 1)²       u · real + (1 − u) · generated, u uniform in [0, 1)
/// gp-one-sided  λ · mean max(0, ‖g‖ − 1)² the same
/// gp-zero       λ · mean ‖g‖²             the same
/// dragan        λ · mean (‖g‖ − 1)²       real + u · ½ · std(real) · v, v uniform for each pixel
/// r1            ½λ · mean ‖g‖²            real
/// r2            ½λ · mean ‖g‖²            generated
/// ```
///
/// The gradient of one image must not depend on the others in its batch: a discriminator with batch
/// norm cannot be penalized (Gulrajani et al., section 4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "kebab-case")]
pub enum Penalty {
    /// No penalty.
    #[default]
    None,
    /// WGAN-GP (Gulrajani et al., arXiv 1704.00028): two-sided, towards slope 1.
    Gp,
    /// The one-sided form tried in the same paper (section 4) and recommended by Petzka et al.
    /// (arXiv 1709.08894).
    GpOneSided,
    /// Towards slope 0 (Thanh-Tung et al., arXiv 1902.03984).
    GpZero,
    /// DRAGAN (Kodali et al., arXiv 1705.07215): near real images only.
    Dragan,
    /// Mescheder et al. (arXiv 1801.04406): slope 0 at real images.
    R1,
    /// The same at generated images.
    R2,
}

named!(Penalty);

/// A recorded penalty.
#[derive(Clone, Copy, Debug)]
pub struct Penalized {
    /// The term added to the discriminator's loss: a scalar, including its weight.
    pub loss: Var,
    /// The mean over the batch of `‖g‖`: a scalar.
    pub slope: Var,
    /// The gradient norm `‖g‖ = √(Σ g² + 10⁻¹²)` of each image, `[n]`.
    pub norms: Var,
    /// The images `x` at which the gradient was taken, `[n, h, w, c]`, such as mixtures of real and
    /// generated ones.
    pub at: Var,
}

/// Added under the root of a norm: its derivative at 0 is then 0, not infinite. Far below the
/// square of any slope that matters.
const TINY: f32 = 1e-12;

/// How far from a real image DRAGAN looks, in standard deviations of the batch.
const DRAGAN_REACH: f32 = 0.5;

impl Penalty {
    /// Records the penalty of weight `weight` on `judge`, which returns the scores `[n, …]` of
    /// images. `real` and `fake` are `[n, h, w, c]`; `uniform` draws numbers in [0, 1) for a name
    /// and a shape.
    ///
    /// # Errors
    /// [`crate::error::Error::NotDifferentiable`] if an op of the discriminator has no second
    /// derivative; errors of recording and of `uniform`.
    pub fn record(
        self,
        t: &mut Tape,
        weight: f32,
        [real, fake]: [Var; 2],
        uniform: &mut Uniform<'_>,
        judge: &mut dyn FnMut(&mut Tape, Var) -> Result<Var>,
    ) -> Result<Option<Penalized>> {
        let shape = t.shape(real).to_vec();
        let mut each = vec![1; shape.len()];
        each[0] = shape[0];
        let x = match self {
            Self::None => return Ok(None),
            Self::R1 => real,
            Self::R2 => fake,
            Self::Gp | Self::GpOneSided | Self::GpZero => {
                let u = uniform(t, "mix", &each)?;
                let towards = t.sub(real, fake)?;
                let part = t.mul(towards, u)?;
                t.add(fake, part)?
            }
            Self::Dragan => {
                let u = uniform(t, "mix", &each)?;
                let v = uniform(t, "near", &shape)?;
                let reach = standard_deviation(t, real)?;
                let reach = t.affine(reach, DRAGAN_REACH, 0.0)?;
                let noise = t.mul(v, reach)?;
                let noise = t.mul(noise, u)?;
                t.add(real, noise)?
            }
        };
        let scores = judge(t, x)?;
        let total = t.sum_all(scores)?;
        let g = t.grad(total, &[x])?[0];
        let square = t.mul(g, g)?;
        let axes: Vec<usize> = (1..shape.len()).collect();
        let square = t.sum(square, &axes)?;
        let safe = t.affine(square, 1.0, TINY)?;
        let norm = t.sqrt(safe)?;
        let (term, weight) = match self {
            Self::None => return Ok(None),
            Self::Gp | Self::Dragan => {
                let beyond = t.affine(norm, 1.0, -1.0)?;
                (t.mul(beyond, beyond)?, weight)
            }
            Self::GpOneSided => {
                let beyond = t.affine(norm, 1.0, -1.0)?;
                let beyond = t.relu(beyond)?;
                (t.mul(beyond, beyond)?, weight)
            }
            Self::GpZero => (square, weight),
            Self::R1 | Self::R2 => (square, 0.5 * weight),
        };
        let mean = t.mean_all(term)?;
        let loss = t.affine(mean, weight, 0.0)?;
        let slope = t.mean_all(norm)?;
        Ok(Some(Penalized { loss, slope, norms: norm, at: x }))
    }
}

/// The standard deviation of all entries of `x`, a scalar.
fn standard_deviation(t: &mut Tape, x: Var) -> Result<Var> {
    let mean = t.mean_all(x)?;
    let centered = t.sub(x, mean)?;
    let square = t.mul(centered, centered)?;
    let variance = t.mean_all(square)?;
    t.sqrt(variance)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use crate::device::{Device, State};
    use crate::program::{Options, Program};
    use crate::tensor::{DType, Tensor};

    /// For `D(x) = ½ Σ x²` the gradient at `x` is `x` itself.
    #[test]
    fn gradient_norms_and_their_images_are_given() {
        let shape = [2, 1, 2, 1];
        let (real, fake) = ([3.0, 4.0, 0.0, 0.0], [1.0, 0.0, 0.0, 2.0]);
        let mixed = [2.0, 2.0, 0.0, 1.5]; // a half of the first, a quarter of the second
        for (penalty, at) in [
            (Penalty::Gp, mixed),
            (Penalty::GpZero, mixed),
            (Penalty::R1, real),
            (Penalty::R2, fake),
        ] {
            let mut t = Tape::new();
            let images = ["real", "fake"].map(|name| t.feed(name, &shape, DType::F32).unwrap());
            let mut uniform =
                |t: &mut Tape, name: &str, shape: &[usize]| t.feed(name, shape, DType::F32);
            let mut judge = |t: &mut Tape, x: Var| {
                let square = t.mul(x, x)?;
                t.affine(square, 0.5, 0.0)
            };
            let recorded = penalty.record(&mut t, 1.0, images, &mut uniform, &mut judge);
            let Penalized { slope, norms, at: images, .. } = recorded.unwrap().unwrap();
            for (name, value) in [("slope", slope), ("norms", norms), ("at", images)] {
                t.fetch(name, value).unwrap();
            }
            let mut state = State::new(&Device::Cpu);
            let mut program = Program::compile(&t, &state, &Options::default()).unwrap();
            let tensor = |values: [f32; 4]| Tensor::new(shape, values.to_vec()).unwrap();
            let mix = Tensor::new([2, 1, 1, 1], vec![0.5, 0.25]).unwrap();
            let (real, fake) = (tensor(real), tensor(fake));
            let mut feeds = vec![("real", &real), ("fake", &fake), ("mix", &mix)];
            feeds.retain(|(name, _)| t.feeds().contains_key(*name));
            let got = program.call(&mut state, &feeds).unwrap();
            assert_eq!(got["at"], tensor(at), "{penalty}");
            let lengths = [at[0].hypot(at[1]), at[2].hypot(at[3])];
            assert_eq!(got["norms"].shape(), [2]);
            for (norm, length) in got["norms"].f32s().iter().zip(lengths) {
                assert!((norm - length).abs() < 2e-6, "{penalty}: {norm} {length}");
            }
            let mean = f32::midpoint(lengths[0], lengths[1]);
            assert!((got["slope"].f32s()[0] - mean).abs() < 2e-6, "{penalty}");
        }
    }
}
