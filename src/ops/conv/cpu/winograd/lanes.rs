//! Transforms of many channels side by side, with the processor's widest registers.

use std::ops::{Add, Sub};

use pulp::{Simd, WithSimd};

use crate::ops::wide::with_registers;

/// Values that are transformed side by side.
pub(super) trait Lane: Copy + Add<Output = Self> + Sub<Output = Self> {
    /// Each times `factor`.
    fn times(self, factor: f32) -> Self;
    /// Their negatives.
    fn neg(self) -> Self;
}

/// How lanes are read and written: one value at a time, or as many as a register holds.
pub(super) trait Width: Copy {
    /// The lanes.
    type Lane: Lane;
    /// All zero.
    fn zero(self) -> Self::Lane;
    /// The first values of a slice.
    fn load(self, from: &[f32]) -> Self::Lane;
    /// Writes values to the start of a slice.
    fn store(self, lane: Self::Lane, to: &mut [f32]);
}

/// One value at a time.
#[derive(Clone, Copy)]
struct One;

impl Lane for f32 {
    #[inline(always)]
    fn times(self, factor: f32) -> Self {
        factor * self
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
    fn times(self, factor: f32) -> Self {
        Self(self.0, self.0.mul_f32s(self.0.splat_f32s(factor), self.1))
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

/// A transform of many channels side by side.
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

/// Runs a transform on `len` channels with the processor's widest registers.
pub(super) fn all_channels(len: usize, transform: impl Channels) {
    with_registers(All(transform, len));
}

/// Lanes in a square.
#[expect(clippy::needless_range_loop, reason = "the plain loop is sure to be unrolled and inlined")]
#[inline(always)]
pub(super) fn square<W: Width, const N: usize>(
    width: W,
    at: impl Fn(usize, usize) -> W::Lane,
) -> [[W::Lane; N]; N] {
    let mut lanes = [[width.zero(); N]; N];
    for i in 0..N {
        for j in 0..N {
            lanes[i][j] = at(i, j);
        }
    }
    lanes
}

/// A transform along both axes of a square.
#[inline(always)]
pub(super) fn both<L: Lane, const I: usize, const O: usize>(
    x: [[L; I]; I],
    f: impl Fn([L; I]) -> [L; O],
) -> [[L; O]; O] {
    // Loops instead of closures: all of it must be inlined into the function that is compiled for
    // the processor's registers.
    let mut rows = [[x[0][0]; O]; I];
    for i in 0..I {
        rows[i] = f(x[i]);
    }
    let mut y = [[x[0][0]; O]; O];
    for o in 0..O {
        let mut column = [x[0][0]; I];
        for i in 0..I {
            column[i] = rows[i][o];
        }
        for (i, value) in f(column).into_iter().enumerate() {
            y[i][o] = value;
        }
    }
    y
}
