//! `dcgan walk`: from image to image through latent space.

use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args};
use image::RgbImage;

use crate::error::{Error, Result};
use crate::experiments::walk::{Interpolation, evenly, round_trip, stretch};
use crate::files;
use crate::images::figure::{Cell, Figure, Panel};
use crate::images::film::Format;
use crate::images::{columns, grid_of, single, upscale};
use crate::model::ModelFile;
use crate::tensor::Tensor;

use super::bar::Bar;
use super::drawing::Drawing;
use super::flags::at_least;
use super::latents::{ModelFlags, describe, named};
use super::output::println;
use super::points::{Locator, Point, Points, Range, TruncationFlag};
use super::seeds::Seeds;

mod classes;
mod coordinates;
mod directions;

/// Images of each strip, both ends included.
const STRIP: usize = 11;
/// Frames of the film are enlarged, pixel by pixel, while they stay within this.
const FRAME: u32 = 128;
/// Frames between two points.
const STEPS: usize = 30;

/// Walk through latent space: a film from image to image, from class to class, or along directions
///
/// The images of a generator that has not memorized its training set change smoothly on the way.
/// The film is a looping GIF, APNG or WebP through all points and back to the first; a figure shows
/// every segment as a strip. With --classes the points are classes, and the latents stay. With
/// --direction a figure shows steps along principal directions of the latent space, those that
/// change the generator's first layer most; with --vary, single coordinates.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("single").args(["vary", "direction"]),
    after_help = "Examples:\n  dcgan walk runs/00000-fast-avatars-64 --seeds 3,17,42 --out walk.webp\n  \
                        dcgan walk runs/00001-cgan-mnist-28 --classes 3,8,5 --seeds 0-8\n  \
                        dcgan walk runs/00000-fast-avatars-64 --direction 1-5 --seeds 3,17\n  \
                        dcgan walk runs/00000-fast-avatars-64 --direction 1 --out sway.gif\n  \
                        dcgan walk runs/00000-fast-avatars-64 --seeds 3 --vary 0,5,12 --range=-2..2\n  \
                        dcgan walk runs/00001-bigan-mnist-28 --seeds three.png,eight.png\n  \
                        dcgan walk runs/00002-int-cls-captioned-64 --text \"short red hair\" \
                        --to-text \"long gray hair\""
)]
pub(super) struct Walk {
    #[command(flatten)]
    model: ModelFlags,
    /// Points of the walk, in order: seeds, rows of files of latents (z.npy, z.npy:2), or, if the
    /// model has an encoder, images (a.png) [default: 0-8; with --classes, --direction or --vary: 0]
    #[arg(long, value_name = "LIST", allow_hyphen_values = true)]
    seeds: Option<Points>,
    #[command(flatten)]
    truncation: TruncationFlag,
    /// Keep this part of the latent as in the first point: structure or style for ss-gan, z1 or z0 for a
    /// stacked GAN
    #[arg(long, value_name = "PART", conflicts_with_all = ["single", "spherical"])]
    hold: Option<String>,
    /// Frames from one point to the next; with --direction, positions on each direction, and
    /// frames of a film along it; with --vary, values of each coordinate [default: 30; with
    /// --direction: 7, and 60 frames; with --vary: 9]
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
    /// Walk from class to class of a conditional model, by name or number, and back to the first;
    /// all for all classes. Latents stay: with several --seeds, a frame shows all of them
    #[arg(long, value_name = "LIST", value_delimiter = ',', conflicts_with_all = ["class", "linear", "spherical", "single"])]
    classes: Vec<String>,
    /// Walk from --text to this text of a model of texts, and back; may be given several times.
    /// Latents stay, as with --classes
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["classes", "linear", "spherical", "single"])]
    to_text: Vec<String>,
    /// Move along these principal directions (from 1, the largest change of the first layer),
    /// instead of walking
    #[arg(long, value_name = "LIST", conflicts_with_all = ["linear", "spherical"], value_parser = directions::list, allow_hyphen_values = true)]
    direction: Option<Seeds>,
    /// Vary these coordinates (from 0), one at a time, instead of walking
    #[arg(long, value_name = "LIST", conflicts_with_all = ["linear", "spherical", "fps", "strips"])]
    vary: Option<Seeds>,
    /// Range of each direction, in standard deviations of the latent, or of each varied coordinate
    /// [default: -3..3 for directions; -2..2 for coordinates of normal latents, -1..1 of uniform
    /// ones]
    #[arg(long, value_name = "LOW..HIGH", requires = "single", allow_hyphen_values = true)]
    range: Option<Range>,
    /// The film to write, .gif, .webp or .apng; with --vary, the figure, .png; with --direction,
    /// either [default: walk.gif; with --direction: directions.png; with --vary: vary.png]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// The figure beside a film [default: the film's name with extension png]
    #[arg(long, value_name = "FILE.png")]
    strips: Option<PathBuf>,
}

/// A film to write, and the figure beside it.
struct Outputs {
    film: PathBuf,
    format: Format,
    figure: PathBuf,
}

impl Walk {
    pub(super) fn run(&self) -> Result<()> {
        match (&self.vary, &self.direction) {
            (Some(coordinates), _) => self.vary(&coordinates.0),
            (_, Some(directions)) => self.directions(&directions.0),
            _ if !self.classes.is_empty() => self.classes(),
            _ if !self.to_text.is_empty() => self.texts(),
            _ => self.walk(),
        }
    }

    fn points(&self, model: &ModelFile, default: &str) -> Result<Vec<Point>> {
        let default = || default.parse().expect("a list of seeds");
        let mut points = self
            .seeds
            .clone()
            .unwrap_or_else(default)
            .load(&mut Locator::new(&self.model, model).truncated(self.truncation), "--seeds")?;
        let Some(part) = &self.hold else { return Ok(points) };
        let parts = &model.networks.parts;
        let range = parts.range(part).ok_or_else(|| {
            let names: Vec<&str> = parts.iter().map(|(name, _)| name).collect();
            let what = match names.is_empty() {
                true => "the latents of this model have no parts: leave it out".to_owned(),
                false => format!("there is no part {part:?}; there are {}", names.join(", ")),
            };
            Error::flag("--hold", what)
        })?;
        if let Some((first, others)) = points.split_first_mut() {
            for point in others {
                point.z[range.clone()].copy_from_slice(&first.z[range.clone()]);
            }
        }
        Ok(points)
    }

    /// What a figure says of the model and its latents.
    fn describe(&self, model: &ModelFile) -> String {
        let described = match self.to_text.is_empty() {
            true => self.model.describe(model),
            // The first text is one of several.
            false => describe(&self.model.path, model),
        };
        self.truncation.describe(described)
    }

    /// The files to write; an error lists the endings `others` as well.
    fn outputs(&self, others: &str) -> Result<Outputs> {
        let film = self.out.clone().unwrap_or_else(|| "walk.gif".into());
        let format = format_of(&film, others)?;
        let figure = self.strips.clone().unwrap_or_else(|| film.with_extension("png"));
        named("--strips", &figure, "png")?;
        Ok(Outputs { film, format, figure })
    }

    /// Writes the film and the figure beside it.
    fn write(&self, outputs: &Outputs, frames: &[RgbImage], figure: &Figure) -> Result<()> {
        let Outputs { film, format, figure: strips } = outputs;
        let ms = (1000 / self.fps).max(20);
        let encoded = format
            .encode(frames.iter().map(|frame| (frame, ms)))
            .map_err(|e| Error::file(film, format!("cannot be made a film ({format}): {e}")))?;
        files::write_bytes(film, &encoded)?;
        println(&format!("{:<12}{}", "film", film.display()))?;
        figure.save(strips)?;
        println(&format!("{:<12}{}", "strips", strips.display()))
    }

    fn walk(&self) -> Result<()> {
        let outputs = self.outputs("")?;
        let model = self.model.load()?;
        let points = self.points(&model, "0-8")?;
        if points.len() < 2 {
            let what = "a walk needs two points or more, such as 3,17,42";
            return Err(Error::flag("--seeds", what));
        }
        let distribution = model.networks.latent_distribution;
        let how = match (self.linear, self.spherical) {
            (true, _) => Interpolation::Linear,
            // An arc would not keep the part.
            _ if self.hold.is_some() => Interpolation::Linear,
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
        let latents = round_trip(&latents, steps, how);
        let bar = Bar::new(latents.len() / generator.nz(), "images");
        let images = generator.images_with(&latents, |n| bar.add(n))?;
        bar.finish();
        self.write(&outputs, &frames(&images, 1)?, &figure)
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
            frame_ends(&mut cells);
            panel = panel.row(format!("{}\nto {}", from.name, to.name), cells);
        }
        let figure = Figure::new("A walk in latent space")
            .note(format!("{}. Interpolation: {why}.", self.describe(model)));
        Ok(figure.panel(panel))
    }
}

/// The format of a film, by its name; an error lists the endings `others` as well.
fn format_of(path: &Path, others: &str) -> Result<Format> {
    Format::of(path).ok_or_else(|| {
        let videos = ["mp4", "m4v", "mov", "mkv", "webm", "avi"];
        let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
        let path = path.display();
        let what = match videos.iter().any(|video| extension == *video) {
            true => format!(
                "{path} cannot be written: films are .gif, .webp or .apng; ffmpeg makes others of an \
                 .apng, as in ffmpeg -i walk.apng -pix_fmt yuv420p walk.mp4"
            ),
            false => format!("{path} does not end in {others}.gif, .webp or .apng"),
        };
        Error::flag("--out", what)
    })
}

/// Frames the first and the last cell of a strip: what it leads from, and to.
fn frame_ends(cells: &mut [Cell]) {
    for end in [0, cells.len() - 1] {
        cells[end] = std::mem::take(&mut cells[end]).framed();
    }
}

/// A number with its sign, short.
fn signed(x: f32) -> String {
    // The font's minus is as wide as its plus.
    format!("{x:+.2}").replace('-', "\u{2212}")
}

/// Frames of a film that show `each` of the images `[n, h, w, c]` at a time: one, or a grid.
fn frames(images: &Tensor, each: usize) -> Result<Vec<RgbImage>> {
    let &[n, h, w, c] = images.shape() else { unreachable!("a generator gives images") };
    let factor = (FRAME / h.max(w) as u32).max(1);
    let frame = |i| {
        if each == 1 {
            return Ok(upscale(&single(images.f32s(), [n, h, w, c], i)?, factor).into_rgb8());
        }
        let image = h * w * c;
        let some = &images.f32s()[i * each * image..(i + 1) * each * image];
        Ok(grid_of(some, [each, h, w, c], columns(each))?.into_rgb8())
    };
    (0..n / each.max(1)).map(frame).collect()
}
