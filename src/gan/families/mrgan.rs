//! Reg-GAN, the first of the mode regularized GANs (Che, Li, Jacob, Bengio and Li, arXiv
//! 1612.02136): an encoder predicts the latent of a real image, and both it and the generator are
//! pulled towards reproducing that image. So every real image pulls on the generator, even those of
//! missing modes.
//!
//! With `x̂ = G(E(x))`, `real` and `fake` the loss's terms for a score of an image with that label,
//! and `adversarial` the generator's loss on the scores of its images (for cross-entropies
//! `softplus(−s)`, `softplus(s)` and `softplus(−s)`):
//!
//! ```text
//! T = λ₁ mean (x − x̂)² + λ₂ adversarial(D(x̂))
//!
//! { D: real(D(x)) + fake(D(G(z))) } ;
//! { E: T  ∥  G: adversarial(D(G(z))) + T }
//! ```
//!
//! λ₁ is `distance_weight`, λ₂ is `mode_weight`. T falls as `D(x̂)` rises: reconstructions should
//! be accepted as real. The paper prints `λ₂ log D(x̂)` in the losses of E and G, which would drive
//! them away from the real images; its text asks for the opposite, which is implemented here.
//!
//! G sees its two batches, of `z` and of `E(x)`, in separate passes: batch norm normalizes each
//! separately. Its running statistics follow only the first, since images are generated from such
//! latents.
//!
//! Draws: `z`; with micro-batches `z.0.<m>` of D's update and `z.g.<m>` of G's.

use crate::error::Result;
use crate::gan::{ObjectiveConfig, Step, System, TrainConfig, Update};
use crate::model::{Networks, Role};
use crate::nn::LATENT;
use crate::objectives::Loss;
use crate::tape::{Tape, Var};

use super::{AVERAGED, DISCRIMINATOR, ENCODER, GENERATOR, one_phase};

/// The pull of `x̂ = G(E(x))` towards the real image `x`: `λ₁ mean (x − x̂)² + λ₂
/// adversarial(D(x̂))`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Regularizer {
    /// The loss of D's scores.
    pub loss: Loss,
    /// λ₁.
    pub distance: f32,
    /// λ₂.
    pub mode: f32,
}

impl Regularizer {
    /// As configured by a method.
    #[must_use]
    pub const fn of(objective: &ObjectiveConfig) -> Self {
        let ObjectiveConfig { loss, distance_weight, mode_weight, .. } = *objective;
        Self { loss, distance: distance_weight, mode: mode_weight }
    }

    /// Records it for images `x`, their reconstructions `near` and D's `scores` of these; returns
    /// the sum and the mean squared distance.
    ///
    /// # Errors
    /// Errors of recording the ops.
    pub fn record(&self, t: &mut Tape, [x, near]: [Var; 2], scores: Var) -> Result<[Var; 2]> {
        let off = t.sub(x, near)?;
        let square = t.mul(off, off)?;
        let distance = t.mean_all(square)?;
        let adversarial = self.loss.generator(t, scores)?;
        let [a, b] =
            [t.affine(distance, self.distance, 0.0)?, t.affine(adversarial, self.mode, 0.0)?];
        Ok([t.add(a, b)?, distance])
    }
}

/// Generator and discriminator of the architecture, and its encoder.
///
/// # Errors
/// [`crate::error::Error::Config`] if the size does not suit the networks.
pub fn networks(config: &TrainConfig) -> Result<Networks> {
    let model_config = &config.model;
    Ok(model_config.networks()?.with(Role::Encoder, model_config.encoder(model_config.nz)?))
}

/// The system of these networks, or of others with the same inputs and outputs.
///
/// # Errors
/// [`crate::error::Error::Tensor`] if the model lacks one of the networks.
pub fn system(config: &TrainConfig, model: Networks) -> Result<System> {
    let regularizer = Regularizer::of(&config.objective);
    model.discriminator()?;
    one_phase("mrgan", config, model, AVERAGED, move |t, step| record(t, step, regularizer))
}

/// `G(z)` of a micro-batch of latents drawn under `name`.
pub(super) fn generate(t: &mut Tape, step: &Step<'_>, name: &str) -> Result<Var> {
    let z = step.latents(t, name, step.parts().0)?;
    let pass = step.pass(name, None).with(LATENT, z);
    Ok(step.forward(t, GENERATOR, z, pass)?.last())
}

/// `G(E(x))`; `name` separates the random numbers of both networks. G's running statistics are
/// unchanged.
pub(super) fn reconstruct(t: &mut Tape, step: &Step<'_>, name: &str, x: Var) -> Result<Var> {
    let z = step.forward(t, ENCODER, x, step.pass(name, None))?.last();
    let pass = step.pass(name, None).with(LATENT, z).untracked();
    Ok(step.forward(t, GENERATOR, z, pass)?.last())
}

/// The scores that the network `judge` gives `x`.
pub(super) fn score(t: &mut Tape, step: &Step<'_>, judge: &str, name: &str, x: Var) -> Result<Var> {
    Ok(step.forward(t, judge, x, step.pass(name, None))?.last())
}

/// A discriminator, and the metrics of its updates.
pub(super) struct Judge {
    /// The network's name.
    pub(super) network: &'static str,
    /// The loss of its scores.
    pub(super) loss: Loss,
    /// The names of its loss, and of its mean outputs for images to be scored as real and as
    /// generated.
    pub(super) metrics: [&'static str; 3],
}

impl Judge {
    /// Adds to its update `d` the losses for the images `[real, generated]` of micro-batch `m`.
    ///
    /// # Errors
    /// Errors of recording the ops.
    pub(super) fn discriminate(
        &self,
        t: &mut Tape,
        step: &Step<'_>,
        d: &mut Update,
        m: usize,
        [real, generated]: [Var; 2],
    ) -> Result<()> {
        let Self { network, loss, metrics: [of_loss, of_real, of_fake] } = *self;
        let draw = step.draw_of(m);
        let r = score(t, step, network, &draw("real"), real)?;
        let f = score(t, step, network, &draw("fake"), generated)?;
        let (real, fake) = (loss.real(t, r, 0.0)?, loss.fake(t, f)?);
        d.minimize(t, real)?;
        d.minimize(t, fake)?;
        d.report(of_loss, t.add(real, fake)?);
        d.report(of_real, loss.mean_output(t, r)?);
        d.report(of_fake, loss.mean_output(t, f)?);
        Ok(())
    }
}

fn record(t: &mut Tape, step: &mut Step<'_>, regularizer: Regularizer) -> Result<()> {
    let loss = regularizer.loss;
    let judge = Judge { network: DISCRIMINATOR, loss, metrics: ["loss_d", "d_real", "d_fake"] };
    let parts = step.parts().1;
    let mut seen = Vec::with_capacity(parts);

    step.power_iteration(t, DISCRIMINATOR)?;
    step.power_iteration(t, GENERATOR)?;
    let mut d = step.update(t, DISCRIMINATOR, "lr_d")?;
    for m in 0..parts {
        let draw = step.draw_of(m);
        let x = step.rows(t, step.images, 0, m)?;
        let made = generate(t, step, &draw("z"))?;
        judge.discriminate(t, step, &mut d, m, [x, made])?;
        seen.push((x, made));
    }
    step.apply(t, [d])?;

    step.power_iteration(t, DISCRIMINATOR)?;
    step.power_iteration(t, ENCODER)?;
    let mut e = step.update(t, ENCODER, "lr_g")?;
    let mut g = step.update(t, GENERATOR, "lr_g")?;
    for (m, (x, made)) in seen.into_iter().enumerate() {
        let draw = step.draw_of(m);
        // With several micro-batches new images: those of D's would all have to be kept in memory.
        let made = if parts == 1 { made } else { generate(t, step, &format!("z.g.{m}"))? };
        let f = score(t, step, DISCRIMINATOR, &draw("generated"), made)?;
        let near = reconstruct(t, step, &draw("near"), x)?;
        let s = score(t, step, DISCRIMINATOR, &draw("near"), near)?;
        let loss_g = loss.generator(t, f)?;
        let [term, distance] = regularizer.record(t, [x, near], s)?;
        g.minimize(t, loss_g)?;
        g.minimize(t, term)?;
        e.minimize(t, term)?;
        g.report("loss_g", loss_g);
        e.report("loss_e", term);
        e.report("distance", distance);
        g.report("d_fake_g", loss.mean_output(t, f)?);
        e.report("d_near", loss.mean_output(t, s)?);
        if step.recording.fetch_gradients && m == 0 {
            t.fetch("fake", made)?;
            t.fetch("near", near)?;
        }
    }
    step.apply(t, [e, g])
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use clap::ValueEnum as _;

    use super::*;
    use crate::device::{Device, State};
    use crate::program::{Options, Program};
    use crate::tensor::{DType, Tensor};

    /// With any loss, the term falls as a reconstruction's score rises towards a real image's.
    #[test]
    fn reconstructions_are_to_be_taken_for_real() {
        for &loss in Loss::value_variants().iter().filter(|loss| !loss.is_relativistic()) {
            let regularizer = Regularizer { loss, ..Regularizer::of(&ObjectiveConfig::default()) };
            let mut t = Tape::new();
            let scores = t.feed("scores", &[3, 1], DType::F32).unwrap();
            let images = ["x", "near"].map(|name| t.feed(name, &[3, 2], DType::F32).unwrap());
            let [term, distance] = regularizer.record(&mut t, images, scores).unwrap();
            let by_score = t.grad(term, &[scores]).unwrap()[0];
            let by_near = t.grad(term, &[images[1]]).unwrap()[0];
            for (name, value) in
                [("term", term), ("distance", distance), ("score", by_score), ("near", by_near)]
            {
                t.fetch(name, value).unwrap();
            }
            let mut state = State::new(&Device::Cpu);
            let mut program = Program::compile(&t, &state, &Options::default()).unwrap();
            let scores = Tensor::new([3, 1], vec![-3.0, -0.5, 0.9]).unwrap();
            let x = Tensor::new([3, 2], vec![1.0, 0.0, 0.5, 0.5, -1.0, 0.25]).unwrap();
            let near = Tensor::new([3, 2], vec![0.0, 0.0, 0.5, -0.5, 1.0, 0.25]).unwrap();
            let feeds = [("scores", &scores), ("x", &x), ("near", &near)];
            let got = program.call(&mut state, &feeds).unwrap();
            assert!(got["score"].f32s().iter().all(|&g| g < 0.0), "{loss}: {:?}", got["score"]);
            assert_eq!(got["distance"].f32s(), [1.0], "{loss}");
            // Two (x̂ − x) by six numbers, times λ₁.
            let want = [-1.0, 0.0, 0.0, -1.0, 2.0, 0.0].map(|off| 0.2 * off / 3.0);
            for (got, want) in got["near"].f32s().iter().zip(want) {
                assert!((got - want).abs() < 1e-6, "{loss}: {got} {want}");
            }
            if loss == Loss::NonSaturating {
                let softplus = |s: f32| (1.0 + s.exp()).ln();
                let mean = (softplus(3.0) + softplus(0.5) + softplus(-0.9)) / 3.0;
                assert!((got["term"].f32s()[0] - (0.2 + 0.4 * mean)).abs() < 1e-6);
            }
        }
    }
}
