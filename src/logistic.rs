//! Logistic regression between two classes, L2-regularized and balanced.
//!
//! For rows `x_i` and signs `y_i = ±1` it minimizes
//!
//! ```text
//! f(w, b) = Σ_i s_i ln(1 + exp(−y_i (w·x_i + b))) + λ/2 ‖w‖²
//! ```
//!
//! where the `s_i` of each class are equal and sum to a half, so that a rare class counts as much
//! as a frequent one, and the bias `b` is not regularized. This is the objective of scikit-learn's
//! `LogisticRegression(class_weight="balanced", C=1 / (λ n))`. `f` is smooth and strictly convex in
//! `w`: Newton's method, with steps halved when too long, finds the only minimum.
//!
//! Gradients are summed in 64 bits, so the minimum is exact; second derivatives, which only affect
//! the speed of convergence, are matrix products in 32. No sum depends on the number of threads.

use rayon::prelude::*;

use crate::gemm::{Matrix, gemm};

/// Rows that are summed separately, and rows that are multiplied at a time.
const BLOCK: usize = 1024;

/// Limits for Newton steps, and for halvings of one, which are rarely reached.
const STEPS: usize = 60;
const HALVINGS: i32 = 40;

/// The tolerance for all derivatives; those at zero weights are at most about 1.
const TOLERANCE: f64 = 1e-10;

/// Keeps the second derivative by the bias, which is not regularized, away from zero.
const FLOOR: f64 = 1e-9;

/// A linear classifier of two classes.
#[derive(Clone, Debug, PartialEq)]
pub struct Logistic {
    /// The weight of each value in a row.
    pub weights: Vec<f64>,
    /// Added to a row's score.
    pub bias: f64,
}

/// `1 / (1 + e⁻ˣ)`.
fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// `ln(1 + eˣ)`.
fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// The objective.
struct Problem<'a> {
    /// `[n, width]`.
    x: &'a [f32],
    width: usize,
    /// Whether each row belongs to the first class.
    inside: &'a [bool],
    lambda: f64,
    /// The weight of a row of the second class, and of one of the first.
    shares: [f64; 2],
}

impl Problem<'_> {
    fn score(&self, row: &[f32], w: &[f64]) -> f64 {
        let dot: f64 = row.iter().zip(w).map(|(&x, w)| f64::from(x) * w).sum();
        dot + w[self.width]
    }

    /// Blocks of rows with their classes, in parallel.
    fn blocks(&self) -> impl IndexedParallelIterator<Item = (&[f32], &[bool])> {
        self.x.par_chunks(BLOCK * self.width).zip(self.inside.par_chunks(BLOCK))
    }

    fn regular(&self, w: &[f64]) -> f64 {
        self.lambda / 2.0 * w[..self.width].iter().map(|w| w * w).sum::<f64>()
    }

    /// `f` at weights whose last is the bias.
    fn value(&self, w: &[f64]) -> f64 {
        let of = |(x, inside): (&[f32], &[bool])| -> f64 {
            let rows = x.chunks(self.width).zip(inside);
            let loss = |(row, &inside): (&[f32], &bool)| {
                let score = self.score(row, w);
                self.shares[usize::from(inside)] * softplus(if inside { -score } else { score })
            };
            rows.map(loss).sum()
        };
        let blocks: Vec<f64> = self.blocks().map(of).collect();
        blocks.iter().sum::<f64>() + self.regular(w)
    }

    /// The gradient, and the Hessian as a square matrix.
    fn derivatives(&self, w: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let (width, d) = (self.width, self.width + 1);
        let of = |(x, inside): (&[f32], &[bool])| {
            let mut gradient = vec![0.0_f64; d];
            // The rows and a 1, each times the square root of its second derivative.
            let mut scaled = Vec::with_capacity(inside.len() * d);
            for (row, &inside) in x.chunks(width).zip(inside) {
                let p = sigmoid(self.score(row, w));
                let share = self.shares[usize::from(inside)];
                let slope = share * (p - f64::from(u8::from(inside)));
                for (g, &x) in gradient.iter_mut().zip(row) {
                    *g += slope * f64::from(x);
                }
                gradient[width] += slope;
                let root = (share * p * (1.0 - p)).sqrt() as f32;
                scaled.extend(row.iter().map(|x| x * root));
                scaled.push(root);
            }
            (gradient, scaled)
        };
        let (mut gradient, mut second) = (vec![0.0_f64; d], vec![0.0_f64; d * d]);
        let mut product = vec![0.0_f32; d * d];
        // A few blocks at a time: scaling all rows would copy the data.
        let blocks: Vec<_> = self.blocks().collect();
        for blocks in blocks.chunks(16) {
            let parts: Vec<_> = blocks.par_iter().map(|&block| of(block)).collect();
            for (part, scaled) in parts {
                gradient.iter_mut().zip(part).for_each(|(g, part)| *g += part);
                let n = scaled.len() / d;
                let (left, right) =
                    (Matrix::new(&scaled, d, n, true), Matrix::new(&scaled, n, d, false));
                gemm(left, right, &mut product, false, true);
                second.iter_mut().zip(&product).for_each(|(s, &p)| *s += f64::from(p));
            }
        }
        for i in 0..width {
            gradient[i] += self.lambda * w[i];
            second[i * d + i] += self.lambda;
        }
        second[width * d + width] += FLOOR;
        (gradient, second)
    }
}

/// `a⁻¹ b` for a symmetric positive definite `a` `[d, d]`, by Cholesky decomposition; `None` if it
/// is not positive definite.
fn solve(mut a: Vec<f64>, b: &[f64]) -> Option<Vec<f64>> {
    let d = b.len();
    for j in 0..d {
        let (above, below) = a.split_at_mut((j + 1) * d);
        let row = &mut above[j * d..];
        let rest = row[j] - row[..j].iter().map(|x| x * x).sum::<f64>();
        if !(rest > 0.0 && rest.is_finite()) {
            return None;
        }
        row[j] = rest.sqrt();
        let row = &*row;
        below.par_chunks_mut(d).for_each(|other| {
            let dot: f64 = other[..j].iter().zip(row).map(|(x, y)| x * y).sum();
            other[j] = (other[j] - dot) / row[j];
        });
    }
    let mut x = b.to_vec();
    for i in 0..d {
        let dot: f64 = a[i * d..i * d + i].iter().zip(&x).map(|(l, x)| l * x).sum();
        x[i] = (x[i] - dot) / a[i * d + i];
    }
    for i in (0..d).rev() {
        x[i] /= a[i * d + i];
        let (before, after) = x.split_at_mut(i);
        for (x, l) in before.iter_mut().zip(&a[i * d..]) {
            *x -= l * after[0];
        }
    }
    Some(x)
}

impl Logistic {
    /// The minimum for rows `x` `[n, width]`, some of which are `inside`; both kinds must exist.
    #[must_use]
    pub fn train(x: &[f32], width: usize, inside: &[bool], lambda: f64) -> Self {
        let first = inside.iter().filter(|&&inside| inside).count();
        let share = |count: usize| 0.5 / count.max(1) as f64;
        let shares = [share(inside.len() - first), share(first)];
        let problem = Problem { x, width, inside, lambda, shares };
        let mut w = vec![0.0; width + 1];
        let mut value = problem.value(&w);
        for _ in 0..STEPS {
            let (gradient, second) = problem.derivatives(&w);
            if gradient.iter().all(|g| g.abs() <= TOLERANCE) {
                break;
            }
            let Some(step) = solve(second, &gradient) else { break };
            let slope: f64 = step.iter().zip(&gradient).map(|(s, g)| s * g).sum();
            // Halved until the decrease is a fair part of the predicted one; rounding is tolerated.
            let next = (0..HALVINGS).find_map(|halvings| {
                let length = 0.5_f64.powi(halvings);
                let to: Vec<f64> = w.iter().zip(&step).map(|(w, s)| w - length * s).collect();
                let there = problem.value(&to);
                let fair = value - 1e-4 * length * slope + 1e-15 * value.abs();
                (there <= fair).then_some((to, there))
            });
            let Some((to, there)) = next else { break };
            (w, value) = (to, there);
        }
        let bias = w.pop().unwrap_or_default();
        Self { weights: w, bias }
    }

    /// The probability that a row belongs to the first class.
    #[must_use]
    pub fn probability(&self, row: &[f32]) -> f64 {
        let dot: f64 = row.iter().zip(&self.weights).map(|(&x, w)| f64::from(x) * w).sum();
        sigmoid(dot + self.bias)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rows of `assets/reference/make_logistic.py`: numbers in [−1, 1) by a congruence, and a
    /// class that mostly follows the first three.
    fn rows(n: usize, width: usize) -> (Vec<f32>, Vec<bool>) {
        let mut number = 1_u64;
        let mut next = || {
            number = (number * 48_271) % 2_147_483_647;
            (number % 2048) as f32 / 1024.0 - 1.0
        };
        let x: Vec<f32> = (0..n * width).map(|_| next()).collect();
        let inside = x
            .chunks(width)
            .map(|row| row[0] - 0.5 * row[1] + 0.25 * row[2] + 0.5 * next() > 0.75)
            .collect();
        (x, inside)
    }

    /// Made by scikit-learn 1.9 (`assets/reference/make_logistic.py`).
    #[test]
    fn the_minimum_is_that_of_scikit_learn() {
        let little = [5.6029043853, -2.7027671607, 1.4176205451, 0.2783152298, -0.0133410190];
        let much = [1.1158816314, -0.5444441062, 0.2652270972, 0.1069502488, 0.0153138591];
        let cases = [(0.001, little, -2.6683852812), (0.1, much, -0.4196880805)];
        // More than one block of rows.
        let (x, inside) = rows(1500, 5);
        assert_eq!(inside.iter().filter(|&&i| i).count(), 260);
        for (lambda, weights, bias) in cases {
            let found = Logistic::train(&x, 5, &inside, lambda);
            for (found, wanted) in found.weights.iter().zip(weights) {
                assert!((found - wanted).abs() < 1e-7, "{found} {wanted}");
            }
            assert!((found.bias - bias).abs() < 1e-7, "{} {bias}", found.bias);
        }
    }

    #[test]
    fn classes_that_a_plane_separates_have_a_minimum_too() {
        let x = [-3.0_f32, -2.0, -1.5, 1.0, 4.0];
        let inside = x.map(|x| x > 0.0);
        let found = Logistic::train(&x, 1, &inside, 1e-6);
        assert!(found.weights[0].is_finite() && found.weights[0] > 1.0, "{found:?}");
        for (x, inside) in x.iter().zip(inside) {
            assert_eq!(found.probability(&[*x]) > 0.5, inside);
        }
        // A constant feature has no information.
        let x: Vec<f32> = x.iter().flat_map(|&x| [x, 0.0]).collect();
        assert_eq!(Logistic::train(&x, 2, &inside, 1e-3).weights[1], 0.0);
    }

    #[test]
    fn equations_are_solved() {
        let a = vec![4.0, 2.0, 0.0, 2.0, 5.0, 1.0, 0.0, 1.0, 3.0];
        let x = solve(a, &[8.0, 15.0, 11.0]).expect("positive definite");
        let wanted = [1.0, 2.0, 3.0];
        assert!(x.iter().zip(wanted).all(|(x, w)| (x - w).abs() < 1e-12), "{x:?}");
        assert_eq!(solve(vec![1.0, 2.0, 2.0, 1.0], &[1.0, 1.0]), None);
    }
}
