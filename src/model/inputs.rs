//! Which images to generate: seeds or latents, and classes.

use std::ops::Range;

use crate::error::{Error, Result, named};
use crate::tensor::Tensor;

use super::latents::seeded_latents;
use super::networks::Networks;

/// Which images to generate. A seed always gives the same latent; unless classes are chosen it also
/// gives the same class, the seed modulo their number, so that a seed always gives the same image.
#[derive(Clone, Debug)]
pub struct Inputs {
    latents: Latents,
    classes: Classes,
}

#[derive(Clone, Debug)]
enum Latents {
    Seeds(Vec<u64>),
    /// Float32 `[n, nz]`.
    Rows(Tensor),
}

#[derive(Clone, Debug)]
enum Classes {
    /// One each, in turn: by the seed, or by the row's index.
    InTurn,
    /// These, one for each latent.
    Each(Vec<u32>),
    /// All latents of the first, then all of the second, and so on.
    Every(Vec<u32>),
}

impl Inputs {
    /// The images of seeds.
    pub fn seeds(seeds: impl IntoIterator<Item = u64>) -> Self {
        let latents = Latents::Seeds(seeds.into_iter().collect());
        Self { latents, classes: Classes::InTurn }
    }

    /// The images of latents `[n, nz]`.
    ///
    /// # Errors
    /// [`Error::Tensor`] if they have another shape or are not floats.
    pub fn latents(latents: Tensor) -> Result<Self> {
        latents.try_f32s().map_err(|error| named("latents", error))?;
        match latents.shape() {
            [_, nz] if *nz > 0 => {
                Ok(Self { latents: Latents::Rows(latents), classes: Classes::InTurn })
            }
            shape => {
                let what = format!("has shape {shape:?}, not [n, nz]");
                Err(Error::Tensor { name: "latents".into(), what })
            }
        }
    }

    /// The same, all of one class.
    #[must_use]
    pub fn of_class(self, class: u32) -> Self {
        self.of_every_class(vec![class])
    }

    /// The same, with one class for each latent.
    #[must_use]
    pub fn of_classes(self, classes: Vec<u32>) -> Self {
        Self { classes: Classes::Each(classes), ..self }
    }

    /// Every latent in each of these classes, class after class; in turn if the list is empty.
    #[must_use]
    pub fn of_every_class(self, classes: Vec<u32>) -> Self {
        let classes = if classes.is_empty() { Classes::InTurn } else { Classes::Every(classes) };
        Self { classes, ..self }
    }

    /// Number of latents, each of which may give several images.
    #[must_use]
    pub fn count(&self) -> usize {
        match &self.latents {
            Latents::Seeds(seeds) => seeds.len(),
            Latents::Rows(rows) => rows.shape()[0],
        }
    }

    /// Number of images.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.classes {
            Classes::Every(classes) => self.count().saturating_mul(classes.len()),
            Classes::InTurn | Classes::Each(_) => self.count(),
        }
    }

    /// Whether there are no images to generate.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The index of an image's latent.
    #[must_use]
    pub fn latent(&self, image: usize) -> usize {
        image % self.count().max(1)
    }

    /// The seed of a latent, if seeds were given.
    #[must_use]
    pub fn seed(&self, latent: usize) -> Option<u64> {
        match &self.latents {
            Latents::Seeds(seeds) => seeds.get(latent).copied(),
            Latents::Rows(_) => None,
        }
    }

    /// All seeds, if seeds were given.
    #[must_use]
    pub fn all_seeds(&self) -> Option<&[u64]> {
        match &self.latents {
            Latents::Seeds(seeds) => Some(seeds),
            Latents::Rows(_) => None,
        }
    }

    /// The class of an image for a model of `classes` classes; `None` if it has none.
    #[must_use]
    pub fn class(&self, image: usize, classes: usize) -> Option<u32> {
        if classes == 0 {
            return None;
        }
        match &self.classes {
            Classes::InTurn => {
                let turn = self.seed(self.latent(image)).unwrap_or(image as u64);
                Some((turn % classes as u64) as u32)
            }
            Classes::Each(each) => each.get(image).copied(),
            Classes::Every(every) => every.get(image / self.count().max(1)).copied(),
        }
    }

    /// Latents `[range.len(), nz]` and classes of some of the images; no classes if `model` has
    /// none.
    ///
    /// # Errors
    /// [`Error::Tensor`] if the model has no classes and some were given, if it has some and they
    /// are not one per latent, or if its latents have another length.
    pub(super) fn rows(&self, range: Range<usize>, model: &Networks) -> Result<(Tensor, Vec<u32>)> {
        let (nz, classes) = (model.nz, model.classes.len());
        let fail = |name: &str, what| Err(Error::Tensor { name: name.into(), what });
        match &self.classes {
            Classes::Each(_) | Classes::Every(_) if classes == 0 => {
                return fail("labels", "the generator is unconditional".into());
            }
            Classes::Each(each) if each.len() != self.count() => {
                let what = format!("{} classes for {} latents", each.len(), self.count());
                return fail("labels", what);
            }
            _ => {}
        }
        let labels = range.clone().filter_map(|image| self.class(image, classes)).collect();
        let mut z = Vec::with_capacity(range.len() * nz);
        let mut at = range.start;
        while at < range.end {
            // Up to where the latents restart for the next class.
            let first = self.latent(at);
            let count = (range.end - at).min(self.count() - first);
            match &self.latents {
                Latents::Seeds(seeds) => {
                    let seeds = &seeds[first..first + count];
                    z.extend_from_slice(
                        seeded_latents(seeds, nz, model.latent_distribution).f32s(),
                    );
                }
                Latents::Rows(rows) => {
                    let width = rows.shape()[1];
                    if width != nz {
                        let what =
                            format!("has {width} numbers an image, the generator wants {nz}");
                        return fail("latents", what);
                    }
                    z.extend_from_slice(&rows.f32s()[first * nz..(first + count) * nz]);
                }
            }
            at += count;
        }
        Ok((Tensor::new([range.len(), nz], z)?, labels))
    }
}
