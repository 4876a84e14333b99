//! The convolutions on the GPU by Winograd's minimal filtering, in two dimensions.
//!
//! The algebra is that of the CPU kernel (`twin/winograd/mod.rs`). `shaders/filter_in.wgsl`
//! transforms two operands into planes, each of which is a matrix; one dispatch multiplies all
//! planes; and `shaders/filter_out.wgsl` transforms the products back to the result. With V, U and
//! Y the planes of the large image, the weights and the small image:
//!
//! ```text
//! y ← V[p] · U[p]      x ← Y[p] · U[p]ᵀ      w ← V[p]ᵀ · Y[p]
//! ```

use minijinja::{Value, context};

use crate::ops::tile::{Along, Product, RowsOfA};
use crate::ops::{Arg, Caps, Dispatch, Lowered, Variant, fold_groups};
use crate::tensor::{DType, padded_bytes};

use super::ConvSpec;
use super::cpu::winograd::Matrices;

/// Tilings of the products worth trying.
const TILINGS: usize = 2;

/// One of the three operands of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// The large image `[n, H, W, L]`, in overlapping tiles of cells of stride × stride pixels.
    Large,
    /// The small image `[n, h, w, S]`, in tiles of 2 × 2 pixels.
    Small,
    /// The weights `[kh, kw, L, S]`, all taps of a pair of channels in one square.
    Taps,
}

/// A convolution cut into tiles of 2 × 2 outputs.
#[derive(Debug)]
pub(super) struct Minimal {
    spec: ConvSpec,
    n: usize,
    /// Channels of the large and the small image.
    large: usize,
    small: usize,
    stride: usize,
    /// Tiles of an image, down and across.
    tiles: [usize; 2],
    matrices: Matrices,
}

impl Minimal {
    /// The filtering, if it is possible for this geometry and saves at least a fifth of the
    /// multiplications.
    pub(super) fn of(spec: &ConvSpec, n: usize, large: usize, small: usize) -> Option<Self> {
        let ([k, kw], [stride, sw]) = (spec.kernel, spec.stride);
        let vectors = large.is_multiple_of(4) && small.is_multiple_of(4);
        if k != kw || stride != sw || !vectors || large.min(small) < 16 || n == 0 {
            return None;
        }
        let matrices = Matrices::of(k.div_ceil(stride))?;
        let [h, w] = spec.small;
        let tiles = [h.div_ceil(2), w.div_ceil(2)];
        let made = tiles[0] * tiles[1] * (matrices.input.len() * stride).pow(2);
        let spec = *spec;
        (5 * made <= 4 * h * w * k * k).then_some(Self {
            spec,
            n,
            large,
            small,
            stride,
            tiles,
            matrices,
        })
    }

    /// Planes along one axis.
    fn planes(&self) -> usize {
        self.matrices.input.len()
    }

    /// Tiles of all images.
    fn all_tiles(&self) -> usize {
        self.n * self.tiles[0] * self.tiles[1]
    }

    /// Rows and columns of an operand's matrices.
    fn size(&self, side: Side) -> [usize; 2] {
        let cell = self.stride.pow(2) * self.large;
        match side {
            Side::Large => [self.all_tiles(), cell],
            Side::Small => [self.all_tiles(), self.small],
            Side::Taps => [cell, self.small],
        }
    }

    /// Bytes of an operand's planes.
    fn bytes(&self, side: Side) -> u64 {
        let [rows, columns] = self.size(side);
        padded_bytes(self.planes().pow(2) * rows * columns, DType::F32)
    }

    /// The dispatches that compute the operand `result`, with one variant for each tiling of the
    /// products; empty where a buffer would be larger than the device can bind.
    pub(super) fn variants(&self, result: Side, caps: &Caps) -> Vec<Variant> {
        let [left, right] = match result {
            Side::Large => [Side::Small, Side::Taps],
            Side::Small => [Side::Large, Side::Taps],
            Side::Taps => [Side::Large, Side::Small],
        };
        let scratch = [left, right, result].map(|side| self.bytes(side));
        if scratch.iter().any(|&bytes| bytes > caps.max_binding) {
            return Vec::new();
        }
        let [m, n] = self.size(result);
        let [rows, columns] = self.size(left);
        let (a_along, k) =
            if result == Side::Taps { (Along::Product, rows) } else { (Along::Reduction, columns) };
        let b_along = if result == Side::Large { Along::Reduction } else { Along::Product };
        let planes = self.planes().pow(2);
        let product = Product {
            kernel: "matmul",
            bind: [Arg::Scratch(0), Arg::Scratch(1), Arg::Scratch(2)],
            size: [m, n, k],
            along: [a_along, b_along],
            rows_of_a: RowsOfA::Matrix,
            layers: planes,
            a_len: columns,
            flops: (2 * planes * m * n * k) as u64,
            own: context! {},
        };
        let variant = |by: Variant| {
            let mut dispatches = vec![self.enter(left, 0, caps), self.enter(right, 1, caps)];
            dispatches.extend(by.lowered.dispatches);
            dispatches.push(self.leave(result, caps));
            let lowered = Lowered { dispatches, scratch: scratch.to_vec() };
            Variant { name: format!("minimal, {}", by.name), lowered }
        };
        product.variants(caps).into_iter().take(TILINGS).map(variant).collect()
    }

    /// Transforms input `i`, which is the operand `side`, into planes.
    fn enter(&self, side: Side, i: usize, caps: &Caps) -> Dispatch {
        let matrix = match side {
            Side::Large => &self.matrices.input,
            Side::Small => &self.matrices.output_back,
            Side::Taps => &self.matrices.taps,
        };
        let bind = vec![("x", Arg::Input(i)), ("y", Arg::Scratch(i))];
        self.transform("filter_in", side, self.tiles, matrix, bind, caps)
    }

    /// Transforms the planes of the operand `side` to the output.
    fn leave(&self, side: Side, caps: &Caps) -> Dispatch {
        let (mut squares, mut matrix) = (self.tiles, &self.matrices.output);
        let blocks;
        match side {
            Side::Small => {}
            Side::Taps => matrix = &self.matrices.taps_back,
            Side::Large => {
                // What a tile adds to its first two cells, and, as the preceding tile, to its
                // others.
                let back = &self.matrices.input_back;
                let zeros = vec![0.0; self.planes()];
                let before = |cell: usize| back.get(cell + 2).unwrap_or(&zeros);
                blocks = [0, 1].map(|cell| [&back[cell][..], before(cell)].concat()).to_vec();
                matrix = &blocks;
                squares = [0, 1].map(|axis| {
                    let cells = (self.spec.large[axis] + self.spec.pad[axis]).div_ceil(self.stride);
                    cells.div_ceil(2)
                });
            }
        }
        let bind = vec![("x", Arg::Scratch(2)), ("y", Arg::Output)];
        self.transform("filter_out", side, squares, matrix, bind, caps)
    }

    /// A transform of the operand `side`, cut into `squares` an image, by `matrix` on both axes.
    fn transform(
        &self,
        kernel: &'static str,
        side: Side,
        squares: [usize; 2],
        matrix: &[Vec<f32>],
        bind: Vec<(&'static str, Arg)>,
        caps: &Caps,
    ) -> Dispatch {
        let [mut rows, channels] = self.size(side);
        if side != Side::Taps {
            rows = self.n * squares[0] * squares[1];
        }
        let (name, [high, wide], item, step) = match side {
            Side::Large => ("large", self.spec.large, self.large, self.stride),
            Side::Small => ("small", self.spec.small, self.small, 1),
            Side::Taps => ("taps", self.spec.kernel, self.large * self.small, self.stride),
        };
        let quads = channels / 4;
        let columns: Vec<usize> =
            (0..matrix[0].len()).filter(|&j| matrix.iter().any(|row| row[j] != 0.0)).collect();
        let terms = matrix.iter().flatten().filter(|&&factor| factor != 0.0).count();
        let groups = fold_groups((rows * quads).div_ceil(64), caps);
        Dispatch {
            kernel,
            context: context! {
                side => name,
                large => self.large,
                small => self.small,
                high,
                wide,
                step,
                item,
                down => squares[0],
                across => squares[1],
                top => self.spec.pad[0],
                left => self.spec.pad[1],
                rows,
                quads,
                planes => self.planes(),
                tiles => self.all_tiles(),
                tiles_y => self.tiles[0],
                tiles_x => self.tiles[1],
                matrix => matrix.iter().map(|row| sparse(row)).collect::<Vec<_>>(),
                columns => &columns,
            },
            bind,
            groups,
            flops: (rows * channels * terms * (matrix.len() + columns.len())) as u64,
        }
    }
}

/// The nonzero factors of a row, with their columns.
fn sparse(row: &[f32]) -> Vec<Value> {
    let entries = row.iter().enumerate().filter(|(_, factor)| **factor != 0.0);
    entries.map(|(at, &factor)| context! { factor, at }).collect()
}
