//! `report.html`: a run on one page, to watch it by. Everything is inside of the file (images as
//! data URIs, charts as SVG, style and script), and its content security policy forbids the rest.
//!
//! It is made of what the folder holds, so that any other program could make it again: options, log,
//! previews, scores. Templates escape all text, since names of files, classes and metrics may be a
//! stranger's; only data URIs, which are made here, are marked as safe.

mod album;
mod chart;
pub mod comparison;

use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior};
use serde::Serialize;

use crate::error::{Error, Result};
use crate::gan::families;
use crate::model::Folder;
use crate::shell::quoted;
use crate::{files, human, images};

use album::{Album, Embedded, embed_file};
use chart::Chart;

use super::health::{Finding, Health};
use super::listing::{listing, plain};
use super::options::RunOptions;
use super::panels::{further, panels};
use super::{Evaluated, LogLine};

/// The most samples that are shown one by one.
const TILES: usize = 24;

/// Writing pages takes at most this share of the time.
const SHARE: u32 = 20;

/// The templates of `assets/report`. Those whose names end in `.html` escape what they insert.
static TEMPLATES: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut templates = Environment::new();
    templates.set_undefined_behavior(UndefinedBehavior::Strict);
    let files = [
        ("run.html", include_str!("../../../assets/report/run.html")),
        ("comparison.html", include_str!("../../../assets/report/comparison.html")),
        ("head.html", include_str!("../../../assets/report/head.html")),
        ("charts.html", include_str!("../../../assets/report/charts.html")),
        ("names.html", include_str!("../../../assets/report/names.html")),
        ("style.css", include_str!("../../../assets/report/style.css")),
        ("script.js", include_str!("../../../assets/report/script.js")),
    ];
    for (name, text) in files {
        templates
            .add_template(name, text)
            .expect("the templates are constants, which tests render");
    }
    templates
});

/// A page from its template.
fn render(template: &str, page: &impl Serialize) -> Result<String> {
    let bug = |error: minijinja::Error| {
        Error::file(template, format!("cannot be filled in, which is a bug: {error:#}"))
    };
    TEMPLATES.get_template(template).and_then(|template| template.render(Serde(page))).map_err(bug)
}

/// How far a training is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It goes on.
    Training,
    /// All images were seen.
    Done,
    /// It was interrupted.
    Stopped,
    /// It diverged.
    Failed,
}

/// The report of a run, while it is being trained.
#[derive(Debug)]
pub struct Report {
    options: RunOptions,
    facts: Vec<(&'static str, String)>,
    /// The memory plan.
    memory: String,
    previews: Previews,
    album: Album,
    /// When the last page was written, and how long that took.
    last: Option<(Instant, Duration)>,
}

/// What the previews of a run show.
#[derive(Clone, Debug)]
pub struct Previews {
    /// In words.
    pub seeds: String,
    /// The classes of the images; empty if there are none.
    pub labels: Vec<u32>,
    /// The number of images, whose seeds are 0 and on.
    pub count: usize,
    /// The columns of the grid.
    pub columns: usize,
    /// Height and width of an image as it is shown: images of several stages may stand side by side.
    pub size: [usize; 2],
}

#[derive(Serialize)]
struct Page<'a> {
    title: String,
    program: &'a str,
    state: Shown,
    seen: String,
    written: u64,
    percent: String,
    warnings: Vec<Warning>,
    previews: Vec<Image<'a>>,
    reals: Option<Image<'a>>,
    latest: Option<&'a str>,
    seeds: &'a str,
    facts: Vec<(&'a str, String)>,
    memory: &'a str,
    scores: Vec<Score>,
    charts: Vec<Chart>,
    tiles: Vec<Tile>,
    commands: Vec<(&'a str, String)>,
    options: Vec<OptionRow>,
}

#[derive(Serialize)]
struct Shown {
    class: &'static str,
    text: &'static str,
}

#[derive(Serialize)]
struct Warning {
    images: String,
    text: String,
}

#[derive(Serialize)]
struct Image<'a> {
    images: String,
    uri: &'a str,
    width: u32,
    height: u32,
}

impl<'a> Image<'a> {
    fn new(images: String, one: &'a Embedded) -> Self {
        let (width, height) = one.size;
        Self { images, uri: &one.uri, width, height }
    }
}

/// A score, where it was measured and how.
#[derive(Clone, Debug, Serialize)]
struct Score {
    name: String,
    value: String,
    origin: String,
    protocol: String,
}

impl Score {
    /// All scores, newest first.
    fn all(scores: &[Evaluated]) -> Vec<Self> {
        let of = |one: &Evaluated| {
            let score = |(name, value): (&str, f64)| Self {
                name: name.to_owned(),
                value: human::number(value),
                origin: one.origin(),
                protocol: one.protocol(name),
            };
            one.iter().map(score).collect::<Vec<_>>()
        };
        scores.iter().rev().flat_map(of).collect()
    }
}

/// An image of the last preview, as a window on it.
#[derive(Serialize)]
struct Tile {
    caption: String,
    ratio: String,
    size: String,
    position: String,
}

#[derive(Serialize)]
struct OptionRow {
    name: String,
    text: String,
    is_default: bool,
}

impl Report {
    /// The report of a training with these options, [`super::options::facts`] and memory plan.
    #[must_use]
    pub fn new(
        options: RunOptions,
        facts: Vec<(&'static str, String)>,
        memory: String,
        previews: Previews,
    ) -> Self {
        Self { options, facts, memory, previews, album: Album::default(), last: None }
    }

    /// Writes the page, atomically. During training it may be left out, so that pages take only a
    /// small share of the time.
    ///
    /// # Errors
    /// [`Error::File`] if it cannot be written, or the folder cannot be read.
    pub fn write(&mut self, folder: &Folder, log: &[LogLine], state: &State) -> Result<()> {
        if !self.is_due(state) {
            return Ok(());
        }
        let start = Instant::now();
        let page = self.page(folder, log, state)?;
        files::write_bytes(&folder.report_path(), page.as_bytes())?;
        self.last = Some((Instant::now(), start.elapsed()));
        Ok(())
    }

    /// Whether a page is not left out.
    #[must_use]
    pub fn is_due(&self, state: &State) -> bool {
        match (state, self.last) {
            (State::Training, Some((when, cost))) => when.elapsed() >= cost * SHARE,
            _ => true,
        }
    }

    fn page(&mut self, folder: &Folder, log: &[LogLine], state: &State) -> Result<String> {
        let fakes = folder.fakes()?;
        let Self { options, album, .. } = self;
        let previews = album.refresh(&fakes);
        let last = previews.last().map(|(_, one)| *one);
        let reals = embed_file(&folder.reals_path());
        let line = log.last().cloned().unwrap_or_default();
        let main = panels(&options.config.objective, log, &folder.floors());
        let all = main.iter().cloned().chain(further(log, &main));
        let charts = all.filter_map(|panel| Chart::of(&panel, log)).collect();
        let mut facts: Vec<(&str, String)> = self.facts.clone();
        if !log.is_empty() {
            let speed = human::number(line.images_per_s);
            facts.push(("time", format!("{}, {speed} images/s", human::duration(line.seconds))));
        }
        if let Some(from) = &options.from {
            facts.push(("started from", from.to_string()));
        }
        let mut shown = Vec::new();
        for (images, one) in &previews {
            shown.push(Image::new(human::plural(*images, "image"), one));
        }
        let page = Page {
            title: folder.path().file_name().unwrap_or_default().to_string_lossy().into_owned(),
            program: &options.program,
            state: shown_state(state),
            seen: format!(
                "{} of {}",
                human::count(line.images),
                human::counted(options.images, "image")
            ),
            written: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
            percent: format!(
                "{:.1}",
                (100.0 * line.images as f64 / options.images.max(1) as f64).min(100.0)
            ),
            warnings: warnings(options, log),
            previews: shown,
            reals: reals.as_ref().map(|one| Image::new(String::new(), one)),
            latest: last.map(|one| one.uri.as_str()),
            seeds: &self.previews.seeds,
            facts,
            memory: &self.memory,
            scores: Score::all(&folder.scores().unwrap_or_default()),
            charts,
            tiles: last.map(|_| tiles(options, &self.previews)).unwrap_or_default(),
            commands: commands(folder, options, state),
            options: listing(&plain(options))
                .into_iter()
                .filter(|one| !one.text().is_empty())
                .map(|one| OptionRow {
                    text: one.text(),
                    is_default: one.is_default,
                    name: one.name,
                })
                .collect(),
        };
        render("run.html", &page)
    }
}

fn shown_state(state: &State) -> Shown {
    let (class, text) = match state {
        State::Training => ("training", "in training"),
        State::Done => ("done", "done"),
        State::Stopped => ("stopped", "stopped"),
        State::Failed => ("failed", "diverged"),
    };
    Shown { class, text }
}

/// What the health checks found in the whole log, newest first: those of earlier sessions too.
fn warnings(options: &RunOptions, log: &[LogLine]) -> Vec<Warning> {
    let mut health = Health::new(families::watched_output(&options.config.objective));
    let mut all: Vec<Warning> = Vec::new();
    for line in log {
        let images = human::counted(line.images, "image");
        let warning = |finding: Finding| Warning {
            images: format!("After {images}:"),
            text: finding.text().to_owned(),
        };
        all.extend(health.check(line).into_iter().map(warning));
    }
    all.reverse();
    all
}

/// Some images of the last preview, each with its seed and, if any, its class: of each class some.
fn tiles(options: &RunOptions, previews: &Previews) -> Vec<Tile> {
    let &Previews { ref labels, count, columns, size, .. } = previews;
    let columns = columns.max(1);
    let each = match labels.is_empty() {
        true => columns,
        false => (TILES / count.div_ceil(columns).max(1)).clamp(1, columns),
    };
    let shown = (0..count).filter(|i| i % columns < each).take(TILES);
    let (width, height) = images::size_of_grid(count, size, columns);
    let percent =
        |part: u32, whole: u32| format!("{:.3}%", 100.0 * f64::from(part) / f64::from(whole));
    let tile = |i: usize| {
        let [x, y, w, h] = images::place_in_grid(i, size, columns);
        let (classes, text) = (&options.config.classes, &options.config.text);
        let names = if text.is_empty() { classes } else { &text.examples };
        let class = labels.get(i).and_then(|&label| names.get(label as usize));
        Tile {
            caption: match class {
                Some(class) => format!("seed {i}, {class}"),
                None => format!("seed {i}"),
            },
            ratio: format!("{w}/{h}"),
            size: format!("{} {}", percent(width, w), percent(height, h)),
            position: format!("{} {}", percent(x, width - w), percent(y, height - h)),
        }
    };
    shown.map(tile).collect()
}

/// What to do next, and the commands for it.
fn commands(folder: &Folder, options: &RunOptions, state: &State) -> Vec<(&'static str, String)> {
    let run = quoted(folder.path());
    let model = &options.config.model;
    let class = match options.config.classes.first() {
        Some(class) if model.is_conditional() => {
            format!(" --class {}", quoted(std::path::Path::new(class)))
        }
        _ if !options.config.text.is_empty() => {
            let example = options.config.text.examples.first().cloned().unwrap_or_default();
            format!(" --text {}", quoted(std::path::Path::new(&example)))
        }
        _ => String::new(),
    };
    let resume = match state {
        State::Done => Some((
            "Train on",
            format!("dcgan train --resume {run} --images {}", options.images.saturating_mul(2)),
        )),
        State::Training | State::Stopped => {
            Some(("Resume, once it has stopped", format!("dcgan train --resume {run}")))
        }
        // It would diverge again.
        State::Failed => None,
    };
    let mut all = vec![
        ("Make images", format!("dcgan sample {run} --seeds 0-63 --grid samples.png")),
        ("Walk between images", format!("dcgan walk {run} --seeds 0,1,2{class} --out walk.gif")),
    ];
    let best = folder.best_path();
    if best.is_file() {
        all.insert(
            1,
            (
                "Make images with the checkpoint of the best score",
                format!("dcgan sample {} --seeds 0-63 --grid best.png", quoted(&best)),
            ),
        );
    }
    all.extend(resume);
    if let Some(data) = &options.data {
        let data = quoted(data);
        all.push((
            "Find the training images nearest to samples",
            format!("dcgan neighbors {run} {data} --seeds 0-7"),
        ));
    }
    all.push(("Export the numbers", format!("dcgan log {run} --csv > log.csv")));
    all
}

#[cfg(test)]
mod tests;
