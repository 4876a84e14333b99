//! BiGAN (Donahue, Krähenbühl and Darrell, arXiv 1605.09782): an encoder learns to invert the
//! generator, until a discriminator of pairs cannot distinguish `(x, E(x))` from `(G(z), z)`.
//!
//! With `r = D(x, E(x))` and `f = D(G(z), z)`, and `real` and `fake` the loss's terms for a pair
//! with that label (for cross-entropies `softplus(−r)` and `softplus(f)`):
//!
//! ```text
//! D: ½ mean real(r) + ½ mean fake(f)
//! E: ½ mean fake(r)      G: ½ mean real(f)      both labels swapped
//! ```
//!
//! The three updates are one group: all gradients use the same weights. If the phase freezes the
//! encoder, D and G are trained alone, a control: the latents of an untrained encoder carry no
//! information that G could use.

use crate::error::Result;
use crate::gan::{Step, System, TrainConfig};
use crate::model::{Networks, Role};
use crate::nn::LATENT;
use crate::objectives::Loss;
use crate::tape::Tape;

use super::{AVERAGED, DISCRIMINATOR, ENCODER, GENERATOR, one_phase};

/// Weight of each of the two terms.
const HALF: f32 = 0.5;

/// Generator, encoder and a discriminator of pairs.
///
/// # Errors
/// [`crate::error::Error::Config`] if the size does not suit the networks.
pub fn networks(config: &TrainConfig) -> Result<Networks> {
    let model_config = &config.model;
    let networks = model_config.networks()?;
    Ok(networks
        .with(Role::Discriminator, model_config.joint_discriminator()?)
        .with(Role::Encoder, model_config.encoder(model_config.nz)?))
}

/// The system of these networks.
///
/// # Errors
/// [`crate::error::Error::Tensor`] if the model lacks one of the networks.
pub fn system(config: &TrainConfig, model: Networks) -> Result<System> {
    let loss = config.objective.loss;
    model.discriminator()?;
    one_phase("bigan", config, model, AVERAGED, move |t, step| record(t, step, loss))
}

fn record(t: &mut Tape, step: &mut Step<'_>, loss: Loss) -> Result<()> {
    for network in [DISCRIMINATOR, ENCODER, GENERATOR] {
        step.power_iteration(t, network)?;
    }
    let mut d = step.update(t, DISCRIMINATOR, "lr_d")?;
    let mut e = match step.is_frozen(ENCODER) {
        true => None,
        false => Some(step.update(t, ENCODER, "lr_g")?),
    };
    let mut g = step.update(t, GENERATOR, "lr_g")?;
    let (micro, parts) = step.parts();
    for m in 0..parts {
        let draw = step.draw_of(m);
        let x = step.rows(t, step.images, 0, m)?;
        let z = step.latents(t, &draw("z"), micro)?;
        let encoded = step.forward(t, ENCODER, x, step.pass(&draw("encoder"), None))?.last();
        let beside = |t: &mut Tape, network: &str, name: &str, x, z| {
            let pass = step.pass(name, None).with(LATENT, z);
            step.forward(t, network, x, pass).map(|outputs| outputs.last())
        };
        let fake = beside(t, GENERATOR, &draw("generator"), z, z)?;
        let r = beside(t, DISCRIMINATOR, &draw("real"), x, encoded)?;
        let f = beside(t, DISCRIMINATOR, &draw("fake"), fake, z)?;

        let (real, fakes) = (loss.real(t, r, 0.0)?, loss.fake(t, f)?);
        let sum = t.add(real, fakes)?;
        let loss_d = t.affine(sum, HALF, 0.0)?;
        let (loss_e, loss_g) = (loss.fake(t, r)?, loss.real(t, f, 0.0)?);
        for (update, term) in [(e.as_mut(), loss_e), (Some(&mut g), loss_g)] {
            let Some(update) = update else { continue };
            let half = t.affine(term, HALF, 0.0)?;
            update.minimize(t, half)?;
        }
        d.minimize(t, loss_d)?;
        d.report("loss_d", loss_d);
        g.report("loss_g", loss_g);
        if let Some(e) = &mut e {
            e.report("loss_e", loss_e);
        }
        for (name, scores) in [("d_real", r), ("d_fake", f)] {
            d.report(name, loss.mean_output(t, scores)?);
        }
        if step.recording.fetch_gradients && m == 0 {
            t.fetch("fake", fake)?;
            t.fetch("encoded", encoded)?;
        }
    }
    step.apply(t, [Some(d), e, Some(g)].into_iter().flatten())
}
