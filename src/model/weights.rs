//! Raw or averaged weights: one rule for every command.

use super::names::averaged;

/// Which weights of a network are used.
///
/// The rule for every network and command: the moving average (EMA) if the network has one, unless
/// raw weights are requested. A training averages its generator, and its discriminator if that is
/// the goal, as for a semi-supervised classifier; a file has an EMA if it contains its tensors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Weights {
    /// The moving average (EMA) of the network, if there is one; else the raw weights.
    #[default]
    Averaged,
    /// The weights after the last update.
    Raw,
}

impl Weights {
    /// The weights requested by a flag such as `--raw`.
    #[must_use]
    pub const fn raw(raw: bool) -> Self {
        if raw { Self::Raw } else { Self::Averaged }
    }

    /// The weights used for a network that `has_average`, or not.
    #[must_use]
    pub const fn of(self, has_average: bool) -> Self {
        if has_average { self } else { Self::Raw }
    }

    /// The name of such weights of a network, or of one of its tensors: `generator` or
    /// `ema.generator`.
    #[must_use]
    pub fn name(self, network: &str) -> String {
        match self {
            Self::Averaged => averaged(network),
            Self::Raw => network.to_owned(),
        }
    }
}
