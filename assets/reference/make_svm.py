"""The coefficients that src/svm.rs is held against: prints them. Needs numpy and scikit-learn."""

import numpy
from sklearn.svm import LinearSVC

ROWS, WIDTH = 90, 7

r, c = numpy.mgrid[:ROWS, :WIDTH]
shift = numpy.where(r % 3 == c % 3, 0.35, 0.0)
x = (1.3 * ((r * 37 + c * 11 + r * c) % 101) / 101.0 - 0.6 + shift).astype(numpy.float32)
for weight in (0.1, 10.0):
    svm = LinearSVC(C=weight, loss="squared_hinge", dual=False, tol=1e-10, max_iter=100_000)
    svm.fit(x, numpy.arange(ROWS) % 3)
    print(f"C = {weight}")
    for row in numpy.vstack([svm.coef_.T, svm.intercept_]):
        print([float(f"{v:.6g}") for v in row])
