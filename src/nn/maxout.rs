//! Maxout (Goodfellow, Warde-Farley, Mirza, Courville and Bengio, arXiv 1302.4389).

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::tape::{Tape, Var};

use super::onnx::{Attribute, Graph};
use super::pass::Walk;
use super::rule::LayerRule;
use super::size::{Around, Misfit};
use super::{BatchDependence, LayerRole, Reach};

/// The largest of neighboring channels: `y[…, c] = max x[…, pieces · c + i]` over `i < pieces`,
/// grouped as in Blocks' `Maxout`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Maxout {
    /// Number of channels that become one.
    pub pieces: usize,
}

impl LayerRule for Maxout {
    fn kind(&self) -> &'static str {
        "a maxout"
    }

    fn role(&self) -> LayerRole {
        LayerRole::Activation
    }

    fn batch(&self) -> BatchDependence {
        BatchDependence::None
    }

    fn reach(&self) -> Reach {
        Reach::Pixel
    }

    fn size(&self, [h, w, c]: [usize; 3], _: &mut Around<'_>) -> Result<[usize; 3], Misfit> {
        let pieces = self.pieces;
        if pieces < 2 {
            return Err(
                format!("takes the largest of {pieces} channels; it needs 2 or more").into()
            );
        }
        if !c.is_multiple_of(pieces) {
            return Err(format!("{c} channels cannot be cut into groups of {pieces}").into());
        }
        Ok([h, w, c / pieces])
    }

    fn record(&self, t: &mut Tape, _: &str, x: Var, _: &mut Walk<'_>) -> Result<Var> {
        t.maxout(x, self.pieces)
    }

    fn onnx(
        &self,
        graph: &mut dyn Graph,
        _: &str,
        x: String,
        [h, w, c]: [usize; 3],
    ) -> Result<String> {
        let x = graph.reshape(&x, &[0, c / self.pieces, self.pieces, h * w]);
        let pieces = [Attribute::Ints("axes", &[2]), Attribute::Int("keepdims", 0)];
        let x = graph.node("ReduceMax", &[x], &pieces);
        Ok(graph.reshape(&x, &[0, c / self.pieces, h, w]))
    }
}
