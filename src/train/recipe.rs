//! What decides the numbers of a training.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::gan::{Recording, System, families};
use crate::models::{Design, Networks};
use crate::program::Precision;
use crate::tape::Tape;

use super::method::Method;

/// Everything that decides the numbers of a training, but its pictures and the device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// The networks.
    pub model: Design,
    /// Pictures in a batch.
    pub batch: usize,
    /// Decides initial weights, latents, the order of pictures, flips and crops.
    pub seed: u64,
    /// The discriminator's learning rate.
    pub lr_d: f64,
    /// The generator's learning rate.
    pub lr_g: f64,
    /// Real pictures over which the learning rates rise from 0; 0 for none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub warm_up: u64,
    /// Real pictures over which the learning rates fall to 0, in a straight line from the start;
    /// 0 where they do not fall.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub decay: u64,
    /// How the networks are trained.
    #[serde(flatten)]
    pub method: Method,
    /// Half-life of the generator's moving average, in pictures; 0 for no average.
    pub ema: u64,
    /// Pictures of each class whose label is used, where training is semi-supervised; else 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub labels_per_class: u64,
    /// How a GPU keeps activations and their gradients.
    #[serde(default, skip_serializing_if = "is_f32")]
    pub precision: Precision,
    /// The names of the classes that the networks are told, by label; none where they are told
    /// none, or where classes are called by their numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<String>,
}

/// The most pictures of a step, and of a training: numbers up to here are whole in 64-bit floats.
const LARGEST: usize = 1 << 28;
const MOST_SEEN: u64 = 1 << 53;

fn is_f32(precision: &Precision) -> bool {
    *precision == Precision::F32
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl Recipe {
    /// The recipe of a network at default settings.
    #[must_use]
    pub fn new(model: Design) -> Self {
        let batch = model.network.batch();
        Self {
            model,
            batch,
            seed: 0,
            lr_d: 2e-4,
            lr_g: 2e-4,
            warm_up: 0,
            decay: 0,
            method: Method::default(),
            ema: 10_000,
            labels_per_class: 0,
            precision: Precision::F32,
            classes: Vec::new(),
        }
    }

    /// Real pictures that one step sees.
    #[must_use]
    pub fn step_pictures(&self) -> usize {
        self.batch * self.method.n_critic
    }

    /// Real pictures that so many steps see; none where they cannot be counted, so that something is
    /// wrong with these numbers.
    #[must_use]
    pub fn seen(&self, steps: u64) -> Option<u64> {
        let batch = self.batch.checked_mul(self.method.n_critic).filter(|&n| n <= LARGEST)?;
        steps.checked_mul(batch as u64).filter(|&n| n < MOST_SEEN)
    }

    /// Both networks in full, with the names of their classes.
    ///
    /// # Errors
    /// [`Error::Flag`] where the recipe makes no network, or names other classes than it has.
    pub fn networks(&self) -> Result<Networks> {
        let networks = self.model.networks()?;
        if self.classes.is_empty() {
            return Ok(networks);
        }
        if self.classes.len() != self.model.classes {
            let what = format!("{} classes have {} names", self.model.classes, self.classes.len());
            return Err(Error::flag("--conditional", what));
        }
        match self.model.is_conditional() {
            true => Ok(Networks { classes: self.classes.clone(), ..networks }),
            false => Ok(networks),
        }
    }

    /// The networks and the phases that train them.
    ///
    /// # Errors
    /// [`Error::Flag`] where the recipe makes no network, or parts of it do not go together.
    pub fn system(&self) -> Result<System> {
        families::gan::system(self, self.networks()?)
    }

    /// The first step as a tape.
    ///
    /// # Errors
    /// As [`Recipe::system`].
    pub fn tape(&self) -> Result<Tape> {
        self.system()?.tape(Recording::default())
    }
}
