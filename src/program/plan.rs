//! The memory plan: which buffer every value lives in, and the steps that fill them.
//!
//! A value lives from the unit that computes it to the last one that reads it. Values whose lives
//! do not overlap share a slot; a slot is one whole buffer, because a GPU tracks usage per buffer.
//! An elementwise output takes over the slot of an input that dies with it, and the new value of a
//! state is written directly to the state's buffer, unless something later reads the old one. The
//! tensors of a row are consecutive in one buffer.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use crate::device::gpu::PART_ALIGN;
use crate::device::{BufferSpec, Packed};
use crate::error::Result;
use crate::ops::{Caps, Lowered, Op, Site};
use crate::tape::{Tape, Var};
use crate::tensor::{DType, padded};

use super::access::Access;
use super::choices::Choices;
use super::units::Units;

mod lives;
mod proof;
mod steps;

/// The kind of device a plan is for.
#[derive(Clone, Debug)]
pub(super) enum Target<'a> {
    /// The CPU with this many threads.
    Cpu { threads: usize },
    /// A GPU with these capabilities, and the variants that its kernels run.
    Gpu(Caps, &'a Choices),
}

/// Bytes of one element; its floats are kept in 16 bits if `half`.
fn size_of_one(dtype: DType, half: bool) -> usize {
    if half { size_of::<u16>() } else { dtype.size() }
}

/// Where a step finds a tensor.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// The buffer.
    pub(super) buffer: usize,
    /// The first element in it.
    pub(super) offset: usize,
    /// Number of elements.
    pub(super) len: usize,
    /// Element type.
    pub(super) dtype: DType,
    /// Whether the floats are kept in 16 bits.
    pub(super) half: bool,
}

impl Place {
    /// Bytes of one element.
    pub(super) fn size(&self) -> usize {
        size_of_one(self.dtype, self.half)
    }

    /// Its size in bytes: whole 16-byte vectors.
    pub(super) fn bytes(&self) -> u64 {
        padded(self.len * self.size())
    }

    /// Its first byte in the buffer.
    pub(super) fn start(&self) -> u64 {
        (self.offset * self.size()) as u64
    }

    /// The WGSL type of its floats.
    pub(super) fn wgsl(&self) -> &'static str {
        if self.half { "f16" } else { "f32" }
    }

    /// Whether it can be bound to a kernel as it lies.
    fn can_be_bound(&self) -> bool {
        self.start().is_multiple_of(PART_ALIGN)
    }
}

/// An input of a fused kernel.
#[derive(Clone, Debug)]
pub(super) struct Load {
    pub(super) place: Place,
    pub(super) access: Access,
}

/// What an op of a fused kernel is applied to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Operand {
    /// The input at this index of [`Fused::loads`].
    Load(usize),
    /// The result at this index of [`Fused::calls`].
    Call(usize),
}

/// Elementwise ops that run as one.
#[derive(Clone, Debug)]
pub(super) struct Fused {
    /// Elements of each output.
    pub(super) len: usize,
    pub(super) loads: Vec<Load>,
    pub(super) calls: Vec<(Arc<dyn Op>, Vec<Operand>)>,
    /// Which results are stored, and where.
    pub(super) stores: Vec<(usize, Place)>,
}

/// One step of a program.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Fused(Fused),
    Kernel {
        op: Arc<dyn Op>,
        site: Site,
        inputs: Vec<Place>,
        output: Place,
        /// On a GPU: the variant's name, if there is a choice.
        variant: String,
        /// On a GPU: the dispatches.
        lowered: Lowered,
        /// On a GPU: the buffers behind [`Lowered::scratch`].
        scratch: Vec<usize>,
    },
    Copy {
        from: Place,
        to: Place,
    },
}

/// A fetch: its name, its place, its shape.
#[derive(Clone, Debug)]
pub(super) struct Fetch {
    pub(super) name: String,
    pub(super) place: Place,
    pub(super) shape: Vec<usize>,
}

/// A program's buffers and steps.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) buffers: Vec<BufferSpec>,
    pub(super) steps: Vec<Step>,
    /// Name, shape, type and buffer of each feed.
    pub(super) feeds: Vec<(String, Vec<usize>, DType, usize)>,
    pub(super) fetches: Vec<Fetch>,
    /// Floats of scratch memory that the CPU's kernels share.
    pub(super) scratch: usize,
    /// Bytes of all values if each had its own buffer.
    pub(super) unshared: u64,
}

/// A value while its buffer is being found.
struct Value {
    bytes: u64,
    first: usize,
    last: usize,
    label: String,
    /// The buffer, for feeds and states.
    fixed: Option<usize>,
    /// Whether it is a row of tensors.
    row: bool,
    /// The value whose slot this one takes over.
    heir_of: Option<usize>,
}

/// All inputs and intermediate data of planning.
struct Planner<'a> {
    tape: &'a Tape,
    units: &'a Units,
    /// The roots that are kept in 16 bits.
    halves: HashSet<usize>,
    target: &'a Target<'a>,
    /// The states that share buffers.
    packed: &'a BTreeMap<String, Packed>,
    /// For each root, the units that read it.
    readers: HashMap<usize, Vec<usize>>,
    /// For each root, the unit that computes it.
    writer: HashMap<usize, usize>,
    /// Units and the roots that they read, but not elementwise.
    scattered: HashSet<(usize, usize)>,
    buffers: Vec<BufferSpec>,
    values: Vec<Value>,
    /// For each root, its value.
    value_of: HashMap<usize, usize>,
    /// For each root that shares its buffer, its first element there.
    offset_of: HashMap<usize, usize>,
    /// For each root in a row of this run's values, the row.
    row_of: HashMap<usize, usize>,
}

impl Plan {
    /// Plans the units of `tape` for `target`, where `halves` are kept in 16 bits and states are
    /// laid out as in `packed`; `None` if the tensors of a bundle cannot be laid out as it needs
    /// them.
    ///
    /// # Errors
    /// [`crate::error::Error::Memory`] where an op cannot be lowered for the GPU.
    pub(super) fn new(
        tape: &Tape,
        units: &Units,
        halves: HashSet<usize>,
        target: &Target<'_>,
        packed: &BTreeMap<String, Packed>,
    ) -> Result<Option<Self>> {
        let mut planner = Planner {
            tape,
            units,
            halves,
            target,
            packed,
            readers: HashMap::new(),
            writer: HashMap::new(),
            scattered: HashSet::new(),
            buffers: Vec::new(),
            values: Vec::new(),
            value_of: HashMap::new(),
            offset_of: HashMap::new(),
            row_of: HashMap::new(),
        };
        planner.index();
        let feeds = planner.sources();
        let copies = planner.states();
        if units.units.iter().any(|unit| !planner.lies_in_rows(unit)) {
            return Ok(None);
        }
        planner.plan(feeds, &copies).map(Some)
    }
}

impl Planner<'_> {
    fn root(&self, var: Var) -> usize {
        self.units.views[var.index()].root
    }

    fn len(&self, node: usize) -> usize {
        self.tape.nodes()[node].shape.iter().product()
    }

    /// The place of `var`; its buffer is still the index of a value.
    fn place(&self, var: Var) -> Place {
        let view = self.units.views[var.index()];
        let node = self.tape.node(var);
        Place {
            buffer: self.value_of[&view.root],
            offset: self.offset_of.get(&view.root).copied().unwrap_or(0) + view.offset,
            len: node.shape.iter().product(),
            dtype: node.dtype,
            half: self.halves.contains(&view.root),
        }
    }

    fn index(&mut self) {
        for (p, unit) in self.units.units.iter().enumerate() {
            for node in unit.nodes() {
                self.writer.insert(node, p);
                let op_node = &self.tape.nodes()[node];
                for &input in &op_node.inputs {
                    let root = self.units.views[input.index()].root;
                    self.readers.entry(root).or_default().push(p);
                    if unit.fused && !self.is_in_place(&op_node.shape, input, root) {
                        self.scattered.insert((p, root));
                    }
                }
            }
        }
    }

    fn end(&self) -> usize {
        self.units.units.len()
    }
}

impl Plan {
    /// The largest number of buffers that a fused kernel binds.
    pub(super) fn most_bindings(&self) -> usize {
        let bindings = self.steps.iter().map(|step| match step {
            Step::Fused(fused) => {
                let loads = fused.loads.iter().map(|l| l.place.buffer);
                let all: BTreeSet<usize> =
                    loads.chain(fused.stores.iter().map(|(_, place)| place.buffer)).collect();
                all.len()
            }
            Step::Kernel { .. } | Step::Copy { .. } => 0,
        });
        bindings.max().unwrap_or(0)
    }

    /// Replaces values by the buffers they live in.
    fn map_buffers(&mut self, buffer_of: &[usize]) {
        for step in &mut self.steps {
            match step {
                Step::Fused(fused) => {
                    for load in &mut fused.loads {
                        load.place.buffer = buffer_of[load.place.buffer];
                    }
                    for (_, place) in &mut fused.stores {
                        place.buffer = buffer_of[place.buffer];
                    }
                }
                Step::Kernel { inputs, output, scratch, .. } => {
                    for place in inputs.iter_mut().chain([output]) {
                        place.buffer = buffer_of[place.buffer];
                    }
                    for buffer in scratch {
                        *buffer = buffer_of[*buffer];
                    }
                }
                Step::Copy { from, to } => {
                    from.buffer = buffer_of[from.buffer];
                    to.buffer = buffer_of[to.buffer];
                }
            }
        }
        for fetch in &mut self.fetches {
            fetch.place.buffer = buffer_of[fetch.place.buffer];
        }
    }
}
