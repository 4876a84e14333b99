//! Rows of the table: a kernel of a step, its work, and the compiler's result.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use dcgan::ops::Caps;
use dcgan::program::{Options, kernels};
use serde::{Deserialize, Serialize};

use super::radv::Compiled;
use super::steps::Step;
use super::{Result, isa};

/// Kernels with a smaller share of a step's work are left out.
const LEAST: f64 = 0.002;

/// A kernel of a step.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// Its share of the step's floating-point operations, with all dispatches.
    pub(crate) work: f64,
    /// Its dispatches.
    pub(crate) count: usize,
    pub(crate) kernel: &'static str,
    /// `kernel variant shape`.
    pub(crate) name: String,
    pub(crate) source: String,
}

/// The compiler's result for a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Stats {
    /// Vector registers of an invocation.
    pub(crate) vgprs: u64,
    /// Bytes of workgroup memory.
    pub(crate) lds: u64,
    /// Subgroups that fit on a SIMD at once.
    pub(crate) waves: u64,
    /// Spilled vector registers.
    pub(crate) spills: u64,
    /// The hot loop: the one with the most multiply-adds.
    pub(crate) hot: isa::Mix,
}

impl Stats {
    pub(crate) fn new(compiled: &Compiled) -> Self {
        let loops = isa::loops(&compiled.assembly);
        Self {
            vgprs: compiled.vgprs(),
            lds: compiled.lds(),
            waves: compiled.waves(),
            spills: compiled.spills(),
            hot: loops.into_iter().max_by_key(|mix| mix.fma).unwrap_or_default(),
        }
    }
}

/// The output of one card's process for its parent.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    /// The driver and its version.
    pub(crate) driver: String,
    pub(crate) lines: Vec<Line>,
}

/// A compiled row.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Line {
    /// The step's name.
    pub(crate) step: String,
    /// As in [`Row`]; so are the next two.
    pub(crate) name: String,
    pub(crate) work: f64,
    pub(crate) count: usize,
    pub(crate) stats: Stats,
}

/// The distinct kernels of a step as lowered for hardware, by decreasing work.
pub(crate) fn of_step(step: &Step) -> Result<Vec<Row>> {
    let options = Options { precision: step.precision, ..Options::default() };
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    let mut total = 0;
    for listed in kernels(&step.config.tape()?, &Caps::portable(), &options)? {
        total += listed.flops;
        let name = format!("{} {} {}", listed.kernel, listed.variant, listed.shape);
        let row = rows.entry(listed.source).or_insert_with_key(|source| Row {
            work: 0.0,
            count: 0,
            kernel: listed.kernel,
            name: name.split_whitespace().collect::<Vec<_>>().join(" "),
            source: source.clone(),
        });
        row.count += 1;
        row.work += listed.flops as f64;
    }
    let mut rows: Vec<Row> = rows.into_values().collect();
    rows.iter_mut().for_each(|row| row.work /= total as f64);
    rows.retain(|row| row.work >= LEAST);
    rows.sort_by(|a, b| b.work.total_cmp(&a.work).then_with(|| a.name.cmp(&b.name)));
    Ok(rows)
}

/// One card in full.
pub(crate) fn in_full(lines: &[Line]) -> Result<String> {
    let mut out = String::new();
    let mut last = "";
    for Line { step, name, work, count, stats } in lines {
        if step != last {
            let head = "hot loop: multiply-adds of vector, scalar, shared, memory";
            writeln!(out, "{step}\n  work times vgpr   lds waves spills  {head}")?;
            last = step;
        }
        let Stats { vgprs, lds, waves, spills, hot } = stats;
        writeln!(
            out,
            "{:>5.1}% {count:>5} {vgprs:>4} {lds:>5} {waves:>5} {spills:>6}  {:<34} {name}",
            100.0 * work,
            hot.to_string(),
        )?;
    }
    Ok(out)
}

/// All cards side by side, with registers, waves, and the multiply-adds in the hot loop.
pub(crate) fn side_by_side(
    driver: &str,
    families: &[&'static str],
    cards: &BTreeMap<&'static str, Vec<Line>>,
) -> String {
    let mut out = format!(
        "{driver}\nRegisters, waves of a SIMD, multiply-adds in the hot loop; made by `cargo run --release \
         --example kernel_stats`.\n"
    );
    let mut last = "";
    for first in &cards[families[0]] {
        if first.step != last {
            out += &format!("\n{}\n  work times", first.step);
            families.iter().for_each(|family| out += &format!(" {family:>12}"));
            out += "\n";
            last = &first.step;
        }
        out += &format!("{:>5.1}% {:>5}", 100.0 * first.work, first.count);
        for family in families {
            let same = |line: &&Line| line.step == first.step && line.name == first.name;
            // Two kernels with the same name differ in what was fused into them: kept in order.
            let nth =
                cards[families[0]].iter().filter(same).position(|line| std::ptr::eq(line, first));
            let cell = match cards[family].iter().filter(same).nth(nth.unwrap_or(0)) {
                Some(Line { stats: Stats { vgprs, waves, hot, .. }, .. }) => {
                    format!("{vgprs} {waves:>2} {:>3.0}%", 100.0 * hot.share())
                }
                None => "-".into(),
            };
            out += &format!(" {cell:>12}");
        }
        out += &format!("  {}\n", first.name);
    }
    out
}
