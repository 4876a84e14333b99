//! The directory of a TIFF's first image: which numbers stand there, and where in the file.
//!
//! The `tiff` crate reads pixels; it refuses what it does not know before one can ask what that is,
//! and palettes altogether. TIFF 6.0, section 2; BigTIFF has 43 in place of 42 and 8 bytes in place
//! of 4 for offsets and counts.

/// Tags, by the names of TIFF 6.0.
pub(super) mod tag {
    pub(in super::super) const NEW_SUBFILE_TYPE: u16 = 254;
    pub(in super::super) const WIDTH: u16 = 256;
    pub(in super::super) const HEIGHT: u16 = 257;
    pub(in super::super) const BITS_PER_SAMPLE: u16 = 258;
    pub(in super::super) const COMPRESSION: u16 = 259;
    pub(in super::super) const PHOTOMETRIC: u16 = 262;
    pub(in super::super) const STRIP_OFFSETS: u16 = 273;
    pub(in super::super) const ORIENTATION: u16 = 274;
    pub(in super::super) const SAMPLES_PER_PIXEL: u16 = 277;
    pub(in super::super) const ROWS_PER_STRIP: u16 = 278;
    pub(in super::super) const STRIP_BYTE_COUNTS: u16 = 279;
    pub(in super::super) const COLOR_MAP: u16 = 320;
    pub(in super::super) const TILE_WIDTH: u16 = 322;
    pub(in super::super) const TILE_LENGTH: u16 = 323;
    pub(in super::super) const TILE_OFFSETS: u16 = 324;
    pub(in super::super) const TILE_BYTE_COUNTS: u16 = 325;
    pub(in super::super) const INK_SET: u16 = 332;
    pub(in super::super) const EXTRA_SAMPLES: u16 = 338;
    pub(in super::super) const SAMPLE_FORMAT: u16 = 339;
    pub(in super::super) const YCBCR_COEFFICIENTS: u16 = 529;
    pub(in super::super) const REFERENCE_BLACK_WHITE: u16 = 532;
    pub(in super::super) const DNG_VERSION: u16 = 50_706;
}

/// The most entries of a directory that is read.
const MOST: usize = 4096;

/// The first directory of a file.
#[derive(Debug)]
pub(super) struct Directory<'a> {
    bytes: &'a [u8],
    little: bool,
    big: bool,
    /// Where the first entry is, and how many there are.
    first: usize,
    count: usize,
}

/// The values of a tag.
#[derive(Clone, Copy, Debug)]
struct Entry {
    kind: u16,
    count: usize,
    /// Where the first value is.
    at: usize,
}

impl<'a> Directory<'a> {
    /// `None` where the file ends before its directory.
    pub(super) fn first(bytes: &'a [u8]) -> Option<Self> {
        let little = bytes.starts_with(b"II");
        let mut directory = Self { bytes, little, big: false, first: 0, count: 0 };
        directory.big = directory.number(2, 2)? == 43;
        let (start, width) =
            if directory.big { (directory.number(8, 8)?, 8) } else { (directory.number(4, 4)?, 2) };
        let start = usize::try_from(start).ok()?;
        directory.count = usize::try_from(directory.number(start, width)?).ok()?;
        directory.first = start.checked_add(width)?;
        // Some dozens are usual; of millions, looking for one would take for ever.
        let room = bytes.len().saturating_sub(directory.first) / directory.entry_size();
        (directory.count <= room && directory.count <= MOST).then_some(directory)
    }

    fn entry_size(&self) -> usize {
        if self.big { 20 } else { 12 }
    }

    /// The number of `width` bytes at `at`.
    fn number(&self, at: usize, width: usize) -> Option<u64> {
        let bytes = self.bytes.get(at..at.checked_add(width)?)?;
        let fold = |number: u64, &byte: &u8| number << 8 | u64::from(byte);
        Some(if self.little {
            bytes.iter().rev().fold(0, fold)
        } else {
            bytes.iter().fold(0, fold)
        })
    }

    fn entry(&self, tag: u16) -> Option<Entry> {
        let is_it = |&at: &usize| self.number(at, 2) == Some(u64::from(tag));
        let at = (0..self.count).map(|i| self.first + i * self.entry_size()).find(is_it)?;
        let kind = self.number(at + 2, 2)? as u16;
        let word = if self.big { 8 } else { 4 };
        let count = usize::try_from(self.number(at + 4, word)?).ok()?;
        let inline = at + 4 + word;
        let size = width(kind)?.checked_mul(count)?;
        let at = match size <= word {
            true => inline,
            false => usize::try_from(self.number(inline, word)?).ok()?,
        };
        Some(Entry { kind, count, at })
    }

    /// The values of a tag of whole numbers, as far as the file has them.
    pub(super) fn values(&self, tag: u16) -> impl Iterator<Item = u64> {
        let entry = self.entry(tag).filter(|entry| WHOLE.contains(&entry.kind));
        let width = entry.and_then(|entry| width(entry.kind)).unwrap_or(1);
        entry.into_iter().flat_map(move |entry| {
            (0..entry.count).map_while(move |i| {
                self.number(entry.at.checked_add(i.checked_mul(width)?)?, width)
            })
        })
    }

    /// The first value of a tag of whole numbers.
    pub(super) fn value(&self, tag: u16) -> Option<u64> {
        self.values(tag).next()
    }

    /// The first value of a tag of whole numbers, or what TIFF 6.0 says it is without the tag.
    pub(super) fn value_or(&self, tag: u16, default: u64) -> u64 {
        self.value(tag).unwrap_or(default)
    }

    /// The value of index `i` of a tag of rationals.
    pub(super) fn rational(&self, tag: u16, i: usize) -> Option<f32> {
        const RATIONAL: u16 = 5;
        let entry = self.entry(tag).filter(|e| e.kind == RATIONAL && i < e.count)?;
        let at = entry.at.checked_add(i.checked_mul(8)?)?;
        let (above, below) = (self.number(at, 4)?, self.number(at.checked_add(4)?, 4)?);
        (below > 0).then(|| above as f32 / below as f32)
    }

    /// A copy of the file in which the first value of a tag of shorts is another.
    pub(super) fn with_short(&self, tag: u16, value: u16) -> Option<Vec<u8>> {
        const SHORT: u16 = 3;
        let entry = self.entry(tag).filter(|e| e.kind == SHORT && e.count > 0)?;
        let mut bytes = self.bytes.to_vec();
        let to = bytes.get_mut(entry.at..entry.at.checked_add(2)?)?;
        to.copy_from_slice(&if self.little { value.to_le_bytes() } else { value.to_be_bytes() });
        Some(bytes)
    }
}

/// Types of whole numbers: BYTE, SHORT, LONG, LONG8.
const WHOLE: [u16; 4] = [1, 3, 4, 16];

/// The bytes of a value of a type.
fn width(kind: u16) -> Option<usize> {
    Some(match kind {
        1 | 2 | 6 | 7 => 1,
        3 | 8 => 2,
        4 | 9 | 11 | 13 => 4,
        5 | 10 | 12 | 16 | 17 | 18 => 8,
        _ => return None,
    })
}
