//! Layers that add randomness in training and do nothing afterwards.

use serde::{Deserialize, Serialize};

use crate::config::is_default;
use crate::error::Result;
use crate::tape::{Tape, Var};

use super::onnx::Graph;
use super::pass::Walk;
use super::rule::LayerRule;
use super::size::{Around, Misfit, positive};
use super::{BatchDependence, LayerRole, Reach};

/// `y = x + std · N(0, 1)` in training, with new noise in every pass of every step; else `y = x`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Noise {
    /// The noise's standard deviation.
    pub std: f32,
}

/// `y = x / (1 − p)` with probability `1 − p`, else 0, in training, with new choices in every pass
/// of every step (Srivastava et al., 2014); else `y = x`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dropout {
    /// The probability of dropping an entry.
    pub p: f32,
    /// Whether the entries of one channel of an image are dropped together (Tompson et al., arXiv
    /// 1411.4280, section 3.2).
    #[serde(default, skip_serializing_if = "is_default")]
    pub channels: bool,
}

impl Dropout {
    /// Dropout of single entries.
    #[must_use]
    pub const fn new(p: f32) -> Self {
        Self { p, channels: false }
    }

    /// Dropout of whole channels.
    #[must_use]
    pub const fn of_channels(p: f32) -> Self {
        Self { p, channels: true }
    }
}

impl LayerRule for Noise {
    fn kind(&self) -> &'static str {
        "noise"
    }

    fn role(&self) -> LayerRole {
        LayerRole::Disturbance
    }

    fn batch(&self) -> BatchDependence {
        BatchDependence::None
    }

    fn reach(&self) -> Reach {
        Reach::Pixel
    }

    fn size(&self, at: [usize; 3], _: &mut Around<'_>) -> Result<[usize; 3], Misfit> {
        positive("standard deviation", self.std)?;
        Ok(at)
    }

    fn record(&self, t: &mut Tape, scope: &str, x: Var, walk: &mut Walk<'_>) -> Result<Var> {
        if !walk.is_training() {
            return Ok(x);
        }
        let (key, stream) = walk.random(scope)?;
        let shape = t.shape(x).to_vec();
        let noise = t.random_normal(key, &stream, &shape)?;
        let noise = t.affine(noise, self.std, 0.0)?;
        t.add(x, noise)
    }

    fn onnx(&self, _: &mut dyn Graph, _: &str, x: String, _: [usize; 3]) -> Result<String> {
        Ok(x)
    }
}

impl LayerRule for Dropout {
    fn kind(&self) -> &'static str {
        "a dropout"
    }

    fn role(&self) -> LayerRole {
        LayerRole::Disturbance
    }

    fn batch(&self) -> BatchDependence {
        BatchDependence::None
    }

    fn reach(&self) -> Reach {
        Reach::Pixel
    }

    fn size(&self, at: [usize; 3], _: &mut Around<'_>) -> Result<[usize; 3], Misfit> {
        let p = self.p;
        if !(0.0..1.0).contains(&p) {
            return Err(format!("drops with probability {p}; it must lie in [0, 1)").into());
        }
        Ok(at)
    }

    fn record(&self, t: &mut Tape, scope: &str, x: Var, walk: &mut Walk<'_>) -> Result<Var> {
        if !walk.is_training() {
            return Ok(x);
        }
        let (key, stream) = walk.random(scope)?;
        let shape = match (self.channels, t.shape(x)) {
            (true, &[n, _, _, c]) => vec![n, 1, 1, c],
            (_, shape) => shape.to_vec(),
        };
        let uniform = t.random_uniform(key, &stream, &shape)?;
        let p = t.fill(&[], self.p)?;
        let dropped = t.greater(p, uniform)?;
        let scale = 1.0 / (1.0 - self.p);
        let kept = t.affine(dropped, -scale, scale)?;
        t.mul(x, kept)
    }

    fn onnx(&self, _: &mut dyn Graph, _: &str, x: String, _: [usize; 3]) -> Result<String> {
        Ok(x)
    }
}
