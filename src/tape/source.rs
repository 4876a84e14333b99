//! The nodes that have no inputs: values that exist before a program runs.

use crate::ops::{Class, Op};
use crate::tensor::DType;

/// A feed or a state.
#[derive(Debug)]
pub struct Source {
    kind: &'static str,
    name: String,
    shape: Vec<usize>,
    dtype: DType,
}

impl Source {
    pub(super) fn new(kind: &'static str, name: &str, shape: &[usize], dtype: DType) -> Self {
        Self { kind, name: name.into(), shape: shape.to_vec(), dtype }
    }
}

impl Op for Source {
    fn name(&self) -> &'static str {
        self.kind
    }

    fn shape(&self, _inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        Ok(self.shape.clone())
    }

    fn dtype(&self) -> DType {
        self.dtype
    }

    fn class(&self) -> Class<'_> {
        Class::Source
    }
}
