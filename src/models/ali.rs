//! The convolutional networks of ALI's CIFAR-10 code (Dumoulin et al., arXiv 1606.00704, and the authors'
//! `ali_cifar10.py`), at 32×32 with their widths and at other sizes by the same rule: no convolution is
//! padded. One of 5×5 is followed by ones of 4×4 with stride 2 and 1 in turn, until the shorter side is 7
//! or less, and by one whose kernel covers what is left.
//!
//! ```text
//! 32×32      28    13    10    4     1
//! E   x:     w     2w    4w    8w    16w   dense 16w, dense   batch norm and leaky ReLU after all but the last
//! Dx  x:     w     2w    4w    8w    16w   maxout of 2 after each
//! Dz  z:     dense 16w, dense 16w          the same
//! D   Dx, Dz: dense 32w, dense 32w         the same; dense 1
//! G   z:     4: 8w, 10: 4w, 13: 2w, 28: w, 32: w, 1×1 w   batch norm and leaky ReLU after each
//!            1×1, a bias for every pixel, sigmoid
//! ```
//!
//! `w` is `ngf` in G, and `ndf` in E and D. Only D has dropout. At an odd side a kernel of stride 2
//! is one wider, so that it reaches the last pixel. Batch norm is as in all networks here: its
//! scale is initialized from N(1, 0.02²), and a new batch weighs a tenth in the running statistics;
//! the authors have 1 and a twentieth.

use crate::error::{Error, Result};
use crate::nn::{Dropout, Join, LATENT, Layer, Maxout, PixelBias, Sequential, WeightInit};
use crate::ops::conv::ConvSpec;

use super::config::ModelConfig;

/// The largest shorter side that a kernel covers.
const COVERED: usize = 7;

/// Maximum channels of feature maps in units of `ngf` or `ndf`; of one pixel, and of a pixel that
/// combines image and latent.
const WIDEST: usize = 8;
const PIXEL: usize = 16;
const JOINT: usize = 32;

/// Maxout's number of pieces.
const PIECES: usize = 2;

/// Dropout of D's inputs and of its hidden layers.
const DROPPED: f32 = 0.2;
const HIDDEN_DROPPED: f32 = 0.5;

const START: WeightInit = WeightInit::Normal { std: 0.01 };
const LEAKY: Layer = Layer::leaky_relu(0.1);

/// The convolutions from an image to one pixel.
fn convolutions(config: &ModelConfig) -> Result<Vec<ConvSpec>> {
    config.size.base()?;
    let down = |side, kernel, stride: usize| {
        let spec = ConvSpec::down(side, kernel, [stride; 2], [0, 0]);
        spec.map_err(|what| Error::config("size", what))
    };
    let first = down([config.size.height, config.size.width], [5, 5], 1)?;
    let (mut all, mut side) = (vec![first], first.small);
    while side[0].min(side[1]) > COVERED {
        let next = match all.len() % 2 {
            1 => down(side, side.map(|s| 4 + s % 2), 2)?,
            _ => down(side, [4, 4], 1)?,
        };
        side = next.small;
        all.push(next);
    }
    all.push(ConvSpec::dense(side));
    Ok(all)
}

/// Channels after each of `count` convolutions from an image to one pixel.
fn widths(width: usize, count: usize) -> Vec<usize> {
    let hidden = (0..count - 1).map(|i| width * (1 << i.min(WIDEST)).min(WIDEST));
    hidden.chain([PIXEL * width]).collect()
}

/// A layer without bias, with norm and activation.
fn normalized(layer: Layer, channels: usize) -> [Layer; 3] {
    [layer.initialized(START), Layer::batch_norm(channels), LEAKY]
}

/// From an image to `outputs` outputs.
pub(super) fn encoder(config: &ModelConfig, outputs: usize) -> Result<Sequential> {
    let specs = convolutions(config)?;
    let mut layers = Vec::new();
    let mut from = config.channels;
    for (spec, &to) in specs.iter().zip(&widths(config.ndf, specs.len())) {
        layers.extend(normalized(Layer::conv(*spec, from, to, false), to));
        from = to;
    }
    layers.extend(normalized(Layer::linear(from, from, false), from));
    layers.push(Layer::linear(from, outputs, true).initialized(START));
    Ok(Sequential { layers })
}

/// The generator.
pub(super) fn generator(config: &ModelConfig) -> Result<Sequential> {
    let ModelConfig { size, channels, nz, ngf, .. } = *config;
    let specs = convolutions(config)?;
    let widths = widths(ngf, specs.len());
    let mut layers = Vec::new();
    let mut from = nz;
    for (i, spec) in specs.iter().enumerate().rev() {
        let to = if i == 0 { ngf } else { widths[i - 1] };
        layers.extend(normalized(Layer::conv_transpose(*spec, to, from, false), to));
        from = to;
    }
    let whole = [size.height, size.width];
    let pixel =
        ConvSpec { kernel: [1, 1], stride: [1, 1], pad: [0, 0], large: whole, small: whole };
    layers.extend(normalized(Layer::conv(pixel, from, ngf, false), ngf));
    layers.push(Layer::conv(pixel, ngf, channels, false).initialized(START));
    let size = [size.height, size.width, channels];
    layers.extend([Layer::PixelBias(PixelBias { size, log_odds: true }), Layer::Sigmoid]);
    Ok(Sequential { layers })
}

const fn dropout(p: f32) -> Layer {
    Layer::Dropout(Dropout::new(p))
}

/// A layer of D with a maxout that halves its channels.
fn halved(layer: Layer) -> [Layer; 2] {
    [layer.initialized(START), Layer::Maxout(Maxout { pieces: PIECES })]
}

/// The discriminator of images, or of pairs of an image and a latent.
///
/// The dropout between an image and its pixel follows the authors' code: before every third of the
/// convolutions and maxouts, counted together.
pub(super) fn discriminator(config: &ModelConfig, is_joint: bool) -> Result<Sequential> {
    let ModelConfig { channels, nz, ndf, .. } = *config;
    let specs = convolutions(config)?;
    let mut layers = vec![dropout(DROPPED)];
    let mut from = channels;
    for (i, (spec, &to)) in specs.iter().zip(&widths(ndf, specs.len())).enumerate() {
        let pair = halved(Layer::conv(*spec, from, to, i == 0));
        for (at, layer) in (2 * i..).zip(pair) {
            layers.extend((at % 3 == 2).then(|| dropout(HIDDEN_DROPPED)));
            layers.push(layer);
        }
        from = to / PIECES;
    }
    let pixel = PIXEL * ndf;
    if is_joint {
        let mut latent = vec![dropout(DROPPED)];
        latent.extend(halved(Layer::linear(nz, pixel, false)));
        latent.push(dropout(HIDDEN_DROPPED));
        latent.extend(halved(Layer::linear(pixel / PIECES, pixel, false)));
        layers.push(Layer::Join(Join { input: LATENT.into(), layers: latent }));
        from += pixel / PIECES;
    }
    for _ in 0..2 {
        layers.push(dropout(HIDDEN_DROPPED));
        layers.extend(halved(Layer::linear(from, JOINT * ndf, true)));
        from = JOINT * ndf / PIECES;
    }
    layers.push(dropout(HIDDEN_DROPPED));
    layers.push(Layer::linear(from, 1, true).initialized(START));
    Ok(Sequential { layers })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;
    use crate::models::{Architecture, Size};

    fn usual(side: Option<usize>) -> ModelConfig {
        let size = side.map(|side| Size { height: side, width: side });
        ModelConfig::usual(Architecture::Ali, size)
    }

    /// The sides and channels of the authors' tables, and their weight counts without biases and
    /// norms.
    #[test]
    fn networks_for_32_are_the_authors() {
        let config = usual(None);
        let latent = [1, 1, config.nz];
        let numbers = |network: &Sequential| -> usize {
            let params = network.params("n").into_iter().filter(|p| p.shape.len() == 4);
            params.map(|p| p.shape.iter().product::<usize>()).sum()
        };
        let (e, g) = (config.encoder(2 * config.nz).unwrap(), config.generator().unwrap());
        let d = config.joint_discriminator().unwrap();
        let counts = [&g, &e, &d].map(numbers);
        assert_eq!(counts, [976_992, 3_115_360, 2_607_968]);
        let sizes = |network: &Sequential, input| -> Vec<[usize; 3]> {
            let sizes = network.sizes_beside(input, &[(LATENT, latent)]).unwrap();
            let weights = network.layers.iter().zip(sizes);
            let own =
                |l: &Layer| matches!(l, Layer::Conv(_) | Layer::ConvTranspose(_) | Layer::Join(_));
            weights.filter(|(layer, _)| own(layer)).map(|(_, size)| size).collect()
        };
        let squares = |parts: &[&[(usize, usize)]]| -> Vec<[usize; 3]> {
            parts.concat().into_iter().map(|(side, channels)| [side, side, channels]).collect()
        };
        let image = [32, 32, 3];
        let down = [(28, 32), (13, 64), (10, 128), (4, 256), (1, 512)];
        assert_eq!(sizes(&e, image), squares(&[&down, &[(1, 512), (1, 128)]]));
        let joint = [(1, 512), (1, 1024), (1, 1024), (1, 1)];
        assert_eq!(sizes(&d, image), squares(&[&down, &joint]));
        let up = [(4, 256), (10, 128), (13, 64), (28, 32), (32, 32), (32, 32), (32, 3)];
        assert_eq!(sizes(&g, latent), squares(&[&up]));
        // Before the second convolution, the third maxout and the last convolution.
        let dropouts = |layers: &[Layer]| -> Vec<usize> {
            let at = layers.iter().enumerate().filter(|(_, l)| matches!(l, Layer::Dropout(_)));
            at.map(|(i, _)| i).collect()
        };
        assert_eq!(dropouts(&d.layers), [0, 3, 7, 11, 15, 18, 21]);
    }

    #[test]
    fn every_size_has_networks_that_leave_out_no_pixel() {
        for side in (8..=256).filter(|&side| usual(Some(side)).size.base().is_ok()) {
            let config = ModelConfig { ngf: 2, ndf: 2, ..usual(Some(side)) };
            config.networks().unwrap();
            for spec in convolutions(&config).unwrap() {
                let reached = (spec.small[0] - 1) * spec.stride[0] + spec.kernel[0];
                assert_eq!(reached, spec.large[0], "{side}");
            }
        }
        let wide =
            ModelConfig { size: Size { height: 96, width: 64 }, ngf: 2, ndf: 2, ..usual(None) };
        wide.networks().unwrap();
    }
}
