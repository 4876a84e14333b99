//! The loop: a trainer, its pictures and its run folder, until enough pictures were seen or someone
//! presses Ctrl-C.
//!
//! The loop asks the device for pictures and copies of its state; what is made of them for files is
//! left to a [`Writer`]. Memory stays bounded: there is one copy of the state at a time, for which
//! the next checkpoint waits, and a few previews.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::data::{Fingerprint, Loader, Prepare, Reading, Skipped, Source, write_skipped};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::objectives::Output;
use crate::sample::{BATCH, Sampler};
use crate::tensor::Tensor;
use crate::{human, pictures};

use super::health::{self, Finding, Health, NonFinite};
use super::model_file::{PICTURES, Snapshot};
use super::step::seeded_latents;
use super::writer::{Pending, Writer};
use super::{Folder, Labelled, LogLine, Metrics, Progress, Recipe, Run, Trainer, interrupt, plot};

/// Pictures in a preview: the seeds 0 to 63.
const PREVIEW: usize = 64;

/// Rows, and fewest and most columns, of the preview of a conditional generator.
const CLASS_ROWS: usize = 32;
const CLASS_COLUMNS: std::ops::RangeInclusive<usize> = 4..=16;

/// The labels of a preview's pictures, whose seeds are 0 and on, and the grid's columns: of a
/// conditional generator a row for each class, of very many classes for the first ones. Every
/// picture has a seed of its own, so that how much they differ means the same as without classes.
fn preview_of(classes: usize) -> (Vec<u32>, usize) {
    let columns =
        (PREVIEW.div_ceil(classes.max(1))).clamp(*CLASS_COLUMNS.start(), *CLASS_COLUMNS.end());
    let row = |label: usize| std::iter::repeat_n(label as u32, columns);
    ((0..classes.min(CLASS_ROWS)).flat_map(row).collect(), columns)
}

/// The first preview after the one of noise; further ones double until the interval is reached.
const FIRST_PREVIEW: u64 = 512;

/// Everything that a run was started with: `options.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunOptions {
    /// The name of the recipe that was asked for; what it came to stands below.
    #[serde(default = "usual_preset")]
    pub preset: String,
    /// What decides the numbers.
    pub recipe: Recipe,
    /// Where the pictures are; none for the bundled ones.
    #[serde(default, with = "super::path_field")]
    pub data: Option<PathBuf>,
    /// What was found there.
    pub data_description: String,
    /// [`Source::fingerprint`]: other pictures cannot continue the run.
    pub data_fingerprint: Fingerprint,
    /// How they are read: the part that was taken, and what the classes are.
    #[serde(default = "Reading::before")]
    pub data_reading: Reading,
    /// What every picture is made into.
    pub prepare: Prepare,
    /// Real pictures to see in all.
    pub images: u64,
    /// How often things happen and what is kept.
    pub rhythm: Rhythm,
    /// The program's version.
    pub program: String,
    /// The device that the run was started on.
    pub device: String,
}

fn usual_preset() -> String {
    "dcgan".into()
}

/// How often things happen, in real pictures seen, and what is kept. Does not change the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rhythm {
    /// A line of progress and of the log.
    pub report_every: u64,
    /// A grid of generated pictures.
    pub preview_every: u64,
    /// A checkpoint.
    pub save_every: u64,
    /// The newest checkpoints that are kept.
    pub keep: usize,
    /// Of the older ones the first at or after every multiple of this is kept; 0 for none.
    pub keep_every: u64,
}

/// How a training ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All pictures were seen.
    Done,
    /// Ctrl-C.
    Interrupted,
}

/// A training with its surroundings.
#[derive(Debug)]
pub struct Session {
    /// Shared with what is being written.
    run: Arc<Run>,
    options: RunOptions,
    source: Arc<Source>,
    loader: Loader,
    trainer: Trainer,
    /// Where training is semi-supervised.
    labelled: Option<Labelled>,
    sampler: Sampler,
    latents: Tensor,
    /// Classes of the preview's pictures; none of a generator that is told none.
    labels: Vec<u32>,
    /// Columns of the preview.
    columns: usize,
    /// Diversity of as many real pictures as a preview has.
    real_diversity: f32,
    /// What the discriminator's numbers are.
    output: Output,
    health: Health,
    progress: Progress,
    /// Numbers since the last report.
    window: Vec<Metrics>,
    /// Seconds of training before this session.
    seconds_before: f64,
    started: Instant,
    last_report: (Instant, u64),
    /// Time spent since then waiting for pictures.
    waited: Duration,
    diversity: Option<f32>,
    skipped: Vec<Skipped>,
    /// Pictures seen at the newest checkpoint that was handed over to be written.
    saved: Option<u64>,
    /// That checkpoint, as long as it may be in memory.
    saving: Option<Pending>,
    /// Pictures seen at the newest preview that was handed over to be written.
    previewed: Option<u64>,
    /// The run's log so far.
    log: Vec<LogLine>,
}

/// Whether something that happens every `every` pictures is due between `before` and `now`.
fn due(before: u64, now: u64, every: u64) -> bool {
    now / every > before / every
}

/// The same for previews, which come early and often at first.
fn preview_due(before: u64, now: u64, every: u64) -> bool {
    let mut early = FIRST_PREVIEW;
    while early < every {
        if before < early && early <= now {
            return true;
        }
        early *= 2;
    }
    due(before, now, every)
}

impl Session {
    /// Brings a trainer, its pictures and its run together. The loader stands at the trainer's step;
    /// `seconds` have been trained before.
    ///
    /// # Errors
    /// [`Error::File`] where the folder cannot be written; [`Error::Memory`] where the generator does not fit beside the training.
    pub fn new(
        run: Run,
        options: RunOptions,
        source: Arc<Source>,
        loader: Loader,
        trainer: Trainer,
        labelled: Option<Labelled>,
        seconds: f64,
    ) -> Result<Self> {
        let sampler = trainer.sampler(BATCH)?;
        let Recipe { model, method, .. } = *trainer.recipe();
        let output = method.loss.output();
        let (labels, columns) = match model.classes {
            classes if model.is_conditional() => preview_of(classes),
            _ => (Vec::new(), pictures::columns(PREVIEW)),
        };
        let count = if model.is_conditional() { labels.len() } else { PREVIEW };
        let seeds: Vec<u64> = (0..count as u64).collect();
        let latents = seeded_latents(&seeds, model.nz, model.network.latent_law());
        let images = trainer.images();
        let log = run.log()?;
        let now = Instant::now();
        let mut session = Self {
            progress: Progress::new(options.images, images, std::io::stderr().is_terminal()),
            run: Arc::new(run),
            options,
            source,
            loader,
            trainer,
            labelled,
            sampler,
            latents,
            labels,
            columns,
            real_diversity: 0.0,
            output,
            health: Health::new(output),
            window: Vec::new(),
            seconds_before: seconds,
            started: now,
            last_report: (now, images),
            waited: Duration::ZERO,
            diversity: None,
            skipped: Vec::new(),
            saved: None,
            saving: None,
            previewed: None,
            log,
        };
        session.look_at_reals()?;
        Ok(session)
    }

    /// Trains until all pictures were seen or Ctrl-C was pressed, and leaves a checkpoint, a preview,
    /// the timelapse and the plot of losses behind.
    ///
    /// # Errors
    /// [`Error::Diverged`] where a number is none; [`Error::Lost`] or [`Error::Memory`] where the
    /// device fails; [`Error::File`] where pictures cannot be read or files not be written. The
    /// newest checkpoint stays as it is.
    pub fn run(&mut self) -> Result<Ending> {
        let mut writer = Writer::start()?;
        let result = self.train(&mut writer);
        // Also after an error: what was handed over before it is good.
        let written = writer.finish();
        self.progress.finish();
        result.and_then(|ending| written.map(|()| ending)).map_err(|e| self.with_checkpoint(e))
    }

    /// The run's folder.
    #[must_use]
    pub fn folder(&self) -> &Run {
        &self.run
    }

    fn train(&mut self, writer: &mut Writer) -> Result<Ending> {
        self.started = Instant::now();
        self.last_report = (self.started, self.trainer.images());
        if self.trainer.steps() == 0 {
            self.preview(writer)?;
        }
        let rhythm = self.options.rhythm;
        let mut ending = Ending::Done;
        while self.trainer.images() < self.options.images {
            if interrupt::interrupted() {
                ending = Ending::Interrupted;
                break;
            }
            writer.check()?;
            let before = self.trainer.images();
            let asked = Instant::now();
            let batch = self.loader.next_batch()?;
            self.waited += asked.elapsed();
            let done = match &self.labelled {
                Some(labelled) => {
                    let n = self.options.recipe.batch;
                    let (pictures, labels) = labelled.batch(self.trainer.steps(), n);
                    self.trainer.step_semi(batch.pictures, pictures, &labels)?
                }
                None => {
                    let labels = batch.labels.unwrap_or_default();
                    self.trainer.step_labelled(batch.pictures, &labels)?
                }
            };
            if let Some(metrics) = done {
                self.take(metrics)?;
            }
            let now = self.trainer.images();
            self.progress.advance(now);
            let last = now >= self.options.images;
            if last {
                // So that the last line has the last steps' numbers.
                self.settle()?;
            }
            if last || due(before, now, rhythm.report_every) {
                self.report()?;
            }
            if preview_due(before, now, rhythm.preview_every) {
                self.preview(writer)?;
            }
            if due(before, now, rhythm.save_every) {
                self.save(writer)?;
            }
            self.note_skipped()?;
        }
        self.settle()?;
        let images = self.trainer.images();
        if images > self.last_report.1 {
            self.report()?;
        }
        // Also before the first step: what was interrupted there can be resumed.
        // A file of that name may also be left from before a kill, with `latest` naming another.
        if self.saved != Some(images) {
            self.save(writer)?;
        }
        if self.previewed != Some(images) && !self.run.fakes_path(images).exists() {
            self.preview(writer)?;
        }
        self.draw(writer)?;
        Ok(ending)
    }

    /// Takes the numbers of a step; one that is none ends the training.
    fn take(&mut self, metrics: Metrics) -> Result<()> {
        self.window.push(metrics);
        if metrics.is_finite() {
            return Ok(());
        }
        self.report()
    }

    /// Waits for the steps under way and takes their numbers.
    fn settle(&mut self) -> Result<()> {
        for metrics in self.trainer.finish()? {
            self.take(metrics)?;
        }
        Ok(())
    }

    fn seconds(&self) -> f64 {
        self.seconds_before + self.started.elapsed().as_secs_f64()
    }

    /// Writes a line to the log, shows it, and looks after the training's health.
    fn report(&mut self) -> Result<()> {
        if self.window.is_empty() {
            // So soon after the last report that no step's numbers have come back since.
            self.settle()?;
        }
        let mean = Metrics::mean(&self.window);
        // A NaN among the numbers is one in their mean.
        self.window.clear();
        let (since, from) = self.last_report;
        let images = self.trainer.images();
        let since = since.elapsed().as_secs_f64();
        let line = LogLine {
            step: self.trainer.steps(),
            images,
            epoch: images as f64 / self.source.len() as f64,
            seconds: self.seconds(),
            images_per_s: (images - from) as f64 / since,
            loss_d: mean.loss_d,
            loss_g: mean.loss_g,
            d_real: mean.d_real,
            d_fake: mean.d_fake,
            d_fake_g: mean.d_fake_g,
            grad_norm_d: mean.grad_norm_d,
            grad_norm_g: mean.grad_norm_g,
            penalty: mean.penalty,
            slope: mean.slope,
            augment_p: mean.augment_p,
            loss_class: mean.loss_class,
            loss_scale: mean.loss_scale,
            sample_diversity: self.diversity.take(),
            waiting: Some((std::mem::take(&mut self.waited).as_secs_f64() / since) as f32),
            memory_bytes: Some(self.trainer.memory().total()),
        };
        self.last_report = (Instant::now(), images);
        self.run.append_log(&line)?;
        self.log.push(line);
        self.progress.report(&line);
        for finding in self.health.check(&line, NonFinite::default()) {
            match finding {
                Finding::Warning { text, .. } => self.progress.note(&format!("warning: {text}")),
                Finding::Fatal(text) => return Err(Error::Diverged(text)),
            }
        }
        Ok(())
    }

    /// Samples the preview's pictures, measures how much they differ, and has them written as
    /// `fakes-….png`, with a new plot.
    fn preview(&mut self, writer: &mut Writer) -> Result<()> {
        self.settle()?;
        let (sampler, labels) = (&mut self.sampler, &self.labels);
        let fakes = self.trainer.sample_labelled(sampler, &self.latents, labels)?;
        let &[n, h, w, c] = fakes.shape() else { unreachable!("a sampler gives pictures") };
        if self.real_diversity > 0.0 && self.trainer.steps() > 0 {
            self.diversity = Some(health::diversity(fakes.f32s(), n) / self.real_diversity);
        }
        let images = self.trainer.images();
        self.previewed = Some(images);
        let (run, log, columns) = (Arc::clone(&self.run), self.log.clone(), self.columns);
        let output = self.output;
        writer.hand_over(move || {
            let grid = pictures::grid_of(fakes.f32s(), [n, h, w, c], columns)?;
            pictures::save_png(&run.fakes_path(images), &grid)?;
            plot(&run, &log, output)
        })?;
        Ok(())
    }

    /// Copies the training's state and has it written as a checkpoint.
    fn save(&mut self, writer: &mut Writer) -> Result<()> {
        self.settle()?;
        if let Some(before) = self.saving.take() {
            before.wait();
        }
        let images = self.trainer.images();
        let mut snapshot = self.trainer.snapshot(self.seconds())?;
        let prepare = serde_json::to_string(&self.options.prepare).expect("plain data");
        snapshot.metadata.insert(PICTURES.into(), prepare);
        let (run, rhythm) = (Arc::clone(&self.run), self.options.rhythm);
        let save = move || save(&run, images, snapshot, &rhythm);
        self.saving = Some(writer.hand_over(save)?);
        self.saved = Some(images);
        Ok(())
    }

    /// Has the plot and the timelapse written.
    fn draw(&self, writer: &mut Writer) -> Result<()> {
        let (run, log, output) = (Arc::clone(&self.run), self.log.clone(), self.output);
        writer.hand_over(move || {
            plot(&run, &log, output)?;
            let frames: Vec<PathBuf> = run.fakes()?.into_iter().map(|(_, path)| path).collect();
            if frames.len() > 1 {
                pictures::timelapse::write(&run.timelapse_path(), &frames)?;
            }
            Ok(())
        })?;
        Ok(())
    }

    /// Writes `reals.png`, pictures from all over the set, and measures how much they differ.
    fn look_at_reals(&mut self) -> Result<()> {
        let prepare = &self.options.prepare;
        let count = PREVIEW.min(self.source.len());
        let items = (0..count).map(|i| i * self.source.len() / count);
        let readable = items.filter_map(|item| self.source.prepared(item, prepare).ok());
        let reals: Vec<f32> =
            readable.flatten().map(|byte| f32::from(byte) / 127.5 - 1.0).collect();
        let n = reals.len() / prepare.len();
        self.real_diversity = health::diversity(&reals, n);
        let path = self.run.reals_path();
        if n == 0 || path.exists() {
            return Ok(());
        }
        let shape = [n, prepare.height, prepare.width, prepare.channels];
        pictures::save_png(&path, &pictures::grid(&reals, shape)?)
    }

    /// Tells of pictures that could not be read since the last step, and lists them.
    fn note_skipped(&mut self) -> Result<()> {
        let skipped = self.loader.skipped();
        if skipped.len() == self.skipped.len() {
            return Ok(());
        }
        let path = self.run.skipped_path();
        let count = skipped.len();
        self.progress.note(&format!(
            "{count} unreadable {} skipped so far, listed in {}",
            if count == 1 { "picture" } else { "pictures" },
            path.display()
        ));
        write_skipped(&path, &skipped)?;
        self.skipped = skipped;
        Ok(())
    }

    /// An error that ended the training, with the way back.
    fn with_checkpoint(&self, error: Error) -> Error {
        let run = self.run.path().display();
        let back = match (self.run.latest(), &error) {
            // To resume would be to diverge again: nothing that decides the numbers can be changed.
            (Some(path), Error::Diverged(_)) => {
                format!("; the checkpoint {} is from before that", path.display())
            }
            (Some(path), _) => format!(
                "; the checkpoint {} is intact: go on from it with dcgan train --resume {run}",
                path.display()
            ),
            (None, _) => format!("; {run} has no checkpoint yet"),
        };
        match error {
            Error::Diverged(what) => Error::Diverged(what + &back),
            Error::Lost(what) => Error::Lost(what + &back),
            Error::Memory(what) => Error::Memory(what + &back),
            Error::File { path, what } => Error::File { path, what: what + &back },
            other => other,
        }
    }
}

/// Writes a checkpoint, unless a number in it is none, and deletes those that it makes superfluous.
fn save(run: &Run, images: u64, snapshot: Snapshot, rhythm: &Rhythm) -> Result<()> {
    if let Some(name) = snapshot.not_finite() {
        return Err(Error::Diverged(format!(
            "at step {} {name} holds a number that is not finite: the training has diverged; start \
             anew with lower --lr-d and --lr-g, or another --seed",
            snapshot.step
        )));
    }
    let (tensors, metadata) = snapshot.into_file()?;
    run.save_checkpoint(images, &tensors, &metadata)?;
    run.prune(rhythm.keep, rhythm.keep_every)?;
    Ok(())
}

/// Writes `losses.png`, once there is a line to draw.
fn plot(run: &Folder, log: &[LogLine], output: Output) -> Result<()> {
    if log.len() < 2 {
        return Ok(());
    }
    let name = run.path().file_name().unwrap_or_default().to_string_lossy();
    plot::save(&run.losses_path(), log, output, &name)
}

/// The first lines of a training: what, from what, on what.
#[must_use]
pub fn header(options: &RunOptions, trainer: &Trainer, device: &Device) -> String {
    let recipe = &options.recipe;
    let model = &recipe.model;
    let told = match model.classes {
        classes if model.is_semi_supervised() => {
            format!(", {} labels of each of {classes} classes", recipe.labels_per_class)
        }
        0 => String::new(),
        classes => format!(", told {classes} classes"),
    };
    format!(
        "data      {}\n\
         networks  {} {}x{}x{}, nz {}{told}; G {} and D {} parameters\n\
         training  {} images in batches of {}, seed {}\n\
         device    {}\n\
         memory    {} planned ({} of them state)",
        options.data_description,
        model.network,
        model.size.height,
        model.size.width,
        model.channels,
        model.nz,
        human::count(model.learnt("generator") as u64),
        human::count(model.learnt("discriminator") as u64),
        human::count(options.images),
        recipe.batch,
        recipe.seed,
        device.name(),
        human::bytes(trainer.memory().total()),
        human::bytes(trainer.memory().states),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conditional_preview_has_a_row_for_each_class() {
        let rows = |classes| {
            let (labels, columns) = preview_of(classes);
            let rows: Vec<&[u32]> = labels.chunks(columns).collect();
            assert!(rows.iter().zip(0..).all(|(row, class)| **row == vec![class; columns]));
            (rows.len(), columns)
        };
        assert_eq!([2, 3, 10, 16, 1000].map(rows), [(2, 16), (3, 16), (10, 7), (16, 4), (32, 4)]);
    }

    #[test]
    fn previews_come_early_then_regularly() {
        let steps: Vec<u64> = (0..40_000).step_by(64).collect();
        let previews: Vec<u64> =
            steps.windows(2).filter(|w| preview_due(w[0], w[1], 10_000)).map(|w| w[1]).collect();
        assert_eq!(previews, [512, 1024, 2048, 4096, 8192, 10_048, 20_032, 30_016]);
        assert!(!due(0, 64, 100) && due(64, 128, 100) && due(64, 1000, 100));
    }
}
