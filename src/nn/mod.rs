//! Layers and initializers: the parts of a network, recorded on a tape by name.
//!
//! A layer owns no values. Its parameters are states called `<network>.<layer>.<parameter>`, with
//! PyTorch's names; [`Sequential::record`] reads them from the tape, so that the same network runs
//! on trained, averaged or freshly updated weights depending only on its prefix.
//!
//! [`Layer`] is the list of layers: a description stored in model files. A layer is one file: its
//! description, input and output sizes, tensors, recording, ONNX export and all other properties
//! (`rule::LayerRule`). To add one, write that file and add a variant to [`Layer`].
//!
//! What layers share: `size` (valid sizes), `param` and `layout` (tensors here and in files),
//! `state_dict` (tensors by PyTorch's names), `start` (initialization of weights), `weight`
//! (reparametrized convolution weights, measured by `singular` and initialized from data by
//! `standardize`), and `onnx` (the graph interface for layers). A [`Pass`] is what a network needs
//! besides its main input, [`Outputs`] its results, and [`Heads`] name the channels of its last
//! layer.

mod activation;
mod attention;
mod batch_norm;
mod codes;
mod conditional_batch_norm;
mod conv;
mod gaussian;
mod group_norm;
mod growing;
mod heads;
mod join;
mod latents;
mod layer;
mod layout;
mod maxout;
mod minibatch;
mod noise;
mod normals;
pub(crate) mod onnx;
mod param;
mod parametrization;
mod pass;
mod pixel_bias;
mod pixel_norm;
mod projection;
mod resample;
mod residual;
mod rule;
mod sequential;
mod singular;
mod size;
mod standardize;
pub(crate) mod state_dict;
mod virtual_batch;
mod weight_init;

pub use activation::LeakyRelu;
pub use attention::Attention;
pub(crate) use batch_norm::BATCH_NORM_MOMENTUM;
pub use batch_norm::{BATCH_NORM_EPS, BatchNorm, Statistics};
pub use codes::Codes;
pub use conditional_batch_norm::ConditionalBatchNorm;
pub use conv::{Conv, ConvTranspose};
pub use gaussian::{Gaussian, divergence};
pub use group_norm::GroupNorm;
pub use growing::{Channels, Grow, SHARE, Shrink, WithFeatures, WithImage};
pub use heads::Heads;
pub use join::{Join, Label};
pub use latents::LatentDistribution;
pub use layer::Layer;
pub use layout::Layout;
pub use maxout::Maxout;
pub use minibatch::{MinibatchDiscrimination, MinibatchStd};
pub use noise::{Dropout, Noise};
pub use normals::Codebook;
pub use param::{Init, Param};
pub use parametrization::Parametrization;
pub use pass::{IMAGES, LABELS, LATENT, Mode, NORMALS, Outputs, Pass, TEXT};
pub use pixel_bias::PixelBias;
pub use pixel_norm::PixelNorm;
pub use projection::Projection;
pub use resample::Unflatten;
pub use residual::Residual;
pub use rule::{BatchDependence, LayerRole, Reach};
pub use sequential::Sequential;
pub use virtual_batch::{Reference, VirtualBatchNorm};
pub use weight_init::WeightInit;
