//! `dcgan walk --vary`: one coordinate of the latent at a time.

use std::path::Path;

use crate::error::{Error, Result};
use crate::experiments::walk::{evenly, vary};
use crate::images::figure::{Figure, Panel};
use crate::images::film::Format;
use crate::models::LatentDistribution;

use super::super::drawing::cells;
use super::super::latents::named;
use super::super::output::println;
use super::super::points::rows;
use super::{Walk, signed};

/// Values of each coordinate that is varied.
const VALUES: usize = 9;

impl Walk {
    pub(super) fn vary(&self, coordinates: &[u64]) -> Result<()> {
        let out = self.out.as_deref().unwrap_or(Path::new("vary.png"));
        if Format::of(out).is_some() {
            let what = "--vary makes a figure, not a film; give a name that ends in .png";
            return Err(Error::flag("--out", what));
        }
        let out = named("--out", out, "png")?;
        let model = self.model.load()?;
        let points = self.points(&model, "0")?;
        let nz = model.networks.nz;
        if let Some(beyond) = coordinates.iter().find(|&&c| c >= nz as u64) {
            let what = format!("{beyond} is not a coordinate: the model has 0 to {}", nz - 1);
            return Err(Error::flag("--vary", what));
        }
        let distribution = model.networks.latent_distribution;
        let usual = match distribution {
            LatentDistribution::Normal => [-2.0, 2.0],
            LatentDistribution::Uniform => [-1.0, 1.0],
        };
        let range = self.range.map_or(usual, |range| range.0);
        let values = evenly(range, self.steps.unwrap_or(VALUES));
        let mut generator = self.model.generator(&model)?;

        let itself = generator.cells(&rows(&points))?;
        let mut figure = Figure::new("One coordinate of the latent at a time").note(format!(
            "{}. Framed: the latent as it is. Latents are {distribution}.",
            self.describe(&model)
        ));
        for (point, itself) in points.iter().zip(itself) {
            let labels = values.iter().map(|v| signed(*v));
            let mut panel = Panel::new(&point.name)
                .columns(["as it is".to_owned()].into_iter().chain(labels))
                .gap_before(1);
            for &coordinate in coordinates {
                let coordinate = coordinate as usize;
                let varied = generator.images(&vary(&point.z, coordinate, &values))?;
                let label = format!("z[{coordinate}]");
                let value = itself.clone().framed().caption(signed(point.z[coordinate]));
                let row = [value].into_iter().chain(cells(&varied)?);
                panel = panel.row(label, row);
            }
            figure = figure.panel(panel);
        }
        figure.save(out)?;
        println(&format!("{:<12}{}", "figure", out.display()))
    }
}
