//! The variational autoencoder (Kingma and Welling, arXiv 1312.6114): an encoder and a generator
//! (its decoder), without a discriminator.
//!
//! `E` outputs the mean `μ` and the log-variance `v` of a normal distribution of latents for each
//! image; with `ε` from N(0, I), sums over the entries of an image and means over the batch:
//!
//! ```text
//! z = μ + exp(v/2) ε       KL = −½ Σ (1 + v − μ² − exp(v))       R = ½ Σ (G(z) − x)²
//! E: KL + R ∥ G: R
//! ```
//!
//! `R` is the negative log-likelihood of the pixels, normal around `G(z)` with variance 1, up to a
//! constant. The two updates are one group. Latents are normal, whatever the architecture's
//! default.

use crate::error::Result;
use crate::gan::{Step, System, TrainConfig};
use crate::model::{Networks, Role};
use crate::nn::{Heads, LATENT, LatentDistribution};
use crate::tape::{Tape, Var};

use super::{AVERAGED, ENCODER, GENERATOR, one_phase};

/// Generator and encoder.
///
/// # Errors
/// [`crate::error::Error::Config`] if the size does not suit the networks.
pub fn networks(config: &TrainConfig) -> Result<Networks> {
    Ok(variational(config)?.without(Role::Discriminator))
}

/// The architecture's generator and discriminator for normal latents, with an encoder of means and
/// log-variances.
///
/// # Errors
/// See [`networks`].
pub(super) fn variational(config: &TrainConfig) -> Result<Networks> {
    let model_config = &config.model;
    let networks = model_config.networks()?.with_latents(LatentDistribution::Normal);
    Ok(networks.with(Role::Encoder, model_config.encoder(2 * model_config.nz)?))
}

/// The system of these networks.
///
/// # Errors
/// [`crate::error::Error::Tensor`] if the model lacks one of the networks.
pub fn system(config: &TrainConfig, model: Networks) -> Result<System> {
    one_phase("vae", config, model, AVERAGED, record)
}

/// The encoder's outputs for a batch of images.
#[derive(Clone, Copy, Debug)]
pub(super) struct Posterior {
    /// Means `[n, nz]`.
    mean: Var,
    /// Logarithms of variances `[n, nz]`.
    log_variance: Var,
}

impl Posterior {
    /// The encoder's outputs for images `x`; `name` separates the random numbers of the pass.
    ///
    /// # Errors
    /// Errors of recording the ops.
    pub(super) fn encode(t: &mut Tape, step: &Step<'_>, x: Var, name: &str) -> Result<Self> {
        let nz = step.system.model.nz;
        let output = step.forward(t, ENCODER, x, step.pass(name, None))?.last();
        let heads = Heads::new([("mean", nz), ("log_variance", nz)]);
        let heads = heads.split(t, output)?;
        Ok(Self { mean: heads[0].1, log_variance: heads[1].1 })
    }

    /// Samples latents `[n, 1, 1, nz]` from this distribution, with the draw `name`.
    ///
    /// # Errors
    /// Errors of recording the ops.
    pub(super) fn draw(&self, t: &mut Tape, step: &Step<'_>, name: &str) -> Result<Var> {
        let shape = t.shape(self.mean).to_vec();
        let noise = step.draws.latents(t, name, LatentDistribution::Normal, &shape)?;
        let half = t.affine(self.log_variance, 0.5, 0.0)?;
        let deviation = t.exp(half)?;
        let apart = t.mul(deviation, noise)?;
        let z = t.add(self.mean, apart)?;
        t.reshape(z, &[shape[0], 1, 1, shape[1]])
    }

    /// `KL`: the divergence from N(0, I), averaged over the batch.
    ///
    /// # Errors
    /// Errors of recording the ops.
    pub(super) fn divergence(&self, t: &mut Tape) -> Result<Var> {
        let &[n, nz] = t.shape(self.mean) else { unreachable!("heads are vectors") };
        let square = t.mul(self.mean, self.mean)?;
        let variance = t.exp(self.log_variance)?;
        let less = t.sub(variance, self.log_variance)?;
        let each = t.add(square, less)?;
        let sum = t.sum_all(each)?;
        t.affine(sum, 0.5 / n as f32, -0.5 * nz as f32)
    }
}

/// `R`: half of the squared distance between `a` and `b`, of `n` rows each, averaged over the rows.
///
/// # Errors
/// Errors of recording the ops.
pub(super) fn half_squared_distance(t: &mut Tape, [a, b]: [Var; 2], n: usize) -> Result<Var> {
    let apart = t.sub(a, b)?;
    let square = t.mul(apart, apart)?;
    let sum = t.sum_all(square)?;
    t.affine(sum, 0.5 / n as f32, 0.0)
}

fn record(t: &mut Tape, step: &mut Step<'_>) -> Result<()> {
    step.power_iteration(t, ENCODER)?;
    step.power_iteration(t, GENERATOR)?;
    let mut e = step.update(t, ENCODER, "lr_g")?;
    let mut g = step.update(t, GENERATOR, "lr_g")?;
    let (micro, parts) = step.parts();
    for m in 0..parts {
        let draw = step.draw_of(m);
        let x = step.rows(t, step.images, 0, m)?;
        let posterior = Posterior::encode(t, step, x, &draw("encoder"))?;
        let z = posterior.draw(t, step, &draw("epsilon"))?;
        let name = draw("reconstructed");
        let pass = step.pass(&name, None).with(LATENT, z);
        let reconstructed = step.forward(t, GENERATOR, z, pass)?.last();
        let divergence = posterior.divergence(t)?;
        let distance = half_squared_distance(t, [reconstructed, x], micro)?;
        let loss_e = t.add(divergence, distance)?;
        e.minimize(t, loss_e)?;
        g.minimize(t, distance)?;
        e.report("loss_e", loss_e);
        e.report("kl", divergence);
        e.report("reconstruction", distance);
        if step.recording.fetch_gradients && m == 0 {
            t.fetch("reconstructed", reconstructed)?;
        }
    }
    step.apply(t, [e, g])
}
