//! How parameters are stored in files: PyTorch's shapes and orders.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, named};
use crate::tensor::Tensor;

/// The order of a parameter in files. On the device a convolution's weights are
/// `[kh, kw, large, small]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// As on the device.
    Plain,
    /// `[small, large, kh, kw]`: PyTorch's `Conv2d` (out, in) and `ConvTranspose2d` (in, out).
    Conv,
    /// `[large · kh · kw, small]`: a `Linear` whose output is seen as an image `[large, kh, kw]`.
    Project,
    /// `[small, large · kh · kw]`: a `Linear` on a flattened image `[large, kh, kw]`.
    Flatten,
    /// `[c · h · w]` for `[h, w, c]` on the device: one value per entry of a flattened image.
    Cells,
    /// `[c, h, w]` for `[h, w, c]` on the device: one value per entry of an image.
    Image,
}

impl Layout {
    /// The axes of the device's order, in the file's order.
    const fn order(self) -> [usize; 4] {
        match self {
            Self::Plain => [0, 1, 2, 3],
            Self::Conv | Self::Flatten => [3, 2, 0, 1],
            Self::Project | Self::Cells | Self::Image => [2, 0, 1, 3],
        }
    }

    /// Sizes and strides on the device, in the file's order; `None` if both orders are the same.
    pub(crate) fn steps(self, shape: &[usize]) -> Option<[[usize; 4]; 2]> {
        let sizes = match (self, shape) {
            (Self::Plain, _) => return None,
            (Self::Cells | Self::Image, &[h, w, c]) => [h, w, c, 1],
            (_, &[kh, kw, l, s]) => [kh, kw, l, s],
            _ => return None,
        };
        let [_, b, c, d] = sizes;
        let strides = [b * c * d, c * d, d, 1];
        let order = self.order();
        Some([order.map(|axis| sizes[axis]), order.map(|axis| strides[axis])])
    }

    /// The shape in files of a parameter that has `shape` on the device.
    #[must_use]
    pub fn file_shape(self, shape: &[usize]) -> Vec<usize> {
        match (self, shape) {
            (Self::Conv, &[kh, kw, l, s]) => vec![s, l, kh, kw],
            (Self::Project, &[kh, kw, l, s]) => vec![l * kh * kw, s],
            (Self::Flatten, &[kh, kw, l, s]) => vec![s, l * kh * kw],
            (Self::Cells, &[h, w, c]) => vec![c * h * w],
            (Self::Image, &[h, w, c]) => vec![c, h, w],
            _ => shape.to_vec(),
        }
    }

    /// Converts a parameter to file layout.
    ///
    /// # Errors
    /// [`Error::Tensor`] if it is not a tensor of floats and its file layout differs.
    pub fn to_file(self, tensor: &Tensor) -> Result<Tensor> {
        let Some([sizes, strides]) = self.steps(tensor.shape()) else {
            return Ok(tensor.clone());
        };
        let data = reorder(tensor.try_f32s()?, sizes, strides);
        Tensor::new(self.file_shape(tensor.shape()), data)
    }

    /// Converts a file's tensor to a parameter of `shape` on the device.
    ///
    /// # Errors
    /// [`Error::Tensor`] if the file's tensor does not have the shape that `shape` has in files, or
    /// is not of floats.
    pub fn from_file(self, name: &str, tensor: &Tensor, shape: &[usize]) -> Result<Tensor> {
        let wanted = self.file_shape(shape);
        if tensor.shape() != wanted {
            let what = format!("has shape {:?}, this network needs {wanted:?}", tensor.shape());
            return Err(Error::Tensor { name: name.into(), what });
        }
        let floats = tensor.try_f32s().map_err(|error| named(name, error))?;
        let Some([sizes, _]) = self.steps(shape) else { return Ok(tensor.clone()) };
        // The same axes in the device's order, and their strides in the file.
        let [_, b, c, d] = sizes;
        let mut back = [[0; 4]; 2];
        for (i, stride) in [b * c * d, c * d, d, 1].into_iter().enumerate() {
            let axis = self.order()[i];
            (back[0][axis], back[1][axis]) = (sizes[i], stride);
        }
        let data = reorder(floats, back[0], back[1]);
        Tensor::new(shape, data)
    }
}

/// The values of `data` in the order of `sizes`, whose axes have these `strides`.
///
/// A few rows of the result at a time: if its first axis is the last of `data`, these are neighbors
/// there, and one fetched cache line serves all of them.
fn reorder(data: &[f32], sizes: [usize; 4], strides: [usize; 4]) -> Vec<f32> {
    const ROWS: usize = 16;
    let [a, b, c, d] = sizes;
    let row = b * c * d;
    let mut result = vec![0.0; a * row];
    if row == 0 {
        return result;
    }
    for (block, rows) in result.chunks_mut(ROWS * row).enumerate() {
        let first = block * ROWS * strides[0];
        let mut column = 0;
        for i in 0..b {
            for j in 0..c {
                for k in 0..d {
                    let at = first + i * strides[1] + j * strides[2] + k * strides[3];
                    for (n, row) in rows.chunks_exact_mut(row).enumerate() {
                        row[column] = data[at + n * strides[0]];
                    }
                    column += 1;
                }
            }
        }
    }
    result
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
            // More rows than are moved at a time, on either side.
            for shape in [[1, 2, 3, 37], [1, 2, 37, 3]] {
                let tensor = Tensor::new(shape, (0..222).map(|i| i as f32).collect());
                let tensor = tensor.expect("222 numbers");
                let file = layout.to_file(&tensor).expect("a permutation");
                assert_eq!(layout.from_file("w", &file, &shape).expect("the same shape"), tensor);
            }
        }
        let cells = Tensor::new([2, 3, 20], tensor.f32s().to_vec()).expect("120 numbers");
        let file = Layout::Cells.to_file(&cells).expect("a permutation");
        assert_eq!(file.shape(), [120]);
        assert_eq!(Layout::Cells.from_file("b", &file, &[2, 3, 20]).expect("120 numbers"), cells);
        let image = Layout::Image.to_file(&cells).expect("a permutation");
        assert_eq!((image.shape(), image.f32s()), (&[20, 2, 3][..], file.f32s()));
        assert_eq!(Layout::Image.from_file("b", &image, &[2, 3, 20]).expect("an image"), cells);
        // Cell [1, 0] of channel 4, and the same in the file's order.
        assert_eq!(file.f32s()[4 * 6 + 3], cells.f32s()[3 * 20 + 4]);
        // Element [ky, kx, l, s] = [1, 2, 3, 4] of the device's order.
        let value = tensor.f32s()[119];
        let conv = Layout::Conv.to_file(&tensor).expect("a permutation");
        assert_eq!(conv.f32s()[((4 * 4 + 3) * 2 + 1) * 3 + 2], value);
        assert!(Layout::Conv.from_file("w", &tensor, &shape).is_err());
    }
}
