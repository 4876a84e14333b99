//! Convolution: one trilinear form seen three ways.
//!
//! With `x` the large image `[n, H, W, L]`, `y` the small one `[n, h, w, S]` and the weights
//! `w` `[kh, kw, L, S]`, the three ops are the sum over all indices of
//!
//! ```text
//! x[n, oy·sh + ky − top, ox·sw + kx − left, l] · w[ky, kx, l, s] · y[n, oy, ox, s]
//! ```
//!
//! (terms outside `x` left out), each solved for one of the three: [`Conv2d`] gives `y`,
//! [`ConvTranspose2d`] gives `x`, [`ConvWeightGrad`] gives `w`. Each one's vjp is the other two,
//! so the family is closed under differentiation, and weights have one layout for both directions.

use crate::error::Result;
use crate::tape::{Tape, Var};

use super::reference::triples;
use super::{Call, Caps, Half, Op, Site, Variant};

mod cpu;
mod lower;
mod minimal;
mod samples;

pub(super) use samples::samples;

/// The geometry of a convolution: everything but the batch and the channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ConvSpec {
    /// Kernel height and width.
    pub kernel: [usize; 2],
    /// Vertical and horizontal stride.
    pub stride: [usize; 2],
    /// Padding above and to the left. Padding below and to the right follows from the sizes.
    pub pad: [usize; 2],
    /// Height and width of the large image.
    pub large: [usize; 2],
    /// Height and width of the small image.
    pub small: [usize; 2],
}

impl ConvSpec {
    /// The convolution of an image of size `large`, as PyTorch's `Conv2d`: padding on all sides,
    /// and the small size rounded down.
    ///
    /// # Errors
    /// A sentence if the kernel is larger than the padded image.
    pub fn down(
        large: [usize; 2],
        kernel: [usize; 2],
        stride: [usize; 2],
        pad: [usize; 2],
    ) -> Result<Self, String> {
        let mut small = [0; 2];
        for i in 0..2 {
            let padded = large[i] + 2 * pad[i];
            if padded < kernel[i] || stride[i] == 0 || kernel[i] == 0 {
                return Err(format!(
                    "a kernel of {kernel:?} with stride {stride:?} and padding {pad:?} does not \
                     fit an image of {large:?}"
                ));
            }
            small[i] = (padded - kernel[i]) / stride[i] + 1;
        }
        Ok(Self { kernel, stride, pad, large, small })
    }

    /// The transposed convolution that turns `small` into exactly `large` (PyTorch's
    /// `output_padding` follows from the sizes).
    ///
    /// # Errors
    /// A sentence if no convolution with this geometry takes `large` to `small`.
    pub fn up(
        small: [usize; 2],
        large: [usize; 2],
        kernel: [usize; 2],
        stride: [usize; 2],
        pad: [usize; 2],
    ) -> Result<Self, String> {
        let spec = Self::down(large, kernel, stride, pad)?;
        if spec.small != small {
            return Err(format!(
                "an image of {large:?} comes from {:?}, not from {small:?}",
                spec.small
            ));
        }
        Ok(spec)
    }

    /// The geometry whose kernel covers a whole image of size `large`: a matrix product.
    #[must_use]
    pub const fn dense(large: [usize; 2]) -> Self {
        Self { kernel: large, stride: [1, 1], pad: [0, 0], large, small: [1, 1] }
    }

    /// Kernel height times width.
    #[must_use]
    pub fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// Whether the kernel covers the whole large image once: the convolution is a matrix product.
    #[must_use]
    pub fn is_dense(&self) -> bool {
        self.small == [1, 1] && self.pad == [0, 0] && self.kernel == self.large
    }

    /// Calls `term` with the flat indices of x, w and y for every term of the sum that the three
    /// ops share, for a batch and large and small channels: their reference.
    fn terms(&self, [batch, large, small]: [usize; 3], mut term: impl FnMut(usize, usize, usize)) {
        let ([kh, kw], [sh, sw], [top, left]) = (self.kernel, self.stride, self.pad);
        let ([height, width], [h, w]) = (self.large, self.small);
        for (n, oy, ox) in triples(batch, h, w) {
            for (ky, kx, l) in triples(kh, kw, large) {
                let iy = (oy * sh + ky) as i64 - top as i64;
                let ix = (ox * sw + kx) as i64 - left as i64;
                if iy < 0 || ix < 0 || iy >= height as i64 || ix >= width as i64 {
                    continue;
                }
                let at_x = ((n * height + iy as usize) * width + ix as usize) * large + l;
                for s in 0..small {
                    let at_w = ((ky * kw + kx) * large + l) * small + s;
                    let at_y = ((n * h + oy) * w + ox) * small + s;
                    term(at_x, at_w, at_y);
                }
            }
        }
    }

    fn check_large(&self, x: &[usize]) -> Result<(), String> {
        if x.len() == 4 && x[1..3] == self.large {
            Ok(())
        } else {
            Err(format!("the large image must be [n, {}, {}, c]", self.large[0], self.large[1]))
        }
    }

    fn check_small(&self, y: &[usize]) -> Result<(), String> {
        if y.len() == 4 && y[1..3] == self.small {
            Ok(())
        } else {
            Err(format!("the small image must be [n, {}, {}, c]", self.small[0], self.small[1]))
        }
    }

    fn check_weight(
        &self,
        w: &[usize],
        large: Option<usize>,
        small: Option<usize>,
    ) -> Result<(), String> {
        let fits = w.len() == 4
            && w[..2] == self.kernel
            && large.is_none_or(|l| w[2] == l)
            && small.is_none_or(|s| w[3] == s);
        if fits {
            Ok(())
        } else {
            let c = |c: Option<usize>| c.map_or("?".into(), |c| c.to_string());
            let [kh, kw] = self.kernel;
            Err(format!("the weights must be [{kh}, {kw}, {}, {}]", c(large), c(small)))
        }
    }
}

/// `y[n,oy,ox,s] = Σ x[n, oy·sh+ky−top, ox·sw+kx−left, l] · w[ky,kx,l,s]`. Inputs `x`, `w`.
#[derive(Clone, Copy, Debug)]
pub struct Conv2d(pub ConvSpec);

/// `x[n,iy,ix,l] = Σ y[n,oy,ox,s] · w[ky,kx,l,s]` over `oy·sh+ky−top = iy`, `ox·sw+kx−left = ix`.
/// Inputs `y`, `w`.
#[derive(Clone, Copy, Debug)]
pub struct ConvTranspose2d(pub ConvSpec);

/// `w[ky,kx,l,s] = Σ x[n, oy·sh+ky−top, ox·sw+kx−left, l] · y[n,oy,ox,s]`. Inputs `x`, `y`.
#[derive(Clone, Copy, Debug)]
pub struct ConvWeightGrad(pub ConvSpec);

/// Multiply-adds of the three ops, times two: padding taps are counted.
fn flops(spec: &ConvSpec, n: usize, large: usize, small: usize) -> u64 {
    2 * (n * spec.small[0] * spec.small[1] * spec.taps() * large * small) as u64
}

impl Op for Conv2d {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn shape(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        let (x, w) = (inputs[0], inputs[1]);
        self.0.check_large(x)?;
        self.0.check_weight(w, Some(x[3]), None)?;
        Ok(vec![x[0], self.0.small[0], self.0.small[1], w[3]])
    }

    fn half(&self) -> Half {
        Half::Always
    }

    fn is_product(&self) -> bool {
        true
    }

    fn vjp(&self, t: &mut Tape, s: &Site, g: Var, needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let (x, w) = (s.inputs[0], s.inputs[1]);
        Ok(vec![
            needs[0].then(|| t.conv_transpose2d(g, w, self.0)).transpose()?,
            needs[1].then(|| t.conv_weight_grad(x, g, self.0)).transpose()?,
        ])
    }

    fn reference(&self, s: &Site, x: &[&[f64]]) -> Vec<f64> {
        let (xs, ws) = (&s.shapes[0], &s.shapes[1]);
        let mut y = vec![0.0; s.len()];
        self.0.terms([xs[0], ws[2], ws[3]], |ix, iw, iy| y[iy] += x[0][ix] * x[1][iw]);
        y
    }

    fn cpu_scratch(&self, s: &Site, threads: usize) -> usize {
        cpu::conv2d_scratch(&self.0, s, threads)
    }

    fn cpu(&self, s: &Site, call: Call<'_>) {
        cpu::conv2d(&self.0, s, call);
    }

    fn variants(&self, s: &Site, caps: &Caps) -> Result<Vec<Variant>> {
        Ok(lower::conv2d(&self.0, s, caps))
    }

    fn flops(&self, s: &Site) -> u64 {
        flops(&self.0, s.shape[0], s.shapes[0][3], s.shape[3])
    }
}

impl Op for ConvTranspose2d {
    fn name(&self) -> &'static str {
        "conv_transpose2d"
    }

    fn shape(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        let (y, w) = (inputs[0], inputs[1]);
        self.0.check_small(y)?;
        self.0.check_weight(w, None, Some(y[3]))?;
        Ok(vec![y[0], self.0.large[0], self.0.large[1], w[2]])
    }

    fn half(&self) -> Half {
        Half::Always
    }

    fn is_product(&self) -> bool {
        true
    }

    fn vjp(&self, t: &mut Tape, s: &Site, g: Var, needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let (y, w) = (s.inputs[0], s.inputs[1]);
        Ok(vec![
            needs[0].then(|| t.conv2d(g, w, self.0)).transpose()?,
            needs[1].then(|| t.conv_weight_grad(g, y, self.0)).transpose()?,
        ])
    }

    fn reference(&self, s: &Site, x: &[&[f64]]) -> Vec<f64> {
        let (ys, ws) = (&s.shapes[0], &s.shapes[1]);
        let mut y = vec![0.0; s.len()];
        self.0.terms([ys[0], ws[2], ws[3]], |ix, iw, iy| y[ix] += x[0][iy] * x[1][iw]);
        y
    }

    fn cpu_scratch(&self, s: &Site, threads: usize) -> usize {
        cpu::conv_transpose2d_scratch(&self.0, s, threads)
    }

    fn cpu(&self, s: &Site, call: Call<'_>) {
        cpu::conv_transpose2d(&self.0, s, call);
    }

    fn variants(&self, s: &Site, caps: &Caps) -> Result<Vec<Variant>> {
        Ok(lower::conv_transpose2d(&self.0, s, caps))
    }

    fn flops(&self, s: &Site) -> u64 {
        flops(&self.0, s.shape[0], s.shape[3], s.shapes[0][3])
    }
}

impl Op for ConvWeightGrad {
    fn name(&self) -> &'static str {
        "conv_weight_grad"
    }

    fn shape(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        let (x, y) = (inputs[0], inputs[1]);
        self.0.check_large(x)?;
        self.0.check_small(y)?;
        if x[0] != y[0] {
            return Err("both images must have one batch size".into());
        }
        Ok(vec![self.0.kernel[0], self.0.kernel[1], x[3], y[3]])
    }

    fn is_product(&self) -> bool {
        true
    }

    fn vjp(&self, t: &mut Tape, s: &Site, g: Var, needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let (x, y) = (s.inputs[0], s.inputs[1]);
        Ok(vec![
            needs[0].then(|| t.conv_transpose2d(y, g, self.0)).transpose()?,
            needs[1].then(|| t.conv2d(x, g, self.0)).transpose()?,
        ])
    }

    fn reference(&self, s: &Site, x: &[&[f64]]) -> Vec<f64> {
        let (xs, ys) = (&s.shapes[0], &s.shapes[1]);
        let mut y = vec![0.0; s.len()];
        self.0.terms([xs[0], xs[3], ys[3]], |ix, iw, iy| y[iw] += x[0][ix] * x[1][iy]);
        y
    }

    fn cpu_scratch(&self, s: &Site, threads: usize) -> usize {
        cpu::conv_weight_grad_scratch(&self.0, s, threads)
    }

    fn cpu(&self, s: &Site, call: Call<'_>) {
        cpu::conv_weight_grad(&self.0, s, call);
    }

    fn variants(&self, s: &Site, caps: &Caps) -> Result<Vec<Variant>> {
        Ok(lower::conv_weight_grad(&self.0, s, caps))
    }

    fn flops(&self, s: &Site) -> u64 {
        flops(&self.0, s.shapes[0][0], s.shapes[0][3], s.shapes[1][3])
    }
}

impl Tape {
    /// Convolution of `x` `[n, H, W, L]` with `w` `[kh, kw, L, S]`, giving `[n, h, w, S]`.
    ///
    /// # Errors
    /// [`crate::error::Error::Shape`] where the shapes do not fit `spec`.
    pub fn conv2d(&mut self, x: Var, w: Var, spec: ConvSpec) -> Result<Var> {
        if let (true, &[n, h, wd, l], &[.., s]) = (spec.is_dense(), self.shape(x), self.shape(w)) {
            let x = self.reshape(x, &[n, h * wd * l])?;
            let w = self.reshape(w, &[h * wd * l, s])?;
            let y = self.matmul(x, w)?;
            return self.reshape(y, &[n, 1, 1, s]);
        }
        self.record(Conv2d(spec), &[x, w])
    }

    /// Transposed convolution of `y` `[n, h, w, S]` with `w` `[kh, kw, L, S]`, giving
    /// `[n, H, W, L]`: the gradient of [`Tape::conv2d`] with respect to its image.
    ///
    /// # Errors
    /// [`crate::error::Error::Shape`] where the shapes do not fit `spec`.
    pub fn conv_transpose2d(&mut self, y: Var, w: Var, spec: ConvSpec) -> Result<Var> {
        if let (true, &[n, 1, 1, s], &[h, wd, l, _]) =
            (spec.is_dense(), self.shape(y), self.shape(w))
        {
            let y = self.reshape(y, &[n, s])?;
            let w = self.reshape(w, &[h * wd * l, s])?;
            let x = self.matmul_t(y, w, false, true)?;
            return self.reshape(x, &[n, h, wd, l]);
        }
        self.record(ConvTranspose2d(spec), &[y, w])
    }

    /// The weights `[kh, kw, L, S]` for which `x` `[n, H, W, L]` and `y` `[n, h, w, S]` correlate:
    /// the gradient of [`Tape::conv2d`] with respect to its weights.
    ///
    /// # Errors
    /// [`crate::error::Error::Shape`] where the shapes do not fit `spec`.
    pub fn conv_weight_grad(&mut self, x: Var, y: Var, spec: ConvSpec) -> Result<Var> {
        if let (true, &[n, h, wd, l], &[.., s]) = (spec.is_dense(), self.shape(x), self.shape(y)) {
            let x = self.reshape(x, &[n, h * wd * l])?;
            let y = self.reshape(y, &[n, s])?;
            let w = self.matmul_t(x, y, true, false)?;
            return self.reshape(w, &[h, wd, l, s]);
        }
        self.record(ConvWeightGrad(spec), &[x, y])
    }
}
