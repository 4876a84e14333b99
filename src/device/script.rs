//! A compiled program for a GPU: plain data, no handles.

use std::sync::Arc;

use crate::ops::Op;

/// One buffer of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BufferSpec {
    /// Its size; a multiple of 16.
    pub bytes: u64,
    /// Where its contents come from.
    pub kind: BufferKind,
    /// A description, for labels and error messages.
    pub label: String,
}

/// Where a buffer's contents come from, and how long they live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BufferKind {
    /// Values computed within one run, one after another.
    Slot,
    /// Uploaded at every run.
    Feed,
    /// The state of this name: outlives the run, shared between programs.
    State(String),
    /// The whole buffer in which the state of this name is packed with others.
    Pack(String),
    /// The part of an earlier buffer that starts at this byte, a multiple of 256.
    Part {
        /// That buffer.
        of: usize,
        /// Where the part starts.
        start: u64,
    },
}

/// One operation of the GPU.
#[derive(Clone, Debug)]
pub enum ScriptStep {
    /// A dispatch of a kernel template.
    Dispatch {
        /// The template's file stem in `shaders/`.
        kernel: &'static str,
        /// The template's variables.
        context: minijinja::Value,
        /// The buffer behind each binding name of the shader.
        bind: Vec<(String, usize)>,
        /// Workgroups along x, y and z.
        groups: [u32; 3],
        /// Floating-point operations.
        flops: u64,
        /// Bytes read and written, at least.
        bytes: u64,
        /// The op (or ops) it computes, for profiles.
        label: String,
    },
    /// An exchange with other processes, on the host.
    Exchange {
        /// The op.
        op: Arc<dyn Op>,
        /// Its inputs.
        from: Vec<Readback>,
        /// A buffer that holds them one behind the other.
        packed: usize,
        /// The target buffer.
        to: usize,
        /// Values of its output, which begins where the target does.
        outputs: usize,
    },
    /// A copy from one buffer to the start of another.
    Copy {
        /// The source buffer.
        from: usize,
        /// Where to start in it; a multiple of 4.
        offset: u64,
        /// The target buffer.
        to: usize,
        /// Number of bytes; a multiple of 4.
        bytes: u64,
    },
}

/// A part of a buffer that is read back after a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readback {
    /// The buffer.
    pub buffer: usize,
    /// Byte offset; a multiple of 4.
    pub offset: u64,
    /// Number of bytes; rounded up to a multiple of 4 by the device.
    pub bytes: u64,
}

/// A program as a GPU runs it.
#[derive(Clone, Debug, Default)]
pub struct Script {
    /// All buffers.
    pub buffers: Vec<BufferSpec>,
    /// The steps of every run, in order.
    pub steps: Vec<ScriptStep>,
    /// The feeds in the order in which a run gets them: the index of each one's buffer.
    pub feeds: Vec<usize>,
    /// The results of every run, in order.
    pub fetches: Vec<Readback>,
}
