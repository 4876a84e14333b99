//! DCGAN (Radford, Metz and Chintala, arXiv 1511.06434): the paper's networks, those of its authors'
//! MNIST code, and those of PyTorch's well-known example.
//!
//! Any of them can be conditional, as the authors' MNIST networks are: the picture's class, one
//! number for each class, 1 at its place and else 0, is joined to the input of every layer of both
//! networks, as planes to pictures and as numbers to vectors.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::nn::{Layer, Layout, Param, Sequential, Start, Weight};
use crate::ops::conv::ConvSpec;
use crate::rng::Stream;

use super::networks::{Networks, Pixels};

/// Which family of networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// PyTorch's DCGAN example: 4×4 kernels, normal latents; weights are exchangeable.
    Pytorch,
    /// The paper and its authors' code: 5×5 kernels, uniform latents, a linear projection.
    Paper,
    /// The authors' MNIST code: the paper's with one more dense layer in both networks and pixels
    /// from 0 to 1.
    Mnist,
}

impl fmt::Display for Preset {
    /// As it is typed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pytorch => "pytorch",
            Self::Paper => "paper",
            Self::Mnist => "mnist",
        })
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

impl Preset {
    /// The law of its latents.
    #[must_use]
    pub const fn latent_law(self) -> LatentLaw {
        match self {
            Self::Pytorch => LatentLaw::Normal,
            Self::Paper | Self::Mnist => LatentLaw::Uniform,
        }
    }

    /// Default width of both networks (`ngf`, `ndf`) and default batch.
    #[must_use]
    pub const fn defaults(self) -> (usize, usize) {
        match self {
            Self::Pytorch => (64, 64),
            Self::Paper => (128, 128),
            Self::Mnist => (64, 128),
        }
    }

    /// Default side of pictures.
    #[must_use]
    pub const fn side(self) -> usize {
        match self {
            Self::Pytorch | Self::Paper => 64,
            Self::Mnist => 28,
        }
    }

    /// What a pixel's numbers are.
    #[must_use]
    pub const fn pixels(self) -> Pixels {
        match self {
            Self::Pytorch | Self::Paper => Pixels::Signed,
            Self::Mnist => Pixels::Unit,
        }
    }
}

/// Height and width of pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// Height.
    pub height: usize,
    /// Width.
    pub width: usize,
}

/// The smallest and largest side.
const SIDES: std::ops::RangeInclusive<usize> = 8..=256;

/// How wide the narrowest layer's picture may be, and the widest side of it.
const BASE: std::ops::RangeInclusive<usize> = 4..=7;
const LONGEST_BASE: usize = 32;

impl Size {
    /// The picture that the generator starts from, and how often it is doubled: the shorter side is
    /// 4 to 7.
    ///
    /// # Errors
    /// [`Error::Flag`] (`--size`) where no base times a power of two gives the size; it names the
    /// nearest sizes that work.
    pub fn base(self) -> Result<([usize; 2], usize)> {
        let Self { height, width } = self;
        let fail = |what: String| Err(Error::flag("--size", what));
        if !SIDES.contains(&height) || !SIDES.contains(&width) {
            return fail(format!("{self}: both sides must lie between 8 and 256"));
        }
        if let Some(found) = self.find_base() {
            return Ok(found);
        }
        let works = |side: usize| (Self { height: side, width: side }).find_base().is_some();
        let near = |side: usize| {
            let below = (8..side).rev().find(|&s| works(s));
            let above = (side + 1..=256).find(|&s| works(s));
            [below, above].into_iter().flatten().map(|s| s.to_string()).collect::<Vec<_>>()
        };
        let mut sides = near(height);
        if width != height {
            sides.extend(near(width));
        }
        fail(format!(
            "{self} is no base of 4 to 7 pixels doubled a whole number of times; sides that work: {}",
            sides.join(", ")
        ))
    }

    fn find_base(self) -> Option<([usize; 2], usize)> {
        (1..=6).find_map(|doublings| {
            let factor = 1 << doublings;
            let base = [self.height / factor, self.width / factor];
            let fits = base.map(|b| b * factor) == [self.height, self.width]
                && BASE.contains(&base[0].min(base[1]))
                && base[0].max(base[1]) <= LONGEST_BASE;
            fits.then_some((base, doublings))
        })
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.height == self.width {
            write!(f, "{}", self.height)
        } else {
            write!(f, "{}x{}", self.height, self.width)
        }
    }
}

impl FromStr for Size {
    type Err = String;

    /// `64`, or height × width as `96x64`.
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let side = |s: &str| {
            s.parse::<usize>().map_err(|_| format!("{text:?} is no size such as 64 or 96x64"))
        };
        let (height, width) = match text.split_once(['x', 'X', '×']) {
            Some((h, w)) => (side(h)?, side(w)?),
            None => (side(text)?, side(text)?),
        };
        let size = Self { height, width };
        size.base().map_err(|e| e.to_string().replace("--size: ", ""))?;
        Ok(size)
    }
}

/// What a DCGAN's two networks are made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dcgan {
    /// The family.
    pub preset: Preset,
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

/// How many times `ngf` or `ndf` the deepest picture may have channels.
const WIDEST: usize = 16;

/// How many times `ngf` or `ndf` the dense layers of [`Preset::Mnist`] are wide: 1024 numbers by
/// default.
const DENSE: usize = 16;

/// The discriminator's slope (paper, section 3).
const SLOPE: f32 = 0.2;

impl Dcgan {
    /// Channels of the hidden pictures, from the largest picture to the smallest.
    fn widths(&self, width: usize, doublings: usize) -> Vec<usize> {
        (0..doublings).map(|i| width * (1 << i).min(WIDEST)).collect()
    }

    /// Kernel and padding of the strided convolutions.
    const fn kernel(&self) -> ([usize; 2], [usize; 2]) {
        match self.preset {
            Preset::Pytorch => ([4, 4], [1, 1]),
            Preset::Paper | Preset::Mnist => ([5, 5], [2, 2]),
        }
    }

    /// The geometry that covers a whole picture of size `base` with one kernel.
    const fn dense(base: [usize; 2]) -> ConvSpec {
        ConvSpec { kernel: base, stride: [1, 1], pad: [0, 0], large: base, small: [1, 1] }
    }

    /// The class, at the input of a layer; nothing where there are none.
    fn label(&self) -> Option<Layer> {
        (self.classes > 0).then_some(Layer::Label { classes: self.classes })
    }

    /// The generator: `[n, 1, 1, nz]` to `[n, h, w, c]`, in [−1, 1], or in [0, 1] where
    /// [`Preset::pixels`] says so.
    ///
    /// # Errors
    /// [`Error::Flag`] where [`Size::base`] fails.
    pub fn generator(&self) -> Result<Sequential> {
        let (base, doublings) = self.size.base()?;
        let widths = self.widths(self.ngf, doublings);
        let deepest = widths[doublings - 1];
        let projects = self.preset != Preset::Pytorch;
        let mut layers = Vec::new();
        let mut from = self.nz;
        if self.preset == Preset::Mnist {
            let dense = DENSE * self.ngf;
            layers.extend(self.label());
            layers.push(Layer::ConvTranspose {
                spec: Self::dense([1, 1]),
                large: dense,
                small: from + self.classes,
                layout: Layout::Project,
                bias: false,
                weight: Weight::Plain,
                start: Start::default(),
            });
            layers.extend([Layer::batch_norm(dense), Layer::LeakyRelu { slope: 0.0 }]);
            from = dense;
        }
        layers.extend(self.label());
        layers.push(Layer::ConvTranspose {
            spec: Self::dense(base),
            large: deepest,
            small: from + self.classes,
            layout: if projects { Layout::Project } else { Layout::Conv },
            bias: false,
            weight: Weight::Plain,
            start: Start::default(),
        });
        if projects {
            layers.push(Layer::Identity); // the reshape to a picture
        }
        layers.push(Layer::batch_norm(deepest));
        layers.push(Layer::LeakyRelu { slope: 0.0 });
        for i in (0..doublings).rev() {
            let small = base.map(|b| b << (doublings - 1 - i));
            let spec = self.strided(small.map(|s| 2 * s))?;
            let large = if i == 0 { self.channels } else { widths[i - 1] };
            layers.extend(self.label());
            layers.push(Layer::ConvTranspose {
                spec,
                large,
                small: widths[i] + self.classes,
                layout: Layout::Conv,
                bias: false,
                weight: Weight::Plain,
                start: Start::default(),
            });
            if i == 0 {
                layers.push(match self.preset.pixels() {
                    Pixels::Signed => Layer::Tanh,
                    Pixels::Unit => Layer::Sigmoid,
                });
            } else {
                layers.push(Layer::batch_norm(large));
                layers.push(Layer::LeakyRelu { slope: 0.0 });
            }
        }
        Ok(Sequential { layers })
    }

    /// The discriminator: `[n, h, w, c]` to a logit `[n, 1, 1, 1]`.
    ///
    /// # Errors
    /// [`Error::Flag`] where [`Size::base`] fails.
    pub fn discriminator(&self) -> Result<Sequential> {
        let (base, doublings) = self.size.base()?;
        let widths = self.widths(self.ndf, doublings);
        let mut layers = Vec::new();
        for i in 0..doublings {
            let spec = self.strided(base.map(|b| b << (doublings - i)))?;
            let large = if i == 0 { self.channels } else { widths[i - 1] };
            layers.extend(self.label());
            layers.push(Layer::Conv {
                spec,
                large: large + self.classes,
                small: widths[i],
                layout: Layout::Conv,
                bias: false,
                weight: Weight::Plain,
                start: Start::default(),
            });
            if i > 0 {
                layers.push(Layer::batch_norm(widths[i]));
            }
            layers.push(Layer::LeakyRelu { slope: SLOPE });
        }
        let deepest = widths[doublings - 1];
        // What a dense layer reads: its kernel covers the picture, unless the class stands behind
        // the flattened picture once, rather than behind each of its pixels.
        let (cells, large, layout) = match (self.preset, self.label()) {
            (Preset::Pytorch, label) => {
                layers.extend(label);
                (base, deepest + self.classes, Layout::Conv)
            }
            (_, None) => {
                layers.push(Layer::Identity); // the flattening
                (base, deepest, Layout::Flatten)
            }
            (_, Some(label)) => {
                layers.extend([Layer::Flatten, label]);
                ([1, 1], base[0] * base[1] * deepest + self.classes, Layout::Conv)
            }
        };
        let dense = |cells, large, small, layout| Layer::Conv {
            spec: Self::dense(cells),
            large,
            small,
            layout,
            bias: false,
            weight: Weight::Plain,
            start: Start::default(),
        };
        if self.preset == Preset::Mnist {
            let width = DENSE * self.ndf;
            layers.push(dense(cells, large, width, layout));
            layers.extend([Layer::batch_norm(width), Layer::LeakyRelu { slope: SLOPE }]);
            layers.extend(self.label());
            layers.push(dense([1, 1], width + self.classes, 1, layout));
        } else {
            layers.push(dense(cells, large, 1, layout));
        }
        Ok(Sequential { layers })
    }

    /// The geometry of the convolution that halves a picture of size `large`.
    fn strided(&self, large: [usize; 2]) -> Result<ConvSpec> {
        let (kernel, pad) = self.kernel();
        ConvSpec::down(large, kernel, [2, 2], pad).map_err(|what| Error::flag("--size", what))
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
            latent_law: self.preset.latent_law(),
            pixels: self.preset.pixels(),
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

    /// Learnt numbers of a network, `generator` or `discriminator`; 0 where [`Dcgan::params`] fails.
    #[must_use]
    pub fn learnt(&self, network: &str) -> usize {
        let params = self.params().unwrap_or_default();
        let own = params.iter().filter(|p| p.learnt && p.name.starts_with(network));
        own.map(|p| p.shape.iter().product::<usize>()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(size: usize, preset: Preset) -> Dcgan {
        let size = Size { height: size, width: size };
        Dcgan { preset, size, channels: 3, nz: 100, ngf: 64, ndf: 64, classes: 0 }
    }

    /// 3,576,704 and 2,765,568: the counts of PyTorch's example.
    #[test]
    fn pytorch_64_has_the_known_number_of_parameters() {
        let model = model(64, Preset::Pytorch);
        assert_eq!(model.learnt("generator"), 3_576_704);
        assert_eq!(model.learnt("discriminator"), 2_765_568);
    }

    #[test]
    fn paper_64_starts_with_1024_channels() {
        let model = Dcgan { ngf: 128, ndf: 128, ..model(64, Preset::Paper) };
        let params = model.params().expect("64 works");
        assert_eq!(params[0].layout.file_shape(&params[0].shape), [1024 * 16, 100]);
    }

    /// The shapes of the authors' `mnist/train_cond_dcgan.py`, where ours are the same: dense layers
    /// `[in, out]` there are `[out, in]` or `[in, out]` here, and kernels `[small, large, 5, 5]`.
    #[test]
    fn conditional_mnist_has_the_authors_shapes() {
        let mut model = Dcgan { channels: 1, classes: 10, ..model(28, Preset::Mnist) };
        let shapes = |model: Dcgan| -> Vec<(String, Vec<usize>)> {
            let params = model.params().expect("28 works").into_iter();
            let weights = params.filter(|p| p.layout != Layout::Plain);
            weights.map(|p| (p.name.clone(), p.layout.file_shape(&p.shape))).collect()
        };
        let sizes: Vec<usize> =
            shapes(model).iter().map(|(_, shape)| shape.iter().product()).collect();
        let (nz, ny, ngf) = (100, 10, 64);
        let generator = [
            (nz + ny) * 1024,
            (1024 + ny) * ngf * 2 * 49,
            (ngf * 2 + ny) * ngf * 25,
            (ngf + ny) * 25,
        ];
        let discriminator =
            [ngf * (1 + ny) * 25, ngf * 2 * (ngf + ny) * 25, (ngf * 2 * 49 + ny) * 1024, 1024 + ny];
        assert_eq!(sizes, [generator, discriminator].concat());
        let networks = model.networks().expect("28 works");
        assert_eq!(networks.check(), Ok(()));
        assert_eq!(networks.classes.len(), 10);
        // Without classes there is a dense layer on a picture, as PyTorch has it.
        model.classes = 0;
        assert_eq!(shapes(model)[6].1, [1024, ngf * 2 * 49]);
        assert_eq!(model.networks().expect("28 works").check(), Ok(()));
    }

    #[test]
    fn every_layer_that_has_weights_is_told_the_class() {
        for preset in [Preset::Pytorch, Preset::Paper, Preset::Mnist] {
            let model = Dcgan { classes: 3, ..model(32, preset) };
            for network in [model.generator(), model.discriminator()] {
                let layers = network.expect("32 works").layers;
                for (i, layer) in layers.iter().enumerate() {
                    if matches!(layer, Layer::Conv { .. } | Layer::ConvTranspose { .. }) {
                        let before = i.checked_sub(1).map(|i| &layers[i]);
                        assert_eq!(before, Some(&Layer::Label { classes: 3 }), "{preset} {i}");
                    }
                }
            }
            assert_eq!(model.networks().expect("32 works").check(), Ok(()));
        }
    }

    #[test]
    fn sizes() {
        let base = |s: &str| s.parse::<Size>().ok().and_then(|s| s.base().ok());
        assert_eq!(base("64"), Some(([4, 4], 4)));
        assert_eq!(base("96x64"), Some(([6, 4], 4)));
        assert_eq!(base("28"), Some(([7, 7], 2)));
        assert_eq!(base("8"), Some(([4, 4], 1)));
        assert_eq!(base("256"), Some(([4, 4], 6)));
        for bad in ["0", "7", "100", "65", "512", "64x", "x", "-64", "256x8"] {
            assert_eq!(base(bad), None, "{bad}");
        }
        let error = "100".parse::<Size>().expect_err("100 is 25 · 4");
        assert!(error.contains("96, 112"), "{error}");
    }
}
