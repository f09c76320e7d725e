"""How well a fitted linear score does: losses, errors, and the score histogram behind AUC."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from blossom.learning.design import Design, Floats, Ints, Target
from blossom.learning.statistics.base import (
    Collector,
    Folded,
    Guard,
    Released,
    State,
    Statistic,
    floats,
    ints,
    number,
    register,
)
from blossom.learning.statistics.moments import centred, merge_moments
from blossom.learning.units import Tally

GRID = 1 << 16
"""Cells of the fine grid over all scores."""


def linear_scores(values: Floats, weights: Floats, bias: float) -> Floats:
    """`bias + weights @ values`, summed in one fixed order.

    A matrix product's rounding depends on the block's shape, so that equal rows would get scores that differ in the last bit
    and no longer tie.

    Args:
        values: Shape (features, rows).
        weights: Shape (features,).
        bias: The intercept.
    """
    scores = np.full(values.shape[1], bias)
    for row, weight in zip(values, weights.tolist(), strict=True):
        scores += row * weight
    return scores


class _Withholding(Collector):
    """Gives the answer of no rows, marked, where fewer than `min_group` units would be described."""

    def __init__(self, statistic: Folded, guard: Guard) -> None:
        self._statistic = statistic
        self._least = guard.min_group
        self._tally = Tally(guard.units, guard.min_group)
        self._state = statistic.empty()

    def add(self, block: pa.RecordBatch) -> None:
        self._state = self._statistic.update(self._state, block)
        self._tally.add(np.zeros(block.num_rows, np.int64), np.arange(block.num_rows), block)

    def finish(self) -> State:
        if 0 < self._tally.counts(1)[0] < self._least:
            return {**self._statistic.empty(), "withheld": np.ones(1, np.int64)}
        return self._state


@dataclass(frozen=True)
class _Scored(Folded):
    """Fields and guard that the statistics of a fitted score share."""

    design: Design
    target: Target
    weights: Floats
    bias: float

    @property
    def width(self) -> int:
        return self.design.width + 8

    def scores(self, block: pa.RecordBatch) -> Floats:
        """The score of each row."""
        return linear_scores(self.design.matrix(block), self.weights, self.bias)

    def collect(self, guard: Guard) -> Collector:
        return _Withholding(self, guard)


@register
@dataclass(frozen=True)
class ClassErrors(_Scored):
    """`n`, `correct`, `loss` (sum of log losses), and mean and squares of the score; `withheld`: sites that kept silent."""

    kind = "class errors"

    def empty(self) -> State:
        return {
            "n": np.zeros(1, np.int64),
            "correct": np.zeros(1, np.int64),
            "loss": np.zeros(1),
            "mean": np.zeros(1),
            "m2": np.zeros(1),
            "withheld": np.zeros(1, np.int64),
        }

    def measure(self, block: pa.RecordBatch) -> State:
        scores = self.scores(block)
        event = self.target.codes(block) == 1
        mean, m2 = centred(scores[None, :])
        return {
            "n": np.asarray([block.num_rows], np.int64),
            "correct": np.asarray([((scores > 0) == event).sum()], np.int64),
            "loss": np.asarray([np.logaddexp(0.0, np.where(event, -scores, scores)).sum()]),
            "mean": mean,
            "m2": m2,
            "withheld": np.zeros(1, np.int64),
        }

    def merge(self, a: State, b: State) -> State:
        _, mean, m2 = merge_moments(
            number(a, "n"),
            floats(a, "mean"),
            floats(a, "m2"),
            number(b, "n"),
            floats(b, "mean"),
            floats(b, "m2"),
        )
        counts = {key: ints(a, key) + ints(b, key) for key in ("n", "correct", "withheld")}
        return {**counts, "loss": floats(a, "loss") + floats(b, "loss"), "mean": mean, "m2": m2}

    def releases(self) -> tuple[Released, ...]:
        return (Released("rows, correct", 2, "count"), Released("log loss, score moments", 3, "sum"))


@register
@dataclass(frozen=True)
class RegressionErrors(_Scored):
    """`n`, sums of `squared` and `absolute` errors, and mean and squares of the target."""

    kind = "regression errors"

    def empty(self) -> State:
        return {
            "n": np.zeros(1, np.int64),
            "squared": np.zeros(1),
            "absolute": np.zeros(1),
            "mean": np.zeros(1),
            "m2": np.zeros(1),
            "withheld": np.zeros(1, np.int64),
        }

    def measure(self, block: pa.RecordBatch) -> State:
        truth = self.target.values(block)
        error = truth - self.scores(block)
        mean, m2 = centred(truth[None, :])
        return {
            "n": np.asarray([block.num_rows], np.int64),
            "squared": np.asarray([(error**2).sum()]),
            "absolute": np.asarray([np.abs(error).sum()]),
            "mean": mean,
            "m2": m2,
            "withheld": np.zeros(1, np.int64),
        }

    def merge(self, a: State, b: State) -> State:
        _, mean, m2 = merge_moments(
            number(a, "n"),
            floats(a, "mean"),
            floats(a, "m2"),
            number(b, "n"),
            floats(b, "mean"),
            floats(b, "m2"),
        )
        sums = {key: floats(a, key) + floats(b, key) for key in ("squared", "absolute")}
        counts = {key: ints(a, key) + ints(b, key) for key in ("n", "withheld")}
        return {**counts, **sums, "mean": mean, "m2": m2}

    def releases(self) -> tuple[Released, ...]:
        return (Released("rows", 1, "count"), Released("errors, target moments", 4, "sum"))


@register
@dataclass(frozen=True)
class ScoreCells(Statistic):
    """The scores of each class as cells of at least `min_group` units, and each site's own share of ordered pairs.

    Scores lie on a fine grid, uniform in t / (1 + |t|) with t = (score - centre) / spread. A site joins adjacent grid cells,
    separately per class, until each holds `min_group` units; a leftover joins the last. Pairs of two rows of one site need no
    cells: the site counts them on its own grid.

    Answer, with m cells over s sites:
        cells: (m, 6) integers: site's number, class, first and last grid cell, rows, 1 where all scores in it are one value.
        values: (m,) that value, else 0.
        pairs: (s, 2): pairs of the site in which the event scores higher (a tie or an unresolved pair: a half), and how many
            of them are unresolved, being in one grid cell with different scores.
        withheld: Classes at sites that have 1 to `min_group` - 1 units, and so no cell.
    """

    kind = "score cells"
    design: Design
    target: Target
    weights: Floats
    bias: float
    centre: float
    spread: float

    @property
    def width(self) -> int:
        return self.design.width + 8

    def empty(self) -> State:
        return {
            "cells": np.zeros((0, 6), np.int64),
            "values": np.zeros(0),
            "pairs": np.zeros((0, 2)),
            "withheld": np.zeros(1, np.int64),
        }

    def merge(self, a: State, b: State) -> State:
        moved = ints(b, "cells").copy()
        moved[:, 0] += len(floats(a, "pairs"))
        return {
            "cells": np.vstack([ints(a, "cells"), moved]),
            "values": np.concatenate([floats(a, "values"), floats(b, "values")]),
            "pairs": np.vstack([floats(a, "pairs"), floats(b, "pairs")]),
            "withheld": ints(a, "withheld") + ints(b, "withheld"),
        }

    def releases(self) -> tuple[Released, ...]:
        return (Released("score cells", 0, "count"), Released("ordered pairs", 2, "sum"))

    def collect(self, guard: Guard) -> Collector:
        return _ScoreCollector(self, guard)

    def grid(self, scores: Floats) -> Ints:
        """The grid cell of each score; never decreases with the score."""
        t = (scores - self.centre) / self.spread
        return np.clip(((t / (1.0 + np.abs(t)) + 1.0) * (GRID / 2)).astype(np.int64), 0, GRID - 1)


class _ScoreCollector(Collector):
    def __init__(self, statistic: ScoreCells, guard: Guard) -> None:
        self._statistic = statistic
        self._least = guard.min_group
        self._tally = Tally(guard.units, guard.min_group)
        self._rows = np.zeros(2 * GRID, np.int64)
        self._low = np.full(2 * GRID, np.inf)
        self._high = np.full(2 * GRID, -np.inf)

    def add(self, block: pa.RecordBatch) -> None:
        own = self._statistic
        scores = linear_scores(own.design.matrix(block), own.weights, own.bias)
        cells = own.target.codes(block) * GRID + own.grid(scores)
        self._tally.add(cells, np.arange(len(cells)), block)
        self._rows += np.bincount(cells, minlength=2 * GRID)
        np.minimum.at(self._low, cells, scores)
        np.maximum.at(self._high, cells, scores)

    def finish(self) -> State:
        if not self._rows.any():
            return self._statistic.empty()
        cells: list[tuple[int, int, int, int, int, int]] = []
        values: list[float] = []
        withheld = 0
        for code in (0, 1):
            occupied = code * GRID + np.flatnonzero(self._rows[code * GRID :][:GRID])
            runs = self._tally.runs(occupied.tolist(), self._least)
            withheld += bool(len(occupied)) and not runs
            for start, stop in runs:
                members = occupied[start:stop]
                low, high = float(self._low[members].min()), float(self._high[members].max())
                first, last = int(members[0]) % GRID, int(members[-1]) % GRID
                cells.append((0, code, first, last, int(self._rows[members].sum()), int(low == high)))
                values.append(low if low == high else 0.0)
        return {
            "cells": np.asarray(cells, np.int64).reshape(-1, 6),
            "values": np.asarray(values, np.float64),
            "pairs": self._pairs() if not withheld else np.zeros((1, 2)),
            "withheld": np.asarray([withheld], np.int64),
        }

    def _pairs(self) -> Floats:
        negative, positive = self._rows[:GRID].astype(np.float64), self._rows[GRID:].astype(np.float64)
        lower = np.cumsum(negative) - negative
        shared = positive * negative
        one_value = np.minimum(self._low[:GRID], self._low[GRID:]) == np.maximum(
            self._high[:GRID], self._high[GRID:]
        )
        ordered = float(positive @ lower) + 0.5 * float(shared.sum())
        return np.asarray([[ordered, float(shared[~one_value].sum())]])
