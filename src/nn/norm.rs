//! Batch norm (Ioffe and Szegedy, arXiv 1502.03167).

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::tape::{Tape, Var};
use crate::tensor::DType;

use super::{Layer, Layout, Mode};

/// Batch norm's ε and the weight of a new batch in the running statistics, as PyTorch's defaults.
pub const BATCH_NORM_EPS: f32 = 1e-5;
pub(crate) const BATCH_NORM_MOMENTUM: f32 = 0.1;

/// What batch norm normalises by after training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
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

/// Batch norm of `x` `[…, c]`, or `[n, h, w, c]` with statistics for each cell, with the parameters
/// that `name` names.
pub(super) fn batch_norm(
    t: &mut Tape,
    name: &dyn Fn(&str) -> String,
    x: Var,
    layer: &Layer,
    mode: Mode,
) -> Result<Var> {
    let Layer::BatchNorm { channels, cells, eps, statistics } = *layer else { return Ok(x) };
    let (param_shape, _) = per_cell(cells, channels);
    let numbers = param_shape.iter().product::<usize>();
    let shape = t.shape(x).to_vec();
    let rows = shape.iter().product::<usize>() / numbers.max(1);
    let whole = cells == [1, 1];
    let x = if whole { x } else { t.reshape(x, &[rows, numbers])? };
    let read = |t: &mut Tape, param: &str| {
        let param = t.read(&name(param), &param_shape, DType::F32)?;
        if whole { Ok(param) } else { t.reshape(param, &[numbers]) }
    };
    let affine = [read(t, "weight")?, read(t, "bias")?];
    let y = if mode == Mode::Eval && statistics == Statistics::Running {
        let running = [read(t, "running_mean")?, read(t, "running_var")?];
        t.batch_norm(x, running, affine, eps)?
    } else {
        let moments = t.moments(x)?;
        let mean = t.range(moments, 0, numbers)?;
        let var = t.range(moments, numbers, numbers)?;
        if statistics == Statistics::Running {
            let running = [read(t, "running_mean")?, read(t, "running_var")?];
            // The running variance is the unbiased one, as PyTorch's.
            let unbiased = t.affine(var, rows as f32 / (rows.max(2) - 1) as f32, 0.0)?;
            for (param, old, new) in
                [("running_mean", running[0], mean), ("running_var", running[1], unbiased)]
            {
                let old = t.affine(old, 1.0 - BATCH_NORM_MOMENTUM, 0.0)?;
                let new = t.affine(new, BATCH_NORM_MOMENTUM, 0.0)?;
                let next = t.add(old, new)?;
                let next = if whole { next } else { t.reshape(next, &param_shape)? };
                t.assign(&name(param), next)?;
            }
        }
        t.batch_norm(x, [mean, var], affine, eps)?
    };
    if whole { Ok(y) } else { t.reshape(y, &shape) }
}
