//! How parameters are stored in files: the shapes and orders that PyTorch gives them.

use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// The order of a parameter in files. On the device a convolution's weights are
/// `[kh, kw, large, small]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// As on the device.
    Plain,
    /// `[small, large, kh, kw]`: PyTorch's `Conv2d` (out, in) and `ConvTranspose2d` (in, out).
    Conv,
    /// `[large · kh · kw, small]`: a `Linear` whose output is seen as a picture `[large, kh, kw]`.
    Project,
    /// `[small, large · kh · kw]`: a `Linear` on a flattened picture `[large, kh, kw]`.
    Flatten,
}

impl Layout {
    /// The axes of the device's order, in the file's order; none where the orders are one.
    const fn order(self) -> Option<[usize; 4]> {
        match self {
            Self::Plain => None,
            Self::Conv | Self::Flatten => Some([3, 2, 0, 1]),
            Self::Project => Some([2, 0, 1, 3]),
        }
    }

    /// For each number of a file, in order, its place on the device, where the parameter has `shape`;
    /// none where the orders are one.
    fn places(self, shape: &[usize]) -> Option<impl Iterator<Item = usize> + use<>> {
        let (Some(order), &[a, b, c, d]) = (self.order(), shape) else { return None };
        let sizes = order.map(|axis| [a, b, c, d][axis]);
        let strides = order.map(|axis| [b * c * d, c * d, d, 1][axis]);
        Some(walk(sizes, strides))
    }

    /// The shape in files of a parameter that has `shape` on the device.
    #[must_use]
    pub fn file_shape(self, shape: &[usize]) -> Vec<usize> {
        match (self, shape) {
            (Self::Conv, &[kh, kw, l, s]) => vec![s, l, kh, kw],
            (Self::Project, &[kh, kw, l, s]) => vec![l * kh * kw, s],
            (Self::Flatten, &[kh, kw, l, s]) => vec![s, l * kh * kw],
            _ => shape.to_vec(),
        }
    }

    /// A parameter as files hold it.
    ///
    /// # Errors
    /// [`Error::Length`] never, unless this function is wrong.
    pub fn to_file(self, tensor: &Tensor) -> Result<Tensor> {
        let Some(places) = self.places(tensor.shape()) else { return Ok(tensor.clone()) };
        let data = places.map(|at| tensor.f32s()[at]).collect();
        Tensor::new(self.file_shape(tensor.shape()), data)
    }

    /// A parameter of `shape` on the device from a file's tensor.
    ///
    /// # Errors
    /// [`Error::Tensor`] where the file's tensor has not the shape that `shape` becomes in files.
    pub fn from_file(self, name: &str, tensor: &Tensor, shape: &[usize]) -> Result<Tensor> {
        let wanted = self.file_shape(shape);
        if tensor.shape() != wanted {
            let what = format!("has shape {:?}, this network needs {wanted:?}", tensor.shape());
            return Err(Error::Tensor { name: name.into(), what });
        }
        let Some(places) = self.places(shape) else { return Ok(tensor.clone()) };
        let mut data = vec![0.0; tensor.len()];
        for (at, &x) in places.zip(tensor.f32s()) {
            data[at] = x;
        }
        Tensor::new(shape, data)
    }
}

/// The places `Σ i_d · stride_d` of all indices below `sizes`, the last index fastest.
fn walk([a, b, c, d]: [usize; 4], [p, q, r, s]: [usize; 4]) -> impl Iterator<Item = usize> {
    (0..a).flat_map(move |i| {
        (0..b).flat_map(move |j| {
            (0..c).flat_map(move |k| (0..d).map(move |l| i * p + j * q + k * r + l * s))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let shape = [2, 3, 4, 5];
        let tensor = Tensor::new(shape, (0..120).map(|i| i as f32).collect()).expect("120 numbers");
        for layout in [Layout::Plain, Layout::Conv, Layout::Project, Layout::Flatten] {
            let file = layout.to_file(&tensor).expect("a permutation");
            assert_eq!(file.shape(), layout.file_shape(&shape));
            assert_eq!(layout.from_file("w", &file, &shape).expect("the same shape"), tensor);
        }
        // Element [ky, kx, l, s] = [1, 2, 3, 4] of the device's order.
        let value = tensor.f32s()[119];
        let conv = Layout::Conv.to_file(&tensor).expect("a permutation");
        assert_eq!(conv.f32s()[((4 * 4 + 3) * 2 + 1) * 3 + 2], value);
        assert!(Layout::Conv.from_file("w", &tensor, &shape).is_err());
    }
}
