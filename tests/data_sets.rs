//! Sets in the formats of other libraries, made by these (`fixtures/sets/make.py`): image i of six is of the
//! color (40 i, 255 - 40 i, 10 i) but for its corner, which is (i, 2 i, 3 i), and its class is i % 3.

use std::fs;
use std::path::PathBuf;

use dcgan::data::{Kind, LabelTable, Part, Reading, Source};
use tempfile::tempdir;

use crate::cli::{Place, TINY};
use crate::data_sources::{flat, idx, open, put};

pub(crate) fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/sets").join(name)
}

fn part(name: &str, part: Part) -> Source {
    Source::open_part(Some(&fixture(name)), part).unwrap()
}

/// Checks that a set has these of the six images, and their classes where it has any.
fn check(source: &Source, wanted: &[u8], gray: bool, off: u8) {
    assert_eq!(source.len(), wanted.len());
    for (item, &i) in wanted.iter().enumerate() {
        let image = source.image(item).unwrap().pixels.into_rgb8();
        assert_eq!(image.dimensions(), (8, 8));
        let close = |at: (u32, u32), color: [u8; 3]| {
            let color = if gray { [color[0]; 3] } else { color };
            let seen = image.get_pixel(at.0, at.1).0;
            let far = |(a, b): (u8, u8)| a.abs_diff(b) > off;
            assert!(!seen.into_iter().zip(color).any(far), "{i}: {seen:?}, not {color:?}");
        };
        close((0, 0), [i, 2 * i, 3 * i]);
        close((7, 7), [40 * i, 255 - 40 * i, 10 * i]);
        close((1, 0), [40 * i, 255 - 40 * i, 10 * i]);
    }
}

fn labels(source: &Source) -> (Vec<u32>, Vec<&str>) {
    let names = source.classes().iter().map(String::as_str).collect();
    (source.labels().unwrap_or_default().to_vec(), names)
}

#[test]
fn arrays_of_numpy_are_read() {
    let train = part("parts.npz", Part::Train);
    check(&train, &[0, 1, 2, 3], true, 0);
    assert_eq!(train.kind(), Kind::NumPy);
    assert!(train.is_gray());
    assert_eq!(labels(&train), (vec![0, 1, 2, 0], vec!["0", "1", "2"]));
    let test = part("parts.npz", Part::Test);
    check(&test, &[4, 5], true, 0);
    assert_eq!(labels(&test), (vec![0, 1], vec!["1", "2"]));
    check(&part("parts.npz", Part::All), &[0, 1, 2, 3, 4, 5], true, 0);
    let source = open(&fixture("parts.npz"));
    assert_eq!(source.description(), "NumPy, 4 images of x_train.npy, 3 classes");
    let note = source.notes().join("\n");
    assert!(note.contains("the training part is taken"), "{note}");
    assert_eq!((source.name(), source.item_name(2).as_str()), ("parts", "x_train.npy[2]"));

    let color = open(&fixture("color.npz"));
    check(&color, &[0, 1, 2, 3, 4, 5], false, 0);
    assert_eq!(labels(&color), (vec![0, 1, 2, 0, 1, 2], vec!["0", "1", "2"]));
    // Floats, big-endian, in Fortran's order, channels first; and from -1 to 1.
    for name in ["floats.npy", "signed.npy"] {
        let source = open(&fixture(name));
        check(&source, &[0, 1, 2, 3, 4, 5], false, 0);
        assert_eq!(source.labels(), None);
    }
    // A folder of arrays, as they lie in an archive.
    let data = tempdir().unwrap();
    let mut zip = zip::ZipArchive::new(fs::File::open(fixture("parts.npz")).unwrap()).unwrap();
    zip.extract(data.path()).unwrap();
    check(&open(data.path()), &[0, 1, 2, 3], true, 0);
}

#[test]
fn damaged_and_unfit_arrays_are_refused_by_name() {
    let data = tempdir().unwrap();
    let error = |name: &str, bytes: &[u8]| {
        put(data.path(), name, bytes);
        let error = Source::open(Some(&data.path().join(name))).unwrap_err().to_string();
        assert!(error.contains(name) && !error.contains('\n'), "{error}");
        error
    };
    let whole = fs::read(fixture("floats.npy")).unwrap();
    let said = error("short.npy", &whole[..whole.len() - 5]);
    assert!(said.contains("1150 of its 1152 values"), "{said}");
    let said = error("header.npy", &whole[..40]);
    assert!(said.contains("damaged or truncated"), "{said}");
    let mut huge = whole.clone();
    let at = huge.windows(6).position(|w| w == b"(6, 3,").unwrap();
    huge[at + 1] = b'9';
    let said = error("huge.npy", &huge);
    assert!(said.contains("1152 of its 1728 values"), "{said}");
}

/// What is kept of a set of arrays is one of arrays.
#[test]
fn a_subset_of_arrays_is_one_of_arrays() {
    let source = open(&fixture("color.npz"));
    let data = tempdir().unwrap();
    let path = data.path().join("kept.zip");
    let mut out = dcgan::data::SubsetWriter::create(&path).unwrap();
    source.write_subset(&[1, 2, 5], &[], &mut out, |_| ()).unwrap();
    out.finish().unwrap();
    let kept = open(&path);
    check(&kept, &[1, 2, 5], false, 0);
    assert_eq!(labels(&kept), (vec![0, 1, 1], vec!["1", "2"]));
}

fn with_labels(path: &std::path::Path, file: PathBuf, column: Option<&str>) -> Source {
    let labels = Some(LabelTable { file, column: column.map(str::to_owned) });
    Source::open_as(Some(path), &Reading { labels, ..Reading::default() }).unwrap()
}

#[test]
fn labels_come_from_a_table() {
    let data = tempdir().unwrap();
    for (i, name) in ["000001.png", "000002.png", "000003.png"].iter().enumerate() {
        put(&data.path().join("img"), name, &flat(i as u8));
    }
    let celeba = "3\nBald Smiling \n000001.jpg -1  1\n000002.jpg  1 -1\n000003.jpg -1 1\n";
    // Its names end in .jpg as the files do; without endings any will do.
    put(data.path(), "list_attr_celeba.txt", celeba.replace(".jpg", ".png").as_bytes());
    put(data.path(), "who.csv", b"id,who\n000001,ann\n000002,bob\n000003,ann\n");
    let images = data.path().join("img");
    let smiling = with_labels(&images, data.path().join("list_attr_celeba.txt"), Some("Smiling"));
    assert_eq!(labels(&smiling), (vec![1, 0, 1], vec!["not Smiling", "Smiling"]));
    assert_eq!(smiling.classes_by(), Some("Smiling of list_attr_celeba.txt"));
    let who = with_labels(&images, data.path().join("who.csv"), None);
    assert_eq!(labels(&who), (vec![0, 1, 0], vec!["ann", "bob"]));
    assert_ne!(who.fingerprint(), smiling.fingerprint());
    // Arrays have no names: row by row.
    put(data.path(), "x.idx", &idx(&[3, 2, 2], &[0; 12]));
    put(data.path(), "rows.csv", b"kind\nx\ny\nx\n");
    let rows = with_labels(&data.path().join("x.idx"), data.path().join("rows.csv"), None);
    assert_eq!(labels(&rows), (vec![0, 1, 0], vec!["x", "y"]));
    let refused = |path: PathBuf, file: &str| {
        let labels = Some(LabelTable { file: data.path().join(file), column: None });
        let reading = Reading { labels, ..Reading::default() };
        Source::open_as(Some(&path), &reading).unwrap_err().to_string()
    };
    put(data.path(), "short.csv", b"id,who\n000001,ann\n000003,ann\n");
    let said = refused(images.clone(), "short.csv");
    assert!(said.contains("short.csv") && said.contains("first: 000002.png"), "{said}");
    let said = refused(data.path().join("x.idx"), "short.csv");
    assert!(said.contains("several columns"), "{said}");
    assert!(refused(images.clone(), "none.csv").contains("none.csv"));
    assert!(refused(images, "img").contains("is no file"));
}

#[test]
fn a_run_goes_on_with_the_labels_of_its_table() {
    let place = Place::new();
    for n in 0..16 {
        put(&place.path("set"), &format!("{n:02}.png"), &flat(n));
    }
    let table = |odd: &str| -> String {
        let row = |n| format!("{n:02}.png,{}\n", if n % 2 == 0 { "even" } else { odd });
        std::iter::once("file,kind\n".to_owned()).chain((0..16).map(row)).collect()
    };
    put(&place.path(""), "kinds.csv", table("odd").as_bytes());
    put(&place.path(""), "other.csv", table("odd").as_bytes());
    let said =
        place.dcgan(&[&["data", "set", "--size", "16", "--labels", "kinds.csv"]]).ok().stdout;
    assert!(said.contains("2 classes") && said.contains("classes by  kind of kinds.csv"), "{said}");
    assert!(said.contains("even (8)"), "{said}");
    let words = ["train", "set", "--images", "16", "--batch", "8", "--device", "cpu"];
    let classes = ["--conditional", "--labels", "kinds.csv", "--label-column", "kind"];
    place.dcgan(&[&words, TINY, &classes]).ok();
    let run = place.only_run("runs");
    let resume = |more: &[&str]| {
        let words = ["train", "--resume", run.to_str().unwrap(), "--images", "32"];
        place.dcgan(&[&words, more])
    };
    resume(&["--labels", "other.csv"]).refused(2, &["--labels: the run was started with other"]);
    put(&place.path(""), "kinds.csv", table("even").as_bytes());
    resume(&[]).refused(1, &["the images that the run was started with"]);
    put(&place.path(""), "kinds.csv", table("odd").as_bytes());
    resume(&[]).ok();
    place
        .dcgan(&[&["data", "set", "--labels", "kinds.csv", "--label-column", "color"]])
        .refused(1, &["kinds.csv", "no column \"color\"; its columns are kind"]);
    place
        .dcgan(&[&["data", "set", "--labels", "kinds.csv", "--class-level", "1"]])
        .refused(2, &["--labels", "--class-level"]);
}

#[test]
fn matrices_of_matlab_are_read() {
    for (name, wanted) in [("digits.mat", vec!["0", "1", "2"]), ("plain.mat", vec!["0", "1", "2"])]
    {
        let source = open(&fixture(name));
        assert_eq!(source.kind(), Kind::Matlab);
        check(&source, &[0, 1, 2, 3, 4, 5], false, 0);
        // The digit 0 is 10 in SVHN.
        assert_eq!(labels(&source), (vec![0, 1, 2, 0, 1, 2], wanted));
    }
}

#[cfg(feature = "hdf5")]
#[test]
fn datasets_of_hdf5_are_read() {
    for name in ["packed.h5", "plain.hdf5"] {
        let source = open(&fixture(name));
        assert_eq!(source.kind(), Kind::Hdf5);
        check(&source, &[0, 1, 2, 3, 4, 5], false, 0);
        assert_eq!(labels(&source), (vec![0, 1, 2, 0, 1, 2], vec!["0", "1", "2"]));
    }
}

#[test]
fn shards_of_webdataset_are_one_set() {
    let source = open(&fixture("shards"));
    check(&source, &[0, 1, 2, 3, 4, 5], false, 0);
    assert_eq!((source.kind(), source.len()), (Kind::Tar, 6));
    assert_eq!(source.item_name(3), "set-000001.tar:0003.png");
    assert_eq!(labels(&source), (vec![0, 1, 2, 0, 1, 2], vec!["0", "1", "2"]));
    assert_eq!(source.classes_by(), Some(".cls files beside the images"));
    assert_eq!(source.captions().unwrap().of(4), ["a flat image, number 4"]);
    // One shard by itself.
    let one = open(&fixture("shards/set-000001.tar"));
    check(&one, &[3, 4, 5], false, 0);
    assert_eq!(labels(&one).0, [0, 1, 2]);

    // The part is in the name of a shard, the class in a .json where there is no .cls.
    let data = tempdir().unwrap();
    let tar = |name: &str, files: &[(&str, Vec<u8>)]| {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, bytes) in files {
            let mut header = tar::Header::new_ustar();
            header.set_size(bytes.len() as u64);
            builder.append_data(&mut header, name, bytes.as_slice()).unwrap();
        }
        put(data.path(), name, &builder.into_inner().unwrap());
    };
    let json = |class: &str| format!("{{\"x\": 1, \"label\": \"{class}\"}}").into_bytes();
    tar(
        "x-train-0.tar",
        &[
            ("b/1.png", flat(1)),
            ("b/1.json", json("owl")),
            ("a/2.png", flat(2)),
            ("a/2.json", json("cat")),
        ],
    );
    tar("x-val-0.tar", &[("b/3.png", flat(3)), ("b/3.json", json("cat"))]);
    let source = open(data.path());
    assert_eq!(labels(&source), (vec![0, 1], vec!["cat", "owl"]));
    let test = Source::open_part(Some(data.path()), Part::Test).unwrap();
    assert_eq!((test.len(), test.item_name(0).as_str()), (1, "x-val-0.tar:b/3.png"));
    // Folders in the shards are classes by their level, and a label too few is said.
    let reading = Reading { class_level: Some(1), ..Reading::of(Part::Train) };
    let source = Source::open_as(Some(data.path()), &reading).unwrap();
    assert_eq!(labels(&source), (vec![0, 1], vec!["a", "b"]));
    tar("x-train-1.tar", &[("b/4.png", flat(1))]);
    let source = open(data.path());
    assert_eq!(source.labels(), None);
    assert!(source.why_no_classes().contains("1 of 3 images have no label in a .json"));
    // Beside images of its own, a tar is left aside as before.
    put(data.path(), "own.png", &flat(9));
    let source = open(data.path());
    assert_eq!(source.len(), 1);
    assert!(source.notes().join("\n").contains("left aside: 3 files like x-train-0.tar"));
}

#[cfg(feature = "parquet")]
#[test]
fn rows_of_parquet_are_read() {
    let train = open(&fixture("hub"));
    check(&train, &[0, 1, 2, 3], false, 0);
    assert_eq!(train.kind(), Kind::Parquet);
    assert_eq!(labels(&train), (vec![0, 1, 2, 0], vec!["cat", "dog", "owl"]));
    assert_eq!(train.item_name(3), "data/train-00000-of-00001.parquet:00000003.image");
    let test = part("hub", Part::Test);
    check(&test, &[4, 5], false, 0);
    assert_eq!(labels(&test), (vec![0, 1], vec!["dog", "owl"]));
    check(&part("hub", Part::All), &[4, 5, 0, 1, 2, 3], false, 0);
    // By itself; other pages, other packing.
    for name in ["hub/data/train-00000-of-00001.parquet", "plain.parquet"] {
        let source = open(&fixture(name));
        check(&source, &[0, 1, 2, 3], false, 0);
        assert_eq!(labels(&source).1, ["cat", "dog", "owl"]);
        // In any order.
        for item in [3, 0, 2, 2, 1] {
            let corner = source.image(item).unwrap().pixels.into_rgb8().get_pixel(0, 0).0[0];
            assert_eq!(usize::from(corner), item);
        }
    }
}

#[test]
fn entries_of_lmdb_are_read() {
    for name in ["flat_train_lmdb", "flat_train_lmdb/data.mdb"] {
        let source = open(&fixture(name));
        assert_eq!((source.kind(), source.len()), (Kind::Lmdb, 7));
        let first: Vec<u8> = (0..6)
            .map(|i| source.image(i).unwrap().pixels.into_rgb8().get_pixel(0, 0).0[1])
            .collect();
        assert_eq!(first, [0, 2, 4, 6, 8, 10]);
        // Larger than a page.
        assert_eq!(source.image(6).unwrap().pixels.into_rgb8().get_pixel(0, 0).0, [77, 78, 79]);
    }
    // As LSUN's databases lie beside each other: a class each.
    let data = tempdir().unwrap();
    for class in ["tower_train_lmdb", "bridge_train_lmdb"] {
        put(
            data.path(),
            &format!("{class}/data.mdb"),
            &fs::read(fixture("flat_train_lmdb/data.mdb")).unwrap(),
        );
        put(data.path(), &format!("{class}/lock.mdb"), &[0; 8192]);
    }
    let source = open(data.path());
    assert_eq!((source.len(), source.classes().len()), (14, 2));
    assert_eq!(source.classes(), ["bridge_train_lmdb", "tower_train_lmdb"]);
}

/// A part of a set that lies in shards has names of files, and keeps its classes and captions.
#[test]
fn a_subset_of_shards_is_a_set_of_files() {
    let source = open(&fixture("shards"));
    let data = tempdir().unwrap();
    let path = data.path().join("kept");
    let mut out = dcgan::data::SubsetWriter::create(&path).unwrap();
    source.write_subset(&[1, 2, 5], &[], &mut out, |_| ()).unwrap();
    out.finish().unwrap();
    let kept = open(&path);
    check(&kept, &[1, 2, 5], false, 0);
    assert_eq!(kept.item_name(2), "00000/img00000002.png");
    assert_eq!(labels(&kept), (vec![0, 1, 1], vec!["1", "2"]));
    assert_eq!(kept.captions().unwrap().of(2), ["a flat image, number 5"]);
}

#[test]
fn a_set_is_packed_with_its_labels_and_captions() {
    let place = Place::new();
    let shards = fixture("shards");
    let shards = shards.to_str().unwrap();
    let pack = |words: &[&str]| place.dcgan(&[&["data", shards, "--pack", "small.zip"], words]);
    let said = pack(&["--size", "16"]).ok().stdout;
    assert!(said.contains("packed      6 images, 3 classes, 6 captions, 16 x 16 x 3\n"), "{said}");
    let packed = open(&place.path("small.zip"));
    assert_eq!(packed.image(3).unwrap().pixels.width(), 16);
    assert_eq!(packed.item_name(3), "00000/img00000003.png");
    assert_eq!(labels(&packed), (vec![0, 1, 2, 0, 1, 2], vec!["0", "1", "2"]));
    assert_eq!(packed.captions().unwrap().of(5), ["a flat image, number 5"]);
    // As StyleGAN's tools read it.
    let mut zip = zip::ZipArchive::new(fs::File::open(place.path("small.zip")).unwrap()).unwrap();
    let json: serde_json::Value =
        serde_json::from_reader(zip.by_name("dataset.json").unwrap()).unwrap();
    assert_eq!(json["labels"][4], serde_json::json!(["00000/img00000004.png", 1]));
    let whole = fs::read(place.path("small.zip")).unwrap();
    // It is not overwritten; the same again is the same file.
    pack(&["--size", "16"]).refused(1, &["small.zip", "exists already"]);
    fs::remove_file(place.path("small.zip")).unwrap();
    pack(&["--size", "16"]).ok();
    assert!(fs::read(place.path("small.zip")).unwrap() == whole);
    place.dcgan(&[&["data", shards, "--pack", "small.tar"]]).refused(2, &["--pack", ".zip"]);

    // Names of classes are kept; what cannot be read is left out, and nothing is left of what fails.
    for n in 0..20 {
        put(
            &place.path("set"),
            &format!("{}/{n}.png", if n < 10 { "cat" } else { "dog" }),
            &flat(n),
        );
    }
    put(&place.path("set"), "dog/bad.png", b"none of it");
    let said = place.dcgan(&[&["data", "set", "--pack", "two.zip", "--size", "16"]]).ok().stdout;
    assert!(
        said.contains("left out    dog/bad.png") && said.contains("20 images, 2 classes"),
        "{said}"
    );
    let two = open(&place.path("two.zip"));
    assert_eq!((two.len(), two.classes()), (20, &["cat".to_owned(), "dog".to_owned()][..]));
    assert_eq!(two.labels().unwrap()[9..11], [0, 1]);
    for n in 0..9 {
        put(&place.path("set"), &format!("dog/bad{n}.png"), b"none of it");
    }
    place.dcgan(&[&["data", "set", "--pack", "no.zip", "--size", "16"]]).refused(1, &["a tenth"]);
    let left: Vec<_> =
        fs::read_dir(place.path("")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().contains("no.zip")), "{left:?}");
}

/// A signal in the middle leaves neither a zip nor a part of one.
#[cfg(unix)]
#[test]
fn an_interrupted_pack_leaves_nothing() {
    let place = Place::new();
    let mut running = place.start(&[&["data", "--pack", "half.zip", "--size", "256"]]);
    let is_part = |name: &String| name.ends_with(".tmp") || name.ends_with(".zip");
    let parts =
        || crate::cli::names(&place.path("")).into_iter().filter(is_part).collect::<Vec<_>>();
    running.wait_for("a file being written", || (!parts().is_empty()).then_some(()));
    running.signal("INT");
    let outcome = running.end();
    assert_eq!(outcome.code, Some(130), "{outcome:?}");
    assert_eq!(parts(), [""; 0]);
}

/// Littlecms gives (220, 0, 19), (0, 205, 0), (37, 23, 210) and (129, 129, 129).
#[test]
fn colors_are_those_of_the_profile() {
    let wanted = [[220, 0, 19], [0, 205, 0], [37, 23, 210], [129, 129, 129]];
    for (name, off) in [("p3.png", 3), ("p3.jpg", 5)] {
        let image = dcgan::data::open_image(&fixture(name)).unwrap().into_rgb8();
        for (i, color) in wanted.into_iter().enumerate() {
            let seen = image.get_pixel(i as u32 % 2 * 4 + 1, i as u32 / 2 * 4 + 1).0;
            let far = seen.into_iter().zip(color).any(|(a, b): (u8, u8)| a.abs_diff(b) > off);
            assert!(!far, "{name}: {seen:?}, not {color:?}");
        }
    }
    // sRGB under its own name leaves every byte as it was.
    let image = dcgan::data::open_image(&fixture("srgb.png")).unwrap().into_rgb8();
    let colors = [[200, 30, 40], [30, 200, 40], [40, 30, 200], [128, 128, 128]];
    for (i, color) in colors.into_iter().enumerate() {
        assert_eq!(image.get_pixel(i as u32 % 2 * 4 + 1, i as u32 / 2 * 4 + 1).0, color);
    }
}
