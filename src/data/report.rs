//! Statistics and a contact sheet of a set, before anything is trained on it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use image::RgbImage;
use image::imageops;
use rayon::prelude::*;
use serde::Serialize;

use super::loader::{Skipped, is_too_many};
use super::messages::count;
use super::order::Order;
use super::prepare::{Crop, Prepare, mirror};
use super::source::Source;
use crate::error::{Error, Result};
use crate::human::grouped;

/// Pixels between the images of a contact sheet.
const GAP: usize = 2;

/// The longest list that the printed report gives of anything.
const LISTED: usize = 12;

/// The smallest, the middle and the largest of some sizes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Spread {
    /// The smallest.
    pub min: u32,
    /// The middle one (of an even number, the lower of the two).
    pub median: u32,
    /// The largest.
    pub max: u32,
}

impl Spread {
    fn of(mut values: Vec<u32>) -> Self {
        values.sort_unstable();
        match (values.first(), values.last()) {
            (Some(&min), Some(&max)) => Self { min, median: values[(values.len() - 1) / 2], max },
            _ => Self::default(),
        }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}, median {}", self.min, self.max, self.median)
    }
}

/// What [`survey`] found.
#[derive(Clone, Debug)]
pub struct Report {
    /// The source in a few words.
    pub description: String,
    /// Images listed, unreadable ones included.
    pub listed: usize,
    /// Readable images by format.
    pub formats: BTreeMap<String, usize>,
    /// Readable images by what their pixels are.
    pub colors: BTreeMap<String, usize>,
    /// Widths of the readable images.
    pub widths: Spread,
    /// Heights of the readable images.
    pub heights: Spread,
    /// (width, height) and how many have it, the most common first.
    pub sizes: Vec<((u32, u32), usize)>,
    /// Images with fewer rows or columns than the target, which will be enlarged.
    pub enlarged: usize,
    /// Images whose aspect is not that of the target: cropped, or stretched.
    pub reshaped: usize,
    /// What was decided about the set and what was left aside, a sentence each.
    pub notes: Vec<String>,
    /// What makes the classes, as in `folder level 1`.
    pub classes_by: Option<String>,
    /// The name of each class and how many readable images it has.
    pub labels: Vec<(String, usize)>,
    /// The unreadable images and why.
    pub skipped: Vec<Skipped>,
    /// What the images are prepared for.
    pub prepare: Prepare,
    /// How long it took to decode and prepare all, on every core.
    pub time: Duration,
}

/// Decodes and prepares every image once, on every core, and counts what it sees. `progress` is
/// called from any thread, once an image.
///
/// # Errors
/// [`Error::Config`] for a target that cannot be made.
pub fn survey(source: &Source, prepare: &Prepare, progress: &(dyn Fn() + Sync)) -> Result<Report> {
    prepare.check()?;
    let start = Instant::now();
    let seen: Vec<_> = (0..source.len())
        .into_par_iter()
        .map(|item| {
            let seen = source.with_image(item, |image| {
                let size = (image.pixels.width(), image.pixels.height());
                // Only to know that it can be done, and how fast.
                let _ = std::hint::black_box(prepare.apply(image.pixels, 0));
                (size, image.format, image.color)
            });
            progress();
            seen
        })
        .collect();
    let time = start.elapsed();

    let mut formats = BTreeMap::new();
    let mut colors = BTreeMap::new();
    let mut sizes = BTreeMap::new();
    let mut labels: Vec<_> = source.classes().iter().map(|name| (name.clone(), 0)).collect();
    let mut skipped = Vec::new();
    let (mut widths, mut heights) = (Vec::new(), Vec::new());
    let (mut enlarged, mut reshaped) = (0, 0);
    for (item, seen) in seen.into_iter().enumerate() {
        match seen {
            Ok(((width, height), format, color)) => {
                *formats.entry(format.to_owned()).or_default() += 1;
                *colors.entry(color).or_default() += 1;
                *sizes.entry((width, height)).or_default() += 1;
                widths.push(width);
                heights.push(height);
                let (w, h) = (width as usize, height as usize);
                enlarged += usize::from(w < prepare.width || h < prepare.height);
                reshaped += usize::from(w * prepare.height != h * prepare.width);
                if let Some(all) = source.labels() {
                    labels[all[item] as usize].1 += 1;
                }
            }
            Err(reason) => skipped.push(Skipped { name: source.item_name(item), reason }),
        }
    }
    let mut sizes: Vec<_> = sizes.into_iter().collect();
    sizes.sort_by_key(|&(size, count)| (std::cmp::Reverse(count), size));
    Ok(Report {
        description: source.description(),
        notes: source.notes().iter().cloned().chain(source.captions_note()).collect(),
        classes_by: source.classes_by().map(str::to_owned),
        listed: source.len(),
        formats,
        colors,
        widths: Spread::of(widths),
        heights: Spread::of(heights),
        sizes,
        enlarged,
        reshaped,
        labels,
        skipped,
        prepare: prepare.clone(),
        time,
    })
}

impl Report {
    /// Whether training rejects the set because too much of it is unreadable.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        is_too_many(self.skipped.len(), self.listed)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let readable = self.listed - self.skipped.len();
        let n = |count: usize| grouped(count as u64);
        let list = |all: &BTreeMap<String, usize>| {
            let mut all: Vec<_> = all.iter().collect();
            all.sort_by_key(|&(_, &count)| std::cmp::Reverse(count));
            let parts = all.iter().map(|(name, count)| format!("{} {name}", n(**count)));
            parts.collect::<Vec<_>>().join(", ")
        };
        let mut row = |name: &str, value: String| writeln!(f, "{name:<12}{value}");
        row("data", self.description.clone())?;
        for note in &self.notes {
            row("note", note.clone())?;
        }
        row("readable", format!("{} of {}", n(readable), n(self.listed)))?;
        if readable > 0 {
            row("formats", list(&self.formats))?;
            row("colors", list(&self.colors))?;
            row("widths", self.widths.to_string())?;
            row("heights", self.heights.to_string())?;
            let common = self.sizes.iter().take(4);
            let common = common.map(|((w, h), count)| format!("{w} x {h} ({})", n(*count)));
            let more = match self.sizes.len().saturating_sub(4) {
                0 => String::new(),
                more => format!(" and {} more", n(more)),
            };
            row("sizes", format!("{}{more}", common.collect::<Vec<_>>().join(", ")))?;
        }
        let Prepare { height, width, channels, crop, filter, .. } = &self.prepare;
        let mut target = format!("{width} x {height} x {channels}");
        if self.reshaped > 0 {
            let how = match crop {
                Crop::None => "stretched".into(),
                crop => format!("cropped ({crop})"),
            };
            target += &format!(", {} {how}", n(self.reshaped));
        }
        if self.enlarged > 0 {
            target += &format!(", {} enlarged ({filter})", n(self.enlarged));
        }
        row("prepared as", target)?;
        let seconds = self.time.as_secs_f64();
        if seconds > 0.0 {
            let rate = self.listed as f64 / seconds;
            row("speed", format!("{} decoded a second", count(rate as usize, "image")))?;
        }
        if let Some(by) = &self.classes_by {
            row("classes by", by.clone())?;
        }
        let mut first = "classes";
        for (name, count) in self.labels.iter().take(LISTED) {
            row(first, format!("{name} ({})", n(*count)))?;
            first = "";
        }
        if let Some(more @ 1..) = self.labels.len().checked_sub(LISTED) {
            row("", format!("and {} more", n(more)))?;
        }
        let mut first = "unreadable";
        for skipped in self.skipped.iter().take(LISTED) {
            row(first, skipped.to_string())?;
            first = "";
        }
        if let Some(more @ 1..) = self.skipped.len().checked_sub(LISTED) {
            row("", format!("and {} more", n(more)))?;
        }
        Ok(())
    }
}

/// A grid of `images` images as training will see them in its first epoch under `seed`: cut,
/// resized, flipped. Unreadable ones are passed over; fewer are shown where there are fewer.
///
/// # Errors
/// [`Error::Config`] for a target that cannot be made, [`Error::File`] where nothing is readable.
pub fn contact_sheet(
    source: &Source,
    prepare: &Prepare,
    images: usize,
    seed: u64,
) -> Result<RgbImage> {
    prepare.check()?;
    let order = Order { seed, count: source.len(), batch: 1 };
    let mut tiles = Vec::new();
    for item in order.shuffled(0) {
        if tiles.len() >= images {
            break;
        }
        let Ok(image) = source.image(item as usize) else { continue };
        let mut tile = prepare.apply(image.pixels, order.crop_chance(0, item));
        if prepare.flip && order.is_flipped(0, item) {
            mirror(&mut tile, prepare.width, prepare.channels);
        }
        tiles.push(tile);
    }
    if tiles.is_empty() {
        return Err(Error::file(source.origin(), "DATA has no readable image to show"));
    }
    let (h, w) = (prepare.height, prepare.width);
    let columns = columns(tiles.len(), h, w);
    let rows = tiles.len().div_ceil(columns);
    let side = |count: usize, size: usize| (count * (size + GAP) - GAP) as u32;
    let mut sheet =
        RgbImage::from_pixel(side(columns, w), side(rows, h), image::Rgb([255, 255, 255]));
    for (i, tile) in tiles.iter().enumerate() {
        let (x, y) = (i % columns * (w + GAP), i / columns * (h + GAP));
        imageops::replace(&mut sheet, &to_rgb(tile, prepare), x as i64, y as i64);
    }
    Ok(sheet)
}

/// As many columns as make the sheet about square.
fn columns(images: usize, height: usize, width: usize) -> usize {
    let ideal = (images as f64 * height as f64 / width as f64).sqrt();
    (ideal.round() as usize).clamp(1, images)
}

/// A prepared image for showing: gray as RGB, transparent parts over white.
fn to_rgb(tile: &[u8], prepare: &Prepare) -> RgbImage {
    let shown: Vec<u8> = match prepare.channels {
        1 => tile.iter().flat_map(|&v| [v; 3]).collect(),
        4 => tile
            .chunks_exact(4)
            .flat_map(|p| {
                let alpha = u32::from(p[3]);
                [p[0], p[1], p[2]]
                    .map(|v| ((u32::from(v) * alpha + 255 * (255 - alpha) + 127) / 255) as u8)
            })
            .collect(),
        _ => tile.to_vec(),
    };
    RgbImage::from_raw(prepare.width as u32, prepare.height as u32, shown)
        .expect("a prepared image has the size that its target says")
}
