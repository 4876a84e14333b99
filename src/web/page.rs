//! The page of a generator.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::device::{Device, State};
use crate::error::{Error, Result};
use crate::experiments::directions::{Directions, sigma};
use crate::model::sampler::BATCH;
use crate::model::{ModelFile, Networks, Pipeline, Sampler, Size, Weights};
use crate::nn::LatentDistribution;
use crate::ops::Caps;
use crate::program::{Packs, Portable, fold};
use crate::tape::Tape;
use crate::text::TextEncoder;

use super::constants::{Constants, Encoding, Stored};
use super::html::{Html, pack};
use super::{program, wasm};

/// Images that a page's GPU makes at a time for its grid.
const GRID_BATCH: usize = 16;
/// Principal directions with a slider.
const DIRECTIONS: usize = 24;

/// How a page is made.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The heading; by default the size and the kind of the model's images.
    pub title: Option<String>,
    /// How weights are stored.
    pub encoding: Encoding,
    /// The weights of the last step, or their moving average.
    pub weights: Weights,
    /// Directions with names of their own, before the principal ones.
    pub directions: Vec<Direction>,
}

/// A direction of latent space with a slider.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Direction {
    /// What it changes.
    pub name: String,
    /// A step of one, of `nz` values.
    pub vector: Vec<f32>,
}

/// A page that makes a model's images.
#[derive(Debug)]
pub struct Page {
    title: String,
    data: String,
}

/// What `page.js` knows of the model.
#[derive(Serialize)]
struct About<'a> {
    height: usize,
    width: usize,
    channels: usize,
    nz: usize,
    distribution: LatentDistribution,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    classes: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<Text<'a>>,
    directions: &'a [Direction],
    programs: Programs,
    /// The WebAssembly module among the bytes: the first one, and their number.
    module: (usize, usize),
    tensors: &'a [Stored],
}

/// How a page makes vectors of texts: see [`crate::text`].
#[derive(Serialize)]
struct Text<'a> {
    width: usize,
    examples: &'a [String],
    /// A bag of words and hashed pairs.
    words: &'a [String],
    bins: usize,
    /// Vectors by name instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    vectors: Option<BTreeMap<&'a str, &'a [f32]>>,
}

impl<'a> Text<'a> {
    fn of(text: &'a TextEncoder) -> Option<Self> {
        (!text.is_empty()).then(|| Self {
            width: text.width(),
            examples: &text.examples,
            words: &text.words,
            bins: text.bins,
            vectors: text.vectors.as_ref().map(|vectors| vectors.iter().collect()),
        })
    }
}

#[derive(Serialize)]
struct Programs {
    /// Of one image, for a GPU.
    one: Portable,
    /// Of several, for a GPU; where images depend on their batch, the first one is of as many.
    #[serde(skip_serializing_if = "Option::is_none")]
    many: Option<Portable>,
    /// Of one image, for a CPU; its kernels are in the module.
    cpu: Portable,
}

impl Page {
    /// The page of a model's generator, or of all networks that make its images.
    ///
    /// # Errors
    /// [`Error::File`] if the model has no generator, or a weight is not finite; [`Error::Tensor`] if a
    /// direction has another length than a latent; [`Error::Memory`] if a buffer is larger than browsers
    /// allow.
    pub fn of(model: &ModelFile, options: &Options) -> Result<Self> {
        model.generator()?;
        let networks = &model.networks;
        let nz = networks.nz;
        for Direction { name, vector } in &options.directions {
            if vector.len() != nz {
                let what =
                    format!("has {} values, and the model's latents have {nz}", vector.len());
                return Err(Error::Tensor { name: name.clone(), what });
            }
        }
        let mut state = State::new(&Device::Cpu);
        let used = model.load_generator(&mut state, options.weights)?;
        let pipeline = Pipeline::of(networks)?;
        let needs_batch =
            networks.iter().any(|(name, net)| pipeline.calls(name) && net.network.needs_batch());
        let mut folded = |batch| fold(&Sampler::tape(networks, used, batch)?, &mut state);
        let make =
            |tape: &Tape, caps: &Caps| program(tape, caps, &mut Packs::default(), "this model");
        let gpu = Caps::portable();
        // The same constants serve all programs, which are of one network.
        let (tape, values) = folded(if needs_batch { BATCH } else { 1 })?;
        let one = make(&tape, &gpu)?;
        let many = match needs_batch {
            true => None,
            false => Some(make(&folded(GRID_BATCH)?.0, &gpu)?),
        };
        let mut cpu = make(&tape, &Caps { software: true, ..gpu })?;

        let bytes = wasm::compile(&cpu.kernels)?;
        let mut constants = Constants { bytes, ..Constants::default() };
        let module = (0, constants.bytes.len());
        cpu.kernels.clear();
        for (name, value) in &values {
            constants.add(name, value, options.encoding);
        }

        let title = options.title.clone().unwrap_or_else(|| default_title(networks));
        let directions = directions(model, options);
        let about = About {
            height: networks.size.height,
            width: networks.size.width,
            channels: networks.channels,
            nz,
            distribution: networks.latent_distribution,
            classes: &networks.classes,
            text: Text::of(&networks.text),
            directions: &directions,
            programs: Programs { one, many, cpu },
            module,
            tensors: &constants.tensors,
        };
        let data = pack(&about, &constants.bytes);
        Ok(Self { title, data })
    }

    /// Its HTML.
    ///
    /// # Errors
    /// None but for bugs of the template.
    pub fn html(&self) -> Result<String> {
        let body = include_str!("../../assets/web/page.html");
        let script = include_str!("../../assets/web/page.js");
        Html { title: &self.title, body, script, data: &self.data }.render()
    }
}

/// What the page shows.
fn default_title(networks: &Networks) -> String {
    let Size { height, width } = networks.size;
    format!("A generator of images of {height} × {width} pixels")
}

/// Those with names, and then the principal ones of the latent space, each by a step of one standard
/// deviation. Some latents have no principal directions; their pages have sliders for single coordinates.
fn directions(model: &ModelFile, options: &Options) -> Vec<Direction> {
    let step = sigma(model.networks.latent_distribution);
    let principal = Directions::of(model, options.weights).map(|found| found.vectors);
    let principal = principal.unwrap_or_default().into_iter().take(DIRECTIONS).enumerate();
    let principal = principal.map(|(i, vector)| Direction {
        name: format!("Direction {}", i + 1),
        vector: vector.iter().map(|x| step * x).collect(),
    });
    options.directions.iter().cloned().chain(principal).collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use crate::tensor::Tensor;

    #[test]
    fn programs_of_all_batches_share_their_constants() {
        let model = ModelFile::bundled().unwrap();
        let mut state = State::new(&Device::Cpu);
        let used = model.load_generator(&mut state, Weights::default()).unwrap();
        let mut folded = |batch| -> BTreeMap<String, Tensor> {
            let tape = Sampler::tape(&model.networks, used, batch).unwrap();
            fold(&tape, &mut state).unwrap().1
        };
        assert_eq!(folded(1), folded(GRID_BATCH));
    }
}
