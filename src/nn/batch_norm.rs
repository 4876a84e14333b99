//! Batch norm (Ioffe and Szegedy, arXiv 1502.03167).

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::tape::{Tape, Var};
use crate::tensor::{DType, Tensor};

use super::onnx::{Attribute, Graph};
use super::param::{DCGAN_SCALE, ONE, Owned, ZERO};
use super::pass::Walk;
use super::rule::LayerRule;
use super::size::{Around, Misfit, not_negative, takes};
use super::{BatchDependence, Layer, LayerRole, Layout, Reach};

/// Batch norm's ε and the weight of a new batch in the running statistics: PyTorch's defaults.
pub const BATCH_NORM_EPS: f32 = 1e-5;
pub(crate) const BATCH_NORM_MOMENTUM: f32 = 0.1;

/// The statistics that batch norm uses after training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Statistics {
    /// Running averages, as in PyTorch: one image does not depend on its neighbors.
    Running,
    /// Those of the current batch, always, as in the code of DCGAN's authors: there are no others.
    Batch,
}

/// Batch norm: `y = weight (x − mean) / √(var + ε) + bias`. In training an image depends on its
/// batch. Parameters `weight` and `bias`, unless `affine` is false (then they are 1 and 0); also
/// `running_mean` and `running_var` if it uses them after training.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchNorm {
    /// Channels.
    pub channels: usize,
    /// Height and width of images whose pixels have separate statistics, as after a projection
    /// normalized before it becomes an image; `[1, 1]` for per-channel statistics.
    pub cells: [usize; 2],
    /// Added to the variance.
    pub eps: f32,
    /// The statistics used after training.
    pub statistics: Statistics,
    /// Whether scale and shift are learned.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub affine: bool,
}

const fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
const fn is_yes(yes: &bool) -> bool {
    *yes
}

impl BatchNorm {
    /// Batch norm of `channels` channels as PyTorch's `BatchNorm2d` by default.
    #[must_use]
    pub const fn new(channels: usize) -> Self {
        let statistics = Statistics::Running;
        Self { channels, cells: [1, 1], eps: BATCH_NORM_EPS, statistics, affine: true }
    }
}

impl Layer {
    /// Batch norm of `channels` channels as PyTorch's `BatchNorm2d` by default.
    #[must_use]
    pub const fn batch_norm(channels: usize) -> Self {
        Self::BatchNorm(BatchNorm::new(channels))
    }
}

/// Shape and layout of one value per channel, and per cell if there are several.
pub(super) fn per_cell(cells: [usize; 2], channels: usize) -> (Vec<usize>, Layout) {
    match cells {
        [1, 1] => (vec![channels], Layout::Plain),
        [h, w] => (vec![h, w, channels], Layout::Cells),
    }
}

/// Mean and variance `[c]` of `x` `[…, c]` to normalize by; in training those of the batch, which
/// also update the running ones, of shape `param`, if there are `running` ones.
pub(super) fn statistics(
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
    if running && walk.is_tracked() {
        // The running variance is unbiased, as in PyTorch.
        let unbiased = t.affine(var, rows as f32 / (rows.max(2) - 1) as f32, 0.0)?;
        let (scope, param) = (scope.to_owned(), param.to_owned());
        t.in_turn(&[mean, unbiased], move |t, news| {
            for (own, &new) in ["running_mean", "running_var"].into_iter().zip(news) {
                let name = format!("{scope}.{own}");
                let old = t.read(&name, &param, DType::F32)?;
                let old = t.reshape(old, &[numbers])?;
                let old = t.affine(old, 1.0 - BATCH_NORM_MOMENTUM, 0.0)?;
                let new = t.affine(new, BATCH_NORM_MOMENTUM, 0.0)?;
                let next = t.add(old, new)?;
                let next = t.reshape(next, &param)?;
                t.assign(&name, next)?;
            }
            Ok(())
        })?;
    }
    Ok([mean, var])
}

impl LayerRule for BatchNorm {
    fn kind(&self) -> &'static str {
        "a batch norm"
    }

    fn role(&self) -> LayerRole {
        LayerRole::Other
    }

    fn batch(&self) -> BatchDependence {
        match self.statistics {
            Statistics::Running => BatchDependence::Training,
            Statistics::Batch => BatchDependence::Always,
        }
    }

    fn reach(&self) -> Reach {
        Reach::Pixel
    }

    fn size(&self, at: [usize; 3], _: &mut Around<'_>) -> Result<[usize; 3], Misfit> {
        let Self { channels, cells, eps, .. } = *self;
        not_negative("epsilon", eps)?;
        let [h, w] = if cells == [1, 1] { [at[0], at[1]] } else { cells };
        takes([h, w, channels], at)?;
        Ok(at)
    }

    fn params(&self, owned: &mut Owned<'_>) {
        let shape = || per_cell(self.cells, self.channels);
        if self.affine {
            owned.learned("weight", shape(), DCGAN_SCALE);
            owned.learned("bias", shape(), ZERO);
        }
        if self.statistics == Statistics::Running {
            owned.statistic("running_mean", shape(), ZERO);
            owned.statistic("running_var", shape(), ONE);
        }
    }

    /// For `x` `[…, c]`, or `[n, h, w, c]` with statistics for each cell.
    fn record(&self, t: &mut Tape, scope: &str, x: Var, walk: &mut Walk<'_>) -> Result<Var> {
        let Self { channels, cells, eps, statistics: kind, affine } = *self;
        let (param, _) = per_cell(cells, channels);
        let numbers = param.iter().product::<usize>();
        let shape = t.shape(x).to_vec();
        let x = if cells == [1, 1] {
            x
        } else {
            let rows = shape.iter().product::<usize>() / numbers.max(1);
            t.reshape(x, &[rows, numbers])?
        };
        let [weight, bias] = [("weight", 1.0), ("bias", 0.0)].map(|(own, fixed)| {
            if !affine {
                return t.fill(&[numbers], fixed);
            }
            let state = t.read(&format!("{scope}.{own}"), &param, DType::F32)?;
            t.reshape(state, &[numbers])
        });
        let moments = statistics(t, scope, x, &param, kind == Statistics::Running, walk)?;
        let y = t.batch_norm(x, moments, [weight?, bias?], eps)?;
        t.reshape(y, &shape)
    }

    fn onnx(
        &self,
        graph: &mut dyn Graph,
        scope: &str,
        x: String,
        [h, w, c]: [usize; 3],
    ) -> Result<String> {
        let Self { cells, eps, statistics, affine, .. } = *self;
        let mut x = x;
        let cellwise = cells != [1, 1];
        if cellwise {
            x = graph.reshape(&x, &[0, c * h * w]);
        }
        let part = |graph: &mut dyn Graph, own: &str| -> Result<String> {
            let name = format!("{scope}.{own}");
            let tensor = match own {
                "weight" if !affine => Tensor::full(per_cell(cells, c).0, 1.0),
                "bias" if !affine => Tensor::full(per_cell(cells, c).0, 0.0),
                _ => graph.tensor(&name)?,
            };
            let tensor = if cellwise { Layout::Cells.to_file(&tensor)? } else { tensor };
            // Without running statistics the norm is spelled out, and broadcasts.
            let spelled = statistics == Statistics::Batch && !cellwise;
            let shape = if spelled { vec![c, 1, 1] } else { vec![tensor.len()] };
            let tensor = Tensor::new(shape, tensor.f32s().to_vec())?;
            Ok(graph.floats(&name, &tensor))
        };
        let affine = [part(graph, "weight")?, part(graph, "bias")?];
        x = match statistics {
            Statistics::Running => {
                let running = [part(graph, "running_mean")?, part(graph, "running_var")?];
                let inputs = [&[x], &affine[..], &running[..]].concat();
                graph.node("BatchNormalization", &inputs, &[Attribute::Float("epsilon", eps)])
            }
            Statistics::Batch => {
                let axes: &[i64] = if cellwise { &[0] } else { &[0, 2, 3] };
                spelled_out(graph, x, affine, axes, eps)
            }
        };
        if cellwise {
            x = graph.reshape(&x, &[0, c, h, w]);
        }
        Ok(x)
    }

    fn counts_batches(&self) -> bool {
        self.statistics == Statistics::Running
    }

    fn use_running_statistics(&mut self) {
        self.statistics = Statistics::Running;
    }
}

/// `gamma (x − mean) / √(var + eps) + beta`, with mean and (biased) variance over `axes`.
fn spelled_out(
    graph: &mut dyn Graph,
    x: String,
    [gamma, beta]: [String; 2],
    axes: &[i64],
    eps: f32,
) -> String {
    let mean = [Attribute::Ints("axes", axes), Attribute::Int("keepdims", 1)];
    let middle = graph.node("ReduceMean", std::slice::from_ref(&x), &mean);
    let centered = graph.node("Sub", &[x, middle], &[]);
    let squares = graph.node("Mul", &[centered.clone(), centered.clone()], &[]);
    let var = graph.node("ReduceMean", &[squares], &mean);
    let eps = graph.constant("epsilon", &Tensor::full([1], eps));
    let var = graph.node("Add", &[var, eps], &[]);
    let deviation = graph.unary("Sqrt", var);
    let whitened = graph.node("Div", &[centered, deviation], &[]);
    let scaled = graph.node("Mul", &[whitened, gamma], &[]);
    graph.node("Add", &[scaled, beta], &[])
}
