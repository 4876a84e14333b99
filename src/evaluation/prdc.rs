//! Precision and recall, density and coverage: which part of the generated images is real, and which
//! part of the real ones is generated, by balls around features.
//!
//! ```text
//! R(i, k)   = distance of the real feature rᵢ to its k-th nearest other real one; F(j, k) alike
//! precision = mean over j of [some i: |fⱼ − rᵢ| ≤ R(i, k)]                            k = 3
//! recall    = mean over i of [some j: |rᵢ − fⱼ| ≤ F(j, k)]
//! density   = mean over j of #{i: |fⱼ − rᵢ| < R(i, k)} / k                            k = 5
//! coverage  = mean over i of [the least |rᵢ − fⱼ| < R(i, k)]
//! ```
//!
//! Precision and recall by Kynkäänniemi et al., arXiv 1904.06991; density and coverage by Naeem et al.,
//! arXiv 2002.09797 (package `prdc`), whose inequality is strict. Of real images against real ones density
//! is near 1, and coverage near 1 − 2⁻ᵏ.

use std::ops::Range;

use rayon::prelude::*;

use super::Features;
use crate::distances::each_block;
use crate::error::{Error, Result};

/// Neighbors of precision and recall, as in the paper.
pub const PRECISION_K: usize = 3;
/// Neighbors of density and coverage, as in the paper.
pub const DENSITY_K: usize = 5;

/// Precision and recall.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PrecisionRecall {
    /// Share of generated images in a ball of a real one.
    pub precision: f64,
    /// Share of real images in a ball of a generated one.
    pub recall: f64,
}

/// Density and coverage.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DensityCoverage {
    /// Balls of real images that a generated image lies in, of the expected number.
    pub density: f64,
    /// Share of real images with a generated one in their ball.
    pub coverage: f64,
}

/// Precision and recall with balls to the `k`-th neighbor.
///
/// # Errors
/// [`Error::Metric`] if a set has no more than `k` rows or the widths differ.
pub fn precision_recall(fakes: &Features, reals: &Features, k: usize) -> Result<PrecisionRecall> {
    check("precision", [fakes, reals], k)?;
    let share_inside = |points: &Features, balls: &Features| {
        let radii = radii(balls, k);
        let mut inside = vec![false; points.count()];
        each_row(points, balls, &mut inside, |inside, columns, distances| {
            let mut within = distances.iter().zip(&radii[columns]);
            *inside = *inside || within.any(|(distance, radius)| distance <= radius);
        });
        share(&inside)
    };
    Ok(PrecisionRecall {
        precision: share_inside(fakes, reals),
        recall: share_inside(reals, fakes),
    })
}

/// Density and coverage with balls to the `k`-th neighbor.
///
/// # Errors
/// [`Error::Metric`] if a set has no more than `k` rows or the widths differ.
pub fn density_coverage(fakes: &Features, reals: &Features, k: usize) -> Result<DensityCoverage> {
    check("density", [fakes, reals], k)?;
    let radii = radii(reals, k);
    let mut balls = vec![0_u64; fakes.count()];
    each_row(fakes, reals, &mut balls, |balls, columns, distances| {
        let within = distances.iter().zip(&radii[columns]).filter(|(d, radius)| d < radius);
        *balls += within.count() as u64;
    });
    let nearest = nearest(reals, fakes);
    let covered: Vec<bool> = nearest.iter().zip(&radii).map(|(d, radius)| d < radius).collect();
    let density = balls.iter().sum::<u64>() as f64 / (k * fakes.count()) as f64;
    Ok(DensityCoverage { density, coverage: share(&covered) })
}

/// Squared distances of each row of `x` to its nearest row of `y`.
pub(super) fn nearest(x: &Features, y: &Features) -> Vec<f32> {
    let mut nearest = vec![f32::INFINITY; x.count()];
    each_row(x, y, &mut nearest, |nearest, _, distances| {
        *nearest = distances.iter().copied().fold(*nearest, f32::min);
    });
    nearest
}

/// Squared distances of each row to its `k`-th nearest other row.
pub(super) fn radii(x: &Features, k: usize) -> Vec<f32> {
    // The row itself is one of the first k + 1, at 0; of equal rows it does not matter which is left out.
    let mut least = vec![vec![f32::INFINITY; k + 1]; x.count()];
    each_row(x, x, &mut least, |least, _, distances| {
        for &distance in distances {
            if distance < least[k] {
                let at = least.partition_point(|&d| d <= distance);
                least.insert(at, distance);
                least.truncate(k + 1);
            }
        }
    });
    least.iter().map(|least| least[k]).collect()
}

/// Updates what is kept for each row of `x` by its squared distances to some rows of `y` at a time.
fn each_row<T: Send>(
    x: &Features,
    y: &Features,
    kept: &mut [T],
    update: impl Fn(&mut T, Range<usize>, &[f32]) + Sync,
) {
    each_block(&x.values, &y.values, x.width, |rows, columns, distances| {
        let each = kept[rows].par_iter_mut().zip(distances.par_chunks(columns.len()));
        each.for_each(|(kept, distances)| update(kept, columns.clone(), distances));
    });
}

fn share(of: &[bool]) -> f64 {
    of.iter().filter(|&&is| is).count() as f64 / of.len() as f64
}

fn check(metric: &'static str, sets: [&Features; 2], k: usize) -> Result<()> {
    sets[0].check_width(sets[1], metric)?;
    let least = sets[0].count().min(sets[1].count());
    if least <= k {
        let what = format!("{least} images have no {k} neighbors; {} or more work", k + 1);
        return Err(Error::metric(metric, what));
    }
    Ok(())
}
