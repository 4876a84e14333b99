//! The loop of a training's other processes: the first one writes the run, they compute their share.

use crate::data::Batch as Loaded;
use crate::error::Result;

use super::interrupt;
use super::options::RunOptions;
use super::session::Ending;
use super::{Batch, Feed, Trainer};

/// Trains as [`super::session::Session`] does in the first process, step by step together with it.
///
/// # Errors
/// See [`super::session::Session::run`].
pub fn follow(mut trainer: Trainer, mut feed: Feed, options: &RunOptions) -> Result<Ending> {
    let mut ending = Ending::Done;
    while trainer.images() < options.images {
        if let Some(signal) = interrupt::interrupted_any(&**trainer.world()) {
            ending = Ending::Interrupted(signal);
            break;
        }
        trainer.enter_phases()?;
        let before = trainer.images();
        let Loaded { images, labels, .. } = feed.next_batch(&trainer)?;
        trainer.step(Batch::from(images).labels(&labels.unwrap_or_default()))?;
        if options.rhythm.saves(before, trainer.images()) {
            trainer.confirm()?;
        }
    }
    trainer.finish()?;
    trainer.confirm()?;
    Ok(ending)
}
