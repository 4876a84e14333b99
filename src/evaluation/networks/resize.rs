//! Images at the size and in the range that a network was trained with.
//!
//! Every kind of resizing is linear along each axis: a row of the output is a weighted sum of a few
//! rows of the input. The kinds differ in their weights, and distances of features by different
//! kinds cannot be compared.

use rayon::prelude::*;

/// How images are resized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum Resize {
    /// Bilinear as in TensorFlow 1, which FID was defined with, and as in torch-fidelity: output
    /// pixel `i` is at `i · in / out`, without antialiasing.
    #[cfg_attr(feature = "cli", value(name = "tf1"))]
    TensorFlow,
    /// Bilinear as in PyTorch and pytorch-fid: output pixel `i` is at `(i + ½) · in / out − ½`,
    /// without antialiasing.
    #[cfg_attr(feature = "cli", value(name = "pytorch"))]
    PyTorch,
    /// Bicubic with antialiasing as in Pillow, on floats, limited to 0 to 255: clean-fid.
    Clean,
}

impl Resize {
    /// Its name in protocols and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::TensorFlow => "tf1",
            Self::PyTorch => "pytorch",
            Self::Clean => "clean",
        }
    }

    /// For each of `to` pixels: the first of `from` pixels that it sums, and their weights.
    fn taps(self, from: usize, to: usize) -> Vec<(usize, Vec<f64>)> {
        let scale = from as f64 / to as f64;
        // Positions are rounded to 32 bits where the originals are.
        let between = |at: f32| {
            let low = (at as usize).min(from - 1);
            let part = f64::from(at - low as f32);
            match low + 1 < from {
                true => (low, vec![1.0 - part, part]),
                false => (low, vec![1.0]),
            }
        };
        let taps = |i: usize| match self {
            Self::TensorFlow => between(i as f32 * scale as f32),
            Self::PyTorch => between(((i as f32 + 0.5) * scale as f32 - 0.5).max(0.0)),
            Self::Clean => {
                // Wider where the image becomes smaller.
                let wide = scale.max(1.0);
                let (center, reach) = ((i as f64 + 0.5) * scale, 2.0 * wide);
                let first = (center - reach + 0.5).max(0.0) as usize;
                let end = ((center + reach + 0.5) as usize).min(from);
                let weight = |j| cubic((j as f64 - center + 0.5) / wide);
                let weights: Vec<f64> = (first..end).map(weight).collect();
                let sum: f64 = weights.iter().sum();
                (first, weights.into_iter().map(|weight| weight / sum).collect())
            }
        };
        (0..to).map(taps).collect()
    }

    /// An image `[height, width, channels]` as `[side, side, channels]`, of values from 0 to 255.
    #[must_use]
    pub fn apply(
        self,
        image: &[u8],
        [height, width, channels]: [usize; 3],
        side: usize,
    ) -> Vec<f32> {
        if [height, width] == [side, side] {
            return image.iter().map(|&x| f32::from(x)).collect();
        }
        // Across first, as Pillow, which rounds to 32 bits in between.
        let across = self.taps(width, side);
        let mut wide = vec![0.0_f32; height * side * channels];
        for (to, from) in wide.chunks_mut(side * channels).zip(image.chunks(width * channels)) {
            for (to, (first, weights)) in to.chunks_mut(channels).zip(&across) {
                for (c, to) in to.iter_mut().enumerate() {
                    let from = from[first * channels + c..].iter().step_by(channels);
                    let sum: f64 = weights.iter().zip(from).map(|(w, &x)| w * f64::from(x)).sum();
                    *to = sum as f32;
                }
            }
        }
        let line = side * channels;
        let mut resized = Vec::with_capacity(side * line);
        let mut sums = vec![0.0_f64; line];
        for (first, weights) in self.taps(height, side) {
            sums.fill(0.0);
            for (weight, row) in weights.iter().zip(wide[first * line..].chunks(line)) {
                sums.iter_mut().zip(row).for_each(|(sum, &x)| *sum += weight * f64::from(x));
            }
            resized.extend(sums.iter().map(|&sum| sum as f32));
        }
        if self == Self::Clean {
            resized.iter_mut().for_each(|x| *x = x.clamp(0.0, 255.0));
        }
        resized
    }
}

/// Keys' cubic with a = −½, as in Pillow.
fn cubic(x: f64) -> f64 {
    let x = x.abs();
    match x {
        _ if x < 1.0 => (1.5 * x - 2.5) * x * x + 1.0,
        _ if x < 2.0 => ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0,
        _ => 0.0,
    }
}

/// The range of a network's input: bytes `x` become `x · scale + shift`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Range {
    pub(super) scale: f32,
    pub(super) shift: f32,
}

/// Images of `[height, width, channels]`, with one channel or three, as `[side, side, 3]` in a
/// network's range, written to `out` one after another.
pub(super) fn prepare<'a>(
    images: impl IndexedParallelIterator<Item = &'a [u8]>,
    size: [usize; 3],
    (resize, side, range): (Resize, usize, Range),
    out: &mut [f32],
) {
    out.par_chunks_mut(side * side * 3).zip(images).for_each(|(out, image)| {
        let resized = resize.apply(image, size, side);
        for (out, pixel) in out.chunks_mut(3).zip(resized.chunks(size[2])) {
            // Gray is three equal channels.
            for (c, out) in out.iter_mut().enumerate() {
                *out = pixel[c.min(size[2] - 1)] * range.scale + range.shift;
            }
        }
    });
}
