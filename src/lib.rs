//! dcgan

pub mod data;
pub mod error;
pub mod rng;
pub mod tensor;
