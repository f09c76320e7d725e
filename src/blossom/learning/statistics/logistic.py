"""Logistic loss, gradient and Hessian at given coefficients."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from blossom.learning.columns import Floats
from blossom.learning.design import Design, Numeric
from blossom.learning.score import expit
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
class LogisticSums(Folded):
    """Sums over the rows: `n`, `loss`, its `gradient` and `hessian` in (weights..., bias).

    Args:
        design: Centred and scaled features.
        target: Two classes; the second is the event.
        weights: One a feature.
        bias: The intercept.
    """

    kind = "logistic"
    design: Design
    target: Target
    weights: Floats
    bias: float

    @property
    def width(self) -> int:
        return 2 * self.design.width + 8

    def empty(self) -> State:
        size = self.design.width + 1
        return {
            "n": np.zeros(1, np.int64),
            "loss": np.zeros(1),
            "gradient": np.zeros(size),
            "hessian": np.zeros((size, size)),
        }

    def measure(self, block: pa.RecordBatch) -> State:
        values = np.vstack([self.design.matrix(block), np.ones(block.num_rows)])
        event = self.target.codes(block) == 1
        z = self.weights @ values[:-1] + self.bias
        p, q = expit(z), expit(-z)
        return {
            "n": np.asarray([block.num_rows], np.int64),
            "loss": np.asarray([np.logaddexp(0.0, np.where(event, -z, z)).sum()]),
            "gradient": values @ np.where(event, -q, p),
            "hessian": (values * (p * q)) @ values.T,
        }

    def merge(self, a: State, b: State) -> State:
        sums = {key: floats(a, key) + floats(b, key) for key in ("loss", "gradient", "hessian")}
        return {"n": ints(a, "n") + ints(b, "n"), **sums}

    def check(self, guard: Guard) -> Check | None:
        return Requirement(self.design, self.target, self.design.width + 1, pairs=True).check(guard)

    def amounts(self) -> tuple[Numeric, ...]:
        return amounts(self.design, self.target)

    def groupings(self) -> tuple[Grouping, ...]:
        return of_features(self.design, self.target)

    def spans(self) -> tuple[Span, ...]:
        return of_products(self.design, self.target)

    def releases(self) -> tuple[Released, ...]:
        size = self.design.width + 1
        return (Released("rows", 1, "count"), Released("loss, gradient, Hessian", 1 + size + size**2, "sum"))
