//! A training without its surroundings: networks and optimiser on a device, step by step.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::device::{Device, State};
use crate::error::{Error, Result};
use crate::human;
use crate::models::{Design, Networks};
use crate::nn::Layout;
use crate::program::{
    Choices, MemoryReport, Options, Precision, Program, StepTime, Ticket, preflight,
};
use crate::sample::Sampler;
use crate::tape::Tape;
use crate::tensor::{Data, Tensor};

use super::method::Method;
use super::step::{self, AVERAGE, KEY, Schedule, StepOptions};

mod start;

pub use start::first_pictures;

/// Everything that decides the numbers of a training, but its pictures and the device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// The networks.
    pub model: Design,
    /// Pictures in a batch.
    pub batch: usize,
    /// Decides initial weights, latents, the order of pictures, flips and crops.
    pub seed: u64,
    /// The discriminator's learning rate.
    pub lr_d: f64,
    /// The generator's learning rate.
    pub lr_g: f64,
    /// Real pictures over which the learning rates rise from 0; 0 for none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub warm_up: u64,
    /// Real pictures over which the learning rates fall to 0, in a straight line from the start;
    /// 0 where they do not fall.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub decay: u64,
    /// How the networks are trained.
    #[serde(flatten)]
    pub method: Method,
    /// Half-life of the generator's moving average, in pictures; 0 for no average.
    pub ema: u64,
    /// Pictures of each class whose label is used, where training is semi-supervised; else 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub labels_per_class: u64,
    /// How a GPU keeps activations and their gradients.
    #[serde(default, skip_serializing_if = "is_f32")]
    pub precision: Precision,
    /// The names of the classes that the networks are told, by label; none where they are told
    /// none, or where classes are called by their numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<String>,
}

/// Share of the pictures seen so far that the average's half-life may not exceed: early on the
/// generator changes fast, and an average over its first noise would show for long (Karras et al.,
/// arXiv 2006.06676, appendix).
const EMA_RAMP: f64 = 0.05;

/// The most pictures of a step, and of a training: numbers up to here are whole in 64-bit floats.
const LARGEST: usize = 1 << 28;
const MOST_SEEN: u64 = 1 << 53;

fn is_f32(precision: &Precision) -> bool {
    *precision == Precision::F32
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl Recipe {
    /// The recipe of a network at default settings.
    #[must_use]
    pub fn new(model: Design) -> Self {
        let batch = model.network.batch();
        Self {
            model,
            batch,
            seed: 0,
            lr_d: 2e-4,
            lr_g: 2e-4,
            warm_up: 0,
            decay: 0,
            method: Method::default(),
            ema: 10_000,
            labels_per_class: 0,
            precision: Precision::F32,
            classes: Vec::new(),
        }
    }

    /// Real pictures that one step sees.
    #[must_use]
    pub fn step_pictures(&self) -> usize {
        self.batch * self.method.n_critic
    }

    /// Real pictures that so many steps see; none where they cannot be counted, so that something is
    /// wrong with these numbers.
    #[must_use]
    pub fn seen(&self, steps: u64) -> Option<u64> {
        let batch = self.batch.checked_mul(self.method.n_critic).filter(|&n| n <= LARGEST)?;
        steps.checked_mul(batch as u64).filter(|&n| n < MOST_SEEN)
    }

    /// What a step is made from.
    #[must_use]
    pub fn step_options(&self) -> StepOptions {
        StepOptions {
            model: self.model,
            batch: self.batch,
            method: self.method,
            average: self.ema > 0,
            feed_draws: false,
            fetch_gradients: false,
            scaled: self.precision == Precision::F16,
        }
    }

    /// The numbers of step `step`, from 1.
    fn schedule(&self, step: u64) -> Schedule {
        let seen = (step * self.step_pictures() as u64) as f64;
        let factor = self.rate_factor(step);
        let half_life = (self.ema as f64).min(EMA_RAMP * seen).max(1e-8);
        let average = 1.0 - 0.5_f64.powf(self.step_pictures() as f64 / half_life);
        Schedule {
            discriminator: vec![(self.lr_d * factor) as f32; self.method.n_critic],
            generator: (self.lr_g * factor) as f32,
            average: average as f32,
        }
    }

    /// What both learning rates are multiplied by in step `step`, from 1.
    fn rate_factor(&self, step: u64) -> f64 {
        let before = ((step - 1) * self.step_pictures() as u64) as f64;
        let after = before + self.step_pictures() as f64;
        let rise = if self.warm_up == 0 { 1.0 } else { (after / self.warm_up as f64).min(1.0) };
        let fall = if self.decay == 0 { 1.0 } else { (1.0 - before / self.decay as f64).max(0.0) };
        rise * fall
    }

    /// Both networks in full, with the names of their classes.
    ///
    /// # Errors
    /// [`Error::Flag`] where the recipe makes no network, or names other classes than it has.
    pub fn networks(&self) -> Result<Networks> {
        let networks = self.model.networks()?;
        if self.classes.is_empty() {
            return Ok(networks);
        }
        if self.classes.len() != self.model.classes {
            let what = format!("{} classes have {} names", self.model.classes, self.classes.len());
            return Err(Error::flag("--conditional", what));
        }
        match self.model.is_conditional() {
            true => Ok(Networks { classes: self.classes.clone(), ..networks }),
            false => Ok(networks),
        }
    }

    /// The step as a tape.
    ///
    /// # Errors
    /// [`Error::Flag`] where the recipe makes no network.
    pub fn tape(&self) -> Result<Tape> {
        let mut tape = Tape::new();
        step::record(&mut tape, &self.step_options())?;
        Ok(tape)
    }
}

/// The numbers of one step, or means of several.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Metrics {
    /// The discriminator's loss.
    pub loss_d: f32,
    /// The generator's loss.
    pub loss_g: f32,
    /// Mean of sigmoid(D(x)), or of D(x) where it is a score.
    pub d_real: f32,
    /// The same of D(G(z)) in D's step.
    pub d_fake: f32,
    /// The same in G's step.
    pub d_fake_g: f32,
    /// Euclidean norm of D's gradient.
    pub grad_norm_d: f32,
    /// Euclidean norm of G's gradient.
    pub grad_norm_g: f32,
    /// The penalty in D's loss, where there is one.
    pub penalty: Option<f32>,
    /// Mean length of D's gradient with respect to a picture, where it is penalised.
    pub slope: Option<f32>,
    /// How likely augmentations are applied, where that is adapted.
    pub augment_p: Option<f32>,
    /// D's cross-entropy on labelled pictures, where training is semi-supervised.
    pub loss_class: Option<f32>,
    /// What losses are multiplied by, where training is in 16 bits.
    pub loss_scale: Option<f32>,
}

impl Metrics {
    fn of(fetched: &BTreeMap<String, Tensor>) -> Self {
        let find = |name: &str| fetched.get(name).map(|t| t.f32s()[0]);
        let get = |name: &str| find(name).unwrap_or(f32::NAN);
        Self {
            loss_d: get("loss_d"),
            loss_g: get("loss_g"),
            d_real: get("d_real"),
            d_fake: get("d_fake"),
            d_fake_g: get("d_fake_g"),
            grad_norm_d: get("grad_norm_d"),
            grad_norm_g: get("grad_norm_g"),
            penalty: find("penalty"),
            slope: find("slope"),
            augment_p: find("augment_p"),
            loss_class: find("loss_class"),
            loss_scale: find("loss_scale"),
        }
    }

    /// All numbers that there are.
    fn numbers(&mut self) -> impl Iterator<Item = &mut f32> {
        let always = [
            &mut self.loss_d,
            &mut self.loss_g,
            &mut self.d_real,
            &mut self.d_fake,
            &mut self.d_fake_g,
            &mut self.grad_norm_d,
            &mut self.grad_norm_g,
        ];
        always
            .into_iter()
            .chain(&mut self.penalty)
            .chain(&mut self.slope)
            .chain(&mut self.augment_p)
            .chain(&mut self.loss_class)
            .chain(&mut self.loss_scale)
    }

    /// The mean of several steps of one training; NaN of none.
    #[must_use]
    pub fn mean(many: &[Self]) -> Self {
        let mut mean = many.first().copied().unwrap_or_default();
        mean.numbers().for_each(|x| *x = 0.0);
        for one in many {
            let mut one = *one;
            for (mean, x) in mean.numbers().zip(one.numbers()) {
                *mean += *x;
            }
        }
        mean.numbers().for_each(|x| *x /= many.len() as f32);
        mean
    }

    /// Whether every number is one.
    #[must_use]
    pub fn is_finite(mut self) -> bool {
        self.numbers().all(|x| x.is_finite())
    }
}

/// Steps whose results have not come back yet: the CPU does not wait for the device.
const LATE: usize = 2;

/// Networks in training on one device.
#[derive(Debug)]
pub struct Trainer {
    recipe: Recipe,
    options: Options,
    state: State,
    program: Program,
    pending: VecDeque<Ticket>,
    /// Steps done.
    step: u64,
}

impl Trainer {
    /// Fresh networks. Those whose weight norm starts by data want [`Trainer::start_on`] before the
    /// first step.
    ///
    /// # Errors
    /// [`Error::Memory`] where the batch does not fit the device, with the batch that does;
    /// [`Error::Flag`] where the recipe makes no network; [`Error::Shader`] or [`Error::Lost`] where
    /// the device fails.
    pub fn new(recipe: Recipe, device: &Device, options: &Options) -> Result<Self> {
        let (made_of, seed) = (recipe.step_options(), recipe.seed);
        let state = || step::initial_state(&made_of, seed);
        let mut trainer = Self::with_state(recipe, device, options, state, 0)?;
        trainer.settle_norms()?;
        Ok(trainer)
    }

    /// Networks as [`Trainer::tensors`] gave them after `step` steps. Files of before updates were
    /// counted on the device have made all of theirs.
    ///
    /// # Errors
    /// As [`Trainer::new`], and [`Error::Tensor`] where a tensor is missing or has another shape.
    pub fn resume(
        recipe: Recipe,
        device: &Device,
        options: &Options,
        tensors: &BTreeMap<String, Tensor>,
        step: u64,
    ) -> Result<Self> {
        let missing = |name: &str| Error::Tensor { name: name.into(), what: "is missing".into() };
        let made_of = recipe.step_options();
        let critics = recipe.method.n_critic;
        let state = || {
            let mut state = Vec::new();
            for param in step::params(&made_of)? {
                if let Some(count) = updates_by(critics, &param.name, step)
                    && !tensors.contains_key(&param.name)
                {
                    state.push((param.name, Tensor::full(Vec::new(), count)));
                    continue;
                }
                let tensor = tensors.get(&param.name).ok_or_else(|| missing(&param.name))?;
                let value = param.layout.from_file(&param.name, tensor, &param.shape)?;
                state.push((param.name, value));
            }
            let key = tensors.get(KEY).ok_or_else(|| missing(KEY))?;
            state.push((KEY.into(), key.clone()));
            Ok(state)
        };
        Self::with_state(recipe, device, options, state, step)
    }

    fn with_state(
        recipe: Recipe,
        device: &Device,
        options: &Options,
        values: impl FnOnce() -> Result<Vec<(String, Tensor)>>,
        step: u64,
    ) -> Result<Self> {
        let limit = match (options.memory_limit, device.free_memory()) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        let options = Options { memory_limit: limit, ..options.clone() };
        let step_options = Options { precision: recipe.precision, ..options.clone() };
        let advise = |error: Error| match error {
            Error::Memory(what) => Error::Memory(advice(&recipe, device, &step_options, &what)),
            other => other,
        };
        let tape = recipe.tape()?;
        preflight(&tape, device, &step_options).map_err(advise)?;
        let mut state = State::new(device);
        for (name, value) in values()? {
            state.set(&name, &value).map_err(advise)?;
        }
        let program = Program::compile(&tape, &state, &step_options).map_err(advise)?;
        Ok(Self { recipe, options, state, program, pending: VecDeque::new(), step })
    }

    /// The recipe.
    #[must_use]
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// Steps done.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.step
    }

    /// Real pictures seen.
    #[must_use]
    pub fn images(&self) -> u64 {
        self.step * self.recipe.step_pictures() as u64
    }

    /// Which variants the training's kernels run, those of its samplers included.
    #[must_use]
    pub fn choices(&self) -> &Choices {
        &self.options.choices
    }

    /// What the step keeps in memory.
    #[must_use]
    pub fn memory(&self) -> &MemoryReport {
        self.program.memory()
    }

    /// Starts one step on `pictures` (bytes, `[n_critic · batch, h, w, c]`) and returns the numbers of an
    /// earlier one, where they have come back by now.
    ///
    /// # Errors
    /// [`Error::Tensor`] where the batch has another shape; [`Error::Lost`] or [`Error::Memory`]
    /// where the device fails.
    pub fn step(&mut self, pictures: Vec<u8>) -> Result<Option<Metrics>> {
        self.step_labelled(pictures, &[])
    }

    /// [`Trainer::step`] where the networks are told classes: `labels` are those of `pictures`, and
    /// of the pictures that are generated beside them. Where they are told none, labels do not
    /// matter.
    ///
    /// # Errors
    /// As [`Trainer::step`]; [`Error::Tensor`] where there are not as many labels as pictures, or
    /// one is that of no class.
    pub fn step_labelled(&mut self, pictures: Vec<u8>, labels: &[u32]) -> Result<Option<Metrics>> {
        let feeds = self.feeds(pictures, labels)?;
        self.run(&feeds)
    }

    /// A semi-supervised [`Trainer::step`]: `labelled` are pictures (bytes, `[batch, h, w, c]`) of the
    /// classes `labels`.
    ///
    /// # Errors
    /// As [`Trainer::step_labelled`].
    pub fn step_semi(
        &mut self,
        pictures: Vec<u8>,
        labelled: Vec<u8>,
        labels: &[u32],
    ) -> Result<Option<Metrics>> {
        let mut feeds = self.feeds(pictures, labels)?;
        let shape = feeds[0].1.shape().to_vec();
        feeds.push(("labelled", Tensor::with_data(shape, Data::U8(labelled))?));
        self.run(&feeds)
    }

    fn run(&mut self, feeds: &[(&'static str, Tensor)]) -> Result<Option<Metrics>> {
        let feeds: Vec<_> = feeds.iter().map(|(name, tensor)| (*name, tensor)).collect();
        let ticket = self.program.run(&mut self.state, &feeds)?;
        self.step += 1;
        self.pending.push_back(ticket);
        if self.pending.len() > LATE { self.take() } else { Ok(None) }
    }

    /// Times every kernel of a step on `pictures` with their `labels`, where the networks are told
    /// classes or learn them, over several steps, which change the networks as any others do.
    ///
    /// # Errors
    /// As [`Trainer::step`].
    pub fn profile(
        &mut self,
        pictures: Vec<u8>,
        labels: &[u32],
        repeats: usize,
    ) -> Result<Vec<StepTime>> {
        self.finish()?;
        let mut feeds = self.feeds(pictures, labels)?;
        if self.recipe.model.is_semi_supervised() {
            feeds.push(("labelled", feeds[0].1.clone()));
        }
        let feeds: Vec<_> = feeds.iter().map(|(name, tensor)| (*name, tensor)).collect();
        self.program.profile(&mut self.state, &feeds, repeats)
    }

    /// What the program is fed for a batch.
    fn feeds(&self, pictures: Vec<u8>, labels: &[u32]) -> Result<Vec<(&'static str, Tensor)>> {
        let Design { size, channels, classes, .. } = self.recipe.model;
        let n = self.recipe.step_pictures();
        let shape = [n, size.height, size.width, channels];
        let pictures = Tensor::with_data(shape, Data::U8(pictures))?;
        let schedule = self.recipe.schedule(self.step + 1).tensor();
        let mut feeds = vec![("pictures", pictures), ("schedule", schedule)];
        if classes > 0 {
            if labels.len() != n {
                let what = format!(
                    "the networks are told classes: {n} pictures need as many, and {} were given",
                    labels.len()
                );
                return Err(Error::Tensor { name: "labels".into(), what });
            }
            feeds.push(("labels", Tensor::one_hot(labels, classes)?));
        }
        Ok(feeds)
    }

    fn take(&mut self) -> Result<Option<Metrics>> {
        let Some(ticket) = self.pending.pop_front() else { return Ok(None) };
        Ok(Some(Metrics::of(&self.program.take(ticket)?)))
    }

    /// Waits for all steps and returns the numbers that had not come back yet.
    ///
    /// # Errors
    /// [`Error::Lost`] where the device fails.
    pub fn finish(&mut self) -> Result<Vec<Metrics>> {
        let mut rest = Vec::new();
        while let Some(metrics) = self.take()? {
            rest.push(metrics);
        }
        Ok(rest)
    }

    /// Every tensor of the training by name, as files hold them: networks, optimiser, average, key.
    ///
    /// # Errors
    /// [`Error::Lost`] where the device fails.
    pub fn tensors(&self) -> Result<BTreeMap<String, Tensor>> {
        in_files(self.states()?)
    }

    /// The same as the device holds them, each with its order in files: only a copy.
    pub(super) fn states(&self) -> Result<Vec<(String, Layout, Tensor)>> {
        let params = step::params(&self.recipe.step_options())?;
        let names = params.into_iter().map(|param| (param.name, param.layout));
        names
            .chain([(KEY.into(), Layout::Plain)])
            .map(|(name, layout)| self.state.get(&name).map(|value| (name, layout, value)))
            .collect()
    }

    /// A sampler of the generator on the training's own weights: the averaged ones where there are
    /// any.
    ///
    /// # Errors
    /// [`Error::Memory`] where the device is full.
    pub fn sampler(&self, batch: usize) -> Result<Sampler> {
        let prefix = if self.recipe.ema > 0 { AVERAGE } else { "" };
        let networks = self.recipe.networks()?;
        Sampler::new(&networks, &self.state, prefix, batch, self.choices())
    }

    /// Pictures `[n, h, w, c]` in [−1, 1] from latents `[n, nz]`.
    ///
    /// # Errors
    /// [`Error::Lost`] where the device fails.
    pub fn sample(&mut self, sampler: &mut Sampler, latents: &Tensor) -> Result<Tensor> {
        sampler.sample(&mut self.state, latents)
    }

    /// Pictures of these classes: see [`Sampler::sample_labelled`].
    ///
    /// # Errors
    /// As [`Sampler::sample_labelled`].
    pub fn sample_labelled(
        &mut self,
        sampler: &mut Sampler,
        latents: &Tensor,
        labels: &[u32],
    ) -> Result<Tensor> {
        sampler.sample_labelled(&mut self.state, latents, labels)
    }
}

/// States of a device as files hold them. One by one: there are never two copies of all.
pub(super) fn in_files(states: Vec<(String, Layout, Tensor)>) -> Result<BTreeMap<String, Tensor>> {
    let each = states.into_iter();
    each.map(|(name, layout, value)| Ok((name, layout.to_file(&value)?))).collect()
}

/// How often a network has been updated after `steps` steps none of which was skipped, where `name` is the
/// state that counts it; the discriminator is updated `critics` times a step.
fn updates_by(critics: usize, name: &str, steps: u64) -> Option<f32> {
    let generator = step::updates("generator");
    let discriminator = step::updates("discriminator");
    match name {
        _ if name == generator => Some(steps as f32),
        _ if name == discriminator => Some((steps * critics as u64) as f32),
        _ => None,
    }
}

/// What did not fit, and the batch that would.
fn advice(recipe: &Recipe, device: &Device, options: &Options, what: &str) -> String {
    // Where the driver said no and no limit is known, what it gave before it did is one.
    let options = match (options.memory_limit, device) {
        (None, Device::Gpu(gpu)) => {
            Options { memory_limit: Some(gpu.allocated_bytes()), ..options.clone() }
        }
        _ => options.clone(),
    };
    let fits = |batch: usize| {
        let method = Method { micro_batch: 0, ..recipe.method };
        let smaller = Recipe { batch, method, ..recipe.clone() };
        smaller.tape().and_then(|tape| preflight(&tape, device, &options)).is_ok()
    };
    let (mut good, mut bad) = (0, recipe.batch);
    while bad - good > 1 {
        let middle = good.midpoint(bad);
        if fits(middle) {
            good = middle;
        } else {
            bad = middle;
        }
    }
    let advice = match good {
        0 | 1 => {
            "not even two pictures fit: lower --size, --ngf and --ndf, or take another --device"
                .into()
        }
        fits => format!("--batch {fits} fits"),
    };
    let device = match options.memory_limit {
        Some(limit) => format!("{} ({} free)", device.name(), human::bytes(limit)),
        None => device.name(),
    };
    format!("--batch {} does not fit {device}: {what}; {advice}", recipe.batch)
}
