//! The statistics that batch norm needs, forward and backward, by the tree reductions of
//! [`super::reduce`].

use std::array::from_fn;

use minijinja::context;
use rayon::prelude::*;

use crate::error::Result;
use crate::tape::{Tape, Var};

use super::kernel::fold_groups;
use super::reduce::{FAN, LANES, Reads, chunk_rows, merge, merge_sums, stage_result, sum_stages};
use super::samples::{Input, Kind, NonFinite, Sample, special};
use super::wide::widest;
use super::{Arg, Call, Caps, Dispatch, Lowered, Op, Site, Sizes, Variant};

/// Mean and (biased) variance of each column: `x` `[rows, c]` gives `y` `[2, c]`,
/// `y[0] = Σ_r x / rows`, `y[1] = Σ_r (x − y[0])² / rows`.
///
/// Partial results are (mean, sum of squared deviations, count), merged as Chan, Golub and LeVeque
/// (1979) do: no difference of large sums is ever taken.
#[derive(Clone, Copy, Debug)]
pub struct Moments;

/// Mean and sum of squared deviations of each column of `x`, rows of `mean.len()` values.
#[inline(always)]
fn chunk_moments(x: &[f32], mean: &mut [f32], m2: &mut [f32]) {
    let c = mean.len();
    mean.fill(0.0);
    m2.fill(0.0);
    // Summed relative to the first row: far from zero, a plain sum loses significant digits.
    let first = &x[..c];
    for row in x.chunks_exact(c) {
        for ((mean, x), first) in mean.iter_mut().zip(row).zip(first) {
            *mean += x - first;
        }
    }
    let count = (x.len() / c) as f32;
    for (mean, first) in mean.iter_mut().zip(first) {
        *mean = first + *mean / count;
    }
    for row in x.chunks_exact(c) {
        for ((m2, x), mean) in m2.iter_mut().zip(row).zip(&*mean) {
            *m2 += (x - mean) * (x - mean);
        }
    }
}

impl Op for Moments {
    fn name(&self) -> &'static str {
        "moments"
    }

    fn shape(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        match inputs[0] {
            &[rows, c] if rows * c > 0 => Ok(vec![2, c]),
            _ => Err("the input must be [rows, channels], none of them 0".into()),
        }
    }

    /// `gx = g_mean / rows + g_var · 2 (x − mean) / rows`.
    fn vjp(&self, t: &mut Tape, s: &Site, g: Var, _needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let (rows, c) = (s.shapes[0][0], s.shapes[0][1]);
        let g_mean = t.range(g, 0, c)?;
        let g_var = t.range(g, c, c)?;
        let mean = t.range(s.output, 0, c)?;
        let level = t.affine(g_mean, 1.0 / rows as f32, 0.0)?;
        let slope = t.affine(g_var, 2.0 / rows as f32, 0.0)?;
        let centered = t.sub(s.inputs[0], mean)?;
        let part = t.mul(centered, slope)?;
        Ok(vec![Some(t.add(part, level)?)])
    }

    fn reference(&self, s: &Site, x: &[&[f64]]) -> Vec<f64> {
        let (rows, c) = (s.shapes[0][0], s.shapes[0][1]);
        let column = |i: usize| (0..rows).map(move |r| x[0][r * c + i]);
        let mean: Vec<f64> = (0..c).map(|i| column(i).sum::<f64>() / rows as f64).collect();
        let var = (0..c)
            .map(|i| column(i).map(|x| (x - mean[i]) * (x - mean[i])).sum::<f64>() / rows as f64);
        mean.iter().copied().chain(var).collect()
    }

    fn cpu_scratch(&self, s: &Site, _threads: usize) -> usize {
        let (rows, c) = (s.shapes[0][0], s.shapes[0][1]);
        2 * rows.div_ceil(chunk_rows(rows, c)) * c
    }

    fn cpu(&self, s: &Site, call: Call<'_>) {
        let (rows, c) = (s.shapes[0][0], s.shapes[0][1]);
        let (x, y) = (call.f32(0), call.out);
        let chunk = chunk_rows(rows, c);
        call.scratch.par_chunks_mut(2 * c).zip(x.par_chunks(chunk * c)).for_each(|(part, x)| {
            let (mean, m2) = part.split_at_mut(c);
            widest(
                #[inline(always)]
                || chunk_moments(x, mean, m2),
            );
        });
        let count = |k: usize| (((k + 1) * chunk).min(rows) - k * chunk) as f64;
        let (means, vars) = y.split_at_mut(c);
        let blocks = means.chunks_mut(LANES).zip(vars.chunks_mut(LANES)).enumerate();
        for (block, (means, vars)) in blocks {
            let start = LANES * block;
            let (parts, all) = (&*call.scratch, rows as f64);
            let (mean, m2) = widest(
                #[inline(always)]
                || {
                    let sum = merge(parts, 2 * c, start, |k, _, mean| count(k) * mean);
                    let mean = sum.map(|sum| sum / all);
                    let within = merge(parts, 2 * c, c + start, |_, _, m2| m2);
                    let between = merge(parts, 2 * c, start, |k, i, part| {
                        count(k) * (part - mean[i]) * (part - mean[i])
                    });
                    (mean, from_fn::<f64, LANES, _>(|i| within[i] + between[i]))
                },
            );
            means.iter_mut().zip(mean).for_each(|(y, mean)| *y = mean as f32);
            vars.iter_mut().zip(m2).for_each(|(y, m2)| *y = (m2 / all) as f32);
        }
    }

    fn variants(&self, s: &Site, caps: &Caps) -> Result<Vec<Variant>> {
        let (mut rows, c) = (s.shapes[0][0], s.shapes[0][1]);
        let mut lowered = Lowered::default();
        let mut from = Arg::Input(0);
        let mut first = true;
        loop {
            let kept = rows.div_ceil(FAN);
            let last = kept == 1;
            let to = stage_result(last, 3 * kept * c, &mut lowered);
            // Later stages are short, and have three planes.
            let Reads { wide, flight } = match first {
                true => Reads::new(&[c], caps),
                false => Reads { wide: 1, flight: 1 },
            };
            let mut sizes = Sizes::new(caps);
            let context = context! {
                first => first,
                last => last,
                lanes => sizes.number("lanes", kept * c / wide),
                steps => sizes.number("steps", rows.div_ceil(kept)),
                all => sizes.number("all", rows * c / wide),
                whole => sizes.number("whole", rows / kept / flight * flight),
                flight,
                wide => wide > 1,
            };
            lowered.dispatches.push(Dispatch {
                kernel: "moments",
                context: sizes.with(context),
                bind: vec![("x", from), ("y", to)],
                groups: fold_groups((kept * c / wide).div_ceil(64), caps),
                flops: 4 * (rows * c) as u64,
            });
            if last {
                return Ok(Variant::only(lowered));
            }
            (rows, from, first) = (kept, to, false);
        }
    }

    fn flops(&self, s: &Site) -> u64 {
        4 * s.input_len(0) as u64
    }
}

/// The two sums that the backward pass of a normalization needs, in one pass over memory:
/// `y[0] = Σ_r g`, `y[1] = Σ_r g · (x − mean)`. Inputs `g`, `x` `[rows, c]` and `mean` `[c]`; gives
/// `[2, c]`.
#[derive(Clone, Copy, Debug)]
pub struct CenteredSums;

impl Op for CenteredSums {
    fn name(&self) -> &'static str {
        "centered_sums"
    }

    fn shape(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        match (inputs[0], inputs[1], inputs[2]) {
            (&[rows, c], x, mean) if rows * c > 0 && x == [rows, c] && mean == [c] => {
                Ok(vec![2, c])
            }
            _ => Err("the inputs must be [rows, c], [rows, c] and [c], none of them empty".into()),
        }
    }

    /// With `h` the gradient of the two sums: `gg = h₀ + h₁ (x − mean)`, `gx = h₁ g`,
    /// `gmean = −h₁ Σ g`.
    fn vjp(&self, t: &mut Tape, s: &Site, h: Var, needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let c = s.shape[1];
        let (g, x, mean) = (s.inputs[0], s.inputs[1], s.inputs[2]);
        let h0 = t.range(h, 0, c)?;
        let h1 = t.range(h, c, c)?;
        let mut parts = vec![None; 3];
        if needs[0] {
            let centered = t.sub(x, mean)?;
            let part = t.mul(centered, h1)?;
            parts[0] = Some(t.add(part, h0)?);
        }
        if needs[1] {
            parts[1] = Some(t.mul(g, h1)?);
        }
        if needs[2] {
            let sum = t.range(s.output, 0, c)?;
            let part = t.mul(h1, sum)?;
            parts[2] = Some(t.neg(part)?);
        }
        Ok(parts)
    }

    fn reference(&self, s: &Site, x: &[&[f64]]) -> Vec<f64> {
        let (rows, c) = (s.shapes[0][0], s.shapes[0][1]);
        let (g, x, mean) = (x[0], x[1], x[2]);
        let sums = |f: &dyn Fn(usize, usize) -> f64| -> Vec<f64> {
            (0..c).map(|i| (0..rows).map(|r| f(r * c + i, i)).sum()).collect()
        };
        [sums(&|at, _| g[at]), sums(&|at, i| g[at] * (x[at] - mean[i]))].concat()
    }

    fn cpu_scratch(&self, s: &Site, _threads: usize) -> usize {
        let (rows, c) = (s.shapes[0][0], s.shapes[0][1]);
        2 * rows.div_ceil(chunk_rows(rows, c)) * c
    }

    fn cpu(&self, s: &Site, call: Call<'_>) {
        let (rows, c) = (s.shapes[0][0], s.shapes[0][1]);
        let (g, x, mean) = (call.f32(0), call.f32(1), call.f32(2));
        let chunk = chunk_rows(rows, c) * c;
        let parts = call.scratch.par_chunks_mut(2 * c);
        parts.zip(g.par_chunks(chunk)).zip(x.par_chunks(chunk)).for_each(|((part, g), x)| {
            part.fill(0.0);
            let (sum, product) = part.split_at_mut(c);
            widest(
                #[inline(always)]
                || {
                    for (g, x) in g.chunks_exact(c).zip(x.chunks_exact(c)) {
                        let sums = sum.iter_mut().zip(product.iter_mut());
                        for ((((sum, product), g), x), mean) in sums.zip(g).zip(x).zip(mean) {
                            *sum += g;
                            *product += g * (x - mean);
                        }
                    }
                },
            );
        });
        merge_sums(call.scratch, call.out);
    }

    fn variants(&self, s: &Site, caps: &Caps) -> Result<Vec<Variant>> {
        let (rows, c) = (s.shapes[0][0], s.shapes[0][1]);
        let mut lowered = Lowered::default();
        let kept = rows.div_ceil(FAN);
        let to = stage_result(kept == 1, 2 * kept * c, &mut lowered);
        let Reads { wide, flight } = Reads::new(&[c], caps);
        let mut sizes = Sizes::new(caps);
        let context = context! {
            inner => sizes.number("inner", c / wide),
            lanes => sizes.number("lanes", kept * c / wide),
            steps => sizes.number("steps", rows.div_ceil(kept)),
            all => sizes.number("all", rows * c / wide),
            whole => sizes.number("whole", rows / kept / flight * flight),
            flight,
            wide => wide > 1,
        };
        lowered.dispatches.push(Dispatch {
            kernel: "centered_sums",
            context: sizes.with(context),
            bind: vec![
                ("g", Arg::Input(0)),
                ("x", Arg::Input(1)),
                ("mean", Arg::Input(2)),
                ("y", to),
            ],
            groups: fold_groups((kept * c / wide).div_ceil(64), caps),
            flops: 4 * (rows * c) as u64,
        });
        if kept > 1 {
            sum_stages([2, kept, c], to, &mut lowered, caps);
        }
        Ok(Variant::only(lowered))
    }

    fn flops(&self, s: &Site) -> u64 {
        4 * s.input_len(0) as u64
    }
}

impl Tape {
    /// Mean and biased variance of each channel (last axis) of `x`, as `[2, c]`.
    ///
    /// # Errors
    /// [`crate::error::Error::Shape`] where `x` is empty.
    pub fn moments(&mut self, x: Var) -> Result<Var> {
        let c = *self.shape(x).last().unwrap_or(&1);
        let rows = self.shape(x).iter().product::<usize>() / c.max(1);
        let x = self.reshape(x, &[rows, c])?;
        self.record(Moments, &[x])
    }
}

pub(super) fn samples(op: &'static str) -> Vec<Sample> {
    let mut all = Vec::new();
    for (rows, c) in [(1, 3), (2, 1), (7, 1), (65, 4), (331, 8), (130, 65), (5000, 3)] {
        let x = vec![Input::new(&[rows, c], Kind::Normal { mean: 0.5, scale: 2.0 })];
        let moments = Sample::new("moments", x, |t, x| t.moments(x[0])).tolerance(3e-6, 1e-6);
        all.push(if rows > 1000 { moments.rough() } else { moments });
        let inputs = vec![
            Input::new(&[rows, c], Kind::NORMAL),
            Input::new(&[rows, c], Kind::NORMAL),
            Input::new(&[c], Kind::NORMAL),
        ];
        let sums = Sample::new("centered_sums", inputs, |t, x| t.record(CenteredSums, x));
        let sums = sums.tolerance(1e-6, 5e-6);
        all.push(if rows > 1000 { sums.rough() } else { sums });
    }
    // Where the mean is far from zero, sums of squares leave no correct digit of the variance.
    for (rows, c) in [(64, 1), (4097, 3), (20_000, 1), (20_000, 2), (40_000, 8)] {
        let kind = Kind::Normal { mean: 1000.0, scale: 0.1 };
        let moments =
            Sample::new("moments", vec![Input::new(&[rows, c], kind)], |t, x| t.moments(x[0]));
        all.push(moments.note("1000 ± 0.1").tolerance(5e-5, 0.0).rough());
    }
    let constant = vec![Input::new(&[300, 3], Kind::Uniform(1.25, 1.25))];
    let constant = Sample::new("moments", constant, |t, x| t.moments(x[0]));
    all.push(constant.note("constant").tolerance(1e-6, 1e-9).rough());
    // A variance of infinite values can be computed in more than one way: NaN is as good.
    for (note, shape) in [("", [7, 65]), ("stages", [300, 5]), ("vectors", [300, 8])] {
        let [nan, _] = special::one("moments", note, &shape, |t, x| t.moments(x[0]));
        all.push(nan);
    }
    let inputs = vec![
        Input::new(&[7, 5], Kind::Special(special::ALL)),
        Input::new(&[7, 5], Kind::Special(special::ONE_NAN)),
        Input::new(&[5], Kind::NORMAL),
    ];
    let special = Sample::new("centered_sums", inputs, |t, x| t.record(CenteredSums, x));
    all.push(special.tolerance(5e-6, 2e-6).non_finite(NonFinite::Spreads));
    all.retain(|sample| sample.op == op);
    all
}
