//! The latent vectors of seeds, and their truncation.

use std::fmt;
use std::str::FromStr;

use crate::math;
use crate::nn::LatentDistribution;
use crate::rng::{Stream, unit};
use crate::tensor::Tensor;

/// Latents `[seeds, nz]` on the host, one row for each seed, independent of the other seeds.
#[must_use]
pub fn seeded_latents(seeds: &[u64], nz: usize, distribution: LatentDistribution) -> Tensor {
    let mut z = vec![0.0; seeds.len() * nz];
    for (&seed, row) in seeds.iter().zip(z.chunks_mut(nz.max(1))) {
        distribution.fill(&Stream::new(seed, "latent", 0), row);
    }
    Tensor::new([seeds.len(), nz], z).expect("the data was made for the shape")
}

/// Truncated latents (BigGAN, arXiv 1809.11096, section 3.1): entries whose absolute value exceeds
/// the threshold are drawn again until they are within it. The smaller the threshold, the nearer
/// the latents are to the most likely one: images look more typical, and more alike. Whether they also
/// look better depends on the generator, which was trained on latents of larger norm: BigGAN's needed a
/// regularization for it.
///
/// ```text
/// normal   N(0, 1), given |zᵢ| ≤ threshold
/// uniform  U(−threshold, threshold); from 1 on nothing changes
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Truncation(f32);

impl Truncation {
    /// Truncation at this absolute value.
    ///
    /// # Errors
    /// A message if it is not positive and finite.
    pub fn new(threshold: f32) -> Result<Self, String> {
        match threshold > 0.0 && threshold.is_finite() {
            true => Ok(Self(threshold)),
            false => {
                Err(format!("{threshold} is not above 0; 2 is little truncation, and 0.7 much"))
            }
        }
    }

    /// The largest absolute value of an entry.
    #[must_use]
    pub fn threshold(self) -> f32 {
        self.0
    }

    /// [`seeded_latents`] with the entries beyond the threshold drawn again: a pure function of
    /// seed and threshold. Entries within it are those of [`seeded_latents`].
    #[must_use]
    pub fn latents(self, seeds: &[u64], nz: usize, distribution: LatentDistribution) -> Tensor {
        let mut z = seeded_latents(seeds, nz, distribution).f32s().to_vec();
        for (&seed, row) in seeds.iter().zip(z.chunks_mut(nz.max(1))) {
            for (i, z) in row.iter_mut().enumerate().filter(|(_, z)| z.abs() > self.0) {
                *z = self.draw(Stream::new(seed, "truncation", i as u32), distribution);
            }
        }
        Tensor::new([seeds.len(), nz], z).expect("the data was made for the shape")
    }

    /// One value of the truncated distribution, by rejection from the uniform one: what repeated
    /// draws from `distribution` would give, in a few steps also where nearly all of them are beyond the
    /// threshold.
    fn draw(self, mut stream: Stream, distribution: LatentDistribution) -> f32 {
        loop {
            let z = self.0 * (2.0 * unit(stream.next_u32()) - 1.0);
            let keep = match distribution {
                LatentDistribution::Normal => math::exp(-0.5 * z * z),
                LatentDistribution::Uniform => 1.0,
            };
            if unit(stream.next_u32()) < keep {
                return z;
            }
        }
    }
}

impl FromStr for Truncation {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let threshold = text.trim().parse::<f32>();
        Self::new(threshold.map_err(|_| "a threshold is a number above 0, such as 0.7".to_owned())?)
    }
}

impl fmt::Display for Truncation {
    /// As typed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    const NORMAL: LatentDistribution = LatentDistribution::Normal;
    const UNIFORM: LatentDistribution = LatentDistribution::Uniform;

    fn truncated(threshold: f32, distribution: LatentDistribution) -> Vec<f32> {
        let seeds: Vec<u64> = (0..400).collect();
        Truncation::new(threshold).unwrap().latents(&seeds, 100, distribution).f32s().to_vec()
    }

    #[test]
    fn entries_within_the_threshold_stay_and_the_others_are_drawn_again() {
        let seeds: Vec<u64> = (0..400).collect();
        for distribution in [NORMAL, UNIFORM] {
            let whole = seeded_latents(&seeds, 100, distribution);
            assert_eq!(
                truncated(6.0, distribution),
                whole.f32s(),
                "a large threshold changes nothing"
            );
            for threshold in [0.001, 0.5, 0.9] {
                let cut = truncated(threshold, distribution);
                assert_eq!(cut, truncated(threshold, distribution));
                for (&cut, &whole) in cut.iter().zip(whole.f32s()) {
                    assert!(cut.abs() <= threshold, "{cut}");
                    assert!(cut == whole || whole.abs() > threshold, "{cut} for {whole}");
                }
            }
        }
        // A seed's latent is independent of the others.
        let cut = Truncation::new(0.5).unwrap();
        let alone = cut.latents(&[7], 100, NORMAL);
        assert_eq!(alone.f32s(), &truncated(0.5, NORMAL)[700..800]);
    }

    #[test]
    fn what_is_left_has_the_truncated_distribution() {
        let variance = |z: &[f32]| {
            z.iter().map(|&z| f64::from(z) * f64::from(z)).sum::<f64>() / z.len() as f64
        };
        // 1 − 2 T φ(T) / (2 Φ(T) − 1).
        for (threshold, expected) in [(0.5, 0.080_47), (1.0, 0.291_1), (2.0, 0.773_7)] {
            let z = truncated(threshold, NORMAL);
            let mean = z.iter().map(|&z| f64::from(z)).sum::<f64>() / z.len() as f64;
            assert!(mean.abs() < 0.012, "{threshold}: {mean}");
            let found = variance(&z);
            assert!((found / expected - 1.0).abs() < 0.03, "{threshold}: {found}");
        }
        let found = variance(&truncated(0.6, UNIFORM));
        assert!((found / 0.12 - 1.0).abs() < 0.03, "{found}");
    }

    #[test]
    fn thresholds_as_typed() {
        assert_eq!("0.7".parse::<Truncation>().unwrap().threshold(), 0.7);
        assert_eq!("0.7".parse::<Truncation>().unwrap().to_string(), "0.7");
        for bad in ["0", "-1", "inf", "nan", "much", ""] {
            let error = bad.parse::<Truncation>().unwrap_err();
            assert!(error.contains("above 0"), "{bad}: {error}");
        }
    }
}
