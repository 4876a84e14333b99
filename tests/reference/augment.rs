//! Augmented images, and what flows back through them, against `assets/reference/augment.py`.

use dcgan::augment::{Augment, DRAW};
use dcgan::ops::samples::Tolerance;
use dcgan::tape::{Tape, Var};
use dcgan::tensor::Tensor;

use super::{Case, NEAR, Reference, scalar};

/// The case's augmentations, by name.
fn augment(case: &Case<'_>) -> Augment {
    let kinds: Vec<&str> = kinds(case).collect();
    kinds.join(",").parse().unwrap()
}

fn kinds<'a>(case: &'a Case<'_>) -> impl Iterator<Item = &'a str> {
    case.about["kinds"].as_array().unwrap().iter().map(|kind| kind.as_str().unwrap())
}

/// The case's numbers in the order of [`Augment::record`]. Gray images have no saturation.
fn draws(case: &Case<'_>) -> Tensor {
    let gray = case.about["shape"][3] == 1;
    let kinds = || kinds(case).filter(|&kind| !(gray && kind == "saturation"));
    let mut names: Vec<String> = kinds().map(|kind| format!("u.{kind}")).collect();
    if case.about["gated"] == true {
        names.extend(kinds().map(|kind| format!("gate.{kind}")));
    }
    let all: Vec<f32> = names.iter().flat_map(|name| case.tensor(name).f32s().to_vec()).collect();
    let n = case.about["shape"][0].as_u64().unwrap() as usize;
    Tensor::new([all.len() / n, n], all).unwrap()
}

/// Records it with these draws.
fn record(t: &mut Tape, case: &Case<'_>, x: Var, draws: Var, probability: Option<Var>) -> Var {
    let mut asked = 0;
    let mut uniform = |t: &mut Tape, name: &str, shape: &[usize]| {
        asked += 1;
        assert_eq!((name, shape), (DRAW, t.shape(draws)));
        Ok(draws)
    };
    let y = augment(case).record(t, x, probability, &mut uniform).unwrap();
    assert_eq!(asked, 1);
    y
}

#[test]
fn augmentations_as_pytorch() {
    let file = Reference::load("augment");
    let p = file.about["probability"].as_f64().unwrap() as f32;
    let families =
        ["brightness", "saturation", "contrast", "translation", "cutout", "all", "gated"];
    let cases: Vec<Case<'_>> = families.iter().flat_map(|family| file.cases(family)).collect();
    assert_eq!(cases.len() + 1, file.about["cases"].as_object().unwrap().len(), "and the penalty");
    for case in cases {
        let gated = case.about["gated"] == true;
        let mut feeds = vec![("x", case.tensor("x")), ("g", case.tensor("g")), ("u", draws(&case))];
        if gated {
            feeds.push(("p", Tensor::full([], p)));
        }
        let wanted = ["y", "gx"].map(|name| (name, case.tensor(name)));
        case.check(NEAR, &feeds, &wanted, |t, v| {
            let y = record(t, &case, v[0], v[2], gated.then(|| v[3]));
            let product = t.mul(y, v[1]).unwrap();
            let sum = t.sum_all(product).unwrap();
            let gx = t.grad(sum, &v[..1]).unwrap()[0];
            vec![y, gx]
        });
    }
}

#[test]
fn the_gradient_of_a_penalty_through_augmentations_as_pytorch() {
    let file = Reference::load("augment");
    for case in file.cases("penalty") {
        let feeds = [("x", case.tensor("x")), ("w", case.tensor("w")), ("u", draws(&case))];
        let tensor = |name: &'static str| (name, case.tensor(name));
        let wanted = [
            tensor("scores"),
            tensor("gx"),
            ("value", scalar(case.number("value"))),
            tensor("grad.x"),
            tensor("grad.w"),
        ];
        let tolerance = Tolerance::new(2e-5, 2e-5);
        case.check(tolerance, &feeds, &wanted, |t, v| {
            let y = record(t, &case, v[0], v[2], None);
            let bent = t.tanh(y).unwrap();
            let terms = t.mul(bent, v[1]).unwrap();
            let scores = t.sum(terms, &[1, 2, 3]).unwrap();
            let sum = t.sum_all(scores).unwrap();
            let gx = t.grad(sum, &v[..1]).unwrap()[0];
            let square = t.mul(gx, gx).unwrap();
            let lengths = t.sum(square, &[1, 2, 3]).unwrap();
            let mean = t.mean_all(lengths).unwrap();
            let value = t.affine(mean, 5.0, 0.0).unwrap();
            let grads = t.grad(value, &v[..2]).unwrap();
            [vec![scores, gx, value], grads].concat()
        });
    }
}
