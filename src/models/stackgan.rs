//! The networks of StackGAN (Zhang et al., arXiv 1612.03242) as variations of DCGAN's, and the latents of
//! networks that draw from the distribution of a text. For images of side `S`, of `s = S / upscale` in
//! stage 1, and `d` numbers of a text:
//!
//! ```text
//! c(φ, e) = μ + eˢ e,   (μ, s) = dense 2d of φ            conditioning augmentation
//! G1  z, c(φ, e1):  DCGAN's generator of side s
//! D1  x, φ:         DCGAN's discriminator of side s, with an embedding of φ at its smallest feature map
//! G2  x1, c(φ, e2): conv 3×3 ngf; strided to b×b, twice the channels each; beside c: conv 3×3;
//!                   two residual blocks; DCGAN's transposed convolutions to side S
//! D2  x, φ:         DCGAN's discriminator of side S
//! ```
//!
//! `x1` is an image of G1. G2 halves it while its shorter side is above 8, at most twice as in the paper.
//! Hidden layers have ReLU, and all but G2's first have the configured norm. A latent is `z`, `e1` and
//! `e2`, all normal. Differences to the authors' networks: theirs have residual blocks in stage 1 and in
//! the discriminators, and nearest-neighbor upsampling before convolutions.

use crate::error::{Error, Result};
use crate::model::Networks;
use crate::nn::{Heads, LATENT, LatentDistribution, Layer, Residual, Sequential};
use crate::ops::conv::ConvSpec;

use super::config::ModelConfig;
use super::dcgan::strided;
use super::parts::Stack;
use super::size::Size;

/// The parts of a latent: of the image, and of the text in each stage.
pub const Z: &str = "z";
/// See [`Z`].
pub const E1: &str = "e1";
/// See [`Z`].
pub const E2: &str = "e2";

/// The side of a feature map of G2 that is not halved again, and how often an image is.
const SMALL: usize = 8;
const MOST_HALVINGS: usize = 2;

/// Residual blocks of G2.
const BLOCKS: usize = 2;

const RELU: Layer = Layer::relu();

/// The networks of a StackGAN.
#[derive(Clone, Debug)]
pub struct StackGan {
    /// The size of images of stage 1.
    pub small: Size,
    /// G1 and D1.
    pub stage1: [Sequential; 2],
    /// G2 and D2.
    pub stage2: [Sequential; 2],
}

/// The geometry of a 3×3 convolution that keeps the size.
fn same(side: [usize; 2]) -> Result<ConvSpec> {
    ConvSpec::down(side, [3, 3], [1, 1], [1, 1]).map_err(|what| Error::config("size", what))
}

/// G2, from images of this size.
fn second_generator(config: &ModelConfig, small: Size) -> Result<Sequential> {
    let mut stack = Stack::bare_generator(config, E2);
    let bias = stack.bias();
    let mut side = [small.height, small.width];
    let mut width = config.ngf;
    stack.push(Layer::conv(same(side)?, config.channels, width, true));
    stack.push(RELU);
    let mut halvings = 0;
    let is_large = |side: [usize; 2]| {
        side[0].min(side[1]) > SMALL && side.iter().all(|side| side.is_multiple_of(2))
    };
    while halvings < MOST_HALVINGS && is_large(side) {
        stack.push(Layer::conv(strided(config, side)?, width, 2 * width, bias));
        (side, width) = (side.map(|side| side / 2), 2 * width);
        stack.norm(width);
        stack.push(RELU);
        halvings += 1;
    }
    let spec = same(side)?;
    let from = width + stack.text();
    stack.push(Layer::conv(spec, from, width, bias));
    stack.norm(width);
    stack.push(RELU);
    for _ in 0..BLOCKS {
        let mut main = Vec::new();
        for i in 0..2 {
            main.push(Layer::conv(spec, width, width, bias));
            main.extend(stack.norm_layer(width));
            if i == 0 {
                main.push(RELU);
            }
        }
        stack.push(Layer::Residual(Residual { main, shortcut: Vec::new() }));
        stack.push(RELU);
    }
    let doublings = halvings + config.upscale.trailing_zeros() as usize;
    for left in (0..doublings).rev() {
        let large = side.map(|side| 2 * side);
        let spec = strided(config, large)?;
        if left == 0 {
            stack.push(Layer::conv_transpose(spec, config.channels, width, false));
            stack.pixels();
        } else {
            let to = width.min(config.ngf << (left - 1));
            stack.push(Layer::conv_transpose(spec, to, width, bias));
            stack.norm(to);
            stack.push(RELU);
            width = to;
        }
        side = large;
    }
    stack.finish()
}

impl ModelConfig {
    /// The networks of a StackGAN that makes such images.
    ///
    /// # Errors
    /// [`Error::Config`] if a size does not suit them.
    pub fn stackgan(&self) -> Result<StackGan> {
        self.validate()?;
        let Size { height, width } = self.size;
        let by = self.upscale;
        let small = Size { height: height / by, width: width / by };
        if !height.is_multiple_of(by) || !width.is_multiple_of(by) || small.base().is_err() {
            let what = format!(
                "{}: stage 1 would make images of {small}; sides that work are 4 to 7 pixels, doubled \
                 {} times or more",
                self.size,
                1 + by.trailing_zeros()
            );
            return Err(Error::config("size", what));
        }
        let first = Self { size: small, ..*self };
        Ok(StackGan {
            small,
            stage1: [first.generator()?, first.discriminator()?],
            stage2: [second_generator(self, small)?, self.discriminator()?],
        })
    }
}

/// The networks with latents that also have these parts of `d` numbers; all are then normal, and the
/// part before them is [`Z`].
#[must_use]
pub fn with_noise(networks: Networks, d: usize, names: &[&str]) -> Networks {
    let networks = networks.with_latents(LatentDistribution::Normal);
    let nz = networks.nz;
    let noise = names.iter().map(|&name| (name, d));
    let parts = Heads::new([(Z, nz)].into_iter().chain(noise));
    match parts.width() == nz {
        true => networks,
        false => Networks { nz: parts.width(), parts, ..networks },
    }
}

/// The value that the first network takes: a part of the latent, or all of it.
#[must_use]
pub fn input_of(networks: &Networks) -> &'static str {
    if networks.parts.is_empty() { LATENT } else { Z }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;
    use crate::gan::{Family, ObjectiveConfig, TrainConfig};
    use crate::nn::LayerRole;
    use crate::text::TextEncoder;

    fn config(side: usize, upscale: usize) -> ModelConfig {
        let size = Size { height: side, width: side };
        let model = ModelConfig { size, nz: 10, ngf: 8, ndf: 8, ..ModelConfig::default() };
        ModelConfig { text: 70, text_augment: 16, upscale, ..model }
    }

    /// Side and channels of the feature maps of G2.
    fn sizes(side: usize, upscale: usize) -> Vec<[usize; 2]> {
        let config = config(side, upscale);
        let g2 = &config.stackgan().unwrap().stage2[0];
        let sides = [("text", [1, 1, 70]), (E2, [1, 1, 16])];
        let small = side / upscale;
        let sizes = g2.sizes_beside([small, small, 3], &sides).unwrap();
        let own = |l: &Layer| matches!(l.role(), LayerRole::Weights | LayerRole::Block);
        let each = g2.layers.iter().zip(sizes).filter(|(layer, _)| own(layer));
        each.map(|(_, [h, _, c])| [h, c]).collect()
    }

    #[test]
    fn images_are_halved_to_8_pixels_and_then_doubled() {
        let middle = |c| [[8, c]; 3];
        let wanted = [[16, 8].as_slice(), &[8, 16]].concat();
        let wanted = [&[[wanted[0], wanted[1]], [wanted[2], wanted[3]]], &middle(16)[..]].concat();
        assert_eq!(sizes(32, 2), [&wanted[..], &[[16, 8], [32, 3]]].concat());
        assert_eq!(sizes(64, 4), [&wanted[..], &[[16, 16], [32, 8], [64, 3]]].concat());
        let twice = [&[[32, 8], [16, 16], [8, 32]], &middle(32)[..]].concat();
        assert_eq!(sizes(64, 2), [&twice[..], &[[16, 16], [32, 8], [64, 3]]].concat());
        assert_eq!(sizes(16, 2), [&[[8, 8]], &middle(8)[..], &[[16, 3]]].concat());
    }

    #[test]
    fn latents_have_a_part_for_each_draw() {
        let of = |text_augment| {
            let model = ModelConfig { text_augment, ..config(32, 2) };
            let objective =
                ObjectiveConfig { family: Family::StackGan, ..ObjectiveConfig::default() };
            let text = TextEncoder::of_width(70);
            TrainConfig { objective, text, ..TrainConfig::new(model) }.networks().unwrap()
        };
        let networks = of(16);
        assert_eq!(networks.nz, 10 + 2 * 16);
        let parts: Vec<_> = networks.parts.iter().collect();
        assert_eq!(parts, [(Z, 10), (E1, 16), (E2, 16)]);
        let small = networks.up_to("stage1").unwrap();
        assert_eq!((small.check(), small.size.height, small.nz), (Ok(()), 16, networks.nz));
        assert!(networks.up_to("stage3").is_none() && networks.up_to("z").is_none());
        // Without draws a text has one embedding.
        let plain = of(0);
        assert!(plain.parts.is_empty() && plain.nz == 10 && plain.check().is_ok());
    }

    #[test]
    fn sizes_suit_both_stages() {
        for (side, upscale) in [(16, 2), (24, 2), (28, 2), (32, 4), (96, 4), (256, 4)] {
            config(side, upscale).stackgan().unwrap();
        }
        for (side, upscale) in [(8, 2), (16, 4), (14, 2)] {
            let error = config(side, upscale).stackgan().unwrap_err().to_string();
            assert!(error.contains("stage 1 would make images of"), "{error}");
        }
    }
}
