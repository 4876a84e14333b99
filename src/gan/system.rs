//! Systems of networks: what is trained, in which stages and phases.

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

/// What a phase's step records.
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

/// A change of states when a phase begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// The network of this name starts anew.
    Initialize(String),
    /// The network `to` takes the values of the network `from`, tensor by tensor of the same name.
    Copy {
        /// The network that is copied.
        from: String,
        /// The network that is overwritten.
        to: String,
    },
    /// The optimizer's state of the network of this name starts anew.
    ResetOptimizer(String),
}

/// A part of a training in which every step is the same recorded program.
#[derive(Clone, Debug)]
pub struct Phase {
    /// Its name, for progress and errors.
    pub name: String,
    /// Height, width and channels of the images that it is fed.
    pub image: [usize; 3],
    /// Images in a batch.
    pub batch: usize,
    /// Batches of real images that a step sees.
    pub batches: usize,
    /// Classes of the labels that it is fed; 0 where it is fed none.
    pub classes: usize,
    /// Real images after which the next phase begins; none for the last, which goes on.
    pub images: Option<u64>,
    /// Networks that it only reads: recording an assignment to one of their tensors is an error,
    /// and they run in evaluation mode.
    pub frozen: Vec<String>,
    /// What changes from step to step.
    pub scalars: Vec<Scalar>,
    /// What happens to states when it begins.
    pub enter: Vec<Edit>,
    /// The step.
    pub record: Recorder,
}

impl Phase {
    /// Real images that one step sees.
    #[must_use]
    pub fn step_images(&self) -> usize {
        self.batch * self.batches
    }

    /// What the feed of scalars holds where each has the value that `value` gives for its name.
    #[must_use]
    pub fn schedule_of(&self, value: impl Fn(&str) -> f32) -> Tensor {
        let values: Vec<f32> = self.scalars.iter().map(|scalar| value(&scalar.name)).collect();
        Tensor::new([values.len()], values).expect("one number for each place")
    }

    /// What the feed of scalars holds in the step after `before` images of this phase.
    #[must_use]
    pub fn schedule(&self, before: u64) -> Tensor {
        scalar::schedule(&self.scalars, before, self.step_images() as u64)
    }
}

/// Phases that end in a model which others can start from.
#[derive(Clone, Debug)]
pub struct Stage {
    /// Its name, for progress and errors.
    pub name: String,
    /// At least one.
    pub phases: Vec<Phase>,
}

/// A place among a system's phases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct At {
    /// The stage, from 0.
    pub stage: usize,
    /// The phase of this stage, from 0.
    pub phase: usize,
}

/// What is trained: networks, and the stages that train them.
#[derive(Clone, Debug)]
pub struct System {
    /// The networks by name, and what goes in and out: the model that comes of the training.
    pub model: Networks,
    /// Networks of which moving averages are kept, where there are any.
    pub averaged: Vec<String>,
    /// The optimizer and the regularizers of all updates.
    pub method: ObjectiveConfig,
    /// Whether moving averages are kept.
    pub average: bool,
    /// Whether losses are scaled, as training in 16 bits needs: see [`super::scale`].
    pub scaled: bool,
    /// At least one.
    pub stages: Vec<Stage>,
}

impl System {
    /// A system of `model` without averages and stages, which are for a family to fill in, optimized as
    /// `recipe` says.
    #[must_use]
    pub fn new(recipe: &TrainConfig, model: Networks) -> Self {
        Self {
            model,
            averaged: Vec::new(),
            method: recipe.method,
            average: recipe.ema > 0,
            scaled: recipe.precision == Precision::F16,
            stages: Vec::new(),
        }
    }

    /// The network called `name`.
    ///
    /// # Errors
    /// [`Error::Tensor`] if there is none.
    pub fn network(&self, name: &str) -> Result<&Net> {
        self.model.by_name.get(name).ok_or_else(|| Error::Tensor {
            name: name.into(),
            what: "is no network of this system".into(),
        })
    }

    /// The networks of which moving averages are kept.
    pub fn averages(&self) -> impl Iterator<Item = (&str, &Sequential)> {
        let is_kept = |name: &str| self.average && self.averaged.iter().any(|a| a == name);
        self.model.iter().filter(move |(name, _)| is_kept(name)).map(|(n, net)| (n, &net.network))
    }

    /// The phase at `at`.
    ///
    /// # Errors
    /// [`Error::Tensor`] if there is none, as with the checkpoint of another system.
    pub fn phase(&self, at: At) -> Result<&Phase> {
        let phase = self.stages.get(at.stage).and_then(|stage| stage.phases.get(at.phase));
        phase.ok_or_else(|| Error::Tensor {
            name: "phase".into(),
            what: format!("this system has no stage {} with a phase {}", at.stage, at.phase),
        })
    }

    /// The phase behind the one at `at`.
    #[must_use]
    pub fn next(&self, at: At) -> Option<At> {
        let next = [At { phase: at.phase + 1, ..at }, At { stage: at.stage + 1, phase: 0 }];
        next.into_iter().find(|&at| self.phase(at).is_ok())
    }

    /// The first phase: of most systems the only one.
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
        let mut step = Step::new(t, self, phase, recording)?;
        (phase.record.0)(t, &mut step)?;
        step.finish(t)
    }
}
