//! What happens once, before the first step of a training.

use std::collections::BTreeSet;

use crate::data::{Prepare, Source};
use crate::error::{Error, Result};
use crate::gan::draws::Draws;
use crate::nn::{IMAGES, LATENT, Mode, Param, Pass, Sequential};
use crate::program::Program;
use crate::rng::Stream;
use crate::tape::Tape;
use crate::tensor::{DType, Data, Tensor};

use super::Trainer;
use crate::model::names::{KEY, averaged, twin_of};
use crate::model::{Net, Role};
use crate::train::ModelFile;

/// Iterations of the power method before the first step, as PyTorch takes.
const FIRST_ITERATIONS: usize = 15;

/// Real images on which the discriminator's weight norm starts: so many, as in the code of Improved
/// GAN, where they are not more than [`MOST_BATCHES`] batches, which take about as much memory in
/// one pass as a step does.
const FIRST_IMAGES: usize = 500;
const MOST_BATCHES: usize = 8;

/// Draws `n` images of `source` and their labels, of fewer all: prepared as for training but not
/// flipped, a function of the images and the seed. Labels are 0 where there are none.
///
/// # Errors
/// [`Error::File`] where none can be read.
pub fn first_images(
    source: &Source,
    prepare: &Prepare,
    n: usize,
    seed: u64,
) -> Result<(Vec<u8>, Vec<u32>)> {
    let plain = Prepare { flip: false, ..prepare.clone() };
    let (mut images, mut labels) = (Vec::new(), Vec::new());
    for item in Stream::new(seed, "start", 0).permutation(source.len()) {
        if labels.len() == n {
            break;
        }
        let Ok(image) = source.prepared(item as usize, &plain) else { continue };
        images.extend(image);
        labels.push(source.labels().map_or(0, |labels| labels[item as usize]));
    }
    match labels.len() {
        0 => Err(Error::file(source.origin(), "holds no image that can be read")),
        _ => Ok((images, labels)),
    }
}

impl Trainer {
    /// Brings the vectors of spectral norms, which start at random, near the largest singular values.
    pub(super) fn settle_norms(&mut self) -> Result<()> {
        let networks = &self.system.model;
        if !networks.iter().any(|(_, net)| net.network.is_spectral()) {
            return Ok(());
        }
        let mut tape = Tape::new();
        for _ in 0..FIRST_ITERATIONS {
            for (name, net) in networks.iter() {
                net.network.power_iteration(&mut tape, name)?;
            }
        }
        let mut program = Program::compile(&tape, &self.state, &self.options)?;
        program.call(&mut self.state, &[])?;
        for (name, network) in self.system.averages() {
            let params = network.params(name);
            for param in params.iter().filter(|p| !p.averaged) {
                let settled = self.state.get(&param.name)?;
                self.state.set(&averaged(&param.name), &settled)?;
            }
        }
        Ok(())
    }

    /// How many real images [`Trainer::start_on`] is to be given before the first step; 0 where
    /// nothing starts by data.
    #[must_use]
    pub fn start_images(&self) -> usize {
        let micro = self.system.method.parts(self.phase().batch).0;
        let starts = self.discriminators_that_start_by_data().next().is_some()
            || self.generators_that_start_on_images().next().is_some();
        if starts { FIRST_IMAGES.min(MOST_BATCHES * micro) } else { 0 }
    }

    /// The networks that are not another model's.
    fn fresh(&self) -> impl Iterator<Item = (&str, &Net)> {
        let networks = self.system.model.iter();
        networks.filter(|(name, _)| !self.taken.iter().any(|taken| taken == name))
    }

    fn discriminators_that_start_by_data(&self) -> impl Iterator<Item = (&str, &Sequential)> {
        let networks = self.fresh().filter(|(_, net)| net.role == Role::Discriminator);
        networks.map(|(name, net)| (name, &net.network)).filter(|(_, n)| n.starts_by_data())
    }

    fn generators_that_start_on_images(&self) -> impl Iterator<Item = (&str, &Sequential)> {
        let networks = self.fresh().filter(|(_, net)| net.role.takes_latents());
        networks.map(|(name, net)| (name, &net.network)).filter(|(_, n)| n.starts_on_images())
    }

    /// Starts the discriminator's weight norm, and what of a generator starts at the mean of real images
    /// ([`crate::nn::PixelBias`]), on real `images` (bytes, `[n, h, w, c]`) of the classes
    /// `labels`, which matter where the networks are told classes: see [`Mode::Start`]. Noise is
    /// added as in training.
    ///
    /// # Errors
    /// [`Error::Tensor`] where there are not as many images as labels, or one is that of no class;
    /// [`Error::Memory`] or [`Error::Lost`] where the device fails.
    pub fn start_on(&mut self, images: Vec<u8>, labels: &[u32]) -> Result<()> {
        let model = &self.system.model;
        let [h, w, c] = self.phase().image;
        let shape = [labels.len(), h, w, c];
        let images = Tensor::with_data(shape, Data::U8(images))?;
        let mut feeds = vec![("images", images)];
        let mut t = Tape::new();
        let x = t.feed("images", &shape, DType::U8)?;
        let x = model.pixels.of_bytes(&mut t, x)?;
        let told = match model.is_conditional() {
            true => {
                let classes = model.classes.len();
                feeds.push(("labels", Tensor::one_hot(labels, classes)?));
                Some(t.feed("labels", &[labels.len(), classes], DType::F32)?)
            }
            false => None,
        };
        let key = t.read(KEY, &[4], DType::U32)?;
        let law = model.latent_law;
        let z = Draws::Device(key).latents(&mut t, "start", law, &[labels.len(), model.nz])?;
        let z = t.reshape(z, &[labels.len(), 1, 1, model.nz])?;
        let pass = Pass::new(Mode::Start).labels(told).random(Some(key), "start").with(LATENT, z);
        let mut started = Vec::new();
        for (name, network) in self.discriminators_that_start_by_data() {
            network.record(&mut t, name, x, &pass)?;
            started.push(name.to_owned());
        }
        // What it makes of the latents is not asked for, and not computed.
        let pass = pass.with(IMAGES, x);
        for (name, network) in self.generators_that_start_on_images() {
            network.record(&mut t, name, z, &pass)?;
            started.push(name.to_owned());
        }
        let mut program = Program::compile(&t, &self.state, &self.options)?;
        let feeds: Vec<_> = feeds.iter().map(|(name, tensor)| (*name, tensor)).collect();
        program.call(&mut self.state, &feeds)?;
        started.iter().try_for_each(|network| self.start_twins(network))
    }

    /// Takes the networks of a model, which are like these, in the place of fresh ones: as they are, with
    /// the moving average where the model has one. What the model lacks and the optimizer start anew.
    ///
    /// # Errors
    /// [`Error::Tensor`] where a tensor has another shape, so that the networks are not alike;
    /// [`Error::Memory`] or [`Error::Lost`] where the device fails.
    pub fn start_from(&mut self, model: &ModelFile) -> Result<()> {
        self.set_from(model, &self.system.model.params())?;
        let names: Vec<String> = self.system.model.by_name.keys().cloned().collect();
        for network in &names {
            self.start_twins(network)?;
        }
        self.taken = names;
        self.taken.retain(|name| model.networks.by_name.contains_key(name));
        let mut averages = self.system.states();
        averages.retain(|param| param.name.starts_with(&averaged("")));
        self.set_from(model, &averages)
    }

    /// Gives states values, as [`crate::nn::Sequential::load_state_dict`] makes them of PyTorch's: before
    /// the first step, in the place of fresh weights. Moving averages and historical means of their
    /// networks start anew from them.
    ///
    /// # Errors
    /// [`Error::Tensor`] where the training has no state of a name, or with another shape or element type;
    /// [`Error::Lost`] where the device fails.
    pub fn set_states(&mut self, states: impl IntoIterator<Item = (String, Tensor)>) -> Result<()> {
        let mut changed = BTreeSet::new();
        for (name, value) in states {
            self.state.spec(&name)?;
            self.state.set(&name, &value)?;
            changed.extend(self.system.model.by_name.keys().find(|&network| {
                name.strip_prefix(network.as_str()).is_some_and(|rest| rest.starts_with('.'))
            }));
        }
        let changed: Vec<String> = changed.into_iter().cloned().collect();
        changed.iter().try_for_each(|network| self.start_twins(network))
    }

    /// The value of a state, as the device holds it: [`crate::nn::Sequential::state_dict`] makes PyTorch's
    /// of those of a network.
    ///
    /// # Errors
    /// [`Error::Tensor`] where the training has none of this name; [`Error::Lost`] where the device fails.
    pub fn state(&self, name: &str) -> Result<Tensor> {
        self.state.get(name)
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
    pub(super) fn start_twins(&mut self, network: &str) -> Result<()> {
        let of = format!("{network}.");
        for param in self.system.states() {
            let Some(source) = twin_of(&param.name) else { continue };
            if source.starts_with(&of) {
                let now = self.state.get(source)?;
                self.state.set(&param.name, &now)?;
            }
        }
        Ok(())
    }
}
