//! One value in, one value out: arithmetic with broadcasting, and the activations.
//!
//! The WGSL of each op is a function of `vec4<f32>` in `shaders/<op>.wgsl`; chains of them become
//! one kernel. Inputs broadcast as in NumPy: aligned at the last axis, sizes of 1 stretch.

use crate::error::Result;
use crate::math;
use crate::tape::{Tape, Var};
use crate::tensor::DType;

use super::{Class, Elementwise, Op, Site, reference, wide};

mod methods;
mod samples;

pub(super) use samples::samples;

/// The shape that all of `inputs` broadcast to.
pub(super) fn broadcast(inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
    let rank = inputs.iter().map(|s| s.len()).max().unwrap_or(0);
    let mut shape = vec![1; rank];
    for input in inputs {
        for (to, &from) in shape[rank - input.len()..].iter_mut().zip(*input) {
            match (*to, from) {
                (a, b) if a == b => {}
                (1, b) => *to = b,
                (_, 1) => {}
                _ => return Err("the shapes do not broadcast".into()),
            }
        }
    }
    Ok(shape)
}

/// Declares an elementwise op: its struct, its shader, its CPU kernel, its reference and its vjp.
///
/// The reference, `exact`, is an expression of the inputs as 64-bit floats. The vjp is a closure of
/// (tape, site, g, needs) that gives one optional gradient for each input. What else the compiler
/// needs follows, as methods of [`Op`].
macro_rules! elementwise {
    (
        $(#[$doc:meta])*
        $name:ident $({ $($(#[$field_doc:meta])* $field:ident),+ })? = $stem:literal
        ($($x:ident),+), |$op:ident| $cpu:expr; exact $exact:expr;
        vjp |$t:ident, $s:ident, $g:ident, $needs:ident| $vjp:expr
        $(; $($traits:item)+)?
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name { $($($(#[$field_doc])* pub $field: f32),+)? }

        elementwise!(@impl $name [$($($field)+)?] $stem ($($x),+), |$op| $cpu; exact $exact;
            vjp |$t, $s, $g, $needs| $vjp; $($($traits)+)?);
    };
    (@impl $name:ident [$($field:ident)*] $stem:literal ($($x:ident),+), |$op:ident| $cpu:expr;
        exact $exact:expr;
        vjp |$t:ident, $s:ident, $g:ident, $needs:ident| $vjp:expr; $($traits:item)*) => {
        impl Op for $name {
            fn name(&self) -> &'static str {
                $stem
            }

            fn shape(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
                broadcast(inputs)
            }

            fn class(&self) -> Class<'_> {
                Class::Elementwise(self)
            }

            $($traits)*

            fn vjp(
                &self,
                $t: &mut Tape,
                $s: &Site,
                $g: Var,
                $needs: &[bool],
            ) -> Result<Vec<Option<Var>>> {
                let $op = self;
                let _ = $op;
                $vjp
            }

            fn reference(&self, s: &Site, x: &[&[f64]]) -> Vec<f64> {
                let $op = self;
                let _ = $op;
                reference::elementwise(s, x, |[$($x),+]| $exact)
            }
        }

        impl Elementwise for $name {
            fn constants(&self) -> Vec<(&'static str, f32)> {
                vec![$((stringify!($field), self.$field)),*]
            }

            fn apply(&self, inputs: &[&[f32]], y: &mut [f32]) {
                // By value, like all that CPU kernels capture: a reference might point into `y`,
                // and its target would be read again for every element.
                let $op = *self;
                let _ = $op;
                let f = $cpu;
                wide::map(
                    inputs,
                    y,
                    #[inline(always)]
                    move |[$($x),+]| f($($x),+),
                );
            }
        }
    };
}

elementwise! {
    /// `y = a + b`.
    Add = "add" (a, b), |_op| |a: f32, b: f32| a + b;
    exact a + b;
    vjp |_t, _s, g, _needs| Ok(vec![Some(g), Some(g)])
}

elementwise! {
    /// `y = a − b`.
    Sub = "sub" (a, b), |_op| |a: f32, b: f32| a - b;
    exact a - b;
    vjp |t, _s, g, needs| Ok(vec![Some(g), if needs[1] { Some(t.neg(g)?) } else { None }])
}

elementwise! {
    /// `y = a · b`.
    Mul = "mul" (a, b), |_op| |a: f32, b: f32| a * b;
    exact a * b;
    vjp |t, s, g, needs| {
        let (a, b) = (s.inputs[0], s.inputs[1]);
        Ok(vec![
            if needs[0] { Some(t.mul(g, b)?) } else { None },
            if needs[1] { Some(t.mul(g, a)?) } else { None },
        ])
    };
    fn shrinks(&self) -> bool {
        true
    }
}

elementwise! {
    /// `y = a / b`.
    Div = "div" (a, b), |_op| |a: f32, b: f32| a / b;
    exact a / b;
    vjp |t, s, g, needs| {
        let b = s.inputs[1];
        let ga = t.div(g, b)?;
        let mut gb = None;
        if needs[1] {
            let part = t.mul(ga, s.output)?;
            gb = Some(t.neg(part)?);
        }
        Ok(vec![Some(ga), gb])
    }
}

elementwise! {
    /// `y = max(a, b)`, NaN where either is; where they are equal the gradient goes to `b`.
    Maximum = "maximum" (a, b), |_op| |a: f32, b: f32| if a > b || a.is_nan() { a } else { b };
    exact if a.is_nan() || a > b { a } else { b };
    vjp |t, s, g, _needs| {
        let mask = t.greater(s.inputs[0], s.inputs[1])?;
        let ga = t.mul(g, mask)?;
        Ok(vec![Some(ga), Some(t.sub(g, ga)?)])
    }
}

elementwise! {
    /// `y = min(a, b)`, NaN where either is; where they are equal the gradient goes to `b`.
    Minimum = "minimum" (a, b), |_op| |a: f32, b: f32| if a < b || a.is_nan() { a } else { b };
    exact if a.is_nan() || a < b { a } else { b };
    vjp |t, s, g, _needs| {
        let mask = t.greater(s.inputs[1], s.inputs[0])?;
        let ga = t.mul(g, mask)?;
        Ok(vec![Some(ga), Some(t.sub(g, ga)?)])
    }
}

elementwise! {
    /// `y = 1` where `a > b`, else 0. Its derivative is zero almost everywhere.
    Greater = "greater" (a, b), |_op| |a: f32, b: f32| if a > b { 1.0 } else { 0.0 };
    exact f64::from(u8::from(a > b));
    vjp |_t, _s, _g, _needs| Ok(vec![None, None])
}

elementwise! {
    /// `y = 1` where `x` is neither NaN nor infinite, else 0. Its derivative is zero.
    Finite = "finite" (x), |_op| |x: f32| if x.is_finite() { 1.0 } else { 0.0 };
    exact f64::from(u8::from(x.is_finite()));
    vjp |_t, _s, _g, _needs| Ok(vec![None])
}

elementwise! {
    /// `y = a` where `c > 0`, else `b`: whatever the other value is, even NaN. No gradient flows to
    /// `c`.
    Choose = "choose" (c, a, b), |_op| |c: f32, a: f32, b: f32| if c > 0.0 { a } else { b };
    exact if c > 0.0 { a } else { b };
    vjp |t, s, g, needs| {
        let c = s.inputs[0];
        let zero = t.fill(&[], 0.0)?;
        Ok(vec![
            None,
            if needs[1] { Some(t.choose(c, g, zero)?) } else { None },
            if needs[2] { Some(t.choose(c, zero, g)?) } else { None },
        ])
    }
}

elementwise! {
    /// `y = scale · x + shift`, with constants.
    Affine {
        /// The factor.
        scale,
        /// The summand.
        shift
    } = "affine" (x), |op| move |x: f32| op.scale * x + op.shift;
    exact f64::from(op.scale) * x + f64::from(op.shift);
    vjp |t, _s, g, _needs| Ok(vec![Some(t.affine(g, op.scale, 0.0)?)])
}

elementwise! {
    /// `y = √x`.
    Sqrt = "sqrt" (x), |_op| f32::sqrt;
    exact x.sqrt();
    vjp |t, s, g, _needs| {
        let half = t.affine(g, 0.5, 0.0)?;
        Ok(vec![Some(t.div(half, s.output)?)])
    }
}

elementwise! {
    /// `y = 1 / x`.
    Recip = "recip" (x), |_op| f32::recip;
    exact 1.0 / x;
    vjp |t, s, g, _needs| {
        let square = t.mul(s.output, s.output)?;
        let part = t.mul(g, square)?;
        Ok(vec![Some(t.neg(part)?)])
    }
}

elementwise! {
    /// `y = eˣ`, with `x` clamped to [−87, 88], so that the result is finite and normal everywhere.
    Exp = "exp" (x), |_op| math::exp;
    exact if x < -87.0 { (-87.0_f64).exp() } else if x > 88.0 { 88.0_f64.exp() } else { x.exp() };
    vjp |t, s, g, _needs| {
        let part = t.mul(g, s.output)?;
        let [low, high] = math::EXP_RANGE;
        Ok(vec![Some(t.record(ClampGrad { low, high }, &[s.inputs[0], part])?)])
    }
}

elementwise! {
    /// `y = 1 − e^(−rate · x)`, accurate to the last digits where `rate · x` is small, too. With
    /// `rate = −ln β` it is Adam's bias correction `1 − βˣ`.
    OneMinusExp {
        /// How fast it approaches 1; above 0.
        rate
    } = "one_minus_exp" (x),
    |op| move |x: f32| -(-f64::from(op.rate) * f64::from(x)).exp_m1() as f32;
    exact if f64::from(op.rate) * x < -88.0 { -(88.0_f64).exp_m1() } else { -(-f64::from(op.rate) * x).exp_m1() };
    vjp |t, s, g, _needs| {
        let slope = t.affine(s.output, -op.rate, op.rate)?;
        Ok(vec![Some(t.mul(g, slope)?)])
    }
}

elementwise! {
    /// `y = ln x`.
    Log = "log" (x), |_op| math::log;
    exact x.ln();
    vjp |t, s, g, _needs| Ok(vec![Some(t.div(g, s.inputs[0])?)])
}

elementwise! {
    /// `y = |x|`; its derivative at 0 is 0.
    Abs = "abs" (x), |_op| f32::abs;
    exact if x < 0.0 { -x } else { x };
    vjp |t, s, g, _needs| {
        let sign = t.sign(s.inputs[0])?;
        Ok(vec![Some(t.mul(g, sign)?)])
    }
}

elementwise! {
    /// `y` = −1, 0 or 1: the sign of `x`; NaN where `x` is. Its derivative is zero almost everywhere.
    Sign = "sign" (x), |_op| |x: f32| {
        if x > 0.0 {
            1.0
        } else if x < 0.0 {
            -1.0
        } else {
            // A zero, or NaN.
            x.abs()
        }
    };
    exact if x == 0.0 { 0.0 } else { x.signum() };
    vjp |_t, _s, _g, _needs| Ok(vec![None])
}

elementwise! {
    /// `y = x` limited to [low, high].
    Clamp {
        /// The least value.
        low,
        /// The greatest value.
        high
    } = "clamp" (x), |op| move |x: f32| if x < op.low { op.low } else if x > op.high { op.high } else { x };
    exact x.clamp(f64::from(op.low), f64::from(op.high));
    vjp |t, s, g, _needs| {
        let (low, high) = (op.low, op.high);
        Ok(vec![Some(t.record(ClampGrad { low, high }, &[s.inputs[0], g])?)])
    }
}

elementwise! {
    /// `gx = 0` where `x` lies outside [low, high], else `g`: the gradient of [`Clamp`].
    ClampGrad {
        /// The least value.
        low,
        /// The greatest value.
        high
    } = "clamp_grad" (x, g),
    |op| move |x: f32, g: f32| if x < op.low || x > op.high { 0.0 } else { g };
    exact if x < f64::from(op.low) || x > f64::from(op.high) { 0.0 } else { g };
    vjp |t, s, h, _needs| {
        let (low, high) = (op.low, op.high);
        Ok(vec![None, Some(t.record(ClampGrad { low, high }, &[s.inputs[0], h])?)])
    }
}

elementwise! {
    /// `y = slope · x` where `x ≤ 0`, else `x`; [`Tape::relu`] has slope 0.
    LeakyRelu {
        /// The slope of the negative half; not negative.
        slope
    } = "leaky_relu" (x), |op| move |x: f32| if x <= 0.0 { op.slope * x } else { x };
    exact if x <= 0.0 { f64::from(op.slope) * x } else { x };
    vjp |t, s, g, _needs| {
        // The output has the input's sign, and is kept anyway, so the input can be freed.
        Ok(vec![Some(t.record(LeakyReluGrad { slope: op.slope }, &[s.output, g])?)])
    }
}

elementwise! {
    /// `gx = slope · g` where `y ≤ 0`, else `g`: the gradient of [`LeakyRelu`] from its output.
    LeakyReluGrad {
        /// The slope of the negative half.
        slope
    } = "leaky_relu_grad" (y, g), |op| move |y: f32, g: f32| if y <= 0.0 { op.slope * g } else { g };
    exact if y <= 0.0 { f64::from(op.slope) * g } else { g };
    vjp |t, s, h, _needs| {
        Ok(vec![None, Some(t.record(LeakyReluGrad { slope: op.slope }, &[s.inputs[0], h])?)])
    }
}

elementwise! {
    /// `y = tanh x`.
    Tanh = "tanh" (x), |_op| math::tanh;
    exact x.tanh();
    vjp |t, s, g, _needs| {
        let square = t.mul(s.output, s.output)?;
        let slope = t.affine(square, -1.0, 1.0)?;
        Ok(vec![Some(t.mul(g, slope)?)])
    }
}

elementwise! {
    /// `y = 1 / (1 + e⁻ˣ)`.
    Sigmoid = "sigmoid" (x), |_op| math::sigmoid;
    exact if x < -700.0 { 0.0 } else { 1.0 / (1.0 + (-x).exp()) };
    vjp |t, s, g, _needs| {
        let rest = t.affine(s.output, -1.0, 1.0)?;
        let slope = t.mul(s.output, rest)?;
        Ok(vec![Some(t.mul(g, slope)?)])
    }
}

elementwise! {
    /// `y = ln(1 + eˣ)`, as `max(x, 0) + ln(1 + e^−|x|)`. With [`Tape::neg`] the two halves of
    /// the binary cross-entropy of a logit.
    Softplus = "softplus" (x), |_op| math::softplus;
    exact if x > 40.0 { x } else { x.exp().ln_1p() };
    vjp |t, s, g, _needs| {
        let slope = t.sigmoid(s.inputs[0])?;
        Ok(vec![Some(t.mul(g, slope)?)])
    }
}

/// `y = x / 127.5 − 1`: bytes as floats in [−1, 1]. Not differentiable: images are data.
#[derive(Clone, Copy, Debug)]
pub struct FromU8;

impl Op for FromU8 {
    fn name(&self) -> &'static str {
        "from_u8"
    }

    fn shape(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        Ok(inputs[0].to_vec())
    }

    fn input_dtype(&self, _i: usize) -> DType {
        DType::U8
    }

    fn class(&self) -> Class<'_> {
        Class::Elementwise(self)
    }

    fn reference(&self, s: &Site, x: &[&[f64]]) -> Vec<f64> {
        reference::elementwise(s, x, |[x]| x / 127.5 - 1.0)
    }
}

impl Elementwise for FromU8 {
    /// Bytes arrive as whole floats.
    fn apply(&self, inputs: &[&[f32]], y: &mut [f32]) {
        wide::map(
            inputs,
            y,
            #[inline(always)]
            |[x]| x * (1.0 / 127.5) - 1.0,
        );
    }
}

/// `y = value` everywhere.
#[derive(Clone, Debug)]
pub struct Fill {
    /// The output's shape.
    pub shape: Vec<usize>,
    /// The value.
    pub value: f32,
}

impl Op for Fill {
    fn name(&self) -> &'static str {
        "fill"
    }

    fn shape(&self, _inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        Ok(self.shape.clone())
    }

    fn class(&self) -> Class<'_> {
        Class::Elementwise(self)
    }

    fn reference(&self, s: &Site, _x: &[&[f64]]) -> Vec<f64> {
        vec![f64::from(self.value); s.len()]
    }
}

impl Elementwise for Fill {
    fn constants(&self) -> Vec<(&'static str, f32)> {
        vec![("value", self.value)]
    }

    fn apply(&self, _inputs: &[&[f32]], y: &mut [f32]) {
        y.fill(self.value);
    }
}
