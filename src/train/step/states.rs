//! The states of a training: their names, and their values before the first step.

use crate::augment::PROBABILITY;
use crate::error::Result;
use crate::models::{Design, LatentLaw};
use crate::nn::{Init, Layout, Param};
use crate::rng::Stream;
use crate::tensor::{Data, Tensor};
use crate::train::scale;

use super::StepOptions;

/// The state that holds the key of the device's random numbers: seed (low, high half), step, 0.
pub const KEY: &str = "key";

/// The prefix of the states of averaged networks.
pub const AVERAGE: &str = "ema";

/// The prefix of the states that hold the means of parameters' past values.
const HISTORY: &str = "history";

/// The name of the state that holds the mean of a parameter's past values.
pub(super) fn past(name: &str) -> String {
    format!("{HISTORY}.{name}")
}

/// The name of the state that counts the updates of a network that were made, those that were skipped
/// left out: what bias correction and historical means go by.
#[must_use]
pub fn updates(network: &str) -> String {
    format!("updates.{network}")
}

/// A scalar that starts at 0.
fn counter(name: String) -> Param {
    Param {
        name,
        shape: Vec::new(),
        init: Init::Constant(0.0),
        learnt: false,
        averaged: false,
        layout: Layout::Plain,
    }
}

/// The name of the averaged twin of a network's state.
#[must_use]
pub fn averaged(name: &str) -> String {
    format!("{AVERAGE}.{name}")
}

/// The name of the network's own tensor that the state called `name` is the moving average of; nothing
/// where it is none.
#[must_use]
pub fn average_of(name: &str) -> Option<&str> {
    name.strip_prefix(AVERAGE).and_then(|rest| rest.strip_prefix('.'))
}

/// The name of the network's own tensor that the state called `name` is an average of; nothing where it
/// is none.
pub fn twin_of(name: &str) -> Option<&str> {
    let of = |prefix: &&str| name.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('.'));
    [AVERAGE, HISTORY].iter().find_map(of)
}

/// Whether there is a moving average of a network's tensor, where there is one at all: of the
/// generator, and of a discriminator that is a classifier.
pub(super) fn has_average(model: &Design, param: &Param) -> bool {
    model.is_semi_supervised() || param.name.starts_with("generator.")
}

/// Latents `[seeds, nz]` on the host, one row for each seed: the same whatever stands beside it.
#[must_use]
pub fn seeded_latents(seeds: &[u64], nz: usize, law: LatentLaw) -> Tensor {
    let mut z = vec![0.0; seeds.len() * nz];
    for (&seed, row) in seeds.iter().zip(z.chunks_mut(nz.max(1))) {
        law.fill(&Stream::new(seed, "latent", 0), row);
    }
    Tensor::new([seeds.len(), nz], z).expect("the data was made for the shape")
}

/// Every state of a training, in the order in which they are made: the networks' tensors, the
/// optimiser's moments, historical means, how often each was updated, the scale of losses, the averaged generator.
///
/// # Errors
/// [`crate::error::Error::Config`] where the options make no network.
pub fn params(options: &StepOptions) -> Result<Vec<Param>> {
    let StepOptions { model, method, average, scaled, .. } = options;
    let networks = model.params()?;
    let mut all = networks.clone();
    for param in networks.iter().filter(|p| p.learnt) {
        let zero = Init::Constant(0.0);
        for name in method.optimizer().moments(&param.name) {
            all.push(Param { name, init: zero, learnt: false, ..param.clone() });
        }
        if method.historical > 0.0 {
            all.push(Param { name: past(&param.name), learnt: false, ..param.clone() });
        }
    }
    all.extend(["generator", "discriminator"].map(|network| counter(updates(network))));
    if method.ada > 0.0 {
        all.push(counter(PROBABILITY.into()));
    }
    if *scaled {
        all.extend(scale::params());
    }
    if *average {
        for param in networks.iter().filter(|param| has_average(model, param)) {
            all.push(Param { name: averaged(&param.name), learnt: false, ..param.clone() });
        }
    }
    Ok(all)
}

/// The values of all states before the first step: a function of the seed.
///
/// # Errors
/// [`crate::error::Error::Config`] where the options make no network.
pub fn initial_state(options: &StepOptions, seed: u64) -> Result<Vec<(String, Tensor)>> {
    let mut state: Vec<(String, Tensor)> = Vec::new();
    for param in params(options)? {
        // Averages start at the network itself, whose numbers hang on its name.
        let name = twin_of(&param.name).unwrap_or(&param.name).into();
        let source = Param { name, ..param.clone() };
        state.push((param.name, source.initial(seed)));
    }
    let key = vec![seed as u32, (seed >> 32) as u32, 0, 0];
    state.push((KEY.into(), Tensor::with_data([4], Data::U32(key))?));
    Ok(state)
}
