//! How the two networks are trained: loss, regularization, optimizer, and number of updates. All
//! parts can be combined unless [`TrainConfig::validate`](super::TrainConfig::validate) gives a reason.

use serde::{Deserialize, Serialize};

use crate::augment::{Adaptive, Augment};
use crate::config::Stored::Always;
use crate::config::{Domain, config, named};
use crate::objectives::{Loss, Penalty};
use crate::optim::{Adam, Optimizer, RmsProp, Sgd};

/// The optimizer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum OptimizerKind {
    /// See [`Adam`].
    #[default]
    Adam,
    /// See [`RmsProp`]; its decay is `beta2`.
    Rmsprop,
    /// See [`Sgd`]; its momentum is `beta1`, and may rise.
    Sgd,
}

named!(OptimizerKind);

/// The family of GANs: its networks, and the losses of their updates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// A generator and a discriminator.
    #[default]
    Gan,
    /// BiGAN: adds an encoder, and a discriminator of image-latent pairs.
    Bigan,
    /// ALI: the same with an encoder that outputs a normal distribution of latents.
    Ali,
    /// VAE: an encoder and a generator, which learn to reconstruct images; no discriminator.
    Vae,
    /// VAE/GAN: the same with a discriminator, whose features are used to compare images.
    VaeGan,
    /// Reg-GAN: adds an encoder, so that every real image pulls on the generator.
    Mrgan,
    /// Manifold-diffusion GAN: the same in two steps, with a second discriminator.
    Mdgan,
    /// Stacked GAN: a classifier's features from classes, and images from features, in stages.
    Stacked,
    /// Progressive growing: both networks grow from 4×4 pixels, size by size.
    Progressive,
    /// LAPGAN: a Laplacian pyramid, with a generator and a discriminator for each of its levels.
    Lapgan,
    /// GAN-INT-CLS: images from texts, with a discriminator that also sees real images with wrong
    /// texts.
    IntCls,
    /// StackGAN: the same in two stages, small images and then larger ones of them.
    #[serde(rename = "stackgan")]
    #[cfg_attr(feature = "cli", value(name = "stackgan"))]
    StackGan,
    /// SS-GAN: surface normals, and images of normals, in stages.
    SsGan,
}

named!(Family);

impl Family {
    /// Whether its images are made from texts, so that it learns from images with captions.
    #[must_use]
    pub const fn has_text(self) -> bool {
        matches!(self, Self::IntCls | Self::StackGan)
    }
}

config! {
    /// How the two networks are trained. 0 disables a part.
    #[derive(Clone, Copy, Debug, PartialEq)]
    pub struct ObjectiveConfig;
    /// [`ObjectiveConfig`] with optional fields.
    pub struct PartialObjectiveConfig stored Changed;
    flags "Objective" {
        /// Family of GANs: gan, bigan, ali, vae, vae-gan, mrgan, mdgan, stacked, progressive, lapgan,
        /// int-cls, stackgan, ss-gan.
        /// gan: a generator and a discriminator; bigan: also an encoder, and a discriminator of
        /// image-latent pairs; ali: the same with an encoder that outputs a distribution of
        /// latents; vae: an encoder and a generator that reconstruct images, without a
        /// discriminator; vae-gan: the same, compared by a discriminator's features; mrgan and
        /// mdgan: also an encoder that keeps the generator from missing modes, and for mdgan a
        /// second discriminator; stacked: a classifier, a generator of its features from classes and
        /// one of images from features, each with a discriminator, trained in stages; progressive:
        /// both networks grow from 4x4 pixels, size by size, in stages; lapgan: a Laplacian pyramid, where
        /// a generator and a discriminator for each size add what smaller images lack, in stages of any
        /// order; int-cls: images from texts, for images with captions; stackgan: the same in two stages,
        /// of small images and of larger ones made of them; ss-gan: surface normals, then images of normals, in
        /// stages, for images with normal maps
        family: Family = Family::Gan, "FAMILY";
        /// Adversarial loss: non-saturating, saturating, least-squares, hinge, wasserstein,
        /// relativistic, relativistic-least-squares, relativistic-hinge, kl, reverse-kl, pearson,
        /// hellinger, jensen-shannon
        loss: Loss = Loss::NonSaturating, "LOSS" { stored: Always };
        /// One-sided label smoothing: real images are labeled real with probability 1 - SHARE
        ///
        /// Salimans et al., arXiv 1606.03498, section 3.4.
        smooth: f32 = 0.0, "SHARE" { rare: true, stored: Always, domain: Domain::Fraction };
        /// Train the generator to match the mean of the discriminator's last hidden layer
        ///
        /// Over the batch, rather than to win against it (the same paper, section 3.1).
        feature_matching: bool = false, "true|false" { rare: true };
        /// Weight of the classification loss, with `conditioning`=auxiliary or `labels_per_class`
        ///
        /// Of the cross-entropy of classes in both losses, if the discriminator predicts them.
        class_weight: f32 = 1.0, "WEIGHT" { rare: true, domain: Domain::NonNegative };
        /// Weight of the information loss, with `codes`
        ///
        /// Of InfoGAN's lower bound of the information in the codes (continuous ones count a tenth
        /// of that), if there are codes.
        info_weight: f32 = 1.0, "WEIGHT" { rare: true, domain: Domain::NonNegative };
        /// With `family` vae-gan, the weight of the reconstruction in the generator's loss; the
        /// rest is the weight of the adversarial loss
        ///
        /// For a sum over the features of an image, as in the paper: for a mean over n features,
        /// divide their weight by n.
        gamma: f32 = 1e-6, "WEIGHT" { rare: true, domain: Domain::Share };
        /// For mode regularized GANs (`family` mrgan, mdgan): weight of the mean squared distance
        /// between real images and their reconstructions
        ///
        /// λ₁ of [`crate::gan::families::mrgan`].
        distance_weight: f32 = 0.2, "WEIGHT" { rare: true, domain: Domain::NonNegative };
        /// For the same: weight of the generator's adversarial loss on these reconstructions, which
        /// makes the discriminator accept them as real
        ///
        /// λ₂ of [`crate::gan::families::mrgan`].
        mode_weight: f32 = 0.4, "WEIGHT" { rare: true, domain: Domain::NonNegative };
        /// For a stacked GAN (`family` stacked): weight of the generators' losses of their conditions,
        /// the class that features have, and the features that images have
        condition_weight: f32 = 1.0, "WEIGHT" { rare: true, domain: Domain::NonNegative };
        /// For the same: weight of the generators' entropy losses, which make them use their noise
        ///
        /// Of the mean squared error of the noise that the discriminator predicts.
        entropy_weight: f32 = 10.0, "WEIGHT" { rare: true, domain: Domain::NonNegative };
        /// Weight of the mean square of the discriminator's outputs for real images, which keeps them
        /// from drifting away
        ///
        /// Karras et al., arXiv 1710.10196, appendix A.1.
        drift: f32 = 0.0, "WEIGHT" { rare: true, domain: Domain::NonNegative };
        /// For images from texts (`family` int-cls, stackgan), the share of real images with a wrong caption in the
        /// discriminator's loss of fake pairs; the rest is the share of generated images
        ///
        /// c of [`crate::gan::families::int_cls`]; 0 for a discriminator that sees none.
        mismatch: f32 = 0.5, "SHARE" { rare: true, domain: Domain::Fraction };
        /// With `text_augment`, weight of the divergence of a text's distribution from the standard
        /// normal one in the generator's loss
        ///
        /// Of its mean over dimensions, as in StackGAN's code.
        kl_weight: f32 = 2.0, "WEIGHT" { rare: true, domain: Domain::NonNegative };
        /// With `family` ss-gan, the weight of the loss that ties images to their normals: the
        /// cross-entropy of the normals that a classifier reads in them
        ///
        /// λ of [`crate::gan::families::ss_gan`]; 0 for images that a discriminator alone ties.
        normals_weight: f32 = 0.1, "WEIGHT" { rare: true, domain: Domain::NonNegative };
        /// Gradient penalty on the discriminator: gp (norm 1, between real and generated images),
        /// gp-one-sided, gp-zero, dragan, r1, r2
        penalty: Penalty = Penalty::None, "PENALTY";
        /// The penalty's weight
        ///
        /// λ of [`Penalty`].
        penalty_weight: f32 = 0.0, "WEIGHT" { rare: true,
            domain: Domain::NonNegative,
            shown: Some("10 with a penalty"),
        };
        /// For small data sets: randomly change real and generated images before the discriminator
        /// sees them (DiffAugment): color, brightness, saturation, contrast, translation, cutout,
        /// as a list
        augment: Augment = Augment::default(), "LIST";
        /// Probability of applying each augmentation to an image
        augment_p: f32 = 1.0, "P" { rare: true, domain: Domain::Share };
        /// Adapt that probability to the discriminator's confidence on real images (ADA): TARGET is
        /// the mean sign of its outputs, 0.6 in the paper; 0 disables it
        ///
        /// See [`Adaptive`].
        ada: f32 = 0.0, "TARGET" { rare: true, domain: Domain::Share };
        /// Limit the discriminator's weights to +-LIMIT after every update; 0 disables it
        ///
        /// WGAN, arXiv 1701.07875, algorithm 1.
        clip_weights: f32 = 0.0, "LIMIT" { rare: true, domain: Domain::NonNegative };
        /// Weight of orthogonal regularization of both networks' convolutions
        orthogonal: f32 = 0.0, "WEIGHT" { rare: true, domain: Domain::NonNegative };
        /// Weight of historical averaging: pulls both networks towards their past means
        historical: f32 = 0.0, "WEIGHT" { rare: true, domain: Domain::NonNegative };
        /// Weight decay: adds this multiple of every parameter to its gradient
        weight_decay: f32 = 0.0, "WEIGHT" { rare: true, domain: Domain::NonNegative };
    }
    flags "Training" {
        /// Optimizer
        optimizer: OptimizerKind = OptimizerKind::Adam, "adam|rmsprop|sgd" { rare: true };
        /// Adam's decay of the mean of gradients, or SGD's momentum, from 0 to below 1
        beta1: f64 = 0.5, "BETA" { rare: true, stored: Always, domain: Domain::Fraction };
        /// The decay of the mean of squared gradients, from 0 to below 1
        beta2: f64 = 0.999, "BETA" { rare: true, stored: Always, domain: Domain::Fraction };
        /// Added to the root of that mean: gradients far below it hardly move a parameter
        ///
        /// The default is PyTorch's.
        epsilon: f32 = 1e-8, "EPSILON" { rare: true, domain: Domain::Positive("1e-8") };
        /// Updates of the discriminator per generator update, each on its own batch
        n_critic: usize = 1, "N" { domain: Domain::Whole(1, MOST_CRITIC_STEPS) };
        /// For small memory: process N images of a batch at a time and accumulate gradients; batch
        /// norm sees N images at a time
        ///
        /// 0 for the whole batch.
        micro_batch: usize = 0, "N" { rare: true, domain: Domain::from(2), shown: Some("the whole batch") };
        /// Clip each network's gradient norm to LENGTH; 0 disables it
        ///
        /// The joint norm of all its parameters' gradients.
        clip_gradients: f32 = 0.0, "LENGTH" { rare: true, domain: Domain::NonNegative };
    }
}

/// The default weight of a penalty: WGAN-GP's, DRAGAN's and R1's.
const PENALTY_WEIGHT: f32 = 10.0;

impl PartialObjectiveConfig {
    /// A method with these options; unset ones get their defaults.
    #[must_use]
    pub fn objective(&self) -> ObjectiveConfig {
        let mut objective = ObjectiveConfig::default();
        if self.penalty.is_some_and(|penalty| penalty != Penalty::None) {
            objective.penalty_weight = PENALTY_WEIGHT;
        }
        self.apply(&mut objective);
        objective
    }
}

/// Discriminator steps per generator step are recorded in sequence: more than this is a mistake.
const MOST_CRITIC_STEPS: u64 = 100;

impl ObjectiveConfig {
    /// Whether gradients include terms of the weights themselves.
    pub(crate) fn has_terms_of_weights(&self) -> bool {
        self.historical > 0.0 || self.orthogonal > 0.0
    }

    /// The optimizer of both networks.
    #[must_use]
    pub fn optimizer(&self) -> Optimizer {
        match self.optimizer {
            OptimizerKind::Adam => {
                Optimizer::Adam(Adam { beta1: self.beta1, beta2: self.beta2, eps: self.epsilon })
            }
            OptimizerKind::Rmsprop => {
                Optimizer::RmsProp(RmsProp { decay: self.beta2, eps: self.epsilon })
            }
            OptimizerKind::Sgd => Optimizer::Sgd(Sgd { momentum: self.beta1 as f32 }),
        }
    }

    /// The controller of the augmentation's probability, if it is adaptive.
    #[must_use]
    pub fn adaptive(&self) -> Option<Adaptive> {
        (self.ada > 0.0).then(|| Adaptive { target: self.ada, ..Adaptive::default() })
    }

    /// Images that pass through the networks at a time, and how many such parts make a batch of
    /// `batch`.
    #[must_use]
    pub fn parts(&self, batch: usize) -> (usize, usize) {
        match self.micro_batch {
            0 => (batch, 1),
            micro => (micro, batch / micro),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn a_method_survives_its_file_and_old_files_are_read() {
        let objective = ObjectiveConfig {
            loss: Loss::ReverseKl,
            penalty: Penalty::GpOneSided,
            penalty_weight: 10.0,
            n_critic: 5,
            ..ObjectiveConfig::default()
        };
        let json = serde_json::to_string(&objective).unwrap();
        assert!(json.contains("\"reverse-kl\"") && json.contains("\"gp-one-sided\""), "{json}");
        assert_eq!(serde_json::from_str::<ObjectiveConfig>(&json).unwrap(), objective);
        let old = r#"{"beta1":0.5,"beta2":0.999,"smooth":0.1}"#;
        let read: ObjectiveConfig = serde_json::from_str(old).unwrap();
        assert_eq!(read, ObjectiveConfig { smooth: 0.1, ..ObjectiveConfig::default() });
        let plain = serde_json::to_string(&ObjectiveConfig::default()).unwrap();
        for usual in ["n_critic", "penalty", "epsilon"] {
            assert!(!plain.contains(usual), "{plain}");
        }
    }

    #[test]
    fn the_optimizer_has_the_numbers_of_the_method() {
        let objective =
            ObjectiveConfig { beta1: 0.1, beta2: 0.2, epsilon: 0.3, ..ObjectiveConfig::default() };
        let adam = Adam { beta1: 0.1, beta2: 0.2, eps: 0.3 };
        assert_eq!(objective.optimizer(), Optimizer::Adam(adam));
        let objective = ObjectiveConfig { optimizer: OptimizerKind::Rmsprop, ..objective };
        assert_eq!(objective.optimizer(), Optimizer::RmsProp(RmsProp { decay: 0.2, eps: 0.3 }));
        assert_eq!(
            serde_json::from_str::<ObjectiveConfig>(&serde_json::to_string(&objective).unwrap())
                .unwrap(),
            objective
        );
        let usual = Adam { beta1: 0.5, beta2: 0.999, eps: 1e-8 };
        assert_eq!(ObjectiveConfig::default().optimizer(), Optimizer::Adam(usual));
    }
}
