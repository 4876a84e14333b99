//! `dcgan data`: what a set of pictures is like, before anything is trained on it.

use std::path::PathBuf;

use clap::Args;
use image::DynamicImage;
use indicatif::{ProgressBar, ProgressStyle};

use crate::data::{Crop, Filter, Kind, Prepare, Source, contact_sheet, survey, write_skipped};
use crate::error::{Error, Result};
use crate::models::Size;
use crate::{human, pictures};

use super::output::{print, println};
use super::reading::ReadingFlags;

/// The most pictures that a contact sheet shows.
const MOST: u64 = 10_000;

#[derive(Debug, Args)]
pub(super) struct Data {
    /// Pictures, as for `dcgan train` [default: 3,000 bundled avatars]
    #[arg(value_name = "DATA")]
    data: Option<PathBuf>,
    #[command(flatten)]
    reading: ReadingFlags,
    /// Where to write a contact sheet: pictures as training will see them in its first epoch
    #[arg(long, value_name = "FILE.png", default_value = "contact-sheet.png")]
    sheet: PathBuf,
    /// How many pictures the contact sheet shows
    #[arg(
        long, value_name = "N", default_value_t = 64,
        value_parser = clap::value_parser!(u64).range(1..=MOST)
    )]
    count: u64,
    /// Decides which pictures, and where random crops are
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Also write the list of unreadable pictures to a text file, one a line
    #[arg(long, value_name = "FILE")]
    skipped: Option<PathBuf>,

    /// Pictures' size, 64 or 96x64 (height x width): 4 to 7 pixels, doubled 1 to 6 times, at most
    /// 256
    #[arg(long, value_name = "SIZE", default_value = "64")]
    size: Size,
    /// Channels: 1 (grey), 3 (RGB) or 4 (RGBA) [default: 3, or 1 for IDX files]
    #[arg(long, value_name = "1|3|4")]
    channels: Option<usize>,
    /// Another aspect than the target's: cut out the middle, stretch, or cut out at random
    #[arg(
        long, value_enum, default_value_t = Crop::default(), hide_possible_values = true,
        value_name = "center|none|random"
    )]
    crop: Crop,
    /// How to resize
    #[arg(long, value_enum, default_value_t = Filter::default())]
    resize: Filter,
    /// Mirror every other picture, left to right
    #[arg(long)]
    flip: bool,
}

impl Data {
    pub(super) fn run(&self) -> Result<()> {
        let is_png = self.sheet.extension().is_some_and(|e| e.eq_ignore_ascii_case("png"));
        if !is_png {
            let what = format!("{} is no PNG; give a name that ends in .png", self.sheet.display());
            return Err(Error::flag("--sheet", what));
        }
        let source = Source::open_as(self.data.as_deref(), &self.reading.reading(None)?)?;
        let prepare = Prepare {
            height: self.size.height,
            width: self.size.width,
            channels: self.channels.unwrap_or(if source.kind() == Kind::Idx { 1 } else { 3 }),
            crop: self.crop,
            filter: self.resize,
            flip: self.flip,
        };
        prepare.check()?;

        let bar = bar(source.len() as u64);
        let report = survey(&source, &prepare, &|| bar.inc(1))?;
        bar.finish_and_clear();
        print(&report.to_string())?;
        if report.is_refused() {
            println("more than a tenth is unreadable: training would refuse this set")?;
        }
        if let Some(file) = &self.skipped {
            write_skipped(file, &report.skipped)?;
            let count = human::count(report.skipped.len() as u64);
            println(&format!("{:<12}{count} listed in {}", "skipped", file.display()))?;
        }
        let sheet = contact_sheet(&source, &prepare, self.count as usize, self.seed)?;
        pictures::save_png(&self.sheet, &DynamicImage::from(sheet))?;
        println(&format!("{:<12}{}", "sheet", self.sheet.display()))
    }
}

/// A bar on standard error, where that is a terminal.
fn bar(total: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:24.cyan/dim} {pos} of {len} pictures  {eta}")
        .expect("the template is a constant that a test renders")
        .progress_chars("━╸─");
    ProgressBar::new(total).with_style(style)
}

#[cfg(test)]
mod tests {
    use super::*;
    use indicatif::{InMemoryTerm, ProgressDrawTarget};

    #[test]
    fn the_bar_counts_pictures() {
        let terminal = InMemoryTerm::new(4, 80);
        let bar = bar(20);
        bar.set_draw_target(ProgressDrawTarget::term_like(Box::new(terminal.clone())));
        bar.set_position(10);
        bar.force_draw();
        assert!(terminal.contents().contains("10 of 20 pictures"), "{}", terminal.contents());
    }
}
