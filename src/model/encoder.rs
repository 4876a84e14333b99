//! A model's encoder on a device: images go in, latents come out.

use std::path::Path;

use crate::device::{Device, State};
use crate::error::{Error, Result};
use crate::nn::{Mode, Pass};
use crate::program::{Options, Program, fitting};
use crate::tape::Tape;
use crate::tensor::{DType, Data, Tensor};

use super::file::ModelFile;
use super::networks::{Networks, Spread};
use super::role::Role;
use super::sampler::BATCH;
use super::weights::Weights;

/// A model's encoder on a device: maps images to latents, which the model's generator maps back to
/// images.
///
/// ```
/// use dcgan::device::Device;
/// use dcgan::model::{Encoder, Generator, Inputs};
///
/// # fn main() -> dcgan::error::Result<()> {
/// // A checkpoint or a run's folder, of a training with an encoder.
/// let model = "tests/fixtures/bigan.safetensors";
/// let mut encoder = Encoder::open(model, &Device::Cpu)?;
/// // Bytes [n, h, w, c], as `ModelFile::prepare` makes them of an image of any size.
/// let images = vec![200; 3 * 8 * 8];
/// let latents = encoder.latents(&images)?;
/// assert_eq!(latents.shape(), [3, 4]);
/// let mut generator = Generator::open(model, &Device::Cpu)?;
/// let again = generator.images(&Inputs::latents(latents)?)?;
/// assert_eq!(again.shape(), [3, 8, 8, 1]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Encoder {
    networks: Networks,
    state: State,
    program: Program,
    batch: usize,
    /// Its outputs for an image: `nz`, or twice as many.
    outputs: usize,
    spread: Spread,
}

/// The distribution that an encoder outputs for each image.
#[derive(Clone, Debug, PartialEq)]
pub struct Encoded {
    /// The latents, or the means of their distributions, `[n, nz]`.
    pub mean: Tensor,
    /// Standard deviations `[n, nz]`, if the encoder outputs distributions.
    pub deviation: Option<Tensor>,
}

impl Encoder {
    /// The encoder of a model file, or of the newest intact checkpoint in a run's folder, with the
    /// default weights ([`Weights`]).
    ///
    /// # Errors
    /// As [`ModelFile::open`] and [`Encoder::new`].
    pub fn open(path: impl AsRef<Path>, device: &Device) -> Result<Self> {
        let (model, _) = ModelFile::open(path.as_ref())?;
        Self::new(&model, device, Weights::default(), BATCH)
    }

    /// Compiles a model's encoder for `batch` images at a time, or fewer if the device's memory is
    /// small. On the device of its training it runs the training's kernels.
    ///
    /// # Errors
    /// [`Error::File`] if the model has no encoder, a weight is not finite, or a latent would
    /// depend on the other images of its batch; [`Error::Memory`] if the device is full.
    pub fn new(model: &ModelFile, device: &Device, weights: Weights, batch: usize) -> Result<Self> {
        let network = model.encoder()?;
        if network.needs_batch() {
            let what = "its encoder normalizes by the batch at hand, so that the latent of an image \
                        would depend on the others; this needs one with running statistics";
            return Err(Error::file(&model.path, what));
        }
        let mut state = State::new(device);
        let used = model.load_encoder(&mut state, weights)?;
        let own = model.find(Role::Encoder)?.0;
        let name = used.name(own);
        let spread = model.networks.by_name.get(own).map_or_else(Spread::default, |net| net.spread);
        let networks = model.networks.clone();
        let tape = |batch| tape(&networks, &name, batch);
        let batch = fitting(batch, device, state.bytes(), |batch| Ok(tape(batch)?.0))?;
        let (tape, outputs) = tape(batch)?;
        let options = Options { choices: model.kernels(&tape, device), ..Options::default() };
        let program = Program::compile(&tape, &state, &options)?;
        Ok(Self { networks, state, program, batch, outputs, spread })
    }

    /// The model's description.
    #[must_use]
    pub fn networks(&self) -> &Networks {
        &self.networks
    }

    /// Images encoded at a time: as many as requested, or as fit.
    #[must_use]
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Whether it outputs a distribution for each image, so that [`Encoded::deviation`] is set.
    #[must_use]
    pub fn has_deviation(&self) -> bool {
        self.outputs > self.networks.nz
    }

    /// Latents `[n, nz]` of images, bytes `[n, h, w, c]`, for any `n`; for distributions their
    /// means.
    ///
    /// # Errors
    /// See [`Encoder::encode`].
    pub fn latents(&mut self, images: &[u8]) -> Result<Tensor> {
        Ok(self.encode(images)?.mean)
    }

    /// The latents of images, bytes `[n, h, w, c]`, for any `n`, with deviations if the encoder
    /// outputs distributions. Each result depends on its own image alone.
    ///
    /// # Errors
    /// [`Error::Length`] if the bytes are not a whole number of images; [`Error::Diverged`] if a
    /// latent is not finite; [`Error::Lost`] if the device fails.
    pub fn encode(&mut self, images: &[u8]) -> Result<Encoded> {
        let Networks { size, channels, nz, .. } = self.networks;
        let numbers = size.height * size.width * channels;
        let n = images.len() / numbers;
        if n * numbers != images.len() {
            let shape = vec![n + 1, size.height, size.width, channels];
            return Err(Error::Length { shape, len: images.len() });
        }
        let mut mean = Vec::with_capacity(n * nz);
        let mut deviation = Vec::new();
        for some in images.chunks(self.batch * numbers) {
            let mut bytes = some.to_vec();
            bytes.resize(self.batch * numbers, 0);
            let shape = [self.batch, size.height, size.width, channels];
            let bytes = Tensor::with_data(shape, Data::U8(bytes))?;
            let fetched = self.program.call(&mut self.state, &[("images", &bytes)])?;
            let rows = fetched["latents"].f32s().chunks(self.outputs);
            for row in rows.take(some.len() / numbers) {
                let (own, spreads) = row.split_at(nz);
                mean.extend_from_slice(own);
                deviation.extend(spreads.iter().map(|&output| self.spread.deviation(output)));
            }
        }
        if !mean.iter().chain(&deviation).all(|x| x.is_finite()) {
            let what = "the encoder's latents of some images are not finite: its weights are too \
                        large to compute with";
            return Err(Error::Diverged(what.into()));
        }
        let deviation =
            self.has_deviation().then(|| Tensor::new([n, nz], deviation)).transpose()?;
        Ok(Encoded { mean: Tensor::new([n, nz], mean)?, deviation })
    }
}

/// The encoder whose states are called `name` on `batch` images (feed `images`, bytes `[n, h, w, c]`;
/// fetch `latents`, `[n, outputs]`), and how many outputs it has.
fn tape(networks: &Networks, name: &str, batch: usize) -> Result<(Tape, usize)> {
    let Networks { size, channels, .. } = *networks;
    let mut tape = Tape::new();
    let bytes = tape.feed("images", &[batch, size.height, size.width, channels], DType::U8)?;
    let x = networks.pixels.of_bytes(&mut tape, bytes)?;
    let pass = Pass::new(Mode::Eval);
    let latents = networks.encoder()?.record(&mut tape, name, x, &pass)?.last();
    let outputs = tape.shape(latents).iter().skip(1).product();
    let latents = tape.reshape(latents, &[batch, outputs])?;
    tape.fetch("latents", latents)?;
    Ok((tape, outputs))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::collections::BTreeMap;

    use super::*;
    use crate::model::names::averaged;
    use crate::models::{Architecture, ModelConfig, Size};
    use crate::nn::Sequential;

    const NZ: usize = 3;

    /// A model with an encoder of `outputs` outputs, whose EMA differs from its weights.
    fn model(outputs: usize) -> ModelFile {
        let size = Size { height: 16, width: 16 };
        let model_config = ModelConfig {
            network: Architecture::Dcgan,
            size,
            channels: 1,
            nz: NZ,
            ..ModelConfig::default()
        };
        let model_config = ModelConfig { ngf: 4, ndf: 4, ..model_config };
        let encoder = model_config.encoder(outputs).unwrap();
        let networks = model_config.networks().unwrap().with(Role::Encoder, encoder);
        assert_eq!(networks.check(), Ok(()));
        let mut tensors = BTreeMap::new();
        for (seed, prefixed) in [(1, false), (2, true)] {
            for param in networks.params() {
                let value = param.layout.to_file(&param.initial(seed)).unwrap();
                let name = if prefixed { averaged(&param.name) } else { param.name };
                tensors.insert(name, value);
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.safetensors");
        crate::model::save_imported(&path, &networks, &tensors, "a test").unwrap();
        ModelFile::load(&path).unwrap()
    }

    fn images(n: usize) -> Vec<u8> {
        (0..n * 256).map(|i| (i * i * 7 % 251) as u8).collect()
    }

    /// The network's raw outputs for one image, with the weights called `name`.
    fn outputs(model: &ModelFile, weights: Weights, image: &[u8]) -> Vec<f32> {
        let mut state = State::new(&Device::Cpu);
        for param in model.networks.params_of("encoder") {
            let tensor = &model.tensors[&weights.name(&param.name)];
            let value = param.layout.from_file(&param.name, tensor, &param.shape).unwrap();
            state.set(&param.name, &value).unwrap();
        }
        let mut tape = Tape::new();
        let x = tape.feed("x", &[1, 16, 16, 1], DType::F32).unwrap();
        let network: &Sequential = model.networks.encoder().unwrap();
        let y = network.record(&mut tape, "encoder", x, &Pass::new(Mode::Eval)).unwrap().last();
        tape.fetch("y", y).unwrap();
        let x = crate::images::values(image);
        let x = Tensor::new([1, 16, 16, 1], x).unwrap();
        let mut program = Program::compile(&tape, &state, &Options::default()).unwrap();
        program.call(&mut state, &[("x", &x)]).unwrap()["y"].f32s().to_vec()
    }

    #[test]
    fn latents_are_what_the_network_gives_each_image() {
        let model = model(NZ);
        let images = images(5);
        for weights in [Weights::Raw, Weights::Averaged] {
            // Two at a time: the last batch is half empty.
            let mut encoder = Encoder::new(&model, &Device::Cpu, weights, 2).unwrap();
            assert!(encoder.batch() == 2 && !encoder.has_deviation());
            let latents = encoder.latents(&images).unwrap();
            assert_eq!(latents.shape(), [5, NZ]);
            for (image, row) in images.chunks(256).zip(latents.f32s().chunks(NZ)) {
                let wanted = outputs(&model, weights, image);
                assert!(wanted.iter().any(|x| x.abs() > 1e-5), "{wanted:?}");
                for (x, wanted) in row.iter().zip(&wanted) {
                    assert!((x - wanted).abs() < 1e-5, "{weights:?}: {row:?}, not {wanted:?}");
                }
            }
        }
        let mut encoder = Encoder::new(&model, &Device::Cpu, Weights::Raw, 2).unwrap();
        assert!(matches!(encoder.latents(&images[1..]), Err(Error::Length { .. })));
        assert_eq!(encoder.latents(&[]).unwrap().shape(), [0, NZ]);
    }

    #[test]
    fn of_a_distribution_the_mean_and_the_deviation() {
        for (spread, share) in [(Spread::LogVariance, 0.5), (Spread::LogDeviation, 1.0)] {
            check_distribution(spread, share);
        }
    }

    /// The logarithm of the deviation is `share` of the network's output.
    fn check_distribution(spread: Spread, share: f32) {
        let mut model = model(2 * NZ);
        model.networks = model.networks.with_spread(spread);
        let json = serde_json::to_string(&model.networks).unwrap();
        assert_eq!(json.contains("log_deviation"), spread == Spread::LogDeviation);
        assert_eq!(serde_json::from_str::<Networks>(&json).unwrap(), model.networks);
        let images = images(3);
        let mut encoder = Encoder::new(&model, &Device::Cpu, Weights::Raw, 32).unwrap();
        assert!(encoder.has_deviation());
        let Encoded { mean, deviation } = encoder.encode(&images).unwrap();
        let deviation = deviation.unwrap();
        assert_eq!((mean.shape(), deviation.shape()), (&[3, NZ][..], &[3, NZ][..]));
        for (i, image) in images.chunks(256).enumerate() {
            let wanted = outputs(&model, Weights::Raw, image);
            for j in 0..NZ {
                assert!((mean.f32s()[i * NZ + j] - wanted[j]).abs() < 1e-5);
                let log = deviation.f32s()[i * NZ + j].ln();
                assert!((log - share * wanted[NZ + j]).abs() < 1e-5, "{spread:?}");
            }
        }
    }

    #[test]
    fn what_has_no_encoder_or_a_broken_one_is_refused() {
        let mut model = model(NZ);
        let key = model.tensors.keys().find(|name| name.starts_with("encoder.")).unwrap().clone();
        let mut numbers = model.tensors[&key].f32s().to_vec();
        numbers[0] = f32::NAN;
        let broken = Tensor::new(model.tensors[&key].shape(), numbers).unwrap();
        model.tensors.insert(key, broken);
        let fail = |model: &ModelFile, weights| {
            Encoder::new(model, &Device::Cpu, weights, 2).unwrap_err().to_string()
        };
        assert!(fail(&model, Weights::Raw).contains("is NaN"));
        assert!(Encoder::new(&model, &Device::Cpu, Weights::Averaged, 2).is_ok());
        model.networks = model.networks.without(Role::Encoder);
        let text = fail(&model, Weights::Averaged);
        assert!(text.contains("has no encoder") && text.contains("bigan"), "{text}");
    }
}
