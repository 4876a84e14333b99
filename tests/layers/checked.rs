//! A network against a formula in 64 bits: what it gives, and its gradients by central differences of
//! the formula.

use std::collections::BTreeMap;

use dcgan::device::State;
use dcgan::nn::{Mode, Pass, Sequential};
use dcgan::ops::samples::Tolerance;
use dcgan::tape::{Tape, Var};
use dcgan::tensor::{DType, Tensor};

use super::{call, drawn};
use crate::naive::{self, Sources};
use crate::support;

const NEAR: Tolerance = Tolerance::new(2e-5, 2e-5);

/// Holds `network`, which is called `n`, on the main input `x` and side inputs of these shapes against
/// `formula`, which gets all of these and the network's tensors by name, as they are on the device.
pub(super) fn check(
    network: &Sequential,
    mode: Mode,
    inputs: &[(&str, &[usize])],
    formula: impl Fn(&Sources) -> Vec<f64>,
) {
    let mut t = Tape::new();
    let vars: Vec<Var> =
        inputs.iter().map(|(name, shape)| t.feed(name, shape, DType::F32).unwrap()).collect();
    let mut pass = Pass::new(mode);
    for ((name, _), &var) in inputs.iter().zip(&vars).skip(1) {
        pass = pass.with(name, var);
    }
    let y = network.record(&mut t, "n", vars[0], &pass).unwrap().last();
    let shape = t.shape(y).to_vec();
    let sides: Vec<(&str, [usize; 3])> = inputs[1..]
        .iter()
        .map(|(name, shape)| match **shape {
            [_, c] => (*name, [1, 1, c]),
            [_, h, w, c] => (*name, [h, w, c]),
            _ => panic!("{shape:?}"),
        })
        .collect();
    let size = [1, 2, 3].map(|d| inputs[0].1[d]);
    let sizes = network.sizes_beside(size, &sides).unwrap();
    assert_eq!(sizes.last().unwrap()[..], shape[1..]);

    let g = t.feed("g", &shape, DType::F32).unwrap();
    let params = network.params("n");
    let mut wrt: Vec<(String, Var)> =
        inputs.iter().zip(&vars).map(|((name, _), &var)| ((*name).to_owned(), var)).collect();
    for param in params.iter().filter(|param| param.learned) {
        wrt.push((param.name.clone(), t.read(&param.name, &param.shape, DType::F32).unwrap()));
    }
    let by: Vec<Var> = wrt.iter().map(|(_, var)| *var).collect();
    let grads = t.grad_from(y, g, &by).unwrap();
    t.fetch("y", y).unwrap();
    for ((name, _), &grad) in wrt.iter().zip(&grads) {
        t.fetch(&format!("grad {name}"), grad).unwrap();
    }

    let mut feeds: BTreeMap<String, Tensor> = BTreeMap::new();
    let all = inputs.iter().copied().chain([("g", &shape[..])]);
    for (i, (name, shape)) in all.enumerate() {
        feeds.insert(name.into(), drawn(shape, 20 + i as u64));
    }
    let mut sources: Sources =
        feeds.iter().map(|(name, tensor)| (name.clone(), support::wide(tensor))).collect();
    let mut tensors = Vec::new();
    for (i, param) in params.iter().enumerate() {
        let tensor = drawn(&param.shape, 40 + i as u64);
        let positive = param.name.ends_with("var");
        let numbers = tensor.f32s().iter().map(|x| if positive { x * x + 0.5 } else { *x });
        let tensor = Tensor::new(param.shape.clone(), numbers.collect()).unwrap();
        sources.insert(param.name.clone(), support::wide(&tensor));
        tensors.push((param.name.clone(), tensor));
    }

    let wanted_y = formula(&sources);
    let along = |sources: &Sources| -> f64 {
        formula(sources).iter().zip(&sources["g"]).map(|(y, g)| y * g).sum()
    };
    let mut wanted = BTreeMap::from([("y".to_owned(), wanted_y)]);
    for (name, _) in &wrt {
        const STEP: f64 = 1e-5;
        let slope = |i: usize| {
            let at = |h: f64| {
                let mut moved = sources.clone();
                moved.get_mut(name).unwrap()[i] += h;
                along(&moved)
            };
            (at(STEP) - at(-STEP)) / (2.0 * STEP)
        };
        let slopes = (0..sources[name].len()).map(slope).collect();
        wanted.insert(format!("grad {name}"), slopes);
    }

    let exact = naive::eval(&t, &sources, &[&[y], &grads[..]].concat());
    let names = std::iter::once("y".to_owned()).chain(wrt.iter().map(|(n, _)| format!("grad {n}")));
    for (name, exact) in names.zip(exact) {
        let worst = Tolerance::new(1e-7, 1e-7).worst(&exact, &wanted[&name]);
        assert!(worst <= 1.0, "{name}: {exact:?}, not {:?}", wanted[&name]);
    }
    let feeds: Vec<(&str, &Tensor)> =
        feeds.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    for device in support::devices() {
        let mut state = State::new(&device);
        for (name, tensor) in &tensors {
            state.set(name, tensor).unwrap();
        }
        for (name, got) in call(&t, &mut state, &feeds) {
            let worst = NEAR.worst(&support::wide(&got), &wanted[&name]);
            assert!(worst <= 1.0, "{name} on {}: {worst} times too far", device.name());
        }
    }
}
