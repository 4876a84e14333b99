//! Pictures from a generator, by seeds or latents.

use crate::device::State;
use crate::error::{Error, Result};
use crate::models::Dcgan;
use crate::nn::Mode;
use crate::program::{Choices, Options, Program};
use crate::tape::Tape;
use crate::tensor::{DType, Tensor};

/// Pictures that a sampler runs at a time, whatever is asked for: previews and `dcgan sample` give
/// the same picture for the same seed.
pub const BATCH: usize = 32;

/// A compiled generator. Batch norm uses running statistics, and every call runs whole batches of
/// one size, so that a picture depends on its latent alone.
#[derive(Debug)]
pub struct Sampler {
    model: Dcgan,
    program: Program,
    batch: usize,
}

/// The name of a generator's states: `prefix` is `ema` for the average, or empty.
fn network(prefix: &str) -> String {
    if prefix.is_empty() { "generator".into() } else { format!("{prefix}.generator") }
}

impl Sampler {
    /// The generator on `batch` latents, from the states under `prefix`.
    ///
    /// # Errors
    /// [`Error::Flag`] where the model is no network.
    pub fn tape(model: &Dcgan, prefix: &str, batch: usize) -> Result<Tape> {
        let mut tape = Tape::new();
        let z = tape.feed("z", &[batch, model.nz], DType::F32)?;
        let z = tape.reshape(z, &[batch, 1, 1, model.nz])?;
        let generator = model.generator()?;
        let pictures = generator.forward(&mut tape, &network(prefix), z, Mode::Eval)?;
        tape.fetch("pictures", pictures);
        Ok(tape)
    }

    /// Compiles the generator whose states `state` holds under `prefix`, with these variants of its
    /// kernels.
    ///
    /// # Errors
    /// [`Error::Tensor`] where `state` lacks one of them; [`Error::Memory`] where the device is
    /// full.
    pub fn new(
        model: &Dcgan,
        state: &State,
        prefix: &str,
        batch: usize,
        choices: &Choices,
    ) -> Result<Self> {
        let tape = Self::tape(model, prefix, batch)?;
        let options = Options { choices: choices.clone(), ..Options::default() };
        let program = Program::compile(&tape, state, &options)?;
        Ok(Self { model: *model, program, batch })
    }

    /// Pictures `[n, h, w, c]` in [−1, 1] from latents `[n, nz]`, for any `n`.
    ///
    /// # Errors
    /// [`Error::Tensor`] where the latents have another shape; [`Error::Lost`] where the device
    /// fails.
    pub fn sample(&mut self, state: &mut State, latents: &Tensor) -> Result<Tensor> {
        let Dcgan { size, channels, nz, .. } = self.model;
        let &[n, width] = latents.shape() else {
            let what = format!("has shape {:?}, not [n, {nz}]", latents.shape());
            return Err(Error::Tensor { name: "latents".into(), what });
        };
        if width != nz {
            let what = format!("has {width} numbers a picture, the generator wants {nz}");
            return Err(Error::Tensor { name: "latents".into(), what });
        }
        let picture = size.height * size.width * channels;
        let mut pictures = Vec::with_capacity(n * picture);
        for rows in latents.f32s().chunks(self.batch * nz) {
            let mut z = rows.to_vec();
            z.resize(self.batch * nz, 0.0);
            let z = Tensor::new([self.batch, nz], z)?;
            let fetched = self.program.call(state, &[("z", &z)])?;
            let count = rows.len() / nz * picture;
            pictures.extend_from_slice(&fetched["pictures"].f32s()[..count]);
        }
        Tensor::new([n, size.height, size.width, channels], pictures)
    }
}
