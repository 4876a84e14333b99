//! `dcgan walk --classes`: from class to class, while the latents stay.

use crate::error::{Error, Result};
use crate::experiments::walk::{Interpolation, evenly, round_trip, stretch};
use crate::human::plural;
use crate::images::figure::{Figure, Panel};
use crate::model::{Generator, ModelFile};
use crate::tensor::Tensor;

use super::super::bar::Bar;
use super::super::drawing::{cells, inputs};
use super::super::latents::named_classes;
use super::super::output::println;
use super::super::points::Point;
use super::{STEPS, STRIP, Walk, frame_ends, frames};

/// Mixtures of classes add up to 1 on straight lines between them.
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
        let points = self.points(&model, "0")?;
        let steps = self.steps.unwrap_or(STEPS);
        let mut generator = self.model.generator_of_all(&model)?;
        println(&format!(
            "{:<12}{} classes, {} frames of {}",
            "walk",
            classes.len(),
            classes.len() * steps,
            plural(points.len() as u64, "image"),
        ))?;

        let figure = self.class_strips(&model, &mut generator, &points, &classes)?;
        let corners: Vec<Vec<f32>> = Tensor::one_hot(&classes, model.networks.classes.len())?
            .f32s()
            .chunks(model.networks.classes.len())
            .map(<[f32]>::to_vec)
            .collect();
        let way = round_trip(&corners, steps, HOW);
        let bar = Bar::new(classes.len() * steps * points.len(), "images");
        let images = mixed(&mut generator, &points, &way, |n| bar.add(n))?;
        bar.finish();
        self.write(&outputs, &frames(&images, points.len())?, &figure)
    }

    /// For each point, one strip for each pair of classes.
    fn class_strips(
        &self,
        model: &ModelFile,
        generator: &mut Generator,
        points: &[Point],
        classes: &[u32],
    ) -> Result<Figure> {
        let names = &model.networks.classes;
        let t = evenly([0.0, 1.0], STRIP);
        let mut figure = Figure::new("A walk between classes").note(format!(
            "{}. The latent stays; the class is a mixture, from one to the other.",
            self.describe(model)
        ));
        // Two classes are walked to and fro: the way back looks the same.
        let stretches = if classes.len() == 2 { 1 } else { classes.len() };
        for point in points {
            let mut panel = Panel::new(&point.name).columns(t.iter().map(|t| format!("{t:.1}")));
            for (i, &from) in classes.iter().enumerate().take(stretches) {
                let to = classes[(i + 1) % classes.len()];
                let ends = Tensor::one_hot(&[from, to], names.len())?;
                let (a, b) = ends.f32s().split_at(names.len());
                let way = stretch(a, b, STRIP, HOW);
                let one = std::slice::from_ref(point);
                let mut cells = cells(&mixed(generator, one, &way, |_| ())?)?;
                frame_ends(&mut cells);
                let name = |class: u32| &names[class as usize];
                panel = panel.row(format!("{}\nto {}", name(from), name(to)), cells);
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
    let (nz, classes) = (generator.networks().nz, generator.networks().classes.len());
    let (mut latents, mut shares) = (Vec::new(), Vec::new());
    for condition in way.chunks(classes) {
        for point in points {
            latents.extend_from_slice(&point.z);
            shares.extend_from_slice(condition);
        }
    }
    let shares = Tensor::new([shares.len() / classes, classes], shares)?;
    generator.images_with(&inputs(&latents, nz)?.of_mixtures(shares)?, done)
}
