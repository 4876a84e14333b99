//! The scores of a run's checkpoints, as an evaluation writes them: `scores.json`, a list.
//!
//! Read leniently, so that scores of other versions can be shown.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::evaluation::{Reference, history};
use crate::model::Folder;

use super::listing::text_of;

/// The scores of one checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Evaluated {
    /// When they were measured.
    pub date: Value,
    /// The checkpoint's file.
    pub checkpoint: Value,
    /// Scores by name; those that are not numbers are skipped.
    pub metrics: BTreeMap<String, Value>,
    /// How each was measured.
    pub protocols: BTreeMap<String, Value>,
}

impl Evaluated {
    /// The scores that are numbers, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, f64)> {
        self.metrics.iter().filter_map(|(name, value)| Some((name.as_str(), value.as_f64()?)))
    }

    /// The date and the checkpoint, as far as they are known.
    #[must_use]
    pub fn origin(&self) -> String {
        let texts = [&self.checkpoint, &self.date].map(text_of);
        texts.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join(", ")
    }

    /// How the score called `name` was measured; empty if that is not known.
    #[must_use]
    pub fn protocol(&self, name: &str) -> String {
        self.protocols.get(name).map(text_of).unwrap_or_default()
    }
}

/// Scores of real images by name: what those of generated ones are held against.
pub type Floors = BTreeMap<String, f64>;

impl Folder {
    /// What the scores in the log are held against, and how they are measured; empty where that is not
    /// known.
    #[must_use]
    pub fn references(&self) -> Vec<Reference> {
        let text = std::fs::read_to_string(self.floors_path()).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// The floors among them.
    #[must_use]
    pub fn floors(&self) -> Floors {
        let each = self.references().into_iter();
        each.filter_map(|one| Some((one.name, one.floor?.value))).collect()
    }

    /// All scores so far, oldest first; empty if there are none.
    ///
    /// # Errors
    /// [`Error::File`] if the file cannot be read or is not such a list.
    pub fn scores(&self) -> Result<Vec<Evaluated>> {
        let path = self.scores_path();
        let entries = history::read(&path)?;
        serde_json::from_value(Value::Array(entries))
            .map_err(|error| Error::file(&path, format!("is not a list of scores: {error}")))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn scores_are_read_and_damaged_ones_named() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::fresh(dir.path().to_owned());
        assert_eq!(folder.scores().unwrap(), []);
        let text = r#"[{"date": "2026-11-28", "checkpoint": "checkpoint-1.safetensors", "more": 1,
            "metrics": {"swd-raw": 11.25, "fid": null}, "protocols": {"swd-raw": "10k, seed 0"}},
            {"metrics": {"swd-raw": 9}}]"#;
        std::fs::write(folder.scores_path(), text).unwrap();
        let scores = folder.scores().unwrap();
        assert_eq!(scores[0].iter().collect::<Vec<_>>(), [("swd-raw", 11.25)]);
        assert_eq!(scores[0].origin(), "checkpoint-1.safetensors, 2026-11-28");
        assert_eq!(scores[0].protocol("swd-raw"), "10k, seed 0");
        assert_eq!((scores[1].origin(), scores[1].iter().count()), (String::new(), 1));
        std::fs::write(folder.scores_path(), r#"{"swd-raw": 9}"#).unwrap();
        let text = folder.scores().unwrap_err().to_string();
        assert!(text.contains("scores.json: is not a list of scores"), "{text}");
    }
}
