//! Validates combinations of options, except those of the networks alone
//! ([`ModelConfig::validate`]).

use crate::error::{Error, Result};
use crate::models::progressive::GROUP;
use crate::models::{Architecture, Conditioning, Minibatch, ModelConfig, Norm};
use crate::nn::Sequential;
use crate::objectives::{Loss, Penalty};

use super::families;
use super::objective::{Family, OptimizerKind};
use super::{ObjectiveConfig, TrainConfig};

impl TrainConfig {
    /// Validates all options and their combination.
    ///
    /// # Errors
    /// [`Error::Config`] with a message explaining the conflict.
    pub fn validate(&self) -> Result<()> {
        self.check_bounds()?;
        let (model, few) = (&self.model, self.labels_per_class > 0);
        if few != model.is_semi_supervised() {
            let what = match few {
                true => {
                    "networks learn classes from few labels where the discriminator is a \
                         semi-supervised classifier: leave this or `conditioning` out"
                }
                false => "a semi-supervised discriminator needs some labels: give a number above 0",
            };
            return Err(Error::config("labels_per_class", what));
        }
        if !self.classes.is_empty() && self.classes.len() != model.classes {
            let what = format!("{} classes have {} names", model.classes, self.classes.len());
            return Err(Error::config("classes", what));
        }
        if self.decay == 0 && (self.decay_to > 0.0 || self.decay_power != 1.0) {
            let field = if self.decay_to > 0.0 { "decay_to" } else { "decay_power" };
            let what = "the learning rates do not fall: add `decay`, the images over which they do";
            return Err(Error::config(field, what));
        }
        let rises = self.momentum_rise > 0;
        if rises != (self.momentum_to > 0.0)
            || (rises && self.objective.optimizer != OptimizerKind::Sgd)
        {
            let what = "a momentum that rises takes `optimizer` sgd, `momentum_to`, its last value, and \
                        `momentum_rise`, the images over which it rises";
            return Err(Error::config(if rises { "momentum_rise" } else { "momentum_to" }, what));
        }
        stages(self)?;
        if self.text.width() != model.text {
            let what = format!(
                "the networks take vectors of {} numbers, and the encoder of texts makes some of {}",
                model.text,
                self.text.width()
            );
            return Err(Error::config("text", what));
        }
        step(model, &self.objective, self.batch)
    }
}

/// Refuses stages that the family does not have.
fn stages(config: &TrainConfig) -> Result<()> {
    let family = config.objective.family;
    let known: Vec<&str> = families::stages_of(config).map(|(name, _)| name).collect();
    let named =
        [("stage", config.stage.0.as_str())].into_iter().filter(|(_, name)| !name.is_empty());
    let listed = config.stage_images.iter().map(|(name, _)| ("stage_images", name));
    for (field, name) in named.chain(listed) {
        let what = match known.is_empty() {
            true => format!("the family {family} is trained in one stage: leave this out"),
            false => format!("there is no stage {name:?}; there are {}", known.join(", ")),
        };
        if !known.contains(&name) {
            return Err(Error::config(field, what));
        }
    }
    Ok(())
}

/// Validates the parts of a step: the networks and the training method, for batches of `batch`.
///
/// # Errors
/// See [`TrainConfig::validate`].
pub(super) fn step(model: &ModelConfig, objective: &ObjectiveConfig, batch: usize) -> Result<()> {
    model.validate()?;
    objective.check_bounds()?;
    loss_and_augmentation(objective)?;
    let micro = objective.micro_batch;
    if micro > batch || (micro > 1 && !batch.is_multiple_of(micro)) {
        let what = format!(
            "{micro} does not divide the batch of {batch} into equal parts of at least 2 images"
        );
        return Err(Error::config("micro_batch", what));
    }
    let together = if micro > 0 { micro } else { batch };
    if model.network == Architecture::Progressive
        && together > GROUP
        && !together.is_multiple_of(GROUP)
    {
        let field = if micro > 0 { "micro_batch" } else { "batch" };
        let what = format!(
            "{together} images are no multiple of {GROUP}, the groups that the minibatch deviation of \
             progressive networks compares"
        );
        return Err(Error::config(field, what));
    }
    if model.is_semi_supervised() && (objective.n_critic > 1 || micro > 0) {
        let what = "semi-supervised training has one update of each network on whole batches: leave \
                    `n_critic` and `micro_batch` out";
        return Err(Error::config("labels_per_class", what));
    }
    family(model, objective, together)?;
    // Whether there is batch norm depends on the architecture.
    penalty(objective.penalty, &model.discriminator()?)
}

/// Whether so many processes can train together.
///
/// # Errors
/// [`Error::Config`] naming the option.
pub(crate) fn ranks(config: &TrainConfig, ranks: usize) -> Result<()> {
    if ranks == 1 {
        return Ok(());
    }
    let objective = &config.objective;
    if !matches!(objective.family, Family::Gan | Family::Progressive) {
        let what = format!(
            "{} cannot be trained by several processes yet: choose gan or progressive, or start one \
             process",
            objective.family
        );
        return Err(Error::config("family", what));
    }
    if config.model.is_semi_supervised() {
        let what = "semi-supervised training takes whole batches: start one process";
        return Err(Error::config("labels_per_class", what));
    }
    let (micro, parts) = objective.parts(config.batch);
    if !parts.is_multiple_of(ranks) {
        let what = format!(
            "{parts} micro-batches of {micro} images cannot be shared out among {ranks} processes: their \
             number has to be a multiple of {ranks}"
        );
        return Err(Error::config("micro_batch", what));
    }
    Ok(())
}

/// Options that families other than the plain GAN do not support, for `together` images in a pass.
fn family(model: &ModelConfig, objective: &ObjectiveConfig, together: usize) -> Result<()> {
    let family = objective.family;
    if family.has_text() != (model.text > 0) {
        let what = match family.has_text() {
            true => "needs images with captions, from which it learns the words",
            false => {
                "only the families int-cls and stackgan condition networks on texts: choose one of them"
            }
        };
        return Err(Error::config("family", what));
    }
    if !family.has_text() && objective.mismatch != ObjectiveConfig::default().mismatch {
        let what = "is for images from texts: leave it out, or choose `family` int-cls or stackgan";
        return Err(Error::config("mismatch", what));
    }
    if model.text_augment == 0 && objective.kl_weight != ObjectiveConfig::default().kl_weight {
        let what = "there is no distribution of texts to weigh: add `text_augment` 128, say";
        return Err(Error::config("kl_weight", what));
    }
    if family != Family::StackGan && model.upscale != ModelConfig::default().upscale {
        let what = "is for the family stackgan: leave it out, or choose `family` stackgan";
        return Err(Error::config("upscale", what));
    }
    if family == Family::Progressive && model.network != Architecture::Progressive {
        let what = "the family progressive grows networks layer by layer: choose progressive";
        return Err(Error::config("network", what));
    }
    if family == Family::Lapgan && model.network != Architecture::Lapgan {
        let what = "the family lapgan has networks of its own for every size: choose lapgan";
        return Err(Error::config("network", what));
    }
    if family == Family::Lapgan && !together.is_multiple_of(2) {
        let field = if objective.micro_batch > 0 { "micro_batch" } else { "batch" };
        let what = format!(
            "the family lapgan generates from one half of {together} images and compares with the other: \
             give an even number"
        );
        return Err(Error::config(field, what));
    }
    let weight = ObjectiveConfig::default().normals_weight;
    if family != Family::SsGan && objective.normals_weight != weight {
        let what = "is for the family ss-gan: leave it out, or choose `family` ss-gan";
        return Err(Error::config("normals_weight", what));
    }
    if family == Family::SsGan && model.network != Architecture::SsGan {
        let what = "the family ss-gan has networks of its own: choose ss-gan";
        return Err(Error::config("network", what));
    }
    if [Family::Gan, Family::Progressive].contains(&family) {
        return Ok(());
    }
    let is_stacked = family == Family::Stacked;
    if is_stacked && (model.classes == 0 || model.conditioning != Conditioning::Concat) {
        let what = match model.classes {
            0 => {
                "the family stacked learns from classes: add `conditional` concat, with images that \
                  have some"
            }
            _ => {
                "the family stacked has its own way of learning classes: choose `conditional` concat"
            }
        };
        return Err(Error::config("conditional", what));
    }
    if is_stacked && [Norm::Virtual, Norm::Conditional].contains(&model.norm_g) {
        let what = "the generators of the family stacked take features, and no norm of latents or \
                    classes: choose another one";
        return Err(Error::config("norm_g", what));
    }
    let without = [
        ("conditioning", model.classes > 0 && !is_stacked && family != Family::Lapgan),
        ("codes", !model.codes.is_empty()),
        ("minibatch", model.minibatch != Minibatch::None),
        ("penalty", objective.penalty != Penalty::None),
        ("augment", !objective.augment.is_none()),
        ("feature_matching", objective.feature_matching),
        ("n_critic", objective.n_critic > 1),
        ("smooth", objective.smooth > 0.0),
        ("drift", objective.drift > 0.0),
    ];
    if let Some((field, _)) = without.into_iter().find(|(_, is_set)| *is_set) {
        let what =
            format!("the family {family} does not use it: leave this out, or `family` {family}");
        return Err(Error::config(field, what));
    }
    let loss = objective.loss;
    if [Family::VaeGan, Family::SsGan].contains(&family)
        && ![Loss::Saturating, Loss::NonSaturating].contains(&loss)
    {
        let what = format!("{family} needs probabilities: choose saturating or non-saturating");
        return Err(Error::config("loss", what));
    }
    if family == Family::Vae && (loss != Loss::default() || objective.clip_weights > 0.0) {
        let field = if objective.clip_weights > 0.0 { "clip_weights" } else { "loss" };
        let what =
            "the family vae has no discriminator: leave this out, or choose `family` vae-gan";
        return Err(Error::config(field, what));
    }
    if loss.is_relativistic() {
        let what = format!(
            "{loss} compares the scores of real and generated images, and the family {family} \
             compares others: choose non-saturating, say"
        );
        return Err(Error::config("loss", what));
    }
    Ok(())
}

/// Refuses a penalty if the discriminator's gradient at one image depends on the others.
pub(crate) fn penalty(penalty: Penalty, discriminator: &Sequential) -> Result<()> {
    if penalty != Penalty::None && discriminator.normalizes_by_batch() {
        let what = format!(
            "{penalty} is a penalty on the gradient at each image, and with batch norm in the \
             discriminator that gradient depends on the whole batch: choose another normalization \
             (`norm_d` none or layer)"
        );
        return Err(Error::config("penalty", what));
    }
    Ok(())
}

/// Losses, penalties and augmentation.
fn loss_and_augmentation(objective: &ObjectiveConfig) -> Result<()> {
    let &ObjectiveConfig { loss, penalty, penalty_weight, augment, augment_p, ada, .. } = objective;
    let fail = |field, what: &str| Err(Error::config(field, what));
    if objective.smooth > 0.0 && !loss.has_labels() {
        let what = format!(
            "only a cross-entropy has labels to smooth (`loss` non-saturating, saturating or \
             relativistic), and the loss is {loss}"
        );
        return fail("smooth", &what);
    }
    if penalty == Penalty::None && penalty_weight > 0.0 {
        return fail("penalty_weight", "there is no penalty to weigh: add `penalty` gp, say");
    }
    if penalty != Penalty::None && penalty_weight == 0.0 {
        return fail("penalty_weight", "0 disables the penalty: leave `penalty` out instead");
    }
    if augment.is_none() && (ada > 0.0 || augment_p < 1.0) {
        let field = if ada > 0.0 { "ada" } else { "augment_p" };
        let what = "no augmentation is selected: add `augment` color,translation,cutout, say";
        return fail(field, what);
    }
    if ada > 0.0 && loss.undecided().is_none() {
        let what = format!(
            "with `loss` {loss} no score marks an image as real: choose another loss, \
             or a fixed `augment_p`"
        );
        return fail("ada", &what);
    }
    if ada > 0.0 && augment_p < 1.0 {
        return fail("ada", "adapts the probability: leave `augment_p` out");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
