//! The convolutions on the CPU: patches laid out as rows of a matrix, then a matrix product.
//!
//! With many pixels and few channels, as for input images, every task lays out and multiplies some
//! lines on its own, in its own cache. Otherwise bands of lines are processed one after another,
//! each on all cores. Which it is and where sums are split depends on the shapes alone, so results
//! do not depend on the number of threads.

use rayon::prelude::*;

use super::super::super::reduce::merge_sums;
use super::super::{Call, ConvSpec, Site};
use super::pool::Pool;
use crate::gemm::{Matrix, gemm};

/// Floats of patches laid out at a time: 8 MiB.
const BAND: usize = 2 << 20;

/// Floats of patches that a task lays out at a time: 128 KiB, which leaves room in a core's cache.
const PIECE: usize = 1 << 15;

/// Enough tasks to keep all cores at work.
const TASKS: usize = 8;

/// Floats of sums that the tasks of a weight gradient may use, together: 512 KiB.
const SUMS: usize = 1 << 17;

/// Parts of a weight gradient, each a task with its own sum.
const PARTS: usize = 32;

/// Rows (output pixels) in a band: a whole number of lines of `width` pixels.
pub(super) fn band_rows(lines: usize, width: usize, depth: usize) -> usize {
    (BAND / (width * depth).max(1)).clamp(1, lines.max(1)) * width
}

/// Lays out the patches of line `line` (of all images') of output pixels of `x` `[n, H, W, L]`, one
/// row of `kh · kw · L` values each.
fn patches(spec: &ConvSpec, x: &[f32], channels: usize, line: usize, rows: &mut [f32]) {
    let [kh, kw] = spec.kernel;
    let [sh, sw] = spec.stride;
    let [top, left] = spec.pad;
    let [height, width] = spec.large;
    let (n, oy) = (line / spec.small[0], line % spec.small[0]);
    for (ox, row) in rows.chunks_mut(kh * kw * channels).enumerate() {
        for (ky, row) in row.chunks_mut(kw * channels).enumerate() {
            let iy = (oy * sh + ky).wrapping_sub(top);
            if iy >= height {
                row.fill(0.0);
                continue;
            }
            // The taps from `from` to `to` lie in the image.
            let ix = ox * sw;
            let from = left.saturating_sub(ix).min(kw);
            let to = (width + left).saturating_sub(ix).min(kw).max(from);
            row[..from * channels].fill(0.0);
            row[to * channels..].fill(0.0);
            if from < to {
                let at = ((n * height + iy) * width + ix + from - left) * channels;
                row[from * channels..to * channels]
                    .copy_from_slice(&x[at..at + (to - from) * channels]);
            }
        }
    }
}

/// How a convolution's patches are split.
#[derive(Clone, Copy)]
struct Cut {
    /// Values of a patch.
    depth: usize,
    /// Output pixels of a line.
    width: usize,
    /// Lines of all images.
    lines: usize,
    /// Output channels.
    small: usize,
}

impl Cut {
    fn of(spec: &ConvSpec, n: usize, channels: usize, small: usize) -> Self {
        let [h, width] = spec.small;
        Self { depth: spec.taps() * channels, width, lines: n * h, small }
    }

    /// Lines that a task lays out at a time.
    fn piece(&self) -> usize {
        (PIECE / (self.width * self.depth).max(1)).clamp(1, self.lines.max(1))
    }

    /// Floats of the patches of `lines` lines.
    fn floats(&self, lines: usize) -> usize {
        lines * self.width * self.depth
    }

    /// Rows of every band but the last.
    fn band(&self) -> usize {
        band_rows(self.lines, self.width, self.depth)
    }

    /// Whether tasks lay out patches on their own: there are enough, and their rows are worth
    /// reordering the weights for.
    fn by_pieces(&self) -> bool {
        let piece = self.piece();
        self.lines >= TASKS * piece && piece * self.width >= 4 * self.small
    }

    /// The lines that each part of a weight gradient sums, where it is split.
    fn part(&self) -> Option<usize> {
        let parts = (SUMS / (self.depth * self.small).max(1)).min(PARTS);
        (parts >= TASKS && self.lines >= parts).then(|| self.lines.div_ceil(parts))
    }
}

/// The patches of the lines from `first` on, laid out on all cores.
fn all_patches(spec: &ConvSpec, x: &[f32], channels: usize, first: usize, rows: &mut [f32]) {
    let line = spec.small[1] * spec.taps() * channels;
    rows.par_chunks_mut(line).enumerate().for_each(|(i, rows)| {
        patches(spec, x, channels, first + i, rows);
    });
}

/// The patches of the lines from `first` on, laid out by the calling task.
fn own_patches(spec: &ConvSpec, x: &[f32], channels: usize, first: usize, rows: &mut [f32]) {
    let line = spec.small[1] * spec.taps() * channels;
    for (i, rows) in rows.chunks_mut(line).enumerate() {
        patches(spec, x, channels, first + i, rows);
    }
}

/// Floats of scratch for [`conv2d`].
pub(super) fn conv2d_scratch(spec: &ConvSpec, s: &Site, threads: usize) -> usize {
    let cut = Cut::of(spec, s.shape[0], s.shapes[0][3], s.shape[3]);
    if cut.by_pieces() { threads * cut.floats(cut.piece()) } else { cut.band() * cut.depth }
}

/// The small image.
pub(super) fn conv2d(spec: &ConvSpec, s: &Site, call: Call<'_>) {
    let (channels, small) = (s.shapes[0][3], s.shape[3]);
    let (x, weights) = (call.f32(0), call.f32(1));
    let cut = Cut::of(spec, s.shape[0], channels, small);
    let depth = cut.depth;
    let weights = Matrix::new(weights, depth, small, false);
    if cut.by_pieces() {
        let piece = cut.piece();
        let pool = Pool::new(call.scratch, cut.floats(piece));
        call.out.par_chunks_mut(piece * cut.width * small).enumerate().for_each(|(i, y)| {
            pool.with(|rows| {
                let count = y.len() / small;
                let rows = &mut rows[..count * depth];
                own_patches(spec, x, channels, i * piece, rows);
                gemm(Matrix::new(rows, count, depth, false), weights, y, false, false);
            });
        });
        return;
    }
    let band = cut.band();
    for (i, y) in call.out.chunks_mut(band * small).enumerate() {
        let count = y.len() / small;
        let rows = &mut call.scratch[..count * depth];
        all_patches(spec, x, channels, i * band / cut.width, rows);
        gemm(Matrix::new(rows, count, depth, false), weights, y, false, true);
    }
}

/// Floats of scratch for [`conv_weight_grad`].
pub(super) fn conv_weight_grad_scratch(spec: &ConvSpec, s: &Site, threads: usize) -> usize {
    let cut = Cut::of(spec, s.shapes[0][0], s.shapes[0][3], s.shapes[1][3]);
    match cut.part() {
        Some(part) => {
            let sums = cut.lines.div_ceil(part) * cut.depth * cut.small;
            sums + threads * cut.floats(cut.piece())
        }
        None => cut.band() * cut.depth,
    }
}

/// The weights.
pub(super) fn conv_weight_grad(spec: &ConvSpec, s: &Site, call: Call<'_>) {
    let (channels, small) = (s.shapes[0][3], s.shapes[1][3]);
    let (x, y) = (call.f32(0), call.f32(1));
    let cut = Cut::of(spec, s.shapes[0][0], channels, small);
    let depth = cut.depth;
    // `sum (+)= rowsᵀ · y` for the rows of some lines.
    let add = |rows: &[f32], first: usize, sum: &mut [f32], accumulate, parallel| {
        let count = rows.len() / depth;
        let y = &y[first * cut.width * small..][..count * small];
        let (rows, y) =
            (Matrix::new(rows, depth, count, true), Matrix::new(y, count, small, false));
        gemm(rows, y, sum, accumulate, parallel);
    };
    let Some(part) = cut.part() else {
        let band = cut.band() / cut.width;
        for first in (0..cut.lines).step_by(band) {
            let lines = band.min(cut.lines - first);
            let rows = &mut call.scratch[..cut.floats(lines)];
            all_patches(spec, x, channels, first, rows);
            add(rows, first, call.out, first > 0, true);
        }
        return;
    };
    let (sums, rest) = call.scratch.split_at_mut(cut.lines.div_ceil(part) * depth * small);
    let pool = Pool::new(rest, cut.floats(cut.piece()));
    sums.par_chunks_mut(depth * small).enumerate().with_max_len(1).for_each(|(i, sum)| {
        pool.with(|rows| {
            let (start, end) = (i * part, cut.lines.min((i + 1) * part));
            for first in (start..end).step_by(cut.piece()) {
                let lines = cut.piece().min(end - first);
                let rows = &mut rows[..cut.floats(lines)];
                own_patches(spec, x, channels, first, rows);
                add(rows, first, sum, first > start, false);
            }
        });
    });
    merge_sums(sums, call.out);
}
