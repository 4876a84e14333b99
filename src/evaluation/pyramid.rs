//! Laplacian pyramids of images, in the two ways that sliced Wasserstein distances are published with.
//!
//! Reducing and enlarging are linear and separable, so each is a list of taps for every row of its output,
//! and the same for columns: `y[i] = Σ wᵢⱼ x[j]`.

use super::swd::LEAST_SIDE;

/// The binomial kernel of 5 taps.
const BINOMIAL: [f32; 5] = [1.0 / 16.0, 4.0 / 16.0, 6.0 / 16.0, 4.0 / 16.0, 1.0 / 16.0];

/// How levels are reduced and enlarged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// NVIDIA's: borders are mirrored; enlarged by inserting zeros, then four times the kernel.
    Mirror,
    /// MMGeneration's: zeros beyond the border; enlarged by repeating pixels, then the kernel.
    Zero,
}

/// The taps of each element of an axis.
type Taps = Vec<Vec<(usize, f32)>>;

/// The index of a mirrored signal of `n` elements; the border itself is not repeated.
fn mirror(i: isize, n: usize) -> usize {
    let last = n as isize - 1;
    if last == 0 {
        return 0;
    }
    let i = i.rem_euclid(2 * last);
    i.min(2 * last - i) as usize
}

impl Kind {
    /// The place of element `i` of `n` or beyond, or none where zeros are.
    fn place(self, i: isize, n: usize) -> Option<usize> {
        match self {
            Self::Mirror => Some(mirror(i, n)),
            Self::Zero => usize::try_from(i).ok().filter(|&i| i < n),
        }
    }

    /// Blurs an axis of `n` elements and takes every second.
    fn reduce(self, n: usize) -> Taps {
        let taps = |i: usize| {
            let tap = |(k, &weight): (usize, &f32)| {
                let place = self.place((2 * i + k) as isize - 2, n)?;
                Some((place, weight))
            };
            BINOMIAL.iter().enumerate().filter_map(tap).collect()
        };
        (0..n.div_ceil(2)).map(taps).collect()
    }

    /// Doubles an axis of `n` elements, to the first `wanted`.
    fn enlarge(self, n: usize, wanted: usize) -> Taps {
        let taps = |i: usize| {
            let tap = |(k, &weight): (usize, &f32)| {
                let place = self.place((i + k) as isize - 2, 2 * n)?;
                match self {
                    Self::Mirror if place % 2 == 1 => None,
                    Self::Mirror => Some((place / 2, 2.0 * weight)),
                    Self::Zero => Some((place / 2, weight)),
                }
            };
            BINOMIAL.iter().enumerate().filter_map(tap).collect()
        };
        (0..wanted).map(taps).collect()
    }
}

/// One level: `[height, width, channels]`.
#[derive(Clone, Debug)]
pub(super) struct Level {
    pub(super) size: [usize; 3],
    pub(super) values: Vec<f32>,
}

impl Level {
    fn resampled(&self, rows: &Taps, columns: &Taps) -> Self {
        let [_, width, channels] = self.size;
        let size = [rows.len(), columns.len(), channels];
        let mut values = Vec::with_capacity(size.iter().product());
        let mut line = vec![0.0_f32; width * channels];
        for taps in rows {
            line.fill(0.0);
            for &(y, weight) in taps {
                let row = &self.values[y * width * channels..][..width * channels];
                line.iter_mut().zip(row).for_each(|(sum, x)| *sum += weight * x);
            }
            for taps in columns {
                for channel in 0..channels {
                    let tap = |&(x, weight): &(usize, f32)| weight * line[x * channels + channel];
                    values.push(taps.iter().map(tap).sum::<f32>());
                }
            }
        }
        Self { size, values }
    }
}

/// What takes an image to one level of its pyramid.
#[derive(Debug)]
pub(super) struct Pyramid {
    /// The taps of rows and columns of each reduction before the level.
    reductions: Vec<[Taps; 2]>,
    /// The reduction below the level and the enlargement back to it; `None` for the last level, which is
    /// the low-pass image itself.
    below: Option<[[Taps; 2]; 2]>,
}

/// Height and width of each level of images of this size: down to 16 pixels, `most` at most.
pub(super) fn sizes(height: usize, width: usize, most: usize) -> Vec<[usize; 2]> {
    let halves = |&[h, w]: &[usize; 2]| Some([h.div_ceil(2), w.div_ceil(2)]);
    let all = std::iter::successors(Some([height, width]), halves).take(most);
    all.take_while(|[h, w]| *h.min(w) >= LEAST_SIDE).collect()
}

impl Pyramid {
    /// To level `index` of `sizes`.
    pub(super) fn to(kind: Kind, sizes: &[[usize; 2]], index: usize) -> Self {
        let reduce = |size: [usize; 2]| size.map(|n| kind.reduce(n));
        let below = sizes.get(index + 1).map(|&[h, w]| {
            let [height, width] = sizes[index];
            [reduce(sizes[index]), [kind.enlarge(h, height), kind.enlarge(w, width)]]
        });
        Self { reductions: sizes[..index].iter().map(|&size| reduce(size)).collect(), below }
    }

    /// The level of an image: the image reduced, less what is left after one more reduction.
    pub(super) fn level(&self, image: Level) -> Level {
        let reduce = |level: Level, [rows, columns]: &[Taps; 2]| level.resampled(rows, columns);
        let mut level = self.reductions.iter().fold(image, reduce);
        if let Some([[rows, columns], [more_rows, more_columns]]) = &self.below {
            let low = level.resampled(rows, columns).resampled(more_rows, more_columns);
            level.values.iter_mut().zip(&low.values).for_each(|(x, low)| *x -= low);
        }
        level
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_does_not_repeat_the_border() {
        let seen: Vec<_> = (-3..7).map(|i| mirror(i, 4)).collect();
        assert_eq!(seen, [3, 2, 1, 0, 1, 2, 3, 2, 1, 0]);
        assert_eq!(mirror(-2, 1), 0);
    }

    /// Both kinds reduce a constant to itself inside, and only mirrored ones at the border.
    #[test]
    fn weights_add_up() {
        let sums = |taps: &Taps| -> Vec<f32> {
            taps.iter().map(|taps| taps.iter().map(|tap| tap.1).sum()).collect()
        };
        assert_eq!(sums(&Kind::Mirror.reduce(6)), [1.0; 3]);
        assert_eq!(sums(&Kind::Mirror.enlarge(3, 6)), [1.0; 6]);
        assert_eq!(sums(&Kind::Zero.reduce(6)), [11.0 / 16.0, 1.0, 15.0 / 16.0]);
        assert_eq!(sums(&Kind::Zero.enlarge(3, 6))[2..4], [1.0; 2]);
        assert_eq!(sizes(64, 64, 9), [[64, 64], [32, 32], [16, 16]]);
        assert_eq!(sizes(256, 256, 4), [[256, 256], [128, 128], [64, 64], [32, 32]]);
        assert_eq!(sizes(28, 28, 9), [[28, 28]]);
        assert!(sizes(15, 64, 9).is_empty());
    }
}
