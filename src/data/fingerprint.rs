//! Whether a set is the one that a run was started with.
//!
//! Names, order and labels decide which image is in which batch; sizes and contents, which image it
//! is. Contents of large sets are looked at here and there: to read all would take as long as an
//! epoch. Neither the place of a set nor its files' times count, so a copy is the same set, and a zip
//! of a folder too.

use std::io::Read;

use flate2::Crc;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::packed::Packed;
use super::store::Store;

/// Image files whose content is looked at, spread over a set.
const SAMPLED: usize = 256;

/// Bytes of each that are looked at.
const BYTES: u64 = 1 << 18;

/// Identifies a set by checksums (CRC-32).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Fingerprint {
    /// Of names, order and labels alone, as earlier versions wrote it.
    Names(u32),
    /// Of contents too.
    Whole {
        /// Of names, order and labels.
        names: u32,
        /// Of sizes and sampled contents.
        contents: u32,
    },
}

/// How a set differs from the one that a fingerprint was made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference {
    /// Other names, another order or other labels.
    Names,
    /// Other images under the same names.
    Contents,
}

impl Fingerprint {
    /// How the set of `now` differs, if it does, as far as this fingerprint tells.
    #[must_use]
    pub fn difference(self, now: Self) -> Option<Difference> {
        let names = |fingerprint| match fingerprint {
            Self::Names(names) | Self::Whole { names, .. } => names,
        };
        if names(self) != names(now) {
            return Some(Difference::Names);
        }
        match (self, now) {
            (Self::Whole { contents: a, .. }, Self::Whole { contents: b, .. }) if a != b => {
                Some(Difference::Contents)
            }
            _ => None,
        }
    }
}

/// Of image files.
pub(super) fn of_files(store: &Store, indices: &[usize], labels: Option<&[u32]>) -> Fingerprint {
    let mut names = Crc::new();
    for &index in indices {
        names.update(store.names()[index].as_bytes());
        names.update(&[0]);
    }
    let mut contents = Crc::new();
    let size = |&index: &usize| store.size(index).unwrap_or(u64::MAX);
    let sizes: Vec<u64> = indices.par_iter().map(size).collect();
    sizes.iter().for_each(|size| contents.update(&size.to_le_bytes()));
    let sampled = indices.len().min(SAMPLED);
    let sample = |i: usize| {
        let mut sum = Crc::new();
        let mut bytes = Vec::new();
        let index = indices[i * indices.len() / sampled];
        let read = store.with_reader(index, |reader, _| {
            reader.take(BYTES).read_to_end(&mut bytes).map_err(|e| e.to_string())
        });
        // One that cannot be read is one all the same, and stays so.
        sum.update(&[u8::from(read.is_err())]);
        sum.update(&bytes);
        sum.sum()
    };
    let sums: Vec<u32> = (0..sampled).into_par_iter().map(sample).collect();
    sums.iter().for_each(|sum| contents.update(&sum.to_le_bytes()));
    whole(names, contents, labels)
}

/// Of a set of raw pixels.
pub(super) fn of_packed(packed: &Packed, labels: Option<&[u32]>) -> Fingerprint {
    let mut names = Crc::new();
    names.update(format!("{:?} {} {}", packed.files, packed.height, packed.width).as_bytes());
    let mut contents = Crc::new();
    contents.update(&(packed.channels as u64).to_le_bytes());
    contents.update(packed.pixels());
    whole(names, contents, labels)
}

fn whole(mut names: Crc, contents: Crc, labels: Option<&[u32]>) -> Fingerprint {
    for label in labels.into_iter().flatten() {
        names.update(&label.to_le_bytes());
    }
    Fingerprint::Whole { names: names.sum(), contents: contents.sum() }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn those_of_earlier_versions_are_numbers_and_compare_names_alone() {
        let old: Fingerprint = serde_json::from_str("3735928559").unwrap();
        assert_eq!(old, Fingerprint::Names(0xdead_beef));
        assert_eq!(serde_json::to_string(&old).unwrap(), "3735928559");
        let now = |names, contents| Fingerprint::Whole { names, contents };
        assert_eq!(old.difference(now(0xdead_beef, 5)), None);
        assert_eq!(old.difference(now(1, 5)), Some(Difference::Names));
        let new = now(7, 8);
        let text = serde_json::to_string(&new).unwrap();
        assert_eq!(serde_json::from_str::<Fingerprint>(&text).unwrap(), new);
        assert_eq!(new.difference(now(7, 8)), None);
        assert_eq!(new.difference(now(7, 9)), Some(Difference::Contents));
        assert_eq!(new.difference(now(6, 8)), Some(Difference::Names));
    }
}
