//! The layout of a bundle's tensors: rows, in which a kernel finds them consecutively.

use std::collections::{BTreeSet, HashMap};

use crate::program::units::{Groups, MAX_BINDINGS, Row, View};
use crate::tensor::{DType, padded_bytes};

use super::{ALIGN, Chains};

/// Whether the tensors of merged chains can be laid out as one kernel needs them.
pub(super) enum Laid {
    /// They can: the offset of each chain from the first, in elements.
    At(Vec<usize>),
    /// Only those of this many chains from the first on. Between them and the next one is a tensor
    /// in none of the chains, and a kernel that writes from its first chain to its last would
    /// overwrite it.
    Until(usize),
    /// They cannot.
    Not,
}

impl Groups<'_> {
    /// Chains in stretches whose rows have at most `limit` bytes.
    pub(super) fn chunks(
        &self,
        chains: impl Iterator<Item = Vec<usize>>,
        limit: u64,
    ) -> Vec<Chains> {
        let mut chunks: Vec<Chains> = vec![Vec::new()];
        for chain in chains {
            let last = chunks.last_mut().expect("there is one from the start");
            last.push(chain);
            let bytes = padded_bytes(self.starts(last).1, DType::F32);
            let too_many = bytes > limit && last.len() > 1;
            let over = if too_many { last.pop() } else { None };
            chunks.extend(over.map(|chain| vec![chain]));
        }
        chunks
    }

    /// The offsets of each chain's tensors in their rows, and the elements of a row. Each starts
    /// where a kernel can bind it alone, and has room for all of its root, of which it may be a
    /// part.
    fn starts(&self, chains: &[Vec<usize>]) -> (Vec<usize>, usize) {
        let known: Option<Vec<_>> = chains.iter().map(|chain| self.start_in_row(chain)).collect();
        if let Some(known) = known
            && known.is_sorted()
            && known.iter().all(|&(row, _)| row == known[0].0)
            && let Some(&(row, _)) = known.first()
            && self.is_most_of(chains, row)
        {
            return (known.iter().map(|&(_, start)| start).collect(), self.rows[row].len);
        }
        let (mut starts, mut end) = (Vec::new(), 0_usize);
        for chain in chains {
            let own = chain.iter().flat_map(|&n| &self.tape.nodes()[n].inputs);
            let views = own.filter(|&&v| self.is_lane(v, chain[0])).map(|v| self.views[v.index()]);
            let (mut before, mut after) = (0, self.len(chain[0]));
            for View { root, offset } in views {
                (before, after) = (before.max(offset), after.max(self.len(root) - offset));
            }
            let start = end.next_multiple_of(ALIGN) + before;
            starts.push(start);
            end = start + after;
        }
        (starts, end)
    }

    /// Whether chains are at least half of a row: a kernel runs over all of it.
    fn is_most_of(&self, chains: &[Vec<usize>], row: usize) -> bool {
        let room = |chain: &Vec<usize>| self.len(chain[0]).next_multiple_of(ALIGN);
        2 * chains.iter().map(room).sum::<usize>() >= self.rows[row].len
    }

    /// The first row with something that a chain reads, and the chain's start in it.
    pub(super) fn start_in_row(&self, chain: &[usize]) -> Option<(usize, usize)> {
        let inputs = chain.iter().flat_map(|&n| &self.tape.nodes()[n].inputs);
        let mut lanes = inputs.filter(|&&v| self.is_lane(v, chain[0]));
        lanes.find_map(|v| {
            let View { root, offset } = self.views[v.index()];
            let &(row, place) = self.berths.get(&root)?;
            Some((row, self.rows[row].starts[place] + offset))
        })
    }

    /// Assigns rows to the tensors that merged chains read and write, all or nothing.
    pub(super) fn lay_out(
        &mut self,
        chains: &Chains,
        consumers: &HashMap<usize, Vec<usize>>,
    ) -> Laid {
        let (starts, len) = self.starts(chains);
        let Some((rows, written)) = self.rows_of(chains, &starts, len, consumers) else {
            return Laid::Not;
        };
        if let Some(count) = written.iter().filter_map(|roots| self.hole(roots)).min() {
            return Laid::Until(count);
        }
        for row in rows {
            self.add_row(row);
        }
        for place in 0..chains[0].len() {
            for node in chains.iter().map(|chain| chain[place]) {
                let before = self.assigned(node).next();
                let berth = before.map(|before| self.berths[&before]);
                self.berths.extend(berth.map(|berth| (node, berth)));
            }
        }
        Laid::At(starts.iter().map(|start| start - starts[0]).collect())
    }

    /// How many of these tensors, from the first on, are consecutive with nothing else between
    /// them; `None` if all are.
    fn hole(&self, roots: &[usize]) -> Option<usize> {
        // A row that is made for these tensors has nothing else in it.
        let &(number, _) = self.berths.get(&roots[0])?;
        let row = &self.rows[number];
        let start = |root: &usize| row.starts[self.berths[root].1];
        let others: Vec<usize> =
            row.roots.iter().filter(|r| !roots.contains(r)).map(start).collect();
        let own: Vec<usize> = roots.iter().map(start).collect();
        let between = |pair: &[usize]| others.iter().any(|o| (pair[0]..pair[1]).contains(o));
        own.windows(2).position(between).map(|at| at + 1)
    }

    /// The rows that the tensors of merged chains need besides the existing ones, and the tensors
    /// of each row that is written; `None` if that layout is impossible.
    fn rows_of(
        &self,
        chains: &Chains,
        starts: &[usize],
        len: usize,
        consumers: &HashMap<usize, Vec<usize>>,
    ) -> Option<(Vec<Row>, Vec<Vec<usize>>)> {
        let mut rows: Vec<Row> = Vec::new();
        let mut bindings = BTreeSet::new();
        let mut add = |views: Vec<View>| {
            let roots = views.iter().map(|view| view.root).collect();
            let starts = starts.iter().zip(&views).map(|(start, v)| start.checked_sub(v.offset));
            let row = Row { roots, starts: starts.collect::<Option<_>>()?, len };
            let known = rows.iter().any(|r| r.roots == row.roots && r.starts == row.starts);
            if !known && !self.is_laid_out(&row)? {
                self.can_lie(&row, &views).then(|| rows.push(row))?;
            }
            Some(())
        };
        // Reads: one scalar for all, or one tensor for each.
        for (place, &node) in chains[0].iter().enumerate() {
            for i in 0..self.tape.nodes()[node].inputs.len() {
                let input = |chain: &Vec<usize>| self.tape.nodes()[chain[place]].inputs[i];
                let views = chains.iter().map(|chain| self.views[input(chain).index()]);
                let views: Vec<View> = views.collect();
                if chains[0].contains(&views[0].root) {
                    continue;
                }
                bindings.insert(views[0].root);
                // Two chains may read the same tensor, though neither reads that of the first.
                let shared = views.iter().all(|view| *view == views[0]);
                if !shared || !self.one(input(&chains[0])) {
                    add(views)?;
                }
            }
        }
        // Writes: the states in place, and what others read.
        let whole = |root| View { root, offset: 0 };
        let mut written: Vec<Vec<usize>> = Vec::new();
        for place in 0..chains[0].len() {
            let nodes: Vec<usize> = chains.iter().map(|chain| chain[place]).collect();
            let states: Vec<Vec<usize>> =
                nodes.iter().map(|&node| self.assigned(node).collect()).collect();
            if states.iter().all(Vec::is_empty) {
                if nodes.iter().any(|&node| self.leaves(node, consumers)) {
                    bindings.insert(nodes[0]);
                    add(nodes.iter().copied().map(whole).collect())?;
                    written.push(nodes);
                }
                continue;
            }
            if states.iter().any(|states| states.len() != 1) {
                return None;
            }
            let before = states.concat();
            bindings.insert(before[0]);
            add(before.iter().copied().map(whole).collect())?;
            written.push(before);
        }
        let mut all: Vec<usize> = rows.iter().flat_map(|row| row.roots.iter().copied()).collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        let fits = all.len() == count && bindings.len() <= MAX_BINDINGS && self.in_place;
        fits.then_some((rows, written))
    }

    pub(super) fn add_row(&mut self, row: Row) {
        let number = self.rows.len();
        self.berths.extend(row.roots.iter().enumerate().map(|(i, &root)| (root, (number, i))));
        self.rows.push(row);
    }

    /// Whether these tensors already are in a row in this layout; `None` if they are parts of other
    /// rows.
    fn is_laid_out(&self, row: &Row) -> Option<bool> {
        let berths: Vec<_> = row.roots.iter().map(|root| self.berths.get(root)).collect();
        if berths.iter().all(Option::is_none) {
            return Some(false);
        }
        let &(number, _) = berths[0]?;
        let start = |&(row, place): &(usize, usize)| {
            (row == number).then(|| self.rows[number].starts[place])
        };
        let mut pairs = berths.into_iter().zip(&row.starts);
        pairs.all(|(berth, wanted)| berth.and_then(start) == Some(*wanted)).then_some(true)
    }

    /// Whether tensors can be consecutive: old values of states, or values that are computed for
    /// nothing else, none by a kernel that reads another one, as a kernel cannot write a buffer
    /// that it reads.
    fn can_lie(&self, row: &Row, views: &[View]) -> bool {
        let floats = row.roots.iter().all(|&root| self.tape.nodes()[root].dtype == DType::F32);
        let old =
            |&root: &usize| self.tape.states().values().any(|state| state.before.index() == root);
        let made = |&root: &usize| {
            let Some(&group) = self.of.get(&root) else { return false };
            let kernel = !self.elementwise(group);
            let reads_others = kernel && self.reads[group].iter().any(|r| row.roots.contains(r));
            !reads_others && self.assigned(root).next().is_none()
        };
        let whole = views.iter().all(|view| view.offset == 0);
        // A row in the layout of an earlier one may have less room.
        let ends = row.starts.iter().skip(1).copied().chain([row.len]);
        let mut room = row.roots.iter().zip(&row.starts).zip(ends);
        let fits = room.all(|((&root, start), end)| start + self.len(root) <= end);
        floats && fits && (whole && row.roots.iter().all(old) || row.roots.iter().all(made))
    }
}
