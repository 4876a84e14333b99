//! The values of tensors as a page stores them: in 32 bits, in 16 bits, or in 8 with scales.

use half::f16;
use serde::Serialize;

use crate::tensor::{Data, Tensor};

/// How weights are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum Encoding {
    /// As they are.
    F32,
    /// In 16-bit floats.
    #[default]
    F16,
    /// In 8-bit integers, with a scale for each index along one axis.
    I8,
}

/// Tensors with fewer values stay in 32 bits: scales and shifts of channels, which many pixels share.
const SMALL: usize = 2048;

/// Where the values of a tensor lie among a page's bytes, and what they mean.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Stored {
    name: String,
    /// The first byte.
    at: usize,
    /// Number of values.
    length: usize,
    encoding: &'static str,
    /// Of integers: the value of a one for each index along an axis.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    scales: Vec<f32>,
    /// Of integers: how many consecutive values have the same index along that axis.
    #[serde(skip_serializing_if = "Option::is_none")]
    inner: Option<usize>,
}

/// Tensors, one behind the other.
#[derive(Debug, Default)]
pub(super) struct Constants {
    pub(super) tensors: Vec<Stored>,
    pub(super) bytes: Vec<u8>,
}

impl Constants {
    /// Adds a tensor. One with values that 16 bits cannot hold is stored in 32.
    pub(super) fn add(&mut self, name: &str, tensor: &Tensor, encoding: Encoding) {
        // Readers make views of words.
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        let at = self.bytes.len();
        let mut stored = Stored {
            name: name.to_owned(),
            at,
            length: tensor.len(),
            encoding: "f32",
            scales: Vec::new(),
            inner: None,
        };
        let values = match tensor.data() {
            Data::F32(values) => values,
            Data::U32(_) | Data::U8(_) => {
                stored.encoding = "u32";
                self.bytes.extend_from_slice(tensor.bytes());
                return self.tensors.push(stored);
            }
        };
        match encoding {
            _ if values.len() < SMALL => self.bytes.extend_from_slice(tensor.bytes()),
            Encoding::F16 if values.iter().all(|&x| f16::from_f32(x).is_finite()) => {
                stored.encoding = "f16";
                self.bytes.extend(values.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()));
            }
            Encoding::F32 | Encoding::F16 => self.bytes.extend_from_slice(tensor.bytes()),
            Encoding::I8 => {
                let Integers { values, scales, inner } = Integers::of(values, tensor.shape());
                (stored.encoding, stored.scales, stored.inner) = ("i8", scales, Some(inner));
                self.bytes.extend(values.iter().map(|&x| x as u8));
            }
        }
        self.tensors.push(stored);
    }
}

/// Values as integers: `x ≈ scale · i` with |i| ≤ 127.
struct Integers {
    values: Vec<i8>,
    scales: Vec<f32>,
    inner: usize,
}

impl Integers {
    /// With scales along the axis that leaves the smallest squared error: of convolutions, that of the
    /// channels whose weights differ most.
    fn of(values: &[f32], shape: &[usize]) -> Self {
        let axes = (0..shape.len().max(1)).filter_map(|axis| {
            let count = shape.get(axis).copied().unwrap_or(1);
            // A scale takes four bytes: fewer than what it saves.
            (count * 16 <= values.len()).then(|| {
                let inner = shape.iter().skip(axis + 1).product::<usize>().max(1);
                Self::along(values, count, inner)
            })
        });
        let error = |own: &Self| {
            let pairs = values.iter().enumerate();
            pairs.map(|(i, x)| f64::from(x - own.value(i)).powi(2)).sum::<f64>()
        };
        axes.map(|own| (error(&own), own))
            .min_by(|a, b| a.0.total_cmp(&b.0))
            .map_or_else(|| Self::along(values, 1, values.len().max(1)), |(_, own)| own)
    }

    fn along(values: &[f32], count: usize, inner: usize) -> Self {
        let mut largest = vec![0.0_f32; count.max(1)];
        let index = |i: usize| i / inner % count.max(1);
        for (i, x) in values.iter().enumerate() {
            largest[index(i)] = largest[index(i)].max(x.abs());
        }
        let scales: Vec<f32> = largest.iter().map(|largest| largest / 127.0).collect();
        let integer = |(i, x): (usize, &f32)| match scales[index(i)] {
            0.0 => 0,
            scale => (x / scale).round() as i8,
        };
        Self { values: values.iter().enumerate().map(integer).collect(), scales, inner }
    }

    fn value(&self, i: usize) -> f32 {
        f32::from(self.values[i]) * self.scales[i / self.inner % self.scales.len()]
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn tensor() -> Tensor {
        // Each index along the middle axis has its own range.
        let values = (0..8 * 16 * 32).map(|i| {
            let range = [0.1, 7.0, 0.004, 1.0][i / 32 % 4];
            range * (i as f32 * 0.37).sin()
        });
        Tensor::new([8, 16, 32], values.collect()).unwrap()
    }

    #[test]
    fn integers_have_scales_along_the_axis_that_needs_them() {
        let tensor = tensor();
        let integers = Integers::of(tensor.f32s(), tensor.shape());
        assert_eq!((integers.scales.len(), integers.inner), (16, 32));
        for (i, x) in tensor.f32s().iter().enumerate() {
            let step = integers.scales[i / 32 % 16];
            assert!((x - integers.value(i)).abs() <= 0.501 * step, "{i}");
        }
        let zeros = Integers::of(&[0.0; 64], &[64]);
        assert!((0..64).all(|i| zeros.value(i) == 0.0));
    }

    #[test]
    fn small_tensors_and_values_out_of_range_keep_32_bits() {
        let mut constants = Constants::default();
        let small = Tensor::full([5], 0.3);
        let mut large = tensor().f32s().to_vec();
        large[7] = 1e6;
        let large = Tensor::new([8, 16, 32], large).unwrap();
        for (name, tensor) in [("small", &small), ("usual", &tensor()), ("large", &large)] {
            constants.add(name, tensor, Encoding::F16);
        }
        let found: Vec<_> = constants.tensors.iter().map(|t| (t.encoding, t.at)).collect();
        assert_eq!(found, [("f32", 0), ("f16", 20), ("f32", 20 + 2 * 4096)]);
        assert_eq!(constants.bytes.len(), 20 + 2 * 4096 + 4 * 4096);
    }
}
