//! The tensors that layers own, and how they start.

use crate::rng::Stream;
use crate::tensor::Tensor;

use super::{Layout, start};

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
    /// Uniform numbers between the two.
    Uniform {
        /// The least.
        low: f32,
        /// What none reaches.
        high: f32,
    },
    /// One number everywhere.
    Constant(f32),
    /// A vector of length 1 of random direction.
    Unit,
    /// Orthogonal vectors of length `gain`: the columns of the matrix `[…, last axis]`, or its rows
    /// where these are fewer.
    Orthogonal {
        /// The length of each.
        gain: f32,
    },
}

/// Where norms' scales start, as DCGAN's authors have it.
pub(super) const DCGAN_SCALE: Init = Init::Normal { mean: 1.0, std: 0.02 };
pub(super) const ZERO: Init = Init::Constant(0.0);
pub(super) const ONE: Init = Init::Constant(1.0);

/// A shape that is the same on the device and in files.
pub(super) fn plain(shape: &[usize]) -> (Vec<usize>, Layout) {
    (shape.to_vec(), Layout::Plain)
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
    /// Whether it is learned (else it is a running statistic, or kept by the layer otherwise).
    pub learned: bool,
    /// Whether a moving average of the network is to average it. What is not (the vectors of spectral
    /// norm, a reference batch) is copied: averaged unit vectors have another length.
    pub averaged: bool,
    /// How it is stored in files.
    pub layout: Layout,
}

impl Param {
    /// Its value before training: a function of the seed and its name alone.
    #[must_use]
    pub fn initial(&self, seed: u64) -> Tensor {
        let mut tensor = vec![0.0; self.shape.iter().product()];
        let stream = Stream::new(seed, &self.name, 0);
        match self.init {
            Init::Constant(value) => tensor.fill(value),
            Init::Normal { mean, std } => {
                stream.fill_normal(&mut tensor);
                for x in &mut tensor {
                    *x = mean + std * *x;
                }
            }
            Init::Uniform { low, high } => {
                stream.fill_uniform(&mut tensor);
                for x in &mut tensor {
                    *x = low + (high - low) * *x;
                }
            }
            Init::Unit => {
                stream.fill_normal(&mut tensor);
                let square: f64 = tensor.iter().map(|&x| f64::from(x).powi(2)).sum();
                tensor.iter_mut().for_each(|x| *x = (f64::from(*x) / square.sqrt()) as f32);
            }
            Init::Orthogonal { gain } => {
                stream.fill_normal(&mut tensor);
                start::orthogonalise(&mut tensor, *self.shape.last().unwrap_or(&1), gain);
            }
        }
        Tensor::new(self.shape.clone(), tensor).expect("the data was made for the shape")
    }
}

/// The tensors of one layer, on their way into a list.
#[derive(Debug)]
pub(crate) struct Owned<'a> {
    /// The layer's name.
    pub(super) scope: &'a str,
    /// All tensors so far.
    pub(super) list: &'a mut Vec<Param>,
}

impl Owned<'_> {
    fn add(&mut self, own: &str, (shape, layout): (Vec<usize>, Layout), init: Init) -> &mut Param {
        let name = format!("{}.{own}", self.scope);
        self.list.push(Param { name, shape, init, learned: true, averaged: true, layout });
        self.list.last_mut().expect("it was just added")
    }

    /// A parameter.
    pub(super) fn learned(&mut self, own: &str, shape: (Vec<usize>, Layout), init: Init) {
        self.add(own, shape, init);
    }

    /// A running statistic.
    pub(super) fn statistic(&mut self, own: &str, shape: (Vec<usize>, Layout), init: Init) {
        self.add(own, shape, init).learned = false;
    }

    /// A tensor that is neither learned nor averaged.
    pub(super) fn kept(&mut self, own: &str, shape: (Vec<usize>, Layout), init: Init) {
        let param = self.add(own, shape, init);
        (param.learned, param.averaged) = (false, false);
    }

    /// The tensors of a part of the layer, called `own`.
    pub(super) fn part(&mut self, own: &str, add: impl FnOnce(&mut Owned<'_>)) {
        let scope = format!("{}.{own}", self.scope);
        add(&mut Owned { scope: &scope, list: self.list });
    }
}
