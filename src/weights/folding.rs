//! Weights that PyTorch computes from others, spectral norm and weight norm, as plain ones.
//!
//! With the weights as a matrix `W` of one row for each output channel, in the older functions of
//! `torch.nn.utils` and the newer ones of `torch.nn.utils.parametrizations`:
//!
//! ```text
//! spectral norm   weight_orig, weight_u [rows], weight_v [columns]   W / (uᵀ W v)
//! weight norm     weight_g [rows, 1, …] or a scalar, weight_v        g W / ‖W‖, by row or in all
//! ```
//!
//! Rows lie along the first axis, in transposed convolutions along the second. Files do not say
//! which: the lengths of `u` and `v` tell, and between equal ones the axis with the larger
//! `uᵀ W v`, as `u` and `v` are the first singular vectors there.

use std::collections::{BTreeMap, BTreeSet};

use crate::nn::state_dict;
use crate::tensor::Tensor;

use super::Named;

/// The tensors that weights are computed from, by the end of their names.
const PARTS: [&str; 4] = ["weight_orig", "weight_u", "weight_v", "weight_g"];

/// Tensors of a network with plain weights in place of normalized ones.
///
/// # Errors
/// A message that names a layer whose tensors do not fit together.
pub(super) fn fold(tensors: Vec<Named>) -> Result<Vec<Named>, String> {
    let mut parts: BTreeMap<String, BTreeMap<&str, Tensor>> = BTreeMap::new();
    let mut folded = Vec::with_capacity(tensors.len());
    for Named { name, tensor } in tensors {
        let ours = state_dict::ours(&name);
        let (layer, own) = ours.rsplit_once('.').unwrap_or(("", &ours));
        let Some(own) = PARTS.into_iter().find(|&part| part == own) else {
            folded.push(Named { name, tensor });
            continue;
        };
        let parts = parts.entry(layer.to_owned()).or_default();
        // At the place of the layer's first one.
        if parts.is_empty() {
            let name = if layer.is_empty() { "weight".into() } else { format!("{layer}.weight") };
            folded.push(Named { name, tensor: tensor.clone() });
        }
        parts.insert(own, tensor);
    }
    let names: BTreeSet<String> = parts.keys().cloned().collect();
    for Named { name, tensor } in &mut folded {
        let layer = name.strip_suffix("weight").map(|layer| layer.trim_end_matches('.'));
        if let Some(parts) =
            layer.filter(|&layer| names.contains(layer)).and_then(|l| parts.remove(l))
        {
            *tensor = plain(&parts).map_err(|what| format!("{name}: {what}"))?;
        }
    }
    Ok(folded)
}

/// The weights that these parts stand for.
fn plain(parts: &BTreeMap<&str, Tensor>) -> Result<Tensor, String> {
    let part = |name: &str| parts.get(name);
    match (part("weight_orig"), part("weight_u"), part("weight_v"), part("weight_g")) {
        (Some(w), Some(u), Some(v), None) => spectral(w, u, v),
        (None, None, Some(w), Some(g)) => normalized(w, g),
        _ => {
            let found: Vec<&str> = parts.keys().copied().collect();
            Err(format!(
                "spectral norm has weight_orig, weight_u and weight_v, and weight norm weight_g and \
                 weight_v; this layer has {}",
                found.join(", ")
            ))
        }
    }
}

/// `W / (uᵀ W v)`.
fn spectral(w: &Tensor, u: &Tensor, v: &Tensor) -> Result<Tensor, String> {
    let rows = |axis: usize| w.shape().get(axis).copied();
    let axes = [0, 1]
        .into_iter()
        .filter(|&axis| rows(axis) == Some(u.len()) && Some(u.len() * v.len()) == Some(w.len()));
    let sigmas = axes.map(|axis| {
        let products = w.f32s().iter().enumerate().map(|(i, &x)| {
            let (row, column) = place(w.shape(), axis, i);
            f64::from(x) * f64::from(u.f32s()[row]) * f64::from(v.f32s()[column])
        });
        products.sum::<f64>()
    });
    let sigma = sigmas.max_by(f64::total_cmp).ok_or_else(|| {
        let shapes = [w, u, v].map(|tensor| format!("{:?}", tensor.shape()));
        format!(
            "weight_u and weight_v do not belong to weight_orig by their shapes: {}",
            shapes.join(", ")
        )
    })?;
    if sigma == 0.0 || !sigma.is_finite() {
        return Err(format!("its largest singular value, by weight_u and weight_v, is {sigma}"));
    }
    scaled(w, |_| 1.0 / sigma)
}

/// `g W / ‖W‖`, for each slice that `g` has a number for.
fn normalized(w: &Tensor, g: &Tensor) -> Result<Tensor, String> {
    let along = |axis: usize| {
        let wide = |(i, &size): (usize, &usize)| if i == axis { size } else { 1 };
        w.shape().iter().enumerate().map(wide).collect::<Vec<_>>()
    };
    let slice: Box<dyn Fn(usize) -> usize> =
        match (0..w.shape().len()).find(|&i| along(i) == g.shape()) {
            Some(axis) => {
                let shape = w.shape().to_vec();
                Box::new(move |i| i / shape[axis + 1..].iter().product::<usize>() % shape[axis])
            }
            None if g.len() == 1 => Box::new(|_| 0),
            None => {
                let shapes = [w, g].map(|tensor| format!("{:?}", tensor.shape()));
                return Err(format!(
                    "weight_g does not belong to weight_v by their shapes: {}",
                    shapes.join(", ")
                ));
            }
        };
    let mut squares = vec![0.0; g.len()];
    for (i, &x) in w.f32s().iter().enumerate() {
        squares[slice(i)] += f64::from(x) * f64::from(x);
    }
    scaled(w, |i| f64::from(g.f32s()[slice(i)]) / squares[slice(i)].sqrt())
}

/// Row and column of entry `i` in the matrix with rows along `axis`.
fn place(shape: &[usize], axis: usize, i: usize) -> (usize, usize) {
    let inner: usize = shape[axis + 1..].iter().product();
    let (outer, row, rest) = (i / (inner * shape[axis]), i / inner % shape[axis], i % inner);
    (row, outer * inner + rest)
}

fn scaled(w: &Tensor, factor: impl Fn(usize) -> f64) -> Result<Tensor, String> {
    let numbers = w.f32s().iter().enumerate().map(|(i, &x)| (f64::from(x) * factor(i)) as f32);
    Tensor::new(w.shape(), numbers.collect::<Vec<_>>()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    /// As many input as output channels: lengths do not tell the rows from the columns.
    #[test]
    fn the_rows_of_square_weights_are_found_by_their_singular_vectors() {
        for axis in [0, 1] {
            let shape = [4, 4, 1, 2];
            let mut u = vec![0.0; 4];
            u[2] = 1.0;
            let v: Vec<f32> =
                (0..8).map(|i| [0.5, -0.5, 0.1, 0.3, -0.2, 0.4, 0.2, 0.4][i]).collect();
            let products = |scale: f32| {
                let numbers = (0..32).map(|i| {
                    let (row, column) = place(&shape, axis, i);
                    scale * u[row] * v[column]
                });
                Tensor::new(shape, numbers.collect()).unwrap()
            };
            let squares: f32 = v.iter().map(|x| x * x).sum();
            let vector = |numbers: &[f32]| Tensor::new([numbers.len()], numbers.to_vec()).unwrap();
            let folded = spectral(&products(3.0), &vector(&u), &vector(&v)).unwrap();
            let wanted = products(1.0 / squares);
            let close = folded.f32s().iter().zip(wanted.f32s()).all(|(a, b)| (a - b).abs() < 1e-6);
            assert!(close, "axis {axis}: {folded:?}");
        }
    }
}
