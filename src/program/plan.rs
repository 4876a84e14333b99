//! The memory plan: which buffer every value lives in, and the steps that fill them.
//!
//! A value lives from the unit that computes it to the last one that reads it. Values whose lives
//! do not overlap share a slot; a slot is one whole buffer, because a GPU tracks usage per buffer.
//! An elementwise output takes over the slot of an input that dies with it, and the new value of a
//! state is written straight into the state's buffer, where nothing later reads the old one.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::device::{BufferKind, BufferSpec};
use crate::error::Result;
use crate::ops::{Caps, Class, Lowered, Op, Site, padded_bytes};
use crate::tape::Tape;
use crate::tensor::DType;

use super::access::Access;
use super::choices::{Choices, key};
use super::units::{Unit, Units};

/// For which kind of device a plan is made.
#[derive(Clone, Debug)]
pub(super) enum Target<'a> {
    /// The CPU with this many threads.
    Cpu { threads: usize },
    /// A GPU that can do this, and the variants that its kernels run.
    Gpu(Caps, &'a Choices),
}

/// Where a step finds a tensor.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// The buffer.
    pub(super) buffer: usize,
    /// The first element in it.
    pub(super) offset: usize,
    /// How many elements.
    pub(super) len: usize,
    /// Of which type.
    pub(super) dtype: DType,
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
    /// Which results are stored, and in which buffer.
    pub(super) stores: Vec<(usize, usize)>,
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
        /// On a GPU: the variant's name, where there is a choice.
        variant: String,
        /// On a GPU: the dispatches.
        lowered: Lowered,
        /// On a GPU: the buffers behind [`Lowered::scratch`].
        scratch: Vec<usize>,
    },
    Copy {
        from: Place,
        to: usize,
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
    /// The value whose slot this one takes over.
    heir_of: Option<usize>,
}

/// Everything that making a plan needs to look at.
struct Planner<'a> {
    tape: &'a Tape,
    units: &'a Units,
    target: &'a Target<'a>,
    /// For each root, the units that read it.
    readers: HashMap<usize, Vec<usize>>,
    /// For each root, the unit that computes it.
    writer: HashMap<usize, usize>,
    buffers: Vec<BufferSpec>,
    values: Vec<Value>,
    /// For each root, its value.
    value_of: HashMap<usize, usize>,
}

impl Plan {
    /// Plans the units of `tape` for `target`.
    ///
    /// # Errors
    /// [`crate::error::Error::Memory`] where an op cannot be lowered for the GPU.
    pub(super) fn new(tape: &Tape, units: &Units, target: &Target<'_>) -> Result<Self> {
        let mut planner = Planner {
            tape,
            units,
            target,
            readers: HashMap::new(),
            writer: HashMap::new(),
            buffers: Vec::new(),
            values: Vec::new(),
            value_of: HashMap::new(),
        };
        planner.index();
        let feeds = planner.sources();
        let copies = planner.states();
        planner.plan(feeds, &copies)
    }
}

impl Planner<'_> {
    fn root(&self, var: crate::tape::Var) -> usize {
        self.units.views[var.index()].root
    }

    fn len(&self, node: usize) -> usize {
        self.tape.nodes()[node].shape.iter().product()
    }

    /// The place of what `var` stands for; its buffer is still the index of a value.
    fn place(&self, var: crate::tape::Var) -> Place {
        let view = self.units.views[var.index()];
        let node = self.tape.node(var);
        Place {
            buffer: self.value_of[&view.root],
            offset: view.offset,
            len: node.shape.iter().product(),
            dtype: node.dtype,
        }
    }

    fn index(&mut self) {
        for (p, unit) in self.units.units.iter().enumerate() {
            for &node in &unit.nodes {
                self.writer.insert(node, p);
                for &input in &self.tape.nodes()[node].inputs {
                    let root = self.units.views[input.index()].root;
                    self.readers.entry(root).or_default().push(p);
                }
            }
        }
    }

    fn end(&self) -> usize {
        self.units.units.len()
    }

    /// Gives feeds and states their buffers.
    fn sources(&mut self) -> Vec<(String, Vec<usize>, DType, usize)> {
        let feeds: Vec<_> = self.tape.feeds().iter().map(|(n, &v)| (n.clone(), v, None)).collect();
        let states = self.tape.states().iter().map(|(n, s)| (n.clone(), s.before, Some(n.clone())));
        let mut out = Vec::new();
        for (name, var, state) in feeds.into_iter().chain(states.collect::<Vec<_>>()) {
            let node = self.tape.node(var);
            let bytes = padded_bytes(node.shape.iter().product(), node.dtype);
            let buffer = self.buffers.len();
            let kind = match &state {
                Some(name) => BufferKind::State(name.clone()),
                None => BufferKind::Feed,
            };
            self.buffers.push(BufferSpec { bytes, kind, label: name.clone() });
            let value = self.add(var.index(), bytes, 0, self.end(), name.clone());
            self.values[value].fixed = Some(buffer);
            if state.is_none() {
                out.push((name, node.shape.clone(), node.dtype, buffer));
            }
        }
        out
    }

    fn add(&mut self, root: usize, bytes: u64, first: usize, last: usize, label: String) -> usize {
        let value = self.values.len();
        self.values.push(Value { bytes, first, last, label, fixed: None, heir_of: None });
        self.value_of.insert(root, value);
        value
    }

    /// How the unit at `p` reads `root`: everywhere element by element?
    fn reads_in_place(&self, p: usize, root: usize) -> bool {
        let unit = &self.units.units[p];
        unit.fused
            && unit.nodes.iter().all(|&node| {
                let op_node = &self.tape.nodes()[node];
                op_node.inputs.iter().filter(|v| self.root(**v) == root).all(|&v| {
                    self.units.views[v.index()].offset == 0
                        && self.tape.node(v).shape.iter().product::<usize>() == self.len(root)
                        && Access::of(self.tape.shape(v), &op_node.shape) == Access::Full
                })
            })
    }

    /// Gives every computed value its life, and finds the states that can be written in place.
    /// Returns the others: (state name, node of the new value).
    fn states(&mut self) -> Vec<(String, crate::tape::Var)> {
        let fetched: Vec<usize> = self.tape.fetches().values().map(|&v| self.root(v)).collect();
        let assigned: Vec<(String, crate::tape::StateUse)> = self
            .tape
            .states()
            .iter()
            .filter(|(_, s)| s.before != s.after)
            .map(|(n, s)| (n.clone(), *s))
            .collect();
        let mut in_place: BTreeMap<usize, usize> = BTreeMap::new();
        let mut copies = Vec::new();
        for (name, state) in &assigned {
            let view = self.units.views[state.after.index()];
            let before = state.before.index();
            let fits = view.offset == 0
                && self.len(view.root) == self.len(before)
                && !in_place.contains_key(&view.root)
                && !fetched.contains(&before)
                && !assigned.iter().any(|(n, s)| n != name && self.root(s.after) == before);
            let free = self.writer.get(&view.root).is_some_and(|&p| {
                let readers = self.readers.get(&before).map_or(&[][..], |r| r);
                readers.iter().all(|&r| r < p || (r == p && self.reads_in_place(p, before)))
            });
            if fits && free {
                in_place.insert(view.root, self.value_of[&before]);
            } else {
                copies.push((name.clone(), state.after));
            }
        }

        for p in 0..self.end() {
            for &node in &self.units.units[p].nodes {
                let kept =
                    fetched.contains(&node) || copies.iter().any(|(_, v)| self.root(*v) == node);
                let last_read = self.readers.get(&node).and_then(|r| r.iter().max().copied());
                let outside = last_read.is_some_and(|last| last > p);
                if self.units.units[p].fused && !kept && !outside && !in_place.contains_key(&node) {
                    continue; // never leaves the registers
                }
                let last = if kept { self.end() } else { last_read.unwrap_or(p) };
                let bytes = padded_bytes(self.len(node), self.tape.nodes()[node].dtype);
                let label = format!("%{node} {}", self.tape.nodes()[node].op.name());
                let value = self.add(node, bytes, p, last, label);
                if let Some(&state) = in_place.get(&node) {
                    self.values[value].fixed = self.values[state].fixed;
                }
            }
        }
        copies
    }

    /// Lets outputs of the fused unit at `p` take over the slots of inputs that die there.
    fn inherit(&mut self, p: usize, inputs: &[usize], outputs: &[usize]) {
        let mut taken = Vec::new();
        for &output in outputs {
            let to = self.value_of[&output];
            if self.values[to].fixed.is_some() {
                continue;
            }
            let heir = inputs.iter().copied().find(|root| {
                let from = &self.values[self.value_of[root]];
                !taken.contains(root)
                    && from.fixed.is_none()
                    && from.last == p
                    && from.bytes == self.values[to].bytes
                    && self.reads_in_place(p, *root)
            });
            if let Some(root) = heir {
                taken.push(root);
                self.values[to].heir_of = Some(self.value_of[&root]);
            }
        }
    }

    /// Makes the steps; their buffers are values until [`Planner::slots`] has run.
    fn plan(
        mut self,
        feeds: Vec<(String, Vec<usize>, DType, usize)>,
        copies: &[(String, crate::tape::Var)],
    ) -> Result<Plan> {
        let mut steps = Vec::new();
        let mut scratch = 0;
        for p in 0..self.end() {
            let unit = &self.units.units[p];
            if unit.fused {
                let fused = self.fused(unit);
                let outputs: Vec<usize> =
                    unit.nodes.iter().copied().filter(|n| self.value_of.contains_key(n)).collect();
                let mut inputs: Vec<usize> = Vec::new();
                for v in unit.nodes.iter().flat_map(|&n| &self.tape.nodes()[n].inputs) {
                    let root = self.root(*v);
                    if !unit.nodes.contains(&root) && !inputs.contains(&root) {
                        inputs.push(root);
                    }
                }
                self.inherit(p, &inputs, &outputs);
                steps.push(Step::Fused(fused));
            } else {
                let step = self.kernel(p, unit.nodes[0], &mut steps, &mut scratch)?;
                steps.push(step);
            }
        }
        // New values of states that could not be written in place. Those that are other states' old
        // values are saved first: a copy may overwrite what the next one reads.
        let mut late = Vec::new();
        for (name, var) in copies {
            let mut from = self.place(*var);
            if matches!(self.tape.nodes()[self.root(*var)].op.class(), Class::Source) {
                let bytes = padded_bytes(from.len, from.dtype);
                let to = self.temporary(self.end(), bytes, format!("new {name}"));
                steps.push(Step::Copy { from, to });
                from = Place { buffer: to, offset: 0, ..from };
            }
            let to = self.value_of[&self.tape.states()[name].before.index()];
            late.push(Step::Copy { from, to });
        }
        // So are old values that a fetch wants: fetches are read after everything else.
        let mut fetches = Vec::new();
        for (name, &var) in self.tape.fetches() {
            let mut place = self.place(var);
            let root = self.root(var);
            if self.tape.states().values().any(|s| s.before.index() == root && s.before != s.after)
            {
                let bytes = padded_bytes(place.len, place.dtype);
                let to = self.temporary(self.end(), bytes, format!("old {name}"));
                steps.push(Step::Copy { from: place, to });
                place = Place { buffer: to, offset: 0, ..place };
            }
            fetches.push(Fetch { name: name.clone(), place, shape: self.tape.shape(var).to_vec() });
        }
        steps.extend(late);
        let unshared = self.values.iter().map(|v| v.bytes).sum();
        let slot_of = self.slots();
        let mut plan = Plan { buffers: self.buffers, steps, feeds, fetches, scratch, unshared };
        plan.settle(&slot_of);
        Ok(plan)
    }

    /// A value that lives only in step `p`.
    fn temporary(&mut self, p: usize, bytes: u64, label: String) -> usize {
        self.values.push(Value { bytes, first: p, last: p, label, fixed: None, heir_of: None });
        self.values.len() - 1
    }

    fn fused(&self, unit: &Unit) -> Fused {
        let mut loads: Vec<Load> = Vec::new();
        let mut calls: Vec<(Arc<dyn Op>, Vec<Operand>)> = Vec::new();
        let mut call_of: HashMap<usize, usize> = HashMap::new();
        let mut stores = Vec::new();
        for &n in &unit.nodes {
            let node = &self.tape.nodes()[n];
            let mut operands = Vec::new();
            for &input in &node.inputs {
                if let Some(&call) = call_of.get(&self.root(input)) {
                    operands.push(Operand::Call(call));
                    continue;
                }
                let load = Load {
                    place: self.place(input),
                    access: Access::of(self.tape.shape(input), &node.shape),
                };
                let same = |l: &Load| {
                    (l.place.buffer, l.place.offset) == (load.place.buffer, load.place.offset)
                        && l.access == load.access
                };
                operands.push(Operand::Load(loads.iter().position(same).unwrap_or(loads.len())));
                if !loads.iter().any(same) {
                    loads.push(load);
                }
            }
            call_of.insert(n, calls.len());
            if let Some(&value) = self.value_of.get(&n) {
                stores.push((calls.len(), value));
            }
            calls.push((node.op.clone(), operands));
        }
        Fused { len: self.len(unit.nodes[0]), loads, calls, stores }
    }

    fn kernel(
        &mut self,
        p: usize,
        node: usize,
        steps: &mut Vec<Step>,
        scratch: &mut usize,
    ) -> Result<Step> {
        let var = self.tape.var(node);
        let site = self.tape.site(var);
        let op = self.tape.nodes()[node].op.clone();
        let mut inputs: Vec<Place> = site.inputs.iter().map(|&v| self.place(v)).collect();
        let output = self.place(var);
        let (mut variant, mut lowered) = (String::new(), Lowered::default());
        let mut buffers = Vec::new();
        match self.target {
            Target::Cpu { threads } => *scratch = op.twin_scratch(&site, *threads).max(*scratch),
            Target::Gpu(caps, choices) => {
                let variants = op.variants(&site, caps)?;
                (variant, lowered) = choices.pick(&key(&*op, &site), variants);
                for input in inputs.iter_mut().filter(|i| i.offset != 0) {
                    // A binding starts at its buffer's start.
                    let bytes = padded_bytes(input.len, input.dtype);
                    let to = self.temporary(p, bytes, format!("part for %{node}"));
                    steps.push(Step::Copy { from: *input, to });
                    *input = Place { buffer: to, offset: 0, ..*input };
                }
                for &bytes in &lowered.scratch {
                    let label = format!("scratch of %{node} {}", op.name());
                    buffers.push(self.temporary(p, bytes, label));
                }
            }
        }
        Ok(Step::Kernel { op, site, inputs, output, variant, lowered, scratch: buffers })
    }

    /// Finds a buffer for every value: the largest first, each in the first slot that is free for
    /// the whole of its life.
    fn slots(&mut self) -> Vec<usize> {
        // Values that hand their slot on are one tenant.
        let mut founder: Vec<usize> = (0..self.values.len()).collect();
        for v in 0..self.values.len() {
            if let Some(from) = self.values[v].heir_of {
                founder[v] = founder[from];
            }
        }
        let mut lives: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
        for (v, value) in self.values.iter().enumerate().filter(|(_, v)| v.fixed.is_none()) {
            let life = lives.entry(founder[v]).or_insert((value.first, value.last));
            *life = (life.0.min(value.first), life.1.max(value.last));
        }
        let mut order: Vec<usize> = lives.keys().copied().collect();
        order.sort_by_key(|&v| (std::cmp::Reverse(self.values[v].bytes), v));
        let mut slots: Vec<(usize, Vec<(usize, usize)>)> = Vec::new();
        let mut buffer_of: HashMap<usize, usize> = HashMap::new();
        for v in order {
            let (first, last) = lives[&v];
            let free = |lives: &[(usize, usize)]| lives.iter().all(|l| last < l.0 || l.1 < first);
            let slot = slots.iter().position(|(_, lives)| free(lives)).unwrap_or(slots.len());
            if slot == slots.len() {
                slots.push((self.buffers.len(), Vec::new()));
                let (bytes, label) = (self.values[v].bytes, self.values[v].label.clone());
                self.buffers.push(BufferSpec { bytes, kind: BufferKind::Slot, label });
            }
            slots[slot].1.push((first, last));
            buffer_of.insert(v, slots[slot].0);
        }
        let buffer = |v: usize| match self.values[v].fixed {
            Some(buffer) => buffer,
            None => buffer_of[&founder[v]],
        };
        (0..self.values.len()).map(buffer).collect()
    }
}

impl Plan {
    /// The most buffers that a fused kernel binds.
    pub(super) fn most_bindings(&self) -> usize {
        let bindings = self.steps.iter().map(|step| match step {
            Step::Fused(fused) => {
                let loads = fused.loads.iter().map(|l| l.place.buffer);
                let all: BTreeSet<usize> =
                    loads.chain(fused.stores.iter().map(|&(_, b)| b)).collect();
                all.len()
            }
            Step::Kernel { .. } | Step::Copy { .. } => 0,
        });
        bindings.max().unwrap_or(0)
    }

    /// Replaces values by the buffers they live in.
    fn settle(&mut self, buffer_of: &[usize]) {
        for step in &mut self.steps {
            match step {
                Step::Fused(fused) => {
                    for load in &mut fused.loads {
                        load.place.buffer = buffer_of[load.place.buffer];
                    }
                    for (_, buffer) in &mut fused.stores {
                        *buffer = buffer_of[*buffer];
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
                    *to = buffer_of[*to];
                }
            }
        }
        for fetch in &mut self.fetches {
            fetch.place.buffer = buffer_of[fetch.place.buffer];
        }
    }
}
