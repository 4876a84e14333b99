//! Captions: in which files they may be, and what is said of those that do not fit.

use std::path::Path;
use std::sync::Arc;

use dcgan::data::{
    Batch, CAPTIONED, Captions, Loader, LoaderOptions, Prepare, Reading, Source, SubsetWriter,
};
use tempfile::tempdir;

use crate::data_sources::{flat, gzip, open, put, zip};

/// The captions of a set, an image a line: `red; a red square | blue`.
fn shown(source: &Source) -> String {
    let captions = source.captions().unwrap();
    let line = |item| captions.of(item).join("; ");
    (0..source.len()).map(line).collect::<Vec<_>>().join(" | ")
}

fn refused(source: &Source, words: &[&str]) {
    let error = source.captions().unwrap_err().to_string();
    assert!(!error.contains(". "), "more than one sentence: {error}");
    for word in words {
        assert!(error.contains(word), "no {word:?} in: {error}");
    }
}

const LINES: &str = "a.png\tred\n\nb.png\tblue\r\na.png\t a  red square \n";
const COCO: &str = r#"{"info": {}, "images": [{"id": 7, "file_name": "a.png", "width": 1},
    {"id": 9, "file_name": "b.png"}], "annotations": [{"id": 1, "image_id": 7, "caption": "red"},
    {"id": 2, "image_id": 9, "caption": "blue\n"}, {"id": 3, "image_id": 7, "caption": "a red square"}]}"#;

#[test]
fn captions_are_found_in_files_of_several_kinds() {
    let json = r#"{"a.png": ["red", "a red square"], "./b.png": "blue"}"#;
    let heading = format!("file\tcaption\n{LINES}");
    for (name, text) in [
        ("captions.txt", LINES),
        ("captions.tsv", &heading),
        ("captions.json", json),
        ("annotations/captions_train2017.json", COCO),
    ] {
        let data = tempdir().unwrap();
        let marked = format!("\u{feff}{text}");
        let files = [("a.png", flat(1)), ("b.png", flat(2)), (name, marked.clone().into_bytes())];
        let mut tar = tar::Builder::new(Vec::new());
        for (name, bytes) in &files {
            put(data.path(), &format!("folder/{name}"), bytes);
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            tar.append_data(&mut header, name, bytes.as_slice()).unwrap();
        }
        put(data.path(), "set.tar.gz", &gzip(&tar.into_inner().unwrap()));
        let borrowed: Vec<_> = files.iter().map(|(n, b)| (*n, b.as_slice())).collect();
        zip(&data.path().join("set.zip"), false, &borrowed);
        for set in ["folder", "set.zip", "set.tar.gz"] {
            let source = open(&data.path().join(set));
            assert_eq!(shown(&source), "red; a red square | blue", "{name} in {set}");
            assert_eq!(source.captions().unwrap().from(), name);
        }
    }
}

#[test]
fn a_text_file_beside_each_image_has_its_captions() {
    let beside = [("x/a.png", "x/a.txt"), ("x/b.png", "x/b.txt")];
    let birds = [("images/x/a.png", "text_c10/x/a.txt"), ("images/x/b.png", "text_c10/x/b.txt")];
    for files in [beside, birds] {
        let data = tempdir().unwrap();
        for ((image, text), captions) in files.iter().zip(["red\n\na red square\n", "blue"]) {
            put(data.path(), image, &flat(1));
            put(data.path(), text, captions.as_bytes());
        }
        put(data.path(), "README.txt", b"not a caption");
        assert_eq!(shown(&open(data.path())), "red; a red square | blue");
        put(data.path(), files[1].1, b" \n");
        refused(&open(data.path()), &[files[1].1, "is empty"]);
        std::fs::remove_file(data.path().join(files[1].1)).unwrap();
        refused(&open(data.path()), &["1 of 2 images without a caption", files[1].0]);
    }
}

#[test]
fn captions_that_do_not_fit_are_refused_in_a_sentence() {
    let data = tempdir().unwrap();
    for name in ["a.png", "b.png"] {
        put(data.path(), name, &flat(1));
    }
    refused(&open(data.path()), &["has no captions", "captions.txt", "FILE<tab>caption"]);
    for (text, words) in [
        (&b"a.png\tred\n"[..], &["1 of 2 images without a caption (the first: b.png)"][..]),
        (b"a.png\tred\nb.png\t \n", &["captions.txt has an empty caption for b.png"]),
        (
            b"a.png\tred\nb.png\tblue\nc.png\tgray\nd.png\tgray\n",
            &["captions of 2 images that are not there (the first: c.png)", "remove them"],
        ),
        (b"a.png red\n", &["captions.txt, line 1, has no tab"]),
        (b"a.png\t\xff\n", &["captions.txt is not UTF-8"]),
    ] {
        put(data.path(), "captions.txt", text);
        refused(&open(data.path()), words);
    }
    std::fs::remove_file(data.path().join("captions.txt")).unwrap();
    for text in ["{\"a.png\": 3}", "[1]", "{\"a.png\": \"red\""] {
        put(data.path(), "captions.json", text.as_bytes());
        refused(&open(data.path()), &["captions.json is neither"]);
    }
    let unknown = COCO.replace("\"image_id\": 9", "\"image_id\": 8");
    put(data.path(), "captions.json", unknown.as_bytes());
    refused(&open(data.path()), &["captions.json has no image of number 8"]);
}

#[test]
fn captions_of_another_part_are_no_mistake() {
    let data = tempdir().unwrap();
    for name in ["train2017/a.png", "val2017/b.png"] {
        put(data.path(), name, &flat(1));
    }
    let part = |file: &str, caption: &str| {
        format!(
            "{{\"images\": [{{\"id\": 1, \"file_name\": \"{file}\"}}], \"annotations\": \
             [{{\"image_id\": 1, \"caption\": \"{caption}\"}}]}}"
        )
    };
    let folder = data.path().join("annotations");
    put(&folder, "captions_train2017.json", part("a.png", "red").as_bytes());
    put(&folder, "captions_val2017.json", part("b.png", "blue").as_bytes());
    // Its images were never downloaded.
    put(&folder, "captions_test2017.json", part("c.png", "green").as_bytes());
    let source = open(data.path());
    assert_eq!((source.len(), shown(&source)), (1, "red".to_owned()));
}

#[test]
fn a_copy_of_a_part_keeps_its_captions() {
    let data = tempdir().unwrap();
    for name in ["a.png", "b.png"] {
        put(data.path(), &format!("set/{name}"), &flat(1));
    }
    put(data.path(), "set/captions.json", br#"{"a.png": ["red", "round"], "b.png": "blue"}"#);
    let source = open(&data.path().join("set"));
    let mut out = SubsetWriter::create(&data.path().join("part")).unwrap();
    source.write_subset(&[0], &[], &mut out, |_| ()).unwrap();
    out.finish().unwrap();
    assert_eq!(shown(&open(&data.path().join("part"))), "red; round");
}

fn batches(
    captions: &Arc<Captions>,
    source: &Arc<Source>,
    workers: usize,
    first: u64,
) -> Vec<Batch> {
    let prepare = Prepare { height: 8, width: 8, ..Prepare::default() };
    let options = LoaderOptions {
        batch: 7,
        seed: 5,
        workers,
        captions: Some(Arc::clone(captions)),
        companions: true,
        ..LoaderOptions::default()
    };
    let mut loader = Loader::start(Arc::clone(source), prepare, &options, first).unwrap();
    (first..12).map(|_| loader.next_batch().unwrap()).collect()
}

#[test]
fn every_caption_comes_with_an_image_that_it_is_wrong_for() {
    let data = tempdir().unwrap();
    let colors = ["red", "green", "blue"];
    let mut lines = String::new();
    for i in 0..30 {
        put(data.path(), &format!("{i:02}.png"), &flat(i * 8));
        for template in ["a face in", "someone in"] {
            lines += &format!("{i:02}.png\t{template} {}\n", colors[usize::from(i) % 3]);
        }
    }
    put(data.path(), "captions.txt", lines.as_bytes());
    // It cannot be read, and is neither an image nor a companion.
    put(data.path(), "07.png", b"bad");
    let source = Arc::new(open(data.path()));
    let captions = Arc::new(source.captions().unwrap());
    let all = batches(&captions, &source, 2, 0);
    assert!(all == batches(&captions, &source, 1, 0), "threads change nothing");
    assert!(all[5..] == batches(&captions, &source, 3, 5)[..], "resuming changes nothing");
    let mut chosen = [0; 2];
    let mut companions = std::collections::BTreeSet::new();
    for batch in &all {
        let wrong = batch.companions.as_ref().unwrap().chunks(8 * 8 * 3);
        let each = batch.items.iter().zip(batch.captions.as_ref().unwrap()).zip(wrong);
        for ((&item, &caption), wrong) in each {
            // Images are flat and told apart by their red level.
            let other = usize::from(wrong[0]) / 8;
            assert_ne!(other % 3, item as usize % 3, "{:?}", captions.of(item as usize));
            assert!(captions.is_wrong(item as usize, caption as usize, other));
            chosen[caption as usize] += 1;
            companions.insert(other);
        }
    }
    assert!(chosen.iter().all(|&count| count > 20), "{chosen:?}");
    assert!(companions.len() > 20 && !companions.contains(&7), "{companions:?}");
}

#[test]
fn the_bundled_set_has_captions_of_what_is_seen() {
    let source = Source::open_as(Some(Path::new(CAPTIONED)), &Reading::default()).unwrap();
    let captions = source.captions().unwrap();
    assert!(source.len() >= 600);
    assert!((0..source.len()).all(|item| captions.of(item).len() == 4));
    assert!(captions.iter().any(|text| text.contains("red hair")));
    assert!(source.image(0).is_ok());
}
