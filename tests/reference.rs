//! Layers, losses, optimizers and penalties against vectors that PyTorch made in float64
//! (`assets/reference/make_reference.py` says how).

use std::collections::BTreeMap;

use dcgan::device::{Device, State};
use dcgan::nn::{Layer, Layout, Mode, Pass, Sequential};
use dcgan::objectives::bce_with_logits;
use dcgan::ops::conv::ConvSpec;
use dcgan::ops::samples::Tolerance;
use dcgan::optim::{Adam, Sgd, moving_average};
use dcgan::program::{Options, Program};
use dcgan::tape::{Tape, Var};
use dcgan::tensor::{DType, Tensor};
use serde_json::Value;

use super::support;

mod augment;
mod objectives;
mod parts;
mod penalties;

/// How near results must be that are a few roundings away from PyTorch's.
const NEAR: Tolerance = Tolerance::new(5e-6, 5e-6);

/// A reference file with its description.
struct Reference {
    tensors: BTreeMap<String, Tensor>,
    about: Value,
}

impl Reference {
    fn load(name: &str) -> Self {
        let (tensors, about) = support::reference(name);
        Self { tensors, about }
    }

    /// The cases whose names start with `family` and a slash.
    fn cases(&self, family: &str) -> Vec<Case<'_>> {
        let cases = self.about["cases"].as_object().unwrap().iter();
        let found: Vec<Case<'_>> = cases
            .filter(|(name, _)| name.split('/').next() == Some(family))
            .map(|(name, about)| Case { file: self, name, about })
            .collect();
        assert!(!found.is_empty(), "no case of {family}");
        found
    }
}

/// One case: its tensors and settings.
struct Case<'a> {
    file: &'a Reference,
    name: &'a str,
    about: &'a Value,
}

impl Case<'_> {
    fn tensor(&self, name: &str) -> Tensor {
        let full = format!("{}/{name}", self.name);
        self.file.tensors.get(&full).unwrap_or_else(|| panic!("{full}")).clone()
    }

    /// A convolution's weights, from PyTorch's `[small, large, kh, kw]`.
    fn weights(&self, name: &str) -> Tensor {
        let tensor = self.tensor(name);
        let [s, l, kh, kw] = *tensor.shape() else { panic!("{name}") };
        let mut ours = vec![0.0; tensor.len()];
        for (i, x) in tensor.f32s().iter().enumerate() {
            let (s_at, l_at, y, x_at) = (i / (l * kh * kw), i / (kh * kw) % l, i / kw % kh, i % kw);
            ours[((y * kw + x_at) * l + l_at) * s + s_at] = *x;
        }
        Tensor::new([kh, kw, l, s], ours).unwrap()
    }

    fn number(&self, key: &str) -> f64 {
        self.about[key].as_f64().unwrap_or_else(|| panic!("{}: {key}", self.name))
    }

    fn pair(&self, key: &str) -> [usize; 2] {
        [0, 1].map(|i| self.about[key][i].as_u64().unwrap() as usize)
    }

    fn text(&self, key: &str) -> &str {
        self.about[key].as_str().unwrap()
    }

    /// Runs a tape on every device and holds its fetches against `wanted`.
    fn check(
        &self,
        tolerance: Tolerance,
        feeds: &[(&str, Tensor)],
        wanted: &[(&str, Tensor)],
        record: impl Fn(&mut Tape, &[Var]) -> Vec<Var>,
    ) {
        let mut tape = Tape::new();
        let inputs: Vec<Var> = feeds
            .iter()
            .map(|(name, tensor)| tape.feed(name, tensor.shape(), DType::F32).unwrap())
            .collect();
        let outputs = record(&mut tape, &inputs);
        assert_eq!(outputs.len(), wanted.len());
        for ((name, want), output) in wanted.iter().zip(outputs) {
            assert_eq!(tape.shape(output), want.shape(), "{}/{name}", self.name);
            tape.fetch(name, output).unwrap();
        }
        let feeds: Vec<(String, Tensor)> =
            feeds.iter().map(|(name, tensor)| ((*name).into(), tensor.clone())).collect();
        for device in support::devices() {
            let got = support::run(&tape, &device, &Options::default(), &feeds);
            for (name, want) in wanted {
                near(&format!("{}/{name}", self.name), &device, &got[*name], want, tolerance);
            }
        }
    }
}

fn near(what: &str, device: &Device, got: &Tensor, want: &Tensor, tolerance: Tolerance) {
    let worst = tolerance.worst(&support::wide(got), &support::wide(want));
    let device = device.name();
    assert!(
        worst <= 1.0,
        "{what} on {device}: {worst:.2} times what is allowed: {got:?}, not {want:?}"
    );
}

/// A scalar for comparison.
fn scalar(value: f64) -> Tensor {
    Tensor::full([], value as f32)
}

#[test]
fn convolutions_as_pytorch() {
    let file = Reference::load("layers");
    for case in [file.cases("conv2d"), file.cases("conv_transpose2d")].concat_all() {
        let up = case.name.starts_with("conv_transpose2d");
        let side = |key: &str| [1, 2].map(|i| case.about[key][i].as_u64().unwrap() as usize);
        let (kernel, stride, pad) = (case.pair("kernel"), case.pair("stride"), case.pair("pad"));
        let spec = if up {
            ConvSpec::up(side("x"), side("y"), kernel, stride, pad).unwrap()
        } else {
            ConvSpec::down(side("x"), kernel, stride, pad).unwrap()
        };
        let tensor = |name: &'static str| (name, case.tensor(name));
        case.check(
            NEAR,
            &[tensor("x"), ("w", case.weights("w")), tensor("g")],
            &[tensor("y"), tensor("gx"), ("gw", case.weights("gw"))],
            |t, v| {
                let y = if up {
                    t.conv_transpose2d(v[0], v[1], spec).unwrap()
                } else {
                    t.conv2d(v[0], v[1], spec).unwrap()
                };
                let grads = t.grad_from(y, v[2], &v[..2]).unwrap();
                vec![y, grads[0], grads[1]]
            },
        );
    }
}

/// Joins lists of cases, which cannot be cloned.
trait ConcatAll<T> {
    fn concat_all(self) -> Vec<T>;
}

impl<T, const N: usize> ConcatAll<T> for [Vec<T>; N] {
    fn concat_all(self) -> Vec<T> {
        self.into_iter().flatten().collect()
    }
}

#[test]
fn linear_as_pytorch() {
    for case in Reference::load("layers").cases("linear") {
        let tensor = |name: &'static str| (name, case.tensor(name));
        case.check(
            NEAR,
            &["x", "w", "b", "g"].map(tensor),
            &["y", "gx", "gw", "gb"].map(tensor),
            |t, v| {
                let product = t.matmul_t(v[0], v[1], false, true).unwrap();
                let y = t.add(product, v[2]).unwrap();
                let grads = t.grad_from(y, v[3], &v[..3]).unwrap();
                [vec![y], grads].concat()
            },
        );
    }
}

#[test]
fn batch_norm_as_pytorch() {
    let file = Reference::load("layers");
    for case in file.cases("batch_norm") {
        let training = case.about["training"].as_bool().unwrap();
        let mode = if training { Mode::Train } else { Mode::Eval };
        let (x, g) = (case.tensor("x"), case.tensor("g"));
        let channels = x.shape()[3];
        let net = Sequential { layers: vec![Layer::batch_norm(channels)] };
        let mut tape = Tape::new();
        let [vx, vg] = ["x", "g"].map(|name| tape.feed(name, x.shape(), DType::F32).unwrap());
        let mut read = |name| tape.read(&format!("n.main.0.{name}"), &[channels], DType::F32);
        let (gamma, beta) = (read("weight").unwrap(), read("bias").unwrap());
        let y = net.record(&mut tape, "n", vx, &Pass::new(mode)).unwrap().last();
        let grads = tape.grad_from(y, vg, &[vx, gamma, beta]).unwrap();
        for (name, value) in [("y", y), ("gx", grads[0]), ("ggamma", grads[1]), ("gbeta", grads[2])]
        {
            tape.fetch(name, value).unwrap();
        }
        for device in support::devices() {
            let mut state = State::new(&device);
            for (ours, theirs) in [
                ("weight", "gamma"),
                ("bias", "beta"),
                ("running_mean", "running_mean"),
                ("running_var", "running_var"),
            ] {
                state.set(&format!("n.main.0.{ours}"), &case.tensor(theirs)).unwrap();
            }
            let mut program = Program::compile(&tape, &state, &Options::default()).unwrap();
            let mut got = program.call(&mut state, &[("x", &x), ("g", &g)]).unwrap();
            for name in ["running_mean", "running_var"] {
                let after = state.get(&format!("n.main.0.{name}")).unwrap();
                got.insert(format!("{name}_after"), after);
            }
            for (name, got) in got {
                // Gradients of x are small differences of larger numbers: g / deviation.
                let scale = 1.0 / constant_deviation(&case);
                let want = case.tensor(&name);
                let what = format!("{}/{name}", case.name);
                if name == "gx" {
                    let largest = support::wide(&want).iter().fold(0.0, |m: f64, v| m.max(v.abs()));
                    let of_max = 2e-5 * (scale / largest).max(1.0);
                    near(&what, &device, &got, &want, Tolerance::new(0.0, of_max));
                } else {
                    near(&what, &device, &got, &want, Tolerance::new(2e-5, 2e-5));
                }
            }
        }
    }
}

/// The least deviation that batch norm divides by.
fn constant_deviation(case: &Case<'_>) -> f64 {
    let x = case.tensor("x");
    let c = x.shape()[3];
    let rows = (x.len() / c) as f64;
    let column = |i: usize| x.f32s().iter().skip(i).step_by(c).map(|&v| f64::from(v));
    let deviation = |i: usize| {
        let mean = column(i).sum::<f64>() / rows;
        (column(i).map(|v| (v - mean).powi(2)).sum::<f64>() / rows + 1e-5).sqrt()
    };
    (0..c).map(deviation).fold(f64::INFINITY, f64::min)
}

#[test]
fn activations_as_pytorch() {
    for case in Reference::load("layers").cases("activation") {
        let tensor = |name: &'static str| (name, case.tensor(name));
        // Where a sigmoid is nearly 1, its slope y (1 − y) has the digits that 1 − y leaves.
        let tolerance = Tolerance::new(3e-6, 5e-7);
        case.check(tolerance, &["x", "g"].map(tensor), &["y", "gx"].map(tensor), |t, v| {
            let y = match case.name {
                "activation/relu" => t.relu(v[0]),
                "activation/leaky_relu" => t.leaky_relu(v[0], case.number("slope") as f32),
                "activation/tanh" => t.tanh(v[0]),
                "activation/sigmoid" => t.sigmoid(v[0]),
                "activation/softplus" => t.softplus(v[0]),
                other => panic!("{other} is new"),
            };
            let y = y.unwrap();
            [vec![y], t.grad_from(y, v[1], &[v[0]]).unwrap()].concat()
        });
    }
}

#[test]
fn bce_with_logits_as_pytorch() {
    for case in Reference::load("layers").cases("bce_with_logits") {
        let target = case.number("target") as f32;
        let loss = scalar(case.number("loss"));
        let wanted = [("loss", loss), ("gx", case.tensor("gx"))];
        case.check(NEAR, &[("x", case.tensor("x"))], &wanted, |t, v| {
            let loss = bce_with_logits(t, v[0], target).unwrap();
            [vec![loss], t.grad(loss, v).unwrap()].concat()
        });
    }
}

/// Runs an optimizer's steps on the state `w`, fed with row after row of `rows`; holds `w` (or the
/// state called `watched`) after each step against the case's `after`.
fn steps(
    case: &Case<'_>,
    tape: &Tape,
    states: &[(&str, Tensor)],
    watched: &str,
    rows: &Tensor,
    scalars: impl Fn(u64) -> Vec<(&'static str, Tensor)>,
    step_size: f64,
) {
    let after = case.tensor("after");
    let width = after.shape()[1];
    let row = |tensor: &Tensor, i: usize| tensor.f32s()[i * width..][..width].to_vec();
    for device in support::devices() {
        let mut state = State::new(&device);
        for (name, value) in states {
            state.set(name, value).unwrap();
        }
        let mut program = Program::compile(tape, &state, &Options::default()).unwrap();
        let mut largest = vec![0.0_f64; width];
        for i in 0..case.about["steps"].as_u64().unwrap() {
            let fed = Tensor::new([width], row(rows, i as usize)).unwrap();
            let scalars = scalars(i + 1);
            let mut feeds = vec![("g", &fed)];
            feeds.extend(scalars.iter().map(|(name, value)| (*name, value)));
            program.call(&mut state, &feeds).unwrap();
            let got = state.get(watched).unwrap();
            let want = row(&after, i as usize);
            for (j, (got, want)) in got.f32s().iter().zip(want).enumerate() {
                let (got, want) = (f64::from(*got), f64::from(want));
                largest[j] = largest[j].max(want.abs());
                // A rounding of the state in every step, and some of the step.
                let allowed = (i + 1) as f64 * (2.4e-7 * largest[j] + 5e-6 * step_size);
                let close = (got - want).abs() <= allowed;
                let device = device.name();
                assert!(close, "{} step {i}, {j} on {device}: {got}, not {want}", case.name);
            }
        }
        for (name, moment) in
            [("m", "adam.m.w"), ("v", "adam.v.w"), ("m", "sgd.w"), ("v", "rmsprop.v.w")]
        {
            if states.iter().any(|(state, _)| *state == moment) {
                let tolerance = Tolerance::new(2e-6, 0.0);
                near(moment, &device, &state.get(moment).unwrap(), &case.tensor(name), tolerance);
            }
        }
    }
}

#[test]
fn adam_as_pytorch() {
    for case in Reference::load("layers").cases("adam") {
        let beta = |i: usize| case.about["betas"][i].as_f64().unwrap();
        let lr = case.number("lr");
        let adam = Adam { beta1: beta(0), beta2: beta(1), eps: case.number("eps") as f32 };
        let mut tape = Tape::new();
        let g = tape.feed("g", &[9], DType::F32).unwrap();
        let [rate, root] = ["rate", "root"].map(|name| tape.feed(name, &[], DType::F32).unwrap());
        adam.update(&mut tape, "w", g, rate, root).unwrap();
        let zeros = Tensor::full([9], 0.0);
        let states = [("w", case.tensor("w")), ("adam.m.w", zeros.clone()), ("adam.v.w", zeros)];
        let scalars = |step| {
            let [rate, root] = adam.schedule(lr, step);
            vec![("rate", Tensor::full([], rate)), ("root", Tensor::full([], root))]
        };
        steps(&case, &tape, &states, "w", &case.tensor("grads"), scalars, lr);
    }
}

#[test]
fn sgd_as_pytorch() {
    for case in Reference::load("layers").cases("sgd") {
        let sgd = Sgd { momentum: case.number("momentum") as f32 };
        let lr = case.number("lr");
        let mut tape = Tape::new();
        let g = tape.feed("g", &[9], DType::F32).unwrap();
        let rate = tape.feed("rate", &[], DType::F32).unwrap();
        sgd.update(&mut tape, "w", g, rate).unwrap();
        let mut states = vec![("w", case.tensor("w"))];
        if sgd.momentum != 0.0 {
            states.push(("sgd.w", Tensor::full([9], 0.0)));
        }
        let scalars = |_| vec![("rate", Tensor::full([], lr as f32))];
        steps(&case, &tape, &states, "w", &case.tensor("grads"), scalars, lr);
    }
}

#[test]
fn moving_average_as_pytorch() {
    for case in Reference::load("layers").cases("ema") {
        let weight = 1.0 - case.number("decay");
        let mut tape = Tape::new();
        let g = tape.feed("g", &[9], DType::F32).unwrap();
        let share = tape.feed("share", &[], DType::F32).unwrap();
        tape.read("w", &[9], DType::F32).unwrap();
        tape.assign("w", g).unwrap();
        moving_average(&mut tape, "average", "w", &[9], share).unwrap();
        let states = [("w", Tensor::full([9], 0.0)), ("average", case.tensor("ema"))];
        let scalars = |_| vec![("share", Tensor::full([], weight as f32))];
        steps(&case, &tape, &states, "average", &case.tensor("w"), scalars, weight);
    }
}

#[test]
fn every_case_of_the_layers_is_read() {
    let file = Reference::load("layers");
    let families = [
        "conv2d",
        "conv_transpose2d",
        "linear",
        "batch_norm",
        "activation",
        "bce_with_logits",
        "adam",
        "sgd",
        "ema",
    ];
    let read: usize = families.iter().map(|family| file.cases(family).len()).sum();
    assert_eq!(read, file.about["cases"].as_object().unwrap().len());
    // And the two ways of turning weights agree.
    for case in file.cases("conv2d") {
        let ours = case.weights("w");
        let theirs = Layout::Conv.from_file("w", &case.tensor("w"), ours.shape()).unwrap();
        assert_eq!(ours, theirs);
    }
}
