"""Damped Newton steps over sites: to the optimum of a convex loss, not near it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from blossom.learning.columns import Bools, Floats
from blossom.learning.predicting import Step, Steps, Task
from blossom.learning.statistics import Statistic
from blossom.learning.statistics.base import floats, number
from blossom.plan.errors import TrainingError


@dataclass(frozen=True)
class Problem:
    """A convex loss with a quadratic penalty.

    Attributes:
        owner: The estimator's name, for errors.
        ask: The statistic that gives `n`, `loss`, `gradient` and `hessian` at a point.
        penalty: A point's objective is its loss + sum(penalty * point**2) / 2.
        free: Which coordinates may move.
        max_iter: Most steps.
        tol: Bound on the gradient's largest entry, per row.
        endless: The error for a loss that has no minimum, or None where it always has.
        hint: What to do where it does not converge.
    """

    owner: str
    ask: Callable[[Floats], Statistic]
    penalty: Floats
    free: Bools
    max_iter: int
    tol: float
    endless: TrainingError | None
    hint: str


@dataclass(frozen=True)
class _Point:
    """The objective at one place."""

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


def minimise(task: Task, problem: Problem, start: Floats) -> Steps[tuple[Floats, int]]:
    """The optimum and the number of steps to it.

    Raises:
        TrainingError: There is no minimum, or it is not reached.
    """
    point = yield from _evaluate(task, problem, start, 0)
    for iteration in range(1, problem.max_iter + 1):
        step = point.newton_step()
        size = float(np.abs(step).max(initial=0.0)) / (1.0 + float(np.abs(point.theta).max(initial=0.0)))
        if point.gradient_norm <= problem.tol and size <= max(problem.tol, 1e-9):
            return point.theta, iteration - 1
        if problem.endless is not None and point.gradient_norm <= 1e-9 and size > 1e-2:
            raise problem.endless
        point = yield from _search(task, problem, point, step, iteration)
    raise TrainingError(
        f"not converged after {problem.max_iter} Newton steps (gradient {point.gradient_norm:.3g})",
        where=problem.owner,
        hint=problem.hint,
    )


def _search(task: Task, problem: Problem, point: _Point, step: Floats, iteration: int) -> Steps[_Point]:
    """Halve the step until the objective falls enough (Armijo)."""
    slope = float(point.gradient @ step)
    slack = 64 * np.finfo(np.float64).eps * (1.0 + abs(point.objective))
    length = 1.0
    while length > 1e-9:
        trial = yield from _evaluate(task, problem, point.theta + length * step, iteration)
        if trial.objective <= point.objective + 1e-4 * length * slope + slack:
            return trial
        length /= 2
    raise TrainingError(
        "no step lowers the loss any further, and the gradient is not 0 yet",
        where=problem.owner,
        hint=f"rescale the columns, or {problem.hint}",
    )


def _evaluate(task: Task, problem: Problem, theta: Floats, iteration: int) -> Steps[_Point]:
    state = yield Step("newton", iteration, problem.ask(theta))
    n, loss = number(state, "n"), number(state, "loss")
    gradient = np.where(problem.free, floats(state, "gradient") + problem.penalty * theta, 0.0)
    hessian = floats(state, "hessian") + np.diag(problem.penalty)
    hessian = np.where(np.outer(problem.free, problem.free), hessian, 0.0)
    objective = loss + 0.5 * float(problem.penalty @ theta**2)
    point = _Point(theta, objective, gradient, hessian, float(np.abs(gradient).max(initial=0.0)) / n)
    task.record("newton", iteration, loss / n, point.gradient_norm)
    return point
