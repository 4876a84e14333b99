//! Layers and initialisers: what a network is made of, recorded on a tape by name.
//!
//! A layer owns no numbers. Its parameters are states called `<network>.<layer>.<parameter>`, named
//! as PyTorch names them; [`Sequential::forward`] reads them from the tape, so that the same network
//! runs on trained, averaged or freshly updated weights by its prefix alone.
//!
//! [`Layer`] is the list of layers: a description that a model file holds. `size` says which pictures
//! each takes and gives, `record` which tensors it owns and what it computes, with the formulas in a
//! file for each family: `norm`, `virtual_batch`, `minibatch`, `noise`, `attention`, `projection`,
//! `resample`, `codes`, and `weight` for how convolutions come by their weights, which `singular` measures and
//! `standardise` starts by data. A [`Pass`] is what a network needs beside its input.

mod attention;
mod codes;
mod latents;
mod layer;
mod layout;
mod minibatch;
mod noise;
mod norm;
mod param;
mod pass;
mod projection;
mod record;
mod resample;
mod sequential;
mod singular;
mod size;
mod standardise;
mod start;
mod virtual_batch;
mod weight;

pub use latents::LatentLaw;
pub use layer::Layer;
pub use layout::Layout;
pub(crate) use norm::BATCH_NORM_MOMENTUM;
pub use norm::{BATCH_NORM_EPS, Statistics};
pub use param::{Init, Param};
pub use pass::{Mode, Pass};
pub use sequential::Sequential;
pub use singular::largest_singular_value;
pub use start::Start;
pub use weight::Weight;
