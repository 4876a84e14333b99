//! The leaves: values that exist before a program runs, and states that it assigns.

use crate::error::Result;
use crate::ops::{Class, Op, Site};
use crate::tensor::DType;

use super::{Tape, Var};

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

    fn key(&self) -> String {
        format!("{} {:?}", self.kind, self.name)
    }

    fn class(&self) -> Class<'_> {
        Class::Source
    }

    fn reference(&self, _s: &Site, _x: &[&[f64]]) -> Vec<f64> {
        unreachable!("{} is given, not computed", self.kind)
    }
}

/// The value assigned to a state: the same values, but a leaf. The gradient of what follows an
/// update stops here, or the generator's step would differentiate through the discriminator's
/// update, as unrolled GANs do (Metz et al., arXiv 1611.02163).
#[derive(Debug)]
pub struct Assigned(pub(super) DType);

impl Op for Assigned {
    fn name(&self) -> &'static str {
        "assigned"
    }

    fn shape(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        Ok(inputs[0].to_vec())
    }

    fn dtype(&self) -> DType {
        self.0
    }

    fn input_dtype(&self, _i: usize) -> DType {
        self.0
    }

    fn class(&self) -> Class<'_> {
        Class::Reshape
    }

    fn is_assigned(&self) -> bool {
        true
    }

    fn vjp(&self, _t: &mut Tape, _s: &Site, _g: Var, _needs: &[bool]) -> Result<Vec<Option<Var>>> {
        Ok(vec![None])
    }

    fn reference(&self, _s: &Site, x: &[&[f64]]) -> Vec<f64> {
        x[0].to_vec()
    }
}
