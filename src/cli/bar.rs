//! Progress of long work that is counted: a bar on a terminal, now and then a line elsewhere.

use std::cell::Cell;
use std::io::{IsTerminal as _, stderr};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::human;

/// Time between two lines where standard error is no terminal.
const EVERY: Duration = Duration::from_secs(10);

/// The progress of some work, on standard error.
#[derive(Debug)]
pub(super) struct Bar {
    bar: Option<ProgressBar>,
    what: &'static str,
    total: u64,
    done: Cell<u64>,
    start: Instant,
    told: Cell<Instant>,
}

impl Bar {
    /// Work on `total` of something: `what` follows the number, as in `120 of 500 pictures`.
    pub(super) fn new(total: usize, what: &'static str) -> Self {
        let now = Instant::now();
        let bar = stderr().is_terminal().then(|| {
            let template = format!("{{bar:24.cyan/dim}} {{pos}} of {{len}} {what}  {{eta}}");
            let style = ProgressStyle::with_template(&template)
                .expect("the template has no other braces than those above")
                .progress_chars("━╸─");
            ProgressBar::new(total as u64).with_style(style)
        });
        let (done, told) = (Cell::new(0), Cell::new(now));
        Self { bar, what, total: total as u64, done, start: now, told }
    }

    /// So many more are done.
    pub(super) fn add(&self, count: usize) {
        self.done.set(self.done.get() + count as u64);
        match &self.bar {
            Some(bar) => bar.set_position(self.done.get()),
            None if self.told.get().elapsed() >= EVERY => {
                self.told.set(Instant::now());
                eprintln!("{}", self.line());
            }
            None => {}
        }
    }

    /// `1.2k of 50k pictures, 104/s`.
    fn line(&self) -> String {
        let rate = self.done.get() as f64 / self.start.elapsed().as_secs_f64().max(1e-9);
        format!(
            "{} of {} {}, {rate:.0}/s",
            human::count(self.done.get()),
            human::count(self.total),
            self.what
        )
    }

    /// Takes the bar away and says how long it took, in seconds.
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
        let bar = Bar::new(50_000, "pictures");
        bar.add(1000);
        bar.add(200);
        let line = bar.line();
        assert!(line.starts_with("1.2k of 50k pictures, ") && line.ends_with("/s"), "{line}");
    }
}
