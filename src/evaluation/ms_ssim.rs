//! How alike images of one set are: multi-scale structural similarity of random pairs (Wang et al. 2003;
//! as a measure of a generator's diversity Odena et al., arXiv 1610.09585).
//!
//! ```text
//! per scale, by a Gaussian window (valid): means μ, variances σ², covariance σ₁₂
//! cs   = mean (2 σ₁₂ + c₂) / (σ₁² + σ₂² + c₂)
//! ssim = mean (2 μ₁ μ₂ + c₁) (2 σ₁₂ + c₂) / ((μ₁² + μ₂² + c₁) (σ₁² + σ₂² + c₂))
//! MS-SSIM = Π over scales k < 5 of max(cs_k, 0)^w_k · max(ssim₅, 0)^w₅,  mean over the pairs (2i, 2i+1)
//! ```
//!
//! Bytes; c₁ = (.01 · 255)², c₂ = (.03 · 255)²; means over pixels and channels. The window has 11 × 11
//! pixels and σ 1.5, or shrinks with smaller images; scales halve by means of 2 × 2 pixels. As NVIDIA's
//! `metrics/ms_ssim.py`, which MMGeneration copied. Lower than the real images' own value means noise,
//! higher means less variety.

use rayon::prelude::*;

use super::ImageSet;
use super::metric::{Context, Measured};
use crate::error::Result;

const WEIGHTS: [f64; 5] = [0.0448, 0.2856, 0.3001, 0.2363, 0.1333];
const WINDOW: usize = 11;
const SIGMA: f64 = 1.5;
const C1: f64 = (0.01 * 255.0) * (0.01 * 255.0);
const C2: f64 = (0.03 * 255.0) * (0.03 * 255.0);

/// The mean similarity of the images 2i and 2i + 1, of two or more; its deviation over the pairs divided
/// by the square root of their number.
///
/// # Errors
/// Never.
pub fn ms_ssim(images: &ImageSet, context: &Context<'_>) -> Result<Measured> {
    let pairs = images.count() / 2;
    let each: Vec<f64> = (0..pairs)
        .into_par_iter()
        .map(|i| {
            let similarity = similarity(images.image(2 * i), images.image(2 * i + 1), images.size);
            context.done(2.0);
            similarity
        })
        .collect();
    let value = each.iter().sum::<f64>() / pairs as f64;
    let squares = each.iter().map(|x| (x - value).powi(2)).sum::<f64>();
    let std = (pairs > 1).then(|| (squares / (pairs - 1) as f64 / pairs as f64).sqrt());
    Ok(Measured { value, std, parts: Vec::new() })
}

/// One channel of an image.
#[derive(Clone)]
struct Plane {
    height: usize,
    width: usize,
    values: Vec<f64>,
}

impl Plane {
    /// Channel `channel` of `[height, width, channels]`.
    fn of(image: &[u8], [height, width, channels]: [usize; 3], channel: usize) -> Self {
        let values = image.iter().skip(channel).step_by(channels).map(|&x| x.into()).collect();
        Self { height, width, values }
    }

    /// Filtered by the window in both directions where it lies inside.
    fn filtered(&self, window: &[f64]) -> Self {
        let (height, width) = (self.height + 1 - window.len(), self.width + 1 - window.len());
        let mut values = vec![0.0; height * width];
        let mut line = vec![0.0; self.width];
        for (y, out) in values.chunks_mut(width).enumerate() {
            line.fill(0.0);
            for (k, weight) in window.iter().enumerate() {
                let row = &self.values[(y + k) * self.width..][..self.width];
                line.iter_mut().zip(row).for_each(|(sum, x)| *sum += weight * x);
            }
            for (k, weight) in window.iter().enumerate() {
                out.iter_mut().zip(&line[k..]).for_each(|(sum, x)| *sum += weight * x);
            }
        }
        Self { height, width, values }
    }

    fn times(&self, other: &Self) -> Self {
        let values = self.values.iter().zip(&other.values).map(|(a, b)| a * b).collect();
        Self { values, ..*self }
    }

    /// Means of 2 × 2 pixels; a last odd row or column counts twice.
    fn halved(&self) -> Self {
        let (height, width) = (self.height.div_ceil(2), self.width.div_ceil(2));
        let at = |y: usize, x: usize| {
            self.values[y.min(self.height - 1) * self.width + x.min(self.width - 1)]
        };
        let mean =
            |y: usize, x: usize| 0.25 * (at(y, x) + at(y, x + 1) + at(y + 1, x) + at(y + 1, x + 1));
        let values = (0..height).flat_map(|y| (0..width).map(move |x| mean(2 * y, 2 * x)));
        Self { height, width, values: values.collect() }
    }
}

/// The window for images of this size: one factor of it, as it is separable.
fn window(height: usize, width: usize) -> Vec<f64> {
    let size = WINDOW.min(height).min(width);
    let sigma = SIGMA * size as f64 / WINDOW as f64;
    // Centered, so that even sizes have no pixel at the middle.
    let place = |i: usize| i as f64 - 0.5 * (size - 1) as f64;
    let weights: Vec<f64> = (0..size).map(|i| (-0.5 * (place(i) / sigma).powi(2)).exp()).collect();
    let sum: f64 = weights.iter().sum();
    weights.iter().map(|weight| weight / sum).collect()
}

/// The similarity of two images of a size.
fn similarity(a: &[u8], b: &[u8], size: [usize; 3]) -> f64 {
    let planes = |image| (0..size[2]).map(|channel| Plane::of(image, size, channel)).collect();
    let mut pair: [Vec<Plane>; 2] = [planes(a), planes(b)];
    let mut product = 1.0;
    for (scale, weight) in WEIGHTS.into_iter().enumerate() {
        if scale > 0 {
            pair.iter_mut().flatten().for_each(|plane| *plane = plane.halved());
        }
        let [a, b] = &pair;
        let [cs, ssim] = similarities(a, b);
        let last = scale + 1 == WEIGHTS.len();
        product *= (if last { ssim } else { cs }).max(0.0).powf(weight);
    }
    product
}

/// Means of cs and of ssim over pixels and channels.
fn similarities(a: &[Plane], b: &[Plane]) -> [f64; 2] {
    let window = window(a[0].height, a[0].width);
    let (mut sums, mut count) = ([0.0; 2], 0);
    for (a, b) in a.iter().zip(b) {
        let [mean_a, mean_b] = [a, b].map(|x| x.filtered(&window).values);
        let [aa, bb, ab] = [a.times(a), b.times(b), a.times(b)].map(|x| x.filtered(&window).values);
        count += mean_a.len();
        for i in 0..mean_a.len() {
            let (x, y) = (mean_a[i], mean_b[i]);
            let v1 = 2.0 * (ab[i] - x * y) + C2;
            let v2 = (aa[i] - x * x) + (bb[i] - y * y) + C2;
            sums[0] += v1 / v2;
            sums[1] += (2.0 * x * y + C1) * v1 / ((x * x + y * y + C1) * v2);
        }
    }
    sums.map(|sum| sum / count as f64)
}
