//! Model configuration.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::config::Stored::Required;
use crate::config::{Domain, config, named};
use crate::error::{Error, Result};
pub use crate::nn::LatentDistribution;
use crate::nn::{Heads, Param, Parametrization, Sequential};

use super::parts::{Bias, Codes, Conditioning, Minibatch, Norm, Stack};
use super::size::Size;
use super::{
    ali, bigan, cnn, dcgan, lapgan, mlp, progressive, resnet, ss_gan, stacked, stackgan, vae_gan,
};
use crate::model::pipeline::{Call, IMAGES};
use crate::model::{Networks, Pipeline, Pixels, Role};
use crate::text::TextEncoder;

/// The architecture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "kebab-case")]
pub enum Architecture {
    /// PyTorch's DCGAN example: 4×4 kernels, normal latents; weights are exchangeable.
    #[default]
    #[serde(alias = "pytorch")]
    Dcgan,
    /// The DCGAN paper and its authors' code: 5×5 kernels, uniform latents, a linear projection.
    #[serde(rename = "dcgan-paper", alias = "paper")]
    #[cfg_attr(feature = "cli", value(name = "dcgan-paper"))]
    Paper,
    /// The authors' MNIST code: the paper's with one more dense layer in both networks and pixels
    /// from 0 to 1.
    #[serde(rename = "dcgan-mnist", alias = "mnist")]
    #[cfg_attr(feature = "cli", value(name = "dcgan-mnist"))]
    Mnist,
    /// The standard CNN of spectral norm's paper, without its spectral norm.
    Cnn,
    /// The residual networks of the same paper.
    Resnet,
    /// Dense layers: those of Improved GAN's MNIST code.
    Mlp,
    /// The dense networks of BiGAN's MNIST code.
    BiganMnist,
    /// The convolutional networks of ALI's CIFAR-10 code.
    Ali,
    /// The networks of VAE/GAN's authors.
    VaeGan,
    /// The networks of the stacked GAN's MNIST code.
    Stacked,
    /// Those of progressive growing.
    Progressive,
    /// The networks of LAPGAN's authors.
    Lapgan,
    /// The networks of SS-GAN.
    SsGan,
}

named!(Architecture);

impl Architecture {
    /// Its defaults: one row each.
    const fn usual(self) -> Usual {
        use LatentDistribution::{Normal, Uniform};
        use Pixels::{Signed, Unit};
        match self {
            Self::Dcgan => usual(Normal, Signed, 64, 100, (64, 64), 64, Norm::Batch),
            Self::Paper => usual(Uniform, Signed, 64, 100, (128, 128), 128, Norm::Batch),
            Self::Mnist => usual(Uniform, Unit, 28, 100, (64, 128), 128, Norm::Batch),
            Self::Cnn => usual(Normal, Signed, 32, 128, (64, 64), 64, Norm::None),
            Self::Resnet => usual(Normal, Signed, 32, 128, (64, 64), 64, Norm::None),
            Self::Mlp => usual(Uniform, Unit, 28, 100, (500, 1000), 100, Norm::None),
            Self::BiganMnist => usual(Uniform, Unit, 28, 50, (1024, 1024), 128, Norm::Batch),
            Self::Ali => usual(Normal, Unit, 32, 64, (32, 32), 100, Norm::None),
            Self::VaeGan => usual(Normal, Signed, 64, 128, (32, 64), 64, Norm::Batch),
            Self::Stacked => usual(Uniform, Unit, 28, 100, (64, 32), 100, Norm::None),
            Self::Progressive => usual(Normal, Signed, 64, 128, (32, 32), 16, Norm::None),
            Self::Lapgan => usual(Uniform, Signed, 32, 100, (64, 64), 128, Norm::None),
            Self::SsGan => usual(Uniform, Signed, 32, 200, (32, 32), 32, Norm::None),
        }
    }

    /// Its latent distribution.
    #[must_use]
    pub const fn latent_distribution(self) -> LatentDistribution {
        self.usual().latent_distribution
    }

    /// Default widths of both networks (`ngf`, `ndf`) for images of a size.
    #[must_use]
    pub fn widths(self, size: Size) -> (usize, usize) {
        match self {
            Self::Resnet if resnet::is_small(size) => (256, 128),
            _ => self.usual().widths,
        }
    }

    /// Default batch.
    #[must_use]
    pub const fn batch(self) -> usize {
        self.usual().batch
    }

    /// Default side of images.
    #[must_use]
    pub const fn side(self) -> usize {
        self.usual().side
    }

    /// Default length of a latent vector for images of a size.
    #[must_use]
    pub fn nz(self, size: Size) -> usize {
        match self {
            Self::VaeGan if size.height.min(size.width) < self.side() => 256,
            _ => self.usual().nz,
        }
    }

    /// Its discriminator's default norm.
    const fn norm_d(self) -> Norm {
        self.usual().norm_d
    }

    /// The range of pixel values.
    #[must_use]
    pub const fn pixels(self) -> Pixels {
        self.usual().pixels
    }
}

/// The defaults of an architecture.
struct Usual {
    latent_distribution: LatentDistribution,
    pixels: Pixels,
    side: usize,
    nz: usize,
    /// `ngf` and `ndf`.
    widths: (usize, usize),
    batch: usize,
    norm_d: Norm,
}

const fn usual(
    latent_distribution: LatentDistribution,
    pixels: Pixels,
    side: usize,
    nz: usize,
    widths: (usize, usize),
    batch: usize,
    norm_d: Norm,
) -> Usual {
    Usual { latent_distribution, pixels, side, nz, widths, batch, norm_d }
}

config! {
    /// Model configuration.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct ModelConfig;
    /// [`ModelConfig`] with optional fields.
    pub struct PartialModelConfig stored Changed;
    flags "Networks" {
        /// Architecture: dcgan, dcgan-paper, dcgan-mnist, cnn, resnet, mlp, bigan-mnist, ali, vae-gan,
        /// stacked, progressive, lapgan, ss-gan.
        /// dcgan: the networks of PyTorch's DCGAN example; dcgan-paper: those of the DCGAN paper and its
        /// authors' code; dcgan-mnist: those of the authors' MNIST code, with dense layers; cnn and
        /// resnet: those of spectral norm's paper; mlp: the dense ones of Improved GAN's MNIST code;
        /// bigan-mnist: those of BiGAN's; ali: those of ALI's CIFAR-10 code; vae-gan: those of VAE/GAN's
        /// authors; stacked: those of the stacked GAN's MNIST code; progressive: those of
        /// progressive growing; lapgan: those of LAPGAN's authors; ss-gan: those of SS-GAN's authors
        #[serde(alias = "preset")]
        network: Architecture = Architecture::Dcgan, "NETWORK" { stored: Required, order: Some(1) };
        /// Size of images, 64 or 96x64 (height x width): 4 to 7 pixels, doubled 1 to 6 times, at most
        /// 256
        size: Size = Size { height: 64, width: 64 }, "SIZE" {
            stored: Required,
            shown: Some("64; cnn, resnet, ali and ss-gan: 32; dcgan-mnist and mlp: 28"),
        };
        /// Channels of images: 1 (grayscale), 3 (RGB) or 4 (RGBA)
        channels: usize = 3, "1|3|4" {
            stored: Required,
            shown: Some("3, or 1 for IDX files"),
            domain: CHANNELS,
        };
        /// Length of a latent vector
        nz: usize = 100, "N" {
            stored: Required,
            shown: Some("100; cnn, resnet, vae-gan: 128; ss-gan: 200; ali: 64; bigan-mnist: 50"),
            domain: WIDTHS,
        };
        /// Width of the generator: channels of its last feature map
        ngf: usize = 64, "N" {
            stored: Required,
            shown: Some("64 for most networks"),
            domain: WIDTHS,
        };
        /// Width of the discriminator: channels of its first feature map
        ndf: usize = 64, "N" { stored: Required, shown: Some("64 for most"), domain: WIDTHS };
        /// The norm of the generator's hidden layers: batch, layer, instance, group, pixel,
        /// virtual, conditional (batch norm by class), none; biases as with `norm_d`
        norm_g: Norm = Norm::Batch, "NORM" { rare: true };
        /// The same for the discriminator: batch, layer, instance, group, pixel, none. Without a
        /// norm (none), or with pixel norm, which has no shift, layers of the dcgan networks that
        /// would be normalized have biases: see `bias`
        norm_d: Norm = Norm::Batch, "NORM" { rare: true, shown: Some("batch; none for cnn, resnet, mlp and ali") };
        /// The generator's weights: plain; divided by their spectral norm (spectral;
        /// spectral-parametrization updates its vectors in the order of PyTorch's newer function);
        /// with length and direction learned separately (norm: weight norm); or with learned
        /// directions and fixed lengths, except in the last layer (norm-fixed)
        weight_g: Parametrization = Parametrization::Plain, "HOW" { rare: true };
        /// The same for the discriminator; weight norm is initialized on real images, so that every
        /// layer's outputs have mean 0 and variance 1
        weight_d: Parametrization = Parametrization::Plain, "HOW" { rare: true };
        /// Biases of hidden layers whose outputs are normalized, in both networks: auto (those of dcgan,
        /// dcgan-paper, dcgan-mnist and the generator of mlp where the norm is none or pixel; those of
        /// the others always), never, always
        ///
        /// First layers of discriminators and last layers, which have no norm, keep their
        /// architecture's biases.
        bias: Bias = Bias::Auto, "auto|never|always" { rare: true };
        /// Self-attention in both networks, on the feature maps of this height; 0 for none
        attention: usize = 0, "HEIGHT" { rare: true, domain: Domain::from(0) };
        /// InfoGAN: let the last entries of a latent encode one of K categories and M continuous codes,
        /// which the discriminator has to recover; 10+2, say; 0+0 for none
        codes: Codes = Codes::default(), "K+M" { rare: true };
        /// Minibatch layer in the discriminator: discrimination, deviation or none
        minibatch: Minibatch = Minibatch::None, "HOW" { rare: true };
        /// For images from texts: the generator takes a text as N normal numbers, drawn from a
        /// distribution that a layer predicts from it (conditioning augmentation; StackGAN: 128); 0 for
        /// the same embedding every time
        text_augment: usize = 0, "N" { rare: true, domain: Domain::Whole(0, WIDEST) };
        /// With `family` stackgan, the side of images of stage 2 in those of stage 1
        upscale: usize = 2, "2|4" { rare: true, domain: UPSCALES };
    }
    others {
        /// Classes that the networks are conditioned on, or learn to classify; 0 for none.
        classes: usize = 0, { flag: Some("--conditional") };
        /// Length of the vectors of texts that the networks are conditioned on; 0 for none.
        text: usize = 0, { flag: Some("--family") };
        /// How they are conditioned on classes.
        conditioning: Conditioning = Conditioning::Concat, { flag: Some("--conditional") };
    }
    partial "Networks" {
        /// Condition both networks on class labels: images of a class can then be generated.
        /// Classes are DATA's folders, or the labels of CIFAR-10 and IDX files. concat: at every
        /// layer of both networks; auxiliary: the discriminator has to predict it (AC-GAN);
        /// projection: as the preset sngan-projection
        conditional: ClassCondition, "concat|auxiliary|projection|none" {
            shown: Some("none; without a value: concat"),
            order: Some(2),
        };
    }
}

/// Maximum channels of a layer and maximum length of a latent.
const WIDEST: u64 = 1 << 16;
const WIDTHS: Domain = Domain::Whole(1, WIDEST);

/// Allowed channels of images.
const CHANNELS: Domain =
    Domain::OneOf(&[1, 3, 4], "images have 1 (grayscale), 3 (RGB) or 4 (RGBA) channels");

/// Allowed factors between the sides of StackGAN's stages.
const UPSCALES: Domain = Domain::OneOf(&[2, 4], "stage 2 makes images of 2 or 4 times the side");

/// How new networks are conditioned on classes, if at all: the first three as in [`Conditioning`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "as above")]
pub enum ClassCondition {
    Concat,
    Auxiliary,
    Projection,
    None,
}

impl ClassCondition {
    /// That of a model configuration.
    #[must_use]
    pub fn of(config: &ModelConfig) -> Self {
        match config.conditioning {
            _ if !config.is_conditional() => Self::None,
            Conditioning::Concat => Self::Concat,
            Conditioning::Auxiliary => Self::Auxiliary,
            Conditioning::Projection => Self::Projection,
            Conditioning::Semi => Self::None,
        }
    }

    /// The kind of conditioning, if any.
    #[must_use]
    pub const fn conditioning(self) -> Option<Conditioning> {
        match self {
            Self::Concat => Some(Conditioning::Concat),
            Self::Auxiliary => Some(Conditioning::Auxiliary),
            Self::Projection => Some(Conditioning::Projection),
            Self::None => None,
        }
    }
}

named!(ClassCondition = "concat");

impl PartialModelConfig {
    /// The configuration of new networks with these options; unset ones get the network's defaults,
    /// see [`ModelConfig::usual`].
    #[must_use]
    pub fn config(&self) -> ModelConfig {
        let mut config = ModelConfig::usual(self.network.unwrap_or_default(), self.size);
        self.apply(&mut config);
        config
    }
}

impl ModelConfig {
    /// A network's defaults for RGB images of `size`, or of its default size.
    #[must_use]
    pub fn usual(network: Architecture, size: Option<Size>) -> Self {
        let side = network.side();
        let size = size.unwrap_or(Size { height: side, width: side });
        let (ngf, ndf) = network.widths(size);
        Self {
            network,
            size,
            nz: network.nz(size),
            ngf,
            ndf,
            norm_d: network.norm_d(),
            ..Self::default()
        }
    }
}

impl ModelConfig {
    /// The generator: `[n, 1, 1, nz]` to `[n, h, w, c]`, in [−1, 1], or in [0, 1] according to
    /// [`Architecture::pixels`].
    ///
    /// # Errors
    /// [`crate::error::Error::Config`] if the size does not suit the network.
    pub fn generator(&self) -> Result<Sequential> {
        self.validate()?;
        match self.network {
            Architecture::Dcgan | Architecture::Paper | Architecture::Mnist => {
                dcgan::generator(self)
            }
            Architecture::Cnn => cnn::generator(self),
            Architecture::Resnet => resnet::generator(self),
            Architecture::Mlp => mlp::generator(self),
            Architecture::BiganMnist => Ok(bigan::generator(self)),
            Architecture::Ali => ali::generator(self),
            Architecture::VaeGan => vae_gan::generator(self),
            Architecture::Stacked => stacked::generator(self),
            Architecture::Progressive => progressive::generator(self),
            Architecture::Lapgan => Ok(lapgan::generator(self)),
            Architecture::SsGan => ss_gan::generator(self),
        }
    }

    /// The discriminator: `[n, h, w, c]` to a logit or score and [`ModelConfig::heads`] auxiliary
    /// outputs, `[n, 1, 1, 1 + heads]`.
    ///
    /// # Errors
    /// [`crate::error::Error::Config`] if the size does not suit the network.
    pub fn discriminator(&self) -> Result<Sequential> {
        self.validate()?;
        let stack = Stack::discriminator(self);
        match self.network {
            Architecture::Dcgan | Architecture::Paper | Architecture::Mnist => {
                dcgan::discriminator(self, stack)
            }
            Architecture::Cnn => cnn::discriminator(self, stack),
            Architecture::Resnet => resnet::discriminator(self, stack),
            Architecture::Mlp => mlp::discriminator(self, stack),
            Architecture::BiganMnist => Ok(bigan::discriminator(self, false)),
            Architecture::Ali => ali::discriminator(self, false),
            Architecture::VaeGan => vae_gan::discriminator(self, stack),
            Architecture::Stacked => stacked::discriminator(self, stack),
            Architecture::Progressive => progressive::discriminator(self, 1 + self.heads()),
            Architecture::Lapgan => Ok(lapgan::discriminator(self, 1 + self.heads())),
            Architecture::SsGan => ss_gan::discriminator(self, 1 + self.heads()),
        }
    }

    /// Auxiliary outputs of the discriminator: class logits, then predicted codes (logits of the
    /// category, continuous codes).
    #[must_use]
    pub fn heads(&self) -> usize {
        let classes = match self.conditioning {
            Conditioning::Auxiliary => self.classes,
            Conditioning::Semi => self.classes.saturating_sub(1),
            Conditioning::Concat | Conditioning::Projection => 0,
        };
        classes.saturating_add(self.codes.len())
    }

    /// Whether images can be generated by class: the generator is conditional.
    #[must_use]
    pub fn is_conditional(&self) -> bool {
        self.classes > 0 && self.conditioning != Conditioning::Semi
    }

    /// Whether the discriminator is a classifier that learns from few labels.
    #[must_use]
    pub fn is_semi_supervised(&self) -> bool {
        self.classes > 0 && self.conditioning == Conditioning::Semi
    }

    /// Whether every layer of both networks is conditioned on the class.
    #[must_use]
    pub fn tells_every_layer(&self) -> bool {
        self.classes > 0 && self.conditioning == Conditioning::Concat
    }

    /// Validates all options and their combination.
    ///
    /// # Errors
    /// [`Error::Config`] with a message explaining the conflict.
    pub fn validate(&self) -> Result<()> {
        let fail = |field, what: &str| Err(Error::config(field, what));
        self.check_bounds()?;
        if self.classes as u64 > WIDEST {
            let what = format!("{} classes are more than {WIDEST}", self.classes);
            return Err(Error::config("classes", what));
        }
        let codes = self.codes.len();
        if codes > 0 && codes >= self.nz {
            let what = format!("{codes} entries of a latent of {} leave no noise", self.nz);
            return Err(Error::config("codes", what));
        }
        if codes > 0 && self.classes > 0 && self.conditioning != Conditioning::Concat {
            let what = "beside codes, networks can only be conditioned on classes at every layer: leave \
                        `conditioning` out, or choose concat";
            return fail("codes", what);
        }
        if codes > 0 && self.minibatch == Minibatch::Discrimination {
            let what = "predictions for one image cannot depend on the others of its batch: leave \
                        `minibatch` out";
            return fail("codes", what);
        }
        if self.text > 0 {
            self.suits_text()?;
        } else if self.text_augment > 0 {
            let what = "draws from the distribution of a text: leave it out, or choose `family` int-cls or \
                        stackgan";
            return fail("text_augment", what);
        }
        match (self.norm_g, self.norm_d) {
            (Norm::Conditional, _) if !self.is_conditional() => fail(
                "norm_g",
                "conditional batch norm needs classes: add `conditioning`, with images that have some",
            ),
            (Norm::Virtual, _) if self.is_conditional() => fail(
                "norm_g",
                "the reference batch of virtual batch norm has no classes: choose another norm, or \
                 leave `conditioning` out",
            ),
            (_, Norm::Conditional | Norm::Virtual) => fail(
                "norm_d",
                "conditional and virtual batch norm are for generators; a discriminator has batch, \
                 layer, instance, group, pixel or none",
            ),
            _ => self.suits_network(),
        }
    }

    /// Refuses options that networks conditioned on texts do not support.
    fn suits_text(&self) -> Result<()> {
        if self.text as u64 > WIDEST {
            let what = format!("vectors of {} numbers are longer than {WIDEST}", self.text);
            return Err(Error::config("text", what));
        }
        if ![Architecture::Dcgan, Architecture::Paper].contains(&self.network) {
            let what = format!(
                "networks of {} cannot be conditioned on texts: choose dcgan or dcgan-paper",
                self.network
            );
            return Err(Error::config("network", what));
        }
        let learns_lengths = |w| matches!(w, Parametrization::Norm | Parametrization::NormFixed);
        let what = "networks conditioned on texts do not have it: leave it out";
        let without = [
            ("attention", self.attention > 0),
            ("conditioning", self.classes > 0),
            ("codes", !self.codes.is_empty()),
            ("norm_g", self.norm_g == Norm::Virtual),
            ("weight_d", learns_lengths(self.weight_d)),
        ];
        match without.into_iter().find(|(_, is_set)| *is_set) {
            Some((field, _)) => Err(Error::config(field, what)),
            None => Ok(()),
        }
    }

    /// Refuses options that the architecture does not support.
    fn suits_network(&self) -> Result<()> {
        match self.network {
            Architecture::Mlp if self.attention > 0 => {
                let what = "dense networks have no feature maps to attend to: leave it out";
                Err(Error::config("attention", what))
            }
            Architecture::Ali if !self.ndf.is_multiple_of(2) => {
                let what = "maxout takes channels in pairs: give an even number";
                Err(Error::config("ndf", what))
            }
            Architecture::Lapgan
                if self.classes > 0 && self.conditioning != Conditioning::Concat =>
            {
                let what = "the networks of lapgan append classes to their inputs: choose \
                            `conditioning`=concat";
                Err(Error::config("conditioning", what))
            }
            Architecture::BiganMnist
            | Architecture::Ali
            | Architecture::Progressive
            | Architecture::Lapgan
            | Architecture::SsGan => {
                let usual = Self::usual(self.network, Some(self.size));
                let fixed = [
                    ("attention", self.attention > 0),
                    ("conditioning", self.classes > 0 && self.network != Architecture::Lapgan),
                    ("codes", !self.codes.is_empty()),
                    ("minibatch", self.minibatch != Minibatch::None),
                    ("bias", self.bias != usual.bias),
                    ("norm_g", self.norm_g != usual.norm_g),
                    ("norm_d", self.norm_d != usual.norm_d),
                    ("weight_g", self.weight_g != usual.weight_g),
                    ("weight_d", self.weight_d != usual.weight_d),
                ];
                let what = format!(
                    "the networks of {} are fixed, as by their authors: leave it out, or choose \
                     another `network`",
                    self.network
                );
                match fixed.into_iter().find(|(_, is_set)| *is_set) {
                    Some((field, _)) => Err(Error::config(field, what)),
                    None => Ok(()),
                }
            }
            Architecture::Resnet if self.tells_every_layer() => {
                let what = "residual networks are not conditioned at every layer: choose \
                            `conditioning`=projection or `conditioning`=auxiliary";
                Err(Error::config("conditioning", what))
            }
            Architecture::VaeGan if self.tells_every_layer() => {
                let what = "the networks of vae-gan are not conditioned at every layer: choose \
                            `conditioning`=projection or `conditioning`=auxiliary";
                Err(Error::config("conditioning", what))
            }
            Architecture::Resnet if self.norm_g == Norm::Virtual && resnet::is_small(self.size) => {
                let what = "residual blocks have no reference batch: choose another norm";
                Err(Error::config("norm_g", what))
            }
            _ => Ok(()),
        }
    }

    /// Both networks in full, as in model files; classes are named by their numbers.
    ///
    /// # Errors
    /// [`Error::Config`] if [`Size::base`] fails, or a layer is unreasonably large.
    pub fn networks(&self) -> Result<Networks> {
        self.networks_on(TextEncoder::default())
    }

    /// The same, conditioned on texts as `text` encodes them, whose width is that of this
    /// configuration.
    ///
    /// # Errors
    /// See [`ModelConfig::networks`].
    pub fn networks_on(&self, text: TextEncoder) -> Result<Networks> {
        let mut networks = Networks {
            by_name: Networks::usual([
                (Role::Generator, Some(self.generator()?)),
                (Role::Discriminator, Some(self.discriminator()?)),
            ]),
            text,
            ..self.description()
        };
        if self.text_augment > 0 {
            networks = stackgan::with_noise(networks, self.text_augment, &[stackgan::E1]);
            networks.pipeline =
                Pipeline(vec![Call::new(Role::Generator.name(), stackgan::Z, IMAGES)]);
        }
        // Whatever can be trained can also be loaded again.
        networks.check().map_err(|what| Error::config("size", format!("{}: {what}", self.size)))?;
        Ok(networks)
    }

    /// A model's description without networks; classes are named by their numbers.
    pub(crate) fn description(&self) -> Networks {
        Networks {
            size: self.size,
            channels: self.channels,
            nz: self.nz,
            latent_distribution: self.network.latent_distribution(),
            pixels: self.network.pixels(),
            classes: match self.is_conditional() {
                true => (0..self.classes).map(|class| class.to_string()).collect(),
                false => Vec::new(),
            },
            text: TextEncoder::default(),
            heads: self.heads(),
            by_name: BTreeMap::new(),
            pipeline: Pipeline::default(),
            parts: Heads::default(),
        }
    }

    /// All tensors of the generator and of the discriminator.
    ///
    /// # Errors
    /// [`Error::Config`] if [`Size::base`] fails.
    pub fn params(&self) -> Result<Vec<Param>> {
        let mut params = self.generator()?.params("generator");
        params.extend(self.discriminator()?.params("discriminator"));
        Ok(params)
    }

    /// Trainable parameters of a network, `generator` or `discriminator`; 0 if
    /// [`ModelConfig::params`] fails.
    #[must_use]
    pub fn learned(&self, network: &str) -> usize {
        let params = self.params().unwrap_or_default();
        let own = params.iter().filter(|p| p.learned && p.name.starts_with(network));
        own.map(|p| p.shape.iter().product::<usize>()).sum()
    }
}
