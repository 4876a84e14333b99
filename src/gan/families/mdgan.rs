//! Manifold-diffusion GAN, the second of the mode regularized GANs (Che, Li, Jacob, Bengio and Li, arXiv
//! 1612.02136, section 3.3): one discriminator brings reconstructions onto the manifold of real images,
//! another spreads generated images over the reconstructions.
//!
//! With `x̂ = G(E(x))` by each group's current weights, and terms as in [`super::mrgan`]:
//!
//! ```text
//! manifold   { D₁: real(D₁(x)) + fake(D₁(x̂)) } ;
//!            { G, E: λ₁ mean (x − x̂)² + λ₂ adversarial(D₁(x̂)) } ;
//! diffusion  { D₂: real(D₂(stop x̂)) + fake(D₂(G(z))) } ;
//!            { G: adversarial(D₂(G(z))) }
//! ```
//!
//! D₁ is the network `discriminator`, the one that sees real images; D₂ is
//! `diffusion_discriminator`. G has two updates in a step, which share one optimizer state. G's
//! running statistics follow only the passes of `z`, as in Reg-GAN.
//!
//! Draws: `z`; with micro-batches `z.0.<m>` of D₂'s update and `z.g.<m>` of G's.

use crate::error::Result;
use crate::gan::{Step, System, TrainConfig};
use crate::model::{Net, Networks, Role};
use crate::tape::Tape;

use super::mrgan::{Judge, Regularizer, generate, reconstruct, score};
use super::{AVERAGED, DISCRIMINATOR, ENCODER, GENERATOR, one_phase};

/// The name of D₂, which distinguishes generated images from reconstructions.
pub const DIFFUSION: &str = "diffusion_discriminator";

/// Those of Reg-GAN, and a second discriminator like the first.
///
/// # Errors
/// [`crate::error::Error::Config`] if the size does not suit the networks.
pub fn networks(config: &TrainConfig) -> Result<Networks> {
    let mut networks = super::mrgan::networks(config)?;
    let network = config.model.discriminator()?;
    networks.by_name.insert(DIFFUSION.into(), Net::new(Role::Discriminator, network));
    Ok(networks)
}

/// The system of these networks, or of others with the same inputs and outputs.
///
/// # Errors
/// [`crate::error::Error::Tensor`] if the model lacks one of the networks.
pub fn system(config: &TrainConfig, model: Networks) -> Result<System> {
    let regularizer = Regularizer::of(&config.objective);
    model.discriminator()?;
    let system = one_phase("mdgan", config, model, AVERAGED, move |t, step| {
        manifold(t, step, regularizer)?;
        diffusion(t, step, regularizer)
    })?;
    system.network(DIFFUSION)?;
    Ok(system)
}

fn manifold(t: &mut Tape, step: &mut Step<'_>, regularizer: Regularizer) -> Result<()> {
    let loss = regularizer.loss;
    let judge = Judge { network: DISCRIMINATOR, loss, metrics: ["loss_d", "d_real", "d_fake"] };
    let parts = step.parts().1;
    let mut seen = Vec::with_capacity(parts);

    for network in [DISCRIMINATOR, ENCODER, GENERATOR] {
        step.power_iteration(t, network)?;
    }
    let mut d = step.update(t, DISCRIMINATOR, "lr_d")?;
    for m in 0..parts {
        let draw = step.draw_of(m);
        let x = step.rows(t, step.images, 0, m)?;
        let near = reconstruct(t, step, &draw("near"), x)?;
        judge.discriminate(t, step, &mut d, m, [x, near])?;
        seen.push((x, near));
    }
    step.apply(t, [d])?;

    step.power_iteration(t, DISCRIMINATOR)?;
    let mut e = step.update(t, ENCODER, "lr_g")?;
    let mut g = step.update(t, GENERATOR, "lr_g")?;
    for (m, images) in seen.into_iter().enumerate() {
        let draw = step.draw_of(m);
        let s = score(t, step, DISCRIMINATOR, &draw("near"), images.1)?;
        let [term, distance] = regularizer.record(t, images.into(), s)?;
        g.minimize(t, term)?;
        e.minimize(t, term)?;
        e.report("loss_e", term);
        e.report("distance", distance);
        if step.recording.fetch_gradients && m == 0 {
            t.fetch("near", images.1)?;
        }
    }
    step.apply(t, [e, g])
}

fn diffusion(t: &mut Tape, step: &mut Step<'_>, regularizer: Regularizer) -> Result<()> {
    let loss = regularizer.loss;
    let metrics = ["loss_diffusion", "diffusion_near", "diffusion_fake"];
    let judge = Judge { network: DIFFUSION, loss, metrics };
    let parts = step.parts().1;
    let mut seen = Vec::with_capacity(parts);

    for network in [DIFFUSION, ENCODER, GENERATOR] {
        step.power_iteration(t, network)?;
    }
    let mut d = step.update(t, DIFFUSION, "lr_d")?;
    for m in 0..parts {
        let draw = step.draw_of(m);
        let x = step.rows(t, step.images, 0, m)?;
        let near = reconstruct(t, step, &draw("moved"), x)?;
        let near = t.stop(near)?;
        let made = generate(t, step, &draw("z"))?;
        judge.discriminate(t, step, &mut d, m, [near, made])?;
        seen.push(made);
    }
    step.apply(t, [d])?;

    step.power_iteration(t, DIFFUSION)?;
    let mut g = step.update(t, GENERATOR, "lr_g")?;
    for (m, made) in seen.into_iter().enumerate() {
        let draw = step.draw_of(m);
        // With several micro-batches new images, as in Reg-GAN.
        let made = if parts == 1 { made } else { generate(t, step, &format!("z.g.{m}"))? };
        let f = score(t, step, DIFFUSION, &draw("generated"), made)?;
        let loss_g = loss.generator(t, f)?;
        g.minimize(t, loss_g)?;
        g.report("loss_g", loss_g);
        if step.recording.fetch_gradients && m == 0 {
            t.fetch("fake", made)?;
        }
    }
    step.apply(t, [g])
}
