//! GAN-INT-CLS (Reed, Akata, Yan, Logeswaran, Schiele and Lee, arXiv 1605.05396): images from
//! texts. The discriminator also sees real images with a wrong text, so that it learns whether the
//! two match (CLS); the generator also gets points between two texts (INT).
//!
//! With the vector `φ` of an image's caption, `w` a real image that this caption is wrong for, `h`
//! half a batch of `n`, and `real`, `fake` and `adversarial` the loss's terms of a score (for
//! cross-entropies `softplus(−s)`, `softplus(s)` and `softplus(−s)`):
//!
//! ```text
//! { D: real(D(x, φ)) + c fake(D(w, φ)) + (1 − c) fake(D(G(z, φ), φ)) } ;
//! φ' = [φ; ½ (φ[..h] + φ[h..2h])]
//! { G: mean adversarial(D(G(z', φ'), φ')) }      n + h images
//! ```
//!
//! `c` is `mismatch`; with 0 D sees no wrong images. Every batch of D is normalized separately.
//! Points between texts need no real image, and D never sees them as real. With `text_augment` the
//! generator draws from a distribution of the text, and its loss has the divergence of [`super::stackgan`].
//!
//! Feeds: `text` `[n, width]` and, unless `c` is 0, `wrong`, images as `images` are. Draws: `z`, and
//! `z.g` of G's images; with micro-batches `z.0.<m>` and `z.g.0.<m>`.

use crate::error::{Error, Result};
use crate::gan::{ObjectiveConfig, Step, System, TrainConfig};
use crate::model::{Networks, Role, Weights};
use crate::models::stackgan::Z;
use crate::nn::{LATENT, Layer, Mode, Outputs, Pass, Sequential, TEXT, divergence};
use crate::objectives::Loss;
use crate::tape::{Tape, Var};
use crate::tensor::DType;

use super::gan::plus;
use super::{DISCRIMINATOR, GENERATOR, one_phase};

/// The feed of real images with a wrong text.
pub const WRONG: &str = "wrong";

/// Generator and discriminator of the architecture, conditioned on texts.
///
/// # Errors
/// [`crate::error::Error::Config`] if the size does not suit the networks.
pub fn networks(config: &TrainConfig) -> Result<Networks> {
    config.model.networks_on(config.text.clone())
}

/// The system of these networks, or of others with the same inputs and outputs.
///
/// # Errors
/// [`crate::error::Error::Tensor`] if the model lacks one of the networks.
pub fn system(config: &TrainConfig, model: Networks) -> Result<System> {
    let matching = Matching { interpolates: true, ..Matching::new(&config.objective, &model)? };
    one_phase("int-cls", config, model, &[Role::Generator], move |t, step| matching.record(t, step))
}

/// A step of a generator of images from texts, and of a discriminator that is shown wrong texts.
#[derive(Clone, Debug)]
pub(super) struct Matching {
    /// The names of the two networks.
    pub(super) generator: &'static str,
    pub(super) discriminator: &'static str,
    /// What the generator makes its images of, if not of latents.
    pub(super) before: Option<Before>,
    /// How often real images are halved.
    pub(super) halvings: usize,
    /// Whether the generator is also updated on points between texts.
    pub(super) interpolates: bool,
    pub(super) loss: Loss,
    /// The share of wrong images in D's loss of fake pairs.
    pub(super) mismatch: f32,
    pub(super) kl_weight: f32,
}

/// A generator whose images are the input of another one, and is only read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Before {
    pub(super) network: &'static str,
    pub(super) weights: Weights,
}

/// What a generator made.
struct Made {
    images: Var,
    /// The divergence of the distributions of the texts, if it draws from these.
    divergence: Option<Var>,
}

impl Matching {
    /// The step of the usual two networks.
    ///
    /// # Errors
    /// [`crate::error::Error::Tensor`] if the model lacks one of them.
    pub(super) fn new(objective: &ObjectiveConfig, model: &Networks) -> Result<Self> {
        model.discriminator()?;
        Ok(Self {
            generator: GENERATOR,
            discriminator: DISCRIMINATOR,
            before: None,
            halvings: 0,
            interpolates: false,
            loss: objective.loss,
            mismatch: objective.mismatch,
            kl_weight: objective.kl_weight,
        })
    }

    /// Images of the texts `text`, from latents drawn under `name`.
    fn generate(&self, t: &mut Tape, step: &Step<'_>, name: &str, text: Var) -> Result<Made> {
        let n = t.shape(text)[0];
        let z = step.latents(t, name, n)?;
        let mut pass = step.pass(name, None).with(LATENT, z).with(TEXT, text);
        let mut input = z;
        let parts = &step.system.model.parts;
        let split = if parts.is_empty() { Vec::new() } else { parts.split(t, z)? };
        for (part, value) in split {
            let width = t.shape(value)[1];
            let value = t.reshape(value, &[n, 1, 1, width])?;
            if part == Z {
                input = value;
            }
            pass = pass.with(part, value);
        }
        if let Some(Before { network, weights }) = self.before {
            let layers = &step.system.network(network)?.network;
            let pass = Pass { mode: Mode::Eval, ..pass.clone() };
            input = layers.record(t, &weights.name(network), input, &pass)?.last();
        }
        let outputs = step.forward(t, self.generator, input, pass)?;
        let layers = &step.system.network(self.generator)?.network;
        Ok(Made { images: outputs.last(), divergence: divergence_of(t, layers, &outputs)? })
    }

    /// D's scores of images with these texts.
    fn score(&self, t: &mut Tape, step: &Step<'_>, name: &str, x: Var, text: Var) -> Result<Var> {
        let pass = step.pass(name, None).with(TEXT, text);
        Ok(step.forward(t, self.discriminator, x, pass)?.last())
    }

    /// Real images of the size that D sees.
    fn halved(&self, t: &mut Tape, images: Var) -> Result<Var> {
        if self.halvings == 0 {
            return Ok(images);
        }
        let pools = Sequential { layers: vec![Layer::AveragePool; self.halvings] };
        Ok(pools.record(t, "halved", images, &Pass::new(Mode::Eval))?.last())
    }

    pub(super) fn record(&self, t: &mut Tape, step: &mut Step<'_>) -> Result<()> {
        let Self { generator, discriminator, loss, mismatch: share, .. } = *self;
        let parts = step.parts().1;
        let n = step.phase.step_images();
        let text = t.feed(TEXT, &[n, step.system.model.text.width()], DType::F32)?;
        let wrong = match share > 0.0 {
            true => {
                let [h, w, c] = step.phase.image;
                let is_float = step.recording.float_images;
                let dtype = if is_float { DType::F32 } else { DType::U8 };
                let images = t.feed(WRONG, &[n, h, w, c], dtype)?;
                let images = match is_float {
                    true => images,
                    false => step.system.model.pixels.of_bytes(t, images)?,
                };
                Some(self.halved(t, images)?)
            }
            false => None,
        };
        step.images = self.halved(t, step.images)?;

        step.power_iteration(t, discriminator)?;
        step.power_iteration(t, generator)?;
        let mut d = step.update(t, discriminator, "lr_d")?;
        for m in 0..parts {
            let draw = step.draw_of(m);
            let x = step.rows(t, step.images, 0, m)?;
            let own = step.rows(t, text, 0, m)?;
            let r = self.score(t, step, &draw("real"), x, own)?;
            let of_real = loss.real(t, r, 0.0)?;
            d.minimize(t, of_real)?;
            let mut loss_d = of_real;
            if let Some(wrong) = wrong {
                let wrong = step.rows(t, wrong, 0, m)?;
                let w = self.score(t, step, &draw("wrong"), wrong, own)?;
                let of_wrong = loss.fake(t, w)?;
                let weighted = t.affine(of_wrong, share, 0.0)?;
                d.minimize(t, weighted)?;
                loss_d = t.add(loss_d, weighted)?;
                d.report("d_wrong", loss.mean_output(t, w)?);
            }
            let made = self.generate(t, step, &draw("z"), own)?;
            let f = self.score(t, step, &draw("fake"), made.images, own)?;
            let of_fake = loss.fake(t, f)?;
            let weighted = t.affine(of_fake, 1.0 - share, 0.0)?;
            d.minimize(t, weighted)?;
            d.report("loss_d", plus(t, loss_d, of_fake, 1.0 - share)?);
            d.report("d_real", loss.mean_output(t, r)?);
            d.report("d_fake", loss.mean_output(t, f)?);
        }
        step.apply(t, [d])?;

        step.power_iteration(t, discriminator)?;
        step.power_iteration(t, generator)?;
        let mut g = step.update(t, generator, "lr_g")?;
        for m in 0..parts {
            let draw = step.draw_of(m);
            let own = step.rows(t, text, 0, m)?;
            let texts = if self.interpolates { with_middles(t, own)? } else { own };
            let made = self.generate(t, step, &draw("z.g"), texts)?;
            let f = self.score(t, step, &draw("generated"), made.images, texts)?;
            let adversarial = loss.generator(t, f)?;
            let loss_g = match made.divergence {
                Some(divergence) => plus(t, adversarial, divergence, self.kl_weight)?,
                None => adversarial,
            };
            g.minimize(t, loss_g)?;
            g.report("loss_g", loss_g);
            if let Some(divergence) = made.divergence {
                g.report("kl", divergence);
            }
            g.report("d_fake_g", loss.mean_output(t, f)?);
            if step.recording.fetch_gradients && m == 0 {
                t.fetch("fake", made.images)?;
            }
        }
        step.apply(t, [g])
    }
}

/// The divergence of the distributions that a network drew from, if it did.
fn divergence_of(t: &mut Tape, network: &Sequential, outputs: &Outputs) -> Result<Option<Var>> {
    let drawn = network.each().into_iter().find(|(_, l)| matches!(l, Layer::Gaussian(_)));
    let Some((name, _)) = drawn else { return Ok(None) };
    let before = name.rsplit_once('.').and_then(|(scope, at)| {
        Some(format!("{scope}.{}", at.parse::<usize>().ok()?.checked_sub(1)?))
    });
    let before = before.ok_or_else(|| Error::Tensor {
        name,
        what: "is the first layer of its part, so that nothing predicts its distribution".into(),
    })?;
    let distributions = outputs.tap(&before)?;
    divergence(t, distributions).map(Some)
}

/// The texts, and the points halfway between those of the first half and of the second.
fn with_middles(t: &mut Tape, text: Var) -> Result<Var> {
    let [n, width] = *t.shape(text) else { unreachable!("texts are vectors") };
    let half = n / 2;
    let first = t.slice(text, &[0, 0], &[half, width])?;
    let second = t.slice(text, &[half, 0], &[half, width])?;
    let sum = t.add(first, second)?;
    let middles = t.affine(sum, 0.5, 0.0)?;
    t.concat(&[text, middles], 0)
}
