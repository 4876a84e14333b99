//! Tensors on the host: what is fed to a program, fetched from it, and saved.

use crate::error::{Error, Result};

/// The element type of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DType {
    /// 32-bit float: all arithmetic.
    F32,
    /// 32-bit unsigned integer: counters and random keys.
    U32,
    /// Byte: images on their way to the device.
    U8,
}

impl DType {
    /// Bytes of one element.
    #[must_use]
    pub const fn size(self) -> usize {
        match self {
            Self::F32 | Self::U32 => 4,
            Self::U8 => 1,
        }
    }
}

/// The number of elements of a tensor of `shape`; `None` on overflow.
#[must_use]
pub fn elements(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1_usize, |n, &size| n.checked_mul(size))
}

/// The elements of a host tensor, in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// 32-bit floats.
    F32(Vec<f32>),
    /// 32-bit unsigned integers.
    U32(Vec<u32>),
    /// Bytes.
    U8(Vec<u8>),
}

/// A tensor on the host: a shape and its elements in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    data: Data,
}

impl Tensor {
    /// A tensor of floats.
    ///
    /// # Errors
    /// [`Error::Length`] if the length of `data` does not match `shape`.
    pub fn new(shape: impl Into<Vec<usize>>, data: Vec<f32>) -> Result<Self> {
        Self::with_data(shape, Data::F32(data))
    }

    /// A tensor of any element type.
    ///
    /// # Errors
    /// [`Error::Length`] if the length of `data` does not match `shape`.
    pub fn with_data(shape: impl Into<Vec<usize>>, data: Data) -> Result<Self> {
        let shape = shape.into();
        let len = match &data {
            Data::F32(v) => v.len(),
            Data::U32(v) => v.len(),
            Data::U8(v) => v.len(),
        };
        if elements(&shape) != Some(len) {
            return Err(Error::Length { shape, len });
        }
        Ok(Self { shape, data })
    }

    /// A tensor of `shape` filled with `value`.
    #[must_use]
    pub fn full(shape: impl Into<Vec<usize>>, value: f32) -> Self {
        let shape = shape.into();
        let len = shape.iter().product();
        Self { shape, data: Data::F32(vec![value; len]) }
    }

    /// One-hot labels, as rows `[labels, classes]`.
    ///
    /// # Errors
    /// [`Error::Tensor`] if a label is out of range.
    pub fn one_hot(labels: &[u32], classes: usize) -> Result<Self> {
        let mut rows = vec![0.0; labels.len() * classes];
        for (row, &label) in rows.chunks_mut(classes.max(1)).zip(labels) {
            let place = row.get_mut(label as usize).ok_or_else(|| Error::Tensor {
                name: "labels".into(),
                what: format!("label {label} is out of range for {classes} classes"),
            })?;
            *place = 1.0;
        }
        Self::new([labels.len(), classes], rows)
    }

    /// The sizes of its axes.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The element type.
    #[must_use]
    pub fn dtype(&self) -> DType {
        match self.data {
            Data::F32(_) => DType::F32,
            Data::U32(_) => DType::U32,
            Data::U8(_) => DType::U8,
        }
    }

    /// The elements.
    #[must_use]
    pub fn data(&self) -> &Data {
        &self.data
    }

    /// Whether all values are finite; always true for integers and bytes.
    #[must_use]
    pub fn is_finite(&self) -> bool {
        match &self.data {
            Data::F32(v) => v.iter().all(|x| x.is_finite()),
            Data::U32(_) | Data::U8(_) => true,
        }
    }

    /// The elements of a float tensor, for tensors that are known to hold floats: network
    /// parameters, generated images. For others see [`Tensor::try_f32s`].
    ///
    /// # Panics
    /// If it holds another element type.
    #[must_use]
    #[track_caller]
    pub fn f32s(&self) -> &[f32] {
        self.try_f32s().unwrap_or_else(|error| panic!("{error}"))
    }

    /// The elements of a float tensor.
    ///
    /// # Errors
    /// [`Error::Tensor`] if it holds another element type; the message names both:
    ///
    /// ```
    /// use dcgan::tensor::{Data, Tensor};
    ///
    /// let bytes = Tensor::with_data([2], Data::U8(vec![0, 255]))?;
    /// let error = bytes.try_f32s().unwrap_err().to_string();
    /// assert_eq!(error, "tensor \"[2]\": holds U8, not F32");
    /// # Ok::<(), dcgan::error::Error>(())
    /// ```
    pub fn try_f32s(&self) -> Result<&[f32]> {
        match &self.data {
            Data::F32(v) => Ok(v),
            _ => Err(self.holds(DType::F32)),
        }
    }

    /// The elements of an integer tensor: like [`Tensor::f32s`].
    ///
    /// # Panics
    /// If it holds another element type.
    #[must_use]
    #[track_caller]
    pub fn u32s(&self) -> &[u32] {
        self.try_u32s().unwrap_or_else(|error| panic!("{error}"))
    }

    /// The elements of an integer tensor.
    ///
    /// # Errors
    /// [`Error::Tensor`] if it holds another element type: like [`Tensor::try_f32s`].
    pub fn try_u32s(&self) -> Result<&[u32]> {
        match &self.data {
            Data::U32(v) => Ok(v),
            _ => Err(self.holds(DType::U32)),
        }
    }

    /// The error for elements of the wrong type `wanted`; the tensor is named by its shape.
    fn holds(&self, wanted: DType) -> Error {
        let what = format!("holds {:?}, not {wanted:?}", self.dtype());
        Error::Tensor { name: format!("{:?}", self.shape), what }
    }

    /// The elements as raw bytes, in the machine's byte order.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match &self.data {
            Data::F32(v) => bytemuck::cast_slice(v),
            Data::U32(v) => bytemuck::cast_slice(v),
            Data::U8(v) => v,
        }
    }

    /// The number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it has no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// One tensor's elements on the CPU.
#[derive(Clone, Copy, Debug)]
pub enum Slice<'a> {
    /// 32-bit floats.
    F32(&'a [f32]),
    /// 32-bit unsigned integers.
    U32(&'a [u32]),
    /// Bytes.
    U8(&'a [u8]),
}

/// Bytes that a tensor takes on any device: whole 16-byte vectors.
#[must_use]
pub(crate) fn padded_bytes(len: usize, dtype: DType) -> u64 {
    padded(len * dtype.size())
}

/// `bytes` as whole 16-byte vectors.
#[must_use]
pub(crate) fn padded(bytes: usize) -> u64 {
    bytes.next_multiple_of(16).max(16) as u64
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn elements_of_another_type_are_no_empty_slice() {
        let key = Tensor::with_data([4], Data::U32(vec![1, 2, 3, 4])).unwrap();
        assert_eq!(key.try_u32s().unwrap(), key.u32s());
        assert!(key.is_finite());
        let error = key.try_f32s().unwrap_err().to_string();
        assert_eq!(error, "tensor \"[4]\": holds U32, not F32");
        let panic = std::panic::catch_unwind(|| key.f32s().len()).unwrap_err();
        assert_eq!(panic.downcast_ref(), Some(&error));
        let floats = Tensor::full([2, 3], 1.5);
        assert_eq!(floats.try_f32s().unwrap(), [1.5; 6]);
        let error = floats.try_u32s().unwrap_err().to_string();
        assert_eq!(error, "tensor \"[2, 3]\": holds F32, not U32");
    }
}
