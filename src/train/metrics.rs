//! The numbers of a step.

use std::collections::BTreeMap;

use crate::tensor::Tensor;

/// The numbers of one step, or means of several.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Metrics {
    /// The discriminator's loss.
    pub loss_d: f32,
    /// The generator's loss.
    pub loss_g: f32,
    /// Mean of sigmoid(D(x)), or of D(x) where it is a score.
    pub d_real: f32,
    /// The same of D(G(z)) in D's step.
    pub d_fake: f32,
    /// The same in G's step.
    pub d_fake_g: f32,
    /// Euclidean norm of D's gradient.
    pub grad_norm_d: f32,
    /// Euclidean norm of G's gradient.
    pub grad_norm_g: f32,
    /// The penalty in D's loss, where there is one.
    pub penalty: Option<f32>,
    /// Mean length of D's gradient with respect to a picture, where it is penalised.
    pub slope: Option<f32>,
    /// How likely augmentations are applied, where that is adapted.
    pub augment_p: Option<f32>,
    /// D's cross-entropy on labelled pictures, where training is semi-supervised.
    pub loss_class: Option<f32>,
    /// What losses are multiplied by, where training is in 16 bits.
    pub loss_scale: Option<f32>,
}

impl Metrics {
    pub(super) fn of(fetched: &BTreeMap<String, Tensor>) -> Self {
        let find = |name: &str| fetched.get(name).map(|t| t.f32s()[0]);
        let get = |name: &str| find(name).unwrap_or(f32::NAN);
        Self {
            loss_d: get("loss_d"),
            loss_g: get("loss_g"),
            d_real: get("d_real"),
            d_fake: get("d_fake"),
            d_fake_g: get("d_fake_g"),
            grad_norm_d: get("grad_norm_d"),
            grad_norm_g: get("grad_norm_g"),
            penalty: find("penalty"),
            slope: find("slope"),
            augment_p: find("augment_p"),
            loss_class: find("loss_class"),
            loss_scale: find("loss_scale"),
        }
    }

    /// All numbers that there are.
    fn numbers(&mut self) -> impl Iterator<Item = &mut f32> {
        let always = [
            &mut self.loss_d,
            &mut self.loss_g,
            &mut self.d_real,
            &mut self.d_fake,
            &mut self.d_fake_g,
            &mut self.grad_norm_d,
            &mut self.grad_norm_g,
        ];
        always
            .into_iter()
            .chain(&mut self.penalty)
            .chain(&mut self.slope)
            .chain(&mut self.augment_p)
            .chain(&mut self.loss_class)
            .chain(&mut self.loss_scale)
    }

    /// The mean of several steps of one training; NaN of none.
    #[must_use]
    pub fn mean(many: &[Self]) -> Self {
        let mut mean = many.first().copied().unwrap_or_default();
        mean.numbers().for_each(|x| *x = 0.0);
        for one in many {
            let mut one = *one;
            for (mean, x) in mean.numbers().zip(one.numbers()) {
                *mean += *x;
            }
        }
        mean.numbers().for_each(|x| *x /= many.len() as f32);
        mean
    }

    /// Whether every number is one.
    #[must_use]
    pub fn is_finite(mut self) -> bool {
        self.numbers().all(|x| x.is_finite())
    }
}
