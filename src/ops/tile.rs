//! How products are cut into tiles for a GPU: one lowering for the matrix product and for the three
//! convolutions, which are products whose operands are addressed another way.
//!
//! There are two tilings (`shaders/lib/tile_*.wgsl`), both right everywhere: by registers, where
//! each invocation loads what it needs straight from storage, and by workgroup memory, where a
//! workgroup shares its loads. A processor that plays GPU wants the first, because it pays dearly
//! for barriers; a GPU wants the second unless the product is too thin to share anything.

use minijinja::{Value, context};

use crate::error::Result;
use crate::tensor::DType;

use super::kernel::padded_bytes;
use super::{Arg, Caps, Dispatch, Lowered, fold_groups};

/// Bytes that the partial sums of a split product may take.
const PARTIAL_BYTES: u64 = 16 << 20;

/// Terms that one accumulator adds up at most, where the memory for partial sums allows: the
/// rounding error of a plain sum grows with its length.
const LONGEST_SUM: usize = 8192;

/// What a row of an operand, its contiguous side, runs along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Along {
    /// The product's rows (of `a`) or columns (of `b`).
    Product,
    /// The reduction.
    Reduction,
}

/// A product `y[m, n] = Σ_k a[m, k] · b[k, n]`, perhaps summed over taps, as a kernel sees it.
#[derive(Clone, Debug)]
pub(super) struct Product {
    /// The kernel's name, which is its template's.
    pub(super) kernel: &'static str,
    /// Rows, columns, and the length of the reduction within one tap.
    pub(super) size: [usize; 3],
    /// What the rows of `a` and `b` run along.
    pub(super) along: [Along; 2],
    /// How the rows of `a` are found.
    pub(super) rows_of_a: RowsOfA,
    /// Products computed beside each other, along z.
    pub(super) layers: usize,
    /// Elements of one row of `a`.
    pub(super) a_len: usize,
    /// Useful floating-point operations.
    pub(super) flops: u64,
}

/// How the rows of the operand `a` are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RowsOfA {
    /// It is a matrix.
    Matrix,
    /// It is a picture under one tap after another, by a loop over taps; where `flat` names their
    /// number, the kernel may instead run through taps and channels by one index.
    Taps {
        /// How many taps there are, if the kernel can number them so.
        flat: Option<usize>,
    },
    /// It is a picture whose pixels are the reduction: the tap belongs to the product's row.
    /// Here `line` is the width of the grid of pixels, and `run` the distance of neighbours.
    Pixels {
        /// Pixels of a line of the grid.
        line: usize,
        /// Elements between neighbours.
        run: usize,
    },
}

/// How one workgroup's part of a product is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tiling {
    /// Each invocation has `rows` rows and `cols` vectors of columns, and neighbours lie beside
    /// each other along the columns, or along the rows.
    Registers { lanes: usize, rows: usize, cols: usize, lanes_down: bool },
    /// Tiles of `side` by `side`, `depth` of the reduction at a time, `rows` by `rows` for each
    /// invocation.
    Workgroup { side: usize, depth: usize, rows: usize },
}

impl Tiling {
    /// Rows and columns of a workgroup's part.
    fn tile(self) -> [usize; 2] {
        match self {
            Self::Registers { lanes, rows, cols, lanes_down: false } => [rows, 4 * cols * lanes],
            Self::Registers { lanes, rows, cols, lanes_down: true } => [rows * lanes, 4 * cols],
            Self::Workgroup { side, .. } => [side, side],
        }
    }

    /// How many of the reduction it takes at a time.
    fn step(self) -> usize {
        match self {
            Self::Registers { .. } => 4,
            Self::Workgroup { depth, .. } => depth,
        }
    }

    /// How many workgroups a product of `m` by `n` takes, down and across.
    fn tiles(self, m: usize, n: usize) -> [usize; 2] {
        let [tile_m, tile_n] = self.tile();
        [m.div_ceil(tile_m), n.div_ceil(tile_n)]
    }

    /// The tiling for a product of `m` by `n`, `layers` times.
    fn choose(m: usize, n: usize, layers: usize, caps: &Caps) -> Self {
        if caps.software { Self::for_software(m, n) } else { Self::for_hardware(m, n, layers, caps) }
    }

    /// On a processor that plays GPU every invocation of eight is a lane of its vectors, and a load
    /// costs as much as several multiply-adds, even where all lanes load the same: the least work
    /// by that measure wins.
    fn for_software(m: usize, n: usize) -> Self {
        const LOAD: usize = 9;
        let shapes = [(16, 2, false), (16, 1, false), (8, 2, false), (8, 1, false), (4, 2, false)];
        let down = [(16, 1, true), (8, 1, true), (4, 1, true), (8, 2, true), (8, 4, true), (4, 2, true)];
        let cost = |t: &Self| {
            let Self::Registers { rows, cols, .. } = *t else { return usize::MAX };
            let [tiles_m, tiles_n] = t.tiles(m, n);
            tiles_m * tiles_n * (16 * rows * cols + LOAD * (4 * rows + 16 * cols))
        };
        shapes
            .into_iter()
            .chain(down)
            .map(|(rows, cols, lanes_down)| Self::Registers { lanes: 8, rows, cols, lanes_down })
            .min_by_key(cost)
            .expect("the list of shapes is not empty")
    }

    /// On a GPU: large tiles where there are enough of them, and no sharing where the product is
    /// thinner than a tile could use.
    fn for_hardware(m: usize, n: usize, layers: usize, caps: &Caps) -> Self {
        const ENOUGH: usize = 128;
        let small = Self::Workgroup { side: 32, depth: 32, rows: 4 };
        let large = Self::Workgroup { side: 64, depth: 16, rows: 8 };
        if n <= 8 {
            return Self::Registers { lanes: 64, rows: 4, cols: n.div_ceil(4), lanes_down: true };
        }
        if m <= 8 || small.workgroup_bytes() > caps.workgroup_memory as usize {
            let rows = if m <= 4 { 4 } else { 8 };
            return Self::Registers { lanes: 64, rows, cols: 1, lanes_down: false };
        }
        let [down, across] = large.tiles(m, n);
        if m > 32 && n > 32 && down * across * layers >= ENOUGH { large } else { small }
    }

    /// Bytes of workgroup memory, as the template declares them.
    fn workgroup_bytes(self) -> usize {
        match self {
            Self::Registers { .. } => 0,
            Self::Workgroup { side, depth, .. } => 2 * depth * (side / 4 + 1) * 16,
        }
    }
}

impl Product {
    /// The dispatches that compute it; `extra` holds the kernel's own variables.
    pub(super) fn lower(&self, extra: &Value, caps: &Caps) -> Lowered {
        let [m, n, _] = self.size;
        if m == 0 || n == 0 {
            return Lowered::default();
        }
        self.lower_as(Tiling::choose(m, n, self.layers, caps), extra, caps)
    }

    fn lower_as(&self, tiling: Tiling, extra: &Value, caps: &Caps) -> Lowered {
        let [m, n, mut k] = self.size;
        let mut taps = matches!(self.rows_of_a, RowsOfA::Taps { .. });
        let mut flat = false;
        if let RowsOfA::Taps { flat: Some(count) } = self.rows_of_a
            && !k.is_multiple_of(tiling.step())
        {
            (flat, taps, k) = (true, false, count * k);
        }
        let [tiles_m, tiles_n] = tiling.tiles(m, n);
        let [tile_m, tile_n] = tiling.tile();
        let tiles = tiles_m * tiles_n;
        let may_split = self.layers == 1 && !matches!(self.rows_of_a, RowsOfA::Taps { .. });
        let splits = if may_split { splits(tiles, m * n, k, caps) } else { 1 };
        let chunk = k.div_ceil(splits).next_multiple_of(tiling.step()).max(tiling.step());
        let splits = k.div_ceil(chunk).max(1);
        let mut groups = fold_groups(tiles, caps);
        groups[2] = (splits * self.layers) as u32;

        // Where the tiles reach past the product or the reduction.
        let past_m = m % tile_m != 0 || groups[0] as usize * groups[1] as usize != tiles;
        let past_n = n % tile_n != 0;
        let past_k = !k.is_multiple_of(tiling.step())
            || (matches!(tiling, Tiling::Workgroup { .. }) && splits * chunk != k);
        let [a_along, b_along] = self.along;
        let matrix = self.rows_of_a == RowsOfA::Matrix;
        let (b_len, b_rows, b_past, b_over) = match b_along {
            Along::Product => (n, k, past_k, past_n),
            Along::Reduction => (self.size[2], n, past_n, past_k),
        };
        let (a_rows, a_none, a_over) = match a_along {
            Along::Product => (k, past_k, past_m),
            Along::Reduction => (m, past_m, past_k),
        };
        let slice = (m * n).next_multiple_of(4);
        let (lanes, rows, cols, row_step, col_step, side, depth) = match tiling {
            Tiling::Registers { lanes, rows, cols, lanes_down: false } => {
                (lanes, rows, cols, 4, 4 * lanes, 0, 0)
            }
            Tiling::Registers { lanes, rows, cols, lanes_down: true } => {
                (lanes, rows, cols, 4 * lanes, 4, 0, 0)
            }
            Tiling::Workgroup { side, depth, rows } => {
                ((side / rows) * (side / rows), rows, 0, 0, 0, side, depth)
            }
        };
        let (unit, a_run, run) = match self.rows_of_a {
            RowsOfA::Pixels { line, run } => {
                let together = if row_step == 4 { rows } else { tile_m };
                let unit = match self.a_len {
                    l if side == 0 && l % together == 0 => rows,
                    l if l % 4 == 0 => 4,
                    _ => 1,
                };
                (unit, line % 4 == 0, run)
            }
            _ => (if side == 0 { rows } else { 4 }, false, 0),
        };
        let context = context! {
            tile => if side == 0 { "lib/tile_registers.wgsl" } else { "lib/tile_workgroup.wgsl" },
            m,
            n,
            k,
            a_along => if a_along == Along::Product { "m" } else { "k" },
            b_along => if b_along == Along::Product { "n" } else { "k" },
            a_len => self.a_len,
            a_rows,
            a_vec => self.a_len.is_multiple_of(4),
            a_none => a_none || !matrix,
            a_over => a_over && !flat && (matrix || taps),
            b_len,
            b_rows,
            b_vec => b_len.is_multiple_of(4),
            b_past,
            b_over,
            y_vec => n.is_multiple_of(4),
            taps,
            flat,
            unit,
            a_run,
            run,
            lanes,
            rows,
            cols,
            row_step,
            col_step,
            side,
            depth,
            tile_m,
            tile_n,
            tiles_m,
            tiles_n,
            groups_x => groups[0],
            chunk,
            splits,
            slice,
            ..extra.clone()
        };
        let y = if splits > 1 { Arg::Scratch(0) } else { Arg::Output };
        let mut lowered = Lowered::default();
        lowered.dispatches.push(Dispatch {
            kernel: self.kernel,
            context,
            bind: vec![("a", Arg::Input(0)), ("b", Arg::Input(1)), ("y", y)],
            groups,
            flops: self.flops,
        });
        if splits > 1 {
            lowered.scratch.push(padded_bytes(splits * slice, DType::F32));
            lowered.dispatches.push(sum_partials(slice / 4, splits, caps));
        }
        lowered
    }
}

/// Adds `splits` partial results of `len4` vectors each.
fn sum_partials(len4: usize, splits: usize, caps: &Caps) -> Dispatch {
    let groups = fold_groups(len4.div_ceil(64), caps);
    Dispatch {
        kernel: "sum_partials",
        context: context! { len4, splits, groups_x => groups[0] },
        bind: vec![("partials", Arg::Scratch(0)), ("y", Arg::Output)],
        groups,
        flops: (4 * len4 * (splits - 1)) as u64,
    }
}

/// How many parts to split a reduction of length `k` into, where the product has `len` elements in
/// `tiles` tiles: enough to keep the device busy and the sums short, within the memory allowed.
fn splits(tiles: usize, len: usize, k: usize, caps: &Caps) -> usize {
    let (busy, shortest) = if caps.software { (32, 256) } else { (512, 128) };
    let useful = (busy / tiles.max(1)).min(k / shortest).max(k.div_ceil(LONGEST_SUM)).max(1);
    let affordable = PARTIAL_BYTES as usize / (len * 4).max(1);
    useful.min(affordable.max(1)).min(caps.groups_per_dimension as usize)
}

/// The matrix product of sizes `m`, `n`, `k`; the flags say which operands are stored transposed.
pub(super) fn matmul(
    sizes: [usize; 3],
    transpose_a: bool,
    transpose_b: bool,
    caps: &Caps,
) -> Result<Lowered> {
    let [m, n, k] = sizes;
    let product = Product {
        kernel: "matmul",
        size: sizes,
        along: [
            if transpose_a { Along::Product } else { Along::Reduction },
            if transpose_b { Along::Reduction } else { Along::Product },
        ],
        rows_of_a: RowsOfA::Matrix,
        layers: 1,
        a_len: if transpose_a { m } else { k },
        flops: 2 * (m * n * k) as u64,
    };
    Ok(product.lower(&context! {}, caps))
}
