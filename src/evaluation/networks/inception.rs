//! The Inception network that FID is defined with: TensorFlow's of 2015-12-05, as pytorch-fid and
//! torch-fidelity convert it (`pt_inception-2015-12-05-6726825d.pth`).
//!
//! It differs from torchvision's `inception_v3`: mean pools leave out the padding, the last block has
//! a maximum pool in place of one, there are 1008 classes, and the weights are others.

use crate::error::Result;
use crate::ops::conv::ConvSpec;
use crate::tape::Var;

use super::layers::{Recorder, Then};

/// Rows and columns of the input.
pub(super) const SIDE: usize = 299;

/// The classes, of which some are unused.
pub(super) const CLASSES: usize = 1008;

/// A convolution: kernel, stride, padding.
type Geometry = ([usize; 2], [usize; 2], [usize; 2]);

const K1: Geometry = ([1, 1], [1, 1], [0, 0]);
const K3: Geometry = ([3, 3], [1, 1], [1, 1]);
const K5: Geometry = ([5, 5], [1, 1], [2, 2]);
const K3_BY_2: Geometry = ([3, 3], [2, 2], [0, 0]);
const ROW_7: Geometry = ([1, 7], [1, 1], [0, 3]);
const COLUMN_7: Geometry = ([7, 1], [1, 1], [3, 0]);
const ROW_3: Geometry = ([1, 3], [1, 1], [0, 1]);
const COLUMN_3: Geometry = ([3, 1], [1, 1], [1, 0]);

/// One convolution of a block: its name, its output channels and its geometry.
type Conv<'a> = (&'a str, usize, Geometry);

/// A block, whose layers' names begin with its own.
struct Block<'a> {
    r: &'a mut Recorder,
    name: &'a str,
}

impl Block<'_> {
    /// Convolutions one after another.
    fn chain(&mut self, mut x: Var, convs: &[Conv<'_>]) -> Result<Var> {
        for (layer, to, geometry) in convs {
            let name = format!("{}.{layer}", self.name);
            x = conv(self.r, x, &name, *to, *geometry)?;
        }
        Ok(x)
    }

    /// The maximum of every 3 × 3 pixels, every second of them or all.
    fn max(&mut self, x: Var, stride: usize, pad: usize) -> Result<Var> {
        max(self.r, x, stride, pad)
    }

    fn concat(&mut self, parts: &[Var]) -> Result<Var> {
        self.r.tape.concat(parts, 3)
    }

    /// A mean pool and a projection.
    fn pooled(&mut self, x: Var, to: usize) -> Result<Var> {
        let x = self.r.mean_pool(x)?;
        self.chain(x, &[("branch_pool", to, K1)])
    }
}

fn spec(r: &Recorder, x: Var, (kernel, stride, pad): Geometry) -> ConvSpec {
    ConvSpec::down(r.size(x), kernel, stride, pad).expect("299 pixels are enough for every layer")
}

fn conv(r: &mut Recorder, x: Var, name: &str, to: usize, geometry: Geometry) -> Result<Var> {
    let spec = spec(r, x, geometry);
    let names = (format!("{name}.conv.weight"), format!("{name}.bn"));
    r.conv(x, names, to, spec, Then::Relu)
}

fn max(r: &mut Recorder, x: Var, stride: usize, pad: usize) -> Result<Var> {
    let spec = spec(r, x, ([3, 3], [stride; 2], [pad; 2]));
    r.tape.max_pool_strided(x, spec)
}

/// Records the network on images `[n, 299, 299, 3]`: its features `[n, 2048]` and unbiased logits.
pub(super) fn record(r: &mut Recorder, x: Var) -> Result<[Var; 2]> {
    let x = conv(r, x, "Conv2d_1a_3x3", 32, K3_BY_2)?;
    let x = conv(r, x, "Conv2d_2a_3x3", 32, ([3, 3], [1, 1], [0, 0]))?;
    let x = conv(r, x, "Conv2d_2b_3x3", 64, K3)?;
    let x = max(r, x, 2, 0)?;
    let x = conv(r, x, "Conv2d_3b_1x1", 80, K1)?;
    let x = conv(r, x, "Conv2d_4a_3x3", 192, ([3, 3], [1, 1], [0, 0]))?;
    let mut x = max(r, x, 2, 0)?;
    for (name, pooled) in [("Mixed_5b", 32), ("Mixed_5c", 64), ("Mixed_5d", 64)] {
        x = block_a(Block { r, name }, x, pooled)?;
    }
    x = block_b(Block { r, name: "Mixed_6a" }, x)?;
    for (name, middle) in
        [("Mixed_6b", 128), ("Mixed_6c", 160), ("Mixed_6d", 160), ("Mixed_6e", 192)]
    {
        x = block_c(Block { r, name }, x, middle)?;
    }
    x = block_d(Block { r, name: "Mixed_7a" }, x)?;
    x = block_e(Block { r, name: "Mixed_7b" }, x, false)?;
    x = block_e(Block { r, name: "Mixed_7c" }, x, true)?;
    r.head(x, "fc", CLASSES)
}

fn block_a(mut b: Block<'_>, x: Var, pooled: usize) -> Result<Var> {
    let parts = [
        b.chain(x, &[("branch1x1", 64, K1)])?,
        b.chain(x, &[("branch5x5_1", 48, K1), ("branch5x5_2", 64, K5)])?,
        b.chain(
            x,
            &[("branch3x3dbl_1", 64, K1), ("branch3x3dbl_2", 96, K3), ("branch3x3dbl_3", 96, K3)],
        )?,
        b.pooled(x, pooled)?,
    ];
    b.concat(&parts)
}

fn block_b(mut b: Block<'_>, x: Var) -> Result<Var> {
    let parts = [
        b.chain(x, &[("branch3x3", 384, K3_BY_2)])?,
        b.chain(
            x,
            &[
                ("branch3x3dbl_1", 64, K1),
                ("branch3x3dbl_2", 96, K3),
                ("branch3x3dbl_3", 96, K3_BY_2),
            ],
        )?,
        b.max(x, 2, 0)?,
    ];
    b.concat(&parts)
}

fn block_c(mut b: Block<'_>, x: Var, middle: usize) -> Result<Var> {
    let parts = [
        b.chain(x, &[("branch1x1", 192, K1)])?,
        b.chain(
            x,
            &[
                ("branch7x7_1", middle, K1),
                ("branch7x7_2", middle, ROW_7),
                ("branch7x7_3", 192, COLUMN_7),
            ],
        )?,
        b.chain(
            x,
            &[
                ("branch7x7dbl_1", middle, K1),
                ("branch7x7dbl_2", middle, COLUMN_7),
                ("branch7x7dbl_3", middle, ROW_7),
                ("branch7x7dbl_4", middle, COLUMN_7),
                ("branch7x7dbl_5", 192, ROW_7),
            ],
        )?,
        b.pooled(x, 192)?,
    ];
    b.concat(&parts)
}

fn block_d(mut b: Block<'_>, x: Var) -> Result<Var> {
    let parts = [
        b.chain(x, &[("branch3x3_1", 192, K1), ("branch3x3_2", 320, K3_BY_2)])?,
        b.chain(
            x,
            &[
                ("branch7x7x3_1", 192, K1),
                ("branch7x7x3_2", 192, ROW_7),
                ("branch7x7x3_3", 192, COLUMN_7),
                ("branch7x7x3_4", 192, K3_BY_2),
            ],
        )?,
        b.max(x, 2, 0)?,
    ];
    b.concat(&parts)
}

/// The last two blocks; the very last pools maxima.
fn block_e(mut b: Block<'_>, x: Var, last: bool) -> Result<Var> {
    let one = b.chain(x, &[("branch1x1", 320, K1)])?;
    let three = b.chain(x, &[("branch3x3_1", 384, K1)])?;
    let double = b.chain(x, &[("branch3x3dbl_1", 448, K1), ("branch3x3dbl_2", 384, K3)])?;
    let mut parts = vec![one];
    for (x, name) in [(three, "branch3x3_2"), (double, "branch3x3dbl_3")] {
        parts.push(b.chain(x, &[(&format!("{name}a"), 384, ROW_3)])?);
        parts.push(b.chain(x, &[(&format!("{name}b"), 384, COLUMN_3)])?);
    }
    let pooled = match last {
        true => {
            let x = b.max(x, 1, 1)?;
            b.chain(x, &[("branch_pool", 192, K1)])?
        }
        false => b.pooled(x, 192)?,
    };
    parts.push(pooled);
    b.concat(&parts)
}
