//! What the plots of a log show: panels, their curves and their reference levels.

use crate::evaluation::metric::of_score;
use crate::gan::{ObjectiveConfig, families};
use crate::objectives::Output;

use super::health::DIVERSITY_LOW;
use super::log::{IMAGES_PER_S, LogLine, SAMPLE_DIVERSITY};
use super::metrics::{self, Kind};
use super::scores::Floors;

/// The numbers of the discriminator's and the generator's colors, and of the first further one.
const BLUE: usize = 0;
const ORANGE: usize = 1;
const FURTHER: usize = 2;

/// One line of a panel.
#[derive(Clone, Debug)]
pub(super) struct Curve {
    pub(super) name: String,
    /// The number of its color.
    pub(super) color: usize,
    /// The number of a log line that it shows.
    pub(super) metric: String,
}

/// A panel: a title and its lines.
#[derive(Clone, Debug, Default)]
pub(super) struct Panel {
    pub(super) title: String,
    pub(super) curves: Vec<Curve>,
    /// The range of y, if fixed.
    pub(super) range: Option<(f64, f64)>,
    /// A reference level and its meaning.
    pub(super) level: Option<(f32, &'static str)>,
}

/// Where the stages of a log begin, in images seen, with their names; empty in a training of one stage.
pub(super) fn stage_starts(log: &[LogLine]) -> Vec<(f64, &str)> {
    let mut starts: Vec<(f64, &str)> = Vec::new();
    let mut before = 0;
    for line in log {
        if let Some(stage) = line.stage.as_deref()
            && starts.last().is_none_or(|(_, last)| *last != stage)
        {
            starts.push((before as f64, stage));
        }
        before = line.images;
    }
    starts
}

/// A curve for every loss in a log, in order of appearance.
fn losses(log: &[LogLine]) -> Vec<Curve> {
    let mut curves: Vec<Curve> = Vec::new();
    for (metric, _) in log.iter().flat_map(|line| line.metrics.iter()) {
        if Kind::of(metric) != Kind::Loss || curves.iter().any(|curve| curve.metric == metric) {
            continue;
        }
        let further = curves.iter().filter(|curve| curve.color >= FURTHER).count();
        let color = match metric {
            "loss_d" => BLUE,
            "loss_g" => ORANGE,
            _ => FURTHER + further,
        };
        let name = metrics::owner(metric).to_owned();
        curves.push(Curve { name, color, metric: metric.to_owned() });
    }
    curves
}

/// The panels of `losses.png`: losses, the discriminator's outputs or an encoder's terms, and sample
/// diversity and scores if they were measured.
pub(super) fn panels(objective: &ObjectiveConfig, log: &[LogLine], floors: &Floors) -> Vec<Panel> {
    let curve = |name: &str, color, metric: &str| Curve {
        name: name.to_owned(),
        color,
        metric: metric.to_owned(),
    };
    let (title, range) = match objective.loss.output() {
        Output::Probability => ("Discriminator outputs", Some((0.0, 1.0))),
        Output::Score => ("Discriminator scores", None),
    };
    let is_measured = |metric: &str| log.iter().any(|line| line.metrics.get(metric).is_some());
    let losses = Panel {
        title: "Losses".into(),
        curves: losses(log),
        range: None,
        level: families::at_chance(objective)
            .filter(|_| is_measured("loss_d"))
            .map(|loss| (loss, "discriminator loss at chance")),
    };
    let outputs = Panel {
        title: title.into(),
        curves: vec![
            curve("real images, D(x)", BLUE, "d_real"),
            curve("generated ones, D(G(z))", ORANGE, "d_fake"),
        ],
        range,
        level: None,
    };
    let terms = Panel {
        title: "Terms of the encoder's loss".into(),
        curves: vec![
            curve("reconstruction", BLUE, "reconstruction"),
            curve("divergence of latents (KL)", ORANGE, "kl"),
        ],
        range: None,
        level: None,
    };
    let second = match is_measured("kl") && !is_measured("d_real") {
        true => terms,
        false => outputs,
    };
    let highest = log.iter().map(|line| line.value(SAMPLE_DIVERSITY)).fold(1.2, f32::max);
    let diversity = Panel {
        title: "Sample diversity".into(),
        curves: vec![curve("relative to real images", FURTHER, SAMPLE_DIVERSITY)],
        range: Some((0.0, highest.into())),
        level: Some((DIVERSITY_LOW, "below: mode collapse")),
    };
    let mut panels = vec![losses, second];
    if log.iter().any(|line| line.value(SAMPLE_DIVERSITY).is_finite()) {
        panels.push(diversity);
    }
    panels.extend(scores(log, floors));
    panels
}

/// A panel for every metric of the generator that a log has scores of: those of one metric have one
/// scale. A single one is held against that of real images.
fn scores(log: &[LogLine], floors: &Floors) -> Vec<Panel> {
    let mut panels: Vec<Panel> = Vec::new();
    for (score, _) in log.iter().flat_map(|line| line.metrics.iter()) {
        let Some((metric, _)) = of_score(score) else { continue };
        let title = match metric.outputs {
            [_] => format!("Score: {score}"),
            _ => format!("Scores: {}", metric.name),
        };
        let is_alone = metric.outputs.len() == 1;
        let at = panels.iter().position(|panel| panel.title == title).unwrap_or_else(|| {
            let floor = floors.get(score).filter(|_| is_alone);
            let level = floor.map(|&floor| (floor as f32, "real images"));
            panels.push(Panel { title, level, ..Panel::default() });
            panels.len() - 1
        });
        let curves = &mut panels[at].curves;
        if curves.iter().all(|curve| curve.metric != score) {
            // The title of a single one says it all.
            let name = if is_alone { String::new() } else { score.to_owned() };
            curves.push(Curve { name, color: curves.len(), metric: score.to_owned() });
        }
    }
    panels
}

/// Panels of everything else in a log: gradient norms together, each other metric alone, and speed.
pub(super) fn further(log: &[LogLine], shown: &[Panel]) -> Vec<Panel> {
    let is_shown = |metric: &str| shown.iter().flat_map(|p| &p.curves).any(|c| c.metric == metric);
    let mut norms = Panel { title: "Gradient norms".into(), ..Panel::default() };
    let mut others: Vec<Panel> = Vec::new();
    for (metric, _) in log.iter().flat_map(|line| line.metrics.iter()) {
        let is_known = |panel: &Panel| panel.curves.iter().any(|curve| curve.metric == metric);
        if is_shown(metric) || is_known(&norms) || others.iter().any(is_known) {
            continue;
        }
        let owner = metrics::owner(metric);
        let is_norm = Kind::of(metric) == Kind::GradNorm;
        let color = match owner {
            "discriminator" => BLUE,
            "generator" => ORANGE,
            _ => FURTHER + norms.curves.len(),
        };
        let curve = Curve { name: owner.into(), color, metric: metric.into() };
        match is_norm {
            true => norms.curves.push(curve),
            false => others.push(Panel {
                title: match metric {
                    "d_fake_g" => "D(G(z)) in the generator's update".into(),
                    _ => metric.into(),
                },
                // The title says it all.
                curves: vec![Curve { name: String::new(), color: FURTHER, ..curve }],
                ..Panel::default()
            }),
        }
    }
    let curve = Curve { name: String::new(), color: FURTHER + 3, metric: IMAGES_PER_S.into() };
    let speed =
        Panel { title: "Images per second".into(), curves: vec![curve], ..Panel::default() };
    let norms = Some(norms).filter(|norms| !norms.curves.is_empty());
    norms.into_iter().chain(others).chain([speed]).collect()
}
