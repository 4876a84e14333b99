//! dcgan

pub mod device;
pub mod error;
pub mod rng;
pub mod shaders;
pub mod tensor;
