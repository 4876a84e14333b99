//! The page that trains.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::error::{Error, Result};
use crate::gan::scalar::{SCHEDULE, Scalar};
use crate::gan::{Phase, Recording, System};
use crate::human;
use crate::model::checkpoint::{VERSION, VERSION_KEY};
use crate::model::file::{POSITION, RECIPE, SECONDS, STEP, Training};
use crate::model::names::{KEY, averaged_from};
use crate::model::{Role, Sampler, Size, Weights};
use crate::nn::{Init, LABELS, LatentDistribution, Layout};
use crate::ops::Caps;
use crate::program::{Choices, Packs, Portable};
use crate::tape::Tape;
use crate::train::trainer::{copied_averages, norms_tape};
use crate::train::{Position, TrainConfig};

use super::constants::{Constants, Encoding, Stored};
use super::html::{Html, pack};
use super::{program, wasm};

/// Images of a preview.
const PREVIEW: usize = 16;
/// Bytes of a page's images: more would take a browser too long to unpack.
pub const MOST_IMAGE_BYTES: usize = 96 << 20;

/// The images that a page trains on.
#[derive(Clone, Debug)]
pub struct TrainingSet {
    /// Bytes `[n, h, w, c]`, as the training of their model takes them.
    pub images: Vec<u8>,
    /// Their labels; empty if they have none.
    pub labels: Vec<u32>,
    /// Whether half of the images are mirrored, at random.
    pub flip: bool,
}

impl TrainingSet {
    /// Number of images for networks of this configuration.
    #[must_use]
    pub fn len(&self, config: &TrainConfig) -> usize {
        let Size { height, width } = config.model.size;
        self.images.len() / (height * width * config.model.channels)
    }
}

/// A page that trains a model from its beginning on its visitor's device.
#[derive(Debug)]
pub struct TrainingPage {
    title: String,
    data: String,
}

/// What `train.js` knows.
#[derive(Serialize)]
struct About<'a> {
    height: usize,
    width: usize,
    channels: usize,
    nz: usize,
    distribution: LatentDistribution,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    classes: &'a [String],
    seed: u64,
    /// Images of a step, and in the set.
    step_images: usize,
    count: usize,
    flip: bool,
    /// The first byte of the images, one behind the other, and of their labels (u32), if they have any.
    images: usize,
    labels: Option<usize>,
    /// The states of the training by name, in order.
    states: Vec<OneState<'a>>,
    /// States that start as copies of others, after the program `start` has run.
    copies: Vec<(String, String)>,
    /// The scalars of a step, in order.
    schedule: &'a [Scalar],
    /// The metrics of a step.
    metrics: &'a [String],
    gpu: Programs,
    cpu: Programs,
    /// The WebAssembly module of the CPU's programs: its first byte, and its length.
    module: (usize, usize),
    /// Values of states that no rule makes.
    tensors: &'a [Stored],
    /// The metadata of a checkpoint.
    metadata: BTreeMap<String, String>,
    /// The keys of those that the page sets.
    keys: Keys,
}

#[derive(Serialize)]
struct Keys {
    config: &'static str,
    step: &'static str,
    position: &'static str,
    seconds: &'static str,
}

/// One state of the training.
#[derive(Serialize)]
struct OneState<'a> {
    name: &'a str,
    shape: &'a [usize],
    /// Of the tensor in files.
    file_shape: Vec<usize>,
    /// The axes' sizes and strides on the device, in the order of files, if that is another.
    #[serde(skip_serializing_if = "Option::is_none")]
    reorder: Option<[[usize; 4]; 2]>,
    init: Rule,
}

/// How a state starts.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Rule {
    Constant(f32),
    /// Mean, standard deviation, and the name of the stream.
    Normal(f32, f32, String),
    /// Lower and upper bound, and the name of the stream.
    Uniform(f32, f32, String),
    /// A unit vector, and the name of the stream.
    Unit(String),
    /// The key of the device's random numbers.
    Key,
    /// The value of this name among the page's tensors.
    Stored,
}

#[derive(Serialize)]
struct Programs {
    step: Portable,
    preview: Portable,
    /// What runs once before the first step.
    #[serde(skip_serializing_if = "Option::is_none")]
    start: Option<Portable>,
}

impl TrainingPage {
    /// The page that trains by `config` on `set`.
    ///
    /// # Errors
    /// [`Error::Config`] if the training is of several stages, or takes more than images and classes;
    /// [`Error::Memory`] if a buffer is larger than browsers allow, or there are too many images.
    pub fn of(config: &TrainConfig, set: &TrainingSet, title: Option<&str>) -> Result<Self> {
        let system = config.system()?;
        let phase = only_phase(config, &system)?;
        let [height, width, channels] = phase.image;
        let count = set.len(config);
        if set.images.len() > MOST_IMAGE_BYTES {
            return Err(Error::Memory(format!(
                "a page holds at most {} of images, and {} of {height} x {width} pixels are {}",
                human::bytes(MOST_IMAGE_BYTES as u64),
                human::counted(count as u64, "image"),
                human::bytes(set.images.len() as u64)
            )));
        }
        if count < phase.step_images() {
            let what = format!(
                "a step takes {}, and there are {count}",
                human::counted(phase.step_images() as u64, "image")
            );
            return Err(Error::config("batch", what));
        }
        let gpu = Caps::portable();
        let (gpu_programs, metrics) = programs(&system, phase, &gpu)?;
        let (mut cpu_programs, _) = programs(&system, phase, &Caps { software: true, ..gpu })?;
        let mut bytes = wasm::compile(&shared_kernels(&mut cpu_programs))?;
        let module = (0, bytes.len());
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        let images = bytes.len();
        bytes.extend_from_slice(&set.images);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        let labels = (phase.classes > 0).then_some(bytes.len());
        if labels.is_some() {
            bytes.extend(set.labels.iter().flat_map(|label| label.to_le_bytes()));
        }

        let params = system.states();
        let mut constants = Constants { bytes, ..Constants::default() };
        let mut states = Vec::new();
        for param in &params {
            let source = averaged_from(&param.name).unwrap_or(&param.name).to_owned();
            let init = match param.init {
                Init::Constant(value) => Rule::Constant(value),
                Init::Normal { mean, std } => Rule::Normal(mean, std, source),
                Init::Uniform { low, high } => Rule::Uniform(low, high, source),
                Init::Unit => Rule::Unit(source),
                Init::Orthogonal { .. } | Init::Hemisphere => {
                    let own = crate::nn::Param { name: source, ..param.clone() };
                    constants.add(&param.name, &own.initial(config.seed), Encoding::F32);
                    Rule::Stored
                }
            };
            states.push(OneState {
                name: &param.name,
                shape: &param.shape,
                file_shape: param.layout.file_shape(&param.shape),
                reorder: param.layout.steps(&param.shape),
                init,
            });
        }
        let (shape, init) = (&[4], Rule::Key);
        let file_shape = Layout::Plain.file_shape(shape);
        states.push(OneState { name: KEY, shape, file_shape, reorder: None, init });
        let title = title.map_or_else(
            || format!("A GAN learns images of {height} × {width} pixels"),
            str::to_owned,
        );
        let training = Training {
            networks: &system.model,
            config: serde_json::to_string(config).expect("plain data"),
            step: 0,
            position: serde_json::to_string(&Position::default()).expect("plain numbers"),
            seconds: 0.0,
            choices: &Choices::default(),
        };
        let mut metadata = training.into_metadata();
        metadata.insert(VERSION_KEY.to_owned(), VERSION.to_string());
        let about = About {
            height,
            width,
            channels,
            nz: system.model.nz,
            distribution: system.model.latent_distribution,
            classes: &system.model.classes,
            seed: config.seed,
            step_images: phase.step_images(),
            count,
            flip: set.flip,
            images,
            labels,
            states,
            copies: copied_averages(&system),
            schedule: &phase.scalars,
            metrics: &metrics,
            gpu: gpu_programs,
            cpu: cpu_programs,
            module,
            tensors: &constants.tensors,
            metadata,
            keys: Keys { config: RECIPE, step: STEP, position: POSITION, seconds: SECONDS },
        };
        let data = pack(&about, &constants.bytes);
        Ok(Self { title, data })
    }

    /// Its HTML.
    ///
    /// # Errors
    /// None but for bugs of the template.
    pub fn html(&self) -> Result<String> {
        let body = include_str!("../../assets/web/train.html");
        let script = include_str!("../../assets/web/train.js");
        Html { title: &self.title, body, script, data: &self.data }.render()
    }
}

/// The only phase of a training that a page can do.
fn only_phase<'a>(config: &TrainConfig, system: &'a System) -> Result<&'a Phase> {
    let cannot = |what: &str| {
        let family = config.objective.family;
        Error::config(
            "family",
            format!("{family} {what}: a page trains gan, acgan, infogan and the like"),
        )
    };
    let [stage] = system.stages.as_slice() else {
        return Err(cannot("trains in several stages"));
    };
    let [phase] = stage.phases.as_slice() else {
        return Err(cannot("trains in several phases"));
    };
    let mut tape = Tape::new();
    system.record(&mut tape, phase, Recording::default())?;
    let known = ["images", LABELS, SCHEDULE];
    match tape.feeds().keys().find(|name| !known.contains(&name.as_str())) {
        Some(other) => Err(cannot(&format!("takes {other} beside images"))),
        None if starts_on_data(system) => Err(Error::config(
            "weight_d",
            "is initialized from images before the first step, which a page does not do: choose \
             another",
        )),
        None => Ok(phase),
    }
}

/// The programs of a training for a device with these capabilities, and the metrics of a step.
fn programs(system: &System, phase: &Phase, caps: &Caps) -> Result<(Programs, Vec<String>)> {
    let mut packs = Packs::default();
    let what = format!("a step of {}", human::counted(phase.step_images() as u64, "image"));
    let mut make = |tape: &Tape| program(tape, caps, &mut packs, &what);
    let mut tape = Tape::new();
    let metrics = system.record(&mut tape, phase, Recording::default())?.metrics;
    let step = make(&tape)?;
    let weights = Weights::default().of(system.average);
    let preview = make(&Sampler::tape(&system.model, weights, PREVIEW)?)?;
    let start = norms_tape(&system.model)?.map(|tape| make(&tape)).transpose()?;
    Ok((Programs { step, preview, start }, metrics))
}

/// Moves the kernels of all programs into one list, to which they then refer.
fn shared_kernels(programs: &mut Programs) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    let Programs { step, preview, start } = programs;
    for program in [step, preview].into_iter().chain(start.as_mut()) {
        let places: Vec<usize> = std::mem::take(&mut program.kernels)
            .into_iter()
            .map(|kernel| {
                let known = all.iter().position(|other| *other == kernel);
                known.unwrap_or_else(|| {
                    all.push(kernel);
                    all.len() - 1
                })
            })
            .collect();
        program.renumber(|kernel| places[kernel]);
    }
    all
}

/// Whether something is initialized from images.
fn starts_on_data(system: &System) -> bool {
    system.model.iter().any(|(_, net)| match net.role {
        Role::Discriminator => net.network.starts_by_data(),
        role => role.takes_latents() && net.network.starts_on_images(),
    })
}
