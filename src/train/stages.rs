//! The stages of a training from outside: which are done, which is being trained, which are to come.

use std::fmt;

use serde::Serialize;

use crate::error::{Error, Result};
use crate::gan::{StageName, families};
use crate::model::ModelFile;

use super::{Position, StageProgress, TrainConfig};

/// Where a stage stands in a training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StageState {
    /// It has come to its end, here or in the model that the training started from.
    Done,
    /// It is the current one.
    Running,
    /// It has not begun.
    ToCome,
    /// It has begun, and this training does not go on with it; or a stage that it builds on was trained
    /// again.
    Left,
}

impl fmt::Display for StageState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Done => "done",
            Self::Running => "running",
            Self::ToCome => "to come",
            Self::Left => "left",
        })
    }
}

/// A stage of a training.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StageStatus {
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub state: StageState,
    /// Real images seen in it.
    pub images: u64,
    /// Real images for which it is meant to be trained.
    pub planned: u64,
    /// The stages that it builds on.
    pub needs: Vec<String>,
}

impl StageStatus {
    /// All stages of the training of a checkpoint, in order.
    ///
    /// # Errors
    /// [`Error::File`] if the model was trained in one stage, or is no checkpoint;
    /// [`Error::Damaged`] if its metadata are invalid.
    pub fn all(model: &ModelFile) -> Result<Vec<Self>> {
        let fail = |what: &str| Error::file(&model.path, what);
        let config = TrainConfig::of(model)?
            .ok_or_else(|| fail("is no checkpoint of a training, so it has no stages"))?;
        if families::stages(config.objective.family).is_empty() {
            return Err(fail("was trained in one stage: it has no others"));
        }
        let position = Position::of(model, &config)?;
        let current = config.system()?.stage(position.at())?.name.clone();
        let whole = TrainConfig { stage: StageName::default(), ..config.clone() };
        let stages = whole.system()?.stages.into_iter();
        Ok(stages
            .map(|stage| {
                let seen = position.stages.get(&stage.name).copied().unwrap_or_default();
                let state = match (seen.done, stage.name == current, seen.images) {
                    (true, ..) => StageState::Done,
                    (_, true, _) => StageState::Running,
                    (.., 0) => StageState::ToCome,
                    _ => StageState::Left,
                };
                let planned = families::stage_images(&config, &stage.name).unwrap_or_default();
                Self { name: stage.name, state, images: seen.images, planned, needs: stage.needs }
            })
            .collect())
    }
}

/// The first stage on which that of `config` builds and that is not done in the model it starts from, with
/// how far that has come; `None` if all are.
///
/// # Errors
/// [`Error::Config`] if the configuration is invalid; [`Error::Damaged`] if the model's metadata are.
pub fn missing_forerunner(
    config: &TrainConfig,
    from: Option<&ModelFile>,
) -> Result<Option<(String, StageProgress)>> {
    if config.stage.0.is_empty() {
        return Ok(None);
    }
    let done = from.map(Position::stages_of).transpose()?.unwrap_or_default();
    let system = config.system()?;
    let of = |name: &String| (name.clone(), done.get(name).copied().unwrap_or_default());
    Ok(system.stages[0].needs.iter().map(of).find(|(_, progress)| !progress.done))
}
