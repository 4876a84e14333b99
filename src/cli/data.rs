//! `dcgan data`: what a set of images is like, before anything is trained on it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use image::DynamicImage;
use serde::Serialize;

use crate::data::{
    Crop, Filter, Prepare, Report, Source, Spread, SubsetWriter, contact_sheet, pack, survey,
    write_skipped,
};
use crate::error::{Error, Result};
use crate::models::Size;
use crate::{human, images};

use super::bar::Bar;
use super::flags::JsonFlag;
use super::options::spell;
use super::reading::{LabelFlags, ReadingFlags, tell_notes};

/// The most images that a contact sheet shows.
const MOST: u64 = 10_000;

#[derive(Debug, Args)]
pub(super) struct Data {
    /// Images: a folder, zip or tar of image files (PNG, JPEG, WebP, GIF, BMP, TIFF), a folder of
    /// tars as of webdataset, Parquet files as of Hugging Face, LMDB as of LSUN, IDX files as of MNIST,
    /// CIFAR-10 binary batches, or arrays in .npz, .npy, .mat or HDF5 files [default: 3,000 bundled
    /// avatars]
    #[arg(value_name = "DATA")]
    data: Option<PathBuf>,
    #[command(flatten)]
    reading: ReadingFlags,
    #[command(flatten)]
    labels: LabelFlags,
    /// Where to write a contact sheet: images as training will see them in its first epoch
    #[arg(long, value_name = "FILE.png", default_value = "contact-sheet.png")]
    sheet: PathBuf,
    /// Number of images on the contact sheet
    #[arg(
        long, value_name = "N", default_value_t = 64,
        value_parser = clap::value_parser!(u64).range(1..=MOST)
    )]
    count: u64,
    /// Random seed of the images shown and of random crops
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Also write the list of unreadable images to a text file, one per line
    #[arg(long, value_name = "FILE")]
    skipped: Option<PathBuf>,

    /// Image size, 64 or 96x64 (height x width): 4 to 7 pixels, doubled 1 to 6 times, at most
    /// 256
    #[arg(long, value_name = "SIZE", default_value = "64")]
    size: Size,
    /// Channels: 1 (gray), 3 (RGB) or 4 (RGBA) [default: 3, or 1 for IDX files]
    #[arg(long, value_name = "1|3|4")]
    channels: Option<usize>,
    /// Images of another aspect ratio: crop at the center, stretch, or crop at random
    #[arg(
        long, value_enum, default_value_t = Crop::default(), hide_possible_values = true,
        value_name = "center|none|random"
    )]
    crop: Crop,
    /// Resampling filter
    #[arg(long, value_enum, default_value_t = Filter::default())]
    resize: Filter,
    /// Mirror half of the images, left to right
    #[arg(long)]
    flip: bool,
    /// Write the set as a zip of PNGs of --size instead, with labels and captions: it is read many
    /// times faster than large images, and by StyleGAN's tools. Unreadable images are left out, none is
    /// mirrored
    #[arg(long, value_name = "OUT.zip", conflicts_with_all = ["sheet", "count", "seed", "flip"])]
    pack: Option<PathBuf>,
    #[command(flatten)]
    json: JsonFlag,
}

/// What `--pack` prints with `--json`.
#[derive(Debug, Serialize)]
struct PackJson<'a> {
    /// The set in a few words.
    data: &'a str,
    /// Images, unreadable ones included.
    images: usize,
    /// Images written.
    packed: usize,
    /// Captions written.
    captions: usize,
    classes: &'a [String],
    unreadable: Vec<Unreadable<'a>>,
    file: String,
    bytes: u64,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Json<'a> {
    /// The set in a few words.
    data: &'a str,
    /// Images, unreadable ones included.
    images: usize,
    readable: usize,
    /// Readable images of each format.
    formats: &'a BTreeMap<String, usize>,
    /// Readable images of each kind of pixels.
    colors: &'a BTreeMap<String, usize>,
    widths: Spread,
    heights: Spread,
    /// Every size, the most common first.
    sizes: Vec<Count<'a>>,
    /// Images smaller than `--size`.
    enlarged: usize,
    /// Images of another aspect than `--size`.
    reshaped: usize,
    /// Every class, in the order of its labels.
    classes: Vec<Class<'a>>,
    unreadable: Vec<Unreadable<'a>>,
    /// Whether `dcgan train` rejects the set because more than a tenth of it is unreadable.
    refused: bool,
    /// Seconds to decode and prepare all.
    seconds: f64,
    sheet: String,
}

#[derive(Debug, Serialize)]
struct Count<'a> {
    width: u32,
    height: u32,
    images: &'a usize,
}

#[derive(Debug, Serialize)]
struct Class<'a> {
    name: &'a str,
    images: usize,
}

#[derive(Debug, Serialize)]
struct Unreadable<'a> {
    name: &'a str,
    reason: &'a str,
}

impl<'a> Json<'a> {
    fn new(report: &'a Report, sheet: &Path) -> Self {
        let size = |((width, height), images): &'a ((u32, u32), usize)| Count {
            width: *width,
            height: *height,
            images,
        };
        let skipped = report.skipped.iter();
        Self {
            data: &report.description,
            images: report.listed,
            readable: report.listed - report.skipped.len(),
            formats: &report.formats,
            colors: &report.colors,
            widths: report.widths,
            heights: report.heights,
            sizes: report.sizes.iter().map(size).collect(),
            enlarged: report.enlarged,
            reshaped: report.reshaped,
            classes: report.labels.iter().map(|(name, n)| Class { name, images: *n }).collect(),
            unreadable: skipped.map(|s| Unreadable { name: &s.name, reason: &s.reason }).collect(),
            refused: report.is_refused(),
            seconds: report.time.as_secs_f64(),
            sheet: sheet.display().to_string(),
        }
    }
}

impl Data {
    /// Writes a set as a zip of small PNGs.
    fn pack(&self, source: &Source, prepare: &Prepare, out: &Path) -> Result<()> {
        if !SubsetWriter::is_zip(out) {
            let what = format!("{} is not a zip; give a name ending in .zip", out.display());
            return Err(Error::flag("--pack", what));
        }
        tell_notes(source);
        let mut writer = SubsetWriter::create(out)?;
        let bar = Bar::new(source.len(), "images");
        let report = pack(source, prepare, &mut writer, |n| bar.add(n));
        bar.finish();
        let report = report?;
        writer.finish()?;
        let bytes = std::fs::metadata(out).map_or(0, |metadata| metadata.len());
        let mut parts = vec![human::plural(report.images as u64, "image")];
        if source.labels().is_some() {
            parts.push(human::plural(source.classes().len() as u64, "class"));
        }
        if report.captions > 0 {
            parts.push(human::plural(report.captions as u64, "caption"));
        }
        let Prepare { height, width, channels, .. } = prepare;
        let (file, size) = (out.display(), human::bytes(bytes));
        self.json.println(&format!("{:<12}{}", "data", source.description()))?;
        self.json.println(&format!(
            "{:<12}{}, {width} x {height} x {channels}",
            "packed",
            parts.join(", ")
        ))?;
        self.json.println(&format!("{:<12}{file}, {size}", "file"))?;
        for skipped in &report.skipped {
            self.json.println(&format!("{:<12}{skipped}", "left out"))?;
        }
        if let Some(file) = &self.skipped {
            write_skipped(file, &report.skipped)?;
        }
        let skipped = report.skipped.iter();
        self.json.report(&PackJson {
            data: &source.description(),
            images: source.len(),
            packed: report.images,
            captions: report.captions,
            classes: source.classes(),
            unreadable: skipped.map(|s| Unreadable { name: &s.name, reason: &s.reason }).collect(),
            file: out.display().to_string(),
            bytes,
        })
    }

    pub(super) fn run(&self) -> Result<()> {
        let is_png = self.sheet.extension().is_some_and(|e| e.eq_ignore_ascii_case("png"));
        if !is_png {
            let what = format!("{} is not a PNG; give a name ending in .png", self.sheet.display());
            return Err(Error::flag("--sheet", what));
        }
        let reading = self.labels.add(self.reading.reading(None)?, false)?;
        let source = Source::open_as(self.data.as_deref(), &reading)?;
        let prepare = Prepare {
            height: self.size.height,
            width: self.size.width,
            channels: self.channels.unwrap_or(if source.is_gray() { 1 } else { 3 }),
            crop: self.crop,
            filter: self.resize,
            flip: self.flip,
        };
        prepare.check()?;
        if let Some(out) = &self.pack {
            return self.pack(&source, &prepare, out);
        }

        let bar = Bar::new(source.len(), "images");
        let mut report = survey(&source, &prepare, &|| bar.add(1))?;
        for note in &mut report.notes {
            *note = spell(note);
        }
        bar.finish();
        self.json.print(&report.to_string())?;
        if report.is_refused() {
            let what = "more than a tenth of the images are unreadable: training would refuse them";
            self.json.println(what)?;
        }
        if let Some(file) = &self.skipped {
            write_skipped(file, &report.skipped)?;
            let count = human::count(report.skipped.len() as u64);
            self.json.println(&format!("{:<12}{count} listed in {}", "skipped", file.display()))?;
        }
        let sheet = contact_sheet(&source, &prepare, self.count as usize, self.seed)?;
        images::save_png(&self.sheet, &DynamicImage::from(sheet))?;
        self.json.println(&format!("{:<12}{}", "sheet", self.sheet.display()))?;
        self.json.report(&Json::new(&report, &self.sheet))
    }
}
