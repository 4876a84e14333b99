//! A file as a model: its metadata say what it is, layer by layer, so the file alone is enough to
//! sample, and to resume where it is a checkpoint.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::data::Prepare;
use crate::device::State;
use crate::error::{Error, Result};
use crate::models::Networks;
use crate::models::Size;
use crate::nn::{Layout, Param, Sequential};
use crate::program::Choices;
use crate::tensor::{DType, Tensor};

use super::Recipe;
use super::checkpoint;
use super::folder::Folder;
use super::step::{self, AVERAGE, averaged};
use super::trainer::{Trainer, in_files};

/// Metadata keys.
const MODEL: &str = "dcgan.model";
const RECIPE: &str = "dcgan.recipe";
const STEP: &str = "dcgan.step";
const SECONDS: &str = "dcgan.seconds";
const PROGRAM: &str = "dcgan.program";
const SOURCE: &str = "dcgan.source";
const KERNELS: &str = "dcgan.kernels";

/// A file that names more classes than this is damaged.
const MOST_CLASSES: usize = 1 << 20;

/// So is one with larger batches than this.
const MOST_PICTURES: usize = 1 << 20;

/// The metadata key for how pictures were prepared for training: a [`Prepare`] as JSON.
pub const PICTURES: &str = "dcgan.pictures";

/// A model that was read and understood: a checkpoint, or weights that were imported.
#[derive(Clone, Debug)]
pub struct ModelFile {
    /// The file.
    pub path: PathBuf,
    /// What it is.
    pub networks: Networks,
    /// How it was trained; nothing where it was imported.
    pub recipe: Option<Recipe>,
    /// Training steps done.
    pub step: u64,
    /// Seconds of training so far.
    pub seconds: f64,
    /// How pictures are made fit for its networks: as they were for training, or, where the file
    /// does not say, by the usual crop and filter.
    pub prepare: Prepare,
    /// The variants that its kernels ran; none where the file does not say.
    pub choices: Choices,
    /// The tensors, as files hold them.
    pub tensors: BTreeMap<String, Tensor>,
}

impl ModelFile {
    /// The model that `path` means: itself, or of a run's folder the newest checkpoint that is whole,
    /// and why newer ones were passed over: what a crash leaves behind is no reason to stop.
    ///
    /// # Errors
    /// As [`ModelFile::load`]; [`Error::Changed`] where the newest has changed since it was written, with
    /// the one that would be taken; [`Error::File`] where there is nothing, the folder is not a run's, or it
    /// has no checkpoint.
    pub fn open(path: &Path) -> Result<(Self, Vec<Error>)> {
        if path.is_dir() {
            let (model, mut passed) = Folder::open(path)?.newest(Self::load)?;
            let changed = passed.iter().position(|error| matches!(error, Error::Changed { .. }));
            // A disk or a memory that turns bits, which its owner has to know of.
            return match changed.map(|i| passed.swap_remove(i)) {
                Some(Error::Changed { path, what }) => {
                    let before = model.path.display();
                    Err(Error::Changed { path, what: format!("{what}; {before} is intact") })
                }
                _ => Ok((model, passed)),
            };
        }
        if !path.exists() {
            return Err(Error::file(path, "there is no such run folder or checkpoint"));
        }
        Ok((Self::load(path)?, Vec::new()))
    }

    /// Reads a model and checks that it holds what it says.
    ///
    /// # Errors
    /// [`Error::Damaged`] where it is no model of this program, is damaged, or its tensors are not
    /// those of the networks that it names; [`Error::File`] where it cannot be read.
    pub fn load(path: &Path) -> Result<Self> {
        let file = checkpoint::load(path)?;
        let fail = |what: String| Error::damaged(path, what);
        let get = |key: &str| {
            file.metadata.get(key).ok_or_else(|| fail(format!("its metadata lack {key:?}")))
        };
        let damaged = |key: &str| fail(format!("its metadata {key:?} are damaged"));
        let imported = file.metadata.contains_key(SOURCE);
        let (networks, recipe, step, seconds, params) = if imported {
            let networks: Networks =
                serde_json::from_str(get(MODEL)?).map_err(|_| damaged(MODEL))?;
            networks.check().map_err(|what| fail(format!("its description is damaged: {what}")))?;
            let mut params = networks.params();
            for network in ["generator", "discriminator"] {
                let prefix = averaged(&format!("{network}."));
                if file.tensors.keys().any(|name| name.starts_with(&prefix)) {
                    params.extend(average_of(&networks, network));
                }
            }
            (networks, None, 0, 0.0, params)
        } else {
            let recipe: Recipe = serde_json::from_str(get(RECIPE)?).map_err(|_| damaged(RECIPE))?;
            let step: u64 = get(STEP)?.parse().map_err(|_| damaged(STEP))?;
            recipe.seen(step).ok_or_else(|| damaged(STEP))?;
            let seconds = get(SECONDS)?.parse().map_err(|_| damaged(SECONDS))?;
            let Size { height, width } = recipe.model.size;
            let none = |_| fail(format!("it names networks of {height}x{width}, which are none"));
            let sound = recipe.validate();
            let pictures = recipe.batch.checked_mul(recipe.method.n_critic);
            let pictures = pictures.filter(|_| recipe.batch <= MOST_PICTURES);
            let seen = pictures.and_then(|n| step.checked_mul(n as u64));
            if recipe.model.classes > MOST_CLASSES || sound.is_err() || pictures.is_none() {
                return Err(damaged(RECIPE));
            }
            // Steps are counted on from there, as are the pictures of all of them.
            if seen.is_none_or(|seen| seen > u64::MAX / 2) {
                return Err(damaged(STEP));
            }
            let params = step::params(&recipe.step_options()).map_err(none)?;
            let networks = recipe.networks().map_err(|_| damaged(RECIPE))?;
            (networks, Some(recipe), step, seconds, params)
        };
        let choices = match file.metadata.get(KERNELS) {
            Some(text) => serde_json::from_str(text).map_err(|_| damaged(KERNELS))?,
            None => Choices::default(),
        };
        for param in params {
            let wanted = param.layout.file_shape(&param.shape);
            let has = file.tensors.get(&param.name);
            if has.map(Tensor::shape) != Some(&wanted[..]) {
                let has = has.map_or("is missing".into(), |t| format!("has shape {:?}", t.shape()));
                let what = format!(
                    "is of another architecture than it says: {} {has}, and should be {wanted:?}",
                    param.name
                );
                return Err(fail(what));
            }
            if has.map(Tensor::dtype) != Some(DType::F32) {
                return Err(fail(format!("is damaged: {} is no tensor of floats", param.name)));
            }
        }
        // Files of older versions describe their networks by the recipe alone.
        if let Some(text) = file.metadata.get(MODEL) {
            let described: Networks = serde_json::from_str(text).map_err(|_| damaged(MODEL))?;
            if described != networks {
                let what = format!(
                    "is damaged: it describes networks of {}, which its recipe for {} does not make",
                    described.size, networks.size
                );
                return Err(fail(what));
            }
        }
        let Size { height, width } = networks.size;
        let usual = Prepare { height, width, channels: networks.channels, ..Prepare::default() };
        let prepare = match file.metadata.get(PICTURES) {
            None => usual,
            Some(text) => {
                let said: Prepare = serde_json::from_str(text).map_err(|_| damaged(PICTURES))?;
                Prepare { crop: said.crop, filter: said.filter, flip: said.flip, ..usual }
            }
        };
        let path = path.to_owned();
        let tensors = file.tensors;
        Ok(Self { path, networks, recipe, step, seconds, prepare, choices, tensors })
    }

    /// The prefix of the weights of a network (`generator` or `discriminator`) that are used, by the one
    /// rule for all of the program: its moving average where there is one, unless `raw` weights are
    /// wanted. A training averages its generator, and its discriminator where that is what the training
    /// is for, a semi-supervised classifier.
    #[must_use]
    pub fn prefix(&self, network: &str, raw: bool) -> &'static str {
        let first = average_of(&self.networks, network).next();
        let average = first.is_some_and(|param| self.tensors.contains_key(&param.name));
        if average && !raw { AVERAGE } else { "" }
    }

    /// The tensors of a network that are used ([`Self::prefix`]): what the network calls each, and what
    /// it is called in the file.
    fn used(&self, network: &str, raw: bool) -> Vec<(Param, String)> {
        let prefix = self.prefix(network, raw);
        let kept = |param: Param| match prefix {
            AVERAGE => (param.clone(), averaged(&param.name)),
            _ => (param.clone(), param.name),
        };
        params_of(&self.networks, network).map(kept).collect()
    }

    /// The tensors of a network that are used, as files hold them.
    ///
    /// # Errors
    /// [`Error::File`] where one of their numbers is not finite.
    pub fn weights(&self, network: &str, raw: bool) -> Result<Vec<(Param, &Tensor)>> {
        let used = self.used(network, raw).into_iter().map(|(param, name)| {
            let tensor = &self.tensors[&name];
            match tensor.f32s().iter().position(|x| !x.is_finite()) {
                None => Ok((param, tensor)),
                Some(at) => {
                    let earlier = match self.recipe {
                        Some(_) => ", as its training had diverged; take an earlier checkpoint",
                        None => "",
                    };
                    let number = tensor.f32s()[at];
                    let what = format!("is spoilt: number {at} of {name} is {number}{earlier}");
                    Err(Error::file(&self.path, what))
                }
            }
        });
        used.collect()
    }

    /// The generator.
    ///
    /// # Errors
    /// [`Error::File`] where the model has none.
    pub fn generator(&self) -> Result<&Sequential> {
        self.networks.generator.as_ref().ok_or_else(|| {
            let what = "holds a discriminator alone, and this needs a generator: import one \
                        together with it";
            Error::file(&self.path, what)
        })
    }

    /// The discriminator.
    ///
    /// # Errors
    /// [`Error::File`] where the model has none.
    pub fn discriminator(&self) -> Result<&Sequential> {
        self.networks.discriminator.as_ref().ok_or_else(|| {
            let what = "holds a generator alone, and this needs a discriminator: import one \
                        together with it";
            Error::file(&self.path, what)
        })
    }

    /// Makes sure that the networks are told no classes.
    ///
    /// # Errors
    /// [`Error::File`] where they are; `why` is the rest of a sentence on why that cannot be.
    pub fn unconditional(&self, why: &str) -> Result<()> {
        if self.networks.is_conditional() {
            let what = format!("is conditional: its networks are told classes, {why}");
            return Err(Error::file(&self.path, what));
        }
        Ok(())
    }

    /// Puts the generator's tensors onto a device, those that are used ([`Self::prefix`]), and returns
    /// their prefix.
    ///
    /// # Errors
    /// [`Error::File`] where the model has no generator, or its numbers are not finite;
    /// [`Error::Memory`] or [`Error::Lost`] where the device fails.
    pub fn load_generator(&self, state: &mut State, raw: bool) -> Result<&'static str> {
        self.generator()?;
        let prefix = self.prefix("generator", raw);
        self.put(state, "generator", raw, |name| match prefix {
            AVERAGE => averaged(name),
            _ => name.to_owned(),
        })?;
        Ok(prefix)
    }

    /// Puts the discriminator's tensors onto a device, those that are used ([`Self::prefix`]), by the
    /// names of the discriminator itself.
    ///
    /// # Errors
    /// [`Error::File`] where the model has no discriminator, or its numbers are not finite;
    /// [`Error::Memory`] or [`Error::Lost`] where the device fails.
    pub fn load_discriminator(&self, state: &mut State, raw: bool) -> Result<()> {
        self.discriminator()?;
        self.put(state, "discriminator", raw, str::to_owned)
    }

    fn put(
        &self,
        state: &mut State,
        network: &str,
        raw: bool,
        name: impl Fn(&str) -> String,
    ) -> Result<()> {
        self.weights(network, raw)?.into_iter().try_for_each(|(param, tensor)| {
            let value = param.layout.from_file(&param.name, tensor, &param.shape)?;
            state.set(&name(&param.name), &value)
        })
    }
}

/// The tensors of one of the networks.
fn params_of<'a>(networks: &'a Networks, network: &'a str) -> impl Iterator<Item = Param> + 'a {
    let own = match network {
        "generator" => &networks.generator,
        _ => &networks.discriminator,
    };
    own.iter().flat_map(move |own| own.params(network))
}

/// Their averaged twins.
fn average_of<'a>(networks: &'a Networks, network: &'a str) -> impl Iterator<Item = Param> + 'a {
    params_of(networks, network).map(|p| Param { name: averaged(&p.name), learnt: false, ..p })
}

/// Writes imported weights as a model; `source` says in words where they are from.
///
/// # Errors
/// [`Error::File`] where the file cannot be written.
pub fn save_imported(
    path: &Path,
    networks: &Networks,
    tensors: &BTreeMap<String, Tensor>,
    source: &str,
) -> Result<()> {
    let model = serde_json::to_string(networks).expect("a description is plain data");
    let metadata = [(MODEL, model), (SOURCE, source.to_owned()), (PROGRAM, program())];
    let metadata = metadata.map(|(k, v)| (k.to_owned(), v)).into_iter().collect();
    checkpoint::save(path, tensors, &metadata)
}

/// This program and its version.
fn program() -> String {
    format!("dcgan {}", env!("CARGO_PKG_VERSION"))
}

/// A training at one step, copied off its device: what a checkpoint is made of.
#[derive(Debug)]
pub struct Snapshot {
    /// Training steps done.
    pub step: u64,
    /// Every state as the device held it, with its order in files.
    states: Vec<(String, Layout, Tensor)>,
    /// What the file says of itself.
    pub metadata: BTreeMap<String, String>,
}

impl Snapshot {
    /// The name of a tensor with a number that is not finite, if there is one.
    #[must_use]
    pub fn not_finite(&self) -> Option<&str> {
        self.states.iter().find(|(_, _, value)| !value.is_finite()).map(|(name, ..)| name.as_str())
    }

    /// What [`checkpoint::save`] is to write: tensors and metadata.
    ///
    /// # Errors
    /// [`Error::Length`] never, unless a layout is wrong.
    pub fn into_file(self) -> Result<(BTreeMap<String, Tensor>, BTreeMap<String, String>)> {
        Ok((in_files(self.states)?, self.metadata))
    }
}

impl Trainer {
    /// A copy of the training as it is, after `seconds` of it. To put it in the order of files is
    /// left to [`Snapshot::into_file`], as that takes longer than the copy and needs no device.
    ///
    /// # Errors
    /// [`Error::Lost`] where the device fails.
    pub fn snapshot(&self, seconds: f64) -> Result<Snapshot> {
        let recipe = serde_json::to_string(self.recipe()).expect("a recipe is plain data");
        let networks = self.recipe().networks()?;
        let model = serde_json::to_string(&networks).expect("a description is plain data");
        let mut metadata = vec![
            (MODEL, model),
            (RECIPE, recipe),
            (STEP, self.steps().to_string()),
            (SECONDS, seconds.to_string()),
            (PROGRAM, program()),
        ];
        if !self.choices().kernels.is_empty() {
            let choices = serde_json::to_string(self.choices()).expect("choices are plain data");
            metadata.push((KERNELS, choices));
        }
        let metadata = metadata.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
        Ok(Snapshot { step: self.steps(), states: self.states()?, metadata })
    }
}
