//! Shows what a discriminator's filters respond to: the images with the strongest responses, and,
//! by guided backpropagation, the relevant parts of them (paper, section 6.2 and figure 5;
//! Springenberg, Dosovitskiy, Brox and Riedmiller, arXiv 1412.6806).
//!
//! The response of a filter to an image is the maximum of its map after the activation. From that
//! one place the gradient flows back to the image, guided: at an activation `y = x > 0 ? x : slope
//! · x` it is
//!
//! ```text
//! gx = g where x > 0 and g > 0, else 0
//! ```
//!
//! so that only what excites the filter, through units that are active themselves, remains. The
//! slope of a leaky ReLU is not used on the way back: the half where a ReLU would be silent passes
//! nothing, neither whole nor scaled. All other layers use their own gradient, batch norm with
//! running statistics. An inactive filter (its response is not positive) gives zeros.

use std::cmp::Ordering;

use crate::data::{Prepare, Skipped, Source, sweep};
use crate::device::State;
use crate::error::{Error, Result};
use crate::features::{DISCRIMINATOR, FeatureLayer, feed};
use crate::models::Networks;
use crate::nn::{Mode, Outputs, Pass, Reach, Sequential};
use crate::ops::elementwise::LeakyReluGrad;
use crate::program::{Options, Program, fitting};
use crate::tape::{Tape, Var};
use crate::tensor::{DType, Data, Tensor};

/// Images whose gradients are computed at a time.
const BATCH: usize = 8;

/// Records the guided gradient of `Σ seed · outputs[layer]` with respect to the input of `network`,
/// which returned `outputs`.
///
/// # Errors
/// [`Error::NotDifferentiable`] if a layer is not differentiable.
pub fn guided(
    t: &mut Tape,
    network: &Sequential,
    seed: Var,
    outputs: &Outputs,
    layer: usize,
) -> Result<Var> {
    let mut g = seed;
    for i in (0..=layer).rev() {
        let y = outputs.each()[i];
        g = if network.layers[i].is_rectifier() {
            let positive = t.relu(g)?;
            t.record(LeakyReluGrad { slope: 0.0 }, &[y, positive])?
        } else {
            t.grad_from(y, g, &[outputs.before(i)])?[0]
        };
    }
    Ok(g)
}

/// The first of the layers up to `layer` for which the gradient or the receptive field cannot be
/// computed layer by layer.
fn obstacle(network: &Sequential, layer: usize) -> Option<usize> {
    network.layers[..=layer].iter().position(|layer| layer.reach() == Reach::More)
}

/// The receptive field of the value at `place` (row, column) of a layer's feature map: first and
/// last row, first and last column. With padding, they may lie outside of the image.
#[must_use]
pub fn receptive_field(network: &Sequential, layer: usize, place: [usize; 2]) -> [[isize; 2]; 2] {
    let mut field = place.map(|at| [at as isize; 2]);
    for layer in network.layers[..=layer].iter().rev() {
        let Reach::Window { kernel, stride, pad } = layer.reach() else { continue };
        for (axis, ends) in field.iter_mut().enumerate() {
            let first = |at: isize| at * stride[axis] as isize - pad[axis] as isize;
            *ends = [first(ends[0]), first(ends[1]) + kernel[axis] as isize - 1];
        }
    }
    field
}

/// An image of a set, and the response of a filter to it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Response {
    /// Its index in the set.
    pub item: u32,
    /// The maximum of the filter's map.
    pub strength: f32,
}

impl Response {
    /// Strongest first; equally strong ones in the order of the set.
    fn order(&self, other: &Self) -> Ordering {
        other.strength.total_cmp(&self.strength).then(self.item.cmp(&other.item))
    }
}

/// The responses of a filter to a set of images.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answers {
    /// The strongest responses, in descending order.
    pub strongest: Vec<Response>,
    /// Images looked at.
    pub seen: usize,
    /// The number of images for which it is active: its response is positive.
    pub fired: usize,
    sum: f64,
}

impl Answers {
    fn hear(&mut self, response: Response, top: usize) {
        self.seen += 1;
        self.fired += usize::from(response.strength > 0.0);
        self.sum += f64::from(response.strength);
        let at = self.strongest.partition_point(|r| r.order(&response) == Ordering::Less);
        if at < top {
            self.strongest.insert(at, response);
            self.strongest.truncate(top);
        }
    }

    /// The mean response over all images.
    #[must_use]
    pub fn mean(&self) -> f64 {
        self.sum / self.seen.max(1) as f64
    }
}

/// Filters of one hidden convolution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The convolution.
    pub level: FeatureLayer,
    /// Its filters: channels of its output.
    pub filters: Vec<usize>,
}

/// The location of a filter's response in one image.
#[derive(Clone, Debug, PartialEq)]
pub struct Guided {
    /// Row and column of the strongest response; the first of equally strong ones.
    pub place: [usize; 2],
    /// The guided gradient with respect to the image, `[h, w, c]`.
    pub gradient: Vec<f32>,
}

/// A discriminator with observed filters.
#[derive(Debug)]
pub struct Observer {
    networks: Networks,
    /// With running statistics.
    discriminator: Sequential,
    state: State,
    wanted: Vec<Wanted>,
    scan: Program,
    batch: usize,
    /// For each of `wanted` its filters' responses.
    answers: Vec<Vec<Answers>>,
}

impl Observer {
    /// Compiles a discriminator for `batch` images at a time. `state` holds its tensors, with
    /// calibrated running statistics.
    ///
    /// # Errors
    /// [`Error::Tensor`] if there is no discriminator, `state` lacks a tensor, or a layer has a
    /// larger receptive field than a convolution; [`Error::Memory`] if the device is full.
    pub fn new(
        networks: &Networks,
        state: State,
        wanted: Vec<Wanted>,
        batch: usize,
    ) -> Result<Self> {
        let discriminator = networks.discriminator()?.with_running_statistics();
        let last = wanted.iter().map(|w| w.level.output).max().unwrap_or(0);
        if let Some(i) = obstacle(&discriminator, last) {
            let what = format!(
                "is {}: what a filter looks for can be followed through convolutions, pools, batch \
                 norms and activations alone",
                discriminator.layers[i].kind()
            );
            return Err(Error::Tensor { name: format!("{DISCRIMINATOR}.main.{i}"), what });
        }
        let tape = |batch| -> Result<Tape> {
            let mut tape = Tape::new();
            let x = feed(&mut tape, networks, batch)?;
            let pass = Pass::new(Mode::Eval);
            let outputs = discriminator.record(&mut tape, DISCRIMINATOR, x, &pass)?;
            for (i, wanted) in wanted.iter().enumerate() {
                let largest = tape.max_pool(outputs.each()[wanted.level.output], [1, 1])?;
                tape.fetch(&fetch_name(i), largest)?;
            }
            Ok(tape)
        };
        let batch = fitting(batch, state.device(), state.bytes(), tape)?;
        let tape = tape(batch)?;
        let scan = Program::compile(&tape, &state, &Options::default())?;
        let answers = wanted.iter().map(|w| vec![Answers::default(); w.filters.len()]).collect();
        Ok(Self { networks: networks.clone(), discriminator, state, wanted, scan, batch, answers })
    }

    /// Images at a time: as requested, or as many as fit.
    #[must_use]
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// For each requested layer, its filters' responses to the images so far.
    #[must_use]
    pub fn answers(&self) -> &[Vec<Answers>] {
        &self.answers
    }

    /// The pixels that a layer's value at `place` depends on: [`receptive_field`].
    #[must_use]
    pub fn field(&self, level: &FeatureLayer, place: [usize; 2]) -> [[isize; 2]; 2] {
        receptive_field(&self.discriminator, level.output, place)
    }

    /// Runs `images` `[n, h, w, c]`, whose indices are `items`, and keeps the `top` strongest
    /// responses of every filter.
    fn look(&mut self, items: &[u32], images: &[u8], top: usize) -> Result<()> {
        let image = self.image_len();
        let chunks = images.chunks(self.batch * image).zip(items.chunks(self.batch));
        for (bytes, items) in chunks {
            let fed = self.feed(bytes, self.batch)?;
            let fetched = self.scan.call(&mut self.state, &[("images", &fed)])?;
            if fetched.values().any(|maps| !maps.is_finite()) {
                let what = "the discriminator's maps are not finite: its weights are too large to \
                            compute with";
                return Err(Error::Diverged(what.into()));
            }
            for (i, (wanted, answers)) in self.wanted.iter().zip(&mut self.answers).enumerate() {
                let rows = fetched[&fetch_name(i)].f32s().chunks(wanted.level.size[2]);
                for (row, &item) in rows.zip(items) {
                    for (&filter, answers) in wanted.filters.iter().zip(answers.iter_mut()) {
                        answers.hear(Response { item, strength: row[filter] }, top);
                    }
                }
            }
        }
        Ok(())
    }

    /// What the filter `filter` of the convolution `level` responds to in each of `images` `[n, h,
    /// w, c]`; each image comes with its filter's index.
    ///
    /// # Errors
    /// [`Error::Length`] if an image has another size; [`Error::Lost`] if the device fails.
    pub fn explain(
        &mut self,
        level: &FeatureLayer,
        images: &[(usize, Vec<u8>)],
    ) -> Result<Vec<Guided>> {
        let [h, w, c] = level.size;
        let tape = |batch| -> Result<Tape> {
            let mut tape = Tape::new();
            let x = feed(&mut tape, &self.networks, batch)?;
            let seed = tape.feed("seed", &[batch, h, w, c], DType::F32)?;
            let pass = Pass::new(Mode::Eval);
            let outputs = self.discriminator.record(&mut tape, DISCRIMINATOR, x, &pass)?;
            tape.fetch("map", outputs.each()[level.output])?;
            let gradient = guided(&mut tape, &self.discriminator, seed, &outputs, level.output)?;
            tape.fetch("gradient", gradient)?;
            Ok(tape)
        };
        let wanted = BATCH.min(images.len()).max(1);
        let batch = fitting(wanted, self.state.device(), self.state.bytes(), tape)?;
        let tape = tape(batch)?;
        let mut program = Program::compile(&tape, &self.state, &Options::default())?;

        let image = self.image_len();
        let mut all = Vec::with_capacity(images.len());
        for images in images.chunks(batch) {
            let bytes: Vec<u8> = images.iter().flat_map(|(_, p)| p.iter().copied()).collect();
            let bytes = self.feed(&bytes, batch)?;
            let mut seed = Tensor::full([batch, h, w, c], 0.0);
            let feeds = [("images", &bytes), ("seed", &seed)];
            let fetched = program.call(&mut self.state, &feeds)?;
            let maps = fetched["map"].f32s();
            let strongest = |(i, &(filter, _)): (usize, &(usize, Vec<u8>))| {
                let at = |place: usize| maps[(i * h * w + place) * c + filter];
                let better = |best, place| if at(place) > at(best) { place } else { best };
                (0..h * w).fold(0, better)
            };
            let places: Vec<usize> = images.iter().enumerate().map(strongest).collect();
            let mut one = vec![0.0; batch * h * w * c];
            for (i, (&(filter, _), place)) in images.iter().zip(&places).enumerate() {
                one[(i * h * w + place) * c + filter] = 1.0;
            }
            seed = Tensor::new([batch, h, w, c], one)?;
            let feeds = [("images", &bytes), ("seed", &seed)];
            let fetched = program.call(&mut self.state, &feeds)?;
            let gradients = fetched["gradient"].f32s().chunks(image);
            all.extend(places.iter().zip(gradients).map(|(&place, gradient)| Guided {
                place: [place / w, place % w],
                gradient: gradient.to_vec(),
            }));
        }
        Ok(all)
    }

    fn image_len(&self) -> usize {
        let Networks { size, channels, .. } = self.networks;
        size.height * size.width * channels
    }

    /// A batch of images, padded with black ones.
    fn feed(&self, bytes: &[u8], batch: usize) -> Result<Tensor> {
        let Networks { size, channels, .. } = self.networks;
        let mut bytes = bytes.to_vec();
        let full = batch * self.image_len();
        if bytes.len() > full || !bytes.len().is_multiple_of(self.image_len()) {
            let shape = vec![batch, size.height, size.width, channels];
            return Err(Error::Length { shape, len: bytes.len() });
        }
        bytes.resize(full, 0);
        Tensor::with_data([batch, size.height, size.width, channels], Data::U8(bytes))
    }
}

/// The name of the fetch for the responses of the `i`th requested layer.
fn fetch_name(i: usize) -> String {
    format!("largest{i}")
}

/// Runs all images of `source` through each of `observers`, which keep the `top` strongest
/// responses of every filter; returns the unreadable images. `done` receives the number of images
/// processed.
///
/// # Errors
/// Those of [`sweep`]; [`Error::Lost`] if the device fails.
pub fn observe(
    observers: &mut [Observer],
    source: &Source,
    prepare: &Prepare,
    top: usize,
    mut done: impl FnMut(usize),
) -> Result<Vec<Skipped>> {
    let batch = observers.iter().map(|o| o.batch).max().unwrap_or(1);
    let items: Vec<u32> = (0..source.len() as u32).collect();
    sweep(source, prepare, &items, batch, |chunk| {
        let items: Vec<u32> = chunk.places.iter().map(|&p| (chunk.start + p) as u32).collect();
        for observer in &mut *observers {
            observer.look(&items, &chunk.images, top)?;
        }
        done(chunk.len);
        Ok(())
    })
}

#[cfg(test)]
mod tests;
