//! What only this crate's own tests look at: no part of the library, and free to change.

use crate::device::gpu::GpuProgram;
use crate::error::Result;
use crate::nn::Sequential;
use crate::tape::{Tape, Var};
use crate::tensor::Tensor;

/// The largest singular value of every spectrally normalized weight as it is used, `W / σ`, with its
/// layer's name. `get` gives the state of a name.
///
/// # Errors
/// Those of `get`.
pub fn singular_values(
    network: &Sequential,
    prefix: &str,
    get: impl FnMut(&str) -> Result<Tensor>,
) -> Result<Vec<(String, f64)>> {
    network.singular_values(prefix, get)
}

/// The scalars `σ` that the spectrally normalized weights of the network called `prefix` are divided by,
/// with their layers' names.
///
/// # Errors
/// Those of recording.
pub fn sigmas(network: &Sequential, t: &mut Tape, prefix: &str) -> Result<Vec<(String, Var)>> {
    network.sigmas(t, prefix)
}

/// Into how many submissions a run is cut.
#[must_use]
pub fn submissions_per_run(program: &GpuProgram) -> usize {
    program.submissions_per_run()
}

/// Leaves the canary out of the next run, as if the device had not reached it.
pub fn skip_canary_once(program: &mut GpuProgram) {
    program.skip_canary_once();
}
