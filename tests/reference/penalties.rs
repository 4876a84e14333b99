//! Gradients of gradient penalties: every op on the way is differentiated twice.

use std::collections::BTreeMap;

use dcgan::ops::conv::ConvSpec;
use dcgan::ops::samples::Tolerance;
use dcgan::tape::{Tape, Var};
use dcgan::tensor::Tensor;

use super::{Case, Reference, scalar};

/// A critic of 8×8 images: its score of each, as `assets/reference/second_order.py` builds it.
pub(super) fn critic(
    t: &mut Tape,
    case: &Case<'_>,
    x: Var,
    read: &dyn Fn(&mut Tape, &str) -> Var,
) -> Var {
    let down = |side| ConvSpec::down([side; 2], [4, 4], [2, 2], [1, 1]).unwrap();
    let bias = case.about["bias"].as_bool().unwrap();
    let activate = |t: &mut Tape, x: Var| match case.text("activation") {
        "leaky_relu" => t.leaky_relu(x, 0.2).unwrap(),
        "tanh" => t.tanh(x).unwrap(),
        "softplus" => t.softplus(x).unwrap(),
        other => panic!("{other} is new"),
    };
    let conv = |t: &mut Tape, x: Var, name: &str, spec: ConvSpec| {
        let w = read(t, &format!("{name}.weight"));
        let y = t.conv2d(x, w, spec).unwrap();
        if bias {
            let b = read(t, &format!("{name}.bias"));
            t.add(y, b).unwrap()
        } else {
            y
        }
    };
    let y = conv(t, x, "main.0", down(8));
    let y = activate(t, y);
    let mut y = conv(t, y, "main.2", down(4));
    let mut last = "main.4.weight";
    if case.text("norm") != "none" {
        last = "main.5.weight";
        let affine = ["main.3.weight", "main.3.bias"].map(|name| read(t, name));
        y = match case.text("norm") {
            "batch_norm" => {
                let moments = t.moments(y).unwrap();
                let statistics = [0, 6].map(|start| t.range(moments, start, 6).unwrap());
                t.batch_norm(y, statistics, affine, 1e-5).unwrap()
            }
            "layer_norm" => layer_norm(t, y, affine),
            other => panic!("{other} is new"),
        };
    }
    let y = activate(t, y);
    let w = read(t, last);
    let spec = ConvSpec::down([2, 2], [2, 2], [1, 1], [0, 0]).unwrap();
    let scores = t.conv2d(y, w, spec).unwrap();
    let n = t.shape(scores)[0];
    t.reshape(scores, &[n]).unwrap()
}

/// Over height, width and channels of each image.
fn layer_norm(t: &mut Tape, x: Var, [gamma, beta]: [Var; 2]) -> Var {
    let n = t.shape(x)[0];
    let mut mean = |x: Var| {
        let mean = t.mean(x, &[1, 2, 3]).unwrap();
        t.reshape(mean, &[n, 1, 1, 1]).unwrap()
    };
    let level = mean(x);
    let centered = t.sub(x, level).unwrap();
    let square = t.mul(centered, centered).unwrap();
    let mean = t.mean(square, &[1, 2, 3]).unwrap();
    let var = t.reshape(mean, &[n, 1, 1, 1]).unwrap();
    let var = t.affine(var, 1.0, 1e-5).unwrap();
    let deviation = t.sqrt(var).unwrap();
    let y = t.div(centered, deviation).unwrap();
    let y = t.mul(y, gamma).unwrap();
    t.add(y, beta).unwrap()
}

/// A tensor of a case as it is on the device: weights of convolutions stand otherwise in files.
pub(super) fn on_device(case: &Case<'_>, name: &str) -> Tensor {
    let tensor = case.tensor(name);
    let is_weight = name.ends_with("weight") || matches!(name, "w" | "gw");
    if tensor.shape().len() == 4 && is_weight { case.weights(name) } else { tensor }
}

#[test]
fn gradients_of_penalties_as_pytorch() {
    let file = Reference::load("second_order");
    for case in file.cases("critic") {
        let r1 = case.text("penalty") == "r1";
        let prefix = format!("{}/", case.name);
        let ours = |name: &str| on_device(&case, name);
        let names: Vec<String> = file
            .tensors
            .keys()
            .filter_map(|key| key.strip_prefix(&prefix)?.strip_prefix("grad."))
            .filter(|name| *name != "x")
            .map(String::from)
            .collect();
        assert!(names.len() >= 3);
        let images = file.tensors[if r1 { "real" } else { "x_hat" }].clone();
        let mut feeds = vec![("x", images)];
        feeds.extend(names.iter().map(|name| (name.as_str(), ours(name))));
        let grads: Vec<String> = names.iter().map(|name| format!("grad.{name}")).collect();
        let mut wanted = vec![
            ("scores", case.tensor("scores")),
            ("gx", case.tensor("gx")),
            ("norms", case.tensor("norms")),
            ("penalty", scalar(case.number("value"))),
            ("grad.x", case.tensor("grad.x")),
        ];
        wanted.extend(grads.iter().map(|name| (name.as_str(), ours(name))));
        let tolerance = Tolerance::new(5e-5, 5e-5);
        case.check(tolerance, &feeds, &wanted, |t, v| {
            let vars: BTreeMap<&str, Var> =
                names.iter().map(String::as_str).zip(v[1..].iter().copied()).collect();
            let scores = critic(t, &case, v[0], &|_, name| vars[name]);
            let sum = t.sum_all(scores).unwrap();
            let gx = t.grad(sum, &v[..1]).unwrap()[0];
            let square = t.mul(gx, gx).unwrap();
            let lengths = t.sum(square, &[1, 2, 3]).unwrap();
            let norms = t.sqrt(lengths).unwrap();
            let off = t.affine(norms, 1.0, if r1 { 0.0 } else { -1.0 }).unwrap();
            let square = t.mul(off, off).unwrap();
            let mean = t.mean_all(square).unwrap();
            let penalty = t.affine(mean, if r1 { 5.0 } else { 10.0 }, 0.0).unwrap();
            let grads = t.grad(penalty, v).unwrap();
            [vec![scores, gx, norms, penalty], grads].concat()
        });
    }
}
