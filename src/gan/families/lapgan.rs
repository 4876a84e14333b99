//! A Laplacian pyramid of GANs (Denton, Chintala, Szlam and Fergus, arXiv 1506.05751): the base generates
//! small images, and every other level adds to images of half the side what is missing at its own.
//!
//! With `down` and `up` of [`crate::models::lapgan`], `x` real images of a level, `l = up(down(x))`, and
//! `z` the level's noise, a step of one level on a batch of `n` images is
//!
//! ```text
//! { D: ½ mean real(D(x₁)) + ½ mean fake(D(l₂ + h(l₂, z))) } ;   x₁, x₂: the halves of the batch
//! { G: mean real(D(l + h(l, z'))) }                             n images, new noise
//! ```
//!
//! D sees `x = l + (x − l)`, the sum of an image's low-pass and its residual. In the base there is no `l`.
//!
//! Each level is a stage, which needs no other: all see real low-pass images. Only sampling, where `l` is
//! the enlarged image of the level below, takes all of them.
//!
//! Draws: `z` of the images of D's update and `z.g` of G's; with micro-batches `z.0.<m>` and `z.g.<m>`.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::gan::{Phase, Recorder, Stage, Step, System, TrainConfig};
use crate::model::pipeline::{Call, IMAGES};
use crate::model::{Net, Networks, Pipeline, Role};
use crate::models::lapgan::{halved, names, sides};
use crate::objectives::Loss;
use crate::tape::{Tape, Var};

use super::{DISCRIMINATOR, GENERATOR, single, stage_images};

/// The stages, by the shorter side of their images, and their images by default.
pub(super) const STAGES: [(&str, u64); 6] = [
    ("8", 240_000),
    ("16", 240_000),
    ("32", 240_000),
    ("64", 240_000),
    ("128", 240_000),
    ("256", 240_000),
];

/// A level's networks and the value of its images.
struct Names {
    generator: String,
    discriminator: String,
    images: String,
}

/// Those of the level called `level`; the finest one's are the model's.
fn networks_of(level: &str, is_finest: bool) -> Names {
    match is_finest {
        true => Names {
            generator: GENERATOR.into(),
            discriminator: DISCRIMINATOR.into(),
            images: IMAGES.into(),
        },
        false => Names {
            generator: format!("{GENERATOR}_{level}"),
            discriminator: format!("{DISCRIMINATOR}_{level}"),
            images: format!("images_{level}"),
        },
    }
}

/// A generator and a discriminator for each level.
///
/// # Errors
/// [`Error::Config`] if the size does not halve down to the base.
pub fn networks(config: &TrainConfig) -> Result<Networks> {
    let (levels, parts) = config.model.pyramid()?;
    let mut networks = Networks { nz: parts.width(), parts, ..config.model.description() };
    let mut calls = Vec::new();
    let (mut below, count) = (None, levels.len());
    for (i, level) in levels.into_iter().enumerate() {
        let [name, noise] = names(level.side);
        let names = networks_of(&name, i + 1 == count);
        let input = below.unwrap_or(noise);
        calls.push(Call::new(&names.generator, &input, &names.images).trained_in(&name));
        let discriminator = Net::new(Role::Discriminator, level.discriminator);
        let discriminator = match i + 1 == count {
            true => discriminator,
            false => discriminator.on(&names.images),
        };
        networks.by_name.insert(names.generator, Net::new(Role::Generator, level.generator));
        networks.by_name.insert(names.discriminator, discriminator);
        below = Some(names.images);
    }
    networks.pipeline = Pipeline(calls);
    networks.check().map_err(|what| Error::config("size", format!("{}: {what}", networks.size)))?;
    Ok(networks)
}

/// The system of these networks.
///
/// # Errors
/// [`Error::Config`] if the size does not halve down to the base; [`Error::Tensor`] if the model lacks a
/// network.
pub fn system(config: &TrainConfig, model: Networks) -> Result<System> {
    let sides = sides(config.model.size)?;
    let (mut stages, mut averaged) = (Vec::new(), Vec::new());
    let mut below: Vec<String> = Vec::new();
    for (i, &side) in sides.iter().enumerate() {
        let above = sides.len() - 1 - i;
        let [name, noise] = names(side);
        let names = networks_of(&name, above == 0);
        for network in [&names.generator, &names.discriminator] {
            if !model.by_name.contains_key(network) {
                let what = "is no network of this model".into();
                return Err(Error::Tensor { name: network.clone(), what });
            }
        }
        averaged.push(names.generator.clone());
        let is_other =
            |network: &&String| ![&names.generator, &names.discriminator].contains(network);
        let frozen = model.by_name.keys().filter(is_other).cloned().collect();
        let level =
            Arc::new(Level { is_base: i == 0, above, noise, names, loss: config.objective.loss });
        let phase = Phase {
            name: name.clone(),
            images: stage_images(config, &name),
            frozen,
            record: Recorder::new(move |t, step| level.record(t, step)),
            ..single(config, &model)
        };
        let shown: Vec<&str> = below.iter().map(String::as_str).collect();
        stages.push(Stage::new(&name, vec![phase]).shown_after(&shown));
        below.push(name);
    }
    Ok(System { averaged, stages, ..System::new(config, model) })
}

/// How one level is trained.
struct Level {
    is_base: bool,
    /// Levels above it.
    above: usize,
    /// The part of a latent that is its noise.
    noise: String,
    names: Names,
    loss: Loss,
}

/// What images are generated from: those of half the side, above the base, and labels of a conditional
/// model.
#[derive(Clone, Copy)]
struct From {
    count: usize,
    small: Option<Var>,
    labels: Option<Var>,
}

/// Rows `from` to `from + count` of `x`.
fn rows(t: &mut Tape, x: Var, from: usize, count: usize) -> Result<Var> {
    let mut size = t.shape(x).to_vec();
    let mut start = vec![0; size.len()];
    (start[0], size[0]) = (from, count);
    t.slice(x, &start, &size)
}

impl From {
    /// Those of the second half.
    fn second_half(self, t: &mut Tape) -> Result<Self> {
        let half = self.count / 2;
        let mut part = |x: Option<Var>| x.map(|x| rows(t, x, half, half)).transpose();
        let (small, labels) = (part(self.small)?, part(self.labels)?);
        Ok(Self { count: half, small, labels })
    }
}

impl Level {
    fn record(&self, t: &mut Tape, step: &mut Step<'_>) -> Result<()> {
        let parts = step.parts().1;
        let mut seen = Vec::with_capacity(parts);
        let mut d = step.update(t, &self.names.discriminator, "lr_d")?;
        for m in 0..parts {
            let draw = step.draw_of(m);
            let x = step.rows(t, step.images, 0, m)?;
            let x = halved(t, x, self.above)?;
            let labels = step.labels.map(|labels| step.rows(t, labels, 0, m)).transpose()?;
            let small = if self.is_base { None } else { Some(halved(t, x, 1)?) };
            let from = From { count: t.shape(x)[0], small, labels };
            let half = from.count / 2;
            let real = rows(t, x, 0, half)?;
            let real_labels = labels.map(|labels| rows(t, labels, 0, half)).transpose()?;
            let r = self.score(t, step, &draw("real"), real, real_labels)?;
            let others = from.second_half(t)?;
            let fake = self.generate(t, step, &draw("z"), others)?;
            let f = self.score(t, step, &draw("fake"), fake, others.labels)?;
            let (of_real, of_fake) = (self.loss.real(t, r, 0.0)?, self.loss.fake(t, f)?);
            let sum = t.add(of_real, of_fake)?;
            let loss = t.affine(sum, 0.5, 0.0)?;
            d.minimize(t, loss)?;
            d.report("loss_d", loss);
            d.report("d_real", self.loss.mean_output(t, r)?);
            d.report("d_fake", self.loss.mean_output(t, f)?);
            seen.push(from);
        }
        step.apply(t, [d])?;

        let mut g = step.update(t, &self.names.generator, "lr_g")?;
        for (m, from) in seen.into_iter().enumerate() {
            let name = if parts == 1 { "z.g".into() } else { format!("z.g.{m}") };
            let fake = self.generate(t, step, &name, from)?;
            let f = self.score(t, step, &name, fake, from.labels)?;
            let loss = self.loss.generator(t, f)?;
            g.minimize(t, loss)?;
            g.report("loss_g", loss);
            g.report("d_fake_g", self.loss.mean_output(t, f)?);
            if step.recording.fetch_gradients && m == 0 {
                t.fetch("fake", fake)?;
            }
        }
        step.apply(t, [g])
    }

    /// Images of the level, from noise drawn under `name`.
    fn generate(&self, t: &mut Tape, step: &Step<'_>, name: &str, from: From) -> Result<Var> {
        let model = &step.system.model;
        let width = model.parts.range(&self.noise).map_or(0, |range| range.len());
        let z = step.draws.latents(t, name, model.latent_distribution, &[from.count, width])?;
        let pass = step.pass(name, from.labels).with(&self.noise, z);
        let input = match from.small {
            Some(small) => small,
            None => t.reshape(z, &[from.count, 1, 1, width])?,
        };
        Ok(step.forward(t, &self.names.generator, input, pass)?.last())
    }

    /// D's scores of images of the level.
    fn score(
        &self,
        t: &mut Tape,
        step: &Step<'_>,
        name: &str,
        x: Var,
        labels: Option<Var>,
    ) -> Result<Var> {
        let pass = step.pass(name, labels);
        Ok(step.forward(t, &self.names.discriminator, x, pass)?.last())
    }
}
