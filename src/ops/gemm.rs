//! The CPU's matrix product: a safe door to the `gemm` crate.

use gemm::Parallelism;

use crate::device::host::best_seconds;

/// A matrix of `rows × cols` in a slice, row-major, or column-major where transposed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a> Matrix<'a> {
    /// A dense matrix: `data` holds `rows × cols`, or its transpose `cols × rows`.
    pub(crate) fn new(data: &'a [f32], rows: usize, cols: usize, transposed: bool) -> Self {
        let (row_stride, col_stride) = if transposed { (1, rows) } else { (cols, 1) };
        Self::strided(data, rows, cols, row_stride, col_stride)
    }

    /// A matrix whose element (r, c) is `data[r * row_stride + c * col_stride]`.
    pub(crate) fn strided(
        data: &'a [f32],
        rows: usize,
        cols: usize,
        row_stride: usize,
        col_stride: usize,
    ) -> Self {
        if rows > 0 && cols > 0 {
            assert!((rows - 1) * row_stride + (cols - 1) * col_stride < data.len());
        }
        Self { data, rows, cols, row_stride, col_stride }
    }
}

/// `y = a · b`, or `y += a · b`; `y` is dense and row-major. On all cores where `parallel`.
pub(crate) fn gemm(a: Matrix<'_>, b: Matrix<'_>, y: &mut [f32], accumulate: bool, parallel: bool) {
    let (m, n, k) = (a.rows, b.cols, a.cols);
    assert_eq!(k, b.rows);
    assert!(y.len() >= m * n);
    let parallelism = if parallel { Parallelism::Rayon(0) } else { Parallelism::None };
    // SAFETY: `Matrix::strided` and the assertions above keep every element that these sizes and
    // strides name inside its slice; `y` is borrowed mutably, so it overlaps neither input.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            y.as_mut_ptr(),
            1,
            n as isize,
            accumulate,
            a.data.as_ptr(),
            a.col_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.col_stride as isize,
            b.row_stride as isize,
            1.0_f32,
            1.0_f32,
            false,
            false,
            false,
            parallelism,
        );
    }
}

/// Rows and columns of the matrices that measure the CPU.
const SIDE: usize = 1536;

/// Floating-point operations per second of a large matrix product on all cores: what the CPU's
/// kernels are held against. Takes about a second.
#[must_use]
pub fn measure_matmul_peak() -> f64 {
    let a = vec![0.5_f32; SIDE * SIDE];
    let b = vec![0.25_f32; SIDE * SIDE];
    let mut y = vec![0.0_f32; SIDE * SIDE];
    let seconds = best_seconds(|| {
        let a = Matrix::new(&a, SIDE, SIDE, false);
        gemm(a, Matrix::new(&b, SIDE, SIDE, false), &mut y, false, true);
        std::hint::black_box(&mut y);
    });
    2.0 * (SIDE as f64).powi(3) / seconds
}
