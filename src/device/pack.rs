//! States consecutive in one buffer, so that one kernel can update them as one long tensor.

use std::collections::{BTreeMap, HashMap};
use std::sync::PoisonError;

use crate::error::Result;

use super::gpu::GpuBuffer;
use super::{Buffer, Device, State, held};

/// The position of a state that shares its buffer with others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Packed {
    /// The buffer's number.
    pub(crate) buffer: usize,
    /// The state's first byte in it.
    pub(crate) start: u64,
    /// Bytes of the whole buffer.
    pub(crate) whole: u64,
}

/// Consecutive states.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pack {
    /// Their names.
    pub(crate) names: Vec<String>,
    /// The first byte of each, a multiple of [`super::gpu::PART_ALIGN`].
    pub(crate) starts: Vec<u64>,
    /// Bytes of the whole buffer.
    pub(crate) bytes: u64,
}

impl State {
    /// Packs states into shared buffers as in `packs`; returns whether it succeeded. If a program
    /// is bound to one of them at its present place, nothing is moved.
    ///
    /// # Errors
    /// [`crate::error::Error::Memory`] if the GPU has no room for a pack besides the buffers that
    /// it replaces; [`crate::error::Error::Tensor`] if a state does not exist.
    pub(crate) fn pack(&self, packs: &[Pack]) -> Result<bool> {
        let Device::Gpu(gpu) = &self.device else { return Ok(packs.is_empty()) };
        let bound = self.bound();
        let mut moves = Vec::new();
        for pack in packs {
            let buffers = pack.names.iter().map(|name| self.gpu_buffer(name));
            let now = buffers.collect::<Result<Vec<_>>>()?;
            let lies = |(buffer, &start): (&GpuBuffer, &u64)| {
                buffer.memory() == now[0].memory()
                    && buffer.start() == start
                    && buffer.whole().bytes() == pack.bytes
            };
            if now.iter().zip(&pack.starts).all(lies) {
                continue;
            }
            if now.iter().any(|buffer| bound[&buffer.memory()]) {
                return Ok(false);
            }
            moves.push((pack, now.into_iter().zip(pack.starts.clone()).collect::<Vec<_>>()));
        }
        for (Pack { names, bytes, .. }, parts) in moves {
            let label = format!("{} and {} more", names[0], names.len() - 1);
            let all = gpu.gather(&parts, *bytes, &label)?;
            for (name, (old, start)) in names.iter().zip(parts) {
                if let Buffer::Gpu(buffer) = &self.entry(name)?.buffer {
                    let mut buffer = buffer.lock().unwrap_or_else(PoisonError::into_inner);
                    *buffer = all.part(start, old.bytes());
                }
            }
        }
        Ok(true)
    }

    /// The states in buffers larger than their own.
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
