//! Progress output: a bar on a terminal, plain lines elsewhere.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::human;
use crate::terminal::{columns, message, message_above, set_message, set_prefix};
use crate::train::log::LogLine;
use crate::train::metrics::Kind;

/// The progress of a training, on standard error.
#[derive(Debug)]
pub struct Progress {
    total: u64,
    /// The current stage of several, and the images seen when it is over.
    stage: Option<(String, u64)>,
    out: Out,
}

enum Out {
    Bar {
        bar: ProgressBar,
        /// The terminal's columns, which change with the window.
        columns: fn() -> usize,
    },
    /// A sink for lines.
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
    /// Progress from `start_images` to `total_images`: a bar if standard error is a terminal, else
    /// a plain line for every report.
    #[must_use]
    pub fn new(total_images: u64, start_images: u64, is_terminal: bool) -> Self {
        if !is_terminal {
            let out = Out::Plain(Box::new(|line| message(line)));
            return Self { total: total_images, stage: None, out };
        }
        Self::bar(total_images, start_images, ProgressDrawTarget::stderr(), columns)
    }

    fn bar(total: u64, start: u64, target: ProgressDrawTarget, columns: fn() -> usize) -> Self {
        let bar = ProgressBar::with_draw_target(Some(total), target).with_position(start);
        let progress = Self { total, stage: None, out: Out::Bar { bar, columns } };
        progress.advance(start);
        progress
    }

    /// Whether this stage is already shown.
    #[must_use]
    pub fn is_in_stage(&self, stage: &str) -> bool {
        self.stage.as_ref().is_some_and(|(shown, _)| shown == stage)
    }

    /// Shows that a stage of several is being trained, until `end` images were seen.
    pub fn in_stage(&mut self, stage: &str, end: u64) {
        self.stage = Some((stage.to_owned(), end));
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
        let stage = self.stage.as_ref().map(|(stage, end)| (stage.as_str(), *end));
        let fields = fields(line, self.total, stage);
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

    /// Prints a permanent line: above the bar, or among the plain ones.
    pub fn note(&mut self, text: &str) {
        match &mut self.out {
            Out::Bar { bar, .. } => message_above(bar, text),
            Out::Plain(out) => out(text),
        }
    }

    /// Leaves the bar in place and goes to the next line.
    pub fn finish(&mut self) {
        if let Out::Bar { bar, .. } = &self.out {
            bar.abandon();
        }
    }
}

/// Length of the bar, and the text after the image count.
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

/// Waiting for images is mentioned from this share of the time on.
const WAITING: f32 = 0.05;

/// Between two fields.
const GAP: &str = "  ";

/// A part of a report and its importance: the least important goes first if space is short.
struct Field(u8, String);

/// How a metric is shown in a report.
struct Shown<'a> {
    metric: &'a str,
    label: &'a str,
    decimals: usize,
    importance: u8,
}

const fn shown(
    metric: &'static str,
    label: &'static str,
    decimals: usize,
    importance: u8,
) -> Shown<'static> {
    Shown { metric, label, decimals, importance }
}

/// Metrics that are shown, besides all losses.
const SHOWN: [Shown<'_>; 8] = [
    shown("loss_d", "loss_d", 3, 7),
    shown("d_real", "D(x)", 2, 8),
    shown("d_fake", "D(G(z))", 2, 8),
    shown("slope", "slope", 2, 2),
    shown("loss_class", "loss_class", 3, 3),
    shown("augment_p", "augment", 2, 1),
    shown("kl", "KL", 2, 3),
    shown("reconstruction", "R", 2, 3),
];

/// `2m10s left  73.1/s  loss_d 0.812  loss_g 1.934  D(x) 0.71  D(G(z)) 0.31`, without metrics that
/// were not measured.
///
/// In a stage of several the time left is that of the stage: `1m5s left of g1`.
fn fields(line: &LogLine, total: u64, stage: Option<(&str, u64)>) -> Vec<Field> {
    let mut fields = Vec::new();
    let mut add = |importance, text: String| fields.push(Field(importance, text));
    let rate = line.images_per_s;
    let left = stage.map_or(total, |(_, end)| end).saturating_sub(line.images);
    let of = stage.map(|(stage, _)| format!(" of {stage}")).unwrap_or_default();
    if left > 0 && rate.is_finite() && rate > 0.0 {
        add(9, format!("{} left{of}", human::duration(left as f64 / rate)));
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
    for (name, value) in line.metrics.iter() {
        let known = SHOWN.iter().find(|shown| shown.metric == name);
        let loss = Shown { metric: name, label: name, decimals: 3, importance: 6 };
        // A NaN loss is news; any other NaN was not measured.
        let shown = match (known, Kind::of(name)) {
            (Some(shown), Kind::Loss) => shown,
            (Some(shown), _) if value.is_finite() => shown,
            (None, Kind::Loss) => &loss,
            _ => continue,
        };
        let decimals = shown.decimals;
        add(shown.importance, format!("{} {value:.decimals$}", shown.label));
    }
    if let Some(waiting) = line.waiting.filter(|&part| part >= WAITING) {
        add(4, format!("{:.0} % waiting for images", 100.0 * waiting));
    }
    fields
}

/// The most important fields that fit into `columns`, in order.
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
    use crate::train::Metrics;

    fn line() -> LogLine {
        LogLine {
            images: 12_800,
            images_per_s: 73.14,
            metrics: Metrics::from([
                ("loss_d", 0.8123),
                ("loss_g", 1.9336),
                ("d_real", 0.712),
                ("d_fake", 0.306),
                ("grad_norm_d", 3.5),
            ]),
            ..LogLine::default()
        }
    }

    #[test]
    fn plain_lines_hold_one_report_each() {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&lines);
        let take = move |line: &str| shared.lock().unwrap().push(line.to_owned());
        let mut progress = Progress { total: 22_310, stage: None, out: Out::Plain(Box::new(take)) };
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
        fit(&fields(line, total, None), usize::MAX)
    }

    #[test]
    fn what_was_not_measured_is_left_out() {
        let sick = LogLine::default().with("loss_d", f32::NAN).with("d_real", f32::NAN);
        assert_eq!(describe(&sick, 100), "loss_d NaN");
        let stalled = LogLine { images_per_s: 0.0, ..LogLine::default() };
        let stalled = stalled.with("loss_d", 1.0).with("loss_g", 2.0);
        assert_eq!(describe(&stalled, 100), "0.0/s  loss_d 1.000  loss_g 2.000");
        let waits = |part| describe(&LogLine { waiting: Some(part), ..line() }, 0);
        assert!(!waits(0.04).contains("waiting"));
        assert!(waits(0.123).ends_with("D(G(z)) 0.31  12 % waiting for images"));
        assert!(describe(&line().with("loss_e", 0.5), 0).ends_with("D(G(z)) 0.31  loss_e 0.500"));
        assert!(describe(&line().with("slope", 1.05), 0).ends_with("D(G(z)) 0.31  slope 1.05"));
        assert!(describe(&LogLine { images_per_s: 12_345.6, ..line() }, 0).starts_with("12.3k/s"));
    }

    /// What a terminal of `width` columns shows after a report and a note.
    fn shown(width: u16, columns: fn() -> usize) -> Vec<String> {
        let term = InMemoryTerm::new(10, width);
        let target = ProgressDrawTarget::term_like(Box::new(term.clone()));
        let mut progress = Progress::bar(25_600, 6_400, target, columns);
        progress.report(&LogLine { waiting: Some(0.3), ..line().with("slope", 1.05) });
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
        assert!(lines[1].ends_with("slope 1.05  30 % waiting for images"), "{lines:?}");
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
