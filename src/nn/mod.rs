//! Layers and initialisers: what a network is made of, recorded on a tape by name.
//!
//! A layer owns no numbers. Its parameters are states called `<network>.<layer>.<parameter>`, named
//! as PyTorch names them; [`Sequential::forward`] reads them from the tape, so that the same network
//! runs on trained, averaged or freshly updated weights by its prefix alone.

use crate::error::Result;
use crate::ops::conv::ConvSpec;
use crate::rng::Stream;
use crate::tape::{Tape, Var};
use crate::tensor::{DType, Tensor};

mod layout;

pub use layout::Layout;

/// How a parameter starts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// Normal numbers.
    Normal {
        /// Their mean.
        mean: f32,
        /// Their standard deviation.
        std: f32,
    },
    /// One number everywhere.
    Constant(f32),
}

/// A tensor that a layer owns.
#[derive(Clone, Debug)]
pub struct Param {
    /// Its name, with the network's prefix.
    pub name: String,
    /// Its shape on the device.
    pub shape: Vec<usize>,
    /// How it starts.
    pub init: Init,
    /// Whether it is learnt (else it is a running statistic).
    pub learnt: bool,
    /// How it is stored in files.
    pub layout: Layout,
}

impl Param {
    /// Its value before training: a function of the seed and its name alone.
    #[must_use]
    pub fn initial(&self, seed: u64) -> Tensor {
        let mut tensor = vec![0.0; self.shape.iter().product()];
        match self.init {
            Init::Constant(value) => tensor.fill(value),
            Init::Normal { mean, std } => {
                Stream::new(seed, &self.name, 0).fill_normal(&mut tensor);
                for x in &mut tensor {
                    *x = mean + std * *x;
                }
            }
        }
        Tensor::new(self.shape.clone(), tensor).expect("the data was made for the shape")
    }
}

/// Whether batch norm uses the batch's statistics (and updates the running ones) or the running
/// ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Statistics of the batch; running statistics are updated.
    Train,
    /// Running statistics: one picture does not depend on its neighbours.
    Eval,
}

/// Batch norm's ε and the weight of a new batch in the running statistics, as PyTorch's defaults.
pub const BATCH_NORM_EPS: f32 = 1e-5;
const BATCH_NORM_MOMENTUM: f32 = 0.1;

/// One layer.
#[derive(Clone, Debug, PartialEq)]
pub enum Layer {
    /// Convolution from `large` to `small` channels, without bias.
    Conv {
        /// Its geometry.
        spec: ConvSpec,
        /// Channels of the input.
        large: usize,
        /// Channels of the output.
        small: usize,
        /// How its weights are stored in files.
        layout: Layout,
    },
    /// Transposed convolution from `small` to `large` channels, without bias.
    ConvTranspose {
        /// Its geometry.
        spec: ConvSpec,
        /// Channels of the output.
        large: usize,
        /// Channels of the input.
        small: usize,
        /// How its weights are stored in files.
        layout: Layout,
    },
    /// Batch norm with learnt scale and shift.
    BatchNorm {
        /// Channels.
        channels: usize,
    },
    /// Leaky ReLU; slope 0 is ReLU.
    LeakyRelu {
        /// The slope of the negative half.
        slope: f32,
    },
    /// Hyperbolic tangent.
    Tanh,
    /// Nothing but a number in PyTorch's naming, such as a reshape.
    Identity,
}

/// Layers one after another, named `main.0`, `main.1`, … as PyTorch's `nn.Sequential` does: layers
/// without parameters count.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sequential {
    /// The layers.
    pub layers: Vec<Layer>,
}

impl Sequential {
    /// All tensors of the network called `prefix`.
    #[must_use]
    pub fn params(&self, prefix: &str) -> Vec<Param> {
        let mut params = Vec::new();
        for (i, layer) in self.layers.iter().enumerate() {
            let mut add = |name: &str, shape: &[usize], init, learnt, layout| {
                let name = format!("{prefix}.main.{i}.{name}");
                params.push(Param { name, shape: shape.to_vec(), init, learnt, layout });
            };
            match *layer {
                Layer::Conv { spec, large, small, layout }
                | Layer::ConvTranspose { spec, large, small, layout } => {
                    let shape = [spec.kernel[0], spec.kernel[1], large, small];
                    add("weight", &shape, Init::Normal { mean: 0.0, std: 0.02 }, true, layout);
                }
                Layer::BatchNorm { channels } => {
                    let shape = [channels];
                    let plain = Layout::Plain;
                    add("weight", &shape, Init::Normal { mean: 1.0, std: 0.02 }, true, plain);
                    add("bias", &shape, Init::Constant(0.0), true, plain);
                    add("running_mean", &shape, Init::Constant(0.0), false, plain);
                    add("running_var", &shape, Init::Constant(1.0), false, plain);
                }
                Layer::LeakyRelu { .. } | Layer::Tanh | Layer::Identity => {}
            }
        }
        params
    }

    /// Records the network called `prefix` on `x` `[n, h, w, c]`.
    ///
    /// # Errors
    /// [`crate::error::Error::Shape`] where `x` does not fit the first layer.
    pub fn forward(&self, t: &mut Tape, prefix: &str, x: Var, mode: Mode) -> Result<Var> {
        let mut x = x;
        for (i, layer) in self.layers.iter().enumerate() {
            let name = |param: &str| format!("{prefix}.main.{i}.{param}");
            x = match *layer {
                Layer::Conv { spec, large, small, .. } => {
                    let shape = [spec.kernel[0], spec.kernel[1], large, small];
                    let w = t.read(&name("weight"), &shape, DType::F32)?;
                    t.conv2d(x, w, spec)?
                }
                Layer::ConvTranspose { spec, large, small, .. } => {
                    let shape = [spec.kernel[0], spec.kernel[1], large, small];
                    let w = t.read(&name("weight"), &shape, DType::F32)?;
                    t.conv_transpose2d(x, w, spec)?
                }
                Layer::BatchNorm { channels } => batch_norm(t, &name, x, channels, mode)?,
                Layer::LeakyRelu { slope } => t.leaky_relu(x, slope)?,
                Layer::Tanh => t.tanh(x)?,
                Layer::Identity => x,
            };
        }
        Ok(x)
    }
}

/// Batch norm of `x` `[…, c]` with the parameters that `name` names.
fn batch_norm(
    t: &mut Tape,
    name: &dyn Fn(&str) -> String,
    x: Var,
    channels: usize,
    mode: Mode,
) -> Result<Var> {
    let read = |t: &mut Tape, param: &str| t.read(&name(param), &[channels], DType::F32);
    let affine = [read(t, "weight")?, read(t, "bias")?];
    let running = [read(t, "running_mean")?, read(t, "running_var")?];
    if mode == Mode::Eval {
        return t.batch_norm(x, running, affine, BATCH_NORM_EPS);
    }
    let moments = t.moments(x)?;
    let mean = t.range(moments, 0, channels)?;
    let var = t.range(moments, channels, channels)?;
    // The running variance is the unbiased one, as PyTorch's.
    let rows = t.shape(x).iter().product::<usize>() / channels.max(1);
    let unbiased = t.affine(var, rows as f32 / (rows.max(2) - 1) as f32, 0.0)?;
    for (param, old, new) in
        [("running_mean", running[0], mean), ("running_var", running[1], unbiased)]
    {
        let old = t.affine(old, 1.0 - BATCH_NORM_MOMENTUM, 0.0)?;
        let new = t.affine(new, BATCH_NORM_MOMENTUM, 0.0)?;
        let next = t.add(old, new)?;
        t.assign(&name(param), next)?;
    }
    t.batch_norm(x, [mean, var], affine, BATCH_NORM_EPS)
}
