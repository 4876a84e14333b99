//! Damaged files of every kind that DATA may hold: whatever is changed in them, reading them neither
//! panics nor hangs, and takes no more memory than it may. Each kind in a process of its own.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use dcgan::data::{LabelTable, Part, Reading, Source};
use image::{DynamicImage, ImageFormat, RgbaImage};
use tempfile::tempdir;

use crate::data_formats::{bmp_v4, deflate, encode, png, sample};
use crate::data_sets::fixture;
use crate::data_sources::{flat, gzip, idx, put, zip};
use crate::data_tiff::{self, tiff};
use crate::mutate::{each, in_child};

/// Files of each kind.
const COUNT: usize = 2000;

/// Files of each kind that takes longer.
const FEW: usize = 400;

/// All kinds, a process each.
#[test]
fn no_file_makes_a_reader_panic_hang_or_take_all_memory() {
    let kinds = [
        "png_files",
        "jpeg_files",
        "gif_files",
        "bmp_files",
        "webp_files",
        "tiff_files",
        "idx_files",
        "cifar",
        "zipped",
        "tarred",
        "targz",
        "json",
        "profiles",
        "arrays",
        "shards",
        "tables",
        "parquet",
        "lmdb",
    ];
    std::thread::scope(|scope| {
        // Two at a time.
        for half in [&kinds[..9], &kinds[9..]] {
            scope.spawn(move || {
                for kind in half {
                    let test = format!("data_mutations::{kind}");
                    let heard = in_child(&test, 3072, Duration::from_secs(100));
                    assert!(!heard.contains("panicked"), "{kind}: {heard}");
                }
            });
        }
    });
}

/// Reads everything that is to be read of a set.
fn read(path: &Path) {
    for part in [Part::All, Part::Test] {
        let Ok(source) = Source::open_part(Some(path), part) else { continue };
        let _ = (source.description(), source.fingerprint(), source.why_no_classes());
        for item in 0..source.len().min(20) {
            let _ = (source.item_name(item), source.image(item));
        }
        if let Some(labels) = source.labels() {
            assert!(labels.iter().all(|&label| (label as usize) < source.classes().len()));
            assert_eq!(labels.len(), source.len());
        }
    }
}

/// Reads damaged image files, each by itself; some must still be whole, and some not.
fn images(seed: u64, name: &str, valid: &[Vec<u8>], mend: impl Fn(&mut [u8])) {
    let dir = tempdir().unwrap();
    let path = dir.path().join(name);
    let (mut good, mut bad, mut caught) = (0, 0, 0);
    each(seed, valid, COUNT, |bytes| {
        let mut bytes = bytes.to_vec();
        mend(&mut bytes);
        fs::write(&path, &bytes).unwrap();
        // A single file, as `dcgan invert` takes it: decoded as in a set.
        match dcgan::data::open_image(&path) {
            Ok(_) => good += 1,
            Err(error) => {
                bad += 1;
                caught += usize::from(error.to_string().contains("the decoder fails on"));
            }
        }
    });
    assert!(good > COUNT / 50 && bad > COUNT / 50, "{good} good, {bad} bad");
    // Panics are caught, those of this program's own code among them, which has none to hide.
    assert_eq!(caught, 0, "panics were caught");
}

/// Pixels of which no two are alike, so that there is something to pack.
fn image() -> DynamicImage {
    DynamicImage::ImageRgb8(image::imageops::resize(
        &sample(),
        40,
        30,
        image::imageops::FilterType::Triangle,
    ))
}

fn with_alpha() -> DynamicImage {
    DynamicImage::ImageRgba8(RgbaImage::from_fn(20, 30, |x, y| {
        image::Rgba([x as u8 * 9, y as u8 * 7, 3, (x * y) as u8])
    }))
}

/// Puts the right checksums behind the chunks of a PNG: a wrong one would be the end of it.
fn mend_png(bytes: &mut [u8]) {
    let mut at = 8;
    while let Some(head) = bytes.get(at..at + 4) {
        let len = u32::from_be_bytes(head.try_into().unwrap()) as usize;
        let Some(chunk) = bytes.get(at + 4..(at + 8).saturating_add(len)) else { return };
        let mut sum = flate2::Crc::new();
        sum.update(chunk);
        let end = at + 8 + len;
        let Some(place) = bytes.get_mut(end..end + 4) else { return };
        place.copy_from_slice(&sum.sum().to_be_bytes());
        at = end + 4;
    }
}

#[test]
#[ignore = "run by a test above, in a process of its own"]
fn png_files() {
    let palette = png(
        3,
        1,
        2,
        3,
        &[(b"PLTE", &[1; 9]), (b"tRNS", &[0]), (b"IDAT", &deflate(&[0, 0b10_00_01_00]))],
    );
    let interlaced = png(
        4,
        4,
        16,
        0,
        &[
            (b"gAMA", &[0, 0, 1, 1]),
            (b"IDAT", &deflate(&[0; 60])),
            (b"eXIf", b"MM\0*\0\0\0\x08\0\0"),
        ],
    );
    let valid = [
        encode(&image(), ImageFormat::Png),
        encode(&with_alpha(), ImageFormat::Png),
        palette,
        interlaced,
    ];
    images(1, "a.png", &valid, mend_png);
}

#[test]
#[ignore = "run by a test above, in a process of its own"]
fn jpeg_files() {
    let valid = [
        encode(&image(), ImageFormat::Jpeg),
        encode(&image().grayscale(), ImageFormat::Jpeg),
        include_bytes!("fixtures/cmyk.jpg").to_vec(),
        include_bytes!("fixtures/ycck.jpg").to_vec(),
    ];
    images(2, "a.jpg", &valid, |_| ());
}

#[test]
#[ignore = "run by a test above, in a process of its own"]
fn gif_files() {
    let valid = [encode(&image(), ImageFormat::Gif), encode(&with_alpha(), ImageFormat::Gif)];
    images(3, "a.gif", &valid, |_| ());
}

#[test]
#[ignore = "run by a test above, in a process of its own"]
fn bmp_files() {
    let valid = [
        encode(&image(), ImageFormat::Bmp),
        encode(&image().grayscale(), ImageFormat::Bmp),
        bmp_v4(|i| i as u8),
    ];
    images(4, "a.bmp", &valid, |_| ());
}

#[test]
#[ignore = "run by a test above, in a process of its own"]
fn webp_files() {
    let valid = [encode(&image(), ImageFormat::WebP), encode(&with_alpha(), ImageFormat::WebP)];
    images(5, "a.webp", &valid, |_| ());
}

#[test]
#[ignore = "run by a test above, in a process of its own"]
fn tiff_files() {
    use data_tiff::Values::Short;
    let with = |tag: u16, value: Vec<u16>, kind, bits, samples| {
        let mut tags = data_tiff::tags(kind, bits, samples);
        tags.push((tag, Short(value)));
        tags
    };
    let floats: Vec<u8> = (0..48).flat_map(|i| (i as f32 / 48.0).to_le_bytes()).collect();
    let jpeg = encode(&DynamicImage::ImageRgb8(sample()), ImageFormat::Jpeg);
    let mut strip = with(259, vec![7], 6, 8, 3);
    strip.push((530, Short(vec![1, 1])));
    let valid = [
        encode(&image(), ImageFormat::Tiff),
        tiff(&data_tiff::tags(2, 8, 3), &sample().into_raw(), false, true),
        tiff(&with(320, vec![7; 48], 3, 4, 1), &[0x12; 24], true, false),
        tiff(&with(339, vec![3], 1, 32, 1), &floats, true, false),
        tiff(&with(338, vec![1], 2, 8, 4), &[9; 192], true, false),
        tiff(&strip, &jpeg, true, false),
        tiff(&data_tiff::tags(5, 16, 4), &[3; 384], false, false),
    ];
    images(6, "a.tif", &valid, |_| ());
}

/// Reads damaged files, each as DATA itself.
fn sets(seed: u64, name: &str, valid: &[Vec<u8>], mend: impl Fn(&[u8]) -> Vec<u8>) {
    counted_sets(seed, COUNT, name, valid, mend);
}

fn few_sets(seed: u64, name: &str, valid: &[Vec<u8>], mend: impl Fn(&[u8]) -> Vec<u8>) {
    counted_sets(seed, FEW, name, valid, mend);
}

fn counted_sets(
    seed: u64,
    count: usize,
    name: &str,
    valid: &[Vec<u8>],
    mend: impl Fn(&[u8]) -> Vec<u8>,
) {
    let dir = tempdir().unwrap();
    let path = dir.path().join(name);
    let mut opened = 0;
    each(seed, valid, count, |bytes| {
        fs::write(&path, mend(bytes)).unwrap();
        opened += usize::from(Source::open(Some(&path)).is_ok());
        read(&path);
    });
    assert!(opened > count / 50 && opened < count, "{opened} were opened");
}

#[test]
#[ignore = "run by a test above, in a process of its own"]
fn idx_files() {
    let dir = tempdir().unwrap();
    let gray = idx(&[3, 4, 5], &[7; 60]);
    let color = idx(&[2, 3, 3, 4], &[7; 72]);
    let labels = idx(&[3], &[1, 2, 1]);
    let images = dir.path().join("a-images-idx3-ubyte");
    let beside = dir.path().join("a-labels-idx1-ubyte");
    fs::write(&beside, &labels).unwrap();
    let valid = [gray.clone(), gzip(&gray), color];
    each(7, &valid, COUNT / 2, |bytes| {
        fs::write(&images, bytes).unwrap();
        read(&images);
        read(dir.path());
    });
    fs::write(&images, &gray).unwrap();
    each(8, &[gzip(&labels), labels], COUNT / 2, |bytes| {
        fs::write(&beside, bytes).unwrap();
        read(&images);
    });
}

#[test]
#[ignore = "run by a test above, in a process of its own"]
fn cifar() {
    let dir = tempdir().unwrap();
    let record = |label| [&[label][..], &[9; 3072]].concat();
    let valid = [[record(3), record(9)].concat(), record(0)];
    put(dir.path(), "data_batch_1.bin", &valid[0]);
    each(9, &valid, COUNT, |bytes| {
        put(dir.path(), "test_batch.bin", bytes);
        read(&dir.path().join("test_batch.bin"));
        read(dir.path());
    });
}

#[test]
#[ignore = "run by a test above, in a process of its own"]
fn zipped() {
    let dir = tempdir().unwrap();
    let json = b"{\"labels\": [[\"a/1.png\", 1], [\"b/2.png\", 0]]}";
    let files: [(&str, &[u8]); 4] = [
        ("a/1.png", &flat(1)),
        ("b/2.png", &flat(2)),
        ("dataset.json", json),
        ("model.bin", &[3; 500]),
    ];
    let valid = [true, false].map(|stored| {
        let path = dir.path().join("valid.zip");
        zip(&path, stored, &files);
        fs::read(path).unwrap()
    });
    sets(10, "a.zip", &valid, <[u8]>::to_vec);
}

/// A tar with everything in it.
fn tar() -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let long = format!("{}/1.png", "long".repeat(40));
    for name in ["a/1.png", "b/2.png", &long] {
        let mut header = tar::Header::new_gnu();
        header.set_size(flat(1).len() as u64);
        tar.append_data(&mut header, name, flat(1).as_slice()).unwrap();
    }
    tar.append_pax_extensions([("path", &b"c/4.png"[..]), ("size", b"3")]).unwrap();
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Link);
    header.set_size(0);
    tar.append_link(&mut header, "c/3.png", "a/1.png").unwrap();
    let mut writer = tar.into_inner().unwrap();
    writer.flush().unwrap();
    writer
}

/// Puts the right checksums into what look like headers of a tar.
fn mend_tar(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for block in bytes.chunks_exact_mut(512) {
        let is_header = block[257..262] == *b"ustar" || block[100..107] == *b"0000644";
        if is_header {
            let mut header = tar::Header::new_old();
            header.as_mut_bytes().copy_from_slice(block);
            header.set_cksum();
            block.copy_from_slice(header.as_bytes());
        }
    }
    bytes
}

#[test]
#[ignore = "run by a test above, in a process of its own"]
fn tarred() {
    sets(11, "a.tar", &[tar()], mend_tar);
}

#[test]
#[ignore = "run by a test above, in a process of its own"]
fn targz() {
    sets(12, "a.tar.gz", &[tar()], |bytes| gzip(&mend_tar(bytes)));
    sets(13, "a.tgz", &[gzip(&tar())], <[u8]>::to_vec);
}

#[test]
#[ignore = "run by a test above, in a process of its own"]
fn json() {
    let dir = tempdir().unwrap();
    put(dir.path(), "a/1.png", &flat(1));
    put(dir.path(), "b/2.png", &flat(2));
    let valid = [
        &b"{\"labels\": [[\"a/1.png\", 1], [\"b/2.png\", 0]]}"[..],
        b"{\"labels\": {\"a/1.png\": 4294967295, \"b/2.png\": 0}}",
        b"{\"labels\": [[\"a/1.png\", [0.5, 1]], [\"b/2.png\", [1e3, {}]]], \"x\": [[[]]]}",
        b"{\"labels\": null}",
    ];
    each(14, &valid.map(<[u8]>::to_vec), COUNT, |bytes| {
        put(dir.path(), "dataset.json", bytes);
        read(dir.path());
    });
}

/// The bytes of sets that other libraries made.
fn made(names: &[&str]) -> Vec<Vec<u8>> {
    names.iter().map(|name| fs::read(fixture(name)).unwrap()).collect()
}

#[test]
#[ignore = "run by a test above, in a process of its own"]
fn profiles() {
    // Of a PNG the profile is packed: it is changed and packed again.
    let jpeg = made(&["p3.jpg"]);
    images(15, "a.jpg", &jpeg, |_| ());
    let at = jpeg[0].windows(12).position(|w| w == b"ICC_PROFILE\0").unwrap();
    let len = usize::from(jpeg[0][at - 2]) << 8 | usize::from(jpeg[0][at - 1]);
    let profile = at + 14..at - 2 + len;
    let dir = tempdir().unwrap();
    let path = dir.path().join("a.jpg");
    each(16, &[jpeg[0][profile.clone()].to_vec()], FEW, |bytes| {
        let mut whole = jpeg[0].clone();
        let n = bytes.len().min(profile.len());
        whole[profile.clone()][..n].copy_from_slice(&bytes[..n]);
        fs::write(&path, whole).unwrap();
        // A profile that is damaged does not make an image unreadable.
        dcgan::data::open_image(&path).unwrap();
    });
}

#[test]
#[ignore = "run by a test above, in a process of its own"]
fn arrays() {
    few_sets(17, "a.npy", &made(&["floats.npy", "signed.npy"]), <[u8]>::to_vec);
    few_sets(18, "a.npz", &made(&["color.npz", "parts.npz"]), <[u8]>::to_vec);
    few_sets(19, "a.mat", &made(&["digits.mat", "plain.mat"]), <[u8]>::to_vec);
    if cfg!(feature = "hdf5") {
        few_sets(20, "a.h5", &made(&["packed.h5", "plain.hdf5"]), <[u8]>::to_vec);
    }
}

#[test]
#[ignore = "run by a test above, in a process of its own"]
fn shards() {
    let dir = tempdir().unwrap();
    put(dir.path(), "b.tar", &made(&["shards/set-000001.tar"])[0]);
    each(21, &made(&["shards/set-000000.tar"]), FEW, |bytes| {
        put(dir.path(), "a.tar", &mend_tar(bytes));
        read(dir.path());
        if let Ok(source) = Source::open(Some(dir.path())) {
            let _ = source.captions();
        }
    });
}

/// Tables of labels.
#[test]
#[ignore = "run by a test above, in a process of its own"]
fn tables() {
    let dir = tempdir().unwrap();
    for (i, name) in ["set/a/1.png", "set/b/2.png"].iter().enumerate() {
        put(dir.path(), name, &flat(i as u8));
    }
    let valid = [
        &b"file,x,y\n1.png,1,cat\n2.png,2,\"dog\"\n"[..],
        b"2\nBald Smiling\n1.png -1 1\n2.png 1 1\n",
        b"a/1.png\tcat\nb/2.png\tdog\n",
    ];
    let mut fit = 0;
    each(22, &valid.map(<[u8]>::to_vec), COUNT, |bytes| {
        put(dir.path(), "t.csv", bytes);
        for column in [None, Some("y".to_owned()), Some("Bald".to_owned())] {
            let labels = Some(LabelTable { file: dir.path().join("t.csv"), column });
            let reading = Reading { labels, ..Reading::default() };
            if let Ok(source) = Source::open_as(Some(&dir.path().join("set")), &reading) {
                fit += 1;
                let labels = source.labels().unwrap_or_default();
                assert!(labels.iter().all(|&label| (label as usize) < source.classes().len()));
            }
        }
    });
    assert!(fit > COUNT / 50, "{fit}");
}

#[cfg(feature = "parquet")]
#[test]
#[ignore = "run by a test above, in a process of its own"]
fn parquet() {
    let valid = made(&["hub/data/train-00000-of-00001.parquet", "plain.parquet"]);
    few_sets(23, "a.parquet", &valid, <[u8]>::to_vec);
    // What the file says of itself is at its end.
    let ends = valid.iter().map(|whole| whole.iter().rev().copied().collect()).collect::<Vec<_>>();
    few_sets(24, "a.parquet", &ends, |bytes| bytes.iter().rev().copied().collect());
}

#[test]
#[ignore = "run by a test above, in a process of its own"]
fn lmdb() {
    // Its tree is behind the two pages that describe it.
    let valid = made(&["flat_train_lmdb/data.mdb"]);
    few_sets(25, "data.mdb", &valid, <[u8]>::to_vec);
    let start = 2 * 4096;
    few_sets(26, "data.mdb", &[valid[0][start..].to_vec()], |bytes| {
        [&valid[0][..start], bytes].concat()
    });
}
