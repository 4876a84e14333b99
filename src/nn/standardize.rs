//! Data-dependent initialization of weight norm (Salimans and Kingma, arXiv 1602.07868, section 3).
//!
//! In a pass of [`Mode::Initialize`] each layer with weight norm and a bias sets its lengths `g` and its
//! bias `b` so that its outputs have mean 0 and variance 1 over the batch, and passes them to the
//! next layer: one pass, layer by layer. With `y` the layer's outputs before the bias, per unit,
//!
//! ```text
//! g ← g / std(y)    b ← −mean(y) / std(y)
//! ```
//!
//! A layer without a bias precedes a norm, which does the same all the time.

use crate::error::Result;
use crate::tape::{Tape, Var};
use crate::tensor::DType;

use super::Sequential;
use super::parametrization::Kernel;
#[cfg(doc)]
use super::{IMAGES, Mode};

/// A unit whose variance over the batch is below this is the same for every image: it keeps its
/// length.
const LEAST: f32 = 1e-8;

/// Sets the lengths and the bias of the layer called `scope` by its outputs `y` `[n, h, w, c]`
/// before the bias; `bias` is the bias's shape, `[c]`, or `[h, w, c]` if each pixel has its own.
/// Returns the outputs with both applied.
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
    /// Whether a pass of [`Mode::Initialize`] sets some of its tensors.
    #[must_use]
    pub fn starts_by_data(&self) -> bool {
        self.each().iter().any(|(_, layer)| layer.rule().starts_by_data())
    }

    /// Whether a pass of [`Mode::Initialize`] sets some of its tensors from real images, the side input
    /// [`IMAGES`].
    #[must_use]
    pub fn starts_on_images(&self) -> bool {
        self.each().iter().any(|(_, layer)| layer.rule().starts_on_images())
    }
}
