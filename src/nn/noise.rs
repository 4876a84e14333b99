//! Layers that disturb a network while it is trained, and do nothing afterwards.

use crate::error::Result;
use crate::tape::{Tape, Var};

use super::pass::Walk;

/// `y = x + std · N(0, 1)`.
pub(super) fn add_noise(
    t: &mut Tape,
    scope: &str,
    x: Var,
    std: f32,
    walk: &Walk<'_>,
) -> Result<Var> {
    if !walk.is_training() {
        return Ok(x);
    }
    let (key, stream) = walk.random(scope)?;
    let shape = t.shape(x).to_vec();
    let noise = t.random_normal(key, &stream, &shape)?;
    let noise = t.affine(noise, std, 0.0)?;
    t.add(x, noise)
}

/// `y = x / (1 − p)` with probability `1 − p`, else 0.
pub(super) fn drop_out(t: &mut Tape, scope: &str, x: Var, p: f32, walk: &Walk<'_>) -> Result<Var> {
    if !walk.is_training() {
        return Ok(x);
    }
    let (key, stream) = walk.random(scope)?;
    let shape = t.shape(x).to_vec();
    let uniform = t.random_uniform(key, &stream, &shape)?;
    let p_var = t.fill(&[], p)?;
    let dropped = t.greater(p_var, uniform)?;
    let scale = 1.0 / (1.0 - p);
    let kept = t.affine(dropped, -scale, scale)?;
    t.mul(x, kept)
}
