"""Counting distinct privacy units a cell, up to a cap, in memory that does not grow with the rows."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from blossom.learning.design import Ints, column

Hashes = NDArray[np.uint64]

_COMPACT = 1 << 16
"""New rows that a counter lets wait before it sorts them in."""


def hashes(values: pa.Array, key: bytes = b"") -> Hashes:
    """A keyed 64-bit hash (BLAKE2b) of each value, the same in every run and place; all nulls are one value.

    Integers hash alike in every width, and strings in every Arrow layout.
    """
    encoded = values if pa.types.is_dictionary(values.type) else values.dictionary_encode()
    distinct = encoded.dictionary
    if not (pa.types.is_binary(distinct.type) or pa.types.is_nested(distinct.type)):
        distinct = distinct.cast(pa.string())
    tag = _family(encoded.dictionary.type)
    table = np.empty(len(distinct) + 1, np.uint64)
    for index, value in enumerate(distinct.to_pylist()):
        table[index] = _hash(key, tag, value)
    table[-1] = _hash(key, tag, None)
    codes = np.asarray(pc.fill_null(encoded.indices, len(distinct)).to_numpy(zero_copy_only=False))
    return table[codes]


def _family(kind: pa.DataType) -> bytes:
    for test, name in (
        (pa.types.is_integer, b"i"),
        (pa.types.is_floating, b"f"),
        (pa.types.is_boolean, b"b"),
    ):
        if test(kind):
            return name
    return b"o"


def _hash(key: bytes, tag: bytes, value: Any) -> int:
    data = value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")
    body = b"\0" if value is None else tag + data
    return int.from_bytes(hashlib.blake2b(body, digest_size=8, key=key).digest(), "big")


class RowCounts:
    """Counts rows a cell; the unit is the row."""

    def __init__(self) -> None:
        self._counts: Ints = np.zeros(0, np.int64)

    def add(self, cells: Ints, rows: Ints, batch: pa.RecordBatch) -> None:
        """Count that rows `rows` of `batch` lie in `cells`, one cell a row."""
        del rows, batch
        new = np.bincount(cells, minlength=len(self._counts)).astype(np.int64)
        new[: len(self._counts)] += self._counts
        self._counts = new

    def counts(self, cells: int) -> Ints:
        """The counts of the first `cells` cells."""
        out = np.zeros(cells, np.int64)
        known = min(cells, len(self._counts))
        out[:known] = self._counts[:known]
        return out

    def union(self, cells: Sequence[int]) -> int:
        """The count over several cells together."""
        return int(self._counts[[cell for cell in cells if cell < len(self._counts)]].sum())

    def growing(self) -> Callable[[int], int]:
        """A function that takes in one more cell a call and gives the count of all it took."""
        taken = 0

        def take(cell: int) -> int:
            nonlocal taken
            taken += self.union([cell])
            return taken

        return take


class UnitCounts:
    """Counts distinct values of a unit column a cell, exactly below `cap` and as `cap` from there on.

    Holds at most `cap` hashes a cell; rows of a cell that is full cost nothing but the look.
    """

    def __init__(self, unit: str, cap: int) -> None:
        self._unit = unit
        self._cap = cap
        self._full: NDArray[np.bool_] = np.zeros(0, np.bool_)
        self._cells: Ints = np.zeros(0, np.int64)
        self._hashes: Hashes = np.zeros(0, np.uint64)
        self._new: list[tuple[Ints, Hashes]] = []
        self._waiting = 0

    def add(self, cells: Ints, rows: Ints, batch: pa.RecordBatch) -> None:
        """Count that rows `rows` of `batch` lie in `cells`, one cell a row."""
        if not len(cells):
            return
        size = max(len(self._full), int(cells.max()) + 1)
        self._full = np.pad(self._full, (0, size - len(self._full)))
        open_cells = ~self._full[cells]
        if not open_cells.any():
            return
        cells, rows = cells[open_cells], rows[open_cells]
        self._new.append((cells, hashes(column(batch, self._unit).take(pa.array(rows)))))
        self._waiting += len(cells)
        if self._waiting > max(_COMPACT, len(self._cells)):
            self._compact()

    def _compact(self) -> None:
        if not self._new:
            return
        cells = np.concatenate([self._cells, *(cells for cells, _ in self._new)])
        units = np.concatenate([self._hashes, *(units for _, units in self._new)])
        self._new, self._waiting = [], 0
        order = np.lexsort((units, cells))
        cells, units = cells[order], units[order]
        first = np.ones(len(cells), np.bool_)
        first[1:] = (np.diff(cells) != 0) | (units[1:] != units[:-1])
        cells, units = cells[first], units[first]
        counts = np.bincount(cells, minlength=len(self._full))
        starts = np.cumsum(counts) - counts
        keep = np.arange(len(cells)) - starts[cells] < self._cap
        self._cells, self._hashes = cells[keep], units[keep]
        self._full |= counts >= self._cap

    def counts(self, cells: int) -> Ints:
        """The counts of the first `cells` cells, at most the cap each."""
        self._compact()
        return np.bincount(self._cells, minlength=cells)[:cells].astype(np.int64)

    def union(self, cells: Sequence[int]) -> int:
        """The distinct units over several cells together, exact below the cap."""
        self._compact()
        return len(np.unique(self._hashes[np.isin(self._cells, np.asarray(cells, np.int64))]))

    def growing(self) -> Callable[[int], int]:
        """A function that takes in one more cell a call and gives the distinct units of all it took."""
        self._compact()
        taken: set[int] = set()

        def take(cell: int) -> int:
            start, stop = np.searchsorted(self._cells, [cell, cell + 1])
            taken.update(self._hashes[start:stop].tolist())
            return len(taken)

        return take


class Tally:
    """Units a cell where every one of several unit columns must agree: the least of the counts.

    Args:
        units: The unit columns; none: each row is a unit.
        cap: Counts are exact below it.
    """

    def __init__(self, units: Iterable[str], cap: int) -> None:
        named = [UnitCounts(unit, cap) for unit in units]
        self._counters: list[UnitCounts | RowCounts] = [*named] if named else [RowCounts()]

    def add(self, cells: Ints, rows: Ints, batch: pa.RecordBatch) -> None:
        """Count that rows `rows` of `batch` lie in `cells`, one cell a row."""
        for counter in self._counters:
            counter.add(cells, rows, batch)

    def counts(self, cells: int) -> Ints:
        """The counts of the first `cells` cells."""
        return np.min([counter.counts(cells) for counter in self._counters], axis=0)

    def union(self, cells: Sequence[int]) -> int:
        """The count over several cells together."""
        return min(counter.union(cells) for counter in self._counters)

    def runs(self, cells: Sequence[int], least: int) -> list[tuple[int, int]]:
        """Adjacent cells joined until each run holds at least `least` units; a last, smaller run joins the one before.

        Args:
            cells: Cells in order, each with at least one row.
            least: At most the tally's cap.

        Returns:
            Half-open ranges of positions in `cells`; none where all cells together hold fewer than `least`.
        """
        found: list[tuple[int, int]] = []
        start = 0
        growing = [counter.growing() for counter in self._counters]
        for position, cell in enumerate(cells):
            if min([take(cell) for take in growing]) >= least:
                found.append((start, position + 1))
                start = position + 1
                growing = [counter.growing() for counter in self._counters]
        if found and start < len(cells):
            found[-1] = (found[-1][0], len(cells))
        return found
