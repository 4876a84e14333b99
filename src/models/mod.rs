//! Networks.

mod ali;
mod bigan;
mod cnn;
pub mod config;
pub mod dcgan;
mod encoders;
mod heads;
pub mod lapgan;
mod mlp;
pub mod parts;
pub mod progressive;
mod resnet;
pub mod size;
pub mod ss_gan;
pub mod stacked;
pub mod stackgan;
mod vae_gan;

pub use crate::model::{Networks, Pixels};
pub use config::{
    Architecture, ClassCondition, LatentDistribution, ModelConfig, PartialModelConfig,
};
pub use parts::{Bias, Codes, Conditioning, Minibatch, Norm};
pub use size::Size;
