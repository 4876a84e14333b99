//! Imports ONNX graphs, which specify every layer: only the latent distribution is assumed.
//!
//! A graph is followed from its first output back to its one input, node by node, as each node has
//! one non-constant input. Ops that only change the view of the data (`Reshape`, `Flatten`) become
//! no layer.

use std::cell::Cell;
use std::collections::HashMap;

use crate::model::{Networks, Pixels};
use crate::nn::{Layer, Statistics};
use crate::tensor::Tensor;

use super::chain::Block;
use super::items::{Item, Norm};
use super::modules::{Kind, Module};
use super::roles::Role;
use super::sizes::Geometry;
use super::{MODEL, spelled};
use crate::protobuf::{Field, fields};

mod read;

use read::{Constant, Node, constant, damaged, find, node, value};

/// How an ONNX file begins: with the version of its format, a small number.
pub(super) fn looks_like_one(bytes: &[u8]) -> bool {
    bytes.first() == Some(&0x08) && fields(bytes).is_some()
}

/// A parsed graph.
#[derive(Clone, Debug)]
pub(super) struct Graph {
    nodes: Vec<Node>,
    constants: HashMap<String, Constant>,
    /// The node that computes each value.
    makers: HashMap<String, usize>,
    input: String,
    output: String,
    pub(super) role: Role,
    /// Height and width of its input images, if its input is images.
    pub(super) image: Option<[usize; 2]>,
    /// This program's description of the network, if it wrote the file.
    pub(super) about: Option<Networks>,
    /// Limit on the values of all its layers together.
    most: usize,
}

/// Layers hold at most this many times the file's values: some may share theirs.
const SHARED: usize = 4;

impl Graph {
    /// Reads an ONNX file.
    ///
    /// # Errors
    /// A message if it is damaged, stores its values elsewhere, or does not have exactly one input.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, String> {
        let (mut graph, mut about) = (None, None);
        for (number, field) in fields(bytes).ok_or_else(damaged)? {
            match (number, field) {
                (7, Field::Bytes(bytes)) => graph = Some(bytes),
                (14, Field::Bytes(bytes)) => {
                    let text = |wanted| find(bytes, wanted).and_then(Field::text);
                    if text(1).as_deref() == Some(MODEL) {
                        about = text(2).and_then(|text| serde_json::from_str(&text).ok());
                    }
                }
                _ => {}
            }
        }
        let (mut nodes, mut constants) = (Vec::new(), HashMap::new());
        let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
        for (number, field) in fields(graph.ok_or_else(damaged)?).ok_or_else(damaged)? {
            let Field::Bytes(bytes) = field else { continue };
            match number {
                1 => nodes.push(node(bytes)?),
                5 => {
                    let (name, constant) = constant(bytes)?;
                    constants.extend(constant.map(|constant| (name, constant)));
                }
                11 => inputs.push(value(bytes)?),
                12 => outputs.push(value(bytes)?.0),
                _ => {}
            }
        }
        // Constants may also be nodes, and have a second name.
        for node in &nodes {
            let [output] = &node.outputs[..] else { continue };
            let constant = match &*node.op {
                "Constant" => node.attributes.get("value").and_then(|value| value.tensor.clone()),
                "Identity" => node.inputs.first().and_then(|x| constants.get(x)).cloned(),
                _ => None,
            };
            constants.extend(constant.map(|constant| (output.clone(), constant)));
        }
        inputs.retain(|(name, _)| !constants.contains_key(name));
        let Ok([(input, shape)]) = <[(String, Vec<Option<usize>>); 1]>::try_from(inputs) else {
            return Err("is a graph of another number of inputs than one, and a generator takes \
                        latents alone, a discriminator images"
                .into());
        };
        let output = outputs.into_iter().next().ok_or_else(damaged)?;
        let (role, image) = match shape[..] {
            [_, Some(_)] | [_, Some(_), Some(1), Some(1)] => (Role::Generator, None),
            [_, Some(_), Some(h), Some(w)] => (Role::Discriminator, Some([h, w])),
            _ => {
                return Err(format!(
                    "is a graph whose input {input:?} is neither latents [n, nz] nor images \
                     [n, channels, height, width] of a known size"
                ));
            }
        };
        let mut makers = HashMap::new();
        for (i, node) in nodes.iter().enumerate() {
            makers.extend(node.outputs.iter().map(|output| (output.clone(), i)));
        }
        let most = bytes.len().saturating_mul(SHARED) / size_of::<f32>();
        Ok(Self { nodes, constants, makers, input, output, role, image, about, most })
    }

    /// Its layers, and the range of a generator's output.
    ///
    /// # Errors
    /// A message that names the unsupported part.
    pub(super) fn items(&self) -> Result<(Vec<Item>, Option<Pixels>), String> {
        let mut items = Vec::new();
        let (at, left) = (self.output.clone(), Cell::new(self.most));
        let mut walk = Walk { graph: self, at, seen: None, bias: None, left };
        for _ in 0..=self.nodes.len() {
            if walk.at == self.input {
                break;
            }
            items.extend(walk.step()?);
        }
        if walk.at != self.input || walk.bias.is_some() {
            return Err(damaged());
        }
        items.reverse();
        let last = items.last().and_then(|item| match item {
            Item::Plain(Layer::Tanh) => Some(Pixels::Signed),
            Item::Plain(Layer::Sigmoid) => Some(Pixels::Unit),
            _ => None,
        });
        match (self.role, last) {
            // The logit is the input of the final sigmoid.
            (Role::Discriminator, Some(Pixels::Unit)) => drop(items.pop()),
            (Role::Generator, None) => {
                return Err("is a generator that ends neither in tanh nor in a sigmoid".into());
            }
            _ => {}
        }
        spelled::follow(&mut items, self.role)?;
        Ok((items, last.filter(|_| self.role == Role::Generator)))
    }
}

/// The state of the walk back through a graph.
struct Walk<'a> {
    graph: &'a Graph,
    /// The value to trace next.
    at: String,
    /// The image that a linear layer's output is reshaped to, met before the layer itself.
    seen: Option<[usize; 2]>,
    /// A constant added to the output of the next layer.
    bias: Option<Tensor>,
    /// Values that layers may still use.
    left: Cell<usize>,
}

impl<'a> Walk<'a> {
    fn maker(&self, value: &str) -> Result<&'a Node, String> {
        let found = self.graph.makers.get(value).map(|&i| &self.graph.nodes[i]);
        found.ok_or_else(|| format!("is a graph in which nothing computes the value {value:?}"))
    }

    fn floats(&self, node: &Node, i: usize) -> Result<&'a Tensor, String> {
        match node.inputs.get(i).and_then(|name| self.graph.constants.get(name)) {
            Some(Constant::Floats(tensor)) => {
                let left = self.left.get().checked_sub(tensor.len());
                self.left.set(left.ok_or("has layers that share too many of their values")?);
                Ok(tensor)
            }
            _ => Err(format!("has the operator {} with non-constant weights", node.op)),
        }
    }

    /// Steps back by one node: the layers that it becomes, the last one first.
    fn step(&mut self) -> Result<Vec<Item>, String> {
        let node = self.maker(&self.at)?;
        let layers = ["Conv", "ConvTranspose", "Gemm", "MatMul", "Reshape"];
        if self.bias.is_some() && !layers.contains(&&*node.op) {
            return Err("is a graph that adds a constant to something other than a layer".into());
        }
        let input = node.inputs.first().cloned().ok_or_else(damaged)?;
        let plain = |layer| Ok(vec![Item::Plain(layer)]);
        let made = match &*node.op {
            "Conv" | "ConvTranspose" => self.convolution(node).map(|block| vec![block]),
            "Gemm" | "MatMul" => self.linear(node).map(|block| vec![block]),
            "BatchNormalization" => {
                let part = |i| self.floats(node, i).cloned();
                let affine = Some([part(1)?, part(2)?]);
                let eps = node.attributes.get("epsilon").and_then(|a| a.float).unwrap_or(1e-5);
                // A graph exported in training mode normalizes by the batch.
                let training = node.attributes.get("training_mode").and_then(|a| a.int);
                let (running, statistics) = match training.unwrap_or(0) {
                    0 => (Some([part(3)?, part(4)?]), Statistics::Running),
                    _ => (None, Statistics::Batch),
                };
                norm(node, Kind::Norm { affine, running }, eps, statistics)
            }
            "Add" => return self.sum(node),
            "Relu" => plain(Layer::relu()),
            "LeakyRelu" => {
                let slope = node.attributes.get("alpha").and_then(|a| a.float).unwrap_or(0.01);
                plain(Layer::leaky_relu(slope))
            }
            "Tanh" => plain(Layer::Tanh),
            "Sigmoid" => plain(Layer::Sigmoid),
            "Softplus" => plain(Layer::Softplus),
            "Resize" | "Upsample" => self.doubled(node).map(|layer| vec![Item::Plain(layer)]),
            "Reshape" => {
                let shape = node.inputs.get(1).and_then(|name| self.graph.constants.get(name));
                if let Some(Constant::Ints(shape)) = shape
                    && let [_, _, h, w] = shape[..]
                    && let (Ok(h @ 1..), Ok(w @ 1..)) = (usize::try_from(h), usize::try_from(w))
                {
                    self.seen.get_or_insert([h, w]);
                }
                Ok(Vec::new())
            }
            "Flatten" | "Identity" | "Dropout" | "Squeeze" | "Unsqueeze" => Ok(Vec::new()),
            other => Err(format!(
                "has the operator {other:?}, which no DCGAN uses: convolutions, linear layers, \
                 batch norms, (leaky) ReLU, tanh, sigmoids and doubling by nearest pixels can be \
                 imported"
            )),
        }?;
        self.at = input;
        Ok(made)
    }

    /// A convolution in either direction.
    fn convolution(&mut self, node: &Node) -> Result<Item, String> {
        let up = node.op == "ConvTranspose";
        let mut weight = self.floats(node, 1)?.clone();
        let key = node.inputs.get(1).cloned().unwrap_or_default();
        let &[small, large, kh, kw] = weight.shape() else {
            return Err(format!(
                "{key} does not belong to a 2-D convolution: its shape is {:?}",
                weight.shape()
            ));
        };
        let mut bias = match node.inputs.get(2).filter(|name| !name.is_empty()) {
            Some(_) => Some(self.floats(node, 2)?.clone()),
            None => None,
        };
        let numbers = |name: &str, default: i64, len: usize| -> Result<Vec<i64>, String> {
            let numbers = node.attributes.get(name).map(|a| a.ints.clone()).unwrap_or_default();
            match numbers.len() {
                0 => Ok(vec![default; len]),
                n if n == len && numbers.iter().all(|n| (0..1 << 12).contains(n)) => Ok(numbers),
                _ => Err(format!("{key}: its {name} {numbers:?} do not fit a 2-D convolution")),
            }
        };
        let said = node.attributes.get("kernel_shape").map(|a| a.ints.as_slice());
        if said.is_some_and(|said| said != [kh as i64, kw as i64]) {
            return Err(format!(
                "is damaged: {key} is a kernel of {kh}x{kw}, but its layer specifies {said:?}",
                said = said.unwrap_or_default()
            ));
        }
        let odd = |what: String| Err(format!("{key}: {what}, which is not supported"));
        let text = |name: &str| node.attributes.get(name).and_then(|a| a.text.clone());
        if let Some(auto) = text("auto_pad").filter(|auto| !["NOTSET", "VALID"].contains(&&**auto))
        {
            return odd(format!("its padding is {auto}"));
        }
        if node.attributes.get("group").and_then(|a| a.int).unwrap_or(1) != 1 {
            return odd("it is a convolution of several groups".into());
        }
        if numbers("dilations", 1, 2)? != [1, 1] {
            return odd("it is a dilated convolution".into());
        }
        if node.attributes.contains_key("output_shape") {
            return odd("its padding follows from an output shape".into());
        }
        let stride = numbers("strides", 1, 2)?;
        let pads = numbers("pads", 0, 4)?;
        let more = numbers("output_padding", 0, 2)?;
        let uneven = |axis: usize| (pads[axis + 2] - pads[axis]) as isize;
        let geometry = Geometry {
            stride: [stride[0] as usize, stride[1] as usize],
            pad: [pads[0] as usize, pads[1] as usize],
            output_pad: [0, 1].map(|axis| match up {
                true => more[axis] as isize - uneven(axis),
                false => uneven(axis),
            }),
        };
        let (from, to) = if up { (small, large) } else { (large, small) };
        let mut linear = false;
        if let Some(added) = self.bias.take() {
            if added.len() == to {
                bias = Some(sum(&key, bias, added)?);
            } else if up && bias.is_none() && added.len() * small == weight.len() {
                // A bias for each value of an image: a linear layer's output from one pixel.
                linear = true;
                bias = Some(added);
                weight = transposed(&weight, small)?;
            } else {
                return odd(format!("{} numbers are added to its {to} channels", added.len()));
            }
        }
        let geometry = (!linear).then_some(geometry);
        let seen = linear.then_some([kh, kw]);
        let norm = None;
        Ok(Item::Weights(Box::new(Block {
            key,
            weight,
            bias,
            up,
            from,
            to,
            norm,
            linear,
            geometry,
            seen,
        })))
    }

    /// A linear layer.
    fn linear(&mut self, node: &Node) -> Result<Item, String> {
        let weight = self.floats(node, 1)?;
        let key = node.inputs.get(1).cloned().unwrap_or_default();
        let &[rows, _] = weight.shape() else {
            return Err(format!(
                "{key} is not a linear layer's: its shape is {:?}",
                weight.shape()
            ));
        };
        let number = |name: &str, default: f32| {
            node.attributes.get(name).and_then(|a| a.float).unwrap_or(default)
        };
        let is = |name: &str| node.attributes.get(name).and_then(|a| a.int).unwrap_or(0) != 0;
        if is("transA") || number("alpha", 1.0) != 1.0 || number("beta", 1.0) != 1.0 {
            return Err(format!("{key} is in a matrix product that is not a linear layer"));
        }
        // `[out, in]`, as PyTorch keeps it.
        let weight = if is("transB") { weight.clone() } else { transposed(weight, rows)? };
        let mut bias = match node.inputs.get(2).filter(|name| !name.is_empty()) {
            Some(_) => Some(self.floats(node, 2)?.clone()),
            None => None,
        };
        if let Some(added) = self.bias.take() {
            bias = Some(sum(&key, bias, added)?);
        }
        let (up, linear, norm, geometry) = (self.graph.role == Role::Generator, true, None, None);
        let (out, taken) = (weight.shape()[0], weight.shape()[1]);
        let (from, to) = if up { (taken, 0) } else { (0, out) };
        let seen = match self.seen.take() {
            Some(seen) if up => Some(seen),
            _ => None,
        };
        Ok(Item::Weights(Box::new(Block {
            key,
            weight,
            bias,
            up,
            from,
            to,
            norm,
            linear,
            geometry,
            seen,
        })))
    }

    /// A constant added to a layer, or the end of a batch norm expressed in single ops.
    fn sum(&mut self, node: &Node) -> Result<Vec<Item>, String> {
        let is_constant = |name: &&String| self.graph.constants.contains_key(*name);
        let [a, b] = &node.inputs[..] else { return Err(damaged()) };
        let (value, i) = if is_constant(&b) { (a, 1) } else { (b, 0) };
        let added = self.floats(node, i)?.clone();
        if *value == self.graph.input {
            return Err("is a graph that adds a constant to its input".into());
        }
        let maker = self.maker(value)?;
        if maker.op != "Mul" {
            if self.bias.replace(flat(&added)?).is_some() {
                return Err("is a graph that adds two constants to one layer".into());
            }
            self.at.clone_from(value);
            return Ok(Vec::new());
        }
        // gamma (x − mean) / √(var + eps) + beta
        let wrong = || "is a graph that multiplies outside of a batch norm".to_owned();
        let scale = (0..2).find_map(|i| self.floats(maker, i).ok()).ok_or_else(wrong)?;
        let other = |node: &'a Node| {
            node.inputs.iter().find(|name| !self.graph.constants.contains_key(*name))
        };
        let quotient = self.maker(other(maker).ok_or_else(wrong)?)?;
        let ("Div", [centered, root]) = (&*quotient.op, &quotient.inputs[..]) else {
            return Err(wrong());
        };
        let difference = self.maker(centered)?;
        let ("Sub", [x, mean]) = (&*difference.op, &difference.inputs[..]) else {
            return Err(wrong());
        };
        let (root, mean) = (self.maker(root)?, self.maker(mean)?);
        let shifted = self.maker(root.inputs.first().ok_or_else(wrong)?)?;
        let eps = (0..2).find_map(|i| self.floats(shifted, i).ok()).ok_or_else(wrong)?;
        let variance = self.maker(other(shifted).ok_or_else(wrong)?)?;
        let square = self.maker(variance.inputs.first().ok_or_else(wrong)?)?;
        let ops = [&root.op, &mean.op, &shifted.op, &variance.op, &square.op];
        let fits = ops == ["Sqrt", "ReduceMean", "Add", "ReduceMean", "Mul"]
            && mean.inputs.first() == Some(x)
            && square.inputs.iter().all(|input| input == centered)
            && eps.len() == 1;
        if !fits {
            return Err(wrong());
        }
        let kind = Kind::Norm { affine: Some([flat(scale)?, flat(&added)?]), running: None };
        let made = norm(node, kind, eps.f32s()[0], Statistics::Batch)?;
        self.at.clone_from(x);
        Ok(made)
    }

    /// Checks that a node doubles images by nearest-neighbor upsampling.
    fn doubled(&self, node: &Node) -> Result<Layer, String> {
        let text =
            |name: &str| node.attributes.get(name).and_then(|a| a.text.clone()).unwrap_or_default();
        let scales =
            node.inputs.iter().skip(1).find_map(|name| match self.graph.constants.get(name) {
                Some(Constant::Floats(scales)) if scales.len() == 4 => Some(scales.f32s().to_vec()),
                _ => None,
            });
        let nearest = ["", "nearest"].contains(&&*text("mode"))
            && !text("nearest_mode").contains("ceil")
            && text("coordinate_transformation_mode") != "align_corners";
        // `half_pixel` is the default.
        let bilinear = text("mode") == "linear"
            && ["", "half_pixel"].contains(&&*text("coordinate_transformation_mode"));
        match scales {
            Some(scales) if nearest && scales == [1.0, 1.0, 2.0, 2.0] => Ok(Layer::Upsample),
            Some(scales) if bilinear && scales == [1.0, 1.0, 2.0, 2.0] => Ok(Layer::Bilinear),
            _ => Err(format!(
                "has the operator {}, which does something else than doubling images by their \
                 nearest pixels or bilinearly between the centers of pixels",
                node.op
            )),
        }
    }
}

/// The layer of a norm.
fn norm(node: &Node, kind: Kind, eps: f32, statistics: Statistics) -> Result<Vec<Item>, String> {
    let key = node.inputs.get(1).cloned().unwrap_or_default();
    if let Kind::Norm { affine: Some([a, b]), running } = &kind {
        let parts = [a, b].into_iter().chain(running.iter().flatten());
        if parts.into_iter().any(|part| part.len() != a.len() || part.shape().len() != 1) {
            return Err(format!("the tensors of {key} differ in length"));
        }
    }
    let module = Module { key, kind };
    Ok(vec![Item::Norm(Norm { module, eps: Some(eps), statistics: Some(statistics) })])
}

/// A tensor as a vector.
fn flat(tensor: &Tensor) -> Result<Tensor, String> {
    Tensor::new([tensor.len()], tensor.f32s().to_vec()).map_err(|e| e.to_string())
}

/// The sum of a bias and another one.
fn sum(key: &str, bias: Option<Tensor>, more: Tensor) -> Result<Tensor, String> {
    let Some(bias) = bias else { return flat(&more) };
    if bias.len() != more.len() {
        return Err(format!("{key} has {} biases and {} more", bias.len(), more.len()));
    }
    let sums = bias.f32s().iter().zip(more.f32s()).map(|(a, b)| a + b).collect();
    Tensor::new([more.len()], sums).map_err(|e| e.to_string())
}

/// Reshapes a tensor whose first axis is `rows` to a matrix `[rest, rows]`.
fn transposed(tensor: &Tensor, rows: usize) -> Result<Tensor, String> {
    let columns = tensor.len() / rows.max(1);
    let numbers = tensor.f32s();
    let turned =
        (0..columns).flat_map(|c| (0..rows).map(move |r| numbers[r * columns + c])).collect();
    Tensor::new([columns, rows], turned).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protobuf::Message;

    fn tensor(name: &str, dims: &[i64], number: f32) -> Message {
        let len = dims.iter().product::<i64>() as usize;
        let bytes = number.to_le_bytes().repeat(len);
        Message::default().ints(1, dims).int(2, 1).bytes(8, name).bytes(9, bytes)
    }

    fn value(name: &str, dims: &[i64]) -> Message {
        let dims = dims.iter().fold(Message::default(), |all, &size| {
            all.message(1, &Message::default().int(1, size))
        });
        let kind = Message::default().int(1, 1).message(2, &dims);
        Message::default().bytes(1, name).message(2, &Message::default().message(1, &kind))
    }

    /// A discriminator of a kernel of one pixel and a layer with these inputs and one attribute.
    fn one(op: &str, inputs: &[&str], attribute: (&str, &[i64]), constants: &[Message]) -> Vec<u8> {
        let (name, numbers) = attribute;
        let kernel = tensor("first", &[3, 3, 1, 1], 0.5);
        let attribute = Message::default().bytes(1, name);
        let attribute = match numbers {
            [number] => attribute.int(3, *number),
            numbers => attribute.ints(8, numbers),
        };
        let inputs = ["x1"].iter().chain(inputs);
        let node = inputs.fold(Message::default(), |node, input| node.bytes(1, *input));
        let node = node.bytes(2, "x2").bytes(4, op).message(5, &attribute);
        let first = ["x0", "first"].iter().fold(Message::default(), |node, x| node.bytes(1, *x));
        let first = first.bytes(2, "x1").bytes(4, "Conv");
        let graph = Message::default().message(1, &first).message(1, &node);
        let constants = constants.iter().chain([&kernel]);
        let graph = constants.fold(graph, |graph, constant| graph.message(5, constant));
        let (input, output) = (value("x0", &[1, 3, 8, 8]), value("x2", &[1, 1]));
        let graph = graph.message(11, &input).message(12, &output);
        Message::default().int(1, 8).message(7, &graph).finish()
    }

    #[test]
    fn a_batch_norm_in_training_mode_goes_by_the_batch() {
        let names = ["gamma", "beta", "mean", "variance"];
        let constants = names.map(|name| tensor(name, &[3], 0.5));
        let modes = [(0, Statistics::Running), (1, Statistics::Batch)];
        for (mode, wanted) in modes {
            let file = one("BatchNormalization", &names, ("training_mode", &[mode]), &constants);
            let (items, _) = Graph::read(&file).and_then(|graph| graph.items()).expect("a norm");
            let [_, Item::Norm(norm)] = &items[..] else { panic!("{items:?}") };
            assert_eq!(norm.statistics, Some(wanted));
            let Kind::Norm { running, .. } = &norm.module.kind else { panic!("{norm:?}") };
            assert_eq!(running.is_some(), wanted == Statistics::Running);
        }
    }

    #[test]
    fn a_kernel_is_as_large_as_its_layer_says() {
        let kernel = [tensor("w", &[3, 3, 4, 4], 0.5)];
        let read = |size: i64| {
            let file = one("Conv", &["w"], ("kernel_shape", &[size, size]), &kernel);
            Graph::read(&file).and_then(|graph| graph.items()).map(|(items, _)| items.len())
        };
        assert_eq!(read(4), Ok(2));
        let text = read(3).expect_err("4 is not 3");
        assert!(text.contains("w is a kernel of 4x4, but its layer specifies [3, 3]"), "{text}");
    }

    /// A discriminator made of these nodes (op, second input).
    fn chained(nodes: &[(&str, &str)], constants: &[Message]) -> Vec<u8> {
        let mut graph = Message::default();
        for (i, (op, second)) in nodes.iter().enumerate() {
            let mut node = Message::default().bytes(1, format!("x{i}"));
            if !second.is_empty() {
                node = node.bytes(1, *second);
            }
            graph = graph.message(1, &node.bytes(2, format!("x{}", i + 1)).bytes(4, *op));
        }
        graph = constants.iter().fold(graph, |graph, constant| graph.message(5, constant));
        let output = value(&format!("x{}", nodes.len()), &[1, 1]);
        let graph = graph.message(11, &value("x0", &[1, 3, 8, 8])).message(12, &output);
        Message::default().int(1, 8).message(7, &graph).finish()
    }

    fn refused(nodes: &[(&str, &str)], constants: &[Message]) -> String {
        let read = Graph::read(&chained(nodes, constants)).and_then(|graph| graph.items());
        read.expect_err("it is none")
    }

    #[test]
    fn graphs_that_are_no_networks_are_refused_by_what_they_hold() {
        let kernel = tensor("w", &[3, 3, 3, 3], 0.5);
        let wide = tensor("w", &[3, 3, 8, 8], 0.5);
        let constant = tensor("c", &[3], 0.5);
        type Case<'a> = (&'a [(&'a str, &'a str)], &'a [Message], &'a str);
        let cases: [Case<'_>; 6] = [
            (&[("Conv", "w"), ("Gelu", "")], std::slice::from_ref(&kernel), "operator \"Gelu\""),
            (&[("Conv", "v")], std::slice::from_ref(&kernel), "non-constant weights"),
            (
                &[("Add", "c"), ("Relu", "")],
                std::slice::from_ref(&constant),
                "adds a constant to its input",
            ),
            (
                &[("Conv", "w"), ("Relu", ""), ("Add", "c")],
                &[kernel.clone(), constant.clone()],
                "adds a constant to something other than a layer",
            ),
            // One kernel shared by many layers: more than the file holds.
            (&[("Conv", "w"); 40], std::slice::from_ref(&wide), "share too many of their values"),
            (
                &[("Conv", "w")],
                &[tensor("w", &[3, 3, 3, 3], f32::NAN)],
                "number 0 of w is not finite",
            ),
        ];
        for (nodes, constants, words) in cases {
            let text = refused(nodes, constants);
            assert!(text.contains(words), "no {words:?} in: {text}");
        }
        // A loop.
        let node =
            |from: &str, to: &str| Message::default().bytes(1, from).bytes(2, to).bytes(4, "Relu");
        let graph = Message::default()
            .message(1, &node("a", "b"))
            .message(1, &node("b", "a"))
            .message(11, &value("x0", &[1, 3, 8, 8]))
            .message(12, &value("b", &[1, 1]));
        let file = Message::default().int(1, 8).message(7, &graph).finish();
        let read = Graph::read(&file).and_then(|graph| graph.items());
        assert_eq!(read.expect_err("it ends nowhere"), damaged());
    }
}
