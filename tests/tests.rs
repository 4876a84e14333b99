//! The one integration binary; a module for each subject.
//!
//! | module | what it tests |
//! | --- | --- |
//! | `gpu` | the GPU device: programs, readback, failures, measurements |
//! | `grad` | every gradient, and its gradient, against central differences |
//! | `naive` | helper: tapes interpreted in 64 bits, one number at a time |
//! | `ops` | every sample of every op, on every device, against that |
//! | `program` | fusion, the memory plan, feeds, states, fetches |
//! | `random_programs` | random tapes, on every device, against the interpreter |
//! | `reference` | layers, losses and penalties against PyTorch's |
//! | `shaders` | every kernel: renders, validates, and is written for all back ends |
//! | `support` | helpers: the devices under test, naga's writers |
//! | `training` | training steps against PyTorch's |

mod gpu;
mod grad;
mod naive;
mod ops;
mod program;
mod random_programs;
mod reference;
mod shaders;
mod support;
mod training;
