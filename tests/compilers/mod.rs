//! Every kernel goes through the compilers that browsers and drivers have: Google's Tint, Microsoft's
//! DXC, and the validator of SPIR-V. They need no GPU.
//!
//! They are looked for in `target/compilers` (`.ci/run` installs them there) or in the folder that
//! `DCGAN_COMPILERS` names. Without them a test is skipped aloud, and fails where
//! `DCGAN_TEST_COMPILERS=require`.

use std::collections::BTreeSet;
use std::error::Error;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::LazyLock;

use dcgan::ops::Caps;
use dcgan::ops::samples::samples;
use dcgan::program::{Listed, Options, kernels};
use dcgan::shaders::render;
use minijinja::context;

mod drivers;
mod dxc;
mod spirv;
#[path = "../../examples/kernel_stats/steps.rs"]
mod steps;
mod tint;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// A rendered kernel.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Kernel {
    /// Where it is from: its template, and the step or the samples.
    name: String,
    source: String,
    /// Whether it was lowered for hardware.
    hardware: bool,
}

impl Kernel {
    fn is_of_a_step(&self) -> bool {
        !self.name.ends_with(" of a sample")
    }

    fn has_f16(&self) -> bool {
        self.source.contains("enable f16;")
    }

    fn has_subgroups(&self) -> bool {
        self.source.contains("subgroup")
    }

    fn has_immediates(&self) -> bool {
        self.source.contains("var<immediate>")
    }
}

/// Every kernel of every sample of every op and of the training steps, as lowered for software and for
/// hardware, with and without subgroups and immediates; the same text once.
fn all() -> Vec<Kernel> {
    static ALL: LazyLock<Vec<Kernel>> = LazyLock::new(collected);
    ALL.clone()
}

fn collected() -> Vec<Kernel> {
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    let mut add = |from: &str, hardware: bool, kernel: &str, source: String| {
        if seen.insert(source.clone()) {
            found.push(Kernel { name: format!("{kernel} of {from}"), source, hardware });
        }
    };
    add("no op", true, "canary", render("canary", &context! {}).unwrap());
    let context = context! { invocations => 256 };
    add("no op", true, "peak_fma", render("peak_fma", &context).unwrap());
    add("no op", true, "check_math", render("check_math", &context! {}).unwrap());
    for kind in ["uniform", "normal", "bits"] {
        let context = context! { kind, len => 1001, stream => 0x811c_9dc5_u32 };
        add("no op", true, "random", render("random", &context).unwrap());
    }
    let portable = Caps::portable();
    let lowered = [
        portable.clone(),
        Caps { subgroup: Some(32), immediates: 128, ..portable.clone() },
        Caps { software: true, ..portable.clone() },
        Caps { software: true, subgroup: Some(8), ..portable },
    ];
    for caps in lowered {
        let mut add_all = |from: &str, listed: Vec<Listed>| {
            for one in listed {
                add(from, !caps.software, one.kernel, one.source);
            }
        };
        for sample in samples() {
            let (tape, _, _) = sample.tape().unwrap();
            add_all("a sample", kernels(&tape, &caps, &Options::default()).unwrap());
        }
        for step in steps::steps().unwrap() {
            let options = Options { precision: step.precision, ..Options::default() };
            let tape = step.recipe.tape().unwrap();
            add_all(step.name, kernels(&tape, &caps, &options).unwrap());
        }
    }
    found
}

/// The path of a compiler, of one of these names below the folder of compilers; none where it is not
/// there, which is said.
fn installed(what: &str, name: &str) -> Option<PathBuf> {
    let usual = concat!(env!("CARGO_MANIFEST_DIR"), "/target/compilers");
    let folder = std::env::var_os("DCGAN_COMPILERS").unwrap_or_else(|| usual.into());
    let path = PathBuf::from(folder).join(name);
    if path.exists() {
        return Some(path);
    }
    let missing = format!("{what} is not at {}", path.display());
    assert!(
        std::env::var("DCGAN_TEST_COMPILERS").as_deref() != Ok("require"),
        "DCGAN_TEST_COMPILERS=require, and {missing}: .ci/run installs it"
    );
    // Not eprintln, which the test harness swallows where a test passes.
    writeln!(std::io::stderr().lock(), "SKIPPED, as {missing}").unwrap();
    None
}

/// Fails where a compiler refused kernels, with the first few.
fn none_refused(compiler: &str, checked: usize, refused: &[(String, String)]) {
    let few: Vec<_> = refused.iter().take(3).map(|(name, why)| format!("{name}:\n{why}")).collect();
    assert!(
        refused.is_empty(),
        "{compiler} refuses {} of {checked} kernels, such as\n{}",
        refused.len(),
        few.join("\n")
    );
    assert!(checked > 100, "{checked} kernels are too few to mean anything");
}
