//! The type of a file by its first bytes: a supported image format, or another one with a name and
//! a way to get images from it.

use image::ImageFormat;

use super::packed::other_idx;

/// The supported formats, with their names in messages.
pub(crate) const FORMATS: [(ImageFormat, &str); 6] = [
    (ImageFormat::Png, "PNG"),
    (ImageFormat::Jpeg, "JPEG"),
    (ImageFormat::WebP, "WebP"),
    (ImageFormat::Gif, "GIF"),
    (ImageFormat::Bmp, "BMP"),
    (ImageFormat::Tiff, "TIFF"),
];

/// The bytes that [`Other::find`] wants to see.
pub(crate) const HEAD: usize = 512;

/// The format of an image file that is read, and its name.
pub(crate) fn image_format(bytes: &[u8]) -> Option<(ImageFormat, &'static str)> {
    // BigTIFF: 43 where TIFF has 42, and offsets of 8 bytes.
    let big = [&b"II\x2b\0\x08\0\0\0"[..], b"MM\0\x2b\0\x08\0\0"];
    let format = match image::guess_format(bytes) {
        Ok(format) => format,
        Err(_) if big.iter().any(|magic| bytes.starts_with(magic)) => ImageFormat::Tiff,
        Err(_) => return None,
    };
    FORMATS.iter().find(|(known, _)| *known == format).copied()
}

/// What to do with a file of an unsupported format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// An image in another format.
    Convert,
    /// An image of a telephone.
    Heic,
    /// An image whose format says nothing about it until it is developed or drawn.
    Render,
    Video,
    Archive,
    /// Images in a format of another library.
    Export,
    /// A file that holds a set.
    Set,
}

impl Way {
    const fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Convert => ("which is not read", "convert it to PNG or JPEG"),
            Self::Heic => (
                "which is not read",
                "convert it to JPEG, by heif-convert IN.heic OUT.jpg (Linux) or sips -s format jpeg \
                 IN.heic --out OUT.jpg (macOS)",
            ),
            Self::Render => ("which is not read", "export it as PNG or JPEG"),
            Self::Video => ("a video", "write its frames as PNG or JPEG"),
            Self::Archive => ("an archive that is not read", "unpack it and give the folder"),
            Self::Set => ("a set of its own", "give it alone as DATA"),
            Self::Export => {
                ("which is not read", "write its images as PNG or JPEG files, a folder a class")
            }
        }
    }
}

/// A kind of file that is known and not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Other {
    name: &'static str,
    way: Way,
}

/// Kinds by bytes at a place in the file.
const BY_BYTES: [(usize, &[u8], &str, Way); 44] = [
    (0, b"\xff\x0a", "JPEG XL", Way::Convert),
    (0, b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL", Way::Convert),
    (0, b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000", Way::Convert),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000", Way::Convert),
    (0, b"8BPS", "PSD (Photoshop)", Way::Render),
    (0, b"gimp xcf", "XCF (GIMP)", Way::Render),
    (0, b"\0\0\x01\0", "ICO", Way::Convert),
    (0, b"\x76\x2f\x31\x01", "OpenEXR", Way::Render),
    (0, b"#?RADIANCE", "Radiance HDR", Way::Render),
    (0, b"DDS ", "DDS", Way::Convert),
    (0, b"qoif", "QOI", Way::Convert),
    (0, b"farbfeld", "farbfeld", Way::Convert),
    (0, b"AT&TFORM", "DjVu", Way::Render),
    (0, b"%PDF", "PDF", Way::Render),
    (0, b"%!PS", "PostScript", Way::Render),
    (128, b"DICM", "DICOM", Way::Render),
    (0, b"SIMPLE  =", "FITS", Way::Render),
    (0, b"FUJIFILMCCD-RAW", "a camera's raw format", Way::Render),
    (0, b"IIU\0", "a camera's raw format", Way::Render),
    (0, b"IIRO", "a camera's raw format", Way::Render),
    (0, b"IIRS", "a camera's raw format", Way::Render),
    (0, b"MMOR", "a camera's raw format", Way::Render),
    (0, b"\x1a\x45\xdf\xa3", "Matroska or WebM", Way::Video),
    (8, b"AVI ", "AVI", Way::Video),
    (0, b"7z\xbc\xaf\x27\x1c", "7z", Way::Archive),
    (0, b"Rar!\x1a\x07", "RAR", Way::Archive),
    (0, b"\xfd7zXZ\0", "xz", Way::Archive),
    (0, b"BZh", "bzip2", Way::Archive),
    (0, b"\x28\xb5\x2f\xfd", "Zstandard", Way::Archive),
    (0, b"\x04\x22\x4d\x18", "LZ4", Way::Archive),
    (0, b"MSCF", "CAB", Way::Archive),
    (0, b"\x1f\x9d", "compress (.Z)", Way::Archive),
    (0, b"PK\x03\x04", "zip", Way::Archive),
    (0, b"\x1f\x8b", "gzip", Way::Archive),
    (257, b"ustar", "tar", Way::Archive),
    (0, b"MATLAB 7.3 MAT-file", "MATLAB 7.3", Way::Export),
    (16, b"\xde\xc0\xef\xbe", "LMDB", Way::Set),
    (0, b"PAR1", "Parquet", Way::Set),
    (0, b"ARROW1", "Arrow", Way::Export),
    (0, b"SQLite format 3\0", "SQLite", Way::Export),
    (0, b"\x80\x02}", "a Python pickle", Way::Export),
    (0, b"\x80\x03}", "a Python pickle", Way::Export),
    (0, b"\x80\x04\x95", "a Python pickle", Way::Export),
    (0, b"\x80\x05\x95", "a Python pickle", Way::Export),
];

/// Kinds that only the name's ending tells.
const BY_NAME: [(&str, &str, Way); 4] = [
    ("tga", "TGA", Way::Convert),
    ("tfrecord", "TFRecord", Way::Export),
    ("tfrecords", "TFRecord", Way::Export),
    ("mat", "MATLAB", Way::Export),
];

impl Other {
    /// Looks at the first [`HEAD`] bytes of a file, fewer where it is shorter, and at its name.
    pub(crate) fn find(head: &[u8], name: &str) -> Option<Self> {
        let (name, way) = by_brand(head)
            .or_else(|| by_text(head))
            .or_else(|| other_idx(head).map(|name| (name, Way::Export)))
            .or_else(|| {
                let starts = |at: usize, magic: &[u8]| {
                    head.get(at..).is_some_and(|rest| rest.starts_with(magic))
                };
                let row = BY_BYTES.iter().find(|(at, magic, ..)| starts(*at, magic));
                row.map(|&(_, _, name, way)| (name, way))
            })
            .or_else(|| {
                let (_, ending) = name.rsplit_once('.')?;
                let row = BY_NAME.iter().find(|(known, ..)| known.eq_ignore_ascii_case(ending));
                row.map(|&(_, name, way)| (name, way))
            })?;
        Some(Self { name, way })
    }

    /// What it is and what to do: the end of a sentence that begins with the file.
    pub(crate) fn words(self) -> String {
        let (what, todo) = self.way.words();
        format!("is {}, {what}; {todo}", self.name)
    }
}

/// Formats in the container of ISO 14496-12, by their brand: `ftyp` at byte 4.
fn by_brand(head: &[u8]) -> Option<(&'static str, Way)> {
    if head.get(4..8) != Some(b"ftyp") {
        return None;
    }
    let brands = || head.chunks_exact(4).skip(2).take(8);
    Some(match head.get(8..12)? {
        b"avif" | b"avis" => ("AVIF", Way::Convert),
        // The general brand of images: those that it is compatible with follow.
        b"mif1" | b"msf1" if brands().any(|brand| brand == b"avif") => ("AVIF", Way::Convert),
        b"heic" | b"heix" | b"hevc" | b"hevx" | b"heim" | b"heis" | b"mif1" | b"msf1" => {
            ("HEIC", Way::Heic)
        }
        b"crx " => ("a camera's raw format", Way::Render),
        _ => ("MP4 or QuickTime", Way::Video),
    })
}

/// Formats that are text: SVG, and the Netpbm family, whose pixels may be text.
fn by_text(head: &[u8]) -> Option<(&'static str, Way)> {
    if let [b'P', b'1'..=b'7', b' ' | b'\t' | b'\r' | b'\n', ..] = head {
        return Some(("PPM or PGM", Way::Convert));
    }
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
    let has = |what: &[u8]| text.windows(what.len()).any(|w| w.eq_ignore_ascii_case(what));
    let is_markup = text.starts_with(b"<?xml") || text.starts_with(b"<!--");
    (text.starts_with(b"<svg")
        || ((is_markup || text.starts_with(b"<!DOCTYPE svg")) && has(b"<svg")))
    .then_some(("SVG", Way::Render))
}

/// The start of a file as text, for unknown formats.
pub(crate) fn first_bytes(bytes: &[u8]) -> String {
    let head = &bytes[..bytes.len().min(24)];
    match std::str::from_utf8(head) {
        Ok(text) => format!("it begins with the text {text:?}"),
        Err(_) => format!("it begins with the bytes {:02x?}", &head[..head.len().min(4)]),
    }
}

/// Whether a block of 512 bytes is the header of a tar: its checksum, the sum of all bytes with the
/// checksum's own taken as spaces, is right. Old archivers write no magic behind it.
pub(crate) fn is_tar_header(block: &[u8]) -> bool {
    let Some(block) = block.first_chunk::<512>() else { return false };
    let header = tar::Header::from_byte_slice(block);
    let sum = |signed: bool| -> i64 {
        let byte = |&b: &u8| if signed { i64::from(b as i8) } else { i64::from(b) };
        let spaces = 8 * i64::from(b' ');
        block[..148].iter().chain(&block[156..]).map(byte).sum::<i64>() + spaces
    };
    header.cksum().is_ok_and(|stored| [sum(false), sum(true)].contains(&i64::from(stored)))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn every_row_is_found_and_named() {
        for (at, magic, name, _) in BY_BYTES {
            let mut head = vec![b'x'; at];
            head.extend(magic);
            head.resize(HEAD, b'x');
            let found = Other::find(&head, "file").unwrap();
            assert_eq!(found.name, name);
            assert!(found.words().starts_with(&format!("is {name}, ")), "{}", found.words());
            assert!(image_format(&head).is_none(), "{name}");
        }
        let brands = [("heic", "HEIC"), ("mif1", "HEIC"), ("avif", "AVIF"), ("isom", "MP4 or Q")];
        for (brand, name) in brands {
            let head = format!("\0\0\0\x18ftyp{brand}\0\0\0\0mif1");
            assert!(Other::find(head.as_bytes(), "").unwrap().words().contains(name), "{brand}");
        }
        let svg = [
            "<svg xmlns='http://www.w3.org/2000/svg'/>",
            "\u{feff}<?xml version=\"1.0\"?>\n<!-- drawn -->\n<svg/>",
            "<!DOCTYPE svg PUBLIC \"-//W3C//DTD SVG 1.1//EN\" \"\"><svg/>",
        ];
        for text in svg {
            assert_eq!(Other::find(text.as_bytes(), "").unwrap().name, "SVG", "{text}");
        }
        assert_eq!(Other::find(b"P6\n3 4\n255\n", "").unwrap().name, "PPM or PGM");
        assert_eq!(Other::find(b"\0\0\x02\0", "x/A.TGA").unwrap().name, "TGA");
        for text in ["<html><svg/></html>", "Paris", "", "BM"] {
            assert_eq!(Other::find(text.as_bytes(), "a.txt"), None, "{text}");
        }
    }
}
