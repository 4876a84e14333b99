//! The resources of a program: memory by kind, time by step.

use std::fmt;

use serde::Serialize;

use crate::device::BufferKind;
use crate::tape::Tape;

use super::plan::{Plan, Step};
use super::{bytes_of, units};

/// The memory that a program keeps, in bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MemoryReport {
    /// Slots: values within a run.
    pub slots: u64,
    /// The number of slots.
    pub slot_count: usize,
    /// Feeds.
    pub feeds: u64,
    /// States, shared with other programs.
    pub states: u64,
    /// Scratch memory of the CPU's kernels.
    pub scratch: u64,
    /// The largest buffer, and what it holds.
    pub largest: (u64, String),
    /// The total size of all values with a buffer each.
    pub unshared: u64,
    /// The largest slots: bytes and their first tenant.
    pub top: Vec<(u64, String)>,
}

impl MemoryReport {
    pub(super) fn of(plan: &Plan) -> Self {
        let mut top: Vec<(u64, String)> = plan
            .buffers
            .iter()
            .filter(|b| b.kind == BufferKind::Slot)
            .map(|b| (b.bytes, b.label.clone()))
            .collect();
        top.sort_by(|a, b| b.cmp(a));
        let largest = plan.buffers.iter().max_by_key(|b| b.bytes);
        Self {
            slots: bytes_of(plan, |k| *k == BufferKind::Slot),
            slot_count: top.len(),
            feeds: bytes_of(plan, |k| *k == BufferKind::Feed),
            states: bytes_of(plan, |k| matches!(k, BufferKind::State(_) | BufferKind::Pack(_))),
            scratch: 4 * plan.scratch as u64,
            largest: largest.map_or((0, String::new()), |b| (b.bytes, b.label.clone())),
            unshared: plan.unshared,
            top,
        }
    }

    /// The total.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.slots + self.feeds + self.states + self.scratch
    }
}

impl fmt::Display for MemoryReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |b: u64| b as f64 / 1_048_576.0;
        writeln!(f, "memory plan: {:.1} MiB", mib(self.total()))?;
        writeln!(f, "  state   {:>9.1} MiB", mib(self.states))?;
        writeln!(f, "  slots   {:>9.1} MiB in {} buffers", mib(self.slots), self.slot_count)?;
        writeln!(f, "  feeds   {:>9.1} MiB", mib(self.feeds))?;
        writeln!(f, "  scratch {:>9.1} MiB", mib(self.scratch))?;
        writeln!(f, "  without sharing, all values would take {:.1} MiB", mib(self.unshared))?;
        writeln!(f, "  largest slots:")?;
        for (bytes, label) in self.top.iter().take(8) {
            writeln!(f, "    {:>9.1} MiB  {label}", mib(*bytes))?;
        }
        Ok(())
    }
}

/// The time of one step of a program.
#[derive(Clone, Debug)]
pub struct StepTime {
    /// The op, or the ops of a fused kernel; for an op of several kernels, with the kernel.
    pub label: String,
    /// The shape of its result; of fused ops, the number of elements.
    pub shape: String,
    /// On a GPU: the variant of its kernel, if there is a choice; else empty.
    pub variant: String,
    /// Seconds.
    pub seconds: f64,
    /// Floating-point operations.
    pub flops: u64,
    /// Bytes that it has to move at least.
    pub bytes: u64,
}

/// The steps of a plan, without times so far.
pub(super) fn step_times(plan: &Plan) -> Vec<StepTime> {
    let bytes = |places: &[super::plan::Place]| -> u64 {
        places.iter().map(|p| (p.len * p.size()) as u64).sum()
    };
    let steps = plan.steps.iter().map(|step| match step {
        Step::Fused(fused) => {
            let mut names: Vec<&str> = fused.calls.iter().map(|c| c.0.name()).collect();
            names.dedup();
            let loads: Vec<_> = fused.loads.iter().map(|l| l.place).collect();
            StepTime {
                label: names.join("+"),
                shape: format!("{}", fused.len),
                variant: String::new(),
                seconds: 0.0,
                flops: (fused.len * fused.calls.len()) as u64,
                bytes: bytes(&loads) + (4 * fused.len * fused.stores.len()) as u64,
            }
        }
        Step::Kernel { op, site, inputs, output, .. } => StepTime {
            label: op.name().into(),
            shape: format!("{:?}", site.shape),
            variant: String::new(),
            seconds: 0.0,
            flops: op.flops(site),
            bytes: bytes(inputs) + bytes(&[*output]),
        },
        Step::Copy { from, .. } => StepTime {
            label: "copy".into(),
            shape: format!("{}", from.len),
            variant: String::new(),
            seconds: 0.0,
            flops: 0,
            bytes: 2 * bytes(&[*from]),
        },
    });
    steps.collect()
}

/// Floating-point operations of the matrix products and convolutions in one run of `tape`: the
/// minimum work of a step, on any device.
#[must_use]
pub fn product_flops(tape: &Tape) -> u64 {
    let needed = units::needed(tape);
    let products = tape.nodes().iter().zip(needed).enumerate().filter_map(|(i, (node, needed))| {
        let counts = needed && node.op.is_product();
        counts.then(|| node.op.flops(&tape.site(tape.var(i))))
    });
    products.sum()
}
