"""Poisson regression that is exact over sites."""

from __future__ import annotations

import math

import numpy as np

from blossom.learning.estimator import require_flag, require_number
from blossom.learning.newton import Problem, minimise
from blossom.learning.predicting import Predictor, Solution, Standard, Steps, Task
from blossom.learning.statistics import PoissonSums
from blossom.learning.statistics.poisson import negative
from blossom.plan.errors import TrainingError


class PoissonRegressor(Predictor):
    """Counts with a logarithmic link: minimises mean(exp(z) - y z) + alpha |coef|^2 / 2, the intercept free, as in scikit-learn.

    Damped Newton to the optimum of the pooled data. `predict` gives exp(z), the expected count.

    Args:
        alpha: Strength of the penalty, at least 0.
        fit_intercept: Whether the model has an intercept.
        max_iter: Most Newton steps.
        tol: Bound on the gradient's largest entry, per row and in units of the scaled features.
    """

    kind = "regressor"

    def __init__(
        self, *, alpha: float = 1.0, fit_intercept: bool = True, max_iter: int = 100, tol: float = 1e-12
    ) -> None:
        self.alpha = alpha
        self.fit_intercept = fit_intercept
        self.max_iter = max_iter
        self.tol = tol
        self.validate()

    def validate(self) -> None:
        own = "PoissonRegressor"
        require_number(own, "alpha", self.alpha, above=0.0, inclusive=True)
        require_number(own, "tol", self.tol, above=0.0)
        require_number(own, "max_iter", self.max_iter, above=1, inclusive=True)
        require_flag(own, "fit_intercept", self.fit_intercept)

    def solve(self, task: Task) -> Steps[Solution]:
        standard, width = Standard.of(task, self.fit_intercept), task.design.width
        if task.target_mean < 0.0:
            raise negative(task.learned.column)
        if task.target_mean == 0.0:
            raise TrainingError(
                f"target {task.learned.column!r} is 0 in every row", where="PoissonRegressor",
                hint="there is nothing to count",
            )  # fmt: skip
        start, penalty = np.zeros(width + 1), np.zeros(width + 1)
        if self.fit_intercept:
            start[width] = math.log(task.target_mean)
        penalty[:width] = task.rows * self.alpha / standard.scale**2
        free = np.ones(width + 1, np.bool_)
        free[width] = self.fit_intercept
        endless = TrainingError(
            "a feature tells rows without counts apart, so that unpenalised coefficients grow without end",
            where="PoissonRegressor",
            hint="give alpha a value above 0",
        )
        problem = Problem(
            "PoissonRegressor",
            lambda theta: PoissonSums(standard.design, task.learned, theta[:-1], float(theta[-1])),
            penalty,
            free,
            int(self.max_iter),
            float(self.tol) * max(1.0, task.target_mean),
            None if penalty.any() else endless,
            "raise max_iter, or give alpha a larger value",
        )
        theta, steps = yield from minimise(task, problem, start)
        return standard.linear("log", theta[:width], float(theta[width]), steps)
