//! The CPU's memory.

use bytemuck::{Pod, Zeroable};

use crate::tensor::{DType, Slice};

/// One cache line.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([f32; 16]);

/// A zeroed buffer on the CPU, aligned to a cache line.
#[derive(Clone, Debug, Default)]
pub struct CpuBuffer(Vec<Line>);

impl CpuBuffer {
    /// A buffer of at least `bytes` zeros.
    #[must_use]
    pub fn new(bytes: u64) -> Self {
        Self(vec![Line([0.0; 16]); (bytes as usize).div_ceil(64)])
    }

    /// Its contents as floats.
    #[must_use]
    pub fn f32s(&self) -> &[f32] {
        bytemuck::cast_slice(&self.0)
    }

    /// Its contents as floats.
    #[must_use]
    pub fn f32s_mut(&mut self) -> &mut [f32] {
        bytemuck::cast_slice_mut(&mut self.0)
    }

    /// Its contents as integers.
    #[must_use]
    pub fn u32s(&self) -> &[u32] {
        bytemuck::cast_slice(&self.0)
    }

    /// Its contents as integers.
    #[must_use]
    pub fn u32s_mut(&mut self) -> &mut [u32] {
        bytemuck::cast_slice_mut(&mut self.0)
    }

    /// Its contents as bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }

    /// Its contents as bytes.
    #[must_use]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        bytemuck::cast_slice_mut(&mut self.0)
    }

    /// `len` elements of type `dtype` from element `offset` on, as an op sees them.
    #[must_use]
    pub fn slice(&self, offset: usize, len: usize, dtype: DType) -> Slice<'_> {
        let range = offset..offset + len;
        match dtype {
            DType::F32 => Slice::F32(&self.f32s()[range]),
            DType::U32 => Slice::U32(&self.u32s()[range]),
            DType::U8 => Slice::U8(&self.bytes()[range]),
        }
    }
}
