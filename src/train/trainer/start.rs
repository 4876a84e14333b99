//! One-time initialization before the first training step.

use std::collections::BTreeSet;

use crate::data::{Prepare, Source};
use crate::error::{Error, Result};
use crate::gan::draws::Draws;
use crate::gan::{Stage, StageName, System};
use crate::nn::{IMAGES, LATENT, Mode, Param, Pass, Sequential};
use crate::program::Program;
use crate::rng::Stream;
use crate::tape::Tape;
use crate::tensor::{DType, Data, Tensor};

use super::Trainer;
use crate::model::names::{KEY, averaged, averaged_from};
use crate::model::{Net, Networks, Role};
use crate::train::{ModelFile, Position, TrainConfig};

/// Iterations of the power method before the first step, as in PyTorch.
const FIRST_ITERATIONS: usize = 15;

/// Real images used to initialize the discriminator's weight norm, as in the code of Improved GAN,
/// but at most [`MOST_BATCHES`] batches: those take about as much memory in one pass as a step
/// does.
const FIRST_IMAGES: usize = 500;
const MOST_BATCHES: usize = 8;

/// Draws `n` images of `source` with labels, or all if there are fewer: prepared as for training
/// but not flipped, deterministic in the images and the seed. Without classes labels are 0.
///
/// # Errors
/// [`Error::File`] if none can be read.
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

/// What initializes the spectral norms of networks before the first step; `None` if they have none.
///
/// # Errors
/// Those of recording it.
pub(crate) fn norms_tape(networks: &Networks) -> Result<Option<Tape>> {
    if !networks.iter().any(|(_, net)| net.network.is_spectral()) {
        return Ok(None);
    }
    let mut tape = Tape::new();
    for _ in 0..FIRST_ITERATIONS {
        for (name, net) in networks.iter() {
            net.network.power_iteration(&mut tape, name)?;
        }
    }
    Ok(Some(tape))
}

/// The tensors that moving averages have as they are, such as the vectors of spectral norms, and what they
/// are called there.
pub(crate) fn copied_averages(system: &System) -> Vec<(String, String)> {
    let params = system.averages().flat_map(|(name, network)| network.params(name));
    let copied = params.filter(|param| !param.averaged);
    let pair = |param: Param| {
        let to = averaged(&param.name);
        (param.name, to)
    };
    copied.map(pair).collect()
}

impl Trainer {
    /// Runs the power method until the randomly initialized vectors of spectral norms are close to
    /// the largest singular vectors.
    pub(super) fn initialize_norms(&mut self) -> Result<()> {
        let Some(tape) = norms_tape(&self.system.model)? else { return Ok(()) };
        let mut program = Program::compile(&tape, &self.state, &self.options)?;
        program.call(&mut self.state, &[])?;
        for (from, to) in copied_averages(&self.system) {
            let initialized = self.state.get(&from)?;
            self.state.set(&to, &initialized)?;
        }
        Ok(())
    }

    /// Number of real images that [`Trainer::start_on`] needs before the first step; 0 if nothing
    /// is initialized from data.
    #[must_use]
    pub fn start_images(&self) -> usize {
        let micro = self.system.objective.parts(self.phase().batch).0;
        let starts = self.discriminators_that_start_by_data().next().is_some()
            || self.generators_that_start_on_images().next().is_some();
        if starts { FIRST_IMAGES.min(MOST_BATCHES * micro) } else { 0 }
    }

    /// The networks that were not loaded from another model.
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

    /// Initializes from real `images` (bytes, `[n, h, w, c]`) the discriminator's weight norm and
    /// generator layers that start at the mean image ([`crate::nn::PixelBias`]): see
    /// [`Mode::Initialize`]. `labels` matter only for conditional networks. Noise is added as in
    /// training.
    ///
    /// # Errors
    /// [`Error::Tensor`] if there are not as many images as labels, or a label is out of range;
    /// [`Error::Memory`] or [`Error::Lost`] if the device fails.
    pub fn start_on(&mut self, images: Vec<u8>, labels: &[u32]) -> Result<()> {
        let model = &self.system.model;
        let [h, w, c] = self.phase().image;
        let shape = [labels.len(), h, w, c];
        let images = Tensor::with_data(shape, Data::U8(images))?;
        let mut feeds = vec![("images", images)];
        let mut t = Tape::new();
        let x = t.feed("images", &shape, DType::U8)?;
        let x = model.pixels.of_bytes(&mut t, x)?;
        let labels_of_pass = match model.is_conditional() {
            true => {
                let classes = model.classes.len();
                feeds.push(("labels", Tensor::one_hot(labels, classes)?));
                Some(t.feed("labels", &[labels.len(), classes], DType::F32)?)
            }
            false => None,
        };
        let key = t.read(KEY, &[4], DType::U32)?;
        let distribution = model.latent_distribution;
        let z =
            Draws::Device(key).latents(&mut t, "start", distribution, &[labels.len(), model.nz])?;
        let z = t.reshape(z, &[labels.len(), 1, 1, model.nz])?;
        let pass = Pass::new(Mode::Initialize)
            .labels(labels_of_pass)
            .random(Some(key), "start")
            .with(LATENT, z);
        let mut started = Vec::new();
        for (name, network) in self.discriminators_that_start_by_data() {
            network.record(&mut t, name, x, &pass)?;
            started.push(name.to_owned());
        }
        // The generator's output is not fetched, so not computed.
        let pass = pass.with(IMAGES, x);
        for (name, network) in self.generators_that_start_on_images() {
            network.record(&mut t, name, z, &pass)?;
            started.push(name.to_owned());
        }
        let mut program = Program::compile(&t, &self.state, &self.options)?;
        let feeds: Vec<_> = feeds.iter().map(|(name, tensor)| (*name, tensor)).collect();
        program.call(&mut self.state, &feeds)?;
        started.iter().try_for_each(|network| self.start_averages(network))
    }

    /// Replaces fresh networks with those of a compatible model, including the EMA if the model has
    /// one. The optimizer and whatever the model lacks are freshly initialized.
    ///
    /// # Errors
    /// [`Error::Tensor`] if a tensor has another shape (incompatible networks); [`Error::Memory`]
    /// or [`Error::Lost`] if the device fails.
    pub fn start_from(&mut self, model: &ModelFile) -> Result<()> {
        self.set_from(model, &self.system.model.params())?;
        let names: Vec<String> = self.system.model.by_name.keys().cloned().collect();
        for network in &names {
            self.start_averages(network)?;
        }
        if !self.position.stages.is_empty() {
            let builders = self.stages_that_build_on(&self.stage().name)?;
            for (stage, mut progress) in Position::stages_of(model)? {
                progress.done &= !builders.contains(&stage);
                self.position.stages.entry(stage).or_insert(progress);
            }
        }
        self.taken = names;
        self.taken.retain(|name| model.networks.by_name.contains_key(name));
        let mut averages = self.system.states();
        averages.retain(|param| param.name.starts_with(&averaged("")));
        self.set_from(model, &averages)
    }

    /// The stages that build on this one, directly or not: done on other weights of it, they are not done.
    fn stages_that_build_on(&self, stage: &str) -> Result<BTreeSet<String>> {
        let all = TrainConfig { stage: StageName::default(), ..self.config.clone() }.system()?;
        let mut found = BTreeSet::from([stage.to_owned()]);
        // Stages come after those on which they build.
        for Stage { name, needs, .. } in &all.stages {
            if needs.iter().any(|need| found.contains(need)) {
                found.insert(name.clone());
            }
        }
        found.remove(stage);
        Ok(found)
    }

    /// Sets states, as [`crate::nn::Sequential::load_state_dict`] converts them from PyTorch's, in
    /// place of fresh weights before the first step. EMA copies and historical means of their
    /// networks are reset to them.
    ///
    /// # Errors
    /// [`Error::Tensor`] if the training has no state of that name, or its shape or element type
    /// differs; [`Error::Lost`] if the device fails.
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
        changed.iter().try_for_each(|network| self.start_averages(network))
    }

    /// The value of a state, as on the device: [`crate::nn::Sequential::state_dict`] converts those
    /// of a network to PyTorch's.
    ///
    /// # Errors
    /// [`Error::Tensor`] if the training has no state of this name; [`Error::Lost`] if the device
    /// fails.
    pub fn state(&self, name: &str) -> Result<Tensor> {
        self.state.get(name)
    }

    /// Sets those of `params` that the model has.
    fn set_from(&mut self, model: &ModelFile, params: &[Param]) -> Result<()> {
        for Param { name, shape, layout, .. } in params {
            if let Some(tensor) = model.tensors.get(name) {
                self.state.set(name, &layout.from_file(name, tensor, shape)?)?;
            }
        }
        Ok(())
    }

    /// Resets EMA copies and historical means to the network's weights.
    pub(super) fn start_averages(&mut self, network: &str) -> Result<()> {
        let of = format!("{network}.");
        for param in self.system.states() {
            let Some(source) = averaged_from(&param.name) else { continue };
            if source.starts_with(&of) {
                let now = self.state.get(source)?;
                self.state.set(&param.name, &now)?;
            }
        }
        Ok(())
    }
}
