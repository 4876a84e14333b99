//! The dense networks of Improved GAN's MNIST code (Salimans et al., arXiv 1606.03498,
//! `train_mnist_feature_matching.py`): a generator of two hidden layers with softplus and batch
//! norm, a discriminator of five with noise before each. `ngf` and `ndf` are the widths of the
//! first layers.

use crate::error::Result;
use crate::nn::{Layer, Noise, Sequential, WeightInit};

use super::config::ModelConfig;
use super::parts::{End, Stack};

/// Standard deviations of the noise on pixels and on hidden layers.
const NOISE: f32 = 0.3;
const HIDDEN_NOISE: f32 = 0.5;

/// Widths of the discriminator's layers: the first one's divided by these.
const SHARES: [usize; 5] = [1, 2, 4, 4, 4];

const RELU: Layer = Layer::relu();

/// The generator.
///
/// # Errors
/// Errors of recording the ops.
pub(super) fn generator(config: &ModelConfig) -> Result<Sequential> {
    let start = WeightInit::Xavier { gain: 1.0, uniform: true };
    let mut stack = Stack::generator(config);
    let mut from = config.nz;
    for _ in 0..2 {
        from += stack.label();
        stack.push(Layer::linear(from, config.ngf, stack.bias()).initialized(start));
        stack.norm(config.ngf);
        stack.push(Layer::Softplus);
        from = config.ngf;
    }
    from += stack.label();
    let whole = [config.size.height, config.size.width];
    stack.push(Layer::project(whole, config.channels, from, true).initialized(start));
    stack.push(Layer::Identity); // the reshape to an image
    stack.pixels();
    stack.finish()
}

/// The discriminator.
///
/// # Errors
/// See [`generator`].
pub(super) fn discriminator(config: &ModelConfig, mut stack: Stack<'_>) -> Result<Sequential> {
    let start = WeightInit::Normal { std: 0.1 };
    stack.push(Layer::Flatten);
    let mut from = config.size.height * config.size.width * config.channels;
    for (i, share) in SHARES.into_iter().enumerate() {
        stack.push(Layer::Noise(Noise { std: if i == 0 { NOISE } else { HIDDEN_NOISE } }));
        from += stack.label();
        let to = (config.ndf / share).max(1);
        stack.push(Layer::linear(from, to, stack.bias_or(true)).initialized(start));
        stack.norm(to);
        stack.push(RELU);
        from = to;
    }
    stack.push(Layer::Noise(Noise { std: HIDDEN_NOISE }));
    stack.head([1, 1, from], End::Vector, true);
    stack.finish()
}
