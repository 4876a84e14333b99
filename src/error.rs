//! Errors, in the user's terms: the op, the flag or the file.

use std::path::PathBuf;

use crate::tensor::elements;

/// A result whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Every error that the library returns. Panics are only for its own bugs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A host tensor whose data does not fit its shape.
    #[error(
        "a tensor of shape {shape:?} needs {} elements, {len} were given",
        elements(shape).map_or("too many".into(), |n| n.to_string())
    )]
    Length {
        /// The requested shape.
        shape: Vec<usize>,
        /// The number of elements given.
        len: usize,
    },
    /// An op was recorded on inputs whose shapes do not fit it.
    #[error("{op}: {what}; its inputs have shapes {shapes:?}")]
    Shape {
        /// The op's name.
        op: &'static str,
        /// The mismatch.
        what: String,
        /// The shapes of all inputs.
        shapes: Vec<Vec<usize>>,
    },
    /// A gradient through an op that has no derivative.
    #[error("{op} cannot be differentiated")]
    NotDifferentiable {
        /// The op's name.
        op: &'static str,
    },
    /// A named tensor (feed, fetch or state) that the program or checkpoint lacks, or has with
    /// another shape.
    #[error("tensor {name:?}: {what}")]
    Tensor {
        /// The tensor's name.
        name: String,
        /// What is wrong with it.
        what: String,
    },
    /// A shader that does not compile: a bug in this program or in a driver.
    #[error("kernel {kernel}: {what}")]
    Shader {
        /// The kernel's name and variant.
        kernel: String,
        /// The compiler's message, shown against the rendered source.
        what: String,
    },
    /// The requested device does not exist or cannot be opened.
    #[error("{0}")]
    Device(String),
    /// The program needs more memory than the device has or allows.
    #[error("{0}")]
    Memory(String),
    /// The device was lost, timed out, or returned incorrect results.
    #[error("{0}")]
    Lost(String),
    /// A device computes wrong results.
    #[error("{0}")]
    Wrong(String),
    /// An option whose value cannot work, or conflicts with others.
    #[error("`{field}`: {what}")]
    Config {
        /// The option's name in the library, such as `norm_d`.
        field: &'static str,
        /// What is wrong and what would work; options are named in backticks.
        what: String,
    },
    /// A flag of the command line whose value cannot work.
    #[cfg(feature = "cli")]
    #[error("{flag}: {what}")]
    Flag {
        /// The flag as it is typed, with its dashes.
        flag: &'static str,
        /// What is wrong and what would work.
        what: String,
    },
    /// A file or folder that cannot be used for its purpose.
    #[error("{}: {what}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong and what would work.
        what: String,
    },
    /// A file that is truncated or garbled, as after a crash or on a full disk.
    #[error("{}: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A file that was written completely, but has changed since: its checksum is wrong.
    #[error("{}: {what}", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A metric that cannot be computed from these images.
    #[error("{metric}: {what}")]
    Metric {
        /// The metric's name, such as `swd-raw`.
        metric: &'static str,
        /// Why not, and what would work.
        what: String,
    },
    /// Non-finite values: in training, or in the output of a network.
    #[error("{0}")]
    Diverged(String),
}

/// Sets the name in an [`Error::Tensor`] of an unnamed tensor.
pub(crate) fn named(name: &str, error: Error) -> Error {
    match error {
        Error::Tensor { what, .. } => Error::Tensor { name: name.into(), what },
        other => other,
    }
}

impl Error {
    /// An [`Error::Config`].
    pub fn config(field: &'static str, what: impl Into<String>) -> Self {
        Self::Config { field, what: what.into() }
    }

    /// An [`Error::Flag`].
    #[cfg(feature = "cli")]
    pub(crate) fn flag(flag: &'static str, what: impl Into<String>) -> Self {
        Self::Flag { flag, what: what.into() }
    }

    /// An [`Error::Metric`].
    pub fn metric(metric: &'static str, what: impl Into<String>) -> Self {
        Self::Metric { metric, what: what.into() }
    }

    /// An [`Error::File`].
    pub fn file(path: impl Into<PathBuf>, what: impl std::fmt::Display) -> Self {
        Self::File { path: path.into(), what: what.to_string() }
    }

    /// An [`Error::Damaged`].
    pub fn damaged(path: impl Into<PathBuf>, what: impl std::fmt::Display) -> Self {
        Self::Damaged { path: path.into(), what: what.to_string() }
    }
}
