//! What the shapes of tensors do not say of a network.
//!
//! What they say is taken from them: the widths, `nz`, the images' channels, kernels, biases, which
//! layers are normalized, and, from the numbers of a `Sequential`, whether the norm stands before or
//! after the activation. What is usual is assumed, and said to be; what may as well be otherwise is
//! asked for.

use crate::model::Pixels;
use crate::nn::LatentDistribution;
use crate::nn::Statistics;

use super::spelled::Spelled;

/// What shapes cannot say.
#[derive(Clone, Debug)]
pub struct Assumptions {
    /// The law of latents.
    pub latent_law: LatentDistribution,
    /// The slope of the generator's activations' negative half; 0 for ReLU.
    pub g_slope: f32,
    /// The same of the discriminator's.
    pub d_slope: f32,
    /// Batch norm's ε; none for what is usual where the weights come from.
    pub eps: Option<f32>,
    /// What batch norm normalizes by; none for running statistics where there are any.
    pub statistics: Option<Statistics>,
    /// What the generator's last activation makes: [`Pixels::Signed`] is tanh.
    pub pixels: Pixels,
    /// The generator's layers, one after another; empty for what names and shapes say.
    pub g_layers: Vec<Spelled>,
    /// The same of the discriminator's.
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
            latent_law: LatentDistribution::Normal,
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
