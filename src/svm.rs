//! Linear classifiers with a squared hinge: L2-regularized L2-loss support vector machines, one for
//! each class against the rest, as LIBLINEAR's `L2R_L2LOSS_SVC` (Fan and others, JMLR 9, 2008).
//!
//! For rows `x_i` and signs `y_i = ±1` each minimizes
//!
//! ```text
//! f(w) = ½‖w‖² + C Σ_i max(0, 1 − y_i w·x_i)²
//! ```
//!
//! where `x_i` ends in a 1 whose weight is the bias, regularized like the others. `f` is strictly
//! convex and piecewise quadratic, so Newton's method with an exact line search ends in the minimum
//! (Keerthi and DeCoste, JMLR 6, 2005). Steps are found by conjugate gradients; all classes are
//! computed side by side, so that the rows, which may be gigabytes, are read once for all of them.

use rayon::prelude::*;

use crate::gemm::{Matrix, gemm};

/// Segments of rows that are summed separately: always as many, so sums ignore the threads.
const STRETCHES: usize = 16;

/// Rows that are multiplied at a time: they stay in the second-level cache.
const BLOCK: usize = 32;

/// Limits for Newton steps, and for conjugate gradient steps within one, which are rarely reached.
const NEWTON_STEPS: usize = 100;
const GRADIENT_STEPS: usize = 250;

/// A classification problem: some rows of a matrix, and their classes.
#[derive(Clone, Copy, Debug)]
pub struct Problem<'a> {
    /// All rows, `[…, width]`.
    pub x: &'a [f32],
    /// Values in a row.
    pub width: usize,
    /// The class of every row.
    pub labels: &'a [u32],
    /// The number of classes.
    pub classes: usize,
    /// The rows to train on.
    pub rows: &'a [u32],
}

/// One linear classifier for each class.
#[derive(Clone, Debug, PartialEq)]
pub struct Svm {
    /// `[width + 1, classes]`: each column holds the weights of a class, the last row the biases.
    weights: Vec<f32>,
    classes: usize,
}

impl<'a> Problem<'a> {
    /// `+1` if a row belongs to a class, else `−1`.
    fn sign(&self, row: u32, class: usize) -> f32 {
        if self.labels[row as usize] as usize == class { 1.0 } else { -1.0 }
    }

    /// The rows of a block: in place, or gathered into `buffer`.
    fn block<'b>(&self, rows: &[u32], buffer: &'b mut Vec<f32>) -> &'b [f32]
    where
        'a: 'b,
    {
        let width = self.width;
        let neighbors = rows.windows(2).all(|pair| pair[1] == pair[0] + 1);
        if neighbors && let Some(&first) = rows.first() {
            return &self.x[first as usize * width..][..rows.len() * width];
        }
        buffer.clear();
        for &row in rows {
            buffer.extend_from_slice(&self.x[row as usize * width..][..width]);
        }
        buffer
    }

    /// Calls `f(at, scores)` for every block of rows with its offset and its `[rows, classes]`
    /// products with `weights`, side by side, and sums up `xᵀ · scores` of what `f` leaves there,
    /// `[width + 1, classes]`; nothing is summed if it returns false.
    fn pass(
        &self,
        weights: &[f32],
        out: &mut [f32],
        f: impl Fn(usize, &mut [f32], &mut [f32]) -> bool + Sync,
    ) -> Vec<f32> {
        let (width, k) = (self.width, self.classes);
        let stretch = self.rows.len().div_ceil(STRETCHES).next_multiple_of(BLOCK);
        let rows = self.rows.par_chunks(stretch);
        let sums = rows.zip(out.par_chunks_mut(stretch * k)).enumerate().map(|(i, (rows, out))| {
            let mut sum = vec![0.0_f32; (width + 1) * k];
            let (mut buffer, mut scores) = (Vec::new(), vec![0.0_f32; BLOCK * k]);
            let blocks = rows.chunks(BLOCK).zip(out.chunks_mut(BLOCK * k)).enumerate();
            for (b, (rows, out)) in blocks {
                let n = rows.len();
                let x = self.block(rows, &mut buffer);
                let scores = &mut scores[..n * k];
                let w = Matrix::new(&weights[..width * k], width, k, false);
                gemm(Matrix::new(x, n, width, false), w, scores, false, false);
                for row in scores.chunks_mut(k) {
                    for (s, bias) in row.iter_mut().zip(&weights[width * k..]) {
                        *s += bias;
                    }
                }
                if f(i * stretch + b * BLOCK, scores, out) {
                    let xt = Matrix::new(x, width, n, true);
                    let to = &mut sum[..width * k];
                    gemm(xt, Matrix::new(scores, n, k, false), to, true, false);
                    for row in scores.chunks(k) {
                        for (sum, s) in sum[width * k..].iter_mut().zip(row) {
                            *sum += s;
                        }
                    }
                }
            }
            sum
        });
        let sums: Vec<Vec<f32>> = sums.collect();
        let add = |i: usize| sums.iter().map(|s| f64::from(s[i])).sum::<f64>() as f32;
        (0..(width + 1) * k).into_par_iter().map(add).collect()
    }

    /// The products `[rows, classes]` with `weights`.
    fn scores(&self, weights: &[f32]) -> Vec<f32> {
        let mut out = vec![0.0; self.rows.len() * self.classes];
        self.pass(weights, &mut out, |_, scores, out| {
            out.copy_from_slice(scores);
            false
        });
        out
    }
}

/// Σ a·b of each column of `[…, k]`.
fn dots(a: &[f32], b: &[f32], k: usize) -> Vec<f64> {
    let mut sums = vec![0.0; k];
    for (a, b) in a.chunks(k).zip(b.chunks(k)) {
        for ((sum, &a), &b) in sums.iter_mut().zip(a).zip(b) {
            *sum += f64::from(a) * f64::from(b);
        }
    }
    sums
}

/// `y += scale · x` for each column of `[…, k]`.
fn add_scaled(y: &mut [f32], scale: &[f64], x: &[f32]) {
    let k = scale.len();
    for (y, x) in y.chunks_mut(k).zip(x.chunks(k)) {
        for ((y, &x), &scale) in y.iter_mut().zip(x).zip(scale) {
            *y += (scale * f64::from(x)) as f32;
        }
    }
}

impl Svm {
    /// The minimum of the sum of squared hinges weighted by `c`, starting from `start`, which may
    /// be the solution for another `c`. It stops when every class's gradient is at most `tolerance`
    /// times its norm at zero weights.
    #[must_use]
    pub fn train(problem: &Problem<'_>, c: f32, start: Option<&Self>, tolerance: f64) -> Self {
        let (k, n) = (problem.classes, problem.rows.len());
        let len = (problem.width + 1) * k;
        let mut weights = match start {
            Some(svm) if svm.weights.len() == len && svm.classes == k => svm.weights.clone(),
            _ => vec![0.0; len],
        };
        let sign = |i: usize| problem.sign(problem.rows[i / k], i % k);
        let mut scores = problem.scores(&weights);
        let mut limit: Option<Vec<f64>> = None;
        for _ in 0..NEWTON_STEPS {
            // The gradient w + 2C Xᵀ(s − y), over the rows within the margin.
            let mut unused = vec![0.0; n * k];
            let known = &scores;
            let slope = problem.pass(&weights, &mut unused, |at, scores, _| {
                for (j, s) in scores.iter_mut().enumerate() {
                    let y = sign(at * k + j);
                    let score = known[at * k + j];
                    *s = if y * score < 1.0 { score - y } else { 0.0 };
                }
                true
            });
            let mut gradient = weights.clone();
            add_scaled(&mut gradient, &vec![2.0 * f64::from(c); k], &slope);
            let sizes = dots(&gradient, &gradient, k);
            let limit = limit.get_or_insert_with(|| problem.limits(c, tolerance));
            let open: Vec<bool> = sizes.iter().zip(&*limit).map(|(g, l)| g.sqrt() > *l).collect();
            if !open.contains(&true) {
                break;
            }
            let step = problem.newton_step(c, &scores, &gradient, &open);
            let along = problem.scores(&step);
            let lengths = problem.line_search(c, [&weights, &step], [&scores, &along]);
            add_scaled(&mut weights, &lengths, &step);
            add_scaled(&mut scores, &lengths, &along);
        }
        Self { weights, classes: k }
    }

    /// The class with the largest score for each row of `x` `[n, width]`; the first of equal ones.
    #[must_use]
    pub fn predict(&self, x: &[f32], width: usize) -> Vec<u32> {
        let rows: Vec<u32> = (0..(x.len() / width.max(1)) as u32).collect();
        let classes = self.classes;
        self.predict_rows(&Problem { x, width, labels: &[], classes, rows: &rows })
    }

    /// The class with the largest score for each row of a problem.
    #[must_use]
    pub fn predict_rows(&self, problem: &Problem<'_>) -> Vec<u32> {
        let best = |row: &[f32]| {
            let first = (0, f32::NEG_INFINITY);
            let best = row
                .iter()
                .enumerate()
                .fold(first, |best, (i, &s)| if s > best.1 { (i, s) } else { best });
            best.0 as u32
        };
        problem.scores(&self.weights).chunks(self.classes).map(best).collect()
    }

    /// The weights `[width + 1, classes]`, biases last.
    #[must_use]
    pub fn weights(&self) -> &[f32] {
        &self.weights
    }
}

impl Problem<'_> {
    /// The limit for a class's gradient norm: `tolerance` times its norm at zero weights, and less
    /// if a class is rare, as in LIBLINEAR.
    fn limits(&self, c: f32, tolerance: f64) -> Vec<f64> {
        let (k, n) = (self.classes, self.rows.len());
        let zero = vec![0.0; (self.width + 1) * k];
        let slope = self.pass(&zero, &mut vec![0.0; n * k], |at, scores, _| {
            for (j, s) in scores.iter_mut().enumerate() {
                *s = -self.sign(self.rows[at + j / k], j % k);
            }
            true
        });
        let mut counts = vec![0; k];
        for &row in self.rows {
            counts[self.labels[row as usize] as usize] += 1;
        }
        let sizes = dots(&slope, &slope, k);
        let limit = |(size, count): (&f64, &usize)| {
            let rare = (*count).min(n - count).max(1) as f64 / n as f64;
            2.0 * f64::from(c) * size.sqrt() * tolerance * rare
        };
        sizes.iter().zip(&counts).map(limit).collect()
    }

    /// The direction `d` with `(I + 2C XᵀDX) d ≈ −gradient` for each class that is `open`, zero for
    /// the others; `D` picks the rows within the margin.
    fn newton_step(&self, c: f32, scores: &[f32], gradient: &[f32], open: &[bool]) -> Vec<f32> {
        let k = self.classes;
        let mut open = open.to_vec();
        let mut step = vec![0.0; gradient.len()];
        let mut rest: Vec<f32> = gradient.iter().map(|g| -g).collect();
        let mut sizes = dots(&rest, &rest, k);
        // The closer to the minimum, the more exact: this converges faster than linearly.
        let enough: Vec<f64> = sizes.iter().map(|s| s * 0.01).collect();
        let mut direction = rest.clone();
        for _ in 0..GRADIENT_STEPS {
            let mut unused = vec![0.0; self.rows.len() * k];
            let curved = self.pass(&direction, &mut unused, |at, products, _| {
                for (j, product) in products.iter_mut().enumerate() {
                    let y = self.sign(self.rows[at + j / k], j % k);
                    if y * scores[at * k + j] >= 1.0 {
                        *product = 0.0;
                    }
                }
                true
            });
            let mut image = direction.clone();
            add_scaled(&mut image, &vec![2.0 * f64::from(c); k], &curved);
            let bends = dots(&direction, &image, k);
            let lengths: Vec<f64> = (0..k)
                .map(|j| if open[j] && bends[j] > 0.0 { sizes[j] / bends[j] } else { 0.0 })
                .collect();
            add_scaled(&mut step, &lengths, &direction);
            add_scaled(&mut rest, &lengths.iter().map(|l| -l).collect::<Vec<_>>(), &image);
            let next = dots(&rest, &rest, k);
            for j in 0..k {
                open[j] &= next[j] > enough[j];
            }
            if !open.contains(&true) {
                break;
            }
            let ratios: Vec<f64> =
                (0..k).map(|j| if sizes[j] > 0.0 { next[j] / sizes[j] } else { 0.0 }).collect();
            let mut turned = rest.clone();
            add_scaled(&mut turned, &ratios, &direction);
            (direction, sizes) = (turned, next);
        }
        step
    }

    /// The step length along `step` that minimizes each class's objective: the root of its
    /// increasing derivative, found by bisection.
    fn line_search(
        &self,
        c: f32,
        [weights, step]: [&[f32]; 2],
        [scores, along]: [&[f32]; 2],
    ) -> Vec<f64> {
        let (k, c) = (self.classes, f64::from(c));
        let (flat, curve) = (dots(weights, step, k), dots(step, step, k));
        let slope = |j: usize, t: f64| {
            let rows = self.rows.iter().zip(scores.chunks(k)).zip(along.chunks(k));
            let sum: f64 = rows
                .map(|((&row, s), z)| {
                    let y = f64::from(self.sign(row, j));
                    let z = f64::from(z[j]);
                    let score = f64::from(s[j]) + t * z;
                    if y * score < 1.0 { (score - y) * z } else { 0.0 }
                })
                .sum();
            flat[j] + t * curve[j] + 2.0 * c * sum
        };
        let search = |j: usize| {
            if curve[j] == 0.0 {
                return 0.0;
            }
            let (mut low, mut high) = (0.0, 1.0);
            while slope(j, high) < 0.0 && high < 1e6 {
                (low, high) = (high, 2.0 * high);
            }
            for _ in 0..40 {
                let middle = 0.5 * (low + high);
                if slope(j, middle) < 0.0 { low = middle } else { high = middle }
            }
            0.5 * (low + high)
        };
        (0..k).into_par_iter().map(search).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDTH: usize = 7;

    /// 90 rows of three classes that overlap slightly; as in `assets/reference/make_svm.py`.
    fn rows() -> (Vec<f32>, Vec<u32>) {
        let number = |i: usize| {
            let (r, c) = (i / WIDTH, i % WIDTH);
            let shift = if r % 3 == c % 3 { 0.35 } else { 0.0 };
            (1.3 * ((r * 37 + c * 11 + r * c) % 101) as f64 / 101.0 - 0.6 + shift) as f32
        };
        ((0..90 * WIDTH).map(number).collect(), (0..90).map(|r| r % 3).collect())
    }

    /// The result of scikit-learn's `LinearSVC`, which is LIBLINEAR: `assets/reference/make_svm.py`
    /// prints it. Weights and, last, the biases of the three classes, for C = 0.1 and 10.
    const LIBLINEAR: [(f32, [[f32; 3]; WIDTH + 1]); 2] = [
        (
            0.1,
            [
                [0.637223, -0.214178, -0.406669],
                [-0.389087, 0.604819, -0.345674],
                [-0.303378, -0.294589, 0.496724],
                [0.496931, -0.167584, -0.374592],
                [-0.383094, 0.579868, -0.316693],
                [-0.327045, -0.136945, 0.381552],
                [0.60686, -0.363543, -0.224291],
                [-0.396335, -0.331317, -0.218383],
            ],
        ),
        (
            10.0,
            [
                [1.30813, -0.245998, -0.578825],
                [-0.70823, 0.912688, -0.487178],
                [-0.531468, -0.374899, 0.670569],
                [0.959474, -0.220429, -0.508058],
                [-0.691753, 0.902536, -0.446233],
                [-0.473916, -0.162152, 0.50756],
                [1.14445, -0.472181, -0.278082],
                [-0.678359, -0.432001, -0.219155],
            ],
        ),
    ];

    #[test]
    fn the_minimum_is_liblinears() {
        let (x, labels) = rows();
        let all: Vec<u32> = (0..90).collect();
        let problem = Problem { x: &x, width: WIDTH, labels: &labels, classes: 3, rows: &all };
        let mut last = None;
        for (c, want) in LIBLINEAR {
            // From zero, and from the solution for another C.
            for start in [None, last.as_ref()] {
                let svm = Svm::train(&problem, c, start, 1e-6);
                for (got, want) in svm.weights().iter().zip(want.as_flattened()) {
                    assert!((got - want).abs() < 2e-5, "C {c}: {got} {want}");
                }
            }
            last = Some(Svm::train(&problem, c, None, 1e-6));
        }
    }

    /// A subset of rows, out of order, is the same problem as a matrix of these rows alone.
    #[test]
    fn rows_may_lie_anywhere() {
        let (x, labels) = rows();
        let some: Vec<u32> = (0..90).filter(|r| r % 7 != 2).map(|r| 89 - r).collect();
        let problem = Problem { x: &x, width: WIDTH, labels: &labels, classes: 3, rows: &some };
        let svm = Svm::train(&problem, 1.0, None, 1e-6);
        let row = |r: &u32| &x[*r as usize * WIDTH..][..WIDTH];
        let own: Vec<f32> = some.iter().flat_map(row).copied().collect();
        let own_labels: Vec<u32> = some.iter().map(|&r| labels[r as usize]).collect();
        let all: Vec<u32> = (0..some.len() as u32).collect();
        let problem = Problem { x: &own, labels: &own_labels, rows: &all, ..problem };
        let same = Svm::train(&problem, 1.0, None, 1e-6);
        for (a, b) in same.weights().iter().zip(svm.weights()) {
            assert!((a - b).abs() < 1e-5, "{a} {b}");
        }
        let right =
            svm.predict(&own, WIDTH).iter().zip(&own_labels).filter(|(a, b)| a == b).count();
        // The classes overlap.
        assert!(right > some.len() * 6 / 10, "{right} of {}", some.len());
    }

    #[test]
    fn threads_change_no_bit() {
        let (x, labels) = rows();
        let all: Vec<u32> = (0..90).collect();
        let problem = Problem { x: &x, width: WIDTH, labels: &labels, classes: 3, rows: &all };
        let train = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            pool.map(|pool| pool.install(|| Svm::train(&problem, 1.0, None, 1e-4))).ok()
        };
        assert_eq!(train(1), train(3));
    }
}
