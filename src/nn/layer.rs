//! The list of layers: a description stored in model files.

use serde::{Deserialize, Serialize};

use crate::error::Result;

use super::activation::{self, LeakyRelu};
use super::attention::Attention;
use super::batch_norm::BatchNorm;
use super::codes::Codes;
use super::conditional_batch_norm::ConditionalBatchNorm;
use super::conv::{Conv, ConvTranspose};
use super::gaussian::Gaussian;
use super::group_norm::GroupNorm;
use super::growing::{Channels, Grow, Shrink, WithFeatures, WithImage};
use super::join::{Join, Label};
use super::maxout::Maxout;
use super::minibatch::{MinibatchDiscrimination, MinibatchStd};
use super::noise::{Dropout, Noise};
use super::normals::{Codebook, UnitLength};
use super::onnx::Graph;
use super::pixel_bias::PixelBias;
use super::pixel_norm::PixelNorm;
use super::projection::Projection;
use super::resample::Unflatten;
use super::residual::Residual;
use super::rule::LayerRule;
use super::virtual_batch::{Reference, VirtualBatchNorm};
use super::{BatchDependence, LayerRole, Parametrization, Reach, WeightInit, resample};

/// Defines the enum of layers, and the two functions that dispatch to each layer's own file. A
/// variant is `Name(Config)`, or `Name = rule` if the layer has only a name.
macro_rules! layers {
    ($(#[$all:meta])* pub enum $layer:ident {
        $($(#[$doc:meta])* $name:ident $(($config:ty))? $(= $rule:expr)?,)+
    }) => {
        $(#[$all])*
        pub enum $layer {
            $($(#[$doc])* $name $(($config))?,)+
        }

        impl $layer {
            /// The layer's rule.
            pub(crate) fn rule(&self) -> &dyn LayerRule {
                match self {
                    $(layers!(@pattern config $name $($config)?) =>
                        layers!(@rule config $($rule)?),)+
                }
            }

            /// The same, mutable; `None` if there is nothing to change.
            fn rule_mut(&mut self) -> Option<&mut dyn LayerRule> {
                match self {
                    $(layers!(@pattern config $name $($config)?) =>
                        layers!(@rule_mut config $($rule)?),)+
                }
            }
        }

        $($(impl From<$config> for $layer {
            fn from(config: $config) -> Self {
                Self::$name(config)
            }
        })?)+
    };
    (@pattern $config:ident $name:ident $type:ty) => { Self::$name($config) };
    (@pattern $config:ident $name:ident) => { Self::$name };
    (@rule $config:ident $rule:expr) => { &$rule };
    (@rule $config:ident) => { $config };
    (@rule_mut $config:ident $rule:expr) => { None };
    (@rule_mut $config:ident) => { Some($config) };
}

layers! {
    /// One layer. Images are `[n, h, w, c]`; a layer's output for one image does not depend on the
    /// others of its batch, unless [`Layer::batch`] says so.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(tag = "layer", rename_all = "snake_case")]
    pub enum Layer {
        /// A convolution.
        Conv(Conv),
        /// A transposed convolution.
        ConvTranspose(ConvTranspose),
        /// Batch norm.
        BatchNorm(BatchNorm),
        /// Batch norm with the scale and shift of a class.
        ConditionalBatchNorm(ConditionalBatchNorm),
        /// The reference batch of virtual batch norm.
        Reference(Reference),
        /// Virtual batch norm.
        VirtualBatchNorm(VirtualBatchNorm),
        /// Group norm, layer norm, instance norm.
        GroupNorm(GroupNorm),
        /// Pixel norm.
        PixelNorm(PixelNorm),
        /// Each pixel divided by the length of its channels as a vector.
        UnitLength = UnitLength,
        /// The normal that logits of a codebook mean.
        Codebook(Codebook),
        /// A bias for every pixel.
        PixelBias(PixelBias),
        /// Leaky ReLU, and ReLU.
        LeakyRelu(LeakyRelu),
        /// The largest of neighboring channels.
        Maxout(Maxout),
        /// Hyperbolic tangent.
        Tanh = activation::Tanh,
        /// `1 / (1 + e⁻ˣ)`.
        Sigmoid = activation::Sigmoid,
        /// `ln(1 + eˣ)`.
        Softplus = activation::Softplus,
        /// Placeholder that keeps PyTorch's layer numbering, such as a reshape.
        Identity = activation::Identity,
        /// A class label appended to the channels.
        Label(Label),
        /// A side input appended to the channels.
        Join(Join),
        /// A draw from a normal distribution.
        Gaussian(Gaussian),
        /// InfoGAN's codes.
        Codes(Codes),
        /// An image `[h, w, c]` as one pixel of `h · w · c` channels, in that order.
        Flatten = resample::Flatten,
        /// One pixel as an image, the inverse of it.
        Unflatten(Unflatten),
        /// Each pixel four times: images of twice the side (nearest neighbor).
        Upsample = resample::Upsample,
        /// Images of twice the side by bilinear interpolation between the centers of pixels.
        Bilinear = resample::Bilinear,
        /// The mean of each square of 2×2 pixels: images of half the side.
        AveragePool = resample::AveragePool,
        /// The largest value of each square of 2×2 pixels: images of half the side.
        MaxPool = resample::MaxPool,
        /// The sum of all pixels, one pixel: the end of the discriminators of arXiv 1802.05957.
        SumPool = resample::SumPool,
        /// Noise in training.
        Noise(Noise),
        /// Dropout in training.
        Dropout(Dropout),
        /// Minibatch discrimination.
        MinibatchDiscrimination(MinibatchDiscrimination),
        /// Minibatch standard deviation.
        MinibatchStd(MinibatchStd),
        /// Self-attention.
        Attention(Attention),
        /// A residual block.
        Residual(Residual),
        /// The projection discriminator's last layer.
        Projection(Projection),
        /// Features with the image made of them.
        WithImage(WithImage),
        /// An image with its features.
        WithFeatures(WithFeatures),
        /// A layer that a generator grows by.
        Grow(Grow),
        /// A layer that a discriminator grows by.
        Shrink(Shrink),
        /// Some of the channels.
        Channels(Channels),
    }
}

impl Layer {
    /// The layer with weights of this `kind`, in its parts too.
    #[must_use]
    pub fn weighted(mut self, kind: Parametrization) -> Self {
        self.each_mut(&mut |layer| {
            if let Some((weight, _)) = layer.rule_mut().and_then(LayerRule::weights_mut) {
                *weight = kind;
            }
        });
        self
    }

    /// The layer with weights initialized by `init`, in its parts too.
    #[must_use]
    pub fn initialized(mut self, init: WeightInit) -> Self {
        self.each_mut(&mut |layer| {
            if let Some((_, start)) = layer.rule_mut().and_then(LayerRule::weights_mut) {
                *start = init;
            }
        });
        self
    }

    /// Human-readable kind, with article.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.rule().kind()
    }

    /// Its role in the search for hidden layers.
    #[must_use]
    pub fn role(&self) -> LayerRole {
        self.rule().role()
    }

    /// How its outputs depend on the other images of a batch; its parts may differ.
    #[must_use]
    pub fn batch(&self) -> BatchDependence {
        self.rule().batch()
    }

    /// The receptive field of its outputs.
    #[must_use]
    pub fn reach(&self) -> Reach {
        self.rule().reach()
    }

    /// Number of classes it is conditioned on, if it takes labels.
    #[must_use]
    pub fn classes(&self) -> Option<usize> {
        self.rule().classes()
    }

    /// Its own side input; its parts may take others.
    #[must_use]
    pub fn side_input(&self) -> Option<&str> {
        self.rule().side_input()
    }

    /// Whether it is `x > 0 ? x : slope · x`.
    #[must_use]
    pub fn is_rectifier(&self) -> bool {
        self.rule().is_rectifier()
    }

    /// Whether its own weights are normalized.
    #[must_use]
    pub fn has_normalized_weights(&self) -> bool {
        self.rule().kernels().iter().any(|(_, kernel)| kernel.weight != Parametrization::Plain)
    }

    /// Adds its nodes for `x`, images `at` `[h, w, c]`, to an ONNX graph.
    pub(crate) fn onnx(
        &self,
        graph: &mut dyn Graph,
        scope: &str,
        x: String,
        at: [usize; 3],
    ) -> Result<String> {
        self.rule().onnx(graph, scope, x, at)
    }

    /// Whether PyTorch keeps `num_batches_tracked` with its running statistics.
    pub(crate) fn counts_batches(&self) -> bool {
        self.rule().counts_batches()
    }

    /// The lists of nested layers by name.
    #[must_use]
    pub fn parts(&self) -> Vec<(&'static str, &[Self])> {
        self.rule().parts()
    }

    /// Makes it and its nested layers use running statistics after training.
    pub(crate) fn use_running_statistics(&mut self) {
        self.each_mut(&mut |layer| {
            if let Some(rule) = layer.rule_mut() {
                rule.use_running_statistics();
            }
        });
    }

    /// Calls `f` on the layer and all nested layers.
    pub(super) fn each_mut(&mut self, f: &mut dyn FnMut(&mut Self)) {
        f(self);
        for part in self.rule_mut().map(LayerRule::parts_mut).unwrap_or_default() {
            part.iter_mut().for_each(|layer| layer.each_mut(f));
        }
    }
}
