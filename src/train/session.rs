//! The loop: a trainer, its images and its run folder, until enough images were seen or someone
//! presses Ctrl-C.
//!
//! The loop asks the device for images and copies of its state; a [`Writer`] turns them into files.
//! Memory is bounded: there is one copy of the state at a time, which the next checkpoint waits
//! for, and a few previews.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::data::{Captions, Skipped, Source, write_skipped};
use crate::error::{Error, Result};
use crate::evaluation::Score;
use crate::gan::families;
use crate::model::file::IMAGES;
use crate::model::sampler::BATCH;
use crate::model::{Sampler, seeded_latents};
use crate::shell::quoted;
use crate::tensor::Tensor;
use crate::terminal::is_watched;
use crate::text::TextVectors;
use crate::{files, human, images};

use super::Snapshot;
use super::health::{self, Finding, Health};
use super::interrupt::Signal;
use super::listing::{listing, plain};
use super::log::SAMPLE_DIVERSITY;
use super::options::{Intervals, RunOptions, due, facts};
use super::report::{Previews, Report, State};
use super::scoring::Scorer;
use super::tensorboard::Events;
use super::writer::{Pending, Writer};
use super::{
    Feed, Labeled, LogLine, Metrics, Progress, Run, TrainConfig, Trainer, interrupt, plot,
};

/// Images in a preview: the seeds 0 to 63.
const PREVIEW: usize = 64;

/// Rows, and fewest and most columns, of the preview of a conditional generator.
const CLASS_ROWS: usize = 32;
const CLASS_COLUMNS: std::ops::RangeInclusive<usize> = 4..=16;

/// The labels of a preview's images (seeds 0 and on), and the grid's columns: a conditional
/// generator gets a row for each class, or for the first ones if there are very many. Every image
/// has its own seed, so that diversity is comparable to that without classes.
fn preview_of(classes: usize) -> (Vec<u32>, usize) {
    let columns =
        (PREVIEW.div_ceil(classes.max(1))).clamp(*CLASS_COLUMNS.start(), *CLASS_COLUMNS.end());
    let row = |label: usize| std::iter::repeat_n(label as u32, columns);
    ((0..classes.min(CLASS_ROWS)).flat_map(row).collect(), columns)
}

/// Steps of a session before their speed is typical, and how long it is then measured.
const WARM: u64 = 2;
const MEASURED: Duration = Duration::from_secs(3);

/// No estimate is printed for trainings shorter than this, in seconds.
const SHORT: f64 = 60.0;

/// The time limit for an interrupted training's timelapse.
const PATIENCE: Duration = Duration::from_secs(2);

/// How a training ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All images were seen.
    Done,
    /// Ctrl-C, or another termination signal.
    Interrupted(Signal),
}

mod data;
mod scoring;
mod shown;
mod stages;

pub use data::TrainingData;
use data::rows;
use shown::Shown;

/// A training with its surroundings.
#[derive(Debug)]
pub struct Session {
    /// Shared with what is being written.
    run: Arc<Run>,
    options: RunOptions,
    source: Arc<Source>,
    feed: Feed,
    trainer: Trainer,
    /// For semi-supervised training.
    labeled: Option<Labeled>,
    /// For training on texts.
    captions: Option<Arc<Captions>>,
    /// Their vectors, if another program made these.
    vectors: Option<TextVectors>,
    sampler: Sampler,
    /// For previews, those of the images on the way.
    shown: Shown,
    latents: Tensor,
    /// Classes of the preview's images, or the numbers of their texts among the examples; empty for
    /// an unconditional generator.
    labels: Vec<u32>,
    /// Columns of the preview.
    columns: usize,
    /// Diversity of as many real images as a preview has.
    real_diversity: f32,
    health: Health,
    progress: Progress,
    /// Metrics since the last report.
    window: Vec<Metrics>,
    /// Seconds of training before this session.
    seconds_before: f64,
    started: Instant,
    last_report: (Instant, u64),
    /// Time spent since then waiting for images.
    waited: Duration,
    diversity: Option<f32>,
    skipped: Vec<Skipped>,
    /// Images seen at the newest checkpoint handed to the writer.
    saved: Option<u64>,
    /// That checkpoint, while it may still be in memory.
    saving: Option<Pending>,
    /// Images seen at the newest preview handed to the writer.
    previewed: Option<u64>,
    /// The run's log so far.
    log: Vec<LogLine>,
    /// Log lines that could not be written yet.
    unwritten: String,
    /// The page to watch the training by; shared with what is being written.
    page: Arc<Mutex<Report>>,
    /// TensorBoard's event file, if wanted.
    events: Option<Arc<Mutex<Events>>>,
    /// Whether its last event could not be written.
    events_failed: bool,
    /// Scores the generator, if wanted.
    scorer: Option<Scorer>,
    /// The scores at this step.
    scored: Option<Vec<Score>>,
    /// Time spent on scores, which is no training.
    scoring: Duration,
}

impl Session {
    /// A description of the images in this model's previews.
    #[must_use]
    pub fn previews(config: &TrainConfig) -> String {
        let (labels, columns) = preview_of(rows(config));
        match labels.len() {
            _ if !config.text.is_empty() => {
                format!("seeds 0 to {}, a row of {columns} for each text", labels.len() - 1)
            }
            0 => format!("seeds 0 to {}, in rows of {}", PREVIEW - 1, images::columns(PREVIEW)),
            n => format!("seeds 0 to {}, a row of {columns} for each class", n - 1),
        }
    }

    /// Combines a trainer, its images and its run. The feed is at the trainer's step; `seconds`
    /// of training came before.
    ///
    /// # Errors
    /// [`Error::File`] if the log cannot be read; [`Error::Memory`] if the generator does not fit
    /// beside the training.
    pub fn new(
        run: Run,
        options: RunOptions,
        data: TrainingData,
        trainer: Trainer,
        seconds: f64,
    ) -> Result<Self> {
        let sampler = trainer.sampler(BATCH)?;
        let shown = Shown::new(&trainer)?;
        let objective = trainer.config().objective;
        let TrainingData { source, feed, labeled, captions, vectors } = data;
        let (labels, columns) = match rows(trainer.config()) {
            0 => (Vec::new(), images::columns(PREVIEW)),
            rows => preview_of(rows),
        };
        let count = if labels.is_empty() { PREVIEW } else { labels.len() };
        let seeds: Vec<u64> = (0..count as u64).collect();
        // The family's, which may differ from the architecture's.
        let model = &trainer.system().model;
        let latents = seeded_latents(&seeds, model.nz, model.latent_distribution);
        let images = trainer.images();
        let log = run.log()?;
        let now = Instant::now();
        let previews = Previews {
            seeds: Self::previews(trainer.config()),
            labels: labels.clone(),
            count,
            columns,
            size: [model.size.height, shown.across() * model.size.width],
        };
        let memory = trainer.memory().to_string();
        let page = Report::new(options.clone(), facts(&options, &trainer), memory, previews);
        let mut session = Self {
            progress: Progress::new(options.images, images, is_watched()),
            run: Arc::new(run),
            options,
            source,
            feed,
            trainer,
            labeled,
            captions,
            vectors,
            sampler,
            shown,
            latents,
            labels,
            columns,
            real_diversity: 0.0,
            health: Health::new(families::watched_output(&objective)),
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
            unwritten: String::new(),
            page: Arc::new(Mutex::new(page)),
            events: None,
            events_failed: false,
            scorer: None,
            scored: None,
            scoring: Duration::ZERO,
        };
        if session.options.rhythm.tensorboard
            && let Err(error) = session.start_events()
        {
            session.warn(&error);
        }
        if let Err(error) = session.look_at_reals() {
            session.warn(&error);
        }
        Ok(session)
    }

    /// Trains until all images were seen or a signal arrives, then writes a checkpoint, a preview,
    /// the timelapse and the plot of losses; if in a hurry only the checkpoint.
    ///
    /// # Errors
    /// [`Error::Diverged`] if a metric is non-finite; [`Error::Lost`] or [`Error::Memory`] if the
    /// device fails; [`Error::File`] if images cannot be read or a checkpoint cannot be written;
    /// the newest checkpoint then stays as it is. Failures to write other files are warnings.
    pub fn run(&mut self) -> Result<Ending> {
        let mut writer = Writer::start()?;
        let result = self.train(&mut writer);
        if let Err(Error::Diverged(_)) = result {
            // If the writer fails too, that error is the second.
            let _ = self.write_page(&mut writer, State::Failed);
        }
        // Also after an error: jobs handed over before it are good.
        let written = writer.finish();
        self.warn_of_failures(&writer);
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
        if self.is_score_missing() && self.score(writer)? {
            self.report()?;
        }
        let rhythm = self.options.rhythm;
        let mut ending = Ending::Done;
        let (mut first, mut began) = (self.trainer.steps(), self.trainer.images());
        self.show_stage();
        let mut pace: Option<(Instant, u64)> = None;
        let mut is_shown = false;
        while self.trainer.images() < self.options.images {
            if let Some(signal) = interrupt::interrupted_any(&**self.trainer.world()) {
                ending = Ending::Interrupted(signal);
                break;
            }
            writer.check()?;
            self.warn_of_failures(writer);
            if self.trainer.is_phase_over() {
                if self.trainer.is_stage_over() {
                    self.end_stage(writer)?;
                }
                self.trainer.enter_phases()?;
                (pace, is_shown) = (None, false);
                (first, began) = (self.trainer.steps(), self.trainer.images());
                self.show_stage();
            }
            let before = self.trainer.images();
            let asked = Instant::now();
            let batch = self.feed.next_batch(&self.trainer)?;
            self.waited += asked.elapsed();
            let batch = self.complete(batch)?;
            let batch = match &self.labeled {
                Some(labeled) => {
                    let n = self.options.config.batch;
                    let (known, labels) = labeled.batch(self.trainer.steps(), n);
                    batch.labels(&labels).labeled(known)
                }
                None => batch,
            };
            if let Some(metrics) = self.trainer.step(batch)? {
                self.take(metrics)?;
            }
            let now = self.trainer.images();
            self.progress.advance(now);
            match pace {
                None if self.trainer.steps() == first + WARM => pace = Some((Instant::now(), now)),
                Some((start, from)) if !is_shown && start.elapsed() >= MEASURED && now > from => {
                    is_shown = true;
                    self.tell_total(began, (now - from) as f64 / start.elapsed().as_secs_f64());
                }
                _ => {}
            }
            let last = now >= self.options.images;
            if last && self.ends_stage() {
                // Before it is saved.
                self.trainer.complete_stage();
            }
            let scored = (last || due(before, now, self.options.scores.evaluate_every))
                && self.trainer.has_previews()
                && self.makes_images()
                && self.score(writer)?;
            if last {
                // So that the last line includes the last steps' metrics.
                self.drain()?;
            }
            if last || scored || rhythm.reports(before, now) {
                self.report()?;
            }
            if rhythm.previews(before, now) && self.trainer.has_previews() {
                self.preview(writer)?;
            }
            if rhythm.saves(before, now) {
                self.trainer.confirm()?;
                self.save(writer)?;
            }
            self.note_skipped();
        }
        self.drain()?;
        self.trainer.confirm()?;
        let images = self.trainer.images();
        if images > self.last_report.1 {
            self.report()?;
        }
        // Also before the first step, so that an early interrupt can be resumed. A file of that
        // name may be a leftover of a killed process, with `latest` naming another.
        if self.saved != Some(images) {
            self.save(writer)?;
        }
        if ending == Ending::Done && self.ends_stage() {
            self.keep_stage(writer)?;
        }
        if !matches!(ending, Ending::Interrupted(signal) if !signal.is_patient()) {
            let is_there = self.previewed == Some(images) || self.run.fakes_path(images).exists();
            if !is_there && self.trainer.has_previews() {
                self.preview(writer)?;
            }
            self.draw(writer)?;
        }
        let state = if ending == Ending::Done { State::Done } else { State::Stopped };
        self.write_page(writer, state)?;
        Ok(ending)
    }

    /// Prints once how long the training, or its stage, will take from `from` images on at `rate` images a
    /// second.
    fn tell_total(&mut self, from: u64, rate: f64) {
        let rest = self.stage_end().saturating_sub(from);
        let seconds = rest as f64 / rate;
        if seconds >= SHORT {
            let which = if from > 0 && self.stage().is_none() { "the other " } else { "" };
            let of = self.stage().map(|stage| format!(" of stage {stage}")).unwrap_or_default();
            let images = human::count(rest);
            let about = human::about(seconds);
            self.progress.note(&format!("about {about} for {which}{images} images{of}"));
        }
    }

    /// Records a step's metrics; stops on a non-finite one.
    fn take(&mut self, metrics: Metrics) -> Result<()> {
        let is_finite = metrics.non_finite().is_none();
        self.window.push(metrics);
        if is_finite { Ok(()) } else { self.report() }
    }

    /// Waits for the pending steps and records their metrics.
    fn drain(&mut self) -> Result<()> {
        for metrics in self.trainer.finish()? {
            self.take(metrics)?;
        }
        Ok(())
    }

    fn seconds(&self) -> f64 {
        self.seconds_before + self.started.elapsed().saturating_sub(self.scoring).as_secs_f64()
    }

    /// Writes a line to the log, shows it, and runs the health checks.
    fn report(&mut self) -> Result<()> {
        if self.window.is_empty() {
            // No metrics have arrived since the last report.
            self.drain()?;
        }
        // A NaN in any step makes the mean NaN.
        let mut metrics = Metrics::mean(&self.window);
        self.window.clear();
        if let Some(diversity) = self.diversity.take() {
            metrics.set(SAMPLE_DIVERSITY, diversity);
        }
        for score in self.scored.take().into_iter().flatten() {
            metrics.set(&score.name, score.value as f32);
        }
        let (since, from) = self.last_report;
        let images = self.trainer.images();
        let since = since.elapsed().as_secs_f64();
        let line = LogLine {
            step: self.trainer.steps(),
            images,
            epoch: images as f64 / self.source.len() as f64,
            seconds: self.seconds(),
            // After a resumption there may be scores alone.
            stage: self.stage(),
            images_per_s: if images > from { (images - from) as f64 / since } else { f64::NAN },
            metrics,
            waiting: Some((std::mem::take(&mut self.waited).as_secs_f64() / since) as f32),
            memory_bytes: Some(self.trainer.memory().total()),
        };
        self.last_report = (Instant::now(), images);
        self.write_log(&line);
        self.write_events(&line);
        self.progress.report(&line);
        let findings = self.health.check(&line);
        self.log.push(line);
        for finding in findings {
            match finding {
                Finding::Warning { text, .. } => self.progress.note(&format!("warning: {text}")),
                Finding::Fatal(text) => return Err(Error::Diverged(text)),
            }
        }
        Ok(())
    }

    /// Appends a line to the log. If that fails, it is retried with the next one.
    fn write_log(&mut self, line: &LogLine) {
        let failed_before = !self.unwritten.is_empty();
        self.unwritten += &line.to_json();
        match self.run.append_log(&self.unwritten) {
            Ok(()) => self.unwritten.clear(),
            Err(_) if failed_before => {}
            Err(error) => {
                // A partially written line becomes an invalid line of its own.
                self.unwritten.insert(0, '\n');
                self.warn(&error);
            }
        }
    }

    /// Starts TensorBoard's event file with the options.
    fn start_events(&mut self) -> Result<()> {
        let step = self.trainer.steps();
        let mut events = Events::create(self.run.path(), step)?;
        events.options(step, &listing(&plain(&self.options)))?;
        self.events = Some(Arc::new(Mutex::new(events)));
        Ok(())
    }

    /// Appends a report to TensorBoard's event file, if there is one.
    fn write_events(&mut self, line: &LogLine) {
        let Some(events) = &self.events else { return };
        let written = events.lock().unwrap_or_else(PoisonError::into_inner).scalars(line);
        let failed_before = std::mem::replace(&mut self.events_failed, written.is_err());
        if let (Err(error), false) = (written, failed_before) {
            self.warn(&error);
        }
    }

    /// Warns about a failed write that training can do without.
    fn warn(&mut self, error: &Error) {
        self.progress.note(&format!("warning: {error}; the training goes on without it"));
    }

    fn warn_of_failures(&mut self, writer: &Writer) {
        for error in writer.failures() {
            self.warn(&error);
        }
    }

    /// Samples the preview's images, measures their diversity, and has them written as
    /// `fakes-….png`, with a new plot.
    fn preview(&mut self, writer: &mut Writer) -> Result<()> {
        self.drain()?;
        let [fakes, last] = match self.look() {
            Ok(both) => both,
            Err(error @ Error::Memory(_)) => {
                self.warn(&error);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let &[n, h, w, c] = fakes.shape() else { unreachable!("a sampler gives images") };
        if self.real_diversity > 0.0 && self.trainer.steps() > 0 {
            self.diversity = Some(health::diversity(last.f32s(), n) / self.real_diversity);
        }
        let images = self.trainer.images();
        self.previewed = Some(images);
        let (run, columns) = (Arc::clone(&self.run), self.columns);
        let (events, step) = (self.events.clone(), self.trainer.steps());
        writer.hand_over_extra(move || {
            let grid = images::grid_of(fakes.f32s(), [n, h, w, c], columns)?;
            let path = run.fakes_path(images);
            let png = images::png(&path, &grid)?;
            files::write_bytes(&path, &png)?;
            let Some(events) = events else { return Ok(()) };
            let mut events = events.lock().unwrap_or_else(PoisonError::into_inner);
            events.image(step, "previews", &png, [grid.width(), grid.height()], c as u8)
        })?;
        self.plot(writer)?;
        self.write_page(writer, State::Training)
    }

    /// Has `report.html` written.
    fn write_page(&self, writer: &mut Writer, state: State) -> Result<()> {
        let page = Arc::clone(&self.page);
        let is_due = match page.try_lock() {
            Ok(page) => page.is_due(&state),
            // One is being written now.
            Err(_) => state != State::Training,
        };
        if !is_due {
            return Ok(());
        }
        let (run, log) = (Arc::clone(&self.run), self.log.clone());
        writer.hand_over_extra(move || {
            page.lock().unwrap_or_else(PoisonError::into_inner).write(&run, &log, &state)
        })
    }

    /// Copies the training's state and has it written as a checkpoint.
    fn save(&mut self, writer: &mut Writer) -> Result<()> {
        let images = self.trainer.images();
        let snapshot = self.snapshot()?;
        let (run, Intervals { keep, keep_every, .. }) =
            (Arc::clone(&self.run), self.options.rhythm);
        let saved = Arc::clone(&self.run);
        self.saving = Some(writer.hand_over(move || save(&saved, images, snapshot))?);
        self.saved = Some(images);
        writer.hand_over_extra(move || run.prune(keep, keep_every).map(drop))
    }

    /// A copy of the training's state, once the copy before is written.
    fn snapshot(&mut self) -> Result<Snapshot> {
        self.drain()?;
        if let Some(before) = self.saving.take() {
            before.wait();
        }
        let mut snapshot = self.trainer.snapshot(self.seconds())?;
        let prepare = serde_json::to_string(&self.options.prepare).expect("plain data");
        snapshot.metadata.insert(IMAGES.into(), prepare);
        Ok(snapshot)
    }

    /// Has `losses.png` written if there is a line to draw.
    fn plot(&self, writer: &mut Writer) -> Result<()> {
        let (run, log) = (Arc::clone(&self.run), self.log.clone());
        let objective = self.options.config.objective;
        if log.len() < 2 {
            return Ok(());
        }
        writer.hand_over_extra(move || {
            let name = run.path().file_name().unwrap_or_default().to_string_lossy();
            let about = plot::About { name: &name, floors: &run.floors() };
            plot::save(&run.losses_path(), &log, &objective, &about)
        })
    }

    /// Has the plot and the timelapse written.
    fn draw(&self, writer: &mut Writer) -> Result<()> {
        self.plot(writer)?;
        let run = Arc::clone(&self.run);
        writer.hand_over_extra(move || {
            let frames: Vec<PathBuf> = run.fakes()?.into_iter().map(|(_, path)| path).collect();
            if frames.len() < 2 {
                return Ok(());
            }
            let start = Instant::now();
            let waits = |signal: Signal| signal.is_patient() && start.elapsed() < PATIENCE;
            let goes_on = || interrupt::interrupted().is_none_or(waits);
            images::timelapse::write(&run.timelapse_path(), &frames, goes_on)
        })
    }

    /// Writes `reals.png`, images from the whole set, and measures their diversity.
    fn look_at_reals(&mut self) -> Result<()> {
        let prepare = &self.options.prepare;
        let count = PREVIEW.min(self.source.len());
        let items = (0..count).map(|i| i * self.source.len() / count);
        let readable = items.filter_map(|item| self.source.prepared(item, prepare).ok());
        let reals: Vec<f32> = readable.flatten().map(|byte| images::value(byte.into())).collect();
        let n = reals.len() / prepare.len();
        self.real_diversity = health::diversity(&reals, n);
        let path = self.run.reals_path();
        if n == 0 || path.exists() {
            return Ok(());
        }
        let shape = [n, prepare.height, prepare.width, prepare.channels];
        images::save_png(&path, &images::grid(&reals, shape)?)
    }

    /// Reports images that could not be read since the last step, and lists them.
    fn note_skipped(&mut self) {
        let skipped = self.feed.skipped();
        if skipped.len() == self.skipped.len() {
            return;
        }
        let path = self.run.skipped_path();
        let images = human::plural(skipped.len() as u64, "unreadable image");
        self.progress.note(&format!("{images} skipped so far, listed in {}", path.display()));
        if let Err(error) = write_skipped(&path, &skipped) {
            self.warn(&error);
        }
        self.skipped = skipped;
    }

    /// Adds to a fatal error how to recover.
    fn with_checkpoint(&self, error: Error) -> Error {
        let run = quoted(self.run.path());
        let back = match (self.run.latest(), &error) {
            // Resuming would diverge again: no hyperparameter can be changed.
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

/// Writes a checkpoint if all tensors are finite.
fn save(run: &Run, images: u64, snapshot: Snapshot) -> Result<()> {
    let (tensors, metadata) = checked(snapshot)?;
    run.save_checkpoint(images, &tensors, &metadata).map(drop)
}

/// What a checkpoint holds, if all tensors are finite.
fn checked(snapshot: Snapshot) -> Result<(BTreeMap<String, Tensor>, BTreeMap<String, String>)> {
    if let Some(name) = snapshot.not_finite() {
        return Err(Error::Diverged(format!(
            "at step {} {name} holds a number that is not finite: the training has diverged; start \
             anew with lower --lr-d and --lr-g, or another --seed",
            snapshot.step
        )));
    }
    snapshot.into_file()
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
}
