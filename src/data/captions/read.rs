//! Reads captions from the files of a set.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Deserialize;

use crate::data::messages::count;
use crate::data::store::{MAX_FILE, Store, key};

/// What was found: captions by the index of their image.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) by_index: HashMap<usize, Vec<String>>,
    /// The files, for messages.
    pub(super) from: String,
}

/// Whether a file holds captions of several images, by its name: `captions.txt`, `captions.tsv`,
/// `captions.json`, `captions_train2017.json`.
pub(in crate::data) fn is_captions(name: &str) -> bool {
    let file = name.rsplit('/').next().unwrap_or(name).to_ascii_lowercase();
    match file.strip_prefix("captions").and_then(|rest| rest.rsplit_once('.')) {
        Some(("", "txt" | "tsv" | "json")) => true,
        Some((rest, "json")) => rest.starts_with(['_', '-']),
        _ => false,
    }
}

/// Whether a file may hold the captions of one image, by its name.
pub(in crate::data) fn is_text(name: &str) -> bool {
    let parts = name.rsplit('/').next().and_then(|file| file.rsplit_once('.'));
    parts.is_some_and(|(stem, ending)| !stem.is_empty() && ending.eq_ignore_ascii_case("txt"))
}

/// `{FILE: caption or captions}`.
#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

#[derive(Deserialize)]
struct Coco {
    images: Vec<CocoImage>,
    annotations: Vec<CocoCaption>,
}

#[derive(Deserialize)]
struct CocoImage {
    id: u64,
    file_name: String,
}

#[derive(Deserialize)]
struct CocoCaption {
    image_id: u64,
    caption: String,
}

/// Captions as a file has them: names, and texts.
type Pairs = Vec<(String, String)>;

/// A text on one line.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The lines `FILE<tab>caption` of a file; an error begins with its name.
fn lines(name: &str, text: &str) -> Result<Pairs, String> {
    let mut pairs = Vec::new();
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
        let Some((file, caption)) = line.split_once('\t') else {
            return Err(format!(
                "{name}, line {number}, has no tab; its lines are FILE<tab>caption"
            ));
        };
        let is_heading = ["file", "filename", "file_name", "image"].contains(&file.trim());
        if number > 1 || !is_heading {
            pairs.push((file.trim().to_owned(), one_line(caption)));
        }
    }
    Ok(pairs)
}

/// The captions of a file of JSON, and whether it is of COCO's kind, whose names lack folders.
fn json(name: &str, text: &str) -> Result<(Pairs, bool), String> {
    let wrong = |error: serde_json::Error| {
        format!("{name} is neither {{\"FILE\": \"caption\"}} nor annotations as of COCO ({error})")
    };
    if let Ok(Coco { images, annotations }) = serde_json::from_str(text) {
        let names: HashMap<u64, String> =
            images.into_iter().map(|image| (image.id, image.file_name)).collect();
        let pair = |CocoCaption { image_id, caption }| {
            let file = names.get(&image_id).cloned();
            let file = file.ok_or_else(|| format!("{name} has no image of number {image_id}"))?;
            Ok((file, one_line(&caption)))
        };
        let pairs = annotations.into_iter().map(pair).collect::<Result<Pairs, String>>();
        return Ok((pairs?, true));
    }
    let files: BTreeMap<String, OneOrMore> = serde_json::from_str(text).map_err(wrong)?;
    let each = files.into_iter().flat_map(|(file, captions)| {
        let captions = match captions {
            OneOrMore::One(caption) => vec![caption],
            OneOrMore::More(captions) => captions,
        };
        captions.into_iter().map(move |caption| (file.clone(), one_line(&caption)))
    });
    Ok((each.collect(), false))
}

/// A file's text; an error begins with its name.
fn text(store: &Store, index: usize) -> Result<String, String> {
    let name = &store.names()[index];
    let bytes = store.read(index, MAX_FILE).map_err(|what| format!("{name} {what}"))?;
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    String::from_utf8(bytes.to_vec()).map_err(|_| format!("{name} is not UTF-8 text"))
}

/// All captions of a set whose images are the files `indices`; `None` if it has none. Captions of
/// images that are there but not among them, as in a test part, are ignored.
///
/// # Errors
/// The end of a sentence that begins with the set.
pub(super) fn all(store: &Store, indices: &[usize]) -> Result<Option<Found>, String> {
    let has = |what: String| format!("has captions that cannot be used: {what}");
    let names = store.names();
    let files: Vec<usize> = (0..names.len()).filter(|&index| is_captions(&names[index])).collect();
    if files.is_empty() {
        return beside(store, indices).map_err(has);
    }
    let by_name: HashMap<String, usize> = (0..names.len()).map(|i| (key(&names[i]), i)).collect();
    let mut by_file: HashMap<&str, Vec<usize>> = HashMap::new();
    for &index in indices {
        let file = names[index].rsplit('/').next().unwrap_or(&names[index]);
        by_file.entry(file).or_default().push(index);
    }
    let wanted: BTreeSet<usize> = indices.iter().copied().collect();
    let mut found = Found::default();
    let mut from = Vec::new();
    let mut missing = Vec::new();
    for &file in &files {
        let name = &names[file];
        let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
        let text = text(store, file).map_err(has)?;
        let is_json = name.to_ascii_lowercase().ends_with(".json");
        let (pairs, is_coco) = match is_json {
            true => json(name, &text).map_err(has)?,
            false => (lines(name, &text).map_err(has)?, false),
        };
        let mut absent = BTreeSet::new();
        let mut used = 0;
        for (image, caption) in pairs {
            if caption.is_empty() {
                return Err(has(format!("{name} has an empty caption for {image}")));
            }
            let path = image.replace('\\', "/");
            let by_path = by_name.get(&key(&format!("{folder}/{path}")));
            let index = match (by_path, by_file.get(path.as_str())) {
                (Some(&index), _) => Some(index),
                (None, Some(several)) if is_coco && several.len() == 1 => Some(several[0]),
                _ => None,
            };
            match index {
                Some(index) => {
                    used += 1;
                    if wanted.contains(&index) {
                        found.by_index.entry(index).or_default().push(caption);
                    }
                }
                None => drop(absent.insert(image)),
            }
        }
        // Annotations of a part of COCO that is not there are left aside.
        let is_absent_part = is_coco && used == 0 && files.len() > 1;
        if !absent.is_empty() && !is_absent_part {
            missing.push((name, absent));
        }
        from.push(name.as_str());
    }
    if let Some((name, absent)) = missing.first() {
        return Err(has(format!(
            "{name} has captions of {} that {} not there (the first: {}); remove them, or add the \
             images",
            count(absent.len(), "image"),
            if absent.len() == 1 { "is" } else { "are" },
            absent.first().map_or("", String::as_str)
        )));
    }
    found.from = from.join(", ");
    Ok(Some(found))
}

/// A name without its ending, and the same without its first folder.
fn stems(name: &str) -> [String; 2] {
    let whole = key(name.rsplit_once('.').map_or(name, |(stem, _)| stem));
    let inner = whole.split_once('/').map_or(whole.as_str(), |(_, rest)| rest).to_owned();
    [whole, inner]
}

/// Captions in a text file for each image.
fn beside(store: &Store, indices: &[usize]) -> Result<Option<Found>, String> {
    let names = store.names();
    let mut texts: [HashMap<String, usize>; 2] = Default::default();
    for index in (0..names.len()).filter(|&index| is_text(&names[index])) {
        for (texts, stem) in texts.iter_mut().zip(stems(&names[index])) {
            texts.insert(stem, index);
        }
    }
    let mut found = Found { from: "a .txt file of its name".into(), ..Found::default() };
    for &index in indices {
        let [whole, inner] = stems(&names[index]);
        let Some(&file) = texts[0].get(&whole).or_else(|| texts[1].get(&inner)) else { continue };
        let text = text(store, file)?;
        let own: Vec<String> = text.lines().map(one_line).filter(|line| !line.is_empty()).collect();
        if own.is_empty() {
            return Err(format!("{} is empty", names[file]));
        }
        found.by_index.insert(index, own);
    }
    Ok(if found.by_index.is_empty() { None } else { Some(found) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_captions_are_known_by_their_names() {
        for name in [
            "captions.txt",
            "x/Captions.TSV",
            "a/captions.json",
            "captions_train2017.json",
            "captions-val.json",
        ] {
            assert!(is_captions(name), "{name}");
        }
        for name in ["captions.png", "captions_old.txt", "my_captions.txt", "x.json", "captions"] {
            assert!(!is_captions(name), "{name}");
        }
        assert!(is_text("a/1.TXT") && !is_text(".txt") && !is_text("1.text"));
    }
}
