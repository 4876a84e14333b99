//! Scores in the loop: when they are due, and what becomes of them.

use std::sync::Arc;
use std::time::Instant;

use crate::error::{Error, Result};
use crate::evaluation::{ImageSet, Score};
use crate::model::sampler::{BATCH, check_finite};
use crate::model::{Inputs, checkpoint, seeded_latents};
use crate::train::interrupt;
use crate::train::options::due;
use crate::train::scoring::best::Kept;
use crate::train::scoring::{SEED, Scorer};
use crate::train::writer::Writer;
use crate::{files, human, images};

use super::{Session, checked};

fn is_interrupted() -> bool {
    interrupt::interrupted().is_some()
}

impl Session {
    /// Has the generator scored during the training. Scores are held against those of real images, which
    /// are written to `floors.json`, and the best checkpoint so far is that of the run's folder.
    pub fn score_by(&mut self, mut scorer: Scorer) {
        if let Some(best) = scorer.best() {
            match Kept::read(&self.run.best_path()) {
                Ok(kept) => *best = best.clone().after(kept),
                Err(error) => {
                    self.progress.note(&format!("warning: {error}; the next score replaces it"));
                }
            }
        }
        let floors = serde_json::to_string_pretty(scorer.references()).expect("plain data");
        let written = files::write_bytes(&self.run.floors_path(), (floors + "\n").as_bytes());
        if let Err(error) = written {
            self.warn(&error);
        }
        self.scorer = Some(scorer);
    }

    /// Whether a score was due at the step where the run resumes, and is not in the log: the training
    /// was stopped while it was computed.
    pub(super) fn is_score_missing(&self) -> bool {
        let Some(scorer) = &self.scorer else { return false };
        let now = self.trainer.images();
        let step = self.trainer.phase().step_images() as u64;
        let is_there = |name: &str| {
            self.log.iter().any(|line| line.images == now && line.metrics.get(name).is_some())
        };
        self.trainer.has_previews()
            && self.makes_images()
            && due(now.saturating_sub(step), now, self.options.scores.evaluate_every)
            && !scorer.references().iter().any(|known| is_there(&known.name))
    }

    /// Scores the generator as it is now, for the next report, and has the checkpoint kept if it is the
    /// best. Returns whether there are scores: none if the training is interrupted meanwhile, or after a
    /// warning.
    pub(super) fn score(&mut self, writer: &mut Writer) -> Result<bool> {
        let Some(mut scorer) = self.scorer.take() else { return Ok(false) };
        self.drain()?;
        let start = Instant::now();
        let scores = self.scores_by(&mut scorer);
        let taken = start.elapsed();
        self.scoring += taken;
        // The speed is that of training.
        self.last_report.0 += taken;
        let is_scored = match scores {
            Ok(None) => false,
            Ok(Some(scores)) => {
                self.take_scores(&mut scorer, scores, writer)?;
                true
            }
            Err(error @ Error::Lost(_)) => return Err(error),
            Err(error) => {
                self.warn(&error);
                false
            }
        };
        self.scorer = Some(scorer);
        Ok(is_scored)
    }

    /// The scores now; `None` if the training is interrupted.
    fn scores_by(&mut self, scorer: &mut Scorer) -> Result<Option<Vec<Score>>> {
        let networks = &self.trainer.system().model;
        let (nz, distribution, kinds) =
            (networks.nz, networks.latent_distribution, networks.labels());
        let size = [networks.size.height, networks.size.width, networks.channels];
        let seeds: Vec<u64> = (SEED..).take(scorer.count()).collect();
        let mut bytes = Vec::new();
        for seeds in seeds.chunks(BATCH) {
            if is_interrupted() {
                return Ok(None);
            }
            let latents = seeded_latents(seeds, nz, distribution);
            let inputs = Inputs::seeds(seeds.iter().copied());
            let labels: Vec<u32> =
                (0..seeds.len()).filter_map(|i| inputs.class(i, kinds)).collect();
            let fakes = self.trainer.sample_labeled(&mut self.sampler, &latents, &labels)?;
            check_finite(&fakes)?;
            bytes.extend(images::bytes(fakes.f32s()));
        }
        scorer.scores(ImageSet::new(size, bytes)?, is_interrupted)
    }

    /// Shows scores, leaves them for the next report, and keeps the checkpoint if it is the best.
    fn take_scores(
        &mut self,
        scorer: &mut Scorer,
        mut scores: Vec<Score>,
        writer: &mut Writer,
    ) -> Result<()> {
        let images = self.trainer.images();
        let line = scorer.line(&scores);
        let best = scorer.best().and_then(|best| {
            let score = scores.iter().find(|score| score.name == best.name())?;
            best.take(score.value, images)
        });
        let note = if best.is_some() { "; the best so far" } else { "" };
        self.progress.note(&format!("scores at {}: {line}{note}", human::counted(images, "image")));
        // A non-finite number in the log would count as a divergence.
        scores.retain(|score| score.value.is_finite());
        self.scored = Some(scores);
        match best {
            Some(best) => self.keep_best(&best, writer),
            None => Ok(()),
        }
    }

    /// Has the training's state written as `best.safetensors`.
    fn keep_best(&mut self, best: &Kept, writer: &mut Writer) -> Result<()> {
        let mut snapshot = self.snapshot()?;
        best.write(&mut snapshot.metadata);
        let run = Arc::clone(&self.run);
        self.saving = Some(writer.hand_over(move || {
            let (tensors, metadata) = checked(snapshot)?;
            checkpoint::save(&run.best_path(), &tensors, &metadata)
        })?);
        Ok(())
    }
}
