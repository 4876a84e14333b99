//! Named files wherever they lie: below a folder, in a zip, in a tar. Everything above this file
//! sees a sorted list of names and reads by index, from any thread.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::error::{Error, Result};
use crate::files;

mod lmdb;
#[cfg(feature = "parquet")]
mod pages;
#[cfg(feature = "parquet")]
mod table;
mod tar;
mod window;
mod zip;

use lmdb::Lmdb;
#[cfg(feature = "parquet")]
use table::Table;
use tar::Tar;
use window::{Blob, Window};
use zip::Zip;

pub(crate) use lmdb::MAGIC as LMDB;

/// The largest single file that is read as an image: past this it is no training image, and a
/// zip entry of this size is most likely a bomb.
pub(crate) const MAX_FILE: u64 = 256 << 20;

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
    Zip(Zip),
    Tar(Tar),
    Lmdb(Lmdb),
    #[cfg(feature = "parquet")]
    Table(Box<Table>),
    /// The files of several: of which one, and the index there.
    Joined(Vec<Store>, Vec<(u32, u32)>),
}

impl Store {
    /// All files below `root`, at any depth, but for those of runs. Links are followed; a folder is
    /// entered once.
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
        let (names, zip) = Zip::open(path, window)?;
        Ok(Self { names, place: Place::Zip(zip) })
    }

    /// The files of a tar, gzipped or not.
    pub(crate) fn tar(path: &Path, gzipped: bool) -> Result<Self> {
        let (names, tar) = Tar::open(path, gzipped)?;
        Ok(Self { names, place: Place::Tar(tar) })
    }

    /// The entries of an LMDB database.
    pub(crate) fn lmdb(path: &Path) -> Result<Self> {
        let (names, lmdb) = Lmdb::open(path)?;
        Ok(Self { names, place: Place::Lmdb(lmdb) })
    }

    /// The rows of a Parquet file.
    #[cfg(feature = "parquet")]
    pub(crate) fn table(path: &Path) -> Result<Self> {
        let (names, table) = Table::open(path)?;
        Ok(Self { names, place: Place::Table(Box::new(table)) })
    }

    /// The files of several stores, each under its store's name and its own.
    pub(crate) fn joined(stores: Vec<(String, Self)>) -> Self {
        let mut all = Vec::new();
        for ((outer, store), number) in stores.iter().zip(0..) {
            let names = store.names.iter().zip(0..);
            all.extend(names.map(|(name, index)| (format!("{outer}:{name}"), (number, index))));
        }
        all.sort_unstable();
        let (names, at) = all.into_iter().unzip();
        let stores = stores.into_iter().map(|(_, store)| store).collect();
        Self { names, place: Place::Joined(stores, at) }
    }

    /// Whether a file is an image by its place, whatever its name and content are.
    pub(crate) fn is_image(&self, index: usize) -> bool {
        match &self.place {
            // What is shorter is a count or another note.
            Place::Lmdb(lmdb) => lmdb.size(index) >= 64,
            #[cfg(feature = "parquet")]
            Place::Table(table) => !table.is_text(index),
            Place::Joined(stores, at) => {
                let (store, index) = at[index];
                stores[store as usize].is_image(index as usize)
            }
            _ => false,
        }
    }

    /// The class of a file that its place has: a number, and its name if it has one.
    pub(crate) fn class(&self, index: usize) -> Option<(u32, Option<&str>)> {
        match &self.place {
            #[cfg(feature = "parquet")]
            Place::Table(table) => table.class(index),
            Place::Joined(stores, at) => {
                let (store, index) = at[index];
                stores[store as usize].class(index as usize)
            }
            _ => None,
        }
    }

    /// A note on the archive as a whole.
    pub(crate) fn note(&self) -> Option<String> {
        match &self.place {
            Place::Tar(tar) if !tar.is_ended() => Some(
                "the end of the tar is missing: it may have been cut short; copy it again where files \
                 are missing"
                    .into(),
            ),
            Place::Joined(stores, _) => stores.iter().find_map(Self::note),
            _ => None,
        }
    }

    /// The names, sorted.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// Where a file lies on disk, if it does so by itself.
    pub(crate) fn path(&self, index: usize) -> Option<&Path> {
        match &self.place {
            Place::Folder(paths) => Some(&paths[index]),
            _ => None,
        }
    }

    /// The bytes of a file, as the system or the archive says; nothing where it cannot be read.
    pub(crate) fn size(&self, index: usize) -> Option<u64> {
        match &self.place {
            Place::Folder(paths) => fs::metadata(&paths[index]).ok().map(|m| m.len()),
            Place::Zip(zip) => zip.size(index),
            Place::Tar(tar) => tar.size(index),
            Place::Lmdb(lmdb) => Some(lmdb.size(index)),
            // Known only when it is read.
            #[cfg(feature = "parquet")]
            Place::Table(_) => None,
            Place::Joined(stores, at) => {
                let (store, index) = at[index];
                stores[store as usize].size(index as usize)
            }
        }
    }

    /// The whole content of a file of at most `limit` bytes, or why it cannot be read.
    pub(crate) fn read(&self, index: usize, limit: u64) -> Result<Vec<u8>, String> {
        self.with_reader(index, |reader, size| {
            if size > limit {
                return Err(format!("is larger than {} MiB", limit >> 20));
            }
            // The size is only what a header claims: it may save a copy, not spend memory.
            let mut bytes = Vec::with_capacity(size.min(1 << 20) as usize);
            reader.take(size + 1).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
            match bytes.len() as u64 {
                read if read == size => Ok(bytes),
                read if read < size => {
                    Err(format!("is truncated: {read} of {size} bytes are there"))
                }
                _ => Err(format!("is damaged: it has more than the {size} bytes that it says")),
            }
        })
    }

    /// The first `count` bytes of a file, fewer where it is shorter.
    pub(crate) fn head(&self, index: usize, count: u64) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        self.with_reader(index, |reader, _| {
            reader.take(count).read_to_end(&mut bytes).map_err(|e| e.to_string())
        })?;
        Ok(bytes)
    }

    /// Passes on a reader of a file and its size.
    pub(crate) fn with_reader<T>(
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
            Place::Zip(zip) => zip.read(index, f),
            Place::Tar(tar) => tar.read(index, f),
            Place::Lmdb(lmdb) => lmdb.read(index, f),
            #[cfg(feature = "parquet")]
            Place::Table(table) => table.read(index, f),
            Place::Joined(stores, at) => {
                let (store, index) = at[index];
                stores[store as usize].with_reader(index as usize, f)
            }
        }
    }
}

/// What two names have in common that are one place: the parts of the path that lead there.
pub(crate) fn key(name: &str) -> String {
    let mut parts = Vec::new();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Entries of an archive that stand for others, by [`key`].
#[derive(Debug, Default)]
struct Links(HashMap<String, String>);

impl Links {
    /// A link `name`, whose target is relative to its own folder.
    fn add(&mut self, name: &str, target: &str) {
        self.add_from(&key(name), name, target);
    }

    /// The link at the place `link`, whose target is relative to the folder of the file `beside`.
    fn add_from(&mut self, link: &str, beside: &str, target: &str) {
        let folder = beside.rsplit_once('/').map_or("", |(folder, _)| folder);
        self.0.insert(link.to_owned(), key(&format!("{folder}/{target}")));
    }

    /// Another entry now has that name.
    fn remove(&mut self, link: &str) {
        self.0.remove(link);
    }

    /// Each link and the place that it leads to in the end.
    fn resolved(&self) -> Vec<(String, String)> {
        /// Links that lead to links, as the system has it.
        const CHAIN: usize = 40;
        let end = |target: &String| {
            let next = |target: &&String| self.0.get(*target);
            let chain = std::iter::successors(Some(target), next).take(CHAIN);
            chain.last().unwrap_or(target).clone()
        };
        self.0.iter().map(|(link, target)| (link.clone(), end(target))).collect()
    }
}

/// Why a link cannot be read.
fn lost(target: &str) -> String {
    format!("is a link to {target:?}, which the archive does not hold")
}

/// The name of an entry of an archive: folders end in `/`, whatever the archive has.
fn archived(name: &str) -> String {
    one_line(&name.replace('\\', "/"))
}

/// A name of one line: what is written for people has lines, and a name must not add any.
fn one_line(name: &str) -> String {
    name.replace('\n', "\\n").replace('\t', "\\t")
}

/// A name as text of one line; what is no text is written byte by byte, so that no two names become
/// one.
pub(crate) fn text(name: &OsStr) -> String {
    match name.to_str() {
        Some(text) => one_line(text),
        None => name.as_encoded_bytes().utf8_chunks().fold(String::new(), |mut text, chunk| {
            text += &one_line(chunk.valid());
            chunk.invalid().iter().for_each(|byte| text += &format!("\\x{byte:02X}"));
            text
        }),
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
        let part = text(&entry.file_name());
        if is_litter(&part) {
            continue;
        }
        let path = entry.path();
        let mut kind = entry.file_type().map_err(|e| unreadable(&path, &e))?;
        if kind.is_symlink() {
            match fs::metadata(&path) {
                Ok(metadata) => kind = metadata.file_type(),
                // A link to nothing: kept, so that it is listed if it claims to be an image.
                Err(_) => {
                    files.push((format!("{prefix}{part}"), path));
                    continue;
                }
            }
        }
        let name = format!("{prefix}{part}");
        if kind.is_dir() && files::is_run(&path) {
            // What a run draws is none of its own training images: `dcgan train .` puts it here.
            continue;
        }
        if kind.is_dir() {
            walk(&path, &format!("{name}/"), entered, files)?;
        } else if kind.is_file() {
            files.push((name, path));
        }
    }
    Ok(())
}
