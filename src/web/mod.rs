//! Programs in web pages.

pub mod wasm;
