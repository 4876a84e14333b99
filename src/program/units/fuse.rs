//! Fusion: elementwise neighbors become one unit.
//!
//! Two groups of nodes are merged if one reads what the other computes, elementwise, if the result
//! binds no more buffers than every GPU allows, and if there is no third group between them.
//! Networks may be thousands of layers deep, so these questions are answered without looking at a
//! whole group or a whole tape: a group is known by its [`Seam`], which is small, and the groups
//! are kept in an [`Order`], which is only searched between the two.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::tape::Var;

use super::{Groups, MAX_BINDINGS, View};

/// The interface of a group to its surroundings.
#[derive(Clone, Debug, Default)]
struct Seam {
    /// For each root from outside that its nodes read: how often, and whether always elementwise.
    inputs: BTreeMap<usize, (usize, bool)>,
    /// For each of its nodes that is read outside it, how often.
    outputs: BTreeMap<usize, usize>,
    /// Those of its nodes that fetches and states need.
    wanted: BTreeSet<usize>,
}

/// All seams computed so far, by group.
#[derive(Debug, Default)]
struct Seams {
    of: HashMap<usize, Seam>,
}

/// Groups in an order in which each comes after those that it reads.
#[derive(Debug)]
struct Order {
    /// The groups; those merged into others leave holes.
    groups: Vec<Option<usize>>,
    /// For each group, its place.
    place: HashMap<usize, usize>,
}

impl Groups<'_> {
    /// Merges every elementwise node of `among` with those of them that produce its inputs.
    pub(super) fn fuse(&mut self, among: &[usize]) {
        let consumers = self.consumers();
        let among: BTreeSet<usize> = among.iter().copied().collect();
        let (mut seams, mut order) = (Seams::default(), Order::of(self));
        for &node in &among {
            for &input in &self.tape.nodes()[node].inputs {
                if among.contains(&self.views[input.index()].root) {
                    self.fuse_in(node, input, &consumers, &mut seams, Some(&mut order));
                }
            }
        }
        for group in seams.of.into_keys() {
            self.nodes[group].sort_unstable();
        }
    }

    /// Merges an elementwise node with the elementwise producer of its input `input`, if neither is
    /// in a bundle, no cycle results and it binds no more buffers than every GPU allows.
    pub(super) fn fuse_with(
        &mut self,
        node: usize,
        input: Var,
        consumers: &HashMap<usize, Vec<usize>>,
    ) {
        self.fuse_in(node, input, consumers, &mut Seams::default(), None);
        self.nodes[self.of[&node]].sort_unstable();
    }

    /// The same; the nodes of the merged group are unordered. Without an order of the groups, all
    /// of them are searched for a cycle.
    fn fuse_in(
        &mut self,
        node: usize,
        input: Var,
        consumers: &HashMap<usize, Vec<usize>>,
        seams: &mut Seams,
        order: Option<&mut Order>,
    ) {
        let root = self.views[input.index()].root;
        let (Some(&from), Some(&to)) = (self.of.get(&root), self.of.get(&node)) else {
            return;
        };
        let alike = from != to
            && self.elementwise(from)
            && self.elementwise(to)
            && self.is_whole(input, node)
            && [from, to].iter().all(|group| !self.bundles.contains_key(group));
        if !alike {
            return;
        }
        let between = match &order {
            Some(order) => order.between(from, to, self),
            None => (!self.circle(from, to)).then(BTreeSet::new),
        };
        let Some(between) = between else { return };
        let Some(seam) = seams.merged(from, to, self, consumers) else { return };
        if self.binds(&seam) > MAX_BINDINGS {
            return;
        }
        seams.of.remove(&to);
        if let Some(order) = order {
            order.merge(from, to, &between);
        }
        let moved = std::mem::take(&mut self.nodes[to]);
        self.of.extend(moved.iter().map(|&n| (n, from)));
        self.nodes[from].extend(moved);
        self.reads[to].clear();
        self.reads[from] = seam.inputs.keys().copied().collect();
        seams.of.insert(from, seam);
    }

    /// Buffers that a kernel with this seam binds ([`Groups::bindings`]).
    fn binds(&self, seam: &Seam) -> usize {
        let leaves: BTreeSet<usize> = seam.outputs.keys().chain(&seam.wanted).copied().collect();
        let in_place = |&n: &usize| {
            self.in_place && self.assigned(n).any(|before| seam.inputs.contains_key(&before))
        };
        seam.inputs.len() + leaves.iter().filter(|n| !in_place(n)).count()
    }

    fn seam(&self, group: usize, consumers: &HashMap<usize, Vec<usize>>) -> Seam {
        let mut seam = Seam::default();
        for &n in &self.nodes[group] {
            for input in &self.tape.nodes()[n].inputs {
                let View { root, offset } = self.views[input.index()];
                if self.of.get(&root) == Some(&group) {
                    continue;
                }
                let len = self.tape.node(*input).shape.iter().product::<usize>();
                let (times, whole) = seam.inputs.entry(root).or_insert((0, true));
                *times += 1;
                *whole &= offset == 0 && len == self.len(root);
            }
            let readers = consumers.get(&n).into_iter().flatten();
            let outside = readers.filter(|reader| self.of.get(reader) != Some(&group)).count();
            if outside > 0 {
                seam.outputs.insert(n, outside);
            }
            if self.wanted.contains(&n) {
                seam.wanted.insert(n);
            }
        }
        seam
    }
}

impl Seams {
    /// The seam of two groups as one; `None` if one reads the other, but not elementwise.
    fn merged(
        &mut self,
        from: usize,
        to: usize,
        groups: &Groups<'_>,
        consumers: &HashMap<usize, Vec<usize>>,
    ) -> Option<Seam> {
        for group in [from, to] {
            self.of.entry(group).or_insert_with(|| groups.seam(group, consumers));
        }
        let (mut seam, other) = (self.of[&from].clone(), &self.of[&to]);
        seam.wanted.extend(&other.wanted);
        seam.outputs.extend(&other.outputs);
        for (&root, &(times, whole)) in &other.inputs {
            let (all, always) = seam.inputs.entry(root).or_insert((0, true));
            *all += times;
            *always &= whole;
        }
        let within: Vec<usize> = seam.inputs.keys().copied().collect();
        for root in within {
            if !groups.of.get(&root).is_some_and(|group| [from, to].contains(group)) {
                continue;
            }
            let (times, whole) = seam.inputs.remove(&root)?;
            if !whole {
                return None;
            }
            let left = seam.outputs.get_mut(&root)?;
            *left -= times;
            if *left == 0 {
                seam.outputs.remove(&root);
            }
        }
        Some(seam)
    }
}

impl Order {
    fn of(groups: &Groups<'_>) -> Self {
        let order = groups.order();
        let place = order.iter().enumerate().map(|(at, &group)| (group, at)).collect();
        Self { groups: order.into_iter().map(Some).collect(), place }
    }

    /// The groups that `to` waits for and that are between the two; `None` if one of them waits for
    /// `from`, which `to` reads: merged, the two would wait for themselves.
    fn between(&self, from: usize, to: usize, groups: &Groups<'_>) -> Option<BTreeSet<usize>> {
        let start = self.place[&from];
        let mut between = BTreeSet::new();
        let mut stack: Vec<usize> = groups.before(to).filter(|&g| g != from).collect();
        while let Some(group) = stack.pop() {
            // Groups before `from` wait for nothing behind it.
            if self.place[&group] < start || !between.insert(group) {
                continue;
            }
            for before in groups.before(group) {
                if before == from {
                    return None;
                }
                stack.push(before);
            }
        }
        Some(between)
    }

    /// Merges `to` into `from`, which moves behind the groups `between` that `to` waits for.
    fn merge(&mut self, from: usize, to: usize, between: &BTreeSet<usize>) {
        let (start, end) = (self.place[&from], self.place[&to]);
        self.place.remove(&to);
        if between.is_empty() {
            self.groups[end] = None;
            return;
        }
        let span = self.groups[start..=end].to_vec();
        let first = span.iter().flatten().copied().filter(|group| between.contains(group));
        let rest = span.iter().flatten().copied();
        let rest = rest.filter(|group| !between.contains(group) && ![from, to].contains(group));
        let mut now: Vec<Option<usize>> = first.chain([from]).chain(rest).map(Some).collect();
        now.resize(span.len(), None);
        for (at, group) in now.into_iter().enumerate() {
            if let Some(group) = group {
                self.place.insert(group, start + at);
            }
            self.groups[start + at] = group;
        }
    }
}
