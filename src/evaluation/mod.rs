//! Scores of a generator: what its images share with a set of real ones, and what they lack.
//!
//! Every score comes with its protocol, since numbers of different protocols cannot be compared, and with
//! its floor, the score of real images against other real ones: below that nothing can be claimed.
//!
//! | module | contents |
//! | --- | --- |
//! | [`mod@metric`] | all metrics, one row each; what they are computed from |
//! | [`report`] | scores with their floors and protocols: [`evaluate`]; by a thread aside: [`evaluate_aside`] |
//! | [`swd`] | sliced Wasserstein distance, three variants |
//! | [`ms_ssim`] | how alike images of a set are |
//! | [`prdc`] | precision and recall, density and coverage, of any features |
//! | [`two_sample`] | leave-one-out nearest-neighbor accuracy |
//! | [`memorization`] | nearness to training images, held against unseen ones |
//! | [`duplicates`], [`spectrum`], [`colors`] | near duplicates, power spectra, color histograms |
//! | [`mod@thumbnails`] | images as a few numbers |
//! | [`classes`] | predictions of a classifier of the set's classes |
//! | [`history`] | the scores of a run's checkpoints, in its folder |

mod aside;
pub mod classes;
pub mod colors;
pub mod duplicates;
pub mod history;
pub mod memorization;
pub mod metric;
pub mod ms_ssim;
pub mod prdc;
mod pyramid;
pub mod report;
pub mod spectrum;
pub mod swd;
pub mod thumbnails;
pub mod two_sample;

pub use aside::{OwnedSets, evaluate_aside};
pub use metric::{METRICS, Metric, metric};
pub use report::{Options, Reference, Score, Scores, Sets, evaluate, evaluate_sets};

use crate::error::{Error, Result};

pub mod frechet;
pub mod inception_score;
pub mod kid;
pub mod networks;

/// Images of one size, as bytes `[count, height, width, channels]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageSet {
    /// Height, width and channels of an image.
    pub size: [usize; 3],
    /// The images, one after another; 0 is black and 255 white.
    pub bytes: Vec<u8>,
}

impl ImageSet {
    /// # Errors
    /// If the bytes are not whole images.
    pub fn new(size: [usize; 3], bytes: Vec<u8>) -> Result<Self> {
        let length: usize = size.iter().product();
        match length > 0 && bytes.len().is_multiple_of(length) {
            true => Ok(Self { size, bytes }),
            false => {
                let what =
                    format!("{} bytes are no whole number of images of {size:?}", bytes.len());
                Err(Error::Tensor { name: "images".into(), what })
            }
        }
    }

    /// Number of images.
    #[must_use]
    pub fn count(&self) -> usize {
        self.bytes.len() / self.size.iter().product::<usize>()
    }

    /// Image `i`, `[height, width, channels]`.
    #[must_use]
    pub fn image(&self, i: usize) -> &[u8] {
        let length: usize = self.size.iter().product();
        &self.bytes[i * length..][..length]
    }

    /// The images of these indices, in this order.
    #[must_use]
    pub fn select(&self, items: &[u32]) -> Self {
        let bytes = items.iter().flat_map(|&i| self.image(i as usize)).copied().collect();
        Self { size: self.size, bytes }
    }
}

/// Features of images, `[count, width]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Features {
    /// Numbers for each image.
    pub width: usize,
    /// The rows, one after another.
    pub values: Vec<f32>,
}

impl Features {
    /// # Errors
    /// If the values are not whole rows.
    pub fn new(width: usize, values: Vec<f32>) -> Result<Self> {
        match width > 0 && values.len().is_multiple_of(width) {
            true => Ok(Self { width, values }),
            false => {
                let what =
                    format!("{} values are no whole number of rows of {width}", values.len());
                Err(Error::Tensor { name: "features".into(), what })
            }
        }
    }

    /// Number of images.
    #[must_use]
    pub fn count(&self) -> usize {
        self.values.len() / self.width
    }

    /// Refuses features of another width.
    ///
    /// # Errors
    /// [`Error::Metric`] of this name.
    pub(crate) fn check_width(&self, other: &Self, metric: &'static str) -> Result<()> {
        if self.width == other.width {
            return Ok(());
        }
        let [a, b] = [self.width, other.width];
        let what = format!("one set has {a} features an image, the other {b}");
        Err(Error::metric(metric, what))
    }

    /// The features of image `i`.
    #[must_use]
    pub fn row(&self, i: usize) -> &[f32] {
        &self.values[i * self.width..][..self.width]
    }

    /// The rows of these indices, in this order.
    #[must_use]
    pub fn select(&self, items: &[u32]) -> Self {
        let values = items.iter().flat_map(|&i| self.row(i as usize)).copied().collect();
        Self { width: self.width, values }
    }

    /// The first `count` rows, or all of fewer.
    #[must_use]
    pub fn first(&self, count: usize) -> Self {
        let values = self.values[..self.width * count.min(self.count())].to_vec();
        Self { width: self.width, values }
    }
}
