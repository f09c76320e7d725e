"""Linear models that are exact over sites: ordinary and ridge regression, and binary logistic regression."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from blossom.learning.design import Design, Floats, Target
from blossom.learning.estimator import Estimator, require_choice, require_flag, require_number
from blossom.learning.preparation import spread
from blossom.learning.statistics import Gram, LogisticSums, State, Statistic
from blossom.learning.statistics.base import floats, number
from blossom.plan.errors import TrainingError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Step:
    """One question of a fit: its name, its number among questions of that name, and the statistic."""

    name: str
    iteration: int
    statistic: Statistic


Steps = Generator[Step, State, T]
"""Yields steps, is sent their merged states, returns a T."""

Record = Callable[[str, int, float | None, float | None], None]
"""Told of each step: name, iteration, loss, gradient norm."""


@dataclass(frozen=True)
class Task:
    """What a predictor is fitted to.

    Attributes:
        design: The features.
        target: The target; a class target has its two classes.
        mean: Mean of each feature over all sites.
        deviation: Its standard deviation.
        target_mean: Mean of a numeric target; the share of the second class.
        record: Told of each step.
    """

    design: Design
    target: Target
    mean: Floats
    deviation: Floats
    target_mean: float
    record: Record


@dataclass(frozen=True)
class Solution:
    """A fitted linear score.

    `design`, `weights`, `bias` give the score from centred and scaled features, without loss for ill-scaled columns;
    `coef`, `intercept` are the same score over the features as the pipeline makes them.
    """

    design: Design
    weights: Floats
    bias: float
    coef: Floats
    intercept: float
    iterations: int


@dataclass(frozen=True)
class _Standard:
    """A design centred and scaled for the solver, and the way back."""

    design: Design
    centre: Floats
    scale: Floats

    @classmethod
    def of(cls, task: Task, fit_intercept: bool) -> _Standard:
        if fit_intercept:
            centre, size = task.mean, task.deviation
        else:
            centre, size = np.zeros_like(task.mean), np.hypot(task.mean, task.deviation)
        scale = spread(size, centre)
        return cls(task.design.rescaled(centre, scale), centre, scale)

    def solution(self, weights: Floats, bias: float, iterations: int) -> Solution:
        coef = weights / self.scale
        return Solution(self.design, weights, bias, coef, bias - float(coef @ self.centre), iterations)


class Predictor(Estimator):
    """An estimator that predicts."""

    def solve(self, task: Task) -> Steps[Solution]:
        """Fit: ask the sites step by step, and give the fitted score."""
        raise NotImplementedError(type(self).__name__)


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
    standard = _Standard.of(task, fit_intercept)
    shift = task.target_mean if fit_intercept else 0.0
    state = yield Step("gram", 0, Gram(standard.design, replace(task.target, shift=shift)))
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
    return standard.solution(weights, bias, 1)


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


class LogisticRegression(Predictor):
    """Binary logistic regression: minimises C * sum(log loss) + |coef|^2 / 2, the intercept free, as in scikit-learn.

    Damped Newton with Hessians summed over the sites; it stops at the optimum, not near it, so that the coefficients are those
    of the pooled data (scikit-learn's `newton-cholesky` at tol 1e-12).

    Args:
        C: Inverse strength of the penalty; `math.inf` for none.
        fit_intercept: Whether the model has an intercept.
        max_iter: Most Newton steps.
        tol: Bound on the gradient's largest entry, per row and in units of the scaled features.
        class_weight: None only.
    """

    kind = "classifier"

    def __init__(
        self,
        *,
        C: float = 1.0,  # noqa: N803 - scikit-learn's name
        fit_intercept: bool = True,
        max_iter: int = 100,
        tol: float = 1e-12,
        class_weight: None = None,
    ) -> None:
        self.C = C
        self.fit_intercept = fit_intercept
        self.max_iter = max_iter
        self.tol = tol
        self.class_weight = class_weight
        self.validate()

    def validate(self) -> None:
        own = "LogisticRegression"
        require_number(own, "C", self.C, above=0.0, infinite=True)
        require_number(own, "tol", self.tol, above=0.0)
        require_number(own, "max_iter", self.max_iter, above=1, inclusive=True)
        require_flag(own, "fit_intercept", self.fit_intercept)
        require_choice(own, "class_weight", self.class_weight, (None,))

    def solve(self, task: Task) -> Steps[Solution]:
        standard = _Standard.of(task, self.fit_intercept)
        width = task.design.width
        penalty = np.zeros(width + 1)
        if not math.isinf(self.C):
            penalty[:width] = 1.0 / self.C / standard.scale**2
        start = np.zeros(width + 1)
        if self.fit_intercept:
            start[width] = math.log(task.target_mean / (1.0 - task.target_mean))
        point = yield from self._evaluate(task, standard.design, penalty, start, 0)
        for iteration in range(1, int(self.max_iter) + 1):
            step = point.newton_step()
            size = float(np.abs(step).max()) / (1.0 + float(np.abs(point.theta).max()))
            if point.gradient_norm <= self.tol and size <= max(self.tol, 1e-9):
                return standard.solution(point.theta[:width], float(point.theta[width]), iteration - 1)
            if not penalty.any() and point.gradient_norm <= 1e-9 and size > 1e-2:
                raise TrainingError(
                    "the classes can be separated, so that unpenalised coefficients grow without end",
                    where="LogisticRegression",
                    hint="give C a finite value",
                )
            point = yield from self._search(task, standard.design, penalty, point, step, iteration)
        raise TrainingError(
            f"not converged after {self.max_iter} Newton steps (gradient {point.gradient_norm:.3g})",
            where="LogisticRegression",
            hint="raise max_iter, or lower C",
        )

    def _search(
        self, task: Task, design: Design, penalty: Floats, point: _Point, step: Floats, iteration: int
    ) -> Steps[_Point]:
        """Halve the step until the objective falls enough (Armijo)."""
        slope = float(point.gradient @ step)
        slack = 64 * np.finfo(np.float64).eps * (1.0 + abs(point.objective))
        length = 1.0
        while length > 1e-9:
            trial = yield from self._evaluate(task, design, penalty, point.theta + length * step, iteration)
            if trial.objective <= point.objective + 1e-4 * length * slope + slack:
                return trial
            length /= 2
        raise TrainingError(
            "no step lowers the loss any further, and the gradient is not 0 yet",
            where="LogisticRegression",
            hint="rescale the columns, or give C a smaller value",
        )

    def _evaluate(
        self, task: Task, design: Design, penalty: Floats, theta: Floats, iteration: int
    ) -> Steps[_Point]:
        statistic = LogisticSums(design, task.target, theta[:-1], float(theta[-1]))
        state = yield Step("newton", iteration, statistic)
        n = number(state, "n")
        gradient = floats(state, "gradient") + penalty * theta
        hessian = floats(state, "hessian") + np.diag(penalty)
        if not self.fit_intercept:
            gradient = np.append(gradient[:-1], 0.0)
            hessian = np.pad(hessian[:-1, :-1], (0, 1))
        loss = number(state, "loss")
        objective = loss + 0.5 * float(penalty @ theta**2)
        point = _Point(theta, objective, gradient, hessian, float(np.abs(gradient).max()) / n)
        task.record("newton", iteration, loss / n, point.gradient_norm)
        return point


@dataclass(frozen=True)
class _Point:
    """The objective (divided by C) at one place."""

    theta: Floats
    objective: float
    gradient: Floats
    hessian: Floats
    gradient_norm: float

    def newton_step(self) -> Floats:
        """The Newton step; along directions that the data do not determine, none."""
        values, vectors = np.linalg.eigh(self.hessian)
        large = values > max(len(values), 10) * 1e-15 * float(values[-1])
        kept = vectors[:, large]
        return -(kept @ ((kept.T @ self.gradient) / values[large]))
