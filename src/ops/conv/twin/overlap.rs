//! The transposed convolution to few channels on the CPU: one matrix product gives what every pixel
//! of the small picture adds to the window of the large one that it covers, `[n·h·w, kh·kw·L]`, and
//! the overlapping windows are added up. A product by patches would have only L columns, too few to
//! fill a register.

use rayon::prelude::*;

use super::super::super::gemm::{Matrix, gemm};
use super::super::{Call, ConvSpec, Site};

/// Floats of windows computed at a time: 4 MiB, and an image at least.
const BAND: usize = 1 << 20;

/// Images of a band, and floats of an image's windows.
fn band(spec: &ConvSpec, n: usize, large: usize) -> (usize, usize) {
    let image = spec.small[0] * spec.small[1] * spec.taps() * large;
    ((BAND / image.max(1)).clamp(1, n.max(1)), image)
}

/// Floats of scratch for [`conv_transpose2d`], where the large picture has few channels.
pub(super) fn conv_transpose2d_scratch(spec: &ConvSpec, s: &Site) -> Option<usize> {
    let (n, large) = (s.shape[0], s.shape[3]);
    let (images, image) = band(spec, n, large);
    (large <= 8 && spec.taps() > 1).then_some(images * image)
}

/// The large picture.
pub(super) fn conv_transpose2d(spec: &ConvSpec, s: &Site, call: Call<'_>) {
    let (large, small) = (s.shape[3], s.shapes[0][3]);
    let (y, weights) = (call.f32(0), call.f32(1));
    let [height, width] = spec.large;
    let [h, w] = spec.small;
    let [kh, kw] = spec.kernel;
    let [sh, sw] = spec.stride;
    let [top, left] = spec.pad;
    let window = spec.taps() * large;
    let weights = Matrix::new(weights, small, window, true);
    let (images, image) = band(spec, s.shape[0], large);
    // Long enough for every window and for the picture.
    let padded = (w.saturating_sub(1) * sw + kw).max(left + width) * large;
    for (i, out) in call.out.chunks_mut(images * height * width * large).enumerate() {
        let count = out.len() / (height * width * large);
        let windows = &mut call.scratch[..count * image];
        let y = &y[i * images * h * w * small..][..count * h * w * small];
        gemm(Matrix::new(y, count * h * w, small, false), weights, windows, false, true);
        let windows = &*windows;
        let lines = out.par_chunks_mut(width * large).enumerate();
        lines.for_each_init(
            || vec![0.0_f32; padded],
            |sums, (line, out)| {
                let (n, iy) = (line / height, line % height);
                sums.fill(0.0);
                for ky in (0..kh).filter(|ky| iy + top >= *ky && (iy + top - ky) % sh == 0) {
                    let oy = (iy + top - ky) / sh;
                    if oy >= h {
                        continue;
                    }
                    let row = &windows[(n * h + oy) * w * window..][..w * window];
                    for (ox, taps) in row.chunks(window).enumerate() {
                        let taps = &taps[ky * kw * large..][..kw * large];
                        let sums = &mut sums[ox * sw * large..][..kw * large];
                        sums.iter_mut().zip(taps).for_each(|(sum, tap)| *sum += tap);
                    }
                }
                out.copy_from_slice(&sums[left * large..][..width * large]);
            },
        );
    }
}
