//! Sums over axes: tree reductions in a fixed order, as those of `super::moments` are.
//!
//! All see their input as `[outer, rows, inner]` and reduce the rows. On the GPU a stage turns
//! `rows` into `ceil(rows / FAN)`: lane `(k, i)` adds rows `k, k + K, k + 2K, …` of column `i`, so
//! that neighboring lanes always read neighboring values, whatever `inner` is. On the CPU chunks of
//! rows are reduced in parallel and merged in order. Neither depends on the number of threads.

use minijinja::context;
use rayon::prelude::*;

use crate::error::Result;
use crate::tape::{Tape, Var};
use crate::tensor::{DType, padded_bytes};

use super::kernel::fold_groups;
use super::samples::{Input, Kind, Sample, special};
use super::wide::widest;
use super::{Arg, Call, Caps, Dispatch, Lowered, Op, Site, Sizes, Variant};

/// How many values one lane of a GPU stage adds.
pub(super) const FAN: usize = 64;

/// Values in a chunk of rows that one CPU task reduces: 64 KiB, so that a second pass over it finds
/// it in the cache.
const CHUNK: usize = 16_384;

/// Rows in a CPU chunk.
pub(super) fn chunk_rows(rows: usize, inner: usize) -> usize {
    (CHUNK / inner.max(1)).clamp(1, rows.max(1))
}

/// `y[o, i] = Σ_r x[o, r, i]`.
#[derive(Clone, Copy, Debug)]
pub struct Sum;

/// How the lanes of a stage read: a vector of four at a time, where the rows allow it, and several
/// rows before the first is needed. A software adapter gains nothing from either.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reads {
    /// Values that a lane takes at a time: 4 or 1.
    pub(super) wide: usize,
    /// Rows that are read before the first of them is needed.
    pub(super) flight: usize,
}

impl Reads {
    /// For lanes whose values lie `steps` apart.
    pub(super) fn new(steps: &[usize], caps: &Caps) -> Self {
        let wide = !caps.software && steps.iter().all(|step| step.is_multiple_of(4));
        Self { wide: if wide { 4 } else { 1 }, flight: if caps.software { 1 } else { 4 } }
    }
}

/// Where a stage of a tree reduction writes its `len` values: a scratch buffer, unless it is the
/// last.
pub(super) fn stage_result(last: bool, len: usize, lowered: &mut Lowered) -> Arg {
    if last {
        return Arg::Output;
    }
    lowered.scratch.push(padded_bytes(len, DType::F32));
    Arg::Scratch(lowered.scratch.len() - 1)
}

/// The dispatches that sum `[outer, rows, inner]` over rows, from `from` into the output.
pub(super) fn sum_stages(
    [outer, mut rows, inner]: [usize; 3],
    mut from: Arg,
    lowered: &mut Lowered,
    caps: &Caps,
) {
    loop {
        let kept = rows.div_ceil(FAN);
        let last = kept == 1;
        let to = stage_result(last, outer * kept * inner, lowered);
        let Reads { wide, flight } = Reads::new(&[kept * inner, rows * inner], caps);
        let lanes = outer * kept * inner / wide;
        let (width, all) = (kept * inner / wide, rows * inner / wide);
        let steps = rows.div_ceil(kept) - 1;
        let last_step = steps * width;
        let mut sizes = Sizes::new(caps);
        let context = context! {
            lanes => sizes.number("lanes", lanes),
            width => sizes.number("width", width),
            all => sizes.number("all", all),
            last => sizes.number("last", last_step),
            rest => sizes.number("rest", all - last_step),
            whole => sizes.number("whole", steps / flight * flight * width),
            flight,
            wide => wide > 1,
        };
        lowered.dispatches.push(Dispatch {
            kernel: "sum",
            context: sizes.with(context),
            bind: vec![("x", from), ("y", to)],
            groups: fold_groups(lanes.div_ceil(64), caps),
            flops: (outer * rows * inner) as u64,
        });
        if last {
            return;
        }
        rows = kept;
        from = to;
    }
}

/// The dispatches that sum each of `parts` (first element, length) of their input and write the
/// sums at `to` of their output: a stage takes all parts at once, and each sum is computed as by
/// [`Sum`] alone.
pub(crate) fn sum_each(parts: &[(usize, usize)], to: &[usize], caps: &Caps) -> Lowered {
    let mut lowered = Lowered::default();
    let (mut parts, mut from) = (parts.to_vec(), Arg::Input(0));
    loop {
        let kept: Vec<usize> = parts.iter().map(|&(_, len)| len.div_ceil(FAN)).collect();
        let lanes: usize = kept.iter().sum();
        let last = lanes == parts.len();
        let target = stage_result(last, lanes, &mut lowered);
        let mut first = 0;
        let mut results = Vec::new();
        let mut written = Vec::new();
        for (i, (&(start, len), &kept)) in parts.iter().zip(&kept).enumerate() {
            let to = if last { to[i] } else { first };
            written.push(context! { first, start, end => start + len, kept, to });
            results.push((first, kept));
            first += kept;
        }
        lowered.dispatches.push(Dispatch {
            kernel: "sum_each",
            context: context! { lanes, parts => written },
            bind: vec![("x", from), ("y", target)],
            groups: fold_groups(lanes.div_ceil(64), caps),
            flops: parts.iter().map(|part| part.1 as u64).sum(),
        });
        if last {
            return lowered;
        }
        (parts, from) = (results, target);
    }
}

/// Adds `x`, rows of `y.len()` values, to `y`.
#[inline(always)]
fn add_rows(x: &[f32], y: &mut [f32]) {
    if y.len() == 1 {
        // Sixteen sums side by side: vector registers, and shorter chains than one running sum.
        let mut lanes = [0.0_f32; 16];
        let chunks = x.chunks_exact(16);
        let rest: f32 = chunks.remainder().iter().sum();
        for chunk in chunks {
            for (lane, x) in lanes.iter_mut().zip(chunk) {
                *lane += x;
            }
        }
        y[0] += lanes.iter().sum::<f32>() + rest;
        return;
    }
    for row in x.chunks_exact(y.len()) {
        for (y, x) in y.iter_mut().zip(row) {
            *y += x;
        }
    }
}

/// Columns whose parts are merged side by side.
pub(super) const LANES: usize = 32;

/// `Σ_k f(k, i, x[k, start + i])` over the parts `x`, rows of `width` values, for each of `LANES`
/// columns (0 past the last one): in 64 bits and in order.
#[inline(always)]
pub(super) fn merge(
    x: &[f32],
    width: usize,
    start: usize,
    f: impl Fn(usize, usize, f64) -> f64,
) -> [f64; LANES] {
    let mut sums = [0.0; LANES];
    for (k, row) in x.chunks_exact(width).enumerate() {
        let row = &row[start..width.min(start + LANES)];
        for (i, (sum, &x)) in sums.iter_mut().zip(row).enumerate() {
            *sum += f(k, i, f64::from(x));
        }
    }
    sums
}

/// `y[i] = Σ_k x[k, i]`, merged.
pub(super) fn merge_sums(x: &[f32], y: &mut [f32]) {
    let width = y.len();
    for (block, y) in y.chunks_mut(LANES).enumerate() {
        let sums = widest(
            #[inline(always)]
            || merge(x, width, LANES * block, |_, _, x| x),
        );
        y.iter_mut().zip(sums).for_each(|(y, sum)| *y = sum as f32);
    }
}

impl Op for Sum {
    fn name(&self) -> &'static str {
        "sum"
    }

    fn shape(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        match inputs[0] {
            &[outer, rows, inner] if outer * rows * inner > 0 => Ok(vec![outer, inner]),
            _ => Err("the input must be [outer, rows, inner], none of them 0".into()),
        }
    }

    fn is_sum(&self) -> bool {
        true
    }

    fn vjp(&self, t: &mut Tape, s: &Site, g: Var, _needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let row = t.reshape(g, &[s.shape[0], 1, s.shape[1]])?;
        Ok(vec![Some(t.broadcast_to(row, &s.shapes[0])?)])
    }

    fn reference(&self, s: &Site, x: &[&[f64]]) -> Vec<f64> {
        let [outer, rows, inner] = [0, 1, 2].map(|d| s.shapes[0][d]);
        let mut y = vec![0.0; outer * inner];
        for o in 0..outer {
            for r in 0..rows {
                for i in 0..inner {
                    y[o * inner + i] += x[0][(o * rows + r) * inner + i];
                }
            }
        }
        y
    }

    fn cpu_scratch(&self, s: &Site, _threads: usize) -> usize {
        let [outer, rows, inner] = [s.shapes[0][0], s.shapes[0][1], s.shapes[0][2]];
        outer * rows.div_ceil(chunk_rows(rows, inner)) * inner
    }

    fn cpu(&self, s: &Site, call: Call<'_>) {
        let [rows, inner] = [s.shapes[0][1], s.shapes[0][2]];
        let (x, y) = (call.f32(0), call.out);
        let chunk = chunk_rows(rows, inner);
        let chunks = rows.div_ceil(chunk);
        call.scratch.par_chunks_mut(inner).enumerate().for_each(|(i, part)| {
            let (o, k) = (i / chunks, i % chunks);
            let start = (o * rows + k * chunk) * inner;
            let end = (o * rows + ((k + 1) * chunk).min(rows)) * inner;
            part.fill(0.0);
            widest(
                #[inline(always)]
                || add_rows(&x[start..end], part),
            );
        });
        for (parts, y) in call.scratch.chunks(chunks * inner).zip(y.chunks_mut(inner)) {
            merge_sums(parts, y);
        }
    }

    fn variants(&self, s: &Site, caps: &Caps) -> Result<Vec<Variant>> {
        let mut lowered = Lowered::default();
        let sizes = [s.shapes[0][0], s.shapes[0][1], s.shapes[0][2]];
        sum_stages(sizes, Arg::Input(0), &mut lowered, caps);
        Ok(Variant::only(lowered))
    }

    fn flops(&self, s: &Site) -> u64 {
        s.input_len(0) as u64
    }
}

impl Tape {
    /// The sum over `axes`, which are removed; 0 for an empty sum.
    ///
    /// # Errors
    /// [`crate::error::Error::Shape`] where `x` does not have all of these axes.
    pub fn sum(&mut self, x: Var, axes: &[usize]) -> Result<Var> {
        let shape = self.shape(x).to_vec();
        let kept: Vec<usize> =
            (0..shape.len()).filter(|d| !axes.contains(d)).map(|d| shape[d]).collect();
        let mut sizes: Vec<(usize, bool)> =
            shape.iter().enumerate().map(|(d, &s)| (s, axes.contains(&d))).collect();
        if let Some(&axis) = axes.iter().find(|&&a| a >= shape.len()) {
            return Err(crate::error::Error::Shape {
                op: "sum",
                what: format!("there is no axis {axis}"),
                shapes: vec![shape],
            });
        }
        if shape.contains(&0) {
            return self.fill(&kept, 0.0);
        }
        // One block of neighboring axes at a time, from the last.
        let mut y = x;
        while let Some(end) = sizes.iter().rposition(|&(_, summed)| summed) {
            let start = sizes[..end].iter().rposition(|&(_, summed)| !summed).map_or(0, |i| i + 1);
            let size = |part: &[(usize, bool)]| part.iter().map(|p| p.0).product::<usize>();
            let (outer, inner) = (size(&sizes[..start]), size(&sizes[end + 1..]));
            let rows = size(&sizes[start..=end]);
            let view = self.reshape(y, &[outer, rows, inner])?;
            y = if rows == 1 { view } else { self.record(Sum, &[view])? };
            sizes.drain(start..=end);
        }
        self.reshape(y, &kept)
    }

    /// The sum of all elements, a scalar.
    ///
    /// # Errors
    /// [`crate::error::Error::Shape`] where `x` is empty.
    pub fn sum_all(&mut self, x: Var) -> Result<Var> {
        let axes: Vec<usize> = (0..self.shape(x).len()).collect();
        self.sum(x, &axes)
    }

    /// The mean over `axes`, which are removed.
    ///
    /// # Errors
    /// [`crate::error::Error::Shape`] where `x` does not have all of these axes.
    pub fn mean(&mut self, x: Var, axes: &[usize]) -> Result<Var> {
        let sum = self.sum(x, axes)?;
        let count: usize = axes.iter().map(|&a| self.shape(x)[a]).product();
        self.affine(sum, 1.0 / count as f32, 0.0)
    }

    /// The mean of all elements, a scalar.
    ///
    /// # Errors
    /// [`crate::error::Error::Shape`] where `x` is empty.
    pub fn mean_all(&mut self, x: Var) -> Result<Var> {
        let axes: Vec<usize> = (0..self.shape(x).len()).collect();
        self.mean(x, &axes)
    }

    /// The gradient `x` of a broadcast value of `shape`: summed over the axes that were stretched.
    ///
    /// # Errors
    /// [`crate::error::Error::Shape`] where `shape` does not broadcast to that of `x`.
    pub fn sum_to(&mut self, x: Var, shape: &[usize]) -> Result<Var> {
        let from = self.shape(x).to_vec();
        if from == shape {
            return Ok(x);
        }
        if from.len() < shape.len() || from.iter().product::<usize>() < shape.iter().product() {
            // A gradient of the output's shape where the input was not broadcast but the output
            // was made from a larger partner: stretch it.
            return self.broadcast_to(x, shape);
        }
        let lead = from.len() - shape.len();
        let axes: Vec<usize> = (0..from.len())
            .filter(|&d| d < lead || (shape[d - lead] == 1 && from[d] != 1))
            .collect();
        let sum = self.sum(x, &axes)?;
        self.reshape(sum, shape)
    }
}

pub(super) fn samples(op: &'static str) -> Vec<Sample> {
    let mut table: Vec<(Vec<usize>, Vec<usize>)> = Vec::new();
    // Every subset of the axes.
    for set in 1..16_usize {
        table.push((vec![2, 3, 4, 5], (0..4).filter(|d| set >> d & 1 == 1).collect()));
    }
    // The last four by vectors, with rows in whole flights and not.
    let others: [(&[usize], &[usize]); 17] = [
        (&[1], &[0]),
        (&[2], &[0]),
        (&[64], &[0]),
        (&[65], &[0]),
        (&[1, 7], &[0]),
        (&[7, 1], &[1]),
        (&[1757], &[0]),
        (&[5, 65], &[1]),
        (&[65, 5], &[0]),
        (&[7, 129, 65], &[0, 2]),
        (&[3, 4097, 5], &[1]),
        (&[4161, 3], &[0]),
        (&[2, 65, 65, 3], &[0, 1, 2]),
        (&[300, 8], &[0]),
        (&[2, 130, 4], &[1]),
        (&[1000, 3], &[0]),
        (&[8192], &[0]),
    ];
    table.extend(others.map(|(shape, axes)| (shape.to_vec(), axes.to_vec())));
    let mut all: Vec<Sample> = table
        .into_iter()
        .map(|(shape, axes)| {
            let note = format!("over {axes:?}");
            let op = if axes.iter().all(|&a| shape[a] == 1) { "reshape" } else { op };
            let inputs = vec![Input::new(&shape, Kind::NORMAL)];
            let sample = Sample::new(op, inputs, move |t, x| t.sum(x[0], &axes));
            sample.note(note).tolerance(1e-6, 4e-6)
        })
        .collect();
    for (shape, kind) in [
        (&[131_072][..], Kind::NORMAL),
        (&[131_072], Kind::Uniform(0.0, 1.0)),
        (&[65_537, 3], Kind::Uniform(0.0, 1.0)),
        (&[300, 3], Kind::Normal { mean: 1000.0, scale: 0.1 }),
    ] {
        let long = vec![Input::new(shape, kind)];
        let sample = Sample::new(op, long, |t, x| t.sum(x[0], &[0])).note(format!("{kind:?}"));
        all.push(sample.tolerance(1e-6, 3e-6).rough());
    }
    let mean = vec![Input::new(&[3, 5, 7], Kind::NORMAL)];
    all.push(Sample::new(op, mean, |t, x| t.mean(x[0], &[0, 2])).note("mean over [0, 2]"));
    let length = vec![Input::new(&[3, 4, 5], Kind::NORMAL)];
    let length = Sample::new(op, length, |t, x| {
        let square = t.mul(x[0], x[0])?;
        let sum = t.sum(square, &[1, 2])?;
        t.sqrt(sum)
    });
    all.push(length.note("length of each row"));
    all.extend(special::one(op, "columns", &[5, 65], |t, x| t.sum(x[0], &[0])));
    all.extend(special::one(op, "rows", &[65, 5], |t, x| t.sum(x[0], &[1])));
    all.extend(special::one(op, "stages", &[3, 4097], |t, x| t.sum(x[0], &[1])));
    all
}
