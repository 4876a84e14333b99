//! The sliced Wasserstein distance of patches (Karras et al., arXiv 1710.10196), of which two variants
//! that differ by far are in use.
//!
//! ```text
//! level l of an image's Laplacian pyramid → 128 patches of 7 × 7 × C at random places → standardized by
//! channel → projected on 4 × 128 random unit directions → sorted for each direction: a of the generated,
//! b of the real images
//! SWD(l) = 10³ · mean over directions of mean |a − b|;  SWD = mean over levels
//! ```
//!
//! | | input | levels | borders and enlarging | standardized by |
//! | --- | --- | --- | --- | --- |
//! | `swd-nvidia` | 0 to 255 | down to 16 pixels | mirrored; zeros inserted, 4 × kernel | each set's own mean and deviation |
//! | `swd-mmgen` | −1 to 1 | at most 4 | zeros; pixels repeated | each set's own, unbiased |
//! | `swd-raw` | as NVIDIA's | as NVIDIA's | as NVIDIA's | the real set's, both sets |
//!
//! NVIDIA's is `metrics/sliced_wasserstein.py` of progressive_growing_of_gans, and the other
//! `mmgen/core/evaluation` of OpenMMLab's MMGeneration: published values hold for one of them only.
//! As each set is standardized by itself, NVIDIA's does not see any change a·x + b of a channel, such as
//! faded contrast. The third variant does. None of them sees much of a collapse to some dozens of images.
//!
//! Places and directions are functions of the seed, the level and the image's index, the same for both
//! sets, so equal sets are at distance 0.

use rayon::prelude::*;

use super::ImageSet;
use super::metric::{Context, Measured};
use super::pyramid::{Kind, Level, Pyramid, sizes};
use crate::device::host::afford;
use crate::error::{Error, Result};
use crate::gemm::{Matrix, gemm};
use crate::rng::Stream;

/// Rows and columns of a patch.
const PATCH: usize = 7;
/// Patches of an image.
const PATCHES: usize = 128;
/// Directions drawn at a time, and how often.
const DIRECTIONS: usize = 128;
/// The rows and columns of the coarsest level of a square image, and the least that an image may have.
pub const LEAST_SIDE: usize = 16;
const REPEATS: usize = 4;
/// Directions that patches are projected on at a time.
const SLICE: usize = 32;

/// A variant of the distance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// NVIDIA's.
    Nvidia,
    /// MMGeneration's.
    Mmgen,
    /// NVIDIA's with both sets standardized by the real set's statistics.
    Raw,
}

impl Variant {
    fn kind(self) -> Kind {
        if self == Self::Mmgen { Kind::Zero } else { Kind::Mirror }
    }

    /// A byte as an input.
    fn input(self, byte: u8) -> f32 {
        if self == Self::Mmgen { f32::from(byte) / 127.5 - 1.0 } else { f32::from(byte) }
    }
}

/// The distance between sets of the same number of images; its parts are the levels, by their pixels.
///
/// # Errors
/// [`Error::Metric`] if images have a side of less than 16 pixels; [`Error::Memory`].
pub fn swd(
    variant: Variant,
    fakes: &ImageSet,
    reals: &ImageSet,
    context: &Context<'_>,
) -> Result<Measured> {
    let [height, width, channels] = reals.size;
    let most = if variant == Variant::Mmgen { 4 } else { usize::MAX };
    let sizes = sizes(height, width, most);
    if sizes.is_empty() {
        let what = format!(
            "images of {width}x{height} pixels have no level of {LEAST_SIDE}x{LEAST_SIDE}; both sides must be {LEAST_SIDE} or \
             more"
        );
        return Err(Error::metric(context.metric, what));
    }
    let count = fakes.count().min(reals.count());
    let length = PATCH * PATCH * channels;
    let bytes = 8 * (count * PATCHES * (length + SLICE)) as u64;
    afford(bytes, &format!("the patches of {count} images for the metric {}", context.metric))?;
    let mut parts = Vec::new();
    for level in 0..sizes.len() {
        let pyramid = Pyramid::to(variant.kind(), &sizes, level);
        let [mut a, mut b] = [fakes, reals].map(|images| {
            let patches = patches(variant, images, count, &pyramid, level, context.seed);
            context.done(count as f64 / sizes.len() as f64 / 2.0);
            patches
        });
        let (own, real) =
            (Statistics::of(variant, &a, channels), Statistics::of(variant, &b, channels));
        let own = if variant == Variant::Raw { &real } else { &own };
        own.standardize(&mut a);
        real.standardize(&mut b);
        let mut sum = 0.0;
        for repeat in 0..REPEATS {
            let directions = directions(length, (level * REPEATS + repeat) as u32, context.seed);
            sum += sliced(&a, &b, &directions, length);
            context.done(count as f64 / (sizes.len() * REPEATS) as f64);
        }
        let [h, w] = sizes[level];
        let name = if h == w { format!("{w}") } else { format!("{w}x{h}") };
        parts.push((name, 1e3 * sum / REPEATS as f64));
    }
    let value = parts.iter().map(|(_, value)| value).sum::<f64>() / parts.len() as f64;
    Ok(Measured { value, std: None, parts })
}

/// The patches of a level of each image, `[count, 7 · 7 · C, 128]`: those of an image side by side, as a
/// matrix product reads them.
fn patches(
    variant: Variant,
    images: &ImageSet,
    count: usize,
    pyramid: &Pyramid,
    level: usize,
    seed: u64,
) -> Vec<f32> {
    let channels = images.size[2];
    let length = PATCH * PATCH * channels;
    let places = Stream::new(seed, "swd patches", level as u32);
    let mut patches = vec![0.0; count * PATCHES * length];
    patches.par_chunks_mut(PATCHES * length).enumerate().for_each(|(i, patches)| {
        let bytes = images.image(i).iter();
        let image =
            Level { size: images.size, values: bytes.map(|&byte| variant.input(byte)).collect() };
        let Level { size: [height, width, _], values } = pyramid.level(image);
        for p in 0..PATCHES {
            let bits = places.block((i * PATCHES + p) as u64);
            let (y, x) = (below(bits[0], height - PATCH + 1), below(bits[1], width - PATCH + 1));
            for row in 0..PATCH {
                let line = &values[((y + row) * width + x) * channels..][..PATCH * channels];
                let places = patches[row * PATCH * channels * PATCHES + p..].iter_mut();
                places.step_by(PATCHES).zip(line).for_each(|(place, &x)| *place = x);
            }
        }
    });
    patches
}

/// A whole number below `bound` from 32 random bits.
fn below(bits: u32, bound: usize) -> usize {
    ((u64::from(bits) * bound as u64) >> 32) as usize
}

/// Random unit vectors, `[128, length]`.
fn directions(length: usize, index: u32, seed: u64) -> Vec<f32> {
    let mut directions = vec![0.0_f32; DIRECTIONS * length];
    Stream::new(seed, "swd directions", index).fill_normal(&mut directions);
    for direction in directions.chunks_mut(length) {
        let norm = direction.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
        direction.iter_mut().for_each(|x| *x = (f64::from(*x) / norm) as f32);
    }
    directions
}

/// Mean and deviation of each channel over all patches of a set.
struct Statistics(Vec<(f32, f32)>);

impl Statistics {
    fn of(variant: Variant, patches: &[f32], channels: usize) -> Self {
        let of_image = |patches: &[f32]| {
            let mut sums = vec![(0.0_f64, 0.0_f64); channels];
            for (i, row) in patches.chunks(PATCHES).enumerate() {
                let sum = &mut sums[i % channels];
                for &x in row {
                    sum.0 += f64::from(x);
                    sum.1 += f64::from(x) * f64::from(x);
                }
            }
            sums
        };
        // In a fixed order, so that a number is the same each time.
        let each: Vec<_> =
            patches.par_chunks(PATCH * PATCH * channels * PATCHES).map(of_image).collect();
        let mut sums = vec![(0.0, 0.0); channels];
        for of_image in &each {
            for (sum, x) in sums.iter_mut().zip(of_image) {
                *sum = (sum.0 + x.0, sum.1 + x.1);
            }
        }
        let n = (patches.len() / channels) as f64;
        let unbiased = if variant == Variant::Mmgen { n - 1.0 } else { n };
        let each = sums.into_iter().map(|(sum, squares)| {
            let mean = sum / n;
            let deviation = ((squares - n * mean * mean).max(0.0) / unbiased).sqrt();
            (mean as f32, deviation as f32)
        });
        Self(each.collect())
    }

    fn standardize(&self, patches: &mut [f32]) {
        patches.par_chunks_mut(PATCHES).enumerate().for_each(|(i, row)| {
            let (mean, deviation) = self.0[i % self.0.len()];
            // A channel without any variation has no scale, and differs from another by its mean.
            let deviation = if deviation > 0.0 { deviation } else { 1.0 };
            row.iter_mut().for_each(|x| *x = (*x - mean) / deviation);
        });
    }
}

/// Mean over directions of the distance of the sorted projections.
fn sliced(a: &[f32], b: &[f32], directions: &[f32], length: usize) -> f64 {
    let mut sum = 0.0;
    for directions in directions.chunks(SLICE * length) {
        let rows = directions.len() / length;
        // Image by image, all directions of its patches: [count, rows, 128].
        let [a, b] = [a, b].map(|patches| {
            let mut projected = vec![0.0; rows * patches.len() / length];
            let each = projected.par_chunks_mut(rows * PATCHES);
            each.zip(patches.par_chunks(length * PATCHES)).for_each(|(projected, patches)| {
                let left = Matrix::new(directions, rows, length, false);
                let right = Matrix::new(patches, length, PATCHES, false);
                gemm(left, right, projected, false, false);
            });
            projected
        });
        let sorted = |projected: &[f32], direction: usize| {
            let mut own = Vec::with_capacity(projected.len() / rows);
            for image in projected.chunks(rows * PATCHES) {
                own.extend_from_slice(&image[direction * PATCHES..][..PATCHES]);
            }
            radsort::sort(&mut own);
            own
        };
        let apart = |direction: usize| {
            let (a, b) = (sorted(&a, direction), sorted(&b, direction));
            let distances = a.iter().zip(&b).map(|(a, b)| f64::from((a - b).abs()));
            distances.sum::<f64>() / a.len() as f64
        };
        // In a fixed order, so that a number is the same each time.
        let each: Vec<f64> = (0..rows).into_par_iter().map(apart).collect();
        sum += each.iter().sum::<f64>();
    }
    sum / (directions.len() / length) as f64
}
