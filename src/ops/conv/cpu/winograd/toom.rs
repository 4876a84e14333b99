//! Winograd's minimal filtering F(m, r) (Winograd 1980; Lavin and Gray, arXiv 1509.09308): m
//! outputs of a filter with r taps from t = m + r − 1 inputs by t multiplications instead of m·r.
//!
//! ```text
//! y = Aᵀ[(G g) ⊙ (Bᵀ d)]       d: t inputs, g: r taps, y: m outputs
//! ```
//!
//! It is a decomposition of the sum of d·g·y into t products of three sums, so the same matrices,
//! transposed, give each of the three from the other two. Those of F(2, 2) and F(2, 3) have only
//! entries 0, ±1 and ±½, which cost almost no accuracy.

use std::array::from_fn;

use super::lanes::Lane;

/// The matrices of F(m, r), with t = m + r − 1.
pub(super) trait Toom<const R: usize, const M: usize, const T: usize>: Sync {
    /// `G`: taps to factors.
    const G: [[f32; R]; T];
    /// `Bᵀ d`: inputs to factors.
    fn input<L: Lane>(d: [L; T]) -> [L; T];
    /// `B v`: products to the gradient of the inputs.
    fn input_back<L: Lane>(v: [L; T]) -> [L; T];
    /// `Gᵀ u`: products to the gradient of the taps.
    fn taps_back<L: Lane>(u: [L; T]) -> [L; R];
    /// `Aᵀ m`: products to outputs.
    fn output<L: Lane>(m: [L; T]) -> [L; M];
    /// `A y`: outputs to factors.
    fn output_back<L: Lane>(y: [L; M]) -> [L; T];
}

/// F(2, 2).
pub(super) struct F22;

impl Toom<2, 2, 3> for F22 {
    const G: [[f32; 2]; 3] = [[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]];

    #[inline(always)]
    fn input<L: Lane>([a, b, c]: [L; 3]) -> [L; 3] {
        [a - b, b, b - c]
    }

    #[inline(always)]
    fn input_back<L: Lane>([a, b, c]: [L; 3]) -> [L; 3] {
        [a, b + c - a, c.neg()]
    }

    #[inline(always)]
    fn taps_back<L: Lane>([a, b, c]: [L; 3]) -> [L; 2] {
        [a + b, b + c]
    }

    #[inline(always)]
    fn output<L: Lane>([a, b, c]: [L; 3]) -> [L; 2] {
        [a + b, b - c]
    }

    #[inline(always)]
    fn output_back<L: Lane>([a, b]: [L; 2]) -> [L; 3] {
        [a, a + b, b.neg()]
    }
}

/// F(2, 3).
pub(super) struct F23;

impl Toom<3, 2, 4> for F23 {
    const G: [[f32; 3]; 4] = [[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]];

    #[inline(always)]
    fn input<L: Lane>([a, b, c, d]: [L; 4]) -> [L; 4] {
        [a - c, b + c, c - b, b - d]
    }

    #[inline(always)]
    fn input_back<L: Lane>([a, b, c, d]: [L; 4]) -> [L; 4] {
        [a, b - c + d, b + c - a, d.neg()]
    }

    #[inline(always)]
    fn taps_back<L: Lane>([a, b, c, d]: [L; 4]) -> [L; 3] {
        let sum = (b + c).times(0.5);
        [a + sum, (b - c).times(0.5), sum + d]
    }

    #[inline(always)]
    fn output<L: Lane>([a, b, c, d]: [L; 4]) -> [L; 2] {
        [a + b + c, b - c - d]
    }

    #[inline(always)]
    fn output_back<L: Lane>([a, b]: [L; 2]) -> [L; 4] {
        [a, a + b, a - b, b.neg()]
    }
}

/// F(4, 2), from the points 0, −1, ½, 2 and ∞: among all sets of small fractions, the one with the
/// least rounding, twice that of F(2, 2).
pub(super) struct F42;

const NINTH: f32 = 1.0 / 9.0;

impl Toom<2, 4, 5> for F42 {
    const G: [[f32; 2]; 5] = [
        [1.0, 0.0],
        [-2.0 * NINTH, 2.0 * NINTH],
        [-NINTH, -0.5 * NINTH],
        [NINTH, 2.0 * NINTH],
        [0.0, 1.0],
    ];

    #[inline(always)]
    fn input<L: Lane>([a, b, c, d, e]: [L; 5]) -> [L; 5] {
        [
            a + d - (b + c).times(1.5),
            b + d - c.times(2.5),
            d - c - b.times(2.0),
            d + (c - b).times(0.5),
            b + e - (c + d).times(1.5),
        ]
    }

    #[inline(always)]
    fn input_back<L: Lane>([a, b, c, d, e]: [L; 5]) -> [L; 5] {
        let half = d.times(0.5);
        [
            a,
            b + e - a.times(1.5) - c.times(2.0) - half,
            half - (a + e).times(1.5) - b.times(2.5) - c,
            a + b + c + d - e.times(1.5),
            e,
        ]
    }

    #[inline(always)]
    fn taps_back<L: Lane>([a, b, c, d, e]: [L; 5]) -> [L; 2] {
        let [b, c, d] = [b.times(2.0 * NINTH), c.times(NINTH), d.times(NINTH)];
        [a - b - c + d, b - c.times(0.5) + d.times(2.0) + e]
    }

    #[inline(always)]
    fn output<L: Lane>([a, b, c, d, e]: [L; 5]) -> [L; 4] {
        let (c2, d2) = (c.times(2.0), d.times(2.0));
        [
            a + b + c2.times(4.0) + d,
            c2.times(2.0) + d2 - b,
            b + c2 + d2.times(2.0),
            c + d2.times(4.0) + e - b,
        ]
    }

    #[inline(always)]
    fn output_back<L: Lane>([a, b, c, d]: [L; 4]) -> [L; 5] {
        let (a2, d2) = (a.times(2.0), d.times(2.0));
        let (b2, c2) = (b.times(2.0), c.times(2.0));
        [
            a,
            a + c - b - d,
            a2.times(4.0) + b2.times(2.0) + c2 + d,
            a + b2 + c2.times(2.0) + d2.times(4.0),
            d,
        ]
    }
}

/// The transforms of one F(2, r) as matrices, row by row.
#[derive(Debug)]
pub(in crate::ops::conv) struct Matrices {
    /// `Bᵀ`.
    pub(in crate::ops::conv) input: Vec<Vec<f32>>,
    /// `B`.
    pub(in crate::ops::conv) input_back: Vec<Vec<f32>>,
    /// `G`.
    pub(in crate::ops::conv) taps: Vec<Vec<f32>>,
    /// `Gᵀ`.
    pub(in crate::ops::conv) taps_back: Vec<Vec<f32>>,
    /// `Aᵀ`.
    pub(in crate::ops::conv) output: Vec<Vec<f32>>,
    /// `A`.
    pub(in crate::ops::conv) output_back: Vec<Vec<f32>>,
}

impl Matrices {
    /// Those of F(2, `r`), for 2 or 3 taps.
    pub(in crate::ops::conv) fn of(r: usize) -> Option<Self> {
        match r {
            2 => Some(Self::from_transforms::<F22, 2, 3>()),
            3 => Some(Self::from_transforms::<F23, 3, 4>()),
            _ => None,
        }
    }

    fn from_transforms<F: Toom<R, 2, T>, const R: usize, const T: usize>() -> Self {
        let taps = F::G.map(Vec::from).into();
        Self {
            input: matrix(F::input),
            input_back: matrix(F::input_back),
            taps_back: matrix(F::taps_back),
            output: matrix(F::output),
            output_back: matrix(F::output_back),
            taps,
        }
    }
}

/// The matrix of a linear function: its columns are the images of the unit vectors.
fn matrix<const I: usize, const O: usize>(f: impl Fn([f32; I]) -> [f32; O]) -> Vec<Vec<f32>> {
    let columns: [[f32; O]; I] = from_fn(|i| f(from_fn(|j| f32::from(u8::from(i == j)))));
    (0..O).map(|o| columns.iter().map(|column| column[o]).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every product of one input, one tap and one output's gradient occurs in the sum exactly as
    /// often as in the filter, whichever of the three is solved for.
    fn holds<F: Toom<R, M, T>, const R: usize, const M: usize, const T: usize>() {
        fn unit<const N: usize>(i: usize) -> [f32; N] {
            from_fn(|j| f32::from(u8::from(i == j)))
        }
        let near = |got: f32, want: f32, what: &str| {
            assert!((got - want).abs() < 1e-6, "F({M}, {R}), {what}: {got}, not {want}");
        };
        let triples = (0..T).flat_map(|i| (0..R).flat_map(move |k| (0..M).map(move |o| (i, k, o))));
        for (i, k, o) in triples {
            let want = f32::from(u8::from(o + k == i));
            let u: [f32; T] = from_fn(|t| F::G[t][k]);
            let (v, m) = (F::input(unit(i)), F::output_back(unit(o)));
            let place = format!("input {i}, tap {k}, output {o}");
            near(F::output::<f32>(from_fn(|t| u[t] * v[t]))[o], want, &place);
            near(F::input_back::<f32>(from_fn(|t| u[t] * m[t]))[i], want, &place);
            near(F::taps_back::<f32>(from_fn(|t| v[t] * m[t]))[k], want, &place);
        }
    }

    #[test]
    fn the_decompositions_are_the_filter_in_all_three_directions() {
        holds::<F22, 2, 2, 3>();
        holds::<F42, 2, 4, 5>();
        holds::<F23, 3, 2, 4>();
    }
}
