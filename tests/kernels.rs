//! Every kernel that the program has, rendered.

use std::collections::BTreeSet;
use std::error::Error;
use std::sync::LazyLock;

use dcgan::ops::Caps;
use dcgan::ops::samples::samples;
use dcgan::program::{Listed, Options, kernels};
use dcgan::shaders::render;
use minijinja::context;

#[path = "../examples/kernel_stats/steps.rs"]
mod steps;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// A rendered kernel.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    /// Its template, and the step or the samples that it is from.
    pub(crate) name: String,
    pub(crate) source: String,
}

impl Kernel {
    pub(crate) fn has_f16(&self) -> bool {
        self.source.contains("enable f16;")
    }

    pub(crate) fn has_subgroups(&self) -> bool {
        self.source.contains("subgroup")
    }

    pub(crate) fn has_immediates(&self) -> bool {
        self.source.contains("var<immediate>")
    }
}

/// Every kernel of every sample of every op and of training steps, as lowered for software and for
/// hardware, with and without subgroups and immediates, and those that are no ops; the same text once.
pub(crate) fn all() -> &'static [Kernel] {
    static ALL: LazyLock<Vec<Kernel>> = LazyLock::new(collected);
    &ALL
}

/// Of the kernels whose texts differ in nothing but numbers, such as sizes, the first, for compilers that
/// are too slow for all. Limits that depend on sizes, such as workgroup memory, are for those that see
/// [`all`].
pub(crate) fn distinct() -> Vec<&'static Kernel> {
    let mut seen = BTreeSet::new();
    all().iter().filter(|kernel| seen.insert(without_numbers(&kernel.source))).collect()
}

/// Every run of digits is one `0`.
fn without_numbers(text: &str) -> String {
    let mut short = String::with_capacity(text.len());
    for c in text.chars() {
        if !c.is_ascii_digit() {
            short.push(c);
        } else if !short.ends_with('0') {
            short.push('0');
        }
    }
    short
}

fn collected() -> Vec<Kernel> {
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    let mut add = |from: &str, kernel: &str, source: String| {
        if seen.insert(source.clone()) {
            found.push(Kernel { name: format!("{kernel} of {from}"), source });
        }
    };
    add("no op", "canary", render("canary", &context! {}).unwrap());
    let context = context! { invocations => 256 };
    add("no op", "peak_fma", render("peak_fma", &context).unwrap());
    add("no op", "check_math", render("check_math", &context! {}).unwrap());
    for kind in ["uniform", "normal", "bits"] {
        for len in [1, 64, 1001] {
            let context = context! { kind, len, stream => 0x811c_9dc5_u32 };
            add("no op", "random", render("random", &context).unwrap());
        }
    }
    let lowered = [
        (false, None, 0),
        (false, Some(32), 128),
        (true, None, 0),
        (true, Some(8), 0),
        (true, Some(8), 128),
    ];
    for (software, subgroup, immediates) in lowered {
        let caps = Caps { software, subgroup, immediates, ..Caps::portable() };
        let mut add_all = |from: &str, listed: Vec<Listed>| {
            for one in listed {
                add(from, one.kernel, one.source);
            }
        };
        for sample in samples() {
            let (tape, _, _) = sample.tape().unwrap();
            add_all("a sample", kernels(&tape, &caps, &Options::default()).unwrap());
        }
        for step in steps::steps().unwrap() {
            let options = Options { precision: step.precision, ..Options::default() };
            let tape = step.config.tape().unwrap();
            add_all(step.name, kernels(&tape, &caps, &options).unwrap());
        }
    }
    found
}
