//! Which variant each kernel of a program runs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ops::{Lowered, Op, Site, Variant};

/// The variants that a device's kernels run, by what the kernels compute: an op with its geometry
/// on inputs of certain shapes. A kernel not listed runs its default variant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choices {
    /// The device's name, as [`crate::device::Device::name`] gives it.
    pub device: String,
    /// For each of its kernels with several variants, the variant's name.
    pub kernels: BTreeMap<String, String>,
}

impl Choices {
    /// The chosen variant of an op, and its name; no name if there is only one.
    pub(super) fn pick(&self, key: &str, mut variants: Vec<Variant>) -> (String, Lowered) {
        let several = variants.len() > 1;
        let wanted = self.kernels.get(key);
        let at = variants.iter().position(|v| Some(&v.name) == wanted).unwrap_or(0);
        let Variant { name, lowered } = variants.swap_remove(at);
        (if several { name } else { String::new() }, lowered)
    }
}

/// A readable key that distinguishes the kernel of an op at a site from all others: the op with its
/// geometry, and the shapes of its inputs, which determine that of its output. `halves` tells which
/// of the inputs, and last whether the output, are kept in 16 bits.
#[must_use]
pub fn key(op: &dyn Op, site: &Site, halves: &[bool]) -> String {
    let width = |i: usize| if halves.get(i) == Some(&true) { " f16" } else { "" };
    let inputs = site.shapes.iter().enumerate();
    let shapes: Vec<String> = inputs.map(|(i, shape)| format!("{shape:?}{}", width(i))).collect();
    let to = if width(shapes.len()).is_empty() { "" } else { " to f16" };
    format!("{} on {}{to}", op.key(), shapes.join(", "))
}
