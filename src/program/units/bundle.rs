//! Bundles: units that do the same to different tensors run as one.
//!
//! An optimizer updates every parameter by the same chain of ops. If the parameters are consecutive
//! in one buffer, and so are their gradients and their moments, they are one long tensor to a
//! kernel: one dispatch updates them all. The chains ([`Chains`]) are found by comparing units
//! backwards from the states' new values; what a unit computes before the common chain stays a
//! separate unit. States are moved next to each other when the program is compiled; values are
//! computed directly into their part of a buffer. Sums over such tensors, or over what is computed
//! from them, are bundled too ([`crate::ops::reduce::sum_each`]).

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::device::gpu::PART_ALIGN;
use crate::ops::Class;
use crate::tape::Var;
use crate::tensor::{DType, padded_bytes};

use super::{Bundle, Groups, MAX_BINDINGS, Row, View};

mod rows;

use rows::Laid;

/// Bytes that a unit may have to write and read again because its chain is cut off: beyond that, a
/// saved dispatch costs more than it gains.
const CUT_BYTES: u64 = 64 << 10;

/// Alignment of the tensors of a row, in elements.
const ALIGN: usize = PART_ALIGN as usize / size_of::<f32>();

/// Similar chains: the nodes of each, with corresponding ones at the same place.
type Chains = Vec<Vec<usize>>;

impl Groups<'_> {
    /// Bundles units where possible, with no row larger than `limit` bytes.
    pub(super) fn bundle(&mut self, limit: u64) {
        let consumers = self.consumers();
        for (i, node) in self.tape.nodes().iter().enumerate() {
            if node.op.is_assigned() {
                self.given.insert(self.views[i].root);
            }
        }
        self.fuse_updates(&consumers);
        self.ends = self.nodes.iter().flat_map(|nodes| self.ends_of(nodes, &consumers)).collect();
        let updates = self.alike(|groups, nodes| !groups.updates(nodes).is_empty());
        self.bundle_chains(updates, limit, &consumers);
        // Sums over tensors that are consecutive by now.
        let summed = self.alike(|groups, nodes| {
            let mut inputs = groups.inputs_of(nodes).into_iter();
            let laid = |v: Var| groups.berths.contains_key(&groups.views[v.index()].root);
            inputs.all(|(_, v)| groups.one(v) || laid(v))
                && nodes.iter().any(|&n| groups.total(n, &consumers).is_some())
        });
        self.bundle_chains(summed, limit, &consumers);
        self.bundle_sums(&consumers);
    }

    /// Bundles chains, those of each class unless they wait for each other.
    fn bundle_chains(
        &mut self,
        classes: Vec<Chains>,
        limit: u64,
        consumers: &HashMap<usize, Vec<usize>>,
    ) {
        for chains in classes {
            let whole = chains.into_iter().filter(|chain| self.ends_its_group(chain, consumers));
            // Chains that read tensors of different rows cannot be together.
            let mut by_row: BTreeMap<Option<usize>, Vec<(usize, Vec<usize>)>> = BTreeMap::new();
            for chain in whole {
                let (row, start) = self.start_in_row(&chain).unzip();
                by_row.entry(row).or_default().push((start.unwrap_or(0), chain));
            }
            let mut chunks = Vec::new();
            for mut chains in by_row.into_values() {
                chains.sort_by_key(|&(start, _)| start);
                chunks.extend(self.chunks(chains.into_iter().map(|(_, chain)| chain), limit));
            }
            while let Some(mut chains) = chunks.pop() {
                if chains.len() < 2 {
                    continue;
                }
                let before = (self.of.clone(), self.nodes.clone(), self.reads.clone());
                let lanes = self.merge(&chains);
                let alone = lanes.len() < 2;
                let laid = if alone { Laid::Not } else { self.lay_out(&lanes, consumers) };
                chains.retain(|chain| !lanes.contains(chain));
                match laid {
                    Laid::At(starts) => {
                        let group = self.of[&lanes[0][0]];
                        self.bundles.insert(group, Bundle { lanes, starts });
                        chunks.push(chains);
                    }
                    Laid::Until(count) => {
                        (self.of, self.nodes, self.reads) = before;
                        let (first, rest) = lanes.split_at(count);
                        chunks.push([rest, &chains].concat());
                        chunks.push(first.to_vec());
                    }
                    Laid::Not => (self.of, self.nodes, self.reads) = before,
                }
            }
        }
    }

    /// Fuses the updates of a state before all else, so that updates become similar units, whatever
    /// precedes them.
    fn fuse_updates(&mut self, consumers: &HashMap<usize, Vec<usize>>) {
        let nodes = self.with_what_is_beside(self.between_states(consumers), consumers);
        self.fuse(&nodes);
        // Then what nothing else needs, the nearest first, such as the sum of two gradients.
        let groups: BTreeSet<usize> = nodes.iter().map(|node| self.of[node]).collect();
        for group in groups {
            let mut next = 0;
            let mut inputs = self.inputs_of(&self.nodes[group]);
            while let Some(&(node, input)) = inputs.get(next) {
                next += 1;
                let root = self.views[input.index()].root;
                let to = self.of[&node];
                let inside = |c: &usize| self.of[c] == to;
                let alone = consumers.get(&root).is_some_and(|c| c.iter().all(inside));
                if alone && !self.wanted.contains(&root) && self.of.get(&root) != Some(&to) {
                    self.fuse_with(node, input, consumers);
                    if self.of.get(&root) == Some(&self.of[&node]) {
                        inputs.extend(self.inputs_of(&[root]));
                    }
                }
            }
        }
    }

    /// `nodes` and the preceding elementwise ones that need nothing beyond what these read, such as
    /// the square of a gradient.
    fn with_what_is_beside(
        &self,
        nodes: BTreeSet<usize>,
        consumers: &HashMap<usize, Vec<usize>>,
    ) -> Vec<usize> {
        let mut order: Vec<usize> = nodes.iter().copied().collect();
        let inputs = self.inputs_of(&order);
        let reads: HashSet<View> = inputs.iter().map(|(_, v)| self.views[v.index()]).collect();
        order = self.of.keys().copied().filter(|n| !nodes.contains(n)).collect();
        order.sort_unstable();
        let mut beside: BTreeSet<usize> = BTreeSet::new();
        for &node in &order {
            let known = |&v: &Var| {
                let view = self.views[v.index()];
                let found = reads.contains(&view) && self.is_lane(v, node);
                self.one(v) || found || beside.contains(&view.root) && self.is_whole(v, node)
            };
            let inputs = &self.tape.nodes()[node].inputs;
            if self.elementwise(self.of[&node]) && inputs.iter().all(known) {
                beside.insert(node);
            }
        }
        let mut all = nodes;
        for node in beside.into_iter().rev() {
            if consumers.get(&node).is_some_and(|c| c.iter().any(|c| all.contains(c))) {
                all.insert(node);
            }
        }
        all.into_iter().collect()
    }

    /// The inputs of nodes.
    fn inputs_of(&self, nodes: &[usize]) -> Vec<(usize, Var)> {
        let inputs = |&n: &usize| self.tape.nodes()[n].inputs.iter().map(move |&v| (n, v));
        nodes.iter().flat_map(inputs).collect()
    }

    /// The elementwise nodes on the way from an old value of a state that is assigned to a new one.
    fn between_states(&self, consumers: &HashMap<usize, Vec<usize>>) -> BTreeSet<usize> {
        let mut order: Vec<usize> = self.of.keys().copied().collect();
        order.sort_unstable();
        let assigned = self.tape.states().values().filter(|s| s.before != s.after);
        let mut from_old: BTreeSet<usize> = assigned.map(|s| s.before.index()).collect();
        for &node in &order {
            let comes =
                |&v: &Var| self.is_whole(v, node) && from_old.contains(&self.views[v.index()].root);
            if self.elementwise(self.of[&node]) && self.tape.nodes()[node].inputs.iter().any(comes)
            {
                from_old.insert(node);
            }
        }
        let mut between: BTreeSet<usize> = BTreeSet::new();
        for &node in order.iter().rev().filter(|node| from_old.contains(node)) {
            let mut readers = consumers.get(&node).into_iter().flatten();
            let leads = |reader: &usize| between.contains(reader);
            if self.assigned(node).next().is_some() || readers.any(leads) {
                between.insert(node);
            }
        }
        between
    }

    /// The elementwise units that are `wanted`, as chains, grouped by similarity.
    fn alike(&self, wanted: impl Fn(&Self, &[usize]) -> bool) -> Vec<Chains> {
        let mut classes: Vec<Chains> = Vec::new();
        for (group, nodes) in self.nodes.iter().enumerate() {
            let open = !nodes.is_empty() && !self.bundles.contains_key(&group);
            if !open || !self.elementwise(group) || !wanted(self, nodes) {
                continue;
            }
            let joined = classes.iter_mut().any(|chains| match self.join(chains, nodes) {
                Some(longer) => {
                    *chains = longer;
                    true
                }
                None => false,
            });
            if !joined {
                classes.push(vec![nodes.clone()]);
            }
        }
        classes.retain(|chains| chains.len() > 1);
        classes
    }

    /// The nodes among these that give states their new values, last or not.
    fn updates(&self, nodes: &[usize]) -> Vec<usize> {
        nodes.iter().copied().filter(|n| self.given.contains(n)).collect()
    }

    /// The key by which units that update states are compared: the new values, and what others need
    /// that is not on the way to them, such as the start of the next update.
    fn ends_of(&self, nodes: &[usize], consumers: &HashMap<usize, Vec<usize>>) -> Vec<usize> {
        let mut ends = self.updates(nodes);
        if ends.is_empty() {
            return ends;
        }
        let mut before: BTreeSet<usize> = ends.iter().copied().collect();
        for &node in nodes.iter().rev() {
            if before.contains(&node) {
                before.extend(self.read_by(&[node]));
            }
        }
        let others = nodes.iter().copied().filter(|node| !before.contains(node));
        ends.extend(others.filter(|&node| self.leaves(node, consumers)));
        ends
    }

    /// Those among these nodes, or the last node if there are no such nodes.
    fn ends(&self, nodes: &[usize]) -> Vec<usize> {
        let ends: Vec<usize> = nodes.iter().copied().filter(|n| self.ends.contains(n)).collect();
        if ends.is_empty() { nodes.last().copied().into_iter().collect() } else { ends }
    }

    /// The sum over all elements of a node.
    fn total(&self, node: usize, consumers: &HashMap<usize, Vec<usize>>) -> Option<usize> {
        let mut readers = consumers.get(&node)?.iter().copied();
        readers.find(|&n| {
            let sum = &self.tape.nodes()[n];
            sum.op.is_sum() && self.len(n) == 1 && self.is_whole(sum.inputs[0], node)
        })
    }

    /// These chains and that of the unit `nodes`, reduced to their common part; `None` if that is
    /// too small.
    fn join(&self, chains: &Chains, nodes: &[usize]) -> Option<Chains> {
        let matches = self.matches(&chains[0], nodes)?;
        let common = |chain: &Vec<usize>| -> Vec<usize> {
            let pairs = chain.iter().zip(&chains[0]);
            pairs.filter(|(_, first)| matches.contains_key(first)).map(|(&node, _)| node).collect()
        };
        let mut joined: Chains = chains.iter().map(common).collect();
        joined.push(joined[0].iter().map(|first| matches[first]).collect());
        joined.iter().all(|chain| self.cut_bytes(chain) <= CUT_BYTES).then_some(joined)
    }

    /// For the nodes of `chain` from which both updates follow by the same ops, the corresponding
    /// nodes of `nodes`. Whatever else both read must be the same scalar for both, or a tensor of
    /// each one's own.
    fn matches(&self, chain: &[usize], nodes: &[usize]) -> Option<HashMap<usize, usize>> {
        let (a, b) = (self.ends(chain), self.ends(nodes));
        let mut open: Vec<(usize, usize)> = a.iter().copied().zip(b.iter().copied()).collect();
        let alike = a.len() == b.len() && open.iter().all(|&(a, b)| self.same_op(a, b));
        let mut matches: HashMap<usize, usize> = HashMap::new();
        while let (Some((a, b)), true) = (open.pop(), alike) {
            if *matches.entry(a).or_insert(b) != b {
                return None;
            }
            let inputs = self.pairs(a, b).filter(|&(_, (x, y))| {
                chain.contains(&x) && nodes.contains(&y) && self.same_op(x, y)
            });
            open.extend(inputs.map(|(_, roots)| roots).filter(|(x, _)| !matches.contains_key(x)));
        }
        let mine: BTreeSet<usize> = matches.values().copied().collect();
        let mut own: HashMap<View, View> = HashMap::new();
        for (&a, &b) in &matches {
            for ((v, w), (x, y)) in self.pairs(a, b) {
                let fits = match matches.get(&x) {
                    Some(&other) => other == y,
                    None if mine.contains(&y) => false,
                    None if x == y => self.views[v.index()] == self.views[w.index()] && self.one(v),
                    None => {
                        let (x, y) = (self.views[v.index()], self.views[w.index()]);
                        let same = *own.entry(x).or_insert(y) == y;
                        same && self.is_lane(v, a) && self.is_lane(w, b)
                    }
                };
                if !fits {
                    return None;
                }
            }
        }
        let distinct: HashSet<View> = own.values().copied().collect();
        (alike && mine.len() == matches.len() && distinct.len() == own.len()).then_some(matches)
    }

    /// The inputs of two nodes, pair by pair, and their roots.
    fn pairs(&self, a: usize, b: usize) -> impl Iterator<Item = ((Var, Var), (usize, usize))> {
        let inputs = |n: usize| self.tape.nodes()[n].inputs.iter().copied();
        let root = |v: Var| self.views[v.index()].root;
        inputs(a).zip(inputs(b)).map(move |(v, w)| ((v, w), (root(v), root(w))))
    }

    fn same_op(&self, a: usize, b: usize) -> bool {
        let (a, b) = (&self.tape.nodes()[a], &self.tape.nodes()[b]);
        let elementwise = matches!(a.op.class(), Class::Elementwise(_));
        // Compares ops as `Tape::record` does.
        elementwise
            && a.inputs.len() == b.inputs.len()
            && format!("{:?}", a.op) == format!("{:?}", b.op)
    }

    /// Whether `var` has as many elements as `node`, and starts where a kernel can bind it alone.
    fn is_lane(&self, var: Var, node: usize) -> bool {
        let len = self.tape.shape(var).iter().product::<usize>();
        len == self.len(node) && self.views[var.index()].offset.is_multiple_of(ALIGN)
    }

    /// Whether `var` is a scalar.
    fn one(&self, var: Var) -> bool {
        self.tape.shape(var).iter().product::<usize>() == 1
    }

    /// Bytes that the rest of a chain's unit has to pass to it.
    fn cut_bytes(&self, chain: &[usize]) -> u64 {
        let group = &self.nodes[self.of[&chain[0]]];
        let cut = self.inputs(chain).into_iter().filter(|root| group.contains(root));
        cut.map(|root| padded_bytes(self.len(root), DType::F32)).sum()
    }

    /// Whether nothing in a chain's unit comes after it, so that it can be cut off, and the rest
    /// then binds no more buffers than every GPU allows.
    fn ends_its_group(&self, chain: &[usize], consumers: &HashMap<usize, Vec<usize>>) -> bool {
        let group = &self.nodes[self.of[&chain[0]]];
        let rest: Vec<usize> = group.iter().copied().filter(|n| !chain.contains(n)).collect();
        let free = self.read_by(&rest).all(|root| !chain.contains(&root));
        free && (rest.is_empty() || self.bindings(&rest, consumers) <= MAX_BINDINGS)
    }

    /// Cuts chains off their units and merges those that do not wait for each other.
    fn merge(&mut self, chains: &Chains) -> Chains {
        let mut merged: Chains = Vec::new();
        for chain in chains {
            let from = self.of[&chain[0]];
            let rest: Vec<usize> =
                self.nodes[from].iter().copied().filter(|n| !chain.contains(n)).collect();
            let mut group = from;
            if !rest.is_empty() {
                group = self.nodes.len();
                self.reads[from] = self.read_by(&rest).collect();
                self.nodes[from] = rest;
                self.nodes.push(Vec::new());
                self.reads.push(Vec::new());
            }
            let mut nodes = chain.clone();
            nodes.sort_unstable();
            self.reads[group] = self.read_by(&nodes).collect();
            self.of.extend(nodes.iter().map(|&n| (n, group)));
            self.nodes[group] = nodes;
            match merged.first().map(|first| self.of[&first[0]]) {
                Some(first) if !self.absorb(first, group) => {}
                _ => merged.push(chain.clone()),
            }
        }
        merged
    }

    /// Merges the group `group` into `first`, unless one waits for the other.
    fn absorb(&mut self, first: usize, group: usize) -> bool {
        let direct = |a: usize, b: usize| self.before(a).any(|g| g == b);
        if direct(first, group) || direct(group, first) || self.circle(first, group) {
            return false;
        }
        let nodes = std::mem::take(&mut self.nodes[group]);
        self.of.extend(nodes.iter().map(|&n| (n, first)));
        self.nodes[first].extend(nodes);
        self.nodes[first].sort_unstable();
        let more = std::mem::take(&mut self.reads[group]);
        self.reads[first].extend(more);
        true
    }

    /// Whether a node's value is needed outside its group.
    fn leaves(&self, node: usize, consumers: &HashMap<usize, Vec<usize>>) -> bool {
        let group = self.of[&node];
        let read = consumers.get(&node).is_some_and(|c| c.iter().any(|c| self.of[c] != group));
        read || self.wanted.contains(&node)
    }

    /// Bundles the total sums of consecutive tensors.
    fn bundle_sums(&mut self, consumers: &HashMap<usize, Vec<usize>>) {
        for number in 0..self.rows.len() {
            let roots = self.rows[number].roots.iter();
            let sums: Vec<usize> = roots.filter_map(|&root| self.total(root, consumers)).collect();
            let free =
                |&n: &usize| !self.berths.contains_key(&n) && self.assigned(n).next().is_none();
            let sums: Chains = sums.into_iter().filter(free).map(|n| vec![n]).collect();
            if sums.len() < 2 {
                continue;
            }
            let before = (self.of.clone(), self.nodes.clone(), self.reads.clone());
            let lanes = self.merge(&sums);
            if lanes.len() < 2 {
                (self.of, self.nodes, self.reads) = before;
                continue;
            }
            let group = self.of[&lanes[0][0]];
            let starts: Vec<usize> = (0..lanes.len()).map(|i| i * ALIGN).collect();
            let len = starts[starts.len() - 1] + 1;
            self.add_row(Row { roots: lanes.concat(), starts: starts.clone(), len });
            self.bundles.insert(group, Bundle { lanes, starts });
        }
    }
}
