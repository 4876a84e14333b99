//! A training without its surroundings: networks and optimiser on a device, step by step.

use std::collections::{BTreeMap, VecDeque};

use crate::device::{Device, State};
use crate::error::{Error, Result};
use crate::human;
use crate::models::Design;
use crate::nn::Layout;
use crate::program::{Choices, MemoryReport, Options, Program, StepTime, Ticket, preflight};
use crate::sample::Sampler;
use crate::tensor::{Data, Tensor};

use super::method::Method;
use super::step::{self, AVERAGE, KEY};
use super::{Metrics, Recipe};

mod start;

pub use start::first_pictures;

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
    let memory_limit = options.memory_limit.or_else(|| device.used_memory());
    let options = Options { memory_limit, ..options.clone() };
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
