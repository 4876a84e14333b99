//! Prints what a build of the program computes, to the last bit:
//! `cargo run --release --example goldens -- target/release/dcgan [SOFTWARE_GPU] > goldens.txt`
//!
//! Trains every preset for twenty steps on the CPU with small networks, and the default one also
//! resumed, in micro-batches, conditionally and, if a software adapter is named, on it in 16 bits.
//! Prints a line for every metric of every step, and a hash for every tensor of the last checkpoint
//! and for each of four samples. Two builds that should compute the same print the same on one
//! machine; another processor may round differently.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

use image::{Rgb, RgbImage};
use safetensors::SafeTensors;
use serde_json::Value;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Images in a batch, and steps.
const BATCH: usize = 8;
const STEPS: usize = 20;

/// Keys of a log line that are not results.
const TIMES: [&str; 4] = ["seconds", "images_per_s", "waiting", "memory_bytes"];

/// A training run: its name, its flags, and the updates of D per step.
struct Case {
    name: String,
    flags: Vec<String>,
    n_critic: usize,
    /// Whether it is stopped halfway and resumed.
    is_resumed: bool,
}

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let binary = args.next().ok_or("goldens BINARY [SOFTWARE_GPU]")?;
    let binary = Path::new(&binary).canonicalize()?;
    let gpu = args.next();
    let folder = tempfile::tempdir()?;
    let set = folder.path().join("set");
    write_set(&set)?;
    for case in cases(&binary, gpu.as_deref())? {
        eprintln!("{}", case.name);
        let run = folder.path().join(&case.name);
        train(&binary, &case, &set, &run)?;
        print_results(&binary, &case.name, &run)?;
    }
    Ok(())
}

/// Eight images of each of ten classes, as folders, with captions.
fn write_set(set: &Path) -> Result<()> {
    let mut captions = String::new();
    for class in 0..10_u32 {
        let folder = set.join(class.to_string());
        fs::create_dir_all(&folder)?;
        for item in 0..8_u32 {
            let pixel = |x: u32, y: u32| {
                let channel = |c: u32| ((class + 1) * x + (item + 3) * y * (c + 1) + 80 * c) as u8;
                Rgb([0, 1, 2].map(channel))
            };
            RgbImage::from_fn(32, 32, pixel).save(folder.join(format!("{item}.png")))?;
            captions += &format!("{class}/{item}.png\timage {item} of class {class}\n");
        }
    }
    Ok(fs::write(set.join("captions.txt"), captions)?)
}

fn cases(binary: &Path, gpu: Option<&str>) -> Result<Vec<Case>> {
    let listed = output(Command::new(binary).args(["presets", "--json"]))?;
    let listed: Value = serde_json::from_slice(&listed)?;
    let presets = listed["presets"].as_array().ok_or("presets --json lists no presets")?;
    let preset = |preset: &Value| -> Option<Case> {
        let name = preset["name"].as_str()?;
        let flag = |flag: &str| preset["flags"][flag].as_str();
        let is_mnist = flag("network").is_some_and(|network| network.contains("mnist"));
        let size = if is_mnist { "28" } else { "32" };
        let n_critic = flag("n-critic").and_then(|n| n.parse().ok()).unwrap_or(1);
        let mut flags = ["--preset", name, "--size", size].map(String::from).to_vec();
        if flag("attention").is_some() {
            flags.extend(["--attention", "16"].map(String::from));
        }
        if flag("labels-per-class").is_some() {
            flags.extend(["--labels-per-class", "2"].map(String::from));
        }
        Some(Case { name: name.into(), flags, n_critic, is_resumed: false })
    };
    let mut cases: Vec<Case> = presets.iter().filter_map(preset).collect();
    let further = |name: &str, flags: &[&str], is_resumed| {
        let flags = [&["--size", "16", "--preset", "dcgan"], flags]
            .concat()
            .into_iter()
            .map(String::from)
            .collect();
        Case { name: name.into(), flags, n_critic: 1, is_resumed }
    };
    cases.push(further("resumed", &[], true));
    cases.push(further("micro-batches", &["--micro-batch", "4"], false));
    cases.push(further("conditional", &["--conditional"], false));
    if let Some(gpu) = gpu {
        cases.push(further("16-bits", &["--precision", "f16", "--device", gpu], false));
    }
    Ok(cases)
}

fn train(binary: &Path, case: &Case, set: &Path, run: &Path) -> Result<()> {
    let images = BATCH * STEPS * case.n_critic;
    let parts = if case.is_resumed { vec![images / 2, images] } else { vec![images] };
    for (part, images) in parts.into_iter().enumerate() {
        let mut train = Command::new(binary);
        train.args(["train", "--tune", "off", "--images", &images.to_string()]);
        if part > 0 {
            train.arg("--resume").arg(newest(run)?);
        } else {
            let batch = BATCH.to_string();
            let every = (BATCH * case.n_critic).to_string();
            train.arg(set).args(&case.flags).arg("--out").arg(run);
            train.args(["--ngf", "8", "--ndf", "8", "--batch", &batch, "--report-every", &every]);
            if !case.flags.iter().any(|flag| flag == "--device") {
                train.args(["--device", "cpu"]);
            }
        }
        output(&mut train)?;
    }
    Ok(())
}

fn print_results(binary: &Path, case: &str, run: &Path) -> Result<()> {
    let run = newest(run)?;
    for line in fs::read_to_string(run.join("log.jsonl"))?.lines() {
        let metrics: BTreeMap<String, Value> = serde_json::from_str(line)?;
        let results = metrics.iter().filter(|(name, _)| !TIMES.contains(&name.as_str()));
        for (name, value) in results {
            println!("{case} step {} {name} {value}", metrics["step"]);
        }
    }
    let checkpoint = fs::read(run.join(fs::read_to_string(run.join("latest"))?.trim()))?;
    let mut tensors = SafeTensors::deserialize(&checkpoint)?.tensors();
    tensors.sort_by(|(a, _), (b, _)| a.cmp(b));
    for (name, tensor) in tensors {
        let (dtype, shape) = (tensor.dtype(), tensor.shape());
        println!("{case} tensor {name} {dtype:?} {shape:?} {:016x}", hash(tensor.data()));
    }
    let samples = run.join("samples");
    let mut sample = Command::new(binary);
    sample.arg("sample").arg(&run).args(["--seeds", "0-3", "--device", "cpu", "--out"]);
    output(sample.arg(&samples))?;
    let mut files: Vec<PathBuf> =
        fs::read_dir(&samples)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    files.sort();
    for (seed, file) in files.iter().enumerate() {
        println!("{case} sample {seed} {:016x}", hash(image::open(file)?.as_bytes()));
    }
    Ok(())
}

/// The only run in a folder of runs.
fn newest(runs: &Path) -> Result<PathBuf> {
    let runs = fs::read_dir(runs)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    runs.into_iter().max().ok_or_else(|| "the training left no run".into())
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

/// The output of a successful command.
fn output(command: &mut Command) -> Result<Vec<u8>> {
    let done = command.output()?;
    if done.status.success() {
        return Ok(done.stdout);
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&done.stderr)).into())
}
