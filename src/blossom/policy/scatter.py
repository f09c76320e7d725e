"""Sums of rows by slot, for tables larger than the processor's nearest cache.

Adding to slots all over a table costs little while the table lies in the cache, and several times as much where other tables took its
place. So rows wait until there are enough of them, and are then added to one table after the other.
"""

from __future__ import annotations

from copy import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

ENOUGH = 1 << 19
"""Rows that wait: their slots take 4 MiB."""


class Scatter:
    """One table.

    Args:
        shape: Its shape; slots are numbers of its flat form.
        dtype: Its type. Whole numbers wrap around.

    >>> table = Scatter((2, 2), np.uint32)
    >>> table.add(np.array([3, 0, 3]), np.array([1, 2, 3], np.uint32))
    >>> table.sums.tolist()
    [[2, 0], [0, 4]]
    """

    def __init__(self, shape: tuple[int, ...], dtype: Any) -> None:
        self._sums: NDArray[Any] = np.zeros(shape, dtype)
        self._waiting: list[tuple[Ints, NDArray[Any]]] = []
        self._rows = 0

    def add(self, slots: Ints, values: NDArray[Any]) -> None:
        """Add each row's value to its slot. Neither array may change afterwards."""
        self._waiting.append((slots, values))
        self._rows += len(slots)
        if self._rows >= ENOUGH:
            self._settle()

    def _settle(self) -> None:
        flat = self._sums.reshape(-1)
        with np.errstate(over="ignore", invalid="ignore"):  # sums that overflow are judged as they are
            for slots, values in self._waiting:
                np.add.at(flat, slots, values)
        self._waiting, self._rows = [], 0

    @property
    def sums(self) -> NDArray[Any]:
        """The table with all rows that came so far; not to be changed."""
        self._settle()
        return self._sums

    def copy(self) -> Scatter:
        """The same, to go on from apart."""
        copied = copy(self)
        copied._sums = self.sums.copy()
        copied._waiting, copied._rows = [], 0
        return copied
