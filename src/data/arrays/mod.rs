//! Sets whose images are arrays of numbers: NumPy's `.npy` and `.npz`, MATLAB's `.mat`, HDF5.
//!
//! ```text
//! files ──npy, mat, hdf5──▶ arrays by name ──choose──▶ images and labels of a part ──pixels──▶ Packed
//! ```
//!
//! Images are `[n, h, w]`, `[n, h, w, c]` or `[n, c, h, w]` with 1, 3 or 4 channels; MATLAB's have n last.
//! What an array is, its name tells: `x_train`, `train_images`, `images`, `X` and the like are images,
//! `y_train`, `labels` and the like their labels; `train`, `test` and `val` in a name or in a group above it
//! are parts.

#[cfg(feature = "hdf5")]
mod hdf5;
mod mat;
mod npy;
mod pixels;

use std::io;
use std::path::Path;

use super::packed::{Format, Packed};
use super::part::Part;
use super::store::Store;
use crate::error::{Error, Result};
use pixels::{Element, Pixels};

/// Takes the bytes of an array, piece after piece.
type Take<'t> = &'t mut dyn FnMut(&[u8]) -> Result<(), String>;

/// Passes on all bytes of an array, in the order in which they are stored.
type Read<'a> = Box<dyn Fn(Take<'_>) -> Result<(), String> + 'a>;

/// An array in a file, not yet read.
struct Array<'a> {
    /// Where it lies, for messages: `set.npz`, or `x_train.npy` in an archive.
    name: String,
    /// What it is called, groups included: `train/images`.
    called: String,
    shape: Vec<usize>,
    element: Element,
    /// Whether the first axis varies fastest.
    fortran: bool,
    /// Whether the number of the image is the last axis.
    image_last: bool,
    read: Read<'a>,
}

/// Passes on all that a reader gives.
fn pieces(reader: &mut dyn io::Read, most: usize, take: Take<'_>) -> Result<(), String> {
    let mut piece = vec![0; most];
    loop {
        match reader.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(n) => take(&piece[..n])?,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(format!("is damaged or truncated ({e})")),
        }
    }
}

/// The kinds of files that hold arrays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    Npy,
    Mat,
    Hdf5,
}

/// Endings of such files, and what they are.
const ENDINGS: [(&str, Holder); 5] = [
    ("npy", Holder::Npy),
    ("mat", Holder::Mat),
    ("h5", Holder::Hdf5),
    ("hdf5", Holder::Hdf5),
    ("he5", Holder::Hdf5),
];

impl Holder {
    /// What a file is by its name.
    pub(super) fn by_name(name: &str) -> Option<Self> {
        let (_, ending) = name.rsplit_once('.')?;
        let row = ENDINGS.iter().find(|(known, _)| known.eq_ignore_ascii_case(ending))?;
        Some(row.1)
    }

    /// What a file is by its first bytes.
    pub(super) fn by_head(head: &[u8]) -> Option<Self> {
        match head {
            _ if head.starts_with(b"\x93NUMPY") => Some(Self::Npy),
            _ if head.starts_with(b"MATLAB 5.0 MAT-file") => Some(Self::Mat),
            _ if head.starts_with(b"\x89HDF\r\n\x1a\n") => Some(Self::Hdf5),
            _ => None,
        }
    }

    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Npy => "NumPy",
            Self::Mat => "MATLAB",
            Self::Hdf5 => "HDF5",
        }
    }
}

/// Words that say that an array holds images.
const IMAGES: [&str; 10] =
    ["x", "image", "images", "img", "imgs", "data", "pixels", "samples", "arr", "faces"];

/// Words that say that it holds their classes.
const LABELS: [&str; 9] =
    ["y", "label", "labels", "target", "targets", "class", "classes", "cls", "digit"];

/// What an array is, by the words of its name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Words {
    images: bool,
    labels: bool,
    part: Option<&'static str>,
    /// All others.
    rest: Vec<String>,
}

impl Words {
    fn of(called: &str) -> Self {
        let mut words = Self::default();
        for word in called.split(|c: char| !c.is_ascii_alphanumeric()).filter(|w| !w.is_empty()) {
            let word = word.to_ascii_lowercase();
            match word.as_str() {
                "train" | "training" | "tr" => words.part = Some("train"),
                "test" | "testing" | "te" => words.part = Some("test"),
                "val" | "valid" | "validation" | "dev" => words.part = Some("val"),
                word if IMAGES.contains(&word) => words.images = true,
                word if LABELS.contains(&word) => words.labels = true,
                _ => words.rest.push(word),
            }
        }
        words
    }
}

/// The arrays of images that are meant, each with its labels.
#[derive(Debug, Default, PartialEq, Eq)]
struct Choice {
    chosen: Vec<(usize, Option<usize>)>,
    /// Whether there is a part for training and one that is held out.
    has_parts: bool,
}

/// Chooses by name and shape.
///
/// # Errors
/// The end of a sentence that begins with the set.
fn choose(arrays: &[(String, &[usize])], part: Option<Part>) -> Result<Choice, String> {
    let words: Vec<Words> = arrays.iter().map(|(called, _)| Words::of(called)).collect();
    let is_images = |&i: &usize| matches!(arrays[i].1.len(), 3 | 4) && !words[i].labels;
    let all: Vec<usize> = (0..arrays.len()).filter(is_images).collect();
    let list = |of: &[usize]| {
        let each = of.iter().take(12).map(|&i| format!("{} {:?}", arrays[i].0, arrays[i].1));
        each.collect::<Vec<_>>().join(", ")
    };
    if all.is_empty() {
        let every: Vec<usize> = (0..arrays.len()).collect();
        return Err(format!(
            "has no array of images, which are [n, h, w], [n, h, w, c] or [n, c, h, w]; it holds {}",
            if every.is_empty() { "none at all".to_owned() } else { list(&every) }
        ));
    }
    let of = |name: &str| -> Vec<usize> {
        all.iter().copied().filter(|&i| words[i].part == Some(name)).collect()
    };
    let (train, test, val) = (of("train"), of("test"), of("val"));
    let held_out = if test.is_empty() { &val } else { &test }.clone();
    let has_parts = !train.is_empty() && !held_out.is_empty();
    let groups = match part {
        _ if !has_parts && part != Some(Part::Test) => vec![all.clone()],
        None | Some(Part::Train) => vec![train],
        Some(Part::Test) => vec![held_out],
        Some(Part::All) => {
            let none = all.iter().copied().filter(|&i| words[i].part.is_none()).collect();
            vec![train, val, test, none]
        }
    };
    let mut chosen = Vec::new();
    for group in groups.into_iter().filter(|group| !group.is_empty()) {
        let named: Vec<usize> = group.iter().copied().filter(|&i| words[i].images).collect();
        let one = match (group.as_slice(), named.as_slice()) {
            ([one], _) | (_, [one]) => *one,
            _ => {
                return Err(format!(
                    "has several arrays that may be the images ({}); call one of them images, or \
                     save it by itself",
                    list(&group)
                ));
            }
        };
        chosen.push((one, labels_of(arrays, &words, one, all.len() == 1)));
    }
    if chosen.is_empty() {
        return Err("has no test part, which would be an array such as x_test".into());
    }
    Ok(Choice { chosen, has_parts })
}

/// The labels of the images `one`: of the same name but for what says that they are labels, or the only
/// list of as many numbers.
fn labels_of(
    arrays: &[(String, &[usize])],
    words: &[Words],
    one: usize,
    alone: bool,
) -> Option<usize> {
    let shape = |i: usize| arrays[i].1;
    let is_list = |i: usize| matches!(shape(i).len(), 1 | 2) && i != one;
    let is_like = |&i: &usize| {
        let (a, b) = (&words[i], &words[one]);
        is_list(i) && a.labels && !a.images && a.part == b.part && a.rest == b.rest
    };
    (0..arrays.len()).find(is_like).or_else(|| {
        // MATLAB has the number of images last, where others have channels.
        let last = shape(one).last().filter(|last| !matches!(last, 1 | 3 | 4));
        let n = [shape(one).first(), last];
        let fits = |&i: &usize| is_list(i) && n.contains(&shape(i).iter().max());
        let lists: Vec<usize> = (0..arrays.len()).filter(fits).collect();
        let named: Vec<usize> = lists.iter().copied().filter(|&i| words[i].labels).collect();
        match (alone, lists.as_slice(), named.as_slice()) {
            (true, _, [only]) | (true, [only], []) => Some(*only),
            _ => None,
        }
    })
}

/// A set of arrays: read, and whether it comes in parts.
pub(super) struct Found {
    pub(super) packed: Packed,
    pub(super) has_parts: bool,
}

/// Reads the arrays of the files `files` of a store.
///
/// # Errors
/// [`Error::File`] where they hold no images, or cannot be read.
pub(super) fn read(
    path: &Path,
    store: &Store,
    files: &[usize],
    part: Option<Part>,
) -> Result<Found> {
    let fail = |what: String| Error::file(path, format!("DATA {what}"));
    let mut arrays = Vec::new();
    let mut holder = Holder::Npy;
    for &file in files {
        let name = &store.names()[file];
        let head = store.head(file, 128).unwrap_or_default();
        let Some(held) = Holder::by_head(&head) else { continue };
        let found = match held {
            Holder::Npy => npy::open(store, file).map(|array| vec![array]),
            Holder::Mat => mat::open(store, file),
            #[cfg(feature = "hdf5")]
            Holder::Hdf5 => hdf5::open(store, file),
            #[cfg(not(feature = "hdf5"))]
            Holder::Hdf5 => Err("is HDF5, which this build does not read (feature `hdf5`)".into()),
        };
        holder = held;
        arrays.extend(found.map_err(|what| fail(format!("cannot be used: {name} {what}")))?);
    }
    let names: Vec<_> = arrays.iter().map(|a| (a.called.clone(), a.shape.as_slice())).collect();
    let Choice { chosen, has_parts } = choose(&names, part).map_err(fail)?;
    let mut all: Option<Packed> = None;
    for (images, labels) in chosen {
        let array = &arrays[images];
        let wrong = |what: String| fail(format!("cannot be used: {} {what}", array.name));
        let Pixels { count, height, width, channels, bytes } = array.pixels().map_err(wrong)?;
        let raw_labels = match labels.map(|i| &arrays[i]) {
            None => None,
            Some(labels) => {
                let wrong = |what: String| fail(format!("cannot be used: {} {what}", labels.name));
                let mut numbers = labels.labels(count).map_err(wrong)?;
                if holder == Holder::Mat {
                    mat::without_tens(&mut numbers);
                }
                Some(numbers)
            }
        };
        let one = Packed::new(
            Format::Array(holder),
            [height, width, channels],
            raw_labels,
            (array.name.clone(), count),
            bytes,
        );
        all = Some(match all {
            None => one,
            Some(all) => all.with(one).map_err(fail)?,
        });
    }
    let packed = all.ok_or_else(|| fail("has no images".into()))?;
    Ok(Found { packed, has_parts })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    fn chosen(arrays: &[(&str, &[usize])], part: Option<Part>) -> Result<Choice, String> {
        let arrays: Vec<_> =
            arrays.iter().map(|(name, shape)| ((*name).to_owned(), *shape)).collect();
        choose(&arrays, part)
    }

    #[test]
    fn images_labels_and_parts_are_known_by_their_names() {
        let (six, four): (&[usize], &[usize]) = (&[6, 8, 8, 3], &[4, 8, 8, 3]);
        let keras: &[(&str, &[usize])] =
            &[("x_train", six), ("y_train", &[6]), ("x_test", four), ("y_test", &[4, 1])];
        let of = |part| chosen(keras, part).unwrap();
        assert_eq!(of(None), Choice { chosen: vec![(0, Some(1))], has_parts: true });
        assert_eq!(of(Some(Part::Test)).chosen, [(2, Some(3))]);
        assert_eq!(of(Some(Part::All)).chosen, [(0, Some(1)), (2, Some(3))]);
        // MedMNIST, groups of HDF5, SVHN, numpy.savez without names, and one array.
        let medical: &[(&str, &[usize])] = &[
            ("test_images", four),
            ("test_labels", &[4, 1]),
            ("train_images", six),
            ("train_labels", &[6, 1]),
            ("val_images", four),
            ("val_labels", &[4, 1]),
        ];
        assert_eq!(chosen(medical, None).unwrap().chosen, [(2, Some(3))]);
        assert_eq!(chosen(medical, Some(Part::All)).unwrap().chosen.len(), 3);
        let groups: &[(&str, &[usize])] =
            &[("val/labels", &[4]), ("val/images", four), ("train/images", six)];
        assert_eq!(chosen(groups, None).unwrap().chosen, [(2, None)]);
        assert_eq!(chosen(groups, Some(Part::Test)).unwrap().chosen, [(1, Some(0))]);
        for (names, wanted) in [
            ([("X", &[8, 8, 3, 6][..]), ("y", &[6, 1][..])], Some(1)),
            ([("arr_0", six), ("arr_1", &[6])], Some(1)),
            ([("x", six), ("scale", &[3])], None),
        ] {
            assert_eq!(chosen(&names, None).unwrap().chosen, [(0, wanted)], "{names:?}");
        }
        // What is called images is meant, and what cannot be told apart is not guessed.
        assert_eq!(chosen(&[("masks", six), ("images", six)], None).unwrap().chosen, [(1, None)]);
        let error = chosen(&[("masks", six), ("scans", six)], None).unwrap_err();
        assert!(error.contains("several arrays that may be the images (masks [6, 8"), "{error}");
        let error = chosen(&[("x", &[6, 784])], None).unwrap_err();
        assert!(error.contains("no array of images") && error.contains("x [6, 784]"), "{error}");
        assert!(chosen(&[("x", six)], Some(Part::Test)).unwrap_err().contains("no test part"));
    }
}
