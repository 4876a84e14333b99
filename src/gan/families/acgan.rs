//! AC-GAN (Odena, Olah and Shlens, arXiv 1610.09585): the discriminator also predicts the class of an
//! image, real or generated, and both networks minimize its cross-entropy.

use crate::error::Result;
use crate::objectives;
use crate::tape::{Tape, Var};

use super::gan::{Known, Output, Term, plus};

/// The cross-entropy of the predicted classes, in both losses.
#[derive(Clone, Copy, Debug)]
pub struct Classes {
    /// Its weight.
    pub weight: f32,
}

impl Term for Classes {
    fn add(&self, t: &mut Tape, loss: Var, output: &Output, known: &Known) -> Result<Var> {
        let (Some(classes), Some(labels)) = (output.classes, known.labels) else {
            return Ok(loss);
        };
        let entropy = objectives::cross_entropy(t, classes, labels)?;
        plus(t, loss, entropy, self.weight)
    }
}
