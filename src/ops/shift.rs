//! Images shifted by whole pixels, each by its own offset.

use minijinja::context;
use rayon::prelude::*;

use crate::error::Result;
use crate::tape::{Tape, Var};

use super::kernel::{fold_groups, single};
use super::reference::{flat, places};
use super::samples::{Input, Kind, NonFinite, Sample, special};
use super::{Arg, Call, Caps, Dispatch, Half, Op, Site, Variant};

/// `y[n, i, j, c] = x[n, i − a_n, j − b_n, c]`, 0 where that lies outside `x`, with
/// `a_n = ⌊v[n, 0]⌋` and `b_n = ⌊v[n, 1]⌋`: `x` and `y` are `[n, h, w, c]`, `v` is `[n, 2]`.
///
/// Linear in `x`; its derivative with respect to `v` is zero almost everywhere. The gradient with
/// respect to `x` is the shift back, by `−a_n` and `−b_n`, which are not `⌊−v⌋`: hence the flag.
#[derive(Clone, Copy, Debug)]
pub struct Shift {
    /// Moves by `−a_n` and `−b_n`.
    pub back: bool,
}

impl Shift {
    /// How far an image moves along a side of `side` pixels: at most by all of them, after which
    /// nothing of it is visible.
    fn offset(self, v: f32, side: usize) -> isize {
        let limit = side as f32;
        let offset = v.floor().clamp(-limit, limit) as isize;
        if self.back { -offset } else { offset }
    }
}

impl Op for Shift {
    fn name(&self) -> &'static str {
        "shift"
    }

    fn shape(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        match (inputs[0], inputs[1]) {
            (x @ [n, _, _, _], [rows, 2]) if n == rows && !x.contains(&0) => Ok(x.to_vec()),
            _ => Err("the inputs must be [n, h, w, c], none of them 0, and [n, 2]".into()),
        }
    }

    fn half(&self) -> Half {
        Half::AsInput
    }

    fn vjp(&self, t: &mut Tape, s: &Site, g: Var, needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let back = Self { back: !self.back };
        let gx = if needs[0] { Some(t.record(back, &[g, s.inputs[1]])?) } else { None };
        Ok(vec![gx, None])
    }

    fn reference(&self, s: &Site, x: &[&[f64]]) -> Vec<f64> {
        let mut y = vec![0.0; s.len()];
        // Scattered, where the CPU kernel and the shader gather.
        for (place, &number) in places(&s.shape).iter().zip(x[0]) {
            let to = [0, 1].map(|d| {
                let moved = x[1][2 * place[0] + d].floor();
                place[d + 1] as f64 + if self.back { -moved } else { moved }
            });
            if (0..2).all(|d| to[d] >= 0.0 && to[d] < s.shape[d + 1] as f64) {
                let to = [place[0], to[0] as usize, to[1] as usize, place[3]];
                y[flat(&s.shape, &to)] = number;
            }
        }
        y
    }

    fn cpu(&self, s: &Site, call: Call<'_>) {
        let &[n, h, w, c] = &s.shape[..] else { unreachable!("Op::shape gives four axes") };
        let (x, v, y) = (call.f32(0), call.f32(1), call.out);
        y[..n * h * w * c].par_chunks_mut(w * c).enumerate().for_each(|(row, y)| {
            let (image, i) = (row / h, row % h);
            let from = i.checked_add_signed(-self.offset(v[2 * image], h));
            let Some(from) = from.filter(|&from| from < h) else {
                y.fill(0.0);
                return;
            };
            let x = &x[(image * h + from) * w * c..][..w * c];
            let b = self.offset(v[2 * image + 1], w);
            let (still, moved) = ((w - b.unsigned_abs()) * c, b.unsigned_abs() * c);
            if b < 0 {
                y[..still].copy_from_slice(&x[moved..]);
                y[still..].fill(0.0);
            } else {
                y[moved..].copy_from_slice(&x[..still]);
                y[..moved].fill(0.0);
            }
        });
    }

    fn variants(&self, s: &Site, caps: &Caps) -> Result<Vec<Variant>> {
        let len = s.len();
        single(Dispatch {
            kernel: "shift",
            context: context! {
                len => len, h => s.shape[1], w => s.shape[2], c => s.shape[3], back => self.back,
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
    /// The images `x` `[n, h, w, c]`, each shifted by the whole pixels `⌊v⌋` (`[n, 2]`: down, to
    /// the right) and filled with zeros: see [`Shift`].
    ///
    /// # Errors
    /// [`crate::error::Error::Shape`] where their `n` differ.
    pub fn shift(&mut self, x: Var, v: Var) -> Result<Var> {
        self.record(Shift { back: false }, &[x, v])
    }
}

/// One pixel, sides that differ, channels that are and are not a multiple of four; by less than an
/// image and by more, there and back. The ladder has whole numbers, tiny ones of either sign and
/// ±150.
pub(super) fn samples(op: &'static str) -> Vec<Sample> {
    let shapes: [[usize; 4]; 6] =
        [[1, 1, 1, 1], [7, 3, 2, 1], [5, 4, 9, 3], [3, 8, 5, 4], [9, 6, 6, 2], [2, 33, 17, 5]];
    let mut all = Vec::new();
    for shape in shapes {
        for back in [false, true] {
            let note = if back { "back" } else { "" };
            let inputs =
                |kind| vec![Input::new(&shape, Kind::NORMAL), Input::new(&[shape[0], 2], kind)];
            let near = Sample::new(op, inputs(Kind::Grid(0.125)), move |t, x| {
                // Still away from whole numbers: 3k / 4 + 3 / 8 ± 0.09.
                let far = t.affine(x[1], 3.0, 0.0)?;
                t.record(Shift { back }, &[x[0], far])
            });
            all.push(near.note(format!("near {note}")).tolerance(0.0, 0.0));
            let far =
                Sample::new(op, inputs(Kind::Ladder), move |t, x| t.record(Shift { back }, x));
            all.push(far.note(format!("far {note}")).tolerance(0.0, 0.0).rough());
        }
    }
    let inputs = vec![
        Input::new(&[2, 5, 4, 3], Kind::Special(special::ALL)),
        Input::new(&[2, 2], Kind::NORMAL),
    ];
    let special = Sample::new(op, inputs, |t, x| t.record(Shift { back: false }, x));
    all.push(special.non_finite(NonFinite::Spreads));
    all
}
