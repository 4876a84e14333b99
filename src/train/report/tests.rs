#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
use std::path::Path;

use image::{DynamicImage, RgbImage};
use tempfile::TempDir;

use super::*;
use crate::data::{Fingerprint, Prepare, Reading};
use crate::models::{ModelConfig, Size};
use crate::train::{Intervals, Metrics, ScoreOptions, TrainConfig};

/// A name that would break out of text, attributes, styles and scripts.
const EVIL: &str = r#"a"b'<script>alert(1)</script>&{{ title }}"#;

fn options(classes: &[&str]) -> RunOptions {
    let model = ModelConfig {
        size: Size { height: 16, width: 16 },
        classes: classes.len(),
        ..ModelConfig::default()
    };
    let classes = classes.iter().map(|&class| class.to_owned()).collect();
    RunOptions {
        text_vectors: None,
        preset: "dcgan".into(),
        from: None,
        config: TrainConfig { model, classes, batch: 8, ..TrainConfig::default() },
        data: Some(EVIL.into()),
        data_description: format!("{EVIL}: 10 images"),
        data_fingerprint: serde_json::from_str::<Fingerprint>(r#"{"names":1,"contents":2}"#)
            .unwrap(),
        data_reading: Reading::default(),
        prepare: Prepare::default(),
        images: 100_000,
        rhythm: Intervals::default(),
        scores: ScoreOptions::default(),
        program: "dcgan 1.2.3".into(),
        device: format!("GPU {EVIL}"),
    }
}

fn log(n: u64) -> Vec<LogLine> {
    let line = |i: u64| LogLine {
        step: i * 100,
        images: i * 800,
        seconds: i as f64,
        images_per_s: 800.0,
        // A discriminator that wins, which the health checks find.
        metrics: Metrics::from([
            ("loss_d", 0.01),
            ("loss_g", 5.0),
            ("d_real", 0.99),
            ("d_fake", 0.01),
            ("grad_norm_d", 0.5),
            ("swd", 3.0),
        ]),
        ..LogLine::default()
    };
    (1..=n).map(line).collect()
}

/// A run's folder with previews of these numbers of images.
fn folder(fakes: &[u64]) -> (TempDir, Folder) {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::fresh(dir.path().join(EVIL.replace('/', "_")));
    std::fs::create_dir(folder.path()).unwrap();
    for &images in fakes {
        let gray = (images % 251) as u8;
        let image =
            DynamicImage::from(RgbImage::from_pixel(530, 530, [gray, 0, 255 - gray].into()));
        images::save_png(&folder.fakes_path(images), &image).unwrap();
    }
    (dir, folder)
}

fn report(classes: &[&str]) -> Report {
    let labels = (0..classes.len() as u32).flat_map(|class| [class; 8]).collect::<Vec<_>>();
    let count = if labels.is_empty() { 64 } else { labels.len() };
    let previews =
        Previews { seeds: "seeds 0 to 63".into(), labels, count, columns: 8, size: [64, 64] };
    let facts = vec![("data", format!("{EVIL}: 10 images")), ("device", "GPU".into())];
    Report::new(options(classes), facts, "the plan".into(), previews)
}

/// What lies between `start` and `end`, each time.
fn between<'a>(page: &'a str, start: &str, end: &str) -> Vec<&'a str> {
    page.split(start).skip(1).map(|rest| rest.split(end).next().unwrap()).collect()
}

#[test]
fn the_page_has_everything_and_needs_nothing_else() {
    let (_dir, folder) = folder(&[0, 512, 1024, 9600]);
    images::save_png(&folder.reals_path(), &DynamicImage::new_rgb8(530, 530)).unwrap();
    let scores = r#"[{"date": "2026-11-28", "checkpoint": "c", "metrics": {"<b>swd-raw": 11.25},
        "protocols": {"<b>swd-raw": "10k & more"}}]"#;
    std::fs::write(folder.scores_path(), scores).unwrap();
    let mut report = report(&[]);
    report.write(&folder, &log(60), &State::Done).unwrap();
    let page = std::fs::read_to_string(folder.report_path()).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.trim_end().ends_with("</html>"));

    // Four previews and the real images; each preview says of how many images it is.
    assert_eq!(between(&page, "<img src=\"", "\"").len(), 5);
    for images in ["0 images", "512 images", "1,024 images", "9,600 images"] {
        assert!(page.contains(&format!("alt=\"{images}\"")), "{images}");
    }
    for (title, lines) in
        [("Losses", 2), ("Discriminator outputs", 2), ("Gradient norms", 1), ("swd", 1)]
    {
        let chart = page.split(&format!("<h3>{title}</h3>")).nth(1).unwrap();
        let chart = chart.split("</svg>").next().unwrap();
        assert_eq!(between(chart, "<g ", "</g>").len(), lines, "{title}");
        assert!(
            between(chart, "class=\"line\" points=\"", "\"").iter().all(|points| points.len() > 20)
        );
    }
    assert!(page.contains("<div class=\"warning\"><b>After "), "no warning");
    assert_eq!(between(&page, "<figcaption>seed ", "<").len(), TILES);
    assert!(page.contains("11.25") && page.contains("10k &amp; more"));
    assert!(page.contains("dcgan train --resume") && page.contains("--images 200000"));
    assert!(page.contains("<th>--batch</th><td>8</td>") && page.contains("the plan"));
    assert!(page.contains("48k of 100k images"));

    // No address leads out of the file, and the browser would not follow one.
    assert!(page.contains("default-src 'none'; img-src data:"));
    for outside in ["http:", "https:", "//", "@import", "<link rel=\"stylesheet\"", "src=\"/"] {
        let found: Vec<&str> = page
            .match_indices(outside)
            .map(|(at, _)| at)
            // Comments of the script, and base64.
            .filter(|&at| !page[..at].ends_with('\n') && !in_data(&page, at))
            .map(|at| page.get(at..at + 60).unwrap_or_default())
            .collect();
        assert!(found.is_empty(), "{outside}: {found:?}");
    }
    for attribute in ["src=\"", "href=\"", "url(\""] {
        for value in between(&page, attribute, "\"") {
            assert!(value.starts_with("data:"), "{attribute}{value:.40}");
        }
    }
}

/// Whether a place of the page is inside of a data URI.
fn in_data(page: &str, at: usize) -> bool {
    let before = &page[..at];
    let start = before.rfind("data:image").unwrap_or(0);
    start > 0 && !before[start..].contains('"')
}

#[test]
fn names_are_text_and_nothing_else() {
    let (_dir, folder) = folder(&[0]);
    let names = [EVIL, "b"];
    let mut page = report(&names);
    let line = log(30).into_iter().map(|line| line.with(EVIL, 1.0)).collect::<Vec<_>>();
    let text = page.page(&folder, &line, &State::Training).unwrap();
    assert!(text.matches("&lt;script&gt;alert").count() >= 5, "the name is not there");
    assert!(!text.contains("<script>alert") && !text.contains("a\"b"));
    assert_eq!(text.matches("<script>").count(), 1, "only the page's own");
    // Only what is made here is inserted as it is.
    for file in ["run.html", "comparison.html", "head.html", "charts.html", "names.html"] {
        let source = TEMPLATES.get_template(file).unwrap();
        for safe in
            between(source.source(), "{{ ", " }}").into_iter().filter(|s| s.contains("safe"))
        {
            assert!(
                ["latest|safe", "preview.uri|safe", "reals.uri|safe", "run.samples.uri|safe"]
                    .contains(&safe),
                "{safe}"
            );
        }
    }
}

#[test]
fn a_page_without_anything_to_show_is_whole() {
    let (_dir, folder) = folder(&[]);
    let text = report(&[]).page(&folder, &[], &State::Training).unwrap();
    assert!(text.contains("in training") && !text.contains("<img") && !text.contains("<svg"));
}

#[test]
fn conditional_samples_have_their_class() {
    let (_dir, folder) = folder(&[0]);
    let classes: Vec<String> = (0..10).map(|i| format!("class{i}")).collect();
    let classes: Vec<&str> = classes.iter().map(String::as_str).collect();
    let text = report(&classes).page(&folder, &log(3), &State::Stopped).unwrap();
    let captions = between(&text, "<figcaption>seed ", "<");
    assert_eq!(captions[..3], ["0, class0", "1, class0", "8, class1"]);
    assert_eq!(captions.len(), 20);
}

/// A window on the grid shows the whole image and nothing else.
#[test]
fn tiles_are_windows_on_their_image() {
    let size = [16, 16];
    let tiles = tiles(
        &options(&[]),
        &Previews { seeds: String::new(), labels: Vec::new(), count: 64, columns: 8, size },
    );
    let (width, height) = images::size_of_grid(64, size, 8);
    let percent = |text: &str| -> Vec<f64> {
        text.split(' ').map(|part| part.trim_end_matches('%').parse().unwrap()).collect()
    };
    for (i, tile) in tiles.iter().enumerate() {
        let [x, y, w, h] = images::place_in_grid(i, size, 8).map(f64::from);
        // CSS: the grid is drawn so wide, and is moved by a share of what stands out.
        let (size, position) = (percent(&tile.size), percent(&tile.position));
        let shown = [w * size[0] / 100.0, h * size[1] / 100.0];
        assert!(
            (shown[0] - f64::from(width)).abs() < 0.01
                && (shown[1] - f64::from(height)).abs() < 0.01
        );
        let left = position[0] / 100.0 * (f64::from(width) - w);
        let top = position[1] / 100.0 * (f64::from(height) - h);
        assert!((left - x).abs() < 0.01 && (top - y).abs() < 0.01, "{i}: {left} {top}");
    }
    assert_eq!(tiles.len(), TILES);
}

#[test]
fn pages_take_a_small_share_of_the_time() {
    let (_dir, folder) = folder(&[0]);
    let mut report = report(&[]);
    report.write(&folder, &[], &State::Training).unwrap();
    std::fs::remove_file(folder.report_path()).unwrap();
    report.last = report.last.map(|(when, _)| (when, Duration::from_secs(60)));
    report.write(&folder, &[], &State::Training).unwrap();
    assert!(!folder.report_path().exists(), "another page so soon");
    report.last = report.last.map(|(when, _)| (when, Duration::ZERO));
    report.write(&folder, &[], &State::Training).unwrap();
    std::fs::remove_file(folder.report_path()).unwrap();
    report.last = report.last.map(|(when, _)| (when, Duration::from_secs(60)));
    report.write(&folder, &[], &State::Done).unwrap();
    assert!(folder.report_path().exists(), "the last page is always written");
    let text = report.write(&Folder::fresh(Path::new("/nowhere/run").into()), &[], &State::Done);
    assert!(text.is_err());
}
