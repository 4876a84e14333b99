//! Published configurations by name: one row each.

use std::fmt;

use crate::data::PrepareOptions;
use crate::error::{Error, Result};
use crate::gan::PartialObjectiveConfig;
use crate::models::PartialModelConfig;

use super::{PartialTrainConfig, TrainConfig};

/// A published configuration: options with the values of its source.
#[derive(Debug)]
pub struct Preset {
    /// Its name.
    pub name: &'static str,
    /// A description.
    pub about: &'static str,
    /// The source of the values.
    pub source: &'static str,
    /// Options and values as typed; all others keep their defaults.
    pub options: &'static [(&'static str, &'static str)],
    /// Other names.
    pub aliases: &'static [&'static str],
}

/// All presets.
pub const PRESETS: &[Preset] = &[
    Preset {
        name: "fast",
        about: "the default: good images soonest on modest hardware",
        source: "measured by this project, benches/quality: DCGAN's networks at half the width, with the spectral \
                 norm of arXiv 1802.05957, the hinge loss of arXiv 1705.02894 and batches of 8",
        options: &[
            ("ngf", "32"),
            ("ndf", "32"),
            ("weight_d", "spectral"),
            ("norm_d", "none"),
            ("loss", "hinge"),
            ("batch", "8"),
            ("lr_d", "3e-4"),
            ("lr_g", "3e-4"),
        ],
        aliases: &[],
    },
    Preset {
        name: "dcgan",
        about: "DCGAN as in PyTorch's well-known example; its weights can be exchanged",
        source: "github.com/pytorch/examples, dcgan/main.py",
        options: &[],
        aliases: &["pytorch"],
    },
    Preset {
        name: "paper",
        about: "DCGAN as in its paper: 5x5 kernels, uniform latents, twice as wide",
        source: "Radford, Metz and Chintala, arXiv 1511.06434, section 4",
        options: &[("network", "dcgan-paper"), ("batch", "128")],
        aliases: &["dcgan-paper"],
    },
    Preset {
        name: "mnist",
        about: "DCGAN as its authors trained it on MNIST; they conditioned it on the digits: --conditional",
        source: "github.com/Newmu/dcgan_code, mnist/train_cond_dcgan.py",
        options: &[("network", "dcgan-mnist"), ("batch", "128")],
        aliases: &["dcgan-mnist"],
    },
    Preset {
        name: "lsgan",
        about: "least squares instead of cross-entropies, with DCGAN's networks",
        source: "Mao et al., arXiv 1611.04076, section 4 (their rate of 1e-3 is for other networks)",
        options: &[("loss", "least-squares")],
        aliases: &[],
    },
    Preset {
        name: "hinge",
        about: "the hinge loss with DCGAN's networks: the geometric GAN",
        source: "Lim and Ye, arXiv 1705.02894; rates of DCGAN",
        options: &[("loss", "hinge")],
        aliases: &[],
    },
    Preset {
        name: "relativistic",
        about: "the relativistic average GAN with DCGAN's networks",
        source: "Jolicoeur-Martineau, arXiv 1807.00734, section 5; rates of DCGAN",
        options: &[("loss", "relativistic")],
        aliases: &[],
    },
    Preset {
        name: "wgan",
        about: "Wasserstein GAN: a critic with clipped weights, trained five times as often",
        source: "Arjovsky, Chintala and Bottou, arXiv 1701.07875, algorithm 1",
        options: &[
            ("loss", "wasserstein"),
            ("clip_weights", "0.01"),
            ("n_critic", "5"),
            ("optimizer", "rmsprop"),
            ("beta2", "0.99"),
            ("lr_d", "5e-5"),
            ("lr_g", "5e-5"),
        ],
        aliases: &[],
    },
    Preset {
        name: "wgan-gp",
        about: "Wasserstein GAN with gradient penalty; layer norm in the critic",
        source: "Gulrajani et al., arXiv 1704.00028, algorithm 1, and their code's gan_64x64.py",
        options: &[
            ("loss", "wasserstein"),
            ("penalty", "gp"),
            ("penalty_weight", "10"),
            ("norm_d", "layer"),
            ("n_critic", "5"),
            ("lr_d", "1e-4"),
            ("lr_g", "1e-4"),
            ("beta1", "0"),
            ("beta2", "0.9"),
        ],
        aliases: &[],
    },
    Preset {
        name: "wgan-gp-cnn",
        about: "the same for 32x32 without a norm in the critic: FID 19.8 on CIFAR-10",
        source: "github.com/w86763777/pytorch-gan-collections, configs/WGANGP_CIFAR10_CNN.txt (100k steps, rates falling to 0: --decay)",
        options: &[
            ("network", "cnn"),
            ("nz", "100"),
            ("batch", "128"),
            ("loss", "wasserstein"),
            ("penalty", "gp"),
            ("penalty_weight", "10"),
            ("lr_d", "2e-4"),
            ("lr_g", "2e-4"),
            ("flip", "true"),
            ("beta1", "0"),
            ("beta2", "0.9"),
        ],
        aliases: &[],
    },
    Preset {
        name: "dragan",
        about: "cross-entropies and a gradient penalty around real images",
        source: "Kodali et al., arXiv 1705.07215, section 2.3",
        options: &[
            ("penalty", "dragan"),
            ("penalty_weight", "10"),
            ("norm_d", "layer"),
            ("lr_d", "1e-4"),
            ("lr_g", "1e-4"),
        ],
        aliases: &[],
    },
    Preset {
        name: "r1",
        about: "cross-entropies and a penalty on slopes at real images",
        source: "Mescheder et al., arXiv 1801.04406, section 4.1 and 6.1 (their optimizer: RMSprop, rate 1e-4)",
        options: &[
            ("penalty", "r1"),
            ("penalty_weight", "10"),
            ("norm_d", "none"),
            ("optimizer", "rmsprop"),
            ("beta2", "0.99"),
            ("lr_d", "1e-4"),
            ("lr_g", "1e-4"),
        ],
        aliases: &[],
    },
    Preset {
        name: "sngan",
        about: "spectral norm and hinge loss, the paper's CNN for 32x32",
        source: "Miyato et al., arXiv 1802.05957, table 3, section 4.1 (setting C of table 1); hinge: section 2",
        options: &[
            ("network", "cnn"),
            ("weight_d", "spectral"),
            ("loss", "hinge"),
            ("n_critic", "5"),
            ("lr_d", "2e-4"),
            ("lr_g", "2e-4"),
            ("beta1", "0.5"),
            ("beta2", "0.999"),
        ],
        aliases: &[],
    },
    Preset {
        name: "sngan-resnet",
        about: "the same with residual networks: FID 14 to 22 on CIFAR-10 by protocol",
        source: "Miyato et al., arXiv 1802.05957, table 4; github.com/kwotsin/mimicry, sngan_32.py (100k steps, rates falling to 0: --decay)",
        options: &[
            ("network", "resnet"),
            ("weight_d", "spectral"),
            ("loss", "hinge"),
            ("n_critic", "5"),
            ("lr_d", "2e-4"),
            ("lr_g", "2e-4"),
            ("beta1", "0"),
            ("beta2", "0.9"),
        ],
        aliases: &[],
    },
    Preset {
        name: "sngan-projection",
        about: "the same with class labels: conditional batch norm and the projection discriminator",
        source: "Miyato and Koyama, arXiv 1802.05637; github.com/pfnet-research/sngan_projection",
        options: &[
            ("network", "resnet"),
            ("conditional", "projection"),
            ("norm_g", "conditional"),
            ("weight_d", "spectral"),
            ("loss", "hinge"),
            ("n_critic", "5"),
            ("lr_d", "2e-4"),
            ("lr_g", "2e-4"),
            ("beta1", "0"),
            ("beta2", "0.9"),
        ],
        aliases: &[],
    },
    Preset {
        name: "sagan",
        about: "self-attention at half the size, spectral norm in both networks, two rates",
        source: "Zhang et al., arXiv 1805.08318, section 4, on DCGAN's networks (theirs are residual, of 128x128, conditional)",
        options: &[
            ("attention", "32"),
            ("weight_g", "spectral"),
            ("weight_d", "spectral"),
            ("norm_d", "none"),
            ("loss", "hinge"),
            ("lr_d", "4e-4"),
            ("lr_g", "1e-4"),
            ("beta1", "0"),
            ("beta2", "0.9"),
        ],
        aliases: &[],
    },
    Preset {
        name: "cgan",
        about: "both networks conditioned on the class at every layer, as DCGAN's authors did for MNIST",
        source: "Mirza and Osindero, arXiv 1411.1784; github.com/Newmu/dcgan_code, mnist/train_cond_dcgan.py",
        options: &[("network", "dcgan-mnist"), ("conditional", "concat"), ("batch", "128")],
        aliases: &[],
    },
    Preset {
        name: "acgan",
        about: "the discriminator also predicts the class",
        source: "Odena, Olah and Shlens, arXiv 1610.09585, appendix (their discriminator has dropout as well)",
        options: &[("conditional", "auxiliary"), ("lr_d", "2e-4"), ("lr_g", "2e-4")],
        aliases: &[],
    },
    Preset {
        name: "infogan",
        about: "codes that the discriminator has to recognize: a category and two numbers, for MNIST",
        source: "Chen et al., arXiv 1606.03657, appendix C.1 (codes), with the networks of DCGAN's MNIST \
                 code and DCGAN's rates (their 1e-3 for the generator makes these networks collapse)",
        options: &[("network", "dcgan-mnist"), ("codes", "10+2"), ("nz", "74"), ("batch", "64")],
        aliases: &[],
    },
    Preset {
        name: "bigan",
        about: "BiGAN for MNIST: an encoder that inverts the generator; dcgan encode, dcgan reconstruct",
        source: "Donahue, Kr\u{e4}henb\u{fc}hl and Darrell, arXiv 1605.09782, section 4.2; github.com/jeffdonahue/bigan, train_mnist.sh",
        options: &[
            ("family", "bigan"),
            ("network", "bigan-mnist"),
            ("batch", "128"),
            ("weight_decay", "2.5e-5"),
        ],
        aliases: &[],
    },
    Preset {
        name: "ali",
        about: "ALI for 32x32: an encoder that outputs a distribution of latents; dropout and maxout in D",
        source: "Dumoulin et al., arXiv 1606.00704; github.com/IshmaelBelghazi/ALI, experiments/ali_cifar10.py \
                 (6,475 epochs of CIFAR-10)",
        options: &[
            ("family", "ali"),
            ("network", "ali"),
            ("batch", "100"),
            ("lr_d", "1e-4"),
            ("lr_g", "1e-4"),
            ("beta1", "0.5"),
            ("beta2", "0.999"),
        ],
        aliases: &[],
    },
    Preset {
        name: "vae-gan",
        about: "VAE/GAN: an autoencoder whose images a discriminator compares; dcgan encode, dcgan reconstruct",
        source: "Larsen et al., arXiv 1512.09300; github.com/andersbll/autoencoding_beyond_pixels, \
                 celeba_aegan.py (rates and weight decay divided by its batch, as its losses are sums). For 32x32 \
                 its cifar_aegan.py has --gamma 1e-5",
        options: &[
            ("family", "vae-gan"),
            ("network", "vae-gan"),
            ("loss", "saturating"),
            ("gamma", "1e-6"),
            ("batch", "64"),
            ("optimizer", "rmsprop"),
            ("beta2", "0.9"),
            ("weight_decay", "1.6e-7"),
            ("lr_d", "3.9e-4"),
            ("lr_g", "3.9e-4"),
            ("decay", "4M"),
            ("decay_to", "1.6e-7"),
            ("decay_power", "0.75"),
        ],
        aliases: &[],
    },
    Preset {
        name: "vae",
        about: "a variational autoencoder with the networks of VAE/GAN; dcgan encode, dcgan reconstruct",
        source: "Kingma and Welling, arXiv 1312.6114, with normal pixels of variance 1; networks and rates \
                 as vae-gan",
        options: &[
            ("family", "vae"),
            ("network", "vae-gan"),
            ("batch", "64"),
            ("optimizer", "rmsprop"),
            ("beta2", "0.9"),
            ("weight_decay", "1.6e-7"),
            ("lr_g", "3.9e-4"),
            ("decay", "4M"),
            ("decay_to", "1.6e-7"),
            ("decay_power", "0.75"),
        ],
        aliases: &[],
    },
    Preset {
        name: "mrgan",
        about: "Reg-GAN: an encoder draws the generator towards every real image, so that it misses no mode",
        source: "Che, Li, Jacob, Bengio and Li, arXiv 1612.02136, section 3.2 (with the sign that its text \
                 asks for), on DCGAN's networks",
        options: &[("family", "mrgan"), ("distance_weight", "0.2"), ("mode_weight", "0.4")],
        aliases: &[],
    },
    Preset {
        name: "mdgan",
        about: "manifold-diffusion GAN: the same in two steps, each with a discriminator of its own",
        source: "Che, Li, Jacob, Bengio and Li, arXiv 1612.02136, section 3.3, on DCGAN's networks",
        options: &[("family", "mdgan"), ("distance_weight", "1"), ("mode_weight", "0.01")],
        aliases: &[],
    },
    Preset {
        name: "stacked",
        about: "stacked GAN for MNIST: a classifier, its features from classes, images from features, in \
                stages; dcgan stages",
        source: "Huang, Li, Poursaeed, Hopcroft and Belongie, arXiv 1612.04357; github.com/xunhuang1995/SGAN, \
                 mnist/train_independent.py and train_joint.py (each stage 200 epochs; their noise is \
                 uniform in [0, 1])",
        options: &[
            ("family", "stacked"),
            ("network", "stacked"),
            ("conditional", "concat"),
            ("batch", "100"),
            ("lr_d", "1e-4"),
            ("lr_g", "1e-4"),
            ("beta1", "0.5"),
            ("beta2", "0.999"),
        ],
        aliases: &[],
    },
    Preset {
        name: "progressive",
        about: "progressive growing: from 4x4 pixels to the whole size, in stages; dcgan stages",
        source: "Karras, Aila, Laine and Lehtinen, arXiv 1710.10196; github.com/tkarras/progressive_growing_of_gans \
                 (theirs see 600k images a phase)",
        options: &[
            ("family", "progressive"),
            ("network", "progressive"),
            ("loss", "wasserstein"),
            ("penalty", "gp"),
            ("penalty_weight", "10"),
            ("drift", "0.001"),
            ("lr_d", "1e-3"),
            ("lr_g", "1e-3"),
            ("beta1", "0"),
            ("beta2", "0.99"),
        ],
        aliases: &["progan", "pggan"],
    },
    Preset {
        name: "lapgan",
        about: "LAPGAN: a Laplacian pyramid from 8x8 pixels on, with a GAN for each size, in stages of any \
                order; dcgan stages",
        source: "Denton, Chintala, Szlam and Fergus, arXiv 1506.05751; github.com/facebook/eyescream, \
                 train_cifar_coarse_to_fine.lua, with Adam (theirs: --optimizer sgd --lr-d 0.02 --lr-g 0.02 \
                 --momentum-to 0.7 --momentum-rise 11M)",
        options: &[
            ("family", "lapgan"),
            ("network", "lapgan"),
            ("batch", "128"),
            ("lr_d", "2e-4"),
            ("lr_g", "2e-4"),
            ("beta1", "0.5"),
        ],
        aliases: &[],
    },
    Preset {
        name: "ss-gan",
        about: "SS-GAN: surface normals, and images of normals, for images with normal maps, in stages; \
                dcgan stages",
        source: "Wang and Gupta, arXiv 1603.05631; github.com/xiaolonw/ss-gan (theirs: normals of 72 and \
                 images of 128 pixels, twice the width, and rates that begin lower)",
        options: &[
            ("family", "ss-gan"),
            ("network", "ss-gan"),
            ("batch", "32"),
            ("lr_d", "2e-4"),
            ("lr_g", "2e-4"),
            ("beta1", "0.5"),
            ("beta2", "0.999"),
            ("warm_up", "1k"),
        ],
        aliases: &["s2gan"],
    },
    Preset {
        name: "int-cls",
        about: "GAN-INT-CLS: images from texts, for images with captions; dcgan sample --text",
        source: "Reed et al., arXiv 1605.05396, section 4, and their code's CLS=0.5; with the networks, hinge \
                 loss, spectral norm and rates of the preset fast (theirs: DCGAN's with batch norm, \
                 cross-entropies and residual blocks, batches of 64)",
        options: &[
            ("family", "int-cls"),
            ("ngf", "32"),
            ("ndf", "32"),
            ("weight_d", "spectral"),
            ("norm_d", "none"),
            ("loss", "hinge"),
            ("batch", "8"),
            ("lr_d", "3e-4"),
            ("lr_g", "3e-4"),
        ],
        aliases: &["gan-int-cls"],
    },
    Preset {
        name: "stackgan",
        about: "StackGAN: images from texts in two stages, small ones and larger ones of these; dcgan stages",
        source: "Zhang et al., arXiv 1612.03242, section 3 (no residual blocks in the discriminators; their \
                 stages are 64x64 and 256x256); conditioning augmentation and divergence of their code, \
                 github.com/hanzhanggit/StackGAN; hinge loss, spectral norm, widths and rates of the preset \
                 fast (theirs: cross-entropies, batch norm, batches of 64)",
        options: &[
            ("family", "stackgan"),
            ("text_augment", "128"),
            ("ngf", "32"),
            ("ndf", "32"),
            ("weight_d", "spectral"),
            ("norm_d", "none"),
            ("loss", "hinge"),
            ("batch", "8"),
            ("lr_d", "3e-4"),
            ("lr_g", "3e-4"),
        ],
        aliases: &[],
    },
    Preset {
        name: "improved-gan",
        about: "feature matching and virtual batch norm, labels smoothed on one side",
        source: "Salimans et al., arXiv 1606.03498, section 3; rates of DCGAN",
        options: &[("feature_matching", "true"), ("norm_g", "virtual"), ("smooth", "0.1")],
        aliases: &[],
    },
    Preset {
        name: "minibatch",
        about: "minibatch discrimination and labels smoothed on one side",
        source: "Salimans et al., arXiv 1606.03498, sections 3.2 and 3.4; rates of DCGAN",
        options: &[("minibatch", "discrimination"), ("smooth", "0.1")],
        aliases: &[],
    },
    Preset {
        name: "semi-supervised",
        about: "a classifier from 100 labels: Improved GAN's networks and feature matching for MNIST",
        source: "Salimans et al., arXiv 1606.03498, section 6.1; github.com/openai/improved-gan, \
                 mnist_svhn_cifar10/train_mnist_feature_matching.py (93 ± 6.5 errors in 10,000 after 300 \
                 epochs, --images 18M; here 138 after 60, --images 3600k). Unlike theirs, the generator's \
                 batch norm has a scale, and both steps see the same real images",
        options: &[
            ("network", "mlp"),
            ("labels_per_class", "10"),
            ("weight_g", "norm"),
            ("weight_d", "norm-fixed"),
            ("feature_matching", "true"),
            ("class_weight", "2"),
            ("batch", "100"),
            ("lr_d", "3e-3"),
            ("lr_g", "3e-3"),
            ("beta1", "0.5"),
            ("beta2", "0.999"),
            ("epsilon", "1e-4"),
            ("ema", "693k"),
        ],
        aliases: &[],
    },
    Preset {
        name: "few-images",
        about: "for some hundred images: the preset fast, and half of those that D sees are shifted",
        source: "measured by this project, benches/quality, with one of the three augmentations of Zhao et al., \
                 arXiv 2006.10738",
        options: &[
            ("ngf", "32"),
            ("ndf", "32"),
            ("weight_d", "spectral"),
            ("norm_d", "none"),
            ("loss", "hinge"),
            ("batch", "8"),
            ("lr_d", "3e-4"),
            ("lr_g", "3e-4"),
            ("augment", "translation"),
            ("augment_p", "0.5"),
        ],
        aliases: &["few-pictures", "lightweight-data"],
    },
    Preset {
        name: "ada",
        about: "the same with as much augmentation as the discriminator needs",
        source: "Karras et al., arXiv 2006.06676, with the augmentations of arXiv 2006.10738",
        options: &[
            ("augment", "color,translation,cutout"),
            ("ada", "0.6"),
            ("penalty", "r1"),
            ("penalty_weight", "10"),
            ("norm_d", "none"),
            ("flip", "true"),
        ],
        aliases: &[],
    },
];

/// What a preset may set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TrainOptions {
    /// The training configuration.
    pub config: PartialTrainConfig,
    /// How images are prepared.
    pub prepare: PrepareOptions,
}

impl Preset {
    /// The preset of this name.
    #[must_use]
    pub fn find(name: &str) -> Option<&'static Self> {
        PRESETS.iter().find(|preset| preset.name == name || preset.aliases.contains(&name))
    }

    /// The preset of new networks for which none was named: `fast`, unless an option was given that
    /// chooses networks or an objective, which are changes of `dcgan`. Sizes, classes, augmentation and
    /// the options of optimizers are none of these.
    #[must_use]
    pub fn usual(given: &PartialTrainConfig) -> Option<&'static Self> {
        let PartialTrainConfig { model, objective, labels_per_class, .. } = given.clone();
        let model = PartialModelConfig {
            size: None,
            channels: None,
            nz: None,
            ngf: None,
            ndf: None,
            conditional: None,
            ..model
        };
        let objective = PartialObjectiveConfig {
            class_weight: None,
            augment: None,
            augment_p: None,
            ada: None,
            optimizer: None,
            beta1: None,
            beta2: None,
            epsilon: None,
            n_critic: None,
            micro_batch: None,
            clip_gradients: None,
            ..objective
        };
        let is_free = model == PartialModelConfig::default()
            && objective == PartialObjectiveConfig::default()
            && labels_per_class.is_none();
        Self::find("fast").filter(|_| is_free)
    }

    /// The options it sets.
    #[must_use]
    pub fn options(&self) -> TrainOptions {
        let mut options = TrainOptions::default();
        for (name, value) in self.options {
            let TrainOptions { config, prepare } = &mut options;
            let set = config.set(name, value).or_else(|| prepare.set(name, value));
            set.expect("a test knows every option").expect("a test reads every value");
        }
        options
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name)
    }
}

impl TrainConfig {
    /// The configuration of a preset. If it is conditional or learns classes, `model.classes` still
    /// has to be set.
    ///
    /// # Errors
    /// [`Error::Config`] if there is no preset of this name.
    pub fn preset(name: &str) -> Result<Self> {
        let preset = Preset::find(name).ok_or_else(|| {
            let names: Vec<&str> = PRESETS.iter().map(|preset| preset.name).collect();
            let what = format!("there is no preset {name:?}; there are {}", names.join(", "));
            Error::config("preset", what)
        })?;
        preset.options().config.config()
    }
}
