//! The Fréchet distance between two sets of features, each seen as a normal distribution.
//!
//! ```text
//! |m₁ − m₂|² + tr S₁ + tr S₂ − 2 tr √(S₁ S₂)
//! ```
//!
//! with means `m` and unbiased covariances `S`, in 64 bits (Heusel et al., arXiv 1706.08500). It is
//! FID where the features are those of the TF Inception network. Finite sets of one distribution
//! have a positive distance, which falls with their sizes: only distances of sets of the same sizes
//! can be compared.

use faer::{MatRef, Side};

use crate::error::{Error, Result};
use crate::gemm::{Matrix, gemm};

use super::Features;

/// The metric's name in errors.
const NAME: &str = "Fréchet distance";

/// The Fréchet distance between two sets of features.
///
/// # Errors
/// [`Error::Metric`] where a set has fewer than two images, the widths differ, or a feature is not
/// finite.
pub fn frechet_distance(a: &Features, b: &Features) -> Result<f64> {
    a.check_width(b, NAME)?;
    let (a, b) = (Centered::of(a)?, Centered::of(b)?);
    let apart: f64 = a.mean.iter().zip(&b.mean).map(|(a, b)| (a - b).powi(2)).sum();
    Ok(apart + a.trace() + b.trace() - 2.0 * trace_of_root(&a, &b)?)
}

/// Features without their mean, over the root of their number less one: `XᵀX` is their covariance.
struct Centered {
    mean: Vec<f64>,
    /// `[count, width]`.
    rows: Vec<f64>,
}

impl Centered {
    fn of(features: &Features) -> Result<Self> {
        let (count, width) = (features.count(), features.width);
        if count < 2 {
            let what = format!("a covariance needs two images or more, and one set has {count}");
            return Err(Error::metric(NAME, what));
        }
        if !features.values.iter().all(|x| x.is_finite()) {
            return Err(Error::metric(NAME, "some features are not finite"));
        }
        let mut mean = vec![0.0; width];
        for row in features.values.chunks(width) {
            mean.iter_mut().zip(row).for_each(|(sum, &x)| *sum += f64::from(x));
        }
        mean.iter_mut().for_each(|sum| *sum /= count as f64);
        let scale = 1.0 / ((count - 1) as f64).sqrt();
        let rows = features.values.chunks(width);
        let rows =
            rows.flat_map(|row| row.iter().zip(&mean).map(|(&x, m)| (f64::from(x) - m) * scale));
        let rows = rows.collect();
        Ok(Self { mean, rows })
    }

    fn count(&self) -> usize {
        self.rows.len() / self.mean.len()
    }

    /// The trace of the covariance.
    fn trace(&self) -> f64 {
        self.rows.iter().map(|x| x * x).sum()
    }

    fn covariance(&self) -> Vec<f64> {
        let (n, d) = (self.count(), self.mean.len());
        product(Matrix::new(&self.rows, d, n, true), Matrix::new(&self.rows, n, d, false), d, d)
    }

    /// Some `R` `[rows, width]` with `RᵀR` the covariance, and its number of rows: the features
    /// themselves where they are few, else a Cholesky factor, else, where that breaks down because
    /// some features depend on others, the symmetric root.
    fn root(&self) -> Result<(Vec<f64>, usize)> {
        let (n, d) = (self.count(), self.mean.len());
        if n <= d {
            return Ok((self.rows.clone(), n));
        }
        let covariance = self.covariance();
        let s = MatRef::from_row_major_slice(&covariance, d, d);
        if let Ok(factor) = s.llt(Side::Lower) {
            let lower = factor.L();
            let upper =
                (0..d * d).map(|i| if i / d <= i % d { lower[(i % d, i / d)] } else { 0.0 });
            return Ok((upper.collect(), d));
        }
        let eigen = s.self_adjoint_eigen(Side::Lower).map_err(|_| without_eigenvalues())?;
        let (values, vectors) = (eigen.S().column_vector(), eigen.U());
        // √λ vᵀ, a row for each eigenvalue; what rounding made negative is zero.
        let rows = (0..d * d).map(|i| values[i / d].max(0.0).sqrt() * vectors[(i % d, i / d)]);
        Ok((rows.collect(), d))
    }
}

fn without_eigenvalues() -> Error {
    Error::metric(NAME, "the eigenvalues of the covariances cannot be found")
}

fn product(a: Matrix<'_, f64>, b: Matrix<'_, f64>, rows: usize, cols: usize) -> Vec<f64> {
    let mut y = vec![0.0; rows * cols];
    gemm(a, b, &mut y, false, true);
    y
}

/// `tr √(S₁ S₂)`: with `S₁ = RᵀR`, the eigenvalues of `S₁ S₂` other than zero are those of the
/// symmetric `R S₂ Rᵀ`. The smaller set gives `R`.
fn trace_of_root(a: &Centered, b: &Centered) -> Result<f64> {
    let (first, second) = if a.count() <= b.count() { (a, b) } else { (b, a) };
    let (d, n) = (first.mean.len(), second.count());
    let (root, rows) = first.root()?;
    // R Xᵀ X Rᵀ, by the cheaper of its two halves.
    let symmetric = if n < d {
        let half = product(
            Matrix::new(&root, rows, d, false),
            Matrix::new(&second.rows, d, n, true),
            rows,
            n,
        );
        product(Matrix::new(&half, rows, n, false), Matrix::new(&half, n, rows, true), rows, rows)
    } else {
        let s = second.covariance();
        let half =
            product(Matrix::new(&root, rows, d, false), Matrix::new(&s, d, d, false), rows, d);
        product(Matrix::new(&half, rows, d, false), Matrix::new(&root, d, rows, true), rows, rows)
    };
    let m = MatRef::from_row_major_slice(&symmetric, rows, rows);
    let values = m.self_adjoint_eigenvalues(Side::Lower).map_err(|_| without_eigenvalues())?;
    Ok(values.iter().map(|&value| value.max(0.0).sqrt()).sum())
}
