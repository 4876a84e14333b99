//! Bounds for every kernel with AMD's compiler. Without RADV the tests are skipped with a message,
//! and fail if `DCGAN_TEST_COMPILERS=require`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::io::Write as _;

use dcgan::ops::Caps;
use dcgan::ops::samples::samples;
use dcgan::program::{Options, kernels};

use super::*;

/// The minimum share of multiply-adds in the hot loop of a product with more than a twentieth of a
/// step's work, of the others, and of those in 16 bits, which are converted in the loop.
const LARGE: f64 = 0.85;
const SMALL: f64 = 0.5;
const HALF: f64 = 0.45;

/// Kernels that are products, whose hot loop multiplies and adds.
const PRODUCTS: [&str; 4] = ["conv2d", "conv_transpose2d", "conv_weight_grad", "matmul"];

/// The output of this binary's ignored test `name` in the driver's environment, between two marks;
/// `None` if there is no driver, with a message.
fn child(name: &str, family: &str) -> Option<String> {
    let mut child = Command::new(std::env::current_exe().unwrap());
    let child = match environment(&mut child, family) {
        Ok(child) => child,
        Err(error) => {
            let required = std::env::var("DCGAN_TEST_COMPILERS").as_deref() == Ok("require");
            assert!(!required, "DCGAN_TEST_COMPILERS=require, and {error}");
            writeln!(std::io::stderr().lock(), "SKIPPED, as {error}").unwrap();
            return None;
        }
    };
    let path = std::env::temp_dir().join(format!("dcgan-{}-{family}.txt", std::process::id()));
    child.args(["--ignored", "--exact", &format!("tests::{name}")]).env("DCGAN_OUT", &path);
    let output = child.output().unwrap();
    assert!(
        output.status.success(),
        "{family}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    Some(text)
}

/// Leaves a text for the parent process.
fn leave(text: &str) {
    let path = std::env::var_os("DCGAN_OUT").expect("a parent process says where");
    std::fs::write(path, text).unwrap();
}

#[test]
#[ignore = "a part of the_kernels_of_steps_keep_their_bounds, for one card"]
fn one_card() {
    leave(&serde_json::to_string(&compiled(None).unwrap()).unwrap());
}

#[test]
fn the_kernels_of_steps_keep_their_bounds() {
    let mut cards = BTreeMap::new();
    let mut driver = String::new();
    for family in FAMILIES {
        let Some(text) = child("one_card", family) else { return };
        let report: Report = serde_json::from_str(&text).unwrap();
        let lines = report.lines;
        driver = report.driver;
        assert!(lines.len() > 50, "{family}: {} kernels", lines.len());
        for line in &lines {
            let Stats { waves, spills, hot, .. } = line.stats;
            let what = format!("{family}: {}: {}: {hot}", line.step, line.name);
            assert!(spills == 0 && waves >= 2, "{what}: {spills} spills, {waves} waves");
            let kernel = line.name.split(' ').next().unwrap();
            if PRODUCTS.contains(&kernel) {
                let least = match line.work > 0.05 {
                    true => LARGE,
                    false if line.step.ends_with("f16") => HALF,
                    false => SMALL,
                };
                assert!(hot.share() >= least, "{what}: less than {least} of the hot loop");
            }
        }
        cards.insert(family, lines);
    }
    // Another version of the compiler produces another table.
    let kept = include_str!("table.txt");
    if kept.starts_with(&driver) {
        let now = rows::side_by_side(&driver, &FAMILIES, &cards);
        assert!(
            now == kept,
            "the table has changed; if for the better, make it anew with `cargo run --release --example \
             kernel_stats > examples/kernel_stats/table.txt`:\n{now}"
        );
    } else {
        writeln!(std::io::stderr().lock(), "SKIPPED in part, as table.txt is not of {driver}")
            .unwrap();
    }
}

#[test]
#[ignore = "a part of the_kernels_of_samples_do_not_spill, for one card"]
fn samples_on_one_card() {
    let radv = Radv::open().unwrap();
    let mut seen = BTreeSet::new();
    for sample in samples() {
        let (tape, _, _) = sample.tape().unwrap();
        for listed in kernels(&tape, &Caps::portable(), &Options::default()).unwrap() {
            if seen.insert(listed.source.clone()) {
                let compiled = radv.compile(listed.kernel, &listed.source).unwrap();
                assert_eq!(compiled.spills(), 0, "{}: {}", listed.kernel, listed.shape);
            }
        }
    }
    leave(&seen.len().to_string());
}

#[test]
fn the_kernels_of_samples_do_not_spill() {
    for family in FAMILIES {
        let Some(count) = child("samples_on_one_card", family) else { return };
        assert!(count.parse::<usize>().unwrap() > 300, "{family}: {count} kernels");
    }
}
