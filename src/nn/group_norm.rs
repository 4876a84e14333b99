//! Group norm (Wu and He, arXiv 1803.08494), with layer norm and instance norm as extreme cases.

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::tape::{Tape, Var};
use crate::tensor::DType;

use super::param::{ONE, Owned, ZERO, plain};
use super::pass::Walk;
use super::rule::LayerRule;
use super::size::{Around, Misfit, positive, takes};
use super::{BATCH_NORM_EPS, BatchDependence, Layer, LayerRole, Reach};

/// Group norm with learned scale and shift for each channel: `y = weight (x − mean) / √(var + ε) +
/// bias`, with mean and variance over height, width and the channels of a group. One group is layer
/// norm as in WGAN-GP's critics; one group per channel is instance norm (Ulyanov, Vedaldi and
/// Lempitsky, arXiv 1607.08022).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupNorm {
    /// Groups of neighboring channels.
    pub groups: usize,
    /// Channels, a multiple of the groups.
    pub channels: usize,
    /// Added to the variance.
    pub eps: f32,
}

impl Layer {
    /// Layer norm over height, width and channels: one group.
    #[must_use]
    pub const fn layer_norm(channels: usize) -> Self {
        Self::GroupNorm(GroupNorm { groups: 1, channels, eps: BATCH_NORM_EPS })
    }

    /// Instance norm: a group for each channel.
    #[must_use]
    pub const fn instance_norm(channels: usize) -> Self {
        Self::GroupNorm(GroupNorm { groups: channels, channels, eps: BATCH_NORM_EPS })
    }
}

impl LayerRule for GroupNorm {
    fn kind(&self) -> &'static str {
        "a group norm"
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
        let Self { groups, channels, eps } = *self;
        positive("epsilon", eps)?;
        if groups == 0 || !channels.is_multiple_of(groups) {
            return Err(format!("{channels} channels cannot be cut into {groups} groups").into());
        }
        takes([at[0], at[1], channels], at)?;
        Ok(at)
    }

    fn params(&self, owned: &mut Owned<'_>) {
        owned.learned("weight", plain(&[self.channels]), ONE);
        owned.learned("bias", plain(&[self.channels]), ZERO);
    }

    fn record(&self, t: &mut Tape, scope: &str, x: Var, _: &mut Walk<'_>) -> Result<Var> {
        let Self { groups, eps, .. } = *self;
        let shape = t.shape(x).to_vec();
        let (n, pixels, c) = (shape[0], shape[1] * shape[2], shape[3]);
        // Pixels first: neighbors in memory are summed side by side.
        let mean = |t: &mut Tape, x: Var| {
            let sum = t.sum(x, &[1])?;
            let sum = t.sum(sum, &[2])?;
            let mean = t.affine(sum, 1.0 / (pixels * c / groups) as f32, 0.0)?;
            t.reshape(mean, &[n, 1, groups, 1])
        };
        let x = t.reshape(x, &[n, pixels, groups, c / groups])?;
        let level = mean(t, x)?;
        let centered = t.sub(x, level)?;
        let square = t.mul(centered, centered)?;
        let var = mean(t, square)?;
        let var = t.affine(var, 1.0, eps)?;
        let deviation = t.sqrt(var)?;
        let y = t.div(centered, deviation)?;
        let y = t.reshape(y, &shape)?;
        let weight = t.read(&format!("{scope}.weight"), &[c], DType::F32)?;
        let bias = t.read(&format!("{scope}.bias"), &[c], DType::F32)?;
        let y = t.mul(y, weight)?;
        t.add(y, bias)
    }
}
