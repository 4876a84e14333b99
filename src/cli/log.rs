//! `dcgan log`: the numbers of a run.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::error::{Error, Result};
use crate::human;
use crate::train::log::{columns, csv, mean};
use crate::train::{Evaluated, Folder, LogLine};

use super::flags::JsonFlag;
use super::output::{Align, print, table};

/// Columns of the table: each has the means over a part of the training.
const PARTS: usize = 6;

/// Print what a training has logged: losses, outputs, gradient norms, speed
///
/// A table of means over parts of the training, or every report with --csv or --json. A run that is
/// being trained can be read too.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  dcgan log runs/00000-fast-avatars-64\n  dcgan log \
                        runs/00000-fast-avatars-64 --csv > log.csv")]
pub(super) struct Log {
    /// A run's folder
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// Print comma-separated values: a row for each report, a column for each number
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    #[command(flatten)]
    json: JsonFlag,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report<'a> {
    run: String,
    reports: &'a [LogLine],
    scores: Vec<Evaluated>,
}

impl Log {
    pub(super) fn run(&self) -> Result<()> {
        let folder = Folder::open(&self.run)?;
        let log = folder.log()?;
        if log.is_empty() {
            return Err(Error::file(folder.log_path(), "there are no reports in it yet"));
        }
        if self.csv {
            return print(&csv(&log));
        }
        self.json.print(&summary(&log))?;
        let run = self.run.display().to_string();
        self.json.report(&Report { run, reports: &log, scores: folder.scores()? })
    }
}

/// A table with a column for each part of the training, and a row for each number.
fn summary(log: &[LogLine]) -> String {
    let parts: Vec<&[LogLine]> = log.chunks(log.len().div_ceil(PARTS)).collect();
    let row = |name: &str, cell: &dyn Fn(&[LogLine]) -> String| -> Vec<String> {
        std::iter::once(name.to_owned()).chain(parts.iter().map(|part| cell(part))).collect()
    };
    let last = |part: &[LogLine], show: &dyn Fn(&LogLine) -> String| {
        part.last().map(show).unwrap_or_default()
    };
    let mut rows = vec![
        row("images", &|part| last(part, &|line| human::count(line.images))),
        row("time", &|part| last(part, &|line| human::duration(line.seconds))),
    ];
    if log.iter().any(|line| line.stage.is_some()) {
        rows.push(row("stage", &|part| last(part, &|line| line.stage.clone().unwrap_or_default())));
    }
    for name in columns(log) {
        match name {
            "images" | "seconds" => {}
            "step" | "epoch" => rows.push(row(name, &|part| {
                last(part, &|line| line.number(name).map(human::number).unwrap_or_default())
            })),
            "memory_bytes" => rows.push(row("memory", &|part| {
                last(part, &|line| line.memory_bytes.map(human::bytes).unwrap_or_default())
            })),
            _ => rows.push(row(name, &|part| {
                let values = part.iter().filter_map(|line| line.number(name));
                mean(values).map(human::number).unwrap_or_default()
            })),
        }
    }
    let mut align = vec![Align::Right; parts.len() + 1];
    align[0] = Align::Left;
    table(&align, &rows)
}
