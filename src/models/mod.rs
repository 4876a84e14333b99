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
pub use design::{ClassCondition, Design, DesignOptions, LatentLaw, Network};
pub use parts::{Bias, Codes, Conditioning, Minibatch, Norm};
pub use size::Size;
