//! `dcgan train --from`: new runs that start from the weights of other models; and what runs are called.

use std::fs;
use std::path::Path;

use dcgan::device::Device;
use dcgan::model::ModelFile;
use dcgan::nn::Layout;
use dcgan::program::Options;
use dcgan::train::{TrainConfig, Trainer};
use serde_json::Value;

use crate::cli::{Place, TINY, latest};
use crate::cli_latent::generator_alone;

const CPU: &[&str] = &["--device", "cpu", "--batch", "8"];

/// Networks without spectral norm, whose weights other programs read.
const PLAIN: &[&str] = &["--preset", "dcgan"];

/// Steps that change no weight by as much as a bit.
const STILL: &[&str] = &["--lr-g", "1e-30", "--lr-d", "1e-30", "--images", "16"];

fn model(run: &Path) -> ModelFile {
    ModelFile::open(run).unwrap().0
}

fn options(run: &Path) -> Value {
    serde_json::from_slice(&fs::read(run.join("options.json")).unwrap()).unwrap()
}

/// Whether two models have the same first weights in a network.
fn alike(a: &ModelFile, b: &ModelFile, network: &str) -> bool {
    let name = format!("{network}.main.0.weight");
    a.tensors[&name].bytes() == b.tensors[&name].bytes()
}

#[test]
fn networks_and_their_averages_are_taken_and_the_optimizer_is_not() {
    let place = Place::new();
    let run = place.train("runs", &[CPU, &["--images", "400", "--seed", "3"]]);
    let source = model(&run);
    let config = TrainConfig::of(&source).unwrap().unwrap();
    let mut trainer = Trainer::new(config, &Device::Cpu, &Options::default()).unwrap();
    let fresh = trainer.tensors().unwrap();
    trainer.start_from(&source).unwrap();
    let params = source.networks.params();
    let mut seen = [0; 3];
    for (name, tensor) in trainer.tensors().unwrap() {
        let own = name.strip_prefix("ema.").unwrap_or(&name);
        let is_network = params.iter().any(|param| param.name == own);
        let wanted = if is_network { &source.tensors } else { &fresh };
        assert!(tensor.bytes() == wanted[&name].bytes(), "{name}");
        // What is fresh is not what the source has, or the test says nothing.
        let differs = fresh[&name].bytes() != source.tensors[&name].bytes();
        seen[usize::from(is_network) + usize::from(name != own)] += usize::from(differs);
    }
    assert!(seen.iter().all(|&n| n > 4), "{seen:?}");
}

#[test]
fn a_run_starts_from_a_run_with_other_rates() {
    let place = Place::new();
    let run = place.train("runs", &[CPU, PLAIN, &["--images", "80"]]);
    let path = run.to_str().unwrap();
    // Sizes and widths come from there.
    let words = ["train", "--from", path, "--out", "next", "--loss", "hinge"];
    let outcome = place.dcgan(&[&words, CPU, STILL]).ok();
    assert!(outcome.stderr.contains(", step 10: generator and its moving average, discriminator"));
    let next = place.only_run("next");
    let (source, started) = (model(&run), model(&next));
    assert_eq!((started.step, &started.networks), (2, &source.networks));
    assert!(alike(&source, &started, "generator") && alike(&source, &started, "discriminator"));
    let from = &options(&next)["from"];
    assert_eq!((&from["step"], &from["average"]), (&10.into(), &true.into()));
    assert_eq!(from["networks"], serde_json::json!(["generator", "discriminator"]));
    assert_eq!(from["path"], latest(&run).to_str().unwrap());
    assert_eq!(from["crc32"].as_str().unwrap().len(), 8);
    assert_eq!(options(&next)["recipe"]["loss"], "hinge");
    // It is a run like any other, and resuming it needs no source.
    fs::remove_dir_all(&run).unwrap();
    let resume = ["train", "--resume", next.to_str().unwrap(), "--images", "32"];
    place.dcgan(&[&resume]).ok();
    assert_eq!(&options(&next)["from"]["step"], 10);
}

#[test]
fn a_generator_alone_gets_a_fresh_discriminator() {
    let place = Place::new();
    let run = place.train("runs", &[CPU, PLAIN, &["--images", "80", "--ema", "0"]]);
    generator_alone(&place, run.to_str().unwrap());
    let words = ["train", "--from", "generator.safetensors", "--out", "next", "--ndf", "4"];
    let outcome = place.dcgan(&[&words, CPU, STILL]).ok();
    assert!(outcome.stderr.contains("generator.safetensors: generator\n"), "{}", outcome.stderr);
    let (source, started) = (model(&run), model(&place.only_run("next")));
    assert!(alike(&source, &started, "generator"));
    let model_config = TrainConfig::of(&started).unwrap().unwrap().model;
    assert_eq!(
        (model_config.ngf, model_config.ndf, model_config.nz, model_config.size.width),
        (8, 4, 8, 16)
    );
    // Both from elsewhere, with batch norm's own names.
    let run = run.to_str().unwrap();
    for network in ["generator", "discriminator"] {
        let out = format!("{network}.pth");
        let flags = ["--raw", "--to", "pth", "--network", network, "--out", &out];
        place.dcgan(&[&["export", run], &flags]).ok();
    }
    let files = ["generator.pth", "discriminator.pth", "--out", "both.safetensors"];
    place.dcgan(&[&["import"], &files]).ok();
    place.dcgan(&[&["train", "--from", "both.safetensors", "--out", "both"], CPU, STILL]).ok();
    let both = model(&place.only_run("both"));
    assert!(alike(&source, &both, "generator") && alike(&source, &both, "discriminator"));
}

#[test]
fn what_does_not_fit_the_model_is_named() {
    let place = Place::new();
    let run = place.train("runs", &[CPU, PLAIN, &["--images", "16"]]);
    let run = run.to_str().unwrap();
    place.images("set/a", 10);
    place.images("set/b", 10);
    let cases: &[(&[&str], i32, &[&str])] = &[
        (&["--ngf", "16"], 2, &["--ngf", "16", "--from", "8"]),
        (&["--size", "32"], 2, &["--size", "32", "16"]),
        (&["--norm-d", "layer"], 2, &["--norm-d", "layer", "batch"]),
        (&["--preset", "resnet"], 2, &["--preset"]),
        (&["--preset", "sagan"], 2, &["--from"]),
        (&["set", "--conditional"], 2, &["--conditional", "concat", "none"]),
        (&["set", "--labels-per-class", "2"], 2, &["--labels-per-class", "know no classes"]),
        (&["--resume", run], 2, &["--from", "--resume"]),
    ];
    for (words, code, parts) in cases {
        place
            .dcgan(&[&["train", "--from", run, "--out", "next"], words, CPU])
            .refused(*code, parts);
    }
    place.dcgan(&[&["train", "--from", "nothing"], CPU]).refused(1, &["nothing", "no such"]);
    assert!(!place.path("next").exists());
    // Classes must be the same ones.
    let conditional = ["set", "--conditional", "--images", "16"];
    let classes = place.train("classes", &[CPU, &conditional]);
    let classes = classes.to_str().unwrap();
    place.dcgan(&[&["train", "set", "--from", classes, "--out", "next"], CPU, STILL]).ok();
    fs::rename(place.path("set/b"), place.path("set/c")).unwrap();
    let outcome = place.dcgan(&[&["train", "set", "--from", classes], CPU, STILL]);
    outcome.refused(1, &["other classes (a, b)", "(a, c)"]);
    let outcome = place.dcgan(&[&["train", "--from", classes], CPU, STILL]);
    outcome.refused(2, &["--conditional", "no labels"]);
}

#[test]
fn the_bundled_model_is_trained_on_as_it_was_trained() {
    let place = Place::new();
    place.images("set", 20);
    let words = ["train", "set", "--from", "avatars", "--images", "16", "--device", "cpu"];
    place.dcgan(&[&words, &["--out", "next"]]).ok();
    let run = place.only_run("next");
    let recipe = &options(&run)["recipe"];
    assert_eq!((&recipe["loss"], &recipe["batch"]), (&"hinge".into(), &8.into()));
    assert_eq!(options(&run)["preset"], "fast");
    // Others are trained as ever.
    place.dcgan(&[&words, &["--out", "other", "--loss", "hinge"]]).refused(1, &["--network"]);
    let run = place.train("runs", &[CPU, PLAIN, &["--images", "16"]]);
    let words = ["train", "--from", run.to_str().unwrap(), "--out", "plain"];
    place.dcgan(&[&words, CPU, STILL]).ok();
    assert_eq!(options(&place.only_run("plain"))["preset"], "dcgan");
}

#[test]
fn runs_are_called_by_their_preset_or_by_name() {
    let place = Place::new();
    place.images("flowers", 20);
    let mut count = 0;
    let mut called = |words: &[&str]| {
        let flags = ["train", "flowers", "--images", "4", "--device", "cpu", "--batch", "4"];
        place.dcgan(&[&flags, TINY, words]).ok();
        count += 1;
        let runs = place.runs("runs");
        assert_eq!(runs.len(), count);
        runs.last().unwrap().file_name().unwrap().to_str().unwrap().to_owned()
    };
    assert_eq!(called(&[]), "00000-fast-flowers-16");
    assert_eq!(called(&["--preset", "wgan-gp"]), "00001-wgan-gp-flowers-16");
    assert_eq!(called(&["--network", "dcgan-paper"]), "00002-dcgan-paper-flowers-16");
    assert_eq!(called(&["--name", "second try"]), "00003-second-try");
    assert_eq!(called(&["--name", "../../é: *?\u{1b}[31m."]), "00004-é-31m");
    let refused = |words: &[&str], parts: &[&str]| {
        place.dcgan(&[&["train", "--name"], words, CPU, TINY]).refused(2, parts);
    };
    refused(&["../.."], &["--name", "letters or digits"]);
    refused(&[""], &["--name", "letters or digits"]);
    refused(&["x", "--resume", "runs/00000-dcgan-flowers-16"], &["--name", "--resume"]);
}

/// What starts by images starts so in networks that are new.
#[test]
fn what_was_taken_does_not_start_anew() {
    let place = Place::new();
    let run = place.train("runs", &[CPU, &["--preset", "ali", "--images", "16"]]);
    let source = model(&run);
    let config = TrainConfig::of(&source).unwrap().unwrap();
    let mut trainer = Trainer::new(config, &Device::Cpu, &Options::default()).unwrap();
    assert!(trainer.start_images() > 0);
    trainer.start_from(&source).unwrap();
    assert_eq!(trainer.start_images(), 0);
    // Of the run itself the generator has started: most of the bias is not the 0 of new ones.
    let bias = source.networks.params().into_iter().find(|p| p.layout == Layout::Image).unwrap();
    let bias = source.tensors[&bias.name].f32s();
    assert!(bias.iter().filter(|x| x.abs() > 0.005).count() * 2 > bias.len(), "{bias:?}");
}
