//! `dcgan walk --classes` and `--to-text`: from class to class or text to text, while the latents
//! stay.

use crate::error::{Error, Result};
use crate::experiments::walk::{Interpolation, evenly, round_trip, stretch};
use crate::human::plural;
use crate::images::figure::{Figure, Panel};
use crate::model::{Condition, Generator, ModelFile};
use crate::tensor::Tensor;

use super::super::bar::Bar;
use super::super::drawing::{cells, inputs};
use super::super::latents::{check_text, named_classes};
use super::super::output::println;
use super::super::points::Point;
use super::{Outputs, STEPS, STRIP, Walk, frame_ends, frames};

/// Mixtures of classes add up to 1 on straight lines between them, and training has seen points on
/// those between texts.
const HOW: Interpolation = Interpolation::Linear;

impl Walk {
    pub(super) fn classes(&self) -> Result<()> {
        let outputs = self.outputs("")?;
        let model = self.model.load()?;
        let mut classes = named_classes("--classes", &self.classes, &model.networks)?;
        classes.dedup();
        if classes.len() < 2 {
            let what = format!(
                "a walk needs two classes or more; there are {}",
                model.networks.list_classes()
            );
            return Err(Error::flag("--classes", what));
        }
        let name = |&class: &u32| {
            (model.networks.classes[class as usize].clone(), Condition::Class(class))
        };
        self.between(&model, &outputs, classes.iter().map(name).collect(), "class")
    }

    /// From the text of `--text` through those of `--to-text`.
    pub(super) fn texts(&self) -> Result<()> {
        let outputs = self.outputs("")?;
        let model = self.model.load()?;
        let Some(first) = &self.model.text else {
            return Err(Error::flag("--to-text", "needs --text, the text to walk from"));
        };
        let mut corners = Vec::new();
        for (i, text) in std::iter::once(first).chain(&self.to_text).enumerate() {
            check_text(if i == 0 { "--text" } else { "--to-text" }, text, &model.networks)?;
            corners.push((text.clone(), Condition::Text(text.clone())));
        }
        self.between(&model, &outputs, corners, "text")
    }

    /// From corner to corner and back to the first; `what` they are.
    fn between(
        &self,
        model: &ModelFile,
        outputs: &Outputs,
        corners: Vec<(String, Condition)>,
        what: &str,
    ) -> Result<()> {
        let points = self.points(model, "0")?;
        let steps = self.steps.unwrap_or(STEPS);
        let mut generator = self.model.generator_of_all(model)?;
        println(&format!(
            "{:<12}{}, {} frames of {}",
            "walk",
            plural(corners.len() as u64, what),
            corners.len() * steps,
            plural(points.len() as u64, "image"),
        ))?;

        let row = |(name, condition): (String, Condition)| {
            let rows = condition.rows(1, &model.networks)?;
            Ok((name, rows.map_or_else(Vec::new, |(_, row)| row.f32s().to_vec())))
        };
        let corners: Vec<(String, Vec<f32>)> =
            corners.into_iter().map(row).collect::<Result<_>>()?;
        let figure = self.condition_strips(model, &mut generator, &points, &corners, what)?;
        let count = corners.len();
        let corners: Vec<Vec<f32>> = corners.into_iter().map(|(_, row)| row).collect();
        let way = round_trip(&corners, steps, HOW);
        let bar = Bar::new(count * steps * points.len(), "images");
        let images = mixed(&mut generator, &points, &way, |n| bar.add(n))?;
        bar.finish();
        self.write(outputs, &frames(&images, points.len())?, &figure)
    }

    /// For each point, one strip for each pair of corners.
    fn condition_strips(
        &self,
        model: &ModelFile,
        generator: &mut Generator,
        points: &[Point],
        corners: &[(String, Vec<f32>)],
        what: &str,
    ) -> Result<Figure> {
        let t = evenly([0.0, 1.0], STRIP);
        let many = if what == "class" { "classes" } else { "texts" };
        let mut figure = Figure::new(format!("A walk between {many}")).note(format!(
            "{}. The latent stays; the {what} is a mixture, from one to the other.",
            self.describe(model)
        ));
        // Two are walked to and fro: the way back looks the same.
        let stretches = if corners.len() == 2 { 1 } else { corners.len() };
        for point in points {
            let mut panel = Panel::new(&point.name).columns(t.iter().map(|t| format!("{t:.1}")));
            for (i, (from, a)) in corners.iter().enumerate().take(stretches) {
                let (to, b) = &corners[(i + 1) % corners.len()];
                let way = stretch(a, b, STRIP, HOW);
                let one = std::slice::from_ref(point);
                let mut cells = cells(&mixed(generator, one, &way, |_| ())?)?;
                frame_ends(&mut cells);
                panel = panel.row(format!("{from}\nto {to}"), cells);
            }
            figure = figure.panel(panel);
        }
        Ok(figure)
    }
}

/// Images of every point on each of the conditions `way` `[n, classes]`, condition after condition.
fn mixed(
    generator: &mut Generator,
    points: &[Point],
    way: &[f32],
    done: impl FnMut(usize),
) -> Result<Tensor> {
    let networks = generator.networks();
    let (nz, has_text) = (networks.nz, networks.has_text());
    let wide = networks.condition().map_or(1, |(_, wide)| wide);
    let (mut latents, mut shares) = (Vec::new(), Vec::new());
    for condition in way.chunks(wide) {
        for point in points {
            latents.extend_from_slice(&point.z);
            shares.extend_from_slice(condition);
        }
    }
    let shares = Tensor::new([shares.len() / wide, wide], shares)?;
    let inputs = inputs(&latents, nz)?;
    let inputs = if has_text { inputs.of_vectors(shares) } else { inputs.of_mixtures(shares)? };
    generator.images_with(&inputs, done)
}
