//! A value through which no gradient flows.

use crate::error::Result;
use crate::tape::{Tape, Var};

use super::samples::{Input, Kind, Sample, special};
use super::{Class, Op, Site};

/// `y = x`, and the derivative of `y` is zero: what is computed from `y` has no effect on what
/// computed `x`. It is a view, so nothing runs.
#[derive(Clone, Copy, Debug)]
pub struct Stop;

impl Op for Stop {
    fn name(&self) -> &'static str {
        "stop"
    }

    fn shape(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        Ok(inputs[0].to_vec())
    }

    fn class(&self) -> Class<'_> {
        Class::Reshape
    }

    fn vjp(&self, _t: &mut Tape, _s: &Site, _g: Var, _needs: &[bool]) -> Result<Vec<Option<Var>>> {
        Ok(vec![None])
    }

    fn reference(&self, _s: &Site, x: &[&[f64]]) -> Vec<f64> {
        x[0].to_vec()
    }
}

impl Tape {
    /// `x` as a constant: the same values, without a gradient to what computed them.
    ///
    /// # Errors
    /// [`crate::error::Error::Shape`] where `x` is not a tensor of floats.
    pub fn stop(&mut self, x: Var) -> Result<Var> {
        self.record(Stop, &[x])
    }
}

/// Alone, and among ops whose own gradients flow. Differences do not stop: all are marked rough.
pub(super) fn samples(op: &'static str) -> Vec<Sample> {
    let shapes = [&[][..], &[1], &[2, 3], &[1757], &[1, 3, 65]];
    let alone = shapes.map(|shape| {
        let x = vec![Input::new(shape, Kind::NORMAL)];
        Sample::new(op, x, |t, x| t.stop(x[0])).tolerance(0.0, 0.0).rough()
    });
    let x = vec![Input::new(&[65, 3], Kind::NORMAL)];
    let among = Sample::new(op, x, |t, x| {
        let y = t.tanh(x[0])?;
        let y = t.stop(y)?;
        t.mul(x[0], y)
    });
    let among = among.note("among others").tolerance(1e-5, 1e-6).rough();
    let special = special::one(op, "", &[5, 9], |t, x| t.stop(x[0]));
    alone.into_iter().chain([among]).chain(special).collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::super::Caps;
    use super::*;
    use crate::program::{Options, kernels};
    use crate::tensor::DType;

    #[test]
    fn no_gradient_flows_through() {
        let mut t = Tape::new();
        let x = t.feed("x", &[3], DType::F32).unwrap();
        let y = t.tanh(x).unwrap();
        let stopped = t.stop(y).unwrap();
        let product = t.mul(x, stopped).unwrap();
        let loss = t.sum_all(product).unwrap();
        let before = t.nodes().len();
        let gradients = t.grad(loss, &[x, y]).unwrap();
        // d(x · stop(y)) / dx is stop(y): no derivative of tanh is recorded, and y gets zeros.
        let ops: Vec<&str> = t.nodes()[before..].iter().map(|node| node.op.name()).collect();
        assert!(!ops.contains(&"affine"), "{ops:?}");
        assert_eq!(t.node(gradients[1]).op.key(), "Fill { shape: [3], value: 0.0 }");
        let of_x = t.node(gradients[0]);
        assert!(of_x.op.name() == "mul" && of_x.inputs.contains(&stopped), "{of_x:?}");
    }

    #[test]
    fn nothing_runs() {
        let dispatches = |stops: bool| {
            let mut t = Tape::new();
            let x = t.feed("x", &[4, 4], DType::F32).unwrap();
            let y = t.matmul(x, x).unwrap();
            let y = if stops { t.stop(y).unwrap() } else { y };
            let z = t.tanh(y).unwrap();
            t.fetch("z", z).unwrap();
            kernels(&t, &Caps::portable(), &Options::default()).unwrap()
        };
        assert_eq!(dispatches(true), dispatches(false));
    }
}
