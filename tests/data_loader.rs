//! Batches are a function of files, seed and number: not of workers, caches or where a run resumed.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dcgan::data::{
    Batch, CacheMode, Crop, Loader, LoaderOptions, Order, Prepare, Source, survey, write_skipped,
};
use dcgan::error::Result;
use image::{ImageFormat, Rgb, RgbImage};
use tempfile::{TempDir, tempdir};

use crate::data_formats::encode;
use crate::data_sources::{flat, put};

/// A folder of `count` images, each unlike the others and unlike its mirror image, in two classes.
fn folder(count: usize) -> TempDir {
    let data = tempdir().unwrap();
    for i in 0..count {
        let image = RgbImage::from_fn(12, 8, |x, y| Rgb([i as u8, (x * 20) as u8, (y * 30) as u8]));
        put(
            data.path(),
            &format!("{}/{i:03}.png", i % 2),
            &encode(&image.into(), ImageFormat::Png),
        );
    }
    data
}

fn prepare() -> Prepare {
    Prepare { height: 8, width: 6, flip: true, ..Prepare::default() }
}

fn options() -> LoaderOptions {
    LoaderOptions { batch: 4, seed: 7, workers: 2, ..LoaderOptions::default() }
}

fn start(data: &Path, prepare: &Prepare, options: &LoaderOptions, position: u64) -> Result<Loader> {
    Loader::start(Arc::new(Source::open(Some(data))?), prepare.clone(), options, position)
}

fn batches(
    data: &Path,
    prepare: &Prepare,
    options: &LoaderOptions,
    position: u64,
    count: usize,
) -> Vec<Batch> {
    let mut loader = start(data, prepare, options, position).unwrap();
    (0..count).map(|_| loader.next_batch().unwrap()).collect()
}

#[test]
fn an_epoch_shows_each_image_once_and_labels_go_along() {
    let data = folder(22);
    let batches = batches(data.path(), &prepare(), &options(), 0, 11);
    for (index, batch) in (0..).zip(&batches) {
        // 22 images in batches of 4: five batches an epoch, two images left over.
        assert_eq!((batch.index, batch.epoch), (index, index / 5));
        assert_eq!(batch.images.len(), 4 * 8 * 6 * 3);
        for (n, &item) in batch.items.iter().enumerate() {
            // Sorted by name: class 0 has the even numbers.
            let (class, number) = if item < 11 { (0, item * 2) } else { (1, (item - 11) * 2 + 1) };
            assert_eq!(batch.images[n * 8 * 6 * 3], number as u8);
            assert_eq!(batch.labels.as_ref().unwrap()[n], class);
        }
    }
    for epoch in [&batches[..5], &batches[5..10]] {
        let mut items: Vec<_> = epoch.iter().flat_map(|batch| batch.items.clone()).collect();
        items.sort_unstable();
        items.dedup();
        assert_eq!(items.len(), 20);
    }
    assert_ne!(batches[0].items, batches[5].items);
}

#[test]
fn workers_caches_and_resuming_change_nothing() {
    let data = folder(22);
    // Two bad images: the stand-ins must be the same ones too.
    put(data.path(), "0/010.png", b"bad");
    put(data.path(), "1/001.png", &flat(1)[..60]);
    for crop in [Crop::None, Crop::Center, Crop::Random] {
        let prepare = Prepare { crop, ..prepare() };
        let plain = batches(data.path(), &prepare, &options(), 0, 17);
        let same = |what: &str, options: &LoaderOptions| {
            assert!(plain == batches(data.path(), &prepare, options, 0, 17), "{crop} {what}");
        };
        same("1 worker", &LoaderOptions { workers: 1, ..options() });
        same("5 workers", &LoaderOptions { workers: 5, ..options() });
        same("no cache", &LoaderOptions { cache: CacheMode::Off, ..options() });
        // Three images and a half.
        same("small cache", &LoaderOptions { cache_bytes: 500, ..options() });
        same("no look", &LoaderOptions { look: Duration::ZERO, ..options() });
        if crop != Crop::Random {
            same(
                "full cache",
                &LoaderOptions { cache: CacheMode::On, cache_bytes: 0, ..options() },
            );
        }
        for position in [1, 4, 5, 13] {
            let rest = 17 - position;
            let resumed = batches(data.path(), &prepare, &options(), position as u64, rest);
            assert!(plain[position..] == resumed, "{crop} from {position}");
        }
        let other = batches(data.path(), &prepare, &LoaderOptions { seed: 8, ..options() }, 0, 17);
        assert_ne!(plain[0].items, other[0].items);
    }
}

#[test]
fn about_half_are_mirrored_and_random_crops_move() {
    let data = folder(40);
    let options = LoaderOptions { batch: 40, ..options() };
    // Green grows with x: the first pixel tells mirrored ones, the smallest where the cut begins.
    // By image, an epoch after the other.
    let look = |prepare: &Prepare| -> Vec<Vec<(bool, u8)>> {
        let epoch = |batch: &Batch| {
            let mut seen = vec![(false, 0); 40];
            for (&item, p) in batch.items.iter().zip(batch.images.chunks(prepare.len())) {
                let (first, last) = (p[1], p[(prepare.width - 1) * 3 + 1]);
                seen[item as usize] = (first > last, first.min(last));
            }
            seen
        };
        batches(data.path(), prepare, &options, 0, 4).iter().map(epoch).collect()
    };
    let plain = look(&Prepare { flip: false, ..prepare() });
    assert!(plain.concat().iter().all(|&seen| seen == (false, 60)), "{plain:?}");
    let flipped = look(&prepare());
    let count = flipped.concat().iter().filter(|(mirrored, _)| *mirrored).count();
    assert!((50..110).contains(&count), "{count} of 160");
    assert!(flipped[0] != flipped[1], "each epoch has its own coins");
    assert!(flipped.concat().iter().all(|&(_, start)| start == 60));

    let moved = look(&Prepare { crop: Crop::Random, flip: false, ..prepare() });
    assert!(moved[0] != moved[1], "each epoch has its own crops");
    for start in (0..=120).step_by(20) {
        let count = moved.concat().iter().filter(|(_, s)| *s == start).count();
        assert!((8..45).contains(&count), "{count} of 160 begin at {start}");
    }
}

#[test]
fn targets_need_not_be_square() {
    let data = folder(4);
    let prepare = Prepare { height: 4, width: 12, channels: 1, flip: false, ..prepare() };
    let batch = batches(data.path(), &prepare, &options(), 0, 1).remove(0);
    assert_eq!(batch.images.len(), 4 * 4 * 12);
}

#[test]
fn bad_images_are_skipped_counted_and_listed() {
    let data = folder(38);
    put(data.path(), "0/900.png", b"<html>not found</html>");
    put(data.path(), "1/901.png", &flat(1)[..60]);
    put(data.path(), "1/README.txt", b"not counted");
    let path = data.path().join("skipped.txt");
    for look in [Duration::ZERO, Duration::from_secs(60)] {
        let mut loader =
            start(data.path(), &prepare(), &LoaderOptions { look, ..options() }, 0).unwrap();
        assert_eq!(loader.batches_per_epoch(), 10);
        let items: Vec<_> = (0..10).flat_map(|_| loader.next_batch().unwrap().items).collect();
        // Sorted by name, the bad ones are the last of each class. The next good one stands in.
        let order = Order { seed: 7, count: 40, batch: 4 }.shuffled(0);
        let good = |at: &usize| ![19, 39].contains(&order[at % 40]);
        let expected: Vec<_> = (0..40).map(|at| order[(at..).find(good).unwrap() % 40]).collect();
        assert_eq!(items, expected);
        let skipped = loader.skipped();
        assert_eq!(skipped.len(), 2);
        write_skipped(&path, &skipped).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].starts_with("0/900.png: is no image by its content"), "{text}");
        assert!(lines[1].starts_with("1/901.png: is damaged or truncated PNG"), "{text}");
    }
    let report = survey(&Source::open(Some(data.path())).unwrap(), &prepare(), &|| ()).unwrap();
    assert_eq!((report.listed, report.skipped.len()), (40, 2));
    let text = report.to_string();
    for part in ["38 of 40", "38 PNG", "12 x 8 (38)", "0 (19)", "0/900.png: is no", "38 cropped"] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
}

#[test]
fn more_than_a_tenth_bad_is_an_error() {
    let data = folder(36);
    for i in 0..4 {
        put(data.path(), &format!("0/9{i}.png"), b"this is not an image");
    }
    // 4 of 40 is a tenth, 4 of 39 is more.
    let looked = LoaderOptions { look: Duration::from_secs(60), ..options() };
    assert!(start(data.path(), &prepare(), &looked, 0).is_ok());
    fs::remove_file(data.path().join("1/035.png")).unwrap();
    let error = start(data.path(), &prepare(), &looked, 0).unwrap_err().to_string();
    assert!(error.contains("4 or more of the 39 images") && error.contains("a tenth"), "{error}");
    assert!(error.contains("0/90.png: is no image"), "{error}");

    // Without a look the error comes while they are found, at the latest within the epoch.
    let blind = LoaderOptions { look: Duration::ZERO, ..options() };
    let mut loader = start(data.path(), &prepare(), &blind, 0).unwrap();
    let error = (0..11).find_map(|_| loader.next_batch().err()).unwrap().to_string();
    assert!(error.contains("a tenth"), "{error}");

    // All bad: found out at once.
    let data = tempdir().unwrap();
    for i in 0..50 {
        put(data.path(), &format!("{i}.png"), b"this is not an image");
    }
    let error = start(data.path(), &prepare(), &looked, 0).unwrap_err().to_string();
    assert!(error.contains("a tenth"), "{error}");
    let mut loader = start(data.path(), &prepare(), &blind, 0).unwrap();
    assert!(loader.next_batch().unwrap_err().to_string().contains("a tenth"));
}

#[test]
fn fewer_images_than_a_batch_is_an_error() {
    let data = folder(30);
    let batch = |batch| LoaderOptions { batch, ..options() };
    let error = start(data.path(), &prepare(), &batch(31), 0).unwrap_err().to_string();
    assert!(error.contains("30 images, fewer than one batch of 31"), "{error}");
    assert!(start(data.path(), &prepare(), &batch(30), 0).is_ok());
    put(data.path(), "0/000.png", b"this is not an image");
    let error = start(data.path(), &prepare(), &batch(30), 0).unwrap_err().to_string();
    assert!(error.contains("29 readable images and 1 unreadable"), "{error}");
    assert!(
        start(data.path(), &prepare(), &batch(0), 0).unwrap_err().to_string().contains("`batch`")
    );
}

#[test]
fn a_random_crop_cannot_be_cached() {
    let data = folder(8);
    let prepare = Prepare { crop: Crop::Random, ..prepare() };
    let options = LoaderOptions { cache: CacheMode::On, ..options() };
    let error = start(data.path(), &prepare, &options, 0).unwrap_err().to_string();
    assert!(error.starts_with("`cache`") && error.contains("`crop` random"), "{error}");
}

#[test]
fn dropping_a_loader_ends_its_threads_at_once() {
    let data = folder(30);
    let source = Arc::new(Source::open(Some(data.path())).unwrap());
    for taken in [0, 1, 7] {
        let options = LoaderOptions { workers: 4, ..options() };
        let mut loader = Loader::start(Arc::clone(&source), prepare(), &options, 0).unwrap();
        (0..taken).for_each(|_| drop(loader.next_batch().unwrap()));
        let start = Instant::now();
        drop(loader);
        assert!(start.elapsed() < Duration::from_secs(5));
        // Each thread held the source.
        assert_eq!(Arc::strong_count(&source), 1);
    }
}
