//! The scores of a run's checkpoints, in its folder: `scores.json`, a list that grows by one entry for
//! each evaluation.

use std::fs;
use std::io;
use std::path::Path;
use std::time::SystemTime;

use serde_json::{Value, json};

use super::Scores;
use crate::error::{Error, Result};
use crate::files;

/// Adds an entry to a run's scores, [`crate::model::folder::Folder::scores_path`]: the date (UTC), the
/// checkpoint's file and step, the scores with floors and protocols.
///
/// # Errors
/// [`Error::File`] if the file is there and is no such list, or cannot be written; it is then as it was.
pub fn append(path: &Path, checkpoint: &Path, step: u64, scores: &Scores) -> Result<()> {
    let mut entries = read(path)?;
    let mut entry = json!({
        "date": humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        "checkpoint": checkpoint.file_name().map(|name| name.to_string_lossy()),
        "step": step,
    });
    let fail = |e: serde_json::Error| Error::file(path, format!("cannot be written: {e}"));
    if let (Some(entry), Value::Object(scores)) =
        (entry.as_object_mut(), serde_json::to_value(scores).map_err(fail)?)
    {
        entry.extend(scores);
    }
    entries.push(entry);
    let text = serde_json::to_string_pretty(&entries).map_err(fail)?;
    files::write_bytes(path, (text + "\n").as_bytes())
}

/// The entries so far.
///
/// # Errors
/// [`Error::File`] if the file is no such list.
pub fn read(path: &Path) -> Result<Vec<Value>> {
    let text = match fs::read_to_string(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        text => text.map_err(|e| Error::file(path, files::cannot("be read", &e)))?,
    };
    serde_json::from_str(&text).map_err(|_| {
        Error::file(path, "is not a list of scores; move it away, and a new one is written")
    })
}
