//! The memory plan: which buffer every value lives in, and the steps that fill them.
//!
//! A value lives from the unit that computes it to the last one that reads it. Values whose lives
//! do not overlap share a slot; a slot is one whole buffer, because a GPU tracks usage per buffer.
//! An elementwise output takes over the slot of an input that dies with it, and the new value of a
//! state is written straight into the state's buffer, where nothing later reads the old one. The
//! tensors of a row share one buffer, behind one another.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::device::gpu::PART_ALIGN;
use crate::device::{BufferKind, BufferSpec, Packed};
use crate::error::Result;
use crate::ops::reduce::sum_each;
use crate::ops::{Caps, Class, Lowered, Op, Site, padded_bytes};
use crate::tape::{Tape, Var};
use crate::tensor::DType;

use super::access::Access;
use super::choices::{Choices, key};
use super::units::{Row, Unit, Units, View};

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

impl Place {
    /// Its first byte in the buffer.
    pub(super) fn start(&self) -> u64 {
        (self.offset * self.dtype.size()) as u64
    }

    /// Whether a kernel can be given it as it lies.
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
        /// On a GPU: the variant's name, where there is a choice.
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

/// Everything that making a plan needs to look at.
struct Planner<'a> {
    tape: &'a Tape,
    units: &'a Units,
    target: &'a Target<'a>,
    /// The states that share buffers.
    packed: &'a BTreeMap<String, Packed>,
    /// For each root, the units that read it.
    readers: HashMap<usize, Vec<usize>>,
    /// For each root, the unit that computes it.
    writer: HashMap<usize, usize>,
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
    /// Plans the units of `tape` for `target`, where states lie as `packed` says; `None` where the
    /// tensors of a bundle cannot lie as it wants them.
    ///
    /// # Errors
    /// [`crate::error::Error::Memory`] where an op cannot be lowered for the GPU.
    pub(super) fn new(
        tape: &Tape,
        units: &Units,
        target: &Target<'_>,
        packed: &BTreeMap<String, Packed>,
    ) -> Result<Option<Self>> {
        let mut planner = Planner {
            tape,
            units,
            target,
            packed,
            readers: HashMap::new(),
            writer: HashMap::new(),
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

    /// The place of what `var` stands for; its buffer is still the index of a value.
    fn place(&self, var: Var) -> Place {
        let view = self.units.views[var.index()];
        let node = self.tape.node(var);
        Place {
            buffer: self.value_of[&view.root],
            offset: self.offset_of.get(&view.root).copied().unwrap_or(0) + view.offset,
            len: node.shape.iter().product(),
            dtype: node.dtype,
        }
    }

    fn index(&mut self) {
        for (p, unit) in self.units.units.iter().enumerate() {
            for node in unit.nodes() {
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
        let mut packs: HashMap<usize, usize> = HashMap::new();
        for (name, var, state) in feeds.into_iter().chain(states.collect::<Vec<_>>()) {
            let node = self.tape.node(var);
            let bytes = padded_bytes(node.shape.iter().product(), node.dtype);
            let mut buffer = self.buffers.len();
            let packed = state.as_ref().and_then(|name| self.packed.get(name));
            let kind = match (&state, packed) {
                (Some(name), Some(_)) => BufferKind::Pack(name.clone()),
                (Some(name), None) => BufferKind::State(name.clone()),
                (None, _) => BufferKind::Feed,
            };
            if let Some(packed) = packed {
                buffer = *packs.entry(packed.buffer).or_insert(buffer);
                let offset = packed.start as usize / node.dtype.size();
                self.offset_of.insert(var.index(), offset);
            }
            if buffer == self.buffers.len() {
                let bytes = packed.map_or(bytes, |packed| packed.whole);
                self.buffers.push(BufferSpec { bytes, kind, label: name.clone() });
            }
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
        let (fixed, row, heir_of) = (None, false, None);
        self.values.push(Value { bytes, first, last, label, fixed, row, heir_of });
        self.value_of.insert(root, value);
        value
    }

    /// How the unit at `p` reads `root`: everywhere element by element?
    fn reads_in_place(&self, p: usize, root: usize) -> bool {
        let unit = &self.units.units[p];
        unit.fused
            && unit.nodes().all(|node| {
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
    fn states(&mut self) -> Vec<(String, Var)> {
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
                && self.may_write(view.root, name)
                && !in_place.contains_key(&view.root)
                && !fetched.contains(&before)
                && !assigned.iter().any(|(n, s)| n != name && self.root(s.after) == before);
            let free = self.writer.get(&view.root).is_some_and(|&p| {
                let readers = self.readers.get(&before).map_or(&[][..], |r| r);
                readers.iter().all(|&r| r < p || (r == p && self.reads_in_place(p, before)))
            });
            if fits && free {
                in_place.insert(view.root, before);
            } else {
                copies.push((name.clone(), state.after));
            }
        }

        let rows = self.rows();
        for p in 0..self.end() {
            let unit = &self.units.units[p];
            for place in 0..unit.lanes[0].len() {
                let life = |node: usize| {
                    let copied = copies.iter().any(|(_, v)| self.root(*v) == node);
                    let last_read = self.readers.get(&node).and_then(|r| r.iter().max().copied());
                    let wanted = in_place.contains_key(&node) || !unit.fused;
                    if fetched.contains(&node) || copied {
                        Some(self.end())
                    } else {
                        last_read.filter(|&last| last > p).or(wanted.then_some(p))
                    }
                };
                let nodes: Vec<usize> = unit.lanes.iter().map(|lane| lane[place]).collect();
                let lives: Vec<Option<usize>> = nodes.iter().map(|&node| life(node)).collect();
                if lives.iter().all(Option::is_none) {
                    continue; // never leaves the registers
                }
                for (node, life) in nodes.into_iter().zip(lives) {
                    let last = life.unwrap_or(p);
                    if let Some(&row) = self.row_of.get(&node) {
                        let value = &mut self.values[rows[row]];
                        (value.first, value.last) = (value.first.min(p), value.last.max(last));
                        self.value_of.insert(node, rows[row]);
                        continue;
                    }
                    let bytes = padded_bytes(self.len(node), self.tape.nodes()[node].dtype);
                    let label = format!("%{node} {}", self.tape.nodes()[node].op.name());
                    let value = self.add(node, bytes, p, last, label);
                    if let Some(before) = in_place.get(&node) {
                        self.values[value].fixed = self.values[self.value_of[before]].fixed;
                        let offset = self.offset_of.get(before).copied();
                        self.offset_of.extend(offset.map(|offset| (node, offset)));
                    }
                }
            }
        }
        copies
    }

    /// Whether the unit that computes `root` may write it into the buffer of the state `name`: a
    /// kernel does not write a buffer that it reads, and the state may share its buffer with what
    /// the kernel reads.
    fn may_write(&self, root: usize, name: &str) -> bool {
        let Some(packed) = self.packed.get(name) else { return true };
        let Some(&p) = self.writer.get(&root) else { return false };
        let unit = &self.units.units[p];
        let mut reads = unit.nodes().flat_map(|node| &self.tape.nodes()[node].inputs);
        unit.fused
            || reads.all(|&input| {
                let read = self.root(input);
                let mut states =
                    self.tape.states().iter().filter(|(n, _)| self.packed.contains_key(*n));
                states.all(|(n, s)| {
                    s.before.index() != read && self.root(s.after) != read
                        || self.packed[n].buffer != packed.buffer
                })
            })
    }

    /// A value for each row of this run's values, as yet without a life.
    fn rows(&mut self) -> Vec<usize> {
        let mut values = Vec::new();
        for row in &self.units.rows {
            let Row { roots, starts, .. } = row;
            if matches!(self.tape.nodes()[roots[0]].op.class(), Class::Source) {
                continue;
            }
            for (&root, &start) in roots.iter().zip(starts) {
                self.row_of.insert(root, values.len());
                self.offset_of.insert(root, start);
            }
            let name = self.tape.nodes()[roots[0]].op.name();
            let label = format!("%{} {name} and {} more", roots[0], roots.len() - 1);
            let bytes = row.bytes();
            let (fixed, row, heir_of) = (None, true, None);
            let (first, last) = (usize::MAX, 0);
            values.push(self.values.len());
            self.values.push(Value { bytes, first, last, label, fixed, row, heir_of });
        }
        values
    }

    /// Whether what the lanes of a unit read and write lies as one kernel needs it: for all in the
    /// same place, or each behind the one before; for sums, anywhere in one buffer.
    fn lies_in_rows(&self, unit: &Unit) -> bool {
        let spot = |var: Var| {
            let View { root, offset } = self.units.views[var.index()];
            let value = *self.value_of.get(&root)?;
            let offset = self.offset_of.get(&root).copied().unwrap_or(0) + offset;
            Some((self.values[value].fixed.ok_or(value), offset))
        };
        let vars = |lane: &[usize]| -> Vec<Var> {
            let inputs = lane.iter().flat_map(|&n| self.tape.nodes()[n].inputs.iter().copied());
            inputs.chain(lane.iter().map(|&n| self.tape.var(n))).collect()
        };
        let first = vars(&unit.lanes[0]);
        unit.lanes.iter().zip(&unit.starts).all(|(lane, start)| {
            first.iter().zip(vars(lane)).all(|(&a, b)| match (spot(a), spot(b)) {
                (Some((x, _)), Some((y, _))) if !unit.fused => x == y,
                (x, y) => {
                    let alike = self.units.views[a.index()] == self.units.views[b.index()];
                    alike || x.map(|(value, offset)| (value, offset + start)) == y
                }
            })
        })
    }

    /// Lets outputs of the fused unit at `p` take over the slots of inputs that die there; those of
    /// bundles, whole rows.
    fn inherit(&mut self, p: usize, inputs: &[usize], outputs: &[usize]) {
        let bundle = self.units.units[p].lanes.len() > 1;
        let mut taken = Vec::new();
        for &output in outputs {
            let to = self.value_of[&output];
            let open = self.values[to].fixed.is_none()
                && self.values[to].heir_of.is_none()
                && self.values[to].row == bundle
                && self.values[to].first == p;
            if !open {
                continue;
            }
            let heir = inputs.iter().copied().find(|root| {
                let from = &self.values[self.value_of[root]];
                let reads_in_place = match from.row {
                    true => self
                        .row_of
                        .iter()
                        .all(|(r, row)| *row != self.row_of[root] || self.reads_in_place(p, *r)),
                    false => self.reads_in_place(p, *root),
                };
                !taken.contains(&self.value_of[root])
                    && from.fixed.is_none()
                    && from.row == bundle
                    && from.last == p
                    && from.bytes == self.values[to].bytes
                    && reads_in_place
            });
            if let Some(root) = heir {
                taken.push(self.value_of[&root]);
                self.values[to].heir_of = Some(self.value_of[&root]);
            }
        }
    }

    /// Makes the steps; their buffers are values until [`Planner::slots`] has run.
    fn plan(
        mut self,
        feeds: Vec<(String, Vec<usize>, DType, usize)>,
        copies: &[(String, Var)],
    ) -> Result<Plan> {
        let mut steps = Vec::new();
        let mut scratch = 0;
        for p in 0..self.end() {
            let unit = &self.units.units[p];
            if unit.fused {
                let fused = self.fused(unit);
                let lane = &unit.lanes[0];
                let outputs: Vec<usize> =
                    lane.iter().copied().filter(|n| self.value_of.contains_key(n)).collect();
                let mut inputs: Vec<usize> = Vec::new();
                for v in lane.iter().flat_map(|&n| &self.tape.nodes()[n].inputs) {
                    let root = self.root(*v);
                    if !lane.contains(&root) && !inputs.contains(&root) {
                        inputs.push(root);
                    }
                }
                self.inherit(p, &inputs, &outputs);
                steps.push(Step::Fused(fused));
            } else {
                let step = match &unit.lanes[..] {
                    [lane] => self.kernel(p, lane[0], &mut steps, &mut scratch)?,
                    lanes => self.sums(p, lanes),
                };
                steps.push(step);
            }
        }
        // New values of states that could not be written in place. Those that are other states' old
        // values are saved first: a copy may overwrite what the next one reads.
        let mut late = Vec::new();
        for (name, var) in copies {
            let mut from = self.place(*var);
            let to = self.place(self.tape.states()[name].before);
            let source = matches!(self.tape.nodes()[self.root(*var)].op.class(), Class::Source);
            let fixed = |place: Place| self.values[place.buffer].fixed;
            // Nothing is copied within a buffer either.
            if source || fixed(from) == fixed(to) {
                let saved = self.temporary(self.end(), from, format!("new {name}"));
                steps.push(Step::Copy { from, to: saved });
                from = saved;
            }
            late.push(Step::Copy { from, to });
        }
        // So are old values that a fetch wants: fetches are read after everything else.
        let mut fetches = Vec::new();
        for (name, &var) in self.tape.fetches() {
            let mut place = self.place(var);
            let root = self.root(var);
            if self.tape.states().values().any(|s| s.before.index() == root && s.before != s.after)
            {
                let saved = self.temporary(self.end(), place, format!("old {name}"));
                steps.push(Step::Copy { from: place, to: saved });
                place = saved;
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

    /// The place for a copy of what is at `place`, which lives only in step `p`.
    fn temporary(&mut self, p: usize, place: Place, label: String) -> Place {
        let bytes = padded_bytes(place.len, place.dtype);
        Place { buffer: self.scratch(p, bytes, label), offset: 0, ..place }
    }

    /// A value that lives only in step `p`.
    fn scratch(&mut self, p: usize, bytes: u64, label: String) -> usize {
        let (fixed, row, heir_of) = (None, false, None);
        self.values.push(Value { bytes, first: p, last: p, label, fixed, row, heir_of });
        self.values.len() - 1
    }

    fn fused(&self, unit: &Unit) -> Fused {
        let mut loads: Vec<Load> = Vec::new();
        let mut calls: Vec<(Arc<dyn Op>, Vec<Operand>)> = Vec::new();
        let mut call_of: HashMap<usize, usize> = HashMap::new();
        let mut stores = Vec::new();
        let lanes = &unit.lanes;
        let bundle = lanes.len() > 1;
        let last = lanes.last().map_or(0, |lane| self.len(lane[0]));
        let len = unit.starts.last().map_or(0, |start| start + last);
        for (place, &n) in lanes[0].iter().enumerate() {
            let node = &self.tape.nodes()[n];
            let mut operands = Vec::new();
            for (i, &input) in node.inputs.iter().enumerate() {
                if let Some(&call) = call_of.get(&self.root(input)) {
                    operands.push(Operand::Call(call));
                    continue;
                }
                let mut load = Load {
                    place: self.place(input),
                    access: Access::of(self.tape.shape(input), &node.shape),
                };
                if bundle {
                    let other = self.tape.nodes()[lanes[1][place]].inputs[i];
                    if self.root(other) == self.root(input) {
                        load.access = Access::Scalar;
                    } else {
                        load.place.len = len;
                    }
                }
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
            if self.value_of.contains_key(&n) {
                stores.push((calls.len(), Place { len, ..self.place(self.tape.var(n)) }));
            }
            calls.push((node.op.clone(), operands));
        }
        Fused { len, loads, calls, stores }
    }

    /// The step that sums several tensors of one buffer.
    fn sums(&mut self, p: usize, lanes: &[Vec<usize>]) -> Step {
        let Target::Gpu(caps, _) = self.target else {
            unreachable!("only units of GPUs are bundled")
        };
        let sites: Vec<Site> =
            lanes.iter().map(|lane| self.tape.site(self.tape.var(lane[0]))).collect();
        let from: Vec<Place> = sites.iter().map(|site| self.place(site.inputs[0])).collect();
        let to: Vec<Place> = sites.iter().map(|site| self.place(site.output)).collect();
        let parts: Vec<(usize, usize)> = from.iter().map(|x| (x.offset, x.len)).collect();
        let offsets: Vec<usize> = to.iter().map(|y| y.offset).collect();
        let lowered = sum_each(&parts, &offsets, caps);
        let label = format!("scratch of %{} sum", lanes[0][0]);
        let scratch =
            lowered.scratch.iter().map(|&bytes| self.scratch(p, bytes, label.clone())).collect();
        // Of the whole buffers, in which the parts start at their offsets.
        let all = |places: &[Place]| {
            let end = places.iter().map(|place| place.offset + place.len).max();
            Place { offset: 0, len: end.unwrap_or(0), ..places[0] }
        };
        Step::Kernel {
            op: self.tape.nodes()[lanes[0][0]].op.clone(),
            site: sites[0].clone(),
            inputs: vec![all(&from)],
            output: all(&to),
            variant: String::new(),
            lowered,
            scratch,
        }
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
                for input in inputs.iter_mut().filter(|input| !input.can_be_bound()) {
                    let to = self.temporary(p, *input, format!("part for %{node}"));
                    steps.push(Step::Copy { from: *input, to });
                    *input = to;
                }
                for &bytes in &lowered.scratch {
                    let label = format!("scratch of %{node} {}", op.name());
                    buffers.push(self.scratch(p, bytes, label));
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
                    loads.chain(fused.stores.iter().map(|(_, place)| place.buffer)).collect();
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
