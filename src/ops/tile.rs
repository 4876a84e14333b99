//! How products are split into tiles for a GPU: one lowering for the matrix product and for the
//! three convolutions, which are products whose operands are addressed differently.
//!
//! There are three kinds of tile (`shaders/lib/tile_*.wgsl`): by registers, where each invocation
//! loads what it needs directly from storage, by workgroup memory, where a workgroup shares its
//! loads, and by subgroups, where a subgroup does. [`Tiling`] chooses the best one for a product.

use minijinja::{Value, context};

use crate::tensor::{DType, padded_bytes};

use super::{Arg, Caps, Dispatch, Lowered, Sizes, Variant, fold_groups};

mod tiling;

use tiling::{Kind, Tiling};

/// Bytes that the partial sums of a split product may take.
const PARTIAL_BYTES: usize = 16 << 20;

/// Terms that one accumulator of a split product adds up at most, where the memory for partial sums
/// allows: the rounding error of a plain sum grows with its length.
const LONGEST_SUM: usize = 8192;

/// The two inputs of an op and its output.
pub(super) const OPERANDS: [Arg; 3] = [Arg::Input(0), Arg::Input(1), Arg::Output];

/// What a row of an operand, its contiguous side, runs along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Along {
    /// The product's rows (of `a`) or columns (of `b`).
    Product,
    /// The reduction.
    Reduction,
}

/// How the rows of the operand `a` are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RowsOfA {
    /// It is a matrix.
    Matrix,
    /// It is an image under one tap after another, in a loop over taps.
    Taps {
        /// The number of taps, if the kernel can also run through taps and channels by one index.
        flat: Option<usize>,
    },
    /// It is an image whose pixels are the reduction: the tap belongs to the product's row.
    Pixels {
        /// Pixels of a line of the grid.
        line: usize,
        /// Elements between neighbors in a line.
        run: usize,
    },
}

/// A product `y[m, n] = Σ_k a[m, k] · b[k, n]`, perhaps summed over taps, as a kernel sees it.
#[derive(Clone, Debug)]
pub(super) struct Product {
    /// The kernel's name, which is its template's.
    pub(super) kernel: &'static str,
    /// The buffers of `a`, `b` and `y`.
    pub(super) bind: [Arg; 3],
    /// Rows, columns, and the length of the reduction within one tap.
    pub(super) size: [usize; 3],
    /// What the rows of `a` and `b` run along.
    pub(super) along: [Along; 2],
    /// How the rows of `a` are found.
    pub(super) rows_of_a: RowsOfA,
    /// Products computed side by side, along z: remainders of pixels, or consecutive matrices.
    pub(super) layers: usize,
    /// Elements of one row of `a`.
    pub(super) a_len: usize,
    /// Useful floating-point operations.
    pub(super) flops: u64,
    /// The template variables specific to this kernel.
    pub(super) own: Value,
}

impl Product {
    /// The dispatches of every tiling that may be the fastest, the one expected to be the fastest
    /// first.
    pub(super) fn variants(&self, caps: &Caps) -> Vec<Variant> {
        let tilings = self.tilings(caps);
        if tilings.is_empty() {
            return vec![Variant { name: "empty".into(), lowered: Lowered::default() }];
        }
        let variant = |t: &Tiling| Variant { name: t.name(), lowered: self.lower_as(t, caps) };
        tilings.iter().map(variant).collect()
    }

    /// The tilings worth trying, the one expected to be the fastest first; empty for an empty
    /// product.
    fn tilings(&self, caps: &Caps) -> Vec<Tiling> {
        let [m, n, k] = self.size;
        if m == 0 || n == 0 {
            return Vec::new();
        }
        if caps.software {
            return Tiling::for_software([m, n], self.flops, self.along[0], caps);
        }
        let layers = if self.may_split() { k / shortest_part(caps) } else { self.layers };
        Tiling::for_hardware(m, n, layers, caps)
    }

    /// Whether parts of its reduction may be computed side by side.
    fn may_split(&self) -> bool {
        self.layers == 1 && !matches!(self.rows_of_a, RowsOfA::Taps { .. })
    }

    /// How many rows of an invocation's block always share a tap: all, or 4, or 1.
    fn rows_of_a_tap(&self, tiling: &Tiling) -> usize {
        let spread = if tiling.row_step == 4 { tiling.rows } else { tiling.size[0] };
        let all = if tiling.kind == Kind::Registers { tiling.rows } else { 4 };
        match self.rows_of_a {
            RowsOfA::Pixels { .. } if !self.a_len.is_multiple_of(4) => 1,
            RowsOfA::Pixels { .. } if !self.a_len.is_multiple_of(spread) => 4,
            _ => all,
        }
    }

    fn lower_as(&self, tiling: &Tiling, caps: &Caps) -> Lowered {
        let [m, n, mut k] = self.size;
        let mut taps = matches!(self.rows_of_a, RowsOfA::Taps { .. });
        let mut flat = false;
        if let RowsOfA::Taps { flat: Some(count) } = self.rows_of_a
            && !k.is_multiple_of(tiling.depth)
        {
            (flat, taps, k) = (true, false, count * k);
        }

        let [tiles_m, tiles_n] = tiling.tiles(m, n);
        let tiles = tiles_m * tiles_n;
        let parts = if self.may_split() { parts(tiles, m * n, k, caps) } else { 1 };
        let chunk = k.div_ceil(parts).next_multiple_of(tiling.depth);
        let splits = k.div_ceil(chunk.max(1)).max(1);
        let [x, y, _] = fold_groups(tiles, caps);
        let groups = [x, y, (splits * self.layers) as u32];

        // Where the tiles extend past the product, or their steps past the reduction.
        let past_m = !m.is_multiple_of(tiling.size[0]) || (x * y) as usize != tiles;
        let past_n = !n.is_multiple_of(tiling.size[1]);
        let past_k = !k.is_multiple_of(tiling.depth)
            || (tiling.kind == Kind::Workgroup && splits * chunk != k);
        let matrix = self.rows_of_a == RowsOfA::Matrix;
        let pixels = matches!(self.rows_of_a, RowsOfA::Pixels { .. });
        let (a_along, a_rows, a_none, a_over) = match self.along[0] {
            Along::Product => ("m", k, past_k, past_m),
            Along::Reduction => ("k", m, past_m, past_k),
        };
        let (b_along, b_len, b_rows, b_past, b_over) = match self.along[1] {
            Along::Product => ("n", n, k, past_k, past_n),
            Along::Reduction => ("k", k, n, past_n, past_k),
        };
        let (a_run, run) = match self.rows_of_a {
            RowsOfA::Pixels { line, run } => (line.is_multiple_of(4), run),
            _ => (false, 0),
        };
        let [a_blocks, b_blocks, b_first] = tiling.blocks();
        // Planes are laid out like the op's tensors; partial sums are added by vectors.
        let slice = if self.layers > 1 { m * n } else { (m * n).next_multiple_of(4) };
        let mut sizes = if matrix { Sizes::new(caps) } else { Sizes::literal() };
        let context = context! {
            tile => tiling.kind.template(),
            m => sizes.number("m", m),
            n => sizes.number("n", n),
            k => sizes.number("k", k),
            a_along,
            a_len => sizes.number("a_len", self.a_len),
            a_rows => sizes.number("a_rows", a_rows),
            a_vec => self.a_len.is_multiple_of(4),
            a_none => a_none || !matrix,
            a_over => a_over && !flat && !pixels,
            a_run,
            run,
            b_along,
            b_len => sizes.number("b_len", b_len),
            b_rows => sizes.number("b_rows", b_rows),
            b_vec => b_len.is_multiple_of(4),
            b_past,
            b_over,
            y_vec => n.is_multiple_of(4),
            taps,
            flat,
            planes => matrix && self.layers > 1,
            unit => self.rows_of_a_tap(tiling),
            lanes => tiling.lanes,
            rows => tiling.rows,
            cols => tiling.cols,
            row_step => tiling.row_step,
            col_step => tiling.col_step,
            depth => tiling.depth,
            unroll => tiling.unroll(),
            pitch => tiling.pitch(),
            a_blocks,
            b_blocks,
            b_first,
            one_n => tiles_n == 1,
            a_steady => a_along == "k" && !flat && !a_over && self.a_len.is_multiple_of(4),
            b_steady => b_along == "k" && !b_over && b_len.is_multiple_of(4),
            tile_m => tiling.size[0],
            tile_n => tiling.size[1],
            tiles_m => sizes.number("tiles_m", tiles_m),
            tiles_n => sizes.number("tiles_n", tiles_n),
            tiles => sizes.number("tiles", tiles),
            groups_x => sizes.number("groups_x", x as usize),
            chunk => sizes.number("chunk", chunk),
            slice => sizes.number("slice", slice),
            split => splits > 1,
            ..self.own.clone()
        };
        let [a, b, y] = self.bind;
        let y = if splits > 1 { Arg::Scratch(0) } else { y };
        let mut lowered = Lowered::default();
        lowered.dispatches.push(Dispatch {
            kernel: self.kernel,
            context: sizes.with(context),
            bind: vec![("a", a), ("b", b), ("y", y)],
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

/// The shortest part of a reduction worth its own workgroup.
fn shortest_part(caps: &Caps) -> usize {
    if caps.software { 256 } else { 128 }
}

/// How many parts to split a reduction of length `k` into, where the product has `len` elements in
/// `tiles` tiles: enough to keep the device busy and the sums short, within the memory limit.
fn parts(tiles: usize, len: usize, k: usize, caps: &Caps) -> usize {
    let busy = if caps.software { 32 } else { 512 };
    let useful = (busy / tiles).min(k / shortest_part(caps)).max(k.div_ceil(LONGEST_SUM));
    let affordable = (PARTIAL_BYTES / (len * DType::F32.size())).max(1);
    useful.max(1).min(affordable).min(caps.groups_per_dimension as usize)
}

/// `layers` matrix products of sizes `m`, `n`, `k`; the flags tell which operands are stored
/// transposed.
pub(super) fn matmul(
    layers: usize,
    sizes: [usize; 3],
    transpose_a: bool,
    transpose_b: bool,
) -> Product {
    let [m, n, k] = sizes;
    Product {
        kernel: "matmul",
        bind: OPERANDS,
        size: sizes,
        along: [
            if transpose_a { Along::Product } else { Along::Reduction },
            if transpose_b { Along::Reduction } else { Along::Product },
        ],
        rows_of_a: RowsOfA::Matrix,
        layers,
        a_len: if transpose_a { m } else { k },
        flops: 2 * (layers * m * n * k) as u64,
        own: context! {},
    }
}

#[cfg(test)]
pub(super) mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

    use std::collections::BTreeSet;

    use naga::back::{hlsl, msl, spv};
    use naga::valid::{Capabilities, ValidationFlags, Validator};

    use super::*;
    use crate::shaders;

    /// Devices that cover every path: all kinds of tile, grids that must be folded, no workgroup
    /// memory.
    pub(crate) fn devices() -> [Caps; 6] {
        let gpu = Caps::portable();
        [
            gpu.clone(),
            Caps { software: true, ..gpu.clone() },
            Caps { software: true, subgroup: Some(8), immediates: 128, ..gpu.clone() },
            Caps { software: true, vector_registers: 32, subgroup: Some(4), ..gpu.clone() },
            Caps { groups_per_dimension: 40, ..gpu.clone() },
            Caps { workgroup_memory: 0, ..gpu },
        ]
    }

    /// Renders every dispatch of every variant, and has naga validate it for the device and write it
    /// in the language of each back end.
    pub(crate) fn compile(variants: &[Variant], caps: &Caps) {
        let names: BTreeSet<_> = variants.iter().map(|variant| &variant.name).collect();
        assert_eq!(names.len(), variants.len(), "two variants have one name");
        for variant in variants {
            compile_one(&variant.lowered, caps);
        }
    }

    fn compile_one(lowered: &Lowered, caps: &Caps) {
        for d in &lowered.dispatches {
            // Each binding in 32 bits, and all in 16.
            compile_dispatch(d, d.context.clone(), caps);
            compile_dispatch(d, d.typed(|_| "f16"), caps);
        }
    }

    fn compile_dispatch(d: &Dispatch, context: Value, caps: &Caps) {
        let source = shaders::render(d.kernel, &context).unwrap();
        let module = naga::front::wgsl::parse_str(&source)
            .unwrap_or_else(|e| panic!("{}\n{source}", e.emit_to_string(&source)));
        let mut capabilities = Capabilities::IMMEDIATES | Capabilities::SHADER_FLOAT16;
        capabilities.set(Capabilities::SUBGROUP, caps.subgroup.is_some());
        let info = Validator::new(ValidationFlags::all(), capabilities)
            .validate(&module)
            .unwrap_or_else(|e| panic!("{}\n{source}", e.emit_to_string(&source)));

        let options = spv::Options { lang_version: (1, 3), ..Default::default() };
        spv::write_vec(&module, &info, &options, None).unwrap();
        let lang_version = (2, 4);
        let options =
            msl::Options { fake_missing_bindings: true, lang_version, ..Default::default() };
        msl::write_string(&module, &info, &options, &msl::PipelineOptions::default()).unwrap();
        let shader_model = hlsl::ShaderModel::V6_2;
        let options = hlsl::Options {
            fake_missing_bindings: true,
            immediates_target: Some(hlsl::BindTarget::default()),
            shader_model,
            ..Default::default()
        };
        let pipeline = hlsl::PipelineOptions::default();
        hlsl::Writer::new(&mut String::new(), &options, &pipeline)
            .write(&module, &info, None)
            .unwrap();

        assert!(d.groups[..2].iter().all(|&g| (1..=caps.groups_per_dimension).contains(&g)));
        let bound: Vec<_> = d.bind.iter().map(|&(name, _)| Some(name.to_owned())).collect();
        let storage = |g: &naga::GlobalVariable| g.binding.is_some();
        let declared = module.global_variables.iter().map(|(_, g)| g).filter(|g| storage(g));
        assert_eq!(declared.map(|g| g.name.clone()).collect::<Vec<_>>(), bound);
    }

    #[test]
    fn matmul_compiles_for_every_layout_and_device() {
        for [m, n, k] in [[64, 64, 64], [130, 70, 33], [3, 1, 5], [1, 200, 7], [64, 1, 8192]] {
            for (ta, tb) in [(false, false), (true, false), (false, true), (true, true)] {
                for caps in devices() {
                    for layers in [1, 3] {
                        compile(&matmul(layers, [m, n, k], ta, tb).variants(&caps), &caps);
                    }
                }
            }
        }
    }

    /// A variable of the first dispatch: a number, a literal, or one of its sizes.
    fn variable(lowered: &Lowered, name: &str) -> usize {
        let context = &lowered.dispatches[0].context;
        let value = context.get_attr(name).unwrap();
        let Some(text) = value.as_str() else { return value.as_usize().unwrap() };
        if let Ok(number) = text.trim_end_matches('u').parse() {
            return number;
        }
        let mut sizes = context.get_attr("sizes").unwrap().try_iter().unwrap();
        let of = |pair: &Value, i| pair.get_item_by_index(i).unwrap();
        let pair = sizes.find(|pair| of(pair, 0).as_str() == Some(name)).unwrap();
        assert_eq!(text, format!("sizes.{name}"));
        of(&pair, 1).as_usize().unwrap()
    }

    #[test]
    fn parts_cover_the_reduction_once_and_keep_within_their_memory() {
        let mut split = 0;
        for [m, n, k] in [[64, 1, 8192], [48, 64, 131_072], [48, 64, 131_071], [4096, 512, 20_000]]
        {
            for caps in devices() {
                let lowered =
                    matmul(1, [m, n, k], true, false).variants(&caps).swap_remove(0).lowered;
                let chunk = variable(&lowered, "chunk");
                let splits = lowered.dispatches[0].groups[2] as usize;
                assert!(
                    (splits - 1) * chunk < k && k <= splits * chunk,
                    "{k}: {splits} of {chunk}"
                );
                assert_eq!(lowered.dispatches.len(), if splits > 1 { 2 } else { 1 });
                let bytes: u64 = lowered.scratch.iter().sum();
                assert!(bytes <= PARTIAL_BYTES as u64);
                split += usize::from(splits > 1);
            }
        }
        assert!(split > 4, "hardly anything was split");
    }

    #[test]
    fn tiles_cover_the_product() {
        for [m, n] in [[1, 1], [16, 8192], [8192, 3], [65, 63], [1000, 12], [4096, 512]] {
            for caps in devices() {
                let lowered =
                    matmul(1, [m, n, 64], false, false).variants(&caps).swap_remove(0).lowered;
                let of = |name| variable(&lowered, name);
                assert!(of("tiles_m") * of("tile_m") >= m && of("tiles_n") * of("tile_n") >= n);
                let [x, y, _] = lowered.dispatches[0].groups;
                assert!((x * y) as usize >= of("tiles_m") * of("tiles_n"));
            }
        }
    }

    #[test]
    fn an_empty_product_dispatches_nothing() {
        assert!(
            matmul(1, [0, 4, 4], false, false).variants(&devices()[0])[0]
                .lowered
                .dispatches
                .is_empty()
        );
    }
}
