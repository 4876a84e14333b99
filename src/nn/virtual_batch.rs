//! Virtual batch norm (Salimans, Goodfellow, Zaremba, Cheung, Radford and Chen, arXiv 1606.03498,
//! section 3.5): each sample is normalised by a batch that was chosen once and stays the same, and by
//! itself, so that it does not depend on what it was generated with.
//!
//! [`Layer::Reference`](super::Layer::Reference) puts that batch in front of the one at hand, and
//! both go through the network side by side: at every norm the statistics are those that the
//! reference batch has there, under the weights as they are.

use crate::error::Result;
use crate::tape::{Tape, Var};
use crate::tensor::DType;

use super::pass::Walk;

/// The state `reference` `[count, h, w, c]` in front of `x` `[n, h, w, c]`.
pub(super) fn put_reference(
    t: &mut Tape,
    scope: &str,
    x: Var,
    [count, h, w, c]: [usize; 4],
    walk: &mut Walk<'_>,
) -> Result<Var> {
    let reference = t.read(&format!("{scope}.reference"), &[count, h, w, c], DType::F32)?;
    walk.reference = count;
    t.concat(&[reference, x], 0)
}

/// `x` without the reference batch in front of it.
pub(super) fn without_reference(t: &mut Tape, x: Var, walk: &Walk<'_>) -> Result<Var> {
    let mut size = t.shape(x).to_vec();
    let mut start = vec![0; size.len()];
    start[0] = walk.reference;
    size[0] -= walk.reference;
    t.slice(x, &start, &size)
}

/// With mean `m` and variance `v` of a picture's own pixels, `mᵣ` and `vᵣ` of the `r` pictures of the
/// reference batch, and the weight `a = 1 / (r + 1)` of the picture itself (0 for those of the
/// reference batch):
///
/// ```text
/// mean = (1 − a) mᵣ + a m      var = (1 − a) vᵣ + a v + a (1 − a) (m − mᵣ)²
/// y = gamma (x − mean) / √(var + ε) + beta
/// ```
///
/// which are the moments of the reference batch and the picture as one batch.
pub(super) fn virtual_batch_norm(
    t: &mut Tape,
    scope: &str,
    x: Var,
    eps: f32,
    walk: &Walk<'_>,
) -> Result<Var> {
    let &[all, h, w, c] = t.shape(x) else { return Ok(x) };
    let r = walk.reference;
    let front = t.slice(x, &[0, 0, 0, 0], &[r, h, w, c])?;
    let front = t.reshape(front, &[r * h * w, c])?;
    let moments = t.moments(front)?;
    let (mean_r, var_r) = (t.range(moments, 0, c)?, t.range(moments, c, c)?);

    let a = 1.0 / (r + 1) as f32;
    let own = t.fill(&[all - r, 1, 1, 1], a)?;
    let a = t.pad(own, &[r, 0, 0, 0], &[all, 1, 1, 1])?;
    let rest = t.affine(a, -1.0, 1.0)?;
    let mean_own = |t: &mut Tape, x: Var| {
        let mean = t.mean(x, &[1, 2])?;
        t.reshape(mean, &[all, 1, 1, c])
    };
    let mean = mean_own(t, x)?;
    let centred = t.sub(x, mean)?;
    let square = t.mul(centred, centred)?;
    let var = mean_own(t, square)?;

    let off = t.sub(mean, mean_r)?;
    let step = t.mul(off, a)?;
    let mean = t.add(mean_r, step)?;
    let between = t.mul(off, step)?;
    let between = t.mul(between, rest)?;
    let own = t.mul(var, a)?;
    let others = t.mul(var_r, rest)?;
    let var = t.add(own, others)?;
    let var = t.add(var, between)?;

    let var = t.affine(var, 1.0, eps)?;
    let deviation = t.sqrt(var)?;
    let y = t.sub(x, mean)?;
    let y = t.div(y, deviation)?;
    let gamma = t.read(&format!("{scope}.weight"), &[c], DType::F32)?;
    let beta = t.read(&format!("{scope}.bias"), &[c], DType::F32)?;
    let y = t.mul(y, gamma)?;
    t.add(y, beta)
}
