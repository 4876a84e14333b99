//! The numbers of a step that change from step to step: a feed.

use crate::error::Result;
use crate::tape::{Tape, Var};
use crate::tensor::{DType, Tensor};

/// The numbers that the feed `schedule` holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// The learning rate of each of the discriminator's updates in this step.
    pub discriminator: Vec<f32>,
    /// That of the generator's update.
    pub generator: f32,
    /// Weight of the new generator in its moving average.
    pub average: f32,
}

impl Schedule {
    /// The feed.
    #[must_use]
    pub fn tensor(&self) -> Tensor {
        let mut numbers = self.discriminator.clone();
        numbers.extend([self.generator, self.average]);
        Tensor::new([numbers.len()], numbers).expect("one number for each place")
    }
}

/// The feed on a tape, number by number.
#[derive(Clone, Debug)]
pub(super) struct Scheduled {
    pub(super) discriminator: Vec<Var>,
    pub(super) generator: Var,
    pub(super) average: Var,
}

impl Scheduled {
    /// The feed of a step with `n_critic` updates of the discriminator.
    pub(super) fn feed(t: &mut Tape, n_critic: usize) -> Result<Self> {
        let all = t.feed("schedule", &[n_critic + 2], DType::F32)?;
        let mut next = 0;
        let mut number = |t: &mut Tape| {
            next += 1;
            let one = t.range(all, next - 1, 1)?;
            // A scalar, as a parameter may be one.
            t.reshape(one, &[])
        };
        Ok(Self {
            discriminator: (0..n_critic).map(|_| number(t)).collect::<Result<_>>()?,
            generator: number(t)?,
            average: number(t)?,
        })
    }
}
