//! VAE/GAN (Larsen et al., arXiv 1512.09300): a variational autoencoder that measures
//! reconstruction errors in a hidden layer `D_l` of a discriminator, which is trained with it.
//!
//! With the encoder's `μ` and `v`, `ε` and `z` from N(0, I), sums over the entries of an image and
//! means over the batch:
//!
//! ```text
//! x_q = G(μ + exp(v/2) ε)     x_p = G(z)     KL = −½ Σ (1 + v − μ² − exp(v))
//! [q; x_l] = D_l([x_q; x])    R = ½ Σ (q − x_l)²
//! [r; f] = D([x; x_p])        a = mean −log(σ(r) + δ)     b = mean −log(1 − σ(f) + δ)     δ = 1e-3
//!
//! E: KL + R  ∥  G, unless it is far behind: γ R + (1 − γ) A  ∥  D, unless it is far ahead: a + b
//! ```
//!
//! `A` is `−b` with the saturating loss, which the authors use, and `mean −log σ(f)` with the
//! non-saturating one. The three updates are one group: `R` does not reach D, nor do `A` and `b`
//! reach E. D's batch norm sees `[x; x_p]` as one batch and `[x_q; x]` as another, as in the
//! authors' code.
//!
//! `D_l` is the raw output of a convolution, before norm and ReLU: the last one with feature maps
//! at least 8 pixels high, which matches the authors' choices for 64×64 and 32×32. `R` is a sum
//! over its entries, 16,384 in their network for 64×64, and γ weighs that sum.
//!
//! D is far ahead if `a` or `b` is below .33, and G far behind if one is above 1.03 (the authors'
//! margin of .35 around .68); if both would be skipped neither is.

use crate::error::Result;
use crate::gan::{ObjectiveConfig, Step, System, TrainConfig};
use crate::model::Networks;
use crate::nn::{LATENT, LayerRole, Sequential};
use crate::objectives::Loss;
use crate::tape::{Tape, Var};

use super::gan::plus;
use super::vae::{Posterior, half_squared_distance, variational};
use super::{AVERAGED, DISCRIMINATOR, ENCODER, GENERATOR, one_phase};

/// δ: added to probabilities before their logarithms.
const DELTA: f32 = 1e-3;

/// The value of `a` and `b` for a D at chance, about log 2, and the margin around it.
const EQUILIBRIUM: f32 = 0.68;
const MARGIN: f32 = 0.35;
const LIMITS: [f32; 2] = [EQUILIBRIUM - MARGIN, EQUILIBRIUM + MARGIN];

/// Minimum height of the feature maps used to compare images.
const FEATURES: usize = 8;

/// Generator, discriminator and an encoder of means and log-variances.
///
/// # Errors
/// [`crate::error::Error::Config`] if the size does not suit the networks.
pub fn networks(config: &TrainConfig) -> Result<Networks> {
    variational(config)
}

/// The system of these networks. `D_l` is the discriminator's first layers as a separate network.
///
/// # Errors
/// [`crate::error::Error::Tensor`] if the model lacks one of the networks.
pub fn system(config: &TrainConfig, model: Networks) -> Result<System> {
    let ObjectiveConfig { loss, gamma, .. } = config.objective;
    let image = [model.size.height, model.size.width, model.channels];
    let discriminator = model.discriminator()?;
    let layer = feature_layer(discriminator, image);
    let features = Sequential { layers: discriminator.layers[..=layer].to_vec() };
    one_phase("vae-gan", config, model, AVERAGED, move |t, step| {
        record(t, step, loss, gamma, &features)
    })
}

/// The index of the layer whose output is `D_l`: the last one with weights, except the network's
/// last, with feature maps at least 8 pixels high; in a network without such maps the last one
/// of all.
#[must_use]
pub fn feature_layer(discriminator: &Sequential, image: [usize; 3]) -> usize {
    let layers = discriminator.layers.iter().enumerate();
    let hidden = layers.filter(|(_, l)| [LayerRole::Weights, LayerRole::Block].contains(&l.role()));
    let mut hidden: Vec<usize> = hidden.map(|(i, _)| i).collect();
    if hidden.len() > 1 {
        hidden.pop();
    }
    let sizes = discriminator.sizes(image).unwrap_or_default();
    let is_high = |&&i: &&usize| sizes.get(i).is_some_and(|&[height, ..]| height >= FEATURES);
    hidden.iter().rfind(is_high).or(hidden.last()).copied().unwrap_or(0)
}

fn record(
    t: &mut Tape,
    step: &mut Step<'_>,
    loss: Loss,
    gamma: f32,
    features: &Sequential,
) -> Result<()> {
    for network in [DISCRIMINATOR, ENCODER, GENERATOR] {
        step.power_iteration(t, network)?;
    }
    let mut e = step.update(t, ENCODER, "lr_g")?;
    let mut g = step.update(t, GENERATOR, "lr_g")?;
    let mut d = step.update(t, DISCRIMINATOR, "lr_d")?;
    let (micro, parts) = step.parts();
    let mut sums: Option<[Var; 2]> = None;
    for m in 0..parts {
        let draw = step.draw_of(m);
        let pass = |t: &mut Tape, network: &str, name: &str, x| {
            step.forward(t, network, x, step.pass(&draw(name), None).with(LATENT, x))
        };
        let x = step.rows(t, step.images, 0, m)?;
        let posterior = Posterior::encode(t, step, x, &draw("encoder"))?;
        let z_q = posterior.draw(t, step, &draw("epsilon"))?;
        let z_p = step.latents(t, &draw("z"), micro)?;
        let x_q = pass(t, GENERATOR, "reconstructed", z_q)?.last();
        let x_p = pass(t, GENERATOR, "generated", z_p)?.last();

        let divergence = posterior.divergence(t)?;
        let both = t.concat(&[x_q, x], 0)?;
        let name = draw("features");
        let seen = features.record(t, DISCRIMINATOR, both, &step.pass(&name, None))?.last();
        let distance = halves(t, seen)?;
        let distance = half_squared_distance(t, distance, micro)?;
        let both = t.concat(&[x, x_p], 0)?;
        let scores = pass(t, DISCRIMINATOR, "scores", both)?.last();
        let [r, f] = halves(t, scores)?;
        let (a, b) = (minus_log(t, r)?, minus_log_of_rest(t, f)?);

        let loss_e = t.add(divergence, distance)?;
        let adversarial = match loss {
            Loss::Saturating => t.neg(b)?,
            loss => loss.generator(t, f)?,
        };
        let adversarial = t.affine(adversarial, 1.0 - gamma, 0.0)?;
        let loss_g = plus(t, adversarial, distance, gamma)?;
        let loss_d = t.add(a, b)?;
        e.minimize(t, loss_e)?;
        g.minimize(t, loss_g)?;
        d.minimize(t, loss_d)?;
        d.report("loss_d", loss_d);
        g.report("loss_g", loss_g);
        e.report("loss_e", loss_e);
        e.report("kl", divergence);
        e.report("reconstruction", distance);
        d.report("d_real", loss.mean_output(t, r)?);
        d.report("d_fake", loss.mean_output(t, f)?);
        sums = Some(match sums {
            Some([of_reals, of_fakes]) => [t.add(of_reals, a)?, t.add(of_fakes, b)?],
            None => [a, b],
        });
        if step.recording.fetch_gradients && m == 0 {
            t.fetch("fake", x_p)?;
            t.fetch("reconstructed", x_q)?;
        }
    }
    let [a, b] = sums.expect("a batch has a part");
    let share = 1.0 / parts as f32;
    let (a, b) = (t.affine(a, share, 0.0)?, t.affine(b, share, 0.0)?);
    let [updates_d, updates_g] = balance(t, [a, b], LIMITS)?;
    step.report(t, "updated_d", updates_d);
    step.report(t, "updated_g", updates_g);
    step.apply(t, [e, g.masked(updates_g), d.masked(updates_d)])
}

/// The first and the second half of the rows of `x` as matrices.
fn halves(t: &mut Tape, x: Var) -> Result<[Var; 2]> {
    let n = t.shape(x)[0] / 2;
    let row: usize = t.shape(x)[1..].iter().product();
    let mut half = |first: usize| {
        let half = t.range(x, first * row, n * row)?;
        t.reshape(half, &[n, row])
    };
    Ok([half(0)?, half(n)?])
}

/// `mean −log(σ(scores) + δ)`.
fn minus_log(t: &mut Tape, scores: Var) -> Result<Var> {
    let probability = t.sigmoid(scores)?;
    let probability = t.affine(probability, 1.0, DELTA)?;
    let log = t.log(probability)?;
    let log = t.neg(log)?;
    t.mean_all(log)
}

/// `mean −log(1 − σ(scores) + δ)`.
fn minus_log_of_rest(t: &mut Tape, scores: Var) -> Result<Var> {
    let minus = t.neg(scores)?;
    minus_log(t, minus)
}

/// Whether D and G are updated, 1 or 0 each, for D's two losses: D waits if one of them is below the
/// first limit, G if one is above the second, and neither if both would.
pub(super) fn balance(
    t: &mut Tape,
    [a, b]: [Var; 2],
    [lowest, highest]: [f32; 2],
) -> Result<[Var; 2]> {
    let low = t.minimum(a, b)?;
    let high = t.maximum(a, b)?;
    let ahead = t.fill(&[], lowest)?;
    let ahead = t.greater(ahead, low)?;
    let behind = t.fill(&[], highest)?;
    let behind = t.greater(high, behind)?;
    let neither = t.mul(ahead, behind)?;
    let mut unless = |skipped| {
        let made = t.affine(skipped, -1.0, 1.0)?;
        t.add(made, neither)
    };
    Ok([unless(ahead)?, unless(behind)?])
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;
    use crate::device::{Device, State};
    use crate::models::{Architecture, ModelConfig, Size};
    use crate::program::{Options, Program};
    use crate::tensor::{DType, Tensor};

    #[test]
    fn who_is_far_ahead_waits() {
        let mut t = Tape::new();
        let [a, b] = ["a", "b"].map(|name| t.feed(name, &[], DType::F32).unwrap());
        let [d, g] = balance(&mut t, [a, b], LIMITS).unwrap();
        t.fetch("d", d).unwrap();
        t.fetch("g", g).unwrap();
        let mut state = State::new(&Device::Cpu);
        let mut program = Program::compile(&t, &state, &Options::default()).unwrap();
        for (losses, updated) in [
            ([0.7, 0.6], [1.0, 1.0]),
            ([0.34, 1.02], [1.0, 1.0]),
            ([0.32, 0.6], [0.0, 1.0]),
            ([0.6, 0.32], [0.0, 1.0]),
            ([0.1, 0.1], [0.0, 1.0]),
            ([1.04, 0.6], [1.0, 0.0]),
            ([0.6, 1.04], [1.0, 0.0]),
            ([2.0, 3.0], [1.0, 0.0]),
            // Both would be skipped.
            ([0.2, 1.1], [1.0, 1.0]),
            ([1.1, 0.2], [1.0, 1.0]),
        ] {
            let [a, b] = losses.map(|x| Tensor::full([], x));
            let fetched = program.call(&mut state, &[("a", &a), ("b", &b)]).unwrap();
            assert_eq!(["d", "g"].map(|name| fetched[name].f32s()[0]), updated, "{losses:?}");
        }
    }

    #[test]
    fn features_are_those_of_the_authors_and_some_of_every_network() {
        let layer = |network, side| {
            let size = Size { height: side, width: side };
            let model_config =
                ModelConfig { channels: 1, ..ModelConfig::usual(network, Some(size)) };
            let discriminator = model_config.discriminator().unwrap();
            let image = [side, side, 1];
            let at = feature_layer(&discriminator, image);
            assert!(at + 1 < discriminator.layers.len());
            (at, discriminator.sizes(image).unwrap()[at])
        };
        // The third and the second strided convolution, as `recon_depth` 9 and 6 of the code.
        assert_eq!(layer(Architecture::VaeGan, 64), (8, [8, 8, 256]));
        assert_eq!(layer(Architecture::VaeGan, 32), (5, [8, 8, 192]));
        assert_eq!(layer(Architecture::Dcgan, 64).1, [8, 8, 256]);
        assert_eq!(layer(Architecture::Mnist, 28).1, [14, 14, 128]);
        assert_eq!(layer(Architecture::Cnn, 32).1[..2], [8, 8]);
        assert_eq!(layer(Architecture::Resnet, 32).1[..2], [8, 8]);
        // No feature maps: the last hidden layer.
        assert_eq!(layer(Architecture::Mlp, 28).1, [1, 1, 250]);
        assert_eq!(layer(Architecture::BiganMnist, 28).1, [1, 1, 1024]);
    }
}
