//! What is trained and how, as it was asked for.

use std::collections::BTreeSet;

use clap::{Args, Parser, ValueEnum as _};

use crate::cli::presets::Preset;
use crate::error::{Error, Result};
use crate::model::{Networks as Description, Role};
use crate::models::{Design, Network};
use crate::nn::Sequential;
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

/// What a flag has to agree with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bound {
    Free,
    /// The run that is resumed.
    Run,
    /// The networks of `--from`.
    Model,
}

impl From<bool> for Bound {
    /// Whether a run is resumed.
    fn from(resumed: bool) -> Self {
        if resumed { Self::Run } else { Self::Free }
    }
}

/// `given`, else `default`; an error unless they agree, where the default is bound.
pub(super) fn settle<T: PartialEq + std::fmt::Display>(
    bound: impl Into<Bound>,
    flag: &'static str,
    given: Option<T>,
    default: T,
) -> Result<T> {
    match (given, bound.into()) {
        (Some(value), Bound::Run) if value != default => Err(Error::flag(
            flag,
            format!(
                "{value} cannot be had in this run, which was started with {default}; leave the \
                 flag out, or start a new run without --resume"
            ),
        )),
        (Some(value), Bound::Model) if value != default => Err(Error::flag(
            flag,
            format!(
                "{value} cannot be had with the networks of --from, which have {default}; leave the \
                 flag out, or start with new networks, without --from"
            ),
        )),
        (Some(value), _) => Ok(value),
        (None, _) => Ok(default),
    }
}

/// [`settle`] for fields of `$whole` that stand under the same names among flags.
macro_rules! settle_all {
    ($resumed:expr, $whole:ident; $($flag:literal $flags:ident.$field:ident),+ $(,)?) => {
        $($whole.$field = settle($resumed, $flag, $flags.$field, $whole.$field)?;)+
    };
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
        channels: (&'static str, Option<usize>),
        usual: impl FnOnce(Design) -> Design,
    ) -> Result<Design> {
        let network = self.networks.network.unwrap_or_default();
        self.agreed(Bound::Free, usual(Design::usual(network, self.networks.size)), channels)
    }

    /// `design` with what was typed, which has to agree with it where that is bound.
    pub(super) fn agreed(
        &self,
        bound: Bound,
        mut design: Design,
        channels: (&'static str, Option<usize>),
    ) -> Result<Design> {
        let networks = &self.networks;
        design.channels = settle(bound, channels.0, channels.1, design.channels)?;
        settle_all!(bound, design;
            "--network" networks.network,
            "--size" networks.size, "--nz" networks.nz, "--ngf" networks.ngf, "--ndf" networks.ndf,
            "--norm-g" networks.norm_g, "--norm-d" networks.norm_d,
            "--weight-g" networks.weight_g, "--weight-d" networks.weight_d,
            "--attention" networks.attention, "--codes" networks.codes,
            "--minibatch" networks.minibatch,
        );
        Ok(design)
    }

    /// The design that makes the networks which a file describes layer by layer, with what was typed;
    /// none where no design does.
    pub(super) fn like(&self, model: &Description) -> Option<Design> {
        let typed = &self.networks;
        let [generator, discriminator] =
            [Role::Generator, Role::Discriminator].map(|role| model.get(role));
        let widths = |network: Option<&Sequential>, typed: Option<usize>, usual| {
            let params = network.iter().flat_map(|network| network.params(""));
            let all: BTreeSet<usize> = params.flat_map(|param| param.shape).collect();
            match (typed, all.is_empty()) {
                (Some(width), _) => BTreeSet::from([width]),
                (None, true) => BTreeSet::from([usual]),
                (None, false) => all,
            }
        };
        for &network in Network::value_variants() {
            if network.latent_law() != model.latent_law || network.pixels() != model.pixels {
                continue;
            }
            let usual = Design::usual(network, Some(model.size));
            let nz = if model.nz > 0 { model.nz } else { usual.nz };
            let usual = Design { channels: model.channels, nz, ..usual };
            for ngf in widths(generator, typed.ngf, usual.ngf) {
                for ndf in widths(discriminator, typed.ndf, usual.ndf) {
                    let base = Design { ngf, ndf, ..usual };
                    let Ok(design) = self.agreed(Bound::Free, base, ("--channels", None)) else {
                        continue;
                    };
                    let makes = |mine: Result<Sequential>, theirs: Option<&Sequential>| {
                        theirs.is_none_or(|theirs| mine.is_ok_and(|mine| mine == *theirs))
                    };
                    if makes(design.generator(), generator)
                        && makes(design.discriminator(), discriminator)
                    {
                        return Some(design);
                    }
                }
            }
        }
        None
    }

    /// How the networks are trained: as typed, or as `method` says.
    fn method(&self, is_old: bool, mut method: Method) -> Result<Method> {
        let (objective, recipe) = (&self.objective, &self.recipe);
        let before = method.penalty;
        settle_all!(is_old, method; "--penalty" objective.penalty);
        method.penalty_weight = match (method.penalty, before) {
            (Penalty::None, _) => 0.0,
            (_, Penalty::None) => PENALTY_WEIGHT,
            _ => method.penalty_weight,
        };
        let (typed, before) = (objective.feature_matching, method.feature_matching);
        method.feature_matching = switch(is_old, "--feature-matching", typed, before)?;
        settle_all!(is_old, method;
            "--loss" objective.loss, "--smooth" objective.smooth,
            "--class-weight" objective.class_weight, "--info-weight" objective.info_weight,
            "--penalty-weight" objective.penalty_weight,
            "--augment" objective.augment, "--augment-p" objective.augment_p,
            "--ada" objective.ada, "--clip-weights" objective.clip_weights,
            "--orthogonal" objective.orthogonal, "--historical" objective.historical,
            "--weight-decay" objective.weight_decay,
            "--clip-gradients" recipe.clip_gradients, "--n-critic" recipe.n_critic,
            "--micro-batch" recipe.micro_batch, "--optimizer" recipe.optimizer,
            "--beta1" recipe.beta1, "--beta2" recipe.beta2, "--epsilon" recipe.epsilon,
        );
        Ok(method)
    }

    /// The whole recipe of such networks: as typed, or as `old` says.
    pub(in crate::cli) fn recipe(&self, old: Option<&Recipe>, model: Design) -> Result<Recipe> {
        let recipe = &self.recipe;
        let is_old = old.is_some();
        let mut whole = old.map_or_else(|| Recipe::new(model), Recipe::clone);
        whole.model = model;
        whole.method = self.method(is_old, whole.method)?;
        whole.labels_per_class = self.labels_per_class(old)?;
        settle_all!(is_old, whole;
            "--batch" recipe.batch, "--seed" recipe.seed,
            "--lr-d" recipe.lr_d, "--lr-g" recipe.lr_g,
            "--warm-up" recipe.warm_up, "--decay" recipe.decay, "--ema" recipe.ema,
        );
        Ok(whole)
    }
}
