//! Networks.

mod ali;
mod bigan;
mod cnn;
pub mod dcgan;
pub mod design;
mod encoders;
mod heads;
mod mlp;
pub mod parts;
mod resnet;
pub mod size;
mod vae_gan;

pub use crate::model::{Networks, Pixels};
pub use design::{ClassCondition, LatentDistribution, ModelConfig, Network, PartialModelConfig};
pub use parts::{Bias, Codes, Conditioning, Minibatch, Norm};
pub use size::Size;
