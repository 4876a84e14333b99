//! Optimizers: elementwise nodes that assign states, fused into one kernel for each parameter, or
//! on a GPU one for all parameters with the same update.

use crate::error::Result;
use crate::tape::{Tape, Var};
use crate::tensor::DType;

/// Adam (Kingma and Ba, arXiv 1412.6980), as `torch.optim.Adam`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    /// Decay of the mean of gradients.
    pub beta1: f64,
    /// Decay of the mean of squared gradients.
    pub beta2: f64,
    /// Added outside of the root.
    pub eps: f32,
}

impl Adam {
    /// The two step-dependent values of update `step` (from 1), given `lr`: the step size `lr / (1
    /// − β₁ᵗ)` and the factor `1 / √(1 − β₂ᵗ)` of the root, for a host that counts the updates.
    #[must_use]
    pub fn schedule(&self, lr: f64, step: u64) -> [f32; 2] {
        let t = step as f64;
        let correction = |beta: f64| 1.0 - beta.powf(t);
        [(lr / correction(self.beta1)) as f32, (1.0 / correction(self.beta2).sqrt()) as f32]
    }

    /// The same as nodes, from the scalars `lr` and `count`: the number of updates made, including
    /// this one.
    fn corrected(&self, t: &mut Tape, lr: Var, count: Var) -> Result<[Var; 2]> {
        let correction = |t: &mut Tape, beta: f64| match beta {
            0.0 => t.fill(&[], 1.0),
            _ => t.one_minus_exp(count, -beta.ln() as f32),
        };
        let first = correction(t, self.beta1)?;
        let rate = t.div(lr, first)?;
        let second = correction(t, self.beta2)?;
        let second = t.sqrt(second)?;
        Ok([rate, t.recip(second)?])
    }

    /// Updates the state called `name` by its gradient `g`; `rate` and `root` are the two values of
    /// [`Adam::schedule`]. Its moments are the states `adam.m.<name>` and `adam.v.<name>`.
    ///
    /// ```text
    /// m ← m + (1 − β₁)(g − m)      v ← β₂ v + (1 − β₂) g²      p ← p − rate · m / (√v · root + ε)
    /// ```
    ///
    /// # Errors
    /// [`crate::error::Error::Tensor`] if the state has another shape than `g`.
    pub fn update(&self, t: &mut Tape, name: &str, g: Var, rate: Var, root: Var) -> Result<()> {
        self.update_where(t, name, g, [rate, root], None)
    }

    /// [`Adam::update`] if `made` is above 0.
    fn update_where(
        &self,
        t: &mut Tape,
        name: &str,
        g: Var,
        [rate, root]: [Var; 2],
        made: Option<Var>,
    ) -> Result<()> {
        let shape = t.shape(g).to_vec();
        let [m_name, v_name] = Self::moments(name);
        let p = t.read(name, &shape, DType::F32)?;
        let old = t.read(&m_name, &shape, DType::F32)?;
        let ahead = t.sub(g, old)?;
        // Rounded after the subtraction: in f32, 1 − 0.999 has a relative error of 1e-5.
        let ahead = t.affine(ahead, (1.0 - self.beta1) as f32, 0.0)?;
        let m = t.add(old, ahead)?;
        assign(t, &m_name, [old, m], made)?;

        let square = t.mul(g, g)?;
        let square = t.affine(square, (1.0 - self.beta2) as f32, 0.0)?;
        let old = t.read(&v_name, &shape, DType::F32)?;
        let v = t.affine(old, self.beta2 as f32, 0.0)?;
        let v = t.add(v, square)?;
        assign(t, &v_name, [old, v], made)?;

        let deviation = t.sqrt(v)?;
        let deviation = t.mul(deviation, root)?;
        let deviation = t.affine(deviation, 1.0, self.eps)?;
        let step = t.div(m, deviation)?;
        let step = t.mul(step, rate)?;
        let next = t.sub(p, step)?;
        assign(t, name, [p, next], made)
    }

    /// The states that hold the moments of the state called `name`.
    #[must_use]
    pub fn moments(name: &str) -> [String; 2] {
        [format!("adam.m.{name}"), format!("adam.v.{name}")]
    }
}

/// RMSprop (Tieleman and Hinton, 2012), as `torch.optim.RMSprop`: used to train WGAN.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RmsProp {
    /// Decay of the mean of squared gradients.
    pub decay: f64,
    /// Added outside of the root.
    pub eps: f32,
}

impl RmsProp {
    /// Updates the state called `name` by its gradient `g` and the scalar `rate`. The mean of squared
    /// gradients is the state `rmsprop.v.<name>`.
    ///
    /// ```text
    /// v ← decay · v + (1 − decay) g²      p ← p − rate · g / (√v + ε)
    /// ```
    ///
    /// # Errors
    /// [`crate::error::Error::Tensor`] if the state has another shape than `g`.
    pub fn update(&self, t: &mut Tape, name: &str, g: Var, rate: Var) -> Result<()> {
        self.update_where(t, name, g, rate, None)
    }

    /// [`RmsProp::update`] if `made` is above 0.
    fn update_where(
        &self,
        t: &mut Tape,
        name: &str,
        g: Var,
        rate: Var,
        made: Option<Var>,
    ) -> Result<()> {
        let shape = t.shape(g).to_vec();
        let v_name = format!("rmsprop.v.{name}");
        let p = t.read(name, &shape, DType::F32)?;
        let old = t.read(&v_name, &shape, DType::F32)?;

        let square = t.mul(g, g)?;
        let square = t.affine(square, (1.0 - self.decay) as f32, 0.0)?;
        let v = t.affine(old, self.decay as f32, 0.0)?;
        let v = t.add(v, square)?;
        assign(t, &v_name, [old, v], made)?;

        let deviation = t.sqrt(v)?;
        let deviation = t.affine(deviation, 1.0, self.eps)?;
        let step = t.div(g, deviation)?;
        let step = t.mul(step, rate)?;
        let next = t.sub(p, step)?;
        assign(t, name, [p, next], made)
    }
}

/// The optimizer of a GAN's two networks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Optimizer {
    /// See [`Adam`].
    Adam(Adam),
    /// See [`RmsProp`].
    RmsProp(RmsProp),
    /// See [`Sgd`].
    Sgd(Sgd),
}

impl Optimizer {
    /// The two values of step `step` (from 1) that [`Optimizer::update`] needs, at the learning
    /// rate `lr`: see [`Adam::schedule`].
    #[must_use]
    pub fn schedule(&self, lr: f64, step: u64) -> [f32; 2] {
        match self {
            Self::Adam(adam) => adam.schedule(lr, step),
            Self::RmsProp(_) => [lr as f32, 1.0],
            Self::Sgd(sgd) => [lr as f32, sgd.momentum],
        }
    }

    /// The same as nodes, from the scalars `lr` and `count`: the number of updates made, including
    /// this one. Skipped updates do not count; only the device knows about them.
    ///
    /// # Errors
    /// [`crate::error::Error::Shape`] if they are not scalars.
    pub fn corrected(&self, t: &mut Tape, lr: Var, count: Var) -> Result<[Var; 2]> {
        match self {
            Self::Adam(adam) => adam.corrected(t, lr, count),
            Self::RmsProp(_) => Ok([lr, t.fill(&[], 1.0)?]),
            Self::Sgd(sgd) => Ok([lr, t.fill(&[], sgd.momentum)?]),
        }
    }

    /// Updates the state called `name` by its gradient `g`, with the scalars of
    /// [`Optimizer::schedule`] or [`Optimizer::corrected`]. With a scalar `made`, only if it is
    /// above 0: else the state and its optimizer states are unchanged, whatever `g` contains.
    ///
    /// # Errors
    /// [`crate::error::Error::Tensor`] if the state has another shape than `g`.
    pub fn update(
        &self,
        t: &mut Tape,
        name: &str,
        g: Var,
        [rate, root]: [Var; 2],
        made: Option<Var>,
    ) -> Result<()> {
        match self {
            Self::Adam(adam) => adam.update_where(t, name, g, [rate, root], made),
            Self::RmsProp(rule) => rule.update_where(t, name, g, rate, made),
            Self::Sgd(_) => Sgd::update_where(t, name, g, [rate, root], made),
        }
    }

    /// The optimizer states of the state called `name`.
    #[must_use]
    pub fn moments(&self, name: &str) -> Vec<String> {
        match self {
            Self::Adam(_) => Adam::moments(name).to_vec(),
            Self::RmsProp(_) => vec![format!("rmsprop.v.{name}")],
            Self::Sgd(_) => vec![format!("sgd.{name}")],
        }
    }
}

/// Assigns the state called `name` its new value if `made` is above 0, else its old one. Right
/// after the new value is computed: a kernel that updates it then need not bind both.
pub(crate) fn assign(
    t: &mut Tape,
    name: &str,
    [old, new]: [Var; 2],
    made: Option<Var>,
) -> Result<()> {
    let next = match made {
        Some(made) => t.choose(made, new, old)?,
        None => new,
    };
    t.assign(name, next)
}

/// Stochastic gradient descent with momentum, as `torch.optim.SGD`.
///
/// ```text
/// b ← momentum · b + g      p ← p − rate · b
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sgd {
    /// Decay of the running gradient; 0 for none.
    pub momentum: f32,
}

impl Sgd {
    /// Updates the state called `name` by its gradient `g` and the scalar `rate`. The running
    /// gradient is the state `sgd.<name>`.
    ///
    /// # Errors
    /// [`crate::error::Error::Tensor`] if the state has another shape than `g`.
    pub fn update(&self, t: &mut Tape, name: &str, g: Var, rate: Var) -> Result<()> {
        let shape = t.shape(g).to_vec();
        let p = t.read(name, &shape, DType::F32)?;
        let mut direction = g;
        if self.momentum != 0.0 {
            let running = format!("sgd.{name}");
            let old = t.read(&running, &shape, DType::F32)?;
            let old = t.affine(old, self.momentum, 0.0)?;
            direction = t.add(old, g)?;
            t.assign(&running, direction)?;
        }
        let step = t.mul(direction, rate)?;
        let p = t.sub(p, step)?;
        t.assign(name, p)
    }

    /// The same with the momentum as a scalar, if `made` is above 0.
    fn update_where(
        t: &mut Tape,
        name: &str,
        g: Var,
        [rate, momentum]: [Var; 2],
        made: Option<Var>,
    ) -> Result<()> {
        let shape = t.shape(g).to_vec();
        let running = format!("sgd.{name}");
        let old = t.read(&running, &shape, DType::F32)?;
        let kept = t.mul(old, momentum)?;
        let direction = t.add(kept, g)?;
        assign(t, &running, [old, direction], made)?;
        let p = t.read(name, &shape, DType::F32)?;
        let step = t.mul(direction, rate)?;
        let next = t.sub(p, step)?;
        assign(t, name, [p, next], made)
    }
}

/// Moves the state `average` towards the value of the state `name`: `a ← a + weight (p − a)`.
///
/// # Errors
/// [`crate::error::Error::Tensor`] if the two have different shapes.
pub fn moving_average(
    t: &mut Tape,
    average: &str,
    name: &str,
    shape: &[usize],
    weight: Var,
) -> Result<()> {
    let a = t.read(average, shape, DType::F32)?;
    let p = t.read(name, shape, DType::F32)?;
    let ahead = t.sub(p, a)?;
    let ahead = t.mul(ahead, weight)?;
    let a = t.add(a, ahead)?;
    t.assign(average, a)
}
