"""Counting distinct privacy units a cell, up to a cap, in memory that does not grow with the rows."""

from __future__ import annotations

import hashlib
import threading
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from blossom.learning.columns import Ints, column

Hashes = NDArray[np.uint64]

_COMPACT = 1 << 16
"""New rows that a counter lets wait before it sorts them in."""

_NULL = np.uint64(0x9E3779B97F4A7C15)


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


def mixed(values: Hashes) -> Hashes:
    """A bijection that spreads every bit over the word (the finaliser of SplitMix64, Steele et al. 2014)."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


class _Latest(threading.local):
    """What each thread computed last for one block of rows: many checks look at the same block."""

    def __init__(self) -> None:
        self.block: weakref.ref[pa.RecordBatch] | None = None
        self.found: dict[str, Hashes] = {}


_latest = _Latest()


def identities(batch: pa.RecordBatch, unit: str) -> Hashes:
    """A number for each row that tells the units of a column apart; equal only within one process, all nulls are one."""
    known = None if _latest.block is None else _latest.block()
    if known is not batch:
        _latest.block, _latest.found = weakref.ref(batch), {}
    if unit not in _latest.found:
        _latest.found[unit] = _identities(column(batch, unit))
    return _latest.found[unit]


def _identities(values: pa.Array) -> Hashes:
    kind = values.type
    if pa.types.is_integer(kind):
        whole = np.asarray(pc.fill_null(values, 0).to_numpy(zero_copy_only=False))
        found = mixed(whole.astype(np.int64).view(np.uint64))
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        encoded = values.dictionary_encode()
        table = np.append(_texts(encoded.dictionary.cast(pa.large_string())), _NULL)
        codes = np.asarray(pc.fill_null(encoded.indices, len(table) - 1).to_numpy(zero_copy_only=False))
        return table[codes]
    else:
        return hashes(values)
    if values.null_count:
        found = np.where(np.asarray(values.is_null().to_numpy(zero_copy_only=False)), _NULL, found)
    return found


def _texts(values: pa.Array) -> Hashes:
    """A number for each text (large_string, no null), eight bytes a step. Two texts that meet count as one unit: too few, never
    too many."""
    _, where, data = values.buffers()
    if not len(values) or data is None:
        return mixed(np.zeros(len(values), np.uint64))
    offsets = np.frombuffer(where, np.int64)[values.offset : values.offset + len(values) + 1]
    raw = np.frombuffer(data, np.uint8)
    lengths = np.diff(offsets)
    found = mixed(lengths.astype(np.uint64))
    for position in range(0, int(lengths.max()), 8):
        longer = np.flatnonzero(lengths > position)
        place = offsets[longer, None] + position + np.arange(8)
        word = raw[np.minimum(place, len(raw) - 1)]
        word[place >= offsets[longer + 1, None]] = 0
        found[longer] = mixed(found[longer] ^ np.ascontiguousarray(word).view(np.uint64)[:, 0])
    return found


Reach = Callable[[int], int]
"""Over ascending cells, each with a row: where a run from a position first holds enough units (an end; past all for never)."""


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

    def reach(self, cells: Ints, least: int) -> Reach:
        """See `Reach`."""
        known = np.zeros(len(cells), np.int64)
        inside = cells < len(self._counts)
        known[inside] = self._counts[cells[inside]]
        mass = np.concatenate([[0], np.cumsum(known)])
        ends: list[int] = np.searchsorted(mass, mass[:-1] + least, "left").tolist()
        return ends.__getitem__


class UnitCounts:
    """Counts distinct values of a unit column a cell, exactly below `cap` and as `cap` from there on.

    A null describes no unit and is not counted.

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
        units = column(batch, self._unit)
        if units.null_count:
            open_cells &= np.asarray(units.is_valid().to_numpy(zero_copy_only=False), np.bool_)[rows]
        cells, rows = cells[open_cells], rows[open_cells]
        self._new.append((cells, identities(batch, self._unit)[rows]))
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

    def reach(self, cells: Ints, least: int) -> Reach:
        """See `Reach`."""
        self._compact()
        start, stop = np.searchsorted(self._cells, [cells[0], cells[-1] + 1]) if len(cells) else (0, 0)
        own, units = self._cells[start:stop], self._hashes[start:stop]
        chosen = np.isin(own, cells)
        own, units = own[chosen], units[chosen]
        place: list[int] = np.searchsorted(cells, own).tolist()
        first: list[int] = np.searchsorted(own, cells).tolist()
        before: list[int] = _previous(units).tolist()
        beyond = len(cells) + 1

        def end(start: int) -> int:
            # a unit counts at its first place in the run: where its previous place lies before the run
            opening, missing = first[start], least
            for entry in range(opening, len(place)):
                if before[entry] < opening:
                    missing -= 1
                    if not missing:
                        return place[entry] + 1
            return beyond

        return end


def _previous(units: Hashes) -> Ints:
    """For each entry the last earlier entry of the same unit; -1 for none."""
    order = np.argsort(units, kind="stable")
    before = np.full(len(units), -1, np.int64)
    same = units[order][1:] == units[order][:-1]
    before[order[1:][same]] = order[:-1][same]
    return before


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

    def runs(self, cells: Ints, least: int) -> list[tuple[int, int]]:
        """Adjacent cells joined until each run holds at least `least` units; a last, smaller run joins the one before.

        Args:
            cells: Cells in order, each with at least one row.
            least: At most the tally's cap.

        Returns:
            Half-open ranges of positions in `cells`; none where all cells together hold fewer than `least`.
        """
        found: list[tuple[int, int]] = []
        reaches = [counter.reach(cells, least) for counter in self._counters]
        start, count = 0, len(cells)
        while start < count:
            end = max([reach(start) for reach in reaches])
            if end > count:
                break
            found.append((start, end))
            start = end
        if found and start < count:
            found[-1] = (found[-1][0], count)
        return found
