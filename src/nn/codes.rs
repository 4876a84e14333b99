//! InfoGAN's codes (Chen et al., arXiv 1606.03657): a meaningful part of the latent.

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::tape::{Tape, Var};

use super::pass::Walk;
use super::rule::LayerRule;
use super::size::{Around, Misfit, takes};
use super::{BatchDependence, LayerRole, Reach};

/// InfoGAN's codes from the last entries of a latent: a one-hot category, and continuous codes in
/// (−1, 1). Only for one pixel.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Codes {
    /// Number of categories; 0 for none.
    pub categories: usize,
    /// Number of continuous codes.
    pub numbers: usize,
    /// Whether latents are uniform in [−1, 1] rather than standard normal.
    pub uniform: bool,
}

impl LayerRule for Codes {
    fn kind(&self) -> &'static str {
        "codes"
    }

    fn role(&self) -> LayerRole {
        LayerRole::Other
    }

    fn batch(&self) -> BatchDependence {
        BatchDependence::None
    }

    fn reach(&self) -> Reach {
        Reach::More
    }

    fn size(&self, at: [usize; 3], _: &mut Around<'_>) -> Result<[usize; 3], Misfit> {
        let codes = self.categories.saturating_add(self.numbers);
        takes([1, 1, at[2].max(codes)], at)?;
        Ok(at)
    }

    /// Computes codes from the last entries of latents `x` `[n, 1, 1, nz]`: `categories` of them
    /// become one-hot at the largest, so that all categories are equally likely; the `numbers`
    /// after them become values in (−1, 1). All others are unchanged.
    ///
    /// ```text
    /// category k:  1 where z_k = max z, else 0
    /// number:      tanh(√(2/π) z), of normal latents; z itself, of uniform ones
    /// ```
    ///
    /// `tanh(√(2/π) z)` is within 0.03 of the exactly uniform `2Φ(z) − 1`. Codes are functions of
    /// the latent, so that whatever takes a latent (walks, arithmetic, inversion) can be used
    /// unchanged.
    fn record(&self, t: &mut Tape, _: &str, x: Var, _: &mut Walk<'_>) -> Result<Var> {
        let Self { categories, numbers, uniform } = *self;
        let &[n, _, _, nz] = t.shape(x) else { return Ok(x) };
        let rest = nz - categories - numbers;
        let x = t.reshape(x, &[n, nz])?;
        let mut parts = vec![t.slice(x, &[0, 0], &[n, rest])?];
        if categories > 0 {
            let z = t.slice(x, &[0, rest], &[n, categories])?;
            let column = t.reshape(z, &[n, categories, 1, 1])?;
            let largest = t.max_pool(column, [1, 1])?;
            let largest = t.reshape(largest, &[n, 1])?;
            let others = t.greater(largest, z)?;
            parts.push(t.affine(others, -1.0, 1.0)?);
        }
        if numbers > 0 {
            let z = t.slice(x, &[0, rest + categories], &[n, numbers])?;
            parts.push(if uniform {
                z
            } else {
                let slope = std::f32::consts::FRAC_2_PI.sqrt();
                let z = t.affine(z, slope, 0.0)?;
                t.tanh(z)?
            });
        }
        let all = t.concat(&parts, 1)?;
        t.reshape(all, &[n, 1, 1, nz])
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;
    use crate::device::{Device, State};
    use crate::models::LatentDistribution;
    use crate::nn::{Layer, Mode, Pass, Sequential};
    use crate::program::{Options, Program};
    use crate::rng::Stream;
    use crate::tensor::{DType, Tensor};

    /// Categories are one-hot and equally frequent; numbers are uniform in (−1, 1).
    #[test]
    fn codes_have_their_distributions() {
        [false, true].into_iter().for_each(check_distributions);
    }

    fn check_distributions(uniform: bool) {
        let (n, nz) = (6000, 9);
        let mut z = vec![0.0; n * nz];
        let distribution =
            if uniform { LatentDistribution::Uniform } else { LatentDistribution::Normal };
        distribution.fill(&Stream::new(3, "codes", 0), &mut z);
        let mut t = Tape::new();
        let x = t.feed("x", &[n, 1, 1, nz], DType::F32).unwrap();
        let codes = Codes { categories: 4, numbers: 2, uniform };
        let network = Sequential { layers: vec![Layer::Codes(codes)] };
        let y = network.record(&mut t, "g", x, &Pass::new(Mode::Eval)).unwrap().last();
        t.fetch("y", y).unwrap();
        let mut state = State::new(&Device::Cpu);
        let mut program = Program::compile(&t, &state, &Options::default()).unwrap();
        let x = Tensor::new([n, 1, 1, nz], z.clone()).unwrap();
        let y = program.call(&mut state, &[("x", &x)]).unwrap().remove("y").unwrap();
        let mut seen = [0; 4];
        let mut quarters = [0; 4];
        for (row, z) in y.f32s().chunks(nz).zip(z.chunks(nz)) {
            assert_eq!(row[..3], z[..3]);
            assert!(!uniform || row[7..] == z[7..], "{row:?} {z:?}");
            assert_eq!(row[3..7].iter().sum::<f32>(), 1.0);
            seen[row[3..7].iter().position(|&x| x == 1.0).unwrap()] += 1;
            for c in &row[7..] {
                assert!(c.abs() < 1.0);
                quarters[((c + 1.0) * 2.0) as usize] += 1;
            }
        }
        assert!(seen.iter().all(|&k| (1350..1650).contains(&k)), "{seen:?}");
        assert!(quarters.iter().all(|&k| (2750..3250).contains(&k)), "{quarters:?}");
    }
}
