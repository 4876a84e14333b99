//! `dcgan walk --direction`: along principal directions of the latent space.

use std::f32::consts::TAU;
use std::path::Path;

use crate::error::{Error, Result};
use crate::experiments::directions::{Directions, change, shifted, sigma};
use crate::experiments::walk::evenly;
use crate::human::number;
use crate::images::figure::{Figure, Panel};
use crate::images::film::Format;
use crate::model::{ModelFile, seeded_latents};

use super::super::bar::Bar;
use super::super::drawing::{Drawing, cells};
use super::super::latents::{has_ending, named};
use super::super::output::println;
use super::super::points::Point;
use super::super::seeds::Seeds;
use super::{Outputs, Walk, frames, signed};

/// Positions on each direction in the figure.
const POSITIONS: usize = 7;
/// Frames of a film along each direction.
const FRAMES: usize = 60;
/// Latents from which changes are measured, seeds from 0 on.
const MEASURED: u64 = 32;
/// Random directions for comparison.
const RANDOM: u32 = 8;

/// `1`, `1-5`, `1,3`.
pub(super) fn list(text: &str) -> Result<Seeds, String> {
    let wrong = |_| {
        format!("{text:?} is no list of directions, which are counted from 1, such as 1-5 or 1,3")
    };
    text.parse::<Seeds>().map_err(wrong)
}

/// What a step of one standard deviation along each direction changes.
struct Changes {
    /// Of the directions asked for.
    each: Vec<f64>,
    /// The mean of random ones.
    random: f64,
}

impl Changes {
    /// How much more one of them is than that of a random direction, if that changes anything.
    fn times(&self, change: f64) -> String {
        match change / self.random {
            times if times.is_finite() => format!("{times:.1} times"),
            _ => "\u{2013}".into(),
        }
    }
}

impl Walk {
    pub(super) fn directions(&self, wanted: &[u64]) -> Result<()> {
        let out = self.out.clone().unwrap_or_else(|| "directions.png".into());
        let film = match has_ending(&out, "png") {
            false => Some(self.outputs(".png (a figure), ")?),
            true if self.strips.is_some() => {
                let what =
                    "is the figure beside a film: give the film's name by --out, such as sway.gif";
                return Err(Error::flag("--strips", what));
            }
            true => None,
        };
        let model = self.model.load()?;
        let points = self.points(&model, "0")?;
        self.model.condition(&model)?;
        let directions = Directions::of(&model, self.model.weights())?;
        let count = directions.vectors.len();
        if let Some(beyond) = wanted.iter().find(|&&d| d == 0 || d > count as u64) {
            let what = format!("{beyond} is not a direction: this model has 1 to {count}");
            return Err(Error::flag("--direction", what));
        }
        let wanted: Vec<usize> = wanted.iter().map(|&d| d as usize - 1).collect();
        let mut generator = self.model.generator(&model)?;

        let changes = measure(&mut generator, &model, &directions, &wanted)?;
        println(&format!(
            "{:<12}singular value   image change   of a random direction's",
            "direction"
        ))?;
        for (&k, &change) in wanted.iter().zip(&changes.each) {
            println(&format!(
                "{:<12}{:>14.3}{:>15}{:>20}",
                k + 1,
                directions.singular_values[k],
                number(change),
                changes.times(change)
            ))?;
        }
        println(&format!("{:<12}{:>14}{:>15}", "random", "", number(changes.random)))?;

        let figure =
            self.direction_figure(&model, &mut generator, &points, &directions, &wanted, &changes)?;
        match film {
            Some(outputs) => {
                self.sway(&outputs, &mut generator, &points, &directions, &wanted, &figure)
            }
            None => {
                let out = named("--out", Path::new(&out), "png")?;
                figure.save(out)?;
                println(&format!("{:<12}{}", "figure", out.display()))
            }
        }
    }

    fn range(&self) -> [f32; 2] {
        self.range.map_or([-3.0, 3.0], |range| range.0)
    }

    /// For each point, one row for each direction.
    fn direction_figure(
        &self,
        model: &ModelFile,
        generator: &mut Drawing,
        points: &[Point],
        directions: &Directions,
        wanted: &[usize],
        changes: &Changes,
    ) -> Result<Figure> {
        let sigma = sigma(model.networks.latent_distribution);
        // A film has its own number of frames.
        let steps = self.steps.filter(|_| self.is_figure()).unwrap_or(POSITIONS);
        let positions = evenly(self.range(), steps);
        let amounts: Vec<f32> = positions.iter().map(|position| sigma * position).collect();
        let mut figure = Figure::new("Principal directions of the latent space").note(format!(
            "{}. Right singular vectors of the first layer's weights, by singular value; positions in \
             standard deviations of the latent. Below each number, how much more a step changes the \
             image than one along a random direction.",
            self.describe(model)
        ));
        for point in points {
            let mut panel =
                Panel::new(&point.name).columns(positions.iter().map(|position| signed(*position)));
            for (&k, change) in wanted.iter().zip(&changes.each) {
                let moved = shifted(&point.z, &directions.vectors[k], &amounts);
                let mut cells = cells(&generator.images(&moved)?)?;
                for (cell, _) in cells.iter_mut().zip(&positions).filter(|(_, p)| **p == 0.0) {
                    *cell = std::mem::take(cell).framed();
                }
                let label = format!("{}\n{}", k + 1, changes.times(*change));
                panel = panel.row(label, cells);
            }
            figure = figure.panel(panel);
        }
        Ok(figure)
    }

    /// Whether the output is a figure alone.
    fn is_figure(&self) -> bool {
        self.out.as_deref().is_none_or(|out| Format::of(out).is_none())
    }

    /// A film that moves to one end of each direction, to the other and back.
    fn sway(
        &self,
        outputs: &Outputs,
        generator: &mut Drawing,
        points: &[Point],
        directions: &Directions,
        wanted: &[usize],
        figure: &Figure,
    ) -> Result<()> {
        let steps = self.steps.unwrap_or(FRAMES);
        let [low, high] = self.range();
        let sigma = sigma(generator.generator.networks().latent_distribution);
        let mut latents = Vec::new();
        for &k in wanted {
            for step in 0..steps {
                let sine = (TAU * step as f32 / steps as f32).sin();
                let position = if sine < 0.0 { -sine * low } else { sine * high };
                for point in points {
                    let moved = shifted(&point.z, &directions.vectors[k], &[sigma * position]);
                    latents.extend(moved);
                }
            }
        }
        let bar = Bar::new(latents.len() / generator.nz(), "images");
        let images = generator.images_with(&latents, |n| bar.add(n))?;
        bar.finish();
        self.write(outputs, &frames(&images, points.len())?, figure)
    }
}

/// Measures changes by steps of one standard deviation.
fn measure(
    generator: &mut Drawing,
    model: &ModelFile,
    directions: &Directions,
    wanted: &[usize],
) -> Result<Changes> {
    let distribution = model.networks.latent_distribution;
    let seeds: Vec<u64> = (0..MEASURED).collect();
    let points = seeded_latents(&seeds, generator.nz(), distribution);
    let bar = Bar::new(seeds.len() * (1 + 2 * (wanted.len() + RANDOM as usize)), "images");
    let own = generator.images_with(points.f32s(), |n| bar.add(n))?;
    let mut along = |direction: &[f32]| {
        let images = |z: &[f32]| generator.images_with(z, |n| bar.add(n));
        change(points.f32s(), &own, direction, sigma(distribution), images)
    };
    let each = wanted.iter().map(|&k| along(&directions.vectors[k])).collect::<Result<_>>()?;
    let random: f64 = (0..RANDOM).map(|i| along(&directions.random(i))).sum::<Result<f64>>()?;
    bar.finish();
    Ok(Changes { each, random: random / f64::from(RANDOM) })
}
