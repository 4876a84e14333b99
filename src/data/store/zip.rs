//! The entries of a zip: by name, links resolved, and refused where it is a bomb.

use std::collections::HashMap;
use std::io::{Read, Seek as _, SeekFrom};
use std::path::Path;

use zip::result::ZipError;
use zip::{CompressionMethod, ZipArchive};

use super::window::Window;
use super::{Links, archived, is_litter, key};
use crate::error::{Error, Result};

/// Where each name's entry is in an archive.
#[derive(Debug)]
pub(super) struct Zip {
    archive: Box<ZipArchive<Window>>,
    entries: Vec<Entry>,
}

#[derive(Debug)]
enum Entry {
    At(usize),
    /// A link to what is not there.
    Lost(String),
}

/// The longest path that a link may lead to.
const LINK: u64 = 4096;

/// The smallest header of an entry, without its name.
const HEADER: u64 = 30;

impl Zip {
    /// Reads the directory: the names, sorted, and where they are.
    pub(super) fn open(path: &Path, window: Window) -> Result<(Vec<String>, Self)> {
        let broken = |e: ZipError| {
            Error::file(
                path,
                format!("DATA begins like a zip but cannot be read as one ({e}); copy it again"),
            )
        };
        let mut directory = window.clone();
        let archive = ZipArchive::new(window).map_err(broken)?;
        let metadata = archive.metadata();
        let mut spans = Vec::with_capacity(archive.len());
        // Of two entries of one name the last counts, as in programs that unpack.
        let mut entries = HashMap::with_capacity(archive.len());
        let mut links = Links::default();
        for index in 0..archive.len() {
            let entry = metadata.entry(index).map_err(broken)?;
            let header = HEADER + entry.name_raw().len() as u64;
            let end = entry.header_start().saturating_add(header);
            spans.push((entry.header_start(), end.saturating_add(entry.compressed_size())));
            // A name in an unknown encoding is still a name: only its spelling suffers.
            let name = archived(&String::from_utf8_lossy(entry.name_raw()));
            if is_litter(&name) || entry.is_dir() {
                continue;
            }
            if entry.is_symlink() {
                let mut target = Vec::new();
                // A clone shares the directory of the archive and has a place of its own in it.
                let mut reading = ZipArchive::clone(&archive);
                let read = reading.by_index(index).map(|e| e.take(LINK).read_to_end(&mut target));
                // One that cannot be read leads nowhere.
                let _ = read;
                links.add(&name, &String::from_utf8_lossy(&target));
            }
            let place = key(&name);
            if !entry.is_symlink() {
                links.remove(&place);
            }
            entries.insert(place, (name, Entry::At(index), entry.is_symlink()));
        }
        if !is_whole(&mut directory, &archive) {
            let what = "DATA is a zip whose directory holds more files than it counts, as old programs \
                        write them; unpack it and give the folder";
            return Err(Error::file(path, what));
        }
        spans.sort_unstable();
        if spans.windows(2).any(|pair| pair[0].1 > pair[1].0) {
            let what = "DATA is a zip whose entries lie over each other, as in a zip bomb; unpack it \
                        with a program that you trust and give the folder";
            return Err(Error::file(path, what));
        }
        for (key, target) in links.resolved() {
            let found = match entries.get(&target) {
                Some((_, Entry::At(index), false)) => Entry::At(*index),
                _ => Entry::Lost(target),
            };
            if let Some(link) = entries.get_mut(&key) {
                link.1 = found;
            }
        }
        let mut entries: Vec<_> = entries.into_values().map(|(name, at, _)| (name, at)).collect();
        entries.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let (names, entries) = entries.into_iter().unzip();
        Ok((names, Self { archive: Box::new(archive), entries }))
    }

    /// The size that an entry says it unpacks to.
    pub(super) fn size(&self, index: usize) -> Option<u64> {
        match self.entries[index] {
            Entry::At(at) => self.archive.by_index_data(at).ok().map(|entry| entry.size()),
            Entry::Lost(_) => None,
        }
    }

    /// Hands over a reader of what an entry unpacks to, no more than it says.
    pub(super) fn read<T>(
        &self,
        index: usize,
        f: impl FnOnce(&mut dyn Read, u64) -> Result<T, String>,
    ) -> Result<T, String> {
        let at = match &self.entries[index] {
            Entry::At(at) => *at,
            Entry::Lost(target) => return Err(super::lost(target)),
        };
        let mut archive = ZipArchive::clone(&self.archive);
        let entry = archive.by_index(at).map_err(|e| match e {
            ZipError::UnsupportedArchive(_) | ZipError::CompressionMethodNotSupported(_) => {
                unread(&e)
            }
            _ => e.to_string(),
        })?;
        // Otherwise known when it is read, in fewer words.
        if !matches!(entry.compression(), CompressionMethod::Stored | CompressionMethod::Deflated) {
            return Err(unread(&entry.compression()));
        }
        let size = entry.size();
        // One byte more, so that whoever expects `size` bytes sees that there are others.
        f(&mut entry.take(size.saturating_add(1)), size)
    }
}

/// Whether the last entry that was counted ends the directory: programs that count in 16 bits start
/// again at 65,536.
fn is_whole(file: &mut Window, archive: &ZipArchive<Window>) -> bool {
    const CENTRAL: &[u8; 4] = b"PK\x01\x02";
    let metadata = archive.metadata();
    let places = (0..archive.len()).filter_map(|i| metadata.entry(i).ok());
    let Some(last) = places.map(|entry| entry.central_header_start()).max() else { return true };
    // What stands behind it: 46 bytes, a name, extra fields and a comment, whose lengths stand in it.
    let mut header = [0; 46];
    let mut next = [0; 4];
    let mut read = || {
        file.seek(SeekFrom::Start(last))?;
        file.read_exact(&mut header)?;
        let long = |at: usize| i64::from(u16::from_le_bytes([header[at], header[at + 1]]));
        file.seek_relative(long(28) + long(30) + long(32))?;
        file.read_exact(&mut next)
    };
    // At the end of the file there is no directory entry either.
    read().is_err() || next != *CENTRAL
}

/// Why an entry is not unpacked.
fn unread(how: &impl std::fmt::Display) -> String {
    format!("is packed in a way that is not read ({how}); unpack the zip and give the folder")
}
