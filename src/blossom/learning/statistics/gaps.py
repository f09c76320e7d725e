"""What columns with missing values hold, and what a column's extremes are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from blossom.learning.columns import Floats, numbers
from blossom.learning.design import Design, Numeric
from blossom.learning.statistics.base import (
    Check,
    Collector,
    Folded,
    Guard,
    Released,
    State,
    floats,
    ints,
    register,
)
from blossom.learning.statistics.moments import centred, merge_moments
from blossom.learning.statistics.presence import Requirement
from blossom.learning.units import Tally


@register
@dataclass(frozen=True)
class PresentMeans(Folded):
    """Of each column: `n` rows with a finite value, their `mean`, and `bad` rows with an infinite one.

    A site refuses a column where 1 to `min_group` - 1 units lack the value: their number would tell of them.
    """

    kind = "present means"
    columns: tuple[str, ...]

    @property
    def width(self) -> int:
        return 3 * len(self.columns) + 8

    def empty(self) -> State:
        width = len(self.columns)
        return {
            "n": np.zeros(width, np.int64),
            "mean": np.zeros(width),
            "bad": np.zeros(width, np.int64),
        }

    def measure(self, block: pa.RecordBatch) -> State:
        n, bad = np.zeros(len(self.columns), np.int64), np.zeros(len(self.columns), np.int64)
        mean = np.zeros(len(self.columns))
        for index, name in enumerate(self.columns):
            values, fine = numbers(block, name)
            bad[index] = int((~numbers(block, name, 0.0)[1]).sum())
            n[index] = int(fine.sum())
            if n[index]:
                mean[index] = centred(values[fine][None, :])[0][0]
        return {"n": n, "mean": mean, "bad": bad}

    def merge(self, a: State, b: State) -> State:
        nothing: Floats = np.zeros(1)
        mean = floats(a, "mean").copy()
        for index in range(len(self.columns)):
            own, other = floats(a, "mean")[[index]], floats(b, "mean")[[index]]
            counts = float(ints(a, "n")[index]), float(ints(b, "n")[index])
            mean[index] = merge_moments(counts[0], own, nothing, counts[1], other, nothing)[1][0]
        return {"n": ints(a, "n") + ints(b, "n"), "mean": mean, "bad": ints(a, "bad") + ints(b, "bad")}

    def release(self, state: State, guard: Guard) -> State:
        step = guard.min_group
        return {**state, "bad": -(-ints(state, "bad") // step) * step}

    def check(self, guard: Guard) -> Check | None:
        # The fill value does not matter to the sums that leave: 0 keeps gaps out of the looks.
        design = Design(tuple(Numeric(name, fill=0.0) for name in self.columns))
        inner = Requirement(design).check(guard)
        return None if inner is None else _GapCheck(self.columns, guard, inner)

    def releases(self) -> tuple[Released, ...]:
        width = len(self.columns)
        return (Released("rows present, bad rows", 2 * width, "count"), Released("means", width, "sum"))


class _GapCheck(Check):
    def __init__(self, columns: tuple[str, ...], guard: Guard, inner: Check) -> None:
        self._columns = columns
        self._guard = guard
        self._inner = inner
        self._tally = Tally(guard.units, guard.min_group)

    def add(self, block: pa.RecordBatch) -> None:
        self._inner.add(block)
        for index, name in enumerate(self._columns):
            rows = np.flatnonzero(~numbers(block, name)[1])
            self._tally.add(np.full(len(rows), index), rows, block)

    def verify(self) -> None:
        least = self._guard.min_group
        missing = self._tally.counts(len(self._columns))
        few = np.flatnonzero((missing > 0) & (missing < least))
        if len(few):
            self._guard.refuse(
                "feature cells",
                self._columns[few[0]],
                f"fewer than {least} units lack a value in {self._columns[few[0]]!r}",
                f"columns that 0 or at least {least} units have no value in: filter these rows out, or fill with a constant",
            )
        self._inner.verify()


@register
@dataclass(frozen=True)
class Extremes(Folded):
    """`low` and `high` of each output of a design: values of single rows, so only where single rows may leave.

    A site answers where its minimum is 1 (as where the rows themselves may move to who asks), and refuses else.
    """

    kind = "extremes"
    design: Design

    @property
    def width(self) -> int:
        return 2 * self.design.width + 8

    def empty(self) -> State:
        width = self.design.width
        return {"n": np.zeros(1, np.int64), "low": np.zeros(width), "high": np.zeros(width)}

    def measure(self, block: pa.RecordBatch) -> State:
        values = self.design.matrix(block)
        return {
            "n": np.asarray([block.num_rows], np.int64),
            "low": values.min(axis=1),
            "high": values.max(axis=1),
        }

    def merge(self, a: State, b: State) -> State:
        if not ints(a, "n")[0]:
            return b
        if not ints(b, "n")[0]:
            return a
        return {
            "n": ints(a, "n") + ints(b, "n"),
            "low": np.minimum(floats(a, "low"), floats(b, "low")),
            "high": np.maximum(floats(a, "high"), floats(b, "high")),
        }

    def collect(self, guard: Guard) -> Collector:
        if guard.min_group > 1:
            columns = ", ".join(self.design.columns)
            guard.refuse(
                "extremes",
                self.design.columns[0],
                f"the minimum and maximum of {columns} are values of single rows",
                "MinMaxScaler(bounds=[(low, high), ...]) with bounds you know, or StandardScaler",
            )
        return super().collect(guard)

    def releases(self) -> tuple[Released, ...]:
        return (Released("smallest and largest values", 2 * self.design.width, "sum"),)
