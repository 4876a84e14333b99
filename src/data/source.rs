//! Detects what `DATA` is.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use image::DynamicImage;

use super::classes::{self, Classes};
use super::dataset_json::Labels;
use super::decode::{self, Decoded};
use super::fingerprint::{self, Fingerprint};
use super::formats::{self, Other};
use super::look::{Found, no_part};
use super::messages::{WHAT_WORKS, count, images_aside, left_aside, nothing_there, without_labels};
use super::packed::{self, Format, Packed, label_names};
use super::part::{Part, Parts, Reading};
use super::prepare::Prepare;
use super::store::{self, Store, key};
use crate::error::{Error, Result};
use crate::files;
use crate::human::grouped;

/// The bundled set: see `assets/avatars.LICENSE.md`.
static AVATARS: &[u8] = include_bytes!("../../assets/avatars.zip");

/// The bundled set with captions: see `assets/captioned.LICENSE.md`.
static CAPTIONED_SET: &[u8] = include_bytes!("../../assets/captioned.zip");

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
    /// Opens `path`, whatever it is, or the bundled set without one.
    ///
    /// # Errors
    /// [`Error::File`] if the path does not exist or holds no images.
    pub fn open(path: Option<&Path>) -> Result<Self> {
        Self::open_as(path, &Reading::default())
    }

    /// Opens one part of `path`.
    ///
    /// # Errors
    /// As [`Self::open`], and where the set has no such part.
    pub fn open_part(path: Option<&Path>, part: Part) -> Result<Self> {
        Self::open_as(path, &Reading::of(part))
    }

    /// Opens `path`, the bundled set where there is none, as `reading` says; [`CAPTIONED`] where
    /// there is no such file stands for the bundled set with captions.
    ///
    /// # Errors
    /// As [`Self::open`], and where the set has no such part or no such level of folders.
    pub fn open_as(path: Option<&Path>, reading: &Reading) -> Result<Self> {
        let Some(path) = path else {
            let origin = Path::new("the bundled set");
            let store = Store::zip_bytes(origin, AVATARS)?;
            return Self::tree(origin, Kind::Bundled, "avatars".into(), store, reading);
        };
        if is_captioned(path) {
            let store = Store::zip_bytes(path, CAPTIONED_SET)?;
            return Self::tree(path, Kind::Bundled, CAPTIONED.into(), store, reading);
        }
        let metadata = fs::metadata(path).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => {
                Error::file(path, format!("DATA does not exist; {WHAT_WORKS}"))
            }
            _ => store::unreadable(path, &e),
        })?;
        let name = short_name(path);
        if metadata.is_dir() {
            if files::is_run(path) {
                let what =
                    "DATA is a run, not a set of images; to continue it: dcgan train --resume RUN";
                return Err(Error::file(path, what));
            }
            return Self::tree(path, Kind::Folder, name, Store::folder(path)?, reading);
        }
        if !metadata.is_file() {
            let what =
                format!("DATA is neither a file nor a folder (a pipe or a device); {WHAT_WORKS}");
            return Err(Error::file(path, what));
        }
        Self::open_file(path, metadata.len(), name, reading)
    }

    fn open_file(path: &Path, length: u64, name: String, reading: &Reading) -> Result<Self> {
        let mut head = Vec::new();
        fs::File::open(path)
            .and_then(|file| file.take(1024).read_to_end(&mut head))
            .map_err(|e| store::unreadable(path, &e))?;
        if head.is_empty() {
            return Err(Error::file(path, format!("DATA is an empty file; {WHAT_WORKS}")));
        }
        if head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") {
            return Self::tree(path, Kind::Zip, name, Store::zip_file(path)?, reading);
        }
        let gzipped = head.starts_with(&[0x1f, 0x8b]);
        if packed::idx_dimensions(&head).is_some() {
            return Self::idx_file(path, name, reading);
        }
        let mut unpacked = Vec::new();
        if gzipped {
            // The head may end anywhere in the compressed stream: what came out before is enough.
            let _ = MultiGzDecoder::new(head.as_slice()).take(512).read_to_end(&mut unpacked);
        }
        let start = if gzipped { &unpacked } else { &head };
        if start.first_chunk::<512>().is_some_and(|block| formats::is_tar_header(block)) {
            return Self::tree(path, Kind::Tar, name, Store::tar(path, gzipped)?, reading);
        }
        if length.is_multiple_of(packed::CIFAR_RECORD as u64) && head[0] < 10 {
            let store = Store::files(vec![(name_of(path), path.to_owned())]);
            let packed = Packed::cifar10(path, &store, &[0])?;
            return Self::packed(path, name, packed, reading, None);
        }
        if decode::is_image_head(&head) {
            return Err(Error::file(
                path,
                "DATA is a single image; give the folder that holds it and many others",
            ));
        }
        let head = &head[..head.len().min(formats::HEAD)];
        Err(match Other::find(head, &name_of(path)) {
            Some(other) => Error::file(path, format!("DATA {}", other.words())),
            None => Error::file(path, format!("DATA is a file of no known kind; {WHAT_WORKS}")),
        })
    }

    /// An IDX file that was named itself; its labels lie beside it.
    fn idx_file(path: &Path, name: String, reading: &Reading) -> Result<Self> {
        let file = name_of(path);
        let mut files = vec![(file.clone(), path.to_owned())];
        for candidate in label_names(&file) {
            let beside = path.with_file_name(&candidate);
            if candidate != file && beside.is_file() {
                files.push((candidate, beside));
                break;
            }
        }
        let store = Store::files(files);
        let images = store.names().iter().position(|n| *n == file);
        let images = images.expect("the file was listed just above");
        let labels = (store.names().len() == 2).then_some(1 - images);
        let packed = Packed::idx(path, &store, &[(images, labels)])?;
        Self::packed(path, name, packed, reading, None)
    }

    /// A set of raw pixels, of which `part` was taken.
    fn packed(
        origin: &Path,
        name: String,
        packed: Packed,
        reading: &Reading,
        part: Option<Part>,
    ) -> Result<Self> {
        if reading.class_level.is_some() {
            let what = format!(
                "{} has its classes as numbers beside the pixels, not as folders",
                origin.display()
            );
            return Err(Error::config("class_level", what));
        }
        let (labels, names, note) = packed.classes(reading.before);
        let by = "labels beside the pixels".into();
        let classes = Classes { labels, names, by, ..Classes::default() };
        Ok(Self {
            origin: origin.to_owned(),
            kind: match packed.format {
                Format::Idx => Kind::Idx,
                Format::Cifar10 => Kind::Cifar10,
            },
            name,
            classes,
            items: Items::Packed(packed),
            reading: Reading { part: Some(part.unwrap_or(Part::All)), ..*reading },
            notes: note.into_iter().collect(),
            label_files: Vec::new(),
            normals: BTreeMap::new(),
        })
    }

    /// A list of named files: of packed sets if it has any, else of images.
    fn tree(
        path: &Path,
        kind: Kind,
        name: String,
        store: Store,
        reading: &Reading,
    ) -> Result<Self> {
        let found = Found::look(&store);
        let has_packed_parts = found.has_packed_parts(&store);
        let mut unlabeled = None;
        let packed = if !found.idx.is_empty() {
            let files = found.choose_idx(path, &store, reading.part)?;
            unlabeled = without_labels(&store, &files, &found.strays(&store));
            Some(Packed::idx(path, &store, &files)?)
        } else if !found.cifar_train.is_empty() || !found.cifar_test.is_empty() {
            let batches = found.choose_cifar(path, reading.part)?;
            Some(Packed::cifar10(path, &store, &batches)?)
        } else {
            None
        };
        if let Some(packed) = packed {
            let taken = has_packed_parts.then_some(reading.part.unwrap_or(Part::Train));
            let mut source = Self::packed(path, name, packed, reading, taken)?;
            if has_packed_parts && reading.part.is_none() {
                source.notes.insert(0, format!("the training part is taken; {OTHER_PARTS}"));
            }
            if source.classes.labels.is_none() {
                source.notes.extend(unlabeled.as_ref().map(|why| format!("no classes: {why}")));
                source.classes.none = source.classes.none.or(unlabeled);
            }
            source.notes.extend(images_aside(&store, &found.images));
            source.notes.extend(left_aside(&store, &found.others));
            source.notes.extend(store.note());
            return Ok(source);
        }
        if found.images.is_empty() {
            return Err(nothing_there(path, kind, &store, &found));
        }
        Self::files(path, kind, name, store, &found, reading)
    }

    /// Image files.
    fn files(
        path: &Path,
        kind: Kind,
        name: String,
        store: Store,
        found: &Found,
        reading: &Reading,
    ) -> Result<Self> {
        let all: Vec<&str> = found.images.iter().map(|&i| store.names()[i].as_str()).collect();
        let parts = Parts::of(all.iter().copied());
        let part = match reading.part {
            Some(part) => part,
            None if parts.are_there() && !reading.before => Part::Train,
            None => Part::All,
        };
        let has = |&index: &usize| parts.has(part, &store.names()[index]);
        let indices: Vec<usize> = found.images.iter().copied().filter(has).collect();
        if indices.is_empty() {
            return Err(no_part(path, Some(part)));
        }
        if u32::try_from(indices.len()).is_err() {
            return Err(Error::file(path, "DATA holds more than 2^32 images; give a part of it"));
        }
        let mut notes = Vec::new();
        if reading.part.is_none() && part == Part::Train {
            let rest = all.len() - indices.len() - parts.held_out();
            notes.push(format!(
                "the training part is taken, {} of {}{}; {OTHER_PARTS}",
                grouped(indices.len() as u64),
                count(all.len(), "image"),
                match rest {
                    0 => String::new(),
                    n => format!(" ({} of no part)", grouped(n as u64)),
                }
            ));
        }
        notes.extend(found.notes.iter().cloned());
        notes.extend(left_aside(&store, &found.others));
        notes.extend(store.note());

        let names: Vec<&str> = indices.iter().map(|&i| store.names()[i].as_str()).collect();
        let labels = match (reading.before, reading.class_level) {
            (false, None) => Labels::read(&store, &found.labels)
                .map_err(|what| Error::file(path, format!("DATA's {what}")))?,
            _ => Labels::default(),
        };
        let classes = match &labels.by_name {
            _ if reading.before => classes::by_innermost_folder(&names),
            Some(by_name) => {
                let label = |name: &&str| by_name.get(&key(name)).copied();
                classes::by_json(&names, &names.iter().map(label).collect::<Vec<_>>())
            }
            None if !labels.files.is_empty() => Classes::without(
                "dataset.json says that there are none (its labels are null, or it has none); \
                     `class_level` takes folders for classes",
            ),
            None => {
                // What the training part's folders are decides for the test part too.
                let reference: Vec<&str> = match parts.are_there() {
                    true => all.iter().copied().filter(|n| parts.has(Part::Train, n)).collect(),
                    false => names.clone(),
                };
                classes::by_folder(&names, &reference, parts, reading.class_level)
                    .map_err(|e| Error::config("class_level", format!("{}: {e}", path.display())))?
            }
        };
        notes.extend(classes.none.as_ref().map(|why| format!("no classes: {why}")));
        notes.extend(classes.note.clone());
        Ok(Self {
            origin: path.to_owned(),
            kind,
            name,
            classes,
            reading: Reading { part: Some(part), ..*reading },
            notes,
            label_files: labels.files,
            normals: found.normals.clone(),
            items: Items::Files { store, indices },
        })
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
                     their file of labels beside"
                .into(),
        }
    }

    /// How the set was read: the part that was taken, whether or not it was asked for, and the rest as
    /// it was asked for.
    #[must_use]
    pub fn reading(&self) -> Reading {
        self.reading
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
                format: match packed.format {
                    Format::Idx => "IDX",
                    Format::Cifar10 => "CIFAR-10",
                },
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
                let index = file;
                let room = decode::room_for_file(store.size(index).unwrap_or(0));
                let bytes = store.read(index, store::MAX_FILE)?;
                let decoded = decode::decode(&store.names()[index], &bytes)?;
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

/// How to use another part than the default.
const OTHER_PARTS: &str = "`part` test takes the other, `part` all both";

/// The last part of a path.
fn name_of(path: &Path) -> String {
    store::text(path.file_name().unwrap_or(path.as_os_str()))
}

/// The name of a folder, or of a file without what says its format.
fn short_name(path: &Path) -> String {
    // `.` and `..` have no name of their own.
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mut name = name_of(&real);
    if real.is_file() {
        for extension in [".gz", ".tgz", ".tar", ".zip", ".bin"] {
            if let Some(stem) = name.strip_suffix(extension)
                && !stem.is_empty()
            {
                name = stem.to_owned();
            }
        }
    }
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let name: String = name.chars().map(plain).take(40).collect();
    let name = name.trim_matches(['-', '.']);
    if name.is_empty() { "data".into() } else { name.into() }
}
