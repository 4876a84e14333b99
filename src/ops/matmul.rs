//! Matrix product with transpose flags: closed under differentiation.

use crate::error::Result;
use crate::tape::{Tape, Var};

use super::tile::{self, Product};
use super::{Call, Caps, Lowered, Op, Site, Variant};

/// `y = op(a) · op(b)`, where `op` transposes where its flag says so: `[m, k] · [k, n] = [m, n]`.
/// Inputs `a`, `b`.
#[derive(Clone, Copy, Debug)]
pub struct Matmul {
    /// `a` is stored `[k, m]`.
    pub transpose_a: bool,
    /// `b` is stored `[n, k]`.
    pub transpose_b: bool,
}

impl Matmul {
    /// `m`, `n`, `k` of a product of these shapes.
    fn sizes(&self, s: &Site) -> [usize; 3] {
        let k = s.shapes[0][usize::from(!self.transpose_a)];
        [s.shape[0], s.shape[1], k]
    }

    fn product(&self, s: &Site) -> Product {
        tile::matmul(self.sizes(s), self.transpose_a, self.transpose_b)
    }
}

impl Op for Matmul {
    fn name(&self) -> &'static str {
        "matmul"
    }

    fn shape(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        let (&[a0, a1], &[b0, b1]) = (inputs[0], inputs[1]) else {
            return Err("both inputs must be matrices".into());
        };
        let (m, ka) = if self.transpose_a { (a1, a0) } else { (a0, a1) };
        let (kb, n) = if self.transpose_b { (b1, b0) } else { (b0, b1) };
        if ka != kb {
            return Err(format!("the inner sizes {ka} and {kb} differ"));
        }
        Ok(vec![m, n])
    }

    /// With `y = a·b`: `ga = g·bᵀ`, `gb = aᵀ·g`; the flags move along.
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

    fn twin(&self, s: &Site, call: Call<'_>) {
        let [m, n, k] = self.sizes(s);
        super::gemm::gemm(
            super::gemm::Matrix::new(call.f32(0), m, k, self.transpose_a),
            super::gemm::Matrix::new(call.f32(1), k, n, self.transpose_b),
            call.out,
            false,
            true,
        );
    }

    fn lower(&self, s: &Site, caps: &Caps) -> Result<Lowered> {
        Ok(Variant::first(self.product(s).variants(caps)))
    }

    fn variants(&self, s: &Site, caps: &Caps) -> Result<Vec<Variant>> {
        Ok(self.product(s).variants(caps))
    }

    fn flops(&self, s: &Site) -> u64 {
        let [m, n, k] = self.sizes(s);
        2 * (m * n * k) as u64
    }
}

impl Tape {
    /// Matrix product `a · b` of `[m, k]` and `[k, n]`.
    ///
    /// # Errors
    /// [`crate::error::Error::Shape`] unless both are matrices with one inner size.
    pub fn matmul(&mut self, a: Var, b: Var) -> Result<Var> {
        self.matmul_t(a, b, false, false)
    }

    /// Matrix product of `a`, transposed where `ta`, and `b`, transposed where `tb`.
    ///
    /// # Errors
    /// [`crate::error::Error::Shape`] unless both are matrices with one inner size.
    pub fn matmul_t(&mut self, a: Var, b: Var, ta: bool, tb: bool) -> Result<Var> {
        self.record(Matmul { transpose_a: ta, transpose_b: tb }, &[a, b])
    }
}
