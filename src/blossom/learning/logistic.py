"""Logistic regression that is exact over sites, for two classes and for several."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from blossom.learning.columns import Floats
from blossom.learning.estimator import require_choice, require_flag, require_number
from blossom.learning.newton import Problem, minimise
from blossom.learning.predicting import Predictor, Solution, Standard, Steps, Task
from blossom.learning.score import Score
from blossom.learning.statistics import LogisticSums, MultinomialSums, Statistic
from blossom.plan.errors import TrainingError


class LogisticRegression(Predictor):
    """Logistic regression: minimises C * sum(log loss) + |coef|^2 / 2, the intercept free, as in scikit-learn.

    With two classes there is one weight vector, with more one a class (scikit-learn's over-parametrised multinomial loss: the
    penalty, or the least norm, chooses among equal ones). Damped Newton with Hessians summed over the sites; it stops at the
    optimum, not near it, so that the coefficients are those of the pooled data (scikit-learn's `newton-cholesky` at tol 1e-12).

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
        return (yield from (self._two(task) if len(task.shares) == 2 else self._several(task)))

    def _two(self, task: Task) -> Steps[Solution]:
        standard, width = Standard.of(task, self.fit_intercept), task.design.width
        start = np.zeros(width + 1)
        if self.fit_intercept:
            start[width] = math.log(task.shares[1] / task.shares[0])
        problem = self._problem(
            lambda theta: LogisticSums(standard.design, task.learned, theta[:-1], float(theta[-1])),
            self._penalty(standard),
            width + 1,
        )
        theta, steps = yield from minimise(task, problem, start)
        return standard.linear("logistic", theta[:width], float(theta[width]), steps)

    def _several(self, task: Task) -> Steps[Solution]:
        standard, width, classes = Standard.of(task, self.fit_intercept), task.design.width, len(task.shares)
        start = np.zeros((classes, width + 1))
        if self.fit_intercept:
            start[:, width] = np.log(task.shares) - np.log(task.shares).mean()
        problem = self._problem(
            lambda theta: MultinomialSums(standard.design, task.learned, theta.reshape(classes, -1)),
            np.tile(self._penalty(standard), classes),
            width + 1,
        )
        theta, steps = yield from minimise(task, problem, start.ravel())
        weights, bias = theta.reshape(classes, -1)[:, :width], theta.reshape(classes, -1)[:, width]
        coef = weights / standard.scale
        intercept = bias - coef @ standard.centre
        if self.fit_intercept:
            intercept = intercept - intercept.mean()  # a common shift changes no probability
        score = Score(standard.design, "softmax", weights, bias)
        return Solution(score, {"coef_": coef, "intercept_": intercept}, steps)

    def _penalty(self, standard: Standard) -> Floats:
        """Of one weight vector and its bias, in the scaled features."""
        penalty = np.zeros(len(standard.scale) + 1)
        if not math.isinf(self.C):
            penalty[:-1] = 1.0 / self.C / standard.scale**2
        return penalty

    def _problem(self, ask: Callable[[Floats], Statistic], penalty: Floats, size: int) -> Problem:
        free = np.ones(len(penalty), np.bool_)
        free[size - 1 :: size] = self.fit_intercept
        endless = TrainingError(
            "the classes can be separated, so that unpenalised coefficients grow without end",
            where="LogisticRegression",
            hint="give C a finite value",
        )
        return Problem(
            "LogisticRegression",
            ask,
            penalty,
            free,
            int(self.max_iter),
            float(self.tol),
            None if penalty.any() else endless,
            "raise max_iter, or give C a smaller value",
        )
