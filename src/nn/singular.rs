//! Singular values of weights, worked out on the host: to start with, and to see whether the power
//! method keeps up.

use crate::error::Result;
use crate::tensor::Tensor;

use super::Sequential;

/// The length of a vector.
pub(super) fn norm(x: &[f64]) -> f64 {
    x.iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// The largest singular value of the matrix `rows`, by the power method in 64 bits until it no longer
/// grows.
#[must_use]
pub fn largest_singular_value(rows: &[Vec<f64>]) -> f64 {
    singular(rows, 1e-12).0
}

/// The largest singular value of the matrix `rows` and its vectors `u` and `v`, by the power method
/// until an iteration adds no more than the part `growth` of it.
fn singular(rows: &[Vec<f64>], growth: f64) -> (f64, [Vec<f64>; 2]) {
    /// Iterations, at most: two values that differ so little that more are needed are the same.
    const MOST: usize = 2000;
    /// Iterations, at least: the first start on the wrong singular vector.
    const LEAST: usize = 30;
    let columns = rows.first().map_or(0, Vec::len);
    let mut v: Vec<f64> = (0..columns).map(|i| 1.0 + (1.7 * i as f64).sin()).collect();
    let mut u = vec![0.0; rows.len()];
    let mut sigma = 0.0;
    for i in 0..MOST {
        let length = norm(&v);
        if length == 0.0 {
            break;
        }
        v.iter_mut().for_each(|x| *x /= length);
        let products = rows.iter().map(|row| row.iter().zip(&v).map(|(a, b)| a * b).sum());
        u.iter_mut().zip(products).for_each(|(u, product)| *u = product);
        let before = std::mem::replace(&mut sigma, norm(&u));
        if i >= LEAST && sigma - before <= growth * sigma {
            break;
        }
        v.fill(0.0);
        for (row, u) in rows.iter().zip(&u) {
            v.iter_mut().zip(row).for_each(|(v, w)| *v += u * w);
        }
    }
    for vector in [&mut u, &mut v] {
        let length = norm(vector).max(f64::MIN_POSITIVE);
        vector.iter_mut().for_each(|x| *x /= length);
    }
    (sigma, [u, v])
}

impl Sequential {
    /// What the vectors of every spectrally normalised weight should be for the weights as they are:
    /// the states `weight_u` and `weight_v` by name, for the start of a training. `get` gives the state
    /// of a name.
    ///
    /// # Errors
    /// Those of `get`.
    pub fn fitting_vectors(
        &self,
        prefix: &str,
        mut get: impl FnMut(&str) -> Result<Tensor>,
    ) -> Result<Vec<(String, Tensor)>> {
        let mut all = Vec::new();
        for (scope, kernel) in self.spectral(prefix) {
            let rows = kernel.rows_of(&get(&format!("{scope}.weight_orig"))?);
            let (_, vectors) = singular(&rows, 1e-6);
            let shaped = ["weight_u", "weight_v"].into_iter().zip(kernel.vectors()).zip(vectors);
            for ((own, (shape, _)), vector) in shaped {
                let numbers = vector.into_iter().map(|x| x as f32).collect();
                all.push((format!("{scope}.{own}"), Tensor::new(shape, numbers)?));
            }
        }
        Ok(all)
    }

    /// The largest singular value of every spectrally normalised weight as it is used, `W / σ`, with
    /// the layer's name: 1 where the power method has converged. `get` gives the state of a name.
    ///
    /// # Errors
    /// Those of `get`.
    pub fn singular_values(
        &self,
        prefix: &str,
        mut get: impl FnMut(&str) -> Result<Tensor>,
    ) -> Result<Vec<(String, f64)>> {
        let kernels = self.spectral(prefix).into_iter();
        kernels
            .map(|(scope, kernel)| {
                let used = kernel.used(&scope, &mut get)?;
                Ok((scope, largest_singular_value(&kernel.rows_of(&used))))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn largest_singular_values() {
        // The golden ratio's square root of [[1, 1], [0, 1]] squared is (3 + √5) / 2.
        let shear = [vec![1.0, 1.0], vec![0.0, 1.0]];
        let golden = (1.0 + 5.0_f64.sqrt()) / 2.0;
        assert!((largest_singular_value(&shear) - golden).abs() < 1e-9);
        assert_eq!(largest_singular_value(&[vec![0.0; 3], vec![0.0; 3]]), 0.0);
        assert!((largest_singular_value(&[vec![3.0, -4.0]]) - 5.0).abs() < 1e-12);
        // The start lies almost across the largest singular vector.
        let across = [vec![2.0, 0.0, 0.0], vec![0.0, 1.0, 0.0], vec![0.0, 0.0, -7.0]];
        assert!((largest_singular_value(&across) - 7.0).abs() < 1e-9);
    }
}
