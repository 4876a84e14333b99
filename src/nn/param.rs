//! The tensors that layers own, and their initialization.

use crate::rng::Stream;
use crate::tensor::Tensor;

use super::{Layout, normals, weight_init};

/// How a parameter is initialized.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// Normal.
    Normal {
        /// Mean.
        mean: f32,
        /// Standard deviation.
        std: f32,
    },
    /// Uniform.
    Uniform {
        /// Lower bound, inclusive.
        low: f32,
        /// Upper bound, exclusive.
        high: f32,
    },
    /// One value everywhere.
    Constant(f32),
    /// A random unit vector.
    Unit,
    /// Orthogonal vectors of length `gain`: the columns of the matrix `[…, last axis]`, or its rows
    /// if there are fewer.
    Orthogonal {
        /// The length of each.
        gain: f32,
    },
    /// Unit vectors `[3, n]` spread evenly over the hemisphere z > 0: see [`super::Codebook`].
    Hemisphere,
}

/// The initialization of norms' scales, as by DCGAN's authors.
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
    /// How it is initialized.
    pub init: Init,
    /// Whether it is learned (else it is a running statistic or otherwise maintained by the layer).
    pub learned: bool,
    /// Whether a moving average of the network averages it. Others (the vectors of spectral norm, a
    /// reference batch) are copied: averaged unit vectors have another length.
    pub averaged: bool,
    /// How it is stored in files.
    pub layout: Layout,
}

impl Param {
    /// Its initial value, determined by the seed and its name.
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
            Init::Hemisphere => {
                tensor = normals::lattice(self.shape.last().copied().unwrap_or_default());
            }
            Init::Orthogonal { gain } => {
                stream.fill_normal(&mut tensor);
                weight_init::orthogonalise(&mut tensor, *self.shape.last().unwrap_or(&1), gain);
            }
        }
        Tensor::new(self.shape.clone(), tensor).expect("the data was made for the shape")
    }
}

/// Collects the tensors of one layer.
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

    /// Adds a parameter.
    pub(super) fn learned(&mut self, own: &str, shape: (Vec<usize>, Layout), init: Init) {
        self.add(own, shape, init);
    }

    /// Adds a running statistic.
    pub(super) fn statistic(&mut self, own: &str, shape: (Vec<usize>, Layout), init: Init) {
        self.add(own, shape, init).learned = false;
    }

    /// Adds a tensor that is neither learned nor averaged.
    pub(super) fn kept(&mut self, own: &str, shape: (Vec<usize>, Layout), init: Init) {
        let param = self.add(own, shape, init);
        (param.learned, param.averaged) = (false, false);
    }

    /// Adds the tensors of a part of the layer, called `own`.
    pub(super) fn part(&mut self, own: &str, add: impl FnOnce(&mut Owned<'_>)) {
        let scope = format!("{}.{own}", self.scope);
        add(&mut Owned { scope: &scope, list: self.list });
    }
}
