//! Draws text on an image, in a bundled font: nothing depends on the system's fonts.

use std::sync::OnceLock;

use ab_glyph::{Font as _, FontRef, PxScale, ScaleFont as _, point};
use image::{Rgb, RgbImage};

/// The font has no arrows and only Latin, Greek and Cyrillic letters: other characters are drawn as
/// its box.
fn font() -> &'static FontRef<'static> {
    static FONT: OnceLock<FontRef<'static>> = OnceLock::new();
    FONT.get_or_init(|| {
        FontRef::try_from_slice(epaint_default_fonts::UBUNTU_LIGHT)
            .expect("the font is a constant that a test draws with")
    })
}

/// Width in pixels of a line of text with a font size of `size` pixels, descent included.
pub(super) fn width(text: &str, size: u32) -> u32 {
    let font = font().as_scaled(PxScale::from(size as f32));
    let mut width = 0.0;
    let mut last = None;
    for glyph in text.chars().map(|c| font.glyph_id(c)) {
        width += last.map_or(0.0, |last| font.kern(last, glyph)) + font.h_advance(glyph);
        last = Some(glyph);
    }
    width.ceil() as u32
}

/// Draws a line of text with its upper left corner at (`x`, `y`); parts outside of the image are
/// cut off.
pub(super) fn draw(image: &mut RgbImage, text: &str, [x, y]: [u32; 2], size: u32, color: Rgb<u8>) {
    let font = font().as_scaled(PxScale::from(size as f32));
    let base = y as f32 + font.ascent();
    let mut pen = x as f32;
    let mut last = None;
    for c in text.chars() {
        let id = font.glyph_id(c);
        pen += last.map_or(0.0, |last| font.kern(last, id));
        last = Some(id);
        let glyph = id.with_scale_and_position(font.scale(), point(pen, base));
        pen += font.h_advance(id);
        let Some(outline) = font.outline_glyph(glyph) else { continue };
        let corner = outline.px_bounds().min;
        outline.draw(|dx, dy, coverage| {
            let at = [corner.x + dx as f32, corner.y + dy as f32];
            if at.iter().all(|&v| v >= 0.0)
                && let Some(pixel) = image.get_pixel_mut_checked(at[0] as u32, at[1] as u32)
            {
                // A light font at a small size is easier to read with a little more ink.
                let ink = coverage.clamp(0.0, 1.0).powf(0.6);
                for (under, over) in pixel.0.iter_mut().zip(color.0) {
                    let mixed = f32::from(*under) * (1.0 - ink) + f32::from(over) * ink;
                    *under = mixed.round() as u8;
                }
            }
        });
    }
}

/// Breaks `text` into lines of at most `most` pixels, between words; longer words are not broken.
pub(super) fn wrap(text: &str, size: u32, most: u32) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in paragraph.split_whitespace() {
            let longer = if line.is_empty() { word.into() } else { format!("{line} {word}") };
            if line.is_empty() || width(&longer, size) <= most {
                line = longer;
            } else {
                lines.push(std::mem::replace(&mut line, word.into()));
            }
        }
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAPER: Rgb<u8> = Rgb([255; 3]);

    #[test]
    fn text_is_as_wide_as_it_says_and_stays_on_the_image() {
        let drawn = |text: &str, x: u32| {
            let mut image = RgbImage::from_pixel(300, 30, PAPER);
            draw(&mut image, text, [x, 4], 16, Rgb([0; 3]));
            let ink = image.enumerate_pixels().filter(|(.., p)| p.0[0] < 128);
            ink.map(|(x, ..)| x).collect::<Vec<_>>()
        };
        let xs = drawn("seeds 3 to 17", 10);
        let (first, last) = (xs.iter().min(), xs.iter().max());
        let end = 10 + width("seeds 3 to 17", 16);
        assert!(first.is_some_and(|&x| (10..14).contains(&x)), "{first:?}");
        assert!(last.is_some_and(|&x| (end - 5..end).contains(&x)), "{last:?}, not {end}");
        // Cut off at the edge, not wrapped and not a panic.
        assert!(drawn("seeds 3 to 17", 290).iter().all(|&x| x >= 290));
        assert!(width("wide", 32) > width("wide", 16));
    }

    #[test]
    fn lines_are_broken_between_words() {
        let most = width("one two", 14);
        assert_eq!(wrap("one two three", 14, most), ["one two", "three"]);
        assert_eq!(wrap("one\ntwo", 14, most), ["one", "two"]);
        assert_eq!(wrap("incomprehensibilities a", 14, most), ["incomprehensibilities", "a"]);
    }
}
