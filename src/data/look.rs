//! What a list of files holds: images, IDX files, CIFAR-10 batches; detected by name and content.

use std::collections::BTreeMap;
use std::path::Path;

use super::arrays::Holder;
use super::captions::{is_captions, is_text};
use super::containers::Container;
use super::dataset_json::is_labels;
use super::decode;
use super::formats::{HEAD, Other};
use super::normals::Pairs;
use super::packed::{self, MAX_PACKED, label_names};
use super::part::Part;
use super::store::{MAX_FILE, Store};
use crate::error::{Error, Result};

/// What a list of files holds, by index.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) images: Vec<usize>,
    /// IDX files of images.
    pub(crate) idx: Vec<usize>,
    pub(crate) idx_labels: Vec<usize>,
    pub(crate) cifar_train: Vec<usize>,
    pub(crate) cifar_test: Vec<usize>,
    /// Files of labels: `dataset.json`.
    pub(crate) labels: Vec<usize>,
    /// Files of arrays, which are a set where there is no other.
    pub(crate) arrays: Vec<usize>,
    /// Files that hold images, which are a set where there is no other.
    pub(crate) containers: Vec<(usize, Container)>,
    /// Known formats that are not supported and do not count as images.
    pub(crate) others: Vec<(usize, Other)>,
    /// The normal maps of images, and what is said of them.
    pub(crate) normals: BTreeMap<usize, usize>,
    pub(crate) notes: Vec<String>,
}

/// How many bytes of a file called `name` that begins with `head` may be wanted: none of one that is
/// no image, no list of labels, no captions and no packed set.
pub(crate) fn most(name: &str, head: &[u8]) -> u64 {
    let file = name.rsplit('/').next().unwrap_or(name).to_ascii_lowercase();
    match () {
        () if is_cifar_train(&file) || file == CIFAR_TEST => MAX_PACKED,
        () if decode::is_image_name(&file) || is_labels(name) || is_captions(name) => MAX_FILE,
        () if is_text(name) => MOST_TEXT,
        () if decode::is_other_name(&file) => 0,
        () if packed::idx_dimensions(head).is_some() => MAX_PACKED,
        () if decode::is_image_head(head) => MAX_FILE,
        () => 0,
    }
}

/// The most that a text file for one image may have.
const MOST_TEXT: u64 = 1 << 16;

const CIFAR_TEST: &str = "test_batch.bin";

fn is_cifar_train(file: &str) -> bool {
    file.starts_with("data_batch_") && file.ends_with(".bin")
}

impl Found {
    pub(crate) fn look(store: &Store) -> Self {
        let mut found = Self::default();
        for (index, name) in store.names().iter().enumerate() {
            let file = name.rsplit('/').next().unwrap_or(name).to_ascii_lowercase();
            if store.is_image(index) || decode::is_image_name(&file) {
                found.images.push(index);
            } else if is_cifar_train(&file) {
                found.cifar_train.push(index);
            } else if file == CIFAR_TEST {
                found.cifar_test.push(index);
            } else if is_labels(name) {
                found.labels.push(index);
            } else if Holder::by_name(&file).is_some() {
                found.arrays.push(index);
            } else if !decode::is_other_name(&file) {
                // A file that cannot be opened and does not claim to be an image is not one.
                let head = store.head(index, HEAD as u64).unwrap_or_default();
                found.containers.extend(Container::find(&head, &file).map(|c| (index, c)));
                match packed::idx_dimensions(&head) {
                    Some(1) => found.idx_labels.push(index),
                    Some(_) => found.idx.push(index),
                    None if decode::is_image_head(&head) => found.images.push(index),
                    None if Holder::by_head(&head).is_some() => found.arrays.push(index),
                    None => found.others.extend(Other::find(&head, name).map(|o| (index, o))),
                }
            }
        }
        let pairs = Pairs::find(store.names(), found.images);
        found.notes = pairs.notes(store.names());
        (found.images, found.normals) = (pairs.images, pairs.maps);
        found
    }

    /// IDX files of labels that no IDX file of images has by its name.
    pub(crate) fn strays(&self, store: &Store) -> Vec<usize> {
        let names = |&index: &usize| label_names(&store.names()[index]);
        let wanted: Vec<String> = self.idx.iter().flat_map(names).collect();
        let is_stray = |index: &usize| !wanted.contains(&store.names()[*index]);
        self.idx_labels.iter().copied().filter(is_stray).collect()
    }

    /// Whether IDX files or CIFAR-10 batches come in a training part and a test part.
    pub(crate) fn has_packed_parts(&self, store: &Store) -> bool {
        let is_test = |&&index: &&usize| is_test(&store.names()[index]);
        let tests = self.idx.iter().filter(is_test).count();
        (tests > 0 && tests < self.idx.len())
            || (!self.cifar_train.is_empty() && !self.cifar_test.is_empty())
    }

    /// The CIFAR-10 batches of a part; without one, the training part where there is any.
    pub(crate) fn choose_cifar(&self, path: &Path, part: Option<Part>) -> Result<Vec<usize>> {
        let batches = match part {
            Some(Part::All) => [self.cifar_train.as_slice(), &self.cifar_test].concat(),
            Some(Part::Test) => self.cifar_test.clone(),
            None if self.cifar_train.is_empty() => self.cifar_test.clone(),
            None | Some(Part::Train) => self.cifar_train.clone(),
        };
        if batches.is_empty() { Err(no_part(path, part)) } else { Ok(batches) }
    }

    /// The IDX files of images that are meant, one of each part, and their labels; without a part,
    /// the training part where there is any.
    pub(crate) fn choose_idx(
        &self,
        path: &Path,
        store: &Store,
        part: Option<Part>,
    ) -> Result<Vec<(usize, Option<usize>)>> {
        let is_test = |index: &usize| is_test(&store.names()[*index]);
        let (test, train): (Vec<usize>, Vec<usize>) = self.idx.iter().partition(|i| is_test(i));
        let chosen = match part {
            Some(Part::All) => vec![train, test],
            Some(Part::Test) => vec![test],
            None if train.is_empty() => vec![test],
            None | Some(Part::Train) => vec![train],
        };
        let chosen = chosen.into_iter().filter(|files| !files.is_empty());
        let one = |files: Vec<usize>| self.one_idx(path, store, &files);
        let chosen = chosen.map(one).collect::<Result<Vec<_>>>()?;
        if chosen.is_empty() { Err(no_part(path, part)) } else { Ok(chosen) }
    }

    /// The one of some IDX files that is meant, and its labels.
    fn one_idx(
        &self,
        path: &Path,
        store: &Store,
        files: &[usize],
    ) -> Result<(usize, Option<usize>)> {
        let names: Vec<_> = files.iter().map(|&i| store.names()[i].as_str()).collect();
        let images = match files {
            [one] => *one,
            // The same file twice, once gzipped: take the raw one.
            [raw, _] if names[1] == format!("{}.gz", names[0]) => *raw,
            _ => {
                let what = format!(
                    "DATA holds several IDX sets ({}); give the file of one",
                    names.join(", ")
                );
                return Err(Error::file(path, what));
            }
        };
        let wanted = label_names(&store.names()[images]);
        let labels = wanted
            .iter()
            .find_map(|name| self.idx_labels.iter().copied().find(|&i| store.names()[i] == *name));
        Ok((images, labels))
    }
}

/// Whether an IDX file is of the test part, by its name.
fn is_test(name: &str) -> bool {
    let file = name.rsplit('/').next().unwrap_or(name).to_ascii_lowercase();
    file.contains("t10k") || file.contains("test")
}

pub(crate) fn no_part(path: &Path, part: Option<Part>) -> Error {
    let part = if part == Some(Part::Test) { "test" } else { "train" };
    Error::file(
        path,
        format!(
            "DATA has no {part} part; that would be a folder named {part}, or the {part} file of \
             IDX or CIFAR-10"
        ),
    )
}
