//! Conditional models: trained, stopped, resumed, sampled by class, scored; and what
//! cannot be done with them, or without classes.

use std::fs;
use std::path::Path;

use dcgan::device::Device;
use dcgan::models::Size;
use dcgan::models::{Architecture, ModelConfig};
use dcgan::program::Options;
use dcgan::train::{Batch, ModelFile, TrainConfig, Trainer, checkpoint};
use image::{GrayImage, ImageFormat, Luma};

use crate::cli::{Place, TINY, assert_same, latest, names};
use crate::data_formats::encode;
use crate::data_sources::put;
use crate::support::{gpu, gpu_selection};

const CPU: &[&str] = &["--device", "cpu"];

/// A training part and a test part of two classes, bright and dark images, hardly like one
/// another within a class.
pub(crate) fn labeled(place: &Place, per_class: u8) {
    for (class, level) in [("bright", 190), ("dark", 10)] {
        for (part, count) in [("train", per_class), ("test", per_class / 2)] {
            for i in 0..count {
                let image = GrayImage::from_fn(16, 16, |x, y| {
                    Luma([level + (u32::from(i) * 7 + x * 5 + y * 3) as u8 % 40])
                });
                let bytes = encode(&image.into(), ImageFormat::Png);
                let name = format!("{part}/{class}/{part}{i:03}.png");
                put(&place.path("set"), &name, &bytes);
            }
        }
    }
}

fn train(place: &Place, out: &str, words: &[&str]) -> std::path::PathBuf {
    let flags = ["set/train", "--conditional", "--batch", "8", "--gray", "--ema", "0"];
    place.train(out, &[&flags, words])
}

/// The mean level of an image.
fn level(path: &Path) -> f64 {
    let image = image::open(path).unwrap().into_luma8();
    image.pixels().map(|p| f64::from(p.0[0])).sum::<f64>() / f64::from(16 * 16)
}

#[test]
fn a_conditional_run_that_was_stopped_and_resumed_gives_the_same_bits() {
    let gpu = gpu_selection();
    for device in [Some("cpu"), gpu.as_deref()].into_iter().flatten() {
        for preset in ["pytorch", "mnist"] {
            let place = Place::new();
            labeled(&place, 12);
            let words = ["--device", device, "--preset", preset, "--tune", "off"];
            let whole = train(&place, "whole", &[&words[..], &["--images", "64"]].concat());
            let parts = train(&place, "parts", &[&words[..], &["--images", "32"]].concat());
            let resume = ["train", "--resume", parts.to_str().unwrap(), "--images", "64"];
            place.dcgan(&[&resume]).ok();
            assert_same(&latest(&whole), &latest(&parts));

            let model = ModelFile::load(&latest(&whole)).unwrap();
            assert_eq!(model.networks.classes, ["bright", "dark"]);
            // 16 images of each class, four times as large.
            let preview = image::open(whole.join("fakes-000000064.png")).unwrap();
            assert_eq!((preview.width(), preview.height()), (2 + 16 * 66, 2 + 2 * 66));
        }
    }
}

/// The class decides what is drawn, and the file alone is enough to draw it.
#[test]
fn classes_are_learned_and_drawn() {
    let place = Place::new();
    labeled(&place, 40);
    let run = train(&place, "runs", &[CPU, &["--images", "3200", "--lr-g", "1e-3"]].concat());
    fs::copy(latest(&run), place.path("alone.safetensors")).unwrap();
    let sample = |words: &[&str]| place.dcgan(&[&["sample", "alone.safetensors"], words, CPU]);

    sample(&["--class", "dark,0", "--seeds", "0-7", "--out", "both"]).ok();
    let both = names(&place.path("both"));
    assert_eq!(both.len(), 16);
    assert_eq!(both[..2], ["seed0000-0-bright.png", "seed0000-1-dark.png"]);
    let levels = |class: &str| -> Vec<f64> {
        let own = both.iter().filter(|name| name.contains(class));
        own.map(|name| level(&place.path("both").join(name))).collect()
    };
    let (bright, dark) = (levels("bright"), levels("dark"));
    let least = bright.iter().copied().fold(f64::INFINITY, f64::min);
    let most = dark.iter().copied().fold(0.0, f64::max);
    assert!(least > most + 60.0, "bright: {bright:?}, dark: {dark:?}");

    // Without a choice a seed has its class, and draws what it draws beside any others.
    sample(&["--seeds", "3,2", "--out", "turns"]).ok();
    assert_eq!(names(&place.path("turns")), ["seed0002-0-bright.png", "seed0003-1-dark.png"]);
    for name in names(&place.path("turns")) {
        let read = |folder: &str| fs::read(place.path(folder).join(&name)).unwrap();
        assert!(read("turns") == read("both"), "{name}");
    }

    // A row for each class, with its name; or a layout as it was asked for.
    sample(&["--class", "all", "--seeds", "0-2", "--grid", "rows.png"]).ok();
    sample(&["--class", "all", "--seeds", "0-2", "--grid", "3x2", "plain.png"]).ok();
    let rows = image::open(place.path("rows.png")).unwrap();
    assert!(rows.width() > 3 * 96 && rows.height() > 2 * 96, "{rows:?}");
    let plain = image::open(place.path("plain.png")).unwrap();
    assert_eq!((plain.width(), plain.height()), (2 + 3 * 66, 2 + 2 * 66));
    sample(&["--seeds", "0-4", "--grid", "turns.png"]).ok();
    assert!(image::open(place.path("turns.png")).unwrap().width() > 3 * 96);

    // What is generated is enough to tell the classes apart.
    let words = ["nn-score", "alone.safetensors", "--train", "set", "--per-class", "150"];
    let outcome = place.dcgan(&[&words, CPU]).ok();
    let cells = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let table: Vec<_> = outcome.stdout.lines().map(cells).collect();
    for row in [["200", "100", "0.00", "80", "0.00"], ["300", "150", "0.00", "80", "0.00"]] {
        assert!(table.iter().any(|line| line == &row), "{}", outcome.stdout);
    }
    assert!(table.iter().any(|line| *line == ["bright", "20", "0.00", "0.00"]));
    assert!(image::open(place.path("nn-score.png")).unwrap().width() > 12 * 96);
}

#[test]
fn experiments_draw_the_class_they_are_given() {
    let place = Place::new();
    labeled(&place, 12);
    let run = train(&place, "runs", &[CPU, &["--images", "320"]].concat());
    let run = run.to_str().unwrap();
    let dcgan = |words: &[&str]| place.dcgan(&[words, CPU]);

    let missing = &["--class", "is needed", "bright (0), dark (1)"];
    for words in [
        &["walk", run, "--seeds", "1,2", "--out", "walk.gif"][..],
        &["arithmetic", run, "--plus", "1,2", "--minus", "3", "--plus", "4"],
        &["invert", run, "set/train/dark/train000.png", "--steps", "5", "--perceptual", "0.5"],
    ] {
        dcgan(words).refused(2, missing);
        let unknown = &["--class", "no class \"cat\"", "bright (0), dark (1)"];
        dcgan(&[words, &["--class", "cat"]].concat()).refused(2, unknown);
        dcgan(&[words, &["--class", "dark"]].concat()).ok();
    }
    // Whose neighbors are looked up may be of any class: classes in turn, as `dcgan sample` draws them.
    let near = &["neighbors", run, "set/train", "--seeds", "0-1"][..];
    dcgan(near).ok();
    dcgan(&[near, &["--class", "cat"]].concat()).refused(2, &["--class", "no class \"cat\""]);
    // Another class is another film.
    let film = |class: &str| {
        dcgan(&["walk", run, "--seeds", "1,2", "--class", class, "--out", "walk.gif"]).ok();
        fs::read(place.path("walk.gif")).unwrap()
    };
    let (dark, bright) = (film("dark"), film("bright"));
    assert!(dark == film("1") && dark != bright);
    let beside = dcgan(&["neighbors", run, "set/train", "--seeds", "0-1", "--class", "0"]).ok();
    assert!(beside.stderr.contains("neighbors by pixels alone"), "{}", beside.stderr);
    assert!(!beside.stdout.contains("by features"), "{}", beside.stdout);
}

#[test]
fn what_classes_make_impossible_is_refused_in_a_sentence() {
    let place = Place::new();
    labeled(&place, 12);
    let conditional = train(&place, "conditional", &[CPU, &["--images", "32"]].concat());
    let conditional = conditional.to_str().unwrap();
    place.images("flat", 12);
    let plain = place.train("plain", &[&["flat", "--batch", "4", "--images", "8"], CPU]);
    let plain = plain.to_str().unwrap();
    let dcgan = |words: &[&str]| place.dcgan(&[words]);

    let features: &[&str] = &["is conditional", "contains the answer", "without --conditional"];
    dcgan(&["features", conditional, "flat", "--out", "f.npy"]).refused(1, features);
    dcgan(&["classify", conditional, "--train", "set"]).refused(1, features);
    let without: &[&str] = &["is conditional", "without --conditional"];
    dcgan(&["filters", conditional, "flat"]).refused(1, without);
    dcgan(&["forget", conditional, "--page", "page.html"]).refused(1, without);
    let export: &[&str] = &["is conditional", "has no classes"];
    for to in ["safetensors", "pth"] {
        dcgan(&["export", conditional, "--to", to, "--out", "out"]).refused(1, export);
    }
    // As a graph, a generator has classes as its second input.
    let graph = ["export", conditional, "--to", "onnx", "--out"];
    dcgan(&[&graph[..], &["g.onnx"]].concat()).ok();
    dcgan(&[&graph[..], &["out", "--network", "discriminator"]].concat()).refused(1, export);
    let graph = fs::read(place.path("g.onnx")).unwrap();
    assert!(graph.windows(6).any(|bytes| bytes == b"labels"));
    dcgan(&["import", "g.onnx", "--out", "x.safetensors"])
        .refused(1, &["another number of inputs"]);
    assert!(!place.path("out").exists() && !place.path("f.npy").exists());

    let unknown: &[&str] = &["--class", "no class \"2\"", "bright (0), dark (1)"];
    dcgan(&["sample", conditional, "--class", "dark,2"]).refused(2, unknown);
    let none: &[&str] = &["--class", "without classes", "--conditional"];
    dcgan(&["sample", plain, "--class", "0"]).refused(2, none);
    dcgan(&["sample", plain, "--class", "all"]).refused(2, none);
    dcgan(&["walk", plain, "--seeds", "1,2", "--class", "0"]).refused(2, none);
    assert!(!place.path("samples").exists());
    let layout =
        ["sample", conditional, "--class", "all", "--seeds", "0-3", "--grid", "2x2", "g.png"];
    dcgan(&layout).refused(2, &["--grid", "4 places for 8 images", "all classes together"]);

    let score = |words: &[&str]| place.dcgan(&[&["nn-score"], words]);
    score(&[plain, "--train", "set"]).refused(1, &["without classes", "--conditional"]);
    score(&[conditional, "--train", "set/train"]).refused(2, &["--test", "no test part"]);
    score(&[conditional, "--train", "set/train", "--test", "set/train"])
        .refused(2, &["--test", "its own nearest neighbor"]);
    score(&[conditional, "--train", "flat", "--test", "set/test"])
        .refused(1, &["flat", "no labels"]);
    fs::rename(place.path("set/test/dark"), place.path("set/test/dim")).unwrap();
    let other: &[&str] = &["class \"dim\"", "not trained with", "bright (0), dark (1)"];
    score(&[conditional, "--train", "set"]).refused(1, other);

    let labels: &[&str] = &["--conditional", "flat has no labels", "one folder for each class"];
    for dry in [&[][..], &["--dry-run"]] {
        let words = ["train", "flat", "--conditional", "--device", "cpu", "--out", "no"];
        place.dcgan(&[&words, TINY, dry]).refused(2, labels);
    }
    assert!(!place.path("no").exists());
    let resume = ["train", "--resume", plain, "--conditional", "--images", "99"];
    dcgan(&resume).refused(2, &["--conditional", "started with none", "leave the flag out"]);
    // Where it was started with it, the flag says what is so anyway.
    dcgan(&["train", "--resume", conditional, "--conditional", "--images", "48"]).ok();
}

#[test]
fn a_model_whose_classes_were_tampered_with_is_damaged() {
    let place = Place::new();
    labeled(&place, 12);
    let run = train(&place, "runs", &[CPU, &["--images", "16"]].concat());
    let file = checkpoint::load(&latest(&run)).unwrap();
    for (key, from, to) in [
        ("dcgan.recipe", "[\"bright\",\"dark\"]", "[\"bright\"]"),
        ("dcgan.model", "[\"bright\",\"dark\"]", "[\"bright\",\"dim\"]"),
        ("dcgan.recipe", "\"classes\":2", "\"classes\":99999999"),
    ] {
        let mut metadata = file.metadata.clone();
        let changed = metadata[key].replace(from, to);
        assert_ne!(changed, metadata[key], "{key} {from}");
        metadata.insert(key.into(), changed);
        let path = place.path("damaged.safetensors");
        checkpoint::save(&path, &file.tensors, &metadata).unwrap();
        place.dcgan(&[&["sample", "damaged.safetensors"], CPU]).refused(1, &["damaged"]);
    }
}

fn trainer(device: &Device, classes: usize) -> Trainer {
    let size = Size { height: 8, width: 8 };
    let network = Architecture::Dcgan;
    let model = ModelConfig {
        network,
        size,
        channels: 3,
        nz: 8,
        ngf: 8,
        ndf: 8,
        classes,
        ..ModelConfig::default()
    };
    let config = TrainConfig { batch: 4, ..TrainConfig::new(model) };
    Trainer::new(config, device, &Options::default()).unwrap()
}

#[test]
fn a_step_wants_a_label_of_a_class_for_every_image() {
    let images = || vec![100; 4 * 8 * 8 * 3];
    let mut conditional = trainer(&Device::Cpu, 3);
    let error = conditional.step(images()).unwrap_err().to_string();
    assert!(error.contains("conditioned on classes") && error.contains("0 were given"), "{error}");
    assert!(conditional.step(Batch::from(images()).labels(&[0, 1, 2])).is_err());
    let error =
        conditional.step(Batch::from(images()).labels(&[0, 1, 2, 3])).unwrap_err().to_string();
    assert!(error.contains("label 3 is out of range for 3 classes"), "{error}");
    // What was refused has changed nothing.
    assert_eq!(conditional.steps(), 0);
    conditional.step(Batch::from(images()).labels(&[0, 1, 2, 0])).unwrap();
    assert_eq!(conditional.steps(), 1);

    let mut sampler = conditional.sampler(2).unwrap();
    let latents = dcgan::tensor::Tensor::full([3, 8], 0.5);
    assert!(conditional.sample(&mut sampler, &latents).is_err());
    let made = conditional.sample_labeled(&mut sampler, &latents, &[0, 1, 0]).unwrap();
    let each: Vec<&[f32]> = made.f32s().chunks(8 * 8 * 3).collect();
    assert!(each[0] == each[2] && each[0] != each[1], "the same latent, of two classes");

    let mut plain = trainer(&Device::Cpu, 0);
    plain.step(Batch::from(images()).labels(&[7, 7, 7, 7])).unwrap();
    let mut sampler = plain.sampler(2).unwrap();
    assert!(plain.sample_labeled(&mut sampler, &latents, &[0, 1, 0]).is_err());
}

#[test]
fn labels_come_with_the_images_in_one_upload() {
    let Some(gpu) = gpu() else { return };
    let mut conditional = trainer(&Device::Gpu(gpu.clone()), 3);
    let mut step = |step: u8| {
        let uploads = gpu.uploads();
        conditional.step(Batch::from(vec![step; 4 * 8 * 8 * 3]).labels(&[0, 1, 2, 0])).unwrap();
        assert_eq!(gpu.uploads() - uploads, 1, "in step {step}");
    };
    (0..2).for_each(&mut step);
    let before = (gpu.creations(), gpu.allocated_bytes());
    (2..6).for_each(step);
    assert_eq!((gpu.creations(), gpu.allocated_bytes()), before);
}
