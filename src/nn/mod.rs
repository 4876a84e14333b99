//! Layers and initialisers: what a network is made of, recorded on a tape by name.
//!
//! A layer owns no numbers. Its parameters are states called `<network>.<layer>.<parameter>`, named
//! as PyTorch names them; [`Sequential::forward`] reads them from the tape, so that the same network
//! runs on trained, averaged or freshly updated weights by its prefix alone.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
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
pub(crate) const BATCH_NORM_MOMENTUM: f32 = 0.1;

/// What batch norm normalises by after training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Statistics {
    /// Averages kept while training, as in PyTorch: one picture does not depend on its neighbours.
    Running,
    /// Those of the batch at hand, always, as in the code of DCGAN's authors: there are no others.
    Batch,
}

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

/// Layers one after another, named `main.0`, `main.1`, … as PyTorch's `nn.Sequential` does: layers
/// without parameters count.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
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
                Layer::Conv { spec, large, small, layout, bias }
                | Layer::ConvTranspose { spec, large, small, layout, bias } => {
                    let shape = [spec.kernel[0], spec.kernel[1], large, small];
                    add("weight", &shape, Init::Normal { mean: 0.0, std: 0.02 }, true, layout);
                    if bias {
                        let (shape, layout) = layer.bias_shape();
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
        params
    }

    /// Records the network called `prefix` on `x` `[n, h, w, c]`.
    ///
    /// # Errors
    /// [`crate::error::Error::Shape`] where `x` does not fit the first layer.
    pub fn forward(&self, t: &mut Tape, prefix: &str, x: Var, mode: Mode) -> Result<Var> {
        Ok(self.trace(t, prefix, x, mode)?.last().copied().unwrap_or(x))
    }

    /// Records the network called `prefix` on `x` `[n, h, w, c]` and returns what every layer
    /// gives, in order.
    ///
    /// # Errors
    /// [`crate::error::Error::Shape`] where `x` does not fit the first layer;
    /// [`crate::error::Error::Tensor`] where the network has to be told classes.
    pub fn trace(&self, t: &mut Tape, prefix: &str, x: Var, mode: Mode) -> Result<Vec<Var>> {
        self.trace_labelled(t, prefix, x, None, mode)
    }

    /// [`Sequential::forward`] of a network that may be told the classes of `x`: `labels`
    /// `[n, classes]`, each row 1 at its class and else 0.
    ///
    /// # Errors
    /// As [`Sequential::trace_labelled`].
    pub fn forward_labelled(
        &self,
        t: &mut Tape,
        prefix: &str,
        x: Var,
        labels: Option<Var>,
        mode: Mode,
    ) -> Result<Var> {
        Ok(self.trace_labelled(t, prefix, x, labels, mode)?.last().copied().unwrap_or(x))
    }

    /// [`Sequential::trace`] of a network that may be told the classes of `x`: `labels`
    /// `[n, classes]`, each row 1 at its class and else 0.
    ///
    /// # Errors
    /// As [`Sequential::trace`], where there are no `labels`; [`crate::error::Error::Shape`] where
    /// they are of other pictures or of other classes.
    pub fn trace_labelled(
        &self,
        t: &mut Tape,
        prefix: &str,
        x: Var,
        labels: Option<Var>,
        mode: Mode,
    ) -> Result<Vec<Var>> {
        let mut x = x;
        let mut outputs = Vec::with_capacity(self.layers.len());
        for (i, layer) in self.layers.iter().enumerate() {
            let name = |param: &str| format!("{prefix}.main.{i}.{param}");
            x = match *layer {
                Layer::Conv { spec, large, small, bias, .. } => {
                    let shape = [spec.kernel[0], spec.kernel[1], large, small];
                    let w = t.read(&name("weight"), &shape, DType::F32)?;
                    let y = t.conv2d(x, w, spec)?;
                    if bias { add_bias(t, &name("bias"), y, layer)? } else { y }
                }
                Layer::ConvTranspose { spec, large, small, bias, .. } => {
                    let shape = [spec.kernel[0], spec.kernel[1], large, small];
                    let w = t.read(&name("weight"), &shape, DType::F32)?;
                    let y = t.conv_transpose2d(x, w, spec)?;
                    if bias { add_bias(t, &name("bias"), y, layer)? } else { y }
                }
                Layer::BatchNorm { .. } => batch_norm(t, &name, x, layer, mode)?,
                Layer::LeakyRelu { slope } => t.leaky_relu(x, slope)?,
                Layer::Tanh => t.tanh(x)?,
                Layer::Sigmoid => t.sigmoid(x)?,
                Layer::Identity => x,
                Layer::Label { classes } => append_label(t, prefix, x, labels, classes)?,
                Layer::Flatten => {
                    let shape = t.shape(x).to_vec();
                    t.reshape(x, &[shape[0], 1, 1, shape[1..].iter().product()])?
                }
            };
            outputs.push(x);
        }
        Ok(outputs)
    }

    /// The picture `[h, w, c]` that each layer gives for one of `input`; the size of what is
    /// computed on the way is checked, so that a description out of a file can be trusted after it.
    ///
    /// # Errors
    /// A sentence where a layer does not fit the one before it, or is larger than anything that is
    /// in use.
    pub fn sizes(&self, input: [usize; 3]) -> Result<Vec<[usize; 3]>, String> {
        let mut at = input;
        let mut all = Vec::with_capacity(self.layers.len());
        for (i, layer) in self.layers.iter().enumerate() {
            at = layer.size(at).map_err(|what| format!("layer main.{i}: {what}"))?;
            all.push(at);
        }
        Ok(all)
    }
}

/// Pictures are no wider, networks no deeper in channels, than this: what lies above is a damaged
/// description.
const WIDEST: usize = 1 << 16;
/// Numbers of one picture on its way through a network.
const LARGEST: usize = 1 << 26;

impl Layer {
    /// The picture that it makes of one of size `[h, w, c]`.
    fn size(&self, [h, w, c]: [usize; 3]) -> Result<[usize; 3], String> {
        let (to, from) = match *self {
            Self::Conv { spec, large, small, .. } => {
                ([spec.small[0], spec.small[1], small], [spec.large[0], spec.large[1], large])
            }
            Self::ConvTranspose { spec, large, small, .. } => {
                ([spec.large[0], spec.large[1], large], [spec.small[0], spec.small[1], small])
            }
            Self::BatchNorm { channels, cells, eps, .. } => {
                if !(eps >= 0.0 && eps.is_finite()) {
                    return Err(format!("its epsilon is {eps}"));
                }
                let cells = if cells == [1, 1] { [h, w] } else { cells };
                ([h, w, c], [cells[0], cells[1], channels])
            }
            Self::LeakyRelu { slope } if !(slope >= 0.0 && slope.is_finite()) => {
                return Err(format!("its slope is {slope}"));
            }
            Self::Label { classes: 0 } => return Err("there are no classes".into()),
            Self::Label { classes } => ([h, w, c.saturating_add(classes)], [h, w, c]),
            // The input was found to be no larger than can be.
            Self::Flatten => ([1, 1, h * w * c], [h, w, c]),
            _ => ([h, w, c], [h, w, c]),
        };
        if from != [h, w, c] {
            return Err(format!(
                "takes pictures of {from:?} (height, width, channels) and gets {:?}",
                [h, w, c]
            ));
        }
        if let Self::Conv { spec, .. } | Self::ConvTranspose { spec, .. } = *self {
            let numbers = [spec.kernel, spec.stride, spec.pad, spec.large, spec.small];
            let made = numbers.iter().flatten().all(|&x| x <= WIDEST)
                && ConvSpec::down(spec.large, spec.kernel, spec.stride, spec.pad)
                    .is_ok_and(|made| made == spec);
            if !made {
                return Err(format!("is no convolution: {spec:?}"));
            }
        }
        let numbers = to.iter().try_fold(1_usize, |n, &x| n.checked_mul(x));
        let fits = numbers.is_some_and(|n| (1..=LARGEST).contains(&n));
        if !fits || to.iter().any(|&x| x > WIDEST) {
            return Err(format!("would make pictures of {to:?} (height, width, channels)"));
        }
        Ok(to)
    }

    /// The shape on the device of a convolution's bias, and its layout.
    fn bias_shape(&self) -> (Vec<usize>, Layout) {
        match *self {
            Self::ConvTranspose { spec, large, layout: Layout::Project, .. } => {
                per_cell(spec.kernel, large)
            }
            Self::ConvTranspose { large, .. } => (vec![large], Layout::Plain),
            Self::Conv { small, .. } => (vec![small], Layout::Plain),
            _ => (Vec::new(), Layout::Plain),
        }
    }
}

/// Shape and layout of one number for each channel, and for each of `cells` where they are several.
fn per_cell(cells: [usize; 2], channels: usize) -> (Vec<usize>, Layout) {
    match cells {
        [1, 1] => (vec![channels], Layout::Plain),
        [h, w] => (vec![h, w, channels], Layout::Cells),
    }
}

/// `x` `[n, h, w, c]` with the class of each picture behind its channels.
fn append_label(
    t: &mut Tape,
    prefix: &str,
    x: Var,
    labels: Option<Var>,
    classes: usize,
) -> Result<Var> {
    let labels = labels.ok_or_else(|| Error::Tensor {
        name: prefix.into(),
        what: format!(
            "is conditional: it has to be told which of its {classes} classes a picture is of, \
             which this use of it does not"
        ),
    })?;
    let told = t.shape(labels);
    if told.len() != 2 || told[1] != classes {
        let what = format!("the network knows {classes} classes");
        return Err(Error::Shape { op: "label", what, shapes: vec![told.to_vec()] });
    }
    t.append(x, labels)
}

/// `y` plus the bias called `name` of the convolution `layer`.
fn add_bias(t: &mut Tape, name: &str, y: Var, layer: &Layer) -> Result<Var> {
    let bias = t.read(name, &layer.bias_shape().0, DType::F32)?;
    t.add(y, bias)
}

/// Batch norm of `x` `[…, c]`, or `[n, h, w, c]` with statistics for each cell, with the parameters
/// that `name` names.
fn batch_norm(
    t: &mut Tape,
    name: &dyn Fn(&str) -> String,
    x: Var,
    layer: &Layer,
    mode: Mode,
) -> Result<Var> {
    let Layer::BatchNorm { channels, cells, eps, statistics } = *layer else { return Ok(x) };
    let (param_shape, _) = per_cell(cells, channels);
    let numbers = param_shape.iter().product::<usize>();
    let shape = t.shape(x).to_vec();
    let rows = shape.iter().product::<usize>() / numbers.max(1);
    let whole = cells == [1, 1];
    let x = if whole { x } else { t.reshape(x, &[rows, numbers])? };
    let read = |t: &mut Tape, param: &str| {
        let param = t.read(&name(param), &param_shape, DType::F32)?;
        if whole { Ok(param) } else { t.reshape(param, &[numbers]) }
    };
    let affine = [read(t, "weight")?, read(t, "bias")?];
    let y = if mode == Mode::Eval && statistics == Statistics::Running {
        let running = [read(t, "running_mean")?, read(t, "running_var")?];
        t.batch_norm(x, running, affine, eps)?
    } else {
        let moments = t.moments(x)?;
        let mean = t.range(moments, 0, numbers)?;
        let var = t.range(moments, numbers, numbers)?;
        if statistics == Statistics::Running {
            let running = [read(t, "running_mean")?, read(t, "running_var")?];
            // The running variance is the unbiased one, as PyTorch's.
            let unbiased = t.affine(var, rows as f32 / (rows.max(2) - 1) as f32, 0.0)?;
            for (param, old, new) in
                [("running_mean", running[0], mean), ("running_var", running[1], unbiased)]
            {
                let old = t.affine(old, 1.0 - BATCH_NORM_MOMENTUM, 0.0)?;
                let new = t.affine(new, BATCH_NORM_MOMENTUM, 0.0)?;
                let next = t.add(old, new)?;
                let next = if whole { next } else { t.reshape(next, &param_shape)? };
                t.assign(&name(param), next)?;
            }
        }
        t.batch_norm(x, [mean, var], affine, eps)?
    };
    if whole { Ok(y) } else { t.reshape(y, &shape) }
}
