//! `dcgan invert`: from images to latents.

use std::path::{Path, PathBuf};

use clap::Args;
use image::{DynamicImage, RgbImage};
use serde::Serialize;

use crate::data::open_image;
use crate::error::{Error, Result};
use crate::experiments::invert::{Found, Inverter, Search};
use crate::images::figure::{Cell, Figure, Panel};
use crate::images::{single, values};
use crate::model::sampler::BATCH;
use crate::model::{Condition, ModelFile, Networks};
use crate::models::LatentDistribution;
use crate::tensor::Tensor;

use super::bar::Bar;
use super::features::Fit;
use super::flags::{JsonFlag, at_least};
use super::latents::{ModelFlags, named, note_of_fit, write_npy};
use super::output::{Align, table, tell};

/// The factor by which differences are amplified.
const GAIN: f32 = 4.0;

/// Find the latents from which the generator best reproduces images
///
/// Gradient descent on the latent, from several starts in parallel; the best one counts. The
/// figure shows each image beside what was found; the latents are for `dcgan walk --seeds
/// inverted.npy`, `dcgan arithmetic --plus inverted.npy:0` and `dcgan sample --latents inverted.npy`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  dcgan invert runs/00000-fast-avatars-64 face.png other.jpg \
                        --out inverted.png")]
pub(super) struct Invert {
    #[command(flatten)]
    model: ModelFlags,
    /// Images; those of another size are made to fit
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<PathBuf>,
    /// Number of parallel starts
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = at_least(1))]
    restarts: usize,
    /// Steps of each start
    #[arg(long, value_name = "N", default_value_t = 400, value_parser = at_least(1))]
    steps: usize,
    /// Initial step size; it decays to zero along a cosine
    #[arg(long, value_name = "RATE", default_value_t = 0.1)]
    lr: f64,
    /// Weight of the distance in D's features, added to that of pixels, such as 0.1
    #[arg(long, value_name = "W", default_value_t = 0.0)]
    perceptual: f32,
    /// Weight of the mean square of normal latents, which keeps them likely; uniform ones are kept
    /// in -1..1
    #[arg(long, value_name = "W", default_value_t = 0.001)]
    prior: f32,
    /// Random seed of the starts
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// The figure to write
    #[arg(long, value_name = "FILE.png", default_value = "inverted.png")]
    out: PathBuf,
    /// The latents to write, float32 [images, nz] [default: the figure's name with extension
    /// npy]
    #[arg(long, value_name = "FILE.npy")]
    latents: Option<PathBuf>,
    #[command(flatten)]
    json: JsonFlag,
    #[command(flatten)]
    fit: Fit,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report {
    images: Vec<Entry>,
    latents: String,
    figure: String,
}

#[derive(Debug, Serialize)]
struct Entry {
    image: String,
    /// Its row in the file of latents.
    row: usize,
    /// Root mean squared difference of pixels, in levels of 0 to 255.
    error: f32,
    error_before: f32,
    /// The same for every start.
    errors: Vec<f32>,
}

impl Invert {
    pub(super) fn run(&self) -> Result<()> {
        let out = named("--out", &self.out, "png")?;
        let latents = self.latents.clone().unwrap_or_else(|| out.with_extension("npy"));
        let latents = named("--latents", &latents, "npy")?;
        let search = self.search()?;
        let model = self.model.load()?;
        let search = Search { condition: self.model.condition(&model)?, ..search };
        if model.generator()?.needs_batch() {
            tell!(
                "note: the batch norm of this generator uses the statistics of each batch: what is \
                 found beside other starts looks different beside other images (`dcgan sample` \
                 makes {BATCH} at a time)"
            );
        }
        if search.perceptual != 0.0 {
            model.discriminator()?;
        }
        // Before the work, so that a bad image fails at once.
        let mut originals = Vec::new();
        for path in &self.images {
            originals.push(self.original(path, &model.networks)?);
        }
        let device = self.model.device.open(false)?;
        let mut inverter = Inverter::new(&model, &device, self.model.weights(), search.clone())?;
        let bar = Bar::new(originals.len() * search.steps, "steps");
        let mut all = Vec::new();
        for original in &originals {
            all.push(inverter.invert(original, |n| bar.add(n))?);
        }
        bar.finish();

        self.json.println(&self.table(&all))?;
        let z: Vec<f32> = all.iter().flat_map(|found| found.z.iter().copied()).collect();
        write_npy(latents, &Tensor::new([all.len(), model.networks.nz], z)?)?;
        self.json.println(&format!("{:<12}{}", "latents", latents.display()))?;
        self.figure(&model, &originals, &all)?.save(out)?;
        self.json.println(&format!("{:<12}{}", "figure", out.display()))?;
        let entry = |(row, (path, found)): (usize, (&PathBuf, Found))| Entry {
            image: path.display().to_string(),
            row,
            error: found.error,
            error_before: found.error_at_start,
            errors: found.errors,
        };
        self.json.report(&Report {
            images: self.images.iter().zip(all).enumerate().map(entry).collect(),
            latents: latents.display().to_string(),
            figure: out.display().to_string(),
        })
    }

    fn search(&self) -> Result<Search> {
        let weight = |flag: &'static str, x: f32| {
            if x >= 0.0 && x.is_finite() {
                return Ok(x);
            }
            Err(Error::flag(flag, format!("{x} is not a weight; use 0 or more")))
        };
        if !(self.lr > 0.0 && self.lr.is_finite()) {
            return Err(Error::flag("--lr", format!("{} is not a step size such as 0.1", self.lr)));
        }
        Ok(Search {
            starts: self.restarts,
            steps: self.steps,
            rate: self.lr,
            perceptual: weight("--perceptual", self.perceptual)?,
            prior: weight("--prior", self.prior)?,
            seed: self.seed,
            condition: Condition::None,
        })
    }

    /// An image's bytes in the model's size.
    fn original(&self, path: &Path, networks: &Networks) -> Result<Vec<u8>> {
        let image = open_image(path)?;
        note_of_fit(path, &image, networks);
        Ok(self.fit.prepare(networks)?.apply(image, 0))
    }

    /// A table: every image's error, before and after.
    fn table(&self, all: &[Found]) -> String {
        let head = ["image", "error", "before", "starts within 10%"].map(String::from).to_vec();
        let mut rows = vec![head];
        for (path, found) in self.images.iter().zip(all) {
            rows.push(vec![
                name(path),
                format!("{:.1}", found.error),
                format!("{:.1}", found.error_at_start),
                format!("{} of {}", close(found), found.errors.len()),
            ]);
        }
        let align = [Align::Left, Align::Right, Align::Right, Align::Right];
        format!("{}errors: root mean squared difference of pixels, in levels of 0 to 255", {
            table(&align, &rows)
        })
    }

    fn figure(&self, model: &ModelFile, originals: &[Vec<u8>], all: &[Found]) -> Result<Figure> {
        let distribution = model.networks.latent_distribution;
        let held = match distribution {
            LatentDistribution::Normal => {
                format!("Latents are normal; prior weight {}.", self.prior)
            }
            LatentDistribution::Uniform => "Latents are uniform and kept in \u{2212}1..1.".into(),
        };
        let perceptual = match self.perceptual {
            0.0 => String::new(),
            weight => format!(" Weight of D's features: {weight}."),
        };
        let mut panel = Panel::new("").columns([
            "original".to_owned(),
            "G(z)".to_owned(),
            format!("difference\n\u{d7} {GAIN}"),
        ]);
        for ((path, original), found) in self.images.iter().zip(originals).zip(all) {
            let &[_, h, w, c] = found.image.shape() else { unreachable!("images have 4 axes") };
            let shape = [1, h, w, c];
            let target = values(original);
            let made = found.image.f32s();
            let images = [
                single(&target, shape, 0)?,
                single(made, shape, 0)?,
                difference(&target, made, [h, w, c]),
            ];
            let label = format!("{}\nerror {:.1} of 255", name(path), found.error);
            panel = panel.row(label, images.map(Cell::new));
        }
        Ok(Figure::new("Images and the nearest ones that the generator draws")
            .note(format!(
                "{}. Best of {} starts after {} steps. {held}{perceptual}",
                self.model.describe(model),
                self.restarts,
                self.steps
            ))
            .note("Error: root mean squared difference of pixels, in levels of 0 to 255.")
            .panel(panel))
    }
}

/// Starts that came within a tenth of the best one's error, itself included.
fn close(found: &Found) -> usize {
    found.errors.iter().filter(|&&error| error <= 1.1 * found.error).count()
}

/// A file's name alone.
fn name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// The difference of two images `[h, w, c]` at each pixel: black is none.
fn difference(a: &[f32], b: &[f32], [h, w, c]: [usize; 3]) -> DynamicImage {
    let level = |i: usize| (GAIN * 127.5 * (a[i] - b[i]).abs()).round() as u8;
    let image = RgbImage::from_fn(w as u32, h as u32, |x, y| {
        let at = (y as usize * w + x as usize) * c;
        // Gray has one channel for all three colors; alpha is left out.
        let channel = |i: usize| level(at + if c < 3 { 0 } else { i });
        image::Rgb([channel(0), channel(1), channel(2)])
    });
    image.into()
}
