//! Layers and initialisers: what a network is made of, recorded on a tape by name.
//!
//! A layer owns no numbers. Its parameters are states called `<network>.<layer>.<parameter>`, named
//! as PyTorch names them; [`Sequential::forward`] reads them from the tape, so that the same network
//! runs on trained, averaged or freshly updated weights by its prefix alone.

mod conv;
mod label;
mod layer;
mod layout;
mod norm;
mod param;
mod sequential;
mod size;

pub use layer::Layer;
pub use layout::Layout;
pub(crate) use norm::BATCH_NORM_MOMENTUM;
pub use norm::{BATCH_NORM_EPS, Statistics};
pub use param::{Init, Param};
pub use sequential::{Mode, Sequential};
