//! Latents from NumPy files, and what commands on latents share.

use std::ops::Range;
use std::path::{Path, PathBuf};

use clap::Args;
use image::DynamicImage;
use npyz::WriterBuilder as _;

use crate::error::{Error, Result};
use crate::files;
use crate::human::plural;
use crate::model::sampler::BATCH;
use crate::model::{Condition, Generator, ModelFile, Networks, Weights};
use crate::npy::{self, Flaw, Header};
use crate::tensor::Tensor;
use crate::text::TextVectors;
use crate::train::TrainConfig;

use super::drawing::Drawing;
use super::flags::DeviceFlag;
use super::output::tell;
use super::points::Point;

/// Float32 `[n, nz]` from a NumPy file, all finite; `flag` is what it was given to.
pub(super) fn read_latents(path: &Path, nz: usize, flag: &str) -> Result<Tensor> {
    let latents = read_rows(path, nz, flag)?;
    check_rows(path, &latents, 0..latents.shape()[0])?;
    Ok(latents)
}

/// Rejects rows of a file that hold a non-finite value, such as the row of an unreadable image.
pub(super) fn check_rows(path: &Path, latents: &Tensor, rows: Range<usize>) -> Result<()> {
    let nz = latents.shape()[1];
    let is_finite =
        |row: &usize| latents.f32s()[row * nz..(row + 1) * nz].iter().all(|x| x.is_finite());
    match rows.into_iter().find(|row| !is_finite(row)) {
        None => Ok(()),
        Some(row) => Err(Error::file(path, format!("row {row} holds a number that is not finite"))),
    }
}

/// Float32 `[n, nz]` from a NumPy file, finite or not.
pub(super) fn read_rows(path: &Path, nz: usize, flag: &str) -> Result<Tensor> {
    let fail = |what: String| Error::file(path, what);
    let why = |flaw| match flaw {
        Flaw::Io(error) => files::cannot("be read", &error),
        Flaw::NoArray => format!("is not a NumPy file; {flag} wants one with float32 [n, {nz}]"),
        Flaw::CutShort | Flaw::NoFloats => "ends too early: write it again".into(),
    };
    let npy = npy::open(path).map_err(|flaw| fail(why(flaw)))?;
    let Header { descr, fortran, shape } = npy.header.clone();
    let floats = descr.as_deref() == Some("<f4") && !fortran;
    if !floats || shape.len() != 2 || shape[1] != nz || shape[0] == 0 {
        return Err(fail(format!(
            "holds {}; {flag} wants '<f4' (float32) of shape [n, {nz}] in C order for this model",
            npy.header.describe()
        )));
    }
    let numbers = npy.floats().map_err(|flaw| fail(why(flaw)))?;
    Tensor::new(shape, numbers)
}

/// A float tensor as a NumPy file.
pub(super) fn write_npy(path: &Path, tensor: &Tensor) -> Result<()> {
    files::write_atomic(path, |out| {
        let shape: Vec<u64> = tensor.shape().iter().map(|&s| s as u64).collect();
        let mut writer =
            npyz::WriteOptions::new().default_dtype().shape(&shape).writer(out).begin_nd()?;
        writer.extend(tensor.f32s().iter().copied())?;
        writer.finish()
    })
}

/// The model given to a command; of a run's folder, the newest intact checkpoint.
pub(super) fn open_model(path: &Path) -> Result<ModelFile> {
    let (model, passed) = ModelFile::open_by(path, load_model)?;
    warn_of_passed(&passed, &model);
    Ok(model)
}

/// Reads a model; a checkpoint whose training could not be resumed counts as damaged.
pub(super) fn load_model(path: &Path) -> Result<ModelFile> {
    let model = ModelFile::load(path)?;
    TrainConfig::of(&model)?;
    Ok(model)
}

/// Warns which checkpoints of a run were skipped, and why.
pub(super) fn warn_of_passed(passed: &[Error], model: &ModelFile) {
    let name = model.path.file_name().unwrap_or_default().to_string_lossy();
    for error in passed {
        warn(&format!("{error}; the earlier {name} is loaded"));
    }
}

/// Prints a note if fewer images at a time than usual fit the device.
pub(super) fn note_of_batch(batch: usize, usual: usize) {
    if batch < usual {
        tell!(
            "note: {usual} images at a time do not fit the memory that is available: {batch} at a time"
        );
    }
}

/// Prints a note if an image's size differs from the model's.
pub(super) fn note_of_fit(path: &Path, image: &DynamicImage, networks: &Networks) {
    let (w, h) = (image.width(), image.height());
    let (width, height) = (networks.size.width, networks.size.height);
    if (w as usize, h as usize) != (width, height) {
        tell!(
            "note: {} has {w} x {h} pixels and is made to fit the model's {width} x {height}",
            path.display()
        );
    }
}

/// Prints a warning.
pub(super) fn warn(text: &str) {
    tell!("warning: {text}");
}

/// Vectors of texts that a model does not know.
#[derive(Debug, Default, Args)]
pub(super) struct VectorsFlag {
    /// Vectors of more texts or words, for a model trained with --text-vectors; texts are named by them
    #[arg(long = "text-vectors", value_name = "FILE.safetensors", hide_short_help = true)]
    file: Option<PathBuf>,
}

impl VectorsFlag {
    /// The model with these vectors too.
    pub(super) fn added(&self, mut model: ModelFile) -> Result<ModelFile> {
        let Some(file) = &self.file else { return Ok(model) };
        if !model.networks.has_text() {
            let what = "this model was trained without captions (dcgan train --preset int-cls)";
            return Err(Error::flag("--text-vectors", what));
        }
        let more = TextVectors::open(file)?;
        let text = std::mem::take(&mut model.networks.text).with_vectors(&more);
        model.networks.text = text.map_err(|what| Error::file(file, what))?;
        Ok(model)
    }
}

/// A model to make images with, as far as it has been trained ([`ModelFile::as_trained`]).
pub(super) fn open_images(path: &Path) -> Result<ModelFile> {
    let model = open_model(path)?;
    let whole = model.networks.size;
    let model = model.as_trained();
    if model.networks.size != whole {
        tell!(
            "note: the last stage of this model has not been trained: its images are those of the stage \
             before it, of {}",
            model.networks.size
        );
    }
    Ok(model)
}

/// A trained model, and how to run it.
#[derive(Debug, Args)]
pub(super) struct ModelFlags {
    /// A run's folder (its newest checkpoint), a checkpoint, an imported model, or avatars, the bundled
    /// one
    #[arg(value_name = "MODEL")]
    pub(super) path: PathBuf,
    /// Use the weights of the last step, not their moving average (EMA)
    #[arg(long)]
    pub(super) raw: bool,
    /// Class to generate, by name or number: required for a class-conditional model, except by
    /// dcgan neighbors, which takes the classes in turn
    #[arg(long, value_name = "NAME|NUMBER")]
    pub(super) class: Option<String>,
    /// Text to generate: required for a model trained on texts, except by dcgan neighbors, which
    /// takes captions of its training in turn
    #[arg(long, value_name = "TEXT", conflicts_with = "class")]
    pub(super) text: Option<String>,
    #[command(flatten)]
    pub(super) vectors: VectorsFlag,
    #[command(flatten)]
    pub(super) device: DeviceFlag,
}

impl ModelFlags {
    /// The requested weights.
    pub(super) fn weights(&self) -> Weights {
        Weights::raw(self.raw)
    }

    /// The model's file, not yet on a device; one without a generator is rejected.
    pub(super) fn load(&self) -> Result<ModelFile> {
        let model = self.vectors.added(open_images(&self.path)?)?;
        model.generator()?;
        Ok(model)
    }

    /// Its generator, ready to draw the class or text that was typed.
    pub(super) fn generator(&self, model: &ModelFile) -> Result<Drawing> {
        let condition = self.condition(model)?;
        Ok(Drawing { generator: self.generator_of_all(model)?, condition })
    }

    /// Its generator, ready to draw any class.
    pub(super) fn generator_of_all(&self, model: &ModelFile) -> Result<Generator> {
        warn_of_batches(model)?;
        let generator = Generator::new(model, &self.device.open(false)?, self.weights())?;
        note_of_batch(generator.batch(), BATCH);
        Ok(generator)
    }

    /// The class or text to draw.
    pub(super) fn condition(&self, model: &ModelFile) -> Result<Condition> {
        let networks = &model.networks;
        if let Some(text) = &self.text {
            check_text("--text", text, networks)?;
            return Ok(Condition::Text(text.clone()));
        }
        if networks.has_text() {
            let example = networks.text.examples.first().map_or("", String::as_str);
            let what =
                format!("is needed, as this model was trained on texts, such as {example:?}");
            return Err(Error::flag("--text", what));
        }
        Ok(self.class(model)?.map_or(Condition::None, Condition::Class))
    }

    /// The class to draw; `None` if the model has no classes.
    fn class(&self, model: &ModelFile) -> Result<Option<u32>> {
        let networks = &model.networks;
        let wrong = |what: String| Error::flag("--class", what);
        match &self.class {
            Some(named) => networks.class(named).map(Some).map_err(wrong),
            None if networks.is_conditional() => {
                let classes = networks.list_classes();
                Err(wrong(format!("is needed, as this model was trained with classes: {classes}")))
            }
            None => Ok(None),
        }
    }

    /// The class or text of each point: the one that was typed, else one each, in turn, as `dcgan
    /// sample` does.
    pub(super) fn conditions(&self, model: &ModelFile, points: &[Point]) -> Result<Vec<Condition>> {
        let networks = &model.networks;
        let count = networks.labels() as u64;
        if self.class.is_some() || self.text.is_some() || count == 0 {
            return Ok(vec![self.condition(model)?; points.len()]);
        }
        let turn = |(at, point): (usize, &Point)| {
            let label = (point.seed().unwrap_or(at as u64) % count) as usize;
            match networks.has_text() {
                true => Condition::Text(networks.text.examples[label].clone()),
                false => Condition::Class(label as u32),
            }
        };
        Ok(points.iter().enumerate().map(turn).collect())
    }

    /// What a figure says of the model: its name and how far it was trained.
    pub(super) fn describe(&self, model: &ModelFile) -> String {
        let label = self.class.as_ref().and_then(|class| model.networks.class(class).ok());
        let class = label.and_then(|label| model.networks.classes.get(label as usize));
        let described = describe(&self.path, model);
        if let Some(text) = &self.text {
            return format!("{described}, {text:?}");
        }
        class.map_or(described.clone(), |class| format!("{described}, class {class}"))
    }
}

/// Refuses a text that a model cannot draw, and warns of words that it does not know.
pub(super) fn check_text(flag: &'static str, text: &str, networks: &Networks) -> Result<()> {
    if !networks.has_text() {
        let what = "this model was trained without captions (dcgan train --preset int-cls)";
        return Err(Error::flag(flag, what));
    }
    let known = networks.text.known_names();
    let more = match networks.text.vectors {
        Some(_) => "; --text-vectors takes a file with more",
        None => "",
    };
    let unknown = networks.text.unknown(text);
    if networks.text.encode(text).iter().all(|&x| x == 0.0) {
        let what = format!(
            "{text:?} has no word that the model knows; it knows {}: {}{more}",
            plural(known.len() as u64, "word"),
            listed(&known)
        );
        return Err(Error::flag(flag, what));
    }
    if !unknown.is_empty() {
        warn(&format!(
            "the model does not know {}, and leaves {} out; it knows {}: {}{more}",
            unknown.join(", "),
            if unknown.len() == 1 { "it" } else { "them" },
            plural(known.len() as u64, "word"),
            listed(&known)
        ));
    }
    Ok(())
}

/// Words of a model that a message lists.
const LISTED: usize = 60;

fn listed(words: &[&str]) -> String {
    let more = if words.len() > LISTED { ", …" } else { "" };
    words[..words.len().min(LISTED)].join(", ") + more
}

/// Prints a note if a generator's images depend on one another.
pub(super) fn warn_of_batches(model: &ModelFile) -> Result<()> {
    if model.generator()?.needs_batch() {
        tell!(
            "note: the batch norm of this generator uses the statistics of each {BATCH} images: \
             an image also depends on the others beside it"
        );
    }
    Ok(())
}

/// What a figure says of a model that was given as `path`: its name and how far it was trained.
pub(super) fn describe(path: &Path, model: &ModelFile) -> String {
    let name = |path: &Path| {
        path.file_name().map_or_else(|| path.display().to_string(), |n| n.to_string_lossy().into())
    };
    let named = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    match model.step {
        0 => name(&named),
        step => format!("{}, step {step}", name(&named)),
    }
}

/// The classes of `list`, which `flag` was given, in typed order; `all` stands for all of them.
pub(super) fn named_classes(
    flag: &'static str,
    list: &[String],
    networks: &Networks,
) -> Result<Vec<u32>> {
    let mut every = Vec::new();
    for named in list {
        match networks.class(named) {
            Ok(class) => every.push(class),
            Err(_) if named == "all" && networks.is_conditional() => {
                every.extend(0..networks.classes.len() as u32);
            }
            Err(what) => return Err(Error::flag(flag, what)),
        }
    }
    Ok(every)
}

/// A file of one of these kinds, by its name's ending.
pub(super) fn has_ending(path: &Path, ending: &str) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case(ending))
}

/// `path`, which `flag` named and which must end in `.ending`.
pub(super) fn named<'a>(flag: &'static str, path: &'a Path, ending: &str) -> Result<&'a Path> {
    if has_ending(path, ending) {
        return Ok(path);
    }
    let what = format!("{} does not end in .{ending}", path.display());
    Err(Error::flag(flag, what))
}
