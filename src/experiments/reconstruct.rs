//! Measures how well an encoder inverts its generator, as BiGAN's authors do (arXiv 1605.09782, the
//! evaluation in their code):
//!
//! ```text
//! EGr    mean ‖xᵢ − G(E(xᵢ))‖        of pixels in 0 to 1
//! EGr_b  mean ‖xᵢ − G(E(xᵢ₊₁))‖      the last image beside the first one's reconstruction
//! ```
//!
//! If the ratio of the two is 1, the reconstruction of an image is no nearer to it than that of
//! another image: the latent carries no information about the image. Nearest neighbors by latents
//! are no evidence: those of an untrained encoder also match the class of a digit.

/// Distances of images to their reconstructions, and to those of other images.
#[derive(Clone, Debug, Default)]
pub struct Distances {
    /// `‖xᵢ − G(E(xᵢ))‖` of each image.
    own: Vec<f64>,
    /// `‖xᵢ − G(E(xᵢ₊₁))‖` of each image but the last.
    other: Vec<f64>,
    /// The first reconstruction.
    first: Vec<f32>,
    /// The last image.
    last: Vec<f32>,
}

impl Distances {
    /// Adds images and their reconstructions, with this number of values each, in [−1, 1].
    ///
    /// # Panics
    /// If the numbers of reconstructions and images differ.
    pub fn add(&mut self, images: &[f32], reconstructions: &[f32], numbers: usize) {
        assert_eq!(images.len(), reconstructions.len(), "one reconstruction for each image");
        for (x, again) in images.chunks(numbers).zip(reconstructions.chunks(numbers)) {
            if self.own.is_empty() {
                again.clone_into(&mut self.first);
            } else {
                self.other.push(distance(&self.last, again));
            }
            self.own.push(distance(x, again));
            x.clone_into(&mut self.last);
        }
    }

    /// The distance of each image to its own reconstruction.
    #[must_use]
    pub fn each(&self) -> &[f64] {
        &self.own
    }

    /// EGr: the mean distance to an image's own reconstruction; `None` without images.
    #[must_use]
    pub fn own(&self) -> Option<f64> {
        mean(&self.own)
    }

    /// `EGr_b`: the mean distance to the next image's reconstruction; `None` below two images.
    #[must_use]
    pub fn other(&self) -> Option<f64> {
        if self.own.len() < 2 {
            return None;
        }
        let mut all = self.other.clone();
        all.push(distance(&self.last, &self.first));
        mean(&all)
    }

    /// EGr over `EGr_b`; `None` if the second is `None` or 0.
    #[must_use]
    pub fn ratio(&self) -> Option<f64> {
        let (own, other) = (self.own()?, self.other()?);
        (other > 0.0).then(|| own / other)
    }
}

/// The Euclidean distance of images in [−1, 1], as if scaled to [0, 1].
fn distance(a: &[f32], b: &[f32]) -> f64 {
    let squares = a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2));
    0.5 * squares.sum::<f64>().sqrt()
}

fn mean(numbers: &[f64]) -> Option<f64> {
    (!numbers.is_empty()).then(|| numbers.iter().sum::<f64>() / numbers.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three images of two values, added one by one or together.
    #[test]
    fn each_image_is_compared_with_its_own_and_the_next_reconstruction() {
        let images = [-1.0, -1.0, 1.0, 1.0, -1.0, 1.0];
        // The first is exact; the second differs by 0.5 in one value, the third by 1 in one.
        let made = [-1.0, -1.0, 0.0, 1.0, 1.0, 1.0];
        for step in [2, 4, 6] {
            let mut distances = Distances::default();
            for (x, again) in images.chunks(step).zip(made.chunks(step)) {
                distances.add(x, again, 2);
            }
            assert_eq!(distances.each(), [0.0, 0.5, 1.0]);
            assert_eq!(distances.own(), Some(0.5));
            // To (0.5, 1), of (1, 1) to (1, 1), of (0, 1) to (0, 0).
            let wanted = (1.25_f64.sqrt() + 0.0 + 1.0) / 3.0;
            let other = distances.other().unwrap_or(f64::NAN);
            assert!((other - wanted).abs() < 1e-12, "{other}, not {wanted}");
            assert_eq!(distances.ratio(), Some(0.5 / other));
        }
        let mut one = Distances::default();
        assert_eq!((one.own(), one.other(), one.ratio()), (None, None, None));
        one.add(&[0.0, 0.0], &[1.0, 0.0], 2);
        assert_eq!((one.own(), one.other(), one.ratio()), (Some(0.5), None, None));
        // The same image twice: division by zero.
        one.add(&[0.0, 0.0], &[0.0, 0.0], 2);
        assert!(one.ratio().is_some());
        let mut same = Distances::default();
        same.add(&[0.0; 4], &[0.0; 4], 2);
        assert_eq!((same.other(), same.ratio()), (Some(0.0), None));
    }
}
