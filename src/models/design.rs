//! The choices from which two networks are built.

use std::fmt;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::nn::{Param, Sequential};
use crate::rng::Stream;

use super::dcgan;
use super::networks::{Networks, Pixels};
use super::size::Size;

/// Which architecture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    /// PyTorch's DCGAN example: 4×4 kernels, normal latents; weights are exchangeable.
    #[default]
    #[serde(alias = "pytorch")]
    Dcgan,
    /// The DCGAN paper and its authors' code: 5×5 kernels, uniform latents, a linear projection.
    #[serde(rename = "dcgan-paper", alias = "paper")]
    #[value(name = "dcgan-paper")]
    Paper,
    /// The authors' MNIST code: the paper's with one more dense layer in both networks and pixels
    /// from 0 to 1.
    #[serde(rename = "dcgan-mnist", alias = "mnist")]
    #[value(name = "dcgan-mnist")]
    Mnist,
}

impl fmt::Display for Network {
    /// As it is typed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value().expect("no network is hidden");
        f.pad(value.get_name())
    }
}

/// The law of a latent vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LatentLaw {
    /// Standard normal numbers.
    Normal,
    /// Uniform numbers in [−1, 1].
    Uniform,
}

impl LatentLaw {
    /// Fills `z` with numbers of this law, from the start of a stream.
    pub fn fill(self, stream: &Stream, z: &mut [f32]) {
        match self {
            Self::Normal => stream.fill_normal(z),
            Self::Uniform => {
                stream.fill_uniform(z);
                z.iter_mut().for_each(|x| *x = 2.0 * *x - 1.0);
            }
        }
    }
}

impl fmt::Display for LatentLaw {
    /// As it is typed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Normal => "normal",
            Self::Uniform => "uniform",
        })
    }
}

impl Network {
    /// The law of its latents.
    #[must_use]
    pub const fn latent_law(self) -> LatentLaw {
        match self {
            Self::Dcgan => LatentLaw::Normal,
            Self::Paper | Self::Mnist => LatentLaw::Uniform,
        }
    }

    /// Default width of both networks (`ngf`, `ndf`) and default batch.
    #[must_use]
    pub const fn defaults(self) -> (usize, usize) {
        match self {
            Self::Dcgan => (64, 64),
            Self::Paper => (128, 128),
            Self::Mnist => (64, 128),
        }
    }

    /// Default side of pictures.
    #[must_use]
    pub const fn side(self) -> usize {
        match self {
            Self::Dcgan | Self::Paper => 64,
            Self::Mnist => 28,
        }
    }

    /// What a pixel's numbers are.
    #[must_use]
    pub const fn pixels(self) -> Pixels {
        match self {
            Self::Dcgan | Self::Paper => Pixels::Signed,
            Self::Mnist => Pixels::Unit,
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
    /// Classes that both networks are told at every layer; 0 where they are told none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub classes: usize,
}

fn is_zero(n: &usize) -> bool {
    *n == 0
}

impl Default for Design {
    /// DCGAN for RGB pictures of 64×64.
    fn default() -> Self {
        let network = Network::default();
        let (ngf, _) = network.defaults();
        let size = Size { height: network.side(), width: network.side() };
        Self { network, size, channels: 3, nz: 100, ngf, ndf: ngf, classes: 0 }
    }
}

impl Design {
    /// The generator: `[n, 1, 1, nz]` to `[n, h, w, c]`, in [−1, 1], or in [0, 1] where
    /// [`Network::pixels`] says so.
    ///
    /// # Errors
    /// [`crate::error::Error::Flag`] where the size does not suit the network.
    pub fn generator(&self) -> Result<Sequential> {
        dcgan::generator(self)
    }

    /// The discriminator: `[n, h, w, c]` to a logit or score `[n, 1, 1, 1]`.
    ///
    /// # Errors
    /// [`crate::error::Error::Flag`] where the size does not suit the network.
    pub fn discriminator(&self) -> Result<Sequential> {
        dcgan::discriminator(self)
    }

    /// Both networks in full, as model files describe them; classes are called by their numbers.
    ///
    /// # Errors
    /// [`Error::Flag`] where [`Size::base`] fails.
    pub fn networks(&self) -> Result<Networks> {
        Ok(Networks {
            size: self.size,
            channels: self.channels,
            nz: self.nz,
            latent_law: self.network.latent_law(),
            pixels: self.network.pixels(),
            classes: (0..self.classes).map(|class| class.to_string()).collect(),
            generator: Some(self.generator()?),
            discriminator: Some(self.discriminator()?),
        })
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
