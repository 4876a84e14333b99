//! Matrix product with transpose flags: closed under differentiation.

use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::tape::{Tape, Var};

use super::samples::{Input, Kind, NonFinite, Sample, special};
use super::tile::{self, Product};
use super::{Call, Caps, Op, Site, Variant};
use crate::gemm::{Matrix, gemm};

/// `y = op(a) · op(b)`, where `op` transposes if its flag is set: `[m, k] · [k, n] = [m, n]`; or
/// such a product for each of a batch, `[i, m, k] · [i, k, n] = [i, m, n]`. Inputs `a`, `b`.
#[derive(Clone, Copy, Debug)]
pub struct Matmul {
    /// `a` is stored `[k, m]`.
    pub transpose_a: bool,
    /// `b` is stored `[n, k]`.
    pub transpose_b: bool,
}

impl Matmul {
    /// The batch, and `m`, `n`, `k` of each product, for these shapes.
    fn sizes(&self, s: &Site) -> (usize, [usize; 3]) {
        let lead = s.shape.len() - 2;
        let k = s.shapes[0][lead + usize::from(!self.transpose_a)];
        let batch = s.shape[..lead].iter().product();
        (batch, [s.shape[lead], s.shape[lead + 1], k])
    }

    fn product(&self, s: &Site, caps: &Caps) -> Result<Product> {
        let (batch, sizes) = self.sizes(s);
        // Products of a batch lie along z.
        if batch > caps.groups_per_dimension as usize {
            return Err(Error::Memory(format!(
                "{batch} matrix products beside each other are more than the {} that the device \
                 starts at once; a smaller batch works",
                caps.groups_per_dimension
            )));
        }
        Ok(tile::matmul(batch, sizes, self.transpose_a, self.transpose_b))
    }
}

impl Op for Matmul {
    fn name(&self) -> &'static str {
        "matmul"
    }

    fn shape(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        let (&[ref batch @ .., a0, a1], &[ref other @ .., b0, b1]) = (inputs[0], inputs[1]) else {
            return Err("both inputs must be matrices".into());
        };
        if batch.len() > 1 || batch != other {
            return Err("both inputs must be matrices, or as many of them".into());
        }
        let (m, ka) = if self.transpose_a { (a1, a0) } else { (a0, a1) };
        let (kb, n) = if self.transpose_b { (b1, b0) } else { (b0, b1) };
        if ka != kb {
            return Err(format!("the inner sizes {ka} and {kb} differ"));
        }
        Ok([batch, &[m, n]].concat())
    }

    fn is_product(&self) -> bool {
        true
    }

    /// With `y = a·b`: `ga = g·bᵀ`, `gb = aᵀ·g`; the flags change accordingly.
    fn vjp(&self, t: &mut Tape, s: &Site, g: Var, needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let (a, b) = (s.inputs[0], s.inputs[1]);
        let (ta, tb) = (self.transpose_a, self.transpose_b);
        let mut ga = None;
        if needs[0] {
            ga = Some(if ta { t.matmul_t(b, g, tb, true)? } else { t.matmul_t(g, b, false, !tb)? });
        }
        let mut gb = None;
        if needs[1] {
            gb = Some(if tb { t.matmul_t(g, a, true, ta)? } else { t.matmul_t(a, g, !ta, false)? });
        }
        Ok(vec![ga, gb])
    }

    fn reference(&self, s: &Site, x: &[&[f64]]) -> Vec<f64> {
        let lead = s.shape.len() - 2;
        let [m, n] = [s.shape[lead], s.shape[lead + 1]];
        let k = s.shapes[0][if self.transpose_a { lead } else { lead + 1 }];
        let at = |place: usize| {
            let (batch, i, j) = (place / (m * n), place / n % m, place % n);
            let (a, b) = (&x[0][batch * m * k..], &x[1][batch * k * n..]);
            let a = |l: usize| a[if self.transpose_a { l * m + i } else { i * k + l }];
            let b = |l: usize| b[if self.transpose_b { j * k + l } else { l * n + j }];
            (0..k).map(|l| a(l) * b(l)).sum()
        };
        (0..s.len()).map(at).collect()
    }

    fn cpu(&self, s: &Site, call: Call<'_>) {
        let (batch, [m, n, k]) = self.sizes(s);
        let one = |a, b, y: &mut [f32], parallel| {
            let a = Matrix::new(a, m, k, self.transpose_a);
            gemm(a, Matrix::new(b, k, n, self.transpose_b), y, false, parallel);
        };
        let (a, b) = (call.f32(0), call.f32(1));
        if batch == 1 || m * n * k == 0 {
            return one(a, b, call.out, true);
        }
        let products = call.out[..batch * m * n].par_chunks_mut(m * n);
        products.zip(a.par_chunks(m * k).zip(b.par_chunks(k * n))).for_each(|(y, (a, b))| {
            one(a, b, y, false);
        });
    }

    fn variants(&self, s: &Site, caps: &Caps) -> Result<Vec<Variant>> {
        Ok(self.product(s, caps)?.variants(caps))
    }

    fn flops(&self, s: &Site) -> u64 {
        let (batch, [m, n, k]) = self.sizes(s);
        2 * (batch * m * n * k) as u64
    }
}

impl Tape {
    /// Matrix product `a · b` of `[m, k]` and `[k, n]`, or of equally many pairs of matrices,
    /// `[i, m, k]` and `[i, k, n]`.
    ///
    /// # Errors
    /// [`Error::Shape`] unless both are matrices with one inner size, or equally many.
    pub fn matmul(&mut self, a: Var, b: Var) -> Result<Var> {
        self.matmul_t(a, b, false, false)
    }

    /// Matrix product of `a`, transposed if `ta`, and `b`, transposed if `tb`; for batches, of each
    /// pair of matrices.
    ///
    /// # Errors
    /// [`Error::Shape`] unless both are matrices with one inner size, or equally many.
    pub fn matmul_t(&mut self, a: Var, b: Var, ta: bool, tb: bool) -> Result<Var> {
        self.record(Matmul { transpose_a: ta, transpose_b: tb }, &[a, b])
    }
}

pub(super) fn samples(op: &'static str) -> Vec<Sample> {
    let mut all = Vec::new();
    let sizes = [
        [1, 1, 1],
        [2, 3, 4],
        [1, 5, 100],
        [7, 1, 3],
        [5, 7, 1],
        [65, 33, 17],
        [12, 130, 65],
        [64, 64, 64],
    ];
    for [m, n, k] in sizes {
        for (ta, tb) in [(false, false), (true, false), (false, true), (true, true)] {
            let a = if ta { [k, m] } else { [m, k] };
            let b = if tb { [n, k] } else { [k, n] };
            let inputs = vec![Input::new(&a, Kind::NORMAL), Input::new(&b, Kind::NORMAL)];
            let sample = Sample::new(op, inputs, move |t, x| t.matmul_t(x[0], x[1], ta, tb));
            let flag = |on, name| if on { name } else { "" };
            let sample = sample.note(format!("{}{}", flag(ta, "aᵀ"), flag(tb, "bᵀ")));
            all.push(sample.tolerance(1e-6, 3e-6));
        }
    }
    // A batch of products, whose matrices do and do not hold whole vectors.
    for [i, m, n, k] in [[1, 3, 2, 5], [3, 5, 7, 2], [2, 1, 9, 4], [5, 17, 33, 9], [2, 64, 32, 12]]
    {
        for (ta, tb) in [(false, false), (true, false), (false, true), (true, true)] {
            let a = if ta { [i, k, m] } else { [i, m, k] };
            let b = if tb { [i, n, k] } else { [i, k, n] };
            let inputs = vec![Input::new(&a, Kind::NORMAL), Input::new(&b, Kind::NORMAL)];
            let sample = Sample::new(op, inputs, move |t, x| t.matmul_t(x[0], x[1], ta, tb));
            let flag = |on, name| if on { name } else { "" };
            let sample = sample.note(format!("batch {}{}", flag(ta, "aᵀ"), flag(tb, "bᵀ")));
            all.push(sample.tolerance(1e-6, 3e-6));
        }
    }
    let long = vec![Input::new(&[3, 4099], Kind::NORMAL), Input::new(&[4099, 2], Kind::NORMAL)];
    let long = Sample::new(op, long, |t, x| t.matmul(x[0], x[1]));
    all.push(long.tolerance(1e-6, 1e-5).rough());
    for at in 0..2 {
        for [m, n, k] in [[5, 7, 3], [65, 33, 17], [12, 130, 65]] {
            let kind = |i| if i == at { Kind::Special(special::ONE_NAN) } else { Kind::NORMAL };
            let inputs = vec![Input::new(&[m, k], kind(0)), Input::new(&[k, n], kind(1))];
            let special = Sample::new(op, inputs, |t, x| t.matmul(x[0], x[1]));
            let special = special.note(format!("input {at}")).non_finite(NonFinite::Same);
            all.push(special.tolerance(1e-6, 3e-6));
        }
    }
    all
}
