//! Squared Euclidean distances between rows of numbers, block by block.
//!
//! ```text
//! d²(x, y) = |x|² − 2 x·y + |y|²
//! ```
//!
//! All `x·y` of a block are one matrix product. Where the three terms nearly cancel, the distance is
//! computed again from the differences, so that equal rows are at exactly 0.

use std::ops::Range;

use rayon::prelude::*;

use crate::gemm::{Matrix, gemm};

/// Rows of `x` and of `y` at a time: a matrix of 32 MiB.
const BLOCK: [usize; 2] = [8192, 1024];

/// Below this share of |x|² + |y|² a distance is computed from the differences: the products are
/// exact to about 10⁻⁶ of it.
const NEAR: f32 = 1e-4;

/// Passes the squared distances between the rows of `x` and `y`, `[n, width]` and `[m, width]`, to
/// `take`, block by block: which rows of `x`, which of `y`, and the distances, row-major. The blocks
/// of one row of `x` come in the order of `y`.
pub(crate) fn each_block(
    x: &[f32],
    y: &[f32],
    width: usize,
    mut take: impl FnMut(Range<usize>, Range<usize>, &[f32]),
) {
    let (x_squares, y_squares) = (squares(x, width), squares(y, width));
    let mut block = Vec::new();
    for (j, ys) in y.chunks(BLOCK[1] * width).enumerate() {
        let (first_y, columns) = (j * BLOCK[1], ys.len() / width);
        for (i, xs) in x.chunks(BLOCK[0] * width).enumerate() {
            let (first_x, rows) = (i * BLOCK[0], xs.len() / width);
            block.resize(rows * columns, 0.0);
            let left = Matrix::new(xs, rows, width, false);
            gemm(left, Matrix::new(ys, width, columns, true), &mut block, false, true);
            let each = xs.par_chunks(width).zip(&x_squares[first_x..first_x + rows]);
            each.zip(block.par_chunks_mut(columns)).for_each(|((x, x_square), row)| {
                let ys = ys.chunks(width).zip(&y_squares[first_y..]);
                for (product, (y, y_square)) in row.iter_mut().zip(ys) {
                    let sum = x_square + y_square;
                    let distance = sum - 2.0 * *product;
                    *product = if distance > NEAR * sum { distance } else { exact(x, y) };
                }
            });
            take(first_x..first_x + rows, first_y..first_y + columns, &block);
        }
    }
}

/// `|x|²` of each row.
fn squares(x: &[f32], width: usize) -> Vec<f32> {
    let square = |x: &[f32]| x.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>() as f32;
    x.par_chunks(width).map(square).collect()
}

/// `|x − y|²`.
fn exact(x: &[f32], y: &[f32]) -> f32 {
    x.iter().zip(y).map(|(&x, &y)| (f64::from(x) - f64::from(y)).powi(2)).sum::<f64>() as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Stream;

    /// More rows than fit one block; with a copy, and with neighbors far from the origin.
    #[test]
    fn blocks_cover_all_pairs_and_equal_rows_are_at_zero() {
        let (width, n, m) = (5, BLOCK[0] + 3, BLOCK[1] + 2);
        let noise = |n: usize, stream| {
            let mut x = vec![0.0; n * width];
            Stream::new(3, "noise", stream).fill_uniform(&mut x);
            x.iter_mut().for_each(|x| *x += 100.0);
            x
        };
        let (x, mut y) = (noise(n, 0), noise(m, 1));
        y[7 * width..8 * width].copy_from_slice(&x[2 * width..3 * width]);
        let mut pairs = 0;
        each_block(&x, &y, width, |rows, columns, distances| {
            pairs += distances.len();
            for (i, distances) in rows.zip(distances.chunks(columns.len())).step_by(97) {
                for (j, &distance) in columns.clone().zip(distances) {
                    let wanted = exact(&x[i * width..][..width], &y[j * width..][..width]);
                    assert!((distance - wanted).abs() <= 1e-5 * wanted, "{i} {j}");
                }
            }
        });
        assert_eq!(pairs, n * m);
        each_block(&x[2 * width..3 * width], &y, width, |_, columns, distances| {
            for (j, &distance) in columns.zip(distances) {
                assert_eq!(distance == 0.0, j == 7, "{j}");
            }
        });
    }
}
