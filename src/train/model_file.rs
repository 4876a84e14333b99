//! A checkpoint as a model: its metadata say what it is, so the file alone is enough to sample and
//! to resume.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::device::State;
use crate::error::{Error, Result};
use crate::models::dcgan::Size;
use crate::nn::Layout;
use crate::program::Choices;
use crate::tensor::{Data, Tensor};

use super::checkpoint;
use super::step::{self, AVERAGE, averaged};
use super::trainer::{Recipe, Trainer, in_files};

/// Metadata keys.
const RECIPE: &str = "dcgan.recipe";
const STEP: &str = "dcgan.step";
const SECONDS: &str = "dcgan.seconds";
const PROGRAM: &str = "dcgan.program";
const KERNELS: &str = "dcgan.kernels";

/// A checkpoint that was read and understood.
#[derive(Clone, Debug)]
pub struct ModelFile {
    /// The file.
    pub path: PathBuf,
    /// How it was trained.
    pub recipe: Recipe,
    /// Training steps done.
    pub step: u64,
    /// Seconds of training so far.
    pub seconds: f64,
    /// The variants that its kernels ran; none where the file does not say.
    pub choices: Choices,
    /// The tensors, as files hold them.
    pub tensors: BTreeMap<String, Tensor>,
}

impl ModelFile {
    /// Reads a checkpoint and checks that it holds what it says.
    ///
    /// # Errors
    /// [`Error::File`] where it is no checkpoint of this program, is damaged, or its tensors are not
    /// those of the networks that it names.
    pub fn load(path: &Path) -> Result<Self> {
        let file = checkpoint::load(path)?;
        let fail = |what: String| Error::file(path, what);
        let get = |key: &str| {
            file.metadata.get(key).ok_or_else(|| fail(format!("its metadata lack {key:?}")))
        };
        let damaged = |key: &str| fail(format!("its metadata {key:?} are damaged"));
        let recipe: Recipe = serde_json::from_str(get(RECIPE)?).map_err(|_| damaged(RECIPE))?;
        let step = get(STEP)?.parse().map_err(|_| damaged(STEP))?;
        let seconds = get(SECONDS)?.parse().map_err(|_| damaged(SECONDS))?;
        let choices = match file.metadata.get(KERNELS) {
            Some(text) => serde_json::from_str(text).map_err(|_| damaged(KERNELS))?,
            None => Choices::default(),
        };
        let Size { height, width } = recipe.model.size;
        let params = step::params(&recipe.model, recipe.ema > 0)
            .map_err(|_| fail(format!("it names networks of {height}x{width}, which are none")))?;
        for param in params {
            let wanted = param.layout.file_shape(&param.shape);
            let has = file.tensors.get(&param.name).map(Tensor::shape);
            if has != Some(&wanted[..]) {
                let has = has.map_or("is missing".into(), |s| format!("has shape {s:?}"));
                let what = format!(
                    "is of another architecture than it says: {} {has}, and should be {wanted:?}",
                    param.name
                );
                return Err(fail(what));
            }
        }
        Ok(Self { path: path.to_owned(), recipe, step, seconds, choices, tensors: file.tensors })
    }

    /// Puts the generator's tensors onto a device: the averaged ones, or, where there are none or
    /// `raw` ones are wanted, those of the last step. Returns their prefix.
    ///
    /// # Errors
    /// [`Error::Memory`] or [`Error::Lost`] where the device fails.
    pub fn load_generator(&self, state: &mut State, raw: bool) -> Result<&'static str> {
        let average = self.recipe.ema > 0 && !raw;
        for param in self.recipe.model.generator()?.params("generator") {
            let name = if average { averaged(&param.name) } else { param.name.clone() };
            let value = param.layout.from_file(&name, &self.tensors[&name], &param.shape)?;
            state.set(&name, &value)?;
        }
        Ok(if average { AVERAGE } else { "" })
    }
}

/// A training at one step, copied off its device: what a checkpoint is made of.
#[derive(Debug)]
pub struct Snapshot {
    /// Training steps done.
    pub step: u64,
    /// Every state as the device held it, with its order in files.
    states: Vec<(String, Layout, Tensor)>,
    metadata: BTreeMap<String, String>,
}

impl Snapshot {
    /// The name of a tensor with a number that is not finite, if there is one.
    #[must_use]
    pub fn not_finite(&self) -> Option<&str> {
        let broken = |value: &Tensor| match value.data() {
            Data::F32(numbers) => !numbers.iter().all(|x| x.is_finite()),
            _ => false,
        };
        self.states.iter().find(|(_, _, value)| broken(value)).map(|(name, ..)| name.as_str())
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
        let mut metadata = vec![
            (RECIPE, recipe),
            (STEP, self.steps().to_string()),
            (SECONDS, seconds.to_string()),
            (PROGRAM, format!("dcgan {}", env!("CARGO_PKG_VERSION"))),
        ];
        if !self.choices().kernels.is_empty() {
            let choices = serde_json::to_string(self.choices()).expect("choices are plain data");
            metadata.push((KERNELS, choices));
        }
        let metadata = metadata.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
        Ok(Snapshot { step: self.steps(), states: self.states()?, metadata })
    }
}
