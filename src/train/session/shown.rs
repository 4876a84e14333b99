//! What previews show: the images, and beside them those of earlier stages that they are made of.

use crate::error::Result;
use crate::model::Sampler;
use crate::model::pipeline::IMAGES;
use crate::model::sampler::BATCH;
use crate::tensor::Tensor;
use crate::train::Trainer;

use super::Session;

/// Samplers of the images on the way.
#[derive(Debug)]
pub(super) struct Shown {
    before: Vec<(String, Sampler)>,
}

impl Shown {
    pub(super) fn new(trainer: &Trainer) -> Result<Self> {
        let all = trainer.system().model.pipeline.shown(|_| true);
        let before = all.into_iter().filter(|value| *value != IMAGES);
        let sampler = |value: &str| Ok((value.to_owned(), trainer.sampler_of(value, BATCH)?));
        Ok(Self { before: before.map(sampler).collect::<Result<_>>()? })
    }

    /// Images beside one another for each latent.
    pub(super) fn across(&self) -> usize {
        self.before.len() + 1
    }
}

/// Images `[n, h, w, c]`, each pixel as a square: `[n, height, width, c]`.
fn enlarged(images: &Tensor, [height, width]: [usize; 2]) -> Result<Tensor> {
    let &[n, h, w, c] = images.shape() else { unreachable!("a sampler gives images") };
    let from = images.f32s();
    let mut pixels = Vec::with_capacity(n * height * width * c);
    for i in 0..n * height {
        let (image, y) = (i / height, i % height * h / height);
        for x in 0..width {
            let at = ((image * h + y) * w + x * w / width) * c;
            pixels.extend_from_slice(&from[at..at + c]);
        }
    }
    Tensor::new([n, height, width, c], pixels)
}

/// Images of one size side by side; gray where there are fewer than `count`.
fn beside(all: &[Tensor], count: usize) -> Result<Tensor> {
    let &[n, h, w, c] = all[0].shape() else { unreachable!("a sampler gives images") };
    let mut pixels = Vec::with_capacity(n * h * count * w * c);
    for row in 0..n * h {
        for images in all {
            pixels.extend_from_slice(&images.f32s()[row * w * c..(row + 1) * w * c]);
        }
        pixels.resize((row + 1) * count * w * c, 0.0);
    }
    Tensor::new([n, h, count * w, c], pixels)
}

impl Session {
    /// Whether the images of the whole chain mean something: its stages have begun.
    pub(super) fn makes_images(&self) -> bool {
        self.trainer.shown().last().is_none_or(|value| value == IMAGES)
    }

    /// The preview's images as they are shown, and those of the last stage that has begun, all of the
    /// model's size.
    pub(super) fn look(&mut self) -> Result<[Tensor; 2]> {
        let (latents, labels) = (&self.latents, &self.labels);
        let size = self.trainer.system().model.size;
        let values = self.trainer.shown();
        let mut all = Vec::with_capacity(self.shown.across());
        for (value, sampler) in &mut self.shown.before {
            if values.contains(value) {
                let images = self.trainer.sample_labeled(sampler, latents, labels)?;
                all.push(enlarged(&images, [size.height, size.width])?);
            }
        }
        if all.is_empty() || values.iter().any(|value| value == IMAGES) {
            all.push(self.trainer.sample_labeled(&mut self.sampler, latents, labels)?);
        }
        let last = all[all.len() - 1].clone();
        Ok([beside(&all, self.shown.across())?, last])
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn small_images_are_enlarged_beside_large_ones() {
        let small = Tensor::new([2, 1, 2, 1], vec![1.0, 2.0, 3.0, 4.0]).unwrap();
        let large = enlarged(&small, [2, 4]).unwrap();
        let rows = [1.0, 1.0, 2.0, 2.0, 1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 4.0, 4.0, 3.0, 3.0, 4.0, 4.0];
        assert_eq!((large.shape(), large.f32s()), (&[2, 2, 4, 1][..], &rows[..]));
        let both = beside(&[small.clone(), small.clone()], 2).unwrap();
        assert_eq!(both.shape(), [2, 1, 4, 1]);
        assert_eq!(both.f32s(), [1.0, 2.0, 1.0, 2.0, 3.0, 4.0, 3.0, 4.0]);
        let one = beside(&[small], 2).unwrap();
        assert_eq!(one.f32s(), [1.0, 2.0, 0.0, 0.0, 3.0, 4.0, 0.0, 0.0]);
    }
}
