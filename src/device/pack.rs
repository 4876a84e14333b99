//! States behind one another in one buffer, so that one kernel can update them as one long tensor.

use std::collections::{BTreeMap, HashMap};
use std::sync::PoisonError;

use crate::error::Result;

use super::gpu::{GpuBuffer, PART_ALIGN};
use super::{Buffer, Device, State, held};

/// Where a state lies that shares its buffer with others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Packed {
    /// A number of the buffer.
    pub(crate) buffer: usize,
    /// The state's first byte in it.
    pub(crate) start: u64,
    /// Bytes of the whole buffer.
    pub(crate) whole: u64,
}

/// Where tensors of these many bytes start that lie behind one another, and where the last one ends.
/// Each starts where a kernel can be given it alone.
pub(crate) fn row(bytes: impl IntoIterator<Item = u64>) -> (Vec<u64>, u64) {
    let mut end = 0_u64;
    let mut starts = Vec::new();
    for bytes in bytes {
        let start = end.next_multiple_of(PART_ALIGN);
        starts.push(start);
        end = start + bytes;
    }
    (starts, end)
}

impl State {
    /// Has the states of each of `rows` lie behind one another in one buffer, in this order. Returns
    /// whether they do; where a program is bound to one of them where it is, nothing is moved.
    ///
    /// # Errors
    /// [`crate::error::Error::Memory`] where the GPU has no room for a row besides the buffers that
    /// it replaces; [`crate::error::Error::Tensor`] where there is no such state.
    pub(crate) fn pack(&self, rows: &[Vec<String>]) -> Result<bool> {
        let Device::Gpu(gpu) = &self.device else { return Ok(rows.is_empty()) };
        let bound = self.bound();
        let mut moves = Vec::new();
        for names in rows {
            let now = names.iter().map(|name| self.gpu_buffer(name)).collect::<Result<Vec<_>>>()?;
            let (starts, end) = row(now.iter().map(GpuBuffer::bytes));
            let lies = |(buffer, &start): (&GpuBuffer, &u64)| {
                buffer.memory() == now[0].memory() && buffer.start() == start
            };
            let whole = now.first().is_none_or(|first| first.whole().bytes() == end);
            if whole && now.iter().zip(&starts).all(lies) {
                continue;
            }
            if now.iter().any(|buffer| bound[&buffer.memory()]) {
                return Ok(false);
            }
            let sizes: Vec<u64> = now.iter().map(GpuBuffer::bytes).collect();
            moves.push((names, now.into_iter().zip(starts).collect::<Vec<_>>(), sizes, end));
        }
        for (names, parts, sizes, end) in moves {
            let label = format!("{} and {} more", names[0], names.len() - 1);
            let all = gpu.gather(&parts, end, &label)?;
            for ((name, (_, start)), bytes) in names.iter().zip(parts).zip(sizes) {
                if let Buffer::Gpu(buffer) = &self.entry(name)?.buffer {
                    let mut buffer = buffer.lock().unwrap_or_else(PoisonError::into_inner);
                    *buffer = all.part(start, bytes);
                }
            }
        }
        Ok(true)
    }

    /// The states that lie in a larger buffer than their own.
    pub(crate) fn packed(&self) -> BTreeMap<String, Packed> {
        let buffers = self.gpu_buffers().into_iter().filter_map(|(name, part)| {
            let whole = part.whole().bytes();
            let packed = Packed { buffer: part.memory(), start: part.start(), whole };
            (whole > part.bytes()).then_some((name, packed))
        });
        buffers.collect()
    }

    /// The buffers of states by [`GpuBuffer::memory`]: whether anything but the states holds them.
    fn bound(&self) -> HashMap<usize, bool> {
        let mut counts: HashMap<usize, (usize, usize)> = HashMap::new();
        for entry in self.entries.values() {
            if let Buffer::Gpu(buffer) = &entry.buffer {
                let buffer = buffer.lock().unwrap_or_else(PoisonError::into_inner);
                let (states, handles) = counts.entry(buffer.memory()).or_default();
                (*states, *handles) = (*states + 1, buffer.handles());
            }
        }
        let bound = |(memory, (states, handles))| (memory, handles > states);
        counts.into_iter().map(bound).collect()
    }

    fn gpu_buffer(&self, name: &str) -> Result<GpuBuffer> {
        match &self.entry(name)?.buffer {
            Buffer::Gpu(buffer) => Ok(held(buffer)),
            Buffer::Cpu(_) => unreachable!("a state's buffers are its device's"),
        }
    }
}
