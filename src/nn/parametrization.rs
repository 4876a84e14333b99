//! The weights of convolutions, as learned and as used.
//!
//! Weights `[kh, kw, large, small]` are a matrix `W` `[out, rest]` with a row for each output
//! channel; both normalizations use that matrix, as in PyTorch.
//!
//! **Spectral norm** (Miyato, Kataoka, Koyama and Yoshida, arXiv 1802.05957) uses `W / σ`, where
//! `σ` is the largest singular value of `W`, so that a layer stretches nothing. Its vectors `u` and
//! `v` are states; power iterations are not part of a pass but are recorded by
//! [`Sequential::power_iteration`], so that all passes of a step share one `σ`: formulas at
//! [`Parametrization`].
//!
//! **Equalized learning rates** (Karras, Aila, Laine and Lehtinen, arXiv 1710.10196, section 4.1) learn
//! weights drawn from N(0, 1) and use them times the standard deviation that they would have started
//! with, so that an optimizer that normalizes gradients moves all layers alike.
//!
//! **Weight norm** (Salimans and Kingma, arXiv 1602.07868) learns length and direction separately:
//! row `i` of `W` is `gᵢ vᵢ / |vᵢ|`. Lengths may also be fixed at their initial values, which
//! `standardize` sets from data.

use serde::{Deserialize, Serialize};

use crate::config::named;
use crate::error::Result;
use crate::tape::{Tape, Var};
use crate::tensor::{DType, Tensor};

use super::batch_norm::per_cell;
use super::param::Owned;
use super::singular::norm;
use super::{Init, Layer, Layout, Sequential, WeightInit};

/// How the weights of a convolution are computed from the trainable ones. `W` is the matrix `[out,
/// rest]` of the weights, with a row for each output channel (PyTorch's `dim=0`, and `dim=1` of a
/// transposed convolution, PyTorch's defaults).
///
/// ```text
/// spectral, spectral-parametrization   W / σ      σ = uᵀWv
/// norm, norm-fixed                     gᵢ vᵢ / |vᵢ| in row i
/// equalized                            c W        c: the standard deviation of its initialization
/// ```
///
/// One power iteration ([`Sequential::power_iteration`]) in the order of PyTorch's two functions,
/// with `normalize(x) = x / max(|x|, 10⁻¹²)`:
///
/// ```text
/// spectral                   v ← normalize(Wᵀu)   u ← normalize(W v)     torch.nn.utils.spectral_norm
/// spectral-parametrization   u ← normalize(W v)   v ← normalize(Wᵀu)     torch.nn.utils.parametrizations.spectral_norm
/// ```
///
/// In both, `u` and `v` are constants to the gradient, which flows only through `W`, also inside
/// `σ`. In PyTorch every forward pass in training mode begins with an iteration; here passes use
/// the current vectors, so a step that follows PyTorch pass by pass records one before each.
/// PyTorch's first function starts from random vectors, its second after 15 iterations;
/// [`crate::train::Trainer`] makes 15 in both cases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Parametrization {
    /// The weights are learned directly: `weight`.
    #[default]
    Plain,
    /// Spectral norm: `weight_orig`, and the vectors `weight_u`, `weight_v`, as
    /// `torch.nn.utils.spectral_norm` names them.
    Spectral,
    /// Spectral norm with `u` updated before `v`, as `torch.nn.utils.parametrizations.spectral_norm`
    /// does. Its tensors have the same names as those of [`Parametrization::Spectral`].
    #[serde(rename = "spectral-parametrization")]
    SpectralParametrization,
    /// Weight norm: `weight_g` and `weight_v`, as `torch.nn.utils.weight_norm` names them.
    Norm,
    /// Weight norm with fixed lengths `weight_g`, as set by initialization, so that training
    /// rotates the rows of the weights but does not stretch them: hidden layers of Improved GAN's
    /// classifiers (arXiv 1606.03498; `train_scale=False` in the authors' code).
    #[serde(rename = "norm-fixed")]
    NormFixed,
    /// Equalized learning rates: `weight`, drawn from N(0, 1), times the standard deviation of the
    /// layer's initialization (arXiv 1710.10196, section 4.1).
    Equalized,
}

named!(Parametrization);

impl Parametrization {
    /// Whether a description may omit it.
    pub(super) fn is_plain(&self) -> bool {
        *self == Self::Plain
    }

    /// Whether it divides by the spectral norm.
    pub(crate) fn is_spectral(self) -> bool {
        matches!(self, Self::Spectral | Self::SpectralParametrization)
    }
}

/// The axes of `[kh, kw, large, small]` that form the rows of `W`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rows {
    /// The last: for a convolution.
    Small,
    /// The third: for a transposed convolution.
    Large,
    /// The first three: for a linear layer whose output is used as an image.
    Cells,
}

/// Keeps the divisor `|x|` from being zero.
const EPS: f32 = 1e-12;

/// The weights of one convolution or linear layer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kernel {
    /// `[kh, kw, large, small]`.
    pub(super) shape: [usize; 4],
    pub(super) rows: Rows,
    pub(super) layout: Layout,
    pub(super) weight: Parametrization,
    pub(super) start: WeightInit,
}

impl Kernel {
    /// A 1×1 convolution.
    pub(super) const fn pixel(
        from: usize,
        to: usize,
        weight: Parametrization,
        start: WeightInit,
    ) -> Self {
        let (shape, layout) = ([1, 1, from, to], Layout::Conv);
        Self { shape, rows: Rows::Small, layout, weight, start }
    }

    /// A linear layer, `[from, to]` on a tape, `[to, from]` in files.
    pub(super) const fn linear(
        from: usize,
        to: usize,
        weight: Parametrization,
        start: WeightInit,
    ) -> Self {
        let (shape, layout) = ([1, 1, from, to], Layout::Flatten);
        Self { shape, rows: Rows::Small, layout, weight, start }
    }

    /// A row for each of `classes`: `[classes, to]` on a tape and in files, PyTorch's `Embedding`.
    pub(super) const fn embedding(
        classes: usize,
        to: usize,
        weight: Parametrization,
        start: WeightInit,
    ) -> Self {
        let (shape, layout) = ([1, 1, classes, to], Layout::Project);
        Self { shape, rows: Rows::Cells, layout, weight, start }
    }

    /// Rows and columns of `W`.
    fn sizes(&self) -> [usize; 2] {
        let [kh, kw, large, small] = self.shape;
        match self.rows {
            Rows::Small => [small, kh * kw * large],
            Rows::Large => [large, kh * kw * small],
            Rows::Cells => [kh * kw * large, small],
        }
    }

    /// The shapes of `u` and `v` on the device, and their layouts.
    fn vectors(&self) -> [(Vec<usize>, Layout); 2] {
        let [kh, kw, large, small] = self.shape;
        let plain = |len| (vec![len], Layout::Plain);
        match self.rows {
            Rows::Small => [plain(small), per_cell([kh, kw], large)],
            Rows::Large => [plain(large), per_cell([kh, kw], small)],
            Rows::Cells => [per_cell([kh, kw], large), plain(small)],
        }
    }

    /// The shape of one value per row of `W`, broadcast over the weights, and the reduced axes.
    pub(super) fn per_row(&self) -> ([usize; 4], &'static [usize]) {
        let [kh, kw, large, small] = self.shape;
        match self.rows {
            Rows::Small => ([1, 1, 1, small], &[0, 1, 2]),
            Rows::Large => ([1, 1, large, 1], &[0, 1, 3]),
            Rows::Cells => ([kh, kw, large, 1], &[3]),
        }
    }

    /// Whether length and direction of its rows are separate.
    pub(super) fn is_normed(&self) -> bool {
        matches!(self.weight, Parametrization::Norm | Parametrization::NormFixed)
    }

    pub(super) fn params(&self, owned: &mut Owned<'_>) {
        let init = self.start.init(self.shape, self.layout);
        let whole = (self.shape.to_vec(), self.layout);
        match self.weight {
            Parametrization::Plain => owned.learned("weight", whole, init),
            Parametrization::Equalized => {
                owned.learned("weight", whole, Init::Normal { mean: 0.0, std: 1.0 });
            }
            Parametrization::Spectral | Parametrization::SpectralParametrization => {
                owned.learned("weight_orig", whole, init);
                let [u, v] = self.vectors();
                owned.kept("weight_u", u, Init::Unit);
                owned.kept("weight_v", v, Init::Unit);
            }
            Parametrization::Norm | Parametrization::NormFixed => {
                // The rows' average length: the initial weights are as plain ones.
                let std = self.start.std(self.shape, self.layout);
                let length = std * (self.sizes()[1] as f32).sqrt();
                let per_row = (self.per_row().0.to_vec(), self.layout);
                let init_g = Init::Constant(length);
                match self.weight {
                    Parametrization::NormFixed => owned.kept("weight_g", per_row, init_g),
                    _ => owned.learned("weight_g", per_row, init_g),
                }
                owned.learned("weight_v", whole, init);
            }
        }
    }

    /// The effective weights, `[kh, kw, large, small]`.
    pub(super) fn record(&self, t: &mut Tape, scope: &str) -> Result<Var> {
        let read = |t: &mut Tape, own: &str, shape: &[usize]| {
            t.read(&format!("{scope}.{own}"), shape, DType::F32)
        };
        match self.weight {
            Parametrization::Plain => read(t, "weight", &self.shape),
            Parametrization::Equalized => {
                let w = read(t, "weight", &self.shape)?;
                t.affine(w, self.start.std(self.shape, self.layout), 0.0)
            }
            Parametrization::Spectral | Parametrization::SpectralParametrization => {
                let w = read(t, "weight_orig", &self.shape)?;
                let sigma = self.sigma(t, scope)?;
                t.div(w, sigma)
            }
            Parametrization::Norm | Parametrization::NormFixed => {
                let (per_row, rest) = self.per_row();
                let g = read(t, "weight_g", &per_row)?;
                let v = read(t, "weight_v", &self.shape)?;
                let square = t.mul(v, v)?;
                let square = t.sum(square, rest)?;
                let square = t.reshape(square, &per_row)?;
                let length = t.sqrt(square)?;
                let scale = t.div(g, length)?;
                t.mul(v, scale)
            }
        }
    }

    /// The largest singular value according to the vectors, `uᵀWv`, a scalar.
    fn sigma(&self, t: &mut Tape, scope: &str) -> Result<Var> {
        let w = t.read(&format!("{scope}.weight_orig"), &self.shape, DType::F32)?;
        let [u, v] = self.read_vectors(t, scope)?;
        let wv = self.product(t, w, v, false)?;
        let along = t.mul(u, wv)?;
        t.sum_all(along)
    }

    /// `u` and `v` as columns.
    fn read_vectors(&self, t: &mut Tape, scope: &str) -> Result<[Var; 2]> {
        let [(u, _), (v, _)] = self.vectors();
        let mut column = |own: &str, shape: &[usize]| {
            let vector = t.read(&format!("{scope}.{own}"), shape, DType::F32)?;
            t.reshape(vector, &[shape.iter().product(), 1])
        };
        Ok([column("weight_u", &u)?, column("weight_v", &v)?])
    }

    /// `Wx`, or `Wᵀx`, for a column `x`.
    fn product(&self, t: &mut Tape, w: Var, x: Var, transposed: bool) -> Result<Var> {
        let [out, rest] = self.sizes();
        match self.rows {
            // In memory it is already the transpose.
            Rows::Small => {
                let w = t.reshape(w, &[rest, out])?;
                t.matmul_t(w, x, !transposed, false)
            }
            Rows::Large => {
                let w = if self.shape[..2] == [1, 1] { w } else { t.permute(w, &[2, 0, 1, 3])? };
                let w = t.reshape(w, &[out, rest])?;
                t.matmul_t(w, x, transposed, false)
            }
            Rows::Cells => {
                let w = t.reshape(w, &[out, rest])?;
                t.matmul_t(w, x, transposed, false)
            }
        }
    }

    /// Records one power iteration, in the order given at [`Parametrization`].
    fn iterate(&self, t: &mut Tape, scope: &str) -> Result<()> {
        let w = t.read(&format!("{scope}.weight_orig"), &self.shape, DType::F32)?;
        let shapes = self.vectors().map(|(shape, _)| shape);
        let mut halves = [("weight_v", 0, 1), ("weight_u", 1, 0)];
        if self.weight == Parametrization::SpectralParametrization {
            halves.reverse();
        }
        for (own, from, to) in halves {
            // Read again: the second is computed from the new first.
            let x = self.read_vectors(t, scope)?[from];
            let y = self.product(t, w, x, from == 0)?;
            let square = t.mul(y, y)?;
            let square = t.sum_all(square)?;
            let length = t.sqrt(square)?;
            let least = t.fill(&[], EPS)?;
            let length = t.maximum(length, least)?;
            let y = t.div(y, length)?;
            let y = t.reshape(y, &shapes[to])?;
            t.assign(&format!("{scope}.{own}"), y)?;
        }
        Ok(())
    }

    /// The effective weights, computed on the host; `get` returns the state of a name.
    pub(super) fn used(
        &self,
        scope: &str,
        get: &mut dyn FnMut(&str) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let mut own = |own: &str| get(&format!("{scope}.{own}"));
        let (w, factors) = match self.weight {
            Parametrization::Plain => return own("weight"),
            Parametrization::Equalized => {
                let w = own("weight")?;
                let std = f64::from(self.start.std(self.shape, self.layout));
                (w, vec![std; self.sizes()[0]])
            }
            Parametrization::Spectral | Parametrization::SpectralParametrization => {
                let (w, u, v) = (own("weight_orig")?, own("weight_u")?, own("weight_v")?);
                let rows = self.rows_of(&w);
                let sigma: f64 =
                    rows.iter().zip(u.f32s()).map(|(row, &u)| f64::from(u) * dot(row, &v)).sum();
                (w, vec![1.0 / sigma; rows.len()])
            }
            Parametrization::Norm | Parametrization::NormFixed => {
                let (g, w) = (own("weight_g")?, own("weight_v")?);
                let lengths = self.rows_of(&w).into_iter().map(|row| norm(&row));
                let factors = g.f32s().iter().zip(lengths).map(|(&g, l)| f64::from(g) / l);
                let factors = factors.collect();
                (w, factors)
            }
        };
        let numbers = w.f32s().iter().enumerate();
        let used = numbers.map(|(i, &x)| (f64::from(x) * factors[self.row_of(i)]) as f32).collect();
        Tensor::new(self.shape, used)
    }

    /// The row of `W` that entry `i` of the weights belongs to.
    fn row_of(&self, i: usize) -> usize {
        let [_, _, large, small] = self.shape;
        match self.rows {
            Rows::Small => i % small,
            Rows::Large => i / small % large,
            Rows::Cells => i / small,
        }
    }

    /// The rows of `W`.
    pub(super) fn rows_of(&self, w: &Tensor) -> Vec<Vec<f64>> {
        let mut rows = vec![Vec::new(); self.sizes()[0]];
        for (i, &x) in w.f32s().iter().enumerate() {
            rows[self.row_of(i)].push(f64::from(x));
        }
        rows
    }
}

fn dot(row: &[f64], v: &Tensor) -> f64 {
    row.iter().zip(v.f32s()).map(|(a, &b)| a * f64::from(b)).sum()
}

impl Sequential {
    /// All weights of the network called `prefix`, with the names of the layers, or parts of
    /// layers, that own them.
    pub(super) fn kernels(&self, prefix: &str) -> Vec<(String, Kernel)> {
        let of = |(name, layer): (String, &Layer)| {
            let scope = move |part: &str| match part {
                "" => format!("{prefix}.{name}"),
                part => format!("{prefix}.{name}.{part}"),
            };
            layer.rule().kernels().into_iter().map(move |(part, kernel)| (scope(part), kernel))
        };
        self.each().into_iter().flat_map(of).collect()
    }

    pub(super) fn spectral(&self, prefix: &str) -> Vec<(String, Kernel)> {
        let mut kernels = self.kernels(prefix);
        kernels.retain(|(_, kernel)| kernel.weight.is_spectral());
        kernels
    }

    /// The learned weights of every convolution of the network called `prefix`, and whether its
    /// outputs are the large side (a transposed one). Projections to images are omitted.
    #[must_use]
    pub fn convolutions(&self, prefix: &str) -> Vec<(String, bool)> {
        let all = self.kernels(prefix).into_iter();
        all.filter(|(_, kernel)| kernel.rows != Rows::Cells)
            .map(|(scope, kernel)| {
                let own = match kernel.weight {
                    Parametrization::Plain | Parametrization::Equalized => "weight",
                    Parametrization::Spectral | Parametrization::SpectralParametrization => {
                        "weight_orig"
                    }
                    Parametrization::Norm | Parametrization::NormFixed => "weight_v",
                };
                (format!("{scope}.{own}"), kernel.rows == Rows::Large)
            })
            .collect()
    }

    /// Whether some of its weights are normalized by their spectral norm.
    #[must_use]
    pub fn is_spectral(&self) -> bool {
        !self.spectral("").is_empty()
    }

    /// Records one power iteration on the vectors of every spectrally normalized weight of the
    /// network called `prefix`, and assigns them. Later recordings use the new ones.
    ///
    /// Vectors are initialized at random, where `σ` is not a singular value and may be close to 0:
    /// record a few iterations and run them once before the first pass through a new network.
    ///
    /// # Errors
    /// Errors of recording the ops.
    pub fn power_iteration(&self, t: &mut Tape, prefix: &str) -> Result<()> {
        self.spectral(prefix).iter().try_for_each(|(scope, kernel)| kernel.iterate(t, scope))
    }

    /// The scalars `σ` that divide the spectrally normalized weights of the network called
    /// `prefix`, with their layers' names.
    ///
    /// # Errors
    /// Errors of recording the ops.
    pub(crate) fn sigmas(&self, t: &mut Tape, prefix: &str) -> Result<Vec<(String, Var)>> {
        let kernels = self.spectral(prefix).into_iter();
        kernels.map(|(scope, kernel)| kernel.sigma(t, &scope).map(|sigma| (scope, sigma))).collect()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    /// Both orders against the formulas, from random vectors, where they differ most.
    #[test]
    fn one_iteration_is_that_of_either_function_of_pytorch() {
        use crate::device::{Device, State};
        use crate::program::{Options, Program};

        let unit = |x: Vec<f64>| {
            let length = norm(&x);
            x.into_iter().map(|x| x / length).collect::<Vec<f64>>()
        };
        for weight in [Parametrization::Spectral, Parametrization::SpectralParametrization] {
            let network = Sequential { layers: vec![Layer::linear(4, 3, false).weighted(weight)] };
            let mut state = State::new(&Device::Cpu);
            for param in network.params("n") {
                state.set(&param.name, &param.initial(1)).unwrap();
            }
            let get = |own: &str| state.get(&format!("n.main.0.{own}")).unwrap();
            let kernel = network.layers[0].rule().kernels().remove(0).1;
            let w = kernel.rows_of(&get("weight_orig"));
            let wide = |x: &Tensor| x.f32s().iter().map(|&x| f64::from(x)).collect::<Vec<f64>>();
            let (mut u, mut v) = (wide(&get("weight_u")), wide(&get("weight_v")));
            let from_v = |v: &[f64]| {
                unit(w.iter().map(|row| row.iter().zip(v).map(|(w, v)| w * v).sum()).collect())
            };
            let from_u = |u: &[f64]| {
                let sum = |i: usize| w.iter().zip(u).map(|(row, u)| row[i] * u).sum();
                unit((0..4).map(sum).collect())
            };
            if weight == Parametrization::Spectral {
                v = from_u(&u);
                u = from_v(&v);
            } else {
                u = from_v(&v);
                v = from_u(&u);
            }
            let mut tape = Tape::new();
            network.power_iteration(&mut tape, "n").unwrap();
            let mut program = Program::compile(&tape, &state, &Options::default()).unwrap();
            program.call(&mut state, &[]).unwrap();
            for (own, want) in [("weight_u", u), ("weight_v", v)] {
                let got = wide(&state.get(&format!("n.main.0.{own}")).unwrap());
                let near = got.iter().zip(&want).all(|(a, b)| (a - b).abs() < 1e-6);
                assert!(near, "{weight:?} {own}: {got:?}, not {want:?}");
            }
        }
    }

    #[test]
    fn the_host_uses_the_weights_that_a_tape_uses() {
        use crate::device::{Device, State};
        use crate::ops::conv::ConvSpec;
        use crate::program::{Options, Program};

        let spec = ConvSpec::down([6, 5], [3, 2], [1, 1], [0, 0]).unwrap();
        let spectral = [Parametrization::Spectral, Parametrization::SpectralParametrization];
        use Parametrization::{Equalized, Norm, NormFixed, Plain};
        for weight in [Plain, Norm, NormFixed, Equalized].into_iter().chain(spectral) {
            let layers = [
                Layer::conv(spec, 4, 5, true),
                Layer::conv_transpose(spec, 4, 5, true),
                Layer::project([3, 2], 4, 5, true),
                Layer::linear(4, 5, true),
            ];
            for layer in layers {
                let network = Sequential { layers: vec![layer.weighted(weight)] };
                let kernel = network.layers[0].rule().kernels().remove(0).1;
                let mut state = State::new(&Device::Cpu);
                for param in network.params("n") {
                    state.set(&param.name, &param.initial(1)).unwrap();
                }
                let mut tape = Tape::new();
                for _ in 0..60 {
                    network.power_iteration(&mut tape, "n").unwrap();
                }
                let used = kernel.record(&mut tape, "n.main.0").unwrap();
                tape.fetch("used", used).unwrap();
                let mut program = Program::compile(&tape, &state, &Options::default()).unwrap();
                let tape = program.call(&mut state, &[]).unwrap();
                let host = kernel.used("n.main.0", &mut |name| state.get(name)).unwrap();
                for (a, b) in tape["used"].f32s().iter().zip(host.f32s()) {
                    assert!((a - b).abs() <= 1e-5 * b.abs().max(0.01), "{kernel:?}: {a} {b}");
                }
                let values = network.singular_values("n", |name| state.get(name)).unwrap();
                assert_eq!(values.len(), usize::from(weight.is_spectral()));
                for (scope, value) in values {
                    assert_eq!(scope, "n.main.0");
                    assert!((value - 1.0).abs() < 1e-3, "{kernel:?}: {value}");
                }
            }
        }
    }
}
