//! Self-attention (Zhang, Goodfellow, Metaxas and Odena, arXiv 1805.08318), as in the authors' code
//! (`non_local.py`): keys and values are max-pooled, and no convolution has a bias.

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::ops::conv::ConvSpec;
use crate::tape::{Tape, Var};
use crate::tensor::DType;

use super::param::{Owned, ZERO, plain};
use super::parametrization::Kernel;
use super::pass::Walk;
use super::rule::LayerRule;
use super::size::{Around, Misfit, takes};
use super::{BatchDependence, LayerRole, Parametrization, Reach, WeightInit};

/// Divisors of the image's channels for queries and keys, and for values.
const KEYS: usize = 8;
const VALUES: usize = 2;

/// Self-attention as in SAGAN: `y = x + γ o(β g(x))`, with `β` the softmax of `θ(x) · φ(x)` over
/// the pixels of the image pooled by 2×2. Parameters `theta.weight`, `phi.weight` (to an eighth of
/// the channels), `g.weight` (to a half), `o.weight`, and `gamma`, initialized to 0.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attention {
    /// Channels, a multiple of 8.
    pub channels: usize,
    /// As a convolution's.
    #[serde(default, skip_serializing_if = "Parametrization::is_plain")]
    pub weight: Parametrization,
    /// As a convolution's.
    #[serde(default, skip_serializing_if = "WeightInit::is_default")]
    pub start: WeightInit,
}

impl Attention {
    /// With plain weights.
    #[must_use]
    pub fn new(channels: usize) -> Self {
        Self { channels, weight: Parametrization::Plain, start: WeightInit::default() }
    }

    /// The convolutions `theta`, `phi`, `g` and `o` by name.
    fn convolutions(&self) -> [(&'static str, Kernel); 4] {
        let Self { channels, weight, start } = *self;
        let (keys, values) = (channels / KEYS, channels / VALUES);
        [
            ("theta", channels, keys),
            ("phi", channels, keys),
            ("g", channels, values),
            ("o", values, channels),
        ]
        .map(|(name, from, to)| (name, Kernel::pixel(from, to, weight, start)))
    }
}

impl LayerRule for Attention {
    fn kind(&self) -> &'static str {
        "a self-attention"
    }

    fn role(&self) -> LayerRole {
        LayerRole::Other
    }

    fn batch(&self) -> BatchDependence {
        BatchDependence::None
    }

    fn reach(&self) -> Reach {
        Reach::More
    }

    fn size(&self, at: [usize; 3], _: &mut Around<'_>) -> Result<[usize; 3], Misfit> {
        let ([h, w, _], channels) = (at, self.channels);
        if !channels.is_multiple_of(KEYS) {
            return Err(format!("has {channels} channels, and needs a multiple of {KEYS}").into());
        }
        takes([h / 2 * 2, w / 2 * 2, channels], at)?;
        Ok(at)
    }

    fn params(&self, owned: &mut Owned<'_>) {
        for (name, kernel) in self.convolutions() {
            owned.part(name, |owned| kernel.params(owned));
        }
        owned.learned("gamma", plain(&[]), ZERO);
    }

    /// For `x` `[n, h, w, c]`, with positions `i` of the image and `j` of the pooled one,
    ///
    /// ```text
    /// β_ij = softmax_j θ(x)_i · pool(φ(x))_j      y_i = x_i + γ o(Σ_j β_ij pool(g(x))_j)
    /// ```
    fn record(&self, t: &mut Tape, scope: &str, x: Var, _: &mut Walk<'_>) -> Result<Var> {
        let [theta, phi, g, o] = self.convolutions();
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

    fn kernels(&self) -> Vec<(&'static str, Kernel)> {
        self.convolutions().into()
    }

    fn weights_mut(&mut self) -> Option<(&mut Parametrization, &mut WeightInit)> {
        Some((&mut self.weight, &mut self.start))
    }
}
