//! From a decoded image to the bytes that are fed to a network: channels, crop, size.
//!
//! Transparent images are laid over white where the target has no alpha channel. Gray is the
//! luma of Rec. 709. Resizing works on the coded (gamma) values, with a filter that widens as the
//! image shrinks, so that no pixel is left out; alpha is multiplied in for it and out again.

use std::cell::RefCell;

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::{U8, U8x3, U8x4};
use fast_image_resize::{FilterType, PixelTrait, ResizeAlg, ResizeOptions, Resizer};
use image::DynamicImage;
use serde::{Deserialize, Serialize};

use crate::config::{config, named};
use crate::error::{Error, Result};

/// What to do with an image whose aspect ratio differs from the target's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Crop {
    /// Stretch the whole image to the target.
    None,
    /// Take the largest centered rectangle that has the target's aspect.
    #[default]
    Center,
    /// Take a rectangle of that size at a place drawn anew each epoch.
    Random,
}

/// How images are resized.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Filter {
    /// The nearest pixel: for pixel art.
    Nearest,
    /// Triangle.
    Bilinear,
    /// Catmull-Rom cubic.
    #[default]
    Bicubic,
    /// Lanczos with three lobes: sharpest, rings a little at hard edges.
    Lanczos,
}

named!(Crop, Filter);

config! {
    /// How images are prepared: as `height * width * channels` bytes, channels last.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Prepare;
    /// [`Prepare`] as far as it is set, but for the target, which the networks decide.
    pub struct PrepareOptions stored Required;
    flags "Images" {
        /// Images of another aspect ratio: crop at the center, stretch, or crop at random
        crop: Crop = Crop::Center, "center|none|random";
        /// Resampling filter: nearest (for pixel art), bilinear, bicubic, lanczos (sharpest, rings
        /// a little at hard edges)
        filter: Filter = Filter::Bicubic, "nearest|bilinear|bicubic|lanczos" {
            flag: Some("--resize"),
        };
        /// Mirror half of the images, left to right
        ///
        /// Chosen at random again each epoch.
        flip: bool = false, "true|false";
    }
    others {
        /// Rows of the target.
        height: usize = 64;
        /// Columns of the target.
        width: usize = 64;
        /// 1 (grayscale), 3 (RGB, transparent parts white) or 4 (RGB and alpha, not multiplied).
        channels: usize = 3;
    }
}

/// A rectangle of an image, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rect {
    x: u32,
    y: u32,
    width: u32,
    height: u32,
}

impl Prepare {
    /// The largest target, in pixels a side.
    pub const MAX_SIDE: usize = 4096;

    /// Whether the target can be made at all.
    ///
    /// # Errors
    /// [`Error::Config`] for a size of 0 or beyond [`Self::MAX_SIDE`], or other than 1, 3 or 4
    /// channels.
    pub fn check(&self) -> Result<()> {
        let sides = 1..=Self::MAX_SIDE;
        if !sides.contains(&self.height) || !sides.contains(&self.width) {
            return Err(Error::config(
                "size",
                format!(
                    "{} x {} pixels cannot be made; each side must be 1 to {}",
                    self.height,
                    self.width,
                    Self::MAX_SIDE
                ),
            ));
        }
        if ![1, 3, 4].contains(&self.channels) {
            return Err(Error::config(
                "channels",
                format!("images have 1, 3 or 4 channels, not {}", self.channels),
            ));
        }
        Ok(())
    }

    /// Bytes of a prepared image.
    #[must_use]
    pub fn len(&self) -> usize {
        self.height * self.width * self.channels
    }

    /// Whether a prepared image has no bytes, which [`Self::check`] refuses.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Prepares one image. `chance` is a random number that places a random crop; other crops
    /// ignore it. Does not flip: see [`mirror`].
    #[must_use]
    pub fn apply(&self, image: DynamicImage, chance: u32) -> Vec<u8> {
        let (width, height) = (image.width(), image.height());
        let rect = self.rect(width, height, chance);
        let pixels = self.pixels(image);
        if (rect.width, rect.height) == (self.width as u32, self.height as u32) {
            return cut(&pixels, width, rect, self.channels);
        }
        let alg = match self.filter {
            Filter::Nearest => ResizeAlg::Nearest,
            Filter::Bilinear => ResizeAlg::Convolution(FilterType::Bilinear),
            Filter::Bicubic => ResizeAlg::Convolution(FilterType::CatmullRom),
            Filter::Lanczos => ResizeAlg::Convolution(FilterType::Lanczos3),
        };
        let options = ResizeOptions::new().resize_alg(alg).crop(
            f64::from(rect.x),
            f64::from(rect.y),
            f64::from(rect.width),
            f64::from(rect.height),
        );
        // Generic over the pixel type: a choice at run time would link code for all thirteen types.
        match self.channels {
            1 => self.resize::<U8>(&pixels, [width, height], &options),
            4 => self.resize::<U8x4>(&pixels, [width, height], &options),
            _ => self.resize::<U8x3>(&pixels, [width, height], &options),
        }
    }

    fn resize<P: PixelTrait>(
        &self,
        pixels: &[u8],
        [width, height]: [u32; 2],
        options: &ResizeOptions,
    ) -> Vec<u8> {
        // Its scratch memory is worth keeping: one per thread.
        thread_local!(static RESIZER: RefCell<Resizer> = RefCell::new(Resizer::new()));
        let from = TypedImageRef::<P>::from_buffer(width, height, pixels)
            .expect("the buffer was made for this size and kind of pixel");
        let mut resized = vec![0; self.len()];
        let mut to =
            TypedImage::<P>::from_buffer(self.width as u32, self.height as u32, &mut resized)
                .expect("as long as its pixels");
        RESIZER
            .with_borrow_mut(|resizer| resizer.resize_typed(&from, &mut to, options))
            .expect("the rectangle lies in the image");
        resized
    }

    /// The part of an image that is used.
    fn rect(&self, width: u32, height: u32, chance: u32) -> Rect {
        if self.crop == Crop::None {
            return Rect { x: 0, y: 0, width, height };
        }
        let (w, h) = (u64::from(width), u64::from(height));
        let (tw, th) = (self.width as u64, self.height as u64);
        // Wider than the target: all rows, some columns; else all columns, some rows. Rounded to
        // whole pixels, so that nothing is resampled that need not be.
        let (cw, ch) = if w * th > h * tw {
            (((h * tw + th / 2) / th).clamp(1, w), h)
        } else {
            (w, ((w * th + tw / 2) / tw).clamp(1, h))
        };
        let place = |slack: u64| match self.crop {
            Crop::Random => (u64::from(chance) * (slack + 1)) >> 32,
            Crop::None | Crop::Center => slack / 2,
        };
        Rect {
            x: place(w - cw) as u32,
            y: place(h - ch) as u32,
            width: cw as u32,
            height: ch as u32,
        }
    }

    /// The image's bytes in the target's channels.
    fn pixels(&self, image: DynamicImage) -> Vec<u8> {
        let alpha = image.color().has_alpha();
        match self.channels {
            4 => image.into_rgba8().into_raw(),
            1 if alpha => {
                let rgb = DynamicImage::ImageRgb8(over_white(image));
                rgb.into_luma8().into_raw()
            }
            1 => image.into_luma8().into_raw(),
            _ if alpha => over_white(image).into_raw(),
            _ => image.into_rgb8().into_raw(),
        }
    }
}

/// Lays an image over white: `alpha * color + (1 - alpha) * 255`, rounded.
fn over_white(image: DynamicImage) -> image::RgbImage {
    let rgba = image.into_rgba8();
    let mut rgb = image::RgbImage::new(rgba.width(), rgba.height());
    for (to, from) in rgb.chunks_exact_mut(3).zip(rgba.chunks_exact(4)) {
        let alpha = u32::from(from[3]);
        for (to, &from) in to.iter_mut().zip(from) {
            *to = ((u32::from(from) * alpha + 255 * (255 - alpha) + 127) / 255) as u8;
        }
    }
    rgb
}

/// Copies a rectangle out of an image.
fn cut(pixels: &[u8], width: u32, rect: Rect, channels: usize) -> Vec<u8> {
    let row = width as usize * channels;
    let (from, len) = (rect.x as usize * channels, rect.width as usize * channels);
    let mut out = Vec::with_capacity(rect.height as usize * len);
    for y in rect.y..rect.y + rect.height {
        let at = y as usize * row + from;
        out.extend_from_slice(&pixels[at..at + len]);
    }
    out
}

/// Mirrors a prepared image left to right, in place.
///
/// # Panics
/// For other than 1, 3 or 4 channels, which [`Prepare::check`] refuses.
pub fn mirror(image: &mut [u8], width: usize, channels: usize) {
    for row in image.chunks_exact_mut(width * channels) {
        match channels {
            1 => row.reverse(),
            3 => row.as_chunks_mut::<3>().0.reverse(),
            4 => row.as_chunks_mut::<4>().0.reverse(),
            _ => unreachable!("Prepare::check allows 1, 3 and 4 channels"),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    #[test]
    fn mirroring_keeps_rows_and_channels() {
        let mut gray = [1, 2, 3, 4, 5, 6];
        mirror(&mut gray, 3, 1);
        assert_eq!(gray, [3, 2, 1, 6, 5, 4]);
        let mut rgb = [1, 2, 3, 4, 5, 6, 7, 8, 9];
        mirror(&mut rgb, 3, 3);
        assert_eq!(rgb, [7, 8, 9, 4, 5, 6, 1, 2, 3]);
        let mut rgba = [1, 2, 3, 4, 5, 6, 7, 8];
        mirror(&mut rgba, 1, 4);
        assert_eq!(rgba, [1, 2, 3, 4, 5, 6, 7, 8]);
        mirror(&mut rgba, 2, 4);
        assert_eq!(rgba, [5, 6, 7, 8, 1, 2, 3, 4]);
    }

    #[test]
    fn crops_are_the_largest_of_their_aspect() {
        let rect = |from: (u32, u32), to: (usize, usize)| {
            let prepare = Prepare { width: to.0, height: to.1, ..Prepare::default() };
            let Rect { x, y, width, height } = prepare.rect(from.0, from.1, 0);
            (x, y, width, height)
        };
        assert_eq!(rect((178, 218), (64, 64)), (0, 20, 178, 178));
        assert_eq!(rect((100, 50), (64, 32)), (0, 0, 100, 50));
        assert_eq!(rect((100, 50), (32, 64)), (37, 0, 25, 50));
        // Rounded to whole pixels, and never to none.
        assert_eq!(rect((10, 10), (3, 2)), (0, 1, 10, 7));
        assert_eq!(rect((1000, 1), (1, 4096)), (499, 0, 1, 1));
    }

    #[test]
    fn values_are_shown_as_they_are_typed() {
        for crop in Crop::value_variants() {
            assert_eq!(Crop::from_str(&crop.to_string(), false), Ok(*crop));
        }
        assert_eq!(
            (Filter::Lanczos.to_string(), Crop::None.to_string()),
            ("lanczos".into(), "none".into())
        );
        assert_eq!(serde_json::to_string(&Crop::Center).ok().as_deref(), Some("\"center\""));
    }
}
