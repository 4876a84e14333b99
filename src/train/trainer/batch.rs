//! The input of a step.

use crate::error::Result;
use crate::tensor::{Data, Tensor};

/// Images of a batch, one after another.
#[derive(Clone, Debug, PartialEq)]
pub enum Images {
    /// Bytes, 0 to 255.
    Bytes(Vec<u8>),
    /// Floats in the networks' range, where the step was recorded with
    /// [`crate::gan::Recording::float_images`].
    Floats(Vec<f32>),
}

impl Images {
    /// As a tensor of this shape.
    pub(super) fn tensor(self, shape: [usize; 4]) -> Result<Tensor> {
        let data = match self {
            Self::Bytes(bytes) => Data::U8(bytes),
            Self::Floats(floats) => Data::F32(floats),
        };
        Tensor::with_data(shape, data)
    }
}

/// The input of a step: images, and what belongs to them.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Real images `[n_critic · batch, h, w, c]`.
    pub images: Images,
    /// Labels of the real images, shared by the generated ones; in semi-supervised training those
    /// of `labeled`. Ignored if the networks have no classes.
    pub labels: Vec<u32>,
    /// Labeled images `[batch, h, w, c]`, for semi-supervised training.
    pub labeled: Option<Images>,
    /// Further feeds by name: random draws ([`crate::gan::Recording::feed_draws`]), or a schedule
    /// that replaces the configured one.
    pub feeds: Vec<(String, Tensor)>,
}

impl From<Images> for Batch {
    fn from(images: Images) -> Self {
        Self { images, labels: Vec::new(), labeled: None, feeds: Vec::new() }
    }
}

impl From<Vec<u8>> for Batch {
    fn from(bytes: Vec<u8>) -> Self {
        Images::Bytes(bytes).into()
    }
}

impl Batch {
    /// The batch with labels.
    #[must_use]
    pub fn labels(self, labels: &[u32]) -> Self {
        Self { labels: labels.to_vec(), ..self }
    }

    /// The batch with another feed, such as external latents.
    #[must_use]
    pub fn feed(mut self, name: &str, value: Tensor) -> Self {
        self.feeds.push((name.to_owned(), value));
        self
    }

    /// The batch with labeled images.
    #[must_use]
    pub fn labeled(self, images: Vec<u8>) -> Self {
        Self { labeled: Some(Images::Bytes(images)), ..self }
    }
}
