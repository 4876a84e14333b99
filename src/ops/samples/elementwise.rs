//! Samples of the elementwise ops.

use crate::error::Result;
use crate::tape::{Tape, Var};

use super::super::elementwise::{ClampGrad, LeakyReluGrad};
use super::super::norm::Normalize;
use super::{Input, Kind, Sample};

/// Every way in which two shapes broadcast.
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

pub(super) fn samples() -> Vec<Sample> {
    let mut all = unary();
    all.extend(binary());
    all.extend(choices());
    all.extend(norms());
    all.extend(shapes());
    all
}

fn unary() -> Vec<Sample> {
    use Kind::{Grid, Ladder, Uniform};
    const NORMAL: Kind = Kind::NORMAL;
    let grid = Grid(0.125);
    // Name, what sets it apart, op, inputs around which it is smooth, whether ±150 suits it.
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
    for (op, note, f, kind, ladder) in table {
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
    for (shape, value) in [(&[][..], 2.5), (&[1757], -0.125), (&[3, 1, 5], 0.0), (&[2], 1e30)] {
        let shape = shape.to_vec();
        let note = format!("{shape:?} {value}");
        all.push(Sample::new("fill", vec![], move |t, _| t.fill(&shape, value)).note(note));
    }
    for shape in [&[1][..], &[1757], &[2, 3, 3, 3], &[256]] {
        let bytes = vec![Input::new(shape, Kind::Bytes)];
        all.push(Sample::new("from_u8", bytes, |t, x| t.from_u8(x[0])).tolerance(1e-6, 2e-7));
    }
    all
}

fn binary() -> Vec<Sample> {
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
    for (op, f, kinds, ladder) in table {
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
        // The same value on both sides: gradients meet in one place.
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

fn norms() -> Vec<Sample> {
    let mut all = Vec::new();
    for (rows, c) in [(1, 3), (7, 1), (1, 1), (5, 65), (64, 4), (129, 12)] {
        let mut inputs = vec![Input::new(&[rows, c], Kind::NORMAL)];
        inputs.extend((0..3).map(|_| Input::new(&[c], Kind::NORMAL)));
        let normalize = Sample::new("normalize", inputs, |t, x| t.record(Normalize, x));
        all.push(normalize.tolerance(1e-6, 1e-6));
    }
    for shape in [&[5, 1, 1, 3][..], &[1, 3, 5, 8], &[3, 4, 4, 65], &[6, 2]] {
        let c = *shape.last().unwrap_or(&1);
        let weights = [Kind::Normal { mean: 1.0, scale: 0.3 }, Kind::NORMAL];
        let mut inputs = vec![Input::new(shape, Kind::Normal { mean: 0.5, scale: 2.0 })];
        inputs.extend(weights.map(|kind| Input::new(&[c], kind)));
        let training = Sample::new("normalize", inputs.clone(), move |t, x| {
            let moments = t.moments(x[0])?;
            let statistics = [t.range(moments, 0, c)?, t.range(moments, c, c)?];
            t.batch_norm(x[0], statistics, [x[1], x[2]], 1e-5)
        });
        all.push(training.note("batch norm in training").tolerance(1e-5, 3e-6));
        inputs.push(Input::new(&[c], Kind::NORMAL));
        inputs.push(Input::new(&[c], Kind::Uniform(0.5, 2.0)));
        let evaluation = Sample::new("normalize", inputs, |t, x| {
            t.batch_norm(x[0], [x[3], x[4]], [x[1], x[2]], 1e-5)
        });
        all.push(evaluation.note("batch norm in evaluation").tolerance(1e-5, 1e-6));
    }
    all
}

fn shapes() -> Vec<Sample> {
    let table: &[(&[usize], &[usize])] = &[
        (&[3], &[4, 3]),
        (&[], &[5]),
        (&[4, 1], &[4, 7]),
        (&[2, 1, 3], &[2, 5, 3]),
        (&[1], &[3, 3]),
        (&[1757], &[2, 1757]),
        (&[3, 1, 1], &[2, 3, 4, 5]),
        (&[65], &[1, 65]),
    ];
    let stretch = table.iter().map(|&(from, to)| {
        let inputs = vec![Input::new(from, Kind::NORMAL)];
        let sample = Sample::new("broadcast_to", inputs, move |t, x| t.broadcast_to(x[0], to));
        sample.note(format!("to {to:?}")).tolerance(0.0, 0.0)
    });
    stretch.collect()
}
