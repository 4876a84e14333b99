//! The machine that the program runs on: its processor, its system, its memory.

use std::time::{Duration, Instant};

use rayon::prelude::*;
use serde::Serialize;
use sysinfo::{CpuRefreshKind, MemoryRefreshKind, RefreshKind, System};

use crate::error::{Error, Result};
use crate::gemm::{Matrix, gemm};
use crate::human;

/// Properties of the CPU device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Host {
    /// The processor's name, as it reports it.
    pub name: String,
    /// Threads that programs run on.
    pub threads: usize,
    /// Bytes of memory; 0 if unknown.
    pub memory: u64,
    /// Bytes of it that are free.
    pub free_memory: u64,
}

impl Host {
    /// Queries the system.
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
            free_memory: free_memory().unwrap_or(0),
        }
    }
}

/// Vector registers of the processor: 16 for x86 without AVX-512, at least 32 for all others with
/// known software adapters.
#[must_use]
pub(crate) fn vector_registers() -> u32 {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    if !std::is_x86_feature_detected!("avx512vl") {
        return 16;
    }
    32
}

/// Bytes of memory that this process can still allocate: what the system has available, within the
/// limits of its control group and of its address space. `None` if unknown.
#[must_use]
pub fn free_memory() -> Option<u64> {
    let mut system = System::new();
    system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
    let available = Some(system.available_memory()).filter(|&bytes| bytes > 0);
    // Cached memory of a group is freed when needed.
    let group = match system.total_memory() {
        0 => None,
        _ => system.cgroup_limits().map(|group| group.total_memory.saturating_sub(group.rss)),
    };
    [available, group, address_space()].into_iter().flatten().min()
}

/// Fails if `bytes` exceed the available memory; `what` is the start of a sentence, in the plural.
///
/// # Errors
/// [`Error::Memory`].
pub fn afford(bytes: u64, what: &str) -> Result<()> {
    match free_memory() {
        Some(free) if bytes > free => Err(Error::Memory(format!(
            "{what} need {} of memory, and {} are available",
            human::bytes(bytes),
            human::bytes(free)
        ))),
        _ => Ok(()),
    }
}

/// Bytes of address space left under a limit (`ulimit -v`), minus an eighth for implicit mappings
/// of a process, such as its threads' stacks; `None` without a limit.
fn address_space() -> Option<u64> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let limit = limit_of_address_space(&limits)?;
    Some(limit.saturating_sub(kibibytes(&status, "VmSize:")?) / 8 * 7)
}

/// The limit in `/proc/self/limits`, in bytes.
fn limit_of_address_space(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max address space"))?;
    // `unlimited` is not a number.
    line.split_whitespace().next()?.parse().ok()
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
    /// Whether it is the peak of the process, or the current value.
    pub is_peak: bool,
}

/// The memory of this process: its peak if the system keeps count (`VmHWM` on Linux), else the
/// current value; `None` if unknown.
#[must_use]
pub fn process_memory() -> Option<ProcessMemory> {
    let status = std::fs::read_to_string("/proc/self/status").ok();
    if let Some(bytes) = status.as_deref().and_then(|status| kibibytes(status, "VmHWM:")) {
        return Some(ProcessMemory { bytes, is_peak: true });
    }
    let pid = sysinfo::get_current_pid().ok()?;
    let mut system = System::new();
    system.refresh_processes(sysinfo::ProcessesToUpdate::Some(&[pid]), false);
    let bytes = system.process(pid)?.memory();
    Some(ProcessMemory { bytes, is_peak: false })
}

/// An entry of `/proc/self/status`, in bytes.
fn kibibytes(status: &str, entry: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(entry))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Bytes that are copied at a time: more than the caches of most processors hold.
const COPIED: usize = 128 << 20;

/// Bytes per second, read and written, when all cores copy within memory; takes about a second.
#[must_use]
pub(super) fn measure_copies() -> f64 {
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

/// Rows and columns of the matrices that measure the CPU.
const SIDE: usize = 1536;

/// Floating-point operations per second of a large matrix product on all cores: the reference for
/// the CPU's kernels. Takes about a second.
#[must_use]
pub(super) fn measure_products() -> f64 {
    let a = vec![0.5_f32; SIDE * SIDE];
    let b = vec![0.25_f32; SIDE * SIDE];
    let mut y = vec![0.0_f32; SIDE * SIDE];
    let seconds = best_seconds(|| {
        let a = Matrix::new(&a, SIDE, SIDE, false);
        gemm(a, Matrix::new(&b, SIDE, SIDE, false), &mut y, false, true);
        std::hint::black_box(&mut y);
    });
    2.0 * (SIDE as f64).powi(3) / seconds
}

/// The least time of several runs of `work`, in seconds; the first does not count. Runs for about a
/// second, as other programs may take the cores for a while.
fn best_seconds(mut work: impl FnMut()) -> f64 {
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
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
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
        let mark = |status| kibibytes(status, "VmHWM:");
        assert_eq!(mark("VmPeak:\t 9 kB\nVmHWM:\t    2048 kB\n"), Some(2 << 20));
        assert_eq!(mark("VmHWM:\tmany kB\n"), None);
        assert_eq!(mark(""), None);
    }

    #[test]
    fn a_limit_of_the_address_space_is_read() {
        let limits = |soft: &str| {
            let head =
                "Limit                     Soft Limit           Hard Limit           Units\n";
            format!("{head}Max address space         {soft} unlimited            bytes\n")
        };
        assert_eq!(limit_of_address_space(&limits("2048000000")), Some(2_048_000_000));
        assert_eq!(limit_of_address_space(&limits("unlimited")), None);
        assert_eq!(limit_of_address_space(""), None);
        if let Some(free) = free_memory() {
            assert!(afford(free / 2, "some").is_ok());
            let text = afford(u64::MAX, "all images").unwrap_err().to_string();
            assert!(
                text.starts_with("all images need ") && text.ends_with(" are available"),
                "{text}"
            );
        }
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
