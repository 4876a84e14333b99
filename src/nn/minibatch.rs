//! Layers that let a discriminator see how similar the images of a batch are.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::tape::{Tape, Var};
use crate::tensor::DType;

use super::param::{Init, Owned, plain};
use super::pass::Walk;
use super::rule::LayerRule;
use super::size::{Around, Misfit, WIDEST, takes};
use super::{BatchDependence, LayerRole, Reach};

/// Minibatch discrimination (Salimans et al., arXiv 1606.03498, section 3.2): appends `kernels`
/// channels that measure how close the image is to the others of its batch. Parameter `T`
/// `[features, kernels, dims]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MinibatchDiscrimination {
    /// Channels of the input, which is one pixel.
    pub features: usize,
    /// Channels appended.
    pub kernels: usize,
    /// Dimensions in which each kernel compares images.
    pub dims: usize,
}

/// Minibatch standard deviation (Karras, Aila, Laine and Lehtinen, arXiv 1710.10196, section 3):
/// appends a channel with the mean deviation of all entries over a group of the batch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MinibatchStd {
    /// Images per group; a larger batch must be a multiple of it; 0 for the whole batch.
    pub group: usize,
}

impl LayerRule for MinibatchDiscrimination {
    fn kind(&self) -> &'static str {
        "a minibatch discrimination"
    }

    fn role(&self) -> LayerRole {
        LayerRole::Other
    }

    fn batch(&self) -> BatchDependence {
        BatchDependence::Compares
    }

    fn reach(&self) -> Reach {
        Reach::More
    }

    fn size(&self, at: [usize; 3], _: &mut Around<'_>) -> Result<[usize; 3], Misfit> {
        let Self { features, kernels, dims } = *self;
        if ![kernels, dims].iter().all(|n| (1..=WIDEST).contains(n)) {
            return Err(format!("compares by {kernels} kernels of {dims} dimensions").into());
        }
        takes([1, 1, features], at)?;
        Ok([1, 1, features.saturating_add(kernels)])
    }

    fn params(&self, owned: &mut Owned<'_>) {
        let Self { features, kernels, dims } = *self;
        // Columns of length about 1, as the authors' are normalized to.
        let std = (features as f32).sqrt().recip();
        let init = Init::Normal { mean: 0.0, std };
        owned.learned("T", plain(&[features, kernels, dims]), init);
    }

    /// For `x` `[n, 1, 1, features]`:
    ///
    /// ```text
    /// M = x T, [n, kernels, dims]    d_ijb = Σ_c |M_ibc − M_jbc|    o_ib = Σ_{j ≠ i} exp(−d_ijb)
    /// ```
    ///
    /// and the result is `o` appended to `x`.
    fn record(&self, t: &mut Tape, scope: &str, x: Var, _: &mut Walk<'_>) -> Result<Var> {
        let Self { features, kernels, dims } = *self;
        let n = t.shape(x)[0];
        let rows = t.reshape(x, &[n, features])?;
        let table = t.read(&format!("{scope}.T"), &[features, kernels, dims], DType::F32)?;
        let table = t.reshape(table, &[features, kernels * dims])?;
        let m = t.matmul(rows, table)?;
        // Dimensions before kernels: the summands are whole rows apart.
        let m = t.reshape(m, &[n, kernels, dims])?;
        let m = t.permute(m, &[0, 2, 1])?;
        let left = t.reshape(m, &[n, 1, dims, kernels])?;
        let right = t.reshape(m, &[1, n, dims, kernels])?;
        let apart = t.sub(left, right)?;
        let apart = t.abs(apart)?;
        let apart = t.sum(apart, &[2])?;
        let minus = t.neg(apart)?;
        let near = t.exp(minus)?;
        // Every image is close to itself. Subtracting that 1 from the sum instead would leave only
        // rounding errors if images are far apart.
        let others = others(t, n)?;
        let near = t.mul(near, others)?;
        let o = t.sum(near, &[1])?;
        t.append(x, o)
    }
}

/// `[n, n, 1]`: 0 on the diagonal, else 1.
fn others(t: &mut Tape, n: usize) -> Result<Var> {
    // Element (i, i) of [n, n] is the first of row i of [n, n + 1].
    let ones = t.fill(&[n, 1], 1.0)?;
    let padded = t.pad(ones, &[0, 0], &[n, n + 1])?;
    let same = t.range(padded, 0, n * n)?;
    let same = t.reshape(same, &[n, n, 1])?;
    t.affine(same, -1.0, 1.0)
}

impl LayerRule for MinibatchStd {
    fn kind(&self) -> &'static str {
        "a minibatch standard deviation"
    }

    fn role(&self) -> LayerRole {
        LayerRole::Other
    }

    fn batch(&self) -> BatchDependence {
        BatchDependence::Compares
    }

    fn reach(&self) -> Reach {
        Reach::More
    }

    fn size(&self, [h, w, c]: [usize; 3], _: &mut Around<'_>) -> Result<[usize; 3], Misfit> {
        if self.group == 1 {
            let what = "compares groups of 1 image, which always deviates by nothing";
            return Err(what.to_owned().into());
        }
        Ok([h, w, c + 1])
    }

    /// For `x` `[n, h, w, c]`: the batch is split into `n / g` groups of `g`, image `i` into group
    /// `i mod n / g`; the deviation of every entry over its group is averaged over all entries, and
    /// appended as a channel to the images of the group.
    fn record(&self, t: &mut Tape, scope: &str, x: Var, _: &mut Walk<'_>) -> Result<Var> {
        /// As in the authors' code, so that the root is differentiable if all are equal.
        const EPS: f32 = 1e-8;
        let n = t.shape(x)[0];
        let numbers: usize = t.shape(x)[1..].iter().product();
        let group = if self.group == 0 { n } else { self.group.min(n) };
        if !n.is_multiple_of(group) {
            return Err(Error::Tensor {
                name: scope.into(),
                what: format!("compares groups of {group} images, and a batch of {n} has no such"),
            });
        }
        let groups = n / group;
        let x2 = t.reshape(x, &[group, groups * numbers])?;
        let mean = t.mean(x2, &[0])?;
        let centered = t.sub(x2, mean)?;
        let square = t.mul(centered, centered)?;
        let var = t.mean(square, &[0])?;
        let var = t.affine(var, 1.0, EPS)?;
        let deviation = t.sqrt(var)?;
        let deviation = t.reshape(deviation, &[groups, numbers])?;
        let deviation = t.mean(deviation, &[1])?;
        let deviation = t.reshape(deviation, &[1, groups])?;
        let all = t.broadcast_to(deviation, &[group, groups])?;
        let all = t.reshape(all, &[n, 1])?;
        t.append(x, all)
    }
}
