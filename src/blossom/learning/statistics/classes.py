"""The classes of a target and their numbers of rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from blossom.learning.columns import Ints, Scalar, bad_values, category_values
from blossom.learning.statistics.base import (
    Collector,
    Guard,
    Released,
    State,
    Statistic,
    ints,
    register,
    scalar_list,
)
from blossom.learning.units import Tally


class ValueCounts:
    """Distinct values of a column with their rows and (capped) units; nulls are counted apart."""

    def __init__(self, name: str, guard: Guard, fill: Scalar | None = None) -> None:
        self._name = name
        self._fill = fill
        self._cells: dict[Scalar, int] = {}
        self._rows: Ints = np.zeros(0, np.int64)
        self._tally = Tally(guard.units, guard.min_group)
        self.nulls = 0

    def add(self, block: pa.RecordBatch) -> None:
        """Take in a block of rows."""
        values = category_values(block, self._name, self._fill)
        self.nulls += values.null_count
        encoded = values.dictionary_encode()
        table = [self._cells.setdefault(value, len(self._cells)) for value in encoded.dictionary.to_pylist()]
        codes = np.asarray(pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False))
        rows = np.flatnonzero(codes >= 0)
        cells = np.asarray(table, np.int64)[codes[rows]] if table else np.zeros(0, np.int64)
        self._tally.add(cells, rows, block)
        new = np.bincount(cells, minlength=len(self._cells)).astype(np.int64)
        new[: len(self._rows)] += self._rows
        self._rows = new

    def known(self) -> tuple[Sequence[Scalar], Ints, Ints]:
        """The values, their rows, and their units (exact below the guard's minimum)."""
        return list(self._cells), self._rows, self._tally.counts(len(self._cells))


def merge_counts(a: State, b: State) -> State:
    """The union of two sorted lists of values, with rows added."""
    rows: dict[tuple[str, Scalar], int] = {}
    for state in (a, b):
        for value, count in zip(scalar_list(state, "values"), ints(state, "rows").tolist(), strict=True):
            key = (type(value).__name__, value)
            rows[key] = rows.get(key, 0) + count
    ordered = sorted(rows)
    counts = np.asarray([rows[key] for key in ordered], np.int64)
    return {"values": [value for _, value in ordered], "rows": counts}


def counted(values: Sequence[Scalar], rows: Ints) -> State:
    """Values and rows as a state, sorted by value."""
    order = sorted(range(len(values)), key=lambda index: values[index])
    counts = np.asarray([rows[index] for index in order], np.int64)
    return {"values": [values[index] for index in order], "rows": counts}


@register
@dataclass(frozen=True)
class Classes(Statistic):
    """`values`: the sorted classes of a column, `rows`: how many rows each has.

    A site refuses when a class has units, but fewer than `min_group`; a target with a null is a `TrainingError`.
    """

    kind = "classes"
    column: str

    def empty(self) -> State:
        return {"values": [], "rows": np.zeros(0, np.int64)}

    def merge(self, a: State, b: State) -> State:
        return merge_counts(a, b)

    def releases(self) -> tuple[Released, ...]:
        return (Released("classes", 0, "category"), Released("rows a class", 0, "count"))

    def collect(self, guard: Guard) -> Collector:
        return _ClassCollector(self.column, guard)


class _ClassCollector(Collector):
    def __init__(self, name: str, guard: Guard) -> None:
        self._name = name
        self._guard = guard
        self._counts = ValueCounts(name, guard)

    def add(self, block: pa.RecordBatch) -> None:
        self._counts.add(block)

    def finish(self) -> State:
        least = self._guard.min_group
        if self._counts.nulls:
            raise bad_values(self._name, -(-self._counts.nulls // least) * least)
        values, rows, units = self._counts.known()
        if (units < least).any():
            self._guard.refuse(
                "feature cells",
                self._name,
                f"a class has fewer than {least} units at the site",
                f"targets whose every class has 0 or at least {least} units",
            )
        return counted(values, rows)
