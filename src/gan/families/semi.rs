//! Semi-supervised GAN (Salimans et al., arXiv 1606.03498, section 5): the discriminator is a
//! classifier of `K` classes that learns from few labels. Its score is the log-sum-exp of its
//! logits: class `K + 1`, of generated images, has the logit 0.

use crate::error::Result;
use crate::gan::{Step, Update};
use crate::objectives;
use crate::tape::{Tape, Var};
use crate::tensor::DType;

use super::gan::{Gan, plus};

/// The feed of labeled images, as bytes `[batch, h, w, c]`; the feed `labels` holds their classes.
pub const LABELED: &str = "labelled";

/// The score `[n, 1]` of logits `[n, classes]`.
pub(super) fn score(t: &mut Tape, logits: Var) -> Result<Var> {
    let n = t.shape(logits)[0];
    let score = objectives::log_sum_exp(t, logits)?;
    t.reshape(score, &[n, 1])
}

/// Adds the cross-entropy of the classes of labeled images to the discriminator's update `d`, and
/// reports it as `loss_class`.
pub(super) fn supervise(
    t: &mut Tape,
    gan: &Gan,
    step: &Step<'_>,
    d: &mut Update,
    weight: f32,
) -> Result<()> {
    let (Some(labels), [h, w, c]) = (step.labels, step.phase.image) else { return Ok(()) };
    let images = t.feed(LABELED, &[step.phase.batch, h, w, c], DType::U8)?;
    let images = step.system.model.pixels.of_bytes(t, images)?;
    let output = gan.discriminate(t, step, "labelled", images, None)?;
    let Some(logits) = output.classes else { return Ok(()) };
    let nothing = t.fill(&[], 0.0)?;
    let entropy = objectives::cross_entropy(t, logits, labels)?;
    let loss = plus(t, nothing, entropy, weight)?;
    d.minimize(t, loss)?;
    d.report("loss_class", loss);
    Ok(())
}
