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

use pulp::{Arch, Simd, WithSimd};

/// Numbers that are transformed beside each other.
pub(super) trait Lane: Copy + Add<Output = Self> + Sub<Output = Self> {
    /// Half of each.
    fn half(self) -> Self;
    /// Their negatives.
    fn neg(self) -> Self;
}

/// How lanes are read and written: one number at a time, or as many as a register holds.
pub(super) trait Width: Copy {
    /// The lanes.
    type Lane: Lane;
    /// All zero.
    fn zero(self) -> Self::Lane;
    /// The first numbers of a slice.
    fn load(self, from: &[f32]) -> Self::Lane;
    /// Writes numbers to the start of a slice.
    fn store(self, lane: Self::Lane, to: &mut [f32]);
}

/// One number at a time.
#[derive(Clone, Copy)]
struct One;

impl Lane for f32 {
    #[inline(always)]
    fn half(self) -> Self {
        0.5 * self
    }

    #[inline(always)]
    fn neg(self) -> Self {
        -self
    }
}

impl Width for One {
    type Lane = f32;

    #[inline(always)]
    fn zero(self) -> f32 {
        0.0
    }

    #[inline(always)]
    fn load(self, from: &[f32]) -> f32 {
        from[0]
    }

    #[inline(always)]
    fn store(self, lane: f32, to: &mut [f32]) {
        to[0] = lane;
    }
}

/// As many as a vector register of the processor holds.
#[derive(Clone, Copy)]
struct Wide<S: Simd>(S);

/// A register and the right to use it.
#[derive(Clone, Copy)]
struct Register<S: Simd>(S, S::f32s);

impl<S: Simd> Add for Register<S> {
    type Output = Self;

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(self.0, self.0.add_f32s(self.1, other.1))
    }
}

impl<S: Simd> Sub for Register<S> {
    type Output = Self;

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self(self.0, self.0.sub_f32s(self.1, other.1))
    }
}

impl<S: Simd> Lane for Register<S> {
    #[inline(always)]
    fn half(self) -> Self {
        Self(self.0, self.0.mul_f32s(self.0.splat_f32s(0.5), self.1))
    }

    #[inline(always)]
    fn neg(self) -> Self {
        Self(self.0, self.0.neg_f32s(self.1))
    }
}

impl<S: Simd> Width for Wide<S> {
    type Lane = Register<S>;

    #[inline(always)]
    fn zero(self) -> Register<S> {
        Register(self.0, self.0.splat_f32s(0.0))
    }

    #[inline(always)]
    fn load(self, from: &[f32]) -> Register<S> {
        Register(self.0, S::as_simd_f32s(&from[..S::F32_LANES]).0[0])
    }

    #[inline(always)]
    fn store(self, lane: Register<S>, to: &mut [f32]) {
        S::as_mut_simd_f32s(&mut to[..S::F32_LANES]).0[0] = lane.1;
    }
}

/// A transform of many channels beside each other.
pub(super) trait Channels {
    /// Transforms the channels from `c` on, as many as `width` holds.
    fn at<W: Width>(&mut self, width: W, c: usize);
}

/// A transform and its number of channels.
struct All<K>(K, usize);

impl<K: Channels> WithSimd for All<K> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self(mut transform, len) = self;
        let whole = len / S::F32_LANES * S::F32_LANES;
        for c in (0..whole).step_by(S::F32_LANES) {
            transform.at(Wide(simd), c);
        }
        for c in whole..len {
            transform.at(One, c);
        }
    }
}

/// Runs a transform on `len` channels with the widest registers that the processor has.
pub(super) fn all_channels(len: usize, transform: impl Channels) {
    Arch::new().dispatch(All(transform, len));
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
pub(super) struct ThreeTaps;

impl Toom<3, 4> for ThreeTaps {
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
        let sum = (b + c).half();
        [a + sum, (b - c).half(), sum + d]
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

/// The transforms of one F(2, r) as matrices, row by row.
#[derive(Debug)]
pub(in super::super) struct Matrices {
    /// `Bᵀ`.
    pub(in super::super) input: Vec<Vec<f32>>,
    /// `B`.
    pub(in super::super) input_back: Vec<Vec<f32>>,
    /// `G`.
    pub(in super::super) taps: Vec<Vec<f32>>,
    /// `Gᵀ`.
    pub(in super::super) taps_back: Vec<Vec<f32>>,
    /// `Aᵀ`.
    pub(in super::super) output: Vec<Vec<f32>>,
    /// `A`.
    pub(in super::super) output_back: Vec<Vec<f32>>,
}

impl Matrices {
    /// Those of F(2, `r`), for 2 or 3 taps.
    pub(in super::super) fn of(r: usize) -> Option<Self> {
        match r {
            2 => Some(Self::from_transforms::<TwoTaps, 2, 3>()),
            3 => Some(Self::from_transforms::<ThreeTaps, 3, 4>()),
            _ => None,
        }
    }

    fn from_transforms<F: Toom<R, T>, const R: usize, const T: usize>() -> Self {
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
