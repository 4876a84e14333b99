//! Updates of networks' parameters: losses are accumulated, then an optimizer takes a step.

use crate::error::{Error, Result};
use crate::gan::ObjectiveConfig;
use crate::model::Role;
use crate::model::names::{past, updates};
use crate::nn::Param;
use crate::objectives;
use crate::optim::{self, Optimizer};
use crate::tape::{Tape, Var};
use crate::tensor::DType;

use super::scalar::MOMENTUM;
use super::scale::LossScale;
use super::step::Step;

/// Losses minimized over the parameters of one network, while being recorded.
#[derive(Debug)]
pub struct Update {
    network: String,
    params: Vec<Param>,
    /// The parameters before the update.
    weights: Vec<Var>,
    rate: Var,
    /// A scalar; the update is skipped unless it is above 0.
    mask: Option<Var>,
    /// The loss scale.
    scale: LossScale,
    /// Micro-batches per batch.
    parts: usize,
    /// Accumulated gradients, of the present micro-batch if there are several.
    sums: Vec<Var>,
    /// Those of earlier micro-batches, added up.
    total: Vec<Var>,
    /// In a step of several ranks, those of each of this rank's micro-batches.
    leaves: Vec<Vec<Var>>,
    /// Metrics, with their values for each micro-batch, and whether they are logged.
    metrics: Vec<(&'static str, Vec<Var>, bool)>,
}

impl Update {
    /// Accumulates the gradients of `loss`, the mean over a micro-batch. Nothing is assigned before
    /// [`Step::apply`].
    ///
    /// # Errors
    /// [`Error::NotDifferentiable`] if an op on the way has no derivative.
    pub fn minimize(&mut self, t: &mut Tape, loss: Var) -> Result<()> {
        let loss = self.scale.scaled(t, loss)?;
        let grads = t.grad(loss, &self.weights)?;
        if self.sums.is_empty() {
            self.sums = grads;
            return Ok(());
        }
        for (sum, g) in self.sums.iter_mut().zip(grads) {
            *sum = t.add(*sum, g)?;
        }
        Ok(())
    }

    /// The end of a micro-batch, whose gradients are complete: batches are added up by micro-batches, so
    /// that it does not matter which rank has them.
    ///
    /// # Errors
    /// Errors of recording the ops.
    pub fn end_part(&mut self, t: &mut Tape) -> Result<()> {
        if self.parts == 1 {
            return Ok(());
        }
        let leaf = std::mem::take(&mut self.sums);
        if !t.world().is_solo() {
            self.leaves.push(leaf);
            return Ok(());
        }
        // As an exchange between ranks would have it.
        let leaf: Vec<Var> = leaf.into_iter().map(|g| t.settled(g)).collect::<Result<_>>()?;
        self.total = match self.total.is_empty() {
            true => leaf,
            false => {
                self.total.iter().zip(leaf).map(|(&a, b)| t.add(a, b)).collect::<Result<_>>()?
            }
        };
        Ok(())
    }

    /// Computes the metrics of several micro-batches to the end, as an exchange between ranks would have it.
    fn settle(&mut self, t: &mut Tape) -> Result<()> {
        if self.parts > 1 {
            for value in self.metrics.iter_mut().flat_map(|(_, values, _)| values) {
                *value = t.settled(*value)?;
            }
        }
        Ok(())
    }

    /// Adds up the gradients of all ranks.
    fn exchange(&mut self, t: &mut Tape) -> Result<()> {
        let leaves = std::mem::take(&mut self.leaves);
        let shapes: Vec<Vec<usize>> = self.params.iter().map(|p| p.shape.clone()).collect();
        let sum = t.all_reduce(&leaves)?;
        self.sums = t.unpacked(sum, 0, &shapes)?;
        Ok(())
    }

    /// Skips the update in steps where the scalar `mask` is not above 0: parameters, the
    /// optimizer's state and the update count are then unchanged.
    #[must_use]
    pub fn masked(self, mask: Var) -> Self {
        Self { mask: Some(mask), ..self }
    }

    /// Reports a metric of the update: the mean over its micro-batches, each of which reports it
    /// once.
    pub fn report(&mut self, name: &'static str, value: Var) {
        self.collect(name, value, true);
    }

    /// The same for a value that is fetched but not logged.
    pub fn detail(&mut self, name: &'static str, value: Var) {
        self.collect(name, value, false);
    }

    fn collect(&mut self, name: &'static str, value: Var, is_logged: bool) {
        match self.metrics.iter_mut().find(|(known, ..)| *known == name) {
            Some((_, values, _)) => values.push(value),
            None => self.metrics.push((name, vec![value], is_logged)),
        }
    }

    /// The gradients of the batch's mean, up to a factor still to be applied.
    fn mean(&self, t: &mut Tape) -> Result<(Vec<Var>, Option<Var>)> {
        let factor = self.scale.factor(t, self.parts)?;
        let share = 1.0 / self.parts as f32;
        let sums = if self.total.is_empty() { &self.sums } else { &self.total };
        let grads = match (factor, self.parts) {
            (Some(_), _) | (_, 1) => sums.clone(),
            _ => sums.iter().map(|&g| t.affine(g, share, 0.0)).collect::<Result<_>>()?,
        };
        Ok((grads, factor))
    }
}

/// The last letter of the metrics of a network's updates: `d` in `grad_norm_d`.
fn suffix(network: &str) -> &str {
    // Of a level's networks: one level is trained at a time.
    let of_level =
        |role: &str| network.strip_prefix(role).is_some_and(|rest| rest.starts_with('_'));
    match network {
        _ if of_level("discriminator") => "d",
        _ if of_level("generator") => "g",
        "discriminator" => "d",
        "generator" => "g",
        "encoder" => "e",
        "feature_discriminator" => "d1",
        "feature_generator" => "g1",
        "structure_discriminator" => "dn",
        "structure_generator" => "gn",
        "classifier" => "class",
        other => other,
    }
}

impl Step<'_> {
    /// Begins an update of the network called `network` at the learning rate of the scalar `rate`:
    /// its losses use the parameters' current values.
    ///
    /// # Errors
    /// [`Error::Tensor`] if there is no such network or scalar, or the network is frozen.
    pub fn update(&self, t: &mut Tape, network: &str, rate: &str) -> Result<Update> {
        if self.is_frozen(network) {
            let what = format!("is frozen in phase {}: it cannot be updated", self.phase.name);
            return Err(Error::Tensor { name: network.into(), what });
        }
        let params = self.system.network(network)?.network.params(network);
        let params: Vec<Param> = params.into_iter().filter(|p| p.learned).collect();
        let read = |p: &Param| t.read(&p.name, &p.shape, DType::F32);
        let weights = params.iter().map(read).collect::<Result<_>>()?;
        Ok(Update {
            network: network.into(),
            params,
            weights,
            rate: self.scalar(rate)?,
            mask: None,
            scale: LossScale::read(t, self.system.scaled)?,
            parts: self.parts().1,
            sums: Vec::new(),
            total: Vec::new(),
            leaves: Vec::new(),
            metrics: Vec::new(),
        })
    }

    /// Assigns the updates of a group, after all of its gradients were taken.
    ///
    /// # Errors
    /// Errors of recording the ops.
    pub fn apply(&mut self, t: &mut Tape, group: impl IntoIterator<Item = Update>) -> Result<()> {
        let mut group: Vec<Update> = group.into_iter().collect();
        match t.world().is_solo() {
            true => group.iter_mut().try_for_each(|update| update.settle(t))?,
            false => self.exchange(t, &mut group)?,
        }
        group.into_iter().try_for_each(|update| self.apply_one(t, update))
    }

    /// Gives the updates of a group the metrics and the gradients of all ranks, and has states follow the
    /// micro-batches of all.
    fn exchange(&self, t: &mut Tape, group: &mut [Update]) -> Result<()> {
        let own = self.micro_batches().len();
        let row = |m: usize| -> Vec<Var> {
            let metrics = group.iter().flat_map(|update| &update.metrics);
            metrics.map(|(_, values, _)| values[m]).collect()
        };
        let rows: Vec<Vec<Var>> = (0..own).map(row).collect();
        let all = t.take_turns(own, &rows)?;
        let metrics = group.iter_mut().flat_map(|update| &mut update.metrics);
        for (i, (_, values, _)) in metrics.enumerate() {
            *values = all.iter().map(|row| row[i]).collect();
        }
        group.iter_mut().try_for_each(|update| update.exchange(t))
    }

    fn apply_one(&mut self, t: &mut Tape, update: Update) -> Result<()> {
        for (name, values, is_logged) in &update.metrics {
            let mean = mean(t, values)?;
            if *is_logged {
                self.report(t, name, mean);
            } else {
                t.fetch_last(name, mean);
            }
        }
        let objective = &self.system.objective;
        let optimizer = objective.optimizer();
        let (mut grads, mut factor) = update.mean(t)?;
        if objective.has_terms_of_weights() {
            for (param, g) in update.params.iter().zip(&mut grads) {
                *g = scaled(t, *g, factor)?;
                *g = self.regularized(t, param, *g)?;
            }
            factor = factor.map(|_| t.fill(&[], 1.0)).transpose()?;
        }
        let length = length(t, &grads)?;
        let length = scaled(t, length, factor)?;
        let (norm, factor) = update.scale.judge(t, length, factor)?;
        let made = masked(t, factor, update.mask)?;
        self.report(t, &format!("grad_norm_{}", suffix(&update.network)), norm);
        let counter = updates(&update.network);
        let so_far = t.read(&counter, &[], DType::F32)?;
        let count = t.affine(so_far, 1.0, 1.0)?;
        let numbers = match optimizer {
            // It may rise.
            Optimizer::Sgd(_) => [update.rate, self.scalar(MOMENTUM)?],
            _ => optimizer.corrected(t, update.rate, count)?,
        };
        optim::assign(t, &counter, [so_far, count], made)?;
        let role = self.system.network(&update.network)?.role;
        for (param, mut g) in update.params.iter().zip(grads) {
            // Only now, within the update kernel: gradients in memory are unscaled.
            g = scaled(t, g, factor)?;
            if self.recording.fetch_gradients {
                t.fetch_last(&format!("grad.{}", param.name), g);
            }
            if objective.clip_gradients > 0.0 {
                g = shortened(t, g, length, objective.clip_gradients)?;
            }
            if objective.weight_decay > 0.0 {
                let p = t.read(&param.name, &param.shape, DType::F32)?;
                g = objectives::weight_decay(t, g, p, objective.weight_decay)?;
            }
            if objective.historical > 0.0 {
                let p = t.read(&param.name, &param.shape, DType::F32)?;
                let name = past(&param.name);
                let old = t.read(&name, &param.shape, DType::F32)?;
                let new = objectives::historical_mean(t, [p, old], count)?;
                optim::assign(t, &name, [old, new], made)?;
            }
            optimizer.update(t, &param.name, g, numbers, made)?;
            let limit = objective.clip_weights;
            if limit > 0.0 && role == Role::Discriminator {
                let p = t.read(&param.name, &param.shape, DType::F32)?;
                let p = t.clamp(p, -limit, limit)?;
                t.assign(&param.name, p)?;
            }
        }
        Ok(())
    }

    /// The gradient `g` of a parameter plus those of the weight terms.
    fn regularized(&self, t: &mut Tape, param: &Param, g: Var) -> Result<Var> {
        let ObjectiveConfig { historical, orthogonal, .. } = self.system.objective;
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

/// The mask of an update: `made` of the loss scale combined with the update's own mask; both must
/// be above 0.
fn masked(t: &mut Tape, made: Option<Var>, mask: Option<Var>) -> Result<Option<Var>> {
    match (made, mask) {
        (made, None) => Ok(made),
        (None, mask) => Ok(mask),
        (Some(made), Some(mask)) => {
            let skipped = t.fill(&[], -1.0)?;
            Ok(Some(t.choose(mask, made, skipped)?))
        }
    }
}

/// The mean over the micro-batches of a batch.
fn mean(t: &mut Tape, values: &[Var]) -> Result<Var> {
    let mut sum = values[0];
    for &value in &values[1..] {
        sum = t.add(sum, value)?;
    }
    if values.len() > 1 {
        sum = t.affine(sum, 1.0 / values.len() as f32, 0.0)?;
    }
    Ok(sum)
}

/// `x` times `factor`, if there is one.
fn scaled(t: &mut Tape, x: Var, factor: Option<Var>) -> Result<Var> {
    factor.map_or(Ok(x), |factor| t.mul(x, factor))
}

/// The gradient norm of all `grads` together.
fn length(t: &mut Tape, grads: &[Var]) -> Result<Var> {
    let mut total = t.fill(&[], 0.0)?;
    for (i, &g) in grads.iter().enumerate() {
        let square = t.mul(g, g)?;
        let square = t.sum_all(square)?;
        total = if i == 0 { square } else { t.add(total, square)? };
    }
    t.sqrt(total)
}

/// Clips `g`: `g` times `limit / length` if `length` is above `limit` (as
/// `torch.nn.utils.clip_grad_norm_`).
fn shortened(t: &mut Tape, g: Var, length: Var, limit: f32) -> Result<Var> {
    let safe = t.affine(length, 1.0 / limit, 1e-6 / limit)?;
    let share = t.recip(safe)?;
    let share = t.clamp(share, 0.0, 1.0)?;
    t.mul(g, share)
}
