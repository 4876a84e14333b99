//! `dcgan dedup`: a set without its near-duplicates.

use std::path::{Path, PathBuf};

use clap::Args;
use image::DynamicImage;
use image::imageops::FilterType;
use serde::Serialize;

use crate::data::{Part, Reading, Source, SubsetWriter, count};
use crate::error::{Error, Result};
use crate::experiments::dedup::{Found, Group, Rule, Search, Stage, find};
use crate::files;
use crate::human::{self, grouped};
use crate::images::figure::{Cell, Figure, Panel};

use super::bar::Bar;
use super::flags::{DeviceFlag, at_least};
use super::latents::named;
use super::output::{println, tell};
use super::reading::{PartFlag, tell_notes};

/// Groups on a page: rows, and panels per row.
const ROWS: usize = 12;
const PANELS: usize = 3;
/// Images drawn of a group.
const SHOWN: usize = 6;
/// Pixels of the longer side of a drawn image.
const SIDE: u32 = 64;
/// Letters of a name below an image.
const LETTERS: usize = 14;

/// Copy a set of images without its near-duplicates, as the DCGAN paper did with its training set
///
/// An autoencoder (3072-128-3072, trained on the set itself at 32x32) turns every image into a code
/// of 128 bits. Images whose codes agree in part, at some shift of up to two of 32 pixels, are
/// compared pixel by pixel; those that agree everywhere except for brightness, a small shift and
/// compression artifacts are duplicates. The image with the most pixels of each group is kept.
/// Files are copied unchanged, including unreadable images; other files are not copied. Besides the
/// training, it takes 4 KB of memory and about a millisecond per image.
#[derive(Debug, Args)]
#[command(mut_arg("part", |arg| arg.help("Which part of DATA: train, test or all [default: all]")))]
#[command(after_help = "Examples:\n  dcgan dedup photos/ --dry-run          # would remove: \
                        dedup.png, dedup.json\n  dcgan dedup photos/ --out kept/        # the \
                        others, unchanged\n  dcgan dedup photos.zip --out kept.zip")]
pub(super) struct Dedup {
    /// Images, as for `dcgan train` [default: 3,000 bundled avatars]
    #[arg(value_name = "DATA")]
    data: Option<PathBuf>,
    #[command(flatten)]
    part: PartFlag,
    /// Where to write the images kept: a new or empty folder, or a zip if the name ends in .zip
    #[arg(long, value_name = "FOLDER|FILE.zip", required_unless_present = "dry_run")]
    out: Option<PathBuf>,
    /// Write only the sheets and the report
    #[arg(long, conflicts_with = "out")]
    dry_run: bool,
    /// Use the paper's plain rule: images with equal codes are duplicates, whatever their pixels;
    /// finds hardly any shifted copies
    #[arg(long, conflicts_with = "limit")]
    exact: bool,
    /// Largest difference between duplicates, in the block that differs most: 0.5 finds fewer; 1.2
    /// finds more, and some that only look alike
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    limit: f32,
    /// Training steps of the autoencoder, 128 images each
    #[arg(long, value_name = "N", default_value_t = 600, value_parser = at_least(1))]
    steps: usize,
    /// Random seed of the autoencoder's initialization and noise
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Contact sheet of the groups, least certain first; further pages are named dedup-2.png
    /// and so on
    #[arg(long, value_name = "FILE.png", default_value = "dedup.png")]
    sheet: PathBuf,
    /// Maximum number of contact sheet pages, 36 groups each
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = at_least(1))]
    pages: usize,
    /// The report: every group and every pair, with their differences
    #[arg(long, value_name = "FILE.json", default_value = "dedup.json")]
    report: PathBuf,
    #[command(flatten)]
    device: DeviceFlag,
}

impl Dedup {
    pub(super) fn run(&self) -> Result<()> {
        let sheet = named("--sheet", &self.sheet, "png")?;
        let report = named("--report", &self.report, "json")?;
        if !(self.limit > 0.0 && self.limit.is_finite()) {
            return Err(Error::flag("--limit", "a number above 0 is needed, such as 1"));
        }
        if let Some(out) = &self.out {
            SubsetWriter::check(out)?;
            self.check_apart(out)?;
        }
        let reading = Reading::of(self.part.part.unwrap_or(Part::All));
        let source = Source::open_as(self.data.as_deref(), &reading)?;
        tell_notes(&source);
        println(&format!("{:<12}{}", "data", source.description()))?;
        let rule = if self.exact { Rule::Codes } else { Rule::Pixels };
        let search = Search { rule, limit: self.limit, steps: self.steps, seed: self.seed };
        let device = self.device.open(false)?;
        let mut bars = Bars::default();
        let found =
            find(&source, &device, &search, &mut |stage, total, n| bars.add(stage, total, n));
        bars.finish();
        let found = found?;
        for skipped in &found.skipped {
            tell!("unreadable, kept: {skipped}");
        }
        println(&summary(&found, source.len()))?;
        self.write_report(report, &source, &found, &search)?;
        println(&format!("{:<12}{}", "report", report.display()))?;
        if !found.groups.is_empty() {
            for line in self.draw(sheet, &source, &found)? {
                println(&format!("{:<12}{line}", "sheet"))?;
            }
        }
        match &self.out {
            Some(out) => self.copy(out, &source, &found),
            None => println(&format!("{:<12}nothing was copied", "dry run")),
        }
    }

    /// Refuses to write into the set itself: the output would be part of it next time.
    fn check_apart(&self, out: &Path) -> Result<()> {
        let Some(data) = self.data.as_deref().and_then(|data| data.canonicalize().ok()) else {
            return Ok(());
        };
        let above = out.parent().filter(|above| !above.as_os_str().is_empty());
        let above = above.unwrap_or(Path::new(".")).canonicalize();
        if data.is_dir() && above.is_ok_and(|above| above.starts_with(&data)) {
            let what = format!("{} is inside DATA; give a place outside it", out.display());
            return Err(Error::flag("--out", what));
        }
        Ok(())
    }

    /// Copies what is kept.
    fn copy(&self, out: &Path, source: &Source, found: &Found) -> Result<()> {
        let kept = found.kept(source.len());
        let mut writer = SubsetWriter::create(out)?;
        let bar = Bar::new(kept.len(), "images copied");
        let lost = source.write_subset(&kept, &found.unreadable, &mut writer, |n| bar.add(n))?;
        writer.finish()?;
        bar.finish();
        for lost in &lost {
            tell!("could not be copied: {lost}");
        }
        let copied = kept.len() - lost.len();
        println(&format!("{:<12}{} in {}", "kept", count(copied, "image"), out.display()))
    }

    fn write_report(
        &self,
        path: &Path,
        source: &Source,
        found: &Found,
        search: &Search,
    ) -> Result<()> {
        let name = |item: u32| source.item_name(item as usize);
        let flips = &found.bits.flips;
        let report = Report {
            data: source.origin().display().to_string(),
            images: source.len(),
            rule: if search.rule == Rule::Codes { "equal codes" } else { "pixels" },
            limit: (search.rule == Rule::Pixels).then_some(search.limit),
            steps: search.steps,
            seed: search.seed,
            loss: found.loss,
            bits_of_information: found.bits.information().iter().sum(),
            bits_changed_by_one_pixel: match flips.len() {
                0 => None,
                n => Some(flips.iter().sum::<f32>() / n as f32),
            },
            candidates: found.candidates,
            dropped: found.dropped(),
            unreadable: found.skipped.iter().map(ToString::to_string).collect(),
            groups: found
                .groups
                .iter()
                .map(|group| GroupReport {
                    kept: name(group.keep),
                    dropped: group.drop.iter().map(|&item| name(item)).collect(),
                    difference: group.difference,
                })
                .collect(),
            pairs: found
                .links
                .iter()
                .map(|link| PairReport {
                    a: name(link.a),
                    b: name(link.b),
                    bits: link.bits,
                    difference: link.likeness.map(|like| like.difference),
                    shift: link.likeness.map(|like| like.shift),
                    gain: link.likeness.map(|like| like.gain),
                })
                .collect(),
        };
        let fail = |e: serde_json::Error| Error::file(path, format!("cannot be made JSON: {e}"));
        let mut text = serde_json::to_string_pretty(&report).map_err(fail)?;
        text.push('\n');
        files::write_bytes(path, text.as_bytes())
    }

    /// Draws the groups, the least certain first, and names the files.
    fn draw(&self, sheet: &Path, source: &Source, found: &Found) -> Result<Vec<String>> {
        let mut groups: Vec<&Group> = found.groups.iter().collect();
        groups.sort_by(|a, b| b.difference.total_cmp(&a.difference));
        let pages: Vec<&[&Group]> = groups.chunks(ROWS * PANELS).collect();
        let mut lines = Vec::new();
        for (i, page) in pages.iter().take(self.pages).enumerate() {
            let path = match i {
                0 => sheet.to_owned(),
                i => {
                    let stem = sheet.file_stem().unwrap_or_default().to_string_lossy();
                    sheet.with_file_name(format!("{stem}-{}.png", i + 1))
                }
            };
            let first = i * ROWS * PANELS;
            let title = format!("Near-duplicates in {}", source.origin().display());
            let text = if self.exact {
                "by equal codes. Framed: the image that stays.".to_owned()
            } else {
                format!(
                    "the least certain first. Framed: the image that stays. Below the others: \
                     how much they differ from the image of the group that is most like them, \
                     where {} is the limit.",
                    self.limit
                )
            };
            let (last, all) = (first + page.len(), grouped(groups.len() as u64));
            let note = format!("Groups {} to {last} of {all}, {text}", first + 1);
            let mut figure = Figure::new(title).enlarge_to(SIDE).note(note);
            for (p, groups) in page.chunks(ROWS).enumerate() {
                let mut panel = Panel::new("");
                for (r, group) in groups.iter().enumerate() {
                    let number = (first + p * ROWS + r + 1).to_string();
                    panel = panel.row(number, cells(source, found, group));
                }
                figure = figure.beside(panel);
            }
            figure.save(&path)?;
            lines.push(path.display().to_string());
        }
        if let (Some(line), true) = (lines.last_mut(), pages.len() > self.pages) {
            let rest = groups.len() - self.pages * ROWS * PANELS;
            *line += &format!(" ({} more: --pages {})", count(rest, "group"), pages.len());
        }
        Ok(lines)
    }
}

/// The results as text.
fn summary(found: &Found, total: usize) -> String {
    let n = |n: usize| grouped(n as u64);
    let share = 100.0 * found.dropped() as f64 / total.max(1) as f64;
    let [read, train, encode, find, compare] = found.seconds.map(human::duration);
    let seconds: f64 = found.seconds.iter().sum();
    let each = 1e3 * seconds / total.max(1) as f64;
    format!(
        "{:<12}{} of {} in {} {} of another ({share:.1} %)\n\
         {:<12}{each:.2} ms an image: {read} reading, {train} training, {encode} encoding, {find} \
         looking up, {compare} comparing {}",
        "found",
        n(found.dropped()),
        count(total, "image"),
        count(found.groups.len(), "group"),
        if found.dropped() == 1 { "is a near-duplicate" } else { "are near-duplicates" },
        "time",
        count(found.candidates, "pair"),
    )
}

/// The images of a group: the one that stays, then the others.
fn cells(source: &Source, found: &Found, group: &Group) -> Vec<Cell> {
    let rest = (group.drop.len() + 1).saturating_sub(SHOWN);
    let last = group.drop.len().min(SHOWN - 1);
    let others = group.drop[..last].iter().enumerate().map(|(i, &item)| {
        let differences = found.links.iter().filter(|link| link.a == item || link.b == item);
        let least = differences.filter_map(|link| Some(link.likeness?.difference)).reduce(f32::min);
        let mut text = least.map_or("equal code".to_owned(), |least| format!("{least:.2}"));
        if rest > 0 && i + 1 == last {
            text += &format!(", {rest} more");
        }
        cell(source, item).caption(format!("{text}\n{}", short(&source.item_name(item as usize))))
    });
    let name = short(&source.item_name(group.keep as usize));
    let kept = cell(source, group.keep).framed().caption(format!("stays\n{name}"));
    [kept].into_iter().chain(others).collect()
}

/// An image no larger than [`SIDE`]; empty if it can no longer be read.
fn cell(source: &Source, item: u32) -> Cell {
    let Ok(image) = source.image(item as usize) else { return Cell::empty() };
    let image = image.pixels;
    let large = image.width().max(image.height()) > SIDE;
    let image = if large { image.resize(SIDE, SIDE, FilterType::Triangle) } else { image };
    // Images of 16 bits and the like are shown in 8.
    Cell::new(DynamicImage::from(image.into_rgba8()))
}

/// The end of a name.
fn short(name: &str) -> String {
    let letters = name.chars().count();
    if letters <= LETTERS {
        return name.to_owned();
    }
    let end: String = name.chars().skip(letters - LETTERS + 1).collect();
    format!("\u{2026}{end}")
}

/// A bar for each stage, one after another.
#[derive(Debug, Default)]
struct Bars(Option<(Stage, Bar)>);

impl Bars {
    fn add(&mut self, stage: Stage, total: usize, n: usize) {
        if self.0.as_ref().is_none_or(|(now, _)| *now != stage) {
            let what = match stage {
                Stage::Read => "images read",
                Stage::Train => "training steps",
                Stage::Encode => "images encoded",
                Stage::Match => "codes looked up",
                Stage::Compare => "pairs compared",
            };
            if let Some((_, bar)) = self.0.replace((stage, Bar::new(total, what))) {
                bar.finish();
            }
        }
        if let Some((_, bar)) = &self.0 {
            bar.add(n);
        }
    }

    fn finish(self) {
        if let Some((_, bar)) = self.0 {
            bar.finish();
        }
    }
}

/// The report as JSON. Times are left out: the same set and seed give the same bytes.
#[derive(Debug, Serialize)]
struct Report {
    data: String,
    images: usize,
    rule: &'static str,
    limit: Option<f32>,
    steps: usize,
    seed: u64,
    loss: f32,
    bits_of_information: f32,
    bits_changed_by_one_pixel: Option<f32>,
    candidates: usize,
    dropped: usize,
    unreadable: Vec<String>,
    groups: Vec<GroupReport>,
    pairs: Vec<PairReport>,
}

#[derive(Debug, Serialize)]
struct GroupReport {
    kept: String,
    dropped: Vec<String>,
    difference: f32,
}

#[derive(Debug, Serialize)]
struct PairReport {
    a: String,
    b: String,
    bits: u32,
    difference: Option<f32>,
    shift: Option<[f32; 2]>,
    gain: Option<f32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_their_end() {
        assert_eq!(short("train/a.png"), "train/a.png");
        assert_eq!(short("train/automobile/0001.jpg"), "\u{2026}bile/0001.jpg");
    }
}
