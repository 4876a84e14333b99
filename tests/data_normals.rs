//! Normal maps of images: where they may be, what becomes of them, and what is said of those that do not
//! fit.

use std::path::Path;
use std::sync::Arc;

use dcgan::data::{Crop, Loader, LoaderOptions, Prepare, Source, SubsetWriter};
use image::{ImageFormat, Rgb, RgbImage};
use tempfile::{TempDir, tempdir};

use crate::data_formats::encode;
use crate::data_sources::{names, open, put};

const OPTIONS: fn() -> LoaderOptions =
    || LoaderOptions { batch: 2, normals: true, workers: 1, ..LoaderOptions::default() };

/// Six images of 6 by 4 pixels with the column in red, and maps whose normals point to the right of
/// the column that they are in.
fn pairs(name: impl Fn(usize) -> [String; 2]) -> TempDir {
    let data = tempdir().unwrap();
    for i in 0..6 {
        let image = RgbImage::from_fn(6, 4, |x, y| Rgb([40 * x as u8, 50 * y as u8, i as u8]));
        let map = RgbImage::from_fn(6, 4, |x, _| normal(x as usize));
        for (name, image) in name(i).iter().zip([image, map]) {
            put(data.path(), name, &encode(&image.into(), ImageFormat::Png));
        }
    }
    data
}

fn normal(column: usize) -> Rgb<u8> {
    let angle = 0.2 * column as f32;
    let [x, z] = [angle.sin(), angle.cos()].map(|n| (127.5 * (n + 1.0)).round() as u8);
    Rgb([x, 128, z])
}

fn folders(i: usize) -> [String; 2] {
    ["images", "normals"].map(|folder| format!("train/{folder}/{i}.png"))
}

fn refused(data: &Path, words: &[&str]) {
    let source = Source::open(Some(data)).unwrap();
    let prepare = Prepare { height: 4, width: 6, ..Prepare::default() };
    let error = source.check_normals().and_then(|()| {
        Loader::start(Arc::new(source), prepare, &OPTIONS(), 0)?.next_batch().map(drop)
    });
    let error = error.unwrap_err().to_string();
    for word in words {
        assert!(error.contains(word), "no {word:?} in: {error}");
    }
}

#[test]
fn maps_are_no_images_of_their_own_and_go_with_theirs() {
    let beside = |i| [format!("{i}.png"), format!("{i}.normals.png")];
    for data in [pairs(beside), pairs(folders)] {
        let source = open(data.path());
        assert_eq!(source.len(), 6, "{:?}", names(&source));
        assert_eq!(source.labels(), None);
        source.check_normals().unwrap();
        assert!(source.notes().iter().any(|note| note == "6 of 6 images have a normal map"));

        // A copy of a part has its maps, and another map makes another set.
        let copy = data
            .path()
            .parent()
            .unwrap()
            .join(format!("{}.zip", data.path().file_name().unwrap().to_string_lossy()));
        let mut writer = SubsetWriter::create(&copy).unwrap();
        source.write_subset(&[1, 4], &[], &mut writer, |_| ()).unwrap();
        writer.finish().unwrap();
        let part = open(&copy);
        assert_eq!(part.len(), 2);
        part.check_normals().unwrap();
        std::fs::remove_file(&copy).unwrap();
        let before = source.fingerprint();
        let flat = RgbImage::from_pixel(6, 4, Rgb([128, 128, 255]));
        let first = [beside(0), folders(0)].map(|[_, map]| data.path().join(map));
        let map = first.iter().find(|path| path.exists()).unwrap();
        std::fs::write(map, encode(&flat.into(), ImageFormat::Png)).unwrap();
        assert_ne!(open(data.path()).fingerprint(), before);
    }
}

/// Every column of a batch's images has the normals of that column: the other way where it is mirrored.
#[test]
fn a_map_is_cropped_and_mirrored_with_its_image() {
    let data = pairs(folders);
    let prepare =
        Prepare { height: 4, width: 3, flip: true, crop: Crop::Random, ..Prepare::default() };
    let source = Arc::new(open(data.path()));
    let mut loader = Loader::start(source, prepare, &OPTIONS(), 0).unwrap();
    let (mut mirrored, mut places) = (0, std::collections::BTreeSet::new());
    for _ in 0..12 {
        let batch = loader.next_batch().unwrap();
        let normals = batch.normals.unwrap();
        assert_eq!((batch.images.len(), normals.len()), (2 * 36, 2 * 36));
        for (image, map) in batch.images.chunks(36).zip(normals.chunks(36)) {
            let is_mirrored = image[0] > image[3];
            mirrored += usize::from(is_mirrored);
            places.insert(image[0]);
            for (pixel, n) in image.chunks(3).zip(map.chunks(3)) {
                let Rgb([x, y, z]) = normal(usize::from(pixel[0] / 40));
                let x = if is_mirrored { 255 - x } else { x };
                assert_eq!(n, [x, y, z], "column {}", pixel[0] / 40);
            }
        }
    }
    assert!((4..20).contains(&mirrored) && places.len() > 3, "{mirrored}, {places:?}");
}

#[test]
fn maps_that_do_not_fit_are_refused_in_a_sentence() {
    let data = pairs(folders);
    let map = |i: usize| data.path().join(folders(i)[1].as_str());
    std::fs::remove_file(map(3)).unwrap();
    let first = "has 1 of 6 images without a normal map (the first: train/images/3.png)";
    refused(data.path(), &[first, "normals/NAME.png"]);
    let small = RgbImage::from_pixel(3, 4, Rgb([128, 128, 255]));
    std::fs::write(map(3), encode(&small.into(), ImageFormat::Png)).unwrap();
    refused(data.path(), &["train/images/3.png", "normals/3.png, which has 3 x 4 pixels", "6 x 4"]);
    let gray = RgbImage::from_pixel(6, 4, Rgb([128, 128, 128]));
    std::fs::write(map(3), encode(&gray.into(), ImageFormat::Png)).unwrap();
    refused(data.path(), &["normals/3.png, which is none: 100 % of its pixels", "127.5 (n + 1)"]);
    let plain = tempdir().unwrap();
    for i in 0..3 {
        let image = RgbImage::from_pixel(4, 4, Rgb([i, 0, 0]));
        put(plain.path(), &format!("{i}.png"), &encode(&image.into(), ImageFormat::Png));
    }
    refused(plain.path(), &["DATA has no normal maps: each image NAME.png needs"]);
}
