//! `dcgan forget`: makes a generator stop drawing what boxes on its samples mark.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use crate::error::{Error, Result};
use crate::experiments::forget::marks::{Marks, Rect};
use crate::experiments::forget::{Examples, change, chosen, drawn, levels, maps_of, without};
use crate::features::FeatureLayer;
use crate::files;
use crate::human::plural;
use crate::model::names::average_of;
use crate::model::sampler::BATCH;
use crate::model::{Generator, ModelFile, Sampler, save_imported};
use crate::shell::quoted;
use crate::tensor::Tensor;

use super::drawing::inputs;
use super::filters::no_layer;
use super::flags::at_least;
use super::latents::{ModelFlags, named, note_of_batch, warn_of_batches};
use super::output::{println, tell};
use super::points::{Locator, Point, Points, rows};

mod draw;
mod page;

const EXAMPLES: &str = "\
Examples:
  dcgan forget runs/00000-fast-faces-64 --page marks.html   # draw boxes, save them
  dcgan forget runs/00000-fast-faces-64 --mark marks.json --out forget.png

marks.json names samples by their seed (or by a row of latents, z.npy:2) and lists the boxes on each
as [x, y, width, height] in pixels; a sample with an empty list shows no such object:
  {\"boxes\": {\"3\": [[10, 4, 12, 16], [40, 8, 9, 9]], \"17\": []}}";

/// Make a generator stop drawing an object that is marked by boxes on some of its samples
///
/// A logistic regression learns from the boxes which feature maps of a hidden layer represent the
/// object: each position of the layer is an example, inside or outside a box. The maps with
/// positive weight are then set to zero everywhere (section 6.3 of the paper). The figure shows the
/// marked samples and fresh ones before and after, and with as many random maps dropped.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Forget {
    #[command(flatten)]
    model: ModelFlags,
    /// Write a web page for drawing boxes with the mouse; it works offline
    #[arg(long, value_name = "FILE.html", conflicts_with = "mark")]
    page: Option<PathBuf>,
    /// File with the boxes
    #[arg(long, value_name = "FILE.json", required_unless_present = "page")]
    mark: Option<PathBuf>,
    /// Samples: seeds, rows of files of latents (z.npy, z.npy:2), or, if the model has an encoder,
    /// reconstructions of images (a.png). With --page, those to mark [default: 0-63]; with --mark,
    /// fresh ones to show [default: 1000-1015]
    #[arg(long, value_name = "LIST", allow_hyphen_values = true)]
    seeds: Option<Points>,
    /// The hidden convolution whose maps are dropped, numbered from 1 at the latent [default: the
    /// second to last]
    #[arg(long, value_name = "N", conflicts_with = "page")]
    layer: Option<u64>,
    /// Drop maps with a weight above this; maps are first scaled to standard deviation 1
    #[arg(
        long,
        value_name = "WEIGHT",
        default_value_t = 0.0,
        allow_negative_numbers = true,
        conflicts_with = "page"
    )]
    threshold: f64,
    /// Drop at most N maps, those with the largest weights: fewer leave more of the rest unchanged
    /// [default: all above --threshold]
    #[arg(long, value_name = "N", value_parser = at_least(1), conflicts_with = "page")]
    at_most: Option<usize>,
    /// L2 penalty of the regression: half of this times the sum of squared weights
    #[arg(long, value_name = "LAMBDA", default_value_t = 0.03, conflicts_with = "page")]
    penalty: f64,
    /// Number of marked samples in the figure
    #[arg(
        long,
        value_name = "N",
        default_value_t = 8,
        value_parser = at_least(1),
        conflicts_with = "page"
    )]
    shown: usize,
    /// Random seed of the maps dropped for comparison
    #[arg(long, value_name = "N", default_value_t = 0, conflicts_with = "page")]
    seed: u64,
    /// The figure to write [default: forget.png]
    #[arg(long, value_name = "FILE.png", conflicts_with = "page")]
    out: Option<PathBuf>,
    /// All results, as JSON [default: the figure's name with extension json]
    #[arg(long, value_name = "FILE.json", conflicts_with = "page")]
    report: Option<PathBuf>,
    /// Also write the generator without the dropped maps, as a model for all other commands
    #[arg(long, value_name = "FILE.safetensors", conflicts_with = "page")]
    save: Option<PathBuf>,
}

/// Why conditional generators are not supported.
const TOLD: &str = "at every layer, and what a map represents may depend on them; use a model \
                    that was trained without --conditional";

/// Accuracy of the regression on positions.
#[derive(Clone, Copy, Debug, Serialize)]
struct Right {
    inside: f64,
    outside: f64,
    /// The mean of both.
    balanced: f64,
}

impl From<[f64; 2]> for Right {
    fn from([outside, inside]: [f64; 2]) -> Self {
        Self { inside, outside, balanced: (inside + outside) / 2.0 }
    }
}

/// Mean absolute change of pixels, in levels of 0 to 255.
#[derive(Clone, Copy, Debug, Serialize)]
struct Change {
    inside: f64,
    outside: f64,
}

impl From<[f64; 2]> for Change {
    fn from([outside, inside]: [f64; 2]) -> Self {
        Self { inside, outside }
    }
}

/// All results of the experiment.
#[derive(Clone, Debug, Serialize)]
struct Report {
    model: String,
    /// From 1 at the latent.
    layer: usize,
    /// Rows, columns and maps of the layer.
    size: [usize; 3],
    samples: usize,
    boxes: usize,
    positions: usize,
    positions_inside: usize,
    penalty: f64,
    /// On the positions learned from.
    learned: Right,
    /// On positions of held-out samples, a fifth at a time; `None` if there are too few.
    held_out: Option<Right>,
    threshold: f64,
    /// The maps dropped, the largest weight first.
    dropped: Vec<usize>,
    /// The maps dropped for comparison.
    control: Vec<usize>,
    change: Change,
    change_of_control: Change,
    /// The weight of each map, scaled to standard deviation 1.
    weights: Vec<f64>,
}

/// Samples of three generators: unchanged, without the dropped maps, and without the control's.
#[derive(Clone, Debug)]
struct Samples {
    names: Vec<String>,
    images: [Tensor; 3],
}

/// What the figure shows of the marked samples beside their images.
#[derive(Clone, Debug)]
struct Marked {
    boxes: Vec<Vec<Rect>>,
    /// How likely each position is inside, `[samples, rows, columns]`.
    probabilities: Vec<f64>,
}

impl Forget {
    pub(super) fn run(&self) -> Result<()> {
        match (&self.page, &self.mark) {
            (Some(path), _) => self.write_page(path),
            (None, Some(path)) => self.forget(path),
            (None, None) => Err(Error::flag("--mark", "is needed; --page makes a page for it")),
        }
    }

    fn write_page(&self, path: &Path) -> Result<()> {
        named("--page", path, "html")?;
        let model = self.model.load()?;
        model.unconditional(TOLD)?;
        let points = self.points(&model, "0-63")?;
        let images = self.model.generator(&model)?.images(&rows(&points))?;
        let command = format!("dcgan forget {} --mark marks.json", quoted(&self.model.path));
        let described = self.model.describe(&model);
        let page = page::page(&described, &command, &points, &images)?;
        files::write_bytes(path, page.as_bytes())?;
        let samples = plural(points.len() as u64, "sample");
        println(&format!("{:<12}{samples}: {}", "page", path.display()))?;
        println(&format!(
            "{:<12}open it in a browser, draw boxes, save marks.json; then: {command}",
            "next"
        ))
    }

    fn points(&self, model: &ModelFile, otherwise: &str) -> Result<Vec<Point>> {
        let points = match &self.seeds {
            Some(points) => points.clone(),
            None => otherwise.parse().expect("a range of seeds"),
        };
        points.load(&mut Locator::new(&self.model, model), "--seeds")
    }

    fn forget(&self, mark: &Path) -> Result<()> {
        let out = self.out.clone().unwrap_or_else(|| "forget.png".into());
        let out = named("--out", &out, "png")?;
        let report_path = self.report.clone().unwrap_or_else(|| out.with_extension("json"));
        let report_path = named("--report", &report_path, "json")?;
        if report_path == mark {
            return Err(Error::flag(
                "--report",
                "would overwrite the boxes of --mark; name another file",
            ));
        }
        if let Some(path) = &self.save {
            named("--save", path, "safetensors")?;
        }
        if !(self.penalty > 0.0 && self.penalty.is_finite()) {
            let what = format!("{} is not a penalty such as 0.03", self.penalty);
            return Err(Error::flag("--penalty", what));
        }
        let model = self.model.load()?;
        model.unconditional(TOLD)?;
        warn_of_batches(&model)?;
        let (number, level) = self.level(&levels(&model.networks)?)?;
        let size = [model.networks.size.width, model.networks.size.height];
        let marks = Marks::load(mark, size)?;
        let described = self.model.describe(&model);
        if let Some(of) = marks.model.as_ref().filter(|&of| *of != described) {
            tell!("note: the boxes were drawn on samples of {of}, but this is {described}");
        }
        let (points, boxes) = self.marked(mark, &marks, &model)?;
        let fresh = self.points(&model, "1000-1015")?;

        let latents = rows(&points);
        let device = self.model.device.open(false)?;
        note_of_batch(Sampler::batch_for(&model.networks, &device)?, BATCH);
        let draw = |model: &ModelFile, latents: &[f32]| {
            let inputs = inputs(latents, model.networks.nz)?;
            Generator::new(model, &device, self.model.weights())?.images(&inputs)
        };
        let maps = draw(&maps_of(&model, &level)?, &latents)?;
        let lists: Vec<&[Rect]> = boxes.iter().map(Vec::as_slice).collect();
        let examples = Examples::new(&maps, size, &lists)?;
        let [inside, positions] = examples.counts();
        if inside == positions {
            let what = "the boxes cover every position of all samples: there is no outside to learn \
                        from; draw them closer around the object, or list a sample without any";
            return Err(Error::file(mark, what));
        }
        let found = examples.fit(self.penalty);
        let dropped = chosen(&found.weights, self.threshold, self.at_most);
        if dropped.is_empty() {
            let largest = found.weights.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let what = format!(
                "no map has a weight above {}: the largest is {largest:.4}",
                self.threshold
            );
            return Err(Error::flag("--threshold", what));
        }
        let control = drawn(found.weights.len(), dropped.len(), self.seed);
        let probabilities = examples.probabilities(&found);

        let forgetful = without(&model, &level, &dropped)?;
        let randomly = without(&model, &level, &control)?;
        let samples = |points: &[Point]| -> Result<Samples> {
            let latents = rows(points);
            let images =
                [draw(&model, &latents)?, draw(&forgetful, &latents)?, draw(&randomly, &latents)?];
            let names = points.iter().map(|point| point.name.clone()).collect();
            Ok(Samples { names, images })
        };
        let (marked, fresh) = (samples(&points)?, samples(&fresh)?);
        let [before, after, random] = &marked.images;
        let report = Report {
            model: described,
            layer: number,
            size: level.size,
            samples: points.len(),
            boxes: boxes.iter().map(Vec::len).sum(),
            positions,
            positions_inside: inside,
            penalty: self.penalty,
            learned: examples.right(&probabilities).into(),
            held_out: examples.held_out(self.penalty).map(|p| examples.right(&p).into()),
            threshold: self.threshold,
            dropped,
            control,
            change: change(before, after, &lists).into(),
            change_of_control: change(before, random, &lists).into(),
            weights: found.weights,
        };
        let text = serde_json::to_string_pretty(&report).expect("a report is plain data");
        let shown = Marked { boxes, probabilities };
        let figure = draw::figure(&report, &marked, &shown, &fresh, self.shown)?;
        for line in lines(&report) {
            println(&line)?;
        }
        figure.save(out)?;
        println(&format!("{:<12}{}", "figure", out.display()))?;
        files::write_bytes(report_path, text.as_bytes())?;
        println(&format!("{:<12}{}", "numbers", report_path.display()))?;
        match &self.save {
            Some(path) => self.save_model(path, &forgetful, &report),
            None => Ok(()),
        }
    }

    /// The requested layer, with its number.
    fn level(&self, all: &[FeatureLayer]) -> Result<(usize, FeatureLayer)> {
        let number = self.layer.unwrap_or_else(|| all.len().saturating_sub(1).max(1) as u64);
        let level = (number as usize).checked_sub(1).and_then(|i| all.get(i));
        match level {
            Some(level) => Ok((number as usize, *level)),
            None => Err(Error::flag("--layer", no_layer(number, all))),
        }
    }

    /// The samples that are marked, with the boxes on each; seeds first, in order.
    fn marked(
        &self,
        path: &Path,
        marks: &Marks,
        model: &ModelFile,
    ) -> Result<(Vec<Point>, Vec<Vec<Rect>>)> {
        let mut names: Vec<&String> = marks.boxes.keys().collect();
        names.sort_by_key(|name| (name.parse::<u64>().unwrap_or(u64::MAX), *name));
        let (mut points, mut boxes) = (Vec::new(), Vec::new());
        let mut locator = Locator::new(&self.model, model);
        for name in names {
            let fail = |what: String| Error::file(path, format!("sample {name:?}: {what}"));
            let point: Points = name.parse().map_err(fail)?;
            let mut loaded = point.load(&mut locator, "--mark")?;
            let (Some(point), true) = (loaded.pop(), loaded.is_empty()) else {
                return Err(fail(
                    "is not one sample; name a seed such as 3, or a row such as z.npy:2".into(),
                ));
            };
            points.push(point);
            boxes.push(marks.boxes[name].clone());
        }
        Ok((points, boxes))
    }

    fn save_model(&self, path: &Path, model: &ModelFile, report: &Report) -> Result<()> {
        let mut model = model.clone();
        let params = model.networks.params();
        // Moments and counters of a training are of no use without the rest of it.
        let kept = |name: &str| params.iter().any(|p| average_of(name).unwrap_or(name) == p.name);
        model.tensors.retain(|name, _| kept(name));
        let source = format!(
            "{}, {} maps of convolution {} dropped",
            report.model,
            report.dropped.len(),
            report.layer
        );
        save_imported(path, &model.networks, &model.tensors, &source)?;
        println(&format!("{:<12}{}", "model", path.display()))
    }
}

/// What is printed.
fn lines(report: &Report) -> Vec<String> {
    let [h, w, c] = report.size;
    let percent = |right: &Right| {
        format!("{:.1} % inside, {:.1} % outside", 100.0 * right.inside, 100.0 * right.outside)
    };
    let held_out = match &report.held_out {
        Some(right) => {
            format!("{}; on samples held out {}", percent(&report.learned), percent(right))
        }
        None => format!("{}; too few samples to hold some out", percent(&report.learned)),
    };
    let changed = |change: &Change| {
        format!("{:.1} levels inside of boxes, {:.1} outside", change.inside, change.outside)
    };
    vec![
        format!("{:<12}{} of the generator: {c} maps of {h}x{w}", "layer", report.layer),
        format!(
            "{:<12}{} on {}: {} of {} positions inside",
            "marks",
            plural(report.boxes as u64, "box"),
            plural(report.samples as u64, "sample"),
            report.positions_inside,
            report.positions
        ),
        format!("{:<12}{held_out}", "right"),
        format!(
            "{:<12}{} of {c} maps: weight above {}",
            "dropped",
            report.dropped.len(),
            report.threshold
        ),
        format!("{:<12}{}", "change", changed(&report.change)),
        format!("{:<12}{}, with as many maps at random", "", changed(&report.change_of_control)),
    ]
}
