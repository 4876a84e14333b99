//! `dcgan encode`: from images to latents, by a model's encoder.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::data::{Skipped, sweep};
use crate::error::{Error, Result};
use crate::files;
use crate::human::{grouped, plural};
use crate::model::{Encoder, Weights};
use crate::tensor::Tensor;

use super::bar::Bar;
use super::features::{labels_of, write_labels, write_rows};
use super::flags::{DeviceFlag, JsonFlag, at_least};
use super::latents::{named, note_of_batch, open_model, write_npy};
use super::output::tell;
use super::reading::ReadingFlags;

/// Encode images: write the latents that a model's encoder gives for them as one NumPy array
///
/// For models with an encoder, such as those of dcgan train --preset bigan. Row i holds the latent of
/// image i, in the order of the images' names; the row of an image that cannot be read is NaN. Images
/// are cropped and resized as they were for training. The latents are for `dcgan sample --latents z.npy`,
/// `dcgan walk --seeds z.npy:3,z.npy:8` and `dcgan arithmetic --plus z.npy:3`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  dcgan encode runs/00000-bigan-mnist-28 mnist/ --part test --out \
                        z.npy --labels labels.npy"
)]
pub(super) struct Encode {
    /// A run's folder (its newest checkpoint) or a checkpoint, of a training with an encoder
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// Images, as for `dcgan train` [default: 3,000 bundled avatars]
    #[arg(value_name = "DATA")]
    data: Option<PathBuf>,
    /// The file to write: float32 [images, nz]
    #[arg(long, value_name = "FILE.npy")]
    out: PathBuf,
    /// Also write the standard deviation of each latent, if the encoder outputs distributions:
    /// float32 [images, nz]
    #[arg(long, value_name = "FILE.npy")]
    deviations: Option<PathBuf>,
    /// Also write the name of each image, one per line
    #[arg(long, value_name = "FILE.txt")]
    names: Option<PathBuf>,
    /// Also write the class of each image: int64 [images]
    #[arg(long, value_name = "FILE.npy")]
    labels: Option<PathBuf>,
    /// Encode only the first N images [default: all]
    #[arg(long, value_name = "N", value_parser = at_least(1))]
    count: Option<usize>,
    #[command(flatten)]
    reading: ReadingFlags,
    /// Batch size
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = at_least(1))]
    batch: usize,
    /// Use the weights of the last step, not their moving average (EMA)
    #[arg(long)]
    raw: bool,
    #[command(flatten)]
    json: JsonFlag,
    #[command(flatten)]
    device: DeviceFlag,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report {
    data: String,
    images: usize,
    nz: usize,
    unreadable: Vec<Unreadable>,
    latents: String,
    deviations: Option<String>,
    names: Option<String>,
    labels: Option<String>,
}

/// An image that could not be read.
#[derive(Debug, Serialize)]
pub(super) struct Unreadable {
    name: String,
    reason: String,
}

impl Unreadable {
    pub(super) fn all(skipped: Vec<Skipped>) -> Vec<Self> {
        skipped.into_iter().map(|Skipped { name, reason }| Self { name, reason }).collect()
    }
}

impl Encode {
    pub(super) fn run(&self) -> Result<()> {
        let out = named("--out", &self.out, "npy")?;
        if let Some(path) = &self.deviations {
            named("--deviations", path, "npy")?;
        }
        let model = open_model(&self.model)?;
        model.encoder()?;
        let source = self.reading.open(self.data.as_deref())?;
        let n = self.count.unwrap_or(usize::MAX).min(source.len());
        let labels = self.labels.as_ref().map(|path| Ok((path, &labels_of(&source)?[..n])));
        let labels = labels.transpose()?;
        let device = self.device.open(false)?;
        let mut encoder = Encoder::new(&model, &device, Weights::raw(self.raw), self.batch)?;
        note_of_batch(encoder.batch(), self.batch);
        if self.deviations.is_some() && !encoder.has_deviation() {
            let what = "this model's encoder gives one latent for an image, not a distribution: leave \
                        the flag out";
            return Err(Error::flag("--deviations", what));
        }

        let nz = model.networks.nz;
        self.json.println(&format!("{:<12}{}", "data", source.description()))?;
        self.json.println(&format!("{:<12}{nz} values for each image", "latents"))?;
        let items: Vec<u32> = (0..n as u32).collect();
        let bar = Bar::new(n, "images");
        let mut skipped = Vec::new();
        let mut deviations = Vec::new();
        write_rows(out, [n, nz], |write| {
            let batch = encoder.batch();
            skipped = sweep(&source, &model.prepare, &items, batch, |chunk| {
                let encoded = encoder.encode(&chunk.images)?;
                let rows = |numbers: &Tensor| {
                    let mut rows = vec![f32::NAN; chunk.len * nz];
                    for (&place, row) in chunk.places.iter().zip(numbers.f32s().chunks(nz)) {
                        rows[place * nz..(place + 1) * nz].copy_from_slice(row);
                    }
                    rows
                };
                if let (Some(deviation), true) = (&encoded.deviation, self.deviations.is_some()) {
                    deviations.extend(rows(deviation));
                }
                bar.add(chunk.len);
                write(&rows(&encoded.mean))
            })?;
            Ok(())
        })?;
        let seconds = bar.finish();
        for skipped in &skipped {
            tell!("unreadable, its row is NaN: {skipped}");
        }
        if let Some(path) = &self.deviations {
            write_npy(path, &Tensor::new([n, nz], deviations)?)?;
        }
        if let Some(path) = &self.names {
            let names: String = (0..n).map(|item| line(&source.item_name(item))).collect();
            files::write_bytes(path, names.as_bytes())?;
        }
        if let Some((path, labels)) = labels {
            write_labels(path, labels)?;
        }
        let rate = n as f64 / seconds.max(1e-9);
        self.json.println(&format!("{:<12}{rate:.1} images a second", "speed"))?;
        let images = plural(n as u64, "image");
        self.json.println(&format!(
            "{:<12}{}: {images}, float32 [{}, {nz}]",
            "written",
            out.display(),
            grouped(n as u64)
        ))?;
        let shown = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        self.json.report(&Report {
            data: source.description(),
            images: n,
            nz,
            unreadable: Unreadable::all(skipped),
            latents: out.display().to_string(),
            deviations: shown(&self.deviations),
            names: shown(&self.names),
            labels: shown(&self.labels),
        })
    }
}

/// A name on one line, whatever it contains.
fn line(name: &str) -> String {
    let one = |c: char| if c.is_control() { c.escape_default().collect() } else { c.to_string() };
    name.chars().map(one).chain(["\n".into()]).collect()
}
