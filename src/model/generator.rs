//! A model's generator on a device: seeds, latents and classes go in, images come out.

use std::path::Path;

use crate::device::host::afford;
use crate::device::{Device, State};
use crate::error::Result;
use crate::program::Choices;
use crate::tape::Tape;
use crate::tensor::Tensor;

use super::file::ModelFile;
use super::inputs::Inputs;
use super::networks::Networks;
use super::sampler::{BATCH, Sampler, check_finite};
use super::weights::Weights;

/// A model's generator on a device.
///
/// ```
/// use dcgan::device::Device;
/// use dcgan::model::{Generator, Inputs};
///
/// # fn main() -> dcgan::error::Result<()> {
/// // A checkpoint, an imported model, or a run's folder.
/// let model = "tests/fixtures/models/conditional.safetensors";
/// let mut generator = Generator::open(model, &Device::Cpu)?;
/// let images = generator.images(&Inputs::seeds(0..5).of_class(2))?;
/// assert_eq!(images.shape(), [5, 8, 8, 3]);
/// let bytes: Vec<u8> = dcgan::pictures::bytes(images.f32s());
/// # assert_eq!(bytes.len(), 5 * 8 * 8 * 3);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Generator {
    networks: Networks,
    state: State,
    sampler: Sampler,
}

impl Generator {
    /// The generator of a model file, or of the newest whole checkpoint in a run's folder, by the
    /// weights that are used by default ([`Weights`]).
    ///
    /// # Errors
    /// As [`ModelFile::open`] and [`Generator::new`].
    pub fn open(path: impl AsRef<Path>, device: &Device) -> Result<Self> {
        let (model, _) = ModelFile::open(path.as_ref())?;
        Self::new(&model, device, Weights::default())
    }

    /// Compiles the generator of a model. On the device of its training it runs the training's kernels:
    /// the same images, to the last bit, as the training's previews.
    ///
    /// # Errors
    /// [`crate::error::Error::File`] where the model has no generator, or a weight is not finite;
    /// [`crate::error::Error::Memory`] where the device is full.
    pub fn new(model: &ModelFile, device: &Device, weights: Weights) -> Result<Self> {
        Self::with_kernels(model, device, weights, |tape| Ok(model.kernels(tape, device)))
    }

    /// The same with the kernels that `choose` picks for its tape.
    ///
    /// # Errors
    /// As [`Generator::new`] and `choose`.
    pub fn with_kernels(
        model: &ModelFile,
        device: &Device,
        weights: Weights,
        choose: impl FnOnce(&Tape) -> Result<Choices>,
    ) -> Result<Self> {
        model.generator()?;
        let networks = model.networks.clone();
        // Before anything is on the device.
        let batch = Sampler::batch_for(&networks, device)?;
        let mut state = State::new(device);
        let used = model.load_generator(&mut state, weights)?;
        let choices = choose(&Sampler::tape(&networks, used, BATCH)?)?;
        let sampler = Sampler::new(&networks, &state, used, batch, &choices)?;
        Ok(Self { networks, state, sampler })
    }

    /// What the model is.
    #[must_use]
    pub fn networks(&self) -> &Networks {
        &self.networks
    }

    /// Images that it draws at a time: [`BATCH`], or fewer where the device's memory is small.
    #[must_use]
    pub fn batch(&self) -> usize {
        self.sampler.batch()
    }

    /// Images `[n, h, w, c]` in [−1, 1].
    ///
    /// # Errors
    /// As [`Generator::each`]; [`crate::error::Error::Memory`] where so many cannot be held.
    pub fn images(&mut self, inputs: &Inputs) -> Result<Tensor> {
        self.images_with(inputs, |_| ())
    }

    /// The same; `done` hears how many were made, a batch at a time.
    ///
    /// # Errors
    /// As [`Generator::images`].
    pub fn images_with(&mut self, inputs: &Inputs, mut done: impl FnMut(usize)) -> Result<Tensor> {
        let Networks { size, channels, .. } = self.networks;
        let (n, numbers) = (inputs.len(), size.height * size.width * channels);
        let bytes = (n as u64).saturating_mul(4 * numbers as u64);
        afford(bytes, &format!("{n} pictures of {size}"))?;
        let mut images = Vec::with_capacity(n * numbers);
        self.each(inputs, |_, batch| {
            images.extend_from_slice(batch.f32s());
            done(batch.shape()[0]);
            Ok(())
        })?;
        Tensor::new([n, size.height, size.width, channels], images)
    }

    /// Makes images batch by batch, so that any number of them takes the memory of one batch: `take` is
    /// given the number of a batch's first image, and the batch `[n, h, w, c]` in [−1, 1].
    ///
    /// # Errors
    /// [`crate::error::Error::Diverged`] where a number is not finite; [`crate::error::Error::Tensor`]
    /// where the inputs are not those of this model; [`crate::error::Error::Lost`] where the device
    /// fails; those of `take`.
    pub fn each(
        &mut self,
        inputs: &Inputs,
        mut take: impl FnMut(usize, &Tensor) -> Result<()>,
    ) -> Result<()> {
        let (n, batch) = (inputs.len(), self.batch());
        (0..n).step_by(batch).try_for_each(|first| {
            let (latents, labels) = inputs.rows(first..n.min(first + batch), &self.networks)?;
            let images = self.sampler.sample_labelled(&mut self.state, &latents, &labels)?;
            check_finite(&images)?;
            take(first, &images)
        })
    }
}
