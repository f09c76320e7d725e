"""Count, mean and sum of squared deviations of each output of a design.

Chan, Golub, LeVeque: "Updating formulae and a pairwise algorithm for computing sample variances" (1979).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from blossom.learning.columns import Floats, numbers
from blossom.learning.design import Design, Levels, Numeric, usable
from blossom.learning.statistics.base import (
    Check,
    Folded,
    Guard,
    Released,
    State,
    floats,
    ints,
    number,
    register,
)
from blossom.learning.statistics.groupings import Coded, Grouping, amounts
from blossom.learning.statistics.presence import Requirement
from blossom.learning.target import Target


def centred(values: Floats) -> tuple[Floats, Floats]:
    """Mean and sum of squared deviations of each row of a matrix; both exact for a constant row.

    Args:
        values: Shape (width, rows), at least one row.
    """
    first = values[:, :1]
    mean = first[:, 0] + (values - first).mean(axis=1)
    deviation = values - mean[:, None]
    slip = deviation.mean(axis=1)
    return mean + slip, np.maximum((deviation**2).sum(axis=1) - values.shape[1] * slip**2, 0.0)


def merge_moments(
    n_a: float, mean_a: Floats, m2_a: Floats, n_b: float, mean_b: Floats, m2_b: Floats
) -> tuple[float, Floats, Floats]:
    """Chan's merge of two parts' count, mean and sum of squared deviations."""
    if not n_a:
        return n_b, mean_b, m2_b
    if not n_b:
        return n_a, mean_a, m2_a
    n = n_a + n_b
    delta = mean_b - mean_a
    return n, mean_a + delta * (n_b / n), m2_a + m2_b + delta**2 * (n_a * n_b / n)


@register
@dataclass(frozen=True)
class Moments(Folded):
    """`n`, `mean`, `m2` of each output, and `bad`: rows of each source column that are null, NaN or infinite.

    A row that is bad in any column counts in no moment. `bad` leaves a site rounded up to a multiple of `min_group`.

    Args:
        design: The outputs.
        target: A numeric target is described as one more, last output; with classes only its nulls are counted.
    """

    kind = "moments"
    design: Design
    target: Target | None = None

    @property
    def width(self) -> int:
        return 3 * self.design.width + 8

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that `bad` counts, in order."""
        own = () if self.target is None or self.target.classes is not None else (self.target.column,)
        return (*self.design.columns, *own)

    def _outputs(self) -> int:
        return self.design.width + len(self.columns) - len(self.design.columns)

    def empty(self) -> State:
        width = self._outputs()
        return {
            "n": np.zeros(1, np.int64),
            "mean": np.zeros(width),
            "m2": np.zeros(width),
            "bad": np.zeros(len(self.columns), np.int64),
        }

    def measure(self, block: pa.RecordBatch) -> State:
        values, good = self.design.lenient_matrix(block)
        bad: dict[str, int] = {}
        for part in self.design.leaves():
            bad[part.column] = 0 if good.all() else int((~usable(block, part)).sum())
        if self.target is not None and self.target.classes is None:
            own, fine = numbers(block, self.target.column)
            bad[self.target.column] = int((~fine).sum())
            values = np.vstack([values, own])
            good = good & fine
        if not good.all():
            values = values[:, good]
        counts = np.asarray([bad[name] for name in self.columns], np.int64)
        if not values.shape[1]:
            return {**self.empty(), "bad": counts}
        mean, m2 = centred(values)
        return {"n": np.asarray([values.shape[1]], np.int64), "mean": mean, "m2": m2, "bad": counts}

    def merge(self, a: State, b: State) -> State:
        n, mean, m2 = merge_moments(
            number(a, "n"),
            floats(a, "mean"),
            floats(a, "m2"),
            number(b, "n"),
            floats(b, "mean"),
            floats(b, "m2"),
        )
        return {
            "n": np.asarray([n], np.int64),
            "mean": mean,
            "m2": m2,
            "bad": ints(a, "bad") + ints(b, "bad"),
        }

    def release(self, state: State, guard: Guard) -> State:
        step = guard.min_group
        return {**state, "bad": -(-ints(state, "bad") // step) * step}

    def check(self, guard: Guard) -> Check | None:
        return Requirement(self.design, self.target).check(guard)

    def amounts(self) -> tuple[Numeric, ...]:
        return amounts(self.design, self.target)

    def groupings(self) -> tuple[Grouping, ...]:
        return tuple(
            Coded(
                f"the levels of {leaf.column!r}",
                key=leaf.column + repr(leaf.categories),
                of=lambda block, leaf=leaf: leaf.codes(block)[0],
            )
            for leaf in self.design.leaves()
            if isinstance(leaf, Levels) and leaf.names
        )

    def releases(self) -> tuple[Released, ...]:
        width = self._outputs()
        return (
            Released("rows", 1, "count"),
            Released("bad rows", len(self.columns), "count"),
            Released("means and squares", 2 * width, "sum"),
        )
