//! What the networks are made of, recorded on a tape: convolutions with the batch norm that follows
//! them, pools, and the linear layer at the end.

use std::collections::BTreeMap;

use crate::error::Result;
use crate::ops::conv::ConvSpec;
use crate::tape::{Tape, Var};
use crate::tensor::{DType, Tensor};

/// The `eps` of every batch norm of these networks, which were trained with TensorFlow.
const EPS: f64 = 1e-3;

/// The tensors of a file, by name.
pub(super) type Tensors = BTreeMap<String, Tensor>;

/// A layer with weights.
#[derive(Clone, Debug)]
pub(super) enum Weighted {
    /// A convolution without bias and a batch norm.
    Conv {
        /// The name of its weights in the file.
        weight: String,
        /// What the names of its batch norm's tensors begin with.
        norm: String,
        kernel: [usize; 2],
        from: usize,
        to: usize,
        /// Every channel with a kernel of its own.
        depthwise: bool,
    },
    /// A linear layer.
    Linear { name: String, from: usize, to: usize },
}

impl Weighted {
    /// Its tensors in a file, with their shapes there.
    pub(super) fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        match self {
            Self::Conv { weight, norm, kernel: [kh, kw], from, to, depthwise } => {
                let from = if *depthwise { 1 } else { *from };
                let mut all = vec![(weight.clone(), vec![*to, from, *kh, *kw])];
                let parts = ["weight", "bias", "running_mean", "running_var"];
                all.extend(parts.map(|part| (format!("{norm}.{part}"), vec![*to])));
                all
            }
            Self::Linear { name, from, to } => {
                vec![
                    (format!("{name}.weight"), vec![*to, *from]),
                    (format!("{name}.bias"), vec![*to]),
                ]
            }
        }
    }

    /// The states that programs read: a convolution scaled by its batch norm, and what the norm adds;
    /// or the weights of a linear layer.
    pub(super) fn states(&self, file: &Tensors) -> Result<Vec<(String, Tensor)>> {
        match self {
            Self::Conv { weight, norm, kernel, from, to, depthwise } => {
                let part = |part: &str| file[&format!("{norm}.{part}")].f32s();
                let (gain, shift) = (part("weight"), part("bias"));
                let (mean, variance) = (part("running_mean"), part("running_var"));
                let wide = |x: &[f32], i: usize| f64::from(x[i]);
                let scale: Vec<f64> =
                    (0..*to).map(|i| wide(gain, i) / (wide(variance, i) + EPS).sqrt()).collect();
                let bias = (0..*to).map(|i| (wide(shift, i) - wide(mean, i) * scale[i]) as f32);
                let bias = Tensor::new([*to], bias.collect())?;

                // From [to, from, kh, kw] to [kh, kw, from, to].
                let (taps, file) = (kernel[0] * kernel[1], file[weight].f32s());
                let rows = if *depthwise { 1 } else { *from };
                let mut weights = vec![0.0; file.len()];
                for (i, &x) in file.iter().enumerate() {
                    let (tap, row, out) = (i % taps, i / taps % rows, i / taps / rows);
                    weights[(tap * rows + row) * to + out] = (f64::from(x) * scale[out]) as f32;
                }
                let shape = match depthwise {
                    true => vec![kernel[0], kernel[1], *to],
                    false => vec![kernel[0], kernel[1], *from, *to],
                };
                Ok(vec![(weight.clone(), Tensor::new(shape, weights)?), (added(norm), bias)])
            }
            Self::Linear { name, .. } => {
                let name = format!("{name}.weight");
                Ok(vec![(name.clone(), file[&name].clone())])
            }
        }
    }
}

/// The state of what a batch norm adds.
fn added(norm: &str) -> String {
    format!("{norm}.added")
}

/// What is computed after a batch norm.
#[derive(Clone, Copy, Debug)]
pub(super) enum Then {
    Relu,
    Relu6,
    Nothing,
}

/// Records a network, and notes its layers.
#[derive(Debug)]
pub(super) struct Recorder {
    pub(super) tape: Tape,
    pub(super) layers: Vec<Weighted>,
}

impl Recorder {
    pub(super) fn new() -> Self {
        Self { tape: Tape::new(), layers: Vec::new() }
    }

    /// Height and width of an image.
    pub(super) fn size(&self, x: Var) -> [usize; 2] {
        [self.tape.shape(x)[1], self.tape.shape(x)[2]]
    }

    /// A convolution to `to` channels and its batch norm: the names are those of the file.
    pub(super) fn conv(
        &mut self,
        x: Var,
        (weight, norm): (String, String),
        to: usize,
        spec: ConvSpec,
        then: Then,
    ) -> Result<Var> {
        let &[n, h, w, from] = self.tape.shape(x) else { unreachable!("activations are images") };
        let kernel = spec.kernel;
        let t = &mut self.tape;
        let weights = t.read(&weight, &[kernel[0], kernel[1], from, to], DType::F32)?;
        let y = if (kernel, spec.stride, spec.pad) == ([1, 1], [1, 1], [0, 0]) {
            // A product of all pixels, which needs no patches.
            let x = t.reshape(x, &[n * h * w, from])?;
            let weights = t.reshape(weights, &[from, to])?;
            let y = t.matmul(x, weights)?;
            t.reshape(y, &[n, h, w, to])?
        } else {
            t.conv2d(x, weights, spec)?
        };
        let layer =
            Weighted::Conv { weight, norm: norm.clone(), kernel, from, to, depthwise: false };
        self.layers.push(layer);
        self.finish(y, &norm, to, then)
    }

    /// A depthwise convolution and its batch norm.
    pub(super) fn depthwise(
        &mut self,
        x: Var,
        (weight, norm): (String, String),
        spec: ConvSpec,
        then: Then,
    ) -> Result<Var> {
        let (from, kernel) = (self.tape.shape(x)[3], spec.kernel);
        let t = &mut self.tape;
        let weights = t.read(&weight, &[kernel[0], kernel[1], from], DType::F32)?;
        let y = t.depthwise_conv2d(x, weights, spec)?;
        let layer =
            Weighted::Conv { weight, norm: norm.clone(), kernel, from, to: from, depthwise: true };
        self.layers.push(layer);
        self.finish(y, &norm, from, then)
    }

    fn finish(&mut self, y: Var, norm: &str, to: usize, then: Then) -> Result<Var> {
        let t = &mut self.tape;
        let bias = t.read(&added(norm), &[to], DType::F32)?;
        let y = t.add(y, bias)?;
        match then {
            Then::Relu => t.relu(y),
            Then::Relu6 => t.clamp(y, 0.0, 6.0),
            Then::Nothing => Ok(y),
        }
    }

    /// The mean of 3 × 3 pixels around each, of those that lie in the image: PyTorch's `AvgPool2d(3,
    /// stride=1, padding=1, count_include_pad=False)`, as a depthwise convolution with ones.
    pub(super) fn mean_pool(&mut self, x: Var) -> Result<Var> {
        let size = self.size(x);
        let spec =
            ConvSpec { kernel: [3, 3], stride: [1, 1], pad: [1, 1], large: size, small: size };
        let sums = self.sum_pool(x, spec)?;
        let one = self.tape.fill(&[1, size[0], size[1], 1], 1.0)?;
        let counts = self.sum_pool(one, spec)?;
        self.tape.div(sums, counts)
    }

    /// The sum of the pixels of each window that lie in the image.
    fn sum_pool(&mut self, x: Var, spec: ConvSpec) -> Result<Var> {
        let channels = self.tape.shape(x)[3];
        let ones = self.tape.fill(&[spec.kernel[0], spec.kernel[1], channels], 1.0)?;
        self.tape.depthwise_conv2d(x, ones, spec)
    }

    /// The means of every channel, `[n, c]`, and what a linear layer without its bias makes of them.
    pub(super) fn head(&mut self, x: Var, name: &str, to: usize) -> Result<[Var; 2]> {
        let from = self.tape.shape(x)[3];
        let t = &mut self.tape;
        let features = t.mean(x, &[1, 2])?;
        let weights = t.read(&format!("{name}.weight"), &[to, from], DType::F32)?;
        let logits = t.matmul_t(features, weights, false, true)?;
        self.layers.push(Weighted::Linear { name: name.into(), from, to });
        Ok([features, logits])
    }
}
