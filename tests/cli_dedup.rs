//! `dcgan dedup`: planted near-duplicates go, all else stays as it was, byte for byte.

use std::fs;
use std::io::Cursor;
use std::path::Path;

use dcgan::data::Source;
use dcgan::rng::Stream;
use image::codecs::jpeg::JpegEncoder;
use image::{DynamicImage, ImageFormat, Rgb, RgbImage};

use crate::cli::{Place, contents, names};
use crate::data_formats::encode;
use crate::data_sources::put;

/// Few steps of training do for so few images.
const QUICK: &[&str] = &["--device", "cpu", "--steps", "15"];

/// Image `i`: waves and a disc, seen from a place and in a brightness.
fn scene(i: u32, [dy, dx]: [i32; 2], gain: f32) -> RgbImage {
    let mut r = [0.0; 16];
    Stream::new(5, "scene", i).fill_uniform(&mut r);
    RgbImage::from_fn(32, 32, |x, y| {
        let (y, x) = ((y as i32 + dy) as f32, (x as i32 + dx) as f32);
        let disc = (y - 8.0 - 16.0 * r[12]).powi(2) + (x - 8.0 - 16.0 * r[13]).powi(2) < 30.0;
        let channel = |c: usize| {
            let r = &r[4 * c..];
            let slow = ((r[0] - 0.5) * 0.5 * x + (r[1] - 0.5) * 0.5 * y + 6.3 * r[2]).sin();
            let fast = (0.7 * (r[3] - 0.5) * x + 0.5 * y).cos();
            let v =
                120.0 + 60.0 * slow + 20.0 * fast + if disc { 50.0 * (r[1] - 0.5) } else { 0.0 };
            (v * gain).clamp(0.0, 255.0) as u8
        };
        Rgb([0, 1, 2].map(channel))
    })
}

fn png(image: RgbImage) -> Vec<u8> {
    encode(&DynamicImage::from(image), ImageFormat::Png)
}

/// Sixty images below `root`, of which five come twice, one comes three times, and one is none.
fn planted(root: &Path) {
    for i in 0..50 {
        put(root, &format!("a/{i:02}.png"), &png(scene(i, [0, 0], 1.0)));
    }
    put(root, "b/copy-03.png", &png(scene(3, [0, 0], 1.0)));
    put(root, "b/moved-07.png", &png(scene(7, [0, 1], 1.0)));
    put(root, "b/moved-11.png", &png(scene(11, [-2, 1], 1.0)));
    put(root, "b/bright-20.png", &png(scene(20, [0, 0], 1.15)));
    let mut jpeg = Cursor::new(Vec::new());
    let encoder = JpegEncoder::new_with_quality(&mut jpeg, 70);
    scene(30, [0, 0], 1.0).write_with_encoder(encoder).unwrap();
    put(root, "b/coded-30.jpg", jpeg.get_ref());
    put(root, "b/moved-30.png", &png(scene(30, [1, 1], 1.0)));
    // Of more pixels than its small copy, and so the one that stays.
    let large = DynamicImage::from(scene(40, [0, 0], 1.0));
    let large = large.resize_exact(64, 64, image::imageops::FilterType::Triangle);
    put(root, "b/large-40.png", &encode(&large, ImageFormat::Png));
    put(root, "b/bad.png", b"no image");
    put(root, "notes.txt", b"text");
}

const GONE: [&str; 7] = [
    "a/40.png",
    "b/bright-20.png",
    "b/coded-30.jpg",
    "b/copy-03.png",
    "b/moved-07.png",
    "b/moved-11.png",
    "b/moved-30.png",
];

fn report(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Every string of an array of strings, or of arrays of them.
fn strings(value: &serde_json::Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|v| v.as_str().unwrap().to_owned()).collect()
}

#[test]
fn planted_duplicates_go_and_the_rest_is_copied_as_it_is() {
    let place = Place::new();
    planted(&place.path("data"));
    let before = contents(&place.path("data/a"));
    let said = place.dcgan(&[&["dedup", "data", "--out", "kept/"], QUICK]).ok();
    assert!(said.stderr.contains("unreadable, kept: b/bad.png"), "{said:?}");
    assert!(said.stdout.contains("7 of 58 images in 6 groups"), "{said:?}");
    assert!(said.stdout.contains("51 images in kept/"), "{said:?}");
    assert_eq!(contents(&place.path("data/a")), before, "the set itself was touched");

    let report_file = report(&place.path("dedup.json"));
    let groups = report_file["groups"].as_array().unwrap();
    let mut gone: Vec<String> = groups.iter().flat_map(|g| strings(&g["dropped"])).collect();
    gone.sort();
    assert_eq!(gone, GONE);
    let large = groups.iter().find(|g| g["kept"] == "b/large-40.png").unwrap();
    assert_eq!(strings(&large["dropped"]), ["a/40.png"]);
    assert!(groups.iter().all(|g| g["difference"].as_f64().unwrap() <= 1.0));

    assert_eq!(names(&place.path("kept")), ["a", "b"]);
    assert_eq!(names(&place.path("kept/b")), ["bad.png", "large-40.png"]);
    assert_eq!(names(&place.path("kept/a")).len(), 49);
    for (name, bytes) in contents(&place.path("kept/a")) {
        assert!(before.contains(&(name.clone(), bytes)), "{name} is not what it was");
    }
    let sheet = image::open(place.path("dedup.png")).unwrap();
    assert!(sheet.width() > 300 && sheet.height() > 500, "{}", sheet.height());

    // Again, as a zip and dry: the same, byte for byte.
    let first = [fs::read(place.path("dedup.json")), fs::read(place.path("dedup.png"))];
    place.dcgan(&[&["dedup", "data", "--out", "kept.zip"], QUICK]).ok();
    let second = [fs::read(place.path("dedup.json")), fs::read(place.path("dedup.png"))];
    assert_eq!(first.map(Result::unwrap), second.map(Result::unwrap));
    let zipped = Source::open(Some(&place.path("kept.zip"))).unwrap();
    let folder = Source::open(Some(&place.path("kept"))).unwrap();
    assert_eq!(zipped.fingerprint(), folder.fingerprint());
    let dry = ["dedup", "data", "--dry-run", "--report", "dry.json", "--sheet", "dry.png"];
    let said = place.dcgan(&[&dry, QUICK]).ok();
    assert!(said.stdout.contains("nothing was copied"), "{said:?}");
    assert_eq!(report(&place.path("dry.json")), report_file);

    // The paper's plain rule finds the copy, and not what was moved.
    let plain = ["dedup", "kept.zip", "--exact", "--dry-run", "--report", "none.json"];
    place.dcgan(&[&plain, QUICK]).ok();
    let exact = ["dedup", "data", "--exact", "--dry-run", "--report", "exact.json"];
    place.dcgan(&[&exact, QUICK]).ok();
    let exact = report(&place.path("exact.json"));
    let groups = exact["groups"].as_array().unwrap();
    let gone: Vec<String> = groups.iter().flat_map(|g| strings(&g["dropped"])).collect();
    assert!(gone.contains(&"b/copy-03.png".into()) && exact["limit"].is_null(), "{exact}");
    assert!(!gone.contains(&"b/moved-11.png".into()), "{exact}");
}

#[test]
fn packed_sets_stay_packed() {
    let place = Place::new();
    let record = |i: u32, label: u8| {
        let image = scene(i, [0, 0], 1.0);
        let plane = |c: usize| image.pixels().map(move |p| p.0[c]).collect::<Vec<u8>>();
        [vec![label], plane(0), plane(1), plane(2)].concat()
    };
    let batch = |from: u32| (from..from + 10).flat_map(|i| record(i, (i % 10) as u8));
    put(&place.path("cifar"), "data_batch_1.bin", &batch(0).collect::<Vec<u8>>());
    let second: Vec<u8> = batch(10).chain(record(4, 4)).chain(record(30, 7)).collect();
    put(&place.path("cifar"), "data_batch_2.bin", &second);
    let words = ["dedup", "cifar", "--out", "kept"];
    let said = place.dcgan(&[&words, QUICK]).ok().stdout;
    assert!(said.contains("1 of 22 images"), "{said}");
    let kept = contents(&place.path("kept"));
    assert_eq!(kept[0].1, batch(0).collect::<Vec<u8>>());
    let wanted: Vec<u8> = batch(10).chain(record(30, 7)).collect();
    assert!(kept[1] == ("data_batch_2.bin".into(), wanted));

    // Gray, gzipped, with labels.
    let gray = |i: u32| DynamicImage::from(scene(i, [0, 0], 1.0)).into_luma8().into_raw();
    let idx = |sizes: &[u32], bytes: Vec<u8>| {
        let head = [0, 0, 8, sizes.len() as u8].into_iter();
        let sizes = sizes.iter().flat_map(|size| size.to_be_bytes());
        head.chain(sizes).chain(bytes).collect::<Vec<u8>>()
    };
    let images = |items: &[u32]| {
        idx(&[items.len() as u32, 32, 32], items.iter().flat_map(|&i| gray(i)).collect())
    };
    let packed = crate::data_sources::gzip(&images(&[0, 1, 2, 1, 3]));
    put(&place.path("mnist"), "train-images-idx3-ubyte.gz", &packed);
    put(&place.path("mnist"), "train-labels-idx1-ubyte", &idx(&[5], vec![5, 6, 7, 6, 8]));
    place.dcgan(&[&["dedup", "mnist", "--out", "few"], QUICK]).ok();
    let few = contents(&place.path("few"));
    assert_eq!(few[0], ("train-images-idx3-ubyte".into(), images(&[0, 1, 2, 3])));
    assert_eq!(few[1], ("train-labels-idx1-ubyte".into(), idx(&[4], vec![5, 6, 7, 8])));
}

#[test]
fn what_cannot_work_is_refused_before_the_work() {
    let place = Place::new();
    put(&place.path("one"), "a.png", &png(scene(1, [0, 0], 1.0)));
    for i in 0..3 {
        put(&place.path("few"), &format!("{i}.png"), &png(scene(i, [0, 0], 1.0)));
    }
    put(&place.path("used"), "mine.txt", b"mine");
    fs::write(place.path("file"), "mine").unwrap();
    fs::write(place.path("there.zip"), "mine").unwrap();
    let cases: &[(&[&str], i32, &[&str])] = &[
        (&["one", "--out", "kept"], 1, &["one", "one image", "two or more"]),
        (&["none", "--out", "kept"], 1, &["none", "does not exist"]),
        (&["few", "--out", "used"], 1, &["used", "not empty"]),
        (&["few", "--out", "file"], 1, &["file", "new folder"]),
        (&["few", "--out", "there.zip"], 1, &["there.zip", "exists"]),
        (&["few", "--out", "no/such/place"], 1, &["no/such/place", "does not exist"]),
        (&["few", "--out", "few/kept"], 2, &["--out", "inside DATA", "outside"]),
        (&["few", "--dry-run", "--limit", "0"], 2, &["--limit", "above 0"]),
        (&["few", "--dry-run", "--sheet", "a.jpg"], 2, &["--sheet", ".png"]),
        (&["few", "--dry-run", "--report", "a.txt"], 2, &["--report", ".json"]),
    ];
    for (words, code, message) in cases {
        place.dcgan(&[&["dedup"], words, QUICK]).refused(*code, message);
    }
    for (words, message) in [
        (&["few"][..], "--out"),
        (&["few", "--dry-run", "--out", "kept"], "cannot be used with"),
        (&["few", "--dry-run", "--exact", "--limit", "1"], "cannot be used with"),
    ] {
        let outcome = place.dcgan(&[&["dedup"], words]);
        assert!(outcome.code == Some(2) && outcome.stderr.contains(message), "{outcome:#?}");
    }
    assert_eq!(contents(&place.path("used")), [("mine.txt".into(), b"mine".to_vec())]);
    assert_eq!(fs::read(place.path("there.zip")).unwrap(), b"mine");
    let left = names(&place.path(""));
    assert!(!left.iter().any(|name| name.contains("kept") || name.ends_with(".tmp")), "{left:?}");
}
