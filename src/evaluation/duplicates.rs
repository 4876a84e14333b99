//! Generated images that are nearly alike (after the birthday test of Arora et al., arXiv 1706.08224).
//!
//! ```text
//! duplicates = share of generated images that have another one within τ
//! τ: one real image in a hundred has another real one within it
//! ```
//!
//! So it is .01 for a generator as varied as the real images, and 1 for one that has collapsed to a few.
//! By thumbnails, of sets of the same size.

use super::Features;
use super::prdc::radii;

/// The share of real images that have another one within τ.
pub const EXPECTED: f64 = 0.01;

/// The share of near duplicates in a set, of two or more images each.
#[must_use]
pub fn duplicates(fakes: &Features, reals: &Features) -> f64 {
    let mut between = radii(reals, 1);
    between.sort_unstable_by(f32::total_cmp);
    let threshold = between[(EXPECTED * between.len() as f64) as usize];
    let near = radii(fakes, 1).into_iter().filter(|&distance| distance <= threshold);
    near.count() as f64 / fakes.count() as f64
}
