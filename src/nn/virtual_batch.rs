//! Virtual batch norm (Salimans, Goodfellow, Zaremba, Cheung, Radford and Chen, arXiv 1606.03498,
//! section 3.5): each sample is normalized by a fixed reference batch and by itself, so that it
//! does not depend on the rest of its batch.
//!
//! [`Reference`] puts that batch in front of the current one, and both go through the network side
//! by side: every norm uses the statistics of the reference batch there, under the current weights.

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::tape::{Tape, Var};
use crate::tensor::DType;

use super::param::{DCGAN_SCALE, Init, Owned, ZERO, plain};
use super::pass::Walk;
use super::rule::LayerRule;
use super::size::{Around, Misfit, WIDEST, positive, takes};
use super::{BatchDependence, LayerRole, Reach};

/// The state `reference`, `count` inputs of the network drawn once, put in front of the batch for
/// the [`VirtualBatchNorm`]s of the rest of the network, and removed from its outputs. Only as the
/// first layer of a network without side inputs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reference {
    /// Images of the reference batch.
    pub count: usize,
    /// Height, width and channels of each.
    pub size: [usize; 3],
    /// Whether they are uniform in [−1, 1] rather than standard normal.
    pub uniform: bool,
}

/// Virtual batch norm: by the statistics of the reference batch and of the image itself, which
/// weighs as much as one of the batch. Parameters `weight` and `bias`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VirtualBatchNorm {
    /// Channels.
    pub channels: usize,
    /// Added to the variance.
    pub eps: f32,
}

impl LayerRule for Reference {
    fn kind(&self) -> &'static str {
        "a reference batch"
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

    fn size(&self, at: [usize; 3], around: &mut Around<'_>) -> Result<[usize; 3], Misfit> {
        if around.name != "main.0" {
            return Err("a reference batch can only be a network's first layer".to_owned().into());
        }
        if !(1..=WIDEST).contains(&self.count) {
            return Err(format!("has {} images", self.count).into());
        }
        takes(self.size, at)?;
        around.reference = true;
        Ok(at)
    }

    fn params(&self, owned: &mut Owned<'_>) {
        let Self { count, size: [h, w, c], uniform } = *self;
        let init = if uniform {
            Init::Uniform { low: -1.0, high: 1.0 }
        } else {
            Init::Normal { mean: 0.0, std: 1.0 }
        };
        owned.kept("reference", plain(&[count, h, w, c]), init);
    }

    /// The state `reference` `[count, h, w, c]` in front of `x` `[n, h, w, c]`.
    fn record(&self, t: &mut Tape, scope: &str, x: Var, walk: &mut Walk<'_>) -> Result<Var> {
        let Self { count, size: [h, w, c], .. } = *self;
        let reference = t.read(&format!("{scope}.reference"), &[count, h, w, c], DType::F32)?;
        walk.reference = count;
        t.concat(&[reference, x], 0)
    }
}

/// `x` without the `reference` images in front of it.
pub(super) fn without_reference(t: &mut Tape, x: Var, reference: usize) -> Result<Var> {
    let mut size = t.shape(x).to_vec();
    let mut start = vec![0; size.len()];
    start[0] = reference;
    size[0] -= reference;
    t.slice(x, &start, &size)
}

impl LayerRule for VirtualBatchNorm {
    fn kind(&self) -> &'static str {
        "a virtual batch norm"
    }

    fn role(&self) -> LayerRole {
        LayerRole::Other
    }

    /// The reference batch is always the same.
    fn batch(&self) -> BatchDependence {
        BatchDependence::None
    }

    fn reach(&self) -> Reach {
        Reach::More
    }

    fn size(&self, at: [usize; 3], around: &mut Around<'_>) -> Result<[usize; 3], Misfit> {
        if !around.reference {
            return Err("there is no reference batch at the network's start".to_owned().into());
        }
        positive("epsilon", self.eps)?;
        takes([at[0], at[1], self.channels], at)?;
        Ok(at)
    }

    fn params(&self, owned: &mut Owned<'_>) {
        owned.learned("weight", plain(&[self.channels]), DCGAN_SCALE);
        owned.learned("bias", plain(&[self.channels]), ZERO);
    }

    /// With mean `m` and variance `v` of an image's own pixels, `mᵣ` and `vᵣ` of the `r` images of
    /// the reference batch, and the weight `a = 1 / (r + 1)` of the image itself (0 for those of the
    /// reference batch):
    ///
    /// ```text
    /// mean = (1 − a) mᵣ + a m      var = (1 − a) vᵣ + a v + a (1 − a) (m − mᵣ)²
    /// y = gamma (x − mean) / √(var + ε) + beta
    /// ```
    ///
    /// which are the moments of the reference batch and the image as one batch.
    fn record(&self, t: &mut Tape, scope: &str, x: Var, walk: &mut Walk<'_>) -> Result<Var> {
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
        let centered = t.sub(x, mean)?;
        let square = t.mul(centered, centered)?;
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

        let var = t.affine(var, 1.0, self.eps)?;
        let deviation = t.sqrt(var)?;
        let y = t.sub(x, mean)?;
        let y = t.div(y, deviation)?;
        let gamma = t.read(&format!("{scope}.weight"), &[c], DType::F32)?;
        let beta = t.read(&format!("{scope}.bias"), &[c], DType::F32)?;
        let y = t.mul(y, gamma)?;
        t.add(y, beta)
    }
}
