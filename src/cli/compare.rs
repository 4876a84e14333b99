//! `dcgan compare`: runs side by side.

use std::path::PathBuf;

use clap::Args;
use image::DynamicImage;
use serde::Serialize;

use crate::device::Device;
use crate::error::{Error, Result};
use crate::files;
use crate::images;
use crate::model::{Generator, Inputs, Weights};
use crate::train::Folder;
use crate::train::report::comparison::{Compared, Comparison, Differing, Row, page, shown};

use super::flags::{DeviceFlag, JsonFlag};
use super::latents::{describe, has_ending, open_model, warn};
use super::output::{Align, table};
use super::seeds::Seeds;

/// The most samples of a run on the page.
const MOST: usize = 256;

/// Columns of the samples.
const COLUMNS: usize = 8;

/// Compare runs: curves, last metrics, scores, options that differ, and samples of the same seeds
///
/// Prints a table, and writes a page that a browser opens from disk.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  dcgan compare runs/00000-fast-avatars-64 \
                        runs/00001-wgan-gp-avatars-64 --out compare.html")]
pub(super) struct Compare {
    /// Folders of two or more runs
    #[arg(value_name = "RUN", num_args = 2.., required = true)]
    runs: Vec<PathBuf>,
    /// Seeds of the samples
    #[arg(long, value_name = "LIST", default_value = "0-15", allow_hyphen_values = true)]
    seeds: Seeds,
    /// Use the weights of the last step, not their moving average (EMA)
    #[arg(long)]
    raw: bool,
    /// Where to write the page
    #[arg(long, value_name = "FILE.html", default_value = "compare.html")]
    out: PathBuf,
    #[command(flatten)]
    json: JsonFlag,
    #[command(flatten)]
    device: DeviceFlag,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report<'a> {
    #[serde(flatten)]
    comparison: &'a Comparison,
    page: String,
}

impl Compare {
    pub(super) fn run(&self) -> Result<()> {
        if !has_ending(&self.out, "html") {
            let what = format!("{} does not end in .html", self.out.display());
            return Err(Error::flag("--out", what));
        }
        if self.seeds.0.len() > MOST {
            let what = format!("more than {MOST} samples of each run do not fit on the page");
            return Err(Error::flag("--seeds", what));
        }
        let mut runs = Vec::new();
        for path in &self.runs {
            let folder = Folder::open(path)?;
            runs.push(Compared::open(&folder)?);
        }
        self.name_apart(&mut runs);
        let device = self.device.open(false)?;
        for (run, path) in runs.iter_mut().zip(&self.runs) {
            // Without its samples a run can still be compared.
            match self.samples(path, &device) {
                Ok((samples, about)) => {
                    run.samples = Some(samples);
                    run.about = about;
                }
                Err(error) => {
                    run.about = format!("no samples: {error}");
                    warn(&format!("no samples of {}: {error}", path.display()));
                }
            }
        }
        let comparison = Comparison::of(&runs);
        let seeds = format!("Seeds {}, in rows of {COLUMNS}", self.seeds);
        let html = page(&runs, &comparison, &seeds)?;
        files::write_bytes(&self.out, html.as_bytes())?;
        self.json.print(&text(&comparison))?;
        let page = self.out.display().to_string();
        self.json.println(&format!("curves and samples in {page}"))?;
        self.json.report(&Report { comparison: &comparison, page })
    }

    /// Names runs by their paths where folders have the same name.
    fn name_apart(&self, runs: &mut [Compared]) {
        let names: Vec<String> = runs.iter().map(|run| run.name.clone()).collect();
        for (run, path) in runs.iter_mut().zip(&self.runs) {
            if names.iter().filter(|name| **name == run.name).count() > 1 {
                run.name = path.display().to_string();
            }
        }
    }

    /// A grid of a run's samples, and which model made it.
    fn samples(&self, path: &std::path::Path, device: &Device) -> Result<(DynamicImage, String)> {
        let model = open_model(path)?;
        let mut generator = Generator::new(&model, device, Weights::raw(self.raw))?;
        let images = generator.images(&Inputs::seeds(self.seeds.0.iter().copied()))?;
        let shape = images.shape().try_into().expect("a generator gives images [n, h, w, c]");
        let grid = images::grid_of(images.f32s(), shape, COLUMNS)?;
        Ok((grid, describe(path, &model)))
    }
}

/// The comparison as tables: a column for each run.
fn text(comparison: &Comparison) -> String {
    let mut rows = vec![head("", &comparison.runs)];
    let cells = |row: &Row| {
        let values = row.values.iter();
        let cell = |value: &Option<f64>| value.map(|v| shown(&row.name, v)).unwrap_or_default();
        head(&row.name, &values.map(cell).collect::<Vec<_>>())
    };
    rows.extend(comparison.metrics.iter().map(cells));
    rows.extend(comparison.scores.iter().map(cells));
    rows.extend(comparison.options.iter().map(|Differing { name, values }| head(name, values)));
    let mut align = vec![Align::Right; comparison.runs.len() + 1];
    align[0] = Align::Left;
    table(&align, &rows)
}

/// A row that begins with its name.
fn head(name: &str, cells: &[String]) -> Vec<String> {
    std::iter::once(name.to_owned()).chain(cells.iter().cloned()).collect()
}
