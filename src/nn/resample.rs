//! Layers that change the size of a picture and have no parameters.

use crate::error::Result;
use crate::tape::{Tape, Var};

/// Each pixel of `x` `[n, h, w, c]` four times: `[n, 2h, 2w, c]`.
pub(super) fn upsample(t: &mut Tape, x: Var) -> Result<Var> {
    let &[n, h, w, c] = t.shape(x) else { return Ok(x) };
    let pixels = t.reshape(x, &[n * h, 1, w, 1, c])?;
    let large = t.broadcast_to(pixels, &[n * h, 2, w, 2, c])?;
    t.reshape(large, &[n, 2 * h, 2 * w, c])
}

/// The mean of each square of 2×2 pixels of `x` `[n, 2h, 2w, c]`: `[n, h, w, c]`.
pub(super) fn average_pool(t: &mut Tape, x: Var) -> Result<Var> {
    let &[n, h, w, c] = t.shape(x) else { return Ok(x) };
    let squares = t.reshape(x, &[n * h / 2, 2, w / 2, 2, c])?;
    let mean = t.mean(squares, &[1, 3])?;
    t.reshape(mean, &[n, h / 2, w / 2, c])
}

/// The sum of all pixels of `x` `[n, h, w, c]`: `[n, 1, 1, c]`.
pub(super) fn sum_pool(t: &mut Tape, x: Var) -> Result<Var> {
    let &[n, _, _, c] = t.shape(x) else { return Ok(x) };
    let sum = t.sum(x, &[1, 2])?;
    t.reshape(sum, &[n, 1, 1, c])
}
