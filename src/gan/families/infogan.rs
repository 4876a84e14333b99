//! InfoGAN (Chen et al., arXiv 1606.03657): the last entries of a latent are codes, which the
//! discriminator predicts from generated images; both networks raise the lower bound of the
//! information that images contain about their codes.

use crate::error::Result;
use crate::models::Codes;
use crate::objectives;
use crate::tape::{Tape, Var};

use super::gan::{Known, Output, Term, plus};

/// Weight of the continuous codes relative to the category (Chen et al., appendix C.1: less, so
/// that both terms are of similar size).
const CONTINUOUS_WEIGHT: f32 = 0.1;

/// The prediction loss of the codes of generated images, in both networks' losses: the
/// cross-entropy of the category, and a tenth of the mean squared error of the continuous codes.
#[derive(Clone, Copy, Debug)]
pub struct Information {
    /// The codes.
    pub codes: Codes,
    /// Its weight.
    pub weight: f32,
}

impl Term for Information {
    fn add(&self, t: &mut Tape, loss: Var, output: &Output, known: &Known) -> Result<Var> {
        let (Some(predicted), Some(codes)) = (output.codes, known.codes) else { return Ok(loss) };
        let Codes { categories, numbers } = self.codes;
        let n = t.shape(predicted)[0];
        let mut loss = loss;
        if categories > 0 {
            let part = |t: &mut Tape, x: Var| t.slice(x, &[0, 0], &[n, categories]);
            let (logits, category) = (part(t, predicted)?, part(t, codes)?);
            let entropy = objectives::cross_entropy(t, logits, category)?;
            loss = plus(t, loss, entropy, self.weight)?;
        }
        if numbers > 0 {
            let part = |t: &mut Tape, x: Var| t.slice(x, &[0, categories], &[n, numbers]);
            let (predicted, codes) = (part(t, predicted)?, part(t, codes)?);
            let error = t.sub(predicted, codes)?;
            let square = t.mul(error, error)?;
            let mean = t.mean_all(square)?;
            loss = plus(t, loss, mean, self.weight * CONTINUOUS_WEIGHT)?;
        }
        Ok(loss)
    }
}
