//! Training as the GAN family does it, from the command line: every preset and every loss trains,
//! samples, and goes on to the last bit where it stopped.

use std::fs;
use std::path::Path;

use clap::ValueEnum;
use dcgan::device::{Device, State};
use dcgan::model::{Folder, ModelFile, Role};
use dcgan::objectives::{Loss, Output, Penalty};
use dcgan::program::{Options, Program};
use dcgan::tape::Tape;
use dcgan::testing;
use dcgan::train::{LogLine, TrainConfig};

use crate::cli::{Place, TINY, assert_same, contents, latest};
use crate::cli_ss_gan::normals;

/// The names of all presets, as the program lists them.
fn presets(place: &Place) -> Vec<String> {
    let listed = place.dcgan(&[&["presets"]]).ok().stdout;
    listed.lines().filter_map(|line| line.split_whitespace().next()).map(String::from).collect()
}

/// The metrics that a training logged; all are finite.
fn log(run: &Path) -> Vec<LogLine> {
    let log = Folder::open(run).unwrap().log().unwrap();
    let has_discriminator =
        ModelFile::load(&latest(run)).unwrap().networks.has(Role::Discriminator);
    for line in &log {
        // Gradients may be 0: of a discriminator that wins by a hinge's margin, or of networks as
        // narrow as these whose ReLUs are all closed.
        let needed: &[&str] = match has_discriminator {
            _ if ["encoder", "fcn"].contains(&line.stage.as_deref().unwrap_or_default()) => {
                &["grad_norm_class", "loss_class"]
            }
            _ if line.stage.as_deref() == Some("structure") => {
                &["grad_norm_dn", "grad_norm_gn", "loss_dn"]
            }
            _ if line.stage.as_deref() == Some("g1") => {
                &["grad_norm_d1", "grad_norm_g1", "loss_d1"]
            }
            _ if line.stage.as_deref() == Some("stage1") => {
                &["grad_norm_stage1_discriminator", "grad_norm_stage1_generator", "loss_d", "kl"]
            }
            true => &["grad_norm_d", "grad_norm_g", "loss_d", "loss_g", "d_real", "d_fake"],
            false => &["grad_norm_e", "grad_norm_g", "loss_e"],
        };
        assert!(needed.iter().all(|name| line.metrics.get(name).is_some()), "{line:?}");
        assert_eq!(line.metrics.non_finite(), None, "{line:?}");
    }
    log
}

/// Steps of a preset's training, and those after which it is resumed in a copy of its folder.
const STEPS: u64 = 200;
const RESUMED: u64 = 150;

/// Writes captions for the images of these folders, for presets that need some.
fn caption(set: &Path, folders: &[&str], count: u8) {
    let line = |folder: &&str, i: u8| format!("{folder}/{i:03}.png\tan image on the {folder}\n");
    let lines = folders.iter().flat_map(|folder| (0..count).map(move |i| line(folder, i)));
    fs::write(set.join("captions.txt"), lines.collect::<String>()).unwrap();
}

/// Trains every second preset, from the first or the second on.
fn train_presets(from: usize) {
    let place = Place::new();
    place.images("set/left", 20);
    place.images("set/right", 20);
    caption(&place.path("set"), &["left", "right"], 20);
    normals(&place, "set/left", 20);
    normals(&place, "set/right", 20);
    let names = presets(&place);
    assert!(names.len() > 15, "{names:?}");
    for name in names.iter().skip(from).step_by(2) {
        let words = ["set", "--device", "cpu", "--batch", "4", "--preset", name, "--seed", "3"];
        // Its own height is larger than these images.
        let attends = place.dcgan(&[&["presets", name]]).ok().stdout.contains("--attention");
        let attention: &[&str] = if attends { &["--attention", "8"] } else { &[] };
        // Nor do its codes fit such latents.
        let codes: &[&str] = if name == "infogan" { &["--codes", "3+2"] } else { &[] };
        // A quarter of the steps for each of its stages.
        let stages: &[&str] = match name.as_str() {
            "lapgan" => &["--stage-images", "8=240,16=240"],
            "stacked" => &["--stage-images", "encoder=200,g1=200,g0=200,joint=200"],
            "stackgan" => &["--stage-images", "stage1=400,stage2=400"],
            "ss-gan" => &["--stage-images", "structure=200,fcn=200,style=200,joint=200"],
            _ => &[],
        };
        let small = [&words, attention, codes, stages, TINY].concat();
        let stdout = place.dcgan(&[&["train", "--dry-run"], &small]).ok().stdout;
        let options: serde_json::Value = serde_json::from_str(&stdout).unwrap();
        let of_step = 4 * options["recipe"]["n_critic"].as_u64().unwrap_or(1);
        let [images, saved, report] =
            [STEPS, RESUMED, STEPS / 10].map(|steps| (steps * of_step).to_string());
        let rhythm = ["--save-every", &saved, "--keep", "9", "--report-every", &report];
        place.dcgan(&[&["train", "--out", name, "--images", &images], &rhythm, &small]).ok();
        let whole = place.only_run(name);
        let model = ModelFile::load(&latest(&whole)).unwrap();
        assert_eq!(model.step, STEPS, "{name}");
        healthy(name, &model, &log(&whole));

        // The same from its earlier checkpoint.
        let copy = place.path(&format!("{name}-again"));
        fs::create_dir(&copy).unwrap();
        for (file, bytes) in contents(&whole) {
            fs::write(copy.join(file), bytes).unwrap();
        }
        let earlier = format!("checkpoint-{:09}.safetensors", RESUMED * of_step);
        fs::write(copy.join("latest"), earlier).unwrap();
        fs::remove_file(copy.join(latest(&whole).file_name().unwrap())).unwrap();
        let path = copy.to_str().unwrap();
        place.dcgan(&[&["train", "--resume", path, "--images", &images]]).ok();
        assert_same(&latest(&whole), &latest(&copy));
        place.dcgan(&[&["sample", path, "--seeds", "0-3", "--out", &format!("{name}.png")]]).ok();
    }
}

/// What a preset's method promises can be seen after its steps.
fn healthy(name: &str, model: &ModelFile, log: &[LogLine]) {
    let objective = TrainConfig::of(model).unwrap().unwrap().objective;
    if objective.penalty == Penalty::Gp {
        let off = |line: &LogLine| (line.value("slope") - 1.0).abs();
        let (first, last) = (off(&log[0]), off(log.last().unwrap()));
        assert!(last < first.max(0.25), "{name}: slopes are {first} and then {last} off 1");
    }
    if objective.ada > 0.0 {
        assert!(log.iter().all(|line| (0.0..=1.0).contains(&line.value("augment_p"))), "{name}");
    }
    if objective.clip_weights > 0.0 {
        let weights = model.tensors.iter().filter(|(n, _)| n.starts_with("discriminator."));
        let learned = weights.filter(|(n, _)| !n.contains("running"));
        let largest = learned.flat_map(|(_, t)| t.f32s()).fold(0.0_f32, |m, x| m.max(x.abs()));
        assert!(largest <= objective.clip_weights, "{name}: a weight of {largest}");
    }
    let networks = &model.networks;
    for (prefix, network) in networks.iter().map(|(name, net)| (name, &net.network)) {
        if !network.is_spectral() {
            continue;
        }
        let mut state = State::new(&Device::Cpu);
        for param in network.params(prefix) {
            let value =
                param.layout.from_file(&param.name, &model.tensors[&param.name], &param.shape);
            state.set(&param.name, &value.unwrap()).unwrap();
        }
        // As the next step would use them.
        let mut tape = Tape::new();
        network.power_iteration(&mut tape, prefix).unwrap();
        let mut program = Program::compile(&tape, &state, &Options::default()).unwrap();
        program.call(&mut state, &[]).unwrap();
        let sigmas = testing::singular_values(network, prefix, |name| state.get(name)).unwrap();
        // The power method follows where singular values lie apart; in layers as narrow as these,
        // whose weights change by hundredths of themselves in a step, two may cross now and then.
        let near = sigmas.iter().filter(|(_, sigma)| (sigma - 1.0).abs() <= 0.02).count();
        assert!(2 * near >= sigmas.len(), "{name}: {sigmas:?}");
        assert!(sigmas.iter().all(|(_, sigma)| (sigma - 1.0).abs() <= 0.15), "{name}: {sigmas:?}");
    }
}

#[test]
fn presets_train_sample_and_resume_to_the_bit() {
    train_presets(0);
}

#[test]
fn other_presets_train_sample_and_resume_to_the_bit() {
    train_presets(1);
}

/// A model without a discriminator is drawn, exported and asked as any other, and says what it lacks.
#[test]
fn a_vae_needs_no_discriminator() {
    let place = Place::new();
    let words = ["--preset", "vae", "--device", "cpu", "--batch", "4", "--images", "400"];
    let run = place.train("runs", &[&words, &["--report-every", "40"]]);
    let path = run.to_str().unwrap();
    assert!(run.join("losses.png").exists());
    for command in [
        &["sample", path, "--seeds", "0-3", "--out", "four.png"][..],
        &["walk", path, "--seeds", "1,2", "--steps", "2", "--out", "walk.gif"],
        &["export", path, "--to", "safetensors", "--out", "generator.safetensors"],
        &["export", path, "--to", "onnx", "--network", "encoder", "--out", "encoder.onnx"],
    ] {
        place.dcgan(&[command]).ok();
    }
    place.dcgan(&[&["features", path, "--out", "features.npy"]]).refused(1, &["discriminator"]);
    let command = ["train", "--preset", "vae", "--batch", "4", "--images", "8", "--device", "cpu"];
    for (flags, words) in [
        (["--loss", "hinge"], ["--loss", "no discriminator"]),
        (["--clip-weights", "0.1"], ["--clip-weights", "no discriminator"]),
        (["--decay", "0"], ["--decay-to", "--decay"]),
        (["--penalty", "r1"], ["--penalty", "vae"]),
    ] {
        place.dcgan(&[&command, TINY, &flags]).refused(2, &words);
    }
    let command = ["train", "--preset", "vae-gan", "--batch", "4", "--images", "8"];
    place.dcgan(&[&command, TINY, &["--loss", "hinge"]]).refused(2, &["--loss", "saturating"]);
    place.dcgan(&[&command, TINY, &["--gamma", "2"]]).refused(2, &["--gamma", "0 to 1"]);
}

#[test]
fn every_loss_tells_probabilities_or_scores() {
    let place = Place::new();
    for loss in Loss::value_variants() {
        let name = loss.to_string();
        let words = ["--device", "cpu", "--batch", "4", "--images", "40", "--loss", &name];
        let run = place.train(&name, &[&words, &["--report-every", "20"]]);
        for line in log(&run) {
            let all = ["d_real", "d_fake", "d_fake_g"].map(|name| line.value(name));
            let within = all.iter().all(|x| (0.0..=1.0).contains(x));
            assert!(within || loss.output() == Output::Score, "{loss}: {line:?}");
            let penalized = ["penalty", "slope"].map(|name| line.metrics.get(name));
            assert_eq!(penalized, [None, None]);
        }
    }
}

#[test]
fn options_of_the_run_hold_the_resolved_preset() {
    let place = Place::new();
    let words = ["train", "--dry-run", "--device", "cpu", "--preset", "wgan", "--lr-d", "1e-3"];
    let stdout = place.dcgan(&[&words]).ok().stdout;
    let options: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(options["preset"], "wgan");
    let config = &options["recipe"];
    assert_eq!(config["loss"], "wasserstein");
    assert_eq!(config["n_critic"], 5);
    assert_eq!(config["lr_g"], 5e-5);
    // What is typed counts more.
    assert_eq!(config["lr_d"], 1e-3);
    // A preset by another name is the same.
    for (alias, name) in [("pytorch", "dcgan"), ("dcgan-paper", "paper")] {
        let words = ["train", "--dry-run", "--device", "cpu", "--preset", alias];
        let stdout = place.dcgan(&[&words]).ok().stdout;
        let options: serde_json::Value = serde_json::from_str(&stdout).unwrap();
        assert_eq!(options["preset"], name);
    }
}

#[test]
fn a_preset_is_printed_with_its_source() {
    let place = Place::new();
    for name in presets(&place) {
        let stdout = place.dcgan(&[&["presets", &name]]).ok().stdout;
        assert!(
            stdout.starts_with(&format!("{name}: ")) && stdout.contains("Source: "),
            "{stdout}"
        );
        assert!(stdout.contains(&format!("--preset {name}")), "{stdout}");
    }
    place.dcgan(&[&["presets", "none"]]).refused(2, &["no preset \"none\"", "lists"]);
}

#[test]
fn a_classifier_learns_from_few_labels() {
    let place = Place::new();
    place.images("set/left", 30);
    place.images("set/right", 30);
    let words = ["set", "--preset", "semi-supervised", "--labels-per-class", "4", "--batch", "8"];
    let rhythm = ["--images", "400", "--report-every", "80", "--device", "cpu"];
    let run = place.train("runs", &[&words, &rhythm]);
    let first = log(&run)[0].value("loss_class");
    let last = log(&run).last().unwrap().value("loss_class");
    assert!(first.is_finite() && last.is_finite(), "{first} {last}");
    let path = run.to_str().unwrap();
    let stdout = place.dcgan(&[&["errors", path, "--test", "set", "--device", "cpu"]]).ok().stdout;
    let errors: usize = stdout.split_whitespace().next().unwrap().parse().unwrap();
    assert!(errors <= 60 && stdout.contains("errors in 60 images"), "{stdout}");
    // It is no conditional generator.
    place.dcgan(&[&["sample", path, "--class", "left"]]).refused(2, &["without classes"]);

    let plain = place.train("plain", &[&["set", "--images", "16", "--batch", "8"]]);
    let plain = plain.to_str().unwrap();
    place.dcgan(&[&["errors", plain, "--test", "set"]]).refused(1, &[plain, "--labels-per-class"]);
    place.images("flat", 4);
    place.dcgan(&[&["errors", path, "--test", "flat"]]).refused(2, &["--test", "no labels"]);
}

#[test]
fn parts_that_make_no_sense_are_refused_by_flag() {
    let place = Place::new();
    place.images("flat", 12);
    place.images("set/left", 12);
    place.images("set/right", 12);
    let cases: &[(&str, &[&str], &[&str])] = &[
        ("flat", &["--conditional=projection"], &["--conditional", "no labels"]),
        ("flat", &["--labels-per-class", "3"], &["--labels-per-class", "no labels"]),
        ("set", &["--labels-per-class", "13"], &["--labels-per-class", "only 12"]),
        ("set", &["--labels-per-class", "3", "--conditional"], &["--conditional", "either"]),
        ("set", &["--labels-per-class", "3", "--n-critic", "2"], &["--labels-per-class", "one"]),
        ("set", &["--conditional", "--norm-g", "virtual"], &["--norm-g", "no classes"]),
        ("flat", &["--norm-g", "conditional"], &["--norm-g", "needs classes"]),
        ("flat", &["--norm-d", "virtual"], &["--norm-d", "for generators"]),
        ("flat", &["--attention", "5"], &["--attention", "5 high", "8"]),
        ("flat", &["--network", "mlp", "--attention", "8"], &["--attention", "no feature maps"]),
        ("set", &["--network", "resnet", "--conditional"], &["--conditional", "projection"]),
        ("flat", &["--penalty", "r1", "--norm-d", "batch"], &["--penalty", "batch norm"]),
        ("flat", &["--codes", "1+2"], &["--codes", "10+2"]),
        ("flat", &["--codes", "8+2"], &["--codes", "no noise"]),
        ("set", &["--codes", "2+1", "--conditional=auxiliary"], &["--codes", "at every layer"]),
        ("flat", &["--augment", "colors"], &["--augment", "color, brightness"]),
        ("flat", &["--ada", "0.6"], &["--ada", "--augment"]),
        (
            "flat",
            &["--ada", "0.6", "--augment", "cutout", "--loss", "wasserstein"],
            &["--ada", "another loss"],
        ),
    ];
    for (data, flags, words) in cases {
        let command = ["train", data, "--device", "cpu", "--batch", "4", "--images", "8"];
        place.dcgan(&[&command, TINY, flags]).refused(2, words);
    }
    assert!(place.runs("runs").is_empty());
}
