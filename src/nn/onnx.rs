//! A graph of ONNX as layers see it: what they put into it. The file is written elsewhere.

use crate::error::Result;
use crate::tensor::Tensor;

/// An attribute of a node, by name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Attribute<'a> {
    Float(&'a str, f32),
    Int(&'a str, i64),
    Ints(&'a str, &'a [i64]),
    Text(&'a str, &'a str),
}

/// A graph that is being made. Images are `[n, c, h, w]` in it.
pub(crate) trait Graph {
    /// A node with one output; returns the output's name.
    fn node(&mut self, op: &str, inputs: &[String], attributes: &[Attribute<'_>]) -> String;

    /// A constant of floats by this name, which it returns.
    fn floats(&mut self, name: &str, tensor: &Tensor) -> String;

    /// A constant of floats whose name starts with `stem`; returns its name.
    fn constant(&mut self, stem: &str, tensor: &Tensor) -> String;

    /// A constant of whole numbers in a vector; returns its name.
    fn shape(&mut self, numbers: &[usize]) -> String;

    /// The tensor of a layer, by its name in the network, as it is on the device.
    fn tensor(&self, name: &str) -> Result<Tensor>;
}

impl dyn Graph + '_ {
    /// A node of one input without attributes.
    pub(crate) fn unary(&mut self, op: &str, x: String) -> String {
        self.node(op, &[x], &[])
    }

    /// `x` in another shape, in which 0 stands for a size that stays.
    pub(crate) fn reshape(&mut self, x: &str, shape: &[usize]) -> String {
        let shape = self.shape(shape);
        self.node("Reshape", &[x.to_owned(), shape], &[])
    }
}
