//! The lengths of a system's stages, and which of them are trained.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::config::typed;
use crate::human::{self, parse_count};

/// The most stages in a list.
const MOST: usize = 64;

/// A stage's name; empty for all stages in turn.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StageName(pub String);

typed!(StageName, StageImages);

impl FromStr for StageName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        match text.chars().all(is_plain) {
            true => Ok(Self(text.into())),
            false => Err(format!("{text:?} is no name of a stage")),
        }
    }
}

impl fmt::Display for StageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Real images for which stages are trained, by name: `encoder=300k,g1=1200k`. A stage that is not in
/// the list has its family's default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StageImages(Vec<(String, u64)>);

impl StageImages {
    /// The names and numbers of images, in the order of the list.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(name, images)| (name.as_str(), *images))
    }

    /// The images of a stage, if it is in the list.
    #[must_use]
    pub fn get(&self, stage: &str) -> Option<u64> {
        self.iter().find(|(name, _)| *name == stage).map(|(_, images)| images)
    }

    /// Whether no stage is in the list.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromStr for StageImages {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut list: Vec<(String, u64)> = Vec::new();
        for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            let (name, images) = item.split_once('=').ok_or_else(|| {
                format!("{item:?} is no stage with its images, such as encoder=300k")
            })?;
            let name: StageName = name.trim().parse()?;
            let images = parse_count(images)?;
            if name.0.is_empty() || images == 0 || list.len() == MOST {
                return Err(format!("{item:?}: a stage has a name and at least one image"));
            }
            if list.iter().any(|(known, _)| *known == name.0) {
                return Err(format!("the stage {name} is in the list twice"));
            }
            list.push((name.0, images));
        }
        Ok(Self(list))
    }
}

impl fmt::Display for StageImages {
    /// As typed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = |images: u64| {
            let short = human::count(images);
            if parse_count(&short) == Ok(images) { short } else { images.to_string() }
        };
        let each = self.iter().map(|(name, images)| format!("{name}={}", short(images)));
        f.pad(&each.collect::<Vec<_>>().join(","))
    }
}

impl TryFrom<String> for StageImages {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<StageImages> for String {
    fn from(images: StageImages) -> Self {
        images.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_stages_comes_back_as_typed() {
        let list: StageImages = "encoder=300k, g1=123456".parse().expect("a list");
        assert_eq!(
            (list.get("encoder"), list.get("g1"), list.get("g0")),
            (Some(300_000), Some(123_456), None)
        );
        assert_eq!(list.to_string(), "encoder=300k,g1=123456");
        assert_eq!(list.to_string().parse(), Ok(list));
        assert!("".parse::<StageImages>().expect("none").is_empty());
        for bad in ["encoder", "encoder=", "=5", "a=0", "a=1,a=2", "a b=1", "a=-1"] {
            assert!(bad.parse::<StageImages>().is_err(), "{bad}");
        }
    }
}
