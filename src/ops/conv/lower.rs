//! The three convolutions as products for the GPU.

use minijinja::{Value, context};

use crate::ops::Site;
use crate::ops::tile::{Along, Product, RowsOfA};

use super::{ConvSpec, flops};

/// A convolution.
pub(super) fn conv2d(spec: &ConvSpec, site: &Site) -> Product {
    let (x, y) = (&site.shapes[0], &site.shape);
    to_small(spec, x[0], x[3], y[3])
}

/// A transposed convolution.
pub(super) fn conv_transpose2d(spec: &ConvSpec, site: &Site) -> Product {
    let (y, x) = (&site.shapes[0], &site.shape);
    to_large(spec, x[0], x[3], y[3])
}

/// The gradient with respect to a convolution's weights.
pub(super) fn conv_weight_grad(spec: &ConvSpec, site: &Site) -> Product {
    let (x, y) = (&site.shapes[0], &site.shapes[1]);
    to_weights(spec, x[0], x[3], y[3])
}

/// Rows are the pixels of the small picture; the reduction is over taps and large channels.
fn to_small(spec: &ConvSpec, n: usize, large: usize, small: usize) -> Product {
    Product {
        kernel: "conv2d",
        size: [n * spec.small[0] * spec.small[1], small, large],
        along: [Along::Reduction, Along::Product],
        rows_of_a: RowsOfA::Taps { flat: Some(spec.taps()) },
        layers: 1,
        a_len: large,
        flops: flops(spec, n, large, small),
        own: large_picture(spec, n),
    }
}

/// Rows are the pixels of the large picture with one remainder modulo the stride, one layer for
/// each remainder; the reduction is over the taps that meet them, and small channels.
fn to_large(spec: &ConvSpec, n: usize, large: usize, small: usize) -> Product {
    let [stride_h, stride_w] = spec.stride;
    let grid_h = spec.large[0].div_ceil(stride_h);
    let grid_w = spec.large[1].div_ceil(stride_w);
    let cells = n * grid_h * grid_w;
    Product {
        kernel: "conv_transpose2d",
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

/// Rows are taps and large channels; the reduction is over the pixels of the small picture.
fn to_weights(spec: &ConvSpec, n: usize, large: usize, small: usize) -> Product {
    Product {
        kernel: "conv_weight_grad",
        size: [spec.taps() * large, small, n * spec.small[0] * spec.small[1]],
        along: [Along::Product, Along::Product],
        rows_of_a: RowsOfA::Pixels { line: spec.small[1], run: spec.stride[1] * large },
        layers: 1,
        a_len: large,
        flops: flops(spec, n, large, small),
        own: large_picture(spec, n),
    }
}

/// The variables of a large picture seen from the pixels of the small one.
fn large_picture(spec: &ConvSpec, n: usize) -> Value {
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
        // Unequal sides, taps that not all remainders have, padding below that is not that above.
        let crooked =
            ConvSpec { kernel: [5, 1], stride: [2, 3], pad: [2, 0], large: [7, 9], small: [4, 3] };
        for spec in [halving, crooked] {
            for (large, small) in [(64, 64), (3, 64), (64, 3), (8, 12), (1, 5), (65, 65)] {
                for caps in devices() {
                    for product in [to_small, to_large, to_weights] {
                        compile(&product(&spec, 2, large, small), &caps);
                    }
                }
            }
        }
    }
}
