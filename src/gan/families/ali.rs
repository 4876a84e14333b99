//! ALI (Dumoulin et al., arXiv 1606.00704): BiGAN with an encoder that outputs a normal
//! distribution of latents, as mean and log standard deviation, and draws a latent from it.
//!
//! With `(μ, s) = E(x)`, `ẑ = μ + eˢ ε` for `ε` from N(0, I), one entry per dimension, and `real`
//! and `fake` the loss's terms for a pair with that label (for cross-entropies `softplus(−q)` and
//! `softplus(p)`):
//!
//! ```text
//! [q; p] = D([x; G(z)], [ẑ; z])               one batch, whose norms see both halves
//! D:    mean real(q) + mean fake(p)
//! E, G: mean fake(q) + mean real(p)           both labels swapped
//! ```
//!
//! The three updates are one group: all gradients use the same weights. E and G minimize the same
//! sum. Without batch norm in D only its first term depends on E, and its second on G.
//!
//! Latents are from N(0, I) with any networks: E's outputs are unbounded. Random draws: `z` and
//! `epsilon` of a whole batch, `z.0.<m>` and `epsilon.0.<m>` of micro-batch `m`.

use crate::error::Result;
use crate::gan::{Step, System, TrainConfig};
use crate::model::{Networks, Role, Spread};
use crate::nn::{Heads, LATENT, LatentDistribution};
use crate::objectives::Loss;
use crate::tape::{Tape, Var};

use super::{AVERAGED, DISCRIMINATOR, ENCODER, GENERATOR, one_phase};

/// Generator, encoder and a discriminator of pairs.
///
/// # Errors
/// [`crate::error::Error::Config`] if the size does not suit the networks.
pub fn networks(config: &TrainConfig) -> Result<Networks> {
    let model_config = &config.model;
    let networks = model_config.networks()?;
    Ok(networks
        .with(Role::Discriminator, model_config.joint_discriminator()?)
        .with(Role::Encoder, model_config.encoder(2 * model_config.nz)?)
        .with_latents(LatentDistribution::Normal)
        .with_spread(Spread::LogDeviation))
}

/// The system of these networks.
///
/// # Errors
/// [`crate::error::Error::Tensor`] if the model lacks one of the networks.
pub fn system(config: &TrainConfig, model: Networks) -> Result<System> {
    let loss = config.objective.loss;
    model.discriminator()?;
    one_phase("ali", config, model, AVERAGED, move |t, step| record(t, step, loss))
}

/// A sample of an encoder's distribution.
struct Drawn {
    /// The sampled latents `[n, nz]`.
    latent: Var,
    /// The mean of its standard deviations.
    sigma: Var,
}

/// Samples latents from the distributions `y` `[n, 1, 1, 2 · nz]`, mean and log standard deviation,
/// using normal numbers `epsilon` `[n, nz]`.
fn draw_latent(t: &mut Tape, y: Var, epsilon: Var) -> Result<Drawn> {
    let nz = t.shape(y).last().map_or(0, |width| width / 2);
    let heads = Heads::new([("mean", nz), ("log_std", nz)]);
    let parts = heads.split(t, y)?;
    let (mean, log_std) = (parts[0].1, parts[1].1);
    let std = t.exp(log_std)?;
    let noise = t.mul(std, epsilon)?;
    let latent = t.add(mean, noise)?;
    Ok(Drawn { latent, sigma: t.mean_all(std)? })
}

/// The scores of real pairs and of generated ones, which D sees as one batch, for images `[n, h, w,
/// c]` and latents `[n, nz]` each.
fn judge(
    t: &mut Tape,
    step: &Step<'_>,
    name: &str,
    images: [Var; 2],
    latents: [Var; 2],
) -> Result<[Var; 2]> {
    let images = t.concat(&images, 0)?;
    let latents = t.concat(&latents, 0)?;
    let pass = step.pass(name, None).with(LATENT, latents);
    let scores = step.forward(t, DISCRIMINATOR, images, pass)?.last();
    let half = t.shape(scores).iter().product::<usize>() / 2;
    Ok([t.range(scores, 0, half)?, t.range(scores, half, half)?])
}

fn record(t: &mut Tape, step: &mut Step<'_>, loss: Loss) -> Result<()> {
    for network in [DISCRIMINATOR, ENCODER, GENERATOR] {
        step.power_iteration(t, network)?;
    }
    let nz = step.system.model.nz;
    let mut d = step.update(t, DISCRIMINATOR, "lr_d")?;
    let mut e = step.update(t, ENCODER, "lr_g")?;
    let mut g = step.update(t, GENERATOR, "lr_g")?;
    let (micro, parts) = step.parts();
    for m in 0..parts {
        let draw = step.draw_of(m);
        let x = step.rows(t, step.images, 0, m)?;
        let z = step.latents(t, &draw("z"), micro)?;
        let noise = draw("epsilon");
        let epsilon = step.draws.latents(t, &noise, LatentDistribution::Normal, &[micro, nz])?;
        let noise = draw("encoder");
        let encoded = step.forward(t, ENCODER, x, step.pass(&noise, None))?.last();
        let Drawn { latent, sigma } = draw_latent(t, encoded, epsilon)?;
        let noise = draw("generator");
        let pass = step.pass(&noise, None).with(LATENT, z);
        let fake = step.forward(t, GENERATOR, z, pass)?.last();
        let z = t.reshape(z, &[micro, nz])?;
        let [q, p] = judge(t, step, &draw("pairs"), [x, fake], [latent, z])?;

        let (real, fakes) = (loss.real(t, q, 0.0)?, loss.fake(t, p)?);
        let loss_d = t.add(real, fakes)?;
        let (of_e, of_g) = (loss.fake(t, q)?, loss.real(t, p, 0.0)?);
        let joint = t.add(of_e, of_g)?;
        d.minimize(t, loss_d)?;
        e.minimize(t, joint)?;
        g.minimize(t, joint)?;
        d.report("loss_d", loss_d);
        g.report("loss_g", joint);
        for (name, scores) in [("d_real", q), ("d_fake", p)] {
            d.report(name, loss.mean_output(t, scores)?);
        }
        e.report("sigma", sigma);
        if step.recording.fetch_gradients && m == 0 {
            t.fetch("fake", fake)?;
            t.fetch("encoded", latent)?;
        }
    }
    step.apply(t, [d, e, g])
}
