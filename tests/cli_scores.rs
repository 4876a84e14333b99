//! `dcgan train --evaluate-every`: what is scored when, that the training does not notice, and which
//! checkpoint is kept as the best.

use std::fs;
use std::path::Path;

use dcgan::train::{Folder, LogLine, ModelFile, TrainConfig};
use serde_json::Value;

use crate::cli::{Place, TINY, assert_same, latest};

const CPU: &[&str] = &["--device", "cpu", "--batch", "8", "--seed", "7"];
const EVERY: &[&str] = &["--evaluate-every", "48", "--evaluate", "swd-raw,1-nn"];

fn log(run: &Path) -> Vec<LogLine> {
    Folder::open(run).unwrap().log().unwrap()
}

/// The scores by this name, with the images seen.
fn scores(run: &Path, name: &str) -> Vec<(u64, f32)> {
    let log = log(run);
    log.iter().filter_map(|line| Some((line.images, line.metrics.get(name)?))).collect()
}

#[test]
fn scores_change_no_bit_of_the_training_and_are_those_of_evaluate() {
    let place = Place::new();
    place.images("set", 40);
    let set = &["set", "--flip", "--crop", "random", "--images", "128", "--report-every", "40"];
    let plain = place.train("plain", &[set, CPU]);
    let words = [&["train", "--out", "scored"], TINY, set, CPU, EVERY, &["--best", "swd-raw"]];
    let told = place.dcgan(&[&words.concat(), &["--tensorboard"]]).ok().stderr;
    let scored = place.only_run("scored");
    assert_same(&latest(&plain), &latest(&scored));
    assert!(told.contains("scores at 48 images: swd-raw "), "{told}");
    assert!(told.contains(" (real ") && told.contains("; the best so far"), "{told}");
    assert!(told.contains("scores are of 40 generated and real images"), "{told}");
    // A line of its own where none is due, and the last step.
    let swd = scores(&scored, "swd-raw");
    assert_eq!(swd.iter().map(|s| s.0).collect::<Vec<_>>(), [48, 96, 128]);
    let reports: Vec<u64> = log(&scored).iter().map(|line| line.images).collect();
    assert_eq!(reports, [40, 48, 80, 96, 120, 128]);

    let evaluate = |model: &str| {
        let words = ["evaluate", model, "--real", "set", "--metrics", "swd-raw,1-nn", "--json"];
        let json = place.dcgan(&[&words, &["--device", "cpu"]]).ok();
        serde_json::from_str::<Value>(&json.stdout).unwrap()
    };
    let last = evaluate("scored/00000-fast-set-16");
    for (name, value) in last["metrics"].as_object().unwrap() {
        let (_, logged) = *scores(&scored, name).last().unwrap();
        assert_eq!(value.as_f64().unwrap() as f32, logged, "{name}");
    }
    let floors = Folder::open(&scored).unwrap().floors();
    assert_eq!(floors["swd-raw"], last["floors"]["swd-raw"]["value"].as_f64().unwrap());

    // The best checkpoint is a model like any other.
    let best = scored.join("best.safetensors");
    let least = swd.iter().min_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
    let model = ModelFile::load(&best).unwrap();
    assert_eq!((model.step * 8, TrainConfig::of(&model).unwrap().unwrap().batch), (least.0, 8));
    let again = evaluate("scored/00000-fast-set-16/best.safetensors");
    assert_eq!(again["metrics"]["swd-raw"].as_f64().unwrap() as f32, least.1);
    place.dcgan(&[&["sample", best.to_str().unwrap(), "--seeds", "0-3", "--grid", "x.png"]]).ok();

    let page = fs::read_to_string(scored.join("report.html")).unwrap();
    for words in ["Score: swd-raw", "Scores: 1-nn", "best.safetensors", "real images"] {
        assert!(page.contains(words), "no {words} in report.html");
    }
    let csv = place.dcgan(&[&["log", "scored/00000-fast-set-16", "--csv"]]).ok().stdout;
    assert!(csv.lines().next().unwrap().contains(",swd-raw,1-nn,"), "{csv}");
    let runs = ["plain/00000-fast-set-16", "scored/00000-fast-set-16"];
    let compared = place.dcgan(&[&["compare"], &runs, &["--device", "cpu"]]).ok().stdout;
    assert!(compared.contains("swd-raw"), "{compared}");
}

#[test]
fn a_resumed_run_has_the_same_scores_at_the_same_points() {
    let place = Place::new();
    place.images("set", 40);
    let best = ["--best", "1-nn", "--keep", "1", "--save-every", "8"];
    let words = [&["set"], CPU, EVERY, &best];
    let train =
        |out: &str, images: &str| place.train(out, &[&words.concat(), &["--images", images]]);
    let whole = train("whole", "192");
    // Stopped while it was scored: the step is saved, and its scores are not.
    let parts = train("parts", "96");
    let path = parts.join("log.jsonl");
    let kept = fs::read_to_string(&path).unwrap();
    let (kept, lost) = kept.trim_end().rsplit_once('\n').unwrap();
    assert!(lost.contains("\"images\":96") && lost.contains("1-nn"), "{lost}");
    fs::write(&path, format!("{kept}\n")).unwrap();
    let floors = fs::read(parts.join("floors.json")).unwrap();
    let resume = ["train", "--resume", parts.to_str().unwrap(), "--images", "192"];
    place.dcgan(&[&resume]).ok();
    for name in ["swd-raw", "1-nn", "1-nn-fake"] {
        let (a, b) = (scores(&whole, name), scores(&parts, name));
        assert_eq!(a.iter().map(|s| s.0).collect::<Vec<_>>(), [48, 96, 144, 192]);
        assert_eq!(a, b, "{name}");
    }
    assert_same(&latest(&whole), &latest(&parts));
    assert_same(&whole.join("best.safetensors"), &parts.join("best.safetensors"));
    assert_eq!(fs::read(parts.join("floors.json")).unwrap(), floors);
    // One newest checkpoint, and the best.
    let files = crate::cli::names(&parts);
    let models = files.iter().filter(|name| name.ends_with(".safetensors"));
    assert_eq!(
        models.collect::<Vec<_>>(),
        ["best.safetensors", "checkpoint-000000192.safetensors"]
    );
    // It goes on from the newest.
    assert_eq!(ModelFile::load(&latest(&parts)).unwrap().step, 24);
}

#[cfg(unix)]
#[test]
fn ctrl_c_does_not_wait_for_a_score_and_the_run_goes_on_with_it() {
    let place = Place::new();
    place.images("set", 240);
    // Scores that take seconds each.
    let slow =
        ["--evaluate-every", "16", "--evaluate", "colors,swd-nvidia,swd-raw", "--images", "32"];
    let words = [&["set"], CPU, &slow, &["--report-every", "8"]].concat();
    let words = [&words[..], &["--size", "64", "--ngf", "4", "--ndf", "4", "--nz", "4"]].concat();
    let mut running = place.start(&[&["train", "--out", "parts"], &words]);
    let run = running.wait_for_log(&place, "parts", 1);
    let stderr = place.path("stderr.txt");
    std::thread::sleep(std::time::Duration::from_millis(100));
    running.signal("INT");
    let outcome = running.end();
    let told = fs::read_to_string(stderr).unwrap();
    assert_eq!(outcome.code, Some(130), "{outcome:#?}");
    assert!(!told.contains("scores at"), "it waited: {told}");
    assert_eq!(scores(&run, "colors"), []);
    place.dcgan(&[&["train", "--resume", run.to_str().unwrap()]]).ok();
    let found = scores(&run, "swd-nvidia");
    assert_eq!(found.iter().map(|s| s.0).collect::<Vec<_>>(), [16, 32]);
}

#[test]
fn what_cannot_be_scored_is_said_in_a_sentence_before_anything_is_written() {
    let place = Place::new();
    place.images("few", 4);
    let refused = |code: i32, words: &[&str], says: &[&str]| {
        let train = ["train", "few", "--device", "cpu", "--batch", "2", "--images", "4"];
        place.dcgan(&[&train, TINY, words]).refused(code, says);
        assert!(!place.path("runs").exists(), "{words:?} left a run");
    };
    let every: &[&str] = &["--evaluate-every", "4"];
    let with = |more: &[&'static str]| [every, more].concat();
    refused(2, &["--best", "swd-raw"], &["--best: ", "give --evaluate-every too"]);
    refused(2, &with(&["--evaluate", "fdi"]), &["\"fdi\" is not a metric; there are swd-nvidia"]);
    refused(2, &with(&["--best", "prdc"]), &["several scores: name one of precision"]);
    refused(2, &with(&["--evaluate", "kid"]), &["--features: is needed for kid"]);
    refused(2, &with(&["--evaluate", "copies"]), &["memorization needs images"]);
    refused(1, &with(&["--features", "none.pth"]), &["none.pth"]);
    refused(1, &with(&["--evaluate", "prdc-pixels"]), &["4 real images are too few; 6 or more"]);
    refused(1, &with(&["--best", "recall-pixels"]), &["4 real images are too few; 6 or more"]);
    let small = ["train", "few", "--size", "8", "--batch", "2", "--evaluate", "swd-mmgen"];
    place.dcgan(&[&small, every, &["--device", "cpu"]]).refused(1, &["8x8 pixels are too small"]);
    // The usual ones are left out.
    let words = ["few", "--batch", "2", "--images", "4", "--device", "cpu"];
    let train = ["train", "--out", "few-scored"];
    let told = place.dcgan(&[&train, TINY, &words, every]).ok().stderr;
    assert!(told.contains("note: prdc-pixels: 4 real images are too few"), "{told}");
    assert!(told.contains("scores at 4 images: swd-raw"), "{told}");
}
