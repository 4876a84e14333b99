//! The tensors that layers own, and how they start.

use crate::rng::Stream;
use crate::tensor::Tensor;

use super::Layout;

/// How a parameter starts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// Normal numbers.
    Normal {
        /// Their mean.
        mean: f32,
        /// Their standard deviation.
        std: f32,
    },
    /// One number everywhere.
    Constant(f32),
}

/// A tensor that a layer owns.
#[derive(Clone, Debug)]
pub struct Param {
    /// Its name, with the network's prefix.
    pub name: String,
    /// Its shape on the device.
    pub shape: Vec<usize>,
    /// How it starts.
    pub init: Init,
    /// Whether it is learnt (else it is a running statistic).
    pub learnt: bool,
    /// How it is stored in files.
    pub layout: Layout,
}

impl Param {
    /// Its value before training: a function of the seed and its name alone.
    #[must_use]
    pub fn initial(&self, seed: u64) -> Tensor {
        let mut tensor = vec![0.0; self.shape.iter().product()];
        match self.init {
            Init::Constant(value) => tensor.fill(value),
            Init::Normal { mean, std } => {
                Stream::new(seed, &self.name, 0).fill_normal(&mut tensor);
                for x in &mut tensor {
                    *x = mean + std * *x;
                }
            }
        }
        Tensor::new(self.shape.clone(), tensor).expect("the data was made for the shape")
    }
}
