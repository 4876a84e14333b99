//! Raw or averaged weights: one rule for every command.

use super::names::averaged;

/// Which weights of a network are used.
///
/// The rule, for every network and every command alike: the moving average where the network has one,
/// unless raw weights are asked for. A training averages its generator, and its discriminator where that
/// is what the training is for, a semi-supervised classifier; a file has an average where it has its
/// tensors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Weights {
    /// The moving average (EMA) of the network, where there is one; else the raw weights.
    #[default]
    Averaged,
    /// The weights as the last update left them.
    Raw,
}

impl Weights {
    /// What a flag such as `--raw` asks for.
    #[must_use]
    pub const fn raw(raw: bool) -> Self {
        if raw { Self::Raw } else { Self::Averaged }
    }

    /// Those that are used where a network `has_average`, or has not.
    #[must_use]
    pub const fn of(self, has_average: bool) -> Self {
        if has_average { self } else { Self::Raw }
    }

    /// What such weights of a network, or of one of its tensors, are called: `generator` or
    /// `ema.generator`.
    #[must_use]
    pub fn name(self, network: &str) -> String {
        match self {
            Self::Averaged => averaged(network),
            Self::Raw => network.to_owned(),
        }
    }
}
