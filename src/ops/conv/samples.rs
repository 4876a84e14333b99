//! Samples of the three convolutions.

use super::super::samples::{Input, Kind, NonFinite, Sample, special};
use super::ConvSpec;

/// Kernel, stride, padding, batch, sizes of the large image, of the small one, channels of both.
type Geometry = ([usize; 2], [usize; 2], [usize; 2], usize, [usize; 2], [usize; 2], usize, usize);

const GEOMETRIES: &[Geometry] = &[
    // Every kernel size; channels that are and are not whole vectors.
    ([1, 1], [1, 1], [0, 0], 2, [3, 2], [3, 2], 3, 4),
    ([1, 1], [1, 1], [0, 0], 1, [5, 4], [5, 4], 65, 12),
    ([1, 1], [2, 2], [0, 0], 1, [6, 5], [3, 3], 1, 3),
    ([2, 2], [1, 1], [0, 0], 1, [4, 3], [3, 2], 8, 1),
    ([2, 2], [2, 2], [0, 0], 2, [5, 6], [2, 3], 3, 8),
    ([3, 3], [1, 1], [1, 1], 2, [5, 4], [5, 4], 4, 3),
    ([3, 3], [2, 2], [1, 1], 1, [7, 8], [4, 4], 1, 65),
    ([3, 3], [3, 3], [2, 2], 1, [8, 6], [4, 3], 3, 12),
    ([4, 4], [2, 2], [1, 1], 3, [8, 8], [4, 4], 3, 8),
    ([4, 4], [2, 2], [1, 1], 1, [16, 16], [8, 8], 12, 8),
    ([4, 4], [2, 2], [1, 1], 1, [4, 4], [2, 2], 65, 65),
    ([5, 5], [2, 2], [2, 2], 2, [8, 6], [4, 3], 3, 4),
    ([5, 5], [3, 3], [2, 2], 1, [9, 10], [3, 4], 1, 3),
    ([5, 5], [1, 1], [2, 2], 1, [4, 3], [4, 3], 4, 8),
    // Not square: kernels, strides, paddings, images.
    ([4, 3], [2, 1], [1, 1], 2, [6, 5], [3, 5], 3, 4),
    ([4, 3], [1, 3], [2, 0], 1, [5, 8], [6, 2], 8, 3),
    ([3, 4], [3, 2], [0, 2], 1, [8, 5], [2, 3], 1, 8),
    ([5, 2], [3, 2], [1, 0], 1, [7, 7], [2, 3], 1, 8),
    ([1, 5], [1, 2], [0, 2], 3, [2, 11], [2, 6], 12, 1),
    // Leftover rows and columns; more padding below and to the right than above and to the left.
    ([4, 4], [2, 2], [1, 1], 1, [7, 9], [3, 4], 8, 3),
    ([4, 4], [2, 2], [1, 1], 1, [5, 7], [3, 4], 3, 4),
    ([3, 3], [2, 2], [0, 1], 2, [6, 6], [3, 3], 4, 4),
    ([2, 2], [3, 3], [0, 0], 1, [8, 7], [3, 2], 3, 3),
    ([4, 4], [3, 3], [2, 2], 1, [9, 8], [3, 3], 1, 4),
    // An image smaller than the kernel; more stride than image.
    ([5, 5], [2, 2], [2, 2], 1, [2, 2], [1, 1], 3, 4),
    ([3, 3], [2, 3], [1, 2], 1, [2, 2], [1, 2], 3, 3),
    ([2, 2], [5, 5], [0, 0], 2, [3, 4], [1, 1], 4, 3),
    // The kernel covers the image once: a matrix product.
    ([4, 4], [1, 1], [0, 0], 3, [4, 4], [1, 1], 8, 5),
    ([2, 3], [1, 1], [0, 0], 1, [2, 3], [1, 1], 3, 65),
    // The largest here.
    ([4, 4], [2, 2], [1, 1], 3, [32, 30], [16, 15], 16, 33),
    ([5, 5], [2, 2], [2, 2], 2, [17, 33], [9, 17], 65, 12),
    // Few channels and many pixels: every task lays out patches and adds up windows on its own.
    ([4, 4], [2, 2], [1, 1], 6, [64, 62], [32, 31], 3, 5),
    ([5, 5], [2, 2], [2, 2], 4, [70, 64], [35, 32], 2, 6),
    // Enough channels for minimal filtering: more than one run of lines, odd sizes, rows and columns
    // that no kernel reaches, unequal padding.
    ([4, 4], [2, 2], [1, 1], 2, [36, 12], [18, 6], 16, 70),
    ([4, 4], [2, 2], [1, 1], 3, [64, 60], [32, 30], 16, 17),
    ([4, 4], [2, 2], [1, 1], 3, [19, 23], [9, 11], 33, 17),
    ([4, 4], [2, 2], [0, 2], 1, [9, 11], [3, 6], 20, 24),
    ([5, 5], [2, 2], [2, 2], 2, [37, 20], [19, 10], 17, 20),
    ([3, 3], [1, 1], [1, 1], 2, [19, 9], [19, 9], 16, 130),
    ([3, 3], [1, 1], [0, 2], 1, [8, 6], [6, 8], 18, 16),
];

/// The sample of `op` among the convolutions of these sizes.
fn one(
    op: &'static str,
    spec: ConvSpec,
    [n, large, small]: [usize; 3],
    kinds: [Kind; 2],
) -> Sample {
    let x = [n, spec.large[0], spec.large[1], large];
    let y = [n, spec.small[0], spec.small[1], small];
    let w = [spec.kernel[0], spec.kernel[1], large, small];
    let two = |a: &[usize], b: &[usize]| vec![Input::new(a, kinds[0]), Input::new(b, kinds[1])];
    let name = if spec.is_dense() { "matmul" } else { op };
    match op {
        "conv2d" => Sample::new(name, two(&x, &w), move |t, v| t.conv2d(v[0], v[1], spec)),
        "conv_transpose2d" => {
            Sample::new(name, two(&y, &w), move |t, v| t.conv_transpose2d(v[0], v[1], spec))
        }
        _ => Sample::new(name, two(&x, &y), move |t, v| t.conv_weight_grad(v[0], v[1], spec)),
    }
}

pub(in crate::ops) fn samples(op: &'static str) -> Vec<Sample> {
    let mut all = Vec::new();
    for &(kernel, stride, pad, n, large, small, cl, cs) in GEOMETRIES {
        let spec = ConvSpec { kernel, stride, pad, large, small };
        let sample = one(op, spec, [n, cl, cs], [Kind::NORMAL; 2]).note(op);
        let sample = sample.note(format!("stride {stride:?}, pad {pad:?}")).tolerance(1e-6, 3e-6);
        let multiplications = n * small[0] * small[1] * spec.taps() * cl * cs;
        all.push(if multiplications > 100_000 { sample.rough() } else { sample });
    }
    let spec =
        |kernel, stride, large, small| ConvSpec { kernel, stride, pad: [1, 1], large, small };
    let table = [
        (spec([4, 4], [2, 2], [8, 8], [4, 4]), [3, 3, 8]),
        (spec([3, 3], [1, 1], [5, 4], [5, 4]), [2, 4, 3]),
        (spec([4, 4], [2, 2], [16, 12], [8, 6]), [2, 16, 17]),
    ];
    for at in 0..2 {
        for (spec, sizes) in table {
            let mut kinds = [Kind::NORMAL; 2];
            kinds[at] = Kind::Special(special::ONE_NAN);
            let sample = one(op, spec, sizes, kinds).note(format!("input {at}"));
            all.push(sample.non_finite(NonFinite::Spreads).tolerance(1e-6, 3e-6));
        }
    }
    all
}
