//! Self-attention (Zhang, Goodfellow, Metaxas and Odena, arXiv 1805.08318), as in the authors' code
//! (`non_local.py`): keys and values are max-pooled, and no convolution has a bias.

use crate::error::Result;
use crate::ops::conv::ConvSpec;
use crate::tape::{Tape, Var};
use crate::tensor::DType;

use super::param::Owned;
use super::weight::Kernel;
use super::{Init, Layout, Start, Weight};

/// The channels of queries and keys, and of values, are those of the picture divided by these.
const KEYS: usize = 8;
const VALUES: usize = 2;

/// What [`super::Layer::Attention`] needs its channels to be divisible by.
pub(super) const DIVISOR: usize = KEYS;

/// The convolutions `theta`, `phi`, `g` and `o` by name.
pub(super) fn kernels(
    channels: usize,
    weight: Weight,
    start: Start,
) -> [(&'static str, Kernel); 4] {
    let (keys, values) = (channels / KEYS, channels / VALUES);
    [
        ("theta", channels, keys),
        ("phi", channels, keys),
        ("g", channels, values),
        ("o", values, channels),
    ]
    .map(|(name, from, to)| (name, Kernel::pixel(from, to, weight, start)))
}

pub(super) fn params(kernels: &[(&'static str, Kernel)], owned: &mut Owned<'_>) {
    for (name, kernel) in kernels {
        owned.part(name, |owned| kernel.params(owned));
    }
    owned.learnt("gamma", (Vec::new(), Layout::Plain), Init::Constant(0.0));
}

/// For `x` `[n, h, w, c]`, with positions `i` of the picture and `j` of the pooled one,
///
/// ```text
/// β_ij = softmax_j θ(x)_i · pool(φ(x))_j      y_i = x_i + γ o(Σ_j β_ij pool(g(x))_j)
/// ```
pub(super) fn attention(
    t: &mut Tape,
    scope: &str,
    x: Var,
    [theta, phi, g, o]: [(&'static str, Kernel); 4],
) -> Result<Var> {
    let &[n, h, w, c] = t.shape(x) else { return Ok(x) };
    let (pixels, pooled) = (h * w, h / 2 * (w / 2));
    let spec =
        ConvSpec { kernel: [1, 1], stride: [1, 1], pad: [0, 0], large: [h, w], small: [h, w] };
    let conv = |t: &mut Tape, x: Var, (name, kernel): (&str, Kernel)| {
        let weights = kernel.record(t, &format!("{scope}.{name}"))?;
        t.conv2d(x, weights, spec)
    };
    let pool = |t: &mut Tape, x: Var| {
        let channels = t.shape(x)[3];
        let x = t.max_pool(x, [h / 2, w / 2])?;
        t.reshape(x, &[n, pooled, channels])
    };
    let queries = conv(t, x, theta)?;
    let queries = t.reshape(queries, &[n, pixels, c / KEYS])?;
    let keys = conv(t, x, phi)?;
    let keys = pool(t, keys)?;
    let scores = t.matmul_t(queries, keys, false, true)?;
    let beta = t.softmax(scores)?;
    let values = conv(t, x, g)?;
    let values = pool(t, values)?;
    let seen = t.matmul(beta, values)?;
    let seen = t.reshape(seen, &[n, h, w, c / VALUES])?;
    let seen = conv(t, seen, o)?;
    let gamma = t.read(&format!("{scope}.gamma"), &[], DType::F32)?;
    let seen = t.mul(seen, gamma)?;
    t.add(x, seen)
}
