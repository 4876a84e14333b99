//! The pages of a column of a Parquet file, found by walking from header to header.
//!
//! The crate `parquet` believes the sizes in a page's header before it unpacks it. So each header is read
//! here first, and a column whose pages claim more than their bytes can hold is refused. What the walk
//! finds also serves as an index: a row is read without those before it.
//!
//! A header is a structure in Thrift's compact encoding: for each field the distance to the field before
//! it and a type in one byte, then its value; numbers are of 7 bits a byte, with their sign in the lowest.

use std::io::{BufReader, Read, Seek, SeekFrom};

use parquet::file::page_index::offset_index::PageLocation;

use super::window::Window;

/// The most bytes that a page may unpack to.
const LARGEST: u64 = 512 << 20;

/// No packing makes more bytes of one, beside a small page.
const RATIO: u64 = 1100;
const SMALL: u64 = 1 << 16;

/// The longest header, with statistics of values.
const LONGEST: u64 = 1 << 20;

/// The deepest structure in a header.
const DEEPEST: usize = 8;

/// A page's header, as far as it is needed.
#[derive(Clone, Copy, Debug, Default)]
struct Header {
    kind: i64,
    unpacked: u64,
    packed: u64,
    values: u64,
}

/// Reads Thrift's compact encoding and counts bytes.
struct Compact<R> {
    reader: R,
    read: u64,
}

impl<R: Read> Compact<R> {
    fn byte(&mut self) -> Option<u8> {
        let mut byte = [0];
        self.reader.read_exact(&mut byte).ok()?;
        self.read += 1;
        (self.read <= LONGEST).then_some(byte[0])
    }

    fn unsigned(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    fn signed(&mut self) -> Option<i64> {
        let number = self.unsigned()?;
        Some((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    /// The next field's number and type; a type of 0 at the end.
    fn field(&mut self, last: &mut i64) -> Option<u8> {
        let byte = self.byte()?;
        if byte == 0 {
            return Some(0);
        }
        *last = match byte >> 4 {
            0 => self.signed()?,
            distance => last.checked_add(i64::from(distance))?,
        };
        Some(byte & 0xf)
    }

    fn skip(&mut self, kind: u8, depth: usize) -> Option<()> {
        if depth > DEEPEST {
            return None;
        }
        match kind {
            1 | 2 => {}
            3 => drop(self.byte()?),
            4..=6 => drop(self.unsigned()?),
            7 => (0..8).try_for_each(|_| self.byte().map(drop))?,
            8 => {
                let len = self.unsigned()?;
                (0..len).try_for_each(|_| self.byte().map(drop))?;
            }
            9 | 10 => {
                let head = self.byte()?;
                let len = match head >> 4 {
                    15 => self.unsigned()?,
                    len => u64::from(len),
                };
                (0..len).try_for_each(|_| self.skip(head & 0xf, depth + 1))?;
            }
            12 => {
                let mut last = 0;
                loop {
                    match self.field(&mut last)? {
                        0 => break,
                        kind => self.skip(kind, depth + 1)?,
                    }
                }
            }
            _ => return None,
        }
        Some(())
    }

    /// A page's header; nothing where there is none.
    fn header(&mut self) -> Option<Header> {
        let mut header = Header::default();
        let mut last = 0;
        loop {
            let kind = self.field(&mut last)?;
            match (last, kind) {
                (_, 0) => return Some(header),
                (1, 5) => header.kind = self.signed()?,
                (2, 5) => header.unpacked = self.signed()?.try_into().ok()?,
                (3, 5) => header.packed = self.signed()?.try_into().ok()?,
                // Of a page of values, of a dictionary, and of a page of values in the second version.
                (5 | 7 | 8, 12) => {
                    let mut inner = 0;
                    loop {
                        match (self.field(&mut inner)?, inner) {
                            (0, _) => break,
                            (5, 1) => header.values = self.signed()?.try_into().ok()?,
                            (kind, _) => self.skip(kind, 1)?,
                        }
                    }
                }
                (_, kind) => self.skip(kind, 1)?,
            }
        }
    }
}

/// The pages of values of a column's chunk that lies in `start..end` and has `rows` rows.
pub(super) fn walk(
    file: &Window,
    start: u64,
    end: u64,
    rows: u64,
) -> Result<Vec<PageLocation>, String> {
    let damaged = || "is damaged: a page's header cannot be read".to_owned();
    let mut pages = Vec::new();
    let (mut at, mut row) = (start, 0_u64);
    while row < rows && at < end {
        let mut window = file.clone();
        window.seek(SeekFrom::Start(at)).map_err(|e| e.to_string())?;
        let reader = BufReader::with_capacity(64, window);
        let mut compact = Compact { reader, read: 0 };
        let header = compact.header().ok_or_else(damaged)?;
        let size = compact.read.checked_add(header.packed);
        let size = size.filter(|size| at.checked_add(*size).is_some_and(|next| next <= end));
        let size = size.ok_or("is damaged or truncated: a page lies beyond its column")?;
        let most = header.packed.saturating_mul(RATIO).clamp(SMALL, LARGEST);
        if header.unpacked > most || header.values > rows - row && header.kind != 2 {
            return Err("is damaged: a page claims to hold more than it can".into());
        }
        // Pages of an index and of a dictionary have no rows.
        if matches!(header.kind, 0 | 3) {
            let small = i32::try_from(size).map_err(|_| damaged())?;
            pages.push(PageLocation {
                offset: at as i64,
                compressed_page_size: small,
                first_row_index: row as i64,
            });
            row += header.values;
        }
        at += size;
    }
    if row < rows {
        return Err(format!("is damaged or truncated: {row} of {rows} rows are there"));
    }
    Ok(pages)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;
    use crate::data::store::window::Blob;

    /// A page of `kind` with so many values, and zeros for its content.
    fn page(kind: u64, unpacked: u64, packed: u64, values: u64, content: usize) -> Vec<u8> {
        let number = |number: u64| {
            let mut bytes = Vec::new();
            let mut rest = number << 1;
            while rest >= 0x80 {
                bytes.push(rest as u8 | 0x80);
                rest >>= 7;
            }
            bytes.push(rest as u8);
            bytes
        };
        let mut bytes = Vec::new();
        for value in [kind, unpacked, packed] {
            bytes.push(0x15);
            bytes.extend(number(value));
        }
        // A checksum; then the structure of the kind: the number of values, a list, a nested structure.
        bytes.extend([0x15, 0x07]);
        let field = if kind == 2 { 7 } else { 5 };
        bytes.push((field - 4) << 4 | 12);
        bytes.push(0x15);
        bytes.extend(number(values));
        bytes.extend([0x19, 0x25, 1, 2, 0x1c, 0x18, 2, b'h', b'i', 0, 0, 0]);
        bytes.extend(vec![0; content]);
        bytes
    }

    fn pages(bytes: Vec<u8>, rows: u64) -> Result<Vec<i64>, String> {
        let bytes: &'static [u8] = bytes.leak();
        let window = Window::new(Blob::Static(bytes), bytes.len() as u64);
        let pages = walk(&window, 0, bytes.len() as u64, rows)?;
        Ok(pages.iter().map(|page| page.first_row_index).collect())
    }

    #[test]
    fn pages_are_found_and_their_sizes_are_not_believed() {
        let whole = [page(2, 90, 9, 5, 9), page(0, 40, 4, 3, 4), page(0, 10, 7, 4, 7)].concat();
        assert_eq!(pages(whole.clone(), 7).unwrap(), [0, 3]);
        assert!(pages(whole.clone(), 8).unwrap_err().contains("7 of 8 rows are there"));
        assert!(
            pages(whole[..whole.len() - 1].to_vec(), 7).unwrap_err().contains("beyond its column")
        );
        assert!(pages(whole[..20].to_vec(), 7).is_err());
        // A gigabyte in a few bytes, more rows than there are, more bytes than there are.
        for wrong in [page(0, 1 << 30, 4, 3, 4), page(0, 40, 4, 300, 4), page(0, 40, 1 << 40, 3, 4)]
        {
            assert!(pages(wrong, 3).is_err());
        }
    }
}
