//! The transposed convolution to few channels on the CPU: one matrix product gives what every pixel
//! of the small image adds to the window of the large one that it covers, `[n·h·w, kh·kw·L]`, and
//! the overlapping windows are added up. A product by patches would have only L columns, too few to
//! fill a register.
//!
//! Every task computes some lines of the large image from the windows that reach them, which stay
//! in its cache; windows that reach the lines of two tasks are computed twice.

use std::ops::Range;

use rayon::prelude::*;

use super::super::{Call, ConvSpec, Site};
use super::pool::{Pool, areas};
use crate::gemm::{Matrix, gemm};

/// Lines of the small image whose windows start in the lines of one task.
const LINES: usize = 8;

/// How the large image is cut.
struct Cut {
    /// Lines of a task, except the last one of an image.
    lines: usize,
    /// Floats of a pixel's window.
    window: usize,
    /// Floats of the windows that reach the lines of a task.
    windows: usize,
    /// Floats of a line that holds both the image's and every window's.
    padded: usize,
}

impl Cut {
    fn of(spec: &ConvSpec, large: usize) -> Self {
        let ([kh, kw], [sh, sw], [h, w]) = (spec.kernel, spec.stride, spec.small);
        let lines = LINES * sh;
        let window = spec.taps() * large;
        let reach = h.min((lines + kh).div_ceil(sh));
        let padded = (w.saturating_sub(1) * sw + kw).max(spec.pad[1] + spec.large[1]);
        Self { lines, window, windows: reach * w * window, padded: padded * large }
    }
}

/// The lines of the small image whose windows reach lines `lines` of the large one.
fn reaching(spec: &ConvSpec, lines: Range<usize>) -> Range<usize> {
    let (k, s, top) = (spec.kernel[0], spec.stride[0], spec.pad[0]);
    let first = (lines.start + top + 1).saturating_sub(k).div_ceil(s);
    let last = ((lines.end - 1 + top) / s + 1).min(spec.small[0]);
    first.min(last)..last
}

/// Floats of scratch for [`conv_transpose2d`], where the large image has few channels.
pub(super) fn conv_transpose2d_scratch(spec: &ConvSpec, s: &Site, threads: usize) -> Option<usize> {
    let large = s.shape[3];
    let cut = Cut::of(spec, large);
    (large <= 8 && spec.taps() > 1).then_some(threads * (cut.windows + cut.padded))
}

/// The large image.
pub(super) fn conv_transpose2d(spec: &ConvSpec, s: &Site, call: Call<'_>) {
    let (large, small) = (s.shape[3], s.shapes[0][3]);
    let (y, weights) = (call.f32(0), call.f32(1));
    let [height, width] = spec.large;
    let [h, w] = spec.small;
    let [kh, kw] = spec.kernel;
    let [sh, sw] = spec.stride;
    let [top, left] = spec.pad;
    let cut = Cut::of(spec, large);
    let window = cut.window;
    let weights = Matrix::new(weights, small, window, true);
    let pool = Pool::new(call.scratch, cut.windows + cut.padded);
    let images = call.out.chunks_mut((height * width * large).max(1)).enumerate();
    let pieces = images.flat_map(|(n, image)| {
        let pieces = image.chunks_mut(cut.lines * width * large).enumerate();
        pieces.map(move |(piece, out)| (n, piece * cut.lines, out))
    });
    pieces.collect::<Vec<_>>().into_par_iter().for_each(|(n, first, out)| {
        pool.with(|memory| {
            let [windows, sums] = areas(memory, [cut.windows, cut.padded]);
            let lines = out.len() / (width * large);
            let from = reaching(spec, first..first + lines);
            let count = from.len() * w;
            let windows = &mut windows[..count * window];
            let y = &y[(n * h + from.start) * w * small..][..count * small];
            gemm(Matrix::new(y, count, small, false), weights, windows, false, false);
            for (iy, out) in (first..).zip(out.chunks_mut(width * large)) {
                sums.fill(0.0);
                for ky in (0..kh).filter(|ky| iy + top >= *ky && (iy + top - ky) % sh == 0) {
                    let oy = (iy + top - ky) / sh;
                    if oy >= h {
                        continue;
                    }
                    let row = &windows[(oy - from.start) * w * window..][..w * window];
                    for (ox, taps) in row.chunks(window).enumerate() {
                        let taps = &taps[ky * kw * large..][..kw * large];
                        let sums = &mut sums[ox * sw * large..][..kw * large];
                        sums.iter_mut().zip(taps).for_each(|(sum, tap)| *sum += tap);
                    }
                }
                out.copy_from_slice(&sums[left * large..][..width * large]);
            }
        });
    });
}
