//! Images from texts in two stages on the command line, and texts by vectors of another program.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use dcgan::model::checkpoint;
use dcgan::tensor::Tensor;
use dcgan::train::ModelFile;

use crate::cli::{Place, TINY, assert_same, latest, names};
use crate::cli_stages::{row, stages};
use crate::cli_text::{captioned, pixels};

const CPU: &[&str] = &["--device", "cpu"];
const STACKGAN: &[&str] = &[
    "set",
    "--preset",
    "stackgan",
    "--size",
    "16",
    "--ngf",
    "4",
    "--ndf",
    "4",
    "--nz",
    "6",
    "--text-augment",
    "5",
    "--stage-images",
    "stage1=320,stage2=320",
    "--report-every",
    "16",
    "--device",
    "cpu",
];

pub(crate) fn train(place: &Place, out: &str, words: &[&str]) -> PathBuf {
    place.dcgan(&[&["train", "--out", out], STACKGAN, words]).ok();
    place.only_run(out)
}

fn size(path: &Path) -> (u32, u32) {
    image::image_dimensions(path).unwrap()
}

#[test]
fn stages_of_texts_follow_one_another_and_a_stop_anywhere_changes_no_bit() {
    let place = Place::new();
    captioned(&place);
    let whole = train(&place, "whole", &[]);
    let done = [row("stage1", "done", 320), row("stage2", "done", 320)];
    assert_eq!(stages(&place, &whole), done);
    let log = fs::read_to_string(whole.join("log.jsonl")).unwrap();
    assert!(log.contains("\"kl\"") && log.contains("d_wrong"), "{log}");
    // In the middle of each stage, and between them.
    for stop in ["160", "320", "480"] {
        let parts = train(&place, &format!("parts-{stop}"), &["--images", stop]);
        place.dcgan(&[&["train", "--resume", parts.to_str().unwrap(), "--images", "640"]]).ok();
        assert_same(&latest(&whole), &latest(&parts));
        assert_eq!(stages(&place, &whole), stages(&place, &parts), "{stop}");
    }
    // Previews have both stages side by side, and the second half is gray until there is one.
    let previews: Vec<PathBuf> =
        names(&whole).iter().filter(|n| n.starts_with("fakes-")).map(|n| whole.join(n)).collect();
    assert!(previews.len() >= 3 && whole.join("timelapse.gif").is_file());
    let cell = |path: &Path, x: u32| {
        let image = image::open(path).unwrap().into_rgb8();
        image.get_pixel(image.width() / 8 / 2 * x + image.width() / 32, image.height() / 16).0
    };
    let (first, last) = (&previews[0], &previews[previews.len() - 1]);
    assert_eq!(size(first), size(last));
    assert!(size(last).0 > size(last).1 * 3 / 2, "{:?}", size(last));
    assert!(cell(first, 1).iter().all(|level| (127..=128).contains(level)), "{:?}", cell(first, 1));
    assert_ne!(cell(last, 1), cell(first, 1));
    let page = fs::read_to_string(whole.join("report.html")).unwrap();
    assert!(page.contains("stage2"), "{page}");
}

#[test]
fn a_second_stage_is_trained_alone_on_a_first_one() {
    let place = Place::new();
    captioned(&place);
    let first = train(&place, "first", &["--stage", "stage1"]);
    let stage1 = first.join("stage-stage1.safetensors");
    let stage1 = stage1.to_str().unwrap();
    place
        .dcgan(&[&["train"], STACKGAN, &["--stage", "stage2"]])
        .refused(2, &["--stage", "stage2 builds on the stage stage1"]);
    // Its images are those of the stage that there is.
    let sample = |model: &str, out: &str| {
        let words = ["sample", model, "--text", "red top, blue bottom", "--seeds", "0-3"];
        place.dcgan(&[&words, &["--out", out], CPU]).ok().stderr
    };
    let note = sample(stage1, "small");
    assert!(note.contains("the stage before it, of 8"), "{note}");
    assert_eq!(size(&place.path("small/seed0000-text0.png")), (8, 8));
    let second = train(&place, "second", &["--stage", "stage2", "--from", stage1]);
    let second = second.to_str().unwrap();
    assert!(!sample(second, "large").contains("note"));
    assert_eq!(size(&place.path("large/seed0000-text0.png")), (16, 16));
    let part = |path: &str, network: &str| {
        let model = ModelFile::load(Path::new(path)).unwrap();
        let own = model.tensors.into_iter().filter(|(name, _)| name.starts_with(network));
        own.collect::<BTreeMap<_, _>>()
    };
    let second_model = latest(Path::new(second));
    for network in ["stage1_generator.", "ema.stage1_generator.", "stage1_discriminator."] {
        assert_eq!(part(stage1, network), part(second_model.to_str().unwrap(), network));
    }
    // The same in a model of networks alone.
    place.dcgan(&[&["export", second, "--to", "model", "--out", "m.safetensors"]]).ok();
    sample("m.safetensors", "compact");
    let [a, b] =
        ["large", "compact"].map(|out| pixels(&place.path(out).join("seed0002-text0.png")));
    assert!(a.iter().zip(&b).all(|(a, b)| a.abs_diff(*b) <= 3));

    // What other commands do with it, or say.
    let text = ["--text", "red top, blue bottom"];
    let on = |words: &[&str]| place.dcgan(&[words, CPU]);
    let with = |words: &[&str]| place.dcgan(&[words, &text, CPU]);
    with(&["walk", second, "--to-text", "blue top, red bottom", "--steps", "3"]).ok();
    with(&["walk", second, "--seeds", "0,1", "--steps", "3"]).ok();
    with(&["walk", stage1, "--seeds", "0,1", "--steps", "3"]).ok();
    with(&["arithmetic", second, "--plus", "0,1", "--minus", "2"]).ok();
    with(&["invert", second, "set/000.png", "--steps", "2"]).ok();
    on(&["neighbors", second, "set", "--seeds", "0,1"]).ok();
    on(&["evaluate", second, "--samples", "18", "--metrics", "colors"]).ok();
    on(&["evaluate", stage1, "--samples", "18", "--metrics", "colors"]).ok();
    with(&["walk", second, "--vary", "0,7"]).ok();
    with(&["walk", second, "--direction", "1"]).refused(1, &["has the parts z, e1, e2", "--vary"]);
    place.dcgan(&[&["export", second, "--to", "onnx", "--out", "g.onnx"]]).ok();
    for to in ["safetensors", "pth"] {
        let export = ["export", second, "--to", to, "--out", "g.file"];
        place.dcgan(&[&export]).refused(1, &["conditioned on texts"]);
    }
}

#[test]
fn what_a_stackgan_cannot_be_is_said() {
    let place = Place::new();
    captioned(&place);
    let train = |words: &[&str]| {
        // Flags that are given again replace those before.
        let others = STACKGAN[1..].chunks(2).filter(|pair| !words.contains(&pair[0]));
        let others: Vec<&str> = others.flatten().copied().collect();
        place.dcgan(&[&["train", "set", "--dry-run"], &others, words])
    };
    train(&["--upscale", "4"]).refused(2, &["--size", "stage 1 would make images of 4"]);
    train(&["--upscale", "3"]).refused(2, &["--upscale", "2 or 4"]);
    train(&["--conditional"]).refused(2, &["--conditional"]);
    train(&["--network", "mlp"]).refused(2, &["--network", "texts"]);
    train(&["--attention", "8"]).refused(2, &["--attention", "texts"]);
    train(&["--stage-images", "stage3=1"]).refused(2, &["--stage-images", "stage1, stage2"]);
    train(&["--text-augment", "0"]).ok();
    train(&["--network", "dcgan-paper"]).ok();
    let plain = |words: &[&str]| place.dcgan(&[&["train", "set", "--dry-run"], CPU, words]);
    plain(&["--upscale", "4"]).refused(2, &["--upscale", "family stackgan"]);
    plain(&["--text-augment", "8"]).refused(2, &["--text-augment", "int-cls or"]);
    plain(&["--family", "int-cls", "--kl-weight", "1"])
        .refused(2, &["--kl-weight", "--text-augment"]);
    // Conditioning augmentation without stages.
    let drawn = ["--preset", "int-cls", "--text-augment", "8", "--images", "32"];
    let run = place.train("drawn", &[&["set"], &drawn, CPU]);
    let run = run.to_str().unwrap();
    let words = ["sample", run, "--text", "red top", "--seeds", "0-1", "--out", "drawn-samples"];
    place.dcgan(&[&words, CPU]).ok();
}

/// A file with a vector for each name.
fn vectors(path: &Path, names: &[(&str, [f32; 3])]) {
    let tensor = |x: [f32; 3]| Tensor::new([3], x.to_vec()).unwrap();
    let tensors: BTreeMap<String, Tensor> =
        names.iter().map(|(name, x)| ((*name).to_owned(), tensor(*x))).collect();
    checkpoint::save(path, &tensors, &BTreeMap::new()).unwrap();
}

#[test]
fn texts_by_vectors_of_another_program() {
    let place = Place::new();
    captioned(&place);
    let colors = [
        ("red", [1.0, 0.0, 0.2]),
        ("green", [0.0, 1.0, 0.1]),
        ("blue", [0.1, 0.0, 1.0]),
        ("top", [0.3, 0.3, 0.0]),
    ];
    vectors(&place.path("words.safetensors"), &colors);
    let words = ["train", "set", "--preset", "int-cls", "--size", "16", "--device", "cpu"];
    let file = ["--text-vectors", "words.safetensors"];
    let run = |out: &str, images: &str| {
        place.dcgan(&[&words, &file, &["--out", out, "--images", images]]).ok();
        place.only_run(out)
    };
    let whole = run("whole", "160");
    let parts = run("parts", "80");
    let resume = ["train", "--resume", parts.to_str().unwrap(), "--images", "160"];
    fs::rename(place.path("words.safetensors"), place.path("moved.safetensors")).unwrap();
    place.dcgan(&[&resume]).refused(1, &["words.safetensors"]);
    vectors(&place.path("words.safetensors"), &colors[..3]);
    place.dcgan(&[&resume]).refused(2, &["--text-vectors", "other vectors than those"]);
    place.dcgan(&[&resume, &["--text-vectors", "moved.safetensors"]]).ok();
    let ours = |run: &Path| {
        let model = ModelFile::load(&latest(run)).unwrap();
        (model.tensors, model.networks)
    };
    assert_eq!(ours(&whole), ours(&parts));
    let (_, networks) = ours(&whole);
    assert_eq!(networks.text.width(), 3);
    assert_eq!(networks.text.known_names(), ["blue", "green", "red", "top"]);

    // Words of the training, words that it never saw, and texts as a whole.
    let model = whole.to_str().unwrap();
    let sample = |text: &str, out: &str, more: &[&str]| {
        let words = ["sample", model, "--text", text, "--seeds", "0", "--out", out];
        place.dcgan(&[&words, CPU, more])
    };
    sample("red", "red", &[]).ok();
    sample("crimson", "none", &[]).refused(2, &["--text", "crimson", "--text-vectors"]);
    let more = [("crimson", [1.0, 0.0, 0.2]), ("a sky", [0.1, 0.0, 1.0])];
    vectors(&place.path("more.safetensors"), &more);
    let more = ["--text-vectors", "more.safetensors"];
    let of = |out: &str| pixels(&place.path(out).join("seed0000-text0.png"));
    sample("Crimson", "crimson", &more).ok();
    assert_eq!(of("crimson"), of("red"));
    sample("blue", "blue", &more).ok();
    sample("a sky", "sky", &more).ok();
    assert_eq!(of("sky"), of("blue"));
    assert_ne!(of("sky"), of("red"));
    let walk = ["walk", model, "--text", "red", "--to-text", "a sky", "--steps", "3"];
    place.dcgan(&[&walk, CPU, &more]).ok();

    // What does not go together.
    let train = |words: &[&str]| place.dcgan(&[&["train", "--dry-run", "set"], words, CPU]);
    let int_cls = ["--preset", "int-cls", "--size", "16"];
    let by = |file: &'static str| train(&[&int_cls[..], &["--text-vectors", file]].concat());
    by("more.safetensors").refused(1, &["more.safetensors", "no vector for", "captions"]);
    by("set/000.png").refused(1, &["set/000.png", "is no safetensors file"]);
    by("nowhere.safetensors").refused(1, &["nowhere.safetensors"]);
    train(&[&more[..], &["--size", "16"]].concat()).refused(2, &["--text-vectors", "int-cls"]);
    train(&[&int_cls[..], &["--from", model]].concat())
        .refused(2, &["--text-vectors", "vectors of 3 numbers"]);
    train(&[&int_cls[..], &["--from", model, "--text-vectors", "moved.safetensors"]].concat()).ok();
    let learned = place.train("learned", &[&["set"], &int_cls[..2], CPU, &["--images", "16"]]);
    let learned = learned.to_str().unwrap();
    let words = ["sample", learned, "--text", "red", "--out", "x"];
    place.dcgan(&[&words, CPU, &more]).refused(1, &["more.safetensors", "words of its own"]);
    let from = [&int_cls[..2], TINY, &["--from", learned, "--text-vectors", "moved.safetensors"]];
    train(&from.concat()).refused(2, &["--text-vectors", "words of their own"]);
}
