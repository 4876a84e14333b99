//! What the shapes of tensors do not show about a network.
//!
//! Shapes give the widths, `nz`, the images' channels, kernels, biases and which layers are
//! normalized; the numbers of a `Sequential` show whether the norm comes before or after the
//! activation. The usual choices are assumed, and reported as assumptions; what is truly ambiguous
//! is asked for.

use crate::model::Pixels;
use crate::nn::LatentDistribution;
use crate::nn::Statistics;

use super::spelled::Spelled;

/// What shapes do not show.
#[derive(Clone, Debug)]
pub struct Assumptions {
    /// The latent distribution.
    pub latent_distribution: LatentDistribution,
    /// The negative slope of the generator's activations; 0 for ReLU.
    pub g_slope: f32,
    /// The same for the discriminator.
    pub d_slope: f32,
    /// Batch norm's ε; `None` for the usual value of the file's origin.
    pub eps: Option<f32>,
    /// What batch norm normalizes by; `None` for running statistics if there are any.
    pub statistics: Option<Statistics>,
    /// The range of the generator's last activation: [`Pixels::Signed`] is tanh.
    pub pixels: Pixels,
    /// The generator's layers in order; empty to infer them from names and shapes.
    pub g_layers: Vec<Spelled>,
    /// The same for the discriminator.
    pub d_layers: Vec<Spelled>,
    /// Height and width of the generator's images after each convolution; empty for the usual.
    pub g_sides: Vec<[usize; 2]>,
    /// Height and width of the discriminator's images, from its input to its logit; empty for the
    /// usual.
    pub d_sides: Vec<[usize; 2]>,
}

impl Default for Assumptions {
    fn default() -> Self {
        Self {
            latent_distribution: LatentDistribution::Normal,
            g_slope: 0.0,
            d_slope: 0.2,
            eps: None,
            statistics: None,
            pixels: Pixels::Signed,
            g_layers: Vec::new(),
            d_layers: Vec::new(),
            g_sides: Vec::new(),
            d_sides: Vec::new(),
        }
    }
}
