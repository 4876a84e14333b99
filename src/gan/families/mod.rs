//! Families of GANs, one file each: their networks, and the recording of a training step.
//!
//! To add one: a file here, a variant of [`Family`] with its arms in [`networks`] and [`system`], a
//! preset, and new networks in [`crate::models`] if needed.

use crate::error::Result;
use crate::gan::objective::OptimizerKind;
use crate::gan::scalar::{Curve, MOMENTUM, Scalar};
use crate::gan::{Family, ObjectiveConfig, Phase, Recorder, Stage, Step, System, TrainConfig};
use crate::model::{Networks, Role};
use crate::objectives::Output;
use crate::tape::Tape;

pub mod acgan;
pub mod ali;
pub mod bigan;
pub mod gan;
pub mod infogan;
pub mod int_cls;
pub mod lapgan;
pub mod mdgan;
pub mod mrgan;
pub mod progressive;
pub mod semi;
pub mod ss_gan;
pub mod stacked;
pub mod stackgan;
pub mod vae;
pub mod vae_gan;

/// The names of the networks that most families have.
pub const GENERATOR: &str = "generator";
/// See [`GENERATOR`].
pub const DISCRIMINATOR: &str = "discriminator";
/// See [`GENERATOR`].
pub const ENCODER: &str = "encoder";

/// The networks with moving averages in families with an encoder.
const AVERAGED: &[Role] = &[Role::Generator, Role::Encoder];

/// The networks that `config` trains.
///
/// # Errors
/// [`crate::error::Error::Config`] if the configuration is invalid.
pub fn networks(config: &TrainConfig) -> Result<Networks> {
    match config.objective.family {
        Family::Gan | Family::Progressive => config.model.networks(),
        Family::Bigan => bigan::networks(config),
        Family::Ali => ali::networks(config),
        Family::Vae => vae::networks(config),
        Family::VaeGan => vae_gan::networks(config),
        Family::Mrgan => mrgan::networks(config),
        Family::Mdgan => mdgan::networks(config),
        Family::Stacked => stacked::networks(config),
        Family::IntCls => int_cls::networks(config),
        Family::StackGan => stackgan::networks(config),
        Family::Lapgan => lapgan::networks(config),
        Family::SsGan => ss_gan::networks(config),
    }
}

/// How `config` trains these networks: its own, or others with the same inputs and outputs.
///
/// # Errors
/// [`crate::error::Error::Tensor`] if the model lacks a network of the family.
pub fn system(config: &TrainConfig, model: Networks) -> Result<System> {
    let system = match config.objective.family {
        Family::Gan => gan::system(config, model),
        Family::Bigan => bigan::system(config, model),
        Family::Ali => ali::system(config, model),
        Family::Vae => vae::system(config, model),
        Family::VaeGan => vae_gan::system(config, model),
        Family::Mrgan => mrgan::system(config, model),
        Family::Mdgan => mdgan::system(config, model),
        Family::IntCls => int_cls::system(config, model),
        Family::StackGan => stackgan::system(config, model),
        Family::Stacked => stacked::system(config, model),
        Family::Lapgan => lapgan::system(config, model),
        Family::Progressive => progressive::system(config, model),
        Family::SsGan => ss_gan::system(config, model),
    }?;
    match config.stage.0.as_str() {
        "" => Ok(system.open_ended()),
        stage => system.only(stage),
    }
}

/// The stages of a family in their order, with the images for which each is trained by default; none
/// if it is trained in one stage.
#[must_use]
pub const fn stages(family: Family) -> &'static [(&'static str, u64)] {
    match family {
        Family::Stacked => &stacked::STAGES,
        Family::StackGan => &stackgan::STAGES,
        Family::Progressive => &progressive::STAGES,
        Family::Lapgan => &lapgan::STAGES,
        Family::SsGan => &ss_gan::STAGES,
        Family::Gan
        | Family::Bigan
        | Family::Ali
        | Family::Vae
        | Family::VaeGan
        | Family::Mrgan
        | Family::Mdgan
        | Family::IntCls => &[],
    }
}

/// The stages of `config`: those of its family, up to the size of its images if they are named by sizes.
pub fn stages_of(config: &TrainConfig) -> impl Iterator<Item = (&'static str, u64)> {
    let (family, size) = (config.objective.family, config.model.size);
    let is_reached =
        move |name: &str| name.parse().is_ok_and(|side: usize| side <= size.height.min(size.width));
    let are_sizes = matches!(family, Family::Progressive | Family::Lapgan);
    let all = stages(family).iter().copied();
    all.filter(move |(name, _)| !are_sizes || is_reached(name))
}

/// The real images for which a stage of `config` is meant to be trained.
#[must_use]
pub fn stage_images(config: &TrainConfig, stage: &str) -> Option<u64> {
    let usual = stages(config.objective.family).iter().find(|(name, _)| *name == stage);
    config.stage_images.get(stage).or(usual.map(|&(_, images)| images))
}

/// The real images for which `config` is trained, by the lengths of its stages; `None` if there is one
/// stage of any length.
#[must_use]
pub fn planned_images(config: &TrainConfig) -> Option<u64> {
    let names = stages_of(config).map(|(name, _)| name);
    let trained = names.filter(|name| config.stage.0.is_empty() || config.stage.0 == *name);
    let each: Vec<u64> = trained.filter_map(|name| stage_images(config, name)).collect();
    (!each.is_empty()).then(|| each.into_iter().fold(0, u64::saturating_add))
}

/// The discriminator's loss at chance, for families where it is meaningful.
#[must_use]
pub fn at_chance(objective: &ObjectiveConfig) -> Option<f32> {
    match objective.family {
        Family::Gan => Some(objective.loss.at_chance(objective.smooth)),
        Family::Bigan | Family::Lapgan => Some(0.5 * objective.loss.at_chance(0.0)),
        Family::Ali | Family::VaeGan | Family::Mrgan | Family::IntCls | Family::StackGan => {
            Some(objective.loss.at_chance(0.0))
        }
        Family::Vae | Family::Mdgan | Family::Stacked | Family::Progressive | Family::SsGan => None,
    }
}

/// How the health checks interpret the discriminator's outputs. With an encoder it is normal that
/// the discriminator separates all pairs: features still improve (the log of BiGAN's authors ends
/// at a loss of .05), so probabilities are ignored there.
#[must_use]
pub fn watched_output(objective: &ObjectiveConfig) -> Output {
    match objective.family {
        Family::Gan
        | Family::Mrgan
        | Family::IntCls
        | Family::StackGan
        | Family::Progressive
        | Family::Lapgan => objective.loss.output(),
        Family::Bigan
        | Family::Ali
        | Family::Vae
        | Family::VaeGan
        | Family::Mdgan
        | Family::Stacked
        | Family::SsGan => Output::Score,
    }
}

/// A system of one phase: `record` records its steps, and `averaged` have moving averages. The stage
/// has the name `name`.
///
/// # Errors
/// [`crate::error::Error::Tensor`] if the model lacks one of these networks.
pub fn one_phase(
    name: &str,
    config: &TrainConfig,
    model: Networks,
    averaged: &[Role],
    record: impl Fn(&mut Tape, &mut Step<'_>) -> Result<()> + Send + Sync + 'static,
) -> Result<System> {
    for &role in averaged {
        model.of(role)?;
    }
    let phase = Phase { record: Recorder::new(record), ..single(config, &model) };
    let averaged = averaged.iter().map(|role| role.name().into()).collect();
    let stages = vec![Stage::new(name, vec![phase])];
    Ok(System { averaged, stages, ..System::new(config, model) })
}

/// The phase of a one-phase family: the configured images, batch and learning rates `lr_d` and
/// `lr_g`, SGD's momentum, and the weight `average` of moving averages. The family determines what it records.
#[must_use]
pub fn single(config: &TrainConfig, model: &Networks) -> Phase {
    let TrainConfig { warm_up, decay, decay_to, decay_power, .. } = *config;
    let curve = |base| match (decay_to, decay_power) {
        (0.0, 1.0) => Curve::Rate { base, warm_up, decay },
        (to, power) => Curve::Fall { base, warm_up, decay, to, power },
    };
    let rate = |name, base| Scalar::new(name, curve(base));
    let mut scalars = vec![
        rate("lr_d", config.lr_d),
        rate("lr_g", config.lr_g),
        Scalar::new("average", Curve::Ema { half_life: config.ema }),
    ];
    if config.objective.optimizer == OptimizerKind::Sgd {
        let from = config.objective.beta1;
        let images = config.momentum_rise;
        let to = if images == 0 { from } else { config.momentum_to };
        scalars.push(Scalar::new(MOMENTUM, Curve::Line { from, to, images }));
    }
    Phase {
        name: "training".into(),
        image: [model.size.height, model.size.width, model.channels],
        batch: config.batch,
        batches: config.objective.n_critic,
        classes: config.model.classes,
        images: None,
        frozen: Vec::new(),
        scalars,
        enter: Vec::new(),
        networks: None,
        record: Recorder::new(|_, _| Ok(())),
    }
}
