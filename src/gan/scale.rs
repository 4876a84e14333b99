//! Loss scaling: gradients that 16-bit floats can hold.
//!
//! Many gradients of activations are below the smallest 16-bit number, 6·10⁻⁸. So losses are
//! multiplied by a scale before gradients are taken, and the parameters' gradients, which have 32
//! bits, are divided by it (Micikevicius et al., "Mixed Precision Training", arXiv 1710.03740,
//! section 3.2). The scale is adapted during training, by the rule and constants of
//! `torch.amp.GradScaler`: an update with non-finite gradients is skipped and halves it; 2,000 good
//! ones in a row double it. Both networks share it.

use crate::error::Result;
use crate::nn::{Init, Layout, Param};
use crate::tape::{Tape, Var};
use crate::tensor::DType;

/// The state that holds the scale.
pub const SCALE: &str = "loss_scale";

/// The state that counts the good updates since the scale last changed.
const GOOD: &str = "loss_scale.good";

/// The scale before the first step.
const FIRST: f32 = 65_536.0;

/// Good updates in a row after which the scale is doubled.
const GROW_AFTER: f32 = 2000.0;

/// At this scale, non-finite gradients have another cause.
const LEAST: f32 = 1.0;

/// The states' initial values.
pub(super) fn params() -> [Param; 2] {
    [(SCALE, FIRST), (GOOD, 0.0)].map(|(name, value)| Param {
        name: name.into(),
        shape: Vec::new(),
        init: Init::Constant(value),
        learned: false,
        averaged: false,
        layout: Layout::Plain,
    })
}

/// The scale of one update's losses; `None` in 32-bit training.
#[derive(Clone, Copy, Debug)]
pub(super) struct LossScale(Option<Var>);

impl LossScale {
    /// The scale of the next update.
    pub(super) fn read(t: &mut Tape, scaled: bool) -> Result<Self> {
        Ok(Self(if scaled { Some(t.read(SCALE, &[], DType::F32)?) } else { None }))
    }

    /// A loss scaled for taking gradients.
    pub(super) fn scaled(self, t: &mut Tape, loss: Var) -> Result<Var> {
        self.0.map_or(Ok(loss), |scale| t.mul(loss, scale))
    }

    /// The factor from gradients of such losses, summed over `parts` parts of a batch, to those of
    /// the batch's mean.
    pub(super) fn factor(self, t: &mut Tape, parts: usize) -> Result<Option<Var>> {
        let Some(scale) = self.0 else { return Ok(None) };
        let inverse = t.recip(scale)?;
        t.affine(inverse, 1.0 / parts as f32, 0.0).map(Some)
    }

    /// Updates the loss scale from the gradient norm; returns the norm to report: 0 if the update
    /// is skipped, unless the scale is 1, when the training itself has diverged. `factor` becomes
    /// negative if it is skipped.
    pub(super) fn judge(
        self,
        t: &mut Tape,
        length: Var,
        factor: Option<Var>,
    ) -> Result<(Var, Option<Var>)> {
        let (Some(scale), Some(factor)) = (self.0, factor) else { return Ok((length, None)) };
        let fine = t.finite(length)?;
        let count = t.read(GOOD, &[], DType::F32)?;
        let count = t.affine(count, 1.0, 1.0)?;
        let limit = t.fill(&[], GROW_AFTER - 0.5)?;
        let grows = t.greater(count, limit)?;
        let doubled = t.affine(scale, 2.0, 0.0)?;
        let halved = t.affine(scale, 0.5, 0.0)?;
        let halved = t.clamp(halved, LEAST, f32::MAX)?;
        let kept = t.choose(grows, doubled, scale)?;
        let next = t.choose(fine, kept, halved)?;
        t.assign(SCALE, next)?;
        let zero = t.fill(&[], 0.0)?;
        let count = t.choose(grows, zero, count)?;
        let count = t.choose(fine, count, zero)?;
        t.assign(GOOD, count)?;

        let least = t.fill(&[], LEAST)?;
        let excused = t.greater(scale, least)?;
        let reported = t.choose(excused, zero, length)?;
        let reported = t.choose(fine, length, reported)?;
        let skipped = t.fill(&[], -1.0)?;
        Ok((reported, Some(t.choose(fine, factor, skipped)?)))
    }
}

/// Guards tensors that passes through a network update, such as batch norm's running statistics,
/// against non-finite values, which would persist.
pub(super) fn guard(t: &mut Tape, kept: &[Param]) -> Result<()> {
    for param in kept {
        let Some(&state) = t.states().get(&param.name).filter(|s| s.before != s.after) else {
            continue;
        };
        let fine = t.finite(state.after)?;
        let next = t.choose(fine, state.after, state.before)?;
        t.assign(&param.name, next)?;
    }
    Ok(())
}
