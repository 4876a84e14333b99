//! The same elements elsewhere: reshape, permute, slice, pad, broadcast.

use minijinja::context;
use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::tape::{Tape, Var};

use super::kernel::{fold_groups, single};
use super::reference::{flat, places};
use super::{Arg, Call, Caps, Class, Dispatch, Elementwise, Half, Op, Site, Variant, reference};

mod samples;

pub(super) use samples::samples;

/// The same elements under another shape. No data moves.
#[derive(Clone, Debug)]
pub struct Reshape(Vec<usize>);

impl Op for Reshape {
    fn name(&self) -> &'static str {
        "reshape"
    }

    fn shape(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        if inputs[0].iter().product::<usize>() == self.0.iter().product::<usize>() {
            Ok(self.0.clone())
        } else {
            Err(format!("{:?} has another number of elements", self.0))
        }
    }

    fn class(&self) -> Class<'_> {
        Class::Reshape
    }

    fn vjp(&self, t: &mut Tape, s: &Site, g: Var, _needs: &[bool]) -> Result<Vec<Option<Var>>> {
        Ok(vec![Some(t.reshape(g, &s.shapes[0])?)])
    }

    fn reference(&self, _s: &Site, x: &[&[f64]]) -> Vec<f64> {
        x[0].to_vec()
    }
}

/// Elements `start .. start + len` of the flattened input, as a vector.
#[derive(Clone, Copy, Debug)]
pub struct Range {
    /// The first element.
    pub start: usize,
    /// How many.
    pub len: usize,
}

impl Op for Range {
    fn name(&self) -> &'static str {
        "range"
    }

    fn shape(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        if self.start + self.len <= inputs[0].iter().product() {
            Ok(vec![self.len])
        } else {
            Err(format!("elements {}..{} do not exist", self.start, self.start + self.len))
        }
    }

    fn class(&self) -> Class<'_> {
        Class::Range(self.start)
    }

    fn vjp(&self, t: &mut Tape, s: &Site, g: Var, _needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let len = s.input_len(0);
        let padded = t.pad(g, &[self.start], &[len])?;
        Ok(vec![Some(t.reshape(padded, &s.shapes[0])?)])
    }

    fn reference(&self, _s: &Site, x: &[&[f64]]) -> Vec<f64> {
        (0..self.len).map(|i| x[0][self.start + i]).collect()
    }
}

/// The input stretched to a larger shape.
#[derive(Clone, Debug)]
pub struct BroadcastTo(Vec<usize>);

impl Op for BroadcastTo {
    fn name(&self) -> &'static str {
        "broadcast_to"
    }

    fn shape(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        let shape = super::elementwise::broadcast(&[inputs[0], &self.0])?;
        if shape == self.0 { Ok(shape) } else { Err(format!("does not stretch to {:?}", self.0)) }
    }

    fn class(&self) -> Class<'_> {
        Class::Elementwise(self)
    }

    fn vjp(&self, _t: &mut Tape, _s: &Site, g: Var, _needs: &[bool]) -> Result<Vec<Option<Var>>> {
        Ok(vec![Some(g)])
    }

    fn reference(&self, s: &Site, x: &[&[f64]]) -> Vec<f64> {
        reference::elementwise(s, x, |[x]| x)
    }
}

impl Elementwise for BroadcastTo {
    fn apply(&self, inputs: &[&[f32]], y: &mut [f32]) {
        y.copy_from_slice(inputs[0]);
    }
}

/// `y[i₀, i₁, …] = x[Σ (i_d − low_d) · stride_d]` where `low_d ≤ i_d < high_d` for all axes, else
/// 0: permutations, slices and paddings in one form, derived by the op that uses it.
#[derive(Clone, Debug)]
struct Gather {
    shape: Vec<usize>,
    low: Vec<usize>,
    high: Vec<usize>,
    stride: Vec<usize>,
    /// The input's flat index of the element at `low`.
    offset: usize,
}

impl Gather {
    fn cpu(&self, call: Call<'_>) {
        let (x, y) = (call.f32(0), call.out);
        let inner = *self.shape.last().unwrap_or(&1);
        let rank = self.shape.len();
        if rank == 0 {
            y[0] = x[self.offset];
            return;
        }
        let (low, high) = (self.low[rank - 1], self.high[rank - 1]);
        let stride = self.stride[rank - 1];
        let y = &mut y[..self.shape.iter().product()];
        y.par_chunks_mut(inner.max(1)).enumerate().for_each(|(row, y)| {
            let mut rest = row;
            let mut at = self.offset;
            let mut inside = true;
            for d in (0..rank - 1).rev() {
                let i = rest % self.shape[d];
                rest /= self.shape[d];
                inside &= self.low[d] <= i && i < self.high[d];
                at += i.saturating_sub(self.low[d]) * self.stride[d];
            }
            if !inside {
                y.fill(0.0);
                return;
            }
            y[..low].fill(0.0);
            y[high..].fill(0.0);
            if stride == 1 {
                y[low..high].copy_from_slice(&x[at..at + high - low]);
            } else {
                for (i, y) in y[low..high].iter_mut().enumerate() {
                    *y = x[at + i * stride];
                }
            }
        });
    }

    fn variants(&self, caps: &Caps) -> Result<Vec<Variant>> {
        let len: usize = self.shape.iter().product();
        let axes: Vec<_> = (0..self.shape.len())
            .map(|d| {
                context! {
                    size => self.shape[d], low => self.low[d], high => self.high[d],
                    stride => self.stride[d],
                }
            })
            .collect();
        single(Dispatch {
            kernel: "gather",
            context: context! { len => len, offset => self.offset, axes => axes },
            bind: vec![("x", Arg::Input(0)), ("y", Arg::Output)],
            groups: fold_groups(len.div_ceil(64), caps),
            flops: 0,
        })
    }
}

/// Row-major strides of a shape.
fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for d in (1..shape.len()).rev() {
        strides[d - 1] = strides[d] * shape[d];
    }
    strides
}

/// Implements the kernel half of [`Op`] for an op that has a `gather` method.
macro_rules! by_gather {
    () => {
        fn cpu(&self, s: &Site, call: Call<'_>) {
            self.gather(&s.shapes[0], &s.shape).cpu(call);
        }

        fn variants(&self, s: &Site, caps: &Caps) -> Result<Vec<Variant>> {
            self.gather(&s.shapes[0], &s.shape).variants(caps)
        }
    };
}

/// Axis `d` of the output is axis `axes[d]` of the input.
#[derive(Clone, Debug)]
pub struct Permute(pub Vec<usize>);

impl Permute {
    fn gather(&self, x: &[usize], y: &[usize]) -> Gather {
        let from = strides(x);
        Gather {
            shape: y.to_vec(),
            low: vec![0; y.len()],
            high: y.to_vec(),
            stride: self.0.iter().map(|&a| from[a]).collect(),
            offset: 0,
        }
    }
}

impl Op for Permute {
    fn name(&self) -> &'static str {
        "permute"
    }

    fn shape(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        if sorted.len() == inputs[0].len() && sorted.iter().enumerate().all(|(i, &a)| i == a) {
            Ok(self.0.iter().map(|&a| inputs[0][a]).collect())
        } else {
            Err(format!("{:?} does not permute its axes", self.0))
        }
    }

    fn half(&self) -> Half {
        Half::AsInput
    }

    fn vjp(&self, t: &mut Tape, _s: &Site, g: Var, _needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let mut inverse = vec![0; self.0.len()];
        for (to, &from) in self.0.iter().enumerate() {
            inverse[from] = to;
        }
        Ok(vec![Some(t.permute(g, &inverse)?)])
    }

    fn reference(&self, s: &Site, x: &[&[f64]]) -> Vec<f64> {
        let at = |place: Vec<usize>| {
            let mut from = vec![0; place.len()];
            for (d, &axis) in self.0.iter().enumerate() {
                from[axis] = place[d];
            }
            x[0][flat(&s.shapes[0], &from)]
        };
        places(&s.shape).into_iter().map(at).collect()
    }

    by_gather!();
}

/// The box that starts at `start` and has the sizes `size`.
#[derive(Clone, Debug)]
pub struct SliceBox {
    /// The corner nearest the origin.
    pub start: Vec<usize>,
    /// The sizes.
    pub size: Vec<usize>,
}

impl SliceBox {
    fn gather(&self, x: &[usize], y: &[usize]) -> Gather {
        let stride = strides(x);
        let offset = self.start.iter().zip(&stride).map(|(a, b)| a * b).sum();
        Gather { shape: y.to_vec(), low: vec![0; y.len()], high: y.to_vec(), stride, offset }
    }
}

impl Op for SliceBox {
    fn name(&self) -> &'static str {
        "slice"
    }

    fn shape(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        let x = inputs[0];
        let fits = self.start.len() == x.len()
            && self.size.len() == x.len()
            && (0..x.len()).all(|d| self.start[d] + self.size[d] <= x[d]);
        if fits {
            Ok(self.size.clone())
        } else {
            Err(format!("no box of {:?} starts at {:?}", self.size, self.start))
        }
    }

    fn half(&self) -> Half {
        Half::AsInput
    }

    fn vjp(&self, t: &mut Tape, s: &Site, g: Var, _needs: &[bool]) -> Result<Vec<Option<Var>>> {
        Ok(vec![Some(t.pad(g, &self.start, &s.shapes[0])?)])
    }

    fn reference(&self, s: &Site, x: &[&[f64]]) -> Vec<f64> {
        let from = |place: &[usize]| -> Vec<usize> {
            place.iter().zip(&self.start).map(|(i, start)| i + start).collect()
        };
        places(&s.shape).iter().map(|p| x[0][flat(&s.shapes[0], &from(p))]).collect()
    }

    by_gather!();
}

/// A box of zeros of `shape` with the input at `start`.
#[derive(Clone, Debug)]
pub struct Pad {
    /// Where the input's first element goes.
    pub start: Vec<usize>,
    /// The output's shape.
    pub shape: Vec<usize>,
}

impl Pad {
    fn gather(&self, x: &[usize], y: &[usize]) -> Gather {
        Gather {
            shape: y.to_vec(),
            low: self.start.clone(),
            high: self.start.iter().zip(x).map(|(a, b)| a + b).collect(),
            stride: strides(x),
            offset: 0,
        }
    }
}

impl Op for Pad {
    fn name(&self) -> &'static str {
        "pad"
    }

    fn shape(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        let x = inputs[0];
        let fits = self.start.len() == x.len()
            && self.shape.len() == x.len()
            && (0..x.len()).all(|d| self.start[d] + x[d] <= self.shape[d]);
        if fits {
            Ok(self.shape.clone())
        } else {
            Err(format!("does not fit into {:?} at {:?}", self.shape, self.start))
        }
    }

    fn half(&self) -> Half {
        Half::AsInput
    }

    fn vjp(&self, t: &mut Tape, s: &Site, g: Var, _needs: &[bool]) -> Result<Vec<Option<Var>>> {
        Ok(vec![Some(t.slice(g, &self.start, &s.shapes[0])?)])
    }

    fn reference(&self, s: &Site, x: &[&[f64]]) -> Vec<f64> {
        let mut y = vec![0.0; s.len()];
        for (place, x) in places(&s.shapes[0]).iter().zip(x[0]) {
            let to: Vec<usize> =
                place.iter().zip(&self.start).map(|(i, start)| i + start).collect();
            y[flat(&s.shape, &to)] = *x;
        }
        y
    }

    by_gather!();
}

impl Tape {
    /// The same elements as `shape`.
    ///
    /// # Errors
    /// [`Error::Shape`] where `shape` has a different number of elements.
    pub fn reshape(&mut self, x: Var, shape: &[usize]) -> Result<Var> {
        if self.shape(x) == shape {
            return Ok(x);
        }
        self.record(Reshape(shape.to_vec()), &[x])
    }

    /// Elements `start .. start + len` of the flattened `x`, as a vector.
    ///
    /// # Errors
    /// [`Error::Shape`] where `x` is too short.
    pub fn range(&mut self, x: Var, start: usize, len: usize) -> Result<Var> {
        self.record(Range { start, len }, &[x])
    }

    /// `x` stretched to `shape`, as in NumPy.
    ///
    /// # Errors
    /// [`Error::Shape`] where it does not stretch.
    pub fn broadcast_to(&mut self, x: Var, shape: &[usize]) -> Result<Var> {
        if self.shape(x) == shape {
            return Ok(x);
        }
        self.record(BroadcastTo(shape.to_vec()), &[x])
    }

    /// `x` with axis `axes[d]` at place `d`.
    ///
    /// # Errors
    /// [`Error::Shape`] where `axes` is not a permutation of its axes.
    pub fn permute(&mut self, x: Var, axes: &[usize]) -> Result<Var> {
        self.record(Permute(axes.to_vec()), &[x])
    }

    /// The transpose of a matrix.
    ///
    /// # Errors
    /// [`Error::Shape`] where `x` is not a matrix.
    pub fn transpose(&mut self, x: Var) -> Result<Var> {
        self.permute(x, &[1, 0])
    }

    /// The box of `x` that starts at `start` and has the sizes `size`.
    ///
    /// # Errors
    /// [`Error::Shape`] where `x` does not contain it.
    pub fn slice(&mut self, x: Var, start: &[usize], size: &[usize]) -> Result<Var> {
        let shape = self.shape(x);
        let fits = start.len() == shape.len() && size.len() == shape.len();
        if fits && shape == size && start.iter().all(|&s| s == 0) {
            return Ok(x);
        }
        if fits && size[1..] == shape[1..] && start[1..].iter().all(|&s| s == 0) {
            let row: usize = size[1..].iter().product();
            let flat = self.range(x, start[0] * row, size[0] * row)?;
            return self.reshape(flat, size);
        }
        self.record(SliceBox { start: start.to_vec(), size: size.to_vec() }, &[x])
    }

    /// Zeros of `shape` with `x` at `start`.
    ///
    /// # Errors
    /// [`Error::Shape`] where `x` does not fit there.
    pub fn pad(&mut self, x: Var, start: &[usize], shape: &[usize]) -> Result<Var> {
        if self.shape(x) == shape && start.iter().all(|&s| s == 0) {
            return Ok(x);
        }
        self.record(Pad { start: start.to_vec(), shape: shape.to_vec() }, &[x])
    }

    /// `parts` one after another along `axis`.
    ///
    /// # Errors
    /// [`Error::Shape`] where they differ along another axis, or `parts` is empty.
    pub fn concat(&mut self, parts: &[Var], axis: usize) -> Result<Var> {
        let shapes: Vec<Vec<usize>> = parts.iter().map(|&p| self.shape(p).to_vec()).collect();
        let fail = |what: &str, shapes: &[Vec<usize>]| Error::Shape {
            op: "concat",
            what: what.into(),
            shapes: shapes.to_vec(),
        };
        let mut shape = shapes.first().ok_or_else(|| fail("there are no parts", &[]))?.clone();
        let same = |s: &Vec<usize>| {
            s.len() == shape.len() && (0..s.len()).all(|d| d == axis || s[d] == shape[d])
        };
        if axis >= shape.len() || !shapes.iter().all(same) {
            return Err(fail("the parts differ along another axis than the one joined", &shapes));
        }
        shape[axis] = shapes.iter().map(|s| s[axis]).sum();
        let mut start = vec![0; shape.len()];
        let mut whole = None;
        for (&part, s) in parts.iter().zip(&shapes) {
            let padded = self.pad(part, &start, &shape)?;
            start[axis] += s[axis];
            whole = Some(match whole {
                Some(whole) => self.add(whole, padded)?,
                None => padded,
            });
        }
        whole.ok_or_else(|| fail("there are no parts", &shapes))
    }
}
