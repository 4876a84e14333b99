//! Networks.

pub mod dcgan;

pub use dcgan::{Dcgan, LatentLaw, Preset};
