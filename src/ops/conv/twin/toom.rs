//! Winograd's minimal filtering F(2, r) (Winograd 1980; Lavin and Gray, arXiv 1509.09308): two
//! outputs of a filter with r taps from t = r + 1 inputs by t multiplications instead of 2r.
//!
//! ```text
//! y = Aᵀ[(G g) ⊙ (Bᵀ d)]       d: t inputs, g: r taps, y: 2 outputs
//! ```
//!
//! It is a decomposition of the sum of d·g·y into t products of three sums, so the same matrices,
//! transposed, give each of the three from the other two. Both decompositions here have entries 0,
//! ±1 and ±½ only, which cost next to no accuracy.

use std::array::from_fn;
use std::ops::{Add, Sub};

/// Numbers that are transformed beside each other.
pub(super) trait Lane: Copy + Add<Output = Self> + Sub<Output = Self> {
    /// How many they are.
    const LEN: usize;
    /// All zero.
    const ZERO: Self;
    /// The first [`Lane::LEN`] of a slice.
    fn load(from: &[f32]) -> Self;
    /// Writes them to the start of a slice.
    fn store(self, to: &mut [f32]);
    /// Half of each.
    fn half(self) -> Self;
}

impl Lane for f32 {
    const LEN: usize = 1;
    const ZERO: Self = 0.0;

    #[inline(always)]
    fn load(from: &[f32]) -> Self {
        from[0]
    }

    #[inline(always)]
    fn store(self, to: &mut [f32]) {
        to[0] = self;
    }

    #[inline(always)]
    fn half(self) -> Self {
        0.5 * self
    }
}

/// As many numbers as the widest vector register holds.
#[derive(Clone, Copy)]
pub(super) struct Wide([f32; 16]);

impl Add for Wide {
    type Output = Self;

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(from_fn(|i| self.0[i] + other.0[i]))
    }
}

impl Sub for Wide {
    type Output = Self;

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self(from_fn(|i| self.0[i] - other.0[i]))
    }
}

impl Lane for Wide {
    const LEN: usize = 16;
    const ZERO: Self = Self([0.0; 16]);

    #[inline(always)]
    fn load(from: &[f32]) -> Self {
        let mut numbers = [0.0; 16];
        numbers.copy_from_slice(&from[..16]);
        Self(numbers)
    }

    #[inline(always)]
    fn store(self, to: &mut [f32]) {
        to[..16].copy_from_slice(&self.0);
    }

    #[inline(always)]
    fn half(self) -> Self {
        Self(self.0.map(|v| 0.5 * v))
    }
}

/// The matrices of F(2, r), with t = r + 1.
pub(super) trait Toom<const R: usize, const T: usize>: Sync {
    /// `G`: taps to factors.
    const G: [[f32; R]; T];
    /// `Bᵀ d`: inputs to factors.
    fn input<L: Lane>(d: [L; T]) -> [L; T];
    /// `B v`: products to the gradient of the inputs.
    fn input_back<L: Lane>(v: [L; T]) -> [L; T];
    /// `Gᵀ u`: products to the gradient of the taps.
    fn taps_back<L: Lane>(u: [L; T]) -> [L; R];
    /// `Aᵀ m`: products to outputs.
    fn output<L: Lane>(m: [L; T]) -> [L; 2];
    /// `A y`: outputs to factors.
    fn output_back<L: Lane>(y: [L; 2]) -> [L; T];
}

/// F(2, 2).
pub(super) struct TwoTaps;

impl Toom<2, 3> for TwoTaps {
    const G: [[f32; 2]; 3] = [[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]];

    #[inline(always)]
    fn input<L: Lane>([a, b, c]: [L; 3]) -> [L; 3] {
        [a - b, b, b - c]
    }

    #[inline(always)]
    fn input_back<L: Lane>([a, b, c]: [L; 3]) -> [L; 3] {
        [a, b + c - a, L::ZERO - c]
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
        [a, a + b, L::ZERO - b]
    }
}

/// F(2, 3).
pub(super) struct ThreeTaps;

impl Toom<3, 4> for ThreeTaps {
    const G: [[f32; 3]; 4] = [[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]];

    #[inline(always)]
    fn input<L: Lane>([a, b, c, d]: [L; 4]) -> [L; 4] {
        [a - c, b + c, c - b, b - d]
    }

    #[inline(always)]
    fn input_back<L: Lane>([a, b, c, d]: [L; 4]) -> [L; 4] {
        [a, b - c + d, b + c - a, L::ZERO - d]
    }

    #[inline(always)]
    fn taps_back<L: Lane>([a, b, c, d]: [L; 4]) -> [L; 3] {
        let sum = (b + c).half();
        [a + sum, (b - c).half(), sum + d]
    }

    #[inline(always)]
    fn output<L: Lane>([a, b, c, d]: [L; 4]) -> [L; 2] {
        [a + b + c, b - c - d]
    }

    #[inline(always)]
    fn output_back<L: Lane>([a, b]: [L; 2]) -> [L; 4] {
        [a, a + b, a - b, L::ZERO - b]
    }
}

/// A transform along both axes of a square.
#[inline(always)]
pub(super) fn both<L: Lane, const I: usize, const O: usize>(
    x: [[L; I]; I],
    f: impl Fn([L; I]) -> [L; O],
) -> [[L; O]; O] {
    let rows = x.map(&f);
    let columns: [[L; O]; O] = from_fn(|o| f(rows.map(|row| row[o])));
    from_fn(|i| from_fn(|j| columns[j][i]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every product of one input, one tap and one output's gradient stands in the sum exactly as
    /// often as the filter has it, whichever of the three is solved for.
    fn holds<F: Toom<R, T>, const R: usize, const T: usize>() {
        let unit = |n: usize, i: usize| (0..n).map(move |j| f32::from(u8::from(i == j)));
        let array = |n: usize, i: usize| unit(n, i).collect::<Vec<f32>>();
        for (i, k, o) in (0..T).flat_map(|i| (0..R).flat_map(move |k| [(i, k, 0), (i, k, 1)])) {
            let want = f32::from(u8::from(o + k == i));
            let (d, y): ([f32; T], [f32; 2]) =
                (from_fn(|j| array(T, i)[j]), from_fn(|j| array(2, o)[j]));
            let u: [f32; T] = from_fn(|t| F::G[t][k]);
            let (v, m) = (F::input(d), F::output_back(y));
            assert_eq!(F::output::<f32>(from_fn(|t| u[t] * v[t]))[o], want, "output {i} {k} {o}");
            assert_eq!(
                F::input_back::<f32>(from_fn(|t| u[t] * m[t]))[i],
                want,
                "input {i} {k} {o}"
            );
            assert_eq!(F::taps_back::<f32>(from_fn(|t| v[t] * m[t]))[k], want, "taps {i} {k} {o}");
        }
    }

    #[test]
    fn the_decompositions_are_the_filter_in_all_three_directions() {
        holds::<TwoTaps, 2, 3>();
        holds::<ThreeTaps, 3, 4>();
    }
}
