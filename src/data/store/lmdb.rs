//! The entries of an LMDB database, as LSUN comes in: keys, and image files as their values.
//!
//! ```text
//! pages of one size | 0, 1: meta pages, of which the later one counts | branches, leaves, overflow pages
//! page: number u64, 2 bytes, flags u16, lower u16, upper u16 | places of nodes, u16 each | nodes
//! node: low u16, high u16, flags u16, length of the key u16 | key | value, or the page where it begins
//! ```
//!
//! The library itself maps the file into memory and follows what stands in it, which a damaged file makes
//! crash; so its B-tree is walked here, with every number checked. All numbers are little-endian, as on
//! every machine that such files are made on.

use std::collections::HashSet;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::{Arc, Mutex};

use super::one_line;
use super::window::{Blob, Window};
use crate::error::{Error, Result};

/// What stands at byte 16 of the file.
pub(crate) const MAGIC: [u8; 4] = [0xde, 0xc0, 0xef, 0xbe];

/// Bytes of a page before its nodes or its content.
const HEADER: usize = 16;

/// The deepest tree: with two keys a page, more than any file holds.
const DEEPEST: usize = 64;

const BRANCH: u16 = 1;
const LEAF: u16 = 2;

/// The value of a node lies in pages of its own.
const BIG: u16 = 1;
/// The node is a database, or stands for several values.
const NO_VALUE: u16 = 2 | 4;

/// A key's name, and where its value begins and how long it is.
type Entry = (String, (u64, u64));

/// Where the value of each key is.
#[derive(Debug)]
pub(super) struct Lmdb {
    file: Window,
    entries: Vec<(u64, u64)>,
}

/// A number of 2, 4 or 8 bytes; nothing past the end.
fn number(bytes: &[u8], at: usize, size: usize) -> Option<u64> {
    let mut all = [0; 8];
    all[..size].copy_from_slice(bytes.get(at..at.checked_add(size)?)?);
    Some(u64::from_le_bytes(all))
}

fn half(bytes: &[u8], at: usize) -> Option<usize> {
    number(bytes, at, 2).map(|n| n as usize)
}

/// A key as a name: text as it is, other bytes in hexadecimal.
fn name(key: &[u8]) -> String {
    match std::str::from_utf8(key) {
        Ok(text) if !text.is_empty() && !text.chars().any(char::is_control) => one_line(text),
        _ => key.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

struct Walk<'a> {
    file: &'a mut Window,
    length: u64,
    page: u64,
    seen: HashSet<u64>,
    found: Vec<Entry>,
    has_databases: bool,
}

impl Walk<'_> {
    /// The bytes of a page, of which none is read twice.
    fn read(&mut self, number: u64) -> Result<Vec<u8>, String> {
        let start = number.checked_mul(self.page).filter(|start| start + self.page <= self.length);
        let start = start.ok_or("is damaged or truncated: a page lies beyond its end")?;
        if !self.seen.insert(number) {
            return Err("is damaged: two branches lead to one page".into());
        }
        let mut bytes = vec![0; self.page as usize];
        let read = self.file.seek(SeekFrom::Start(start));
        read.and_then(|_| self.file.read_exact(&mut bytes)).map_err(|e| e.to_string())?;
        Ok(bytes)
    }

    fn walk(&mut self, number: u64, depth: usize) -> Result<(), String> {
        let damaged = "is damaged: a page does not hold what it says";
        if depth > DEEPEST {
            return Err("is damaged: its tree is too deep".into());
        }
        let page = self.read(number)?;
        let flags = half(&page, 10).unwrap_or(0) as u16;
        let count = half(&page, 12).and_then(|lower| lower.checked_sub(HEADER)).ok_or(damaged)? / 2;
        let mut room = page.len();
        for i in 0..count {
            let at = half(&page, HEADER + 2 * i).ok_or(damaged)?;
            let [low, high, node_flags, key] =
                [0, 2, 4, 6].map(|offset| half(&page, at.saturating_add(offset)));
            let low_high = low.zip(high).ok_or(damaged)?;
            let value = low_high.0 as u64 | (low_high.1 as u64) << 16;
            let (node_flags, key_len) = node_flags.zip(key).ok_or(damaged)?;
            // Nodes that lie over each other would have names without end.
            room = room.checked_sub(8 + key_len).ok_or(damaged)?;
            match flags & (BRANCH | LEAF) {
                BRANCH => self.walk(value | (node_flags as u64) << 32, depth + 1)?,
                LEAF if node_flags as u16 & NO_VALUE != 0 => self.has_databases = true,
                LEAF => {
                    let content = at + 8 + key_len;
                    let key = page.get(at + 8..content).ok_or(damaged)?;
                    let start = if node_flags as u16 & BIG != 0 {
                        let first = self::number(&page, content, 8).ok_or(damaged)?;
                        first.checked_mul(self.page).and_then(|n| n.checked_add(HEADER as u64))
                    } else {
                        let inside = content as u64 + value <= self.page;
                        inside.then(|| number * self.page + content as u64)
                    };
                    let start = start.filter(|&start| {
                        start.checked_add(value).is_some_and(|end| end <= self.length)
                    });
                    let start =
                        start.ok_or("is damaged or truncated: a value lies beyond its end")?;
                    self.found.push((name(key), (start, value)));
                }
                _ => return Err(damaged.into()),
            }
        }
        Ok(())
    }
}

impl Lmdb {
    /// Walks through the tree: the names of all entries, sorted, and where their values are.
    pub(super) fn open(path: &Path) -> Result<(Vec<String>, Self)> {
        let fail = |what: String| {
            Error::file(path, format!("DATA is LMDB that cannot be used: it {what}"))
        };
        let file = File::open(path).map_err(|e| super::unreadable(path, &e))?;
        let length = file.metadata().map_err(|e| super::unreadable(path, &e))?.len();
        let mut file = Window::new(Blob::File(Arc::new(Mutex::new(file))), length);
        let found = Self::all(&mut file, length).map_err(fail)?;
        let (names, entries) = found.into_iter().unzip();
        Ok((names, Self { file, entries }))
    }

    fn all(file: &mut Window, length: u64) -> Result<Vec<Entry>, String> {
        let mut meta = |at: u64| -> Option<Vec<u8>> {
            let mut bytes = vec![0; 152];
            file.seek(SeekFrom::Start(at)).ok()?;
            file.read_exact(&mut bytes).ok()?;
            (bytes[16..20] == MAGIC && number(&bytes, 20, 4) == Some(1)).then_some(bytes)
        };
        let first = meta(0).ok_or("is truncated, or of a version that is not read")?;
        let page = number(&first, 40, 4).unwrap_or(0);
        if !page.is_power_of_two() || !(512..=1 << 16).contains(&page) {
            return Err(format!("is damaged: its pages are of {page} bytes"));
        }
        // Of two states the later one counts.
        let transaction = |meta: &[u8]| number(meta, 144, 8);
        let last = match meta(page) {
            Some(second) if transaction(&second) > transaction(&first) => second,
            _ => first,
        };
        let root = number(&last, 128, 8).unwrap_or(u64::MAX);
        let seen = HashSet::new();
        let mut walk = Walk { file, length, page, seen, found: Vec::new(), has_databases: false };
        if root != u64::MAX {
            walk.walk(root, 0)?;
        }
        let Walk { mut found, has_databases, .. } = walk;
        if found.is_empty() && has_databases {
            return Err("holds databases in a database; one of keys and image files is read".into());
        }
        found.sort_unstable();
        Ok(found)
    }

    pub(super) fn size(&self, index: usize) -> u64 {
        self.entries[index].1
    }

    pub(super) fn read<T>(
        &self,
        index: usize,
        f: impl FnOnce(&mut dyn Read, u64) -> Result<T, String>,
    ) -> Result<T, String> {
        let (start, len) = self.entries[index];
        let mut file = self.file.clone();
        file.seek(SeekFrom::Start(start)).map_err(|e| e.to_string())?;
        f(&mut file.take(len), len)
    }
}
