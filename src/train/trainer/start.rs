//! What happens once, before the first step of a training.

use crate::data::{Prepare, Source};
use crate::error::{Error, Result};
use crate::models::Design;
use crate::nn::{Mode, Param, Pass};
use crate::program::Program;
use crate::rng::Stream;
use crate::tape::Tape;
use crate::tensor::{DType, Data, Tensor};

use super::Trainer;
use crate::train::ModelFile;
use crate::train::step::{self, KEY};

/// Iterations of the power method before the first step, as PyTorch takes.
const FIRST_ITERATIONS: usize = 15;

/// Real pictures on which the discriminator's weight norm starts: so many, as in the code of Improved
/// GAN, where they are not more than [`MOST_BATCHES`] batches, which take about as much memory in
/// one pass as a step does.
const FIRST_PICTURES: usize = 500;
const MOST_BATCHES: usize = 8;

/// Draws `n` pictures of `source` and their labels, of fewer all: prepared as for training but not
/// flipped, a function of the pictures and the seed. Labels are 0 where there are none.
///
/// # Errors
/// [`Error::File`] where none can be read.
pub fn first_pictures(
    source: &Source,
    prepare: &Prepare,
    n: usize,
    seed: u64,
) -> Result<(Vec<u8>, Vec<u32>)> {
    let plain = Prepare { flip: false, ..prepare.clone() };
    let (mut pictures, mut labels) = (Vec::new(), Vec::new());
    for item in Stream::new(seed, "start", 0).permutation(source.len()) {
        if labels.len() == n {
            break;
        }
        let Ok(picture) = source.prepared(item as usize, &plain) else { continue };
        pictures.extend(picture);
        labels.push(source.labels().map_or(0, |labels| labels[item as usize]));
    }
    match labels.len() {
        0 => Err(Error::file(source.origin(), "holds no picture that can be read")),
        _ => Ok((pictures, labels)),
    }
}

impl Trainer {
    /// Brings the vectors of spectral norms, which start at random, near the largest singular values.
    pub(super) fn settle_norms(&mut self) -> Result<()> {
        let networks = self.recipe.networks()?;
        let generator = networks.generator()?;
        let both = [("generator", generator), ("discriminator", networks.discriminator()?)];
        if !both.iter().any(|(_, network)| network.is_spectral()) {
            return Ok(());
        }
        let mut tape = Tape::new();
        for _ in 0..FIRST_ITERATIONS {
            for (name, network) in both {
                network.power_iteration(&mut tape, name)?;
            }
        }
        let mut program = Program::compile(&tape, &self.state, &self.options)?;
        program.call(&mut self.state, &[])?;
        if self.recipe.ema > 0 {
            for param in generator.params("generator").iter().filter(|p| !p.averaged) {
                let settled = self.state.get(&param.name)?;
                self.state.set(&step::averaged(&param.name), &settled)?;
            }
        }
        Ok(())
    }

    /// How many real pictures [`Trainer::start_on`] is to be given before the first step; 0 where
    /// nothing starts by data.
    ///
    /// # Errors
    /// [`Error::Config`] where the recipe makes no network.
    pub fn start_pictures(&self) -> Result<usize> {
        let micro = self.recipe.method.parts(self.recipe.batch).0;
        Ok(match self.recipe.model.discriminator()?.starts_by_data() {
            true => FIRST_PICTURES.min(MOST_BATCHES * micro),
            false => 0,
        })
    }

    /// Starts the discriminator's weight norm on real `pictures` (bytes, `[n, h, w, c]`) of the classes
    /// `labels`, which matter where the networks are told classes: see [`Mode::Start`]. Noise is
    /// added as in training.
    ///
    /// # Errors
    /// [`Error::Tensor`] where there are not as many pictures as labels, or one is that of no class;
    /// [`Error::Memory`] or [`Error::Lost`] where the device fails.
    pub fn start_on(&mut self, pictures: Vec<u8>, labels: &[u32]) -> Result<()> {
        let model = self.recipe.model;
        let Design { size, channels, classes, .. } = model;
        let shape = [labels.len(), size.height, size.width, channels];
        let pictures = Tensor::with_data(shape, Data::U8(pictures))?;
        let mut feeds = vec![("pictures", pictures)];
        let mut t = Tape::new();
        let x = t.feed("pictures", &shape, DType::U8)?;
        let x = model.network.pixels().of_bytes(&mut t, x)?;
        let told = match model.is_conditional() {
            true => {
                feeds.push(("labels", Tensor::one_hot(labels, classes)?));
                Some(t.feed("labels", &[labels.len(), classes], DType::F32)?)
            }
            false => None,
        };
        let key = t.read(KEY, &[4], DType::U32)?;
        let pass = Pass { labels: told, mode: Mode::Start, key: Some(key), name: "start" };
        let discriminator = model.discriminator()?;
        discriminator.forward_pass(&mut t, "discriminator", x, pass)?;
        let mut program = Program::compile(&t, &self.state, &self.options)?;
        let feeds: Vec<_> = feeds.iter().map(|(name, tensor)| (*name, tensor)).collect();
        program.call(&mut self.state, &feeds)?;
        self.start_twins("discriminator")
    }

    /// Takes the networks of a model, which are like these, in the place of fresh ones: as they are, with
    /// the moving average where the model has one. What the model lacks and the optimizer start anew.
    ///
    /// # Errors
    /// [`Error::Tensor`] where a tensor has another shape, so that the networks are not alike;
    /// [`Error::Memory`] or [`Error::Lost`] where the device fails.
    pub fn start_from(&mut self, model: &ModelFile) -> Result<()> {
        let networks = self.recipe.networks()?.params();
        self.set_from(model, &networks)?;
        for network in ["generator", "discriminator"] {
            self.start_twins(network)?;
        }
        let mut averages = step::params(&self.recipe.step_options())?;
        averages.retain(|param| param.name.starts_with(&step::averaged("")));
        self.set_from(model, &averages)
    }

    /// Sets those of `params` that a model has.
    fn set_from(&mut self, model: &ModelFile, params: &[Param]) -> Result<()> {
        for Param { name, shape, layout, .. } in params {
            if let Some(tensor) = model.tensors.get(name) {
                self.state.set(name, &layout.from_file(name, tensor, shape)?)?;
            }
        }
        Ok(())
    }

    /// Averages and historical means start at the network itself.
    fn start_twins(&mut self, network: &str) -> Result<()> {
        for param in step::params(&self.recipe.step_options())? {
            let Some(source) = step::twin_of(&param.name) else { continue };
            if source.starts_with(network) {
                let now = self.state.get(source)?;
                self.state.set(&param.name, &now)?;
            }
        }
        Ok(())
    }
}
