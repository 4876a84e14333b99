//! Networks.

mod cnn;
pub mod dcgan;
pub mod design;
mod mlp;
pub mod parts;
mod resnet;
pub mod size;

pub use crate::model::{Networks, Pixels};
pub use design::{Design, LatentLaw, Network};
pub use parts::{Codes, Conditioning, Minibatch, Norm};
pub use size::Size;
