//! What AMD's compiler makes of the kernels of training steps: registers, waves, spills, and how much of
//! each hot loop is multiply-adds. No GPU is needed: RADV, the driver in Mesa, opens a card that is not
//! there and compiles for it.
//!
//! ```text
//! cargo run --release --example kernel_stats -- [--family NAVI21] [--step NAME] [--all] [--isa KERNEL]
//! cargo run --release --example kernel_stats -- --table > benches/kernels.txt
//! ```
//!
//! The share of multiply-adds in the hot loop is an upper bound of the share of its peak that the card
//! can reach: a compute unit issues one vector instruction a cycle.

use std::collections::BTreeMap;
use std::error::Error;
use std::process::{Command, ExitCode};

use dcgan::ops::Caps;
use dcgan::program::{Listed, Options, Precision, kernels};

mod isa;
mod radv;
mod steps;

use radv::Radv;

/// Cards whose compilers are asked: RDNA 2 and 3, GCN 5 and 4. The last has no 16-bit floats.
const FAMILIES: [&str; 4] = ["NAVI21", "GFX1100", "VEGA10", "POLARIS10"];

/// Where Debian, Fedora and Arch have the driver's manifest.
const MANIFESTS: [&str; 2] =
    ["/usr/share/vulkan/icd.d/radeon_icd.x86_64.json", "/usr/share/vulkan/icd.d/radeon_icd.json"];

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    match run(&std::env::args().skip(1).collect::<Vec<_>>()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[String]) -> Result<ExitCode> {
    let value = |name: &str| {
        let at = words.iter().position(|word| word == name)?;
        words.get(at + 1).cloned()
    };
    let has = |name: &str| words.iter().any(|word| word == name);
    if let Ok(family) = std::env::var("RADV_FORCE_FAMILY") {
        let step = value("--step");
        report(&family, step.as_deref(), has("--all"), value("--isa").as_deref())?;
        return Ok(ExitCode::SUCCESS);
    }
    // The driver reads its environment when it is loaded, so each card has a process of its own.
    let Some(manifest) = MANIFESTS.iter().find(|path| std::path::Path::new(path).is_file()) else {
        return Err("there is no RADV here (Debian: mesa-vulkan-drivers)".into());
    };
    let asked = value("--family");
    let families = FAMILIES.iter().filter(|f| asked.as_deref().is_none_or(|asked| asked == **f));
    for family in families {
        let mut child = Command::new(std::env::current_exe()?);
        child.args(words).env("RADV_FORCE_FAMILY", family).env("VK_ICD_FILENAMES", manifest);
        if !child.env("NODEVICE_SELECT", "1").status()?.success() {
            return Ok(ExitCode::FAILURE);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// One kernel of a step, as often as it runs with the same source.
struct Row {
    listed: Listed,
    count: usize,
    flops: u64,
}

/// The different kernels of a step, those with the most work first.
fn rows(step: &steps::Step) -> Result<Vec<Row>> {
    let options = Options { precision: step.precision, ..Options::default() };
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    for listed in kernels(&step.recipe.tape()?, &Caps::portable(), &options)? {
        let flops = listed.flops;
        let key = listed.source.clone();
        let row = rows.entry(key).or_insert(Row { listed, count: 0, flops: 0 });
        (row.count, row.flops) = (row.count + 1, row.flops + flops);
    }
    let mut rows: Vec<Row> = rows.into_values().collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.flops));
    Ok(rows)
}

/// Prints a line for each kernel of the steps that has a part of the work.
fn report(family: &str, wanted: Option<&str>, all: bool, isa: Option<&str>) -> Result<()> {
    let radv = Radv::open()?;
    println!("{family}: {}", radv.name());
    for step in steps::steps()? {
        let known = wanted.is_none_or(|wanted| wanted == step.name);
        if !known || (step.precision == Precision::F16 && !radv.has_f16()) {
            continue;
        }
        let rows = rows(&step)?;
        let total: u64 = rows.iter().map(|row| row.flops).sum();
        println!("\n{}", step.name);
        println!(
            "{:>5} {:>6}  {:<17} {:<18} {:<24} {:>4} {:>4} {:>5} {:>5}  hot loop: \
             multiply-adds of vector, scalar, shared and memory instructions",
            "work", "times", "kernel", "variant", "shape", "vgpr", "lds", "waves", "spill",
        );
        for row in &rows {
            let share = row.flops as f64 / total as f64;
            if !all && share < 0.002 {
                continue;
            }
            let Listed { kernel, variant, shape, source, .. } = &row.listed;
            let compiled = radv.compile(kernel, source)?;
            let loops = isa::loops(&compiled.assembly);
            println!(
                "{:>4.1}% {:>6}  {kernel:<17} {variant:<18} {shape:<24} {:>4} {:>4} {:>5} {:>5}  {}",
                100.0 * share,
                row.count,
                compiled.vgprs(),
                compiled.lds(),
                compiled.waves(),
                compiled.spills(),
                loops.iter().max_by_key(|l| l.fma).map_or("none".into(), ToString::to_string),
            );
            if isa == Some(kernel) {
                println!("{source}\n{}", compiled.assembly);
            }
        }
    }
    Ok(())
}
