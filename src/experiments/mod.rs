//! The DCGAN paper's experiments on trained networks (arXiv 1511.06434, sections 5 and 6), as
//! functions of latents and pictures; `crate::cli` makes figures of them.

pub mod arithmetic;
pub mod classify;
pub mod dedup;
pub mod errors;
pub mod filters;
pub mod forget;
pub mod invert;
pub mod neighbours;
pub mod one_nn;
pub mod walk;

use crate::device::host::afford;
use crate::device::{Device, State};
use crate::error::{Error, Result};
use crate::models::Networks;
use crate::pictures::figure::Cell;
use crate::program::Choices;
use crate::program::Precision;
use crate::program::tune::recall;
use crate::sample::{BATCH, Sampler, check_finite};
use crate::tensor::Tensor;
use crate::train::ModelFile;

/// A model's generator on a device: from latents to pictures.
#[derive(Debug)]
pub struct Generator {
    state: State,
    sampler: Sampler,
    networks: Networks,
    class: Option<u32>,
}

impl Generator {
    /// Compiles the generator of a model: its average where there is one, unless `raw` weights are
    /// wanted.
    ///
    /// # Errors
    /// [`Error::File`] where the model has no generator; [`Error::Memory`] where the device is full.
    pub fn new(model: &ModelFile, device: &Device, raw: bool) -> Result<Self> {
        model.generator()?;
        let batch = Sampler::batch_for(&model.networks, model.prefix("generator", raw), device)?;
        let mut state = State::new(device);
        let prefix = model.load_generator(&mut state, raw)?;
        let tape = Sampler::tape(&model.networks, prefix, BATCH)?;
        // The kernels of the training, as `dcgan sample` runs them: the same pictures.
        let choices = if model.choices.device == device.name() {
            recall(&[(&tape, Precision::F32)], device, &model.choices, &mut |_| ())
        } else {
            Choices::default()
        };
        let sampler = Sampler::new(&model.networks, &state, prefix, batch, &choices)?;
        Ok(Self { state, sampler, networks: model.networks.clone(), class: None })
    }

    /// The same, drawing pictures of one class: of a generator that is told classes.
    #[must_use]
    pub fn of_class(self, class: Option<u32>) -> Self {
        Self { class, ..self }
    }

    /// Numbers of a latent.
    #[must_use]
    pub fn nz(&self) -> usize {
        self.networks.nz
    }

    /// Pictures that it draws at a time.
    #[must_use]
    pub fn batch(&self) -> usize {
        self.sampler.batch()
    }

    /// Pictures `[n, h, w, c]` in [−1, 1] of latents `[n, nz]`; `done` hears how many were made, a
    /// batch at a time.
    ///
    /// # Errors
    /// [`Error::Memory`] where so many cannot be held; [`Error::Diverged`] where a number is not finite;
    /// [`Error::Length`] where the latents are no whole rows; [`Error::Tensor`] where the generator
    /// has to be told a class, and there is none; [`Error::Lost`] where the device fails.
    pub fn pictures(&mut self, latents: &[f32], done: impl FnMut(usize)) -> Result<Tensor> {
        let rows = latents.len() / self.nz().max(1);
        let labels: Vec<u32> =
            self.class.iter().flat_map(|&class| std::iter::repeat_n(class, rows)).collect();
        self.labelled(latents, &labels, done)
    }

    /// [`Self::pictures`] of a generator that is told classes, each of the class that `labels`
    /// names.
    ///
    /// # Errors
    /// As [`Self::pictures`]; [`Error::Tensor`] where there are not as many labels as latents.
    pub fn labelled(
        &mut self,
        latents: &[f32],
        labels: &[u32],
        mut done: impl FnMut(usize),
    ) -> Result<Tensor> {
        let nz = self.nz();
        let (rows, batch) = (latents.len() / nz.max(1), self.batch());
        let Networks { size, channels, .. } = self.networks;
        let numbers = (size.height * size.width * channels) as u64;
        let what = format!("{rows} pictures of {size}");
        afford((rows as u64).saturating_mul(4 * numbers), &what)?;
        let mut pictures = Vec::new();
        let mut shape = Vec::new();
        for (i, z) in latents.chunks(batch * nz.max(1)).enumerate() {
            let z = Tensor::new([z.len() / nz.max(1), nz], z.to_vec())?;
            let own = i * batch..labels.len().min(i * batch + z.shape()[0]);
            let own = labels.get(own).unwrap_or_default();
            let made = self.sampler.sample_labelled(&mut self.state, &z, own)?;
            check_finite(&made)?;
            pictures.extend_from_slice(made.f32s());
            shape = made.shape().to_vec();
            done(z.shape()[0]);
        }
        match shape.first_mut() {
            Some(n) => *n = rows,
            None => return Err(Error::Length { shape: vec![1, nz], len: 0 }),
        }
        Tensor::new(shape, pictures)
    }

    /// The pictures of latents `[n, nz]` as cells of a figure.
    ///
    /// # Errors
    /// As [`Self::pictures`].
    pub fn cells(&mut self, latents: &[f32]) -> Result<Vec<Cell>> {
        cells(&self.pictures(latents, |_| ())?)
    }
}

/// Pictures `[n, h, w, c]` in [−1, 1] as cells of a figure.
///
/// # Errors
/// [`Error::Shape`] where they are no pictures.
pub fn cells(pictures: &Tensor) -> Result<Vec<Cell>> {
    match pictures.shape() {
        &[n, h, w, c] => Cell::all(pictures.f32s(), [n, h, w, c]),
        shape => Err(Error::Shape {
            op: "picture",
            what: "pictures have four axes".into(),
            shapes: vec![shape.to_vec()],
        }),
    }
}
