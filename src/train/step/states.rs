//! The states of a training: their names, and their values before the first step.

use crate::augment::PROBABILITY;
use crate::error::Result;
use crate::model::names::{KEY, averaged, past, twin_of, updates};
use crate::models::Design;
use crate::nn::{Init, Layout, Param};
use crate::tensor::{Data, Tensor};
use crate::train::scale;

use super::StepOptions;

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

/// Whether there is a moving average of a network's tensor, where there is one at all: of the
/// generator, and of a discriminator that is a classifier.
pub(super) fn has_average(model: &Design, param: &Param) -> bool {
    model.is_semi_supervised() || param.name.starts_with("generator.")
}

/// Every state of a training, in the order in which they are made: the networks' tensors, the
/// optimiser's moments, historical means, how often each was updated, the scale of losses, the averaged generator.
///
/// # Errors
/// [`crate::error::Error::Flag`] where the options make no network.
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
/// [`crate::error::Error::Flag`] where the options make no network.
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
