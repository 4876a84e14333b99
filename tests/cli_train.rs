//! `dcgan train`: what a run leaves on disk, and that one which was stopped or killed and resumed
//! gives the same bits as one that never stopped.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use dcgan::device::Device;
use dcgan::models::Size;
use dcgan::models::{Architecture, ModelConfig};
use dcgan::program::Options;
use dcgan::tensor::Tensor;
use dcgan::train::{Folder, ModelFile, TrainConfig, Trainer};
use image::AnimationDecoder as _;
use image::codecs::gif::GifDecoder;

use crate::cli::{Place, assert_same, latest, names};
use crate::support::{devices, gpu, gpu_selection};

const CPU: &[&str] = &["--device", "cpu", "--batch", "8"];

#[test]
fn a_run_leaves_what_the_readme_lists() {
    let place = Place::new();
    let words = ["train", "--images", "400", "--report-every", "80"];
    let outcome = place.dcgan(&[&words, crate::cli::TINY, CPU]).ok();
    let run = place.only_run("runs");
    assert_eq!(run.file_name().unwrap(), "00000-fast-avatars-16");
    assert_eq!(
        names(&run),
        [
            "checkpoint-000000400.safetensors",
            "fakes-000000000.png",
            "fakes-000000400.png",
            "latest",
            "lock",
            "log.jsonl",
            "losses.png",
            "options.json",
            "reals.png",
            "report.html",
            "timelapse.gif",
        ]
    );
    assert_eq!(ModelFile::load(&latest(&run)).unwrap().step, 50);
    // 64 images of 16 x 16, 8 in a row.
    for name in ["reals.png", "fakes-000000000.png", "fakes-000000400.png"] {
        let image = image::open(run.join(name)).unwrap();
        assert!(image.width() >= 128 && image.height() == image.width(), "{name}");
    }
    image::open(run.join("losses.png")).unwrap();
    let gif = fs::File::open(run.join("timelapse.gif")).unwrap();
    let gif = GifDecoder::new(std::io::BufReader::new(gif)).unwrap();
    assert_eq!(gif.into_frames().count(), 2);

    let options: serde_json::Value =
        serde_json::from_slice(&fs::read(run.join("options.json")).unwrap()).unwrap();
    assert_eq!(options["recipe"]["batch"], 8);
    assert_eq!(options["recipe"]["model"]["nz"], 8);
    assert_eq!(options["images"], 400);
    assert_eq!(options["program"], format!("dcgan {}", env!("CARGO_PKG_VERSION")));

    let log = Folder::open(&run).unwrap().log().unwrap();
    let steps: Vec<_> = log.iter().map(|line| (line.step, line.images)).collect();
    assert_eq!(steps, [(10, 80), (20, 160), (30, 240), (40, 320), (50, 400)]);
    assert!(log.iter().all(|line| line.images_per_s > 0.0 && line.value("loss_d") > 0.0));
    assert!(log.iter().all(|line| (0.0..=1.0).contains(&line.waiting.unwrap())), "{log:?}");

    // stderr is no terminal: plain lines, no control codes.
    assert!(!outcome.stderr.contains(['\x1b', '\r']), "{}", outcome.stderr);
    let reports = outcome.stderr.lines().filter(|line| line.contains(" images  ")).count();
    assert_eq!(reports, 5, "{}", outcome.stderr);
    assert!(outcome.stderr.contains("done; make images with: dcgan sample runs"));
    assert!(outcome.stdout.is_empty(), "{}", outcome.stdout);
}

#[test]
fn a_report_of_every_step_has_that_steps_numbers() {
    let gpu = gpu_selection();
    for device in [Some("cpu"), gpu.as_deref()].into_iter().flatten() {
        let place = Place::new();
        let log = |out: &str, every: &str| {
            let words = ["--device", device, "--batch", "4", "--images", "24"];
            let run = place.train(out, &[&words, &["--report-every", every]]);
            Folder::open(&run).unwrap().log().unwrap()
        };
        let each = log("each", "4");
        assert_eq!(each.iter().map(|line| line.step).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
        for line in &each {
            assert!(
                ["loss_d", "d_real", "grad_norm_g"].iter().all(|name| line.value(name) > 0.0),
                "{line:?}"
            );
        }
        let mean = each.iter().map(|line| line.value("loss_d")).sum::<f32>() / 6.0;
        let all = log("all", "24");
        assert!(
            (all[0].value("loss_d") / mean - 1.0).abs() < 1e-5,
            "{} and {mean}",
            all[0].value("loss_d")
        );
    }
}

#[test]
fn a_dry_run_writes_nothing_and_shows_the_options() {
    let place = Place::new();
    let outcome = place.dcgan(&[&["train", "--dry-run", "--explain"], crate::cli::TINY, CPU]).ok();
    let options: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(options["recipe"]["model"]["ngf"], 8);
    assert!(outcome.stderr.contains("planned"), "{}", outcome.stderr);
    assert!(place.runs("runs").is_empty() && !place.path("runs").exists());
}

#[test]
fn a_run_inside_of_its_own_images_is_resumed() {
    let place = Place::new();
    place.images("set", 16);
    let words = ["train", "set", "--out", "set/runs", "--images", "16"];
    place.dcgan(&[&words, crate::cli::TINY, CPU]).ok();
    let run = place.only_run("set/runs");
    place.dcgan(&[&["train", "--resume", run.to_str().unwrap(), "--images", "32"]]).ok();
    assert_eq!(ModelFile::load(&latest(&run)).unwrap().step, 4);
    place.dcgan(&[&["train", run.to_str().unwrap()]]).refused(1, &["is a run", "--resume"]);
}

#[test]
fn more_images_go_on_where_fewer_ended_on_every_device() {
    let gpu = gpu_selection();
    let devices = [Some("cpu"), gpu.as_deref()];
    for (at, device) in devices.into_iter().flatten().enumerate() {
        let place = Place::new();
        place.images("set", 20);
        let small: &[&str] = &["set", "--device", device, "--size", "8", "--batch", "4", "--flip"];
        // Else the second training would know more about kernels than the first.
        let small = &[small, &["--tune", "off"]].concat()[..];
        let train = |out: &str, images: &str| {
            let words = [&["train", "--out", out, "--images", images], small].concat();
            let nets = ["--ngf", "8", "--ndf", "8", "--nz", "8", "--crop", "random"];
            place.dcgan(&[&words, &nets]).ok();
            place.only_run(out)
        };
        let whole = train("whole", "24");
        let parts = train("parts", "12");
        let path = parts.to_str().unwrap();
        // Without --device: where the run was.
        let outcome = place.dcgan(&[&["train", "--resume", path, "--images", "24"]]).ok();
        assert!(!outcome.stderr.contains("note:"), "{device}: {}", outcome.stderr);
        let model = ModelFile::load(&latest(&parts)).unwrap();
        assert_eq!(model.step, 6, "device {at}");
        assert_same(&latest(&whole), &latest(&parts));
        let last = |run: &Path| fs::read(run.join("fakes-000000024.png")).unwrap();
        assert!(last(&whole) == last(&parts), "{device}: previews differ");
    }
}

/// Flags under which every step of the data's way is by chance.
const CHANCE: &[&str] = &["set", "--flip", "--crop", "random", "--seed", "7"];

#[cfg(unix)]
#[test]
fn ctrl_c_saves_says_how_to_go_on_and_changes_no_bit() {
    let place = Place::new();
    place.images("set", 30);
    let flags: &[&str] = &["--images", "8000", "--report-every", "8"];
    let whole = place.train("whole", &[CHANCE, CPU, flags]);

    let words = [&["train", "--out", "parts"], CHANCE, CPU, flags, crate::cli::TINY].concat();
    let mut running = place.start(&[&words]);
    let run = running.wait_for_log(&place, "parts", 3);
    running.signal("INT");
    let outcome = running.end();
    assert_eq!(outcome.code, Some(130), "{outcome:#?}");
    assert!(outcome.stderr.contains("press Ctrl-C again to quit"), "{}", outcome.stderr);
    let (_, command) = outcome.stderr.rsplit_once("stopped; resume with: dcgan ").unwrap();
    let command: Vec<_> = command.split_whitespace().collect();
    assert_eq!(command, ["train", "--resume", &format!("parts/{}", run_name(&run))]);
    let stopped = ModelFile::load(&latest(&run)).unwrap();
    assert!((1..1000).contains(&stopped.step), "{}", stopped.step);
    assert!(run.join("timelapse.gif").exists());

    place.dcgan(&[&command]).ok();
    assert_same(&latest(&whole), &latest(&run));
    // The log has no line twice and none out of order.
    let log = Folder::open(&run).unwrap().log().unwrap();
    assert!(log.windows(2).all(|w| w[0].step < w[1].step));
    assert_eq!(log.last().unwrap().images, 8000);
}

fn run_name(run: &Path) -> &str {
    run.file_name().unwrap().to_str().unwrap()
}

/// A disk that takes its time: the preview's place is a pipe, which takes nothing until it is read.
#[cfg(unix)]
#[test]
fn training_goes_on_while_files_are_written_and_ctrl_c_waits_for_them() {
    let place = Place::new();
    place.images("set", 30);
    let flags: &[&str] = &["--images", "24000", "--report-every", "8", "--preview-every", "2000"];
    let whole = place.train("whole", &[CHANCE, CPU, flags]);

    let words = [&["train", "--out", "parts"], CHANCE, CPU, flags, crate::cli::TINY].concat();
    let mut running = place.start(&[&words]);
    let run = running.wait_for_log(&place, "parts", 1);
    let pipe = run.join("fakes-000002000.png");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    // 100 steps beyond it.
    running.wait_for_log(&place, "parts", 350);
    running.signal("INT");
    let stderr = place.path("stderr.txt");
    running.wait_for("the answer", || {
        fs::read_to_string(&stderr).ok()?.contains("press Ctrl-C again").then_some(())
    });
    std::thread::sleep(Duration::from_millis(300));
    assert!(running.runs(), "it did not wait for its files");
    // Opened once the other side has: the name is no longer needed, and a pipe is no frame for the
    // timelapse.
    let mut reader = fs::File::open(&pipe).unwrap();
    fs::remove_file(&pipe).unwrap();
    let mut preview = Vec::new();
    reader.read_to_end(&mut preview).unwrap();
    assert_eq!(running.end().code, Some(130));

    assert!(preview == fs::read(whole.join("fakes-000002000.png")).unwrap());
    let stopped = ModelFile::load(&latest(&run)).unwrap();
    let last = Folder::open(&run).unwrap().log().unwrap().pop().unwrap();
    assert_eq!(stopped.step, last.step, "what was done last is not saved");
    assert!(stopped.step < 3000, "it was not interrupted");
    assert!(run.join(format!("fakes-{:09}.png", last.images)).exists());
    place.dcgan(&[&["train", "--resume", run.to_str().unwrap()]]).ok();
    assert_same(&latest(&whole), &latest(&run));
}

#[cfg(unix)]
#[test]
fn a_second_ctrl_c_ends_it_at_once() {
    let place = Place::new();
    // Steps of a second or so.
    let slow = ["--size", "64", "--ngf", "32", "--ndf", "32", "--batch", "256"];
    let mut running = place.start(&[&["train", "--device", "cpu"], &slow]);
    running.wait_for("the first preview", || {
        place.runs("runs").pop()?.join("fakes-000000000.png").exists().then_some(())
    });
    running.signal("INT");
    let stderr = place.path("stderr.txt");
    running.wait_for("the answer", || {
        fs::read_to_string(&stderr).ok()?.contains("press Ctrl-C again").then_some(())
    });
    running.signal("INT");
    let outcome = running.end();
    assert_eq!(outcome.code, Some(130), "{outcome:#?}");
    assert!(!outcome.stderr.contains("stopped; resume"), "{outcome:#?}");
}

#[cfg(unix)]
#[test]
fn kill_9_at_any_moment_changes_no_bit() {
    let place = Place::new();
    place.images("set", 30);
    // A checkpoint after every step: most of the time is spent on writing them.
    let flags: &[&str] = &["--images", "1600", "--report-every", "16", "--save-every", "8"];
    let whole = place.train("whole", &[CHANCE, CPU, flags]);

    let fresh = [&["train", "--out", "parts"], CHANCE, CPU, flags, crate::cli::TINY].concat();
    let mut running = place.start(&[&fresh]);
    let (mut killed, mut half_saved) = (0, 0);
    let run = running.wait_for_log(&place, "parts", 1);
    let path = run.to_str().unwrap().to_owned();
    for delay in [0, 11, 3, 17, 0, 7, 23, 0] {
        let before = fs::read(run.join("latest")).unwrap_or_default();
        // Not before it went on by some steps.
        let moved = |now: Vec<u8>| now != before && !now.is_empty();
        let seen = || fs::read(run.join("latest")).is_ok_and(moved);
        while running.runs() && !seen() {
            std::thread::sleep(Duration::from_micros(300));
        }
        std::thread::sleep(Duration::from_millis(delay));
        let unfinished = || names(&run).iter().any(|name| name.ends_with(".tmp"));
        // With no delay: in the middle of a checkpoint.
        while delay == 0 && running.runs() && !unfinished() {}
        if !running.runs() {
            break;
        }
        running.signal("KILL");
        assert_eq!(running.end().code, None, "it was not killed");
        killed += 1;
        half_saved += usize::from(unfinished());
        ModelFile::load(&latest(&run)).unwrap();
        running = place.start(&[&["train", "--resume", &path]]);
    }
    running.end().ok();
    assert!(killed >= 3, "it was killed only {killed} times");
    println!("killed {killed} times, {half_saved} of them in the middle of a file");
    assert_same(&latest(&whole), &latest(&run));
    assert!(!names(&run).iter().any(|name| name.ends_with(".tmp")), "{:?}", names(&run));
    let images = |run: &Path| -> Vec<u64> {
        Folder::open(run).unwrap().log().unwrap().iter().map(|line| line.images).collect()
    };
    assert_eq!(images(&run), images(&whole));
}

/// The states that a kill can leave, made by hand: they do not hang on the moment.
#[test]
fn what_a_kill_leaves_behind_does_no_harm() {
    let place = Place::new();
    let whole = place.train("whole", &[CPU, &["--images", "160"]]);
    let longer = place.train("longer", &[CPU, &["--images", "240"]]);
    let run = place.train("parts", &[CPU, &["--images", "80", "--report-every", "8"]]);
    let checkpoint = fs::read(latest(&run)).unwrap();
    fs::write(run.join(".dcgan-AbCdEf0123456789.tmp"), &checkpoint[..999]).unwrap();
    // Written, and not yet named in `latest`: here even with a wrong content.
    fs::write(run.join("checkpoint-000000160.safetensors"), &checkpoint).unwrap();
    // Half a line of the log, and lines from beyond the checkpoint.
    let log = fs::read_to_string(run.join("log.jsonl")).unwrap();
    let beyond = fs::read_to_string(longer.join("log.jsonl")).unwrap();
    let half = &log.lines().next().unwrap()[..40];
    fs::write(run.join("log.jsonl"), format!("{log}{beyond}{half}")).unwrap();

    let path = run.to_str().unwrap();
    place.dcgan(&[&["train", "--resume", path, "--images", "160"]]).ok();
    assert_eq!(latest(&run), run.join("checkpoint-000000160.safetensors"));
    assert_same(&latest(&whole), &latest(&run));
    assert!(!names(&run).iter().any(|name| name.ends_with(".tmp")));
    let steps: Vec<_> =
        Folder::open(&run).unwrap().log().unwrap().iter().map(|line| line.step).collect();
    assert_eq!(steps, (1..=20).collect::<Vec<_>>());
}

/// What may become of a file that nobody watches: torn, emptied, one bit of its numbers turned.
fn damages(good: &[u8]) -> [Vec<u8>; 3] {
    let mut turned = good.to_vec();
    let at = good.len() - 64;
    turned[at] ^= 1;
    [good[..good.len() / 2].to_vec(), Vec::new(), turned]
}

#[test]
fn a_lost_or_damaged_newest_checkpoint_leaves_the_one_before() {
    let place = Place::new();
    let flags = ["--images", "160", "--save-every", "80"];
    let run = place.train("runs", &[CPU, &flags]);
    let newest = latest(&run);
    let good = fs::read(&newest).unwrap();
    let path = run.to_str().unwrap();
    let resume = ["train", "--resume", path, "--images", "240"];
    let sample = ["sample", path, "--seeds", "0", "--out", "images", "--device", "cpu"];
    let warning = |outcome: &crate::cli::Outcome| {
        let lines = outcome.stderr.lines().filter(|line| line.starts_with("warning: "));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    for damaged in damages(&good) {
        fs::write(&newest, &damaged).unwrap();
        let before = crate::cli::contents(&run);
        let sampled = place.dcgan(&[&sample]);
        if damaged.len() == good.len() {
            let words = ["checkpoint-000000160", "checkpoint-000000080.safetensors is intact"];
            sampled.refused(1, &words);
        } else {
            let said = warning(&sampled.ok());
            assert_eq!(said.len(), 1, "{said:?}");
            let taken = "earlier checkpoint-000000080.safetensors is loaded";
            for words in ["checkpoint-000000160", taken] {
                assert!(said[0].contains(words), "no {words:?} in {said:?}");
            }
        }
        assert!(crate::cli::contents(&run) == before, "sample changed the run");
        // Named by itself it is refused.
        let named = [&["sample", newest.to_str().unwrap()], &sample[2..]].concat();
        place.dcgan(&[&named]).refused(1, &["checkpoint-000000160"]);
    }
    let outcome = place.dcgan(&[&resume]).ok();
    assert_eq!(warning(&outcome).len(), 1, "{}", outcome.stderr);
    // What was damaged is set aside, and the run is the one that it would have been.
    assert!(run.join("checkpoint-000000160.safetensors.damaged").exists());
    ModelFile::load(&run.join("checkpoint-000000160.safetensors")).unwrap();
    let whole = place.train("whole", &[CPU, &["--images", "240"]]);
    assert_same(&latest(&whole), &latest(&run));
    fs::remove_file(latest(&run)).unwrap();
    assert_eq!(warning(&place.dcgan(&[&sample]).ok()), Vec::<String>::new());
    // None is left.
    for name in crate::cli::names(&run).iter().filter(|name| name.ends_with(".safetensors")) {
        fs::write(run.join(name), "").unwrap();
    }
    let again = ["train", "--resume", path, "--images", "320"];
    place.dcgan(&[&again]).refused(1, &["checkpoint-", "is empty"]);
}

#[test]
fn an_unreadable_image_among_good_ones_is_skipped_and_listed() {
    let place = Place::new();
    place.images("set", 20);
    fs::write(place.path("set/notes.png"), "not an image").unwrap();
    let run = place.path("runs/00000-fast-set-16");
    let words = [&["train", "set", "--images", "48"], crate::cli::TINY, CPU].concat();
    let outcome = place.dcgan(&[&words]).ok();
    assert!(outcome.stderr.contains("1 unreadable image skipped so far"), "{}", outcome.stderr);
    let list = fs::read_to_string(run.join("skipped.txt")).unwrap();
    assert!(list.starts_with("notes.png: ") && list.lines().count() == 1, "{list}");
}

fn config(seed: u64) -> TrainConfig {
    let size = Size { height: 8, width: 8 };
    let model = ModelConfig {
        network: Architecture::Dcgan,
        size,
        channels: 3,
        nz: 8,
        ngf: 8,
        ndf: 8,
        ..ModelConfig::default()
    };
    TrainConfig { batch: 4, seed, ..TrainConfig::new(model) }
}

fn batch(step: u64) -> Vec<u8> {
    (0..4 * 8 * 8 * 3).map(|i: u64| (i * 31 + step * 97) as u8).collect()
}

fn trained(device: &Device, seed: u64) -> BTreeMap<String, Tensor> {
    let mut trainer = Trainer::new(config(seed), device, &Options::default()).unwrap();
    for step in 0..4 {
        trainer.step(batch(step)).unwrap();
    }
    trainer.finish().unwrap();
    trainer.tensors().unwrap()
}

#[test]
fn a_trainer_without_the_command_line_gives_the_same_bits_for_the_same_seed() {
    for device in devices() {
        let (one, two, other) = (trained(&device, 3), trained(&device, 3), trained(&device, 4));
        assert!(one.keys().eq(two.keys()));
        for (name, tensor) in &one {
            assert!(tensor.bytes() == two[name].bytes(), "{name} on {}", device.name());
        }
        let weight = "generator.main.0.weight";
        assert_ne!(one[weight].bytes(), other[weight].bytes());
        // The average is kept by default, and is not the network itself.
        assert_ne!(one[weight].bytes(), one[&format!("ema.{weight}")].bytes());
    }
}

#[test]
fn after_the_second_step_nothing_is_made_on_the_gpu_and_a_step_is_one_upload() {
    let Some(gpu) = gpu() else { return };
    let mut trainer =
        Trainer::new(config(0), &Device::Gpu(gpu.clone()), &Options::default()).unwrap();
    for step in 0..2 {
        trainer.step(batch(step)).unwrap();
    }
    let before = (gpu.creations(), gpu.allocated_bytes());
    assert!(before.0 > 0 && before.1 > 0);
    for step in 2..8 {
        let uploads = gpu.uploads();
        trainer.step(batch(step)).unwrap();
        assert_eq!(gpu.uploads() - uploads, 1, "in step {step}");
    }
    assert_eq!((gpu.creations(), gpu.allocated_bytes()), before);
}

/// The resident memory of a process in bytes.
#[cfg(target_os = "linux")]
fn resident(id: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}

#[cfg(target_os = "linux")]
#[test]
fn memory_stays_flat_over_hundreds_of_steps() {
    let place = Place::new();
    place.images("set", 40);
    let flags = ["--images", "1M", "--report-every", "80", "--save-every", "4000"];
    let out = ["train", "--out", "runs", "set", "--preview-every", "1M"];
    let mut running = place.start(&[&out, &flags, CPU, crate::cli::TINY]);
    // After two checkpoints, whose copies of the state leave memory behind for the next ones.
    running.wait_for_log(&place, "runs", 110);
    let id = running.id();
    let warm = resident(id).unwrap();
    running.wait_for_log(&place, "runs", 190);
    let later = resident(id).unwrap();
    // 800 steps further: 2 MiB are less than 3 KiB a step.
    let allowed = (warm / 50).max(2 << 20);
    assert!(later <= warm + allowed, "{warm} bytes became {later}");
}
