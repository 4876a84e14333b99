//! Images as a few numbers: the mean of each cell of a coarse grid.

use rayon::prelude::*;

use super::{Features, ImageSet};
use crate::error::Result;

/// Cells a side of the thumbnails that sets are compared by.
pub const SIDE: usize = 8;

/// Every image as `side × side` cells (no more than it has pixels), each channel's mean over the cell's
/// area, from 0 to 1: a pixel on the border of two cells counts in both by its shares.
///
/// # Errors
/// Never, for images that have a size.
pub fn thumbnails(images: &ImageSet, side: usize) -> Result<Features> {
    let [height, width, channels] = images.size;
    let (rows, columns) = (cells(height, side), cells(width, side));
    let each = (0..images.count()).into_par_iter().flat_map_iter(|i| {
        let image = images.image(i);
        let mut thumbnail = Vec::with_capacity(rows.len() * columns.len() * channels);
        for row in &rows {
            for column in &columns {
                for channel in 0..channels {
                    let mut mean = 0.0;
                    for &(y, of_row) in row {
                        for &(x, of_column) in column {
                            let byte = image[(y * width + x) * channels + channel];
                            mean += of_row * of_column * f32::from(byte);
                        }
                    }
                    thumbnail.push(mean / 255.0);
                }
            }
        }
        thumbnail
    });
    Features::new(rows.len() * columns.len() * channels, each.collect())
}

/// The pixels of each cell of an axis with their shares, which add up to 1.
fn cells(pixels: usize, side: usize) -> Vec<Vec<(usize, f32)>> {
    let count = side.min(pixels);
    let cell = |i: usize| {
        // In units of 1 / count of a pixel, so that borders are whole numbers.
        let (start, end) = (i * pixels, (i + 1) * pixels);
        let share = move |pixel: usize| {
            let overlap = end.min((pixel + 1) * count) - start.max(pixel * count);
            (pixel, overlap as f32 / pixels as f32)
        };
        (start / count..end.div_ceil(count)).map(share).collect()
    };
    (0..count).map(cell).collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn cells_are_means_and_borders_count_by_their_shares() {
        assert_eq!(cells(4, 2), [[(0, 0.5), (1, 0.5)], [(2, 0.5), (3, 0.5)]]);
        let uneven = cells(3, 2);
        assert_eq!(uneven[0], [(0, 2.0 / 3.0), (1, 1.0 / 3.0)]);
        assert_eq!(uneven[1], [(1, 1.0 / 3.0), (2, 2.0 / 3.0)]);
        assert_eq!(cells(2, 8), [[(0, 1.0)], [(1, 1.0)]]);
        let set = ImageSet::new([2, 2, 2], vec![0, 255, 255, 255, 255, 0, 0, 0]).unwrap();
        assert_eq!(thumbnails(&set, 1).unwrap().values, [0.5, 0.5]);
        assert_eq!(thumbnails(&set, 8).unwrap().values[..4], [0.0, 1.0, 1.0, 1.0]);
    }
}
