//! Batch normalisation (Ioffe and Szegedy, arXiv 1502.03167), from ops that can be differentiated
//! twice.

use crate::error::Result;
use crate::tape::{Tape, Var};

use super::moments::CenteredSums;
use super::{Class, Elementwise, Op, Site, wide};

/// `y = (x − mean) · scale + shift` for `x` `[rows, c]` and the others `[c]`.
///
/// Its vjp needs two sums over rows, which [`CenteredSums`] makes in one pass over memory; that is
/// all that sets it apart from three elementwise ops.
#[derive(Clone, Copy, Debug)]
pub struct Normalize;

impl Op for Normalize {
    fn name(&self) -> &'static str {
        "normalize"
    }

    fn shape(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        match inputs[0] {
            &[rows, c] if inputs[1..].iter().all(|s| *s == [c]) => Ok(vec![rows, c]),
            _ => Err("the inputs must be [rows, c] and three of [c]".into()),
        }
    }

    fn class(&self) -> Class<'_> {
        Class::Elementwise(self)
    }

    fn vjp(&self, t: &mut Tape, s: &Site, g: Var, needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let (x, mean, scale) = (s.inputs[0], s.inputs[1], s.inputs[2]);
        let c = s.shape[1];
        let mut parts = vec![None; 4];
        if needs[0] {
            parts[0] = Some(t.mul(g, scale)?);
        }
        if needs[1..].contains(&true) {
            let sums = t.record(CenteredSums, &[g, x, mean])?;
            let sum = t.range(sums, 0, c)?;
            let part = t.mul(scale, sum)?;
            parts[1] = Some(t.neg(part)?);
            parts[2] = Some(t.range(sums, c, c)?);
            parts[3] = Some(sum);
        }
        Ok(parts)
    }
}

impl Elementwise for Normalize {
    fn apply(&self, inputs: &[&[f32]], y: &mut [f32]) {
        wide::map(
            inputs,
            y,
            #[inline(always)]
            |[x, mean, scale, shift]| (x - mean) * scale + shift,
        );
    }
}

impl Tape {
    /// Batch normalisation of `x` `[…, c]` with the statistics `mean` and `var` `[c]`:
    /// `y = gamma (x − mean) / √(var + eps) + beta`.
    ///
    /// In training `mean` and `var` are the two rows of [`Tape::moments`], and the gradient flows
    /// through them; in evaluation they are the running statistics.
    ///
    /// # Errors
    /// [`crate::error::Error::Shape`] where the channels differ.
    pub fn batch_norm(
        &mut self,
        x: Var,
        [mean, var]: [Var; 2],
        [gamma, beta]: [Var; 2],
        eps: f32,
    ) -> Result<Var> {
        let shape = self.shape(x).to_vec();
        let c = *shape.last().unwrap_or(&1);
        let rows = shape.iter().product::<usize>() / c.max(1);
        let shifted = self.affine(var, 1.0, eps)?;
        let deviation = self.sqrt(shifted)?;
        let scale = self.div(gamma, deviation)?;
        let x = self.reshape(x, &[rows, c])?;
        let y = self.record(Normalize, &[x, mean, scale, beta])?;
        self.reshape(y, &shape)
    }
}
