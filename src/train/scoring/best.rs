//! The checkpoint with the best score: `best.safetensors`, a model file like any other, which no newer
//! checkpoint replaces unless it is better. Its metadata hold the score, so that the two cannot disagree.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::evaluation::Reference;
use crate::evaluation::metric::Better;
use crate::model::checkpoint;

/// The metadata key of the score: a [`Kept`] as JSON.
const BEST: &str = "dcgan.best";

/// The score of a best checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// Its name.
    pub score: String,
    /// Its value.
    pub value: f64,
    /// Real images seen.
    pub images: u64,
    /// How it was measured.
    pub protocol: String,
}

impl Kept {
    /// The score of the best checkpoint in this file; `None` if there is no file, or it is of another
    /// origin.
    ///
    /// # Errors
    /// Those of [`checkpoint::load`].
    pub fn read(path: &Path) -> Result<Option<Self>> {
        if !path.exists() {
            return Ok(None);
        }
        let metadata = checkpoint::load(path)?.metadata;
        Ok(metadata.get(BEST).and_then(|text| serde_json::from_str(text).ok()))
    }

    /// Puts it into a checkpoint's metadata.
    pub fn write(&self, metadata: &mut BTreeMap<String, String>) {
        metadata.insert(BEST.into(), serde_json::to_string(self).expect("plain data"));
    }
}

/// Finds the best of a training's scores.
#[derive(Clone, Debug)]
pub struct Best {
    reference: Reference,
    /// The best so far.
    value: Option<f64>,
}

impl Best {
    /// By this score, and none so far.
    ///
    /// # Errors
    /// [`Error::Config`] if the score is to be near that of real images, which is not known.
    pub fn new(reference: Reference) -> Result<Self> {
        if reference.better == Better::Real && reference.floor.is_none() {
            let what = format!(
                "{} is best near that of real images, and there are too few of them to know it",
                reference.name
            );
            return Err(Error::config("best", what));
        }
        Ok(Self { reference, value: None })
    }

    /// The score's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.reference.name
    }

    /// Goes on from a kept checkpoint, if its score was measured in the same way.
    #[must_use]
    pub fn after(self, kept: Option<Kept>) -> Self {
        let is_same = |kept: &Kept| {
            kept.score == self.reference.name && kept.protocol == self.reference.protocol
        };
        let value = kept.filter(is_same).map(|kept| kept.value);
        Self { value, ..self }
    }

    /// How far a value is from the best possible one.
    fn loss(&self, value: f64) -> f64 {
        match self.reference.better {
            Better::Lower => value,
            Better::Higher => -value,
            Better::Near(best) => (value - best).abs(),
            Better::Real => {
                let real = self.reference.floor.as_ref().map_or(f64::NAN, |floor| floor.value);
                (value - real).abs()
            }
        }
    }

    /// Takes the score after so many images; returns it to be kept if it is better than all before.
    pub fn take(&mut self, value: f64, images: u64) -> Option<Kept> {
        let is_better = self.value.is_none_or(|best| self.loss(value) < self.loss(best));
        if !is_better || !value.is_finite() {
            return None;
        }
        self.value = Some(value);
        let Reference { name, protocol, .. } = &self.reference;
        Some(Kept { score: name.clone(), value, images, protocol: protocol.clone() })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;
    use crate::evaluation::report::Floor;

    fn best(better: Better, floor: Option<f64>) -> Best {
        let floor = floor.map(|value| Floor { value, std: None, count: 9, splits: 1 });
        let (name, protocol) = ("x".into(), "seed 0".into());
        Best::new(Reference { name, better, floor, protocol }).unwrap()
    }

    #[test]
    fn every_direction_has_its_best() {
        let kept = |mut best: Best, values: [f64; 5]| {
            values.map(|value| best.take(value, 1).is_some()).map(u8::from)
        };
        let values = [0.3, 0.4, f64::NAN, 0.4, 0.2];
        assert_eq!(kept(best(Better::Lower, None), values), [1, 0, 0, 0, 1]);
        assert_eq!(kept(best(Better::Higher, None), values), [1, 1, 0, 0, 0]);
        assert_eq!(kept(best(Better::Near(0.5), None), values), [1, 1, 0, 0, 0]);
        assert_eq!(kept(best(Better::Real, Some(0.21)), values), [1, 0, 0, 0, 1]);
        let reference = Reference { floor: None, ..best(Better::Real, Some(0.1)).reference };
        let text = Best::new(reference).unwrap_err().to_string();
        assert!(text.contains("too few of them"), "{text}");
    }

    #[test]
    fn a_kept_score_counts_if_it_was_measured_in_the_same_way() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("best.safetensors");
        assert_eq!(Kept::read(&path).unwrap(), None);
        let kept = best(Better::Lower, None).take(0.3, 64).unwrap();
        let mut metadata = BTreeMap::new();
        kept.write(&mut metadata);
        checkpoint::save(&path, &BTreeMap::new(), &metadata).unwrap();
        let read = Kept::read(&path).unwrap();
        assert_eq!(read.as_ref(), Some(&kept));
        let mut same = best(Better::Lower, None).after(read);
        assert!(same.take(0.3, 128).is_none() && same.take(0.29, 128).is_some());
        let other = Kept { protocol: "seed 1".into(), ..kept };
        assert!(best(Better::Lower, None).after(Some(other)).take(0.9, 128).is_some());
    }
}
