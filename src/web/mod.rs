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
//!   page.js        what a visitor sees and does
//! ```

mod constants;
mod html;
mod page;
mod train;
pub mod wasm;

pub use constants::Encoding;
pub use page::{Direction, Options, Page};
pub use train::{MOST_IMAGE_BYTES, TrainingPage, TrainingSet};
