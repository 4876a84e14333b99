//! A compiled generator: images from latents.

use crate::device::{Device, State};
use crate::error::{Error, Result, named};
use crate::nn::LATENT;
use crate::program::{Choices, Options, Program, fitting, preflight};
use crate::rng::Stream;
use crate::tape::Tape;
use crate::tensor::{DType, Tensor};

use super::networks::{Net, Networks};
use super::pipeline::{IMAGES, Pipeline};
use super::weights::Weights;

/// Images that a sampler runs at a time, regardless of the request: previews and `dcgan sample`
/// give the same image for the same seed.
pub const BATCH: usize = 32;

/// Refuses images with non-finite values: drawing them as black would hide it.
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

/// A compiled generator. If its batch norm uses running statistics, an image depends on its latent
/// alone, since every call runs whole batches of one size. If it uses batch statistics
/// ([`crate::nn::Sequential::needs_batch`]), an image also depends on the others of its batch; the
/// last batch is then filled with drawn latents, always the same ones.
#[derive(Debug)]
pub struct Sampler {
    model: Networks,
    program: Program,
    batch: usize,
    /// Rows of an image, with those of the value above it.
    height: usize,
}

impl Sampler {
    /// The generator on `batch` latents (feed `z`) and, if it is conditional, as many labels (feed
    /// `labels`, see [`Tensor::one_hot`]) or texts (feed `text`), with the states named by
    /// `weights`.
    ///
    /// # Errors
    /// [`Error::Tensor`] if the model has no generator.
    pub fn tape(model: &Networks, weights: Weights, batch: usize) -> Result<Tape> {
        Self::tape_below(model, weights, batch, None)
    }

    /// The same with each image below another value of the model's pipeline, of the same size, such as
    /// the normals that it is of.
    ///
    /// # Errors
    /// Also [`Error::Tensor`] if there is no such value, or it has another size.
    pub fn tape_below(
        model: &Networks,
        weights: Weights,
        batch: usize,
        above: Option<&str>,
    ) -> Result<Tape> {
        let mut tape = Tape::new();
        let z = tape.feed("z", &[batch, model.nz], DType::F32)?;
        let z = tape.reshape(z, &[batch, 1, 1, model.nz])?;
        let mut known = vec![(LATENT, z)];
        if let Some((name, width)) = model.condition() {
            known.push((name, tape.feed(name, &[batch, width], DType::F32)?));
        }
        let pipeline = Pipeline::of(model)?;
        let values = pipeline.values(&mut tape, model, weights, &known)?;
        let no = |name: &str| Error::Tensor {
            name: name.into(),
            what: "is no image of this size that the model makes on its way".into(),
        };
        let images = *values.get(IMAGES).ok_or_else(|| no(IMAGES))?;
        let mut images = model.pixels.to_signed(&mut tape, images)?;
        if let Some(name) = above {
            let value = values.get(name).filter(|&&v| tape.shape(v) == tape.shape(images));
            let value = model.pixels.to_signed(&mut tape, *value.ok_or_else(|| no(name))?)?;
            images = tape.concat(&[value, images], 1)?;
        }
        tape.fetch("images", images)?;
        Ok(tape)
    }

    /// Images at a time that fit `device`: [`BATCH`], or fewer if its memory is small and the
    /// generator's images do not depend on it. Nothing is allocated on the device yet.
    ///
    /// # Errors
    /// [`Error::Memory`] if too few fit; [`Error::Tensor`] if the model has no generator.
    pub fn batch_for(model: &Networks, device: &Device) -> Result<usize> {
        Self::batch_below(model, device, None)
    }

    /// The same for images below another value: see [`Sampler::tape_below`].
    ///
    /// # Errors
    /// See [`Sampler::batch_for`] and [`Sampler::tape_below`].
    pub fn batch_below(model: &Networks, device: &Device, above: Option<&str>) -> Result<usize> {
        let tape = |batch| Self::tape_below(model, Weights::Raw, batch, above);
        let fits = fitting(BATCH, device, 0, tape)?;
        let pipeline = Pipeline::of(model)?;
        let needs_batch =
            |(name, net): (&str, &Net)| pipeline.calls(name) && net.network.needs_batch();
        if fits < BATCH && model.iter().any(needs_batch) {
            let tape = tape(BATCH)?;
            return Err(match preflight(&tape, device, &Options::default()) {
                Err(Error::Memory(what)) => Error::Memory(format!(
                    "{what}; {fits} images at a time would fit, but this generator's batch norm goes \
                     by the statistics of {BATCH}, so that it would draw others"
                )),
                Err(other) => other,
                // Memory was freed in the meantime.
                Ok(_) => return Ok(BATCH),
            });
        }
        Ok(fits)
    }

    /// Images per run.
    #[must_use]
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Compiles the generator with the states that `state` holds under the names of `weights`, with
    /// these kernel variants.
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
        Self::new_below(model, state, weights, (batch, None), choices)
    }

    /// The same for `batch` images below another value: see [`Sampler::tape_below`].
    ///
    /// # Errors
    /// See [`Sampler::new`] and [`Sampler::tape_below`].
    pub fn new_below(
        model: &Networks,
        state: &State,
        weights: Weights,
        (batch, above): (usize, Option<&str>),
        choices: &Choices,
    ) -> Result<Self> {
        let tape = Self::tape_below(model, weights, batch, above)?;
        let options = Options { choices: choices.clone(), ..Options::default() };
        let program = Program::compile(&tape, state, &options)?;
        let height = model.size.height * if above.is_some() { 2 } else { 1 };
        Ok(Self { model: model.clone(), program, batch, height })
    }

    /// Rows of an image, with those of the value above it.
    #[must_use]
    pub fn height(&self) -> usize {
        self.height
    }

    /// Images `[n, h, w, c]` in [−1, 1] from latents `[n, nz]`, for any `n`.
    ///
    /// # Errors
    /// [`Error::Tensor`] if the latents have another shape or the generator is conditional;
    /// [`Error::Lost`] if the device fails.
    pub fn sample(&mut self, state: &mut State, latents: &Tensor) -> Result<Tensor> {
        self.sample_labeled(state, latents, &[])
    }

    /// Images `[n, h, w, c]` in [−1, 1] from latents `[n, nz]`, of the classes `labels`, or of the
    /// model's examples of texts with these numbers; empty for an unconditional generator.
    ///
    /// # Errors
    /// Those of [`Sampler::sample`]; [`Error::Tensor`] if there are not as many labels as latents,
    /// or a label is out of range.
    pub fn sample_labeled(
        &mut self,
        state: &mut State,
        latents: &Tensor,
        labels: &[u32],
    ) -> Result<Tensor> {
        let kinds = self.model.labels();
        let n = latents.shape().first().copied().unwrap_or_default();
        if labels.len() != if kinds == 0 { 0 } else { n } {
            let what = match kinds {
                0 => "the generator is unconditional".to_owned(),
                _ => format!(
                    "the generator is conditional: {n} images need as many, and {} were given",
                    labels.len()
                ),
            };
            return Err(Error::Tensor { name: "labels".into(), what });
        }
        let conditions = self.model.conditions(labels)?;
        self.sample_conditioned(state, latents, conditions.as_ref())
    }

    /// Images `[n, h, w, c]` in [−1, 1] from latents `[n, nz]` on conditions: one-hot labels
    /// `[n, classes]` or mixtures of them, or vectors of texts `[n, width]`; `None` for an
    /// unconditional generator.
    ///
    /// # Errors
    /// Those of [`Sampler::sample`]; [`Error::Tensor`] if the conditions have another shape.
    pub fn sample_conditioned(
        &mut self,
        state: &mut State,
        latents: &Tensor,
        conditions: Option<&Tensor>,
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
        let condition = self.model.condition();
        let wide = condition.map_or(0, |(_, wide)| wide);
        let conditions = match conditions {
            Some(conditions) if wide > 0 && conditions.shape() == [n, wide] => {
                conditions.try_f32s().map_err(|error| named("conditions", error))?
            }
            None if wide == 0 => &[],
            given => {
                let given = given.map(Tensor::shape).unwrap_or_default();
                let what = format!("has shape {given:?}, the generator wants {:?}", [n, wide]);
                return Err(Error::Tensor { name: "conditions".into(), what });
            }
        };
        let latents = latents.try_f32s().map_err(|error| named("latents", error))?;
        let image = self.height * size.width * channels;
        let mut images = Vec::with_capacity(n * image);
        for (first, rows) in latents.chunks(self.batch * nz).enumerate() {
            let mut z = rows.to_vec();
            if z.len() < self.batch * nz {
                let mut company = vec![0.0; self.batch * nz];
                self.model.latent_distribution.fill(&Stream::new(0, "company", 0), &mut company);
                z.extend_from_slice(&company[z.len()..]);
            }
            let z = Tensor::new([self.batch, nz], z)?;
            let fetched = match condition {
                None => self.program.call(state, &[("z", &z)])?,
                Some((name, wide)) => {
                    let rows = first * self.batch..n.min((first + 1) * self.batch);
                    let mut own = conditions[rows.start * wide..rows.end * wide].to_vec();
                    // The company is of the first class, or of no text.
                    match self.model.has_text() {
                        true => own.resize(self.batch * wide, 0.0),
                        false => {
                            let company = vec![0; self.batch - rows.len()];
                            own.extend_from_slice(Tensor::one_hot(&company, wide)?.f32s());
                        }
                    }
                    let own = Tensor::new([self.batch, wide], own)?;
                    self.program.call(state, &[("z", &z), (name, &own)])?
                }
            };
            let count = rows.len() / nz * image;
            images.extend_from_slice(&fetched["images"].f32s()[..count]);
        }
        Tensor::new([n, self.height, size.width, channels], images)
    }
}
