//! An animated GIF of how the previews changed during training.

use std::path::{Path, PathBuf};

use image::RgbImage;
use image::imageops::{self, FilterType};

use crate::error::{Error, Result};
use crate::files;

use super::film;

/// The maximum number of frames; of more, evenly spaced ones are used.
const MOST_FRAMES: usize = 100;

/// The fewest frames that [`MOST_PIXELS`] may reduce it to.
const FEWEST_FRAMES: usize = 24;

/// The most pixels of all frames together: photographs take about a byte each.
const MOST_PIXELS: usize = 12_000_000;

/// Wider frames are scaled down.
const WIDEST: u32 = 640;

/// The total duration of all frames but the last.
const LENGTH_MS: u64 = 8000;

/// The duration of the last frame.
const LAST_MS: u64 = 2500;

/// Writes an endless GIF of the images in `paths`, in order of time; the last one is shown longer.
/// Evenly spaced frames are dropped, and large ones scaled down, to keep the file small enough to
/// share.
///
/// Images that cannot be read or differ in size from the last are left out: one bad preview must
/// not cost the film. Choosing colors takes some seconds: this is for the end of training, not for
/// every preview, and `goes_on` may cancel it before it is written.
///
/// # Errors
/// [`Error::File`] if no image can be read, or the GIF cannot be written.
pub fn write(gif: &Path, paths: &[PathBuf], goes_on: impl Fn() -> bool) -> Result<()> {
    let mut last = None;
    let mut end = paths.len();
    while let Some(path) = end.checked_sub(1).map(|i| &paths[i]) {
        last = open(path);
        if last.is_some() {
            break;
        }
        end -= 1;
    }
    let Some(last) = last else {
        return Err(Error::file(gif, "there are no previews yet to make a time-lapse of"));
    };
    let frames = chosen(end, most_frames(last.dimensions()));
    let size = last.dimensions();
    let images = frames
        .into_iter()
        .filter_map(|i| if i + 1 == end { Some(last.clone()) } else { open(&paths[i]) });
    let images = images.take_while(|_| goes_on());
    let images: Vec<RgbImage> =
        images.filter(|image| image.dimensions() == size).map(shrunk).collect();
    let encoded = encode(&images, &goes_on)
        .map_err(|error| Error::file(gif, format!("cannot be made a GIF: {error}")))?;
    if goes_on() { files::write_bytes(gif, &encoded) } else { Ok(()) }
}

fn open(path: &Path) -> Option<RgbImage> {
    Some(image::open(path).ok()?.into_rgb8())
}

fn most_frames((w, h): (u32, u32)) -> usize {
    let w_shown = w.min(WIDEST);
    let pixels = w_shown as usize * (h as usize * w_shown as usize / w.max(1) as usize).max(1);
    (MOST_PIXELS / pixels.max(1)).clamp(FEWEST_FRAMES, MOST_FRAMES)
}

/// At most `most` of `0..n`, evenly spaced, with the first and the last.
fn chosen(n: usize, most: usize) -> Vec<usize> {
    if n <= most || most < 2 {
        return (0..n).collect();
    }
    (0..most).map(|i| (i * (n - 1) + (most - 1) / 2) / (most - 1)).collect()
}

fn shrunk(image: RgbImage) -> RgbImage {
    let (w, h) = image.dimensions();
    if w <= WIDEST {
        return image;
    }
    let h = (u64::from(h) * u64::from(WIDEST) / u64::from(w)).max(1) as u32;
    imageops::resize(&image, WIDEST, h, FilterType::Triangle)
}

fn encode(images: &[RgbImage], goes_on: &dyn Fn() -> bool) -> image::ImageResult<Vec<u8>> {
    // Viewers slow down frames shorter than 20 ms.
    let each = (LENGTH_MS / images.len().max(1) as u64).clamp(60, 500);
    let stands = |i| if i + 1 == images.len() { LAST_MS } else { each };
    let frames = images.iter().enumerate().map(|(i, image)| (image, stands(i)));
    film::Format::Gif.encode(frames.take_while(|_| goes_on()))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use std::fs;
    use std::io::Cursor;

    use image::codecs::gif::GifDecoder;
    use image::{AnimationDecoder as _, Frame};

    use super::*;

    /// Previews of a single gray each, 0, 2, 4…
    fn previews(dir: &Path, n: usize, w: u32, h: u32) -> Vec<PathBuf> {
        let one = |i: usize| {
            let path = dir.join(format!("fakes-{i:09}.png"));
            RgbImage::from_pixel(w, h, [2 * i as u8; 3].into()).save(&path).unwrap();
            path
        };
        (0..n).map(one).collect()
    }

    fn frames(gif: &Path) -> Vec<Frame> {
        let decoder = GifDecoder::new(Cursor::new(fs::read(gif).unwrap())).unwrap();
        decoder.into_frames().collect_frames().unwrap()
    }

    fn gray(frame: &Frame) -> u8 {
        frame.buffer().get_pixel(1, 1).0[0]
    }

    #[test]
    fn every_preview_is_a_frame_and_the_last_stands_longer() {
        let dir = tempfile::tempdir().unwrap();
        let paths = previews(dir.path(), 20, 40, 30);
        let gif = dir.path().join("timelapse.gif");
        write(&gif, &paths, || true).unwrap();
        let frames = frames(&gif);
        assert!(frames.iter().map(gray).eq((0..20).map(|i| 2 * i)));
        let ms = |i: usize| frames[i].delay().numer_denom_ms();
        assert_eq!((ms(0), ms(18), ms(19)), ((400, 1), (400, 1), (2500, 1)));
    }

    #[test]
    fn many_or_large_previews_are_thinned() {
        let dir = tempfile::tempdir().unwrap();
        let paths = previews(dir.path(), 120, 8, 8);
        let gif = dir.path().join("timelapse.gif");
        write(&gif, &paths, || true).unwrap();
        let many = frames(&gif);
        assert_eq!((many.len(), gray(&many[0]), gray(&many[99])), (100, 0, 238));

        let paths = previews(dir.path(), 2, 1000, 500);
        write(&gif, &paths, || true).unwrap();
        assert_eq!(frames(&gif)[0].buffer().dimensions(), (640, 320));
        assert_eq!(most_frames((640, 640)), 29);
        assert_eq!(most_frames((6400, 6400)), 29);
        assert_eq!(most_frames((100, 100_000)), 24);
        assert_eq!(chosen(5, 3), [0, 2, 4]);
        assert_eq!(chosen(1000, 100).last(), Some(&999));
        assert_eq!(chosen(3, 3), [0, 1, 2]);
    }

    #[test]
    fn one_that_is_not_wanted_any_more_leaves_the_old() {
        let dir = tempfile::tempdir().unwrap();
        let paths = previews(dir.path(), 20, 40, 30);
        let gif = dir.path().join("timelapse.gif");
        fs::write(&gif, "old").unwrap();
        for asked in [0_u32, 5, 25, 40] {
            let left = std::cell::Cell::new(asked);
            let goes_on = || left.replace(left.get().saturating_sub(1)) > 0;
            write(&gif, &paths, goes_on).unwrap();
            assert_eq!(fs::read(&gif).unwrap(), b"old", "{asked}");
        }
    }

    #[test]
    fn bad_previews_are_left_out_and_none_at_all_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let mut paths = previews(dir.path(), 6, 8, 8);
        fs::write(&paths[5], "half").unwrap();
        fs::remove_file(&paths[3]).unwrap();
        RgbImage::new(9, 8).save(&paths[1]).unwrap();
        let gif = dir.path().join("timelapse.gif");
        write(&gif, &paths, || true).unwrap();
        assert!(frames(&gif).iter().map(gray).eq([0, 4, 8]));

        paths.drain(..5);
        fs::remove_file(&gif).unwrap();
        let text = write(&gif, &paths, || true).unwrap_err().to_string();
        assert!(text.ends_with("there are no previews yet to make a time-lapse of"), "{text}");
        assert!(!gif.exists());
    }
}
