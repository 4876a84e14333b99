//! The maximum of each window of an image.

use minijinja::context;
use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::tape::{Tape, Var};

use super::kernel::{fold_groups, single};
use super::reference::{flat, places};
use super::samples::{Input, Kind, Sample, special};
use super::{Arg, Call, Caps, Dispatch, Half, Op, Site, Variant};

/// `y[n, i, j, c] = max x[n, r, s, c]` over `⌊i·h/gh⌋ ≤ r < ⌈(i+1)·h/gh⌉` and
/// `⌊j·w/gw⌋ ≤ s < ⌈(j+1)·w/gw⌉`: `x` `[n, h, w, c]` gives `y` `[n, gh, gw, c]`. The windows are
/// those of PyTorch's `AdaptiveMaxPool2d`: they overlap where the grid does not divide the image. A
/// window that holds NaN gives NaN.
///
/// Differentiable where the grid divides the image; equally large values of a window each get an
/// equal part of the gradient.
#[derive(Clone, Copy, Debug)]
pub struct MaxPool {
    /// Rows and columns of the output, at most those of the input.
    pub grid: [usize; 2],
}

/// First and one past the last element of window `i` of `windows` over `len`.
pub(crate) const fn window(i: usize, windows: usize, len: usize) -> (usize, usize) {
    (i * len / windows, ((i + 1) * len).div_ceil(windows))
}

impl Op for MaxPool {
    fn name(&self) -> &'static str {
        "max_pool"
    }

    fn shape(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        let [gh, gw] = self.grid;
        match inputs[0] {
            &[n, h, w, c] if (1..=h).contains(&gh) && (1..=w).contains(&gw) => {
                Ok(vec![n, gh, gw, c])
            }
            _ => Err(format!("the input must be [n, h, w, c] with h ≥ {gh} and w ≥ {gw}")),
        }
    }

    fn half(&self) -> Half {
        Half::AsInput
    }

    /// `gx = g / count` where `x` is its window's maximum, which occurs `count` times there, else
    /// 0.
    fn vjp(&self, t: &mut Tape, s: &Site, g: Var, _needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let [n, h, w, c] = [0, 1, 2, 3].map(|d| s.shapes[0][d]);
        let [gh, gw] = self.grid;
        if h % gh != 0 || w % gw != 0 {
            return Err(Error::NotDifferentiable { op: self.name() });
        }
        let one = [n * gh, 1, gw, 1, c];
        let x = t.reshape(s.inputs[0], &[n * gh, h / gh, gw, w / gw, c])?;
        let (y, g) = (t.reshape(s.output, &one)?, t.reshape(g, &one)?);
        let below = t.greater(y, x)?;
        let largest = t.affine(below, -1.0, 1.0)?;
        let count = t.sum(largest, &[1, 3])?;
        let count = t.reshape(count, &one)?;
        let share = t.div(g, count)?;
        let gx = t.mul(largest, share)?;
        Ok(vec![Some(t.reshape(gx, &s.shapes[0])?)])
    }

    fn reference(&self, s: &Site, x: &[&[f64]]) -> Vec<f64> {
        let mut y = vec![f64::NEG_INFINITY; s.len()];
        let [h, w] = [s.shapes[0][1], s.shapes[0][2]];
        // A pixel covers [r, r + 1), a window [i h / gh, (i + 1) h / gh).
        let covers = |r: usize, i: usize, grid: usize, size: usize| {
            r * grid < (i + 1) * size && (r + 1) * grid > i * size
        };
        for (place, &x) in places(&s.shapes[0]).iter().zip(x[0]) {
            for i in 0..self.grid[0] {
                for j in 0..self.grid[1] {
                    if covers(place[1], i, self.grid[0], h) && covers(place[2], j, self.grid[1], w)
                    {
                        let at = flat(&s.shape, &[place[0], i, j, place[3]]);
                        y[at] = if x.is_nan() || x > y[at] { x } else { y[at] };
                    }
                }
            }
        }
        y
    }

    fn cpu(&self, s: &Site, call: Call<'_>) {
        let [h, w, c] = [s.shapes[0][1], s.shapes[0][2], s.shapes[0][3]];
        let [gh, gw] = self.grid;
        let (x, y) = (call.f32(0), call.out);
        y.par_chunks_mut(gw * c).enumerate().for_each(|(row, y)| {
            let image = &x[row / gh * h * w * c..][..h * w * c];
            let (top, bottom) = window(row % gh, gh, h);
            for (j, y) in y.chunks_mut(c).enumerate() {
                let (left, right) = window(j, gw, w);
                y.copy_from_slice(&image[(top * w + left) * c..][..c]);
                for r in top..bottom {
                    for x in image[(r * w + left) * c..(r * w + right) * c].chunks(c) {
                        for (y, &x) in y.iter_mut().zip(x) {
                            *y = if x > *y || x.is_nan() { x } else { *y };
                        }
                    }
                }
            }
        });
    }

    fn variants(&self, s: &Site, caps: &Caps) -> Result<Vec<Variant>> {
        let len = s.len();
        single(Dispatch {
            kernel: "max_pool",
            context: context! {
                len => len, h => s.shapes[0][1], w => s.shapes[0][2], c => s.shapes[0][3],
                gh => self.grid[0], gw => self.grid[1],
            },
            bind: vec![("x", Arg::Input(0)), ("y", Arg::Output)],
            groups: fold_groups(len.div_ceil(64), caps),
            flops: s.input_len(0) as u64,
        })
    }

    fn flops(&self, s: &Site) -> u64 {
        s.input_len(0) as u64
    }
}

impl Tape {
    /// The maximum of each of `grid` windows of `x` `[n, h, w, c]`: see [`MaxPool`].
    ///
    /// # Errors
    /// [`Error::Shape`] where `x` is not an image, or is smaller than the grid.
    pub fn max_pool(&mut self, x: Var, grid: [usize; 2]) -> Result<Var> {
        self.record(MaxPool { grid }, &[x])
    }
}

/// Grids that divide the image, that do not (the windows then overlap), and with one-pixel windows.
pub(super) fn samples(op: &'static str) -> Vec<Sample> {
    let table: [([usize; 4], [usize; 2]); 7] = [
        ([1, 1, 1, 1], [1, 1]),
        ([2, 4, 4, 3], [4, 4]),
        ([3, 8, 16, 5], [4, 4]),
        ([2, 7, 7, 65], [4, 4]),
        ([1, 14, 6, 4], [4, 4]),
        ([5, 9, 3, 1], [1, 2]),
        ([2, 33, 5, 7], [4, 5]),
    ];
    let kinds = [Kind::NORMAL, Kind::Uniform(-2.0, -1.0)];
    let all = table.iter().flat_map(|&(shape, grid)| {
        kinds.map(move |kind| {
            let x = vec![Input::new(&shape, kind)];
            let sample = Sample::new(op, x, move |t, x| t.max_pool(x[0], grid));
            let sample = sample.note(format!("to {grid:?}, {kind:?}")).tolerance(0.0, 0.0);
            let divides = shape[1].is_multiple_of(grid[0]) && shape[2].is_multiple_of(grid[1]);
            if divides { sample } else { sample.rough() }
        })
    });
    // So that no window begins with a special value.
    let special = special::one(op, "", &[2, 5, 5, 5], |t, x| {
        let x = t.pad(x[0], &[0, 1, 1, 0], &[2, 6, 6, 5])?;
        t.max_pool(x, [3, 2])
    });
    all.chain(special).collect()
}
