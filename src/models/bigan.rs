//! The dense networks of BiGAN's MNIST code (Donahue, Krähenbühl and Darrell, arXiv 1605.09782,
//! section 4.2, and the authors' `train_mnist.sh`): two hidden layers each, batch norm without learned
//! scale and shift, no biases. `ngf` and `ndf` are the widths of the hidden layers.
//!
//! ```text
//! G  z: dense, norm, ReLU;           with z again: dense, norm, ReLU; dense, sigmoid
//! E  x: dense, leaky ReLU;           dense, norm, leaky ReLU;         dense, tanh
//! D  x: dense, leaky ReLU;           with z: dense, norm, leaky ReLU; dense
//! ```
//!
//! A second dense layer of `z` whose outputs are added before a norm, as in the authors' code,
//! equals one dense layer of both.

use crate::nn::{BatchNorm, Join, LATENT, Layer, Sequential};

use super::config::ModelConfig;

const RELU: Layer = Layer::relu();
const LEAKY: Layer = Layer::leaky_relu(0.2);

/// A dense layer `from → to` without bias, with a norm.
fn normalized(from: usize, to: usize) -> [Layer; 2] {
    let norm = BatchNorm { affine: false, ..BatchNorm::new(to) };
    [Layer::linear(from, to, false), Layer::BatchNorm(norm)]
}

/// The latent as a side input.
fn latent() -> Layer {
    Layer::Join(Join { input: LATENT.into(), layers: Vec::new() })
}

/// From an image to its first hidden layer.
fn body(config: &ModelConfig) -> Vec<Layer> {
    let pixels = config.size.height * config.size.width * config.channels;
    vec![Layer::Flatten, Layer::linear(pixels, config.ndf, false), LEAKY]
}

/// The generator, which takes the latent as its side input too.
pub(super) fn generator(config: &ModelConfig) -> Sequential {
    let ModelConfig { nz, ngf, size, channels, .. } = *config;
    let mut layers = Vec::from(normalized(nz, ngf));
    layers.extend([RELU, latent()]);
    layers.extend(normalized(ngf + nz, ngf));
    layers.push(RELU);
    layers.push(Layer::project([size.height, size.width], channels, ngf, false));
    layers.extend([Layer::Identity, Layer::Sigmoid]);
    Sequential { layers }
}

/// From an image to `outputs` outputs.
pub(super) fn encoder(config: &ModelConfig, outputs: usize) -> Sequential {
    let mut layers = body(config);
    layers.extend(normalized(config.ndf, config.ndf));
    layers.extend([LEAKY, Layer::linear(config.ndf, outputs, false)]);
    Sequential { layers }
}

/// The discriminator of images, or of pairs of an image and a latent.
pub(super) fn discriminator(config: &ModelConfig, is_joint: bool) -> Sequential {
    let ModelConfig { nz, ndf, .. } = *config;
    let mut layers = body(config);
    layers.extend(is_joint.then(latent));
    layers.extend(normalized(if is_joint { ndf + nz } else { ndf }, ndf));
    layers.extend([LEAKY, Layer::linear(ndf, 1, false)]);
    Sequential { layers }
}
