//! The networks of the stacked GAN's MNIST code (Huang et al., arXiv 1612.04357, and the authors'
//! `train_independent.py`). At 28×28, with `ngf` 64, `ndf` 32 and latents of 50 + 50 numbers:
//!
//! ```text
//! E   x:      conv 5×5 32, pool; conv 5×5 32, pool; dense 256 = h1, ReLU; dense classes
//! G1  z1, y:  dense 512, 512, batch norm and ReLU; dense 256, ReLU
//! D1  h1:     dense 256, 256, leaky ReLU; dense 1 + 50
//! G0  h1, z0: beside dense 128 of z0; dense 4×4×128; convT 5×5: 8×8×128, 12×12×64, 24×24×64; 28×28, sigmoid
//! D0  x:      conv 5×5, stride 2: 32, 64, 128, leaky ReLU; dense 256; dense 1 + 50
//! ```
//!
//! All layers of G1 and G0 but the last have batch norm and ReLU, and D1 and D0 have no norm. The
//! convolutions of stride 1 are not padded, so that a side is a multiple of 4, at least 16. Other
//! architectures can be stacked too: their generator is G0, their discriminator D0 and, with other
//! outputs, E.

use crate::error::{Error, Result};
use crate::nn::{Heads, Join, Label, Layer, LayerRole, Layout, Sequential, WeightInit};
use crate::ops::conv::ConvSpec;

use super::config::{Architecture, ModelConfig};
use super::parts::{Codes, Conditioning, End, Minibatch, Stack, covering};

/// The smallest side: one pixel at its smallest feature map.
const LEAST: usize = 16;

/// Widths in units of `ngf` or `ndf`: of dense layers, and of the layer of z0.
const DENSE: usize = 8;
const NOISE: usize = 2;

const RELU: Layer = Layer::relu();
const LEAKY: Layer = Layer::leaky_relu(0.2);

/// E's initial weights, Lasagne's default. They make features of variance about 0.5, as the authors' are:
/// with larger ones the condition outweighs the entropy loss.
const GLOROT: WeightInit = WeightInit::Xavier { gain: 1.0, uniform: true };

/// The parts of a latent: of the features, and of the image.
pub const Z1: &str = "z1";
/// See [`Z1`].
pub const Z0: &str = "z0";

/// The networks of a stacked GAN.
#[derive(Clone, Debug)]
pub struct Stacked {
    /// E, from images to class logits.
    pub classifier: Sequential,
    /// G1, from z1 and a class to h1.
    pub feature_generator: Sequential,
    /// D1, from h1 to a logit and a prediction of z1.
    pub feature_discriminator: Sequential,
    /// G0, from h1 and z0 to images.
    pub generator: Sequential,
    /// D0, from images to a logit and a prediction of z0.
    pub discriminator: Sequential,
    /// The parts of a latent, of equal length: [`Z1`] and [`Z0`].
    pub parts: Heads,
}

/// The geometry of a 5×5 convolution from a side of `large`.
fn kernel(large: [usize; 2], stride: usize) -> Result<ConvSpec> {
    let pad = if stride == 1 { 0 } else { 2 };
    ConvSpec::down(large, [5, 5], [stride; 2], [pad; 2]).map_err(|what| Error::config("size", what))
}

/// The smallest feature map of G0 and E.
fn base(config: &ModelConfig) -> Result<[usize; 2]> {
    config.size.base()?;
    let sides = [config.size.height, config.size.width];
    match sides.iter().all(|side| side.is_multiple_of(4) && *side >= LEAST) {
        true => Ok(sides.map(|side| side / 4 - 3)),
        false => {
            let what = format!(
                "{}: the networks of {} need sides that are multiples of 4, from {LEAST} on; another \
                 `network` has others",
                config.size, config.network
            );
            Err(Error::config("size", what))
        }
    }
}

/// The generator from a latent alone.
///
/// # Errors
/// [`Error::Config`] if the size does not suit it.
pub(super) fn generator(config: &ModelConfig) -> Result<Sequential> {
    let base = base(config)?;
    let (wide, narrow) = (2 * config.ngf, config.ngf);
    let mut stack = Stack::generator(config);
    let bias = stack.bias();
    let from = config.nz + stack.label();
    stack.push(Layer::project(base, wide, from, bias));
    stack.push(Layer::Identity); // the reshape to an image
    match stack.norm_layer(wide) {
        // The authors normalize the vector, each entry separately.
        Some(Layer::BatchNorm(norm)) => {
            stack.push(Layer::BatchNorm(crate::nn::BatchNorm { cells: base, ..norm }));
        }
        _ => stack.norm(wide),
    }
    stack.push(RELU);
    let twice = base.map(|side| 2 * side);
    let more = twice.map(|side| side + 4);
    let again = more.map(|side| 2 * side);
    let mut from = wide;
    for (large, stride, to) in [(twice, 2, wide), (more, 1, narrow), (again, 2, narrow)] {
        let labels = stack.label();
        stack.push(Layer::conv_transpose(kernel(large, stride)?, to, from + labels, bias));
        stack.norm(to);
        stack.push(RELU);
        from = to;
    }
    let labels = stack.label();
    let whole = kernel([config.size.height, config.size.width], 1)?;
    stack.push(Layer::conv_transpose(whole, config.channels, from + labels, true));
    stack.pixels();
    stack.finish()
}

/// The discriminator of images.
///
/// # Errors
/// See [`generator`].
pub(super) fn discriminator(config: &ModelConfig, mut stack: Stack<'_>) -> Result<Sequential> {
    base(config)?;
    let bias = stack.bias();
    let mut size = [config.size.height, config.size.width];
    let mut from = config.channels;
    for to in [1, 2, 4].map(|width| width * config.ndf) {
        let spec = kernel(size, 2)?;
        let labels = stack.label();
        stack.push(Layer::conv(spec, from + labels, to, bias));
        stack.norm(to);
        stack.push(LEAKY);
        (size, from) = (spec.small, to);
    }
    let dense = DENSE * config.ndf;
    stack.push(Layer::Identity); // the flattening
    stack.push(covering(size, from, dense, Layout::Flatten, bias));
    stack.norm(dense);
    stack.push(LEAKY);
    stack.head([1, 1, dense], End::Vector, true);
    stack.finish()
}

/// The layers of E up to h1, of `features` numbers.
fn encoder(config: &ModelConfig, features: usize) -> Result<Sequential> {
    if config.network != Architecture::Stacked {
        return config.body(features);
    }
    base(config)?;
    let mut layers = Vec::new();
    let mut size = [config.size.height, config.size.width];
    let mut from = config.channels;
    for _ in 0..2 {
        let spec = kernel(size, 1)?;
        layers.extend([Layer::conv(spec, from, config.ndf, true), RELU, Layer::MaxPool]);
        (size, from) = (spec.small.map(|side| side / 2), config.ndf);
    }
    layers.push(Layer::Identity); // the flattening
    layers.push(covering(size, from, features, Layout::Flatten, true));
    Ok(Sequential { layers: layers.into_iter().map(|layer| layer.initialized(GLOROT)).collect() })
}

impl ModelConfig {
    /// The networks of a stacked GAN that generates such images.
    ///
    /// # Errors
    /// [`Error::Config`] if the size does not suit them, or the latent cannot be halved.
    pub fn stacked(&self) -> Result<Stacked> {
        self.validate()?;
        let Self { classes, nz, ngf, ndf, .. } = *self;
        if !nz.is_multiple_of(2) {
            let what = format!(
                "{nz} is odd: half of a latent is for the features, and half for the image"
            );
            return Err(Error::config("nz", what));
        }
        let (half, features) = (nz / 2, DENSE * ndf);
        let plain = Self {
            classes: 0,
            conditioning: Conditioning::Concat,
            codes: Codes::default(),
            minibatch: Minibatch::None,
            ..*self
        };
        let normalized =
            |from: usize, to: usize| [Layer::linear(from, to, false), Layer::batch_norm(to), RELU];
        let dense = |from: usize, to: usize| [Layer::linear(from, to, true), LEAKY];

        let mut classifier = encoder(&plain, features)?;
        classifier.layers.push(RELU);
        classifier.layers.push(Layer::linear(features, classes, true).initialized(GLOROT));

        let (wide, noise) = (DENSE * ngf, NOISE * ngf);
        let mut feature_generator = vec![Layer::Label(Label { classes })];
        feature_generator.extend(normalized(half + classes, wide));
        feature_generator.extend(normalized(wide, wide));
        feature_generator.extend([Layer::linear(wide, features, true), RELU]);

        let mut feature_discriminator = Vec::from(dense(features, DENSE * ndf));
        feature_discriminator.extend(dense(DENSE * ndf, DENSE * ndf));
        feature_discriminator.push(Layer::linear(DENSE * ndf, 1 + half, true));

        let image = Self { nz: features + noise, ..plain }.generator()?;
        let join = Join { input: Z0.into(), layers: normalized(half, noise).into() };
        let generator = [Layer::Join(join)].into_iter().chain(image.layers).collect();
        Ok(Stacked {
            classifier,
            feature_generator: Sequential { layers: feature_generator },
            feature_discriminator: Sequential { layers: feature_discriminator },
            generator: Sequential { layers: generator },
            discriminator: plain.body(1 + half)?,
            parts: Heads::new([(Z1, half), (Z0, half)]),
        })
    }
}

/// The index of the layer of a classifier whose output is h1: the activation before its last layer with
/// weights.
#[must_use]
pub fn feature_layer(classifier: &Sequential) -> Option<usize> {
    let last = classifier.layers.iter().rposition(|l| l.role() == LayerRole::Weights)?;
    last.checked_sub(1)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;
    use crate::models::Size;
    use crate::nn::LABELS;

    fn config(network: Architecture, side: usize) -> ModelConfig {
        let size = Some(Size { height: side, width: side });
        ModelConfig { channels: 1, classes: 10, ..ModelConfig::usual(network, size) }
    }

    /// Weights without biases and norms, and the sizes after layers with weights.
    fn count(network: &Sequential) -> usize {
        let weights = network.params("n").into_iter().filter(|p| p.shape.len() == 4);
        weights.map(|p| p.shape.iter().product::<usize>()).sum()
    }

    #[test]
    fn networks_for_28_are_the_authors() {
        let all = config(Architecture::Stacked, 28).stacked().unwrap();
        let sides = [("z1", [1, 1, 50]), ("z0", [1, 1, 50]), (LABELS, [1, 1, 10])];
        let sizes = |network: &Sequential, input| {
            let sizes = network.sizes_beside(input, &sides).unwrap();
            let own = |l: &Layer| l.role() == LayerRole::Weights;
            let each = network.layers.iter().zip(sizes).filter(|(layer, _)| own(layer));
            each.map(|(_, [h, _, c])| [h, c]).collect::<Vec<_>>()
        };
        let image = [28, 28, 1];
        assert_eq!(sizes(&all.classifier, image), [[24, 32], [8, 32], [1, 256], [1, 10]]);
        assert_eq!(sizes(&all.feature_generator, [1, 1, 50]), [[1, 512], [1, 512], [1, 256]]);
        assert_eq!(sizes(&all.feature_discriminator, [1, 1, 256]), [[1, 256], [1, 256], [1, 51]]);
        let up = [[4, 128], [8, 128], [12, 64], [24, 64], [28, 1]];
        assert_eq!(sizes(&all.generator, [1, 1, 256]), up);
        let down = [[14, 32], [7, 64], [4, 128], [1, 256], [1, 51]];
        assert_eq!(sizes(&all.discriminator, image), down);
        // The published sizes in thousands: G1 .42 M, G0 1.51 M, D0 .79 M.
        let counts = [&all.feature_generator, &all.generator, &all.discriminator].map(count);
        assert_eq!(counts, [423_936, 1_511_232, 794_144]);
        let at = feature_layer(&all.classifier).unwrap();
        assert_eq!((at + 2, &all.classifier.layers[at]), (all.classifier.layers.len(), &RELU));
    }

    #[test]
    fn sizes_are_multiples_of_four_or_another_networks() {
        for side in [16, 20, 24, 32, 48, 64] {
            config(Architecture::Stacked, side).stacked().unwrap();
        }
        config(Architecture::Dcgan, 64).stacked().unwrap();
        let error = config(Architecture::Stacked, 12).stacked().unwrap_err().to_string();
        assert!(error.contains("multiples of 4, from 16 on"), "{error}");
        let odd = ModelConfig { nz: 7, ..config(Architecture::Stacked, 28) };
        assert!(odd.stacked().unwrap_err().to_string().contains("7 is odd"));
    }
}
