//! The classes of a set's images: by its folders, by StyleGAN's `dataset.json`, or by numbers that
//! lie beside the pixels. A class without images is left out: classes are numbered from 0 on as
//! they occur, and keep what the set calls them as their names.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::dataset_json::Label;
use super::messages::count;
use super::part::{Parts, folders};

/// The classes of a list of images.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Classes {
    /// The class of each image; `None` without classes.
    pub(super) labels: Option<Vec<u32>>,
    /// The names of the classes, by label.
    pub(super) names: Vec<String>,
    /// What makes the classes: `folder level 1`, `dataset.json`.
    pub(super) by: String,
    /// Why there are no classes, if that is not obvious, as the end of a sentence.
    pub(super) none: Option<String>,
    /// Another note.
    pub(super) note: Option<String>,
}

impl Classes {
    /// No classes, and why.
    pub(super) fn without(why: impl Into<String>) -> Self {
        Self { none: Some(why.into()), ..Self::default() }
    }

    /// Of what each image is called, in the order of `T`.
    pub(super) fn of<T: Ord + ToString>(called: &[T], by: String) -> Self {
        let different: BTreeSet<&T> = called.iter().collect();
        if different.len() < 2 {
            return Self::default();
        }
        let numbers: BTreeMap<&T, u32> = different.iter().copied().zip(0..).collect();
        Self {
            labels: Some(called.iter().map(|name| numbers[name]).collect()),
            names: different.into_iter().map(ToString::to_string).collect(),
            by,
            ..Self::default()
        }
    }
}

/// Numbers from 0 on for the labels that occur, their names (`name` of a label) and, where some label
/// below the largest does not occur, a sentence on that.
pub(super) fn numbered(
    labels: &[u32],
    name: impl Fn(u32) -> String,
) -> (Vec<u32>, Vec<String>, Option<String>) {
    let occurring: BTreeSet<u32> = labels.iter().copied().collect();
    let numbers: HashMap<u32, u32> = occurring.iter().copied().zip(0..).collect();
    let names: Vec<String> = occurring.iter().map(|&label| name(label)).collect();
    let missing: Vec<u32> = occurring
        .last()
        .map_or(0..0, |&top| 0..top)
        .filter(|label| !occurring.contains(label))
        .take(3)
        .collect();
    let note = missing.first().map(|&first| {
        let more = occurring.last().map_or(0, |&top| top as usize + 1) - occurring.len();
        let what = match more {
            1 => format!("label {} has no image and is no class", name(first)),
            _ => format!(
                "{} ({} the first) have no image and are no classes",
                count(more, "label"),
                name(first)
            ),
        };
        match names.as_slice() {
            [only] => format!("{what}: the only class is {only}"),
            names => format!(
                "{what}: the {} others are numbered from 0 on and named by their labels, {} to {}",
                names.len(),
                names.first().map_or("", String::as_str),
                names.last().map_or("", String::as_str),
            ),
        }
    });
    (labels.iter().map(|label| numbers[label]).collect(), names, note)
}

/// By the folder of a level, or of the first level that tells the images of `reference` apart, after
/// those that all have in common and those that are parts of the set.
///
/// # Errors
/// Where a level is asked for that an image does not have, as the end of a sentence.
pub(super) fn by_folder(
    names: &[&str],
    reference: &[&str],
    parts: Parts,
    level: Option<usize>,
) -> Result<Classes, String> {
    if let Some(level) = level {
        let at = |name: &str| folders(name).nth(level.checked_sub(1)?).map(str::to_owned);
        let found = names.iter().map(|name| at(name)).collect::<Option<Vec<_>>>();
        let found = found.ok_or_else(|| {
            let lacking = names.iter().find(|name| at(name).is_none()).copied().unwrap_or_default();
            let deepest = names.iter().map(|name| folders(name).count()).min().unwrap_or(0);
            let works = match deepest {
                0 => "no level works, as not all images lie in folders".to_owned(),
                1 => "1 works".to_owned(),
                n => format!("1 to {n} work"),
            };
            match level {
                0 => format!("levels are counted from 1; {works}"),
                _ => format!("{lacking:?} does not lie in folders {level} deep; {works}"),
            }
        })?;
        let classes = Classes::of(&found, format!("folder level {level}"));
        return match classes.labels {
            Some(_) => Ok(classes),
            None => Ok(Classes::without(format!(
                "all images lie in the same folder of level {level} ({})",
                found.first().map_or("", String::as_str)
            ))),
        };
    }
    let mut why = None;
    for names_of_level in [reference, names] {
        match first_level(names_of_level, parts) {
            Ok(Some(depth)) => return Ok(at_depth(names, parts, depth)),
            Ok(None) => {}
            Err(stray) => why = why.or(Some(stray)),
        }
    }
    Ok(why.map_or_else(Classes::default, Classes::without))
}

/// How many class folders deep the first lies that tells images apart. An error where some lie outside
/// of such folders.
fn first_level(names: &[&str], parts: Parts) -> Result<Option<usize>, String> {
    // All names are gone through together, folder by folder: however deep they are, once.
    let mut walks: Vec<_> = names.iter().map(|name| parts.class_folders(name)).collect();
    for depth in 0.. {
        let mut different = BTreeSet::new();
        let mut outside = Vec::new();
        for (walk, name) in walks.iter_mut().zip(names) {
            match walk.next() {
                Some((_, folder)) => drop(different.insert(folder)),
                None => outside.push(*name),
            }
        }
        match (different.len(), outside.len()) {
            (0, _) => return Ok(None),
            (1, 0) => {}
            (_, 0) => return Ok(Some(depth)),
            (1, _) => return Ok(None),
            (classes, n) => {
                return Err(format!(
                    "{} {} outside of the {classes} folders that would be classes (the first: {:?})",
                    count(n, "image"),
                    if n == 1 { "lies" } else { "lie" },
                    outside[0]
                ));
            }
        }
    }
    Ok(None)
}

fn at_depth(names: &[&str], parts: Parts, depth: usize) -> Classes {
    let mut called = Vec::with_capacity(names.len());
    let mut levels = BTreeSet::new();
    let mut outside = Vec::new();
    for name in names {
        match parts.class_folders(name).nth(depth) {
            Some((level, folder)) => {
                levels.insert(level);
                called.push(folder.to_owned());
            }
            None => outside.push(*name),
        }
    }
    if let Some(first) = outside.first() {
        let n = count(outside.len(), "image");
        return Classes::without(format!("{n} outside of class folders (the first: {first:?})"));
    }
    let by = match levels.iter().collect::<Vec<_>>().as_slice() {
        [level] => format!("folder level {level}"),
        _ => "the first folder below train and test".to_owned(),
    };
    Classes::of(&called, by)
}

/// By the innermost folder, as they were found before levels were known.
pub(super) fn by_innermost_folder(names: &[&str]) -> Classes {
    let parent = |name: &&str| -> Option<String> {
        let (folders, _) = name.rsplit_once('/')?;
        folders.rsplit('/').next().map(str::to_owned)
    };
    let parents = names.iter().map(parent).collect::<Option<Vec<_>>>();
    parents
        .map_or_else(Classes::default, |parents| Classes::of(&parents, "innermost folder".into()))
}

/// By what `dataset.json` says of each image.
pub(super) fn by_json(
    names: &[&str],
    labels: &[Option<Label>],
    called: Option<&[String]>,
) -> Classes {
    let missing = labels.iter().filter(|label| label.is_none()).count();
    if missing > 0 {
        let first = labels.iter().position(Option::is_none).map_or("", |i| names[i]);
        return Classes::without(format!(
            "{} of {} {} no label in dataset.json (the first: {first:?})",
            missing,
            count(names.len(), "image"),
            if missing == 1 { "has" } else { "have" },
        ));
    }
    let mut numbers = Vec::with_capacity(labels.len());
    for (label, name) in labels.iter().zip(names) {
        match label {
            Some(Label::Number(number)) => numbers.push(*number),
            Some(Label::Vector) => {
                return Classes::without(
                    "the labels in dataset.json are lists of numbers, where classes have one number",
                );
            }
            Some(Label::Other) | None => {
                return Classes::without(format!(
                    "the label of {name:?} in dataset.json is no whole number from 0 on"
                ));
            }
        }
    }
    let name = |label: u32| match called.and_then(|called| called.get(label as usize)) {
        Some(name) => name.clone(),
        None => label.to_string(),
    };
    let (labels, names, note) = numbered(&numbers, name);
    match names.as_slice() {
        [] | [_] => Classes::without("all images have the same label in dataset.json"),
        _ => Classes { labels: Some(labels), names, by: "dataset.json".into(), none: None, note },
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    fn of(names: &[&str], level: Option<usize>) -> (Vec<u32>, Vec<String>, String) {
        let classes = found(names, level);
        (classes.labels.unwrap_or_default(), classes.names, classes.by)
    }

    fn found(names: &[&str], level: Option<usize>) -> Classes {
        by_folder(names, names, Parts::of(names.iter().copied()), level).unwrap()
    }

    #[test]
    fn the_first_folder_that_tells_images_apart_is_the_class() {
        let pets = ["x/cats/in/1", "x/cats/out/1", "x/dogs/in/1", "x/dogs/1"];
        let (labels, names, by) = of(&pets, None);
        assert_eq!((labels, names), (vec![0, 0, 1, 1], vec!["cats".into(), "dogs".into()]));
        assert_eq!(by, "folder level 2");
        assert_eq!(of(&pets[..3], Some(3)).1, ["in", "out"]);
        assert!(found(&pets, Some(1)).none.unwrap().contains("same folder of level 1 (x)"));
        let deeper = by_folder(&pets, &pets, Parts::default(), Some(3)).unwrap_err();
        assert!(deeper.contains("\"x/dogs/1\" does not lie in folders 3 deep"), "{deeper}");
    }

    #[test]
    fn parts_are_no_classes_wherever_they_stand() {
        for names in [
            ["test/dog/1", "train/cat/1", "train/dog/1"],
            ["dog/test/1", "cat/train/1", "dog/train/1"],
            ["x/val/dog/1", "x/train/cat/1", "x/train/dog/1"],
        ] {
            let (labels, classes, by) = of(&names, None);
            assert_eq!((labels, classes), (vec![1, 0, 1], vec!["cat".into(), "dog".into()]));
            assert!(by.contains("folder"), "{by}");
        }
        // A test part without folders does not take the training part's classes away.
        let all = ["test/1", "train/cat/1", "train/dog/1"];
        let parts = Parts::of(all.iter().copied());
        let train = by_folder(&all[1..], &all[1..], parts, None).unwrap();
        assert_eq!(train.labels, Some(vec![0, 1]));
        let test = by_folder(&all[..1], &all[1..], parts, None).unwrap();
        assert!(test.labels.is_none() && test.none.unwrap().contains("outside of class folders"));
        assert_eq!(of(&all, Some(1)).1, ["test", "train"]);
    }

    #[test]
    fn images_outside_of_folders_are_named() {
        assert_eq!(found(&["1", "2"], None), Classes::default());
        assert_eq!(found(&["a/1", "a/2", "3"], None), Classes::default());
        let stray = found(&["a/1", "b/1", "0"], None).none.unwrap();
        assert!(stray.contains("1 image lies outside of the 2 folders") && stray.contains("\"0\""));
    }

    /// A path of the longest name that an archive may have, gone through once and not once a level.
    #[test]
    fn very_deep_folders_take_no_time() {
        let names: Vec<String> = (0..50).map(|i| format!("{}{i}", "a/".repeat(30_000))).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let start = std::time::Instant::now();
        assert_eq!(found(&names, None), Classes::default());
        assert!(start.elapsed().as_secs() < 5, "{:?}", start.elapsed());
    }

    #[test]
    fn labels_that_do_not_occur_are_no_classes() {
        let (labels, names, note) = numbered(&[2, 4, 2, 3], |label| label.to_string());
        assert_eq!((labels, names), (vec![0, 2, 0, 1], vec!["2".into(), "3".into(), "4".into()]));
        let note = note.unwrap();
        assert!(note.starts_with("2 labels (0 the first) have no image"), "{note}");
        let note = numbered(&[1, 2], |label| label.to_string()).2.unwrap();
        assert!(note.starts_with("label 0 has no image and is no class: the 2 others"), "{note}");
        let note = numbered(&[3], |label| label.to_string()).2.unwrap();
        assert!(note.ends_with("have no image and are no classes: the only class is 3"), "{note}");
        assert_eq!(numbered(&[1, 0], |label| label.to_string()).2, None);
        assert_eq!(numbered(&[], |label| label.to_string()).0, Vec::<u32>::new());
    }
}
