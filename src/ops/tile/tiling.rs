//! How one workgroup's part of a product is laid out, and which layout suits which device.
//!
//! Barriers are expensive on a software adapter, so it shares loads by subgroups, or not at all. A
//! GPU shares them by workgroup memory, unless the product is too thin to share anything.

use super::{Along, Caps};

/// How the invocations of a workgroup share what they load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Not at all.
    Registers,
    /// By broadcasts within a subgroup, which is the whole workgroup.
    Subgroup,
    /// By workgroup memory.
    Workgroup,
}

impl Kind {
    /// Its template.
    pub(super) const fn template(self) -> &'static str {
        match self {
            Self::Registers => "lib/tile_registers.wgsl",
            Self::Subgroup => "lib/tile_subgroup.wgsl",
            Self::Workgroup => "lib/tile_workgroup.wgsl",
        }
    }
}

/// How one workgroup's part of a product is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tiling {
    /// How loads are shared.
    pub(super) kind: Kind,
    /// Rows and columns of a workgroup's part.
    pub(super) size: [usize; 2],
    /// How much of the reduction is taken at a time.
    pub(super) depth: usize,
    /// Invocations.
    pub(super) lanes: usize,
    /// Rows of one invocation's part.
    pub(super) rows: usize,
    /// Columns of one invocation's part, in vectors.
    pub(super) cols: usize,
    /// Distance between one invocation's blocks of 4 rows.
    pub(super) row_step: usize,
    /// Distance between one invocation's vectors of columns.
    pub(super) col_step: usize,
}

/// Costs on a software adapter, in multiply-adds (measured on llvmpipe of Mesa 22.3).
#[derive(Clone, Copy, Debug)]
struct Processor {
    /// Cost of a load, even where all lanes load the same.
    load: usize,
    /// Cost of the four broadcasts of a row.
    broadcasts: usize,
    /// Vectors of sums that a lane may have; they do not fit the registers anyway.
    largest: usize,
}

impl Processor {
    /// With 32 vector registers (AVX-512) or more, or with 16 (AVX2), where everything waits for
    /// the stack: the fewer loads, the better, in a product large enough to make up for the time
    /// that the driver takes to compile large tiles.
    const fn of(caps: &Caps, flops: u64) -> Self {
        match caps.vector_registers {
            32.. => Self { load: 60, broadcasts: 18, largest: 64 },
            _ => Self { load: 170, broadcasts: 7, largest: if flops < 1 << 26 { 64 } else { 128 } },
        }
    }
}

impl Tiling {
    /// Register tiles; neighbors lie side by side along the columns.
    const fn across(lanes: usize, rows: usize, cols: usize) -> Self {
        let size = [rows, 4 * cols * lanes];
        let kind = Kind::Registers;
        Self { kind, size, depth: 4, lanes, rows, cols, row_step: 4, col_step: 4 * lanes }
    }

    /// Register tiles; neighbors lie below each other along the rows.
    const fn down(lanes: usize, rows: usize, cols: usize) -> Self {
        let size = [rows * lanes, 4 * cols];
        let kind = Kind::Registers;
        Self { kind, size, depth: 4, lanes, rows, cols, row_step: 4 * lanes, col_step: 4 }
    }

    /// Register tiles whose rows a subgroup of `lanes` shares; its lanes lie along the columns.
    const fn subgroup(lanes: usize, rows: usize, cols: usize) -> Self {
        Self { kind: Kind::Subgroup, ..Self::across(lanes, rows, cols) }
    }

    /// Tiles of `size` in workgroup memory, of which each invocation computes `rows` by `rows`, and
    /// loads one 4 by 4 block of each operand, or of only one, or nothing.
    const fn workgroup(size: [usize; 2], depth: usize, rows: usize) -> Self {
        let [down, across] = [size[0] / rows, size[1] / rows];
        let (kind, lanes, cols) = (Kind::Workgroup, down * across, rows / 4);
        assert!((size[0] / 4) * (depth / 4) <= lanes && (size[1] / 4) * (depth / 4) <= lanes);
        Self { kind, size, depth, lanes, rows, cols, row_step: 4 * down, col_step: 4 * across }
    }

    /// How many invocations load a block of the left operand, how many of the right one, and the
    /// first that loads one of the right: distinct from those of the left, if there are enough.
    pub(super) const fn blocks(&self) -> [usize; 3] {
        let deep = self.depth / 4;
        let [a, b] = [self.size[0] / 4 * deep, self.size[1] / 4 * deep];
        [a, b, if a + b <= self.lanes { a } else { 0 }]
    }

    /// A unique name among all tilings.
    pub(super) fn name(&self) -> String {
        let [m, n] = self.size;
        let Self { lanes, rows, cols, .. } = self;
        match self.kind {
            Kind::Registers if self.row_step == 4 => format!("across {lanes}x{rows}x{cols}"),
            Kind::Registers => format!("down {lanes}x{rows}x{cols}"),
            Kind::Subgroup => format!("subgroup {lanes}x{rows}x{cols}"),
            Kind::Workgroup => format!("workgroup {m}x{n}"),
        }
    }

    /// Vectors of workgroup memory from one step of the reduction to the next: one more than it
    /// holds, so that they start in different banks.
    pub(super) const fn pitch(&self) -> usize {
        let [m, n] = self.size;
        (if m > n { m } else { n }) / 4 + 1
    }

    /// Steps of the reduction that the innermost loop of a tile in workgroup memory takes at a
    /// time: with fewer, loop overhead is more than a tenth of the work.
    pub(super) const fn unroll(&self) -> usize {
        if self.rows < 8 { 16 } else { 4 }
    }

    /// How many workgroups a product of `m` by `n` takes, down and across.
    pub(super) fn tiles(&self, m: usize, n: usize) -> [usize; 2] {
        [m.div_ceil(self.size[0]), n.div_ceil(self.size[1])]
    }

    /// For a software adapter: eight invocations, or a subgroup, are the lanes of its vectors. The
    /// least work first, and among equals, the larger tile.
    pub(super) fn for_software(
        [m, n]: [usize; 2],
        flops: u64,
        along: Along,
        caps: &Caps,
    ) -> Vec<Self> {
        /// Tilings that are not clearly slower than the best.
        const WORTH: usize = 4;
        let processor = Processor::of(caps, flops);
        let mut tilings = Vec::new();
        if let Some(lanes) = caps.subgroup.map(|lanes| lanes as usize) {
            // Rows that the subgroup's loads cover at a time.
            let block = if along == Along::Product { 4 * lanes } else { lanes };
            let shapes = [(64, 2), (64, 1), (32, 2), (32, 1), (16, 2), (16, 1), (8, 2), (8, 1)];
            let fits = |&(rows, cols): &(usize, usize)| {
                rows % block == 0 && rows * cols <= processor.largest
            };
            tilings
                .extend(shapes.into_iter().filter(fits).map(|(r, c)| Self::subgroup(lanes, r, c)));
        }
        let across = [(16, 4), (16, 2), (16, 1), (8, 2), (8, 1), (4, 2)];
        let down = [(16, 4), (16, 2), (16, 1), (8, 4), (8, 1), (4, 2), (4, 1)];
        tilings.extend(across.map(|(rows, cols)| Self::across(8, rows, cols)));
        tilings.extend(down.map(|(rows, cols)| Self::down(8, rows, cols)));
        tilings.sort_by_key(|tiling| tiling.software_cost(m, n, processor));
        tilings.truncate(WORTH);
        tilings
    }

    /// The work of one lane in a product of `m` by `n`, for each 4 steps of its reduction, in
    /// multiply-adds.
    fn software_cost(&self, m: usize, n: usize, processor: Processor) -> usize {
        let [tiles_m, tiles_n] = self.tiles(m, n);
        let Self { rows, cols, lanes, .. } = *self;
        let Processor { load, broadcasts, .. } = processor;
        let loads_of_a = match self.kind {
            Kind::Subgroup => broadcasts * rows + load * rows / lanes,
            _ => load * rows,
        };
        tiles_m * tiles_n * lanes * (16 * rows * cols + loads_of_a + load * 4 * cols)
    }

    /// For a GPU: large tiles where there are enough of them in `layers` products, or parts, side
    /// by side, and no sharing where the product is thinner than a tile could use.
    pub(super) fn for_hardware(m: usize, n: usize, layers: usize, caps: &Caps) -> Vec<Self> {
        const ENOUGH: usize = 128;
        const LARGE: Tiling = Tiling::workgroup([64, 64], 16, 8);
        const SMALL: Tiling = Tiling::workgroup([32, 32], 32, 4);
        // Half of the loads, or three quarters, for each multiply-add, and twice as many barriers:
        // for cards with caches that are slow compared to their arithmetic. AMD's compiler
        // generates the same hot loop for them (92 % multiply-adds) and has 12 of them in flight
        // where LARGE has 8, on RDNA 3.
        const LARGER: [Tiling; 3] = [
            Tiling::workgroup([128, 128], 8, 8),
            Tiling::workgroup([128, 64], 8, 8),
            Tiling::workgroup([64, 128], 8, 8),
        ];
        let bytes = |t: Self| 2 * t.depth * t.pitch() * 16;
        if n <= 8 {
            let cols = n.div_ceil(4);
            return [(64, 4), (32, 4), (64, 8)].map(|(l, r)| Self::down(l, r, cols)).into();
        }
        if m <= 8 || bytes(SMALL).max(bytes(LARGE)) > caps.workgroup_memory as usize {
            let rows = if m <= 4 { 4 } else { 8 };
            return [(64, 1), (32, 1), (32, 2)].map(|(l, c)| Self::across(l, rows, c)).into();
        }
        let [down, across] = LARGE.tiles(m, n);
        let large = m > 32 && n > 32 && down * across * layers >= ENOUGH;
        let [first, second] = if large { [LARGE, SMALL] } else { [SMALL, LARGE] };
        let mut all = vec![first, second];
        all.extend(LARGER.into_iter().filter(|larger| {
            let [down, across] = larger.tiles(m, n);
            let whole = 2 * m > larger.size[0] && 2 * n > larger.size[1];
            large && whole && 2 * down * across * layers >= ENOUGH
        }));
        all.extend([Self::across(16, 8, 1), Self::down(32, 4, 2)]);
        all
    }
}
