//! What a list of files holds: pictures, IDX files, CIFAR-10 batches; told by name and by content.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::store::Store;
use super::{decode, packed};
use crate::error::{Error, Result};

/// Which part of a set that comes in two to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// What one trains on: of IDX and CIFAR-10 the training part (the test part where there is no
    /// other), of picture files all.
    Default,
    /// The training part: of picture files those below a folder named `train` or `training`.
    Train,
    /// The test part: of picture files those below a folder named `test` or `testing`.
    Test,
}

impl Part {
    /// Whether a file with this path belongs to the part.
    pub(crate) fn has(self, name: &str) -> bool {
        let wanted: &[&str] = match self {
            Self::Default => return true,
            Self::Train => &["train", "training"],
            Self::Test => &["test", "testing"],
        };
        let folders = name.rsplit_once('/').map_or("", |(folders, _)| folders);
        folders.split('/').any(|part| wanted.iter().any(|w| part.eq_ignore_ascii_case(w)))
    }
}

/// What a list of files holds, by index.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) pictures: Vec<usize>,
    /// IDX files of pictures.
    pub(crate) idx: Vec<usize>,
    pub(crate) idx_labels: Vec<usize>,
    pub(crate) cifar_train: Vec<usize>,
    pub(crate) cifar_test: Vec<usize>,
}

impl Found {
    pub(crate) fn look(store: &Store) -> Self {
        let mut found = Self::default();
        for (index, name) in store.names().iter().enumerate() {
            let file = name.rsplit('/').next().unwrap_or(name).to_ascii_lowercase();
            if decode::is_picture_name(&file) {
                found.pictures.push(index);
            } else if file.starts_with("data_batch_") && file.ends_with(".bin") {
                found.cifar_train.push(index);
            } else if file == "test_batch.bin" {
                found.cifar_test.push(index);
            } else if !decode::is_other_name(&file) {
                // A file that cannot be opened and does not claim to be a picture is none.
                let head = store.head(index, 256).unwrap_or_default();
                match packed::idx_dimensions(&head) {
                    Some(1) => found.idx_labels.push(index),
                    Some(_) => found.idx.push(index),
                    None if decode::is_picture_head(&head) => found.pictures.push(index),
                    None => {}
                }
            }
        }
        found
    }

    /// The one IDX file of pictures that is meant, and its labels.
    pub(crate) fn choose_idx(
        &self,
        path: &Path,
        store: &Store,
        part: Part,
    ) -> Result<(usize, Option<usize>)> {
        let is_test = |index: &usize| {
            let name = &store.names()[*index];
            let file = name.rsplit('/').next().unwrap_or(name).to_ascii_lowercase();
            file.contains("t10k") || file.contains("test")
        };
        let (test, train): (Vec<usize>, Vec<usize>) = self.idx.iter().partition(|i| is_test(i));
        let chosen = match part {
            Part::Test => test,
            Part::Default if train.is_empty() => test,
            Part::Default | Part::Train => train,
        };
        let names = || -> Vec<_> { chosen.iter().map(|&i| store.names()[i].as_str()).collect() };
        let pictures = match chosen.as_slice() {
            [] => return Err(no_part(path, part)),
            [one] => *one,
            // The same file twice, once gzipped: take the raw one.
            [raw, _] if names()[1] == format!("{}.gz", names()[0]) => *raw,
            _ => {
                return Err(Error::file(
                    path,
                    format!(
                        "DATA holds several IDX sets ({}); give the file of one",
                        names().join(", ")
                    ),
                ));
            }
        };
        let wanted = label_names(&store.names()[pictures]);
        let labels = wanted
            .iter()
            .find_map(|name| self.idx_labels.iter().copied().find(|&i| store.names()[i] == *name));
        Ok((pictures, labels))
    }
}

/// What the file of labels may be called that belongs to an IDX file of pictures.
pub(crate) fn label_names(pictures: &str) -> Vec<String> {
    let (folder, file) = pictures.rsplit_once('/').unwrap_or(("", pictures));
    let labels = file
        .replace("images", "labels")
        .replace("Images", "Labels")
        .replace("idx3", "idx1")
        .replace("idx4", "idx1");
    let plain = labels.strip_suffix(".gz").unwrap_or(&labels);
    [plain.to_owned(), format!("{plain}.gz")]
        .map(|file| if folder.is_empty() { file } else { format!("{folder}/{file}") })
        .to_vec()
}

/// Classes from the folders that the files lie in.
pub(crate) fn folder_labels(store: &Store, indices: &[usize]) -> (Option<Vec<u32>>, Vec<String>) {
    let parent = |&index: &usize| -> Option<&str> {
        let (folders, _) = store.names()[index].rsplit_once('/')?;
        folders.rsplit('/').next()
    };
    let Some(parents) = indices.iter().map(parent).collect::<Option<Vec<_>>>() else {
        return (None, Vec::new());
    };
    let classes: BTreeSet<&str> = parents.iter().copied().collect();
    if classes.len() < 2 {
        return (None, Vec::new());
    }
    let numbers: BTreeMap<&str, u32> = classes.iter().copied().zip(0..).collect();
    let labels = parents.iter().map(|parent| numbers[parent]).collect();
    (Some(labels), classes.into_iter().map(str::to_owned).collect())
}

pub(crate) fn no_part(path: &Path, part: Part) -> Error {
    let part = if part == Part::Test { "test" } else { "train" };
    Error::file(
        path,
        format!(
            "DATA has no {part} part; that would be a folder named {part}, or the {part} file of \
             IDX or CIFAR-10"
        ),
    )
}
