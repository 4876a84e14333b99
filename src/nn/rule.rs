//! The rule of a layer: all questions about a layer, answered in the layer's own file.

use std::fmt::Debug;

use crate::error::{Error, Result};
use crate::tape::{Tape, Var};

use super::onnx::Graph;
use super::param::Owned;
use super::parametrization::Kernel;
use super::pass::{LABELS, Walk};
use super::size::{Around, Misfit};
use super::{Layer, Parametrization, WeightInit};

/// How a layer's output for one image depends on the other images of its batch. There is one answer
/// for each layer, and three questions:
///
/// - *Does a result depend on the rest of the batch, even after training?*
///   [`Sequential::needs_batch`](super::Sequential::needs_batch): if a layer is `Always` or
///   `Compares`.
/// - *Which statistics have to be measured before single images can be processed?*
///   [`Sequential::lacks_statistics`](super::Sequential::lacks_statistics): those of `Always`
///   layers. The output of a `Compares` layer is never a feature of one image.
/// - *Can the gradient at one image be penalized?*
///   [`Sequential::normalizes_by_batch`](super::Sequential::normalizes_by_batch): not if a layer is
///   `Training` or `Always`, as then every image's score is a function of the whole batch (Gulrajani
///   et al., arXiv 1704.00028, section 4). `Compares` layers append channels that measure how
///   similar the images are, and leave the others unchanged; Karras et al. (arXiv 1710.10196) train such a
///   discriminator with WGAN-GP, so this is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchDependence {
    /// Independent of them.
    None,
    /// Normalized by the batch's statistics in training, by running ones later.
    Training,
    /// Normalized by the batch's statistics, in training and later.
    Always,
    /// Compares the images, in training and later.
    Compares,
}

/// A layer's role in the search for a network's hidden layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerRole {
    /// Learned weights that mix all channels: a convolution, or a linear layer.
    Weights,
    /// Layers that count as one hidden layer.
    Block,
    /// An elementwise nonlinearity, or one that selects among channels.
    Activation,
    /// Random, in training only.
    Disturbance,
    /// Anything else: norms, reshapes, conditions.
    Other,
}

/// The receptive field of a layer's outputs, for tracing them back layer by layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The same pixel.
    Pixel,
    /// A window of pixels: height and width, stride, and how far the first window lies outside of
    /// the image.
    Window {
        /// Height and width.
        kernel: [usize; 2],
        /// Stride.
        stride: [usize; 2],
        /// Rows and columns outside.
        pad: [usize; 2],
    },
    /// More, or position-dependent.
    More,
}

/// The rule that every layer implements. Methods without a body are those where a wrong default
/// would go unnoticed.
pub(crate) trait LayerRule: Debug {
    /// Human-readable kind, with article.
    fn kind(&self) -> &'static str;

    /// See [`LayerRole`].
    fn role(&self) -> LayerRole;

    /// See [`BatchDependence`].
    fn batch(&self) -> BatchDependence;

    /// See [`Reach`].
    fn reach(&self) -> Reach;

    /// The output size `[h, w, c]` for an image of size `at`, within the limits; refuses an invalid
    /// description.
    fn size(&self, at: [usize; 3], around: &mut Around<'_>) -> Result<[usize; 3], Misfit>;

    /// Records the layer called `scope` on `x` `[n, h, w, c]`.
    fn record(&self, t: &mut Tape, scope: &str, x: Var, walk: &mut Walk<'_>) -> Result<Var>;

    /// Its tensors.
    fn params(&self, _owned: &mut Owned<'_>) {}

    /// Adds its nodes for `x`, images `at` `[h, w, c]`, stored there as `[n, c, h, w]`, to an ONNX
    /// graph; returns the name of its output.
    fn onnx(
        &self,
        _graph: &mut dyn Graph,
        scope: &str,
        _x: String,
        _at: [usize; 3],
    ) -> Result<String> {
        let what = format!("is {}, which cannot be written as ONNX yet", self.kind());
        Err(Error::Tensor { name: scope.into(), what })
    }

    /// Number of classes it is conditioned on, if it takes the side input [`LABELS`].
    fn classes(&self) -> Option<usize> {
        None
    }

    /// Its own side input.
    fn side_input(&self) -> Option<&str> {
        self.classes().map(|_| LABELS)
    }

    /// Its normalizable weights, with the names of the parts that own them; `""` for a layer that
    /// is itself a convolution.
    fn kernels(&self) -> Vec<(&'static str, Kernel)> {
        Vec::new()
    }

    /// The reparametrization and initialization of its weights, mutable.
    fn weights_mut(&mut self) -> Option<(&mut Parametrization, &mut WeightInit)> {
        None
    }

    /// The lists of nested layers by name.
    fn parts(&self) -> Vec<(&'static str, &[Layer])> {
        Vec::new()
    }

    /// The same lists, mutable.
    fn parts_mut(&mut self) -> Vec<&mut [Layer]> {
        Vec::new()
    }

    /// Whether a pass of [`super::Mode::Initialize`] sets some of its tensors.
    fn starts_by_data(&self) -> bool {
        false
    }

    /// Whether a pass of [`super::Mode::Initialize`] sets some of its tensors from the side input
    /// [`super::IMAGES`]: in a generator, which sees no images otherwise.
    fn starts_on_images(&self) -> bool {
        false
    }

    /// Whether it is `x > 0 ? x : slope · x`, which guided backpropagation treats specially.
    fn is_rectifier(&self) -> bool {
        false
    }

    /// Whether PyTorch keeps `num_batches_tracked` with its running statistics.
    fn counts_batches(&self) -> bool {
        false
    }

    /// Makes it use running statistics after training instead of the batch's.
    fn use_running_statistics(&mut self) {}
}
