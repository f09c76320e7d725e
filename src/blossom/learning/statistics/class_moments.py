"""Count, mean and sum of squared deviations of each output of a design, per class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from blossom.learning.design import Design, Numeric
from blossom.learning.statistics.base import (
    Check,
    Folded,
    Guard,
    Released,
    State,
    floats,
    ints,
    register,
)
from blossom.learning.statistics.groupings import Grouping, amounts, of_classes
from blossom.learning.statistics.moments import centred, merge_moments
from blossom.learning.statistics.presence import Requirement
from blossom.learning.target import Target


@register
@dataclass(frozen=True)
class ClassMoments(Folded):
    """`n` of each class, `mean` and `m2` of each class and output.

    Args:
        design: The outputs.
        target: Its classes.
    """

    kind = "class moments"
    design: Design
    target: Target

    @property
    def width(self) -> int:
        return 3 * self.design.width + 8

    @property
    def _classes(self) -> int:
        return len(self.target.classes or ())

    def empty(self) -> State:
        shape = (self._classes, self.design.width)
        return {"n": np.zeros(self._classes, np.int64), "mean": np.zeros(shape), "m2": np.zeros(shape)}

    def measure(self, block: pa.RecordBatch) -> State:
        values, codes = self.design.matrix(block), self.target.codes(block)
        counts = np.bincount(codes, minlength=self._classes).astype(np.int64)
        mean, m2 = np.zeros((self._classes, len(values))), np.zeros((self._classes, len(values)))
        for code in np.flatnonzero(counts).tolist():
            mean[code], m2[code] = centred(values[:, codes == code])
        return {"n": counts, "mean": mean, "m2": m2}

    def merge(self, a: State, b: State) -> State:
        mean, m2 = floats(a, "mean").copy(), floats(a, "m2").copy()
        for code in range(self._classes):
            _, mean[code], m2[code] = merge_moments(
                float(ints(a, "n")[code]), mean[code], m2[code],
                float(ints(b, "n")[code]), floats(b, "mean")[code], floats(b, "m2")[code],
            )  # fmt: skip
        return {"n": ints(a, "n") + ints(b, "n"), "mean": mean, "m2": m2}

    def check(self, guard: Guard) -> Check | None:
        # Columns are described one by one: of each, two parameters a class.
        return Requirement(self.design, self.target, 2 * self._classes).check(guard)

    def amounts(self) -> tuple[Numeric, ...]:
        return amounts(self.design, self.target)

    def groupings(self) -> tuple[Grouping, ...]:
        return of_classes(self.target, self.design.columns)

    def releases(self) -> tuple[Released, ...]:
        size = self._classes * self.design.width
        return (
            Released("rows a class", self._classes, "count"),
            Released("means and squares", 2 * size, "sum"),
        )
