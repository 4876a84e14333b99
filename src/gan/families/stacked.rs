//! Stacked GAN (Huang et al., arXiv 1612.04357): a classifier's hidden layer is generated from the class,
//! and images are generated from that layer, each by a GAN of its own.
//!
//! E is a classifier with the hidden layer `h1 = E₁(x)` and logits `E₂(h1)`. Its GANs, with noise
//! `z1`, `z0` that their discriminators predict as `Q(·)`:
//!
//! ```text
//! level 1   ĥ = G1(z1, y)    D1 separates h1 and ĥ    condition C = cross-entropy of E₂(ĥ) and y
//! level 0   x̂ = G0(h, z0)    D0 separates x and x̂     condition C = mean (E₁(x̂) − h)²
//!
//! D: ½ mean real(D(x)) + ½ mean fake(D(x̂)) + 10 Q      Q = mean (Q(x̂) − z)²
//! G: mean real(D(x̂)) + λ_c C + λ_e Q                   with new noise, by the updated D
//! ```
//!
//! `Q` is the entropy loss: a generator that ignores its noise cannot be read. It is measured on a
//! scale where uniform noise lies in [0, 1], so that it starts at 1/12 = .083, as if nothing were known.
//!
//! The stages are `encoder` (E alone), `g1` and `g0` (one level each, independently: `h` is h1 of the
//! real image), and `joint` (both levels, `h` is ĥ). As in the authors' MNIST code G1 has no gradient
//! of level 0, also in `joint`. E does not change after its stage.
//!
//! Draws: `z` of the discriminators' updates and `z.g` of the generators'; with micro-batches
//! `z.0.<m>` and `z.g.<m>`.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::gan::{ObjectiveConfig, Phase, Recorder, Stage, Step, System, TrainConfig, Update};
use crate::model::pipeline::{Call, IMAGES};
use crate::model::{Net, Networks, Pipeline, Role};
use crate::models::stacked::{Z0, Z1, feature_layer};
use crate::nn::{Heads, LatentDistribution, Layer, Sequential};
use crate::objectives::{self, Loss};
use crate::tape::{Tape, Var};

use super::gan::plus;
use super::{DISCRIMINATOR, GENERATOR, single, stage_images};

/// The name of E.
pub const CLASSIFIER: &str = "classifier";
/// The name of G1.
pub const FEATURE_GENERATOR: &str = "feature_generator";
/// The name of D1.
pub const FEATURE_DISCRIMINATOR: &str = "feature_discriminator";
/// The value of the pipeline that G1 gives and G0 takes.
pub const FEATURES: &str = "h1";

/// The stages and their images by default: an epoch of MNIST has 60,000, and the authors train for 200.
pub(super) const STAGES: [(&str, u64); 4] =
    [("encoder", 300_000), ("g1", 1_200_000), ("g0", 1_200_000), ("joint", 1_200_000)];

/// Weight of each of D's two terms, and of its prediction of the noise.
const HALF: f32 = 0.5;
const PREDICTION: f32 = 10.0;

/// E, and a generator and a discriminator for each level.
///
/// # Errors
/// [`Error::Config`] if the size does not suit the networks, or there are no classes.
pub fn networks(config: &TrainConfig) -> Result<Networks> {
    let model_config = &config.model;
    let stacked = model_config.stacked()?;
    let mut networks = Networks { parts: stacked.parts, ..model_config.description() };
    networks.heads = model_config.nz / 2;
    let of = |role, network| Net::new(role, network);
    networks.by_name = [
        (CLASSIFIER, of(Role::Classifier, stacked.classifier)),
        (FEATURE_GENERATOR, of(Role::Generator, stacked.feature_generator)),
        (
            FEATURE_DISCRIMINATOR,
            of(Role::Discriminator, stacked.feature_discriminator).on(FEATURES),
        ),
        (GENERATOR, of(Role::Generator, stacked.generator)),
        (DISCRIMINATOR, of(Role::Discriminator, stacked.discriminator)),
    ]
    .map(|(name, net)| (name.to_owned(), net))
    .into();
    networks.pipeline = Pipeline(vec![
        Call::new(FEATURE_GENERATOR, Z1, FEATURES),
        Call::new(GENERATOR, FEATURES, IMAGES),
    ]);
    networks.check().map_err(|what| Error::config("size", format!("{}: {what}", networks.size)))?;
    Ok(networks)
}

/// The system of these networks.
///
/// # Errors
/// [`Error::Tensor`] if the model lacks one of the networks, or its classifier has no hidden layer.
pub fn system(config: &TrainConfig, model: Networks) -> Result<System> {
    let levels = Arc::new(Levels::new(&config.objective, &model)?);
    let phase = |name: &str, trained: &[&str], record: Recorder| Phase {
        name: name.into(),
        images: stage_images(config, name),
        frozen: model.by_name.keys().filter(|n| !trained.contains(&n.as_str())).cloned().collect(),
        record,
        ..single(config, &model)
    };
    let level = |name: &str, levels: &Arc<Levels>, of: &'static [Level]| {
        let trained: Vec<&str> = of.iter().flat_map(|level| level.networks()).collect();
        let levels = Arc::clone(levels);
        phase(name, &trained, Recorder::new(move |t, step| levels.record(t, step, of)))
    };
    let stage =
        |phase: Phase, needs: &[&str]| Stage::new(&phase.name.clone(), vec![phase]).after(needs);
    let [encoder, g1, g0, joint] = STAGES.map(|(name, _)| name);
    let stages = vec![
        stage(phase(encoder, &[CLASSIFIER], Recorder::new(classify)), &[]).unseen(),
        stage(level(g1, &levels, &[Level::Features]), &[encoder]).unseen(),
        stage(level(g0, &levels, &[Level::Images]), &[encoder]),
        stage(level(joint, &levels, &[Level::Features, Level::Images]), &[encoder, g1, g0]),
    ];
    let averaged = [FEATURE_GENERATOR, GENERATOR].map(str::to_owned).into();
    Ok(System { averaged, stages, ..System::new(config, model) })
}

/// Trains E.
fn classify(t: &mut Tape, step: &mut Step<'_>) -> Result<()> {
    step.power_iteration(t, CLASSIFIER)?;
    let mut e = step.update(t, CLASSIFIER, "lr_d")?;
    for m in 0..step.parts().1 {
        let draw = step.draw_of(m);
        let x = step.rows(t, step.images, 0, m)?;
        let labels = labels(t, step, m)?;
        let logits = step.forward(t, CLASSIFIER, x, step.pass(&draw("real"), None))?.last();
        let logits = matrix(t, logits)?;
        let entropy = objectives::cross_entropy(t, logits, labels)?;
        e.minimize(t, entropy)?;
        e.report("loss_class", entropy);
        e.report("accuracy", accuracy(t, logits, labels)?);
    }
    step.apply(t, [e])
}

/// One of the two GANs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    /// Level 1.
    Features,
    /// Level 0.
    Images,
}

impl Level {
    /// Its generator and its discriminator.
    const fn networks(self) -> [&'static str; 2] {
        match self {
            Self::Features => [FEATURE_GENERATOR, FEATURE_DISCRIMINATOR],
            Self::Images => [GENERATOR, DISCRIMINATOR],
        }
    }

    /// The names of D's loss, its outputs for real and generated values, G's loss, the condition and the
    /// error of the predicted noise.
    const fn metrics(self) -> [&'static str; 6] {
        match self {
            Self::Features => {
                ["loss_d1", "d1_real", "d1_fake", "loss_g1", "condition_1", "z_error_1"]
            }
            Self::Images => ["loss_d", "d_real", "d_fake", "loss_g", "condition_0", "z_error_0"],
        }
    }
}

/// Real values of a micro-batch.
struct Real {
    x: Var,
    h: Var,
    labels: Var,
}

/// What a level generated: the value, its noise, and what it was generated from.
struct Made {
    level: Level,
    value: Var,
    noise: Var,
    /// The features of an image.
    from: Var,
}

/// How both levels are trained.
#[derive(Debug)]
struct Levels {
    loss: Loss,
    condition_weight: f32,
    entropy_weight: f32,
    distribution: LatentDistribution,
    /// D's outputs.
    heads: Heads,
    /// E up to h1, and from there on, with the layers in between as placeholders: layers are named by
    /// their position.
    to_features: Sequential,
    from_features: Sequential,
}

impl Levels {
    fn new(objective: &ObjectiveConfig, model: &Networks) -> Result<Self> {
        let missing = |name: &str| Error::Tensor {
            name: name.into(),
            what: "is no network of this model, or has no hidden layer".into(),
        };
        let net = |name: &str| model.by_name.get(name).ok_or_else(|| missing(name));
        for level in [Level::Features, Level::Images] {
            level.networks().into_iter().try_for_each(|name| net(name).map(drop))?;
        }
        let classifier = &net(CLASSIFIER)?.network;
        let at = feature_layer(classifier).ok_or_else(|| missing(CLASSIFIER))?;
        let before = vec![Layer::Identity; at + 1];
        let after = classifier.layers[at + 1..].iter().cloned();
        Ok(Self {
            loss: objective.loss,
            condition_weight: objective.condition_weight,
            entropy_weight: objective.entropy_weight,
            distribution: model.latent_distribution,
            heads: Heads::new([("score", 1), ("noise", model.heads)]),
            to_features: Sequential { layers: classifier.layers[..=at].to_vec() },
            from_features: Sequential { layers: before.into_iter().chain(after).collect() },
        })
    }

    fn record(&self, t: &mut Tape, step: &mut Step<'_>, levels: &[Level]) -> Result<()> {
        let parts = step.parts().1;
        for network in levels.iter().flat_map(|level| level.networks()) {
            step.power_iteration(t, network)?;
        }
        let update = |t: &mut Tape, step: &Step<'_>, which: usize, rate: &str| {
            let each = levels.iter().map(|level| step.update(t, level.networks()[which], rate));
            each.collect::<Result<Vec<Update>>>()
        };
        let mut seen = Vec::with_capacity(parts);
        let mut updates = update(t, step, 1, "lr_d")?;
        for m in 0..parts {
            let real = self.real(t, step, m)?;
            let all = self.generate(t, step, levels, &real, &step.draw_of(m)("z"))?;
            for (made, d) in all.iter().zip(&mut updates) {
                self.discriminate(t, step, d, &real, made)?;
            }
            seen.push(real);
        }
        step.apply(t, updates)?;

        for level in levels {
            step.power_iteration(t, level.networks()[1])?;
        }
        let mut updates = update(t, step, 0, "lr_g")?;
        for (m, real) in seen.iter().enumerate() {
            let name = if parts == 1 { "z.g".into() } else { format!("z.g.{m}") };
            let all = self.generate(t, step, levels, real, &name)?;
            for (made, g) in all.iter().zip(&mut updates) {
                self.improve(t, step, g, real, made)?;
                if step.recording.fetch_gradients && m == 0 {
                    let name = if made.level == Level::Images { "fake" } else { "features" };
                    t.fetch(name, made.value)?;
                }
            }
        }
        step.apply(t, updates)
    }

    /// The real images of micro-batch `m`, with their features.
    fn real(&self, t: &mut Tape, step: &Step<'_>, m: usize) -> Result<Real> {
        let x = step.rows(t, step.images, 0, m)?;
        let labels = labels(t, step, m)?;
        let h = self.features(t, step, x)?;
        Ok(Real { x, h, labels })
    }

    /// `E₁(x)`.
    fn features(&self, t: &mut Tape, step: &Step<'_>, x: Var) -> Result<Var> {
        let pass = step.evaluated("features");
        Ok(self.to_features.record(t, CLASSIFIER, x, &pass)?.last())
    }

    /// What the levels generate from new noise: images from generated features if both are trained.
    fn generate(
        &self,
        t: &mut Tape,
        step: &Step<'_>,
        levels: &[Level],
        real: &Real,
        name: &str,
    ) -> Result<Vec<Made>> {
        let n = t.shape(real.x)[0];
        let z = step.latents(t, name, n)?;
        let parts: Vec<(&str, Var)> = step.system.model.parts.split(t, z)?;
        let part = |wanted: &str| {
            let found = parts.iter().find(|(name, _)| *name == wanted);
            found.map(|&(_, part)| part).ok_or_else(|| Error::Tensor {
                name: wanted.into(),
                what: "is no part of this model's latents".into(),
            })
        };
        let mut all: Vec<Made> = Vec::with_capacity(levels.len());
        for &level in levels {
            let from = all.last().map_or(real.h, |below| below.value);
            let (noise, value) = match level {
                Level::Features => {
                    let z = part(Z1)?;
                    let width = t.shape(z)[1];
                    let input = t.reshape(z, &[n, 1, 1, width])?;
                    let pass = step.pass(name, Some(real.labels));
                    (z, step.forward(t, FEATURE_GENERATOR, input, pass)?.last())
                }
                Level::Images => {
                    let z = part(Z0)?;
                    let pass = step.pass(name, None).with(Z0, z);
                    (z, step.forward(t, GENERATOR, from, pass)?.last())
                }
            };
            all.push(Made { level, value, noise, from });
        }
        Ok(all)
    }

    /// D's logits and its prediction of the noise.
    fn outputs(
        &self,
        t: &mut Tape,
        step: &Step<'_>,
        level: Level,
        name: &str,
        value: Var,
    ) -> Result<[Var; 2]> {
        let output = step.forward(t, level.networks()[1], value, step.pass(name, None))?.last();
        match self.heads.split(t, output)?[..] {
            [(_, score), (_, noise)] => Ok([score, noise]),
            _ => unreachable!("D has two heads"),
        }
    }

    /// The mean squared error of predicted noise; uniform noise counts from 0 to 1.
    fn error(&self, t: &mut Tape, predicted: Var, noise: Var) -> Result<Var> {
        let (predicted, noise) = match self.distribution {
            LatentDistribution::Uniform => (t.sigmoid(predicted)?, t.affine(noise, 0.5, 0.5)?),
            LatentDistribution::Normal => (predicted, noise),
        };
        mean_square(t, predicted, noise)
    }

    /// Adds D's loss on these values to its update.
    fn discriminate(
        &self,
        t: &mut Tape,
        step: &Step<'_>,
        d: &mut Update,
        real: &Real,
        made: &Made,
    ) -> Result<()> {
        let truth = if made.level == Level::Images { real.x } else { real.h };
        let [r, _] = self.outputs(t, step, made.level, "real", truth)?;
        let [f, noise] = self.outputs(t, step, made.level, "fake", made.value)?;
        let (real, fake) = (self.loss.real(t, r, 0.0)?, self.loss.fake(t, f)?);
        let sum = t.add(real, fake)?;
        let loss = t.affine(sum, HALF, 0.0)?;
        let error = self.error(t, noise, made.noise)?;
        let loss = plus(t, loss, error, PREDICTION)?;
        d.minimize(t, loss)?;
        let [loss_d, d_real, d_fake, ..] = made.level.metrics();
        d.report(loss_d, loss);
        d.report(d_real, self.loss.mean_output(t, r)?);
        d.report(d_fake, self.loss.mean_output(t, f)?);
        Ok(())
    }

    /// Adds G's loss on what it generated to its update.
    fn improve(
        &self,
        t: &mut Tape,
        step: &Step<'_>,
        g: &mut Update,
        real: &Real,
        made: &Made,
    ) -> Result<()> {
        let [f, noise] = self.outputs(t, step, made.level, "generated", made.value)?;
        let error = self.error(t, noise, made.noise)?;
        let condition = match made.level {
            Level::Features => {
                let pass = step.evaluated("classes");
                let logits = self.from_features.record(t, CLASSIFIER, made.value, &pass)?.last();
                let logits = matrix(t, logits)?;
                objectives::cross_entropy(t, logits, real.labels)?
            }
            Level::Images => {
                let seen = self.features(t, step, made.value)?;
                mean_square(t, seen, made.from)?
            }
        };
        let adversarial = self.loss.generator(t, f)?;
        let loss = plus(t, adversarial, condition, self.condition_weight)?;
        let loss = plus(t, loss, error, self.entropy_weight)?;
        g.minimize(t, loss)?;
        let [.., loss_g, condition_name, error_name] = made.level.metrics();
        g.report(loss_g, loss);
        g.report(condition_name, condition);
        g.report(error_name, error);
        if made.level == Level::Images {
            g.report("h1_variance", variance(t, made.from)?);
        }
        Ok(())
    }
}

/// The one-hot labels of micro-batch `m`.
fn labels(t: &mut Tape, step: &Step<'_>, m: usize) -> Result<Var> {
    let all = step.labels.ok_or_else(|| Error::Tensor {
        name: "labels".into(),
        what: "are needed: a stacked GAN learns from classes".into(),
    })?;
    step.rows(t, all, 0, m)
}

/// One pixel `[n, 1, 1, c]` as `[n, c]`.
pub(super) fn matrix(t: &mut Tape, x: Var) -> Result<Var> {
    let (n, c) = (t.shape(x)[0], t.shape(x).iter().skip(1).product());
    t.reshape(x, &[n, c])
}

/// `mean (a − b)²`.
fn mean_square(t: &mut Tape, a: Var, b: Var) -> Result<Var> {
    let difference = t.sub(a, b)?;
    let square = t.mul(difference, difference)?;
    t.mean_all(square)
}

/// The mean over all features of their variance in the batch: `condition_0` is to be held against it.
fn variance(t: &mut Tape, features: Var) -> Result<Var> {
    let features = matrix(t, features)?;
    let mean = t.mean(features, &[0])?;
    let width = t.shape(features)[1];
    let mean = t.reshape(mean, &[1, width])?;
    mean_square(t, features, mean)
}

/// The share of the rows whose largest logit is that of their label.
pub(super) fn accuracy(t: &mut Tape, logits: Var, labels: Var) -> Result<Var> {
    let &[n, classes] = t.shape(logits) else { unreachable!("logits are a matrix") };
    let own = t.mul(logits, labels)?;
    let own = t.sum(own, &[1])?;
    let own = t.reshape(own, &[n, 1])?;
    let column = t.reshape(logits, &[n, classes, 1, 1])?;
    let largest = t.max_pool(column, [1, 1])?;
    let largest = t.reshape(largest, &[n, 1])?;
    let wrong = t.greater(largest, own)?;
    let wrong = t.mean_all(wrong)?;
    t.affine(wrong, -1.0, 1.0)
}
