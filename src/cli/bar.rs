//! Progress of long countable work: a bar on a terminal, an occasional line elsewhere.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::human;
use crate::terminal::{is_watched, tell};

/// Time between two lines if standard error is not a terminal.
const EVERY: Duration = Duration::from_secs(10);

/// A progress display on standard error.
#[derive(Debug)]
pub(super) struct Bar {
    bar: Option<ProgressBar>,
    what: &'static str,
    total: u64,
    done: AtomicU64,
    start: Instant,
    shown: Mutex<Instant>,
}

impl Bar {
    /// Work on `total` of something: `what` follows the number, as in `120 of 500 images`.
    pub(super) fn new(total: usize, what: &'static str) -> Self {
        let now = Instant::now();
        let bar = is_watched().then(|| {
            let template = format!("{{bar:24.cyan/dim}} {{pos}} of {{len}} {what}  {{eta}}");
            let style = ProgressStyle::with_template(&template)
                .expect("the template has no other braces than those above")
                .progress_chars("━╸─");
            ProgressBar::new(total as u64).with_style(style)
        });
        let (done, shown) = (AtomicU64::new(0), Mutex::new(now));
        Self { bar, what, total: total as u64, done, start: now, shown }
    }

    /// Adds `count` items. May be called from any thread.
    pub(super) fn add(&self, count: usize) {
        let done = self.done.fetch_add(count as u64, Ordering::Relaxed) + count as u64;
        if let Some(bar) = &self.bar {
            bar.set_position(done);
            return;
        }
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if shown.elapsed() >= EVERY {
            *shown = Instant::now();
            tell!("{}", self.line());
        }
    }

    /// `1.2k of 50k images, 104/s`.
    fn line(&self) -> String {
        let done = self.done.load(Ordering::Relaxed);
        let rate = done as f64 / self.start.elapsed().as_secs_f64().max(1e-9);
        format!("{} of {} {}, {rate:.0}/s", human::count(done), human::count(self.total), self.what)
    }

    /// Removes the bar and returns how long the work took, in seconds.
    pub(super) fn finish(self) -> f64 {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        self.start.elapsed().as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_counts_what_is_done() {
        let bar = Bar::new(50_000, "images");
        bar.add(1000);
        bar.add(200);
        let line = bar.line();
        assert!(line.starts_with("1.2k of 50k images, ") && line.ends_with("/s"), "{line}");
    }
}
