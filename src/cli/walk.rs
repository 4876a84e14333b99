//! `dcgan walk`: from image to image through latent space.

use std::path::{Path, PathBuf};

use clap::Args;
use image::RgbImage;

use crate::error::{Error, Result};
use crate::experiments::walk::{Interpolation, evenly, round_trip, stretch, vary};
use crate::files;
use crate::images::figure::{Figure, Panel};
use crate::images::{film, single, upscale};
use crate::model::ModelFile;
use crate::models::LatentDistribution;

use super::bar::Bar;
use super::drawing::{Drawing, cells};
use super::flags::at_least;
use super::latents::{ModelFlags, has_ending, named};
use super::output::println;
use super::points::{Locator, Point, Points, Range, rows};
use super::seeds::Seeds;

/// Images of each strip, both ends included.
const STRIP: usize = 11;
/// Frames of the film are enlarged, pixel by pixel, while they stay within this.
const FRAME: u32 = 128;
/// Values of each coordinate that is varied.
const VALUES: usize = 9;
/// Frames between two points.
const STEPS: usize = 30;

/// Walk through latent space: a film from image to image, or one coordinate at a time
///
/// The images of a generator that has not memorized its training set change smoothly on the way.
/// The film is a looping GIF through all points and back to the first; a figure shows every segment
/// as a strip. With --vary there is no film, only a figure of single coordinates.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  dcgan walk runs/00000-dcgan-avatars-64 --seeds 3,17,42 --out walk.gif\n  \
                        dcgan walk runs/00000-dcgan-avatars-64 --seeds 3 --vary 0,5,12 --range=-2..2\n  \
                        dcgan walk runs/00001-bigan-mnist-28 --seeds three.png,eight.png"
)]
pub(super) struct Walk {
    #[command(flatten)]
    model: ModelFlags,
    /// Points of the walk, in order: seeds, rows of files of latents (z.npy, z.npy:2), or, if the
    /// model has an encoder, images (a.png) [default: 0-8; with --vary: 0]
    #[arg(long, value_name = "LIST", allow_hyphen_values = true)]
    seeds: Option<Points>,
    /// Frames from one point to the next; with --vary, values of each coordinate [default: 30;
    /// with --vary: 9]
    #[arg(long, value_name = "N", value_parser = at_least(2))]
    steps: Option<usize>,
    /// Straight lines between points [default for uniform latents]
    #[arg(long)]
    linear: bool,
    /// Arcs between points [default for normal latents, whose lengths are alike]
    #[arg(long, conflicts_with = "linear")]
    spherical: bool,
    /// Frames per second
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=50))]
    fps: u64,
    /// Vary these coordinates (from 0), one at a time, instead of walking
    #[arg(long, value_name = "LIST", conflicts_with_all = ["linear", "spherical", "fps", "strips"])]
    vary: Option<Seeds>,
    /// Range of each varied coordinate [default: -2..2 for normal latents, -1..1 for uniform
    /// ones]
    #[arg(long, value_name = "LOW..HIGH", requires = "vary", allow_hyphen_values = true)]
    range: Option<Range>,
    /// The film to write; with --vary, the figure [default: walk.gif; with --vary: vary.png]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// The figure of strips [default: the film's name with extension png]
    #[arg(long, value_name = "FILE.png")]
    strips: Option<PathBuf>,
}

impl Walk {
    pub(super) fn run(&self) -> Result<()> {
        match &self.vary {
            Some(coordinates) => self.vary(&coordinates.0),
            None => self.walk(),
        }
    }

    fn points(&self, model: &ModelFile, default: &str) -> Result<Vec<Point>> {
        let default = || default.parse().expect("a list of seeds");
        self.seeds
            .clone()
            .unwrap_or_else(default)
            .load(&mut Locator::new(&self.model, model), "--seeds")
    }

    fn walk(&self) -> Result<()> {
        let out = self.out.as_deref().unwrap_or(Path::new("walk.gif"));
        let out = named("--out", out, "gif")?;
        let strips = self.strips.clone().unwrap_or_else(|| out.with_extension("png"));
        let strips = named("--strips", &strips, "png")?;
        let model = self.model.load()?;
        let points = self.points(&model, "0-8")?;
        if points.len() < 2 {
            let what = "a walk needs two points or more, such as 3,17,42";
            return Err(Error::flag("--seeds", what));
        }
        let distribution = model.networks.latent_distribution;
        let how = match (self.linear, self.spherical) {
            (true, _) => Interpolation::Linear,
            (_, true) => Interpolation::Spherical,
            _ => Interpolation::of(distribution),
        };
        let steps = self.steps.unwrap_or(STEPS);
        let mut generator = self.model.generator(&model)?;

        let why = if how == Interpolation::of(distribution) {
            format!("{how}, as is usual for {distribution} latents")
        } else {
            format!("{how}, although latents are {distribution}")
        };
        println(&format!(
            "{:<12}{} points, {} frames",
            "walk",
            points.len(),
            points.len() * steps
        ))?;
        println(&format!("{:<12}{why}", "between"))?;

        let figure = self.strips(&model, &mut generator, &points, how, &why)?;
        let latents: Vec<Vec<f32>> = points.iter().map(|point| point.z.clone()).collect();
        let frames = frames(&mut generator, &round_trip(&latents, steps, how))?;
        let ms = (1000 / self.fps).max(20);
        let film = film::encode(frames.iter().map(|frame| (frame, ms)))
            .map_err(|e| Error::file(out, format!("cannot be made a GIF: {e}")))?;
        files::write_bytes(out, &film)?;
        println(&format!("{:<12}{}", "film", out.display()))?;
        figure.save(strips)?;
        println(&format!("{:<12}{}", "strips", strips.display()))
    }

    /// One strip for each segment.
    fn strips(
        &self,
        model: &ModelFile,
        generator: &mut Drawing,
        points: &[Point],
        how: Interpolation,
        why: &str,
    ) -> Result<Figure> {
        let t = evenly([0.0, 1.0], STRIP);
        let mut panel = Panel::new("").columns(t.iter().map(|t| format!("{t:.1}")));
        // Two points are walked to and fro: the way back looks the same.
        let stretches = if points.len() == 2 { 1 } else { points.len() };
        for (i, from) in points.iter().enumerate().take(stretches) {
            let to = &points[(i + 1) % points.len()];
            let mut cells = generator.cells(&stretch(&from.z, &to.z, STRIP, how))?;
            for end in [0, STRIP - 1] {
                cells[end] = std::mem::take(&mut cells[end]).framed();
            }
            panel = panel.row(format!("{}\nto {}", from.name, to.name), cells);
        }
        let figure = Figure::new("A walk in latent space")
            .note(format!("{}. Interpolation: {why}.", self.model.describe(model)));
        Ok(figure.panel(panel))
    }

    fn vary(&self, coordinates: &[u64]) -> Result<()> {
        let out = self.out.as_deref().unwrap_or(Path::new("vary.png"));
        if has_ending(out, "gif") {
            let what = "--vary makes a figure, not a film; give a name that ends in .png";
            return Err(Error::flag("--out", what));
        }
        let out = named("--out", out, "png")?;
        let model = self.model.load()?;
        let points = self.points(&model, "0")?;
        let nz = model.networks.nz;
        if let Some(beyond) = coordinates.iter().find(|&&c| c >= nz as u64) {
            let what = format!("{beyond} is not a coordinate: the model has 0 to {}", nz - 1);
            return Err(Error::flag("--vary", what));
        }
        let distribution = model.networks.latent_distribution;
        let usual = match distribution {
            LatentDistribution::Normal => [-2.0, 2.0],
            LatentDistribution::Uniform => [-1.0, 1.0],
        };
        let range = self.range.map_or(usual, |range| range.0);
        let values = evenly(range, self.steps.unwrap_or(VALUES));
        let mut generator = self.model.generator(&model)?;

        let itself = generator.cells(&rows(&points))?;
        let mut figure = Figure::new("One coordinate of the latent at a time").note(format!(
            "{}. Framed: the latent as it is. Latents are {distribution}.",
            self.model.describe(&model)
        ));
        for (point, itself) in points.iter().zip(itself) {
            let labels = values.iter().map(|v| signed(*v));
            let mut panel = Panel::new(&point.name)
                .columns(["as it is".to_owned()].into_iter().chain(labels))
                .gap_before(1);
            for &coordinate in coordinates {
                let coordinate = coordinate as usize;
                let varied = generator.images(&vary(&point.z, coordinate, &values))?;
                let label = format!("z[{coordinate}]");
                let value = itself.clone().framed().caption(signed(point.z[coordinate]));
                let row = [value].into_iter().chain(cells(&varied)?);
                panel = panel.row(label, row);
            }
            figure = figure.panel(panel);
        }
        figure.save(out)?;
        println(&format!("{:<12}{}", "figure", out.display()))
    }
}

/// A number with its sign, short.
fn signed(x: f32) -> String {
    // The font's minus is as wide as its plus.
    format!("{x:+.2}").replace('-', "\u{2212}")
}

/// The images of latents as frames of a film.
fn frames(generator: &mut Drawing, latents: &[f32]) -> Result<Vec<RgbImage>> {
    let bar = Bar::new(latents.len() / generator.nz(), "frames");
    let images = generator.images_with(latents, |n| bar.add(n))?;
    bar.finish();
    let &[n, h, w, c] = images.shape() else { unreachable!("a generator gives images") };
    let factor = (FRAME / h.max(w) as u32).max(1);
    let frame = |i| Ok(upscale(&single(images.f32s(), [n, h, w, c], i)?, factor).into_rgb8());
    (0..n).map(frame).collect()
}
