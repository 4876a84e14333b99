//! dcgan

pub mod error;
pub mod files;
pub mod human;
pub mod pictures;
pub mod rng;
pub mod tensor;
pub mod train;
