//! Images from texts: trained on captions, stopped and resumed, sampled by text; and what cannot be
//! done with such models, or without captions.

use std::fs;
use std::path::{Path, PathBuf};

use dcgan::train::{ModelFile, TrainConfig};
use image::{ImageFormat, Rgb, RgbImage};

use crate::cli::{Place, assert_same, latest, names};
use crate::data_formats::encode;
use crate::data_sources::put;

/// Images whose upper and lower half have colors that their captions name.
pub(crate) fn captioned(place: &Place) {
    let colors = [("red", [220, 30, 30]), ("green", [30, 200, 30]), ("blue", [40, 40, 220])];
    let mut lines = String::new();
    for (i, (top, up)) in colors.iter().enumerate() {
        for (j, (bottom, down)) in colors.iter().enumerate() {
            for k in 0..2 {
                let color = |y| if y < 8 { *up } else { *down };
                let image = RgbImage::from_fn(16, 16, |_, y| Rgb(color(y)));
                let name = format!("{i}{j}{k}.png");
                put(&place.path("set"), &name, &encode(&image.into(), ImageFormat::Png));
                lines += &format!("{name}\t{top} top, {bottom} bottom\n");
                lines += &format!("{name}\ta {bottom} bottom and a {top} top\n");
            }
        }
    }
    put(&place.path("set"), "captions.txt", lines.as_bytes());
}

const PRESET: &[&str] = &["--preset", "int-cls", "--device", "cpu"];

fn train(place: &Place, out: &str, words: &[&str]) -> PathBuf {
    place.train(out, &[&["set"], PRESET, words])
}

pub(crate) fn pixels(path: &Path) -> Vec<u8> {
    image::open(path).unwrap().into_rgb8().into_raw()
}

#[test]
fn a_training_on_captions_that_was_stopped_and_resumed_gives_the_same_bits() {
    let place = Place::new();
    captioned(&place);
    let whole = train(&place, "whole", &["--images", "320"]);
    let parts = train(&place, "parts", &["--images", "160"]);
    let resume = ["train", "--resume", parts.to_str().unwrap(), "--images", "320"];
    place.dcgan(&[&resume]).ok();
    assert_same(&latest(&whole), &latest(&parts));
    let model = ModelFile::load(&latest(&whole)).unwrap();
    let config = TrainConfig::of(&model).unwrap().unwrap();
    assert_eq!(model.networks.text, config.text);
    assert_eq!(config.text.examples.len(), 18);
    assert!(config.text.words.iter().any(|word| word == "green"));
    // The rows of the previews have their captions.
    let page = fs::read_to_string(whole.join("report.html")).unwrap();
    assert!(config.text.examples[1..8].iter().all(|text| page.contains(text)), "{page}");

    // Other captions are another set.
    let path = place.path("set/captions.txt");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("000.png\tred", "000.png\tgreen")).unwrap();
    let resume = ["train", "--resume", parts.to_str().unwrap(), "--images", "400"];
    place
        .dcgan(&[&resume])
        .refused(1, &["captions.txt", "not those that the run was started with"]);
}

#[test]
fn micro_batches_and_no_wrong_images_train_too() {
    let place = Place::new();
    captioned(&place);
    let of = |words: &[&str]| {
        let run = train(&place, words[1], words);
        fs::read_to_string(run.join("log.jsonl")).unwrap()
    };
    let log = of(&["--micro-batch", "4", "--images", "64"]);
    assert!(log.contains("d_wrong"), "{log}");
    let log = of(&["--mismatch", "0", "--images", "64"]);
    assert!(!log.contains("d_wrong") && log.contains("d_fake"), "{log}");
    let words = ["train", "set", "--dry-run", "--device", "cpu", "--mismatch", "0.3"];
    place.dcgan(&[&words]).refused(2, &["--mismatch", "int-cls"]);
}

#[test]
fn texts_are_drawn_and_their_words_matter() {
    let place = Place::new();
    captioned(&place);
    let run = train(&place, "runs", &["--images", "1600"]);
    let run = run.to_str().unwrap();
    let sample = |out: &str, words: &[&str]| {
        place.dcgan(&[&["sample", run, "--device", "cpu", "--seeds", "0-2", "--out", out], words])
    };
    sample("two", &["--text", "red top, blue bottom", "--text", "blue top, red bottom"]).ok();
    assert_eq!(names(&place.path("two")).len(), 6);
    let file = |text: usize| place.path(&format!("two/seed0001-text{text}.png"));
    assert_ne!(pixels(&file(0)), pixels(&file(1)), "the same words, bound to others");
    // The same text in other words is the same image, wherever it stands in a list.
    sample("one", &["--text", "Red top; BLUE bottom!"]).ok();
    assert_eq!(pixels(&place.path("one/seed0001-text0.png")), pixels(&file(0)));

    let grid = ["--grid", "texts.png", "--text", "red top", "--text", "green bottom"];
    let out = place.dcgan(&[&["sample", run, "--device", "cpu"], &grid]).ok();
    assert!(out.stdout.contains("16 images in texts.png: seeds 0-7"), "{}", out.stdout);
    let layout =
        ["--grid", "3x3", "texts.png", "--text", "red", "--text", "blue", "--seeds", "0-3"];
    place
        .dcgan(&[&["sample", run, "--device", "cpu"], &layout])
        .refused(2, &["for all texts together"]);

    let warned = sample("odd", &["--text", "purple top with stars"]).ok().stderr;
    assert!(warned.contains("does not know purple, with, stars"), "{warned}");
    assert!(warned.contains("green") && warned.contains("leaves them out"), "{warned}");
    sample("none", &["--text", "zebra"]).refused(2, &["--text", "\"zebra\" has no word", "green"]);
    sample("class", &["--class", "1"]).refused(2, &["--class", "without classes"]);
    // Without a text, captions of the training: a seed is always the same image.
    sample("all", &[]).ok();
    sample("again", &["--truncation", "1000"]).ok();
    for file in names(&place.path("all")) {
        assert_eq!(
            pixels(&place.path("all").join(&file)),
            pixels(&place.path("again").join(&file))
        );
    }
}

#[test]
fn other_commands_take_a_text_or_say_what_they_need() {
    let place = Place::new();
    captioned(&place);
    let run = train(&place, "runs", &["--images", "64"]);
    let run = run.to_str().unwrap();
    let on = |words: &[&str]| {
        let words = words.iter().map(|word| if *word == "RUN" { run } else { *word });
        let words: Vec<&str> = words.collect();
        place.dcgan(&[&words, &["--device", "cpu"]])
    };
    let text = ["--text", "red top, blue bottom"];
    let with = |words: &[&str]| on(&[words, &text].concat());
    let walk = ["walk", "RUN", "--to-text", "blue top, red bottom", "--steps", "3"];
    let out = with(&walk).ok();
    assert!(out.stdout.contains("2 texts, 6 frames of 1 image"), "{}", out.stdout);
    assert!(place.path("walk.gif").is_file() && place.path("walk.png").is_file());
    on(&walk).refused(2, &["--to-text", "needs --text"]);
    with(&["walk", "RUN", "--to-text", "zebra"]).refused(2, &["--to-text", "zebra"]);
    with(&["walk", "RUN", "--seeds", "0,1", "--steps", "3"]).ok();
    with(&["walk", "RUN", "--direction", "1"]).ok();
    for words in [
        &["walk", "RUN", "--seeds", "0,1"][..],
        &["arithmetic", "RUN", "--plus", "0,1", "--minus", "2"],
        &["invert", "RUN", "set/000.png", "--steps", "2"],
    ] {
        on(words).refused(2, &["--text", "trained on texts, such as"]);
        with(words).ok();
    }
    on(&["neighbors", "RUN", "set", "--seeds", "0,1"]).ok();
    with(&["neighbors", "RUN", "set", "--seeds", "0,1"]).ok();
    let out = on(&["evaluate", "RUN", "--samples", "18", "--metrics", "colors"]).ok();
    assert!(out.stdout.contains("captions in turn"), "{}", out.stdout);
    for words in [
        &["forget", "RUN", "--page", "page.html"][..],
        &["filters", "RUN", "set/000.png"],
        &["features", "RUN", "set", "--out", "features.npy"],
    ] {
        on(words).refused(1, &["conditioned on texts"]);
    }
    place.dcgan(&[&["export", run, "--to", "model", "--out", "m.safetensors"]]).ok();
    let words = ["sample", "m.safetensors", "--device", "cpu", "--grid", "g.png", "--seeds", "0"];
    place.dcgan(&[&words, &text]).ok();

    // A model without text.
    place.images("plain", 8);
    let plain = ["plain", "--device", "cpu", "--batch", "4", "--images", "8"];
    let plain = place.train("others", &[&plain]);
    let plain = plain.to_str().unwrap();
    place
        .dcgan(&[&["sample", plain, "--device", "cpu"], &text])
        .refused(2, &["--text", "trained without captions", "int-cls"]);
}

#[test]
fn sets_that_cannot_be_learned_are_refused() {
    let place = Place::new();
    place.images("set", 8);
    let words = [&["train", "set", "--batch", "4"], PRESET].concat();
    place.dcgan(&[&words]).refused(1, &["set", "has no captions", "captions.txt"]);
    let lines: String = (0..8).map(|i| format!("{i:03}.png\tword{i}\n")).collect();
    put(&place.path("set"), "captions.txt", lines.as_bytes());
    place.dcgan(&[&words]).refused(1, &["no word that two of them share"]);
    put(&place.path("set"), "captions.txt", lines.replace("word", "word ").as_bytes());
    for (flags, said) in [
        (&["--network", "resnet"][..], &["--network", "dcgan-paper"][..]),
        (&["--weight-d", "norm"], &["--weight-d", "texts"]),
        (&["--n-critic", "2"], &["--n-critic", "int-cls"]),
        (&["--loss", "relativistic"], &["--loss", "int-cls"]),
    ] {
        place.dcgan(&[&words, flags]).refused(2, said);
    }
    // Nothing was made.
    assert!(!place.path("runs").exists());
}

#[test]
fn the_bundled_set_is_trained_on_without_a_path() {
    let place = Place::new();
    let run = place.train("runs", &[PRESET, &["--images", "16"]]);
    assert!(run.ends_with("00000-int-cls-captioned-16"), "{}", run.display());
    let resume = ["train", "--resume", run.to_str().unwrap(), "--images", "32"];
    place.dcgan(&[&resume]).ok();
    let run = run.to_str().unwrap();
    let text = ["--text", "a person with red hair", "--seeds", "0", "--grid", "g.png"];
    place.dcgan(&[&["sample", run, "--device", "cpu"], &text]).ok();
    let data = place.dcgan(&[&["data", "captioned"]]).ok().stdout;
    assert!(data.contains("captions.txt"), "{data}");
}
