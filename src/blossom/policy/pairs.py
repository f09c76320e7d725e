"""Distinct pairs of a cell and a unit, collected from a stream of rows."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy

import numpy as np
from numpy.typing import NDArray

from blossom.policy.sketch import Words

Ints = NDArray[np.int64]
Pairs = tuple[Ints, Words]
"""Cells and their units, pair by pair."""

_MOST = 1 << 18
"""Pairs that wait to be told apart from those before."""


class Collected:
    """The distinct pairs of the rows seen so far."""

    def __init__(self) -> None:
        self._parts: list[Pairs] = []
        self._waiting, self._most = 0, _MOST

    def add(self, cells: Ints, units: Words) -> None:
        """Take in rows."""
        part = distinct(cells, units)
        self._parts.append(part)
        self._waiting += len(part[0])
        if self._waiting > self._most:
            self._parts = [joined(self._parts)]
            self._waiting = len(self._parts[0][0])
            self._most = max(_MOST, 2 * self._waiting)

    def copy(self) -> Collected:
        """The same, to go on from apart."""
        copied = copy(self)
        copied._parts = list(self._parts)
        return copied

    def pairs(self) -> Pairs:
        """The pairs, ordered by cell and unit."""
        return joined(self._parts)


def distinct(cells: Ints, units: Words) -> Pairs:
    """The distinct pairs of cell and unit."""
    order = np.lexsort((units, cells))
    cells, units = cells[order], units[order]
    first = np.ones(len(cells), np.bool_)
    first[1:] = (cells[1:] != cells[:-1]) | (units[1:] != units[:-1])
    return cells[first], units[first]


def joined(parts: Sequence[Pairs]) -> Pairs:
    """The distinct pairs of several parts."""
    if not parts:
        return np.zeros(0, np.int64), np.zeros(0, np.uint64)
    return distinct(np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts]))
