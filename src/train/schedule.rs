//! The numbers of a step that change from step to step: a feed.

use crate::error::Result;
use crate::tape::{Tape, Var};
use crate::tensor::{DType, Tensor};

/// The numbers that the feed `schedule` holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// For each of the discriminator's updates in this step: the optimiser's two numbers (see
    /// [`crate::optim::Optimizer::schedule`]).
    pub discriminator: Vec<[f32; 2]>,
    /// The same for the generator's update.
    pub generator: [f32; 2],
    /// Weight of the new generator in its moving average.
    pub average: f32,
    /// Weight of the new parameters in their historical mean.
    pub history: f32,
}

impl Schedule {
    /// The feed.
    #[must_use]
    pub fn tensor(&self) -> Tensor {
        let mut numbers: Vec<f32> = self.discriminator.iter().flatten().copied().collect();
        numbers.extend(self.generator);
        numbers.extend([self.average, self.history]);
        Tensor::new([numbers.len()], numbers).expect("one number for each place")
    }
}

/// The feed on a tape, number by number.
#[derive(Clone, Debug)]
pub(super) struct Scheduled {
    pub(super) discriminator: Vec<[Var; 2]>,
    pub(super) generator: [Var; 2],
    pub(super) average: Var,
    pub(super) history: Var,
}

impl Scheduled {
    /// The feed of a step with `n_critic` updates of the discriminator.
    pub(super) fn feed(t: &mut Tape, n_critic: usize) -> Result<Self> {
        let all = t.feed("schedule", &[2 * n_critic + 4], DType::F32)?;
        let mut next = 0;
        let mut number = |t: &mut Tape| {
            next += 1;
            let one = t.range(all, next - 1, 1)?;
            // A scalar, as a parameter may be one.
            t.reshape(one, &[])
        };
        let mut pair = |t: &mut Tape| Ok([number(t)?, number(t)?]);
        Ok(Self {
            discriminator: (0..n_critic).map(|_| pair(t)).collect::<Result<_>>()?,
            generator: pair(t)?,
            average: number(t)?,
            history: number(t)?,
        })
    }
}
