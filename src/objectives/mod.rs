//! What the two networks minimise.

use crate::error::Result;
use crate::tape::{Tape, Var};

/// Mean binary cross-entropy of `logits` against the probability `target`, in the stable form
/// `target · softplus(−x) + (1 − target) · softplus(x)` (the log-sigmoids of the two classes).
///
/// # Errors
/// As recording may fail.
pub fn bce_with_logits(t: &mut Tape, logits: Var, target: f32) -> Result<Var> {
    let mut loss = None;
    if target != 0.0 {
        let minus = t.neg(logits)?;
        let part = t.softplus(minus)?;
        loss = Some(t.affine(part, target, 0.0)?);
    }
    if target != 1.0 {
        let part = t.softplus(logits)?;
        let part = t.affine(part, 1.0 - target, 0.0)?;
        loss = Some(match loss {
            Some(other) => t.add(other, part)?,
            None => part,
        });
    }
    let loss = loss.expect("a number cannot equal both 0 and 1");
    t.mean_all(loss)
}
