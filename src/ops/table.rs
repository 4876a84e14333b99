//! The list of all ops.

/// How an op is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It stands for a value that exists before a program runs.
    Source,
    /// It only looks at its input in another way: nothing runs.
    View,
    /// One number from the same place of each input: fused with its like.
    Elementwise,
    /// A twin on the CPU, dispatches on the GPU.
    Kernel,
}

/// One op of the crate.
#[derive(Clone, Copy, Debug)]
pub struct OpInfo {
    /// Its name: [`super::Op::name`].
    pub name: &'static str,
    /// How it is run.
    pub kind: Kind,
    /// Its file in `shaders/`, without the ending.
    pub shader: Option<&'static str>,
}

const fn source(name: &'static str) -> OpInfo {
    OpInfo { name, kind: Kind::Source, shader: None }
}

const fn view(name: &'static str) -> OpInfo {
    OpInfo { name, kind: Kind::View, shader: None }
}

const fn elementwise(name: &'static str) -> OpInfo {
    OpInfo { name, kind: Kind::Elementwise, shader: Some(name) }
}

const fn kernel(name: &'static str) -> OpInfo {
    OpInfo { name, kind: Kind::Kernel, shader: Some(name) }
}

/// The op's kernel has another name: `permute`, `slice` and `pad` share one.
const fn gather(name: &'static str) -> OpInfo {
    OpInfo { name, kind: Kind::Kernel, shader: Some("gather") }
}

/// All ops. Every one that computes something has samples in [`super::samples`].
pub const OPS: &[OpInfo] = &[
    source("feed"),
    source("state"),
    view("assigned"),
    view("reshape"),
    view("range"),
    elementwise("add"),
    elementwise("sub"),
    elementwise("mul"),
    elementwise("div"),
    elementwise("maximum"),
    elementwise("minimum"),
    elementwise("greater"),
    elementwise("finite"),
    elementwise("choose"),
    elementwise("affine"),
    elementwise("sqrt"),
    elementwise("recip"),
    elementwise("exp"),
    elementwise("one_minus_exp"),
    elementwise("log"),
    elementwise("abs"),
    elementwise("sign"),
    elementwise("clamp"),
    elementwise("clamp_grad"),
    elementwise("leaky_relu"),
    elementwise("leaky_relu_grad"),
    elementwise("tanh"),
    elementwise("sigmoid"),
    elementwise("softplus"),
    elementwise("from_u8"),
    elementwise("fill"),
    elementwise("broadcast_to"),
    elementwise("normalize"),
    gather("permute"),
    gather("slice"),
    gather("pad"),
    kernel("append"),
    kernel("shift"),
    kernel("sum"),
    kernel("moments"),
    kernel("centered_sums"),
    kernel("matmul"),
    kernel("conv2d"),
    kernel("conv_transpose2d"),
    kernel("conv_weight_grad"),
    kernel("max_pool"),
    kernel("softmax"),
    kernel("random"),
    kernel("advance"),
];

/// The entry of the op called `name`.
#[must_use]
pub fn find(name: &str) -> Option<&'static OpInfo> {
    OPS.iter().find(|op| op.name == name)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::collections::BTreeSet;
    use std::path::{Path, PathBuf};

    use super::*;

    fn sources(folder: &Path) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
        entries.flat_map(|p| if p.is_dir() { sources(&p) } else { vec![p] }).collect()
    }

    /// The names that ops give themselves: in `fn name`, or in the head of `elementwise!`.
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

    #[test]
    fn every_op_that_runs_has_a_shader() {
        let shaders = Path::new(env!("CARGO_MANIFEST_DIR")).join("shaders");
        for op in OPS {
            let runs = matches!(op.kind, Kind::Elementwise | Kind::Kernel);
            assert_eq!(op.shader.is_some(), runs, "{}", op.name);
            if let Some(stem) = op.shader {
                let file = shaders.join(format!("{stem}.wgsl"));
                assert!(file.is_file(), "{} has no shaders/{stem}.wgsl", op.name);
            }
        }
    }
}
