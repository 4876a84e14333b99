//! Where programs run: a GPU through wgpu, or the CPU. Only this module and the code that compiles
//! for it distinguish the two.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use crate::error::{Error, Result};
use crate::human;
use crate::tensor::{DType, Data, Tensor, padded_bytes};

mod cpu;
pub mod gpu;
pub mod host;
mod pack;
mod script;

pub use cpu::CpuBuffer;
pub(crate) use pack::{Pack, Packed};
pub use script::{BufferKind, BufferSpec, Readback, Script, ScriptStep};

/// The prefix of the CPU's name ([`Device::name`]).
const CPU: &str = "CPU, ";

/// The name of a GPU accessed through `backend`.
fn gpu_name(name: &str, backend: &str) -> String {
    format!("{name} ({backend})")
}

/// A device's peak rates.
#[derive(Clone, Debug, Serialize)]
pub struct Peak {
    /// Floating-point operations per second.
    pub flops: f64,
    /// What was measured.
    pub by: &'static str,
    /// Bytes per second, read and written, of copies within its memory.
    pub bytes: f64,
}

/// A device that programs are compiled for.
#[derive(Clone, Debug)]
pub enum Device {
    /// All cores of the CPU.
    Cpu,
    /// A GPU through wgpu.
    Gpu(gpu::Gpu),
}

impl Device {
    /// Opens the device that `--device` selects: `cpu`, `gpu` (the strongest hardware GPU), an
    /// index or a name from `dcgan devices`; by default, the strongest hardware GPU, else the CPU.
    /// A software GPU is never chosen unless it is named: the CPU itself is several times faster.
    ///
    /// # Errors
    /// [`Error::Device`] where there is no such device or its driver does not open it.
    pub fn open(selection: Option<&str>, checked: bool) -> Result<Self> {
        let selection = match selection {
            Some(text) if text.eq_ignore_ascii_case("cpu") => return Ok(Self::Cpu),
            Some(text) => text.to_owned(),
            None => match gpu::default_device() {
                Some(index) => index.to_string(),
                None => return Ok(Self::Cpu),
            },
        };
        let options = gpu::GpuOptions { checked, ..gpu::GpuOptions::default() };
        Ok(Self::Gpu(gpu::Gpu::open(&selection, options)?))
    }

    /// Opens the device with the name `name` from an earlier run ([`Device::name`]), if it still
    /// exists; else the default one.
    ///
    /// # Errors
    /// Same as [`Device::open`].
    pub fn open_again(name: &str, checked: bool) -> Result<Self> {
        if name.starts_with(CPU) {
            return Ok(Self::Cpu);
        }
        let same = gpu::list().into_iter().find(|a| gpu_name(&a.name, a.backend) == name);
        Self::open(same.map(|adapter| adapter.index.to_string()).as_deref(), checked)
    }

    /// Whether it is the CPU, the reference for others.
    #[must_use]
    pub fn is_cpu(&self) -> bool {
        matches!(self, Self::Cpu)
    }

    /// Whether it is a software adapter: a GPU in name only, which compiles slowly and runs slowly.
    #[must_use]
    pub fn is_software(&self) -> bool {
        matches!(self, Self::Gpu(gpu) if gpu.caps().software)
    }

    /// Whether programs can keep 16-bit floats on it ([`crate::program::Precision`]).
    #[must_use]
    pub fn has_half_floats(&self) -> bool {
        matches!(self, Self::Gpu(gpu) if gpu.caps().f16)
    }

    /// Bytes in use on it by this process, if counted: a lower bound.
    #[must_use]
    pub fn used_memory(&self) -> Option<u64> {
        match self {
            Self::Cpu => None,
            Self::Gpu(gpu) => Some(gpu.allocated_bytes()),
        }
    }

    /// Measures its peak rates; takes about a second.
    ///
    /// # Errors
    /// [`Error::Memory`] or [`Error::Lost`] where a GPU fails.
    pub fn measure_peak(&self) -> Result<Peak> {
        match self {
            Self::Cpu => Ok(Peak {
                flops: host::measure_products(),
                by: "a large matrix product on all cores",
                bytes: host::measure_copies(),
            }),
            Self::Gpu(gpu) => gpu::measure_peak(gpu),
        }
    }

    /// Bytes of the largest buffer that a kernel can see.
    #[must_use]
    pub fn max_buffer(&self) -> u64 {
        match self {
            Self::Cpu => u64::MAX,
            Self::Gpu(gpu) => gpu.caps().max_binding.min(gpu.caps().max_buffer),
        }
    }

    /// Bytes of memory that a program can still allocate, if known in advance.
    #[must_use]
    pub fn free_memory(&self) -> Option<u64> {
        match self {
            Self::Cpu => host::free_memory(),
            Self::Gpu(_) => None,
        }
    }

    /// Its human-readable name.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Cpu => {
                let threads = human::plural(rayon::current_num_threads() as u64, "thread");
                format!("{CPU}{threads}")
            }
            Self::Gpu(gpu) => gpu_name(&gpu.caps().name, gpu.caps().backend),
        }
    }

    /// The same without the backend.
    #[must_use]
    pub fn short_name(&self) -> String {
        match self {
            Self::Cpu => self.name(),
            Self::Gpu(gpu) => gpu.caps().name.clone(),
        }
    }

    /// What a bug report needs to include about it, by topic.
    #[must_use]
    pub fn about(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Cpu => vec![("device", "the CPU".into())],
            Self::Gpu(gpu) => {
                let caps = gpu.caps();
                let software = if caps.software { ", software" } else { "" };
                vec![
                    ("device", format!("{}{software}", caps.name)),
                    ("backend", caps.backend.to_string()),
                    ("driver", caps.driver.clone()),
                ]
            }
        }
    }

    /// A buffer of at least `bytes` zeros.
    ///
    /// # Errors
    /// [`Error::Memory`] if the device does not have that much left.
    pub fn buffer(&self, bytes: u64, label: &str) -> Result<Buffer> {
        match self {
            Self::Cpu => Ok(Buffer::Cpu(CpuBuffer::new(bytes))),
            Self::Gpu(gpu) => Ok(Buffer::Gpu(Mutex::new(gpu.create_buffer(bytes, label)?))),
        }
    }
}

/// Memory on a device.
#[derive(Debug)]
pub enum Buffer {
    /// On the CPU.
    Cpu(CpuBuffer),
    /// On a GPU; it may be moved while no program is bound to it.
    Gpu(Mutex<gpu::GpuBuffer>),
}

/// The buffer behind a lock: a handle is always valid.
fn held(buffer: &Mutex<gpu::GpuBuffer>) -> gpu::GpuBuffer {
    buffer.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// A tensor that lives on a device.
#[derive(Debug)]
struct Entry {
    shape: Vec<usize>,
    dtype: DType,
    buffer: Buffer,
}

/// Named tensors that outlive a step, on one device: parameters, running statistics, optimizer
/// moments, moving averages, counters. Programs read and assign them by name.
#[derive(Debug)]
pub struct State {
    device: Device,
    entries: BTreeMap<String, Entry>,
}

impl State {
    /// An empty set of tensors, on `device`.
    #[must_use]
    pub fn new(device: &Device) -> Self {
        Self { device: device.clone(), entries: BTreeMap::new() }
    }

    /// The device.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Adds a tensor, or updates its value.
    ///
    /// # Errors
    /// [`Error::Tensor`] where it exists with another shape or type; [`Error::Memory`] where the
    /// device is full.
    pub fn set(&mut self, name: &str, value: &Tensor) -> Result<()> {
        if !self.entries.contains_key(name) {
            let buffer = self.device.buffer(padded_bytes(value.len(), value.dtype()), name)?;
            let entry = Entry { shape: value.shape().to_vec(), dtype: value.dtype(), buffer };
            self.entries.insert(name.into(), entry);
        }
        let Some(entry) = self.entries.get_mut(name) else { return Ok(()) };
        if entry.shape != value.shape() || entry.dtype != value.dtype() {
            let what = format!("has shape {:?}, not {:?}", entry.shape, value.shape());
            return Err(Error::Tensor { name: name.into(), what });
        }
        match &mut entry.buffer {
            Buffer::Cpu(buffer) => {
                buffer.bytes_mut()[..value.bytes().len()].copy_from_slice(value.bytes());
                Ok(())
            }
            Buffer::Gpu(buffer) => match &self.device {
                Device::Gpu(gpu) => gpu.write(&held(buffer), 0, value.bytes()),
                Device::Cpu => unreachable!("a state's buffers are its device's"),
            },
        }
    }

    /// The value of a tensor.
    ///
    /// # Errors
    /// [`Error::Tensor`] if it does not exist; [`Error::Lost`] if the device is lost.
    pub fn get(&self, name: &str) -> Result<Tensor> {
        let entry = self.entry(name)?;
        let len = entry.shape.iter().product::<usize>() * entry.dtype.size();
        let tensor = |bytes: &[u8]| tensor_of(&entry.shape, entry.dtype, bytes);
        match &entry.buffer {
            Buffer::Cpu(buffer) => tensor(&buffer.bytes()[..len]),
            Buffer::Gpu(buffer) => match &self.device {
                Device::Gpu(gpu) => tensor(&gpu.read(&held(buffer), 0, len as u64)?),
                Device::Cpu => unreachable!("a state's buffers are its device's"),
            },
        }
    }

    /// Shape and type of a tensor.
    ///
    /// # Errors
    /// [`Error::Tensor`] if it does not exist.
    pub fn spec(&self, name: &str) -> Result<(&[usize], DType)> {
        let entry = self.entry(name)?;
        Ok((&entry.shape, entry.dtype))
    }

    /// The names of all tensors.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// Bytes of all tensors.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.entries.values().map(|e| padded_bytes(e.shape.iter().product(), e.dtype)).sum()
    }

    fn entry(&self, name: &str) -> Result<&Entry> {
        self.entries
            .get(name)
            .ok_or_else(|| Error::Tensor { name: name.into(), what: "is not in the state".into() })
    }

    /// The CPU's buffers by name; empty on another device.
    pub(crate) fn cpu_buffers(&mut self) -> BTreeMap<String, &mut CpuBuffer> {
        let buffers = self.entries.iter_mut().filter_map(|(name, entry)| match &mut entry.buffer {
            Buffer::Cpu(buffer) => Some((name.clone(), buffer)),
            Buffer::Gpu(_) => None,
        });
        buffers.collect()
    }

    /// The GPU's buffers by name; empty on another device.
    pub(crate) fn gpu_buffers(&self) -> BTreeMap<String, gpu::GpuBuffer> {
        let buffers = self.entries.iter().filter_map(|(name, entry)| match &entry.buffer {
            Buffer::Cpu(_) => None,
            Buffer::Gpu(buffer) => Some((name.clone(), held(buffer))),
        });
        buffers.collect()
    }
}

/// A host tensor from a device's bytes.
pub(crate) fn tensor_of(shape: &[usize], dtype: DType, bytes: &[u8]) -> Result<Tensor> {
    let data = match dtype {
        DType::F32 => Data::F32(bytemuck::pod_collect_to_vec(bytes)),
        DType::U32 => Data::U32(bytemuck::pod_collect_to_vec(bytes)),
        DType::U8 => Data::U8(bytes.to_vec()),
    };
    Tensor::with_data(shape, data)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn the_cpu_is_found_again_whatever_its_threads() {
        for name in [&Device::Cpu.name(), "CPU, 1 thread", "CPU, 96 threads"] {
            assert!(Device::open_again(name, false).unwrap().is_cpu(), "{name}");
        }
    }

    #[test]
    fn the_default_takes_the_place_of_a_card_that_is_gone() {
        let default = Device::open(None, false).unwrap();
        let device = Device::open_again("A card of last year (vulkan)", false).unwrap();
        assert_eq!(device.name(), default.name());
    }
}
