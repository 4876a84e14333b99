//! Which values of a run a GPU keeps as 16-bit floats between its kernels.
//!
//! All arithmetic is in 32 bits whatever a value is kept as: a kernel widens what it loads and
//! rounds what it stores, to 11 significant bits and at most 65 504. This applies to the large
//! tensors, which are feature maps and their gradients: the results of convolutions, and of
//! elementwise ops and ops that move pixels applied to them. Parameters, optimizer states,
//! statistics, weight gradients, scores, feeds and fetches stay in 32 bits. So do products that are
//! summed: squares of small values would be zeros.
//!
//! (Micikevicius et al., "Mixed Precision Training", arXiv 1710.03740, sections 3.1 and 3.3; the
//! third part of their method, loss scaling, is up to training: [`crate::train::scale`].)

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

/// Size of an image below which keeping all bits costs nothing; it may be scores.
const SMALL: usize = 256;

/// Alignment, in elements, of the parts of a tensor of 16-bit floats: 16 bytes.
const ALIGNED: usize = 8;

fn halves(tape: &Tape, units: &Units) -> HashSet<usize> {
    let root = |var: &Var| units.views[var.index()].root;
    let mut halves = HashSet::new();
    for unit in units.units.iter().filter(|unit| unit.lanes.len() == 1) {
        for &i in &unit.lanes[0] {
            let node = &tape.nodes()[i];
            let half = |v: &Var| halves.contains(&root(v));
            // Ops on all values of images may see them as a matrix.
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
    // Every op has been propagated by now; these keep their bits all the same.
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

/// Whether a node computes images `[n, h, w, c]`, or ones with split axes, that are large enough.
fn is_image(node: &Node) -> bool {
    let [_, image @ ..] = &node.shape[..] else { return false };
    node.dtype == DType::F32 && image.len() >= 3 && image.iter().product::<usize>() >= SMALL
}
