//! Networks besides a generator and a discriminator, for every architecture: encoders, and
//! discriminators of image-latent pairs.

use crate::error::Result;
use crate::nn::{Join, LATENT, LatentDistribution, Layer, Sequential};

use super::config::{Architecture, ModelConfig};
use super::parts::{Codes, Conditioning, Minibatch, Stack};
use super::{ali, bigan, cnn, dcgan, lapgan, mlp, progressive, resnet, ss_gan, stacked, vae_gan};

/// The width of the dense layers in which a joint discriminator combines image and latent, as in
/// ALI's CIFAR-10 code (arXiv 1606.00704).
const JOINT: usize = 512;

const LEAKY: Layer = Layer::leaky_relu(0.2);

impl ModelConfig {
    /// An encoder: the architecture's discriminator with `outputs` outputs instead of its own. With
    /// `bounded` latents ([`Architecture::latent_distribution`]) and one output for each, it ends in a tanh, so
    /// that a discriminator cannot distinguish them by their range (the authors' `dist.py`).
    ///
    /// # Errors
    /// See [`ModelConfig::discriminator`].
    pub fn encoder(&self, outputs: usize) -> Result<Sequential> {
        self.validate()?;
        let mut network = match self.network {
            Architecture::BiganMnist => bigan::encoder(self, outputs),
            Architecture::Ali => ali::encoder(self, outputs)?,
            _ => self.body(outputs)?,
        };
        if self.network.latent_distribution() == LatentDistribution::Uniform && outputs == self.nz {
            network.layers.push(Layer::Tanh);
        }
        Ok(network)
    }

    /// A discriminator of pairs: of images `[n, h, w, c]`, with latents as the side input [`LATENT`].
    ///
    /// # Errors
    /// See [`ModelConfig::discriminator`].
    pub fn joint_discriminator(&self) -> Result<Sequential> {
        self.validate()?;
        match self.network {
            Architecture::BiganMnist => return Ok(bigan::discriminator(self, true)),
            Architecture::Ali => return ali::discriminator(self, true),
            _ => {}
        }
        let mut network = self.body(JOINT)?;
        let latent = vec![Layer::linear(self.nz, JOINT, true), LEAKY];
        network.layers.extend([
            LEAKY,
            Layer::Join(Join { input: LATENT.into(), layers: latent }),
            Layer::linear(2 * JOINT, JOINT, true),
            LEAKY,
            Layer::linear(JOINT, 1, true),
        ]);
        Ok(network)
    }

    /// The discriminator's layers with `outputs` outputs, for images alone.
    pub(super) fn body(&self, outputs: usize) -> Result<Sequential> {
        let plain = Self {
            classes: 0,
            conditioning: Conditioning::Concat,
            codes: Codes::default(),
            minibatch: Minibatch::None,
            ..*self
        };
        let stack = Stack::encoder(&plain, outputs);
        match self.network {
            Architecture::Dcgan | Architecture::Paper | Architecture::Mnist => {
                dcgan::discriminator(&plain, stack)
            }
            Architecture::Cnn => cnn::discriminator(&plain, stack),
            Architecture::Resnet => resnet::discriminator(&plain, stack),
            Architecture::Mlp => mlp::discriminator(&plain, stack),
            Architecture::BiganMnist => Ok(bigan::encoder(&plain, outputs)),
            Architecture::Ali => ali::encoder(&plain, outputs),
            Architecture::VaeGan => vae_gan::encoder(&plain, stack),
            Architecture::Stacked => stacked::discriminator(&plain, stack),
            Architecture::Progressive => progressive::discriminator(&plain, outputs),
            Architecture::Lapgan => Ok(lapgan::discriminator(&plain, outputs)),
            Architecture::SsGan => ss_gan::discriminator(&plain, outputs),
        }
    }
}
