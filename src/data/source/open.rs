//! Opens a set: finds out what a path is, which images it has, and what their classes are.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::Path;

use flate2::read::MultiGzDecoder;

use super::{CAPTIONED, Items, Kind, Source, is_captioned};
use crate::data::arrays::{self, Holder};
use crate::data::classes::{self, Classes};
use crate::data::containers::{self, Container};
use crate::data::dataset_json::Labels;
use crate::data::formats::{self, Other};
use crate::data::look::{Found, no_part};
use crate::data::messages::{
    WHAT_WORKS, arrays_aside, count, images_aside, left_aside, nothing_there, without_labels,
};
use crate::data::packed::{self, Format, Packed, label_names};
use crate::data::part::{Part, Parts, Reading};
use crate::data::store::{self, Store, key};
use crate::data::{decode, sidecars};
use crate::error::{Error, Result};
use crate::files;
use crate::human::grouped;

/// The bundled set: see `assets/avatars.LICENSE.md`.
static AVATARS: &[u8] = include_bytes!("../../../assets/avatars.zip");

/// The bundled set with captions: see `assets/captioned.LICENSE.md`.
static CAPTIONED_SET: &[u8] = include_bytes!("../../../assets/captioned.zip");

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
    /// As [`Self::open`], where the set has no such part or no such level of folders, and where a
    /// table of labels does not fit it.
    pub fn open_as(path: Option<&Path>, reading: &Reading) -> Result<Self> {
        let mut source = Self::open_images(path, reading)?;
        if let Some(table) = &reading.labels {
            if reading.class_level.is_some() {
                let what = "takes classes from folders, and `labels` from a table; give one";
                return Err(Error::config("class_level", what));
            }
            let names: Vec<String> = (0..source.len()).map(|i| source.item_name(i)).collect();
            let is_array = matches!(source.items, Items::Packed(_));
            source.classes = table.classes(&names, is_array)?;
            source
                .notes
                .extend(source.classes.none.as_ref().map(|why| format!("no classes: {why}")));
            source.reading.labels = Some(table.clone().absolute());
        }
        Ok(source)
    }

    fn open_images(path: Option<&Path>, reading: &Reading) -> Result<Self> {
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
        if let Some(container @ (Container::Parquet | Container::Lmdb)) = Container::find(&head, "")
        {
            let store = container.open(path)?;
            return Self::tree(path, container.kind(), name, store, reading);
        }
        if Holder::by_head(&head).is_some() {
            let store = Store::files(vec![(name_of(path), path.to_owned())]);
            return Self::arrays(path, name, &store, &[0], reading);
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
        let (labels, names, note) = match reading.labels {
            Some(_) => Default::default(),
            None => packed.classes(reading.before),
        };
        let by = "labels beside the pixels".into();
        let classes = Classes { labels, names, by, ..Classes::default() };
        Ok(Self {
            origin: origin.to_owned(),
            kind: match packed.format {
                Format::Idx => Kind::Idx,
                Format::Cifar10 => Kind::Cifar10,
                Format::Array(Holder::Npy) => Kind::NumPy,
                Format::Array(Holder::Mat) => Kind::Matlab,
                Format::Array(Holder::Hdf5) => Kind::Hdf5,
            },
            name,
            classes,
            items: Items::Packed(packed),
            reading: Reading { part: Some(part.unwrap_or(Part::All)), ..reading.clone() },
            notes: note.into_iter().collect(),
            label_files: Vec::new(),
            is_beside: false,
            normals: BTreeMap::new(),
        })
    }

    /// Arrays of the files `files`.
    fn arrays(
        path: &Path,
        name: String,
        store: &Store,
        files: &[usize],
        reading: &Reading,
    ) -> Result<Self> {
        let found = arrays::read(path, store, files, reading.part)?;
        let taken = found.has_parts.then_some(reading.part.unwrap_or(Part::Train));
        let mut source = Self::packed(path, name, found.packed, reading, taken)?;
        if found.has_parts && reading.part.is_none() {
            source.notes.insert(0, format!("the training part is taken; {OTHER_PARTS}"));
        }
        Ok(source)
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
            if source.classes.labels.is_none() && reading.labels.is_none() {
                source.notes.extend(unlabeled.as_ref().map(|why| format!("no classes: {why}")));
                source.classes.none = source.classes.none.or(unlabeled);
            }
            source.notes.extend(images_aside(&store, &found.images));
            source.notes.extend(arrays_aside(&store, &found.arrays));
            source.notes.extend(left_aside(&store, &found.others));
            source.notes.extend(store.note());
            return Ok(source);
        }
        if !found.images.is_empty() {
            return Self::files(path, kind, name, store, &found, reading);
        }
        if let Some(&(_, first)) = found.containers.first()
            && let Some(joined) = containers::open(path, &store, &found.containers)?
        {
            let found = Found::look(&joined);
            if found.images.is_empty() {
                return Err(nothing_there(path, kind, &joined, &found));
            }
            return Self::files(path, first.kind(), name, joined, &found, reading);
        }
        if !found.arrays.is_empty() {
            return Self::arrays(path, name, &store, &found.arrays, reading);
        }
        Err(nothing_there(path, kind, &store, &found))
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
        notes.extend(arrays_aside(&store, &found.arrays));
        notes.extend(left_aside(&store, &found.others));
        notes.extend(store.note());

        let names: Vec<&str> = indices.iter().map(|&i| store.names()[i].as_str()).collect();
        let labels = match (reading.before, reading.class_level) {
            (false, None) if reading.labels.is_none() => Labels::read(&store, &found.labels)
                .map_err(|what| Error::file(path, format!("DATA's {what}")))?,
            _ => Labels::default(),
        };
        let is_free = reading.class_level.is_none() && reading.labels.is_none() && !reading.before;
        let beside = match labels.files.is_empty() && is_free {
            true => sidecars::classes(&store, &indices),
            false => None,
        };
        let is_beside = beside.as_ref().is_some_and(|classes| classes.labels.is_some());
        let classes = match &labels.by_name {
            _ if reading.labels.is_some() => Classes::default(),
            _ if reading.before => classes::by_innermost_folder(&names),
            Some(by_name) => {
                let label = |name: &&str| by_name.get(&key(name)).copied();
                let called = labels.classes.as_deref();
                classes::by_json(&names, &names.iter().map(label).collect::<Vec<_>>(), called)
            }
            None if beside.is_some() => beside.unwrap_or_default(),
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
            reading: Reading { part: Some(part), ..reading.clone() },
            notes,
            label_files: labels.files,
            is_beside,
            normals: found.normals.clone(),
            items: Items::Files { store, indices },
        })
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
        for extension in [
            ".gz", ".tgz", ".tar", ".zip", ".bin", ".npz", ".npy", ".mat", ".h5", ".hdf5",
            ".parquet",
        ] {
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
