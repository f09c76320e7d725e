"""What a predictor is: it asks sites step by step and gives a score, over features centred and scaled for the solver."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from blossom.learning.columns import Floats
from blossom.learning.design import Design
from blossom.learning.estimator import Estimator
from blossom.learning.preparation import spread
from blossom.learning.score import Link, Score
from blossom.learning.statistics import State, Statistic
from blossom.learning.target import Target

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
        target: The target; a class target has its classes. None for a predictor that learns none.
        mean: Mean of each feature over all sites.
        deviation: Its standard deviation.
        target_mean: Mean of a numeric target, else 0.
        shares: The share of each class; empty without classes.
        rows: Rows over all sites.
        record: Told of each step.
    """

    design: Design
    target: Target | None
    mean: Floats
    deviation: Floats
    target_mean: float
    shares: Floats
    rows: int
    record: Record

    @property
    def learned(self) -> Target:
        """The target of a predictor that learns one."""
        assert self.target is not None, "resolve gives every classifier and regressor a target"
        return self.target


@dataclass(frozen=True)
class Solution:
    """A fitted predictor.

    Attributes:
        score: What predicts, over centred and scaled features, without loss for ill-scaled columns.
        attributes: What scikit-learn's estimator would show, by name, over the features as the pipeline makes them.
        iterations: Steps that it took.
    """

    score: Score
    attributes: Mapping[str, Floats]
    iterations: int


@dataclass(frozen=True)
class Standard:
    """A design centred and scaled for the solver, and the way back."""

    design: Design
    centre: Floats
    scale: Floats

    @classmethod
    def of(cls, task: Task, fit_intercept: bool = True) -> Standard:
        """Centred at the means and scaled by the deviations; without an intercept only scaled, by the root mean square."""
        if fit_intercept:
            centre, size = task.mean, task.deviation
        else:
            centre, size = np.zeros_like(task.mean), np.hypot(task.mean, task.deviation)
        scale = spread(size, centre)
        return cls(task.design.rescaled(centre, scale), centre, scale)

    def linear(self, link: Link, weights: Floats, bias: float, iterations: int) -> Solution:
        """The solution with one linear score."""
        coef = weights / self.scale
        intercept = np.asarray(bias - float(coef @ self.centre))
        classifier = link == "logistic"
        return Solution(
            Score.linear(self.design, link, weights, bias),
            {
                "coef_": coef[None, :] if classifier else coef,
                "intercept_": intercept[None] if classifier else intercept,
            },
            iterations,
        )


class Predictor(Estimator):
    """An estimator that predicts."""

    def solve(self, task: Task) -> Steps[Solution]:
        """Fit: ask the sites step by step, and give the fitted score."""
        raise NotImplementedError(type(self).__name__)
