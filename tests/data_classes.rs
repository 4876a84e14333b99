//! What the classes of a set are, and which part of it is taken.

use std::path::Path;

use dcgan::data::{Difference, Fingerprint, Part, Reading, Source};
use tempfile::tempdir;

use crate::data_sources::{flat, gzip, idx, names, open, put, zip};

fn level(path: &Path, level: usize) -> Result<Source, String> {
    let reading = Reading { class_level: Some(level), ..Reading::default() };
    Source::open_as(Some(path), &reading).map_err(|e| e.to_string())
}

/// A set as StyleGAN's tools write it, with `labels` for its four images.
fn stylegan(labels: &str) -> Vec<(String, Vec<u8>)> {
    let image = |i: usize| (format!("0000{}/img{i}.png", i / 2), flat(i as u8));
    let json = format!("{{\"labels\": {labels}}}");
    (0..4).map(image).chain([("dataset.json".to_owned(), json.into_bytes())]).collect()
}

fn pairs(labels: [&str; 4]) -> String {
    let pair = |(i, label): (usize, &str)| format!("[\"0000{}/img{i}.png\", {label}]", i / 2);
    let pairs: Vec<_> = labels.into_iter().enumerate().map(pair).collect();
    format!("[{}]", pairs.join(", "))
}

#[test]
fn labels_in_dataset_json_are_the_classes() {
    let data = tempdir().unwrap();
    let files = stylegan(&pairs(["7", "2", "7", "4.0"]));
    let mut tar = tar::Builder::new(Vec::new());
    for (name, bytes) in &files {
        put(data.path(), &format!("folder/deep/{name}"), bytes);
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        tar.append_data(&mut header, name, bytes.as_slice()).unwrap();
    }
    let tar = tar.into_inner().unwrap();
    put(data.path(), "set.tar.gz", &gzip(&tar));
    put(data.path(), "set.tar", &tar);
    let borrowed: Vec<_> = files.iter().map(|(n, b)| (n.as_str(), b.as_slice())).collect();
    zip(&data.path().join("set.zip"), false, &borrowed);
    for name in ["folder", "set.tar", "set.tar.gz", "set.zip"] {
        let source = open(&data.path().join(name));
        assert_eq!(source.labels(), Some(&[2, 0, 2, 1][..]), "{name}");
        assert_eq!(source.classes(), ["2", "4", "7"], "{name}");
        assert_eq!(source.classes_by(), Some("dataset.json"));
        let notes = source.notes().join("\n");
        assert!(notes.contains("5 labels (0 the first) have no image"), "{notes}");
    }
    // A level that is asked for counts more.
    let folders = level(&data.path().join("set.zip"), 1).unwrap();
    assert_eq!(folders.classes(), ["00000", "00001"]);
    // As an object, which Python's dict() takes for the same; names with backslashes.
    let object = r#"{"00000\\img0.png": 0, "00000\\img1.png": 1, "00001/img2.png": 1, "./00001/img3.png": 0}"#;
    put(data.path(), "folder/deep/dataset.json", format!("{{\"labels\": {object}}}").as_bytes());
    assert_eq!(open(&data.path().join("folder")).labels(), Some(&[0, 1, 1, 0][..]));
}

#[test]
fn dataset_json_without_classes_makes_none_of_the_folders() {
    let data = tempdir().unwrap();
    let vector = pairs(["[0.5, 1]", "[1, 2]", "[]", "[3, 4]"]);
    let missing = pairs(["0", "1", "0", "1"]).replace("img2", "other");
    for (json, why) in [
        ("null", "its labels are null"),
        (&vector, "lists of numbers"),
        (&missing, "1 of 4 images has no label in dataset.json (the first: \"00001/img2.png\")"),
        (&pairs(["0", "0", "0", "0"]), "the same label"),
        (&pairs(["0", "-1", "0", "1"]), "\"00000/img1.png\" in dataset.json is no whole number"),
        (&pairs(["0", "\"cat\"", "0", "1"]), "is no whole number"),
    ] {
        for (name, bytes) in stylegan(json) {
            put(data.path(), &name, &bytes);
        }
        let source = open(data.path());
        assert_eq!((source.len(), source.labels(), source.classes().len()), (4, None, 0), "{json}");
        assert!(source.why_no_classes().contains(why), "{why}: {}", source.why_no_classes());
        assert!(source.notes().iter().any(|note| note.contains(why)), "{:?}", source.notes());
    }
    // No labels in it at all.
    put(data.path(), "dataset.json", b"{\"name\": \"faces\"}");
    let source = open(data.path());
    assert_eq!(source.labels(), None);
    let why = source.why_no_classes();
    assert!(why.contains("it has none") && why.contains("`class_level`"), "{why}");
    // Another program's file of that name.
    put(data.path(), "dataset.json", b"[1, 2]");
    assert_eq!(open(data.path()).classes(), ["00000", "00001"]);
    for damaged in [&b"{\"labels\": [["[..], b"{\"labels\": 5}", b"{\"labels\": [[1, 2]]}"] {
        put(data.path(), "dataset.json", damaged);
        let error = Source::open(Some(data.path())).unwrap_err().to_string();
        assert!(error.contains("dataset.json does not hold labels as StyleGAN"), "{error}");
    }
}

#[test]
fn a_copy_of_a_set_keeps_its_labels() {
    let data = tempdir().unwrap();
    for (name, bytes) in stylegan(&pairs(["3", "1", "3", "1"])) {
        put(data.path(), &format!("set/{name}"), &bytes);
    }
    let source = open(&data.path().join("set"));
    let kept = data.path().join("kept");
    let mut out = dcgan::data::SubsetWriter::create(&kept).unwrap();
    source.write_subset(&[0, 1, 3], &[], &mut out, |_| ()).unwrap();
    out.finish().unwrap();
    let copy = open(&kept);
    assert_eq!((copy.len(), copy.classes_by()), (3, Some("dataset.json")));
    assert_eq!(
        (copy.labels(), copy.classes()),
        (Some(&[1, 0, 0][..]), &["1".into(), "3".into()][..])
    );
}

#[test]
fn classes_with_folders_of_their_own_are_whole() {
    let data = tempdir().unwrap();
    for name in ["cats/indoor/1", "cats/outdoor/1", "dogs/indoor/1", "dogs/outdoor/1"] {
        put(data.path(), &format!("pets/{name}.png"), &flat(1));
    }
    let source = open(data.path());
    assert_eq!(
        (source.classes(), source.classes_by()),
        (&["cats".into(), "dogs".into()][..], Some("folder level 2"))
    );
    assert_eq!(source.labels(), Some(&[0, 0, 1, 1][..]));
    let inner = level(data.path(), 3).unwrap();
    assert_eq!(
        (inner.labels(), inner.classes_by()),
        (Some(&[0, 1, 0, 1][..]), Some("folder level 3"))
    );
    let error = level(data.path(), 4).unwrap_err();
    assert!(error.starts_with("`class_level`: ") && error.contains("folders 4 deep"), "{error}");
    assert!(
        level(data.path(), 1).unwrap().why_no_classes().contains("same folder of level 1 (pets)")
    );
    // As runs of earlier versions had it.
    let before = Source::open_as(Some(data.path()), &Reading::before()).unwrap();
    assert_eq!((before.labels(), before.classes()), (inner.labels(), inner.classes()));
}

#[test]
fn the_training_part_is_taken_where_another_is_held_out() {
    let data = tempdir().unwrap();
    for name in ["train/a/1", "train/b/1", "train/b/2", "val/a/1", "test/a/1", "test/b/1"] {
        put(data.path(), &format!("set/{name}.png"), &flat(1));
    }
    let source = open(data.path());
    assert_eq!(names(&source), ["set/train/a/1.png", "set/train/b/1.png", "set/train/b/2.png"]);
    let note = "the training part is taken, 3 of 6 images; `part` test takes the other";
    assert!(source.notes().iter().any(|n| n.starts_with(note)), "{:?}", source.notes());
    assert_eq!(*source.reading(), Reading::of(Part::Train));
    let part = |part| Source::open_part(Some(data.path()), part).unwrap();
    assert_eq!((part(Part::All).len(), part(Part::Test).len()), (6, 2));
    assert_eq!(part(Part::Test).labels(), Some(&[0, 1][..]));
    assert!(part(Part::All).notes().is_empty());
    let before = Source::open_as(Some(data.path()), &Reading::before()).unwrap();
    assert_eq!((before.len(), before.reading().part), (6, Some(Part::All)));
    // And so once more, as a run that is resumed reads it.
    assert_eq!(Source::open_as(Some(data.path()), before.reading()).unwrap().len(), 6);

    let idx_set = tempdir().unwrap();
    for (stem, n) in [("train", 3), ("t10k", 2)] {
        let pixels = vec![7; n as usize * 4];
        put(idx_set.path(), &format!("{stem}-images-idx3-ubyte"), &idx(&[n, 2, 2], &pixels));
        let labels: Vec<u8> = (0..n as u8).map(|i| 1 + i).collect();
        put(idx_set.path(), &format!("{stem}-labels-idx1-ubyte"), &idx(&[n], &labels));
    }
    let train = open(idx_set.path());
    assert_eq!((train.len(), train.classes()), (3, &["1".into(), "2".into(), "3".into()][..]));
    let notes = train.notes().join("\n");
    assert!(notes.starts_with("the training part is taken; `part` test"), "{notes}");
    assert!(notes.contains("label 0 has no image and is no class: the 3 others"), "{notes}");
    let all = Source::open_part(Some(idx_set.path()), Part::All).unwrap();
    assert_eq!((all.len(), all.labels()), (5, Some(&[0, 1, 2, 0, 1][..])));
    assert_eq!(all.item_name(4), "t10k-images-idx3-ubyte[1]");
    let before = Source::open_as(Some(idx_set.path()), &Reading::before()).unwrap();
    assert_eq!((before.labels(), before.classes().len()), (Some(&[1, 2, 3][..]), 4));
    // A copy of some of both parts is both parts again, with the labels that the files had.
    let kept = idx_set.path().join("kept");
    let mut out = dcgan::data::SubsetWriter::create(&kept).unwrap();
    all.write_subset(&[1, 2, 4], &[], &mut out, |_| ()).unwrap();
    out.finish().unwrap();
    let copy = Source::open_part(Some(&kept), Part::All).unwrap();
    assert_eq!((copy.len(), copy.classes()), (3, &["2".into(), "3".into()][..]));
    assert_eq!((copy.labels(), open(&kept).len()), (Some(&[0, 1, 0][..]), 2));
}

#[test]
fn the_fingerprint_tells_sets_apart_and_knows_copies() {
    let data = tempdir().unwrap();
    let set = data.path().join("set");
    let of = |path: &Path| open(path).fingerprint();
    put(&set, "a/1.png", &flat(1));
    put(&set, "b/2.png", &flat(2));
    let first = of(&set);
    assert_eq!(first.difference(of(&set)), None);

    // Elsewhere, with other times, and as a zip.
    let copy = data.path().join("copy");
    put(&copy, "a/1.png", &flat(1));
    put(&copy, "b/2.png", &flat(2));
    let old = std::time::SystemTime::UNIX_EPOCH;
    std::fs::File::options()
        .append(true)
        .open(copy.join("a/1.png"))
        .unwrap()
        .set_modified(old)
        .unwrap();
    assert_eq!(first.difference(of(&copy)), None);
    let zipped = data.path().join("set.zip");
    zip(&zipped, false, &[("a/1.png", &flat(1)), ("b/2.png", &flat(2))]);
    assert_eq!(first.difference(of(&zipped)), None);

    // Another image of the same size under the same name.
    assert_eq!(flat(2).len(), flat(3).len());
    put(&set, "b/2.png", &flat(3));
    assert_eq!(first.difference(of(&set)), Some(Difference::Contents));
    put(&set, "b/2.png", &flat(2));
    put(&set, "b/3.png", &flat(3));
    assert_eq!(first.difference(of(&set)), Some(Difference::Names));

    // What earlier versions wrote of the first set: the CRC-32 of names and labels.
    let mut sum = flate2::Crc::new();
    sum.update(b"a/1.png\0b/2.png\0");
    [0_u32, 1].iter().for_each(|label| sum.update(&label.to_le_bytes()));
    assert_eq!(Fingerprint::Names(sum.sum()).difference(first), None);
    assert_eq!(Fingerprint::Names(sum.sum()).difference(of(&set)), Some(Difference::Names));

    // Raw pixels.
    let packed = |pixels: &[u8]| {
        put(data.path(), "train-images-idx3-ubyte", &idx(&[1, 2, 2], pixels));
        of(&data.path().join("train-images-idx3-ubyte"))
    };
    let first = packed(&[1, 2, 3, 4]);
    assert_eq!(first.difference(packed(&[1, 2, 3, 4])), None);
    assert_eq!(first.difference(packed(&[1, 2, 3, 5])), Some(Difference::Contents));
}

/// Parts are named in many ways; a class is none.
#[test]
fn parts_are_known_by_the_words_in_their_names() {
    for (train, held_out) in [
        ("train_set", "test_set"),
        ("train2017", "val2017"),
        ("training-images", "testing images"),
        ("seg_train", "seg_test"),
        ("trainA", "testA"),
        ("train", "dev"),
        ("Train", "eval"),
        ("dataset_train", "dataset_valid"),
    ] {
        let data = tempdir().unwrap();
        for (part, class) in [(train, "cat"), (train, "dog"), (held_out, "cat"), (held_out, "dog")]
        {
            put(data.path(), &format!("{part}/{class}/1.png"), &flat(1));
        }
        let source = open(data.path());
        assert_eq!(
            (source.len(), source.classes()),
            (2, &["cat".into(), "dog".into()][..]),
            "{train}"
        );
        assert!(source.notes().iter().any(|n| n.contains("the training part is taken")), "{train}");
        assert_eq!(
            Source::open_part(Some(data.path()), Part::Test).unwrap().len(),
            2,
            "{held_out}"
        );
    }
    for classes in [["train", "test tube"], ["trainers", "valley"], ["express train", "eval"]] {
        let data = tempdir().unwrap();
        for class in classes {
            put(data.path(), &format!("{class}/1.png"), &flat(1));
        }
        assert_eq!(open(data.path()).len(), 2, "{classes:?}");
    }
}

#[test]
fn a_level_that_is_too_deep_says_how_deep_the_folders_are() {
    let data = tempdir().unwrap();
    for name in ["a/x/1.png", "b/1.png"] {
        put(data.path(), name, &flat(1));
    }
    for wrong in [0, 2] {
        let text = level(data.path(), wrong).unwrap_err();
        assert!(text.contains("`class_level`") && text.contains("1 works"), "{text}");
    }
}
