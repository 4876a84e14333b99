//! A generator as commands on latents use it: images of one class or text, and images as cells of a figure.

use crate::error::{Error, Result};
use crate::images::figure::Cell;
use crate::model::{Condition, Generator, Inputs};
use crate::tensor::Tensor;

/// A generator, and the class or text that it draws.
pub(super) struct Drawing {
    pub(super) generator: Generator,
    pub(super) condition: Condition,
}

impl Drawing {
    /// The size of a latent.
    pub(super) fn nz(&self) -> usize {
        self.generator.networks().nz
    }

    /// Images `[n, h, w, c]` in [−1, 1] of latents `[n, nz]`.
    pub(super) fn images(&mut self, latents: &[f32]) -> Result<Tensor> {
        self.images_with(latents, |_| ())
    }

    /// The same; `done` is called with the number of images of each batch.
    pub(super) fn images_with(
        &mut self,
        latents: &[f32],
        done: impl FnMut(usize),
    ) -> Result<Tensor> {
        let inputs = inputs(latents, self.nz())?;
        self.generator.images_with(&inputs.of(&self.condition), done)
    }

    /// The images of latents `[n, nz]` as cells of a figure.
    pub(super) fn cells(&mut self, latents: &[f32]) -> Result<Vec<Cell>> {
        cells(&self.images(latents)?)
    }
}

/// Latents `[n, nz]`, one after another, as inputs.
pub(super) fn inputs(latents: &[f32], nz: usize) -> Result<Inputs> {
    Inputs::latents(Tensor::new([latents.len() / nz.max(1), nz], latents.to_vec())?)
}

/// Images `[n, h, w, c]` in [−1, 1] as cells of a figure.
pub(super) fn cells(images: &Tensor) -> Result<Vec<Cell>> {
    match images.shape() {
        &[n, h, w, c] => Cell::all(images.f32s(), [n, h, w, c]),
        shape => Err(Error::Shape {
            op: "image",
            what: "images have four axes".into(),
            shapes: vec![shape.to_vec()],
        }),
    }
}
