//! Exchanges between the processes of a training ([`crate::ranks`]). They run on the host: on a GPU a
//! submission ends before one, and its values go through the host's memory.

use std::sync::Arc;

use crate::error::Result;
use crate::ranks::{Solo, World};
use crate::tape::{Tape, Var};

use super::kernel::Lowered;
use super::samples::{Input, Kind, NonFinite, Sample, special};
use super::{Call, Caps, Op, Site, Variant};

/// `y = Σ rows`, of all ranks in the order of ranks and rows. This rank's rows are its inputs, equally many
/// for each, laid out one behind the other: `rows · k` tensors of `n` numbers in each row, the same on every
/// rank, give `y` `[n]`, the same on every rank.
///
/// Its derivative is itself: a rank's gradient with respect to its inputs is the sum of all ranks' with
/// respect to `y`.
#[derive(Clone, Debug)]
pub struct AllReduce {
    /// The ranks.
    pub world: Arc<dyn World>,
    /// This rank's rows.
    pub rows: usize,
}

/// The rows of all ranks, in order: inputs as those of [`AllReduce`] give `y` `[rows · ranks, n]`.
///
/// Of one rank it is a copy, which the compiler fuses with nothing.
#[derive(Clone, Debug)]
pub struct AllGather {
    /// The ranks.
    pub world: Arc<dyn World>,
    /// This rank's rows.
    pub rows: usize,
}

/// The length of a row.
fn length(rows: usize, inputs: &[&[usize]]) -> Result<usize, String> {
    let len = |row: &[&[usize]]| row.iter().map(|shape| shape.iter().product::<usize>()).sum();
    if rows == 0 || inputs.is_empty() || !inputs.len().is_multiple_of(rows) {
        return Err(format!("{} inputs are not {rows} equal rows", inputs.len()));
    }
    let mut lengths = inputs.chunks(inputs.len() / rows).map(len);
    let first = lengths.next().unwrap_or(0);
    match first > 0 && lengths.all(|other: usize| other == first) {
        true => Ok(first),
        false => Err("the rows must have one length".into()),
    }
}

/// The inputs one behind the other.
fn joined(call: &Call<'_>) -> Vec<f32> {
    (0..call.inputs.len()).flat_map(|i| call.f32(i)).copied().collect()
}

/// No dispatch, but memory for the inputs one behind the other.
fn on_the_host(s: &Site) -> Result<Vec<Variant>> {
    let len: usize = (0..s.inputs.len()).map(|i| s.input_len(i)).sum();
    Ok(Variant::only(Lowered { dispatches: Vec::new(), scratch: vec![4 * len as u64] }))
}

impl Op for AllReduce {
    fn name(&self) -> &'static str {
        "all_reduce"
    }

    fn shape(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        length(self.rows, inputs).map(|n| vec![n])
    }

    fn vjp(&self, t: &mut Tape, s: &Site, g: Var, _: &[bool]) -> Result<Vec<Option<Var>>> {
        let world = Arc::clone(&self.world);
        let all = t.record(Self { world, rows: 1 }, &[g])?;
        let row = &s.shapes[..s.shapes.len() / self.rows];
        let parts = t.unpacked(all, 0, row)?;
        Ok((0..s.shapes.len()).map(|i| Some(parts[i % parts.len()])).collect())
    }

    fn reference(&self, s: &Site, x: &[&[f64]]) -> Vec<f64> {
        let n = s.shape[0];
        let all = x.concat();
        (0..n).map(|i| all.iter().skip(i).step_by(n).sum()).collect()
    }

    fn cpu(&self, _: &Site, call: Call<'_>) {
        let x = joined(&call);
        self.exchange(&x, call.out);
    }

    fn variants(&self, s: &Site, _: &Caps) -> Result<Vec<Variant>> {
        on_the_host(s)
    }

    fn is_exchange(&self) -> bool {
        true
    }

    fn exchange(&self, x: &[f32], y: &mut [f32]) {
        self.world.sum_in_order(x, y);
    }
}

impl Op for AllGather {
    fn name(&self) -> &'static str {
        "all_gather"
    }

    fn shape(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        length(self.rows, inputs).map(|n| vec![self.rows * self.world.size(), n])
    }

    fn reference(&self, _: &Site, x: &[&[f64]]) -> Vec<f64> {
        x.concat()
    }

    fn cpu(&self, _: &Site, call: Call<'_>) {
        let x = joined(&call);
        self.exchange(&x, call.out);
    }

    fn variants(&self, s: &Site, _: &Caps) -> Result<Vec<Variant>> {
        on_the_host(s)
    }

    fn is_exchange(&self) -> bool {
        true
    }

    fn is_copy(&self) -> bool {
        self.rows == 1 && self.world.is_solo()
    }

    fn exchange(&self, x: &[f32], y: &mut [f32]) {
        self.world.all_gather(x, y);
    }
}

impl Tape {
    /// The sum of the rows of all ranks: see [`AllReduce`].
    ///
    /// # Errors
    /// [`crate::error::Error::Shape`] unless all rows have one length.
    pub fn all_reduce(&mut self, rows: &[Vec<Var>]) -> Result<Var> {
        let world = Arc::clone(self.world());
        self.record(AllReduce { world, rows: rows.len() }, &rows.concat())
    }

    /// The rows of all ranks: see [`AllGather`].
    ///
    /// # Errors
    /// [`crate::error::Error::Shape`] unless all rows have one length.
    pub fn all_gather(&mut self, rows: &[Vec<Var>]) -> Result<Var> {
        let world = Arc::clone(self.world());
        self.record(AllGather { world, rows: rows.len() }, &rows.concat())
    }

    /// `x`, computed to the end: no kernel computes it together with what is made of it, which may round
    /// differently.
    ///
    /// # Errors
    /// Those of recording the op.
    pub fn settled(&mut self, x: Var) -> Result<Var> {
        let shape = self.shape(x).to_vec();
        let row = self.record(AllGather { world: Arc::new(Solo), rows: 1 }, &[x])?;
        self.reshape(row, &shape)
    }
}

/// One row and several, of one input and of several, of one rank.
pub(super) fn samples(op: &'static str) -> Vec<Sample> {
    let record = move |t: &mut Tape, x: &[Var], rows| {
        let world = Arc::new(Solo);
        match op {
            "all_reduce" => t.record(AllReduce { world, rows }, x),
            _ => t.record(AllGather { world, rows }, x),
        }
    };
    let of = |(rows, shapes): (usize, &[&[usize]])| {
        let row = || shapes.iter().map(|shape| Input::new(shape, Kind::NORMAL));
        let inputs = (0..rows).flat_map(|_| row()).collect();
        let sample = Sample::new(op, inputs, move |t, x| record(t, x, rows));
        // Gathered values are handed on, not differentiated.
        if op == "all_reduce" { sample } else { sample.rough() }
    };
    let table: [(usize, &[&[usize]]); 5] = [
        (1, &[&[1]]),
        (1, &[&[37]]),
        (4, &[&[5]]),
        (3, &[&[2, 3], &[1], &[4]]),
        (2, &[&[1026], &[7]]),
    ];
    let mut all: Vec<Sample> = table.map(of).into();
    let special = vec![Input::new(&[2, 21], Kind::Special(special::ALL))];
    let special = Sample::new(op, special, move |t, x| record(t, x, 1));
    all.push(special.non_finite(NonFinite::Same));
    all
}
