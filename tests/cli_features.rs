//! `dcgan features`: rows in the order of the images, whatever the batch; and what is refused.

use std::fs;
use std::path::Path;

use image::{Rgb, RgbImage};

use crate::cli::{Place, latest};

const CPU: &[&str] = &["--device", "cpu"];

/// A trained run, of whose discriminator an image has 8·16 + 16·16 features.
fn trained() -> (Place, String) {
    let place = Place::new();
    let run = place.train("runs", &[CPU, &["--batch", "8", "--images", "16"]]);
    (place, run.to_str().unwrap().to_owned())
}

const WIDTH: usize = 8 * 16 + 16 * 16;

/// Twelve images of two classes below `root`, of which one is none.
fn labeled(root: &Path) {
    for class in ["blue", "red"] {
        fs::create_dir_all(root.join(class)).unwrap();
        for i in 0..6_u32 {
            let image = RgbImage::from_fn(16, 16, |x, y| {
                let shade = (x * y * (i + 1) % 200) as u8;
                if class == "red" { Rgb([255, shade, 0]) } else { Rgb([0, shade, 255]) }
            });
            image.save(root.join(format!("{class}/{i}.png"))).unwrap();
        }
    }
    fs::write(root.join("blue/4.png"), b"no image").unwrap();
}

fn read<T: npyz::Deserialize>(path: &Path) -> (Vec<u64>, Vec<T>) {
    let npy = npyz::NpyFile::new(fs::File::open(path).unwrap()).unwrap();
    (npy.shape().to_vec(), npy.into_vec().unwrap())
}

#[test]
fn features_stand_in_the_order_of_the_images() {
    let (place, run) = trained();
    labeled(&place.path("data"));
    let words = ["features", &run, "data", "--out", "a.npy", "--labels", "l.npy", "--batch", "5"];
    let said = place.dcgan(&[&words, CPU]).ok();
    assert!(said.stdout.contains("float32 [12, 384]"), "{said:?}");
    assert!(said.stderr.contains("its row is NaN: blue/4.png"), "{said:?}");
    let (shape, all) = read::<f32>(&place.path("a.npy"));
    assert_eq!(shape, [12, WIDTH as u64]);
    for (i, row) in all.chunks(WIDTH).enumerate() {
        assert_eq!(row.iter().all(|x| x.is_nan()), i == 4, "row {i}");
        assert_eq!(row.iter().any(|x| x.is_nan()), i == 4, "row {i}");
    }
    assert_eq!(read::<i64>(&place.path("l.npy")).1, [[0; 6], [1; 6]].concat());

    // The model is the same by its run and by its checkpoint, the batch changes nothing, and an
    // image alone has the features that it has among others.
    fs::create_dir(place.path("one")).unwrap();
    fs::copy(place.path("data/red/2.png"), place.path("one/x.png")).unwrap();
    let checkpoint = latest(Path::new(&run));
    let words = ["features", checkpoint.to_str().unwrap(), "one", "--out", "b.npy"];
    place.dcgan(&[&words, CPU]).ok();
    let (shape, one) = read::<f32>(&place.path("b.npy"));
    assert_eq!(shape, [1, WIDTH as u64]);
    for (a, b) in one.iter().zip(&all[8 * WIDTH..]) {
        assert!((a - b).abs() <= 1e-4 * (1.0 + b.abs()), "{a} {b}");
    }
}

#[test]
fn what_cannot_work_is_refused_before_the_work() {
    let (place, run) = trained();
    labeled(&place.path("data/both"));
    fs::create_dir(place.path("plain")).unwrap();
    fs::copy(place.path("data/both/red/2.png"), place.path("plain/x.png")).unwrap();
    let cases: &[(&[&str], i32, &[&str])] = &[
        (&["plain", "--out", "x.npy", "--labels", "l.npy"], 1, &["plain", "no labels", "folder"]),
        (&["plain", "--out", "x.npy", "--part", "test"], 1, &["no test part"]),
        (&["plain", "--out", "x.npy", "--crop", "random"], 2, &["--crop", "center"]),
        (&["nowhere", "--out", "x.npy"], 1, &["nowhere", "does not exist"]),
    ];
    for (words, code, expected) in cases {
        let words = [&["features", run.as_str()], *words].concat();
        place.dcgan(&[&words, CPU]).refused(*code, expected);
    }
    place.dcgan(&[&["features", "plain", "plain", "--out", "x.npy"]]).refused(1, &["plain"]);
    assert!(!place.path("x.npy").exists() && !place.path("l.npy").exists());
}
