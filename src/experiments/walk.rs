//! Walks in latent space (paper, section 6.1): between points, and along one coordinate. The images
//! of a generator that generalizes rather than memorizes change smoothly on the way.

use std::fmt;

use crate::nn::LatentDistribution;

/// Interpolation between two latents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interpolation {
    /// `(1 − t) a + t b`, as in the paper.
    Linear,
    /// `(sin((1 − t) ω) a + sin(t ω) b) / sin ω` with ω the angle between a and b (Shoemake, 1985;
    /// White, arXiv 1609.04468): high-dimensional normal latents all have nearly the same norm, and
    /// the midpoint of a straight line between two of them is shorter than anything in the
    /// generator's training.
    Spherical,
}

impl fmt::Display for Interpolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Linear => "linear",
            Self::Spherical => "spherical",
        })
    }
}

impl Interpolation {
    /// The interpolation that keeps latents likely under their distribution.
    #[must_use]
    pub const fn of(distribution: LatentDistribution) -> Self {
        match distribution {
            LatentDistribution::Normal => Self::Spherical,
            LatentDistribution::Uniform => Self::Linear,
        }
    }

    /// The latent at `t`, from `a` at 0 to `b` at 1. If `a` and `b` have (nearly) the same or
    /// opposite directions, no arc is the shortest, and it falls back to a line.
    #[must_use]
    pub fn between(self, a: &[f32], b: &[f32], t: f32) -> Vec<f32> {
        let [wa, wb] = match self {
            Self::Linear => [1.0 - t, t],
            Self::Spherical => arc(a, b, t),
        };
        a.iter().zip(b).map(|(a, b)| wa * a + wb * b).collect()
    }
}

/// The weights of `a` and `b` at `t` on the arc between them.
fn arc(a: &[f32], b: &[f32], t: f32) -> [f32; 2] {
    let dot = |a: &[f32], b: &[f32]| {
        a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>()
    };
    let t = f64::from(t);
    let cosine = dot(a, b) / (dot(a, a) * dot(b, b)).sqrt();
    let angle = cosine.clamp(-1.0, 1.0).acos();
    // NaN if one of them is zero.
    if angle.is_nan() || angle.sin() < 1e-4 {
        return [(1.0 - t) as f32, t as f32];
    }
    [((1.0 - t) * angle).sin(), (t * angle).sin()].map(|w| (w / angle.sin()) as f32)
}

/// `count` latents from `a` to `b`, both included, as rows `[count, nz]`.
#[must_use]
pub fn stretch(a: &[f32], b: &[f32], count: usize, how: Interpolation) -> Vec<f32> {
    let last = count.saturating_sub(1).max(1) as f32;
    (0..count).flat_map(|i| how.between(a, b, i as f32 / last)).collect()
}

/// A walk through all `points` and back to the first, with `steps` latents for each segment, as
/// rows `[points · steps, nz]`: it loops without a jump.
#[must_use]
pub fn round_trip(points: &[Vec<f32>], steps: usize, how: Interpolation) -> Vec<f32> {
    let mut walk = Vec::new();
    for (i, a) in points.iter().enumerate() {
        let b = &points[(i + 1) % points.len()];
        for step in 0..steps {
            walk.extend(how.between(a, b, step as f32 / steps as f32));
        }
    }
    walk
}

/// The latent `point` with its entry `coordinate` replaced by each of `values`, as rows `[values,
/// nz]`.
///
/// # Panics
/// If the latent has no such entry.
#[must_use]
pub fn vary(point: &[f32], coordinate: usize, values: &[f32]) -> Vec<f32> {
    let varied = values.iter().flat_map(|&value| {
        let mut z = point.to_vec();
        z[coordinate] = value;
        z
    });
    varied.collect()
}

/// `count` numbers from `low` to `high`, both included, evenly spaced.
#[must_use]
pub fn evenly([low, high]: [f32; 2], count: usize) -> Vec<f32> {
    let last = count.saturating_sub(1).max(1) as f32;
    (0..count).map(|i| low + (high - low) * (i as f32 / last)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: &[f32], b: &[f32]) -> bool {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6)
    }

    #[test]
    fn both_ways_begin_and_end_at_the_points() {
        let (a, b) = ([3.0, 0.0, 1.0], [-1.0, 2.0, 0.5]);
        for how in [Interpolation::Linear, Interpolation::Spherical] {
            assert!(close(&how.between(&a, &b, 0.0), &a), "{how}");
            assert!(close(&how.between(&a, &b, 1.0), &b), "{how}");
        }
        let line = Interpolation::Linear.between(&a, &b, 0.25);
        assert!(close(&line, &[2.0, 0.5, 0.875]), "{line:?}");
    }

    #[test]
    fn an_arc_keeps_the_length_and_a_line_does_not() {
        let (a, b) = ([2.0, 0.0], [0.0, 2.0]);
        let third = Interpolation::Spherical.between(&a, &b, 1.0 / 3.0);
        let angle = std::f32::consts::FRAC_PI_6;
        assert!(close(&third, &[2.0 * angle.cos(), 2.0 * angle.sin()]), "{third:?}");
        assert!(close(&Interpolation::Linear.between(&a, &b, 0.5), &[1.0, 1.0]));
        // No arc: the same direction, the opposite one, and zero vectors.
        for b in [[4.0, 0.0], [-2.0, 0.0], [0.0, 0.0]] {
            let half = Interpolation::Spherical.between(&a, &b, 0.5);
            assert!(close(&half, &[1.0 + b[0] / 2.0, 0.0]), "{b:?}: {half:?}");
        }
    }

    #[test]
    fn a_round_trip_visits_every_point_and_closes() {
        let points = [vec![0.0, 1.0], vec![1.0, 1.0], vec![1.0, -1.0]];
        let walk = round_trip(&points, 4, Interpolation::Linear);
        let rows: Vec<&[f32]> = walk.chunks(2).collect();
        assert_eq!(rows.len(), 12);
        for (i, point) in points.iter().enumerate() {
            assert_eq!(rows[4 * i], point);
        }
        // The last step leads back to the first point.
        assert!(close(rows[11], &[0.25, 0.5]), "{:?}", rows[11]);
        let strip = stretch(&points[0], &points[1], 5, Interpolation::Linear);
        assert_eq!(strip, [0.0, 1.0, 0.25, 1.0, 0.5, 1.0, 0.75, 1.0, 1.0, 1.0]);
    }

    #[test]
    fn one_coordinate_varies_and_the_others_stay() {
        let values = evenly([-2.0, 2.0], 5);
        assert_eq!(values, [-2.0, -1.0, 0.0, 1.0, 2.0]);
        assert_eq!(vary(&[5.0, 6.0], 1, &values[..2]), [5.0, -2.0, 5.0, -1.0]);
        assert_eq!(evenly([3.0, 4.0], 1), [3.0]);
    }
}
