//! The list of all ops, with the parts that belong to each besides its Rust: templates and samples.
//! Everything that iterates over the ops uses this list: the tests, `dcgan check`,
//! [`super::samples`]. How the compiler treats an op is defined by the methods of [`super::Op`].

use super::samples::Sample;
use super::{
    append, conv, depthwise, elementwise, matmul, maxout, moments, norm, pool, random, ranks,
    reduce, shape, shift, softmax, stop,
};

/// One op of the crate.
#[derive(Clone, Copy, Debug)]
pub struct OpInfo {
    /// Its name: [`super::Op::name`].
    pub name: &'static str,
    /// The files in `shaders/` that are its kernels, without their endings; for an elementwise op,
    /// its function. Empty where nothing runs.
    pub templates: &'static [&'static str],
    /// Makes the samples of the op of this name.
    pub(super) samples: fn(&'static str) -> Vec<Sample>,
}

const fn op(
    name: &'static str,
    templates: &'static [&'static str],
    samples: fn(&'static str) -> Vec<Sample>,
) -> OpInfo {
    OpInfo { name, templates, samples }
}

/// Source nodes for states and feeds, which [`crate::tape::Tape`] creates: no inputs to sample.
const fn of_the_tape(name: &'static str) -> OpInfo {
    op(name, &[], |_| Vec::new())
}

/// All ops.
pub const OPS: &[OpInfo] = &[
    of_the_tape("feed"),
    of_the_tape("state"),
    of_the_tape("assigned"),
    op("reshape", &[], shape::samples),
    op("range", &[], shape::samples),
    op("add", &["add"], elementwise::samples),
    op("sub", &["sub"], elementwise::samples),
    op("mul", &["mul"], elementwise::samples),
    op("div", &["div"], elementwise::samples),
    op("maximum", &["maximum"], elementwise::samples),
    op("minimum", &["minimum"], elementwise::samples),
    op("greater", &["greater"], elementwise::samples),
    op("finite", &["finite"], elementwise::samples),
    op("choose", &["choose"], elementwise::samples),
    op("affine", &["affine"], elementwise::samples),
    op("sqrt", &["sqrt"], elementwise::samples),
    op("recip", &["recip"], elementwise::samples),
    op("exp", &["exp"], elementwise::samples),
    op("one_minus_exp", &["one_minus_exp"], elementwise::samples),
    op("log", &["log"], elementwise::samples),
    op("abs", &["abs"], elementwise::samples),
    op("sign", &["sign"], elementwise::samples),
    op("clamp", &["clamp"], elementwise::samples),
    op("clamp_grad", &["clamp_grad"], elementwise::samples),
    op("leaky_relu", &["leaky_relu"], elementwise::samples),
    op("leaky_relu_grad", &["leaky_relu_grad"], elementwise::samples),
    op("tanh", &["tanh"], elementwise::samples),
    op("sigmoid", &["sigmoid"], elementwise::samples),
    op("softplus", &["softplus"], elementwise::samples),
    op("from_u8", &["from_u8"], elementwise::samples),
    op("fill", &["fill"], elementwise::samples),
    op("broadcast_to", &["broadcast_to"], shape::samples),
    op("normalize", &["normalize"], norm::samples),
    op("permute", &["gather"], shape::samples),
    op("slice", &["gather"], shape::samples),
    op("pad", &["gather"], shape::samples),
    op("stop", &[], stop::samples),
    op("append", &["append"], append::samples),
    op("shift", &["shift"], shift::samples),
    op("all_reduce", &[], ranks::samples),
    op("all_gather", &[], ranks::samples),
    op("sum", &["sum"], reduce::samples),
    op("moments", &["moments"], moments::samples),
    op("centered_sums", &["centered_sums", "sum"], moments::samples),
    op("matmul", &["matmul", "sum_partials"], matmul::samples),
    op("conv2d", &["conv2d", "filter_in", "filter_out", "matmul"], conv::samples),
    op(
        "conv_transpose2d",
        &["conv_transpose2d", "filter_in", "filter_out", "matmul"],
        conv::samples,
    ),
    op(
        "conv_weight_grad",
        &["conv_weight_grad", "filter_in", "filter_out", "matmul", "sum_partials"],
        conv::samples,
    ),
    op("depthwise_conv2d", &["depthwise_conv2d"], depthwise::samples),
    op("max_pool", &["max_pool"], pool::samples),
    op("maxout", &["maxout"], maxout::samples),
    op("maxout_grad", &["maxout_grad"], maxout::samples),
    op("softmax", &["softmax", "softmax_rows"], softmax::samples),
    op("random", &["random"], random::samples),
    op("advance", &["advance"], random::samples),
];

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::collections::{BTreeMap, BTreeSet};
    use std::path::{Path, PathBuf};

    use super::super::samples::{NonFinite, samples};
    use super::super::{Caps, Class};
    use super::*;

    fn sources(folder: &Path) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
        entries.flat_map(|p| if p.is_dir() { sources(&p) } else { vec![p] }).collect()
    }

    /// The names that ops declare: in `fn name`, or in the head of `elementwise!`.
    fn names_in(text: &str) -> Vec<String> {
        let mut names = Vec::new();
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        for (i, line) in lines.iter().enumerate() {
            if line.contains("fn name(&self) -> &'static str {") {
                let name = lines[i + 1].strip_prefix('"').and_then(|l| l.strip_suffix('"'));
                names.extend(name.map(String::from));
            }
            if let Some((head, rest)) = line.split_once(" = \"")
                && head.starts_with(|c: char| c.is_ascii_uppercase() || c == '}')
                && let Some((name, after)) = rest.split_once('"')
                && after.starts_with(" (")
            {
                names.push(name.into());
            }
        }
        names
    }

    #[test]
    fn every_op_stands_in_the_table_once() {
        let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ops");
        let mut found: Vec<String> = sources(&src)
            .iter()
            .chain([src.join("../tape/source.rs")].iter())
            .filter(|p| !p.ends_with("table.rs"))
            .flat_map(|p| names_in(&std::fs::read_to_string(p).unwrap()))
            .collect();
        found.extend(["feed".into(), "state".into()]);
        found.sort();
        let mut listed: Vec<&str> = OPS.iter().map(|op| op.name).collect();
        listed.sort_unstable();
        assert_eq!(listed, found);
        assert_eq!(listed.iter().collect::<BTreeSet<_>>().len(), listed.len());
    }

    /// What the ops lower to on all kinds of devices, by op, and how the compiler treats each.
    fn used() -> BTreeMap<&'static str, BTreeSet<&'static str>> {
        let portable = Caps::portable();
        let kinds = [
            portable.clone(),
            Caps { software: true, ..portable.clone() },
            Caps { subgroup: Some(32), immediates: 128, ..portable },
        ];
        let mut used: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for sample in samples() {
            let (tape, ..) = sample.tape().unwrap();
            for (i, node) in tape.nodes().iter().enumerate() {
                let of_op = used.entry(node.op.name()).or_default();
                match node.op.class() {
                    Class::Source | Class::Reshape | Class::Range(_) => {}
                    Class::Elementwise(_) => drop(of_op.insert(node.op.name())),
                    Class::Kernel => {
                        let site = tape.site(tape.var(i));
                        for caps in &kinds {
                            let variants = node.op.variants(&site, caps).unwrap();
                            let lowered = variants.iter().flat_map(|v| &v.lowered.dispatches);
                            of_op.extend(lowered.map(|dispatch| dispatch.kernel));
                        }
                    }
                }
            }
        }
        used
    }

    #[test]
    fn every_row_names_the_templates_that_its_op_uses() {
        let used = used();
        for op in OPS {
            let listed: BTreeSet<&str> = op.templates.iter().copied().collect();
            let of_op = used.get(op.name).cloned().unwrap_or_default();
            assert_eq!(listed, of_op, "{}", op.name);
        }
    }

    #[test]
    fn every_template_is_used() {
        // Those of the compiler, the device and the tests.
        let others = ["canary", "check_math", "elementwise", "peak_fma", "sum_each"];
        let all: BTreeMap<&str, &str> = crate::shaders::files().collect();
        let kernels = OPS.iter().flat_map(|op| op.templates).copied().chain(others);
        let of_ops: Vec<String> = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ops"))
            .iter()
            .map(|path| std::fs::read_to_string(path).unwrap())
            .collect();
        // By a template's name, or where the op names it.
        let texts = || all.values().copied().chain(of_ops.iter().map(String::as_str));
        let included = |stem: &str| {
            let line = format!("\"{stem}.wgsl\"");
            texts().any(|text| text.contains(&line))
        };
        let kernels: BTreeSet<&str> = kernels.collect();
        for stem in &kernels {
            assert!(all.contains_key(stem), "there is no shaders/{stem}.wgsl");
        }
        for stem in all.keys() {
            let used = if stem.contains('/') { included(stem) } else { kernels.contains(stem) };
            assert!(used, "shaders/{stem}.wgsl belongs to no op, and nothing includes it");
        }
    }

    #[test]
    fn every_op_has_samples_with_and_without_special_numbers() {
        let samples = samples();
        // Their inputs cannot hold special values.
        let others = ["advance", "fill", "from_u8", "random"];
        for op in OPS.iter().filter(|op| !["feed", "state", "assigned"].contains(&op.name)) {
            let of_op = |finite| {
                let all = samples.iter().filter(|sample| sample.op == op.name);
                all.filter(|s| (s.tolerance.non_finite == NonFinite::Wrong) == finite).count()
            };
            assert!(of_op(true) > 0, "{} has no sample", op.name);
            let special = of_op(false) > 0 || others.contains(&op.name);
            assert!(special, "{} has no sample with non-finite values", op.name);
        }
    }
}
