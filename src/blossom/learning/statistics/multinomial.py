"""Multinomial logistic loss, its gradient and Hessian at given coefficients, one weight vector a class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from blossom.learning.columns import Floats
from blossom.learning.design import Design, Numeric
from blossom.learning.score import softmax
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
from blossom.learning.statistics.scores import log_losses
from blossom.learning.statistics.spans import Span, of_products
from blossom.learning.target import Target


@register
@dataclass(frozen=True)
class MultinomialSums(Folded):
    """Sums over the rows: `n`, `loss`, its `gradient` and `hessian` in (class 0's weights and bias, class 1's, ...).

    Args:
        design: Centred and scaled features.
        target: Its classes.
        weights: Shape (classes, features + 1), the bias last.
    """

    kind = "multinomial"
    design: Design
    target: Target
    weights: Floats

    @property
    def width(self) -> int:
        return (len(self.weights) + 2) * (self.design.width + 2)

    def empty(self) -> State:
        size = self.weights.size
        return {
            "n": np.zeros(1, np.int64),
            "loss": np.zeros(1),
            "gradient": np.zeros(size),
            "hessian": np.zeros((size, size)),
        }

    def measure(self, block: pa.RecordBatch) -> State:
        values = np.vstack([self.design.matrix(block), np.ones(block.num_rows)])
        codes = self.target.codes(block)
        scores = self.weights @ values
        p = softmax(scores)
        slope = p.copy()
        slope[codes, np.arange(len(codes))] -= 1.0
        classes, size = len(p), len(values)
        weighted = (p[:, None, :] * values[None, :, :]).reshape(classes * size, -1)
        hessian = -(weighted @ weighted.T)
        for code in range(classes):
            own = slice(code * size, (code + 1) * size)
            hessian[own, own] += weighted[own] @ values.T
        return {
            "n": np.asarray([block.num_rows], np.int64),
            "loss": np.asarray([log_losses(scores, codes)]),
            "gradient": (slope @ values.T).ravel(),
            "hessian": hessian,
        }

    def merge(self, a: State, b: State) -> State:
        sums = {key: floats(a, key) + floats(b, key) for key in ("loss", "gradient", "hessian")}
        return {"n": ints(a, "n") + ints(b, "n"), **sums}

    def check(self, guard: Guard) -> Check | None:
        return Requirement(self.design, self.target, self.weights.size, pairs=True).check(guard)

    def amounts(self) -> tuple[Numeric, ...]:
        return amounts(self.design, self.target)

    def groupings(self) -> tuple[Grouping, ...]:
        return of_features(self.design, self.target)

    def spans(self) -> tuple[Span, ...]:
        return of_products(self.design, self.target)

    def releases(self) -> tuple[Released, ...]:
        size = self.weights.size
        return (Released("rows", 1, "count"), Released("loss, gradient, Hessian", 1 + size + size**2, "sum"))
