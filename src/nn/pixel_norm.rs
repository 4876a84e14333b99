//! Pixel norm (Karras, Aila, Laine and Lehtinen, arXiv 1710.10196, section 4.2).

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::tape::{Tape, Var};
use crate::tensor::Tensor;

use super::onnx::{Attribute, Graph};
use super::pass::Walk;
use super::rule::LayerRule;
use super::size::{Around, Misfit, positive};
use super::{BatchDependence, LayerRole, Reach};

/// `y = x / √(mean_c x² + ε)`, separately for each pixel.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PixelNorm {
    /// Added to the mean square.
    pub eps: f32,
}

impl LayerRule for PixelNorm {
    fn kind(&self) -> &'static str {
        "a pixel norm"
    }

    fn role(&self) -> LayerRole {
        LayerRole::Other
    }

    fn batch(&self) -> BatchDependence {
        BatchDependence::None
    }

    fn reach(&self) -> Reach {
        Reach::Pixel
    }

    fn size(&self, at: [usize; 3], _: &mut Around<'_>) -> Result<[usize; 3], Misfit> {
        positive("epsilon", self.eps)?;
        Ok(at)
    }

    fn record(&self, t: &mut Tape, _: &str, x: Var, _: &mut Walk<'_>) -> Result<Var> {
        let shape = t.shape(x).to_vec();
        let square = t.mul(x, x)?;
        let mean = t.mean(square, &[3])?;
        let mean = t.affine(mean, 1.0, self.eps)?;
        let length = t.sqrt(mean)?;
        let length = t.reshape(length, &[shape[0], shape[1], shape[2], 1])?;
        t.div(x, length)
    }

    fn onnx(&self, graph: &mut dyn Graph, _: &str, x: String, _: [usize; 3]) -> Result<String> {
        let square = graph.node("Mul", &[x.clone(), x.clone()], &[]);
        let channels = [Attribute::Ints("axes", &[1]), Attribute::Int("keepdims", 1)];
        let mean = graph.node("ReduceMean", &[square], &channels);
        let eps = graph.constant("epsilon", &Tensor::full([1], self.eps));
        let mean = graph.node("Add", &[mean, eps], &[]);
        let length = graph.unary("Sqrt", mean);
        Ok(graph.node("Div", &[x, length], &[]))
    }
}
