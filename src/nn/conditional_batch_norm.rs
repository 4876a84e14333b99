//! Conditional batch norm (Dumoulin, Shlens and Kudlur, arXiv 1610.07629).

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::tape::{Tape, Var};
use crate::tensor::{DType, Tensor};

use super::batch_norm::statistics;
use super::onnx::{Attribute, Graph};
use super::param::{ONE, Owned, ZERO, plain};
use super::pass::{LABELS, Walk};
use super::rule::LayerRule;
use super::size::{Around, Misfit, positive, takes};
use super::{BatchDependence, LayerRole, Reach};

/// Batch norm with scale and shift by the image's class, with running statistics after training:
///
/// ```text
/// y = gamma[label] (x − mean) / √(var + ε) + beta[label]
/// ```
///
/// Parameters `gamma.weight` and `beta.weight`, `[classes, channels]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConditionalBatchNorm {
    /// Channels.
    pub channels: usize,
    /// Number of classes.
    pub classes: usize,
    /// Added to the variance.
    pub eps: f32,
}

impl LayerRule for ConditionalBatchNorm {
    fn kind(&self) -> &'static str {
        "a conditional batch norm"
    }

    fn role(&self) -> LayerRole {
        LayerRole::Other
    }

    fn batch(&self) -> BatchDependence {
        BatchDependence::Training
    }

    fn reach(&self) -> Reach {
        Reach::More
    }

    fn size(&self, at: [usize; 3], _: &mut Around<'_>) -> Result<[usize; 3], Misfit> {
        positive("epsilon", self.eps)?;
        takes([at[0], at[1], self.channels], at)?;
        Ok(at)
    }

    fn params(&self, owned: &mut Owned<'_>) {
        let Self { channels, classes, .. } = *self;
        owned.learned("gamma.weight", plain(&[classes, channels]), ONE);
        owned.learned("beta.weight", plain(&[classes, channels]), ZERO);
        owned.statistic("running_mean", plain(&[channels]), ZERO);
        owned.statistic("running_var", plain(&[channels]), ONE);
    }

    fn record(&self, t: &mut Tape, scope: &str, x: Var, walk: &mut Walk<'_>) -> Result<Var> {
        let Self { channels, classes, eps } = *self;
        let labels = walk.labels(t, scope, classes)?;
        let n = t.shape(labels)[0];
        let moments = statistics(t, scope, x, &[channels], true, walk)?;
        let plain = [t.fill(&[channels], 1.0)?, t.fill(&[channels], 0.0)?];
        let y = t.batch_norm(x, moments, plain, eps)?;
        let of_class = |t: &mut Tape, own: &str| {
            let table =
                t.read(&format!("{scope}.{own}.weight"), &[classes, channels], DType::F32)?;
            let rows = t.matmul(labels, table)?;
            t.reshape(rows, &[n, 1, 1, channels])
        };
        let (gamma, beta) = (of_class(t, "gamma")?, of_class(t, "beta")?);
        let y = t.mul(y, gamma)?;
        t.add(y, beta)
    }

    fn onnx(&self, graph: &mut dyn Graph, scope: &str, x: String, _: [usize; 3]) -> Result<String> {
        let Self { channels, classes, eps } = *self;
        let labels = graph.side(scope, LABELS)?.value;
        let labels = graph.reshape(&labels, &[0, classes]);
        let plain = [1.0, 0.0].map(|x| graph.constant("plain", &Tensor::full([channels], x)));
        let mut inputs = vec![x];
        inputs.extend(plain);
        for own in ["running_mean", "running_var"] {
            let name = format!("{scope}.{own}");
            let tensor = graph.tensor(&name)?;
            inputs.push(graph.floats(&name, &tensor));
        }
        let mut y = graph.node("BatchNormalization", &inputs, &[Attribute::Float("epsilon", eps)]);
        for (own, op) in [("gamma", "Mul"), ("beta", "Add")] {
            let name = format!("{scope}.{own}.weight");
            let table = graph.tensor(&name)?;
            let table = graph.floats(&name, &table);
            let rows = graph.node("MatMul", &[labels.clone(), table], &[]);
            let rows = graph.reshape(&rows, &[0, channels, 1, 1]);
            y = graph.node(op, &[y, rows], &[]);
        }
        Ok(y)
    }

    fn classes(&self) -> Option<usize> {
        Some(self.classes)
    }
}
