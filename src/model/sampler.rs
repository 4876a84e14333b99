//! A compiled generator: images from latents.

use crate::device::{Device, State};
use crate::error::{Error, Result, named};
use crate::nn::{LABELS, LATENT};
use crate::program::{Choices, Options, Program, fitting, preflight};
use crate::rng::Stream;
use crate::tape::Tape;
use crate::tensor::{DType, Tensor};

use super::networks::Networks;
use super::pipeline::Pipeline;
use super::weights::Weights;

/// Images that a sampler runs at a time, whatever is asked for: previews and `dcgan sample` give
/// the same image for the same seed.
pub const BATCH: usize = 32;

/// Refuses images that hold a number that is not finite: to draw them as black would hide it.
///
/// # Errors
/// [`Error::Diverged`].
pub fn check_finite(images: &Tensor) -> Result<()> {
    match images.is_finite() {
        true => Ok(()),
        false => Err(Error::Diverged(
            "the generator draws numbers that are not finite: its weights are too large to compute \
             with"
                .into(),
        )),
    }
}

/// A compiled generator. Where its batch norm uses running statistics, an image depends on its
/// latent alone, since every call runs whole batches of one size. Where it uses those of the batch
/// ([`crate::nn::Sequential::needs_batch`]), an image also depends on the others of its batch; the
/// last batch is then filled with drawn latents, always the same ones.
#[derive(Debug)]
pub struct Sampler {
    model: Networks,
    program: Program,
    batch: usize,
}

impl Sampler {
    /// The generator on `batch` latents (feed `z`) and, where it is told classes, as many labels
    /// (feed `labels`, see [`Tensor::one_hot`]), from the states that `weights` are called.
    ///
    /// # Errors
    /// [`Error::Tensor`] if the model has no generator.
    pub fn tape(model: &Networks, weights: Weights, batch: usize) -> Result<Tape> {
        let mut tape = Tape::new();
        let z = tape.feed("z", &[batch, model.nz], DType::F32)?;
        let z = tape.reshape(z, &[batch, 1, 1, model.nz])?;
        let labels = match model.classes.len() {
            0 => None,
            classes => Some(tape.feed("labels", &[batch, classes], DType::F32)?),
        };
        let mut known = vec![(LATENT, z)];
        known.extend(labels.map(|labels| (LABELS, labels)));
        let images = Pipeline::of(model)?.record(&mut tape, model, weights, &known)?;
        let images = model.pixels.to_signed(&mut tape, images)?;
        tape.fetch("images", images)?;
        Ok(tape)
    }

    /// How many images at a time fit `device`: [`BATCH`], or fewer where its memory is small and the
    /// generator draws the same ones then. Nothing is on the device yet.
    ///
    /// # Errors
    /// [`Error::Memory`] if too few fit; [`Error::Tensor`] if the model has no generator.
    pub fn batch_for(model: &Networks, device: &Device) -> Result<usize> {
        let fits = fitting(BATCH, device, 0, |batch| Self::tape(model, Weights::Raw, batch))?;
        if fits < BATCH && model.generator()?.needs_batch() {
            let tape = Self::tape(model, Weights::Raw, BATCH)?;
            return Err(match preflight(&tape, device, &Options::default()) {
                Err(Error::Memory(what)) => Error::Memory(format!(
                    "{what}; {fits} images at a time would fit, but this generator's batch norm goes \
                     by the statistics of {BATCH}, so that it would draw others"
                )),
                Err(other) => other,
                // Memory came free in between.
                Ok(_) => return Ok(BATCH),
            });
        }
        Ok(fits)
    }

    /// Images that it runs at a time.
    #[must_use]
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Compiles the generator whose states `state` holds under the names of `weights`, with these
    /// variants of its kernels.
    ///
    /// # Errors
    /// [`Error::Tensor`] if `state` lacks one of them; [`Error::Memory`] if the device is
    /// full.
    pub fn new(
        model: &Networks,
        state: &State,
        weights: Weights,
        batch: usize,
        choices: &Choices,
    ) -> Result<Self> {
        let tape = Self::tape(model, weights, batch)?;
        let options = Options { choices: choices.clone(), ..Options::default() };
        let program = Program::compile(&tape, state, &options)?;
        Ok(Self { model: model.clone(), program, batch })
    }

    /// Images `[n, h, w, c]` in [−1, 1] from latents `[n, nz]`, for any `n`.
    ///
    /// # Errors
    /// [`Error::Tensor`] if the latents have another shape, or the generator has to be told
    /// classes; [`Error::Lost`] if the device fails.
    pub fn sample(&mut self, state: &mut State, latents: &Tensor) -> Result<Tensor> {
        self.sample_labeled(state, latents, &[])
    }

    /// Images `[n, h, w, c]` in [−1, 1] from latents `[n, nz]`, each of the class that `labels`
    /// names; none where the generator is told no classes.
    ///
    /// # Errors
    /// As [`Sampler::sample`]; [`Error::Tensor`] if there are not as many labels as latents, or
    /// one is that of no class.
    pub fn sample_labeled(
        &mut self,
        state: &mut State,
        latents: &Tensor,
        labels: &[u32],
    ) -> Result<Tensor> {
        let Networks { size, channels, nz, .. } = self.model;
        let &[n, width] = latents.shape() else {
            let what = format!("has shape {:?}, not [n, {nz}]", latents.shape());
            return Err(Error::Tensor { name: "latents".into(), what });
        };
        if width != nz {
            let what = format!("has {width} numbers an image, the generator wants {nz}");
            return Err(Error::Tensor { name: "latents".into(), what });
        }
        let classes = self.model.classes.len();
        if labels.len() != if classes == 0 { 0 } else { n } {
            let what = match classes {
                0 => "the generator is told no classes".to_owned(),
                _ => format!(
                    "the generator is told classes: {n} images need as many, and {} were given",
                    labels.len()
                ),
            };
            return Err(Error::Tensor { name: "labels".into(), what });
        }
        let latents = latents.try_f32s().map_err(|error| named("latents", error))?;
        let image = size.height * size.width * channels;
        let mut images = Vec::with_capacity(n * image);
        for (first, rows) in latents.chunks(self.batch * nz).enumerate() {
            let mut z = rows.to_vec();
            if z.len() < self.batch * nz {
                let mut company = vec![0.0; self.batch * nz];
                self.model.latent_law.fill(&Stream::new(0, "company", 0), &mut company);
                z.extend_from_slice(&company[z.len()..]);
            }
            let z = Tensor::new([self.batch, nz], z)?;
            let fetched = if classes == 0 {
                self.program.call(state, &[("z", &z)])?
            } else {
                let first = first * self.batch;
                let mut labels = labels[first..n.min(first + self.batch)].to_vec();
                labels.resize(self.batch, 0);
                let labels = Tensor::one_hot(&labels, classes)?;
                self.program.call(state, &[("z", &z), ("labels", &labels)])?
            };
            let count = rows.len() / nz * image;
            images.extend_from_slice(&fetched["images"].f32s()[..count]);
        }
        Tensor::new([n, size.height, size.width, channels], images)
    }
}
