//! Samples of the elementwise ops.

use crate::error::Result;
use crate::tape::{Tape, Var};

use super::super::samples::{Input, Kind, NonFinite, Sample, special};
use super::{ClampGrad, LeakyReluGrad};

/// Every way two shapes broadcast.
const PAIRS: &[(&[usize], &[usize])] = &[
    (&[7], &[7]),
    (&[1757], &[1757]),
    (&[1, 1], &[1]),
    (&[3, 65], &[65]),
    (&[65], &[3, 65]),
    (&[27, 65], &[]),
    (&[], &[3, 5]),
    (&[4, 1], &[1, 5]),
    (&[1, 65], &[33, 1]),
    (&[2, 3, 4], &[2, 1, 4]),
    (&[2, 3, 4], &[3, 1]),
    (&[1, 1, 6], &[2, 5, 6]),
    (&[2, 1, 3, 1], &[4, 1, 5]),
    (&[5, 4], &[1, 4]),
    (&[2, 300, 4], &[300, 4]),
];

type Unary = fn(&mut Tape, Var) -> Result<Var>;
type Binary = fn(&mut Tape, Var, Var) -> Result<Var>;
type Build = fn(&mut Tape, &[Var]) -> Result<Var>;

pub(in crate::ops) fn samples(op: &'static str) -> Vec<Sample> {
    let mut all = unary(op);
    all.extend(binary(op));
    all.extend(choices());
    all.extend(constants());
    all.retain(|sample| sample.op == op);
    all.extend(special_unary(op));
    all.extend(special_of_several(op));
    all
}

fn unary(op: &str) -> Vec<Sample> {
    use Kind::{Grid, Ladder, Uniform};
    const NORMAL: Kind = Kind::NORMAL;
    let grid = Grid(0.125);
    // Name, note, op, inputs around which it is smooth, whether ±150 suits it.
    let table: [(&'static str, &str, Unary, Kind, bool); 18] = [
        ("affine", "", |t, x| t.affine(x, 0.7, -1.3), NORMAL, true),
        ("affine", "neg", Tape::neg, NORMAL, true),
        ("sqrt", "", Tape::sqrt, Uniform(0.1, 4.0), false),
        ("recip", "", Tape::recip, Uniform(-3.0, -0.5), false),
        ("exp", "", Tape::exp, NORMAL, true),
        ("one_minus_exp", "", |t, x| t.one_minus_exp(x, 0.3), NORMAL, true),
        ("one_minus_exp", "of 0.999", |t, x| t.one_minus_exp(x, 1e-3), Uniform(1.0, 300.0), false),
        ("log", "", Tape::log, Uniform(0.1, 4.0), false),
        ("abs", "", Tape::abs, grid, true),
        ("sign", "", Tape::sign, grid, true),
        ("finite", "", Tape::finite, NORMAL, true),
        ("clamp", "", |t, x| t.clamp(x, -0.5, 1.0), grid, true),
        ("leaky_relu", "", |t, x| t.leaky_relu(x, 0.2), grid, true),
        ("leaky_relu", "slope 1.5", |t, x| t.leaky_relu(x, 1.5), grid, true),
        ("leaky_relu", "relu", Tape::relu, grid, true),
        ("tanh", "", Tape::tanh, NORMAL, true),
        ("sigmoid", "", Tape::sigmoid, NORMAL, true),
        ("softplus", "", Tape::softplus, NORMAL, true),
    ];
    let mut all = Vec::new();
    for (op, note, f, kind, ladder) in table.into_iter().filter(|row| row.0 == op) {
        let one = |shape: &[usize], kind| {
            let sample = Sample::new(op, vec![Input::new(shape, kind)], move |t, x| f(t, x[0]));
            // WGSL asks of exp(x) only 3 + 2|x| units in the last place.
            let grows = op.contains("exp");
            let relative = if grows { 3e-5 } else { 3e-6 };
            sample.note(note).tolerance(relative, if grows { 0.0 } else { 1e-7 })
        };
        for shape in [&[][..], &[1], &[2, 3], &[1757], &[1, 3, 65]] {
            all.push(one(shape, kind));
        }
        if ladder {
            all.push(one(&[41], Ladder).note("to ±150").rough());
            all.push(one(&[65, 41], Ladder).note("to ±150").rough());
        }
    }
    all
}

fn binary(op: &str) -> Vec<Sample> {
    use Kind::{Grid, Ladder, Uniform};
    const NORMAL: Kind = Kind::NORMAL;
    let table: [(&'static str, Binary, [Kind; 2], bool); 9] = [
        ("add", Tape::add, [NORMAL, NORMAL], true),
        ("sub", Tape::sub, [NORMAL, NORMAL], true),
        ("mul", Tape::mul, [NORMAL, NORMAL], true),
        ("div", Tape::div, [NORMAL, Uniform(0.5, 2.0)], false),
        ("maximum", Tape::maximum, [Grid(0.0), Grid(0.125)], true),
        ("minimum", Tape::minimum, [Grid(0.0), Grid(0.125)], true),
        ("greater", Tape::greater, [Grid(0.0), Grid(0.125)], true),
        (
            "clamp_grad",
            |t, x, g| t.record(ClampGrad { low: -0.5, high: 1.0 }, &[x, g]),
            [Grid(0.125), NORMAL],
            true,
        ),
        (
            "leaky_relu_grad",
            |t, y, g| t.record(LeakyReluGrad { slope: 0.2 }, &[y, g]),
            [Grid(0.125), NORMAL],
            true,
        ),
    ];
    let mut all = Vec::new();
    for (op, f, kinds, ladder) in table.into_iter().filter(|row| row.0 == op) {
        let one = |a: &[usize], b: &[usize], kinds: [Kind; 2]| {
            let inputs = vec![Input::new(a, kinds[0]), Input::new(b, kinds[1])];
            Sample::new(op, inputs, move |t, x| f(t, x[0], x[1]))
        };
        for (a, b) in PAIRS {
            all.push(one(a, b, kinds));
        }
        if ladder {
            all.push(one(&[41], &[41, 1], [Ladder, Ladder]).note("to ±150").rough());
        }
        // The same value on both sides: gradients add up in one place.
        let twice = vec![Input::new(&[5], Uniform(0.5, 2.0))];
        let same = Sample::new(op, twice, move |t, x| {
            let other = t.affine(x[0], 2.0, 0.5)?;
            f(t, x[0], other)
        });
        all.push(same.note("x and 2x + 0.5"));
    }
    let square = vec![Input::new(&[9], NORMAL)];
    all.push(Sample::new("mul", square, |t, x| t.mul(x[0], x[0])).note("x by itself"));
    all
}

fn choices() -> Vec<Sample> {
    let shapes: [[&[usize]; 3]; 5] = [
        [&[7]; 3],
        [&[1757]; 3],
        [&[], &[3, 5], &[3, 5]],
        [&[3, 1], &[5], &[]],
        [&[65], &[3, 65], &[65]],
    ];
    let one = |shapes: [&[usize]; 3]| {
        let kinds = [Kind::Grid(0.125), Kind::NORMAL, Kind::NORMAL];
        let inputs = shapes.iter().zip(kinds).map(|(shape, kind)| Input::new(shape, kind));
        Sample::new("choose", inputs.collect(), |t, x| t.choose(x[0], x[1], x[2]))
    };
    shapes.map(one).into()
}

/// Values without inputs, and bytes.
fn constants() -> Vec<Sample> {
    let mut all = Vec::new();
    for (shape, value) in [(&[][..], 2.5), (&[1757], -0.125), (&[3, 1, 5], 0.0), (&[2], 1e30)] {
        let shape = shape.to_vec();
        let note = format!("{shape:?} {value}");
        all.push(Sample::new("fill", vec![], move |t, _| t.fill(&shape, value)).note(note));
    }
    for shape in [&[1][..], &[1757], &[2, 3, 3, 3], &[256]] {
        let bytes = vec![Input::new(shape, Kind::Bytes)];
        all.push(
            Sample::new("from_u8", bytes, |t, x| t.from_u8(x[0])).tolerance(1e-6, 2e-7).rough(),
        );
    }
    all
}

fn special_unary(op: &str) -> Vec<Sample> {
    let table: [(&'static str, &str, Unary, &'static [f32]); 16] = [
        ("affine", "", |t, x| t.affine(x, 0.7, -1.3), special::ALL),
        ("sqrt", "", |t, x| t.sqrt(x), special::NOT_NEGATIVE),
        ("recip", "", |t, x| t.recip(x), &[f32::NAN, f32::INFINITY, f32::NEG_INFINITY]),
        ("exp", "", Tape::exp, special::ALL),
        ("one_minus_exp", "", |t, x| t.one_minus_exp(x, 0.3), special::ONE_NAN),
        ("log", "", Tape::log, special::NOT_NEGATIVE),
        ("abs", "", Tape::abs, special::ALL),
        ("sign", "", Tape::sign, special::DECIDED),
        ("finite", "", Tape::finite, special::ALL),
        ("clamp", "", |t, x| t.clamp(x, -0.5, 1.0), special::ALL),
        ("leaky_relu", "", |t, x| t.leaky_relu(x, 0.2), special::ALL),
        // 0 · ∞ is NaN; in `max(x, 0)` it is not.
        ("leaky_relu", "relu", Tape::relu, &[f32::NAN, f32::INFINITY, -0.0, 1e-40]),
        ("tanh", "", Tape::tanh, special::ALL),
        ("sigmoid", "", Tape::sigmoid, special::ALL),
        ("softplus", "", Tape::softplus, special::ALL),
        // Several ops as one kernel.
        ("tanh", "chain", chain, special::ALL),
    ];
    let positive = |op: &str| matches!(op, "sqrt" | "log");
    let of_op = table.into_iter().filter(|row| row.0 == op);
    let all = of_op.map(|(op, note, f, numbers)| {
        let x = vec![Input::new(&[41], Kind::Special(numbers))];
        let sample = Sample::new(op, x, move |t, x| {
            // Values between the special ones are made positive where the op requires it.
            let x = if positive(op) { t.abs(x[0])? } else { x[0] };
            f(t, x)
        });
        // A driver's tanh is a quotient of exponentials, which loses the digits of small values.
        sample.note(note).tolerance(3e-5, 2e-7).non_finite(NonFinite::Same)
    });
    all.collect()
}

fn chain(t: &mut Tape, x: Var) -> Result<Var> {
    let a = t.leaky_relu(x, 0.2)?;
    let b = t.clamp(a, -4.0, 4.0)?;
    let c = t.maximum(b, x)?;
    let d = t.minimum(c, b)?;
    t.tanh(d)
}

fn special_of_several(op: &str) -> Vec<Sample> {
    let table: [(&'static str, usize, Build); 9] = [
        ("add", 2, |t, x| t.add(x[0], x[1])),
        ("sub", 2, |t, x| t.sub(x[0], x[1])),
        ("mul", 2, |t, x| t.mul(x[0], x[1])),
        ("maximum", 2, |t, x| t.maximum(x[0], x[1])),
        ("minimum", 2, |t, x| t.minimum(x[0], x[1])),
        ("greater", 2, |t, x| t.greater(x[0], x[1])),
        ("choose", 3, |t, x| t.choose(x[0], x[1], x[2])),
        ("clamp_grad", 2, |t, x| t.record(ClampGrad { low: -0.5, high: 1.0 }, x)),
        ("leaky_relu_grad", 2, |t, x| t.record(LeakyReluGrad { slope: 0.2 }, x)),
    ];
    let mut all = Vec::new();
    for (op, count, build) in table.into_iter().filter(|row| row.0 == op) {
        // One input after the other.
        for special in 0..count {
            let decides = matches!(op, "greater" | "choose" | "clamp_grad" | "leaky_relu_grad");
            let numbers = if decides { special::DECIDED } else { special::ALL };
            let kind = |i| if i == special { Kind::Special(numbers) } else { Kind::NORMAL };
            let inputs = (0..count).map(|i| Input::new(&[41], kind(i))).collect();
            let sample = Sample::new(op, inputs, build).note(format!("input {special}"));
            all.push(sample.tolerance(1e-6, 1e-6).non_finite(NonFinite::Same));
        }
    }
    if op != "div" {
        return all;
    }
    // Quotients of finite by denormal values are infinite or not, depending on the driver's
    // flushing.
    let inputs =
        vec![Input::new(&[41], Kind::Special(special::ONE_NAN)), Input::new(&[41], Kind::NORMAL)];
    let div = Sample::new("div", inputs, |t, x| t.div(x[0], x[1]));
    all.push(div.tolerance(3e-6, 1e-7).non_finite(NonFinite::Same));
    all
}
