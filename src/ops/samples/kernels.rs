//! Samples of the kernels that are no convolutions, and of the views.

use super::super::moments::CenteredSums;
use super::super::shift::Shift;
use super::{Input, Kind, Sample};

pub(super) fn samples() -> Vec<Sample> {
    let mut all = sums();
    all.extend(statistics());
    all.extend(products());
    all.extend(moves());
    all.extend(joins());
    all.extend(appended());
    all.extend(shifted());
    all.extend(pools());
    all.extend(softmaxes());
    all.extend(random());
    all
}

fn sums() -> Vec<Sample> {
    let mut table: Vec<(Vec<usize>, Vec<usize>)> = Vec::new();
    // Every subset of the axes.
    for set in 1..16_usize {
        table.push((vec![2, 3, 4, 5], (0..4).filter(|d| set >> d & 1 == 1).collect()));
    }
    // The last four by vectors, rows in whole flights and not.
    let others: [(&[usize], &[usize]); 17] = [
        (&[1], &[0]),
        (&[2], &[0]),
        (&[64], &[0]),
        (&[65], &[0]),
        (&[1, 7], &[0]),
        (&[7, 1], &[1]),
        (&[1757], &[0]),
        (&[5, 65], &[1]),
        (&[65, 5], &[0]),
        (&[7, 129, 65], &[0, 2]),
        (&[3, 4097, 5], &[1]),
        (&[4161, 3], &[0]),
        (&[2, 65, 65, 3], &[0, 1, 2]),
        (&[300, 8], &[0]),
        (&[2, 130, 4], &[1]),
        (&[1000, 3], &[0]),
        (&[8192], &[0]),
    ];
    table.extend(others.map(|(shape, axes)| (shape.to_vec(), axes.to_vec())));
    let mut all: Vec<Sample> = table
        .into_iter()
        .map(|(shape, axes)| {
            let note = format!("over {axes:?}");
            let op = if axes.iter().all(|&a| shape[a] == 1) { "reshape" } else { "sum" };
            let inputs = vec![Input::new(&shape, Kind::NORMAL)];
            let sample = Sample::new(op, inputs, move |t, x| t.sum(x[0], &axes));
            sample.note(note).tolerance(1e-6, 4e-6)
        })
        .collect();
    for (shape, kind) in [
        (&[131_072][..], Kind::NORMAL),
        (&[131_072], Kind::Uniform(0.0, 1.0)),
        (&[65_537, 3], Kind::Uniform(0.0, 1.0)),
        (&[300, 3], Kind::Normal { mean: 1000.0, scale: 0.1 }),
    ] {
        let long = vec![Input::new(shape, kind)];
        let sample = Sample::new("sum", long, |t, x| t.sum(x[0], &[0])).note(format!("{kind:?}"));
        all.push(sample.tolerance(1e-6, 3e-6).rough());
    }
    let mean = vec![Input::new(&[3, 5, 7], Kind::NORMAL)];
    all.push(Sample::new("sum", mean, |t, x| t.mean(x[0], &[0, 2])).note("mean over [0, 2]"));
    let length = vec![Input::new(&[3, 4, 5], Kind::NORMAL)];
    let length = Sample::new("sum", length, |t, x| {
        let square = t.mul(x[0], x[0])?;
        let sum = t.sum(square, &[1, 2])?;
        t.sqrt(sum)
    });
    all.push(length.note("length of each row"));
    all
}

fn statistics() -> Vec<Sample> {
    let mut all = Vec::new();
    for (rows, c) in [(1, 3), (2, 1), (7, 1), (65, 4), (331, 8), (130, 65), (5000, 3)] {
        let x = vec![Input::new(&[rows, c], Kind::Normal { mean: 0.5, scale: 2.0 })];
        let moments = Sample::new("moments", x, |t, x| t.moments(x[0])).tolerance(3e-6, 1e-6);
        all.push(if rows > 1000 { moments.rough() } else { moments });
        let inputs = vec![
            Input::new(&[rows, c], Kind::NORMAL),
            Input::new(&[rows, c], Kind::NORMAL),
            Input::new(&[c], Kind::NORMAL),
        ];
        let sums = Sample::new("centered_sums", inputs, |t, x| t.record(CenteredSums, x));
        let sums = sums.tolerance(1e-6, 5e-6);
        all.push(if rows > 1000 { sums.rough() } else { sums });
    }
    // Where the mean is far from zero, sums of squares leave no digit of the variance.
    for (rows, c) in [(64, 1), (4097, 3), (20_000, 1), (20_000, 2), (40_000, 8)] {
        let kind = Kind::Normal { mean: 1000.0, scale: 0.1 };
        let moments =
            Sample::new("moments", vec![Input::new(&[rows, c], kind)], |t, x| t.moments(x[0]));
        all.push(moments.note("1000 ± 0.1").tolerance(5e-5, 0.0).rough());
    }
    let constant = vec![Input::new(&[300, 3], Kind::Uniform(1.25, 1.25))];
    let constant = Sample::new("moments", constant, |t, x| t.moments(x[0]));
    all.push(constant.note("constant").tolerance(1e-6, 1e-9).rough());
    all
}

fn products() -> Vec<Sample> {
    let mut all = Vec::new();
    let sizes = [
        [1, 1, 1],
        [2, 3, 4],
        [1, 5, 100],
        [7, 1, 3],
        [5, 7, 1],
        [65, 33, 17],
        [12, 130, 65],
        [64, 64, 64],
    ];
    for [m, n, k] in sizes {
        for (ta, tb) in [(false, false), (true, false), (false, true), (true, true)] {
            let a = if ta { [k, m] } else { [m, k] };
            let b = if tb { [n, k] } else { [k, n] };
            let inputs = vec![Input::new(&a, Kind::NORMAL), Input::new(&b, Kind::NORMAL)];
            let sample = Sample::new("matmul", inputs, move |t, x| t.matmul_t(x[0], x[1], ta, tb));
            let flag = |on, name| if on { name } else { "" };
            let sample = sample.note(format!("{}{}", flag(ta, "aᵀ"), flag(tb, "bᵀ")));
            all.push(sample.tolerance(1e-6, 3e-6));
        }
    }
    // A batch of products, whose matrices do not hold whole vectors, and do.
    for [i, m, n, k] in [[1, 3, 2, 5], [3, 5, 7, 2], [2, 1, 9, 4], [5, 17, 33, 9], [2, 64, 32, 12]]
    {
        for (ta, tb) in [(false, false), (true, false), (false, true), (true, true)] {
            let a = if ta { [i, k, m] } else { [i, m, k] };
            let b = if tb { [i, n, k] } else { [i, k, n] };
            let inputs = vec![Input::new(&a, Kind::NORMAL), Input::new(&b, Kind::NORMAL)];
            let sample = Sample::new("matmul", inputs, move |t, x| t.matmul_t(x[0], x[1], ta, tb));
            let flag = |on, name| if on { name } else { "" };
            let sample = sample.note(format!("batch {}{}", flag(ta, "aᵀ"), flag(tb, "bᵀ")));
            all.push(sample.tolerance(1e-6, 3e-6));
        }
    }
    let long = vec![Input::new(&[3, 4099], Kind::NORMAL), Input::new(&[4099, 2], Kind::NORMAL)];
    let long = Sample::new("matmul", long, |t, x| t.matmul(x[0], x[1]));
    all.push(long.tolerance(1e-6, 1e-5).rough());
    all
}

fn moves() -> Vec<Sample> {
    let one = |op, shape: &[usize]| (op, vec![Input::new(shape, Kind::NORMAL)]);
    let mut all = Vec::new();
    let permutations: [(&[usize], &'static [usize]); 8] = [
        (&[], &[]),
        (&[5], &[0]),
        (&[3, 5], &[1, 0]),
        (&[65, 33], &[1, 0]),
        (&[2, 3, 4], &[2, 0, 1]),
        (&[2, 3, 4], &[0, 2, 1]),
        (&[2, 3, 5, 4], &[3, 2, 0, 1]),
        (&[2, 5, 7, 65], &[0, 3, 1, 2]),
    ];
    for (shape, axes) in permutations {
        let (op, inputs) = one("permute", shape);
        let sample = Sample::new(op, inputs, move |t, x| t.permute(x[0], axes));
        all.push(sample.note(format!("{axes:?}")).tolerance(0.0, 0.0));
    }
    type Box3 = (&'static [usize], &'static [usize], &'static [usize]);
    // The whole, where the part starts, the part.
    let boxes: [Box3; 7] = [
        (&[4, 5], &[1, 2], &[2, 3]),
        (&[4, 5], &[0, 4], &[4, 1]),
        (&[2, 65, 33], &[1, 3, 7], &[1, 59, 25]),
        (&[3, 4, 5, 6], &[0, 1, 0, 2], &[3, 2, 5, 3]),
        (&[7, 1], &[6, 0], &[1, 1]),
        (&[9, 3], &[2, 0], &[5, 3]),
        (&[1757], &[3], &[1001]),
    ];
    for (whole, start, part) in boxes {
        // Whole rows are a range.
        let rows = part[1..] == whole[1..];
        let (op, inputs) = one(if rows { "range" } else { "slice" }, whole);
        let cut = Sample::new(op, inputs, move |t, x| t.slice(x[0], start, part));
        all.push(cut.note(format!("slice of {part:?} at {start:?}")).tolerance(0.0, 0.0));
        let (op, inputs) = one("pad", part);
        let put = Sample::new(op, inputs, move |t, x| t.pad(x[0], start, whole));
        all.push(put.note(format!("to {whole:?} at {start:?}")).tolerance(0.0, 0.0));
    }
    for (start, len) in [(0, 3), (5, 7), (1, 1), (0, 60), (59, 1), (4, 8)] {
        let (op, inputs) = one("range", &[3, 4, 5]);
        let sample = Sample::new(op, inputs, move |t, x| t.range(x[0], start, len));
        all.push(sample.note(format!("{len} from {start}")).tolerance(0.0, 0.0));
        // Elementwise ops read a range where it is, kernels may not.
        let (op, inputs) = one("range", &[3, 4, 5]);
        let read = Sample::new(op, inputs, move |t, x| {
            let part = t.range(x[0], start, len)?;
            let y = t.affine(part, 2.0, 1.0)?;
            let row = t.reshape(part, &[1, len])?;
            let product = t.matmul_t(row, row, true, false)?;
            t.add(product, y)
        });
        all.push(read.note(format!("{len} from {start}, read by others")).tolerance(1e-6, 1e-6));
    }
    let (op, inputs) = one("reshape", &[4, 6]);
    let sample = Sample::new(op, inputs, |t, x| {
        let rows = t.reshape(x[0], &[8, 3])?;
        t.transpose(rows)
    });
    all.push(sample.note("then transposed"));
    all
}

/// Grids that divide the picture, that do not (the windows then overlap), and of one pixel a window.
fn pools() -> Vec<Sample> {
    let table: [([usize; 4], [usize; 2]); 7] = [
        ([1, 1, 1, 1], [1, 1]),
        ([2, 4, 4, 3], [4, 4]),
        ([3, 8, 16, 5], [4, 4]),
        ([2, 7, 7, 65], [4, 4]),
        ([1, 14, 6, 4], [4, 4]),
        ([5, 9, 3, 1], [1, 2]),
        ([2, 33, 5, 7], [4, 5]),
    ];
    let kinds = [Kind::NORMAL, Kind::Uniform(-2.0, -1.0)];
    let all = table.iter().flat_map(|&(shape, grid)| {
        kinds.map(|kind| {
            let x = vec![Input::new(&shape, kind)];
            let sample = Sample::new("max_pool", x, move |t, x| t.max_pool(x[0], grid));
            let sample = sample.note(format!("to {grid:?}, {kind:?}")).tolerance(0.0, 0.0);
            let divides = shape[1].is_multiple_of(grid[0]) && shape[2].is_multiple_of(grid[1]);
            if divides { sample } else { sample.rough() }
        })
    });
    all.collect()
}

/// More columns than a workgroup has invocations and than they can hold, one column, more columns than a
/// vector, and numbers whose exponentials overflow.
fn softmaxes() -> Vec<Sample> {
    let table: [(&[usize], Kind); 8] = [
        (&[5, 200], Kind::Normal { mean: 80.0, scale: 5.0 }),
        (&[3, 2049], Kind::NORMAL),
        (&[3, 1], Kind::NORMAL),
        (&[2, 3], Kind::NORMAL),
        (&[65, 7], Kind::Normal { mean: 3.0, scale: 2.0 }),
        (&[2, 5, 33], Kind::NORMAL),
        (&[130, 64], Kind::Normal { mean: -200.0, scale: 1.0 }),
        (&[7, 41], Kind::Ladder),
    ];
    let all = table.map(|(shape, kind)| {
        let x = vec![Input::new(shape, kind)];
        let sample = Sample::new("softmax", x, |t, x| t.softmax(x[0]));
        let sample = sample.note(format!("{kind:?}")).tolerance(5e-6, 1e-6);
        // Of a ladder all but one number is lost in rounding.
        if matches!(kind, Kind::Ladder) { sample.rough() } else { sample }
    });
    all.into()
}

fn joins() -> Vec<Sample> {
    let table: [(&[&[usize]], usize); 5] = [
        (&[&[2], &[3]], 0),
        (&[&[2, 3], &[2, 1], &[2, 4]], 1),
        (&[&[1, 5], &[3, 5]], 0),
        (&[&[2, 3, 3, 65], &[2, 3, 3, 1]], 3),
        (&[&[2, 1, 3], &[2, 4, 3]], 1),
    ];
    let joins = table.map(|(shapes, axis)| {
        let inputs = shapes.iter().map(|s| Input::new(s, Kind::NORMAL)).collect();
        let sample = Sample::new("pad", inputs, move |t, x| t.concat(x, axis));
        sample.note(format!("joined along {axis}")).tolerance(0.0, 0.0)
    });
    joins.into()
}

/// One pixel, one channel, channels that are and are no multiple of four, and more of them behind
/// than before.
fn appended() -> Vec<Sample> {
    let table: [(&[usize], usize); 7] = [
        (&[1, 1], 1),
        (&[3, 5], 2),
        (&[2, 1, 1, 7], 10),
        (&[2, 3, 4, 1], 10),
        (&[3, 5, 4, 8], 4),
        (&[2, 3, 65], 3),
        (&[5, 9, 3, 33], 1),
    ];
    let all = table.map(|(x, d)| {
        let inputs = vec![Input::new(x, Kind::NORMAL), Input::new(&[x[0], d], Kind::NORMAL)];
        Sample::new("append", inputs, |t, x| t.append(x[0], x[1])).tolerance(0.0, 0.0)
    });
    all.into()
}

/// One pixel, sides that differ, channels that are and are no multiple of four; by less than a picture
/// and by more, there and back. The ladder has whole numbers, tiny ones of either sign and ±150.
fn shifted() -> Vec<Sample> {
    let shapes: [[usize; 4]; 6] =
        [[1, 1, 1, 1], [7, 3, 2, 1], [5, 4, 9, 3], [3, 8, 5, 4], [9, 6, 6, 2], [2, 33, 17, 5]];
    let mut all = Vec::new();
    for shape in shapes {
        for back in [false, true] {
            let note = if back { "back" } else { "" };
            let inputs =
                |kind| vec![Input::new(&shape, Kind::NORMAL), Input::new(&[shape[0], 2], kind)];
            let near = Sample::new("shift", inputs(Kind::Grid(0.125)), move |t, x| {
                // Still away from whole numbers: 3k / 4 + 3 / 8 ± 0.09.
                let far = t.affine(x[1], 3.0, 0.0)?;
                t.record(Shift { back }, &[x[0], far])
            });
            all.push(near.note(format!("near {note}")).tolerance(0.0, 0.0));
            let far =
                Sample::new("shift", inputs(Kind::Ladder), move |t, x| t.record(Shift { back }, x));
            all.push(far.note(format!("far {note}")).tolerance(0.0, 0.0).rough());
        }
    }
    all
}

fn random() -> Vec<Sample> {
    let key = || vec![Input::new(&[4], Kind::Key)];
    let mut all = Vec::new();
    for shape in [&[1][..], &[3], &[3, 5, 7], &[1757], &[64, 100]] {
        let (owned, note) = (shape.to_vec(), format!("{shape:?}"));
        let sample =
            Sample::new("random", key(), move |t, x| t.random_normal(x[0], "latents", &owned));
        all.push(sample.note(format!("normal {note}")).tolerance(1e-5, 1e-5).rough());
        let owned = shape.to_vec();
        let sample =
            Sample::new("random", key(), move |t, x| t.random_uniform(x[0], "mix", &owned));
        all.push(sample.note(format!("uniform {note}")).tolerance(0.0, 0.0).rough());
    }
    let advance = Sample::new("advance", key(), |t, x| {
        let next = t.advance(x[0])?;
        t.advance(next)
    });
    all.push(advance.note("twice").tolerance(0.0, 0.0).rough());
    all
}
