//! SS-GAN (Wang and Gupta, arXiv 1603.05631): the structure of images, their surface normals, is
//! generated first, and then their style, given the normals.
//!
//! With real images `x`, their normals `n` (unit vectors at every pixel), other normals `n'`, and the two
//! parts of a latent, `a` and `b`:
//!
//! ```text
//! structure   n̂ = Gn(a)          Dn separates n and n̂
//! fcn         C(x)                reads the nearest code of n at each pixel of half the size
//! style       x̂ = Gs(n', b)      Ds separates (x, n) and (x̂, n')
//! joint       n̂ and x̂ = Gs(n̂, b), by both
//!
//! r, f = mean softplus(−D(real)), mean softplus(D(generated))
//! { D: r + f, unless it is ahead } ; { G: mean adversarial(D(generated)), unless it is behind }
//! C: mean cross-entropy of its logits and the codes
//! Gs also: λ mean cross-entropy of C(x̂) and the codes of its normals
//! Gn in joint also: .1 mean adversarial(Ds(x̂, n̂)), through Gs alone: n̂ beside x̂ is constant
//! ```
//!
//! `n'` are the normals of the batch's other half, λ is `normals_weight`, and codes are those of a
//! [`Codebook`]. D is ahead if `r` or `f` is below .3, G behind if one is above .7, and neither waits if
//! both would; each pair on its own. The rates of Gn and Dn in `joint` are a tenth of those of Gs and Ds.
//! C does not change after its stage, and is used in evaluation mode then.
//!
//! Where the authors' code differs: C is trained by momentum on enlarged images, and the first thirty
//! updates have lower rates, as with `warm_up` here.
//!
//! Feeds: `normals` `[n, h, w, 3]`, as `images` are. Draws: `z` of the discriminators' updates and `z.g`
//! of the generators'; with micro-batches `z.0.<m>` and `z.g.<m>`.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::gan::scalar::{Curve, Scalar};
use crate::gan::{ObjectiveConfig, Phase, Recorder, Stage, Step, System, TrainConfig, Update};
use crate::model::pipeline::{Call, IMAGES};
use crate::model::{Net, Networks, Pipeline, Role};
use crate::models::ss_gan::{AXES, STRUCTURE, STYLE};
use crate::nn::{Codebook, Layer, Mode, NORMALS, Pass, Sequential};
use crate::objectives::{self, Loss};
use crate::tape::{Tape, Var};
use crate::tensor::DType;

use super::gan::plus;
use super::stacked::{accuracy, matrix};
use super::vae_gan::balance;
use super::{DISCRIMINATOR, GENERATOR, single, stage_images};

/// The name of Gn.
pub const STRUCTURE_GENERATOR: &str = "structure_generator";
/// The name of Dn.
pub const STRUCTURE_DISCRIMINATOR: &str = "structure_discriminator";
/// The name of C.
pub const CLASSIFIER: &str = "classifier";

/// The stages and their images by default: 10 to 20 epochs of 20,000 images.
pub(super) const STAGES: [(&str, u64); 4] =
    [("structure", 400_000), ("fcn", 200_000), ("style", 400_000), ("joint", 200_000)];

/// Losses below which D is ahead, and above which G is behind.
const LIMITS: [f32; 2] = [0.3, 0.7];

/// Weight of the style's adversarial loss for Gn, and the factor of the rates of Gn and Dn, in the
/// stage of both.
const STYLE_WEIGHT: f32 = 0.1;
const SLOWER: f64 = 0.1;

/// The scalars of the rates of Gn and Dn in the stage of both.
const RATES: [(&str, &str); 2] = [("lr_d", "lr_dn"), ("lr_g", "lr_gn")];

/// Two generators, a discriminator for each, and the classifier.
///
/// # Errors
/// [`Error::Config`] if the networks are others, or the size does not suit them.
pub fn networks(config: &TrainConfig) -> Result<Networks> {
    let model_config = &config.model;
    let all = model_config.ss_gan()?;
    let mut networks = Networks { parts: all.parts, ..model_config.description() };
    let of = |role, network| Net::new(role, network);
    networks.by_name = [
        (STRUCTURE_GENERATOR, of(Role::Generator, all.structure_generator)),
        (STRUCTURE_DISCRIMINATOR, of(Role::Discriminator, all.structure_discriminator).on(NORMALS)),
        (GENERATOR, of(Role::Generator, all.generator)),
        (DISCRIMINATOR, of(Role::Discriminator, all.discriminator)),
        (CLASSIFIER, of(Role::Classifier, all.classifier)),
    ]
    .map(|(name, net)| (name.to_owned(), net))
    .into();
    networks.pipeline = Pipeline(vec![
        Call::new(STRUCTURE_GENERATOR, STRUCTURE, NORMALS).trained_in("structure").of_images(),
        Call::new(GENERATOR, NORMALS, IMAGES).trained_in("style").of_images(),
    ]);
    networks.check().map_err(|what| Error::config("size", format!("{}: {what}", networks.size)))?;
    Ok(networks)
}

/// The system of these networks.
///
/// # Errors
/// [`Error::Tensor`] if the model lacks one of the networks, or its classifier has no codebook.
pub fn system(config: &TrainConfig, model: Networks) -> Result<System> {
    let levels = Arc::new(Levels::new(&config.objective, &model)?);
    let phase = |name: &str, trained: &[&str], record: Recorder| Phase {
        name: name.into(),
        images: stage_images(config, name),
        frozen: model.by_name.keys().filter(|n| !trained.contains(&n.as_str())).cloned().collect(),
        record,
        ..single(config, &model)
    };
    let level = |name: &str, of: &'static [Level]| {
        let trained: Vec<&str> = of.iter().flat_map(|level| level.networks()).collect();
        let levels = Arc::clone(&levels);
        phase(name, &trained, Recorder::new(move |t, step| levels.record(t, step, of)))
    };
    let reader = Arc::clone(&levels);
    let read = Recorder::new(move |t, step| reader.classify(t, step));
    let [structure, fcn, style, joint] = STAGES.map(|(name, _)| name);
    let mut both = level(joint, &[Level::Structure, Level::Style]);
    let slower: Vec<Scalar> = RATES
        .iter()
        .filter_map(|(of, name)| {
            let usual = both.scalars.iter().find(|scalar| scalar.name == *of)?;
            Some(Scalar::new(name, times(usual.curve, SLOWER)))
        })
        .collect();
    both.scalars.extend(slower);
    let stage =
        |phase: Phase, needs: &[&str]| Stage::new(&phase.name.clone(), vec![phase]).after(needs);
    let stages = vec![
        stage(level(structure, &[Level::Structure]), &[]).unseen(),
        stage(phase(fcn, &[CLASSIFIER], read), &[]).unseen(),
        stage(level(style, &[Level::Style]), &[fcn]),
        stage(both, &[structure, fcn, style]),
    ];
    let averaged = [STRUCTURE_GENERATOR, GENERATOR].map(str::to_owned).into();
    Ok(System { averaged, stages, ..System::new(config, model) })
}

/// The same learning rate times `factor`.
fn times(curve: Curve, factor: f64) -> Curve {
    match curve {
        Curve::Rate { base, warm_up, decay } => Curve::Rate { base: base * factor, warm_up, decay },
        Curve::Fall { base, warm_up, decay, to, power } => {
            Curve::Fall { base: base * factor, warm_up, decay, to: to * factor, power }
        }
        other => other,
    }
}

/// One of the two GANs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    /// Of normals.
    Structure,
    /// Of images.
    Style,
}

impl Level {
    /// Its generator and its discriminator.
    const fn networks(self) -> [&'static str; 2] {
        match self {
            Self::Structure => [STRUCTURE_GENERATOR, STRUCTURE_DISCRIMINATOR],
            Self::Style => [GENERATOR, DISCRIMINATOR],
        }
    }

    /// The names of D's loss, its outputs for real and generated values, whether it is updated, and G's
    /// loss and whether that is.
    const fn metrics(self) -> [&'static str; 6] {
        match self {
            Self::Structure => {
                ["loss_dn", "dn_real", "dn_fake", "updated_dn", "loss_gn", "updated_gn"]
            }
            Self::Style => ["loss_d", "d_real", "d_fake", "updated_d", "loss_g", "updated_g"],
        }
    }
}

/// Real values of a micro-batch.
#[derive(Clone, Copy)]
struct Real {
    images: Var,
    normals: Var,
}

/// What was generated: normals and, from these or from real ones, images.
struct Made {
    /// What a level generated.
    value: Var,
    /// The normals of an image.
    normals: Var,
}

/// How both levels and the classifier are trained.
#[derive(Debug)]
struct Levels {
    loss: Loss,
    normals_weight: f32,
    codebook: Codebook,
    /// The name of the codebook's layer.
    scope: String,
}

impl Levels {
    fn new(objective: &ObjectiveConfig, model: &Networks) -> Result<Self> {
        let missing = |name: &str| Error::Tensor {
            name: name.into(),
            what: "is no network of this model, or does not end in a codebook".into(),
        };
        let net = |name: &str| model.by_name.get(name).ok_or_else(|| missing(name));
        for level in [Level::Structure, Level::Style] {
            level.networks().into_iter().try_for_each(|name| net(name).map(drop))?;
        }
        let layers = &net(CLASSIFIER)?.network.layers;
        let Some(Layer::Codebook(codebook)) = layers.last() else {
            return Err(missing(CLASSIFIER));
        };
        Ok(Self {
            loss: objective.loss,
            normals_weight: objective.normals_weight,
            codebook: *codebook,
            scope: format!("{CLASSIFIER}.main.{}", layers.len() - 1),
        })
    }

    /// Trains C.
    fn classify(&self, t: &mut Tape, step: &mut Step<'_>) -> Result<()> {
        step.power_iteration(t, CLASSIFIER)?;
        let mut c = step.update(t, CLASSIFIER, "lr_d")?;
        for (m, real) in reals(t, step)?.into_iter().enumerate() {
            let draw = step.draw_of(m);
            let (logits, codes) = self.read(t, step, &draw("real"), real.images, real.normals)?;
            let entropy = objectives::cross_entropy(t, logits, codes)?;
            c.minimize(t, entropy)?;
            c.report("loss_class", entropy);
            c.report("accuracy", accuracy(t, logits, codes)?);
        }
        step.apply(t, [c])
    }

    /// C's logits for images, and the codes of their normals, one-hot: a row for each pixel of half the
    /// size.
    fn read(
        &self,
        t: &mut Tape,
        step: &Step<'_>,
        name: &str,
        images: Var,
        normals: Var,
    ) -> Result<(Var, Var)> {
        let pass = step.forward(t, CLASSIFIER, images, step.pass(name, None))?;
        let last = pass.each().len() - 1;
        let logits = rows(t, pass.before(last))?;
        let normals = t.stop(normals)?;
        let halved = Sequential { layers: vec![Layer::AveragePool] };
        let halved = halved.record(t, "halved", normals, &Pass::new(Mode::Eval))?.last();
        let halved = rows(t, halved)?;
        let codes = self.codebook.vectors(t, &self.scope)?;
        let likeness = t.matmul(halved, codes)?;
        let &[n, count] = t.shape(likeness) else { unreachable!("a product is a matrix") };
        let column = t.reshape(likeness, &[n, count, 1, 1])?;
        let largest = t.max_pool(column, [1, 1])?;
        let largest = t.reshape(largest, &[n, 1])?;
        let less = t.greater(largest, likeness)?;
        Ok((logits, t.affine(less, -1.0, 1.0)?))
    }

    fn record(&self, t: &mut Tape, step: &mut Step<'_>, levels: &[Level]) -> Result<()> {
        let parts = step.parts().1;
        let is_joint = levels.len() > 1;
        for network in levels.iter().flat_map(|level| level.networks()) {
            step.power_iteration(t, network)?;
        }
        let update = |t: &mut Tape, step: &Step<'_>, which: usize| {
            let rate = |level: Level| match (level, is_joint) {
                (Level::Structure, true) => RATES[1 - which].1,
                _ => RATES[1 - which].0,
            };
            let each =
                levels.iter().map(|&level| step.update(t, level.networks()[which], rate(level)));
            each.collect::<Result<Vec<Update>>>()
        };
        let reals = reals(t, step)?;
        let mut updates = update(t, step, 1)?;
        let mut losses: Vec<Option<[Var; 2]>> = vec![None; levels.len()];
        for (m, &real) in reals.iter().enumerate() {
            let all = self.generate(t, step, levels, real, &step.draw_of(m)("z"))?;
            for (i, made) in all.iter().enumerate() {
                let [r, f] =
                    self.discriminate(t, step, &mut updates[i], levels[i], (m, real), made)?;
                losses[i] = Some(match losses[i] {
                    Some([a, b]) => [t.add(a, r)?, t.add(b, f)?],
                    None => [r, f],
                });
            }
        }
        let mut masks = Vec::with_capacity(levels.len());
        let mut masked = Vec::with_capacity(levels.len());
        for ((level, d), losses) in levels.iter().zip(updates).zip(losses) {
            let [r, f] = losses.expect("a batch has a part");
            let share = 1.0 / parts as f32;
            let both = [t.affine(r, share, 0.0)?, t.affine(f, share, 0.0)?];
            let [updates_d, updates_g] = balance(t, both, LIMITS)?;
            let [.., updated_d, _, updated_g] = level.metrics();
            step.report(t, updated_d, updates_d);
            step.report(t, updated_g, updates_g);
            masks.push(updates_g);
            masked.push(d.masked(updates_d));
        }
        step.apply(t, masked)?;

        for level in levels {
            step.power_iteration(t, level.networks()[1])?;
        }
        let mut updates = update(t, step, 0)?;
        for (m, &real) in reals.iter().enumerate() {
            let name = if parts == 1 { "z.g".into() } else { format!("z.g.{m}") };
            let all = self.generate(t, step, levels, real, &name)?;
            self.improve(t, step, levels, &mut updates, (m, &all))?;
            if step.recording.fetch_gradients && m == 0 {
                for (level, made) in levels.iter().zip(&all) {
                    let name = if *level == Level::Style { "fake" } else { "fake_normals" };
                    t.fetch(name, made.value)?;
                }
            }
        }
        let masked = updates.into_iter().zip(masks).map(|(g, mask)| g.masked(mask));
        step.apply(t, masked.collect::<Vec<_>>())
    }

    /// What the levels generate from new noise: images of generated normals if both are trained.
    fn generate(
        &self,
        t: &mut Tape,
        step: &Step<'_>,
        levels: &[Level],
        real: Real,
        name: &str,
    ) -> Result<Vec<Made>> {
        let n = t.shape(real.images)[0];
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
            let made = match level {
                Level::Structure => {
                    let z = part(STRUCTURE)?;
                    let width = t.shape(z)[1];
                    let z = t.reshape(z, &[n, 1, 1, width])?;
                    let pass = step.pass(name, None);
                    let value = step.forward(t, STRUCTURE_GENERATOR, z, pass)?.last();
                    Made { value, normals: value }
                }
                Level::Style => {
                    let normals = match all.last() {
                        Some(before) => before.value,
                        None => other_half(t, real.normals)?,
                    };
                    let pass = step.pass(name, None).with(STYLE, part(STYLE)?);
                    let value = step.forward(t, GENERATOR, normals, pass)?.last();
                    Made { value, normals }
                }
            };
            all.push(made);
        }
        Ok(all)
    }

    /// D's logits.
    fn scores(
        &self,
        t: &mut Tape,
        step: &Step<'_>,
        level: Level,
        name: &str,
        [value, normals]: [Var; 2],
    ) -> Result<Var> {
        let normals = t.stop(normals)?;
        let pass = step.pass(name, None).with(NORMALS, normals);
        let scores = step.forward(t, level.networks()[1], value, pass)?.last();
        matrix(t, scores)
    }

    /// Adds D's losses on these values to its update, and returns them.
    fn discriminate(
        &self,
        t: &mut Tape,
        step: &Step<'_>,
        d: &mut Update,
        level: Level,
        (m, real): (usize, Real),
        made: &Made,
    ) -> Result<[Var; 2]> {
        let truth = match level {
            Level::Structure => real.normals,
            Level::Style => real.images,
        };
        let draw = step.draw_of(m);
        let r = self.scores(t, step, level, &draw("real"), [truth, real.normals])?;
        let f = self.scores(t, step, level, &draw("fake"), [made.value, made.normals])?;
        let losses = [self.loss.real(t, r, 0.0)?, self.loss.fake(t, f)?];
        let loss = t.add(losses[0], losses[1])?;
        d.minimize(t, loss)?;
        let [loss_d, d_real, d_fake, ..] = level.metrics();
        d.report(loss_d, loss);
        d.report(d_real, self.loss.mean_output(t, r)?);
        d.report(d_fake, self.loss.mean_output(t, f)?);
        Ok(losses)
    }

    /// Adds the generators' losses on what they generated to their updates.
    fn improve(
        &self,
        t: &mut Tape,
        step: &Step<'_>,
        levels: &[Level],
        updates: &mut [Update],
        (m, all): (usize, &[Made]),
    ) -> Result<()> {
        let draw = step.draw_of(m);
        let mut losses = Vec::with_capacity(levels.len());
        for (&level, made) in levels.iter().zip(all) {
            let f = self.scores(t, step, level, &draw("generated"), [made.value, made.normals])?;
            losses.push(self.loss.generator(t, f)?);
        }
        let adversarial = losses.clone();
        for (i, level) in levels.iter().enumerate() {
            match level {
                Level::Structure => {
                    if let Some(&style) = adversarial.get(i + 1) {
                        losses[i] = plus(t, losses[i], style, STYLE_WEIGHT)?;
                    }
                }
                Level::Style => {
                    let Made { value, normals } = all[i];
                    let (logits, codes) = self.read(t, step, &draw("read"), value, normals)?;
                    let entropy = objectives::cross_entropy(t, logits, codes)?;
                    losses[i] = plus(t, losses[i], entropy, self.normals_weight)?;
                    updates[i].report("code_entropy", entropy);
                    updates[i].report("code_accuracy", accuracy(t, logits, codes)?);
                }
            }
            updates[i].minimize(t, losses[i])?;
            updates[i].report(level.metrics()[4], losses[i]);
        }
        Ok(())
    }
}

/// The real images of the step with their normals, by micro-batch.
fn reals(t: &mut Tape, step: &Step<'_>) -> Result<Vec<Real>> {
    let [h, w, _] = step.phase.image;
    let is_float = step.recording.float_images;
    let dtype = if is_float { DType::F32 } else { DType::U8 };
    let normals = t.feed(NORMALS, &[step.phase.step_images(), h, w, AXES], dtype)?;
    let normals = if is_float { normals } else { step.system.model.pixels.of_bytes(t, normals)? };
    // Bytes are rounded.
    let normals = t.unit_length(normals)?;
    let part = |m| {
        let images = step.rows(t, step.images, 0, m)?;
        Ok(Real { images, normals: step.rows(t, normals, 0, m)? })
    };
    (0..step.parts().1).map(part).collect()
}

/// The second half of the rows, then the first.
fn other_half(t: &mut Tape, x: Var) -> Result<Var> {
    let shape = t.shape(x).to_vec();
    let row: usize = shape[1..].iter().product();
    let (n, half) = (shape[0], shape[0] / 2);
    let part = |t: &mut Tape, from: usize, count: usize| {
        let part = t.range(x, from * row, count * row)?;
        t.reshape(part, &[&[count], &shape[1..]].concat())
    };
    let (second, first) = (part(t, half, n - half)?, part(t, 0, half)?);
    t.concat(&[second, first], 0)
}

/// The pixels of `x` `[n, h, w, c]` as rows.
fn rows(t: &mut Tape, x: Var) -> Result<Var> {
    let &[n, h, w, c] = t.shape(x) else { unreachable!("images have four axes") };
    t.reshape(x, &[n * h * w, c])
}
