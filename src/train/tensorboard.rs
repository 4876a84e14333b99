//! TensorBoard's event files: a run's scalars, previews and options (`--tensorboard`).
//!
//! A file is a sequence of records (TFRecord), each a protobuf message `Event` in a frame:
//!
//! ```text
//! length: u64   mask(crc32c(length)): u32   message   mask(crc32c(message)): u32     little-endian
//! mask(crc) = rotate_right(crc, 15) + 0xa282ead8
//!
//! Event         1 wall_time: double   2 step   3 file_version   5 summary   7 session_log
//! Summary       1 value*
//! Value         1 tag   2 simple_value: float   4 image   8 tensor   9 metadata
//! Image         1 height   2 width   3 colorspace (channels)   4 encoded_image_string
//! TensorProto   1 dtype   2 tensor_shape { 2 dim { 1 size } }   8 string_val
//! ```
//!
//! Messages: tensorflow/core/util/event.proto and framework/summary.proto; hyperparameters:
//! tensorboard/plugins/hparams. The reader takes all files of a folder in the order of their names;
//! a session that starts at a step makes it drop earlier events from that step on, as a resumed run
//! repeats them.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::error::{Error, Result};
use crate::files;
use crate::protobuf::Message;

use super::LogLine;
use super::listing::{Listed, text_of};
use super::metrics::Kind;

/// What the names of event files begin with, before the time in seconds.
const PREFIX: &str = "events.out.tfevents.";

/// Times in names have ten digits.
const LATEST: u64 = 9_999_999_000;

/// The first event's version of the format.
const VERSION: &str = "brain.Event:2";

/// `SessionLog.START`.
const START: i64 = 1;

/// `DT_STRING`.
const STRING: i64 = 7;

/// The tag under which the hyperparameters are found.
const HPARAMS: &str = "_hparams_/session_start_info";

/// An event file that grows.
#[derive(Debug)]
pub struct Events {
    path: PathBuf,
    file: File,
    /// Bytes of whole records.
    length: u64,
}

impl Events {
    /// A new event file in `folder`, for a session that goes on after `step`.
    ///
    /// # Errors
    /// [`Error::File`] if it cannot be written.
    pub fn create(folder: &Path, step: u64) -> Result<Self> {
        let earlier = seconds_of_files(folder).max();
        let now = now().as_secs();
        // Behind all others by its name, whatever the clock says.
        let mut seconds = earlier.map_or(now, |earlier| now.max(earlier + 1));
        let host = sysinfo::System::host_name().unwrap_or_default();
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
        let host: String = host.chars().take(64).map(plain).collect();
        let (path, file) = loop {
            let path =
                folder.join(format!("{PREFIX}{seconds:010}.{host}.{}.0", std::process::id()));
            match File::options().append(true).create_new(true).open(&path) {
                Ok(file) => break (path, file),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => seconds += 1,
                Err(error) => return Err(Error::file(&path, files::cannot("be written", &error))),
            }
        };
        let mut events = Self { path, file, length: 0 };
        let version = event(0).bytes(3, VERSION);
        let session = Message::default().int(1, START);
        let session = event(step + 1).message(7, &session);
        let start = if step > 0 { vec![version, session] } else { vec![version] };
        events.append(start)?;
        Ok(events)
    }

    /// Appends the numbers of a report.
    ///
    /// # Errors
    /// [`Error::File`] if they cannot be written; the file then holds what it held before.
    pub fn scalars(&mut self, line: &LogLine) -> Result<()> {
        let value = |name: &str| {
            let number = line.number(name)? as f32;
            Some(Message::default().bytes(1, tag(name, line)).float(2, number))
        };
        let names = line.names().filter(|name| *name != "step");
        self.append([event(line.step).message(5, &summary(names.filter_map(value)))])
    }

    /// Appends a PNG of `size` (width and height) and its number of channels.
    ///
    /// # Errors
    /// Those of [`Events::scalars`].
    pub fn image(
        &mut self,
        step: u64,
        name: &str,
        png: &[u8],
        size: [u32; 2],
        channels: u8,
    ) -> Result<()> {
        let [width, height] = size.map(i64::from);
        let image =
            Message::default().int(1, height).int(2, width).int(3, channels.into()).bytes(4, png);
        // `/image/0` is the first of a batch.
        let value = Message::default().bytes(1, format!("{name}/image/0")).message(4, &image);
        self.append([event(step).message(5, &summary([value]))])
    }

    /// Appends options: a table in Markdown, and hyperparameters to compare runs by.
    ///
    /// # Errors
    /// Those of [`Events::scalars`].
    pub fn options(&mut self, step: u64, options: &[Listed]) -> Result<()> {
        let mut table = String::from("| option | value |\n| --- | --- |\n");
        for Listed { name, value, .. } in options {
            let cell = |text: &str| text.replace(['\n', '\r'], " ").replace('|', "\\|");
            table += &format!("| {} | {} |\n", cell(name), cell(&text_of(value)));
        }
        let one = Message::default().message(2, &Message::default().int(1, 1));
        let tensor = Message::default().int(1, STRING).message(2, &one).bytes(8, table);
        let text = Message::default()
            .bytes(1, "options/text_summary")
            .message(8, &tensor)
            .message(9, &metadata("text", &Message::default()));

        let start = options.iter().fold(Message::default(), |start, Listed { name, value, .. }| {
            let value = match value {
                Value::Bool(is) => Message::default().int(4, (*is).into()),
                Value::Number(number) => {
                    Message::default().double(2, number.as_f64().unwrap_or(f64::NAN))
                }
                other => Message::default().bytes(3, text_of(other)),
            };
            start.message(1, &Message::default().bytes(1, name).message(2, &value))
        });
        let start = start.double(5, now().as_secs_f64());
        let data = Message::default().int(1, 0).message(3, &start);
        let hparams = Message::default().bytes(1, HPARAMS).message(9, &metadata("hparams", &data));
        self.append([event(step).message(5, &summary([text, hparams]))])
    }

    /// Writes events, all or none.
    fn append(&mut self, events: impl IntoIterator<Item = Message>) -> Result<()> {
        let bytes: Vec<u8> = events.into_iter().flat_map(|event| record(&event.finish())).collect();
        if let Err(error) = self.file.write_all(&bytes) {
            // Behind half a record nothing would be read.
            let _ = self.file.set_len(self.length);
            return Err(Error::file(&self.path, files::cannot("be written", &error)));
        }
        self.length += bytes.len() as u64;
        Ok(())
    }
}

/// The times in the names of a folder's event files.
fn seconds_of_files(folder: &Path) -> impl Iterator<Item = u64> {
    let names = std::fs::read_dir(folder).into_iter().flatten().flatten();
    names.filter_map(|entry| {
        let name = entry.file_name();
        let seconds = name.to_str()?.strip_prefix(PREFIX)?.split('.').next()?;
        // Longer numbers would come earlier by their names, and are no times.
        seconds.parse::<u64>().ok().filter(|seconds| *seconds < LATEST)
    })
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn event(step: u64) -> Message {
    Message::default().double(1, now().as_secs_f64()).int(2, step as i64)
}

fn summary(values: impl IntoIterator<Item = Message>) -> Message {
    values.into_iter().fold(Message::default(), |summary, value| summary.message(1, &value))
}

/// Which plugin shows a value, and what it is to know of it.
fn metadata(plugin: &str, content: &Message) -> Message {
    let data = Message::default().bytes(1, plugin).message(2, content);
    Message::default().message(1, &data)
}

/// The tag of a number of `line`: TensorBoard groups by what comes before the slash.
fn tag(name: &str, line: &LogLine) -> String {
    let group = match Kind::of(name) {
        Kind::Loss => "loss",
        Kind::GradNorm => "grad_norm",
        Kind::Score => "score",
        Kind::Other if line.metrics.get(name).is_some() => "metric",
        Kind::Other => "run",
    };
    format!("{group}/{name}")
}

/// A message in its frame.
fn record(message: &[u8]) -> Vec<u8> {
    let mask = |bytes: &[u8]| crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8);
    let length = (message.len() as u64).to_le_bytes();
    [&length, &mask(&length).to_le_bytes()[..], message, &mask(message).to_le_bytes()].concat()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;
    use crate::protobuf::{Field, fields};
    use crate::train::Metrics;

    /// CRC-32C bit by bit, of RFC 3720's polynomial.
    fn crc(bytes: &[u8]) -> u32 {
        let step = |crc: u32, _| (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
        !bytes.iter().fold(!0, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), step))
    }

    /// The messages of a file whose frames are all in order.
    fn records(mut rest: &[u8]) -> Vec<Vec<u8>> {
        let number = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().unwrap());
        let mask = |bytes: &[u8]| {
            // Rotated by 15 to the right, and then moved.
            crc(bytes).rotate_left(17).wrapping_add(2_726_488_792)
        };
        let mut all = Vec::new();
        while !rest.is_empty() {
            let (length, after) = rest.split_at(8);
            let (check, after) = after.split_at(4);
            assert_eq!(number(check), mask(length));
            let n = u64::from_le_bytes(length.try_into().unwrap()) as usize;
            let (message, after) = after.split_at(n);
            let (check, after) = after.split_at(4);
            assert_eq!(number(check), mask(message));
            all.push(message.to_vec());
            rest = after;
        }
        all
    }

    /// The fields of a message of this number.
    fn get<'a>(message: &'a [u8], number: u64) -> Vec<Field<'a>> {
        let all = fields(message).unwrap().into_iter();
        all.filter(|(known, _)| *known == number).map(|(_, field)| field).collect()
    }

    fn step(event: &[u8]) -> i64 {
        get(event, 2)[0].int().unwrap()
    }

    /// The values of an event's summary.
    fn values(event: &[u8]) -> Vec<&[u8]> {
        let summary = get(event, 5)[0].bytes().unwrap();
        get(summary, 1).into_iter().map(|value| value.bytes().unwrap()).collect()
    }

    fn line(step: u64) -> LogLine {
        let metrics = Metrics::from([("loss_d", 0.5), ("grad_norm_g", 2.0), ("d_real", f32::NAN)]);
        LogLine { step, images: 64 * step, metrics, ..LogLine::default() }
    }

    #[test]
    fn the_checksum_is_castagnolis() {
        assert_eq!((crc(b"123456789"), crc32c::crc32c(b"123456789")), (0xe306_9283, 0xe306_9283));
    }

    #[test]
    fn events_have_the_fields_of_tensorboards_messages() {
        let dir = tempfile::tempdir().unwrap();
        let mut events = Events::create(dir.path(), 0).unwrap();
        let option =
            |name: &str, value: Value| Listed { name: name.into(), value, is_default: false };
        let options = [option("--batch", 8.into()), option("--a|b", "x\ny".into())];
        events.options(0, &options).unwrap();
        events.scalars(&line(300)).unwrap();
        events.image(300, "previews", b"png", [20, 10], 3).unwrap();
        let all = records(&std::fs::read(&events.path).unwrap());
        assert_eq!(all.len(), 4);
        assert_eq!(get(&all[0], 3)[0].text().unwrap(), VERSION);
        let Field::Eight(time) = get(&all[0], 1)[0] else { panic!("the time is a double") };
        assert!(f64::from_le_bytes(time) > 1.7e9);
        assert_eq!(all.iter().map(|event| step(event)).collect::<Vec<_>>(), [0, 0, 300, 300]);

        let tags: Vec<String> =
            values(&all[2]).iter().map(|value| get(value, 1)[0].text().unwrap()).collect();
        let wanted = [
            "run/images",
            "run/epoch",
            "run/seconds",
            "run/images_per_s",
            "loss/loss_d",
            "grad_norm/grad_norm_g",
            "metric/d_real",
        ];
        assert_eq!(tags, wanted);
        assert_eq!(get(values(&all[2])[4], 2), [Field::Four(0.5_f32.to_le_bytes())]);
        let image = get(values(&all[3])[0], 4)[0].bytes().unwrap();
        let ints: Vec<i64> = (1..4).map(|i| get(image, i)[0].int().unwrap()).collect();
        assert_eq!((ints, get(image, 4)[0].text().unwrap()), (vec![10, 20, 3], "png".into()));
        let table = get(values(&all[1])[0], 8)[0].bytes().unwrap();
        let table = get(table, 8)[0].text().unwrap();
        assert!(table.ends_with("| --batch | 8 |\n| --a\\|b | x y |\n"), "{table}");
    }

    #[test]
    fn a_resumed_run_has_a_file_behind_the_others_that_says_where_it_starts() {
        let dir = tempfile::tempdir().unwrap();
        // Of a clock that was ahead.
        let ahead = "events.out.tfevents.9000000000.host.1.0";
        for name in [ahead, "events.out.tfevents.18446744073709551615.host.1.0"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let first = Events::create(dir.path(), 0).unwrap();
        let second = Events::create(dir.path(), 40).unwrap();
        let names = [&first, &second].map(|e| e.path.file_name().unwrap().to_owned());
        assert!(names[0].to_str().unwrap() > ahead && names[1] > names[0], "{names:?}");
        let all = records(&std::fs::read(&second.path).unwrap());
        let session = get(&all[1], 7)[0].bytes().unwrap();
        assert_eq!((step(&all[1]), get(session, 1)[0].int()), (41, Some(START)));
        assert_eq!(records(&std::fs::read(&first.path).unwrap()).len(), 1);
    }
}
