//! Highlights parts of an image: outlined, or cut out.

use image::{DynamicImage, GenericImage as _, GenericImageView as _, Rgba};

use super::figure::FRAME;
use super::upscale;

/// Line width in pixels.
const LINE: i64 = 2;

/// `image` enlarged by a whole factor while its longer side stays within `side`, with the outlines
/// of `boxes` `[x, y, width, height]` in pixels of the image; outlines are cut off at its edges.
#[must_use]
pub fn outlined(image: &DynamicImage, side: u32, boxes: &[[f64; 4]]) -> DynamicImage {
    let factor = (side / image.width().max(image.height()).max(1)).max(1);
    let mut page = DynamicImage::from(upscale(image, factor).into_rgba8());
    let [r, g, b] = FRAME.0;
    for edges in boxes {
        let [x, y, w, h] = edges.map(|edge| edge * f64::from(factor));
        let [left, top] = [x, y].map(|edge| edge.round() as i64);
        let [right, bottom] = [x + w, y + h].map(|edge| edge.round() as i64);
        for y in top..bottom {
            for x in left..right {
                let border =
                    x < left + LINE || x >= right - LINE || y < top + LINE || y >= bottom - LINE;
                let (Ok(x), Ok(y)) = (u32::try_from(x), u32::try_from(y)) else { continue };
                if border && page.in_bounds(x, y) {
                    page.put_pixel(x, y, Rgba([r, g, b, 255]));
                }
            }
        }
    }
    page
}

/// The part of `image` between two rows and two columns, both ends included; areas outside of the
/// image are transparent.
#[must_use]
pub fn cut(image: &DynamicImage, [rows, columns]: [[isize; 2]; 2]) -> DynamicImage {
    let length = |[first, last]: [isize; 2]| (last - first + 1).max(1) as u32;
    let mut part = DynamicImage::new_rgba8(length(columns), length(rows));
    for y in 0..part.height() {
        for x in 0..part.width() {
            let from = [columns[0] + x as isize, rows[0] + y as isize];
            let [Ok(from_x), Ok(from_y)] = from.map(u32::try_from) else { continue };
            if image.in_bounds(from_x, from_y) {
                part.put_pixel(x, y, image.get_pixel(from_x, from_y));
            }
        }
    }
    part
}

#[cfg(test)]
mod tests {
    use image::{Rgb, RgbImage};

    use super::*;

    fn image() -> DynamicImage {
        RgbImage::from_fn(10, 8, |x, y| Rgb([x as u8, y as u8, 7])).into()
    }

    #[test]
    fn outlines_lie_just_inside_of_their_boxes() {
        // Ten times as large.
        let page = outlined(&image(), 105, &[[2.0, 1.0, 3.0, 2.5], [8.0, -1.0, 4.0, 2.0]]);
        assert_eq!(page.dimensions(), (100, 80));
        let page = page.into_rgb8();
        let framed = |x, y| *page.get_pixel(x, y) == FRAME;
        assert!(framed(20, 10) && framed(49, 34) && framed(20, 34) && framed(35, 11));
        assert!(framed(49, 22) && framed(48, 22) && framed(21, 22) && framed(35, 33));
        assert!(!framed(47, 22) && !framed(22, 22));
        assert!(!framed(19, 10) && !framed(50, 34) && !framed(20, 35) && !framed(35, 20));
        assert_eq!(page.get_pixel(35, 20).0, [3, 2, 7]);
        // Of the box that leaves the image, only its left and bottom edges.
        assert!(framed(80, 0) && framed(99, 9) && !framed(99, 0) && !framed(90, 5));
    }

    #[test]
    fn parts_are_cut_out_where_they_are() {
        let part = cut(&image(), [[-1, 2], [8, 10]]);
        assert_eq!(part.dimensions(), (3, 4));
        assert_eq!(part.get_pixel(0, 1).0, [8, 0, 7, 255]);
        assert_eq!(part.get_pixel(1, 3).0, [9, 2, 7, 255]);
        assert_eq!(part.get_pixel(0, 0).0[3], 0, "above the image");
        assert_eq!(part.get_pixel(2, 2).0[3], 0, "right of the image");
    }
}
