//! `dataset.json`, the labels of a set as StyleGAN's tools write it:
//! `{"labels": [["00000/img00000000.png", 3], ...]}`, or `{"labels": null}` without classes. This program
//! adds the names of the classes: `"classes": ["cat", ...]`.

use std::collections::HashMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::store::{MAX_FILE, Store, key};

/// What such a file is called.
const NAME: &str = "dataset.json";

/// A label, as far as it can be a class. Lists are passed over, not kept: they can be long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Label {
    Number(u32),
    /// A list of numbers.
    Vector,
    Other,
}

impl<'de> Deserialize<'de> for Label {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Label;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a label")
            }
            fn visit_u64<E>(self, label: u64) -> Result<Label, E> {
                Ok(u32::try_from(label).map_or(Label::Other, Label::Number))
            }
            fn visit_i64<E>(self, _: i64) -> Result<Label, E> {
                Ok(Label::Other)
            }
            fn visit_f64<E>(self, label: f64) -> Result<Label, E> {
                let whole = label.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&label);
                Ok(if whole { Label::Number(label as u32) } else { Label::Other })
            }
            fn visit_bool<E>(self, _: bool) -> Result<Label, E> {
                Ok(Label::Other)
            }
            fn visit_str<E>(self, _: &str) -> Result<Label, E> {
                Ok(Label::Other)
            }
            fn visit_unit<E>(self) -> Result<Label, E> {
                Ok(Label::Other)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Label, A::Error> {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Label::Vector)
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Label, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Label::Other)
            }
        }
        deserializer.deserialize_any(Any)
    }
}

/// Names and labels: a list of pairs, or an object.
#[derive(Debug, Default)]
struct Pairs(Vec<(String, Label)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Pairs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of pairs of a file's name and its label")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = list.next_element()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

#[derive(Debug, serde::Deserialize)]
struct File {
    #[serde(default)]
    labels: Option<Pairs>,
    /// The names of the classes, which this program writes.
    #[serde(default)]
    classes: Option<Vec<String>>,
}

/// What the files of labels in a set say.
#[derive(Debug, Default)]
pub(super) struct Labels {
    /// The files themselves.
    pub(super) files: Vec<usize>,
    /// The label of each name that has one; `None` if all files say that there are no classes.
    pub(super) by_name: Option<HashMap<String, Label>>,
    /// The names of the classes, where one file has them.
    pub(super) classes: Option<Vec<String>>,
}

/// Whether a file is one of labels, by its name.
pub(super) fn is_labels(name: &str) -> bool {
    name.rsplit('/').next() == Some(NAME)
}

impl Labels {
    /// Reads those of `files` that are such files; names in one are relative to its folder.
    ///
    /// # Errors
    /// A sentence that begins with the file's name, where it is damaged.
    pub(super) fn read(store: &Store, files: &[usize]) -> Result<Self, String> {
        let mut labels = Self::default();
        for &index in files {
            let name = &store.names()[index];
            let damaged = |what: String| {
                format!("{name} {what}; mend it, or remove it to take folders for classes")
            };
            let bytes = store.read(index, MAX_FILE).map_err(damaged)?;
            let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
            if bytes.trim_ascii_start().first() != Some(&b'{') {
                // Some other program's file of that name.
                continue;
            }
            let file: File = serde_json::from_slice(bytes).map_err(|e| {
                damaged(format!("does not hold labels as StyleGAN writes them ({e})"))
            })?;
            labels.files.push(index);
            labels.classes = file.classes.filter(|_| labels.files.len() == 1);
            let Some(Pairs(pairs)) = file.labels else { continue };
            let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
            let names = labels.by_name.get_or_insert_default();
            for (file, label) in pairs {
                names.insert(key(&format!("{folder}/{}", file.replace('\\', "/"))), label);
            }
        }
        Ok(labels)
    }
}
