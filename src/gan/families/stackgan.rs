//! StackGAN (Zhang, Xu, Li, Zhang, Wang, Huang and Metaxas, arXiv 1612.03242): images from texts in two
//! stages. Stage 1 makes small images; stage 2 makes larger ones of these and of the text. Both draw from
//! a distribution of the text, so that texts between those of the training are seen (conditioning
//! augmentation).
//!
//! With the vector `φ` of an image's caption, `w` a real image that this caption is wrong for, noise `z`,
//! `e1` and `e2` ([`crate::models::stackgan`]), and `real`, `fake` and `adversarial` the loss's terms of a
//! score:
//!
//! ```text
//! stage 1   x̂ = G1(z, c1(φ, e1))     of real images, averaged over squares of pixels to that size
//! stage 2   x̂ = G2(G1*(z, c1(φ, e1)), c2(φ, e2))          G1* is G1's moving average, and frozen
//!
//! { D: real(D(x, φ)) + m fake(D(w, φ)) + (1 − m) fake(D(x̂, φ)) } ;
//! { G: adversarial(D(x̂, φ)) + λ KL }      with new noise; KL = mean ½ (μ² + e²ˢ − 1) − s
//! ```
//!
//! `m` is `mismatch`, `λ` is `kl_weight`. The layer of `(μ, s)` is part of its generator, and has a linear
//! output: with a ReLU, as in the authors' PyTorch code, the deviation could not fall below 1. G1* runs in
//! evaluation mode: its running statistics do not follow stage 2. Without a moving average it is G1.
//!
//! Feeds and draws are those of [`super::int_cls`]; `z` and `z.g` have all parts.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::gan::{Phase, Recorder, Stage, System, TrainConfig};
use crate::model::pipeline::{Call, IMAGES};
use crate::model::{Net, Networks, Pipeline, Role, Weights};
use crate::models::stackgan::{E1, E2, input_of, with_noise};

use super::int_cls::{Before, Matching};
use super::{DISCRIMINATOR, GENERATOR, single, stage_images};

/// The name of G1.
pub const FIRST_GENERATOR: &str = "stage1_generator";
/// The name of D1.
pub const FIRST_DISCRIMINATOR: &str = "stage1_discriminator";
/// The value of the pipeline that G1 gives and G2 takes.
pub const SMALL: &str = "stage1";

/// The stages and their images by default.
pub(super) const STAGES: [(&str, u64); 2] = [("stage1", 200_000), ("stage2", 200_000)];

/// A generator and a discriminator for each stage.
///
/// # Errors
/// [`Error::Config`] if the size does not suit the networks.
pub fn networks(config: &TrainConfig) -> Result<Networks> {
    let model_config = &config.model;
    let all = model_config.stackgan()?;
    let plain = Networks { text: config.text.clone(), ..model_config.description() };
    let mut networks = with_noise(plain, model_config.text_augment, &[E1, E2]);
    let [first_generator, first_discriminator] = all.stage1;
    let [generator, discriminator] = all.stage2;
    networks.by_name = [
        (FIRST_GENERATOR, Net::new(Role::Generator, first_generator)),
        (FIRST_DISCRIMINATOR, Net::new(Role::Discriminator, first_discriminator).on(SMALL)),
        (GENERATOR, Net::new(Role::Generator, generator).on(SMALL)),
        (DISCRIMINATOR, Net::new(Role::Discriminator, discriminator)),
    ]
    .map(|(name, net)| (name.to_owned(), net))
    .into();
    let [first, second] = STAGES.map(|(name, _)| name);
    networks.pipeline = Pipeline(vec![
        Call::new(FIRST_GENERATOR, input_of(&networks), SMALL).trained_in(first).of_images(),
        Call::new(GENERATOR, SMALL, IMAGES).trained_in(second).of_images(),
    ]);
    networks.check().map_err(|what| Error::config("size", format!("{}: {what}", networks.size)))?;
    Ok(networks)
}

/// The system of these networks.
///
/// # Errors
/// [`Error::Tensor`] if the model lacks one of the networks.
pub fn system(config: &TrainConfig, model: Networks) -> Result<System> {
    let phase = |name: &str, matching: Matching| {
        let trained = [matching.generator, matching.discriminator];
        let is_frozen = |name: &&String| !trained.contains(&name.as_str());
        let frozen = model.by_name.keys().filter(is_frozen).cloned().collect();
        let matching = Arc::new(matching);
        Phase {
            name: name.into(),
            images: stage_images(config, name),
            frozen,
            record: Recorder::new(move |t, step| matching.record(t, step)),
            ..single(config, &model)
        }
    };
    let stage = |phase: Phase| Stage::new(&phase.name.clone(), vec![phase]);
    let [first, second] = STAGES.map(|(name, _)| name);
    let weights = Weights::default().of(config.ema > 0);
    let halvings = config.model.upscale.trailing_zeros() as usize;
    let objective = &config.objective;
    let of_first = Matching {
        generator: FIRST_GENERATOR,
        discriminator: FIRST_DISCRIMINATOR,
        halvings,
        ..Matching::new(objective, &model)?
    };
    let of_second = Matching {
        before: Some(Before { network: FIRST_GENERATOR, weights }),
        ..Matching::new(objective, &model)?
    };
    let stages =
        vec![stage(phase(first, of_first)), stage(phase(second, of_second)).after(&[first])];
    let averaged = [FIRST_GENERATOR, GENERATOR].map(str::to_owned).into();
    Ok(System { averaged, stages, ..System::new(config, model) })
}
