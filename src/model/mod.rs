//! What a trained model is: its description, the names of its tensors, its file, and the generator that
//! samples from it.

pub mod checkpoint;
pub mod file;
pub mod folder;
pub mod networks;
pub mod sampler;
