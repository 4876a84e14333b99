//! Color profiles (ICC) of RGB images: colors are made those of sRGB, as a browser shows them.
//!
//! Photographs of telephones are in Display P3: their numbers, taken for sRGB, look dull. A profile that
//! changes no color by more than a level is sRGB by another name, and leaves the pixels as they are. One
//! that cannot be read is ignored, as are profiles of gray and of CMYK.

use std::cell::RefCell;
use std::sync::Arc;

use image::DynamicImage;
use moxcms::{
    ColorProfile, DataColorSpace, Layout, Transform8BitExecutor, Transform16BitExecutor,
    TransformOptions,
};

use super::quiet::caught;

/// The largest profile that is applied.
const LARGEST: usize = 4 << 20;

/// How far a color may be off for a profile to be sRGB.
const SAME: u8 = 1;

/// From the colors of a profile to sRGB, with pixels of three channels and of four.
#[derive(Clone)]
struct Transform {
    bytes: [Arc<Transform8BitExecutor>; 2],
    words: [Arc<Transform16BitExecutor>; 2],
}

/// The last profile and what it does; nothing if that is nothing.
type Last = (Vec<u8>, Option<Transform>);

thread_local! {
    /// A set has few profiles, and making a transform takes longer than a small image.
    static LAST: RefCell<Option<Last>> = const { RefCell::new(None) };
}

/// Colors over the whole cube.
fn probe() -> Vec<u8> {
    let steps = || (0..=5_u8).map(|i| 51 * i);
    steps().flat_map(|r| steps().flat_map(move |g| steps().flat_map(move |b| [r, g, b]))).collect()
}

/// What a profile does; nothing if it is sRGB, or cannot be used.
fn transform(profile: &[u8]) -> Option<Transform> {
    let from = ColorProfile::new_from_slice(profile).ok()?;
    if from.color_space != DataColorSpace::Rgb {
        return None;
    }
    let to = ColorProfile::new_srgb();
    let layouts = [Layout::Rgb, Layout::Rgba];
    let options = TransformOptions::default;
    let bytes = layouts.map(|layout| from.create_transform_8bit(layout, &to, layout, options()));
    let words = layouts.map(|layout| from.create_transform_16bit(layout, &to, layout, options()));
    let ([Ok(rgb), Ok(rgba)], [Ok(rgb16), Ok(rgba16)]) = (bytes, words) else { return None };
    let colors = probe();
    let mut seen = vec![0; colors.len()];
    rgb.transform(&colors, &mut seen).ok()?;
    let is_same = colors.iter().zip(&seen).all(|(a, b)| a.abs_diff(*b) <= SAME);
    (!is_same).then_some(Transform { bytes: [rgb, rgba], words: [rgb16, rgba16] })
}

/// Makes the colors of an image with the profile `profile` those of sRGB.
pub(super) fn to_srgb(image: &mut DynamicImage, profile: &[u8]) {
    if profile.len() > LARGEST || !image.color().has_color() {
        return;
    }
    let transform = LAST.with_borrow_mut(|last| {
        if last.as_ref().is_none_or(|(known, _)| known != profile) {
            *last = Some((profile.to_vec(), caught(|| transform(profile)).flatten()));
        }
        last.as_ref().and_then(|(_, transform)| transform.clone())
    });
    let Some(Transform { bytes, words }) = transform else { return };
    let row = image.width() as usize * usize::from(image.color().channel_count());
    match image {
        DynamicImage::ImageRgb8(image) => {
            rows(image, row, |from, to| bytes[0].transform(from, to));
        }
        DynamicImage::ImageRgba8(image) => {
            rows(image, row, |from, to| bytes[1].transform(from, to));
        }
        DynamicImage::ImageRgb16(image) => {
            rows(image, row, |from, to| words[0].transform(from, to));
        }
        DynamicImage::ImageRgba16(image) => {
            rows(image, row, |from, to| words[1].transform(from, to));
        }
        _ => {}
    }
}

/// Transforms pixels row by row, so that no second image is needed.
fn rows<T: Copy, E>(
    pixels: &mut [T],
    row: usize,
    transform: impl Fn(&[T], &mut [T]) -> Result<(), E>,
) {
    let mut before: Vec<T> = Vec::with_capacity(row);
    for to in pixels.chunks_exact_mut(row.max(1)) {
        before.clear();
        before.extend_from_slice(to);
        // It fails only for rows of different lengths; the row stays as it was then.
        if transform(&before, to).is_err() {
            to.copy_from_slice(&before);
        }
    }
}
