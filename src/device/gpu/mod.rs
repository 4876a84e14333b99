//! A GPU through wgpu: Vulkan, Metal or DX12.
//!
//! [`list`] and [`select`] find an adapter, [`Gpu::open`] opens it, [`GpuProgram`] runs a
//! [`Script`](super::Script) on it. Nothing here panics or waits forever if the driver fails:
//! asynchronous errors are stored and reported by the next call.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::error::{Error, Result};

mod adapter;
mod ahead;
mod buffer;
mod kernel;
mod pace;
mod peak;
mod prepare;
mod profile;
mod program;
mod ring;
mod status;
mod tune;

pub use adapter::{AdapterInfo, AdapterKind, default_device, device_of, list, select, strongest};
pub use buffer::GpuBuffer;
pub(crate) use buffer::PART_ALIGN;
pub(super) use peak::measure_peak;
pub use profile::Timing;
pub use program::{GpuProgram, Ticket};
pub use tune::{Candidate, Contest, Verdict};

use buffer::Pending;
use kernel::Kernel;
use status::{Status, quiet_expected_panics, without_panic};

/// Workgroup memory that every GPU has; more costs occupancy on most.
const WORKGROUP_MEMORY: u32 = 16_384;
/// Invocations in a workgroup that every GPU can run.
const INVOCATIONS: u32 = 256;
/// Workgroups along one dimension that every GPU can run.
const GROUPS: u32 = 65_535;
/// Maximum number of live bindings. DX12 allocates its descriptor heap for all of them at once, so
/// wgpu's default of a million costs memory; the largest programs here bind a few thousand.
const BINDINGS: u32 = 65_536;

/// How a GPU is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GpuOptions {
    /// Keep the compiler's bounds checks and loop bounds in kernels: slower, but safe against
    /// kernel errors. For tests and `--checked`.
    pub checked: bool,
    /// Use the kernels meant for hardware on a software adapter too: for tests.
    pub hardware_kernels: bool,
    /// Allow subgroup operations in kernels, if all subgroups of the adapter have one size.
    pub subgroups: bool,
}

impl Default for GpuOptions {
    fn default() -> Self {
        Self { checked: false, hardware_kernels: false, subgroups: true }
    }
}

/// What kernels may rely on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GpuLimits {
    /// The card's name.
    pub name: String,
    /// The graphics API: `vulkan`, `metal` or `dx12`.
    pub backend: &'static str,
    /// The driver's name and version.
    pub driver: String,
    /// Bytes of workgroup memory that a kernel should use at most.
    pub workgroup_memory: u32,
    /// Invocations that a workgroup should have at most.
    pub invocations: u32,
    /// Workgroups along one dimension of a dispatch.
    pub groups_per_dimension: u32,
    /// Storage buffers of one kernel.
    pub storage_buffers: u32,
    /// Bytes of a buffer that a kernel can see.
    pub max_binding: u64,
    /// Bytes of a buffer.
    pub max_buffer: u64,
    /// The size of every subgroup, where kernels may use subgroup operations.
    pub subgroup: Option<u32>,
    /// Whether kernels may keep 16-bit floats.
    pub f16: bool,
    /// Bytes that may be passed with a dispatch; 0 on hardware, where no kernel needs them.
    pub immediates: u32,
    /// Whether it is a software adapter.
    pub software: bool,
}

/// An open GPU. Clones are the same GPU.
#[derive(Clone)]
pub struct Gpu {
    inner: Arc<Inner>,
}

/// What the clones share.
struct Inner {
    /// The adapter it was opened from, for opening it again.
    origin: (wgpu::Adapter, AdapterInfo, GpuOptions),
    device: wgpu::Device,
    queue: wgpu::Queue,
    limits: GpuLimits,
    /// The limits that the driver enforces, which may exceed those that [`GpuLimits`] recommends.
    hard: wgpu::Limits,
    timestamps: bool,
    status: Arc<Status>,
    timeout: Duration,
    allocated: Arc<AtomicU64>,
    creations: AtomicU64,
    uploads: AtomicU64,
    pending: Mutex<Pending>,
    /// Compiled kernels by source: a second program of the same shapes compiles nothing.
    kernels: Mutex<HashMap<String, Arc<Kernel>>>,
}

impl Drop for Inner {
    /// When dropped, wgpu 30's queue waits forever for a hung device, and panics for a lost one
    /// (`Queue::drop` in wgpu-core's device/queue.rs): such a queue is left open until the process
    /// ends.
    fn drop(&mut self) {
        let timeout = Some(self.timeout);
        let wait = wgpu::PollType::Wait { submission_index: None, timeout };
        let failed = || self.status.error("").is_some();
        if failed() || !matches!(without_panic(|| self.device.poll(wait)), Ok(Ok(_))) || failed() {
            std::mem::forget((self.queue.clone(), self.device.clone()));
        }
    }
}

impl fmt::Debug for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gpu").field("limits", &self.inner.limits).finish_non_exhaustive()
    }
}

impl Gpu {
    /// Opens the adapter selected by `selection` (the text after `--device`); see [`select`].
    ///
    /// # Errors
    /// [`Error::Device`] if there is no such adapter, or its driver refuses.
    pub fn open(selection: &str, options: GpuOptions) -> Result<Self> {
        let mut adapters = adapter::adapters(&adapter::instance());
        let infos: Vec<AdapterInfo> = adapters.iter().map(|(_, info)| info.clone()).collect();
        let (adapter, info) = adapters.swap_remove(select(&infos, selection)?);
        Self::open_adapter(adapter, info, options)
    }

    /// Opens the same adapter again, through its own instance: the devices of one llvmpipe adapter
    /// wait for each other while compiling.
    fn open_again(&self) -> Result<Self> {
        let (_, info, options) = &self.inner.origin;
        Self::open(&info.index.to_string(), *options)
    }

    fn open_adapter(
        adapter: wgpu::Adapter,
        info: AdapterInfo,
        options: GpuOptions,
    ) -> Result<Self> {
        let subgroups = options.subgroups && info.subgroup.0 == info.subgroup.1;
        let mut wanted = wgpu::Features::TIMESTAMP_QUERY | wgpu::Features::SHADER_F16;
        wanted.set(wgpu::Features::SUBGROUP, subgroups);
        // Native drivers have 128 bytes of immediates or no immediates.
        wanted.set(wgpu::Features::IMMEDIATES, info.kind == AdapterKind::Software);
        let features = adapter.features() & wanted;
        let has = adapter.limits();
        // Small GPUs lack some of WebGPU's limits for textures, which do not matter here.
        let required = wgpu::Limits {
            max_buffer_size: has.max_buffer_size,
            max_storage_buffer_binding_size: has.max_storage_buffer_binding_size,
            max_storage_buffers_per_shader_stage: has.max_storage_buffers_per_shader_stage,
            max_compute_workgroup_storage_size: has.max_compute_workgroup_storage_size,
            max_compute_invocations_per_workgroup: has.max_compute_invocations_per_workgroup,
            max_compute_workgroup_size_x: has.max_compute_workgroup_size_x,
            max_compute_workgroup_size_y: has.max_compute_workgroup_size_y,
            max_compute_workgroup_size_z: has.max_compute_workgroup_size_z,
            max_non_sampler_bindings: BINDINGS.min(has.max_non_sampler_bindings),
            max_immediate_size: if features.contains(wgpu::Features::IMMEDIATES) {
                has.max_immediate_size
            } else {
                0
            },
            ..wgpu::Limits::defaults().or_worse_values_from(&has)
        };
        let (device, queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor {
            label: Some("dcgan"),
            required_features: features,
            required_limits: required,
            experimental_features: wgpu::ExperimentalFeatures::disabled(),
            memory_hints: wgpu::MemoryHints::MemoryUsage,
            trace: wgpu::Trace::Off,
        }))
        .map_err(|error| {
            Error::Device(format!("the driver of {info} does not open it: {error}"))
        })?;

        // Set here, because a destructor may run during a panic, when hooks cannot be set.
        quiet_expected_panics();
        let status = Arc::new(Status::default());
        let lost = Arc::clone(&status);
        device.set_device_lost_callback(move |reason, message| {
            lost.lost(match reason {
                wgpu::DeviceLostReason::Destroyed => "it was closed".to_owned(),
                wgpu::DeviceLostReason::Unknown if message.is_empty() => {
                    "the driver gave no reason".to_owned()
                }
                wgpu::DeviceLostReason::Unknown => message,
            });
        });
        let uncaptured = Arc::clone(&status);
        device.on_uncaptured_error(Arc::new(move |error| uncaptured.uncaptured(error)));

        let hard = device.limits();
        let software = info.kind == AdapterKind::Software;
        // Metal needs one buffer for the lengths of the others.
        let spare = u32::from(info.backend == "metal");
        let limits = GpuLimits {
            name: info.name.clone(),
            backend: info.backend,
            driver: info.driver.clone(),
            workgroup_memory: hard.max_compute_workgroup_storage_size.min(WORKGROUP_MEMORY),
            invocations: hard.max_compute_invocations_per_workgroup.min(INVOCATIONS),
            groups_per_dimension: hard.max_compute_workgroups_per_dimension.min(GROUPS),
            storage_buffers: hard.max_storage_buffers_per_shader_stage.saturating_sub(spare),
            max_binding: hard.max_storage_buffer_binding_size,
            max_buffer: hard.max_buffer_size,
            subgroup: features.contains(wgpu::Features::SUBGROUP).then_some(info.subgroup.0),
            f16: features.contains(wgpu::Features::SHADER_F16),
            software: software && !options.hardware_kernels,
            immediates: if options.hardware_kernels { 0 } else { hard.max_immediate_size },
        };
        Ok(Self {
            inner: Arc::new(Inner {
                origin: (adapter, info, options),
                device,
                queue,
                limits,
                hard,
                timestamps: features.contains(wgpu::Features::TIMESTAMP_QUERY),
                status,
                // A driver resets hardware after seconds; a software adapter may just be slow.
                timeout: Duration::from_secs(if software { 600 } else { 60 }),
                allocated: Arc::new(AtomicU64::new(0)),
                creations: AtomicU64::new(0),
                uploads: AtomicU64::new(0),
                pending: Mutex::new(Pending::default()),
                kernels: Mutex::new(HashMap::new()),
            }),
        })
    }

    /// What kernels may rely on.
    #[must_use]
    pub fn caps(&self) -> &GpuLimits {
        &self.inner.limits
    }

    /// Whether kernels keep the compiler's checks.
    #[must_use]
    pub fn is_checked(&self) -> bool {
        self.inner.origin.2.checked
    }

    /// Bytes of all existing buffers on this GPU.
    #[must_use]
    pub fn allocated_bytes(&self) -> u64 {
        self.inner.allocated.load(Ordering::Relaxed)
    }

    /// The number of buffers, bind groups, pipelines and query sets ever created on this GPU.
    #[must_use]
    pub fn creations(&self) -> u64 {
        self.inner.creations.load(Ordering::Relaxed)
    }

    /// The number of times data was sent to this GPU.
    #[must_use]
    pub fn uploads(&self) -> u64 {
        self.inner.uploads.load(Ordering::Relaxed)
    }

    /// Sends data with the next submission. This is the only way to write a buffer.
    fn upload(&self, to: &GpuBuffer, offset: u64, data: &[u8]) {
        self.inner.uploads.fetch_add(1, Ordering::Relaxed);
        self.inner.queue.write_buffer(to.raw(), to.start() + offset, data);
    }

    /// Abandons the GPU: every later call on it or its clones is [`Error::Lost`].
    pub fn close(&self) {
        self.inner.device.destroy();
    }

    fn created(&self) {
        self.inner.creations.fetch_add(1, Ordering::Relaxed);
    }

    /// Reports any failure so far.
    ///
    /// # Errors
    /// [`Error::Lost`] or [`Error::Memory`] if the GPU failed since it was opened.
    pub fn check(&self) -> Result<()> {
        match self.inner.status.error(&self.inner.limits.name) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Marks the GPU as lost and returns the error.
    fn lose(&self, why: impl Into<String>) -> Error {
        self.inner.status.lost(why);
        let fallback = || Error::Lost("the GPU was lost".into());
        self.inner.status.error(&self.inner.limits.name).unwrap_or_else(fallback)
    }

    /// Waits until a submission is done, and runs its callbacks.
    fn wait(&self, submission: &wgpu::SubmissionIndex) -> Result<()> {
        self.check()?;
        let timeout = self.inner.timeout;
        self.poll(wgpu::PollType::Wait {
            submission_index: Some(submission.clone()),
            timeout: Some(timeout),
        })
    }

    /// Runs the callbacks of completed work.
    fn turn(&self) -> Result<()> {
        self.check()?;
        self.poll(wgpu::PollType::Poll)
    }

    fn poll(&self, poll: wgpu::PollType) -> Result<()> {
        match without_panic(|| self.inner.device.poll(poll)) {
            Ok(Ok(_)) => self.check(),
            Ok(Err(wgpu::PollError::Timeout)) => Err(self
                .lose(format!("it has not answered for {} seconds", self.inner.timeout.as_secs()))),
            // The submission was refused, and its callbacks may have the reason.
            Ok(Err(other)) => {
                // Destroyed devices report so only when polled without a submission.
                let _ = without_panic(|| self.inner.device.poll(wgpu::PollType::Poll));
                self.check()?;
                Err(self.lose(other.to_string()))
            }
            Err(panic) => {
                self.check()?;
                Err(self.lose(panic))
            }
        }
    }
}
