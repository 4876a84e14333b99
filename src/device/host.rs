//! The machine that the program runs on: its processor, its system, its memory.

use std::time::{Duration, Instant};

use rayon::prelude::*;
use serde::Serialize;
use sysinfo::{CpuRefreshKind, MemoryRefreshKind, RefreshKind, System};

/// What the CPU device is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Host {
    /// The processor's name, as it gives it.
    pub name: String,
    /// Threads that programs run on.
    pub threads: usize,
    /// Bytes of memory; 0 where the system does not say.
    pub memory: u64,
    /// Bytes of it that are free.
    pub free_memory: u64,
}

impl Host {
    /// Asks the system.
    #[must_use]
    pub fn look() -> Self {
        let what = RefreshKind::nothing()
            .with_cpu(CpuRefreshKind::nothing())
            .with_memory(MemoryRefreshKind::nothing().with_ram());
        let system = System::new_with_specifics(what);
        let brand = system.cpus().first().map_or("", |cpu| cpu.brand().trim());
        let name = if brand.is_empty() { System::cpu_arch() } else { brand.to_owned() };
        Self {
            name,
            threads: rayon::current_num_threads(),
            memory: system.total_memory(),
            free_memory: system.available_memory(),
        }
    }
}

/// The operating system, its kernel and the processor's architecture, in one line.
#[must_use]
pub fn system() -> String {
    let os = System::long_os_version().unwrap_or_else(|| std::env::consts::OS.into());
    let kernel = System::kernel_version().map_or(String::new(), |v| format!(", kernel {v}"));
    format!("{os}{kernel}, {}", std::env::consts::ARCH)
}

/// Memory of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ProcessMemory {
    /// Bytes.
    pub bytes: u64,
    /// Whether it is the most that the process ever had, or what it has now.
    pub is_peak: bool,
}

/// The memory of this process: the most it ever had where the system keeps count (`VmHWM` on
/// Linux), else what it has now; `None` where the system does not say.
#[must_use]
pub fn process_memory() -> Option<ProcessMemory> {
    let status = std::fs::read_to_string("/proc/self/status").ok();
    if let Some(bytes) = status.as_deref().and_then(high_water_mark) {
        return Some(ProcessMemory { bytes, is_peak: true });
    }
    let pid = sysinfo::get_current_pid().ok()?;
    let mut system = System::new();
    system.refresh_processes(sysinfo::ProcessesToUpdate::Some(&[pid]), false);
    let bytes = system.process(pid)?.memory();
    Some(ProcessMemory { bytes, is_peak: false })
}

/// `VmHWM` of `/proc/self/status`, in bytes.
fn high_water_mark(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Bytes that are copied at a time: more than the caches of most processors hold.
const COPIED: usize = 128 << 20;

/// Bytes per second, read and written, that all cores copy within memory; takes about a second.
#[must_use]
pub fn measure_copies() -> f64 {
    let from = vec![1_u8; COPIED];
    let mut to = vec![0_u8; COPIED];
    let part = COPIED.div_ceil(4 * rayon::current_num_threads());
    best_seconds(|| {
        to.par_chunks_mut(part).zip(from.par_chunks(part)).for_each(|(to, from)| {
            to.copy_from_slice(from);
        });
        std::hint::black_box(&mut to);
    })
    .recip()
        * 2.0
        * COPIED as f64
}

/// The least time of several runs of `work`, in seconds; the first does not count. For about a
/// second, as other programs may take the cores for a while.
pub(crate) fn best_seconds(mut work: impl FnMut()) -> f64 {
    work();
    let start = Instant::now();
    let (mut best, mut runs) = (f64::INFINITY, 0);
    while runs < 3 || (start.elapsed() < Duration::from_secs(1) && runs < 1000) {
        let start = Instant::now();
        work();
        best = best.min(start.elapsed().as_secs_f64());
        runs += 1;
    }
    best.max(1e-9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_has_a_name_and_threads() {
        let host = Host::look();
        assert!(!host.name.is_empty() && host.threads > 0, "{host:?}");
        assert!(host.free_memory <= host.memory, "{host:?}");
        assert!(system().contains(std::env::consts::ARCH), "{}", system());
    }

    #[test]
    fn copies_are_neither_free_nor_endless() {
        let rate = measure_copies();
        assert!((1e8..1e14).contains(&rate), "{rate}");
    }

    #[test]
    fn the_high_water_mark_is_read() {
        assert_eq!(high_water_mark("VmPeak:\t 9 kB\nVmHWM:\t    2048 kB\n"), Some(2 << 20));
        assert_eq!(high_water_mark("VmHWM:\tmany kB\n"), None);
        assert_eq!(high_water_mark(""), None);
    }

    #[test]
    fn memory_that_was_touched_is_counted() {
        let touched = std::hint::black_box(vec![1_u8; 64 << 20]);
        let after = process_memory();
        assert!(touched.iter().all(|&b| b == 1));
        if let Some(after) = after {
            assert!(after.bytes >= 64 << 20, "{after:?}");
        }
    }
}
