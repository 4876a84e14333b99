//! The residual networks of spectral norm's paper (Miyato et al., arXiv 1802.05957, tables 4 and 5)
//! as in the authors' code: for small images all blocks have the same width and the discriminator
//! keeps a quarter of the side; for larger ones widths double with every halving.

use crate::error::{Error, Result};
use crate::nn::{Layer, Residual, Sequential, WeightInit};
use crate::ops::conv::ConvSpec;

use super::config::ModelConfig;
use super::parts::{End, Stack};
use super::size::Size;

/// Maximum channels of the deepest feature map in units of `ngf` or `ndf`.
const WIDEST: usize = 16;

/// Sizes with more doublings have blocks of different widths.
const SMALL: usize = 3;

/// Halvings of the discriminator for small images, and its blocks.
const SMALL_HALVINGS: usize = 2;
const SMALL_BLOCKS: usize = 4;

const RELU: Layer = Layer::relu();

/// Whether all blocks have the same width.
pub(super) fn is_small(size: Size) -> bool {
    size.base().map_or(true, |(_, doublings)| doublings <= SMALL)
}

/// A convolution with a square kernel that keeps the size, with initial gain `gain`.
fn convolution(size: [usize; 2], kernel: usize, sides: [usize; 2], gain: f32) -> Result<Layer> {
    biased(size, kernel, sides, gain, true)
}

/// [`convolution`] with a bias or without.
fn biased(
    size: [usize; 2],
    kernel: usize,
    [from, to]: [usize; 2],
    gain: f32,
    bias: bool,
) -> Result<Layer> {
    let pad = kernel / 2;
    let spec = ConvSpec::down(size, [kernel; 2], [1, 1], [pad; 2])
        .map_err(|what| Error::config("size", what))?;
    Ok(Layer::conv(spec, from, to, bias).initialized(WeightInit::Xavier { gain, uniform: true }))
}

/// Gains with and without a following ReLU.
const RELU_GAIN: f32 = std::f32::consts::SQRT_2;
const LINEAR_GAIN: f32 = 1.0;

/// The generator: a projection, a block for every doubling, norm, ReLU and a convolution.
///
/// # Errors
/// [`Error::Config`] if [`super::Size::base`] fails, or the options cannot be combined.
pub(super) fn generator(config: &ModelConfig) -> Result<Sequential> {
    let (base, doublings) = config.size.base()?;
    let width = |i: usize| match is_small(config.size) {
        true => config.ngf,
        false => config.ngf * (1 << i).min(WIDEST),
    };
    let mut stack = Stack::generator(config);
    let from = config.nz + stack.label();
    let start = WeightInit::Xavier { gain: LINEAR_GAIN, uniform: true };
    stack.push(Layer::project(base, width(doublings), from, true).initialized(start));
    stack.push(Layer::Identity); // the reshape to an image
    for i in (0..doublings).rev() {
        let (from, to) = (width(i + 1), width(i));
        let size = base.map(|b| b << (doublings - i));
        let norm = |channels| stack.norm_layer(channels);
        let mut main: Vec<Layer> = norm(from).into_iter().collect();
        let bias = stack.bias_or(true);
        main.extend([RELU, Layer::Upsample, biased(size, 3, [from, to], RELU_GAIN, bias)?]);
        main.extend(norm(to));
        main.extend([RELU, convolution(size, 3, [to, to], RELU_GAIN)?]);
        let shortcut = vec![Layer::Upsample, convolution(size, 1, [from, to], LINEAR_GAIN)?];
        stack.push(Layer::Residual(Residual { main, shortcut }));
    }
    stack.norm(width(0));
    stack.push(RELU);
    let whole = [config.size.height, config.size.width];
    stack.push(convolution(whole, 3, [width(0), config.channels], LINEAR_GAIN)?);
    stack.pixels();
    stack.finish()
}

/// The discriminator: blocks, ReLU, the sum over all pixels and a linear layer.
///
/// # Errors
/// See [`generator`].
pub(super) fn discriminator(config: &ModelConfig, mut stack: Stack<'_>) -> Result<Sequential> {
    let (_, doublings) = config.size.base()?;
    let small = is_small(config.size);
    let (blocks, halvings) =
        if small { (SMALL_BLOCKS, SMALL_HALVINGS.min(doublings)) } else { (doublings, doublings) };
    let mut size = [config.size.height, config.size.width];
    let mut from = config.channels;
    for i in 0..blocks {
        let to = if small { config.ndf } else { config.ndf * (1 << i).min(WIDEST) };
        let halves = i < halvings;
        let first = i == 0;
        let norm = |channels| if first { None } else { stack.norm_layer(channels) };
        let mut main: Vec<Layer> = norm(from).into_iter().collect();
        // No ReLU on the image itself.
        main.extend((!first).then_some(RELU));
        main.push(biased(size, 3, [from, to], RELU_GAIN, first || stack.bias_or(true))?);
        main.extend(norm(to));
        main.extend([RELU, convolution(size, 3, [to, to], RELU_GAIN)?]);
        main.extend(halves.then_some(Layer::AveragePool));
        let half = size.map(|s| if halves { s / 2 } else { s });
        let shortcut = match (first, halves) {
            // Pooled first: cheaper, and the same, as both are linear.
            (true, true) => {
                vec![Layer::AveragePool, convolution(half, 1, [from, to], LINEAR_GAIN)?]
            }
            (_, true) => vec![convolution(size, 1, [from, to], LINEAR_GAIN)?, Layer::AveragePool],
            (_, false) if from == to => Vec::new(),
            (_, false) => vec![convolution(size, 1, [from, to], LINEAR_GAIN)?],
        };
        stack.push(Layer::Residual(Residual { main, shortcut }));
        (size, from) = (half, to);
    }
    stack.push(RELU);
    stack.head([size[0], size[1], from], End::Sum, true);
    stack.finish()
}
