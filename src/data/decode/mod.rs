//! From the bytes of an image file to its pixels, upright and complete, or the reason why not.
//!
//! ```text
//! bytes ─what is it─▶ format ─header─▶ size ─Budget─▶ memory ─decoder─▶ pixels ─orientation─▶ upright
//! ```
//!
//! Before anything is unpacked, the header's size is checked and memory is taken from a budget that
//! all threads share: a file of a few bytes can claim any size, and on each of many threads.

use std::fs;
use std::io::Cursor;
use std::path::Path;

use image::metadata::Orientation;
use image::{
    DynamicImage, ExtendedColorType, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits,
};

use super::formats::{HEAD, Other, first_bytes, image_format};
use super::store::MAX_FILE;
use crate::error::Error;
use crate::files;
use budget::Budget;

mod budget;
mod color;
mod jpeg;
mod quiet;
mod tiff;

pub(crate) use budget::Share;
#[cfg(any(feature = "hdf5", feature = "parquet"))]
pub(crate) use quiet::caught;

/// The most pixels that an image may claim: 2^27, as of 11,585 x 11,585. A file of a few kilobytes
/// can claim any number, so this is checked in the header, before any memory is taken.
pub const MAX_PIXELS: u64 = 1 << 27;

/// The most pixels of a side. A narrow image of any height would be resized by way of one of the
/// target's width and that height.
const MAX_SIDE: u32 = 1 << 16;

/// Memory for decoding, of all threads together, and the most that one image may take.
static PIXELS: Budget = Budget::new(1 << 30);

/// Memory for the files that are being decoded, as they were read.
static FILES: Budget = Budget::new(MAX_FILE + (64 << 20));

/// What is put aside of a GIF for a frame that does not fill its screen.
const FRAME: u64 = 8 << 20;

/// The most memory that reading a header may take: profiles and texts that stand before the pixels.
const HEADER: u64 = 64 << 20;

/// Extensions of files that claim to be images, those of formats that are not read included: a
/// folder of photographs as HEIC should get that message, not be called empty.
const EXTENSIONS: [&str; 22] = [
    "png", "jpg", "jpeg", "jpe", "jfif", "webp", "gif", "bmp", "dib", "tif", "tiff", "avif",
    "heic", "heif", "jxl", "jp2", "tga", "ppm", "pgm", "pnm", "ico", "psd",
];

/// Extensions of files that are no images and often lie beside them by the thousand: not opened
/// to find out.
const NO_IMAGES: [&str; 9] =
    ["txt", "json", "csv", "tsv", "xml", "html", "md", "npy", "safetensors"];

/// A decoded image and what its file was.
#[derive(Debug)]
pub(crate) struct Decoded {
    pub(crate) image: DynamicImage,
    pub(crate) format: &'static str,
    /// What the file's pixels are, as in `RGB` or `gray, 16 bit`.
    pub(crate) color: String,
    /// The memory that it takes; to be kept until the pixels are gone.
    pub(crate) share: Share,
}

impl Decoded {
    fn upright(
        mut image: DynamicImage,
        format: &'static str,
        color: String,
        orientation: Option<Orientation>,
        share: Share,
    ) -> Self {
        image.apply_orientation(orientation.unwrap_or(Orientation::NoTransforms));
        Self { image, format, color, share }
    }
}

fn extension(name: &str) -> Option<String> {
    let (stem, extension) = name.rsplit_once('.')?;
    (!stem.is_empty() && !extension.contains('/')).then(|| extension.to_ascii_lowercase())
}

/// Whether a file's name claims that it is an image.
pub(crate) fn is_image_name(name: &str) -> bool {
    extension(name).is_some_and(|e| EXTENSIONS.contains(&e.as_str()))
}

/// Whether a file's name says that it is not an image.
pub(crate) fn is_other_name(name: &str) -> bool {
    extension(name).is_some_and(|e| NO_IMAGES.contains(&e.as_str()))
}

/// Whether a file that begins with `head` (32 bytes or more, or all of it) is an image.
pub(crate) fn is_image_head(head: &[u8]) -> bool {
    match image_format(head) {
        // "BM" also begins words; the size of the second header follows 12 bytes later.
        Some((ImageFormat::Bmp, _)) => {
            head.len() >= 18 && [12, 40, 52, 56, 64, 108, 124].contains(&head[14]) && head[15] == 0
        }
        Some(_) => true,
        None => false,
    }
}

/// Memory for a file of `bytes` bytes, to be kept until it is decoded. Taken before that of its
/// pixels, of which no thread waits for it.
pub(crate) fn room_for_file(bytes: u64) -> Share {
    FILES.take(bytes)
}

/// Decodes an image by its content; its name is only for messages. Of several frames or pages the
/// first is decoded. The orientation that a camera noted (EXIF, TIFF) is applied, and so are
/// color profiles.
pub(crate) fn decode(name: &str, bytes: &[u8]) -> Result<Decoded, String> {
    if bytes.is_empty() {
        return Err("is empty".into());
    }
    let Some((format, called)) = image_format(bytes) else {
        let head = &bytes[..bytes.len().min(HEAD)];
        return Err(match Other::find(head, name) {
            Some(other) => other.words(),
            None if bytes.len() < 16 => format!("is truncated: it has {} bytes", bytes.len()),
            None => format!("is no image by its content ({})", first_bytes(bytes)),
        });
    };
    if bytes.len() < 16 {
        return Err(format!("is truncated: it has {} bytes", bytes.len()));
    }
    // Decoders of hostile formats have bugs; one bad file must not end a run of days.
    let decoded = quiet::caught(|| match format {
        ImageFormat::Tiff => tiff::decode(bytes),
        _ => decode_as(bytes, format, called),
    });
    decoded.unwrap_or_else(|| Err(format!("is {called} that the decoder fails on")))
}

/// The pixels of a single image file, upright, as [`super::Source::image`] gives those of a set.
///
/// # Errors
/// [`Error::File`] where it cannot be read or is no image.
pub fn open_image(path: &Path) -> crate::error::Result<DynamicImage> {
    let unreadable = |e: &std::io::Error| Error::file(path, files::cannot("be read", e));
    let metadata = fs::metadata(path).map_err(|e| unreadable(&e))?;
    if metadata.is_dir() {
        return Err(Error::file(path, "is a folder, where an image is needed"));
    }
    if metadata.len() > MAX_FILE {
        let what = format!("is larger than {} MiB: no image that can be used", MAX_FILE >> 20);
        return Err(Error::file(path, what));
    }
    let bytes = fs::read(path).map_err(|e| unreadable(&e))?;
    let decoded = decode(&path.to_string_lossy(), &bytes);
    Ok(decoded.map_err(|what| Error::file(path, what))?.image)
}

/// The bytes that decoding an image of this size takes, at `each` bytes for a pixel, with what is
/// made of it afterwards.
///
/// # Errors
/// Where that is more than any image may take.
fn check_size(format: &str, width: u32, height: u32, each: u128) -> Result<u64, String> {
    if width == 0 || height == 0 {
        return Err(format!("is {format} of {width} x {height} pixels"));
    }
    let pixels = u64::from(width) * u64::from(height);
    if pixels > MAX_PIXELS || width > MAX_SIDE || height > MAX_SIDE {
        return Err(format!("is too large: {width} x {height} pixels"));
    }
    // Turned upright, made 8 bits or laid over white it is in memory twice for a while.
    let bytes = u128::from(pixels) * (each + 4);
    u64::try_from(bytes).ok().filter(|&bytes| bytes <= PIXELS.capacity()).ok_or_else(|| {
        format!(
            "is too large: {width} x {height} pixels of {format} take more than {} MiB to decode",
            PIXELS.capacity() >> 20
        )
    })
}

fn decode_as(bytes: &[u8], format: ImageFormat, name: &'static str) -> Result<Decoded, String> {
    let broken = |e: ImageError| match e {
        ImageError::Unsupported(_) => {
            format!("is {name} of a kind that is not read: {}", one_line(&e))
        }
        ImageError::Limits(_) => format!("is too large: {}", one_line(&e)),
        _ => format!("is damaged or truncated {name}: {}", one_line(&e)),
    };
    // What the decoder needs for a pixel beside the pixel.
    let beside: u64 = match format {
        // Coefficients of three or four components.
        ImageFormat::Jpeg if jpeg::check(bytes)?.progressive => 8,
        // Planes of the coded frame, or its canvas.
        ImageFormat::WebP => 8,
        ImageFormat::Gif => 4,
        _ => 0,
    };
    let limit = |bytes| {
        let mut limits = Limits::default();
        limits.max_alloc = Some(bytes);
        limits
    };
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limit(HEADER));
    let mut decoder = reader.into_decoder().map_err(broken)?;
    let (width, height) = decoder.dimensions();
    if format == ImageFormat::WebP {
        webp_fits(bytes, width, height)?;
    }
    let pixel = u128::from(decoder.color_type().bytes_per_pixel());
    let cost = check_size(name, width, height, pixel + u128::from(beside))?;
    // A GIF's frame may be larger than its screen.
    let frame = if format == ImageFormat::Gif { FRAME } else { 0 };
    let share = PIXELS.take(cost.saturating_add(frame));
    let pixels = u64::from(width) * u64::from(height);
    decoder.set_limits(limit(pixels * beside + frame)).map_err(broken)?;
    let color = color_name(decoder.original_color_type());
    let mut orientation = decoder.orientation().map_err(broken)?;
    // One that is damaged is ignored, as viewers do.
    let profile = decoder.icc_profile().ok().flatten();
    let mut image = DynamicImage::from_decoder(decoder).map_err(broken)?;
    if let Some(profile) = profile {
        color::to_srgb(&mut image, &profile);
    }
    match format {
        ImageFormat::Png if orientation == Orientation::NoTransforms => {
            orientation = png_orientation(bytes).unwrap_or(orientation);
        }
        ImageFormat::Bmp => without_empty_alpha(&mut image),
        _ => {}
    }
    Ok(Decoded::upright(image, name, color, Some(orientation), share))
}

/// The orientation of a PNG whose eXIf chunk lies behind its pixels, where the decoder does not look:
/// PNG allows it anywhere before the end.
fn png_orientation(bytes: &[u8]) -> Option<Orientation> {
    let mut at = 8;
    loop {
        let head = bytes.get(at..at + 8)?;
        let len = u32::from_be_bytes(head[..4].try_into().ok()?) as usize;
        let end = (at + 8).checked_add(len)?;
        if &head[4..] == b"eXIf" {
            let mut sum = flate2::Crc::new();
            sum.update(bytes.get(at + 4..end)?);
            let stored = bytes.get(end..end.checked_add(4)?)?;
            let right = stored == sum.sum().to_be_bytes();
            return Orientation::from_exif_chunk(&bytes[at + 8..end]).filter(|_| right);
        }
        at = end.checked_add(4)?;
    }
}

/// Whether the coded frames of a WebP are no larger than it says it is itself: each is unpacked before
/// the decoder compares. RIFF: chunks of a name, a length and, padded to an even number, so many bytes.
fn webp_fits(bytes: &[u8], width: u32, height: u32) -> Result<(), String> {
    let mut at = 12_usize;
    while let Some(head) = bytes.get(at..at.saturating_add(8)) {
        let len = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
        let data = &bytes[at + 8..];
        let word = |at: usize| data.get(at..at + 2).map(|b| u16::from_le_bytes([b[0], b[1]]));
        let size = match &head[..4] {
            // A frame of an animation: its own chunks follow after 16 bytes.
            b"ANMF" => {
                at += 8 + 16;
                continue;
            }
            b"VP8 " => word(6).zip(word(8)).map(|(w, h)| (w & 0x3fff, h & 0x3fff)),
            b"VP8L" => word(1).zip(word(3)).map(|(a, b)| {
                let bits = u32::from(a) | u32::from(b) << 16;
                ((bits & 0x3fff) as u16 + 1, (bits >> 14 & 0x3fff) as u16 + 1)
            }),
            _ => None,
        };
        if size.is_some_and(|(w, h)| u32::from(w) > width || u32::from(h) > height) {
            return Err("is damaged WebP: a frame is larger than the image".into());
        }
        at = at.saturating_add(8).saturating_add(len).saturating_add(len % 2);
    }
    Ok(())
}

/// A BMP whose alpha is 0 everywhere has none: programs that know no alpha leave the fourth byte
/// empty, under a header that says it is alpha.
fn without_empty_alpha(image: &mut DynamicImage) {
    if let DynamicImage::ImageRgba8(image) = image
        && image.pixels().all(|pixel| pixel[3] == 0)
    {
        image.pixels_mut().for_each(|pixel| pixel[3] = 255);
    }
}

fn one_line(error: &dyn std::error::Error) -> String {
    error.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}

fn color_name(color: ExtendedColorType) -> String {
    use ExtendedColorType as C;
    let (name, bits) = match color {
        C::L1 => ("gray", 1),
        C::L2 => ("gray", 2),
        C::L4 => ("gray", 4),
        C::L8 | C::A8 => ("gray", 8),
        C::L16 => ("gray", 16),
        C::La8 => ("gray with alpha", 8),
        C::La16 => ("gray with alpha", 16),
        C::Rgb8 | C::Bgr8 => ("RGB", 8),
        C::Rgb16 => ("RGB", 16),
        C::Rgba8 | C::Bgra8 => ("RGBA", 8),
        C::Rgba16 => ("RGBA", 16),
        C::Cmyk8 => ("CMYK", 8),
        C::Cmyk16 => ("CMYK", 16),
        other => return format!("{other:?}"),
    };
    if bits == 8 { name.into() } else { format!("{name}, {bits} bit") }
}
