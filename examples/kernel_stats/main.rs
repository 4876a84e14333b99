//! AMD's compiler on the kernels of training steps: registers, waves, spills, and the share of
//! multiply-adds in each hot loop. No GPU is needed: RADV, the driver in Mesa, opens a card that
//! does not exist and compiles for it.
//!
//! ```text
//! cargo run --release --example kernel_stats                          # a table for four cards
//! cargo run --release --example kernel_stats -- --family NAVI21       # one card, in full
//! cargo run --release --example kernel_stats -- --isa conv2d          # machine code, too
//! cargo run --release --example kernel_stats > examples/kernel_stats/table.txt    # after a change
//! ```
//!
//! The share of multiply-adds in the hot loop is an upper bound of the share of its peak that the
//! card can reach: a compute unit issues one vector instruction per cycle. The bounds for kernels
//! are in [`tests`], the table in `table.txt` beside this file.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::process::{Command, ExitCode};

mod isa;
mod radv;
mod rows;
mod steps;
#[cfg(test)]
mod tests;

use radv::Radv;
use rows::{Line, Report, Row, Stats};

/// Target cards: RDNA 2 and 3, GCN 5 and 4. The last has no 16-bit floats.
const FAMILIES: [&str; 4] = ["NAVI21", "GFX1100", "VEGA10", "POLARIS10"];

/// Where Debian, Fedora and Arch have the driver's manifest.
const MANIFESTS: [&str; 2] =
    ["/usr/share/vulkan/icd.d/radeon_icd.x86_64.json", "/usr/share/vulkan/icd.d/radeon_icd.json"];

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    match run(&std::env::args().skip(1).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[String]) -> Result<()> {
    let value = |name: &str| {
        let at = words.iter().position(|word| word == name)?;
        words.get(at + 1).map(String::as_str)
    };
    if std::env::var_os("RADV_FORCE_FAMILY").is_some() {
        println!("{}", serde_json::to_string(&compiled(value("--isa"))?)?);
        return Ok(());
    }
    match (value("--family"), value("--isa")) {
        (None, None) => print!("{}", table(|family| asked(family, &[]))?),
        (family, isa) => {
            let family = family.unwrap_or(FAMILIES[0]);
            let words: Vec<&str> = isa.into_iter().flat_map(|kernel| ["--isa", kernel]).collect();
            let Report { driver, lines } = asked(family, &words)?;
            println!("{family}, {driver}\n");
            print!("{}", rows::in_full(&lines)?);
        }
    }
    Ok(())
}

/// The output of this program as a child process, to which the card is passed: the driver reads its
/// environment when it is loaded.
fn asked(family: &str, words: &[&str]) -> Result<Report> {
    let mut child = Command::new(std::env::current_exe()?);
    let output = environment(&mut child, family)?.args(words).output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    // The output of `--isa` is on standard error.
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// The environment in which the driver opens a card that does not exist.
fn environment<'a>(child: &'a mut Command, family: &str) -> Result<&'a mut Command> {
    let Some(manifest) = MANIFESTS.iter().find(|path| Path::new(path).is_file()) else {
        return Err("there is no RADV here (Debian: mesa-vulkan-drivers)".into());
    };
    child.env("RADV_FORCE_FAMILY", family).env("VK_ICD_FILENAMES", manifest);
    Ok(child.env("NODEVICE_SELECT", "1"))
}

/// Compiles the kernels of all steps for the card in the environment.
fn compiled(isa: Option<&str>) -> Result<Report> {
    let radv = Radv::open()?;
    let mut lines = Vec::new();
    for step in steps::steps()? {
        if step.precision == dcgan::program::Precision::F16 && !radv.has_f16() {
            continue;
        }
        for Row { work, count, kernel, name, source } in rows::of_step(&step)? {
            let compiled = radv.compile(kernel, &source)?;
            if isa == Some(kernel) {
                eprintln!("{source}\n{}", compiled.assembly);
            }
            let stats = Stats::new(&compiled);
            lines.push(Line { step: step.name.to_owned(), name, work, count, stats });
        }
    }
    Ok(Report { driver: radv.driver(), lines })
}

/// The table of all cards side by side, from the output of `ask` for each.
fn table(ask: impl Fn(&str) -> Result<Report>) -> Result<String> {
    let mut cards = BTreeMap::new();
    let mut driver = String::new();
    for family in FAMILIES {
        let report = ask(family)?;
        driver = report.driver;
        cards.insert(family, report.lines);
    }
    Ok(rows::side_by_side(&driver, &FAMILIES, &cards))
}
