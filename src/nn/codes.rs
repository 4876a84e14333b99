//! InfoGAN's codes (Chen et al., arXiv 1606.03657): a part of the latent that stands for something.

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::tape::{Tape, Var};

use super::pass::Walk;
use super::rule::LayerRule;
use super::size::{Around, Misfit, takes};
use super::{BatchDependence, LayerRole, Reach};

/// InfoGAN's codes of the last numbers of a latent: a category as a 1 among zeros, and numbers in
/// (−1, 1). Only on one pixel.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Codes {
    /// How many categories there are; 0 for none.
    pub categories: usize,
    /// How many numbers.
    pub numbers: usize,
    /// Whether latents are uniform numbers in [−1, 1] rather than standard normal ones.
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

    /// Makes codes of the last numbers of latents `x` `[n, 1, 1, nz]`: of `categories` of them a 1 where
    /// the largest is and 0 elsewhere, so that every category is as likely as any other; of the `numbers`
    /// behind those a number in (−1, 1). All others stay as they are.
    ///
    /// ```text
    /// category k:  1 where z_k = max z, else 0
    /// number:      tanh(√(2/π) z), of normal latents; z itself, of uniform ones
    /// ```
    ///
    /// `tanh(√(2/π) z)` is within 0.03 of the `2Φ(z) − 1` that would be uniform exactly. Codes are
    /// functions of the latent, so that whatever takes a latent (walks, arithmetic, inversion) can be
    /// used as it is.
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

    /// Every category comes equally often, exactly one of them; numbers lie evenly in (−1, 1).
    #[test]
    fn codes_have_their_laws() {
        [false, true].into_iter().for_each(check_laws);
    }

    fn check_laws(uniform: bool) {
        let (n, nz) = (6000, 9);
        let mut z = vec![0.0; n * nz];
        let law = if uniform { LatentDistribution::Uniform } else { LatentDistribution::Normal };
        law.fill(&Stream::new(3, "codes", 0), &mut z);
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
