//! From units to steps.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::error::Result;
use crate::ops::reduce::sum_each;
use crate::ops::{Class, Lowered, Op, Site};
use crate::program::access::Access;
use crate::program::choices::key;
use crate::program::units::Unit;
use crate::tape::Var;
use crate::tensor::DType;

use super::{Fetch, Fused, Load, Operand, Place, Plan, Planner, Step, Target};

impl Planner<'_> {
    /// Makes the steps; their buffers are values until [`Planner::slots`] has run.
    pub(super) fn plan(
        mut self,
        feeds: Vec<(String, Vec<usize>, DType, usize)>,
        copies: &[(String, Var)],
    ) -> Result<Plan> {
        let mut steps = Vec::new();
        let mut unit_of = Vec::new();
        let mut scratch = 0;
        for p in 0..self.end() {
            let unit = &self.units.units[p];
            if unit.fused {
                let fused = self.fused(unit);
                let lane = &unit.lanes[0];
                let outputs: Vec<usize> =
                    lane.iter().copied().filter(|n| self.value_of.contains_key(n)).collect();
                let mut seen: HashSet<usize> = lane.iter().copied().collect();
                let inputs = lane.iter().flat_map(|&n| &self.tape.nodes()[n].inputs);
                let inputs = inputs.map(|v| self.root(*v)).filter(|&root| seen.insert(root));
                let inputs: Vec<usize> = inputs.collect();
                self.inherit(p, &inputs, &outputs);
                steps.push(Step::Fused(fused));
            } else {
                let step = match &unit.lanes[..] {
                    [lane] => self.kernel(p, lane[0], &mut steps, &mut scratch)?,
                    lanes => self.sums(p, lanes),
                };
                steps.push(step);
            }
            unit_of.resize(steps.len(), p);
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
        // So are old values that are fetched: fetches are read after everything else.
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
        let buffers = std::mem::take(&mut self.buffers);
        let mut plan = Plan { buffers, steps, feeds, fetches, scratch, unshared };
        plan.map_buffers(&slot_of);
        if cfg!(debug_assertions)
            && let Err(what) = self.prove(&plan, &unit_of, &slot_of)
        {
            panic!("the plan computes something else than the tape: {what}");
        }
        Ok(plan)
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
                    if self.units.views[other.index()] == self.units.views[input.index()] {
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
        // The whole buffers, in which the parts start at their offsets.
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
            Target::Cpu { threads } => *scratch = op.cpu_scratch(&site, *threads).max(*scratch),
            Target::Gpu(caps, choices) => {
                let variants = op.variants(&site, caps)?;
                let halves: Vec<bool> =
                    inputs.iter().chain([&output]).map(|place| place.half).collect();
                (variant, lowered) = choices.pick(&key(&*op, &site, &halves), variants);
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
}
