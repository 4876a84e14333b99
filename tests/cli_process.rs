//! The program among others: signals, closed and full outputs, few threads, odd names, full disks.
//! A training goes on through all of it, or says what would work; it never ends in a panic.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use dcgan::train::{ModelFile, checkpoint};

use crate::cli::{Place, TINY, latest, names};

const CPU: &[&str] = &["--device", "cpu", "--batch", "8"];

/// One that would run for hours.
#[cfg(unix)]
const LONG: &[&str] = &["train", "--images", "100M", "--report-every", "8"];

/// [`TINY`] and [`CPU`] in a script.
#[cfg(unix)]
const SMALL: &str = "--size 16 --ngf 8 --ndf 8 --nz 8 --device cpu --batch 8";

/// What a signal does to a training: its exit code, and what is left beside the checkpoint.
#[cfg(unix)]
#[test]
fn a_training_that_is_asked_to_end_saves_and_exits_as_shells_expect() {
    for (signal, code, is_patient) in
        [("INT", 130, true), ("TERM", 143, false), ("HUP", 129, false)]
    {
        let place = Place::new();
        // Whatever the tests themselves were started by, SIGHUP is not ignored here.
        let mut running = place.start(&[LONG, CPU, TINY, &["--preview-every", "0"]]);
        let run = running.wait_for_log(&place, "runs", 100);
        let start = Instant::now();
        running.signal(signal);
        let outcome = running.end();
        let took = start.elapsed();
        assert_eq!(outcome.code, Some(code), "SIG{signal}: {outcome:#?}");
        assert!(
            outcome.stderr.contains("stopped; resume with: dcgan train --resume"),
            "{outcome:#?}"
        );
        let stopped = ModelFile::load(&latest(&run)).unwrap();
        assert!(stopped.step >= 99, "{}", stopped.step);
        let last = format!("fakes-{:09}.png", 8 * stopped.step);
        let is_left = |name: &str| run.join(name).exists();
        assert_eq!(
            (is_left("timelapse.gif"), is_left(&last)),
            (is_patient, is_patient),
            "{signal}"
        );
        assert!(took < Duration::from_secs(10), "SIG{signal}: {took:?}");
    }
}

#[cfg(unix)]
#[test]
fn a_training_under_nohup_outlives_its_terminal() {
    let place = Place::new();
    let mut running = place.start_after("trap '' HUP", &[LONG, CPU, TINY]);
    running.wait_for_log(&place, "runs", 2);
    running.signal("HUP");
    running.wait_for_log(&place, "runs", 20);
    running.signal("TERM");
    assert_eq!(running.end().code, Some(143));
}

/// A signal in the middle of other work leaves nothing half made.
#[cfg(unix)]
#[test]
fn other_commands_end_at_once_and_clean_up() {
    let place = Place::new();
    let run = place.train("runs", &[CPU, &["--images", "16"]]);
    let words = ["sample", run.to_str().unwrap(), "--seeds", "0-999999", "--device", "cpu"];
    let out = ["--out", "many", "--format", "npy"];
    let mut running = place.start(&[&words, &out]);
    let many = place.path("many");
    running.wait_for("the file in the making", || {
        let made = if many.exists() { names(&many) } else { Vec::new() };
        made.iter().any(|name| name.ends_with(".tmp")).then_some(())
    });
    running.signal("TERM");
    let outcome = running.end();
    assert_eq!(outcome.code, Some(143), "{outcome:#?}");
    assert!(names(&many).is_empty(), "{:?}", names(&many));
}

#[cfg(unix)]
#[test]
fn a_training_needs_no_listener() {
    let place = Place::new();
    let train = format!("dcgan train --images 800 --report-every 8 {SMALL}");
    // The reader leaves after the first line, on both outputs.
    let outcome = place.shell(&format!("{train} --out a 2>&1 | head -1; exit ${{PIPESTATUS[0]}}"));
    assert_eq!(outcome.ok().stdout.lines().count(), 1);
    assert_eq!(ModelFile::load(&latest(&place.only_run("a"))).unwrap().step, 100);
    if Path::new("/dev/full").exists() {
        place.shell(&format!("{train} --out b 2>/dev/full")).ok();
        assert_eq!(ModelFile::load(&latest(&place.only_run("b"))).unwrap().step, 100);
        assert_eq!(place.shell("dcgan data /nowhere 2>/dev/full").code, Some(1));
        assert_eq!(place.shell("dcgan data --cuont 3 2>/dev/full").code, Some(2));
    }
}

/// What a command prints is its product: where it cannot be written, that is an error, and where its
/// reader has left, that is none.
#[cfg(unix)]
#[test]
fn a_product_that_cannot_be_written_is_an_error() {
    let place = Place::new();
    let train = format!("dcgan train --dry-run {SMALL}");
    let commands = ["dcgan devices", "dcgan devices --json", "dcgan presets", "dcgan data", &train];
    for command in commands.into_iter().chain(["dcgan --help", "dcgan --version"]) {
        // `true` reads nothing; it may end before or after the program writes.
        let closed = place.shell(&format!("{command} | true; exit ${{PIPESTATUS[0]}}")).ok();
        assert!(!closed.stderr.contains("error"), "{command}: {closed:#?}");
        if Path::new("/dev/full").exists() {
            let full = place.shell(&format!("{command} >/dev/full"));
            full.refused(1, &["standard output: cannot be written: the disk is full"]);
        }
    }
}

/// Limits of processes do not hold for root, so that the program runs as somebody else then.
#[cfg(target_os = "linux")]
#[test]
fn few_threads_are_an_error_or_enough() {
    let place = Place::new();
    let folder = place.path("open");
    fs::create_dir(&folder).unwrap();
    place.shell("chmod o+x . && chmod 777 open").ok();
    let is_root = place.shell("id -u").stdout.trim() == "0";
    let mut ended = Vec::new();
    for limit in 1..=9 {
        let other = match is_root {
            true => format!("setpriv --reuid {0} --regid {0} --clear-groups", 65_100 + limit),
            false => String::new(),
        };
        let run = |words: &str| {
            let program = env!("CARGO_BIN_EXE_dcgan");
            let inner = format!("cd open; ulimit -u {limit}; exec \"{program}\" {words}");
            place.shell(&format!("export RAYON_NUM_THREADS=3; {other} bash -c '{inner}'"))
        };
        if run("--version").code != Some(0) {
            eprintln!("SKIPPED, as the program cannot be run with a limit of {limit} processes");
            continue;
        }
        let out = format!("--out r{limit} --images 16 --workers 2");
        let outcome = run(&format!("train {SMALL} {out}"));
        let said = &outcome.stderr;
        assert!(!said.contains("panicked"), "a limit of {limit}: {outcome:#?}");
        match outcome.code {
            Some(0) => {}
            Some(1) => assert!(said.contains("thread") || said.contains("Ctrl-C"), "{said}"),
            _ => panic!("a limit of {limit}: {outcome:#?}"),
        }
        ended.push(outcome.code);
    }
    // Beside the first thread: signals, arithmetic, loading, writing.
    assert!(!is_root || ended.is_empty() || ended.contains(&Some(0)), "{ended:?}");
}

/// `options.json` may be edited by hand: 0 is for never, in each of them.
#[test]
fn a_rhythm_of_zero_is_never() {
    let place = Place::new();
    let flags = ["--images", "80", "--save-every", "40", "--preview-every", "40"];
    let run = place.train("runs", &[CPU, &flags, &["--report-every", "8"]]);
    let count =
        |run: &Path, start: &str| names(run).iter().filter(|name| name.starts_with(start)).count();
    let whole = [count(&run, "fakes-"), count(&run, "checkpoint-")];
    let text = fs::read_to_string(run.join("options.json")).unwrap();
    let mut options: serde_json::Value = serde_json::from_str(&text).unwrap();
    for every in ["report_every", "preview_every", "save_every", "keep_every", "keep"] {
        options["rhythm"][every] = 0.into();
    }
    fs::write(run.join("options.json"), options.to_string()).unwrap();
    place.dcgan(&[&["train", "--resume", run.to_str().unwrap(), "--images", "800"]]).ok();
    let log = fs::read_to_string(run.join("log.jsonl")).unwrap();
    assert_eq!(log.lines().count(), 11, "one line more");
    assert_eq!([count(&run, "fakes-"), count(&run, "checkpoint-")], [whole[0] + 1, 1]);
    // The flags say the same.
    let never = ["--report-every", "0", "--preview-every", "0", "--save-every", "0"];
    let run = place.train("never", &[CPU, &never, &["--images", "1200"]]);
    assert_eq!([count(&run, "fakes-"), count(&run, "checkpoint-")], [2, 1]);
}

/// Numbers of a file that someone changed give an error that names the file, never a panic.
#[test]
fn options_with_absurd_numbers_are_refused_or_harmless() {
    let place = Place::new();
    let run = place.train("runs", &[CPU, &["--images", "16"]]);
    let text = fs::read_to_string(run.join("options.json")).unwrap();
    let whole: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut changed = Vec::new();
    for at in ["/images", "/data_fingerprint", "/prepare/height", "/prepare/channels"] {
        changed.extend([0_u64, 1, u64::MAX].map(|n| (at.to_owned(), n)));
    }
    for field in whole["rhythm"].as_object().unwrap().keys() {
        changed.push((format!("/rhythm/{field}"), u64::MAX));
    }
    let checkpoint = fs::read(latest(&run)).unwrap();
    for (at, number) in changed {
        // As it was after 16 images, whatever the last case made of it.
        let first = run.join("checkpoint-000000016.safetensors");
        fs::write(&first, &checkpoint).unwrap();
        fs::write(run.join("latest"), "checkpoint-000000016.safetensors").unwrap();
        let mut options = whole.clone();
        *options.pointer_mut(&at).unwrap() = number.into();
        fs::write(run.join("options.json"), options.to_string()).unwrap();
        let images: &[&str] = if at == "/images" { &["--dry-run"] } else { &["--images", "32"] };
        let outcome = place.dcgan(&[&["train", "--resume", run.to_str().unwrap()], images]);
        let is_error = matches!(outcome.code, Some(1 | 2)) && outcome.stderr.contains("error: ");
        assert!(outcome.code == Some(0) || is_error, "{at} {number}: {outcome:#?}");
    }
}

/// The same of a checkpoint that says so, too.
#[test]
fn checkpoints_with_absurd_numbers_are_refused() {
    let place = Place::new();
    let run = place.train("runs", &[CPU, &["--images", "16"]]);
    let file = checkpoint::load(&latest(&run)).unwrap();
    let text = fs::read_to_string(run.join("options.json")).unwrap();
    let options: serde_json::Value = serde_json::from_str(&text).unwrap();
    let refuse = |options: &serde_json::Value, metadata: &BTreeMap<String, String>, what: &str| {
        fs::write(run.join("options.json"), options.to_string()).unwrap();
        checkpoint::save(&latest(&run), &file.tensors, metadata).unwrap();
        let path = run.to_str().unwrap();
        for words in [["train", "--resume", path], ["sample", path, "--device=cpu"]] {
            let outcome = place.dcgan(&[&words]);
            let is_error = outcome.stderr.contains("error: ");
            assert!(outcome.code == Some(1) && is_error, "{what} {words:?}: {outcome:#?}");
        }
    };
    let numbers = [0, (1 << 63) - 1, u64::MAX];
    for field in ["nz", "ngf", "ndf", "channels"] {
        for number in numbers {
            let mut options = options.clone();
            options["recipe"]["model"][field] = number.into();
            let mut metadata = file.metadata.clone();
            metadata.insert("dcgan.recipe".into(), options["recipe"].to_string());
            refuse(&options, &metadata, &format!("{field} {number}"));
        }
    }
    for number in &numbers[1..] {
        let mut metadata = file.metadata.clone();
        metadata.insert("dcgan.step".into(), number.to_string());
        refuse(&options, &metadata, &format!("step {number}"));
        let mut options = options.clone();
        options["recipe"]["batch"] = (*number).into();
        let mut metadata = file.metadata.clone();
        metadata.insert("dcgan.recipe".into(), options["recipe"].to_string());
        refuse(&options, &metadata, &format!("batch {number}"));
    }
}

#[test]
fn names_of_every_length_are_written() {
    let place = Place::new();
    let run = place.train("runs", &[CPU, &["--images", "16"]]);
    let words = ["sample", run.to_str().unwrap(), "--seeds", "0", "--device", "cpu", "--grid"];
    for length in [240, 251] {
        let name = "n".repeat(length) + ".png";
        place.dcgan(&[&words, &[&name]]).ok();
        image::open(place.path(&name)).unwrap();
    }
    let text = place.dcgan(&[&words, &[&("n".repeat(252) + ".png")]]);
    text.refused(1, &["cannot be written", "name too long"]);
}

/// Names are bytes on Unix, and paths in commands for copying are quoted.
#[cfg(target_os = "linux")]
#[test]
fn names_that_are_no_text_and_names_with_blanks() {
    use std::os::unix::ffi::OsStringExt as _;
    let place = Place::new();
    place.images("set", 20);
    let odd = std::ffi::OsString::from_vec(b"o\xffd set".to_vec());
    fs::rename(place.path("set"), place.path(".").join(&odd)).unwrap();
    let train = format!("dcgan train {SMALL} --images 16");
    let out = "--out $'my r\\xfens'";
    let outcome = place.shell(&format!("{train} $'o\\xffd set' {out}")).ok();
    let (_, command) = outcome.stderr.trim().rsplit_once("make images with: ").unwrap();
    place.shell(&format!("{command} --seeds 0 --grid $'g\\xff.png' --device cpu")).ok();
    let resume = command.replace("dcgan sample", "dcgan train --resume");
    // Where the images are is remembered.
    place.shell(&format!("{resume} --images 32")).ok();
    assert!(names_of(&place.path(".")).contains(&b"g\xff.png".to_vec()));

    let outcome = place.shell(&format!("{train} --out 'my runs; echo'")).ok();
    let (_, command) = outcome.stderr.trim().rsplit_once("make images with: ").unwrap();
    assert!(command.starts_with("dcgan sample 'my runs; echo/"), "{command}");
    place.shell(&format!("{command} --seeds 0 --grid g.png --device cpu")).ok();
}

#[cfg(target_os = "linux")]
fn names_of(folder: &Path) -> Vec<Vec<u8>> {
    use std::os::unix::ffi::OsStringExt as _;
    fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_vec()).collect()
}

/// What a training can do without is a warning. A folder in the place of a file stands for a disk
/// that is full.
#[test]
fn previews_plots_films_and_logs_that_cannot_be_written_are_warnings() {
    let place = Place::new();
    let run = place.train("runs", &[CPU, &["--images", "80", "--preview-every", "40"]]);
    let lost = ["fakes-000000120.png", "losses.png", "timelapse.gif", "log.jsonl", "reals.png"];
    for name in lost {
        let _ = fs::remove_file(run.join(name));
        fs::create_dir(run.join(name)).unwrap();
        fs::write(run.join(name).join("full"), "").unwrap();
    }
    let log = run.join("log.jsonl");
    fs::remove_dir_all(&log).unwrap();
    let resume = ["train", "--resume", run.to_str().unwrap(), "--images", "160"];
    let outcome = place.dcgan(&[&resume, &["--report-every", "8"]]).ok();
    for name in ["fakes-000000120.png", "losses.png", "timelapse.gif"] {
        let warnings =
            outcome.stderr.lines().filter(|l| l.starts_with("warning: ") && l.contains(name));
        assert!(warnings.count() > 0, "{name}: {}", outcome.stderr);
    }
    assert!(outcome.stderr.contains("; the training goes on without it"), "{}", outcome.stderr);
    assert_eq!(ModelFile::load(&latest(&run)).unwrap().step, 20);
    assert!(run.join("fakes-000000160.png").exists(), "the next preview");

    // Only a checkpoint ends it.
    fs::create_dir_all(run.join("checkpoint-000000200.safetensors/full")).unwrap();
    let resume = ["train", "--resume", run.to_str().unwrap(), "--images", "240"];
    let outcome = place.dcgan(&[&resume, &["--save-every", "40"]]);
    outcome.refused(1, &["checkpoint-000000200", "cannot be written", "go on from it with dcgan"]);
    assert_eq!(ModelFile::load(&latest(&run)).unwrap().step, 20);
}

/// A limit on files ends no training without a word, and leaves nothing half made.
#[cfg(unix)]
#[test]
fn a_limit_on_the_size_of_files_is_an_error_like_a_full_disk() {
    let place = Place::new();
    let outcome = place.shell(&format!("ulimit -f 100; dcgan train --images 16 --out a {SMALL}"));
    assert_eq!(outcome.code, Some(1), "{outcome:#?}");
    assert!(outcome.stderr.contains("larger than this process may make files"), "{outcome:#?}");
    let left = names(&place.only_run("a"));
    assert!(!left.iter().any(|name| name.ends_with(".tmp")), "{left:?}");
}

/// More threads than a computer can have are not asked for.
#[cfg(unix)]
#[test]
fn a_number_of_threads_without_sense_is_lowered() {
    let place = Place::new();
    let train = format!("dcgan train --images 16 --out a {SMALL}");
    place.shell(&format!("RAYON_NUM_THREADS=100000 {train}")).ok();
}
