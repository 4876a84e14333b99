//! Models that are small files and large networks, or hold numbers that are not finite, as the
//! commands that run one meet them.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use dcgan::model::{ModelFile, save_imported};
use dcgan::tensor::Tensor;
use serde_json::{Value, json};

use crate::cli::{Place, latest};

const CPU: &[&str] = &["--device", "cpu"];

/// A model file of a generator that goes on with `more` after an image of 4x4, to `side` pixels.
fn generator(path: &Path, side: usize, more: &[Value]) {
    let first = json!({
        "layer": "conv_transpose",
        "spec": {"kernel": [4, 4], "stride": [1, 1], "pad": [0, 0], "large": [4, 4], "small": [1, 1]},
        "large": 3, "small": 4, "layout": "conv", "bias": false
    });
    let layers = [&[first], more].concat();
    described(
        path,
        &json!({
            "size": {"height": side, "width": side}, "channels": 3, "nz": 4, "latent_law": "normal",
            "pixels": "signed", "generator": layers, "discriminator": null
        }),
    );
}

/// A model file of this description, whose one tensor is that of the first layer above.
fn described(path: &Path, description: &Value) {
    let numbers: Vec<u8> = (0..4 * 3 * 16).flat_map(|i| (i as f32 / 200.0).to_le_bytes()).collect();
    let header = json!({
        "__metadata__": {
            "dcgan.version": "1", "dcgan.model": description.to_string(), "dcgan.source": "a test"
        },
        "generator.main.0.weight": {
            "dtype": "F32", "shape": [4, 3, 4, 4], "data_offsets": [0, numbers.len()]
        }
    });
    let header = header.to_string();
    let len = (header.len() as u64).to_le_bytes();
    fs::write(path, [&len, header.as_bytes(), &numbers].concat()).unwrap();
}

fn layer(name: &str) -> Value {
    json!({"layer": name})
}

/// Runs the program where it may take so many MiB of address space.
#[cfg(target_os = "linux")]
fn within(place: &Place, mebibytes: u64, words: &[&str]) -> crate::cli::Outcome {
    let limited = format!("ulimit -v {} && exec \"$0\" \"$@\"", mebibytes << 10);
    let output = std::process::Command::new("sh")
        .args(["-c", &limited, env!("CARGO_BIN_EXE_dcgan")])
        .args(words)
        .current_dir(place.path("."))
        // Threads map memory of their own.
        .env("RAYON_NUM_THREADS", "2")
        .output()
        .unwrap();
    crate::cli::Outcome {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_small_file_of_a_large_network_takes_the_memory_that_there_is() {
    let place = Place::new();
    // 32 images of 2048x2048 at a time: 3.5 GiB; one: 0.1.
    generator(&place.path("wide.safetensors"), 2048, &vec![layer("upsample"); 9]);
    let words =
        |command: &'static str| [command, "wide.safetensors", "--seeds", "0", "--device", "cpu"];
    let sample = [&words("sample")[..], &["--grid", "g.png"]].concat();
    let outcome = within(&place, 1900, &sample).ok();
    assert!(outcome.stderr.contains("note: 32 images at a time do not fit"), "{}", outcome.stderr);
    assert!(place.path("g.png").exists());
    // What does not fit at all is refused before it is begun.
    let said = within(&place, 300, &sample);
    said.refused(1, &["not even one image at a time fits", "needs", "are available"]);
    let walk = [&words("walk")[..], &["--vary", "0", "--out", "w.png"]].concat();
    within(&place, 300, &walk).refused(1, &["are available"]);
    let save = ["export", "wide.safetensors", "--to", "onnx", "--out", "g.onnx"];
    within(&place, 300, &save).ok();

    // Images that depend on one another are not drawn in smaller batches.
    let norm = json!({"layer": "batch_norm", "channels": 3, "cells": [1, 1], "eps": 1e-5,
                      "statistics": "batch"});
    let path = place.path("batch.safetensors");
    generator(&path, 2048, &[&[norm][..], &vec![layer("upsample"); 9]].concat());
    let bytes = fs::read(&path).unwrap();
    let len = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let mut header: Value = serde_json::from_slice(&bytes[8..8 + len]).unwrap();
    for (i, name) in ["weight", "bias"].into_iter().enumerate() {
        let at = 768 + 12 * i;
        header[format!("generator.main.1.{name}")] =
            json!({"dtype": "F32", "shape": [3], "data_offsets": [at, at + 12]});
    }
    let header = header.to_string();
    let numbers = [&bytes[8 + len..], &[0; 24]].concat();
    fs::write(
        &path,
        [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &numbers].concat(),
    )
    .unwrap();
    let words =
        ["sample", "batch.safetensors", "--seeds", "0", "--grid", "b.png", "--device", "cpu"];
    within(&place, 1900, &words)
        .refused(1, &["images at a time would fit", "batch norm goes by the statistics of 32"]);
}

/// Thousands of layers in a file of some KiB are planned in the time that their number takes.
#[test]
fn deep_networks_are_planned_quickly() {
    let place = Place::new();
    let norm = json!({"layer": "pixel_norm", "eps": 1e-8});
    let leaky = json!({"layer": "leaky_relu", "slope": 0.2});
    for (name, layers) in
        [("chain", vec![layer("tanh"); 8000]), ("norms", vec![[norm, leaky]; 2000].concat())]
    {
        let file = format!("{name}.safetensors");
        generator(&place.path(&file), 4, &layers);
        let start = Instant::now();
        let sample = ["sample", &file, "--seeds", "0", "--grid", "g.png"];
        place.dcgan(&[&sample, CPU]).ok();
        let time = start.elapsed();
        assert!(time < Duration::from_secs(15), "{name} took {time:?}");
    }
    generator(&place.path("deepest.safetensors"), 4, &vec![layer("tanh"); 20_000]);
    place
        .dcgan(&[&["sample", "deepest.safetensors"], CPU])
        .refused(1, &["description is damaged", "20001 layers"]);
}

/// Sizes that nothing has, one at a time, in the place of each number of a description.
#[test]
fn absurd_sizes_are_refused() {
    let place = Place::new();
    let path = place.path("model.safetensors");
    let more = [
        layer("upsample"),
        json!({
            "layer": "conv",
            "spec": {"kernel": [3, 3], "stride": [1, 1], "pad": [1, 1], "large": [8, 8], "small": [8, 8]},
            "large": 3, "small": 3, "layout": "conv", "bias": false
        }),
    ];
    generator(&path, 8, &more);
    let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
    let start = text.find("\\\"channels\\\"").unwrap();
    let description = &text[text.find("{\\\"channels").unwrap()..];
    let end = description.find("}\"").unwrap() + 1;
    let description = description[..end].replace("\\\"", "\"");
    assert!(start > 0 && serde_json::from_str::<Value>(&description).is_ok(), "{description}");
    let digits: Vec<usize> =
        description.match_indices(|c: char| c.is_ascii_digit()).map(|(at, _)| at).collect();
    assert!(digits.len() > 20);
    for at in digits {
        for number in ["2147483648", "18446744073709551615", "4294967296"] {
            let changed = format!("{}{number}{}", &description[..at], &description[at + 1..]);
            described(&path, &serde_json::from_str(&changed).unwrap());
            let text = ModelFile::load(&path).expect_err(&changed).to_string();
            assert!(text.contains("damaged"), "{text}");
        }
    }
    // From the command line.
    for (flag, value) in [("--ngf", "99999999999"), ("--nz", "1048576"), ("--ndf", "1000000")] {
        let words = ["train", "--size", "16", "--dry-run", flag, value];
        place.dcgan(&[&words, CPU]).refused(2, &[flag]);
    }
    // What can be written down and not be held: said before it is tried.
    let words = ["train", "--size", "64", "--ngf", "4096", "--ndf", "4096", "--dry-run"];
    place.dcgan(&[&words, CPU]).refused(1, &["of memory"]);
}

#[test]
fn models_of_nan_are_refused_by_whoever_runs_them() {
    let place = Place::new();
    // Spectral norm would make large weights small.
    let plain = ["--preset", "dcgan", "--batch", "8", "--images", "80"];
    let run = place.train("runs", &[CPU, &plain]);
    let model = ModelFile::load(&latest(&run)).unwrap();
    let params = model.networks.params();
    let spoiled = |name: &str, network: &str, number: f32, all: bool| {
        let mut tensors = model.tensors.clone();
        tensors.retain(|name, _| params.iter().any(|param| param.name == *name));
        for (tensor, value) in &mut tensors {
            if tensor.starts_with(network) && tensor.ends_with(".weight") {
                let mut numbers = value.f32s().to_vec();
                let count = if all { numbers.len() } else { 1 };
                for (i, x) in numbers.iter_mut().take(count).enumerate() {
                    *x = if i % 2 == 0 { number } else { -number };
                }
                *value = Tensor::new(value.shape(), numbers).unwrap();
            }
        }
        save_imported(&place.path(name), &model.networks, &tensors, "a test").unwrap();
    };
    spoiled("g.safetensors", "generator", f32::NAN, false);
    spoiled("d.safetensors", "discriminator", f32::INFINITY, false);
    spoiled("large.safetensors", "generator", 3e38, true);
    spoiled("large-d.safetensors", "discriminator", 3e38, true);
    let to_onnx = ["--to", "onnx", "--out", "x.onnx"];
    type Case<'a> = (&'a [&'a str], &'a [&'a str]);
    let of_weights: &[&str] = &["is spoiled: number 0 of ", "weight is "];
    let of_images: &[&str] = &["the generator draws numbers that are not finite"];
    let of_features: &[&str] = &["features of some images are not finite"];
    let cases: &[Case<'_>] = &[
        (&["sample", "g.safetensors", "--seeds", "0", "--device", "cpu"], of_weights),
        (&["walk", "g.safetensors", "--device", "cpu"], of_weights),
        (&["neighbors", "g.safetensors", "--device", "cpu"], of_weights),
        (&[&["export", "g.safetensors"], &to_onnx[..]].concat(), of_weights),
        (&["features", "d.safetensors", "--out", "f.npy", "--device", "cpu"], of_weights),
        (&["filters", "d.safetensors", "--device", "cpu"], of_weights),
        (
            &[&["export", "d.safetensors", "--network", "discriminator"], &to_onnx[..]].concat(),
            of_weights,
        ),
        (&["sample", "large.safetensors", "--seeds", "0", "--device", "cpu"], of_images),
        (&["walk", "large.safetensors", "--device", "cpu"], of_images),
        (&["features", "large-d.safetensors", "--out", "f.npy", "--device", "cpu"], of_features),
    ];
    for (words, wanted) in cases {
        place.dcgan(&[words]).refused(1, wanted);
    }
    assert!(!place.path("x.onnx").exists() && !place.path("f.npy").exists());
    // The other network is as good as ever.
    place.dcgan(&[&["sample", "d.safetensors", "--seeds", "0"], CPU]).ok();
}
