//! The requested networks and training.

use std::collections::BTreeSet;

use clap::{Args, ValueEnum as _};

use crate::cli::presets::find;
use crate::config::Conflict;
use crate::error::{Error, Result};
use crate::model::{Networks as Description, Role};
use crate::models::{Architecture, ModelConfig, PartialModelConfig};
use crate::nn::Sequential;
use crate::train::{PartialTrainConfig, Preset};

/// The flags that configure the networks and the training.
#[derive(Debug, Args)]
pub(super) struct Asked {
    /// A configuration: fast, or a published one such as dcgan, paper, wgan-gp, sngan; other flags
    /// override it. dcgan presets lists them, dcgan presets NAME prints one; defaults below are those
    /// of dcgan [default: fast; dcgan with flags that choose networks, norms, weights, a loss or a
    /// penalty]
    #[arg(
        long, value_name = "NAME", value_parser = find, help_heading = "Networks", display_order = 0
    )]
    pub(super) preset: Option<&'static Preset>,
    #[command(flatten)]
    pub(super) config: PartialTrainConfig,
}

/// What a flag must agree with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bound {
    Free,
    /// The run being resumed.
    Run,
    /// The networks of `--from`.
    Model,
}

impl Bound {
    /// The error for a flag that is `set` to something else than what there is already.
    fn refusal(self, flag: &'static str, set: &str, has: &str) -> Error {
        let what = match (self, has) {
            (Self::Model, _) => format!(
                "{set} does not match the networks of --from, which have {has}; leave the flag \
                 out, or start with new networks, without --from"
            ),
            (_, "true" | "false") => format!(
                "the run was started {} it; leave the flag out, or start a new run without --resume",
                if has == "true" { "with" } else { "without" }
            ),
            _ => format!(
                "{set} does not match this run, which was started with {has}; leave the flag out, \
                 or start a new run without --resume"
            ),
        };
        Error::flag(flag, what)
    }

    /// Rejects flags that conflict.
    pub(super) fn check(self, conflict: Option<Conflict>) -> Result<()> {
        match conflict {
            Some(Conflict { field, set, has }) if self != Self::Free => {
                // An option without a flag cannot be set by one.
                Err(self.refusal(field.flag.unwrap_or(field.name), &set, &has))
            }
            _ => Ok(()),
        }
    }
}

/// `given`, else `default`; an error unless they agree, where the default is bound.
pub(super) fn resolve<T: PartialEq + std::fmt::Display>(
    bound: Bound,
    flag: &'static str,
    given: Option<T>,
    default: T,
) -> Result<T> {
    match given {
        Some(value) if bound != Bound::Free && value != default => {
            Err(bound.refusal(flag, &value.to_string(), &default.to_string()))
        }
        given => Ok(given.unwrap_or(default)),
    }
}

/// The configuration, with the typed values, of the networks that a file describes layer by layer;
/// `None` if no configuration builds them.
pub(super) fn like(typed: &PartialModelConfig, model: &Description) -> Option<ModelConfig> {
    // The file decides the channels.
    let typed = &PartialModelConfig { channels: None, ..typed.clone() };
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
    for &network in Architecture::value_variants() {
        if network.latent_distribution() != model.latent_distribution
            || network.pixels() != model.pixels
        {
            continue;
        }
        let usual = ModelConfig::usual(network, Some(model.size));
        let nz = if model.nz > 0 { model.nz } else { usual.nz };
        let usual = ModelConfig { channels: model.channels, nz, ..usual };
        for ngf in widths(generator, typed.ngf, usual.ngf) {
            for ndf in widths(discriminator, typed.ndf, usual.ndf) {
                let mut model_config = ModelConfig { ngf, ndf, ..usual };
                typed.apply(&mut model_config);
                let makes = |mine: Result<Sequential>, theirs: Option<&Sequential>| {
                    theirs.is_none_or(|theirs| mine.is_ok_and(|mine| mine == *theirs))
                };
                if makes(model_config.generator(), generator)
                    && makes(model_config.discriminator(), discriminator)
                {
                    return Some(model_config);
                }
            }
        }
    }
    None
}
