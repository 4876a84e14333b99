//! Training as the GAN family does it, from the command line: every preset and every loss trains,
//! samples, and goes on to the last bit where it stopped.

use std::path::Path;

use clap::ValueEnum;
use dcgan::objectives::{Loss, Output};
use dcgan::train::{Folder, LogLine, ModelFile};

use crate::cli::{Place, TINY, assert_same, latest};

/// The names of all presets, as the program lists them.
fn presets(place: &Place) -> Vec<String> {
    let listed = place.dcgan(&[&["presets"]]).ok().stdout;
    listed.lines().filter_map(|line| line.split_whitespace().next()).map(String::from).collect()
}

/// What a training told; every number is one.
fn log(run: &Path) -> Vec<LogLine> {
    let log = Folder::open(run).unwrap().log().unwrap();
    for line in &log {
        let numbers = [line.loss_d, line.loss_g, line.d_real, line.d_fake, line.grad_norm_d];
        assert!(numbers.iter().all(|x| x.is_finite()), "{line:?}");
        // A discriminator that wins by a hinge's margin has no gradient.
        assert!(line.grad_norm_g > 0.0, "{line:?}");
    }
    log
}

#[test]
fn every_preset_trains_samples_and_resumes_to_the_bit() {
    let place = Place::new();
    place.pictures("set/left", 20);
    place.pictures("set/right", 20);
    let names = presets(&place);
    assert!(names.len() > 5, "{names:?}");
    for name in names {
        let words = ["set", "--device", "cpu", "--batch", "4", "--preset", &name, "--seed", "3"];
        // Its own height is larger than these pictures.
        let attends = place.dcgan(&[&["presets", &name]]).ok().stdout.contains("--attention");
        let attention: &[&str] = if attends { &["--attention", "8"] } else { &[] };
        let small = [&words, attention].concat();
        let train = |out: &str, steps: u64, more: &[&str]| {
            let told = place.dcgan(&[&["train", "--dry-run"], &small, TINY]).ok().stdout;
            let options: serde_json::Value = serde_json::from_str(&told).unwrap();
            let critic = options["recipe"]["n_critic"].as_u64().unwrap_or(1);
            let images = (steps * 4 * critic).to_string();
            let words = ["train", "--out", out, "--images", &images, "--report-every", "64"];
            place.dcgan(&[&words, &small, TINY, more]).ok();
            (place.only_run(out), images)
        };
        let (whole, images) = train(&format!("{name}-whole"), 200, &[]);
        assert!(!log(&whole).is_empty());
        assert_eq!(ModelFile::load(&latest(&whole)).unwrap().step, 200);
        let (parts, _) = train(&format!("{name}-parts"), 90, &[]);
        let path = parts.to_str().unwrap();
        place.dcgan(&[&["train", "--resume", path, "--images", &images]]).ok();
        assert_same(&latest(&whole), &latest(&parts));
        place.dcgan(&[&["sample", path, "--seeds", "0-3", "--out", &name]]).ok();
    }
}

#[test]
fn every_loss_tells_probabilities_or_scores() {
    let place = Place::new();
    for loss in Loss::value_variants() {
        let name = loss.to_string();
        let words = ["--device", "cpu", "--batch", "4", "--images", "40", "--loss", &name];
        let run = place.train(&name, &[&words, &["--report-every", "20"]]);
        for line in log(&run) {
            let all = [line.d_real, line.d_fake, line.d_fake_g];
            let within = all.iter().all(|x| (0.0..=1.0).contains(x));
            assert!(within || loss.output() == Output::Score, "{loss}: {line:?}");
            assert_eq!((line.penalty, line.slope), (None, None));
        }
    }
}

#[test]
fn options_of_the_run_hold_the_resolved_preset() {
    let place = Place::new();
    let words = ["train", "--dry-run", "--device", "cpu", "--preset", "wgan", "--lr-d", "1e-3"];
    let told = place.dcgan(&[&words]).ok().stdout;
    let options: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!(options["preset"], "wgan");
    let recipe = &options["recipe"];
    assert_eq!(recipe["loss"], "wasserstein");
    assert_eq!(recipe["n_critic"], 5);
    assert_eq!(recipe["lr_g"], 5e-5);
    // What is typed counts more.
    assert_eq!(recipe["lr_d"], 1e-3);
    // A preset by another name is the same.
    for (alias, name) in [("pytorch", "dcgan"), ("dcgan-paper", "paper")] {
        let words = ["train", "--dry-run", "--device", "cpu", "--preset", alias];
        let told = place.dcgan(&[&words]).ok().stdout;
        let options: serde_json::Value = serde_json::from_str(&told).unwrap();
        assert_eq!(options["preset"], name);
    }
}

#[test]
fn a_preset_is_printed_with_its_source() {
    let place = Place::new();
    for name in presets(&place) {
        let told = place.dcgan(&[&["presets", &name]]).ok().stdout;
        assert!(told.starts_with(&format!("{name}: ")) && told.contains("Source: "), "{told}");
        assert!(told.contains(&format!("--preset {name}")), "{told}");
    }
    place.dcgan(&[&["presets", "none"]]).refused(2, &["no preset \"none\"", "wgan"]);
}
