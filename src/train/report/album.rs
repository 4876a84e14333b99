//! A run's previews as data URIs, thinned out so that a page stays small.

use std::collections::BTreeMap;
use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use image::codecs::jpeg::JpegEncoder;
use image::imageops::FilterType;
use image::{DynamicImage, ImageFormat};

/// The most previews on a page.
const MOST: usize = 40;

/// The most bytes of all of them together, unless only a few are left.
const MOST_BYTES: usize = 10 << 20;
const FEWEST: usize = 8;

/// Wider images are scaled down.
const WIDEST: u32 = 1100;

/// Of JPEG, from 1 to 100.
const QUALITY: u8 = 88;

/// An image on a page.
#[derive(Clone, Debug)]
pub(super) struct Embedded {
    /// A data URI.
    pub(super) uri: String,
    /// Width and height.
    pub(super) size: (u32, u32),
}

/// The embedded previews of a run, kept from page to page: encoding them takes time.
#[derive(Debug, Default)]
pub(super) struct Album(BTreeMap<u64, Option<Embedded>>);

impl Album {
    /// Evenly spaced previews of `fakes` (images seen and file), with the first and the last. Those
    /// that cannot be read are left out.
    pub(super) fn refresh(&mut self, fakes: &[(u64, PathBuf)]) -> Vec<(u64, &Embedded)> {
        // A resumed run writes some again.
        if let Some((last, _)) = fakes.last() {
            self.0.remove(last);
        }
        // Powers of two, so that the next page has mostly the same ones.
        let mut stride = 1;
        loop {
            let n = fakes.len();
            let chosen: Vec<_> = (0..n)
                .filter(|i| i.is_multiple_of(stride) || i + 1 == n)
                .map(|i| &fakes[i])
                .collect();
            if chosen.len() > MOST {
                stride *= 2;
                continue;
            }
            self.0.retain(|images, _| chosen.iter().any(|(kept, _)| kept == images));
            for (images, path) in &chosen {
                self.0.entry(*images).or_insert_with(|| embed_file(path));
            }
            let bytes: usize = self.0.values().flatten().map(|one| one.uri.len()).sum();
            if bytes > MOST_BYTES && chosen.len() > FEWEST {
                stride *= 2;
                continue;
            }
            break;
        }
        self.0.iter().filter_map(|(images, one)| Some((*images, one.as_ref()?))).collect()
    }
}

/// The image in a file; `None` if it cannot be read.
pub(super) fn embed_file(path: &Path) -> Option<Embedded> {
    // A pipe in its place would be waited for.
    let bytes = fs::metadata(path).is_ok_and(|m| m.is_file()).then(|| fs::read(path).ok())??;
    let image = image::load_from_memory_with_format(&bytes, ImageFormat::Png).ok()?;
    embed(image, bytes)
}

/// An image and its PNG: as JPEG if that is smaller and keeps all channels.
pub(super) fn embed(image: DynamicImage, png: Vec<u8>) -> Option<Embedded> {
    let (image, png) = match image.width() {
        0..=WIDEST => (image, Some(png)),
        _ => (image.resize(WIDEST, u32::MAX, FilterType::Triangle), None),
    };
    let png = || {
        png.or_else(|| {
            let mut bytes = Cursor::new(Vec::new());
            image.write_to(&mut bytes, ImageFormat::Png).ok()?;
            Some(bytes.into_inner())
        })
    };
    let size = (image.width(), image.height());
    let uri =
        |kind: &str, bytes: &[u8]| format!("data:image/{kind};base64,{}", STANDARD.encode(bytes));
    let mut jpeg = Vec::new();
    let is_jpeg = !image.color().has_alpha()
        && image.write_with_encoder(JpegEncoder::new_with_quality(&mut jpeg, QUALITY)).is_ok();
    let uri = match png()? {
        png if is_jpeg && jpeg.len() < png.len() => {
            drop(png);
            uri("jpeg", &jpeg)
        }
        png => uri("png", &png),
    };
    Some(Embedded { uri, size })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use image::RgbImage;

    use super::*;
    use crate::rng::Stream;

    /// A photograph, as far as encoders are concerned.
    fn noise(w: u32, h: u32) -> DynamicImage {
        let mut u = vec![0.0; (w * h * 3) as usize];
        Stream::new(1, "album", 0).fill_uniform(&mut u);
        let bytes = u.into_iter().map(|u| (u * 255.0) as u8).collect();
        RgbImage::from_raw(w, h, bytes).unwrap().into()
    }

    #[test]
    fn previews_are_thinned_out_with_the_first_and_the_last() {
        let dir = tempfile::tempdir().unwrap();
        let image = noise(8, 8);
        let fakes: Vec<(u64, PathBuf)> = (0..200)
            .map(|i| (i * 64, dir.path().join(format!("fakes-{i}.png"))))
            .inspect(|(_, path)| image.save(path).unwrap())
            .collect();
        let mut album = Album::default();
        for n in [1, 2, 39, 40, 41, 100, 200] {
            let images: Vec<u64> =
                album.refresh(&fakes[..n]).into_iter().map(|(images, _)| images).collect();
            assert_eq!((images[0], images[images.len() - 1]), (0, (n as u64 - 1) * 64));
            assert!(images.len() >= n.min(MOST / 2) && images.len() <= MOST, "{n}: {images:?}");
            assert!(images.is_sorted());
        }
        fs::write(&fakes[199].1, "no image").unwrap();
        let rest = album.refresh(&fakes);
        assert!(rest.iter().all(|(images, _)| *images != 199 * 64), "a file that is damaged");
        assert!(rest.len() > MOST / 2);
    }

    #[cfg(unix)]
    #[test]
    fn a_pipe_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("fakes-1.png");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let (done, wait) = std::sync::mpsc::channel();
        std::thread::spawn(move || done.send(embed_file(&pipe).is_none()));
        assert_eq!(wait.recv_timeout(std::time::Duration::from_secs(20)), Ok(true));
    }

    #[test]
    fn large_previews_are_scaled_down_and_fewer() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("one.png");
        noise(1400, 700).save(&path).unwrap();
        let one = embed_file(&path).unwrap();
        assert_eq!(one.size, (WIDEST, WIDEST / 2));
        assert!(one.uri.starts_with("data:image/jpeg;base64,"));
        let fakes: Vec<(u64, PathBuf)> = (0..30).map(|i| (i, path.clone())).collect();
        let mut album = Album::default();
        let all = album.refresh(&fakes);
        let bytes: usize = all.iter().map(|(_, one)| one.uri.len()).sum();
        assert!(bytes <= MOST_BYTES + one.uri.len(), "{bytes}");
        assert!(all.len() >= FEWEST.min(2) && all.last().unwrap().0 == 29);
    }

    #[test]
    fn flat_images_and_those_with_alpha_stay_png() {
        let flat = DynamicImage::new_rgb8(60, 60);
        let alpha = DynamicImage::from(noise(60, 60).into_rgba8());
        for image in [flat, alpha] {
            let png = crate::images::png(Path::new("x"), &image).unwrap();
            let one = embed(image, png.clone()).unwrap();
            assert_eq!(one.uri, format!("data:image/png;base64,{}", STANDARD.encode(&png)));
        }
    }
}
