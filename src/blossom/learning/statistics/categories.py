"""Which categories a column has, and which of them a site has too few units of to speak about."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from blossom.learning.columns import Bools, Scalar, bad_values
from blossom.learning.design import Levels
from blossom.learning.statistics.base import Collector, Guard, Released, State, Statistic, ints, register
from blossom.learning.statistics.classes import ValueCounts, counted, merge_counts
from blossom.learning.target import Target
from blossom.learning.units import Tally


@register
@dataclass(frozen=True)
class Categories(Statistic):
    """`values`: the sorted values that at least `min_group` units of some site have, `rows`: their rows at those sites.

    Args:
        column: The column.
        fill: The value that stands in for null, if any.
        gaps: Whether nulls are passed over; else they are a `TrainingError`.
    """

    kind = "categories"
    column: str
    fill: Scalar | None = None
    gaps: bool = False

    def empty(self) -> State:
        return {"values": [], "rows": np.zeros(0, np.int64)}

    def merge(self, a: State, b: State) -> State:
        return merge_counts(a, b)

    def releases(self) -> tuple[Released, ...]:
        return (Released("categories", 0, "category"), Released("rows a category", 0, "count"))

    def collect(self, guard: Guard) -> Collector:
        return _CategoryCollector(self, guard)


class _CategoryCollector(Collector):
    def __init__(self, statistic: Categories, guard: Guard) -> None:
        self._statistic = statistic
        self._guard = guard
        self._counts = ValueCounts(statistic.column, guard, statistic.fill)

    def add(self, block: pa.RecordBatch) -> None:
        self._counts.add(block)

    def finish(self) -> State:
        least = self._guard.min_group
        if self._counts.nulls and not self._statistic.gaps:
            raise bad_values(self._statistic.column, -(-self._counts.nulls // least) * least)
        values, rows, units = self._counts.known()
        frequent: list[int] = np.flatnonzero(units >= least).tolist()
        return counted([values[index] for index in frequent], rows[frequent])


@register
@dataclass(frozen=True)
class RareCategories(Statistic):
    """Which candidate categories must join the rest, so that each level has 0 or at least `min_group` units a class.

    A category may be frequent at one site and rare at another. Each site marks those that it has too few units of; where the
    rest itself would then hold too few, it marks its smallest further category too (secondary suppression). Joined over the
    sites this stays right: a category that another site marks adds 0 or enough units to the rest here.

    Answer: `marked`, 0 or 1 a candidate; `rest`, 1 when some row lies in the rest.
    """

    kind = "rare categories"
    column: str
    categories: tuple[Scalar, ...]
    target: Target | None = None
    fill: Scalar | None = None

    def empty(self) -> State:
        return {"marked": np.zeros(len(self.categories), np.int64), "rest": np.zeros(1, np.int64)}

    def merge(self, a: State, b: State) -> State:
        return {key: np.maximum(ints(a, key), ints(b, key)) for key in ("marked", "rest")}

    def releases(self) -> tuple[Released, ...]:
        return (Released("rare candidates", len(self.categories) + 1, "category"),)

    def collect(self, guard: Guard) -> Collector:
        return _RareCollector(self, guard)


class _RareCollector(Collector):
    def __init__(self, statistic: RareCategories, guard: Guard) -> None:
        self._target = statistic.target
        self._least = guard.min_group
        self._known = len(statistic.categories)
        self._levels = Levels.plain(
            statistic.column, statistic.categories, rest=True, drop=False, fill=statistic.fill
        )
        classes = None if self._target is None else self._target.classes
        self._classes = 1 if classes is None else len(classes)
        self._tally = Tally(guard.units, guard.min_group)

    def add(self, block: pa.RecordBatch) -> None:
        codes, good = self._levels.codes(block)
        if not good.all():
            raise bad_values(self._levels.column)
        if self._target is not None and self._target.classes is not None:
            codes = codes * self._classes + self._target.codes(block)
        else:
            codes = codes * self._classes
        self._tally.add(codes, np.arange(len(codes)), block)

    def finish(self) -> State:
        counts = self._tally.counts((self._known + 1) * self._classes).reshape(self._known + 1, self._classes)
        few = (counts > 0) & (counts < self._least)
        marked: Bools = np.asarray(few[: self._known].any(axis=1), np.bool_)
        while self._rest_is_few(marked):
            open_levels = np.flatnonzero(~marked & (counts[: self._known] > 0).any(axis=1))
            if not len(open_levels):
                break  # nothing left to hide it in: the release check refuses
            marked[open_levels[np.argmin(counts[open_levels].sum(axis=1))]] = True
        rest = bool(counts[self._known].any() or (counts[: self._known][marked] > 0).any())
        return {"marked": np.asarray(marked, np.int64), "rest": np.asarray([int(rest)], np.int64)}

    def _rest_is_few(self, marked: Bools) -> bool:
        members = [*np.flatnonzero(marked).tolist(), self._known]
        for code in range(self._classes):
            units = self._tally.union([member * self._classes + code for member in members])
            if 0 < units < self._least:
                return True
        return False
