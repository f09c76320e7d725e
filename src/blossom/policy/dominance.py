"""Rule 2, dominance: no unit may contribute so much to a figure that the figure nearly tells its value.

The p-percent rule of official statistics (Willenborg and de Waal, "Elements of Statistical Disclosure Control", 2001): whoever is
the second largest could work out the largest to within p percent where all the others together contribute less than p percent of it.
Contributions are absolute: sums of |x| for sums and means, of squared deviations from the cell's mean for variances and
covariances. Values that are not finite count as 0: a figure made of them has no value. But where a value is not finite for
a few units only, the figure tells of these alone (or that they are beyond a threshold: x * 1e300 overflows), so these dominate. So do the few whose values are not 0 where all others' are:
a sum of salary times a rare flag describes those who have it, and no one else.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from blossom.policy.facets import Weight
from blossom.policy.scatter import Scatter

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

PERCENT = 10.0
"""The rule's p."""

_NOISE = 1e-12
"""Deviations smaller than this part of the values are rounding."""

_CLEAR = 1e6
"""How much larger squares may be than squared deviations computed from them."""


def dominated(contributions: Floats) -> Bools:
    """In which cells one unit dominates.

    Args:
        contributions: Shape (cells, units), none negative.

    >>> dominated(np.array([[5.0, 5.0, 0.5], [5.0, 5.0, 0.4], [0.0, 0.0, 0.0]])).tolist()
    [False, True, False]
    """
    if contributions.shape[1] < 2:
        contributions = np.pad(contributions, ((0, 0), (0, 2 - contributions.shape[1])))
    beyond = ~np.isfinite(contributions).all(axis=1)  # sums of finite values that overflow cannot be compared
    top = np.partition(contributions, contributions.shape[1] - 2, axis=1)
    # summed without the two, as a difference of large sums would lose the small rest
    with np.errstate(over="ignore", invalid="ignore"):
        rest = top[:, :-2].sum(axis=1)
        return beyond | (rest < PERCENT / 100 * top[:, -1]) | ~np.isfinite(rest)


class Contributions:
    """What buckets of units contribute to the figures folded from one value, cell by cell."""

    def __init__(
        self, weights: Collection[Weight], shape: tuple[int, int], *, computed: bool = False
    ) -> None:
        self._shape = shape
        self._computed = computed
        self._wild: Ints | None = None
        self._size = Scatter(shape, np.float64) if "size" in weights else None
        self._spread = tuple(Scatter(shape, np.float64) for _ in range(3)) if "spread" in weights else None
        """Rows, sums and sums of squares."""
        self._shift: float | None = None

    def add(self, slots: Ints, values: pa.Array) -> None:
        """Take in values by slot (cell and bucket)."""
        x = numbers(values)
        finite = np.isfinite(x)
        if not finite.all():
            if self._computed:
                if self._wild is None:
                    self._wild = np.zeros(self._shape, np.int64)
                np.add.at(self._wild.reshape(-1), slots[~finite], 1)
            x = np.where(finite, x, 0.0)
        if self._size is not None:
            self._size.add(slots, np.abs(x))
        if self._spread is not None:
            if self._shift is None:
                self._shift = float(x.mean()) if len(x) else 0.0
            with np.errstate(over="ignore", invalid="ignore"):
                x = x - self._shift
                for part, of in zip(self._spread, (np.ones(len(x)), x, x * x), strict=True):
                    part.add(slots, of)

    def dominated(self, least: int) -> Bools:
        """In which cells a unit may dominate: surely in no other. A bucket holds at least what its largest unit contributes."""
        found = np.zeros(self._shape[0], np.bool_)
        if self._wild is not None:
            wild = np.count_nonzero(self._wild, axis=1)
            found |= (wild > 0) & (wild < least)
        if self._size is not None:
            sums = self._size.sums
            some = np.count_nonzero(sums, axis=1)
            found |= dominated(sums) | ((some > 0) & (some < least))
        if self._spread is not None:
            rows, sums, squares = (part.sums for part in self._spread)
            spread = _spread(rows, sums, squares)
            with np.errstate(over="ignore", invalid="ignore"):
                # far from the values' common mean, a cell's own deviations drown in rounding
                unclear = ~(squares.sum(axis=1) <= _CLEAR * spread.sum(axis=1))
            found |= dominated(spread) | (unclear & (squares != 0).any(axis=1))
        return found


def dominated_by(
    values: Floats, unit: Ints, weights: Collection[Weight], least: int, *, computed: bool = False
) -> bool:
    """Whether one unit dominates a cell.

    Args:
        values: The cell's values.
        unit: The number of each one's unit.
        weights: How units contribute.
        least: The smallest group.
        computed: Whether the value was computed, and not stored.
    """
    finite = np.isfinite(values)
    if not finite.all():
        if computed and len(np.unique(unit[~finite])) < least:
            return True
        values = np.where(finite, values, 0.0)
    if "size" in weights:
        sizes = _sums(unit, np.abs(values))
        if dominated(sizes)[0] or 0 < np.count_nonzero(sizes) < least:
            return True
    if "spread" not in weights:
        return False
    x = values - values.mean()
    rows = np.bincount(unit).astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        spread = _spread(rows[None, :], _sums(unit, x), _sums(unit, x * x))
        if spread.sum() <= _NOISE * _NOISE * (values * values).sum():
            return False  # all values are equal: what is left is rounding
    return bool(dominated(spread)[0])


def _sums(unit: Ints, values: Floats) -> Floats:
    """The sum of each unit's values, shape (1, units)."""
    return np.asarray(np.bincount(unit, values), np.float64)[None, :]


def _spread(rows: Floats, sums: Floats, squares: Floats) -> Floats:
    """Squared deviations from the cell's mean, of each bucket or unit; shapes (cells, units)."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        total = rows.sum(axis=1, keepdims=True)
        mean = np.where(total > 0, sums.sum(axis=1, keepdims=True) / np.maximum(total, 1), 0.0)
        spread = squares - 2 * mean * sums + rows * mean * mean
    return np.where(spread < 0, 0.0, spread)


def product(factors: Sequence[pa.Array]) -> pa.Array:
    """The product of columns, row by row; a single one as it is."""
    if len(factors) == 1:
        return factors[0]
    found = numbers(factors[0])
    with np.errstate(over="ignore", invalid="ignore"):
        for factor in factors[1:]:
            found = found * numbers(factor)
    return pa.array(found)


def numbers(values: pa.Array) -> Floats:
    """Values as float64; nulls, which no facet holds, as 0."""
    if pa.types.is_boolean(values.type):
        values = values.cast(pa.int8())
    found = values.cast(pa.float64(), safe=False)
    return np.asarray((found.fill_null(0.0) if found.null_count else found).to_numpy(zero_copy_only=False))
