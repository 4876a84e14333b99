//! Samples of every op with NaN, infinities, denormal numbers and zeros of either sign among the
//! others: NaN in, NaN out, on every device and in every fusion. A network that has diverged would
//! otherwise look healthy.

use crate::error::Result;
use crate::tape::{Tape, Var};

use super::super::conv::ConvSpec;
use super::super::elementwise::{ClampGrad, LeakyReluGrad};
use super::super::moments::CenteredSums;
use super::super::norm::Normalize;
use super::{Input, Kind, NonFinite, Sample};

/// Numbers that most functions take.
const ALL: &[f32] = &[f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e-40, -1e-40, -0.0, 0.0];

/// Those of them by which a driver that flushes denormal numbers to zero decides the same.
const NORMAL: &[f32] = &[f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0, 0.0];

/// Those of them that a logarithm or a root takes, without what a driver may flush to zero.
const NOT_NEGATIVE: &[f32] = &[f32::NAN, f32::INFINITY, 0.0];

/// Those whose sums are not all NaN.
const ONE_NAN: &[f32] = &[f32::NAN];

type Unary = fn(&mut Tape, Var) -> Result<Var>;
type Build = fn(&mut Tape, &[Var]) -> Result<Var>;

pub(super) fn samples() -> Vec<Sample> {
    let mut all = unary();
    all.extend(of_several());
    all.extend(kernels());
    all.extend(products());
    all.into_iter().map(|sample| sample.note("non-finite")).collect()
}

fn unary() -> Vec<Sample> {
    let table: [(&'static str, &str, Unary, &'static [f32]); 17] = [
        ("affine", "", |t, x| t.affine(x, 0.7, -1.3), ALL),
        ("sqrt", "", |t, x| t.sqrt(x), NOT_NEGATIVE),
        ("recip", "", |t, x| t.recip(x), &[f32::NAN, f32::INFINITY, f32::NEG_INFINITY]),
        ("exp", "", Tape::exp, ALL),
        ("one_minus_exp", "", |t, x| t.one_minus_exp(x, 0.3), ONE_NAN),
        ("log", "", Tape::log, NOT_NEGATIVE),
        ("abs", "", Tape::abs, ALL),
        ("sign", "", Tape::sign, NORMAL),
        ("finite", "", Tape::finite, ALL),
        ("clamp", "", |t, x| t.clamp(x, -0.5, 1.0), ALL),
        ("leaky_relu", "", |t, x| t.leaky_relu(x, 0.2), ALL),
        // 0 · ∞ is NaN, as in `max(x, 0)` it is not.
        ("leaky_relu", "relu", Tape::relu, &[f32::NAN, f32::INFINITY, -0.0, 1e-40]),
        ("tanh", "", Tape::tanh, ALL),
        ("sigmoid", "", Tape::sigmoid, ALL),
        ("softplus", "", Tape::softplus, ALL),
        ("broadcast_to", "", |t, x| t.broadcast_to(x, &[3, 41]), ALL),
        // Several ops as one kernel.
        ("tanh", "chain", chain, ALL),
    ];
    let positive = |op: &str| matches!(op, "sqrt" | "log");
    let all = table.map(|(op, note, f, numbers)| {
        let x = vec![Input::new(&[41], Kind::Special(numbers))];
        let sample = Sample::new(op, x, move |t, x| {
            // What lies between the special numbers is made positive where the op wants it so.
            let x = if positive(op) { t.abs(x[0])? } else { x[0] };
            f(t, x)
        });
        // tanh of a driver is a quotient of exponentials, which loses the digits of small numbers.
        sample.note(note).tolerance(3e-5, 2e-7).non_finite(NonFinite::Same)
    });
    all.into()
}

fn chain(t: &mut Tape, x: Var) -> Result<Var> {
    let a = t.leaky_relu(x, 0.2)?;
    let b = t.clamp(a, -4.0, 4.0)?;
    let c = t.maximum(b, x)?;
    let d = t.minimum(c, b)?;
    t.tanh(d)
}

fn of_several() -> Vec<Sample> {
    let table: [(&'static str, usize, Build); 10] = [
        ("add", 2, |t, x| t.add(x[0], x[1])),
        ("sub", 2, |t, x| t.sub(x[0], x[1])),
        ("mul", 2, |t, x| t.mul(x[0], x[1])),
        ("maximum", 2, |t, x| t.maximum(x[0], x[1])),
        ("minimum", 2, |t, x| t.minimum(x[0], x[1])),
        ("greater", 2, |t, x| t.greater(x[0], x[1])),
        ("choose", 3, |t, x| t.choose(x[0], x[1], x[2])),
        ("clamp_grad", 2, |t, x| t.record(ClampGrad { low: -0.5, high: 1.0 }, x)),
        ("leaky_relu_grad", 2, |t, x| t.record(LeakyReluGrad { slope: 0.2 }, x)),
        ("normalize", 4, |t, x| {
            let rows = t.reshape(x[0], &[1, 41])?;
            t.record(Normalize, &[rows, x[1], x[2], x[3]])
        }),
    ];
    let mut all = Vec::new();
    for (op, count, build) in table {
        // One input after the other.
        for special in 0..count {
            let decides = matches!(op, "greater" | "choose" | "clamp_grad" | "leaky_relu_grad");
            let numbers = if decides { NORMAL } else { ALL };
            let kind = |i| if i == special { Kind::Special(numbers) } else { Kind::NORMAL };
            let inputs = (0..count).map(|i| Input::new(&[41], kind(i))).collect();
            let sample = Sample::new(op, inputs, build).note(format!("input {special}"));
            all.push(sample.tolerance(1e-6, 1e-6).non_finite(NonFinite::Same));
        }
    }
    // Quotients of finite numbers by denormal ones are infinite or not, as a driver flushes them.
    let inputs = vec![Input::new(&[41], Kind::Special(ONE_NAN)), Input::new(&[41], Kind::NORMAL)];
    let div = Sample::new("div", inputs, |t, x| t.div(x[0], x[1]));
    all.push(div.tolerance(3e-6, 1e-7).non_finite(NonFinite::Same));
    all
}

fn kernels() -> Vec<Sample> {
    let table: [(&'static str, &str, &[usize], Build); 14] = [
        ("sum", "columns", &[5, 65], |t, x| t.sum(x[0], &[0])),
        ("sum", "rows", &[65, 5], |t, x| t.sum(x[0], &[1])),
        ("sum", "stages", &[3, 4097], |t, x| t.sum(x[0], &[1])),
        ("moments", "", &[7, 65], |t, x| t.moments(x[0])),
        ("moments", "stages", &[300, 5], |t, x| t.moments(x[0])),
        ("moments", "vectors", &[300, 8], |t, x| t.moments(x[0])),
        ("softmax", "", &[9, 6], |t, x| t.softmax(x[0])),
        ("softmax", "groups", &[4, 100], |t, x| t.softmax(x[0])),
        ("max_pool", "", &[2, 5, 5, 5], |t, x| {
            // So that no window begins with a special number.
            let x = t.pad(x[0], &[0, 1, 1, 0], &[2, 6, 6, 5])?;
            t.max_pool(x, [3, 2])
        }),
        ("permute", "", &[5, 9], |t, x| t.permute(x[0], &[1, 0])),
        ("slice", "", &[5, 9], |t, x| t.slice(x[0], &[0, 1], &[4, 7])),
        ("pad", "", &[5, 9], |t, x| t.pad(x[0], &[1, 0], &[7, 12])),
        ("range", "", &[45], |t, x| t.range(x[0], 1, 40)),
        ("reshape", "", &[45], |t, x| t.reshape(x[0], &[9, 5])),
    ];
    let one = |numbers: &'static [f32]| {
        move |&(op, note, shape, build): &(&'static str, &str, &[usize], Build)| {
            let x = vec![Input::new(shape, Kind::Special(numbers))];
            let sample = Sample::new(op, x, build).note(note).note(format!("{}", numbers.len()));
            sample.tolerance(5e-6, 2e-6).non_finite(NonFinite::Same)
        }
    };
    // A variance is made of infinite numbers in more than one way: NaN for it is as good.
    let mut all: Vec<Sample> = table.iter().map(one(ONE_NAN)).collect();
    all.extend(table.iter().filter(|row| row.0 != "moments").map(one(ALL)));
    let two = |a: &[usize], b: &[usize]| {
        vec![Input::new(a, Kind::Special(ALL)), Input::new(b, Kind::Special(ONE_NAN))]
    };
    let append = Sample::new("append", two(&[3, 5, 4], &[3, 2]), |t, x| t.append(x[0], x[1]));
    let shift =
        vec![Input::new(&[2, 5, 4, 3], Kind::Special(ALL)), Input::new(&[2, 2], Kind::NORMAL)];
    let shift =
        Sample::new("shift", shift, |t, x| t.record(super::super::shift::Shift { back: false }, x));
    let mut sums = two(&[7, 5], &[7, 5]);
    sums.push(Input::new(&[5], Kind::NORMAL));
    let sums = Sample::new("centered_sums", sums, |t, x| t.record(CenteredSums, x));
    let others = [append, shift, sums.tolerance(5e-6, 2e-6)];
    all.extend(others.map(|sample| sample.non_finite(NonFinite::Spreads)));
    all
}

fn products() -> Vec<Sample> {
    let mut all = Vec::new();
    for special in 0..2 {
        for [m, n, k] in [[5, 7, 3], [65, 33, 17], [12, 130, 65]] {
            let kind = |i| if i == special { Kind::Special(ONE_NAN) } else { Kind::NORMAL };
            let inputs = vec![Input::new(&[m, k], kind(0)), Input::new(&[k, n], kind(1))];
            let sample = Sample::new("matmul", inputs, |t, x| t.matmul(x[0], x[1]));
            all.push(sample.note(format!("input {special}")).non_finite(NonFinite::Same));
        }
        for (spec, n, large, small) in [
            (
                ConvSpec {
                    kernel: [4, 4],
                    stride: [2, 2],
                    pad: [1, 1],
                    large: [8, 8],
                    small: [4, 4],
                },
                3,
                3,
                8,
            ),
            (
                ConvSpec {
                    kernel: [3, 3],
                    stride: [1, 1],
                    pad: [1, 1],
                    large: [5, 4],
                    small: [5, 4],
                },
                2,
                4,
                3,
            ),
            (
                ConvSpec {
                    kernel: [4, 4],
                    stride: [2, 2],
                    pad: [1, 1],
                    large: [16, 12],
                    small: [8, 6],
                },
                2,
                16,
                17,
            ),
        ] {
            let kind = |i| if i == special { Kind::Special(ONE_NAN) } else { Kind::NORMAL };
            let x = [n, spec.large[0], spec.large[1], large];
            let y = [n, spec.small[0], spec.small[1], small];
            let w = [spec.kernel[0], spec.kernel[1], large, small];
            let two =
                |a: &[usize], b: &[usize]| vec![Input::new(a, kind(0)), Input::new(b, kind(1))];
            all.extend(
                [
                    Sample::new("conv2d", two(&x, &w), move |t, v| t.conv2d(v[0], v[1], spec)),
                    Sample::new("conv_transpose2d", two(&y, &w), move |t, v| {
                        t.conv_transpose2d(v[0], v[1], spec)
                    }),
                    Sample::new("conv_weight_grad", two(&x, &y), move |t, v| {
                        t.conv_weight_grad(v[0], v[1], spec)
                    }),
                ]
                .map(|sample| {
                    sample.note(format!("input {special}")).non_finite(NonFinite::Spreads)
                }),
            );
        }
    }
    all.into_iter().map(|sample| sample.tolerance(1e-6, 3e-6)).collect()
}
