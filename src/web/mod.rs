//! A trained generator as a web page: one file that opens in any browser and loads nothing else.
//!
//! A compiled program is plain data ([`crate::program::portable()`]), so a page can run it: on its visitor's
//! GPU by WebGPU, which takes the kernels' WGSL as it is, or on the CPU by WebAssembly, to which the same
//! kernels are compiled here ([`wasm`]).
//!
//! ```text
//! frame.html     a content security policy that forbids every request, and around everything
//!   style.css      of reports, and page.css
//!   page.html      markup
//!   #data          base64 of gzip of: the length of the JSON, the JSON, bytes (WebAssembly, weights)
//!   random.js      random numbers: seeds to latents
//!   replay.js      runs programs
//!   common.js      images on canvases, files to save, the choice of the device
//!   page.js        what a visitor sees and does
//! ```

mod constants;
mod html;
mod page;
mod train;
pub mod wasm;

use crate::error::{Error, Result};
use crate::human;
use crate::ops::Caps;
use crate::program::{Options as Compiling, Packs, Portable, portable};
use crate::tape::Tape;

pub use constants::Encoding;
pub use page::{Direction, Options, Page};
pub use train::{MOST_IMAGE_BYTES, TrainingPage, TrainingSet};

/// A program for the devices of a page's visitors.
///
/// # Errors
/// [`Error::Memory`] if one of its buffers is larger than browsers allow; `what` is what needs it.
fn program(tape: &Tape, caps: &Caps, packs: &mut Packs, what: &str) -> Result<Portable> {
    let program = portable(tape, caps, &Compiling::default(), packs)?;
    match program.buffers.iter().map(|buffer| buffer.bytes).max() {
        Some(bytes) if bytes > caps.max_binding => Err(Error::Memory(format!(
            "a page's GPU binds at most {} at once, and {what} needs {}",
            human::bytes(caps.max_binding),
            human::bytes(bytes)
        ))),
        _ => Ok(program),
    }
}
