//! Elementwise functions: leaky ReLU, tanh, sigmoid, softplus, and the identity, a placeholder.

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::tape::{Tape, Var};

use super::onnx::{Attribute, Graph};
use super::pass::Walk;
use super::rule::LayerRule;
use super::size::{Around, Misfit, not_negative};
use super::{BatchDependence, Layer, LayerRole, Reach};

/// Leaky ReLU, `y = x > 0 ? x : slope · x`; slope 0 is ReLU.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeakyRelu {
    /// The slope of the negative half.
    pub slope: f32,
}

impl Layer {
    /// ReLU.
    #[must_use]
    pub const fn relu() -> Self {
        Self::leaky_relu(0.0)
    }

    /// Leaky ReLU.
    #[must_use]
    pub const fn leaky_relu(slope: f32) -> Self {
        Self::LeakyRelu(LeakyRelu { slope })
    }
}

impl LayerRule for LeakyRelu {
    fn kind(&self) -> &'static str {
        "a leaky ReLU"
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

    fn size(&self, at: [usize; 3], _: &mut Around<'_>) -> Result<[usize; 3], Misfit> {
        not_negative("slope", self.slope)?;
        Ok(at)
    }

    fn record(&self, t: &mut Tape, _: &str, x: Var, _: &mut Walk<'_>) -> Result<Var> {
        t.leaky_relu(x, self.slope)
    }

    fn onnx(&self, graph: &mut dyn Graph, _: &str, x: String, _: [usize; 3]) -> Result<String> {
        Ok(match self.slope {
            0.0 => graph.unary("Relu", x),
            slope => graph.node("LeakyRelu", &[x], &[Attribute::Float("alpha", slope)]),
        })
    }

    fn is_rectifier(&self) -> bool {
        true
    }
}

/// A layer without parameters: `$name`, "is `$kind`", of this role, `$op` in ONNX.
macro_rules! elementwise {
    ($name:ident, $kind:literal, $role:ident, |$t:ident, $x:ident| $record:expr, $op:expr) => {
        #[derive(Debug)]
        pub(super) struct $name;

        impl LayerRule for $name {
            fn kind(&self) -> &'static str {
                $kind
            }

            fn role(&self) -> LayerRole {
                LayerRole::$role
            }

            fn batch(&self) -> BatchDependence {
                BatchDependence::None
            }

            fn reach(&self) -> Reach {
                Reach::Pixel
            }

            fn size(&self, at: [usize; 3], _: &mut Around<'_>) -> Result<[usize; 3], Misfit> {
                Ok(at)
            }

            fn record(&self, $t: &mut Tape, _: &str, $x: Var, _: &mut Walk<'_>) -> Result<Var> {
                $record
            }

            fn onnx(
                &self,
                graph: &mut dyn Graph,
                _: &str,
                x: String,
                _: [usize; 3],
            ) -> Result<String> {
                let op: Option<&str> = $op;
                Ok(match op {
                    Some(op) => graph.unary(op, x),
                    None => x,
                })
            }
        }
    };
}

elementwise!(Tanh, "a tanh", Activation, |t, x| t.tanh(x), Some("Tanh"));
elementwise!(Sigmoid, "a sigmoid", Activation, |t, x| t.sigmoid(x), Some("Sigmoid"));
elementwise!(Softplus, "a softplus", Activation, |t, x| t.softplus(x), Some("Softplus"));
elementwise!(Identity, "nothing but a place", Other, |_t, x| Ok(x), None);
