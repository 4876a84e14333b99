//! The images that are evaluated, and those that they are held against.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::PoisonError;

use crate::data::{Fingerprint, Order, Part, Prepare, Reading, Source, sweep, sweep_by};
use crate::device::host::afford;
use crate::error::{Error, Result};
use crate::evaluation::memorization::{self, Seen};
use crate::evaluation::networks::{Cached, FeatureNetwork, cached_features};
use crate::evaluation::report::Network;
use crate::evaluation::thumbnails::thumbnails;
use crate::evaluation::{Features, ImageSet};
use crate::human::{grouped, plural};
use crate::model::folder::Folder;
use crate::model::sampler::BATCH;
use crate::model::{Generator, Inputs, ModelFile, Role, Size, Weights, is_bundled};
use crate::train::options::RunOptions;
use crate::{files, images};

use super::super::bar::Bar;
use super::super::latents::{note_of_batch, open_images, warn_of_batches};
use super::super::output::tell;
use super::super::reading::{ClassFlag, LabelFlags, tell_notes};
use super::Evaluate;

/// Images decoded at a time.
const CHUNK: usize = 256;

/// The most training images that samples are compared with.
const TRAINING: usize = 50_000;

/// Height and width, as typed.
pub(super) fn size(text: &str) -> Result<[usize; 2], String> {
    let side =
        |text: &str| text.trim().parse().ok().filter(|n| (1..=Prepare::MAX_SIDE).contains(n));
    let (height, width) = text.split_once(['x', 'X']).unwrap_or((text, text));
    match (side(height), side(width)) {
        (Some(height), Some(width)) => Ok([height, width]),
        _ => Err(format!("64 or 48x64 (height x width) works, up to {}", Prepare::MAX_SIDE)),
    }
}

/// Where generated images come from.
enum Origin {
    Model(Box<ModelFile>),
    Images(Box<Source>),
}

/// What is evaluated.
pub(super) struct Generated {
    origin: Origin,
    /// How it and real images are prepared.
    pub(super) prepare: Prepare,
    /// What it is, for the protocols.
    pub(super) description: String,
}

impl Generated {
    /// Opens what was given: a model, or images.
    pub(super) fn open(evaluate: &Evaluate) -> Result<Self> {
        let path = &evaluate.generated;
        if !path.exists() && !is_bundled(path) {
            let what = "there is no such run folder, model, or folder or zip of images";
            return Err(Error::file(path, what));
        }
        if !is_model(path) {
            let source = Source::open(Some(path))?;
            tell_notes(&source);
            let prepare = evaluate.prepare_as(&source)?;
            let description = String::new();
            return Ok(Self { origin: Origin::Images(Box::new(source)), prepare, description });
        }
        if evaluate.size.is_some() {
            let what = "is for folders and zips of images; a model's images have their own size";
            return Err(Error::flag("--size", what));
        }
        let model = open_images(path)?;
        model.generator()?;
        // As in training, but for what is drawn anew each epoch.
        let prepare = Prepare { flip: false, ..model.prepare.clone() };
        let description = String::new();
        Ok(Self { origin: Origin::Model(Box::new(model)), prepare, description })
    }

    /// The model that makes them.
    pub(super) fn model(&self) -> Option<&ModelFile> {
        match &self.origin {
            Origin::Model(model) => Some(model),
            Origin::Images(_) => None,
        }
    }

    /// Where they are read from.
    pub(super) fn source(&self) -> Option<&Source> {
        match &self.origin {
            Origin::Model(_) => None,
            Origin::Images(source) => Some(source),
        }
    }

    /// How many images there are; a model has as many as are wanted.
    fn len(&self) -> usize {
        match &self.origin {
            Origin::Model(_) => usize::MAX,
            Origin::Images(source) => source.len(),
        }
    }

    /// How images are prepared, for the protocols.
    pub(super) fn preparation(&self) -> String {
        let Prepare { height, width, channels, crop, filter, .. } = self.prepare;
        format!(
            "{} pixels, {}, crop {crop}, resized {filter}",
            Size { height, width },
            plural(channels as u64, "channel")
        )
    }

    /// The file for a run's scores, and the checkpoint that they are of.
    pub(super) fn scores(&self) -> Option<(PathBuf, &ModelFile)> {
        let model = self.model()?;
        Some((self.run()?.scores_path(), model))
    }

    /// The run that the model is a checkpoint of.
    fn run(&self) -> Option<Folder> {
        let model = self.model()?;
        let folder = model.path.parent().filter(|folder| files::is_run(folder))?;
        Folder::open(folder).ok()
    }
}

/// Which images of their sources were compared: of a model seeds, counted from `--seed`.
pub(super) struct Items {
    pub(super) fakes: Vec<u32>,
    pub(super) reals: Vec<u32>,
}

/// Real images to be read.
pub(super) struct Real {
    path: Option<PathBuf>,
    reading: Reading,
    /// Of the images that a run was trained on, where these are to be them.
    trained: Option<Fingerprint>,
}

/// Whether a path is a model rather than images: a run's folder, a file of tensors, or the bundled
/// model's name.
fn is_model(path: &Path) -> bool {
    if is_bundled(path) {
        return true;
    }
    if path.is_dir() {
        return path.join(crate::model::folder::OPTIONS).is_file();
    }
    let named = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("safetensors"));
    let mut head = [0; 9];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut head));
    // The length of a header in JSON, and its brace.
    named || (read.is_ok() && head[8] == b'{')
}

impl Evaluate {
    /// How images are prepared for comparison with the images of a folder: to their size.
    fn prepare_as(&self, source: &Source) -> Result<Prepare> {
        let first = (0..source.len()).find_map(|item| source.image(item).ok());
        let Some(first) = first else {
            return Err(Error::file(source.origin(), "none of its images can be read"));
        };
        let own = [first.pixels.height() as usize, first.pixels.width() as usize];
        let channels = match first.pixels.color() {
            color if !color.has_color() => 1,
            color if color.has_alpha() => 4,
            _ => 3,
        };
        let [height, width] = self.size.unwrap_or(own);
        let prepare = self.fit.of_size(Size { height, width }, channels)?;
        prepare.check()?;
        Ok(prepare)
    }

    /// Generated and real images. Of a model as many are made as there are real ones to compare with,
    /// `--samples` at most; of real images twice as many are read, if there are so many.
    pub(super) fn images(
        &self,
        generated: &mut Generated,
        real: &Source,
    ) -> Result<(ImageSet, ImageSet, Items)> {
        let wanted = usize::try_from(self.samples).unwrap_or(usize::MAX);
        let count = wanted.min(generated.len()).min(real.len());
        if count < wanted {
            let (what, least) = match generated.len() < real.len() {
                true => ("generated", generated.len()),
                false => ("real", real.len()),
            };
            tell!(
                "note: --samples {}, but there are {} {what} images: as many are compared",
                grouped(self.samples),
                grouped(least as u64)
            );
        }
        let pool = real.len().min(count.saturating_mul(2));
        let bytes = (count + pool) as u64 * generated.prepare.len() as u64;
        afford(bytes, &format!("{} images", grouped((count + pool) as u64)))?;
        let (reals, real_items) = self.read(real, &generated.prepare, pool, None)?;
        let (fakes, items, description) = match &generated.origin {
            Origin::Images(source) => {
                let own = self.size.is_none().then_some(());
                let (fakes, items) = self.read(source, &generated.prepare, count, own)?;
                let description =
                    format!("{} generated ({})", source.origin().display(), source.description());
                (fakes, items, description)
            }
            Origin::Model(model) => {
                let (fakes, description) = self.sample(model, count)?;
                (fakes, (0..count as u32).collect(), description)
            }
        };
        generated.description = description;
        Ok((fakes, reals, Items { fakes: items, reals: real_items }))
    }

    /// Images of a model, and what they are.
    fn sample(&self, model: &ModelFile, count: usize) -> Result<(ImageSet, String)> {
        warn_of_batches(model)?;
        let weights = Weights::raw(self.raw);
        let (network, generator) = model.find(Role::Generator)?;
        let weights_used = match model.used(network, weights) {
            Weights::Averaged => "moving average of the weights (EMA)",
            Weights::Raw => "raw weights",
        };
        let norm = match generator.needs_batch() {
            true => format!("batch norm of each {BATCH} images"),
            false => "batch norm by running statistics".into(),
        };
        let mut generator = Generator::new(model, &self.device.open(false)?, weights)?;
        note_of_batch(generator.batch(), BATCH);
        let seeds = (0..count as u64).map(|i| self.seed.wrapping_add(i));
        let mut bytes = Vec::new();
        let bar = Bar::new(count, "samples");
        generator.each(&Inputs::seeds(seeds), |_, batch| {
            bytes.extend(batch.f32s().iter().copied().map(images::byte));
            bar.add(batch.shape()[0]);
            Ok(())
        })?;
        bar.finish();
        let Size { height, width } = model.networks.size;
        let classes = match () {
            () if model.networks.is_conditional() => ", classes in turn",
            () if model.networks.has_text() => ", captions in turn",
            () => "",
        };
        let description = format!(
            "{}, step {}, seeds from {}{classes}, {weights_used}, {norm}",
            model.path.display(),
            grouped(model.step),
            self.seed,
        );
        Ok((ImageSet::new([height, width, model.networks.channels], bytes)?, description))
    }

    /// `count` images of a source in the order of the seed, and which they are; with `own` they must have
    /// the prepared size.
    fn read(
        &self,
        source: &Source,
        prepare: &Prepare,
        count: usize,
        own: Option<()>,
    ) -> Result<(ImageSet, Vec<u32>)> {
        let items = self.items(source, count);
        let bar = Bar::new(items.len(), "images");
        let (mut bytes, mut readable) = (Vec::new(), Vec::new());
        let other = Mutex::new(None);
        let read = |item: usize| {
            source.with_image(item, |image| {
                let size = [image.pixels.height() as usize, image.pixels.width() as usize];
                if own.is_some() && size != [prepare.height, prepare.width] {
                    *other.lock().unwrap_or_else(PoisonError::into_inner) = Some((item, size));
                }
                prepare.apply(image.pixels, 1 << 31)
            })
        };
        let skipped = sweep_by(source, read, &items, CHUNK, |chunk| {
            if let Some((item, [height, width])) =
                *other.lock().unwrap_or_else(PoisonError::into_inner)
            {
                let what = format!(
                    "has images of several sizes ({} has {height}x{width} pixels, the first one {}x{}); \
                     --size {}x{} makes all fit",
                    source.item_name(item),
                    prepare.height,
                    prepare.width,
                    prepare.height,
                    prepare.width
                );
                return Err(Error::file(source.origin(), what));
            }
            bytes.extend_from_slice(&chunk.images);
            readable.extend(chunk.places.iter().map(|&place| items[chunk.start + place]));
            bar.add(chunk.len);
            Ok(())
        })?;
        bar.finish();
        for skipped in &skipped {
            tell!("unreadable, left out: {skipped}");
        }
        let size = [prepare.height, prepare.width, prepare.channels];
        Ok((ImageSet::new(size, bytes)?, readable))
    }

    /// The first `count` images of a source in the order of the seed.
    fn items(&self, source: &Source, count: usize) -> Vec<u32> {
        let mut items = Order { seed: self.seed, count: source.len(), batch: 1 }.shuffled(0);
        items.truncate(count);
        items
    }

    /// The network of `--features`.
    pub(super) fn open_network(&self, weights: &Path) -> Result<FeatureNetwork> {
        let network = FeatureNetwork::open(weights, &self.device.open(false)?)?;
        Ok(match self.feature_resize {
            Some(resize) => network.with_resize(resize),
            None => network,
        })
    }

    /// What real images are, for the protocols.
    pub(super) fn describe(&self, source: &Source) -> String {
        let part = source.reading().part.map_or_else(String::new, |part| format!(", part {part}"));
        format!("{} ({}{part})", source.origin().display(), source.description())
    }

    /// Which real images: `--real`, else those of a run, else the bundled ones.
    pub(super) fn real(&self, generated: &Generated) -> Result<Real> {
        let part = self.part.part;
        let of_run = match (&self.real, generated.run()) {
            (None, Some(folder)) => Some(folder.options::<RunOptions>()?),
            _ => None,
        };
        let Some(options) = of_run else {
            let reading = Reading { part, ..Reading::default() };
            return Ok(Real { path: self.real.clone(), reading, trained: None });
        };
        let before = options.data_reading;
        let reading = Reading { part: part.or(before.part), ..before.clone() };
        let trained = Some(options.data_fingerprint).filter(|_| reading == before);
        Ok(Real { path: options.data, reading, trained })
    }

    /// Opens them.
    pub(super) fn open_real(&self, real: &Real) -> Result<Source> {
        let source = Source::open_as(real.path.as_deref(), &real.reading)?;
        tell_notes(&source);
        let trained = real.trained.as_ref();
        if trained.is_some_and(|before| before.difference(source.fingerprint()).is_some()) {
            tell!(
                "warning: {} holds other images than when the run was started",
                source.origin().display()
            );
        }
        Ok(source)
    }

    /// The training set and held-out images, if there are any: `--held-out`, else the test part of
    /// `--real`.
    pub(super) fn seen_sources(&self, real: &Real) -> Result<Option<[Source; 2]>> {
        let class = ClassFlag::default();
        let Some(real) = &real.path else {
            // The bundled set has no parts.
            return self
                .held_out
                .as_ref()
                .map(|held_out| {
                    Ok([
                        Source::open(None)?,
                        class.open(held_out, Part::Test, &LabelFlags::default())?,
                    ])
                })
                .transpose();
        };
        let part = |part| Source::open_part(Some(real), part);
        Ok(match &self.held_out {
            Some(held_out) => {
                let held_out = class.open(held_out, Part::Test, &LabelFlags::default())?;
                let training = part(Part::Train).or_else(|_| part(Part::All))?;
                if training.fingerprint() == held_out.fingerprint() {
                    let what = "holds the images of --real; memorization needs images that the model was \
                                not trained on";
                    return Err(Error::flag("--held-out", what));
                }
                Some([training, held_out])
            }
            None => match (part(Part::Train), part(Part::Test)) {
                (Ok(training), Ok(held_out)) => Some([training, held_out]),
                _ => None,
            },
        })
    }

    /// Thumbnails of both, up to `count` of held-out images.
    pub(super) fn seen(
        &self,
        [training, held_out]: &[Source; 2],
        prepare: &Prepare,
        count: usize,
    ) -> Result<Seen> {
        let thumbnails = |source: &Source, count: usize| -> Result<Features> {
            let items = self.items(source, count);
            let bar = Bar::new(items.len(), "images");
            let size = [prepare.height, prepare.width, prepare.channels];
            let (mut values, mut width) = (Vec::new(), 1);
            sweep(source, prepare, &items, CHUNK, |chunk| {
                let some = thumbnails(&ImageSet::new(size, chunk.images)?, memorization::SIDE)?;
                width = some.width;
                values.extend(some.values);
                bar.add(chunk.len);
                Ok(())
            })?;
            bar.finish();
            Features::new(width, values)
        };
        Ok(Seen {
            training: thumbnails(training, TRAINING)?,
            held_out: thumbnails(held_out, count)?,
        })
    }
}

/// The features of generated and real images by a network: from the user's cache, or computed and kept
/// there.
pub(super) fn embed(
    network: &mut FeatureNetwork,
    [fakes, reals]: [&ImageSet; 2],
) -> Result<Network> {
    let mut embed = |images: &ImageSet, what: &'static str| -> Result<_> {
        let bar = Bar::new(images.count(), what);
        let mut shown = 0;
        let mut progress = |done: usize, _: usize| {
            bar.add(done - shown);
            shown = done;
            Ok(())
        };
        let Cached { outputs, warning, .. } = cached_features(network, images, &mut progress)?;
        if let Some(warning) = warning {
            tell!("warning: {warning}");
        }
        bar.finish();
        Ok((outputs.features, Some(outputs.logits)))
    };
    let reals = embed(reals, "real images embedded")?;
    let fakes = embed(fakes, "generated images embedded")?;
    Ok(Network { name: network.name().into(), protocol: network.protocol(), fakes, reals })
}
