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
/// let bytes: Vec<u8> = dcgan::images::bytes(images.f32s());
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
    /// The generator of a model file, or of the newest intact checkpoint in a run's folder, with
    /// the default weights ([`Weights`]).
    ///
    /// # Errors
    /// As [`ModelFile::open`] and [`Generator::new`].
    pub fn open(path: impl AsRef<Path>, device: &Device) -> Result<Self> {
        let (model, _) = ModelFile::open(path.as_ref())?;
        Self::new(&model, device, Weights::default())
    }

    /// Compiles a model's generator. On the device of its training it runs the training's kernels:
    /// its images are bit-identical to the training's previews.
    ///
    /// # Errors
    /// [`crate::error::Error::File`] if the model has no generator, or a weight is not finite;
    /// [`crate::error::Error::Memory`] if the device is full.
    pub fn new(model: &ModelFile, device: &Device, weights: Weights) -> Result<Self> {
        Self::with_kernels(model, device, weights, |tape| Ok(model.kernels(tape, device)))
    }

    /// The same with kernels picked by `choose` for its tape.
    ///
    /// # Errors
    /// Those of [`Generator::new`] and `choose`.
    pub fn with_kernels(
        model: &ModelFile,
        device: &Device,
        weights: Weights,
        choose: impl FnOnce(&Tape) -> Result<Choices>,
    ) -> Result<Self> {
        model.generator()?;
        let networks = model.networks.clone();
        // Before anything is allocated on the device.
        let batch = Sampler::batch_for(&networks, device)?;
        let mut state = State::new(device);
        let used = model.load_generator(&mut state, weights)?;
        let choices = choose(&Sampler::tape(&networks, used, BATCH)?)?;
        let sampler = Sampler::new(&networks, &state, used, batch, &choices)?;
        Ok(Self { networks, state, sampler })
    }

    /// The model's description.
    #[must_use]
    pub fn networks(&self) -> &Networks {
        &self.networks
    }

    /// Images generated at a time: [`BATCH`], or fewer if the device's memory is small.
    #[must_use]
    pub fn batch(&self) -> usize {
        self.sampler.batch()
    }

    /// Images `[n, h, w, c]` in [−1, 1].
    ///
    /// # Errors
    /// Those of [`Generator::each`]; [`crate::error::Error::Memory`] if they do not fit in memory.
    pub fn images(&mut self, inputs: &Inputs) -> Result<Tensor> {
        self.images_with(inputs, |_| ())
    }

    /// The same; `done` receives the number made so far, once per batch.
    ///
    /// # Errors
    /// See [`Generator::images`].
    pub fn images_with(&mut self, inputs: &Inputs, mut done: impl FnMut(usize)) -> Result<Tensor> {
        let Networks { size, channels, .. } = self.networks;
        let (n, numbers) = (inputs.len(), size.height * size.width * channels);
        let bytes = (n as u64).saturating_mul(4 * numbers as u64);
        afford(bytes, &format!("{n} images of {size}"))?;
        let mut images = Vec::with_capacity(n * numbers);
        self.each(inputs, |_, batch| {
            images.extend_from_slice(batch.f32s());
            done(batch.shape()[0]);
            Ok(())
        })?;
        Tensor::new([n, size.height, size.width, channels], images)
    }

    /// Generates images batch by batch, so that any number of them takes the memory of one batch:
    /// `take` receives the index of a batch's first image, and the batch `[n, h, w, c]` in [−1, 1].
    ///
    /// # Errors
    /// [`crate::error::Error::Diverged`] if a value is not finite; [`crate::error::Error::Tensor`]
    /// if the inputs do not fit this model; [`crate::error::Error::Lost`] if the device fails;
    /// those of `take`.
    pub fn each(
        &mut self,
        inputs: &Inputs,
        mut take: impl FnMut(usize, &Tensor) -> Result<()>,
    ) -> Result<()> {
        let (n, batch) = (inputs.len(), self.batch());
        (0..n).step_by(batch).try_for_each(|first| {
            let (latents, labels) = inputs.rows(first..n.min(first + batch), &self.networks)?;
            let images = self.sampler.sample_labeled(&mut self.state, &latents, &labels)?;
            check_finite(&images)?;
            take(first, &images)
        })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use crate::error::Error;
    use crate::model::{Size, seeded_latents};
    use crate::models::ModelConfig;
    use crate::nn::LatentDistribution;

    /// A model of `classes` classes, whose EMA is twice its weights.
    fn model(classes: usize) -> ModelFile {
        let size = Size { height: 8, width: 8 };
        let model_config =
            ModelConfig { size, nz: 3, ngf: 4, ndf: 4, classes, ..ModelConfig::default() };
        let networks = model_config.networks().unwrap();
        let mut tensors = std::collections::BTreeMap::new();
        for param in networks.params() {
            let value = param.layout.to_file(&param.initial(1)).unwrap();
            if param.name.starts_with("generator.") {
                let twice = value.f32s().iter().map(|x| 2.0 * x).collect();
                let name = super::super::names::averaged(&param.name);
                tensors.insert(name, Tensor::new(value.shape(), twice).unwrap());
            }
            tensors.insert(param.name, value);
        }
        ModelFile {
            path: "a model".into(),
            networks,
            config: None,
            position: None,
            step: 0,
            seconds: 0.0,
            prepare: crate::data::Prepare::default(),
            choices: Choices::default(),
            tensors,
        }
    }

    fn generator(classes: usize, weights: Weights) -> Generator {
        Generator::new(&model(classes), &Device::Cpu, weights).unwrap()
    }

    #[test]
    fn seeds_and_their_latents_give_the_same_images() {
        let mut generator = generator(0, Weights::default());
        // More than a batch.
        let seeds: Vec<u64> = (7..47).collect();
        let latents = seeded_latents(&seeds, 3, LatentDistribution::Normal);
        let images = generator.images(&Inputs::seeds(seeds)).unwrap();
        assert_eq!(images.shape(), [40, 8, 8, 3]);
        assert_eq!(generator.images(&Inputs::latents(latents).unwrap()).unwrap(), images);
        let one = generator.images(&Inputs::seeds([41])).unwrap();
        assert_eq!(one.f32s(), &images.f32s()[34 * 192..35 * 192]);
        let mut firsts = Vec::new();
        let inputs = Inputs::seeds(0..40);
        let first = |first, _: &Tensor| {
            firsts.push(first);
            Ok(())
        };
        generator.each(&inputs, first).unwrap();
        assert_eq!(firsts, [0, BATCH]);
        assert_eq!(generator.images(&Inputs::seeds([])).unwrap().shape(), [0, 8, 8, 3]);
    }

    #[test]
    fn the_average_is_drawn_unless_raw_weights_are_asked_for() {
        let draw = |weights| generator(0, weights).images(&Inputs::seeds(0..2)).unwrap();
        assert_eq!(draw(Weights::default()), draw(Weights::Averaged));
        assert_ne!(draw(Weights::Averaged), draw(Weights::Raw));
    }

    #[test]
    fn classes_are_those_asked_for_or_the_seeds_own() {
        let mut generator = generator(3, Weights::default());
        let mut images = |inputs: Inputs| generator.images(&inputs).unwrap().f32s().to_vec();
        let in_turn = images(Inputs::seeds(4..6));
        assert_eq!(in_turn, images(Inputs::seeds(4..6).of_classes(vec![1, 2])));
        let every = images(Inputs::seeds(4..6).of_every_class(vec![2, 1]));
        assert_eq!(every.len(), 2 * in_turn.len());
        assert_eq!(every[..in_turn.len()], images(Inputs::seeds(4..6).of_class(2)));
        assert_eq!(every[in_turn.len()..], images(Inputs::seeds(4..6).of_class(1)));
        assert_ne!(every[..in_turn.len()], every[in_turn.len()..]);
        let inputs = Inputs::seeds(4..6).of_every_class(vec![2, 1]);
        let seen: Vec<_> = (0..4).map(|i| (inputs.latent(i), inputs.class(i, 3))).collect();
        assert_eq!(seen, [(0, Some(2)), (1, Some(2)), (0, Some(1)), (1, Some(1))]);
        // Rows of latents take classes in turn, by index.
        let rows = Inputs::latents(Tensor::full([4, 3], 0.5)).unwrap();
        let turns: Vec<_> = (0..4).map(|i| rows.class(i, 3)).collect();
        assert_eq!(turns, [Some(0), Some(1), Some(2), Some(0)]);
    }

    #[test]
    fn inputs_of_another_model_are_refused() {
        let error = |classes, inputs: Inputs| match generator(classes, Weights::Raw).images(&inputs)
        {
            Err(error @ Error::Tensor { .. }) => error.to_string(),
            other => panic!("{other:?}"),
        };
        let latents = |shape: &[usize]| Inputs::latents(Tensor::full(shape.to_vec(), 0.5));
        assert!(error(0, latents(&[2, 4]).unwrap()).contains("4 numbers an image"));
        assert!(error(0, Inputs::seeds([1]).of_class(0)).contains("unconditional"));
        assert!(error(3, Inputs::seeds([1]).of_classes(vec![0, 1])).contains("2 classes for 1"));
        assert!(error(3, Inputs::seeds([1]).of_class(3)).contains("label 3"));
        assert!(latents(&[2]).is_err() && latents(&[2, 0]).is_err());
    }
}
