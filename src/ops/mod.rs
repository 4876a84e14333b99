//! What a node of the tape computes. One file per family; an op's formula, shape rule, vjp, CPU
//! kernel and GPU lowering are in one place.
//!
//! To add an op: a struct that implements [`Op`], and its samples, in `src/ops/<op>.rs`; its kernel in
//! `shaders/<op>.wgsl`; one row in [`table::OPS`], which tests and `dcgan check` walk.

use std::any::Any;
use std::fmt::Debug;

use crate::error::{Error, Result};
use crate::tape::{Tape, Var};
use crate::tensor::DType;

pub mod append;
pub mod conv;
pub mod depthwise;
pub mod elementwise;
mod kernel;
pub mod matmul;
pub mod maxout;
pub mod moments;
pub mod norm;
pub mod pool;
pub mod random;
pub mod ranks;
pub mod reduce;
mod reference;
pub mod samples;
pub mod shape;
pub mod shift;
pub mod softmax;
pub mod stop;
pub mod table;
mod tile;
mod wide;

pub use kernel::{Arg, Call, Caps, Dispatch, Elementwise, Lowered, Sizes, Variant, fold_groups};
pub use wide::registers;

/// The site of an op on a tape: its inputs and output, with their shapes.
#[derive(Clone, Debug)]
pub struct Site {
    /// The inputs' nodes.
    pub inputs: Vec<Var>,
    /// The inputs' shapes.
    pub shapes: Vec<Vec<usize>>,
    /// The inputs' element types.
    pub dtypes: Vec<DType>,
    /// The op's own node.
    pub output: Var,
    /// The output's shape.
    pub shape: Vec<usize>,
}

impl Site {
    /// Number of elements of input `i`.
    #[must_use]
    pub fn input_len(&self, i: usize) -> usize {
        self.shapes[i].iter().product()
    }

    /// Number of elements of the output.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether the output has no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// How the compiler treats an op.
#[derive(Clone, Copy, Debug)]
pub enum Class<'a> {
    /// A value that exists before the program runs: a feed or a state.
    Source,
    /// The same elements under another shape: never copied.
    Reshape,
    /// Consecutive elements of the input, from this flat offset: not copied for elementwise
    /// consumers.
    Range(usize),
    /// One value from the same place of each (broadcast) input: fused with others of its kind.
    Elementwise(&'a dyn Elementwise),
    /// Everything else: a CPU kernel, and dispatches on the GPU.
    Kernel,
}

/// When a GPU keeps an op's results as 16-bit floats, in programs that use them
/// ([`crate::program::Precision`]). Only images and feature maps are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// Never: they are scores, statistics or gradients of weights.
    Never,
    /// Where the first input is kept so: the op moves or selects values.
    AsInput,
    /// Where any input of that size is kept so: elementwise ops.
    AsAnyInput,
    /// Always: convolutions, from which the others take it.
    Always,
}

/// What a node computes.
pub trait Op: Debug + Any + Send + Sync {
    /// The name that tape method, shader file, CPU kernel and tests share.
    fn name(&self) -> &'static str;

    /// The output's shape for these input shapes.
    ///
    /// # Errors
    /// A sentence that describes the mismatch; [`Tape::record`] adds the op and the shapes.
    fn shape(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String>;

    /// The output's element type.
    fn dtype(&self) -> DType {
        DType::F32
    }

    /// The element type that input `i` must have.
    fn input_dtype(&self, _i: usize) -> DType {
        DType::F32
    }

    /// The op and every parameter that determines what it computes: two ops with one key do the
    /// same to the same inputs. [`Tape::record`] merges nodes by it, and tuned kernels are stored
    /// under it.
    fn key(&self) -> String {
        format!("{self:?}")
    }

    /// How the compiler treats it.
    fn class(&self) -> Class<'_> {
        Class::Kernel
    }

    /// When its results are kept in 16 bits.
    fn half(&self) -> Half {
        match self.class() {
            Class::Elementwise(_) => Half::AsAnyInput,
            Class::Source | Class::Reshape | Class::Range(_) | Class::Kernel => Half::Never,
        }
    }

    /// Whether its results may be so small compared to its inputs that 16 bits make them zeros:
    /// before a sum they are kept in 32.
    fn shrinks(&self) -> bool {
        false
    }

    /// Whether it is one of the products that make up most of a network's arithmetic.
    fn is_product(&self) -> bool {
        false
    }

    /// Whether it is a [`reduce::Sum`]: the compiler bundles several into one kernel.
    fn is_sum(&self) -> bool {
        false
    }

    /// Whether its value is the new value of a state.
    fn is_assigned(&self) -> bool {
        false
    }

    /// Whether it is an exchange between the processes of a training, which runs on the host.
    fn is_exchange(&self) -> bool {
        false
    }

    /// Whether an exchange is a copy of its one input, with no other process to reach.
    fn is_copy(&self) -> bool {
        false
    }

    /// Computes an exchange ([`Op::is_exchange`]) of its inputs, one behind the other.
    fn exchange(&self, _x: &[f32], _y: &mut [f32]) {
        unreachable!("{} is no exchange", self.name());
    }

    /// Vector-Jacobian product: for each input that `needs` it, the gradient of a scalar with
    /// respect to that input, where `g` is its gradient with respect to the output; `None` where
    /// the derivative is zero almost everywhere. Calls only [`Tape`] methods. A gradient may keep
    /// the output's shape where the input was broadcast: [`Tape::grad`] sums it down.
    ///
    /// # Errors
    /// [`Error::NotDifferentiable`] unless the op overrides it.
    fn vjp(
        &self,
        _tape: &mut Tape,
        _site: &Site,
        _g: Var,
        _needs: &[bool],
    ) -> Result<Vec<Option<Var>>> {
        Err(Error::NotDifferentiable { op: self.name() })
    }

    /// The op by its formula, in 64 bits and one value at a time: tests compare the CPU kernel and
    /// the GPU kernels with it. It shares no code with them, and need not be fast.
    fn reference(&self, site: &Site, x: &[&[f64]]) -> Vec<f64>;

    /// Floats of scratch memory that [`Op::cpu`] needs.
    fn cpu_scratch(&self, _site: &Site, _threads: usize) -> usize {
        0
    }

    /// Computes the op in plain Rust.
    fn cpu(&self, _site: &Site, _call: Call<'_>) {
        unreachable!("{} is not a kernel", self.name());
    }

    /// The ways to compute the op on the GPU, the default one first; one or more. All give the same
    /// values up to rounding; a tuner picks the fastest.
    ///
    /// # Errors
    /// [`Error::Memory`] where a buffer would be larger than the device can bind.
    fn variants(&self, _site: &Site, _caps: &Caps) -> Result<Vec<Variant>> {
        unreachable!("{} is not a kernel", self.name());
    }

    /// Floating-point operations, for reports and for cutting submits by time.
    fn flops(&self, site: &Site) -> u64 {
        site.len() as u64
    }
}
