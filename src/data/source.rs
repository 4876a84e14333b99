//! A set of images: what it is, which images it has, and their pixels.

mod open;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use image::DynamicImage;

use super::classes::Classes;
use super::decode::{self, Decoded};
use super::fingerprint::{self, Fingerprint};
use super::messages::count;
use super::packed::{Format, Packed};
use super::part::Reading;
use super::prepare::Prepare;
use super::store::{self, Store};
use crate::error::{Error, Result};

/// The name of the bundled set that has captions, where a path of images is taken.
pub const CAPTIONED: &str = "captioned";

/// Whether a path means the bundled set with captions: it is its name, and there is no file or
/// folder of that name.
#[must_use]
pub fn is_captioned(path: &Path) -> bool {
    path == Path::new(CAPTIONED) && !path.exists()
}

/// What the images come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The set that is part of the program.
    Bundled,
    /// Image files below a folder.
    Folder,
    /// Image files in a zip.
    Zip,
    /// Image files in a tar.
    Tar,
    /// An IDX file, as MNIST has them.
    Idx,
    /// CIFAR-10 binary batches.
    Cifar10,
    /// Image files in the rows of Parquet files.
    Parquet,
    /// Image files in LMDB databases.
    Lmdb,
    /// Arrays in NumPy's files, `.npy` or `.npz`.
    NumPy,
    /// Arrays in a MATLAB file.
    Matlab,
    /// Arrays in an HDF5 file.
    Hdf5,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Bundled => "bundled set",
            Self::Folder => "folder",
            Self::Zip => "zip",
            Self::Tar => "tar",
            Self::Idx => "IDX",
            Self::Cifar10 => "CIFAR-10",
            Self::Parquet => "Parquet",
            Self::Lmdb => "LMDB",
            Self::NumPy => "NumPy",
            Self::Matlab => "MATLAB",
            Self::Hdf5 => "HDF5",
        })
    }
}

#[derive(Debug)]
enum Items {
    Files { store: Store, indices: Vec<usize> },
    Packed(Packed),
}

/// A set of images: opened, listed, not yet decoded. Images are known by their index; the order
/// is that of their names, so it is the same on every machine.
#[derive(Debug)]
pub struct Source {
    origin: PathBuf,
    kind: Kind,
    name: String,
    items: Items,
    classes: Classes,
    reading: Reading,
    notes: Vec<String>,
    /// Files of labels in the store: of use to a copy.
    label_files: Vec<usize>,
    /// Whether the classes lie beside each image, or in its row.
    is_beside: bool,
    /// The file of an image's normal map, by the image's file.
    normals: BTreeMap<usize, usize>,
}

/// One image as it lies in the set, decoded and upright.
#[derive(Debug)]
pub struct Image {
    /// The pixels.
    pub pixels: DynamicImage,
    /// The format's name.
    pub format: &'static str,
    /// What the file's pixels are, as in `RGB` or `gray, 16 bit`.
    pub color: String,
}

impl Source {
    /// Whether all images are known to be gray: those of IDX files, and arrays of one channel.
    #[must_use]
    pub fn is_gray(&self) -> bool {
        match &self.items {
            Items::Files { .. } => false,
            Items::Packed(packed) => packed.format == Format::Idx || packed.channels == 1,
        }
    }

    /// What the images come in.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The path that was opened, for messages.
    #[must_use]
    pub fn origin(&self) -> &Path {
        &self.origin
    }

    /// A short name for the names of run folders: letters, digits, `.`, `_` and `-` only.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The number of images, including any that will turn out to be unreadable.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.items {
            Items::Files { indices, .. } => indices.len(),
            Items::Packed(packed) => packed.len(),
        }
    }

    /// Never: a source without images is an error.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The class of each image, where the set has classes: the labels of a packed set, what
    /// `dataset.json` says, or the first folder that tells files apart if every file lies in one and
    /// there are two or more.
    #[must_use]
    pub fn labels(&self) -> Option<&[u32]> {
        self.classes.labels.as_deref()
    }

    /// The names of the classes, by label.
    #[must_use]
    pub fn classes(&self) -> &[String] {
        &self.classes.names
    }

    /// The source of the classes, as in `folder level 1`; `None` without classes.
    #[must_use]
    pub fn classes_by(&self) -> Option<&str> {
        self.classes.labels.as_ref().map(|_| self.classes.by.as_str())
    }

    /// Why the set has no classes, as the end of a sentence that begins with it.
    #[must_use]
    pub fn why_no_classes(&self) -> String {
        match &self.classes.none {
            Some(why) => format!("has no labels: {why}"),
            None => "has no labels; a folder or archive with one folder for each class has, or with \
                     StyleGAN's dataset.json, and so have CIFAR-10 binary batches and IDX files with \
                     their file of labels beside; `labels` takes a table of others"
                .into(),
        }
    }

    /// How the set was read: the part that was taken, whether or not it was asked for, and the rest as
    /// it was asked for.
    #[must_use]
    pub fn reading(&self) -> &Reading {
        &self.reading
    }

    /// Decisions about the set that a user may want to change, and what was left aside: a sentence
    /// each.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// What was found, in a few words: `folder, 1,234 images, 10 classes`.
    #[must_use]
    pub fn description(&self) -> String {
        let mut text = format!("{}, {}", self.kind, count(self.len(), "image"));
        if let Items::Packed(packed) = &self.items {
            let files: Vec<_> = packed.files.iter().map(|(file, _)| file.as_str()).collect();
            text += &match files.as_slice() {
                [first, .., last] => format!(" of {first} to {last}"),
                files => format!(" of {}", files.join(", ")),
            };
        }
        if self.labels().is_some() {
            text += &format!(", {}", count(self.classes().len(), "class"));
        }
        text
    }

    /// The files of a set of image files, and which of them are the images.
    pub(super) fn image_files(&self) -> Option<(&Store, &[usize])> {
        match &self.items {
            Items::Files { store, indices } => Some((store, indices)),
            Items::Packed(_) => None,
        }
    }

    /// Where an image lies in the set, for messages.
    #[must_use]
    pub fn item_name(&self, item: usize) -> String {
        match &self.items {
            Items::Files { store, indices } => store.names()[indices[item]].clone(),
            Items::Packed(packed) => packed.name(item),
        }
    }

    /// Identifies the set: two sources with different fingerprints do not give the same batches.
    /// Reads some of the images.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        match &self.items {
            Items::Files { store, indices } => {
                let maps = indices.iter().filter_map(|index| self.normals.get(index));
                let all: Vec<usize> = indices.iter().chain(maps).copied().collect();
                fingerprint::of_files(store, &all, self.labels())
            }
            Items::Packed(packed) => fingerprint::of_packed(packed, self.labels()),
        }
    }

    /// Decodes and prepares one image: not flipped, a random crop taken from the middle.
    ///
    /// # Errors
    /// As [`Self::image`].
    pub fn prepared(&self, item: usize, prepare: &Prepare) -> Result<Vec<u8>, String> {
        self.with_image(item, |image| prepare.apply(image.pixels, 1 << 31))
    }

    /// An image's file as it lies in the set; nothing of a packed set, which has none.
    ///
    /// # Errors
    /// The reason why it cannot be read, as the end of a sentence that begins with its name.
    pub(super) fn file_bytes(&self, item: usize) -> Result<Vec<u8>, String> {
        match &self.items {
            Items::Files { store, indices } => store.read(indices[item], store::MAX_FILE),
            Items::Packed(_) => Err("lies in a file with others".into()),
        }
    }

    /// Whether a copy of some of its images needs a list of their classes: they lie beside each.
    pub(super) fn needs_list(&self) -> bool {
        self.is_beside
    }

    /// The files of labels of a set of image files, by name; a copy of the set needs them too.
    pub(super) fn label_files(&self) -> Result<Vec<(String, Vec<u8>)>> {
        let Items::Files { store, .. } = &self.items else { return Ok(Vec::new()) };
        self.files_of(store, &self.label_files)
    }

    /// The normal map of an image, if it has one, as [`Self::label_files`].
    pub(super) fn normal_files(&self, item: usize) -> Result<Vec<(String, Vec<u8>)>> {
        let Items::Files { store, .. } = &self.items else { return Ok(Vec::new()) };
        self.files_of(store, self.normal_map(item).as_slice())
    }

    fn files_of(&self, store: &Store, files: &[usize]) -> Result<Vec<(String, Vec<u8>)>> {
        let read = |&index: &usize| {
            let name = store.names()[index].clone();
            let bytes = store.read(index, store::MAX_FILE);
            bytes.map(|bytes| (name.clone(), bytes)).map_err(|what| {
                Error::file(&self.origin, format!("{name} cannot be copied: it {what}"))
            })
        };
        files.iter().map(read).collect()
    }

    /// The files of a packed set with the images `items` alone, by name; nothing of image files.
    pub(super) fn packed_subset(&self, items: &[u32]) -> Option<Vec<(String, Vec<u8>)>> {
        match &self.items {
            Items::Files { .. } => None,
            Items::Packed(packed) => Some(packed.subset(items)),
        }
    }

    /// Decodes one image.
    ///
    /// # Errors
    /// The reason why it cannot be read, as the end of a sentence that begins with its name.
    pub fn image(&self, item: usize) -> Result<Image, String> {
        self.with_image(item, |image| image)
    }

    /// Decodes one image and hands it over. Until `f` returns, its memory is part of what all threads
    /// may take together: `f` must not decode another.
    ///
    /// # Errors
    /// As [`Self::image`].
    pub(crate) fn with_image<T>(
        &self,
        item: usize,
        f: impl FnOnce(Image) -> T,
    ) -> Result<T, String> {
        match &self.items {
            Items::Files { indices, .. } => self.with_file(indices[item], f),
            Items::Packed(packed) => Ok(f(Image {
                pixels: packed.image(item),
                format: packed.format.words(),
                color: ["gray", "", "RGB", "RGBA"][packed.channels - 1].into(),
            })),
        }
    }

    /// The file of an image's normal map, if it has one.
    pub(super) fn normal_map(&self, item: usize) -> Option<usize> {
        match &self.items {
            Items::Files { indices, .. } => self.normals.get(&indices[item]).copied(),
            Items::Packed(_) => None,
        }
    }

    /// The name of a file, for messages; empty for a packed set.
    pub(super) fn file_name(&self, file: usize) -> &str {
        self.image_files().map_or("", |(store, _)| &store.names()[file])
    }

    /// The same as [`Self::with_image`] for any image file of a set of such.
    pub(super) fn with_file<T>(
        &self,
        file: usize,
        f: impl FnOnce(Image) -> T,
    ) -> Result<T, String> {
        match &self.items {
            Items::Files { store, .. } => {
                let room = decode::room_for_file(store.size(file).unwrap_or(0));
                let bytes = store.read(file, store::MAX_FILE)?;
                let decoded = decode::decode(&store.names()[file], &bytes)?;
                drop((bytes, room));
                let Decoded { image, format, color, share } = decoded;
                let done = f(Image { pixels: image, format, color });
                drop(share);
                Ok(done)
            }
            Items::Packed(_) => Err("lies in a file with others".into()),
        }
    }
}
