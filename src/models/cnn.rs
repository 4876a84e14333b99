//! The standard CNN of spectral norm's paper (Miyato et al., arXiv 1802.05957, table 3), for any size:
//! as many doublings as the size needs, twice the channels at each. Discriminators with it are made
//! Lipschitz by spectral norm (`--weight-d spectral`), or by a gradient penalty as WGAN-GP's CNN.

use crate::error::{Error, Result};
use crate::nn::{Layer, Sequential};
use crate::ops::conv::ConvSpec;

use super::config::ModelConfig;
use super::parts::{End, Stack};

/// Maximum channels of the deepest feature map in units of `ngf` or `ndf`.
const WIDEST: usize = 8;

const RELU: Layer = Layer::relu();
const LEAKY: Layer = Layer::leaky_relu(0.1);

/// Channels at the full size, at half of it, and so on.
fn width(width: usize, halvings: usize) -> usize {
    width * (1 << halvings).min(WIDEST)
}

/// A 4×4 convolution that halves an image of size `large`.
fn halving(large: [usize; 2]) -> Result<ConvSpec> {
    ConvSpec::down(large, [4, 4], [2, 2], [1, 1]).map_err(|what| Error::config("size", what))
}

/// A 3×3 convolution that keeps the size.
fn keeping(size: [usize; 2]) -> Result<ConvSpec> {
    ConvSpec::down(size, [3, 3], [1, 1], [1, 1]).map_err(|what| Error::config("size", what))
}

/// The generator: a projection, transposed convolutions 4×4, a convolution 3×3.
///
/// # Errors
/// [`Error::Config`] if [`super::Size::base`] fails, or the options cannot be combined.
pub(super) fn generator(config: &ModelConfig) -> Result<Sequential> {
    let (base, doublings) = config.size.base()?;
    let mut stack = Stack::generator(config);
    let bias = stack.bias_or(true);
    let mut from = config.nz + stack.label();
    let deepest = width(config.ngf, doublings);
    stack.push(Layer::project(base, deepest, from, bias));
    stack.push(Layer::Identity); // the reshape to an image
    stack.norm(deepest);
    stack.push(RELU);
    from = deepest;
    for i in (0..doublings).rev() {
        let to = width(config.ngf, i);
        let spec = halving(base.map(|b| b << (doublings - i)))?;
        from += stack.label();
        stack.push(Layer::conv_transpose(spec, to, from, bias));
        stack.norm(to);
        stack.push(RELU);
        from = to;
    }
    from += stack.label();
    let whole = keeping([config.size.height, config.size.width])?;
    stack.push(Layer::conv(whole, from, config.channels, true));
    stack.pixels();
    stack.finish()
}

/// The discriminator: convolutions 3×3 and 4×4 in turn, a linear layer.
///
/// # Errors
/// See [`generator`].
pub(super) fn discriminator(config: &ModelConfig, mut stack: Stack<'_>) -> Result<Sequential> {
    let (base, doublings) = config.size.base()?;
    let bias = stack.bias_or(true);
    let mut from = config.channels;
    for i in 0..=doublings {
        let size = base.map(|b| b << (doublings - i));
        let to = width(config.ndf, i);
        from += stack.label();
        stack.push(Layer::conv(keeping(size)?, from, to, i == 0 || bias));
        if i > 0 {
            stack.norm(to);
        }
        stack.push(LEAKY);
        from = to;
        if i < doublings {
            let to = width(config.ndf, i + 1);
            from += stack.label();
            stack.push(Layer::conv(halving(size)?, from, to, bias));
            stack.norm(to);
            stack.push(LEAKY);
            from = to;
        }
    }
    let [h, w] = base;
    stack.head([h, w, from], End::Vector, true);
    stack.finish()
}
