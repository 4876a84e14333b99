//! A part of a set as a set of its own: the same files, byte for byte, without those left out.
//!
//! Image files keep their names and folders. A packed set stays one: IDX files (unzipped) and
//! CIFAR-10 batches of the same names, with fewer images in them.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::formats::image_format;
use super::pack::{dataset_json, packed_name};
use super::part::container;
use super::source::Source;
use crate::error::{Error, Result};
use crate::files::{AtomicFile, DraftFolder, cannot};

/// Where a subset is written.
#[derive(Debug)]
enum Place {
    Folder(DraftFolder),
    Zip(Box<ZipWriter<AtomicFile>>),
}

/// A subset that is being written: a zip where the name ends in `.zip`, else a folder. It appears
/// under its name when it is whole, and never before.
#[derive(Debug)]
pub struct SubsetWriter {
    path: PathBuf,
    place: Place,
}

impl SubsetWriter {
    /// Whether a path means a zip.
    #[must_use]
    pub fn is_zip(path: &Path) -> bool {
        path.extension().is_some_and(|e| e.eq_ignore_ascii_case("zip"))
    }

    /// Whether a subset may be written to `path`: what is there must be nothing, or an empty folder
    /// where a folder is wanted, in a folder that exists.
    ///
    /// # Errors
    /// [`Error::File`] that says what is there.
    pub fn check(path: &Path) -> Result<()> {
        let Ok(metadata) = fs::symlink_metadata(path) else {
            let above = path.parent().filter(|above| !above.as_os_str().is_empty());
            return match above {
                Some(above) if !above.is_dir() => {
                    let what =
                        format!("the folder {} does not exist; make it first", above.display());
                    Err(Error::file(path, what))
                }
                _ => Ok(()),
            };
        };
        let what = if Self::is_zip(path) {
            "exists already; give another name or remove it first"
        } else if !metadata.is_dir() {
            "is a file, where a folder is to be; give the name of a new folder, or one that ends \
             in .zip"
        } else if fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none()) {
            return Ok(());
        } else {
            "is not empty; give a new or an empty folder, so that what is kept is not mixed with \
             what is there"
        };
        Err(Error::file(path, what))
    }

    /// Starts a subset at `path`.
    ///
    /// # Errors
    /// As [`Self::check`], and where nothing can be written there.
    pub fn create(path: &Path) -> Result<Self> {
        Self::check(path)?;
        let fail = |e: &io::Error| Error::file(path, cannot("be written", e));
        if Self::is_zip(path) {
            let file = AtomicFile::create(path).map_err(|e| fail(&e))?;
            return Ok(Self {
                path: path.to_owned(),
                place: Place::Zip(Box::new(ZipWriter::new(file))),
            });
        }
        // `kept/` and `kept` are one folder.
        path.file_name().ok_or_else(|| {
            Error::file(path, "cannot be made anew; give the name of a folder in it")
        })?;
        let draft = DraftFolder::create(path).map_err(|e| fail(&e))?;
        Ok(Self { path: path.to_owned(), place: Place::Folder(draft) })
    }

    /// Adds a file.
    ///
    /// # Errors
    /// [`Error::File`] for a name that leads out of the set, as a malicious archive may have one, and
    /// where it cannot be written.
    pub fn add(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let inner = Path::new(name);
        let plain = |c: Component<'_>| matches!(c, Component::Normal(_));
        if name.is_empty() || !inner.components().all(plain) {
            let what = format!("holds a file named {name:?}, which leads out of it: left alone");
            return Err(Error::file(&self.path, what));
        }
        let fail = |e: &io::Error| Error::file(self.path.join(inner), cannot("be written", e));
        match &mut self.place {
            Place::Folder(draft) => {
                let file = draft.path().join(inner);
                let folder = file.parent().map_or(Ok(()), fs::create_dir_all);
                let mut options = File::options();
                let options = options.write(true).create(true).truncate(true);
                let written = folder.and_then(|()| options.open(&file)?.write_all(bytes));
                written.map_err(|e| fail(&e))
            }
            Place::Zip(zip) => {
                // Images are compressed already, and the same set gives the same bytes.
                let options = SimpleFileOptions::default()
                    .compression_method(CompressionMethod::Stored)
                    .last_modified_time(zip::DateTime::default());
                let started = zip.start_file(name, options).map_err(io::Error::from);
                started.and_then(|()| zip.write_all(bytes)).map_err(|e| fail(&e))
            }
        }
    }

    /// Makes it visible under its name.
    ///
    /// # Errors
    /// [`Error::File`] where it cannot be; nothing is left then.
    pub fn finish(self) -> Result<()> {
        let Self { path, place } = self;
        let written = match place {
            Place::Zip(zip) => zip.finish().map_err(io::Error::from).and_then(AtomicFile::finish),
            Place::Folder(draft) => draft.finish(&path),
        };
        written.map_err(|e| Error::file(&path, cannot("be written", &e)))
    }
}

/// What a copy of an image file is called: as it is, or by its number where it lies in a file with others.
fn copy_name(name: &str, bytes: &[u8], number: usize) -> String {
    if container(name).is_none() {
        return name.to_owned();
    }
    let format = image_format(bytes).map(|(format, _)| format.extensions_str());
    let ending = format.and_then(|endings| endings.first()).copied().unwrap_or("image");
    packed_name(number, ending)
}

impl Source {
    /// Writes the images `items`, in the order of the set, into `out`; `done` hears how many were
    /// written. Those of `unreadable` that cannot even be copied, as links to nothing, are left out
    /// and returned with the reason.
    ///
    /// # Errors
    /// [`Error::File`] where another image cannot be copied, and as [`SubsetWriter::add`].
    pub fn write_subset(
        &self,
        items: &[u32],
        unreadable: &[u32],
        out: &mut SubsetWriter,
        mut done: impl FnMut(usize),
    ) -> Result<Vec<String>> {
        if let Some(files) = self.packed_subset(items) {
            for (name, bytes) in files {
                out.add(&name, &bytes)?;
            }
            done(items.len());
            return Ok(Vec::new());
        }
        let mut lost = Vec::new();
        let mut names = Vec::new();
        let mut kept = Vec::new();
        for &item in items {
            let name = self.item_name(item as usize);
            match self.file_bytes(item as usize) {
                Ok(bytes) => {
                    let copy = copy_name(&name, &bytes, names.len());
                    out.add(&copy, &bytes)?;
                    names.push(copy);
                    kept.push(item);
                }
                Err(reason) if unreadable.contains(&item) => lost.push(format!("{name}: {reason}")),
                Err(reason) => {
                    let what = format!("{name} cannot be copied: {reason}");
                    return Err(Error::file(self.origin(), what));
                }
            }
            for (name, bytes) in self.normal_files(item as usize)? {
                out.add(&name, &bytes)?;
            }
            done(1);
        }
        // Without them, folders would be taken for classes.
        for (name, bytes) in self.label_files()? {
            out.add(&name, &bytes)?;
        }
        if self.needs_list() {
            let labels = self.labels();
            let of = |all: &[u32]| kept.iter().map(|&item| all[item as usize]).collect::<Vec<_>>();
            let labels = labels.map(of);
            let json = dataset_json(&names, labels.as_deref(), self.classes());
            out.add("dataset.json", &json)?;
        }
        if let Some((name, bytes)) = self.captions_subset(&kept, &names) {
            out.add(&name, &bytes)?;
        }
        Ok(lost)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> =
            entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn it_appears_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["kept", "kept.zip"] {
            let path = dir.path().join(name);
            let mut half = SubsetWriter::create(&path).unwrap();
            half.add("a/b.png", b"half").unwrap();
            assert!(!path.exists());
            drop(half);
            assert!(names(dir.path()).is_empty(), "{:?}", names(dir.path()));
        }
        let path = dir.path().join("kept");
        fs::create_dir(&path).unwrap();
        let mut whole = SubsetWriter::create(&path).unwrap();
        whole.add("a/b.png", b"one").unwrap();
        whole.add("c.png", b"two").unwrap();
        assert!(names(&path).is_empty());
        whole.finish().unwrap();
        assert_eq!(
            (names(dir.path()), names(&path)),
            (vec!["kept".into()], vec!["a".into(), "c.png".into()])
        );
        assert_eq!(fs::read(path.join("a/b.png")).unwrap(), b"one");

        let zipped = dir.path().join("kept.zip");
        let write = || {
            let mut zip = SubsetWriter::create(&zipped).unwrap();
            zip.add("a/b.png", b"one").unwrap();
            zip.finish().unwrap();
            fs::read(&zipped).unwrap()
        };
        let bytes = write();
        let mut archive = zip::ZipArchive::new(io::Cursor::new(&bytes)).unwrap();
        let mut read = String::new();
        io::Read::read_to_string(&mut archive.by_name("a/b.png").unwrap(), &mut read).unwrap();
        assert_eq!(read, "one");
        fs::remove_file(&zipped).unwrap();
        assert_eq!(write(), bytes);
    }

    #[test]
    fn names_that_lead_out_and_places_in_use_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["kept", "kept.zip"] {
            let mut out = SubsetWriter::create(&dir.path().join(name)).unwrap();
            for bad in ["../x.png", "/x.png", "a/../../x.png", ""] {
                assert!(out.add(bad, b"x").is_err(), "{bad}");
            }
            out.add("x.png", b"x").unwrap();
            out.finish().unwrap();
            let again = SubsetWriter::create(&dir.path().join(name)).unwrap_err().to_string();
            assert!(again.contains("not empty") || again.contains("exists"), "{again}");
        }
        let below = dir.path().join("no/such");
        assert!(SubsetWriter::create(&below).unwrap_err().to_string().contains("does not exist"));
        assert_eq!(names(dir.path()), ["kept", "kept.zip"]);
    }
}
