//! The kernel distance between two sets of features (KID, where the features are those of the TF
//! Inception network; Bińkowski et al., arXiv 1801.01401), as torch-fidelity computes it.
//!
//! With the kernel `k(x, y) = (x·y / width + 1)³`, the unbiased estimate of the squared maximum mean
//! discrepancy of `m` images of either set:
//!
//! ```text
//! Σ_{i≠j} k(xᵢ, xⱼ) / m(m − 1) + Σ_{i≠j} k(yᵢ, yⱼ) / m(m − 1) − 2 Σ k(xᵢ, yⱼ) / m²
//! ```
//!
//! It does not depend on the sizes of the sets, and is below zero by chance where they are alike.

use crate::error::{Error, Result};
use crate::gemm::{Matrix, gemm};
use crate::rng::Stream;

use super::Features;

/// The metric's name in errors.
const NAME: &str = "KID";

/// How subsets are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subsets {
    /// Their number.
    pub count: usize,
    /// Images of either set in each, drawn without replacement.
    pub size: usize,
    /// The seed of the draws.
    pub seed: u64,
}

impl Default for Subsets {
    /// Those of torch-fidelity.
    fn default() -> Self {
        Self { count: 100, size: 1000, seed: 2020 }
    }
}

/// A score of several parts of a set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The mean over the parts.
    pub mean: f64,
    /// Their standard deviation (by their number).
    pub deviation: f64,
}

impl Spread {
    pub(super) fn of(scores: &[f64]) -> Self {
        let count = scores.len() as f64;
        let mean = scores.iter().sum::<f64>() / count;
        let variance = scores.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count;
        Self { mean, deviation: variance.sqrt() }
    }
}

/// The kernel distance, over subsets of both sets.
///
/// # Errors
/// [`Error::Metric`] where a set has fewer images than a subset, or the widths differ.
pub fn kernel_distance(a: &Features, b: &Features, subsets: &Subsets) -> Result<Spread> {
    a.check_width(b, NAME)?;
    let least = a.count().min(b.count());
    if subsets.count == 0 || subsets.size < 2 || least < subsets.size {
        let what = format!(
            "{} subsets of {} images cannot be drawn from a set of {least}: more images, or \
             smaller subsets of two or more",
            subsets.count, subsets.size
        );
        return Err(Error::metric(NAME, what));
    }
    let drawn = |features: &Features, name, subset| -> Vec<f32> {
        let stream = Stream::new(subsets.seed, name, subset as u32);
        let order = stream.permutation(features.count());
        let rows = order[..subsets.size].iter().map(|&i| features.row(i as usize));
        rows.flatten().copied().collect()
    };
    let scores: Vec<f64> = (0..subsets.count)
        .map(|i| {
            discrepancy(
                &drawn(a, "kid first", i),
                &drawn(b, "kid second", i),
                subsets.size,
                a.width,
            )
        })
        .collect();
    Ok(Spread::of(&scores))
}

/// The unbiased squared discrepancy of `m` rows each.
fn discrepancy(x: &[f32], y: &[f32], m: usize, width: usize) -> f64 {
    let mut products = vec![0.0_f32; m * m];
    // The sum of the kernel over all pairs, and over the pairs of equal indices.
    let mut sums = |a: &[f32], b: &[f32]| {
        let (a, b) = (Matrix::new(a, m, width, false), Matrix::new(b, width, m, true));
        gemm(a, b, &mut products, false, true);
        let kernel = |dot: f32| (f64::from(dot) / width as f64 + 1.0).powi(3);
        let all: f64 = products.iter().map(|&dot| kernel(dot)).sum();
        let diagonal: f64 = products.iter().step_by(m + 1).map(|&dot| kernel(dot)).sum();
        (all, diagonal)
    };
    let ((xx, x_alone), (yy, y_alone), (xy, _)) = (sums(x, x), sums(y, y), sums(x, y));
    let m = m as f64;
    (xx - x_alone + yy - y_alone) / (m * (m - 1.0)) - 2.0 * xy / (m * m)
}
