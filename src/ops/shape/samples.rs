//! Samples of the ops that move elements, and of the views.

use super::super::samples::{Input, Kind, NonFinite, Sample, special};

pub(in crate::ops) fn samples(op: &'static str) -> Vec<Sample> {
    let mut all = moves();
    all.extend(joins());
    all.extend(stretched());
    all.extend(with_special());
    all.retain(|sample| sample.op == op);
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
        // Elementwise ops read a range in place, kernels may not.
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

fn stretched() -> Vec<Sample> {
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

fn with_special() -> Vec<Sample> {
    let all = [
        special::one("permute", "", &[5, 9], |t, x| t.permute(x[0], &[1, 0])),
        special::one("slice", "", &[5, 9], |t, x| t.slice(x[0], &[0, 1], &[4, 7])),
        special::one("pad", "", &[5, 9], |t, x| t.pad(x[0], &[1, 0], &[7, 12])),
        special::one("range", "", &[45], |t, x| t.range(x[0], 1, 40)),
        special::one("reshape", "", &[45], |t, x| t.reshape(x[0], &[9, 5])),
    ];
    let stretched = Input::new(&[41], Kind::Special(special::ALL));
    let stretched =
        Sample::new("broadcast_to", vec![stretched], |t, x| t.broadcast_to(x[0], &[3, 41]));
    let stretched = stretched.tolerance(0.0, 0.0).non_finite(NonFinite::Same);
    all.into_iter().flatten().chain([stretched]).collect()
}
