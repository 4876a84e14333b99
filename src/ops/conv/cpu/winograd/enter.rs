//! The input transforms: of the large image, the small one and the weights.

use std::array::from_fn;
use std::marker::PhantomData;
use std::ops::Range;

use rayon::prelude::*;

use super::super::pool::Pool;
use super::Sizes;
use super::lanes::{Channels, Lane, Width, all_channels, both, square};
use super::toom::Toom;
use crate::ops::wide::widest;

/// One tile's `Bᵀ x B` for the channels from `c` on: cell (i, j) of `x` starts at
/// `i · down + j · across`, plane p of `v` at `p · plane`.
struct EnterLarge<'a, F, const R: usize, const M: usize, const T: usize> {
    x: &'a [f32],
    steps: [usize; 2],
    v: &'a mut [f32],
    plane: usize,
    by: PhantomData<F>,
}

impl<F: Toom<R, M, T>, const R: usize, const M: usize, const T: usize> Channels
    for EnterLarge<'_, F, R, M, T>
{
    #[inline(always)]
    fn at<W: Width>(&mut self, width: W, c: usize) {
        let Self { x, v, .. } = self;
        let ([down, across], plane) = (self.steps, self.plane);
        let d = square(
            width,
            #[inline(always)]
            |i, j| width.load(&x[i * down + j * across + c..]),
        );
        let out: [[W::Lane; T]; T] = both(
            d,
            #[inline(always)]
            |lanes| F::input(lanes),
        );
        for i in 0..T {
            for j in 0..T {
                width.store(out[i][j], &mut v[(i * T + j) * plane + c..]);
            }
        }
    }
}

/// V: the transformed tiles of the large image's `images`.
pub(super) fn enter_large<F: Toom<R, M, T>, const R: usize, const M: usize, const T: usize>(
    z: &Sizes,
    x: &[f32],
    images: Range<usize>,
    v: &mut [f32],
    pool: &Pool<'_>,
) {
    let [height, width] = z.spec.large;
    let [top, left] = z.spec.pad;
    let (s, l) = (z.stride, z.large);
    let [lines, columns] = z.tiles;
    let count = images.len() * lines;
    v.par_chunks_mut(columns * z.v_row()).take(count).enumerate().for_each(|(line, v)| {
        let (n, ty) = (images.start + line / lines, line % lines);
        pool.with(|rows| {
            widest(
                #[inline(always)]
                || {
                    for (i, row) in rows[..z.lines()].chunks_mut(z.line()).enumerate() {
                        let iy = (M * ty * s + i).wrapping_sub(top);
                        if iy >= height {
                            row.fill(0.0);
                            continue;
                        }
                        let from = left * l;
                        let len = (width * l).min(row.len() - from);
                        row[..from].fill(0.0);
                        row[from + len..].fill(0.0);
                        row[from..from + len]
                            .copy_from_slice(&x[(n * height + iy) * width * l..][..len]);
                    }
                    for (tx, v) in v.chunks_mut(z.v_row()).enumerate() {
                        for a in 0..s {
                            let x = &rows[a * z.line() + M * tx * s * l..];
                            let v = &mut v[a * s * l..];
                            let steps = [s * z.line(), s * l];
                            all_channels(
                                s * l,
                                EnterLarge { x, steps, v, plane: z.cell(), by: PhantomData::<F> },
                            );
                        }
                    }
                },
            );
        });
    });
}

/// One tile's `A y Aᵀ` for the channels from `c` on; `at` gives the start of each output, if it
/// exists.
struct EnterSmall<'a, F, const R: usize, const M: usize, const T: usize> {
    y: &'a [f32],
    at: [[Option<usize>; M]; M],
    out: &'a mut [f32],
    plane: usize,
    by: PhantomData<F>,
}

impl<F: Toom<R, M, T>, const R: usize, const M: usize, const T: usize> Channels
    for EnterSmall<'_, F, R, M, T>
{
    #[inline(always)]
    fn at<W: Width>(&mut self, width: W, c: usize) {
        let Self { y, at, out, .. } = self;
        let plane = self.plane;
        let y: [[W::Lane; M]; M] = square(
            width,
            #[inline(always)]
            |i, j| match at[i][j] {
                Some(at) => width.load(&y[at + c..]),
                None => width.zero(),
            },
        );
        let factors: [[W::Lane; T]; T] = both(
            y,
            #[inline(always)]
            |lanes| F::output_back(lanes),
        );
        for i in 0..T {
            for j in 0..T {
                width.store(factors[i][j], &mut out[(i * T + j) * plane + c..]);
            }
        }
    }
}

/// Y: the transformed tiles of the small image's `images`.
pub(super) fn enter_small<F: Toom<R, M, T>, const R: usize, const M: usize, const T: usize>(
    z: &Sizes,
    y: &[f32],
    images: Range<usize>,
    out: &mut [f32],
) {
    let [h, w] = z.spec.small;
    let [lines, columns] = z.tiles;
    let count = images.len() * lines;
    out.par_chunks_mut(columns * z.y_row()).take(count).enumerate().for_each(|(line, out)| {
        let (n, ty) = (images.start + line / lines, line % lines);
        widest(
            #[inline(always)]
            || {
                for (tx, out) in out.chunks_mut(z.y_row()).enumerate() {
                    let at = from_fn(|i| {
                        from_fn(|j| {
                            let (oy, ox) = (M * ty + i, M * tx + j);
                            (oy < h && ox < w).then_some(((n * h + oy) * w + ox) * z.small)
                        })
                    });
                    all_channels(
                        z.small,
                        EnterSmall { y, at, out, plane: z.small, by: PhantomData::<F> },
                    );
                }
            },
        );
    });
}

/// Row `i` of `G w Gᵀ` of one pair of channels' taps for the columns from `c` on: plane (i, j) for each
/// `j` of `planes`, `step` floats apart.
struct Factors<'a, F, const R: usize, const M: usize, const T: usize> {
    i: usize,
    planes: Range<usize>,
    taps: [[Option<&'a [f32]>; R]; R],
    u: &'a mut [f32],
    step: usize,
    by: PhantomData<F>,
}

impl<F: Toom<R, M, T>, const R: usize, const M: usize, const T: usize> Channels
    for Factors<'_, F, R, M, T>
{
    #[inline(always)]
    fn at<W: Width>(&mut self, width: W, c: usize) {
        // The taps' columns first, as all planes of the row share those.
        let mut columns = [width.zero(); R];
        for y in 0..R {
            let g = F::G[self.i][y];
            if g == 0.0 {
                continue;
            }
            for (column, tap) in columns.iter_mut().zip(self.taps[y]) {
                if let Some(w) = tap {
                    *column = *column + width.load(&w[c..]).times(g);
                }
            }
        }
        for j in 0..T {
            if self.planes.contains(&j) {
                let mut sum = width.zero();
                for (column, g) in columns.into_iter().zip(F::G[j]) {
                    if g != 0.0 {
                        sum = sum + column.times(g);
                    }
                }
                width.store(sum, &mut self.u[(j - self.planes.start) * self.step + c..]);
            }
        }
    }
}

/// Rows `rows` (of s²·L) and columns `columns` (of S) of `U[p] = G w Gᵀ`, densely, for the planes p
/// that `planes` selects: a line of t, and which planes of that line. They lie behind one another.
pub(super) fn factors<F: Toom<R, M, T>, const R: usize, const M: usize, const T: usize>(
    z: &Sizes,
    weights: &[f32],
    (i, planes): (usize, Range<usize>),
    rows: Range<usize>,
    columns: Range<usize>,
    u: &mut [f32],
) {
    let (s, k) = (z.stride, z.spec.kernel[0]);
    let step = rows.len() * columns.len();
    for (at, row) in rows.enumerate() {
        let (part, l) = (row / z.large, row % z.large);
        let taps = from_fn(|y| {
            from_fn(|x| {
                let (ky, kx) = (s * y + part / s, s * x + part % s);
                (ky < k && kx < k).then(|| {
                    let at = ((ky * k + kx) * z.large + l) * z.small;
                    &weights[at + columns.start..at + columns.end]
                })
            })
        });
        let (planes, u) = (planes.clone(), &mut u[at * columns.len()..]);
        let factors = Factors { i, planes, taps, u, step, by: PhantomData::<F> };
        all_channels(columns.len(), factors);
    }
}
