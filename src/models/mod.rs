//! Networks.

pub mod dcgan;
pub mod networks;

pub use dcgan::{Dcgan, LatentLaw, Preset};
pub use networks::{Networks, Pixels};
