//! One training step as a tape: `n_critic` updates of the discriminator, each on a batch of real
//! pictures and one of generated ones, then one of the generator.

use crate::augment::{Adaptive, PROBABILITY};
use crate::error::{Error, Result};
use crate::models::{Codes, Conditioning, Design, LatentLaw, Network, Pixels};
use crate::nn::{Layer, Mode, Param, Pass, Sequential};
use crate::objectives::{self, Output, Penalty};
use crate::optim::moving_average;
use crate::rng::Stream;
use crate::tape::{Tape, Var};
use crate::tensor::{DType, Data, Tensor};

use super::draws::Draws;
use super::method::Method;
use super::schedule::Scheduled;

pub use super::schedule::Schedule;

/// The state that holds the key of the device's random numbers: seed (low, high half), step, 0.
pub const KEY: &str = "key";

/// The prefix of the averaged generator's states.
pub const AVERAGE: &str = "ema";

/// The prefix of the states that hold the means of parameters' past values.
const HISTORY: &str = "history";

/// What a step is made from.
#[derive(Clone, Debug)]
pub struct StepOptions {
    /// The networks.
    pub model: Design,
    /// Pictures in a batch.
    pub batch: usize,
    /// How they are trained.
    pub method: Method,
    /// Keep a moving average of the generator.
    pub average: bool,
    /// Take random numbers from feeds rather than from the device's generator: latents from `z`
    /// `[batch, nz]`, and others under the names that [`record`] lists.
    pub feed_draws: bool,
    /// Also fetch every gradient, as `grad.<parameter>`, and the generated pictures, as `fake`.
    pub fetch_gradients: bool,
}

/// Records a training step. Feeds: `pictures` (bytes, `[n_critic · batch, h, w, c]`), `schedule` (see
/// [`Schedule`]), and `labels` (`[n_critic · batch, classes]`, see [`Tensor::one_hot`]) where the
/// networks are told classes. Fetches: `loss_d`, `loss_real`, `loss_fake`, `loss_g`; `d_real`,
/// `d_fake`, `d_fake_g`, means of the sigmoid of the discriminator's output, or of the output itself
/// where it is a score ([`Output`]); `grad_norm_d`, `grad_norm_g`; `penalty` and `slope` where there
/// is a penalty, `augment_p` where it is adapted. The discriminator's are those of its last update in the step.
///
/// The order of a plain step is PyTorch's example's: D's losses on real and on generated pictures,
/// each batch normalised by itself; D's update; G's loss by the updated D on the same pictures; G's
/// update. The halves of D's gradient are made one after the other, so that only one set of D's
/// activations is alive at a time; a relativistic loss needs both at once. With several updates of D
/// or with micro-batches G's update takes pictures of its own: those of D's would all have to be
/// kept, with every activation on the way to them.
///
/// A semi-supervised step ([`Conditioning::Semi`]) has the feeds `labelled` (bytes,
/// `[batch, h, w, c]`) and `labels` (`[batch, classes]`), pictures whose classes are known, on which
/// the discriminator has to say them, and fetches that cross-entropy as `loss_class`.
///
/// Generated pictures are of the classes of the real ones beside them, as in the authors' MNIST
/// code: both halves of a batch then have the same classes, and classes come as often as they do in
/// the data.
///
/// Vectors of spectral norms take one step of the power method before each update of a network that
/// has some, D's before G's update too: all passes in between share one norm.
///
/// Random draws, as fed where asked for: `z` (and `mix`, `near` for penalties) of a plain step;
/// else `z.<k>.<m>` of D's update `k` and micro-batch `m`, and `z.g.<m>` of G's.
///
/// # Errors
/// [`crate::error::Error::Flag`] where the options make no network, or parts of them do not go
/// together.
pub fn record(t: &mut Tape, options: &StepOptions) -> Result<()> {
    let (generator, discriminator) = (options.model.generator()?, options.model.discriminator()?);
    options.method.check(options.batch)?;
    check_semi(options)?;
    check_penalty(options.method.penalty, &discriminator)?;
    let step = Step::new(t, options, generator, discriminator)?;

    let mut last = Vec::new();
    for k in 0..options.method.n_critic {
        last = step.discriminate(t, k)?;
    }
    step.generate(t, &last)
}

/// Refuses a penalty on a discriminator whose gradient at one picture depends on the others.
fn check_penalty(penalty: Penalty, discriminator: &Sequential) -> Result<()> {
    let batch_norm = |(_, layer): &(String, &Layer)| matches!(layer, Layer::BatchNorm { .. });
    if penalty != Penalty::None && discriminator.each().iter().any(batch_norm) {
        let what = format!(
            "{penalty} is a penalty on the gradient at each picture, and with batch norm in the \
             discriminator that gradient depends on the whole batch: choose another normalisation \
             (--norm-d none or layer)"
        );
        return Err(Error::flag("--penalty", what));
    }
    Ok(())
}

/// Refuses what a semi-supervised step does not have.
fn check_semi(options: &StepOptions) -> Result<()> {
    let plain = options.method.n_critic == 1 && options.method.micro_batch == 0;
    if options.model.conditioning == Conditioning::Semi && options.model.classes > 0 && !plain {
        let what = "semi-supervised training has one update of each network on whole batches: leave \
                    --n-critic and --micro-batch out";
        return Err(Error::flag("--labels-per-class", what));
    }
    Ok(())
}

/// A step while it is being recorded.
struct Step<'a> {
    options: &'a StepOptions,
    generator: Sequential,
    discriminator: Sequential,
    /// All real pictures of the step, as numbers.
    reals: Var,
    /// Their classes, where the generator is told them.
    labels: Option<Var>,
    /// Pictures whose classes are known, and these, where the others' are not.
    labelled: Option<[Var; 2]>,
    draws: Draws,
    schedule: Scheduled,
    /// How likely each augmentation is applied in this step, where that is not always.
    augment_p: Option<Var>,
    /// Weights that are drawn towards orthogonality, and whether they are transposed.
    orthogonal: Vec<(String, bool)>,
}

/// Real and generated pictures of a micro-batch, and their classes.
#[derive(Clone, Copy)]
struct Part {
    real: Var,
    fake: Fake,
    labels: Option<Var>,
}

/// Generated pictures.
#[derive(Clone, Copy)]
struct Fake {
    pictures: Var,
    /// The codes that they were made of `[n, codes]`, where there are any.
    codes: Option<Var>,
}

/// What the discriminator says of pictures.
#[derive(Clone, Copy)]
struct Verdict {
    /// Logits or scores `[n, 1]`.
    scores: Var,
    /// Logits of their classes `[n, classes]`, where it has to say these.
    classes: Option<Var>,
    /// What it takes for their codes `[n, codes]`, where it has to.
    codes: Option<Var>,
    /// What its last layer with weights is given.
    features: Var,
}

impl<'a> Step<'a> {
    fn new(
        t: &mut Tape,
        options: &'a StepOptions,
        generator: Sequential,
        discriminator: Sequential,
    ) -> Result<Self> {
        let Design { size, channels, classes, .. } = options.model;
        let n = options.batch * options.method.n_critic;
        let pictures = t.feed("pictures", &[n, size.height, size.width, channels], DType::U8)?;
        let schedule = Scheduled::feed(t, options.method.n_critic)?;
        let semi = options.model.conditioning == Conditioning::Semi && classes > 0;
        let labels = match classes {
            0 => None,
            classes => Some(t.feed("labels", &[n, classes], DType::F32)?),
        };
        let labelled = match labels.filter(|_| semi) {
            None => None,
            Some(labels) => {
                let shape = [n, size.height, size.width, channels];
                let pictures = t.feed("labelled", &shape, DType::U8)?;
                Some([as_pixels(t, options.model.network, pictures)?, labels])
            }
        };
        let labels = labels.filter(|_| !semi);
        let draws = if options.feed_draws {
            Draws::Fed
        } else {
            let key = t.read(KEY, &[4], DType::U32)?;
            let next = t.advance(key)?;
            t.assign(KEY, next)?;
            Draws::Device(key)
        };
        let reals = as_pixels(t, options.model.network, pictures)?;
        let mut orthogonal = Vec::new();
        if options.method.orthogonal > 0.0 {
            orthogonal.extend(generator.convolutions("generator"));
            orthogonal.extend(discriminator.convolutions("discriminator"));
        }
        let augment_p = match options.method.augment_p {
            _ if options.method.ada > 0.0 => Some(Adaptive::probability(t)?),
            p if p < 1.0 => Some(t.fill(&[], p)?),
            _ => None,
        };
        if let (Some(p), true) = (augment_p, options.method.ada > 0.0) {
            t.fetch("augment_p", p);
        }
        Ok(Self {
            options,
            generator,
            discriminator,
            reals,
            labels,
            labelled,
            draws,
            schedule,
            augment_p,
            orthogonal,
        })
    }

    /// Whether D and G take their steps on the same generated pictures.
    fn is_plain(&self) -> bool {
        let method = &self.options.method;
        method.n_critic == 1 && method.parts(self.options.batch).1 == 1
    }

    /// The name of a draw of D's update `k`, or of G's, for micro-batch `m`.
    fn draw(&self, what: &str, k: Option<usize>, m: usize) -> String {
        match k {
            _ if self.is_plain() => what.into(),
            Some(k) => format!("{what}.{k}.{m}"),
            None => format!("{what}.g.{m}"),
        }
    }

    /// Rows of `all` that belong to micro-batch `m` of D's update `k`.
    fn rows(&self, t: &mut Tape, all: Var, k: usize, m: usize) -> Result<Var> {
        if self.is_plain() {
            return Ok(all);
        }
        let (micro, parts) = self.options.method.parts(self.options.batch);
        let mut shape = t.shape(all).to_vec();
        let row: usize = shape[1..].iter().product();
        shape[0] = micro;
        let rows = t.range(all, (k * parts + m) * micro * row, micro * row)?;
        t.reshape(rows, &shape)
    }

    /// What a pass needs beside its input; `name` sets its random numbers apart.
    fn pass<'n>(&self, name: &'n str, labels: Option<Var>) -> Pass<'n> {
        Pass { labels, mode: Mode::Train, key: self.draws.key(), name }
    }

    /// Generated pictures of the classes `labels`, from latents of this name.
    fn fake(&self, t: &mut Tape, name: &str, labels: Option<Var>) -> Result<Fake> {
        let model = &self.options.model;
        let n = self.options.method.parts(self.options.batch).0;
        let law = model.network.latent_law();
        let z = self.draws.latents(t, name, law, &[n, model.nz])?;
        let z = t.reshape(z, &[n, 1, 1, model.nz])?;
        let outputs = self.generator.trace_pass(t, "generator", z, self.pass(name, labels))?;
        let pictures = outputs.last().copied().unwrap_or(z);
        let is_codes = |layer: &Layer| matches!(layer, Layer::Codes { .. });
        let codes = match self.generator.layers.iter().position(is_codes) {
            None => None,
            Some(at) => {
                let count = model.codes.len();
                let all = t.reshape(outputs[at], &[n, model.nz])?;
                Some(t.slice(all, &[0, model.nz - count], &[n, count])?)
            }
        };
        Ok(Fake { pictures, codes })
    }

    /// What the discriminator, as it is by now, says of pictures of these classes, augmented. `name`
    /// sets the random numbers of this pass apart.
    fn judge(&self, t: &mut Tape, name: &str, x: Var, labels: Option<Var>) -> Result<Verdict> {
        let pass = self.pass(name, labels);
        let mut uniform = |t: &mut Tape, what: &str, shape: &[usize]| {
            self.draws.uniform(t, &format!("{what}.{name}"), shape)
        };
        let x = self.options.method.augment.record(t, x, self.augment_p, &mut uniform)?;
        let outputs = self.discriminator.trace_pass(t, "discriminator", x, pass)?;
        let layers = &self.discriminator.layers;
        let ends = |layer: &Layer| matches!(layer, Layer::Conv { .. } | Layer::Projection { .. });
        let last = layers.iter().rposition(ends).unwrap_or(0);
        // Noise on features would only blur their means.
        let blurs = |layer: &Layer| matches!(layer, Layer::Noise { .. } | Layer::Dropout { .. });
        let last = last - layers[..last].iter().rev().take_while(|l| blurs(l)).count();
        let before = |i: usize| if i == 0 { x } else { outputs[i - 1] };
        let features = before(last);
        let (n, heads) = (t.shape(x)[0], self.options.model.heads());
        let said = t.reshape(before(layers.len()), &[n, 1 + heads])?;
        if heads == 0 {
            return Ok(Verdict { scores: said, classes: None, codes: None, features });
        }
        if self.options.model.conditioning == Conditioning::Semi {
            let score = objectives::log_sum_exp(t, said)?;
            let scores = t.reshape(score, &[n, 1])?;
            return Ok(Verdict { scores, classes: Some(said), codes: None, features });
        }
        let scores = t.slice(said, &[0, 0], &[n, 1])?;
        let mut behind = Vec::new();
        let mut at = 1;
        let count = self.options.model.codes.len();
        for width in [heads - count, count] {
            behind.push(match width {
                0 => None,
                width => Some(t.slice(said, &[0, at], &[n, width])?),
            });
            at += width;
        }
        Ok(Verdict { scores, classes: behind[0], codes: behind[1], features })
    }

    /// Adds the cross-entropy of the classes that D says to `loss`, where it has to say them.
    fn with_classes(
        &self,
        t: &mut Tape,
        loss: Var,
        verdict: Verdict,
        labels: Option<Var>,
    ) -> Result<Var> {
        let (Some(classes), Some(labels)) = (verdict.classes, labels) else { return Ok(loss) };
        let entropy = objectives::cross_entropy(t, classes, labels)?;
        let weighed = t.affine(entropy, self.options.method.class_weight, 0.0)?;
        t.add(loss, weighed)
    }

    /// Adds what D has not recognised of the codes of `fake` to `loss`, where there are codes: the
    /// cross-entropy of the category and a tenth of the mean squared error of the numbers.
    fn with_codes(&self, t: &mut Tape, loss: Var, verdict: Verdict, fake: Fake) -> Result<Var> {
        let (Some(said), Some(codes)) = (verdict.codes, fake.codes) else { return Ok(loss) };
        let Codes { categories, numbers } = self.options.model.codes;
        let n = t.shape(said)[0];
        let mut loss = loss;
        let mut add = |t: &mut Tape, term: Var, weight: f32| {
            let weighed = t.affine(term, self.options.method.info_weight * weight, 0.0)?;
            loss = t.add(loss, weighed)?;
            Ok::<_, Error>(())
        };
        if categories > 0 {
            let part = |t: &mut Tape, x: Var| t.slice(x, &[0, 0], &[n, categories]);
            let (logits, category) = (part(t, said)?, part(t, codes)?);
            let entropy = objectives::cross_entropy(t, logits, category)?;
            add(t, entropy, 1.0)?;
        }
        if numbers > 0 {
            let part = |t: &mut Tape, x: Var| t.slice(x, &[0, categories], &[n, numbers]);
            let (said, is) = (part(t, said)?, part(t, codes)?);
            let off = t.sub(said, is)?;
            let square = t.mul(off, off)?;
            let mean = t.mean_all(square)?;
            add(t, mean, NUMBERS_WEIGHT)?;
        }
        Ok(loss)
    }

    /// Records D's update `k` and returns its pictures.
    fn discriminate(&self, t: &mut Tape, k: usize) -> Result<Vec<Part>> {
        let Method { loss, smooth, penalty, penalty_weight, .. } = self.options.method;
        let (_, parts) = self.options.method.parts(self.options.batch);
        let names = learnt(&self.discriminator, "discriminator");
        // Once for all passes up to the update, as if they were one batch.
        self.discriminator.power_iteration(t, "discriminator")?;
        self.generator.power_iteration(t, "generator")?;
        let weights = read_all(t, &names)?;
        let mut seen = Vec::with_capacity(parts);
        let mut grads = Grads::default();
        let mut told = Told::default();
        for m in 0..parts {
            let real = self.rows(t, self.reals, k, m)?;
            let labels = match self.labels {
                Some(labels) => Some(self.rows(t, labels, k, m)?),
                None => None,
            };
            let fake = self.fake(t, &self.draw("z", Some(k), m), labels)?;
            let part = Part { real, fake, labels };

            let name = |what: &str| self.draw(what, Some(k), m);
            let on_real = self.judge(t, &name("real"), real, labels)?;
            let (on_fake, loss_real, loss_fake) = if loss.is_relativistic() {
                let on_fake = self.judge(t, &name("fake"), fake.pictures, labels)?;
                let above = loss.relative(t, on_real.scores, on_fake.scores)?;
                let below = loss.relative(t, on_fake.scores, on_real.scores)?;
                let (on, of) = (loss.real(t, above, smooth)?, loss.fake(t, below)?);
                let both = t.add(on, of)?;
                let both = self.with_classes(t, both, on_real, labels)?;
                let both = self.with_classes(t, both, on_fake, labels)?;
                let both = self.with_codes(t, both, on_fake, fake)?;
                grads.add(t, both, &weights)?;
                (on_fake, on, of)
            } else {
                let real = loss.real(t, on_real.scores, smooth)?;
                let all = self.with_classes(t, real, on_real, labels)?;
                grads.add(t, all, &weights)?;
                let on_fake = self.judge(t, &name("fake"), fake.pictures, labels)?;
                let of = loss.fake(t, on_fake.scores)?;
                let all = self.with_classes(t, of, on_fake, labels)?;
                let all = self.with_codes(t, all, on_fake, fake)?;
                grads.add(t, all, &weights)?;
                (on_fake, real, of)
            };
            let mut uniform = |t: &mut Tape, what: &str, shape: &[usize]| {
                self.draws.uniform(t, &name(what), shape)
            };
            let mut judge =
                |t: &mut Tape, x| Ok(self.judge(t, &name("penalty"), x, labels)?.scores);
            let pictures = [real, fake.pictures];
            let penalised =
                penalty.record(t, penalty_weight, pictures, &mut uniform, &mut judge)?;
            let mut loss_d = t.add(loss_real, loss_fake)?;
            if let Some(penalised) = penalised {
                grads.add(t, penalised.loss, &weights)?;
                loss_d = t.add(loss_d, penalised.loss)?;
                told.add("penalty", penalised.loss);
                told.add("slope", penalised.slope);
            }
            if let (Some(adaptive), Some(undecided)) =
                (self.options.method.adaptive(), loss.undecided())
            {
                adaptive.follow(t, on_real.scores, undecided)?;
            }
            told.add("loss_d", loss_d);
            told.add("loss_real", loss_real);
            told.add("loss_fake", loss_fake);
            told.add("d_real", self.mean_output(t, on_real.scores)?);
            told.add("d_fake", self.mean_output(t, on_fake.scores)?);
            seen.push(part);
        }
        if let Some([pictures, labels]) = self.labelled {
            let said = self.judge(t, "labelled", pictures, None)?;
            let nothing = t.fill(&[], 0.0)?;
            let entropy = self.with_classes(t, nothing, said, Some(labels))?;
            grads.add(t, entropy, &weights)?;
            told.add("loss_class", entropy);
        }
        told.fetch(t)?;
        let grads = grads.mean(t, parts)?;
        self.update(t, &names, grads, self.schedule.discriminator[k], "grad_norm_d")?;
        Ok(seen)
    }

    /// Records G's update; `seen` is what D's last update was made on.
    fn generate(&self, t: &mut Tape, seen: &[Part]) -> Result<()> {
        let loss = self.options.method.loss;
        let names = learnt(&self.generator, "generator");
        self.discriminator.power_iteration(t, "discriminator")?;
        if !self.is_plain() {
            self.generator.power_iteration(t, "generator")?;
        }
        let weights = read_all(t, &names)?;
        let mut grads = Grads::default();
        let mut told = Told::default();
        for (m, &Part { real, fake, labels }) in seen.iter().enumerate() {
            let fake = if self.is_plain() {
                fake
            } else {
                self.fake(t, &self.draw("z", None, m), labels)?
            };
            let name = |what: &str| self.draw(what, None, m);
            let on_fake = self.judge(t, &name("generated"), fake.pictures, labels)?;
            let loss_g = if self.options.method.feature_matching {
                let on_real = self.judge(t, &name("matched"), real, labels)?;
                feature_distance(t, on_real.features, on_fake.features)?
            } else if loss.is_relativistic() {
                let on_real = self.judge(t, &name("matched"), real, labels)?.scores;
                let above = loss.relative(t, on_real, on_fake.scores)?;
                let below = loss.relative(t, on_fake.scores, on_real)?;
                loss.relativistic_generator(t, above, below)?
            } else {
                loss.generator(t, on_fake.scores)?
            };
            let loss_g = self.with_classes(t, loss_g, on_fake, labels)?;
            let loss_g = self.with_codes(t, loss_g, on_fake, fake)?;
            grads.add(t, loss_g, &weights)?;
            told.add("loss_g", loss_g);
            told.add("d_fake_g", self.mean_output(t, on_fake.scores)?);
            if self.options.fetch_gradients && m == 0 {
                t.fetch("fake", fake.pictures);
            }
        }
        told.fetch(t)?;
        let grads = grads.mean(t, seen.len())?;
        self.update(t, &names, grads, self.schedule.generator, "grad_norm_g")?;
        if self.options.average {
            for param in self.averaged_params() {
                let average = averaged(&param.name);
                if param.averaged {
                    moving_average(t, &average, &param.name, &param.shape, self.schedule.average)?;
                } else {
                    let now = t.read(&param.name, &param.shape, DType::F32)?;
                    t.assign(&average, now)?;
                }
            }
        }
        Ok(())
    }

    /// What there are moving averages of: the generator, and a discriminator that is a classifier.
    fn averaged_params(&self) -> Vec<Param> {
        let mut params = self.generator.params("generator");
        if self.labelled.is_some() {
            params.extend(self.discriminator.params("discriminator"));
        }
        params
    }

    /// The mean of the sigmoid of D's output, or of the output itself where it is a score.
    fn mean_output(&self, t: &mut Tape, scores: Var) -> Result<Var> {
        let output = match self.options.method.loss.output() {
            Output::Probability => t.sigmoid(scores)?,
            Output::Score => scores,
        };
        t.mean_all(output)
    }

    /// Updates the parameters by the gradients of their losses, and fetches the length of all
    /// gradients together, as they are before they are shortened.
    fn update(
        &self,
        t: &mut Tape,
        params: &[Param],
        mut grads: Vec<Var>,
        numbers: [Var; 2],
        norm: &str,
    ) -> Result<()> {
        let method = &self.options.method;
        let optimizer = method.optimizer();
        for (param, g) in params.iter().zip(&mut grads) {
            *g = self.regularised(t, param, *g)?;
        }
        let length = length(t, &grads)?;
        t.fetch(norm, length);
        for (param, mut g) in params.iter().zip(grads) {
            if self.options.fetch_gradients {
                t.fetch(&format!("grad.{}", param.name), g);
            }
            if method.clip_gradients > 0.0 {
                g = shortened(t, g, length, method.clip_gradients)?;
            }
            if method.weight_decay > 0.0 {
                let p = t.read(&param.name, &param.shape, DType::F32)?;
                g = objectives::weight_decay(t, g, p, method.weight_decay)?;
            }
            optimizer.update(t, &param.name, g, numbers)?;
            let limit = method.clip_weights;
            if limit > 0.0 && param.name.starts_with("discriminator.") {
                let p = t.read(&param.name, &param.shape, DType::F32)?;
                let p = t.clamp(p, -limit, limit)?;
                t.assign(&param.name, p)?;
            }
        }
        Ok(())
    }

    /// The gradient `g` of a parameter with those of the terms of the weights themselves.
    fn regularised(&self, t: &mut Tape, param: &Param, g: Var) -> Result<Var> {
        let Method { historical, orthogonal, .. } = self.options.method;
        let mut g = g;
        let p = t.read(&param.name, &param.shape, DType::F32)?;
        if let Some(&(_, transposed)) = self.orthogonal.iter().find(|(name, _)| *name == param.name)
        {
            let term = objectives::orthogonal(t, p, transposed)?;
            let term = t.affine(term, orthogonal, 0.0)?;
            let pull = t.grad(term, &[p])?[0];
            g = t.add(g, pull)?;
        }
        if historical > 0.0 {
            let name = past(&param.name);
            let mean = t.read(&name, &param.shape, DType::F32)?;
            let share = self.schedule.history;
            let [pulled, mean] =
                objectives::historical_averaging(t, g, [p, mean], share, historical)?;
            t.assign(&name, mean)?;
            g = pulled;
        }
        Ok(g)
    }
}

/// Gradients while they add up.
#[derive(Default)]
struct Grads {
    sums: Vec<Var>,
}

impl Grads {
    fn add(&mut self, t: &mut Tape, loss: Var, weights: &[Var]) -> Result<()> {
        let grads = t.grad(loss, weights)?;
        if self.sums.is_empty() {
            self.sums = grads;
            return Ok(());
        }
        for (sum, g) in self.sums.iter_mut().zip(grads) {
            *sum = t.add(*sum, g)?;
        }
        Ok(())
    }

    /// The sums of `parts` parts of a batch, as the gradient of the batch's mean.
    fn mean(self, t: &mut Tape, parts: usize) -> Result<Vec<Var>> {
        match parts {
            1 => Ok(self.sums),
            _ => self.sums.into_iter().map(|g| t.affine(g, 1.0 / parts as f32, 0.0)).collect(),
        }
    }
}

/// Numbers to be fetched while the parts of a batch are recorded: means over the parts.
#[derive(Default)]
struct Told {
    numbers: Vec<(&'static str, Vec<Var>)>,
}

impl Told {
    fn add(&mut self, name: &'static str, number: Var) {
        match self.numbers.iter_mut().find(|(known, _)| *known == name) {
            Some((_, parts)) => parts.push(number),
            None => self.numbers.push((name, vec![number])),
        }
    }

    fn fetch(self, t: &mut Tape) -> Result<()> {
        for (name, parts) in self.numbers {
            let mut sum = parts[0];
            for &part in &parts[1..] {
                sum = t.add(sum, part)?;
            }
            if parts.len() > 1 {
                sum = t.affine(sum, 1.0 / parts.len() as f32, 0.0)?;
            }
            t.fetch(name, sum);
        }
        Ok(())
    }
}

/// Bytes as the numbers that a network takes.
fn as_pixels(t: &mut Tape, network: Network, pictures: Var) -> Result<Var> {
    let x = t.from_u8(pictures)?;
    match network.pixels() {
        Pixels::Signed => Ok(x),
        Pixels::Unit => t.affine(x, 0.5, 0.5),
    }
}

/// Weight of the numbers among codes beside that of the category (Chen et al., appendix C.1: less, so
/// that both terms are of one size).
const NUMBERS_WEIGHT: f32 = 0.1;

/// The Euclidean length of all `grads` together.
fn length(t: &mut Tape, grads: &[Var]) -> Result<Var> {
    let mut total = t.fill(&[], 0.0)?;
    for (i, &g) in grads.iter().enumerate() {
        let square = t.mul(g, g)?;
        let square = t.sum_all(square)?;
        total = if i == 0 { square } else { t.add(total, square)? };
    }
    t.sqrt(total)
}

/// `g` times `limit / length` where `length` is above `limit` (as `torch.nn.utils.clip_grad_norm_`).
fn shortened(t: &mut Tape, g: Var, length: Var, limit: f32) -> Result<Var> {
    let safe = t.affine(length, 1.0 / limit, 1e-6 / limit)?;
    let share = t.recip(safe)?;
    let share = t.clamp(share, 0.0, 1.0)?;
    t.mul(g, share)
}

/// Feature matching (Salimans et al., arXiv 1606.03498, section 3.1): the mean square of the
/// difference between the means of two batches of features.
fn feature_distance(t: &mut Tape, real: Var, fake: Var) -> Result<Var> {
    let real = t.mean(real, &[0])?;
    let fake = t.mean(fake, &[0])?;
    let distance = t.sub(real, fake)?;
    let square = t.mul(distance, distance)?;
    t.mean_all(square)
}

/// The name of the state that holds the mean of a parameter's past values.
fn past(name: &str) -> String {
    format!("{HISTORY}.{name}")
}

fn learnt(network: &Sequential, prefix: &str) -> Vec<Param> {
    network.params(prefix).into_iter().filter(|p| p.learnt).collect()
}

fn read_all(t: &mut Tape, params: &[Param]) -> Result<Vec<Var>> {
    params.iter().map(|p| t.read(&p.name, &p.shape, DType::F32)).collect()
}

/// The name of the averaged twin of a generator's state.
#[must_use]
pub fn averaged(name: &str) -> String {
    format!("{AVERAGE}.{name}")
}

/// Latents `[seeds, nz]` on the host, one row for each seed: the same whatever stands beside it.
#[must_use]
pub fn seeded_latents(seeds: &[u64], nz: usize, law: LatentLaw) -> Tensor {
    let mut z = vec![0.0; seeds.len() * nz];
    for (&seed, row) in seeds.iter().zip(z.chunks_mut(nz)) {
        law.fill(&Stream::new(seed, "latent", 0), row);
    }
    Tensor::new([seeds.len(), nz], z).expect("the data was made for the shape")
}

/// Every state of a training, in the order in which they are made: the networks' tensors, the
/// optimiser's moments, historical means, the averaged generator.
///
/// # Errors
/// [`crate::error::Error::Flag`] where the options make no network.
pub fn params(model: &Design, method: &Method, average: bool) -> Result<Vec<Param>> {
    let networks = model.params()?;
    let mut all = networks.clone();
    for param in networks.iter().filter(|p| p.learnt) {
        let zero = crate::nn::Init::Constant(0.0);
        for name in method.optimizer().moments(&param.name) {
            all.push(Param { name, init: zero, learnt: false, ..param.clone() });
        }
        if method.historical > 0.0 {
            all.push(Param { name: past(&param.name), learnt: false, ..param.clone() });
        }
    }
    if method.ada > 0.0 {
        all.push(Param {
            name: PROBABILITY.into(),
            shape: Vec::new(),
            init: crate::nn::Init::Constant(0.0),
            learnt: false,
            averaged: false,
            layout: crate::nn::Layout::Plain,
        });
    }
    if average {
        let semi = model.conditioning == Conditioning::Semi && model.classes > 0;
        for param in networks.iter().filter(|p| semi || p.name.starts_with("generator.")) {
            all.push(Param { name: averaged(&param.name), learnt: false, ..param.clone() });
        }
    }
    Ok(all)
}

/// The values of all states before the first step: a function of the seed.
///
/// # Errors
/// [`crate::error::Error::Flag`] where the options make no network.
pub fn initial_state(
    model: &Design,
    method: &Method,
    average: bool,
    seed: u64,
) -> Result<Vec<(String, Tensor)>> {
    let mut state: Vec<(String, Tensor)> = Vec::new();
    for param in params(model, method, average)? {
        let twin = [AVERAGE, HISTORY].iter().find_map(|prefix| {
            param.name.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('.'))
        });
        // Averages start at the network itself, whose numbers hang on its name.
        let source = Param { name: twin.unwrap_or(&param.name).into(), ..param.clone() };
        state.push((param.name, source.initial(seed)));
    }
    let key = vec![seed as u32, (seed >> 32) as u32, 0, 0];
    state.push((KEY.into(), Tensor::with_data([4], Data::U32(key))?));
    Ok(state)
}
