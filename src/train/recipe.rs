//! What decides the numbers of a training.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::models::{Design, Networks};
use crate::program::Precision;
use crate::tape::Tape;

use super::method::Method;
use super::step::{self, Schedule, StepOptions};

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

/// Share of the pictures seen so far that the average's half-life may not exceed: early on the
/// generator changes fast, and an average over its first noise would show for long (Karras et al.,
/// arXiv 2006.06676, appendix).
const EMA_RAMP: f64 = 0.05;

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

    /// What a step is made from.
    #[must_use]
    pub fn step_options(&self) -> StepOptions {
        StepOptions {
            model: self.model,
            batch: self.batch,
            method: self.method,
            average: self.ema > 0,
            feed_draws: false,
            fetch_gradients: false,
            scaled: self.precision == Precision::F16,
        }
    }

    /// The numbers of step `step`, from 1.
    pub(super) fn schedule(&self, step: u64) -> Schedule {
        let seen = (step * self.step_pictures() as u64) as f64;
        let factor = self.rate_factor(step);
        let half_life = (self.ema as f64).min(EMA_RAMP * seen).max(1e-8);
        let average = 1.0 - 0.5_f64.powf(self.step_pictures() as f64 / half_life);
        Schedule {
            discriminator: vec![(self.lr_d * factor) as f32; self.method.n_critic],
            generator: (self.lr_g * factor) as f32,
            average: average as f32,
        }
    }

    /// What both learning rates are multiplied by in step `step`, from 1.
    fn rate_factor(&self, step: u64) -> f64 {
        let before = ((step - 1) * self.step_pictures() as u64) as f64;
        let after = before + self.step_pictures() as f64;
        let rise = if self.warm_up == 0 { 1.0 } else { (after / self.warm_up as f64).min(1.0) };
        let fall = if self.decay == 0 { 1.0 } else { (1.0 - before / self.decay as f64).max(0.0) };
        rise * fall
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

    /// The step as a tape.
    ///
    /// # Errors
    /// [`Error::Flag`] where the recipe makes no network.
    pub fn tape(&self) -> Result<Tape> {
        let mut tape = Tape::new();
        step::record(&mut tape, &self.step_options())?;
        Ok(tape)
    }
}
