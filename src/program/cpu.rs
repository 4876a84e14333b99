//! Runs a plan on the CPU.

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;

use crate::device::{BufferKind, CpuBuffer};
use crate::ops::{Call, Class};
use crate::tensor::{DType, Slice};

use super::access::Access;
use super::plan::{Fused, Load, Operand, Plan, Step};

/// Values that a fused kernel takes through all its ops at a time: 4 KiB a row, so that all of them
/// stay in the first-level cache.
const BLOCK: usize = 1024;

/// A plan with its memory.
#[derive(Debug)]
pub(super) struct CpuProgram {
    plan: Plan,
    /// The rows of each step that is a fused kernel.
    rows: Vec<Rows>,
    /// All buffers; those of states are empty except while the program runs.
    buffers: Vec<CpuBuffer>,
    scratch: CpuBuffer,
}

impl CpuProgram {
    pub(super) fn new(plan: Plan) -> Self {
        let buffers = plan.buffers.iter().map(|b| match b.kind {
            BufferKind::State(_) => CpuBuffer::default(),
            BufferKind::Slot | BufferKind::Feed => CpuBuffer::new(b.bytes),
            BufferKind::Pack(_) | BufferKind::Part { .. } => {
                unreachable!("tensors lie behind one another only on GPUs")
            }
        });
        let buffers = buffers.collect();
        let scratch = CpuBuffer::new(4 * plan.scratch as u64);
        let rows = plan.steps.iter().map(|step| match step {
            Step::Fused(fused) => Rows::of(fused),
            Step::Kernel { .. } | Step::Copy { .. } => Rows::default(),
        });
        let rows = rows.collect();
        Self { plan, rows, buffers, scratch }
    }

    /// Runs once and returns the fetches' bytes.
    pub(super) fn run(
        &mut self,
        states: &mut BTreeMap<String, &mut CpuBuffer>,
        feeds: &[&[u8]],
    ) -> Vec<Vec<u8>> {
        self.swap_states(states);
        for ((_, _, _, buffer), data) in self.plan.feeds.iter().zip(feeds) {
            self.buffers[*buffer].bytes_mut()[..data.len()].copy_from_slice(data);
        }
        for i in 0..self.plan.steps.len() {
            self.step(i);
        }
        let fetches = self.plan.fetches.iter().map(|fetch| {
            let size = fetch.place.dtype.size();
            let start = fetch.place.offset * size;
            self.buffers[fetch.place.buffer].bytes()[start..start + fetch.place.len * size].to_vec()
        });
        let fetches = fetches.collect();
        self.swap_states(states);
        fetches
    }

    /// Runs and returns the seconds of each step.
    pub(super) fn profile(&mut self, states: &mut BTreeMap<String, &mut CpuBuffer>) -> Vec<f64> {
        self.swap_states(states);
        let times = (0..self.plan.steps.len()).map(|i| {
            let start = std::time::Instant::now();
            self.step(i);
            start.elapsed().as_secs_f64()
        });
        let times = times.collect();
        self.swap_states(states);
        times
    }

    pub(super) fn plan(&self) -> &Plan {
        &self.plan
    }

    fn swap_states(&mut self, states: &mut BTreeMap<String, &mut CpuBuffer>) {
        for (spec, buffer) in self.plan.buffers.iter().zip(&mut self.buffers) {
            if let BufferKind::State(name) = &spec.kind {
                std::mem::swap(buffer, states.get_mut(name).expect("checked when compiled"));
            }
        }
    }

    fn step(&mut self, i: usize) {
        match &self.plan.steps[i] {
            Step::Fused(fused) => run_fused(fused, &self.rows[i], &mut self.buffers),
            Step::Kernel { op, site, inputs, output, .. } => {
                let mut target = std::mem::take(&mut self.buffers[output.buffer]);
                let inputs: Vec<Slice<'_>> = inputs
                    .iter()
                    .map(|p| self.buffers[p.buffer].slice(p.offset, p.len, p.dtype))
                    .collect();
                let scratch = op.cpu_scratch(site, rayon::current_num_threads());
                let (out, out_u32) = match output.dtype {
                    DType::U32 => (&mut [][..], &mut target.u32s_mut()[..output.len]),
                    _ => (&mut target.f32s_mut()[..output.len], &mut [][..]),
                };
                let scratch = &mut self.scratch.f32s_mut()[..scratch];
                op.cpu(site, Call { inputs: &inputs, out, out_u32, scratch });
                self.buffers[output.buffer] = target;
            }
            Step::Copy { from, to } => {
                let size = from.dtype.size();
                let range = from.offset * size..(from.offset + from.len) * size;
                let mut target = std::mem::take(&mut self.buffers[to.buffer]);
                let source = &self.buffers[from.buffer].bytes()[range];
                target.bytes_mut()[..source.len()].copy_from_slice(source);
                self.buffers[to.buffer] = target;
            }
        }
    }
}

/// Where the operands of a fused kernel are while a block goes through it: in rows of [`BLOCK`]
/// values, or in place.
#[derive(Debug, Default)]
struct Rows {
    /// The row that an input is laid out in; `None` if its values are in the outputs' order.
    loads: Vec<Option<usize>>,
    /// The row of each call's result, reused after the last call that reads it.
    calls: Vec<usize>,
    count: usize,
}

impl Rows {
    fn of(fused: &Fused) -> Self {
        let mut rows = Self::default();
        for load in &fused.loads {
            let in_place = load.access == Access::Full && load.place.dtype == DType::F32;
            rows.loads.push((!in_place).then_some(rows.count));
            rows.count += usize::from(!in_place);
        }
        // The last call that reads each result, or the call itself.
        let mut last: Vec<usize> = (0..fused.calls.len()).collect();
        for (at, (_, operands)) in fused.calls.iter().enumerate() {
            for operand in operands {
                if let Operand::Call(call) = *operand {
                    last[call] = at;
                }
            }
        }
        let mut done: Vec<Vec<usize>> = vec![Vec::new(); fused.calls.len()];
        let stored: BTreeSet<usize> = fused.stores.iter().map(|&(call, _)| call).collect();
        for call in (0..fused.calls.len()).filter(|call| !stored.contains(call)) {
            done[last[call]].push(call);
        }
        let mut free: Vec<usize> = Vec::new();
        for done in done {
            let row = free.pop().unwrap_or_else(|| {
                rows.count += 1;
                rows.count - 1
            });
            rows.calls.push(row);
            free.extend(done.into_iter().map(|call| rows.calls[call]));
        }
        rows
    }
}

/// One stretch of a fused kernel's outputs.
struct Task<'a> {
    start: usize,
    outs: Vec<&'a mut [f32]>,
}

fn run_fused(fused: &Fused, rows: &Rows, buffers: &mut [CpuBuffer]) {
    let mut targets: Vec<CpuBuffer> =
        fused.stores.iter().map(|(_, to)| std::mem::take(&mut buffers[to.buffer])).collect();
    // Blocks hold whole periods of the cyclic inputs, so that those are laid out once per task.
    let period = fused.loads.iter().filter_map(|l| match l.access {
        Access::Cyclic(period) if period <= BLOCK => Some(period),
        _ => None,
    });
    let period = period.max().unwrap_or(1);
    let block = BLOCK / period * period;
    let blocks = fused.len.div_ceil(block);
    let per_task = blocks.div_ceil(4 * rayon::current_num_threads()).max(4);
    let stretch = per_task * block;
    let mut tasks: Vec<Task<'_>> = (0..fused.len.div_ceil(stretch))
        .map(|t| Task { start: t * stretch, outs: Vec::with_capacity(targets.len()) })
        .collect();
    for target in &mut targets {
        let out = &mut target.f32s_mut()[..fused.len];
        for (task, out) in tasks.iter_mut().zip(out.chunks_mut(stretch)) {
            task.outs.push(out);
        }
    }
    let shared: &[CpuBuffer] = buffers;
    let run = |task: Task<'_>| run_task(fused, rows, shared, task, block);
    if tasks.len() == 1 {
        tasks.into_iter().for_each(run);
    } else {
        tasks.into_par_iter().for_each(run);
    }
    for ((_, to), target) in fused.stores.iter().zip(targets) {
        buffers[to.buffer] = target;
    }
}

fn run_task(fused: &Fused, rows: &Rows, buffers: &[CpuBuffer], mut task: Task<'_>, block: usize) {
    let len = task.outs.first().map_or(0, |o| o.len());
    let mut memory = vec![0.0_f32; rows.count * block];
    let mut registers: Vec<&mut [f32]> = memory.chunks_exact_mut(block).collect();
    for from in (0..len).step_by(block) {
        let n = block.min(len - from);
        for (load, row) in fused.loads.iter().zip(&rows.loads) {
            let steady = match load.access {
                Access::Scalar => true,
                Access::Cyclic(period) => block.is_multiple_of(period),
                Access::Full | Access::Strided(_) => false,
            };
            if let (Some(row), true) = (*row, from == 0 || !steady) {
                let row = &mut registers[row][..if steady { block } else { n }];
                fill(load, buffers, task.start + from, row);
            }
        }
        for ((op, operands), &row) in fused.calls.iter().zip(&rows.calls) {
            let Class::Elementwise(op) = op.class() else {
                unreachable!("only elementwise ops are fused")
            };
            let y = std::mem::take(&mut registers[row]);
            // No op has more than four inputs.
            let mut inputs: [&[f32]; 4] = [&[]; 4];
            for (input, operand) in inputs.iter_mut().zip(operands) {
                *input = match *operand {
                    Operand::Call(c) => &registers[rows.calls[c]][..n],
                    Operand::Load(l) => match rows.loads[l] {
                        Some(row) => &registers[row][..n],
                        None => in_place(fused, &fused.loads[l], buffers, &task, from, n),
                    },
                };
            }
            op.apply(&inputs[..operands.len()], &mut y[..n]);
            registers[row] = y;
        }
        for ((call, _), out) in fused.stores.iter().zip(&mut task.outs) {
            out[from..from + n].copy_from_slice(&registers[rows.calls[*call]][..n]);
        }
    }
}

/// The `n` values from `from` on of a task's stretch of an input in the outputs' order.
fn in_place<'a>(
    fused: &Fused,
    load: &Load,
    buffers: &'a [CpuBuffer],
    task: &'a Task<'_>,
    from: usize,
    n: usize,
) -> &'a [f32] {
    let place = load.place;
    match fused.stores.iter().position(|(_, to)| to.buffer == place.buffer) {
        // This input's buffer is also an output's, which holds nothing of this block yet.
        Some(o) => &task.outs[o][from..from + n],
        None => &buffers[place.buffer].f32s()[place.offset + task.start + from..][..n],
    }
}

/// Lays out the values of an input for the outputs from `start` on.
fn fill(load: &Load, buffers: &[CpuBuffer], start: usize, row: &mut [f32]) {
    let place = load.place;
    match (buffers[place.buffer].slice(place.offset, place.len, place.dtype), &load.access) {
        (Slice::F32(x), Access::Scalar) => row.fill(x[0]),
        (Slice::F32(x), Access::Cyclic(period)) => {
            let mut at = start % period;
            let mut rest = row;
            while !rest.is_empty() {
                let n = (period - at).min(rest.len());
                let (now, later) = rest.split_at_mut(n);
                now.copy_from_slice(&x[at..at + n]);
                (at, rest) = (0, later);
            }
        }
        (Slice::F32(x), access @ Access::Strided(axes)) => {
            // A run along the last axis at a time.
            let &(size, stride) = axes.last().unwrap_or(&(1, 0));
            let (mut i, mut rest) = (start, row);
            while !rest.is_empty() {
                let n = (size - i % size).min(rest.len());
                let (now, later) = rest.split_at_mut(n);
                let x = &x[access.index(i)..];
                match stride {
                    0 => now.fill(x[0]),
                    _ => now.iter_mut().enumerate().for_each(|(k, y)| *y = x[k * stride]),
                }
                (i, rest) = (i + n, later);
            }
        }
        (Slice::F32(x), access) => {
            for (i, y) in row.iter_mut().enumerate() {
                *y = x[access.index(start + i)];
            }
        }
        (Slice::U8(x), Access::Full) => {
            let x = &x[start..start + row.len()];
            row.iter_mut().zip(x).for_each(|(y, &x)| *y = f32::from(x));
        }
        (Slice::U8(x), access) => {
            for (i, y) in row.iter_mut().enumerate() {
                *y = f32::from(x[access.index(start + i)]);
            }
        }
        (Slice::U32(_), _) => unreachable!("no elementwise op takes integers"),
    }
}
