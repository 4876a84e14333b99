//! The tape: a list of nodes, recorded once and compiled into a program.
//!
//! Nothing runs while a tape is being recorded. A [`Var`] is the index of a node; index order is
//! topological order. [`Tape::record`] is the only place that checks shapes and [`Tape::grad`] the
//! only place that accumulates gradients; both append to the same list, so a gradient can itself
//! be differentiated.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::error::{Error, Result};
use crate::ops::{Op, Site};
use crate::ranks::{Solo, World};
use crate::tensor::DType;

mod grad;
mod source;
mod turns;

pub use source::{Assigned, Source};
use turns::Turn;

/// A value on a tape: `Copy`, just an index.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Var {
    index: u32,
    tape: u32,
}

impl Var {
    /// The node's index on its tape.
    #[must_use]
    pub fn index(self) -> usize {
        self.index as usize
    }
}

impl std::fmt::Debug for Var {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "%{}", self.index)
    }
}

/// One node: an op, its inputs, and the shape of what it computes.
#[derive(Clone, Debug)]
pub struct Node {
    /// The op.
    pub op: Arc<dyn Op>,
    /// Its inputs.
    pub inputs: Vec<Var>,
    /// The output's shape.
    pub shape: Vec<usize>,
    /// The output's element type.
    pub dtype: DType,
}

/// A state that the tape reads or assigns.
#[derive(Clone, Copy, Debug)]
pub struct StateUse {
    /// The node that represents its value before the step.
    pub before: Var,
    /// The node that holds its value after the step.
    pub after: Var,
}

/// The recorded computation of one step. See the module's documentation.
#[derive(Debug)]
pub struct Tape {
    id: u32,
    nodes: Vec<Node>,
    /// Nodes by what they compute: recording the same op on the same inputs again returns the first
    /// node. Every op is a pure function of its inputs, random ones included.
    known: HashMap<(String, Vec<Var>), Var>,
    feeds: BTreeMap<String, Var>,
    states: BTreeMap<String, StateUse>,
    fetches: BTreeMap<String, Var>,
    /// The processes that run this step together.
    world: Arc<dyn World>,
    /// What all ranks have to do with values of each: see [`Tape::in_turn`].
    turns: Vec<Turn>,
    /// See [`Tape::settle`].
    settles: bool,
}

impl Default for Tape {
    fn default() -> Self {
        Self::new()
    }
}

impl Tape {
    /// An empty tape.
    #[must_use]
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            nodes: Vec::new(),
            known: HashMap::new(),
            feeds: BTreeMap::new(),
            states: BTreeMap::new(),
            fetches: BTreeMap::new(),
            world: Arc::new(Solo),
            turns: Vec::new(),
            settles: false,
        }
    }

    /// An empty tape of a step that the processes of `world` run together, each with a tape of its own.
    #[must_use]
    pub fn shared(world: &Arc<dyn World>) -> Self {
        Self { world: Arc::clone(world), ..Self::new() }
    }

    /// The processes that run the step together.
    #[must_use]
    pub fn world(&self) -> &Arc<dyn World> {
        &self.world
    }

    /// Appends a node that applies `op` to `inputs`, or returns an existing one.
    ///
    /// # Errors
    /// [`Error::Shape`] where the inputs do not fit the op.
    pub fn record(&mut self, op: impl Op, inputs: &[Var]) -> Result<Var> {
        self.record_shared(&(Arc::new(op) as Arc<dyn Op>), inputs)
    }

    /// [`Tape::record`] of an op that another tape has too.
    pub(crate) fn record_shared(&mut self, op: &Arc<dyn Op>, inputs: &[Var]) -> Result<Var> {
        let shapes: Vec<&[usize]> = inputs.iter().map(|&v| self.shape(v)).collect();
        let fail = |what: String| Error::Shape {
            op: op.name(),
            what,
            shapes: shapes.iter().map(|s| s.to_vec()).collect(),
        };
        for (i, &v) in inputs.iter().enumerate() {
            let (is, wanted) = (self.node(v).dtype, op.input_dtype(i));
            if is != wanted {
                return Err(fail(format!("input {i} is {is:?}, not {wanted:?}")));
            }
        }
        let shape = op.shape(&shapes).map_err(fail)?;
        let key = (op.key(), inputs.to_vec());
        if let Some(&known) = self.known.get(&key) {
            return Ok(known);
        }
        let var = Var { index: self.nodes.len() as u32, tape: self.id };
        let dtype = op.dtype();
        self.nodes.push(Node { op: Arc::clone(op), inputs: inputs.to_vec(), shape, dtype });
        self.known.insert(key, var);
        Ok(var)
    }

    /// A value passed to every run as `name`.
    ///
    /// # Errors
    /// [`Error::Tensor`] where a feed of this name exists already.
    pub fn feed(&mut self, name: &str, shape: &[usize], dtype: DType) -> Result<Var> {
        if self.feeds.contains_key(name) {
            return Err(Error::Tensor { name: name.into(), what: "is fed twice".into() });
        }
        let var = self.record(Source::new("feed", name, shape, dtype), &[])?;
        self.feeds.insert(name.into(), var);
        Ok(var)
    }

    /// The value of the state called `name`: the value from the last [`Tape::assign`], or that
    /// before the step.
    ///
    /// # Errors
    /// [`Error::Tensor`] where it was used before with another shape or element type.
    pub fn read(&mut self, name: &str, shape: &[usize], dtype: DType) -> Result<Var> {
        if let Some(state) = self.states.get(name) {
            let node = self.node(state.before);
            if node.shape != shape || node.dtype != dtype {
                let what = format!("is read as {shape:?} and as {:?}", node.shape);
                return Err(Error::Tensor { name: name.into(), what });
            }
            return Ok(state.after);
        }
        let var = self.record(Source::new("state", name, shape, dtype), &[])?;
        self.states.insert(name.into(), StateUse { before: var, after: var });
        Ok(var)
    }

    /// Assigns `value` to the state called `name`, from here on and after the step. Reading the
    /// state gives a leaf: gradients do not flow from its new value into what made it.
    ///
    /// # Errors
    /// [`Error::Tensor`] where the state has another shape or element type.
    pub fn assign(&mut self, name: &str, value: Var) -> Result<()> {
        let (shape, dtype) = (self.shape(value).to_vec(), self.node(value).dtype);
        self.read(name, &shape, dtype)?;
        let value = self.record(Assigned(dtype), &[value])?;
        if let Some(state) = self.states.get_mut(name) {
            state.after = value;
        }
        Ok(())
    }

    /// Returns `value` from every run, under `name`.
    ///
    /// # Errors
    /// [`Error::Tensor`] where a fetch of this name exists already, as [`Tape::feed`].
    pub fn fetch(&mut self, name: &str, value: Var) -> Result<()> {
        if self.fetches.contains_key(name) {
            return Err(Error::Tensor { name: name.into(), what: "is fetched twice".into() });
        }
        self.fetch_last(name, value);
        Ok(())
    }

    /// [`Tape::fetch`] of a value that a step computes several times: the last value of a name is
    /// returned.
    pub(crate) fn fetch_last(&mut self, name: &str, value: Var) {
        self.fetches.insert(name.into(), value);
    }

    /// The node behind a handle.
    #[must_use]
    pub fn node(&self, var: Var) -> &Node {
        debug_assert_eq!(var.tape, self.id, "a Var of another tape");
        &self.nodes[var.index()]
    }

    /// The shape of a value.
    #[must_use]
    pub fn shape(&self, var: Var) -> &[usize] {
        &self.node(var).shape
    }

    /// All nodes, in topological order.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The handle of the node at `index`.
    ///
    /// # Panics
    /// If the tape has no such node.
    #[must_use]
    pub fn var(&self, index: usize) -> Var {
        assert!(index < self.nodes.len());
        Var { index: index as u32, tape: self.id }
    }

    /// The feeds by name.
    #[must_use]
    pub fn feeds(&self) -> &BTreeMap<String, Var> {
        &self.feeds
    }

    /// The states by name.
    #[must_use]
    pub fn states(&self) -> &BTreeMap<String, StateUse> {
        &self.states
    }

    /// The fetches by name.
    #[must_use]
    pub fn fetches(&self) -> &BTreeMap<String, Var> {
        &self.fetches
    }

    /// The site of the node `var`, as its op sees it.
    #[must_use]
    pub fn site(&self, var: Var) -> Site {
        let node = self.node(var);
        Site {
            inputs: node.inputs.clone(),
            shapes: node.inputs.iter().map(|&v| self.shape(v).to_vec()).collect(),
            dtypes: node.inputs.iter().map(|&v| self.node(v).dtype).collect(),
            output: var,
            shape: node.shape.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn a_name_is_fed_once_and_fetched_once() {
        let mut t = Tape::new();
        let x = t.feed("x", &[2], DType::F32).unwrap();
        let again = t.feed("x", &[2], DType::F32).unwrap_err().to_string();
        assert_eq!(again, "tensor \"x\": is fed twice");
        let y = t.affine(x, 2.0, 0.0).unwrap();
        t.fetch("y", y).unwrap();
        for value in [x, y] {
            let again = t.fetch("y", value).unwrap_err().to_string();
            assert_eq!(again, "tensor \"y\": is fetched twice");
        }
        assert_eq!(t.fetches()["y"], y);
        // A feed may come back under its own name.
        t.fetch("x", x).unwrap();
    }
}
