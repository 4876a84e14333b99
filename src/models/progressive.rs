//! The networks of progressive growing (Karras, Aila, Laine and Lehtinen, arXiv 1710.10196, table 2), for
//! square images of 8 to 1024 pixels.
//!
//! Feature maps of side `s` of images of side `S` have `min(S / s, 4) · ngf` channels, `ndf` in the
//! discriminator: the paper's 512 at 4 to 32 pixels and 16 at 1024 would take the factor 32 for 4. All
//! weights have equalized learning rates with the gain √2, but 1 for convolutions to images and for the
//! discriminator's last layer, and √2/4 for the generator's first. Hidden layers have biases and leaky
//! rectifiers of slope .2, and in the generator pixel norm, also of the latent. Images are not squashed.

use crate::error::{Error, Result};
use crate::model::{Networks, Role};
use crate::nn::{
    Channels, Grow, Layer, MinibatchStd, Parametrization, PixelNorm, Sequential, Shrink,
    WeightInit, WithFeatures, WithImage,
};
use crate::ops::conv::ConvSpec;

use super::config::ModelConfig;

/// The side of the smallest images.
pub const SMALLEST: usize = 4;

/// The most channels in units of `ngf` or `ndf`.
const WIDEST: usize = 4;

const GAIN: f32 = std::f32::consts::SQRT_2;
const SLOPE: f32 = 0.2;

/// Images in a group of minibatch deviation.
pub const GROUP: usize = 4;

const PIXEL_NORM: Layer = Layer::PixelNorm(PixelNorm { eps: 1e-8 });

/// The sides of images from the smallest to the whole.
///
/// # Errors
/// [`Error::Config`] for other than squares of 8, 16, 32 and so on.
pub(crate) fn sides(config: &ModelConfig) -> Result<Vec<usize>> {
    let side = config.size.height;
    if config.size.width != side || !side.is_power_of_two() || side <= SMALLEST {
        let what = format!(
            "{}: networks that grow from 4x4 pixels by doubling make square images of 8, 16, 32, …, \
             1024",
            config.size
        );
        return Err(Error::config("size", what));
    }
    let doublings = (side / SMALLEST).trailing_zeros();
    Ok((0..=doublings).map(|i| SMALLEST << i).collect())
}

/// Channels of feature maps of this side.
fn width(config: &ModelConfig, width: usize, side: usize) -> usize {
    width * (config.size.height / side).min(WIDEST)
}

/// A layer with equalized learning rates, of this gain and number of inputs for each output.
fn equalized(layer: Layer, gain: f32, inputs: usize) -> Layer {
    let std = gain / (inputs as f32).sqrt();
    layer.weighted(Parametrization::Equalized).initialized(WeightInit::Normal { std })
}

/// A convolution that keeps the side.
fn conv(side: usize, kernel: usize, [from, to]: [usize; 2], gain: f32) -> Result<Layer> {
    let spec = ConvSpec::down([side, side], [kernel, kernel], [1, 1], [kernel / 2, kernel / 2]);
    let spec = spec.map_err(|what| Error::config("size", what))?;
    Ok(equalized(Layer::conv(spec, from, to, true), gain, kernel * kernel * from))
}

/// The generator.
///
/// # Errors
/// See [`sides`].
pub(super) fn generator(config: &ModelConfig) -> Result<Sequential> {
    let (nz, channels) = (config.nz, config.channels);
    let wide = |side| width(config, config.ngf, side);
    let active = |layer| [layer, Layer::leaky_relu(SLOPE), PIXEL_NORM];
    let mut layers = vec![PIXEL_NORM];
    let mut from = wide(SMALLEST);
    let first = ConvSpec::dense([SMALLEST, SMALLEST]);
    let first = Layer::conv_transpose(first, from, nz, true);
    layers.extend(active(equalized(first, GAIN / 4.0, nz)));
    layers.extend(active(conv(SMALLEST, 3, [from, from], GAIN)?));
    let image = vec![conv(SMALLEST, 1, [from, channels], 1.0)?];
    layers.push(Layer::WithImage(WithImage { image }));
    for side in sides(config)?.into_iter().skip(1) {
        let to = wide(side);
        let mut block = vec![Layer::Upsample];
        block.extend(active(conv(side, 3, [from, to], GAIN)?));
        block.extend(active(conv(side, 3, [to, to], GAIN)?));
        let image = vec![conv(side, 1, [to, channels], 1.0)?];
        layers.push(Layer::Grow(Grow { channels, block, image }));
        from = to;
    }
    layers.push(Layer::Channels(Channels { first: from, count: channels }));
    Ok(Sequential { layers })
}

/// The discriminator, or another network from an image to so many outputs.
///
/// # Errors
/// See [`sides`].
pub(super) fn discriminator(config: &ModelConfig, outputs: usize) -> Result<Sequential> {
    let channels = config.channels;
    let wide = |side| width(config, config.ndf, side);
    let leaky = || Layer::leaky_relu(SLOPE);
    let seen = |side| Ok::<_, Error>(vec![conv(side, 1, [channels, wide(side)], GAIN)?, leaky()]);
    let all = sides(config)?;
    let mut layers =
        vec![Layer::WithFeatures(WithFeatures { features: seen(config.size.height)? })];
    for &side in all.iter().skip(1).rev() {
        let (from, to) = (wide(side), wide(side / 2));
        let block = vec![
            conv(side, 3, [from, from], GAIN)?,
            leaky(),
            conv(side, 3, [from, to], GAIN)?,
            leaky(),
            Layer::AveragePool,
        ];
        layers.push(Layer::Shrink(Shrink { channels, block, features: seen(side / 2)? }));
    }
    let last = wide(SMALLEST);
    layers.push(Layer::Channels(Channels { first: 0, count: last }));
    layers.push(Layer::MinibatchStd(MinibatchStd { group: GROUP }));
    layers.push(conv(SMALLEST, 3, [last + 1, last], GAIN)?);
    layers.push(leaky());
    let whole = Layer::conv(ConvSpec::dense([SMALLEST, SMALLEST]), last, last, true);
    layers.push(equalized(whole, GAIN, SMALLEST * SMALLEST * last));
    layers.push(leaky());
    layers.push(equalized(Layer::linear(last, outputs, true), 1.0, last));
    Ok(Sequential { layers })
}

/// Places of the layers that a network grows by, from the smallest side to the largest.
#[must_use]
pub fn places(network: &Sequential) -> Vec<usize> {
    let layers = network.layers.iter().enumerate();
    let grows = layers.filter(|(_, l)| matches!(l, Layer::Grow(_) | Layer::Shrink(_)));
    let mut places: Vec<usize> = grows.map(|(i, _)| i).collect();
    if let Some(Layer::Shrink(_)) = places.first().map(|&i| &network.layers[i]) {
        places.reverse();
    }
    places
}

/// The networks for images of the side `SMALLEST · 2^level`: the same layers by the same names without
/// those of larger sides.
///
/// # Errors
/// [`Error::Config`] if the networks cannot grow; [`Error::Tensor`] without one of them.
pub fn grown(networks: &Networks, level: usize) -> Result<Networks> {
    let refused = || {
        let what = "progressive growing needs networks that can grow: choose `network`=progressive";
        Error::config("family", what)
    };
    let (generator, discriminator) = (networks.generator()?, networks.discriminator()?);
    let (in_g, in_d) = (places(generator), places(discriminator));
    let first = in_g.first().ok_or_else(refused)?;
    if in_g.len() != in_d.len() || level > in_g.len() {
        return Err(refused());
    }
    let side = SMALLEST << level;
    let last = level.checked_sub(1).map_or(first - 1, |i| in_g[i]);
    let mut layers = generator.layers[..=last].to_vec();
    let Some(&[.., channels]) =
        generator.sizes([1, 1, networks.nz]).ok().as_ref().and_then(|s| s.get(last))
    else {
        return Err(refused());
    };
    let count = networks.channels;
    layers.push(Layer::Channels(Channels { first: channels - count, count }));
    let generator = Sequential { layers };
    let discriminator = match in_d.get(level) {
        None => discriminator.clone(),
        Some(&at) => {
            let Layer::Shrink(Shrink { features, .. }) = &discriminator.layers[at] else {
                return Err(refused());
            };
            // Layers are named by their places.
            let mut layers = vec![Layer::Identity; at];
            layers.push(Layer::WithFeatures(WithFeatures { features: features.clone() }));
            layers.extend_from_slice(&discriminator.layers[at + 1..]);
            Sequential { layers }
        }
    };
    let mut grown =
        networks.clone().with(Role::Generator, generator).with(Role::Discriminator, discriminator);
    (grown.size.height, grown.size.width) = (side, side);
    Ok(grown)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;
    use crate::device::{Device, State};
    use crate::models::{Architecture, Size};
    use crate::nn::{Mode, Pass, SHARE};
    use crate::program::{Options, Program};
    use crate::rng::Stream;
    use crate::tape::Tape;
    use crate::tensor::{DType, Tensor};

    fn config(side: usize) -> ModelConfig {
        let size = Size { height: side, width: side };
        let usual = ModelConfig::usual(Architecture::Progressive, Some(size));
        ModelConfig { nz: 5, ngf: 3, ndf: 3, ..usual }
    }

    /// The output of a network, with the share `share` in the layer at `place`.
    fn output(network: &Sequential, before: &[Layer], share: (usize, f32), x: &Tensor) -> Tensor {
        let mut state = State::new(&Device::Cpu);
        for param in network.params("n") {
            let value = match param.name == format!("n.main.{}.{SHARE}", share.0) {
                true => Tensor::full([], share.1),
                false => param.initial(3),
            };
            state.set(&param.name, &value).unwrap();
        }
        let mut t = Tape::new();
        let pass = Pass::new(Mode::Eval);
        let fed = t.feed("x", x.shape(), DType::F32).unwrap();
        let first = Sequential { layers: before.to_vec() };
        let fed = first.record(&mut t, "first", fed, &pass).unwrap().last();
        let y = network.record(&mut t, "n", fed, &pass).unwrap().last();
        t.fetch("y", y).unwrap();
        let mut program = Program::compile(&t, &state, &Options::default()).unwrap();
        program.call(&mut state, &[("x", x)]).unwrap()["y"].clone()
    }

    fn noise(shape: &[usize]) -> Tensor {
        let mut numbers = vec![0.0; shape.iter().product()];
        Stream::new(5, "noise", 0).fill_normal(&mut numbers);
        Tensor::new(shape, numbers).unwrap()
    }

    #[test]
    fn a_fade_begins_with_the_smaller_networks_and_ends_with_the_larger_ones() {
        let whole = config(16).networks().unwrap();
        let smaller = grown(&whole, 1).unwrap();
        let (large, small) = (whole.generator().unwrap(), smaller.generator().unwrap());
        let newest = *places(large).last().unwrap();
        let z = noise(&[2, 1, 1, 5]);
        let enlarged =
            Sequential { layers: small.layers.iter().cloned().chain([Layer::Upsample]).collect() };
        let at = |share| output(large, &[], (newest, share), &z);
        assert_eq!(at(0.0), output(&enlarged, &[], (newest, 0.0), &z));
        assert_ne!(at(1.0), at(0.0));
        let [low, half, high] = [0.0, 0.5, 1.0].map(at);
        let ends = low.f32s().iter().zip(high.f32s());
        for (half, (low, high)) in half.f32s().iter().zip(ends) {
            assert!((half - 0.5 * (low + high)).abs() < 1e-5);
        }

        let (large, small) = (whole.discriminator().unwrap(), smaller.discriminator().unwrap());
        let newest = *places(large).last().unwrap();
        let x = noise(&[4, 16, 16, 3]);
        let at = |share| output(large, &[], (newest, share), &x);
        assert_eq!(at(0.0), output(small, &[Layer::AveragePool], (newest, 0.0), &x));
        assert_ne!(at(1.0), at(0.0));
    }

    #[test]
    fn a_layer_that_does_not_fit_is_named_by_its_place() {
        let mut network = generator(&config(8)).unwrap();
        let at = places(&network)[0];
        let Layer::Grow(grow) = &mut network.layers[at] else { panic!("it grows") };
        grow.image = vec![Layer::linear(7, 3, true)];
        let error = network.sizes([1, 1, 5]).unwrap_err();
        assert!(error.starts_with(&format!("layer main.{at}.image.0: ")), "{error}");
    }

    #[test]
    fn smaller_networks_are_parts_of_the_whole() {
        let whole = config(32).networks().unwrap();
        assert_eq!(
            grown(&whole, 3).unwrap().discriminator().unwrap(),
            whole.discriminator().unwrap()
        );
        let all = |networks: &Networks| {
            let params = networks.params().into_iter().map(|param| (param.name, param.shape));
            params.collect::<std::collections::BTreeMap<_, _>>()
        };
        let known = all(&whole);
        let mut before = 0;
        for level in 0..=3 {
            let part = grown(&whole, level).unwrap();
            assert_eq!((part.size.height, part.check()), (4 << level, Ok(())));
            let own = all(&part);
            assert!(own.iter().all(|(name, shape)| known.get(name) == Some(shape)), "{level}");
            assert!(own.len() > before);
            before = own.len();
        }
        assert!(grown(&whole, 4).is_err());
        let other = ModelConfig { network: Architecture::Dcgan, ..config(16) }.networks().unwrap();
        assert!(grown(&other, 0).unwrap_err().to_string().contains("can grow"));
        for (height, width) in [(24, 24), (16, 32), (4, 4)] {
            let config = ModelConfig { size: Size { height, width }, ..config(16) };
            assert!(config.networks().is_err(), "{height}x{width}");
        }
    }
}
