//! The convolutions on the CPU by Winograd's minimal filtering, in two dimensions.
//!
//! A convolution with stride s and a k×k kernel is one with stride 1 and r×r taps, r = ⌈k/s⌉, over
//! *cells* of s×s pixels of the padded picture, each with s²·L channels. Tiles of 2×2 outputs see
//! t×t cells, t = r + 1, and cost t² multiplications for each pair of channels instead of 4r²: for
//! the 4×4 kernels with stride 2 of a DCGAN 9 instead of 16, for 5×5 ones 16 instead of 25. With
//! one plane of matrices for each of those t² multiplications (see [`toom`](super::toom)):
//!
//! ```text
//! V[p] = Bᵀ x B    [tiles, s²·L]        y  = Aᵀ (V[p] · U[p]) A
//! U[p] = G w Gᵀ    [s²·L, S]            x  = B (Y[p] · U[p]ᵀ) Bᵀ, overlapping tiles added
//! Y[p] = A y Aᵀ    [tiles, S]           w  = Gᵀ (V[p]ᵀ · Y[p]) G
//! ```
//!
//! The images go through in groups whose V and Y stay near the caches. Every sum is cut by the
//! shapes alone, so results do not depend on the number of threads.

use std::array::from_fn;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Mutex;

use pulp::Arch;
use rayon::prelude::*;

use super::super::super::gemm::{Matrix, gemm};
use super::super::{Call, ConvSpec, Site};
use super::toom::{Channels, ThreeTaps, Toom, TwoTaps, Width, all_channels, both};

/// Floats of V and Y that one group of images may take: 14 MiB, and an image at least.
const GROUP: usize = 7 << 19;

/// Columns of a product that are one task.
const COLUMNS: usize = 64;

/// Rows of the weights' products that are one task.
const ROWS: usize = 128;

/// Columns of the weights' products that are kept at a time.
const WEIGHT_COLUMNS: usize = 128;

/// Tile lines of an image that one task puts together.
const LINES: usize = 8;

/// Floats between the rows of V and Y, so that rows do not fall on the same lines of a cache.
const GAP: usize = 16;

/// The sizes of a convolution cut into tiles.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    spec: ConvSpec,
    stride: usize,
    /// Taps along an axis.
    r: usize,
    n: usize,
    large: usize,
    small: usize,
    /// Tiles of an image, down and across.
    tiles: [usize; 2],
}

impl Sizes {
    /// The sizes, if the filtering is worth it for this geometry.
    fn of(spec: &ConvSpec, n: usize, large: usize, small: usize) -> Option<Self> {
        let ([k, kw], [stride, sw]) = (spec.kernel, spec.stride);
        let r = k.div_ceil(stride);
        let shape = k == kw && stride == sw && (2..=3).contains(&r);
        let padded = spec.pad.iter().all(|&pad| pad < k);
        if !shape || !padded || large.min(small) < 16 || n == 0 {
            return None;
        }
        let [h, w] = spec.small;
        let tiles = [h.div_ceil(2), w.div_ceil(2)];
        let minimal = tiles[0] * tiles[1] * (r + 1).pow(2) * stride.pow(2);
        let sizes = Self { spec: *spec, stride, r, n, large, small, tiles };
        // Below a saving of a fifth the transforms eat it up.
        (5 * minimal <= 4 * h * w * k * k).then_some(sizes)
    }

    fn planes(&self) -> usize {
        (self.r + 1).pow(2)
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
        (2 * self.tiles[1] + self.r - 1) * self.stride * self.large
    }

    /// Floats of the lines of pixels that a tile line sees.
    fn lines(&self) -> usize {
        (self.r + 1) * self.stride * self.line()
    }

    /// The groups of images.
    fn groups(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let (n, group) = (self.n, self.group());
        (0..n).step_by(group).map(move |first| first..n.min(first + group))
    }
}

/// Scratch memory that tasks borrow one at a time.
struct Pool<'a>(Mutex<Vec<&'a mut [f32]>>);

impl<'a> Pool<'a> {
    fn new(memory: &'a mut [f32], each: usize) -> Self {
        Self(Mutex::new(memory.chunks_exact_mut(each.max(1)).collect()))
    }

    fn with<T>(&self, task: impl FnOnce(&mut [f32]) -> T) -> T {
        let lock = || self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let memory = lock().pop().expect("there is a piece for every thread");
        let result = task(memory);
        lock().push(memory);
        result
    }
}

/// Cuts scratch memory into areas of these sizes.
fn areas<const N: usize>(mut memory: &mut [f32], sizes: [usize; N]) -> [&mut [f32]; N] {
    sizes.map(|size| {
        let (area, rest) = std::mem::take(&mut memory).split_at_mut(size);
        memory = rest;
        area
    })
}

/// One tile's `Bᵀ x B` for the channels from `c` on: cell (i, j) of `x` starts at
/// `i · down + j · across`, plane p of `v` at `p · plane`.
struct EnterLarge<'a, F, const R: usize, const T: usize> {
    x: &'a [f32],
    steps: [usize; 2],
    v: &'a mut [f32],
    plane: usize,
    by: PhantomData<F>,
}

impl<F: Toom<R, T>, const R: usize, const T: usize> Channels for EnterLarge<'_, F, R, T> {
    #[inline(always)]
    fn at<W: Width>(&mut self, width: W, c: usize) {
        let Self { x, v, .. } = self;
        let ([down, across], plane) = (self.steps, self.plane);
        let d = from_fn(|i| from_fn(|j| width.load(&x[i * down + j * across + c..])));
        let out: [[W::Lane; T]; T] = both(d, F::input);
        for i in 0..T {
            for j in 0..T {
                width.store(out[i][j], &mut v[(i * T + j) * plane + c..]);
            }
        }
    }
}

/// V: the transformed tiles of the large picture's `images`.
fn enter_large<F: Toom<R, T>, const R: usize, const T: usize>(
    z: &Sizes,
    x: &[f32],
    images: Range<usize>,
    v: &mut [f32],
    pool: &Pool<'_>,
) {
    let [height, width] = z.spec.large;
    let [top, left] = z.spec.pad;
    let (s, l) = (z.stride, z.large);
    let [lines, columns] = z.tiles;
    let count = images.len() * lines;
    v.par_chunks_mut(columns * z.v_row()).take(count).enumerate().for_each(|(line, v)| {
        let (n, ty) = (images.start + line / lines, line % lines);
        pool.with(|rows| {
            Arch::new().dispatch(
                #[inline(always)]
                || {
                    for (i, row) in rows[..z.lines()].chunks_mut(z.line()).enumerate() {
                        let iy = (2 * ty * s + i).wrapping_sub(top);
                        if iy >= height {
                            row.fill(0.0);
                            continue;
                        }
                        let from = left * l;
                        let len = (width * l).min(row.len() - from);
                        row[..from].fill(0.0);
                        row[from + len..].fill(0.0);
                        row[from..from + len]
                            .copy_from_slice(&x[(n * height + iy) * width * l..][..len]);
                    }
                    for (tx, v) in v.chunks_mut(z.v_row()).enumerate() {
                        for a in 0..s {
                            let x = &rows[a * z.line() + 2 * tx * s * l..];
                            let v = &mut v[a * s * l..];
                            let steps = [s * z.line(), s * l];
                            all_channels(
                                s * l,
                                EnterLarge { x, steps, v, plane: z.cell(), by: PhantomData::<F> },
                            );
                        }
                    }
                },
            );
        });
    });
}

/// One tile's `A y Aᵀ` for the channels from `c` on; `at` says where each output starts, if it is.
struct EnterSmall<'a, F, const R: usize, const T: usize> {
    y: &'a [f32],
    at: [[Option<usize>; 2]; 2],
    out: &'a mut [f32],
    plane: usize,
    by: PhantomData<F>,
}

impl<F: Toom<R, T>, const R: usize, const T: usize> Channels for EnterSmall<'_, F, R, T> {
    #[inline(always)]
    fn at<W: Width>(&mut self, width: W, c: usize) {
        let Self { y, at, out, .. } = self;
        let plane = self.plane;
        let y: [[W::Lane; 2]; 2] =
            from_fn(|i| from_fn(|j| at[i][j].map_or(width.zero(), |at| width.load(&y[at + c..]))));
        let rows: [[W::Lane; T]; 2] = [F::output_back(y[0]), F::output_back(y[1])];
        for j in 0..T {
            let column = F::output_back([rows[0][j], rows[1][j]]);
            for (i, value) in column.into_iter().enumerate() {
                width.store(value, &mut out[(i * T + j) * plane + c..]);
            }
        }
    }
}

/// Y: the transformed tiles of the small picture's `images`.
fn enter_small<F: Toom<R, T>, const R: usize, const T: usize>(
    z: &Sizes,
    y: &[f32],
    images: Range<usize>,
    out: &mut [f32],
) {
    let [h, w] = z.spec.small;
    let [lines, columns] = z.tiles;
    let count = images.len() * lines;
    out.par_chunks_mut(columns * z.y_row()).take(count).enumerate().for_each(|(line, out)| {
        let (n, ty) = (images.start + line / lines, line % lines);
        Arch::new().dispatch(
            #[inline(always)]
            || {
                for (tx, out) in out.chunks_mut(z.y_row()).enumerate() {
                    let at = from_fn(|i| {
                        from_fn(|j| {
                            let (oy, ox) = (2 * ty + i, 2 * tx + j);
                            (oy < h && ox < w).then_some(((n * h + oy) * w + ox) * z.small)
                        })
                    });
                    all_channels(
                        z.small,
                        EnterSmall { y, at, out, plane: z.small, by: PhantomData::<F> },
                    );
                }
            },
        );
    });
}

/// Rows `rows` (of s²·L) and columns `columns` (of S) of `U[plane] = G w Gᵀ`, densely.
fn factors<F: Toom<R, T>, const R: usize, const T: usize>(
    z: &Sizes,
    weights: &[f32],
    plane: usize,
    rows: Range<usize>,
    columns: Range<usize>,
    u: &mut [f32],
) {
    let (s, k) = (z.stride, z.spec.kernel[0]);
    Arch::new().dispatch(
        #[inline(always)]
        || {
            for (row, u) in rows.clone().zip(u.chunks_mut(columns.len())) {
                let (part, l) = (row / z.large, row % z.large);
                let mut first = true;
                for (i, g_y) in F::G[plane / T].into_iter().enumerate() {
                    for (j, g_x) in F::G[plane % T].into_iter().enumerate() {
                        let (ky, kx) = (s * i + part / s, s * j + part % s);
                        let g = g_y * g_x;
                        if g == 0.0 || ky >= k || kx >= k {
                            continue;
                        }
                        let at = ((ky * k + kx) * z.large + l) * z.small;
                        let w = &weights[at + columns.start..at + columns.end];
                        if first {
                            u.iter_mut().zip(w).for_each(|(u, w)| *u = g * w);
                        } else {
                            u.iter_mut().zip(w).for_each(|(u, w)| *u += g * w);
                        }
                        first = false;
                    }
                }
                if first {
                    u.fill(0.0);
                }
            }
        },
    );
}

/// How the columns of the planes' products are cut into tasks, and where each lies: task
/// (plane, block) holds `rows × COLUMNS` floats, densely with as many columns as the block has.
#[derive(Clone, Copy)]
struct Products {
    columns: usize,
    rows: usize,
}

impl Products {
    fn blocks(&self) -> usize {
        self.columns.div_ceil(COLUMNS)
    }

    fn floats(&self, planes: usize) -> usize {
        planes * self.blocks() * self.rows * COLUMNS
    }

    fn block(&self, block: usize) -> Range<usize> {
        block * COLUMNS..self.columns.min((block + 1) * COLUMNS)
    }

    /// Where row `row` of a block of plane 0 starts, and how far the next plane is.
    fn at(&self, block: usize, row: usize) -> (usize, usize) {
        let slot = self.rows * COLUMNS;
        (block * slot + row * self.block(block).len(), self.blocks() * slot)
    }
}

/// One tile's `Aᵀ m A` for the channels from `c` on of a block of products.
struct LeaveSmall<'a, F, const R: usize, const T: usize> {
    m: &'a [f32],
    plane: usize,
    y: &'a mut [f32],
    at: [[Option<usize>; 2]; 2],
    by: PhantomData<F>,
}

impl<F: Toom<R, T>, const R: usize, const T: usize> Channels for LeaveSmall<'_, F, R, T> {
    #[inline(always)]
    fn at<W: Width>(&mut self, width: W, c: usize) {
        let Self { m, y, at, .. } = self;
        let plane = self.plane;
        let m: [[W::Lane; T]; T] =
            from_fn(|i| from_fn(|j| width.load(&m[(i * T + j) * plane + c..])));
        let y_of: [[W::Lane; 2]; 2] = both(m, F::output);
        for i in 0..2 {
            for j in 0..2 {
                if let Some(at) = at[i][j] {
                    width.store(y_of[i][j], &mut y[at + c..]);
                }
            }
        }
    }
}

fn small_by<F: Toom<R, T>, const R: usize, const T: usize>(z: &Sizes, call: Call<'_>) {
    let (x, weights) = (call.f32(0), call.f32(1));
    let [h, w] = z.spec.small;
    let [lines, columns] = z.tiles;
    let products = Products { columns: z.small, rows: z.rows() };
    let sizes = [z.rows() * z.v_row(), products.floats(z.planes())];
    let used = sizes.iter().sum();
    let ([v, m], rest) = {
        let (area, rest) = call.scratch.split_at_mut(used);
        (areas(area, sizes), rest)
    };
    let pool = Pool::new(rest, pool_floats(z));
    for images in z.groups() {
        let rows = images.len() * z.tiles_of_image();
        enter_large::<F, R, T>(z, x, images.clone(), v, &pool);
        m.par_chunks_mut(products.rows * COLUMNS).enumerate().with_max_len(1).for_each(
            |(task, m)| {
                let (plane, block) = (task / products.blocks(), task % products.blocks());
                let block = products.block(block);
                pool.with(|u| {
                    factors::<F, R, T>(z, weights, plane, 0..z.cell(), block.clone(), u);
                    let v = Matrix::strided(&v[plane * z.cell()..], rows, z.cell(), z.v_row(), 1);
                    gemm(v, Matrix::new(u, z.cell(), block.len(), false), m, false, false);
                });
            },
        );
        let y = &mut call.out[images.start * h * w * z.small..images.end * h * w * z.small];
        let pieces = y.chunks_mut(h * w * z.small).flat_map(|y| y.chunks_mut(2 * w * z.small));
        pieces.collect::<Vec<_>>().into_par_iter().enumerate().for_each(|(line, y)| {
            debug_assert!(line < images.len() * lines);
            let high = y.len() / (w * z.small);
            Arch::new().dispatch(
                #[inline(always)]
                || {
                    for tx in 0..columns {
                        for block in 0..products.blocks() {
                            let part = products.block(block);
                            let at = from_fn(|i| {
                                from_fn(|j| {
                                    let ox = 2 * tx + j;
                                    (i < high && ox < w)
                                        .then_some((i * w + ox) * z.small + part.start)
                                })
                            });
                            let (start, plane) = products.at(block, line * columns + tx);
                            let m = &m[start..];
                            all_channels(
                                part.len(),
                                LeaveSmall { m, plane, y, at, by: PhantomData::<F> },
                            );
                        }
                    }
                },
            );
        });
    }
}

/// One tile's `B m Bᵀ` for the channels from `c` on of a block of products, added to the lines of
/// cells from `skip` on; the lines before that belong to another task.
struct LeaveLarge<'a, F, const R: usize, const T: usize> {
    m: &'a [f32],
    plane: usize,
    x: &'a mut [f32],
    steps: [usize; 2],
    skip: usize,
    by: PhantomData<F>,
}

impl<F: Toom<R, T>, const R: usize, const T: usize> Channels for LeaveLarge<'_, F, R, T> {
    #[inline(always)]
    fn at<W: Width>(&mut self, width: W, c: usize) {
        let Self { m, x, .. } = self;
        let ([down, across], plane) = (self.steps, self.plane);
        let m: [[W::Lane; T]; T] =
            from_fn(|i| from_fn(|j| width.load(&m[(i * T + j) * plane + c..])));
        let cells: [[W::Lane; T]; T] = both(m, F::input_back);
        for i in self.skip..T {
            for j in 0..T {
                let x = &mut x[i * down + j * across + c..];
                width.store(width.load(x) + cells[i][j], x);
            }
        }
    }
}

/// Some lines of an image, and the tile lines whose first two lines of cells they are.
struct Piece<'a> {
    image: usize,
    tile_lines: Range<usize>,
    first: usize,
    x: &'a mut [f32],
}

/// Cuts the large pictures into the lines that each run of [`LINES`] tile lines owns.
fn pieces<'a>(z: &Sizes, mut x: &'a mut [f32]) -> Vec<Piece<'a>> {
    let [height, width] = z.spec.large;
    let mut pieces = Vec::new();
    for image in 0..x.len() / (height * width * z.large) {
        let mut first = 0;
        for start in (0..z.tiles[0]).step_by(LINES) {
            let end = z.tiles[0].min(start + LINES);
            let owned = (2 * end * z.stride).saturating_sub(z.spec.pad[0]).min(height);
            let last = if end == z.tiles[0] { height } else { owned };
            let (piece, rest) = x.split_at_mut((last - first) * width * z.large);
            pieces.push(Piece { image, tile_lines: start..end, first, x: piece });
            (x, first) = (rest, last);
        }
    }
    pieces
}

fn large_by<F: Toom<R, T>, const R: usize, const T: usize>(z: &Sizes, call: Call<'_>) {
    let (y, weights) = (call.f32(0), call.f32(1));
    let [height, width] = z.spec.large;
    let products = Products { columns: z.cell(), rows: z.rows() };
    let sizes = [z.rows() * z.y_row(), products.floats(z.planes())];
    let used = sizes.iter().sum();
    let ([factors_y, m], rest) = {
        let (area, rest) = call.scratch.split_at_mut(used);
        (areas(area, sizes), rest)
    };
    let pool = Pool::new(rest, pool_floats(z));
    let image = height * width * z.large;
    for images in z.groups() {
        let rows = images.len() * z.tiles_of_image();
        enter_small::<F, R, T>(z, y, images.clone(), factors_y);
        m.par_chunks_mut(products.rows * COLUMNS).enumerate().with_max_len(1).for_each(
            |(task, m)| {
                let (plane, block) = (task / products.blocks(), task % products.blocks());
                let block = products.block(block);
                pool.with(|u| {
                    factors::<F, R, T>(z, weights, plane, block.clone(), 0..z.small, u);
                    let y = &factors_y[plane * z.small..];
                    let y = Matrix::strided(y, rows, z.small, z.y_row(), 1);
                    gemm(y, Matrix::new(u, z.small, block.len(), true), m, false, false);
                });
            },
        );
        let x = &mut call.out[images.start * image..images.end * image];
        pieces(z, x).into_par_iter().with_max_len(1).for_each(|piece| {
            pool.with(|lines| {
                Arch::new().dispatch(
                    #[inline(always)]
                    || put_together::<F, R, T>(z, products, m, piece, &mut lines[..z.lines()]),
                );
            });
        });
    }
}

/// Adds up the tiles of a piece, one tile line after another: `lines` holds the t lines of cells
/// that the current one reaches, of which the first two are then complete.
#[inline(always)]
fn put_together<F: Toom<R, T>, const R: usize, const T: usize>(
    z: &Sizes,
    products: Products,
    m: &[f32],
    piece: Piece<'_>,
    lines: &mut [f32],
) {
    let [top, left] = z.spec.pad;
    let width = z.spec.large[1] * z.large;
    let (s, l) = (z.stride, z.large);
    let two = 2 * s * z.line();
    lines.fill(0.0);
    // What the tile line before reaches of the piece's first lines.
    let from = piece.tile_lines.start.saturating_sub(1);
    for ty in from..piece.tile_lines.end {
        let skip = if ty < piece.tile_lines.start { 2 } else { 0 };
        for tx in 0..z.tiles[1] {
            let row = (piece.image * z.tiles[0] + ty) * z.tiles[1] + tx;
            for block in 0..products.blocks() {
                let part = products.block(block);
                let (start, plane) = products.at(block, row);
                // A block may hold channels of several lines of a cell.
                let mut channel = part.start;
                while channel < part.end {
                    let (a, within) = (channel / (s * l), channel % (s * l));
                    let len = (s * l - within).min(part.end - channel);
                    let m = &m[start + channel - part.start..];
                    let x = &mut lines[a * z.line() + 2 * tx * s * l + within..];
                    let steps = [s * z.line(), s * l];
                    all_channels(
                        len,
                        LeaveLarge { m, plane, x, steps, skip, by: PhantomData::<F> },
                    );
                    channel += len;
                }
            }
        }
        // The last tile line owns all the lines that are left.
        let last = ty + 1 == z.tiles[0];
        let done = if last { lines.len() } else { two };
        if skip == 0 {
            for (i, line) in lines[..done].chunks(z.line()).enumerate() {
                let at = (2 * ty * s + i).wrapping_sub(top).wrapping_sub(piece.first);
                if let Some(x) = piece.x.chunks_mut(width).nth(at) {
                    let len = width.min(line.len() - left * l);
                    x[..len].copy_from_slice(&line[left * l..left * l + len]);
                    x[len..].fill(0.0);
                }
            }
        }
        lines.copy_within(two.., 0);
        let rest = lines.len() - two;
        lines[rest..].fill(0.0);
    }
    // Lines of pixels below those that any kernel reaches.
    let reached = (2 * z.tiles[0] + R - 1) * s;
    if piece.tile_lines.end == z.tiles[0] {
        let from = reached.saturating_sub(top).saturating_sub(piece.first) * width;
        if let Some(below) = piece.x.get_mut(from..) {
            below.fill(0.0);
        }
    }
}

/// The rows of the weights that the taps of one channel of a cell are, and which tap is which row:
/// a kernel whose size is no multiple of the stride has fewer than r² of them.
type TapRows<'a, const R: usize> = (Vec<&'a mut [f32]>, [[Option<usize>; R]; R]);

/// `Gᵀ u G` of one row of s²·L for the columns from `c` on, added to the rows of the weights.
struct LeaveTaps<'a, 'b, F, const R: usize, const T: usize> {
    u: &'a [f32],
    plane: usize,
    w: &'a mut [&'b mut [f32]],
    of: &'a [[Option<usize>; R]; R],
    start: usize,
    by: PhantomData<F>,
}

impl<F: Toom<R, T>, const R: usize, const T: usize> Channels for LeaveTaps<'_, '_, F, R, T> {
    #[inline(always)]
    fn at<W: Width>(&mut self, width: W, c: usize) {
        let Self { u, w, of, .. } = self;
        let plane = self.plane;
        let u: [[W::Lane; T]; T] =
            from_fn(|i| from_fn(|j| width.load(&u[(i * T + j) * plane + c..])));
        let taps: [[W::Lane; R]; R] = both(u, F::taps_back);
        for i in 0..R {
            for j in 0..R {
                if let Some(row) = of[i][j] {
                    let w = &mut w[row][self.start + c..];
                    width.store(width.load(w) + taps[i][j], w);
                }
            }
        }
    }
}

fn weights_by<F: Toom<R, T>, const R: usize, const T: usize>(z: &Sizes, call: Call<'_>) {
    let (x, y) = (call.f32(0), call.f32(1));
    let (s, k, cell) = (z.stride, z.spec.kernel[0], z.cell());
    let blocks = cell.div_ceil(ROWS);
    let slot = ROWS * WEIGHT_COLUMNS.min(z.small);
    let sizes = [z.rows() * z.v_row(), z.rows() * z.y_row(), z.planes() * blocks * slot];
    let used = sizes.iter().sum();
    let ([v, factors_y, u], rest) = {
        let (area, rest) = call.scratch.split_at_mut(used);
        (areas(area, sizes), rest)
    };
    let pool = Pool::new(rest, pool_floats(z));
    call.out.fill(0.0);
    // For each channel of a cell, the rows of the weights that its taps are, and their places.
    let mut rows_of: Vec<TapRows<'_, R>> =
        (0..cell).map(|_| (Vec::new(), [[None; R]; R])).collect();
    for (row, w) in call.out.chunks_mut(z.small).enumerate() {
        let (tap, l) = (row / z.large, row % z.large);
        let (ky, kx) = (tap / k, tap % k);
        let (rows, of) = &mut rows_of[((ky % s) * s + kx % s) * z.large + l];
        of[ky / s][kx / s] = Some(rows.len());
        rows.push(w);
    }
    for images in z.groups() {
        let rows = images.len() * z.tiles_of_image();
        enter_large::<F, R, T>(z, x, images.clone(), v, &pool);
        enter_small::<F, R, T>(z, y, images, factors_y);
        for first in (0..z.small).step_by(WEIGHT_COLUMNS) {
            let columns = first..z.small.min(first + WEIGHT_COLUMNS);
            u.par_chunks_mut(slot).enumerate().with_max_len(1).for_each(|(task, u)| {
                let (plane, block) = (task / blocks, task % blocks);
                let channels = ROWS.min(cell - block * ROWS);
                let v = &v[plane * cell + block * ROWS..];
                let v = Matrix::strided(v, channels, rows, 1, z.v_row());
                let y = &factors_y[plane * z.small + first..];
                let y = Matrix::strided(y, rows, columns.len(), z.y_row(), 1);
                gemm(v, y, u, false, false);
            });
            rows_of.par_chunks_mut(16).enumerate().for_each(|(i, rows_of)| {
                Arch::new().dispatch(
                    #[inline(always)]
                    || {
                        for (channel, (w, of)) in (16 * i..).zip(rows_of) {
                            let (block, row) = (channel / ROWS, channel % ROWS);
                            let u = &u[block * slot + row * columns.len()..];
                            let (plane, start) = (blocks * slot, first);
                            all_channels(
                                columns.len(),
                                LeaveTaps { u, plane, w, of, start, by: PhantomData::<F> },
                            );
                        }
                    },
                );
            });
        }
    }
}

/// Floats of a task's own memory: lines of cells, or a block of factors.
fn pool_floats(z: &Sizes) -> usize {
    z.lines().max(z.cell().max(z.small) * COLUMNS)
}

/// Runs one of the three for the number of taps at hand.
macro_rules! by_taps {
    ($f:ident, $z:expr, $call:expr) => {
        match $z.r {
            2 => $f::<TwoTaps, 2, 3>($z, $call),
            _ => $f::<ThreeTaps, 3, 4>($z, $call),
        }
    };
}

/// Floats of scratch for [`conv2d`], where it is worth using.
pub(super) fn conv2d_scratch(spec: &ConvSpec, s: &Site, threads: usize) -> Option<usize> {
    let z = Sizes::of(spec, s.shape[0], s.shapes[0][3], s.shape[3])?;
    let products = Products { columns: z.small, rows: z.rows() };
    Some(z.rows() * z.v_row() + products.floats(z.planes()) + threads * pool_floats(&z))
}

/// The small picture.
pub(super) fn conv2d(spec: &ConvSpec, s: &Site, call: Call<'_>) {
    let z = Sizes::of(spec, s.shape[0], s.shapes[0][3], s.shape[3]);
    let z = &z.expect("its scratch was asked for");
    by_taps!(small_by, z, call);
}

/// Floats of scratch for [`conv_transpose2d`], where it is worth using.
pub(super) fn conv_transpose2d_scratch(spec: &ConvSpec, s: &Site, threads: usize) -> Option<usize> {
    let z = Sizes::of(spec, s.shape[0], s.shape[3], s.shapes[0][3])?;
    let products = Products { columns: z.cell(), rows: z.rows() };
    Some(z.rows() * z.y_row() + products.floats(z.planes()) + threads * pool_floats(&z))
}

/// The large picture.
pub(super) fn conv_transpose2d(spec: &ConvSpec, s: &Site, call: Call<'_>) {
    let z = Sizes::of(spec, s.shape[0], s.shape[3], s.shapes[0][3]);
    let z = &z.expect("its scratch was asked for");
    by_taps!(large_by, z, call);
}

/// Floats of scratch for [`conv_weight_grad`], where it is worth using.
pub(super) fn conv_weight_grad_scratch(spec: &ConvSpec, s: &Site, threads: usize) -> Option<usize> {
    let z = Sizes::of(spec, s.shapes[0][0], s.shapes[0][3], s.shapes[1][3])?;
    let products = z.planes() * z.cell().div_ceil(ROWS) * ROWS * WEIGHT_COLUMNS.min(z.small);
    Some(z.rows() * (z.v_row() + z.y_row()) + products + threads * pool_floats(&z))
}

/// The weights.
pub(super) fn conv_weight_grad(spec: &ConvSpec, s: &Site, call: Call<'_>) {
    let z = Sizes::of(spec, s.shapes[0][0], s.shapes[0][3], s.shapes[1][3]);
    let z = &z.expect("its scratch was asked for");
    by_taps!(weights_by, z, call);
}
