//! All metrics: one row each.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::classes::Classified;
use super::frechet::frechet_distance;
use super::inception_score::{self, inception_score};
use super::kid::{Subsets, kernel_distance};
use super::memorization::{Seen, memorization};
use super::ms_ssim::ms_ssim;
use super::networks::Kind;
use super::prdc::{DENSITY_K, PRECISION_K, density_coverage, precision_recall};
use super::swd::{self, Variant, swd};
use super::thumbnails::{SIDE, thumbnails};
use super::two_sample::two_sample;
use super::{Features, ImageSet, colors, duplicates, spectrum};
use crate::error::{Error, Result};

/// A computed number.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// The score.
    pub value: f64,
    /// Its standard error, if the metric estimates it; of KID and the Inception score their standard
    /// deviation over subsets, as published.
    pub std: Option<f64>,
    /// What it is a mean of, by name, such as levels of a pyramid.
    pub parts: Vec<(String, f64)>,
}

impl Measured {
    /// A number alone.
    #[must_use]
    pub fn of(value: f64) -> Self {
        Self { value, std: None, parts: Vec::new() }
    }
}

/// What a metric knows beside its images.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The row's name.
    pub metric: &'static str,
    /// Seed of all that is drawn.
    pub seed: u64,
    /// Receives numbers of images that are done; all of a computation add up to those of both sets.
    pub progress: &'a (dyn Fn(f64) + Sync),
}

impl Context<'_> {
    /// Reports work that is as long as so many images of one set.
    pub fn done(&self, images: f64) {
        (self.progress)(images);
    }
}

impl fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("metric", &self.metric).field("seed", &self.seed).finish()
    }
}

/// Which values of a score are good.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    /// Lower ones.
    Lower,
    /// Higher ones.
    Higher,
    /// Those near this value.
    Near(f64),
    /// Those near the real images' own.
    Real,
}

impl fmt::Display for Better {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lower => f.pad("lower"),
            Self::Higher => f.pad("higher"),
            Self::Near(value) => f.pad(&format!("near {value}")),
            Self::Real => f.pad("near the floor"),
        }
    }
}

/// A score that a metric gives.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    /// Its name; of network features the name with the network that published values are of.
    pub name: &'static str,
    /// Which values are good.
    pub better: Better,
}

/// Features of two sets by one network.
#[derive(Clone, Copy, Debug)]
pub struct NetworkSets<'a> {
    /// Of generated images.
    pub fakes: Embedded<'a>,
    /// Of real images.
    pub reals: Embedded<'a>,
}

/// Predictions of a classifier for two sets.
#[derive(Clone, Copy, Debug)]
pub struct ClassSets<'a> {
    /// For generated images.
    pub fakes: &'a Classified,
    /// The names of the classes.
    pub names: &'a [String],
}

/// Features of a set by a network.
#[derive(Clone, Copy, Debug)]
pub struct Embedded<'a> {
    /// Pooled features.
    pub features: &'a Features,
    /// Logits of its classes, if the network classifies.
    pub logits: Option<&'a Features>,
}

/// What a metric is computed from.
#[derive(Clone, Copy, Debug)]
pub enum Compute {
    /// Generated and real images, as many of each.
    Images(fn(&ImageSet, &ImageSet, &Context<'_>) -> Result<Vec<Measured>>),
    /// Thumbnails of generated images ([`super::memorization::SIDE`]), of the training set and of held-out
    /// images.
    Seen(fn(&Features, &Seen, &Context<'_>) -> Result<Vec<Measured>>),
    /// Features by a network, of as many generated and real images.
    Network(fn(&NetworkSets<'_>, &Context<'_>) -> Result<Vec<Measured>>),
    /// A classifier's predictions of generated images, of real ones in their place for floors; and
    /// whether the images must have classes.
    Classes(fn(&ClassSets<'_>, &Context<'_>) -> Result<Vec<Measured>>, bool),
}

/// A metric.
#[derive(Debug)]
pub struct Metric {
    /// Its name, for `--metrics`.
    pub name: &'static str,
    /// What it measures, in a few words.
    pub about: &'static str,
    /// How, for the protocol: the implementation that published values are of, and its parameters.
    pub implementation: &'static str,
    /// The scores that it gives, in the order of its function's results.
    pub outputs: &'static [Output],
    /// The least number of images of each set.
    pub least: usize,
    /// The least rows and columns of an image.
    pub least_side: usize,
    /// Its function.
    pub compute: Compute,
}

/// The network whose features give scores their plain names; of others the network's name is appended.
pub const PUBLISHED_NETWORK: &str = Kind::Inception.name();

impl Metric {
    /// The name of a score of this metric by features of `network`: `precision`, and of another than
    /// [`PUBLISHED_NETWORK`] `precision-efficientnet-lite0`. A Fréchet distance is FID by Inception-v3
    /// only, and `fd-` and the network's name by all others.
    #[must_use]
    pub fn named(output: &Output, network: Option<&str>) -> String {
        match (network, output.name) {
            (None | Some(PUBLISHED_NETWORK), name) => name.to_owned(),
            (Some(network), "fid") => format!("fd-{network}"),
            (Some(network), name) => format!("{name}-{network}"),
        }
    }

    /// Whether it can be computed from images alone.
    #[must_use]
    pub fn is_of_images(&self) -> bool {
        matches!(self.compute, Compute::Images(_))
    }
}

/// The metric of this name, or the one that gives the score of this name.
///
/// # Errors
/// The end of a sentence that begins with the name: what names there are.
pub fn metric(name: &str) -> Result<&'static Metric, String> {
    let by_output = |metric: &&Metric| metric.outputs.iter().any(|output| output.name == name);
    let found = METRICS.iter().find(|metric| metric.name == name);
    found.or_else(|| METRICS.iter().find(by_output)).ok_or_else(|| {
        let names: Vec<&str> = METRICS.iter().map(|metric| metric.name).collect();
        format!("is not a metric; there are {}", names.join(", "))
    })
}

/// The metric that gives the score of this name, which may be by a network's features
/// ([`Metric::named`]), and the place of the score among its outputs.
#[must_use]
pub fn of_score(name: &str) -> Option<(&'static Metric, usize)> {
    let networks = Kind::ALL.map(Kind::name);
    let place = |metric: &&Metric| {
        let is_network = matches!(metric.compute, Compute::Network(_));
        metric.outputs.iter().position(|output| {
            output.name == name
                || is_network
                    && networks.iter().any(|network| Metric::named(output, Some(network)) == name)
        })
    };
    METRICS.iter().find_map(|metric| Some((metric, place(&metric)?)))
}

/// What a metric of classes lacks without any.
pub(super) const UNLABELED: &str =
    "needs images that were drawn in classes, as a conditional model draws them";

const fn output(name: &'static str, better: Better) -> Output {
    Output { name, better }
}

/// All metrics.
pub const METRICS: &[Metric] = &[
    Metric {
        name: "swd-nvidia",
        about: "sliced Wasserstein distance of patches, NVIDIA's variant",
        implementation: "progressive_growing_of_gans metrics/sliced_wasserstein.py: 128 patches of 7x7 an \
                         image and level, each set standardized by itself, 4 x 128 directions, x 1000",
        outputs: &[output("swd-nvidia", Better::Lower)],
        least: 1,
        least_side: swd::LEAST_SIDE,
        compute: Compute::Images(|f, r, c| Ok(vec![swd(Variant::Nvidia, f, r, c)?])),
    },
    Metric {
        name: "swd-mmgen",
        about: "the same, MMGeneration's variant",
        implementation: "mmgen/core/evaluation: 128 patches of 7x7 an image and level, at most 4 levels, \
                         each set standardized by itself, 4 x 128 directions, x 1000",
        outputs: &[output("swd-mmgen", Better::Lower)],
        least: 1,
        least_side: swd::LEAST_SIDE,
        compute: Compute::Images(|f, r, c| Ok(vec![swd(Variant::Mmgen, f, r, c)?])),
    },
    Metric {
        name: "swd-raw",
        about: "the same as NVIDIA's, but also of contrast and brightness",
        implementation: "as swd-nvidia, but both sets standardized by the real set's statistics",
        outputs: &[output("swd-raw", Better::Lower)],
        least: 1,
        least_side: swd::LEAST_SIDE,
        compute: Compute::Images(|f, r, c| Ok(vec![swd(Variant::Raw, f, r, c)?])),
    },
    Metric {
        name: "ms-ssim",
        about: "how alike generated images are to one another; the floor is the real images' value",
        implementation: "progressive_growing_of_gans metrics/ms_ssim.py: mean over the pairs 2i, 2i + 1",
        outputs: &[output("ms-ssim", Better::Real)],
        least: 2,
        least_side: 1,
        compute: Compute::Images(|f, _, c| Ok(vec![ms_ssim(f, c)?])),
    },
    Metric {
        name: "prdc-pixels",
        about: "precision and recall, density and coverage by thumbnails",
        implementation: "thumbnails of 8x8 means of pixels; precision and recall of arXiv 1904.06991, k = \
                         3, <=; density and coverage of arXiv 2002.09797, k = 5, <",
        outputs: &[
            output("precision-pixels", Better::Higher),
            output("recall-pixels", Better::Higher),
            output("density-pixels", Better::Higher),
            output("coverage-pixels", Better::Higher),
        ],
        least: DENSITY_K + 1,
        least_side: 1,
        compute: Compute::Images(|f, r, _| prdc(&thumbnails(f, SIDE)?, &thumbnails(r, SIDE)?)),
    },
    Metric {
        name: "1-nn",
        about: "accuracy of a nearest-neighbor classifier of real against generated",
        implementation: "leave-one-out by thumbnails of 8x8 means of pixels, ties 1/2 (arXiv 1610.06545)",
        outputs: &[
            output("1-nn", Better::Near(0.5)),
            output("1-nn-real", Better::Near(0.5)),
            output("1-nn-fake", Better::Near(0.5)),
        ],
        least: 2,
        least_side: 1,
        compute: Compute::Images(|f, r, _| {
            let found = two_sample(&thumbnails(f, SIDE)?, &thumbnails(r, SIDE)?);
            Ok([found.accuracy(), found.reals, found.fakes].map(Measured::of).to_vec())
        }),
    },
    Metric {
        name: "duplicates",
        about: "share of generated images with a near duplicate; 0.01 of real ones have one",
        implementation: "thumbnails of 8x8 means of pixels; nearer than 1 % of the real images are to \
                         another (after arXiv 1706.08224)",
        outputs: &[output("duplicates", Better::Lower)],
        least: 2,
        least_side: 1,
        compute: Compute::Images(|f, r, _| {
            let share = duplicates::duplicates(&thumbnails(f, SIDE)?, &thumbnails(r, SIDE)?);
            Ok(vec![Measured::of(share)])
        }),
    },
    Metric {
        name: "spectrum",
        about: "distance of mean power spectra, in decibels",
        implementation: "azimuthal means of |DFT|^2 of each channel, mean of |10 log10| over radii 1 to \
                         half the shorter side",
        outputs: &[output("spectrum", Better::Lower)],
        least: 1,
        least_side: spectrum::LEAST_SIDE,
        compute: Compute::Images(|f, r, c| Ok(vec![spectrum::spectrum(f, r, c)?])),
    },
    Metric {
        name: "colors",
        about: "earth mover's distance of color histograms, in levels of 0 to 255",
        implementation: "histograms of 256 levels of each channel, mean over channels",
        outputs: &[output("colors", Better::Lower)],
        least: 1,
        least_side: 1,
        compute: Compute::Images(|f, r, c| Ok(vec![colors::colors(f, r, c)?])),
    },
    Metric {
        name: "memorization",
        about: "share of samples that are nearer to training images than held-out images are",
        implementation: "thumbnails of 16x16 means of pixels; Mann and Whitney's U (arXiv 2004.05675); \
                         copies: nearest of as many training as held-out images",
        outputs: &[output("memorization", Better::Near(0.5)), output("copies", Better::Near(0.5))],
        least: 1,
        least_side: 1,
        compute: Compute::Seen(|fakes, seen, _| {
            let found = memorization(fakes, seen);
            Ok([found.nearer, found.copies].map(Measured::of).to_vec())
        }),
    },
    Metric {
        name: "class-accuracy",
        about: "share of images that a classifier takes for the class they were drawn in",
        implementation: "class with the largest logit",
        outputs: &[output("class-accuracy", Better::Higher)],
        least: 1,
        least_side: 1,
        compute: Compute::Classes(
            |sets, context| {
                let measured = sets.fakes.measured(sets.names);
                Ok(vec![measured.ok_or_else(|| Error::metric(context.metric, UNLABELED))?])
            },
            true,
        ),
    },
    Metric {
        name: "class-is",
        about: "Inception score by that classifier: its number of classes at best",
        implementation: "softmax of logits, mean of 10 parts (arXiv 1606.03498)",
        outputs: &[output("class-is", Better::Higher)],
        least: inception_score::SPLITS,
        least_side: 1,
        compute: Compute::Classes(
            |sets, _| {
                let logits = &sets.fakes.logits;
                let spread =
                    inception_score(logits, inception_score::SPLITS, inception_score::SEED)?;
                Ok(vec![Measured { std: Some(spread.deviation), ..Measured::of(spread.mean) }])
            },
            false,
        ),
    },
    Metric {
        name: "fid",
        about: "Fréchet distance of a network's features: FID by Inception-v3, FD by others",
        implementation: "Gaussians of features in 64 bits, covariances by N - 1 (arXiv 1706.08500)",
        outputs: &[output("fid", Better::Lower)],
        least: 2,
        least_side: 1,
        compute: Compute::Network(|sets, _| {
            let distance = frechet_distance(sets.fakes.features, sets.reals.features)?;
            Ok(vec![Measured::of(distance)])
        }),
    },
    Metric {
        name: "kid",
        about: "kernel distance of a network's features: KID by Inception-v3",
        implementation: "(x.y / width + 1)^3, unbiased, mean of 100 subsets of 1,000 images, or of all if there \
                         are fewer (arXiv 1801.01401, torch-fidelity)",
        outputs: &[output("kid", Better::Lower)],
        least: 2,
        least_side: 1,
        compute: Compute::Network(|sets, _| {
            let [fakes, reals] = [sets.fakes.features, sets.reals.features];
            let usual = Subsets::default();
            let size = usual.size.min(fakes.count()).min(reals.count());
            // All subsets of all images are the same one.
            let is_all = size == fakes.count() && size == reals.count();
            let count = if is_all { 1 } else { usual.count };
            let spread = kernel_distance(fakes, reals, &Subsets { size, count, ..usual })?;
            let std = Some(spread.deviation).filter(|_| !is_all);
            Ok(vec![Measured { std, ..Measured::of(spread.mean) }])
        }),
    },
    Metric {
        name: "is",
        about: "Inception score, by the network's classes; the floor is the real images' score",
        implementation: "softmax of logits without bias, mean of 10 parts (arXiv 1606.03498, torch-fidelity)",
        outputs: &[output("is", Better::Higher)],
        least: inception_score::SPLITS,
        least_side: 1,
        compute: Compute::Network(|sets, context| {
            let Some(logits) = sets.fakes.logits else {
                return Err(Error::metric(context.metric, "the network has no classes"));
            };
            let spread = inception_score(logits, inception_score::SPLITS, inception_score::SEED)?;
            Ok(vec![Measured { std: Some(spread.deviation), ..Measured::of(spread.mean) }])
        }),
    },
    Metric {
        name: "prdc",
        about: "precision and recall, density and coverage by a network's features",
        implementation: "precision and recall of arXiv 1904.06991, k = 3, <=; density and coverage of arXiv \
                         2002.09797, k = 5, <",
        outputs: &[
            output("precision", Better::Higher),
            output("recall", Better::Higher),
            output("density", Better::Higher),
            output("coverage", Better::Higher),
        ],
        least: DENSITY_K + 1,
        least_side: 1,
        compute: Compute::Network(|sets, _| prdc(sets.fakes.features, sets.reals.features)),
    },
];

/// Precision, recall, density and coverage.
fn prdc(fakes: &Features, reals: &Features) -> Result<Vec<Measured>> {
    let by_three = precision_recall(fakes, reals, PRECISION_K)?;
    let by_five = density_coverage(fakes, reals, DENSITY_K)?;
    let all = [by_three.precision, by_three.recall, by_five.density, by_five.coverage];
    Ok(all.map(Measured::of).to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_is_found_by_its_name_whatever_the_network() {
        let found = |name| of_score(name).map(|(metric, place)| (metric.name, place));
        assert_eq!(found("coverage-pixels"), Some(("prdc-pixels", 3)));
        assert_eq!(found("fid"), Some(("fid", 0)));
        assert_eq!(found("fd-efficientnet-lite0"), Some(("fid", 0)));
        assert_eq!(found("recall-efficientnet-lite0"), Some(("prdc", 1)));
        for other in ["prdc-pixels", "loss_d", "colors-efficientnet-lite0", "fd-", ""] {
            assert_eq!(found(other), None, "{other}");
        }
    }
}
