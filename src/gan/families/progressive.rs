//! Progressive growing (Karras, Aila, Laine and Lehtinen, arXiv 1710.10196): both networks begin with
//! images of 4×4 and grow, size by size, while they are trained.
//!
//! The stage of a size `s` above the first has two phases, each half of its images. While the new layers
//! fade in, their share `a` rises from 0 to 1, in the networks ([`crate::nn::Grow`],
//! [`crate::nn::Shrink`]) and in real images; then `a` is 1:
//!
//! ```text
//! x ← a x + (1 − a) up(down(x))     down: means of 2×2 pixels, up: nearest neighbor
//! ```
//!
//! Each phase begins with fresh states of the optimizer. A step is that of [`super::gan`] on the networks
//! of that size, and layers of larger sizes have the share 0, so that the model at any time generates
//! images of the whole size: those of the present one, enlarged.
//!
//! Where the authors' step differs: G is updated on the images of D's update, and batches have the same
//! number of images at every size.

use std::sync::Arc;

use crate::error::Result;
use crate::gan::scalar::{Curve, Scalar};
use crate::gan::{Edit, Phase, Recorder, Stage, Step, System, TrainConfig};
use crate::model::Networks;
use crate::model::names::averaged;
use crate::models::progressive::{grown, places};
use crate::nn::{Layer, Mode, Pass, SHARE, Sequential};
use crate::tape::{Tape, Var};

use super::gan::Gan;
use super::{DISCRIMINATOR, GENERATOR, single, stage_images};

/// The stages, by the side of their images, and their images by default.
pub(super) const STAGES: [(&str, u64); 9] = [
    ("4", 60_000),
    ("8", 120_000),
    ("16", 120_000),
    ("32", 120_000),
    ("64", 120_000),
    ("128", 240_000),
    ("256", 240_000),
    ("512", 240_000),
    ("1024", 240_000),
];

/// The scalar of the share of the newest layers.
const FADE: &str = "share";

/// The system of networks that can grow.
///
/// # Errors
/// [`crate::error::Error::Config`] if they cannot.
pub fn system(config: &TrainConfig, model: Networks) -> Result<System> {
    let levels = places(model.generator()?).len();
    let mut stages = Vec::new();
    let mut before: Option<&str> = None;
    for (level, (name, _)) in STAGES.iter().enumerate().take(levels + 1) {
        let networks = Arc::new(grown(&model, level)?);
        let gan = Arc::new(Gan::new(config, &networks)?);
        let images = stage_images(config, name).unwrap_or(0);
        let halves = match level {
            0 => vec![("stable", images)],
            _ => vec![("fade", images / 2), ("stable", images - images / 2)],
        };
        let phases = halves.into_iter().map(|(what, images)| {
            let fades = what == "fade";
            let shares = Shares { level, fades };
            let gan = Arc::clone(&gan);
            let mut phase = Phase {
                name: format!("{name} {what}"),
                images: Some(images.max(1)),
                enter: [GENERATOR, DISCRIMINATOR]
                    .map(|network| Edit::ResetOptimizer(network.into()))
                    .into(),
                record: Recorder::new(move |t, step| {
                    shares.record(t, step)?;
                    gan.record(t, step)
                }),
                networks: Some(Arc::clone(&networks)),
                ..single(config, &networks)
            };
            if fades {
                phase.scalars.push(Scalar::new(FADE, Curve::Line { from: 0.0, to: 1.0, images }));
            }
            phase
        });
        let stage = Stage::new(name, phases.collect());
        stages.push(match before {
            Some(before) => stage.after(&[before]),
            None => stage,
        });
        before = Some(name);
    }
    let averaged = vec![GENERATOR.into()];
    Ok(System { averaged, stages, ..System::new(config, model) })
}

/// How far the networks have grown.
#[derive(Clone, Copy, Debug)]
struct Shares {
    level: usize,
    /// Whether the newest layers fade in.
    fades: bool,
}

impl Shares {
    /// Sets the shares of all layers, and blends the real images.
    fn record(self, t: &mut Tape, step: &mut Step<'_>) -> Result<()> {
        let newest = match self.fades {
            true => step.scalar(FADE)?,
            false => t.fill(&[], 1.0)?,
        };
        let (none, whole) = (t.fill(&[], 0.0)?, t.fill(&[], 1.0)?);
        let whole_model = &step.whole.model;
        for network in [GENERATOR, DISCRIMINATOR] {
            let layers = &whole_model.by_name[network].network;
            for (i, place) in places(layers).into_iter().enumerate() {
                let share = match (i + 1).cmp(&self.level) {
                    std::cmp::Ordering::Less => whole,
                    std::cmp::Ordering::Equal => newest,
                    std::cmp::Ordering::Greater => none,
                };
                let name = format!("{network}.main.{place}.{SHARE}");
                t.assign(&name, share)?;
                // The averages of present layers follow by themselves.
                if network == GENERATOR && i + 1 > self.level && step.whole.average {
                    t.assign(&averaged(&name), share)?;
                }
            }
        }
        if self.fades {
            step.report(t, FADE, newest);
            step.images = blended(t, step.images, newest)?;
        }
        Ok(())
    }
}

/// `share x + (1 − share) up(down(x))`.
fn blended(t: &mut Tape, x: Var, share: Var) -> Result<Var> {
    let coarse = Sequential { layers: vec![Layer::AveragePool, Layer::Upsample] };
    let coarse = coarse.record(t, "coarse", x, &Pass::new(Mode::Eval))?.last();
    let rest = t.affine(share, -1.0, 1.0)?;
    let (x, coarse) = (t.mul(x, share)?, t.mul(coarse, rest)?);
    t.add(x, coarse)
}
