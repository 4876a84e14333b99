//! From a script to buffers, pipelines and bind groups: everything a run needs, created once.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::buffer::Region;
use super::kernel::{Job, Kernel};
use super::{Gpu, GpuBuffer};
use crate::device::{BufferKind, BufferSpec, Readback, Script, ScriptStep};
use crate::error::{Error, Result};
use crate::human;
use crate::ops::Op;
use crate::shaders;

/// One thing to encode.
#[derive(Debug)]
pub(super) enum Step {
    /// A dispatch.
    Dispatch(Dispatch),
    /// An exchange with other processes: between submissions.
    Exchange(Exchange),
    /// A copy between buffers.
    Copy {
        offset: u64,
        /// The source.
        from: GpuBuffer,
        /// The target.
        to: GpuBuffer,
        /// Number of bytes, from the start of both.
        bytes: u64,
    },
}

/// An exchange with other processes, on the host.
#[derive(Debug)]
pub(super) struct Exchange {
    op: Arc<dyn Op>,
    from: Vec<(GpuBuffer, Readback)>,
    packed: GpuBuffer,
    to: GpuBuffer,
    outputs: usize,
}

impl Exchange {
    /// Waits for what was submitted, exchanges, and uploads the result for what is submitted next.
    pub(super) fn run(&self, gpu: &Gpu) -> Result<()> {
        let mut encoder = gpu.inner.device.create_command_encoder(&Default::default());
        let mut at = 0;
        for (from, part) in &self.from {
            from.encode_copy(part.offset, (&self.packed, at), part.bytes, &mut encoder);
            at += part.bytes;
        }
        gpu.inner.queue.submit([encoder.finish()]);
        let bytes = gpu.read(&self.packed, 0, at)?;
        let x: Vec<f32> = bytemuck::pod_collect_to_vec(&bytes);
        let mut y = vec![0.0; self.outputs];
        self.op.exchange(&x, &mut y);
        gpu.write(&self.to, 0, bytemuck::cast_slice(&y))
    }
}

/// A dispatch, ready to encode.
#[derive(Debug)]
pub(super) struct Dispatch {
    /// The kernel.
    pub(super) kernel: Arc<Kernel>,
    /// Its buffers.
    pub(super) bind_group: wgpu::BindGroup,
    /// Immediate data; empty for most kernels.
    pub(super) immediates: Vec<u32>,
    /// Workgroups.
    pub(super) groups: [u32; 3],
    /// The template's stem.
    pub(super) stem: &'static str,
    /// The op it computes.
    pub(super) label: String,
    /// Floating-point operations.
    pub(super) flops: u64,
    /// Bytes read and written.
    pub(super) bytes: u64,
}

impl Dispatch {
    /// Encodes it into a pass.
    pub(super) fn encode(&self, pass: &mut wgpu::ComputePass<'_>) {
        self.encode_groups(self.groups, pass);
    }

    /// Encodes it into a pass with a different number of workgroups.
    pub(super) fn encode_groups(&self, [x, y, z]: [u32; 3], pass: &mut wgpu::ComputePass<'_>) {
        pass.set_pipeline(&self.kernel.pipeline);
        pass.set_bind_group(0, &self.bind_group, &[]);
        if !self.immediates.is_empty() {
            pass.set_immediates(0, bytemuck::cast_slice(&self.immediates));
        }
        pass.dispatch_workgroups(x, y, z);
    }
}

/// A dispatch to prepare.
#[derive(Clone, Copy, Debug)]
struct Wanted<'a> {
    stem: &'static str,
    context: &'a minijinja::Value,
    bind: &'a [(String, usize)],
    groups: [u32; 3],
    flops: u64,
    bytes: u64,
    label: &'a str,
}

/// The buffers of a script: its own are created, those of states come from `states`.
pub(super) fn buffers(
    gpu: &Gpu,
    script: &Script,
    states: &BTreeMap<String, GpuBuffer>,
) -> Result<Vec<GpuBuffer>> {
    let state = |name: &String, spec: &BufferSpec, whole: bool| match states
        .get(name)
        .map(|buffer| if whole { buffer.whole() } else { buffer.clone() })
    {
        Some(buffer) if buffer.bytes() >= spec.bytes => Ok(buffer),
        Some(buffer) => Err(Error::Tensor {
            name: name.clone(),
            what: format!(
                "the program needs {} bytes of this state, and its buffer has {}",
                spec.bytes,
                buffer.bytes()
            ),
        }),
        None => Err(Error::Tensor {
            name: name.clone(),
            what: "the program needs this state, and it was not given".into(),
        }),
    };
    let mut buffers: Vec<GpuBuffer> = Vec::with_capacity(script.buffers.len());
    for spec in &script.buffers {
        buffers.push(match &spec.kind {
            BufferKind::Slot | BufferKind::Feed => gpu.create_buffer(spec.bytes, &spec.label)?,
            BufferKind::State(name) => state(name, spec, false)?,
            BufferKind::Pack(name) => state(name, spec, true)?,
            BufferKind::Part { of, start } => buffers[*of].part(*start, spec.bytes),
        });
    }
    Ok(buffers)
}

/// The steps of a script and, last, the canary's dispatch on the buffers `run` and `canary`.
pub(super) fn steps(
    gpu: &Gpu,
    script: &Script,
    buffers: &[GpuBuffer],
    (run, canary): (&GpuBuffer, &GpuBuffer),
    threads: usize,
) -> Result<(Vec<Step>, Dispatch)> {
    // The canary's two buffers follow those of the script.
    let mut buffers = buffers.to_vec();
    let at = buffers.len();
    buffers.extend([run.clone(), canary.clone()]);
    let empty = minijinja::Value::from_iter::<[(&str, u32); 0]>([]);
    let canary_bind = [("run".to_owned(), at), ("canary".to_owned(), at + 1)];
    let canary = Wanted {
        stem: "canary",
        context: &empty,
        bind: &canary_bind,
        groups: [1; 3],
        flops: 0,
        bytes: 12,
        label: "canary",
    };
    let mut wanted: Vec<Wanted<'_>> = script.steps.iter().filter_map(Wanted::of).collect();
    wanted.push(canary);
    let mut dispatches = prepare(gpu, &wanted, &buffers, threads)?;
    let canary = dispatches.pop().expect("the canary was pushed last");
    let mut dispatches = dispatches.into_iter();
    let mut steps = Vec::with_capacity(script.steps.len());
    for step in &script.steps {
        steps.push(match *step {
            ScriptStep::Dispatch { .. } => Step::Dispatch(
                dispatches.next().expect("one was prepared for every dispatch of the script"),
            ),
            ScriptStep::Exchange { ref op, ref from, packed, to, outputs } => {
                let (packed, to) = (buffers[packed].clone(), buffers[to].clone());
                let part = |part: &Readback| (buffers[part.buffer].clone(), part.clone());
                let from = from.iter().map(part).collect();
                Step::Exchange(Exchange { op: Arc::clone(op), from, packed, to, outputs })
            }
            ScriptStep::Copy { from, offset, to, bytes } => {
                let (from, to) = (&buffers[from], &buffers[to]);
                assert!(bytes <= from.bytes().min(to.bytes()) && bytes.is_multiple_of(4));
                assert!(!from.same(to), "{from:?} is copied to itself");
                Step::Copy { from: from.clone(), offset, to: to.clone(), bytes }
            }
        });
    }
    Ok((steps, canary))
}

/// Compiles the kernels of some dispatches and binds their buffers.
fn prepare(
    gpu: &Gpu,
    wanted: &[Wanted<'_>],
    buffers: &[GpuBuffer],
    threads: usize,
) -> Result<Vec<Dispatch>> {
    let mut jobs: Vec<Job> = Vec::new();
    let mut by_source: HashMap<String, usize> = HashMap::new();
    let mut job_of = Vec::with_capacity(wanted.len());
    for wanted in wanted {
        let job = wanted.job()?;
        let at = *by_source.entry(job.source.clone()).or_insert_with(|| {
            jobs.push(job);
            jobs.len() - 1
        });
        job_of.push(at);
    }
    let kernels = gpu.compile(&jobs, threads)?;
    let mut groups = HashMap::new();
    let one = |(wanted, job): (&Wanted<'_>, usize)| {
        wanted.prepare(gpu, &kernels[job], buffers, &mut groups)
    };
    wanted.iter().zip(job_of).map(one).collect()
}

/// The kernels of some steps, for compilation.
pub(super) fn jobs(steps: &[ScriptStep]) -> Result<Vec<Job>> {
    steps.iter().filter_map(Wanted::of).map(|wanted| wanted.job()).collect()
}

/// The dispatches among some steps, without the copies.
pub(super) fn dispatches(
    gpu: &Gpu,
    steps: &[ScriptStep],
    buffers: &[GpuBuffer],
) -> Result<Vec<Dispatch>> {
    let wanted: Vec<Wanted<'_>> = steps.iter().filter_map(Wanted::of).collect();
    prepare(gpu, &wanted, buffers, 1)
}

impl<'a> Wanted<'a> {
    /// Its kernel, for compilation.
    fn job(&self) -> Result<Job> {
        Ok(Job { name: self.name(), source: shaders::render(self.stem, self.context)? })
    }

    fn of(step: &'a ScriptStep) -> Option<Self> {
        match step {
            ScriptStep::Dispatch { kernel, context, bind, groups, flops, bytes, label } => {
                Some(Self {
                    stem: kernel,
                    context,
                    bind,
                    groups: *groups,
                    flops: *flops,
                    bytes: *bytes,
                    label,
                })
            }
            ScriptStep::Exchange { .. } | ScriptStep::Copy { .. } => None,
        }
    }

    /// The kernel's name and variant, for error messages.
    fn name(&self) -> String {
        if self.label == self.stem {
            self.stem.to_owned()
        } else {
            format!("{} ({})", self.stem, self.label)
        }
    }

    fn prepare(
        &self,
        gpu: &Gpu,
        kernel: &Arc<Kernel>,
        buffers: &[GpuBuffer],
        bind_groups: &mut HashMap<(usize, Vec<Region>), wgpu::BindGroup>,
    ) -> Result<Dispatch> {
        let bound = self.bound(gpu, kernel, buffers)?;
        let limit = gpu.inner.hard.max_compute_workgroups_per_dimension;
        if self.groups.iter().any(|&n| n > limit) {
            return Err(self.error(format!(
                "{:?} workgroups are more than {limit} along one dimension",
                self.groups
            )));
        }
        let key = (Arc::as_ptr(kernel) as usize, bound.iter().map(|b| b.region()).collect());
        let bind_group =
            bind_groups.entry(key).or_insert_with(|| kernel.bind(gpu, self.label, &bound));
        let bind_group = bind_group.clone();
        gpu.check()?;
        let immediates = shaders::immediates(self.context);
        if immediates.len() * 4 != kernel.immediate_bytes as usize {
            let has = kernel.immediate_bytes;
            return Err(self.error(format!("takes {has} bytes of sizes, not {immediates:?}")));
        }
        Ok(Dispatch {
            kernel: Arc::clone(kernel),
            bind_group,
            immediates,
            groups: self.groups,
            stem: self.stem,
            label: self.label.to_owned(),
            flops: self.flops,
            bytes: self.bytes,
        })
    }

    /// The buffer of each of the kernel's bindings, in order.
    fn bound<'b>(
        &self,
        gpu: &Gpu,
        kernel: &Kernel,
        buffers: &'b [GpuBuffer],
    ) -> Result<Vec<&'b GpuBuffer>> {
        // The only buffer bound to a name.
        let find = |name: &str| {
            let mut found = self.bind.iter().filter(|bind| bind.0 == name);
            found.next().filter(|_| found.next().is_none()).map(|bind| bind.1)
        };
        let fits = self.bind.len() == kernel.bindings.len()
            && kernel.bindings.iter().all(|binding| find(&binding.name).is_some());
        if !fits {
            let has: Vec<&str> = kernel.bindings.iter().map(|b| b.name.as_str()).collect();
            let given: Vec<&str> = self.bind.iter().map(|b| b.0.as_str()).collect();
            return Err(self.error(format!(
                "its bindings are {}, and the op binds {}",
                has.join(", "),
                given.join(", ")
            )));
        }
        let mut bound: Vec<&GpuBuffer> = Vec::with_capacity(self.bind.len());
        for binding in &kernel.bindings {
            let Some(buffer) = find(&binding.name).and_then(|index| buffers.get(index)) else {
                return Err(self.error(format!("`{}` is bound to no buffer", binding.name)));
            };
            let limit = gpu.caps().max_binding;
            if buffer.bytes() > limit {
                return Err(Error::Memory(format!(
                    "{}: `{}` has {}, and a kernel sees {} of a buffer on the GPU {}: use a \
                     smaller `batch` or `image_size`",
                    self.name(),
                    binding.name,
                    human::bytes(buffer.bytes()),
                    human::bytes(limit),
                    gpu.caps().name,
                )));
            }
            for (other, known) in kernel.bindings.iter().zip(&bound) {
                if known.same(buffer) && (other.writes || binding.writes) {
                    return Err(self.error(format!(
                        "`{}` and `{}` are one buffer, and one of them is written",
                        other.name, binding.name
                    )));
                }
            }
            bound.push(buffer);
        }
        Ok(bound)
    }

    fn error(&self, what: String) -> Error {
        Error::Shader { kernel: self.name(), what }
    }
}
