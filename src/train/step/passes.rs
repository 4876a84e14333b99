//! Passes through the two networks in a step, and what the discriminator says besides its score.

use crate::error::{Error, Result};
use crate::features;
use crate::models::Codes;
use crate::nn::{Layer, Mode, Pass};
use crate::objectives::{self, Output};
use crate::tape::{Tape, Var};

use super::{Fake, Step, Verdict};

/// Weight of the numbers among codes beside that of the category (Chen et al., appendix C.1: less, so
/// that both terms are of one size).
const NUMBERS_WEIGHT: f32 = 0.1;

impl Step<'_> {
    /// Whether D and G take their steps on the same generated pictures.
    pub(super) fn is_plain(&self) -> bool {
        let method = &self.options.method;
        method.n_critic == 1 && method.parts(self.options.batch).1 == 1
    }

    /// The name of a draw of D's update `k`, or of G's, for micro-batch `m`.
    pub(super) fn draw(&self, what: &str, k: Option<usize>, m: usize) -> String {
        match k {
            _ if self.is_plain() => what.into(),
            Some(k) => format!("{what}.{k}.{m}"),
            None => format!("{what}.g.{m}"),
        }
    }

    /// Rows of `all` that belong to micro-batch `m` of D's update `k`.
    pub(super) fn rows(&self, t: &mut Tape, all: Var, k: usize, m: usize) -> Result<Var> {
        if self.is_plain() {
            return Ok(all);
        }
        let (micro, parts) = self.options.method.parts(self.options.batch);
        let mut shape = t.shape(all).to_vec();
        let row: usize = shape[1..].iter().product();
        shape[0] = micro;
        let rows = t.range(all, (k * parts + m) * micro * row, micro * row)?;
        t.reshape(rows, &shape)
    }

    /// What a pass needs beside its input; `name` sets its random numbers apart.
    pub(super) fn pass<'n>(&self, name: &'n str, labels: Option<Var>) -> Pass<'n> {
        Pass::new(Mode::Train).labels(labels).random(self.draws.key(), name)
    }

    /// Generated pictures of the classes `labels`, from latents of this name.
    pub(super) fn fake(&self, t: &mut Tape, name: &str, labels: Option<Var>) -> Result<Fake> {
        let model = &self.options.model;
        let n = self.options.method.parts(self.options.batch).0;
        let law = model.network.latent_law();
        let z = self.draws.latents(t, name, law, &[n, model.nz])?;
        let z = t.reshape(z, &[n, 1, 1, model.nz])?;
        let outputs = self.generator.record(t, "generator", z, &self.pass(name, labels))?;
        let pictures = outputs.last();
        let is_codes = |layer: &Layer| matches!(layer, Layer::Codes(_));
        let codes = match self.generator.layers.iter().position(is_codes) {
            None => None,
            Some(at) => {
                let count = model.codes.len();
                let all = t.reshape(outputs.each()[at], &[n, model.nz])?;
                Some(t.slice(all, &[0, model.nz - count], &[n, count])?)
            }
        };
        Ok(Fake { pictures, codes })
    }

    /// What the discriminator, as it is by now, says of pictures of these classes, augmented. `name`
    /// sets the random numbers of this pass apart.
    pub(super) fn judge(
        &self,
        t: &mut Tape,
        name: &str,
        x: Var,
        labels: Option<Var>,
    ) -> Result<Verdict> {
        let pass = self.pass(name, labels);
        let mut uniform = |t: &mut Tape, what: &str, shape: &[usize]| {
            self.draws.uniform(t, &format!("{what}.{name}"), shape)
        };
        let (augment, pixels) = (self.options.method.augment, self.options.model.network.pixels());
        let x = match augment.is_none() {
            true => x,
            false => {
                // How bright, and what stands where nothing is, is meant for numbers in [−1, 1].
                let x = pixels.to_signed(t, x)?;
                let x = augment.record(t, x, self.augment_p, &mut uniform)?;
                pixels.of_signed(t, x)?
            }
        };
        let outputs = self.discriminator.record(t, "discriminator", x, &pass)?;
        let features = outputs.before(features::matched(&self.discriminator));
        let (n, heads) = (t.shape(x)[0], self.options.model.heads());
        let said = t.reshape(outputs.last(), &[n, 1 + heads])?;
        if heads == 0 {
            return Ok(Verdict { scores: said, classes: None, codes: None, features });
        }
        if self.options.model.is_semi_supervised() {
            let score = objectives::log_sum_exp(t, said)?;
            let scores = t.reshape(score, &[n, 1])?;
            return Ok(Verdict { scores, classes: Some(said), codes: None, features });
        }
        let scores = t.slice(said, &[0, 0], &[n, 1])?;
        let mut behind = Vec::new();
        let mut at = 1;
        let count = self.options.model.codes.len();
        for width in [heads - count, count] {
            behind.push(match width {
                0 => None,
                width => Some(t.slice(said, &[0, at], &[n, width])?),
            });
            at += width;
        }
        Ok(Verdict { scores, classes: behind[0], codes: behind[1], features })
    }

    /// Adds the cross-entropy of the classes that D says to `loss`, where it has to say them.
    pub(super) fn with_classes(
        &self,
        t: &mut Tape,
        loss: Var,
        verdict: Verdict,
        labels: Option<Var>,
    ) -> Result<Var> {
        let (Some(classes), Some(labels)) = (verdict.classes, labels) else { return Ok(loss) };
        let entropy = objectives::cross_entropy(t, classes, labels)?;
        let weighed = t.affine(entropy, self.options.method.class_weight, 0.0)?;
        t.add(loss, weighed)
    }

    /// Adds what D has not recognised of the codes of `fake` to `loss`, where there are codes: the
    /// cross-entropy of the category and a tenth of the mean squared error of the numbers.
    pub(super) fn with_codes(
        &self,
        t: &mut Tape,
        loss: Var,
        verdict: Verdict,
        fake: Fake,
    ) -> Result<Var> {
        let (Some(said), Some(codes)) = (verdict.codes, fake.codes) else { return Ok(loss) };
        let Codes { categories, numbers } = self.options.model.codes;
        let n = t.shape(said)[0];
        let mut loss = loss;
        let mut add = |t: &mut Tape, term: Var, weight: f32| {
            let weighed = t.affine(term, self.options.method.info_weight * weight, 0.0)?;
            loss = t.add(loss, weighed)?;
            Ok::<_, Error>(())
        };
        if categories > 0 {
            let part = |t: &mut Tape, x: Var| t.slice(x, &[0, 0], &[n, categories]);
            let (logits, category) = (part(t, said)?, part(t, codes)?);
            let entropy = objectives::cross_entropy(t, logits, category)?;
            add(t, entropy, 1.0)?;
        }
        if numbers > 0 {
            let part = |t: &mut Tape, x: Var| t.slice(x, &[0, categories], &[n, numbers]);
            let (said, is) = (part(t, said)?, part(t, codes)?);
            let off = t.sub(said, is)?;
            let square = t.mul(off, off)?;
            let mean = t.mean_all(square)?;
            add(t, mean, NUMBERS_WEIGHT)?;
        }
        Ok(loss)
    }

    /// The mean of the sigmoid of D's output, or of the output itself where it is a score.
    pub(super) fn mean_output(&self, t: &mut Tape, scores: Var) -> Result<Var> {
        let output = match self.options.method.loss.output() {
            Output::Probability => t.sigmoid(scores)?,
            Output::Score => scores,
        };
        t.mean_all(output)
    }
}
