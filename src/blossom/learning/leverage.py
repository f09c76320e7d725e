"""Whether one unit alone decides a direction of a fit: the leverage of each unit's rows.

The fitted value of row i holds its own target with the weight h_i = x_i' (X'X)^-1 x_i (Belsley, Kuh, Welsch: "Regression
Diagnostics", 1980, 2.1). Of a unit with several rows the largest eigenvalue of X_u (X'X)^-1 X_u' counts. At 1 the fitted line goes
through the unit's target, wherever that is; at h it tells the target to within sqrt((1 - h) / h) standard deviations of the others'
errors. Adding rows of other sites only lowers it, so what holds at each site holds for the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pyarrow as pa

from blossom.learning.columns import Floats
from blossom.learning.site import BLOCK_NUMBERS, blocks
from blossom.learning.statistics.base import Guard
from blossom.learning.statistics.spans import Span
from blossom.learning.units import Hashes, identities

LARGEST = 0.8
"""The largest leverage of a unit: the fit then tells its target no nearer than to half a standard deviation of the others' errors."""

_BUCKETS = 1 << 14
"""Units are summed in buckets first; only those of full buckets are looked at one by one."""

_RANK = 1e-14
"""Directions with a smaller part of the variance are rounding, and left out by the solvers too."""

Batches = Callable[[], Iterable[pa.RecordBatch]]


def check(span: Span, batches: Batches, guard: Guard) -> None:
    """Refuse rows of which one unit alone decides a direction.

    Args:
        span: The columns.
        batches: Gives the rows, each time from the start.
        guard: Its units are judged.

    Raises:
        PolicyError: A unit's leverage is above `LARGEST`; names the columns.
    """
    basis = _Basis.of(span, batches)
    if basis is None:
        return
    for unit in guard.units:
        found = _heaviest(span, basis, batches, unit)
        if found is None:
            continue
        names = basis.columns(found)
        listed = " and ".join(repr(name) for name in names)
        guard.refuse(
            "leverage",
            names[0],
            f"one unit alone decides what the model makes of {listed}",
            f"columns in which no unit stands apart from all others (its leverage is at most {LARGEST}): clip or bin them, "
            "leave one of them out, filter extreme values out, or fit on more rows",
        )


class _Basis:
    """An orthonormal basis of the columns over a site's rows."""

    def __init__(self, names: tuple[str, ...], centre: Floats, root: Floats, scale: Floats) -> None:
        self._names, self._centre, self._root, self._scale = names, centre, root, scale

    @classmethod
    def of(cls, span: Span, batches: Batches) -> _Basis | None:
        """One pass; None where there are no rows."""
        width = len(span.names)
        centre, products, empty = np.zeros(width), np.zeros((width, width)), True
        for block in _blocks(span, batches):
            matrix = span.matrix(block)
            if empty:
                # near enough to the mean that squares keep their digits
                centre = matrix @ matrix[0] / max(float(matrix[0] @ matrix[0]), np.finfo(np.float64).tiny)
                centre[0], empty = 0.0, False
            matrix = matrix - centre[:, None] * matrix[0]
            products += matrix @ matrix.T
        if empty:
            return None
        size = np.sqrt(np.diag(products))
        scale = np.where(size > 0.0, size, 1.0)
        values, vectors = np.linalg.eigh(products / np.outer(scale, scale))
        kept = values > max(len(values), 10) * _RANK * max(float(values[-1]), 0.0)
        return cls(span.names, centre, vectors[:, kept] / np.sqrt(values[kept]) / scale[:, None], scale)

    def coordinates(self, matrix: Floats) -> Floats:
        """Of each row; shape (rank, rows). A row's leverage is the sum of their squares."""
        return self._root.T @ (matrix - self._centre[:, None] * matrix[0])

    def columns(self, direction: Floats) -> list[str]:
        """The columns that a direction is mostly made of."""
        parts = (np.abs(self._root @ direction) * self._scale)[1:]
        if not len(parts) or parts.max() <= 0.0:
            return ["(intercept)"]
        order = np.argsort(-parts, kind="stable")[:3]
        return [self._names[1 + i] for i in order.tolist() if parts[i] >= 0.1 * parts.max()]


def _blocks(span: Span, batches: Batches) -> Iterator[pa.RecordBatch]:
    width = 3 * (span.design.width + 2)
    for block in blocks(batches(), max(256, min(1 << 16, BLOCK_NUMBERS // width))):
        if block.num_rows:
            yield block


def _heaviest(span: Span, basis: _Basis, batches: Batches, unit: str) -> Floats | None:
    """A direction that one unit alone decides, or None."""
    sums = np.zeros(_BUCKETS)
    for block in _blocks(span, batches):
        leverages = (basis.coordinates(span.matrix(block)) ** 2).sum(axis=0)
        sums += np.bincount(_buckets(identities(block, unit)), leverages, _BUCKETS)
    full = sums > LARGEST
    if not full.any():
        return None
    parts: dict[int, Floats] = {}
    for block in _blocks(span, batches):
        units = identities(block, unit)
        chosen = full[_buckets(units)] & block.column(unit).is_valid().to_numpy(zero_copy_only=False)
        coordinates = basis.coordinates(span.matrix(block))[:, chosen]
        units = units[chosen]
        for own in np.unique(units).tolist():
            mine = coordinates[:, units == own]
            parts[own] = parts.get(own, 0.0) + mine @ mine.T
    for part in parts.values():
        if np.trace(part) > LARGEST:
            values, vectors = np.linalg.eigh(part)
            if values[-1] > LARGEST:
                return np.asarray(vectors[:, -1], np.float64)
    return None


def _buckets(units: Hashes) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return (units % np.uint64(_BUCKETS)).astype(np.int64)
