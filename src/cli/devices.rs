//! `dcgan devices`: the available devices.

use clap::Args;
use serde::Serialize;

use crate::device::gpu::{AdapterInfo, AdapterKind, list, strongest};
use crate::device::host::Host;
use crate::error::Result;
use crate::human;

use super::flags::JsonFlag;

/// What to do if no hardware GPU is found.
const ADVICE: &str = if cfg!(target_os = "linux") {
    "No hardware GPU was found, so everything runs on the CPU. If this machine has a GPU, it lacks a
Vulkan driver. For AMD and Intel: mesa-vulkan-drivers (apt install on Debian and Ubuntu, dnf install
on Fedora). For NVIDIA: nvidia-driver (Debian), ubuntu-drivers install (Ubuntu), akmod-nvidia from
RPM Fusion (Fedora). Then log in again, and see whether the GPU is listed here.
"
} else if cfg!(target_os = "macos") {
    "No hardware GPU was found, so everything runs on the CPU. Every Mac with macOS 10.13 or newer has
one under Metal, except virtual machines.
"
} else {
    "No hardware GPU was found, so everything runs on the CPU. If this machine has a GPU, install its
maker's driver (AMD, Intel or NVIDIA), which brings Vulkan and DirectX 12.
"
};

#[derive(Debug, Args)]
pub(super) struct Devices {
    #[command(flatten)]
    json: JsonFlag,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report {
    devices: Vec<Entry>,
}

/// One device.
#[derive(Debug, Serialize)]
struct Entry {
    /// The value for `--device`.
    device: String,
    /// Whether it is used without `--device`.
    default: bool,
    name: String,
    kind: String,
    /// Whether it is a software adapter (llvmpipe, WARP).
    software: bool,
    #[serde(flatten)]
    about: About,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum About {
    Cpu {
        threads: usize,
        memory: u64,
        free_memory: u64,
    },
    Gpu {
        backend: &'static str,
        driver: String,
        max_buffer: u64,
        max_binding: u64,
        workgroup_memory: u32,
        invocations: u32,
        subgroup_min: u32,
        subgroup_max: u32,
        features: Vec<&'static str>,
    },
}

impl Entry {
    fn cpu(host: Host, default: bool) -> Self {
        let Host { name, threads, memory, free_memory } = host;
        let about = About::Cpu { threads, memory, free_memory };
        Self { device: "cpu".into(), default, name, kind: "CPU".into(), software: false, about }
    }

    fn gpu(info: AdapterInfo, default: bool) -> Self {
        Self {
            device: info.index.to_string(),
            default,
            name: info.name,
            kind: info.kind.to_string(),
            software: info.kind == AdapterKind::Software,
            about: About::Gpu {
                backend: info.backend,
                driver: info.driver,
                max_buffer: info.max_buffer,
                max_binding: info.max_binding,
                workgroup_memory: info.workgroup_memory,
                invocations: info.invocations,
                subgroup_min: info.subgroup.0,
                subgroup_max: info.subgroup.1,
                features: info.features,
            },
        }
    }

    /// The device in a few lines.
    fn text(&self) -> String {
        let mark = if self.default { '*' } else { ' ' };
        let mut lines = vec![format!("{mark} {:<4} {}", self.device, self.name)];
        let mut more = |text: String| lines.push(format!("       {text}"));
        match &self.about {
            About::Cpu { threads, memory, free_memory } => {
                let memory = match memory {
                    0 => String::new(),
                    _ => format!(
                        ", memory {} ({} free)",
                        human::bytes(*memory),
                        human::bytes(*free_memory)
                    ),
                };
                let threads = human::plural(*threads as u64, "thread");
                more(format!("{}, {threads}{memory}", self.kind));
            }
            About::Gpu {
                backend,
                driver,
                max_buffer,
                max_binding,
                workgroup_memory,
                invocations,
                subgroup_min,
                subgroup_max,
                features,
            } => {
                let driver = match driver.as_str() {
                    "" => String::new(),
                    driver => format!(", driver {driver}"),
                };
                more(format!("{} GPU, {backend}{driver}", self.kind));
                more(format!(
                    "largest buffer {}, binding {}; workgroups of {invocations} with {}",
                    human::bytes(*max_buffer),
                    human::bytes(*max_binding),
                    human::bytes(u64::from(*workgroup_memory)),
                ));
                let subgroups = match (subgroup_min, subgroup_max) {
                    (0, 0) => "subgroups of unknown size".into(),
                    (min, max) if min == max => format!("subgroups of {min}"),
                    (min, max) => format!("subgroups of {min} to {max}"),
                };
                let features = match features.join(", ").as_str() {
                    "" => String::new(),
                    features => format!("; has {features}"),
                };
                more(format!("{subgroups}{features}"));
                if self.software {
                    more("only for tests: a software adapter, slower than --device cpu".into());
                }
            }
        }
        lines.join("\n") + "\n"
    }
}

/// Every device: the CPU first, then adapters by their number.
fn entries(host: Host, adapters: Vec<AdapterInfo>) -> Vec<Entry> {
    let default = strongest(&adapters);
    let mut all = vec![Entry::cpu(host, default.is_none())];
    all.extend(adapters.into_iter().map(|a| {
        let is_default = Some(a.index) == default;
        Entry::gpu(a, is_default)
    }));
    all
}

/// The list as text.
fn text(entries: &[Entry]) -> String {
    let mut text: String = entries.iter().map(Entry::text).collect();
    text += "\n* is the default; --device takes cpu, gpu, a number, or part of a name\n";
    let has_hardware = entries.iter().any(|e| matches!(e.about, About::Gpu { .. }) && !e.software);
    if !has_hardware {
        text += "\n";
        text += ADVICE;
    }
    text
}

impl Devices {
    pub(super) fn run(&self) -> Result<()> {
        let entries = entries(Host::look(), list());
        self.json.print(&text(&entries))?;
        self.json.report(&Report { devices: entries })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> Host {
        Host { name: "Chip".into(), threads: 4, memory: 8 << 30, free_memory: 4 << 30 }
    }

    fn adapter(index: usize, name: &str, kind: AdapterKind) -> AdapterInfo {
        AdapterInfo {
            index,
            name: name.into(),
            backend: "vulkan",
            driver: "Driver 1.2".into(),
            kind,
            max_buffer: 1 << 32,
            max_binding: 1 << 31,
            workgroup_memory: 32_768,
            invocations: 1024,
            subgroup: (8, 32),
            features: vec!["timestamps"],
        }
    }

    #[test]
    fn without_a_gpu_the_cpu_is_used_and_a_driver_is_named() {
        let text = text(&entries(host(), Vec::new()));
        assert!(text.starts_with("* cpu  Chip\n       CPU, 4 threads, memory 8.0 GiB"), "{text}");
        assert!(text.contains("No hardware GPU was found") && text.contains("CPU"), "{text}");
        assert!(!cfg!(target_os = "linux") || text.contains("mesa-vulkan-drivers"), "{text}");
    }

    #[test]
    fn a_software_adapter_is_never_the_default() {
        let software = adapter(0, "llvmpipe", AdapterKind::Software);
        let text_of = |adapters: Vec<AdapterInfo>| text(&entries(host(), adapters));
        let alone = text_of(vec![software.clone()]);
        assert!(alone.contains("* cpu") && alone.contains("  0    llvmpipe"), "{alone}");
        assert!(alone.contains("only for tests") && alone.contains("No hardware GPU"), "{alone}");
        let both = text_of(vec![software, adapter(1, "Card", AdapterKind::Discrete)]);
        assert!(both.contains("* 1    Card\n") && both.contains("  cpu  Chip"), "{both}");
        assert!(both.contains("subgroups of 8 to 32; has timestamps"), "{both}");
        assert!(!both.contains("No hardware GPU"), "{both}");
    }

    #[test]
    fn json_has_one_object_a_device() {
        let devices = entries(host(), vec![adapter(0, "Card", AdapterKind::Discrete)]);
        let json = serde_json::to_value(Report { devices }).expect("plain data");
        let json = &json["devices"];
        assert_eq!(json[0]["device"], "cpu");
        assert_eq!(json[0]["threads"], 4);
        assert_eq!(
            (&json[1]["default"], &json[1]["max_binding"]),
            (&true.into(), &(1_u64 << 31).into())
        );
    }
}
