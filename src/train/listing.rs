//! The options of a run as a flat list: names as on the command line, values, and which of them
//! differ from the defaults.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Value, json};

use crate::config::Field;
use crate::data::{Prepare, PrepareOptions};

use super::{Intervals, PartialIntervals, PartialScoreOptions, PartialTrainConfig, TrainConfig};

/// Parts of `options.json` that say nothing to people.
const LEFT_OUT: [&str; 3] = ["data_fingerprint.", "data_reading.", "from.crc32"];

/// An option and its value.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Listed {
    /// Its flag, or its path in `options.json` if it has none.
    pub name: String,
    /// Its value.
    pub value: Value,
    /// Whether that is the default of `dcgan train` without any flags.
    pub is_default: bool,
}

impl Listed {
    /// The value for people.
    #[must_use]
    pub fn text(&self) -> String {
        text_of(&self.value)
    }
}

/// A value for people: text without quotes.
#[must_use]
pub fn text_of(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The options of `options.json`, given or at their default, in the order of their paths there.
#[must_use]
pub fn listing(options: &Value) -> Vec<Listed> {
    let default = json!({
        "recipe": plain(&TrainConfig::default()),
        "prepare": plain(&Prepare::default()),
        "rhythm": plain(&Intervals::default()),
    });
    let mut defaults = BTreeMap::new();
    flatten("", &default, &mut defaults);
    let mut all = BTreeMap::new();
    flatten("", options, &mut all);
    let is_shown = |path: &&String| !LEFT_OUT.iter().any(|part| path.starts_with(part));
    let paths: BTreeSet<&String> = defaults.keys().chain(all.keys()).filter(is_shown).collect();
    let one = |path: &String| {
        let default = defaults.get(path);
        let value = all.get(path).or(default).cloned().unwrap_or_default();
        Listed { name: flag(path), is_default: Some(&value) == default, value }
    };
    let mut listed: Vec<Listed> = paths.into_iter().map(one).collect();
    // Files leave some out that are at their default.
    for field in fields().into_iter().filter(|field| !field.heading.is_empty()) {
        let Some(flag) = field.flag else { continue };
        let default = (field.default)(field.domain);
        if default.is_empty() || listed.iter().any(|one| one.name == flag) {
            continue;
        }
        let value = serde_json::from_str(&default).unwrap_or(Value::String(default));
        listed.push(Listed { name: flag.to_owned(), value, is_default: true });
    }
    listed
}

/// All options with flags.
pub(crate) fn fields() -> Vec<&'static Field> {
    [
        PartialTrainConfig::fields(),
        PrepareOptions::fields(),
        PartialIntervals::fields(),
        PartialScoreOptions::fields(),
    ]
    .concat()
}

/// A value of plain data. By its text: numbers of 32 bits would become those of 64 with more digits.
pub(super) fn plain(value: &impl Serialize) -> Value {
    let text = serde_json::to_string(value).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

/// Every value that is not an object, by its path.
fn flatten(path: &str, value: &Value, all: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let dot = if path.is_empty() { "" } else { "." };
                flatten(&format!("{path}{dot}{name}"), value, all);
            }
        }
        value => _ = all.insert(path.to_owned(), value.clone()),
    }
}

/// The flag of the option at `path`; the path itself if it has none.
fn flag(path: &str) -> String {
    let name = path.rsplit('.').next().unwrap_or(path);
    let is_own = ["recipe.", "prepare.", "rhythm."].iter().any(|part| path.starts_with(part));
    let field = fields().into_iter().find(|field| is_own && field.name == name);
    match field.and_then(|field| field.flag) {
        Some(flag) => flag.to_owned(),
        None => path.strip_prefix("recipe.").unwrap_or(path).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_have_their_flags_and_defaults() {
        let options = json!({
            "images": 400,
            "data_fingerprint": {"names": 1},
            "recipe": {"batch": 8, "lr_d": 0.0002, "of_the_future": [1, 2]},
        });
        let all = listing(&options);
        let find = |name: &str| {
            all.iter().find(|one| one.name == name).map(|one| (one.text(), one.is_default))
        };
        assert_eq!(find("--batch"), Some(("8".into(), false)));
        assert_eq!(find("--lr-d"), Some(("0.0002".into(), true)));
        assert_eq!(find("--ngf"), Some(("64".into(), true)), "left out, so at its default");
        assert_eq!(
            find("--tensorboard"),
            Some(("false".into(), true)),
            "never stored at its default"
        );
        assert_eq!(find("of_the_future"), Some(("[1,2]".into(), false)));
        assert_eq!(find("images"), Some(("400".into(), false)));
        let names: BTreeSet<&str> = all.iter().map(|one| one.name.as_str()).collect();
        assert!(names.contains("--report-every") && names.contains("--flip"), "{names:?}");
        assert!(!names.iter().any(|name| name.contains("fingerprint")), "{names:?}");
    }
}
