//! The kinds of layers: what each owns, and what it records on a tape.

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::ops::conv::ConvSpec;
use crate::tape::{Tape, Var};
use crate::tensor::DType;

use super::conv::{add_bias, bias_shape};
use super::label::append_label;
use super::norm::{BATCH_NORM_EPS, batch_norm, per_cell};
use super::{Init, Layout, Mode, Param, Statistics};

/// One layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "layer", rename_all = "snake_case", deny_unknown_fields)]
pub enum Layer {
    /// Convolution from `large` to `small` channels.
    Conv {
        /// Its geometry.
        spec: ConvSpec,
        /// Channels of the input.
        large: usize,
        /// Channels of the output.
        small: usize,
        /// How its weights are stored in files.
        layout: Layout,
        /// Whether a number for each output channel is added; a [`Layout::Project`] has one for
        /// each output number.
        bias: bool,
    },
    /// Transposed convolution from `small` to `large` channels.
    ConvTranspose {
        /// Its geometry.
        spec: ConvSpec,
        /// Channels of the output.
        large: usize,
        /// Channels of the input.
        small: usize,
        /// How its weights are stored in files.
        layout: Layout,
        /// As a convolution's.
        bias: bool,
    },
    /// Batch norm with learnt scale and shift.
    BatchNorm {
        /// Channels.
        channels: usize,
        /// Height and width of pictures whose pixels have statistics of their own, as after a
        /// projection that is normalised before it becomes a picture; `[1, 1]` for statistics of
        /// whole channels.
        cells: [usize; 2],
        /// Added to the variance.
        eps: f32,
        /// What it normalises by after training.
        statistics: Statistics,
    },
    /// Leaky ReLU; slope 0 is ReLU.
    LeakyRelu {
        /// The slope of the negative half.
        slope: f32,
    },
    /// Hyperbolic tangent.
    Tanh,
    /// `1 / (1 + e⁻ˣ)`.
    Sigmoid,
    /// Nothing but a number in PyTorch's naming, such as a reshape.
    Identity,
    /// The picture's class, behind the channels of every pixel: 1 at its place, else 0. Needs the
    /// labels that [`Sequential::trace_labelled`] is given.
    Label {
        /// How many classes there are.
        classes: usize,
    },
    /// A picture `[h, w, c]` as one pixel of `h · w · c` channels, in that order.
    Flatten,
}

impl Layer {
    /// Batch norm of `channels` channels as PyTorch's `BatchNorm2d` by default.
    #[must_use]
    pub const fn batch_norm(channels: usize) -> Self {
        let statistics = Statistics::Running;
        Self::BatchNorm { channels, cells: [1, 1], eps: BATCH_NORM_EPS, statistics }
    }
}

impl Layer {
    /// All tensors of the layer called `scope`.
    pub(super) fn params(&self, scope: &str, params: &mut Vec<Param>) {
        let mut add = |name: &str, shape: &[usize], init, learnt, layout| {
            let name = format!("{scope}.{name}");
            params.push(Param { name, shape: shape.to_vec(), init, learnt, layout });
        };
        match *self {
            Layer::Conv { spec, large, small, layout, bias }
            | Layer::ConvTranspose { spec, large, small, layout, bias } => {
                let shape = [spec.kernel[0], spec.kernel[1], large, small];
                add("weight", &shape, Init::Normal { mean: 0.0, std: 0.02 }, true, layout);
                if bias {
                    let (shape, layout) = bias_shape(self);
                    add("bias", &shape, Init::Constant(0.0), true, layout);
                }
            }
            Layer::BatchNorm { channels, cells, statistics, .. } => {
                let (shape, layout) = per_cell(cells, channels);
                add("weight", &shape, Init::Normal { mean: 1.0, std: 0.02 }, true, layout);
                add("bias", &shape, Init::Constant(0.0), true, layout);
                if statistics == Statistics::Running {
                    add("running_mean", &shape, Init::Constant(0.0), false, layout);
                    add("running_var", &shape, Init::Constant(1.0), false, layout);
                }
            }
            Layer::LeakyRelu { .. }
            | Layer::Tanh
            | Layer::Sigmoid
            | Layer::Identity
            | Layer::Label { .. }
            | Layer::Flatten => {}
        }
    }

    /// Records the layer called `scope` on `x`.
    pub(super) fn record(
        &self,
        t: &mut Tape,
        scope: &str,
        x: Var,
        labels: Option<Var>,
        mode: Mode,
    ) -> Result<Var> {
        let name = |param: &str| format!("{scope}.{param}");
        let y = match *self {
            Layer::Conv { spec, large, small, bias, .. } => {
                let shape = [spec.kernel[0], spec.kernel[1], large, small];
                let w = t.read(&name("weight"), &shape, DType::F32)?;
                let y = t.conv2d(x, w, spec)?;
                if bias { add_bias(t, &name("bias"), y, self)? } else { y }
            }
            Layer::ConvTranspose { spec, large, small, bias, .. } => {
                let shape = [spec.kernel[0], spec.kernel[1], large, small];
                let w = t.read(&name("weight"), &shape, DType::F32)?;
                let y = t.conv_transpose2d(x, w, spec)?;
                if bias { add_bias(t, &name("bias"), y, self)? } else { y }
            }
            Layer::BatchNorm { .. } => batch_norm(t, &name, x, self, mode)?,
            Layer::LeakyRelu { slope } => t.leaky_relu(x, slope)?,
            Layer::Tanh => t.tanh(x)?,
            Layer::Sigmoid => t.sigmoid(x)?,
            Layer::Identity => x,
            Layer::Label { classes } => append_label(t, scope, x, labels, classes)?,
            Layer::Flatten => {
                let shape = t.shape(x).to_vec();
                t.reshape(x, &[shape[0], 1, 1, shape[1..].iter().product()])?
            }
        };
        Ok(y)
    }
}
