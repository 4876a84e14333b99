//! The instruction mix of loops in an assembly listing of AMD's compiler.

use std::collections::HashMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Instructions of an innermost loop, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mix {
    /// Fused multiply-adds; a dual instruction of two counts twice.
    pub(crate) fma: usize,
    /// Other vector instructions.
    pub(crate) vector: usize,
    /// Scalar ones, except waits and barriers: they issue beside vector instructions.
    pub(crate) scalar: usize,
    /// Reads and writes of workgroup memory.
    pub(crate) shared: usize,
    /// Reads and writes of memory.
    pub(crate) memory: usize,
}

impl Mix {
    /// Multiply-adds as a share of all instructions.
    pub(crate) fn share(&self) -> f64 {
        self.fma as f64 / self.all().max(1) as f64
    }

    fn all(&self) -> usize {
        self.fma + self.vector + self.scalar + self.shared + self.memory
    }

    fn count(&mut self, instruction: &str) {
        let is = |prefixes: &[&str]| prefixes.iter().any(|p| instruction.starts_with(p));
        if is(&["v_fma", "v_pk_fma", "v_mad_f32", "v_mac_f32", "v_dual_fmac"]) {
            self.fma += 1;
        } else if is(&["v_"]) {
            self.vector += 1;
        } else if is(&["s_waitcnt", "s_barrier", "s_clause", "s_delay", "s_nop", "s_inst_prefetch"])
        {
        } else if is(&["s_"]) {
            self.scalar += 1;
        } else if is(&["ds_"]) {
            self.shared += 1;
        } else if is(&["buffer_", "global_", "scratch_", "flat_"]) {
            self.memory += 1;
        }
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { fma, vector, scalar, shared, memory } = self;
        let percent = 100.0 * self.share();
        write!(f, "{percent:>3.0}%: {fma} of {vector}, {scalar}, {shared}, {memory}")
    }
}

/// The innermost loops of a listing, in order.
pub(crate) fn loops(listing: &str) -> Vec<Mix> {
    let lines: Vec<&str> = listing.lines().map(str::trim).collect();
    let mut labels: HashMap<&str, usize> = HashMap::new();
    for (i, line) in lines.iter().enumerate() {
        if let Some(label) = line.strip_suffix(':').filter(|label| label.starts_with("BB")) {
            labels.insert(label, i);
        }
    }
    let mut spans: Vec<(usize, usize)> = Vec::new();
    for (i, line) in lines.iter().enumerate() {
        let mut words = line.split_whitespace();
        let branches =
            words.next().is_some_and(|w| w.starts_with("s_branch") || w.starts_with("s_cbranch"));
        let target = words.next().and_then(|label| labels.get(label));
        spans.extend(target.filter(|&&start| branches && start < i).map(|&start| (start, i)));
    }
    let inside = |a: &(usize, usize), b: &(usize, usize)| a != b && b.0 >= a.0 && b.1 <= a.1;
    let innermost = spans.iter().filter(|a| !spans.iter().any(|b| inside(a, b)));
    let mix = |&(start, end): &(usize, usize)| {
        let mut mix = Mix::default();
        for line in &lines[start..=end] {
            // Two instructions of one issue are on one line, separated by two colons.
            for part in line.split("::") {
                mix.count(part.split_whitespace().next().unwrap_or_default());
            }
        }
        mix
    };
    innermost.map(mix).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inner_of_two_loops_is_counted() {
        let listing = "BB0:\n s_mov_b32 s0, 0\nBB1:\n v_add_f32 v1, v2, v3\nBB2:\n\
                       \tv_fmac_f32_e32 v1, v2, v3\n v_dual_fmac_f32 v4, v5, v6 :: v_dual_fmac_f32 v7, v8, v9\n\
                       ds_read_b128 v[0:3], v4\n s_waitcnt lgkmcnt(0)\n s_add_u32 s0, s0, 1\n\
                       s_cbranch_scc1 BB2\n buffer_load_dword v1\n s_branch BB1\n";
        let found = loops(listing);
        assert_eq!(found, [Mix { fma: 3, vector: 0, scalar: 2, shared: 1, memory: 0 }]);
        assert_eq!(found[0].to_string(), " 50%: 3 of 0, 2, 1, 0");
    }
}
