//! Bad input: one sentence that names the flag or the file and says what would work; nothing is
//! overwritten, and the last checkpoint stays whole.

use std::fs;
use std::path::Path;

use dcgan::tensor::Data;
use dcgan::train::checkpoint;

use crate::cli::{Place, TINY, assert_same, contents, latest};
use crate::cli_sample::write_npy;

const SMALL: &[&str] = &["--device", "cpu", "--batch", "8", "--images", "80"];

#[test]
fn data_that_cannot_be_trained_on() {
    let place = Place::new();
    fs::create_dir(place.path("empty")).unwrap();
    fs::create_dir(place.path("plain")).unwrap();
    fs::write(place.path("plain/readme.md"), "text").unwrap();
    fs::create_dir(place.path("liar")).unwrap();
    fs::write(place.path("liar/a.png"), "text").unwrap();
    fs::write(place.path("liar/b.png"), "text").unwrap();
    place.images("many", 20);
    for i in 0..3 {
        fs::write(place.path(&format!("many/bad{i}.png")), "text").unwrap();
    }
    place.images("few", 7);
    place.images("one", 1);
    let works = "give a folder, zip or tar of images";
    let cases: &[(&str, &[&str])] = &[
        ("missing", &["missing: ", "does not exist", works]),
        ("empty", &["empty: ", "empty folder", works]),
        ("plain", &["plain: ", "without images", works]),
        ("plain/readme.md", &["readme.md: ", "no known kind", works]),
        ("one/000.png", &["000.png: ", "single image", "give the folder"]),
        ("liar", &["liar: ", "unreadable", "replace or remove", ".png: "]),
        ("many", &["many: ", "more than a tenth", "replace or remove", "bad0.png"]),
        ("few", &["few: ", "7 images", "batch of 8", "--batch 7"]),
        ("one", &["one: ", "1 image", "give more images"]),
    ];
    for (data, words) in cases {
        // A dry run is to tell the same.
        let batch = if *data == "liar" { "2" } else { "8" };
        let flags = ["--device", "cpu", "--batch", batch, "--images", "80"];
        for dry in [&[][..], &["--dry-run"]] {
            place.dcgan(&[&["train", data], TINY, &flags, dry]).refused(1, words);
        }
        assert!(!place.path("runs").exists(), "{data} left a run behind");
    }
    // What the advice says works.
    let words = ["train", "few", "--device", "cpu", "--batch", "7", "--images", "7"];
    place.dcgan(&[&words, TINY]).ok();
    place
        .dcgan(&[&["train"], TINY, &["--device", "cpu", "--batch", "3001"]])
        .refused(1, &["the bundled set", "3,000 images", "--batch 3000"]);
}

#[test]
fn flags_of_train_that_cannot_work() {
    let place = Place::new();
    fs::write(place.path("file"), "mine").unwrap();
    let cases: &[(&[&str], i32, &[&str])] = &[
        (&["--size", "100"], 2, &["--size", "96, 112"]),
        (&["--size", "0"], 2, &["--size", "between 8 and 1024"]),
        (&["--size", "-64"], 2, &["--size", "64 or 96x64"]),
        (&["--size", "8x256"], 2, &["--size", "8x256", "sides that work"]),
        (&["--size", "big"], 2, &["--size", "64 or 96x64"]),
        (&["--size", "18446744073709551616"], 2, &["--size"]),
        (&["--batch", "0"], 2, &["--batch", "from 2"]),
        (&["--batch", "1"], 2, &["--batch", "from 2"]),
        (&["--batch", "-3"], 2, &["--batch", "whole number from 2"]),
        (&["--batch", "8.5"], 2, &["--batch", "whole number from 2"]),
        (&["--nz", "0"], 2, &["--nz", "from 1"]),
        (&["--ngf", "-1"], 2, &["--ngf", "from 1"]),
        (&["--ndf", "x"], 2, &["--ndf", "from 1"]),
        (&["--channels", "2"], 2, &["--channels", "1 (grayscale), 3 (RGB) or 4 (RGBA)"]),
        (&["--lr-g", "0"], 2, &["--lr-g", "above 0"]),
        (&["--lr-g", "-1"], 2, &["--lr-g", "above 0"]),
        (&["--lr-d", "nan"], 2, &["--lr-d", "above 0"]),
        (&["--lr-d", "inf"], 2, &["--lr-d", "above 0"]),
        (&["--beta1", "1"], 2, &["--beta1", "below 1"]),
        (&["--beta2", "-0.1"], 2, &["--beta2", "below 1"]),
        (&["--epsilon", "0"], 2, &["--epsilon", "1e-8"]),
        (&["--smooth", "1.5"], 2, &["--smooth", "below 1"]),
        (&["--images", "0"], 2, &["--images", "at least 1"]),
        (&["--images", "-5"], 2, &["--images", "negative"]),
        (&["--images", "many"], 2, &["--images", "25000, 500k or 1.5M"]),
        (&["--keep", "0"], 2, &["--keep", "from 1"]),
        (&["--workers", "0"], 2, &["--workers", "from 1"]),
        (&["--save-every", "-1"], 2, &["--save-every", "negative"]),
        (&["--memory", "lots"], 2, &["--memory", "2GiB"]),
        (&["--memory", "0"], 2, &["--memory", "2GiB"]),
        (&["--preset", "stylegan"], 2, &["--preset", "no preset", "dcgan presets"]),
        (&["--network", "stylegan"], 2, &["--network"]),
        (&["--loss", "l1"], 2, &["--loss"]),
        (&["--loss", "hinge", "--smooth", "0.1"], 2, &["--smooth", "non-saturating", "hinge"]),
        (&["--penalty", "gp"], 2, &["--penalty", "batch norm", "depends on the whole batch"]),
        (&["--penalty-weight", "10"], 2, &["--penalty-weight", "--penalty gp"]),
        (&["--penalty", "gp", "--penalty-weight", "0"], 2, &["--penalty-weight", "leave"]),
        (&["--clip-weights", "-1"], 2, &["--clip-weights", "at least 0"]),
        (&["--n-critic", "0"], 2, &["--n-critic", "from 1"]),
        (&["--n-critic", "1000"], 2, &["--n-critic", "1 to 100"]),
        (&["--micro-batch", "3"], 2, &["--micro-batch", "3 does not divide"]),
        (&["--micro-batch", "1"], 2, &["--micro-batch", "from 2"]),
        (&["--decay", "100", "--images", "200"], 2, &["--decay", "100", "200", "same number"]),
        (&["--crop", "left"], 2, &["--crop"]),
        (&["--cache", "on", "--crop", "random", "--device", "cpu"], 2, &["--cache", "auto"]),
        (&["--seed", "-1"], 2, &["--seed", "whole number from 0"]),
        (&["--device", "abacus"], 1, &["--device abacus", "cpu"]),
        (&["--device", "99"], 1, &["--device 99", "cpu"]),
        (&["--device", "cpu", "--out", "file"], 1, &["file", "folder"]),
        (&["--device", "cpu", "--out", "file/runs"], 1, &["file/runs", "is a file"]),
        (&["--out", "there", "--resume", "here"], 2, &["--out", "--resume"]),
    ];
    for (words, code, parts) in cases {
        // Small, whatever else is asked for.
        let rest: Vec<&str> = TINY
            .chunks(2)
            .chain([&["--batch", "8"][..], &["--images", "80"]])
            .filter(|pair| !words.contains(&pair[0]))
            .flatten()
            .copied()
            .collect();
        let text = place.dcgan(&[&["train"], words, &rest]).refused(*code, parts);
        assert!(text.len() < 300, "{text}");
    }
    assert!(!place.path("runs").exists());
    assert_eq!(fs::read(place.path("file")).unwrap(), b"mine");
}

#[test]
fn too_little_memory_names_the_largest_batch_that_fits() {
    let place = Place::new();
    let train = |batch: &str| {
        let words = ["--device", "cpu", "--memory", "300KiB", "--images", "32", "--batch", batch];
        place.dcgan(&[&["train"], TINY, &words])
    };
    let text = train("64").refused(1, &["--batch 64", "300 KiB", " fits"]);
    let (_, fits) = text.rsplit_once("--batch ").unwrap();
    let fits: usize = fits.split(' ').next().unwrap().parse().unwrap();
    assert!((2..64).contains(&fits), "{text}");
    assert!(!place.path("runs").exists());
    train(&fits.to_string()).ok();
    train(&(fits + 1).to_string()).refused(1, &[&format!("--batch {fits} fits")]);
    let words = ["--device", "cpu", "--memory", "1KiB", "--batch", "8"];
    let words = [&["train"], TINY, &words].concat();
    place.dcgan(&[&words]).refused(1, &["not even two", "--ngf", "--size"]);
}

#[test]
fn a_run_cannot_be_resumed_as_another() {
    let place = Place::new();
    place.images("set", 20);
    let run = place.train("runs", &[&["set"], SMALL]);
    let path = run.to_str().unwrap();
    let before = contents(&run);
    let resume = |words: &[&str]| place.dcgan(&[&["train", "--resume", path], words]);
    let more = ["--images", "160"];
    let cases: &[&[&str]] = &[
        &["--size", "32"],
        &["--channels", "1"],
        &["--gray"],
        &["--nz", "9"],
        &["--ngf", "9"],
        &["--ndf", "9"],
        &["--preset", "paper"],
        &["--batch", "16"],
        &["--seed", "1"],
        &["--lr-g", "0.1"],
        &["--lr-d", "0.1"],
        &["--beta1", "0.1"],
        &["--beta2", "0.1"],
        &["--epsilon", "1e-4"],
        &["--smooth", "0.1"],
        &["--loss", "least-squares"],
        &["--penalty", "gp"],
        &["--feature-matching"],
        &["--clip-weights", "0.1"],
        &["--orthogonal", "0.1"],
        &["--historical", "0.1"],
        &["--weight-decay", "0.1"],
        &["--clip-gradients", "0.1"],
        &["--n-critic", "2"],
        &["--micro-batch", "4"],
        &["--optimizer", "rmsprop"],
        &["--warm-up", "100"],
        &["--decay", "1M"],
        &["--network", "dcgan-paper"],
        &["--ema", "5k"],
        &["--crop", "none"],
        &["--resize", "nearest"],
        &["--flip"],
    ];
    for words in cases {
        let text = resume(&[words, &more[..]].concat()).refused(2, &[words[0], "--resume"]);
        assert!(!text.contains(['{', '"']), "{text}");
    }
    resume(&[]).refused(2, &["--images", "80 images", "more"]);
    resume(&["--images", "80"]).refused(2, &["--images", "80 images"]);
    resume(&["--images", "40"]).refused(2, &["--images", "80 images"]);
    resume(&["--out", "elsewhere"]).refused(2, &["--out", "--resume"]);
    resume(&["--memory", "1KiB", "--images", "160"]).refused(1, &["not even two"]);

    // Other images, more images, no images.
    place.images("other", 21);
    resume(&["other", "--images", "160"]).refused(1, &["other: ", "not the images", "20 imag"]);
    place.images("set", 21);
    resume(&more).refused(1, &["set: ", "not the images", "--resume"]);
    fs::remove_file(place.path("set/020.png")).unwrap();
    fs::rename(place.path("set"), place.path("moved")).unwrap();
    resume(&more).refused(1, &["set: ", "does not exist"]);
    assert!(same_but_lock(&before, &contents(&run)), "a refused resume changed the run");

    // The same images elsewhere, given the flags that it was started with.
    resume(&["moved", "--images", "160", "--size", "16", "--batch", "8", "--lr-g", "3e-4"]).ok();
}

/// The lock names the last process that held it.
fn same_but_lock(a: &[(String, Vec<u8>)], b: &[(String, Vec<u8>)]) -> bool {
    let rest = |all: &[(String, Vec<u8>)]| {
        all.iter().filter(|(name, _)| name != "lock").cloned().collect::<Vec<_>>()
    };
    rest(a) == rest(b)
}

#[test]
fn what_cannot_be_resumed() {
    let place = Place::new();
    let run = place.train("runs", &[SMALL]);
    let checkpoint = latest(&run);
    fs::create_dir(place.path("plain")).unwrap();
    let resume = |path: &str| place.dcgan(&[&["train", "--images", "160", "--resume", path]]);
    resume("nowhere").refused(1, &["nowhere: ", "no such run folder"]);
    resume("plain").refused(1, &["plain: ", "not a run folder", "options.json"]);
    resume("runs").refused(1, &["runs: ", "one of the folders in it"]);
    resume(checkpoint.to_str().unwrap()).refused(1, &[".safetensors: ", "a run's folder"]);

    // A checkpoint of another training under the run's name.
    let other = place.train("other", &[SMALL, &["--seed", "5"]]);
    let good = fs::read(&checkpoint).unwrap();
    fs::copy(latest(&other), &checkpoint).unwrap();
    resume(run.to_str().unwrap()).refused(1, &["not of this run", "options.json"]);
    fs::write(&checkpoint, good).unwrap();

    let options = fs::read(run.join("options.json")).unwrap();
    fs::write(run.join("options.json"), &options[..100]).unwrap();
    resume(run.to_str().unwrap()).refused(1, &["options.json: ", "does not hold a run's options"]);
    fs::write(run.join("options.json"), &options).unwrap();

    for name in ["latest", "checkpoint-000000080.safetensors"] {
        fs::remove_file(run.join(name)).unwrap();
    }
    resume(run.to_str().unwrap()).refused(1, &["no checkpoint yet", "start a new run"]);
    place
        .dcgan(&[&["sample", run.to_str().unwrap(), "--device", "cpu"]])
        .refused(1, &["no checkpoint yet"]);
}

#[test]
fn a_run_that_is_being_written_is_left_alone() {
    let place = Place::new();
    let words = ["train", "--images", "1M", "--report-every", "8", "--save-every", "800"];
    let mut running = place.start(&[&words, TINY, &["--device", "cpu", "--batch", "8"]]);
    let run = running.wait_for_log(&place, "runs", 1);
    running.wait_for("a checkpoint", || run.join("latest").exists().then_some(()));
    let path = run.to_str().unwrap();
    let id = running.id().to_string();
    // With a flag that ends it at once, were it not for the lock.
    let text = place
        .dcgan(&[&["train", "--resume", path, "--images", "8"]])
        .refused(1, &["another process", "is writing this run"]);
    if cfg!(unix) {
        assert!(text.contains(&id), "{text}");
    }
    // To sample from it is fine.
    let sample = ["sample", path, "--device", "cpu", "--seeds", "0", "--out", "samples"];
    place.dcgan(&[&sample]).ok();
    assert!(running.runs());
}

#[test]
fn files_that_are_no_checkpoint_for_this_program() {
    let place = Place::new();
    let run = place.train("runs", &[SMALL]);
    let good = fs::read(latest(&run)).unwrap();
    let put = |name: &str, bytes: &[u8]| fs::write(place.path(name), bytes).unwrap();
    put("empty", b"");
    put("text", b"a checkpoint, honestly");
    put("header", &good[..500]);
    put("half", &good[..good.len() / 2]);
    put("longer", &[&good[..], b"tail"].concat());
    put("image", &fs::read(run.join("reals.png")).unwrap());
    put("noise", &[7; 300]);
    let replaced = |bytes: &[u8], from: &str, to: &str| {
        assert_eq!(from.len(), to.len());
        let at = bytes.windows(from.len()).position(|w| w == from.as_bytes()).unwrap();
        let mut bytes = bytes.to_vec();
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
        bytes
    };
    put("version", &replaced(&good, r#""dcgan.version":"1""#, r#""dcgan.version":"3""#));
    put("changed", &replaced(&good, r#"\"ngf\":8"#, r#"\"ngf\":9"#));
    // Without a checksum, as files were that have none, what they hold is looked at all the same.
    let bare = replaced(&good, "dcgan.crc32", "dcgan.xxx32");
    let edited = |name: &str, from: &str, to: &str| put(name, &replaced(&bare, from, to));
    edited("architecture", r#"\"ngf\":8"#, r#"\"ngf\":9"#);
    edited("sizeless", r#"\"height\":16"#, r#"\"height\":17"#);
    edited("newer", r#""dcgan.version":"1""#, r#""dcgan.version":"2""#);
    edited("foreign", r#""dcgan.version""#, r#""pggan.version""#);
    edited("recipeless", r#""dcgan.recipe""#, r#""dcgan.cookie""#);
    let cases: &[(&str, &[&str])] = &[
        ("missing", &["no such run folder or checkpoint"]),
        ("empty", &["is empty", "checkpoint (.safetensors) is needed"]),
        ("text", &["a text file", "checkpoint (.safetensors) is needed"]),
        ("header", &["cut short", "use another checkpoint"]),
        ("half", &["cut short", "use another checkpoint"]),
        ("longer", &["damaged"]),
        ("image", &["PNG image", "checkpoint (.safetensors) is needed"]),
        ("noise", &["not a safetensors file"]),
        ("version", &["changed since it was written"]),
        ("changed", &["changed since it was written"]),
        ("architecture", &["another architecture", "has shape", "should be"]),
        ("sizeless", &["description is damaged", "not [17, 16, 3]"]),
        ("newer", &["newer version", "update dcgan"]),
        ("foreign", &["not a checkpoint of this program"]),
        ("recipeless", &["dcgan.recipe"]),
    ];
    for (name, words) in cases {
        let file = format!("{name}: ");
        let words = [&[&file[..]], *words].concat();
        place.dcgan(&[&["sample", name, "--device", "cpu"]]).refused(1, &words);
    }
    assert!(!place.path("samples").exists());
}

#[test]
fn flags_of_sample_that_cannot_work() {
    let place = Place::new();
    let run = place.train("runs", &[SMALL]);
    let run = run.to_str().unwrap();
    fs::write(place.path("file"), "mine").unwrap();
    fs::create_dir(place.path("folder.png")).unwrap();
    let numbers = vec![0.5_f32; 32];
    write_npy(&place.path("wide.npy"), &[2, 16], &numbers);
    write_npy(&place.path("flat.npy"), &[32], &numbers);
    write_npy(&place.path("none.npy"), &[0, 8], &numbers[..0]);
    write_npy(&place.path("double.npy"), &[4, 8], &[0.5_f64; 32]);
    let mut holed = numbers.clone();
    holed[17] = f32::NAN;
    write_npy(&place.path("nan.npy"), &[4, 8], &holed);
    write_npy(&place.path("whole.npy"), &[4, 8], &numbers);
    let whole = fs::read(place.path("whole.npy")).unwrap();
    fs::write(place.path("short.npy"), &whole[..whole.len() - 10]).unwrap();
    let wants = "float32) of shape [n, 8]";
    let cases: &[(&[&str], i32, &[&str])] = &[
        (&["--seeds", "a"], 2, &["--seeds", "0-63 or 3,17,42"]),
        (&["--seeds", "-1"], 2, &["--seeds", "\"-1\"", "0-63 or 3,17,42"]),
        (&["--seeds", "3-1"], 2, &["--seeds", "backwards", "1-3"]),
        (&["--seeds", ""], 2, &["--seeds", "0-63"]),
        (&["--seeds", "1,,2"], 2, &["--seeds", "0-63"]),
        (&["--seeds", "0-99999999999"], 2, &["--seeds", "more than 1000000"]),
        (&["--seeds", "1", "--latents", "z.npy"], 2, &["--seeds", "--latents"]),
        (&["--grid", "4x2", "g.png", "--seeds", "0-8"], 2, &["8 places for 9 images", "--seeds"]),
        (&["--grid", "4x", "g.png"], 2, &["--grid", "8x8 (columns x rows)"]),
        (&["--grid", "0x0", "g.png"], 2, &["--grid", "8x8 (columns x rows)"]),
        (&["--grid", "8x8"], 2, &["--grid", "grid.png"]),
        (&["--grid", "g.jpg"], 2, &["--grid", "grid.png"]),
        (&["--grid", "no/g.png"], 1, &["no/g.png", "does not exist"]),
        (&["--grid", "folder.png"], 1, &["folder.png", "is a folder"]),
        (&["--out", "file"], 1, &["file: ", "--out wants a folder"]),
        (&["--out", "file/x"], 1, &["file/x: ", "is a file"]),
        (&["--format", "jpg"], 2, &["--format"]),
        (&["--device", "abacus"], 1, &["--device abacus", "cpu"]),
        (&["--latents", "no.npy"], 1, &["no.npy: ", "does not exist"]),
        (&["--latents", "file"], 1, &["file: ", "not a NumPy file", "float32 [n, 8]"]),
        (&["--latents", "wide.npy"], 1, &["wide.npy: ", "[2, 16]", wants]),
        (&["--latents", "flat.npy"], 1, &["flat.npy: ", "[32]", wants]),
        (&["--latents", "none.npy"], 1, &["none.npy: ", "[0, 8]", wants]),
        (&["--latents", "double.npy"], 1, &["double.npy: ", "<f8", wants]),
        (&["--latents", "nan.npy"], 1, &["nan.npy: ", "row 2", "not finite"]),
        (&["--latents", "short.npy"], 1, &["short.npy: ", "ends too early"]),
    ];
    for (words, code, parts) in cases {
        let device: &[&str] = if words.contains(&"--device") { &[] } else { &["--device", "cpu"] };
        place.dcgan(&[&["sample", run], words, device]).refused(*code, parts);
    }
    assert!(!place.path("samples").exists() && !place.path("g.png").exists());
    assert_eq!(fs::read(place.path("file")).unwrap(), b"mine");
    let words = ["sample", run, "--latents", "whole.npy", "--device", "cpu"];
    place.dcgan(&[&words]).ok();
}

/// Fails unless every number of every checkpoint of the run is one; returns how many there are.
fn finite_checkpoints(run: &Path) -> usize {
    let names = crate::cli::names(run);
    let files = names.iter().filter(|name| name.ends_with(".safetensors"));
    files
        .map(|name| {
            for (tensor, value) in checkpoint::load(&run.join(name)).unwrap().tensors {
                if let Data::F32(numbers) = value.data() {
                    assert!(numbers.iter().all(|x| x.is_finite()), "{tensor} in {name}");
                }
            }
        })
        .count()
}

#[test]
fn a_training_that_diverges_says_so_and_keeps_the_last_good_checkpoint() {
    let place = Place::new();
    let train = |out: &str, words: &[&str]| {
        let flags = ["train", "--out", out, "--images", "800", "--device", "cpu", "--batch", "8"];
        place.dcgan(&[&flags, TINY, words])
    };
    let words = &["diverged", "--lr-g", "--seed"];
    let text = train("none", &["--lr-g", "1e30"]).refused(1, words);
    assert!(text.contains("no checkpoint yet"), "{text}");
    assert_eq!(finite_checkpoints(&place.only_run("none")), 0);

    // One weight is changed by one rate: the first steps are fine, later ones overflow.
    let text = train("some", &["--lr-g", "1e30", "--save-every", "8", "--report-every", "800"])
        .refused(1, words);
    let run = place.only_run("some");
    let saved = latest(&run);
    assert!(text.contains(&*saved.file_name().unwrap().to_string_lossy()), "{text}");
    assert!(finite_checkpoints(&run) >= 1);
    // Its numbers are finite, but what it draws is not.
    place
        .dcgan(&[&["sample", run.to_str().unwrap(), "--device", "cpu", "--seeds", "0"]])
        .refused(1, &["not finite", "too large"]);

    // Slower, and with a discriminator that runs away.
    let flags = ["--lr-g", "1e12", "--lr-d", "1e12", "--save-every", "8"];
    train("both", &flags).refused(1, words);
    finite_checkpoints(&place.only_run("both"));
}

#[cfg(unix)]
#[test]
fn a_checkpoint_that_cannot_be_written_ends_a_training_and_a_preview_does_not() {
    let place = Place::new();
    let start = |out: &str| {
        let flags = ["--device", "cpu", "--batch", "8", "--images", "1M", "--report-every", "8"];
        let often = ["--preview-every", "400", "--save-every", "400"];
        let mut running = place.start(&[&["train", "--out", out], TINY, &flags, &often]);
        let run = running.wait_for_log(&place, out, 60);
        running.wait_for("a checkpoint", || run.join("latest").exists().then_some(()));
        (running, run)
    };
    let (running, run) = start("a");
    for name in ["fakes-000004000.png", "checkpoint-000008000.safetensors"] {
        fs::create_dir(run.join(name)).unwrap();
    }
    let outcome = running.end();
    let warned = "fakes-000004000.png: cannot be written: it is a folder";
    assert!(outcome.stderr.contains(warned), "{}", outcome.stderr);
    let name = "checkpoint-000008000.safetensors";
    let text = outcome.refused(1, &[name, "cannot be written: it is a folder"]);
    let saved = latest(&run);
    assert!(saved.ends_with("checkpoint-000007600.safetensors"), "{}", saved.display());
    assert!(text.contains("checkpoint-000007600.safetensors is intact"), "{text}");
    checkpoint::load(&saved).unwrap();
    let (running, run) = start("b");
    fs::rename(&run, place.path("elsewhere")).unwrap();
    // Whichever file is the first to miss it.
    running.end().refused(1, &["cannot be", "the file or its folder does not exist"]);
    checkpoint::load(&latest(&place.path("elsewhere"))).unwrap();
}

/// A small disk; unmounted when dropped.
#[cfg(target_os = "linux")]
struct Disk<'a>(&'a Path);

#[cfg(target_os = "linux")]
impl<'a> Disk<'a> {
    fn mount(path: &'a Path, options: &str) -> bool {
        fs::create_dir_all(path).unwrap();
        std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(path)
            .output()
            .is_ok_and(|output| output.status.success())
    }
}

#[cfg(target_os = "linux")]
impl Drop for Disk<'_> {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(self.0).status();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_keeps_the_last_checkpoint() {
    use std::io::Write as _;
    let place = Place::new();
    let path = place.path("disk");
    if !Disk::mount(&path, "size=400k") {
        // Not eprintln, which the test harness swallows where a test passes.
        let mut stderr = std::io::stderr().lock();
        writeln!(stderr, "SKIPPED, as no tmpfs can be mounted: a_full_disk_…").unwrap();
        return;
    }
    let disk = Disk(&path);
    let flags: &[&str] = &["--device", "cpu", "--batch", "8", "--images", "160"];
    let words = [&["train", "--out", "disk", "--save-every", "8"], TINY, flags].concat();
    let text = place.dcgan(&[&words]).refused(1, &["disk is full", "make room", "is intact"]);
    let run = place.only_run("disk");
    let saved = latest(&run);
    assert!(text.contains(&*saved.file_name().unwrap().to_string_lossy()), "{text}");
    checkpoint::load(&saved).unwrap();

    // Resumed while it is still full: the same again, and no harm done.
    let resume = ["train", "--resume", run.to_str().unwrap()];
    place.dcgan(&[&resume]).refused(1, &["disk is full", "make room"]);
    checkpoint::load(&latest(&run)).unwrap();
    // Room is made.
    assert!(Disk::mount(&path, "remount,size=8m"));
    place.dcgan(&[&resume]).ok();
    let whole = place.train("whole", &[flags]);
    assert_same(&latest(&whole), &latest(&run));
    drop(disk);
}
