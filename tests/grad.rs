//! Every gradient, and the gradient of every gradient, against central differences in 64 bits.

use std::collections::BTreeSet;

use dcgan::device::Device;
use dcgan::error::Error;
use dcgan::ops::samples::{Input, Kind, Sample, Tolerance, samples};
use dcgan::rng::Stream;
use dcgan::tape::{Tape, Var};
use dcgan::tensor::{DType, Tensor};

use super::naive::{self, Sources};
use super::support;

/// The step of the differences, for directions whose largest number is 1. Smaller, and the
/// rounding of 64-bit sums shows; larger, and third derivatives do.
const STEP: f64 = 2e-5;

/// How far differences may be from a gradient.
const DIFFERENCE: f64 = 2e-6;

/// How far a device's gradient may be from the one in 64 bits, as a part of the largest number.
const DEVICE: Tolerance = Tolerance::new(1e-4, 1e-4);

/// A random tensor that weighs what is differentiated.
fn weights(shape: &[usize], seed: u64) -> Tensor {
    Input::new(shape, Kind::Normal { mean: 0.2, scale: 1.0 }).data(seed)
}

/// A sample, its gradients and the gradients of those, on one tape.
struct Case {
    tape: Tape,
    feeds: Vec<(String, Tensor)>,
    /// The inputs that have gradients, with their feeds' names.
    inputs: Vec<(String, Var)>,
    /// `Σ r · y`.
    loss: Var,
    /// Of the loss, by input; fetched as `g0`, `g1`, …
    first: Vec<Var>,
    /// `Σ q · gradient` over all inputs.
    mixed: Var,
    /// Of that; fetched as `h0`, `h1`, …
    second: Vec<Var>,
}

impl Case {
    fn new(sample: &Sample) -> Result<Self, Error> {
        let (mut tape, inputs, y) = sample.tape()?;
        let mut feeds = sample.feeds(23);
        let float = |(i, v): (usize, Var)| (format!("x{i}"), v);
        let inputs: Vec<(String, Var)> = inputs
            .into_iter()
            .enumerate()
            .filter(|&(_, v)| tape.node(v).dtype == DType::F32)
            .map(float)
            .collect();
        let vars: Vec<Var> = inputs.iter().map(|(_, v)| *v).collect();
        let mut weigh = |tape: &mut Tape, name: String, y: Var| {
            let shape = tape.shape(y).to_vec();
            let r = tape.feed(&name, &shape, DType::F32)?;
            feeds.push((name, weights(&shape, 100 + feeds.len() as u64)));
            let product = tape.mul(y, r)?;
            tape.sum_all(product)
        };
        let loss = weigh(&mut tape, "r".into(), y)?;
        let first = tape.grad(loss, &vars)?;
        let mut mixed = tape.fill(&[], 0.0)?;
        for (i, &g) in first.iter().enumerate() {
            assert_eq!(tape.shape(g), tape.shape(vars[i]), "{sample:?}");
            let part = weigh(&mut tape, format!("q{i}"), g)?;
            mixed = tape.add(mixed, part)?;
        }
        let second = tape.grad(mixed, &vars)?;
        for (name, list) in [("g", &first), ("h", &second)] {
            for (i, &g) in list.iter().enumerate() {
                tape.fetch(&format!("{name}{i}"), g).unwrap();
            }
        }
        Ok(Self { tape, feeds, inputs, loss, first, mixed, second })
    }

    /// Holds the gradients `grads` of `scalar` against differences; says what is wrong.
    fn differences(&self, scalar: Var, grads: &[Vec<f64>]) -> Vec<String> {
        let sources = support::sources(&self.feeds);
        let at = |sources: &Sources| naive::eval(&self.tape, sources, &[scalar])[0][0];
        let mut wrong = Vec::new();
        for ((name, _), grad) in self.inputs.iter().zip(grads) {
            for (d, direction) in directions(grad.len()).into_iter().enumerate() {
                let mut moved = sources.clone();
                let mut along = |h: f64| {
                    let x = sources[name].iter().zip(&direction);
                    moved.insert(name.clone(), x.map(|(x, d)| x + h * d).collect());
                    at(&moved)
                };
                let slope = (along(STEP) - along(-STEP)) / (2.0 * STEP);
                let terms = || grad.iter().zip(&direction).map(|(g, d)| g * d);
                let size: f64 = terms().map(f64::abs).sum();
                let largest = grad.iter().fold(0.0_f64, |m, g| m.max(g.abs()));
                let rounding = 1e-8 * (1.0 + at(&sources).abs());
                let error = (terms().sum::<f64>() - slope).abs();
                let close = error <= DIFFERENCE * (size + largest) + rounding;
                if !close {
                    let sum: f64 = terms().sum();
                    wrong
                        .push(format!("{name}, direction {d}: {sum} but differences give {slope}"));
                }
            }
        }
        wrong
    }
}

/// Every axis where there are few, and random directions.
fn directions(len: usize) -> Vec<Vec<f64>> {
    let mut all: Vec<Vec<f64>> = Vec::new();
    if len <= 12 {
        all.extend((0..len).map(|i| (0..len).map(|j| f64::from(u8::from(i == j))).collect()));
    }
    for i in 0..2 {
        let mut uniform = vec![0.0; len];
        Stream::new(5, "direction", i).fill_uniform(&mut uniform);
        all.push(uniform.iter().map(|&u| 2.0 * f64::from(u) - 1.0).collect());
    }
    all
}

/// Samples whose gradients can be held against differences.
fn smooth() -> Vec<Sample> {
    samples().into_iter().filter(|s| s.smooth).collect()
}

#[test]
fn first_and_second_gradients_agree_with_differences_and_on_every_device() {
    let mut wrong = Vec::new();
    for sample in smooth() {
        let case = Case::new(&sample).unwrap();
        let sources = support::sources(&case.feeds);
        let both = [&case.first[..], &case.second[..]].concat();
        let exact = naive::eval(&case.tape, &sources, &both);
        let (first, second) = exact.split_at(case.first.len());
        for (what, scalar, grads) in [("first", case.loss, first), ("second", case.mixed, second)] {
            let errors = case.differences(scalar, grads);
            wrong.extend(errors.iter().map(|e| format!("{sample:?}, {what} gradient: {e}")));
        }
        for device in support::devices() {
            let got = support::run(&case.tape, &device, &support::fusion(true), &case.feeds);
            for (name, grads) in [("g", first), ("h", second)] {
                for (i, want) in grads.iter().enumerate() {
                    let got = support::wide(&got[&format!("{name}{i}")]);
                    let worst = DEVICE.worst(&got, want);
                    if worst > 1.0 {
                        let device = device.name();
                        wrong.push(format!("{sample:?}, {name}{i} on {device}: {worst:.1}"));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn the_gradient_checker_sees_a_wrong_gradient() {
    let sample = smooth().into_iter().find(|s| s.op == "tanh" && s.label == "[2, 3]").unwrap();
    let case = Case::new(&sample).unwrap();
    let sources = support::sources(&case.feeds);
    let right = naive::eval(&case.tape, &sources, &case.first);
    assert!(case.differences(case.loss, &right).is_empty());
    for i in 0..6 {
        let mut wrong = right.clone();
        wrong[0][i] *= 1.0 + 1e-4;
        assert!(!case.differences(case.loss, &wrong).is_empty(), "element {i}");
        wrong[0][i] = f64::NAN;
        assert!(!case.differences(case.loss, &wrong).is_empty(), "NaN at {i}");
    }
}

/// Whether a gradient flows through the sample's op to any of its inputs.
fn flows(sample: &Sample) -> bool {
    let (mut tape, ..) = sample.tape().unwrap();
    let nodes = tape.nodes().iter().enumerate();
    let of_op: Vec<Var> =
        nodes.filter(|(_, n)| n.op.name() == sample.op).map(|(i, _)| tape.var(i)).collect();
    of_op.into_iter().any(|var| {
        let (op, site) = (tape.node(var).op.clone(), tape.site(var));
        let g = tape.fill(&site.shape, 1.0).unwrap();
        let parts = op.vjp(&mut tape, &site, g, &vec![true; site.inputs.len()]);
        parts.is_ok_and(|parts| parts.iter().any(Option::is_some))
    })
}

#[test]
fn every_differentiable_op_is_checked() {
    let checked: Vec<&str> = smooth().iter().map(|s| s.op).collect();
    let differentiable: BTreeSet<&str> =
        samples().iter().filter(|s| flows(s)).map(|s| s.op).collect();
    for op in &differentiable {
        assert!(checked.contains(op), "no gradient of {op} is checked");
    }
    assert!(differentiable.contains("conv2d") && !differentiable.contains("stop"));
}

#[test]
fn what_has_no_derivative_says_so() {
    let mut tape = Tape::new();
    let bytes = tape.feed("bytes", &[3], DType::U8).unwrap();
    let y = tape.from_u8(bytes).unwrap();
    let sum = tape.sum_all(y).unwrap();
    match tape.grad(sum, &[bytes]) {
        Err(Error::NotDifferentiable { op: "from_u8" }) => {}
        other => panic!("{other:?}"),
    }
    let pair = tape.feed("pair", &[2], DType::F32).unwrap();
    match tape.grad(pair, &[pair]) {
        Err(Error::Shape { op: "grad", .. }) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn beyond_its_clamp_exp_is_flat() {
    let mut tape = Tape::new();
    let x = tape.feed("x", &[5], DType::F32).unwrap();
    let y = tape.exp(x).unwrap();
    let sum = tape.sum_all(y).unwrap();
    let g = tape.grad(sum, &[x]).unwrap()[0];
    tape.fetch("g", g).unwrap();
    let feeds = [("x".into(), Tensor::new([5], vec![-100.0, -1.0, 0.0, 1.0, 100.0]).unwrap())];
    for device in support::devices() {
        let got = support::run(&tape, &device, &support::fusion(true), &feeds);
        let got = support::wide(&got["g"]);
        let e = std::f64::consts::E;
        for (got, want) in got.iter().zip([0.0, 1.0 / e, 1.0, e, 0.0]) {
            assert!((got - want).abs() <= 1e-5 * want, "{got}, not {want}, on {}", device.name());
        }
    }
}

/// How often `op` stands on the tape from node `from` on.
fn count(tape: &Tape, from: usize, op: &str) -> usize {
    tape.nodes()[from..].iter().filter(|n| n.op.name() == op).count()
}

#[test]
fn a_gradient_visits_only_what_lies_between() {
    // "Generator": tanh(z · g); "discriminator": sigmoid(fake · d).
    let mut tape = Tape::new();
    let z = tape.feed("z", &[4, 3], DType::F32).unwrap();
    let g = tape.read("g", &[3, 5], DType::F32).unwrap();
    let d = tape.read("d", &[5, 1], DType::F32).unwrap();
    let made = tape.matmul(z, g).unwrap();
    let fake = tape.tanh(made).unwrap();
    let score = tape.matmul(fake, d).unwrap();
    let chance = tape.softplus(score).unwrap();
    let loss = tape.mean_all(chance).unwrap();

    // With respect to d: one product (the weights' gradient); nothing of tanh, none for `fake`.
    let before = tape.nodes().len();
    tape.grad(loss, &[d]).unwrap();
    assert_eq!(count(&tape, before, "matmul"), 1);
    assert_eq!(count(&tape, before, "sigmoid"), 1);
    let after = tape.nodes().len();
    assert!(tape.nodes()[before..].iter().all(|n| !n.inputs.contains(&made)));

    // With respect to g: a product for `fake` and one for g; none for d, none for z.
    let of_g = tape.grad(loss, &[g]).unwrap()[0];
    assert_eq!(count(&tape, after, "matmul"), 2);
    assert_eq!(tape.shape(of_g), [3, 5]);

    // What the loss does not depend on has a gradient of zeros, at no cost.
    let other = tape.feed("other", &[2, 2], DType::F32).unwrap();
    let before = tape.nodes().len();
    let zeros = tape.grad(loss, &[other]).unwrap()[0];
    assert_eq!((tape.shape(zeros), tape.nodes()[zeros.index()].op.name()), (&[2, 2][..], "fill"));
    assert!(tape.nodes().len() - before <= 2);
}

#[test]
fn gradients_of_a_value_used_twice_add_up_in_either_order() {
    for swapped in [false, true] {
        let mut tape = Tape::new();
        let x = tape.feed("x", &[2, 3], DType::F32).unwrap();
        // Upsampled by two: each number four times, so that its gradient is 4.
        let column = tape.reshape(x, &[2, 1, 3, 1]).unwrap();
        let large = tape.broadcast_to(column, &[2, 2, 3, 2]).unwrap();
        let a = tape.sum_all(large).unwrap();
        let triple = tape.affine(x, 3.0, 0.0).unwrap();
        let b = tape.sum_all(triple).unwrap();
        let y = if swapped { tape.add(b, a) } else { tape.add(a, b) }.unwrap();
        let g = tape.grad(y, &[x]).unwrap()[0];
        tape.fetch("g", g).unwrap();
        let feeds = [("x".to_string(), Tensor::full([2, 3], 0.5))];
        for device in support::devices() {
            let got = support::run(&tape, &device, &support::fusion(true), &feeds);
            assert_eq!(got["g"].f32s(), [7.0; 6], "swapped: {swapped}");
        }
    }
}

#[test]
fn the_gradient_by_an_inner_value_stops_there() {
    let mut tape = Tape::new();
    let x = tape.feed("x", &[3], DType::F32).unwrap();
    let inner = tape.affine(x, 2.0, 0.0).unwrap();
    let y = tape.mul(inner, inner).unwrap();
    let loss = tape.sum_all(y).unwrap();
    let grads = tape.grad(loss, &[inner, x]).unwrap();
    tape.fetch("inner", grads[0]).unwrap();
    tape.fetch("x", grads[1]).unwrap();
    let feeds = [("x".to_string(), Tensor::new([3], vec![1.0, -2.0, 0.5]).unwrap())];
    let got = support::run(&tape, &Device::Cpu, &support::fusion(true), &feeds);
    assert_eq!(got["inner"].f32s(), [4.0, -8.0, 2.0]);
    assert_eq!(got["x"].f32s(), [8.0, -16.0, 4.0]);
}

#[test]
fn equally_large_numbers_of_a_window_share_its_gradient() {
    let mut tape = Tape::new();
    let x = tape.feed("x", &[1, 2, 4, 1], DType::F32).unwrap();
    let y = tape.max_pool(x, [1, 2]).unwrap();
    let sum = tape.sum_all(y).unwrap();
    let g = tape.grad(sum, &[x]).unwrap()[0];
    tape.fetch("g", g).unwrap();
    let numbers = vec![1.0, 3.0, 0.0, 0.0, 3.0, 2.0, 0.0, 0.0];
    let feeds = [("x".into(), Tensor::new([1, 2, 4, 1], numbers).unwrap())];
    for device in support::devices() {
        let got = support::run(&tape, &device, &support::fusion(true), &feeds);
        assert_eq!(got["g"].f32s(), [0.0, 0.5, 0.25, 0.25, 0.5, 0.0, 0.25, 0.25]);
    }
    // Windows that overlap have no gradient here.
    let x = tape.feed("odd", &[1, 3, 3, 1], DType::F32).unwrap();
    let y = tape.max_pool(x, [2, 2]).unwrap();
    let sum = tape.sum_all(y).unwrap();
    match tape.grad(sum, &[x]) {
        Err(Error::NotDifferentiable { op: "max_pool" }) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_new_value_of_a_state_is_a_leaf() {
    let mut tape = Tape::new();
    let w = tape.read("w", &[3], DType::F32).unwrap();
    let new = tape.affine(w, 2.0, 0.0).unwrap();
    tape.assign("w", new).unwrap();
    let read = tape.read("w", &[3], DType::F32).unwrap();
    let square = tape.mul(read, read).unwrap();
    let loss = tape.sum_all(square).unwrap();
    let grads = tape.grad(loss, &[read, w]).unwrap();
    tape.fetch("read", grads[0]).unwrap();
    tape.fetch("w", grads[1]).unwrap();
    let sources = [("w".to_string(), vec![1.0, -2.0, 0.5])].into();
    let (got, after) = naive::step(&tape, &sources);
    assert_eq!((&got["read"][..], &got["w"][..]), (&[4.0, -8.0, 2.0][..], &[0.0; 3][..]));
    assert_eq!(after["w"], [2.0, -4.0, 1.0]);
}
