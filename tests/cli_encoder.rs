//! What users do with a model's encoder: latents of images, reconstructions, images as points, and
//! features that an encoder sees.

use std::fs;
use std::path::Path;

use dcgan::device::Device;
use dcgan::images;
use dcgan::model::{Encoder, Generator, Inputs, ModelFile, Role, Weights, save_imported};
use dcgan::tensor::Tensor;
use image::codecs::gif::GifDecoder;
use image::{AnimationDecoder as _, GrayImage, Luma};
use serde_json::Value;

use crate::cli::{Place, latest};
use crate::cli_latent::{count, large, samples};

const CPU: &[&str] = &["--device", "cpu"];

/// Two classes of images, none like another.
fn labeled(place: &Place, per_class: u32) {
    for (class, level) in [("bright", 180), ("dark", 10)] {
        fs::create_dir_all(place.path("set").join(class)).unwrap();
        for i in 0..per_class {
            let shade =
                |x: u32, y: u32| level + (i * 29 + x * (i + 3) + y * y * (i % 3)) as u8 % 60;
            let image = GrayImage::from_fn(16, 16, |x, y| Luma([shade(x, y)]));
            image.save(place.path("set").join(format!("{class}/{i}.png"))).unwrap();
        }
    }
}

/// A run with an encoder.
fn trained(per_class: u32) -> (Place, String) {
    let place = Place::new();
    labeled(&place, per_class);
    let flags = ["set", "--preset", "bigan", "--gray", "--batch", "8", "--images", "400"];
    let run = place.train("runs", &[&flags, &["--weight-decay", "0", "--ema", "0"], CPU]);
    (place, run.to_str().unwrap().to_owned())
}

fn read<T: npyz::Deserialize>(path: &Path) -> (Vec<u64>, Vec<T>) {
    let npy = npyz::NpyFile::new(fs::File::open(path).unwrap()).unwrap();
    (npy.shape().to_vec(), npy.into_vec().unwrap())
}

/// What the library's encoder makes of one image, and the generator of that, `[h, w, c]` in [−1, 1].
fn encoded(run: &str, image: &Path) -> (Vec<f32>, Vec<f32>) {
    let model = ModelFile::load(&latest(Path::new(run))).unwrap();
    let bytes = image::open(image).unwrap().into_luma8().into_raw();
    let mut encoder = Encoder::new(&model, &Device::Cpu, Weights::default(), 1).unwrap();
    let z = encoder.latents(&bytes).unwrap();
    let mut generator = Generator::new(&model, &Device::Cpu, Weights::default()).unwrap();
    let again = generator.images(&Inputs::latents(z.clone()).unwrap()).unwrap();
    (z.f32s().to_vec(), again.f32s().to_vec())
}

#[track_caller]
fn assert_near(a: &[f32], b: &[f32]) {
    assert_eq!(a.len(), b.len());
    assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-4), "{a:?}, not {b:?}");
}

#[test]
fn latents_stand_in_the_order_of_the_images_and_serve_other_commands() {
    let (place, run) = trained(12);
    fs::write(place.path("set/bright/5.png"), "no image").unwrap();
    let words = ["--out", "z.npy", "--names", "n.txt", "--labels", "l.npy", "--batch", "5"];
    let outcome = place.dcgan(&[&["encode", &run, "set"], &words, CPU]).ok();
    assert!(outcome.stdout.contains("z.npy: 24 images, float32 [24, 8]"), "{outcome:?}");
    assert!(outcome.stderr.contains("its row is NaN: bright/5.png"), "{outcome:?}");
    let (shape, z) = read::<f32>(&place.path("z.npy"));
    assert_eq!(shape, [24, 8]);
    let names = fs::read_to_string(place.path("n.txt")).unwrap();
    let names: Vec<&str> = names.lines().collect();
    assert!(names.len() == 24 && names[0].starts_with("bright/"), "{names:?}");
    assert_eq!(read::<i64>(&place.path("l.npy")).1, [[0; 12], [1; 12]].concat());
    for (name, row) in names.iter().zip(z.chunks(8)) {
        if *name == "bright/5.png" {
            assert!(row.iter().all(|x| x.is_nan()), "{row:?}");
        } else {
            assert_near(row, &encoded(&run, &place.path("set").join(name)).0);
        }
    }
    assert!((z[0] - z[23 * 8]).abs() > 1e-3, "all images have one latent");

    // A row can be used beside one that cannot; all rows of the file cannot.
    let at = names.iter().position(|name| *name == "dark/3.png").unwrap();
    let point = format!("z.npy:{at}");
    let walk = ["walk", &run, "--steps", "2", "--out", "w.gif", "--seeds"];
    place.dcgan(&[&walk, &[&format!("{point},3")], CPU]).ok();
    let bad = names.iter().position(|name| *name == "bright/5.png").unwrap();
    let message = format!("row {bad} holds a number that is not finite");
    place.dcgan(&[&walk, &["z.npy"], CPU]).refused(1, &["z.npy", &message]);
    place.dcgan(&[&["sample", &run, "--latents", "z.npy"], CPU]).refused(1, &["z.npy", &message]);

    // The first few alone, of the same images, of the checkpoint itself.
    let checkpoint = latest(Path::new(&run));
    let few = ["encode", checkpoint.to_str().unwrap(), "set", "--count", "3", "--out", "few.npy"];
    place.dcgan(&[&few, CPU]).ok();
    let (shape, few) = read::<f32>(&place.path("few.npy"));
    assert_eq!(shape, [3, 8]);
    assert_near(&few, &z[..24]);
    let made = samples(&place, &run, &["--latents", "few.npy"]);
    let again = encoded(&run, &place.path("set").join(names[1])).1;
    let again = images::single(&again, [1, 16, 16, 1], 0).unwrap().into_rgb8();
    assert!(made.len() == 3 && made[1] == large(&again, 6));
}

#[test]
fn reconstructions_stand_below_their_images_with_their_distance() {
    let (place, run) = trained(6);
    let words = ["reconstruct", &run, "set", "--count", "5", "--batch", "4", "--out", "r.png"];
    let said = place.dcgan(&[&words, CPU, &["--json"]]).ok().stdout;
    let report: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(report["images"], 12);

    // Of the library's own reconstructions.
    let mut sum = 0.0;
    let distance = |name: &str| -> f64 {
        let path = place.path("set").join(name);
        let image = image::open(&path).unwrap().into_luma8();
        let again = encoded(&run, &path).1;
        let square =
            |(&a, b): (&u8, &f32)| (f64::from(a) / 255.0 - f64::from(b + 1.0) / 2.0).powi(2);
        image.as_raw().iter().zip(&again).map(square).sum::<f64>().sqrt()
    };
    for class in ["bright", "dark"] {
        sum += (0..6).map(|i| distance(&format!("{class}/{i}.png"))).sum::<f64>();
    }
    let number = |name: &str| report[name].as_f64().unwrap();
    assert!(
        (number("distance") - sum / 12.0).abs() < 1e-3,
        "{}, not {}",
        number("distance"),
        sum / 12.0
    );
    assert!((number("ratio") - number("distance") / number("distance_other")).abs() < 1e-9);

    let shown = report["shown"].as_array().unwrap();
    assert_eq!(shown.len(), 5);
    let page = place.path("r.png");
    for entry in shown {
        let name = entry["image"].as_str().unwrap();
        assert!((entry["distance"].as_f64().unwrap() - distance(name)).abs() < 1e-3, "{name}");
        let path = place.path("set").join(name);
        let image = large(&image::open(&path).unwrap().into_rgb8(), 6);
        let again = images::single(&encoded(&run, &path).1, [1, 16, 16, 1], 0).unwrap();
        assert_eq!(count(&page, &image), 1, "{name}");
        assert!(count(&page, &large(&again.into_rgb8(), 6)) >= 1, "{name}");
    }

    // Another seed takes others; all are as many as there are.
    let own = |words: &[&str]| {
        let said = place.dcgan(&[&["reconstruct", &run, "set"], words, CPU]).ok().stdout;
        assert!(said.contains("EGr / EGr_b"), "{said}");
        said.lines().find(|line| line.starts_with("EGr ")).unwrap().to_owned()
    };
    let few = own(&["--images", "3"]);
    assert!(few.contains("of 3 images"), "{few}");
    assert_ne!(few, own(&["--images", "3", "--seed", "1"]));
    assert!(own(&["--all"]).contains("of 12 images"));
}

#[test]
fn images_are_points_where_there_is_an_encoder() {
    let (place, run) = trained(6);
    for (name, from) in [("a.png", "bright/1.png"), ("b.png", "dark/2.png")] {
        fs::copy(place.path("set").join(from), place.path(name)).unwrap();
    }
    let walk = ["walk", &run, "--seeds", "a.png,7,b.png", "--steps", "2", "--out", "w.gif"];
    place.dcgan(&[&walk, CPU]).ok();
    let bytes = fs::read(place.path("w.gif")).unwrap();
    let frames = GifDecoder::new(std::io::Cursor::new(&bytes[..])).unwrap().into_frames();
    let frames = frames.collect_frames().unwrap();
    assert_eq!(frames.len(), 6);
    for name in ["a.png", "b.png"] {
        let again = encoded(&run, &place.path(name)).1;
        let again = images::single(&again, [1, 16, 16, 1], 0).unwrap().into_rgb8();
        // So early in a training the frames beside may look the same.
        assert!(count(&place.path("w.png"), &large(&again, 6)) >= 2, "{name}");
    }
    let words = ["--plus", "a.png,b.png", "--minus", "b.png", "--latents", "sum.npy"];
    let said = place.dcgan(&[&["arithmetic", &run], &words, CPU]).ok().stdout;
    assert!(said.contains("(a.png, b.png) \u{2212} (b.png)"), "{said}");
    let [a, b] = ["a.png", "b.png"].map(|name| encoded(&run, &place.path(name)).0);
    let wanted: Vec<f32> = a.iter().zip(&b).map(|(a, b)| (a + b) / 2.0 - b).collect();
    assert_near(&read::<f32>(&place.path("sum.npy")).1, &wanted);
    place.dcgan(&[&["arithmetic", &run, "--from", "a.png", "--to", "b.png"], CPU]).ok();

    // An image of another size is made to fit, and said to be.
    let big = image::open(place.path("a.png")).unwrap().into_rgb8();
    large(&big, 2).save(place.path("big.png")).unwrap();
    let outcome = place.dcgan(&[&["walk", &run, "--seeds", "big.png,1", "--steps", "2"], CPU]).ok();
    assert!(outcome.stderr.contains("big.png has 32 x 32 pixels"), "{outcome:?}");
}

/// Commands of before there were encoders, which meet a generator that sees its latent twice and a
/// discriminator of pairs.
#[test]
fn other_commands_take_such_a_model() {
    let (place, run) = trained(6);
    let words = ["invert", &run, "set/dark/1.png", "--steps", "5", "--restarts", "2", "--json"];
    place.dcgan(&[&words, CPU]).ok();
    let outcome =
        place.dcgan(&[&["neighbors", &run, "set", "--seeds", "set/dark/1.png,2"], CPU]).ok();
    assert!(outcome.stderr.contains("takes pairs of an image and a latent"), "{outcome:?}");
    place.dcgan(&[&["filters", &run, "set"], CPU]).refused(1, &["pairs of an image and a latent"]);
    place
        .dcgan(&[&["features", &run, "set", "--out", "d.npy", "--by", "discriminator"], CPU])
        .refused(1, &["pairs of an image and a latent"]);
    assert!(!place.path("d.npy").exists());
}

#[test]
fn features_and_classes_by_an_encoder() {
    let (place, run) = trained(12);
    let features = |words: &[&str]| {
        place.dcgan(&[&["features", &run, "set", "--out", "f.npy"], words, CPU]).ok();
        read::<f32>(&place.path("f.npy"))
    };
    place.dcgan(&[&["encode", &run, "set", "--out", "z.npy"], CPU]).ok();
    let (shape, latents) = features(&["--by", "latents"]);
    assert_eq!(shape, [24, 8]);
    assert_near(&latents, &read::<f32>(&place.path("z.npy")).1);
    // Two hidden dense layers of 8; by itself, as the discriminator takes pairs.
    let (shape, hidden) = features(&[]);
    assert_eq!(shape, [24, 16]);
    assert_near(&hidden, &features(&["--by", "encoder", "--batch", "5"]).1);
    assert!(hidden.iter().any(|x| x.abs() > 1e-3));

    for class in ["bright", "dark"] {
        for (i, part) in (0..12).zip(["train", "train", "test"].into_iter().cycle()) {
            fs::create_dir_all(place.path("parts").join(part).join(class)).unwrap();
            let name = format!("{class}/{i}.png");
            let from = place.path("set").join(&name);
            fs::copy(from, place.path("parts").join(part).join(&name)).unwrap();
        }
    }
    for (by, named) in [("latents", "E's latents"), ("encoder", "E's features")] {
        let words = ["classify", &run, "--train", "parts", "--by", by, "--json"];
        let said = place.dcgan(&[&words, CPU]).ok().stdout;
        let report: Value = serde_json::from_str(&said).unwrap();
        let results = report["results"].as_array().unwrap();
        let named = [named, "raw pixels", "E untrained"];
        assert!(results.iter().map(|r| r["by"].as_str().unwrap()).eq(named), "{results:?}");
        assert_eq!(results[0]["features"], results[2]["features"]);
        assert!(results.iter().all(|r| r["accuracy"].as_f64().unwrap() > 0.8), "{results:?}");
    }

    // Convolutions, where there are some.
    let flags = ["set", "--family", "bigan", "--gray", "--batch", "8", "--images", "16"];
    let run = place.train("convolutions", &[&flags, CPU]);
    let run = run.to_str().unwrap();
    place.dcgan(&[&["features", run, "set", "--out", "c.npy"], CPU]).ok();
    assert_eq!(read::<f32>(&place.path("c.npy")).0, [24, 8 * 16 + 16 * 16]);
    place.dcgan(&[&["encode", run, "set", "--out", "c.npy"], CPU]).ok();
    assert_eq!(read::<f32>(&place.path("c.npy")).0, [24, 8]);
}

/// An encoder of distributions, which a file may hold whatever trained it.
#[test]
fn deviations_are_written_where_there_are_some() {
    let place = Place::new();
    labeled(&place, 2);
    let size = dcgan::model::Size { height: 16, width: 16 };
    let model_config = dcgan::models::ModelConfig {
        size,
        channels: 1,
        nz: 4,
        ngf: 4,
        ndf: 4,
        ..Default::default()
    };
    let networks =
        model_config.networks().unwrap().with(Role::Encoder, model_config.encoder(8).unwrap());
    let tensors = networks.params().into_iter().map(|param| {
        let value: Tensor = param.layout.to_file(&param.initial(3)).unwrap();
        (param.name, value)
    });
    let path = place.path("m.safetensors");
    save_imported(&path, &networks, &tensors.collect(), "a test").unwrap();
    let words = ["encode", "m.safetensors", "set", "--out", "z.npy", "--deviations", "s.npy"];
    place.dcgan(&[&words, CPU]).ok();
    let [(shape, z), (other, s)] = ["z.npy", "s.npy"].map(|name| read::<f32>(&place.path(name)));
    assert_eq!((shape, other), (vec![4, 4], vec![4, 4]));
    let model = ModelFile::load(&path).unwrap();
    let mut encoder = Encoder::new(&model, &Device::Cpu, Weights::default(), 4).unwrap();
    let image = image::open(place.path("set/bright/0.png")).unwrap().into_luma8().into_raw();
    let wanted = encoder.encode(&image).unwrap();
    assert_near(&z[..4], wanted.mean.f32s());
    assert_near(&s[..4], wanted.deviation.unwrap().f32s());
    assert!(s.iter().all(|&s| s > 0.0));
}

#[test]
fn what_cannot_work_is_refused_and_nothing_written() {
    let (place, run) = trained(4);
    let plain = place.train("plain", &[&["set", "--gray", "--batch", "4", "--images", "8"], CPU]);
    let plain = plain.to_str().unwrap();
    fs::create_dir(place.path("flat")).unwrap();
    fs::copy(place.path("set/dark/1.png"), place.path("flat/1.png")).unwrap();
    fs::write(place.path("text.png"), "no image").unwrap();
    let none: &[&str] = &["checkpoint", "this model has no encoder", "--preset bigan"];
    let cases: &[(&[&str], i32, &[&str])] = &[
        (&["encode", plain, "set", "--out", "z.npy"], 1, none),
        (&["reconstruct", plain, "set", "--out", "r.png"], 1, none),
        (&["walk", plain, "--seeds", "flat/1.png,3", "--out", "w.gif"], 1, none),
        (&["arithmetic", plain, "--plus", "flat/1.png", "--out", "a.png"], 1, none),
        (&["features", plain, "set", "--out", "z.npy", "--by", "encoder"], 1, none),
        (&["classify", plain, "--train", "set", "--by", "latents"], 1, none),
        (&["encode", &run, "set", "--out", "z.txt"], 2, &["--out", "z.txt", ".npy"]),
        (
            &["encode", &run, "set", "--out", "z.npy", "--deviations", "s.npy"],
            2,
            &["--deviations", "one latent"],
        ),
        (&["encode", &run, "flat", "--out", "z.npy", "--labels", "l.npy"], 1, &["flat", "labels"]),
        (&["encode", &run, "nowhere", "--out", "z.npy"], 1, &["nowhere", "does not exist"]),
        (&["encode", &run, "set", "--part", "test", "--out", "z.npy"], 1, &["no test part"]),
        (&["encode", "no-model", "set", "--out", "z.npy"], 1, &["no-model"]),
        (&["reconstruct", &run, "set", "--out", "r.jpg"], 2, &["--out", "r.jpg", ".png"]),
        (&["walk", &run, "--seeds", "no.png,3", "--out", "w.gif"], 1, &["no.png", "not exist"]),
        (&["walk", &run, "--seeds", "text.png,3", "--out", "w.gif"], 1, &["text.png"]),
    ];
    for (words, code, message) in cases {
        place.dcgan(&[words, CPU]).refused(*code, message);
    }
    let both = ["reconstruct", &run, "set", "--images", "3", "--all"];
    place.dcgan(&[&both]).refused(2, &["--images", "--all"]);
    for file in ["z.npy", "z.txt", "s.npy", "l.npy", "r.png", "r.jpg", "w.gif", "a.png"] {
        assert!(!place.path(file).exists(), "{file} was left behind");
    }
    // One image has no other to be compared with.
    let said = place.dcgan(&[&["reconstruct", &run, "flat"], CPU]).ok().stdout;
    assert!(said.contains("EGr ") && !said.contains("EGr_b"), "{said}");
}
