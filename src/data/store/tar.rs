//! The entries of a tar: by name, links resolved. Of one that is not packed only the places are kept;
//! one that is gzipped is unpacked into memory, as far as it can hold images.
//!
//! The crate `tar` knows the fields of a header; the walk from header to header is here, as it decides
//! what is kept in memory, and no length in a file may do that.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Cursor, ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::{Arc, Mutex};

use flate2::read::MultiGzDecoder;
use tar::{Header, PaxExtensions};

use super::window::{Blob, Window};
use super::{Links, archived, is_litter, key, unreadable};
use crate::data::formats::{HEAD, is_tar_header};
use crate::data::{look, room};
use crate::error::{Error, Result};

/// The unit that a tar is made of.
const BLOCK: u64 = 512;

/// The longest list of extended headers.
const LONGEST: u64 = 1 << 20;

/// The longest name, as a zip has it.
const LONGEST_NAME: usize = 1 << 16;

/// What an entry takes in memory beside its content, about.
const ENTRY: u64 = 256;

/// Empty blocks after which nothing more is expected.
const PADDING: u64 = 1 << 16;

/// The most that is kept in memory of a gzipped tar.
const MOST: u64 = 4 << 30;

/// Where the content of each name is.
#[derive(Debug)]
pub(super) struct Tar {
    /// The archive itself, where it is not packed.
    file: Option<Window>,
    entries: Vec<Content>,
    /// Whether the empty block was there that ends a tar.
    is_ended: bool,
}

#[derive(Clone, Debug)]
enum Content {
    /// In the file.
    At { start: u64, len: u64 },
    /// In memory.
    Bytes(Arc<[u8]>),
    /// Only its head is in memory: it is no image, or too large for one.
    Head(Arc<[u8]>, u64),
    /// Why it cannot be read, as the end of a sentence.
    Lost(String),
}

/// What a tar is read from.
enum Tape {
    File { file: BufReader<File>, position: u64, length: u64 },
    Gzip { stream: Box<MultiGzDecoder<BufReader<File>>>, position: u64 },
}

impl Read for Tape {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let (n, position) = match self {
            Self::File { file, position, .. } => (file.read(out)?, position),
            Self::Gzip { stream, position } => (stream.read(out)?, position),
        };
        *position += n as u64;
        Ok(n)
    }
}

impl Tape {
    fn position(&self) -> u64 {
        match self {
            Self::File { position, .. } | Self::Gzip { position, .. } => *position,
        }
    }

    /// Goes on to a place further behind.
    fn skip_to(&mut self, place: u64) -> io::Result<()> {
        let by = place.saturating_sub(self.position());
        match self {
            Self::File { length, .. } if place > *length => Err(ErrorKind::UnexpectedEof.into()),
            Self::File { file, position, .. } => {
                file.seek_relative(i64::try_from(by).map_err(io::Error::other)?)?;
                *position = place;
                Ok(())
            }
            Self::Gzip { .. } => match io::copy(&mut self.by_ref().take(by), &mut io::sink())? {
                n if n == by => Ok(()),
                _ => Err(ErrorKind::UnexpectedEof.into()),
            },
        }
    }

    /// The next block; nothing at the end. `zeros` counts the empty blocks before it.
    fn header(&mut self, zeros: &mut u64) -> io::Result<Option<[u8; BLOCK as usize]>> {
        loop {
            let mut block = [0; BLOCK as usize];
            let mut filled = 0;
            while filled < block.len() {
                match self.read(&mut block[filled..]) {
                    Ok(0) => break,
                    Ok(n) => filled += n,
                    Err(e) if e.kind() == ErrorKind::Interrupted => {}
                    Err(e) => return Err(e),
                }
            }
            match filled {
                0 => return Ok(None),
                n if n < block.len() => return Err(ErrorKind::UnexpectedEof.into()),
                _ if block != [0; BLOCK as usize] => return Ok(Some(block)),
                _ if *zeros > PADDING => return Ok(None),
                _ => *zeros += 1,
            }
        }
    }
}

/// What stands before an entry and belongs to it.
#[derive(Default)]
struct Ahead {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    sparse: bool,
}

impl Tar {
    /// Reads all headers: the names, sorted, and where their content is.
    pub(super) fn open(path: &Path, gzipped: bool) -> Result<(Vec<String>, Self)> {
        let file = File::open(path).map_err(|e| unreadable(path, &e))?;
        let length = file.metadata().map_err(|e| unreadable(path, &e))?.len();
        let again = file.try_clone().map_err(|e| unreadable(path, &e))?;
        let file = BufReader::new(file);
        let mut tape = match gzipped {
            true => Tape::Gzip { stream: Box::new(MultiGzDecoder::new(file)), position: 0 },
            false => Tape::File { file, position: 0, length },
        };
        let mut reading = Reading {
            path,
            kept: 0,
            most: MOST.min(room::free()),
            entries: HashMap::new(),
            links: Links::default(),
        };
        let is_ended = reading.all(&mut tape)?;
        let Reading { mut entries, links, .. } = reading;
        for (key, target) in links.resolved() {
            let found = match entries.get(&target) {
                Some((_, content)) => content.clone(),
                None => Content::Lost(super::lost(&target)),
            };
            if let Some(link) = entries.get_mut(&key) {
                link.1 = found;
            }
        }
        let mut entries: Vec<_> = entries.into_values().collect();
        entries.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let (names, entries) = entries.into_iter().unzip();
        let window = || Window::new(Blob::File(Arc::new(Mutex::new(again))), length);
        Ok((names, Self { file: (!gzipped).then(window), entries, is_ended }))
    }

    /// Whether the tar has its end: one that was cut off between two entries has not.
    pub(super) fn is_ended(&self) -> bool {
        self.is_ended
    }

    pub(super) fn size(&self, index: usize) -> Option<u64> {
        match &self.entries[index] {
            Content::At { len, .. } | Content::Head(_, len) => Some(*len),
            Content::Bytes(bytes) => Some(bytes.len() as u64),
            Content::Lost(_) => None,
        }
    }

    pub(super) fn read<T>(
        &self,
        index: usize,
        f: impl FnOnce(&mut dyn Read, u64) -> Result<T, String>,
    ) -> Result<T, String> {
        match (&self.entries[index], &self.file) {
            (Content::At { start, len }, Some(file)) => {
                let mut file = file.clone();
                file.seek(SeekFrom::Start(*start)).map_err(|e| e.to_string())?;
                f(&mut file.take(*len), *len)
            }
            (Content::At { .. }, None) => Err("lies in no file".into()),
            (Content::Bytes(bytes), _) => f(&mut Cursor::new(bytes), bytes.len() as u64),
            (Content::Head(bytes, len), _) => f(&mut Cursor::new(bytes), *len),
            (Content::Lost(what), _) => Err(what.clone()),
        }
    }
}

/// A walk through a tar.
struct Reading<'a> {
    path: &'a Path,
    /// Bytes in memory, and how many there may be.
    kept: u64,
    most: u64,
    /// Names and contents by [`key`]: of two entries of one name the last counts.
    entries: HashMap<String, (String, Content)>,
    links: Links,
}

impl Reading<'_> {
    fn broken(&self, e: &io::Error) -> Error {
        let what = match e.kind() {
            ErrorKind::UnexpectedEof => "it is truncated".into(),
            _ => e.to_string(),
        };
        let what =
            format!("DATA begins like a tar but cannot be read to its end ({what}); copy it again");
        Error::file(self.path, what)
    }

    /// Reads all entries; whether the end of the tar was found.
    fn all(&mut self, tape: &mut Tape) -> Result<bool> {
        let mut ahead = Ahead::default();
        loop {
            let mut zeros = 0;
            let block = match tape.header(&mut zeros) {
                Ok(Some(block)) if is_tar_header(&block) => block,
                Ok(None) => return Ok(zeros > 0),
                // Two empty blocks end a tar. What follows may be another, as of `cat a.tar b.tar`,
                // or whatever a tape or a disk image left there.
                Ok(Some(_)) | Err(_) if zeros >= 2 => return Ok(true),
                Ok(Some(_)) => {
                    return Err(self.broken(&io::Error::other("a header's checksum is wrong")));
                }
                Err(e) => return Err(self.broken(&e)),
            };
            let header = Header::from_byte_slice(&block);
            self.entry(tape, header, &mut ahead).map_err(|e| match e {
                Stop::Io(e) => self.broken(&e),
                Stop::Full(error) => error,
            })?;
        }
    }

    /// Reads one entry, up to the next header.
    fn entry(&mut self, tape: &mut Tape, header: &Header, ahead: &mut Ahead) -> Result<(), Stop> {
        let kind = header.entry_type();
        let stored = header.entry_size()?;
        let describes = kind.is_gnu_longname()
            || kind.is_gnu_longlink()
            || kind.is_pax_local_extensions()
            || kind.is_pax_global_extensions();
        let size = if describes { stored } else { ahead.size.unwrap_or(stored) };
        // Links and folders have no content, whatever size they tell.
        let has_content =
            describes || kind.is_file() || kind.is_contiguous() || kind.is_gnu_sparse();
        let has_none = kind.is_hard_link() || kind.is_symlink() || kind.is_dir();
        let size = if has_none { 0 } else { size };
        let start = tape.position();
        let end = start.checked_add(size).ok_or_else(|| io::Error::other("a size is too large"))?;
        if describes {
            let mut bytes = Vec::new();
            tape.by_ref().take(size.min(LONGEST)).read_to_end(&mut bytes)?;
            if size > LONGEST || (bytes.len() as u64) < size {
                return Err(io::Error::other("a name is too long or cut short").into());
            }
            ahead.describe(kind, bytes);
            if [&ahead.name, &ahead.link]
                .iter()
                .any(|n| n.as_ref().is_some_and(|n| n.len() > LONGEST_NAME))
            {
                return Err(io::Error::other("a name is too long").into());
            }
        } else {
            let Ahead { name, link, sparse, .. } = std::mem::take(ahead);
            let name = name.unwrap_or_else(|| header.path_bytes().into_owned());
            let link = link.or_else(|| header.link_name_bytes().map(std::borrow::Cow::into_owned));
            let name = archived(&String::from_utf8_lossy(&name));
            let name = name.trim_start_matches("./").to_owned();
            let place = key(&name);
            if !is_litter(&name) && (has_content || kind.is_hard_link() || kind.is_symlink()) {
                let content = match link.filter(|_| !has_content) {
                    Some(link) => {
                        let link = archived(&String::from_utf8_lossy(&link));
                        // A hard link names an entry, a symbolic one a place beside itself.
                        let beside = if kind.is_symlink() { name.as_str() } else { "" };
                        self.links.add_from(&place, beside, &link);
                        Content::Lost(super::lost(&link))
                    }
                    None if sparse || kind.is_gnu_sparse() => Content::Lost(
                        "is stored with holes (sparse), which is not read; unpack the tar and give \
                         the folder"
                            .into(),
                    ),
                    None => {
                        self.links.remove(&place);
                        self.content(tape, &name, start, size)?
                    }
                };
                self.entries.insert(place, (name, content));
            }
        }
        let padded = end.checked_next_multiple_of(BLOCK);
        let padded = padded.ok_or_else(|| io::Error::other("a size is too large"))?;
        // The last entry's padding may be missing.
        let end = match tape {
            Tape::File { length, .. } if end <= *length => padded.min(*length),
            _ => padded,
        };
        Ok(tape.skip_to(end)?)
    }

    /// What is kept of an entry.
    fn content(
        &mut self,
        tape: &mut Tape,
        name: &str,
        start: u64,
        len: u64,
    ) -> Result<Content, Stop> {
        if let Tape::File { length, .. } = tape {
            return match start.checked_add(len) {
                Some(end) if end <= *length => Ok(Content::At { start, len }),
                _ => Err(io::Error::from(ErrorKind::UnexpectedEof).into()),
            };
        }
        let mut bytes = Vec::new();
        tape.by_ref().take(len.min(HEAD as u64)).read_to_end(&mut bytes)?;
        let whole = len <= look::most(name, &bytes).max(bytes.len() as u64);
        self.kept = self.kept.saturating_add(ENTRY + if whole { len } else { bytes.len() as u64 });
        if self.kept > self.most {
            let what = format!(
                "DATA is a packed tar that needs more than {} of memory; unpack it and give the folder, \
                 or give it as a plain tar or a zip",
                crate::human::bytes(self.most)
            );
            return Err(Stop::Full(Error::file(self.path, what)));
        }
        if !whole {
            return Ok(Content::Head(bytes.into(), len));
        }
        tape.by_ref().take(len - bytes.len() as u64).read_to_end(&mut bytes)?;
        if (bytes.len() as u64) < len {
            return Err(io::Error::from(ErrorKind::UnexpectedEof).into());
        }
        Ok(Content::Bytes(bytes.into()))
    }
}

/// Why a walk ends before the end.
enum Stop {
    Io(io::Error),
    Full(Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Ahead {
    /// Takes up what an entry says of the one behind it.
    fn describe(&mut self, kind: tar::EntryType, mut bytes: Vec<u8>) {
        if kind.is_pax_local_extensions() {
            for record in PaxExtensions::new(&bytes).flatten() {
                let value = record.value_bytes();
                match record.key_bytes() {
                    b"path" | b"GNU.sparse.name" => self.name = Some(value.to_vec()),
                    b"linkpath" => self.link = Some(value.to_vec()),
                    b"size" => {
                        self.size = std::str::from_utf8(value).ok().and_then(|v| v.parse().ok());
                    }
                    _ => {}
                }
                self.sparse |= record.key_bytes().starts_with(b"GNU.sparse.");
            }
        } else if kind.is_gnu_longname() || kind.is_gnu_longlink() {
            while bytes.last() == Some(&0) {
                bytes.pop();
            }
            let place = if kind.is_gnu_longname() { &mut self.name } else { &mut self.link };
            *place = Some(bytes);
        }
    }
}
