//! Batch normalization (Ioffe and Szegedy, arXiv 1502.03167), from ops that are twice
//! differentiable.

use crate::error::Result;
use crate::tape::{Tape, Var};

use super::moments::CenteredSums;
use super::samples::{Input, Kind, NonFinite, Sample, special};
use super::{Class, Elementwise, Op, Site, reference, wide};

/// `y = (x − mean) · scale + shift` for `x` `[rows, c]` and the others `[c]`.
///
/// Its vjp needs two sums over rows, which [`CenteredSums`] computes in one pass over memory; this
/// is the only difference from three elementwise ops.
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

    fn reference(&self, s: &Site, x: &[&[f64]]) -> Vec<f64> {
        reference::elementwise(s, x, |[x, mean, scale, shift]| (x - mean) * scale + shift)
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
    /// Batch normalization of `x` `[…, c]` with the statistics `mean` and `var` `[c]`:
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

pub(super) fn samples(op: &'static str) -> Vec<Sample> {
    let mut all = Vec::new();
    for (rows, c) in [(1, 3), (7, 1), (1, 1), (5, 65), (64, 4), (129, 12)] {
        let mut inputs = vec![Input::new(&[rows, c], Kind::NORMAL)];
        inputs.extend((0..3).map(|_| Input::new(&[c], Kind::NORMAL)));
        let normalize = Sample::new(op, inputs, |t, x| t.record(Normalize, x));
        all.push(normalize.tolerance(1e-6, 1e-6));
    }
    for shape in [&[5, 1, 1, 3][..], &[1, 3, 5, 8], &[3, 4, 4, 65], &[6, 2]] {
        let c = *shape.last().unwrap_or(&1);
        let weights = [Kind::Normal { mean: 1.0, scale: 0.3 }, Kind::NORMAL];
        let mut inputs = vec![Input::new(shape, Kind::Normal { mean: 0.5, scale: 2.0 })];
        inputs.extend(weights.map(|kind| Input::new(&[c], kind)));
        let training = Sample::new(op, inputs.clone(), move |t, x| {
            let moments = t.moments(x[0])?;
            let statistics = [t.range(moments, 0, c)?, t.range(moments, c, c)?];
            t.batch_norm(x[0], statistics, [x[1], x[2]], 1e-5)
        });
        all.push(training.note("batch norm in training").tolerance(1e-5, 3e-6));
        inputs.push(Input::new(&[c], Kind::NORMAL));
        inputs.push(Input::new(&[c], Kind::Uniform(0.5, 2.0)));
        let evaluation =
            Sample::new(op, inputs, |t, x| t.batch_norm(x[0], [x[3], x[4]], [x[1], x[2]], 1e-5));
        all.push(evaluation.note("batch norm in evaluation").tolerance(1e-5, 1e-6));
    }
    for at in 0..4 {
        let kind = |i| if i == at { Kind::Special(special::ALL) } else { Kind::NORMAL };
        let inputs = (0..4).map(|i| Input::new(&[41], kind(i))).collect();
        let special = Sample::new(op, inputs, |t, x| {
            let rows = t.reshape(x[0], &[1, 41])?;
            t.record(Normalize, &[rows, x[1], x[2], x[3]])
        });
        let special = special.note(format!("input {at}")).tolerance(1e-6, 1e-6);
        all.push(special.non_finite(NonFinite::Same));
    }
    all
}
