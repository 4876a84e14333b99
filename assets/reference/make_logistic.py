"""The numbers of the test of src/logistic.rs: python make_logistic.py > numbers (needs scikit-learn)."""

import numpy as np
from sklearn.linear_model import LogisticRegression

N, WIDTH = 1500, 5
state = 1


def number():
    global state
    state = state * 48271 % 2147483647
    return (state % 2048) / 1024 - 1


x = np.array([number() for _ in range(N * WIDTH)]).reshape(N, WIDTH)
inside = np.array([r[0] - 0.5 * r[1] + 0.25 * r[2] + 0.5 * number() > 0.75 for r in x])
print("inside", inside.sum())
for penalty in [0.001, 0.1]:
    model = LogisticRegression(
        C=1 / (penalty * N), class_weight="balanced", solver="newton-cholesky", tol=1e-13, max_iter=1000
    )
    model.fit(x, inside)
    print(penalty, [f"{w:.10f}" for w in model.coef_[0]], f"{model.intercept_[0]:.10f}")
