//! Which values of a run a GPU keeps as 16-bit floats between its kernels.
//!
//! All arithmetic is in 32 bits whatever a value is kept as: a kernel widens what it loads and
//! rounds what it stores, to 11 significant bits and at most 65 504. That is for the large tensors,
//! which are images of channels and their gradients: what convolutions make, and what elementwise
//! ops and ops that move pixels about make of it. Parameters, optimizers' states, statistics,
//! weights' gradients, scores, and whatever a run is given or gives back keep their 32 bits. So do
//! products that are summed up: squares of small numbers would be zeros.
//!
//! (Micikevicius et al., "Mixed Precision Training", arXiv 1710.03740, sections 3.1 and 3.3; the
//! third part of their method, the scaling of losses, is the training's: [`crate::train::scale`].)

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::config::named;
use crate::ops::{Class, Half};
use crate::tape::{Node, Tape, Var};
use crate::tensor::DType;

use super::units::Units;

/// How a GPU keeps large tensors between kernels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// In 32 bits.
    #[default]
    F32,
    /// In 16 bits, with arithmetic in 32: half the memory and half the traffic.
    F16,
}

named!(Precision);

impl Precision {
    /// The roots among the nodes of `tape` that are kept in 16 bits.
    pub(super) fn halves(self, tape: &Tape, units: &Units) -> HashSet<usize> {
        match self {
            Self::F32 => HashSet::new(),
            Self::F16 => halves(tape, units),
        }
    }
}

/// Numbers of an image below which it costs nothing to keep all bits; they may be scores.
const SMALL: usize = 256;

/// Elements at whose multiples a part of a tensor of 16-bit floats may start: 16 bytes.
const ALIGNED: usize = 8;

fn halves(tape: &Tape, units: &Units) -> HashSet<usize> {
    let root = |var: &Var| units.views[var.index()].root;
    let mut halves = HashSet::new();
    for unit in units.units.iter().filter(|unit| unit.lanes.len() == 1) {
        for &i in &unit.lanes[0] {
            let node = &tape.nodes()[i];
            let half = |v: &Var| halves.contains(&root(v));
            // Ops on all numbers of images may see them as a matrix.
            let like = |v: &Var| is_image(node) || len(&tape.nodes()[root(v)]) == len(node);
            let follows = match node.op.half() {
                Half::Never => false,
                Half::AsInput => half(&node.inputs[0]) && is_image(node),
                Half::AsAnyInput => node.inputs.iter().any(|v| half(v) && like(v)),
                Half::Always => is_image(node),
            };
            if follows {
                halves.insert(i);
            }
        }
    }
    // By now every op has seen what it follows; these keep their bits all the same.
    for var in tape.fetches().values() {
        halves.remove(&root(var));
    }
    for state in tape.states().values() {
        halves.remove(&root(&state.after));
    }
    for row in &units.rows {
        for root in &row.roots {
            halves.remove(root);
        }
    }
    for (node, view) in tape.nodes().iter().zip(&units.views) {
        if matches!(node.op.class(), Class::Range(_)) && !view.offset.is_multiple_of(ALIGNED) {
            halves.remove(&view.root);
        }
        if node.op.is_sum() {
            let summed = root(&node.inputs[0]);
            if tape.nodes()[summed].op.shrinks() {
                halves.remove(&summed);
            }
        }
    }
    halves
}

fn len(node: &Node) -> usize {
    node.shape.iter().product()
}

/// Whether a node computes images `[n, h, w, c]`, or such with divided axes, that are worth it.
fn is_image(node: &Node) -> bool {
    let [_, image @ ..] = &node.shape[..] else { return false };
    node.dtype == DType::F32 && image.len() >= 3 && image.iter().product::<usize>() >= SMALL
}
