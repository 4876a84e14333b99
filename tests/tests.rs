//! The one integration binary; a module for each subject.
//!
//! | module | what it tests |
//! | --- | --- |
//! | `gpu` | the GPU device: programs, readback, failures, measurements |
//! | `shaders` | every kernel: renders, validates, and is written for all back ends |
//! | `support` | helpers: the devices under test, naga's writers |
//! | `training` | training steps against PyTorch's |

mod gpu;
mod shaders;
mod support;
mod training;
