//! Pictures: opened from anything that holds them, decoded on threads, handed out in batches.
//!
//! ```text
//! DATA ──Source::open──▶ a list of pictures ──decode──▶ pixels ──Prepare──▶ bytes ──Loader──▶ Batch
//! ```
//!
//! - [`Source`] finds out by looking what a path is: a folder, a zip or tar of pictures, IDX files,
//!   CIFAR-10 batches; without a path it is the set that is part of the program.
//! - [`Prepare`] says what every picture is made into: size, channels, crop, filter.
//! - [`Loader`] gives shuffled batches for ever, made ahead on threads. Its batches are a function
//!   of the files, the seed and the batch's number alone, so a run resumes exactly.
//! - [`sweep()`] gives every picture once, for what looks at a set rather than trains on it.
//! - [`SubsetWriter`] writes a part of a set as a set of its own, its files as they are.
//! - [`survey`] and [`contact_sheet`] show what a set is like before anything is trained on it.
//!
//! **Unreadable pictures** (damaged, truncated, no picture in spite of the name, or claiming more
//! than [`MAX_PIXELS`] pixels) are skipped, counted and listed with the reason; more than a tenth of
//! them is an error. Files that do not claim to be pictures, and are none, are not counted at all.
//!
//! **What is not done**: colour profiles are ignored; CMYK is turned into RGB by the plain formula,
//! stored inverted as Adobe's programs do; of several frames or pages the first is taken.

mod decode;
mod loader;
mod look;
mod order;
mod packed;
mod prepare;
mod report;
mod source;
mod store;
mod subset;
mod sweep;
mod tiff_palette;

pub use decode::{MAX_PIXELS, open_picture};
pub use loader::{Batch, CacheMode, Loader, LoaderOptions, Skipped, write_skipped};
pub use look::Part;
pub use order::Order;
pub use prepare::{Crop, Filter, Prepare, mirror};
pub use report::{Report, Spread, contact_sheet, survey};
pub use source::{Kind, Picture, Source};
pub use subset::SubsetWriter;
pub use sweep::{Chunk, sweep};
