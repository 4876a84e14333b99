//! The largest of neighboring channels (Goodfellow et al., "Maxout Networks", arXiv 1302.4389).

use minijinja::context;
use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::tape::{Tape, Var};

use super::kernel::{fold_groups, single};
use super::samples::{Input, Kind, NonFinite, Sample, special};
use super::{Arg, Call, Caps, Dispatch, Half, Op, Site, Variant};

/// `y[…, c] = v[…, p·c + j]` where `x[…, p·c + j]` is the first of the largest values of
/// `x[…, p·c .. p·c + p]`, or their first NaN: `v` and `x` `[…, p·c]` give `y` `[…, c]`. Maxout is
/// `v = x`. Linear in `v`, with [`MaxoutGrad`] its transpose; its derivative with respect to the
/// choice that `x` makes is zero almost everywhere.
#[derive(Clone, Copy, Debug)]
pub struct Maxout {
    /// `p`: how many channels become one.
    pub pieces: usize,
}

/// `gx[…, p·c + j] = g[…, c]` where `x[…, p·c + j]` is the first of the largest values of
/// `x[…, p·c .. p·c + p]`, or their first NaN, else 0: the gradient of [`Maxout`]. Inputs `g` and
/// `x`.
#[derive(Clone, Copy, Debug)]
pub struct MaxoutGrad {
    /// `p`: how many channels became one.
    pub pieces: usize,
}

/// The shape of the maxout of `x`.
fn pooled(x: &[usize], pieces: usize) -> Option<Vec<usize>> {
    let (&channels, rest) = x.split_last()?;
    let divides = pieces > 0 && channels.is_multiple_of(pieces) && !x.contains(&0);
    divides.then(|| [rest, &[channels / pieces]].concat())
}

/// The index of the first of the largest values, or of the first NaN.
#[inline]
fn first_largest(x: &[f32]) -> usize {
    let mut at = 0;
    for (j, &next) in x.iter().enumerate().skip(1) {
        if !x[at].is_nan() && (next > x[at] || next.is_nan()) {
            at = j;
        }
    }
    at
}

/// The same for the reference: the first value not exceeded by any other.
fn choice(x: &[f64]) -> usize {
    let nan = x.iter().position(|x| x.is_nan());
    nan.or_else(|| x.iter().position(|a| x.iter().all(|b| a >= b))).unwrap_or(0)
}

/// Groups that one CPU task takes.
const TASK: usize = 4096;

impl Op for Maxout {
    fn name(&self) -> &'static str {
        "maxout"
    }

    fn shape(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        match pooled(inputs[0], self.pieces) {
            Some(shape) if inputs[0] == inputs[1] => Ok(shape),
            _ => Err(format!("the last axis must be whole groups of {}", self.pieces)),
        }
    }

    fn half(&self) -> Half {
        Half::AsInput
    }

    fn vjp(&self, t: &mut Tape, s: &Site, g: Var, needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let back = MaxoutGrad { pieces: self.pieces };
        let gv = if needs[0] { Some(t.record(back, &[g, s.inputs[1]])?) } else { None };
        Ok(vec![gv, None])
    }

    fn reference(&self, _s: &Site, x: &[&[f64]]) -> Vec<f64> {
        let groups = x[0].chunks(self.pieces).zip(x[1].chunks(self.pieces));
        groups.map(|(v, x)| v[choice(x)]).collect()
    }

    fn cpu(&self, s: &Site, call: Call<'_>) {
        let p = self.pieces;
        let (v, x, y) = (call.f32(0), call.f32(1), &mut call.out[..s.len()]);
        let tasks = y.par_chunks_mut(TASK).zip(v.par_chunks(TASK * p).zip(x.par_chunks(TASK * p)));
        tasks.for_each(|(y, (v, x))| {
            for (y, (v, x)) in y.iter_mut().zip(v.chunks_exact(p).zip(x.chunks_exact(p))) {
                *y = v[first_largest(x)];
            }
        });
    }

    fn variants(&self, s: &Site, caps: &Caps) -> Result<Vec<Variant>> {
        single(Dispatch {
            kernel: "maxout",
            context: context! { len => s.len(), pieces => self.pieces },
            bind: vec![("v", Arg::Input(0)), ("x", Arg::Input(1)), ("y", Arg::Output)],
            groups: fold_groups(s.len().div_ceil(64), caps),
            flops: s.input_len(1) as u64,
        })
    }

    fn flops(&self, s: &Site) -> u64 {
        s.input_len(1) as u64
    }
}

impl Op for MaxoutGrad {
    fn name(&self) -> &'static str {
        "maxout_grad"
    }

    fn shape(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        match pooled(inputs[1], self.pieces) {
            Some(shape) if inputs[0] == shape => Ok(inputs[1].to_vec()),
            _ => Err(format!("the inputs must be [..., c] and [..., {} c]", self.pieces)),
        }
    }

    fn half(&self) -> Half {
        Half::AsInput
    }

    fn vjp(&self, t: &mut Tape, s: &Site, h: Var, needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let pick = Maxout { pieces: self.pieces };
        let gg = if needs[0] { Some(t.record(pick, &[h, s.inputs[1]])?) } else { None };
        Ok(vec![gg, None])
    }

    fn reference(&self, s: &Site, x: &[&[f64]]) -> Vec<f64> {
        let mut gx = vec![0.0; s.len()];
        for (i, (g, x)) in x[0].iter().zip(x[1].chunks(self.pieces)).enumerate() {
            gx[i * self.pieces + choice(x)] = *g;
        }
        gx
    }

    fn cpu(&self, s: &Site, call: Call<'_>) {
        let p = self.pieces;
        let (g, x, gx) = (call.f32(0), call.f32(1), &mut call.out[..s.len()]);
        let tasks = gx.par_chunks_mut(TASK * p).zip(g.par_chunks(TASK).zip(x.par_chunks(TASK * p)));
        tasks.for_each(|(gx, (g, x))| {
            gx.fill(0.0);
            for ((gx, x), g) in gx.chunks_exact_mut(p).zip(x.chunks_exact(p)).zip(g) {
                gx[first_largest(x)] = *g;
            }
        });
    }

    fn variants(&self, s: &Site, caps: &Caps) -> Result<Vec<Variant>> {
        single(Dispatch {
            kernel: "maxout_grad",
            context: context! { len => s.input_len(0), pieces => self.pieces },
            bind: vec![("g", Arg::Input(0)), ("x", Arg::Input(1)), ("gx", Arg::Output)],
            groups: fold_groups(s.len().div_ceil(64), caps),
            flops: s.len() as u64,
        })
    }
}

impl Tape {
    /// The largest of each `pieces` neighboring channels of `x` `[…, pieces · c]`, as `[…, c]`; the
    /// gradient goes to the first of equally large ones. See [`Maxout`].
    ///
    /// # Errors
    /// [`Error::Shape`] where the channels of `x` are not whole groups.
    pub fn maxout(&mut self, x: Var, pieces: usize) -> Result<Var> {
        let shape = self.shape(x).to_vec();
        if pooled(&shape, pieces).is_none() {
            let channels = shape.last().copied().unwrap_or(0);
            let what = format!("{channels} channels are not whole groups of {pieces}");
            return Err(Error::Shape { op: "maxout", what, shapes: vec![shape] });
        }
        self.record(Maxout { pieces }, &[x, x])
    }
}

/// Channels that are and are not a multiple of four, one group, groups of one, many of them; ties.
/// Grids keep `x` away from where the choice changes.
pub(super) fn samples(op: &'static str) -> Vec<Sample> {
    let table: [(&[usize], usize); 7] = [
        (&[3], 3),
        (&[1, 1], 1),
        (&[2, 6], 2),
        (&[3, 5, 4, 10], 5),
        (&[2, 33, 195], 3),
        (&[4099, 8], 4),
        (&[5, 64], 64),
    ];
    let grad = op == "maxout_grad";
    let inputs = |shape: &[usize], pieces: usize, kinds: [Kind; 2]| {
        let small = pooled(shape, pieces).unwrap_or_default();
        vec![Input::new(if grad { &small } else { shape }, kinds[0]), Input::new(shape, kinds[1])]
    };
    let build = move |t: &mut Tape, v: &[Var], pieces| match grad {
        true => t.record(MaxoutGrad { pieces }, v),
        false => t.record(Maxout { pieces }, v),
    };
    let mut all = Vec::new();
    for (shape, pieces) in table {
        let one = |kinds| {
            let sample =
                Sample::new(op, inputs(shape, pieces, kinds), move |t, v| build(t, v, pieces));
            sample.note(format!("pieces {pieces}")).tolerance(0.0, 0.0)
        };
        // The choice is among values that are never close, or often equal.
        all.push(one([Kind::NORMAL, Kind::NORMAL]).rough());
        all.push(one([Kind::NORMAL, Kind::Ladder]).note("to ±150").rough());
        all.push(one([Kind::NORMAL, Kind::Uniform(0.5, 0.5)]).note("ties").rough());
        let first = [Kind::NORMAL, Kind::Special(special::DECIDED)];
        all.push(one(first).note("choice").non_finite(NonFinite::Same));
        all.push(
            one([Kind::Special(special::ALL), Kind::NORMAL])
                .note("value")
                .non_finite(NonFinite::Same),
        );
    }
    // With gradients: integers keep the channels of a group apart, in a different order for each
    // group.
    for (shape, pieces) in [(&[2, 3, 6][..], 2), (&[3, 5], 5), (&[2, 12], 3)] {
        let channels = shape.last().copied().unwrap_or(1);
        let kinds = [Kind::NORMAL, Kind::Uniform(-0.4, 0.4)];
        let smooth = Sample::new(op, inputs(shape, pieces, kinds), move |t, v| {
            let steps: Vec<Var> = (0..channels)
                .map(|c| t.fill(&[1], ((c / pieces + c) % pieces) as f32))
                .collect::<Result<_>>()?;
            let steps = t.concat(&steps, 0)?;
            let x = t.add(v[1], steps)?;
            build(t, &[v[0], x], pieces)
        });
        all.push(smooth.note(format!("apart, pieces {pieces}")).tolerance(0.0, 0.0));
        if !grad {
            let itself = Sample::new(op, vec![Input::new(shape, Kind::NORMAL)], move |t, x| {
                t.maxout(x[0], pieces)
            });
            all.push(itself.note(format!("pieces {pieces}, of itself")).tolerance(0.0, 0.0));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use crate::device::{Device, State};
    use crate::program::{Options, Program};
    use crate::tensor::{DType, Tensor};

    #[test]
    fn the_gradient_goes_to_the_first_of_the_largest() {
        let mut t = Tape::new();
        let x = t.feed("x", &[2, 6], DType::F32).unwrap();
        let y = t.maxout(x, 3).unwrap();
        let loss = t.sum_all(y).unwrap();
        let gradient = t.grad(loss, &[x]).unwrap()[0];
        t.fetch("y", y).unwrap();
        t.fetch("gradient", gradient).unwrap();
        let mut state = State::new(&Device::Cpu);
        let mut program = Program::compile(&t, &state, &Options::default()).unwrap();
        let x = vec![1.0, 3.0, 2.0, -1.0, -1.0, -2.0, 5.0, 5.0, 5.0, 0.0, -0.0, 4.0];
        let x = Tensor::new([2, 6], x).unwrap();
        let fetched = program.call(&mut state, &[("x", &x)]).unwrap();
        assert_eq!(fetched["y"].f32s(), [3.0, -1.0, 5.0, 4.0]);
        let ones = [0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0];
        assert_eq!(fetched["gradient"].f32s(), ones);
    }

    #[test]
    fn channels_that_are_no_whole_groups_are_refused() {
        let mut t = Tape::new();
        let x = t.feed("x", &[2, 7], DType::F32).unwrap();
        for pieces in [0, 2] {
            let error = t.maxout(x, pieces).unwrap_err().to_string();
            assert!(
                error.contains(&format!("7 channels are not whole groups of {pieces}")),
                "{error}"
            );
        }
    }
}
