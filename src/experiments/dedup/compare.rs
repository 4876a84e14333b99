//! Compares two small images pixel by pixel.
//!
//! ```text
//! b(y, x) ≈ gain · a(y + dy, x + dx) + Σ cᵢⱼ · (a(y + dy + i, x + dx + j) − a(y + dy, x + dx)) + offset
//! ```
//!
//! with i, j of −1, 0, 1. Shift and brightness are fitted: the whole-pixel shift `(dy, dx)` by
//! correlation; the fractional shift, the blur or sharpening of resampling (the cᵢⱼ), gain and
//! offset by least squares, the same for all colors. The residual is judged separately in each of
//! 8×8 blocks and each color, since different images may differ in small parts: another bird in the
//! same sky, another mouth in the same face. A block may differ by some gray levels, and by more if
//! it has much detail, as with JPEG and resampling.

use super::{NUMBERS, REACH, SIDE};

/// Mean squared residual allowed in a block without contrast: 19 gray levels, the worst that JPEG,
/// resampling and clipping leave in 192 blocks.
const FLAT: f64 = 360.0;
/// Residual allowed in a block per unit of its variance: six tenths of its contrast, as half a
/// pixel of shift leaves at hard edges.
///
/// Both, the number of blocks and the limit of 1 were tuned on cartoon faces that differ in a mouth
/// or a pair of glasses and on photographs (CIFAR-10), with planted duplicates: they have not been
/// measured on other sets.
const BUSY: f64 = 0.36;
/// Blocks down and across.
const BLOCKS: usize = 8;
/// Below this correlation no fit helps: duplicates have 0.96 and more.
const CORRELATED: f64 = 0.85;
/// Variance added to both images, so that two flat ones correlate.
const SHARED: f64 = 16.0;
/// A fitted gain above this, or below its inverse, is not a change of brightness.
const MOST_GAIN: f64 = 1.6;
/// Nor is a difference of mean gray levels above this.
const MOST_LEVELS: f64 = 64.0;
/// Bytes below and above count as clipped.
const DARK: u8 = 4;
const BRIGHT: u8 = 251;
/// The neighbors of a pixel, `[down, right]`.
const AROUND: [[i32; 2]; 8] =
    [[-1, -1], [-1, 0], [-1, 1], [0, -1], [0, 1], [1, -1], [1, 0], [1, 1]];
/// The fitted parameters: the gain, the share of each neighbor, the offset.
const UNKNOWNS: usize = AROUND.len() + 2;

/// The similarity of two images.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Likeness {
    /// The residual in the block that differs most, relative to what duplicates may have there: 0
    /// for copies, below 1 for images that were re-encoded, moved and brightened.
    pub difference: f32,
    /// The shift `[down, right]` of the second image relative to the first, in pixels of 32.
    pub shift: [f32; 2],
    /// The second image's contrast, relative to the first one's.
    pub gain: f32,
}

/// Compares two images, bytes `[32, 32, 3]`, near a shift: `b` at (y, x) shows what `a` does at
/// (y + `shift[0]`, x + `shift[1]`). `None` if they do not even correlate.
#[must_use]
pub fn compare(a: &[u8], b: &[u8], shift: [i32; 2]) -> Option<Likeness> {
    debug_assert_eq!([a.len(), b.len()], [NUMBERS; 2]);
    // The image with less clipping explains the other: bright parts can be clipped, but not
    // restored.
    let cut = |p: &[u8]| p.iter().filter(|&&v| !(DARK..=BRIGHT).contains(&v)).count();
    let swapped = cut(a) > cut(b);
    let (from, to, shift) = if swapped { (b, a, shift.map(|s| -s)) } else { (a, b, shift) };
    let shift = align(from, to, shift)?;
    let fit = Fit::of(from, to, shift)?;
    let moved = [0, 1].map(|axis| f64::from(shift[axis]) + fit.shift[axis]);
    Some(Likeness {
        difference: fit.difference as f32,
        // Content that appears further down has moved up.
        shift: moved.map(|s| if swapped { s as f32 } else { -s as f32 }),
        gain: if swapped { 1.0 / fit.gain } else { fit.gain } as f32,
    })
}

/// The whole-pixel shift, at most one pixel away from `shift`, with the highest correlation.
fn align(from: &[u8], to: &[u8], shift: [i32; 2]) -> Option<[i32; 2]> {
    let near = |axis: usize| {
        let s = shift[axis].clamp(-REACH, REACH);
        (s - 1).max(-REACH)..=(s + 1).min(REACH)
    };
    let mut best = (CORRELATED, None);
    for y in near(0) {
        for x in near(1) {
            let c = correlation(from, to, [y, x]);
            if c > best.0 {
                best = (c, Some([y, x]));
            }
        }
    }
    best.1
}

/// The rows or columns where an image and its shift overlap, in the second image's coordinates,
/// without a border of `border`.
fn overlap(shift: i32, border: i32) -> std::ops::Range<usize> {
    let margin = shift.abs() + border;
    margin as usize..SIDE - margin as usize
}

/// The correlation of two images at a shift. Sums of integers: the same on every machine.
fn correlation(from: &[u8], to: &[u8], shift: [i32; 2]) -> f64 {
    let (rows, columns) = (overlap(shift[0], 0), overlap(shift[1], 0));
    let n = (rows.len() * columns.len() * 3) as f64;
    let [mut p, mut q, mut pp, mut qq, mut pq] = [0_u32; 5];
    for y in rows {
        let a = &from[at(y, columns.start, shift)..][..3 * columns.len()];
        let b = &to[at(y, columns.start, [0, 0])..][..3 * columns.len()];
        for (&a, &b) in a.iter().zip(b) {
            let (a, b) = (u32::from(a), u32::from(b));
            p += a;
            q += b;
            pp += a * a;
            qq += b * b;
            pq += a * b;
        }
    }
    let [p, q, pp, qq, pq] = [p, q, pp, qq, pq].map(|sum| f64::from(sum) / n);
    let (va, vb, c) = (pp - p * p, qq - q * q, pq - p * q);
    (c + SHARED) / ((va * vb).max(0.0).sqrt() + SHARED)
}

/// The index of a pixel's first value, at a shift.
fn at(y: usize, x: usize, shift: [i32; 2]) -> usize {
    let (y, x) = (y as i32 + shift[0], x as i32 + shift[1]);
    3 * (y as usize * SIDE + x as usize)
}

/// The fit of one image by another.
struct Fit {
    gain: f64,
    /// Fractions of a pixel, beyond the whole shift.
    shift: [f64; 2],
    difference: f64,
}

impl Fit {
    fn of(from: &[u8], to: &[u8], shift: [i32; 2]) -> Option<Self> {
        // The neighbors need a pixel on either side.
        let (rows, columns) = (overlap(shift[0], 1), overlap(shift[1], 1));
        let count = rows.len() * columns.len() * 3;
        let mut causes = Vec::with_capacity(count);
        let mut targets = Vec::with_capacity(count);
        for y in rows.clone() {
            for x in columns.clone() {
                for c in 0..3 {
                    let i = at(y, x, shift) + c;
                    let v = f64::from(from[i]);
                    let mut cause = [v; UNKNOWNS];
                    for (cause, [dy, dx]) in cause[1..].iter_mut().zip(AROUND) {
                        let near = i as i32 + 3 * (dy * SIDE as i32 + dx);
                        *cause = f64::from(from[near as usize]) - v;
                    }
                    cause[UNKNOWNS - 1] = 1.0;
                    causes.push(cause);
                    targets.push(to[at(y, x, [0, 0]) + c]);
                }
            }
        }
        let whole = |&v: &u8| (DARK..=BRIGHT).contains(&v);
        let all = targets.iter().filter(|v| whole(v)).count() * 4 < count;
        let mut matrix = [[0.0; UNKNOWNS + 1]; UNKNOWNS];
        for (cause, &target) in causes.iter().zip(&targets).filter(|(_, t)| all || whole(t)) {
            let target = f64::from(target);
            for (sums, x) in matrix.iter_mut().zip(cause) {
                for (sum, other) in sums.iter_mut().zip(cause) {
                    *sum += x * other;
                }
                sums[UNKNOWNS] += x * target;
            }
        }
        // If the gain is undetermined, it is 1; if a neighbor's share is undetermined, it is 0.
        matrix[0][0] += 1e-2;
        matrix[0][UNKNOWNS] += 1e-2;
        for (i, row) in matrix.iter_mut().enumerate().take(UNKNOWNS - 1).skip(1) {
            row[i] += count as f64 * 0.5;
        }
        let fit = solve(matrix)?;
        let gain = fit[0];
        let mut levels = 0.0;
        let mut blocks = [[0.0; 4]; BLOCKS * BLOCKS * 3];
        let (h, w) = (rows.len(), columns.len());
        for (i, (cause, &target)) in causes.iter().zip(&targets).enumerate() {
            let made: f64 = cause.iter().zip(fit).map(|(x, weight)| x * weight).sum();
            let target = f64::from(target);
            let left = made.clamp(0.0, 255.0) - target;
            levels += target - cause[0];
            let block = (i / 3 / w) * BLOCKS / h * BLOCKS + (i / 3 % w) * BLOCKS / w;
            let block = 3 * block + i % 3;
            for (sum, x) in
                blocks[block].iter_mut().zip([1.0, target, target * target, left * left])
            {
                *sum += x;
            }
        }
        let within = (1.0 / MOST_GAIN..=MOST_GAIN).contains(&gain)
            && (levels / count as f64).abs() <= MOST_LEVELS;
        let worst = blocks.iter().map(|&[n, sum, square, left]| {
            let variance = (square / n - (sum / n).powi(2)).max(0.0);
            left / n / (FLAT + BUSY * variance)
        });
        let difference = worst.fold(0.0, f64::max).sqrt();
        let center = |axis: usize| {
            let parts = fit[1..].iter().zip(AROUND).map(|(c, by)| c * f64::from(by[axis]));
            parts.sum::<f64>() / gain
        };
        within.then(|| Self { gain, shift: [center(0), center(1)], difference })
    }
}

/// Solves as many equations as unknowns, each a row with its right side at the end, by elimination;
/// `None` if there is no unique solution.
fn solve(mut rows: [[f64; UNKNOWNS + 1]; UNKNOWNS]) -> Option<[f64; UNKNOWNS]> {
    for i in 0..UNKNOWNS {
        let size = |row: usize| rows[row][i].abs();
        let pivot = (i..UNKNOWNS).max_by(|&a, &b| size(a).total_cmp(&size(b)))?;
        rows.swap(i, pivot);
        let row = rows[i];
        if row[i].abs() < 1e-9 {
            return None;
        }
        for (_, other) in rows.iter_mut().enumerate().filter(|&(j, _)| j != i) {
            let factor = other[i] / row[i];
            for (x, r) in other.iter_mut().zip(row) {
                *x -= factor * r;
            }
        }
    }
    let mut solution = [0.0; UNKNOWNS];
    for (i, row) in rows.iter().enumerate() {
        solution[i] = row[UNKNOWNS] / row[i];
    }
    Some(solution)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use crate::rng::Stream;

    /// Smooth waves with some texture, at a position and a brightness.
    fn scene(seed: u64, [y0, x0]: [f32; 2], gain: f32, offset: f32) -> Vec<u8> {
        let mut random = [0.0; 12];
        Stream::new(seed, "scene", 0).fill_uniform(&mut random);
        let mut image = Vec::new();
        for i in 0..SIDE * SIDE {
            let (y, x) = ((i / SIDE) as f32 - y0, (i % SIDE) as f32 - x0);
            for c in 0..3 {
                let r = &random[4 * c..];
                let slow = ((0.1 + 0.2 * r[0]) * x + (0.1 + 0.2 * r[1]) * y + 6.0 * r[2]).sin();
                let fast = ((0.4 + 0.4 * r[3]) * x - (0.8 - 0.4 * r[3]) * y).sin();
                let v = 120.0 + 60.0 * slow + 25.0 * fast;
                image.push((gain * v + offset).round().clamp(0.0, 255.0) as u8);
            }
        }
        image
    }

    #[test]
    fn what_was_moved_and_brightened_is_the_same_and_says_how() {
        let a = scene(1, [0.0, 0.0], 1.0, 0.0);
        let same = compare(&a, &a, [0, 0]).unwrap();
        assert!(same.difference < 1e-3 && (same.gain - 1.0).abs() < 1e-3, "{same:?}");
        for (moved, hint) in [
            ([1.0, 0.0], [-1, 0]),
            ([-2.0, 1.0], [1, -1]),
            ([0.0, 0.5], [0, 0]),
            ([1.4, -0.6], [-1, 1]),
        ] {
            let b = scene(1, moved, 1.2, -14.0);
            for (first, second, sign) in [(&a, &b, 1.0), (&b, &a, -1.0)] {
                let hint = hint.map(|h| h * sign as i32);
                let like = compare(first, second, hint).unwrap();
                assert!(like.difference < 0.6, "{moved:?} {like:?}");
                for (found, moved) in like.shift.iter().zip(moved) {
                    assert!((found - sign * moved).abs() < 0.2, "{moved} {like:?}");
                }
                let gain = if sign > 0.0 { 1.2 } else { 1.0 / 1.2 };
                assert!((like.gain - gain).abs() < 0.05, "{like:?}");
            }
        }
    }

    #[test]
    fn what_is_cut_off_by_brightness_is_the_same_either_way() {
        let (a, b) = (scene(2, [0.0, 0.0], 1.0, 0.0), scene(2, [0.0, 0.0], 1.25, 25.0));
        assert!(b.iter().filter(|&&v| v == 255).count() > 200);
        for (a, b, gain) in [(&a, &b, 1.25), (&b, &a, 0.8)] {
            let like = compare(a, b, [0, 0]).unwrap();
            assert!(like.difference < 0.5, "{like:?}");
            // Clipped pixels do not affect the gain.
            assert!((like.gain / gain - 1.0).abs() < 0.02, "{like:?}");
        }
    }

    #[test]
    fn a_small_part_that_differs_is_enough() {
        let a = scene(3, [0.0, 0.0], 1.0, 0.0);
        let mut b = a.clone();
        // Four pixels of a thousand.
        for (y, x) in [(20, 9), (20, 10), (21, 9), (21, 10)] {
            for c in 0..3 {
                b[3 * (y * SIDE + x) + c] ^= 0x80;
            }
        }
        let like = compare(&a, &b, [0, 0]).unwrap();
        assert!(like.difference > 1.0, "{like:?}");
        // The border counts as well.
        let mut b = a.clone();
        b[3 * (SIDE + 2)..][..12].iter_mut().for_each(|v| *v ^= 0x80);
        let like = compare(&a, &b, [0, 0]).unwrap();
        assert!(like.difference > 1.0, "{like:?}");
    }

    #[test]
    fn other_images_are_not_alike() {
        for seed in 10..30 {
            let a = scene(seed, [0.0, 0.0], 1.0, 0.0);
            let b = scene(seed + 100, [0.0, 0.0], 1.0, 0.0);
            let like = compare(&a, &b, [0, 0]);
            assert!(like.is_none_or(|like| like.difference > 2.0), "{seed}: {like:?}");
        }
        // The negative has the lowest possible correlation.
        let a = scene(1, [0.0, 0.0], 1.0, 0.0);
        assert_eq!(compare(&a, &a.iter().map(|v| 255 - v).collect::<Vec<_>>(), [0, 0]), None);
    }

    #[test]
    fn flat_images_are_alike_unless_their_colors_differ() {
        let flat = |rgb: [u8; 3]| rgb.repeat(SIDE * SIDE);
        let gray = flat([120; 3]);
        assert!(compare(&gray, &gray, [0, 0]).unwrap().difference < 1e-3);
        assert!(compare(&gray, &flat([130; 3]), [0, 0]).unwrap().difference < 0.1);
        assert_eq!(compare(&flat([0; 3]), &flat([255; 3]), [0, 0]), None);
        let red = compare(&gray, &flat([150, 110, 110]), [0, 0]);
        assert!(red.is_none_or(|like| like.difference > 1.0), "{red:?}");
    }
}
