"""How well a fitted score does: sums of losses and errors, and how many rows lie in each cluster."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from blossom.learning.columns import Floats, Ints
from blossom.learning.score import Score
from blossom.learning.statistics.base import (
    Collector,
    Folded,
    Guard,
    Measured,
    Released,
    State,
    floats,
    ints,
    number,
    register,
)
from blossom.learning.statistics.groupings import SIGNS, Coded, Grouping
from blossom.learning.statistics.moments import centred, merge_moments
from blossom.learning.statistics.poisson import negative
from blossom.learning.target import Target
from blossom.learning.units import Tally


class _Withholding(Collector):
    """Gives the answer of no rows, marked, where fewer than `min_group` units would be described."""

    def __init__(self, statistic: Folded, guard: Guard) -> None:
        self._statistic = statistic
        self._guard = guard
        self._least = guard.min_group
        self._tally = Tally(guard.units, guard.min_group)
        self._state = statistic.empty()

    def add(self, block: pa.RecordBatch) -> None:
        self._state = self._statistic.update(self._state, block)
        self._tally.add(np.zeros(block.num_rows, np.int64), np.arange(block.num_rows), block)

    def finish(self) -> State:
        if 0 < self._tally.counts(1)[0] < self._least:
            return {**self._statistic.empty(), "withheld": np.ones(1, np.int64)}
        return self._statistic.release(self._state, self._guard)


@dataclass(frozen=True)
class _Scored(Folded):
    """Fields and guard that the statistics of a fitted score share."""

    score: Score
    target: Target

    @property
    def width(self) -> int:
        return self.score.design.width + 3 * self.score.outputs + 8

    def measures(self) -> Measured:
        return Measured(self.score, self.target)

    def collect(self, guard: Guard) -> Collector:
        return _Withholding(self, guard)


def _added(a: State, b: State, counts: tuple[str, ...], sums: tuple[str, ...]) -> State:
    """The merge of two states of a scored statistic: counts and sums added, `mean` and `m2` by Chan."""
    _, mean, m2 = merge_moments(
        number(a, "n"), floats(a, "mean"), floats(a, "m2"), number(b, "n"), floats(b, "mean"), floats(b, "m2")
    )
    return {
        **{key: ints(a, key) + ints(b, key) for key in ("n", "withheld", *counts)},
        **{key: floats(a, key) + floats(b, key) for key in sums},
        "mean": mean,
        "m2": m2,
    }


@register
@dataclass(frozen=True)
class ClassErrors(_Scored):
    """`n`, `loss` (sum of log losses), and mean and squares of two classes' score; `withheld`: sites that kept silent."""

    kind = "class errors"

    def empty(self) -> State:
        return {
            "n": np.zeros(1, np.int64),
            "loss": np.zeros(1),
            "mean": np.zeros(1),
            "m2": np.zeros(1),
            "withheld": np.zeros(1, np.int64),
        }

    def measure(self, block: pa.RecordBatch) -> State:
        values, codes = self.score.design.matrix(block), self.target.codes(block)
        if len(self.target.classes or ()) == 2:
            scores = self.score.event(values)
            loss = float(np.logaddexp(0.0, np.where(codes == 1, -scores, scores)).sum())
        else:
            scores = np.zeros(len(codes))
            loss = log_losses(self.score.raw(values), codes)
        mean, m2 = centred(scores[None, :])
        return {
            "n": np.asarray([block.num_rows], np.int64),
            "loss": np.asarray([loss]),
            "mean": mean,
            "m2": m2,
            "withheld": np.zeros(1, np.int64),
        }

    def merge(self, a: State, b: State) -> State:
        return _added(a, b, (), ("loss",))

    def releases(self) -> tuple[Released, ...]:
        return (Released("rows", 1, "count"), Released("log loss, score moments", 3, "sum"))


def log_losses(scores: Floats, codes: Ints) -> float:
    """The sum of minus the log probabilities of the true classes.

    Args:
        scores: Shape (classes, rows).
        codes: Shape (rows,).
    """
    top = scores.max(axis=0)
    total = top + np.log(np.exp(scores - top).sum(axis=0))
    return float((total - scores[codes, np.arange(len(codes))]).sum())


@register
@dataclass(frozen=True)
class RegressionErrors(_Scored):
    """`n`, sums of `squared` and `absolute` errors, of half the Poisson `deviance` (log links), and the target's moments.

    The absolute errors are sums over the rows above and below the prediction; `silent` sites tell none.
    """

    kind = "regression errors"

    def empty(self) -> State:
        return {
            "n": np.zeros(1, np.int64),
            "squared": np.zeros(1),
            "absolute": np.zeros(1),
            "deviance": np.zeros(1),
            "mean": np.zeros(1),
            "m2": np.zeros(1),
            "withheld": np.zeros(1, np.int64),
            "silent": np.zeros(1, np.int64),
        }

    def measure(self, block: pa.RecordBatch) -> State:
        truth = self.target.values(block)
        predicted = self.score.value(self.score.design.matrix(block))
        error = truth - predicted
        mean, m2 = centred(truth[None, :])
        half = 0.0
        if self.score.link == "log":
            if (truth < 0.0).any():
                raise negative(self.target.column)
            ratio = np.log(np.where(truth > 0.0, truth, 1.0)) - np.log(np.maximum(predicted, 1e-300))
            half = float((np.where(truth > 0.0, truth * ratio, 0.0) - error).sum())
        return {
            "n": np.asarray([block.num_rows], np.int64),
            "squared": np.asarray([(error**2).sum()]),
            "absolute": np.asarray([np.abs(error).sum()]),
            "deviance": np.asarray([half]),
            "mean": mean,
            "m2": m2,
            "withheld": np.zeros(1, np.int64),
            "silent": np.zeros(1, np.int64),
        }

    def merge(self, a: State, b: State) -> State:
        return _added(a, b, ("silent",), ("squared", "absolute", "deviance"))

    def release(self, state: State, guard: Guard) -> State:
        if SIGNS not in guard.withheld:
            return state
        return {**state, "absolute": np.zeros(1), "silent": np.ones(1, np.int64)}

    def groupings(self) -> tuple[Grouping, ...]:
        return (Coded(SIGNS, (self.target.column,), needed=False, of=self._signs),)

    def _signs(self, block: pa.RecordBatch) -> Ints:
        error = self.target.values(block) - self.score.value(self.score.design.matrix(block))
        return np.where(error > 0.0, 1, np.where(error < 0.0, 0, -1)).astype(np.int64)

    def releases(self) -> tuple[Released, ...]:
        return (Released("rows", 1, "count"), Released("errors, target moments", 5, "sum"))
