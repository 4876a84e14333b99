//! tests
#![expect(clippy::unwrap_used, reason = "tests")]
mod support;
mod training;
