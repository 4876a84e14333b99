//! `dcgan evaluate` as a user runs it: models, folders, what is kept, and what is refused.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::Value;

use dcgan::evaluation::networks::Kind;

use crate::cli::{Place, names};
use crate::cli_conditional::labeled;
use crate::networks;

const CPU: &[&str] = &["--device", "cpu"];

#[test]
fn a_run_is_scored_and_its_scores_are_kept() {
    let place = Place::new();
    labeled(&place, 12);
    let run = place.train("runs", &[&["set/train", "--batch", "4", "--images", "16"], CPU]);
    let (run, before) = (run.to_str().unwrap(), names(&run));
    let flags = ["--real", "set", "--seed", "3"];
    let text = place.dcgan(&[&["evaluate", run], &flags, CPU]).ok();
    for words in [
        "swd-nvidia",
        "coverage-pixels",
        // The test part is held out.
        "memorization",
        "near the floor",
        "\nimages: ",
        "step 4, seeds from 3, moving average of the weights (EMA), batch norm by running statistics",
        "part train",
        "24 generated and 24 real images; seed 3; floor of 12 and 12 real images, 3 halvings",
        "24 generated, 24 training and 12 held-out images",
        "scores.json",
    ] {
        assert!(text.stdout.contains(words), "no {words:?} in {}", text.stdout);
    }
    assert!(text.stderr.contains("--samples 10,000, but there are 24 real images"), "{text:?}");
    let only = ["--metrics", "coverage-pixels,colors,prdc-pixels", "--samples", "8", "--json"];
    let json = place.dcgan(&[&["evaluate", run, "--raw"], &flags, &only, CPU]).ok();
    let json: Value = serde_json::from_str(&json.stdout).unwrap();
    let scores: Vec<_> = json["metrics"].as_object().unwrap().keys().collect();
    assert_eq!(scores.len(), 5, "{scores:?}");
    assert!(json["protocols"]["colors"].as_str().unwrap().contains("raw weights"));
    assert_eq!(json["floors"]["colors"]["count"], 8);

    let kept = fs::read_to_string(format!("{run}/scores.json")).unwrap();
    let kept: Value = serde_json::from_str(&kept).unwrap();
    let entries = kept.as_array().unwrap();
    assert_eq!(entries.len(), 2);
    assert!(entries[0]["metrics"]["memorization"].is_number());
    assert_eq!(entries[1]["metrics"], json["metrics"]);
    assert_eq!((&entries[1]["step"], &entries[1]["floors"]), (&4.into(), &json["floors"]));
    let checkpoint = entries[1]["checkpoint"].as_str().unwrap();
    assert!(before.contains(&checkpoint.to_owned()));
    assert!(entries[1]["date"].as_str().unwrap().ends_with('Z'));
    let after = names(std::path::Path::new(run));
    assert_eq!(after.len(), before.len() + 1, "{after:?}");

    // A file that someone else put there is left alone.
    fs::write(format!("{run}/scores.json"), "mine").unwrap();
    let words = ["evaluate", run, "--real", "set", "--metrics", "colors"];
    place.dcgan(&[&words, CPU]).refused(1, &["scores.json", "move it away"]);
    assert_eq!(fs::read_to_string(format!("{run}/scores.json")).unwrap(), "mine");
    // The scores were printed all the same.
    assert!(place.dcgan(&[&words, CPU]).stdout.contains("colors"));
}

#[test]
fn folders_are_scored_and_a_set_is_no_better_than_itself() {
    let place = Place::new();
    place.images("a", 12);
    place.images("b", 40);
    let json = place.dcgan(&[&["evaluate", "a", "--real", "a", "--json"]]).ok();
    let json: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json["metrics"]["swd-raw"], 0.0);
    assert_eq!(json["metrics"]["precision-pixels"], 1.0);
    assert!(json["metrics"].get("memorization").is_none());
    assert!(!place.path("a/scores.json").exists());
    // Resized, of another number, with images that were not seen.
    let flags = ["--real", "b", "--size", "16", "--held-out", "a", "--metrics", "copies,1-nn"];
    let text = place.dcgan(&[&["evaluate", "a"], &flags]).ok().stdout;
    assert!(text.contains("copies") && text.contains("16 pixels, 3 channels"), "{text}");
    assert!(text.contains("12 generated, 40 training and 12 held-out images"), "{text}");
}

#[test]
fn a_run_is_held_against_its_own_images() {
    let place = Place::new();
    labeled(&place, 12);
    let run =
        place.train("runs", &[&["set", "--part", "test", "--batch", "4", "--images", "8"], CPU]);
    let run = run.to_str().unwrap();
    let score = |more: &[&str]| {
        let words = ["evaluate", run, "--metrics", "colors", "--json"];
        let outcome = place.dcgan(&[&words, more, CPU]).ok();
        (serde_json::from_str::<Value>(&outcome.stdout).unwrap(), outcome.stderr)
    };
    let (own, told) = score(&[]);
    assert!(own["real"].as_str().unwrap().contains("part test"), "{own}");
    assert!(!told.contains("warning"), "{told}");
    assert_eq!(own["metrics"], score(&["--real", "set", "--part", "test"]).0["metrics"]);
    assert_ne!(own["metrics"], score(&["--part", "train"]).0["metrics"]);
    // Other images are noticed.
    place.images("set/test/a", 3);
    let (_, told) = score(&[]);
    assert!(told.contains("holds other images than when the run was started"), "{told}");
}

#[cfg(unix)]
#[test]
fn ctrl_c_abandons_a_long_metric_and_keeps_the_scores_before_it() {
    let place = Place::new();
    place.images("a", 250);
    // Half a minute or so.
    let words = ["evaluate", "a", "--real", "a", "--size", "128", "--metrics", "colors,swd-nvidia"];
    let mut running = place.start(&[&words]);
    let stderr = place.path("stderr.txt");
    let listens = |id: u32| {
        // The handler keeps scores from when they are computed on, in a thread of their own.
        fs::read_dir(format!("/proc/{id}/task"))
            .ok()?
            .any(|task| {
                fs::read_to_string(task.unwrap().path().join("comm"))
                    .is_ok_and(|n| n.trim() == "scores")
            })
            .then_some(())
    };
    let id = running.id();
    if cfg!(target_os = "linux") {
        running.wait_for("the scores", || listens(id));
    }
    std::thread::sleep(Duration::from_millis(500));
    running.signal("INT");
    let start = Instant::now();
    let outcome = running.end();
    assert_eq!(outcome.code, Some(130), "{outcome:#?}");
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    assert!(fs::read_to_string(stderr).unwrap().contains("finishing with the scores so far"));
}

/// By a network with the weights of a formula; those of EfficientNet-Lite0 are never called FID.
#[test]
fn scores_by_a_network_have_its_name_and_are_the_same_from_the_cache() {
    let place = Place::new();
    place.images("a", 12);
    place.images("b", 30);
    let weights = networks::write(&place.path("."), &networks::weights(Kind::EfficientNetLite0));
    let weights = weights.to_str().unwrap();
    let score = |real: &str, more: &[&str]| {
        let words = ["evaluate", "a", "--real", real, "--features", weights, "--json"];
        let outcome = place.dcgan(&[&words, more, CPU]).ok();
        serde_json::from_str::<Value>(&outcome.stdout).unwrap()
    };
    let own = ["--metrics", "fid,kid,is,prdc"];
    let first = score("b", &own);
    let names: Vec<_> = first["metrics"].as_object().unwrap().keys().cloned().collect();
    let wanted = ["coverage", "density", "fd", "is", "kid", "precision", "recall"];
    assert_eq!(names, wanted.map(|name| format!("{name}-efficientnet-lite0")));
    let distance = |scores: &Value| scores["metrics"]["fd-efficientnet-lite0"].as_f64().unwrap();
    let protocol = first["protocols"]["fd-efficientnet-lite0"].as_str().unwrap();
    for words in
        ["efficientnet-lite0, file sha256 ", "resized by clean", "12 generated and 12 real"]
    {
        assert!(protocol.contains(words), "no {words:?} in {protocol}");
    }
    assert!(first["deviations"]["is-efficientnet-lite0"].as_f64().unwrap() >= 0.0);
    assert_eq!(first["floors"]["fd-efficientnet-lite0"]["count"], 12);
    // From the cache.
    assert_eq!(score("b", &own), first);
    // Images are no worse than themselves, and other resizing gives other numbers.
    let same = score("a", &own);
    assert!(distance(&same).abs() < 1e-3 * distance(&first), "{same} {first}");
    assert_eq!(same["metrics"]["precision-efficientnet-lite0"], 1.0);
    assert_ne!(
        distance(&score("b", &["--metrics", "fid", "--feature-resize", "tf1"])),
        distance(&first)
    );
    // All that can be computed.
    let all = score("b", &[]);
    assert_eq!(distance(&all), distance(&first));
    assert!(all["metrics"]["swd-raw"].is_number());
}

#[test]
fn what_cannot_be_evaluated_is_said_in_a_sentence() {
    let place = Place::new();
    place.images("a", 8);
    place.images("mixed", 8);
    image::RgbImage::new(30, 20).save(place.path("mixed/zzz.png")).unwrap();
    place.images("few", 3);
    let model_file =
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/models/dcgan.safetensors");
    let refused = |code, words: &[&str], says: &[&str]| {
        place.dcgan(&[&["evaluate"], words]).refused(code, says);
    };
    refused(1, &["nothing"], &["nothing", "no such run folder, model, or folder or zip"]);
    refused(1, &["a", "--real", "nothing"], &["nothing", "does not exist"]);
    refused(
        1,
        &["mixed", "--real", "a"],
        &["mixed", "zzz.png has 20x30 pixels, the first one 20x24", "--size 20x24 makes all fit"],
    );
    refused(
        1,
        &["few", "--real", "a", "--metrics", "prdc-pixels"],
        &["prdc-pixels", "3 generated images are too few; 6 or more work"],
    );
    refused(1, &["a", "--real", "few", "--metrics", "prdc-pixels"], &["3 real images"]);
    refused(
        1,
        &["a", "--real", "a", "--size", "12", "--metrics", "swd-raw"],
        &["swd-raw", "12x12", "16 or more"],
    );
    // What was not named is left out.
    let few = place.dcgan(&[&["evaluate", "few", "--real", "a", "--size", "12"]]).ok();
    for words in
        ["note: swd-raw: images of 12x12", "note: prdc-pixels: 3 generated images are too few"]
    {
        assert!(few.stderr.contains(words), "{few:?}");
    }
    assert!(few.stdout.contains("colors") && !few.stdout.contains("precision"), "{few:?}");
    refused(2, &["a", "--metrics", "fud"], &["fud", "is not a metric", "swd-nvidia"]);
    refused(2, &["a", "--metrics", "precision"], &["--features", "is needed for prdc"]);
    refused(2, &["a", "--feature-resize", "tf1"], &["--feature-resize", "--features FILE"]);
    refused(1, &["a", "--real", "a", "--features", "none.pth"], &["none.pth", "cannot be read"]);
    refused(
        1,
        &["a", "--real", "a", "--features", model_file],
        &["dcgan.safetensors", "already a model"],
    );
    refused(2, &["a", "--real", "a", "--metrics", "memorization"], &["--held-out", "is needed"]);
    refused(2, &["a", "--real", "a", "--held-out", "a"], &["--held-out", "not trained on"]);
    refused(2, &["a", "--samples", "none"], &["--samples"]);
    refused(2, &["a", "--size", "0"], &["--size", "48x64"]);
    refused(2, &[model_file, "--size", "16"], &["--size", "a model's images have their own size"]);
    fs::write(place.path("half.safetensors"), "x").unwrap();
    refused(1, &["half.safetensors"], &["half.safetensors"]);
}

#[test]
fn images_are_held_against_a_classifier_of_their_classes() {
    let place = Place::new();
    labeled(&place, 12);
    let small: &[&str] = &["--batch", "4", "--gray"];
    let train = |out: &str, words: &[&str]| {
        let run = place.train(out, &[&["set/train", "--images", "2000"], small, words, CPU]);
        run.to_str().unwrap().to_owned()
    };
    let semi =
        train("semi", &["--preset", "semi-supervised", "--labels-per-class", "12", "--ema", "0"]);
    let auxiliary = train("auxiliary", &["--conditional=auxiliary"]);
    let json = |words: &[&str]| -> Value {
        let said = place.dcgan(&[words, &["--json"], CPU]).ok();
        serde_json::from_str(&said.stdout).unwrap()
    };

    // Of real images it is what `dcgan errors` counts.
    let errors = json(&["errors", &semi, "--test", "set"]);
    let rate = errors["error_rate"].as_f64().unwrap();
    assert!(rate < 0.4, "the classifier has learned nothing: {rate}");
    let by = ["--metrics", "class-accuracy,class-is", "--classifier", &semi];
    let of_images = json(&[&["evaluate", "set/test", "--real", "set"], &by[..]].concat());
    let accuracy = of_images["metrics"]["class-accuracy"].as_f64().unwrap();
    assert!((accuracy - (1.0 - rate)).abs() < 1e-9, "{accuracy}, {rate}");
    assert!(of_images["floors"]["class-accuracy"]["value"].as_f64().unwrap() > 0.5);
    let protocol = of_images["protocols"]["class-accuracy"].as_str().unwrap();
    assert!(protocol.contains("classifier: the discriminator of") && protocol.contains("mean of"));

    // A conditional model by itself, and by another.
    let own = json(&["evaluate", &auxiliary, "--samples", "24"]);
    let other = json(&[&["evaluate", &auxiliary], &by[..]].concat());
    for scores in [&own, &other] {
        assert!(scores["metrics"]["class-accuracy"].is_number(), "{scores}");
        let best = scores["metrics"]["class-is"].as_f64().unwrap();
        assert!((1.0..=2.0 + 1e-6).contains(&best), "{best} of two classes");
    }
    let names = |scores: &Value| scores["protocols"]["class-is"].as_str().unwrap().to_owned();
    assert!(names(&own).contains("auxiliary") && names(&other).contains("semi"));

    // What draws no classes has no accuracy, but a score of them.
    let unlabeled = json(&["evaluate", &semi]);
    assert!(unlabeled["metrics"]["class-is"].is_number(), "{unlabeled}");
    assert!(unlabeled["metrics"].get("class-accuracy").is_none());
    let asked = ["evaluate", &semi, "--metrics", "class-accuracy"];
    place.dcgan(&[&asked, CPU]).refused(1, &["class-accuracy", "drawn in classes"]);
    let plain = train("plain", &[]);
    let asked = ["evaluate", &plain, "--metrics", "class-accuracy"];
    place.dcgan(&[&asked, CPU]).refused(2, &["--classifier", "class-accuracy"]);
    let by_plain = ["evaluate", &auxiliary, "--classifier", &plain];
    place.dcgan(&[&by_plain, CPU]).refused(2, &["--classifier", "does not predict classes"]);
    let of_another_size = ["evaluate", "set/test", "--real", "set", "--size", "8"];
    place.dcgan(&[&of_another_size, &by[2..], CPU]).refused(2, &["--classifier", "8x8", "16x16"]);
}
