//! The large image: `B (Y · Uᵀ) Bᵀ`, overlapping tiles added.

use std::marker::PhantomData;
use std::ops::Range;

use rayon::prelude::*;

use super::super::pool::{Pool, areas};
use super::enter::{enter_small, factors};
use super::lanes::{Channels, Width, all_channels, both, square};
use super::toom::Toom;
use super::{COLUMNS, Products, Sizes};
use crate::gemm::{Matrix, gemm};
use crate::ops::Call;
use crate::ops::wide::widest;

/// Lines of an image's cells that one task assembles.
const LINES: usize = 16;

/// One tile's `B m Bᵀ` for the channels from `c` on of a block of products, added to the lines of
/// cells from `skip` on; the lines before that belong to another task.
struct LeaveLarge<'a, F, const R: usize, const M: usize, const T: usize> {
    m: &'a [f32],
    steps_of_m: [usize; 2],
    x: &'a mut [f32],
    steps: [usize; 2],
    skip: usize,
    by: PhantomData<F>,
}

impl<F: Toom<R, M, T>, const R: usize, const M: usize, const T: usize> Channels
    for LeaveLarge<'_, F, R, M, T>
{
    #[inline(always)]
    fn at<W: Width>(&mut self, width: W, c: usize) {
        let Self { m, x, .. } = self;
        let ([line, plane], [down, across]) = (self.steps_of_m, self.steps);
        let m: [[W::Lane; T]; T] = square(
            width,
            #[inline(always)]
            |i, j| width.load(&m[i * line + j * plane + c..]),
        );
        let cells: [[W::Lane; T]; T] = both(
            m,
            #[inline(always)]
            |lanes| F::input_back(lanes),
        );
        for i in self.skip..T {
            for j in 0..T {
                let x = &mut x[i * down + j * across + c..];
                width.store(width.load(x) + cells[i][j], x);
            }
        }
    }
}

/// Some lines of an image, and the tile lines whose first m lines of cells they are.
struct Piece<'a> {
    image: usize,
    tile_lines: Range<usize>,
    first: usize,
    x: &'a mut [f32],
}

/// Cuts the large images into the lines that the tile lines of each task own.
fn pieces<'a>(z: &Sizes, mut x: &'a mut [f32]) -> Vec<Piece<'a>> {
    let [height, width] = z.spec.large;
    let mut pieces = Vec::new();
    for image in 0..x.len() / (height * width * z.large) {
        let mut first = 0;
        for start in (0..z.tiles[0]).step_by(LINES / z.m) {
            let end = z.tiles[0].min(start + LINES / z.m);
            let owned = (z.m * end * z.stride).saturating_sub(z.spec.pad[0]).min(height);
            let last = if end == z.tiles[0] { height } else { owned };
            let (piece, rest) = x.split_at_mut((last - first) * width * z.large);
            pieces.push(Piece { image, tile_lines: start..end, first, x: piece });
            (x, first) = (rest, last);
        }
    }
    pieces
}

pub(super) fn large_by<F: Toom<R, M, T>, const R: usize, const M: usize, const T: usize>(
    z: &Sizes,
    call: Call<'_>,
) {
    let (y, weights) = (call.f32(0), call.f32(1));
    let [height, width] = z.spec.large;
    let products = Products::new(z, z.cell(), rayon::current_num_threads());
    let sizes = [z.rows() * z.y_row(), products.floats()];
    let used = sizes.iter().sum();
    let ([factors_y, m], rest) = {
        let (area, rest) = call.scratch.split_at_mut(used);
        (areas(area, sizes), rest)
    };
    let pool = Pool::new(rest, products.pool_floats(z.small).max(z.lines()));
    let image = height * width * z.large;
    for images in z.groups() {
        let rows = images.len() * z.tiles_of_image();
        enter_small::<F, R, M, T>(z, y, images.clone(), factors_y);
        m.par_chunks_mut(products.task_floats()).enumerate().with_max_len(1).for_each(
            |(task, m)| {
                let (i, planes, block) = products.task(task);
                let block = products.block(block);
                pool.with(|u| {
                    let of_line = (i, planes.clone());
                    factors::<F, R, M, T>(z, weights, of_line, block.clone(), 0..z.small, u);
                    let parts = m.chunks_mut(products.rows * COLUMNS);
                    for ((j, m), u) in planes.zip(parts).zip(u.chunks(block.len() * z.small)) {
                        let y = &factors_y[(i * T + j) * z.small..];
                        let y = Matrix::strided(y, rows, z.small, z.y_row(), 1);
                        gemm(y, Matrix::new(u, z.small, block.len(), true), m, false, false);
                    }
                });
            },
        );
        let x = &mut call.out[images.start * image..images.end * image];
        pieces(z, x).into_par_iter().with_max_len(1).for_each(|piece| {
            pool.with(|lines| {
                widest(
                    #[inline(always)]
                    || put_together::<F, R, M, T>(z, products, m, piece, &mut lines[..z.lines()]),
                );
            });
        });
    }
}

/// Adds up the tiles of a piece, one tile line after another: `lines` holds the t lines of cells
/// that the current one reaches, of which the first m are then complete.
#[inline(always)]
fn put_together<F: Toom<R, M, T>, const R: usize, const M: usize, const T: usize>(
    z: &Sizes,
    products: Products,
    m: &[f32],
    piece: Piece<'_>,
    lines: &mut [f32],
) {
    let [top, left] = z.spec.pad;
    let width = z.spec.large[1] * z.large;
    let (s, l) = (z.stride, z.large);
    let finished = M * s * z.line();
    lines.fill(0.0);
    // The part of the piece's first lines that the preceding tile line reaches.
    let from = piece.tile_lines.start.saturating_sub(1);
    for ty in from..piece.tile_lines.end {
        let skip = if ty < piece.tile_lines.start { M } else { 0 };
        for tx in 0..z.tiles[1] {
            let row = (piece.image * z.tiles[0] + ty) * z.tiles[1] + tx;
            for block in 0..products.blocks() {
                let part = products.block(block);
                let (start, steps_of_m) = products.at(block, row);
                // A block may hold channels of several lines of a cell.
                let mut channel = part.start;
                while channel < part.end {
                    let (a, within) = (channel / (s * l), channel % (s * l));
                    let len = (s * l - within).min(part.end - channel);
                    let m = &m[start + channel - part.start..];
                    let x = &mut lines[a * z.line() + M * tx * s * l + within..];
                    let steps = [s * z.line(), s * l];
                    all_channels(
                        len,
                        LeaveLarge { m, steps_of_m, x, steps, skip, by: PhantomData::<F> },
                    );
                    channel += len;
                }
            }
        }
        // The last tile line owns all remaining lines.
        let last = ty + 1 == z.tiles[0];
        let done = if last { lines.len() } else { finished };
        if skip == 0 {
            for (i, line) in lines[..done].chunks(z.line()).enumerate() {
                let at = (M * ty * s + i).wrapping_sub(top).wrapping_sub(piece.first);
                if let Some(x) = piece.x.chunks_mut(width).nth(at) {
                    let len = width.min(line.len() - left * l);
                    x[..len].copy_from_slice(&line[left * l..left * l + len]);
                    x[len..].fill(0.0);
                }
            }
        }
        lines.copy_within(finished.., 0);
        let rest = lines.len() - finished;
        lines[rest..].fill(0.0);
    }
    // Lines of pixels below those that any kernel reaches.
    let reached = (M * z.tiles[0] + R - 1) * s;
    if piece.tile_lines.end == z.tiles[0] {
        let from = reached.saturating_sub(top).saturating_sub(piece.first) * width;
        if let Some(below) = piece.x.get_mut(from..) {
            below.fill(0.0);
        }
    }
}
