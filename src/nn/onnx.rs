//! The ONNX graph interface for layers. The file is written elsewhere.

use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// A side input of a network in a graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Side {
    /// Its name among those of a [`Pass`](super::Pass).
    pub(crate) name: String,
    /// The graph's value `[n, c, h, w]`.
    pub(crate) value: String,
    /// Its size `[h, w, c]`.
    pub(crate) size: [usize; 3],
}

/// An attribute of a node, by name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Attribute<'a> {
    Float(&'a str, f32),
    Int(&'a str, i64),
    Ints(&'a str, &'a [i64]),
    Text(&'a str, &'a str),
}

/// A graph under construction. Its images are `[n, c, h, w]`.
pub(crate) trait Graph {
    /// A node with one output; returns the output's name.
    fn node(&mut self, op: &str, inputs: &[String], attributes: &[Attribute<'_>]) -> String;

    /// A constant of floats with this name, which it returns.
    fn floats(&mut self, name: &str, tensor: &Tensor) -> String;

    /// A constant of floats whose name starts with `stem`; returns its name.
    fn constant(&mut self, stem: &str, tensor: &Tensor) -> String;

    /// A constant vector of integers; returns its name.
    fn shape(&mut self, numbers: &[usize]) -> String;

    /// A layer's tensor, by its name in the network, as on the device.
    fn tensor(&self, name: &str) -> Result<Tensor>;

    /// The side inputs of the network.
    fn sides(&self) -> &[Side];
}

impl dyn Graph + '_ {
    /// The side input called `name`, for the layer called `scope`.
    ///
    /// # Errors
    /// [`Error::Tensor`] if the graph has none, as that of one network alone.
    pub(crate) fn side(&self, scope: &str, name: &str) -> Result<Side> {
        let found = self.sides().iter().find(|side| side.name == name).cloned();
        found.ok_or_else(|| {
            let what =
                format!("takes {name} beside its input: only a whole model's graph has those");
            Error::Tensor { name: scope.into(), what }
        })
    }

    /// A node of one input without attributes.
    pub(crate) fn unary(&mut self, op: &str, x: String) -> String {
        self.node(op, &[x], &[])
    }

    /// Channels `first` to `first + count` of `x`.
    pub(crate) fn channels(&mut self, x: &str, first: usize, count: usize) -> String {
        let [start, end, axis] = [first, first + count, 1].map(|n| self.shape(&[n]));
        self.node("Slice", &[x.to_owned(), start, end, axis], &[])
    }

    /// Images one behind the other in the channels.
    pub(crate) fn concat(&mut self, a: String, b: String) -> String {
        self.node("Concat", &[a, b], &[Attribute::Int("axis", 1)])
    }

    /// `x` reshaped; 0 stands for an unchanged size.
    pub(crate) fn reshape(&mut self, x: &str, shape: &[usize]) -> String {
        let shape = self.shape(shape);
        self.node("Reshape", &[x.to_owned(), shape], &[])
    }
}
