//! `losses.png`: the log as an image. Losses above, probabilities below, and sample diversity and
//! scores if they were measured, over the images seen; smoothed lines over the faint raw reports.
//!
//! Drawn at twice the size and scaled down: the plotting library has no antialiasing. The font is
//! bundled, so that nothing depends on the system's.

use std::iter::repeat;
use std::path::Path;
use std::sync::OnceLock;

use image::imageops::{self, FilterType};
use image::{DynamicImage, RgbImage};
use plotters::prelude::*;
use plotters::style::register_font;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::error::{Error, Result};
use crate::gan::ObjectiveConfig;
use crate::human;
use crate::images;
use crate::train::log::LogLine;
use crate::train::panels::{Curve, Panel, panels, stage_starts};
use crate::train::scores::Floors;
use crate::train::series::{envelope, means, range, smooth};

/// Width and height of the image, and the extra height of each panel after the second.
const SIZE: (u32, u32) = (900, 700);
const FURTHER: u32 = 190;

/// Supersampling factor.
const SCALE: u32 = 2;

const FONT: &str = "ubuntu";
const INK: RGBColor = RGBColor(20, 22, 26);
const PALE: RGBColor = RGBColor(70, 76, 84);
const RULES: RGBColor = RGBColor(232, 234, 237);
const FRAME: RGBColor = RGBColor(160, 166, 173);
const PAPER: RGBColor = RGBColor(255, 255, 255);
/// The colors of curves, by their number.
const COLORS: [RGBColor; 6] = [
    RGBColor(31, 104, 180),
    RGBColor(219, 110, 20),
    RGBColor(44, 140, 86),
    RGBColor(150, 60, 150),
    RGBColor(120, 90, 60),
    RGBColor(90, 100, 110),
];

type Area<'a> = DrawingArea<BitMapBackend<'a>, plotters::coord::Shift>;
type Drawn<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// What a log does not hold.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// The run's name.
    pub name: &'a str,
    /// What its scores are held against.
    pub floors: &'a Floors,
}

/// Draws a log and writes it as PNG, atomically. `objective` determines what its metrics mean.
///
/// # Errors
/// [`Error::File`] if there is nothing to draw yet, or the file cannot be written.
pub fn save(
    path: &Path,
    log: &[LogLine],
    objective: &ObjectiveConfig,
    about: &About<'_>,
) -> Result<()> {
    if log.is_empty() {
        return Err(Error::file(path, "there are no reports yet to plot"));
    }
    let image = draw(log, objective, about)
        .map_err(|error| Error::file(path, format!("cannot be drawn: {error}")))?;
    images::save_png(path, &image)
}

fn draw(log: &[LogLine], objective: &ObjectiveConfig, about: &About<'_>) -> Drawn<DynamicImage> {
    static FONT_IS_THERE: OnceLock<bool> = OnceLock::new();
    let there = FONT_IS_THERE.get_or_init(|| {
        register_font(FONT, FontStyle::Normal, epaint_default_fonts::UBUNTU_LIGHT).is_ok()
    });
    if !there {
        return Err("the font cannot be read".into());
    }
    let panels = panels(objective, log, about.floors);
    let further = FURTHER * panels.len().saturating_sub(2) as u32;
    let (w, h) = (SIZE.0 * SCALE, (SIZE.1 + further) * SCALE);
    let mut buffer = vec![0; (w * h * 3) as usize];
    {
        let root = BitMapBackend::with_buffer(&mut buffer, (w, h)).into_drawing_area();
        root.fill(&PAPER)?;
        let root = root.margin(px(14), px(12), px(18), px(22));
        let (head, body) = root.split_vertically(px(26));
        text(&head, about.name, (0, px(10)), 15, PALE, HPos::Left)?;
        let height = body.dim_in_pixel().1 - further * SCALE;
        let above = height * 52 / 100;
        let heights = [above, height - above].into_iter().chain(repeat(FURTHER * SCALE));
        let mut rest = body;
        for (i, (panel, height)) in panels.iter().zip(heights).enumerate() {
            let (area, below) = rest.split_vertically(height);
            draw_panel(&area, panel, log, i + 1 == panels.len())?;
            rest = below;
        }
        root.present()?;
    }
    let large = RgbImage::from_raw(w, h, buffer).ok_or("the image has another size")?;
    Ok(imageops::resize(&large, SIZE.0, SIZE.1 + further, FilterType::Triangle).into())
}

fn color(curve: &Curve) -> RGBColor {
    COLORS[curve.color % COLORS.len()]
}

/// Converts a length of the final image to the larger one.
fn px(n: i32) -> i32 {
    n * SCALE as i32
}

fn text(
    area: &Area<'_>,
    what: &str,
    at: (i32, i32),
    size: i32,
    color: RGBColor,
    side: HPos,
) -> Drawn {
    let style = (FONT, px(size)).into_font().color(&color).pos(Pos::new(side, VPos::Center));
    Ok(area.draw(&Text::new(what.to_owned(), at, style))?)
}

fn draw_panel(area: &Area<'_>, panel: &Panel, log: &[LogLine], is_last: bool) -> Drawn {
    let (head, body) = area.split_vertically(px(32));
    draw_legend(&head, panel)?;

    let points = |curve: &Curve| {
        let all = log.iter().map(|l| (l.images as f64, f64::from(l.value(&curve.metric))));
        all.filter(|(_, y)| y.is_finite()).collect::<Vec<_>>()
    };
    let series: Vec<_> = panel.curves.iter().map(points).collect();
    let (low, high) = panel.range.unwrap_or_else(|| range(&series.concat()));
    let first = log.iter().map(|l| l.images).min().unwrap_or(0) as f64;
    let last = log.iter().map(|l| l.images).max().unwrap_or(0) as f64;
    let decimals = match high - low {
        20.0.. => 0,
        0.5.. => 1,
        0.05.. => 2,
        _ => 4,
    };
    // A run starts at 0; a log with its start cut off need not.
    let first = if first < last / 2.0 { 0.0 } else { first };

    let mut chart = ChartBuilder::on(&body)
        .set_label_area_size(LabelAreaPosition::Left, px(46))
        .set_label_area_size(LabelAreaPosition::Bottom, px(if is_last { 46 } else { 30 }))
        .build_cartesian_2d(first..last.max(first + 1.0), low..high)?;
    let label = |size| (FONT, px(size)).into_font().color(&INK);
    chart
        .configure_mesh()
        .bold_line_style(RULES.stroke_width(SCALE))
        .light_line_style(TRANSPARENT)
        .axis_style(FRAME.stroke_width(SCALE))
        .x_labels(9)
        .y_labels(6)
        .x_label_formatter(&|x| human::count(*x as u64))
        .y_label_formatter(&|y| format!("{y:.decimals$}"))
        .label_style(label(14))
        .axis_desc_style(label(15))
        .x_desc(if is_last { "images seen" } else { "" })
        .set_all_tick_mark_size(px(4))
        .draw()?;

    for (start, stage) in stage_starts(log) {
        let start = start.max(first);
        let ends = [low, high].map(|y| (start, y));
        chart.draw_series(LineSeries::new(ends, FRAME.stroke_width(SCALE)))?;
        let plot = chart.plotting_area();
        let (left, top) = plot.map_coordinate(&ends[1]);
        let (origin_x, origin_y) = plot.get_base_pixel();
        let at = (left - origin_x + px(4), top - origin_y + px(9));
        let style = (FONT, px(12)).into_font().color(&PALE);
        let style = style.pos(Pos::new(HPos::Left, VPos::Center));
        plot.strip_coord_spec().draw(&Text::new(stage.to_owned(), at, style))?;
    }
    if let Some((level, meaning)) = panel.level {
        let level = f64::from(level);
        if (low..=high).contains(&level) {
            let ends = [first, last.max(first + 1.0)].map(|x| (x, level));
            let dash = DashedLineSeries::new(ends, px(6), px(5), PALE.stroke_width(SCALE));
            chart.draw_series(dash)?;
            let plot = chart.plotting_area();
            let (right, height) = plot.map_coordinate(&ends[1]);
            let (origin_x, origin_y) = plot.get_base_pixel();
            let at = (right - origin_x - px(6), height - origin_y - px(9));
            let style = (FONT, px(12)).into_font().color(&PALE);
            let style = style.pos(Pos::new(HPos::Right, VPos::Center));
            plot.strip_coord_spec().draw(&Text::new(meaning, at, style))?;
        }
    }
    let within = |points: Vec<(f64, f64)>| {
        points.into_iter().map(move |(x, y)| (x, y.clamp(low, high))).collect::<Vec<_>>()
    };
    for (curve, points) in panel.curves.iter().zip(&series) {
        let faint = color(curve).mix(0.28).stroke_width(1);
        chart.draw_series(LineSeries::new(within(envelope(points)), faint))?;
    }
    for (curve, points) in panel.curves.iter().zip(&series) {
        let line = smooth(&means(points));
        if line.len() <= 30 {
            let dot = |at| Circle::new(at, px(3), color(curve).filled());
            chart.draw_series(within(line.clone()).into_iter().map(dot))?;
        }
        // Left out if out of range: a flat line along the edge would mislead.
        for piece in line.split(|(_, y)| !(low..=high).contains(y)) {
            let style = color(curve).stroke_width(2 * SCALE);
            chart.draw_series(LineSeries::new(piece.iter().copied(), style))?;
        }
    }
    Ok(())
}

/// The title on the left and the curve names on the right, above the panel: never over the data.
fn draw_legend(area: &Area<'_>, panel: &Panel) -> Drawn {
    let middle = px(14);
    text(area, &panel.title, (0, middle), 20, INK, HPos::Left)?;
    let mut right = area.dim_in_pixel().0 as i32;
    for curve in panel.curves.iter().filter(|curve| !curve.name.is_empty()).rev() {
        text(area, &curve.name, (right, middle), 15, INK, HPos::Right)?;
        let font = (FONT, px(15)).into_font();
        right -= font.layout_box(&curve.name)?.1.0 + px(8);
        let line = vec![(right - px(22), middle - px(3)), (right, middle - px(3))];
        area.draw(&PathElement::new(line, color(curve).stroke_width(3 * SCALE)))?;
        right -= px(22 + 22);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;
    use crate::objectives::Loss;
    use crate::rng::Stream;
    use crate::train::Metrics;
    use crate::train::log::SAMPLE_DIVERSITY;

    const BLUE: RGBColor = COLORS[0];
    const ORANGE: RGBColor = COLORS[1];
    const GREEN: RGBColor = COLORS[2];

    /// A log as a training of `n` reports writes it.
    fn log(n: u64) -> Vec<LogLine> {
        let line = |i: u64| {
            let mut z = [0.0; 4];
            Stream::new(5, "plot", i as u32).fill_normal(&mut z);
            let t = i as f32 / n as f32;
            LogLine {
                step: i * 50,
                images: i * 3200,
                metrics: Metrics::from([
                    ("loss_d", (0.6 + 0.6 * (-8.0 * t).exp()) * (0.25 * z[0]).exp()),
                    ("loss_g", (1.2 + 1.6 * t) * (0.2 * z[1]).exp() + 12.0 * (-80.0 * t).exp()),
                    ("d_real", (0.72 + 0.12 * t + 0.04 * z[2]).clamp(0.0, 1.0)),
                    ("d_fake", (0.34 - 0.16 * t + 0.05 * z[3]).clamp(0.0, 1.0)),
                ]),
                ..LogLine::default()
            }
        };
        (0..n).map(line).collect()
    }

    fn saved(log: &[LogLine]) -> RgbImage {
        saved_as(Loss::NonSaturating, log)
    }

    fn saved_as(loss: Loss, log: &[LogLine]) -> RgbImage {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("losses.png");
        let objective = ObjectiveConfig { loss, ..ObjectiveConfig::default() };
        let floors = Floors::from([("swd-raw".into(), 20.0)]);
        let about = About { name: "00003-dcgan-avatars64-64", floors: &floors };
        save(&path, log, &objective, &about).unwrap();
        if let Some(keep) = std::env::var_os("DCGAN_TEST_KEEP") {
            let name = format!("losses-{}-{loss}.png", log.len());
            std::fs::copy(&path, Path::new(&keep).join(name)).unwrap();
        }
        image::open(&path).unwrap().into_rgb8()
    }

    /// The pixels of `rows` that are nearly of this color.
    fn count(image: &RgbImage, rows: std::ops::Range<u32>, color: RGBColor) -> usize {
        let near = |p: &[u8; 3]| {
            let [r, g, b] = *p;
            r.abs_diff(color.0).max(g.abs_diff(color.1)).max(b.abs_diff(color.2)) < 24
        };
        image.enumerate_pixels().filter(|(_, y, p)| rows.contains(y) && near(&p.0)).count()
    }

    #[test]
    fn both_panels_show_both_lines_and_are_labeled() {
        let image = saved(&log(800));
        assert_eq!(image.dimensions(), SIZE);
        // Below the legends, which have both colors too.
        for rows in [80..350, 430..620] {
            for color in [BLUE, ORANGE] {
                let seen = count(&image, rows.clone(), color);
                assert!(seen > 500, "{seen} pixels of {color:?} in rows {rows:?}");
            }
        }
        for rows in [30..70, 360..400, 640..700] {
            let dark = image.rows().enumerate().filter(|(y, _)| rows.contains(&(*y as u32)));
            let dark = dark.flat_map(|(_, row)| row).filter(|p| p.0.iter().all(|&v| v < 120));
            assert!(dark.count() > 20, "no text in rows {rows:?}");
        }
    }

    #[test]
    fn the_lines_are_where_the_numbers_are() {
        let flat = |loss_d, d_real| {
            let line = |i: u64| LogLine {
                images: i * 1000,
                metrics: Metrics::from([
                    ("loss_d", loss_d),
                    ("loss_g", 10.0),
                    ("d_real", d_real),
                    ("d_fake", f32::NAN),
                ]),
                ..LogLine::default()
            };
            saved(&(0..200).map(line).collect::<Vec<_>>())
        };
        let height = |image: &RgbImage, rows: std::ops::Range<u32>| {
            let rows = rows.filter(|&y| count(image, y..y + 1, BLUE) > 400);
            let rows: Vec<f64> = rows.map(f64::from).collect();
            rows.iter().sum::<f64>() / rows.len() as f64
        };
        let (a, b) = (flat(2.0, 0.25), flat(4.0, 0.75));
        // Both panels are about 250 to 290 pixels high, for losses to 11 and probabilities to 1.
        let (losses, chances) = (80..370, 400..640);
        let loss_rise = height(&a, losses.clone()) - height(&b, losses);
        let chance_rise = height(&a, chances.clone()) - height(&b, chances);
        assert!((45.0..56.0).contains(&loss_rise), "{loss_rise}");
        assert!((100.0..130.0).contains(&chance_rise), "{chance_rise}");
    }

    /// Dark pixels of a row between the axis and the right end, where no curve is.
    fn dashes(image: &RgbImage, y: u32) -> usize {
        (200..860).filter(|&x| image.get_pixel(x, y).0.iter().all(|&v| v < 170)).count()
    }

    #[test]
    fn the_level_of_chance_is_a_dashed_line_where_it_belongs() {
        let line = |i: u64| {
            let metrics = Metrics::from([("loss_d", 0.4), ("loss_g", 5.0)]);
            LogLine { images: i * 1000, metrics, ..LogLine::default() }
        };
        let log: Vec<LogLine> = (0..200).map(line).collect();
        let rows = |loss| {
            let image = saved_as(loss, &log);
            (90..360).filter(|&y| dashes(&image, y) > 200).map(f64::from).collect::<Vec<_>>()
        };
        // Losses to 5.5 are drawn over about 270 pixels from row 90 on; 2 log 2 and 2 are a quarter
        // and a third of it from the bottom.
        let row = |loss| {
            let rows = rows(loss);
            assert!((1..4).contains(&rows.len()), "{loss}: {rows:?}");
            rows.iter().sum::<f64>() / rows.len() as f64
        };
        let (chance, hinge) = (row(Loss::NonSaturating), row(Loss::Hinge));
        let per_unit = (chance - hinge) / (2.0 - 2.0 * std::f64::consts::LN_2);
        assert!((40.0..60.0).contains(&per_unit), "{chance} and {hinge}");
    }

    #[test]
    fn without_a_discriminator_the_second_panel_has_what_was_measured() {
        let line = |i: u64| {
            let metrics = Metrics::from([("loss_e", 70.0), ("kl", 20.0), ("reconstruction", 50.0)]);
            LogLine { images: i * 1000, metrics, ..LogLine::default() }
        };
        let log: Vec<LogLine> = (0..200).map(line).collect();
        let panels = panels(&ObjectiveConfig::default(), &log, &Floors::new());
        let metrics =
            |i: usize| panels[i].curves.iter().map(|c| c.metric.as_str()).collect::<Vec<_>>();
        assert_eq!((metrics(0), metrics(1)), (vec!["loss_e"], vec!["reconstruction", "kl"]));
        assert!(panels.iter().all(|panel| panel.level.is_none()));
        assert!(count(&saved(&log), 400..640, BLUE) > 300);
    }

    #[test]
    fn what_was_measured_of_variety_has_a_panel() {
        let log = log(800);
        assert_eq!(saved(&log).height(), SIZE.1);
        let diversity = |line: LogLine| match line.step.is_multiple_of(500) {
            true => line.with(SAMPLE_DIVERSITY, 0.5),
            false => line,
        };
        let with: Vec<LogLine> = log.into_iter().map(diversity).collect();
        let image = saved(&with);
        assert_eq!(image.height(), SIZE.1 + FURTHER);
        assert!(count(&image, 720..860, GREEN) > 300);
        for color in [BLUE, ORANGE] {
            assert!(count(&image, 80..350, color) > 500 && count(&image, 430..620, color) > 500);
        }
    }

    #[test]
    fn scores_have_a_panel_for_each_metric_with_the_level_of_real_images() {
        let scored = |line: LogLine| match line.step.is_multiple_of(2000) {
            true => line
                .with("swd-raw", 40.0)
                .with("precision-pixels", 0.5)
                .with("recall-pixels", 0.25)
                .with("fd-efficientnet-lite0", 90.0),
            false => line,
        };
        let log: Vec<LogLine> = log(800).into_iter().map(scored).collect();
        let floors = Floors::from([("swd-raw".into(), 20.0), ("recall-pixels".into(), 0.9)]);
        let panels = panels(&ObjectiveConfig::default(), &log, &floors);
        let shown: Vec<_> =
            panels[2..].iter().map(|p| (p.title.as_str(), p.curves.len())).collect();
        let wanted = [
            ("Score: swd-raw", 1),
            ("Scores: prdc-pixels", 2),
            ("Score: fd-efficientnet-lite0", 1),
        ];
        assert_eq!(shown, wanted);
        let levels = panels[2..].iter().map(|p| p.level.map(|(level, _)| level));
        assert_eq!(levels.collect::<Vec<_>>(), [Some(20.0), None, None]);
        let image = saved(&log);
        assert_eq!(image.height(), SIZE.1 + 3 * FURTHER);
        for panel in 0..3 {
            let top = 690 + panel * FURTHER;
            assert!(count(&image, top + 30..top + 150, BLUE) > 100, "panel {panel}");
        }
        // That of the real images is half as high.
        assert!((730..850).any(|y| dashes(&image, y) > 200));
    }

    /// Scores have no fixed range: those outside of [0, 1] are drawn too.
    #[test]
    fn scores_are_drawn_in_their_own_range() {
        let line = |i: u64| LogLine {
            images: i * 1000,
            metrics: Metrics::from([
                ("loss_d", -3.0),
                ("loss_g", 1.0),
                ("d_real", 7.0),
                ("d_fake", -5.0),
            ]),
            ..LogLine::default()
        };
        let log: Vec<LogLine> = (0..200).map(line).collect();
        // Below the legend; the lines lie near the upper and the lower end.
        let below = 405..650;
        for color in [BLUE, ORANGE] {
            assert!(count(&saved_as(Loss::Wasserstein, &log), below.clone(), color) > 500);
            assert_eq!(count(&saved(&log), below.clone(), color), 0);
        }
    }

    #[test]
    fn odd_logs_are_drawn_too_and_an_empty_one_is_an_error() {
        saved(&log(1));
        saved(&log(5));
        saved(&log(20_000));
        let nothing = LogLine { images: 64, ..LogLine::default() };
        let low = LogLine { images: 128, ..nothing.clone() }.with("loss_d", -700.0);
        saved(&[nothing, low]);
        let about = About { name: "x", floors: &Floors::new() };
        let text = save(Path::new("x/losses.png"), &[], &ObjectiveConfig::default(), &about)
            .unwrap_err()
            .to_string();
        assert_eq!(text, "x/losses.png: there are no reports yet to plot");
    }
}
