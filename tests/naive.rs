//! An interpreter of tapes in 64 bits: each op by its formula, one number at a time. It shares no
//! code with the ops' twins.

use std::any::Any;
use std::collections::BTreeMap;

use dcgan::ops::Op;
use dcgan::ops::append::Append;
use dcgan::ops::conv::{Conv2d, ConvSpec, ConvTranspose2d, ConvWeightGrad};
use dcgan::ops::elementwise as e;
use dcgan::ops::matmul::Matmul;
use dcgan::ops::moments::{CenteredSums, Moments};
use dcgan::ops::norm::Normalize;
use dcgan::ops::pool::MaxPool;
use dcgan::ops::random::{Advance, Random};
use dcgan::ops::reduce::Sum;
use dcgan::ops::shape::{BroadcastTo, Pad, Permute, Range, Reshape, SliceBox};
use dcgan::ops::shift::Shift;
use dcgan::ops::softmax::Softmax;
use dcgan::tape::{Assigned, Node, Tape, Var};

/// Values of the feeds and of the states before the step, by name.
pub(crate) type Sources = BTreeMap<String, Vec<f64>>;

/// The values of `targets`.
pub(crate) fn eval(tape: &Tape, sources: &Sources, targets: &[Var]) -> Vec<Vec<f64>> {
    let nodes = tape.nodes();
    let mut needed = vec![false; nodes.len()];
    for target in targets {
        needed[target.index()] = true;
    }
    for i in (0..nodes.len()).rev() {
        if needed[i] {
            for input in &nodes[i].inputs {
                needed[input.index()] = true;
            }
        }
    }
    let mut values: Vec<Option<Vec<f64>>> = vec![None; nodes.len()];
    for (name, var) in tape.feeds() {
        values[var.index()] = sources.get(name).cloned();
    }
    for (name, used) in tape.states() {
        values[used.before.index()] = sources.get(name).cloned();
    }
    for i in (0..nodes.len()).filter(|&i| needed[i]) {
        if values[i].is_some() {
            continue;
        }
        let node = &nodes[i];
        let inputs: Vec<&[f64]> =
            node.inputs.iter().map(|v| values[v.index()].as_deref().unwrap()).collect();
        let shapes: Vec<&[usize]> = node.inputs.iter().map(|&v| tape.shape(v)).collect();
        let value = one(node, &inputs, &shapes);
        assert_eq!(value.len(), node.shape.iter().product::<usize>(), "{}", node.op.name());
        values[i] = Some(value);
    }
    targets.iter().map(|v| values[v.index()].clone().unwrap()).collect()
}

/// The coordinates of every element of `shape`, in order.
fn places(shape: &[usize]) -> Vec<Vec<usize>> {
    let mut places = vec![Vec::new()];
    for &size in shape {
        places = places
            .iter()
            .flat_map(|p| (0..size).map(move |i| [p.as_slice(), &[i]].concat()))
            .collect();
    }
    places
}

/// The flat index of a place.
fn flat(shape: &[usize], place: &[usize]) -> usize {
    shape.iter().zip(place).fold(0, |at, (size, i)| at * size + i)
}

/// The flat index in a tensor of `shape` that broadcasts to `place` of the output.
fn stretched(shape: &[usize], place: &[usize]) -> usize {
    let lead = place.len() - shape.len();
    shape
        .iter()
        .zip(&place[lead..])
        .fold(0, |at, (&size, &i)| at * size + if size == 1 { 0 } else { i })
}

type Function = Box<dyn Fn(&[f64]) -> f64>;

/// The formula of an elementwise op.
fn formula(op: &dyn Op) -> Option<Function> {
    let any: &dyn Any = op;
    macro_rules! table {
        ($($kind:ty => |$op:ident, $x:ident| $body:expr;)+) => {
            $(if let Some(op) = any.downcast_ref::<$kind>() {
                let $op = op.clone();
                let _ = &$op;
                return Some(Box::new(move |$x: &[f64]| $body));
            })+
        };
    }
    table! {
        e::Add => |_op, x| x[0] + x[1];
        e::Sub => |_op, x| x[0] - x[1];
        e::Mul => |_op, x| x[0] * x[1];
        e::Div => |_op, x| x[0] / x[1];
        e::Maximum => |_op, x| if x[0].is_nan() || x[0] > x[1] { x[0] } else { x[1] };
        e::Minimum => |_op, x| if x[0].is_nan() || x[0] < x[1] { x[0] } else { x[1] };
        e::Greater => |_op, x| f64::from(u8::from(x[0] > x[1]));
        e::Finite => |_op, x| f64::from(u8::from(x[0].is_finite()));
        e::Choose => |_op, x| if x[0] > 0.0 { x[1] } else { x[2] };
        e::Affine => |op, x| f64::from(op.scale) * x[0] + f64::from(op.shift);
        e::Sqrt => |_op, x| x[0].sqrt();
        e::Recip => |_op, x| 1.0 / x[0];
        e::Exp => |_op, x| if x[0] < -87.0 {
            (-87.0_f64).exp()
        } else if x[0] > 88.0 {
            88.0_f64.exp()
        } else {
            x[0].exp()
        };
        e::Log => |_op, x| x[0].ln();
        e::Abs => |_op, x| if x[0] < 0.0 { -x[0] } else { x[0] };
        e::OneMinusExp => |op, x| {
            let x = f64::from(op.rate) * x[0];
            if x < -88.0 { -(88.0_f64).exp_m1() } else { -(-x).exp_m1() }
        };
        e::Sign => |_op, x| if x[0] == 0.0 { 0.0 } else { x[0].signum() };
        e::Clamp => |op, x| x[0].clamp(f64::from(op.low), f64::from(op.high));
        e::ClampGrad => |op, x| {
            let outside = x[0] < f64::from(op.low) || x[0] > f64::from(op.high);
            if outside { 0.0 } else { x[1] }
        };
        e::LeakyRelu => |op, x| if x[0] <= 0.0 { f64::from(op.slope) * x[0] } else { x[0] };
        e::LeakyReluGrad => |op, x| if x[0] <= 0.0 { f64::from(op.slope) * x[1] } else { x[1] };
        e::Tanh => |_op, x| x[0].tanh();
        e::Sigmoid => |_op, x| if x[0] < -700.0 { 0.0 } else { 1.0 / (1.0 + (-x[0]).exp()) };
        e::Softplus => |_op, x| if x[0] > 40.0 { x[0] } else { x[0].exp().ln_1p() };
        e::FromU8 => |_op, x| x[0] / 127.5 - 1.0;
        e::Fill => |op, _x| f64::from(op.value);
        BroadcastTo => |_op, x| x[0];
        Normalize => |_op, x| (x[0] - x[1]) * x[2] + x[3];
    }
    None
}

fn one(node: &Node, inputs: &[&[f64]], shapes: &[&[usize]]) -> Vec<f64> {
    let op: &dyn Op = &*node.op;
    let any: &dyn Any = op;
    let places = || places(&node.shape);
    if let Some(f) = formula(op) {
        let mut numbers = vec![0.0; inputs.len()];
        let at = |place: Vec<usize>| {
            for ((number, x), shape) in numbers.iter_mut().zip(inputs).zip(shapes) {
                *number = x[stretched(shape, &place)];
            }
            f(&numbers)
        };
        return places().into_iter().map(at).collect();
    }
    if any.is::<Reshape>() || any.is::<Assigned>() {
        return inputs[0].to_vec();
    }
    if let Some(op) = any.downcast_ref::<Range>() {
        return (0..op.len).map(|i| inputs[0][op.start + i]).collect();
    }
    if let Some(Permute(axes)) = any.downcast_ref() {
        let at = |place: Vec<usize>| {
            let mut from = vec![0; place.len()];
            for (d, &axis) in axes.iter().enumerate() {
                from[axis] = place[d];
            }
            inputs[0][flat(shapes[0], &from)]
        };
        return places().into_iter().map(at).collect();
    }
    if let Some(op) = any.downcast_ref::<SliceBox>() {
        let from = |place: &[usize]| -> Vec<usize> {
            place.iter().zip(&op.start).map(|(i, start)| i + start).collect()
        };
        return places().iter().map(|p| inputs[0][flat(shapes[0], &from(p))]).collect();
    }
    if let Some(op) = any.downcast_ref::<Pad>() {
        let mut y = vec![0.0; node.shape.iter().product()];
        for (place, x) in self::places(shapes[0]).iter().zip(inputs[0]) {
            let to: Vec<usize> = place.iter().zip(&op.start).map(|(i, start)| i + start).collect();
            y[flat(&node.shape, &to)] = *x;
        }
        return y;
    }
    if any.is::<Append>() {
        let channels = *shapes[0].last().unwrap();
        let at = |place: &Vec<usize>| match place.split_last() {
            Some((&c, rest)) if c < channels => inputs[0][flat(shapes[0], &[rest, &[c]].concat())],
            Some((&c, rest)) => inputs[1][flat(shapes[1], &[rest[0], c - channels])],
            None => panic!("append to {shapes:?}"),
        };
        return places().iter().map(at).collect();
    }
    if let Some(op) = any.downcast_ref::<Shift>() {
        let mut y = vec![0.0; node.shape.iter().product()];
        // Scattered, where the op gathers.
        for (place, &x) in places().iter().zip(inputs[0]) {
            let to = [0, 1].map(|d| {
                let moved = inputs[1][2 * place[0] + d].floor();
                place[d + 1] as f64 + if op.back { -moved } else { moved }
            });
            if (0..2).all(|d| to[d] >= 0.0 && to[d] < node.shape[d + 1] as f64) {
                let to = [place[0], to[0] as usize, to[1] as usize, place[3]];
                y[flat(&node.shape, &to)] = x;
            }
        }
        return y;
    }
    reductions(node, inputs, shapes)
}

fn reductions(node: &Node, inputs: &[&[f64]], shapes: &[&[usize]]) -> Vec<f64> {
    let any: &dyn Any = &*node.op;
    if any.is::<Sum>() {
        let [outer, rows, inner] = shapes[0] else { panic!("sum of {shapes:?}") };
        let mut y = vec![0.0; outer * inner];
        for o in 0..*outer {
            for r in 0..*rows {
                for i in 0..*inner {
                    y[o * inner + i] += inputs[0][(o * rows + r) * inner + i];
                }
            }
        }
        return y;
    }
    if any.is::<Moments>() {
        let [rows, c] = shapes[0] else { panic!("moments of {shapes:?}") };
        let column = |i: usize| (0..*rows).map(move |r| inputs[0][r * c + i]);
        let mean: Vec<f64> = (0..*c).map(|i| column(i).sum::<f64>() / *rows as f64).collect();
        let var = (0..*c)
            .map(|i| column(i).map(|x| (x - mean[i]) * (x - mean[i])).sum::<f64>() / *rows as f64);
        return mean.iter().copied().chain(var).collect();
    }
    if any.is::<CenteredSums>() {
        let [rows, c] = shapes[0] else { panic!("centered_sums of {shapes:?}") };
        let (g, x, mean) = (inputs[0], inputs[1], inputs[2]);
        let sums = |f: &dyn Fn(usize, usize) -> f64| -> Vec<f64> {
            (0..*c).map(|i| (0..*rows).map(|r| f(r * c + i, i)).sum()).collect()
        };
        return [sums(&|at, _| g[at]), sums(&|at, i| g[at] * (x[at] - mean[i]))].concat();
    }
    if let Some(op) = any.downcast_ref::<MaxPool>() {
        let mut y = vec![f64::NEG_INFINITY; node.shape.iter().product()];
        let [h, w] = [shapes[0][1], shapes[0][2]];
        for (place, &x) in places(shapes[0]).iter().zip(inputs[0]) {
            for i in 0..op.grid[0] {
                for j in 0..op.grid[1] {
                    // A pixel covers [r, r + 1), a window [i h / gh, (i + 1) h / gh).
                    let covers = |r: usize, i: usize, grid: usize, size: usize| {
                        r * grid < (i + 1) * size && (r + 1) * grid > i * size
                    };
                    if covers(place[1], i, op.grid[0], h) && covers(place[2], j, op.grid[1], w) {
                        let at = flat(&node.shape, &[place[0], i, j, place[3]]);
                        y[at] = if x.is_nan() || x > y[at] { x } else { y[at] };
                    }
                }
            }
        }
        return y;
    }
    if any.is::<Softmax>() {
        let row = |x: &[f64]| -> Vec<f64> {
            let largest = x.iter().fold(f64::NEG_INFINITY, |m, &x| m.max(x));
            let exp: Vec<f64> = x.iter().map(|x| (x - largest).exp()).collect();
            exp.iter().map(|e| e / exp.iter().sum::<f64>()).collect()
        };
        return inputs[0].chunks(node.shape[1]).flat_map(row).collect();
    }
    if let Some(op) = any.downcast_ref::<Matmul>() {
        let &[.., m, n] = &node.shape[..] else { panic!("matmul of {shapes:?}") };
        let &[.., rows, columns] = shapes[0] else { panic!("matmul of {shapes:?}") };
        let k = if op.transpose_a { rows } else { columns };
        let at = |place: usize| {
            let (batch, i, j) = (place / (m * n), place / n % m, place % n);
            let (a, b) = (&inputs[0][batch * m * k..], &inputs[1][batch * k * n..]);
            let a = |l: usize| a[if op.transpose_a { l * m + i } else { i * k + l }];
            let b = |l: usize| b[if op.transpose_b { j * k + l } else { l * n + j }];
            (0..k).map(|l| a(l) * b(l)).sum()
        };
        return (0..node.shape.iter().product()).map(at).collect();
    }
    if let Some(Conv2d(spec)) = any.downcast_ref() {
        let (x, w) = ((inputs[0], shapes[0]), (inputs[1], shapes[1]));
        let mut y = vec![0.0; node.shape.iter().product()];
        trilinear(spec, x.1[0], w.1[2], w.1[3], |ix, iw, iy| y[iy] += x.0[ix] * w.0[iw]);
        return y;
    }
    if let Some(ConvTranspose2d(spec)) = any.downcast_ref() {
        let (y, w) = ((inputs[0], shapes[0]), (inputs[1], shapes[1]));
        let mut x = vec![0.0; node.shape.iter().product()];
        trilinear(spec, y.1[0], w.1[2], w.1[3], |ix, iw, iy| x[ix] += y.0[iy] * w.0[iw]);
        return x;
    }
    if let Some(ConvWeightGrad(spec)) = any.downcast_ref() {
        let (x, y) = ((inputs[0], shapes[0]), (inputs[1], shapes[1]));
        let mut w = vec![0.0; node.shape.iter().product()];
        trilinear(spec, x.1[0], x.1[3], y.1[3], |ix, iw, iy| w[iw] += x.0[ix] * y.0[iy]);
        return w;
    }
    if let Some(op) = any.downcast_ref::<Random>() {
        return random(op, inputs[0]);
    }
    if any.is::<Advance>() {
        let mut next = inputs[0].to_vec();
        next[2] = (next[2] + 1.0) % 4_294_967_296.0;
        return next;
    }
    panic!("no formula for {}", node.op.name());
}

/// Calls `term` with the flat indices of x, w and y for every term of the sum that the three
/// convolutions share.
fn trilinear(
    spec: &ConvSpec,
    batch: usize,
    large: usize,
    small: usize,
    mut term: impl FnMut(usize, usize, usize),
) {
    let ([kh, kw], [sh, sw], [top, left]) = (spec.kernel, spec.stride, spec.pad);
    let ([height, width], [h, w]) = (spec.large, spec.small);
    for (n, oy, ox) in triples(batch, h, w) {
        for (ky, kx, l) in triples(kh, kw, large) {
            let iy = (oy * sh + ky) as i64 - top as i64;
            let ix = (ox * sw + kx) as i64 - left as i64;
            if iy < 0 || ix < 0 || iy >= height as i64 || ix >= width as i64 {
                continue;
            }
            let at_x = ((n * height + iy as usize) * width + ix as usize) * large + l;
            for s in 0..small {
                let at_w = ((ky * kw + kx) * large + l) * small + s;
                let at_y = ((n * h + oy) * w + ox) * small + s;
                term(at_x, at_w, at_y);
            }
        }
    }
}

fn triples(a: usize, b: usize, c: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    (0..a).flat_map(move |i| (0..b).flat_map(move |j| (0..c).map(move |k| (i, j, k))))
}

/// Philox4x32-10, from the paper.
fn philox(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let (mut c, mut k) = (counter, key);
    for _ in 0..10 {
        let p0 = 0xD251_1F53_u64 * u64::from(c[0]);
        let p1 = 0xCD9E_8D57_u64 * u64::from(c[2]);
        let (high0, low0) = ((p0 >> 32) as u32, p0 as u32);
        let (high1, low1) = ((p1 >> 32) as u32, p1 as u32);
        c = [high1 ^ c[1] ^ k[0], low1, high0 ^ c[3] ^ k[1], low0];
        k = [k[0].wrapping_add(0x9E37_79B9), k[1].wrapping_add(0xBB67_AE85)];
    }
    c
}

fn random(op: &Random, key: &[f64]) -> Vec<f64> {
    let len: usize = op.shape.iter().product();
    let key: Vec<u32> = key.iter().map(|&k| k as u32).collect();
    let blocks = (0..len.div_ceil(4)).flat_map(|block| {
        let bits = philox([block as u32, key[2], op.stream, 0], [key[0], key[1]]);
        let unit = bits.map(|b| f64::from(b >> 8) / f64::from(1 << 24));
        if !op.normal {
            return unit;
        }
        let pair = |a: f64, b: f64| {
            let radius = (-2.0 * (1.0 - a).ln()).sqrt();
            let angle = std::f64::consts::TAU * b;
            [radius * angle.cos(), radius * angle.sin()]
        };
        let ([p, q], [r, s]) = (pair(unit[0], unit[1]), pair(unit[2], unit[3]));
        [p, q, r, s]
    });
    blocks.take(len).collect()
}

/// What a program with these states and feeds must give: the fetches by name, and the states after
/// the step.
pub(crate) fn step(tape: &Tape, sources: &Sources) -> (Sources, Sources) {
    let fetches: Vec<(String, Var)> = tape.fetches().iter().map(|(n, &v)| (n.clone(), v)).collect();
    let states: Vec<(String, Var)> =
        tape.states().iter().map(|(n, s)| (n.clone(), s.after)).collect();
    let vars: Vec<Var> = fetches.iter().chain(&states).map(|(_, v)| *v).collect();
    let values = eval(tape, sources, &vars);
    let (fetched, after) = values.split_at(fetches.len());
    let named = |names: &[(String, Var)], values: &[Vec<f64>]| -> Sources {
        names.iter().map(|(n, _)| n.clone()).zip(values.iter().cloned()).collect()
    };
    (named(&fetches, fetched), named(&states, after))
}
