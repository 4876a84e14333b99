//! The choices from which two networks are built.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
pub use crate::nn::LatentLaw;
use crate::nn::{Param, Sequential, Weight};

use super::parts::{Codes, Conditioning, Minibatch, Norm};
use super::size::Size;
use super::{cnn, dcgan, mlp, resnet};
use crate::model::{Networks, Pixels, Role};

/// Which architecture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "kebab-case")]
pub enum Network {
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
}

impl fmt::Display for Network {
    /// As it is typed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

impl Network {
    /// The law of its latents.
    #[must_use]
    pub const fn latent_law(self) -> LatentLaw {
        match self {
            Self::Dcgan | Self::Cnn | Self::Resnet => LatentLaw::Normal,
            Self::Paper | Self::Mnist | Self::Mlp => LatentLaw::Uniform,
        }
    }

    /// Usual widths of both networks (`ngf`, `ndf`) for pictures of a size.
    #[must_use]
    pub fn widths(self, size: Size) -> (usize, usize) {
        match self {
            Self::Dcgan | Self::Cnn => (64, 64),
            Self::Paper => (128, 128),
            Self::Mnist => (64, 128),
            Self::Resnet if resnet::is_small(size) => (256, 128),
            Self::Resnet => (64, 64),
            Self::Mlp => (500, 1000),
        }
    }

    /// Usual batch.
    #[must_use]
    pub const fn batch(self) -> usize {
        match self {
            Self::Dcgan | Self::Cnn | Self::Resnet => 64,
            Self::Paper | Self::Mnist => 128,
            Self::Mlp => 100,
        }
    }

    /// Usual side of pictures.
    #[must_use]
    pub const fn side(self) -> usize {
        match self {
            Self::Dcgan | Self::Paper => 64,
            Self::Mnist | Self::Mlp => 28,
            Self::Cnn | Self::Resnet => 32,
        }
    }

    /// Usual length of a latent vector.
    #[must_use]
    pub const fn nz(self) -> usize {
        match self {
            Self::Cnn | Self::Resnet => 128,
            _ => 100,
        }
    }

    /// What its discriminator is normalised by as a rule.
    const fn norm_d(self) -> Norm {
        match self {
            Self::Dcgan | Self::Paper | Self::Mnist => Norm::Batch,
            Self::Cnn | Self::Resnet | Self::Mlp => Norm::None,
        }
    }

    /// What a pixel's numbers are.
    #[must_use]
    pub const fn pixels(self) -> Pixels {
        match self {
            Self::Dcgan | Self::Paper | Self::Cnn | Self::Resnet => Pixels::Signed,
            Self::Mnist | Self::Mlp => Pixels::Unit,
        }
    }
}

/// What two networks are made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Design {
    /// The architecture.
    #[serde(alias = "preset")]
    pub network: Network,
    /// Size of the pictures.
    pub size: Size,
    /// Channels of the pictures: 1, 3 or 4.
    pub channels: usize,
    /// Length of a latent vector.
    pub nz: usize,
    /// Channels of the generator's last hidden picture.
    pub ngf: usize,
    /// Channels of the discriminator's first hidden picture.
    pub ndf: usize,
    /// Classes that the networks are told; 0 where they are told none.
    #[serde(default, skip_serializing_if = "is_default")]
    pub classes: usize,
    /// How they are told.
    #[serde(default, skip_serializing_if = "is_default")]
    pub conditioning: Conditioning,
    /// What the generator's hidden layers are normalised by.
    #[serde(default, skip_serializing_if = "is_default")]
    pub norm_g: Norm,
    /// The same of the discriminator's.
    #[serde(default, skip_serializing_if = "is_default")]
    pub norm_d: Norm,
    /// How the generator's weights are made from what is learnt.
    #[serde(default, skip_serializing_if = "is_default")]
    pub weight_g: Weight,
    /// The same of the discriminator's.
    #[serde(default, skip_serializing_if = "is_default")]
    pub weight_d: Weight,
    /// Height of the hidden pictures of both networks that have self-attention; 0 for none.
    #[serde(default, skip_serializing_if = "is_default")]
    pub attention: usize,
    /// InfoGAN's codes: the last numbers of a latent.
    #[serde(default, skip_serializing_if = "is_default")]
    pub codes: Codes,
    /// How the discriminator sees a picture beside others.
    #[serde(default, skip_serializing_if = "is_default")]
    pub minibatch: Minibatch,
}

/// No layer has more channels, no latent more numbers.
const WIDEST: usize = 1 << 16;

fn is_default<T: Default + PartialEq>(x: &T) -> bool {
    *x == T::default()
}

impl Default for Design {
    /// DCGAN for RGB pictures of 64×64.
    fn default() -> Self {
        Self::usual(Network::default(), None)
    }
}

impl Design {
    /// What is usual for a network, for RGB pictures of a size, or of the network's own.
    #[must_use]
    pub fn usual(network: Network, size: Option<Size>) -> Self {
        let side = network.side();
        let size = size.unwrap_or(Size { height: side, width: side });
        let (ngf, ndf) = network.widths(size);
        Self {
            network,
            size,
            channels: 3,
            nz: network.nz(),
            ngf,
            ndf,
            classes: 0,
            conditioning: Conditioning::Concat,
            norm_g: Norm::Batch,
            norm_d: network.norm_d(),
            weight_g: Weight::Plain,
            weight_d: Weight::Plain,
            attention: 0,
            codes: Codes::default(),
            minibatch: Minibatch::None,
        }
    }
}

impl Design {
    /// The generator: `[n, 1, 1, nz]` to `[n, h, w, c]`, in [−1, 1], or in [0, 1] where
    /// [`Network::pixels`] says so.
    ///
    /// # Errors
    /// [`crate::error::Error::Flag`] where the size does not suit the network.
    pub fn generator(&self) -> Result<Sequential> {
        self.check()?;
        match self.network {
            Network::Dcgan | Network::Paper | Network::Mnist => dcgan::generator(self),
            Network::Cnn => cnn::generator(self),
            Network::Resnet => resnet::generator(self),
            Network::Mlp => mlp::generator(self),
        }
    }

    /// The discriminator: `[n, h, w, c]` to a logit or score and [`Design::heads`] further numbers,
    /// `[n, 1, 1, 1 + heads]`.
    ///
    /// # Errors
    /// [`crate::error::Error::Flag`] where the size does not suit the network.
    pub fn discriminator(&self) -> Result<Sequential> {
        self.check()?;
        match self.network {
            Network::Dcgan | Network::Paper | Network::Mnist => dcgan::discriminator(self),
            Network::Cnn => cnn::discriminator(self),
            Network::Resnet => resnet::discriminator(self),
            Network::Mlp => mlp::discriminator(self),
        }
    }

    /// Numbers that the discriminator says of a picture beside one: logits of its class, then what it
    /// takes for its codes (logits of the category, the numbers).
    #[must_use]
    pub fn heads(&self) -> usize {
        let classes = match self.conditioning {
            Conditioning::Auxiliary => self.classes,
            Conditioning::Semi => self.classes.saturating_sub(1),
            Conditioning::Concat | Conditioning::Projection => 0,
        };
        classes.saturating_add(self.codes.len())
    }

    /// Whether pictures can be asked for by class: the generator is told them.
    #[must_use]
    pub fn is_conditional(&self) -> bool {
        self.classes > 0 && self.conditioning != Conditioning::Semi
    }

    /// Whether the discriminator is a classifier that learns from few labels.
    #[must_use]
    pub fn is_semi_supervised(&self) -> bool {
        self.classes > 0 && self.conditioning == Conditioning::Semi
    }

    /// Whether every layer of both networks is told the class.
    #[must_use]
    pub fn tells_every_layer(&self) -> bool {
        self.classes > 0 && self.conditioning == Conditioning::Concat
    }

    /// Refuses parts that do not go together, and sizes that no network has.
    fn check(&self) -> Result<()> {
        let fail = |flag, what: &str| Err(Error::flag(flag, what));
        for (flag, width) in [("--nz", self.nz), ("--ngf", self.ngf), ("--ndf", self.ndf)] {
            if !(1..=WIDEST).contains(&width) {
                let what = format!("{width} is no width; a number from 1 to {WIDEST} is needed");
                return Err(Error::flag(flag, what));
            }
        }
        if self.classes > WIDEST {
            let what = format!("{} classes are more than {WIDEST}", self.classes);
            return Err(Error::flag("--conditional", what));
        }
        if ![1, 3, 4].contains(&self.channels) {
            return fail("--channels", "pictures have 1 (grey), 3 (RGB) or 4 (RGBA) channels");
        }
        let codes = self.codes.len();
        if codes > 0 && codes >= self.nz {
            let what = format!("{codes} numbers of a latent of {} leave no noise", self.nz);
            return Err(Error::flag("--codes", what));
        }
        if codes > 0 && self.classes > 0 && self.conditioning != Conditioning::Concat {
            let what = "beside codes classes can only be told at every layer: leave --conditional out, \
                        or give it without a value";
            return fail("--codes", what);
        }
        if codes > 0 && self.minibatch == Minibatch::Discrimination {
            let what = "what is said of a picture alone cannot follow from the others of its batch: \
                        leave --minibatch out";
            return fail("--codes", what);
        }
        match (self.norm_g, self.norm_d) {
            (Norm::Conditional, _) if !self.is_conditional() => fail(
                "--norm-g",
                "conditional batch norm needs classes: add --conditional, with pictures that have some",
            ),
            (Norm::Virtual, _) if self.is_conditional() => fail(
                "--norm-g",
                "the reference batch of virtual batch norm has no classes: choose another norm, or \
                 leave --conditional out",
            ),
            (_, Norm::Conditional | Norm::Virtual) => fail(
                "--norm-d",
                "conditional and virtual batch norm are for generators; a discriminator has batch, \
                 layer, instance, group, pixel or none",
            ),
            _ => Ok(()),
        }
    }

    /// Both networks in full, as model files describe them; classes are called by their numbers.
    ///
    /// # Errors
    /// [`Error::Flag`] where [`Size::base`] fails, or a layer would be larger than any in use.
    pub fn networks(&self) -> Result<Networks> {
        let networks = Networks {
            size: self.size,
            channels: self.channels,
            nz: self.nz,
            latent_law: self.network.latent_law(),
            pixels: self.network.pixels(),
            classes: match self.is_conditional() {
                true => (0..self.classes).map(|class| class.to_string()).collect(),
                false => Vec::new(),
            },
            heads: self.heads(),
            by_name: Networks::usual([
                (Role::Generator, Some(self.generator()?)),
                (Role::Discriminator, Some(self.discriminator()?)),
            ]),
        };
        // What is trained can also be read again.
        networks.check().map_err(|what| Error::flag("--size", format!("{}: {what}", self.size)))?;
        Ok(networks)
    }

    /// All tensors of the generator and of the discriminator.
    ///
    /// # Errors
    /// [`Error::Flag`] where [`Size::base`] fails.
    pub fn params(&self) -> Result<Vec<Param>> {
        let mut params = self.generator()?.params("generator");
        params.extend(self.discriminator()?.params("discriminator"));
        Ok(params)
    }

    /// Learnt numbers of a network, `generator` or `discriminator`; 0 where [`Design::params`] fails.
    #[must_use]
    pub fn learnt(&self, network: &str) -> usize {
        let params = self.params().unwrap_or_default();
        let own = params.iter().filter(|p| p.learnt && p.name.starts_with(network));
        own.map(|p| p.shape.iter().product::<usize>()).sum()
    }
}
