//! Turns the output of a network into images: bytes, grids, PNG files.
//!
//! Images are `[n, h, w, c]` with values in [-1, 1] and one (gray), three (RGB) or four (RGBA)
//! channels.

pub mod figure;
pub mod film;
pub mod outline;
mod text;
pub mod timelapse;

use std::io::Cursor;
use std::path::Path;

use image::imageops;
use image::{
    DynamicImage, GenericImage as _, GenericImageView as _, GrayImage, ImageFormat, RgbImage,
    RgbaImage,
};

use crate::error::{Error, Result};
use crate::files;

/// Pixels between the images of a grid and around it.
const MARGIN: u32 = 2;

/// Smaller images are enlarged in grids.
const VIEWABLE: u32 = 64;

/// A value in [-1, 1] as a byte: 0 for -1 and below, 255 for 1 and above, rounded to nearest,
/// halves away from zero. NaN becomes 128, mid-gray: a preview must not fail where training itself
/// has to report divergence.
#[must_use]
pub fn byte(value: f32) -> u8 {
    if value.is_nan() {
        return 128;
    }
    // Float to integer casts saturate.
    ((value + 1.0) * 127.5).round() as u8
}

/// [`byte`] of every value.
#[must_use]
pub fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().copied().map(byte).collect()
}

/// A level of 0 to 255 as a value in [−1, 1].
#[must_use]
pub fn value(level: f32) -> f32 {
    level / 127.5 - 1.0
}

/// Bytes as values in [−1, 1].
#[must_use]
pub fn values(bytes: &[u8]) -> Vec<f32> {
    bytes.iter().map(|&byte| value(byte.into())).collect()
}

/// The `index`-th of `images`.
///
/// # Errors
/// [`Error::Shape`] if the values do not fill the shape, the channels are not 1, 3 or 4, or there
/// is no such image.
pub fn single(images: &[f32], shape: [usize; 4], index: usize) -> Result<DynamicImage> {
    let [n, h, w, c] = shape;
    let wrong = |what: &str| Error::Shape {
        op: "image",
        what: what.to_owned(),
        shapes: vec![shape.to_vec(), vec![images.len()]],
    };
    if n.checked_mul(h * w * c) != Some(images.len()) {
        return Err(wrong("the values do not fill the shape"));
    }
    if index >= n || h == 0 || w == 0 {
        return Err(wrong("there is no such image"));
    }
    let pixels = bytes(&images[index * h * w * c..(index + 1) * h * w * c]);
    let (w, h) = (w as u32, h as u32);
    let image = match c {
        1 => GrayImage::from_raw(w, h, pixels).map(DynamicImage::from),
        3 => RgbImage::from_raw(w, h, pixels).map(DynamicImage::from),
        4 => RgbaImage::from_raw(w, h, pixels).map(DynamicImage::from),
        _ => return Err(wrong("an image has 1, 3 or 4 channels")),
    };
    Ok(image.expect("the slice holds h * w * c bytes"))
}

/// All `images` in rows of [`columns`], tiny ones enlarged, with black margins.
///
/// # Errors
/// Those of [`single`]; no images at all is also an error.
pub fn grid(images: &[f32], shape: [usize; 4]) -> Result<DynamicImage> {
    grid_of(images, shape, columns(shape[0]))
}

/// [`grid`] with this number of columns.
///
/// # Errors
/// Those of [`grid`].
pub fn grid_of(images: &[f32], shape: [usize; 4], columns: usize) -> Result<DynamicImage> {
    let [n, h, w, c] = shape;
    let mut grid = Grid::new(n, [h, w, c], columns)?;
    grid.put(0, images, shape)?;
    Ok(grid.into_image())
}

/// A grid that is filled step by step. Only the bytes of its images are kept.
#[derive(Debug)]
pub struct Grid {
    image: DynamicImage,
    /// The number of places.
    places: usize,
    /// Shape of an image.
    shape: [usize; 3],
    columns: usize,
    /// Factor by which images are enlarged.
    factor: u32,
}

impl Grid {
    /// A black grid of `n` places for images `[h, w, c]`, with this number of columns.
    ///
    /// # Errors
    /// Those of [`grid`].
    pub fn new(n: usize, shape: [usize; 3], columns: usize) -> Result<Self> {
        let columns = columns.clamp(1, n.max(1));
        let [h, w, c] = shape;
        let first = single(&vec![0.0; n.min(1) * h * w * c], [n.min(1), h, w, c], 0)?;
        let factor = factor(first.width(), first.height());
        let (w, h) = size_of_grid(n, [h, w], columns);
        let mut image = DynamicImage::new(w, h, first.color());
        if c == 4 {
            // Opaque margins, as for the other channel counts.
            let pixels = image.as_mut_rgba8().into_iter().flat_map(|g| g.pixels_mut());
            pixels.for_each(|pixel| pixel.0[3] = 255);
        }
        Ok(Self { image, places: n, shape, columns, factor })
    }

    /// Puts `images` into the places from `first` on.
    ///
    /// # Errors
    /// Those of [`single`].
    pub fn put(&mut self, first: usize, images: &[f32], shape: [usize; 4]) -> Result<()> {
        if first + shape[0] > self.places {
            return Err(Error::Shape {
                op: "grid",
                what: format!("there is no place {}", self.places),
                shapes: vec![shape.to_vec(), self.shape.to_vec()],
            });
        }
        for i in 0..shape[0] {
            let image = upscale(&single(images, shape, i)?, self.factor);
            let (x, y) = place(first + i, image.dimensions(), self.columns);
            let fits = self.image.copy_from(&image, x, y);
            fits.map_err(|_| Error::Shape {
                op: "grid",
                what: "the image is larger than a place".into(),
                shapes: vec![shape.to_vec(), self.shape.to_vec()],
            })?;
        }
        Ok(())
    }

    /// The finished grid.
    #[must_use]
    pub fn into_image(self) -> DynamicImage {
        self.image
    }
}

/// The left upper corner of the `index`-th image of a grid with this number of columns, where `size`
/// is the width and height of the images in it.
fn place(index: usize, (w, h): (u32, u32), columns: usize) -> (u32, u32) {
    let (x, y) = ((index % columns) as u32, (index / columns) as u32);
    (MARGIN + x * (w + MARGIN), MARGIN + y * (h + MARGIN))
}

/// Where the `index`-th image lies in a grid of images `[h, w]` with this number of columns: left,
/// top, width and height in pixels.
#[must_use]
pub fn place_in_grid(index: usize, [h, w]: [usize; 2], columns: usize) -> [u32; 4] {
    let factor = factor(w as u32, h as u32);
    let (w, h) = (w as u32 * factor, h as u32 * factor);
    let (x, y) = place(index, (w, h), columns.max(1));
    [x, y, w, h]
}

/// Width and height of a grid of `n` images `[h, w]` with this number of columns.
#[must_use]
pub fn size_of_grid(n: usize, [h, w]: [usize; 2], columns: usize) -> (u32, u32) {
    let columns = columns.clamp(1, n.max(1));
    let [_, _, w, h] = place_in_grid(0, [h, w], columns);
    let rows = n.div_ceil(columns);
    (MARGIN + columns as u32 * (w + MARGIN), MARGIN + rows as u32 * (h + MARGIN))
}

/// By how much images of this size are enlarged in a grid.
fn factor(w: u32, h: u32) -> u32 {
    (VIEWABLE / w.max(h).max(1)).max(1)
}

/// The number of columns for `n` images: near-square and without a gap if possible, rather wide
/// than high. 64 gives 8, 32 gives 8, 10 gives 5, 7 gives 3.
#[must_use]
pub fn columns(n: usize) -> usize {
    let side = (1..).find(|s| s * s >= n).unwrap_or(1);
    (side..=2 * side).find(|&columns| n.is_multiple_of(columns) && columns <= n).unwrap_or(side)
}

/// `image` enlarged by `factor` in both directions.
#[must_use]
pub fn upscale(image: &DynamicImage, factor: u32) -> DynamicImage {
    if factor <= 1 {
        return image.clone();
    }
    let (w, h) = (image.width() * factor, image.height() * factor);
    image.resize_exact(w, h, imageops::FilterType::Nearest)
}

/// Writes an image as PNG: completely, or not at all.
///
/// # Errors
/// [`Error::File`] if it cannot be written.
pub fn save_png(path: &Path, image: &DynamicImage) -> Result<()> {
    files::write_bytes(path, &png(path, image)?)
}

/// An image as PNG; an error names `path`.
///
/// # Errors
/// [`Error::File`] if it cannot be encoded.
pub fn png(path: &Path, image: &DynamicImage) -> Result<Vec<u8>> {
    let mut png = Cursor::new(Vec::new());
    image
        .write_to(&mut png, ImageFormat::Png)
        .map_err(|error| Error::file(path, format!("cannot be made a PNG: {error}")))?;
    Ok(png.into_inner())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn an_image_is_where_its_place_says() {
        for [h, w, c] in [[16, 16, 1], [96, 80, 3]] {
            let mut values = vec![-1.0; 7 * h * w * c];
            values[5 * h * w * c..6 * h * w * c].fill(1.0);
            let grid = grid_of(&values, [7, h, w, c], 3).unwrap();
            let [x, y, width, height] = place_in_grid(5, [h, w], 3);
            let is_white = |x: u32, y: u32| {
                (x < grid.width() && y < grid.height()).then(|| grid.get_pixel(x, y).0[0] == 255)
            };
            assert_eq!(is_white(x, y), Some(true));
            assert_eq!(is_white(x + width - 1, y + height - 1), Some(true));
            assert_eq!((is_white(x - 1, y), is_white(x, y - 1)), (Some(false), Some(false)));
            assert_eq!(is_white(x + width, y + height), Some(false));
        }
    }

    #[test]
    fn values_become_the_nearest_byte() {
        for b in 0..=255_u8 {
            // The loader's value for a byte converts back to that byte.
            assert_eq!(byte(value(b.into())), b);
        }
        let half = value;
        assert_eq!((byte(half(99.4)), byte(half(99.6))), (99, 100));
        assert_eq!(byte(0.0), 128, "127.5 is rounded away from zero");
        assert_eq!((byte(-1.3), byte(7.0)), (0, 255));
        assert_eq!((byte(f32::NEG_INFINITY), byte(f32::INFINITY)), (0, 255));
        assert_eq!(byte(f32::NAN), 128);
    }

    #[test]
    fn grids_are_near_square_and_without_holes_where_possible() {
        let cases =
            [(1, 1), (2, 2), (3, 3), (4, 2), (5, 5), (7, 3), (10, 5), (11, 4), (12, 4), (16, 4)];
        for (n, expected) in cases.into_iter().chain([(32, 8), (36, 6), (64, 8), (100, 10)]) {
            assert_eq!(columns(n), expected, "{n} images");
        }
    }

    /// `n` constant images with the bytes 0, 1, 2…
    fn flat(shape: [usize; 4]) -> Vec<f32> {
        let [n, h, w, c] = shape;
        (0..n).flat_map(|i| vec![i as f32 / 127.5 - 1.0; h * w * c]).collect()
    }

    #[test]
    fn a_grid_has_every_image_in_its_place() {
        // Wider than high, and too large to be enlarged.
        let shape = [7, 50, 70, 3];
        let grid = grid(&flat(shape), shape).unwrap().into_rgb8();
        assert_eq!(grid.dimensions(), (2 + 3 * 72, 2 + 3 * 52));
        for i in 0..7_u32 {
            let (x, y) = (2 + i % 3 * 72, 2 + i / 3 * 52);
            let expected = [i as u8; 3];
            assert_eq!(grid.get_pixel(x, y).0, expected);
            assert_eq!(grid.get_pixel(x + 69, y + 49).0, expected);
        }
        assert_eq!(grid.get_pixel(2 + 72 * 2, 2 + 52 * 2).0, [0; 3], "an empty place is black");
        assert_eq!(grid.get_pixel(2 + 70, 2).0, [0; 3], "the margin is black");
    }

    #[test]
    fn a_grid_that_is_filled_bit_by_bit_is_the_same() {
        let shape = [7, 8, 6, 3];
        let images = flat(shape);
        let mut grid = Grid::new(7, [8, 6, 3], 4).unwrap();
        let image = 8 * 6 * 3;
        grid.put(4, &images[4 * image..], [3, 8, 6, 3]).unwrap();
        grid.put(0, &images[..4 * image], [4, 8, 6, 3]).unwrap();
        let text = grid.put(6, &images[..4 * image], [4, 8, 6, 3]).unwrap_err().to_string();
        assert!(text.contains("there is no place 7"), "{text}");
        grid.put(6, &images[6 * image..], [1, 8, 6, 3]).unwrap();
        assert_eq!(grid.into_image(), grid_of(&images, shape, 4).unwrap());
    }

    #[test]
    fn tiny_images_are_enlarged_pixel_by_pixel() {
        let shape = [2, 8, 8, 1];
        let mut images = flat(shape);
        images[0] = 1.0;
        let grid = grid(&images, shape).unwrap();
        assert_eq!(grid.dimensions(), (2 + 2 * 66, 2 + 66));
        let grid = grid.into_luma8();
        assert_eq!(grid.get_pixel(2 + 7, 2 + 7).0, [255]);
        assert_eq!(grid.get_pixel(2 + 8, 2 + 7).0, [0]);
        assert_eq!(grid.get_pixel(2 + 66, 2).0, [1]);
    }

    #[test]
    fn rgba_keeps_its_alpha_between_opaque_margins() {
        let shape = [1, 64, 64, 4];
        let grid = grid(&vec![-1.0; 64 * 64 * 4], shape).unwrap();
        assert_eq!(grid.get_pixel(0, 0).0, [0, 0, 0, 255]);
        assert_eq!(grid.get_pixel(2, 2).0, [0, 0, 0, 0]);
    }

    #[test]
    fn impossible_shapes_are_errors() {
        let text = |shape, len| grid(&vec![0.0; len], shape).unwrap_err().to_string();
        assert!(text([2, 4, 4, 3], 95).contains("do not fill the shape"));
        assert!(text([1, 4, 4, 2], 32).contains("1, 3 or 4 channels"));
        assert!(text([0, 4, 4, 3], 0).contains("no such image"));
        assert!(text([1, 0, 4, 3], 0).contains("no such image"));
    }

    #[test]
    fn a_png_is_written_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.png");
        let shape = [1, 9, 5, 3];
        let values: Vec<f32> = (0..135).map(|i| i as f32 / 67.0 - 1.0).collect();
        let image = single(&values, shape, 0).unwrap();
        save_png(&path, &image).unwrap();
        assert_eq!(image::open(&path).unwrap(), image);
        assert_eq!(image.as_bytes(), bytes(&values));
        let text = save_png(&path.join("b.png"), &image).unwrap_err().to_string();
        assert!(text.ends_with("a part of its path is a file, not a folder"), "{text}");
    }
}
