//! The GPUs of this machine, and which of them `--device` selects.

use std::fmt;

use crate::error::{Error, Result};

/// The kind of hardware of an adapter, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AdapterKind {
    /// A software adapter: llvmpipe, SwiftShader, WARP.
    Software,
    /// The driver does not report it.
    Other,
    /// A virtual machine's GPU.
    Virtual,
    /// A GPU that shares the CPU's memory.
    Integrated,
    /// A GPU with its own memory.
    Discrete,
}

impl fmt::Display for AdapterKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Software => "software",
            Self::Other => "unknown",
            Self::Virtual => "virtual",
            Self::Integrated => "integrated",
            Self::Discrete => "discrete",
        })
    }
}

/// One way to access one GPU. The same card under Vulkan and DX12 is two adapters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdapterInfo {
    /// Its index in [`list`]: a number that `--device` accepts.
    pub index: usize,
    /// The card's name.
    pub name: String,
    /// The graphics API: `vulkan`, `metal` or `dx12`.
    pub backend: &'static str,
    /// The driver's name and version.
    pub driver: String,
    /// What kind of hardware it is.
    pub kind: AdapterKind,
    /// Largest buffer in bytes.
    pub max_buffer: u64,
    /// Largest part of a buffer that a kernel can see, in bytes.
    pub max_binding: u64,
    /// Bytes of workgroup memory.
    pub workgroup_memory: u32,
    /// Invocations in a workgroup.
    pub invocations: u32,
    /// Smallest and largest subgroup size.
    pub subgroup: (u32, u32),
    /// Relevant optional features that it has.
    pub features: Vec<&'static str>,
}

impl fmt::Display for AdapterInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({}, {}", self.index, self.name, self.kind, self.backend)?;
        if !self.driver.is_empty() {
            write!(f, ", {}", self.driver)?;
        }
        f.write_str(")")
    }
}

/// Optional features worth reporting.
const FEATURES: [(wgpu::Features, &str); 4] = [
    (wgpu::Features::TIMESTAMP_QUERY, "timestamps"),
    (wgpu::Features::SUBGROUP, "subgroups"),
    (wgpu::Features::SHADER_F16, "f16"),
    (wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX, "matrix units"),
];

/// Software adapters that a driver may not mark as such.
const SOFTWARE: [&str; 3] = ["llvmpipe", "swiftshader", "microsoft basic render"];

/// The graphics APIs in use: Vulkan, Metal and DX12.
pub(super) const BACKENDS: wgpu::Backends =
    wgpu::Backends::PRIMARY.difference(wgpu::Backends::BROWSER_WEBGPU);

/// A connection to the machine's drivers.
pub(super) fn instance() -> wgpu::Instance {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = BACKENDS;
    // An error before the driver starts to swap to host memory, where it reports its usage.
    descriptor.memory_budget_thresholds.for_resource_creation = Some(95);
    wgpu::Instance::new(descriptor)
}

/// All adapters with their properties, in a fixed order.
pub(super) fn adapters(instance: &wgpu::Instance) -> Vec<(wgpu::Adapter, AdapterInfo)> {
    let adapters = pollster::block_on(instance.enumerate_adapters(BACKENDS));
    let describe = |(index, adapter): (usize, wgpu::Adapter)| {
        let info = describe(index, &adapter);
        (adapter, info)
    };
    adapters.into_iter().enumerate().map(describe).collect()
}

/// The properties of an adapter.
fn describe(index: usize, adapter: &wgpu::Adapter) -> AdapterInfo {
    let info = adapter.get_info();
    let limits = adapter.limits();
    let features = adapter.features();
    let lower = info.name.to_lowercase();
    let kind = match info.device_type {
        _ if SOFTWARE.iter().any(|name| lower.contains(name)) => AdapterKind::Software,
        wgpu::DeviceType::Cpu => AdapterKind::Software,
        wgpu::DeviceType::Other => AdapterKind::Other,
        wgpu::DeviceType::VirtualGpu => AdapterKind::Virtual,
        wgpu::DeviceType::IntegratedGpu => AdapterKind::Integrated,
        wgpu::DeviceType::DiscreteGpu => AdapterKind::Discrete,
    };
    AdapterInfo {
        index,
        name: info.name,
        backend: info.backend.to_str(),
        driver: format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
        kind,
        max_buffer: limits.max_buffer_size,
        max_binding: limits.max_storage_buffer_binding_size,
        workgroup_memory: limits.max_compute_workgroup_storage_size,
        invocations: limits.max_compute_invocations_per_workgroup,
        subgroup: (info.subgroup_min_size, info.subgroup_max_size),
        features: FEATURES.iter().filter(|f| features.contains(f.0)).map(|f| f.1).collect(),
    }
}

/// Every adapter of this machine under Vulkan, Metal and DX12, software ones included.
#[must_use]
pub fn list() -> Vec<AdapterInfo> {
    adapters(&instance()).into_iter().map(|(_, info)| info).collect()
}

/// The strongest hardware adapter of this machine, if any.
#[must_use]
pub fn default_device() -> Option<usize> {
    strongest(&list())
}

/// The index of the hardware adapter that the `k`-th process of a machine takes by default: in turn those
/// that are like the strongest.
#[must_use]
pub fn device_of(k: usize, adapters: &[AdapterInfo]) -> Option<usize> {
    let best = strongest(adapters)?;
    let best = adapters.iter().find(|adapter| adapter.index == best)?;
    let like = |a: &&AdapterInfo| (a.kind, a.backend) == (best.kind, best.backend);
    let all: Vec<usize> = adapters.iter().filter(like).map(|adapter| adapter.index).collect();
    all.get(k % all.len()).copied()
}

/// The index of the strongest hardware adapter. Kinds come first; then Vulkan and Metal before
/// DX12, whose compiler is slower and cannot omit its checks; then limits.
#[must_use]
pub fn strongest(adapters: &[AdapterInfo]) -> Option<usize> {
    let strength = |a: &&AdapterInfo| {
        (
            a.kind,
            a.backend != "dx12",
            a.max_buffer,
            a.workgroup_memory,
            a.invocations,
            std::cmp::Reverse(a.index),
        )
    };
    let hardware = adapters.iter().filter(|a| a.kind != AdapterKind::Software);
    hardware.max_by_key(strength).map(|a| a.index)
}

/// The index of the adapter that the text after `--device` selects: `gpu` for the strongest
/// hardware, an index, or a name or part of one. A software adapter is found only by index or name.
///
/// # Errors
/// [`Error::Device`], listing the adapters, if the text matches no adapter or several.
pub fn select(adapters: &[AdapterInfo], text: &str) -> Result<usize> {
    let text = text.trim();
    let fail = |what: String| Err(Error::Device(format!("`device` {text}: {what}")));
    if text.eq_ignore_ascii_case("gpu") {
        return match strongest(adapters) {
            Some(index) => Ok(index),
            None => fail(format!(
                "no hardware GPU was found; use `device` cpu{}",
                if adapters.is_empty() {
                    String::new()
                } else {
                    format!(", or name a software adapter: {}", names(adapters))
                }
            )),
        };
    }
    if let Ok(index) = text.parse::<usize>() {
        if adapters.iter().any(|a| a.index == index) {
            return Ok(index);
        }
        return fail(format!("there is no such number; {}", known(adapters)));
    }
    let wanted = text.to_lowercase();
    let matching = |test: &dyn Fn(&str) -> bool| -> Vec<&AdapterInfo> {
        adapters.iter().filter(|a| test(&a.name.to_lowercase())).collect()
    };
    let mut found = matching(&|name| name == wanted);
    if found.is_empty() && !wanted.is_empty() {
        found = matching(&|name| name.contains(&wanted));
    }
    match found.as_slice() {
        [one] => Ok(one.index),
        [] => fail(format!("there is no such device; {}", known(adapters))),
        several => {
            let several: Vec<AdapterInfo> = several.iter().map(|&a| a.clone()).collect();
            fail(format!("several match; give one's number: {}", names(&several)))
        }
    }
}

/// The available names, as a sentence.
fn known(adapters: &[AdapterInfo]) -> String {
    if adapters.is_empty() {
        "no GPU was found under Vulkan, Metal or DX12; use `device` cpu".into()
    } else {
        format!("use cpu, gpu, or one of: {}", names(adapters))
    }
}

/// Adapters in one line.
fn names(adapters: &[AdapterInfo]) -> String {
    adapters.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    fn adapter(
        name: &str,
        backend: &'static str,
        kind: AdapterKind,
        max_buffer: u64,
    ) -> AdapterInfo {
        AdapterInfo {
            index: 0,
            name: name.into(),
            backend,
            driver: "1.2".into(),
            kind,
            max_buffer,
            max_binding: max_buffer,
            workgroup_memory: 32_768,
            invocations: 1024,
            subgroup: (32, 32),
            features: Vec::new(),
        }
    }

    fn machine(adapters: &[AdapterInfo]) -> Vec<AdapterInfo> {
        let number = |(index, a): (usize, &AdapterInfo)| AdapterInfo { index, ..a.clone() };
        adapters.iter().enumerate().map(number).collect()
    }

    #[test]
    fn the_strongest_is_hardware() {
        use AdapterKind::{Discrete, Integrated, Other, Software, Virtual};
        let software = adapter("llvmpipe", "vulkan", Software, 1 << 40);
        assert_eq!(strongest(&machine(std::slice::from_ref(&software))), None);
        let all = [
            software,
            adapter("Card", "dx12", Discrete, 1 << 33),
            adapter("Chip", "vulkan", Integrated, 1 << 35),
            adapter("Small", "vulkan", Discrete, 1 << 31),
            adapter("Card", "vulkan", Discrete, 1 << 32),
            adapter("Card", "vulkan", Discrete, 1 << 32),
            adapter("Lent", "vulkan", Virtual, 1 << 36),
            adapter("What", "vulkan", Other, 1 << 37),
        ];
        let all = machine(&all);
        assert_eq!(strongest(&all), Some(4));
        assert_eq!(strongest(&all[..3]), Some(1));
        assert_eq!(strongest(&[all[0].clone(), all[6].clone(), all[7].clone()]), Some(6));
        assert_eq!(select(&all, "GPU").unwrap(), 4);
    }

    #[test]
    fn devices_are_named_by_number_or_part() {
        let all = machine(&[
            adapter("NVIDIA GeForce RTX 3060", "vulkan", AdapterKind::Discrete, 1 << 32),
            adapter("NVIDIA GeForce RTX 3060", "dx12", AdapterKind::Discrete, 1 << 32),
            adapter("NVIDIA GeForce RTX 3060 Ti", "vulkan", AdapterKind::Discrete, 1 << 32),
            adapter("llvmpipe (LLVM 15)", "vulkan", AdapterKind::Software, 1 << 32),
        ]);
        assert_eq!(select(&all, "1").unwrap(), 1);
        assert_eq!(select(&all, "LLVMpipe").unwrap(), 3);
        assert_eq!(select(&all, "3060 ti").unwrap(), 2);
        let error = |text: &str| select(&all, text).unwrap_err().to_string();
        let several = error("nvidia geforce rtx 3060");
        assert!(several.contains("number") && several.contains("dx12"), "{several}");
        assert!(!several.contains("Ti"), "{several}");
        for text in ["9", "radeon", ""] {
            let unknown = error(text);
            assert!(unknown.contains("0: NVIDIA") && unknown.contains("llvmpipe"), "{unknown}");
        }
        let none = select(&[], "gpu").unwrap_err().to_string();
        assert!(none.contains("`device` cpu"), "{none}");
        let software = select(&machine(&all[3..]), "gpu").unwrap_err().to_string();
        assert!(software.contains("llvmpipe") && software.contains("`device` cpu"), "{software}");
    }
}
