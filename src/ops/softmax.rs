//! The softmax of rows.

use minijinja::context;
use rayon::prelude::*;

use crate::error::Result;
use crate::math;
use crate::tape::{Tape, Var};

use super::kernel::{fold_groups, single};
use super::samples::{Input, Kind, Sample, special};
use super::wide::widest;
use super::{Arg, Call, Caps, Dispatch, Op, Site, Variant};

/// `y[r, i] = exp(x[r, i] − max_j x[r, j]) / Σ_j exp(x[r, j] − max_j x[r, j])` for `x` `[rows, c]`.
#[derive(Clone, Copy, Debug)]
pub struct Softmax;

/// Invocations of a workgroup.
const GROUP: usize = 64;

/// Values of a row that an invocation can hold in registers.
const HELD: usize = 32;

impl Softmax {
    /// Whether a workgroup takes a row, rather than an invocation: where there are enough values
    /// for most of it, and few enough to be held. Barriers cost a software adapter too much.
    fn takes_a_group(c: usize, caps: &Caps) -> bool {
        !caps.software && (GROUP / 2..=HELD * GROUP).contains(&c)
    }
}

impl Op for Softmax {
    fn name(&self) -> &'static str {
        "softmax"
    }

    fn shape(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        match inputs[0] {
            &[rows, c] if rows * c > 0 => Ok(vec![rows, c]),
            _ => Err("the input must be [rows, columns], none of them 0".into()),
        }
    }

    /// `gx = y (g − Σ_j g_j y_j)`.
    fn vjp(&self, t: &mut Tape, s: &Site, g: Var, _needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let weighed = t.mul(g, s.output)?;
        let mean = t.sum(weighed, &[1])?;
        let mean = t.reshape(mean, &[s.shape[0], 1])?;
        let off = t.sub(g, mean)?;
        Ok(vec![Some(t.mul(s.output, off)?)])
    }

    fn reference(&self, s: &Site, x: &[&[f64]]) -> Vec<f64> {
        let row = |x: &[f64]| -> Vec<f64> {
            let largest = x.iter().fold(f64::NEG_INFINITY, |m, &x| m.max(x));
            let exp: Vec<f64> = x.iter().map(|x| (x - largest).exp()).collect();
            exp.iter().map(|e| e / exp.iter().sum::<f64>()).collect()
        };
        x[0].chunks(s.shape[1]).flat_map(row).collect()
    }

    fn cpu(&self, s: &Site, call: Call<'_>) {
        let c = s.shape[1];
        let (x, y) = (call.f32(0), call.out);
        y[..s.len()].par_chunks_mut(c).zip(x.par_chunks(c)).for_each(|(y, x)| {
            widest(
                #[inline(always)]
                || {
                    // A NaN that this skips still spreads through the sum.
                    let largest = x.iter().fold(x[0], |m, &x| if m > x { m } else { x });
                    y.iter_mut().zip(x).for_each(|(y, &x)| *y = math::exp(x - largest));
                    let sum: f32 = y.iter().sum();
                    y.iter_mut().for_each(|y| *y /= sum);
                },
            );
        });
    }

    fn variants(&self, s: &Site, caps: &Caps) -> Result<Vec<Variant>> {
        let [rows, c] = [s.shape[0], s.shape[1]];
        let (kernel, each, groups) = match Self::takes_a_group(c, caps) {
            true => ("softmax_rows", c.div_ceil(GROUP), rows),
            false => ("softmax", 0, rows.div_ceil(GROUP)),
        };
        single(Dispatch {
            kernel,
            context: context! { rows => rows, c => c, each => each },
            bind: vec![("x", Arg::Input(0)), ("y", Arg::Output)],
            groups: fold_groups(groups, caps),
            flops: 10 * s.len() as u64,
        })
    }

    fn flops(&self, s: &Site) -> u64 {
        10 * s.len() as u64
    }
}

impl Tape {
    /// The softmax of `x` along its last axis: see [`Softmax`].
    ///
    /// # Errors
    /// [`crate::error::Error::Shape`] where `x` is empty.
    pub fn softmax(&mut self, x: Var) -> Result<Var> {
        let shape = self.shape(x).to_vec();
        let c = *shape.last().unwrap_or(&1);
        let rows = shape.iter().product::<usize>() / c.max(1);
        let x = self.reshape(x, &[rows, c])?;
        let y = self.record(Softmax, &[x])?;
        self.reshape(y, &shape)
    }
}

/// More columns than a workgroup has invocations and than they can hold, one column, more columns
/// than a vector, and values whose exponentials overflow.
pub(super) fn samples(op: &'static str) -> Vec<Sample> {
    let table: [(&[usize], Kind); 8] = [
        (&[5, 200], Kind::Normal { mean: 80.0, scale: 5.0 }),
        (&[3, 2049], Kind::NORMAL),
        (&[3, 1], Kind::NORMAL),
        (&[2, 3], Kind::NORMAL),
        (&[65, 7], Kind::Normal { mean: 3.0, scale: 2.0 }),
        (&[2, 5, 33], Kind::NORMAL),
        (&[130, 64], Kind::Normal { mean: -200.0, scale: 1.0 }),
        (&[7, 41], Kind::Ladder),
    ];
    let all = table.into_iter().map(|(shape, kind)| {
        let x = vec![Input::new(shape, kind)];
        let sample = Sample::new(op, x, |t, x| t.softmax(x[0]));
        let sample = sample.note(format!("{kind:?}")).tolerance(5e-6, 1e-6);
        // All but one value of a ladder is lost in rounding.
        if matches!(kind, Kind::Ladder) { sample.rough() } else { sample }
    });
    let invocations = special::one(op, "", &[9, 6], |t, x| t.softmax(x[0]));
    let groups = special::one(op, "groups", &[4, 100], |t, x| t.softmax(x[0]));
    all.chain(invocations).chain(groups).collect()
}
