//! Families of GANs, one file each: their networks, and what a step of their training records.

pub mod acgan;
pub mod gan;
pub mod infogan;
pub mod semi;

/// The names of the networks that most families have.
pub const GENERATOR: &str = "generator";
/// See [`GENERATOR`].
pub const DISCRIMINATOR: &str = "discriminator";
