//! What each kind of layer owns, and what it records on a tape.

use crate::error::Result;
use crate::tape::{Tape, Var};
use crate::tensor::DType;

use super::norm::per_cell;
use super::param::Owned;
use super::pass::Walk;
use super::weight::Kernel;
use super::{Init, Layer, Layout, Statistics};
use super::{
    attention, codes, minibatch, noise, norm, projection, resample, standardise, virtual_batch,
};

/// Where norms' scales start, as DCGAN's authors have it.
const DCGAN_SCALE: Init = Init::Normal { mean: 1.0, std: 0.02 };
const ZERO: Init = Init::Constant(0.0);
const ONE: Init = Init::Constant(1.0);

/// Records the layers called `scope.0`, `scope.1`, … on `x`, and what each gives.
pub(super) fn all(
    layers: &[Layer],
    t: &mut Tape,
    scope: &str,
    x: Var,
    walk: &mut Walk<'_>,
) -> Result<Vec<Var>> {
    let mut x = x;
    let mut outputs = Vec::with_capacity(layers.len());
    for (i, layer) in layers.iter().enumerate() {
        x = layer.record(t, &format!("{scope}.{i}"), x, walk)?;
        outputs.push(x);
    }
    Ok(outputs)
}

/// The tensors of the layers called `scope.0`, `scope.1`, …
pub(super) fn params(layers: &[Layer], owned: &mut Owned<'_>) {
    for (i, layer) in layers.iter().enumerate() {
        owned.part(&i.to_string(), |owned| layer.params(owned));
    }
}

impl Layer {
    /// The shape on the device of a convolution's bias, and its layout.
    fn bias(&self) -> (Vec<usize>, Layout) {
        match *self {
            Self::ConvTranspose { spec, large, layout: Layout::Project, .. } => {
                per_cell(spec.kernel, large)
            }
            Self::ConvTranspose { large, .. } => (vec![large], Layout::Plain),
            Self::Conv { small, .. } => (vec![small], Layout::Plain),
            _ => (Vec::new(), Layout::Plain),
        }
    }

    /// Its weights, with the names of the parts that own them.
    pub(super) fn kernels(&self) -> Vec<(&'static str, Kernel)> {
        match *self {
            Self::Attention { channels, weight, start } => {
                attention::kernels(channels, weight, start).into()
            }
            Self::Projection { features, classes, weight, start } => {
                projection::kernels(features, classes, weight, start).into()
            }
            _ => Kernel::of(self).map(|kernel| ("", kernel)).into_iter().collect(),
        }
    }

    /// Its tensors.
    fn params(&self, owned: &mut Owned<'_>) {
        let plain = |shape: &[usize]| (shape.to_vec(), Layout::Plain);
        match *self {
            Self::Conv { bias, .. } | Self::ConvTranspose { bias, .. } => {
                Kernel::of(self).iter().for_each(|kernel| kernel.params(owned));
                if bias {
                    owned.learnt("bias", self.bias(), ZERO);
                }
            }
            Self::BatchNorm { channels, cells, statistics, .. } => {
                let shape = || per_cell(cells, channels);
                owned.learnt("weight", shape(), DCGAN_SCALE);
                owned.learnt("bias", shape(), ZERO);
                if statistics == Statistics::Running {
                    owned.statistic("running_mean", shape(), ZERO);
                    owned.statistic("running_var", shape(), ONE);
                }
            }
            Self::ConditionalBatchNorm { channels, classes, .. } => {
                owned.learnt("gamma.weight", plain(&[classes, channels]), ONE);
                owned.learnt("beta.weight", plain(&[classes, channels]), ZERO);
                owned.statistic("running_mean", plain(&[channels]), ZERO);
                owned.statistic("running_var", plain(&[channels]), ONE);
            }
            Self::Reference { count, size: [h, w, c], uniform } => {
                let init = if uniform {
                    Init::Uniform { low: -1.0, high: 1.0 }
                } else {
                    Init::Normal { mean: 0.0, std: 1.0 }
                };
                owned.kept("reference", plain(&[count, h, w, c]), init);
            }
            Self::VirtualBatchNorm { channels, .. } => {
                owned.learnt("weight", plain(&[channels]), DCGAN_SCALE);
                owned.learnt("bias", plain(&[channels]), ZERO);
            }
            Self::GroupNorm { channels, .. } => {
                owned.learnt("weight", plain(&[channels]), ONE);
                owned.learnt("bias", plain(&[channels]), ZERO);
            }
            Self::MinibatchDiscrimination { features, kernels, dims } => {
                // Columns of length 1, about, as the authors' are normalised to.
                let std = (features as f32).sqrt().recip();
                let init = Init::Normal { mean: 0.0, std };
                owned.learnt("T", plain(&[features, kernels, dims]), init);
            }
            Self::Attention { .. } => attention::params(&self.kernels(), owned),
            Self::Residual { ref main, ref shortcut } => {
                owned.part("main", |owned| params(main, owned));
                owned.part("shortcut", |owned| params(shortcut, owned));
            }
            Self::Projection { features, classes, weight, start } => {
                projection::params(projection::kernels(features, classes, weight, start), owned);
            }
            Self::PixelNorm { .. }
            | Self::LeakyRelu { .. }
            | Self::Tanh
            | Self::Sigmoid
            | Self::Softplus
            | Self::Identity
            | Self::Label { .. }
            | Self::Codes { .. }
            | Self::Flatten
            | Self::Upsample
            | Self::AveragePool
            | Self::SumPool
            | Self::Noise { .. }
            | Self::Dropout { .. }
            | Self::MinibatchStd { .. } => {}
        }
    }

    /// Records the layer called `scope` on `x` `[n, h, w, c]`.
    fn record(&self, t: &mut Tape, scope: &str, x: Var, walk: &mut Walk<'_>) -> Result<Var> {
        match *self {
            Self::Conv { spec, .. } | Self::ConvTranspose { spec, .. } => {
                self.convolve(t, scope, x, spec, walk)
            }
            Self::BatchNorm { .. } => norm::batch_norm(t, scope, x, self, walk),
            Self::ConditionalBatchNorm { channels, classes, eps } => {
                norm::conditional_batch_norm(t, scope, x, [channels, classes], eps, walk)
            }
            Self::Reference { count, size: [h, w, c], .. } => {
                virtual_batch::put_reference(t, scope, x, [count, h, w, c], walk)
            }
            Self::VirtualBatchNorm { eps, .. } => {
                virtual_batch::virtual_batch_norm(t, scope, x, eps, walk)
            }
            Self::GroupNorm { groups, eps, .. } => norm::group_norm(t, scope, x, groups, eps),
            Self::PixelNorm { eps } => norm::pixel_norm(t, x, eps),
            Self::LeakyRelu { slope } => t.leaky_relu(x, slope),
            Self::Tanh => t.tanh(x),
            Self::Sigmoid => t.sigmoid(x),
            Self::Softplus => t.softplus(x),
            Self::Identity => Ok(x),
            Self::Label { classes } => {
                let labels = walk.labels(t, scope, classes)?;
                t.append(x, labels)
            }
            Self::Codes { categories, numbers, uniform } => {
                codes::codes(t, x, [categories, numbers], uniform)
            }
            Self::Flatten => {
                let shape = t.shape(x).to_vec();
                t.reshape(x, &[shape[0], 1, 1, shape[1..].iter().product()])
            }
            Self::Upsample => resample::upsample(t, x),
            Self::AveragePool => resample::average_pool(t, x),
            Self::SumPool => resample::sum_pool(t, x),
            Self::Noise { std } => noise::add_noise(t, scope, x, std, walk),
            Self::Dropout { p } => noise::drop_out(t, scope, x, p, walk),
            Self::MinibatchDiscrimination { features, kernels, dims } => {
                minibatch::discrimination(t, scope, x, [features, kernels, dims])
            }
            Self::MinibatchStd { group } => minibatch::deviation(t, scope, x, group),
            Self::Attention { channels, weight, start } => {
                let kernels = attention::kernels(channels, weight, start);
                attention::attention(t, scope, x, kernels)
            }
            Self::Residual { ref main, ref shortcut } => {
                let mut part = |t: &mut Tape, name: &str, layers: &[Self]| {
                    let outputs = all(layers, t, &format!("{scope}.{name}"), x, walk)?;
                    Ok::<_, crate::error::Error>(outputs.last().copied().unwrap_or(x))
                };
                let y = part(t, "main", main)?;
                let short = part(t, "shortcut", shortcut)?;
                t.add(y, short)
            }
            Self::Projection { features, classes, weight, start } => {
                let kernels = projection::kernels(features, classes, weight, start);
                projection::projection(t, scope, x, [features, classes], kernels, walk)
            }
        }
    }

    fn convolve(
        &self,
        t: &mut Tape,
        scope: &str,
        x: Var,
        spec: crate::ops::conv::ConvSpec,
        walk: &Walk<'_>,
    ) -> Result<Var> {
        let Some(kernel) = Kernel::of(self) else { return Ok(x) };
        let w = kernel.record(t, scope)?;
        let (y, bias) = match *self {
            Self::ConvTranspose { bias, .. } => (t.conv_transpose2d(x, w, spec)?, bias),
            Self::Conv { bias, .. } => (t.conv2d(x, w, spec)?, bias),
            _ => return Ok(x),
        };
        if !bias {
            return Ok(y);
        }
        let (shape, _) = self.bias();
        if walk.is_starting() && kernel.is_normed() {
            return standardise::standardise(t, scope, y, &kernel, &shape);
        }
        let bias = t.read(&format!("{scope}.bias"), &shape, DType::F32)?;
        t.add(y, bias)
    }
}
