//! `dcgan train`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, FromArgMatches as _};

use crate::config::Conflict;
use crate::data::{
    CAPTIONED, Difference, LoaderOptions, Prepare, PrepareOptions, Source, is_captioned,
};
use crate::device::{Device, gpu};
use crate::error::{Error, Result};
use crate::gan::Family;
use crate::gan::families::planned_images;
use crate::human::{self, parse_count};
use crate::model::sampler::BATCH;
use crate::model::{ModelFile, Sampler, Weights};
use crate::models::{ClassCondition, Conditioning, ModelConfig, Size};
use crate::program::tune::Effort;
use crate::program::{self, Choices, Precision};
use crate::shell::quoted;
use crate::train::options::{Intervals, Origin, PartialIntervals, RunOptions, header};
use crate::train::scoring::Scorer;
use crate::train::session::{Ending, Session, TrainingData};
use crate::train::{
    Feed, Labeled, PartialScoreOptions, Position, Preset, Run, ScoreOptions, TrainConfig,
    TrainOptions, Trainer, first_images, follow, interrupt, missing_forerunner,
};

use super::latents::{load_model, open_model, warn_of_passed};
use super::options::spell;
use super::output::{print_json, tell};
use super::reading::{LabelFlags, ReadingFlags, tell_notes};
use super::tuning;

mod asked;
mod flags;
mod job;
mod text;

use asked::{Asked, Bound, like, resolve};
use flags::{Machine, Reading};
use job::Job;

#[derive(Debug, Args)]
#[command(
    allow_negative_numbers = true,
    after_help = "Examples:\n  dcgan train ~/images/flowers --size 96x64 --flip\n  dcgan train \
                  mnist/ --preset cgan"
)]
pub(super) struct Train {
    /// Folder, zip or tar of images, or MNIST and CIFAR-10 files [default: 3,000 bundled avatars; for
    /// texts 700 with captions]
    ///
    /// Images: a folder (nested or not), a zip or tar of images, a folder of tars, Parquet files as of
    /// Hugging Face, LMDB as of LSUN, MNIST-style IDX files, CIFAR-10 binary batches, arrays in .npz,
    /// .npy, .mat or HDF5 files; detected automatically, with captions for --preset int-cls [default: 3,000
    /// bundled avatars; for texts 700 with captions, which captioned stands for in other commands]
    #[arg(value_name = "DATA")]
    data: Option<PathBuf>,

    /// Resume a run exactly as if it had never stopped
    ///
    /// Other options, including the device, keep their values.
    #[arg(long, value_name = "RUN")]
    resume: Option<PathBuf>,
    /// Start a new run from the weights of a model
    ///
    /// A run's folder (its newest checkpoint), a checkpoint, or an imported model. Loads its networks (a missing one is initialized) and the
    /// generator's moving average; the optimizer and all other options are those of a new run.
    #[arg(long, value_name = "MODEL", conflicts_with = "resume")]
    from: Option<PathBuf>,
    /// For images from texts: vectors of captions or of their words that another program made, one
    /// tensor for each, named by it; instead of words that are learned
    ///
    /// A caption without a vector of its own gets the mean of those of its words. README has five lines
    /// of Python that write such a file.
    #[arg(long, value_name = "FILE.safetensors")]
    text_vectors: Option<PathBuf>,
    /// Folder in which to create the run's folder
    #[arg(long, value_name = "FOLDER", default_value = "runs", conflicts_with = "resume")]
    out: PathBuf,
    /// Name of the run's folder, after its number [default: preset or network, DATA and size]
    #[arg(long, value_name = "TEXT", value_parser = run_name, conflicts_with = "resume")]
    name: Option<String>,
    /// Total number of real images to train on, such as 25000, 500k or 1.5M [default: 200k; the sum of its stages, if it has several]
    #[arg(long, value_name = "COUNT", value_parser = parse_count)]
    images: Option<u64>,
    /// Print what would be done, without doing it
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    asked: Asked,
    #[command(flatten)]
    reading: ReadingFlags,
    #[command(flatten)]
    labels: LabelFlags,
    #[command(flatten)]
    prepare: PrepareOptions,
    #[command(flatten)]
    source: Reading,
    #[command(flatten)]
    rhythm: PartialIntervals,
    #[command(flatten)]
    scores: PartialScoreOptions,
    #[command(flatten)]
    machine: Machine,
}

/// Real images of a training for which no number was given.
const USUAL_IMAGES: u64 = 200_000;

/// A name that is not empty once it is made part of a file name.
fn run_name(text: &str) -> std::result::Result<String, String> {
    if text.contains(char::is_alphanumeric) {
        return Ok(text.to_owned());
    }
    Err("a name with letters or digits is needed, such as second-try".into())
}

/// A training that can begin.
struct Ready {
    options: RunOptions,
    data: TrainingData,
    trainer: Trainer,
    scorer: Option<Scorer>,
    resumed: Option<Resumed>,
    /// The folder of runs, and the name of this one.
    out: PathBuf,
    name: String,
}

impl Train {
    pub(super) fn run(self) -> Result<ExitCode> {
        let job = Job::start()?;
        let is_dry = self.dry_run;
        match job.all(self.ready(&job))? {
            Ok(_) if is_dry => Ok(ExitCode::SUCCESS),
            Ok(ready) => job.end(ready.train(&job)),
            Err(code) => Ok(code),
        }
    }

    /// Everything that comes before the first step, and leaves no trace.
    fn ready(self, job: &Job) -> Result<Ready> {
        let resumed = match &self.resume {
            Some(path) => Some(Resumed::open(path, job)?),
            None => None,
        };
        let from = match &self.from {
            Some(path) => Some(open_model(path)?),
            None => None,
        };
        let is_new = resumed.is_none();
        self.complete(is_new, from.as_ref())?.start(job, resumed, from)
    }

    /// Fills options that were not typed, of a new training: from the preset that was, or from the usual
    /// one. A resumed run already has its full configuration.
    fn complete(mut self, is_new: bool, from: Option<&ModelFile>) -> Result<Self> {
        if self.source.gray {
            self.asked.config.model.channels = Some(1);
        }
        if !is_new {
            return Ok(self);
        }
        if let Some(preset) = self.asked.preset {
            return Ok(self.filled(&preset.options()));
        }
        let Some(preset) = Preset::usual(&self.asked.config) else { return Ok(self) };
        let options = match from {
            Some(model) => self.fitted(preset, model)?,
            None => Some(preset.options()),
        };
        let Some(options) = options else { return Ok(self) };
        self.asked.preset = Some(preset);
        Ok(self.filled(&options))
    }

    /// The options of a new training on `data` and its images, by words as typed after `dcgan train`,
    /// without starting it.
    ///
    /// # Errors
    /// Those of starting it.
    pub(super) fn planned(
        data: Option<&Path>,
        words: &[String],
    ) -> Result<(RunOptions, Arc<Source>)> {
        let command = Self::augment_args(clap::Command::new("dcgan train"));
        let words = std::iter::once("dcgan train").chain(words.iter().map(String::as_str));
        // Answers as `dcgan train` would.
        let matches = command.try_get_matches_from(words).unwrap_or_else(|error| error.exit());
        let own = Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
        let elsewhere = [
            ("--resume", own.resume.is_some()),
            ("--from", own.from.is_some()),
            ("DATA", own.data.is_some()),
        ];
        if let Some((flag, _)) = elsewhere.into_iter().find(|(_, given)| *given) {
            let what = "is not among the options of a page's training: leave it out";
            return Err(Error::flag(flag, what));
        }
        let own = Self { data: data.map(Path::to_owned), ..own };
        own.complete(true, None)?.options(&Job::start()?, None, None)
    }

    /// The options of a preset for the networks of a model, if it makes such networks, of whatever
    /// widths.
    fn fitted(&self, preset: &Preset, model: &ModelFile) -> Result<Option<TrainOptions>> {
        let mut options = preset.options();
        let own = &mut options.config.model;
        (own.ngf, own.ndf) = (None, None);
        let asked = self.asked.config.model.clone().or(own.clone());
        let fits = match TrainConfig::of(model)? {
            Some(config) => own.conflict(&config.model).is_none(),
            None => like(&asked, &model.networks).is_some(),
        };
        Ok(fits.then_some(options))
    }

    /// Fills options that were not typed from the preset.
    fn filled(self, preset: &TrainOptions) -> Self {
        let TrainOptions { config, prepare } = preset.clone();
        let asked = Asked { config: self.asked.config.or(config), ..self.asked };
        Self { asked, prepare: self.prepare.or(prepare), ..self }
    }

    fn start(&self, job: &Job, resumed: Option<Resumed>, from: Option<ModelFile>) -> Result<Ready> {
        let (options, source) = self.options(job, resumed.as_ref(), from.as_ref())?;
        let device = self.device(job, resumed.as_ref())?;
        let options = RunOptions { device: device.name(), ..options };
        let compile = program::Options {
            memory_limit: self.machine.memory,
            choices: self.choices(job, &options.config, &device, resumed.as_ref())?,
            world: Arc::clone(&job.world),
            ..program::Options::default()
        };
        let fresh = resumed.is_none();
        let mut trainer = match &resumed {
            Some(Resumed { model, .. }) => {
                let position = Position::of(model, &options.config)?;
                let tensors = &model.tensors;
                Trainer::resume(options.config.clone(), &device, &compile, tensors, position)?
            }
            None => Trainer::new(options.config.clone(), &device, &compile)?,
        };
        // Before the run's folder is created or changed: unusable images leave no trace.
        let loader = LoaderOptions {
            seed: options.config.seed,
            workers: self.source.workers.unwrap_or(LoaderOptions::default().workers),
            cache: self.source.cache,
            ..LoaderOptions::default()
        };
        let prepare = options.prepare.clone();
        let labeled = match options.config.labels_per_class {
            0 => None,
            n => Some(Labeled::draw(&source, &prepare, n as usize, options.config.seed)?),
        };
        let captions = text::captions(&options.config, &source)?;
        let vectors = text::vectors(&options)?;
        let loader = LoaderOptions {
            captions: captions.clone(),
            companions: options.config.objective.mismatch > 0.0,
            normals: options.config.objective.family == Family::SsGan,
            ..loader
        };
        let feed = Feed::start(Arc::clone(&source), prepare, loader, &trainer)?;
        tell!("{}", header(&options, &trainer));
        if let Some(origin) = options.from.as_ref().filter(|_| fresh) {
            tell!("from      {origin}");
        }
        if self.machine.explain {
            tell!("{}", trainer.memory().to_string().trim_end());
        }
        let scorer = match options.scores.is_on() && !self.dry_run && job.is_first() {
            true => Some(scorer(&options, &source, &device, resumed.as_ref())?),
            false => None,
        };
        if self.dry_run && job.is_first() {
            print_json(&options)?;
        }
        if let (Some(model), false) = (&from, self.dry_run) {
            trainer.start_from(model)?;
        }
        if fresh
            && !self.dry_run
            && let n @ 1.. = trainer.start_images()
        {
            let (images, labels) = first_images(&source, &options.prepare, n, options.config.seed)?;
            trainer.start_on(images, &labels)?;
        }
        let name = self.name.clone().unwrap_or_else(|| self.usual_name(&options, &source));
        let out = self.out.clone();
        let data = TrainingData { source, feed, labeled, captions, vectors };
        Ok(Ready { options, data, trainer, scorer, resumed, out, name })
    }

    /// The name of a run's folder: preset or network, DATA and size.
    fn usual_name(&self, options: &RunOptions, source: &Source) -> String {
        let model = &options.config.model;
        let how = match self.asked.preset {
            Some(preset) => preset.name.to_owned(),
            None => model.network.to_string(),
        };
        format!("{how}-{}-{}", source.name(), model.size)
    }

    /// The requested device; else the one that a resumed run ran on, as another's results differ in
    /// their last digits; else the default.
    fn device(&self, job: &Job, resumed: Option<&Resumed>) -> Result<Device> {
        let checked = self.machine.checked;
        if let (None, false) = (&self.machine.device.selection, job.world.is_solo()) {
            // Each process of a machine takes one of its GPUs.
            let own = gpu::device_of(job.on_host, &gpu::list());
            let own = own.map_or_else(|| "cpu".to_owned(), |index| index.to_string());
            return Device::open(Some(&own), checked);
        }
        let Some(before) = resumed.map(|r| r.options.device.as_str()) else {
            return self.machine.device.open(checked);
        };
        let device = match &self.machine.device.selection {
            Some(_) => self.machine.device.open(checked)?,
            None => Device::open_again(before, checked)?,
        };
        let now = device.name();
        if now != before {
            tell!(
                "note: the run was on {before} and continues on {now}: its results will differ in \
                 the last digits from those of a run that never stopped"
            );
        }
        Ok(device)
    }

    /// The kernels of the training and its previews: those that a resumed run ran on this device,
    /// so that it continues as if it had never stopped; else those that `--tune` chooses.
    fn choices(
        &self,
        job: &Job,
        config: &TrainConfig,
        device: &Device,
        resumed: Option<&Resumed>,
    ) -> Result<Choices> {
        let (steps, sampler) =
            (config.tapes()?, Sampler::tape(&config.networks()?, Weights::Raw, BATCH)?);
        let steps = steps.iter().map(|step| (step, config.precision));
        let tapes: Vec<_> = steps.chain([(&sampler, Precision::F32)]).collect();
        let before = resumed.filter(|r| r.options.device == device.name());
        match (before, self.machine.tune) {
            (Some(Resumed { model, .. }), None) => {
                Ok(tuning::choose_again(&tapes, device, &model.choices))
            }
            // Measured by each process they would differ, and results with them.
            _ if !job.world.is_solo() => tuning::choose(&tapes, device, Effort::Off),
            (_, effort) => tuning::choose(&tapes, device, effort.unwrap_or_default()),
        }
    }

    /// How the networks are conditioned on classes or learn them from few labels, if at all; `base` are
    /// existing networks.
    fn conditional(
        &self,
        base: Option<(Bound, &ModelConfig)>,
        source: &Source,
    ) -> Result<Option<Conditioning>> {
        let flag = "--conditional";
        let (bound, before) = match base {
            Some((bound, model_config)) => (bound, ClassCondition::of(model_config)),
            None => (Bound::Free, ClassCondition::None),
        };
        let typed = self.asked.config.model.conditional;
        let condition = resolve(bound, flag, typed, before)?.conditioning();
        let conditioning = condition.or(self.asked.config.conditioning()?);
        if bound == Bound::Run || conditioning.is_none() {
            return Ok(conditioning);
        }
        let few = conditioning == Some(Conditioning::Semi);
        let flag = if few { "--labels-per-class" } else { flag };
        let classes = source.classes().len();
        if source.labels().is_none() || classes < 2 {
            let has =
                if classes == 1 { "has only one class".into() } else { source.why_no_classes() };
            let what = format!(
                "needs images of two classes or more, and {} {has}",
                source.origin().display()
            );
            return Err(Error::flag(flag, what));
        }
        Ok(conditioning)
    }

    /// The networks, for the images of `source`: those of the resumed run, those of `--from`, or new
    /// ones.
    fn model_config(
        &self,
        old: Option<&RunOptions>,
        from: Option<&ModelFile>,
        source: &Source,
    ) -> Result<ModelConfig> {
        let typed = &self.asked.config.model;
        if let Some(old) = old {
            self.conditional(Some((Bound::Run, &old.config.model)), source)?;
            return Ok(old.config.model);
        }
        if let Some(from) = from {
            let base = self.design_of(from)?;
            let conditioning = self.conditional(Some((Bound::Model, &base)), source)?;
            fits(from, &base, conditioning, source)?;
            self.agrees(Bound::Model, typed.conflict(&base))?;
            return Ok(base);
        }
        let conditioning = self.conditional(None, source)?;
        let mut model_config = typed.config();
        if typed.channels.is_none() && source.is_gray() {
            model_config.channels = 1;
        }
        model_config.classes = conditioning.map_or(0, |_| source.classes().len());
        model_config.conditioning = conditioning.unwrap_or_default();
        Ok(model_config)
    }

    /// Rejects flags that contradict existing networks.
    fn agrees(&self, bound: Bound, conflict: Option<Conflict>) -> Result<()> {
        match bound.check(conflict) {
            Err(Error::Flag { flag: "--channels", what }) if self.source.gray => {
                Err(Error::flag("--gray", what))
            }
            checked => checked,
        }
    }

    /// The configuration of the networks of `--from`.
    fn design_of(&self, model: &ModelFile) -> Result<ModelConfig> {
        if let Some(config) = TrainConfig::of(model)? {
            return Ok(config.model);
        }
        like(&self.asked.config.model, &model.networks).ok_or_else(|| {
            let what = "dcgan train cannot build its networks with these flags; --network, --norm-g \
                        and others may match it";
            Error::file(&model.path, what)
        })
    }

    /// The hyperparameters: those of the resumed run, or the requested ones.
    fn config(
        &self,
        old: Option<&RunOptions>,
        from: Option<&ModelFile>,
        model: ModelConfig,
        source: &Source,
    ) -> Result<TrainConfig> {
        let typed = &self.asked.config;
        if let Some(old) = old {
            self.agrees(Bound::Run, typed.conflict(&old.config))?;
            return Ok(old.config.clone());
        }
        let classes = if model.classes > 0 { source.classes().to_vec() } else { Vec::new() };
        let config = TrainConfig { classes, ..typed.of(model) };
        match config.objective.family {
            family if family.has_text() => {
                text::encoded(config, from, source, self.text_vectors.as_deref())
            }
            _ => Ok(config),
        }
    }

    /// The file of vectors of texts: as typed, or that of the resumed run.
    fn text_vectors(
        &self,
        old: Option<&RunOptions>,
        config: &TrainConfig,
    ) -> Result<Option<PathBuf>> {
        let before = old.and_then(|old| old.text_vectors.clone());
        let Some(typed) = &self.text_vectors else { return Ok(before) };
        if config.text.vectors.is_none() {
            let what = match old {
                Some(_) => "the run was started without such vectors; leave it out",
                None => "is for images from texts: choose --preset int-cls, say",
            };
            return Err(Error::flag("--text-vectors", what));
        }
        Ok(Some(std::path::absolute(typed).unwrap_or_else(|_| typed.clone())))
    }

    /// Whether a new training is one of texts.
    fn has_text(&self, from: Option<&ModelFile>) -> bool {
        let family = self.asked.config.objective.family;
        family.is_some_and(Family::has_text) || from.is_some_and(|from| from.networks.has_text())
    }

    /// The options of this run: as typed, or those of the resumed run; `from` is the model
    /// of `--from`.
    fn options(
        &self,
        job: &Job,
        resumed: Option<&Resumed>,
        from: Option<&ModelFile>,
    ) -> Result<(RunOptions, Arc<Source>)> {
        let old = resumed.map(|r| &r.options);
        let usual = || self.has_text(from).then(|| PathBuf::from(CAPTIONED));
        let data = self.data.clone().or_else(|| match old {
            Some(old) => old.data.clone(),
            None => usual(),
        });
        let reading = self.reading.reading(old.map(|o| o.data_reading.clone()))?;
        let reading = self.labels.add(reading, old.is_some())?;
        let source = Source::open_as(data.as_deref(), &reading)?;
        tell_notes(&source);
        let fingerprint = source.fingerprint();
        if let Some(old) = old
            && let Some(how) = old.data_fingerprint.difference(fingerprint)
        {
            let what = format!(
                "these are not the images that the run was started with ({}){}; give those, or \
                 start a new run without --resume",
                old.data_description,
                match how {
                    Difference::Names => format!(" but {}", source.description()),
                    Difference::Contents => {
                        ": the names are the same, the contents are not".to_owned()
                    }
                }
            );
            return Err(Error::file(source.origin(), what));
        }
        let model = self.model_config(old, from, &source)?;
        let mut config = self.config(old, from, model, &source)?;
        if config.objective.family == Family::SsGan {
            source.check_normals()?;
        }
        if old.is_none() {
            check_forerunners(&config, from)?;
            shared_out(&mut config, job.world.size())?;
        }
        let prepare = match old {
            Some(old) => {
                self.agrees(Bound::Run, self.prepare.conflict(&old.prepare))?;
                old.prepare.clone()
            }
            None => {
                let Size { height, width } = model.size;
                let mut prepare =
                    Prepare { height, width, channels: model.channels, ..Prepare::default() };
                self.prepare.apply(&mut prepare);
                prepare
            }
        };
        let mut rhythm = old.map_or_else(Intervals::default, |old| old.rhythm);
        self.rhythm.apply(&mut rhythm);
        let named = self.asked.preset.map(|preset| preset.name.to_owned());
        let preset = match old {
            Some(old) => resolve(Bound::Run, "--preset", named, old.preset.clone())?,
            None => named.unwrap_or_else(|| "dcgan".into()),
        };
        let mut scores = old.map_or_else(ScoreOptions::default, |old| old.scores.clone());
        self.scores.apply(&mut scores);
        let usual = planned_images(&config).unwrap_or(USUAL_IMAGES);
        let images = self.images.unwrap_or(old.map_or(usual, |o| o.images));
        if let Some(resumed) = resumed {
            let done = Position::of(&resumed.model, &config)?.images;
            if images <= done {
                return Err(Error::flag(
                    "--images",
                    format!("the run has seen {done} images already; give more than that"),
                ));
            }
        }
        let from = match from {
            Some(from) => Some(Origin::of(from)?),
            None => old.and_then(|o| o.from.clone()),
        };
        let text_vectors = self.text_vectors(old, &config)?;
        let options = RunOptions {
            preset,
            from,
            config,
            data: data.map(|d| match is_captioned(&d) {
                true => d,
                false => std::path::absolute(&d).unwrap_or(d),
            }),
            data_description: format!("{}: {}", source.name(), source.description()),
            data_fingerprint: fingerprint,
            data_reading: source.reading().clone(),
            text_vectors,
            prepare,
            images,
            rhythm,
            scores,
            program: crate::PROGRAM.into(),
            device: String::new(),
        };
        options.validate()?;
        Ok((options, Arc::new(source)))
    }
}

impl Ready {
    /// Trains: in the first process with a run's folder, in the others along with it.
    fn train(self, job: &Job) -> Result<ExitCode> {
        let Self { options, data, trainer, scorer, resumed, out, name } = self;
        interrupt::finish_first("this step and saving")?;
        if !job.is_first() {
            return Ok(match follow(trainer, data.feed, &options)? {
                Ending::Done => ExitCode::SUCCESS,
                Ending::Interrupted(signal) => signal.exit_code().into(),
            });
        }
        let (run, seconds) = match resumed {
            Some(Resumed { run, model, passed, .. }) => {
                for error in &passed {
                    if let Error::Damaged { path, .. } | Error::Changed { path, .. } = error {
                        run.set_aside(path)?;
                    }
                }
                run.truncate_log(model.step)?;
                (run, model.seconds)
            }
            None => (Run::create(&out, &name)?, 0.0),
        };
        run.write_options(&options)?;
        let path = run.path().to_owned();
        tell!("run       {}", path.display());
        tell!("previews  {}", Session::previews(&options.config));
        let mut session = Session::new(run, options, data, trainer, seconds)?;
        if let Some(scorer) = scorer {
            session.score_by(scorer);
        }
        let ending = session.run()?;
        let path = quoted(&path);
        Ok(match ending {
            Ending::Done => {
                tell!("done; make images with: dcgan sample {path}");
                ExitCode::SUCCESS
            }
            Ending::Interrupted(signal) => {
                tell!("stopped; resume with: dcgan train --resume {path}");
                signal.exit_code().into()
            }
        })
    }
}

/// Splits batches into micro-batches, one for each of so many processes, unless they are split already.
fn shared_out(config: &mut TrainConfig, ranks: usize) -> Result<()> {
    let batch = config.batch;
    if ranks == 1 || config.objective.micro_batch > 0 {
        return Ok(());
    }
    if !batch.is_multiple_of(ranks) || batch / ranks < 2 {
        let what = format!(
            "{batch} images cannot be shared out equally among {ranks} processes, at least 2 for each: \
             give a multiple of {ranks}"
        );
        return Err(Error::flag("--batch", what));
    }
    config.objective.micro_batch = batch / ranks;
    Ok(())
}

/// Refuses to train a stage alone unless those that it builds on are done in the model of `--from`.
fn check_forerunners(config: &TrainConfig, from: Option<&ModelFile>) -> Result<()> {
    let Some((before, seen)) = missing_forerunner(config, from)? else { return Ok(()) };
    let stage = &config.stage;
    let what = match from {
        None => format!(
            "{stage} builds on the stage {before}: give a model in which that is done with --from, or \
             leave --stage out to train all stages in turn"
        ),
        Some(model) => format!(
            "{stage} builds on the stage {before}, which is not done in {} ({} seen): train that first, \
             with --stage {before}",
            model.path.display(),
            human::counted(seen.images, "image")
        ),
    };
    Err(Error::flag("--stage", what))
}

/// What scores the generator, after all that is measured of real images.
fn scorer(
    options: &RunOptions,
    source: &Source,
    device: &Device,
    resumed: Option<&Resumed>,
) -> Result<Scorer> {
    let RunOptions { scores, prepare, .. } = options;
    tell!("scores    every {}", human::counted(scores.evaluate_every, "image"));
    let known = resumed.map(|resumed| resumed.run.references()).unwrap_or_default();
    let scorer = Scorer::new(scores, source, prepare, device, &known)?;
    for note in scorer.notes() {
        tell!("note: {}", spell(note));
    }
    Ok(scorer)
}

/// Rejects images whose classes differ from those of a model's networks; `known` is how the
/// networks should learn them.
fn fits(
    model: &ModelFile,
    model_config: &ModelConfig,
    known: Option<Conditioning>,
    source: &Source,
) -> Result<()> {
    let how = (model_config.classes > 0).then_some(model_config.conditioning);
    if known != how {
        let what = if how.is_none() {
            "the networks of --from know no classes; leave it out, or start without --from"
        } else {
            "the networks of --from learned classes from a few labels and must continue to: give \
             as many again"
        };
        return Err(Error::flag("--labels-per-class", what));
    }
    let known =
        TrainConfig::of(model)?.map_or_else(|| model.networks.classes.clone(), |r| r.classes);
    let has = source.classes();
    let agree = known.is_empty() || known == has;
    if model_config.classes > 0 && (has.len() != model_config.classes || !agree) {
        let list = |classes: &[String]| match classes.len() {
            0 => format!("{} without names", model_config.classes),
            _ => classes.join(", "),
        };
        let what =
            format!("its networks have other classes ({}) than DATA ({})", list(&known), list(has));
        return Err(Error::file(&model.path, what));
    }
    Ok(())
}

/// A run to resume.
struct Resumed {
    run: Run,
    options: RunOptions,
    model: ModelFile,
    /// Why newer checkpoints were skipped.
    passed: Vec<Error>,
}

impl Resumed {
    fn open(path: &Path, job: &Job) -> Result<Self> {
        if path.is_file() {
            return Err(Error::file(
                path,
                "is a file; --resume wants a run's folder, and loads its newest checkpoint; dcgan \
                 import makes a model of weights alone, for dcgan sample",
            ));
        }
        // The first process writes the run.
        let run = if job.is_first() { Run::open(path)? } else { Run::open_beside(path)? };
        let options: RunOptions = run.options()?;
        let (model, passed) = run.newest(load_model)?;
        warn_of_passed(&passed, &model);
        if TrainConfig::of(&model)?.as_ref() != Some(&options.config) {
            let what = format!(
                "is not of this run: its configuration differs from {}",
                run.options_path().display()
            );
            return Err(Error::file(&model.path, what));
        }
        Ok(Self { run, options, model, passed })
    }
}
