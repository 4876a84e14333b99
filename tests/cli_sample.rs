//! `dcgan sample`: the same seed gives the same image, whatever stands beside it.

use std::fs;
use std::path::Path;

use dcgan::device::{Device, State};
use dcgan::images;
use dcgan::model::sampler::BATCH;
use dcgan::model::{ModelFile, Sampler, Weights, seeded_latents};
use dcgan::models::LatentDistribution;
use dcgan::tensor::Tensor;
use npyz::WriterBuilder as _;

use crate::cli::{Place, TINY, latest, names};
use crate::support::gpu_selection;

const CPU: &[&str] = &["--device", "cpu"];

/// Writes numbers as a NumPy file.
pub(crate) fn write_npy<T: npyz::AutoSerialize + Copy>(path: &Path, shape: &[u64], numbers: &[T]) {
    let file = fs::File::create(path).unwrap();
    let options = npyz::WriteOptions::new().default_dtype().shape(shape);
    let mut writer = options.writer(file).begin_nd().unwrap();
    writer.extend(numbers.iter().copied()).unwrap();
    writer.finish().unwrap();
}

/// A trained run.
fn trained() -> (Place, String) {
    let place = Place::new();
    let run = place.train("runs", &[CPU, &["--batch", "8", "--images", "160"]]);
    (place, run.to_str().unwrap().to_owned())
}

#[test]
fn a_seed_makes_the_same_image_whatever_stands_beside_it() {
    let (place, run) = trained();
    let checkpoint = latest(Path::new(&run));
    let checkpoint = checkpoint.to_str().unwrap();
    let sample = |model: &str, seeds: &str, out: &str| {
        place.dcgan(&[&["sample", model, "--seeds", seeds, "--out", out], CPU]).ok().stdout
    };
    assert_eq!(sample(&run, "0-9", "ten"), "10 images in ten\n");
    let ten = names(&place.path("ten"));
    assert_eq!(ten, (0..10).map(|i| format!("seed{i:04}.png")).collect::<Vec<_>>());
    sample(&run, "3", "one");
    sample(&run, "0-40", "many");
    sample(checkpoint, "40,3,39-39", "some");
    assert_eq!(names(&place.path("many")).len(), 41);
    assert_eq!(names(&place.path("some")), ["seed0003.png", "seed0039.png", "seed0040.png"]);
    let read = |name: &str| fs::read(place.path(name)).unwrap();
    for other in ["ten", "many", "some"] {
        assert!(read("one/seed0003.png") == read(&format!("{other}/seed0003.png")), "{other}");
    }
    assert!(read("many/seed0039.png") == read("some/seed0039.png"));
    assert!(read("ten/seed0003.png") != read("ten/seed0004.png"));
    let image = image::open(place.path("one/seed0003.png")).unwrap();
    assert_eq!((image.width(), image.height()), (16, 16));
}

#[test]
fn the_last_preview_is_the_grid_of_the_same_seeds_on_every_device() {
    let gpu = gpu_selection();
    for device in [Some("cpu"), gpu.as_deref()].into_iter().flatten() {
        let place = Place::new();
        let words = ["--device", device, "--batch", "4", "--images", "8"];
        let run = place.train("runs", &[&words]);
        let run_path = run.to_str().unwrap();
        let sample = ["sample", run_path, "--grid", "8x8", "grid.png", "--device", device];
        let outcome = place.dcgan(&[&sample]).ok();
        assert_eq!(outcome.stdout, "64 images in grid.png: seeds 0-63, in rows of 8\n");
        let grid = image::open(place.path("grid.png")).unwrap();
        let preview = image::open(run.join("fakes-000000008.png")).unwrap();
        assert!(grid.as_bytes() == preview.as_bytes(), "on {device}");
        assert!(!place.path("samples").exists(), "--grid alone writes the grid alone");
    }
}

#[test]
fn a_grid_has_the_layout_asked_for() {
    let (place, run) = trained();
    let grid = |words: &[&str]| {
        place.dcgan(&[&["sample", &run, "--seeds", "0-7", "--grid"], words, CPU]).ok();
        image::open(place.path(words[words.len() - 1])).unwrap()
    };
    let (wide, tall) = (grid(&["4x2", "wide.png"]), grid(&["2x4", "tall.png"]));
    assert_eq!((wide.width(), wide.height()), (tall.height(), tall.width()));
    assert!(wide.width() > wide.height());
    assert!(grid(&["free.png"]).width() > 0);
    // Both at once.
    place.dcgan(&[&["sample", &run, "--seeds", "1", "--grid", "g.png", "--out", "o"], CPU]).ok();
    assert!(place.path("g.png").exists() && place.path("o/seed0001.png").exists());
}

#[test]
fn latents_from_a_file_and_numbers_to_one() {
    let (place, run) = trained();
    let latents = seeded_latents(&[3, 11], 8, LatentDistribution::Normal);
    write_npy(&place.path("z.npy"), &[2, 8], latents.f32s());
    place.dcgan(&[&["sample", &run, "--latents", "z.npy", "--out", "from-file"], CPU]).ok();
    place.dcgan(&[&["sample", &run, "--seeds", "3,11", "--out", "from-seeds"], CPU]).ok();
    let read = |name: &str| fs::read(place.path(name)).unwrap();
    assert_eq!(names(&place.path("from-file")), ["latent0000.png", "latent0001.png"]);
    assert!(read("from-file/latent0000.png") == read("from-seeds/seed0003.png"));
    assert!(read("from-file/latent0001.png") == read("from-seeds/seed0011.png"));

    let npy = ["sample", &run, "--seeds", "3,11", "--format", "npy", "--out", "numbers"];
    place.dcgan(&[&npy, CPU]).ok();
    assert_eq!(names(&place.path("numbers")), ["samples.npy"]);
    let bytes = read("numbers/samples.npy");
    let npy = npyz::NpyFile::new(&bytes[..]).unwrap();
    assert_eq!(npy.shape(), [2, 16, 16, 3]);
    let numbers = npy.into_vec::<f32>().unwrap();
    assert!(numbers.iter().all(|x| (-1.0..=1.0).contains(x)));
    // The same images as the PNGs.
    for (i, seed) in [(0, "seed0003.png"), (1, "seed0011.png")] {
        let image = images::single(&numbers, [2, 16, 16, 3], i).unwrap();
        let file = image::open(place.path("from-seeds").join(seed)).unwrap();
        assert!(image.as_bytes() == file.as_bytes(), "{seed}");
    }
}

/// The most memory that the program took, in bytes, to make so many images.
#[cfg(target_os = "linux")]
fn peak(place: &Place, words: &[&[&str]]) -> u64 {
    let mut running = place.start(words);
    let mut peak = 0;
    while running.runs() {
        let status = fs::read_to_string(format!("/proc/{}/status", running.id()));
        let status = status.unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
        peak = kib.map_or(peak, |kib| kib * 1024);
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    running.end().ok();
    peak
}

#[cfg(target_os = "linux")]
#[test]
fn memory_does_not_grow_with_the_number_of_images() {
    let (place, run) = trained();
    let npy = ["sample", &run, "--device", "cpu", "--format", "npy", "--seeds"];
    let few = peak(&place, &[&npy, &["0-63", "--out", "few"]]);
    let many = peak(&place, &[&npy, &["0-19999", "--out", "many"]]);
    // 20,000 images of 16 x 16 x 3 numbers of 4 bytes: 61 MB.
    let size = fs::metadata(place.path("many/samples.npy")).unwrap().len();
    assert!(size > 20_000 * 16 * 16 * 3 * 4);
    assert!(few > 1 << 20 && many < few + (8 << 20), "{few} bytes became {many}");
}

#[test]
fn the_average_is_the_default_and_raw_weights_differ() {
    let (place, run) = trained();
    place.dcgan(&[&["sample", &run, "--seeds", "5", "--out", "average"], CPU]).ok();
    place.dcgan(&[&["sample", &run, "--seeds", "5", "--raw", "--out", "raw"], CPU]).ok();
    let model = ModelFile::load(&latest(Path::new(&run))).unwrap();
    let z = seeded_latents(&[5], 8, LatentDistribution::Normal);
    for (folder, raw) in [("average", false), ("raw", true)] {
        let mut state = State::new(&Device::Cpu);
        let used = model.load_generator(&mut state, Weights::raw(raw)).unwrap();
        let mut sampler =
            Sampler::new(&model.networks, &state, used, BATCH, &model.choices).unwrap();
        let image: Tensor = sampler.sample(&mut state, &z).unwrap();
        let wanted = images::single(image.f32s(), [1, 16, 16, 3], 0).unwrap();
        let file = image::open(place.path(folder).join("seed0005.png")).unwrap();
        assert!(wanted.as_bytes() == file.as_bytes(), "{folder}");
    }
    let read = |name: &str| fs::read(place.path(name)).unwrap();
    assert!(read("average/seed0005.png") != read("raw/seed0005.png"));

    // Without an average both are the same.
    let flags = ["--batch", "8", "--images", "80", "--ema", "0"];
    let words = [&["train", "--out", "no-ema"], TINY, CPU, &flags].concat();
    place.dcgan(&[&words]).ok();
    let run = place.only_run("no-ema");
    let run = run.to_str().unwrap();
    place.dcgan(&[&["sample", run, "--seeds", "5", "--out", "a"], CPU]).ok();
    place.dcgan(&[&["sample", run, "--seeds", "5", "--raw", "--out", "b"], CPU]).ok();
    assert!(read("a/seed0005.png") == read("b/seed0005.png"));
}

#[test]
fn a_layout_says_how_many_and_captions_say_which() {
    let (place, run) = trained();
    let sample = |words: &[&str]| place.dcgan(&[&["sample", &run], words, CPU]);
    let said = sample(&["--grid", "3x2", "six.png"]).ok().stdout;
    assert_eq!(said, "6 images in six.png: seeds 0-5, in rows of 3\n");
    sample(&["--grid", "3x2", "same.png", "--seeds", "0-5"]).ok();
    let read = |name: &str| fs::read(place.path(name)).unwrap();
    assert!(read("six.png") == read("same.png"));
    let said = sample(&["--grid", "one.png", "--seeds", "7"]).ok().stdout;
    assert_eq!(said, "1 image in one.png: seeds 7, in rows of 1\n");
    sample(&["--grid", "3x2", "captions.png", "--captions"]).ok();
    let [plain, captions] =
        ["six.png", "captions.png"].map(|name| image::open(place.path(name)).unwrap().into_rgb8());
    assert!(captions.height() > plain.height() + 2 * 12, "no room for captions");
    // Text is dark on white, below the images as well.
    let below = captions.rows().rev().skip(20).take(16).flatten();
    assert!(below.filter(|p| p.0.iter().all(|&v| v < 120)).count() > 20);
    assert_eq!(sample(&["--captions"]).code, Some(2), "captions without a grid");
    sample(&["--grid", "2x2", "g.png", "--seeds", "0-4"]).refused(2, &["4 places for 5 images"]);
    sample(&["--grid", "2x2"]).refused(2, &["--grid 2x2 grid.png"]);
    sample(&["--grid", "9999x9999", "g.png"]).refused(2, &["--grid", "surely a typo"]);
}

#[test]
fn the_bundled_model_is_known_by_its_name() {
    let place = Place::new();
    let words = ["sample", "avatars", "--seeds", "3", "--out", "one"];
    place.dcgan(&[&words, CPU]).ok();
    let image = image::open(place.path("one/seed0003.png")).unwrap();
    assert_eq!((image.width(), image.height()), (64, 64));
    let words_of_scores = ["evaluate", "avatars", "--metrics", "colors", "--samples", "20"];
    let scores = place.dcgan(&[&words_of_scores, CPU]).ok().stdout;
    assert!(scores.contains("colors"), "{scores}");
    // What is on the disk comes first.
    fs::create_dir(place.path("avatars")).unwrap();
    place.dcgan(&[&words, CPU]).refused(1, &["avatars"]);
}

#[test]
fn a_model_to_hand_on_makes_the_same_images_but_for_rounding() {
    let (place, run) = trained();
    place.dcgan(&[&["export", &run, "--to", "model", "--out", "model.safetensors"]]).ok();
    for (model, out) in [(&*run, "of-run"), ("model.safetensors", "of-model")] {
        place.dcgan(&[&["sample", model, "--seeds", "5", "--out", out], CPU]).ok();
    }
    let pixels = |folder: &str| {
        image::open(place.path(folder).join("seed0005.png")).unwrap().to_rgb8().into_raw()
    };
    let far = pixels("of-run").iter().zip(pixels("of-model")).map(|(a, b)| a.abs_diff(b)).max();
    assert!(far.unwrap() <= 2, "{far:?}");
    let size = |path: &Path| fs::metadata(path).unwrap().len();
    assert!(size(&place.path("model.safetensors")) * 3 < size(&latest(Path::new(&run))));
    let words = ["export", &run, "--to", "model", "--network", "generator", "--out", "x"];
    place.dcgan(&[&words]).refused(2, &["--network", "all networks"]);
}
