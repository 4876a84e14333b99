//! The images of a training's steps: a loader that follows the training's phases.

use std::sync::Arc;

use crate::data::{Batch, Loader, LoaderOptions, Prepare, Skipped, Source};
use crate::error::Result;

use super::Trainer;

/// What a phase asks of a loader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wanted {
    /// Images of a step.
    batch: usize,
    /// Height, width and channels.
    image: [usize; 3],
}

impl Wanted {
    fn by(trainer: &Trainer) -> Self {
        let phase = trainer.phase();
        Self { batch: phase.step_images(), image: phase.image }
    }
}

/// Batches for a training's steps, of the size of their phase. As long as that size stays, the order of
/// images goes on from phase to phase. What a step sees depends on the training's position alone, so that
/// a resumed one sees the same.
#[derive(Debug)]
pub struct Feed {
    source: Arc<Source>,
    prepare: Prepare,
    options: LoaderOptions,
    loader: Loader,
    wanted: Wanted,
    /// Unreadable images that earlier loaders skipped.
    skipped: Vec<Skipped>,
}

impl Feed {
    /// Starts with the next batch of `trainer`. Sizes and batches of `prepare` and `options` are those of
    /// the training's phases.
    ///
    /// # Errors
    /// See [`Loader::start`].
    pub fn start(
        source: Arc<Source>,
        prepare: Prepare,
        options: LoaderOptions,
        trainer: &Trainer,
    ) -> Result<Self> {
        let wanted = Wanted::by(trainer);
        let loader = load(&source, &prepare, &options, trainer)?;
        Ok(Self { source, prepare, options, loader, wanted, skipped: Vec::new() })
    }

    /// The batch of the next step of `trainer`, which has entered its phase.
    ///
    /// # Errors
    /// See [`Loader::start`] and [`Loader::next_batch`].
    pub fn next_batch(&mut self, trainer: &Trainer) -> Result<Batch> {
        let wanted = Wanted::by(trainer);
        if wanted != self.wanted {
            self.skipped = self.skipped();
            self.loader = load(&self.source, &self.prepare, &self.options, trainer)?;
            self.wanted = wanted;
        }
        self.loader.next_batch()
    }

    /// Unreadable images so far.
    #[must_use]
    pub fn skipped(&self) -> Vec<Skipped> {
        let mut all = self.skipped.clone();
        let new = self.loader.skipped().into_iter();
        all.extend(new.filter(|skipped| !self.skipped.contains(skipped)));
        all
    }
}

/// A loader for the phase of `trainer`, at its next step: as if all steps before had been such ones.
fn load(
    source: &Arc<Source>,
    prepare: &Prepare,
    options: &LoaderOptions,
    trainer: &Trainer,
) -> Result<Loader> {
    let Wanted { batch, image: [height, width, channels] } = Wanted::by(trainer);
    let prepare = Prepare { height, width, channels, ..prepare.clone() };
    let options = LoaderOptions { batch, places: trainer.places(), ..options.clone() };
    let position = trainer.position();
    let before = (position.images - position.phase_images).div_ceil(batch as u64);
    let at = before + position.phase_images / batch as u64;
    Loader::start(Arc::clone(source), prepare, &options, at)
}
