//! All integration tests, as one binary.
//!
//! - `data_formats`: each picture format gives the pixels that were put into it, upright
//! - `data_sources`: folders, archives, IDX files and CIFAR-10 batches are found by looking
//! - `data_loader`: batches are a function of files, seed and number; bad pictures are skipped

#![expect(clippy::unwrap_used, reason = "a test that fails may panic")]

mod data_formats;
mod data_loader;
mod data_sources;
