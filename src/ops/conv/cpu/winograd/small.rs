//! The small image: `Aᵀ (V · U) A`.

use std::array::from_fn;
use std::marker::PhantomData;

use rayon::prelude::*;

use super::super::pool::{Pool, areas};
use super::enter::{enter_large, factors};
use super::lanes::{Channels, Width, all_channels, both, square};
use super::toom::Toom;
use super::{COLUMNS, Products, Sizes};
use crate::gemm::{Matrix, gemm};
use crate::ops::Call;
use crate::ops::wide::widest;

/// One tile's `Aᵀ m A` for the channels from `c` on of a block of products.
struct LeaveSmall<'a, F, const R: usize, const M: usize, const T: usize> {
    m: &'a [f32],
    steps: [usize; 2],
    y: &'a mut [f32],
    at: [[Option<usize>; M]; M],
    by: PhantomData<F>,
}

impl<F: Toom<R, M, T>, const R: usize, const M: usize, const T: usize> Channels
    for LeaveSmall<'_, F, R, M, T>
{
    #[inline(always)]
    fn at<W: Width>(&mut self, width: W, c: usize) {
        let Self { m, y, at, .. } = self;
        let [line, plane] = self.steps;
        let m: [[W::Lane; T]; T] = square(
            width,
            #[inline(always)]
            |i, j| width.load(&m[i * line + j * plane + c..]),
        );
        let y_of: [[W::Lane; M]; M] = both(
            m,
            #[inline(always)]
            |lanes| F::output(lanes),
        );
        for i in 0..M {
            for j in 0..M {
                if let Some(at) = at[i][j] {
                    width.store(y_of[i][j], &mut y[at + c..]);
                }
            }
        }
    }
}

pub(super) fn small_by<F: Toom<R, M, T>, const R: usize, const M: usize, const T: usize>(
    z: &Sizes,
    call: Call<'_>,
) {
    let (x, weights) = (call.f32(0), call.f32(1));
    let [h, w] = z.spec.small;
    let [lines, columns] = z.tiles;
    let products = Products::new(z, z.small, rayon::current_num_threads());
    let sizes = [z.rows() * z.v_row(), products.floats()];
    let used = sizes.iter().sum();
    let ([v, m], rest) = {
        let (area, rest) = call.scratch.split_at_mut(used);
        (areas(area, sizes), rest)
    };
    let pool = Pool::new(rest, products.pool_floats(z.cell()).max(z.lines()));
    for images in z.groups() {
        let rows = images.len() * z.tiles_of_image();
        enter_large::<F, R, M, T>(z, x, images.clone(), v, &pool);
        m.par_chunks_mut(products.task_floats()).enumerate().with_max_len(1).for_each(
            |(task, m)| {
                let (i, planes, block) = products.task(task);
                let block = products.block(block);
                pool.with(|u| {
                    let of_line = (i, planes.clone());
                    factors::<F, R, M, T>(z, weights, of_line, 0..z.cell(), block.clone(), u);
                    let parts = m.chunks_mut(products.rows * COLUMNS);
                    for ((j, m), u) in planes.zip(parts).zip(u.chunks(z.cell() * block.len())) {
                        let v = &v[(i * T + j) * z.cell()..];
                        let v = Matrix::strided(v, rows, z.cell(), z.v_row(), 1);
                        gemm(v, Matrix::new(u, z.cell(), block.len(), false), m, false, false);
                    }
                });
            },
        );
        let y = &mut call.out[images.start * h * w * z.small..images.end * h * w * z.small];
        let pieces = y.chunks_mut(h * w * z.small).flat_map(|y| y.chunks_mut(M * w * z.small));
        pieces.collect::<Vec<_>>().into_par_iter().enumerate().for_each(|(line, y)| {
            debug_assert!(line < images.len() * lines);
            let high = y.len() / (w * z.small);
            widest(
                #[inline(always)]
                || {
                    for tx in 0..columns {
                        for block in 0..products.blocks() {
                            let part = products.block(block);
                            let at = from_fn(|i| {
                                from_fn(|j| {
                                    let ox = M * tx + j;
                                    (i < high && ox < w)
                                        .then_some((i * w + ox) * z.small + part.start)
                                })
                            });
                            let (start, steps) = products.at(block, line * columns + tx);
                            let m = &m[start..];
                            all_channels(
                                part.len(),
                                LeaveSmall { m, steps, y, at, by: PhantomData::<F> },
                            );
                        }
                    }
                },
            );
        });
    }
}
