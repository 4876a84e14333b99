//! An interpreter of tapes in 64 bits: each op by its reference, which shares no code with its CPU kernel and its
//! kernels.

use std::collections::BTreeMap;

use dcgan::tape::{Tape, Var};

/// Values of the feeds and of the states before the step, by name.
pub(crate) type Sources = BTreeMap<String, Vec<f64>>;

/// The values of `targets`.
pub(crate) fn eval(tape: &Tape, sources: &Sources, targets: &[Var]) -> Vec<Vec<f64>> {
    let nodes = tape.nodes();
    let mut needed = vec![false; nodes.len()];
    for target in targets {
        needed[target.index()] = true;
    }
    for i in (0..nodes.len()).rev() {
        if needed[i] {
            for input in &nodes[i].inputs {
                needed[input.index()] = true;
            }
        }
    }
    let mut values: Vec<Option<Vec<f64>>> = vec![None; nodes.len()];
    for (name, var) in tape.feeds() {
        values[var.index()] = sources.get(name).cloned();
    }
    for (name, used) in tape.states() {
        values[used.before.index()] = sources.get(name).cloned();
    }
    for i in (0..nodes.len()).filter(|&i| needed[i]) {
        if values[i].is_some() {
            continue;
        }
        let node = &nodes[i];
        let inputs: Vec<&[f64]> =
            node.inputs.iter().map(|v| values[v.index()].as_deref().unwrap()).collect();
        let value = node.op.reference(&tape.site(tape.var(i)), &inputs);
        assert_eq!(value.len(), node.shape.iter().product::<usize>(), "{}", node.op.name());
        values[i] = Some(value);
    }
    targets.iter().map(|v| values[v.index()].clone().unwrap()).collect()
}

/// What a program with these states and feeds must give: the fetches by name, and the states after
/// the step.
pub(crate) fn step(tape: &Tape, sources: &Sources) -> (Sources, Sources) {
    let fetches: Vec<(String, Var)> = tape.fetches().iter().map(|(n, &v)| (n.clone(), v)).collect();
    let states: Vec<(String, Var)> =
        tape.states().iter().map(|(n, s)| (n.clone(), s.after)).collect();
    let vars: Vec<Var> = fetches.iter().chain(&states).map(|(_, v)| *v).collect();
    let values = eval(tape, sources, &vars);
    let (fetched, after) = values.split_at(fetches.len());
    let named = |names: &[(String, Var)], values: &[Vec<f64>]| -> Sources {
        names.iter().map(|(n, _)| n.clone()).zip(values.iter().cloned()).collect()
    };
    (named(&fetches, fetched), named(&states, after))
}
