//! Walks between classes and along principal directions, truncated latents, and the kinds of films,
//! as a user runs them, on small models that are kept beside the tests.

use std::fs;
use std::path::{Path, PathBuf};

use dcgan::experiments::directions::Directions;
use dcgan::model::{ModelFile, Truncation, Weights, save_imported};
use dcgan::models::LatentDistribution;
use dcgan::tensor::Tensor;
use image::codecs::gif::GifDecoder;
use image::codecs::png::PngDecoder;
use image::codecs::webp::WebPDecoder;
use image::imageops::{FilterType, resize};
use image::{AnimationDecoder as _, DynamicImage, RgbImage};

use crate::cli::Place;
use crate::cli_latent::{count, large, read_npy, samples};
use crate::cli_sample::write_npy;

const CPU: &[&str] = &["--device", "cpu"];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/models/{name}.safetensors"))
}

fn fixture_name(name: &str) -> String {
    fixture(name).to_str().unwrap().to_owned()
}

/// The frames of a film, by its name's ending.
fn frames(film: &Path) -> Vec<RgbImage> {
    let bytes = std::io::Cursor::new(fs::read(film).unwrap());
    let frames = match film.extension().unwrap().to_str().unwrap() {
        "gif" => GifDecoder::new(bytes).unwrap().into_frames(),
        "apng" => PngDecoder::new(bytes).unwrap().apng().unwrap().into_frames(),
        _ => WebPDecoder::new(bytes).unwrap().into_frames(),
    };
    let frames = frames.collect_frames().unwrap().into_iter();
    frames.map(|frame| DynamicImage::from(frame.into_buffer()).into_rgb8()).collect()
}

/// What `dcgan sample` draws, as large as a frame of a film: 128 pixels for 8.
fn drawn(place: &Place, model: &str, words: &[&str]) -> Vec<RgbImage> {
    let shown = samples(place, model, words).into_iter();
    shown.map(|image| large(&resize(&image, 8, 8, FilterType::Nearest), 16)).collect()
}

#[test]
fn truncated_samples_are_those_of_their_latents() {
    let place = Place::new();
    let model = fixture_name("dcgan");
    let seeds = ["--seeds", "3,11,5"];
    let with = |words: &[&str]| samples(&place, &model, &[&seeds, words].concat());
    let whole = with(&[]);
    assert!(with(&["--truncation", "9"]) == whole, "a large threshold changes nothing");
    let cut = with(&["--truncation", "0.4"]);
    assert!(cut != whole && cut == with(&["--truncation", "0.4"]));
    let truncation = Truncation::new(0.4).unwrap();
    let z = truncation.latents(&[3, 11, 5], 4, LatentDistribution::Normal);
    write_npy(&place.path("z.npy"), &[3, 4], z.f32s());
    // Files are in the order of their names.
    let rows = samples(&place, &model, &["--latents", "z.npy"]);
    assert!([&rows[0], &rows[2], &rows[1]].into_iter().eq(&cut));

    let grid = ["sample", &model, "--truncation", "0.4", "--seeds", "0-3", "--grid", "g.png"];
    let said = place.dcgan(&[&grid, CPU]).ok().stdout;
    assert!(said.contains("seeds 0-3, truncated at 0.4"), "{said}");
    // The ends of a strip are those samples too, and a film of two of them begins with one.
    let walk = ["walk", &model, "--seeds", "3,11", "--steps", "2", "--out", "w.webp"];
    place.dcgan(&[&walk, &["--truncation", "0.4"], CPU]).ok();
    let first = drawn(&place, &model, &["--seeds", "3", "--truncation", "0.4"]).remove(0);
    assert!(frames(&place.path("w.webp"))[0] == first);

    // A sum of one sample is its latent, and neighbors are those of the truncated sample.
    let sum = ["arithmetic", &model, "--plus", "3", "--latents", "sum.npy"];
    place.dcgan(&[&sum, &["--truncation", "0.4"], CPU]).ok();
    let own = truncation.latents(&[3], 4, LatentDistribution::Normal);
    assert_eq!(read_npy(&place.path("sum.npy")).1, own.f32s());
    let near = |words: &[&str]| {
        let said =
            place.dcgan(&[&["neighbors", &model, "--json", "--count", "1"], words, CPU]).ok();
        let found: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
        found["samples"][0]["by_pixels"].clone()
    };
    let cut = near(&["--seeds", "3", "--truncation", "0.4"]);
    assert!(cut == near(&["--seeds", "z.npy:0"]) && cut != near(&["--seeds", "3"]), "{cut}");

    for bad in ["0", "-0.5", "nan", "inf", "much"] {
        for command in ["sample", "walk", "arithmetic", "neighbors"] {
            let words = [command, &model, "--truncation", bad];
            place.dcgan(&[&words]).refused(2, &["--truncation", "above 0"]);
        }
    }
    let both = ["sample", &model, "--latents", "z.npy", "--truncation", "1"];
    place.dcgan(&[&both]).refused(2, &["--latents", "--truncation"]);
}

#[test]
fn a_film_is_of_the_kind_that_its_name_says() {
    let place = Place::new();
    let model = fixture_name("dcgan");
    let walk = ["walk", &model, "--seeds", "3,11", "--steps", "3", "--out"];
    let film = |name: &str| {
        place.dcgan(&[&walk, &[name], CPU]).ok();
        frames(&place.path(name))
    };
    let webp = film("w.webp");
    assert_eq!(webp.len(), 6);
    assert!(film("w.APNG".to_lowercase().as_str()) == webp, "both keep every pixel");
    assert_eq!(film("w.gif").len(), 6);
    let own = ["3", "11"].map(|seed| drawn(&place, &model, &["--seeds", seed]).remove(0));
    assert!(webp[0] == own[0] && webp[3] == own[1]);

    let out = |name: &str, words: &[&str]| place.dcgan(&[&walk, &[name], words]);
    let kinds = "does not end in .gif, .webp or .apng";
    out("w.jpg", &[]).refused(2, &["--out", "w.jpg", kinds]);
    out("w", &[]).refused(2, &["--out", kinds]);
    out("x.mp4", &[]).refused(2, &["--out", "x.mp4", ".apng", "ffmpeg -i walk.apng"]);
    out("w.webp", &["--vary", "0"]).refused(2, &["--vary"]);
    assert!(!place.path("x.mp4").exists() && !place.path("w.jpg").exists());
}

#[test]
fn a_walk_between_classes_goes_through_each_of_them() {
    let place = Place::new();
    let model = fixture_name("conditional");
    let walk = ["walk", &model, "--classes", "red,0,dark", "--steps", "4"];
    let said = place.dcgan(&[&walk, &["--seeds", "7", "--out", "w.webp"], CPU]).ok().stdout;
    assert!(said.contains("3 classes, 12 frames of 1 image\n"), "{said}");
    let film = frames(&place.path("w.webp"));
    assert_eq!(film.len(), 12);
    for (i, class) in ["red", "bright", "dark"].iter().enumerate() {
        let words = ["--seeds", "7", "--class", class];
        assert!(film[4 * i] == drawn(&place, &model, &words)[0], "{class}");
        let large = samples(&place, &model, &words).remove(0);
        // At the end of one strip and at the start of another.
        assert_eq!(count_in_figure(&place, &large), 2, "{class}");
    }
    assert!((1..12).all(|i| film[i] != film[i - 1]), "the walk stands still");

    // Of several latents, all are in a frame.
    place.dcgan(&[&walk, &["--seeds", "7,8", "--out", "two.apng"], CPU]).ok();
    let two = frames(&place.path("two.apng"));
    assert_eq!((two.len(), two[0].dimensions()), (12, (2 + 2 * 66, 2 + 66)));
    place
        .dcgan(&[&["walk", &model, "--classes", "all", "--steps", "2", "--out", "a.gif"], CPU])
        .ok();
    assert_eq!(frames(&place.path("a.gif")).len(), 6);

    let refused = |words: &[&str], named: &[&str]| {
        place.dcgan(&[&["walk"], words]).refused(2, named);
    };
    let list = "bright (0), dark (1), red (2)";
    refused(&[&model, "--classes", "cat,red"], &["--classes", "no class \"cat\"", list]);
    refused(&[&model, "--classes", "red"], &["--classes", "two classes or more", list]);
    refused(&[&model, "--classes", "red,2"], &["--classes", "two classes or more"]);
    refused(&[&model, "--classes", "red,0", "--class", "1"], &["--classes", "--class"]);
    refused(&[&model, "--classes", "red,0", "--spherical"], &["--classes", "--spherical"]);
    let without = &["--classes", "without classes", "--conditional"];
    refused(&[&fixture_name("dcgan"), "--classes", "0,1"], without);
    assert!(!place.path("walk.gif").exists());
}

/// Figures show images of 8 pixels twelve times as large; [`samples`] makes them six times so.
fn count_in_figure(place: &Place, image: &RgbImage) -> usize {
    let image = large(&resize(image, 8, 8, FilterType::Nearest), 12);
    count(&place.path("w.png"), &image)
}

/// A model whose first layer stretches the columns of an orthogonal matrix by known factors; both
/// are given back.
fn stretched(place: &Place) -> (String, Vec<Vec<f32>>) {
    let mut model = ModelFile::load(&fixture("imported")).unwrap();
    // I − 2 u uᵀ / (uᵀ u), u = (1, …, 6): a reflection.
    let reflection = |i: usize, k: usize| {
        let u = |i: usize| (i + 1) as f32;
        f32::from(u8::from(i == k)) - 2.0 * u(i) * u(k) / 91.0
    };
    let columns: Vec<Vec<f32>> =
        (0..6).map(|k| (0..6).map(|i| reflection(i, k)).collect()).collect();
    // Each has outputs of its own: 21 of 8 x 4 x 4.
    let mut weight = vec![0.0; 6 * 128];
    for i in 0..6 {
        for j in 0..126 {
            weight[i * 128 + j] = reflection(i, j % 6) * STRETCHED[j % 6] / 21.0_f32.sqrt();
        }
    }
    let weight = Tensor::new([6, 8, 4, 4], weight).unwrap();
    model.tensors.insert("generator.main.0.weight".into(), weight);
    let path = place.path("stretched.safetensors");
    save_imported(&path, &model.networks, &model.tensors, "a test").unwrap();
    (path.to_str().unwrap().to_owned(), columns)
}

/// By how much, in no order.
const STRETCHED: [f32; 6] = [1.0, 8.0, 0.25, 4.0, 0.5, 2.0];

#[test]
fn the_directions_of_a_known_layer_are_found_and_matter_in_their_order() {
    let place = Place::new();
    let (model, columns) = stretched(&place);
    let found =
        Directions::of(&ModelFile::load(model.as_ref()).unwrap(), Weights::default()).unwrap();
    for (k, of) in [1, 3, 5, 0, 4, 2].into_iter().enumerate() {
        let (value, expected) = (found.singular_values[k], f64::from(STRETCHED[of]));
        assert!((value - expected).abs() < 1e-4 * expected, "{value} for {expected}");
        let vector = &found.vectors[k];
        let dot: f32 = vector.iter().zip(&columns[of]).map(|(a, b)| a * b).sum();
        assert!(dot.abs() > 0.9999, "{k}: {vector:?} for {:?}", columns[of]);
    }

    let walk = ["walk", &model, "--seeds", "3,4", "--direction"];
    let said = place.dcgan(&[&walk, &["1-6"], CPU]).ok().stdout;
    // Number, singular value, change, times that of random directions.
    let table: Vec<Vec<&str>> =
        said.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(table[1][..2], ["1", "8.000"], "{said}");
    assert_eq!(table[6][..2], ["6", "0.250"], "{said}");
    assert_eq!(table[8], ["figure", "directions.png"], "{said}");
    let times: Vec<f64> = (1..7).map(|line| table[line][3].parse().unwrap()).collect();
    assert!(times[0] > 1.0 && times[5] < 0.1 && times[0] > 20.0 * times[5], "{said}");
    // The image itself is in the middle of each row.
    for own in samples(&place, &model, &["--seeds", "3,4"]) {
        assert!(count(&place.path("directions.png"), &own) >= 6);
    }

    // A film sways from the image to both ends and back to it; --steps are its frames.
    place.dcgan(&[&walk, &["1,2", "--steps", "4", "--out", "s.webp"], CPU]).ok();
    let film = frames(&place.path("s.webp"));
    assert_eq!(film.len(), 8);
    assert!(film[0] == film[4] && film[0] != film[1] && film[1] != film[3]);
    assert!(place.path("s.png").exists());

    let refused = |words: &[&str], named: &[&str]| {
        place.dcgan(&[&walk, words]).refused(2, named);
    };
    let range = "this model has 1 to 6";
    refused(&["0"], &["--direction", "0 is not a direction", range]);
    refused(&["1,7"], &["--direction", "7 is not a direction", range]);
    refused(&["x"], &["--direction", "counted from 1", "1-5"]);
    refused(&["-1"], &["--direction", "counted from 1"]);
    refused(&["1", "--out", "d.jpg"], &["--out", "d.jpg", ".png (a figure), .gif, .webp or .apng"]);
    refused(&["1", "--strips", "d.png"], &["--strips", "--out"]);
    refused(&["1", "--vary", "0"], &["--direction", "--vary"]);
    refused(&["1", "--linear"], &["--direction", "--linear"]);
}

#[test]
fn networks_of_all_kinds_have_directions() {
    // The numbers of a latent that are not codes.
    let models = [("dcgan", 4), ("conditional", 4), ("infogan", 4), ("sngan-resnet", 4)];
    for (name, count) in models.into_iter().chain([("weight-norm", 4), ("semi-supervised", 4)]) {
        let model = ModelFile::load(&fixture(name)).unwrap();
        let found = Directions::of(&model, Weights::default()).unwrap();
        assert_eq!(found.vectors.len(), count, "{name}");
        let nz = model.networks.nz;
        assert!(found.singular_values.is_sorted_by(|a, b| a >= b), "{name}");
        assert!(found.singular_values[0] > 0.0, "{name}");
        for (i, a) in found.vectors.iter().enumerate() {
            assert_eq!(a.len(), nz);
            assert!(a[count..].iter().all(|&x| x == 0.0), "{name}: codes are moved");
            for (j, b) in found.vectors.iter().enumerate() {
                let dot: f32 = a.iter().zip(b).map(|(a, b)| a * b).sum();
                assert!((dot - f32::from(u8::from(i == j))).abs() < 1e-5, "{name} {i} {j}");
            }
        }
    }
    // Without weights, or behind what is not affine, there are none.
    let place = Place::new();
    let conditional = fixture_name("conditional");
    let walk = ["walk", &conditional, "--direction", "1"];
    place.dcgan(&[&walk, CPU]).refused(2, &["--class", "is needed"]);
    place.dcgan(&[&walk, &["--class", "red"], CPU]).ok();
}
