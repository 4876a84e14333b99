//! The three convolutions as products for the GPU.

use crate::error::Result;
use crate::ops::tile::{Along, Product, RowsOfA};
use crate::ops::{Caps, Lowered, Site};

use super::ConvSpec;

/// Rows are the pixels of the small picture; the reduction is over taps and large channels.
pub(super) fn conv2d(spec: &ConvSpec, site: &Site, caps: &Caps) -> Result<Lowered> {
    let (x, y) = (&site.shapes[0], &site.shape);
    let pixels = y[0] * y[1] * y[2];
    let product = Product {
        kernel: "conv2d",
        size: [pixels, y[3], x[3]],
        along: [Along::Reduction, Along::Product],
        rows_of_a: RowsOfA::Taps { flat: Some(spec.taps()) },
        layers: 1,
        a_len: x[3],
        flops: super::flops(spec, y[0], x[3], y[3]),
    };
    Ok(product.lower(&large_picture(spec, pixels), caps))
}

/// Rows are the pixels of the large picture with one remainder modulo the stride; the reduction is
/// over the taps that meet them, and small channels. One z for each remainder.
pub(super) fn conv_transpose2d(spec: &ConvSpec, site: &Site, caps: &Caps) -> Result<Lowered> {
    let (y, x) = (&site.shapes[0], &site.shape);
    let [stride_h, stride_w] = spec.stride;
    let grid_h = spec.large[0].div_ceil(stride_h);
    let grid_w = spec.large[1].div_ceil(stride_w);
    let cells = x[0] * grid_h * grid_w;
    let product = Product {
        kernel: "conv_transpose2d",
        size: [cells, x[3], y[3]],
        along: [Along::Reduction, Along::Reduction],
        rows_of_a: RowsOfA::Taps { flat: None },
        layers: stride_h * stride_w,
        a_len: y[3],
        flops: super::flops(spec, x[0], x[3], y[3]),
    };
    let extra = minijinja::context! {
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
        even => spec.kernel[0].is_multiple_of(stride_h) && spec.kernel[1].is_multiple_of(stride_w),
        taps_h => spec.kernel[0] / stride_h,
        taps_w => spec.kernel[1] / stride_w,
    };
    Ok(product.lower(&extra, caps))
}

/// Rows are taps and large channels; the reduction is over the pixels of the small picture.
pub(super) fn conv_weight_grad(spec: &ConvSpec, site: &Site, caps: &Caps) -> Result<Lowered> {
    let (x, y) = (&site.shapes[0], &site.shapes[1]);
    let pixels = y[0] * y[1] * y[2];
    let product = Product {
        kernel: "conv_weight_grad",
        size: [spec.taps() * x[3], y[3], pixels],
        along: [Along::Product, Along::Product],
        rows_of_a: RowsOfA::Pixels { line: y[2], run: spec.stride[1] * x[3] },
        layers: 1,
        a_len: x[3],
        flops: super::flops(spec, y[0], x[3], y[3]),
    };
    Ok(product.lower(&large_picture(spec, pixels), caps))
}

/// The variables of a large picture seen from the pixels of the small one.
fn large_picture(spec: &ConvSpec, pixels: usize) -> minijinja::Value {
    minijinja::context! {
        high => spec.large[0],
        wide => spec.large[1],
        grid_h => spec.small[0],
        grid_w => spec.small[1],
        step_y => spec.stride[0],
        step_x => spec.stride[1],
        cells => pixels,
        kernel_h => spec.kernel[0],
        kernel_w => spec.kernel[1],
        top => spec.pad[0],
        left => spec.pad[1],
    }
}
