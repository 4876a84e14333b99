//! The data-dependent start of weight norm (Salimans and Kingma, arXiv 1602.07868, section 3).
//!
//! In a pass of [`Mode::Start`] each layer with weight norm and a bias sets its lengths `g` and its
//! bias `b` so that what it gives has mean 0 and variance 1 over the batch, and gives that to the next
//! layer: one pass, layer after layer. With `y` the layer's outputs before the bias, by unit,
//!
//! ```text
//! g ← g / std(y)    b ← −mean(y) / std(y)
//! ```
//!
//! A layer without a bias stands in front of a norm, which does the same all the time.

use crate::error::Result;
use crate::tape::{Tape, Var};
use crate::tensor::DType;

use super::Sequential;
use super::weight::Kernel;
#[cfg(doc)]
use super::{IMAGES, Mode};

/// A unit whose variance over the batch is below this says the same of every image: it keeps its
/// length.
const LEAST: f32 = 1e-8;

/// Sets the lengths and the bias of the layer called `scope` by its outputs `y` `[n, h, w, c]`, which
/// are before the bias; `bias` is that one's shape, `[c]`, or `[h, w, c]` where each pixel has
/// its own. Gives the outputs as they are with both.
pub(super) fn standardize(
    t: &mut Tape,
    scope: &str,
    y: Var,
    kernel: &Kernel,
    bias: &[usize],
) -> Result<Var> {
    let axes: &[usize] = if bias.len() == 1 { &[0, 1, 2] } else { &[0] };
    let mean = t.mean(y, axes)?;
    let y = t.sub(y, mean)?;
    let square = t.mul(y, y)?;
    let var = t.mean(square, axes)?;

    let least = t.fill(&[], LEAST)?;
    let varies = t.greater(var, least)?;
    let std = t.maximum(var, least)?;
    let std = t.sqrt(std)?;
    let scale = t.div(varies, std)?;
    let kept = t.affine(varies, -1.0, 1.0)?;
    let scale = t.add(scale, kept)?;

    let shift = t.mul(mean, scale)?;
    let shift = t.affine(shift, -1.0, 0.0)?;
    t.assign(&format!("{scope}.bias"), shift)?;
    let (per_row, _) = kernel.per_row();
    let name = format!("{scope}.weight_g");
    let g = t.read(&name, &per_row, DType::F32)?;
    let factor = t.reshape(scale, &per_row)?;
    let g = t.mul(g, factor)?;
    t.assign(&name, g)?;
    t.mul(y, scale)
}

impl Sequential {
    /// Whether a pass of [`Mode::Start`] sets some of its tensors.
    #[must_use]
    pub fn starts_by_data(&self) -> bool {
        self.each().iter().any(|(_, layer)| layer.rule().starts_by_data())
    }

    /// Whether a pass of [`Mode::Start`] sets some of its tensors by real images beside its input, the
    /// side input [`IMAGES`].
    #[must_use]
    pub fn starts_on_images(&self) -> bool {
        self.each().iter().any(|(_, layer)| layer.rule().starts_on_images())
    }
}
