//! The networks of VAE/GAN (Larsen et al., arXiv 1512.09300, and the authors' `architectures.py`, whose
//! 64×64 and 32×32 these are at `ngf` 32 and `ndf` 64): 5×5 kernels, ReLU in all three networks, batch
//! norm with ε 1e-6, uniform initial weights.
//!
//! ```text
//! 64×64  E  64, 128, 256 at half the size each; dense 1024; dense 2 · nz
//!        G  dense 8·8·256; 256, 128, 32 at twice the size each; conv, tanh
//!        D  32; 128, 256, 256 at half the size each; dense 512; dense 1
//! 32×32  G  dense 4·4·256; 192, 128, 32 …       D  32; 128, 192, 256 …       (nz 256 on CIFAR-10)
//! ```
//!
//! Sizes from 64 on end at 8 to 14 pixels, smaller ones at 4 to 7.

use crate::error::{Error, Result};
use crate::nn::{BatchNorm, Layer, Layout, Sequential, WeightInit};
use crate::ops::conv::ConvSpec;

use super::config::ModelConfig;
use super::parts::{End, Stack, covering};

/// The most doublings of sizes that end at 4 to 7 pixels.
const SMALL: usize = 3;

const EPS: f32 = 1e-6;

/// Uniform in ±1/√(3 · fan-in): deeppy's `AutoFiller`.
const START: WeightInit = WeightInit::He { gain: 1.0 / 3.0, uniform: true };

const RELU: Layer = Layer::relu();

/// The smallest feature map, and how often its size is doubled.
fn base(config: &ModelConfig) -> Result<([usize; 2], usize)> {
    let (base, doublings) = config.size.base()?;
    Ok(match doublings {
        ..=SMALL => (base, doublings),
        _ => (base.map(|side| 2 * side), doublings - 1),
    })
}

/// Channels of the generator's feature maps in units of `ngf`, from the smallest map to the largest.
fn rising(config: &ModelConfig, doublings: usize) -> Result<Vec<usize>> {
    let deep = match config.size.base()?.1 {
        ..=SMALL => 6,
        _ => 8,
    };
    let last = |from_last: usize| [1, 4].get(from_last).copied().unwrap_or(deep);
    Ok((0..doublings).rev().map(last).collect())
}

/// Channels of the discriminator's feature maps in units of `ndf`, from the largest to the smallest.
fn falling(config: &ModelConfig, doublings: usize) -> Result<Vec<usize>> {
    let second = match config.size.base()?.1 {
        ..=SMALL => 3,
        _ => 4,
    };
    Ok((0..doublings).map(|i| [2, second].get(i).copied().unwrap_or(4)).collect())
}

/// The geometry of a 5×5 convolution of images of size `large`.
fn kernel(large: [usize; 2], stride: usize) -> Result<ConvSpec> {
    ConvSpec::down(large, [5, 5], [stride; 2], [2, 2]).map_err(|what| Error::config("size", what))
}

/// The network with the authors' initial weights and their ε.
fn started(network: Sequential) -> Sequential {
    let each = network.layers.into_iter().map(|layer| match layer {
        Layer::BatchNorm(norm) => Layer::BatchNorm(BatchNorm { eps: EPS, ..norm }),
        layer => layer.initialized(START),
    });
    Sequential { layers: each.collect() }
}

/// The generator, or decoder.
///
/// # Errors
/// [`Error::Config`] if [`super::Size::base`] fails, or the options cannot be combined.
pub(super) fn generator(config: &ModelConfig) -> Result<Sequential> {
    let (base, doublings) = base(config)?;
    let mut stack = Stack::generator(config);
    let bias = stack.bias();
    let mut from = 8 * config.ngf;
    let labels = stack.label();
    stack.push(Layer::project(base, from, config.nz + labels, bias));
    stack.push(Layer::Identity); // the reshape to an image
    match stack.norm_layer(from) {
        // The authors normalize the vector, each entry separately.
        Some(Layer::BatchNorm(norm)) => {
            stack.push(Layer::BatchNorm(BatchNorm { cells: base, ..norm }));
        }
        _ => stack.norm(from),
    }
    stack.push(RELU);
    for (i, width) in rising(config, doublings)?.into_iter().enumerate() {
        let to = width * config.ngf;
        let spec = kernel(base.map(|side| side << (i + 1)), 2)?;
        stack.push(Layer::conv_transpose(spec, to, from, bias));
        stack.norm(to);
        stack.push(RELU);
        from = to;
    }
    let whole = kernel([config.size.height, config.size.width], 1)?;
    stack.push(Layer::conv(whole, from, config.channels, true));
    stack.pixels();
    Ok(started(stack.finish()?))
}

/// Strided convolutions to feature maps of `widths` channels, then a dense layer of width `dense`
/// and the last one.
fn halve(
    config: &ModelConfig,
    mut stack: Stack<'_>,
    mut from: usize,
    widths: &[usize],
    dense: usize,
) -> Result<Sequential> {
    let bias = stack.bias();
    let mut size = [config.size.height, config.size.width];
    for &to in widths {
        stack.push(Layer::conv(kernel(size, 2)?, from, to, bias));
        stack.norm(to);
        stack.push(RELU);
        from = to;
        size = size.map(|side| side / 2);
    }
    stack.push(Layer::Identity); // the flattening
    stack.push(covering(size, from, dense, Layout::Flatten, bias));
    stack.norm(dense);
    stack.push(RELU);
    stack.head([1, 1, dense], End::Vector, true);
    Ok(started(stack.finish()?))
}

/// The encoder.
///
/// # Errors
/// See [`generator`].
pub(super) fn encoder(config: &ModelConfig, stack: Stack<'_>) -> Result<Sequential> {
    let (_, doublings) = base(config)?;
    let widths: Vec<usize> = (0..doublings).map(|i| config.ndf << i.min(2)).collect();
    halve(config, stack, config.channels, &widths, 16 * config.ndf)
}

/// The discriminator.
///
/// # Errors
/// See [`generator`].
pub(super) fn discriminator(config: &ModelConfig, mut stack: Stack<'_>) -> Result<Sequential> {
    let (_, doublings) = base(config)?;
    let first = config.ndf.div_ceil(2);
    let whole = kernel([config.size.height, config.size.width], 1)?;
    stack.push(Layer::conv(whole, config.channels, first, true));
    stack.push(RELU);
    let widths: Vec<usize> =
        falling(config, doublings)?.into_iter().map(|width| width * config.ndf).collect();
    halve(config, stack, first, &widths, 8 * config.ndf)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::{Architecture, Size};

    /// The channels of all layers with weights, and the height of their feature maps.
    fn shape(network: &Sequential, input: [usize; 3]) -> Vec<[usize; 2]> {
        let sizes = network.sizes(input).expect("layers follow one another");
        let weighs = |layer: &Layer| matches!(layer, Layer::Conv(_) | Layer::ConvTranspose(_));
        let each = network.layers.iter().zip(&sizes).filter(|(layer, _)| weighs(layer));
        each.map(|(_, &[h, _, c])| [h, c]).collect()
    }

    fn shapes(side: usize) -> [Vec<[usize; 2]>; 3] {
        let size = Size { height: side, width: side };
        let config = ModelConfig::usual(Architecture::VaeGan, Some(size));
        let image = [side, side, 3];
        [
            shape(&config.encoder(2 * config.nz).expect("a usual design"), image),
            shape(&config.generator().expect("a usual design"), [1, 1, config.nz]),
            shape(&config.discriminator().expect("a usual design"), image),
        ]
    }

    #[test]
    fn the_authors_two_sizes() {
        let [e, g, d] = shapes(64);
        assert_eq!(e, [[32, 64], [16, 128], [8, 256], [1, 1024], [1, 256]]);
        assert_eq!(g, [[8, 256], [16, 256], [32, 128], [64, 32], [64, 3]]);
        assert_eq!(d, [[64, 32], [32, 128], [16, 256], [8, 256], [1, 512], [1, 1]]);
        let [e, g, d] = shapes(32);
        assert_eq!(e, [[16, 64], [8, 128], [4, 256], [1, 1024], [1, 512]]);
        assert_eq!(g, [[4, 256], [8, 192], [16, 128], [32, 32], [32, 3]]);
        assert_eq!(d, [[32, 32], [16, 128], [8, 192], [4, 256], [1, 512], [1, 1]]);
    }

    #[test]
    fn other_sizes_end_in_small_maps_too() {
        for (side, smallest) in [(8, 4), (16, 4), (28, 7), (48, 6), (96, 12), (128, 8), (256, 8)] {
            let [_, g, _] = shapes(side);
            assert_eq!(g[0], [smallest, 256], "{side}");
        }
    }
}
