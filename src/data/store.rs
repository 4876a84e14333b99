//! Named files wherever they lie: below a folder, in a zip, in a tar. Everything above this file
//! sees a sorted list of names and reads by index, from any thread.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use flate2::read::GzDecoder;
use zip::ZipArchive;

use crate::error::{Error, Result};

/// The largest single file that is read as a picture: past this it is no training picture, and a
/// zip entry of this size is most likely a bomb.
pub(crate) const MAX_FILE: u64 = 256 << 20;

/// The largest tar that is unpacked into memory.
const MAX_TAR: u64 = 4 << 30;

/// A list of named files. Names are relative, separated by `/`, sorted, and without the files that
/// systems leave behind (`.DS_Store`, `Thumbs.db`, `__MACOSX/`, anything hidden).
#[derive(Debug)]
pub(crate) struct Store {
    names: Vec<String>,
    place: Place,
}

#[derive(Debug)]
enum Place {
    /// The path of each name.
    Folder(Vec<PathBuf>),
    /// The archive and the index of each name in it.
    Zip { archive: Box<ZipArchive<Window>>, indices: Vec<usize> },
    /// The content of each name.
    Memory(Vec<Vec<u8>>),
}

impl Store {
    /// All files below `root`, at any depth. Links are followed; a folder is entered once.
    pub(crate) fn folder(root: &Path) -> Result<Self> {
        let mut files = Vec::new();
        walk(root, "", &mut HashSet::new(), &mut files)?;
        Ok(Self::files(files))
    }

    /// The given files, each under its name.
    pub(crate) fn files(mut files: Vec<(String, PathBuf)>) -> Self {
        files.sort_unstable();
        let (names, paths) = files.into_iter().unzip();
        Self { names, place: Place::Folder(paths) }
    }

    /// The files of the zip at `path`.
    pub(crate) fn zip_file(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|e| unreadable(path, &e))?;
        let length = file.metadata().map_err(|e| unreadable(path, &e))?.len();
        Self::zip(path, Window::new(Blob::File(Arc::new(Mutex::new(file))), length))
    }

    /// The files of a zip that is part of the program.
    pub(crate) fn zip_bytes(name: &Path, bytes: &'static [u8]) -> Result<Self> {
        Self::zip(name, Window::new(Blob::Static(bytes), bytes.len() as u64))
    }

    fn zip(path: &Path, window: Window) -> Result<Self> {
        let broken = |e: zip::result::ZipError| {
            Error::file(
                path,
                format!("DATA begins like a zip but cannot be read as one ({e}); copy it again"),
            )
        };
        let archive = ZipArchive::new(window).map_err(broken)?;
        let metadata = archive.metadata();
        let mut entries = Vec::with_capacity(archive.len());
        for index in 0..archive.len() {
            let entry = metadata.entry(index).map_err(broken)?;
            // A name in an unknown encoding is still a name: only its spelling suffers.
            let name = String::from_utf8_lossy(entry.name_raw()).replace('\\', "/");
            if entry.is_file() && !is_litter(&name) {
                entries.push((name, index));
            }
        }
        entries.sort_unstable();
        let (names, indices) = entries.into_iter().unzip();
        Ok(Self { names, place: Place::Zip { archive: Box::new(archive), indices } })
    }

    /// The files of a tar, gzipped or not, unpacked into memory.
    pub(crate) fn tar(path: &Path, gzipped: bool) -> Result<Self> {
        let broken = |e: io::Error| {
            Error::file(
                path,
                format!(
                    "DATA begins like a tar but cannot be read to its end ({e}); copy it again"
                ),
            )
        };
        let file = io::BufReader::new(File::open(path).map_err(|e| unreadable(path, &e))?);
        let reader: Box<dyn Read> =
            if gzipped { Box::new(GzDecoder::new(file)) } else { Box::new(file) };
        let mut archive = tar::Archive::new(reader.take(MAX_TAR));
        let mut files = Vec::new();
        let mut total = 0;
        for entry in archive.entries().map_err(broken)? {
            let mut entry = entry.map_err(broken)?;
            let name = String::from_utf8_lossy(&entry.path_bytes()).replace('\\', "/");
            let name = name.trim_start_matches("./").to_owned();
            total += entry.size();
            if total > MAX_TAR {
                return Err(Error::file(
                    path,
                    "DATA is a tar of more than 4 GiB unpacked; unpack it and give the folder",
                ));
            }
            if entry.header().entry_type().is_file() && !is_litter(&name) {
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes).map_err(broken)?;
                files.push((name, bytes));
            }
        }
        files.sort_unstable();
        let (names, contents) = files.into_iter().unzip();
        Ok(Self { names, place: Place::Memory(contents) })
    }

    /// The names, sorted.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// The whole content of a file of at most `limit` bytes, or why it cannot be had.
    pub(crate) fn read(&self, index: usize, limit: u64) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        self.with_reader(index, |reader, size| {
            // The size is only what a header claims: it may save a copy, not spend memory.
            bytes.reserve(size.min(limit).min(1 << 20) as usize);
            reader.take(limit + 1).read_to_end(&mut bytes).map_err(|e| e.to_string())
        })?;
        if bytes.len() as u64 > limit {
            return Err(format!("is larger than {} MiB", limit >> 20));
        }
        Ok(bytes)
    }

    /// The first `count` bytes of a file, fewer where it is shorter.
    pub(crate) fn head(&self, index: usize, count: u64) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        self.with_reader(index, |reader, _| {
            reader.take(count).read_to_end(&mut bytes).map_err(|e| e.to_string())
        })?;
        Ok(bytes)
    }

    fn with_reader<T>(
        &self,
        index: usize,
        f: impl FnOnce(&mut dyn Read, u64) -> Result<T, String>,
    ) -> Result<T, String> {
        match &self.place {
            Place::Folder(paths) => {
                let mut file = File::open(&paths[index]).map_err(|e| e.to_string())?;
                let size = file.metadata().map_err(|e| e.to_string())?.len();
                f(&mut file, size)
            }
            Place::Zip { archive, indices } => {
                // A clone shares the directory of the archive and has a place of its own in it.
                let mut archive = ZipArchive::clone(archive);
                let mut entry = archive.by_index(indices[index]).map_err(|e| e.to_string())?;
                let size = entry.size();
                f(&mut entry, size)
            }
            Place::Memory(contents) => {
                let content = contents[index].as_slice();
                f(&mut Cursor::new(content), content.len() as u64)
            }
        }
    }
}

/// What systems and archivers leave in folders, by name.
fn is_litter(name: &str) -> bool {
    name.split('/').any(|part| {
        (part.starts_with('.') && part != "." && part != "..")
            || part == "__MACOSX"
            || part.eq_ignore_ascii_case("thumbs.db")
            || part.eq_ignore_ascii_case("desktop.ini")
    })
}

/// `DATA` exists but the system does not let it be read.
pub(crate) fn unreadable(path: &Path, error: &io::Error) -> Error {
    Error::file(path, format!("DATA cannot be read ({error}); check its permissions"))
}

fn walk(
    folder: &Path,
    prefix: &str,
    entered: &mut HashSet<PathBuf>,
    files: &mut Vec<(String, PathBuf)>,
) -> Result<()> {
    let real = folder.canonicalize().map_err(|e| unreadable(folder, &e))?;
    if !entered.insert(real) {
        return Ok(());
    }
    let mut entries = fs::read_dir(folder)
        .and_then(|entries| entries.collect::<io::Result<Vec<_>>>())
        .map_err(|e| unreadable(folder, &e))?;
    // A folder that two links lead to is entered through the first: that must not depend on the
    // order in which the file system lists them.
    entries.sort_unstable_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let part = entry.file_name().to_string_lossy().into_owned();
        if is_litter(&part) {
            continue;
        }
        let path = entry.path();
        let mut kind = entry.file_type().map_err(|e| unreadable(&path, &e))?;
        if kind.is_symlink() {
            match fs::metadata(&path) {
                Ok(metadata) => kind = metadata.file_type(),
                // A link to nothing: kept, so that it is listed if it claims to be a picture.
                Err(_) => {
                    files.push((format!("{prefix}{part}"), path));
                    continue;
                }
            }
        }
        let name = format!("{prefix}{part}");
        if kind.is_dir() {
            walk(&path, &format!("{name}/"), entered, files)?;
        } else if kind.is_file() {
            files.push((name, path));
        }
    }
    Ok(())
}

/// Where the bytes of a zip are.
#[derive(Clone, Debug)]
enum Blob {
    File(Arc<Mutex<File>>),
    Static(&'static [u8]),
}

/// A reader with its own position over bytes that others read too. It reads ahead a little: a
/// zip's directory and a small picture are many short reads.
#[derive(Debug)]
struct Window {
    blob: Blob,
    length: u64,
    position: u64,
    buffer: Vec<u8>,
    buffer_start: u64,
}

const WINDOW: usize = 16 << 10;

impl Window {
    fn new(blob: Blob, length: u64) -> Self {
        Self { blob, length, position: 0, buffer: Vec::new(), buffer_start: 0 }
    }
}

impl Clone for Window {
    fn clone(&self) -> Self {
        Self::new(self.blob.clone(), self.length)
    }
}

impl Read for Window {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let file = match &self.blob {
            Blob::Static(bytes) => {
                let from = self.position.min(self.length) as usize;
                let n = (&bytes[from..]).read(out)?;
                self.position += n as u64;
                return Ok(n);
            }
            Blob::File(file) => file,
        };
        let buffered = self.buffer_start..self.buffer_start + self.buffer.len() as u64;
        if !buffered.contains(&self.position) {
            // A panic while the lock was held leaves no harm: every reader seeks first.
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            file.seek(SeekFrom::Start(self.position))?;
            if out.len() >= WINDOW {
                let n = file.read(out)?;
                self.position += n as u64;
                return Ok(n);
            }
            self.buffer.clear();
            self.buffer_start = self.position;
            (&*file).take(WINDOW as u64).read_to_end(&mut self.buffer)?;
        }
        let from = (self.position - self.buffer_start) as usize;
        let n = (&self.buffer[from..]).read(out)?;
        self.position += n as u64;
        Ok(n)
    }
}

impl Seek for Window {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(offset) => self.length.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}
