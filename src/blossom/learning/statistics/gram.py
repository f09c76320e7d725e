"""The Gram matrix of features and target, over outputs that the design has centred and scaled already."""

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
from blossom.learning.statistics.groupings import Grouping, amounts, of_features
from blossom.learning.statistics.presence import Requirement
from blossom.learning.statistics.spans import Span, of_products
from blossom.learning.target import Target


@register
@dataclass(frozen=True)
class Gram(Folded):
    """`n`, `sums` of each feature and the target (last, if any), and `products`: their matrix of sums of products.

    The design carries the centre and scale: uncentred, a Gram matrix loses half the digits of an ill-scaled column.
    """

    kind = "gram"
    design: Design
    target: Target | None

    @property
    def width(self) -> int:
        return 2 * self.design.width + 8

    @property
    def _size(self) -> int:
        return self.design.width + (self.target is not None)

    def empty(self) -> State:
        size = self._size
        return {"n": np.zeros(1, np.int64), "sums": np.zeros(size), "products": np.zeros((size, size))}

    def measure(self, block: pa.RecordBatch) -> State:
        values = self.design.matrix(block)
        if self.target is not None:
            values = np.vstack([values, self.target.values(block)])
        return {
            "n": np.asarray([block.num_rows], np.int64),
            "sums": values.sum(axis=1),
            "products": values @ values.T,
        }

    def merge(self, a: State, b: State) -> State:
        return {
            "n": ints(a, "n") + ints(b, "n"),
            "sums": floats(a, "sums") + floats(b, "sums"),
            "products": floats(a, "products") + floats(b, "products"),
        }

    def check(self, guard: Guard) -> Check | None:
        return Requirement(self.design, self.target, self._size, pairs=True).check(guard)

    def amounts(self) -> tuple[Numeric, ...]:
        return amounts(self.design, self.target)

    def groupings(self) -> tuple[Grouping, ...]:
        return of_features(self.design, self.target)

    def spans(self) -> tuple[Span, ...]:
        return of_products(self.design, self.target)

    def releases(self) -> tuple[Released, ...]:
        size = self._size
        return (Released("rows", 1, "count"), Released("sums and products", size + size**2, "sum"))
