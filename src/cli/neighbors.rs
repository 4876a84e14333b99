//! `dcgan neighbors`: the training images nearest to samples.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use crate::data::{Prepare, Source};
use crate::device::State;
use crate::device::host::afford;
use crate::error::Result;
use crate::experiments;
use crate::experiments::neighbors::{Nearest, Query, find, median_distance, probes};
use crate::features::{Extractor, paired};
use crate::images::figure::{Cell, Figure, Panel};
use crate::images::{bytes, single, values};
use crate::model::{Condition, Generator, ModelFile, Role};
use crate::tensor::Tensor;

use super::bar::Bar;
use super::drawing::inputs;
use super::features::{Fit, calibrate};
use super::flags::{JsonFlag, at_least};
use super::latents::{ModelFlags, named, note_of_batch};
use super::output::tell;
use super::points::{Locator, Point, Points, TruncationFlag, rows};
use super::reading::PartFlag;

/// Training images that the figure shows with their neighbors, for comparison.
const SHOWN: usize = 3;

/// Find the training images nearest to samples: does the model generate or memorize?
///
/// Nearest by pixels and, if the model has a discriminator, by its features. Some training
/// images are looked up too, each excluding itself: samples much nearer to the set than its own
/// images are to one another have been memorized.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  dcgan neighbors runs/00000-fast-faces-64 faces/ --seeds 0-9")]
pub(super) struct Neighbors {
    #[command(flatten)]
    model: ModelFlags,
    /// The images that the model was trained on, as for `dcgan train` [default: 3,000 bundled
    /// avatars]
    #[arg(value_name = "DATA")]
    data: Option<PathBuf>,
    #[command(flatten)]
    part: PartFlag,
    /// Samples: seeds, rows of files of latents (z.npy, z.npy:2), or, if the model has an encoder,
    /// reconstructions of images (a.png)
    #[arg(long, value_name = "LIST", default_value = "0-7", allow_hyphen_values = true)]
    seeds: Points,
    #[command(flatten)]
    truncation: TruncationFlag,
    /// Number of neighbors for each sample
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = at_least(1))]
    count: usize,
    /// Batch size
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = at_least(1))]
    batch: usize,
    /// Random seed of the training images looked up for comparison
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// The figure to write
    #[arg(long, value_name = "FILE.png", default_value = "neighbors.png")]
    out: PathBuf,
    #[command(flatten)]
    json: JsonFlag,
    #[command(flatten)]
    fit: Fit,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report<'a> {
    data: String,
    samples: Vec<Entry<'a>>,
    /// Distances of samples to the nearest training image, of pixels in levels of 0 to 255.
    pixels: Medians,
    /// The same for D's features, in their own units.
    features: Medians,
    figure: String,
}

#[derive(Debug, Serialize)]
struct Entry<'a> {
    /// `seed 3`, `faces.npy:2`.
    sample: &'a str,
    /// The class in which it was drawn.
    class: Option<&'a str>,
    /// The nearest training images, the nearest first.
    by_pixels: Vec<NearEntry>,
    by_features: Vec<NearEntry>,
}

#[derive(Debug, Serialize)]
struct NearEntry {
    image: String,
    distance: f32,
}

/// Median distances to the nearest training image.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Medians {
    samples: Option<f32>,
    /// Of training images themselves, each to the nearest other one.
    training: Option<f32>,
}

impl Medians {
    /// Medians of the first `samples` queries and of the others.
    fn of(nearest: &[Nearest], samples: usize) -> Self {
        let (own, others) = nearest.split_at(samples.min(nearest.len()));
        Self { samples: median_distance(own), training: median_distance(others) }
    }

    /// As text, with this many decimals.
    fn text(self, decimals: usize) -> Option<String> {
        let own = self.samples?;
        Some(match self.training {
            Some(others) => format!(
                "median distance {own:.decimals$} of samples to the nearest training image, \
                 {others:.decimals$} of training images to the nearest other one"
            ),
            None => format!("median distance {own:.decimals$} of samples to the nearest"),
        })
    }
}

/// What is drawn: queries, the names of those that are samples, and what was found.
struct Look<'a> {
    source: &'a Source,
    prepare: &'a Prepare,
    queries: &'a [Query],
    names: Vec<String>,
    found: &'a experiments::neighbors::Neighbors,
}

impl Neighbors {
    pub(super) fn run(&self) -> Result<()> {
        let out = named("--out", &self.out, "png")?;
        let model = self.model.load()?;
        let prepare = self.fit.prepare(&model.networks)?;
        let points = self
            .seeds
            .load(&mut Locator::new(&self.model, &model).truncated(self.truncation), "--seeds")?;
        let conditions = self.model.conditions(&model, &points)?;
        let mut generator = self.model.generator_of_all(&model)?;
        let source = self.part.open(self.data.as_deref())?;
        self.json.println(&format!("{:<12}{}", "data", source.description()))?;

        let mut queries = samples(&mut generator, &points, &conditions)?;
        drop(generator);
        queries.extend(probes(&source, &prepare, self.seed));
        let mut features = self.extractor(&model, &source, &prepare)?;
        let features = features.as_mut().map(|(extractor, state)| (extractor, state));
        let batch = match &features {
            Some((extractor, _)) => extractor.batch(),
            None => {
                let bytes = (self.batch as u64).saturating_mul(prepare.len() as u64);
                afford(bytes, &format!("{} images at a time", self.batch))?;
                self.batch
            }
        };
        let bar = Bar::new(source.len(), "images");
        let found = find(&source, &prepare, &queries, self.count, batch, features, |n| bar.add(n))?;
        bar.finish();
        for skipped in &found.skipped {
            tell!("unreadable, left out: {skipped}");
        }

        let condition = |i: usize| match &conditions[i] {
            Condition::None => None,
            Condition::Class(class) => Some(model.networks.classes[*class as usize].as_str()),
            Condition::Text(text) => Some(text.as_str()),
        };
        let name = |(i, point): (usize, &Point)| match condition(i) {
            Some(class) => format!("{}\n{class}", point.name),
            None => point.name.clone(),
        };
        let names = points.iter().enumerate().map(name).collect();
        let look =
            Look { source: &source, prepare: &prepare, queries: &queries, names, found: &found };
        let medians = look.medians(points.len());
        for (by, text) in &medians {
            self.json.println(&format!("{by:<12}{text}"))?;
        }
        self.figure(&model, &look, points.len(), &medians)?.save(out)?;
        self.json.println(&format!("{:<12}{}", "figure", out.display()))?;
        self.json.report(&look.report(out))
    }

    /// The model's discriminator, where it has one.
    fn extractor(
        &self,
        model: &ModelFile,
        source: &Source,
        prepare: &Prepare,
    ) -> Result<Option<(Extractor, State)>> {
        if !model.networks.has(Role::Discriminator) {
            tell!("note: the model has no discriminator: neighbors by pixels alone");
            return Ok(None);
        }
        if model.networks.condition().is_some() {
            let what = if model.networks.has_text() { "texts" } else { "classes" };
            tell!(
                "note: the model's discriminator is conditional, so {what} would decide what is \
                 near: neighbors by pixels alone"
            );
            return Ok(None);
        }
        if let Some(other) = paired(&model.networks) {
            tell!(
                "note: the model's discriminator takes pairs of an image and {other}: neighbors by \
                 pixels alone"
            );
            return Ok(None);
        }
        let mut state = State::new(&self.model.device.open(false)?);
        model.load_discriminator(&mut state, self.model.weights())?;
        let extractor = Extractor::new(&model.networks, &mut state, self.batch)?;
        note_of_batch(extractor.batch(), self.batch);
        calibrate(&extractor, &mut state, source, prepare)?;
        Ok(Some((extractor, state)))
    }

    fn figure(
        &self,
        model: &ModelFile,
        look: &Look<'_>,
        samples: usize,
        medians: &[(&str, String)],
    ) -> Result<Figure> {
        let shown = (samples + SHOWN).min(look.queries.len());
        let mut figure =
            Figure::new("Samples and the training images nearest to them").note(format!(
                "{}; {}.",
                self.truncation.describe(self.model.describe(model)),
                look.source.description()
            ));
        for (by, text) in medians {
            figure = figure.note(format!("By {by}: {text}."));
        }
        figure = figure.note(
            "Numbers: root mean squared difference, of pixels in levels of 0 to 255, of features \
             in their own units.",
        );
        for (heading, range) in
            [("Samples", 0..samples), ("Training images, for comparison", samples..shown)]
        {
            if range.is_empty() {
                continue;
            }
            let mut own = Panel::new(heading);
            let mut by_pixels = Panel::new("Nearest by pixels");
            let mut by_features = Panel::new("Nearest by D's features");
            for i in range {
                let label = look.names.get(i).map_or("", String::as_str);
                own = own.row(label, [look.cell(&look.queries[i].image)?]);
                by_pixels = by_pixels.row("", look.cells(&look.found.by_pixels[i], 1)?);
                if let Some(nearest) = look.found.by_features.get(i) {
                    by_features = by_features.row("", look.cells(nearest, 3)?);
                }
            }
            figure = figure.panel(own).beside(by_pixels);
            if !look.found.by_features.is_empty() {
                figure = figure.beside(by_features);
            }
        }
        Ok(figure)
    }
}

/// The images of latents, as bytes.
fn samples(
    generator: &mut Generator,
    points: &[Point],
    conditions: &[Condition],
) -> Result<Vec<Query>> {
    let networks = generator.networks();
    let inputs = inputs(&rows(points), networks.nz)?;
    let mut given = Vec::new();
    for condition in conditions {
        let row = condition.rows(1, networks)?;
        given.extend(row.iter().flat_map(|(_, row)| row.f32s().iter().copied()));
    }
    let inputs = match networks.condition() {
        None => inputs,
        Some((_, width)) => {
            let given = Tensor::new([conditions.len(), width], given)?;
            if networks.has_text() {
                inputs.of_vectors(given)
            } else {
                inputs.of_mixtures(given)?
            }
        }
    };
    let images = generator.images(&inputs)?;
    let each = images.f32s().chunks(images.len() / points.len());
    Ok(each.map(|image| Query { image: bytes(image), item: None }).collect())
}

impl Look<'_> {
    /// Bytes `[h, w, c]` as a cell.
    fn cell(&self, image: &[u8]) -> Result<Cell> {
        let Prepare { height, width, channels, .. } = *self.prepare;
        Ok(Cell::new(single(&values(image), [1, height, width, channels], 0)?))
    }

    /// Neighbors with their distances, to this many decimals.
    fn cells(&self, nearest: &Nearest, decimals: usize) -> Result<Vec<Cell>> {
        let cell = |near: &experiments::neighbors::Near| {
            let caption = format!("{:.decimals$}", near.distance);
            // An image that has been deleted since it was read leaves its place empty.
            let image = self.source.prepared(near.item as usize, self.prepare).ok();
            Ok(image.map_or(Ok(Cell::empty()), |p| self.cell(&p))?.caption(caption))
        };
        nearest.iter().map(cell).collect()
    }

    /// How near samples are, and training images themselves, in words.
    fn medians(&self, samples: usize) -> Vec<(&'static str, String)> {
        let line = |what, nearest: &[Nearest], decimals| {
            Some((what, Medians::of(nearest, samples).text(decimals)?))
        };
        let lines = [
            line("pixels", &self.found.by_pixels, 1),
            line("features", &self.found.by_features, 3),
        ];
        lines.into_iter().flatten().collect()
    }

    fn report(&self, figure: &Path) -> Report<'_> {
        let near = |near: &experiments::neighbors::Near| NearEntry {
            image: self.source.item_name(near.item as usize),
            distance: near.distance,
        };
        let of = |all: &[Nearest], i: usize| {
            all.get(i).map_or_else(Vec::new, |nearest| nearest.iter().map(near).collect())
        };
        let samples = self.names.iter().enumerate().map(|(i, sample)| Entry {
            sample: sample.lines().next().unwrap_or_default(),
            class: sample.split_once('\n').map(|(_, class)| class),
            by_pixels: of(&self.found.by_pixels, i),
            by_features: of(&self.found.by_features, i),
        });
        Report {
            data: self.source.description(),
            samples: samples.collect(),
            pixels: Medians::of(&self.found.by_pixels, self.names.len()),
            features: Medians::of(&self.found.by_features, self.names.len()),
            figure: figure.display().to_string(),
        }
    }
}
