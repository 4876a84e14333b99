//! Arrays in MATLAB's files of version 5 to 7, as SVHN's cropped digits are.
//!
//! ```text
//! 128 bytes: a text, a version, "IM" if little-endian | elements: type, length, content, padded to 8
//! ```
//!
//! An element of type 15 is a zlib stream of another. One of type 14 is a matrix: elements of its flags,
//! dimensions, name and numbers, in Fortran's order. A short element has its length in the upper half of
//! its type, and up to 4 bytes where a long one has its length.

use std::io::{self, Read};

use flate2::read::ZlibDecoder;

use super::Array;
use super::pixels::{Element, Number};
use crate::data::store::Store;

const HEADER: u64 = 128;
const MATRIX: u32 = 14;
const COMPRESSED: u32 = 15;

/// Bytes of a name, and of a list of dimensions, that are read.
const LONGEST: u32 = 1 << 10;

/// Matrices of a file that are looked at.
const MOST: usize = 1000;

/// Bytes that are read at once.
const PIECE: usize = 1 << 16;

/// Reads elements in a byte order.
struct Elements<R> {
    reader: R,
    big_endian: bool,
}

/// What stands before an element's content.
struct Tag {
    kind: u32,
    len: u32,
    /// The content of a short one.
    short: Option<[u8; 4]>,
}

fn damaged(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "is truncated".into(),
        _ => format!("is damaged ({error})"),
    }
}

impl<R: Read> Elements<R> {
    fn word(&self, bytes: [u8; 4]) -> u32 {
        if self.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    }

    fn bytes(&mut self) -> io::Result<[u8; 4]> {
        let mut bytes = [0; 4];
        self.reader.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn tag(&mut self) -> io::Result<Tag> {
        let first = self.bytes()?;
        let second = self.bytes()?;
        let (kind, len) = (self.word(first), self.word(second));
        Ok(match kind >> 16 {
            0 => Tag { kind, len, short: None },
            len => Tag { kind: kind & 0xffff, len: len.min(4), short: Some(second) },
        })
    }

    /// The content of an element of at most [`LONGEST`] bytes.
    fn content(&mut self, tag: &Tag) -> io::Result<Vec<u8>> {
        if let Some(short) = tag.short {
            return Ok(short[..tag.len as usize].to_vec());
        }
        if tag.len > LONGEST {
            return Err(io::Error::other("a name or a list of dimensions is too long"));
        }
        let mut bytes = vec![0; tag.len.next_multiple_of(8) as usize];
        self.reader.read_exact(&mut bytes)?;
        bytes.truncate(tag.len as usize);
        Ok(bytes)
    }
}

/// A matrix, up to its numbers.
struct Matrix {
    name: String,
    shape: Vec<usize>,
    /// Nothing for what are no real numbers.
    element: Option<Element>,
    /// Bytes of its numbers.
    tag: Tag,
}

/// Reads a matrix up to its numbers.
fn matrix<R: Read>(elements: &mut Elements<R>) -> io::Result<Matrix> {
    let tag = elements.tag()?;
    let flags = elements.content(&tag)?;
    let flags = flags.first_chunk().map_or(0, |&bytes| elements.word(bytes));
    // The class of the numbers: 6 and on; below are cells, structures, texts and sparse ones.
    let is_numbers = (6..=15).contains(&(flags & 0xff)) && flags & 0x800 == 0;
    let tag = elements.tag()?;
    let sizes = elements.content(&tag)?;
    let shape = sizes.as_chunks().0.iter().map(|&size| elements.word(size) as usize).collect();
    let tag = elements.tag()?;
    let name = elements.content(&tag)?;
    let name = name.iter().map(|&b| if b.is_ascii_graphic() { b as char } else { '?' }).collect();
    if !is_numbers {
        let tag = Tag { kind: 0, len: 0, short: None };
        return Ok(Matrix { name, shape, element: None, tag });
    }
    let tag = elements.tag()?;
    let number = match tag.kind {
        1 | 3 | 5 | 12 => Some(Number::Signed),
        2 | 4 | 6 | 13 => Some(Number::Unsigned),
        7 | 9 => Some(Number::Float),
        _ => None,
    };
    let size = match tag.kind {
        1 | 2 => 1,
        3 | 4 => 2,
        5..=7 => 4,
        _ => 8,
    };
    let big_endian = elements.big_endian;
    let element = number.map(|number| Element { number, size, big_endian });
    Ok(Matrix { name, shape, element, tag })
}

/// Skips so many bytes.
fn skip(reader: &mut dyn Read, bytes: u64) -> io::Result<()> {
    match io::copy(&mut reader.take(bytes), &mut io::sink())? {
        n if n == bytes => Ok(()),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// What follows a matrix's tag of its numbers.
type Rest<'r> = Elements<Box<dyn Read + 'r>>;

/// The matrix of the element whose tag has been read, and a reader of what follows it.
fn open_matrix<'r>(
    reader: &'r mut dyn Read,
    tag: &Tag,
    big_endian: bool,
) -> io::Result<Option<(Matrix, Rest<'r>)>> {
    let reader: Box<dyn Read + 'r> = match tag.kind {
        COMPRESSED => Box::new(ZlibDecoder::new(reader.take(u64::from(tag.len)))),
        _ => Box::new(reader.take(u64::from(tag.len))),
    };
    let mut elements = Elements { reader, big_endian };
    let inner = if tag.kind == COMPRESSED { elements.tag()?.kind } else { tag.kind };
    if inner != MATRIX {
        return Ok(None);
    }
    let matrix = matrix(&mut elements)?;
    Ok(Some((matrix, elements)))
}

/// The numeric matrices of a file.
///
/// # Errors
/// The end of a sentence that begins with the file.
pub(super) fn open(store: &Store, file: usize) -> Result<Vec<Array<'_>>, String> {
    let name = &store.names()[file];
    let head = store.head(file, HEADER)?;
    let big_endian = match head.get(126..128) {
        Some(b"IM") => false,
        Some(b"MI") => true,
        _ => return Err("begins like MATLAB's but is truncated or damaged".into()),
    };
    // Where each element begins; its content is looked at in a pass of its own.
    let mut starts = Vec::new();
    store.with_reader(file, |reader, size| {
        let mut at = HEADER;
        skip(reader, at).map_err(|e| damaged(&e))?;
        while at < size && starts.len() < MOST {
            let mut elements = Elements { reader: &mut *reader, big_endian };
            let tag = elements.tag().map_err(|e| damaged(&e))?;
            let len = if tag.short.is_some() { 0 } else { u64::from(tag.len) };
            // What is compressed is not padded.
            let len = if tag.kind == COMPRESSED { len } else { len.next_multiple_of(8) };
            starts.push(at);
            at += 8 + len;
            if at > size && at - size >= 8 {
                return Err("is truncated".into());
            }
            skip(reader, len.min(size.saturating_sub(at - len))).map_err(|e| damaged(&e))?;
        }
        Ok(())
    })?;
    let mut arrays = Vec::new();
    for start in starts {
        let found = at_element(store, file, start, big_endian, |matrix, _| Ok(matrix))?;
        let Some(Matrix { name: called, shape, element: Some(element), .. }) = found else {
            continue;
        };
        let read = move |take: super::Take<'_>| {
            let done = at_element(store, file, start, big_endian, |matrix, reader| {
                if let Some(short) = matrix.tag.short {
                    return take(&short[..matrix.tag.len as usize]);
                }
                let mut numbers = reader.take(u64::from(matrix.tag.len));
                super::pieces(&mut numbers, PIECE, take)
            });
            done.map(drop)
        };
        arrays.push(Array {
            name: format!("{name}, {called}"),
            called,
            shape,
            element,
            fortran: true,
            image_last: true,
            read: Box::new(read),
        });
    }
    Ok(arrays)
}

/// Passes on the matrix that begins at a place, and a reader of its numbers; nothing where there is
/// something else.
fn at_element<T>(
    store: &Store,
    file: usize,
    start: u64,
    big_endian: bool,
    f: impl FnOnce(Matrix, &mut dyn Read) -> Result<T, String>,
) -> Result<Option<T>, String> {
    store.with_reader(file, |reader, _| {
        skip(reader, start).map_err(|e| damaged(&e))?;
        let tag = Elements { reader: &mut *reader, big_endian }.tag().map_err(|e| damaged(&e))?;
        match open_matrix(reader, &tag, big_endian).map_err(|e| damaged(&e))? {
            None => Ok(None),
            Some((matrix, mut elements)) => f(matrix, &mut elements.reader).map(Some),
        }
    })
}

/// MATLAB counts from 1, so in SVHN the digit 0 is 10.
pub(super) fn without_tens(labels: &mut [u32]) {
    if labels.iter().all(|label| (1..=10).contains(label)) && labels.contains(&10) {
        labels.iter_mut().for_each(|label| *label %= 10);
    }
}
