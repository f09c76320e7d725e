"""Whether one unit's values make up nearly all of a column's sum: the p-percent rule on absolute values.

A sum that leaves tells its largest contributor's value to whoever knows the second largest, up to the rest. It may leave only
where the rest is at least P of the largest (Statistics Netherlands, "Handbook on Statistical Disclosure Control", 4.2).
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from blossom.learning.columns import Bools, Floats, Ints
from blossom.learning.units import Hashes, identities

P = 0.1
"""The rest of a sum is at least this share of its largest contribution."""

_MOST_NUMBERS = 1 << 18
"""Sums that a tally of units holds (2 MiB), unless it has many columns."""


def dominated(total: Floats, largest: Floats, second: Floats) -> Bools:
    """Which sums one unit dominates.

    >>> dominated(np.array([10.0, 100.0]), np.array([9.0, 9.0]), np.array([0.5, 9.0])).tolist()
    [True, False]
    """
    slack = 1e-12 * total
    return np.asarray((total > 0.0) & (total - largest - second + slack < P * largest), np.bool_)


class RowShares:
    """The two largest amounts a cell, and their total; each row is a unit."""

    def __init__(self) -> None:
        self._total: Floats = np.zeros(0)
        self._top: Floats = np.zeros((0, 2))

    def add(self, amounts: Floats, classes: Ints, width: int, batch: pa.RecordBatch) -> None:
        """Take in the amounts of a block's rows.

        Args:
            amounts: Shape (columns, rows), none negative.
            classes: Each row's class.
            width: The number of classes. Column i's cells are `i * width + class`.
            batch: The block.
        """
        del batch
        size = len(amounts) * width
        if not len(self._total):
            self._total, self._top = np.zeros(size), np.zeros((size, 2))
        for code in range(width):
            own = amounts if width == 1 else amounts[:, classes == code]
            cells = np.arange(len(amounts)) * width + code
            self._total[cells] += own.sum(axis=1)
            both = np.concatenate([own, self._top[cells]], axis=1)
            self._top[cells] = -np.partition(-both, 1, axis=1)[:, :2]

    def dominated(self) -> Bools:
        """Which cells one unit dominates."""
        return dominated(self._total, self._top[:, 0], self._top[:, 1])


class UnitShares:
    """The largest sums of amounts a unit and cell; the unit is a column's value.

    Holds at most a fixed number of sums: when there are more units, those with the smallest shares are let go, and every
    unit's sum is taken to be larger by what the largest of them had (Agarwal et al., "Mergeable Summaries", 2012). So a
    dominated cell is never missed; a cell is refused wrongly only if it is within about 1/1000 of the rule.
    """

    def __init__(self, unit: str) -> None:
        self._unit = unit
        self._total: Floats = np.zeros(0)
        self._units: Hashes = np.zeros(0, np.uint64)
        self._sums: Floats = np.zeros((0, 0))
        self._slack: Floats = np.zeros(0)

    def add(self, amounts: Floats, classes: Ints, width: int, batch: pa.RecordBatch) -> None:
        """See `RowShares.add`."""
        size = len(amounts) * width
        if not len(self._total):
            self._total, self._slack, self._sums = np.zeros(size), np.zeros(size), np.zeros((0, size))
        units, member = np.unique(identities(batch, self._unit), return_inverse=True)
        sums = np.zeros((len(units), size))
        for index, own in enumerate(amounts):
            found = np.bincount(member * width + classes, own, minlength=len(units) * width)
            sums[:, index * width : (index + 1) * width] = found.reshape(len(units), width)
        self._total += sums.sum(axis=0)
        everyone, place = np.unique(np.concatenate([self._units, units]), return_inverse=True)
        merged = np.zeros((len(everyone), size))
        merged[place[: len(self._units)]] = self._sums
        merged[place[len(self._units) :]] += sums
        self._units, self._sums = everyone, merged
        most = max(4096, _MOST_NUMBERS // size)
        if len(everyone) > most:
            self._let_go(most // 2)

    def _let_go(self, kept: int) -> None:
        share = (self._sums / np.where(self._total > 0.0, self._total, 1.0)).max(axis=1)
        order = np.argpartition(-share, kept)
        self._slack += self._sums[order[kept:]].max(axis=0)
        stay = np.sort(order[:kept])
        self._units, self._sums = self._units[stay], self._sums[stay]

    def dominated(self) -> Bools:
        """Which cells one unit dominates."""
        if not len(self._units):
            return np.zeros(len(self._total), np.bool_)
        padded = np.concatenate([self._sums, np.zeros((2, len(self._total)))])
        top = -np.partition(-padded, 1, axis=0)[:2] + self._slack
        return dominated(self._total, np.minimum(top[0], self._total), top[1])
