//! The transposed convolution on the CPU: each parity of the large image's positions is a dense
//! convolution of the small image with the taps that reach it, so that nothing is multiplied by an
//! inserted zero. Patches laid out as rows of a matrix, then a matrix product.

use rayon::prelude::*;

use super::super::{Call, ConvSpec, Site};
use super::patches::band_rows;
use crate::gemm::{Matrix, gemm};

/// The kernel taps along one axis that reach output positions `p, p + stride, …`, with the small
/// image's position for each: `(k, shift)` means `small = q + shift` at large position
/// `p + q · stride`.
fn parity_taps(p: usize, kernel: usize, stride: usize, pad: usize) -> Vec<(usize, isize)> {
    (0..kernel)
        .filter(|&k| (p + pad + kernel * stride - k).is_multiple_of(stride))
        .map(|k| (k, ((p + pad) as isize - k as isize).div_euclid(stride as isize)))
        .collect()
}

/// One parity of a transposed convolution: the large image's positions `p + q · stride`.
struct Parity {
    place: [usize; 2],
    count: [usize; 2],
    taps: Vec<([usize; 2], [isize; 2])>,
}

fn parities(spec: &ConvSpec) -> Vec<Parity> {
    let mut all = Vec::new();
    for py in 0..spec.stride[0].min(spec.large[0]) {
        for px in 0..spec.stride[1].min(spec.large[1]) {
            let place = [py, px];
            let axis =
                |d: usize| parity_taps(place[d], spec.kernel[d], spec.stride[d], spec.pad[d]);
            let (ys, xs) = (axis(0), axis(1));
            let taps =
                ys.iter().flat_map(|y| xs.iter().map(|x| ([y.0, x.0], [y.1, x.1]))).collect();
            let count = [0, 1].map(|d| (spec.large[d] - place[d]).div_ceil(spec.stride[d]));
            all.push(Parity { place, count, taps });
        }
    }
    all
}

/// Sizes of a parity's three scratch areas: patches, transposed weights, results.
fn parity_scratch(parity: &Parity, n: usize, large: usize, small: usize) -> [usize; 3] {
    let depth = parity.taps.len() * small;
    let rows = band_rows(n * parity.count[0], parity.count[1], depth.max(large));
    [rows * depth, depth * large, rows * large]
}

pub(super) fn conv_transpose2d_scratch(spec: &ConvSpec, s: &Site) -> usize {
    let (n, large, small) = (s.shape[0], s.shape[3], s.shapes[0][3]);
    let sizes = parities(spec).into_iter().map(|p| parity_scratch(&p, n, large, small));
    sizes.map(|s| s.iter().sum()).max().unwrap_or(0)
}

/// The large image.
pub(super) fn conv_transpose2d(spec: &ConvSpec, s: &Site, call: Call<'_>) {
    let (n, large, small) = (s.shape[0], s.shape[3], s.shapes[0][3]);
    let (y, weights) = (call.f32(0), call.f32(1));
    let [height, width] = spec.large;
    let [h, w] = spec.small;
    for parity in parities(spec) {
        let [count_y, count_x] = parity.count;
        let depth = parity.taps.len() * small;
        let [patches, turned, _] = parity_scratch(&parity, n, large, small);
        let (patches, rest) = call.scratch.split_at_mut(patches);
        let (turned, results) = rest.split_at_mut(turned);
        for (([ky, kx], _), turned) in parity.taps.iter().zip(turned.chunks_mut(small * large)) {
            let tap = &weights[(ky * spec.kernel[1] + kx) * large * small..][..large * small];
            for (l, row) in tap.chunks(small).enumerate() {
                for (s, &v) in row.iter().enumerate() {
                    turned[s * large + l] = v;
                }
            }
        }
        let lines = n * count_y;
        let band = band_rows(lines, count_x, depth.max(large)) / count_x;
        for first in (0..lines).step_by(band) {
            let band = band.min(lines - first);
            let rows = band * count_x;
            let results = &mut results[..rows * large];
            if depth > 0 {
                let patches = &mut patches[..rows * depth];
                patches.par_chunks_mut(count_x * depth).enumerate().for_each(|(line, rows)| {
                    let (n, qy) = ((first + line) / count_y, (first + line) % count_y);
                    for (qx, row) in rows.chunks_mut(depth).enumerate() {
                        for ((_, [dy, dx]), row) in parity.taps.iter().zip(row.chunks_mut(small)) {
                            let oy = (qy as isize + dy) as usize;
                            let ox = (qx as isize + dx) as usize;
                            // A negative position is a huge unsigned one.
                            if oy < h && ox < w {
                                let at = ((n * h + oy) * w + ox) * small;
                                row.copy_from_slice(&y[at..at + small]);
                            } else {
                                row.fill(0.0);
                            }
                        }
                    }
                });
                let turned = Matrix::new(turned, depth, large, false);
                gemm(Matrix::new(patches, rows, depth, false), turned, results, false, true);
            } else {
                results.fill(0.0);
            }
            for (line, row) in results.chunks(count_x * large).enumerate() {
                let (n, qy) = ((first + line) / count_y, (first + line) % count_y);
                let iy = parity.place[0] + qy * spec.stride[0];
                for (qx, pixel) in row.chunks(large).enumerate() {
                    let ix = parity.place[1] + qx * spec.stride[1];
                    let at = ((n * height + iy) * width + ix) * large;
                    call.out[at..at + large].copy_from_slice(pixel);
                }
            }
        }
    }
}
