//! From nodes to units of execution: unused nodes are dropped, values that are views of others are
//! resolved, elementwise neighbors are fused, and units that do the same to different tensors are
//! bundled.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap, HashSet};

use crate::device::Pack;
use crate::ops::Class;
use crate::tape::{Tape, Var};
use crate::tensor::{DType, padded_bytes};

mod bundle;
mod fuse;

/// A value as part of another one: the node that computes it, and its offset there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct View {
    /// The node whose buffer holds it.
    pub(super) root: usize,
    /// The first element.
    pub(super) offset: usize,
}

/// Nodes that run as one: a single kernel op, or elementwise ops over the same number of elements.
#[derive(Clone, Debug)]
pub(super) struct Unit {
    /// The nodes, in topological order. A bundle has several lanes, whose nodes at the same place
    /// do the same to consecutive tensors.
    pub(super) lanes: Vec<Vec<usize>>,
    /// Offset of each lane's tensors, in elements from those of the first.
    pub(super) starts: Vec<usize>,
    /// Whether they are elementwise.
    pub(super) fused: bool,
}

impl Unit {
    /// The nodes of all lanes.
    pub(super) fn nodes(&self) -> impl Iterator<Item = usize> + '_ {
        self.lanes.iter().flatten().copied()
    }
}

/// Consecutive tensors in one buffer. Either old values of states, which then stay there from run
/// to run, or values of one run.
#[derive(Clone, Debug, Default)]
pub(super) struct Row {
    /// The tensors.
    pub(super) roots: Vec<usize>,
    /// The first element of each.
    pub(super) starts: Vec<usize>,
    /// Elements of the whole.
    pub(super) len: usize,
}

impl Row {
    /// Bytes of the whole.
    pub(super) fn bytes(&self) -> u64 {
        padded_bytes(self.len, DType::F32)
    }
}

/// Similar units that run as one.
#[derive(Debug, Default)]
struct Bundle {
    /// As those of a [`Unit`].
    lanes: Vec<Vec<usize>>,
    starts: Vec<usize>,
}

/// Storage buffers that one kernel may bind on every GPU (the WebGPU guarantee).
pub(super) const MAX_BINDINGS: usize = 8;

/// The units of a tape in the order in which they run.
#[derive(Debug)]
pub(super) struct Units {
    /// For each node, where its value is.
    pub(super) views: Vec<View>,
    /// The units, in order.
    pub(super) units: Vec<Unit>,
    /// What bundles read and write.
    pub(super) rows: Vec<Row>,
}

/// Options for grouping nodes into units.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grouping {
    /// Fuse elementwise neighbors: else every elementwise op is a unit.
    pub(super) fuse: bool,
    /// Assume that the new value of a state needs no buffer of its own in the kernel that reads the
    /// old one, which holds for all but odd tapes.
    pub(super) in_place: bool,
    /// Bundle units that do the same, if no buffer exceeds this many bytes.
    pub(super) bundle: Option<u64>,
}

impl Units {
    /// Finds the units of `tape`.
    pub(super) fn of(tape: &Tape, grouping: Grouping) -> Self {
        let needed = needed(tape);
        let views = views(tape);
        let mut groups = Groups::new(tape, &needed, &views, grouping.in_place);
        if let Some(limit) = grouping.bundle {
            groups.bundle(limit);
        }
        if grouping.fuse {
            let all: Vec<usize> = groups.of.keys().copied().collect();
            groups.fuse(&all);
        }
        let rows = std::mem::take(&mut groups.rows);
        let units = groups.schedule();
        Self { views, units, rows }
    }

    /// The rows of states.
    pub(super) fn packs(&self, tape: &Tape) -> Vec<Pack> {
        let name = |&root: &usize| {
            let mut states = tape.states().iter();
            states.find(|(_, s)| s.before.index() == root).map(|(name, _)| name.clone())
        };
        let pack = |row: &Row| {
            let starts = row.starts.iter().map(|&start| (start * DType::F32.size()) as u64);
            let names = row.roots.iter().map(name).collect::<Option<_>>()?;
            Some(Pack { names, starts: starts.collect(), bytes: row.bytes() })
        };
        self.rows.iter().filter_map(pack).collect()
    }
}

/// Which nodes a fetch or an assignment needs.
pub(super) fn needed(tape: &Tape) -> Vec<bool> {
    let mut needed = vec![false; tape.nodes().len()];
    for var in tape.fetches().values() {
        needed[var.index()] = true;
    }
    for state in tape.states().values().filter(|s| s.before != s.after) {
        needed[state.after.index()] = true;
    }
    for (i, node) in tape.nodes().iter().enumerate().rev() {
        if needed[i] {
            for input in &node.inputs {
                needed[input.index()] = true;
            }
        }
    }
    needed
}

fn views(tape: &Tape) -> Vec<View> {
    let mut views: Vec<View> = Vec::with_capacity(tape.nodes().len());
    for (i, node) in tape.nodes().iter().enumerate() {
        views.push(match node.op.class() {
            Class::Reshape => views[node.inputs[0].index()],
            Class::Range(start) => {
                let View { root, offset } = views[node.inputs[0].index()];
                View { root, offset: offset + start }
            }
            Class::Source | Class::Elementwise(_) | Class::Kernel => View { root: i, offset: 0 },
        });
    }
    views
}

/// Units while they are being merged.
struct Groups<'a> {
    tape: &'a Tape,
    views: &'a [View],
    /// For each node that computes something, its group.
    of: HashMap<usize, usize>,
    /// The groups; empty ones were merged into others.
    nodes: Vec<Vec<usize>>,
    /// For each group, the roots that its nodes read.
    reads: Vec<Vec<usize>>,
    /// Roots needed outside every group: fetches and assignments.
    wanted: BTreeSet<usize>,
    /// For each root, the old values of the states it is the new value of.
    before: HashMap<usize, Vec<usize>>,
    /// Whether states are assumed to be updated in place.
    in_place: bool,
    /// The roots that are assigned to states.
    given: BTreeSet<usize>,
    /// The keys by which units are compared for bundling.
    ends: BTreeSet<usize>,
    /// The groups that are bundles.
    bundles: HashMap<usize, Bundle>,
    /// What bundles read and write.
    rows: Vec<Row>,
    /// For each root in a row, the row and its place there; the new value of a state has the place
    /// of the old one.
    berths: HashMap<usize, (usize, usize)>,
}

impl<'a> Groups<'a> {
    fn new(tape: &'a Tape, needed: &[bool], views: &'a [View], in_place: bool) -> Self {
        let computes = |i: &usize| {
            needed[*i]
                && matches!(tape.nodes()[*i].op.class(), Class::Elementwise(_) | Class::Kernel)
        };
        let nodes: Vec<Vec<usize>> =
            (0..tape.nodes().len()).filter(computes).map(|i| vec![i]).collect();
        let of = nodes.iter().enumerate().map(|(g, n)| (n[0], g)).collect();
        let assigned = tape.states().values().filter(|s| s.before != s.after).map(|s| s.after);
        let wanted = tape
            .fetches()
            .values()
            .copied()
            .chain(assigned)
            .map(|v| views[v.index()].root)
            .collect();
        let root = |v: &Var| views[v.index()].root;
        let mut before: HashMap<usize, Vec<usize>> = HashMap::new();
        for state in tape.states().values().filter(|s| s.before != s.after) {
            before.entry(root(&state.after)).or_default().push(state.before.index());
        }
        let reads =
            nodes.iter().map(|n| tape.nodes()[n[0]].inputs.iter().map(root).collect()).collect();
        Self {
            tape,
            views,
            of,
            nodes,
            reads,
            wanted,
            before,
            in_place,
            given: BTreeSet::new(),
            ends: BTreeSet::new(),
            bundles: HashMap::new(),
            rows: Vec::new(),
            berths: HashMap::new(),
        }
    }

    fn elementwise(&self, group: usize) -> bool {
        let node = &self.tape.nodes()[self.nodes[group][0]];
        matches!(node.op.class(), Class::Elementwise(_))
    }

    fn len(&self, node: usize) -> usize {
        self.tape.nodes()[node].shape.iter().product()
    }

    /// The roots that the nodes of a group read.
    fn read_by<'b>(&'b self, nodes: &'b [usize]) -> impl Iterator<Item = usize> + 'b {
        let inputs = nodes.iter().flat_map(|&i| &self.tape.nodes()[i].inputs);
        inputs.map(|v| self.views[v.index()].root)
    }

    /// Those from outside the group.
    fn inputs(&self, nodes: &[usize]) -> BTreeSet<usize> {
        let own: HashSet<usize> = nodes.iter().copied().collect();
        self.read_by(nodes).filter(|r| !own.contains(r)).collect()
    }

    /// Whether `var` is all of its root, with as many elements as `node`.
    fn is_whole(&self, var: Var, node: usize) -> bool {
        let View { root, offset } = self.views[var.index()];
        let len = self.tape.shape(var).iter().product::<usize>();
        offset == 0 && len == self.len(root) && len == self.len(node)
    }

    /// For each root, the nodes that read it.
    fn consumers(&self) -> HashMap<usize, Vec<usize>> {
        let mut consumers: HashMap<usize, Vec<usize>> = HashMap::new();
        for &node in self.of.keys() {
            for input in &self.tape.nodes()[node].inputs {
                consumers.entry(self.views[input.index()].root).or_default().push(node);
            }
        }
        consumers
    }

    /// Buffers that a kernel of these nodes binds. An output that becomes the new value of a state
    /// among its inputs is written in place.
    fn bindings(&self, nodes: &[usize], consumers: &HashMap<usize, Vec<usize>>) -> usize {
        let inputs = self.inputs(nodes);
        let own: HashSet<usize> = nodes.iter().copied().collect();
        let outputs = nodes.iter().filter(|&&n| {
            let read = consumers.get(&n).is_some_and(|c| c.iter().any(|c| !own.contains(c)));
            let in_place = self.in_place && self.assigned(n).any(|before| inputs.contains(&before));
            (read || self.wanted.contains(&n)) && !in_place
        });
        inputs.len() + outputs.count()
    }

    /// The old values of the states whose new value is the root `node`.
    fn assigned(&self, node: usize) -> impl Iterator<Item = usize> + '_ {
        self.before.get(&node).into_iter().flatten().copied()
    }

    /// Whether `to` also depends on `from` through a third group: merged, they would wait for
    /// themselves.
    fn circle(&self, from: usize, to: usize) -> bool {
        let mut seen = vec![false; self.nodes.len()];
        (seen[from], seen[to]) = (true, true);
        let mut stack: Vec<usize> = [from, to].iter().flat_map(|&g| self.before(g)).collect();
        stack.retain(|&g| g != from && g != to);
        while let Some(group) = stack.pop() {
            if std::mem::replace(&mut seen[group], true) {
                continue;
            }
            for g in self.before(group) {
                if g == from || g == to {
                    return true;
                }
                stack.push(g);
            }
        }
        false
    }

    /// The groups that a group reads.
    fn before(&self, group: usize) -> impl Iterator<Item = usize> {
        self.reads[group]
            .iter()
            .filter_map(|r| self.of.get(r).copied())
            .filter(move |&g| g != group)
    }

    /// The groups in an order that respects their inputs, otherwise as recorded.
    fn order(&self) -> Vec<usize> {
        let mut waiting = vec![0; self.nodes.len()];
        let mut after: Vec<Vec<usize>> = vec![Vec::new(); self.nodes.len()];
        for (g, nodes) in self.nodes.iter().enumerate() {
            if nodes.is_empty() {
                continue;
            }
            let before: BTreeSet<usize> = self.before(g).collect();
            waiting[g] = before.len();
            for b in before {
                after[b].push(g);
            }
        }
        let priority = |g: usize| Reverse((self.nodes[g].last().copied(), g));
        let mut ready: BinaryHeap<_> = (0..self.nodes.len())
            .filter(|&g| waiting[g] == 0 && !self.nodes[g].is_empty())
            .map(priority)
            .collect();
        let mut order = Vec::new();
        while let Some(Reverse((_, g))) = ready.pop() {
            order.push(g);
            for &next in &after[g] {
                waiting[next] -= 1;
                if waiting[next] == 0 {
                    ready.push(priority(next));
                }
            }
        }
        debug_assert_eq!(order.len(), self.nodes.iter().filter(|n| !n.is_empty()).count());
        order
    }

    /// The units, in that order.
    fn schedule(mut self) -> Vec<Unit> {
        let units = self.order().into_iter().map(|g| {
            let fused = self.elementwise(g);
            let alone = || Bundle { lanes: vec![self.nodes[g].clone()], starts: vec![0] };
            let Bundle { lanes, starts } = self.bundles.remove(&g).unwrap_or_else(alone);
            Unit { lanes, starts, fused }
        });
        units.collect()
    }
}
