//! An untied bias: a number for every channel of every pixel (the last layer of ALI's generator,
//! Dumoulin et al., arXiv 1606.00704).

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::tape::{Tape, Var};
use crate::tensor::{DType, Tensor};

use super::onnx::Graph;
use super::param::{Owned, ZERO};
use super::pass::Walk;
use super::rule::LayerRule;
use super::size::{Around, Misfit, takes};
use super::{BatchDependence, LayerRole, Layout, Reach};

/// `y = x + bias`, with the parameter `bias` `[h, w, c]`, `[c, h, w]` in files.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PixelBias {
    /// Height, width and channels.
    pub size: [usize; 3],
}

impl LayerRule for PixelBias {
    fn kind(&self) -> &'static str {
        "a bias for every pixel"
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
        takes(self.size, at)?;
        Ok(at)
    }

    fn params(&self, owned: &mut Owned<'_>) {
        owned.learnt("bias", (self.size.to_vec(), Layout::Image), ZERO);
    }

    fn record(&self, t: &mut Tape, scope: &str, x: Var, _: &mut Walk<'_>) -> Result<Var> {
        let bias = t.read(&format!("{scope}.bias"), &self.size, DType::F32)?;
        t.add(x, bias)
    }

    fn onnx(
        &self,
        graph: &mut dyn Graph,
        scope: &str,
        x: String,
        _at: [usize; 3],
    ) -> Result<String> {
        let name = format!("{scope}.bias");
        let bias: Tensor = Layout::Image.to_file(&graph.tensor(&name)?)?;
        let bias = graph.floats(&name, &bias);
        Ok(graph.node("Add", &[x, bias], &[]))
    }
}
