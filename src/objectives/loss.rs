//! Losses of the discriminator's scores.

use serde::{Deserialize, Serialize};

use crate::config::named;
use crate::error::{Error, Result};
use crate::tape::{Tape, Var};

/// The meaning of a discriminator's output, depending on its loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// A logit: its sigmoid is the probability that an image is real.
    Probability,
    /// An unbounded score: the higher the more real; its magnitude has no meaning.
    Score,
}

/// The losses of the two networks. With `r` the discriminator's scores of real images, `f` those of
/// generated ones, `σ` the sigmoid and all terms averaged over the batch:
///
/// ```text
///                              discriminator                       generator
/// non-saturating               −log σ(r) − log(1 − σ(f))           −log σ(f)
/// saturating                   the same                            log(1 − σ(f))
/// least-squares                ½(r − 1)² + ½f²                     ½(f − 1)²
/// hinge                        max(0, 1 − r) + max(0, 1 + f)       −f
/// wasserstein                  f − r                               −f
/// relativistic                 as non-saturating, of r − mean f    the same, r and f exchanged
///                              and f − mean r
/// relativistic-least-squares   (r − mean f − 1)² + (f − mean r + 1)²          "
/// relativistic-hinge           as hinge, of r − mean f and f − mean r         "
/// kl                           −r + exp(f − 1)                     −f
/// reverse-kl                   exp(−r) + f − 1                     exp(−f)
/// pearson                      −r + ¼f² + f                        −f
/// hellinger                    exp(−r) − 1 + exp(f) − 1            exp(−f) − 1
/// jensen-shannon               as non-saturating − 2 log 2         as non-saturating − log 2
/// ```
///
/// The last five are the f-GANs (Nowozin et al., arXiv 1606.00709): `f* ∘ g` and `−g` of their
/// tables 2 and 6, with `g` the output activation and `f*` the conjugate, expanded so that no
/// exponential is taken of an exponential. The discriminator's loss is then minus a lower bound of
/// the divergence. The generator follows their section 3.2: it maximizes `g(f)`, which has the same
/// fixed point as minimizing the bound and does not vanish at the start. `exp` is continued
/// linearly from 10 on: for such extreme scores, density ratios above 22,000, the gradient of a
/// true exponential would undo the training in one update (10¹³ at a score of 30), and Adam would
/// remember it for thousands more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "kebab-case")]
pub enum Loss {
    /// Goodfellow et al. (arXiv 1406.2661), the form used in practice.
    #[default]
    NonSaturating,
    /// The same paper's minimax game.
    Saturating,
    /// LSGAN (Mao et al., arXiv 1611.04076) with targets 0 and 1.
    LeastSquares,
    /// Lim and Ye (arXiv 1705.02894), as SNGAN, SAGAN and BigGAN use it.
    Hinge,
    /// WGAN (Arjovsky et al., arXiv 1701.07875); it needs a penalty or clipped weights.
    Wasserstein,
    /// Relativistic average GAN (Jolicoeur-Martineau, arXiv 1807.00734).
    Relativistic,
    /// The same with least squares, targets 1 and −1.
    RelativisticLeastSquares,
    /// The same with the hinge loss.
    RelativisticHinge,
    /// f-GAN, Kullback-Leibler divergence.
    Kl,
    /// f-GAN, reverse Kullback-Leibler divergence.
    ReverseKl,
    /// f-GAN, Pearson's χ² divergence.
    Pearson,
    /// f-GAN, squared Hellinger distance.
    Hellinger,
    /// f-GAN, Jensen-Shannon divergence.
    JensenShannon,
}

named!(Loss);

impl Loss {
    /// The meaning of the discriminator's output.
    #[must_use]
    pub const fn output(self) -> Output {
        match self {
            Self::NonSaturating | Self::Saturating | Self::JensenShannon => Output::Probability,
            _ => Output::Score,
        }
    }

    /// The mean of the sigmoid of the discriminator's scores, or of the scores themselves if they
    /// are not logits: a metric.
    ///
    /// # Errors
    /// Errors of recording the ops.
    pub fn mean_output(self, t: &mut Tape, scores: Var) -> Result<Var> {
        let output = match self.output() {
            Output::Probability => t.sigmoid(scores)?,
            Output::Score => scores,
        };
        t.mean_all(output)
    }

    /// Whether the scores of real and generated images are compared: the two halves of the
    /// discriminator's loss then cannot be differentiated one after the other.
    #[must_use]
    pub const fn is_relativistic(self) -> bool {
        matches!(
            self,
            Self::Relativistic | Self::RelativisticLeastSquares | Self::RelativisticHinge
        )
    }

    /// Whether labels can be smoothed, i.e. the real half is a cross-entropy.
    #[must_use]
    pub const fn has_labels(self) -> bool {
        matches!(self, Self::NonSaturating | Self::Saturating | Self::Relativistic)
    }

    /// An optimal discriminator's score for an image that is as likely to be real as generated:
    /// above it, an image counts as real. `None` if scores have no such point.
    #[must_use]
    pub const fn undecided(self) -> Option<f32> {
        match self {
            Self::Wasserstein => None,
            Self::LeastSquares => Some(0.5),
            Self::Kl => Some(1.0),
            _ => Some(0.0),
        }
    }

    /// The loss of an optimal discriminator that smooths real labels by `smooth`, if real and
    /// generated images are alike: `2 log 2` for the non-saturating loss without smoothing.
    #[must_use]
    pub fn at_chance(self, smooth: f32) -> f32 {
        let two_labels = |probability: f32| {
            -(1.0 - smooth) * probability.ln() - (1.0 + smooth) * (1.0 - probability).ln()
        };
        match self {
            Self::NonSaturating | Self::Saturating => two_labels(0.5 * (1.0 - smooth)),
            // Scores are compared with their mean, so both halves are equal.
            Self::Relativistic => two_labels(0.5),
            Self::LeastSquares => 0.25,
            Self::Hinge | Self::RelativisticHinge | Self::RelativisticLeastSquares => 2.0,
            Self::Wasserstein
            | Self::Kl
            | Self::ReverseKl
            | Self::Pearson
            | Self::Hellinger
            | Self::JensenShannon => 0.0,
        }
    }

    /// The argument of one half of a relativistic loss: `scores` minus the mean of `others`.
    ///
    /// # Errors
    /// Errors of recording the ops.
    pub fn relative(self, t: &mut Tape, scores: Var, others: Var) -> Result<Var> {
        let mean = t.mean_all(others)?;
        t.sub(scores, mean)
    }

    /// The discriminator's loss term for its scores `r` of real images; with `smooth` a
    /// cross-entropy labels them real with probability `1 − smooth` (Salimans et al., arXiv
    /// 1606.03498, 3.4).
    ///
    /// # Errors
    /// Errors of recording the ops.
    pub fn real(self, t: &mut Tape, r: Var, smooth: f32) -> Result<Var> {
        let term = match self {
            Self::NonSaturating | Self::Saturating | Self::Relativistic => {
                return bce_with_logits(t, r, 1.0 - smooth);
            }
            Self::LeastSquares => squared_distance(t, r, 1.0, 0.5)?,
            Self::RelativisticLeastSquares => squared_distance(t, r, 1.0, 1.0)?,
            Self::Hinge | Self::RelativisticHinge => {
                let below = t.affine(r, -1.0, 1.0)?;
                t.relu(below)?
            }
            Self::Wasserstein | Self::Kl | Self::Pearson => t.neg(r)?,
            Self::ReverseKl => exp_minus(t, r, 0.0)?,
            Self::Hellinger => exp_minus(t, r, -1.0)?,
            Self::JensenShannon => less_log_2(t, r, 1.0)?,
        };
        t.mean_all(term)
    }

    /// The discriminator's loss term for its scores `f` of generated images.
    ///
    /// # Errors
    /// Errors of recording the ops.
    pub fn fake(self, t: &mut Tape, f: Var) -> Result<Var> {
        let term = match self {
            Self::NonSaturating | Self::Saturating | Self::Relativistic => {
                return bce_with_logits(t, f, 0.0);
            }
            Self::LeastSquares => squared_distance(t, f, 0.0, 0.5)?,
            Self::RelativisticLeastSquares => squared_distance(t, f, -1.0, 1.0)?,
            Self::Hinge | Self::RelativisticHinge => {
                let above = t.affine(f, 1.0, 1.0)?;
                t.relu(above)?
            }
            Self::Wasserstein => f,
            Self::Kl => {
                let less = t.affine(f, 1.0, -1.0)?;
                exp_then_straight(t, less)?
            }
            Self::ReverseKl => t.affine(f, 1.0, -1.0)?,
            Self::Pearson => {
                let square = t.mul(f, f)?;
                let square = t.affine(square, 0.25, 0.0)?;
                t.add(square, f)?
            }
            Self::Hellinger => {
                let exp = exp_then_straight(t, f)?;
                t.affine(exp, 1.0, -1.0)?
            }
            Self::JensenShannon => less_log_2(t, f, -1.0)?,
        };
        t.mean_all(term)
    }

    /// The generator's loss for the scores `f` of its images, if the loss is not relativistic.
    ///
    /// # Errors
    /// Errors of recording the ops.
    pub fn generator(self, t: &mut Tape, f: Var) -> Result<Var> {
        let term = match self {
            Self::Saturating => {
                let cross_entropy = bce_with_logits(t, f, 0.0)?;
                return t.neg(cross_entropy);
            }
            Self::Hinge => t.neg(f)?,
            // All others push generated images in the direction of real ones.
            _ => return self.real(t, f, 0.0),
        };
        t.mean_all(term)
    }

    /// The generator's loss if the loss is relativistic, for the scores of real and generated
    /// images, each minus the mean of the others (see [`Loss::relative`]).
    ///
    /// # Errors
    /// Errors of recording the ops.
    pub fn relativistic_generator(self, t: &mut Tape, r: Var, f: Var) -> Result<Var> {
        let real = self.fake(t, r)?;
        let fake = self.real(t, f, 0.0)?;
        t.add(real, fake)
    }
}

/// `scale · (x − target)²`.
fn squared_distance(t: &mut Tape, x: Var, target: f32, scale: f32) -> Result<Var> {
    let distance = t.affine(x, 1.0, -target)?;
    let square = t.mul(distance, distance)?;
    t.affine(square, scale, 0.0)
}

/// `exp(−x) + shift`.
fn exp_minus(t: &mut Tape, x: Var, shift: f32) -> Result<Var> {
    let minus = t.neg(x)?;
    let exp = exp_then_straight(t, minus)?;
    t.affine(exp, 1.0, shift)
}

/// Where [`exp_then_straight`] becomes linear.
const STRAIGHT_FROM: f32 = 10.0;

/// `eˣ` up to [`STRAIGHT_FROM`], and its tangent there beyond: `eˢ (1 + x − s)`.
fn exp_then_straight(t: &mut Tape, x: Var) -> Result<Var> {
    let below = t.clamp(x, f32::MIN, STRAIGHT_FROM)?;
    let exp = t.exp(below)?;
    let beyond = t.affine(x, 1.0, -STRAIGHT_FROM)?;
    let beyond = t.relu(beyond)?;
    let beyond = t.affine(beyond, STRAIGHT_FROM.exp(), 0.0)?;
    t.add(exp, beyond)
}

/// `−log σ(sign · x) − log 2`.
fn less_log_2(t: &mut Tape, x: Var, sign: f32) -> Result<Var> {
    let minus = t.affine(x, -sign, 0.0)?;
    let minus_log = t.softplus(minus)?;
    t.affine(minus_log, 1.0, -std::f32::consts::LN_2)
}

/// Mean binary cross-entropy of `logits` against the probability `target`, in the stable form
/// `target · softplus(−x) + (1 − target) · softplus(x)` (the log-sigmoids of the two classes).
///
/// # Errors
/// Errors of recording the ops.
pub fn bce_with_logits(t: &mut Tape, logits: Var, target: f32) -> Result<Var> {
    let mut loss = None;
    if target != 0.0 {
        let minus = t.neg(logits)?;
        let part = t.softplus(minus)?;
        loss = Some(t.affine(part, target, 0.0)?);
    }
    if target != 1.0 {
        let part = t.softplus(logits)?;
        let part = t.affine(part, 1.0 - target, 0.0)?;
        loss = Some(match loss {
            Some(other) => t.add(other, part)?,
            None => part,
        });
    }
    let loss = loss.expect("a number cannot equal both 0 and 1");
    t.mean_all(loss)
}

/// Mean cross-entropy of `logits` `[n, classes]` against `labels` of the same shape, whose rows add up
/// to 1: `mean_n (log Σ exp(logits) − Σ labels · logits)`, as `torch.nn.CrossEntropyLoss`.
///
/// # Errors
/// Errors of recording the ops.
pub fn cross_entropy(t: &mut Tape, logits: Var, labels: Var) -> Result<Var> {
    let all = log_sum_exp(t, logits)?;
    let own = t.mul(logits, labels)?;
    let own = t.sum(own, &[1])?;
    let each = t.sub(all, own)?;
    t.mean_all(each)
}

/// `log Σ exp(logits)` over the second axis of `[n, classes]`, `[n]`: the maximum is factored out
/// of the sum first, so that no exponential overflows.
///
/// # Errors
/// Errors of recording the ops.
pub fn log_sum_exp(t: &mut Tape, logits: Var) -> Result<Var> {
    let &[n, classes] = t.shape(logits) else {
        let (op, shapes) = ("log_sum_exp", vec![t.shape(logits).to_vec()]);
        return Err(Error::Shape { op, what: "logits are [n, classes]".into(), shapes });
    };
    let column = t.reshape(logits, &[n, classes, 1, 1])?;
    let largest = t.max_pool(column, [1, 1])?;
    let largest = t.reshape(largest, &[n, 1])?;
    let less = t.sub(logits, largest)?;
    let exp = t.exp(less)?;
    let sum = t.sum(exp, &[1])?;
    let log = t.log(sum)?;
    let largest = t.reshape(largest, &[n])?;
    t.add(log, largest)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use clap::ValueEnum as _;

    use super::*;
    use crate::device::{Device, State};
    use crate::program::{Options, Program};
    use crate::tensor::{DType, Tensor};

    /// Over all scores that real and generated images may share, the discriminator's loss is
    /// minimal at its optimum.
    #[test]
    fn at_chance_a_discriminator_cannot_lose_less() {
        for loss in Loss::value_variants() {
            for smooth in [0.0, 0.1, 0.3] {
                let smooth = if loss.has_labels() { smooth } else { 0.0 };
                let mut t = Tape::new();
                let score = t.feed("score", &[2], DType::F32).unwrap();
                let [mut r, mut f] = [score, score];
                if loss.is_relativistic() {
                    r = loss.relative(&mut t, score, score).unwrap();
                    f = loss.relative(&mut t, score, score).unwrap();
                }
                let (real, fake) = (loss.real(&mut t, r, smooth), loss.fake(&mut t, f));
                let both = t.add(real.unwrap(), fake.unwrap()).unwrap();
                t.fetch("both", both).unwrap();
                let mut state = State::new(&Device::Cpu);
                let mut program = Program::compile(&t, &state, &Options::default()).unwrap();
                let mut least = f32::INFINITY;
                for step in -200..=200 {
                    let score = Tensor::full([2], step as f32 * 0.01);
                    let fetched = program.call(&mut state, &[("score", &score)]).unwrap();
                    least = least.min(fetched["both"].f32s()[0]);
                }
                let chance = loss.at_chance(smooth);
                assert!((least - chance).abs() < 1e-4, "{loss}, {smooth}: {least} and {chance}");
            }
        }
    }
}
