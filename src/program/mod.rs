//! A tape compiled for one device: dead nodes dropped, neighbors fused, every buffer planned.
//!
//! After compilation a run allocates nothing on the device and makes no decision: it uploads the
//! feeds, walks a list of steps, and returns the fetches.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::device::gpu::{Gpu, GpuProgram};
use crate::device::{BufferKind, Device, Pack, Packed, State, tensor_of};
use crate::error::{Error, Result};
use crate::human;
use crate::ops::Caps;
use crate::ranks::{Solo, World};
use crate::tape::Tape;
use crate::tensor::Tensor;

mod access;
mod choices;
mod cpu;
mod fold;
mod gpu;
mod halves;
mod listing;
mod plan;
pub mod portable;
mod report;
pub mod tune;
mod units;

pub use choices::{Choices, key};
pub use fold::fold;
pub use halves::Precision;
pub use listing::{Listed, kernels};
pub use portable::{Packs, Portable, portable};
pub use report::{MemoryReport, StepTime, product_flops};

use plan::{Plan, Target};
use units::{Grouping, MAX_BINDINGS, Units};

/// How a tape is compiled.
#[derive(Clone, Debug)]
pub struct Options {
    /// Run neighboring elementwise ops as one kernel.
    pub fuse: bool,
    /// The most device memory that the program and its state may take, in bytes.
    pub memory_limit: Option<u64>,
    /// On a GPU: which variant each kernel runs, as [`tune::tune`] found it; else the default.
    pub choices: Choices,
    /// On a GPU: how large tensors are kept between kernels.
    pub precision: Precision,
    /// The processes that train together, for a [`crate::train::Trainer`].
    pub world: Arc<dyn World>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            fuse: true,
            memory_limit: None,
            choices: Choices::default(),
            precision: Precision::F32,
            world: Arc::new(Solo),
        }
    }
}

/// One run of a program with results not yet taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(u64);

/// The results of a run by name.
pub type Fetched = BTreeMap<String, Tensor>;

/// A compiled tape.
#[derive(Debug)]
pub struct Program {
    exec: Exec,
    feeds: Vec<(String, Vec<usize>, crate::tensor::DType)>,
    fetches: Vec<plan::Fetch>,
    report: MemoryReport,
    runs: u64,
}

#[derive(Debug)]
enum Exec {
    Cpu {
        program: cpu::CpuProgram,
        done: VecDeque<(u64, Vec<Vec<u8>>)>,
    },
    Gpu {
        program: Box<GpuProgram>,
        tickets: VecDeque<(u64, crate::device::gpu::Ticket)>,
        /// The shape and the variant behind each dispatch, for profiles.
        origins: Vec<gpu::Origin>,
    },
}

/// Results kept for [`Program::take`]; older ones are dropped.
const KEPT: usize = 4;

/// The memory that `tape` would need on `device`, without allocating any of it.
///
/// # Errors
/// [`Error::Memory`] where it does not fit the device or the limit.
pub fn preflight(tape: &Tape, device: &Device, options: &Options) -> Result<MemoryReport> {
    let plan = make_plan(tape, device, options, &mut imagine)?;
    check_fits(&plan, device, options, 0)?;
    Ok(MemoryReport::of(&plan))
}

/// How many images at a time fit the device, `wanted` or a half, a quarter … of it, where `tape` is
/// to run on that many. `held` are the bytes of states already on the device.
///
/// # Errors
/// [`Error::Memory`] if not even one image fits; errors of recording the tape.
pub fn fitting(
    wanted: usize,
    device: &Device,
    held: u64,
    tape: impl Fn(usize) -> Result<Tape>,
) -> Result<usize> {
    let options = Options::default();
    let mut batch = wanted.max(1);
    loop {
        let plan = make_plan(&tape(batch)?, device, &options, &mut imagine)?;
        match check_fits(&plan, device, &options, held) {
            Ok(()) => return Ok(batch),
            Err(Error::Memory(_)) if batch > 1 => batch /= 2,
            Err(Error::Memory(what)) => {
                let what = format!("not even one image at a time fits: {what}");
                return Err(Error::Memory(what));
            }
            Err(other) => return Err(other),
        }
    }
}

/// Packs states; returns the positions of those in shared buffers, or `None` if not all can be
/// moved.
type Packer<'a> = &'a mut dyn FnMut(&[Pack]) -> Result<Option<BTreeMap<String, Packed>>>;

/// The packing a program would get, without allocating.
fn imagine(packs: &[Pack]) -> Result<Option<BTreeMap<String, Packed>>> {
    let mut packed = BTreeMap::new();
    for (buffer, Pack { names, starts, bytes }) in packs.iter().enumerate() {
        let places = starts.iter().map(|&start| Packed { buffer, start, whole: *bytes });
        packed.extend(names.iter().cloned().zip(places));
    }
    Ok(Some(packed))
}

fn make_plan(tape: &Tape, device: &Device, options: &Options, pack: Packer<'_>) -> Result<Plan> {
    check_precision(device, options.precision)?;
    let target = match device {
        Device::Cpu => Target::Cpu { threads: rayon::current_num_threads() },
        Device::Gpu(gpu) => Target::Gpu(caps(gpu), &options.choices),
    };
    plan_for(tape, options, &target, pack)
}

fn plan_for(tape: &Tape, options: &Options, target: &Target<'_>, pack: Packer<'_>) -> Result<Plan> {
    let fuse = options.fuse;
    let mut plan = |in_place, bundle| -> Result<Option<Plan>> {
        let units = Units::of(tape, Grouping { fuse, in_place, bundle });
        match pack(&units.packs(tape))? {
            Some(packs) => {
                let halves = options.precision.halves(tape, &units);
                Plan::new(tape, &units, halves, target, &packs)
            }
            None => Ok(None),
        }
    };
    let fits = |plan: &Plan| plan.most_bindings() <= MAX_BINDINGS;
    let bundle = match target {
        Target::Gpu(caps, _) if fuse => Some(caps.max_binding),
        // A core takes one chain after another through its cache as fast as all at once.
        Target::Gpu(..) | Target::Cpu { .. } => None,
    };
    // Fusion relies on in-place state updates; if one is impossible, a kernel may bind more buffers
    // than every GPU allows, or the tensors of a bundle may not be laid out as it needs them.
    for bundle in [bundle, None] {
        if let Some(plan) = plan(true, bundle)?.filter(fits) {
            return Ok(plan);
        }
    }
    Ok(plan(false, None)?.expect("without bundles, tensors may lie anywhere"))
}

/// Refuses a precision that the device does not support.
fn check_precision(device: &Device, precision: Precision) -> Result<()> {
    let what = match device {
        _ if precision == Precision::F32 => return Ok(()),
        Device::Gpu(gpu) if gpu.caps().f16 => return Ok(()),
        Device::Gpu(gpu) => format!("the GPU {} has no 16-bit floats", gpu.caps().name),
        Device::Cpu => "16-bit floats are for GPUs, and the device is the CPU".to_owned(),
    };
    Err(Error::config("precision", format!("{what}: leave it out, or name another `device`")))
}

/// Refuses a plan that the device cannot hold, before anything is allocated; `held` are the bytes
/// of its states already there.
fn check_fits(plan: &Plan, device: &Device, options: &Options, held: u64) -> Result<()> {
    let report = MemoryReport::of(plan);
    let (largest, label) = &report.largest;
    if *largest > device.max_buffer() {
        return Err(Error::Memory(format!(
            "one buffer ({label}) needs {}, and the device binds at most {}",
            human::bytes(*largest),
            human::bytes(device.max_buffer()),
        )));
    }
    let (needs, limit) = match options.memory_limit {
        Some(limit) => (report.total(), Some(limit)),
        // Fetches exist as bytes, as a tensor, and as what is made of it.
        None => {
            let fetched: u64 = plan.fetches.iter().map(|fetch| fetch.place.bytes()).sum();
            let rest = report.total() - held.min(report.states);
            (rest.saturating_add(fetched.saturating_mul(3)), device.free_memory())
        }
    };
    match limit {
        Some(limit) if needs > limit => Err(Error::Memory(format!(
            "the program needs {} of memory, and {} are available",
            human::bytes(needs),
            human::bytes(limit),
        ))),
        _ => Ok(()),
    }
}

impl Program {
    /// Compiles `tape` for the device of `state`, which must contain every tensor that it reads.
    ///
    /// # Errors
    /// [`Error::Tensor`] where a state is missing or has another shape; [`Error::Memory`] where the
    /// program does not fit; [`Error::Shader`] where a kernel does not compile.
    pub fn compile(tape: &Tape, state: &State, options: &Options) -> Result<Self> {
        for (name, used) in tape.states() {
            let (shape, dtype) = state.spec(name)?;
            let node = tape.node(used.before);
            if shape != node.shape || dtype != node.dtype {
                let what = format!("has shape {shape:?}, the program wants {:?}", node.shape);
                return Err(Error::Tensor { name: name.clone(), what });
            }
        }
        let mut pack = |packs: &[Pack]| Ok(state.pack(packs)?.then(|| state.packed()));
        let plan = make_plan(tape, state.device(), options, &mut pack)?;
        check_fits(&plan, state.device(), options, u64::MAX)?;
        let report = MemoryReport::of(&plan);
        let feeds = plan.feeds.iter().map(|f| (f.0.clone(), f.1.clone(), f.2)).collect();
        let fetches = plan.fetches.clone();
        let exec = match state.device() {
            Device::Cpu => Exec::Cpu { program: cpu::CpuProgram::new(plan), done: VecDeque::new() },
            Device::Gpu(gpu) => {
                let script = gpu::script(&plan, &caps(gpu))?;
                let origins = gpu::origins(&plan);
                let threads = rayon::current_num_threads();
                let program = GpuProgram::new(gpu, script, &state.gpu_buffers(), threads)?;
                Exec::Gpu { program: Box::new(program), tickets: VecDeque::new(), origins }
            }
        };
        Ok(Self { exec, feeds, fetches, report, runs: 0 })
    }

    /// The memory that the program uses.
    #[must_use]
    pub fn memory(&self) -> &MemoryReport {
        &self.report
    }

    /// Starts one run. Its results wait for [`Program::take`]; those of the four newest runs are
    /// kept.
    ///
    /// # Errors
    /// [`Error::Tensor`] where a feed is missing or has another shape; [`Error::Lost`] where the
    /// device is lost.
    pub fn run(&mut self, state: &mut State, feeds: &[(&str, &Tensor)]) -> Result<Ticket> {
        let data = self.check_feeds(feeds)?;
        self.runs += 1;
        match &mut self.exec {
            Exec::Cpu { program, done } => {
                let fetches = program.run(&mut state.cpu_buffers(), &data);
                done.push_back((self.runs, fetches));
                while done.len() > KEPT {
                    done.pop_front();
                }
            }
            Exec::Gpu { program, tickets, .. } => {
                tickets.push_back((self.runs, program.run(&data)?));
                while tickets.len() > KEPT {
                    tickets.pop_front();
                }
            }
        }
        Ok(Ticket(self.runs))
    }

    /// Waits for a run and returns its results.
    ///
    /// # Errors
    /// [`Error::Lost`] where the device did not finish the run, or its results were dropped because
    /// later ones came first.
    pub fn take(&mut self, ticket: Ticket) -> Result<Fetched> {
        let gone = || Error::Lost("the results of this run were taken or dropped".into());
        let bytes = match &mut self.exec {
            Exec::Cpu { done, .. } => {
                let found = done.iter().position(|(run, _)| *run == ticket.0);
                found.and_then(|at| done.remove(at)).ok_or_else(gone)?.1
            }
            Exec::Gpu { program, tickets, .. } => {
                let found = tickets.iter().position(|(run, _)| *run == ticket.0);
                program.take(found.and_then(|at| tickets.remove(at)).ok_or_else(gone)?.1)?
            }
        };
        let tensors = self.fetches.iter().zip(bytes).map(|(fetch, bytes)| {
            Ok((fetch.name.clone(), tensor_of(&fetch.shape, fetch.place.dtype, &bytes)?))
        });
        tensors.collect()
    }

    /// Runs once and waits for the results.
    ///
    /// # Errors
    /// Errors of [`Program::run`] and [`Program::take`].
    pub fn call(&mut self, state: &mut State, feeds: &[(&str, &Tensor)]) -> Result<Fetched> {
        let ticket = self.run(state, feeds)?;
        self.take(ticket)
    }

    /// Runs `repeats` times and returns the time of each step: on the CPU, where a step is timed
    /// within a whole run, the mean, so that all of them add up to a run; on a GPU, where each is
    /// timed alone, the median.
    ///
    /// # Errors
    /// Same as [`Program::run`].
    pub fn profile(
        &mut self,
        state: &mut State,
        feeds: &[(&str, &Tensor)],
        repeats: usize,
    ) -> Result<Vec<StepTime>> {
        self.call(state, feeds)?;
        let data = self.check_feeds(feeds)?;
        match &mut self.exec {
            Exec::Cpu { program, .. } => {
                let mut times = report::step_times(program.plan());
                let repeats = repeats.max(1);
                for _ in 0..repeats {
                    let seconds = program.profile(&mut state.cpu_buffers());
                    for (time, s) in times.iter_mut().zip(seconds) {
                        time.seconds += s / repeats as f64;
                    }
                }
                Ok(times)
            }
            Exec::Gpu { program, origins, .. } => {
                let timings = program.profile(&data, repeats)?;
                let times = timings.into_iter().zip(origins).map(|(t, origin)| StepTime {
                    label: match t.kernel {
                        "elementwise" => t.label,
                        kernel if kernel == t.label => t.label,
                        kernel => format!("{} ({kernel})", t.label),
                    },
                    shape: origin.shape.clone(),
                    variant: origin.variant.clone(),
                    seconds: t.seconds,
                    flops: t.flops,
                    bytes: t.bytes,
                });
                Ok(times.collect())
            }
        }
    }

    /// The feeds' bytes in the program's order.
    fn check_feeds<'a>(&self, feeds: &[(&str, &'a Tensor)]) -> Result<Vec<&'a [u8]>> {
        let fail = |name: &str, what: String| Error::Tensor { name: name.into(), what };
        if let Some((name, _)) = feeds.iter().find(|f| !self.feeds.iter().any(|s| s.0 == f.0)) {
            return Err(fail(name, "is not a feed of this program".into()));
        }
        let data = self.feeds.iter().map(|(name, shape, dtype)| {
            let feed = feeds.iter().find(|f| f.0 == name);
            let (_, tensor) = feed.ok_or_else(|| fail(name, "is not fed".into()))?;
            if tensor.shape() != shape || tensor.dtype() != *dtype {
                let (has, is) = (tensor.shape(), tensor.dtype());
                let what =
                    format!("is {has:?} of {is:?}, the program wants {shape:?} of {dtype:?}");
                return Err(fail(name, what));
            }
            Ok(tensor.bytes())
        });
        data.collect()
    }
}

/// What lowerings may know about a GPU.
fn caps(gpu: &Gpu) -> Caps {
    let limits = gpu.caps();
    Caps {
        workgroup_memory: limits.workgroup_memory,
        max_binding: limits.max_binding,
        groups_per_dimension: limits.groups_per_dimension,
        software: limits.software,
        vector_registers: crate::device::host::vector_registers(),
        subgroup: limits.subgroup,
        immediates: limits.immediates,
    }
}

/// Sums the buffers of one kind.
fn bytes_of(plan: &Plan, wanted: impl Fn(&BufferKind) -> bool) -> u64 {
    plan.buffers.iter().filter(|b| wanted(&b.kind)).map(|b| b.bytes).sum()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use crate::tensor::DType;

    /// Four states that one kernel would update from each other's old values and a feed.
    fn four_states(fetch_old: bool) -> Tape {
        let mut tape = Tape::new();
        let names = ["a", "b", "c", "d"];
        let mut sum = tape.feed("x", &[8], DType::F32).unwrap();
        let old = names.map(|name| tape.read(name, &[8], DType::F32).unwrap());
        for (name, var) in names.iter().zip(old) {
            sum = tape.add(sum, var).unwrap();
            if fetch_old {
                tape.fetch(name, var).unwrap();
            }
        }
        for (name, var) in names.iter().zip(old) {
            let next = tape.mul(sum, var).unwrap();
            tape.assign(name, next).unwrap();
        }
        tape
    }

    #[test]
    fn no_kernel_binds_more_than_every_gpu_allows() {
        for (fetch_old, buffers) in [(false, 5), (true, MAX_BINDINGS)] {
            let tape = four_states(fetch_old);
            let plan = make_plan(&tape, &Device::Cpu, &Options::default(), &mut imagine).unwrap();
            let most = plan.most_bindings();
            assert!(most <= buffers, "{most} buffers, old values fetched: {fetch_old}");
        }
        // In place, it is all one step.
        let tape = four_states(false);
        let plan = make_plan(&tape, &Device::Cpu, &Options::default(), &mut imagine).unwrap();
        assert_eq!(plan.steps.len(), 1);
    }
}
