//! TIFF: the `tiff` crate unpacks the samples; what they stand for is found out here.
//!
//! ```text
//! file ─Directory─▶ what it is, or a reason ─tiff crate─▶ samples ─Levels─▶ 8 or 16 bits ─▶ pixels
//! ```
//!
//! Read are gray and RGB of 1, 2, 4, 8 and 16 bits (RGB from 8 on) and of floats from 0 to 1, with
//! alpha or without; palettes; CMYK; YCbCr as JPEG or of full resolution. Colors that are multiplied
//! by alpha (ExtraSamples 1) are divided by it. Floats beyond 0 to 1 are refused: nothing in the file
//! says which of them is white.

use std::io::Cursor;

use image::metadata::Orientation;
use image::{DynamicImage, ImageBuffer, RgbImage};
use tiff::decoder::{BufferLayoutPreference, Decoder, DecodingResult, Limits};
use tiff::{ColorType, TiffError};

use super::{Decoded, PIXELS, check_size, jpeg};

mod directory;
mod levels;

use directory::{Directory, tag};
use levels::Levels;

/// PhotometricInterpretation, section 8, and later supplements.
mod photometric {
    pub(super) const WHITE_IS_ZERO: u64 = 0;
    pub(super) const BLACK_IS_ZERO: u64 = 1;
    pub(super) const RGB: u64 = 2;
    pub(super) const PALETTE: u64 = 3;
    pub(super) const CMYK: u64 = 5;
    pub(super) const YCBCR: u64 = 6;
}

const JPEG: u64 = 7;

/// How the decoder's pixels are to be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Alpha {
    None,
    Plain,
    /// Colors are multiplied by it.
    Multiplied,
}

/// Decodes the first image of a file.
pub(super) fn decode(bytes: &[u8]) -> Result<Decoded, String> {
    let directory = Directory::first(bytes).ok_or("is damaged or truncated TIFF: no directory")?;
    if let Some(what) = unread(&directory) {
        return Err(format!("is TIFF {what}"));
    }
    let kind = directory.value_or(tag::PHOTOMETRIC, photometric::BLACK_IS_ZERO);
    let bits = directory.value_or(tag::BITS_PER_SAMPLE, 1);
    let samples = directory.value_or(tag::SAMPLES_PER_PIXEL, 1);
    let size = |tag| {
        let side = directory.value_or(tag, 0);
        u32::try_from(side).map_err(|_| format!("is too large: {side} pixels a side"))
    };
    let (width, height) = (size(tag::WIDTH)?, size(tag::HEIGHT)?);
    // As unpacked; once more where a JPEG unpacks all at once; and the 8 or 16 bits made of it.
    let unpacked = u128::from(samples) * u128::from(bits.div_ceil(8));
    let each = unpacked * if is_jpeg(&directory) { 2 } else { 1 } + 8;
    let cost = check_size("TIFF", width, height, each)?;
    let share = PIXELS.take(cost);

    // The crate refuses palettes: their indices are read as gray levels.
    let patched = match kind {
        photometric::PALETTE => {
            let gray = directory.with_short(tag::PHOTOMETRIC, photometric::BLACK_IS_ZERO as u16);
            Some(gray.ok_or("is damaged TIFF: its kind is no short number")?)
        }
        _ => None,
    };
    let mut limits = Limits::default();
    limits.decoding_buffer_size = usize::try_from(PIXELS.capacity()).unwrap_or(usize::MAX);
    limits.intermediate_buffer_size = limits.decoding_buffer_size;
    let read = patched.as_deref().unwrap_or(bytes);
    let mut decoder = Decoder::new(Cursor::new(read)).map_err(|e| broken(&e))?.with_limits(limits);
    // After the crate has compared the number of chunks with the size.
    check_chunks(&directory, bytes)?;
    let color = decoder.colortype().map_err(|e| broken(&e))?;
    let mut samples = DecodingResult::U8(Vec::new());
    let layout = decoder.read_image_to_buffer(&mut samples).map_err(|e| broken(&e))?;
    drop(decoder);
    drop(patched);

    let size = (width, height);
    let channels = usize::from(color.num_samples());
    let (image, color) = if kind == photometric::PALETTE {
        (palette(&directory, &samples, size, bits)?, named("palette", bits, false))
    } else {
        let is_float = matches!(
            samples,
            DecodingResult::F16(_) | DecodingResult::F32(_) | DecodingResult::F64(_)
        );
        let levels = Levels::of(samples, (size, channels, bits))?;
        let levels = interleaved(levels, &layout, size, channels);
        let (image, name) = pixels(&directory, color, levels, size)?;
        (image, named(name, bits, is_float))
    };
    let orientation = directory.value(tag::ORIENTATION).and_then(|o| u8::try_from(o).ok());
    let orientation = orientation.and_then(Orientation::from_exif);
    Ok(Decoded::upright(image, "TIFF", color, orientation, share))
}

fn is_jpeg(directory: &Directory<'_>) -> bool {
    directory.value(tag::COMPRESSION) == Some(JPEG)
}

/// What is known and not read, as the end of `is TIFF ...`.
fn unread(directory: &Directory<'_>) -> Option<String> {
    let raw = "whose first image is only a preview, as a camera's raw files have it; develop it and \
               export PNG or JPEG";
    let preview = directory.value_or(tag::NEW_SUBFILE_TYPE, 0) & 1 == 1;
    if preview || directory.value(tag::DNG_VERSION).is_some() {
        return Some(raw.into());
    }
    let unread = |what: &str| Some(format!("{what}, which is not read; convert it to PNG or JPEG"));
    match directory.value_or(tag::COMPRESSION, 1) {
        1 | 4 | 5 | JPEG | 8 | 32_773 | 32_946 => {}
        2 | 3 => return unread("compressed as a fax of group 3"),
        6 => return unread("compressed by the old kind of JPEG"),
        33_003 | 33_005 | 34_712 => return unread("compressed by JPEG 2000"),
        34_661 | 9 | 10 => return unread("compressed by JBIG"),
        34_887 => return unread("compressed by LERC"),
        34_925 => return unread("compressed by LZMA"),
        50_000 => return unread("compressed by Zstandard"),
        50_001 => return unread("compressed by WebP"),
        50_002 => return unread("compressed by JPEG XL"),
        other => return unread(&format!("compressed in a way of number {other}")),
    }
    match directory.value_or(tag::PHOTOMETRIC, photometric::BLACK_IS_ZERO) {
        photometric::WHITE_IS_ZERO | photometric::BLACK_IS_ZERO | photometric::RGB => {}
        photometric::PALETTE | photometric::YCBCR => {}
        photometric::CMYK => match directory.value_or(tag::INK_SET, 1) {
            1 => {}
            _ => return unread("of other inks than cyan, magenta, yellow and black"),
        },
        4 => return unread("that holds a mask"),
        8..=10 => return unread("in Lab colors"),
        32_803 | 34_892 => return Some(raw.into()),
        32_844 | 32_845 => return unread("in logarithmic colors (LogLuv)"),
        other => return unread(&format!("in colors of number {other}")),
    }
    let bits = directory.value_or(tag::BITS_PER_SAMPLE, 1);
    match directory.value_or(tag::SAMPLE_FORMAT, 1) {
        1 if bits > 16 => unread(&format!("of {bits}-bit integers")),
        1 if ![1, 2, 4, 8, 16].contains(&bits) => unread(&format!("of {bits} bits a sample")),
        1 | 3 => None,
        2 => unread("of signed integers"),
        _ => unread("of samples without a meaning"),
    }
}

/// Whether strips or tiles lie beside one another rather than over each other, and, where they are
/// JPEG, each is one that is read rightly and no larger than its place.
fn check_chunks(directory: &Directory<'_>, bytes: &[u8]) -> Result<(), String> {
    let (offsets, counts, wide, high) = if directory.value(tag::TILE_OFFSETS).is_some() {
        (tag::TILE_OFFSETS, tag::TILE_BYTE_COUNTS, tag::TILE_WIDTH, tag::TILE_LENGTH)
    } else if directory.value(tag::ROWS_PER_STRIP).is_some() {
        (tag::STRIP_OFFSETS, tag::STRIP_BYTE_COUNTS, tag::WIDTH, tag::ROWS_PER_STRIP)
    } else {
        (tag::STRIP_OFFSETS, tag::STRIP_BYTE_COUNTS, tag::WIDTH, tag::HEIGHT)
    };
    let sum = directory.values(counts).try_fold(0_u64, u64::checked_add);
    // Equal tiles may be stored once; more than a few times over it is a bomb.
    if sum.is_none_or(|sum| sum > 8 * bytes.len() as u64) {
        return Err("is damaged TIFF: its strips or tiles lie over each other".into());
    }
    if !is_jpeg(directory) {
        return Ok(());
    }
    let (wide, high) = (directory.value_or(wide, 0), directory.value_or(high, 0));
    for (from, len) in directory.values(offsets).zip(directory.values(counts)) {
        let chunk = || {
            let from = usize::try_from(from).ok()?;
            bytes.get(from..from.checked_add(usize::try_from(len).ok()?)?)
        };
        let chunk = chunk().ok_or("is damaged or truncated TIFF: a strip or tile is missing")?;
        let chunk = jpeg::check(chunk)?;
        if u64::from(chunk.width) > wide || u64::from(chunk.height) > high {
            return Err("is damaged TIFF: a strip or tile is larger than its place".into());
        }
    }
    Ok(())
}

/// Planes one behind the other, as samples of a pixel beside one another.
fn interleaved(
    levels: Levels,
    layout: &BufferLayoutPreference,
    (width, height): (u32, u32),
    channels: usize,
) -> Levels {
    if layout.planes < 2 {
        levels
    } else {
        levels.interleaved(width as usize * height as usize, channels)
    }
}

/// The image of the samples, and what they are called.
fn pixels(
    directory: &Directory<'_>,
    color: ColorType,
    levels: Levels,
    (width, height): (u32, u32),
) -> Result<(DynamicImage, &'static str), String> {
    let alpha = match directory.value(tag::EXTRA_SAMPLES) {
        Some(1) => Alpha::Multiplied,
        Some(2) => Alpha::Plain,
        _ => Alpha::None,
    };
    let divided = |levels: Levels, channels| match alpha {
        Alpha::Multiplied => levels.divided_by_alpha(channels),
        Alpha::None | Alpha::Plain => levels,
    };
    /// An image of 8 or 16 bits.
    macro_rules! image {
        ($levels:expr, $eight:ident, $sixteen:ident) => {
            match $levels {
                Levels::Eight(v) => {
                    ImageBuffer::from_raw(width, height, v).map(DynamicImage::$eight)
                }
                Levels::Sixteen(v) => {
                    ImageBuffer::from_raw(width, height, v).map(DynamicImage::$sixteen)
                }
            }
        };
    }
    let (image, name) = match color {
        ColorType::Gray(_) => (image!(levels, ImageLuma8, ImageLuma16), "gray"),
        ColorType::Multiband { num_samples: 2, .. } if alpha != Alpha::None => {
            let levels = divided(levels, 2);
            (image!(levels, ImageLumaA8, ImageLumaA16), "gray with alpha")
        }
        ColorType::Multiband { num_samples, .. } => {
            return Err(format!(
                "is TIFF of {num_samples} samples a pixel that are no colors, which is not read; \
                 convert it to PNG or JPEG"
            ));
        }
        ColorType::RGB(_) => (image!(levels, ImageRgb8, ImageRgb16), "RGB"),
        ColorType::RGBA(_) => (image!(divided(levels, 4), ImageRgba8, ImageRgba16), "RGBA"),
        ColorType::CMYK(_) => (image!(levels.cmyk_to_rgb(4), ImageRgb8, ImageRgb16), "CMYK"),
        // As Photoshop's channels, whatever they hold: the inks are those of the image.
        ColorType::CMYKA(_) => (image!(levels.cmyk_to_rgb(5), ImageRgb8, ImageRgb16), "CMYK"),
        ColorType::YCbCr(8) => {
            let Levels::Eight(levels) = levels else {
                return Err("is damaged TIFF: its samples are not of 8 bits".into());
            };
            let rgb = ycbcr(directory, levels);
            (RgbImage::from_raw(width, height, rgb).map(DynamicImage::ImageRgb8), "YCbCr")
        }
        other => {
            return Err(format!(
                "is TIFF in colors that are not read ({other:?}); convert it to PNG or JPEG"
            ));
        }
    };
    let image = image.ok_or("is damaged TIFF: it has fewer samples than pixels")?;
    Ok((image, name))
}

/// Section 21: RGB of luma and chroma, by the file's coefficients and reference levels.
fn ycbcr(directory: &Directory<'_>, mut levels: Vec<u8>) -> Vec<u8> {
    let coefficient = |i| directory.rational(tag::YCBCR_COEFFICIENTS, i);
    let [r, g, b] = match (coefficient(0), coefficient(1), coefficient(2)) {
        (Some(r), Some(g), Some(b)) if g > 0.0 => [r, g, b],
        _ => [0.299, 0.587, 0.114],
    };
    let reference = |i: usize, default: f32| {
        directory.rational(tag::REFERENCE_BLACK_WHITE, i).unwrap_or(default)
    };
    let defaults = [[0.0, 255.0], [128.0, 255.0], [128.0, 255.0]];
    let ranges: [[f32; 2]; 3] = std::array::from_fn(|c| {
        let [black, white] = defaults[c];
        let found = [reference(2 * c, black), reference(2 * c + 1, white)];
        if found[1] > found[0] { found } else { defaults[c] }
    });
    let full = |level: u8, c: usize, span: f32| {
        let [black, white] = ranges[c];
        (f32::from(level) - black) * span / (white - black)
    };
    for pixel in levels.chunks_exact_mut(3) {
        let y = full(pixel[0], 0, 255.0);
        let (cb, cr) = (full(pixel[1], 1, 127.0), full(pixel[2], 2, 127.0));
        let red = y + cr * (2.0 - 2.0 * r);
        let blue = y + cb * (2.0 - 2.0 * b);
        let green = (y - b * blue - r * red) / g;
        for (to, level) in pixel.iter_mut().zip([red, green, blue]) {
            *to = level.round().clamp(0.0, 255.0) as u8;
        }
    }
    levels
}

/// Section 5: ColorMap holds all reds, then all greens, then all blues, 16 bits each. Of these the
/// upper byte is taken: writers fill both with the same or the lower with zero.
fn palette(
    directory: &Directory<'_>,
    samples: &DecodingResult,
    (width, height): (u32, u32),
    bits: u64,
) -> Result<DynamicImage, String> {
    let DecodingResult::U8(samples) = samples else {
        return Err(format!(
            "is TIFF with a palette of {bits} bits, which is not read; convert it to PNG or JPEG"
        ));
    };
    let bits = bits as usize;
    let colors = 1 << bits;
    let map: Vec<u8> =
        directory.values(tag::COLOR_MAP).take(3 * colors).map(|level| (level >> 8) as u8).collect();
    if map.len() < 3 * colors {
        return Err("is damaged TIFF: its palette is missing or too short".into());
    }
    let palette: Vec<[u8; 3]> =
        (0..colors).map(|i| [map[i], map[colors + i], map[2 * colors + i]]).collect();
    let mut rgb = Vec::with_capacity(width as usize * height as usize * 3);
    levels::unpacked(samples, width as usize, bits, |index| {
        rgb.extend(palette[usize::from(index)]);
    });
    RgbImage::from_raw(width, height, rgb)
        .map(DynamicImage::ImageRgb8)
        .ok_or_else(|| "is damaged TIFF: it has fewer samples than pixels".into())
}

fn named(name: &str, bits: u64, is_float: bool) -> String {
    match (is_float, bits) {
        (true, bits) => format!("{name}, {bits}-bit float"),
        (false, 8) => name.into(),
        (false, bits) => format!("{name}, {bits} bit"),
    }
}

fn broken(error: &TiffError) -> String {
    let line = super::one_line(error);
    match error {
        TiffError::UnsupportedError(_) => {
            format!("is TIFF of a kind that is not read ({line}); convert it to PNG or JPEG")
        }
        TiffError::LimitsExceeded => "is too large: TIFF that unpacks to more than is kept".into(),
        _ => format!("is damaged or truncated TIFF: {line}"),
    }
}
