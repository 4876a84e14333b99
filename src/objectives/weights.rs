//! Terms of the weights themselves: their contributions to a gradient.

use crate::error::Result;
use crate::tape::{Tape, Var};

/// The gradient `g` of the parameter `p` with `weight · ½‖p‖²` added to the loss: `g + weight · p`,
/// as `torch.optim`'s `weight_decay`.
///
/// # Errors
/// Errors of recording the ops.
pub fn weight_decay(t: &mut Tape, g: Var, p: Var, weight: f32) -> Result<Var> {
    let pull = t.affine(p, weight, 0.0)?;
    t.add(g, pull)
}

/// Historical averaging (Salimans et al., arXiv 1606.03498, section 3.3): the gradient `g` of the
/// parameter `p` with `weight · ‖p − h‖²` added to the loss, where `h` is the mean of all past values
/// of `p`: see [`historical_mean`].
///
/// # Errors
/// Errors of recording the ops.
pub fn historical_averaging(t: &mut Tape, g: Var, [p, h]: [Var; 2], weight: f32) -> Result<Var> {
    let beyond = t.sub(p, h)?;
    let pull = t.affine(beyond, 2.0 * weight, 0.0)?;
    t.add(g, pull)
}

/// The mean `h` of all past values of the parameter `p` including its current one, before it is
/// updated: `h + (p − h) / count`, where `count` is the number of updates, including the coming
/// one.
///
/// # Errors
/// Errors of recording the ops.
pub fn historical_mean(t: &mut Tape, [p, h]: [Var; 2], count: Var) -> Result<Var> {
    let beyond = t.sub(p, h)?;
    let share = t.recip(count)?;
    let step = t.mul(beyond, share)?;
    t.add(h, step)
}

/// Orthogonal regularization (Brock et al., arXiv 1609.07093; this form: arXiv 1809.11096, section
/// 3.1): the sum of squares of all products of two different output channels of `w`
/// `[kh, kw, large, small]`, `‖WᵀW ⊙ (1 − I)‖²` with one column of `W` for each output channel. The
/// outputs are the small side (a convolution), or the large one (a transposed convolution).
///
/// # Errors
/// [`crate::error::Error::Shape`] if `w` is not a convolution's.
pub fn orthogonal(t: &mut Tape, w: Var, transposed: bool) -> Result<Var> {
    let &[kh, kw, large, small] = t.shape(w) else {
        let (op, shapes) = ("orthogonal", vec![t.shape(w).to_vec()]);
        let what = "weights of a convolution have four axes".into();
        return Err(crate::error::Error::Shape { op, what, shapes });
    };
    let (w, outputs) = if transposed { (t.permute(w, &[0, 1, 3, 2])?, large) } else { (w, small) };
    let w = t.reshape(w, &[kh * kw * large * small / outputs, outputs])?;
    let products = t.matmul_t(w, w, true, false)?;
    let all = t.mul(products, products)?;
    let all = t.sum_all(all)?;
    let square = t.mul(w, w)?;
    let own = t.sum(square, &[0])?;
    let own = t.mul(own, own)?;
    let own = t.sum_all(own)?;
    t.sub(all, own)
}
