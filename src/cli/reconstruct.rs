//! `dcgan reconstruct`: images and their reconstructions by the generator.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::data::{Order, Skipped, Source, sweep};
use crate::error::{Error, Result};
use crate::experiments::reconstruct::Distances;
use crate::human::plural;
use crate::images::figure::{Cell, Figure, Panel};
use crate::images::{single, values};
use crate::model::{Encoder, ModelFile};

use super::bar::Bar;
use super::drawing::{Drawing, cells};
use super::encode::Unreadable;
use super::flags::{JsonFlag, at_least};
use super::latents::{ModelFlags, named, note_of_batch};
use super::output::tell;
use super::reading::PartFlag;

/// Images in a row of the figure.
const ROW: usize = 8;

/// Encode and reconstruct images: a figure of pairs, and how near the reconstructions are
///
/// For models with an encoder, such as those of dcgan train --preset bigan. The distance of an
/// image to its reconstruction G(E(x)) is Euclidean, of pixels in 0 to 1. Its mean (EGr) is
/// compared with the mean distance to the reconstruction of another image (EGr_b): a ratio of 1
/// means that the encoder gives the generator no information about the image.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  dcgan reconstruct runs/00000-bigan-mnist-28 mnist/ --part test \
                        --out reconstructed.png"
)]
pub(super) struct Reconstruct {
    #[command(flatten)]
    model: ModelFlags,
    /// Images, as for `dcgan train` [default: 3,000 bundled avatars]
    #[arg(value_name = "DATA")]
    data: Option<PathBuf>,
    #[command(flatten)]
    part: PartFlag,
    /// Number of images in the figure
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = at_least(1))]
    count: usize,
    /// Measure the distances over N images [default: 10,000, or all if there are fewer]
    #[arg(long, value_name = "N", value_parser = at_least(1), conflicts_with = "all")]
    images: Option<usize>,
    /// Measure the distances over all images
    #[arg(long)]
    all: bool,
    /// Random seed of the choice of images and their order
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Batch size
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = at_least(1))]
    batch: usize,
    /// The figure to write
    #[arg(long, value_name = "FILE.png", default_value = "reconstructed.png")]
    out: PathBuf,
    #[command(flatten)]
    json: JsonFlag,
}

/// The default number of images to measure.
const USUAL: usize = 10_000;

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report {
    data: String,
    /// Images that were measured.
    images: usize,
    /// Mean distance to an image's own reconstruction, and to that of another image; their ratio.
    distance: Option<f64>,
    distance_other: Option<f64>,
    ratio: Option<f64>,
    /// The images of the figure.
    shown: Vec<Entry>,
    unreadable: Vec<Unreadable>,
    figure: String,
}

#[derive(Clone, Debug, Serialize)]
struct Entry {
    image: String,
    distance: f64,
}

/// What was measured, and what the figure shows.
#[derive(Default)]
struct Found {
    distances: Distances,
    shown: Vec<Entry>,
    /// Images and their reconstructions.
    pairs: Vec<[Cell; 2]>,
    skipped: Vec<Skipped>,
}

impl Reconstruct {
    pub(super) fn run(&self) -> Result<()> {
        let out = named("--out", &self.out, "png")?;
        let model = self.model.load()?;
        model.encoder()?;
        let source = self.part.open(self.data.as_deref())?;
        let device = self.model.device.open(false)?;
        let mut encoder = Encoder::new(&model, &device, self.model.weights(), self.batch)?;
        note_of_batch(encoder.batch(), self.batch);
        let mut generator = self.model.generator(&model)?;
        self.json.println(&format!("{:<12}{}", "data", source.description()))?;

        let found = self.measure(&source, &model, &mut encoder, &mut generator)?;
        for skipped in &found.skipped {
            tell!("unreadable, left out: {skipped}");
        }
        let images = found.distances.each().len();
        if images == 0 {
            return Err(Error::file(
                source.origin(),
                "none of the images that were taken can be read",
            ));
        }
        for (name, text) in lines(&found.distances) {
            self.json.println(&format!("{name:<12}{text}"))?;
        }
        self.figure(&model, &source, &found).save(out)?;
        self.json.println(&format!("{:<12}{}", "figure", out.display()))?;
        self.json.report(&Report {
            data: source.description(),
            images,
            distance: found.distances.own(),
            distance_other: found.distances.other(),
            ratio: found.distances.ratio(),
            shown: found.shown,
            unreadable: Unreadable::all(found.skipped),
            figure: out.display().to_string(),
        })
    }

    fn measure(
        &self,
        source: &Source,
        model: &ModelFile,
        encoder: &mut Encoder,
        generator: &mut Drawing,
    ) -> Result<Found> {
        // Neighbors in a set are often alike, so the other image would hardly differ.
        let order = Order { seed: self.seed, count: source.len(), batch: 1 };
        let mut items = order.shuffled(0);
        let wanted = if self.all { usize::MAX } else { self.images.unwrap_or(USUAL) };
        items.truncate(wanted);
        let numbers = model.prepare.len();
        let size = model.networks.size;
        let shape = [1, size.height, size.width, model.networks.channels];
        let bar = Bar::new(items.len(), "images");
        let mut found = Found::default();
        let batch = encoder.batch();
        found.skipped = sweep(source, &model.prepare, &items, batch, |chunk| {
            if chunk.places.is_empty() {
                bar.add(chunk.len);
                return Ok(());
            }
            let latents = encoder.latents(&chunk.images)?;
            let images = values(&chunk.images);
            let made = generator.images(latents.f32s())?;
            let before = found.distances.each().len();
            found.distances.add(&images, made.f32s(), numbers);
            let missing = self.count.saturating_sub(found.pairs.len());
            let again = cells(&made)?;
            let each = chunk.places.iter().zip(images.chunks(numbers)).zip(again);
            for (i, ((&place, image), again)) in each.take(missing).enumerate() {
                let distance = found.distances.each()[before + i];
                let image = Cell::new(single(image, shape, 0)?);
                found.pairs.push([image, again.caption(format!("{distance:.2}"))]);
                let item = items[chunk.start + place] as usize;
                found.shown.push(Entry { image: source.item_name(item), distance });
            }
            bar.add(chunk.len);
            Ok(())
        })?;
        bar.finish();
        Ok(found)
    }

    fn figure(&self, model: &ModelFile, source: &Source, found: &Found) -> Figure {
        let mut figure = Figure::new("Images and their reconstructions").note(format!(
            "{}; {}.",
            self.model.describe(model),
            source.description()
        ));
        for (name, text) in lines(&found.distances) {
            figure = figure.note(format!("{name}: {text}."));
        }
        figure = figure.note("Numbers: the distance of an image to its reconstruction.");
        for pairs in found.pairs.chunks(ROW) {
            let row = |i: usize| pairs.iter().map(move |pair| pair[i].clone());
            figure = figure.panel(Panel::new("").row("x", row(0)).row("G(E(x))", row(1)));
        }
        figure
    }
}

/// The distances as text.
fn lines(distances: &Distances) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    let images = plural(distances.each().len() as u64, "image");
    if let Some(own) = distances.own() {
        lines.push((
            "EGr",
            format!("{own:.4}, the mean distance of {images} to their reconstructions"),
        ));
    }
    if let Some(other) = distances.other() {
        lines.push(("EGr_b", format!("{other:.4}, that to the reconstruction of another image")));
    }
    if let Some(ratio) = distances.ratio() {
        let what = "EGr / EGr_b; 1 if the latent holds nothing of the image";
        lines.push(("ratio", format!("{ratio:.4}, {what}")));
    }
    lines
}
