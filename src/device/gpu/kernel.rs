//! Compiles rendered WGSL to pipelines, on all cores.

use std::borrow::Cow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::{Gpu, GpuBuffer};
use crate::error::{Error, Result};
use crate::human;
use crate::shaders::{Binding, Reflection, reflect};

/// A compiled kernel.
#[derive(Debug)]
pub(super) struct Kernel {
    /// The pipeline.
    pub(super) pipeline: wgpu::ComputePipeline,
    /// The layout of its only bind group.
    pub(super) layout: wgpu::BindGroupLayout,
    /// Its storage buffers, in order of their slots.
    pub(super) bindings: Vec<Binding>,
    /// Bytes of immediate data per dispatch.
    pub(super) immediate_bytes: u32,
}

impl Kernel {
    /// Binds one buffer to each of its bindings, in order.
    pub(super) fn bind(&self, gpu: &Gpu, label: &str, buffers: &[&GpuBuffer]) -> wgpu::BindGroup {
        let pairs = self.bindings.iter().zip(buffers);
        let entries: Vec<_> = pairs
            .map(|(binding, buffer)| wgpu::BindGroupEntry {
                binding: binding.slot,
                resource: buffer.binding(),
            })
            .collect();
        gpu.created();
        gpu.inner.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(label),
            layout: &self.layout,
            entries: &entries,
        })
    }
}

/// A kernel to compile: its name and variant, and its rendered source.
#[derive(Clone, Debug)]
pub(super) struct Job {
    /// For error messages.
    pub(super) name: String,
    /// The rendered source.
    pub(super) source: String,
}

impl Gpu {
    /// Compiles kernels on `threads` threads, or takes them from the cache.
    pub(super) fn compile(&self, jobs: &[Job], threads: usize) -> Result<Vec<Arc<Kernel>>> {
        self.compile_ahead(jobs, threads);
        let next = AtomicUsize::new(0);
        let results: Vec<Mutex<Option<Result<Arc<Kernel>>>>> =
            jobs.iter().map(|_| Mutex::new(None)).collect();
        let work = || {
            loop {
                let i = next.fetch_add(1, Ordering::Relaxed);
                let Some(job) = jobs.get(i) else { return };
                let kernel = self.kernel(job);
                *results[i].lock().unwrap_or_else(PoisonError::into_inner) = Some(kernel);
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..threads.clamp(1, jobs.len().max(1)) {
                // If the system cannot start more threads, the existing ones do all the work.
                if std::thread::Builder::new().spawn_scoped(scope, work).is_err() {
                    break;
                }
            }
            work();
        });
        let done = results.into_iter().map(|result| {
            let result = result.into_inner().unwrap_or_else(PoisonError::into_inner);
            result.expect("the loop above takes every job")
        });
        done.collect()
    }

    /// Whether a kernel of this source is compiled already.
    pub(super) fn has_kernel(&self, source: &str) -> bool {
        self.inner.kernels.lock().unwrap_or_else(PoisonError::into_inner).contains_key(source)
    }

    /// Removes a compiled kernel: it is freed with the last program that runs it.
    pub(super) fn forget_kernel(&self, source: &str) {
        self.inner.kernels.lock().unwrap_or_else(PoisonError::into_inner).remove(source);
    }

    /// Compiles one kernel, or takes it from the cache.
    pub(super) fn kernel(&self, job: &Job) -> Result<Arc<Kernel>> {
        let kernels = || self.inner.kernels.lock().unwrap_or_else(PoisonError::into_inner);
        let known = kernels().get(&job.source).map(Arc::clone);
        if let Some(kernel) = known {
            return Ok(kernel);
        }
        let kernel = Arc::new(self.compile_one(job)?);
        kernels().insert(job.source.clone(), Arc::clone(&kernel));
        Ok(kernel)
    }

    fn compile_one(&self, job: &Job) -> Result<Kernel> {
        let inner = &self.inner;
        let found = reflect(&job.name, &job.source, inner.limits.subgroup.is_some())?;
        self.check_fits(&found).map_err(|what| Error::Shader { kernel: job.name.clone(), what })?;
        self.check()?;

        let device = &inner.device;
        // Scopes belong to a thread, so threads compiling in parallel keep their own errors.
        let memory = device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let internal = device.push_error_scope(wgpu::ErrorFilter::Internal);
        let invalid = device.push_error_scope(wgpu::ErrorFilter::Validation);
        let entries: Vec<wgpu::BindGroupLayoutEntry> = found
            .bindings
            .iter()
            .map(|binding| wgpu::BindGroupLayoutEntry {
                binding: binding.slot,
                visibility: wgpu::ShaderStages::COMPUTE,
                ty: wgpu::BindingType::Buffer {
                    ty: wgpu::BufferBindingType::Storage { read_only: !binding.writes },
                    has_dynamic_offset: false,
                    min_binding_size: None,
                },
                count: None,
            })
            .collect();
        let layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: Some(&job.name),
            entries: &entries,
        });
        let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(&job.name),
            bind_group_layouts: &[Some(&layout)],
            immediate_size: found.immediate_bytes,
        });
        let checks = if self.is_checked() {
            wgpu::ShaderRuntimeChecks::checked()
        } else {
            wgpu::ShaderRuntimeChecks::unchecked()
        };
        let module = wgpu::ShaderModuleDescriptor {
            label: Some(&job.name),
            source: wgpu::ShaderSource::Wgsl(Cow::Borrowed(&job.source)),
        };
        // SAFETY: the source is one of this crate's templates, rendered and validated. Its loops
        // are counted and its indices are guarded or bounded by the shapes written into it; both
        // are tested with checks on, against guard values behind every output.
        let module = unsafe { device.create_shader_module_trusted(module, checks) };
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(&job.name),
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants: &[],
                // Costs one invocation's store and a barrier; kernels write what they read.
                zero_initialize_workgroup_memory: false,
            },
            cache: None,
        });
        let invalid = pollster::block_on(invalid.pop());
        let internal = pollster::block_on(internal.pop());
        if pollster::block_on(memory.pop()).is_some() {
            return Err(Error::Memory(format!(
                "the GPU {} has no memory left to compile kernels, with {} in use by this \
                 program: use a smaller `batch`, or close other programs that use the GPU",
                inner.limits.name,
                human::bytes(self.allocated_bytes()),
            )));
        }
        if let Some(error) = invalid.or(internal) {
            let kernel = job.name.clone();
            let what = format!(
                "the driver of {} does not compile it: {error}\n{}",
                inner.limits.name,
                numbered(&job.source)
            );
            return Err(Error::Shader { kernel, what });
        }
        self.check()?;
        self.created();
        let Reflection { bindings, immediate_bytes, .. } = found;
        Ok(Kernel { pipeline, layout, bindings, immediate_bytes })
    }

    /// Whether the device can run a kernel of these sizes.
    fn check_fits(&self, found: &Reflection) -> Result<(), String> {
        let (hard, limits) = (&self.inner.hard, &self.inner.limits);
        let [x, y, z] = found.workgroup_size;
        let invocations = u64::from(x) * u64::from(y) * u64::from(z);
        let checks = [
            ("invocations in a workgroup", invocations, hard.max_compute_invocations_per_workgroup),
            ("invocations along x", x.into(), hard.max_compute_workgroup_size_x),
            ("invocations along y", y.into(), hard.max_compute_workgroup_size_y),
            ("invocations along z", z.into(), hard.max_compute_workgroup_size_z),
            (
                "bytes of workgroup memory",
                found.workgroup_bytes.into(),
                hard.max_compute_workgroup_storage_size,
            ),
            ("storage buffers", found.bindings.len() as u64, limits.storage_buffers),
        ];
        for (what, needs, has) in checks {
            if needs > u64::from(has) {
                return Err(format!("needs {needs} {what}, and {} has {has}", limits.name));
            }
        }
        Ok(())
    }
}

/// A source with line numbers.
fn numbered(source: &str) -> String {
    let number = |(i, line): (usize, &str)| format!("{:4} | {line}\n", i + 1);
    source.lines().enumerate().map(number).collect()
}
