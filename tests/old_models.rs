//! Models and runs that version 0.1.0 wrote are read, sampled and resumed as it did.

use std::fs;
use std::path::{Path, PathBuf};

use dcgan::model::ModelFile;

use crate::cli::{Place, names};

/// How far images may be from those of then: one level of 0 to 255.
const LEVEL: f32 = 1.0 / 127.5;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models").join(name)
}

/// Float32 images and their shape.
fn images(path: &Path) -> (Vec<u64>, Vec<f32>) {
    let bytes = fs::read(path).unwrap();
    let npy = npyz::NpyFile::new(&bytes[..]).unwrap();
    (npy.shape().to_vec(), npy.into_vec().unwrap())
}

/// Fails unless `model` draws the images of the file `wanted`.
#[track_caller]
fn draws(place: &Place, model: &Path, words: &[&str], wanted: &str) {
    let sample = ["sample", model.to_str().unwrap(), "--seeds", "0-1", "--format", "npy"];
    place.dcgan(&[&sample, &["--device", "cpu", "--out", "samples"], words]).ok();
    let (shape, now) = images(&place.path("samples/samples.npy"));
    let (before, then) = images(&fixture(wanted));
    assert_eq!(shape, before, "{wanted}");
    let worst = now.iter().zip(&then).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst < LEVEL, "{wanted}: {worst}");
}

/// The models, with tensors, classes and heads of each.
const MODELS: [(&str, usize, usize, usize); 6] = [
    ("dcgan", 29, 0, 0),
    ("conditional", 29, 3, 0),
    ("infogan", 29, 0, 4),
    ("semi-supervised", 31, 0, 2),
    ("sngan-resnet", 258, 0, 0),
    ("weight-norm", 35, 0, 0),
];

#[test]
fn models_draw_what_they_drew() {
    let place = Place::new();
    for (name, tensors, classes, heads) in MODELS {
        let path = fixture(&format!("{name}.safetensors"));
        let model = ModelFile::load(&path).unwrap();
        let networks = &model.networks;
        assert_eq!((networks.classes.len(), networks.heads), (classes, heads), "{name}");
        assert_eq!((model.tensors.len(), model.step), (tensors, 160), "{name}");
        let params = networks.params();
        assert!(params.iter().all(|param| model.tensors.contains_key(&param.name)), "{name}");
        draws(&place, &path, &[], &format!("{name}.npy"));
        draws(&place, &path, &["--raw"], &format!("{name}-raw.npy"));
    }
    let path = fixture("imported.safetensors");
    assert!(ModelFile::load(&path).unwrap().config.is_none());
    draws(&place, &path, &[], "imported.npy");
}

#[test]
fn a_run_goes_on_as_it_did() {
    let place = Place::new();
    let (from, run) = (fixture("run"), place.path("run"));
    fs::create_dir(&run).unwrap();
    for name in names(&from) {
        fs::copy(from.join(&name), run.join(&name)).unwrap();
    }
    let words = ["train", "--resume", run.to_str().unwrap(), "--images", "640"];
    place.dcgan(&[&words]).ok();
    assert!(run.join("checkpoint-000000640.safetensors").exists());
    assert_eq!(fs::read_to_string(run.join("log.jsonl")).unwrap().lines().count(), 2);
    draws(&place, &run, &[], "run.npy");
}
