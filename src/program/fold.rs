//! Values that are the same in every run, computed once.
//!
//! ```text
//! x ──────────────┐                         x ─────────────┐
//! gamma ──┐       ▼                                        ▼
//! var ─ √ ÷ ─▶ normalize ─▶ y    becomes    folded.0 ─▶ normalize ─▶ y
//! ```
//!
//! A trained generator computes the scale of each batch norm from its running variance, spectral norm
//! divides weights by their singular value, and so on: nothing of that depends on the latent. A program
//! that is written to a file has the results instead.

use std::collections::BTreeMap;

use crate::device::State;
use crate::error::Result;
use crate::tape::{Tape, Var};
use crate::tensor::Tensor;

use super::{Options, Program};

/// `tape` with all that depends on states alone computed by the device of `state`, and the states that
/// the new tape reads. Values that would be larger than what they are computed from are left to be computed.
/// The tape must assign no states.
///
/// # Errors
/// [`crate::error::Error::Tensor`] if `state` lacks one of the tape's states;
/// [`crate::error::Error::Memory`] if they do not fit.
pub fn fold(tape: &Tape, state: &mut State) -> Result<(Tape, BTreeMap<String, Tensor>)> {
    let constant = constants(tape);
    // What is read of them by the rest of the tape.
    let mut read = vec![false; constant.len()];
    for (node, _) in tape.nodes().iter().zip(&constant).filter(|(_, constant)| !**constant) {
        node.inputs.iter().for_each(|input| read[input.index()] = true);
    }
    tape.fetches().values().for_each(|var| read[var.index()] = true);
    let computes = |at: usize| constant[at] && !tape.nodes()[at].inputs.is_empty();

    let mut before = Copy::of(tape);
    let mut names = BTreeMap::new();
    for at in (0..constant.len()).filter(|&at| constant[at]) {
        let var = before.node(at)?;
        if read[at] && computes(at) {
            let name = format!("folded.{}", names.len());
            before.to.fetch(&name, var)?;
            names.insert(at, name);
        }
    }
    let mut values = match names.is_empty() {
        true => BTreeMap::new(),
        false => Program::compile(&before.to, state, &Options::default())?.call(state, &[])?,
    };

    let mut after = Copy::of(tape);
    for at in (0..constant.len()).filter(|&at| !constant[at] || read[at]) {
        match names.get(&at) {
            Some(name) => after.source(at, false, name)?,
            None => after.node(at)?,
        };
    }
    for (name, var) in tape.fetches() {
        let value = after.vars[&var.index()];
        after.to.fetch(name, value)?;
    }
    for name in after.to.states().keys() {
        if !values.contains_key(name) {
            values.insert(name.clone(), state.get(name)?);
        }
    }
    Ok((after.to, values))
}

/// Which nodes have the same value in every run.
fn constants(tape: &Tape) -> Vec<bool> {
    let len = |var: Var| tape.shape(var).iter().product::<usize>();
    let is_fed = |var| tape.feeds().values().any(|&feed| feed == var);
    // Of each node, the largest number of values that it is computed from; none if it is not constant. A
    // node without inputs that is not a state has a single value, wherever it is read.
    let mut stored: Vec<Option<usize>> = Vec::with_capacity(tape.nodes().len());
    for (at, node) in tape.nodes().iter().enumerate() {
        let var = tape.var(at);
        stored.push(match node.inputs.as_slice() {
            [] if is_fed(var) => None,
            [] if tape.states().values().any(|used| used.before == var) => Some(len(var)),
            [] => Some(0),
            inputs => {
                let inputs: Option<Vec<usize>> =
                    inputs.iter().map(|input| stored[input.index()]).collect();
                let largest = inputs.and_then(|inputs| inputs.into_iter().max());
                largest.filter(|&largest| len(var) <= largest)
            }
        });
    }
    stored.iter().map(Option::is_some).collect()
}

/// Nodes of a tape on another one.
struct Copy<'a> {
    from: &'a Tape,
    to: Tape,
    /// Of each node that was copied, the copy.
    vars: BTreeMap<usize, Var>,
    /// The names of feeds (true) and states by their nodes.
    sources: BTreeMap<usize, (bool, &'a str)>,
}

impl<'a> Copy<'a> {
    fn of(from: &'a Tape) -> Self {
        let feeds = from.feeds().iter().map(|(name, var)| (var.index(), (true, name.as_str())));
        let states = from.states().iter();
        let states = states.map(|(name, used)| (used.before.index(), (false, name.as_str())));
        let sources = feeds.chain(states).collect();
        Self { from, to: Tape::new(), vars: BTreeMap::new(), sources }
    }

    /// Copies a node whose inputs have been copied.
    fn node(&mut self, at: usize) -> Result<Var> {
        if let Some(&(is_feed, name)) = self.sources.get(&at) {
            return self.source(at, is_feed, name);
        }
        let node = &self.from.nodes()[at];
        let inputs: Vec<Var> = node.inputs.iter().map(|input| self.vars[&input.index()]).collect();
        let var = self.to.record_shared(&node.op, &inputs)?;
        self.vars.insert(at, var);
        Ok(var)
    }

    /// A feed or a state in place of a node.
    fn source(&mut self, at: usize, is_feed: bool, name: &str) -> Result<Var> {
        let node = &self.from.nodes()[at];
        let var = match is_feed {
            true => self.to.feed(name, &node.shape, node.dtype)?,
            false => self.to.read(name, &node.shape, node.dtype)?,
        };
        self.vars.insert(at, var);
        Ok(var)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use crate::device::Device;
    use crate::tensor::DType;

    #[test]
    fn what_depends_on_states_alone_is_computed_once() {
        let mut tape = Tape::new();
        let x = tape.feed("x", &[5, 4], DType::F32).unwrap();
        let [mean, var, gamma, beta] =
            ["mean", "var", "gamma", "beta"].map(|name| tape.read(name, &[4], DType::F32).unwrap());
        let y = tape.batch_norm(x, [mean, var], [gamma, beta], 1e-5).unwrap();
        // Larger than the state it comes from: it stays.
        let rows = tape.broadcast_to(beta, &[5, 4]).unwrap();
        let rows = tape.softmax(rows).unwrap();
        let y = tape.add(y, rows).unwrap();
        tape.fetch("y", y).unwrap();
        let mut state = State::new(&Device::Cpu);
        for (at, name) in ["mean", "var", "gamma", "beta"].into_iter().enumerate() {
            let values = (0..4).map(|i| (at + i) as f32 * 0.3 + 0.2).collect();
            state.set(name, &Tensor::new([4], values).unwrap()).unwrap();
        }
        let (folded, values) = fold(&tape, &mut state).unwrap();
        let names: Vec<&str> = values.keys().map(String::as_str).collect();
        assert_eq!(names, ["beta", "folded.0", "mean"]);
        assert_eq!(values["beta"], state.get("beta").unwrap());
        let square = |tape: &Tape| tape.nodes().iter().filter(|n| n.op.name() == "sqrt").count();
        assert_eq!((square(&tape), square(&folded)), (1, 0));

        let x = Tensor::new([5, 4], (0..20).map(|i| (i as f32 * 0.7).sin()).collect()).unwrap();
        let run = |tape: &Tape, state: &mut State| {
            let mut program = Program::compile(tape, state, &Options::default()).unwrap();
            program.call(state, &[("x", &x)]).unwrap().remove("y").unwrap()
        };
        let expected = run(&tape, &mut state);
        let mut own = State::new(&Device::Cpu);
        values.iter().for_each(|(name, value)| own.set(name, value).unwrap());
        assert_eq!(run(&folded, &mut own), expected);
    }
}
