//! SS-GAN on the command line: trained in stages on images with normal maps, stopped anywhere, sampled,
//! and what is refused.

use std::fs;
use std::path::{Path, PathBuf};

use dcgan::train::ModelFile;
use image::{ImageFormat, Rgb, RgbImage};

use crate::cli::{Place, assert_same, latest, names};
use crate::data_formats::encode;
use crate::data_sources::put;

const CPU: &[&str] = &["--device", "cpu"];

const SS_GAN: &[&str] = &[
    "train",
    "set",
    "--preset",
    "ss-gan",
    "--size",
    "16",
    "--nz",
    "8",
    "--ngf",
    "4",
    "--ndf",
    "4",
    "--batch",
    "4",
    "--flip",
    "--stage-images",
    "structure=16,fcn=8,style=16,joint=8",
    "--device",
    "cpu",
];

/// Normal maps beside the images of [`Place::images`].
pub(crate) fn normals(place: &Place, name: &str, count: u8) {
    for i in 0..count {
        let map = RgbImage::from_fn(24, 20, |x, _| {
            let angle = 0.1 * (x as f32 - 12.0) + 0.01 * f32::from(i);
            let [x, z] = [angle.sin(), angle.cos()].map(|n| (127.5 * (n + 1.0)).round() as u8);
            Rgb([x, 128, z])
        });
        let bytes = encode(&map.into(), ImageFormat::Png);
        put(&place.path(name), &format!("{i:03}.normals.png"), &bytes);
    }
}

fn place() -> Place {
    let place = Place::new();
    place.images("set", 12);
    normals(&place, "set", 12);
    place
}

fn train(place: &Place, out: &str, words: &[&str]) -> PathBuf {
    place.dcgan(&[SS_GAN, &["--out", out], words]).ok();
    place.only_run(out)
}

#[test]
fn stages_follow_one_another_and_a_stop_anywhere_changes_no_bit() {
    let place = place();
    let whole = train(&place, "whole", &[]);
    let log = fs::read_to_string(whole.join("log.jsonl")).unwrap();
    for stage in ["structure", "fcn", "style", "joint"] {
        assert!(log.contains(&format!(r#""stage":"{stage}""#)), "{log}");
        ModelFile::load(&whole.join(format!("stage-{stage}.safetensors"))).unwrap();
    }
    // In the middle of a stage, at an end, and in the last one.
    for stop in ["8", "24", "44"] {
        let out = format!("parts-{stop}");
        let parts = train(&place, &out, &["--images", stop]);
        place.dcgan(&[&["train", "--resume", parts.to_str().unwrap(), "--images", "48"]]).ok();
        assert_same(&latest(&whole), &latest(&parts));
    }
    let alone = train(&place, "alone", &["--stage", "fcn"]);
    let from = alone.to_str().unwrap();
    train(&place, "style", &["--stage", "style", "--normals-weight", "0", "--from", from]);
    let words = ["--stage", "joint", "--from", from, "--out", "x"];
    place.dcgan(&[SS_GAN, &words]).refused(2, &["--stage", "joint builds on the stage structure"]);
}

/// The images of a folder.
fn images(folder: &Path) -> Vec<RgbImage> {
    let open = |name: &String| image::open(folder.join(name)).unwrap().into_rgb8();
    names(folder).iter().map(open).collect()
}

#[test]
fn a_model_shows_the_normals_of_its_images_and_holds_them_in_a_walk() {
    let place = place();
    let run = train(&place, "runs", &[]);
    let run = run.to_str().unwrap();
    let sample = |out: &str, words: &[&str]| {
        place.dcgan(&[&["sample", run, "--seeds", "0-2", "--out", out], words, CPU]).ok();
        images(&place.path(out))
    };
    let (plain, both) = (sample("plain", &[]), sample("both", &["--normals"]));
    for (plain, both) in plain.iter().zip(&both) {
        let (width, height) = plain.dimensions();
        assert_eq!(both.dimensions(), (width, 2 * height));
        let below = image::imageops::crop_imm(both, 0, height, width, height).to_image();
        assert_eq!(&below, plain);
        for pixel in both.rows().take(height as usize).flatten() {
            let square: f32 = pixel.0.iter().map(|&x| (f32::from(x) / 127.5 - 1.0).powi(2)).sum();
            assert!((square.sqrt() - 1.0).abs() < 0.02, "{pixel:?}");
        }
    }
    place.dcgan(&[&["sample", run, "--normals", "--grid", "3x2", "grid.png"], CPU]).ok();
    let walk = ["walk", run, "--seeds", "1,2", "--hold", "structure", "--out", "walk.gif"];
    place.dcgan(&[&walk, CPU]).ok();
    let near = place.dcgan(&[&["neighbors", run, "set"], CPU]).ok();
    assert!(near.stderr.contains("pairs of an image and its normals"), "{near:?}");
    place.dcgan(&[&["stages", run]]).ok();

    let refused = |words: &[&str], said: &[&str]| {
        place.dcgan(&[words, CPU]).refused(2, said);
    };
    refused(&["walk", run, "--hold", "z1"], &["--hold", "no part \"z1\"", "structure, style"]);
    let of_other = ["sample", "avatars", "--normals"];
    refused(&of_other, &["--normals", "makes normals first (dcgan train --preset ss-gan)"]);
    refused(&["walk", "avatars", "--hold", "style"], &["--hold", "no parts"]);
    place.dcgan(&[&["export", run, "--to", "onnx", "--out", "x.onnx"]]).ok();
}

#[test]
fn what_cannot_be_is_said() {
    let place = place();
    let refused = |words: &[&str], said: &[&str]| {
        place.dcgan(&[SS_GAN, &["--dry-run"], words]).refused(2, said);
    };
    let instead = |flag: &str, value: &'static str| {
        let mut words: Vec<&str> = SS_GAN.to_vec();
        let at = words.iter().position(|word| *word == flag).unwrap();
        words[at + 1] = value;
        place.dcgan(&[&words, &["--dry-run"]])
    };
    instead("--nz", "7").refused(2, &["--nz", "7 is odd"]);
    instead("--size", "20").refused(2, &["--size", "multiples of 8, from 16 on"]);
    refused(&["--network", "dcgan"], &["--network", "networks of its own"]);
    refused(&["--norm-d", "batch"], &["--norm-d", "fixed"]);
    refused(&["--loss", "hinge"], &["--loss", "needs probabilities"]);
    refused(&["--stage", "painting"], &["--stage", "structure, fcn, style, joint"]);
    let words = ["train", "set", "--dry-run", "--normals-weight", "1"];
    place.dcgan(&[&words]).refused(2, &["--normals-weight", "the family ss-gan"]);
    fs::remove_file(place.path("set/003.normals.png")).unwrap();
    let words: Vec<&str> = SS_GAN.to_vec();
    place.dcgan(&[&words]).refused(1, &["1 of 12 images without a normal map", "003.png"]);
    place.images("plain", 4);
    let words: Vec<&str> = words.iter().map(|&w| if w == "set" { "plain" } else { w }).collect();
    place.dcgan(&[&words]).refused(1, &["has no normal maps", "NAME.normals.png"]);
    let bundled: Vec<&str> = SS_GAN.iter().copied().filter(|&w| w != "set").collect();
    place.dcgan(&[&bundled]).refused(1, &["has no normal maps"]);
}
