//! The networks of a Laplacian pyramid of GANs (Denton, Chintala, Szlam and Fergus, arXiv 1506.05751, and
//! the authors' `train_cifar_coarse_to_fine.lua`), for images that halve down to 8 pixels: 16, 32, 64 and
//! so on. A level is named by its shorter side, the smallest is the base. With `ngf` and `ndf` 64:
//!
//! ```text
//! base   G  z:      dense 1200, ReLU; dense 1200, sigmoid; dense 8×8×c
//!        D  x:      dense 600, ReLU, dropout; dense 600, ReLU, dropout; dense 1
//! others G  x', z:  l = up(x');  l + h(l, z),   h: conv 7×7 64, ReLU; conv 7×7 64, ReLU; conv 5×5 c
//!        D  x:      conv 5×5 64, ReLU; conv 5×5, stride 2, 64, ReLU; dropout; dense 1
//! ```
//!
//! `x'` is the image of the next smaller level, `z` of a level above the base a plane of noise beside `l`,
//! and nothing squashes an image. D sees `x = l + h`: with the authors' D its first layer adds the two. Its
//! convolutions are not padded. Of a class there is one more plane beside `l` in G, and beside `x` in D,
//! which a dense layer and ReLU make of it; in the base the class is appended to `z` and to the pixels.
//!
//! `up` is bilinear, and images are reduced by means of 2×2 pixels ([`halved`]), in data, training and
//! sampling, so that `h = 0` gives `up(down(x))`. The last convolution of `h` starts at 0: a level that
//! has not been trained adds nothing.

use crate::error::{Error, Result};
use crate::nn::{
    Dropout, Heads, Join, LABELS, Label, Layer, Layout, Mode, Pass, Residual, Sequential,
    Unflatten, WeightInit,
};
use crate::ops::conv::ConvSpec;
use crate::tape::{Tape, Var};

use super::config::ModelConfig;
use super::parts::covering;
use super::size::Size;

/// The shorter sides of the base, and of the finest level at most: its noise has as many numbers as pixels.
const BASE: usize = 8;
const LARGEST: usize = 256;

/// Torch's default initial weights, without those of biases.
const TORCH: WeightInit = WeightInit::He { gain: 0.577_350_26, uniform: true };
/// Those of the base's dense layers, and of a level's last convolution.
const BASE_G: WeightInit = WeightInit::Normal { std: 0.05 };
const BASE_D: WeightInit = WeightInit::Normal { std: 0.005 };
const NOTHING: WeightInit = WeightInit::Normal { std: 0.0 };

const RELU: Layer = Layer::relu();
const DROPOUT: Layer = Layer::Dropout(Dropout { p: 0.5, channels: false });

/// A level of a pyramid.
#[derive(Clone, Debug, PartialEq)]
pub struct Level {
    /// Height and width of its images.
    pub side: [usize; 2],
    /// From the next smaller image, or from latents, to its images.
    pub generator: Sequential,
    /// From its images to a logit.
    pub discriminator: Sequential,
}

/// The name of a level of images of this height and width, and of the part of a latent that is its noise.
#[must_use]
pub fn names([height, width]: [usize; 2]) -> [String; 2] {
    let side = height.min(width);
    [side.to_string(), format!("z{side}")]
}

/// Height and width of the images of all levels, from the base on.
///
/// # Errors
/// [`Error::Config`] for a size that does not halve down to the base's.
pub fn sides(size: Size) -> Result<Vec<[usize; 2]>> {
    let Size { height, width } = size;
    let doubled = height.min(width) / BASE;
    let is_whole = [height, width].iter().all(|side| doubled > 0 && side % doubled == 0);
    let is_known = doubled.is_power_of_two() && (2..=LARGEST / BASE).contains(&doubled);
    if !is_known || height.min(width) != BASE * doubled || !is_whole {
        let what = format!(
            "{size}: the levels of a Laplacian pyramid halve down to a shorter side of {BASE} pixels: \
             choose 16, 32, 64, 128 or 256, or 32x64, say"
        );
        return Err(Error::config("size", what));
    }
    let levels = 0..=doubled.trailing_zeros();
    Ok(levels.map(|i| [height, width].map(|side| (side / doubled) << i)).collect())
}

/// Images `[n, 2h, 2w, c]` reduced to `[n, h, w, c]`, so often.
///
/// # Errors
/// [`Error::Shape`] for an odd side.
pub fn halved(t: &mut Tape, x: Var, times: usize) -> Result<Var> {
    let layers = vec![Layer::AveragePool; times];
    Ok(Sequential { layers }.record(t, "down", x, &Pass::new(Mode::Eval))?.last())
}

/// Images `[n, h, w, c]` enlarged to `[n, 2h, 2w, c]`.
///
/// # Errors
/// [`Error::Shape`] if they are none.
pub fn doubled(t: &mut Tape, x: Var) -> Result<Var> {
    let layers = vec![Layer::Bilinear];
    Ok(Sequential { layers }.record(t, "up", x, &Pass::new(Mode::Eval))?.last())
}

/// A dense layer's width at `ngf` or `ndf` `width`, which is `at_64` at 64.
const fn dense(width: usize, at_64: usize) -> usize {
    (width * at_64).div_ceil(64)
}

/// The base's generator, of images of this height and width.
fn base_generator(config: &ModelConfig, side: [usize; 2]) -> Sequential {
    let ModelConfig { classes, nz, ngf, channels, .. } = *config;
    let wide = dense(ngf, 1200);
    let mut layers = Vec::new();
    if classes > 0 {
        layers.push(Layer::Label(Label { classes }));
    }
    layers.extend([
        Layer::linear(nz + classes, wide, true).initialized(BASE_G),
        RELU,
        Layer::linear(wide, wide, true).initialized(BASE_G),
        Layer::Sigmoid,
        Layer::project(side, channels, wide, true).initialized(BASE_G),
    ]);
    Sequential { layers }
}

/// Its discriminator, or another network with `outputs` outputs.
fn base_discriminator(config: &ModelConfig, side: [usize; 2], outputs: usize) -> Sequential {
    let ModelConfig { classes, ndf, channels, .. } = *config;
    let wide = dense(ndf, 600);
    let mut layers = vec![Layer::Flatten];
    if classes > 0 {
        layers.push(Layer::Label(Label { classes }));
    }
    let pixels = side[0] * side[1] * channels;
    layers.extend([
        Layer::linear(pixels + classes, wide, true).initialized(BASE_D),
        RELU,
        DROPOUT,
        Layer::linear(wide, wide, true).initialized(BASE_D),
        RELU,
        DROPOUT,
        Layer::linear(wide, outputs, true).initialized(BASE_D),
    ]);
    Sequential { layers }
}

/// A plane of this height and width made of the class.
fn class_plane(classes: usize, [height, width]: [usize; 2]) -> Option<Layer> {
    let plane = Unflatten { height, width, channels: 1 };
    let layers = vec![
        Layer::linear(classes, height * width, true).initialized(TORCH),
        RELU,
        Layer::Unflatten(plane),
    ];
    (classes > 0).then(|| Layer::Join(Join { input: LABELS.into(), layers }))
}

/// A convolution from an image of this height and width.
fn conv(side: [usize; 2], [kernel, stride, pad]: [usize; 3]) -> Result<ConvSpec> {
    ConvSpec::down(side, [kernel; 2], [stride; 2], [pad; 2])
        .map_err(|what| Error::config("size", what))
}

/// The generator of a level above the base.
fn generator_of(config: &ModelConfig, side: [usize; 2]) -> Result<Sequential> {
    let ModelConfig { classes, ngf, channels, .. } = *config;
    let [_, noise] = names(side);
    let plane = Unflatten { height: side[0], width: side[1], channels: 1 };
    let mut main = vec![Layer::Join(Join { input: noise, layers: vec![Layer::Unflatten(plane)] })];
    main.extend(class_plane(classes, side));
    let from = channels + main.len();
    let wide = conv(side, [7, 1, 3])?;
    main.extend([
        Layer::conv(wide, from, ngf, true).initialized(TORCH),
        RELU,
        Layer::conv(wide, ngf, ngf, true).initialized(TORCH),
        RELU,
        Layer::conv(conv(side, [5, 1, 2])?, ngf, channels, true).initialized(NOTHING),
    ]);
    let residual = Residual { main, shortcut: Vec::new() };
    Ok(Sequential { layers: vec![Layer::Bilinear, Layer::Residual(residual)] })
}

/// The discriminator of a level above the base.
fn discriminator_of(config: &ModelConfig, side: [usize; 2]) -> Result<Sequential> {
    let ModelConfig { classes, ndf, channels, .. } = *config;
    let mut layers: Vec<Layer> = class_plane(classes, side).into_iter().collect();
    let from = channels + layers.len();
    let first = conv(side, [5, 1, 0])?;
    let second = conv(first.small, [5, 2, 0])?;
    layers.extend([
        Layer::conv(first, from, ndf, true).initialized(TORCH),
        RELU,
        Layer::conv(second, ndf, ndf, true).initialized(TORCH),
        RELU,
        DROPOUT,
        Layer::Identity, // the flattening
        covering(second.small, ndf, 1, Layout::Flatten, true).initialized(TORCH),
    ]);
    Ok(Sequential { layers })
}

/// The base's generator for images of the whole size: a GAN without a pyramid.
pub(super) fn generator(config: &ModelConfig) -> Sequential {
    base_generator(config, [config.size.height, config.size.width])
}

/// Its discriminator, or another network from an image to so many outputs.
pub(super) fn discriminator(config: &ModelConfig, outputs: usize) -> Sequential {
    base_discriminator(config, [config.size.height, config.size.width], outputs)
}

impl ModelConfig {
    /// The levels of a Laplacian pyramid of such images, from the base on, and the parts of their latents.
    ///
    /// # Errors
    /// [`Error::Config`] if the size does not suit it.
    pub fn pyramid(&self) -> Result<(Vec<Level>, Heads)> {
        self.validate()?;
        let sides = sides(self.size)?;
        let level = |(i, &side): (usize, &[usize; 2])| {
            Ok(Level {
                side,
                generator: match i {
                    0 => base_generator(self, side),
                    _ => generator_of(self, side)?,
                },
                discriminator: match i {
                    0 => base_discriminator(self, side, 1),
                    _ => discriminator_of(self, side)?,
                },
            })
        };
        let levels = sides.iter().enumerate().map(level).collect::<Result<Vec<Level>>>()?;
        let noise: Vec<(String, usize)> = sides
            .iter()
            .enumerate()
            .map(|(i, &side)| {
                let [_, name] = names(side);
                (name, if i == 0 { self.nz } else { side[0] * side[1] })
            })
            .collect();
        let parts = Heads::new(noise.iter().map(|(name, width)| (name.as_str(), *width)));
        Ok((levels, parts))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;
    use crate::device::{Device, State};
    use crate::models::Architecture;
    use crate::program::{Options, Program};
    use crate::rng::Stream;
    use crate::tensor::{DType, Tensor};

    fn config(height: usize, width: usize) -> ModelConfig {
        ModelConfig::usual(Architecture::Lapgan, Some(Size { height, width }))
    }

    fn noise(shape: &[usize]) -> Tensor {
        let mut numbers = vec![0.0; shape.iter().product()];
        Stream::new(5, "noise", 0).fill_normal(&mut numbers);
        Tensor::new(shape, numbers).unwrap()
    }

    /// What `record` makes of `x`, with the states of `state`.
    fn run(
        state: &mut State,
        x: &Tensor,
        record: impl FnOnce(&mut Tape, Var) -> Vec<(&'static str, Var)>,
    ) -> crate::program::Fetched {
        let mut t = Tape::new();
        let fed = t.feed("x", x.shape(), DType::F32).unwrap();
        for (name, y) in record(&mut t, fed) {
            t.fetch(name, y).unwrap();
        }
        let mut program = Program::compile(&t, state, &Options::default()).unwrap();
        program.call(state, &[("x", x)]).unwrap()
    }

    /// The pyramid is `x₀, x₁ − up(x₀), x₂ − up(x₁)`, with `x₁ = down(x₂)` and `x₀ = down(x₁)`.
    #[test]
    fn a_pyramid_is_inverted_exactly() {
        let x = noise(&[2, 32, 64, 3]);
        let fetched = run(&mut State::new(&Device::Cpu), &x, |t, x| {
            let images = [2, 1, 0].map(|times| halved(t, x, times).unwrap());
            let mut back = images[0];
            for &image in &images[1..] {
                let low = halved(t, image, 1).unwrap();
                let low = doubled(t, low).unwrap();
                let residual = t.sub(image, low).unwrap();
                let up = doubled(t, back).unwrap();
                back = t.add(up, residual).unwrap();
            }
            vec![("back", back)]
        });
        let off = x.f32s().iter().zip(fetched["back"].f32s()).map(|(a, b)| (a - b).abs());
        let off = off.fold(0.0, f32::max);
        assert!(off < 1e-6, "{off:e}");
    }

    /// As PyTorch's bilinear interpolation, and as its definition says.
    #[test]
    fn enlarging_is_bilinear_between_the_centers_of_pixels() {
        let x = noise(&[1, 3, 4, 2]);
        let fetched =
            run(&mut State::new(&Device::Cpu), &x, |t, x| vec![("up", doubled(t, x).unwrap())]);
        let at = |y: usize, x_: usize, c: usize| f64::from(x.f32s()[(y * 4 + x_) * 2 + c]);
        let between = |i: usize, n: usize| {
            let center = ((i as f64 + 0.5) / 2.0 - 0.5).clamp(0.0, (n - 1) as f64);
            let first = center.floor() as usize;
            (first, (first + 1).min(n - 1), center - center.floor())
        };
        for (i, &ours) in fetched["up"].f32s().iter().enumerate() {
            let ((y0, y1, v), (x0, x1, u)) = (between(i / 16, 3), between(i / 2 % 8, 4));
            let row = |y: usize| (1.0 - u) * at(y, x0, i % 2) + u * at(y, x1, i % 2);
            let wanted = (1.0 - v) * row(y0) + v * row(y1);
            assert!((f64::from(ours) - wanted).abs() < 1e-6, "{i}: {ours} {wanted}");
        }
        let flat = Tensor::full([1, 1, 1, 1], 0.3);
        let up =
            run(&mut State::new(&Device::Cpu), &flat, |t, x| vec![("up", doubled(t, x).unwrap())]);
        assert_eq!(up["up"].f32s(), [0.3; 4]);
    }

    #[test]
    fn a_level_that_was_not_trained_adds_nothing() {
        let config = ModelConfig { ngf: 3, ..config(16, 16) };
        let (levels, _) = config.pyramid().unwrap();
        let generator = &levels[1].generator;
        let mut state = State::new(&Device::Cpu);
        for param in generator.params("g") {
            state.set(&param.name, &param.initial(1)).unwrap();
        }
        let x = noise(&[2, 8, 8, 3]);
        let both = |state: &mut State| {
            run(state, &x, |t, x| {
                let z = t.fill(&[2, 256], 0.5).unwrap();
                let pass = Pass::new(Mode::Eval).with("z16", z);
                let made = generator.record(t, "g", x, &pass).unwrap().last();
                vec![("made", made), ("low", doubled(t, x).unwrap())]
            })
        };
        let fetched = both(&mut state);
        assert_eq!(fetched["made"].f32s(), fetched["low"].f32s());
        let last = "g.main.1.main.5.weight";
        let shape = state.get(last).unwrap().shape().to_vec();
        state.set(last, &Tensor::full(shape, 0.1)).unwrap();
        let fetched = both(&mut state);
        assert_ne!(fetched["made"].f32s(), fetched["low"].f32s());
    }

    #[test]
    fn levels_follow_from_the_size() {
        let of = |height, width| sides(Size { height, width });
        assert_eq!(of(16, 16).unwrap(), [[8, 8], [16, 16]]);
        assert_eq!(of(64, 64).unwrap(), [[8, 8], [16, 16], [32, 32], [64, 64]]);
        assert_eq!(of(32, 48).unwrap(), [[8, 12], [16, 24], [32, 48]]);
        for (height, width) in
            [(8, 8), (24, 24), (28, 28), (16, 17), (48, 48), (0, 16), (32, 50), (512, 512)]
        {
            let error = of(height, width).unwrap_err().to_string();
            assert!(error.contains("halve down to a shorter side of 8"), "{error}");
        }
    }

    /// The published sizes: `G` .22 M and `D` .12 M at 32×32, without biases.
    #[test]
    fn networks_for_32_are_the_authors() {
        let (levels, parts) = config(32, 32).pyramid().unwrap();
        let count = |network: &Sequential| {
            let weights = network.params("n").into_iter().filter(|p| p.shape.len() == 4);
            weights.map(|p| p.shape.iter().product::<usize>()).sum::<usize>()
        };
        let counts: Vec<_> =
            levels.iter().map(|l| [count(&l.generator), count(&l.discriminator)]).collect();
        let base = [1200 * (100 + 1200 + 192), 600 * (192 + 600 + 1)];
        let level = |cells: usize| [64 * (49 * (4 + 64) + 25 * 3), 64 * (25 * (3 + 64) + cells)];
        assert_eq!(counts, [base, level(16), level(144)]);
        let of_parts: Vec<_> = parts.iter().collect();
        assert_eq!(of_parts, [("z8", 100), ("z16", 256), ("z32", 1024)]);
        // A class is one more plane, and as many numbers in the base.
        let (levels, _) = ModelConfig { classes: 10, ..config(32, 32) }.pyramid().unwrap();
        let plane = 64 * 49 + 10 * 1024;
        assert_eq!(count(&levels[2].generator), level(144)[0] + plane);
        assert_eq!(count(&levels[0].generator), base[0] + 1200 * 10);
    }
}
