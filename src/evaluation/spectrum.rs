//! The distance of mean power spectra: what a generator's up-sampling adds or lacks at each frequency
//! (Durall et al., arXiv 2003.01826; Dzanic et al., arXiv 1911.06465).
//!
//! ```text
//! P(u, v) = |Σ x(i, j) exp(−2πi (ui/H + vj/W))|² / (H W)     channel by channel, mean over channels
//! S(r)    = mean of P over frequencies with round(√((u/H)² + (v/W)²) · min(H, W)) = r, and over images
//! spectrum = mean over r = 1 … min(H, W)/2 of |10 log₁₀((S_f(r) + ε) / (S_r(r) + ε))|        decibels
//! ```
//!
//! Frequencies are signed, from −½ to ½ of the sampling rate. ε = 1/12 is the power of rounding to bytes,
//! the same at all frequencies: what is below it cannot be seen in bytes. The transform is a product with
//! matrices of cosines and sines, which is fast enough for images of this size.

use std::f64::consts::TAU;

use rayon::prelude::*;

use super::ImageSet;
use super::metric::{Context, Measured};
use crate::error::{Error, Result};
use crate::gemm::{Matrix, gemm};

/// The power of rounding to whole numbers.
const ROUNDING: f64 = 1.0 / 12.0;

/// The least rows and columns of an image.
pub const LEAST_SIDE: usize = 2;

/// Images whose powers are added up at a time.
const CHUNK: usize = 64;

/// The distance between the mean spectra of two sets, in decibels.
///
/// # Errors
/// [`Error::Metric`] if a side has less than two pixels.
pub fn spectrum(fakes: &ImageSet, reals: &ImageSet, context: &Context<'_>) -> Result<Measured> {
    let [height, width, _] = reals.size;
    if height.min(width) < LEAST_SIDE {
        let what = format!(
            "images of {width}x{height} pixels have no frequencies; both sides must be {LEAST_SIDE} or more"
        );
        return Err(Error::metric(context.metric, what));
    }
    let [a, b] = [fakes, reals].map(|images| radial(images, context));
    let decibels = |(a, b): (&f64, &f64)| 10.0 * ((a + ROUNDING) / (b + ROUNDING)).log10().abs();
    let each: Vec<f64> = a.iter().zip(&b).skip(1).map(decibels).collect();
    Ok(Measured::of(each.iter().sum::<f64>() / each.len() as f64))
}

/// The mean power at each radius from 0 to half the shorter side.
fn radial(images: &ImageSet, context: &Context<'_>) -> Vec<f64> {
    let [height, width, channels] = images.size;
    // The spectrum of real numbers is symmetric: half of the columns tells all.
    let half = width / 2 + 1;
    let rows = waves(height, height);
    let columns = waves(width, half);
    let items: Vec<usize> = (0..images.count()).collect();
    let of_some = |items: &[usize]| {
        let (mut scratch, mut sums) = (Scratch::default(), vec![0.0_f64; height * half]);
        for &i in items {
            for channel in 0..channels {
                let bytes = images.image(i).iter().skip(channel).step_by(channels);
                scratch.plane.clear();
                scratch.plane.extend(bytes.map(|&byte| f32::from(byte)));
                scratch.power([height, width], half, &rows, &columns, &mut sums);
            }
        }
        context.done(items.len() as f64);
        sums
    };
    // In a fixed order, so that a number is the same each time.
    let each: Vec<Vec<f64>> = items.par_chunks(CHUNK).map(of_some).collect();
    let mut sums = vec![0.0; height * half];
    for some in &each {
        sums.iter_mut().zip(some).for_each(|(sum, x)| *sum += x);
    }
    let shorter = height.min(width);
    let (mut powers, mut counts) = (vec![0.0; shorter / 2 + 1], vec![0.0; shorter / 2 + 1]);
    for (u, line) in sums.chunks(half).enumerate() {
        for (v, power) in line.iter().enumerate() {
            let rate = |i: usize, n: usize| i.min(n - i) as f64 / n as f64;
            let radius = rate(u, height).hypot(rate(v, width)) * shorter as f64;
            // Both halves of the spectrum.
            let times = if v == 0 || 2 * v == width { 1.0 } else { 2.0 };
            if let Some(sum) = powers.get_mut(radius.round() as usize) {
                *sum += times * power;
                counts[radius.round() as usize] += times;
            }
        }
    }
    let scale = (height * width * channels * images.count()) as f64;
    powers.iter().zip(&counts).map(|(power, count)| power / (count * scale)).collect()
}

/// Cosines and sines, `[n, frequencies]` each: of element `i` and frequency `k` those of `2π ik/n`.
fn waves(n: usize, frequencies: usize) -> [Vec<f32>; 2] {
    let of = |wave: fn(f64) -> f64| {
        let angle = |i: usize| (0..frequencies).map(move |k| TAU * ((i * k) % n) as f64 / n as f64);
        (0..n).flat_map(|i| angle(i).map(wave)).map(|x| x as f32).collect()
    };
    [of(|angle: f64| angle.cos()), of(|angle: f64| angle.sin())]
}

/// Buffers of a transform.
#[derive(Default)]
struct Scratch {
    plane: Vec<f32>,
    /// The plane times cosines, and times sines, of its rows.
    lines: [Vec<f32>; 2],
    parts: [Vec<f32>; 2],
}

impl Scratch {
    /// Adds the power of the plane's frequencies, `[height, half]`.
    fn power(
        &mut self,
        [height, width]: [usize; 2],
        half: usize,
        rows: &[Vec<f32>; 2],
        columns: &[Vec<f32>; 2],
        sums: &mut [f64],
    ) {
        // The mean is far larger than all else and would cost digits.
        let mean = self.plane.iter().map(|&x| f64::from(x)).sum::<f64>() / self.plane.len() as f64;
        self.plane.iter_mut().for_each(|x| *x -= mean as f32);
        for (line, wave) in self.lines.iter_mut().zip(columns) {
            line.resize(height * half, 0.0);
            let plane = Matrix::new(&self.plane, height, width, false);
            gemm(plane, Matrix::new(wave, width, half, false), line, false, false);
        }
        // (C − iS)(c − is) = (Cc − Ss) − i(Cs + Sc), of which the power adds up both squares.
        let [cosines, sines] = rows.each_ref().map(|wave| Matrix::new(wave, height, height, true));
        let [by_cosine, by_sine] = self.lines.each_mut().map(|line| line.as_mut_slice());
        for part in &mut self.parts {
            part.resize(height * half, 0.0);
        }
        let [real, imaginary] = &mut self.parts;
        gemm(cosines, Matrix::new(by_sine, height, half, false), imaginary, false, false);
        gemm(sines, Matrix::new(by_cosine, height, half, false), imaginary, true, false);
        by_sine.iter_mut().for_each(|x| *x = -*x);
        gemm(cosines, Matrix::new(by_cosine, height, half, false), real, false, false);
        gemm(sines, Matrix::new(by_sine, height, half, false), real, true, false);
        for ((sum, &re), &im) in sums.iter_mut().zip(real.iter()).zip(imaginary.iter()) {
            *sum += f64::from(re).powi(2) + f64::from(im).powi(2);
        }
    }
}
