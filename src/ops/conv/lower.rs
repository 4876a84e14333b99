//! The three convolutions as products for the GPU.

use minijinja::{Value, context};

use crate::ops::tile::{Along, OPERANDS, Product, RowsOfA};
use crate::ops::{Caps, Site, Variant};

use super::minimal::{Minimal, Side};
use super::{ConvSpec, flops};

/// The ways to compute a convolution.
pub(super) fn conv2d(spec: &ConvSpec, site: &Site, caps: &Caps) -> Vec<Variant> {
    let (x, y) = (&site.shapes[0], &site.shape);
    all(to_small, Side::Small, spec, [x[0], x[3], y[3]], caps)
}

/// The ways to compute a transposed convolution.
pub(super) fn conv_transpose2d(spec: &ConvSpec, site: &Site, caps: &Caps) -> Vec<Variant> {
    let (y, x) = (&site.shapes[0], &site.shape);
    all(to_large, Side::Large, spec, [x[0], x[3], y[3]], caps)
}

/// The ways to compute the gradient with respect to a convolution's weights.
pub(super) fn conv_weight_grad(spec: &ConvSpec, site: &Site, caps: &Caps) -> Vec<Variant> {
    let (x, y) = (&site.shapes[0], &site.shapes[1]);
    all(to_weights, Side::Taps, spec, [x[0], x[3], y[3]], caps)
}

/// A convolution as one product: of a geometry, a batch size, and large and small channels.
type Direct = fn(&ConvSpec, usize, usize, usize) -> Product;

/// Directly and by minimal filtering. A software adapter is faster with the latter wherever it is
/// possible; what a GPU gains from it depends on its memory, so there it has to be measured.
fn all(
    direct: Direct,
    result: Side,
    spec: &ConvSpec,
    [n, large, small]: [usize; 3],
    caps: &Caps,
) -> Vec<Variant> {
    let mut variants = direct(spec, n, large, small).variants(caps);
    if let Some(minimal) = Minimal::of(spec, n, large, small) {
        let minimal = minimal.variants(result, caps);
        let first = if caps.software { 0 } else { variants.len() };
        variants.splice(first..first, minimal);
    }
    variants
}

/// Rows are the pixels of the small image; the reduction is over taps and large channels.
fn to_small(spec: &ConvSpec, n: usize, large: usize, small: usize) -> Product {
    Product {
        kernel: "conv2d",
        bind: OPERANDS,
        size: [n * spec.small[0] * spec.small[1], small, large],
        along: [Along::Reduction, Along::Product],
        rows_of_a: RowsOfA::Taps { flat: Some(spec.taps()) },
        layers: 1,
        a_len: large,
        flops: flops(spec, n, large, small),
        own: large_image(spec, n),
    }
}

/// Rows are the pixels of the large image with one remainder modulo the stride, one layer for each
/// remainder; the reduction is over the taps that reach them, and small channels.
fn to_large(spec: &ConvSpec, n: usize, large: usize, small: usize) -> Product {
    let [stride_h, stride_w] = spec.stride;
    let grid_h = spec.large[0].div_ceil(stride_h);
    let grid_w = spec.large[1].div_ceil(stride_w);
    let cells = n * grid_h * grid_w;
    Product {
        kernel: "conv_transpose2d",
        bind: OPERANDS,
        size: [cells, large, small],
        along: [Along::Reduction, Along::Reduction],
        rows_of_a: RowsOfA::Taps { flat: None },
        layers: stride_h * stride_w,
        a_len: small,
        flops: flops(spec, n, large, small),
        own: context! {
            high => spec.small[0],
            wide => spec.small[1],
            grid_h,
            grid_w,
            step_y => 1,
            step_x => 1,
            cells,
            y_high => spec.large[0],
            y_wide => spec.large[1],
            kernel_h => spec.kernel[0],
            kernel_w => spec.kernel[1],
            stride_h,
            stride_w,
            top => spec.pad[0],
            left => spec.pad[1],
            even => spec.kernel[0].is_multiple_of(stride_h)
                && spec.kernel[1].is_multiple_of(stride_w),
            taps_h => spec.kernel[0] / stride_h,
            taps_w => spec.kernel[1] / stride_w,
        },
    }
}

/// Rows are taps and large channels; the reduction is over the pixels of the small image.
fn to_weights(spec: &ConvSpec, n: usize, large: usize, small: usize) -> Product {
    Product {
        kernel: "conv_weight_grad",
        bind: OPERANDS,
        size: [spec.taps() * large, small, n * spec.small[0] * spec.small[1]],
        along: [Along::Product, Along::Product],
        rows_of_a: RowsOfA::Pixels { line: spec.small[1], run: spec.stride[1] * large },
        layers: 1,
        a_len: large,
        flops: flops(spec, n, large, small),
        own: large_image(spec, n),
    }
}

/// The variables of a large image seen from the pixels of the small one.
fn large_image(spec: &ConvSpec, n: usize) -> Value {
    context! {
        high => spec.large[0],
        wide => spec.large[1],
        grid_h => spec.small[0],
        grid_w => spec.small[1],
        step_y => spec.stride[0],
        step_x => spec.stride[1],
        cells => n * spec.small[0] * spec.small[1],
        kernel_h => spec.kernel[0],
        kernel_w => spec.kernel[1],
        top => spec.pad[0],
        left => spec.pad[1],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::tile::tests::{compile, devices};

    #[test]
    fn convolutions_compile_for_every_geometry_and_device() {
        let halving = ConvSpec {
            kernel: [4, 4],
            stride: [2, 2],
            pad: [1, 1],
            large: [16, 16],
            small: [8, 8],
        };
        // Unequal sides, taps that not all remainders have, padding below that differs from above.
        let crooked =
            ConvSpec { kernel: [5, 1], stride: [2, 3], pad: [2, 0], large: [7, 9], small: [4, 3] };
        let large_kernel = ConvSpec { kernel: [5, 5], pad: [2, 2], ..halving };
        for spec in [halving, large_kernel, crooked] {
            for (large, small) in [(64, 64), (3, 64), (64, 3), (8, 12), (1, 5), (65, 65)] {
                for caps in devices() {
                    let ways = [
                        (to_small as Direct, Side::Small),
                        (to_large, Side::Large),
                        (to_weights, Side::Taps),
                    ];
                    for (direct, result) in ways {
                        compile(&all(direct, result, &spec, [2, large, small], &caps), &caps);
                    }
                }
            }
        }
    }
}
