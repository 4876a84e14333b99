//! Are generated images nearer to training images than images are that the training has not seen?
//!
//! ```text
//! d(x)         = distance of x to the nearest training image
//! memorization = P(d(f) < d(h)) + ½ P(d(f) = d(h))    over generated f and held-out h
//! copies       = share of f whose nearest image, among as many training as held-out images, is a
//!                training image, ties ½
//! ```
//!
//! The first is the statistic of Meehan et al., arXiv 2004.05675 (Mann and Whitney's U over the number of
//! pairs): ½ if samples are as far from the training set as held-out images, 1 if all are nearer. Blurred
//! images are near to everything, so it rises with blur too; the second does not, as both sets gain.

use rayon::prelude::*;

use super::Features;
use super::prdc::nearest;
use super::two_sample::win;

/// Cells a side of the thumbnails that are compared: finer than [`super::thumbnails::SIDE`], as copies
/// are alike in detail.
pub const SIDE: usize = 16;

/// What a generator is held against to find copies: thumbnails of [`SIDE`].
#[derive(Clone, Debug)]
pub struct Seen {
    /// Images of the training.
    pub training: Features,
    /// Images of the same kind that the training has not seen.
    pub held_out: Features,
}

/// How near generated images are to the training set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Memorization {
    /// Share of pairs of a generated and a held-out image of which the generated one is nearer to the
    /// training set.
    pub nearer: f64,
    /// Share of generated images whose nearest image is one of the training.
    pub copies: f64,
}

/// How near the thumbnails `fakes` are to the training set.
#[must_use]
pub fn memorization(fakes: &Features, seen: &Seen) -> Memorization {
    let [to_training, control] =
        [fakes, &seen.held_out].map(|images| nearest(images, &seen.training));
    // As many of each: the larger set would be nearer by its number alone.
    let count = seen.training.count().min(seen.held_out.count());
    let few = seen.training.first(count);
    let (a, b) = (nearest(fakes, &few), nearest(fakes, &seen.held_out.first(count)));
    let copies = a.iter().zip(&b).map(|(&a, &b)| win(a, b)).sum::<f64>() / a.len() as f64;
    Memorization { nearer: share_less(&to_training, &control), copies }
}

/// Share of the pairs in which the number of `a` is less than that of `b`, ties ½.
fn share_less(a: &[f32], b: &[f32]) -> f64 {
    let mut sorted = b.to_vec();
    sorted.par_sort_unstable_by(f32::total_cmp);
    let wins = |&a: &f32| {
        let below = sorted.partition_point(|&b| b < a);
        let upto = sorted.partition_point(|&b| b <= a);
        (sorted.len() - upto) as f64 + 0.5 * (upto - below) as f64
    };
    a.par_iter().map(wins).sum::<f64>() / (a.len() * b.len()) as f64
}
