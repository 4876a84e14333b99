//! A training in stages on the command line: in turn, interrupted, alone, listed.

use std::fs;
use std::path::{Path, PathBuf};

use dcgan::train::ModelFile;
use image::RgbImage;
use serde_json::Value;

use crate::cli::{Place, assert_same, latest, names};
use crate::cli_conditional::labeled;
use crate::cli_json::listed;
use crate::cli_latent::samples;

const CPU: &[&str] = &["--device", "cpu"];

/// A tiny stacked GAN of two classes, and its sizes.
const STACKED: &[&str] =
    &["set/train", "--preset", "stacked", "--gray", "--batch", "8", "--device", "cpu"];
const SMALL: &[&str] =
    &["--size", "16", "--nz", "8", "--ngf", "4", "--ndf", "4", "--report-every", "16"];

const LENGTHS: &[&str] = &["--stage-images", "encoder=32,g1=40,g0=32,joint=24"];

fn train(place: &Place, out: &str, words: &[&str]) -> PathBuf {
    place.dcgan(&[&["train", "--out", out], STACKED, SMALL, LENGTHS, words]).ok();
    place.only_run(out)
}

/// Name, state and images of every stage.
pub(crate) fn stages(place: &Place, run: &Path) -> Vec<(String, String, u64)> {
    let outcome = place.dcgan(&[&["stages", run.to_str().unwrap(), "--json"]]).ok();
    let value: Value = serde_json::from_str(&outcome.stdout).unwrap();
    let mut keys: Vec<&String> = value.as_object().unwrap().keys().collect();
    keys.sort();
    assert_eq!(keys, listed("stages").iter().collect::<Vec<_>>());
    let text = |stage: &Value, key: &str| stage[key].as_str().unwrap().to_owned();
    let row = |stage: &Value| {
        (text(stage, "name"), text(stage, "state"), stage["images"].as_u64().unwrap())
    };
    value["stages"].as_array().unwrap().iter().map(row).collect()
}

pub(crate) fn row(name: &str, state: &str, images: u64) -> (String, String, u64) {
    (name.into(), state.into(), images)
}

#[test]
fn stages_follow_one_another_and_a_stop_anywhere_changes_no_bit() {
    let place = Place::new();
    labeled(&place, 12);
    let whole = train(&place, "whole", &[]);
    let all = ["encoder", "g1", "g0", "joint"];
    let lengths = [32, 40, 32, 24];
    let done = all.iter().zip(lengths).map(|(name, images)| row(name, "done", images));
    assert_eq!(stages(&place, &whole), done.collect::<Vec<_>>());
    let log = fs::read_to_string(whole.join("log.jsonl")).unwrap();
    for stage in all {
        assert!(log.contains(&format!(r#""stage":"{stage}""#)), "{log}");
        let model = ModelFile::load(&whole.join(format!("stage-{stage}.safetensors"))).unwrap();
        assert!(model.step > 0);
    }
    assert!(log.lines().next().unwrap().contains("accuracy"), "{log}");
    // Previews of noise are not made: one at the start, and those of the stages of images.
    let previews: Vec<String> =
        names(&whole).into_iter().filter(|name| name.starts_with("fakes-")).collect();
    let wanted = [0, 104, 128].map(|images| format!("fakes-{images:09}.png"));
    assert_eq!(previews, wanted);

    // In the middle of a stage; at its end; after it.
    for stop in ["32", "56", "112"] {
        let out = format!("parts-{stop}");
        let parts = train(&place, &out, &["--images", stop]);
        if stop == "56" {
            let now = stages(&place, &parts);
            let wanted = [
                row("encoder", "done", 32),
                row("g1", "running", 24),
                row("g0", "to-come", 0),
                row("joint", "to-come", 0),
            ];
            assert_eq!(now, wanted);
            let table = place.dcgan(&[&["stages", parts.to_str().unwrap()]]).ok().stdout;
            assert!(table.contains("g1       running      24  40  encoder"), "{table}");
        }
        let resume = ["train", "--resume", parts.to_str().unwrap(), "--images", "128"];
        place.dcgan(&[&resume]).ok();
        assert_same(&latest(&whole), &latest(&parts));
        assert_eq!(stages(&place, &whole), stages(&place, &parts), "{stop}");
    }
}

#[test]
fn a_stage_is_trained_alone_where_those_before_it_are_done() {
    let place = Place::new();
    labeled(&place, 12);
    let refused = |words: &[&str], said: &[&str]| {
        place.dcgan(&[&["train"], STACKED, SMALL, LENGTHS, words]).refused(2, said);
    };
    let alone = |stage: &str, from: Option<&Path>| {
        let from = from.map(|from| from.to_str().unwrap());
        let flags = from.map(|from| ["--from", from]);
        let words = [&["--stage", stage][..], flags.as_ref().map_or(&[], |f| &f[..])].concat();
        train(&place, stage, &words)
    };
    refused(&["--stage", "g1"], &["--stage", "g1 builds on the stage encoder", "--from"]);
    refused(&["--stage", "g2"], &["--stage", "there is no stage \"g2\"", "encoder, g1, g0, joint"]);
    let encoder = alone("encoder", None);
    let text = encoder.to_str().unwrap();
    refused(
        &["--stage", "joint", "--from", text],
        &["joint builds on the stage g1, which is not done", "(0 images seen)"],
    );
    // The levels in another order.
    let g0 = alone("g0", Some(&encoder));
    let g1 = alone("g1", Some(&g0.join("stage-g0.safetensors")));
    let wanted = [row("encoder", "done", 32), row("g1", "done", 40), row("g0", "done", 32)];
    assert_eq!(stages(&place, &g1)[..3], wanted);
    let part = |run: &Path, network: &str| {
        let model = ModelFile::load(&latest(run)).unwrap();
        let own = model.tensors.into_iter().filter(|(name, _)| name.starts_with(network));
        own.collect::<Vec<_>>()
    };
    assert_eq!(part(&g1, "generator."), part(&g0, "generator."));
    assert_eq!(part(&g1, "classifier."), part(&encoder, "classifier."));
    assert_ne!(part(&g1, "feature_generator."), part(&g0, "feature_generator."));
    let joint = alone("joint", Some(&g1));
    assert_eq!(stages(&place, &joint)[3], row("joint", "done", 24));
    // Trained again, it leaves behind those that build on it.
    let again = train(&place, "again", &["--stage", "encoder", "--from", joint.to_str().unwrap()]);
    let left = [("g1", 40), ("g0", 32), ("joint", 24)];
    let wanted = left.map(|(stage, images)| row(stage, "left", images));
    assert_eq!(stages(&place, &again)[0], row("encoder", "done", 32));
    assert_eq!(stages(&place, &again)[1..], wanted);
    refused(&["--stage", "joint", "--from", again.to_str().unwrap()], &["g1, which is not done"]);
    // A stage that is not done when its training was stopped.
    place.dcgan(&[&["train", "--out", "short"], STACKED, SMALL, LENGTHS, &["--images", "16"]]).ok();
    let short = place.only_run("short");
    refused(
        &["--stage", "g1", "--from", short.to_str().unwrap()],
        &["encoder, which is not done", "(16 images seen)", "--stage encoder"],
    );
}

#[test]
fn a_model_of_several_generators_is_used_like_any_other() {
    let place = Place::new();
    labeled(&place, 12);
    let run = train(&place, "runs", &[]);
    let run = run.to_str().unwrap();
    place
        .dcgan(&[&["sample", run, "--class", "dark", "--seeds", "0-3", "--out", "dark"], CPU])
        .ok();
    place.dcgan(&[&["sample", run, "--class", "all", "--grid", "all.png"], CPU]).ok();
    place.dcgan(&[&["walk", run, "--class", "1", "--seeds", "1,2", "--out", "walk.gif"], CPU]).ok();
    assert_eq!(names(&place.path("dark")).len(), 4);
    let image = place.path("set/test/dark/test000.png");
    let image = image.to_str().unwrap();
    place.dcgan(&[&["invert", run, image, "--class", "dark", "--steps", "3"], CPU]).ok();
}

#[test]
fn what_a_stacked_gan_cannot_be_is_said() {
    let place = Place::new();
    labeled(&place, 6);
    let train = |words: &[&str]| place.dcgan(&[&["train", "--dry-run"], STACKED, words]);
    train(&["--size", "16", "--nz", "7"]).refused(2, &["--nz", "7 is odd"]);
    train(&["--size", "8"]).refused(2, &["--size", "multiples of 4, from 16 on"]);
    train(&["--conditional=none"]).refused(2, &["--conditional", "learns from classes"]);
    train(&["--conditional=auxiliary"]).refused(2, &["--conditional", "choose"]);
    train(&["--stage-images", "g7=100"])
        .refused(2, &["--stage-images", "there is no stage \"g7\""]);
    train(&["--stage-images", "g1"]).refused(2, &["--stage-images", "encoder=300k"]);
    train(&["--norm-g", "virtual"]).refused(2, &["--norm-g"]);
    place.images("plain", 4);
    let words = ["train", "plain", "--preset", "stacked", "--size", "16"];
    place.dcgan(&[&words, CPU]).refused(2, &["--conditional", "two classes or more"]);
    let words = ["train", "set/train", "--stage", "g1", "--size", "16"];
    place.dcgan(&[&words, CPU]).refused(2, &["--stage", "is trained in one stage"]);
    // Any other network's generator and discriminator can be stacked.
    train(&["--network", "dcgan", "--size", "8"]).ok();
}

/// A tiny pyramid of 16x16 pixels, and of 32x32.
const PYRAMID: &[&str] = &[
    "train",
    "set/train",
    "--preset",
    "lapgan",
    "--gray",
    "--nz",
    "8",
    "--ngf",
    "4",
    "--ndf",
    "4",
    "--report-every",
    "16",
    "--device",
    "cpu",
];

#[test]
fn levels_of_a_pyramid_are_trained_in_any_order() {
    let place = Place::new();
    labeled(&place, 12);
    let train = |out: &str, words: &[&str]| {
        let sized =
            ["--batch", "8", "--size", "32", "--stage-images", "8=32,16=40,32=24", "--out", out];
        place.dcgan(&[PYRAMID, &sized, words]).ok();
        place.only_run(out)
    };
    let alone = |stage: &str, from: Option<&Path>, out: &str| {
        let from = from.map(|from| from.to_str().unwrap());
        let flags = from.map(|from| ["--from", from]);
        let words = [&["--stage", stage][..], flags.as_ref().map_or(&[], |f| &f[..])].concat();
        train(out, &words)
    };
    let part = |run: &Path, level: &str| {
        let tensors = ModelFile::load(&latest(run)).unwrap().tensors;
        let networks = match level {
            "32" => ["generator.".to_owned(), "discriminator.".to_owned()],
            level => ["generator", "discriminator"].map(|role| format!("{role}_{level}.")),
        };
        let is_own = |name: &str| {
            let name = name.strip_prefix("ema.").unwrap_or(name);
            networks.iter().any(|network| name.starts_with(network.as_str()))
        };
        tensors.into_iter().filter(|(name, _)| is_own(name)).collect::<Vec<_>>()
    };
    let mut before: Option<[Vec<_>; 3]> = None;
    for order in [["8", "16", "32"], ["32", "8", "16"]] {
        let mut run: Option<PathBuf> = None;
        for stage in order {
            let out = format!("{}-{stage}", order[0]);
            let next = alone(stage, run.as_deref(), &out);
            let words = ["sample", next.to_str().unwrap(), "--seeds", "0", "--out", &out];
            let sampled = place.dcgan(&[&words, CPU]);
            if stage == order[2] {
                sampled.ok();
            } else {
                let said = ["been trained", "images take all of them", "--from"];
                sampled.refused(1, &said);
            }
            run = Some(next);
        }
        let run = run.unwrap();
        let wanted = [row("8", "done", 32), row("16", "done", 40), row("32", "done", 24)];
        assert_eq!(stages(&place, &run), wanted, "{order:?}");
        let levels = ["8", "16", "32"].map(|level| part(&run, level));
        assert!(levels.iter().all(|level| level.len() > 4));
        if let Some(before) = &before {
            assert!(*before == levels, "{order:?}");
        }
        before = Some(levels);
    }

    // All in turn, stopped in the middle of a level and between two.
    let whole = train("whole", &[]);
    for stop in ["32", "48"] {
        let out = format!("parts-{stop}");
        let parts = train(&out, &["--images", stop]);
        place.dcgan(&[&["train", "--resume", parts.to_str().unwrap(), "--images", "96"]]).ok();
        assert_same(&latest(&whole), &latest(&parts));
        assert_eq!(stages(&place, &whole), stages(&place, &parts), "{stop}");
    }
}

#[test]
fn a_pyramid_is_used_like_any_other_model() {
    let place = Place::new();
    labeled(&place, 12);
    let sized = [
        "--batch",
        "8",
        "--size",
        "16",
        "--stage-images",
        "8=16,16=16",
        "--conditional",
        "--out",
        "runs",
    ];
    place.dcgan(&[PYRAMID, &sized]).ok();
    let run = place.only_run("runs");
    let run = run.to_str().unwrap();
    let words: [&[&str]; 4] = [
        &["sample", run, "--class", "dark", "--seeds", "0-3", "--out", "dark"],
        &["walk", run, "--class", "1", "--seeds", "1,2", "--out", "walk.gif"],
        &["export", run, "--to", "model", "--out", "whole.safetensors"],
        &["sample", "whole.safetensors", "--seeds", "0", "--out", "one"],
    ];
    for words in words {
        let device: &[&str] = if words[0] == "export" { &[] } else { CPU };
        place.dcgan(&[words, device]).ok();
    }
    let image = place.path("set/test/dark/test000.png");
    let image = image.to_str().unwrap();
    place.dcgan(&[&["invert", run, image, "--class", "dark", "--steps", "3"], CPU]).ok();
    let log = fs::read_to_string(Path::new(run).join("log.jsonl")).unwrap();
    assert!(log.contains("grad_norm_g") && !log.contains("grad_norm_generator"), "{log}");

    let sized = ["--batch", "8", "--size", "16", "--stage-images", "8=16,16=16", "--out", "plain"];
    place.dcgan(&[PYRAMID, &sized]).ok();
    let plain = place.only_run("plain");
    let plain = plain.to_str().unwrap();
    place
        .dcgan(&[&["export", plain, "--to", "pth", "--network", "discriminator", "--out", "d.pth"]])
        .ok();
    // With dropout, and nothing to calibrate.
    place.dcgan(&[&["filters", plain, "set/train", "--filters", "0", "--out", "f.png"], CPU]).ok();
    place
        .dcgan(&[&["walk", plain, "--direction", "1", "--out", "w.gif"], CPU])
        .refused(1, &["latent", "no network takes all of it"]);
    place.dcgan(&[&["export", plain, "--to", "onnx", "--out", "g.onnx"]]).ok();
    place
        .dcgan(&[&["export", plain, "--to", "pth", "--out", "g.pth"]])
        .refused(1, &["several networks in turn", "--to onnx"]);
    // Sums of latents of all levels.
    let words = ["arithmetic", plain, "--plus", "0,1", "--minus", "2", "--out", "sum.png"];
    place.dcgan(&[&words, CPU]).ok();
}

#[test]
fn what_a_pyramid_cannot_be_is_said() {
    let place = Place::new();
    labeled(&place, 6);
    let in_batches = |batch: &str, words: &[&str], said: &[&str]| {
        place.dcgan(&[PYRAMID, &["--dry-run", "--batch", batch], words]).refused(2, said);
    };
    let refused = |words: &[&str], said: &[&str]| in_batches("8", words, said);
    refused(&["--size", "24"], &["--size", "halve down to a shorter side of 8", "16, 32, 64"]);
    refused(&["--size", "8"], &["--size", "halve down"]);
    in_batches("9", &["--size", "16"], &["--batch", "one half of 9 images", "even"]);
    refused(&["--size", "16", "--stage", "32"], &["--stage", "no stage \"32\"", "8, 16"]);
    refused(&["--network", "dcgan"], &["--network", "choose lapgan"]);
    refused(&["--size", "16", "--norm-g", "layer"], &["--norm-g", "fixed"]);
    refused(&["--size", "16", "--conditional=projection"], &["--conditional", "concat"]);
    refused(&["--size", "16", "--penalty", "gp"], &["--penalty", "does not use it"]);
    refused(&["--momentum-rise", "1k"], &["--momentum-rise", "--optimizer sgd"]);
    refused(&["--optimizer", "sgd", "--momentum-to", "0.7"], &["--momentum-to", "--momentum-rise"]);
}

#[test]
fn networks_that_grow_make_whole_images_at_any_time() {
    let place = Place::new();
    labeled(&place, 12);
    const GROWING: &[&str] = &[
        "train",
        "set/train",
        "--preset",
        "progressive",
        "--gray",
        "--batch",
        "8",
        "--size",
        "16",
        "--nz",
        "8",
        "--ngf",
        "4",
        "--ndf",
        "4",
        "--stage-images",
        "4=16,8=32,16=32",
        "--device",
        "cpu",
    ];
    let output = place.dcgan(&[GROWING, &["--out", "whole"]]).ok();
    // Said once, not at each of its phases.
    assert_eq!(output.stderr.matches("stage 8: 32 images").count(), 1, "{}", output.stderr);
    let whole = place.only_run("whole");
    let done = ["4", "8", "16"].map(|name| row(name, "done", if name == "4" { 16 } else { 32 }));
    assert_eq!(stages(&place, &whole), done);

    // In the middle of a fade: images of 8x8, enlarged.
    place.dcgan(&[GROWING, &["--out", "parts", "--images", "24"]]).ok();
    let parts = place.only_run("parts");
    let now = [row("4", "done", 16), row("8", "running", 8), row("16", "to-come", 0)];
    assert_eq!(stages(&place, &parts), now);
    let run = parts.to_str().unwrap();
    // Samples come six times as large.
    let is_enlarged = |image: &RgbImage| {
        let corner = |n: u32| n / 12 * 12;
        image.enumerate_pixels().all(|(x, y, p)| p == image.get_pixel(corner(x), corner(y)))
    };
    for image in samples(&place, run, &["--seeds", "0-2"]) {
        assert!(image.dimensions() == (96, 96) && is_enlarged(&image));
    }
    place.dcgan(&[&["train", "--resume", run, "--images", "80"]]).ok();
    assert_same(&latest(&whole), &latest(&parts));
    assert!(!is_enlarged(&samples(&place, run, &["--seeds", "0"]).remove(0)));

    // The plan is that of the largest stage.
    let memory = |size: &'static str| {
        let words: Vec<&str> = GROWING.iter().map(|&w| if w == "16" { size } else { w }).collect();
        let words: Vec<&str> =
            words.into_iter().filter(|w| *w != "--stage-images" && !w.contains('=')).collect();
        let output = place.dcgan(&[&words, &["--dry-run"]]).ok().stderr;
        output.lines().find(|line| line.starts_with("memory")).unwrap().to_owned()
    };
    assert_ne!(memory("16"), memory("32"));

    let refused = |words: &[&str], said: &[&str]| {
        place.dcgan(&[GROWING, words]).refused(2, said);
    };
    refused(&["--network", "dcgan"], &["--network", "grows networks", "progressive"]);
    refused(&["--norm-d", "layer"], &["--norm-d", "fixed"]);
    let sized = |size: &'static str| {
        let words: Vec<&str> = GROWING.iter().map(|&w| if w == "16" { size } else { w }).collect();
        place.dcgan(&[&words, &["--out", "x"]])
    };
    sized("24").refused(2, &["--size", "square images of 8, 16, 32"]);
    let batch: Vec<&str> = GROWING.iter().map(|&w| if w == "8" { "6" } else { w }).collect();
    place.dcgan(&[&batch, &["--out", "x"]]).refused(2, &["--batch", "groups"]);
    let stage: Vec<&str> =
        GROWING.iter().map(|&w| if w.contains('=') { "32=8" } else { w }).collect();
    place.dcgan(&[&stage]).refused(2, &["--stage-images", "no stage \"32\"", "4, 8, 16"]);
}
