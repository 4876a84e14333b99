//! The two languages an op is written in: plain Rust on slices, and dispatches of WGSL templates.

use std::collections::BTreeMap;
use std::fmt::Debug;

use minijinja::context;

use crate::error::Result;
use crate::tensor::Slice;

/// The arguments of a CPU kernel.
#[derive(Debug)]
pub struct Call<'a> {
    /// The inputs' elements.
    pub inputs: &'a [Slice<'a>],
    /// The output's elements as floats; empty where the output is integers. Holds an earlier
    /// tenant's values: write every element.
    pub out: &'a mut [f32],
    /// The output's elements as integers; empty where the output is floats.
    pub out_u32: &'a mut [u32],
    /// [`super::Op::cpu_scratch`] floats with arbitrary values.
    pub scratch: &'a mut [f32],
}

impl<'a> Call<'a> {
    /// Input `i` as floats: shape and type were checked when the op was recorded.
    #[must_use]
    pub fn f32(&self, i: usize) -> &'a [f32] {
        match self.inputs[i] {
            Slice::F32(v) => v,
            _ => unreachable!("input types are checked by Tape::record"),
        }
    }

    /// Input `i` as integers.
    #[must_use]
    pub fn u32(&self, i: usize) -> &'a [u32] {
        match self.inputs[i] {
            Slice::U32(v) => v,
            _ => unreachable!("input types are checked by Tape::record"),
        }
    }
}

/// An op that computes one value from the values at the same place of its inputs.
///
/// Its WGSL, `shaders/<op>.wgsl`, is the template of a function `{{ apply }}` of one `vec4<f32>`
/// for each input that gives a `vec4<f32>`.
pub trait Elementwise: Debug {
    /// The values that the template names, such as a slope.
    fn constants(&self) -> Vec<(&'static str, f32)> {
        Vec::new()
    }

    /// The CPU kernel: `y[i] = f(x[0][i], x[1][i], …)`. All slices have one length.
    fn apply(&self, x: &[&[f32]], y: &mut [f32]);
}

/// What a dispatch binds under one of its shader's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arg {
    /// An input of the op.
    Input(usize),
    /// The op's output.
    Output,
    /// A scratch buffer of [`Lowered::scratch`].
    Scratch(usize),
}

/// One dispatch of one kernel template.
#[derive(Clone, Debug)]
pub struct Dispatch {
    /// The template's file stem in `shaders/`.
    pub kernel: &'static str,
    /// The template's variables.
    pub context: minijinja::Value,
    /// The buffer for each of the shader's binding names.
    pub bind: Vec<(&'static str, Arg)>,
    /// Workgroups along x, y and z.
    pub groups: [u32; 3],
    /// Floating-point operations it makes.
    pub flops: u64,
}

impl Dispatch {
    /// The template's variables when each binding stores floats of the type that `of` names: `of`
    /// in templates (see [`crate::shaders`]).
    #[must_use]
    pub fn typed(&self, of: impl Fn(Arg) -> &'static str) -> minijinja::Value {
        let of: BTreeMap<&str, &str> =
            self.bind.iter().map(|&(name, arg)| (name, of(arg))).collect();
        context! { of => of, ..self.context.clone() }
    }
}

/// An op as dispatches, in order.
#[derive(Clone, Debug, Default)]
pub struct Lowered {
    /// The dispatches.
    pub dispatches: Vec<Dispatch>,
    /// Bytes of each scratch buffer they share.
    pub scratch: Vec<u64>,
}

/// One of several ways to compute the same op on a GPU: another tiling, another algorithm.
#[derive(Clone, Debug)]
pub struct Variant {
    /// A few words that distinguish it from the op's other variants: a tuner's cache names it.
    pub name: String,
    /// Its dispatches.
    pub lowered: Lowered,
}

impl Variant {
    /// The variants of an op that can be computed in only one way.
    pub(super) fn only(lowered: Lowered) -> Vec<Self> {
        vec![Self { name: "default".into(), lowered }]
    }
}

/// What the lowering of an op may know about the GPU.
#[derive(Clone, Debug)]
pub struct Caps {
    /// Bytes of workgroup memory that a kernel may use.
    pub workgroup_memory: u32,
    /// Bytes of a buffer that a kernel can see.
    pub max_binding: u64,
    /// Workgroups along one dimension of a dispatch.
    pub groups_per_dimension: u32,
    /// Whether the adapter is a CPU: register tiles then beat workgroup memory (on llvmpipe a
    /// barrier costs more than the loads it saves).
    pub software: bool,
    /// The vector registers of a software adapter's processor: which tiles are fast depends on
    /// them.
    pub vector_registers: u32,
    /// The size of every subgroup, where kernels may use subgroup operations.
    pub subgroup: Option<u32>,
    /// Bytes that may be passed with a dispatch (immediates): the sizes of tensors that one kernel
    /// is to serve. 0 where every size has its own kernel: the usual, but a software adapter would
    /// take longer to compile them than it gains.
    pub immediates: u32,
}

impl Caps {
    /// What WebGPU guarantees for every GPU.
    #[must_use]
    pub fn portable() -> Self {
        Self {
            workgroup_memory: 16_384,
            max_binding: 128 << 20,
            groups_per_dimension: 65_535,
            software: false,
            vector_registers: 16,
            subgroup: None,
            immediates: 0,
        }
    }
}

/// The sizes in a kernel's WGSL: literals, or members of a structure passed with each dispatch
/// (`shaders/lib/sizes.wgsl`), so that one kernel serves tensors of all sizes.
#[derive(Debug)]
pub struct Sizes {
    /// How many more values may be passed with the dispatch.
    room: usize,
    /// Those already passed.
    pairs: Vec<(String, u32)>,
}

impl Sizes {
    /// Sizes passed with the dispatch where the device can.
    #[must_use]
    pub fn new(caps: &Caps) -> Self {
        Self { room: caps.immediates as usize / size_of::<u32>(), pairs: Vec::new() }
    }

    /// Sizes that are all literals.
    #[must_use]
    pub fn literal() -> Self {
        Self { room: 0, pairs: Vec::new() }
    }

    /// The WGSL of a size, which is called `name` where it is passed with the dispatch.
    pub fn number(&mut self, name: &str, value: usize) -> String {
        if self.pairs.len() >= self.room {
            return format!("{value}u");
        }
        self.pairs.push((name.to_owned(), value as u32));
        format!("sizes.{name}")
    }

    /// A template's variables, with these added as `sizes`.
    #[must_use]
    pub fn with(self, context: minijinja::Value) -> minijinja::Value {
        context! { sizes => self.pairs, ..context }
    }
}

/// Splits `count` workgroups over x and y (and pads the last row), because one dimension holds
/// only `caps.groups_per_dimension`. Kernels compute `wid.x + wid.y * num_workgroups.x` and guard.
#[must_use]
pub fn fold_groups(count: usize, caps: &Caps) -> [u32; 3] {
    let limit = caps.groups_per_dimension as usize;
    let rows = count.div_ceil(limit).max(1);
    [count.div_ceil(rows).max(1) as u32, rows as u32, 1]
}

/// One variant of one dispatch without scratch.
pub(super) fn single(dispatch: Dispatch) -> Result<Vec<Variant>> {
    Ok(Variant::only(Lowered { dispatches: vec![dispatch], scratch: Vec::new() }))
}
