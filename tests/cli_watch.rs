//! Watching a training: its log as a table, CSV and JSON, `report.html`, `dcgan compare`, and
//! TensorBoard's event files; in a real browser and by the real TensorBoard where they are installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use dcgan::train::Folder;
use serde_json::Value;

use crate::cli::{Place, names};
use crate::cli_conditional::labeled;
use crate::support::skipped;

const CPU: &[&str] = &["--device", "cpu", "--batch", "8"];

/// A program that a test can do without: the one that `variable` names, else the first of `names`
/// that `works`.
fn program(variable: &str, names: &[&str], works: impl Fn(&str) -> bool) -> Option<String> {
    let named = std::env::var(variable).ok();
    let is_named = named.is_some();
    let mut all = named.into_iter().chain(names.iter().map(|&name| name.to_owned()));
    let found = all.find(|name| works(name));
    if found.is_none() {
        assert!(!is_named, "{variable} names no program that works");
        skipped(&format!(
            "SKIPPED in part, as there is none of {names:?}: {variable}=PATH names it"
        ));
    }
    found
}

fn runs(command: &str, words: &[&str]) -> bool {
    Command::new(command).args(words).output().is_ok_and(|output| output.status.success())
}

/// A browser without a window, if there is one.
pub(crate) fn browser() -> Option<String> {
    let names = ["chromium", "chromium-browser", "google-chrome", "chrome"];
    program("DCGAN_TEST_BROWSER", &names, |name| runs(name, &["--version"]))
}

/// What a browser makes of a page after its scripts have run, and an image of it, `width` wide.
fn browse(browser: &str, place: &Place, page: &Path, width: u32) -> (String, image::RgbImage) {
    let shot = place.path("shot.png");
    let _ = fs::remove_file(&shot);
    let url = format!("file://{}", fs::canonicalize(page).unwrap().display());
    let common = [
        "--headless".to_owned(),
        "--no-sandbox".into(),
        "--disable-gpu".into(),
        "--no-first-run".into(),
        "--hide-scrollbars".into(),
        "--disable-background-networking".into(),
        "--disable-component-update".into(),
        format!("--user-data-dir={}", place.path("profile").display()),
        format!("--window-size={width},1600"),
    ];
    let ask = |last: String| {
        let output =
            Command::new(browser).args(&common).args([last, url.clone()]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let page = ask("--dump-dom".into());
    ask(format!("--screenshot={}", shot.display()));
    if let Some(keep) = std::env::var_os("DCGAN_TEST_KEEP") {
        fs::copy(&shot, Path::new(&keep).join(format!("page-{width}.png"))).unwrap();
    }
    (page, image::open(&shot).unwrap().into_rgb8())
}

#[test]
fn a_log_is_a_table_csv_or_json() {
    let place = Place::new();
    let run = place.train("runs", &[CPU, &["--images", "160", "--report-every", "16"]]);
    let run = run.to_str().unwrap();
    let table = place.dcgan(&[&["log", run]]).ok().stdout;
    let row = |name: &str| {
        let row = table.lines().find(|line| line.starts_with(name)).unwrap();
        row.split_whitespace().skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(row("images"), ["32", "64", "96", "128", "160"]);
    assert_eq!(row("step"), ["4", "8", "12", "16", "20"]);
    let log = Folder::open(Path::new(run)).unwrap().log().unwrap();
    let mean = (log[0].value("loss_d") + log[1].value("loss_d")) / 2.0;
    let shown: f32 = row("loss_d")[0].parse().unwrap();
    assert!((shown / mean - 1.0).abs() < 1e-3, "{shown} and {mean}");

    let csv = place.dcgan(&[&["log", run, "--csv"]]).ok().stdout;
    let mut lines = csv.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let head = lines.next().unwrap();
    assert_eq!(head[..5], ["step", "images", "epoch", "seconds", "images_per_s"]);
    let lines: Vec<_> = lines.collect();
    assert_eq!(lines.len(), 10);
    let column = head.iter().position(|name| *name == "loss_d").unwrap();
    for (cells, line) in lines.iter().zip(&log) {
        assert_eq!(cells.len(), head.len());
        assert_eq!(cells[column].parse::<f32>().unwrap(), line.value("loss_d"));
    }

    let json = place.dcgan(&[&["log", run, "--json"]]).ok().stdout;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["reports"][9]["step"], &json["scores"]), (&20.into(), &Value::Array(vec![])));

    // Everything that can be asked wrongly.
    place.dcgan(&[&["log", run, "--csv", "--json"]]).refused(2, &["--csv", "--json"]);
    place.dcgan(&[&["log", "runs"]]).refused(1, &["runs", "name one of the folders in it"]);
    fs::write(Path::new(run).join("scores.json"), "no scores").unwrap();
    place.dcgan(&[&["log", run, "--json"]]).refused(1, &["scores.json", "is not a list of scores"]);
    fs::remove_file(Path::new(run).join("log.jsonl")).unwrap();
    place.dcgan(&[&["log", run]]).refused(1, &["log.jsonl", "there are no reports in it yet"]);
}

#[test]
fn the_report_follows_a_training_and_opens_in_a_browser() {
    let place = Place::new();
    labeled(&place, 8);
    // The class's name is a folder's, so anything.
    fs::rename(place.path("set/train/dark"), place.path("set/train/<i>dark")).unwrap();
    let flags = ["set/train", "--conditional", "--images", "160", "--preview-every", "40"];
    let words = ["--name", "a'b <script>c", "--report-every", "8"];
    let run = place.train("runs", &[&flags, &words, CPU, &["--ema", "0"]]);
    let page = run.join("report.html");
    let text = fs::read_to_string(&page).unwrap();
    let previews = Folder::open(&run).unwrap().fakes().unwrap();
    // And the real images.
    assert_eq!(text.matches("<img src=\"data:image/").count(), previews.len() + 1);
    assert!(text.contains(">done<") && text.contains("--images 320"), "{text:.2000}");
    assert!(text.contains("&lt;i&gt;dark") && !text.contains("<i>dark"));

    // Resumed, it goes on.
    let name = run.to_str().unwrap();
    place.dcgan(&[&["train", "--resume", name, "--images", "240"]]).ok();
    let text = fs::read_to_string(&page).unwrap();
    let all = Folder::open(&run).unwrap().fakes().unwrap();
    assert!(all.len() > previews.len());
    assert_eq!(text.matches("<img src=\"data:image/").count(), all.len() + 1);

    let Some(browser) = browser() else { return };
    for width in [1200, 500] {
        let (dom, shot) = browse(&browser, &place, &page, width);
        // The scripts have run: the slider says which preview is shown, and only that is.
        assert!(dom.contains("<output>240 images</output>"), "{}", dom.len());
        let shown = dom.split("<img").skip(1).filter(|image| {
            let tag = image.split('>').next().unwrap();
            !tag.contains("alt=\"real images") && !tag.contains("hidden")
        });
        assert_eq!(shown.count(), 1);
        assert_eq!(shot.width(), width);
        // Images are drawn: many colors.
        let colors: std::collections::BTreeSet<[u8; 3]> = shot.pixels().map(|p| p.0).collect();
        assert!(colors.len() > 1000, "{} colors", colors.len());
    }
}

/// A folder in the place of a file stands for a disk that is full.
#[test]
fn a_report_or_events_that_cannot_be_written_are_warnings() {
    let place = Place::new();
    let run = place.train("runs", &[CPU, &["--images", "40"]]);
    fs::remove_file(run.join("report.html")).unwrap();
    fs::create_dir_all(run.join("report.html/full")).unwrap();
    let resume = ["train", "--resume", run.to_str().unwrap(), "--images", "80"];
    let outcome = place.dcgan(&[&resume]).ok();
    let is_warning = |line: &str| {
        line.starts_with("warning: ")
            && line.contains("report.html")
            && line.ends_with("the training goes on without it")
    };
    assert!(outcome.stderr.lines().any(is_warning), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("done; make images with"));
}

/// What the real reader finds in a folder of events.
const READER: &str = r#"
import json, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata
events = EventAccumulator(sys.argv[1], size_guidance={"scalars": 0, "images": 0, "tensors": 0})
events.Reload()
tags = events.Tags()
start = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
start = metadata.parse_session_start_info_plugin_data(start)
print(json.dumps({
    "scalars": {tag: [[e.step, e.value] for e in events.Scalars(tag)] for tag in tags["scalars"]},
    "images": {tag: [[e.step, e.width, e.height, len(e.encoded_image_string), e.encoded_image_string[:4].hex()]
        for e in events.Images(tag)] for tag in tags["images"]},
    "text": [e.tensor_proto.string_val[0].decode() for e in events.Tensors("options/text_summary")],
    "hparams": {k: v.number_value if v.HasField("number_value") else v.bool_value if v.HasField("bool_value")
        else v.string_value for k, v in start.hparams.items()},
}))
"#;

#[test]
fn tensorboard_reads_what_a_resumed_run_wrote() {
    let place = Place::new();
    let flags = ["--images", "80", "--report-every", "8", "--save-every", "40", "--keep", "9"];
    let run = place.train("runs", &[CPU, &flags, &["--preview-every", "40", "--tensorboard"]]);
    let events = |run: &Path| -> Vec<PathBuf> {
        let all = names(run).into_iter().filter(|name| name.contains("tfevents"));
        all.map(|name| run.join(name)).collect()
    };
    let first = fs::read(&events(&run)[0]).unwrap();
    // As if it had been killed after its first checkpoint, in the middle of an event.
    let checkpoint = "checkpoint-000000040.safetensors";
    fs::write(run.join("latest"), format!("{checkpoint}\n")).unwrap();
    fs::remove_file(run.join("checkpoint-000000080.safetensors")).unwrap();
    fs::write(&events(&run)[0], &first[..first.len() - 5]).unwrap();
    // It is remembered that events are wanted.
    place.dcgan(&[&["train", "--resume", run.to_str().unwrap(), "--images", "120"]]).ok();
    assert_eq!(events(&run).len(), 2, "a new file for each session");
    let log = Folder::open(&run).unwrap().log().unwrap();
    assert_eq!(log.iter().map(|line| line.step).collect::<Vec<_>>(), Vec::from_iter(1..=15));

    let has_tensorboard = |name: &str| runs(name, &["-c", "import tensorboard"]);
    let Some(python) = program("DCGAN_TEST_PYTHON", &["python3"], has_tensorboard) else { return };
    let mut command = Command::new(&python);
    command.env("TF_CPP_MIN_LOG_LEVEL", "3").args(["-c", READER]).arg(&run);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    for (tag, name) in [
        ("loss/loss_d", "loss_d"),
        ("grad_norm/grad_norm_g", "grad_norm_g"),
        ("metric/d_real", "d_real"),
        ("run/images", "images"),
        ("run/images_per_s", "images_per_s"),
    ] {
        let wanted: Vec<(u64, f32)> =
            log.iter().map(|line| (line.step, line.number(name).unwrap() as f32)).collect();
        let read: Vec<(u64, f64)> = serde_json::from_value(found["scalars"][tag].clone()).unwrap();
        let read: Vec<(u64, f32)> = read.into_iter().map(|(step, v)| (step, v as f32)).collect();
        assert_eq!(read, wanted, "{tag}");
    }
    let images = found["images"]["previews/image/0"].as_array().unwrap();
    let steps: Vec<u64> = images.iter().map(|image| image[0].as_u64().unwrap()).collect();
    assert_eq!(steps, [0, 5, 10, 15]);
    for (image, (_, path)) in images.iter().zip(Folder::open(&run).unwrap().fakes().unwrap()) {
        let (width, height) = image::image_dimensions(&path).unwrap();
        let bytes = fs::metadata(&path).unwrap().len();
        let wanted = serde_json::json!([image[0], width, height, bytes, "89504e47"]);
        assert_eq!(*image, wanted);
    }
    let text = found["text"][0].as_str().unwrap();
    assert!(text.contains("| --batch | 8 |") && text.contains("| --flip | false |"), "{text}");
    assert_eq!(found["hparams"]["--batch"], 8.0);
    assert_eq!(found["hparams"]["--flip"], false);
    assert_eq!(found["hparams"]["--loss"], "non-saturating");
}

#[test]
fn runs_are_compared_by_options_metrics_scores_and_seeds() {
    let place = Place::new();
    let one =
        place.train("one", &[CPU, &["--preset", "dcgan", "--images", "80", "--report-every", "8"]]);
    let flags = ["--images", "40", "--report-every", "8", "--preset", "hinge", "--name", "x <b>y"];
    let two = place.train("two", &[CPU, &flags]);
    let score = |value: f64, protocol: &str| {
        serde_json::json!([
            {"date": "2026-11-27", "checkpoint": "c", "metrics": {"swd-raw": 99.0}},
            {"date": "2026-11-28", "checkpoint": "c", "metrics": {"swd-raw": value},
             "protocols": {"swd-raw": protocol}},
        ])
    };
    fs::write(one.join("scores.json"), score(11.25, "10k, seed 0").to_string()).unwrap();
    fs::write(two.join("scores.json"), score(9.5, "1k, seed 0").to_string()).unwrap();
    let words = [one.to_str().unwrap(), two.to_str().unwrap(), "--device", "cpu"];
    let outcome = place.dcgan(&[&["compare"], &words, &["--seeds", "3,5-9"]]).ok();
    let row = |name: &str| {
        let row = outcome.stdout.lines().find(|line| line.starts_with(name));
        let row = row.unwrap_or_else(|| panic!("no {name} in {}", outcome.stdout));
        row.split_whitespace().skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(
        (row("images "), row("step")),
        (vec!["80".into(), "40".into()], vec!["10".into(), "5".into()])
    );
    assert_eq!(row("swd-raw"), ["11.25", "9.5"]);
    assert_eq!(row("--loss"), ["non-saturating", "hinge"]);
    assert!(!outcome.stdout.contains("--ngf") && outcome.stdout.contains("compare.html"));

    let page = fs::read_to_string(place.path("compare.html")).unwrap();
    assert_eq!(page.matches("<img src=\"data:image/").count(), 2);
    assert!(page.contains("x-b-y") && page.contains("10k, seed 0") && page.contains("1k, seed 0"));
    assert!(page.contains("Seeds 3, 5-9") && page.contains("Loss of the discriminator"));
    assert!(!page.contains("http:") && !page.contains("https:"));
    // The same seeds give the images of `dcgan sample`.
    let json = place.dcgan(&[&["compare", "--json", "--out", "b.html"], &words]).ok();
    let json: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json["scores"][0]["values"], serde_json::json!([11.25, 9.5]));
    assert_eq!(json["runs"].as_array().unwrap().len(), 2);
    assert_eq!(json["page"], "b.html");

    // A run that has no checkpoint yet is compared by its numbers.
    for name in names(&two).into_iter().filter(|name| name.starts_with("checkpoint")) {
        fs::remove_file(two.join(name)).unwrap();
    }
    let outcome = place.dcgan(&[&["compare"], &words]).ok();
    assert!(outcome.stderr.contains("warning: no samples of"), "{}", outcome.stderr);
    let page = fs::read_to_string(place.path("compare.html")).unwrap();
    assert_eq!(page.matches("<img src=\"data:image/").count(), 1);

    place.dcgan(&[&["compare", words[0]]]).refused(2, &["RUN"]);
    place.dcgan(&[&["compare"], &words, &["--out", "a.png"]]).refused(2, &["--out", ".html"]);
    place
        .dcgan(&[&["compare", words[0], "nowhere"]])
        .refused(1, &["nowhere", "no such run folder"]);
    place.dcgan(&[&["compare"], &words, &["--seeds", "0-999"]]).refused(2, &["--seeds", "256"]);
}
