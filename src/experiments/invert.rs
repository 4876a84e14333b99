//! Finds a latent for a given image: gradient descent through the generator.
//!
//! ```text
//! minimize over z   mean (G(z) − x)²  +  W · distance of features  +  P · mean z²
//! ```
//!
//! The last term is the negative log density of normal latents, so that the latent stays one that
//! the generator knows; uniform latents are clamped to [−1, 1] after every step instead. Such
//! objectives have many local minima, so several starts run in one batch and the best one is used.
//! G's batch norm uses its running statistics: the starts do not affect one another.

use crate::device::{Device, State};
use crate::error::{Error, Result};
use crate::features::{DISCRIMINATOR, feature_layers};
use crate::model::{Condition, ModelFile, Networks, Pipeline, Weights};
use crate::nn::{LATENT, LatentDistribution, Mode, Pass};
use crate::optim::Adam;
use crate::program::{Options, Program, fitting};
use crate::rng::Stream;
use crate::tape::{Tape, Var};
use crate::tensor::{DType, Data, Tensor};

/// The state with the latents.
const Z: &str = "z";
/// Adam's usual decays: unlike in a GAN, the objective does not change during the search.
const ADAM: Adam = Adam { beta1: 0.9, beta2: 0.999, eps: 1e-8 };
/// Steps between two progress reports.
const LOOK: usize = 20;
/// Added to the mean square of features, which may all be zero.
const TINY: f32 = 1e-8;

/// Options of the search.
#[derive(Clone, Debug, PartialEq)]
pub struct Search {
    /// Starts that run in parallel.
    pub starts: usize,
    /// Steps of each.
    pub steps: usize,
    /// Adam's initial step size; it falls to 0 as a cosine.
    pub rate: f64,
    /// Weight of the distance in D's features; 0 to disable.
    pub perceptual: f32,
    /// Weight of `mean z²` for normal latents.
    pub prior: f32,
    /// The seed of the starts.
    pub seed: u64,
    /// The class or text to generate, for a conditional generator.
    pub condition: Condition,
}

impl Default for Search {
    fn default() -> Self {
        Self {
            starts: 8,
            steps: 400,
            rate: 0.1,
            perceptual: 0.0,
            prior: 1e-3,
            seed: 0,
            condition: Condition::None,
        }
    }
}

/// The result for one image.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The best start's latent.
    pub z: Vec<f32>,
    /// Its image `[1, h, w, c]` in [−1, 1].
    pub image: Tensor,
    /// Root mean squared difference to the original, in gray feature_layers of 0 to 255.
    pub error: f32,
    /// The same before the search: the smallest of all starts.
    pub error_at_start: f32,
    /// The same of every start after the search.
    pub errors: Vec<f32>,
}

/// A compiled search.
#[derive(Debug)]
pub struct Inverter {
    networks: Networks,
    search: Search,
    state: State,
    program: Program,
}

impl Inverter {
    /// Compiles a search through the generator of a model, with these weights, and through its
    /// discriminator if `search.perceptual` is not 0.
    ///
    /// # Errors
    /// [`Error::File`] if the model lacks a required network; [`Error::Memory`] if the device is
    /// full.
    pub fn new(
        model: &ModelFile,
        device: &Device,
        weights: Weights,
        search: Search,
    ) -> Result<Self> {
        let mut state = State::new(device);
        let used = model.load_generator(&mut state, weights)?;
        if search.perceptual != 0.0 {
            model.load_discriminator(&mut state, weights)?;
        }
        let shape = [search.starts, model.networks.nz];
        for name in [Z.to_owned()].into_iter().chain(Adam::moments(Z)) {
            state.set(&name, &Tensor::full(shape, 0.0))?;
        }
        if let Some((name, rows)) = search.condition.rows(search.starts, &model.networks)? {
            state.set(name, &rows)?;
        }
        let tape = |starts| -> Result<Tape> {
            let mut tape = Tape::new();
            record(&mut tape, &model.networks, used, &Search { starts, ..search.clone() })?;
            Ok(tape)
        };
        // Fewer starts would find something else: that decision is the caller's.
        let fits = fitting(search.starts, device, state.bytes(), tape)?;
        let tape = tape(search.starts)?;
        let program = Program::compile(&tape, &state, &Options::default());
        let program = program.map_err(|error| match error {
            Error::Memory(what) if fits < search.starts => Error::Memory(format!(
                "{} starts do not fit: {what}; `starts` {fits} fits",
                search.starts
            )),
            other => other,
        })?;
        Ok(Self { networks: model.networks.clone(), search, state, program })
    }

    /// Searches for one image, bytes `[h, w, c]`; `done` receives the number of steps done.
    ///
    /// # Errors
    /// [`Error::Length`] if the image has another size; [`Error::Lost`] if the device fails.
    pub fn invert(&mut self, image: &[u8], mut done: impl FnMut(usize)) -> Result<Found> {
        let Networks { size, channels, nz, latent_distribution, .. } = self.networks;
        let Search { starts, steps, seed, .. } = self.search;
        let shape = [1, size.height, size.width, channels];
        let target = Tensor::with_data(shape, Data::U8(image.to_vec()))?;

        let mut z = vec![0.0; starts * nz];
        for (start, row) in z.chunks_mut(nz).enumerate() {
            latent_distribution.fill(&Stream::new(seed, "invert", start as u32), row);
        }
        self.state.set(Z, &Tensor::new([starts, nz], z)?)?;
        for moment in Adam::moments(Z) {
            self.state.set(&moment, &Tensor::full([starts, nz], 0.0))?;
        }
        let mut at_start = None;
        // The last run changes nothing: it measures the result of the last step.
        for step in 0..=steps {
            let schedule = self.schedule(step)?;
            let feeds = [("target", &target), ("schedule", &schedule)];
            let ticket = self.program.run(&mut self.state, &feeds)?;
            if step % LOOK == 0 || step == steps {
                let fetched = self.program.take(ticket)?;
                let errors: Vec<f32> = fetched["square"].f32s().iter().map(|&s| gray(s)).collect();
                at_start
                    .get_or_insert_with(|| errors.iter().copied().fold(f32::INFINITY, f32::min));
                done(if step == 0 { 0 } else { (step - 1) % LOOK + 1 });
                if step == steps {
                    let best = least(fetched["objective"].f32s());
                    let numbers = image.len();
                    let images = fetched["images"].f32s();
                    let own = images[best * numbers..(best + 1) * numbers].to_vec();
                    return Ok(Found {
                        z: fetched[Z].f32s()[best * nz..(best + 1) * nz].to_vec(),
                        image: Tensor::new(shape, own)?,
                        error: errors[best],
                        error_at_start: at_start.unwrap_or(f32::NAN),
                        errors,
                    });
                }
            }
        }
        unreachable!("the last step returns")
    }

    /// Step size and square root for the Adam step after `step` others.
    fn schedule(&self, step: usize) -> Result<Tensor> {
        let share = step as f64 / self.search.steps.max(1) as f64;
        let rate = self.search.rate * 0.5 * (1.0 + (std::f64::consts::PI * share).cos());
        let rate = if step >= self.search.steps { 0.0 } else { rate };
        Tensor::new([2], ADAM.schedule(rate, step as u64 + 1).to_vec())
    }
}

/// Records one step of the search. Feeds: `target` (bytes `[1, h, w, c]`), `schedule` (rate and
/// root). Fetches, with the values before the step: `z`, `images` in [−1, 1], `square` (mean
/// squared difference) and `objective` of every start.
fn record(t: &mut Tape, networks: &Networks, weights: Weights, search: &Search) -> Result<()> {
    let Networks { size, channels, nz, latent_distribution, .. } = *networks;
    let n = search.starts;
    let target = t.feed("target", &[1, size.height, size.width, channels], DType::U8)?;
    let target = t.from_u8(target)?;
    let schedule = t.feed("schedule", &[2], DType::F32)?;
    let (rate, root) = (t.range(schedule, 0, 1)?, t.range(schedule, 1, 1)?);

    let z = t.read(Z, &[n, nz], DType::F32)?;
    let latents = t.reshape(z, &[n, 1, 1, nz])?;
    let condition = match networks.condition() {
        Some((name, width)) => Some((name, t.read(name, &[n, width], DType::F32)?)),
        None => None,
    };
    let mut known = vec![(LATENT, latents)];
    known.extend(condition);
    let made = Pipeline::of(networks)?.record(t, networks, weights, &known)?;
    let images = networks.pixels.to_signed(t, made)?;
    let square = mean_square(t, images, target)?;
    let mut objective = square;
    if search.perceptual != 0.0 {
        let target = networks.pixels.of_signed(t, target)?;
        let distance = feature_distance(t, networks, made, target, condition)?;
        let weighed = t.affine(distance, search.perceptual, 0.0)?;
        objective = t.add(objective, weighed)?;
    }
    t.fetch(Z, z)?;
    t.fetch("images", images)?;
    t.fetch("square", square)?;
    t.fetch("objective", objective)?;
    if latent_distribution == LatentDistribution::Normal && search.prior != 0.0 {
        let square = t.mul(z, z)?;
        let length = t.mean(square, &[1])?;
        let prior = t.affine(length, search.prior, 0.0)?;
        objective = t.add(objective, prior)?;
    }
    // The starts' objectives are independent, so their sum's gradient has the gradient of each.
    let total = t.sum_all(objective)?;
    let gradient = t.grad(total, &[z])?[0];
    ADAM.update(t, Z, gradient, rate, root)?;
    if latent_distribution == LatentDistribution::Uniform {
        let z = t.read(Z, &[n, nz], DType::F32)?;
        let z = t.clamp(z, -1.0, 1.0)?;
        t.assign(Z, z)?;
    }
    Ok(())
}

/// A pass with a condition, if there is one.
fn on(condition: Option<(&'static str, Var)>) -> Pass<'static> {
    let pass = Pass::new(Mode::Eval);
    match condition {
        Some((name, rows)) => pass.with(name, rows),
        None => pass,
    }
}

/// Mean of `(a − b)²` over all axes but the first, `[n]`.
fn mean_square(t: &mut Tape, a: Var, b: Var) -> Result<Var> {
    let difference = t.sub(a, b)?;
    let square = t.mul(difference, difference)?;
    let axes: Vec<usize> = (1..t.shape(square).len()).collect();
    t.mean(square, &axes)
}

/// The distance of D's features of images `x` `[n, h, w, c]` to those of `target` `[1, h, w, c]`,
/// `[n]`, all on `condition`, if any: the mean squared difference over the target's mean
/// square, averaged over all hidden convolutions. No layer outweighs another by its scale.
fn feature_distance(
    t: &mut Tape,
    networks: &Networks,
    x: Var,
    target: Var,
    condition: Option<(&'static str, Var)>,
) -> Result<Var> {
    let feature_layers = feature_layers(networks)?;
    let discriminator = networks.discriminator()?;
    let of =
        |t: &mut Tape, x: Var, condition| discriminator.record(t, DISCRIMINATOR, x, &on(condition));
    // The features of the target, a single image.
    let first = match condition {
        Some((name, rows)) => {
            let width = t.shape(rows)[1];
            Some((name, t.slice(rows, &[0, 0], &[1, width])?))
        }
        None => None,
    };
    let (outputs, targets) = (of(t, x, condition)?, of(t, target, first)?);
    let mut total: Option<Var> = None;
    for level in &feature_layers {
        let (feature, wanted) = (outputs.each()[level.output], targets.each()[level.output]);
        let square = mean_square(t, feature, wanted)?;
        let scale = t.mul(wanted, wanted)?;
        let scale = t.mean_all(scale)?;
        let scale = t.affine(scale, 1.0, TINY)?;
        let distance = t.div(square, scale)?;
        total = Some(match total {
            Some(total) => t.add(total, distance)?,
            None => distance,
        });
    }
    let total = total.ok_or_else(|| Error::Tensor {
        name: DISCRIMINATOR.into(),
        what: "has no features to compare".into(),
    })?;
    t.affine(total, 1.0 / feature_layers.len() as f32, 0.0)
}

/// The square root of a mean square of values in [−1, 1], in gray feature_layers.
fn gray(square: f32) -> f32 {
    127.5 * square.sqrt()
}

/// The index of the smallest value, ignoring NaN.
fn least(numbers: &[f32]) -> usize {
    let key = |&i: &usize| if numbers[i].is_nan() { f32::INFINITY } else { numbers[i] };
    (0..numbers.len()).min_by(|a, b| key(a).total_cmp(&key(b))).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::collections::BTreeMap;
    use std::path::PathBuf;

    use super::*;
    use crate::data::{Crop, Filter, Prepare};
    use crate::images;
    use crate::model::{Generator, Inputs, Size, seeded_latents};
    use crate::models::{Architecture, ModelConfig};
    use crate::program::Choices;

    /// A model whose generator outputs varied images: its weights preserve scale.
    fn model(network: Architecture) -> ModelFile {
        let size = Size { height: 16, width: 16 };
        let model = ModelConfig {
            network,
            size,
            channels: 3,
            nz: 6,
            ngf: 8,
            ndf: 8,
            ..ModelConfig::default()
        };
        let networks = model.networks().unwrap();
        let mut tensors = BTreeMap::new();
        for param in networks.params() {
            let mut value = param.initial(3);
            if let &[kh, kw, _, small] = value.shape() {
                let inputs = if param.name.ends_with("main.0.weight") { 1 } else { kh * kw / 4 };
                let scale = (2.0 / (inputs * small) as f32).sqrt() / 0.02;
                let numbers = value.f32s().iter().map(|w| w * scale).collect();
                value = Tensor::new(value.shape(), numbers).unwrap();
            }
            let value = param.layout.to_file(&value).unwrap();
            tensors.insert(param.name, value);
        }
        let path = PathBuf::from("a model");
        let prepare = Prepare {
            height: 16,
            width: 16,
            channels: 3,
            crop: Crop::Center,
            filter: Filter::default(),
            flip: false,
        };
        let (step, seconds, choices) = (0, 0.0, Choices::default());
        ModelFile {
            path,
            networks,
            config: None,
            step,
            position: None,
            seconds,
            prepare,
            choices,
            tensors,
        }
    }

    /// The image of a latent, as bytes.
    fn image(model: &ModelFile, z: &[f32]) -> Vec<u8> {
        let mut generator = Generator::new(model, &Device::Cpu, Weights::default()).unwrap();
        let z = Tensor::new([1, z.len()], z.to_vec()).unwrap();
        images::bytes(generator.images(&Inputs::latents(z).unwrap()).unwrap().f32s())
    }

    #[test]
    fn an_image_of_the_generator_is_found_again() {
        for network in [Architecture::Dcgan, Architecture::Paper] {
            let model = model(network);
            let truth = seeded_latents(&[7], 6, network.latent_distribution());
            let bytes = image(&model, truth.f32s());
            let spread = bytes.iter().max().unwrap() - bytes.iter().min().unwrap();
            assert!(spread > 100, "{network}: the generator draws nothing: {spread}");
            for perceptual in [0.0, 0.5] {
                let search =
                    Search { perceptual, prior: 1e-5, steps: 300, starts: 16, ..Search::default() };
                let mut inverter =
                    Inverter::new(&model, &Device::Cpu, Weights::default(), search.clone())
                        .unwrap();
                let mut steps = 0;
                let found = inverter.invert(&bytes, |n| steps += n).unwrap();
                assert_eq!(steps, 300);
                assert_eq!(found.errors.len(), 16);
                assert!(found.error < 1.0, "{network}: {found:?}");
                assert!(found.error_at_start > 10.0, "{network}: {found:?}");
                for (z, truth) in found.z.iter().zip(truth.f32s()) {
                    assert!((z - truth).abs() < 0.05, "{network}, {perceptual}: {found:?}");
                }
                // The reported image is the generator's output for it.
                let again = image(&model, &found.z);
                let own = images::bytes(found.image.f32s());
                assert!(again.iter().zip(own).all(|(&a, b)| a.abs_diff(b) <= 1), "{network}");
                // The same search gives the same bits, regardless of earlier searches.
                let mut fresh =
                    Inverter::new(&model, &Device::Cpu, Weights::default(), search).unwrap();
                inverter.invert(&vec![0; bytes.len()], |_| ()).unwrap();
                let again = inverter.invert(&bytes, |_| ()).unwrap();
                assert_eq!(again, fresh.invert(&bytes, |_| ()).unwrap());
            }
        }
    }

    #[test]
    fn latents_stay_where_the_generator_knows_them() {
        // Images of only black and white: the larger its latent, the closer the generator gets.
        let longest = |network: Architecture, prior| {
            let model = model(network);
            let truth = seeded_latents(&[7], 6, network.latent_distribution());
            let bytes = image(&model, truth.f32s());
            let bytes: Vec<u8> = bytes.iter().map(|&b| if b < 128 { 0 } else { 255 }).collect();
            let search = Search { prior, steps: 100, rate: 0.3, ..Search::default() };
            let mut inverter =
                Inverter::new(&model, &Device::Cpu, Weights::default(), search).unwrap();
            let found = inverter.invert(&bytes, |_| ()).unwrap();
            found.z.iter().fold(0.0_f32, |most, z| most.max(z.abs()))
        };
        assert!(longest(Architecture::Paper, 0.0) <= 1.0);
        let (free, held) = (longest(Architecture::Dcgan, 0.0), longest(Architecture::Dcgan, 1.0));
        assert!(held < 0.5 * free, "{held} against {free}");
    }

    #[test]
    fn the_least_is_never_nan() {
        assert_eq!(least(&[f32::NAN, 3.0, 2.0, f32::INFINITY]), 2);
        assert_eq!(least(&[f32::NAN]), 0);
    }
}
