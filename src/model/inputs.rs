//! Which images to generate: seeds or latents, and classes or texts.

use std::ops::Range;

use crate::error::{Error, Result, named};
use crate::tensor::Tensor;
use crate::text::TextEncoder;

use super::latents::{Truncation, seeded_latents};
use super::networks::Networks;

/// Which images to generate. A seed always gives the same latent; unless classes are chosen it also
/// gives the same class, the seed modulo their number, so that a seed always gives the same image.
/// For a model of texts the same holds for its examples ([`crate::text::TextEncoder`]).
#[derive(Clone, Debug)]
pub struct Inputs {
    latents: Latents,
    classes: Classes,
    /// Of the latents of seeds.
    truncation: Option<Truncation>,
}

/// What all images are generated on besides their latents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    /// Nothing, for an unconditional model.
    #[default]
    None,
    /// A class.
    Class(u32),
    /// A text.
    Text(String),
}

impl Condition {
    /// The name of a model's side input and its value for `n` images `[n, width]`; `None` if there
    /// is none.
    ///
    /// # Errors
    /// [`Error::Tensor`] if the model is not conditioned so, or a class is out of range.
    pub fn rows(&self, n: usize, model: &Networks) -> Result<Option<(&'static str, Tensor)>> {
        let fail = |what: &str| Err(Error::Tensor { name: "condition".into(), what: what.into() });
        match (self, model.condition()) {
            (Self::None, None) => Ok(None),
            (Self::Class(class), Some((name, classes))) if !model.has_text() => {
                Ok(Some((name, Tensor::one_hot(&vec![*class; n], classes)?)))
            }
            (Self::Text(text), Some((name, width))) if model.has_text() => {
                Ok(Some((name, Tensor::new([n, width], model.text.encode(text).repeat(n))?)))
            }
            (Self::None, _) => fail("the generator is conditional, and nothing was given"),
            (Self::Class(_), _) => fail("the generator has no classes"),
            (Self::Text(_), _) => fail("the generator is not conditioned on texts"),
        }
    }
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
    /// A mixture of classes for each latent, float32 `[n, classes]`.
    Mixed(Tensor),
    /// All latents of the first text, then all of the second, and so on.
    Texts(Vec<String>),
    /// The vector of a text for each latent, float32 `[n, width]`.
    Vectors(Tensor),
}

impl Inputs {
    /// The images of seeds.
    pub fn seeds(seeds: impl IntoIterator<Item = u64>) -> Self {
        let latents = Latents::Seeds(seeds.into_iter().collect());
        Self { latents, classes: Classes::InTurn, truncation: None }
    }

    /// The images of latents `[n, nz]`.
    ///
    /// # Errors
    /// [`Error::Tensor`] if they have another shape or are not floats.
    pub fn latents(latents: Tensor) -> Result<Self> {
        latents.try_f32s().map_err(|error| named("latents", error))?;
        match latents.shape() {
            [_, nz] if *nz > 0 => {
                let latents = Latents::Rows(latents);
                Ok(Self { latents, classes: Classes::InTurn, truncation: None })
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

    /// The same, all on one condition.
    #[must_use]
    pub fn of(self, condition: &Condition) -> Self {
        match condition {
            Condition::None => self,
            Condition::Class(class) => self.of_class(*class),
            Condition::Text(text) => self.of_every_text(vec![text.clone()]),
        }
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

    /// Every latent on each of these texts, text after text; on the model's examples in turn if the
    /// list is empty.
    #[must_use]
    pub fn of_every_text(self, texts: Vec<String>) -> Self {
        let classes = if texts.is_empty() { Classes::InTurn } else { Classes::Texts(texts) };
        Self { classes, ..self }
    }

    /// The same, with the vector of a text for each latent, `[n, width]`: those of
    /// [`crate::text::TextEncoder::encode`], or points between them.
    #[must_use]
    pub fn of_vectors(self, vectors: Tensor) -> Self {
        Self { classes: Classes::Vectors(vectors), ..self }
    }

    /// The same, with a mixture of classes for each latent: rows `[n, classes]` of shares that are
    /// not negative and add up to 1. A row with a single 1 is that class. Labels enter a network as
    /// such rows, and only linearly: appended to the channels, or as weights of the rows of a table
    /// (scales and shifts of conditional batch norm), so that a mixture is the mean of its classes'
    /// embeddings.
    ///
    /// # Errors
    /// [`Error::Tensor`] if they have another shape, or are not shares.
    pub fn of_mixtures(self, shares: Tensor) -> Result<Self> {
        let fail = |what| Err(Error::Tensor { name: "mixtures".into(), what });
        let rows = shares.try_f32s().map_err(|error| named("mixtures", error))?;
        let &[_, classes] = shares.shape() else {
            return fail(format!("has shape {:?}, not [n, classes]", shares.shape()));
        };
        let is_mixture = |row: &[f32]| {
            row.iter().all(|&share| share >= 0.0) && (row.iter().sum::<f32>() - 1.0).abs() < 1e-4
        };
        match rows.chunks(classes.max(1)).position(|row| !is_mixture(row)) {
            Some(row) => fail(format!(
                "row {row} is not a mixture of classes: shares are not negative and add up to 1"
            )),
            None => Ok(Self { classes: Classes::Mixed(shares), ..self }),
        }
    }

    /// The same, with truncated latents of seeds; latents that were given stay as they are.
    #[must_use]
    pub fn truncated(self, truncation: Truncation) -> Self {
        Self { truncation: Some(truncation), ..self }
    }

    /// The truncation of the latents of seeds.
    #[must_use]
    pub fn truncation(&self) -> Option<Truncation> {
        self.truncation.filter(|_| self.all_seeds().is_some())
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
            Classes::Texts(texts) => self.count().saturating_mul(texts.len()),
            Classes::InTurn | Classes::Each(_) | Classes::Mixed(_) | Classes::Vectors(_) => {
                self.count()
            }
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

    /// The class of an image for a model of `classes` classes; `None` if it has none, or a mixture.
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
            Classes::Mixed(_) | Classes::Texts(_) | Classes::Vectors(_) => None,
        }
    }

    /// The text of an image; `None` if the model has none, or only a vector was given.
    #[must_use]
    pub fn text<'a>(&'a self, image: usize, model: &'a TextEncoder) -> Option<&'a str> {
        let found = match &self.classes {
            Classes::Texts(texts) => texts.get(image / self.count().max(1)),
            Classes::InTurn => {
                let turn = self.seed(self.latent(image)).unwrap_or(image as u64);
                let count = model.examples.len().max(1) as u64;
                model.examples.get((turn % count) as usize)
            }
            _ => None,
        };
        found.map(String::as_str)
    }

    /// Latents `[range.len(), nz]` and conditions `[range.len(), classes]` of some of the images, or
    /// the vectors of their texts; no conditions if `model` has neither.
    ///
    /// # Errors
    /// [`Error::Tensor`] if the model has no classes and some were given, if it has some and they
    /// are not one per latent, the same for texts, or if its latents have another length.
    pub(super) fn rows(
        &self,
        range: Range<usize>,
        model: &Networks,
    ) -> Result<(Tensor, Option<Tensor>)> {
        let conditions = match model.has_text() {
            true => Some(self.vectors(range.clone(), &model.text)?),
            false => self.conditions(range.clone(), model.classes.len())?,
        };
        let nz = model.nz;
        let mut z = Vec::with_capacity(range.len() * nz);
        let mut at = range.start;
        while at < range.end {
            // Up to where the latents restart for the next class.
            let first = self.latent(at);
            let count = (range.end - at).min(self.count() - first);
            match &self.latents {
                Latents::Seeds(seeds) => {
                    let (seeds, distribution) =
                        (&seeds[first..first + count], model.latent_distribution);
                    let latents = match self.truncation {
                        Some(truncation) => truncation.latents(seeds, nz, distribution),
                        None => seeded_latents(seeds, nz, distribution),
                    };
                    z.extend_from_slice(latents.f32s());
                }
                Latents::Rows(rows) => {
                    let width = rows.shape()[1];
                    if width != nz {
                        let what =
                            format!("has {width} numbers an image, the generator wants {nz}");
                        return Err(Error::Tensor { name: "latents".into(), what });
                    }
                    z.extend_from_slice(&rows.f32s()[first * nz..(first + count) * nz]);
                }
            }
            at += count;
        }
        Ok((Tensor::new([range.len(), nz], z)?, conditions))
    }

    /// The vectors `[range.len(), width]` of the texts of some of the images.
    fn vectors(&self, range: Range<usize>, text: &TextEncoder) -> Result<Tensor> {
        let fail = |what: String| Err(Error::Tensor { name: "text".into(), what });
        let width = text.width();
        match &self.classes {
            Classes::Vectors(vectors) if vectors.shape() == [self.count(), width] => {
                let rows = &vectors.try_f32s()?[range.start * width..range.end * width];
                Tensor::new([range.len(), width], rows.to_vec())
            }
            Classes::Vectors(vectors) => fail(format!(
                "has shape {:?}, not one vector of {width} for each of {} latents",
                vectors.shape(),
                self.count()
            )),
            Classes::Texts(_) | Classes::InTurn => {
                let mut vectors = Vec::with_capacity(range.len() * width);
                for image in range.clone() {
                    let Some(caption) = self.text(image, text) else {
                        return fail("the model keeps no examples of texts: give some".into());
                    };
                    vectors.extend(text.encode(caption));
                }
                Tensor::new([range.len(), width], vectors)
            }
            _ => fail("the generator is conditioned on texts, and has no classes".into()),
        }
    }

    /// The conditions `[range.len(), classes]` of some of the images; `None` without classes.
    fn conditions(&self, range: Range<usize>, classes: usize) -> Result<Option<Tensor>> {
        let fail = |what: String| Err(Error::Tensor { name: "labels".into(), what });
        let count = self.count();
        match &self.classes {
            Classes::InTurn if classes == 0 => Ok(None),
            Classes::Texts(_) | Classes::Vectors(_) => {
                fail("the generator is not conditioned on texts".into())
            }
            _ if classes == 0 => fail("the generator is unconditional".into()),
            Classes::Each(each) if each.len() != count => {
                fail(format!("{} classes for {count} latents", each.len()))
            }
            Classes::Mixed(shares) if shares.shape() != [count, classes] => fail(format!(
                "mixtures of shape {:?} for {count} latents and {classes} classes",
                shares.shape()
            )),
            Classes::Mixed(shares) => {
                let rows = &shares.f32s()[range.start * classes..range.end * classes];
                Tensor::new([range.len(), classes], rows.to_vec()).map(Some)
            }
            Classes::InTurn | Classes::Each(_) | Classes::Every(_) => {
                let labels: Vec<u32> =
                    range.filter_map(|image| self.class(image, classes)).collect();
                Tensor::one_hot(&labels, classes).map(Some)
            }
        }
    }
}
