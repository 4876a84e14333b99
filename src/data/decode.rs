//! From the bytes of a picture file to its pixels, upright and in full, or one sentence on why not.

use std::fs;
use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use image::{
    DynamicImage, ExtendedColorType, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits,
};

use super::store::MAX_FILE;
use super::tiff_palette::PaletteTiff;
use crate::error::Error;
use crate::files;

/// The most pixels that a picture may claim: 2^27, as of 11,585 x 11,585. A file of a few kilobytes
/// can claim any number, so this is checked in the header, before any memory is taken.
pub const MAX_PIXELS: u64 = 1 << 27;

/// The most memory that the decoder of one picture may take.
const MAX_ALLOC: u64 = 1 << 30;

/// The formats that are read, with what they are called in messages.
pub(crate) const FORMATS: [(ImageFormat, &str); 6] = [
    (ImageFormat::Png, "PNG"),
    (ImageFormat::Jpeg, "JPEG"),
    (ImageFormat::WebP, "WebP"),
    (ImageFormat::Gif, "GIF"),
    (ImageFormat::Bmp, "BMP"),
    (ImageFormat::Tiff, "TIFF"),
];

/// Extensions of files that claim to be pictures, those of formats that are not read included: a
/// folder of photographs as HEIC should be told so, not called empty.
const EXTENSIONS: [&str; 22] = [
    "png", "jpg", "jpeg", "jpe", "jfif", "webp", "gif", "bmp", "dib", "tif", "tiff", "avif",
    "heic", "heif", "jxl", "jp2", "tga", "ppm", "pgm", "pnm", "ico", "psd",
];

/// Extensions of files that are no pictures and often lie beside them by the thousand: not opened
/// to find out.
const NO_PICTURES: [&str; 9] =
    ["txt", "json", "csv", "tsv", "xml", "html", "md", "npy", "safetensors"];

/// A decoded picture and what its file was.
#[derive(Debug)]
pub(crate) struct Decoded {
    pub(crate) picture: DynamicImage,
    pub(crate) format: &'static str,
    pub(crate) colour: ExtendedColorType,
}

fn extension(name: &str) -> Option<String> {
    let (stem, extension) = name.rsplit_once('.')?;
    (!stem.is_empty() && !extension.contains('/')).then(|| extension.to_ascii_lowercase())
}

/// Whether a file's name claims that it is a picture.
pub(crate) fn is_picture_name(name: &str) -> bool {
    extension(name).is_some_and(|e| EXTENSIONS.contains(&e.as_str()))
}

/// Whether a file's name says that it is none.
pub(crate) fn is_other_name(name: &str) -> bool {
    extension(name).is_some_and(|e| NO_PICTURES.contains(&e.as_str()))
}

/// Whether a file that begins with `head` (32 bytes or more, or all of it) is a picture.
pub(crate) fn is_picture_head(head: &[u8]) -> bool {
    match image::guess_format(head) {
        // "BM" also begins words; the size of the second header follows 12 bytes later.
        Ok(ImageFormat::Bmp) => {
            head.len() >= 18 && [12, 40, 52, 56, 64, 108, 124].contains(&head[14]) && head[15] == 0
        }
        Ok(format) => format_name(format).is_some(),
        Err(_) => false,
    }
}

fn format_name(format: ImageFormat) -> Option<&'static str> {
    FORMATS.iter().find(|(f, _)| *f == format).map(|&(_, name)| name)
}

/// Decodes a picture by its content; its name plays no part. Of several frames or pages the first
/// is taken. The orientation that a camera noted (EXIF, TIFF) is applied. Colour profiles are not.
pub(crate) fn decode(bytes: &[u8]) -> Result<Decoded, String> {
    if bytes.is_empty() {
        return Err("is empty".into());
    }
    if bytes.len() < 16 {
        return Err(format!("is truncated: it has {} bytes", bytes.len()));
    }
    let Some(format) = image::guess_format(bytes).ok() else {
        return Err(format!("is no picture by its content ({})", first_bytes(bytes)));
    };
    let Some(name) = format_name(format) else {
        return Err(format!("is {format:?}, which is not read; convert it to PNG or JPEG"));
    };
    if format == ImageFormat::Jpeg && !jpeg_is_complete(bytes) {
        // The decoder would fill what is missing with grey and say nothing.
        return Err("is truncated: the JPEG stops before its end marker".into());
    }
    // Decoders of hostile formats have bugs; one bad file must not end a run of days.
    catch_unwind(AssertUnwindSafe(|| decode_as(bytes, format, name)))
        .unwrap_or_else(|_| Err(format!("is {name} that the decoder fails on")))
}

/// The pixels of a single picture file, upright, as [`super::Source::picture`] gives those of a set.
///
/// # Errors
/// [`Error::File`] where it cannot be read or is no picture.
pub fn open_picture(path: &Path) -> crate::error::Result<DynamicImage> {
    let unreadable = |e: &std::io::Error| Error::file(path, files::cannot("be read", e));
    let metadata = fs::metadata(path).map_err(|e| unreadable(&e))?;
    if metadata.is_dir() {
        return Err(Error::file(path, "is a folder, where a picture is needed"));
    }
    if metadata.len() > MAX_FILE {
        let what = format!("is larger than {} MiB: no picture that can be used", MAX_FILE >> 20);
        return Err(Error::file(path, what));
    }
    let bytes = fs::read(path).map_err(|e| unreadable(&e))?;
    Ok(decode(&bytes).map_err(|what| Error::file(path, what))?.picture)
}

fn decode_as(bytes: &[u8], format: ImageFormat, name: &'static str) -> Result<Decoded, String> {
    if format == ImageFormat::Tiff
        && let Some(tiff) = PaletteTiff::find(bytes)
    {
        let indices = decode_pixels(&tiff.grey, format, name)?;
        return match indices.picture {
            DynamicImage::ImageLuma8(picture) => Ok(Decoded {
                picture: DynamicImage::ImageRgb8(tiff.colour(&picture)),
                format: name,
                colour: ExtendedColorType::Rgb8,
            }),
            _ => Err(format!("is {name} with a palette of other than 8 bits, which is not read")),
        };
    }
    decode_pixels(bytes, format, name)
}

fn decode_pixels(bytes: &[u8], format: ImageFormat, name: &'static str) -> Result<Decoded, String> {
    let broken = |e: ImageError| match e {
        ImageError::Unsupported(_) => {
            format!("is {name} of a kind that is not read: {}", one_line(&e))
        }
        ImageError::Limits(_) => format!("is too large: {}", one_line(&e)),
        _ => format!("is damaged or truncated {name}: {}", one_line(&e)),
    };
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_ALLOC);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(broken)?;
    let (width, height) = decoder.dimensions();
    if width == 0 || height == 0 {
        return Err(format!("is {name} of {width} x {height} pixels"));
    }
    if u64::from(width) * u64::from(height) > MAX_PIXELS || decoder.total_bytes() > MAX_ALLOC {
        return Err(format!("is too large: {width} x {height} pixels"));
    }
    let colour = decoder.original_color_type();
    let orientation = decoder.orientation().map_err(broken)?;
    let mut picture = DynamicImage::from_decoder(decoder).map_err(broken)?;
    picture.apply_orientation(orientation);
    Ok(Decoded { picture, format: name, colour })
}

fn one_line(error: &ImageError) -> String {
    error.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}

fn first_bytes(bytes: &[u8]) -> String {
    let head = &bytes[..bytes.len().min(24)];
    match std::str::from_utf8(head) {
        Ok(text) => format!("it begins with the text {text:?}"),
        Err(_) => format!("it begins with the bytes {:02x?}", &head[..head.len().min(4)]),
    }
}

/// Whether a JPEG goes on to its end marker: walks the segments by their lengths and the coded
/// data by its markers (ITU T.81, B.1.1). Bytes after the end marker are nobody's business.
fn jpeg_is_complete(bytes: &[u8]) -> bool {
    let mut at = 2;
    loop {
        // To the next marker: FF and neither a stuffed zero, a restart nor a fill byte.
        let Some(found) = bytes.get(at..).and_then(|rest| rest.iter().position(|&b| b == 0xff))
        else {
            return false;
        };
        at += found + 1;
        match bytes.get(at) {
            None => return false,
            Some(0xd9) => return true,
            Some(0xff) => {}
            // Stuffing, TEM, restarts, a second start: no length follows.
            Some(0x00 | 0x01 | 0xd0..=0xd8) => at += 1,
            Some(_) => {
                let Some(&[high, low]) = bytes.get(at + 1..at + 3) else { return false };
                at += 1 + usize::from(u16::from_be_bytes([high, low])).max(2);
            }
        }
    }
}
