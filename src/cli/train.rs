//! `dcgan train`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use crate::data::{CacheMode, Crop, Filter, Kind, Loader, LoaderOptions, Prepare, Source};
use crate::device::{Device, gpu};
use crate::error::{Error, Result};
use crate::human::parse_count;
use crate::models::dcgan::Size;
use crate::models::{Dcgan, Preset};
use crate::program::tune::Effort;
use crate::program::{self, Choices};
use crate::sample::{BATCH, Sampler};
use crate::train::session::{Ending, Rhythm, RunOptions, Session, header};
use crate::train::{ModelFile, Recipe, Run, Trainer, folder, interrupt};

use super::flags::{DeviceFlag, at_least};
use super::tuning;

fn parse_seed(text: &str) -> std::result::Result<u64, String> {
    text.parse().map_err(|_| format!("a whole number from 0 to {} is needed", u64::MAX))
}

/// A positive number.
fn positive(text: &str) -> std::result::Result<f64, String> {
    match text.parse::<f64>() {
        Ok(x) if x > 0.0 && x.is_finite() => Ok(x),
        _ => Err("a number above 0 is needed, such as 0.0002 or 2e-4".into()),
    }
}

/// A number in [0, 1).
fn fraction<T: std::str::FromStr + Into<f64> + Copy>(text: &str) -> std::result::Result<T, String> {
    match text.parse::<T>() {
        Ok(x) if (0.0..1.0).contains(&x.into()) => Ok(x),
        _ => Err("a number of at least 0 and below 1 is needed".into()),
    }
}

/// A count that may also be 0.
fn count_or_zero(text: &str) -> std::result::Result<u64, String> {
    if text == "0" { Ok(0) } else { parse_count(text) }
}

/// Bytes such as 2GiB, 500MB, 1.5G.
fn parse_bytes(text: &str) -> std::result::Result<u64, String> {
    let fail = || format!("{text:?} is no amount of memory such as 800MiB or 2GiB");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kb" | "kib" => 1024.0,
        "m" | "mb" | "mib" => 1024.0 * 1024.0,
        "g" | "gb" | "gib" => 1024.0 * 1024.0 * 1024.0,
        _ => return Err(fail()),
    };
    let number: f64 = digits.trim().parse().map_err(|_| fail())?;
    if number > 0.0 && number.is_finite() { Ok((number * factor) as u64) } else { Err(fail()) }
}

#[derive(Debug, Args)]
#[command(
    allow_negative_numbers = true,
    after_help = "Examples:\n  dcgan train ~/pictures/flowers --size 96x64 --flip\n  dcgan train \
                  mnist/ --conditional --preset mnist"
)]
pub(super) struct Train {
    /// Pictures: a folder (nested or not), a zip or tar of pictures, MNIST-style IDX files, CIFAR-10
    /// binary batches; what it is is found by looking [default: 3,000 bundled avatars]
    #[arg(value_name = "DATA")]
    data: Option<PathBuf>,

    /// Go on with a run, exactly as if it had never stopped; other options, the device among them,
    /// stay as they were
    #[arg(long, value_name = "RUN")]
    resume: Option<PathBuf>,
    /// Folder in which the run's folder is made
    #[arg(long, value_name = "FOLDER", default_value = "runs", conflicts_with = "resume")]
    out: PathBuf,
    /// Real pictures to see in all, as 25000, 500k or 1.5M [default: 200k]
    #[arg(long, value_name = "COUNT", value_parser = parse_count)]
    images: Option<u64>,
    /// Show what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    networks: Networks,
    #[command(flatten)]
    recipe: RecipeFlags,
    #[command(flatten)]
    pictures: Pictures,
    #[command(flatten)]
    rhythm: RhythmFlags,
    #[command(flatten)]
    machine: Machine,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Networks")]
struct Networks {
    /// pytorch: the networks of PyTorch's DCGAN example; paper: those of the DCGAN paper and its
    /// authors' code; mnist: those of the authors' MNIST code, with dense layers [default: pytorch]
    #[arg(long, value_enum, hide_possible_values = true, value_name = "pytorch|paper|mnist")]
    preset: Option<Preset>,
    /// Tell both networks the class of every picture, at every layer: the model can then be asked
    /// for a class. Classes are DATA's folders, or the labels of CIFAR-10 and IDX files
    #[arg(long)]
    conditional: bool,
    /// Pictures' size, 64 or 96x64 (height x width): 4 to 7 pixels, doubled 1 to 6 times, at most
    /// 256 [default: 64; mnist: 28]
    #[arg(long, value_name = "SIZE")]
    size: Option<Size>,
    /// Channels: 1 (grey), 3 (RGB) or 4 (RGBA) [default: 3, or 1 for IDX files]
    #[arg(long, value_name = "1|3|4", value_parser = parse_channels)]
    channels: Option<usize>,
    /// Length of a latent vector [default: 100]
    #[arg(long, value_name = "N", value_parser = at_least(1))]
    nz: Option<usize>,
    /// Width of the generator [default: 64; paper: 128]
    #[arg(long, value_name = "N", value_parser = at_least(1))]
    ngf: Option<usize>,
    /// Width of the discriminator [default: 64; paper: 128]
    #[arg(long, value_name = "N", value_parser = at_least(1))]
    ndf: Option<usize>,
}

fn parse_channels(text: &str) -> std::result::Result<usize, String> {
    match text {
        "1" => Ok(1),
        "3" => Ok(3),
        "4" => Ok(4),
        _ => Err("pictures have 1 (grey), 3 (RGB) or 4 (RGBA) channels".into()),
    }
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Training")]
struct RecipeFlags {
    /// Pictures in a batch, at least 2 [default: 64; paper and mnist: 128]
    #[arg(long, value_name = "N", value_parser = at_least(2))]
    batch: Option<usize>,
    /// Decides initial weights, latents and the order of pictures [default: 0]
    #[arg(long, value_name = "N", value_parser = parse_seed)]
    seed: Option<u64>,
    /// The generator's learning rate [default: 0.0002]
    #[arg(long, value_name = "RATE", value_parser = positive)]
    lr_g: Option<f64>,
    /// The discriminator's learning rate [default: 0.0002]
    #[arg(long, value_name = "RATE", value_parser = positive)]
    lr_d: Option<f64>,
    /// Adam's decay of the mean of gradients, from 0 to below 1 [default: 0.5]
    #[arg(long, value_name = "BETA", value_parser = fraction::<f64>)]
    beta1: Option<f64>,
    /// Adam's decay of the mean of squared gradients, from 0 to below 1 [default: 0.999]
    #[arg(long, value_name = "BETA", value_parser = fraction::<f64>)]
    beta2: Option<f64>,
    /// One-sided label smoothing: real pictures are called real with probability 1 - SHARE
    /// [default: 0]
    #[arg(long, value_name = "SHARE", value_parser = fraction::<f32>)]
    smooth: Option<f32>,
    /// Half-life of the generator's moving average, in pictures; 0 for none [default: 10k]
    #[arg(long, value_name = "COUNT", value_parser = count_or_zero)]
    ema: Option<u64>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Pictures")]
struct Pictures {
    /// Another aspect than the target's: cut out the middle, stretch, or cut out at random
    /// [default: center]
    #[arg(long, value_enum, hide_possible_values = true, value_name = "center|none|random")]
    crop: Option<Crop>,
    /// How to resize
    #[arg(long, value_enum)]
    resize: Option<Filter>,
    /// Mirror every other picture, left to right
    #[arg(long)]
    flip: bool,
    /// Grey pictures: the same as --channels 1
    #[arg(long, conflicts_with = "channels")]
    grey: bool,
    /// Keep decoded pictures in memory
    #[arg(long, value_enum, default_value_t = CacheMode::Auto)]
    cache: CacheMode,
    /// Threads that decode [default: one a core, 8 at most]
    #[arg(long, value_name = "N", value_parser = at_least(1))]
    workers: Option<usize>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "What is written, and how often")]
struct RhythmFlags {
    /// Real pictures from one line of progress and log.jsonl to the next [default: 640]
    #[arg(long, value_name = "COUNT", value_parser = parse_count)]
    report_every: Option<u64>,
    /// The same for previews (fakes-*.png); the first ones come sooner [default: 6400]
    #[arg(long, visible_alias = "every", value_name = "COUNT", value_parser = parse_count)]
    preview_every: Option<u64>,
    /// The same for checkpoints [default: 6400]
    #[arg(long, value_name = "COUNT", value_parser = parse_count)]
    save_every: Option<u64>,
    /// Newest checkpoints to keep [default: 2]
    #[arg(long, value_name = "N", value_parser = at_least(1))]
    keep: Option<usize>,
    /// Of the older checkpoints keep one for every COUNT pictures; 0 for none [default: 0]
    #[arg(long, value_name = "COUNT", value_parser = count_or_zero)]
    keep_every: Option<u64>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Machine")]
struct Machine {
    #[command(flatten)]
    device: DeviceFlag,
    /// Memory that the training may take, such as 2GiB [default: what the device has]
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    memory: Option<u64>,
    /// Measure which kernels are the fastest on a GPU: not at all; for 5 seconds at most; all of
    /// them. What was measured is kept for the next time [default: quick; where a run is resumed,
    /// the kernels that it ran before]
    #[arg(long, value_enum, hide_possible_values = true, value_name = "off|quick|full")]
    tune: Option<Effort>,
    /// Print the memory plan
    #[arg(long)]
    explain: bool,
    /// Keep the shader compiler's bounds checks: slower
    #[arg(long)]
    checked: bool,
}

/// `given`, else `default`; where a run is resumed, an error unless they agree.
fn settle<T: PartialEq + std::fmt::Display>(
    resumed: bool,
    flag: &'static str,
    given: Option<T>,
    default: T,
) -> Result<T> {
    match given {
        Some(value) if resumed && value != default => Err(Error::flag(
            flag,
            format!(
                "{value} cannot be had in this run, which was started with {default}; leave the \
                 flag out, or start a new run without --resume"
            ),
        )),
        Some(value) => Ok(value),
        None => Ok(default),
    }
}

impl Train {
    pub(super) fn run(&self) -> Result<()> {
        let resumed = match &self.resume {
            Some(path) => Some(Resumed::open(path)?),
            None => None,
        };
        let (options, source) = self.options(resumed.as_ref())?;
        let device = self.device(resumed.as_ref())?;
        let options = RunOptions { device: device.name(), ..options };
        let compile = program::Options {
            memory_limit: self.machine.memory,
            choices: self.choices(&options.recipe, &device, resumed.as_ref())?,
            ..program::Options::default()
        };
        let trainer = match &resumed {
            Some(Resumed { model, .. }) => {
                let (tensors, step) = (&model.tensors, model.step);
                Trainer::resume(options.recipe.clone(), &device, &compile, tensors, step)?
            }
            None => Trainer::new(options.recipe.clone(), &device, &compile)?,
        };
        // Before the run's folder is made or changed: pictures that cannot be used leave no trace.
        let loader = LoaderOptions {
            batch: options.recipe.batch,
            seed: options.recipe.seed,
            workers: self.pictures.workers.unwrap_or(LoaderOptions::default().workers),
            cache: self.pictures.cache,
            ..LoaderOptions::default()
        };
        let prepare = options.prepare.clone();
        let loader = Loader::start(Arc::clone(&source), prepare, &loader, trainer.steps())?;
        eprintln!("{}", header(&options, &trainer, &device));
        if self.machine.explain {
            eprint!("{}", trainer.memory());
        }
        if self.dry_run {
            let text = serde_json::to_string_pretty(&options).unwrap_or_default();
            println!("{text}");
            return Ok(());
        }
        let (run, seconds) = match resumed {
            Some(Resumed { run, model, .. }) => {
                run.truncate_log(model.step)?;
                (run, model.seconds)
            }
            None => {
                let size = options.recipe.model.size;
                let name = format!("dcgan-{}-{size}", source.name());
                (Run::create(&self.out, &name)?, 0.0)
            }
        };
        run.write_options(&options)?;
        let path = run.path().to_owned();
        eprintln!("run       {}", path.display());
        interrupt::install()?;
        let mut session = Session::new(run, options, source, loader, trainer, seconds)?;
        let ending = session.run()?;
        let path = path.display();
        match ending {
            Ending::Done => eprintln!("done; make pictures with: dcgan sample {path}"),
            Ending::Interrupted => eprintln!("stopped; go on with: dcgan train --resume {path}"),
        }
        Ok(())
    }

    /// The device that was asked for; else the one that a resumed run ran on, as another's numbers
    /// differ in their last digits; else the default.
    fn device(&self, resumed: Option<&Resumed>) -> Result<Device> {
        let checked = self.machine.checked;
        let Some(before) = resumed.map(|r| r.options.device.as_str()) else {
            return self.machine.device.open(checked);
        };
        let device = match &self.machine.device.selection {
            Some(_) => self.machine.device.open(checked)?,
            None if before.starts_with(CPU) => Device::Cpu,
            None => {
                let is_it = |a: &gpu::AdapterInfo| format!("{} ({})", a.name, a.backend) == before;
                let same = gpu::list().into_iter().find(is_it).map(|a| a.index.to_string());
                Device::open(same.as_deref(), checked)?
            }
        };
        let now = device.name();
        if now != before {
            eprintln!(
                "note: the run was on {before} and goes on on {now}: its numbers will not be those, \
                 to the last digit, of a run that never stopped"
            );
        }
        Ok(device)
    }

    /// The kernels of the training and its previews: those that a resumed run ran on this device,
    /// so that it goes on as if it had never stopped; else as `--tune` says.
    fn choices(
        &self,
        recipe: &Recipe,
        device: &Device,
        resumed: Option<&Resumed>,
    ) -> Result<Choices> {
        let tapes = [&recipe.tape()?, &Sampler::tape(&recipe.networks()?, "", BATCH)?];
        let before = resumed.filter(|r| r.options.device == device.name());
        match (before, self.machine.tune) {
            (Some(Resumed { model, .. }), None) => {
                Ok(tuning::choose_again(&tapes, device, &model.choices))
            }
            (_, effort) => tuning::choose(&tapes, device, effort.unwrap_or_default()),
        }
    }

    /// Whether the networks are told classes; `old` is what a resumed run was started with.
    fn conditional(&self, old: Option<&RunOptions>, source: &Source) -> Result<bool> {
        let flag = "--conditional";
        match old {
            Some(old) if self.networks.conditional && old.recipe.model.classes == 0 => {
                let what = "the run was started without it; leave the flag out, or start a new run \
                            without --resume";
                return Err(Error::flag(flag, what));
            }
            Some(old) => return Ok(old.recipe.model.classes > 0),
            None if !self.networks.conditional => return Ok(false),
            None => {}
        }
        let classes = source.classes().len();
        if source.labels().is_none() || classes < 2 {
            let has = if classes == 1 { "only one class" } else { "no labels" };
            let what = format!(
                "needs pictures of two classes or more, and {} has {has}; a folder or archive with \
                 one folder for each class has labels, and so have CIFAR-10 binary batches and IDX \
                 files with their file of labels beside",
                source.origin().display()
            );
            return Err(Error::flag(flag, what));
        }
        Ok(true)
    }

    /// The options of this run: as typed, or, where a run is resumed, as they were.
    fn options(&self, resumed: Option<&Resumed>) -> Result<(RunOptions, Arc<Source>)> {
        let old = resumed.map(|r| &r.options);
        let data = self.data.clone().or_else(|| old.and_then(|o| o.data.clone()));
        let source = Source::open(data.as_deref())?;
        if let Some(old) = old.filter(|o| o.data_fingerprint != source.fingerprint()) {
            let what = format!(
                "these are not the pictures that the run was started with ({}); give those, or \
                 start a new run without --resume",
                old.data_description
            );
            return Err(Error::file(source.origin(), what));
        }
        let (networks, recipe) = (&self.networks, &self.recipe);
        let (pictures, rhythm) = (&self.pictures, &self.rhythm);
        let is_old = old.is_some();

        let default = old.map_or(Preset::Pytorch, |o| o.recipe.model.preset);
        let preset = settle(is_old, "--preset", networks.preset, default)?;
        let conditional = self.conditional(old, &source)?;
        let (width, _) = preset.defaults();
        let grey = pictures.grey.then_some(1);
        let channels = if pictures.grey { "--grey" } else { "--channels" };
        let usual = Dcgan {
            preset,
            size: Size { height: preset.side(), width: preset.side() },
            channels: if source.kind() == Kind::Idx { 1 } else { 3 },
            nz: 100,
            ngf: width,
            ndf: width,
            classes: if conditional { source.classes().len() } else { 0 },
        };
        let base = old.map_or(usual, |o| o.recipe.model);
        let model = Dcgan {
            preset,
            size: settle(is_old, "--size", networks.size, base.size)?,
            channels: settle(is_old, channels, networks.channels.or(grey), base.channels)?,
            nz: settle(is_old, "--nz", networks.nz, base.nz)?,
            ngf: settle(is_old, "--ngf", networks.ngf, base.ngf)?,
            ndf: settle(is_old, "--ndf", networks.ndf, base.ndf)?,
            classes: base.classes,
        };
        let classes = if conditional { source.classes().to_vec() } else { Vec::new() };
        let fresh = || Recipe { classes, ..Recipe::new(model) };
        let base = old.map_or_else(fresh, |o| o.recipe.clone());
        let recipe = Recipe {
            model,
            batch: settle(is_old, "--batch", recipe.batch, base.batch)?,
            seed: settle(is_old, "--seed", recipe.seed, base.seed)?,
            lr_d: settle(is_old, "--lr-d", recipe.lr_d, base.lr_d)?,
            lr_g: settle(is_old, "--lr-g", recipe.lr_g, base.lr_g)?,
            beta1: settle(is_old, "--beta1", recipe.beta1, base.beta1)?,
            beta2: settle(is_old, "--beta2", recipe.beta2, base.beta2)?,
            smooth: settle(is_old, "--smooth", recipe.smooth, base.smooth)?,
            ema: settle(is_old, "--ema", recipe.ema, base.ema)?,
            classes: base.classes,
        };
        let base = old.map_or_else(Prepare::default, |o| o.prepare.clone());
        if is_old && pictures.flip && !base.flip {
            let what = "the run was started without it; leave the flag out, or start a new run \
                        without --resume";
            return Err(Error::flag("--flip", what));
        }
        let prepare = Prepare {
            height: model.size.height,
            width: model.size.width,
            channels: model.channels,
            crop: settle(is_old, "--crop", pictures.crop, base.crop)?,
            filter: settle(is_old, "--resize", pictures.resize, base.filter)?,
            flip: pictures.flip || base.flip,
        };
        let base = old.map_or(
            Rhythm {
                report_every: 640,
                preview_every: 6400,
                save_every: 6400,
                keep: 2,
                keep_every: 0,
            },
            |o| o.rhythm,
        );
        let rhythm = Rhythm {
            report_every: rhythm.report_every.unwrap_or(base.report_every),
            preview_every: rhythm.preview_every.unwrap_or(base.preview_every),
            save_every: rhythm.save_every.unwrap_or(base.save_every),
            keep: rhythm.keep.unwrap_or(base.keep),
            keep_every: rhythm.keep_every.unwrap_or(base.keep_every),
        };
        let images = self.images.unwrap_or(old.map_or(200_000, |o| o.images));
        if let Some(resumed) = resumed {
            let done = resumed.model.step * recipe.batch as u64;
            if images <= done {
                return Err(Error::flag(
                    "--images",
                    format!("the run has seen {done} pictures already; give more than that"),
                ));
            }
        }
        let options = RunOptions {
            recipe,
            data: data.map(|d| std::path::absolute(&d).unwrap_or(d)),
            data_description: format!("{}: {}", source.name(), source.description()),
            data_fingerprint: source.fingerprint(),
            prepare,
            images,
            rhythm,
            program: format!("dcgan {}", env!("CARGO_PKG_VERSION")),
            device: String::new(),
        };
        Ok((options, Arc::new(source)))
    }
}

/// How the CPU's name begins (see [`Device::name`]).
const CPU: &str = "CPU,";

/// A run that goes on.
struct Resumed {
    run: Run,
    options: RunOptions,
    model: ModelFile,
}

impl Resumed {
    fn open(path: &Path) -> Result<Self> {
        if path.is_file() {
            return Err(Error::file(
                path,
                "is a file; --resume wants a run's folder, and takes its newest checkpoint",
            ));
        }
        let run = Run::open(path)?;
        let options: RunOptions = run.options()?;
        let model = ModelFile::load(&folder::resolve(path)?)?;
        if model.recipe.as_ref() != Some(&options.recipe) {
            let what = format!(
                "is not of this run: its recipe differs from {}",
                run.options_path().display()
            );
            return Err(Error::file(&model.path, what));
        }
        Ok(Self { run, options, model })
    }
}
