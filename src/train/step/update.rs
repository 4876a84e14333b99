//! Updates of a network's parameters, and what adds up before them.

use crate::error::Result;
use crate::nn::Param;
use crate::objectives;
use crate::optim;
use crate::tape::{Tape, Var};
use crate::tensor::DType;

use super::Step;
use crate::model::names::{past, updates};
use crate::train::method::Method;
use crate::train::scale::LossScale;

impl Step<'_> {
    /// Updates the parameters of `network` by the gradients of their losses at the learning rate `lr`,
    /// and fetches the length of all gradients together, as they are before they are shortened, as
    /// `norm`.
    pub(super) fn update(
        &self,
        t: &mut Tape,
        [network, norm]: [&str; 2],
        params: &[Param],
        grads: Grads,
        lr: Var,
    ) -> Result<()> {
        let method = &self.options.method;
        let optimizer = method.optimizer();
        let scale = grads.scale;
        let (mut grads, mut factor) = grads.mean(t)?;
        if method.has_terms_of_weights() {
            for (param, g) in params.iter().zip(&mut grads) {
                *g = scaled(t, *g, factor)?;
                *g = self.regularised(t, param, *g)?;
            }
            factor = factor.map(|_| t.fill(&[], 1.0)).transpose()?;
        }
        let length = length(t, &grads)?;
        let length = scaled(t, length, factor)?;
        let (told, made) = scale.judge(t, length, factor)?;
        t.fetch(norm, told);
        let so_far = t.read(&updates(network), &[], DType::F32)?;
        let count = t.affine(so_far, 1.0, 1.0)?;
        let numbers = optimizer.corrected(t, lr, count)?;
        optim::assign(t, &updates(network), [so_far, count], made)?;
        for (param, mut g) in params.iter().zip(grads) {
            // Only now, within the kernel that updates: gradients lie in memory as they came.
            g = scaled(t, g, made)?;
            if self.options.fetch_gradients {
                t.fetch(&format!("grad.{}", param.name), g);
            }
            if method.clip_gradients > 0.0 {
                g = shortened(t, g, length, method.clip_gradients)?;
            }
            if method.weight_decay > 0.0 {
                let p = t.read(&param.name, &param.shape, DType::F32)?;
                g = objectives::weight_decay(t, g, p, method.weight_decay)?;
            }
            if method.historical > 0.0 {
                let p = t.read(&param.name, &param.shape, DType::F32)?;
                let name = past(&param.name);
                let old = t.read(&name, &param.shape, DType::F32)?;
                let new = objectives::historical_mean(t, [p, old], count)?;
                optim::assign(t, &name, [old, new], made)?;
            }
            optimizer.update(t, &param.name, g, numbers, made)?;
            let limit = method.clip_weights;
            if limit > 0.0 && param.name.starts_with("discriminator.") {
                let p = t.read(&param.name, &param.shape, DType::F32)?;
                let p = t.clamp(p, -limit, limit)?;
                t.assign(&param.name, p)?;
            }
        }
        Ok(())
    }

    /// The gradient `g` of a parameter with those of the terms of the weights themselves.
    fn regularised(&self, t: &mut Tape, param: &Param, g: Var) -> Result<Var> {
        let Method { historical, orthogonal, .. } = self.options.method;
        let mut g = g;
        let p = t.read(&param.name, &param.shape, DType::F32)?;
        if let Some(&(_, transposed)) = self.orthogonal.iter().find(|(name, _)| *name == param.name)
        {
            let term = objectives::orthogonal(t, p, transposed)?;
            let term = t.affine(term, orthogonal, 0.0)?;
            let pull = t.grad(term, &[p])?[0];
            g = t.add(g, pull)?;
        }
        if historical > 0.0 {
            let mean = t.read(&past(&param.name), &param.shape, DType::F32)?;
            g = objectives::historical_averaging(t, g, [p, mean], historical)?;
        }
        Ok(g)
    }
}

/// Gradients of losses while they add up.
pub(super) struct Grads {
    /// What losses are multiplied by.
    scale: LossScale,
    /// Of how many parts of a batch.
    parts: usize,
    sums: Vec<Var>,
}

impl Grads {
    /// Those of an update on `parts` parts of a batch.
    pub(super) fn new(scale: LossScale, parts: usize) -> Self {
        Self { scale, parts, sums: Vec::new() }
    }

    pub(super) fn add(&mut self, t: &mut Tape, loss: Var, weights: &[Var]) -> Result<()> {
        let loss = self.scale.scaled(t, loss)?;
        let grads = t.grad(loss, weights)?;
        if self.sums.is_empty() {
            self.sums = grads;
            return Ok(());
        }
        for (sum, g) in self.sums.iter_mut().zip(grads) {
            *sum = t.add(*sum, g)?;
        }
        Ok(())
    }

    /// The gradients of the batch's mean, but for the factor that they still are to be multiplied by.
    fn mean(self, t: &mut Tape) -> Result<(Vec<Var>, Option<Var>)> {
        let factor = self.scale.factor(t, self.parts)?;
        let share = 1.0 / self.parts as f32;
        let grads = match (factor, self.parts) {
            (Some(_), _) | (_, 1) => self.sums,
            _ => self.sums.into_iter().map(|g| t.affine(g, share, 0.0)).collect::<Result<_>>()?,
        };
        Ok((grads, factor))
    }
}

/// `x` times `factor`, where there is one.
fn scaled(t: &mut Tape, x: Var, factor: Option<Var>) -> Result<Var> {
    factor.map_or(Ok(x), |factor| t.mul(x, factor))
}

/// Numbers to be fetched while the parts of a batch are recorded: means over the parts.
#[derive(Default)]
pub(super) struct Told {
    numbers: Vec<(&'static str, Vec<Var>)>,
}

impl Told {
    pub(super) fn add(&mut self, name: &'static str, number: Var) {
        match self.numbers.iter_mut().find(|(known, _)| *known == name) {
            Some((_, parts)) => parts.push(number),
            None => self.numbers.push((name, vec![number])),
        }
    }

    pub(super) fn fetch(self, t: &mut Tape) -> Result<()> {
        for (name, parts) in self.numbers {
            let mut sum = parts[0];
            for &part in &parts[1..] {
                sum = t.add(sum, part)?;
            }
            if parts.len() > 1 {
                sum = t.affine(sum, 1.0 / parts.len() as f32, 0.0)?;
            }
            t.fetch(name, sum);
        }
        Ok(())
    }
}

/// The Euclidean length of all `grads` together.
fn length(t: &mut Tape, grads: &[Var]) -> Result<Var> {
    let mut total = t.fill(&[], 0.0)?;
    for (i, &g) in grads.iter().enumerate() {
        let square = t.mul(g, g)?;
        let square = t.sum_all(square)?;
        total = if i == 0 { square } else { t.add(total, square)? };
    }
    t.sqrt(total)
}

/// `g` times `limit / length` where `length` is above `limit` (as `torch.nn.utils.clip_grad_norm_`).
fn shortened(t: &mut Tape, g: Var, length: Var, limit: f32) -> Result<Var> {
    let safe = t.affine(length, 1.0 / limit, 1e-6 / limit)?;
    let share = t.recip(safe)?;
    let share = t.clamp(share, 0.0, 1.0)?;
    t.mul(g, share)
}
