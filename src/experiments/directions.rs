//! Principal directions of latent space, in closed form (SeFa; Shen and Zhou, arXiv 2007.06600).
//!
//! The first layer with weights is an affine map of the latent, `y = A z + b`. A step along a unit
//! vector `v` changes its output by `A v`, the most along the right singular vectors of `A` with the
//! largest singular values, which are the eigenvectors of `Aᵀ A`. A single coordinate is a mixture
//! of all of them, and of those that hardly matter most.

use faer::{Mat, Side};

use crate::device::{Device, State};
use crate::error::{Error, Result};
use crate::model::{ModelFile, Networks, Pipeline, Weights};
use crate::nn::{LATENT, LatentDistribution, Layer, Mode, Pass, Sequential, TEXT};
use crate::program::{Options, Program};
use crate::rng::Stream;
use crate::tape::Tape;
use crate::tensor::{DType, Tensor};

/// Directions of latent space, those that change the first layer's output most first.
#[derive(Clone, Debug)]
pub struct Directions {
    /// Unit vectors of `nz` entries, orthogonal to one another, with the largest entry positive.
    pub vectors: Vec<Vec<f32>>,
    /// How much each is stretched: the singular values, decreasing.
    pub singular_values: Vec<f64>,
}

impl Directions {
    /// The directions of a model's generator with these weights. InfoGAN's codes, the last entries
    /// of a latent, have meanings of their own, and are not varied: there are as many directions as
    /// other entries.
    ///
    /// # Errors
    /// [`Error::File`] if the model has no generator; [`Error::Tensor`] if its first layer with
    /// weights is not an affine map of the latent.
    pub fn of(model: &ModelFile, weights: Weights) -> Result<Self> {
        let (network, layers, codes) = first_layers(&model.networks)?;
        let nz = model.networks.nz;
        let mut state = State::new(&Device::Cpu);
        let used = model.load_generator(&mut state, weights)?;

        // The images of the origin and of the unit vectors.
        let count = nz - codes;
        let n = count + 1;
        let mut t = Tape::new();
        let z = t.feed("z", &[n, 1, 1, nz], DType::F32)?;
        let mut pass = Pass::new(Mode::Eval);
        if let Some((name, width)) = model.networks.condition() {
            // It adds the same to all outputs.
            pass = pass.with(name, t.fill(&[n, width], 0.0)?);
        }
        let y = layers.record(&mut t, &used.name(&network), z, &pass)?.last();
        t.fetch("y", y)?;
        let mut program = Program::compile(&t, &state, &Options::default())?;
        let mut rows = vec![0.0; n * nz];
        (0..count).for_each(|i| rows[(i + 1) * nz + i] = 1.0);
        let rows = Tensor::new([n, 1, 1, nz], rows)?;
        let fetched = program.call(&mut state, &[("z", &rows)])?;
        let outputs = fetched["y"].f32s();
        let (origin, images) = outputs.split_at(outputs.len() / n);
        let columns: Vec<Vec<f64>> = images
            .chunks(origin.len())
            .map(|y| y.iter().zip(origin).map(|(y, o)| f64::from(*y) - f64::from(*o)).collect())
            .collect();
        Self::of_columns(&columns, nz).ok_or_else(|| Error::Tensor {
            name: network,
            what: "has a first layer whose singular values cannot be computed".into(),
        })
    }

    /// The directions of the matrix with these columns; vectors are filled up with zeros to `nz`
    /// entries. `None` if the eigenvalues do not converge.
    fn of_columns(columns: &[Vec<f64>], nz: usize) -> Option<Self> {
        let count = columns.len();
        let a = Mat::from_fn(columns.first()?.len(), count, |row, column| columns[column][row]);
        let gram = a.transpose() * &a;
        let eigen = gram.self_adjoint_eigen(Side::Lower).ok()?;
        let (vectors, values) = (eigen.U(), eigen.S().column_vector());
        // They come in increasing order.
        let largest_first = (0..count).rev();
        Some(Self {
            vectors: largest_first
                .clone()
                .map(|k| {
                    let mut vector: Vec<f32> = (0..count).map(|i| vectors[(i, k)] as f32).collect();
                    let largest = vector.iter().copied().max_by(|a, b| a.abs().total_cmp(&b.abs()));
                    if largest < Some(0.0) {
                        vector.iter_mut().for_each(|x| *x = -*x);
                    }
                    vector.resize(nz, 0.0);
                    vector
                })
                .collect(),
            singular_values: largest_first.map(|k| values[k].max(0.0).sqrt()).collect(),
        })
    }

    /// The `index`-th of random unit vectors in the space of these directions, for comparison.
    #[must_use]
    pub fn random(&self, index: u32) -> Vec<f32> {
        let mut vector = vec![0.0; self.vectors.len()];
        Stream::new(0, "direction", index).fill_normal(&mut vector);
        let norm = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
        vector.iter_mut().for_each(|x| *x /= norm);
        vector.resize(self.vectors.first().map_or(0, Vec::len), 0.0);
        vector
    }
}

/// The network that takes the latent, by name, its layers up to the first with weights, and the
/// number of the latent's last entries that are codes.
fn first_layers(networks: &Networks) -> Result<(String, Sequential, usize)> {
    let pipeline = Pipeline::of(networks)?;
    let wrong = |name: &str, what: String| Err(Error::Tensor { name: name.into(), what });
    let call = pipeline.0.iter().find(|call| call.input == LATENT);
    let named = call.and_then(|call| networks.by_name.get_key_value(&call.network));
    let Some((name, net)) = named else {
        let what = "is the input of no network of this model as a whole, and directions are those of an \
                    affine map of all of it";
        return wrong(LATENT, what.into());
    };
    let mut codes = 0;
    for (i, layer) in net.network.layers.iter().enumerate() {
        match layer {
            Layer::Identity | Layer::Label(_) => {}
            Layer::Join(join) if join.input == TEXT => {}
            Layer::Codes(layer) if i == 0 => codes = layer.categories + layer.numbers,
            Layer::Conv(_) | Layer::ConvTranspose(_) => {
                let layers = net.network.layers[..=i].to_vec();
                return Ok((name.clone(), Sequential { layers }, codes));
            }
            other => {
                let what = format!(
                    "has {} before its first weights, so that they are not an affine map of the latent",
                    other.kind()
                );
                return wrong(name, what);
            }
        }
    }
    wrong(name, "has no layer with weights".into())
}

/// The standard deviation of a latent along a direction.
#[must_use]
pub fn sigma(distribution: LatentDistribution) -> f32 {
    match distribution {
        LatentDistribution::Normal => 1.0,
        LatentDistribution::Uniform => 1.0 / 3.0_f32.sqrt(),
    }
}

/// The latent `point + amount · direction` for each of `amounts`, as rows `[amounts, nz]`.
#[must_use]
pub fn shifted(point: &[f32], direction: &[f32], amounts: &[f32]) -> Vec<f32> {
    let along = |&amount: &f32| {
        point.iter().zip(direction).map(move |(z, v)| z + amount * v).collect::<Vec<f32>>()
    };
    amounts.iter().flat_map(along).collect()
}

/// How much a step along `direction` changes images: the mean squared difference of pixels in [−1,
/// 1], over steps of `amount` there and back from each of `points` `[n, nz]`, whose own images are
/// `own`.
///
/// # Errors
/// Those of `images`, which makes images of latents `[2 n, nz]`.
pub fn change(
    points: &[f32],
    own: &Tensor,
    direction: &[f32],
    amount: f32,
    images: impl FnOnce(&[f32]) -> Result<Tensor>,
) -> Result<f64> {
    let side = |amount: f32| {
        points.chunks(direction.len().max(1)).flat_map(move |z| shifted(z, direction, &[amount]))
    };
    let latents: Vec<f32> = side(amount).chain(side(-amount)).collect();
    let images = images(&latents)?;
    let pairs = images.f32s().iter().zip(own.f32s().iter().chain(own.f32s()));
    let sum: f64 = pairs.map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum();
    Ok(sum / images.f32s().len().max(1) as f64)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    fn close(a: &[f32], b: &[f32]) -> bool {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5)
    }

    #[test]
    fn a_rotated_stretch_has_its_axes_as_directions() {
        // A = U diag(3, 2, 0.5) Vᵀ with orthonormal columns of V and U (five outputs).
        let third = 1.0 / 3.0;
        let v = [[2.0, 2.0, 1.0], [-2.0, 1.0, 2.0], [1.0, -2.0, 2.0]].map(|v| v.map(|x| third * x));
        let u: [[f64; 5]; 3] =
            [[0.6, 0.0, 0.8, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0, 0.0], [-0.8, 0.0, 0.6, 0.0, 0.0]];
        let values = [3.0, 2.0, 0.5];
        let column = |j: usize| {
            (0..5).map(|i| (0..3).map(|k| values[k] * u[k][i] * v[k][j]).sum()).collect()
        };
        let columns: Vec<Vec<f64>> = (0..3).map(column).collect();
        let found = Directions::of_columns(&columns, 4).unwrap();
        for (found, expected) in found.singular_values.iter().zip(values) {
            assert!((found - expected).abs() < 1e-9, "{found} for {expected}");
        }
        for (found, expected) in found.vectors.iter().zip(v) {
            let mut expected = expected.map(|x| x as f32).to_vec();
            // The entry that is largest, if there is one, is positive.
            let sign = found.iter().zip(&expected).map(|(a, b)| a * b).sum::<f32>().signum();
            expected.iter_mut().for_each(|x| *x *= sign);
            assert!(close(&found[..3], &expected), "{found:?} for {expected:?}");
            assert_eq!(found[3], 0.0, "an entry that is not varied");
            let largest = found.iter().copied().max_by(|a, b| a.abs().total_cmp(&b.abs()));
            assert!(largest > Some(0.0), "{found:?}");
        }
        let random = found.random(3);
        assert!((random.iter().map(|x| x * x).sum::<f32>() - 1.0).abs() < 1e-5);
        assert!(random[3] == 0.0 && random != found.random(4));
    }

    #[test]
    fn a_step_changes_images_by_the_square_of_its_length() {
        let points = [1.0, 2.0, 3.0, 4.0];
        assert_eq!(shifted(&points[..2], &[0.0, 1.0], &[-2.0, 0.5]), [1.0, 0.0, 1.0, 2.5]);
        // "Images" of two pixels, 3 z₀ and z₁.
        let images = |z: &[f32]| {
            let pixels: Vec<f32> = z.chunks(2).flat_map(|z| [3.0 * z[0], z[1]]).collect();
            Tensor::new([z.len() / 2, 1, 2, 1], pixels)
        };
        let own = images(&points).unwrap();
        let along = |direction: &[f32]| change(&points, &own, direction, 0.5, images).unwrap();
        assert_eq!(along(&[1.0, 0.0]), 1.5 * 1.5 / 2.0);
        assert_eq!(along(&[0.0, 1.0]), 0.5 * 0.5 / 2.0);
    }
}
