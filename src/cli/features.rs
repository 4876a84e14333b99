//! `dcgan features`: features of images from a discriminator or an encoder.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use npyz::WriterBuilder;

use crate::data::{Crop, Filter, Prepare, Source, sweep};
use crate::device::State;
use crate::error::{Error, Result};
use crate::features::{By, Extractor};
use crate::files;
use crate::human::grouped;
use crate::model::{ModelFile, Networks, Size, Weights};

use super::bar::Bar;
use super::flags::{DeviceFlag, at_least};
use super::latents::{note_of_batch, open_model};
use super::output::{println, tell};
use super::reading::ReadingFlags;

/// Why a conditional discriminator has no features for a classifier.
pub(super) const TOLD: &str = "and its discriminator's input contains the answer that a classifier \
                               is to give; use a model that was trained without --conditional";

/// How images of other sizes are made to fit a model.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Images")]
pub(super) struct Fit {
    /// Images of another aspect ratio: crop at the center, or stretch
    #[arg(
        long, value_enum, default_value_t = Crop::default(), hide_possible_values = true,
        value_name = "center|none"
    )]
    crop: Crop,
    /// Resampling filter
    #[arg(long, value_enum, default_value_t = Filter::default())]
    resize: Filter,
}

impl Fit {
    /// How images are prepared for a model's discriminator.
    pub(super) fn prepare(&self, networks: &Networks) -> Result<Prepare> {
        self.of_size(networks.size, networks.channels)
    }

    /// How images are prepared to this size.
    pub(super) fn of_size(&self, size: Size, channels: usize) -> Result<Prepare> {
        if self.crop == Crop::Random {
            let what = "random would give an image other features each time; center and none work";
            return Err(Error::flag("--crop", what));
        }
        Ok(Prepare {
            height: size.height,
            width: size.width,
            channels,
            crop: self.crop,
            filter: self.resize,
            flip: false,
        })
    }
}

/// `--by`.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct ByFlag {
    /// Source of the features: the hidden layers of D, those of the encoder, or the encoder's
    /// output, latents [default: discriminator, or encoder if D takes pairs of image and latent]
    #[arg(
        long,
        value_enum,
        hide_possible_values = true,
        value_name = "discriminator|encoder|latents"
    )]
    by: Option<By>,
}

impl ByFlag {
    /// The source of features in this model, which must have it.
    pub(super) fn of(self, model: &ModelFile) -> Result<By> {
        let by = self.by.unwrap_or_else(|| By::of(&model.networks));
        model.find(by.role())?;
        if by == By::Discriminator {
            model.unconditional(TOLD)?;
        }
        Ok(by)
    }
}

/// Write every image's features after D's convolutions, each pooled to 4x4, as one NumPy array
///
/// Row i holds image i, in the order of the images' names: all hidden convolutions of the
/// discriminator after their activation, each max-pooled to 4x4 and flattened as PyTorch does
/// (channel, row, column), first layer first; with --by encoder those of the encoder. The row of an image that cannot be read is NaN.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  dcgan features runs/00000-dcgan-cifar10-32 cifar10.zip --part test \
                        --out test.npy --labels labels.npy"
)]
pub(super) struct Features {
    /// A run's folder (its newest checkpoint), a checkpoint, an imported model, or avatars, the bundled
    /// one
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// Images, as for `dcgan train` [default: 3,000 bundled avatars]
    #[arg(value_name = "DATA")]
    data: Option<PathBuf>,
    #[command(flatten)]
    by: ByFlag,
    /// The file to write: float32 [images, features]
    #[arg(long, value_name = "FILE.npy")]
    out: PathBuf,
    /// Also write the class of each image: int64 [images]
    #[arg(long, value_name = "FILE.npy")]
    labels: Option<PathBuf>,
    #[command(flatten)]
    reading: ReadingFlags,
    /// Batch size
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = at_least(1))]
    batch: usize,
    /// Use the weights of the last step, not their moving average (EMA)
    #[arg(long)]
    raw: bool,
    #[command(flatten)]
    fit: Fit,
    #[command(flatten)]
    device: DeviceFlag,
}

impl Features {
    pub(super) fn run(&self) -> Result<()> {
        let model = open_model(&self.model)?;
        let by = self.by.of(&model)?;
        let prepare = self.fit.prepare(&model.networks)?;
        let source = self.reading.open(self.data.as_deref())?;
        if let Some(path) = &self.labels {
            write_labels(path, labels_of(&source)?)?;
        }
        let mut state = State::new(&self.device.open(false)?);
        model.load_own(&mut state, by.role(), Weights::raw(self.raw))?;
        let mut extractor = Extractor::by(&model.networks, by, &mut state, self.batch)?;
        note_of_batch(extractor.batch(), self.batch);
        calibrate(&extractor, &mut state, &source, &prepare)?;

        let (n, width) = (source.len(), extractor.width());
        println(&format!("{:<12}{}", "data", source.description()))?;
        println(&format!("{:<12}{} of each image", "features", grouped(width as u64)))?;
        let items: Vec<u32> = (0..n as u32).collect();
        let bar = Bar::new(n, "images");
        let mut skipped = Vec::new();
        write_rows(&self.out, [n, width], |write| {
            skipped = sweep(&source, &prepare, &items, extractor.batch(), |chunk| {
                let mut rows = vec![f32::NAN; chunk.len * width];
                let features = extractor.features(&mut state, &chunk.images)?;
                for (&place, row) in chunk.places.iter().zip(features.chunks(width)) {
                    rows[place * width..(place + 1) * width].copy_from_slice(row);
                }
                bar.add(chunk.len);
                write(&rows)
            })?;
            Ok(())
        })?;
        let seconds = bar.finish();
        for skipped in &skipped {
            tell!("unreadable, its row is NaN: {skipped}");
        }
        let rate = n as f64 / seconds.max(1e-9);
        println(&format!("{:<12}{rate:.1} images a second", "speed"))?;
        println(&format!("{:<12}{} float32 [{n}, {width}]", "written", self.out.display()))
    }
}

/// Calibrates the batch norm of a discriminator without running statistics on `source`.
pub(super) fn calibrate(
    extractor: &Extractor,
    state: &mut State,
    source: &Source,
    prepare: &Prepare,
) -> Result<()> {
    if !extractor.needs_calibration() {
        return Ok(());
    }
    tell!(
        "note: the batch norm of this network keeps no statistics; those of up to 4,096 \
         images of {} are used",
        source.origin().display()
    );
    extractor.calibrate(state, source, prepare)
}

/// The labels of a source.
///
/// # Errors
/// [`Error::File`] where it has none.
pub(super) fn labels_of(source: &Source) -> Result<&[u32]> {
    source.labels().ok_or_else(|| Error::file(source.origin(), source.why_no_classes()))
}

pub(super) fn write_labels(path: &Path, labels: &[u32]) -> Result<()> {
    files::write_atomic(path, |out| {
        let shape = [labels.len() as u64];
        let mut writer = npyz::WriteOptions::<i64>::new()
            .default_dtype()
            .shape(&shape)
            .writer(out)
            .begin_nd()?;
        writer.extend(labels.iter().map(|&l| i64::from(l)))?;
        writer.finish()
    })
}

/// Writes a float array whose rows `fill` passes, a few at a time, in order.
pub(super) fn write_rows(
    path: &Path,
    [n, width]: [usize; 2],
    fill: impl FnOnce(&mut dyn FnMut(&[f32]) -> Result<()>) -> Result<()>,
) -> Result<()> {
    let mut failed = None;
    let written = files::write_atomic(path, |out: &mut dyn Write| {
        let shape = [n as u64, width as u64];
        let options = npyz::WriteOptions::new().default_dtype().shape(&shape);
        let mut writer = options.writer(out).begin_nd()?;
        let mut broken = None;
        let filled = fill(&mut |rows| {
            writer.extend(rows.iter().copied()).map_err(|e| {
                let error = Error::file(path, files::cannot("be written", &e));
                broken = Some(e);
                error
            })
        });
        match (filled, broken) {
            (_, Some(e)) => Err(e),
            (Err(e), None) => {
                failed = Some(e);
                Err(io::Error::other("what was to be written could not be computed"))
            }
            (Ok(()), None) => writer.finish(),
        }
    });
    failed.map_or(written, Err)
}
