//! The states of a training: names and initial values.

use crate::augment::PROBABILITY;
use crate::error::Result;
use crate::model::names::{KEY, averaged, averaged_from, past, updates};
use crate::nn::{Init, Layout, Param};
use crate::tensor::{Data, Tensor};

use super::scale;
use super::system::System;

/// A scalar with initial value 0.
fn counter(name: String) -> Param {
    Param {
        name,
        shape: Vec::new(),
        init: Init::Constant(0.0),
        learned: false,
        averaged: false,
        layout: Layout::Plain,
    }
}

impl System {
    /// Every state of a training, in order of creation: the networks' tensors, the optimizer's
    /// moments, historical means, update counts, the loss scale, the EMA copies.
    #[must_use]
    pub fn states(&self) -> Vec<Param> {
        let networks = self.model.params();
        let mut all = networks.clone();
        for param in networks.iter().filter(|p| p.learned) {
            let zero = Init::Constant(0.0);
            for name in self.objective.optimizer().moments(&param.name) {
                all.push(Param { name, init: zero, learned: false, ..param.clone() });
            }
            if self.objective.historical > 0.0 {
                all.push(Param { name: past(&param.name), learned: false, ..param.clone() });
            }
        }
        all.extend(self.model.iter().map(|(name, _)| counter(updates(name))));
        if self.objective.ada > 0.0 {
            all.push(counter(PROBABILITY.into()));
        }
        if self.scaled {
            all.extend(scale::params());
        }
        for (name, network) in self.averages() {
            let params = network.params(name).into_iter();
            all.extend(params.map(|p| Param { name: averaged(&p.name), learned: false, ..p }));
        }
        all
    }

    /// The initial values of all states, deterministic in the seed.
    ///
    /// # Errors
    /// [`crate::error::Error::Length`] cannot occur: the key has four numbers.
    pub fn initial_state(&self, seed: u64) -> Result<Vec<(String, Tensor)>> {
        let mut state: Vec<(String, Tensor)> = Vec::new();
        for param in self.states() {
            // EMA copies start from the same initial values (seeded by the source's name).
            let name = averaged_from(&param.name).unwrap_or(&param.name).into();
            let source = Param { name, ..param.clone() };
            state.push((param.name, source.initial(seed)));
        }
        let key = vec![seed as u32, (seed >> 32) as u32, 0, 0];
        state.push((KEY.into(), Tensor::with_data([4], Data::U32(key))?));
        Ok(state)
    }
}
