//! Buffers on a GPU, their ledger, and copying to and from them.

use std::fmt;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use wgpu::BufferUsages as Usage;

use super::Gpu;
use crate::error::{Error, Result};
use crate::human;

/// Maximum bytes written before they are handed to the device.
const WRITE_BYTES: u64 = 64 << 20;
/// Maximum number of writes before they are handed to the device: drivers were seen to corrupt the
/// first of hundreds (tracel-ai/cubecl#1120).
const WRITES: u32 = 64;
/// Bytes read at a time.
const READ_BYTES: u64 = 64 << 20;
/// Kernels see parts of buffers that start at multiples of this (the WebGPU guarantee).
pub(crate) const PART_ALIGN: u64 = 256;

/// Writes still in the queue.
#[derive(Debug, Default)]
pub(super) struct Pending {
    writes: u32,
    bytes: u64,
}

/// A buffer on a GPU, or a part of one. Clones share the memory; it is freed with the last of them.
#[derive(Clone)]
pub struct GpuBuffer {
    held: Arc<Held>,
    /// Where the part starts.
    start: u64,
    /// Its size.
    bytes: u64,
}

/// A buffer's number, and the offset and length of a part in it.
pub(super) type Region = (usize, u64, u64);

/// What the clones share.
struct Held {
    raw: wgpu::Buffer,
    label: String,
    ledger: Arc<AtomicU64>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.ledger.fetch_sub(self.raw.size(), Ordering::Relaxed);
    }
}

impl fmt::Debug for GpuBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GpuBuffer({:?}, {} bytes)", self.held.label, self.bytes())
    }
}

impl GpuBuffer {
    /// Its size.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What it holds.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.held.label
    }

    pub(super) fn raw(&self) -> &wgpu::Buffer {
        &self.held.raw
    }

    /// The `bytes` from byte `start` on, a multiple of [`PART_ALIGN`].
    pub(crate) fn part(&self, start: u64, bytes: u64) -> Self {
        assert!(start.is_multiple_of(PART_ALIGN), "{self:?}: alignment");
        assert!(start + bytes <= self.bytes, "{self:?}: past its end");
        Self { held: Arc::clone(&self.held), start: self.start + start, bytes }
    }

    /// The whole buffer that contains this part.
    pub(crate) fn whole(&self) -> Self {
        Self { held: Arc::clone(&self.held), start: 0, bytes: self.held.raw.size() }
    }

    /// Its offset in the whole buffer.
    pub(crate) fn start(&self) -> u64 {
        self.start
    }

    /// The number of handles to the buffer and its parts.
    pub(crate) fn handles(&self) -> usize {
        Arc::strong_count(&self.held)
    }

    /// A number that identifies the buffer while it lives; parts have that of their buffer.
    pub(crate) fn memory(&self) -> usize {
        Arc::as_ptr(&self.held) as usize
    }

    /// Identifies it among all parts of all buffers while they live.
    pub(super) fn region(&self) -> Region {
        (self.memory(), self.start, self.bytes)
    }

    /// Whether both are parts of one buffer: a kernel that writes one cannot read the other.
    pub(super) fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.held, &other.held)
    }

    /// As kernels bind it.
    pub(super) fn binding(&self) -> wgpu::BindingResource<'_> {
        wgpu::BindingResource::Buffer(wgpu::BufferBinding {
            buffer: self.raw(),
            offset: self.start,
            size: NonZeroU64::new(self.bytes),
        })
    }

    /// Encodes a copy of `bytes` from byte `offset` to byte `at` of `to`.
    pub(super) fn encode_copy(
        &self,
        offset: u64,
        (to, at): (&Self, u64),
        bytes: u64,
        encoder: &mut wgpu::CommandEncoder,
    ) {
        let (from, at) = (self.start + offset, to.start + at);
        encoder.copy_buffer_to_buffer(self.raw(), from, to.raw(), at, bytes);
    }
}

impl Gpu {
    /// A buffer of zeros for kernels to read and write; `label` is for error messages.
    ///
    /// # Errors
    /// [`Error::Memory`] if the device does not have enough memory, or no buffer may be so large.
    pub fn create_buffer(&self, bytes: u64, label: &str) -> Result<GpuBuffer> {
        self.create_buffer_for(bytes, label, Usage::STORAGE | Usage::COPY_DST | Usage::COPY_SRC)
    }

    pub(super) fn create_buffer_for(
        &self,
        bytes: u64,
        label: &str,
        usage: Usage,
    ) -> Result<GpuBuffer> {
        self.check()?;
        let inner = &self.inner;
        let bytes = bytes.next_multiple_of(4).max(4);
        if bytes > inner.limits.max_buffer {
            return Err(Error::Memory(format!(
                "{label:?} needs a buffer of {}, and the GPU {} allows {} in one: use a smaller \
                 `batch` or `image_size`",
                human::bytes(bytes),
                inner.limits.name,
                human::bytes(inner.limits.max_buffer),
            )));
        }
        let memory = inner.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let other = inner.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let raw = inner.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            size: bytes,
            usage,
            mapped_at_creation: false,
        });
        let other = pollster::block_on(other.pop());
        if pollster::block_on(memory.pop()).is_some() {
            return Err(Error::Memory(format!(
                "the GPU {} has no {} left for {label:?}, with {} in use by this program: use a \
                 smaller `batch`, or close other programs that use the GPU",
                inner.limits.name,
                human::bytes(bytes),
                human::bytes(self.allocated_bytes()),
            )));
        }
        if let Some(error) = other {
            inner.status.uncaptured(error);
        }
        self.check()?;
        self.created();
        inner.allocated.fetch_add(bytes, Ordering::Relaxed);
        let ledger = Arc::clone(&inner.allocated);
        let held = Arc::new(Held { raw, label: label.to_owned(), ledger });
        Ok(GpuBuffer { held, start: 0, bytes })
    }

    /// A new buffer of `bytes` with copies of the given others in it, each at its byte.
    ///
    /// # Errors
    /// Same as [`Gpu::create_buffer`].
    pub(crate) fn gather(
        &self,
        parts: &[(GpuBuffer, u64)],
        bytes: u64,
        label: &str,
    ) -> Result<GpuBuffer> {
        let all = self.create_buffer(bytes, label)?;
        let mut encoder = self.inner.device.create_command_encoder(&Default::default());
        for (part, at) in parts {
            part.encode_copy(0, (&all, *at), part.bytes(), &mut encoder);
        }
        self.inner.queue.submit([encoder.finish()]);
        self.check()?;
        Ok(all)
    }

    /// Writes `data` into a buffer from byte `offset` on. Later runs see it, earlier ones do not.
    ///
    /// # Errors
    /// [`Error::Lost`] or [`Error::Memory`] where the GPU failed.
    ///
    /// # Panics
    /// If `data` reaches past the buffer's end, or `offset` or its length is not a multiple of 4.
    pub fn write(&self, buffer: &GpuBuffer, offset: u64, data: &[u8]) -> Result<()> {
        assert!(offset.is_multiple_of(4) && data.len().is_multiple_of(4), "{buffer:?}: alignment");
        assert!(offset + data.len() as u64 <= buffer.bytes(), "{buffer:?}: past its end");
        self.check()?;
        for (i, chunk) in data.chunks(WRITE_BYTES as usize).enumerate() {
            let at = offset + i as u64 * WRITE_BYTES;
            self.upload(buffer, at, chunk);
            self.flush(chunk.len() as u64)?;
        }
        self.check()
    }

    /// Hands pending writes to the device once there are many.
    fn flush(&self, bytes: u64) -> Result<()> {
        let full = {
            // Two counters are always in a valid state.
            let mut pending = self.inner.pending.lock().unwrap_or_else(PoisonError::into_inner);
            pending.writes += 1;
            pending.bytes += bytes;
            let full = pending.writes >= WRITES || pending.bytes >= WRITE_BYTES;
            if full {
                *pending = Pending::default();
            }
            full
        };
        if full {
            let submission = self.inner.queue.submit([]);
            self.wait(&submission)?;
        }
        Ok(())
    }

    /// The `len` bytes of a buffer from `offset` on, after all earlier submissions. Waits for the
    /// device.
    ///
    /// # Errors
    /// [`Error::Lost`] or [`Error::Memory`] where the GPU failed.
    ///
    /// # Panics
    /// Where the range reaches past the buffer's end.
    pub fn read(&self, buffer: &GpuBuffer, offset: u64, len: u64) -> Result<Vec<u8>> {
        assert!(offset + len <= buffer.bytes(), "{buffer:?}: past its end");
        let mut out = Vec::with_capacity(len as usize);
        // Copies start and end at multiples of 4, as a buffer does.
        let (start, end) = (offset / 4 * 4, (offset + len).next_multiple_of(4));
        if len == 0 {
            return Ok(out);
        }
        let size = (end - start).min(READ_BYTES);
        let usage = Usage::MAP_READ | Usage::COPY_DST;
        let staging = self.create_buffer_for(size, "read", usage)?;
        for at in (start..end).step_by(READ_BYTES as usize) {
            let size = (end - at).min(READ_BYTES);
            let mut encoder = self.inner.device.create_command_encoder(&Default::default());
            buffer.encode_copy(at, (&staging, 0), size, &mut encoder);
            let submission = self.inner.queue.submit([encoder.finish()]);
            let mapped = Arc::new(Mutex::new(None));
            let outcome = Arc::clone(&mapped);
            staging.raw().map_async(wgpu::MapMode::Read, ..size, move |result| {
                *outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(result.is_ok());
            });
            self.wait(&submission)?;
            if *mapped.lock().unwrap_or_else(PoisonError::into_inner) != Some(true) {
                return Err(self.lose("a buffer could not be read back"));
            }
            let view = staging.raw().get_mapped_range(..size);
            let view = view.map_err(|error| self.lose(error.to_string()))?;
            let from = offset.saturating_sub(at) as usize;
            let to = (offset + len - at).min(size) as usize;
            out.extend_from_slice(&view[from..to]);
            drop(view);
            staging.raw().unmap();
        }
        Ok(out)
    }
}
