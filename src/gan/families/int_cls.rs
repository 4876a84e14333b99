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
//! Points between texts need no real image, and D never sees them as real.
//!
//! Feeds: `text` `[n, width]` and, unless `c` is 0, `wrong`, images as `images` are. Draws: `z`, and
//! `z.g` of G's images; with micro-batches `z.0.<m>` and `z.g.0.<m>`.

use crate::error::Result;
use crate::gan::{Step, System, TrainConfig};
use crate::model::{Networks, Role};
use crate::nn::{LATENT, TEXT};
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
    let (loss, share) = (config.objective.loss, config.objective.mismatch);
    model.discriminator()?;
    one_phase("int-cls", config, model, &[Role::Generator], move |t, step| {
        record(t, step, loss, share)
    })
}

/// Images of the texts `text`, from latents drawn under `name`.
fn generate(t: &mut Tape, step: &Step<'_>, name: &str, text: Var) -> Result<Var> {
    let z = step.latents(t, name, t.shape(text)[0])?;
    let pass = step.pass(name, None).with(LATENT, z).with(TEXT, text);
    Ok(step.forward(t, GENERATOR, z, pass)?.last())
}

/// D's scores of images with these texts.
fn score(t: &mut Tape, step: &Step<'_>, name: &str, x: Var, text: Var) -> Result<Var> {
    let pass = step.pass(name, None).with(TEXT, text);
    Ok(step.forward(t, DISCRIMINATOR, x, pass)?.last())
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

fn record(t: &mut Tape, step: &mut Step<'_>, loss: Loss, share: f32) -> Result<()> {
    let parts = step.parts().1;
    let n = step.phase.step_images();
    let text = t.feed(TEXT, &[n, step.system.model.text.width()], DType::F32)?;
    let wrong = match share > 0.0 {
        true => {
            let [h, w, c] = step.phase.image;
            let is_float = step.recording.float_images;
            let dtype = if is_float { DType::F32 } else { DType::U8 };
            let images = t.feed(WRONG, &[n, h, w, c], dtype)?;
            Some(if is_float { images } else { step.system.model.pixels.of_bytes(t, images)? })
        }
        false => None,
    };

    step.power_iteration(t, DISCRIMINATOR)?;
    step.power_iteration(t, GENERATOR)?;
    let mut d = step.update(t, DISCRIMINATOR, "lr_d")?;
    for m in 0..parts {
        let draw = step.draw_of(m);
        let x = step.rows(t, step.images, 0, m)?;
        let own = step.rows(t, text, 0, m)?;
        let r = score(t, step, &draw("real"), x, own)?;
        let of_real = loss.real(t, r, 0.0)?;
        d.minimize(t, of_real)?;
        let mut loss_d = of_real;
        if let Some(wrong) = wrong {
            let wrong = step.rows(t, wrong, 0, m)?;
            let w = score(t, step, &draw("wrong"), wrong, own)?;
            let of_wrong = loss.fake(t, w)?;
            let weighted = t.affine(of_wrong, share, 0.0)?;
            d.minimize(t, weighted)?;
            loss_d = t.add(loss_d, weighted)?;
            d.report("d_wrong", loss.mean_output(t, w)?);
        }
        let made = generate(t, step, &draw("z"), own)?;
        let f = score(t, step, &draw("fake"), made, own)?;
        let of_fake = loss.fake(t, f)?;
        let weighted = t.affine(of_fake, 1.0 - share, 0.0)?;
        d.minimize(t, weighted)?;
        d.report("loss_d", plus(t, loss_d, of_fake, 1.0 - share)?);
        d.report("d_real", loss.mean_output(t, r)?);
        d.report("d_fake", loss.mean_output(t, f)?);
    }
    step.apply(t, [d])?;

    step.power_iteration(t, DISCRIMINATOR)?;
    step.power_iteration(t, GENERATOR)?;
    let mut g = step.update(t, GENERATOR, "lr_g")?;
    for m in 0..parts {
        let draw = step.draw_of(m);
        let own = step.rows(t, text, 0, m)?;
        let texts = with_middles(t, own)?;
        let made = generate(t, step, &draw("z.g"), texts)?;
        let f = score(t, step, &draw("generated"), made, texts)?;
        let loss_g = loss.generator(t, f)?;
        g.minimize(t, loss_g)?;
        g.report("loss_g", loss_g);
        g.report("d_fake_g", loss.mean_output(t, f)?);
        if step.recording.fetch_gradients && m == 0 {
            t.fetch("fake", made)?;
        }
    }
    step.apply(t, [g])
}
