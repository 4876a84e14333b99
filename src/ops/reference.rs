//! Helpers for references ([`super::Op::reference`]): loops over the places of a tensor, one value
//! at a time. They share nothing with the code that computes for users.

use super::Site;

/// The coordinates of every element of `shape`, in order.
pub(super) fn places(shape: &[usize]) -> Vec<Vec<usize>> {
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
pub(super) fn flat(shape: &[usize], place: &[usize]) -> usize {
    shape.iter().zip(place).fold(0, |at, (size, i)| at * size + i)
}

/// All triples of numbers below the three, in order.
pub(super) fn triples(a: usize, b: usize, c: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    (0..a).flat_map(move |i| (0..b).flat_map(move |j| (0..c).map(move |k| (i, j, k))))
}

/// The flat index in a tensor of `shape` that broadcasts to `place` of the output.
fn stretched(shape: &[usize], place: &[usize]) -> usize {
    let lead = place.len() - shape.len();
    shape
        .iter()
        .zip(&place[lead..])
        .fold(0, |at, (&size, &i)| at * size + if size == 1 { 0 } else { i })
}

/// `y = f(x₀, x₁, …)` at every place, with inputs that broadcast.
pub(super) fn elementwise<const N: usize>(
    s: &Site,
    x: &[&[f64]],
    f: impl Fn([f64; N]) -> f64,
) -> Vec<f64> {
    let at = |place: &Vec<usize>| f(std::array::from_fn(|i| x[i][stretched(&s.shapes[i], place)]));
    places(&s.shape).iter().map(at).collect()
}
