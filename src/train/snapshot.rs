//! A training as a model file, and back: what only training reads and writes in one.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::model::file::{self, ModelFile};
use crate::models::Size;
use crate::nn::Layout;
use crate::tensor::Tensor;

use super::{Position, TrainConfig, Trainer};

/// A file that names more classes than this is damaged.
const MOST_CLASSES: usize = 1 << 20;

/// So is one with larger batches than this.
const MOST_IMAGES: usize = 1 << 20;

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

    /// What [`crate::model::checkpoint::save`] is to write: tensors and metadata.
    ///
    /// # Errors
    /// [`Error::Length`] never, unless a layout is wrong.
    pub fn into_file(self) -> Result<(BTreeMap<String, Tensor>, BTreeMap<String, String>)> {
        Ok((in_files(self.states)?, self.metadata))
    }
}

/// States of a device as files hold them. One by one: there are never two copies of all.
pub(super) fn in_files(states: Vec<(String, Layout, Tensor)>) -> Result<BTreeMap<String, Tensor>> {
    let each = states.into_iter();
    each.map(|(name, layout, value)| Ok((name, layout.to_file(&value)?))).collect()
}

impl Trainer {
    /// A copy of the training as it is, after `seconds` of it. To put it in the order of files is
    /// left to [`Snapshot::into_file`], as that takes longer than the copy and needs no device.
    ///
    /// # Errors
    /// [`Error::Lost`] where the device fails.
    pub fn snapshot(&self, seconds: f64) -> Result<Snapshot> {
        let metadata = file::Training {
            networks: &self.system().model,
            recipe: serde_json::to_string(self.recipe()).expect("a recipe is plain data"),
            step: self.steps(),
            position: serde_json::to_string(&self.position()).expect("plain numbers"),
            seconds,
            choices: self.choices(),
        };
        Ok(Snapshot {
            step: self.steps(),
            states: self.states()?,
            metadata: metadata.into_metadata(),
        })
    }
}

impl Position {
    /// How far the training of `recipe` had come that `model` is a checkpoint of. Files of before there
    /// were phases say how many steps were done.
    ///
    /// # Errors
    /// [`Error::Damaged`] where the file says something that cannot be.
    pub fn of(model: &ModelFile, recipe: &TrainConfig) -> Result<Self> {
        let Some(text) = &model.position else {
            return Ok(Self::after(model.step, recipe.step_images()));
        };
        let position: Option<Self> = serde_json::from_str(text).ok();
        let sound = |p: &Self| {
            p.step == model.step && p.phase_images <= p.images && p.images <= u64::MAX / 2
        };
        position.filter(sound).ok_or_else(|| {
            let what = format!("its metadata {:?} are damaged", file::POSITION);
            Error::damaged(&model.path, what)
        })
    }
}

impl TrainConfig {
    /// The recipe of the training that `model` is a checkpoint of, after a check that the file holds all
    /// of that training; nothing where the model was imported.
    ///
    /// # Errors
    /// [`Error::Damaged`] where the recipe makes no networks or others than the file describes, or the
    /// file's tensors are not those of such a training.
    pub fn of(model: &ModelFile) -> Result<Option<Self>> {
        let fail = |what: String| Error::damaged(&model.path, what);
        let damaged = |key: &str| fail(format!("its metadata {key:?} are damaged"));
        let Some(text) = &model.recipe else { return Ok(None) };
        let recipe: Self = serde_json::from_str(text).map_err(|_| damaged(file::RECIPE))?;
        recipe.seen(model.step).ok_or_else(|| damaged(file::STEP))?;
        let Size { height, width } = recipe.model.size;
        let none = |_| fail(format!("it names networks of {height}x{width}, which are none"));
        let sound = recipe.validate();
        let images = recipe.batch.checked_mul(recipe.method.n_critic);
        let images = images.filter(|_| recipe.batch <= MOST_IMAGES);
        let seen = images.and_then(|n| model.step.checked_mul(n as u64));
        if recipe.model.classes > MOST_CLASSES || sound.is_err() || images.is_none() {
            return Err(damaged(file::RECIPE));
        }
        // Steps are counted on from there, as are the images of all of them.
        if seen.is_none_or(|seen| seen > u64::MAX / 2) {
            return Err(damaged(file::STEP));
        }
        let params = recipe.system().map_err(none)?.states();
        let networks = recipe.networks().map_err(|_| damaged(file::RECIPE))?;
        model.check(&params)?;
        if model.networks != networks {
            let what = format!(
                "is damaged: it describes networks of {}, which its recipe for {} does not make",
                model.networks.size, networks.size
            );
            return Err(fail(what));
        }
        Ok(Some(recipe))
    }
}
