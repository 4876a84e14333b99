//! The dispatches of a program as a GPU would run them, available without a GPU.

use crate::device::ScriptStep;
use crate::error::Result;
use crate::ops::Caps;
use crate::shaders;
use crate::tape::Tape;

use super::plan::Target;
use super::{Options, gpu, imagine, plan_for};

/// One dispatch of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The kernel's template: its file's stem in `shaders/`.
    pub kernel: &'static str,
    /// The op, or the fused ops, that it computes.
    pub label: String,
    /// The shape of the op's result; of fused ops, the number of elements.
    pub shape: String,
    /// The op's variant, if there is a choice.
    pub variant: String,
    /// The rendered WGSL.
    pub source: String,
    /// Workgroups along x, y and z.
    pub groups: [u32; 3],
    /// Useful floating-point operations.
    pub flops: u64,
    /// Bytes that it has to read and write at least.
    pub bytes: u64,
}

/// The dispatches that a GPU with these capabilities would run for `tape`, in order.
///
/// # Errors
/// [`crate::error::Error::Shader`] where a template is wrong.
pub fn kernels(tape: &Tape, caps: &Caps, options: &Options) -> Result<Vec<Listed>> {
    let target = Target::Gpu(caps.clone(), &options.choices);
    let plan = plan_for(tape, options, &target, &mut imagine)?;
    let steps = gpu::script(&plan, caps)?.steps.into_iter();
    let dispatches = steps.filter(|step| matches!(step, ScriptStep::Dispatch { .. }));
    let mut listed = Vec::new();
    for (step, origin) in dispatches.zip(gpu::origins(&plan)) {
        if let ScriptStep::Dispatch { kernel, context, groups, flops, bytes, label, .. } = step {
            let source = shaders::render(kernel, &context)?;
            let gpu::Origin { shape, variant } = origin;
            listed.push(Listed { kernel, label, shape, variant, source, groups, flops, bytes });
        }
    }
    Ok(listed)
}
