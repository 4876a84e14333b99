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
        Self::below(model, device, weights, None, choose)
    }

    /// The same for images below another value of the model's pipeline, of the same size, such as the
    /// normals that they are of: images are then twice as high.
    ///
    /// # Errors
    /// Those of [`Generator::with_kernels`]; [`crate::error::Error::Tensor`] if the model makes no such
    /// value.
    pub fn below(
        model: &ModelFile,
        device: &Device,
        weights: Weights,
        above: Option<&str>,
        choose: impl FnOnce(&Tape) -> Result<Choices>,
    ) -> Result<Self> {
        model.generator()?;
        let networks = model.networks.clone();
        // Before anything is allocated on the device.
        let batch = Sampler::batch_below(&networks, device, above)?;
        let mut state = State::new(device);
        let used = model.load_generator(&mut state, weights)?;
        let choices = choose(&Sampler::tape_below(&networks, used, BATCH, above)?)?;
        let sampler = Sampler::new_below(&networks, &state, used, (batch, above), &choices)?;
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
        let height = self.sampler.height();
        let (n, numbers) = (inputs.len(), height * size.width * channels);
        let bytes = (n as u64).saturating_mul(4 * numbers as u64);
        afford(bytes, &format!("{n} images of {size}"))?;
        let mut images = Vec::with_capacity(n * numbers);
        self.each(inputs, |_, batch| {
            images.extend_from_slice(batch.f32s());
            done(batch.shape()[0]);
            Ok(())
        })?;
        Tensor::new([n, height, size.width, channels], images)
    }

    /// Rows of an image, with those of the value above it.
    #[must_use]
    pub fn height(&self) -> usize {
        self.sampler.height()
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
            let (latents, conditions) = inputs.rows(first..n.min(first + batch), &self.networks)?;
            let images =
                self.sampler.sample_conditioned(&mut self.state, &latents, conditions.as_ref())?;
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
    use crate::model::{Size, Truncation, seeded_latents};
    use crate::models::{Conditioning, ModelConfig, Norm};
    use crate::nn::LatentDistribution;

    /// A model of `classes` classes, whose EMA is twice its weights.
    fn model(classes: usize) -> ModelFile {
        model_of(ModelConfig { classes, ..ModelConfig::default() })
    }

    fn model_of(config: ModelConfig) -> ModelFile {
        let size = Size { height: 8, width: 8 };
        let config = ModelConfig { size, nz: 3, ngf: 4, ndf: 4, ..config };
        let networks = config.networks().unwrap();
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
    fn truncated_latents_are_those_of_the_seeds_within_the_threshold() {
        let mut generator = generator(0, Weights::default());
        let seeds = [3, 41];
        let cut = Truncation::new(0.5).unwrap();
        let mut images = |inputs: Inputs| generator.images(&inputs).unwrap();
        let latents = cut.latents(&seeds, 3, LatentDistribution::Normal);
        let drawn = images(Inputs::seeds(seeds).truncated(cut));
        assert_eq!(drawn, images(Inputs::latents(latents).unwrap()));
        let whole = images(Inputs::seeds(seeds));
        assert_ne!(drawn, whole);
        let wide = Truncation::new(1e30).unwrap();
        assert_eq!(images(Inputs::seeds(seeds).truncated(wide)), whole);
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
        // A mixture is the mean of what the classes add: no class's own image, nor the mean of theirs.
        let mixed = |shares: [f32; 3]| {
            let shares = Tensor::new([1, 3], shares.to_vec()).unwrap();
            Inputs::seeds([4]).of_mixtures(shares)
        };
        let mut image = |shares| images(mixed(shares).unwrap());
        let image_len = in_turn.len() / 2;
        assert_eq!(image([0.0, 1.0, 0.0]), in_turn[..image_len]);
        let (half, all) = (image([0.5, 0.5, 0.0]), image([0.0, 0.0, 1.0]));
        assert!(half != all && half != in_turn[..image_len]);
        for bad in [[0.5, 0.6, 0.0], [1.5, -0.5, 0.0], [f32::NAN, 0.5, 0.5]] {
            let error = mixed(bad).unwrap_err().to_string();
            assert!(error.contains("row 0 is not a mixture of classes"), "{error}");
        }
        // Rows of latents take classes in turn, by index.
        let rows = Inputs::latents(Tensor::full([4, 3], 0.5)).unwrap();
        let turns: Vec<_> = (0..4).map(|i| rows.class(i, 3)).collect();
        assert_eq!(turns, [Some(0), Some(1), Some(2), Some(0)]);
    }

    #[test]
    fn a_mixture_in_conditional_batch_norm_has_the_mean_of_scales_and_shifts() {
        // Classes enter nowhere else.
        let mut model = model_of(ModelConfig {
            classes: 3,
            conditioning: Conditioning::Projection,
            norm_g: Norm::Conditional,
            ..ModelConfig::default()
        });
        let mut tables = 0;
        for (name, table) in &mut model.tensors {
            let is_table = name.ends_with(".gamma.weight") || name.ends_with(".beta.weight");
            if !is_table || !name.starts_with("generator.") {
                continue;
            }
            let &[3, channels] = table.shape() else { panic!("{name}: {:?}", table.shape()) };
            let mut rows = table.f32s().to_vec();
            for (i, x) in rows.iter_mut().enumerate() {
                *x += 0.3 * (1.7 * i as f32).sin();
            }
            // The third class is the mean of the first two.
            for i in 0..channels {
                rows[2 * channels + i] = 0.5 * (rows[i] + rows[channels + i]);
            }
            *table = Tensor::new([3, channels], rows).unwrap();
            tables += 1;
        }
        assert!(tables > 0);
        let mut generator = Generator::new(&model, &Device::Cpu, Weights::Raw).unwrap();
        let shares = Tensor::new([1, 3], vec![0.5, 0.5, 0.0]).unwrap();
        let mixed = Inputs::seeds([4]).of_mixtures(shares).unwrap();
        let [mixed, mean, first] =
            [mixed, Inputs::seeds([4]).of_class(2), Inputs::seeds([4]).of_class(0)]
                .map(|inputs| generator.images(&inputs).unwrap().f32s().to_vec());
        let apart =
            |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(apart(&mixed, &mean) < 1e-6, "{}", apart(&mixed, &mean));
        assert!(apart(&mixed, &first) > 1e-4, "{}", apart(&mixed, &first));
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
        let mixed = |shape: [usize; 2]| {
            let shares = Tensor::full(shape, 1.0 / shape[1] as f32);
            Inputs::seeds([1]).of_mixtures(shares).unwrap()
        };
        assert!(error(3, mixed([1, 2])).contains("shape [1, 2] for 1 latents and 3 classes"));
        assert!(error(3, mixed([2, 3])).contains("shape [2, 3] for 1 latents"));
        assert!(error(0, mixed([1, 3])).contains("unconditional"));
        assert!(latents(&[2]).is_err() && latents(&[2, 0]).is_err());
    }
}
