//! The GAN of a generator and a discriminator (Goodfellow et al., arXiv 1406.2661), with the losses
//! of later work: `n_critic` updates of D, each on a batch of real images and one of generated
//! ones, then one of G.
//!
//! ```text
//! D: real, fake, penalty, what else it predicts (class, codes), labeled images
//! G: adversarial or feature matching, what else D predicts (class, codes)
//! ```
//!
//! The order of a plain step is that of PyTorch's example: D's losses on real and on generated
//! images, each batch normalized separately; D's update; G's loss by the updated D on the same
//! images; G's update. The halves of D's gradient are computed in sequence, so that only one set of
//! D's activations is alive at a time; a relativistic loss needs both at once. With several updates
//! of D or with micro-batches G's update generates new images: keeping those of D's would mean
//! keeping all activations on the way to them.
//!
//! Generated images have the classes of the real ones in the batch, as in the authors' MNIST code:
//! both halves of a batch then have the same classes, with the frequencies of the data.
//!
//! Vectors of spectral norms take one step of the power method before each update of a network that
//! has them, D's also before G's update: all passes in between share one norm.
//!
//! Random draws, fed if requested: `z` (and `mix`, `near` for penalties) of a plain step; else
//! `z.<k>.<m>` of D's update `k` and micro-batch `m`, and `z.g.<m>` of G's.

use std::fmt::Debug;

use crate::error::Result;
use crate::features;
use crate::gan::{ObjectiveConfig, Step, System, TrainConfig, validate};
use crate::model::{Networks, Role};
use crate::nn::{Heads, LATENT, Layer};
use crate::tape::{Tape, Var};

use super::acgan::Classes;
use super::infogan::Information;
use super::{DISCRIMINATOR, GENERATOR, one_phase, semi};

/// An auxiliary loss on D's outputs for images; D and G both minimize it.
pub trait Term: Debug + Send + Sync {
    /// Returns `loss` with this term added, or unchanged if there is no target.
    ///
    /// # Errors
    /// Errors of recording the ops.
    fn add(&self, t: &mut Tape, loss: Var, output: &Output, known: &Known) -> Result<Var>;
}

/// `loss + weight · term`.
pub(super) fn plus(t: &mut Tape, loss: Var, term: Var, weight: f32) -> Result<Var> {
    let weighted = t.affine(term, weight, 0.0)?;
    t.add(loss, weighted)
}

/// Known properties of images that D sees.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known {
    /// Their labels `[n, classes]`.
    pub labels: Option<Var>,
    /// The codes that they were generated from `[n, codes]`.
    pub codes: Option<Var>,
}

/// D's outputs for images.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    /// Logits or scores `[n, 1]`.
    pub scores: Var,
    /// Class logits `[n, classes]`, if predicted.
    pub classes: Option<Var>,
    /// Predicted codes `[n, codes]`, if predicted.
    pub codes: Option<Var>,
    /// The input of its last layer with weights.
    pub features: Var,
}

/// Real and generated images of a micro-batch.
#[derive(Clone, Copy)]
struct Part {
    real: Var,
    fake: Fake,
    labels: Option<Var>,
}

/// Generated images, and the codes `[n, codes]` that they were generated from, if any.
#[derive(Clone, Copy)]
struct Fake {
    images: Var,
    codes: Option<Var>,
}

/// A GAN's step.
#[derive(Debug)]
pub struct Gan {
    objective: ObjectiveConfig,
    /// D's outputs.
    heads: Heads,
    /// Number of codes.
    codes: usize,
    terms: Vec<Box<dyn Term>>,
}

/// The system of a GAN of two networks, trained as configured by `config`, with the networks of
/// `model`: those of the configuration, or others with the same inputs and outputs.
///
/// # Errors
/// [`crate::error::Error::Config`] if the configuration is invalid; [`crate::error::Error::Tensor`] if the model lacks one of
/// the networks.
pub fn system(config: &TrainConfig, model: Networks) -> Result<System> {
    let averaged = match config.model.is_semi_supervised() {
        true => &[Role::Generator, Role::Discriminator][..],
        false => &[Role::Generator],
    };
    let gan = Gan::new(config, &model)?;
    one_phase("gan", config, model, averaged, move |t, step| gan.record(t, step))
}

impl Gan {
    /// How `config` trains the networks of `model`.
    ///
    /// # Errors
    /// See [`system`].
    pub(super) fn new(config: &TrainConfig, model: &Networks) -> Result<Self> {
        let objective = config.objective;
        validate::penalty(objective.penalty, model.discriminator()?)?;
        let (heads, codes) = (config.model.outputs(), config.model.codes);
        let mut terms: Vec<Box<dyn Term>> = Vec::new();
        if heads.range("classes").is_some() {
            terms.push(Box::new(Classes { weight: objective.class_weight }));
        }
        if heads.range("codes").is_some() {
            terms.push(Box::new(Information { codes, weight: objective.info_weight }));
        }
        Ok(Self { objective, heads, codes: codes.len(), terms })
    }

    /// Fetches besides the metrics `loss_real` and `loss_fake`, the halves of `loss_d`. Metrics of
    /// D are those of its last update in the step.
    pub(super) fn record(&self, t: &mut Tape, step: &mut Step<'_>) -> Result<()> {
        let mut seen = Vec::new();
        for k in 0..self.objective.n_critic {
            seen = self.update_discriminator(t, step, k)?;
        }
        self.update_generator(t, step, &seen)
    }

    /// D's update `k`; returns its images.
    fn update_discriminator(
        &self,
        t: &mut Tape,
        step: &mut Step<'_>,
        k: usize,
    ) -> Result<Vec<Part>> {
        let ObjectiveConfig { loss, smooth, penalty, penalty_weight, .. } = self.objective;
        let (micro, parts) = step.parts();
        // Once for all passes until the update, as if they were one batch.
        step.power_iteration(t, DISCRIMINATOR)?;
        step.power_iteration(t, GENERATOR)?;
        let mut d = step.update(t, DISCRIMINATOR, "lr_d")?;
        let conditioned = step.labels.filter(|_| !self.is_semi());
        let mut seen = Vec::with_capacity(parts);
        for m in step.micro_batches() {
            let real = step.rows(t, step.images, k, m)?;
            let labels = conditioned.map(|labels| step.rows(t, labels, k, m)).transpose()?;
            let fake = self.generate(t, step, &draw(step, "z", Some(k), m), micro, labels)?;
            let (of_real, of_fake) =
                (Known { labels, codes: None }, Known { labels, codes: fake.codes });

            let name = |what: &str| draw(step, what, Some(k), m);
            let on_real = self.discriminate(t, step, &name("real"), real, labels)?;
            let (on_fake, loss_real, loss_fake) = if loss.is_relativistic() {
                let on_fake = self.discriminate(t, step, &name("fake"), fake.images, labels)?;
                let above = loss.relative(t, on_real.scores, on_fake.scores)?;
                let below = loss.relative(t, on_fake.scores, on_real.scores)?;
                let (of_reals, of_fakes) = (loss.real(t, above, smooth)?, loss.fake(t, below)?);
                let both = t.add(of_reals, of_fakes)?;
                let both = self.with_terms(t, both, &on_real, &of_real)?;
                let both = self.with_terms(t, both, &on_fake, &of_fake)?;
                d.minimize(t, both)?;
                (on_fake, of_reals, of_fakes)
            } else {
                let of_reals = loss.real(t, on_real.scores, smooth)?;
                let all = self.with_terms(t, of_reals, &on_real, &of_real)?;
                d.minimize(t, all)?;
                let on_fake = self.discriminate(t, step, &name("fake"), fake.images, labels)?;
                let of_fakes = loss.fake(t, on_fake.scores)?;
                let all = self.with_terms(t, of_fakes, &on_fake, &of_fake)?;
                d.minimize(t, all)?;
                (on_fake, of_reals, of_fakes)
            };
            let mut uniform = |t: &mut Tape, what: &str, shape: &[usize]| {
                step.draws.uniform(t, &name(what), shape)
            };
            let mut scores = |t: &mut Tape, x| {
                Ok(self.discriminate(t, step, &name("penalty"), x, labels)?.scores)
            };
            let images = [real, fake.images];
            let penalized = penalty.record(t, penalty_weight, images, &mut uniform, &mut scores)?;
            let mut loss_d = t.add(loss_real, loss_fake)?;
            if let Some(penalized) = penalized {
                d.minimize(t, penalized.loss)?;
                loss_d = t.add(loss_d, penalized.loss)?;
                d.report("penalty", penalized.loss);
                d.report("slope", penalized.slope);
            }
            if self.objective.drift > 0.0 {
                let square = t.mul(on_real.scores, on_real.scores)?;
                let drift = t.mean_all(square)?;
                let drift = t.affine(drift, self.objective.drift, 0.0)?;
                d.minimize(t, drift)?;
                loss_d = t.add(loss_d, drift)?;
                d.report("drift", drift);
            }
            if let (Some(adaptive), Some(undecided)) = (self.objective.adaptive(), loss.undecided())
            {
                adaptive.follow(t, on_real.scores, undecided)?;
            }
            d.report("loss_d", loss_d);
            d.detail("loss_real", loss_real);
            d.detail("loss_fake", loss_fake);
            d.report("d_real", self.objective.loss.mean_output(t, on_real.scores)?);
            d.report("d_fake", self.objective.loss.mean_output(t, on_fake.scores)?);
            d.end_part(t)?;
            seen.push(Part { real, fake, labels });
        }
        if self.is_semi() {
            semi::supervise(t, self, step, &mut d, self.objective.class_weight)?;
        }
        step.apply(t, [d])?;
        Ok(seen)
    }

    /// G's update; `seen` are the images of D's last update.
    fn update_generator(&self, t: &mut Tape, step: &mut Step<'_>, seen: &[Part]) -> Result<()> {
        let loss = self.objective.loss;
        step.power_iteration(t, DISCRIMINATOR)?;
        if !is_plain(step) {
            step.power_iteration(t, GENERATOR)?;
        }
        let mut g = step.update(t, GENERATOR, "lr_g")?;
        for (m, &Part { real, fake, labels }) in step.micro_batches().zip(seen) {
            let fake = match is_plain(step) {
                true => fake,
                false => {
                    let name = draw(step, "z", None, m);
                    self.generate(t, step, &name, step.parts().0, labels)?
                }
            };
            let name = |what: &str| draw(step, what, None, m);
            let on_fake = self.discriminate(t, step, &name("generated"), fake.images, labels)?;
            let loss_g = if self.objective.feature_matching {
                let on_real = self.discriminate(t, step, &name("matched"), real, labels)?;
                feature_distance(t, on_real.features, on_fake.features)?
            } else if loss.is_relativistic() {
                let on_real = self.discriminate(t, step, &name("matched"), real, labels)?.scores;
                let above = loss.relative(t, on_real, on_fake.scores)?;
                let below = loss.relative(t, on_fake.scores, on_real)?;
                loss.relativistic_generator(t, above, below)?
            } else {
                loss.generator(t, on_fake.scores)?
            };
            let known = Known { labels, codes: fake.codes };
            let loss_g = self.with_terms(t, loss_g, &on_fake, &known)?;
            g.minimize(t, loss_g)?;
            g.report("loss_g", loss_g);
            g.report("d_fake_g", self.objective.loss.mean_output(t, on_fake.scores)?);
            g.end_part(t)?;
            if step.recording.fetch_gradients && m == 0 {
                t.fetch("fake", fake.images)?;
            }
        }
        step.apply(t, [g])
    }

    /// `n` generated images of the classes `labels`, from latents drawn under `name`.
    fn generate(
        &self,
        t: &mut Tape,
        step: &Step<'_>,
        name: &str,
        n: usize,
        labels: Option<Var>,
    ) -> Result<Fake> {
        let z = step.latents(t, name, n)?;
        let pass = step.pass(name, labels).with(LATENT, z);
        let outputs = step.forward(t, GENERATOR, z, pass)?;
        let images = outputs.last();
        let layers = &step.system.network(GENERATOR)?.network.layers;
        let codes = match layers.iter().position(|layer| matches!(layer, Layer::Codes(_))) {
            Some(at) => {
                let nz = step.system.model.nz;
                let all = t.reshape(outputs.each()[at], &[n, nz])?;
                Some(t.slice(all, &[0, nz - self.codes], &[n, self.codes])?)
            }
            None => None,
        };
        Ok(Fake { images, codes })
    }

    /// The current D's outputs for images of these classes, augmented. `name` separates the random
    /// numbers of this pass.
    pub(super) fn discriminate(
        &self,
        t: &mut Tape,
        step: &Step<'_>,
        name: &str,
        x: Var,
        labels: Option<Var>,
    ) -> Result<Output> {
        let mut uniform = |t: &mut Tape, what: &str, shape: &[usize]| {
            step.draws.uniform(t, &format!("{what}.{name}"), shape)
        };
        let (augment, pixels) = (self.objective.augment, step.system.model.pixels);
        let x = match augment.is_none() {
            true => x,
            false => {
                // Brightness and the fill of empty places are defined for values in [−1, 1].
                let x = pixels.to_signed(t, x)?;
                let x = augment.record(t, x, step.augment_p, &mut uniform)?;
                pixels.of_signed(t, x)?
            }
        };
        let outputs = step.forward(t, DISCRIMINATOR, x, step.pass(name, labels))?;
        let layers = &step.system.network(DISCRIMINATOR)?.network;
        let features = outputs.before(features::matched(layers));
        let heads = self.heads.split(t, outputs.last())?;
        let head = |name| heads.iter().find(|(own, _)| *own == name).map(|&(_, head)| head);
        let (classes, codes) = (head("classes"), head("codes"));
        let scores = match (head("score"), classes) {
            (Some(scores), _) => scores,
            (None, Some(logits)) => semi::score(t, logits)?,
            (None, None) => outputs.last(),
        };
        Ok(Output { scores, classes, codes, features })
    }

    /// Whether D's score follows from class logits, learned from few labels.
    fn is_semi(&self) -> bool {
        self.heads.range("score").is_none()
    }

    /// `loss` plus the terms of D's auxiliary outputs.
    fn with_terms(&self, t: &mut Tape, loss: Var, output: &Output, known: &Known) -> Result<Var> {
        self.terms.iter().try_fold(loss, |loss, term| term.add(t, loss, output, known))
    }
}

/// Whether D's and G's updates use the same generated images.
fn is_plain(step: &Step<'_>) -> bool {
    step.phase.batches == 1 && step.parts().1 == 1
}

/// The name of a draw of D's update `k`, or of G's, for micro-batch `m`.
fn draw(step: &Step<'_>, what: &str, k: Option<usize>, m: usize) -> String {
    match k {
        _ if is_plain(step) => what.into(),
        Some(k) => format!("{what}.{k}.{m}"),
        None => format!("{what}.g.{m}"),
    }
}

/// Feature matching (Salimans et al., arXiv 1606.03498, section 3.1): the mean square of the
/// difference between the means of two batches of features.
fn feature_distance(t: &mut Tape, real: Var, fake: Var) -> Result<Var> {
    let real = t.mean(real, &[0])?;
    let fake = t.mean(fake, &[0])?;
    let distance = t.sub(real, fake)?;
    let square = t.mul(distance, distance)?;
    t.mean_all(square)
}
