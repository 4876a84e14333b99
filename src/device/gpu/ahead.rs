//! Parallel compilation for drivers that do not parallelize it.
//!
//! llvmpipe compiles a kernel when it first runs, and its queue is one thread: the first step of a
//! program would wait for one kernel after the other. But compiled kernels go into Mesa's shader
//! cache on disk, shared by all. So each further thread opens the adapter once more and runs its
//! share of the kernels there, with no workgroup; the first step then finds them in the cache.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::Gpu;
use super::kernel::{Job, Kernel};
use crate::error::Result;

/// The number of kernels from which opening the adapter once more pays off.
const MANY: usize = 8;

impl Gpu {
    /// Makes the driver compile the kernels of `jobs` on `threads` threads, if it would do so only
    /// at their first run. The longest come first, so that no thread ends long after the others.
    pub(super) fn compile_ahead(&self, jobs: &[Job], threads: usize) {
        let compiles_late = self.inner.origin.1.driver.contains("llvmpipe");
        let mut order: Vec<&Job> =
            jobs.iter().filter(|job| !self.has_kernel(&job.source)).collect();
        if !compiles_late || order.len() < 2 * MANY || threads < 2 {
            return;
        }
        order.sort_by_key(|job| std::cmp::Reverse(job.source.len()));
        let next = AtomicUsize::new(0);
        let work = |gpu: &Self| {
            while let Some(job) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
                // Failures here occur again where they are reported.
                let _ = gpu.kernel(job).and_then(|kernel| gpu.run_empty(&kernel));
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..threads.min(order.len() / MANY) {
                let more = || self.open_again().map(|gpu| work(&gpu));
                // If the system cannot start more threads, the existing ones do all the work.
                if std::thread::Builder::new().spawn_scoped(scope, more).is_err() {
                    break;
                }
            }
            work(self);
        });
    }

    /// Runs a kernel with no workgroup, and waits for it.
    fn run_empty(&self, kernel: &Kernel) -> Result<()> {
        let buffer = |_| self.create_buffer(256, "empty run");
        let buffers = kernel.bindings.iter().map(buffer).collect::<Result<Vec<_>>>()?;
        let bind_group = kernel.bind(self, "empty run", &buffers.iter().collect::<Vec<_>>());
        let mut encoder = self.inner.device.create_command_encoder(&Default::default());
        let mut pass = encoder.begin_compute_pass(&Default::default());
        pass.set_pipeline(&kernel.pipeline);
        pass.set_bind_group(0, &bind_group, &[]);
        if kernel.immediate_bytes > 0 {
            pass.set_immediates(0, &vec![0; kernel.immediate_bytes as usize]);
        }
        pass.dispatch_workgroups(0, 0, 0);
        drop(pass);
        let submission = self.inner.queue.submit([encoder.finish()]);
        self.wait(&submission)
    }
}
