//! Folders, files and names that someone else made: nothing outside of a run's folder is written
//! through links in it, and no escape code in a name reaches a terminal.

#[cfg(unix)]
use std::fs;
#[cfg(unix)]
use std::os::unix::fs::symlink;

#[cfg(unix)]
use crate::cli::{Place, TINY};

#[cfg(unix)]
const CPU: &[&str] = &["--device", "cpu", "--batch", "8"];

/// `tar` keeps links, so a run's folder may hold any.
#[cfg(unix)]
#[test]
fn resuming_a_strangers_run_writes_nothing_outside_of_it() {
    let place = Place::new();
    place.images("set", 20);
    fs::write(place.path("set/bad.png"), "not an image").unwrap();
    let flags = ["set", "--images", "80", "--save-every", "40", "--report-every", "8"];
    let run = place.train("runs", &[&flags, CPU]);
    let thesis = "my thesis\n".repeat(100);
    fs::write(place.path("thesis"), &thesis).unwrap();
    let files = [
        "lock",
        "log.jsonl",
        "losses.png",
        "reals.png",
        "report.html",
        "timelapse.gif",
        "skipped.txt",
        "fakes-000000160.png",
        "checkpoint-000000120.safetensors",
        "latest",
    ];
    for name in files {
        for is_hard in [false, true] {
            place.shell(&format!("rm -rf case; cp -r '{}' case; rm -f case/{name}", run.display()));
            let link = place.path("case").join(name);
            match is_hard {
                true => fs::hard_link(place.path("thesis"), &link).unwrap(),
                false => symlink("../thesis", &link).unwrap(),
            }
            let outcome = place.dcgan(&[&["train", "--resume", "case", "--images", "160"]]);
            assert_eq!(fs::read_to_string(place.path("thesis")).unwrap(), thesis, "{name}");
            match name {
                "lock" => _ = outcome.refused(1, &["lock", "delete this link first"]),
                _ => _ = outcome.ok(),
            }
        }
    }
    // A link to nothing makes no file where it leads.
    place.shell(&format!("rm -rf case; cp -r '{}' case", run.display()));
    for name in ["fakes-000000160.png", "checkpoint-000000160.safetensors"] {
        symlink(format!("../new-{name}"), place.path("case").join(name)).unwrap();
    }
    place.dcgan(&[&["train", "--resume", "case", "--images", "160"]]).ok();
    assert!(!place.shell("ls").stdout.contains("new-"));
    // Nor do other commands follow links in it.
    symlink("../thesis", place.path("case/grid.png")).unwrap();
    let sample = ["sample", "case", "--seeds", "0", "--device", "cpu", "--grid", "case/grid.png"];
    place.dcgan(&[&sample]).ok();
    assert_eq!(fs::read_to_string(place.path("thesis")).unwrap(), thesis);
}

/// The escape codes that set a title and a color, and a mark that turns what follows around.
#[cfg(unix)]
const EVIL: &str = "\u{1b}]0;PWNED\u{7}\u{1b}[31m\u{202e}";

#[cfg(unix)]
#[test]
fn names_cannot_talk_to_the_terminal() {
    let place = Place::new();
    let check = |words: &[&[&str]]| {
        let outcome = place.dcgan(words);
        let said = format!("{}{}", outcome.stdout, outcome.stderr);
        assert!(said.contains("PWNED"), "the name is not said: {outcome:#?}");
        assert!(!said.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{words:?}: {outcome:#?}");
        assert!(said.contains(r"u{1b}") || said.contains(r"\u001b"), "{outcome:#?}");
    };
    for class in ["a", "b"] {
        let name = format!("set/{class}{EVIL}");
        place.images(&name, 10);
        fs::write(place.path(&name).join(format!("{EVIL}.png")), "no image").unwrap();
    }
    let train: &[&str] = &["--conditional", "--images", "16"];
    check(&[&["data", "set", "--size", "16"]]);
    check(&[&["data", "set", "--size", "16", "--json"]]);
    let outcome = place.dcgan(&[&["train", "set"], train, TINY, CPU]).ok();
    assert!(!outcome.stderr.contains('\u{1b}'), "{outcome:#?}");
    let run = place.only_run("runs");
    let run = run.to_str().unwrap();
    check(&[&["train", "set", "--dry-run"], train, TINY, CPU]);
    check(&[&["sample", run, "--class", "nothing", "--device", "cpu"]]);
    check(&[&["sample", EVIL, "--device", "cpu"]]);
    // Of clap, which writes its own messages.
    check(&[&["sample", run, "--seeds", EVIL]]);
    check(&[&["presets", EVIL]]);
    // Names of tensors and of what marks are of.
    let evil = EVIL.replace('\u{1b}', r"\u001b").replace('\u{7}', r"\u0007");
    let tensor = |at: [u32; 2], shape: &str| {
        format!(r#"{{"dtype":"F32","shape":{shape},"data_offsets":{at:?}}}"#)
    };
    let (odd, plain) = (tensor([0, 4], "[1]"), tensor([4, 8], "[1,1,1,1]"));
    let header = format!(r#"{{"{evil}.weight":{odd},"a.weight":{plain}}}"#);
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend([0; 8]);
    fs::write(place.path("x.safetensors"), file).unwrap();
    check(&[&["import", "x.safetensors", "--out", "y.safetensors"]]);
    let plain = place.train("plain", &[CPU, &["--images", "16"]]);
    let plain = plain.to_str().unwrap();
    let marks = format!(r#"{{"model":"{evil}","boxes":{{"{evil}":[[1,1,4,4]]}}}}"#);
    fs::write(place.path("marks.json"), marks).unwrap();
    check(&[&["forget", plain, "--mark", "marks.json", "--device", "cpu"]]);
}
