//! The maximum of each window of an image.

use minijinja::context;
use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::tape::{Tape, Var};

use super::conv::ConvSpec;
use super::kernel::{fold_groups, single};
use super::reference::{flat, places};
use super::samples::{Input, Kind, Sample, special};
use super::{Arg, Call, Caps, Dispatch, Half, Op, Site, Variant};

/// `y[n, i, j, c] = max x[n, r, s, c]` over the pixels `(r, s)` of window `(i, j)`: `x`
/// `[n, h, w, c]` gives `y` `[n, gh, gw, c]`. A window that holds NaN gives NaN.
///
/// Differentiable where the windows tile the image; equally large values of a window each get an
/// equal part of the gradient.
#[derive(Clone, Copy, Debug)]
pub struct MaxPool {
    /// Which pixels belong to a window.
    pub windows: Windows,
}

/// The windows of a pool.
#[derive(Clone, Copy, Debug)]
pub enum Windows {
    /// These many rows and columns of windows over the image, those of PyTorch's
    /// `AdaptiveMaxPool2d`: `⌊i·h/gh⌋ ≤ r < ⌈(i+1)·h/gh⌉`. They overlap where the grid does not
    /// divide the image.
    Grid([usize; 2]),
    /// Those of a convolution, and of PyTorch's `MaxPool2d`: `i·sh − top ≤ r < i·sh − top + kh`,
    /// without what lies outside the image.
    Strided(ConvSpec),
}

impl Windows {
    /// Rows and columns of the output.
    fn grid(&self) -> [usize; 2] {
        match self {
            Self::Grid(grid) => *grid,
            Self::Strided(spec) => spec.small,
        }
    }

    /// First and one past the last element of window `i` along an axis of `len` elements.
    fn bounds(&self, axis: usize, i: usize, len: usize) -> (usize, usize) {
        match self {
            Self::Grid(grid) => window(i, grid[axis], len),
            Self::Strided(spec) => {
                let (start, pad) = (i * spec.stride[axis], spec.pad[axis]);
                let end = start + spec.kernel[axis];
                (start.saturating_sub(pad), end.saturating_sub(pad).min(len))
            }
        }
    }

    /// Whether every pixel of an image of this size is in one window, and all windows are of one
    /// size.
    fn tile(&self, size: [usize; 2]) -> bool {
        match self {
            Self::Grid(grid) => (0..2).all(|d| size[d].is_multiple_of(grid[d])),
            Self::Strided(spec) => (0..2).all(|d| {
                spec.kernel[d] == spec.stride[d]
                    && spec.pad[d] == 0
                    && spec.small[d] * spec.stride[d] == size[d]
            }),
        }
    }

    /// # Errors
    /// A sentence where a window would hold no pixel of an image of this size.
    fn check(&self, size: [usize; 2]) -> Result<(), String> {
        match self {
            Self::Grid(grid) if (0..2).all(|d| (1..=size[d]).contains(&grid[d])) => Ok(()),
            Self::Grid([gh, gw]) => Err(format!("the image must be at least {gh} × {gw}")),
            Self::Strided(spec) if spec.large != size => {
                Err(format!("the image must be {} × {}", spec.large[0], spec.large[1]))
            }
            Self::Strided(spec) => {
                let holds = |d: usize, i| {
                    let (from, to) = self.bounds(d, i, size[d]);
                    from < to
                };
                let all = |d: usize| spec.small[d] > 0 && (0..spec.small[d]).all(|i| holds(d, i));
                match all(0) && all(1) {
                    true => Ok(()),
                    false => Err("a window must hold a pixel of the image".into()),
                }
            }
        }
    }
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
        let &[n, h, w, c] = inputs[0] else {
            return Err("the input must be [n, h, w, c]".into());
        };
        self.windows.check([h, w])?;
        let [gh, gw] = self.windows.grid();
        Ok(vec![n, gh, gw, c])
    }

    fn half(&self) -> Half {
        Half::AsInput
    }

    /// `gx = g / count` where `x` is its window's maximum, which occurs `count` times there, else
    /// 0.
    fn vjp(&self, t: &mut Tape, s: &Site, g: Var, _needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let [n, h, w, c] = [0, 1, 2, 3].map(|d| s.shapes[0][d]);
        let [gh, gw] = self.windows.grid();
        if !self.windows.tile([h, w]) {
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
        let covers = |r: usize, i: usize, d: usize, size: usize| match self.windows {
            // A pixel covers [r, r + 1), a window [i h / gh, (i + 1) h / gh).
            Windows::Grid(grid) => r * grid[d] < (i + 1) * size && (r + 1) * grid[d] > i * size,
            Windows::Strided(spec) => {
                let tap = (r + spec.pad[d]) as i64 - (i * spec.stride[d]) as i64;
                tap >= 0 && tap < spec.kernel[d] as i64
            }
        };
        for (place, &x) in places(&s.shapes[0]).iter().zip(x[0]) {
            for i in 0..s.shape[1] {
                for j in 0..s.shape[2] {
                    if covers(place[1], i, 0, h) && covers(place[2], j, 1, w) {
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
        let [gh, gw] = self.windows.grid();
        let (x, y) = (call.f32(0), call.out);
        y.par_chunks_mut(gw * c).enumerate().for_each(|(row, y)| {
            let image = &x[row / gh * h * w * c..][..h * w * c];
            let (top, bottom) = self.windows.bounds(0, row % gh, h);
            for (j, y) in y.chunks_mut(c).enumerate() {
                let (left, right) = self.windows.bounds(1, j, w);
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
        let strided = match self.windows {
            Windows::Grid(_) => None,
            Windows::Strided(spec) => Some(context! {
                kernel => spec.kernel, stride => spec.stride, pad => spec.pad,
            }),
        };
        single(Dispatch {
            kernel: "max_pool",
            context: context! {
                len => len, h => s.shapes[0][1], w => s.shapes[0][2], c => s.shapes[0][3],
                gh => s.shape[1], gw => s.shape[2], strided,
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
        self.record(MaxPool { windows: Windows::Grid(grid) }, &[x])
    }

    /// The maximum of each window of `x` `[n, h, w, c]` that a convolution of this geometry would
    /// see, without its padding: see [`MaxPool`].
    ///
    /// # Errors
    /// [`Error::Shape`] where `x` is not an image of that size, or a window holds no pixel of it.
    pub fn max_pool_strided(&mut self, x: Var, spec: ConvSpec) -> Result<Var> {
        self.record(MaxPool { windows: Windows::Strided(spec) }, &[x])
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
    // Kernel, stride, padding, image: as in Inception, as tiles, and with windows that the border cuts.
    let table = [
        ([3, 3], [2, 2], [0, 0], [2, 9, 11, 5]),
        ([3, 3], [1, 1], [1, 1], [1, 8, 7, 65]),
        ([3, 3], [2, 2], [1, 1], [3, 8, 9, 4]),
        ([2, 2], [2, 2], [0, 0], [2, 6, 8, 3]),
        ([2, 3], [2, 3], [0, 0], [1, 4, 9, 4]),
        ([1, 5], [3, 2], [0, 2], [2, 7, 6, 1]),
        ([4, 2], [1, 3], [3, 1], [1, 3, 5, 2]),
    ];
    let strided = table.iter().flat_map(|&(kernel, stride, pad, shape)| {
        kinds.map(move |kind| {
            let spec = ConvSpec::down([shape[1], shape[2]], kernel, stride, pad);
            let spec = spec.expect("the table's kernels fit their images");
            let x = vec![Input::new(&shape, kind)];
            let sample = Sample::new(op, x, move |t, x| t.max_pool_strided(x[0], spec));
            let note = format!("{kernel:?} by {stride:?}, pad {pad:?}, {kind:?}");
            let sample = sample.note(note).tolerance(0.0, 0.0);
            let tile = Windows::Strided(spec).tile([shape[1], shape[2]]);
            if tile { sample } else { sample.rough() }
        })
    });
    // So that no window begins with a special value.
    let special = special::one(op, "", &[2, 5, 5, 5], |t, x| {
        let x = t.pad(x[0], &[0, 1, 1, 0], &[2, 6, 6, 5])?;
        t.max_pool(x, [3, 2])
    });
    all.chain(strided).chain(special).collect()
}
