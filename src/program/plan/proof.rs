//! A proof that a plan's steps find what they read and write only what they own.
//!
//! A plan decides which bytes each step reads and writes; their contents at that moment follow from
//! all the steps before. The proof runs the plan on a shadow of its buffers that holds, for each
//! byte, which value it belongs to, instead of the value. A step that finds a value other than the
//! tape's, a state that does not end as its new value, a kernel that reads while it writes
//! elsewhere in the same range: each would silently corrupt training.

use crate::tape::{Node, Var};

use super::super::units::{Unit, View};
use super::{Access, Load, Operand, Place, Plan, Planner, Step};

/// Bytes `start..end` of a buffer that hold a part of `root`, whose first byte would lie at `origin`.
#[derive(Clone, Copy, Debug)]
struct Held {
    start: i64,
    end: i64,
    root: usize,
    origin: i64,
}

/// The contents of every byte of a plan's buffers.
struct Shadow {
    buffers: Vec<Vec<Held>>,
}

/// A range of bytes in a buffer.
#[derive(Clone, Copy, Debug)]
struct Bytes {
    buffer: usize,
    start: i64,
    end: i64,
}

impl Bytes {
    fn of(place: &Place) -> Self {
        let start = signed(place.start());
        Self { buffer: place.buffer, start, end: start + signed((place.len * place.size()) as u64) }
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.buffer == other.buffer && self.start < other.end && other.start < self.end
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).expect("a buffer has less than 2^63 bytes")
}

impl Shadow {
    /// Marks bytes as empty.
    fn clear(&mut self, at: Bytes) {
        let mut kept = Vec::new();
        for held in self.buffers[at.buffer].drain(..) {
            kept.push(Held { end: held.end.min(at.start), ..held });
            kept.push(Held { start: held.start.max(at.end), ..held });
        }
        kept.retain(|held| held.start < held.end);
        self.buffers[at.buffer] = kept;
    }

    /// Marks bytes as the part of a value that `view` is.
    fn write(&mut self, at: Bytes, view: View, size: usize) {
        self.clear(at);
        let origin = at.start - signed((view.offset * size) as u64);
        let held = Held { start: at.start, end: at.end, root: view.root, origin };
        self.buffers[at.buffer].push(held);
    }

    /// Whether bytes hold the part of a value that `view` is.
    fn holds(&self, at: Bytes, view: View, size: usize) -> bool {
        let origin = at.start - signed((view.offset * size) as u64);
        let right = |held: &&Held| held.root == view.root && held.origin == origin;
        let covered = |held: &Held| (held.end.min(at.end) - held.start.max(at.start)).max(0);
        let found: i64 = self.buffers[at.buffer].iter().filter(right).map(covered).sum();
        found == at.end - at.start
    }

    fn copy(&mut self, from: Bytes, to: Bytes) {
        let shift = to.start - from.start;
        let inside = |held: &Held| Held {
            start: held.start.max(from.start) + shift,
            end: held.end.min(from.end) + shift,
            root: held.root,
            origin: held.origin + shift,
        };
        let moved: Vec<Held> = self.buffers[from.buffer].iter().map(inside).collect();
        self.clear(to);
        self.buffers[to.buffer].extend(moved.into_iter().filter(|held| held.start < held.end));
    }
}

impl Planner<'_> {
    /// Runs `plan` on a shadow of its buffers; `unit_of` names the unit that each step belongs to,
    /// and `buffer_of` the buffer of each value. Reports what is wrong with the first wrong step.
    pub(super) fn prove(
        &self,
        plan: &Plan,
        unit_of: &[usize],
        buffer_of: &[usize],
    ) -> Result<(), String> {
        let mut shadow = Shadow { buffers: vec![Vec::new(); plan.buffers.len()] };
        let lies = |var: Var| {
            let place = self.place(var);
            Place { buffer: buffer_of[place.buffer], ..place }
        };
        let sources = self.tape.feeds().values().copied();
        for var in sources.chain(self.tape.states().values().map(|state| state.before)) {
            let place = lies(var);
            shadow.write(Bytes::of(&place), self.view(var), place.size());
        }
        for (number, step) in plan.steps.iter().enumerate() {
            match step {
                Step::Copy { from, to } => shadow.copy(Bytes::of(from), Bytes::of(to)),
                Step::Kernel { inputs, output, scratch, .. } => {
                    let unit = &self.units.units[unit_of[number]];
                    self.run_kernel(&mut shadow, unit, inputs, output, &lies)?;
                    for &buffer in scratch {
                        let end = signed(plan.buffers[buffer].bytes);
                        shadow.clear(Bytes { buffer, start: 0, end });
                    }
                }
                Step::Fused(_) => {
                    self.run_fused(&mut shadow, step, &self.units.units[unit_of[number]])?;
                }
            }
        }
        for (name, state) in self.tape.states() {
            let place = lies(state.before);
            if !shadow.holds(Bytes::of(&place), self.view(state.after), place.size()) {
                return Err(format!("the state {name} does not end with its new value"));
            }
        }
        for fetch in &plan.fetches {
            let view = self.view(self.tape.fetches()[&fetch.name]);
            if !shadow.holds(Bytes::of(&fetch.place), view, fetch.place.size()) {
                return Err(format!("the fetch {} does not hold its value", fetch.name));
            }
        }
        Ok(())
    }

    fn view(&self, var: Var) -> View {
        self.units.views[var.index()]
    }

    fn name(&self, root: usize) -> String {
        format!("%{root} {}", self.tape.nodes()[root].op.name())
    }

    /// A kernel, or the sums of several tensors by one.
    fn run_kernel(
        &self,
        shadow: &mut Shadow,
        unit: &Unit,
        inputs: &[Place],
        output: &Place,
        lies: &impl Fn(Var) -> Place,
    ) -> Result<(), String> {
        let alone = unit.lanes.len() == 1;
        for lane in &unit.lanes {
            let node = lane[0];
            for (i, &input) in self.tape.nodes()[node].inputs.iter().enumerate() {
                // The kernel of several sums binds whole buffers, which contain each tensor at its
                // place.
                let place = if alone { inputs[i] } else { lies(input) };
                if inputs[i].buffer != place.buffer
                    || !shadow.holds(Bytes::of(&place), self.view(input), place.size())
                {
                    return Err(format!("{} does not find its input {i}", self.name(node)));
                }
                if place.buffer == output.buffer {
                    let name = self.name(node);
                    return Err(format!("{name} writes the buffer of its input {i}"));
                }
            }
        }
        for lane in &unit.lanes {
            let place = if alone { *output } else { lies(self.tape.var(lane[0])) };
            if place.buffer != output.buffer {
                return Err(format!("{} is not where its kernel writes", self.name(lane[0])));
            }
            shadow.write(Bytes::of(&place), View { root: lane[0], offset: 0 }, place.size());
        }
        Ok(())
    }

    /// Elementwise ops, which read and write the range from their first lane to their last.
    fn run_fused(&self, shadow: &mut Shadow, step: &Step, unit: &Unit) -> Result<(), String> {
        let Step::Fused(fused) = step else { unreachable!("the caller has matched it") };
        let at = |place: &Place, lane: usize, len: usize| {
            let offset = place.offset + unit.starts[lane];
            Bytes::of(&Place { offset, len, ..*place })
        };
        let bundle = unit.lanes.len() > 1;
        for (l, lane) in unit.lanes.iter().enumerate() {
            for ((op, operands), &node) in fused.calls.iter().zip(lane) {
                let Node { op: own, inputs, shape, .. } = &self.tape.nodes()[node];
                // Compares ops as `Tape::record` does.
                if format!("{op:?}") != format!("{own:?}") {
                    return Err(format!("{} is computed as {op:?}", self.name(node)));
                }
                for (i, (operand, &input)) in operands.iter().zip(inputs).enumerate() {
                    let lost = || Err(format!("{} does not find its input {i}", self.name(node)));
                    let load = match *operand {
                        Operand::Call(call) if lane[call] == self.root(input) => continue,
                        Operand::Call(_) => return lost(),
                        Operand::Load(load) => load,
                    };
                    let Load { place, access } = &fused.loads[load];
                    let from = self.tape.shape(input);
                    let len = from.iter().product();
                    // All lanes read one scalar, or each its own tensor, elementwise.
                    let (start, fits) = match access {
                        Access::Scalar if bundle => (0, len == 1),
                        Access::Full if bundle => (l, len == self.len(node)),
                        access => (0, !bundle && *access == Access::of(from, shape)),
                    };
                    if !fits || !shadow.holds(at(place, start, len), self.view(input), place.size())
                    {
                        return lost();
                    }
                }
            }
        }
        let range = |place: &Place| Bytes::of(&Place { len: fused.len, ..*place });
        for (_, to) in &fused.stores {
            let mut loads = fused.loads.iter().filter(|load| {
                let whole = load.access == Access::Full;
                let read = if whole { range(&load.place) } else { Bytes::of(&load.place) };
                let in_place = whole && load.place.offset == to.offset;
                read.overlaps(&range(to)) && !in_place
            });
            if loads.next().is_some() {
                let name = self.name(unit.lanes[0][0]);
                return Err(format!("the unit of {name} reads what it writes elsewhere"));
            }
            shadow.clear(range(to));
        }
        for (call, to) in &fused.stores {
            for (l, lane) in unit.lanes.iter().enumerate() {
                let node = lane[*call];
                let bytes = at(to, l, self.len(node));
                shadow.write(bytes, View { root: node, offset: 0 }, to.size());
            }
        }
        Ok(())
    }
}
