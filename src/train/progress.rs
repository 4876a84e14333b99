//! What a training tells while it runs: a bar on a terminal, plain lines elsewhere.

use std::io::{self, Write};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::human;
use crate::train::log::LogLine;

/// The progress of a training, on standard error.
#[derive(Debug)]
pub struct Progress {
    total: u64,
    out: Out,
}

enum Out {
    Bar(ProgressBar),
    Plain(Box<dyn Write + Send>),
}

impl std::fmt::Debug for Out {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Bar(_) => "Bar",
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
            return Self { total: total_images, out: Out::Plain(Box::new(io::stderr())) };
        }
        Self::bar(total_images, start_images, ProgressDrawTarget::stderr())
    }

    fn bar(total: u64, start: u64, target: ProgressDrawTarget) -> Self {
        let bar = ProgressBar::with_draw_target(Some(total), target).with_position(start);
        let style = ProgressStyle::with_template("{bar:24.cyan/dim} {prefix}  {wide_msg}")
            .expect("the template is a constant that a test renders")
            .progress_chars("━╸─");
        bar.set_style(style);
        bar.set_prefix(position(start, total));
        Self { total, out: Out::Bar(bar) }
    }

    /// Moves the bar between reports; plain output waits for the report.
    pub fn advance(&self, images: u64) {
        if let Out::Bar(bar) = &self.out {
            bar.set_position(images);
            bar.set_prefix(position(images, self.total));
        }
    }

    /// Shows a report.
    pub fn report(&mut self, line: &LogLine) {
        let text = describe(line, self.total);
        match &mut self.out {
            Out::Bar(bar) => {
                bar.set_position(line.images);
                bar.set_prefix(position(line.images, self.total));
                bar.set_message(text);
            }
            Out::Plain(out) => {
                // A closed pipe must not end a training.
                let _ = writeln!(out, "{} images  {text}", human::count(line.images));
            }
        }
    }

    /// Prints a line that stays: above the bar, or among the plain ones.
    pub fn note(&mut self, text: &str) {
        match &mut self.out {
            // A bar that is not drawn would swallow it.
            Out::Bar(bar) if !bar.is_hidden() => bar.println(text),
            Out::Bar(_) => eprintln!("{text}"),
            Out::Plain(out) => _ = writeln!(out, "{text}"),
        }
    }

    /// Leaves the bar as it stands and goes to the next line.
    pub fn finish(&mut self) {
        match &mut self.out {
            Out::Bar(bar) => bar.abandon(),
            Out::Plain(out) => _ = out.flush(),
        }
    }
}

fn position(images: u64, total: u64) -> String {
    format!("{}/{} images", human::count(images), human::count(total))
}

/// Waiting for pictures is worth a word from this part of the time on.
const WAITING: f32 = 0.05;

/// `73.1/s  loss_d 0.812  loss_g 1.934  D(x) 0.71  D(G(z)) 0.31  2m10s left`, without what was
/// not measured.
fn describe(line: &LogLine, total: u64) -> String {
    let mut parts = Vec::new();
    let rate = line.images_per_s;
    if rate.is_finite() {
        parts.push(if rate < 1000.0 {
            format!("{rate:.1}/s")
        } else {
            format!("{}/s", human::count(rate as u64))
        });
    }
    // A loss that is no number is news; a probability that is none was not measured.
    parts.push(format!("loss_d {:.3}", line.loss_d));
    parts.push(format!("loss_g {:.3}", line.loss_g));
    for (name, value) in [("D(x)", line.d_real), ("D(G(z))", line.d_fake)] {
        if value.is_finite() {
            parts.push(format!("{name} {value:.2}"));
        }
    }
    if let Some(slope) = line.slope {
        parts.push(format!("slope {slope:.2}"));
    }
    if let Some(loss) = line.loss_class {
        parts.push(format!("loss_class {loss:.3}"));
    }
    if let Some(p) = line.augment_p {
        parts.push(format!("augment {p:.2}"));
    }
    if let Some(waiting) = line.waiting.filter(|&part| part >= WAITING) {
        parts.push(format!("{:.0} % waiting for pictures", 100.0 * waiting));
    }
    let left = total.saturating_sub(line.images);
    if left > 0 && rate.is_finite() && rate > 0.0 {
        parts.push(format!("{} left", human::duration(left as f64 / rate)));
    }
    parts.join("  ")
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

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn plain_lines_hold_one_report_each() {
        let shared = Shared::default();
        let mut progress = Progress { total: 22_310, out: Out::Plain(Box::new(shared.clone())) };
        progress.advance(64);
        progress.report(&line());
        progress.note("a warning");
        progress.report(&LogLine { images: 22_310, ..line() });
        progress.finish();
        let text = String::from_utf8(shared.0.lock().unwrap().clone()).unwrap();
        let report = "73.1/s  loss_d 0.812  loss_g 1.934  D(x) 0.71  D(G(z)) 0.31";
        let first = format!("12.8k images  {report}  2m10s left");
        let last = format!("22.3k images  {report}");
        assert_eq!(text.lines().collect::<Vec<_>>(), [&first, "a warning", &last]);
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

    #[test]
    fn the_bar_shows_position_report_and_notes() {
        let term = InMemoryTerm::new(10, 140);
        let target = ProgressDrawTarget::term_like(Box::new(term.clone()));
        let mut progress = Progress::bar(25_600, 6_400, target);
        progress.report(&line());
        progress.note("a warning");
        progress.finish();
        let shown = term.contents();
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines[0], "a warning");
        assert!(lines[1].starts_with("━━━━━━━━━━━━╸"), "{shown}");
        assert!(lines[1].contains("12.8k/25.6k images  73.1/s  loss_d 0.812"), "{shown}");
        assert!(lines[1].ends_with("2m55s left"), "{shown}");
        assert_eq!(lines.len(), 2, "{shown}");
    }

    #[test]
    fn a_narrow_terminal_still_gets_one_line() {
        let term = InMemoryTerm::new(10, 60);
        let target = ProgressDrawTarget::term_like(Box::new(term.clone()));
        let mut progress = Progress::bar(25_600, 0, target);
        progress.report(&line());
        progress.finish();
        assert_eq!(term.contents().lines().count(), 1, "{}", term.contents());
    }
}
