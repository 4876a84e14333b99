//! Palette TIFF, which the `tiff` crate does not read (0.11: "Photometric interpretation RGBPalette
//! ... is unsupported"): the file is read as if its indices were grey levels, and they are looked up
//! afterwards.
//!
//! TIFF 6.0, section 5: PhotometricInterpretation (tag 262) is 3 in place of 1 for grey; ColorMap
//! (tag 320) holds all reds, then all greens, then all blues, 16 bits each.

const PHOTOMETRIC: u16 = 262;
const COLOR_MAP: u16 = 320;
const SHORT: u16 = 3;

/// A TIFF's palette and its bytes with grey in the palette's place.
#[derive(Debug)]
pub(crate) struct PaletteTiff {
    pub(crate) grey: Vec<u8>,
    palette: Vec<[u8; 3]>,
}

impl PaletteTiff {
    /// `None` where the first picture of the file has no palette of 256 colours.
    pub(crate) fn find(bytes: &[u8]) -> Option<Self> {
        let little = bytes.starts_with(b"II");
        let short = |at: usize| -> Option<u16> {
            let pair = bytes.get(at..at.checked_add(2)?)?.try_into().ok()?;
            Some(if little { u16::from_le_bytes(pair) } else { u16::from_be_bytes(pair) })
        };
        let long = |at: usize| -> Option<usize> {
            let (a, b) = (usize::from(short(at)?), usize::from(short(at + 2)?));
            Some(if little { b << 16 | a } else { a << 16 | b })
        };
        let directory = long(4)?;
        let entry = |tag: u16| -> Option<usize> {
            (0..usize::from(short(directory)?))
                .map(|i| directory + 2 + 12 * i)
                .find(|&at| short(at) == Some(tag) && short(at + 2) == Some(SHORT))
        };
        let photometric = entry(PHOTOMETRIC)?;
        if short(photometric + 8)? != 3 {
            return None;
        }
        let map = entry(COLOR_MAP)?;
        if long(map + 4)? != 3 * 256 {
            return None;
        }
        let from = long(map + 8)?;
        // The upper byte of 16 bits: writers fill both with the same or the lower with zero.
        let level = |i: usize| Some((short(from.checked_add(2 * i)?)? >> 8) as u8);
        let palette = (0..256)
            .map(|i| Some([level(i)?, level(256 + i)?, level(512 + i)?]))
            .collect::<Option<_>>()?;
        let mut grey = bytes.to_vec();
        grey[photometric + 8..photometric + 10].copy_from_slice(&if little {
            1_u16.to_le_bytes()
        } else {
            1_u16.to_be_bytes()
        });
        Some(Self { grey, palette })
    }

    /// The colours of a picture of indices.
    pub(crate) fn colour(&self, indices: &image::GrayImage) -> image::RgbImage {
        image::RgbImage::from_fn(indices.width(), indices.height(), |x, y| {
            image::Rgb(self.palette[usize::from(indices.get_pixel(x, y).0[0])])
        })
    }
}
