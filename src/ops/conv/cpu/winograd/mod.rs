//! The convolutions on the CPU by Winograd's minimal filtering, in two dimensions.
//!
//! A convolution with stride s and a k×k kernel is one with stride 1 and r×r taps, r = ⌈k/s⌉, over
//! *cells* of s×s pixels of the padded image, each with s²·L channels. Tiles of m×m outputs see
//! t×t cells, t = m + r − 1, and cost t² multiplications for each pair of channels instead of m²r²:
//! for the 4×4 kernels with stride 2 of a DCGAN 25 instead of 64 in tiles of 4×4, for 5×5 ones 16
//! instead of 25 in tiles of 2×2. With one plane of matrices for each of those t² multiplications
//! (see `toom.rs`):
//!
//! ```text
//! V[p] = Bᵀ x B    [tiles, s²·L]        y  = Aᵀ (V[p] · U[p]) A
//! U[p] = G w Gᵀ    [s²·L, S]            x  = B (Y[p] · U[p]ᵀ) Bᵀ, overlapping tiles added
//! Y[p] = A y Aᵀ    [tiles, S]           w  = Gᵀ (V[p]ᵀ · Y[p]) G
//! ```
//!
//! The images are processed in groups whose V and Y stay near the caches. How every sum is split
//! depends on the shapes alone, so results do not depend on the number of threads.

use std::ops::Range;

use super::super::{Call, ConvSpec, Site};
use large::large_by;
use small::small_by;
pub(in crate::ops::conv) use toom::Matrices;
use toom::{F22, F23, F42};
use weights::{ROWS, WEIGHT_COLUMNS, weights_by};

mod enter;
mod lanes;
mod large;
mod small;
mod toom;
mod weights;

/// Floats of V and Y that one group of images may take: 14 MiB, but at least one image.
const GROUP: usize = 7 << 19;

/// Columns of a product that are one task.
const COLUMNS: usize = 64;

/// Tiles whose products cost as much as computing U, or the weights from theirs (measured): with
/// many channels and few tiles, tiles of 4×4 save less than their 25 planes of U cost.
const MAKE_U: usize = 100;
const LEAVE_U: usize = 30;

/// Floats between the rows of V and Y, so that rows do not fall on the same lines of a cache.
const GAP: usize = 16;

/// The sizes of a convolution cut into tiles.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    spec: ConvSpec,
    stride: usize,
    /// Taps along an axis.
    r: usize,
    /// Outputs of a tile along an axis.
    m: usize,
    n: usize,
    large: usize,
    small: usize,
    /// Tiles of an image, down and across.
    tiles: [usize; 2],
}

impl Sizes {
    /// The sizes, if the filtering is worth it for this geometry, in the tiles that cost least
    /// where a group's transform of the weights costs as much as `transform` tiles.
    fn of(spec: &ConvSpec, [n, large, small]: [usize; 3], transform: usize) -> Option<Self> {
        let ([k, kw], [stride, sw]) = (spec.kernel, spec.stride);
        let r = k.div_ceil(stride);
        let shape = k == kw && stride == sw && (2..=3).contains(&r);
        let padded = spec.pad.iter().all(|&pad| pad < k);
        if !shape || !padded || large.min(small) < 16 || n == 0 {
            return None;
        }
        let [h, w] = spec.small;
        let sizes = |m: usize| {
            let tiles = [h.div_ceil(m), w.div_ceil(m)];
            Self { spec: *spec, stride, r, m, n, large, small, tiles }
        };
        let cost =
            |z: &Self| z.planes() * (n * z.tiles_of_image() + transform * z.groups().count());
        let tiles_of = if r == 2 { &[2, 4][..] } else { &[2] };
        let best = tiles_of.iter().map(|&m| sizes(m)).min_by_key(cost)?;
        let minimal = best.planes() * best.tiles_of_image() * stride.pow(2);
        // Savings below a fifth are lost to the transforms.
        (5 * minimal <= 4 * h * w * k * k).then_some(best)
    }

    /// Cells that a tile sees along an axis.
    fn t(&self) -> usize {
        self.m + self.r - 1
    }

    fn planes(&self) -> usize {
        self.t().pow(2)
    }

    /// Channels of a cell.
    fn cell(&self) -> usize {
        self.stride.pow(2) * self.large
    }

    /// Floats of a row of V.
    fn v_row(&self) -> usize {
        self.planes() * self.cell() + GAP
    }

    /// Floats of a row of Y.
    fn y_row(&self) -> usize {
        self.planes() * self.small + GAP
    }

    fn tiles_of_image(&self) -> usize {
        self.tiles[0] * self.tiles[1]
    }

    /// Images of a group.
    fn group(&self) -> usize {
        (GROUP / (self.tiles_of_image() * (self.v_row() + self.y_row()))).clamp(1, self.n)
    }

    /// Tiles of a full group.
    fn rows(&self) -> usize {
        self.group() * self.tiles_of_image()
    }

    /// Floats of a line of cells of one image: a line of pixels, padded.
    fn line(&self) -> usize {
        (self.m * self.tiles[1] + self.r - 1) * self.stride * self.large
    }

    /// Floats of the lines of pixels that a tile line sees.
    fn lines(&self) -> usize {
        self.t() * self.stride * self.line()
    }

    /// The groups of images.
    fn groups(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let (n, group) = (self.n, self.group());
        (0..n).step_by(group).map(move |first| first..n.min(first + group))
    }
}

/// How the planes' products are split into tasks, and where each lies. Their t lines of t planes
/// and blocks of columns lie in the order (line, block, plane of the line), each as
/// `rows × COLUMNS` floats, densely with as many columns as the block has. A task is all planes of
/// a line in a block, which share most of the work of computing U, or one of them where that gives
/// too few tasks for the threads.
#[derive(Clone, Copy)]
struct Products {
    columns: usize,
    rows: usize,
    t: usize,
    planes_of_task: usize,
}

impl Products {
    fn new(z: &Sizes, columns: usize, threads: usize) -> Self {
        let t = z.t();
        let lines = t * columns.div_ceil(COLUMNS);
        // A single thread, or enough tasks that the last ones' wait for each other is short.
        let enough = threads == 1 || lines >= 4 * threads;
        Self { columns, rows: z.rows(), t, planes_of_task: if enough { t } else { 1 } }
    }

    fn blocks(&self) -> usize {
        self.columns.div_ceil(COLUMNS)
    }

    fn floats(&self) -> usize {
        self.t * self.blocks() * self.t * self.rows * COLUMNS
    }

    fn block(&self, block: usize) -> Range<usize> {
        block * COLUMNS..self.columns.min((block + 1) * COLUMNS)
    }

    /// Floats of a task's products.
    fn task_floats(&self) -> usize {
        self.planes_of_task * self.rows * COLUMNS
    }

    /// A task's line, which of its planes, and its block.
    fn task(&self, task: usize) -> (usize, Range<usize>, usize) {
        let first = task * self.planes_of_task;
        let (line, first) = (first / (self.blocks() * self.t), first % (self.blocks() * self.t));
        let (block, plane) = (first / self.t, first % self.t);
        (line, plane..plane + self.planes_of_task, block)
    }

    /// Where row `row` of a block of plane (0, 0) starts, and how far the next line and the next plane
    /// are.
    fn at(&self, block: usize, row: usize) -> (usize, [usize; 2]) {
        let slot = self.rows * COLUMNS;
        let line = self.blocks() * self.t * slot;
        (block * self.t * slot + row * self.block(block).len(), [line, slot])
    }

    /// Floats of a task's own memory, for products with factors of that length: its part of U.
    fn pool_floats(&self, long: usize) -> usize {
        self.planes_of_task * long * COLUMNS
    }
}

/// Runs one of the three for the given number of taps.
macro_rules! by_taps {
    ($f:ident, $z:expr, $call:expr) => {
        match ($z.m, $z.r) {
            (2, 2) => $f::<F22, 2, 2, 3>($z, $call),
            (4, 2) => $f::<F42, 2, 4, 5>($z, $call),
            _ => $f::<F23, 3, 2, 4>($z, $call),
        }
    };
}

/// Floats of scratch for [`conv2d`], where it is worth using.
pub(super) fn conv2d_scratch(spec: &ConvSpec, s: &Site, threads: usize) -> Option<usize> {
    let z = Sizes::of(spec, [s.shape[0], s.shapes[0][3], s.shape[3]], MAKE_U)?;
    let products = Products::new(&z, z.small, threads);
    Some(
        z.rows() * z.v_row()
            + products.floats()
            + threads * products.pool_floats(z.cell()).max(z.lines()),
    )
}

/// The small image.
pub(super) fn conv2d(spec: &ConvSpec, s: &Site, call: Call<'_>) {
    let z = Sizes::of(spec, [s.shape[0], s.shapes[0][3], s.shape[3]], MAKE_U);
    let z = &z.expect("its scratch was asked for");
    by_taps!(small_by, z, call);
}

/// Floats of scratch for [`conv_transpose2d`], where it is worth using.
pub(super) fn conv_transpose2d_scratch(spec: &ConvSpec, s: &Site, threads: usize) -> Option<usize> {
    let z = Sizes::of(spec, [s.shape[0], s.shape[3], s.shapes[0][3]], MAKE_U)?;
    let products = Products::new(&z, z.cell(), threads);
    let own = products.pool_floats(z.small).max(z.lines());
    Some(z.rows() * z.y_row() + products.floats() + threads * own)
}

/// The large image.
pub(super) fn conv_transpose2d(spec: &ConvSpec, s: &Site, call: Call<'_>) {
    let z = Sizes::of(spec, [s.shape[0], s.shape[3], s.shapes[0][3]], MAKE_U);
    let z = &z.expect("its scratch was asked for");
    by_taps!(large_by, z, call);
}

/// Floats of scratch for [`conv_weight_grad`], where it is worth using.
pub(super) fn conv_weight_grad_scratch(spec: &ConvSpec, s: &Site, threads: usize) -> Option<usize> {
    let z = Sizes::of(spec, [s.shapes[0][0], s.shapes[0][3], s.shapes[1][3]], LEAVE_U)?;
    let products = z.planes() * z.cell().div_ceil(ROWS) * ROWS * WEIGHT_COLUMNS.min(z.small);
    Some(z.rows() * (z.v_row() + z.y_row()) + products + threads * z.lines())
}

/// The weights.
pub(super) fn conv_weight_grad(spec: &ConvSpec, s: &Site, call: Call<'_>) {
    let z = Sizes::of(spec, [s.shapes[0][0], s.shapes[0][3], s.shapes[1][3]], LEAVE_U);
    let z = &z.expect("its scratch was asked for");
    by_taps!(weights_by, z, call);
}
