//! The stages of a training in the loop: what their ends leave behind.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::train::writer::Writer;
use crate::{files, human};

use super::Session;

impl Session {
    /// The current stage; `None` in a training of one stage.
    pub(super) fn stage(&self) -> Option<String> {
        let name = &self.trainer.stage().name;
        self.trainer.position().stages.contains_key(name).then(|| name.clone())
    }

    /// Images seen when the current stage is over.
    pub(super) fn stage_end(&self) -> u64 {
        let position = self.trainer.position();
        let seen = position.stages.get(&self.trainer.stage().name).map_or(0, |stage| stage.images);
        match self.trainer.stage().images() {
            Some(images) => {
                let left = images.saturating_sub(seen);
                self.options.images.min(position.images.saturating_add(left))
            }
            None => self.options.images,
        }
    }

    /// Whether the training could end here with its stage done.
    pub(super) fn ends_stage(&self) -> bool {
        self.trainer.is_last_stage() || self.trainer.is_stage_over()
    }

    /// Shows which stage is being trained.
    pub(super) fn show_stage(&mut self) {
        let Some(stage) = self.stage() else { return };
        if self.progress.is_in_stage(&stage) {
            return;
        }
        let end = self.stage_end();
        let images = human::counted(end.saturating_sub(self.trainer.images()), "image");
        self.progress.note(&format!("stage {stage}: {images}"));
        self.progress.in_stage(&stage, end);
    }

    /// The end of a stage that another one follows: its last report, a preview, a checkpoint, and the
    /// model that other trainings can start from.
    pub(super) fn end_stage(&mut self, writer: &mut Writer) -> Result<()> {
        self.drain()?;
        let images = self.trainer.images();
        if images > self.last_report.1 {
            self.report()?;
        }
        self.trainer.complete_stage();
        if self.previewed != Some(images) && self.trainer.stage().has_previews {
            self.preview(writer)?;
        }
        self.save(writer)?;
        self.keep_stage(writer)
    }

    /// Has the newest checkpoint kept as the model of its stage.
    pub(super) fn keep_stage(&mut self, writer: &mut Writer) -> Result<()> {
        let Some(stage) = self.stage() else { return Ok(()) };
        let run = Arc::clone(&self.run);
        let images = self.trainer.images();
        writer.hand_over_extra(move || {
            let from = run.checkpoint_path(images);
            let unread = |error| Error::file(&from, files::cannot("be read", &error));
            let bytes = std::fs::read(&from).map_err(unread)?;
            files::write_bytes(&run.stage_path(&stage), &bytes)
        })
    }
}
