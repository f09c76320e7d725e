"""Gaussian naive Bayes that is exact over sites."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from blossom.learning.estimator import require_number
from blossom.learning.predicting import Predictor, Solution, Standard, Step, Steps, Task
from blossom.learning.score import Score
from blossom.learning.statistics import ClassMoments
from blossom.learning.statistics.base import floats, ints
from blossom.plan.errors import ConfigError, TrainingError


class GaussianNB(Predictor):
    """Each feature is normal within each class, independent of the others, as in scikit-learn.

    Args:
        priors: The classes' probabilities, in the order of `classes_`; None: their shares in the data.
        var_smoothing: This share of the largest variance of all features is added to every variance.
    """

    kind = "classifier"

    def __init__(self, *, priors: Sequence[float] | None = None, var_smoothing: float = 1e-9) -> None:
        self.priors = priors
        self.var_smoothing = var_smoothing
        self.validate()

    def validate(self) -> None:
        require_number("GaussianNB", "var_smoothing", self.var_smoothing, above=0.0, inclusive=True)
        if self.priors is not None:
            for value in self.priors:
                require_number("GaussianNB", "priors", value, above=0.0)
            if abs(sum(self.priors) - 1.0) > 1e-9:
                raise ConfigError(f"priors={self.priors!r:.80} do not add up to 1", where="GaussianNB")

    def solve(self, task: Task) -> Steps[Solution]:
        standard = Standard.of(task)
        state = yield Step("class moments", 0, ClassMoments(standard.design, task.learned))
        counts, mean, m2 = ints(state, "n"), floats(state, "mean"), floats(state, "m2")
        task.record("class moments", 0, None, None)
        prior = counts / counts.sum() if self.priors is None else np.asarray(self.priors, np.float64)
        if len(prior) != len(counts):
            raise ConfigError(
                f"priors lists {len(prior)} classes, the target has {len(counts)}", where="GaussianNB"
            )
        epsilon = self.var_smoothing * float((task.deviation**2).max())
        variance = m2 / counts[:, None] * standard.scale**2 + epsilon
        if not (variance > 0.0).all():
            raise TrainingError(
                "a feature is constant within a class",
                where="GaussianNB",
                hint="leave it out, or give var_smoothing a value above 0",
            )
        bias = np.log(prior) - 0.5 * np.log(2.0 * np.pi * variance).sum(axis=1)
        score = Score(standard.design, "softmax", 0.5 * standard.scale**2 / variance, bias, mean)
        return Solution(
            score,
            {
                "theta_": mean * standard.scale + standard.centre,
                "var_": variance,
                "class_prior_": prior,
                "class_count_": counts.astype(np.float64),
                "epsilon_": np.asarray(epsilon),
            },
            1,
        )
