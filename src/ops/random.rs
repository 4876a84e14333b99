//! Random numbers on the device: pure functions of a key and an index (see [`crate::rng`]).

use minijinja::context;

use crate::error::Result;
use crate::rng::{Stream, stream_id};
use crate::tape::{Tape, Var};
use crate::tensor::DType;

use super::kernel::{fold_groups, single};
use super::samples::{Input, Kind, Sample};
use super::{Arg, Call, Caps, Class, Dispatch, Op, Site, Variant};

/// Source of a recorded part's uniform values in [0, 1), by name and shape: the device's generator,
/// or feeds.
pub type Uniform<'a> = dyn FnMut(&mut Tape, &str, &[usize]) -> Result<Var> + 'a;

/// Random values of `shape`. The input is a key of four integers: seed (low, high half), step, 0.
#[derive(Clone, Debug)]
pub struct Random {
    /// The output's shape.
    pub shape: Vec<usize>,
    /// The stream's number: see [`crate::rng::stream_id`].
    pub stream: u32,
    /// Whether the values are standard normal, else uniform in [0, 1).
    pub normal: bool,
}

impl Op for Random {
    fn name(&self) -> &'static str {
        "random"
    }

    fn shape(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        if inputs[0] == [4] { Ok(self.shape.clone()) } else { Err("the key must be [4]".into()) }
    }

    fn input_dtype(&self, _i: usize) -> DType {
        DType::U32
    }

    /// A key has no gradient.
    fn vjp(&self, _t: &mut Tape, _s: &Site, _g: Var, _needs: &[bool]) -> Result<Vec<Option<Var>>> {
        Ok(vec![None])
    }

    fn reference(&self, s: &Site, x: &[&[f64]]) -> Vec<f64> {
        let key: Vec<u32> = x[0].iter().map(|&k| k as u32).collect();
        let blocks = (0..s.len().div_ceil(4)).flat_map(|block| {
            let bits = philox([block as u32, key[2], self.stream, 0], [key[0], key[1]]);
            let unit = bits.map(|b| f64::from(b >> 8) / f64::from(1 << 24));
            if !self.normal {
                return unit;
            }
            let pair = |a: f64, b: f64| {
                let radius = (-2.0 * (1.0 - a).ln()).sqrt();
                let angle = std::f64::consts::TAU * b;
                [radius * angle.cos(), radius * angle.sin()]
            };
            let ([p, q], [r, s]) = (pair(unit[0], unit[1]), pair(unit[2], unit[3]));
            [p, q, r, s]
        });
        blocks.take(s.len()).collect()
    }

    fn cpu(&self, _s: &Site, call: Call<'_>) {
        let key = call.u32(0);
        let stream = Stream::with_key([key[0], key[1]], self.stream, key[2]);
        if self.normal {
            stream.fill_normal(call.out);
        } else {
            stream.fill_uniform(call.out);
        }
    }

    fn variants(&self, s: &Site, caps: &Caps) -> Result<Vec<Variant>> {
        let kind = if self.normal { "normal" } else { "uniform" };
        single(Dispatch {
            kernel: "random",
            context: context! { kind => kind, stream => self.stream, len => s.len() },
            bind: vec![("key", Arg::Input(0)), ("y", Arg::Output)],
            groups: fold_groups(s.len().div_ceil(4).div_ceil(64), caps),
            flops: 100 * s.len() as u64,
        })
    }
}

/// Philox4x32-10, from the paper: the reference's own.
fn philox(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let (mut c, mut k) = (counter, key);
    for _ in 0..10 {
        let p0 = 0xD251_1F53_u64 * u64::from(c[0]);
        let p1 = 0xCD9E_8D57_u64 * u64::from(c[2]);
        let (high0, low0) = ((p0 >> 32) as u32, p0 as u32);
        let (high1, low1) = ((p1 >> 32) as u32, p1 as u32);
        c = [high1 ^ c[1] ^ k[0], low1, high0 ^ c[3] ^ k[1], low0];
        k = [k[0].wrapping_add(0x9E37_79B9), k[1].wrapping_add(0xBB67_AE85)];
    }
    c
}

/// The key of the next step: `y = x` with the step (the third element) incremented.
#[derive(Clone, Copy, Debug)]
pub struct Advance;

impl Op for Advance {
    fn name(&self) -> &'static str {
        "advance"
    }

    fn shape(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        if inputs[0] == [4] { Ok(vec![4]) } else { Err("the key must be [4]".into()) }
    }

    fn dtype(&self) -> DType {
        DType::U32
    }

    fn input_dtype(&self, _i: usize) -> DType {
        DType::U32
    }

    fn class(&self) -> Class<'_> {
        Class::Kernel
    }

    fn reference(&self, _s: &Site, x: &[&[f64]]) -> Vec<f64> {
        let mut next = x[0].to_vec();
        next[2] = (next[2] + 1.0) % 4_294_967_296.0;
        next
    }

    fn cpu(&self, _s: &Site, call: Call<'_>) {
        call.out_u32.copy_from_slice(call.u32(0));
        call.out_u32[2] = call.out_u32[2].wrapping_add(1);
    }

    fn variants(&self, _s: &Site, _caps: &Caps) -> Result<Vec<Variant>> {
        single(Dispatch {
            kernel: "advance",
            context: context! {},
            bind: vec![("x", Arg::Input(0)), ("y", Arg::Output)],
            groups: [1, 1, 1],
            flops: 0,
        })
    }
}

impl Tape {
    /// Standard normal values of `shape` from the stream called `name`, under `key` (four integers:
    /// seed low, seed high, step, 0).
    ///
    /// # Errors
    /// [`crate::error::Error::Shape`] where `key` is not such a key.
    pub fn random_normal(&mut self, key: Var, name: &str, shape: &[usize]) -> Result<Var> {
        let op = Random { shape: shape.to_vec(), stream: stream_id(name), normal: true };
        self.record(op, &[key])
    }

    /// Uniform values in [0, 1) of `shape` from the stream called `name`, under `key`.
    ///
    /// # Errors
    /// [`crate::error::Error::Shape`] where `key` is not such a key.
    pub fn random_uniform(&mut self, key: Var, name: &str, shape: &[usize]) -> Result<Var> {
        let op = Random { shape: shape.to_vec(), stream: stream_id(name), normal: false };
        self.record(op, &[key])
    }

    /// The key of the next step.
    ///
    /// # Errors
    /// [`crate::error::Error::Shape`] where `key` is not a key.
    pub fn advance(&mut self, key: Var) -> Result<Var> {
        self.record(Advance, &[key])
    }
}

pub(super) fn samples(op: &'static str) -> Vec<Sample> {
    let key = || vec![Input::new(&[4], Kind::Key)];
    let mut all = Vec::new();
    for shape in [&[1][..], &[3], &[3, 5, 7], &[1757], &[64, 100]] {
        let (owned, note) = (shape.to_vec(), format!("{shape:?}"));
        let sample =
            Sample::new("random", key(), move |t, x| t.random_normal(x[0], "latents", &owned));
        all.push(sample.note(format!("normal {note}")).tolerance(1e-5, 1e-5).rough());
        let owned = shape.to_vec();
        let sample =
            Sample::new("random", key(), move |t, x| t.random_uniform(x[0], "mix", &owned));
        all.push(sample.note(format!("uniform {note}")).tolerance(0.0, 0.0).rough());
    }
    let advance = Sample::new("advance", key(), |t, x| {
        let next = t.advance(x[0])?;
        t.advance(next)
    });
    all.push(advance.note("twice").tolerance(0.0, 0.0).rough());
    all.retain(|sample| sample.op == op);
    all
}
