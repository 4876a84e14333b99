//! What is trained and how, as it was asked for.

use clap::{Args, Parser};

use crate::cli::presets::Preset;
use crate::error::{Error, Result};
use crate::models::{Design, Network};
use crate::objectives::Penalty;
use crate::train::{Method, Recipe};

use super::flags::{Networks, ObjectiveFlags, Pictures, RecipeFlags};

/// The flags that say what is trained and how.
#[derive(Debug, Args)]
pub(in crate::cli) struct Asked {
    #[command(flatten)]
    pub(in crate::cli) networks: Networks,
    #[command(flatten)]
    objective: ObjectiveFlags,
    #[command(flatten)]
    pub(in crate::cli) recipe: RecipeFlags,
}

/// The flags that a preset may set.
#[derive(Debug, Parser)]
pub(in crate::cli) struct Table {
    #[command(flatten)]
    pub(in crate::cli) asked: Asked,
    #[command(flatten)]
    pub(super) pictures: Pictures,
}

impl Table {
    /// Those of `preset`.
    pub(in crate::cli) fn of(preset: &Preset) -> Result<Self> {
        let words = std::iter::once("preset".to_owned()).chain(preset.words());
        Self::try_parse_from(words)
            .map_err(|error| Error::flag("--preset", format!("{}: {error}", preset.name)))
    }
}

/// `given`, else `default`; where a run is resumed, an error unless they agree.
pub(super) fn settle<T: PartialEq + std::fmt::Display>(
    resumed: bool,
    flag: &'static str,
    given: Option<T>,
    default: T,
) -> Result<T> {
    match given {
        Some(value) if resumed && value != default => Err(Error::flag(
            flag,
            format!(
                "{value} cannot be had in this run, which was started with {default}; leave the \
                 flag out, or start a new run without --resume"
            ),
        )),
        Some(value) => Ok(value),
        None => Ok(default),
    }
}

/// [`settle`] for what is on or off.
pub(super) fn switch(
    resumed: bool,
    flag: &'static str,
    given: Option<bool>,
    default: bool,
) -> Result<bool> {
    match given {
        Some(value) if resumed && value != default => {
            let how = if default { "with" } else { "without" };
            let what = format!(
                "the run was started {how} it; leave the flag out, or start a new run without \
                 --resume"
            );
            Err(Error::flag(flag, what))
        }
        given => Ok(given.unwrap_or(default)),
    }
}

/// A penalty's weight where none is given: WGAN-GP's, DRAGAN's and R1's.
const PENALTY_WEIGHT: f32 = 10.0;

impl Asked {
    /// With the values of `preset` for what was not typed.
    pub(in crate::cli) fn filled(self, preset: Self) -> Self {
        Self {
            networks: self.networks.filled(preset.networks),
            objective: self.objective.filled(preset.objective),
            recipe: self.recipe.filled(preset.recipe),
        }
    }

    /// Labels of each class, where training is semi-supervised.
    pub(in crate::cli) fn labels_per_class(&self, old: Option<&Recipe>) -> Result<u64> {
        let before = old.map_or(0, |old| old.labels_per_class);
        settle(old.is_some(), "--labels-per-class", self.networks.labels_per_class, before)
    }

    /// The networks: as typed, or as `old` says, or as is usual for their kind and what `usual` makes of
    /// that. `channels`: which flag asks for how many.
    pub(in crate::cli) fn design(
        &self,
        old: Option<&Design>,
        channels: (&'static str, Option<usize>),
        usual: impl FnOnce(Design) -> Design,
    ) -> Result<Design> {
        let networks = &self.networks;
        let is_old = old.is_some();
        let default = old.map_or(Network::Dcgan, |old| old.network);
        let network = settle(is_old, "--network", networks.network, default)?;
        let base = match old {
            Some(old) => *old,
            None => usual(Design::usual(network, networks.size)),
        };
        Ok(Design {
            size: settle(is_old, "--size", networks.size, base.size)?,
            channels: settle(is_old, channels.0, channels.1, base.channels)?,
            nz: settle(is_old, "--nz", networks.nz, base.nz)?,
            ngf: settle(is_old, "--ngf", networks.ngf, base.ngf)?,
            ndf: settle(is_old, "--ndf", networks.ndf, base.ndf)?,
            norm_g: settle(is_old, "--norm-g", networks.norm_g, base.norm_g)?,
            norm_d: settle(is_old, "--norm-d", networks.norm_d, base.norm_d)?,
            weight_g: settle(is_old, "--weight-g", networks.weight_g, base.weight_g)?,
            weight_d: settle(is_old, "--weight-d", networks.weight_d, base.weight_d)?,
            attention: settle(is_old, "--attention", networks.attention, base.attention)?,
            codes: settle(is_old, "--codes", networks.codes, base.codes)?,
            minibatch: settle(is_old, "--minibatch", networks.minibatch, base.minibatch)?,
            ..base
        })
    }

    /// How the networks are trained: as typed, or as `base` says.
    fn method(&self, is_old: bool, base: Method) -> Result<Method> {
        let (objective, recipe) = (&self.objective, &self.recipe);
        let penalty = settle(is_old, "--penalty", objective.penalty, base.penalty)?;
        let usual_weight = match (penalty, base.penalty) {
            (Penalty::None, _) => 0.0,
            (_, Penalty::None) => PENALTY_WEIGHT,
            _ => base.penalty_weight,
        };
        Ok(Method {
            loss: settle(is_old, "--loss", objective.loss, base.loss)?,
            smooth: settle(is_old, "--smooth", objective.smooth, base.smooth)?,
            feature_matching: switch(
                is_old,
                "--feature-matching",
                objective.feature_matching,
                base.feature_matching,
            )?,
            class_weight: settle(
                is_old,
                "--class-weight",
                objective.class_weight,
                base.class_weight,
            )?,
            info_weight: settle(is_old, "--info-weight", objective.info_weight, base.info_weight)?,
            penalty,
            penalty_weight: settle(
                is_old,
                "--penalty-weight",
                objective.penalty_weight,
                usual_weight,
            )?,
            augment: settle(is_old, "--augment", objective.augment, base.augment)?,
            augment_p: settle(is_old, "--augment-p", objective.augment_p, base.augment_p)?,
            ada: settle(is_old, "--ada", objective.ada, base.ada)?,
            clip_weights: settle(
                is_old,
                "--clip-weights",
                objective.clip_weights,
                base.clip_weights,
            )?,
            orthogonal: settle(is_old, "--orthogonal", objective.orthogonal, base.orthogonal)?,
            historical: settle(is_old, "--historical", objective.historical, base.historical)?,
            weight_decay: settle(
                is_old,
                "--weight-decay",
                objective.weight_decay,
                base.weight_decay,
            )?,
            clip_gradients: settle(
                is_old,
                "--clip-gradients",
                recipe.clip_gradients,
                base.clip_gradients,
            )?,
            n_critic: settle(is_old, "--n-critic", recipe.n_critic, base.n_critic)?,
            micro_batch: settle(is_old, "--micro-batch", recipe.micro_batch, base.micro_batch)?,
            optimizer: settle(is_old, "--optimizer", recipe.optimizer, base.optimizer)?,
            beta1: settle(is_old, "--beta1", recipe.beta1, base.beta1)?,
            beta2: settle(is_old, "--beta2", recipe.beta2, base.beta2)?,
            epsilon: settle(is_old, "--epsilon", recipe.epsilon, base.epsilon)?,
        })
    }

    /// The whole recipe of such networks: as typed, or as `old` says.
    pub(in crate::cli) fn recipe(&self, old: Option<&Recipe>, model: Design) -> Result<Recipe> {
        let recipe = &self.recipe;
        let is_old = old.is_some();
        let base = old.map_or_else(|| Recipe::new(model), Recipe::clone);
        Ok(Recipe {
            model,
            batch: settle(is_old, "--batch", recipe.batch, base.batch)?,
            seed: settle(is_old, "--seed", recipe.seed, base.seed)?,
            lr_d: settle(is_old, "--lr-d", recipe.lr_d, base.lr_d)?,
            lr_g: settle(is_old, "--lr-g", recipe.lr_g, base.lr_g)?,
            warm_up: settle(is_old, "--warm-up", recipe.warm_up, base.warm_up)?,
            decay: settle(is_old, "--decay", recipe.decay, base.decay)?,
            method: self.method(is_old, base.method)?,
            ema: settle(is_old, "--ema", recipe.ema, base.ema)?,
            labels_per_class: self.labels_per_class(old)?,
            ..base
        })
    }
}
