//! `dcgan nn-score`: the error of a nearest-neighbor classifier that knows only generated images.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use crate::data::{Part, Prepare, Source, sweep};
use crate::device::host::afford;
use crate::error::{Error, Result};
use crate::experiments::one_nn::{Errors, OneNn, draw, milestones};
use crate::human::grouped;
use crate::images::figure::{Figure, Panel};
use crate::model::sampler::BATCH;
use crate::model::{Generator, Inputs, ModelFile, Networks, Weights};
use crate::tensor::Tensor;

use super::bar::Bar;
use super::drawing::cells;
use super::features::{Fit, labels_of};
use super::flags::{DeviceFlag, JsonFlag, at_least};
use super::latents::{describe, named, note_of_batch, open_model};
use super::output::{Align, table, tell};
use super::reading::{ClassFlag, LabelFlags};

/// Score a conditional generator: the test error of a nearest-neighbor classifier that knows only
/// generated images, compared with one that knows real images
///
/// Every test image gets the class of the generated image nearest to it, by Euclidean distance of
/// pixels, as in the DCGAN paper's appendix on MNIST. A generator that covers each class faithfully
/// and fully gives an error no higher than the same number of real images.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  dcgan nn-score runs/00000-cgan-mnist-28 --train mnist/ \
                        --per-class 5000")]
pub(super) struct NnScore {
    /// A run's folder (its newest checkpoint) or a checkpoint, trained with --conditional
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// The real labeled images to compare with, as for `dcgan train`; only the training part, if
    /// there is also a test part
    #[arg(long, value_name = "LABELLED")]
    train: PathBuf,
    /// Labeled images to classify; only the test part, if there is also a training part
    /// [default: the test part of --train]
    #[arg(long, value_name = "LABELLED")]
    test: Option<PathBuf>,
    /// Number of images to generate for each class, and maximum number of real ones
    #[arg(long, value_name = "N", default_value_t = 5000, value_parser = at_least(1))]
    per_class: usize,
    /// Seed of the first image, in the class that `dcgan sample` gives it; also selects the real
    /// images
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Use the weights of the last step, not their moving average (EMA)
    #[arg(long)]
    raw: bool,
    /// Where to draw some of the generated images of each class
    #[arg(long, value_name = "FILE.png", default_value = "nn-score.png")]
    out: PathBuf,
    #[command(flatten)]
    class: ClassFlag,
    #[command(flatten)]
    json: JsonFlag,
    #[command(flatten)]
    fit: Fit,
    #[command(flatten)]
    device: DeviceFlag,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report<'a> {
    real: String,
    test: String,
    /// With increasing numbers of examples.
    results: Vec<Entry>,
    /// With all examples, class by class.
    classes: Vec<ClassEntry<'a>>,
    figure: String,
}

#[derive(Debug, Serialize)]
struct Entry {
    /// Generated examples of each class.
    per_class: usize,
    /// The test error of a classifier that knows those.
    generated_error: f64,
    /// Real examples, and the same of them.
    real_examples: usize,
    real_error: f64,
}

#[derive(Debug, Serialize)]
struct ClassEntry<'a> {
    name: &'a str,
    test_images: usize,
    generated_error: f64,
    real_error: f64,
}

impl<'a> Report<'a> {
    fn new(sets: &Sets, rows: &[Row], networks: &'a Networks, figure: &Path) -> Self {
        let entry = |row: &Row| Entry {
            per_class: row.per_class,
            generated_error: row.generated.share(),
            real_examples: row.real.0,
            real_error: row.real.1.share(),
        };
        let classes = rows.last().into_iter().flat_map(|row| {
            networks.classes.iter().enumerate().map(|(class, name)| ClassEntry {
                name,
                test_images: row.generated.images[class],
                generated_error: row.generated.of_class(class),
                real_error: row.real.1.of_class(class),
            })
        });
        Self {
            real: sets.train.description(),
            test: sets.test.description(),
            results: rows.iter().map(entry).collect(),
            classes: classes.collect(),
            figure: figure.display().to_string(),
        }
    }
}

/// The most images generated and read at a time, and the bytes that they take as floats.
const CHUNK: usize = 1024;
const CHUNK_BYTES: usize = 1 << 28;

/// How many images of this many values are taken at a time.
fn chunk(numbers: usize) -> usize {
    (CHUNK_BYTES / (4 * numbers.max(1))).clamp(1, CHUNK)
}

/// Images of each class in the figure.
const SHOWN: usize = 12;

/// One line of the result.
struct Row {
    per_class: usize,
    generated: Errors,
    /// Real examples, and their errors.
    real: (usize, Errors),
}

/// What is classified, and by what.
struct Sets {
    train: Source,
    train_labels: Vec<u32>,
    test: Source,
    test_labels: Vec<u32>,
    prepare: Prepare,
}

/// The labels of a source in the numbering of the model.
fn model_labels(source: &Source, networks: &Networks) -> Result<Vec<u32>> {
    numbered_as(source, &networks.classes, || networks.list_classes())
}

/// The labels of a source in the numbering of `classes`, which `list` puts in words.
pub(super) fn numbered_as(
    source: &Source,
    classes: &[String],
    list: impl Fn() -> String,
) -> Result<Vec<u32>> {
    let labels = labels_of(source)?;
    let number = |class: &String| {
        let place = classes.iter().position(|known| known == class);
        place.map(|place| place as u32).ok_or_else(|| {
            let what = format!(
                "has a class {class:?} that the model was not trained with; its classes are {}",
                list()
            );
            Error::file(source.origin(), what)
        })
    };
    let numbers = source.classes().iter().map(number).collect::<Result<Vec<u32>>>()?;
    Ok(labels.iter().map(|&label| numbers[label as usize]).collect())
}

/// Bytes as values from 0 to 1.
fn unit(bytes: &[u8]) -> impl Iterator<Item = f32> + '_ {
    bytes.iter().map(|&b| f32::from(b) / 255.0)
}

impl NnScore {
    pub(super) fn run(&self) -> Result<()> {
        let out = named("--out", &self.out, "png")?;
        let model = open_model(&self.model)?;
        model.generator()?;
        if !model.networks.is_conditional() {
            let what = "was trained without classes, so its images have none; train a model with \
                        dcgan train --conditional";
            return Err(Error::file(&model.path, what));
        }
        let sets = self.sets(&model.networks)?;
        let device = self.device.open(false)?;
        self.json.println(&format!("{:<12}{}", "real", sets.train.description()))?;
        self.json.println(&format!("{:<12}{}", "test", sets.test.description()))?;

        let classes = model.networks.classes.len();
        let stages = milestones(self.per_class);
        let items = draw(&sets.train_labels, classes, &stages, self.seed);
        let real: usize = items.iter().map(Vec::len).sum();
        let bar = Bar::new(sets.test.len() + real + self.per_class * classes, "images");
        let (images, truth) = self.test_images(&sets, &bar)?;
        let width = sets.prepare.len();
        let mut by_generated = OneNn::new(images.clone(), width)?;
        let mut by_real = OneNn::new(images, width)?;
        let mut generator = Generator::new(&model, &device, Weights::raw(self.raw))?;
        note_of_batch(generator.batch(), BATCH);
        let mut rows = Vec::new();
        let mut done = 0;
        for (&per_class, items) in stages.iter().zip(&items) {
            self.learn_generated(
                &mut by_generated,
                &mut generator,
                &model.networks,
                done * classes..per_class * classes,
                &bar,
            )?;
            learn_real(&mut by_real, &sets, items, &bar)?;
            done = per_class;
            rows.push(Row {
                per_class,
                generated: by_generated.errors(&truth, classes),
                real: (by_real.examples(), by_real.errors(&truth, classes)),
            });
        }
        bar.finish();
        let by_class = by_class(&rows, &model.networks);
        self.json.print(&format!("\n{}\n{by_class}", results(&rows, classes)))?;
        self.figure(&mut generator, &model, &rows)?.save(out)?;
        self.json.println(&format!("\n{:<12}{}", "figure", out.display()))?;
        self.json.report(&Report::new(&sets, &rows, &model.networks, out))
    }

    fn sets(&self, networks: &Networks) -> Result<Sets> {
        let train = self.class.open(&self.train, Part::Train, &LabelFlags::default())?;
        let test = match &self.test {
            Some(test) => self.class.open(test, Part::Test, &LabelFlags::default())?,
            None => self
                .class
                .open_test(&self.train)
                .map_err(|_| Error::flag("--test", "is needed: --train has no test part"))?,
        };
        let same_place = self.test.as_ref().is_none_or(|test| *test == self.train);
        if same_place && train.fingerprint() == test.fingerprint() && train.len() == test.len() {
            let what = "holds the images of --train: each would be its own nearest neighbor";
            return Err(Error::flag("--test", what));
        }
        let train_labels = model_labels(&train, networks)?;
        let test_labels = model_labels(&test, networks)?;
        let prepare = self.fit.prepare(networks)?;
        Ok(Sets { train, train_labels, test, test_labels, prepare })
    }

    /// The readable test images, from 0 to 1, with their labels.
    fn test_images(&self, sets: &Sets, bar: &Bar) -> Result<(Vec<f32>, Vec<u32>)> {
        let items: Vec<u32> = (0..sets.test.len() as u32).collect();
        // Twice: to be compared with generated images and with real ones.
        let bytes = (sets.test.len() as u64).saturating_mul(8 * sets.prepare.len() as u64);
        afford(bytes, &format!("{} test images", sets.test.len()))?;
        let (mut images, mut truth) = (Vec::new(), Vec::new());
        let chunk = chunk(sets.prepare.len());
        let skipped = sweep(&sets.test, &sets.prepare, &items, chunk, |chunk| {
            images.extend(unit(&chunk.images));
            truth.extend(chunk.places.iter().map(|place| sets.test_labels[chunk.start + place]));
            bar.add(chunk.len);
            Ok(())
        })?;
        for skipped in &skipped {
            tell!("unreadable, left out: {skipped}");
        }
        Ok((images, truth))
    }

    /// Learns the images of the seeds `range`, counted from `--seed`: each of the class that is
    /// its seed's turn.
    fn learn_generated(
        &self,
        nn: &mut OneNn,
        generator: &mut Generator,
        networks: &Networks,
        range: std::ops::Range<usize>,
        bar: &Bar,
    ) -> Result<()> {
        let seeds: Vec<u64> = range.map(|place| self.seed.wrapping_add(place as u64)).collect();
        let numbers = networks.size.height * networks.size.width * networks.channels;
        for seeds in seeds.chunks(chunk(numbers)) {
            let (images, labels) = generate(generator, networks, seeds, |n| bar.add(n))?;
            let numbers: Vec<f32> = images.f32s().iter().map(|x| 0.5 * x + 0.5).collect();
            nn.learn(&numbers, &labels)?;
        }
        Ok(())
    }

    fn figure(&self, generator: &mut Generator, model: &ModelFile, rows: &[Row]) -> Result<Figure> {
        let networks = &model.networks;
        let classes = networks.classes.len() as u64;
        let first = self.seed - self.seed % classes;
        let shown = SHOWN.min(self.per_class) as u64;
        let mut figure = Figure::new("Generated images by class");
        let mut panel = Panel::new("");
        if let Some(row) = rows.last() {
            figure = figure.note(format!(
                "{}. A nearest-neighbor classifier that knows {} images of each class errs on \
                 {:.2} % of the test images; with {} real ones, on {:.2} %.",
                describe(&self.model, model),
                grouped(row.per_class as u64),
                100.0 * row.generated.share(),
                grouped(row.real.0 as u64),
                100.0 * row.real.1.share(),
            ));
            for (class, name) in networks.classes.iter().enumerate() {
                // Those whose turn is this class.
                let seed = |i: u64| first.wrapping_add(i * classes + class as u64);
                let seeds: Vec<u64> = (0..shown).map(seed).collect();
                let (images, _) = generate(generator, networks, &seeds, |_| ())?;
                let label = format!("{name}\nerror {:.1} %", 100.0 * row.generated.of_class(class));
                panel = panel.row(label, cells(&images)?);
            }
        }
        Ok(figure.panel(panel))
    }
}

/// Images of seeds, each of the class that `dcgan sample` gives it, and these classes.
fn generate(
    generator: &mut Generator,
    networks: &Networks,
    seeds: &[u64],
    done: impl FnMut(usize),
) -> Result<(Tensor, Vec<u32>)> {
    let classes = networks.classes.len() as u64;
    let labels: Vec<u32> = seeds.iter().map(|seed| (seed % classes) as u32).collect();
    Ok((generator.images_with(&Inputs::seeds(seeds.to_vec()), done)?, labels))
}

/// Learns real images.
fn learn_real(nn: &mut OneNn, sets: &Sets, items: &[u32], bar: &Bar) -> Result<()> {
    sweep(&sets.train, &sets.prepare, items, chunk(sets.prepare.len()), |chunk| {
        let numbers: Vec<f32> = unit(&chunk.images).collect();
        let label = |place: &usize| sets.train_labels[items[chunk.start + place] as usize];
        let labels: Vec<u32> = chunk.places.iter().map(label).collect();
        bar.add(chunk.len);
        nn.learn(&numbers, &labels)
    })
    .map(drop)
}

fn percent(share: f64) -> String {
    format!("{:.2}", 100.0 * share)
}

fn results(rows: &[Row], classes: usize) -> String {
    let head = ["examples", "of each class", "generated: error, %", "real ones", "error, %"];
    let mut lines = vec![head.map(str::to_owned).to_vec()];
    for row in rows {
        lines.push(vec![
            grouped((row.per_class * classes) as u64),
            grouped(row.per_class as u64),
            percent(row.generated.share()),
            grouped(row.real.0 as u64),
            percent(row.real.1.share()),
        ]);
    }
    table(&[Align::Right; 5], &lines)
}

/// The errors of every class with all examples.
fn by_class(rows: &[Row], networks: &Networks) -> String {
    let Some(row) = rows.last() else { return String::new() };
    let head = ["class", "test images", "generated: error, %", "real: error, %"];
    let mut lines = vec![head.map(str::to_owned).to_vec()];
    for (class, name) in networks.classes.iter().enumerate() {
        lines.push(vec![
            name.clone(),
            grouped(row.generated.images[class] as u64),
            percent(row.generated.of_class(class)),
            percent(row.real.1.of_class(class)),
        ]);
    }
    let right = Align::Right;
    table(&[Align::Left, right, right, right], &lines)
}
