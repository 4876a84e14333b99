//! Loss scaling: gradients that 16-bit floats can hold.
//!
//! Many gradients of activations are smaller than the smallest number of 16 bits, 6·10⁻⁸. So losses
//! are multiplied by a scale before gradients are taken, and the parameters' gradients, which have 32
//! bits, are divided by it (Micikevicius et al., "Mixed Precision Training", arXiv 1710.03740,
//! section 3.2). The scale is found while training, by the rule and with the numbers of
//! `torch.amp.GradScaler`: an update whose gradients are not all finite is skipped and halves it;
//! 2,000 good ones in a row double it. Both networks share it.

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

/// What is wrong with gradients at this scale is not the scale.
const LEAST: f32 = 1.0;

/// The states, before the first step.
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

/// The scale of one update's losses; a training in 32 bits has none.
#[derive(Clone, Copy, Debug)]
pub(super) struct LossScale(Option<Var>);

impl LossScale {
    /// That of the next update.
    pub(super) fn read(t: &mut Tape, scaled: bool) -> Result<Self> {
        Ok(Self(if scaled { Some(t.read(SCALE, &[], DType::F32)?) } else { None }))
    }

    /// A loss to take gradients of.
    pub(super) fn scaled(self, t: &mut Tape, loss: Var) -> Result<Var> {
        self.0.map_or(Ok(loss), |scale| t.mul(loss, scale))
    }

    /// What gradients of such losses, added up over `parts` parts of a batch, are to be multiplied by
    /// to be those of the batch's mean.
    pub(super) fn factor(self, t: &mut Tape, parts: usize) -> Result<Option<Var>> {
        let Some(scale) = self.0 else { return Ok(None) };
        let inverse = t.recip(scale)?;
        t.affine(inverse, 1.0 / parts as f32, 0.0).map(Some)
    }

    /// Looks at the length of an update's gradients, changes the scale, and returns the length to be
    /// told: 0 where the update is skipped, but for a scale of 1, where the training itself has gone
    /// wrong. `factor` becomes negative where it is skipped.
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
        let told = t.choose(excused, zero, length)?;
        let told = t.choose(fine, length, told)?;
        let skipped = t.fill(&[], -1.0)?;
        Ok((told, Some(t.choose(fine, factor, skipped)?)))
    }
}

/// Keeps what passes through a network write beside its parameters, such as batch norm's running
/// statistics, from numbers that are not finite: they would never leave it again.
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
