//! Normalisations. All but [`virtual_batch_norm`](super::virtual_batch), which has its own file, for
//! the pictures that it needs beside those at hand.

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::tape::{Tape, Var};
use crate::tensor::DType;

use super::pass::Walk;
use super::{Layer, Layout};

/// Batch norm's ε and the weight of a new batch in the running statistics, as PyTorch's defaults.
pub const BATCH_NORM_EPS: f32 = 1e-5;
pub(crate) const BATCH_NORM_MOMENTUM: f32 = 0.1;

/// What batch norm normalises by after training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Statistics {
    /// Averages kept while training, as in PyTorch: one picture does not depend on its neighbours.
    Running,
    /// Those of the batch at hand, always, as in the code of DCGAN's authors: there are no others.
    Batch,
}

/// Shape and layout of one number for each channel, and for each of `cells` where they are several.
pub(super) fn per_cell(cells: [usize; 2], channels: usize) -> (Vec<usize>, Layout) {
    match cells {
        [1, 1] => (vec![channels], Layout::Plain),
        [h, w] => (vec![h, w, channels], Layout::Cells),
    }
}

/// Mean and variance `[c]` of `x` `[…, c]` to normalise by; in training those of the batch, which
/// also go into the running ones, of shape `param`, where there are `running` ones.
fn statistics(
    t: &mut Tape,
    scope: &str,
    x: Var,
    param: &[usize],
    running: bool,
    walk: &Walk<'_>,
) -> Result<[Var; 2]> {
    let numbers = param.iter().product::<usize>();
    let read = |t: &mut Tape, own: &str| {
        let state = t.read(&format!("{scope}.{own}"), param, DType::F32)?;
        t.reshape(state, &[numbers])
    };
    if running && !walk.is_training() {
        return Ok([read(t, "running_mean")?, read(t, "running_var")?]);
    }
    let rows = t.shape(x).iter().product::<usize>() / numbers.max(1);
    let moments = t.moments(x)?;
    let mean = t.range(moments, 0, numbers)?;
    let var = t.range(moments, numbers, numbers)?;
    if running && !walk.is_starting() {
        // The running variance is the unbiased one, as PyTorch's.
        let unbiased = t.affine(var, rows as f32 / (rows.max(2) - 1) as f32, 0.0)?;
        let old = [read(t, "running_mean")?, read(t, "running_var")?];
        for (own, old, new) in [("running_mean", old[0], mean), ("running_var", old[1], unbiased)] {
            let old = t.affine(old, 1.0 - BATCH_NORM_MOMENTUM, 0.0)?;
            let new = t.affine(new, BATCH_NORM_MOMENTUM, 0.0)?;
            let next = t.add(old, new)?;
            let next = t.reshape(next, param)?;
            t.assign(&format!("{scope}.{own}"), next)?;
        }
    }
    Ok([mean, var])
}

/// Batch norm (Ioffe and Szegedy, arXiv 1502.03167) of `x` `[…, c]`, or `[n, h, w, c]` with statistics
/// for each cell.
pub(super) fn batch_norm(
    t: &mut Tape,
    scope: &str,
    x: Var,
    layer: &Layer,
    walk: &Walk<'_>,
) -> Result<Var> {
    let Layer::BatchNorm { channels, cells, eps, statistics: kind } = *layer else { return Ok(x) };
    let (param, _) = per_cell(cells, channels);
    let numbers = param.iter().product::<usize>();
    let shape = t.shape(x).to_vec();
    let x = if cells == [1, 1] {
        x
    } else {
        let rows = shape.iter().product::<usize>() / numbers.max(1);
        t.reshape(x, &[rows, numbers])?
    };
    let affine = ["weight", "bias"].map(|own| {
        let state = t.read(&format!("{scope}.{own}"), &param, DType::F32)?;
        t.reshape(state, &[numbers])
    });
    let [weight, bias] = affine;
    let moments = statistics(t, scope, x, &param, kind == Statistics::Running, walk)?;
    let y = t.batch_norm(x, moments, [weight?, bias?], eps)?;
    t.reshape(y, &shape)
}

/// Batch norm of `x` `[n, h, w, c]` with scale and shift by the class of each picture (Dumoulin,
/// Shlens and Kudlur, arXiv 1610.07629).
pub(super) fn conditional_batch_norm(
    t: &mut Tape,
    scope: &str,
    x: Var,
    [channels, classes]: [usize; 2],
    eps: f32,
    walk: &Walk<'_>,
) -> Result<Var> {
    let labels = walk.labels(t, scope, classes)?;
    let n = t.shape(labels)[0];
    let moments = statistics(t, scope, x, &[channels], true, walk)?;
    let plain = [t.fill(&[channels], 1.0)?, t.fill(&[channels], 0.0)?];
    let y = t.batch_norm(x, moments, plain, eps)?;
    let of_class = |t: &mut Tape, own: &str| {
        let table = t.read(&format!("{scope}.{own}.weight"), &[classes, channels], DType::F32)?;
        let rows = t.matmul(labels, table)?;
        t.reshape(rows, &[n, 1, 1, channels])
    };
    let (gamma, beta) = (of_class(t, "gamma")?, of_class(t, "beta")?);
    let y = t.mul(y, gamma)?;
    t.add(y, beta)
}

/// Group norm (Wu and He, arXiv 1803.08494) of `x` `[n, h, w, c]`.
pub(super) fn group_norm(
    t: &mut Tape,
    scope: &str,
    x: Var,
    groups: usize,
    eps: f32,
) -> Result<Var> {
    let shape = t.shape(x).to_vec();
    let (n, pixels, c) = (shape[0], shape[1] * shape[2], shape[3]);
    // Pixels first: neighbours in memory are added beside each other.
    let mean = |t: &mut Tape, x: Var| {
        let sum = t.sum(x, &[1])?;
        let sum = t.sum(sum, &[2])?;
        let mean = t.affine(sum, 1.0 / (pixels * c / groups) as f32, 0.0)?;
        t.reshape(mean, &[n, 1, groups, 1])
    };
    let x = t.reshape(x, &[n, pixels, groups, c / groups])?;
    let level = mean(t, x)?;
    let centred = t.sub(x, level)?;
    let square = t.mul(centred, centred)?;
    let var = mean(t, square)?;
    let var = t.affine(var, 1.0, eps)?;
    let deviation = t.sqrt(var)?;
    let y = t.div(centred, deviation)?;
    let y = t.reshape(y, &shape)?;
    let weight = t.read(&format!("{scope}.weight"), &[c], DType::F32)?;
    let bias = t.read(&format!("{scope}.bias"), &[c], DType::F32)?;
    let y = t.mul(y, weight)?;
    t.add(y, bias)
}

/// Each pixel of `x` `[n, h, w, c]` by the root of its mean square.
pub(super) fn pixel_norm(t: &mut Tape, x: Var, eps: f32) -> Result<Var> {
    let shape = t.shape(x).to_vec();
    let square = t.mul(x, x)?;
    let mean = t.mean(square, &[3])?;
    let mean = t.affine(mean, 1.0, eps)?;
    let length = t.sqrt(mean)?;
    let length = t.reshape(length, &[shape[0], shape[1], shape[2], 1])?;
    t.div(x, length)
}
