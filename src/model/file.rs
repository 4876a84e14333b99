//! A model file: its metadata describe the networks layer by layer, so the file alone is enough to
//! sample, and, if it is a checkpoint, to resume.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::data::Prepare;
use crate::device::{Device, State};
use crate::error::{Error, Result};
use crate::files;
use crate::nn::{Param, Sequential};
use crate::program::tune::recall;
use crate::program::{Choices, Precision};
use crate::shell::quoted;
use crate::tape::Tape;
use crate::tensor::{DType, Tensor};

use super::checkpoint::{self, Checkpoint};
use super::folder::Folder;
use super::names::averaged;
use super::networks::Networks;
use super::pipeline::{self, Call, Pipeline};
use super::role::Role;
use super::size::Size;
use super::weights::Weights;

/// The metadata key of the description: [`Networks`] as JSON.
pub const MODEL: &str = "dcgan.model";
/// The metadata key of the training configuration, as JSON.
pub(crate) const RECIPE: &str = "dcgan.recipe";
/// The metadata key of the steps done.
pub(crate) const STEP: &str = "dcgan.step";
/// The metadata key of the training's position among its phases, as JSON.
pub(crate) const POSITION: &str = "dcgan.position";
pub(crate) const SECONDS: &str = "dcgan.seconds";
const PROGRAM: &str = "dcgan.program";
const SOURCE: &str = "dcgan.source";
const KERNELS: &str = "dcgan.kernels";

/// The metadata key of how images were prepared for training: a [`Prepare`] as JSON.
pub const IMAGES: &str = "dcgan.pictures";

/// The message for a model without an encoder.
const NO_ENCODER: &str =
    "this model has no encoder: train one that has, such as with `preset` bigan";

/// A parsed model: a checkpoint, or imported weights.
#[derive(Clone, Debug)]
pub struct ModelFile {
    /// The file.
    pub path: PathBuf,
    /// The model's description.
    pub networks: Networks,
    /// The training configuration, as JSON ([`crate::train::TrainConfig::of`]); `None` if it was
    /// imported.
    pub config: Option<String>,
    /// Training steps done.
    pub step: u64,
    /// The training's position among its phases, as JSON ([`crate::train::Position::of`]); `None`
    /// in files from before there were phases.
    pub position: Option<String>,
    /// Seconds of training so far.
    pub seconds: f64,
    /// How images are prepared for its networks: as for training, or by the usual crop and filter
    /// if the file does not record it.
    pub prepare: Prepare,
    /// The variants of its kernels; empty if the file does not record them.
    pub choices: Choices,
    /// The tensors, in file layout.
    pub tensors: BTreeMap<String, Tensor>,
}

/// Real images seen in the stage called `name`.
fn images_of(stages: &serde_json::Value, name: &str) -> u64 {
    stages[name]["images"].as_u64().unwrap_or(0)
}

impl ModelFile {
    /// Opens a model file, the newest intact checkpoint of a run's folder, or the bundled model by its
    /// name; also returns why newer ones were skipped, as a crash may leave partial files.
    ///
    /// # Errors
    /// See [`ModelFile::open_by`].
    pub fn open(path: &Path) -> Result<(Self, Vec<Error>)> {
        Self::open_by(path, Self::load)
    }

    /// The same, with `load` reading a file and detecting damage.
    ///
    /// # Errors
    /// Those of `load`; [`Error::Changed`] if the newest has changed since it was written, with the
    /// one that would be used instead; [`Error::File`] if there is nothing, the folder is not a
    /// run's, or it has no checkpoint.
    pub fn open_by(
        path: &Path,
        load: impl Fn(&Path) -> Result<Self>,
    ) -> Result<(Self, Vec<Error>)> {
        if path.is_dir() {
            let (model, mut passed) = Folder::open(path)?.newest(load)?;
            let changed = passed.iter().position(|error| matches!(error, Error::Changed { .. }));
            // A disk or memory that flips bits, which its owner should know about.
            return match changed.map(|i| passed.swap_remove(i)) {
                Some(Error::Changed { path, what }) => {
                    let before = model.path.display();
                    Err(Error::Changed { path, what: format!("{what}; {before} is intact") })
                }
                _ => Ok((model, passed)),
            };
        }
        if is_bundled(path) {
            return Ok((Self::bundled()?, Vec::new()));
        }
        if !path.exists() {
            return Err(Error::file(path, "there is no such run folder or checkpoint"));
        }
        Ok((load(path)?, Vec::new()))
    }

    /// Loads a model and checks that it contains the networks it describes.
    ///
    /// # Errors
    /// [`Error::Damaged`] if it is not a model of this program, is damaged, or its tensors do not
    /// match its networks; [`Error::File`] if it cannot be read.
    pub fn load(path: &Path) -> Result<Self> {
        Self::of(path, checkpoint::load(path)?)
    }

    /// The model of 64×64 avatars that comes with the program; errors name [`BUNDLED`].
    ///
    /// # Errors
    /// None, as a test opens it.
    pub fn bundled() -> Result<Self> {
        let path = Path::new(BUNDLED);
        Self::of(path, checkpoint::read(path, BUNDLED_MODEL)?)
    }

    /// The file's content.
    ///
    /// # Errors
    /// [`Error::File`] if it cannot be read.
    pub fn bytes(&self) -> Result<Cow<'static, [u8]>> {
        if is_bundled(&self.path) {
            return Ok(Cow::Borrowed(BUNDLED_MODEL));
        }
        std::fs::read(&self.path)
            .map(Cow::Owned)
            .map_err(|error| Error::file(&self.path, files::cannot("be read", &error)))
    }

    fn of(path: &Path, file: Checkpoint) -> Result<Self> {
        let fail = |what: String| Error::damaged(path, what);
        let get = |key: &str| {
            file.metadata.get(key).ok_or_else(|| fail(format!("its metadata lack {key:?}")))
        };
        let damaged = |key: &str| fail(format!("its metadata {key:?} are damaged"));
        let imported = file.metadata.contains_key(SOURCE);
        let (config, step, seconds) = if imported {
            (None, 0, 0.0)
        } else {
            let config = get(RECIPE)?.clone();
            let step = get(STEP)?.parse().map_err(|_| damaged(STEP))?;
            let seconds = get(SECONDS)?.parse().map_err(|_| damaged(SECONDS))?;
            (Some(config), step, seconds)
        };
        let networks: Networks = serde_json::from_str(get(MODEL)?).map_err(|_| damaged(MODEL))?;
        networks.check().map_err(|what| fail(format!("its description is damaged: {what}")))?;
        let choices = match file.metadata.get(KERNELS) {
            Some(text) => serde_json::from_str(text).map_err(|_| damaged(KERNELS))?,
            None => Choices::default(),
        };
        let Size { height, width } = networks.size;
        let usual = Prepare { height, width, channels: networks.channels, ..Prepare::default() };
        let prepare = match file.metadata.get(IMAGES) {
            None => usual,
            Some(text) => {
                let said: Prepare = serde_json::from_str(text).map_err(|_| damaged(IMAGES))?;
                Prepare { crop: said.crop, filter: said.filter, flip: said.flip, ..usual }
            }
        };
        let path = path.to_owned();
        let tensors = file.tensors;
        let position = file.metadata.get(POSITION).cloned();
        let model =
            Self { path, networks, config, step, position, seconds, prepare, choices, tensors };
        model.check(&model.networks.params())?;
        for name in model.networks.by_name.keys() {
            let prefix = averaged(&format!("{name}."));
            if model.tensors.keys().any(|tensor| tensor.starts_with(&prefix)) {
                model.check(&model.average_of(name))?;
            }
        }
        Ok(model)
    }

    /// Checks that all of `params` are among the tensors.
    ///
    /// # Errors
    /// [`Error::Damaged`] naming the first that is missing, or has the wrong shape or type.
    pub(crate) fn check(&self, params: &[Param]) -> Result<()> {
        let fail = |what: String| Error::damaged(&self.path, what);
        for param in params {
            let wanted = param.layout.file_shape(&param.shape);
            let has = self.tensors.get(&param.name);
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
        Ok(())
    }

    /// The tensors of a network's EMA.
    fn average_of(&self, network: &str) -> Vec<Param> {
        let params = self.networks.params_of(network).into_iter();
        params.map(|p| Param { name: averaged(&p.name), learned: false, ..p }).collect()
    }

    /// Which weights of the network called `network` are used if `wanted` are requested, by the
    /// rule of [`Weights`].
    #[must_use]
    pub fn used(&self, network: &str, wanted: Weights) -> Weights {
        let first = self.average_of(network).into_iter().next();
        wanted.of(first.is_some_and(|param| self.tensors.contains_key(&param.name)))
    }

    /// The tensors of a network that are used ([`Self::used`]), in file layout.
    ///
    /// # Errors
    /// [`Error::File`] if one of their values is not finite.
    pub fn weights(&self, network: &str, wanted: Weights) -> Result<Vec<(Param, &Tensor)>> {
        let used = self.used(network, wanted);
        let each = self.networks.params_of(network).into_iter().map(|param| {
            let name = used.name(&param.name);
            let tensor = &self.tensors[&name];
            match tensor.f32s().iter().position(|x| !x.is_finite()) {
                None => Ok((param, tensor)),
                Some(at) => {
                    let earlier = match self.config {
                        Some(_) => ", as its training had diverged; take an earlier checkpoint",
                        None => "",
                    };
                    let number = tensor.f32s()[at];
                    let what = format!("is spoiled: number {at} of {name} is {number}{earlier}");
                    Err(Error::file(&self.path, what))
                }
            }
        });
        each.collect()
    }

    /// Writes its networks alone, with the weights that are used ([`Self::used`]), weights in 16-bit
    /// floats: a file to hand on, a tenth of the size of a checkpoint.
    ///
    /// # Errors
    /// [`Error::File`] if a weight is not finite, or the file cannot be written.
    pub fn save_compact(&self, path: &Path, wanted: Weights) -> Result<()> {
        let mut tensors = BTreeMap::new();
        for (network, _) in self.networks.iter() {
            for (param, tensor) in self.weights(network, wanted)? {
                tensors.insert(param.name, tensor.clone());
            }
        }
        let source = match &self.config {
            Some(_) => format!("a training of {} steps", self.step),
            None => "an imported model".to_owned(),
        };
        let mut metadata = imported(&self.networks, &source);
        let prepare = serde_json::to_string(&self.prepare).expect("plain data");
        metadata.insert(IMAGES.to_owned(), prepare);
        let names_stages = |position: &&String| {
            let position: Option<serde_json::Value> = serde_json::from_str(position).ok();
            position.is_some_and(|position| position.get("stages").is_some())
        };
        // Other stages can be trained from it.
        if let Some(position) = self.position.as_ref().filter(names_stages) {
            metadata.insert(POSITION.to_owned(), position.clone());
        }
        checkpoint::save_half(path, &tensors, &metadata)
    }

    /// How far its stages have come, as in the position of its training, which only [`crate::train`] reads
    /// whole; `None` if it has no position.
    fn stages(&self) -> Option<serde_json::Value> {
        let position = self.position.as_ref().and_then(|text| serde_json::from_str(text).ok());
        position.map(|position: serde_json::Value| position["stages"].clone())
    }

    /// The model as far as its stages have been trained: of a chain whose last networks have learned
    /// nothing yet, the images on the way.
    #[must_use]
    pub fn as_trained(self) -> Self {
        let Some(stages) = self.stages() else { return self };
        let has_begun = |stage: &str| !stages.is_object() || images_of(&stages, stage) > 0;
        let shown = self.networks.pipeline.shown(has_begun);
        let before = shown.last().filter(|value| **value != pipeline::IMAGES);
        match before.and_then(|value| self.networks.up_to(value)) {
            Some(networks) => {
                let Size { height, width } = networks.size;
                let prepare = Prepare { height, width, ..self.prepare.clone() };
                Self { networks, prepare, ..self }
            }
            None => self,
        }
    }

    /// The network of a role, with its name.
    ///
    /// # Errors
    /// [`Error::File`] if the model has none.
    pub fn find(&self, role: Role) -> Result<(&str, &Sequential)> {
        self.networks.find(role).ok_or_else(|| {
            if role == Role::Encoder {
                return Error::file(&self.path, NO_ENCODER);
            }
            let has: Vec<&str> = self.networks.iter().map(|(name, _)| name).collect();
            let has = match &has[..] {
                [one] => format!("a {one} alone"),
                several => format!("{} alone", several.join(", ")),
            };
            let what = format!("holds {has}, and this needs a {role}: import one together with it");
            Error::file(&self.path, what)
        })
    }

    /// The generator.
    ///
    /// # Errors
    /// [`Error::File`] if the model has none.
    pub fn generator(&self) -> Result<&Sequential> {
        Ok(self.find(Role::Generator)?.1)
    }

    /// The discriminator.
    ///
    /// # Errors
    /// [`Error::File`] if the model has none.
    pub fn discriminator(&self) -> Result<&Sequential> {
        Ok(self.find(Role::Discriminator)?.1)
    }

    /// The encoder.
    ///
    /// # Errors
    /// [`Error::File`] if the model has none.
    pub fn encoder(&self) -> Result<&Sequential> {
        Ok(self.find(Role::Encoder)?.1)
    }

    /// The kernel variants that this model's networks run on a device: on that of its training
    /// those of the training, so that results are bit-identical.
    #[must_use]
    pub fn kernels(&self, tape: &Tape, device: &Device) -> Choices {
        match self.choices.device == device.name() {
            true => recall(&[(tape, Precision::F32)], device, &self.choices, &mut |_| ()),
            false => Choices::default(),
        }
    }

    /// Checks that the networks are unconditional.
    ///
    /// # Errors
    /// [`Error::File`] if they are not; `why` completes the sentence with the reason.
    pub fn unconditional(&self, why: &str) -> Result<()> {
        if self.networks.is_conditional() {
            let what = format!("is conditional: its networks take class labels, {why}");
            return Err(Error::file(&self.path, what));
        }
        if self.networks.has_text() {
            let what = "is conditioned on texts, and this works with unconditional networks alone";
            return Err(Error::file(&self.path, what));
        }
        Ok(())
    }

    /// Loads the tensors of the generator, or of all networks of the pipeline, that are used
    /// ([`Self::used`], of the generator) onto a device, under the names of these weights, and returns
    /// which they are.
    ///
    /// # Errors
    /// [`Error::File`] if the model has no generator, or its weights are not finite;
    /// [`Error::Memory`] or [`Error::Lost`] if the device fails.
    pub fn load_generator(&self, state: &mut State, wanted: Weights) -> Result<Weights> {
        let used = self.used(self.find(Role::Generator)?.0, wanted);
        self.check_stages()?;
        for Call { network, .. } in Pipeline::of(&self.networks)?.0 {
            self.put(state, &network, wanted, |name| used.name(name))?;
        }
        Ok(used)
    }

    /// Refuses a model whose pipeline has networks that have not been trained yet.
    ///
    /// # Errors
    /// [`Error::File`] naming the stages that were not trained.
    pub(crate) fn check_stages(&self) -> Result<()> {
        let Some(stages) = self.stages() else { return Ok(()) };
        let calls = &self.networks.pipeline.0;
        let is_missing =
            |call: &&Call| !call.stage.is_empty() && images_of(&stages, &call.stage) == 0;
        let missing = calls.iter().filter(is_missing);
        let missing: Vec<&str> = missing.map(|call| call.stage.as_str()).collect();
        let Some(first) = missing.first() else { return Ok(()) };
        let (stages, have) = match missing.len() {
            1 => ("stage", "has"),
            _ => ("stages", "have"),
        };
        let what = format!(
            "its {stages} {} {have} not been trained, and images take all of them: dcgan train DATA \
             --stage {first} --from {} trains one",
            missing.join(", "),
            quoted(&self.path)
        );
        Err(Error::file(&self.path, what))
    }

    /// Loads the discriminator's tensors that are used ([`Self::used`]) onto a device, under the
    /// discriminator's own names.
    ///
    /// # Errors
    /// [`Error::File`] if the model has no discriminator, or its weights are not finite;
    /// [`Error::Memory`] or [`Error::Lost`] if the device fails.
    pub fn load_discriminator(&self, state: &mut State, wanted: Weights) -> Result<()> {
        self.load_own(state, Role::Discriminator, wanted)
    }

    /// Loads the tensors of a role's network that are used ([`Self::used`]) onto a device, under
    /// the network's own names.
    ///
    /// # Errors
    /// [`Error::File`] if the model has no such network, or its weights are not finite;
    /// [`Error::Memory`] or [`Error::Lost`] if the device fails.
    pub fn load_own(&self, state: &mut State, role: Role, wanted: Weights) -> Result<()> {
        let (network, _) = self.find(role)?;
        self.put(state, network, wanted, str::to_owned)
    }

    /// Loads the encoder's tensors that are used ([`Self::used`]) onto a device, under the names
    /// of these weights, and returns which they are.
    ///
    /// # Errors
    /// [`Error::File`] if the model has no encoder, or its weights are not finite;
    /// [`Error::Memory`] or [`Error::Lost`] if the device fails.
    pub fn load_encoder(&self, state: &mut State, wanted: Weights) -> Result<Weights> {
        self.load_network(state, Role::Encoder, wanted)
    }

    /// Loads the tensors of a role's network that are used onto a device, under those names.
    fn load_network(&self, state: &mut State, role: Role, wanted: Weights) -> Result<Weights> {
        let (network, _) = self.find(role)?;
        let used = self.used(network, wanted);
        self.put(state, network, wanted, |name| used.name(name))?;
        Ok(used)
    }

    fn put(
        &self,
        state: &mut State,
        network: &str,
        wanted: Weights,
        name: impl Fn(&str) -> String,
    ) -> Result<()> {
        self.weights(network, wanted)?.into_iter().try_for_each(|(param, tensor)| {
            let value = param.layout.from_file(&param.name, tensor, &param.shape)?;
            state.set(&name(&param.name), &value)
        })
    }
}

/// A checkpoint's metadata about its training.
pub(crate) struct Training<'a> {
    pub(crate) networks: &'a Networks,
    /// As JSON.
    pub(crate) config: String,
    pub(crate) step: u64,
    /// As JSON.
    pub(crate) position: String,
    pub(crate) seconds: f64,
    pub(crate) choices: &'a Choices,
}

impl Training<'_> {
    /// As metadata of its file.
    pub(crate) fn into_metadata(self) -> BTreeMap<String, String> {
        let mut metadata = vec![
            (MODEL, described(self.networks)),
            (RECIPE, self.config),
            (STEP, self.step.to_string()),
            (POSITION, self.position),
            (SECONDS, self.seconds.to_string()),
            (PROGRAM, crate::PROGRAM.to_owned()),
        ];
        if !self.choices.kernels.is_empty() {
            let choices = serde_json::to_string(self.choices).expect("choices are plain data");
            metadata.push((KERNELS, choices));
        }
        metadata.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()
    }
}

/// A description as stored in files, under [`MODEL`].
pub(crate) fn described(networks: &Networks) -> String {
    serde_json::to_string(networks).expect("a description is plain data")
}

/// The name of the bundled model, where a command takes a model.
pub const BUNDLED: &str = "avatars";

/// Whether a path means the bundled model: it is its name, and there is no file or folder of that name.
#[must_use]
pub fn is_bundled(path: &Path) -> bool {
    path == Path::new(BUNDLED) && !path.exists()
}

static BUNDLED_MODEL: &[u8] = include_bytes!("../../assets/avatars.safetensors");

/// Writes imported weights as a model; `source` describes their origin.
///
/// # Errors
/// [`Error::File`] if the file cannot be written.
pub fn save_imported(
    path: &Path,
    networks: &Networks,
    tensors: &BTreeMap<String, Tensor>,
    source: &str,
) -> Result<()> {
    checkpoint::save(path, tensors, &imported(networks, source))
}

/// The metadata of a model that is no checkpoint; `source` describes its origin.
fn imported(networks: &Networks, source: &str) -> BTreeMap<String, String> {
    let metadata = [
        (MODEL, described(networks)),
        (SOURCE, source.to_owned()),
        (PROGRAM, crate::PROGRAM.to_owned()),
    ];
    metadata.map(|(k, v)| (k.to_owned(), v)).into_iter().collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use crate::models::ModelConfig;
    use crate::nn::Layer;

    /// A GAN with an encoder, with random weights, and an EMA of the encoder, twice as large.
    fn bigan() -> (Networks, BTreeMap<String, Tensor>) {
        let size = Size { height: 16, width: 16 };
        let networks = ModelConfig { size, nz: 5, ngf: 4, ndf: 4, ..ModelConfig::default() }
            .networks()
            .unwrap();
        let mut encoder = networks.discriminator().unwrap().clone();
        let Some(Layer::Conv(conv)) = encoder.layers.last_mut() else { panic!("no conv") };
        conv.small = 5;
        let networks = networks.with(Role::Encoder, encoder);
        let mut tensors = BTreeMap::new();
        for param in networks.params() {
            let value = param.layout.to_file(&param.initial(3)).unwrap();
            if param.name.starts_with("encoder.") {
                let twice = value.f32s().iter().map(|x| 2.0 * x).collect();
                tensors.insert(averaged(&param.name), Tensor::new(value.shape(), twice).unwrap());
            }
            tensors.insert(param.name, value);
        }
        (networks, tensors)
    }

    #[test]
    fn a_compact_model_has_the_weights_that_are_used_in_16_bits() {
        let dir = tempfile::tempdir().unwrap();
        let (networks, tensors) = bigan();
        let [whole, compact] = ["whole", "compact"].map(|name| dir.path().join(name));
        save_imported(&whole, &networks, &tensors, "a test").unwrap();
        let model = ModelFile::load(&whole).unwrap();
        model.save_compact(&compact, Weights::Averaged).unwrap();
        let again = ModelFile::load(&compact).unwrap();
        assert_eq!(again.networks, networks);
        assert_eq!(again.prepare, model.prepare);
        for (network, _) in networks.iter() {
            let wanted = model.weights(network, Weights::Averaged).unwrap();
            let found = again.weights(network, Weights::Averaged).unwrap();
            for ((param, wanted), (_, found)) in wanted.into_iter().zip(found) {
                let in_half = |&x: &f32| half::f16::from_f32(x).to_f32();
                let wanted: Vec<f32> = match wanted.shape().len() {
                    1 => wanted.f32s().to_vec(),
                    _ => wanted.f32s().iter().map(in_half).collect(),
                };
                assert_eq!(found.f32s(), wanted, "{}", param.name);
            }
        }
        let size = |path: &Path| std::fs::metadata(path).unwrap().len();
        assert!(size(&compact) * 2 < size(&whole));
    }

    #[test]
    fn the_bundled_model_has_both_networks() {
        let model = ModelFile::bundled().unwrap();
        assert_eq!(model.networks.size, Size { height: 64, width: 64 });
        assert!(model.generator().is_ok() && model.discriminator().is_ok());
    }

    #[test]
    fn a_model_of_three_networks_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bigan.safetensors");
        let (networks, tensors) = bigan();
        save_imported(&path, &networks, &tensors, "a test").unwrap();
        let model = ModelFile::load(&path).unwrap();
        assert!(model.networks == networks && model.tensors == tensors);
        // Each by its EMA if it has one, whatever its role.
        assert_eq!(model.used("encoder", Weights::default()), Weights::Averaged);
        assert_eq!(model.used("encoder", Weights::Raw), Weights::Raw);
        assert_eq!(model.used("generator", Weights::default()), Weights::Raw);
        let first = |weights| model.weights("encoder", weights).unwrap()[0].1.f32s()[0];
        assert!(first(Weights::Averaged) == 2.0 * first(Weights::Raw));
        assert_eq!(model.find(Role::Encoder).unwrap().0, "encoder");
        let error = model.find(Role::Classifier).unwrap_err().to_string();
        assert!(error.contains("generator, discriminator, encoder alone"), "{error}");

        // No tensor of either may be missing.
        for lost in ["encoder.main.0.weight", "ema.encoder.main.0.weight"] {
            let mut tensors = tensors.clone();
            assert!(tensors.remove(lost).is_some(), "{lost}");
            save_imported(&path, &networks, &tensors, "a test").unwrap();
            let error = ModelFile::load(&path).unwrap_err().to_string();
            assert!(error.contains(&format!("{lost} is missing")), "{error}");
        }
    }
}
