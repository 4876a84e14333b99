//! An untied bias: one value per channel and pixel (the last layer of ALI's generator, Dumoulin et
//! al., arXiv 1606.00704).
//!
//! Before a sigmoid it can be initialized so that a generator without weights would draw the mean
//! of the real images, as in the authors' `get_log_odds`: with `p` the mean of a pixel value,
//! clipped to [10⁻⁷, 1 − 10⁻⁷],
//!
//! ```text
//! bias ← ln (p / (1 − p))
//! ```

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::tape::{Tape, Var};
use crate::tensor::{DType, Tensor};

use super::onnx::Graph;
use super::param::{Owned, ZERO};
use super::pass::{IMAGES, Walk};
use super::rule::LayerRule;
use super::size::{Around, Misfit, takes};
use super::{BatchDependence, LayerRole, Layout, Reach};

/// The clipping margin of the pixel means.
const CLIP: f32 = 1e-7;

/// `y = x + bias`, with the parameter `bias` `[h, w, c]`, `[c, h, w]` in files.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PixelBias {
    /// Height, width and channels.
    pub size: [usize; 3],
    /// Whether it is initialized to the log-odds of the mean of real images with pixels from 0 to
    /// 1; else to 0.
    #[serde(default, skip_serializing_if = "is_not")]
    pub log_odds: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
const fn is_not(yes: &bool) -> bool {
    !*yes
}

/// The log-odds of the means over `images` `[n, h, w, c]`: `[h, w, c]`.
fn log_odds(t: &mut Tape, images: Var) -> Result<Var> {
    let mean = t.mean(images, &[0])?;
    let p = t.clamp(mean, CLIP, 1.0 - CLIP)?;
    let rest = t.affine(p, -1.0, 1.0)?;
    let odds = t.div(p, rest)?;
    t.log(odds)
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
        owned.learned("bias", (self.size.to_vec(), Layout::Image), ZERO);
    }

    fn record(&self, t: &mut Tape, scope: &str, x: Var, walk: &mut Walk<'_>) -> Result<Var> {
        let name = format!("{scope}.bias");
        let bias = match walk.is_starting() && self.log_odds {
            true => {
                let images = walk.side(t, scope, IMAGES)?;
                let bias = log_odds(t, images)?;
                let bias = t.reshape(bias, &self.size)?;
                t.assign(&name, bias)?;
                bias
            }
            false => t.read(&name, &self.size, DType::F32)?,
        };
        t.add(x, bias)
    }

    fn starts_on_images(&self) -> bool {
        self.log_odds
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
