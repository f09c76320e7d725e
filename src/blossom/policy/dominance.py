"""Rule 2, dominance: no unit may contribute so much to a figure that the figure nearly tells its value.

The p-percent rule of official statistics (Willenborg and de Waal, "Elements of Statistical Disclosure Control", 2001): whoever is
the second largest could work out the largest to within p percent where all the others together contribute less than p percent of it.
Contributions are absolute: sums of |x| for sums and means, of squared deviations from the cell's mean for variances and
covariances. Values that are not finite count as 0: a figure made of them has no value. But where a computed value is not finite for
a few units only, the figure tells that they are beyond a threshold that the user chose (x * 1e300 overflows), so these dominate.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from blossom.policy.facets import Weight

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
        self._size = np.zeros(shape) if "size" in weights else None
        self._sum = np.zeros(shape) if "spread" in weights else None
        self._square = np.zeros(shape) if "spread" in weights else None
        self._shift: float | None = None

    def add(self, slots: Ints, values: pa.Array) -> None:
        """Take in values by slot (cell and bucket)."""
        x = numbers(values)
        length = self._shape[0] * self._shape[1]
        finite = np.isfinite(x)
        if not finite.all():
            if self._computed:
                wild = np.bincount(slots[~finite], minlength=length).reshape(self._shape)
                self._wild = wild if self._wild is None else self._wild + wild
            x = np.where(finite, x, 0.0)
        if self._size is not None:
            self._size += np.bincount(slots, np.abs(x), length).reshape(self._shape)
        if self._sum is not None and self._square is not None:
            if self._shift is None:
                self._shift = float(x.mean()) if len(x) else 0.0
            with np.errstate(over="ignore", invalid="ignore"):
                x = x - self._shift
                self._sum += np.bincount(slots, x, length).reshape(self._shape)
                self._square += np.bincount(slots, x * x, length).reshape(self._shape)

    def dominated(self, rows: Ints, least: int) -> Bools:
        """In which cells a unit may dominate: surely in no other. A bucket holds at least what its largest unit contributes."""
        found = np.zeros(self._shape[0], np.bool_)
        if self._wild is not None:
            wild = np.count_nonzero(self._wild, axis=1)
            found |= (wild > 0) & (wild < least)
        if self._size is not None:
            found |= dominated(self._size)
        if self._sum is not None and self._square is not None:
            counts = rows.astype(np.float64)
            spread = _spread(counts, self._sum, self._square)
            with np.errstate(over="ignore", invalid="ignore"):
                # far from the values' common mean, a cell's own deviations drown in rounding
                unclear = ~(self._square.sum(axis=1) <= _CLEAR * spread.sum(axis=1))
            found |= dominated(spread) | (unclear & (self._square != 0).any(axis=1))
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
    if "size" in weights and dominated(_sums(unit, np.abs(values)))[0]:
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
