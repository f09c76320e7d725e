"""What space of features a statistic's sums of products span, and with which weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from blossom.learning.columns import Floats
from blossom.learning.design import Design
from blossom.learning.score import STEEPEST, Score, expit, softmax
from blossom.learning.target import Target

Weights = Callable[[pa.RecordBatch], Floats]


@dataclass(frozen=True)
class Span:
    """The columns of a least-squares problem, an intercept among them.

    Attributes:
        design: The features.
        target: A numeric target is one more column: a unit that alone is far from a fitted line is told by the errors' sum.
        key: What tells it from others of the same fit.
        weights: One number a row, not negative; None: all 1.
    """

    design: Design
    target: Target | None = None
    key: str = ""
    weights: Weights | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """A name for each column of `matrix`."""
        own = () if self.target is None else (self.target.column,)
        return ("(intercept)", *self.design.names, *own)

    def matrix(self, block: pa.RecordBatch) -> Floats:
        """The columns, each row times the root of its weight; shape (columns, rows)."""
        values = [np.ones(block.num_rows), *self.design.matrix(block)]
        if self.target is not None:
            values.append(self.target.values(block))
        matrix = np.stack(values)
        return matrix if self.weights is None else matrix * np.sqrt(self.weights(block))


def of_products(design: Design, target: Target | None) -> tuple[Span, ...]:
    """The span of a statistic that holds sums of products of features (and a numeric target)."""
    numeric = target if target is not None and target.classes is None else None
    return (Span(design, numeric, ",".join(design.columns)),)


def of_score(score: Score) -> tuple[Span, ...]:
    """The spans behind a fitted score's last step: the features with the weights of the Hessian there.

    One a class where there are several (McCullagh and Nelder, "Generalized Linear Models", 1989, 12.7.1).
    """
    if score.centres is not None or score.link in ("identity", "nearest"):
        return ()
    return tuple(
        Span(score.design, None, f"{score.link} {output}", weights=_curvature(score, output))
        for output in range(score.outputs)
    )


def _curvature(score: Score, output: int) -> Weights:
    def weights(block: pa.RecordBatch) -> Floats:
        raw = score.raw(score.design.matrix(block))
        if score.link == "log":
            return np.exp(np.minimum(raw[0], STEEPEST))
        share = expit(raw[0]) if score.link == "logistic" else softmax(raw)[output]
        return share * (1.0 - share)

    return weights
