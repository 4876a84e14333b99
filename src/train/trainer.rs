//! The training loop without its surroundings: networks and optimizer on a device, step by step.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::device::{Device, State};
use crate::error::{Error, Result};
use crate::gan::families::semi::LABELED;
use crate::gan::scalar::SCHEDULE;
use crate::gan::{At, Edit, Phase, Recording, Stage, System, families, validate};
use crate::human;
use crate::model::names::{KEY, updates};
use crate::model::{Sampler, Weights};
use crate::nn::Layout;
use crate::program::{Choices, MemoryReport, Options, Program, StepTime, Ticket, preflight};
use crate::ranks::World;
use crate::tape::Tape;
use crate::tensor::Tensor;

use super::snapshot::in_files;
use super::{Metrics, ObjectiveConfig, TrainConfig};

mod batch;
mod start;

pub use batch::{Batch, Images};
pub use start::first_images;
pub(crate) use start::{copied_averages, norms_tape};

/// Steps whose results may still be pending: the CPU does not wait for the device.
const LATE: usize = 2;

/// How far a stage has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageProgress {
    /// Real images seen in it.
    pub images: u64,
    /// Whether it has come to its end.
    pub done: bool,
}

/// How far a training has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Steps done.
    pub step: u64,
    /// Real images seen.
    pub images: u64,
    /// The current stage.
    pub stage: usize,
    /// The current phase of this stage.
    pub phase: usize,
    /// Real images seen in this phase.
    pub phase_images: u64,
    /// How far the stages have come that these networks were trained in, here or before they were loaded,
    /// by name; empty for a family of one stage.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub stages: BTreeMap<String, StageProgress>,
}

impl Position {
    /// The position of a one-phase training after `step` steps of `step_images` images.
    #[must_use]
    pub fn after(step: u64, step_images: usize) -> Self {
        let images = step * step_images as u64;
        Self { step, images, phase_images: images, ..Self::default() }
    }

    /// The position among the system's phases.
    #[must_use]
    pub fn at(&self) -> At {
        At { stage: self.stage, phase: self.phase }
    }
}

/// Networks in training on one device.
#[derive(Debug)]
pub struct Trainer {
    config: TrainConfig,
    system: System,
    recording: Recording,
    options: Options,
    state: State,
    /// The current phase's step.
    program: Program,
    /// The memory of the largest phase.
    memory: MemoryReport,
    /// The metrics it fetches.
    metrics: Vec<String>,
    pending: VecDeque<Ticket>,
    /// Metrics of earlier steps, waited for when a phase ended.
    ready: VecDeque<Metrics>,
    position: Position,
    /// Networks loaded from another model: [`Trainer::start_from`].
    taken: Vec<String>,
}

impl Trainer {
    /// Freshly initialized networks. If weight norm is initialized from data, call
    /// [`Trainer::start_on`] before the first step.
    ///
    /// # Errors
    /// [`Error::Memory`] if the batch does not fit the device, with the batch that does;
    /// [`Error::Config`] if the configuration is invalid; [`Error::Shader`] or [`Error::Lost`] if
    /// the device fails.
    pub fn new(config: TrainConfig, device: &Device, options: &Options) -> Result<Self> {
        let system = config.system()?;
        Self::with_system(config, system, Recording::default(), device, options)
    }

    /// A fresh training of any system, such as imported or edited networks
    /// ([`crate::gan::families::gan::system`]), with random numbers or float images fed if
    /// `recording` says so. Only the configuration's seed and precision are used.
    ///
    /// # Errors
    /// See [`Trainer::new`].
    pub fn with_system(
        config: TrainConfig,
        system: System,
        recording: Recording,
        device: &Device,
        options: &Options,
    ) -> Result<Self> {
        let seed = config.seed;
        let values = |system: &System| system.initial_state(seed);
        let parts = (config, system, recording);
        let mut trainer = Self::with_state(parts, device, options, values, Position::default())?;
        trainer.initialize_norms()?;
        Ok(trainer)
    }

    /// Resumes from [`Trainer::tensors`] at `position`. Files without an update counter are treated
    /// as if no update had been skipped.
    ///
    /// # Errors
    /// Those of [`Trainer::new`], and [`Error::Tensor`] if a tensor is missing or has another
    /// shape, or the system has no such phase.
    pub fn resume(
        config: TrainConfig,
        device: &Device,
        options: &Options,
        tensors: &BTreeMap<String, Tensor>,
        position: Position,
    ) -> Result<Self> {
        let system = config.system()?;
        Self::resume_system(
            (config, system, Recording::default()),
            device,
            options,
            tensors,
            position,
        )
    }

    /// [`Trainer::resume`] for any system: see [`Trainer::with_system`].
    ///
    /// # Errors
    /// See [`Trainer::resume`].
    pub fn resume_system(
        (config, system, recording): (TrainConfig, System, Recording),
        device: &Device,
        options: &Options,
        tensors: &BTreeMap<String, Tensor>,
        position: Position,
    ) -> Result<Self> {
        let missing = |name: &str| Error::Tensor { name: name.into(), what: "is missing".into() };
        let critics = config.objective.n_critic;
        let steps = position.step;
        let values = |system: &System| {
            let mut values = Vec::new();
            for param in system.states() {
                if let Some(count) = updates_by(critics, &param.name, steps)
                    && !tensors.contains_key(&param.name)
                {
                    values.push((param.name, Tensor::full(Vec::new(), count)));
                    continue;
                }
                let tensor = tensors.get(&param.name).ok_or_else(|| missing(&param.name))?;
                let value = param.layout.from_file(&param.name, tensor, &param.shape)?;
                values.push((param.name, value));
            }
            let key = tensors.get(KEY).ok_or_else(|| missing(KEY))?;
            values.push((KEY.into(), key.clone()));
            Ok(values)
        };
        Self::with_state((config, system, recording), device, options, values, position)
    }

    /// `values` are created only once they are known to fit.
    fn with_state(
        (config, system, recording): (TrainConfig, System, Recording),
        device: &Device,
        options: &Options,
        values: impl FnOnce(&System) -> Result<Vec<(String, Tensor)>>,
        position: Position,
    ) -> Result<Self> {
        let limit = match (options.memory_limit, device.free_memory()) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        let options = Options { memory_limit: limit, ..options.clone() };
        let step_options = Options { precision: config.precision, ..options.clone() };
        let advise = |error: Error| match error {
            Error::Memory(what) => Error::Memory(advice(&config, device, &step_options, &what)),
            other => other,
        };
        validate::ranks(&config, options.world.size())?;
        let mut position = position;
        if !families::stages(config.objective.family).is_empty() {
            let name = &system.stage(position.at())?.name;
            position.stages.entry(name.clone()).or_default();
        }
        let first = system.phase(position.at())?;
        let mut tape = Tape::shared(&options.world);
        let recorded = system.record(&mut tape, first, recording)?;
        let mut memory = preflight(&tape, device, &step_options).map_err(advise)?;
        // The largest phase has to fit, whichever it is.
        for phase in system.stages.iter().flat_map(|stage| &stage.phases) {
            if !std::ptr::eq(phase, first) {
                let mut tape = Tape::shared(&options.world);
                system.record(&mut tape, phase, recording)?;
                let other = preflight(&tape, device, &step_options).map_err(advise)?;
                if other.total() > memory.total() {
                    memory = other;
                }
            }
        }
        let mut state = State::new(device);
        for (name, value) in values(&system)? {
            state.set(&name, &value).map_err(advise)?;
        }
        let program = Program::compile(&tape, &state, &step_options).map_err(advise)?;
        let (pending, ready) = Default::default();
        let metrics = recorded.metrics;
        Ok(Self {
            config,
            system,
            recording,
            options,
            state,
            program,
            memory,
            metrics,
            pending,
            ready,
            position,
            taken: Vec::new(),
        })
    }

    /// The current phase.
    #[must_use]
    pub fn phase(&self) -> &Phase {
        self.system.phase(self.position.at()).expect("it was compiled")
    }

    /// The current stage.
    #[must_use]
    pub fn stage(&self) -> &Stage {
        self.system.stage(self.position.at()).expect("its phase was compiled")
    }

    /// Whether images of the current stage can be looked at: the networks that it needs to generate some
    /// have been trained.
    #[must_use]
    pub fn has_previews(&self) -> bool {
        let stage = self.stage();
        let of = |name: &String| self.position.stages.get(name).is_some_and(|of| of.images > 0);
        stage.has_previews && stage.shown_after.iter().all(of)
    }

    /// The next phase, if the current one has seen all of its images.
    fn due(&self) -> Option<At> {
        let is_over = |images| self.position.phase_images >= images;
        self.phase().images.filter(|&images| is_over(images))?;
        self.system.next(self.position.at())
    }

    /// Whether the current phase is over and another one follows: in this stage, or in the next one.
    #[must_use]
    pub fn is_phase_over(&self) -> bool {
        self.due().is_some()
    }

    /// Whether the current stage is over and another one follows.
    #[must_use]
    pub fn is_stage_over(&self) -> bool {
        self.due().is_some_and(|at| at.stage != self.position.stage)
    }

    /// Whether no stage follows the current one.
    #[must_use]
    pub fn is_last_stage(&self) -> bool {
        self.position.stage + 1 == self.system.stages.len()
    }

    /// Marks the current stage as done, for a training that ends in it: other stages, or trainings from
    /// this one, build on it.
    pub fn complete_stage(&mut self) {
        let name = self.stage().name.clone();
        if let Some(stage) = self.position.stages.get_mut(&name) {
            stage.done = true;
        }
    }

    /// Enters the phases that are due: compiles the step and edits the states. [`Trainer::step`] does so
    /// too; called before it, [`Trainer::phase`] is the phase of the next step, and says what batch
    /// that needs.
    ///
    /// # Errors
    /// [`Error::Shader`] or [`Error::Lost`] if the device fails.
    pub fn enter_phases(&mut self) -> Result<()> {
        while let Some(at) = self.due() {
            while let Some(metrics) = self.take_pending()? {
                self.ready.push_back(metrics);
            }
            let phase = self.system.phase(at)?.clone();
            let mut tape = Tape::shared(&self.options.world);
            let recorded = self.system.record(&mut tape, &phase, self.recording)?;
            let options = Options { precision: self.config.precision, ..self.options.clone() };
            for edit in &phase.enter {
                self.edit(edit)?;
            }
            self.program = Program::compile(&tape, &self.state, &options)?;
            self.metrics = recorded.metrics;
            if at.stage != self.position.stage {
                self.complete_stage();
                let name = &self.system.stage(at)?.name;
                if !self.position.stages.is_empty() {
                    self.position.stages.insert(name.clone(), StageProgress::default());
                }
            }
            (self.position.stage, self.position.phase) = (at.stage, at.phase);
            self.position.phase_images = 0;
        }
        Ok(())
    }

    fn edit(&mut self, edit: &Edit) -> Result<()> {
        match edit {
            Edit::Initialize(network) => {
                for param in self.system.model.params_of(network) {
                    self.state.set(&param.name, &param.initial(self.config.seed))?;
                }
                self.start_averages(network)
            }
            Edit::Copy { from, to } => {
                let source = &self.system.network(from)?.network;
                for param in source.params("") {
                    let value = self.state.get(&format!("{from}{}", param.name))?;
                    self.state.set(&format!("{to}{}", param.name), &value)?;
                }
                self.start_averages(to)
            }
            Edit::ResetOptimizer(network) => {
                let optimizer = self.system.objective.optimizer();
                let params = self.system.model.params_of(network);
                for param in params.into_iter().filter(|param| param.learned) {
                    for name in optimizer.moments(&param.name) {
                        let zero = Tensor::full(param.shape.clone(), 0.0);
                        self.state.set(&name, &zero)?;
                    }
                }
                self.state.set(&updates(network), &Tensor::full(Vec::new(), 0.0))
            }
        }
    }

    /// The processes that train together.
    #[must_use]
    pub fn world(&self) -> &Arc<dyn World> {
        &self.options.world
    }

    /// Where the images of this rank stand among those of a step; `None` if it takes all.
    #[must_use]
    pub fn places(&self) -> Option<Vec<usize>> {
        let (rank, ranks) = (self.world().rank(), self.world().size());
        let Phase { batch, batches, .. } = *self.phase();
        let own = batch / ranks;
        let of_batch = |k| k * batch + rank * own..k * batch + (rank + 1) * own;
        (ranks > 1).then(|| (0..batches).flat_map(of_batch).collect())
    }

    /// Checks that all processes have the same states.
    ///
    /// # Errors
    /// [`Error::Device`] if they do not; [`Error::Lost`] if the device fails.
    pub fn confirm(&self) -> Result<()> {
        if self.world().is_solo() || self.world().agree(self.fingerprint()?) {
            return Ok(());
        }
        Err(Error::Device(format!(
            "the processes no longer have the same networks after {} images: they may run on devices of \
             different kinds, or one of them computes wrongly; go on from the last checkpoint with \
             --device",
            self.images()
        )))
    }

    /// A number that two trainings share if all of their states are equal, to the last bit.
    ///
    /// # Errors
    /// [`Error::Lost`] if the device fails.
    pub fn fingerprint(&self) -> Result<u64> {
        let mut hash = Sha256::new();
        for (name, _, tensor) in self.states()? {
            hash.update(name.as_bytes());
            hash.update(tensor.bytes());
        }
        let hash: [u8; 32] = hash.finalize().into();
        Ok(u64::from_le_bytes(std::array::from_fn(|i| hash[i])))
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &TrainConfig {
        &self.config
    }

    /// The system being trained.
    #[must_use]
    pub fn system(&self) -> &System {
        &self.system
    }

    /// How far the training has come.
    #[must_use]
    pub fn position(&self) -> Position {
        self.position.clone()
    }

    /// Steps done.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.position.step
    }

    /// Real images seen.
    #[must_use]
    pub fn images(&self) -> u64 {
        self.position.images
    }

    /// The variants of the training's kernels, including its samplers'.
    #[must_use]
    pub fn choices(&self) -> &Choices {
        &self.options.choices
    }

    /// The memory use of a step in the largest phase.
    #[must_use]
    pub fn memory(&self) -> &MemoryReport {
        &self.memory
    }

    /// Starts one step on a batch and returns the metrics of an earlier one, if they have arrived.
    /// A batch may be images alone: bytes `[n_critic · batch, h, w, c]`.
    ///
    /// # Errors
    /// [`Error::Tensor`] if the batch has another shape, or lacks labels that the networks are
    /// conditioned on; [`Error::Lost`] or [`Error::Memory`] if the device fails.
    pub fn step(&mut self, batch: impl Into<Batch>) -> Result<Option<Metrics>> {
        self.enter_phases()?;
        let feeds = self.feeds(batch.into())?;
        let feeds: Vec<_> = feeds.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        let ticket = self.program.run(&mut self.state, &feeds)?;
        let seen = self.phase().step_images() as u64;
        self.position.step += 1;
        self.position.images += seen;
        self.position.phase_images += seen;
        if !self.position.stages.is_empty() {
            let name = &self.system.stages[self.position.stage].name;
            self.position.stages.entry(name.clone()).or_default().images += seen;
        }
        self.pending.push_back(ticket);
        if let Some(metrics) = self.ready.pop_front() {
            return Ok(Some(metrics));
        }
        if self.pending.len() > LATE { self.take_pending() } else { Ok(None) }
    }

    /// Times every kernel of a step on a batch over several steps; these update the networks as
    /// usual.
    ///
    /// # Errors
    /// See [`Trainer::step`].
    pub fn profile(&mut self, batch: impl Into<Batch>, repeats: usize) -> Result<Vec<StepTime>> {
        self.finish()?;
        let feeds = self.feeds(batch.into())?;
        let feeds: Vec<_> = feeds.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        self.program.profile(&mut self.state, &feeds, repeats)
    }

    /// The program's feeds for a batch.
    fn feeds(&self, batch: Batch) -> Result<Vec<(String, Tensor)>> {
        let phase = self.phase();
        let n = phase.step_images() / self.world().size();
        let [h, w, c] = phase.image;
        let mut feeds = vec![("images".to_owned(), batch.images.tensor([n, h, w, c])?)];
        if phase.classes > 0 {
            if batch.labels.len() != n {
                let what = format!(
                    "the networks are conditioned on classes: {n} images need as many, and {} were \
                     given",
                    batch.labels.len()
                );
                return Err(Error::Tensor { name: "labels".into(), what });
            }
            let labels = Tensor::one_hot(&batch.labels, phase.classes)?;
            feeds.push(("labels".to_owned(), labels));
        }
        if let Some(labeled) = batch.labeled {
            feeds.push((LABELED.to_owned(), labeled.tensor([phase.batch, h, w, c])?));
        }
        if !batch.feeds.iter().any(|(name, _)| name == SCHEDULE) {
            let schedule = phase.schedule(self.position.phase_images);
            feeds.push((SCHEDULE.to_owned(), schedule));
        }
        feeds.extend(batch.feeds);
        Ok(feeds)
    }

    fn take_pending(&mut self) -> Result<Option<Metrics>> {
        let Some(ticket) = self.pending.pop_front() else { return Ok(None) };
        Ok(Some(Metrics::fetched(&self.metrics, &self.program.take(ticket)?)))
    }

    /// Waits for all steps and returns the outstanding metrics.
    ///
    /// # Errors
    /// [`Error::Lost`] if the device fails.
    pub fn finish(&mut self) -> Result<Vec<Metrics>> {
        let mut rest: Vec<Metrics> = std::mem::take(&mut self.ready).into();
        while let Some(metrics) = self.take_pending()? {
            rest.push(metrics);
        }
        Ok(rest)
    }

    /// All tensors of the training by name, as in files: networks, optimizer, EMA, key.
    ///
    /// # Errors
    /// [`Error::Lost`] if the device fails.
    pub fn tensors(&self) -> Result<BTreeMap<String, Tensor>> {
        in_files(self.states()?)
    }

    /// The same as on the device, each with its file layout: only a copy.
    pub(super) fn states(&self) -> Result<Vec<(String, Layout, Tensor)>> {
        let params = self.system.states();
        let names = params.into_iter().map(|param| (param.name, param.layout));
        names
            .chain([(KEY.into(), Layout::Plain)])
            .map(|(name, layout)| self.state.get(&name).map(|value| (name, layout, value)))
            .collect()
    }

    /// A sampler on the training's own generator weights: the EMA if there is one.
    ///
    /// # Errors
    /// [`Error::Memory`] if the device is full.
    pub fn sampler(&self, batch: usize) -> Result<Sampler> {
        let weights = Weights::default().of(self.system.average);
        Sampler::new(&self.system.model, &self.state, weights, batch, self.choices())
    }

    /// The values of the pipeline that can be looked at now, in order: those of the stages that have begun.
    #[must_use]
    pub fn shown(&self) -> Vec<String> {
        let stages = &self.position.stages;
        let shown = self.system.model.pipeline.shown(|stage| stages.contains_key(stage));
        shown.into_iter().map(str::to_owned).collect()
    }

    /// A sampler of the images on the way that the pipeline gives as `value`: see
    /// [`crate::model::Networks::up_to`].
    ///
    /// # Errors
    /// [`Error::Tensor`] if there are none; [`Error::Memory`] if the device is full.
    pub fn sampler_of(&self, value: &str, batch: usize) -> Result<Sampler> {
        let model = self.system.model.up_to(value).ok_or_else(|| Error::Tensor {
            name: value.into(),
            what: "are no images of this model".into(),
        })?;
        let weights = Weights::default().of(self.system.average);
        Sampler::new(&model, &self.state, weights, batch, self.choices())
    }

    /// Images `[n, h, w, c]` in [−1, 1] from latents `[n, nz]`.
    ///
    /// # Errors
    /// [`Error::Lost`] if the device fails.
    pub fn sample(&mut self, sampler: &mut Sampler, latents: &Tensor) -> Result<Tensor> {
        sampler.sample(&mut self.state, latents)
    }

    /// Images of these classes: see [`Sampler::sample_labeled`].
    ///
    /// # Errors
    /// See [`Sampler::sample_labeled`].
    pub fn sample_labeled(
        &mut self,
        sampler: &mut Sampler,
        latents: &Tensor,
        labels: &[u32],
    ) -> Result<Tensor> {
        sampler.sample_labeled(&mut self.state, latents, labels)
    }
}

/// Number of updates of a network after `steps` steps if none was skipped; `name` is the state that
/// counts them; the discriminator is updated `critics` times a step.
fn updates_by(critics: usize, name: &str, steps: u64) -> Option<f32> {
    let generator = updates("generator");
    let discriminator = updates("discriminator");
    match name {
        _ if name == generator => Some(steps as f32),
        _ if name == discriminator => Some((steps * critics as u64) as f32),
        _ => None,
    }
}

/// What did not fit, and the batch that would.
fn advice(config: &TrainConfig, device: &Device, options: &Options, what: &str) -> String {
    // If the driver refused and no limit is known, use what it had allocated as the limit.
    let memory_limit = options.memory_limit.or_else(|| device.used_memory());
    let options = Options { memory_limit, ..options.clone() };
    let fits = |batch: usize| {
        let objective = ObjectiveConfig { micro_batch: 0, ..config.objective };
        let smaller = TrainConfig { batch, objective, ..config.clone() };
        let fits = |tape: &Tape| preflight(tape, device, &options).is_ok();
        smaller.tapes().is_ok_and(|tapes| tapes.iter().all(fits))
    };
    let (mut good, mut bad) = (0, config.batch);
    while bad - good > 1 {
        let middle = good.midpoint(bad);
        if fits(middle) {
            good = middle;
        } else {
            bad = middle;
        }
    }
    let advice = match good {
        0 | 1 => "not even two images fit: lower `size`, `ngf` and `ndf`, or take another `device`"
            .into(),
        fits => format!("`batch` {fits} fits"),
    };
    let device = match options.memory_limit {
        Some(limit) => format!("{} ({} free)", device.name(), human::bytes(limit)),
        None => device.name(),
    };
    format!("`batch` {} does not fit {device}: {what}; {advice}", config.batch)
}
