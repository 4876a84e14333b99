//! Converts a training to a model file and back: what only training reads and writes in one.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::model::file::{self, ModelFile};
use crate::models::Size;
use crate::nn::Layout;
use crate::tensor::Tensor;

use super::{Position, StageProgress, TrainConfig, Trainer};

/// A file that names more classes than this is damaged.
const MOST_CLASSES: usize = 1 << 20;

/// So is one with larger batches than this.
const MOST_IMAGES: usize = 1 << 20;

/// A training at one step, copied from its device: the content of a checkpoint.
#[derive(Debug)]
pub struct Snapshot {
    /// Training steps done.
    pub step: u64,
    /// Every state as on the device, with its file layout.
    states: Vec<(String, Layout, Tensor)>,
    /// The file's metadata.
    pub metadata: BTreeMap<String, String>,
}

impl Snapshot {
    /// The name of a tensor with a non-finite value, if any.
    #[must_use]
    pub fn not_finite(&self) -> Option<&str> {
        self.states.iter().find(|(_, _, value)| !value.is_finite()).map(|(name, ..)| name.as_str())
    }

    /// Tensors and metadata for [`crate::model::checkpoint::save`].
    ///
    /// # Errors
    /// [`Error::Length`] if a layout is wrong.
    pub fn into_file(self) -> Result<(BTreeMap<String, Tensor>, BTreeMap<String, String>)> {
        Ok((in_files(self.states)?, self.metadata))
    }
}

/// Device states in file layout. One by one: there are never two full copies.
pub(super) fn in_files(states: Vec<(String, Layout, Tensor)>) -> Result<BTreeMap<String, Tensor>> {
    let each = states.into_iter();
    each.map(|(name, layout, value)| Ok((name, layout.to_file(&value)?))).collect()
}

impl Trainer {
    /// A copy of the training after `seconds` of it. The conversion to file layout is left to
    /// [`Snapshot::into_file`], as it takes longer than the copy and needs no device.
    ///
    /// # Errors
    /// [`Error::Lost`] if the device fails.
    pub fn snapshot(&self, seconds: f64) -> Result<Snapshot> {
        let metadata = file::Training {
            networks: &self.system().model,
            config: serde_json::to_string(self.config()).expect("a recipe is plain data"),
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
    /// The position of the checkpoint `model` in the training of `config`. Files from before there
    /// were phases only store the step count.
    ///
    /// # Errors
    /// [`Error::Damaged`] if the metadata is invalid.
    pub fn of(model: &ModelFile, config: &TrainConfig) -> Result<Self> {
        let Some(text) = &model.position else {
            return Ok(Self::after(model.step, config.step_images()));
        };
        let position: Option<Self> = serde_json::from_str(text).ok();
        let sound = |p: &Self| {
            p.step == model.step && p.phase_images <= p.images && p.images <= u64::MAX / 2
        };
        position.filter(sound).ok_or_else(|| Self::damaged(model))
    }

    fn damaged(model: &ModelFile) -> Error {
        Error::damaged(&model.path, format!("its metadata {:?} are damaged", file::POSITION))
    }

    /// How far the stages have come that a model was trained in; none if the file does not say.
    ///
    /// # Errors
    /// [`Error::Damaged`] if the metadata is invalid.
    pub fn stages_of(model: &ModelFile) -> Result<BTreeMap<String, StageProgress>> {
        let Some(text) = &model.position else { return Ok(BTreeMap::new()) };
        let position: Self = serde_json::from_str(text).map_err(|_| Self::damaged(model))?;
        Ok(position.stages)
    }
}

impl TrainConfig {
    /// The training configuration of the checkpoint `model`, after checking that the file holds the
    /// whole training; `None` if the model was imported.
    ///
    /// # Errors
    /// [`Error::Damaged`] if the configuration is invalid or does not match the file's networks, or
    /// the tensors are not those of such a training.
    pub fn of(model: &ModelFile) -> Result<Option<Self>> {
        let fail = |what: String| Error::damaged(&model.path, what);
        let damaged = |key: &str| fail(format!("its metadata {key:?} are damaged"));
        let Some(text) = &model.config else { return Ok(None) };
        let config: Self = serde_json::from_str(text).map_err(|_| damaged(file::RECIPE))?;
        config.seen(model.step).ok_or_else(|| damaged(file::STEP))?;
        let Size { height, width } = config.model.size;
        let none = |_| fail(format!("it names networks of {height}x{width}, which cannot exist"));
        let sound = config.validate();
        let images = config.batch.checked_mul(config.objective.n_critic);
        let images = images.filter(|_| config.batch <= MOST_IMAGES);
        let seen = images.and_then(|n| model.step.checked_mul(n as u64));
        if config.model.classes > MOST_CLASSES || sound.is_err() || images.is_none() {
            return Err(damaged(file::RECIPE));
        }
        // Steps and images are counted on from there.
        if seen.is_none_or(|seen| seen > u64::MAX / 2) {
            return Err(damaged(file::STEP));
        }
        let params = config.system().map_err(none)?.states();
        let networks = config.networks().map_err(|_| damaged(file::RECIPE))?;
        model.check(&params)?;
        if model.networks != networks {
            let what = format!(
                "is damaged: it describes networks of {}, but its training configuration is for {}",
                model.networks.size, networks.size
            );
            return Err(fail(what));
        }
        Ok(Some(config))
    }
}
