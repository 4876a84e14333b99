//! Systems of networks, with the stages and phases of their training.

use std::fmt;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::gan::{ObjectiveConfig, TrainConfig};
use crate::model::{Net, Networks};
use crate::nn::Sequential;
use crate::program::Precision;
use crate::tape::Tape;
use crate::tensor::Tensor;

use super::scalar::{self, Scalar};
use super::step::{Recorded, Recording, Step};

/// Records a phase's step.
#[derive(Clone)]
pub struct Recorder(Arc<Record>);

type Record = dyn Fn(&mut Tape, &mut Step<'_>) -> Result<()> + Send + Sync;

impl Recorder {
    /// A step that `record` records.
    pub fn new(
        record: impl Fn(&mut Tape, &mut Step<'_>) -> Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(record))
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recorder")
    }
}

/// A change of states at the start of a phase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// Reinitializes the network of this name.
    Initialize(String),
    /// Copies the tensors of network `from` to those of network `to`, by name.
    Copy {
        /// The source network.
        from: String,
        /// The target network.
        to: String,
    },
    /// Resets the optimizer's state for the network of this name.
    ResetOptimizer(String),
}

/// A part of a training whose steps all run the same recorded program.
#[derive(Clone, Debug)]
pub struct Phase {
    /// Its name, for progress and errors.
    pub name: String,
    /// Height, width and channels of its images.
    pub image: [usize; 3],
    /// Images in a batch.
    pub batch: usize,
    /// Batches of real images per step.
    pub batches: usize,
    /// Classes of its labels; 0 for none.
    pub classes: usize,
    /// Real images after which the next phase begins; `None` for the last, which continues.
    pub images: Option<u64>,
    /// Networks that it only reads: assigning one of their tensors is an error, and they run in
    /// evaluation mode.
    pub frozen: Vec<String>,
    /// Scalars that change from step to step.
    pub scalars: Vec<Scalar>,
    /// State changes at its start.
    pub enter: Vec<Edit>,
    /// The networks as its steps see them, if they are not whole yet: with some of the layers.
    pub networks: Option<Arc<Networks>>,
    /// The step.
    pub record: Recorder,
}

impl Phase {
    /// Real images that one step sees.
    #[must_use]
    pub fn step_images(&self) -> usize {
        self.batch * self.batches
    }

    /// The feed of scalars with the values given by `value` for their names.
    #[must_use]
    pub fn schedule_of(&self, value: impl Fn(&str) -> f32) -> Tensor {
        let values: Vec<f32> = self.scalars.iter().map(|scalar| value(&scalar.name)).collect();
        Tensor::new([values.len()], values).expect("one number for each place")
    }

    /// The feed of scalars in the step after `before` images of this phase.
    #[must_use]
    pub fn schedule(&self, before: u64) -> Tensor {
        scalar::schedule(&self.scalars, before, self.step_images() as u64)
    }
}

/// Phases that end in a model others can start from.
#[derive(Clone, Debug)]
pub struct Stage {
    /// Its name, for progress and errors.
    pub name: String,
    /// At least one.
    pub phases: Vec<Phase>,
    /// The stages that have to be done before it.
    pub needs: Vec<String>,
    /// Whether previews are made while it is trained: not before the networks that generate images are.
    pub has_previews: bool,
    /// The stages without which its previews show nothing: it needs none of them to be trained.
    pub shown_after: Vec<String>,
}

impl Stage {
    /// A stage that needs no other.
    #[must_use]
    pub fn new(name: &str, phases: Vec<Phase>) -> Self {
        let (needs, shown_after) = Default::default();
        Self { name: name.into(), phases, needs, has_previews: true, shown_after }
    }

    /// The same for a stage that needs others.
    #[must_use]
    pub fn after(self, needs: &[&str]) -> Self {
        Self { needs: needs.iter().map(|&name| name.into()).collect(), ..self }
    }

    /// The same for a stage without previews.
    #[must_use]
    pub fn unseen(self) -> Self {
        Self { has_previews: false, ..self }
    }

    /// The same for a stage whose previews need others.
    #[must_use]
    pub fn shown_after(self, others: &[&str]) -> Self {
        Self { shown_after: others.iter().map(|&name| name.into()).collect(), ..self }
    }

    /// Real images after which it is done; `None` if it goes on as long as the training.
    #[must_use]
    pub fn images(&self) -> Option<u64> {
        self.phases.iter().map(|phase| phase.images).sum()
    }
}

/// A position among a system's phases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct At {
    /// The stage, from 0.
    pub stage: usize,
    /// The phase of this stage, from 0.
    pub phase: usize,
}

/// What is trained: networks, and the stages of their training.
#[derive(Clone, Debug)]
pub struct System {
    /// The networks by name, inputs and outputs: the resulting model.
    pub model: Networks,
    /// Networks with moving averages.
    pub averaged: Vec<String>,
    /// The optimizer and the regularizers of all updates.
    pub objective: ObjectiveConfig,
    /// Whether moving averages are kept.
    pub average: bool,
    /// Whether losses are scaled, for 16-bit training: see [`super::scale`].
    pub scaled: bool,
    /// At least one.
    pub stages: Vec<Stage>,
}

impl System {
    /// A system of `model` without averages and stages, which a family fills in, optimized as
    /// configured by `config`.
    #[must_use]
    pub fn new(config: &TrainConfig, model: Networks) -> Self {
        Self {
            model,
            averaged: Vec::new(),
            objective: config.objective,
            average: config.ema > 0,
            scaled: config.precision == Precision::F16,
            stages: Vec::new(),
        }
    }

    /// The network called `name`.
    ///
    /// # Errors
    /// [`Error::Tensor`] if there is no such network.
    pub fn network(&self, name: &str) -> Result<&Net> {
        self.model.by_name.get(name).ok_or_else(|| Error::Tensor {
            name: name.into(),
            what: "is no network of this system".into(),
        })
    }

    /// The networks with moving averages.
    pub fn averages(&self) -> impl Iterator<Item = (&str, &Sequential)> {
        let is_kept = |name: &str| self.average && self.averaged.iter().any(|a| a == name);
        self.model.iter().filter(move |(name, _)| is_kept(name)).map(|(n, net)| (n, &net.network))
    }

    /// The phase at `at`.
    ///
    /// # Errors
    /// [`Error::Tensor`] if there is no such phase, as with another system's checkpoint.
    pub fn phase(&self, at: At) -> Result<&Phase> {
        let phase = self.stages.get(at.stage).and_then(|stage| stage.phases.get(at.phase));
        phase.ok_or_else(|| Error::Tensor {
            name: "phase".into(),
            what: format!("this system has no stage {} with a phase {}", at.stage, at.phase),
        })
    }

    /// The stage at `at`.
    ///
    /// # Errors
    /// As [`System::phase`].
    pub fn stage(&self, at: At) -> Result<&Stage> {
        self.phase(at)?;
        Ok(&self.stages[at.stage])
    }

    /// The same with the stage of this name alone.
    ///
    /// # Errors
    /// [`Error::Config`] if there is no such stage, or only one.
    pub fn only(mut self, name: &str) -> Result<Self> {
        let names: Vec<&str> = self.stages.iter().map(|stage| stage.name.as_str()).collect();
        let what = match names[..] {
            [_] => format!("{name}: this is trained in one stage; leave it out"),
            _ => format!("there is no stage {name:?}; there are {}", names.join(", ")),
        };
        let is_known = names.len() > 1 && names.contains(&name);
        self.stages.retain(|stage| stage.name == name);
        match is_known {
            true => Ok(self.open_ended()),
            false => Err(Error::config("stage", what)),
        }
    }

    /// The same with a last phase that goes on as long as the training.
    #[must_use]
    pub fn open_ended(mut self) -> Self {
        if let Some(last) = self.stages.last_mut().and_then(|stage| stage.phases.last_mut()) {
            last.images = None;
        }
        self
    }

    /// The phase after the one at `at`.
    #[must_use]
    pub fn next(&self, at: At) -> Option<At> {
        let next = [At { phase: at.phase + 1, ..at }, At { stage: at.stage + 1, phase: 0 }];
        next.into_iter().find(|&at| self.phase(at).is_ok())
    }

    /// The first phase, in most systems the only one.
    #[must_use]
    pub fn first(&self) -> &Phase {
        &self.stages[0].phases[0]
    }

    /// A step of the first phase as a tape.
    ///
    /// # Errors
    /// See [`System::record`].
    pub fn tape(&self, recording: Recording) -> Result<Tape> {
        let mut tape = Tape::new();
        self.record(&mut tape, self.first(), recording)?;
        Ok(tape)
    }

    /// Records a step of `phase`.
    ///
    /// # Errors
    /// Those of the phase; [`Error::Tensor`] if it assigns a tensor of a frozen network.
    pub fn record(&self, t: &mut Tape, phase: &Phase, recording: Recording) -> Result<Recorded> {
        let part = phase
            .networks
            .as_deref()
            .map(|networks| Self { model: networks.clone(), ..self.clone() });
        let mut step = Step::new(t, part.as_ref().unwrap_or(self), phase, recording)?;
        step.whole = self;
        (phase.record.0)(t, &mut step)?;
        step.finish(t)
    }
}
