//! A trained model: its description, tensor names, latents, file, generator (for sampling) and
//! encoder (for finding latents).
//!
//! | module | what it is |
//! | --- | --- |
//! | [`networks`] | the description: networks by name, layer by layer, and what goes in and out |
//! | [`names`] | the names of the tensors of networks and of their averages |
//! | [`weights`] | raw or averaged weights: one rule for all |
//! | [`latents`] | the latent vectors of seeds, and their truncation |
//! | [`checkpoint`], [`file`](mod@file), [`folder`] | named tensors in a file; a model in it; the newest of a run |
//! | [`pipeline`](mod@pipeline) | how the networks make images of latents, one after another |
//! | [`inputs`], [`sampler`], [`generator`] | images to generate; a compiled generator; images |
//! | [`encoder`] | from images to latents |
//!
//! Nothing here knows how a model is trained: a training configuration is text that only
//! [`crate::train`] reads.

pub mod checkpoint;
pub mod encoder;
pub mod file;
pub mod folder;
pub mod generator;
pub mod inputs;
pub mod latents;
pub mod names;
pub mod networks;
pub mod pipeline;
pub mod pixels;
pub mod role;
pub mod sampler;
pub mod size;
pub mod weights;

pub use encoder::{Encoded, Encoder};
pub use file::{BUNDLED, ModelFile, is_bundled, save_imported};
pub use folder::Folder;
pub use generator::Generator;
pub use inputs::{Condition, Inputs};
pub use latents::{Truncation, seeded_latents};
pub use networks::{Net, Networks, Spread};
pub use pipeline::Pipeline;
pub use pixels::Pixels;
pub use role::Role;
pub use sampler::Sampler;
pub use size::Size;
pub use weights::Weights;
