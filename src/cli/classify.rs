//! `dcgan classify`: how well the features of a discriminator or an encoder separate classes.

use std::path::PathBuf;

use clap::Args;
use image::{DynamicImage, Rgb, RgbImage};
use serde::Serialize;

use crate::data::{Part, Prepare, Source};
use crate::device::State;
use crate::device::host;
use crate::error::{Error, Result};
use crate::experiments::classify::{CS, Outcome, Split, View, measure, untrained};
use crate::features::{By, Extractor};
use crate::human::{self, grouped};
use crate::images::figure::{Cell, Figure, Panel};
use crate::model::{Networks, Weights};

use super::bar::Bar;
use super::features::{ByFlag, Fit, calibrate, labels_of};
use super::flags::{DeviceFlag, JsonFlag, at_least};
use super::latents::{note_of_batch, open_model};
use super::output::{Align, table, tell};
use super::reading::{ClassFlag, LabelFlags};

/// Classify images by D's features: an L2-SVM on features of the discriminator (or the encoder),
/// compared with raw pixels and the same network untrained
///
/// The features are those of `dcgan features`, scaled to standard deviation 1; the classifiers are
/// linear with a squared hinge loss, one-vs-rest. C is chosen on a fifth of the training images (at
/// most 10,000), which are then trained on too unless --per-class is given.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  dcgan classify runs/00000-dcgan-cifar10-32 --train cifar10.zip \
                        --per-class 400 --trials 5"
)]
pub(super) struct Classify {
    /// A run's folder (its newest checkpoint), a checkpoint, an imported model, or avatars, the bundled
    /// one
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// Labeled images to learn from: one folder per class, CIFAR-10 batches, IDX files; only the
    /// training part, if there is also a test part
    #[arg(long, value_name = "LABELLED")]
    train: PathBuf,
    /// Labeled images of the same classes to test on; only the test part, if there is also a
    /// training part [default: the test part of --train]
    #[arg(long, value_name = "LABELLED")]
    test: Option<PathBuf>,
    #[command(flatten)]
    by: ByFlag,
    /// Learn from N images of each class, drawn again for every trial [default: all]
    #[arg(long, value_name = "N", value_parser = at_least(1))]
    per_class: Option<usize>,
    /// Number of trials
    #[arg(
        long, value_name = "T", default_value_t = 10, requires = "per_class",
        value_parser = at_least(1)
    )]
    trials: usize,
    /// Random seed of the images drawn and held out, and of the untrained network
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Skip raw pixels and the untrained network
    #[arg(long)]
    no_baselines: bool,
    /// Where to draw the confusion matrix of the features
    #[arg(long, value_name = "FILE.png", default_value = "confusion.png")]
    confusion: PathBuf,
    /// Use the weights of the last step, not their moving average (EMA)
    #[arg(long)]
    raw: bool,
    #[command(flatten)]
    class: ClassFlag,
    #[command(flatten)]
    labels: LabelFlags,
    #[command(flatten)]
    json: JsonFlag,
    #[command(flatten)]
    fit: Fit,
    #[command(flatten)]
    device: DeviceFlag,
}

/// Batch size of a discriminator.
const BATCH: usize = 64;

/// Both sets, and what is used of them.
struct Sets {
    train: Source,
    test: Source,
    split: Split,
    /// Labels of the images of `split`.
    train_labels: Vec<u32>,
    /// Labels of the test images in the numbering of the training images.
    test_labels: Vec<u32>,
    prepare: Prepare,
}

/// Where features come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Trained,
    Pixels,
    Untrained,
}

impl Kind {
    const fn name(self, by: By) -> &'static str {
        match (self, by) {
            (Self::Trained, By::Discriminator) => "D's features",
            (Self::Trained, By::Encoder) => "E's features",
            (Self::Trained, By::Latents) => "E's latents",
            (Self::Pixels, _) => "raw pixels",
            (Self::Untrained, By::Discriminator) => "D untrained",
            (Self::Untrained, By::Encoder | By::Latents) => "E untrained",
        }
    }
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report<'a> {
    train: String,
    test: String,
    classes: &'a [String],
    /// By the features first, then by what they are compared with.
    results: Vec<Entry<'a>>,
    /// How many test images of each class (row) the features took for each class (column), over all
    /// trials.
    confusion: &'a [Vec<u64>],
    figure: String,
}

#[derive(Debug, Serialize)]
struct Entry<'a> {
    /// `D's features`, `raw pixels` or `D untrained`; of an encoder `E's features`, `E's latents`, `E
    /// untrained`.
    by: &'static str,
    /// Values per image.
    features: usize,
    c: f32,
    /// The accuracy on held-out images for each C that was tried.
    held_out: &'a [f64],
    /// Images that each trial learned from.
    learned_from: usize,
    /// The test accuracy of each trial, and their mean and standard deviation.
    accuracies: &'a [f64],
    accuracy: f64,
    deviation: Option<f64>,
}

impl<'a> Entry<'a> {
    fn new(by: By, (kind, outcome): &'a (Kind, Outcome)) -> Self {
        Self {
            by: kind.name(by),
            features: outcome.width,
            c: outcome.c,
            held_out: &outcome.held_out,
            learned_from: outcome.learned_from,
            accuracies: &outcome.accuracies,
            accuracy: outcome.mean(),
            deviation: outcome.deviation(),
        }
    }
}

impl Classify {
    pub(super) fn run(&self) -> Result<()> {
        if !self.confusion.extension().is_some_and(|e| e.eq_ignore_ascii_case("png")) {
            let what = format!("{} does not end in .png", self.confusion.display());
            return Err(Error::flag("--confusion", what));
        }
        let model = open_model(&self.model)?;
        let by = self.by.of(&model)?;
        let sets = self.sets(&model.networks)?;
        let device = self.device.open(false)?;
        self.json.println(&format!("{:<12}{}", "train", sets.train.description()))?;
        self.json.println(&format!("{:<12}{}", "test", sets.test.description()))?;

        let kinds: &[Kind] = if self.no_baselines {
            &[Kind::Trained]
        } else {
            &[Kind::Trained, Kind::Pixels, Kind::Untrained]
        };
        let mut outcomes = Vec::new();
        for &kind in kinds {
            let mut state = State::new(&device);
            let outcome = match kind {
                Kind::Pixels => self.outcome(kind.name(by), &sets, View::Pixels)?,
                Kind::Trained => {
                    model.load_own(&mut state, by.role(), Weights::raw(self.raw))?;
                    let mut extractor = Extractor::by(&model.networks, by, &mut state, BATCH)?;
                    note_of_batch(extractor.batch(), BATCH);
                    calibrate(&extractor, &mut state, &sets.train, &sets.prepare)?;
                    let (extractor, state) = (&mut extractor, &mut state);
                    self.outcome(kind.name(by), &sets, View::Features { extractor, state })?
                }
                Kind::Untrained => {
                    let mut extractor = untrained(&model.networks, by, &mut state, self.seed)?;
                    extractor.calibrate(&mut state, &sets.train, &sets.prepare)?;
                    let (extractor, state) = (&mut extractor, &mut state);
                    self.outcome(kind.name(by), &sets, View::Features { extractor, state })?
                }
            };
            outcomes.push((kind, outcome));
        }
        let (_, outcome) = &outcomes[0];
        let confusion = confusion_table(outcome, sets.train.classes());
        self.json.print(&format!("\n{}\n{confusion}", results(by, &outcomes)))?;
        let title = format!("{}, {}", self.model.display(), sets.test.name());
        confusion_figure(by, outcome, sets.train.classes(), &title).save(&self.confusion)?;
        self.json.println(&format!("\n{:<12}{}", "confusion", self.confusion.display()))?;
        self.json.report(&Report {
            train: sets.train.description(),
            test: sets.test.description(),
            classes: sets.train.classes(),
            results: outcomes.iter().map(|outcome| Entry::new(by, outcome)).collect(),
            confusion: &outcome.confusion,
            figure: self.confusion.display().to_string(),
        })
    }

    fn sets(&self, networks: &Networks) -> Result<Sets> {
        let train = self.class.open(&self.train, Part::Train, &self.labels)?;
        let test = match &self.test {
            Some(test) => self.class.open(test, Part::Test, &self.labels)?,
            None => self
                .class
                .open_test(&self.train)
                .map_err(|_| Error::flag("--test", "is needed: --train has no test part"))?,
        };
        let (labels, test_labels) = (labels_of(&train)?, labels_of(&test)?);
        let same_place = self.test.as_ref().is_none_or(|test| *test == self.train);
        if same_place && train.fingerprint() == test.fingerprint() && train.len() == test.len() {
            let what = "holds the images of --train: memorized images would count as right";
            return Err(Error::flag("--test", what));
        }
        let number = |class: &String| {
            train.classes().iter().position(|c| c == class).map(|i| i as u32).ok_or_else(|| {
                let what = format!(
                    "has a class {class:?} that --train lacks; its classes are {}",
                    train.classes().join(", ")
                );
                Error::file(test.origin(), what)
            })
        };
        let numbers = test.classes().iter().map(number).collect::<Result<Vec<u32>>>()?;
        let test_labels = test_labels.iter().map(|&l| numbers[l as usize]).collect();
        let split = Split::draw(labels, train.classes(), self.per_class, self.trials, self.seed)?;
        let train_labels = split.items.iter().map(|&i| labels[i as usize]).collect();
        let prepare = self.fit.prepare(networks)?;
        Ok(Sets { train, test, split, train_labels, test_labels, prepare })
    }

    fn outcome(&self, name: &str, sets: &Sets, mut view: View<'_>) -> Result<Outcome> {
        let (learned, tested) = (sets.split.items.len(), sets.test.len());
        let width = view.width(&sets.prepare);
        let needs = (learned + tested) as u64 * width as u64 * 4;
        if let Some(free) = host::free_memory().filter(|free| needs > free / 10 * 9) {
            let what = format!(
                "{} images of {width} features need {} of memory, and {} are free; take fewer \
                 with --per-class",
                grouped((learned + tested) as u64),
                human::bytes(needs),
                human::bytes(free)
            );
            return Err(Error::Memory(what));
        }
        let bar = Bar::new(learned + tested, "images");
        let items: Vec<u32> = (0..tested as u32).collect();
        let prepare = &sets.prepare;
        let mut train = view.rows(&sets.train, prepare, &sets.split.items, |n| bar.add(n))?;
        let mut test = view.rows(&sets.test, prepare, &items, |n| bar.add(n))?;
        let seconds = bar.finish();
        for skipped in train.skipped.iter().chain(&test.skipped) {
            tell!("unreadable, left out: {skipped}");
        }
        tell!(
            "{name}: {width} values for each of {} images in {}",
            grouped((learned + tested) as u64),
            human::duration(seconds)
        );
        let train = (&mut train, &sets.train_labels[..]);
        let test = (&mut test, &sets.test_labels[..]);
        let classes = sets.train.classes().len();
        measure(&sets.split, train, test, classes, |said| tell!("{name}: {said}"))
    }
}

/// `64.12`, or `64.12 ± 0.40` where there were several trials.
fn percent(outcome: &Outcome) -> String {
    match outcome.deviation() {
        Some(deviation) => format!("{:.2} ± {:.2}", 100.0 * outcome.mean(), 100.0 * deviation),
        None => format!("{:.2}", 100.0 * outcome.mean()),
    }
}

fn results(by: By, outcomes: &[(Kind, Outcome)]) -> String {
    let head = ["", "numbers", "C", "held out, %", "learned from", "trials", "accuracy, %"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for (kind, outcome) in outcomes {
        let best = outcome.held_out.iter().copied().fold(0.0, f64::max);
        rows.push(vec![
            kind.name(by).to_owned(),
            grouped(outcome.width as u64),
            outcome.c.to_string(),
            format!("{:.2}", 100.0 * best),
            grouped(outcome.learned_from as u64),
            outcome.accuracies.len().to_string(),
            percent(outcome),
        ]);
    }
    let mut align = vec![Align::Right; head.len()];
    align[0] = Align::Left;
    let mut text = table(&align, &rows);
    for (kind, outcome) in outcomes {
        let ends = [CS[0], CS[CS.len() - 1]];
        if ends.contains(&outcome.c) {
            text += &format!(
                "note: the C of {} is at an end of the range tried, {} to {}\n",
                kind.name(by),
                ends[0],
                ends[1]
            );
        }
    }
    text
}

/// More classes than this are too many for a table in a terminal.
const TABLE: usize = 20;

/// Shares of every class's images (a row) that were assigned to each class, in percent.
fn shares(outcome: &Outcome) -> Vec<Vec<f64>> {
    let share = |row: &Vec<u64>| {
        let all = row.iter().sum::<u64>().max(1) as f64;
        row.iter().map(|&n| 100.0 * n as f64 / all).collect()
    };
    outcome.confusion.iter().map(share).collect()
}

fn confusion_table(outcome: &Outcome, classes: &[String]) -> String {
    if classes.len() > TABLE {
        return String::new();
    }
    let mut rows = vec![vec!["predicted, %".to_owned()]];
    rows[0].extend((1..=classes.len()).map(|i| i.to_string()));
    for (i, (name, shares)) in classes.iter().zip(shares(outcome)).enumerate() {
        let mut row = vec![format!("{} {name}", i + 1)];
        row.extend(shares.iter().map(|s| format!("{s:.1}")));
        rows.push(row);
    }
    let mut align = vec![Align::Right; classes.len() + 1];
    align[0] = Align::Left;
    table(&align, &rows)
}

/// Pixels of a cell of the confusion matrix.
const CELL: u32 = 44;

fn confusion_figure(by: By, outcome: &Outcome, classes: &[String], title: &str) -> Figure {
    let shade = |share: f64| {
        // From white to blue; right and wrong differ by position.
        let mix = |to: f64| (255.0 + (to - 255.0) * share / 100.0).round() as u8;
        DynamicImage::from(RgbImage::from_pixel(
            CELL,
            CELL,
            Rgb([mix(31.0), mix(104.0), mix(180.0)]),
        ))
    };
    let mut panel = Panel::new("Rows: true classes. Columns: predicted classes. In percent")
        .columns(classes.iter().cloned());
    for (name, shares) in classes.iter().zip(shares(outcome)) {
        let cells = shares.iter().map(|&s| Cell::new(shade(s)).caption(format!("{s:.1}")));
        panel = panel.row(name.clone(), cells);
    }
    let per = match outcome.accuracies.len() {
        1 => String::new(),
        n => format!(", {n} trials"),
    };
    Figure::new(format!("Confusion of classes: {} % right", percent(outcome)))
        .note(format!(
            "{title}. L2-SVM on {} ({} values), C = {}, learned from {} labeled images{per}.",
            Kind::Trained.name(by),
            grouped(outcome.width as u64),
            outcome.c,
            grouped(outcome.learned_from as u64)
        ))
        .enlarge_to(CELL)
        .panel(panel)
}
