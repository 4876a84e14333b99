//! Scalars that change from step to step, such as learning rates: one feed.

use serde::Serialize;

use crate::error::{Error, Result};
use crate::tape::{Tape, Var};
use crate::tensor::{DType, Tensor};

/// The feed that holds them.
pub const SCHEDULE: &str = "schedule";

/// The scalar of SGD's momentum.
pub const MOMENTUM: &str = "momentum";

/// Maximum half-life of a moving average as a share of the images seen: early on the generator
/// changes fast, and an average over its first noise would persist (Karras et al., arXiv
/// 2006.06676, appendix).
const EMA_RAMP: f64 = 0.05;

/// How a scalar depends on the real images seen in its phase.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub enum Curve {
    /// A learning rate: rises from 0 over `warm_up` images, and falls linearly to 0 over `decay`
    /// from the start; 0 disables either.
    Rate {
        /// Between the two.
        base: f64,
        /// Images over which it rises.
        warm_up: u64,
        /// Images over which it falls.
        decay: u64,
    },
    /// A learning rate that falls along a curve, `to + (base − to)(1 − pᵉ)` after a share `p` of
    /// `decay` images.
    Fall {
        /// At the start.
        base: f64,
        /// Images over which it rises.
        warm_up: u64,
        /// Images over which it falls; 0 if constant.
        decay: u64,
        /// At the end and afterwards.
        to: f64,
        /// The exponent `e`: below 1 it falls most at the start.
        power: f64,
    },
    /// The weight of the new value in a moving average of this half-life in images.
    Ema {
        /// Images after which an old value's weight is halved.
        half_life: u64,
    },
    /// Linear interpolation over `images` images, then constant.
    Line {
        /// At the start.
        from: f64,
        /// At the end.
        to: f64,
        /// Images in between.
        images: u64,
    },
}

impl Curve {
    /// Its value in a step of `step` images, after `before` images.
    #[must_use]
    pub fn value(self, before: u64, step: u64) -> f32 {
        let (before, step) = (before as f64, step as f64);
        let after = before + step;
        let value = match self {
            Self::Rate { base, warm_up, decay } => {
                let rise = rise(after, warm_up);
                let fall = if decay == 0 { 1.0 } else { (1.0 - before / decay as f64).max(0.0) };
                base * (rise * fall)
            }
            Self::Fall { base, warm_up, decay, to, power } => {
                let part = if decay == 0 { 0.0 } else { (before / decay as f64).min(1.0) };
                rise(after, warm_up) * (to + (base - to) * (1.0 - part.powf(power)))
            }
            Self::Ema { half_life } => {
                let half_life = (half_life as f64).min(EMA_RAMP * after).max(1e-8);
                1.0 - 0.5_f64.powf(step / half_life)
            }
            Self::Line { from, to, images } => {
                let part = if images == 0 { 1.0 } else { (before / images as f64).min(1.0) };
                from + (to - from) * part
            }
        };
        value as f32
    }
}

/// The warm-up factor of a rate, at the end of a step.
fn rise(after: f64, warm_up: u64) -> f64 {
    if warm_up == 0 { 1.0 } else { (after / warm_up as f64).min(1.0) }
}

/// A scalar of a phase's steps.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Scalar {
    /// The name used by a step, such as `lr_d`.
    pub name: String,
    /// Its values.
    pub curve: Curve,
}

impl Scalar {
    /// A scalar called `name`.
    #[must_use]
    pub fn new(name: &str, curve: Curve) -> Self {
        Self { name: name.into(), curve }
    }
}

/// The feed's values in a step of `step` images, after `before` images of the phase.
pub(super) fn schedule(scalars: &[Scalar], before: u64, step: u64) -> Tensor {
    let values: Vec<f32> = scalars.iter().map(|s| s.curve.value(before, step)).collect();
    Tensor::new([values.len()], values).expect("one number for each place")
}

/// The feed on a tape, scalar by scalar.
#[derive(Clone, Debug)]
pub(super) struct Scalars(Vec<(String, Var)>);

impl Scalars {
    pub(super) fn feed(t: &mut Tape, scalars: &[Scalar]) -> Result<Self> {
        let all = t.feed(SCHEDULE, &[scalars.len()], DType::F32)?;
        let scalar = |(i, scalar): (usize, &Scalar)| {
            let one = t.range(all, i, 1)?;
            // A rank-0 scalar, as a parameter may be one.
            Ok((scalar.name.clone(), t.reshape(one, &[])?))
        };
        Ok(Self(scalars.iter().enumerate().map(scalar).collect::<Result<_>>()?))
    }

    pub(super) fn get(&self, name: &str) -> Result<Var> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map(|&(_, scalar)| scalar).ok_or_else(|| Error::Tensor {
            name: name.into(),
            what: "is no scalar of this phase".into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_rise_and_fall_and_averages_start_short() {
        let rate = |warm_up, decay| Curve::Rate { base: 2.0, warm_up, decay };
        assert_eq!([0, 100].map(|n| rate(0, 0).value(n, 10)), [2.0, 2.0]);
        assert_eq!([0, 10, 90, 500].map(|n| rate(100, 0).value(n, 10)), [0.2, 0.4, 2.0, 2.0]);
        assert_eq!([0, 50, 100, 500].map(|n| rate(0, 100).value(n, 10)), [2.0, 1.0, 0.0, 0.0]);
        let fall = |warm_up| Curve::Fall { base: 2.0, warm_up, decay: 100, to: 1.0, power: 0.5 };
        assert_eq!([0, 25, 100, 500].map(|n| fall(0).value(n, 10)), [2.0, 1.5, 1.0, 1.0]);
        assert_eq!(fall(70).value(25, 10), 0.75);
        // Half of it is new after a half-life, which is at most a twentieth of the images seen.
        let ema = Curve::Ema { half_life: 10 };
        assert!((ema.value(990, 10) - 0.5).abs() < 1e-6);
        assert!((ema.value(90, 10) - 0.75).abs() < 1e-6);
        let line = Curve::Line { from: 0.0, to: 1.0, images: 100 };
        assert_eq!([0, 25, 100, 900].map(|n| line.value(n, 10)), [0.0, 0.25, 1.0, 1.0]);
    }
}
