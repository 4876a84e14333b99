//! dcgan

pub mod device;
pub mod error;
pub mod ops;
pub mod program;
pub mod rng;
pub mod tape;
pub mod tensor;
