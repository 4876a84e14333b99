//! What a layer says of itself: everything that anyone asks of a layer, answered in the layer's own
//! file.

use std::fmt::Debug;

use crate::error::{Error, Result};
use crate::tape::{Tape, Var};

use super::onnx::Graph;
use super::param::Owned;
use super::pass::{LABELS, Walk};
use super::size::{Around, Misfit};
use super::weight::Kernel;
use super::{Layer, Start, Weight};

/// How what a layer computes for one image depends on the other images of its batch. There is one
/// answer for each layer, and three questions:
///
/// - *Does a result depend on what else is in the batch, even after training?*
///   [`Sequential::needs_batch`](super::Sequential::needs_batch): where a layer says `Always` or
///   `Compares`.
/// - *Which statistics have to be measured before single images can be looked at?*
///   [`Sequential::lacks_statistics`](super::Sequential::lacks_statistics): of layers that say `Always`.
///   What a layer that `Compares` gives is no feature of one image at all, however it is measured.
/// - *Can the gradient at one image be penalized?*
///   [`Sequential::normalizes_by_batch`](super::Sequential::normalizes_by_batch): not where a layer says
///   `Training` or `Always`, as then every image's score is a function of the whole batch (Gulrajani
///   et al., arXiv 1704.00028, section 4). Layers that `Compares` describes add numbers that tell how
///   alike the images are, and leave the others as they are; Karras et al. (arXiv 1710.10196) train
///   such a discriminator with WGAN-GP, so this is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchDependence {
    /// It does not depend on them.
    None,
    /// In training all are normalized by the statistics of the batch, later by running ones.
    Training,
    /// All are normalized by the statistics of the batch, in training and later.
    Always,
    /// The images are compared, in training and later.
    Compares,
}

/// What a layer is to whoever looks for the hidden layers of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerRole {
    /// Learned weights that mix all channels: a convolution, or a linear layer.
    Weights,
    /// Layers that count as one hidden layer.
    Block,
    /// An elementwise nonlinearity, or one that chooses among channels.
    Activation,
    /// Random numbers, drawn in training alone.
    Disturbance,
    /// Anything else: norms, reshapes, conditions.
    Other,
}

/// Which numbers of its input a number of a layer's output follows from, for those that go back from
/// one to the other layer by layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Those of the same pixel.
    Pixel,
    /// Those of a window of pixels: height and width, the steps from one window to the next, and how
    /// far the first lies outside of the image.
    Window {
        /// Height and width.
        kernel: [usize; 2],
        /// From one window to the next.
        stride: [usize; 2],
        /// Rows and columns outside.
        pad: [usize; 2],
    },
    /// More, or another number of them everywhere.
    More,
}

/// What every layer says. The methods without a body are those where a wrong guess would go unnoticed.
pub(crate) trait LayerRule: Debug {
    /// What it is, in words that follow "is".
    fn kind(&self) -> &'static str;

    /// See [`LayerRole`].
    fn role(&self) -> LayerRole;

    /// See [`BatchDependence`].
    fn batch(&self) -> BatchDependence;

    /// See [`Reach`].
    fn reach(&self) -> Reach;

    /// The image `[h, w, c]` that it makes of one of size `at`, which is no larger than can be; refuses
    /// what its description cannot mean.
    fn size(&self, at: [usize; 3], around: &mut Around<'_>) -> Result<[usize; 3], Misfit>;

    /// Records the layer called `scope` on `x` `[n, h, w, c]`.
    fn record(&self, t: &mut Tape, scope: &str, x: Var, walk: &mut Walk<'_>) -> Result<Var>;

    /// Its tensors.
    fn params(&self, _owned: &mut Owned<'_>) {}

    /// Adds its nodes for `x`, images `at` `[h, w, c]`, which lie as `[n, c, h, w]` there, to a graph of
    /// ONNX; gives the name of its output.
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

    /// How many classes it is conditioned on, where it takes the side input [`LABELS`].
    fn classes(&self) -> Option<usize> {
        None
    }

    /// The side input that it takes itself.
    fn side_input(&self) -> Option<&str> {
        self.classes().map(|_| LABELS)
    }

    /// Its normalizable weights, with the names of the parts that own them; that of a layer that is a
    /// convolution is `""`.
    fn kernels(&self) -> Vec<(&'static str, Kernel)> {
        Vec::new()
    }

    /// How its weights are made and how they start, to be changed.
    fn weights_mut(&mut self) -> Option<(&mut Weight, &mut Start)> {
        None
    }

    /// The lists of layers within it by name.
    fn parts(&self) -> Vec<(&'static str, &[Layer])> {
        Vec::new()
    }

    /// The same lists, to be changed.
    fn parts_mut(&mut self) -> Vec<&mut [Layer]> {
        Vec::new()
    }

    /// Whether a pass of [`super::Mode::Start`] sets some of its tensors.
    fn starts_by_data(&self) -> bool {
        false
    }

    /// Whether a pass of [`super::Mode::Start`] sets some of its tensors by the side input
    /// [`super::IMAGES`]: in a generator, which sees no images else.
    fn starts_on_images(&self) -> bool {
        false
    }

    /// Whether it is `x > 0 ? x : slope · x`, which guided backpropagation treats in its own way.
    fn is_rectifier(&self) -> bool {
        false
    }

    /// Whether PyTorch keeps `num_batches_tracked` beside its running statistics.
    fn counts_batches(&self) -> bool {
        false
    }

    /// Makes it normalize by running statistics after training, where it goes by those of the batch.
    fn use_running_statistics(&mut self) {}
}
