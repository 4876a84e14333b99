//! Losses, penalties and terms of the weights against `assets/reference/objectives.py`.

use std::collections::BTreeMap;

use clap::ValueEnum;
use dcgan::objectives::{self, Loss, Penalty};
use dcgan::ops::samples::Tolerance;
use dcgan::optim::RmsProp;
use dcgan::tape::{Tape, Var};
use dcgan::tensor::{DType, Tensor};

use super::penalties::{critic, on_device};
use super::{NEAR, Reference, scalar, steps};
use crate::support;

fn stem(name: &str) -> &str {
    name.split_once('/').unwrap().1
}

#[test]
fn losses_as_pytorch() {
    let file = Reference::load("objectives");
    let cases = file.cases("loss");
    assert_eq!(cases.len(), Loss::value_variants().len());
    for case in cases {
        let loss = Loss::from_str(stem(case.name), false).unwrap();
        assert_eq!(loss.to_string(), stem(case.name));
        let tensor = |name: &'static str| (name, case.tensor(name));
        let wanted = [
            ("loss_real", scalar(case.number("real"))),
            ("loss_fake", scalar(case.number("fake"))),
            ("loss_g", scalar(case.number("loss_g"))),
            tensor("g_real"),
            tensor("g_fake"),
            tensor("g_fake_of_loss_g"),
        ];
        case.check(NEAR, &["real", "fake"].map(tensor), &wanted, |t, v| {
            let (r, f) = (v[0], v[1]);
            let (real, fake, of_g);
            if loss.is_relativistic() {
                let above = loss.relative(t, r, f).unwrap();
                let below = loss.relative(t, f, r).unwrap();
                real = loss.real(t, above, 0.0).unwrap();
                fake = loss.fake(t, below).unwrap();
                of_g = loss.relativistic_generator(t, above, below).unwrap();
            } else {
                real = loss.real(t, r, 0.0).unwrap();
                fake = loss.fake(t, f).unwrap();
                of_g = loss.generator(t, f).unwrap();
            }
            let of_d = t.add(real, fake).unwrap();
            let grads = t.grad(of_d, &[r, f]).unwrap();
            let grad_g = t.grad(of_g, &[f]).unwrap();
            [vec![real, fake, of_g], grads, grad_g].concat()
        });
    }
}

#[test]
fn penalties_as_pytorch() {
    let file = Reference::load("objectives");
    let weight = file.about["penalty_weight"].as_f64().unwrap() as f32;
    let cases = file.cases("penalty");
    assert_eq!(cases.len() + 1, Penalty::value_variants().len(), "all but none");
    for case in cases {
        let penalty = Penalty::from_str(stem(case.name), false).unwrap();
        assert_eq!(penalty.to_string(), stem(case.name));
        let prefix = format!("{}/grad.", case.name);
        let names: Vec<String> = file
            .tensors
            .keys()
            .filter_map(|key| key.strip_prefix(&prefix))
            .map(Into::into)
            .collect();
        assert_eq!(names.len(), 5);
        let inputs = ["real", "fake", "u", "v"];
        let mut feeds: Vec<(&str, Tensor)> =
            inputs.iter().map(|&name| (name, file.tensors[name].clone())).collect();
        feeds.extend(names.iter().map(|name| (name.as_str(), on_device(&case, name))));
        let grads: Vec<String> = names.iter().map(|name| format!("grad.{name}")).collect();
        let mut wanted =
            vec![("value", scalar(case.number("value"))), ("slope", scalar(case.number("slope")))];
        wanted.extend(grads.iter().map(|name| (name.as_str(), on_device(&case, name))));
        let tolerance = Tolerance::new(5e-5, 5e-5);
        case.check(tolerance, &feeds, &wanted, |t, v| {
            let weights = &v[inputs.len()..];
            let vars: BTreeMap<&str, Var> =
                names.iter().map(String::as_str).zip(weights.iter().copied()).collect();
            let mut uniform = |t: &mut Tape, name: &str, shape: &[usize]| {
                let given = match name {
                    "mix" => v[2],
                    "near" => v[3],
                    other => panic!("{other} is new"),
                };
                t.reshape(given, shape)
            };
            let mut judge = |t: &mut Tape, x: Var| Ok(critic(t, &case, x, &|_, name| vars[name]));
            let recorded =
                penalty.record(t, weight, [v[0], v[1]], &mut uniform, &mut judge).unwrap().unwrap();
            let grads = t.grad(recorded.loss, weights).unwrap();
            [vec![recorded.loss, recorded.slope], grads].concat()
        });
    }
}

#[test]
fn orthogonal_regularization_as_pytorch() {
    let file = Reference::load("objectives");
    for case in file.cases("orthogonal") {
        let transposed = stem(case.name) == "conv_transpose";
        let wanted = [("value", scalar(case.number("value"))), ("gw", on_device(&case, "gw"))];
        case.check(NEAR, &[("w", on_device(&case, "w"))], &wanted, |t, v| {
            let value = objectives::orthogonal(t, v[0], transposed).unwrap();
            let gw = t.grad(value, v).unwrap();
            [vec![value], gw].concat()
        });
    }
}

/// Beyond 10 they are straight lines: a score of 30 or −30 has a gradient of e¹⁰, not of e³⁰.
#[test]
fn exponentials_of_f_gans_are_bounded() {
    let slope = 10.0_f32.exp();
    for loss in [Loss::Kl, Loss::ReverseKl, Loss::Hellinger] {
        let mut t = Tape::new();
        let x = t.feed("x", &[1], DType::F32).unwrap();
        let terms = [
            loss.real(&mut t, x, 0.0).unwrap(),
            loss.fake(&mut t, x).unwrap(),
            loss.generator(&mut t, x).unwrap(),
        ];
        for (i, term) in terms.into_iter().enumerate() {
            let g = t.grad(term, &[x]).unwrap()[0];
            t.fetch(&format!("loss {i}"), term).unwrap();
            t.fetch(&format!("slope {i}"), g).unwrap();
        }
        for device in support::devices() {
            let mut largest = 0.0_f32;
            for score in [-30.0, -9.0, 9.0, 30.0] {
                let feeds = [("x".into(), Tensor::full([1], score))];
                let got = support::run(&t, &device, &support::fusion(true), &feeds);
                for (name, number) in &got {
                    let number = number.f32s()[0];
                    assert!(
                        number.abs() <= 1.001 * slope * 21.0,
                        "{loss} of {score}: {name} {number}"
                    );
                    if name.starts_with("slope") {
                        largest = largest.max(number.abs());
                    }
                }
            }
            assert!((largest / slope - 1.0).abs() < 1e-3, "{loss}: {largest}");
        }
    }
}

#[test]
fn historical_averaging_as_the_mean_of_all_steps() {
    let file = Reference::load("objectives");
    for case in file.cases("historical") {
        let weight = case.number("weight") as f32;
        let [p, grads, wanted_g, wanted_h] = ["p", "grads", "g", "h"].map(|name| case.tensor(name));
        let row = |tensor: &Tensor, i: usize| {
            Tensor::new([6], tensor.f32s()[i * 6..(i + 1) * 6].to_vec()).unwrap()
        };
        for i in 0..case.about["steps"].as_u64().unwrap() as usize {
            let before = if i == 0 { row(&p, 0) } else { row(&wanted_h, i - 1) };
            let count = Tensor::full([], (i + 1) as f32);
            let feeds = [("p", row(&p, i)), ("g", row(&grads, i)), ("h", before), ("count", count)];
            let wanted = [("pulled", row(&wanted_g, i)), ("mean", row(&wanted_h, i))];
            case.check(NEAR, &feeds, &wanted, |t, v| {
                let [p, h] = [v[0], v[2]];
                let pulled = objectives::historical_averaging(t, v[1], [p, h], weight).unwrap();
                vec![pulled, objectives::historical_mean(t, [p, h], v[3]).unwrap()]
            });
        }
    }
}

#[test]
fn rmsprop_as_pytorch() {
    for case in Reference::load("objectives").cases("rmsprop") {
        let lr = case.number("lr");
        let rule = RmsProp { decay: case.number("alpha"), eps: case.number("eps") as f32 };
        let mut tape = Tape::new();
        let g = tape.feed("g", &[9], DType::F32).unwrap();
        let rate = tape.feed("rate", &[], DType::F32).unwrap();
        rule.update(&mut tape, "w", g, rate).unwrap();
        let states = [("w", case.tensor("w")), ("rmsprop.v.w", Tensor::full([9], 0.0))];
        let scalars = |_| vec![("rate", Tensor::full([], lr as f32))];
        // A first step is 1 / √(1 − decay) times as long as the rate.
        let step_size = lr / (1.0 - rule.decay).sqrt();
        steps(&case, &tape, &states, "w", &case.tensor("grads"), scalars, step_size);
    }
}
