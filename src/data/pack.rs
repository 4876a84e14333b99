//! A set as one zip of small PNGs, resized once: read many times faster than large photographs, and by
//! StyleGAN's tools.
//!
//! ```text
//! 00000/img00000000.png … 00000/img00000999.png, 00001/img00001000.png …
//! dataset.json    {"labels": [["00000/img00000000.png", 6], …], "classes": ["airplane", …]}
//! captions.txt    00000/img00000000.png<tab>a caption
//! ```

use std::io::Cursor;

use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder as _};
use rayon::prelude::*;
use serde_json::json;

use super::loader::Skipped;
use super::prepare::Prepare;
use super::source::Source;
use super::subset::SubsetWriter;
use super::sweep::sweep;
use crate::error::{Error, Result};

/// Images that are decoded and encoded at a time.
const CHUNK: usize = 256;

/// The name of image `number` in a packed set, as StyleGAN's tools have it.
pub(super) fn packed_name(number: usize, ending: &str) -> String {
    format!("{:05}/img{number:08}.{ending}", number / 1000)
}

/// `dataset.json` of images and their classes, of which the numbers are those of `classes`.
pub(super) fn dataset_json(
    names: &[String],
    labels: Option<&[u32]>,
    classes: &[String],
) -> Vec<u8> {
    let pairs = labels.map(|labels| names.iter().zip(labels).collect::<Vec<_>>());
    let file = match pairs {
        Some(pairs) => json!({ "labels": pairs, "classes": classes }),
        None => json!({ "labels": null }),
    };
    file.to_string().into_bytes()
}

/// What [`pack`] wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackReport {
    /// Images written.
    pub images: usize,
    /// Captions written.
    pub captions: usize,
    /// Images that cannot be read and are left out.
    pub skipped: Vec<Skipped>,
}

/// A prepared image as PNG.
fn png(pixels: &[u8], prepare: &Prepare) -> Result<Vec<u8>> {
    let color = match prepare.channels {
        1 => ExtendedColorType::L8,
        4 => ExtendedColorType::Rgba8,
        _ => ExtendedColorType::Rgb8,
    };
    let mut bytes = Cursor::new(Vec::new());
    let encoder = PngEncoder::new(&mut bytes);
    let written = encoder.write_image(pixels, prepare.width as u32, prepare.height as u32, color);
    written.map_err(|e| Error::config("channels", format!("PNG cannot be written ({e})")))?;
    Ok(bytes.into_inner())
}

/// Writes all images of a set, as `prepare` makes them but not mirrored, with labels and captions;
/// `done` hears how many were done. The caller ends `out`.
///
/// # Errors
/// [`Error::Config`] for a target that cannot be made, [`Error::File`] where more than a tenth of the set
/// is unreadable or `out` cannot be written.
pub fn pack(
    source: &Source,
    prepare: &Prepare,
    out: &mut SubsetWriter,
    mut done: impl FnMut(usize),
) -> Result<PackReport> {
    let items: Vec<u32> = (0..source.len() as u32).collect();
    let mut names = Vec::new();
    let mut kept: Vec<u32> = Vec::new();
    let skipped = sweep(source, prepare, &items, CHUNK, |chunk| {
        let images: Vec<_> =
            chunk.images.par_chunks(prepare.len()).map(|p| png(p, prepare)).collect();
        for (place, image) in chunk.places.iter().zip(images) {
            let name = packed_name(names.len(), "png");
            out.add(&name, &image?)?;
            names.push(name);
            kept.push(items[chunk.start + place]);
        }
        done(chunk.len);
        Ok(())
    })?;
    let labels = source.labels();
    let labels = labels.map(|all| kept.iter().map(|&item| all[item as usize]).collect::<Vec<_>>());
    out.add("dataset.json", &dataset_json(&names, labels.as_deref(), source.classes()))?;
    let mut captions = 0;
    if let Ok(all) = source.captions() {
        let mut text = String::new();
        for (name, &item) in names.iter().zip(&kept) {
            for caption in all.of(item as usize) {
                captions += 1;
                text += &format!("{name}\t{caption}\n");
            }
        }
        out.add("captions.txt", text.as_bytes())?;
    }
    Ok(PackReport { images: names.len(), captions, skipped })
}
