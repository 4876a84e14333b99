//! The leave-one-out accuracy of a nearest-neighbor classifier that tells generated images from real
//! ones.
//!
//! ```text
//! accuracy = mean over x of [x's nearest other image is of x's own set], ties ½
//! ```
//!
//! Lopez-Paz and Oquab, arXiv 1610.06545; Xu et al., arXiv 1806.07755. It is .5 for two samples of one
//! distribution and near 1 for sets that lie apart, but below .5 where images of one set are copies of
//! the other's: the accuracies on real and on generated images are given apart. Real images of low
//! accuracy lie among generated ones; generated images of low accuracy, among real ones.

use super::Features;
use super::prdc::{nearest, radii};

/// Accuracies of the classifier.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TwoSample {
    /// On the generated images.
    pub fakes: f64,
    /// On the real images.
    pub reals: f64,
}

impl TwoSample {
    /// On all images, of sets of the same size.
    #[must_use]
    pub fn accuracy(self) -> f64 {
        0.5 * (self.fakes + self.reals)
    }
}

/// The accuracies on two sets of two or more images each.
#[must_use]
pub fn two_sample(fakes: &Features, reals: &Features) -> TwoSample {
    let accuracy = |own: &Features, other: &Features| {
        let each = radii(own, 1).into_iter().zip(nearest(own, other));
        each.map(|(own, other)| win(own, other)).sum::<f64>() / own.count() as f64
    };
    TwoSample { fakes: accuracy(fakes, reals), reals: accuracy(reals, fakes) }
}

/// 1 if `a` is less than `b`, ½ if they are equal.
pub(super) fn win(a: f32, b: f32) -> f64 {
    match a.total_cmp(&b) {
        std::cmp::Ordering::Less => 1.0,
        std::cmp::Ordering::Equal => 0.5,
        std::cmp::Ordering::Greater => 0.0,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn ties_count_half() {
        let points = |values: [f32; 2]| Features::new(1, values.to_vec()).unwrap();
        // 1 is as near to 0, of its set, as to 2, of the other.
        let found = two_sample(&points([0.0, 1.0]), &points([2.0, 2.5]));
        assert_eq!((found.fakes, found.reals, found.accuracy()), (0.75, 1.0, 0.875));
    }
}
