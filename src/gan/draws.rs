//! The source of a recorded step's random numbers.

use crate::error::Result;
use crate::models::LatentDistribution;
use crate::tape::{Tape, Var};
use crate::tensor::DType;

/// The source of a step's random numbers. Each draw has its own name in its step.
#[derive(Clone, Copy, Debug)]
pub enum Draws {
    /// The device's generator with this key: new numbers in every step.
    Device(Var),
    /// Feeds named after the draws, for comparisons with other programs.
    Fed,
}

impl Draws {
    /// The key of the device's generator, for layers that draw random numbers; `None` if draws are
    /// fed.
    #[must_use]
    pub fn key(self) -> Option<Var> {
        match self {
            Self::Device(key) => Some(key),
            Self::Fed => None,
        }
    }

    /// Uniform numbers in [0, 1) of `shape`.
    ///
    /// # Errors
    /// Errors of recording the ops.
    pub fn uniform(self, t: &mut Tape, name: &str, shape: &[usize]) -> Result<Var> {
        match self {
            Self::Device(key) => t.random_uniform(key, name, shape),
            Self::Fed => t.feed(name, shape, DType::F32),
        }
    }

    /// Latents of `shape`.
    ///
    /// # Errors
    /// Errors of recording the ops.
    pub fn latents(
        self,
        t: &mut Tape,
        name: &str,
        distribution: LatentDistribution,
        shape: &[usize],
    ) -> Result<Var> {
        match (self, distribution) {
            (Self::Fed, _) => t.feed(name, shape, DType::F32),
            (Self::Device(key), LatentDistribution::Normal) => t.random_normal(key, name, shape),
            (Self::Device(key), LatentDistribution::Uniform) => {
                let uniform = t.random_uniform(key, name, shape)?;
                t.affine(uniform, 2.0, -1.0)
            }
        }
    }
}
