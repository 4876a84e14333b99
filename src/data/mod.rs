//! Images: opened from anything that holds them, decoded on threads, handed out in batches.
//!
//! ```text
//! DATA ──Source::open──▶ a list of images ──decode──▶ pixels ──Prepare──▶ bytes ──Loader──▶ Batch
//! ```
//!
//! - [`Source`] detects what a path is: a folder, a zip or tar of images, a folder of tars, Parquet files, LMDB,
//!   IDX files, CIFAR-10 batches, arrays of NumPy, MATLAB or HDF5; without a path it is the set that is part of the program. [`Reading`] says which
//!   part of it to take, and what its classes are; [`Fingerprint`] is what it is known by again.
//! - [`Captions`] are texts that belong to images, where the set has some; images may have normal maps
//!   too ([`Source::check_normals`]).
//! - [`Prepare`] says what every image is made into: size, channels, crop, filter.
//! - [`Loader`] gives endless shuffled batches, made ahead on threads. Its batches are a function
//!   of the files, the seed and the batch's number alone, so a run resumes exactly.
//! - [`sweep()`] gives every image once, for analysis rather than training.
//! - [`LabelTable`] is a table of classes beside a set; [`pack()`] writes a set as a zip of small PNGs.
//! - [`SubsetWriter`] writes a part of a set as a set of its own, its files as they are.
//! - [`survey`] and [`contact_sheet`] show what a set is like before anything is trained on it.
//!
//! **Unreadable images** (damaged, truncated, no image in spite of the name, of a kind that would be
//! read wrongly, or claiming more than [`MAX_PIXELS`] pixels or 1 GiB) are skipped, counted and listed with the reason; more than a tenth of
//! them is an error. Files that do not claim to be images, and are none, are not counted at all.
//!
//! **Hostile files.** No size in a file is believed: products are checked, memory for decoding is shared
//! by all threads, archives are refused where entries overlap, and panics of decoders are caught.
//!
//! **What is not done**: color profiles of gray, CMYK and TIFF images are ignored, those of other RGB images
//! are applied; CMYK is turned into RGB by the plain formula,
//! stored inverted as Adobe's programs do; of several frames or pages the first is taken.

mod arrays;
mod captions;
mod classes;
mod containers;
mod dataset_json;
mod decode;
mod fingerprint;
mod formats;
mod loader;
mod look;
mod messages;
mod normals;
mod order;
mod pack;
mod packed;
mod part;
mod prepare;
mod report;
mod room;
mod sidecars;
mod source;
mod store;
mod subset;
mod sweep;
mod table;

pub use captions::Captions;
pub use decode::{MAX_PIXELS, open_image};
pub use fingerprint::{Difference, Fingerprint};
pub use loader::{Batch, CacheMode, Loader, LoaderOptions, Skipped, write_skipped};
pub(crate) use messages::count;
pub use order::Order;
pub use pack::{PackReport, pack};
pub use part::{Part, Reading};
pub use prepare::{Crop, Filter, Prepare, PrepareOptions, mirror};
pub use report::{Report, Spread, contact_sheet, survey};
pub use source::{CAPTIONED, Image, Kind, Source, is_captioned};
pub use subset::SubsetWriter;
#[cfg(feature = "cli")]
pub(crate) use sweep::sweep_by;
pub use sweep::{Chunk, sweep};
pub use table::LabelTable;
