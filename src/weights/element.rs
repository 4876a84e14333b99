//! The element types of imported weights, and their conversion to 32-bit floats.

/// The type of a tensor's elements in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element {
    /// 64-bit float.
    F64,
    /// 32-bit float.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of a 32-bit float.
    Bf16,
    /// Any other type with this many bytes: counters, masks. Weights never have it.
    Other(usize),
}

impl Element {
    /// Bytes of an element.
    pub(super) const fn size(self) -> usize {
        match self {
            Self::F64 => 8,
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::Other(size) => size,
        }
    }

    /// The first element of `bytes`, little-endian, rounded to 32 bits.
    fn read(self, bytes: &[u8]) -> Option<f32> {
        Some(match self {
            Self::F64 => f64::from_le_bytes(*bytes.first_chunk()?) as f32,
            Self::F32 => f32::from_le_bytes(*bytes.first_chunk()?),
            Self::F16 => half::f16::from_le_bytes(*bytes.first_chunk()?).to_f32(),
            Self::Bf16 => half::bf16::from_le_bytes(*bytes.first_chunk()?).to_f32(),
            Self::Other(_) => return None,
        })
    }

    /// Decodes consecutive elements; `None` if they are not floats.
    pub(super) fn floats(self, bytes: &[u8]) -> Option<Vec<f32>> {
        bytes.chunks_exact(self.size().max(1)).map(|chunk| self.read(chunk)).collect()
    }

    /// The elements of a view into `bytes`: the one at index `i` starts at element `offset + Σ i_d
    /// · strides_d`. `None` if one lies outside, or they are not floats.
    pub(super) fn view(
        self,
        bytes: &[u8],
        offset: usize,
        shape: &[usize],
        strides: &[usize],
    ) -> Option<Vec<f32>> {
        let len = shape.iter().try_fold(1_usize, |n, &s| n.checked_mul(s))?;
        if len == 0 {
            return Some(Vec::new());
        }
        let mut last = offset;
        for (&size, &stride) in shape.iter().zip(strides) {
            last = last.checked_add((size - 1).checked_mul(stride)?)?;
        }
        let size = self.size();
        if last.checked_add(1)?.checked_mul(size)? > bytes.len() {
            return None;
        }
        let mut index = vec![0; shape.len()];
        let mut values = Vec::with_capacity(len);
        for _ in 0..len {
            let at: usize = index.iter().zip(strides).map(|(&i, &stride)| i * stride).sum();
            values.push(self.read(&bytes[(offset + at) * size..])?);
            for (i, &size) in index.iter_mut().zip(shape).rev() {
                *i += 1;
                if *i < size {
                    break;
                }
                *i = 0;
            }
        }
        Some(values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_float_is_rounded_to_the_nearest() {
        let read = |element: Element, bytes: &[u8]| element.floats(bytes);
        assert_eq!(read(Element::F64, &0.1_f64.to_le_bytes()), Some(vec![0.1]));
        assert_eq!(read(Element::F16, &[0x00, 0x3c, 0x01, 0x00]), Some(vec![1.0, 5.9604645e-8]));
        assert_eq!(read(Element::Bf16, &[0x80, 0x3f, 0x49, 0xc0]), Some(vec![1.0, -3.140625]));
        assert_eq!(read(Element::Other(8), &[0; 8]), None);
    }

    #[test]
    fn views_are_gathered_and_never_leave_their_storage() {
        let bytes: Vec<u8> = (0..12).flat_map(|i| (i as f32).to_le_bytes()).collect();
        let view = |offset, shape: &[usize], strides: &[usize]| {
            Element::F32.view(&bytes, offset, shape, strides)
        };
        assert_eq!(view(1, &[2, 3], &[1, 4]), Some(vec![1.0, 5.0, 9.0, 2.0, 6.0, 10.0]));
        assert_eq!(view(3, &[2], &[0]), Some(vec![3.0, 3.0]));
        assert_eq!(view(11, &[], &[]), Some(vec![11.0]));
        assert_eq!(view(400, &[0, 5], &[5, 1]), Some(Vec::new()));
        assert_eq!(view(2, &[2, 3], &[1, 4]).map(|v| v.len()), Some(6));
        for (offset, shape, strides) in [
            (12, [1, 1], [1, 1]),
            (3, [2, 3], [1, 4]),
            (0, [2, 2], [usize::MAX, 1]),
            (usize::MAX, [1, 1], [1, 1]),
            (0, [usize::MAX, 2], [1, 1]),
            (0, [1 << 62, 1], [1, 1]),
        ] {
            assert_eq!(view(offset, &shape, &strides), None, "{offset} {shape:?} {strides:?}");
        }
    }
}
