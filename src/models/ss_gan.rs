//! The networks of SS-GAN (Wang and Gupta, arXiv 1603.05631, and the authors' `structure-gan` and
//! `style-gan-fcn`), at `ngf` and `ndf` 64, for images with a side of `s`:
//!
//! ```text
//! Gn  z:    convT 128 at s/8; convT 128 at s/4; conv 3×3 128, 256, 512, 512; convT 256 at s/2;
//!           conv 3×3 128; convT 64 at s; conv 5×5 3, tanh; each pixel divided by its length
//! Dn  n:    conv 5×5 64 at s/2; conv 5×5 128; conv 3×3 256 at s/4, 512 at s/8, 128; dense 1
//! Gs  n, z: conv 5×5 64; conv 5×5 128 at t; beside z: convT 64 from s/8 up to t; conv 3×3 256 at t,
//!           512 at t/2, 512; convT 256, 128, 64, doubling up to s; conv 5×5, tanh
//! Ds  x, n: as Dn, of the channels of both
//! C   x:    conv 3×3 32; conv 3×3 64 at s/2; conv 3×3 128, 128; conv 1×1, an output for each code
//! ```
//!
//! Gn's first five hidden layers have ReLU, as have all of Gs, and its others leaky ReLU; the hidden
//! layers of the generators and of C have batch norm, those of the discriminators leaky ReLU and, from
//! the third on, dropout. `t` is `s/4` from 64 pixels on. Smaller images, where the authors' 1/8 of the
//! side would be too coarse for the outlines of their objects, have a first layer of stride 1, so that
//! `t` is `s/2`. Discriminators start at the weights of He et al. rather than the authors' N(0, 0.02²), at
//! which signals fade in narrow networks without a norm. C is a small network in place of the authors',
//! which reads images of 512 pixels.
//!
//! Sides are multiples of 8, from 16 on. The architecture's own generator is Gn with the channels of
//! images and without the division, and its discriminator is Dn.

use crate::error::{Error, Result};
use crate::nn::{Codebook, Dropout, Heads, Join, Layer, NORMALS, Sequential, WeightInit};
use crate::ops::conv::ConvSpec;

use super::config::{Architecture, ModelConfig};

/// Vectors of the codebook of normals, and channels of a normal.
pub const CODES: usize = 40;
/// See [`CODES`].
pub const AXES: usize = 3;

/// The parts of a latent: of the normals, and of the style.
pub const STRUCTURE: &str = "structure";
/// See [`STRUCTURE`].
pub const STYLE: &str = "style";

const RELU: Layer = Layer::relu();
const LEAKY: Layer = Layer::leaky_relu(0.2);

/// The initial weights of discriminators, for layers followed by leaky ReLU: gain √(2 / (1 + 0.2²)).
const START: WeightInit = WeightInit::He { gain: 1.386_75, uniform: false };

/// The smallest side, and the smallest with the authors' strides.
const LEAST: usize = 16;
const LARGE: usize = 64;

/// Dropped channels of discriminators, and entries before their last layer.
const CHANNELS: f32 = 0.2;
const ENTRIES: f32 = 0.5;

/// The networks of SS-GAN.
#[derive(Clone, Debug)]
pub struct SsGan {
    /// Gn, from the latent's part [`STRUCTURE`] to normals.
    pub structure_generator: Sequential,
    /// Dn, from normals to a logit.
    pub structure_discriminator: Sequential,
    /// Gs, from normals and the latent's part [`STYLE`] to images.
    pub generator: Sequential,
    /// Ds, from images and their normals to a logit.
    pub discriminator: Sequential,
    /// C, from images to normals of half the size, by way of the logits of [`CODES`] codes.
    pub classifier: Sequential,
    /// The parts of a latent, of equal length.
    pub parts: Heads,
}

/// A network while it is being built, with the size of its feature map.
struct Layers {
    all: Vec<Layer>,
    at: [usize; 2],
    channels: usize,
}

impl Layers {
    fn new(at: [usize; 2], channels: usize) -> Self {
        Self { all: Vec::new(), at, channels }
    }

    /// A convolution with a kernel of `side` and half of it as padding.
    fn conv(&mut self, side: usize, stride: usize, to: usize, bias: bool) -> Result<&mut Self> {
        let spec = ConvSpec::down(self.at, [side; 2], [stride; 2], [side / 2; 2])
            .map_err(|what| Error::config("size", what))?;
        self.all.push(Layer::conv(spec, self.channels, to, bias));
        (self.at, self.channels) = (spec.small, to);
        Ok(self)
    }

    /// A transposed convolution to twice the size.
    fn double(&mut self, to: usize) -> Result<&mut Self> {
        let large = self.at.map(|side| 2 * side);
        let spec = ConvSpec::up(self.at, large, [4; 2], [2; 2], [1; 2])
            .map_err(|what| Error::config("size", what))?;
        self.all.push(Layer::conv_transpose(spec, to, self.channels, false));
        (self.at, self.channels) = (large, to);
        Ok(self)
    }

    /// A transposed convolution from one pixel.
    fn project(&mut self, to: [usize; 2], channels: usize) -> &mut Self {
        let spec = ConvSpec::dense(to);
        self.all.push(Layer::conv_transpose(spec, channels, self.channels, false));
        (self.at, self.channels) = (to, channels);
        self
    }

    /// Batch norm and an activation.
    fn normalized(&mut self, activation: Layer) {
        self.all.extend([Layer::batch_norm(self.channels), activation]);
    }

    fn push(&mut self, layer: Layer) {
        self.all.push(layer);
    }

    fn done(self) -> Sequential {
        Sequential { layers: self.all }
    }
}

/// An eighth of the side.
fn eighth(config: &ModelConfig) -> Result<[usize; 2]> {
    config.size.base()?;
    let sides = [config.size.height, config.size.width];
    match sides.iter().all(|side| side.is_multiple_of(8) && *side >= LEAST) {
        true => Ok(sides.map(|side| side / 8)),
        false => {
            let what = format!(
                "{}: the networks of {} need sides that are multiples of 8, from {LEAST} on",
                config.size, config.network
            );
            Err(Error::config("size", what))
        }
    }
}

fn side(config: &ModelConfig) -> [usize; 2] {
    [config.size.height, config.size.width]
}

/// Gn up to its tanh, from latents of `nz` to images of `channels`.
fn structure(config: &ModelConfig, nz: usize, channels: usize) -> Result<Sequential> {
    let mut g = Layers::new([1, 1], nz);
    let width = config.ngf;
    g.project(eighth(config)?, 2 * width).normalized(RELU);
    g.double(2 * width)?.normalized(RELU);
    for (i, to) in [2, 4, 8, 8].into_iter().enumerate() {
        g.conv(3, 1, to * width, false)?.normalized(if i < 3 { RELU } else { LEAKY });
    }
    g.double(4 * width)?.normalized(LEAKY);
    g.conv(3, 1, 2 * width, false)?.normalized(LEAKY);
    g.double(width)?.normalized(LEAKY);
    g.conv(5, 1, channels, true)?.push(Layer::Tanh);
    Ok(g.done())
}

/// Dn or Ds, from `channels` channels to `outputs` outputs.
fn judge(config: &ModelConfig, channels: usize, outputs: usize) -> Result<Sequential> {
    eighth(config)?;
    let mut d = Layers::new(side(config), channels);
    let width = config.ndf;
    d.conv(5, 2, width, true)?.push(LEAKY);
    d.conv(5, 1, 2 * width, true)?.push(LEAKY);
    for to in [4, 8] {
        d.conv(3, 2, to * width, true)?.push(LEAKY);
        d.push(Layer::Dropout(Dropout::of_channels(CHANNELS)));
    }
    d.conv(3, 1, 2 * width, true)?.push(LEAKY);
    d.push(Layer::Dropout(Dropout::new(ENTRIES)));
    let last = ConvSpec::dense(d.at);
    d.push(Layer::conv(last, 2 * width, outputs, true));
    let layers = d.all.into_iter().map(|layer| layer.initialized(START));
    Ok(Sequential { layers: layers.collect() })
}

/// Gs, from normals and a latent of `nz`.
fn style(config: &ModelConfig, nz: usize) -> Result<Sequential> {
    let (whole, base, width) = (side(config), eighth(config)?, config.ngf);
    let first = if whole[0].min(whole[1]) < LARGE { 1 } else { 2 };
    let mut g = Layers::new(whole, AXES);
    g.conv(5, first, width, false)?.normalized(RELU);
    g.conv(5, 2, 2 * width, false)?.normalized(RELU);
    let meeting = g.at;
    let mut z = Layers::new([1, 1], nz);
    z.project(base, width).normalized(RELU);
    while z.at != meeting {
        z.double(width)?.normalized(RELU);
    }
    g.push(Layer::Join(Join { input: STYLE.into(), layers: z.all }));
    g.channels += width;
    g.conv(3, 1, 4 * width, false)?.normalized(RELU);
    g.conv(3, 2, 8 * width, false)?.normalized(RELU);
    g.conv(3, 1, 8 * width, false)?.normalized(RELU);
    for to in [4, 2, 1] {
        if g.at != whole {
            let last = g.at.map(|side| 2 * side) == whole;
            g.double(if last { width } else { to * width })?.normalized(RELU);
        }
    }
    g.conv(5, 1, config.channels, true)?.push(Layer::Tanh);
    Ok(g.done())
}

/// C.
fn classifier(config: &ModelConfig) -> Result<Sequential> {
    let mut c = Layers::new(side(config), config.channels);
    let width = config.ndf;
    for (to, stride) in [(width.div_ceil(2), 1), (width, 2), (2 * width, 1), (2 * width, 1)] {
        c.conv(3, stride, to, false)?.normalized(LEAKY);
    }
    c.conv(1, 1, CODES, true)?.push(Layer::Codebook(Codebook { codes: CODES }));
    Ok(c.done())
}

/// The generator from a latent alone.
///
/// # Errors
/// [`Error::Config`] if the size does not suit it.
pub(super) fn generator(config: &ModelConfig) -> Result<Sequential> {
    structure(config, config.nz, config.channels)
}

/// The discriminator of images, with `outputs` outputs.
///
/// # Errors
/// See [`generator`].
pub(super) fn discriminator(config: &ModelConfig, outputs: usize) -> Result<Sequential> {
    judge(config, config.channels, outputs)
}

impl ModelConfig {
    /// The networks of SS-GAN for such images.
    ///
    /// # Errors
    /// [`Error::Config`] if they are not those of its architecture, the size does not suit them, or the
    /// latent cannot be halved.
    pub fn ss_gan(&self) -> Result<SsGan> {
        self.validate()?;
        if self.network != Architecture::SsGan {
            let what = "the family ss-gan has networks of its own: choose ss-gan";
            return Err(Error::config("network", what));
        }
        if !self.nz.is_multiple_of(2) {
            let what = format!(
                "{} is odd: half of a latent is for the normals, and half for the style",
                self.nz
            );
            return Err(Error::config("nz", what));
        }
        let half = self.nz / 2;
        let mut structure_generator = structure(self, half, AXES)?;
        structure_generator.layers.push(Layer::UnitLength);
        let mut discriminator = judge(self, self.channels + AXES, 1)?;
        let normals = Layer::Join(Join { input: NORMALS.into(), layers: Vec::new() });
        discriminator.layers.insert(0, normals);
        Ok(SsGan {
            structure_generator,
            structure_discriminator: judge(self, AXES, 1)?,
            generator: style(self, half)?,
            discriminator,
            classifier: classifier(self)?,
            parts: Heads::new([(STRUCTURE, half), (STYLE, half)]),
        })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;
    use crate::models::Size;
    use crate::nn::LayerRole;

    fn config(height: usize, width: usize) -> ModelConfig {
        let size = Some(Size { height, width });
        ModelConfig { ngf: 64, ndf: 64, ..ModelConfig::usual(Architecture::SsGan, size) }
    }

    /// Height and channels after each layer with weights.
    fn sizes(network: &Sequential, input: [usize; 3]) -> Vec<[usize; 2]> {
        let at = [input[0], input[1], AXES];
        let sides = [(STYLE, [1, 1, 100]), (NORMALS, at)];
        let sizes = network.sizes_beside(input, &sides).unwrap();
        let own = |l: &Layer| l.role() == LayerRole::Weights;
        let each = network.layers.iter().zip(sizes).filter(|(layer, _)| own(layer));
        each.map(|(_, [h, _, c])| [h, c]).collect()
    }

    #[test]
    fn networks_are_the_authors_at_other_sizes() {
        let all = config(64, 64).ss_gan().unwrap();
        assert_eq!(
            sizes(&all.structure_generator, [1, 1, 100]),
            [
                [8, 128],
                [16, 128],
                [16, 128],
                [16, 256],
                [16, 512],
                [16, 512],
                [32, 256],
                [32, 128],
                [64, 64],
                [64, 3]
            ]
        );
        let judged = [[32, 64], [32, 128], [16, 256], [8, 512], [8, 128], [1, 1]];
        assert_eq!(sizes(&all.structure_discriminator, [64, 64, 3]), judged);
        assert_eq!(sizes(&all.discriminator, [64, 64, 3]), judged);
        let painted = [[32, 64], [16, 128], [16, 256], [8, 512], [8, 512]];
        let up = [[16, 256], [32, 128], [64, 64], [64, 3]];
        assert_eq!(sizes(&all.generator, [64, 64, 3]), [&painted[..], &up].concat());
        let read = [[64, 32], [32, 64], [32, 128], [32, 128], [32, CODES]];
        assert_eq!(sizes(&all.classifier, [64, 64, 3]), read);
        // Smaller images keep more of their size.
        let all = config(32, 32).ss_gan().unwrap();
        let painted = [[32, 64], [16, 128], [16, 256], [8, 512], [8, 512]];
        let up = [[16, 256], [32, 64], [32, 3]];
        assert_eq!(sizes(&all.generator, [32, 32, 3]), [&painted[..], &up].concat());
    }

    #[test]
    fn sizes_are_multiples_of_eight() {
        for (height, width) in [(16, 16), (24, 16), (32, 32), (48, 64), (96, 64), (128, 128)] {
            config(height, width).ss_gan().unwrap();
        }
        let error = config(20, 20).ss_gan().unwrap_err().to_string();
        assert!(error.contains("multiples of 8, from 16 on"), "{error}");
        let odd = ModelConfig { nz: 7, ..config(16, 16) };
        assert!(odd.ss_gan().unwrap_err().to_string().contains("7 is odd"));
        let other = ModelConfig { network: Architecture::Dcgan, ..config(16, 16) };
        assert!(other.ss_gan().unwrap_err().to_string().contains("choose ss-gan"));
    }
}
