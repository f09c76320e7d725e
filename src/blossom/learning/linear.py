"""Least squares that is exact over sites: ordinary and ridge regression."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from blossom.learning.columns import Floats
from blossom.learning.estimator import require_flag, require_number
from blossom.learning.predicting import Predictor, Solution, Standard, Step, Steps, Task
from blossom.learning.statistics import Gram
from blossom.learning.statistics.base import floats, number


class LinearRegression(Predictor):
    """Ordinary least squares; where features depend on each other, the solution of least norm, as in scikit-learn.

    Args:
        fit_intercept: Whether the model has an intercept.
    """

    kind = "regressor"

    def __init__(self, *, fit_intercept: bool = True) -> None:
        self.fit_intercept = fit_intercept
        self.validate()

    def validate(self) -> None:
        require_flag("LinearRegression", "fit_intercept", self.fit_intercept)

    def solve(self, task: Task) -> Steps[Solution]:
        return (yield from _least_squares(task, 0.0, self.fit_intercept))


class Ridge(Predictor):
    """Least squares with `alpha * |coef|^2` added; the intercept is free.

    Args:
        alpha: At least 0.
        fit_intercept: Whether the model has an intercept.
    """

    kind = "regressor"

    def __init__(self, *, alpha: float = 1.0, fit_intercept: bool = True) -> None:
        self.alpha = alpha
        self.fit_intercept = fit_intercept
        self.validate()

    def validate(self) -> None:
        require_number("Ridge", "alpha", self.alpha, above=0.0, inclusive=True)
        require_flag("Ridge", "fit_intercept", self.fit_intercept)

    def solve(self, task: Task) -> Steps[Solution]:
        return (yield from _least_squares(task, float(self.alpha), self.fit_intercept))


def _least_squares(task: Task, alpha: float, fit_intercept: bool) -> Steps[Solution]:
    standard = Standard.of(task, fit_intercept)
    shift = task.target_mean if fit_intercept else 0.0
    state = yield Step("gram", 0, Gram(standard.design, replace(task.learned, shift=shift)))
    n, sums, products = number(state, "n"), floats(state, "sums"), floats(state, "products")
    if not fit_intercept:
        sums = np.zeros_like(sums)
    products = products - np.outer(sums, sums) / n  # the given centre is off by its own rounding
    gram, cross = products[:-1, :-1], products[:-1, -1]
    weights = _solve(gram, cross, alpha / standard.scale**2, standard.scale)
    residual = float(products[-1, -1] - 2 * weights @ cross + weights @ gram @ weights)
    gradient = gram @ weights - cross + alpha / standard.scale**2 * weights
    task.record("gram", 0, max(residual, 0.0) / n, float(np.abs(gradient).max()) / n)
    bias = shift + float(sums[-1] - weights @ sums[:-1]) / n
    return standard.linear("identity", weights, bias, 1)


def _solve(gram: Floats, cross: Floats, penalty: Floats, scale: Floats) -> Floats:
    """Minimise v'Gv - 2 c'v + sum(penalty v^2); without penalty the solution of least norm in v / scale."""
    values, vectors = np.linalg.eigh(gram)
    large = values > max(len(values), 10) * 1e-14 * max(float(values[-1]), 0.0)
    if penalty.any():
        clean = (vectors * np.where(large, values, 0.0)) @ vectors.T
        return np.asarray(
            np.linalg.solve(clean + np.diag(penalty), vectors[:, large] @ (vectors[:, large].T @ cross)),
            np.float64,
        )
    solution = vectors[:, large] @ ((vectors[:, large].T @ cross) / values[large])
    if large.all():
        return np.asarray(solution, np.float64)
    # The null space in the coefficients' own units: the least norm is meant there, not in the scaled ones.
    basis, _ = np.linalg.qr(vectors[:, ~large] / scale[:, None])
    coef = solution / scale
    return np.asarray((coef - basis @ (basis.T @ coef)) * scale, np.float64)
