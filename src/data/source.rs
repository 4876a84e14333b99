//! What `DATA` is: found by looking at it.

use std::fmt;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use image::DynamicImage;

use super::decode::{self, Decoded};
use super::look::{Found, Part, folder_labels, label_names, no_part};
use super::packed::{self, Format, Packed};
use super::prepare::Prepare;
use super::store::{self, Store};
use crate::error::{Error, Result};

/// The bundled set: see `assets/avatars.LICENSE.md`.
static AVATARS: &[u8] = include_bytes!("../../assets/avatars.zip");

/// What the pictures come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The set that is part of the program.
    Bundled,
    /// Picture files below a folder.
    Folder,
    /// Picture files in a zip.
    Zip,
    /// Picture files in a tar.
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

/// A set of pictures: opened, listed, not yet decoded. Pictures are known by their index; the order
/// is that of their names, so it is the same on every machine.
#[derive(Debug)]
pub struct Source {
    origin: PathBuf,
    kind: Kind,
    name: String,
    items: Items,
    labels: Option<Vec<u32>>,
    classes: Vec<String>,
}

/// One picture as it lies in the set, decoded and upright.
#[derive(Debug)]
pub struct Picture {
    /// The pixels.
    pub pixels: DynamicImage,
    /// The format's name.
    pub format: &'static str,
    /// What the file's pixels are, as in `RGB` or `grey, 16 bit`.
    pub colour: String,
}

/// What works as `DATA`, for the end of an error's sentence.
const WHAT_WORKS: &str = "give a folder, zip or tar of pictures (PNG, JPEG, WebP, GIF, BMP, TIFF), \
                          MNIST-style IDX files, CIFAR-10 binary batches, or nothing for the \
                          bundled set";

impl Source {
    /// Opens `path`, whatever it is; the bundled set where there is none.
    ///
    /// # Errors
    /// [`Error::File`] where nothing is there, or nothing that holds pictures.
    pub fn open(path: Option<&Path>) -> Result<Self> {
        Self::open_part(path, Part::Default)
    }

    /// Opens one part of `path`.
    ///
    /// # Errors
    /// As [`Self::open`], and where the set has no such part.
    pub fn open_part(path: Option<&Path>, part: Part) -> Result<Self> {
        let Some(path) = path else {
            let origin = Path::new("the bundled set");
            let store = Store::zip_bytes(origin, AVATARS)?;
            return Self::tree(origin, Kind::Bundled, "avatars".into(), store, part);
        };
        let metadata = fs::metadata(path).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => {
                Error::file(path, format!("DATA does not exist; {WHAT_WORKS}"))
            }
            _ => store::unreadable(path, &e),
        })?;
        let name = short_name(path);
        if metadata.is_dir() {
            return Self::tree(path, Kind::Folder, name, Store::folder(path)?, part);
        }
        Self::open_file(path, metadata.len(), name, part)
    }

    fn open_file(path: &Path, length: u64, name: String, part: Part) -> Result<Self> {
        let mut head = Vec::new();
        fs::File::open(path)
            .and_then(|file| file.take(1024).read_to_end(&mut head))
            .map_err(|e| store::unreadable(path, &e))?;
        if head.is_empty() {
            return Err(Error::file(path, format!("DATA is an empty file; {WHAT_WORKS}")));
        }
        if head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") {
            return Self::tree(path, Kind::Zip, name, Store::zip_file(path)?, part);
        }
        let gzipped = head.starts_with(&[0x1f, 0x8b]);
        if packed::idx_dimensions(&head).is_some() {
            return Self::idx_file(path, name);
        }
        let mut unpacked = Vec::new();
        if gzipped {
            // The head may end anywhere in the compressed stream: what came out before is enough.
            let _ = GzDecoder::new(head.as_slice()).take(512).read_to_end(&mut unpacked);
        }
        let start = if gzipped { &unpacked } else { &head };
        if start.get(257..262) == Some(b"ustar") {
            return Self::tree(path, Kind::Tar, name, Store::tar(path, gzipped)?, part);
        }
        if length.is_multiple_of(packed::CIFAR_RECORD as u64) && head[0] < 10 {
            let store = Store::files(vec![(file_name(path), path.to_owned())]);
            return Ok(Self::packed(path, name, Packed::cifar10(path, &store, &[0])?));
        }
        if decode::is_picture_head(&head) {
            return Err(Error::file(
                path,
                "DATA is a single picture; give the folder that holds it and many others",
            ));
        }
        Err(Error::file(path, format!("DATA is a file of no known kind; {WHAT_WORKS}")))
    }

    /// An IDX file that was named itself; its labels lie beside it.
    fn idx_file(path: &Path, name: String) -> Result<Self> {
        let file = file_name(path);
        let mut files = vec![(file.clone(), path.to_owned())];
        for candidate in label_names(&file) {
            let beside = path.with_file_name(&candidate);
            if candidate != file && beside.is_file() {
                files.push((candidate, beside));
                break;
            }
        }
        let store = Store::files(files);
        let pictures = store.names().iter().position(|n| *n == file);
        let pictures = pictures.expect("the file was listed just above");
        let labels = (store.names().len() == 2).then_some(1 - pictures);
        Ok(Self::packed(path, name, Packed::idx(path, &store, pictures, labels)?))
    }

    fn packed(origin: &Path, name: String, mut packed: Packed) -> Self {
        Self {
            origin: origin.to_owned(),
            kind: match packed.format {
                Format::Idx => Kind::Idx,
                Format::Cifar10 => Kind::Cifar10,
            },
            name,
            labels: packed.labels.take(),
            classes: std::mem::take(&mut packed.classes),
            items: Items::Packed(packed),
        }
    }

    /// A list of named files: of packed sets if it has any, else of pictures.
    fn tree(path: &Path, kind: Kind, name: String, store: Store, part: Part) -> Result<Self> {
        let found = Found::look(&store);
        if !found.idx.is_empty() {
            let (pictures, labels) = found.choose_idx(path, &store, part)?;
            return Ok(Self::packed(path, name, Packed::idx(path, &store, pictures, labels)?));
        }
        if !found.cifar_train.is_empty() || !found.cifar_test.is_empty() {
            let batches = match part {
                Part::Test => found.cifar_test,
                Part::Default if found.cifar_train.is_empty() => found.cifar_test,
                Part::Default | Part::Train => found.cifar_train,
            };
            if batches.is_empty() {
                return Err(no_part(path, part));
            }
            return Ok(Self::packed(path, name, Packed::cifar10(path, &store, &batches)?));
        }
        if found.pictures.is_empty() {
            let what = match (store.names().is_empty(), kind) {
                (true, Kind::Folder) => "is an empty folder".to_owned(),
                (true, _) => format!("is an empty {kind}"),
                (false, _) => format!("is a {kind} without pictures"),
            };
            return Err(Error::file(path, format!("DATA {what}; {WHAT_WORKS}")));
        }
        let mut indices = found.pictures;
        indices.retain(|&index| part.has(&store.names()[index]));
        if indices.is_empty() {
            return Err(no_part(path, part));
        }
        if u32::try_from(indices.len()).is_err() {
            return Err(Error::file(path, "DATA holds more than 2^32 pictures; give a part of it"));
        }
        let (labels, classes) = folder_labels(&store, &indices);
        Ok(Self {
            origin: path.to_owned(),
            kind,
            name,
            items: Items::Files { store, indices },
            labels,
            classes,
        })
    }

    /// What the pictures come in.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The path that was opened, for messages.
    #[must_use]
    pub fn origin(&self) -> &Path {
        &self.origin
    }

    /// A short name for use in the names of run folders: letters, digits, `.`, `_` and `-` only.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The number of pictures, those that will turn out unreadable included.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.items {
            Items::Files { indices, .. } => indices.len(),
            Items::Packed(packed) => packed.len(),
        }
    }

    /// Never: a source without pictures is an error.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The class of each picture, where the set has classes: the labels of a packed set, or the
    /// folder that each file lies in if every file lies in one and there are two or more.
    #[must_use]
    pub fn labels(&self) -> Option<&[u32]> {
        self.labels.as_deref()
    }

    /// The names of the classes, by label.
    #[must_use]
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// What was found, in a few words: `folder, 1,234 pictures, 10 classes`.
    #[must_use]
    pub fn description(&self) -> String {
        let mut text = format!("{}, {}", self.kind, count(self.len(), "picture"));
        if let Items::Packed(packed) = &self.items {
            let files: Vec<_> = packed.files.iter().map(|(file, _)| file.as_str()).collect();
            text += &match files.as_slice() {
                [first, .., last] => format!(" of {first} to {last}"),
                files => format!(" of {}", files.join(", ")),
            };
        }
        if self.labels.is_some() {
            text += &format!(", {} classes", self.classes.len());
        }
        text
    }

    /// Where a picture lies in the set, for messages.
    #[must_use]
    pub fn item_name(&self, item: usize) -> String {
        match &self.items {
            Items::Files { store, indices } => store.names()[indices[item]].clone(),
            Items::Packed(packed) => packed.name(item),
        }
    }

    /// A check sum (CRC-32) of the pictures' names, order and labels: two sources that differ in it
    /// do not give the same batches.
    #[must_use]
    pub fn fingerprint(&self) -> u32 {
        let mut sum = flate2::Crc::new();
        match &self.items {
            Items::Files { store, indices } => {
                for &index in indices {
                    sum.update(store.names()[index].as_bytes());
                    sum.update(&[0]);
                }
            }
            Items::Packed(packed) => {
                sum.update(
                    format!("{:?} {} {}", packed.files, packed.height, packed.width).as_bytes(),
                );
            }
        }
        for label in self.labels.iter().flatten() {
            sum.update(&label.to_le_bytes());
        }
        sum.sum()
    }

    /// Decodes and prepares one picture: not flipped, a random crop taken from the middle.
    ///
    /// # Errors
    /// As [`Self::picture`].
    pub fn prepared(&self, item: usize, prepare: &Prepare) -> Result<Vec<u8>, String> {
        Ok(prepare.apply(self.picture(item)?.pixels, 1 << 31))
    }

    /// A picture's file as it lies in the set; nothing of a packed set, which has none.
    ///
    /// # Errors
    /// The reason why it cannot be read, as the end of a sentence that begins with its name.
    pub(super) fn file_bytes(&self, item: usize) -> Result<Vec<u8>, String> {
        match &self.items {
            Items::Files { store, indices } => store.read(indices[item], store::MAX_FILE),
            Items::Packed(_) => Err("lies in a file with others".into()),
        }
    }

    /// The files of a packed set with the pictures `items` alone, by name; nothing of picture files.
    pub(super) fn packed_subset(&self, items: &[u32]) -> Option<Vec<(String, Vec<u8>)>> {
        match &self.items {
            Items::Files { .. } => None,
            Items::Packed(packed) => Some(packed.subset(items, self.labels.as_deref())),
        }
    }

    /// Decodes one picture.
    ///
    /// # Errors
    /// The reason why it cannot be read, as the end of a sentence that begins with its name.
    pub fn picture(&self, item: usize) -> Result<Picture, String> {
        match &self.items {
            Items::Files { store, indices } => {
                let bytes = store.read(indices[item], store::MAX_FILE)?;
                let Decoded { picture, format, colour } = decode::decode(&bytes)?;
                Ok(Picture { pixels: picture, format, colour: colour_name(colour) })
            }
            Items::Packed(packed) => Ok(Picture {
                pixels: packed.picture(item),
                format: match packed.format {
                    Format::Idx => "IDX",
                    Format::Cifar10 => "CIFAR-10",
                },
                colour: ["grey", "", "RGB", "RGBA"][packed.channels - 1].into(),
            }),
        }
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// The name of a folder, or of a file without what says its format.
fn short_name(path: &Path) -> String {
    // `.` and `..` have no name of their own.
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mut name = file_name(&real);
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

/// `1,234 pictures`.
pub(crate) fn count(n: usize, what: &str) -> String {
    crate::human::plural(n as u64, what)
}

fn colour_name(colour: image::ExtendedColorType) -> String {
    use image::ExtendedColorType as C;
    let (name, bits) = match colour {
        C::L1 => ("grey", 1),
        C::L2 => ("grey", 2),
        C::L4 => ("grey", 4),
        C::L8 | C::A8 => ("grey", 8),
        C::L16 => ("grey", 16),
        C::La8 => ("grey with alpha", 8),
        C::La16 => ("grey with alpha", 16),
        C::Rgb8 | C::Bgr8 => ("RGB", 8),
        C::Rgb16 => ("RGB", 16),
        C::Rgba8 | C::Bgra8 => ("RGBA", 8),
        C::Rgba16 => ("RGBA", 16),
        C::Cmyk8 => ("CMYK", 8),
        C::Cmyk16 => ("CMYK", 16),
        other => return format!("{other:?}"),
    };
    if bits == 8 { name.into() } else { format!("{name}, {bits} bit") }
}
