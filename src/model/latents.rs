//! The latent vectors of seeds.

use crate::nn::LatentDistribution;
use crate::rng::Stream;
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
