//! What programs read: `--json` of every command that has it, completions and manual pages.

use std::fs;

use serde_json::Value;

use crate::cli::{Place, TINY};
use crate::cli_conditional::labeled;

const CPU: &[&str] = &["--device", "cpu"];

/// What a command prints is one JSON object; its keys, sorted.
fn json(place: &Place, words: &[&[&str]]) -> (Value, Vec<String>) {
    let outcome = place.dcgan(&[&words.concat(), &["--json"]]).ok();
    let value: Value = serde_json::from_str(&outcome.stdout)
        .unwrap_or_else(|error| panic!("{error}: {outcome:#?}"));
    let mut keys: Vec<_> = value.as_object().unwrap().keys().cloned().collect();
    keys.sort();
    (value, keys)
}

/// The keys that README lists for a command: the words before `[`, `{` and `,` of its first level.
pub(crate) fn listed(command: &str) -> Vec<String> {
    let readme = include_str!("../README.md");
    let start = format!("| `{command}` | ");
    let row = readme.lines().find_map(|line| line.strip_prefix(&start)).unwrap();
    let mut depth = 0;
    let mut level = String::new();
    for c in row.trim_end_matches(" |").chars() {
        match c {
            '{' | '(' => depth += 1,
            '}' | ')' => depth -= 1,
            '`' | '[' | ']' => {}
            c if depth == 0 => level.push(c),
            _ => {}
        }
    }
    let mut keys: Vec<_> = level.split(',').map(|key| key.trim().to_owned()).collect();
    keys.sort();
    keys
}

#[test]
fn json_has_the_keys_that_the_readme_lists() {
    let place = Place::new();
    labeled(&place, 8);
    let small = [CPU, &["--batch", "4", "--images", "16", "--gray"]].concat();
    let plain = place.train("plain", &[&["set/train"], &small]);
    let conditional = place.train("conditional", &[&["set/train", "--conditional"], &small]);
    let few = ["set/train", "--preset", "semi-supervised", "--labels-per-class", "2"];
    place.dcgan(&[&["train", "--out", "few"], &few, TINY, &small]).ok();
    let few = place.only_run("few");
    let [plain, conditional, few] = [&plain, &conditional, &few].map(|run| run.to_str().unwrap());
    place.dcgan(&[&["sample", plain, "--seeds", "0-1", "--out", "samples"], CPU]).ok();

    let check = |command: &str, words: &[&str]| {
        let (value, keys) = json(&place, &[&[command], words]);
        assert_eq!(keys, listed(command), "{command}");
        value
    };
    let log = check("log", &[plain]);
    assert_eq!(log["reports"].as_array().unwrap().last().unwrap()["images"], 16);
    let compared = check("compare", &[&[plain, conditional, "--seeds", "0-1"], CPU].concat());
    assert_eq!(compared["runs"].as_array().unwrap().len(), 2);
    let data = check("data", &["set/train", "--size", "16"]);
    assert_eq!((&data["images"], &data["formats"]["PNG"]), (&16.into(), &16.into()));
    assert_eq!(data["classes"][1], serde_json::json!({"name": "dark", "images": 8}));
    assert_eq!(data["sizes"][0], serde_json::json!({"width": 16, "height": 16, "images": 16}));

    let flags = [&["--train", "set"], CPU].concat();
    let classify = check("classify", &[&[plain], &flags[..]].concat());
    assert_eq!(classify["results"].as_array().unwrap().len(), 3);
    assert_eq!(classify["classes"], serde_json::json!(["bright", "dark"]));
    assert!(classify["results"][0]["accuracy"].as_f64().unwrap() <= 1.0);
    let score = check("nn-score", &[&[conditional, "--per-class", "4"], &flags[..]].concat());
    assert_eq!(score["classes"][0]["test_images"], 4);

    let words = [plain, "--real", "set/train", "--metrics", "colors"];
    let scores = check("evaluate", &[&words, CPU].concat());
    assert!(scores["metrics"]["colors"].as_f64().unwrap() > 0.0);

    let errors = check("errors", &[&[few, "--test", "set/test"], CPU].concat());
    assert_eq!(errors["images"], 8);
    for run in [plain, conditional] {
        let near = check("neighbors", &[&[run, "set/train", "--seeds", "0-2"], CPU].concat());
        let samples = near["samples"].as_array().unwrap();
        assert_eq!((samples.len(), &samples[1]["sample"]), (3, &"seed 1".into()));
        // Without --class, in turn.
        let class = if run == conditional { "dark".into() } else { Value::Null };
        assert_eq!(samples[1]["class"], class);
        assert_eq!(samples[0]["by_pixels"].as_array().unwrap().len(), 5);
    }
    let image = ["samples/seed0000.png", "samples/seed0001.png"];
    let steps = ["--steps", "2", "--restarts", "1"];
    let invert = check("invert", &[&[plain], &image[..], &steps, CPU].concat());
    assert_eq!(invert["images"][1]["row"], 1);

    let bigan = ["set/train", "--preset", "bigan"];
    place.dcgan(&[&["train", "--out", "bigan"], &bigan, TINY, &small]).ok();
    let bigan = place.only_run("bigan");
    let bigan = bigan.to_str().unwrap();
    let encoded = check("encode", &[&[bigan, "set/test", "--out", "z.npy"], CPU].concat());
    assert_eq!((&encoded["images"], &encoded["nz"]), (&8.into(), &8.into()));
    let again = check("reconstruct", &[&[bigan, "set/test", "--count", "3"], CPU].concat());
    assert_eq!(again["shown"].as_array().unwrap().len(), 3);

    check("check", &[&["--op", "add"], CPU].concat());
    check("devices", &[]);
    let small = ["--size", "16", "--ngf", "8", "--ndf", "8", "--batch", "4", "--steps", "1"];
    check("bench", &[&small[..], &["--data", "set/train"], CPU].concat());
    let all = check("presets", &[]);
    let (one, _) = json(&place, &[&["presets", "wgan-gp"]]);
    assert!(all["presets"].as_array().unwrap().contains(&one));
    assert_eq!(one["flags"]["loss"], "wasserstein");
}

#[test]
fn shells_complete_commands_and_manuals_have_a_page_for_each() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = place.dcgan(&[&["completions", shell]]).ok().stdout;
        assert!(script.contains("nn-score") && script.contains("preview-every"), "{shell}");
    }
    place.dcgan(&[&["completions", "cmd"]]).refused(2, &["cmd"]);
    let page = place.dcgan(&[&["man"]]).ok().stdout;
    assert!(page.contains(".TH dcgan 1") && page.contains("dcgan\\-train(1)"), "{page}");
    place.dcgan(&[&["man", "--out", "man/man1"]]).ok();
    let help = place.dcgan(&[&["--help"]]).ok().stdout;
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let commands = commands.take_while(|line| !line.is_empty());
    // Those after the first column are help on several lines.
    let commands = commands.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let mut count = 0;
    for command in commands.filter_map(|line| line.split_whitespace().next()) {
        if command == "help" {
            continue;
        }
        let page = fs::read_to_string(place.path(&format!("man/man1/dcgan-{command}.1"))).unwrap();
        assert!(page.contains(".SH OPTIONS"), "{command}");
        count += 1;
    }
    assert!(count > 20, "{help}");
}
