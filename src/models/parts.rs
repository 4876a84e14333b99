//! The parts that all architectures share: a stack of layers with the configured norms, labels,
//! weights, attention and last layer.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::config::{named, typed};
use crate::error::{Error, Result};
use crate::nn::{
    self, Attention, BATCH_NORM_EPS, ConditionalBatchNorm, Conv, Gaussian, GroupNorm, Join, LABELS,
    Label, Layer, LayerRole, Layout, MinibatchDiscrimination, MinibatchStd, Parametrization,
    PixelNorm, Projection, Reference, Sequential, TEXT, VirtualBatchNorm,
};
use crate::ops::conv::ConvSpec;

use super::config::{LatentDistribution, ModelConfig};
use super::stackgan::E1;
use crate::model::Pixels;

/// The norm of a network's hidden layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Norm {
    /// Batch norm.
    #[default]
    Batch,
    /// Layer norm over height, width and channels.
    Layer,
    /// Instance norm.
    Instance,
    /// Group norm with 32 groups, or the most that divide the channels below that.
    Group,
    /// Pixel norm.
    Pixel,
    /// Virtual batch norm, for generators.
    Virtual,
    /// Batch norm with the scale and shift of the image's class, for generators.
    Conditional,
    /// No norm.
    None,
}

/// Biases of hidden layers whose outputs are normalized. A norm with its own shift (all but
/// [`Norm::Pixel`]) replaces a bias.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Bias {
    /// The architecture's default: DCGAN's networks and the generator of `mlp` have them if the
    /// norm is [`Norm::None`] or [`Norm::Pixel`], all others always.
    #[default]
    Auto,
    /// Never, whatever the norm.
    Never,
    /// Always, whatever the norm.
    Always,
}

/// How networks are conditioned on classes, if there are any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Conditioning {
    /// At the input of every layer of both networks (Mirza and Osindero, arXiv 1411.1784, and
    /// DCGAN's MNIST code).
    #[default]
    Concat,
    /// AC-GAN (Odena, Olah and Shlens, arXiv 1610.09585): the generator is conditional, and the
    /// discriminator has to predict the class.
    Auxiliary,
    /// The projection discriminator (Miyato and Koyama, arXiv 1802.05637).
    Projection,
    /// Semi-supervised (Salimans et al., arXiv 1606.03498, section 5): the generator is
    /// unconditional, and the discriminator is a classifier, whose score is the log-sum-exp of its
    /// class logits: the K + 1st class, of generated images, has the logit 0.
    Semi,
}

/// How the discriminator compares the images of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Minibatch {
    /// Not at all.
    #[default]
    None,
    /// Minibatch discrimination before its last layer, with [`KERNELS`] kernels of [`DIMS`]
    /// dimensions (Salimans et al., arXiv 1606.03498, section 3.2, and their code).
    Discrimination,
    /// Minibatch standard deviation at its smallest feature map (Karras et al., arXiv 1710.10196,
    /// section 3).
    Deviation,
}

/// InfoGAN's codes (Chen et al., arXiv 1606.03657): the last entries of a latent, which the
/// discriminator has to recognize in the images. Typed as `10+2`: a category out of ten and two
/// continuous codes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Codes {
    /// Categories; 0 for none.
    pub categories: usize,
    /// Continuous codes in (−1, 1).
    pub numbers: usize,
}

impl Codes {
    /// Entries of the latent that they take.
    #[must_use]
    pub const fn len(self) -> usize {
        self.categories.saturating_add(self.numbers)
    }

    /// Whether there are no codes.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.len() == 0
    }
}

impl fmt::Display for Codes {
    /// As typed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}+{}", self.categories, self.numbers))
    }
}

/// More than this cannot be recognized.
const MOST_CODES: usize = 1000;

impl std::str::FromStr for Codes {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let fail = || {
            format!(
                "{text:?} is no pair such as 10+2: categories (0, or 2 to {MOST_CODES}) and numbers \
                 (0 to {MOST_CODES})"
            )
        };
        let (categories, numbers) = text.split_once('+').ok_or_else(fail)?;
        let count = |text: &str| text.parse().ok().filter(|&n| n <= MOST_CODES);
        match (count(categories), count(numbers)) {
            (Some(categories), Some(numbers)) if categories != 1 => {
                Ok(Self { categories, numbers })
            }
            _ => Err(fail()),
        }
    }
}

impl TryFrom<String> for Codes {
    type Error = String;

    fn try_from(text: String) -> std::result::Result<Self, String> {
        text.parse()
    }
}

impl From<Codes> for String {
    fn from(codes: Codes) -> Self {
        codes.to_string()
    }
}

/// Kernels of minibatch discrimination.
pub const KERNELS: usize = 100;
/// Dimensions of each kernel.
pub const DIMS: usize = 5;

/// Images of the reference batch of virtual batch norm.
const REFERENCE: usize = 64;

/// ε of pixel norm (Karras et al., arXiv 1710.10196, section 4.2).
const PIXEL_NORM_EPS: f32 = 1e-8;

/// The most groups of group norm (Wu and He, arXiv 1803.08494, section 4.1).
const GROUPS: usize = 32;

named!(Norm, Bias, Conditioning, Minibatch);
typed!(Codes);

/// Length of the embedding of a text.
const EMBEDDING: usize = 128;

/// The slope of leaky ReLU on embeddings.
const SLOPE: f32 = 0.2;

/// How a discriminator's last layer reads its smallest feature map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Through a convolution whose kernel covers it.
    Cover,
    /// As a vector.
    Vector,
    /// Through the sum of its pixels.
    Sum,
}

/// A network while it is being built.
pub(super) struct Stack<'a> {
    config: &'a ModelConfig,
    is_generator: bool,
    /// Outputs of the last layer of a network other than a generator.
    outputs: usize,
    /// The name of the noise that a text is drawn with.
    noise: &'static str,
    layers: Vec<Layer>,
}

impl<'a> Stack<'a> {
    /// A generator, before its first layer.
    pub(super) fn generator(config: &'a ModelConfig) -> Self {
        let mut stack = Self::bare_generator(config, E1);
        if config.norm_g == Norm::Virtual {
            let uniform = config.network.latent_distribution() == LatentDistribution::Uniform;
            let size = [1, 1, config.nz];
            stack.push(Layer::Reference(Reference { count: REFERENCE, size, uniform }));
        }
        if !config.codes.is_empty() {
            let Codes { categories, numbers } = config.codes;
            let uniform = config.network.latent_distribution() == LatentDistribution::Uniform;
            stack.push(Layer::Codes(nn::Codes { categories, numbers, uniform }));
        }
        stack
    }

    /// A generator that does not take latents, before its first layer; a text is drawn with this noise.
    pub(super) fn bare_generator(config: &'a ModelConfig, noise: &'static str) -> Self {
        Self { config, is_generator: true, outputs: 0, noise, layers: Vec::new() }
    }

    /// A discriminator, before its first layer.
    pub(super) fn discriminator(config: &'a ModelConfig) -> Self {
        Self::encoder(config, 1 + config.heads())
    }

    /// A network like a discriminator with `outputs` outputs.
    pub(super) fn encoder(config: &'a ModelConfig, outputs: usize) -> Self {
        Self { config, is_generator: false, outputs, noise: E1, layers: Vec::new() }
    }

    pub(super) fn push(&mut self, layer: Layer) {
        self.layers.push(layer);
    }

    fn kind(&self) -> Norm {
        if self.is_generator { self.config.norm_g } else { self.config.norm_d }
    }

    /// Whether a layer before a norm has a bias, in networks that leave it to the norm.
    pub(super) fn bias(&self) -> bool {
        self.bias_or(matches!(self.kind(), Norm::None | Norm::Pixel))
    }

    /// Whether a layer before a norm has a bias, in networks with the default `usual`.
    pub(super) fn bias_or(&self, usual: bool) -> bool {
        match self.config.bias {
            Bias::Auto => usual,
            Bias::Never => false,
            Bias::Always => true,
        }
    }

    /// The norm of a feature map of `channels` channels.
    pub(super) fn norm_layer(&self, channels: usize) -> Option<Layer> {
        let eps = BATCH_NORM_EPS;
        Some(match self.kind() {
            Norm::Batch => Layer::batch_norm(channels),
            Norm::Layer => Layer::layer_norm(channels),
            Norm::Instance => Layer::instance_norm(channels),
            Norm::Group => {
                let groups = (1..=GROUPS).rev().find(|n| channels.is_multiple_of(*n)).unwrap_or(1);
                Layer::GroupNorm(GroupNorm { groups, channels, eps })
            }
            Norm::Pixel => Layer::PixelNorm(PixelNorm { eps: PIXEL_NORM_EPS }),
            Norm::Virtual => Layer::VirtualBatchNorm(VirtualBatchNorm { channels, eps }),
            Norm::Conditional => Layer::ConditionalBatchNorm(ConditionalBatchNorm {
                channels,
                classes: self.config.classes,
                eps,
            }),
            Norm::None => return None,
        })
    }

    /// Normalizes a feature map of `channels` channels.
    pub(super) fn norm(&mut self, channels: usize) {
        let norm = self.norm_layer(channels);
        self.layers.extend(norm);
    }

    /// Appends the class to the next layer's input, if configured; returns the added channels.
    pub(super) fn label(&mut self) -> usize {
        let ModelConfig { classes, conditioning, norm_g, .. } = *self.config;
        let labels = |layer: &Layer| layer.side_input() == Some(LABELS);
        let tells = match conditioning {
            Conditioning::Concat => true,
            Conditioning::Semi => false,
            _ => {
                self.is_generator && norm_g != Norm::Conditional && !self.layers.iter().any(labels)
            }
        };
        if classes == 0 || !tells {
            return 0;
        }
        self.push(Layer::Label(Label { classes }));
        classes
    }

    /// Appends the embedding of the text to the next layer's input, if configured: a dense layer and
    /// a leaky ReLU, normalized in a discriminator (Reed et al., arXiv 1605.05396, section 4).
    /// With conditioning augmentation a generator gets a draw from the distribution of the text
    /// instead. Returns the added channels.
    pub(super) fn text(&mut self) -> usize {
        let width = self.config.text;
        if width == 0 {
            return 0;
        }
        let drawn = self.config.text_augment;
        if drawn > 0 && self.is_generator {
            let layers = vec![
                Layer::linear(width, 2 * drawn, true),
                Layer::Gaussian(Gaussian { noise: self.noise.into() }),
            ];
            self.push(Layer::Join(Join { input: TEXT.into(), layers }));
            return drawn;
        }
        let bias = self.is_generator || self.bias();
        let mut layers = vec![Layer::linear(width, EMBEDDING, bias)];
        if !self.is_generator {
            layers.extend(self.norm_layer(EMBEDDING));
        }
        layers.push(Layer::leaky_relu(SLOPE));
        self.push(Layer::Join(Join { input: TEXT.into(), layers }));
        EMBEDDING
    }

    /// The last layer of a generator, which outputs pixels.
    pub(super) fn pixels(&mut self) {
        self.push(match self.config.network.pixels() {
            Pixels::Signed => Layer::Tanh,
            Pixels::Unit => Layer::Sigmoid,
        });
    }

    /// Ends a discriminator after a feature map of height, width and channels `size`.
    pub(super) fn head(&mut self, [h, w, mut c]: [usize; 3], end: End, bias: bool) {
        let ModelConfig { classes, conditioning, minibatch, .. } = *self.config;
        let outputs = self.outputs;
        if minibatch == Minibatch::Deviation {
            self.push(Layer::MinibatchStd(MinibatchStd { group: 0 }));
            c += 1;
        }
        if classes > 0 && conditioning == Conditioning::Projection {
            self.push(Layer::SumPool);
            self.push(Layer::Projection(Projection::new(c, classes)));
            return;
        }
        if minibatch == Minibatch::Discrimination {
            let mut features = h * w * c;
            if end == End::Sum {
                self.push(Layer::SumPool);
                features = c;
            } else {
                self.push(Layer::Flatten);
            }
            self.push(Layer::MinibatchDiscrimination(MinibatchDiscrimination {
                features,
                kernels: KERNELS,
                dims: DIMS,
            }));
            let labels = self.label();
            self.push(Layer::linear(features + KERNELS + labels, outputs, true));
            return;
        }
        let tells = classes > 0 && conditioning == Conditioning::Concat;
        match end {
            End::Cover => {
                let labels = self.label();
                self.push(covering([h, w], c + labels, outputs, Layout::Conv, bias));
            }
            End::Vector if tells => {
                // Appended to the vector once, rather than to each of its pixels.
                self.push(Layer::Flatten);
                let labels = self.label();
                self.push(covering([1, 1], h * w * c + labels, outputs, Layout::Conv, bias));
            }
            End::Vector => {
                if [h, w] != [1, 1] {
                    self.push(Layer::Identity); // the flattening
                }
                self.push(covering([h, w], c, outputs, Layout::Flatten, bias));
            }
            End::Sum => {
                self.push(Layer::SumPool);
                let labels = self.label();
                self.push(Layer::linear(c + labels, outputs, bias));
            }
        }
    }

    /// The network, with attention and its kind of weights. If weight norm keeps its lengths fixed,
    /// the last layer still learns its own, as in the authors' code: they express the network's
    /// confidence.
    ///
    /// # Errors
    /// [`Error::Config`] if there is no feature map to attend to.
    pub(super) fn finish(mut self) -> Result<Sequential> {
        if self.config.attention > 0 {
            self.attend()?;
        }
        let weight = if self.is_generator { self.config.weight_g } else { self.config.weight_d };
        let weighs = |layer: &Layer| layer.role() == LayerRole::Weights;
        let last = self.layers.iter().rposition(weighs);
        let weighted = |(i, layer): (usize, Layer)| match weight {
            Parametrization::Plain => layer,
            Parametrization::NormFixed if Some(i) == last => layer.weighted(Parametrization::Norm),
            weight => layer.weighted(weight),
        };
        Ok(Sequential { layers: self.layers.into_iter().enumerate().map(weighted).collect() })
    }

    /// Inserts self-attention after the last activation whose feature map has the requested height.
    fn attend(&mut self) -> Result<()> {
        let ModelConfig { size, channels, nz, attention, .. } = *self.config;
        let input =
            if self.is_generator { [1, 1, nz] } else { [size.height, size.width, channels] };
        let sizes = Sequential { layers: self.layers.clone() }
            .sizes(input)
            .map_err(|what| Error::config("attention", what))?;
        let hidden =
            |layer: &Layer| [LayerRole::Activation, LayerRole::Block].contains(&layer.role());
        let places = || {
            let each = self.layers.iter().zip(&sizes).enumerate();
            each.filter(|(_, (layer, [h, w, c]))| {
                hidden(layer) && h.min(w) > &1 && h % 2 == 0 && w % 2 == 0 && c % 8 == 0
            })
        };
        let found = places().rfind(|(_, (_, [h, ..]))| *h == attention);
        let Some((at, (_, &[_, _, channels]))) = found else {
            let mut sides: Vec<usize> = places().map(|(_, (_, [h, ..]))| *h).collect();
            sides.sort_unstable();
            sides.dedup();
            let sides: Vec<String> = sides.iter().map(ToString::to_string).collect();
            let network = if self.is_generator { "generator" } else { "discriminator" };
            let what = format!(
                "the {network} has no feature map {attention} high with a multiple of 8 \
                 channels; there are some of {}",
                if sides.is_empty() { "no height".into() } else { sides.join(", ") }
            );
            return Err(Error::config("attention", what));
        };
        self.layers.insert(at + 1, Layer::Attention(Attention::new(channels)));
        Ok(())
    }
}

/// A layer whose kernel covers the whole of an image of size `cells`, stored as `layout` says.
pub(super) fn covering(
    cells: [usize; 2],
    from: usize,
    to: usize,
    layout: Layout,
    bias: bool,
) -> Layer {
    let (weight, start) = Default::default();
    let spec = ConvSpec::dense(cells);
    Layer::Conv(Conv { spec, large: from, small: to, layout, bias, weight, start })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::{Architecture, Size};

    /// The layers of both networks that have biases, apart from norms.
    fn biased(network: Architecture, norm: Norm, bias: Bias) -> [Vec<String>; 2] {
        let size = Size { height: 32, width: 32 };
        let usual = ModelConfig::usual(network, Some(size));
        let config = ModelConfig { ngf: 8, ndf: 8, norm_g: norm, norm_d: norm, bias, ..usual };
        [config.generator(), config.discriminator()].map(|network| {
            let network = network.expect("32 works");
            let weights = network.params("");
            let is_weighted = |layer: &str| {
                let name = format!("{layer}.weight");
                weights.iter().any(|p| p.name == name && p.shape.len() == 4)
            };
            let layers = weights.iter().filter_map(|p| p.name.strip_suffix(".bias"));
            layers.filter(|layer| is_weighted(layer)).map(|layer| layer[1..].to_owned()).collect()
        })
    }

    #[test]
    fn biases_are_where_no_norm_is_or_as_they_are_asked_for() {
        let of = |network, norm, bias| biased(network, norm, bias);
        let none: [&[&str]; 2] = [&[], &[]];
        let hidden: [&[&str]; 2] = [&["main.0", "main.2", "main.4"], &["main.2", "main.4"]];
        assert_eq!(of(Architecture::Dcgan, Norm::None, Bias::Auto), hidden);
        assert_eq!(of(Architecture::Dcgan, Norm::None, Bias::Always), hidden);
        assert_eq!(of(Architecture::Dcgan, Norm::None, Bias::Never), none);
        assert_eq!(of(Architecture::Dcgan, Norm::Batch, Bias::Auto), none);
        let normed: [&[&str]; 2] = [&["main.0", "main.3", "main.6"], &["main.2", "main.5"]];
        assert_eq!(of(Architecture::Dcgan, Norm::Batch, Bias::Always), normed);
        for network in [Architecture::Paper, Architecture::Mnist] {
            assert_eq!(of(network, Norm::None, Bias::Never), none, "{network}");
            assert_ne!(of(network, Norm::None, Bias::Auto), none, "{network}");
        }
        for network in [Architecture::Cnn, Architecture::Resnet, Architecture::Mlp] {
            let all = of(network, Norm::None, Bias::Always);
            let rest = of(network, Norm::None, Bias::Never);
            for ((all, rest), auto) in
                all.iter().zip(&rest).zip(of(network, Norm::None, Bias::Auto))
            {
                assert_eq!(*all, auto, "{network}");
                // The last layer keeps its bias, and so does the first of some.
                assert!(rest.last() == all.last() && rest.len() < all.len(), "{network}");
                assert!(rest.iter().all(|layer| all.contains(layer)), "{network}");
            }
        }
        let fixed =
            ModelConfig { bias: Bias::Never, ..ModelConfig::usual(Architecture::BiganMnist, None) };
        let error = fixed.validate().expect_err("its networks are fixed").to_string();
        assert!(error.contains("`bias`"), "{error}");
    }
}
