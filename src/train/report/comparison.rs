//! Runs side by side: their last metrics, scores, the options that differ, curves, and images of the
//! same seeds; as numbers and as a page.

use std::collections::BTreeSet;
use std::path::Path;

use image::DynamicImage;
use serde::Serialize;
use serde_json::Value;

use crate::error::Result;
use crate::human;
use crate::images;
use crate::model::Folder;
use crate::train::listing::{Listed, listing};
use crate::train::log::{columns, mean};
use crate::train::metrics::{self, Kind};
use crate::train::{Evaluated, LogLine};

use super::album::{Embedded, embed};
use super::chart::{Chart, Series};
use super::{Image, render};

/// The last metrics are means over this share of a log, as single reports differ a lot.
const LAST: usize = 20;

/// A run to compare.
#[derive(Debug)]
pub struct Compared {
    /// Its name, which no other has.
    pub name: String,
    /// Its log.
    pub log: Vec<LogLine>,
    /// Its scores, oldest first.
    pub scores: Vec<Evaluated>,
    /// Its options.
    options: Vec<Listed>,
    /// A grid of images of the same seeds in every run, if they could be made.
    pub samples: Option<DynamicImage>,
    /// What they are of, or why there are none.
    pub about: String,
}

impl Compared {
    /// The run in `folder`, without samples.
    ///
    /// # Errors
    /// [`crate::error::Error::File`] if one of its files cannot be read.
    pub fn open(folder: &Folder) -> Result<Self> {
        let options: Value = folder.options()?;
        let name = folder.path().file_name().unwrap_or(folder.path().as_os_str());
        Ok(Self {
            name: name.to_string_lossy().into_owned(),
            log: folder.log()?,
            scores: folder.scores()?,
            options: listing(&options),
            samples: None,
            about: String::new(),
        })
    }

    /// Its last report.
    fn last(&self) -> Option<&LogLine> {
        self.log.last()
    }

    /// The mean of a number over the end of the log; of a score the last value, as there are few.
    fn at_the_end(&self, name: &str) -> Option<f64> {
        let last = match Kind::of(name) {
            Kind::Score => 1,
            _ => self.log.len().div_ceil(LAST),
        };
        let values = self.log.iter().rev().filter_map(|line| line.number(name));
        mean(values.take(last))
    }

    /// The newest score of this name, and how it was measured.
    fn score(&self, name: &str) -> Option<(f64, String)> {
        let all = self.scores.iter().rev();
        all.filter_map(|scores| {
            let (_, value) = scores.iter().find(|(known, _)| *known == name)?;
            Some((value, scores.protocol(name)))
        })
        .next()
    }
}

/// A number of every run, in their order.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// What it is.
    pub name: String,
    /// `None` where it was not measured.
    pub values: Vec<Option<f64>>,
    /// How the scores were measured, each once.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub protocols: Vec<String>,
}

/// An option of every run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Differing {
    /// Its flag, or its path in `options.json`.
    pub name: String,
    /// Its values, in the order of the runs.
    pub values: Vec<String>,
}

/// What runs have in common and what not.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// Names of the runs.
    pub runs: Vec<String>,
    /// Images seen, seconds of training, and the metrics at the end: means over the last twentieth
    /// of the log, but the last value of a score.
    pub metrics: Vec<Row>,
    /// The newest scores.
    pub scores: Vec<Row>,
    /// The options that differ.
    pub options: Vec<Differing>,
}

impl Comparison {
    /// Compares runs.
    #[must_use]
    pub fn of(runs: &[Compared]) -> Self {
        let mut metrics: Vec<Row> = Vec::new();
        for name in runs.iter().flat_map(|run| columns(&run.log)) {
            if metrics.iter().any(|row| row.name == name) {
                continue;
            }
            let value = |run: &Compared| match name {
                "step" | "images" | "epoch" | "seconds" => run.last()?.number(name),
                _ => run.at_the_end(name),
            };
            let values = runs.iter().map(value).collect();
            metrics.push(Row { name: name.to_owned(), values, protocols: Vec::new() });
        }
        let names: BTreeSet<&str> = runs
            .iter()
            .flat_map(|run| &run.scores)
            .flat_map(Evaluated::iter)
            .map(|s| s.0)
            .collect();
        let scores = names.into_iter().map(|name| {
            let found: Vec<Option<(f64, String)>> =
                runs.iter().map(|run| run.score(name)).collect();
            let mut protocols: Vec<String> = Vec::new();
            for (_, protocol) in found.iter().flatten() {
                if !protocol.is_empty() && !protocols.contains(protocol) {
                    protocols.push(protocol.clone());
                }
            }
            let values = found.into_iter().map(|found| found.map(|(value, _)| value)).collect();
            Row { name: name.to_owned(), values, protocols }
        });
        Self {
            runs: runs.iter().map(|run| run.name.clone()).collect(),
            metrics,
            scores: scores.collect(),
            options: differing(runs),
        }
    }
}

/// The options that are not the same in all runs.
fn differing(runs: &[Compared]) -> Vec<Differing> {
    let mut all: Vec<Differing> = Vec::new();
    for Listed { name, .. } in runs.iter().flat_map(|run| &run.options) {
        if all.iter().any(|known| known.name == *name) {
            continue;
        }
        let value = |run: &Compared| {
            let option = run.options.iter().find(|option| option.name == *name);
            option.map(Listed::text).unwrap_or_default()
        };
        all.push(Differing { name: name.clone(), values: runs.iter().map(value).collect() });
    }
    all.retain(|option| option.values.iter().any(|value| *value != option.values[0]));
    all
}

#[derive(Serialize)]
struct Page<'a> {
    title: &'static str,
    program: &'static str,
    runs: Vec<Shown<'a>>,
    facts: Vec<Cells>,
    scores: Vec<Cells>,
    options: &'a [Differing],
    charts: Vec<Chart>,
    seeds: &'a str,
}

#[derive(Serialize)]
struct Shown<'a> {
    name: &'a str,
    samples: Option<Image<'a>>,
    about: &'a str,
}

/// A row of the page's tables.
#[derive(Serialize)]
struct Cells {
    name: String,
    values: Vec<String>,
    protocols: Vec<String>,
}

impl From<&Row> for Cells {
    fn from(row: &Row) -> Self {
        let cell =
            |value: &Option<f64>| value.map(|value| shown(&row.name, value)).unwrap_or_default();
        Self {
            name: row.name.clone(),
            values: row.values.iter().map(cell).collect(),
            protocols: row.protocols.clone(),
        }
    }
}

/// A number of the log for people, by its name.
#[must_use]
pub fn shown(name: &str, value: f64) -> String {
    match name {
        "images" | "step" => human::grouped(value as u64),
        "seconds" => human::duration(value),
        "memory_bytes" => human::bytes(value as u64),
        _ => human::number(value),
    }
}

/// The page of a comparison; `seeds` says what the samples are.
///
/// # Errors
/// [`crate::error::Error::File`] if an image cannot be encoded.
pub fn page(runs: &[Compared], comparison: &Comparison, seeds: &str) -> Result<String> {
    let mut samples: Vec<Option<Embedded>> = Vec::new();
    for run in runs {
        samples.push(match &run.samples {
            Some(image) => embed(image.clone(), images::png(Path::new(&run.name), image)?),
            None => None,
        });
    }
    let shown = runs.iter().zip(&samples).map(|(run, samples)| Shown {
        name: &run.name,
        samples: samples.as_ref().map(|one| Image::new(String::new(), one)),
        about: &run.about,
    });
    let page = Page {
        title: "Comparison of runs",
        program: crate::PROGRAM,
        runs: shown.collect(),
        facts: comparison.metrics.iter().map(Cells::from).collect(),
        scores: comparison.scores.iter().map(Cells::from).collect(),
        options: &comparison.options,
        charts: charts(runs, comparison),
        seeds,
    };
    render("comparison.html", &page)
}

/// A chart for every metric, with a line for every run.
fn charts(runs: &[Compared], comparison: &Comparison) -> Vec<Chart> {
    let is_drawn = |name: &str| {
        !["step", "images", "epoch", "seconds", "waiting", "memory_bytes"].contains(&name)
    };
    let chart = |row: &Row| {
        let series: Vec<Series> = runs
            .iter()
            .enumerate()
            .map(|(color, run)| Series::of(&run.log, &row.name, &run.name, color))
            .filter(|series| !series.points.is_empty())
            .collect();
        let title = match Kind::of(&row.name) {
            Kind::Loss => format!("Loss of the {}", metrics::owner(&row.name)),
            Kind::GradNorm => format!("Gradient norm of the {}", metrics::owner(&row.name)),
            Kind::Score | Kind::Other => row.name.clone(),
        };
        Chart::new(&title, &series, None, None)
    };
    comparison.metrics.iter().filter(|row| is_drawn(&row.name)).filter_map(chart).collect()
}
