//! The life of each value, and its buffer.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::device::{BufferKind, BufferSpec};
use crate::ops::Class;
use crate::program::access::Access;
use crate::program::units::{Row, Unit, View};
use crate::tape::{StateUse, Var};
use crate::tensor::{DType, padded, padded_bytes};

use super::{Place, Planner, Value, size_of_one};

impl Planner<'_> {
    /// Gives feeds and states their buffers.
    pub(super) fn sources(&mut self) -> Vec<(String, Vec<usize>, DType, usize)> {
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

    /// Whether the unit at `p` reads `root` elementwise everywhere.
    fn reads_in_place(&self, p: usize, root: usize) -> bool {
        self.units.units[p].fused && !self.scattered.contains(&(p, root))
    }

    /// Whether a node of this shape reads `var`, whose root is `root`, elementwise.
    pub(super) fn is_in_place(&self, shape: &[usize], var: Var, root: usize) -> bool {
        self.units.views[var.index()].offset == 0
            && self.tape.node(var).shape.iter().product::<usize>() == self.len(root)
            && Access::of(self.tape.shape(var), shape) == Access::Full
    }

    /// Gives every computed value its life, and finds the states that can be written in place.
    /// Returns the others: (state name, node of the new value).
    pub(super) fn states(&mut self) -> Vec<(String, Var)> {
        let fetched: HashSet<usize> = self.tape.fetches().values().map(|&v| self.root(v)).collect();
        let assigned: Vec<(String, StateUse)> = self
            .tape
            .states()
            .iter()
            .filter(|(_, s)| s.before != s.after)
            .map(|(n, s)| (n.clone(), *s))
            .collect();
        // For each root, how many states it is the new value of.
        let mut given: HashMap<usize, usize> = HashMap::new();
        for (_, state) in &assigned {
            *given.entry(self.root(state.after)).or_default() += 1;
        }
        let packs = self.packs();
        let mut in_place: BTreeMap<usize, usize> = BTreeMap::new();
        let mut copies = Vec::new();
        for (name, state) in &assigned {
            let view = self.units.views[state.after.index()];
            let before = state.before.index();
            let fits = view.offset == 0
                && self.len(view.root) == self.len(before)
                && self.may_write(view.root, name, &packs)
                && !in_place.contains_key(&view.root)
                && !fetched.contains(&before)
                && given.get(&before).copied().unwrap_or(0) == usize::from(view.root == before);
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

        let copied: HashSet<usize> = copies.iter().map(|(_, v)| self.root(*v)).collect();
        let rows = self.rows();
        for p in 0..self.end() {
            let unit = &self.units.units[p];
            for place in 0..unit.lanes[0].len() {
                let life = |node: usize| {
                    let last_read = self.readers.get(&node).and_then(|r| r.iter().max().copied());
                    let wanted = in_place.contains_key(&node) || !unit.fused;
                    if fetched.contains(&node) || copied.contains(&node) {
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
                    let dtype = self.tape.nodes()[node].dtype;
                    let size = size_of_one(dtype, self.halves.contains(&node));
                    let bytes = padded(size * self.len(node));
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

    /// For each root that is an old or a new value of a state in a shared buffer, these buffers.
    fn packs(&self) -> HashMap<usize, BTreeSet<usize>> {
        let mut packs: HashMap<usize, BTreeSet<usize>> = HashMap::new();
        for (name, state) in self.tape.states() {
            let Some(packed) = self.packed.get(name) else { continue };
            for root in [state.before.index(), self.root(state.after)] {
                packs.entry(root).or_default().insert(packed.buffer);
            }
        }
        packs
    }

    /// Whether the unit that computes `root` may write it into the buffer of the state `name`: a
    /// kernel does not write a buffer that it reads, and the state may share its buffer with what
    /// the kernel reads (`packs`).
    fn may_write(&self, root: usize, name: &str, packs: &HashMap<usize, BTreeSet<usize>>) -> bool {
        let Some(packed) = self.packed.get(name) else { return true };
        let Some(&p) = self.writer.get(&root) else { return false };
        let unit = &self.units.units[p];
        let mut reads = unit.nodes().flat_map(|node| &self.tape.nodes()[node].inputs);
        unit.fused
            || reads.all(|&input| {
                packs.get(&self.root(input)).is_none_or(|buffers| !buffers.contains(&packed.buffer))
            })
    }

    /// A value for each row of this run's values, with no life yet.
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

    /// Whether what the lanes of a unit read and write is laid out as one kernel needs it: the same
    /// place for all, or each after the one before; for sums, anywhere in one buffer.
    pub(super) fn lies_in_rows(&self, unit: &Unit) -> bool {
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

    /// Lets outputs of the fused unit at `p` take over the slots of inputs that die there; for
    /// bundles, whole rows.
    pub(super) fn inherit(&mut self, p: usize, inputs: &[usize], outputs: &[usize]) {
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

    /// The place for a copy of the tensor at `place`, which lives only in step `p`.
    pub(super) fn temporary(&mut self, p: usize, place: Place, label: String) -> Place {
        Place { buffer: self.scratch(p, place.bytes(), label), offset: 0, ..place }
    }

    /// A value that lives only in step `p`.
    pub(super) fn scratch(&mut self, p: usize, bytes: u64, label: String) -> usize {
        let (fixed, row, heir_of) = (None, false, None);
        self.values.push(Value { bytes, first: p, last: p, label, fixed, row, heir_of });
        self.values.len() - 1
    }

    /// Finds a buffer for every value: the largest first, each in the first slot that is free
    /// throughout its life.
    pub(super) fn slots(&mut self) -> Vec<usize> {
        // Values that pass on their slot count as one tenant.
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
        order.sort_by_key(|&v| (Reverse(self.values[v].bytes), v));
        // Each with the lives of its tenants, which do not overlap, by their first unit.
        let mut slots: Vec<(usize, BTreeMap<usize, usize>)> = Vec::new();
        let mut buffer_of: HashMap<usize, usize> = HashMap::new();
        for v in order {
            let (first, last) = lives[&v];
            let free = |lives: &BTreeMap<usize, usize>| {
                lives.range(..=last).next_back().is_none_or(|(_, &end)| end < first)
            };
            let slot = slots.iter().position(|(_, lives)| free(lives)).unwrap_or(slots.len());
            if slot == slots.len() {
                slots.push((self.buffers.len(), BTreeMap::new()));
                let (bytes, label) = (self.values[v].bytes, self.values[v].label.clone());
                self.buffers.push(BufferSpec { bytes, kind: BufferKind::Slot, label });
            }
            slots[slot].1.insert(first, last);
            buffer_of.insert(v, slots[slot].0);
        }
        let buffer = |v: usize| match self.values[v].fixed {
            Some(buffer) => buffer,
            None => buffer_of[&founder[v]],
        };
        (0..self.values.len()).map(buffer).collect()
    }
}
