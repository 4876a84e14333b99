//! Singular values of weights, computed on the host: checks that the power method keeps up.

use crate::error::Result;
use crate::tensor::Tensor;

use super::Sequential;

/// The norm of a vector.
pub(super) fn norm(x: &[f64]) -> f64 {
    x.iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// The largest singular value of the matrix `rows`, by the power method in 64 bits until it no
/// longer grows.
fn largest_singular_value(rows: &[Vec<f64>]) -> f64 {
    /// Maximum iterations: values so close that more are needed count as equal.
    const MOST: usize = 2000;
    /// Minimum iterations: the first may start on the wrong singular vector.
    const LEAST: usize = 30;
    let columns = rows.first().map_or(0, Vec::len);
    let mut v: Vec<f64> = (0..columns).map(|i| 1.0 + (1.7 * i as f64).sin()).collect();
    let mut sigma = 0.0;
    for i in 0..MOST {
        let length = norm(&v);
        if length == 0.0 {
            return 0.0;
        }
        v.iter_mut().for_each(|x| *x /= length);
        let u: Vec<f64> =
            rows.iter().map(|row| row.iter().zip(&v).map(|(a, b)| a * b).sum()).collect();
        let before = std::mem::replace(&mut sigma, norm(&u));
        if i >= LEAST && sigma - before <= 1e-12 * sigma {
            break;
        }
        v.fill(0.0);
        for (row, u) in rows.iter().zip(&u) {
            v.iter_mut().zip(row).for_each(|(v, w)| *v += u * w);
        }
    }
    sigma
}

impl Sequential {
    /// The largest singular value of every spectrally normalized weight as used, `W / σ`, with the
    /// layer's name: 1 if the power method has converged. `get` returns the state of a name.
    ///
    /// # Errors
    /// Those of `get`.
    pub(crate) fn singular_values(
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
