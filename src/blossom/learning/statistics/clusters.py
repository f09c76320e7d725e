"""Sums of the rows nearest to each of several centres."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from blossom.learning.columns import Bools, Floats, Ints
from blossom.learning.design import Design, Numeric
from blossom.learning.score import Score
from blossom.learning.statistics.base import (
    Check,
    Collector,
    Guard,
    Measured,
    Released,
    State,
    Statistic,
    floats,
    ints,
    register,
)
from blossom.learning.statistics.groupings import Coded, Grouping, amounts
from blossom.learning.statistics.presence import Requirement
from blossom.learning.units import Tally


@register
@dataclass(frozen=True)
class ClusterSums(Statistic):
    """Of each centre: `n` rows nearest to it, their `sums` less the centre, and `squares`: their squared distances from it.

    A cluster with fewer than `min_group` units at a site contributes nothing there. As a site's rows and sums are known
    altogether, the clusters that contribute nothing hold `min_group` units together, or a further one is left out too.
    `silent`: at how many sites a cluster is left out.

    Args:
        design: The features.
        centres: Shape (clusters, features).
        verify: Whether the rows pass the release check of a fit too; metrics on other rows pass none but the minimum.
        before: Centres of the step before, of whose clusters `centres` are the means: both are given out with this answer. None
            for a step on the way.
    """

    kind = "clusters"
    design: Design
    centres: Floats
    verify: bool = True
    before: Floats | None = None

    @property
    def width(self) -> int:
        return 2 * self.design.width + 2 * len(self.centres) + 8

    def empty(self) -> State:
        clusters, features = self.centres.shape
        return {
            "n": np.zeros(clusters, np.int64),
            "sums": np.zeros((clusters, features)),
            "squares": np.zeros(clusters),
            "silent": np.zeros(clusters, np.int64),
        }

    def merge(self, a: State, b: State) -> State:
        return {
            "n": ints(a, "n") + ints(b, "n"),
            "sums": floats(a, "sums") + floats(b, "sums"),
            "squares": floats(a, "squares") + floats(b, "squares"),
            "silent": ints(a, "silent") + ints(b, "silent"),
        }

    def releases(self) -> tuple[Released, ...]:
        clusters, features = self.centres.shape
        return (
            Released("rows a cluster, clusters left out", 2 * clusters, "count"),
            Released("sums and squares", clusters * (features + 1), "sum"),
        )

    def measures(self) -> Measured | None:
        if self.verify:
            return None
        ones = np.ones_like(self.centres)
        return Measured(Score(self.design, "nearest", ones, np.zeros(len(ones)), self.centres), None)

    def amounts(self) -> tuple[Numeric, ...]:
        return amounts(self.design, None)

    def groupings(self) -> tuple[Grouping, ...]:
        given = () if self.before is None else (self.before, self.centres)
        if not self.verify:
            given = (self.centres,)
        return tuple(
            Coded(
                "the clusters",
                self.design.columns,
                self.before is not None,
                few=True,
                of=self._codes(centres),
            )
            for centres in given
        )

    def _codes(self, centres: Floats) -> Callable[[pa.RecordBatch], Ints]:
        return lambda block: nearest(self.design.matrix(block), centres)

    def collect(self, guard: Guard) -> Collector:
        return _ClusterCollector(self, guard)


def nearest(values: Floats, centres: Floats) -> Ints:
    """The number of the nearest centre of each row; the first of equally near ones.

    Args:
        values: Shape (features, rows).
        centres: Shape (clusters, features).
    """
    return ((centres**2).sum(axis=1)[:, None] - 2.0 * (centres @ values)).argmin(axis=0).astype(np.int64)


class _ClusterCollector(Collector):
    def __init__(self, statistic: ClusterSums, guard: Guard) -> None:
        self._statistic = statistic
        self._least = guard.min_group
        self._tally = Tally(guard.units, guard.min_group)
        # Columns are described one by one: of each, a mean and a count a cluster.
        requirement = Requirement(statistic.design, None, 2 * len(statistic.centres))
        self._check: Check | None = requirement.check(guard) if statistic.verify else None
        self._state: State = statistic.empty()

    def add(self, block: pa.RecordBatch) -> None:
        own = self._statistic
        values = own.design.matrix(block)
        codes = nearest(values, own.centres)
        count = len(own.centres)
        sums, squares = np.zeros_like(own.centres), np.zeros(count)
        for code in np.unique(codes).tolist():
            apart = values[:, codes == code] - own.centres[code][:, None]
            sums[code], squares[code] = apart.sum(axis=1), (apart**2).sum()
        found: State = {
            "n": np.bincount(codes, minlength=count).astype(np.int64),
            "sums": sums,
            "squares": squares,
            "silent": np.zeros(count, np.int64),
        }
        self._state = own.merge(self._state, found)
        self._tally.add(codes, np.arange(len(codes)), block)
        if self._check is not None:
            self._check.add(block)

    def finish(self) -> State:
        if self._check is not None:
            self._check.verify()
        hidden = self._hidden()
        state = self._state
        return {
            "n": np.where(hidden, 0, ints(state, "n")),
            "sums": np.where(hidden[:, None], 0.0, floats(state, "sums")),
            "squares": np.where(hidden, 0.0, floats(state, "squares")),
            "silent": hidden.astype(np.int64),
        }

    def _hidden(self) -> Bools:
        units = self._tally.counts(len(self._statistic.centres))
        hidden: Bools = np.asarray((units > 0) & (units < self._least), np.bool_)
        while 0 < self._tally.union(np.flatnonzero(hidden).tolist()) < self._least:
            shown = np.flatnonzero(~hidden & (units > 0))
            if not len(shown):
                break  # all are left out: nothing is told
            hidden[shown[np.argmin(ints(self._state, "n")[shown])]] = True
        return hidden
