//! Files of every format that holds weights, options or marks, changed at random: whatever is in one,
//! reading it ends, and takes no memory out of proportion.

use std::time::Duration;

use super::*;

use dcgan::experiments::forget::marks::Marks;
use dcgan::model::checkpoint;
use dcgan::model::folder::{Folder, OPTIONS};
use dcgan::program::{Options, preflight};
use dcgan::train::options::RunOptions;
use dcgan::train::{TrainConfig, Trainer};
use dcgan::weights::export::{Export, Format};

use crate::mutate;

/// Files of each format.
const COUNT: usize = 2000;

/// Runs a test below in a process of its own.
fn in_child(test: &str) {
    mutate::in_child(&format!("weights::mutations::{test}"), 1500, Duration::from_secs(120));
}

/// Gives `read` as many changed files, each at the same path.
fn each(valid: &[Vec<u8>], name: &str, read: impl Fn(&Path)) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    mutate::each(11, valid, COUNT, |bytes| {
        fs::write(&path, bytes).unwrap();
        read(&path);
    });
}

fn reads(names: &[&str]) -> Vec<Vec<u8>> {
    names.iter().map(|name| fs::read(file(name)).unwrap()).collect()
}

/// Imports a file; what is imported is a model that can be planned.
fn imports(path: &Path) {
    let Ok(imported) = import(&[path.to_owned()], &[], &Assumptions::default()) else { return };
    let model = model(&imported);
    planned(&model);
}

/// Plans the networks of a model that was read.
fn planned(model: &ModelFile) {
    if model.networks.has(Role::Generator.into()) {
        let tape = Sampler::tape(&model.networks, Weights::Raw, 2).unwrap();
        let _ = preflight(&tape, &Device::Cpu, &Options::default());
    }
}

#[test]
fn archives_of_pytorch() {
    in_child("changed_archives");
    in_child("changed_pickles");
}

#[test]
#[ignore = "run by the test above, in a process of its own"]
fn changed_archives() {
    let valid = reads(&["plain_g.pth", "plain_d.pth", "beside.pth", "legacy_g.pth"]);
    each(&valid, "f.pth", imports);
}

/// In an archive whose checksums are right, so that what is changed is also read.
#[test]
#[ignore = "run by a test above, in a process of its own"]
fn changed_pickles() {
    use std::io::{Cursor, Read as _, Write as _};
    use zip::write::SimpleFileOptions;
    use zip::{CompressionMethod, ZipArchive, ZipWriter};

    let mut archives = Vec::new();
    for whole in reads(&["plain_g.pth", "upsample_d.pth", "beside.pth"]) {
        let mut zip = ZipArchive::new(Cursor::new(whole)).unwrap();
        let mut files = Vec::new();
        for i in 0..zip.len() {
            let mut file = zip.by_index(i).unwrap();
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).unwrap();
            files.push((file.name().unwrap().into_owned(), bytes));
        }
        archives.push(files);
    }
    let pickles: Vec<Vec<u8>> = archives
        .iter()
        .map(|files| files.iter().find(|(name, _)| name.ends_with("data.pkl")).unwrap().1.clone())
        .collect();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f.pth");
    let mut number = 0;
    mutate::each(12, &pickles, COUNT, |pickle| {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, bytes) in &archives[number % archives.len()] {
            let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
            zip.start_file(name.as_str(), stored).unwrap();
            zip.write_all(if name.ends_with("data.pkl") { pickle } else { bytes }).unwrap();
        }
        number += 1;
        fs::write(&path, zip.finish().unwrap().into_inner()).unwrap();
        imports(&path);
    });
}

#[test]
fn safetensors_files() {
    in_child("changed_safetensors");
    in_child("changed_checkpoints");
}

#[test]
#[ignore = "run by the test above, in a process of its own"]
fn changed_safetensors() {
    let mut valid = reads(&["plain_g.safetensors", "upsample_d.safetensors"]);
    // One that describes its network, without the checksum that would end the reading.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("g.safetensors");
    let model = model(&import_files(&["plain_g.pth"], &[], &Assumptions::default()));
    Export::of(&model, Role::Generator, Weights::default())
        .unwrap()
        .save(&path, Format::Safetensors)
        .unwrap();
    valid.push(unsummed(&fs::read(&path).unwrap()));
    each(&valid, "f.safetensors", imports);
}

/// A file with its checksum under another key, as if it had none.
fn unsummed(bytes: &[u8]) -> Vec<u8> {
    let key = checkpoint::CHECKSUM_KEY.as_bytes();
    let at = bytes.windows(key.len()).position(|part| part == key).unwrap();
    let mut bytes = bytes.to_vec();
    bytes[at] = b'x';
    bytes
}

#[test]
#[ignore = "run by a test above, in a process of its own"]
fn changed_checkpoints() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.safetensors");
    let size = dcgan::models::Size { height: 8, width: 8 };
    let model_config =
        dcgan::models::ModelConfig { size, nz: 2, ngf: 1, ndf: 1, ..Default::default() };
    let config = TrainConfig { batch: 2, ..TrainConfig::new(model_config) };
    let trainer = Trainer::new(config, &Device::Cpu, &Options::default()).unwrap();
    let (tensors, metadata) = trainer.snapshot(1.0).unwrap().into_file().unwrap();
    checkpoint::save(&path, &tensors, &metadata).unwrap();
    let whole = fs::read(&path).unwrap();
    let imported = import_files(&["plain_g.pth", "plain_d.pth"], &[], &Assumptions::default());
    save_imported(&path, &imported.networks, &imported.tensors, "a test").unwrap();
    let valid = [unsummed(&whole), whole, unsummed(&fs::read(&path).unwrap())];
    each(&valid, "f.safetensors", |path| {
        if let Ok(model) = ModelFile::load(path) {
            let _ = TrainConfig::of(&model);
            planned(&model);
        }
    });
}

#[test]
fn numpy_files_graphs_and_json() {
    in_child("changed_numpy_files");
    in_child("changed_graphs");
    in_child("changed_options");
    in_child("changed_marks");
}

#[test]
#[ignore = "run by the test above, in a process of its own"]
fn changed_numpy_files() {
    let header = |shape: &str| {
        let text = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}");
        let text = format!("{text:<117}\n");
        [b"\x93NUMPY\x01\0", &(text.len() as u16).to_le_bytes()[..], text.as_bytes()].concat()
    };
    let matrix = [header("(3, 16)"), vec![0x3f; 3 * 16 * 4]].concat();
    let kernels = [header("(4, 3, 5, 5)"), vec![0x3f; 4 * 3 * 25 * 4]].concat();
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("npy");
    fs::create_dir(&folder).unwrap();
    let (first, second) = (folder.join("gen_1.npy"), folder.join("gen_2.npy"));
    mutate::each(13, &[matrix.clone(), kernels.clone()], COUNT, |bytes| {
        for (path, valid) in [(&first, &matrix), (&second, &kernels)] {
            fs::write(path, valid).unwrap();
        }
        let target = if bytes.windows(6).any(|part| part == b"(4, 3,") { &second } else { &first };
        fs::write(target, bytes).unwrap();
        imports(&folder);
    });
}

#[test]
#[ignore = "run by a test above, in a process of its own"]
fn changed_graphs() {
    let mut valid = reads(&["extra_g.onnx", "upsample_d.onnx", "upsample_g.onnx"]);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("g.onnx");
    let model = model(&import_files(&["plain_d.pth"], &[], &Assumptions::default()));
    Export::of(&model, Role::Discriminator, Weights::default())
        .unwrap()
        .save(&path, Format::Onnx)
        .unwrap();
    valid.push(fs::read(&path).unwrap());
    each(&valid, "f.onnx", imports);
}

#[test]
#[ignore = "run by a test above, in a process of its own"]
fn changed_options() {
    let place = crate::cli::Place::new();
    let run = place.train("runs", &[&["--device", "cpu", "--batch", "8", "--images", "16"]]);
    let valid = fs::read(run.join(OPTIONS)).unwrap();
    let dir = tempfile::tempdir().unwrap();
    mutate::each(14, &[valid], COUNT, |bytes| {
        fs::write(dir.path().join(OPTIONS), bytes).unwrap();
        let options = Folder::open(dir.path()).unwrap().options::<RunOptions>();
        if let Ok(RunOptions { config, .. }) = options
            // Recorded at every step that a batch has; the reader of checkpoints refuses more.
            && config.batch <= 64
        {
            let _ = config.tape().map(|tape| preflight(&tape, &Device::Cpu, &Options::default()));
        }
    });
}

#[test]
#[ignore = "run by a test above, in a process of its own"]
fn changed_marks() {
    let valid =
        br#"{"model": "a run", "size": [16, 16], "boxes": {"3": [[0, 0, 8.5, 8]], "z.npy:2": []}}"#;
    each(&[valid.to_vec()], "marks.json", |path| drop(Marks::load(path, [16, 16])));
}
