//! `dcgan forget`: from the page to the boxes to the figure, and what is refused.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dcgan::model::{ModelFile, Role, save_imported};
use serde_json::Value;

use crate::cli::{Place, latest};
use crate::cli_latent::{count, large, samples};

const CPU: &[&str] = &["--device", "cpu"];

/// A run of images of 16x16, whose generator has one hidden image of 8x8 and one of 4x4.
fn trained() -> (Place, String) {
    let place = Place::new();
    let run = place.train("runs", &[CPU, &["--batch", "8", "--images", "64", "--ema", "0"]]);
    (place, run.to_str().unwrap().to_owned())
}

const MARKS: &str = r#"{"boxes": {"3": [[0, 0, 8, 8]], "11": [[4, 6, 8, 8], [0, 0, 2, 3]],
                        "2": [], "5": [[8, 0, 8, 8]]}}"#;

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn boxes_become_dropped_maps() {
    let (place, run) = trained();
    fs::write(place.path("marks.json"), MARKS).unwrap();
    let words = ["forget", &run, "--mark", "marks.json", "--seeds", "40-41"];
    let forget = |more: &[&str]| place.dcgan(&[&words, more, CPU]).ok().stdout;
    let said = forget(&["--save", "forgetful.safetensors"]);
    assert!(said.contains("4 boxes on 4 samples: 13 of 64 positions inside"), "{said}");

    let report = json(&place.path("forget.json"));
    assert_eq!(report["size"], serde_json::json!([4, 4, 16]));
    assert_eq!((&report["layer"], &report["samples"]), (&1.into(), &4.into()));
    assert_eq!((&report["boxes"], &report["positions"]), (&4.into(), &64.into()));
    // 4 cells each of the whole quarters and of the shifted one, 1 of the small box.
    assert_eq!(report["positions_inside"], 4 + 4 + 4 + 1);
    let weights: Vec<f64> = serde_json::from_value(report["weights"].clone()).unwrap();
    let dropped: Vec<usize> = serde_json::from_value(report["dropped"].clone()).unwrap();
    assert_eq!(weights.len(), 16);
    let positive = weights.iter().filter(|&&w| w > 0.0).count();
    assert!(dropped.len() == positive && dropped.iter().all(|&map| weights[map] > 0.0));
    assert!(dropped.windows(2).all(|pair| weights[pair[0]] >= weights[pair[1]]));
    assert_eq!(report["control"].as_array().unwrap().len(), positive);
    assert!(said.contains(&format!("{positive} of 16 maps")), "{said}");

    // The fresh samples stand there as they are, and as the model draws them that was saved.
    let figure = place.path("forget.png");
    for seed in ["40", "41"] {
        let sample = |model: &str| samples(&place, model, &["--seeds", seed]).remove(0);
        let (before, after) = (sample(&run), sample("forgetful.safetensors"));
        assert!(before != after, "seed {seed}: nothing is forgotten");
        assert_eq!((count(&figure, &before), count(&figure, &after)), (1, 1), "seed {seed}");
    }
    let bytes = fs::read(&figure).unwrap();
    assert_eq!(forget(&[]).lines().count(), said.lines().count() - 1);
    assert!(fs::read(&figure).unwrap() == bytes, "the same again gives another figure");
    forget(&["--seed", "5", "--out", "other.png"]);
    assert_eq!(json(&place.path("other.json"))["dropped"], report["dropped"]);
    assert_ne!(json(&place.path("other.json"))["control"], report["control"]);

    let few = forget(&["--layer", "2", "--at-most", "2", "--report", "few.json"]);
    assert!(
        few.contains("2 of the generator: 8 maps of 8x8") && few.contains("2 of 8 maps"),
        "{few}"
    );
    assert_eq!(json(&place.path("few.json"))["dropped"].as_array().unwrap().len(), 2);
}

#[test]
fn the_page_holds_the_samples_and_needs_no_network() {
    let (place, run) = trained();
    let words = ["forget", &run, "--page", "marks.html", "--seeds", "4,7-8"];
    place.dcgan(&[&words, CPU]).ok();
    let page = fs::read_to_string(place.path("marks.html")).unwrap();
    for outside in ["http:", "https:", "src=\"", "href=\"", "@import", "{{"] {
        assert!(!page.contains(outside), "{outside}");
    }
    let from = page.find(r#"type="application/json">"#).unwrap();
    let data = page[from..].split_once('>').unwrap().1.split_once("</script>").unwrap().0;
    let data: Value = serde_json::from_str(data).unwrap();
    assert_eq!(data["size"], serde_json::json!([16, 16]));
    let shown = data["samples"].as_array().unwrap();
    let keys: Vec<_> = shown.iter().map(|sample| sample["key"].as_str().unwrap()).collect();
    assert_eq!(keys, ["4", "7", "8"]);
    let wanted = samples(&place, &run, &["--seeds", "4,7-8"]);
    for (sample, wanted) in shown.iter().zip(wanted) {
        let png = STANDARD.decode(sample["png"].as_str().unwrap()).unwrap();
        assert!(large(&image::load_from_memory(&png).unwrap().into_rgb8(), 6) == wanted);
    }
}

#[test]
fn marks_that_teach_nothing_are_refused() {
    let (place, run) = trained();
    let forget = |marks: &str, words: &[&str]| {
        fs::write(place.path("marks.json"), marks).unwrap();
        place.dcgan(&[&["forget", &run, "--mark", "marks.json"], words, CPU])
    };
    let one = r#"{"boxes": {"3": [[0, 0, 8, 8]]}}"#;
    forget(r#"{"boxes": {"3": [[9, 0, 8, 8]]}}"#, &[])
        .refused(1, &["marks.json", "box 1 of sample 3, [9, 0, 8, 8]", "16x16 pixels"]);
    forget(r#"{"boxes": {"3": []}}"#, &[]).refused(1, &["marks.json", "holds no box"]);
    forget("[1, 2]", &[]).refused(1, &["marks.json", "marks look like"]);
    forget(r#"{"boxes": {"3": [[0, 0, 16, 16]], "4": [[0, 0, 16, 16]]}}"#, &[])
        .refused(1, &["marks.json", "cover every position of all samples"]);
    forget(r#"{"boxes": {"0-2": [[0, 0, 4, 4]]}}"#, &[])
        .refused(1, &["marks.json", "\"0-2\"", "is not one sample"]);
    forget(r#"{"boxes": {"three": [[0, 0, 4, 4]]}}"#, &[])
        .refused(1, &["marks.json", "\"three\"", "is no seed"]);
    forget(r#"{"size": [32, 32], "boxes": {"3": [[0, 0, 4, 4]]}}"#, &[])
        .refused(1, &["32x32", "draws 16x16"]);
    let layers = ["--layer", "hidden convolution 3", "1 (main.0, 4x4, 16 maps), 2 (main.3, 8x8, 8"];
    forget(one, &["--layer", "3"]).refused(2, &layers);
    forget(one, &["--threshold", "1e6"]).refused(2, &["--threshold", "the largest is"]);
    forget(one, &["--penalty", "0"]).refused(2, &["--penalty", "0.03"]);
    forget(one, &["--report", "marks.json"]).refused(2, &["--report", "--mark"]);
    forget(one, &["--out", "forget.gif"]).refused(2, &["--out", ".png"]);
    assert!(!place.path("forget.png").exists() && !place.path("forget.json").exists());
    place.dcgan(&[&["forget", &run, "--mark", "none.json"], CPU]).refused(1, &["none.json"]);

    let mut model = ModelFile::load(&latest(Path::new(&run))).unwrap();
    model.networks = model.networks.without(Role::Generator);
    model.tensors.retain(|name, _| name.starts_with("discriminator."));
    save_imported(&place.path("d.safetensors"), &model.networks, &model.tensors, "a test").unwrap();
    let words = ["forget", "d.safetensors", "--mark", "marks.json"];
    place.dcgan(&[&words, CPU]).refused(1, &["d.safetensors", "needs a generator"]);
    let both = ["forget", &run, "--mark", "marks.json", "--page", "marks.html"];
    assert_eq!(place.dcgan(&[&both, CPU]).code, Some(2));
    assert_eq!(place.dcgan(&[&["forget", &run], CPU]).code, Some(2));
}
