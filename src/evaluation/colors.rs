//! The distance of color histograms.
//!
//! ```text
//! colors = mean over channels of Σ over levels v of |F_f(v) − F_r(v)|
//! ```
//!
//! F is the share of a set's pixels of a level up to v: the earth mover's distance of the histograms in
//! levels of 0 to 255. It does not see where a color is.

use rayon::prelude::*;

use super::ImageSet;
use super::metric::{Context, Measured};
use crate::error::Result;

/// The distance between the colors of two sets, in levels.
///
/// # Errors
/// Never.
pub fn colors(fakes: &ImageSet, reals: &ImageSet, context: &Context<'_>) -> Result<Measured> {
    let [a, b] = [fakes, reals].map(histograms);
    context.done((fakes.count() + reals.count()) as f64);
    let distance = |(a, b): (&[u64; 256], &[u64; 256])| {
        let (mut sums, mut distance) = ([0, 0], 0.0);
        let totals = [a, b].map(|counts| counts.iter().sum::<u64>() as f64);
        for (a, b) in a.iter().zip(b) {
            sums = [sums[0] + a, sums[1] + b];
            distance += (sums[0] as f64 / totals[0] - sums[1] as f64 / totals[1]).abs();
        }
        distance
    };
    let each: Vec<f64> = a.iter().zip(&b).map(distance).collect();
    Ok(Measured::of(each.iter().sum::<f64>() / each.len() as f64))
}

/// Pixels of each level, channel by channel.
fn histograms(images: &ImageSet) -> Vec<[u64; 256]> {
    let channels = images.size[2];
    let zero = || vec![[0; 256]; channels];
    let counted = (0..images.count()).into_par_iter().fold(zero, |mut counts, i| {
        for pixel in images.image(i).chunks(channels) {
            for (counts, &level) in counts.iter_mut().zip(pixel) {
                counts[level as usize] += 1;
            }
        }
        counts
    });
    counted.reduce(zero, |mut a, b| {
        for (a, b) in a.iter_mut().flatten().zip(b.iter().flatten()) {
            *a += b;
        }
        a
    })
}
