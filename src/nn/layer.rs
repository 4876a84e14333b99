//! The kinds of layers: what a description says of each.

use serde::{Deserialize, Serialize};

use crate::ops::conv::ConvSpec;

use super::norm::BATCH_NORM_EPS;
use super::{Layout, Start, Statistics, Weight};

/// One layer. Pictures are `[n, h, w, c]`; what a layer computes for one picture does not depend on
/// the others of its batch, unless it says so.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "layer", rename_all = "snake_case", deny_unknown_fields)]
pub enum Layer {
    /// Convolution from `large` to `small` channels.
    Conv {
        /// Its geometry.
        spec: ConvSpec,
        /// Channels of the input.
        large: usize,
        /// Channels of the output.
        small: usize,
        /// How its weights are stored in files.
        layout: Layout,
        /// Whether a number for each output channel is added; a [`Layout::Project`] has one for
        /// each output number.
        bias: bool,
        /// How its weights are made from what is learnt.
        #[serde(default, skip_serializing_if = "Weight::is_plain")]
        weight: Weight,
        /// How its weights start.
        #[serde(default, skip_serializing_if = "Start::is_default")]
        start: Start,
    },
    /// Transposed convolution from `small` to `large` channels.
    ConvTranspose {
        /// Its geometry.
        spec: ConvSpec,
        /// Channels of the output.
        large: usize,
        /// Channels of the input.
        small: usize,
        /// How its weights are stored in files.
        layout: Layout,
        /// As a convolution's.
        bias: bool,
        /// As a convolution's.
        #[serde(default, skip_serializing_if = "Weight::is_plain")]
        weight: Weight,
        /// As a convolution's.
        #[serde(default, skip_serializing_if = "Start::is_default")]
        start: Start,
    },
    /// Batch norm with learnt scale and shift (Ioffe and Szegedy, arXiv 1502.03167). In training a
    /// picture depends on its batch.
    BatchNorm {
        /// Channels.
        channels: usize,
        /// Height and width of pictures whose pixels have statistics of their own, as after a
        /// projection that is normalised before it becomes a picture; `[1, 1]` for statistics of
        /// whole channels.
        cells: [usize; 2],
        /// Added to the variance.
        eps: f32,
        /// What it normalises by after training.
        statistics: Statistics,
    },
    /// Batch norm whose scale and shift are those of the picture's class (Dumoulin, Shlens and
    /// Kudlur, arXiv 1610.07629): `y = gamma[label] (x − mean) / √(var + ε) + beta[label]`, by running
    /// statistics after training. Parameters `gamma.weight` and `beta.weight`, `[classes, channels]`.
    ConditionalBatchNorm {
        /// Channels.
        channels: usize,
        /// How many classes there are.
        classes: usize,
        /// Added to the variance.
        eps: f32,
    },
    /// The state `reference`, `count` inputs of the network that are drawn once, put in front of the
    /// batch for the [`Layer::VirtualBatchNorm`]s of the rest of the network, which gives what it is
    /// asked for without them. Only as the first layer, and of a network that is told no classes.
    Reference {
        /// Pictures of the reference batch.
        count: usize,
        /// Height, width and channels of each.
        size: [usize; 3],
        /// Whether they are uniform numbers in [−1, 1] rather than standard normal ones.
        uniform: bool,
    },
    /// Virtual batch norm (Salimans et al., arXiv 1606.03498, section 3.5): by the statistics of the
    /// reference batch and of the picture itself, which weighs as much as one of the batch.
    VirtualBatchNorm {
        /// Channels.
        channels: usize,
        /// Added to the variance.
        eps: f32,
    },
    /// Group norm with learnt scale and shift for each channel (Wu and He, arXiv 1803.08494):
    /// `y = weight (x − mean) / √(var + ε) + bias`, with mean and variance over height, width and the
    /// channels of a group. One group is layer norm as the critics of WGAN-GP have it; as many groups
    /// as channels are instance norm (Ulyanov, Vedaldi and Lempitsky, arXiv 1607.08022).
    GroupNorm {
        /// Groups of neighbouring channels.
        groups: usize,
        /// Channels, a multiple of the groups.
        channels: usize,
        /// Added to the variance.
        eps: f32,
    },
    /// Pixel norm (Karras et al., arXiv 1710.10196, section 4.2): `y = x / √(mean_c x² + ε)`, of each
    /// pixel by itself.
    PixelNorm {
        /// Added to the mean square.
        eps: f32,
    },
    /// Leaky ReLU; slope 0 is ReLU.
    LeakyRelu {
        /// The slope of the negative half.
        slope: f32,
    },
    /// Hyperbolic tangent.
    Tanh,
    /// `1 / (1 + e⁻ˣ)`.
    Sigmoid,
    /// `ln(1 + eˣ)`.
    Softplus,
    /// Nothing but a number in PyTorch's naming, such as a reshape.
    Identity,
    /// The picture's class, behind the channels of every pixel: 1 at its place, else 0. Needs the
    /// labels of a [`super::Pass`].
    Label {
        /// How many classes there are.
        classes: usize,
    },
    /// InfoGAN's codes of the last numbers of a latent (Chen et al., arXiv 1606.03657): a category as a
    /// 1 among zeros, and numbers in (−1, 1). Only on one pixel.
    Codes {
        /// How many categories there are; 0 for none.
        categories: usize,
        /// How many numbers.
        numbers: usize,
        /// Whether latents are uniform numbers in [−1, 1] rather than standard normal ones.
        uniform: bool,
    },
    /// A picture `[h, w, c]` as one pixel of `h · w · c` channels, in that order.
    Flatten,
    /// Each pixel four times: pictures of twice the side (nearest neighbour).
    Upsample,
    /// The mean of each square of 2×2 pixels: pictures of half the side.
    AveragePool,
    /// The sum of all pixels, one pixel: the end of the discriminators of arXiv 1802.05957.
    SumPool,
    /// `y = x + std · N(0, 1)` in training, with new numbers in every pass of every step; else
    /// nothing.
    Noise {
        /// The noise's standard deviation.
        std: f32,
    },
    /// `y = x / (1 − p)` with probability `1 − p`, else 0, in training, with new choices in every pass
    /// of every step (Srivastava et al., 2014); else nothing.
    Dropout {
        /// How likely a number is dropped.
        p: f32,
    },
    /// Minibatch discrimination (Salimans et al., arXiv 1606.03498, section 3.2): `kernels` numbers
    /// more, which say how near the picture is to the others of its batch. Parameter `T`
    /// `[features, kernels, dims]`.
    MinibatchDiscrimination {
        /// Numbers of the input, which is one pixel.
        features: usize,
        /// Numbers that are added.
        kernels: usize,
        /// Dimensions in which each of these compares pictures.
        dims: usize,
    },
    /// Minibatch standard deviation (Karras et al., arXiv 1710.10196, section 3): a channel more, with
    /// the mean deviation of all numbers over a part of the batch.
    MinibatchStd {
        /// Pictures that are compared, of which the batch must be a multiple where it is larger; 0 for
        /// the whole batch.
        group: usize,
    },
    /// Self-attention as in SAGAN (Zhang et al., arXiv 1805.08318, and its authors' code):
    /// `y = x + γ o(β g(x))`, with `β` the softmax of `θ(x) · φ(x)` over the pixels of a picture that
    /// is pooled by 2×2. Parameters `theta.weight`, `phi.weight` (to an eighth of the channels),
    /// `g.weight` (to a half), `o.weight`, and `gamma`, which starts at 0.
    Attention {
        /// Channels, a multiple of 8.
        channels: usize,
        /// As a convolution's.
        #[serde(default, skip_serializing_if = "Weight::is_plain")]
        weight: Weight,
        /// As a convolution's.
        #[serde(default, skip_serializing_if = "Start::is_default")]
        start: Start,
    },
    /// `y = main(x) + shortcut(x)` (He, Zhang, Ren and Sun, arXiv 1512.03385); without layers a
    /// shortcut is `x` itself. Its layers are named `main.0`, …, `shortcut.0`, … within it.
    Residual {
        /// The layers of the main path.
        main: Vec<Self>,
        /// The layers of the shortcut.
        shortcut: Vec<Self>,
    },
    /// The projection discriminator's last layer (Miyato and Koyama, arXiv 1802.05637):
    /// `y = w · x + b + ⟨e(label), x⟩`. Parameters `linear.weight` `[1, features]`, `linear.bias` and
    /// `embed.weight` `[classes, features]`.
    Projection {
        /// Numbers of the input, which is one pixel.
        features: usize,
        /// How many classes there are.
        classes: usize,
        /// As a convolution's, of both weights.
        #[serde(default, skip_serializing_if = "Weight::is_plain")]
        weight: Weight,
        /// As a convolution's, of both weights.
        #[serde(default, skip_serializing_if = "Start::is_default")]
        start: Start,
    },
}

impl Layer {
    /// Batch norm of `channels` channels as PyTorch's `BatchNorm2d` by default.
    #[must_use]
    pub const fn batch_norm(channels: usize) -> Self {
        let statistics = Statistics::Running;
        Self::BatchNorm { channels, cells: [1, 1], eps: BATCH_NORM_EPS, statistics }
    }

    /// Layer norm over height, width and channels: one group.
    #[must_use]
    pub const fn layer_norm(channels: usize) -> Self {
        Self::GroupNorm { groups: 1, channels, eps: BATCH_NORM_EPS }
    }

    /// Instance norm: a group for each channel.
    #[must_use]
    pub const fn instance_norm(channels: usize) -> Self {
        Self::GroupNorm { groups: channels, channels, eps: BATCH_NORM_EPS }
    }

    /// A convolution from `large` to `small` channels.
    #[must_use]
    pub fn conv(spec: ConvSpec, large: usize, small: usize, bias: bool) -> Self {
        let (weight, start) = (Weight::Plain, Start::default());
        Self::Conv { spec, large, small, layout: Layout::Conv, bias, weight, start }
    }

    /// A transposed convolution from `small` to `large` channels.
    #[must_use]
    pub fn conv_transpose(spec: ConvSpec, large: usize, small: usize, bias: bool) -> Self {
        let (weight, start) = (Weight::Plain, Start::default());
        Self::ConvTranspose { spec, large, small, layout: Layout::Conv, bias, weight, start }
    }

    /// A linear layer from one pixel to one: `[to, from]` in files.
    #[must_use]
    pub fn linear(from: usize, to: usize, bias: bool) -> Self {
        let (weight, start) = (Weight::Plain, Start::default());
        let spec = ConvSpec::dense([1, 1]);
        Self::Conv { spec, large: from, small: to, layout: Layout::Flatten, bias, weight, start }
    }

    /// A linear layer from one pixel to a picture of height and width `size` and `to` channels.
    #[must_use]
    pub fn project(size: [usize; 2], to: usize, from: usize, bias: bool) -> Self {
        let (weight, start) = (Weight::Plain, Start::default());
        let (spec, layout) = (ConvSpec::dense(size), Layout::Project);
        Self::ConvTranspose { spec, large: to, small: from, layout, bias, weight, start }
    }

    /// The layer with its weights, and those of its parts, made by `kind`.
    #[must_use]
    pub fn weighted(mut self, kind: Weight) -> Self {
        self.each_mut(&mut |layer| {
            if let Self::Conv { weight, .. }
            | Self::ConvTranspose { weight, .. }
            | Self::Attention { weight, .. }
            | Self::Projection { weight, .. } = layer
            {
                *weight = kind;
            }
        });
        self
    }

    /// The layer with its weights, and those of its parts, starting by `law`.
    #[must_use]
    pub fn starting(mut self, law: Start) -> Self {
        self.each_mut(&mut |layer| {
            if let Self::Conv { start, .. }
            | Self::ConvTranspose { start, .. }
            | Self::Attention { start, .. }
            | Self::Projection { start, .. } = layer
            {
                *start = law;
            }
        });
        self
    }

    /// What it is, in words that follow "is".
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Conv { .. } => "a convolution",
            Self::ConvTranspose { .. } => "a transposed convolution",
            Self::BatchNorm { .. } => "a batch norm",
            Self::ConditionalBatchNorm { .. } => "a conditional batch norm",
            Self::Reference { .. } => "a reference batch",
            Self::VirtualBatchNorm { .. } => "a virtual batch norm",
            Self::GroupNorm { .. } => "a group norm",
            Self::PixelNorm { .. } => "a pixel norm",
            Self::LeakyRelu { .. } => "a leaky ReLU",
            Self::Tanh => "a tanh",
            Self::Sigmoid => "a sigmoid",
            Self::Softplus => "a softplus",
            Self::Identity => "nothing but a place",
            Self::Label { .. } => "a label",
            Self::Codes { .. } => "codes",
            Self::Flatten => "a flattening",
            Self::Upsample => "an upsampling",
            Self::AveragePool => "an average pool",
            Self::SumPool => "a sum pool",
            Self::Noise { .. } => "noise",
            Self::Dropout { .. } => "a dropout",
            Self::MinibatchDiscrimination { .. } => "a minibatch discrimination",
            Self::MinibatchStd { .. } => "a minibatch standard deviation",
            Self::Attention { .. } => "a self-attention",
            Self::Residual { .. } => "a residual block",
            Self::Projection { .. } => "a projection",
        }
    }

    /// How many classes it is told, where it is told any.
    #[must_use]
    pub const fn classes(&self) -> Option<usize> {
        match *self {
            Self::Label { classes }
            | Self::ConditionalBatchNorm { classes, .. }
            | Self::Projection { classes, .. } => Some(classes),
            _ => None,
        }
    }

    /// Whether it compares the pictures of a batch, even after training.
    #[must_use]
    pub const fn compares(&self) -> bool {
        matches!(self, Self::MinibatchDiscrimination { .. } | Self::MinibatchStd { .. })
    }

    /// The lists of layers within it by name; none but in a residual block.
    #[must_use]
    pub fn parts(&self) -> Vec<(&'static str, &[Self])> {
        match self {
            Self::Residual { main, shortcut } => vec![("main", main), ("shortcut", shortcut)],
            _ => Vec::new(),
        }
    }

    /// Shows `f` the layer and all layers within it.
    pub(super) fn each_mut(&mut self, f: &mut dyn FnMut(&mut Self)) {
        f(self);
        if let Self::Residual { main, shortcut } = self {
            main.iter_mut().chain(shortcut).for_each(|layer| layer.each_mut(f));
        }
    }
}
