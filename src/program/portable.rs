//! A program as plain data, for other programs to run by WebGPU or another API for compute shaders.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::device::{BufferKind, ScriptStep};
use crate::error::Result;
use crate::ops::Caps;
use crate::shaders;
use crate::tape::Tape;
use crate::tensor::DType;

use super::plan::Target;
use super::{Options, Pack, Packed, gpu, imagine, plan_for};

/// A program as plain data.
///
/// A run uploads the feeds, takes the steps in order, and reads the fetches. In JSON, a state of a
/// program is found by name, and several programs may share it.
#[derive(Clone, Debug, Serialize)]
pub struct Portable {
    /// The kernels' WGSL, each once. The entry point is `main`, and all bindings are storage buffers of
    /// group 0, numbered from 0.
    pub kernels: Vec<String>,
    /// The buffers.
    pub buffers: Vec<Buffer>,
    /// The steps of a run.
    pub steps: Vec<Step>,
    /// What is uploaded before a run, by name.
    pub feeds: BTreeMap<String, View>,
    /// What is read after a run, by name.
    pub fetches: BTreeMap<String, View>,
    /// The states, which must have their values before the first run.
    pub states: BTreeMap<String, View>,
}

impl Portable {
    /// Gives kernels other numbers.
    pub fn renumber(&mut self, number: impl Fn(usize) -> usize) {
        for step in &mut self.steps {
            if let Step::Dispatch { kernel, .. } = step {
                *kernel = number(*kernel);
            }
        }
    }
}

/// One buffer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Buffer {
    /// Its size; a multiple of 16.
    pub bytes: u64,
    /// The buffer that it is a part of, and its first byte there, a multiple of 256.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub part: Option<(usize, u64)>,
    /// The shared buffer that outlives a run: of a state, or of several. Programs with the same name mean
    /// the same buffer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
}

/// One step of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Step {
    /// A dispatch.
    Dispatch {
        /// The kernel's number.
        kernel: usize,
        /// The buffer of each binding, from 0 on.
        bind: Vec<usize>,
        /// Workgroups along x, y and z.
        groups: [u32; 3],
    },
    /// A copy between buffers.
    Copy {
        /// The source, its first byte, the target, which is written from its start, and the number of
        /// bytes.
        copy: (usize, u64, usize, u64),
    },
}

/// A tensor in a buffer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct View {
    /// The buffer.
    pub buffer: usize,
    /// Its first byte there.
    pub start: u64,
    /// Its shape.
    pub shape: Vec<usize>,
    /// The type of its elements.
    #[serde(serialize_with = "dtype")]
    pub dtype: DType,
}

fn dtype<S: serde::Serializer>(
    dtype: &DType,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_str(match dtype {
        DType::F32 => "f32",
        DType::U32 => "u32",
        DType::U8 => "u8",
    })
}

/// Where states lie that share a buffer, in programs that share their states.
#[derive(Clone, Debug, Default)]
pub struct Packs(BTreeMap<String, Packed>);

impl Packs {
    /// The buffer of several states is named after the first of them.
    fn buffer_name(&self, state: &str) -> String {
        let own = self.0[state].buffer;
        let is_first = |(_, packed): &(&String, &Packed)| packed.buffer == own && packed.start == 0;
        let first = self.0.iter().find(is_first).map_or(state, |(name, _)| name);
        format!("{first} and others")
    }
}

/// The program of `tape` for a device with these capabilities, which must have no immediates. The first
/// program of several that share their states decides which of them share a buffer: the one that updates
/// them comes first, with empty `packs`.
///
/// # Errors
/// [`crate::error::Error::Shader`] where a kernel's template is wrong.
pub fn portable(
    tape: &Tape,
    caps: &Caps,
    options: &Options,
    packs: &mut Packs,
) -> Result<Portable> {
    let target = Target::Gpu(caps.clone(), &options.choices);
    let mut pack = |wanted: &[Pack]| {
        if packs.0.is_empty() {
            packs.0 = imagine(wanted)?.unwrap_or_default();
            return Ok(Some(packs.0.clone()));
        }
        let lies = |(name, start): (&String, &u64)| {
            packs.0.get(name).is_some_and(|packed| packed.start == *start)
        };
        let all_lie = wanted.iter().all(|pack| pack.names.iter().zip(&pack.starts).all(lies));
        Ok(all_lie.then(|| packs.0.clone()))
    };
    let plan = plan_for(tape, options, &target, &mut pack)?;
    let script = gpu::script(&plan, caps)?;
    let buffers = script.buffers.iter().map(|spec| {
        let (part, state) = match &spec.kind {
            BufferKind::Slot | BufferKind::Feed => (None, None),
            BufferKind::State(name) => (None, Some(name.clone())),
            BufferKind::Pack(name) => (None, Some(packs.buffer_name(name))),
            BufferKind::Part { of, start } => (Some((*of, *start)), None),
        };
        Buffer { bytes: spec.bytes, part, state }
    });
    let buffers: Vec<Buffer> = buffers.collect();

    let mut kernels: Vec<String> = Vec::new();
    let mut numbers: BTreeMap<String, (usize, Vec<shaders::Binding>)> = BTreeMap::new();
    let mut steps = Vec::with_capacity(script.steps.len());
    for step in &script.steps {
        steps.push(match step {
            ScriptStep::Dispatch { kernel, context, bind, groups, .. } => {
                let source = shaders::render(kernel, context)?;
                if !numbers.contains_key(&source) {
                    let bindings = shaders::reflect(kernel, &source, false)?.bindings;
                    numbers.insert(source.clone(), (kernels.len(), bindings));
                    kernels.push(source.clone());
                }
                let (kernel, bindings) = &numbers[&source];
                let buffer = |binding: &shaders::Binding| {
                    let found = bind.iter().find(|(name, _)| *name == binding.name);
                    found.expect("a dispatch binds what its kernel declares").1
                };
                Step::Dispatch {
                    kernel: *kernel,
                    bind: bindings.iter().map(buffer).collect(),
                    groups: *groups,
                }
            }
            ScriptStep::Copy { from, offset, to, bytes } => {
                Step::Copy { copy: (*from, *offset, *to, *bytes) }
            }
            ScriptStep::Exchange { .. } => unreachable!("a tape of its own has no other processes"),
        });
    }

    let view = |buffer, start, shape: &[usize], dtype| View {
        buffer,
        start,
        shape: shape.to_vec(),
        dtype,
    };
    let feeds = plan.feeds.iter();
    let feeds =
        feeds.map(|(name, shape, dtype, buffer)| (name.clone(), view(*buffer, 0, shape, *dtype)));
    let fetches = plan.fetches.iter().zip(&script.fetches);
    let fetches = fetches.map(|(fetch, read)| {
        let view = view(read.buffer, read.offset, &fetch.shape, fetch.place.dtype);
        (fetch.name.clone(), view)
    });
    let mut states = BTreeMap::new();
    for (name, used) in tape.states() {
        let node = tape.node(used.before);
        let (buffer, start) = match packs.0.get(name) {
            Some(Packed { start, .. }) => (packs.buffer_name(name), *start),
            None => (name.clone(), 0),
        };
        let found = buffers.iter().position(|b| b.state.as_ref() == Some(&buffer));
        // A state that nothing reads has no buffer.
        if let Some(buffer) = found {
            states.insert(name.clone(), view(buffer, start, &node.shape, node.dtype));
        }
    }
    Ok(Portable {
        kernels,
        buffers,
        steps,
        feeds: feeds.collect(),
        fetches: fetches.collect(),
        states,
    })
}
