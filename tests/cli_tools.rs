//! `dcgan devices`, `check`, `bench` and `data` as a user runs them.

use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use image::{ImageFormat, Rgb, RgbImage};
use serde_json::Value;

use crate::cli::Place;
use crate::data_formats::encode;
use crate::data_sources::put;
use crate::support;

fn dcgan(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dcgan"));
    command.env("DCGAN_CACHE", folder.join("cache"));
    command.current_dir(folder).args(args).output().unwrap()
}

/// Standard output of a command that succeeds in an empty folder.
fn stdout(args: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let output = dcgan(folder.path(), args);
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{args:?}: {text}\n{errors}");
    text
}

/// Standard error of a command that exits with `code`.
fn failure(args: &[&str], code: i32) -> String {
    let folder = tempfile::tempdir().unwrap();
    let output = dcgan(folder.path(), args);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {text}");
    text
}

#[test]
fn devices_lists_the_cpu_and_marks_the_default() {
    let text = stdout(&["devices"]);
    assert!(text.contains("cpu") && text.contains(" thread"), "{text}");
    assert_eq!(text.lines().filter(|line| line.starts_with("* ")).count(), 2, "{text}");

    let json: Value = serde_json::from_str(&stdout(&["devices", "--json"])).unwrap();
    let devices = json["devices"].as_array().unwrap();
    assert_eq!(devices[0]["device"], "cpu");
    assert!(devices[0]["threads"].as_u64().unwrap() > 0);
    let defaults: Vec<&Value> = devices.iter().filter(|d| d["default"] == true).collect();
    assert_eq!(defaults.len(), 1, "{devices:?}");
    assert_eq!(defaults[0]["software"], false, "{devices:?}");
    let adapters = dcgan::device::gpu::list();
    assert_eq!(devices.len(), 1 + adapters.len());
    for (device, adapter) in devices[1..].iter().zip(&adapters) {
        assert_eq!(device["name"], adapter.name.as_str());
        assert_eq!(device["max_binding"], adapter.max_binding);
    }
}

#[test]
fn a_reader_that_closes_the_pipe_is_no_error() {
    for args in [&["devices"][..], &["check", "--device", "cpu", "--op", "add", "--op", "mul"]] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_dcgan"))
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let mut errors = String::new();
        child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0), "{args:?}: {errors}");
        assert!(!errors.contains("panicked"), "{args:?}: {errors}");
    }
}

#[test]
fn check_passes_on_the_cpu() {
    let text = stdout(&["check", "--device", "cpu"]);
    for part in ["dcgan 0.", "the CPU itself, on one thread", "conv_transpose2d", "paper 16"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let count: usize = {
        let last = text.lines().last().unwrap();
        assert!(last.contains("checks passed"), "{text}");
        last.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    assert!(count > dcgan::ops::samples::samples().len(), "{text}");
    assert!(!text.contains("FAILED"), "{text}");
}

/// A few ops only: a software GPU takes a minute for all, which `tests/ops.rs` goes through too.
#[test]
fn check_passes_on_a_gpu() {
    let Some(_) = support::gpu() else { return };
    let named = std::env::var("DCGAN_TEST_DEVICE").ok();
    let adapters = dcgan::device::gpu::list();
    let any = dcgan::device::gpu::strongest(&adapters).unwrap_or(0).to_string();
    let device = named.unwrap_or(any);
    let text =
        stdout(&["check", "--device", &device, "--checked", "--op", "softplus", "--op", "advance"]);
    assert!(text.contains("driver") && text.contains("all 9 checks passed"), "{text}");
}

#[test]
fn bench_tells_whether_training_waits_for_images() {
    let place = Place::new();
    // A photograph's size, so that a tiny training has to wait for them.
    for i in 0..6 {
        let image = RgbImage::from_fn(1200, 900, |x, y| Rgb([(x ^ y) as u8, (x * y) as u8, i]));
        let bytes = encode(&image.into(), ImageFormat::Jpeg);
        put(&place.path("large"), &format!("{i}.jpg"), &bytes);
    }
    place.images("small", 6);
    let bench = |words: &[&str]| {
        let flags = ["bench", "--device", "cpu", "--steps", "1", "--batch", "4", "--ndf", "4"];
        place.dcgan(&[&flags, &["--workers", "1"], words]).ok().stdout
    };
    let text = bench(&["--size", "8", "--ngf", "4", "--data", "large"]);
    assert!(text.contains("large: ") && text.contains("alone on 1 thread, none kept"), "{text}");
    let (line, _) = text.split_once(" % of the time spent waiting for them").unwrap();
    let share: f64 = line.rsplit_once(' ').unwrap().1.parse().unwrap();
    assert!((50.0..=100.0).contains(&share), "{text}");

    // And here the images wait for the training.
    let json = bench(&["--size", "32", "--ngf", "128", "--data", "small", "--json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    let number = |name: &str| json["loading"][name].as_f64().unwrap();
    let (alone, training) = (number("images_per_second"), number("train_images_per_second"));
    assert!(training > 0.0 && training < alone, "{alone}, {training}");
    assert!((0.0..0.3).contains(&number("waiting")), "{json}");

    place.dcgan(&[&["bench", "--data", "nowhere"]]).refused(1, &["nowhere", "does not exist"]);
    assert!(failure(&["bench", "--workers", "2"], 2).contains("--data"));
}

#[test]
fn bench_predicts_cards_that_are_not_here() {
    let all = stdout(&["bench", "--predict", "all", "--batch", "128"]);
    for card in ["m1", "rx6800", "rtx4090", "h100", "steam-deck"] {
        assert!(all.lines().any(|line| line.starts_with(&format!("{card} "))), "{card}: {all}");
    }
    let one = stdout(&["bench", "--predict", "rx6800", "--batch", "128"]);
    for part in ["RX 6800", "datasheet", "images/s", "workgroup 64x64", "arithmetic", "memory"] {
        assert!(one.contains(part), "{part}: {one}");
    }
    let json = stdout(&["bench", "--predict", "m1", "--batch", "128", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let step = &json["predictions"][0];
    let share = step["of_peak"].as_f64().unwrap();
    assert!((0.2..0.95).contains(&share), "{step}");
    let product =
        step["images_per_second"].as_f64().unwrap() * step["step_seconds"].as_f64().unwrap();
    assert!((product - 128.0).abs() < 1e-6, "{step}");

    let place = Place::new();
    place.dcgan(&[&["bench", "--predict", "voodoo"]]).refused(2, &["--predict", "rx6800", "all"]);
    let both = ["bench", "--predict", "m1", "--device", "cpu"];
    place.dcgan(&[&both]).refused(2, &["--predict", "--device"]);
}

#[test]
fn bench_prints_both_rates() {
    let tiny = ["--device", "cpu", "--size", "8", "--ngf", "4", "--ndf", "4", "--batch", "4"];
    let tiny = [&["bench", "--steps", "3"], &tiny[..]].concat();
    let text = stdout(&tiny);
    for part in ["training", "sampling", "images/s", "conv_transpose2d", "memory plan", "peak"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(text.matches("images/s").count(), 2, "{text}");

    let json: Value = serde_json::from_str(&stdout(&[&tiny[..], &["--json"]].concat())).unwrap();
    let number = |name: &str| json[name].as_f64().unwrap_or_else(|| panic!("{name}: {json}"));
    for name in ["train_images_per_second", "sample_images_per_second", "flops_per_image"] {
        assert!(number(name) > 0.0, "{name}: {json}");
    }
    assert!(number("first_step_seconds") >= number("compile_seconds"), "{json}");
    let rate = 4.0 / number("step_seconds");
    assert!((number("train_images_per_second") / rate - 1.0).abs() < 1e-9, "{json}");
    assert!((0.0..1.5).contains(&number("share_of_peak")), "{json}");
    assert!(json["process_memory"]["bytes"].as_u64().unwrap() > 1 << 20, "{json}");
    let kernels = json["kernels"].as_array().unwrap();
    // What the profile counts in products is what the tape does.
    let products = ["matmul", "conv2d", "conv_transpose2d", "conv_weight_grad"];
    let of_kernels: u64 = kernels
        .iter()
        .filter(|k| products.contains(&k["op"].as_str().unwrap()))
        .map(|k| k["flops"].as_u64().unwrap())
        .sum();
    assert_eq!(of_kernels as f64, 4.0 * number("flops_per_image"), "{json}");
}

/// A folder of four images, one of them broken, and a text file.
fn images(folder: &Path) {
    for (i, side) in [20_u32, 32, 40].into_iter().enumerate() {
        let color = image::Rgb([60 * i as u8 + 60, 30, 200]);
        let image = image::RgbImage::from_pixel(side, side + 8, color);
        image.save(folder.join(format!("{i}.png"))).unwrap();
    }
    std::fs::write(folder.join("broken.png"), b"\x89PNG\r\n\x1a\nand no more").unwrap();
    std::fs::write(folder.join("notes.txt"), "no image").unwrap();
}

#[test]
fn data_reports_skipped_files_and_writes_the_sheet() {
    let folder = tempfile::tempdir().unwrap();
    let set = folder.path().join("set");
    std::fs::create_dir(&set).unwrap();
    images(&set);
    let args = ["data", "set", "--size", "16", "--skipped", "skipped.txt", "--seed", "3"];
    let output = dcgan(folder.path(), &args);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    for part in ["3 of 4", "16 x 16 x 3", "broken.png", "more than a tenth", "contact-sheet.png"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("notes.txt"), "{text}");
    let list = std::fs::read_to_string(folder.path().join("skipped.txt")).unwrap();
    assert!(list.starts_with("broken.png: ") && list.lines().count() == 1, "{list}");
    let sheet = image::open(folder.path().join("contact-sheet.png")).unwrap().into_rgb8();
    // Two columns and two rows of 16 pixels, two pixels apart; the last place is empty.
    assert_eq!(sheet.dimensions(), (34, 34));
    let seen: Vec<u8> = [(4, 4), (24, 4), (4, 24)].map(|(x, y)| sheet.get_pixel(x, y).0[0]).into();
    let mut sorted = seen.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, [60, 120, 180], "{seen:?}");
    assert_eq!(sheet.get_pixel(24, 24).0, [255; 3]);

    let other = ["data", "set", "--size", "16", "--count", "1", "--sheet", "one.PNG"];
    assert_eq!(dcgan(folder.path(), &other).status.code(), Some(0));
    assert_eq!(image::open(folder.path().join("one.PNG")).unwrap().width(), 16);
}

/// A step sees as many real images as D has updates, whatever else the recipe has.
#[test]
fn bench_trains_what_a_preset_says() {
    let small = ["--device", "cpu", "--ngf", "4", "--ndf", "4", "--batch", "4", "--steps", "1"];
    for (preset, images, seen) in [
        ("wgan-gp", 20.0, "\"penalty\": \"gp\""),
        ("acgan", 4.0, "\"classes\": 10"),
        ("infogan", 4.0, "\"codes\""),
        ("semi-supervised", 4.0, "\"labels_per_class\": 10"),
        ("sngan", 20.0, "\"weight_d\": \"spectral\""),
    ] {
        let words = [&["bench", "--preset", preset, "--json"], &small[..]].concat();
        let text = stdout(&words);
        assert!(text.contains(seen), "{preset}: {text}");
        let json: Value = serde_json::from_str(&text).unwrap();
        let number = |name: &str| json[name].as_f64().unwrap();
        let rate = images / number("step_seconds");
        assert!((number("train_images_per_second") / rate - 1.0).abs() < 1e-9, "{preset}: {json}");
    }
}

#[test]
fn impossible_demands_are_refused_by_the_flag() {
    for (args, part) in [
        (&["bench", "--steps", "0"][..], "--steps"),
        (&["bench", "--batch", "1"], "--batch"),
        (&["bench", "--size", "100"], "--size"),
        (&["bench", "--preset", "gan-of-tomorrow"], "--preset"),
        (&["data", "--channels", "2"], "--channels"),
        (&["data", "--sheet", "sheet.jpg"], "--sheet"),
        (&["data", "--count", "0"], "--count"),
        (&["check", "--op", "fft"], "conv_weight_grad"),
    ] {
        let text = failure(args, 2);
        assert!(text.contains(part), "{args:?}: {text}");
    }
    for args in [&["check", "--device", "abacus"][..], &["bench", "--device", "abacus"]] {
        let text = failure(args, 1);
        assert!(text.contains("--device abacus") && text.contains("cpu"), "{args:?}: {text}");
    }
    let text = failure(&["data", "nowhere"], 1);
    assert!(text.contains("nowhere: DATA does not exist"), "{text}");
    let text = failure(&["data", "--size", "8", "--sheet", "no/folder/sheet.png"], 1);
    assert!(text.contains("sheet.png"), "{text}");
}
