//! Scores against numpy's, scipy's and torch's, and what each of them must and cannot see.

use dcgan::data::{Prepare, Source, sweep};
use dcgan::error::Error;
use dcgan::evaluation::memorization::{self, Seen, memorization};
use dcgan::evaluation::metric::{Compute, Context, Measured, PUBLISHED_NETWORK};
use dcgan::evaluation::prdc::{DENSITY_K, PRECISION_K, density_coverage, precision_recall};
use dcgan::evaluation::report::{Network, SPLITS};
use dcgan::evaluation::swd::Variant;
use dcgan::evaluation::thumbnails::{SIDE, thumbnails};
use dcgan::evaluation::two_sample::two_sample;
use dcgan::evaluation::{
    Features, ImageSet, METRICS, Metric, Options, Score, Scores, Sets, colors, duplicates,
    evaluate, evaluate_sets, metric, ms_ssim, spectrum, swd,
};
use dcgan::rng::Stream;
use serde_json::Value;

fn context(seed: u64) -> Context<'static> {
    Context { metric: "test", seed, progress: &|_| () }
}

/// The images of `make_scores.py`.
fn images(count: usize, [height, width, channels]: [usize; 3], kind: usize) -> ImageSet {
    let mut bytes = Vec::new();
    for i in 0..count {
        for y in 0..height {
            for x in 0..width {
                for c in 0..channels {
                    let wave =
                        (3 + i % 5) * x + (2 + (i * 7 + c) % 4 + kind) * y + 11 * i * (c + 1);
                    let noise = x * 37 + y * 101 + i * 13 + c * 59 + x * y * (3 + kind);
                    let level = wave % 97 + noise % (17 + 12 * kind) + (i * 29) % 53;
                    bytes.push((40 + 30 * kind + level) as u8);
                }
            }
        }
    }
    ImageSet::new([height, width, channels], bytes).unwrap()
}

/// Both sets of a case of `make_scores.py`.
fn sets(count: usize, size: [usize; 3]) -> [ImageSet; 2] {
    let (mut fakes, reals) = (images(count, size, 0), images(count, size, 1));
    let length: usize = size.iter().product();
    for i in (0..count).step_by(3) {
        let near: Vec<u8> = reals.image(i).iter().map(|byte| byte ^ 3).collect();
        fakes.bytes[i * length..][..length].copy_from_slice(&near);
    }
    let four = fakes.image(4).to_vec();
    fakes.bytes[5 * length..][..length].copy_from_slice(&four);
    [fakes, reals]
}

#[track_caller]
fn near(ours: f64, theirs: &Value, tolerance: f64, what: &str) {
    let theirs = theirs.as_f64().unwrap();
    assert!((ours - theirs).abs() <= tolerance * theirs.abs(), "{what}: {ours}, not {theirs}");
}

#[test]
fn every_formula_as_numpy_scipy_and_torch() {
    let file: Value =
        serde_json::from_str(include_str!("../assets/reference/scores.json")).unwrap();
    let context = context(file["seed"].as_u64().unwrap());
    for case in file["cases"].as_array().unwrap() {
        let number = |value: &Value| value.as_u64().unwrap() as usize;
        let size = [0, 1, 2].map(|i| number(&case["size"][i]));
        let count = number(&case["count"]);
        let [fakes, reals] = sets(count, size);
        let variants = [
            ("swd-nvidia", Variant::Nvidia),
            ("swd-mmgen", Variant::Mmgen),
            ("swd-raw", Variant::Raw),
        ];
        for (name, variant) in variants {
            let ours = swd::swd(variant, &fakes, &reals, &context).unwrap();
            let theirs = case[name].as_array().unwrap();
            assert_eq!(ours.parts.len(), theirs.len());
            for ((level, ours), theirs) in ours.parts.iter().zip(theirs) {
                near(*ours, theirs, 1e-4, &format!("{name} {size:?} {level}"));
            }
            let mean = ours.parts.iter().map(|part| part.1).sum::<f64>() / theirs.len() as f64;
            assert_eq!(ours.value, mean);
        }
        for (name, set) in [("ms-ssim", &fakes), ("ms-ssim-real", &reals)] {
            near(ms_ssim::ms_ssim(set, &context).unwrap().value, &case[name], 1e-9, name);
        }
        let [small, real] = [&fakes, &reals].map(|set| thumbnails(set, SIDE).unwrap());
        for (name, f, r) in [("prdc", &small, &real), ("prdc-swapped", &real, &small)] {
            let pr = precision_recall(f, r, PRECISION_K).unwrap();
            let dc = density_coverage(f, r, DENSITY_K).unwrap();
            near(pr.precision, &case[name]["precision"], 1e-9, name);
            near(pr.recall, &case[name]["recall"], 1e-9, name);
            near(dc.density, &case[name]["density"], 1e-9, name);
            near(dc.coverage, &case[name]["coverage"], 1e-9, name);
        }
        let found = two_sample(&small, &real);
        near(found.fakes, &case["1-nn"]["fakes"], 1e-9, "1-nn of fakes");
        near(found.reals, &case["1-nn"]["reals"], 1e-9, "1-nn of reals");
        near(duplicates::duplicates(&small, &real), &case["duplicates"], 1e-9, "duplicates");

        let more = thumbnails(&images(3 * count, size, 1), memorization::SIDE).unwrap();
        let rows = |range: std::ops::Range<usize>| {
            more.select(&range.map(|i| i as u32).collect::<Vec<_>>())
        };
        let seen = Seen { training: rows(0..count), held_out: rows(count..2 * count + 3) };
        let found = memorization(&thumbnails(&fakes, memorization::SIDE).unwrap(), &seen);
        near(found.nearer, &case["memorization"]["nearer"], 1e-9, "memorization");
        near(found.copies, &case["memorization"]["copies"], 1e-9, "copies");
        let ours = spectrum::spectrum(&fakes, &reals, &context).unwrap().value;
        near(ours, &case["spectrum"], 1e-4, "spectrum");
        let ours = colors::colors(&fakes, &reals, &context).unwrap().value;
        near(ours, &case["colors"], 1e-9, "colors");
    }
}

/// All scores by metrics of images, without floors.
fn score(fakes: &ImageSet, reals: &ImageSet) -> Scores {
    let sets = Sets { fakes, reals, seen: None, network: None, classes: None };
    let metrics: Vec<_> = METRICS.iter().filter(|metric| metric.is_of_images()).collect();
    let options = Options { seed: 0, splits: 0, images: String::new() };
    let mut scores = Scores::default();
    evaluate_sets(&sets, &metrics, &options, &|_| (), |some| {
        scores.0.extend(some);
        true
    })
    .unwrap();
    scores
}

/// Images of the bundled set at 32 pixels, from the first.
fn avatars(count: usize) -> ImageSet {
    let source = Source::open(None).unwrap();
    let prepare = Prepare { height: 32, width: 32, ..Prepare::default() };
    let mut bytes = Vec::new();
    let items: Vec<u32> = (0..count as u32).map(|i| i * 7).collect();
    sweep(&source, &prepare, &items, 64, |chunk| {
        bytes.extend(chunk.images);
        Ok(())
    })
    .unwrap();
    ImageSet::new([32, 32, 3], bytes).unwrap()
}

fn halves(set: &ImageSet) -> [ImageSet; 2] {
    let half = set.count() as u32 / 2;
    [set.select(&(0..half).collect::<Vec<_>>()), set.select(&(half..2 * half).collect::<Vec<_>>())]
}

#[test]
fn equal_sets_have_the_best_scores() {
    let reals = avatars(60);
    let scores = score(&reals, &reals);
    let value = |name: &str| scores.get(name).unwrap().value;
    for name in ["swd-nvidia", "swd-mmgen", "swd-raw", "spectrum", "colors"] {
        assert_eq!(value(name), 0.0, "{name}");
    }
    for name in ["precision-pixels", "recall-pixels", "density-pixels", "coverage-pixels"] {
        assert_eq!(value(name), 1.0, "{name}");
    }
    // The nearest other image is the copy in the other set.
    for name in ["1-nn", "1-nn-real", "1-nn-fake"] {
        assert_eq!(value(name), 0.0, "{name}");
    }
    let twice = reals.select(&(0..60).flat_map(|i| [i, i]).collect::<Vec<_>>());
    let alike = ms_ssim::ms_ssim(&twice, &context(0)).unwrap();
    assert!((alike.value - 1.0).abs() < 1e-12 && alike.std.unwrap() < 1e-12, "{alike:?}");
    // Copies of training images, where held-out images are none.
    let [training, held_out] =
        halves(&reals).map(|set| thumbnails(&set, memorization::SIDE).unwrap());
    let seen = Seen { training, held_out };
    let copied = memorization(&seen.training, &seen);
    assert_eq!((copied.nearer, copied.copies), (1.0, 1.0));
    let control = memorization(&seen.held_out, &seen);
    assert_eq!((control.nearer, control.copies), (0.5, 0.0));
}

/// NVIDIA's variant cannot see contrast and brightness, and the others can.
#[test]
fn only_nvidias_distance_is_blind_to_affine_changes_of_a_channel() {
    let [mut fakes, reals] = halves(&avatars(120));
    fakes.bytes.iter_mut().for_each(|byte| *byte /= 2);
    let mut changed = fakes.clone();
    changed.bytes.iter_mut().for_each(|byte| *byte = 2 * *byte + 1);
    let both = |variant| {
        let of = |set| swd::swd(variant, set, &reals, &context(3)).unwrap().value;
        [of(&fakes), of(&changed)]
    };
    let [a, b] = both(Variant::Nvidia);
    assert!((a - b).abs() < 1e-4 * a, "{a} and {b}");
    let [faded, whole] = both(Variant::Raw);
    assert!(faded > 2.0 * whole, "{faded} and {whole}");
    let [a, b] = both(Variant::Mmgen);
    assert!((a - b).abs() > 0.01 * a, "{a} and {b}");
}

/// The same images with normal noise of this deviation.
fn noisy(set: &ImageSet, deviation: f32) -> ImageSet {
    let mut noise = vec![0.0; set.bytes.len()];
    Stream::new(9, "noise", 0).fill_normal(&mut noise);
    let add = |(&byte, noise): (&u8, f32)| (f32::from(byte) + deviation * noise).round() as u8;
    ImageSet { size: set.size, bytes: set.bytes.iter().zip(noise).map(add).collect() }
}

/// The same images, each pixel the mean of it and its neighbors, so many times.
fn blurred(set: &ImageSet, times: usize) -> ImageSet {
    let [height, width, channels] = set.size;
    let once = |set: ImageSet| {
        let mut bytes = Vec::with_capacity(set.bytes.len());
        for i in 0..set.count() {
            let image = set.image(i);
            for at in 0..image.len() {
                let (pixel, channel) = (at / channels, at % channels);
                let (y, x) = (pixel / width, pixel % width);
                let (ys, xs) = (y.saturating_sub(1)..=y + 1, x.saturating_sub(1)..=x + 1);
                let near =
                    ys.flat_map(|y| xs.clone().map(move |x| (y.min(height - 1), x.min(width - 1))));
                let levels: Vec<u32> =
                    near.map(|(y, x)| image[(y * width + x) * channels + channel].into()).collect();
                bytes.push((levels.iter().sum::<u32>() / levels.len() as u32) as u8);
            }
        }
        ImageSet { size: set.size, bytes }
    };
    (0..times).fold(set.clone(), |set, _| once(set))
}

#[test]
fn scores_worsen_with_noise_blur_and_duplicates() {
    let [fakes, reals] = halves(&avatars(120));
    let few = |distinct: u32| {
        let mut draw = Stream::new(2, "few", 0);
        fakes.select(&(0..60).map(|_| draw.below(distinct)).collect::<Vec<_>>())
    };
    let worse = |what: &str, sets: &[ImageSet], rising: &[&str], falling: &[&str]| {
        let scores: Vec<Scores> = sets.iter().map(|set| score(set, &reals)).collect();
        for (names, sign) in [(rising, 1.0), (falling, -1.0)] {
            for name in names {
                let values: Vec<f64> =
                    scores.iter().map(|scores| sign * scores.get(name).unwrap().value).collect();
                assert!(values.is_sorted_by(|a, b| a < b), "{name} by {what}: {values:?}");
            }
        }
    };
    let distances = ["swd-nvidia", "swd-mmgen", "swd-raw", "spectrum"];
    let noise = [fakes.clone(), noisy(&fakes, 12.0), noisy(&fakes, 40.0)];
    worse("noise", &noise, &distances, &[]);
    worse("much noise", &[fakes.clone(), noisy(&fakes, 60.0)], &[], &["ms-ssim"]);
    worse("blur", &[fakes.clone(), blurred(&fakes, 1), blurred(&fakes, 3)], &distances, &[]);
    worse("duplicates", &[fakes.clone(), few(20), few(4)], &[], &["coverage-pixels"]);
    worse("duplicates", &[fakes.clone(), few(4)], &["swd-raw", "swd-nvidia"], &[]);
    worse(
        "collapse",
        &[fakes.clone(), few(1)],
        &["duplicates", "ms-ssim", "1-nn"],
        &["recall-pixels"],
    );
}

/// Real images in the place of generated ones are at every floor, and nothing is claimed beyond it.
#[test]
fn floors_have_the_counts_that_the_protocol_says() {
    let all = avatars(360);
    let rows = |range: std::ops::Range<u32>| all.select(&range.collect::<Vec<_>>());
    let metrics: Vec<_> =
        ["swd-raw", "coverage-pixels", "spectrum"].map(|name| metric(name).unwrap()).to_vec();
    let (fakes, reals) = (rows(0..120), rows(120..360));
    let shares = std::sync::Mutex::new(Vec::new());
    let progress = |share| shares.lock().unwrap().push(share);
    let scores = evaluate(&fakes, &reals, &metrics, 4, &progress).unwrap();
    let names: Vec<_> = scores.0.iter().map(|score| score.name.as_str()).collect();
    let prdc = ["precision-pixels", "recall-pixels", "density-pixels", "coverage-pixels"];
    assert_eq!(names, [&["swd-raw"], &prdc[..], &["spectrum"]].concat());
    for Score { name, floor, protocol, .. } in &scores.0 {
        let floor = floor.as_ref().unwrap();
        assert_eq!((floor.count, floor.splits), (120, SPLITS), "{name}");
        assert!(floor.noise().unwrap() > 0.0);
        for words in ["120 generated and 120 real", "seed 4", "floor of 120 and 120 real images"] {
            assert!(protocol.contains(words), "no {words:?} in {protocol}");
        }
    }
    assert_eq!(scores.get("swd-raw").unwrap().is_at_floor(), Some(true));
    assert_eq!(scores.get("coverage-pixels").unwrap().is_at_floor(), Some(true));
    let shares = shares.into_inner().unwrap();
    assert!(shares.is_sorted() && (shares.last().unwrap() - 1.0).abs() < 1e-9, "{shares:?}");
    let noise = evaluate(&noisy(&fakes, 80.0), &reals, &metrics, 4, &|_| ()).unwrap();
    assert_eq!(noise.get("swd-raw").unwrap().is_at_floor(), Some(false));
    assert_eq!(noise.get("spectrum").unwrap().is_at_floor(), Some(false));

    // Too few for the same counts, and for any.
    let scores = evaluate(&fakes, &rows(120..240), &metrics, 4, &|_| ()).unwrap();
    assert!(scores.0.iter().all(|score| score.floor.as_ref().unwrap().count == 60));
    let scores = evaluate(&rows(0..6), &rows(6..12), &metrics, 4, &|_| ()).unwrap();
    let coverage = scores.get("coverage-pixels").unwrap();
    assert_eq!((&coverage.floor, coverage.is_at_floor()), (&None, None));
    assert!(coverage.protocol.contains("no floor"), "{}", coverage.protocol);
    let json = serde_json::to_value(&scores).unwrap();
    assert_eq!(json["metrics"]["coverage-pixels"], coverage.value);
    assert_eq!(json["floors"]["swd-raw"]["count"], 3);
    assert!(json["floors"].get("coverage-pixels").is_none());
    assert!(json["protocols"]["spectrum"].is_string());
}

#[test]
fn what_cannot_be_scored_is_said_with_what_works() {
    let gray = |count: usize, side: usize| images(count, [side, side, 1], 0);
    let error = |name: &str, fakes: &ImageSet, reals: &ImageSet| {
        evaluate(fakes, reals, &[metric(name).unwrap()], 0, &|_| ()).unwrap_err().to_string()
    };
    let text = error("prdc-pixels", &gray(5, 16), &gray(9, 16));
    assert_eq!(text, "prdc-pixels: 5 generated images are too few; 6 or more work");
    let text = error("1-nn", &gray(3, 16), &gray(1, 16));
    assert_eq!(text, "1-nn: 1 real images are too few; 2 or more work");
    let text = error("swd-raw", &gray(4, 12), &gray(4, 12));
    assert!(text.contains("12x12") && text.contains("must be 16 or more"), "{text}");
    let text = error("colors", &gray(4, 12), &gray(4, 16));
    assert!(text.contains("[12, 12, 1]") && text.contains("[16, 16, 1]"), "{text}");
    assert!(error("memorization", &gray(4, 16), &gray(4, 16)).contains("not trained on"));
    assert!(error("prdc", &gray(9, 16), &gray(9, 16)).contains("needs a network's features"));
    assert!(metric("fud").unwrap_err().contains("swd-nvidia, swd-mmgen"));
    assert!(matches!(
        precision_recall(
            &Features::new(2, vec![0.0; 8]).unwrap(),
            &Features::new(1, vec![0.0; 8]).unwrap(),
            3
        ),
        Err(Error::Metric { .. })
    ));
}

/// Metrics of features have floors too, and are named by their network.
#[test]
fn features_of_a_network_are_scored_under_its_name() {
    let features = |seed, count: usize| {
        let mut values = vec![0.0; 4 * count];
        Stream::new(seed, "features", 0).fill_normal(&mut values);
        (Features::new(4, values).unwrap(), None)
    };
    let (fakes, reals) = (images(40, [16, 16, 1], 0), images(80, [16, 16, 1], 1));
    let scores = |name: &str| {
        let network = Network {
            name: name.into(),
            protocol: "weights 0123abcd".into(),
            fakes: features(1, 40),
            reals: features(2, 80),
        };
        let sets = Sets {
            fakes: &fakes,
            reals: &reals,
            seen: None,
            network: Some(&network),
            classes: None,
        };
        let options = Options { seed: 0, splits: 2, images: "of a test".into() };
        let mut scores = Scores::default();
        evaluate_sets(&sets, &[metric("recall").unwrap()], &options, &|_| (), |some| {
            scores.0.extend(some);
            true
        })
        .unwrap();
        scores
    };
    let own = scores("efficientnet-lite0");
    let recall = own.get("recall-efficientnet-lite0").unwrap();
    assert!(recall.value > 0.4 && recall.floor.as_ref().unwrap().count == 40, "{recall:?}");
    assert!(recall.protocol.contains("; weights 0123abcd; "));
    assert!(recall.protocol.ends_with("of a test"), "{}", recall.protocol);
    assert_eq!(scores(PUBLISHED_NETWORK).get("recall").unwrap().value, recall.value);
    let fid = dcgan::evaluation::metric::Output {
        name: "fid",
        better: dcgan::evaluation::metric::Better::Lower,
    };
    assert_eq!(Metric::named(&fid, Some(PUBLISHED_NETWORK)), "fid");
    assert_eq!(Metric::named(&fid, Some("efficientnet-lite0")), "fd-efficientnet-lite0");
}

#[test]
fn names_of_metrics_and_scores_are_unique() {
    let mut names: Vec<&str> =
        METRICS.iter().flat_map(|metric| metric.outputs).map(|output| output.name).collect();
    names.sort_unstable();
    assert!(names.is_sorted_by(|a, b| a < b), "{names:?}");
    for metric in METRICS {
        let Metric { name, about, implementation, outputs, least, .. } = metric;
        assert!(!about.is_empty() && !implementation.is_empty() && *least > 0, "{name}");
        for output in *outputs {
            assert_eq!(dcgan::evaluation::metric(output.name).unwrap().name, *name);
        }
    }
    // Results come in the order and number of a row's outputs.
    let [fakes, reals] = sets(12, [16, 16, 1]);
    for metric in METRICS {
        if let Compute::Images(compute) = metric.compute {
            let results: Vec<Measured> = compute(&fakes, &reals, &context(0)).unwrap();
            assert_eq!(results.len(), metric.outputs.len(), "{}", metric.name);
        }
    }
}
