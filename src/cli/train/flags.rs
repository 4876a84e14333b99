//! The flags of `dcgan train`, by heading.

use clap::{Args, ValueEnum};

use crate::augment::Augment;
use crate::cli::flags::{DeviceFlag, at_least};
use crate::cli::presets::Preset;
use crate::data::{CacheMode, Crop, Filter};
use crate::human::parse_count;
use crate::models::{Codes, Conditioning, Design, Minibatch, Network, Norm, Size};
use crate::nn::Weight;
use crate::objectives::{Loss, Penalty};
use crate::program::Precision;
use crate::program::tune::Effort;
use crate::train::method::Rule;

fn parse_seed(text: &str) -> std::result::Result<u64, String> {
    text.parse().map_err(|_| format!("a whole number from 0 to {} is needed", u64::MAX))
}

/// A positive number.
fn positive(text: &str) -> std::result::Result<f64, String> {
    match text.parse::<f64>() {
        Ok(x) if x > 0.0 && x.is_finite() => Ok(x),
        _ => Err("a number above 0 is needed, such as 0.0002 or 2e-4".into()),
    }
}

/// A positive number, as the device has them.
fn positive_f32(text: &str) -> std::result::Result<f32, String> {
    match text.parse::<f32>() {
        Ok(x) if x.is_normal() && x > 0.0 => Ok(x),
        _ => Err("a number above 0 is needed, such as 1e-8".into()),
    }
}

/// A number of at least 0.
fn weight(text: &str) -> std::result::Result<f32, String> {
    match text.parse::<f32>() {
        Ok(x) if x >= 0.0 && x.is_finite() => Ok(x),
        _ => Err("a number of at least 0 is needed".into()),
    }
}

/// A number in [0, 1).
fn fraction<T: std::str::FromStr + Into<f64> + Copy>(text: &str) -> std::result::Result<T, String> {
    match text.parse::<T>() {
        Ok(x) if (0.0..1.0).contains(&x.into()) => Ok(x),
        _ => Err("a number of at least 0 and below 1 is needed".into()),
    }
}

/// A count that may also be 0.
fn count_or_zero(text: &str) -> std::result::Result<u64, String> {
    if text == "0" { Ok(0) } else { parse_count(text) }
}

/// Bytes such as 2GiB, 500MB, 1.5G.
fn parse_bytes(text: &str) -> std::result::Result<u64, String> {
    let fail = || format!("{text:?} is no amount of memory such as 800MiB or 2GiB");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kb" | "kib" => 1024.0,
        "m" | "mb" | "mib" => 1024.0 * 1024.0,
        "g" | "gb" | "gib" => 1024.0 * 1024.0 * 1024.0,
        _ => return Err(fail()),
    };
    let number: f64 = digits.trim().parse().map_err(|_| fail())?;
    if number > 0.0 && number.is_finite() { Ok((number * factor) as u64) } else { Err(fail()) }
}

/// What a preset says fills what was not typed.
macro_rules! filled {
    ($flags:ident: $($field:ident),+ $(; $($own:ident),+)?) => {
        impl $flags {
            pub(in crate::cli) fn filled(self, preset: Self) -> Self {
                Self { $($field: self.$field.or(preset.$field),)+ $($($own: self.$own,)+)? }
            }
        }
    };
}

filled!(Networks: network, conditional, labels_per_class, norm_g, norm_d, weight_g, weight_d, attention, codes, minibatch,
    size, channels, nz, ngf, ndf; preset);
filled!(ObjectiveFlags: loss, smooth, feature_matching, class_weight, info_weight, penalty, penalty_weight, augment, augment_p, ada, clip_weights, orthogonal, historical, weight_decay);
filled!(RecipeFlags: batch, seed, lr_g, lr_d, optimizer, beta1, beta2, epsilon, warm_up, decay, n_critic, micro_batch, clip_gradients, ema);
filled!(Pictures: crop, resize, flip, workers; grey, cache);

#[derive(Debug, Args)]
#[command(next_help_heading = "Networks")]
pub(in crate::cli) struct Networks {
    /// A published recipe: dcgan, paper, wgan-gp, sngan, ...; every other flag overrides it.
    /// dcgan presets lists them, dcgan presets NAME prints one [default: dcgan]
    #[arg(long, value_name = "NAME", value_parser = Preset::find)]
    pub(super) preset: Option<&'static Preset>,
    /// dcgan: the networks of PyTorch's DCGAN example; dcgan-paper: those of the DCGAN paper and its
    /// authors' code; dcgan-mnist: those of the authors' MNIST code, with dense layers; cnn and
    /// resnet: those of spectral norm's paper; mlp: the dense ones of Improved GAN's MNIST code
    /// [default: dcgan]
    #[arg(long, value_enum, hide_possible_values = true, value_name = "NETWORK")]
    pub(in crate::cli) network: Option<Network>,
    /// Tell the networks the class of every picture: the model can then be asked for a class.
    /// Classes are DATA's folders, or the labels of CIFAR-10 and IDX files. concat: at every layer
    /// of both networks; auxiliary: the discriminator has to say it (AC-GAN); projection: see
    /// --preset sngan-projection [default: none; without a value: concat]
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "concat",
          value_name = "concat|auxiliary|projection|none", hide_possible_values = true)]
    pub(in crate::cli) conditional: Option<Told>,
    /// Semi-supervised: use N labels of each class of DATA, and no others; the discriminator learns to
    /// classify, which dcgan errors measures [default: 0, none]
    #[arg(long, value_name = "N", value_parser = count_or_zero)]
    pub(in crate::cli) labels_per_class: Option<u64>,
    /// What the generator's hidden layers are normalised by: batch, layer, instance, group, pixel,
    /// virtual, conditional (batch norm by class), none [default: batch]
    #[arg(long, value_enum, hide_possible_values = true, value_name = "NORM")]
    pub(super) norm_g: Option<Norm>,
    /// The same of the discriminator's: batch, layer, instance, group, pixel, none [default: batch;
    /// none for cnn, resnet and mlp]
    #[arg(long, value_enum, hide_possible_values = true, value_name = "NORM")]
    pub(super) norm_d: Option<Norm>,
    /// The generator's weights: plain, divided by their spectral norm, with length and direction
    /// learnt apart (norm: weight norm), or with directions learnt but lengths kept, the last
    /// layer's aside (norm-fixed) [default: plain]
    #[arg(
        long,
        value_enum,
        hide_possible_values = true,
        value_name = "plain|spectral|norm|norm-fixed"
    )]
    pub(super) weight_g: Option<Weight>,
    /// The same of the discriminator's; weight norm starts it on real pictures, so that every
    /// layer's outputs have mean 0 and variance 1 [default: plain]
    #[arg(
        long,
        value_enum,
        hide_possible_values = true,
        value_name = "plain|spectral|norm|norm-fixed"
    )]
    pub(super) weight_d: Option<Weight>,
    /// Self-attention in both networks, where hidden pictures are so many pixels high; 0 for none
    /// [default: 0]
    #[arg(long, value_name = "HEIGHT")]
    pub(super) attention: Option<usize>,
    /// InfoGAN: let the last numbers of a latent stand for one of K categories and M numbers, which the
    /// discriminator has to recognise; 10+2, say; 0+0 for none [default: 0+0]
    #[arg(long, value_name = "K+M", value_parser = str::parse::<Codes>)]
    pub(super) codes: Option<Codes>,
    /// Let the discriminator see how much a batch varies: discrimination, deviation or none
    /// [default: none]
    #[arg(long, value_enum, hide_possible_values = true, value_name = "HOW")]
    pub(super) minibatch: Option<Minibatch>,
    /// Pictures' size, 64 or 96x64 (height x width): 4 to 7 pixels, doubled 1 to 6 times, at most
    /// 256 [default: 64; cnn and resnet: 32; dcgan-mnist and mlp: 28]
    #[arg(long, value_name = "SIZE")]
    pub(in crate::cli) size: Option<Size>,
    /// Channels: 1 (grey), 3 (RGB) or 4 (RGBA) [default: 3, or 1 for IDX files]
    #[arg(long, value_name = "1|3|4", value_parser = parse_channels)]
    pub(in crate::cli) channels: Option<usize>,
    /// Length of a latent vector [default: 100; cnn and resnet: 128]
    #[arg(long, value_name = "N", value_parser = at_least(1))]
    pub(super) nz: Option<usize>,
    /// Width of the generator: channels of its last hidden picture [default: 64 for most networks]
    #[arg(long, value_name = "N", value_parser = at_least(1))]
    pub(in crate::cli) ngf: Option<usize>,
    /// Width of the discriminator: channels of its first hidden picture [default: 64 for most]
    #[arg(long, value_name = "N", value_parser = at_least(1))]
    pub(in crate::cli) ndf: Option<usize>,
}

/// How networks are told classes, or that they are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Told {
    Concat,
    Auxiliary,
    Projection,
    None,
}

impl std::fmt::Display for Told {
    /// As it is typed.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let value = self.to_possible_value().expect("no value is hidden");
        f.pad(value.get_name())
    }
}

impl Told {
    /// What a run of this design said.
    pub(super) fn of(design: &Design) -> Self {
        match design.conditioning {
            _ if !design.is_conditional() => Self::None,
            Conditioning::Concat => Self::Concat,
            Conditioning::Auxiliary => Self::Auxiliary,
            Conditioning::Projection => Self::Projection,
            Conditioning::Semi => Self::None,
        }
    }

    /// How, where they are told classes.
    pub(in crate::cli) fn how(self) -> Option<Conditioning> {
        match self {
            Self::Concat => Some(Conditioning::Concat),
            Self::Auxiliary => Some(Conditioning::Auxiliary),
            Self::Projection => Some(Conditioning::Projection),
            Self::None => None,
        }
    }
}

fn parse_channels(text: &str) -> std::result::Result<usize, String> {
    match text {
        "1" => Ok(1),
        "3" => Ok(3),
        "4" => Ok(4),
        _ => Err("pictures have 1 (grey), 3 (RGB) or 4 (RGBA) channels".into()),
    }
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Training")]
pub(in crate::cli) struct RecipeFlags {
    /// Pictures in a batch, at least 2 [default: 64; dcgan-paper and dcgan-mnist: 128; mlp: 100]
    #[arg(long, value_name = "N", value_parser = at_least(2))]
    pub(in crate::cli) batch: Option<usize>,
    /// Decides initial weights, latents and the order of pictures [default: 0]
    #[arg(long, value_name = "N", value_parser = parse_seed)]
    pub(super) seed: Option<u64>,
    /// The generator's learning rate [default: 0.0002]
    #[arg(long, value_name = "RATE", value_parser = positive)]
    pub(super) lr_g: Option<f64>,
    /// The discriminator's learning rate [default: 0.0002]
    #[arg(long, value_name = "RATE", value_parser = positive)]
    pub(super) lr_d: Option<f64>,
    /// Which optimiser [default: adam]
    #[arg(long, value_enum, hide_possible_values = true, value_name = "adam|rmsprop")]
    pub(super) optimizer: Option<Rule>,
    /// Adam's decay of the mean of gradients, from 0 to below 1 [default: 0.5]
    #[arg(long, value_name = "BETA", value_parser = fraction::<f64>)]
    pub(super) beta1: Option<f64>,
    /// The decay of the mean of squared gradients, from 0 to below 1 [default: 0.999]
    #[arg(long, value_name = "BETA", value_parser = fraction::<f64>)]
    pub(super) beta2: Option<f64>,
    /// What is added to the root of that mean: gradients far below it hardly move a parameter
    /// [default: 1e-8]
    #[arg(long, value_name = "EPSILON", value_parser = positive_f32)]
    pub(super) epsilon: Option<f32>,
    /// Let the learning rates rise from 0 over so many pictures; 0 for none [default: 0]
    #[arg(long, value_name = "COUNT", value_parser = count_or_zero)]
    pub(super) warm_up: Option<u64>,
    /// Let the learning rates fall to 0, in a straight line, until so many pictures were seen; 0
    /// for never [default: 0]
    #[arg(long, value_name = "COUNT", value_parser = count_or_zero)]
    pub(super) decay: Option<u64>,
    /// Updates of the discriminator for one of the generator, each on a batch of its own
    /// [default: 1]
    #[arg(long, value_name = "N", value_parser = at_least(1))]
    pub(super) n_critic: Option<usize>,
    /// For small memory: send N pictures of a batch through the networks at a time and add up
    /// their gradients; batch norm sees N pictures at a time [default: the whole batch]
    #[arg(long, value_name = "N", value_parser = at_least(2))]
    pub(super) micro_batch: Option<usize>,
    /// Shorten a network's gradients that are together longer than LENGTH; 0 for never [default: 0]
    #[arg(long, value_name = "LENGTH", value_parser = weight)]
    pub(super) clip_gradients: Option<f32>,
    /// Half-life of the generator's moving average, in pictures; 0 for none [default: 10k]
    #[arg(long, value_name = "COUNT", value_parser = count_or_zero)]
    pub(super) ema: Option<u64>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Objective")]
pub(in crate::cli) struct ObjectiveFlags {
    /// What the networks minimise: non-saturating, saturating, least-squares, hinge, wasserstein,
    /// relativistic, relativistic-least-squares, relativistic-hinge, kl, reverse-kl, pearson,
    /// hellinger, jensen-shannon [default: non-saturating]
    #[arg(long, value_enum, hide_possible_values = true, value_name = "LOSS")]
    pub(super) loss: Option<Loss>,
    /// One-sided label smoothing: real pictures are called real with probability 1 - SHARE
    /// [default: 0]
    #[arg(long, value_name = "SHARE", value_parser = fraction::<f32>)]
    pub(super) smooth: Option<f32>,
    /// Let the generator match the mean of the discriminator's last hidden layer
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_name = "true|false", hide_possible_values = true)]
    pub(super) feature_matching: Option<bool>,
    /// Weight of the classes that the discriminator has to say, with --conditional=auxiliary
    /// [default: 1]
    #[arg(long, value_name = "WEIGHT", value_parser = weight)]
    pub(super) class_weight: Option<f32>,
    /// Weight of the codes that the discriminator has to recognise, with --codes [default: 1]
    #[arg(long, value_name = "WEIGHT", value_parser = weight)]
    pub(super) info_weight: Option<f32>,
    /// Penalise a steep discriminator, by the length of its gradient at pictures: gp (towards 1,
    /// between real and generated ones), gp-one-sided, gp-zero, dragan, r1, r2 [default: none]
    #[arg(long, value_enum, hide_possible_values = true, value_name = "PENALTY")]
    pub(super) penalty: Option<Penalty>,
    /// The penalty's weight [default: 10 with a penalty]
    #[arg(long, value_name = "WEIGHT", value_parser = weight)]
    pub(super) penalty_weight: Option<f32>,
    /// With few pictures: change real and generated ones at random before the discriminator sees
    /// them (DiffAugment): color, brightness, saturation, contrast, translation, cutout, as a list
    /// [default: none]
    #[arg(long, value_name = "LIST", value_parser = str::parse::<Augment>)]
    pub(super) augment: Option<Augment>,
    /// How likely each of these is applied to a picture [default: 1]
    #[arg(long, value_name = "P", value_parser = weight)]
    pub(super) augment_p: Option<f32>,
    /// Let that probability follow how sure the discriminator is of real pictures (ADA): TARGET is
    /// its mean sign, 0.6 in the paper; 0 for not [default: 0]
    #[arg(long, value_name = "TARGET", value_parser = weight)]
    pub(super) ada: Option<f32>,
    /// Limit the discriminator's weights to +-LIMIT after every update; 0 for not [default: 0]
    #[arg(long, value_name = "LIMIT", value_parser = weight)]
    pub(super) clip_weights: Option<f32>,
    /// Weight of orthogonal regularisation of both networks' convolutions [default: 0]
    #[arg(long, value_name = "WEIGHT", value_parser = weight)]
    pub(super) orthogonal: Option<f32>,
    /// Weight of historical averaging: both networks are drawn to their past means [default: 0]
    #[arg(long, value_name = "WEIGHT", value_parser = weight)]
    pub(super) historical: Option<f32>,
    /// Weight decay: so much of every parameter is added to its gradient [default: 0]
    #[arg(long, value_name = "WEIGHT", value_parser = weight)]
    pub(super) weight_decay: Option<f32>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Pictures")]
pub(in crate::cli) struct Pictures {
    /// Another aspect than the target's: cut out the middle, stretch, or cut out at random
    /// [default: center]
    #[arg(long, value_enum, hide_possible_values = true, value_name = "center|none|random")]
    pub(super) crop: Option<Crop>,
    /// How to resize
    #[arg(long, value_enum)]
    pub(super) resize: Option<Filter>,
    /// Mirror every other picture, left to right
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_name = "true|false", hide_possible_values = true)]
    pub(super) flip: Option<bool>,
    /// Grey pictures: the same as --channels 1
    #[arg(long, conflicts_with = "channels")]
    pub(super) grey: bool,
    /// Keep decoded pictures in memory
    #[arg(long, value_enum, default_value_t = CacheMode::Auto)]
    pub(super) cache: CacheMode,
    /// Threads that decode [default: one a core, 8 at most]
    #[arg(long, value_name = "N", value_parser = at_least(1))]
    pub(super) workers: Option<usize>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "What is written, and how often")]
pub(super) struct RhythmFlags {
    /// Real pictures from one line of progress and log.jsonl to the next; 0 for the last one alone
    /// [default: 640]
    #[arg(long, value_name = "COUNT", value_parser = count_or_zero)]
    pub(super) report_every: Option<u64>,
    /// The same for previews (fakes-*.png); the first ones come sooner [default: 6400]
    #[arg(long, visible_alias = "every", value_name = "COUNT", value_parser = count_or_zero)]
    pub(super) preview_every: Option<u64>,
    /// The same for checkpoints [default: 6400]
    #[arg(long, value_name = "COUNT", value_parser = count_or_zero)]
    pub(super) save_every: Option<u64>,
    /// Newest checkpoints to keep [default: 2]
    #[arg(long, value_name = "N", value_parser = at_least(1))]
    pub(super) keep: Option<usize>,
    /// Of the older checkpoints keep one for every COUNT pictures; 0 for none [default: 0]
    #[arg(long, value_name = "COUNT", value_parser = count_or_zero)]
    pub(super) keep_every: Option<u64>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Machine")]
pub(super) struct Machine {
    #[command(flatten)]
    pub(super) device: DeviceFlag,
    /// Memory that the training may take, such as 2GiB [default: what the device has]
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    pub(super) memory: Option<u64>,
    /// Measure which kernels are the fastest on a GPU: not at all; for 5 seconds at most; all of
    /// them. What was measured is kept for the next time [default: quick; where a run is resumed,
    /// the kernels that it ran before]
    #[arg(long, value_enum, hide_possible_values = true, value_name = "off|quick|full")]
    pub(super) tune: Option<Effort>,
    /// How a GPU keeps activations and their gradients: in 16 bits they take half the memory and
    /// half the traffic; arithmetic and parameters stay in 32, and losses are scaled [default: f32]
    #[arg(long, value_enum, hide_possible_values = true, value_name = "f32|f16")]
    pub(super) precision: Option<Precision>,
    /// Print the memory plan
    #[arg(long)]
    pub(super) explain: bool,
    /// Keep the shader compiler's bounds checks: slower
    #[arg(long)]
    pub(super) checked: bool,
}
