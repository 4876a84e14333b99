//! Charts as inline SVG. A chart's paths have coordinates of 0 to 1000 in both directions and are
//! stretched to the space that there is; its labels are text beside them, of one size on any screen.

use serde::Serialize;

use crate::human;
use crate::train::log::LogLine;
use crate::train::panels::{Panel, stage_starts};
use crate::train::series::{Point, envelope, means, range, smooth};

/// Side of the coordinates.
const SIDE: f64 = 1000.0;

/// The most labels of an axis.
const X_LABELS: usize = 5;
const Y_LABELS: usize = 5;

/// Shorter lines have a dot at every point.
const DOTS: usize = 30;

/// A line before it is drawn.
#[derive(Clone, Debug)]
pub(super) struct Series {
    pub(super) name: String,
    pub(super) color: usize,
    pub(super) points: Vec<Point>,
}

impl Series {
    /// The finite values of the number called `metric` over the images seen.
    pub(super) fn of(log: &[LogLine], metric: &str, name: &str, color: usize) -> Self {
        let point = |line: &LogLine| Some((line.images as f64, line.number(metric)?));
        let points = log.iter().filter_map(point).filter(|(_, y)| y.is_finite()).collect();
        Self { name: name.to_owned(), color, points }
    }
}

/// A chart, ready for the template.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Chart {
    title: String,
    lines: Vec<Line>,
    /// Ends of the axes.
    x: (f64, f64),
    y: (f64, f64),
    x_labels: Vec<Label>,
    y_labels: Vec<Label>,
    level: Option<Label>,
    /// Where the stages of a training begin.
    stages: Vec<Label>,
    /// Digits behind the point of values.
    decimals: usize,
}

#[derive(Clone, Debug, Serialize)]
struct Line {
    name: String,
    color: usize,
    /// The outline of all points.
    faint: String,
    /// The smoothed line, without the parts that are out of range.
    pieces: Vec<String>,
    dots: Vec<(String, String)>,
}

/// A text at a share, in percent, of an axis.
#[derive(Clone, Debug, Serialize)]
struct Label {
    at: String,
    text: String,
}

impl Chart {
    /// The chart of a panel; `None` if nothing of it was measured.
    pub(super) fn of(panel: &Panel, log: &[LogLine]) -> Option<Self> {
        let series = panel.curves.iter();
        let series: Vec<Series> =
            series.map(|c| Series::of(log, &c.metric, &c.name, c.color)).collect();
        let level = panel.level.map(|(level, meaning)| (level.into(), meaning));
        let chart = Self::new(&panel.title, &series, panel.range, level)?;
        let (low, high) = chart.x;
        let within = stage_starts(log).into_iter().filter(|(start, _)| *start < high);
        let stages = within.map(|(start, stage)| Label {
            at: format!("{:.2}", 100.0 * (start.max(low) - low) / (high - low)),
            text: stage.to_owned(),
        });
        Some(Self { stages: stages.collect(), ..chart })
    }

    /// A chart of `series`; `None` if they have no points.
    pub(super) fn new(
        title: &str,
        series: &[Series],
        fixed: Option<(f64, f64)>,
        level: Option<(f64, &str)>,
    ) -> Option<Self> {
        let all: Vec<Point> = series.iter().flat_map(|one| one.points.iter().copied()).collect();
        let first = all.iter().map(|p| p.0).reduce(f64::min)?;
        let last = all.iter().map(|p| p.0).reduce(f64::max)?;
        // A run starts at 0; a log with its start cut off need not.
        let first = if first < last / 2.0 { 0.0 } else { first };
        let x = (first, last.max(first + 1.0));
        let y = fixed.unwrap_or_else(|| range(&all));
        let step = step(y, Y_LABELS);
        let decimals = (-step.log10().floor()).max(0.0) as usize;
        let number = |value: f64| match (1e-4..1e6).contains(&step) {
            true => format!("{value:.decimals$}"),
            false => human::number(value),
        };
        let label = |(low, high): (f64, f64), value: f64, text: String| Label {
            at: format!("{:.2}", 100.0 * (value - low) / (high - low)),
            text,
        };
        let level = level.filter(|(level, _)| (y.0..=y.1).contains(level));
        Some(Self {
            title: title.to_owned(),
            lines: series.iter().map(|series| Line::new(series, x, y)).collect(),
            x,
            y,
            x_labels: ticks(x, X_LABELS)
                .into_iter()
                .map(|value| label(x, value, human::count(value as u64)))
                .collect(),
            y_labels: ticks(y, Y_LABELS)
                .into_iter()
                .map(|value| label(y, value, number(value)))
                .collect(),
            level: level.map(|(level, meaning)| label(y, level, meaning.to_owned())),
            stages: Vec::new(),
            decimals: (decimals + 1).min(6),
        })
    }
}

impl Line {
    fn new(series: &Series, x: (f64, f64), y: (f64, f64)) -> Self {
        let place = |(low, high): (f64, f64), value: f64| SIDE * (value - low) / (high - low);
        let within = |value: f64| value.clamp(y.0, y.1);
        let at = |point: &Point| {
            let (x, y) = (place(x, point.0), SIDE - place(y, within(point.1)));
            (format!("{x:.1}"), format!("{y:.1}"))
        };
        let path = |points: &[Point]| {
            let points = points.iter().map(at).map(|(x, y)| format!("{x},{y}"));
            points.collect::<Vec<_>>().join(" ")
        };
        let line = smooth(&means(&series.points));
        let is_out = |point: &Point| !(y.0..=y.1).contains(&point.1);
        let pieces = line.split(is_out).filter(|piece| piece.len() > 1);
        Self {
            name: series.name.clone(),
            color: series.color,
            faint: path(&envelope(&series.points)),
            pieces: pieces.map(path).collect(),
            dots: match line.len() {
                ..=DOTS => line.iter().filter(|point| !is_out(point)).map(at).collect(),
                _ => Vec::new(),
            },
        }
    }
}

/// The distance of labels: 1, 2 or 5 times a power of ten, so that at most `most` fit.
fn step((low, high): (f64, f64), most: usize) -> f64 {
    let least = ((high - low) / most as f64).max(f64::MIN_POSITIVE);
    let power = 10_f64.powf(least.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power);
    steps.into_iter().find(|step| *step >= least * (1.0 - 1e-9)).unwrap_or(10.0 * power)
}

/// Round numbers in a range.
fn ticks((low, high): (f64, f64), most: usize) -> Vec<f64> {
    let step = step((low, high), most);
    let (first, last) = ((low / step).ceil() as i64, (high / step + 1e-9).floor() as i64);
    (first..=last).map(|i| i as f64 * step).collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    fn series(points: &[Point]) -> Series {
        Series { name: "one".into(), color: 0, points: points.to_vec() }
    }

    #[test]
    fn labels_are_round_and_where_their_values_are() {
        assert_eq!(ticks((0.0, 1.0), 5), [0.0, 0.2, 0.4, 0.6000000000000001, 0.8, 1.0]);
        assert_eq!(ticks((-3.0, 11.0), 5), [0.0, 5.0, 10.0]);
        assert_eq!(ticks((0.0, 200_000.0), 5).len(), 5);
        let points: Vec<Point> = (0..=100).map(|i| (f64::from(i) * 1000.0, 0.5)).collect();
        let chart =
            Chart::new("x", &[series(&points)], Some((0.0, 1.0)), Some((0.25, "low"))).unwrap();
        let text = |labels: &[Label]| {
            labels.iter().map(|l| format!("{} {}", l.at, l.text)).collect::<Vec<_>>().join(", ")
        };
        assert_eq!(
            text(&chart.x_labels),
            "0.00 0, 20.00 20k, 40.00 40k, 60.00 60k, 80.00 80k, 100.00 100k"
        );
        assert_eq!(
            text(&chart.y_labels),
            "0.00 0.0, 20.00 0.2, 40.00 0.4, 60.00 0.6, 80.00 0.8, 100.00 1.0"
        );
        assert_eq!(chart.level.unwrap().at, "25.00");
        let first = chart.lines[0].pieces[0].split(' ').next().unwrap();
        assert_eq!(first, "0.0,500.0");
    }

    #[test]
    fn values_out_of_range_and_gaps_do_not_bend_the_line() {
        let mut points: Vec<Point> = (0..1000).map(|i| (f64::from(i), 1.0)).collect();
        points[500].1 = 900.0;
        let chart =
            Chart::new("x", &[series(&points)], Some((0.0, 2.0)), Some((5.0, "out"))).unwrap();
        assert!(chart.level.is_none());
        assert!(chart.lines[0].pieces.len() == 2 && chart.lines[0].dots.is_empty());
        let few = Chart::new("x", &[series(&points[..3])], None, None).unwrap();
        assert_eq!(few.lines[0].dots.len(), 3);
        assert!(Chart::new("x", &[series(&[])], None, None).is_none());
        let one = Chart::new("x", &[series(&[(0.0, 1e-9)])], None, None).unwrap();
        assert!(!one.x_labels.is_empty() && !one.y_labels.is_empty());
    }
}
