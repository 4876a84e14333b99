//! How the two networks are trained: which loss, what holds the discriminator back, by which
//! optimiser, how often. Every part goes with every other unless [`Method::check`] says why not.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::augment::{Adaptive, Augment};
use crate::error::{Error, Result};
use crate::objectives::{Loss, Penalty};
use crate::optim::{Adam, Optimizer, RmsProp};

/// Which optimiser.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Rule {
    /// See [`Adam`].
    #[default]
    Adam,
    /// See [`RmsProp`]; its decay is `beta2`.
    Rmsprop,
}

impl fmt::Display for Rule {
    /// As it is typed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Adam => "adam",
            Self::Rmsprop => "rmsprop",
        })
    }
}

/// How the two networks are trained. A number that is 0 leaves its part out.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Method {
    /// What the networks minimise.
    pub loss: Loss,
    /// One-sided label smoothing (Salimans et al., arXiv 1606.03498, section 3.4): real pictures
    /// are called real with probability `1 − smooth`.
    pub smooth: f32,
    /// The generator matches the mean of the discriminator's last hidden layer over the batch,
    /// rather than winning against it (the same paper, section 3.1).
    #[serde(skip_serializing_if = "is_default")]
    pub feature_matching: bool,
    /// Weight of the cross-entropy of classes in both losses, where the discriminator has to say
    /// them.
    #[serde(skip_serializing_if = "is_one_f32")]
    pub class_weight: f32,
    /// Weight of InfoGAN's lower bound of the information in the codes (its numbers count a tenth
    /// of that), where there are codes.
    #[serde(skip_serializing_if = "is_one_f32")]
    pub info_weight: f32,
    /// What is added to the discriminator's loss for being too steep.
    #[serde(skip_serializing_if = "is_default")]
    pub penalty: Penalty,
    /// The penalty's weight λ.
    #[serde(skip_serializing_if = "is_default")]
    pub penalty_weight: f32,
    /// How pictures are changed at random before the discriminator sees them.
    #[serde(skip_serializing_if = "is_default")]
    pub augment: Augment,
    /// How likely each change is made to a picture; 1 for always.
    #[serde(skip_serializing_if = "is_one_f32")]
    pub augment_p: f32,
    /// Where the probability is found while training: how much more often than not, from 0 to 1, real
    /// pictures are to be taken for real (see [`Adaptive`]).
    #[serde(skip_serializing_if = "is_default")]
    pub ada: f32,
    /// After each of the discriminator's updates its weights are limited to ± this (WGAN, arXiv
    /// 1701.07875, algorithm 1).
    #[serde(skip_serializing_if = "is_default")]
    pub clip_weights: f32,
    /// Weight of the orthogonal regularisation of both networks' convolutions.
    #[serde(skip_serializing_if = "is_default")]
    pub orthogonal: f32,
    /// Weight of historical averaging, of both networks.
    #[serde(skip_serializing_if = "is_default")]
    pub historical: f32,
    /// Added to every gradient, times the parameter.
    #[serde(skip_serializing_if = "is_default")]
    pub weight_decay: f32,
    /// Gradients of a network that are longer than this, all parameters together, are shortened to
    /// it.
    #[serde(skip_serializing_if = "is_default")]
    pub clip_gradients: f32,
    /// Updates of the discriminator for one of the generator, each on a batch of its own.
    #[serde(skip_serializing_if = "is_one")]
    pub n_critic: usize,
    /// Pictures that go through the networks at a time; the gradients of a whole batch are added
    /// up. 0 for the whole batch.
    #[serde(skip_serializing_if = "is_default")]
    pub micro_batch: usize,
    /// Which optimiser.
    #[serde(skip_serializing_if = "is_default")]
    pub optimizer: Rule,
    /// Decay of the mean of gradients (Adam).
    pub beta1: f64,
    /// Decay of the mean of squared gradients.
    pub beta2: f64,
    /// What the optimiser adds to the root of that mean: gradients below it move a parameter by less
    /// than the learning rate.
    #[serde(skip_serializing_if = "is_usual_epsilon")]
    pub epsilon: f32,
}

/// PyTorch's.
const EPSILON: f32 = 1e-8;

fn is_default<T: Default + PartialEq>(x: &T) -> bool {
    *x == T::default()
}

fn is_one_f32(x: &f32) -> bool {
    *x == 1.0
}

fn is_usual_epsilon(x: &f32) -> bool {
    *x == EPSILON
}

fn is_one(n: &usize) -> bool {
    *n == 1
}

impl Default for Method {
    /// DCGAN's, as PyTorch's example has it.
    fn default() -> Self {
        Self {
            loss: Loss::NonSaturating,
            smooth: 0.0,
            feature_matching: false,
            class_weight: 1.0,
            info_weight: 1.0,
            penalty: Penalty::None,
            penalty_weight: 0.0,
            augment: Augment::default(),
            augment_p: 1.0,
            ada: 0.0,
            clip_weights: 0.0,
            orthogonal: 0.0,
            historical: 0.0,
            weight_decay: 0.0,
            clip_gradients: 0.0,
            n_critic: 1,
            micro_batch: 0,
            optimizer: Rule::Adam,
            beta1: 0.5,
            beta2: 0.999,
            epsilon: EPSILON,
        }
    }
}

/// Steps of the discriminator for one of the generator are recorded one after another: more than
/// this is a mistake.
const MOST_CRITIC_STEPS: usize = 100;

impl Method {
    /// Whether terms of the weights themselves have a part in gradients.
    pub(crate) fn has_terms_of_weights(&self) -> bool {
        self.historical > 0.0 || self.orthogonal > 0.0
    }

    /// The optimiser of both networks.
    #[must_use]
    pub fn optimizer(&self) -> Optimizer {
        match self.optimizer {
            Rule::Adam => {
                Optimizer::Adam(Adam { beta1: self.beta1, beta2: self.beta2, eps: self.epsilon })
            }
            Rule::Rmsprop => Optimizer::RmsProp(RmsProp { decay: self.beta2, eps: self.epsilon }),
        }
    }

    /// The controller of the augmentation's probability, where it is not fixed.
    #[must_use]
    pub fn adaptive(&self) -> Option<Adaptive> {
        (self.ada > 0.0).then(|| Adaptive { target: self.ada, ..Adaptive::default() })
    }

    /// Pictures that go through the networks at a time, and how many times that makes a batch of
    /// `batch`.
    #[must_use]
    pub fn parts(&self, batch: usize) -> (usize, usize) {
        match self.micro_batch {
            0 => (batch, 1),
            micro => (micro, batch / micro),
        }
    }

    /// Checks that the parts go together, in batches of `batch`.
    ///
    /// # Errors
    /// [`Error::Flag`] with a sentence that says what does not, and why.
    pub fn check(&self, batch: usize) -> Result<()> {
        let fail = |flag, what: &str| Err(Error::flag(flag, what));
        let weights = [
            ("--penalty-weight", self.penalty_weight),
            ("--class-weight", self.class_weight),
            ("--info-weight", self.info_weight),
            ("--clip-weights", self.clip_weights),
            ("--orthogonal", self.orthogonal),
            ("--historical", self.historical),
            ("--weight-decay", self.weight_decay),
            ("--clip-gradients", self.clip_gradients),
        ];
        for (flag, weight) in weights {
            if !(weight >= 0.0 && weight.is_finite()) {
                return fail(flag, "a number of at least 0 is needed; 0 leaves it out");
            }
        }
        if self.smooth > 0.0 && !self.loss.has_labels() {
            let what = format!(
                "only a cross-entropy has labels to smooth (--loss non-saturating, saturating or \
                 relativistic), and the loss is {}",
                self.loss
            );
            return Err(Error::flag("--smooth", what));
        }
        if self.penalty == Penalty::None && self.penalty_weight > 0.0 {
            return fail("--penalty-weight", "there is no penalty to weigh: add --penalty gp, say");
        }
        if self.penalty != Penalty::None && self.penalty_weight == 0.0 {
            return fail("--penalty-weight", "0 is no penalty: leave --penalty out instead");
        }
        let share = |x: f32| (0.0..=1.0).contains(&x);
        if !share(self.augment_p) || !share(self.ada) {
            let flag = if share(self.augment_p) { "--ada" } else { "--augment-p" };
            return fail(flag, "a number from 0 to 1 is needed");
        }
        if self.augment.is_none() && (self.ada > 0.0 || self.augment_p < 1.0) {
            let flag = if self.ada > 0.0 { "--ada" } else { "--augment-p" };
            let what =
                "there is nothing to be applied: add --augment color,translation,cutout, say";
            return fail(flag, what);
        }
        if self.ada > 0.0 && self.loss.undecided().is_none() {
            let what = format!(
                "with --loss {} no score says that a picture is taken for real: choose another \
                 loss, or a fixed --augment-p",
                self.loss
            );
            return Err(Error::flag("--ada", what));
        }
        if self.ada > 0.0 && self.augment_p < 1.0 {
            return fail("--ada", "finds the probability itself: leave --augment-p out");
        }
        if self.n_critic == 0 || self.n_critic > MOST_CRITIC_STEPS {
            return fail("--n-critic", "a number from 1 to 100 is needed");
        }
        let micro = self.micro_batch;
        if micro == 1 || micro > batch || (micro > 1 && !batch.is_multiple_of(micro)) {
            let what = format!(
                "{micro} does not divide the batch of {batch} into equal parts of at least 2 \
                 pictures"
            );
            return Err(Error::flag("--micro-batch", what));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn a_method_survives_its_file_and_old_files_are_read() {
        let method = Method {
            loss: Loss::ReverseKl,
            penalty: Penalty::GpOneSided,
            penalty_weight: 10.0,
            n_critic: 5,
            ..Method::default()
        };
        let json = serde_json::to_string(&method).unwrap();
        assert!(json.contains("\"reverse-kl\"") && json.contains("\"gp-one-sided\""), "{json}");
        assert_eq!(serde_json::from_str::<Method>(&json).unwrap(), method);
        let old = r#"{"beta1":0.5,"beta2":0.999,"smooth":0.1}"#;
        let read: Method = serde_json::from_str(old).unwrap();
        assert_eq!(read, Method { smooth: 0.1, ..Method::default() });
        let plain = serde_json::to_string(&Method::default()).unwrap();
        for usual in ["n_critic", "penalty", "epsilon"] {
            assert!(!plain.contains(usual), "{plain}");
        }
    }

    #[test]
    fn the_optimiser_has_the_numbers_of_the_method() {
        let method = Method { beta1: 0.1, beta2: 0.2, epsilon: 0.3, ..Method::default() };
        let adam = Adam { beta1: 0.1, beta2: 0.2, eps: 0.3 };
        assert_eq!(method.optimizer(), Optimizer::Adam(adam));
        let method = Method { optimizer: Rule::Rmsprop, ..method };
        assert_eq!(method.optimizer(), Optimizer::RmsProp(RmsProp { decay: 0.2, eps: 0.3 }));
        assert_eq!(
            serde_json::from_str::<Method>(&serde_json::to_string(&method).unwrap()).unwrap(),
            method
        );
        let usual = Adam { beta1: 0.5, beta2: 0.999, eps: 1e-8 };
        assert_eq!(Method::default().optimizer(), Optimizer::Adam(usual));
    }

    #[test]
    fn parts_that_do_not_go_together_are_refused_by_flag() {
        let refused = |method: Method| match method.check(64) {
            Err(Error::Flag { flag, .. }) => flag,
            other => panic!("{other:?}"),
        };
        let usual = Method::default();
        assert!(usual.check(64).is_ok());
        let gp = Method { penalty: Penalty::Gp, penalty_weight: 10.0, ..usual };
        assert!(gp.check(64).is_ok());
        for (flag, method) in [
            ("--smooth", Method { loss: Loss::Hinge, smooth: 0.1, ..usual }),
            ("--penalty-weight", Method { penalty_weight: 10.0, ..usual }),
            ("--penalty-weight", Method { penalty_weight: 0.0, ..gp }),
            ("--penalty-weight", Method { penalty_weight: -1.0, ..gp }),
            ("--clip-weights", Method { clip_weights: f32::NAN, ..usual }),
            ("--augment-p", Method { augment_p: 1.5, ..usual }),
            ("--augment-p", Method { augment_p: 0.5, ..usual }),
            ("--ada", Method { ada: 0.6, ..usual }),
            ("--ada", Method { ada: 0.6, augment_p: 0.5, augment: Augment::ALL, ..usual }),
            ("--n-critic", Method { n_critic: 0, ..usual }),
            ("--n-critic", Method { n_critic: 101, ..usual }),
            ("--micro-batch", Method { micro_batch: 24, ..usual }),
            ("--micro-batch", Method { micro_batch: 1, ..usual }),
            ("--micro-batch", Method { micro_batch: 128, ..usual }),
        ] {
            assert_eq!(refused(method), flag);
        }
        for micro_batch in [2, 32, 64] {
            assert!(Method { micro_batch, ..usual }.check(64).is_ok());
        }
        assert_eq!(Method { micro_batch: 16, ..usual }.parts(64), (16, 4));
        assert_eq!(usual.parts(64), (64, 1));
    }
}
