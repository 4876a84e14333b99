//! Arithmetic on latents (paper, section 6.3.2): the mean of a few latents represents what their
//! images have in common, and images of sums and differences of such means combine these.

use std::fmt;

use crate::rng::Stream;

/// The range of neighbors drawn around a result, in each coordinate (paper, figure 7).
pub const NOISE: f32 = 0.25;

/// Whether a mean is added or subtracted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// Added.
    Plus,
    /// Subtracted.
    Minus,
}

impl Sign {
    /// 1 or −1.
    #[must_use]
    pub const fn factor(self) -> f32 {
        match self {
            Self::Plus => 1.0,
            Self::Minus => -1.0,
        }
    }
}

impl fmt::Display for Sign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Plus => "+",
            Self::Minus => "\u{2212}",
        })
    }
}

/// The mean of equally long rows; empty for no rows.
#[must_use]
pub fn mean(rows: &[Vec<f32>]) -> Vec<f32> {
    let mut sums = vec![0.0_f64; rows.first().map_or(0, Vec::len)];
    for row in rows {
        for (sum, &x) in sums.iter_mut().zip(row) {
            *sum += f64::from(x);
        }
    }
    sums.iter().map(|sum| (sum / rows.len() as f64) as f32).collect()
}

/// The signed sum of `means`, in their order; empty for no means. It works for latents and images
/// alike.
#[must_use]
pub fn sum(means: &[(Sign, Vec<f32>)]) -> Vec<f32> {
    let mut total = vec![0.0; means.first().map_or(0, |(_, mean)| mean.len())];
    for (sign, mean) in means {
        for (total, x) in total.iter_mut().zip(mean) {
            *total += sign.factor() * x;
        }
    }
    total
}

/// Nine latents as rows `[9, nz]`: `z` in the middle, surrounded by eight with uniform noise in
/// ±`noise` added to each coordinate, a function of `seed`.
#[must_use]
pub fn neighbors(z: &[f32], noise: f32, seed: u64) -> Vec<f32> {
    let mut rows = Vec::with_capacity(9 * z.len());
    for place in 0..9 {
        let mut shift = vec![0.5; z.len()];
        if place != 4 {
            Stream::new(seed, "neighbor", place).fill_uniform(&mut shift);
        }
        rows.extend(z.iter().zip(shift).map(|(z, u)| z + noise * (2.0 * u - 1.0)));
    }
    rows
}

/// `point + amount · vector` for each of `amounts`, as rows `[amounts, nz]`: with `vector` the mean
/// of images that look right minus that of images that look left, it turns a face (paper,
/// figure 8).
#[must_use]
pub fn turned(point: &[f32], vector: &[f32], amounts: &[f32]) -> Vec<f32> {
    let turned = |&amount: &f32| point.iter().zip(vector).map(move |(z, v)| z + amount * v);
    amounts.iter().flat_map(turned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_are_added_and_taken_away() {
        let a = mean(&[vec![1.0, 2.0], vec![3.0, 6.0]]);
        assert_eq!(a, [2.0, 4.0]);
        let total =
            sum(&[(Sign::Plus, a), (Sign::Minus, vec![0.5, 1.0]), (Sign::Plus, vec![10.0, 0.0])]);
        assert_eq!(total, [11.5, 3.0]);
        assert!(mean(&[]).is_empty() && sum(&[]).is_empty());
    }

    #[test]
    fn neighbors_surround_the_result() {
        let z: Vec<f32> = (0..200).map(|i| i as f32).collect();
        let rows = neighbors(&z, NOISE, 0);
        let rows: Vec<&[f32]> = rows.chunks(200).collect();
        assert_eq!(rows.len(), 9);
        assert_eq!(rows[4], z, "the result itself is in the middle");
        for (i, row) in rows.iter().enumerate().filter(|&(i, _)| i != 4) {
            let away: Vec<f32> = row.iter().zip(&z).map(|(a, b)| a - b).collect();
            let most = away.iter().fold(0.0_f32, |m, x| m.max(x.abs()));
            assert!((0.2..=0.2501).contains(&most), "{i}: {most}");
            let mean = away.iter().sum::<f32>() / 200.0;
            assert!(mean.abs() < 0.05, "{i}: {mean}");
            assert!(rows[..i].iter().all(|other| other != row), "{i} is there twice");
        }
        assert_eq!(neighbors(&z, NOISE, 0), rows.concat());
        assert_ne!(neighbors(&z, NOISE, 1), rows.concat());
    }

    #[test]
    fn a_turn_is_added_in_parts() {
        let rows = turned(&[1.0, 2.0], &[10.0, -10.0], &[-0.5, 0.0, 1.0]);
        assert_eq!(rows, [-4.0, 7.0, 1.0, 2.0, 11.0, -8.0]);
    }
}
