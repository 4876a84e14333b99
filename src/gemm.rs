//! The CPU's matrix product: a safe interface to the `gemm` crate.

use gemm::Parallelism;

/// The element types that the program multiplies.
pub(crate) trait Float: Copy + 'static {
    const ONE: Self;
}

impl Float for f32 {
    const ONE: Self = 1.0;
}

impl Float for f64 {
    const ONE: Self = 1.0;
}

/// A matrix of `rows × cols` in a slice, row-major, or column-major where transposed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Matrix<'a, T = f32> {
    data: &'a [T],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a, T> Matrix<'a, T> {
    /// A dense matrix: `data` holds `rows × cols`, or its transpose `cols × rows`.
    pub(crate) fn new(data: &'a [T], rows: usize, cols: usize, transposed: bool) -> Self {
        let (row_stride, col_stride) = if transposed { (1, rows) } else { (cols, 1) };
        Self::strided(data, rows, cols, row_stride, col_stride)
    }

    /// A matrix whose element (r, c) is `data[r * row_stride + c * col_stride]`.
    pub(crate) fn strided(
        data: &'a [T],
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
pub(crate) fn gemm<T: Float>(
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
    y: &mut [T],
    accumulate: bool,
    parallel: bool,
) {
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
            T::ONE,
            T::ONE,
            false,
            false,
            false,
            parallelism,
        );
    }
}
