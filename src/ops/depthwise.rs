//! Depthwise convolution: every channel with a kernel of its own.

use minijinja::context;
use rayon::prelude::*;

use crate::error::Result;
use crate::tape::{Tape, Var};

use super::conv::ConvSpec;
use super::kernel::{fold_groups, single};
use super::reference::{flat, places, triples};
use super::samples::{Input, Kind, NonFinite, Sample, special};
use super::wide::widest;
use super::{Arg, Call, Caps, Dispatch, Half, Op, Site, Variant};

/// With `x` the large image `[n, H, W, c]`, `y` the small one `[n, h, w, c]` and the weights `w`
/// `[kh, kw, c]`, one of the two directions of the form
///
/// ```text
/// Σ x[n, i·sh + a − top, j·sw + b − left, c] · w[a, b, c] · y[n, i, j, c]
/// ```
///
/// (terms outside `x` left out): `y` from `x`, as PyTorch's `Conv2d` with `groups` equal to its
/// channels, or transposed, `x` from `y`. Each is the other's gradient with respect to its image.
#[derive(Clone, Copy, Debug)]
pub struct DepthwiseConv2d {
    /// The geometry.
    pub spec: ConvSpec,
    /// From the small image to the large one.
    pub transpose: bool,
}

/// Channels that are summed side by side, in registers.
const BLOCK: usize = 16;

impl DepthwiseConv2d {
    /// Height and width of the input, and of the output.
    fn sizes(&self) -> [[usize; 2]; 2] {
        match self.transpose {
            false => [self.spec.large, self.spec.small],
            true => [self.spec.small, self.spec.large],
        }
    }

    /// The row (or column, by `axis`) of the input that tap `a` brings to row `i` of the output.
    fn origin(&self, axis: usize, i: usize, a: usize) -> Option<usize> {
        let (stride, pad) = (self.spec.stride[axis], self.spec.pad[axis]);
        let at = match self.transpose {
            false => (i * stride + a).checked_sub(pad)?,
            true => {
                let at = (i + pad).checked_sub(a)?;
                at.is_multiple_of(stride).then_some(at / stride)?
            }
        };
        (at < self.sizes()[0][axis]).then_some(at)
    }
}

impl Op for DepthwiseConv2d {
    fn name(&self) -> &'static str {
        "depthwise_conv2d"
    }

    fn shape(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        let ([[h, w], [gh, gw]], [kh, kw]) = (self.sizes(), self.spec.kernel);
        match (inputs[0], inputs[1]) {
            (&[n, xh, xw, c], weights) if [xh, xw] == [h, w] && weights == [kh, kw, c] => {
                Ok(vec![n, gh, gw, c])
            }
            _ => {
                Err(format!("the image must be [n, {h}, {w}, c], and the weights [{kh}, {kw}, c]"))
            }
        }
    }

    fn half(&self) -> Half {
        Half::Always
    }

    fn is_product(&self) -> bool {
        true
    }

    fn vjp(&self, t: &mut Tape, s: &Site, g: Var, needs: &[bool]) -> Result<Vec<Option<Var>>> {
        let (image, weights) = (s.inputs[0], s.inputs[1]);
        let back = Self { transpose: !self.transpose, ..*self };
        let (large, small) = if self.transpose { (g, image) } else { (image, g) };
        Ok(vec![
            needs[0].then(|| t.record(back, &[g, weights])).transpose()?,
            needs[1].then(|| weight_grad(t, large, small, &self.spec)).transpose()?,
        ])
    }

    fn reference(&self, s: &Site, x: &[&[f64]]) -> Vec<f64> {
        let ConvSpec { kernel, stride, pad, large, small } = self.spec;
        let mut y = vec![0.0; s.len()];
        for place in places(&[s.shape[0], small[0], small[1], s.shape[3]]) {
            let [n, i, j, c] = [0, 1, 2, 3].map(|d| place[d]);
            for (a, b, _) in triples(kernel[0], kernel[1], 1) {
                let r = (i * stride[0] + a) as i64 - pad[0] as i64;
                let q = (j * stride[1] + b) as i64 - pad[1] as i64;
                if r < 0 || q < 0 || r >= large[0] as i64 || q >= large[1] as i64 {
                    continue;
                }
                let large = [n, r as usize, q as usize, c];
                let (from, to) = if self.transpose {
                    (place.as_slice(), &large[..])
                } else {
                    (&large[..], place.as_slice())
                };
                y[flat(&s.shape, to)] +=
                    x[0][flat(&s.shapes[0], from)] * x[1][flat(&s.shapes[1], &[a, b, c])];
            }
        }
        y
    }

    fn cpu(&self, s: &Site, call: Call<'_>) {
        let [[h, w], [gh, gw]] = self.sizes();
        let ([kh, kw], c) = (self.spec.kernel, s.shape[3]);
        let (x, weights, y) = (call.f32(0), call.f32(1), call.out);
        y.par_chunks_mut((gw * c).max(1)).enumerate().for_each(|(row, y)| {
            let image = &x[row / gh * h * w * c..][..h * w * c];
            // Where each term of a pixel's sum begins, in the image and in the weights.
            let mut terms = Vec::with_capacity(kh * kw);
            for (j, y) in y.chunks_mut(c).enumerate() {
                terms.clear();
                for a in 0..kh {
                    let Some(r) = self.origin(0, row % gh, a) else { continue };
                    let columns = (0..kw).filter_map(|b| Some((self.origin(1, j, b)?, b)));
                    terms.extend(columns.map(|(q, b)| ((r * w + q) * c, (a * kw + b) * c)));
                }
                sums(&terms, image, weights, y);
            }
        });
    }

    fn variants(&self, s: &Site, caps: &Caps) -> Result<Vec<Variant>> {
        let (len, [[h, w], [gh, gw]]) = (s.len(), self.sizes());
        let ConvSpec { kernel, stride, pad, .. } = self.spec;
        single(Dispatch {
            kernel: "depthwise_conv2d",
            context: context! {
                len, h, w, gh, gw, c => s.shape[3], kernel, stride, pad,
                transpose => self.transpose,
            },
            bind: vec![("x", Arg::Input(0)), ("w", Arg::Input(1)), ("y", Arg::Output)],
            groups: fold_groups(len.div_ceil(64), caps),
            flops: self.flops(s),
        })
    }

    fn flops(&self, s: &Site) -> u64 {
        let [h, w] = self.spec.small;
        2 * (s.shape[0] * h * w * self.spec.taps() * s.shape[3]) as u64
    }
}

/// `y[c] = Σ image[i + c] · weights[k + c]` over the terms `(i, k)`.
fn sums(terms: &[(usize, usize)], image: &[f32], weights: &[f32], y: &mut [f32]) {
    widest(
        #[inline(always)]
        move || {
            let (blocks, rest) = y.as_chunks_mut::<BLOCK>();
            let whole = blocks.len() * BLOCK;
            for (block, y) in blocks.iter_mut().enumerate() {
                let mut sum = [0.0; BLOCK];
                for &(i, k) in terms {
                    let x = &image[i + block * BLOCK..][..BLOCK];
                    let w = &weights[k + block * BLOCK..][..BLOCK];
                    for ((sum, x), w) in sum.iter_mut().zip(x).zip(w) {
                        *sum += x * w;
                    }
                }
                *y = sum;
            }
            for (c, y) in rest.iter_mut().enumerate() {
                let terms =
                    terms.iter().map(|&(i, k)| image[i + whole + c] * weights[k + whole + c]);
                *y = terms.sum();
            }
        },
    );
}

/// `w[a, b, c] = Σ x[n, i·sh + a − top, j·sw + b − left, c] · y[n, i, j, c]`: tap by tap, of ops that
/// are there. It is used where such a layer is trained.
fn weight_grad(t: &mut Tape, x: Var, y: Var, spec: &ConvSpec) -> Result<Var> {
    let ConvSpec { kernel: [kh, kw], stride: [sh, sw], pad: [top, left], large, .. } = *spec;
    let &[n, h, w, c] = t.shape(y) else { unreachable!("Op::shape accepts four axes") };
    let high = (top + large[0]).max(kh - 1 + h * sh);
    let wide = (left + large[1]).max(kw - 1 + w * sw);
    let x = t.pad(x, &[0, top, left, 0], &[n, high, wide, c])?;
    let mut taps = Vec::new();
    for (a, b, _) in triples(kh, kw, 1) {
        // Every stride-th row and column, from the tap's on.
        let seen = t.slice(x, &[0, a, b, 0], &[n, h * sh, w * sw, c])?;
        let seen = t.reshape(seen, &[n, h, sh, w, sw * c])?;
        let seen = t.slice(seen, &[0; 5], &[n, h, 1, w, c])?;
        let seen = t.reshape(seen, &[n, h, w, c])?;
        let product = t.mul(seen, y)?;
        let sum = t.sum(product, &[0, 1, 2])?;
        taps.push(t.reshape(sum, &[1, c])?);
    }
    let all = t.concat(&taps, 0)?;
    t.reshape(all, &[kh, kw, c])
}

impl Tape {
    /// Convolution of every channel of `x` `[n, H, W, c]` with its own kernel of `w` `[kh, kw, c]`,
    /// giving `[n, h, w, c]`: see [`DepthwiseConv2d`].
    ///
    /// # Errors
    /// [`crate::error::Error::Shape`] where the shapes do not fit `spec`.
    pub fn depthwise_conv2d(&mut self, x: Var, w: Var, spec: ConvSpec) -> Result<Var> {
        self.record(DepthwiseConv2d { spec, transpose: false }, &[x, w])
    }
}

/// Square and crooked kernels, borders that cut them, strides that leave pixels out, more padding
/// below than above; channels that are and are not whole blocks; both directions.
pub(super) fn samples(op: &'static str) -> Vec<Sample> {
    let spec = |kernel, stride, pad, large, small| ConvSpec { kernel, stride, pad, large, small };
    let table = [
        (spec([1, 1], [1, 1], [0, 0], [1, 1], [1, 1]), 1, 1),
        (spec([3, 3], [1, 1], [1, 1], [5, 4], [5, 4]), 2, 3),
        (spec([3, 3], [2, 2], [0, 0], [8, 6], [4, 3]), 2, 4),
        (spec([5, 5], [2, 2], [1, 1], [8, 8], [4, 4]), 1, 2),
        (spec([5, 5], [1, 1], [2, 2], [3, 4], [3, 4]), 1, 5),
        (spec([3, 2], [2, 3], [1, 0], [7, 8], [4, 3]), 3, 1),
        (spec([1, 7], [1, 1], [0, 3], [3, 5], [3, 5]), 1, 4),
        (spec([2, 2], [3, 3], [0, 0], [8, 7], [3, 2]), 1, 3),
        (spec([3, 3], [1, 1], [1, 1], [9, 17], [9, 17]), 2, 33),
        (spec([5, 5], [2, 2], [2, 2], [33, 17], [17, 9]), 1, 70),
    ];
    let record = |spec, transpose| {
        move |t: &mut Tape, v: &[Var]| t.record(DepthwiseConv2d { spec, transpose }, v)
    };
    let inputs = |spec: ConvSpec, n, c, transpose, kinds: [Kind; 2]| {
        let [h, w] = if transpose { spec.small } else { spec.large };
        let [kh, kw] = spec.kernel;
        vec![Input::new(&[n, h, w, c], kinds[0]), Input::new(&[kh, kw, c], kinds[1])]
    };
    let mut all = Vec::new();
    for transpose in [false, true] {
        let note = if transpose { "transposed" } else { "" };
        for (spec, n, c) in table {
            let inputs = inputs(spec, n, c, transpose, [Kind::NORMAL; 2]);
            let sample = Sample::new(op, inputs, record(spec, transpose)).note(note);
            let sample = sample.note(format!("stride {:?}, pad {:?}", spec.stride, spec.pad));
            let sample = sample.tolerance(1e-6, 3e-6);
            all.push(if n * spec.large[0] * spec.large[1] * c > 1000 {
                sample.rough()
            } else {
                sample
            });
        }
        for at in 0..2 {
            let (spec, n, c) = table[2];
            let mut kinds = [Kind::NORMAL; 2];
            kinds[at] = Kind::Special(special::ONE_NAN);
            let sample =
                Sample::new(op, inputs(spec, n, c, transpose, kinds), record(spec, transpose));
            let sample = sample.note(format!("{note} input {at}")).tolerance(1e-6, 3e-6);
            all.push(sample.non_finite(NonFinite::Same));
        }
    }
    all
}
