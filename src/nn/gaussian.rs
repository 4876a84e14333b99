//! A draw from a normal distribution that the layer before it outputs.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::tape::{Tape, Var};

use super::onnx::{Graph, Side};
use super::pass::Walk;
use super::rule::LayerRule;
use super::size::{Around, Misfit};
use super::{BatchDependence, Heads, LayerRole, Reach};

/// For `x` `[n, 1, 1, 2d]`, means `μ` and log standard deviations `s`, and the side input of normal
/// numbers `ε` `[n, 1, 1, d]`, the output is `μ + eˢ ε` `[n, 1, 1, d]`. With the texts' vectors in front
/// it is the conditioning augmentation of StackGAN (Zhang et al., arXiv 1612.03242, section 3.2).
///
/// The numbers are part of the latent, so that an image depends on nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gaussian {
    /// The name of the side input of normal numbers.
    pub noise: String,
}

/// The two halves of its input.
fn halves(d: usize) -> Heads {
    Heads::new([("mean", d), ("log_std", d)])
}

/// The mean over batch and dimensions of the divergence of distributions `x` `[n, 1, 1, 2d]` from the
/// standard normal one, `½ (μ² + e²ˢ − 1) − s`.
///
/// # Errors
/// [`crate::error::Error::Shape`] if there is an odd number of channels.
pub fn divergence(t: &mut Tape, x: Var) -> Result<Var> {
    let d = t.shape(x).last().map_or(0, |width| width / 2);
    let [mean, log_std] = split(t, x, d)?;
    let twice = t.affine(log_std, 2.0, 0.0)?;
    let variance = t.exp(twice)?;
    let square = t.mul(mean, mean)?;
    let sum = t.add(square, variance)?;
    let half = t.affine(sum, 0.5, -0.5)?;
    let each = t.sub(half, log_std)?;
    t.mean_all(each)
}

/// The means and log standard deviations `[n, d]` of `x` `[n, 1, 1, 2d]`.
fn split(t: &mut Tape, x: Var, d: usize) -> Result<[Var; 2]> {
    let heads = halves(d);
    let parts = heads.split(t, x)?;
    Ok([parts[0].1, parts[1].1])
}

impl LayerRule for Gaussian {
    fn kind(&self) -> &'static str {
        "a draw from a normal distribution"
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

    fn size(&self, [h, w, c]: [usize; 3], around: &mut Around<'_>) -> Result<[usize; 3], Misfit> {
        let side = around.side(&self.noise)?;
        if [h, w] != [1, 1] || side[..2] != [1, 1] || side[2].checked_mul(2) != Some(c) {
            let what = format!(
                "draws from the distributions {:?} (height, width, channels) with noise {side:?}; it \
                 needs one pixel with two channels for each of the noise",
                [h, w, c]
            );
            return Err(what.into());
        }
        Ok(side)
    }

    fn record(&self, t: &mut Tape, scope: &str, x: Var, walk: &mut Walk<'_>) -> Result<Var> {
        let noise = walk.side(t, scope, &self.noise)?;
        let shape = t.shape(noise);
        let (n, d) = (shape[0], shape.last().copied().unwrap_or(0));
        let noise = t.reshape(noise, &[n, d])?;
        let [mean, log_std] = split(t, x, d)?;
        let std = t.exp(log_std)?;
        let spread = t.mul(std, noise)?;
        let drawn = t.add(mean, spread)?;
        t.reshape(drawn, &[n, 1, 1, d])
    }

    fn onnx(&self, graph: &mut dyn Graph, scope: &str, x: String, _: [usize; 3]) -> Result<String> {
        let side = graph.sides().iter().find(|side| side.name == self.noise).cloned();
        let Side { value, size, .. } = side.ok_or_else(|| Error::Tensor {
            name: scope.into(),
            what: format!("draws with {}, which only a whole model's graph has", self.noise),
        })?;
        let d = size[2];
        let [mean, log_std] = [0, d].map(|first| graph.channels(&x, first, d));
        let std = graph.unary("Exp", log_std);
        let spread = graph.node("Mul", &[std, value], &[]);
        Ok(graph.node("Add", &[mean, spread], &[]))
    }

    fn side_input(&self) -> Option<&str> {
        Some(&self.noise)
    }
}
