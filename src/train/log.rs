//! The log of a run: one JSON object a line (`log.jsonl`), one line a report.
//!
//! JSON has no NaN or infinity: both are written as `null`, which reads as NaN. A number that is
//! not a field of [`LogLine`] is a metric; missing fields read as NaN, 0 or empty, so that logs of
//! other versions can be plotted.

use std::io;
use std::path::Path;

use serde::{Deserialize, Deserializer, Serialize};

use crate::error::{Error, Result};
use crate::files;
use crate::model::Folder;

use super::Metrics;

/// The metric of sample diversity, as a share of that of real images.
pub const SAMPLE_DIVERSITY: &str = "sample_diversity";

/// Names of the numbers of a line that are not metrics.
const STEP: &str = "step";
const IMAGES: &str = "images";
const EPOCH: &str = "epoch";
const SECONDS: &str = "seconds";
/// Images per second since the last report.
pub const IMAGES_PER_S: &str = "images_per_s";
const WAITING: &str = "waiting";
const MEMORY_BYTES: &str = "memory_bytes";

/// Those that every line has.
const FIRST: [&str; 5] = [STEP, IMAGES, EPOCH, SECONDS, IMAGES_PER_S];

/// One report of a training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogLine {
    /// Training steps done.
    pub step: u64,
    /// Real images seen.
    pub images: u64,
    /// The same in epochs.
    #[serde(deserialize_with = "nan_f64", default = "not_a_number_f64")]
    pub epoch: f64,
    /// Seconds of training over all sessions of the run.
    #[serde(deserialize_with = "nan_f64", default = "not_a_number_f64")]
    pub seconds: f64,
    /// Images per second since the last report.
    #[serde(deserialize_with = "nan_f64", default = "not_a_number_f64")]
    pub images_per_s: f64,
    /// The stage, in a training of several.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub stage: Option<String>,
    /// Mean metrics of the steps since the last report, and scores of samples if they were
    /// measured: [`SAMPLE_DIVERSITY`].
    #[serde(flatten)]
    pub metrics: Metrics,
    /// The share of time since the last report that training waited for images.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub waiting: Option<f32>,
    /// Device memory in use, if known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub memory_bytes: Option<u64>,
}

fn nan_f64<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or(f64::NAN))
}

fn not_a_number_f64() -> f64 {
    f64::NAN
}

impl Default for LogLine {
    /// Nothing done, nothing measured.
    fn default() -> Self {
        Self {
            step: 0,
            images: 0,
            epoch: 0.0,
            seconds: 0.0,
            images_per_s: f64::NAN,
            stage: None,
            metrics: Metrics::default(),
            waiting: None,
            memory_bytes: None,
        }
    }
}

impl LogLine {
    /// The metric called `name`; NaN if it was not measured.
    #[must_use]
    pub fn value(&self, name: &str) -> f32 {
        self.metrics.value(name)
    }

    /// The line with a metric added.
    #[must_use]
    pub fn with(mut self, name: &str, value: f32) -> Self {
        self.metrics.set(name, value);
        self
    }

    /// The names of all its numbers, in the order of the file.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let waiting = self.waiting.map(|_| WAITING);
        let memory = self.memory_bytes.map(|_| MEMORY_BYTES);
        let metrics = self.metrics.iter().map(|(name, _)| name);
        FIRST.into_iter().chain(metrics).chain(waiting).chain(memory)
    }

    /// The number called `name`: a field of this struct or a metric; `None` if it was not measured.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<f64> {
        match name {
            STEP => Some(self.step as f64),
            IMAGES => Some(self.images as f64),
            EPOCH => Some(self.epoch),
            SECONDS => Some(self.seconds),
            IMAGES_PER_S => Some(self.images_per_s),
            WAITING => self.waiting.map(f64::from),
            MEMORY_BYTES => self.memory_bytes.map(|bytes| bytes as f64),
            _ => self.metrics.get(name).map(f64::from),
        }
    }

    /// [`LogLine::number`] as text, with all its digits; empty if it was not measured.
    #[must_use]
    pub fn text(&self, name: &str) -> String {
        match name {
            STEP => self.step.to_string(),
            IMAGES => self.images.to_string(),
            WAITING => self.waiting.map(|share| share.to_string()).unwrap_or_default(),
            MEMORY_BYTES => self.memory_bytes.map(|bytes| bytes.to_string()).unwrap_or_default(),
            _ => match self.metrics.get(name) {
                Some(value) => value.to_string(),
                None => self.number(name).map(|value| value.to_string()).unwrap_or_default(),
            },
        }
    }

    /// The line as in the file, with its line end.
    #[must_use]
    pub fn to_json(&self) -> String {
        let json = serde_json::to_string(self).expect("a struct of plain numbers serializes");
        json + "\n"
    }
}

/// The log lines of `text` with their text, in order; invalid lines are skipped, so that a partial
/// line left by a killed process does no harm.
pub fn parse(text: &str) -> impl Iterator<Item = (&str, LogLine)> {
    text.lines().filter_map(|line| Some((line, serde_json::from_str(line).ok()?)))
}

/// The names of all numbers of a log: those of its first line, then those that only later lines
/// have, each behind the one that it follows there.
#[must_use]
pub fn columns(log: &[LogLine]) -> Vec<&str> {
    let mut columns: Vec<&str> = Vec::new();
    for line in log {
        let mut place = 0;
        for name in line.names() {
            place = 1 + match columns.iter().position(|known| *known == name) {
                Some(known) => known,
                None => {
                    columns.insert(place, name);
                    place
                }
            };
        }
    }
    columns
}

/// The mean of numbers of a log; `None` if there are none.
pub fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (count, sum) = values.fold((0, 0.0), |(count, sum), value| (count + 1, sum + value));
    (count > 0).then(|| sum / f64::from(count))
}

/// A log as comma-separated values: a row of names ([`columns`]), and a row for every line, with an
/// empty cell for what it did not measure.
#[must_use]
pub fn csv(log: &[LogLine]) -> String {
    let columns = columns(log);
    let row = |cells: &mut dyn Iterator<Item = String>| cells.collect::<Vec<_>>().join(",") + "\n";
    let mut text = row(&mut columns.iter().map(|name| csv_cell(name)));
    for line in log {
        text += &row(&mut columns.iter().map(|name| line.text(name)));
    }
    text
}

/// A name as a cell, quoted if it needs it (RFC 4180): a log may be a stranger's.
fn csv_cell(name: &str) -> String {
    match name.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", name.replace('"', "\"\"")),
        false => name.to_owned(),
    }
}

/// Reads a log; a missing one is empty.
///
/// # Errors
/// [`Error::File`] if it exists and cannot be read.
pub fn read(path: &Path) -> Result<Vec<LogLine>> {
    Ok(parse(&text(path)?).map(|(_, line)| line).collect())
}

/// Drops invalid lines and all lines beyond `step`: a run resumed at `step` writes them again.
///
/// # Errors
/// [`Error::File`] if the log cannot be read or written; it is then unchanged.
pub fn truncate(path: &Path, step: u64) -> Result<()> {
    let old = text(path)?;
    let mut new = String::with_capacity(old.len());
    for (line, _) in parse(&old).filter(|(_, parsed)| parsed.step <= step) {
        new.push_str(line);
        new.push('\n');
    }
    // A link is replaced by the run's own log, which is then appended to.
    if new == old && !path.is_symlink() {
        return Ok(());
    }
    files::write_bytes(path, new.as_bytes())
}

fn text(path: &Path) -> Result<String> {
    match std::fs::read(path) {
        // Lossy: a torn character in a partial line must not cost the rest.
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(Error::file(path, files::cannot("be read", &error))),
    }
}

impl Folder {
    /// The log so far; empty if there is none.
    ///
    /// # Errors
    /// [`Error::File`] if it exists and cannot be read.
    pub fn log(&self) -> Result<Vec<LogLine>> {
        read(&self.log_path())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use std::fs;

    use super::*;

    fn line(step: u64) -> LogLine {
        LogLine {
            step,
            images: step * 64,
            epoch: 0.25,
            seconds: 12.5,
            images_per_s: 73.1,
            stage: None,
            metrics: Metrics::from([
                ("loss_d", 0.812),
                ("loss_g", 1.934),
                ("d_real", 0.71),
                ("grad_norm_g", 1e-9),
                (SAMPLE_DIVERSITY, 0.9),
            ]),
            waiting: Some(0.25),
            memory_bytes: Some(1 << 33),
        }
    }

    #[test]
    fn lines_survive_the_file_and_what_is_not_finite_reads_as_nan() {
        let json = line(7).to_json();
        assert!(json.ends_with("}\n") && json.contains("\"loss_d\":0.812,"), "{json}");
        let (_, back) = parse(&json).next().unwrap();
        assert_eq!(back, line(7));

        let sick = LogLine { seconds: f64::NAN, ..line(8) };
        let sick = sick.with("loss_d", f32::NAN).with("loss_g", f32::INFINITY);
        let json = sick.to_json();
        assert!(json.contains("\"loss_d\":null"), "{json}");
        let (_, back) = parse(&json).next().unwrap();
        assert!(
            back.value("loss_d").is_nan() && back.value("loss_g").is_nan() && back.seconds.is_nan()
        );
        assert_eq!((back.step, back.value("d_real")), (8, 0.71));
    }

    #[test]
    fn logs_of_other_versions_are_read() {
        let text = "{\"step\":1,\"images\":64,\"loss_d\":0.5,\"of_the_future\":[1,{}]}\n";
        let (_, line) = parse(text).next().unwrap();
        assert_eq!((line.step, line.value("loss_d"), line.memory_bytes), (1, 0.5, None));
        assert!(line.value("loss_g").is_nan() && line.seconds.is_nan());
    }

    #[test]
    fn csv_has_every_column_of_every_line() {
        let first = line(1);
        let mut second = LogLine { waiting: None, ..line(2) }.with("odd, \"name\"", f32::NAN);
        second.metrics =
            Metrics::from([("loss_d", 0.1), ("penalty", 1e-9), ("odd, \"name\"", f32::NAN)]);
        let text = csv(&[first, second]);
        assert_eq!(
            text,
            "step,images,epoch,seconds,images_per_s,loss_d,penalty,\"odd, \"\"name\"\"\",loss_g,d_real,\
             grad_norm_g,sample_diversity,waiting,memory_bytes\n\
             1,64,0.25,12.5,73.1,0.812,,,1.934,0.71,0.000000001,0.9,0.25,8589934592\n\
             2,128,0.25,12.5,73.1,0.1,0.000000001,NaN,,,,,,8589934592\n"
        );
        assert_eq!(csv(&[]), "\n");
    }

    #[test]
    fn numbers_are_found_by_name() {
        let line = line(3);
        for name in line.names() {
            let text = line.text(name);
            let (number, parsed) = (line.number(name).unwrap(), text.parse::<f64>().unwrap());
            assert!((number - parsed).abs() <= 1e-6 * parsed.abs(), "{name}: {number} and {text}");
            assert!(line.to_json().contains(&format!("\"{name}\":")), "{name}");
        }
        assert_eq!(line.names().count(), 12);
        assert_eq!((line.number("penalty"), line.text("penalty")), (None, String::new()));
    }

    #[test]
    fn half_lines_and_rubbish_are_ignored() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.jsonl");
        assert_eq!(read(&path).unwrap(), []);
        let whole = line(1).to_json() + "\nnot json\n{\"step\":\"x\"}\n" + &line(2).to_json();
        let mut bytes = whole.into_bytes();
        bytes.extend(&line(3).to_json().as_bytes()[..50]);
        bytes.push(0xC3);
        fs::write(&path, &bytes).unwrap();
        assert_eq!(read(&path).unwrap(), [line(1), line(2)]);
    }

    #[test]
    fn truncation_keeps_every_line_up_to_the_step_word_for_word() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.jsonl");
        truncate(&path, 5).unwrap();
        assert!(!path.exists(), "an empty log was made of nothing");

        let extra = "{\"step\":5,\"images\":1,\"of_the_future\":1}\n";
        let kept = line(1).to_json() + extra;
        let half = &line(4).to_json()[..30];
        fs::write(&path, kept.clone() + &line(6).to_json() + half).unwrap();
        truncate(&path, 5).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), kept);
        truncate(&path, 4).unwrap();
        assert_eq!(read(&path).unwrap(), [line(1)]);
    }
}
