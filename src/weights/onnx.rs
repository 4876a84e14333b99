//! Writes a network as an ONNX graph: operator set 13, which every runtime since 2021 supports.
//!
//! Images are `[n, channels, height, width]` there. A generator maps `z` `[n, nz]` to `images`, and where
//! it is conditioned on classes or texts also takes `labels` `[n, classes]` (one-hot) or `text`
//! `[n, width]` (as [`crate::text`] encodes it); if several networks make images together, their graph
//! has all of them. A discriminator maps `images` to `logit` `[n, 1]` and to `features` `[n, f]`, those
//! of [`crate::features`], in the same order.
//!
//! The format is six small messages (onnx/onnx.proto), which [`Message`] writes: a library for them
//! would bring generated types for a hundred.

use crate::error::{Error, Result};
use crate::features::{FeatureLayer, GRID, feature_layers};
use crate::model::pipeline::{Call, IMAGES};
use crate::model::{ModelFile, Networks, Pipeline, Pixels, Role, Weights};
use crate::nn::onnx::{Attribute, Graph, Side};
use crate::nn::{LATENT, Param};
use crate::ops::pool::window;
use crate::tensor::Tensor;

use super::MODEL;
use super::outgoing::{Export, params_of};
use crate::protobuf::Message;

/// The version of ONNX's operator set.
pub(super) const OPSET: i64 = 13;

/// The version of the file format of that time.
const IR_VERSION: i64 = 7;

/// ONNX's codes for element types and attribute types.
const FLOAT: i64 = 1;
const INT64: i64 = 7;
const ATTRIBUTE_FLOAT: i64 = 1;
const ATTRIBUTE_INT: i64 = 2;
const ATTRIBUTE_STRING: i64 = 3;
const ATTRIBUTE_INTS: i64 = 7;

/// The range of pixels.
fn range(about: &Networks) -> &'static str {
    match about.pixels {
        Pixels::Signed => "-1 (black) to 1 (white)",
        Pixels::Unit => "0 (black) to 1 (white)",
    }
}

/// The ONNX file of all networks that make images together.
///
/// # Errors
/// [`Error::File`] for non-finite weights, or those of a stage that was not trained; [`Error::Tensor`] naming a layer that cannot be written.
pub(super) fn pipeline(model: &ModelFile, weights: Weights) -> Result<Vec<u8>> {
    let about = &model.networks;
    let fail = |what: String| Error::file(&model.path, what);
    model.check_stages()?;
    let calls = Pipeline::of(about)?;
    let sizes = calls.sizes(about).map_err(fail)?;
    let mut graph = Nodes::default();
    let mut inputs = vec![value("z", &[about.nz])];
    let builder: &mut dyn Graph = &mut graph;
    let z = builder.reshape("z", &[0, about.nz, 1, 1]);
    let mut values = vec![(LATENT, z.clone())];
    let mut at = 0;
    for (name, width) in about.parts.iter() {
        values.push((name, builder.channels(&z, at, width)));
        at += width;
    }
    let mut condition = String::new();
    if let Some((name, width)) = about.condition() {
        inputs.push(value(name, &[width]));
        values.push((name, builder.reshape(name, &[0, width, 1, 1])));
        condition = format!(" and {name} [n, {width}]");
    }
    let known = |values: &[(&str, String)]| -> Vec<Side> {
        let of = |(name, value): &(&str, String)| Side {
            name: (*name).to_owned(),
            value: value.clone(),
            size: sizes[name],
        };
        values.iter().map(of).collect()
    };
    for Call { network, input, output, .. } in &calls.0 {
        let (params, prefix) = (params_of(model, network, weights)?, format!("{network}."));
        let sides = known(&values);
        let main = sides.iter().find(|side| side.name == *input).cloned();
        let Side { value, size, .. } = main.expect("the pipeline was checked");
        graph = Nodes { params, prefix, sides, ..graph };
        let layers = &about.by_name[network].network;
        let y = layers.onnx(&mut graph, value, size)?;
        values.push((output, y));
    }
    let (_, images) =
        values.iter().rev().find(|(name, _)| *name == IMAGES).expect("it was checked");
    graph.name_output(images, IMAGES, "Identity", &[]);
    let image = [about.channels, about.size.height, about.size.width];
    let text = format!(
        "Generator of a GAN: z [n, {}], {} numbers,{condition} to images {image:?} of {}",
        about.nz,
        about.latent_distribution,
        range(about)
    );
    Ok(graph.finish(about, Role::Generator.name(), &inputs, &[value(IMAGES, &image)], text))
}

/// The ONNX file of one network.
pub(super) fn graph(export: &Export<'_>) -> Result<Vec<u8>> {
    let mut graph = Nodes { params: export.params.clone(), ..Nodes::default() };
    let about = &export.about;
    let (size, channels) = (about.size, about.channels);
    let image = [channels, size.height, size.width];
    let (input, mut at) = match export.role {
        Role::Generator | Role::Decoder => ("z", [1, 1, about.nz]),
        Role::Discriminator | Role::Encoder | Role::Classifier => {
            ("images", [size.height, size.width, channels])
        }
    };
    let fail = |what: String| Error::Tensor { name: export.role.name().into(), what };
    let sizes = export.network.sizes(at).map_err(fail)?;
    let mut x = input.to_owned();
    let builder: &mut dyn Graph = &mut graph;
    if export.role.takes_latents() {
        x = builder.reshape(&x, &[0, about.nz, 1, 1]);
    }
    // `None` if no convolution is hidden.
    let feature_layers = match export.role {
        Role::Discriminator => feature_layers(about).unwrap_or_default(),
        _ => Vec::new(),
    };
    let mut features: Vec<String> = Vec::new();
    for (i, (layer, size)) in export.network.layers.iter().zip(sizes).enumerate() {
        x = layer.onnx(builder, &format!("main.{i}"), x, at)?;
        at = size;
        if feature_layers.iter().any(|level| level.output == i) {
            features.push(pooled(builder, &x, at));
        }
    }

    let range = range(about);
    let [c, h, w] = image;
    let (inputs, outputs, text) = match export.role {
        Role::Generator | Role::Decoder => {
            graph.name_output(&x, "images", "Identity", &[]);
            let text = format!(
                "Generator of a DCGAN: z [n, {}], {} numbers, to images [n, {c}, {h}, {w}] of {range}",
                about.nz, about.latent_distribution
            );
            (vec![value("z", &[about.nz])], vec![value("images", &image)], text)
        }
        Role::Discriminator => {
            let one: usize = at.iter().product();
            let shape = graph.shape(&[0, one]);
            graph.name_output(&x, "logit", "Reshape", &[shape]);
            let mut outputs = vec![value("logit", &[one])];
            let len: usize = feature_layers.iter().map(FeatureLayer::width).sum();
            if !features.is_empty() {
                let axis = [Attribute::Int("axis", 1)];
                graph.push("Concat", &features, "features", &axis);
                outputs.push(value("features", &[len]));
            }
            let text = format!(
                "Discriminator of a DCGAN: images [n, {c}, {h}, {w}] of {range} to a logit (above \
                 0 for real) and {len} features, the paper's"
            );
            (vec![value("images", &image)], outputs, text)
        }
        Role::Encoder | Role::Classifier => {
            let one: usize = at.iter().product();
            let shape = graph.shape(&[0, one]);
            graph.name_output(&x, "output", "Reshape", &[shape]);
            let text = format!(
                "{} of a GAN: images [n, {c}, {h}, {w}] of {range} to {one} numbers",
                export.role
            );
            (vec![value("images", &image)], vec![value("output", &[one])], text)
        }
    };
    Ok(graph.finish(about, export.role.name(), &inputs, &outputs, text))
}

/// Nodes and constants, in order.
#[derive(Default)]
struct Nodes<'a> {
    /// Of the network being written.
    params: Vec<(Param, &'a Tensor)>,
    /// Before the names of its constants.
    prefix: String,
    sides: Vec<Side>,
    nodes: Vec<Message>,
    constants: Vec<Message>,
}

impl Nodes<'_> {
    /// The file of the graph.
    fn finish(
        &self,
        about: &Networks,
        name: &str,
        inputs: &[Message],
        outputs: &[Message],
        text: String,
    ) -> Vec<u8> {
        let named = |graph: Message, field: u32, values: &[Message]| {
            values.iter().fold(graph, |graph, value| graph.message(field, value))
        };
        let body = named(Message::default(), 1, &self.nodes).bytes(2, name);
        let body = named(named(named(body, 5, &self.constants), 11, inputs), 12, outputs);
        let description = serde_json::to_string(about).expect("plain data");
        let opset = Message::default().bytes(1, "").int(2, OPSET);
        let property = Message::default().bytes(1, MODEL).bytes(2, description);
        let model = Message::default()
            .int(1, IR_VERSION)
            .bytes(2, "dcgan")
            .bytes(3, env!("CARGO_PKG_VERSION"))
            .bytes(6, text)
            .message(7, &body)
            .message(8, &opset)
            .message(14, &property);
        model.finish()
    }

    /// Adds a node with one output of the given name.
    fn push(&mut self, op: &str, inputs: &[String], output: &str, attributes: &[Attribute<'_>]) {
        let mut node = Message::default();
        for input in inputs {
            node = node.bytes(1, input);
        }
        node = node.bytes(2, output).bytes(3, format!("{op}{}", self.nodes.len())).bytes(4, op);
        for attribute in attributes {
            node = node.message(5, &written(attribute));
        }
        self.nodes.push(node);
    }

    /// Names an output of the graph.
    fn name_output(&mut self, x: &str, name: &str, op: &str, more: &[String]) {
        let inputs = [&[x.to_owned()], more].concat();
        self.push(op, &inputs, name, &[]);
    }
}

impl Graph for Nodes<'_> {
    fn node(&mut self, op: &str, inputs: &[String], attributes: &[Attribute<'_>]) -> String {
        let output = format!("x{}", self.nodes.len());
        self.push(op, inputs, &output, attributes);
        output
    }

    fn floats(&mut self, name: &str, tensor: &Tensor) -> String {
        let dims: Vec<i64> = tensor.shape().iter().map(|&s| s as i64).collect();
        let bytes: Vec<u8> = tensor.f32s().iter().flat_map(|x| x.to_le_bytes()).collect();
        let name = format!("{}{name}", self.prefix);
        let message =
            Message::default().ints(1, &dims).int(2, FLOAT).bytes(8, &name).bytes(9, bytes);
        self.constants.push(message);
        name
    }

    fn constant(&mut self, stem: &str, tensor: &Tensor) -> String {
        self.floats(&format!("{stem}{}", self.constants.len()), tensor)
    }

    fn shape(&mut self, numbers: &[usize]) -> String {
        let name = format!("shape{}", self.constants.len());
        let bytes: Vec<u8> = numbers.iter().flat_map(|&n| (n as i64).to_le_bytes()).collect();
        let dims = [numbers.len() as i64];
        let message =
            Message::default().ints(1, &dims).int(2, INT64).bytes(8, &name).bytes(9, bytes);
        self.constants.push(message);
        name
    }

    fn tensor(&self, name: &str) -> Result<Tensor> {
        let found = self.params.iter().find(|(param, _)| param.name == name);
        let (param, tensor) = found.expect("an export has all tensors of its layers");
        param.layout.from_file(name, tensor, &param.shape)
    }

    fn sides(&self) -> &[Side] {
        &self.sides
    }
}

/// `x`, with images of size `[h, w, c]`, max-pooled to a grid and flattened. If a side is not a
/// multiple of the grid's, cells overlap by a row, from `⌊i h / 4⌋` to `⌈(i + 1) h / 4⌉`, as in
/// PyTorch's `AdaptiveMaxPool2d`.
fn pooled(graph: &mut dyn Graph, x: &str, [h, w, c]: [usize; 3]) -> String {
    let (mut x, mut kernel) = (x.to_owned(), [1, 1]);
    for (axis, side) in [h, w].into_iter().enumerate() {
        let (taken, cell) = cells(side);
        kernel[axis] = cell;
        if taken.iter().enumerate().any(|(i, &at)| i != at) {
            let rows = graph.shape(&taken);
            x = graph.node("Gather", &[x, rows], &[Attribute::Int("axis", axis as i64 + 2)]);
        }
    }
    if kernel != [1, 1] {
        let kernel = kernel.map(|k| k as i64);
        let attributes =
            [Attribute::Ints("kernel_shape", &kernel), Attribute::Ints("strides", &kernel)];
        x = graph.node("MaxPool", &[x], &attributes);
    }
    graph.reshape(&x, &[0, c * h.min(GRID) * w.min(GRID)])
}

/// The rows that the cells of a grid cover, cell by cell, and how many each covers: a cell with
/// fewer rows gets its last one twice, which changes no maximum.
fn cells(side: usize) -> (Vec<usize>, usize) {
    let grid = side.min(GRID);
    let cell = |i: usize| window(i, grid, side);
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

/// An attribute in ONNX's encoding.
fn written(attribute: &Attribute<'_>) -> Message {
    let named = |name: &str| Message::default().bytes(1, name);
    match *attribute {
        Attribute::Float(name, value) => named(name).float(2, value).int(20, ATTRIBUTE_FLOAT),
        Attribute::Int(name, value) => named(name).int(3, value).int(20, ATTRIBUTE_INT),
        Attribute::Text(name, value) => named(name).bytes(4, value).int(20, ATTRIBUTE_STRING),
        Attribute::Ints(name, values) => named(name).ints(8, values).int(20, ATTRIBUTE_INTS),
    }
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
