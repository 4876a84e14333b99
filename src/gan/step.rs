//! A step being recorded: images, draws and networks for a family's functions, and the common code
//! before and after them.

use std::fmt;
use std::ops::Range;

use crate::augment::Adaptive;
use crate::error::{Error, Result};
use crate::model::names::{KEY, averaged};
use crate::nn::{Mode, Outputs, Param, Pass};
use crate::optim::moving_average;
use crate::tape::{Tape, Var};
use crate::tensor::DType;

use super::draws::Draws;
use super::scalar::Scalars;
use super::scale;
use super::system::{Phase, System};

/// Extra feeds and fetches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recording {
    /// Feed random numbers rather than drawing them on the device: latents as `z` `[batch, nz]`,
    /// others under the names of their draws.
    pub feed_draws: bool,
    /// Also fetch every gradient, as `grad.<parameter>`, and generated images, as `fake`.
    pub fetch_gradients: bool,
    /// Feed images as floats in the networks' range rather than as bytes.
    pub float_images: bool,
}

impl Recording {
    /// For comparisons with other programs: draws are fed, gradients fetched.
    pub const COMPARED: Self =
        Self { feed_draws: true, fetch_gradients: true, float_images: false };
}

/// The result of recording a step, besides the tape.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// The fetches that are metrics, in the order in which they were reported.
    pub metrics: Vec<String>,
}

/// A step being recorded.
pub struct Step<'a> {
    /// The networks, and how they are trained.
    pub system: &'a System,
    /// The same with the whole networks, where the phase has parts of them.
    pub whole: &'a System,
    /// The phase that the step belongs to.
    pub phase: &'a Phase,
    /// Extra feeds and fetches.
    pub recording: Recording,
    /// All real images of the step, `[batches · batch, h, w, c]` in the networks' range; in a step of
    /// several ranks those of this one's micro-batches.
    pub images: Var,
    /// Their one-hot labels `[batches · batch, classes]`, if fed.
    pub labels: Option<Var>,
    /// The source of random numbers.
    pub draws: Draws,
    /// The probability of each augmentation in this step, if it is not 1.
    pub augment_p: Option<Var>,
    /// Weights with orthogonal regularization, and whether they are transposed.
    pub(super) orthogonal: Vec<(String, bool)>,
    scalars: Scalars,
    metrics: Vec<String>,
    /// The number of this process, and of all.
    ranks: (usize, usize),
}

impl fmt::Debug for Step<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Step").field("phase", &self.phase.name).finish_non_exhaustive()
    }
}

impl<'a> Step<'a> {
    pub(super) fn new(
        t: &mut Tape,
        system: &'a System,
        phase: &'a Phase,
        recording: Recording,
    ) -> Result<Self> {
        let (rank, ranks) = (t.world().rank(), t.world().size());
        let n = phase.step_images() / ranks;
        let [h, w, c] = phase.image;
        let dtype = if recording.float_images { DType::F32 } else { DType::U8 };
        let images = t.feed("images", &[n, h, w, c], dtype)?;
        t.settle(system.objective.parts(phase.batch).1 > 1);
        let scalars = Scalars::feed(t, &phase.scalars)?;
        let labels = match phase.classes {
            0 => None,
            classes => Some(t.feed("labels", &[n, classes], DType::F32)?),
        };
        let draws = if recording.feed_draws {
            Draws::Fed
        } else {
            let key = t.read(KEY, &[4], DType::U32)?;
            let next = t.advance(key)?;
            t.assign(KEY, next)?;
            Draws::Device(key)
        };
        let images = match recording.float_images {
            true => images,
            false => system.model.pixels.of_bytes(t, images)?,
        };
        let mut step = Self {
            system,
            whole: system,
            phase,
            recording,
            images,
            labels,
            draws,
            augment_p: None,
            orthogonal: Vec::new(),
            scalars,
            metrics: Vec::new(),
            ranks: (rank, ranks),
        };
        let objective = &system.objective;
        if objective.orthogonal > 0.0 {
            let each = system.model.iter();
            step.orthogonal = each.flat_map(|(name, net)| net.network.convolutions(name)).collect();
        }
        step.augment_p = match objective.augment_p {
            _ if objective.ada > 0.0 => Some(Adaptive::probability(t)?),
            p if p < 1.0 => Some(t.fill(&[], p)?),
            _ => None,
        };
        if let (Some(p), true) = (step.augment_p, objective.ada > 0.0) {
            step.report(t, "augment_p", p);
        }
        Ok(step)
    }

    /// Fetches a scalar as the metric called `name`: it is logged, and shown depending on its name
    /// ([`crate::train::metrics::Kind`]). If a step reports a metric several times, as with several
    /// updates of a network, the last value counts.
    pub fn report(&mut self, t: &mut Tape, name: &str, value: Var) {
        t.fetch_last(name, value);
        if !self.metrics.iter().any(|known| known == name) {
            self.metrics.push(name.to_owned());
        }
    }

    /// The scalar called `name` of this step, such as a learning rate.
    ///
    /// # Errors
    /// [`Error::Tensor`] if the phase has no scalar of this name.
    pub fn scalar(&self, name: &str) -> Result<Var> {
        self.scalars.get(name)
    }

    /// Images of a micro-batch, and micro-batches per batch, of all ranks.
    #[must_use]
    pub fn parts(&self) -> (usize, usize) {
        self.system.objective.parts(self.phase.batch)
    }

    /// The micro-batches of each batch that this rank records: all, unless there are others.
    #[must_use]
    pub fn micro_batches(&self) -> Range<usize> {
        let (rank, ranks) = self.ranks;
        let own = self.parts().1 / ranks;
        rank * own..(rank + 1) * own
    }

    /// Rows of `all`, one for each image of the step, of micro-batch `m` of batch `k`.
    ///
    /// # Errors
    /// [`Error::Shape`] if there are not enough.
    pub fn rows(&self, t: &mut Tape, all: Var, k: usize, m: usize) -> Result<Var> {
        let (micro, own) = (self.parts().0, self.micro_batches());
        if (self.phase.batches, own.len()) == (1, 1) {
            return Ok(all);
        }
        let mut shape = t.shape(all).to_vec();
        let row: usize = shape[1..].iter().product();
        shape[0] = micro;
        let at = k * own.len() + (m - own.start);
        let rows = t.range(all, at * micro * row, micro * row)?;
        t.reshape(rows, &shape)
    }

    /// Names of micro-batch `m`'s draws and passes if D and G see the same images: `z`, or
    /// `z.0.<m>` with several micro-batches.
    pub(super) fn draw_of(&self, m: usize) -> impl Fn(&str) -> String + use<> {
        let is_whole = self.parts().1 == 1;
        move |what| if is_whole { what.into() } else { format!("{what}.0.{m}") }
    }

    /// Latents `[n, 1, 1, nz]` of the model's distribution, drawn under `name`.
    ///
    /// # Errors
    /// [`Error::Tensor`] if a draw of this name was fed before.
    pub fn latents(&self, t: &mut Tape, name: &str, n: usize) -> Result<Var> {
        let model = &self.system.model;
        let z = self.draws.latents(t, name, model.latent_distribution, &[n, model.nz])?;
        t.reshape(z, &[n, 1, 1, model.nz])
    }

    /// What a pass through a network needs besides its input; `name` separates its random numbers
    /// from those of other passes through the same network.
    #[must_use]
    pub fn pass<'n>(&self, name: &'n str, labels: Option<Var>) -> Pass<'n> {
        Pass::new(Mode::Train).labels(labels).random(self.draws.key(), name)
    }

    /// What a pass through a network in evaluation mode needs, such as one that is only read.
    #[must_use]
    pub fn evaluated<'n>(&self, name: &'n str) -> Pass<'n> {
        Pass { mode: Mode::Eval, ..self.pass(name, None) }
    }

    /// Records a pass of `x` `[n, h, w, c]` through the network called `network`. A frozen network runs in
    /// evaluation mode.
    ///
    /// # Errors
    /// [`Error::Tensor`] if there is no such network; [`Error::Shape`] if `x` does not fit it.
    pub fn forward(&self, t: &mut Tape, network: &str, x: Var, pass: Pass<'_>) -> Result<Outputs> {
        let pass = match self.is_frozen(network) {
            true => Pass { mode: Mode::Eval, ..pass },
            false => pass,
        };
        self.system.network(network)?.network.record(t, network, x, &pass)
    }

    /// Records one step of the power method for the spectral norms of a network: all passes until
    /// the next one share one norm.
    ///
    /// # Errors
    /// [`Error::Tensor`] if there is no such network.
    pub fn power_iteration(&self, t: &mut Tape, network: &str) -> Result<()> {
        if self.is_frozen(network) {
            return Ok(());
        }
        self.system.network(network)?.network.power_iteration(t, network)
    }

    /// Whether the phase only reads the network called `network`.
    #[must_use]
    pub fn is_frozen(&self, network: &str) -> bool {
        self.phase.frozen.iter().any(|frozen| frozen == network)
    }

    /// The end of every step: moving averages, and the guard of states written by scaled passes.
    pub(super) fn finish(mut self, t: &mut Tape) -> Result<Recorded> {
        if self.system.average {
            self.average(t)?;
        }
        if self.system.scaled {
            let params = self.system.model.params();
            let kept: Vec<Param> = params.into_iter().filter(|p| !p.learned).collect();
            scale::guard(t, &kept)?;
            let now = t.read(scale::SCALE, &[], DType::F32)?;
            self.report(t, scale::SCALE, now);
        }
        self.check_frozen(t)?;
        Ok(Recorded { metrics: self.metrics })
    }

    /// Updates the moving averages of networks.
    fn average(&self, t: &mut Tape) -> Result<()> {
        for (name, network) in self.system.averages().filter(|(name, _)| !self.is_frozen(name)) {
            for param in network.params(name) {
                let average = averaged(&param.name);
                if param.averaged {
                    let weight = self.scalar("average")?;
                    moving_average(t, &average, &param.name, &param.shape, weight)?;
                } else {
                    let now = t.read(&param.name, &param.shape, DType::F32)?;
                    t.assign(&average, now)?;
                }
            }
        }
        Ok(())
    }

    /// Refuses assignments to tensors of frozen networks.
    fn check_frozen(&self, t: &Tape) -> Result<()> {
        let of = |name: &str, network: &str| {
            name.strip_prefix(network).is_some_and(|rest| rest.starts_with('.'))
        };
        for (name, state) in t.states() {
            let network = self.phase.frozen.iter().find(|network| of(name, network));
            if let Some(network) = network.filter(|_| state.before != state.after) {
                let what =
                    format!("is assigned, and {network} is frozen in phase {}", self.phase.name);
                return Err(Error::Tensor { name: name.clone(), what });
            }
        }
        Ok(())
    }
}
