//! The Inception score (Salimans et al., arXiv 1606.03498), as torch-fidelity computes it: images are
//! shuffled and cut into parts; of each, `exp` of the mean over its images of
//! `Σ p ln(p / q)`, with `p` the softmax of an image's logits and `q` the mean of all `p` of the part.
//!
//! The logits are those without the last layer's bias. The score compares nothing with real images.

use crate::error::{Error, Result};
use crate::rng::Stream;

use super::Features;
use super::kid::Spread;

/// The number of parts that papers use.
pub const SPLITS: usize = 10;

/// The seed of the shuffle that torch-fidelity uses; the shuffle itself is another.
pub const SEED: u64 = 2020;

/// The score of images by their logits, in so many parts.
///
/// # Errors
/// [`Error::Metric`] where there are fewer images than parts.
pub fn inception_score(logits: &Features, splits: usize, seed: u64) -> Result<Spread> {
    let count = logits.count();
    if splits == 0 || count < splits {
        let what = format!("{count} images cannot be cut into {splits} parts");
        return Err(Error::metric("Inception score", what));
    }
    let order = Stream::new(seed, "inception score", 0).permutation(count);
    let scores: Vec<f64> = (0..splits)
        .map(|i| {
            let part = &order[i * count / splits..(i + 1) * count / splits];
            score(&part.iter().map(|&i| logits.row(i as usize)).collect::<Vec<_>>())
        })
        .collect();
    Ok(Spread::of(&scores))
}

/// `exp(mean Σ p ln(p / q))` of the rows' softmax.
fn score(rows: &[&[f32]]) -> f64 {
    let count = rows.len() as f64;
    let mut mean = vec![0.0; rows.first().map_or(0, |row| row.len())];
    // Σ p ln p − Σ p ln q: the first term image by image, the second once all are summed.
    let mut own = 0.0;
    for row in rows {
        let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let shifted = row.iter().map(|&x| f64::from(x) - f64::from(largest));
        let total: f64 = shifted.clone().map(f64::exp).sum();
        for (mean, x) in mean.iter_mut().zip(shifted) {
            let log = x - total.ln();
            *mean += log.exp() / count;
            own += log.exp() * log / count;
        }
    }
    // A class of no probability adds nothing.
    let joint: f64 = mean.iter().filter(|&&q| q > 0.0).map(|q| q * q.ln()).sum();
    (own - joint).exp()
}
