//! What a training tells while it runs: a bar on a terminal, plain lines elsewhere.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::human;
use crate::terminal::{columns, message, message_above, set_message, set_prefix};
use crate::train::log::LogLine;

/// The progress of a training, on standard error.
#[derive(Debug)]
pub struct Progress {
    total: u64,
    out: Out,
}

enum Out {
    Bar {
        bar: ProgressBar,
        /// Columns that there are for it, which change with the window.
        columns: fn() -> usize,
    },
    /// What takes a line.
    Plain(Box<dyn FnMut(&str) + Send>),
}

impl std::fmt::Debug for Out {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Bar { .. } => "Bar",
            Self::Plain(_) => "Plain",
        })
    }
}

impl Progress {
    /// The progress towards `total_images`, from `start_images` on: a bar where standard error is
    /// a terminal, else a plain line for every report.
    #[must_use]
    pub fn new(total_images: u64, start_images: u64, is_terminal: bool) -> Self {
        if !is_terminal {
            return Self { total: total_images, out: Out::Plain(Box::new(|line| message(line))) };
        }
        Self::bar(total_images, start_images, ProgressDrawTarget::stderr(), columns)
    }

    fn bar(total: u64, start: u64, target: ProgressDrawTarget, columns: fn() -> usize) -> Self {
        let bar = ProgressBar::with_draw_target(Some(total), target).with_position(start);
        let progress = Self { total, out: Out::Bar { bar, columns } };
        progress.advance(start);
        progress
    }

    /// Moves the bar between reports; plain output waits for the report.
    pub fn advance(&self, images: u64) {
        if let Out::Bar { bar, columns } = &self.out {
            let (length, unit) = shape(columns());
            bar.set_style(style(length));
            bar.set_position(images);
            set_prefix(bar, &format!("{}{unit}", position(images, self.total)));
        }
    }

    /// Shows a report.
    pub fn report(&mut self, line: &LogLine) {
        self.advance(line.images);
        let fields = fields(line, self.total);
        match &mut self.out {
            Out::Bar { bar, columns } => {
                let columns = columns();
                let (length, unit) = shape(columns);
                let before = length + 1 + position(line.images, self.total).len() + unit.len();
                set_message(bar, &fit(&fields, columns.saturating_sub(before + GAP.len())));
            }
            Out::Plain(out) => {
                let text = fit(&fields, usize::MAX);
                out(&format!("{}{GAP}{text}", human::counted(line.images, "image")));
            }
        }
    }

    /// Prints a line that stays: above the bar, or among the plain ones.
    pub fn note(&mut self, text: &str) {
        match &mut self.out {
            Out::Bar { bar, .. } => message_above(bar, text),
            Out::Plain(out) => out(text),
        }
    }

    /// Leaves the bar as it stands and goes to the next line.
    pub fn finish(&mut self) {
        if let Out::Bar { bar, .. } = &self.out {
            bar.abandon();
        }
    }
}

/// Length of the bar, and what follows the count of images.
fn shape(columns: usize) -> (usize, &'static str) {
    match columns {
        ..100 => (10, ""),
        100..120 => (16, " images"),
        _ => (24, " images"),
    }
}

fn style(length: usize) -> ProgressStyle {
    ProgressStyle::with_template(&format!("{{bar:{length}.cyan/dim}} {{prefix}}  {{wide_msg}}"))
        .expect("the template is a constant, but for a number, that a test renders")
        .progress_chars("━╸─")
}

fn position(images: u64, total: u64) -> String {
    format!("{}/{}", human::count(images), human::count(total))
}

/// Waiting for pictures is worth a word from this part of the time on.
const WAITING: f32 = 0.05;

/// Between two fields.
const GAP: &str = "  ";

/// A part of a report, and its importance: the least goes first where there is little room.
struct Field(u8, String);

/// `2m10s left  73.1/s  loss_d 0.812  loss_g 1.934  D(x) 0.71  D(G(z)) 0.31`, without what was not
/// measured.
fn fields(line: &LogLine, total: u64) -> Vec<Field> {
    let mut fields = Vec::new();
    let mut add = |importance, text: String| fields.push(Field(importance, text));
    let rate = line.images_per_s;
    let left = total.saturating_sub(line.images);
    if left > 0 && rate.is_finite() && rate > 0.0 {
        add(9, format!("{} left", human::duration(left as f64 / rate)));
    }
    if rate.is_finite() {
        add(
            5,
            match rate {
                ..1000.0 => format!("{rate:.1}/s"),
                _ => format!("{}/s", human::count(rate as u64)),
            },
        );
    }
    // A loss that is no number is news; a probability that is none was not measured.
    add(7, format!("loss_d {:.3}", line.loss_d));
    add(6, format!("loss_g {:.3}", line.loss_g));
    for (name, value) in [("D(x)", line.d_real), ("D(G(z))", line.d_fake)] {
        if value.is_finite() {
            add(8, format!("{name} {value:.2}"));
        }
    }
    if let Some(slope) = line.slope {
        add(2, format!("slope {slope:.2}"));
    }
    if let Some(loss) = line.loss_class {
        add(3, format!("loss_class {loss:.3}"));
    }
    if let Some(p) = line.augment_p {
        add(1, format!("augment {p:.2}"));
    }
    if let Some(waiting) = line.waiting.filter(|&part| part >= WAITING) {
        add(4, format!("{:.0} % waiting for pictures", 100.0 * waiting));
    }
    fields
}

/// The most important fields that fit into so many columns, in their order.
fn fit(fields: &[Field], columns: usize) -> String {
    let mut kept: Vec<&Field> = fields.iter().collect();
    loop {
        let text = kept.iter().map(|field| field.1.as_str()).collect::<Vec<_>>().join(GAP);
        let least = kept.iter().enumerate().rev().min_by_key(|(_, field)| field.0);
        match least {
            Some((at, _)) if text.chars().count() > columns => _ = kept.remove(at),
            _ => return text,
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use std::sync::{Arc, Mutex};

    use indicatif::InMemoryTerm;

    use super::*;

    fn line() -> LogLine {
        LogLine {
            images: 12_800,
            images_per_s: 73.14,
            loss_d: 0.8123,
            loss_g: 1.9336,
            d_real: 0.712,
            d_fake: 0.306,
            ..LogLine::default()
        }
    }

    #[test]
    fn plain_lines_hold_one_report_each() {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&lines);
        let take = move |line: &str| shared.lock().unwrap().push(line.to_owned());
        let mut progress = Progress { total: 22_310, out: Out::Plain(Box::new(take)) };
        progress.advance(64);
        progress.report(&line());
        progress.note("a warning");
        progress.report(&LogLine { images: 22_310, ..line() });
        progress.finish();
        let report = "73.1/s  loss_d 0.812  loss_g 1.934  D(x) 0.71  D(G(z)) 0.31";
        let first = format!("12.8k images  2m10s left  {report}");
        let last = format!("22.3k images  {report}");
        assert_eq!(*lines.lock().unwrap(), [&first, "a warning", &last]);
    }

    fn describe(line: &LogLine, total: u64) -> String {
        fit(&fields(line, total), usize::MAX)
    }

    #[test]
    fn what_was_not_measured_is_left_out() {
        assert_eq!(describe(&LogLine::default(), 100), "loss_d NaN  loss_g NaN");
        let stalled = LogLine { images_per_s: 0.0, loss_d: 1.0, loss_g: 2.0, ..LogLine::default() };
        assert_eq!(describe(&stalled, 100), "0.0/s  loss_d 1.000  loss_g 2.000");
        let waits = |part| describe(&LogLine { waiting: Some(part), ..line() }, 0);
        assert!(!waits(0.04).contains("waiting"));
        assert!(waits(0.123).ends_with("D(G(z)) 0.31  12 % waiting for pictures"));
        let steep = LogLine { slope: Some(1.05), ..line() };
        assert!(describe(&steep, 0).ends_with("D(G(z)) 0.31  slope 1.05"));
        assert!(describe(&LogLine { images_per_s: 12_345.6, ..line() }, 0).starts_with("12.3k/s"));
    }

    /// What a terminal of so many columns shows after a report and a note.
    fn shown(width: u16, columns: fn() -> usize) -> Vec<String> {
        let term = InMemoryTerm::new(10, width);
        let target = ProgressDrawTarget::term_like(Box::new(term.clone()));
        let mut progress = Progress::bar(25_600, 6_400, target, columns);
        progress.report(&LogLine { slope: Some(1.05), waiting: Some(0.3), ..line() });
        progress.note("a warning");
        progress.finish();
        term.contents().lines().map(str::to_owned).collect()
    }

    #[test]
    fn the_bar_shows_position_report_and_notes() {
        let lines = shown(160, || 160);
        assert_eq!(lines[0], "a warning");
        assert!(lines[1].starts_with("━━━━━━━━━━━━╸"), "{lines:?}");
        assert!(
            lines[1].contains("12.8k/25.6k images  2m55s left  73.1/s  loss_d 0.812"),
            "{lines:?}"
        );
        assert!(lines[1].ends_with("slope 1.05  30 % waiting for pictures"), "{lines:?}");
        assert_eq!(lines.len(), 2, "{lines:?}");
    }

    #[test]
    fn a_narrow_terminal_shows_what_matters_in_one_line() {
        let report = |width, columns| {
            let lines = shown(width, columns);
            assert_eq!((lines.len(), lines[0].as_str()), (2, "a warning"), "{lines:?}");
            let (_, report) = lines[1].split_once("12.8k/25.6k").unwrap();
            report.to_owned()
        };
        let all = "  2m55s left  loss_d 0.812  D(x) 0.71  D(G(z)) 0.31";
        assert_eq!(report(80, || 80), all);
        assert_eq!(report(60, || 60), "  2m55s left  D(x) 0.71  D(G(z)) 0.31");
        assert_eq!(report(40, || 40), "  2m55s left");
    }
}
