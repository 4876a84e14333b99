//! Initialization of convolution weights.

use serde::{Deserialize, Serialize};

use super::{Init, Layout};

/// The initial distribution of a convolution's weights.
///
/// `fan_in` and `fan_out` are counted as in PyTorch: for weights `[a, b, kh, kw]` in a file they
/// are `b·kh·kw` and `a·kh·kw`, also for a transposed convolution.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum WeightInit {
    /// Normal with mean 0.
    Normal {
        /// Standard deviation.
        std: f32,
    },
    /// Mean 0 and variance `2 gain² / (fan_in + fan_out)` (Glorot and Bengio, 2010).
    Xavier {
        /// 1 for layers followed by tanh or no activation, √2 for those followed by ReLU.
        gain: f32,
        /// Uniform rather than normal.
        uniform: bool,
    },
    /// Mean 0 and variance `gain² / fan_in` (He, Zhang, Ren and Sun, arXiv 1502.01852).
    He {
        /// √2 for layers followed by ReLU; if uniform, 1/√3 is PyTorch's default.
        gain: f32,
        /// Uniform rather than normal.
        uniform: bool,
    },
    /// Orthogonal rows or columns of length `gain` (Saxe, McClelland and Ganguli, arXiv 1312.6120),
    /// as in BigGAN: also for layers built from Rust.
    Orthogonal {
        /// Their length.
        gain: f32,
    },
}

impl Default for WeightInit {
    /// DCGAN's: N(0, 0.02²).
    fn default() -> Self {
        Self::Normal { std: 0.02 }
    }
}

impl WeightInit {
    /// Whether it is the default, which a description may omit.
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// The initialization of weights of `shape` `[kh, kw, large, small]`.
    pub(super) fn init(self, shape: [usize; 4], layout: Layout) -> Init {
        let std = self.std(shape, layout);
        match self {
            Self::Orthogonal { gain } => Init::Orthogonal { gain },
            Self::Xavier { uniform: true, .. } | Self::He { uniform: true, .. } => {
                let high = 3.0_f32.sqrt() * std;
                Init::Uniform { low: -high, high }
            }
            _ => Init::Normal { mean: 0.0, std },
        }
    }

    /// The standard deviation of the weights.
    pub(super) fn std(self, [kh, kw, large, small]: [usize; 4], layout: Layout) -> f32 {
        let wide = (kh * kw * large) as f32;
        let (fan_in, fan_out) = match layout {
            Layout::Project => (small as f32, wide),
            Layout::Flatten => (wide, small as f32),
            _ => (wide, (kh * kw * small) as f32),
        };
        match self {
            Self::Normal { std } => std,
            Self::Xavier { gain, .. } => gain * (2.0 / (fan_in + fan_out)).sqrt(),
            Self::He { gain, .. } => gain / fan_in.sqrt(),
            Self::Orthogonal { gain } => gain / wide.max(small as f32).sqrt(),
        }
    }
}

/// Turns the random matrix `numbers`, with rows of `columns`, into one with orthogonal columns of
/// length `gain`, or rows if there are fewer: Gram-Schmidt, each vector twice, as once leaves
/// rounding errors that grow with their number.
pub(super) fn orthogonalise(numbers: &mut [f32], columns: usize, gain: f32) {
    let rows = numbers.len() / columns.max(1);
    let count = rows.min(columns);
    let length = rows.max(columns);
    let at = |vector: usize, i: usize| {
        if columns <= rows { i * columns + vector } else { vector * columns + i }
    };
    let mut done: Vec<Vec<f64>> = Vec::with_capacity(count);
    for vector in 0..count {
        let mut v: Vec<f64> = (0..length).map(|i| f64::from(numbers[at(vector, i)])).collect();
        for _ in 0..2 {
            for before in &done {
                let along: f64 = before.iter().zip(&v).map(|(a, b)| a * b).sum();
                v.iter_mut().zip(before).for_each(|(v, before)| *v -= along * before);
            }
        }
        let norm = v.iter().map(|x| x * x).sum::<f64>().sqrt();
        v.iter_mut().for_each(|x| *x /= norm);
        for (i, x) in v.iter().enumerate() {
            numbers[at(vector, i)] = (f64::from(gain) * x) as f32;
        }
        done.push(v);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::Param;

    fn numbers(start: WeightInit, shape: [usize; 4], layout: Layout) -> Vec<f64> {
        let init = start.init(shape, layout);
        let name = String::from("w");
        let shape = shape.to_vec();
        let param = Param { name, shape, init, learned: true, averaged: true, layout };
        param.initial(3).f32s().iter().map(|&x| f64::from(x)).collect()
    }

    #[test]
    fn the_variance_is_what_the_formula_says() {
        let shape = [3, 3, 40, 30];
        for uniform in [false, true] {
            let cases = [
                (WeightInit::Xavier { gain: 2.0, uniform }, Layout::Conv, 8.0 / 630.0),
                (WeightInit::Xavier { gain: 1.0, uniform }, Layout::Project, 2.0 / 390.0),
                (WeightInit::He { gain: 1.5, uniform }, Layout::Conv, 2.25 / 360.0),
                (WeightInit::He { gain: 1.0, uniform }, Layout::Flatten, 1.0 / 360.0),
                (WeightInit::He { gain: 1.0, uniform }, Layout::Project, 1.0 / 30.0),
                (WeightInit::default(), Layout::Conv, 4e-4),
            ];
            for (start, layout, variance) in cases {
                let numbers = numbers(start, shape, layout);
                let n = numbers.len() as f64;
                let mean = numbers.iter().sum::<f64>() / n;
                let found = numbers.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
                assert!((found / variance - 1.0).abs() < 0.05, "{start:?} {layout:?}: {found}");
                assert!(mean.abs() < 0.05 * variance.sqrt(), "{start:?}: {mean}");
                let largest = numbers.iter().fold(0.0_f64, |m, x| m.max(x.abs()));
                let bounded = largest < 1.74 * variance.sqrt();
                assert_eq!(
                    bounded,
                    uniform && start != WeightInit::default(),
                    "{start:?}: {largest}"
                );
            }
        }
    }

    #[test]
    fn orthogonal_weights_are() {
        for (shape, across) in [([2, 2, 3, 5], true), ([1, 1, 4, 9], false), ([1, 1, 6, 6], true)] {
            let w = numbers(WeightInit::Orthogonal { gain: 1.5 }, shape, Layout::Conv);
            let columns = shape[3];
            let rows = w.len() / columns;
            let count = rows.min(columns);
            for i in 0..count {
                for j in 0..count {
                    let dot: f64 = if across {
                        (0..rows).map(|r| w[r * columns + i] * w[r * columns + j]).sum()
                    } else {
                        (0..columns).map(|c| w[i * columns + c] * w[j * columns + c]).sum()
                    };
                    let want = if i == j { 2.25 } else { 0.0 };
                    assert!((dot - want).abs() < 1e-5, "{shape:?} {i} {j}: {dot}");
                }
            }
        }
    }
}
