//! Networks.

mod cnn;
pub mod dcgan;
pub mod design;
mod mlp;
pub mod networks;
pub mod parts;
mod resnet;
pub mod size;

pub use design::{ClassCondition, Design, DesignOptions, LatentLaw, Network};
pub use networks::{Networks, Pixels};
pub use parts::{Codes, Conditioning, Minibatch, Norm};
pub use size::Size;
