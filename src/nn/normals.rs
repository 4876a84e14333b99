//! Unit vectors at pixels, such as surface normals (Wang and Gupta, arXiv 1603.05631).

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::tape::{Tape, Var};
use crate::tensor::{DType, Tensor};

use super::onnx::{Attribute, Graph};
use super::param::{Init, Owned, plain};
use super::pass::Walk;
use super::rule::LayerRule;
use super::size::{Around, Misfit};
use super::{BatchDependence, LayerRole, Reach};

/// Added to squared lengths: next to nothing beside 1.
const EPS: f32 = 1e-12;

/// `y = x / ‖x‖`, the channels of each pixel as a vector.
#[derive(Debug)]
pub(super) struct UnitLength;

/// The normal that logits of a codebook mean: for `x` `[n, h, w, codes]`, with the vectors `c_k` of
/// the codebook,
///
/// ```text
/// y = s / ‖s‖     s = Σ_k softmax(x)_k c_k     [n, h, w, 3]
/// ```
///
/// The codebook is a Fibonacci lattice on the hemisphere of normals that face the viewer: `k` has the
/// height `z = 1 − (k + ½) / codes` and the angle `k π (3 − √5)`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Codebook {
    /// The number of its vectors.
    pub codes: usize,
}

/// The vectors of a codebook, `[3, codes]`.
pub(super) fn lattice(codes: usize) -> Vec<f32> {
    let turn = std::f64::consts::PI * (3.0 - 5.0_f64.sqrt());
    let mut vectors = vec![0.0; 3 * codes];
    for k in 0..codes {
        let z = 1.0 - (k as f64 + 0.5) / codes as f64;
        let (radius, angle) = ((1.0 - z * z).sqrt(), k as f64 * turn);
        for (axis, x) in [radius * angle.cos(), radius * angle.sin(), z].into_iter().enumerate() {
            vectors[axis * codes + k] = x as f32;
        }
    }
    vectors
}

impl Tape {
    /// `x / ‖x‖` along the last axis of `x` `[n, h, w, c]`.
    ///
    /// # Errors
    /// [`crate::error::Error::Shape`] if `x` has another number of axes.
    pub fn unit_length(&mut self, x: Var) -> Result<Var> {
        let mut shape = self.shape(x).to_vec();
        let square = self.mul(x, x)?;
        let sum = self.sum(square, &[3])?;
        let sum = self.affine(sum, 1.0, EPS)?;
        let length = self.sqrt(sum)?;
        shape[3] = 1;
        let length = self.reshape(length, &shape)?;
        self.div(x, length)
    }
}

impl Codebook {
    /// The vectors `[3, codes]` of the codebook that is the layer `scope`.
    ///
    /// # Errors
    /// Errors of recording the ops.
    pub fn vectors(self, t: &mut Tape, scope: &str) -> Result<Var> {
        t.read(&format!("{scope}.codes"), &[3, self.codes], DType::F32)
    }
}

impl LayerRule for UnitLength {
    fn kind(&self) -> &'static str {
        "unit vectors"
    }

    fn role(&self) -> LayerRole {
        LayerRole::Other
    }

    fn batch(&self) -> BatchDependence {
        BatchDependence::None
    }

    fn reach(&self) -> Reach {
        Reach::Pixel
    }

    fn size(&self, at: [usize; 3], _: &mut Around<'_>) -> Result<[usize; 3], Misfit> {
        Ok(at)
    }

    fn record(&self, t: &mut Tape, _: &str, x: Var, _: &mut Walk<'_>) -> Result<Var> {
        t.unit_length(x)
    }

    fn onnx(&self, graph: &mut dyn Graph, _: &str, x: String, _: [usize; 3]) -> Result<String> {
        let channels = [Attribute::Ints("axes", &[1]), Attribute::Int("keepdims", 1)];
        let square = graph.node("Mul", &[x.clone(), x.clone()], &[]);
        let mean = graph.node("ReduceMean", &[square], &channels);
        let eps = graph.constant("epsilon", &Tensor::full([1], EPS / 3.0));
        let mean = graph.node("Add", &[mean, eps], &[]);
        let three = graph.constant("channels", &Tensor::full([1], 3.0));
        let sum = graph.node("Mul", &[mean, three], &[]);
        let length = graph.unary("Sqrt", sum);
        Ok(graph.node("Div", &[x, length], &[]))
    }
}

impl LayerRule for Codebook {
    fn kind(&self) -> &'static str {
        "a codebook of normals"
    }

    fn role(&self) -> LayerRole {
        LayerRole::Other
    }

    fn batch(&self) -> BatchDependence {
        BatchDependence::None
    }

    fn reach(&self) -> Reach {
        Reach::Pixel
    }

    fn size(&self, [h, w, c]: [usize; 3], _: &mut Around<'_>) -> Result<[usize; 3], Misfit> {
        match self.codes {
            codes if codes == c => Ok([h, w, 3]),
            codes => Err(format!("has {codes} vectors and gets {c} channels").into()),
        }
    }

    fn params(&self, owned: &mut Owned<'_>) {
        owned.kept("codes", plain(&[3, self.codes]), Init::Hemisphere);
    }

    fn record(&self, t: &mut Tape, scope: &str, x: Var, _: &mut Walk<'_>) -> Result<Var> {
        let &[n, h, w, c] = t.shape(x) else { unreachable!("its size was checked") };
        let rows = t.reshape(x, &[n * h * w, c])?;
        let shares = t.softmax(rows)?;
        let codes = self.vectors(t, scope)?;
        let mean = t.matmul_t(shares, codes, false, true)?;
        let mean = t.reshape(mean, &[n, h, w, 3])?;
        t.unit_length(mean)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;
    use crate::device::{Device, State};
    use crate::nn::{Layer, Mode, Pass, Sequential};
    use crate::program::{Options, Program};
    use crate::rng::Stream;

    /// Codes of 40 lie about 20° apart, and none is further than 20° from a normal that faces the viewer.
    #[test]
    fn a_codebook_covers_the_hemisphere() {
        let codes = 40;
        let all = lattice(codes);
        let code = |k: usize| [all[k], all[codes + k], all[2 * codes + k]];
        let dot = |a: [f32; 3], b: [f32; 3]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        let nearest = |n: [f32; 3], but: usize| {
            let others = (0..codes).filter(|&k| k != but).map(|k| dot(code(k), n));
            others.fold(-1.0_f32, f32::max).min(1.0).acos().to_degrees()
        };
        for k in 0..codes {
            assert!((dot(code(k), code(k)) - 1.0).abs() < 1e-6 && code(k)[2] > 0.0);
            let apart = nearest(code(k), k);
            assert!((15.0..26.0).contains(&apart), "{k}: {apart}");
        }
        let mut drawn = vec![0.0; 3 * 1000];
        Stream::new(1, "normals", 0).fill_normal(&mut drawn);
        for n in drawn.chunks(3) {
            let length = dot([n[0], n[1], n[2]], [n[0], n[1], n[2]]).sqrt();
            let n = [n[0] / length, n[1] / length, n[2].abs() / length];
            assert!(nearest(n, codes) < 20.0, "{n:?}");
        }
    }

    #[test]
    fn vectors_have_length_one_and_sure_logits_give_their_code() {
        let (n, codes) = (3, 5);
        let unit = Sequential { layers: vec![Layer::UnitLength] };
        let book = Sequential { layers: vec![Layer::Codebook(Codebook { codes })] };
        assert_eq!(book.sizes([2, 4, codes]).unwrap(), [[2, 4, 3]]);
        assert!(book.sizes([2, 4, 3]).unwrap_err().contains("has 5 vectors and gets 3 channels"));
        let mut t = Tape::new();
        let x = t.feed("x", &[n, 1, 1, codes], DType::F32).unwrap();
        let pass = Pass::new(Mode::Eval);
        for (name, network) in [("unit", &unit), ("book", &book)] {
            let y = network.record(&mut t, name, x, &pass).unwrap().last();
            t.fetch(name, y).unwrap();
        }
        let mut state = State::new(&Device::Cpu);
        for param in book.params("book") {
            assert!(!param.learned && param.initial(1) == param.initial(2));
            state.set(&param.name, &param.initial(1)).unwrap();
        }
        let mut program = Program::compile(&t, &state, &Options::default()).unwrap();
        let logits = (0..n * codes).map(|i| if i % codes == i / codes { 60.0 } else { -20.0 });
        let x = Tensor::new([n, 1, 1, codes], logits.collect()).unwrap();
        let fetched = program.call(&mut state, &[("x", &x)]).unwrap();
        let all = lattice(codes);
        for (k, normal) in fetched["book"].f32s().chunks(3).enumerate() {
            let code = [all[k], all[codes + k], all[2 * codes + k]];
            assert!(normal.iter().zip(code).all(|(a, b)| (a - b).abs() < 1e-6), "{normal:?}");
        }
        for y in fetched["unit"].f32s().chunks(codes) {
            let square: f32 = y.iter().map(|y| y * y).sum();
            assert!((square - 1.0).abs() < 1e-6, "{square}");
        }
    }
}
