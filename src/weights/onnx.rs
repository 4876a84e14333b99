//! A network as an ONNX graph: operator set 13, which every runtime since 2021 knows.
//!
//! Pictures are `[n, channels, height, width]` there. A generator maps `z` `[n, nz]` to `pictures`;
//! a discriminator maps `pictures` to `logit` `[n, 1]` and to `features` `[n, f]`, those of
//! [`crate::features`], in the same order.
//!
//! The format is six small messages (onnx/onnx.proto), which [`Message`] writes: a library for them
//! would bring generated types for a hundred.

use crate::error::{Error, Result};
use crate::features::{GRID, Level, levels};
use crate::model::{Pixels, Role};
use crate::nn::{Layer, Layout, Statistics};
use crate::ops::conv::ConvSpec;
use crate::tensor::Tensor;

use super::DESCRIPTION;
use super::outgoing::Export;
use super::protobuf::Message;

/// The version of ONNX's operators.
pub(super) const OPSET: i64 = 13;

/// The version of the file format that came with them.
const IR_VERSION: i64 = 7;

/// ONNX's numbers for types of elements and of attributes.
const FLOAT: i64 = 1;
const INT64: i64 = 7;
const ATTRIBUTE_FLOAT: i64 = 1;
const ATTRIBUTE_INT: i64 = 2;
const ATTRIBUTE_STRING: i64 = 3;
const ATTRIBUTE_INTS: i64 = 7;

/// The file.
pub(super) fn graph(export: &Export<'_>) -> Result<Vec<u8>> {
    let mut graph = Graph::default();
    let about = &export.about;
    let (size, channels) = (about.size, about.channels);
    let picture = [channels, size.height, size.width];
    let (input, mut at) = match export.role {
        Role::Generator | Role::Decoder => ("z", [about.nz, 1, 1]),
        Role::Discriminator | Role::Encoder | Role::Classifier => ("pictures", picture),
    };
    let mut x = input.to_owned();
    if export.role.takes_latents() {
        x = graph.reshape(&x, &[0, about.nz, 1, 1]);
    }
    // None where no convolution is hidden.
    let levels = match export.role {
        Role::Discriminator => levels(about).unwrap_or_default(),
        _ => Vec::new(),
    };
    let mut features: Vec<String> = Vec::new();
    for (i, layer) in export.network.layers.iter().enumerate() {
        let named = |name: &str| -> Result<Tensor> {
            let (param, tensor) = export
                .params
                .iter()
                .find(|(param, _)| param.name == name)
                .expect("an export has all tensors of its layers");
            param.layout.from_file(name, tensor, &param.shape)
        };
        let own = |own: &str| named(&format!("main.{i}.{own}"));
        // Normalised weights are written as they are used.
        let weight = || {
            Layout::Conv
                .to_file(&layer.used_weights(&format!("main.{i}"), &mut |name| named(name))?)
        };
        let name = |own: &str| format!("main.{i}.{own}");
        match *layer {
            Layer::Conv { spec, small, bias, .. } => {
                let weight = weight()?;
                let mut inputs = vec![x, graph.floats(&name("weight"), &weight)];
                if bias {
                    inputs.push(graph.floats(&name("bias"), &own("bias")?));
                }
                x = graph.node("Conv", &inputs, &convolution(&spec, false));
                at = [small, spec.small[0], spec.small[1]];
            }
            Layer::ConvTranspose { spec, large, bias, layout, .. } => {
                let weight = weight()?;
                let mut inputs = vec![x, graph.floats(&name("weight"), &weight)];
                let whole = layout != Layout::Project || spec.kernel == [1, 1];
                if bias && whole {
                    inputs.push(graph.floats(&name("bias"), &own("bias")?));
                }
                x = graph.node("ConvTranspose", &inputs, &convolution(&spec, true));
                at = [large, spec.large[0], spec.large[1]];
                if bias && !whole {
                    let bias = Layout::Cells.to_file(&own("bias")?)?;
                    let bias = Tensor::new(at, bias.f32s().to_vec())?;
                    let bias = graph.floats(&name("bias"), &bias);
                    x = graph.node("Add", &[x, bias], &[]);
                }
            }
            Layer::BatchNorm { cells, eps, statistics, .. } => {
                let cellwise = cells != [1, 1];
                let [c, h, w] = at;
                if cellwise {
                    x = graph.reshape(&x, &[0, c * h * w]);
                }
                let mut part = |own_name: &str| -> Result<String> {
                    let tensor = own(own_name)?;
                    let tensor = if cellwise { Layout::Cells.to_file(&tensor)? } else { tensor };
                    // Without running statistics the norm is spelt out, and broadcasts.
                    let spelt = statistics == Statistics::Batch && !cellwise;
                    let shape = if spelt { vec![c, 1, 1] } else { vec![tensor.len()] };
                    let tensor = Tensor::new(shape, tensor.f32s().to_vec())?;
                    Ok(graph.floats(&name(own_name), &tensor))
                };
                let affine = [part("weight")?, part("bias")?];
                x = match statistics {
                    Statistics::Running => {
                        let running = [part("running_mean")?, part("running_var")?];
                        let inputs = [&[x], &affine[..], &running[..]].concat();
                        graph.node("BatchNormalization", &inputs, &[float("epsilon", eps)])
                    }
                    Statistics::Batch => {
                        let axes: &[i64] = if cellwise { &[0] } else { &[0, 2, 3] };
                        graph.batch_norm(x, affine, axes, eps)
                    }
                };
                if cellwise {
                    x = graph.reshape(&x, &[0, c, h, w]);
                }
            }
            Layer::LeakyRelu { slope: 0.0 } => x = graph.node("Relu", &[x], &[]),
            Layer::LeakyRelu { slope } => {
                x = graph.node("LeakyRelu", &[x], &[float("alpha", slope)]);
            }
            Layer::Tanh => x = graph.node("Tanh", &[x], &[]),
            Layer::Sigmoid => x = graph.node("Sigmoid", &[x], &[]),
            Layer::Upsample => {
                let [c, h, w] = at;
                at = [c, 2 * h, 2 * w];
                x = graph.doubled(&x);
            }
            Layer::Softplus => x = graph.node("Softplus", &[x], &[]),
            // Noise is added and numbers are dropped in training only.
            Layer::Identity | Layer::Noise { .. } | Layer::Dropout { .. } => {}
            Layer::Label { .. } | Layer::Flatten => {
                let what = "is a conditional network, of which no graph can be written yet";
                return Err(Error::Tensor { name: export.role.name().into(), what: what.into() });
            }
            ref layer => {
                let what = format!("is {}, which cannot be written as ONNX yet", layer.kind());
                return Err(Error::Tensor { name: format!("main.{i}"), what });
            }
        }
        if levels.iter().any(|level| level.output == i) {
            features.push(graph.pooled(&x, at));
        }
    }

    let range = match about.pixels {
        Pixels::Signed => "-1 (black) to 1 (white)",
        Pixels::Unit => "0 (black) to 1 (white)",
    };
    let [c, h, w] = picture;
    let (inputs, outputs, text) = match export.role {
        Role::Generator | Role::Decoder => {
            graph.name_output(&x, "pictures", "Identity", &[]);
            let text = format!(
                "Generator of a DCGAN: z [n, {}], {} numbers, to pictures [n, {c}, {h}, {w}] of {range}",
                about.nz, about.latent_law
            );
            (vec![value("z", &[about.nz])], vec![value("pictures", &picture)], text)
        }
        Role::Discriminator => {
            let one: usize = at.iter().product();
            let shape = graph.shape(&[0, one]);
            graph.name_output(&x, "logit", "Reshape", &[shape]);
            let mut outputs = vec![value("logit", &[one])];
            let len: usize = levels.iter().map(Level::width).sum();
            if !features.is_empty() {
                let axis = [int("axis", 1)];
                graph.push("Concat", &features, "features", &axis);
                outputs.push(value("features", &[len]));
            }
            let text = format!(
                "Discriminator of a DCGAN: pictures [n, {c}, {h}, {w}] of {range} to a logit (above \
                 0 for real) and {len} features, the paper's"
            );
            (vec![value("pictures", &picture)], outputs, text)
        }
        Role::Encoder | Role::Classifier => {
            let one: usize = at.iter().product();
            let shape = graph.shape(&[0, one]);
            graph.name_output(&x, "output", "Reshape", &[shape]);
            let text = format!(
                "{} of a GAN: images [n, {c}, {h}, {w}] of {range} to {one} numbers",
                export.role
            );
            (vec![value("pictures", &picture)], vec![value("output", &[one])], text)
        }
    };
    let named = |graph: Message, field: u32, values: &[Message]| {
        values.iter().fold(graph, |graph, value| graph.message(field, value))
    };
    let body = named(Message::default(), 1, &graph.nodes).bytes(2, export.role.name());
    let body = named(named(named(body, 5, &graph.constants), 11, &inputs), 12, &outputs);
    let description = serde_json::to_string(about).expect("plain data");
    let opset = Message::default().bytes(1, "").int(2, OPSET);
    let property = Message::default().bytes(1, DESCRIPTION).bytes(2, description);
    let model = Message::default()
        .int(1, IR_VERSION)
        .bytes(2, "dcgan")
        .bytes(3, env!("CARGO_PKG_VERSION"))
        .bytes(6, text)
        .message(7, &body)
        .message(8, &opset)
        .message(14, &property);
    Ok(model.finish())
}

/// Nodes and constants, in order.
#[derive(Default)]
struct Graph {
    nodes: Vec<Message>,
    constants: Vec<Message>,
}

impl Graph {
    /// A node with one output of the given name.
    fn push(&mut self, op: &str, inputs: &[String], output: &str, attributes: &[Message]) {
        let mut node = Message::default();
        for input in inputs {
            node = node.bytes(1, input);
        }
        node = node.bytes(2, output).bytes(3, format!("{op}{}", self.nodes.len())).bytes(4, op);
        for attribute in attributes {
            node = node.message(5, attribute);
        }
        self.nodes.push(node);
    }

    /// A node with one output; returns its name.
    fn node(&mut self, op: &str, inputs: &[String], attributes: &[Message]) -> String {
        let output = format!("x{}", self.nodes.len());
        self.push(op, inputs, &output, attributes);
        output
    }

    /// Gives the graph's output its name.
    fn name_output(&mut self, x: &str, name: &str, op: &str, more: &[String]) {
        let inputs = [&[x.to_owned()], more].concat();
        self.push(op, &inputs, name, &[]);
    }

    /// A constant of floats; returns its name.
    fn floats(&mut self, name: &str, tensor: &Tensor) -> String {
        let dims: Vec<i64> = tensor.shape().iter().map(|&s| s as i64).collect();
        let bytes: Vec<u8> = tensor.f32s().iter().flat_map(|x| x.to_le_bytes()).collect();
        let message =
            Message::default().ints(1, &dims).int(2, FLOAT).bytes(8, name).bytes(9, bytes);
        self.constants.push(message);
        name.to_owned()
    }

    /// A constant of whole numbers in a vector; returns its name.
    fn shape(&mut self, numbers: &[usize]) -> String {
        let name = format!("shape{}", self.constants.len());
        let bytes: Vec<u8> = numbers.iter().flat_map(|&n| (n as i64).to_le_bytes()).collect();
        let dims = [numbers.len() as i64];
        let message =
            Message::default().ints(1, &dims).int(2, INT64).bytes(8, &name).bytes(9, bytes);
        self.constants.push(message);
        name
    }

    /// Each pixel four times.
    fn doubled(&mut self, x: &str) -> String {
        let scales = Tensor::new([4], vec![1.0, 1.0, 2.0, 2.0]).expect("four numbers");
        let scales = self.floats(&format!("scales{}", self.constants.len()), &scales);
        // Between them stands the region of interest, which this way of resizing has none of.
        let inputs = [x.to_owned(), String::new(), scales];
        let how = [
            text("coordinate_transformation_mode", "asymmetric"),
            text("mode", "nearest"),
            text("nearest_mode", "floor"),
        ];
        self.node("Resize", &inputs, &how)
    }

    fn reshape(&mut self, x: &str, shape: &[usize]) -> String {
        let shape = self.shape(shape);
        self.node("Reshape", &[x.to_owned(), shape], &[])
    }

    /// `gamma (x − mean) / √(var + eps) + beta`, with mean and (biased) variance over `axes`.
    fn batch_norm(
        &mut self,
        x: String,
        [gamma, beta]: [String; 2],
        axes: &[i64],
        eps: f32,
    ) -> String {
        let mean = [ints("axes", axes), int("keepdims", 1)];
        let middle = self.node("ReduceMean", std::slice::from_ref(&x), &mean);
        let centred = self.node("Sub", &[x, middle], &[]);
        let squares = self.node("Mul", &[centred.clone(), centred.clone()], &[]);
        let var = self.node("ReduceMean", &[squares], &mean);
        let eps = Tensor::full([1], eps);
        let name = format!("epsilon{}", self.constants.len());
        let eps = self.floats(&name, &eps);
        let var = self.node("Add", &[var, eps], &[]);
        let deviation = self.node("Sqrt", &[var], &[]);
        let whitened = self.node("Div", &[centred, deviation], &[]);
        let scaled = self.node("Mul", &[whitened, gamma], &[]);
        self.node("Add", &[scaled, beta], &[])
    }

    /// `x` of one picture's shape `[c, h, w]`, max-pooled to a grid and flattened. Where a side is
    /// no multiple of the grid's, cells overlap by a row, from `⌊i h / 4⌋` to `⌈(i + 1) h / 4⌉`, as
    /// PyTorch's `AdaptiveMaxPool2d` has them.
    fn pooled(&mut self, x: &str, [c, h, w]: [usize; 3]) -> String {
        let (mut x, mut kernel) = (x.to_owned(), [1, 1]);
        for (axis, side) in [h, w].into_iter().enumerate() {
            let (taken, cell) = cells(side);
            kernel[axis] = cell;
            if taken.iter().enumerate().any(|(i, &at)| i != at) {
                let rows = self.shape(&taken);
                x = self.node("Gather", &[x, rows], &[int("axis", axis as i64 + 2)]);
            }
        }
        if kernel != [1, 1] {
            let kernel = kernel.map(|k| k as i64);
            let attributes = [ints("kernel_shape", &kernel), ints("strides", &kernel)];
            x = self.node("MaxPool", &[x], &attributes);
        }
        self.reshape(&x, &[0, c * h.min(GRID) * w.min(GRID)])
    }
}

/// The rows that the cells of a grid see, cell after cell, and how many each sees: a cell that sees
/// fewer sees its last one twice, which changes no maximum.
fn cells(side: usize) -> (Vec<usize>, usize) {
    let grid = side.min(GRID);
    let cell = |i: usize| (i * side / grid, ((i + 1) * side).div_ceil(grid));
    let most = (0..grid).map(|i| cell(i).1 - cell(i).0).max().unwrap_or(1);
    let rows = (0..grid).flat_map(|i| {
        let (start, end) = cell(i);
        (0..most).map(move |row| (start + row).min(end - 1))
    });
    (rows.collect(), most)
}

/// An input or output: `[n, …]`.
fn value(name: &str, shape: &[usize]) -> Message {
    let mut dims = Message::default().message(1, &Message::default().bytes(2, "n"));
    for &size in shape {
        dims = dims.message(1, &Message::default().int(1, size as i64));
    }
    let tensor = Message::default().int(1, FLOAT).message(2, &dims);
    Message::default().bytes(1, name).message(2, &Message::default().message(1, &tensor))
}

fn float(name: &str, value: f32) -> Message {
    Message::default().bytes(1, name).float(2, value).int(20, ATTRIBUTE_FLOAT)
}

fn int(name: &str, value: i64) -> Message {
    Message::default().bytes(1, name).int(3, value).int(20, ATTRIBUTE_INT)
}

fn text(name: &str, value: &str) -> Message {
    Message::default().bytes(1, name).bytes(4, value).int(20, ATTRIBUTE_STRING)
}

fn ints(name: &str, values: &[i64]) -> Message {
    Message::default().bytes(1, name).ints(8, values).int(20, ATTRIBUTE_INTS)
}

/// The attributes of a convolution. What PyTorch calls `output_padding` is less padding at the
/// end here; only where that would fall below nothing is it said as such.
fn convolution(spec: &ConvSpec, up: bool) -> Vec<Message> {
    let pair = |numbers: [usize; 2]| numbers.map(|n| n as i64);
    let (kernel, stride, begin) = (pair(spec.kernel), pair(spec.stride), pair(spec.pad));
    let (large, small) = (pair(spec.large), pair(spec.small));
    let end = [0, 1].map(|i| (small[i] - 1) * stride[i] + kernel[i] - large[i] - begin[i]);
    let pads = [begin[0], begin[1], end[0].max(0), end[1].max(0)];
    let mut attributes =
        vec![ints("kernel_shape", &kernel), ints("strides", &stride), ints("pads", &pads)];
    if up && end.iter().any(|&e| e < 0) {
        attributes.push(ints("output_padding", &end.map(|e| (-e).max(0))));
    }
    attributes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grid_sees_every_row() {
        assert_eq!(cells(8), ((0..8).collect(), 2));
        assert_eq!(cells(4), ((0..4).collect(), 1));
        assert_eq!(cells(3), ((0..3).collect(), 1));
        // Rows 0–1, 1–3, 3–5 and 5–6.
        assert_eq!(cells(7), (vec![0, 1, 1, 1, 2, 3, 3, 4, 5, 5, 6, 6], 3));
        assert_eq!(cells(5), (vec![0, 1, 1, 2, 2, 3, 3, 4], 2));
    }
}
