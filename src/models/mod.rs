//! Networks.

pub mod dcgan;
pub mod design;
pub mod networks;
pub mod size;

pub use design::{Design, LatentLaw, Network};
pub use networks::{Networks, Pixels};
pub use size::Size;
