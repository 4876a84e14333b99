//! The elementwise ops as methods of [`Tape`].

use crate::error::{Error, Result};
use crate::tape::{Tape, Var};

use super::{
    Abs, Add, Affine, Choose, Clamp, Div, Exp, Fill, Finite, FromU8, Greater, LeakyRelu, Log,
    Maximum, Minimum, Mul, OneMinusExp, Recip, Sigmoid, Sign, Softplus, Sqrt, Sub, Tanh,
};

/// The tape methods that only record an op on their arguments.
macro_rules! methods {
    ($($(#[$doc:meta])* $objective:ident($($x:ident),+) = $op:expr;)+) => {
        impl Tape {
            $(
                $(#[$doc])*
                ///
                /// # Errors
                /// [`Error::Shape`] where the shapes do not broadcast.
                pub fn $objective(&mut self, $($x: Var),+) -> Result<Var> {
                    self.record($op, &[$($x),+])
                }
            )+
        }
    };
}

methods! {
    /// `a + b`.
    add(a, b) = Add {};
    /// `a − b`.
    sub(a, b) = Sub {};
    /// `a · b`.
    mul(a, b) = Mul {};
    /// `a / b`.
    div(a, b) = Div {};
    /// The larger of `a` and `b`, NaN where either is.
    maximum(a, b) = Maximum {};
    /// The smaller of `a` and `b`, NaN where either is.
    minimum(a, b) = Minimum {};
    /// 1 where `a > b`, else 0.
    greater(a, b) = Greater {};
    /// 1 where `x` is neither NaN nor infinite, else 0.
    finite(x) = Finite {};
    /// `a` where `c > 0`, else `b`.
    choose(c, a, b) = Choose {};
    /// `√x`.
    sqrt(x) = Sqrt {};
    /// `1 / x`.
    recip(x) = Recip {};
    /// `eˣ`, finite for every `x` but NaN.
    exp(x) = Exp {};
    /// `ln x`.
    log(x) = Log {};
    /// `|x|`.
    abs(x) = Abs {};
    /// −1, 0 or 1.
    sign(x) = Sign {};
    /// `max(x, 0)`.
    relu(x) = LeakyRelu { slope: 0.0 };
    /// `tanh x`.
    tanh(x) = Tanh {};
    /// `1 / (1 + e⁻ˣ)`.
    sigmoid(x) = Sigmoid {};
    /// `ln(1 + eˣ)`.
    softplus(x) = Softplus {};
    /// Bytes as floats in [−1, 1].
    from_u8(x) = FromU8;
    /// `−x`.
    neg(x) = Affine { scale: -1.0, shift: 0.0 };
}

impl Tape {
    /// `scale · x + shift`.
    ///
    /// # Errors
    /// Errors of recording the op.
    pub fn affine(&mut self, x: Var, scale: f32, shift: f32) -> Result<Var> {
        self.record(Affine { scale, shift }, &[x])
    }

    /// `1 − e^(−rate · x)`.
    ///
    /// # Errors
    /// Errors of recording the op.
    pub fn one_minus_exp(&mut self, x: Var, rate: f32) -> Result<Var> {
        self.record(OneMinusExp { rate }, &[x])
    }

    /// `x` where positive, else `slope · x`.
    ///
    /// # Errors
    /// [`Error::Shape`] where `slope` is negative.
    pub fn leaky_relu(&mut self, x: Var, slope: f32) -> Result<Var> {
        if slope < 0.0 {
            return Err(Error::Shape {
                op: "leaky_relu",
                what: format!("the slope {slope} is negative"),
                shapes: vec![self.shape(x).to_vec()],
            });
        }
        self.record(LeakyRelu { slope }, &[x])
    }

    /// `x` limited to [low, high].
    ///
    /// # Errors
    /// Errors of recording the op.
    pub fn clamp(&mut self, x: Var, low: f32, high: f32) -> Result<Var> {
        self.record(Clamp { low, high }, &[x])
    }

    /// A tensor of `shape` filled with `value`.
    ///
    /// # Errors
    /// Errors of recording the op.
    pub fn fill(&mut self, shape: &[usize], value: f32) -> Result<Var> {
        self.record(Fill { shape: shape.to_vec(), value }, &[])
    }
}
