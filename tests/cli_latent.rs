//! The commands on latents: walk, arithmetic, invert and neighbors, as a user runs them.

use std::fs;
use std::path::Path;

use dcgan::model::{ModelFile, Role, save_imported, seeded_latents};
use dcgan::models::LatentDistribution;
use image::codecs::gif::GifDecoder;
use image::imageops::{FilterType, resize};
use image::{AnimationDecoder as _, RgbImage};

use crate::cli::{Place, latest};
use crate::cli_sample::write_npy;

const CPU: &[&str] = &["--device", "cpu"];

/// A trained run of images of 16x16 from latents of 8 numbers.
fn trained(words: &[&str]) -> (Place, String) {
    let place = Place::new();
    // The weights themselves: their average is hardly trained after so few images.
    let flags = ["--batch", "8", "--images", "320", "--ema", "0"];
    let run = place.train("runs", &[CPU, &flags, words]);
    (place, run.to_str().unwrap().to_owned())
}

/// A run's generator alone, as an imported model.
pub(crate) fn generator_alone(place: &Place, run: &str) {
    let mut model = ModelFile::load(&latest(Path::new(run))).unwrap();
    model.networks = model.networks.without(Role::Discriminator);
    model.tensors.retain(|name, _| name.starts_with("generator."));
    let path = place.path("generator.safetensors");
    save_imported(&path, &model.networks, &model.tensors, "a test").unwrap();
}

fn z(seed: u64) -> Vec<f32> {
    seeded_latents(&[seed], 8, LatentDistribution::Normal).f32s().to_vec()
}

pub(crate) fn read_npy(path: &Path) -> (Vec<u64>, Vec<f32>) {
    let npy = npyz::NpyFile::new(fs::File::open(path).unwrap()).unwrap();
    (npy.shape().to_vec(), npy.into_vec().unwrap())
}

/// What `dcgan sample` makes, as a figure shows it: six times as large.
pub(crate) fn samples(place: &Place, run: &str, words: &[&str]) -> Vec<RgbImage> {
    let _ = fs::remove_dir_all(place.path("samples"));
    place.dcgan(&[&["sample", run], words, CPU]).ok();
    let mut files: Vec<_> =
        fs::read_dir(place.path("samples")).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| large(&image::open(file).unwrap().into_rgb8(), 6)).collect()
}

pub(crate) fn large(image: &RgbImage, factor: u32) -> RgbImage {
    resize(image, image.width() * factor, image.height() * factor, FilterType::Nearest)
}

/// How often an image stands on a page, pixel by pixel.
pub(crate) fn count(page: &Path, image: &RgbImage) -> usize {
    let page = image::open(page).unwrap().into_rgb8();
    let row = |of: &RgbImage, x: u32, y: u32| {
        let at = 3 * (y * of.width() + x) as usize;
        of.as_raw()[at..at + 3 * image.width() as usize].to_vec()
    };
    let rows: Vec<_> = (0..image.height()).map(|y| row(image, 0, y)).collect();
    let mut found = 0;
    for y in 0..page.height().saturating_sub(image.height()) {
        for x in 0..page.width().saturating_sub(image.width()) {
            let here = page.get_pixel(x, y) == image.get_pixel(0, 0);
            let all = || (0..).zip(&rows).all(|(dy, wanted)| row(&page, x, y + dy) == *wanted);
            found += usize::from(here && all());
        }
    }
    found
}

#[test]
fn a_walk_goes_through_its_points_and_back() {
    let (place, run) = trained(&[]);
    let walk = |words: &[&str]| {
        let walk = ["walk", &run, "--seeds", "3,11,5", "--steps", "4", "--out", "w.gif"];
        place.dcgan(&[&walk, words, CPU]).ok().stdout
    };
    let said = walk(&[]);
    assert!(said.contains("3 points, 12 frames"), "{said}");
    assert!(said.contains("spherical, as is usual for normal latents"), "{said}");
    let bytes = fs::read(place.path("w.gif")).unwrap();
    let frames = GifDecoder::new(std::io::Cursor::new(&bytes[..])).unwrap().into_frames();
    let frames = frames.collect_frames().unwrap();
    assert_eq!(frames.len(), 12);
    assert_eq!(frames[0].delay().numer_denom_ms(), (50, 1));

    // The points are the samples of their seeds, in the film and at both ends of the strips.
    let _ = fs::remove_dir_all(place.path("samples"));
    for (i, seed) in ["3", "11", "5"].iter().enumerate() {
        let sample = samples(&place, &run, &["--seeds", seed]).remove(0);
        assert_eq!(count(&place.path("w.png"), &sample), 2, "seed {seed}");
        let frame = image::DynamicImage::from(frames[4 * i].buffer().clone()).into_rgb8();
        let small = resize(&sample, 16, 16, FilterType::Nearest);
        assert!(frame == large(&small, 8), "seed {seed} is not frame {}", 4 * i);
    }
    let frame = |i: usize| frames[i].buffer();
    assert!((1..12).all(|i| frame(i) != frame(i - 1)), "the walk stands still");

    // The same again gives the same bytes; the other way between the points does not.
    let figure = fs::read(place.path("w.png")).unwrap();
    walk(&["--spherical", "--strips", "s.png"]);
    assert!(fs::read(place.path("w.gif")).unwrap() == bytes);
    assert!(fs::read(place.path("s.png")).unwrap() == figure);
    let said = walk(&["--linear"]);
    assert!(said.contains("linear, although latents are normal"), "{said}");
    assert!(fs::read(place.path("w.gif")).unwrap() != bytes);
    place.dcgan(&[&["walk", &run, "--fps", "10", "--steps", "2"], CPU]).ok();
    assert!(place.path("walk.gif").exists() && place.path("walk.png").exists());
}

#[test]
fn coordinates_are_varied_one_at_a_time() {
    let (place, run) = trained(&["--preset", "paper"]);
    let words = ["walk", &run, "--seeds", "3,4", "--vary", "0,5-6", "--steps", "3"];
    let said = place.dcgan(&[&words, CPU]).ok().stdout;
    assert_eq!(said, "figure      vary.png\n");
    // Each seed's own image stands in each of its three rows.
    let own = samples(&place, &run, &["--seeds", "3,4"]);
    for own in &own {
        assert!(count(&place.path("vary.png"), own) >= 3);
    }
    // The ends of the uniform law are the ends of the range.
    let mut end = seeded_latents(&[4], 8, LatentDistribution::Uniform).f32s().to_vec();
    end[6] = 1.0;
    write_npy(&place.path("end.npy"), &[1, 8], &end);
    let end = samples(&place, &run, &["--latents", "end.npy"]).remove(0);
    assert_eq!(count(&place.path("vary.png"), &end), 1);
    place.dcgan(&[&words, &["--range=-3..2", "--out", "far.png"], CPU]).ok();
    assert_eq!(count(&place.path("far.png"), &end), 0);

    let walk = ["walk", &run, "--steps", "2", "--out", "w.gif"];
    let said = place.dcgan(&[&walk, CPU]).ok().stdout;
    assert!(said.contains("linear, as is usual for uniform latents"), "{said}");
    place.dcgan(&[&["walk", &run, "--vary", "8"], CPU]).refused(2, &["--vary", "8", "0 to 7"]);
}

#[test]
fn groups_are_averaged_and_added_in_the_order_typed() {
    let (place, run) = trained(&[]);
    let words = ["--minus", "3", "--plus", "1,2", "--plus", "4-6", "--out", "a.png"];
    let add = ["arithmetic", &run, "--latents", "a.npy"];
    let said = place.dcgan(&[&add, &words, CPU]).ok().stdout;
    assert!(said.contains("\u{2212} (3) + (1, 2) + (4-6)\n"), "{said}");
    let (shape, result) = read_npy(&place.path("a.npy"));
    assert_eq!(shape, [1, 8]);
    for (i, x) in result.iter().enumerate() {
        let at = |seed| z(seed)[i];
        let wanted = (at(1) + at(2)) / 2.0 + (at(4) + at(5) + at(6)) / 3.0 - at(3);
        assert!((x - wanted).abs() < 1e-5, "{x}, not {wanted}");
    }
    let page = place.path("a.png");
    for sample in samples(&place, &run, &["--seeds", "1,2,4-6"]) {
        assert_eq!(count(&page, &sample), 1);
    }
    // The mean of one is itself.
    assert_eq!(count(&page, &samples(&place, &run, &["--seeds", "3"])[0]), 2);
    let sum = samples(&place, &run, &["--latents", "a.npy"]).remove(0);
    assert_eq!(count(&page, &sum), 1);

    // Without noise all nine are the result; its file is a point like a seed.
    let nothing = ["arithmetic", &run, "--plus", "a.npy:0", "--noise", "0", "--out", "b.png"];
    place.dcgan(&[&nothing, CPU]).ok();
    // The member, its mean, nine times the result, and the same of pixels.
    assert_eq!(count(&place.path("b.png"), &sum), 12);
}

#[test]
fn a_turn_leads_from_one_group_to_another() {
    let (place, run) = trained(&[]);
    let words = ["--from", "1,2", "--to", "4", "--seeds", "9", "--steps", "3"];
    let turn = ["arithmetic", &run, "--latents", "t.npy", "--out", "t.png"];
    let said = place.dcgan(&[&turn, &words, CPU]).ok().stdout;
    assert!(said.contains("(1, 2) to (4)"), "{said}");
    let (_, vector) = read_npy(&place.path("t.npy"));
    let mut ahead = z(9);
    for (i, v) in vector.iter().enumerate() {
        let wanted = z(4)[i] - (z(1)[i] + z(2)[i]) / 2.0;
        assert!((v - wanted).abs() < 1e-5, "{v}, not {wanted}");
        ahead[i] += v;
    }
    write_npy(&place.path("ahead.npy"), &[1, 8], &ahead);
    let page = place.path("t.png");
    for words in [["--seeds", "9"], ["--latents", "ahead.npy"]] {
        assert_eq!(count(&page, &samples(&place, &run, &words)[0]), 1, "{words:?}");
    }
}

#[test]
fn an_image_is_inverted_and_its_latents_serve_the_others() {
    let (place, run) = trained(&[]);
    let sample = samples(&place, &run, &["--seeds", "5"]).remove(0);
    fs::copy(place.path("samples/seed0005.png"), place.path("five.png")).unwrap();
    large(&sample, 2).save(place.path("big.png")).unwrap();
    let words = ["--steps", "150", "--prior", "0", "--resize", "nearest", "--out", "i.png"];
    let outcome = place.dcgan(&[&["invert", &run, "five.png", "big.png"], &words, CPU]).ok();
    assert!(outcome.stderr.contains("big.png has 192 x 192 pixels"), "{outcome:?}");
    assert!(!outcome.stderr.contains("five.png"), "{outcome:?}");
    for name in ["five.png", "big.png"] {
        let line = outcome.stdout.lines().find(|l| l.starts_with(name)).unwrap();
        let numbers: Vec<f32> =
            line.split_whitespace().skip(1).filter_map(|w| w.parse().ok()).collect();
        let [error, before, ..] = numbers[..] else { panic!("{line}") };
        assert!(error < 1.0 && before > 3.0 * error, "{line}");
    }
    let (shape, found) = read_npy(&place.path("i.npy"));
    assert_eq!(shape, [2, 8]);
    assert!(found.iter().all(|x| x.is_finite()));
    // Both originals are the sample; what was found is what its latent draws.
    assert!(count(&place.path("i.png"), &sample) >= 2);
    for made in samples(&place, &run, &["--latents", "i.npy"]) {
        let difference = made.as_raw().iter().zip(sample.as_raw()).map(|(a, b)| a.abs_diff(*b));
        assert!(difference.max().unwrap() < 12);
    }
    place.dcgan(&[&["walk", &run, "--seeds", "i.npy:1,3", "--steps", "2"], CPU]).ok();

    let features = ["invert", &run, "five.png", "--steps", "150", "--perceptual", "0.1"];
    let said = place.dcgan(&[&features, CPU]).ok().stdout;
    assert!(said.contains("inverted.png") && said.contains("inverted.npy"), "{said}");
}

#[test]
fn the_nearest_training_images_are_found() {
    let (place, run) = trained(&[]);
    // Among other images lie those of seeds 0 to 2.
    place.images("data", 9);
    samples(&place, &run, &["--seeds", "0-2"]);
    for i in 0..3 {
        let name = format!("seed000{i}.png");
        fs::copy(place.path("samples").join(&name), place.path("data").join(&name)).unwrap();
    }
    fs::write(place.path("data/bad.png"), "no image").unwrap();
    let look = |model: &str, seeds: &str, words: &[&str]| {
        let look = ["neighbors", model, "data", "--seeds", seeds, "--count", "2"];
        place.dcgan(&[&look, words, CPU]).ok()
    };
    let said = look(&run, "1-2", &[]);
    assert!(said.stderr.contains("unreadable, left out: bad.png"), "{said:?}");
    for line in [
        "pixels      median distance 0.0 of samples",
        "features    median distance 0.000 of samples",
    ] {
        assert!(said.stdout.contains(line), "{line}: {said:?}");
    }
    // The sample, and itself among the training images by pixels and by features.
    let own = samples(&place, &run, &["--seeds", "1-2"]);
    for own in &own {
        assert!(count(&place.path("neighbors.png"), own) >= 3);
    }
    let said = look(&run, "40-41", &["--out", "far.png", "--batch", "5"]);
    assert!(!said.stdout.contains("distance 0.0 of samples"), "{said:?}");

    generator_alone(&place, &run);
    let said = look("generator.safetensors", "1", &["--out", "g.png"]);
    assert!(said.stderr.contains("no discriminator: neighbors by pixels alone"), "{said:?}");
    assert!(!said.stdout.contains("\nfeatures"), "{said:?}");
}

#[test]
fn what_cannot_work_is_refused() {
    let (place, run) = trained(&[]);
    generator_alone(&place, &run);
    fs::write(place.path("text.png"), "no image at all, but a line of text").unwrap();
    write_npy(&place.path("short.npy"), &[2, 3], &[0.0_f32; 6]);
    write_npy(&place.path("two.npy"), &[2, 8], &[0.5_f32; 16]);
    let cases: &[(&[&str], i32, &[&str])] = &[
        (&["walk", &run, "--seeds", "3"], 2, &["--seeds", "two points", "3,17,42"]),
        (&["walk", &run, "--out", "w.mp4"], 2, &["--out", "w.mp4", ".gif"]),
        (&["walk", &run, "--strips", "s.jpg"], 2, &["--strips", ".png"]),
        (&["walk", &run, "--vary", "1", "--out", "v.gif"], 2, &["--vary", "figure", ".png"]),
        (&["walk", &run, "--seeds", "1,no.npy"], 1, &["no.npy", "does not exist"]),
        (&["walk", &run, "--seeds", "1,short.npy"], 1, &["short.npy", "[2, 3]", "[n, 8]"]),
        (&["walk", &run, "--seeds", "1,two.npy:2"], 1, &["two.npy", "2 rows"]),
        (&["arithmetic", &run], 2, &["--plus 1,5,9", "--from"]),
        (&["arithmetic", &run, "--plus", "1", "--noise=-1"], 2, &["--noise", "0.25"]),
        (&["invert", &run, "text.png"], 1, &["text.png", "no image"]),
        (&["invert", &run, "no.png"], 1, &["no.png", "does not exist"]),
        (&["invert", &run, "runs"], 1, &["runs", "folder"]),
        (&["invert", &run, "two.npy", "--lr=0"], 2, &["--lr", "0.1"]),
        (&["invert", &run, "two.npy", "--prior=-1"], 2, &["--prior"]),
        (
            &["invert", "generator.safetensors", "text.png", "--perceptual", "1"],
            1,
            &["generator.safetensors", "discriminator"],
        ),
        (&["neighbors", &run, "no-data"], 1, &["no-data", "does not exist"]),
        (&["neighbors", "no-model"], 1, &["no-model"]),
    ];
    for (words, code, message) in cases {
        place.dcgan(&[words, CPU]).refused(*code, message);
    }
    for (words, message) in [
        (vec!["walk", &run, "--linear", "--spherical"], "cannot be used with"),
        (vec!["walk", &run, "--seeds", "a"], "z.npy"),
        (vec!["walk", &run, "--vary", "1", "--range", "2..1"], "-2..2"),
        (vec!["arithmetic", &run, "--from", "1"], "--to"),
        (vec!["arithmetic", &run, "--plus", "1", "--from", "1", "--to", "2"], "cannot be used"),
        (vec!["invert", &run], "IMAGE"),
    ] {
        let outcome = place.dcgan(&[&words]);
        assert!(outcome.code == Some(2) && outcome.stderr.contains(message), "{outcome:#?}");
    }
    for file in ["walk.gif", "walk.png", "arithmetic.png", "inverted.png", "neighbors.png"] {
        assert!(!place.path(file).exists(), "{file} was left behind");
    }
}

/// A discriminator alone, as an imported model may be, has no latents to begin with.
#[test]
fn a_model_without_a_generator_is_refused_by_what_draws() {
    let (place, run) = trained(&[]);
    let mut model = ModelFile::load(&latest(Path::new(&run))).unwrap();
    model.networks = model.networks.without(Role::Generator);
    model.networks.nz = 0;
    model.tensors.retain(|name, _| name.starts_with("discriminator."));
    let path = place.path("d.safetensors");
    save_imported(&path, &model.networks, &model.tensors, "a test").unwrap();
    let commands: [&[&str]; 5] = [
        &["walk", "--out", "a.gif"],
        &["walk", "--vary", "0", "--out", "a.png"],
        &["arithmetic", "--plus", "1", "--minus", "2", "--out", "a.png"],
        &["neighbors", "--out", "a.png"],
        &["sample", "--out", "samples"],
    ];
    for words in commands {
        let outcome = place.dcgan(&[words, &["d.safetensors"], CPU]);
        assert_eq!(outcome.code, Some(1), "{outcome:#?}");
        assert!(outcome.stderr.contains("holds a discriminator alone"), "{outcome:#?}");
    }
    assert!(!place.path("a.gif").exists() && !place.path("a.png").exists());
}
