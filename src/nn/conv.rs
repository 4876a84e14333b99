//! What convolutions have beside their weights.

use crate::error::Result;
use crate::tape::{Tape, Var};
use crate::tensor::DType;

use super::norm::per_cell;
use super::{Layer, Layout};

/// The shape on the device of a convolution's bias, and its layout.
pub(super) fn bias_shape(layer: &Layer) -> (Vec<usize>, Layout) {
    match *layer {
        Layer::ConvTranspose { spec, large, layout: Layout::Project, .. } => {
            per_cell(spec.kernel, large)
        }
        Layer::ConvTranspose { large, .. } => (vec![large], Layout::Plain),
        Layer::Conv { small, .. } => (vec![small], Layout::Plain),
        _ => (Vec::new(), Layout::Plain),
    }
}

/// `y` plus the bias called `name` of the convolution `layer`.
pub(super) fn add_bias(t: &mut Tape, name: &str, y: Var, layer: &Layer) -> Result<Var> {
    let bias = t.read(name, &bias_shape(layer).0, DType::F32)?;
    t.add(y, bias)
}
