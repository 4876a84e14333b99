//! The weights: `Gᵀ (Vᵀ · Y) G`.

use std::marker::PhantomData;

use rayon::prelude::*;

use super::super::pool::{Pool, areas};
use super::Sizes;
use super::enter::{enter_large, enter_small};
use super::lanes::{Channels, Width, all_channels, both, square};
use super::toom::Toom;
use crate::gemm::{Matrix, gemm};
use crate::ops::Call;
use crate::ops::wide::widest;

/// Rows of the weights' products that are one task.
pub(super) const ROWS: usize = 128;

/// Columns of the weights' products that are kept at a time.
pub(super) const WEIGHT_COLUMNS: usize = 128;

/// The rows of the weights that correspond to the taps of one channel of a cell, and which tap is
/// which row: a kernel whose size is not a multiple of the stride has fewer than r² of them.
type TapRows<'a, const R: usize> = (Vec<&'a mut [f32]>, [[Option<usize>; R]; R]);

/// `Gᵀ u G` of one row of s²·L for the columns from `c` on, added to the rows of the weights.
struct LeaveTaps<'a, 'b, F, const R: usize, const M: usize, const T: usize> {
    u: &'a [f32],
    plane: usize,
    w: &'a mut [&'b mut [f32]],
    of: &'a [[Option<usize>; R]; R],
    start: usize,
    by: PhantomData<F>,
}

impl<F: Toom<R, M, T>, const R: usize, const M: usize, const T: usize> Channels
    for LeaveTaps<'_, '_, F, R, M, T>
{
    #[inline(always)]
    fn at<W: Width>(&mut self, width: W, c: usize) {
        let Self { u, w, of, .. } = self;
        let plane = self.plane;
        let u: [[W::Lane; T]; T] = square(
            width,
            #[inline(always)]
            |i, j| width.load(&u[(i * T + j) * plane + c..]),
        );
        let taps: [[W::Lane; R]; R] = both(
            u,
            #[inline(always)]
            |lanes| F::taps_back(lanes),
        );
        for i in 0..R {
            for j in 0..R {
                if let Some(row) = of[i][j] {
                    let w = &mut w[row][self.start + c..];
                    width.store(width.load(w) + taps[i][j], w);
                }
            }
        }
    }
}

pub(super) fn weights_by<F: Toom<R, M, T>, const R: usize, const M: usize, const T: usize>(
    z: &Sizes,
    call: Call<'_>,
) {
    let (x, y) = (call.f32(0), call.f32(1));
    let (s, k, cell) = (z.stride, z.spec.kernel[0], z.cell());
    let blocks = cell.div_ceil(ROWS);
    let slot = ROWS * WEIGHT_COLUMNS.min(z.small);
    let sizes = [z.rows() * z.v_row(), z.rows() * z.y_row(), z.planes() * blocks * slot];
    let used = sizes.iter().sum();
    let ([v, factors_y, u], rest) = {
        let (area, rest) = call.scratch.split_at_mut(used);
        (areas(area, sizes), rest)
    };
    let pool = Pool::new(rest, z.lines());
    call.out.fill(0.0);
    // For each channel of a cell, the rows of the weights for its taps, and their positions.
    let mut rows_of: Vec<TapRows<'_, R>> =
        (0..cell).map(|_| (Vec::new(), [[None; R]; R])).collect();
    for (row, w) in call.out.chunks_mut(z.small).enumerate() {
        let (tap, l) = (row / z.large, row % z.large);
        let (ky, kx) = (tap / k, tap % k);
        let (rows, of) = &mut rows_of[((ky % s) * s + kx % s) * z.large + l];
        of[ky / s][kx / s] = Some(rows.len());
        rows.push(w);
    }
    for images in z.groups() {
        let rows = images.len() * z.tiles_of_image();
        enter_large::<F, R, M, T>(z, x, images.clone(), v, &pool);
        enter_small::<F, R, M, T>(z, y, images, factors_y);
        for first in (0..z.small).step_by(WEIGHT_COLUMNS) {
            let columns = first..z.small.min(first + WEIGHT_COLUMNS);
            u.par_chunks_mut(slot).enumerate().with_max_len(1).for_each(|(task, u)| {
                let (plane, block) = (task / blocks, task % blocks);
                let channels = ROWS.min(cell - block * ROWS);
                let v = &v[plane * cell + block * ROWS..];
                let v = Matrix::strided(v, channels, rows, 1, z.v_row());
                let y = &factors_y[plane * z.small + first..];
                let y = Matrix::strided(y, rows, columns.len(), z.y_row(), 1);
                gemm(v, y, u, false, false);
            });
            rows_of.par_chunks_mut(16).enumerate().for_each(|(i, rows_of)| {
                widest(
                    #[inline(always)]
                    || {
                        for (channel, (w, of)) in (16 * i..).zip(rows_of) {
                            let (block, row) = (channel / ROWS, channel % ROWS);
                            let u = &u[block * slot + row * columns.len()..];
                            let (plane, start) = (blocks * slot, first);
                            all_channels(
                                columns.len(),
                                LeaveTaps { u, plane, w, of, start, by: PhantomData::<F> },
                            );
                        }
                    },
                );
            });
        }
    }
}
