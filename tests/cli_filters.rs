//! `dcgan filters`: the figure and the table, and what is refused.

use std::fs;

use crate::cli::Place;
use crate::cli_latent::generator_alone;

const CPU: &[&str] = &["--device", "cpu"];

/// A run of images of 16x16 whose discriminator has 8 and 16 filters, and a folder of images.
fn trained() -> (Place, String) {
    let place = Place::new();
    let run = place.train("runs", &[CPU, &["--batch", "8", "--images", "64"]]);
    place.images("data", 11);
    fs::write(place.path("data/zzz.png"), "no image").unwrap();
    let run = run.to_str().unwrap().to_owned();
    (place, run)
}

/// The rows of the table that are of one network.
fn rows<'a>(said: &'a str, network: &str) -> Vec<Vec<&'a str>> {
    let rows = said.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.filter(|row| row.get(2) == Some(&network)).collect()
}

#[test]
fn filters_are_shown_beside_untrained_ones() {
    let (place, run) = trained();
    let filters = |words: &[&str]| place.dcgan(&[&["filters", &run, "data"], words, CPU]).ok();
    let out = filters(&["--top", "3", "--batch", "4"]);
    assert!(out.stderr.contains("unreadable, left out: zzz.png"), "{}", out.stderr);
    assert!(out.stdout.contains("responses to 11 images"), "{}", out.stdout);
    let trained = rows(&out.stdout, "trained");
    assert_eq!(trained.len(), 6);
    for (filter, row) in trained.iter().enumerate() {
        assert_eq!(row[..2], ["2", &filter.to_string()]);
        let number = |i: usize| row[i].parse::<f64>().unwrap();
        assert!(number(5) >= number(3) && (0.0..=100.0).contains(&number(4)), "{row:?}");
        assert!(place.path("data").join(row[6]).exists(), "{row:?}");
    }
    let figure = image::open(place.path("filters.png")).unwrap().into_rgb8();
    assert!(figure.width() > 6 * 96 && figure.height() > 12 * 96, "{:?}", figure.dimensions());

    // The same again gives the same bytes; batches do not matter to what is found.
    let bytes = fs::read(place.path("filters.png")).unwrap();
    filters(&["--top", "3", "--batch", "4", "--out", "again.png"]);
    assert!(fs::read(place.path("again.png")).unwrap() == bytes);
    let others = filters(&["--top", "3", "--batch", "64", "--seed", "1"]).stdout;
    assert_eq!(rows(&others, "trained"), trained);
    assert_ne!(rows(&others, "untrained"), rows(&out.stdout, "untrained"));
    assert!(fs::read(place.path("filters.png")).unwrap() != bytes);
}

#[test]
fn layers_and_filters_are_chosen() {
    let (place, run) = trained();
    let words = ["filters", &run, "data", "--layer", "1,2", "--filters", "5,0-1", "--top", "2"];
    let said = place.dcgan(&[&words, CPU]).ok().stdout;
    let of: Vec<_> = rows(&said, "trained").iter().map(|r| [r[0], r[1]].concat()).collect();
    assert_eq!(of, ["15", "10", "11", "25", "20", "21"]);
    // The first layer sees 4x4 pixels, shown by themselves unless whole images are wanted.
    let parts = fs::read(place.path("filters.png")).unwrap();
    place.dcgan(&[&words, CPU, &["--whole"]]).ok();
    assert!(fs::read(place.path("filters.png")).unwrap() != parts);
}

#[test]
fn what_cannot_be_shown_is_refused() {
    let (place, run) = trained();
    let filters = |words: &[&str]| place.dcgan(&[&["filters", &run, "data"], words, CPU]);
    let layers = ["there is no hidden convolution", "1 (main.0, 8x8, 8 maps), 2 (main.2, 4x4, 16"];
    filters(&["--layer", "3"]).refused(2, &layers);
    filters(&["--layer", "0"]).refused(2, &layers);
    let filter = ["--filters", "there is no filter 8: convolution 1 has 8, from 0 to 7"];
    filters(&["--layer", "1", "--filters", "8"]).refused(2, &filter);
    filters(&["--out", "filters.jpg"]).refused(2, &["--out", "end in .png"]);
    assert!(!place.path("filters.png").exists());
    generator_alone(&place, &run);
    let words = ["filters", "generator.safetensors", "data"];
    place.dcgan(&[&words, CPU]).refused(1, &["generator.safetensors", "needs a discriminator"]);
}
