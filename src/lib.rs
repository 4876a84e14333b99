//! dcgan

pub mod data;
pub mod device;
pub mod error;
pub mod files;
pub mod human;
pub mod models;
pub mod nn;
pub mod objectives;
pub mod ops;
pub mod optim;
pub mod pictures;
pub mod program;
pub mod rng;
pub mod shaders;
pub mod tape;
pub mod tensor;
pub mod train;
