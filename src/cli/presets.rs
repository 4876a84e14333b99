//! `dcgan presets`, and the table of presets.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use clap::Args;
use serde::Serialize;

use crate::error::Result;

use super::flags::JsonFlag;

/// A published recipe: flags of `dcgan train` with the values that its source gives.
#[derive(Debug)]
pub(super) struct Preset {
    /// Its name.
    pub(super) name: &'static str,
    /// What it is.
    pub(super) about: &'static str,
    /// Where the numbers are from.
    pub(super) source: &'static str,
    /// Flags and values; all others are at their defaults.
    pub(super) flags: &'static [(&'static str, &'static str)],
    /// Other names that it goes by.
    pub(super) aliases: &'static [&'static str],
}

/// All presets.
pub(super) const PRESETS: &[Preset] = &[
    Preset {
        name: "dcgan",
        about: "DCGAN as in PyTorch's well-known example; its weights can be exchanged",
        source: "github.com/pytorch/examples, dcgan/main.py",
        flags: &[],
        aliases: &["pytorch"],
    },
    Preset {
        name: "paper",
        about: "DCGAN as in its paper: 5x5 kernels, uniform latents, twice as wide",
        source: "Radford, Metz and Chintala, arXiv 1511.06434, section 4",
        flags: &[("network", "dcgan-paper"), ("batch", "128")],
        aliases: &["dcgan-paper"],
    },
    Preset {
        name: "mnist",
        about: "DCGAN as its authors trained it on MNIST; they told it the digits: --conditional",
        source: "github.com/Newmu/dcgan_code, mnist/train_cond_dcgan.py",
        flags: &[("network", "dcgan-mnist"), ("batch", "128")],
        aliases: &["dcgan-mnist"],
    },
    Preset {
        name: "lsgan",
        about: "least squares instead of cross-entropies, with DCGAN's networks",
        source: "Mao et al., arXiv 1611.04076, section 4 (their rate of 1e-3 is for other networks)",
        flags: &[("loss", "least-squares")],
        aliases: &[],
    },
    Preset {
        name: "hinge",
        about: "the hinge loss with DCGAN's networks: the geometric GAN",
        source: "Lim and Ye, arXiv 1705.02894; rates of DCGAN",
        flags: &[("loss", "hinge")],
        aliases: &[],
    },
    Preset {
        name: "relativistic",
        about: "the relativistic average GAN with DCGAN's networks",
        source: "Jolicoeur-Martineau, arXiv 1807.00734, section 5; rates of DCGAN",
        flags: &[("loss", "relativistic")],
        aliases: &[],
    },
    Preset {
        name: "wgan",
        about: "Wasserstein GAN: a critic with clipped weights, trained five times as often",
        source: "Arjovsky, Chintala and Bottou, arXiv 1701.07875, algorithm 1",
        flags: &[
            ("loss", "wasserstein"),
            ("clip-weights", "0.01"),
            ("n-critic", "5"),
            ("optimizer", "rmsprop"),
            ("beta2", "0.99"),
            ("lr-d", "5e-5"),
            ("lr-g", "5e-5"),
        ],
        aliases: &[],
    },
    Preset {
        name: "wgan-gp",
        about: "Wasserstein GAN with gradient penalty; layer norm in the critic",
        source: "Gulrajani et al., arXiv 1704.00028, algorithm 1, and their code's gan_64x64.py",
        flags: &[
            ("loss", "wasserstein"),
            ("penalty", "gp"),
            ("penalty-weight", "10"),
            ("norm-d", "layer"),
            ("n-critic", "5"),
            ("lr-d", "1e-4"),
            ("lr-g", "1e-4"),
            ("beta1", "0"),
            ("beta2", "0.9"),
        ],
        aliases: &[],
    },
    Preset {
        name: "wgan-gp-cnn",
        about: "the same for 32x32 without a norm in the critic: FID 19.8 on CIFAR-10",
        source: "github.com/w86763777/pytorch-gan-collections, configs/WGANGP_CIFAR10_CNN.txt (100k steps, rates falling to 0: --decay)",
        flags: &[
            ("network", "cnn"),
            ("nz", "100"),
            ("batch", "128"),
            ("loss", "wasserstein"),
            ("penalty", "gp"),
            ("penalty-weight", "10"),
            ("lr-d", "2e-4"),
            ("lr-g", "2e-4"),
            ("flip", "true"),
            ("beta1", "0"),
            ("beta2", "0.9"),
        ],
        aliases: &[],
    },
    Preset {
        name: "dragan",
        about: "cross-entropies and a gradient penalty around real pictures",
        source: "Kodali et al., arXiv 1705.07215, section 2.3",
        flags: &[
            ("penalty", "dragan"),
            ("penalty-weight", "10"),
            ("norm-d", "layer"),
            ("lr-d", "1e-4"),
            ("lr-g", "1e-4"),
        ],
        aliases: &[],
    },
    Preset {
        name: "r1",
        about: "cross-entropies and a penalty on slopes at real pictures",
        source: "Mescheder et al., arXiv 1801.04406, section 4.1 and 6.1 (their optimiser: RMSprop, rate 1e-4)",
        flags: &[
            ("penalty", "r1"),
            ("penalty-weight", "10"),
            ("norm-d", "none"),
            ("optimizer", "rmsprop"),
            ("beta2", "0.99"),
            ("lr-d", "1e-4"),
            ("lr-g", "1e-4"),
        ],
        aliases: &[],
    },
    Preset {
        name: "sngan",
        about: "spectral norm and hinge loss, the paper's CNN for 32x32",
        source: "Miyato et al., arXiv 1802.05957, table 3, section 4.1 (setting C of table 1); hinge: section 2",
        flags: &[
            ("network", "cnn"),
            ("weight-d", "spectral"),
            ("loss", "hinge"),
            ("n-critic", "5"),
            ("lr-d", "2e-4"),
            ("lr-g", "2e-4"),
            ("beta1", "0.5"),
            ("beta2", "0.999"),
        ],
        aliases: &[],
    },
    Preset {
        name: "sngan-resnet",
        about: "the same with residual networks: FID 14 to 22 on CIFAR-10 by protocol",
        source: "Miyato et al., arXiv 1802.05957, table 4; github.com/kwotsin/mimicry, sngan_32.py (100k steps, rates falling to 0: --decay)",
        flags: &[
            ("network", "resnet"),
            ("weight-d", "spectral"),
            ("loss", "hinge"),
            ("n-critic", "5"),
            ("lr-d", "2e-4"),
            ("lr-g", "2e-4"),
            ("beta1", "0"),
            ("beta2", "0.9"),
        ],
        aliases: &[],
    },
    Preset {
        name: "sngan-projection",
        about: "the same told classes: conditional batch norm and the projection discriminator",
        source: "Miyato and Koyama, arXiv 1802.05637; github.com/pfnet-research/sngan_projection",
        flags: &[
            ("network", "resnet"),
            ("conditional", "projection"),
            ("norm-g", "conditional"),
            ("weight-d", "spectral"),
            ("loss", "hinge"),
            ("n-critic", "5"),
            ("lr-d", "2e-4"),
            ("lr-g", "2e-4"),
            ("beta1", "0"),
            ("beta2", "0.9"),
        ],
        aliases: &[],
    },
    Preset {
        name: "sagan",
        about: "self-attention at half the size, spectral norm in both networks, two rates",
        source: "Zhang et al., arXiv 1805.08318, section 4, on DCGAN's networks (theirs are residual, of 128x128, told classes)",
        flags: &[
            ("attention", "32"),
            ("weight-g", "spectral"),
            ("weight-d", "spectral"),
            ("norm-d", "none"),
            ("loss", "hinge"),
            ("lr-d", "4e-4"),
            ("lr-g", "1e-4"),
            ("beta1", "0"),
            ("beta2", "0.9"),
        ],
        aliases: &[],
    },
    Preset {
        name: "cgan",
        about: "both networks told the class at every layer, as DCGAN's authors did for MNIST",
        source: "Mirza and Osindero, arXiv 1411.1784; github.com/Newmu/dcgan_code, mnist/train_cond_dcgan.py",
        flags: &[("network", "dcgan-mnist"), ("conditional", "concat"), ("batch", "128")],
        aliases: &[],
    },
    Preset {
        name: "acgan",
        about: "the discriminator has to say the class, too",
        source: "Odena, Olah and Shlens, arXiv 1610.09585, appendix (their discriminator has dropout as well)",
        flags: &[("conditional", "auxiliary"), ("lr-d", "2e-4"), ("lr-g", "2e-4")],
        aliases: &[],
    },
    Preset {
        name: "infogan",
        about: "codes that the discriminator has to recognise: a category and two numbers, for MNIST",
        source: "Chen et al., arXiv 1606.03657, appendix C.1 (codes), with the networks of DCGAN's MNIST \
                 code and DCGAN's rates (their 1e-3 for the generator makes these networks collapse)",
        flags: &[("network", "dcgan-mnist"), ("codes", "10+2"), ("nz", "74"), ("batch", "64")],
        aliases: &[],
    },
    Preset {
        name: "improved-gan",
        about: "feature matching and virtual batch norm, labels smoothed on one side",
        source: "Salimans et al., arXiv 1606.03498, section 3; rates of DCGAN",
        flags: &[("feature-matching", "true"), ("norm-g", "virtual"), ("smooth", "0.1")],
        aliases: &[],
    },
    Preset {
        name: "minibatch",
        about: "minibatch discrimination and labels smoothed on one side",
        source: "Salimans et al., arXiv 1606.03498, sections 3.2 and 3.4; rates of DCGAN",
        flags: &[("minibatch", "discrimination"), ("smooth", "0.1")],
        aliases: &[],
    },
    Preset {
        name: "semi-supervised",
        about: "a classifier from 100 labels: Improved GAN's networks and feature matching for MNIST",
        source: "Salimans et al., arXiv 1606.03498, section 6.1; github.com/openai/improved-gan, \
                 mnist_svhn_cifar10/train_mnist_feature_matching.py (93 ± 6.5 errors in 10,000 after 300 \
                 epochs, --images 18M; here 138 after 60, --images 3600k). Unlike theirs, the generator's \
                 batch norm has a scale, and both steps see the same real pictures",
        flags: &[
            ("network", "mlp"),
            ("labels-per-class", "10"),
            ("weight-g", "norm"),
            ("weight-d", "norm-fixed"),
            ("feature-matching", "true"),
            ("class-weight", "2"),
            ("batch", "100"),
            ("lr-d", "3e-3"),
            ("lr-g", "3e-3"),
            ("beta1", "0.5"),
            ("beta2", "0.999"),
            ("epsilon", "1e-4"),
            ("ema", "693k"),
        ],
        aliases: &[],
    },
    Preset {
        name: "few-pictures",
        about: "for some hundred images: half of those that D sees are shifted, and G learns faster",
        source: "Zhao et al., arXiv 2006.10738 (of their three augmentations the one that helps DCGAN most); \
                 its probability, G's rate and the batch were chosen by the sliced Wasserstein distance to \
                 images held out, on 100, 500 and 1,500 faces and icons of 32x32",
        flags: &[
            ("augment", "translation"),
            ("augment-p", "0.5"),
            ("lr-g", "4e-4"),
            ("batch", "16"),
        ],
        aliases: &["lightweight-data"],
    },
    Preset {
        name: "ada",
        about: "the same with as much augmentation as the discriminator needs",
        source: "Karras et al., arXiv 2006.06676, with the augmentations of arXiv 2006.10738",
        flags: &[
            ("augment", "color,translation,cutout"),
            ("ada", "0.6"),
            ("penalty", "r1"),
            ("penalty-weight", "10"),
            ("norm-d", "none"),
            ("flip", "true"),
        ],
        aliases: &[],
    },
];

impl Preset {
    /// The preset of this name.
    ///
    /// # Errors
    /// A sentence that says where they are listed.
    pub(super) fn find(name: &str) -> std::result::Result<&'static Self, String> {
        let known = |preset: &&Self| preset.name == name || preset.aliases.contains(&name);
        PRESETS.iter().find(known).ok_or_else(|| {
            format!("there is no preset {name:?}: dcgan presets lists those that there are")
        })
    }

    /// Its flags as they are typed.
    pub(super) fn words(&self) -> Vec<String> {
        self.flags.iter().map(|(flag, value)| format!("--{flag}={value}")).collect()
    }

    /// All of it, as text.
    fn describe(&self) -> String {
        let mut text = format!("{}: {}\n\nSource: {}\n", self.name, self.about, self.source);
        if !self.aliases.is_empty() {
            let _ = writeln!(text, "Also called: {}", self.aliases.join(", "));
        }
        text.push('\n');
        if self.flags.is_empty() {
            text.push_str("All flags at their defaults.\n");
        }
        let width = self.flags.iter().map(|(flag, _)| flag.len()).max().unwrap_or(0);
        for (flag, value) in self.flags {
            let _ = writeln!(text, "  --{flag:width$} {value}");
        }
        let _ = write!(
            text,
            "\nAll other flags are at their defaults, and any flag overrides the preset:\n  dcgan \
             train PICTURES --preset {} --lr-d 1e-4\n",
            self.name
        );
        text
    }
}

/// `--preset` is given and stored by name.
impl std::fmt::Display for Preset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name)
    }
}

impl PartialEq for Preset {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

/// List the recipes that dcgan train knows by name, or print one
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  dcgan presets wgan")]
pub(super) struct Presets {
    /// Print what this one sets, and where its numbers are from
    #[arg(value_name = "NAME", value_parser = Preset::find)]
    preset: Option<&'static Preset>,
    #[command(flatten)]
    json: JsonFlag,
}

/// A preset, as `--json` prints it.
#[derive(Debug, Serialize)]
struct Entry {
    name: &'static str,
    about: &'static str,
    source: &'static str,
    aliases: &'static [&'static str],
    /// Flags of `dcgan train` without their dashes, with their values.
    flags: BTreeMap<&'static str, &'static str>,
}

impl From<&Preset> for Entry {
    fn from(&Preset { name, about, source, aliases, flags }: &Preset) -> Self {
        Self { name, about, source, aliases, flags: flags.iter().copied().collect() }
    }
}

/// What `--json` prints without a name.
#[derive(Debug, Serialize)]
struct Report {
    presets: Vec<Entry>,
}

impl Presets {
    pub(super) fn run(&self) -> Result<()> {
        let Some(preset) = self.preset else {
            let width = PRESETS.iter().map(|preset| preset.name.len()).max().unwrap_or(0);
            let mut text = String::new();
            for Preset { name, about, .. } in PRESETS {
                let _ = writeln!(text, "{name:width$}  {about}");
            }
            self.json.print(&text)?;
            return self
                .json
                .report(&Report { presets: PRESETS.iter().map(Entry::from).collect() });
        };
        self.json.print(&preset.describe())?;
        self.json.report(&Entry::from(preset))
    }
}
