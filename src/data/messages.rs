//! What the errors and notes of opening a set say.

use std::collections::BTreeMap;
use std::path::Path;

use super::formats::{self, Other};
use super::look::Found;
use super::packed::label_names;
use super::source::Kind;
use super::store::Store;
use crate::error::Error;

/// What `DATA` may be, for the end of an error message.
pub(super) const WHAT_WORKS: &str = "give a folder, zip or tar of images (PNG, JPEG, WebP, GIF, BMP, TIFF), \
                          a folder of tars, Parquet, LMDB, \
                          MNIST-style IDX files, CIFAR-10 binary batches, arrays (.npz, .npy, .mat, \
                          .h5), or nothing for the bundled set";

/// The error for a set without images: what is there instead.
pub(super) fn nothing_there(path: &Path, kind: Kind, store: &Store, found: &Found) -> Error {
    let mut what = match (store.names().is_empty(), kind) {
        (true, Kind::Folder) => "is an empty folder".to_owned(),
        (true, _) => format!("is an empty {kind}"),
        (false, _) => format!("is a {kind} without images"),
    };
    // Those that are not opened among images are now.
    let look = |(index, name): (usize, &String)| {
        let head = store.head(index, formats::HEAD as u64).unwrap_or_default();
        Other::find(&head, name).map(|other| (index, other))
    };
    let others = match found.others.as_slice() {
        [] => store.names().iter().enumerate().take(1000).filter_map(look).collect(),
        others => others.to_vec(),
    };
    match others.first() {
        Some((index, other)) => what += &format!("; {} {}", store.names()[*index], other.words()),
        None => what += &format!("; {WHAT_WORKS}"),
    }
    Error::file(path, format!("DATA {what}"))
}

/// Why IDX files have no labels, where some are there: those chosen with their labels, and labels that
/// belong to none.
pub(super) fn without_labels(
    store: &Store,
    chosen: &[(usize, Option<usize>)],
    strays: &[usize],
) -> Option<String> {
    let lacking = chosen.iter().find(|(_, labels)| labels.is_none())?.0;
    let images = &store.names()[lacking];
    if let Some((other, _)) = chosen.iter().find(|(_, labels)| labels.is_some()) {
        return Some(format!(
            "{images} has no labels beside it, and {} has",
            store.names()[*other]
        ));
    }
    let labels = &store.names()[*strays.first()?];
    let wanted = label_names(images).swap_remove(0);
    let example = "those of train-images-idx3-ubyte are train-labels-idx1-ubyte";
    Some(match wanted == *images {
        true => format!("{labels} is not called as the labels of {images} must be: {example}"),
        false => format!("{labels} is not called {wanted}, as the labels of {images} must be"),
    })
}

/// Image files beside a packed set.
pub(super) fn images_aside(store: &Store, images: &[usize]) -> Option<String> {
    let first = &store.names()[*images.first()?];
    Some(format!("left aside: {} (the first: {first})", count(images.len(), "image")))
}

/// Files of arrays beside a set of something else. Those of NumPy by themselves are often anything.
pub(super) fn arrays_aside(store: &Store, arrays: &[usize]) -> Option<String> {
    let is_npy = |name: &str| name.to_ascii_lowercase().ends_with(".npy");
    let names = arrays.iter().map(|&index| &store.names()[index]);
    let names: Vec<&String> = names.filter(|name| !is_npy(name)).collect();
    let first = names.first()?;
    let n = count(names.len(), "file");
    Some(format!("left aside: {n} of arrays (the first: {first}); to use one, give it as DATA"))
}

/// What is known and not read beside images: a sentence for each kind.
pub(super) fn left_aside(store: &Store, others: &[(usize, Other)]) -> Vec<String> {
    let mut kinds: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (index, other) in others {
        kinds.entry(other.words()).or_default().push(*index);
    }
    let sentence = |(words, indices): (&String, &Vec<usize>)| {
        let first = &store.names()[indices[0]];
        match indices.len() {
            1 => format!("left aside: {first} {words}"),
            n => format!("left aside: {} like {first}, which {words}", count(n, "file")),
        }
    };
    kinds.iter().map(sentence).collect()
}

/// `1,234 images`.
pub(crate) fn count(n: usize, what: &str) -> String {
    crate::human::plural(n as u64, what)
}
