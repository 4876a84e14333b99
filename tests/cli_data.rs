//! Sets as commands read them: parts and classes, images that have changed since, and files that are
//! made to harm.

use std::fs;
use std::path::Path;
use std::time::Duration;

use dcgan::data::{Prepare, Source, survey};

use crate::cli::{Place, TINY};
use crate::data_formats::{deflate, png};
use crate::data_sources::{flat, gzip, idx, put, zip};
use crate::mutate;

const CPU: &[&str] = &["--device", "cpu", "--batch", "8"];

/// Sixteen images of each class below each folder.
fn classes(place: &Place, folders: &[&str]) {
    for (i, folder) in (0..).zip(folders) {
        for n in 0..16 {
            put(&place.path("set"), &format!("{folder}/{n:02}.png"), &flat(i * 16 + n));
        }
    }
}

#[test]
fn data_says_which_part_and_which_classes() {
    let place = Place::new();
    classes(
        &place,
        &["train/cats/in", "train/dogs/in", "train/dogs/out", "test/cats", "test/dogs"],
    );
    put(&place.path("set"), "old.rar", b"Rar!\x1a\x07\x01\0");
    let data = |words: &[&str]| place.dcgan(&[&["data", "set", "--size", "16"], words]);
    let said = data(&[]).ok().stdout;
    for line in [
        "data        folder, 48 images, 2 classes\n",
        "note        the training part is taken, 48 of 80 images; --part test takes the other",
        "note        left aside: old.rar is RAR, an archive that is not read; unpack it",
        "classes by  folder level 2\n",
        "classes     cats (16)\n            dogs (32)\n",
    ] {
        assert!(said.contains(line), "{line:?} in {said}");
    }
    let said = data(&["--part", "all", "--class-level", "1"]).ok().stdout;
    assert!(said.contains("80 images, 2 classes") && said.contains("train (48)"), "{said}");
    data(&["--part", "test", "--class-level", "3"]).refused(2, &["--class-level", "3 deep"]);
    fs::remove_dir_all(place.path("set/train/cats")).unwrap();
    fs::remove_dir_all(place.path("set/train/dogs/out")).unwrap();
    for n in 1..16 {
        fs::remove_file(place.path(&format!("set/train/dogs/in/{n:02}.png"))).unwrap();
    }
    let said = data(&[]).ok().stdout;
    assert!(said.contains("folder, 1 image\n") && said.contains("1 of 33 images"), "{said}");
}

#[test]
fn train_takes_the_training_part_and_goes_on_with_it() {
    let place = Place::new();
    classes(&place, &["train/a", "train/b", "test/a"]);
    let start = |out: &str, words: &[&str]| {
        let base = ["train", "set", "--images", "16", "--conditional", "--out", out];
        place.dcgan(&[&base, TINY, CPU, words]).ok()
    };
    let outcome = start("runs", &[]);
    assert!(outcome.stderr.contains("note: the training part is taken, 32 of 48"), "{outcome:?}");
    assert!(outcome.stderr.contains("conditional on 2 classes"), "{outcome:?}");
    let run = place.only_run("runs");
    let options = fs::read_to_string(run.join("options.json")).unwrap();
    let options: serde_json::Value = serde_json::from_str(&options).unwrap();
    assert_eq!(options["data_reading"]["part"], "train");
    // What is added to the other part is nobody's business.
    put(&place.path("set"), "test/a/99.png", &flat(99));
    let resume = |run: &Path, words: &[&str]| {
        let run = run.to_str().unwrap();
        place.dcgan(&[&["train", "--resume", run, "--images", "32"], words])
    };
    resume(&run, &["--part", "all"]).refused(2, &["--part: the run was started with train"]);
    resume(&run, &["--class-level", "1"]).refused(2, &["--class-level: the run was started with"]);
    resume(&run, &["--part", "train"]).ok();

    start("all", &["--part", "all"]);
    let options = fs::read_to_string(place.only_run("all").join("options.json")).unwrap();
    assert!(options.contains("\"part\": \"all\""), "{options}");
}

/// A run of a version that knew neither parts nor contents: its options have a number for a
/// fingerprint, and say nothing of how the set is read.
#[test]
fn runs_of_earlier_versions_go_on_with_what_they_had() {
    let place = Place::new();
    classes(&place, &["train/a/x", "train/b/x", "test/a/y"]);
    let words = ["train", "set", "--images", "16", "--part", "all", "--class-level", "3"];
    place.dcgan(&[&words, TINY, CPU, &["--conditional"]]).ok();
    let run = place.only_run("runs");
    let path = run.join("options.json");
    let mut options: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    // All three folders, in the order of their names, with the innermost folders as classes.
    let mut sum = flate2::Crc::new();
    for folder in ["test/a/y", "train/a/x", "train/b/x"] {
        (0..16).for_each(|n| sum.update(format!("{folder}/{n:02}.png\0").as_bytes()));
    }
    (0..48).for_each(|i| sum.update(&u32::from(i < 16).to_le_bytes()));
    options["data_fingerprint"] = sum.sum().into();
    options.as_object_mut().unwrap().remove("data_reading");
    fs::write(&path, options.to_string()).unwrap();
    let resume = |images: &str| {
        place.dcgan(&[&["train", "--resume", run.to_str().unwrap(), "--images", images]])
    };
    let outcome = resume("32").ok();
    assert!(!outcome.stderr.contains("note:"), "{outcome:?}");
    // From now on its contents are known too, and it is still read as before.
    resume("48").ok();
    put(&place.path("set"), "train/a/x/00.png", &flat(200));
    resume("64").refused(1, &["the names are the same, the contents are not"]);
}

#[test]
fn a_run_does_not_go_on_with_other_images() {
    let place = Place::new();
    classes(&place, &["a", "b"]);
    place.dcgan(&[&["train", "set", "--images", "16"], TINY, CPU]).ok();
    let run = place.only_run("runs");
    let resume = |words: &[&str]| {
        let run = run.to_str().unwrap();
        place.dcgan(&[&["train", words[0], "--resume", run, "--images", "32"], &words[1..]])
    };
    put(&place.path("set"), "b/07.png", &flat(250));
    resume(&["set"]).refused(1, &["set: these are not the images", "the contents are not"]);
    fs::remove_file(place.path("set/b/07.png")).unwrap();
    resume(&["set"]).refused(1, &["set: these are not the images", " but folder, "]);
    // The same images in another place.
    put(&place.path("set"), "b/07.png", &flat(23));
    let names: Vec<_> =
        ["a", "b"].iter().flat_map(|c| (0..16).map(move |n| format!("{c}/{n:02}.png"))).collect();
    let bytes: Vec<_> =
        names.iter().map(|n| fs::read(place.path("set").join(n)).unwrap()).collect();
    let files: Vec<_> = names.iter().zip(&bytes).map(|(n, b)| (n.as_str(), b.as_slice())).collect();
    zip(&place.path("copy.zip"), false, &files);
    resume(&["copy.zip"]).ok();
}

/// The letters of EMNIST have the labels 1 to 26.
#[test]
fn a_label_without_images_is_no_class_of_the_model() {
    let place = Place::new();
    let pixels: Vec<u8> = (0..24 * 784).map(|i| (i % 251) as u8).collect();
    let labels: Vec<u8> = (0..24).map(|i| 1 + i % 3).collect();
    put(&place.path("set"), "letters-images-idx3-ubyte.gz", &gzip(&idx(&[24, 28, 28], &pixels)));
    put(&place.path("set"), "letters-labels-idx1-ubyte.gz", &gzip(&idx(&[24], &labels)));
    let words = ["train", "set", "--images", "16", "--preset", "cgan", "--ngf", "4", "--ndf", "4"];
    let outcome = place.dcgan(&[&words, CPU]).ok();
    assert!(outcome.stderr.contains("note: label 0 has no image and is no class"), "{outcome:?}");
    assert!(outcome.stderr.contains("conditional on 3 classes"), "{outcome:?}");
    let run = place.only_run("runs");
    let run = run.to_str().unwrap();
    // Names are labels: 3 is one, 0 is none.
    place
        .dcgan(&[&["sample", run, "--class", "3", "--seeds", "0", "--out", "s", "--device", "cpu"]])
        .ok();
    place
        .dcgan(&[&["sample", run, "--class", "0", "--seeds", "0", "--out", "t", "--device", "cpu"]])
        .refused(2, &["--class", "1, 2, 3"]);
}

#[test]
fn every_command_that_reads_a_set_takes_a_part() {
    let place = Place::new();
    for command in ["train", "data", "features", "filters", "neighbors", "dedup", "bench"] {
        let help = place.dcgan(&[&[command, "--help"]]).ok().stdout;
        assert!(help.contains("--part <PART>"), "{command}: {help}");
    }
    for command in ["train", "data", "features", "classify", "errors", "nn-score"] {
        let help = place.dcgan(&[&[command, "--help"]]).ok().stdout;
        assert!(help.contains("--class-level <N>"), "{command}: {help}");
    }
}

/// A palette that ends before an index, on which the decoder panics (png 0.18.1).
const PANIC: &[u8] = include_bytes!("fixtures/panic.png");

#[test]
fn a_decoder_that_panics_is_not_heard() {
    let place = Place::new();
    put(&place.path("set"), "0.png", PANIC);
    for i in 1..20 {
        put(&place.path("set"), &format!("{i}.png"), &flat(i));
    }
    let outcome = place.dcgan(&[&["data", "set", "--size", "16"]]).ok();
    assert_eq!(outcome.stderr, "");
    let line = "unreadable  0.png: is PNG that the decoder fails on\n";
    assert!(outcome.stdout.contains(line), "{}", outcome.stdout);
    // Panics of other threads and of other code are.
    let heard = mutate::in_child("cli_data::our_own_panic", 4096, Duration::from_secs(60));
    assert!(heard.contains("our own") && !heard.contains("palette"), "{heard}");
}

#[test]
#[ignore = "run by the test above, in a process of its own"]
fn our_own_panic() {
    let place = Place::new();
    put(&place.path("set"), "0.png", PANIC);
    let source = Source::open(Some(&place.path("set"))).unwrap();
    assert!(source.image(0).is_err());
    let quiet = std::thread::spawn(|| panic!("our own")).join();
    assert!(quiet.is_err());
    assert!(std::panic::catch_unwind(|| panic!("our own, here")).is_err());
}

#[test]
fn threads_share_the_memory_for_decoding() {
    mutate::in_child("cli_data::eight_large_images", 8192, Duration::from_secs(100));
}

/// Eight images on eight threads, 1.1 GB of pixels in all, of which three fit at a time.
#[test]
#[ignore = "run by the test above, in a process of its own"]
fn eight_large_images() {
    let place = Place::new();
    let (w, h) = (6000, 8000);
    let rows = vec![0; (1 + 3 * w as usize) * h as usize];
    let large = png(w, h, 8, 2, &[(b"IDAT", &deflate(&rows))]);
    drop(rows);
    for i in 0..8 {
        put(&place.path("set"), &format!("{i}.png"), &large);
    }
    let source = Source::open(Some(&place.path("set"))).unwrap();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(8).build().unwrap();
    // What it took to make the file is counted by the system too.
    let before = peak();
    let report = pool.install(|| survey(&source, &Prepare::default(), &|| ())).unwrap();
    assert!(report.skipped.is_empty(), "{:?}", report.skipped);
    if let (Some(before), Some(after)) = (before, peak()) {
        let most = before.max(700 << 20);
        assert!(after < most, "{} MiB", after >> 20);
    }
}

/// The most memory that this process ever had, where the system says.
fn peak() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib << 10)
}

#[cfg(unix)]
#[test]
fn a_folder_whose_name_is_no_text_works() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let place = Place::new();
    let name = OsStr::from_bytes(b"se\xfft");
    for n in 0..16 {
        put(&place.path("."), &format!("other/{n}.png"), &flat(n));
    }
    fs::rename(place.path("other"), place.path(".").join(name)).unwrap();
    let dcgan = |words: &[&OsStr]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_dcgan"));
        command.args(words).current_dir(place.path("."));
        let output = command.output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{stderr}");
    };
    fn words<'a>(words: &[&'a str]) -> Vec<&'a OsStr> {
        words.iter().map(|word| OsStr::new(*word)).collect()
    }
    dcgan(&[&words(&["data", "--size", "16"])[..], &[name]].concat());
    dcgan(
        &[&words(&["dedup", "--dry-run", "--steps", "2", "--device", "cpu"])[..], &[name]].concat(),
    );
    let train = [&words(&["train", "--images", "16"])[..], &words(TINY), &words(CPU), &[name]];
    dcgan(&train.concat());
    let run = place.only_run("runs");
    dcgan(&[&words(&["train", "--images", "32", "--resume"])[..], &[run.as_os_str()]].concat());
}
