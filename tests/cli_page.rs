//! Pages of `dcgan export --to html`: what they hold and refuse; in a real browser, driven by playwright,
//! where both are installed (`.ci/browser`): images of the same seeds, everything that a visitor can do, and
//! twenty steps of a training.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use dcgan::device::Device;
use dcgan::model::{Generator, Inputs, ModelFile, Weights, seeded_latents};
use dcgan::train::{Folder, LogLine};

use crate::cli::Place;
use crate::cli_stackgan;
use crate::cli_text::captioned;
use crate::cli_watch::browser;
use crate::support::skipped;

/// Seeds whose images are compared.
const SEEDS: u64 = 8;
/// How far a page's images may be off those of the CPU device, in [−1, 1]: weights in 32 bits.
const TOLERANCE: &str = "1e-4";

/// The driver of browsers, if it is installed.
fn playwright() -> Option<PathBuf> {
    let named = std::env::var_os("DCGAN_TEST_PLAYWRIGHT").map(PathBuf::from);
    let is_named = named.is_some();
    let usual =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("target/browser/node_modules/playwright-core");
    let path = named.unwrap_or(usual);
    if path.join("index.mjs").is_file() {
        return Some(path);
    }
    assert!(!is_named, "DCGAN_TEST_PLAYWRIGHT has no index.mjs");
    skipped("SKIPPED in part, as playwright is not installed: .ci/browser does it");
    None
}

/// Runs steps of tests/browser/page.mjs on `page.html` in a folder; `false` if there is no browser.
fn visit(folder: &Path, steps: &[&str]) -> bool {
    let (Some(browser), Some(playwright)) = (browser(), playwright()) else { return false };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/page.mjs");
    let output = Command::new("node")
        .arg(script)
        .arg(playwright)
        .arg(browser)
        .arg(folder)
        .args(steps)
        .output()
        .expect("node is installed with playwright");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{steps:?}: {out}\n{err}");
    println!("{out}");
    true
}

/// What the CPU device gives for the first seeds, for the script.
fn expect(folder: &Path, model: &str) {
    let (model, _) = ModelFile::open(Path::new(model)).unwrap();
    let networks = &model.networks;
    let seeds: Vec<u64> = (0..SEEDS).collect();
    let z = seeded_latents(&seeds, networks.nz, networks.latent_distribution);
    let mut generator = Generator::new(&model, &Device::Cpu, Weights::default()).unwrap();
    let images = generator.images(&Inputs::seeds(seeds)).unwrap();
    let rows = |values: &[f32]| {
        let rows = values.chunks(values.len() / SEEDS as usize).map(|row| format!("{row:?}"));
        rows.collect::<Vec<_>>().join(",")
    };
    let mut json = String::new();
    write!(json, "{{\"z\":[{}],\"images\":[{}]}}", rows(z.f32s()), rows(images.f32s())).unwrap();
    fs::write(folder.join("expected.json"), json).unwrap();
}

/// A page of a model among the fixtures, or of a run, with its expected images.
fn page(place: &Place, model: &str, flags: &[&str]) -> PathBuf {
    let folder = place.path("page");
    fs::create_dir_all(&folder).unwrap();
    let words = ["export", model, "--to", "html", "--out", "page/page.html"];
    let said = place.dcgan(&[&words, flags]).ok().stdout;
    assert!(said.contains("wrote a page that makes images of"), "{said}");
    let text = fs::read_to_string(folder.join("page.html")).unwrap();
    // It loads nothing: the only addresses are those of the policy.
    for address in ["http:", "https:", "src=", "url(", "@import"] {
        assert!(!text.contains(address), "{address} in the page");
    }
    folder
}

/// Shape and values of a NumPy file of 32-bit floats.
fn npy(path: &Path) -> ([usize; 2], Vec<f32>) {
    let bytes = fs::read(path).unwrap();
    let header = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    assert_eq!(header % 64, 0);
    let text = std::str::from_utf8(&bytes[10..header]).unwrap();
    let (_, shape) = text.split_once("'shape': (").unwrap();
    let (rows, columns) = shape.split_once(')').unwrap().0.split_once(", ").unwrap();
    let values = bytes[header..].chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()));
    ([rows, columns].map(|n| n.parse().unwrap()), values.collect())
}

fn fixture(name: &str) -> String {
    format!("{}/tests/fixtures/models/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn a_page_makes_the_images_of_seeds_on_gpu_and_cpu() {
    let place = Place::new();
    let model = fixture("dcgan.safetensors");
    let folder = page(&place, &model, &["--weights", "f32"]);
    expect(&folder, &model);
    let tolerance = |step: &str| format!("{step}={TOLERANCE}");
    if !visit(&folder, &[&tolerance("cpu"), &tolerance("gpu"), "fallback", "visit"]) {
        return;
    }
    // What the page saved is what the program makes.
    let (model, _) = ModelFile::open(Path::new(&model)).unwrap();
    let (shape, saved) = npy(&folder.join("saved.npy"));
    let nz = model.networks.nz;
    assert_eq!(shape, [1, nz]);
    assert_eq!(saved, seeded_latents(&[3], nz, model.networks.latent_distribution).f32s());
    let (shape, _) = npy(&folder.join("all.npy"));
    assert_eq!(shape, [2, nz]);
    let words = ["--latents", "page/all.npy", "--out", "page/all.png"];
    place.dcgan(&[&["sample", model.path.to_str().unwrap()], &words]).ok();
    let words = ["--seeds", "3", "--out", "page/own"];
    place.dcgan(&[&["sample", model.path.to_str().unwrap()], &words]).ok();
    let own = fs::read_dir(folder.join("own")).unwrap().next().unwrap().unwrap().path();
    let (saved, own) = (image::open(folder.join("saved.png")).unwrap(), image::open(own).unwrap());
    for (a, b) in saved.to_rgb8().as_raw().iter().zip(own.to_rgb8().as_raw()) {
        assert!(a.abs_diff(*b) <= 1, "{a} for {b}");
    }
}

#[test]
fn pages_of_conditional_and_imported_models() {
    for (name, steps) in [
        ("conditional.safetensors", &["cpu=1e-4", "gpu=1e-4", "condition=class"][..]),
        // Its batch norm has no running statistics.
        ("imported.safetensors", &["cpu=1e-4"]),
        ("infogan.safetensors", &["cpu=1e-4"]),
    ] {
        let place = Place::new();
        let model = fixture(name);
        let folder = page(&place, &model, &["--weights", "f32"]);
        expect(&folder, &model);
        visit(&folder, steps);
    }
}

/// Texts go through the page's own encoder, and images through two generators.
#[test]
fn a_page_of_texts_in_two_stages() {
    let place = Place::new();
    captioned(&place);
    let run = cli_stackgan::train(&place, "runs", &[]);
    let model = run.to_str().unwrap();
    let folder = page(&place, model, &["--weights", "f32"]);
    expect(&folder, model);
    visit(&folder, &["cpu=1e-4", "condition=a blue bottom and a ZEBRA, red top"]);
}

#[test]
fn the_bundled_models_page_is_small_and_looks_well() {
    let place = Place::new();
    let folder = page(&place, "avatars", &["--title", "Avatars & <i>more</i>"]);
    let bytes = fs::metadata(folder.join("page.html")).unwrap().len();
    assert!(bytes < 2 << 20, "{bytes} bytes");
    expect(&folder, "avatars");
    // 16-bit weights: two levels of 255.
    visit(&folder, &["harmless=Avatars & <i>more</i>", "cpu=0.02", "looks"]);
}

/// The page that README links to is what its command makes.
#[test]
fn the_documentations_page_is_up_to_date() {
    let place = Place::new();
    let words = ["export", "avatars", "--to", "html", "--title", "Faces that follow sliders"];
    place.dcgan(&[&words, &["--out", "avatars.html"]]).ok();
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/avatars.html");
    let is_same = fs::read(&own).unwrap() == fs::read(place.path("avatars.html")).unwrap();
    assert!(is_same, "make it again: dcgan {} --out docs/avatars.html", words.join(" "));
}

#[test]
fn hostile_names_stay_texts() {
    let place = Place::new();
    let title = "</script><script>stolen = 1</script> \" {{ 7 * 7 }} <!--";
    let folder = page(&place, &fixture("conditional.safetensors"), &["--title", title]);
    let text = fs::read_to_string(folder.join("page.html")).unwrap();
    assert_eq!(text.matches("</script>").count(), 5);
    expect(&folder, &fixture("conditional.safetensors"));
    visit(&folder, &[&format!("harmless={title}")]);
}

#[test]
fn flags_of_pages_are_refused_elsewhere() {
    let place = Place::new();
    let export = |words: &[&str]| place.dcgan(&[&["export", "--out", "x.html"], words]);
    for (flag, value) in [("--title", "x"), ("--weights", "i8"), ("--direction", "a=b.npy")] {
        export(&["avatars", "--to", "onnx", flag, value]).refused(2, &[flag, "--to html"]);
    }
    let html = ["avatars", "--to", "html"];
    export(&[&html[..], &["--network", "generator"]].concat()).refused(2, &["--network"]);
    for bad in ["smile", "=x.npy", "smile="] {
        export(&[&html[..], &["--direction", bad]].concat()).refused(2, &["NAME=FILE"]);
    }
    export(&[&html[..], &["--direction", "a=none.npy"]].concat()).refused(1, &["none.npy"]);
    export(&[&html[..], &["--train"]].concat()).refused(1, &["avatars", "is no run's folder"]);
    let train = ["--to", "html", "--train"];
    for (words, said) in [
        (&["--weights", "f16"][..], &["--weights", "leave it out with --train"][..]),
        (&["--", "--resume", "x"], &["--resume"]),
        (&["--", "--preset", "lapgan"], &["lapgan", "stages"]),
        (&["--", "--preset", "int-cls"], &["int-cls"]),
    ] {
        export(&[&train[..], words].concat()).refused(2, said);
    }
    assert!(!place.path("x.html").exists());
}

/// The losses of twenty steps of a page are those of `dcgan train`, and what it saves is a checkpoint.
#[test]
fn a_page_trains_as_the_program_does() {
    let place = Place::new();
    let config = ["--preset", "fast", "--batch", "8", "--flip"];
    let log = ["--images", "160", "--report-every", "8", "--save-every", "160", "--device", "cpu"];
    let run = place.train("runs", &[&config, &log]);
    let folder = place.path("page");
    fs::create_dir_all(&folder).unwrap();
    let name = run.to_str().unwrap();
    let words = ["export", name, "--to", "html", "--train", "--out", "page/page.html"];
    let said = place.dcgan(&[&words]).ok().stdout;
    assert!(said.contains("wrote a page that trains on 3k images"), "{said}");
    let log: Vec<LogLine> = Folder::open(&run).unwrap().log().unwrap();
    let losses: Vec<[f32; 2]> =
        log.iter().map(|line| [line.value("loss_d"), line.value("loss_g")]).collect();
    assert_eq!(losses.len(), 20);
    fs::write(folder.join("expected.json"), format!("{{\"losses\":{losses:?}}}")).unwrap();
    if !visit(&folder, &["train=cpu", "train=gpu", "drop"]) {
        return;
    }
    // The program samples it, and goes on from it where the run stopped.
    place.dcgan(&[&["sample", "page/checkpoint.safetensors", "--out", "page/after.png"]]).ok();
    let own = fs::read_dir(&run).unwrap().map(|entry| entry.unwrap().path());
    let checkpoint = own.filter(|path| path.extension().is_some_and(|e| e == "safetensors")).max();
    fs::copy(folder.join("checkpoint.safetensors"), checkpoint.unwrap()).unwrap();
    place.dcgan(&[&["train", "--resume", name, "--images", "240"]]).ok();
}
