//! Convolutions and transposed ones; linear layers are convolutions whose kernel covers the whole
//! input or output image.

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::ops::conv::ConvSpec;
use crate::tape::{Tape, Var};
use crate::tensor::{DType, Tensor};

use super::batch_norm::per_cell;
use super::onnx::{Attribute, Graph};
use super::param::{Owned, ZERO};
use super::parametrization::{Kernel, Rows};
use super::pass::Walk;
use super::rule::LayerRule;
use super::size::{Around, Misfit, WIDEST, takes};
use super::standardize::standardize;
use super::{BatchDependence, Layer, LayerRole, Layout, Parametrization, Reach, WeightInit};

/// Convolution from `large` to `small` channels: parameters `weight` and `bias`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conv {
    /// Its geometry.
    pub spec: ConvSpec,
    /// Channels of the input.
    pub large: usize,
    /// Channels of the output.
    pub small: usize,
    /// How its weights are stored in files.
    pub layout: Layout,
    /// Whether each output channel has a bias.
    pub bias: bool,
    /// How its weights are computed from the trainable ones.
    #[serde(default, skip_serializing_if = "Parametrization::is_plain")]
    pub weight: Parametrization,
    /// How its weights are initialized.
    #[serde(default, skip_serializing_if = "WeightInit::is_default")]
    pub start: WeightInit,
}

/// Transposed convolution from `small` to `large` channels: parameters as a convolution's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConvTranspose {
    /// Its geometry.
    pub spec: ConvSpec,
    /// Channels of the output.
    pub large: usize,
    /// Channels of the input.
    pub small: usize,
    /// How its weights are stored in files.
    pub layout: Layout,
    /// Whether each output channel has a bias; with [`Layout::Project`] each output entry.
    pub bias: bool,
    /// As a convolution's.
    #[serde(default, skip_serializing_if = "Parametrization::is_plain")]
    pub weight: Parametrization,
    /// As a convolution's.
    #[serde(default, skip_serializing_if = "WeightInit::is_default")]
    pub start: WeightInit,
}

impl Layer {
    /// A convolution from `large` to `small` channels.
    #[must_use]
    pub fn conv(spec: ConvSpec, large: usize, small: usize, bias: bool) -> Self {
        let (weight, start) = (Parametrization::Plain, WeightInit::default());
        Self::Conv(Conv { spec, large, small, layout: Layout::Conv, bias, weight, start })
    }

    /// A transposed convolution from `small` to `large` channels.
    #[must_use]
    pub fn conv_transpose(spec: ConvSpec, large: usize, small: usize, bias: bool) -> Self {
        let (weight, start) = (Parametrization::Plain, WeightInit::default());
        let layout = Layout::Conv;
        Self::ConvTranspose(ConvTranspose { spec, large, small, layout, bias, weight, start })
    }

    /// A linear layer from one pixel to one: `[to, from]` in files.
    #[must_use]
    pub fn linear(from: usize, to: usize, bias: bool) -> Self {
        let (weight, start) = (Parametrization::Plain, WeightInit::default());
        let (spec, layout) = (ConvSpec::dense([1, 1]), Layout::Flatten);
        Self::Conv(Conv { spec, large: from, small: to, layout, bias, weight, start })
    }

    /// A linear layer from one pixel to an image of height and width `size` and `to` channels.
    #[must_use]
    pub fn project(size: [usize; 2], to: usize, from: usize, bias: bool) -> Self {
        let (weight, start) = (Parametrization::Plain, WeightInit::default());
        let (spec, layout) = (ConvSpec::dense(size), Layout::Project);
        let (large, small) = (to, from);
        Self::ConvTranspose(ConvTranspose { spec, large, small, layout, bias, weight, start })
    }
}

impl Conv {
    fn kernel(&self) -> Kernel {
        let Self { spec, large, small, layout, weight, start, .. } = *self;
        let shape = [spec.kernel[0], spec.kernel[1], large, small];
        Kernel { shape, rows: Rows::Small, layout, weight, start }
    }
}

impl LayerRule for Conv {
    fn kind(&self) -> &'static str {
        "a convolution"
    }

    fn role(&self) -> LayerRole {
        LayerRole::Weights
    }

    fn batch(&self) -> BatchDependence {
        BatchDependence::None
    }

    fn reach(&self) -> Reach {
        let ConvSpec { kernel, stride, pad, .. } = self.spec;
        Reach::Window { kernel, stride, pad }
    }

    fn size(&self, at: [usize; 3], _: &mut Around<'_>) -> Result<[usize; 3], Misfit> {
        let Self { spec, large, small, .. } = *self;
        check(&spec)?;
        takes([spec.large[0], spec.large[1], large], at)?;
        Ok([spec.small[0], spec.small[1], small])
    }

    fn params(&self, owned: &mut Owned<'_>) {
        self.kernel().params(owned);
        if self.bias {
            owned.learned("bias", (vec![self.small], Layout::Plain), ZERO);
        }
    }

    fn record(&self, t: &mut Tape, scope: &str, x: Var, walk: &mut Walk<'_>) -> Result<Var> {
        let w = self.kernel().record(t, scope)?;
        let y = t.conv2d(x, w, self.spec)?;
        let bias = self.bias.then(|| vec![self.small]);
        with_bias(t, scope, y, &self.kernel(), bias, walk)
    }

    fn onnx(
        &self,
        graph: &mut dyn Graph,
        scope: &str,
        x: String,
        _at: [usize; 3],
    ) -> Result<String> {
        let mut inputs = vec![x, written(graph, scope, &self.kernel())?];
        if self.bias {
            let bias = format!("{scope}.bias");
            let tensor = graph.tensor(&bias)?;
            inputs.push(graph.floats(&bias, &tensor));
        }
        Ok(node(graph, "Conv", &inputs, &self.spec))
    }

    fn kernels(&self) -> Vec<(&'static str, Kernel)> {
        vec![("", self.kernel())]
    }

    fn weights_mut(&mut self) -> Option<(&mut Parametrization, &mut WeightInit)> {
        Some((&mut self.weight, &mut self.start))
    }

    fn starts_by_data(&self) -> bool {
        self.bias && self.kernel().is_normed()
    }
}

impl ConvTranspose {
    fn kernel(&self) -> Kernel {
        let Self { spec, large, small, layout, weight, start, .. } = *self;
        let rows = if layout == Layout::Project { Rows::Cells } else { Rows::Large };
        let shape = [spec.kernel[0], spec.kernel[1], large, small];
        Kernel { shape, rows, layout, weight, start }
    }

    /// The shape of its bias on the device, and the bias's layout.
    fn bias(&self) -> (Vec<usize>, Layout) {
        match self.layout {
            Layout::Project => per_cell(self.spec.kernel, self.large),
            _ => (vec![self.large], Layout::Plain),
        }
    }
}

impl LayerRule for ConvTranspose {
    fn kind(&self) -> &'static str {
        "a transposed convolution"
    }

    fn role(&self) -> LayerRole {
        LayerRole::Weights
    }

    fn batch(&self) -> BatchDependence {
        BatchDependence::None
    }

    fn reach(&self) -> Reach {
        Reach::More
    }

    fn size(&self, at: [usize; 3], _: &mut Around<'_>) -> Result<[usize; 3], Misfit> {
        let Self { spec, large, small, .. } = *self;
        check(&spec)?;
        takes([spec.small[0], spec.small[1], small], at)?;
        Ok([spec.large[0], spec.large[1], large])
    }

    fn params(&self, owned: &mut Owned<'_>) {
        self.kernel().params(owned);
        if self.bias {
            owned.learned("bias", self.bias(), ZERO);
        }
    }

    fn record(&self, t: &mut Tape, scope: &str, x: Var, walk: &mut Walk<'_>) -> Result<Var> {
        let w = self.kernel().record(t, scope)?;
        let y = t.conv_transpose2d(x, w, self.spec)?;
        let bias = self.bias.then(|| self.bias().0);
        with_bias(t, scope, y, &self.kernel(), bias, walk)
    }

    fn onnx(
        &self,
        graph: &mut dyn Graph,
        scope: &str,
        x: String,
        _at: [usize; 3],
    ) -> Result<String> {
        let Self { spec, large, layout, bias, .. } = *self;
        let mut inputs = vec![x, written(graph, scope, &self.kernel())?];
        let whole = layout != Layout::Project || spec.kernel == [1, 1];
        let own = format!("{scope}.bias");
        if bias && whole {
            let tensor = graph.tensor(&own)?;
            inputs.push(graph.floats(&own, &tensor));
        }
        let mut x = node(graph, "ConvTranspose", &inputs, &spec);
        if bias && !whole {
            let bias = Layout::Cells.to_file(&graph.tensor(&own)?)?;
            let bias = Tensor::new([large, spec.large[0], spec.large[1]], bias.f32s().to_vec())?;
            let bias = graph.floats(&own, &bias);
            x = graph.node("Add", &[x, bias], &[]);
        }
        Ok(x)
    }

    fn kernels(&self) -> Vec<(&'static str, Kernel)> {
        vec![("", self.kernel())]
    }

    fn weights_mut(&mut self) -> Option<(&mut Parametrization, &mut WeightInit)> {
        Some((&mut self.weight, &mut self.start))
    }

    fn starts_by_data(&self) -> bool {
        self.bias && self.kernel().is_normed()
    }
}

/// Refuses an impossible geometry.
fn check(spec: &ConvSpec) -> Result<(), String> {
    let numbers = [spec.kernel, spec.stride, spec.pad, spec.large, spec.small];
    let made = numbers.iter().flatten().all(|&x| x <= WIDEST)
        && ConvSpec::down(spec.large, spec.kernel, spec.stride, spec.pad)
            .is_ok_and(|made| made == *spec);
    if made { Ok(()) } else { Err(format!("is no convolution: {spec:?}")) }
}

/// `y` with the bias of this shape, if any.
fn with_bias(
    t: &mut Tape,
    scope: &str,
    y: Var,
    kernel: &Kernel,
    bias: Option<Vec<usize>>,
    walk: &Walk<'_>,
) -> Result<Var> {
    let Some(shape) = bias else { return Ok(y) };
    if walk.is_starting() && kernel.is_normed() {
        return standardize(t, scope, y, kernel, &shape);
    }
    let bias = t.read(&format!("{scope}.bias"), &shape, DType::F32)?;
    t.add(y, bias)
}

/// The effective weights, as a constant of a graph.
fn written(graph: &mut dyn Graph, scope: &str, kernel: &Kernel) -> Result<String> {
    let weight = kernel.used(scope, &mut |name| graph.tensor(name))?;
    Ok(graph.floats(&format!("{scope}.weight"), &Layout::Conv.to_file(&weight)?))
}

/// The node of a convolution. PyTorch's `output_padding` becomes less padding at the end here; it
/// is written as such only where that would be negative.
fn node(graph: &mut dyn Graph, op: &str, inputs: &[String], spec: &ConvSpec) -> String {
    let pair = |numbers: [usize; 2]| numbers.map(|n| n as i64);
    let (kernel, stride, begin) = (pair(spec.kernel), pair(spec.stride), pair(spec.pad));
    let (large, small) = (pair(spec.large), pair(spec.small));
    let end = [0, 1].map(|i| (small[i] - 1) * stride[i] + kernel[i] - large[i] - begin[i]);
    let pads = [begin[0], begin[1], end[0].max(0), end[1].max(0)];
    let less = end.map(|e| (-e).max(0));
    let mut attributes = vec![
        Attribute::Ints("kernel_shape", &kernel),
        Attribute::Ints("strides", &stride),
        Attribute::Ints("pads", &pads),
    ];
    if op == "ConvTranspose" && less != [0, 0] {
        attributes.push(Attribute::Ints("output_padding", &less));
    }
    graph.node(op, inputs, &attributes)
}
