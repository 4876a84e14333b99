//! One training step as a tape: `n_critic` updates of the discriminator, each on a batch of real
//! pictures and one of generated ones, then one of the generator.

use crate::augment::Adaptive;
use crate::error::Result;
use crate::models::Design;
use crate::nn::{Param, Sequential};
use crate::optim::moving_average;
use crate::tape::{Tape, Var};
use crate::tensor::DType;

use super::draws::Draws;
use super::method::Method;
use super::scale::{self, LossScale};
use super::schedule::Scheduled;
use super::validate;

mod passes;
mod states;
mod update;

pub use super::schedule::Schedule;
pub use states::{
    AVERAGE, KEY, average_of, averaged, initial_state, params, seeded_latents, twin_of, updates,
};

use states::has_average;
use update::{Grads, Told};

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
    /// Losses are multiplied by a scale: see [`super::scale`].
    pub scaled: bool,
}

/// Records a training step. Feeds: `pictures` (bytes, `[n_critic · batch, h, w, c]`), `schedule`
/// (see [`Schedule`]), and `labels` (`[n_critic · batch, classes]`, see
/// [`crate::tensor::Tensor::one_hot`]) where the networks are told classes. Fetches: `loss_d`,
/// `loss_real`, `loss_fake`, `loss_g`; `d_real`, `d_fake`, `d_fake_g`, means of the sigmoid of the
/// discriminator's output, or of the output itself where it is a score
/// ([`crate::objectives::Output`]); `grad_norm_d`, `grad_norm_g`; `penalty` and `slope` where there
/// is a penalty, `augment_p` where it is adapted. The discriminator's are those of its last update
/// in the step.
///
/// The order of a plain step is PyTorch's example's: D's losses on real and on generated pictures,
/// each batch normalised by itself; D's update; G's loss by the updated D on the same pictures; G's
/// update. The halves of D's gradient are made one after the other, so that only one set of D's
/// activations is alive at a time; a relativistic loss needs both at once. With several updates of D
/// or with micro-batches G's update takes pictures of its own: those of D's would all have to be
/// kept, with every activation on the way to them.
///
/// A semi-supervised step ([`crate::models::Conditioning::Semi`]) has the feeds `labelled` (bytes,
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
/// [`crate::error::Error::Config`] where the options make no network, or parts of them do not go
/// together.
pub fn record(t: &mut Tape, options: &StepOptions) -> Result<()> {
    let (generator, discriminator) = (options.model.generator()?, options.model.discriminator()?);
    validate::step(&options.model, &options.method, options.batch)?;
    let step = Step::new(t, options, generator, discriminator)?;

    let mut last = Vec::new();
    for k in 0..options.method.n_critic {
        last = step.discriminate(t, k)?;
    }
    step.generate(t, &last)?;
    if options.scaled {
        let kept: Vec<Param> = options.model.params()?.into_iter().filter(|p| !p.learnt).collect();
        scale::guard(t, &kept)?;
        let now = t.read(scale::SCALE, &[], DType::F32)?;
        t.fetch(scale::SCALE, now);
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
        let pixels = options.model.network.pixels();
        let semi = options.model.is_semi_supervised();
        let labels = match classes {
            0 => None,
            classes => Some(t.feed("labels", &[n, classes], DType::F32)?),
        };
        let labelled = match labels.filter(|_| semi) {
            None => None,
            Some(labels) => {
                let shape = [n, size.height, size.width, channels];
                let pictures = t.feed("labelled", &shape, DType::U8)?;
                Some([pixels.of_bytes(t, pictures)?, labels])
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
        let reals = pixels.of_bytes(t, pictures)?;
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
        let scale = LossScale::read(t, self.options.scaled)?;
        let mut grads = Grads::new(scale, parts);
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
        let about = ["discriminator", "grad_norm_d"];
        self.update(t, about, &names, grads, self.schedule.discriminator[k])?;
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
        let scale = LossScale::read(t, self.options.scaled)?;
        let mut grads = Grads::new(scale, seen.len());
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
        self.update(t, ["generator", "grad_norm_g"], &names, grads, self.schedule.generator)?;
        if self.options.average {
            let params = self.options.model.params()?.into_iter();
            for param in params.filter(|param| has_average(&self.options.model, param)) {
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

fn learnt(network: &Sequential, prefix: &str) -> Vec<Param> {
    network.params(prefix).into_iter().filter(|p| p.learnt).collect()
}

fn read_all(t: &mut Tape, params: &[Param]) -> Result<Vec<Var>> {
    params.iter().map(|p| t.read(&p.name, &p.shape, DType::F32)).collect()
}
