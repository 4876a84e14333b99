//! Classes that lie with each image: in a file beside it, as webdataset has them, or in its row.
//!
//! | beside `0001.png` | class |
//! | --- | --- |
//! | `0001.cls` | its text, a number or a name |
//! | `0001.json` | its entry `label`, `cls` or `class` |

use std::collections::BTreeMap;

use serde_json::Value;

use super::classes::{Classes, numbered};
use super::messages::count;
use super::store::Store;

/// The largest file beside an image that is read.
const MOST: u64 = 1 << 16;

/// Entries of a `.json` that are the class, in this order.
const KEYS: [&str; 3] = ["label", "cls", "class"];

/// A name up to the first dot of its last part, which files of one sample have in common.
fn sample(name: &str) -> &str {
    let inner = super::part::container(name).map_or(0, |(outer, _)| outer.len() + 1);
    let file = name[inner..].rfind('/').map_or(inner, |at| inner + at + 1);
    name[file..].find('.').map_or(name, |at| &name[..file + at])
}

/// What kind of file beside the images says their class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Beside {
    Cls,
    Json(&'static str),
}

impl Beside {
    fn ending(self) -> &'static str {
        match self {
            Self::Cls => ".cls",
            Self::Json(_) => ".json",
        }
    }

    /// The class that a file beside image `image` says.
    fn read(self, store: &Store, image: usize) -> Option<String> {
        let name = format!("{}{}", sample(&store.names()[image]), self.ending());
        let index = store.names().binary_search(&name).ok()?;
        let bytes = store.read(index, MOST).ok()?;
        let text = match self {
            Self::Cls => String::from_utf8(bytes).ok()?.trim().to_owned(),
            Self::Json(key) => match serde_json::from_slice::<Value>(&bytes).ok()?.get(key)? {
                Value::String(text) => text.trim().to_owned(),
                Value::Number(number) => number.to_string(),
                _ => return None,
            },
        };
        (!text.is_empty() && !text.contains('\n')).then_some(text)
    }
}

/// The classes of the images `indices` by what lies with them; nothing where the first has none.
pub(super) fn classes(store: &Store, indices: &[usize]) -> Option<Classes> {
    let first = *indices.first()?;
    if store.class(first).is_some() {
        return Some(by_row(store, indices));
    }
    let kinds = std::iter::once(Beside::Cls).chain(KEYS.map(Beside::Json));
    let beside = kinds.into_iter().find(|kind| kind.read(store, first).is_some())?;
    let texts: Vec<_> = indices.iter().map(|&image| beside.read(store, image)).collect();
    let missing = texts.iter().filter(|text| text.is_none()).count();
    if let Some(lacking) = texts.iter().position(Option::is_none) {
        return Some(Classes::without(format!(
            "{missing} of {} have no label in a {} file beside them (the first: {:?})",
            count(indices.len(), "image"),
            beside.ending(),
            store.names()[indices[lacking]]
        )));
    }
    let texts: Vec<String> = texts.into_iter().flatten().collect();
    let by = format!("{} files beside the images", beside.ending());
    let numbers: Option<Vec<u32>> = texts.iter().map(|text| text.parse().ok()).collect();
    Some(match numbers {
        Some(numbers) => of_numbers(&numbers, |label| label.to_string(), by),
        None => {
            let classes = Classes::of(&texts, by);
            match classes.labels {
                Some(_) => classes,
                None => Classes::without("all images have the same label beside them"),
            }
        }
    })
}

fn of_numbers(numbers: &[u32], name: impl Fn(u32) -> String, by: String) -> Classes {
    let (labels, names, note) = numbered(numbers, name);
    match names.as_slice() {
        [] | [_] => Classes::without("all images have the same label"),
        _ => Classes { labels: Some(labels), names, by, none: None, note },
    }
}

/// By the labels of rows.
fn by_row(store: &Store, indices: &[usize]) -> Classes {
    let found: Option<Vec<(u32, Option<&str>)>> =
        indices.iter().map(|&index| store.class(index)).collect();
    let Some(found) = found else {
        return Classes::without("not all files have a column of labels");
    };
    let names: BTreeMap<u32, &str> =
        found.iter().filter_map(|&(number, name)| Some((number, name?))).collect();
    let name = |label: u32| names.get(&label).map_or(label.to_string(), |&name| name.to_owned());
    let numbers: Vec<u32> = found.iter().map(|&(number, _)| number).collect();
    of_numbers(&numbers, name, "labels in the rows".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_a_name_up_to_the_first_dot() {
        for (name, wanted) in [
            ("0001.png", "0001"),
            ("a.b/0001.seg.png", "a.b/0001"),
            ("x-0.tar:a/0001.png", "x-0.tar:a/0001"),
            ("x-0.tar:0001.seg.png", "x-0.tar:0001"),
            ("0001", "0001"),
        ] {
            assert_eq!(sample(name), wanted);
        }
    }
}
