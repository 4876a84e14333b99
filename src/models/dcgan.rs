//! DCGAN (Radford, Metz and Chintala, arXiv 1511.06434): the paper's networks, those of its authors'
//! MNIST code, and those of PyTorch's well-known example.
//!
//! Any of them can be conditional as the authors' MNIST networks are: the image's one-hot class is
//! joined to the input of every layer of both networks, as planes to images and as entries to
//! vectors.

use crate::error::{Error, Result};
use crate::nn::{Layer, Layout, Sequential};
use crate::ops::conv::ConvSpec;

use super::config::{Architecture, ModelConfig};
use super::parts::{End, Stack, covering};

/// Maximum channels of the deepest feature map in units of `ngf` or `ndf`.
const WIDEST: usize = 16;

/// Width of the dense layers of [`Architecture::Mnist`] in units of `ngf` or `ndf`: 1024 by default.
const DENSE: usize = 16;

/// The discriminator's slope (paper, section 3).
const SLOPE: f32 = 0.2;

const RELU: Layer = Layer::relu();
const LEAKY: Layer = Layer::leaky_relu(SLOPE);

/// Channels of the feature maps, from the largest map to the smallest.
fn widths(width: usize, doublings: usize) -> Vec<usize> {
    (0..doublings).map(|i| width * (1 << i).min(WIDEST)).collect()
}

/// The geometry of the convolution that halves an image of size `large`.
pub(super) fn strided(config: &ModelConfig, large: [usize; 2]) -> Result<ConvSpec> {
    let (kernel, pad) = match config.network {
        Architecture::Dcgan => ([4, 4], [1, 1]),
        _ => ([5, 5], [2, 2]),
    };
    ConvSpec::down(large, kernel, [2, 2], pad).map_err(|what| Error::config("size", what))
}

/// The generator. Without a norm, hidden layers have biases instead. The embedding of a text is
/// appended to the latent.
///
/// # Errors
/// [`Error::Config`] if [`super::Size::base`] fails, or the options cannot be combined.
pub(super) fn generator(config: &ModelConfig) -> Result<Sequential> {
    let (base, doublings) = config.size.base()?;
    let widths = widths(config.ngf, doublings);
    let deepest = widths[doublings - 1];
    let mut stack = Stack::generator(config);
    let bias = stack.bias();
    let mut from = config.nz + stack.text();
    if config.network == Architecture::Mnist {
        let width = DENSE * config.ngf;
        from += stack.label();
        stack.push(Layer::project([1, 1], width, from, bias));
        stack.norm(width);
        stack.push(RELU);
        from = width;
    }
    from += stack.label();
    if config.network == Architecture::Dcgan {
        stack.push(Layer::conv_transpose(ConvSpec::dense(base), deepest, from, bias));
    } else {
        stack.push(Layer::project(base, deepest, from, bias));
        stack.push(Layer::Identity); // the reshape to an image
    }
    stack.norm(deepest);
    stack.push(RELU);
    for i in (0..doublings).rev() {
        let small = base.map(|b| b << (doublings - 1 - i));
        let spec = strided(config, small.map(|s| 2 * s))?;
        let from = widths[i] + stack.label();
        if i == 0 {
            stack.push(Layer::conv_transpose(spec, config.channels, from, false));
            stack.pixels();
        } else {
            stack.push(Layer::conv_transpose(spec, widths[i - 1], from, bias));
            stack.norm(widths[i - 1]);
            stack.push(RELU);
        }
    }
    stack.finish()
}

/// The discriminator. Its first layer has no norm (paper, section 3). The embedding of a text is
/// appended to every pixel of the smallest feature map, followed by a convolution of single pixels.
///
/// # Errors
/// See [`generator`].
pub(super) fn discriminator(config: &ModelConfig, mut stack: Stack<'_>) -> Result<Sequential> {
    let (base, doublings) = config.size.base()?;
    let widths = widths(config.ndf, doublings);
    let bias = stack.bias();
    for i in 0..doublings {
        let spec = strided(config, base.map(|b| b << (doublings - i)))?;
        let from = if i == 0 { config.channels } else { widths[i - 1] };
        let from = from + stack.label();
        stack.push(Layer::conv(spec, from, widths[i], bias && i > 0));
        if i > 0 {
            stack.norm(widths[i]);
        }
        stack.push(LEAKY);
    }
    let [h, w] = base;
    let deepest = widths[doublings - 1];
    let text = stack.text();
    if text > 0 {
        // What the image and the text have in common, at each pixel of the smallest feature map.
        let spec = ConvSpec::down(base, [1, 1], [1, 1], [0, 0]);
        let spec = spec.map_err(|what| Error::config("size", what))?;
        stack.push(Layer::conv(spec, deepest + text, deepest, bias));
        stack.norm(deepest);
        stack.push(LEAKY);
    }
    match config.network {
        Architecture::Dcgan => stack.head([h, w, deepest], End::Cover, false),
        Architecture::Mnist => {
            let width = DENSE * config.ndf;
            let (cells, from, layout) = if config.tells_every_layer() {
                // Appended to the vector once, rather than to each of its pixels.
                stack.push(Layer::Flatten);
                ([1, 1], h * w * deepest + stack.label(), Layout::Conv)
            } else {
                stack.push(Layer::Identity); // the flattening
                (base, deepest, Layout::Flatten)
            };
            stack.push(covering(cells, from, width, layout, bias));
            stack.norm(width);
            stack.push(LEAKY);
            let end = if layout == Layout::Conv { End::Cover } else { End::Vector };
            stack.head([1, 1, width], end, false);
        }
        _ => stack.head([h, w, deepest], End::Vector, false),
    }
    stack.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Role;
    use crate::models::Size;
    use crate::nn::{Label, TEXT};
    use crate::text::TextEncoder;

    fn model(size: usize, network: Architecture) -> ModelConfig {
        let size = Size { height: size, width: size };
        ModelConfig {
            network,
            size,
            channels: 3,
            nz: 100,
            ngf: 64,
            ndf: 64,
            ..ModelConfig::default()
        }
    }

    /// 3,576,704 and 2,765,568: the counts of PyTorch's example.
    #[test]
    fn pytorch_64_has_the_known_number_of_parameters() {
        let model = model(64, Architecture::Dcgan);
        assert_eq!(model.learned("generator"), 3_576_704);
        assert_eq!(model.learned("discriminator"), 2_765_568);
    }

    #[test]
    fn paper_64_starts_with_1024_channels() {
        let model = ModelConfig { ngf: 128, ndf: 128, ..model(64, Architecture::Paper) };
        let params = model.params().expect("64 works");
        assert_eq!(params[0].layout.file_shape(&params[0].shape), [1024 * 16, 100]);
    }

    /// The shapes of the authors' `mnist/train_cond_dcgan.py`, where ours are the same: dense layers
    /// `[in, out]` there are `[out, in]` or `[in, out]` here, and kernels `[small, large, 5, 5]`.
    #[test]
    fn conditional_mnist_has_the_authors_shapes() {
        let mut model = ModelConfig { channels: 1, classes: 10, ..model(28, Architecture::Mnist) };
        let shapes = |model: ModelConfig| -> Vec<(String, Vec<usize>)> {
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
        // Without classes there is a dense layer on an image, as PyTorch has it.
        model.classes = 0;
        assert_eq!(shapes(model)[6].1, [1024, ngf * 2 * 49]);
        assert_eq!(model.networks().expect("28 works").check(), Ok(()));
    }

    /// The text is embedded in 128 numbers: behind the latent, and behind each pixel of the smallest
    /// feature map.
    #[test]
    fn texts_enter_both_networks_once() {
        for (network, size) in
            [(Architecture::Dcgan, 32), (Architecture::Dcgan, 64), (Architecture::Paper, 16)]
        {
            let plain = ModelConfig { ngf: 8, ndf: 8, ..model(size, network) };
            let config = ModelConfig { text: 200, ..plain };
            let networks = config.networks_on(TextEncoder::of_width(200)).expect("it fits");
            assert_eq!(networks.check(), Ok(()));
            assert!(networks.has_text() && config.networks().is_err(), "no encoder");
            for role in [Role::Generator, Role::Discriminator] {
                let each = networks.of(role).expect("there is one").each();
                let joins = each.iter().filter(|(_, layer)| layer.side_input() == Some(TEXT));
                assert_eq!(joins.count(), 1, "{network} {role}");
            }
            let more = |name| config.learned(name) - plain.learned(name);
            let dense = 201 * 128;
            let deepest = 8 << (plain.size.base().expect("it works").1 - 1);
            assert_eq!(more("generator"), dense + 128 * 16 * deepest);
            // The dense layer leaves its bias to batch norm, as the convolution does.
            let norms = 2 * 128 + 2 * deepest;
            let convolution = (deepest + 128) * deepest;
            assert_eq!(more("discriminator"), 200 * 128 + convolution + norms);
        }
    }

    #[test]
    fn every_layer_that_has_weights_takes_the_class() {
        for network in [Architecture::Dcgan, Architecture::Paper, Architecture::Mnist] {
            let model = ModelConfig { classes: 3, ..model(32, network) };
            for layers in [model.generator(), model.discriminator()] {
                let layers = layers.expect("32 works").layers;
                for (i, layer) in layers.iter().enumerate() {
                    if matches!(layer, Layer::Conv(_) | Layer::ConvTranspose(_)) {
                        let before = i.checked_sub(1).map(|i| &layers[i]);
                        assert_eq!(
                            before,
                            Some(&Layer::Label(Label { classes: 3 })),
                            "{network} {i}"
                        );
                    }
                }
            }
            assert_eq!(model.networks().expect("32 works").check(), Ok(()));
        }
    }
}
