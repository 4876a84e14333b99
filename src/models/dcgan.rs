//! DCGAN (Radford, Metz and Chintala, arXiv 1511.06434): the paper's networks, those of its authors'
//! MNIST code, and those of PyTorch's well-known example.
//!
//! Any of them can be conditional, as the authors' MNIST networks are: the picture's class, one
//! number for each class, 1 at its place and else 0, is joined to the input of every layer of both
//! networks, as planes to pictures and as numbers to vectors.

use crate::error::{Error, Result};
use crate::nn::{Layer, Layout, Sequential};
use crate::ops::conv::ConvSpec;

use super::design::{Design, Network};
use super::networks::Pixels;

/// How many times `ngf` or `ndf` the deepest picture may have channels.
const WIDEST: usize = 16;

/// How many times `ngf` or `ndf` the dense layers of [`Network::Mnist`] are wide: 1024 numbers by
/// default.
const DENSE: usize = 16;

/// The discriminator's slope (paper, section 3).
const SLOPE: f32 = 0.2;

/// Channels of the hidden pictures, from the largest picture to the smallest.
fn widths(width: usize, doublings: usize) -> Vec<usize> {
    (0..doublings).map(|i| width * (1 << i).min(WIDEST)).collect()
}

/// Kernel and padding of the strided convolutions.
const fn kernel(design: &Design) -> ([usize; 2], [usize; 2]) {
    match design.network {
        Network::Dcgan => ([4, 4], [1, 1]),
        Network::Paper | Network::Mnist => ([5, 5], [2, 2]),
    }
}

/// The geometry that covers a whole picture of size `base` with one kernel.
pub(super) const fn dense(base: [usize; 2]) -> ConvSpec {
    ConvSpec { kernel: base, stride: [1, 1], pad: [0, 0], large: base, small: [1, 1] }
}

/// The class, at the input of a layer; nothing where there are none.
fn label(design: &Design) -> Option<Layer> {
    (design.classes > 0).then_some(Layer::Label { classes: design.classes })
}

/// The generator: `[n, 1, 1, nz]` to `[n, h, w, c]`, in [−1, 1], or in [0, 1] where
/// [`Network::pixels`] says so.
///
/// # Errors
/// [`Error::Flag`] where [`Size::base`] fails.
pub(super) fn generator(design: &Design) -> Result<Sequential> {
    let (base, doublings) = design.size.base()?;
    let widths = widths(design.ngf, doublings);
    let deepest = widths[doublings - 1];
    let projects = design.network != Network::Dcgan;
    let mut layers = Vec::new();
    let mut from = design.nz;
    if design.network == Network::Mnist {
        let width = DENSE * design.ngf;
        layers.extend(label(design));
        layers.push(Layer::ConvTranspose {
            spec: dense([1, 1]),
            large: width,
            small: from + design.classes,
            layout: Layout::Project,
            bias: false,
        });
        layers.extend([Layer::batch_norm(width), Layer::LeakyRelu { slope: 0.0 }]);
        from = width;
    }
    layers.extend(label(design));
    layers.push(Layer::ConvTranspose {
        spec: dense(base),
        large: deepest,
        small: from + design.classes,
        layout: if projects { Layout::Project } else { Layout::Conv },
        bias: false,
    });
    if projects {
        layers.push(Layer::Identity); // the reshape to a picture
    }
    layers.push(Layer::batch_norm(deepest));
    layers.push(Layer::LeakyRelu { slope: 0.0 });
    for i in (0..doublings).rev() {
        let small = base.map(|b| b << (doublings - 1 - i));
        let spec = strided(design, small.map(|s| 2 * s))?;
        let large = if i == 0 { design.channels } else { widths[i - 1] };
        layers.extend(label(design));
        layers.push(Layer::ConvTranspose {
            spec,
            large,
            small: widths[i] + design.classes,
            layout: Layout::Conv,
            bias: false,
        });
        if i == 0 {
            layers.push(match design.network.pixels() {
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
pub(super) fn discriminator(design: &Design) -> Result<Sequential> {
    let (base, doublings) = design.size.base()?;
    let widths = widths(design.ndf, doublings);
    let mut layers = Vec::new();
    for i in 0..doublings {
        let spec = strided(design, base.map(|b| b << (doublings - i)))?;
        let large = if i == 0 { design.channels } else { widths[i - 1] };
        layers.extend(label(design));
        layers.push(Layer::Conv {
            spec,
            large: large + design.classes,
            small: widths[i],
            layout: Layout::Conv,
            bias: false,
        });
        if i > 0 {
            layers.push(Layer::batch_norm(widths[i]));
        }
        layers.push(Layer::LeakyRelu { slope: SLOPE });
    }
    let deepest = widths[doublings - 1];
    // What a dense layer reads: its kernel covers the picture, unless the class stands behind
    // the flattened picture once, rather than behind each of its pixels.
    let (cells, large, layout) = match (design.network, label(design)) {
        (Network::Dcgan, label) => {
            layers.extend(label);
            (base, deepest + design.classes, Layout::Conv)
        }
        (_, None) => {
            layers.push(Layer::Identity); // the flattening
            (base, deepest, Layout::Flatten)
        }
        (_, Some(label)) => {
            layers.extend([Layer::Flatten, label]);
            ([1, 1], base[0] * base[1] * deepest + design.classes, Layout::Conv)
        }
    };
    let linear = |cells, large, small, layout| Layer::Conv {
        spec: dense(cells),
        large,
        small,
        layout,
        bias: false,
    };
    if design.network == Network::Mnist {
        let width = DENSE * design.ndf;
        layers.push(linear(cells, large, width, layout));
        layers.extend([Layer::batch_norm(width), Layer::LeakyRelu { slope: SLOPE }]);
        layers.extend(label(design));
        layers.push(linear([1, 1], width + design.classes, 1, layout));
    } else {
        layers.push(linear(cells, large, 1, layout));
    }
    Ok(Sequential { layers })
}

/// The geometry of the convolution that halves a picture of size `large`.
fn strided(design: &Design, large: [usize; 2]) -> Result<ConvSpec> {
    let (kernel, pad) = kernel(design);
    ConvSpec::down(large, kernel, [2, 2], pad).map_err(|what| Error::flag("--size", what))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::Size;

    fn model(size: usize, network: Network) -> Design {
        let size = Size { height: size, width: size };
        Design { network, size, channels: 3, nz: 100, ngf: 64, ndf: 64, ..Design::default() }
    }

    /// 3,576,704 and 2,765,568: the counts of PyTorch's example.
    #[test]
    fn pytorch_64_has_the_known_number_of_parameters() {
        let model = model(64, Network::Dcgan);
        assert_eq!(model.learnt("generator"), 3_576_704);
        assert_eq!(model.learnt("discriminator"), 2_765_568);
    }

    #[test]
    fn paper_64_starts_with_1024_channels() {
        let model = Design { ngf: 128, ndf: 128, ..model(64, Network::Paper) };
        let params = model.params().expect("64 works");
        assert_eq!(params[0].layout.file_shape(&params[0].shape), [1024 * 16, 100]);
    }

    /// The shapes of the authors' `mnist/train_cond_dcgan.py`, where ours are the same: dense layers
    /// `[in, out]` there are `[out, in]` or `[in, out]` here, and kernels `[small, large, 5, 5]`.
    #[test]
    fn conditional_mnist_has_the_authors_shapes() {
        let mut model = Design { channels: 1, classes: 10, ..model(28, Network::Mnist) };
        let shapes = |model: Design| -> Vec<(String, Vec<usize>)> {
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
        for network in [Network::Dcgan, Network::Paper, Network::Mnist] {
            let model = Design { classes: 3, ..model(32, network) };
            for layers in [model.generator(), model.discriminator()] {
                let layers = layers.expect("32 works").layers;
                for (i, layer) in layers.iter().enumerate() {
                    if matches!(layer, Layer::Conv { .. } | Layer::ConvTranspose { .. }) {
                        let before = i.checked_sub(1).map(|i| &layers[i]);
                        assert_eq!(before, Some(&Layer::Label { classes: 3 }), "{network} {i}");
                    }
                }
            }
            assert_eq!(model.networks().expect("32 works").check(), Ok(()));
        }
    }
}
