//! The layers of the GAN family, alone and in critics under a gradient penalty
//! (`assets/reference/parts.py`): described as model files describe them, with their tensors under
//! PyTorch's names and in PyTorch's order.

use std::collections::BTreeMap;

use dcgan::device::State;
use dcgan::nn::{Mode, Param, Pass, Sequential};
use dcgan::ops::samples::Tolerance;
use dcgan::program::{Options, Program};
use dcgan::tape::{Tape, Var};
use dcgan::tensor::{DType, Tensor};
use dcgan::testing;

use super::{Case, Reference, near, scalar};
use crate::support;

const CLOSE: Tolerance = Tolerance::new(3e-5, 3e-5);

impl Case<'_> {
    /// Its network, which is called `n`, and the network's tensors.
    fn network(&self) -> (Sequential, Vec<Param>) {
        let network: Sequential = serde_json::from_value(self.about["layers"].clone())
            .unwrap_or_else(|e| panic!("{}: {e}", self.name));
        let json = serde_json::to_value(&network).unwrap();
        assert_eq!(serde_json::from_value::<Sequential>(json).unwrap(), network, "{}", self.name);
        let params = network.params("n");
        // As many tensors as PyTorch has.
        let before = format!("{}/before.", self.name);
        let count = self.file.tensors.keys().filter(|key| key.starts_with(&before)).count();
        assert_eq!(count, params.len(), "{}: {params:?}", self.name);
        (network, params)
    }

    /// The tensor `kind.name` of the file as it is on the device.
    fn of(&self, kind: &str, param: &Param) -> Tensor {
        let name = param.name.strip_prefix("n.").unwrap();
        let tensor = self.tensor(&format!("{kind}.{name}"));
        param.layout.from_file(name, &tensor, &param.shape).unwrap()
    }

    /// The labels as a feed.
    fn labels(&self) -> Option<Tensor> {
        let labels = self.about.get("labels")?.as_array().unwrap();
        let labels: Vec<u32> = labels.iter().map(|l| l.as_u64().unwrap() as u32).collect();
        Some(Tensor::one_hot(&labels, self.about["classes"].as_u64().unwrap() as usize).unwrap())
    }

    /// Runs a tape from the states before, on every device, and holds its fetches against `wanted`
    /// and its states against those after.
    fn run(&self, tape: &Tape, feeds: &[(&str, &Tensor)], wanted: &BTreeMap<String, Tensor>) {
        let (_, params) = self.network();
        for device in support::devices() {
            let mut state = State::new(&device);
            for param in &params {
                state.set(&param.name, &self.of("before", param)).unwrap();
            }
            let mut program = Program::compile(tape, &state, &Options::default()).unwrap();
            let got = program.call(&mut state, feeds).unwrap();
            assert_eq!(got.len(), wanted.len());
            let largest =
                |tensor: &Tensor| tensor.f32s().iter().fold(0.0_f32, |m, x| m.max(x.abs()));
            let scale = wanted.values().map(largest).fold(0.0, f32::max);
            for (name, want) in wanted {
                let what = format!("{}/{name}", self.name);
                if largest(want) < 1e-10 * scale {
                    // PyTorch's float64 has rounding alone there: a bias in front of a norm.
                    let found = largest(&got[name]);
                    assert!(found < 1e-5 * scale, "{what} on {}: {found}", device.name());
                } else {
                    near(&what, &device, &got[name], want, CLOSE);
                }
            }
            for param in &params {
                let name = param.name.strip_prefix("n.").unwrap();
                if self.file.tensors.contains_key(&format!("{}/after.{name}", self.name)) {
                    let (got, want) = (state.get(&param.name).unwrap(), self.of("after", param));
                    near(&format!("{}/{name}", self.name), &device, &got, &want, CLOSE);
                }
            }
        }
    }
}

/// The learned tensors and what they are called on a tape, behind `x`.
fn by(t: &mut Tape, x: Var, params: &[Param]) -> Vec<(String, Var, Option<Param>)> {
    let learned = params.iter().filter(|p| p.learned).map(|param| {
        let name = param.name.strip_prefix("n.").unwrap();
        let var = t.read(&param.name, &param.shape, DType::F32).unwrap();
        (format!("grad.{name}"), var, Some(param.clone()))
    });
    std::iter::once(("grad.x".to_owned(), x, None)).chain(learned).collect()
}

/// Fetches the gradients `grads` of `by`; what they should be goes into `wanted`.
fn fetch_grads(
    t: &mut Tape,
    case: &Case<'_>,
    by: &[(String, Var, Option<Param>)],
    grads: Vec<Var>,
    wanted: &mut BTreeMap<String, Tensor>,
) {
    for ((name, var, param), grad) in by.iter().zip(grads) {
        assert_eq!(t.shape(*var), t.shape(grad));
        t.fetch(name, grad).unwrap();
        let want = match param {
            Some(param) => case.of("grad", param),
            None => case.tensor(name),
        };
        wanted.insert(name.clone(), want);
    }
}

#[test]
fn layers_of_the_family_as_pytorch() {
    for case in Reference::load("parts").cases("single") {
        let (network, params) = case.network();
        let (x, g, labels) = (case.tensor("x"), case.tensor("g"), case.labels());
        let size = [1, 2, 3].map(|d| x.shape()[d]);
        let sizes = network.sizes(size).unwrap_or_else(|e| panic!("{}: {e}", case.name));
        assert_eq!(sizes.last().unwrap()[..], g.shape()[1..], "{}", case.name);

        let mut t = Tape::new();
        let vx = t.feed("x", x.shape(), DType::F32).unwrap();
        let vg = t.feed("g", g.shape(), DType::F32).unwrap();
        let labels_fed = labels.as_ref().map(|l| t.feed("labels", l.shape(), DType::F32).unwrap());
        let by = by(&mut t, vx, &params);
        let training = case.about["training"].as_bool().unwrap();
        let mode = if training { Mode::Train } else { Mode::Eval };
        let pass = Pass::new(mode).labels(labels_fed);
        let y = network.record(&mut t, "n", vx, &pass).unwrap().last();
        t.fetch("y", y).unwrap();
        let mut wanted = BTreeMap::from([("y".to_owned(), case.tensor("y"))]);
        let vars: Vec<Var> = by.iter().map(|(_, var, _)| *var).collect();
        let grads = t.grad_from(y, vg, &vars).unwrap();
        fetch_grads(&mut t, &case, &by, grads, &mut wanted);
        let mut feeds = vec![("x", &x), ("g", &g)];
        feeds.extend(labels.as_ref().map(|l| ("labels", l)));
        case.run(&t, &feeds, &wanted);
    }
}

#[test]
fn power_iterations_as_pytorch() {
    for case in Reference::load("parts").cases("power") {
        let (network, params) = case.network();
        let x = case.tensor("x");
        let mut t = Tape::new();
        let vx = t.feed("x", x.shape(), DType::F32).unwrap();
        network.power_iteration(&mut t, "n").unwrap();
        let y = network.record(&mut t, "n", vx, &Pass::new(Mode::Train)).unwrap().last();
        t.fetch("y", y).unwrap();
        let sigmas = testing::sigmas(&network, &mut t, "n").unwrap();
        let [(scope, sigma)] = &sigmas[..] else { panic!("{sigmas:?}") };
        assert_eq!(scope, "n.main.0");
        t.fetch("sigma", *sigma).unwrap();
        let row = |name: &str, i: usize| {
            let all = case.tensor(name);
            let shape = all.shape()[1..].to_vec();
            let len: usize = shape.iter().product();
            Tensor::new(shape, all.f32s()[i * len..][..len].to_vec()).unwrap()
        };
        let find = |own: &str| params.iter().find(|p| p.name.ends_with(own)).unwrap();
        for device in support::devices() {
            let mut state = State::new(&device);
            for param in &params {
                state.set(&param.name, &case.of("before", param)).unwrap();
            }
            let mut program = Program::compile(&t, &state, &Options::default()).unwrap();
            for i in 0..4 {
                let ours = |own: &str, name: &str| {
                    let param = find(own);
                    param.layout.from_file(name, &row(name, i), &param.shape).unwrap()
                };
                state.set("n.main.0.weight_orig", &ours("weight_orig", "weight")).unwrap();
                let mut got = program.call(&mut state, &[("x", &x)]).unwrap();
                for (name, own) in [("u", "weight_u"), ("v", "weight_v")] {
                    got.insert(name.into(), state.get(&format!("n.main.0.{own}")).unwrap());
                }
                let wanted = [
                    ("u", ours("weight_u", "u")),
                    ("v", ours("weight_v", "v")),
                    ("sigma", row("sigma", i)),
                    ("y", row("y", i)),
                ];
                for (name, want) in wanted {
                    near(&format!("{}/{name} {i}", case.name), &device, &got[name], &want, CLOSE);
                }
            }
        }
    }
}

#[test]
fn penalties_of_critics_as_pytorch() {
    for case in Reference::load("parts").cases("penalty") {
        let (network, params) = case.network();
        let x = case.tensor("x");
        let mut t = Tape::new();
        let vx = t.feed("x", x.shape(), DType::F32).unwrap();
        let by = by(&mut t, vx, &params);
        let scores = network.record(&mut t, "n", vx, &Pass::new(Mode::Eval)).unwrap().last();
        let sum = t.sum_all(scores).unwrap();
        let gx = t.grad(sum, &[vx]).unwrap()[0];
        let square = t.mul(gx, gx).unwrap();
        let lengths = t.sum(square, &[1, 2, 3]).unwrap();
        let norms = t.sqrt(lengths).unwrap();
        let off = t.affine(norms, 1.0, -1.0).unwrap();
        let square = t.mul(off, off).unwrap();
        let mean = t.mean_all(square).unwrap();
        let penalty = t.affine(mean, 10.0, 0.0).unwrap();
        let scores = t.reshape(scores, &[x.shape()[0]]).unwrap();
        let mut wanted = BTreeMap::new();
        for (name, var, want) in [
            ("scores", scores, case.tensor("scores")),
            ("norms", norms, case.tensor("norms")),
            ("penalty", penalty, scalar(case.number("penalty"))),
        ] {
            t.fetch(name, var).unwrap();
            wanted.insert(name.to_owned(), want);
        }
        let vars: Vec<Var> = by.iter().map(|(_, var, _)| *var).collect();
        let grads = t.grad(penalty, &vars).unwrap();
        fetch_grads(&mut t, &case, &by, grads, &mut wanted);
        case.run(&t, &[("x", &x)], &wanted);
    }
}
