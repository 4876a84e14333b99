//! The distribution of latent vectors.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::rng::Stream;

/// The distribution of a latent vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum LatentDistribution {
    /// Standard normal.
    Normal,
    /// Uniform in [−1, 1].
    Uniform,
}

impl LatentDistribution {
    /// Fills `z` with values of this distribution, from the start of a stream.
    pub fn fill(self, stream: &Stream, z: &mut [f32]) {
        match self {
            Self::Normal => stream.fill_normal(z),
            Self::Uniform => {
                stream.fill_uniform(z);
                z.iter_mut().for_each(|x| *x = 2.0 * *x - 1.0);
            }
        }
    }
}

impl fmt::Display for LatentDistribution {
    /// As typed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Normal => "normal",
            Self::Uniform => "uniform",
        })
    }
}
