//! DCGANs on any GPU (Vulkan, Metal, DX12) or CPU: the library behind the command `dcgan`.
//!
//! # One idea
//!
//! A training step has the same shapes every time. So it is **recorded once** on a small autograd
//! tape, **compiled once** for a device, and **replayed** thousands of times:
//!
//! ```text
//! Tape ──grad──▶ the same Tape, longer ──compile──▶ Program ──run──▶ run ▶ run …
//! ```
//!
//! ```
//! use dcgan::device::{Device, State};
//! use dcgan::program::{Options, Program};
//! use dcgan::tape::Tape;
//! use dcgan::tensor::{DType, Tensor};
//!
//! # fn main() -> dcgan::error::Result<()> {
//! let mut t = Tape::new();
//! let x = t.feed("x", &[2], DType::F32)?;
//! let square = t.mul(x, x)?;
//! let y = t.sum_all(square)?;
//! let gradient = t.grad(y, &[x])?[0];
//! t.fetch("gradient", gradient)?;
//!
//! let mut state = State::new(&Device::Cpu);
//! let mut program = Program::compile(&t, &state, &Options::default())?;
//! let x = Tensor::new([2], vec![1.0, 3.0])?;
//! assert_eq!(program.call(&mut state, &[("x", &x)])?["gradient"].f32s(), [2.0, 6.0]);
//! # Ok(())
//! # }
//! ```
//!
//! # The map
//!
//! Arrows point one way: `cli → bench, check, experiments, weights → train → gan → models, objectives,
//! augment, optim → nn → tape ⇄ ops`; `model → nn, program`, which `models` and all above them use; and
//! `program → tape, ops, device`. Modules above the tape call only its methods; ops and devices do not
//! depend on each other.
//!
//! | module | contents |
//! | --- | --- |
//! | [`tape`] | record, differentiate |
//! | [`ops`] | each node's formula, shape rule, derivative, CPU kernel, GPU lowering and samples |
//! | [`program`] | compile: dead nodes, fusion, memory plan; run; report |
//! | [`device`] | CPU and GPU; buffers that outlive a step ([`device::State`]) |
//! | [`shaders`] | the WGSL templates of `shaders/` |
//! | [`nn`], [`models`] | layers, one file each; architectures and their configuration |
//! | [`objectives`], [`optim`], [`augment`] | losses and penalties; optimizers, as nodes that assign states; augmentation |
//! | [`model`] | trained models: description and file, and the generator that samples |
//! | [`gan`] | systems of networks: stages, phases and updates; one file for each family of GANs |
//! | [`train`] | the trainer; the loop around it, run folders, logs, previews |
//! | [`config`] | training options: each defined once, for Rust, JSON and the command line |
//! | [`data`] | images from folders, archives and other sources |
//! | [`text`] | captions as vectors |
//! | [`features`], [`svm`], [`logistic`] | features of images; linear classifiers on them |
//! | [`evaluation`] | scores of a generator against real images |
//! | [`experiments`] | the paper's experiments on trained networks |
//! | [`weights`] | import from PyTorch and DCGAN's authors, export to PyTorch and ONNX |
//! | [`mod@bench`], [`check`] | a device's speed, and the correctness of its results |
//! | [`images`], [`files`] | grids and films; files that are never half-written |
//! | [`web`] | models and trainings as web pages |
//! | [`human`], [`shell`], [`terminal`] | numbers and names for people; paths for shells; access to standard output and error |
//! | [`threads`] | threads where the system limits them |
//! | [`cli`] | the commands |
//!
//! # The path of an image, and of a gradient
//!
//! In training, with DCGAN's default:
//!
//! 1. [`data::Loader`] decodes, crops and resizes files to batches of bytes, ahead of the steps.
//! 2. [`train::Trainer::step`] hands a batch to the compiled program as a feed; a node turns bytes into
//!    the networks' range ([`model::Pixels`]).
//! 3. The step was recorded by a family, `gan::families::gan`: its discriminator update asks
//!    [`gan::Step::forward`] for passes of the images, and of images from drawn latents, through
//!    [`nn::Sequential::record`], layer by layer, and [`objectives::Loss`] for the losses.
//! 4. [`gan::Update::minimize`] calls [`tape::Tape::grad`]: from the loss back to the discriminator's
//!    weights, each node's op records its own derivative ([`ops::Op::vjp`]) on the same tape.
//! 5. [`gan::Step::apply`] hands every gradient to the optimizer ([`optim`]), whose nodes assign the
//!    weights' states. The generator's update reads the new discriminator, and the moving average
//!    follows.
//! 6. [`program::Program`] replays all of it, fused, in buffers that were planned once; metrics come
//!    back as fetches two steps later, and go to the log, the plot and the health watch
//!    ([`train::Metrics`]).
//!
//! In sampling, [`model::Generator`] draws latents by seed, runs the model's [`model::Pipeline`], and
//! gives floats that [`images`] turns into files.
//!
//! # Conventions
//!
//! Activations are NHWC. Convolution weights are `[kh, kw, large, small]` on the device, where
//! *large* is the side of the larger images; in files they are `[small, large, kh, kw]`, PyTorch's
//! order for both directions of convolution. Random numbers are pure functions of a seed, a name and
//! a step ([`rng`]). Errors name the option, the file or both shapes ([`error`]); panics are bugs.

// `clippy.toml` lists what is forbidden and the replacements.
#![cfg_attr(
    not(test),
    deny(clippy::disallowed_methods, clippy::print_stdout, clippy::print_stderr)
)]

/// This program and its version, written into its files.
pub const PROGRAM: &str = concat!("dcgan ", env!("CARGO_PKG_VERSION"));

pub mod augment;
pub mod bench;
pub mod check;
#[cfg(feature = "cli")]
pub mod cli;
pub mod config;
pub mod data;
pub mod device;
mod distances;
pub mod error;
pub mod evaluation;
pub mod experiments;
pub mod features;
pub mod files;
pub mod gan;
mod gemm;
pub mod human;
pub mod images;
pub mod logistic;
mod math;
pub mod model;
pub mod models;
pub mod nn;
mod npy;
pub mod objectives;
pub mod ops;
pub mod optim;
pub mod program;
mod protobuf;
pub mod ranks;
pub mod rng;
pub mod shaders;
pub mod shell;
pub mod svm;
pub mod tape;
pub mod tensor;
#[cfg(feature = "cli")]
pub mod terminal;
#[doc(hidden)]
pub mod testing;
pub mod text;
pub mod threads;
pub mod train;
pub mod web;
pub mod weights;
