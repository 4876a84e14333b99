//! A vector for each image, behind the channels of all its pixels.

use minijinja::context;
use rayon::prelude::*;

use crate::error::Result;
use crate::tape::{Tape, Var};

use super::kernel::{fold_groups, single};
use super::reference::{flat, places};
use super::samples::{Input, Kind, NonFinite, Sample, special};
use super::{Arg, Call, Caps, Dispatch, Half, Op, Site, Variant};

/// `y[n, …, 0..c] = x[n, …, :]` and `y[n, …, c..c+d] = v[n, :]`: `x` `[n, …, c]` and `v` `[n, d]`
/// give `y` `[n, …, c + d]`.
///
/// This is [`Tape::concat`] along the channels of `x` and of `v` stretched to the images of `x`,
/// without the stretched `v` or a padded copy of each: how a conditional network gets its class
/// label at every layer (Mirza and Osindero, arXiv 1411.1784).
#[derive(Clone, Copy, Debug)]
pub struct Append;

impl Op for Append {
    fn name(&self) -> &'static str {
        "append"
    }

    fn shape(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        match (inputs[0], inputs[1]) {
            ([n, middle @ .., c], &[rows, d]) if *n == rows && !inputs.concat().contains(&0) => {
                let mut shape = vec![rows];
                shape.extend(middle);
                shape.push(c + d);
                Ok(shape)
            }
            _ => Err("the inputs must be [n, …, c] and [n, d]".into()),
        }
    }

    fn half(&self) -> Half {
        Half::AsInput
    }

    fn vjp(&self, t: &mut Tape, s: &Site, g: Var, needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let last = s.shape.len() - 1;
        let c = s.shapes[0][last];
        let mut start = vec![0; s.shape.len()];
        let mut parts = vec![None; 2];
        if needs[0] {
            parts[0] = Some(t.slice(g, &start, &s.shapes[0])?);
        }
        if needs[1] {
            start[last] = c;
            let mut size = s.shape.clone();
            size[last] -= c;
            let behind = t.slice(g, &start, &size)?;
            let middle: Vec<usize> = (1..last).collect();
            let sum = t.sum(behind, &middle)?;
            parts[1] = Some(t.reshape(sum, &s.shapes[1])?);
        }
        Ok(parts)
    }

    fn reference(&self, s: &Site, x: &[&[f64]]) -> Vec<f64> {
        let channels = s.shapes[0].last().copied().unwrap_or(0);
        let at = |place: &Vec<usize>| match place.split_last() {
            Some((&c, rest)) if c < channels => x[0][flat(&s.shapes[0], &[rest, &[c]].concat())],
            Some((&c, rest)) => x[1][flat(&s.shapes[1], &[rest[0], c - channels])],
            None => unreachable!("Op::shape gives two axes or more"),
        };
        places(&s.shape).iter().map(at).collect()
    }

    fn cpu(&self, s: &Site, call: Call<'_>) {
        let [n, d] = [s.shapes[1][0], s.shapes[1][1]];
        let c = s.shapes[0][s.shapes[0].len() - 1];
        let pixels = s.input_len(0) / (n * c);
        let (x, v, y) = (call.f32(0), call.f32(1), call.out);
        let image = pixels * (c + d);
        y[..n * image].par_chunks_mut(image).enumerate().for_each(|(i, y)| {
            let (x, v) = (&x[i * pixels * c..][..pixels * c], &v[i * d..][..d]);
            for (y, x) in y.chunks_exact_mut(c + d).zip(x.chunks_exact(c)) {
                let (front, behind) = y.split_at_mut(c);
                front.copy_from_slice(x);
                behind.copy_from_slice(v);
            }
        });
    }

    fn variants(&self, s: &Site, caps: &Caps) -> Result<Vec<Variant>> {
        let len = s.len();
        let d = s.shapes[1][1];
        let whole = *s.shape.last().unwrap_or(&1);
        single(Dispatch {
            kernel: "append",
            context: context! {
                len => len, c => whole - d, d => d, image => len / s.shape[0].max(1),
            },
            bind: vec![("x", Arg::Input(0)), ("v", Arg::Input(1)), ("y", Arg::Output)],
            groups: fold_groups(len.div_ceil(64), caps),
            flops: 0,
        })
    }

    fn flops(&self, _s: &Site) -> u64 {
        0
    }
}

impl Tape {
    /// Appends `v` `[n, d]` to the channels of every pixel of `x` `[n, …, c]`: see [`Append`].
    ///
    /// # Errors
    /// [`crate::error::Error::Shape`] where their `n` differ.
    pub fn append(&mut self, x: Var, v: Var) -> Result<Var> {
        self.record(Append, &[x, v])
    }
}

/// One pixel, one channel, channels that are and are not a multiple of four, and more of them
/// appended than there were.
pub(super) fn samples(op: &'static str) -> Vec<Sample> {
    let table: [(&[usize], usize); 7] = [
        (&[1, 1], 1),
        (&[3, 5], 2),
        (&[2, 1, 1, 7], 10),
        (&[2, 3, 4, 1], 10),
        (&[3, 5, 4, 8], 4),
        (&[2, 3, 65], 3),
        (&[5, 9, 3, 33], 1),
    ];
    let mut all: Vec<Sample> = table
        .map(|(x, d)| {
            let inputs = vec![Input::new(x, Kind::NORMAL), Input::new(&[x[0], d], Kind::NORMAL)];
            Sample::new(op, inputs, |t, x| t.append(x[0], x[1])).tolerance(0.0, 0.0)
        })
        .into();
    let inputs = vec![
        Input::new(&[3, 5, 4], Kind::Special(special::ALL)),
        Input::new(&[3, 2], Kind::Special(special::ONE_NAN)),
    ];
    let special = Sample::new(op, inputs, |t, x| t.append(x[0], x[1]));
    all.push(special.non_finite(NonFinite::Spreads));
    all
}
