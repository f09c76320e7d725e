"""Rule 3, secondary suppression: a total less the shown cells must not give away the few people of a hidden one.

In one release, and in every total that can be made of it by leaving group keys out, the units in hidden cells together number 0
or at least `min_group`; else the next smallest cell is hidden too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from blossom.policy.sketch import Words

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_ALL_SUBSETS = 4
"""Up to this many keys every subset is a total; with more, those that leave out one key, and the total of all."""


def totals(keys: pa.Table, number: int) -> tuple[Ints, ...]:
    """For each total that can be made of a release: which one each cell belongs to.

    Args:
        keys: The group keys, one row a cell.
        number: How many cells there are.

    >>> keys = pa.table({"city": ["a", "a", "b"], "sex": ["f", "m", "f"]})
    >>> [slices.tolist() for slices in totals(keys, 3)]
    [[0, 0, 0], [0, 0, 1], [0, 1, 0]]
    """
    codes = [_codes(column) for column in keys.columns]
    return tuple(_slices([codes[i] for i in chosen], number) for chosen in _subsets(len(codes)))


def _subsets(keys: int) -> Iterator[tuple[int, ...]]:
    if not keys:
        return
    if keys <= _ALL_SUBSETS:
        for size in range(keys):
            yield from combinations(range(keys), size)
    else:
        yield ()
        yield from combinations(range(keys), keys - 1)


def _codes(column: pa.ChunkedArray) -> Ints:
    encoded = column.combine_chunks().dictionary_encode(null_encoding="encode")
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    return encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)


def _slices(codes: Sequence[Ints], number: int) -> Ints:
    found = np.zeros(number, np.int64)
    for code in codes:
        _, found = np.unique(found * (int(code.max(initial=0)) + 1) + code, return_inverse=True)
    return found


def secondary(
    hidden: Bools, few: Bools, sizes: Ints, small: tuple[Ints, Words], least: int, slices: Sequence[Ints]
) -> Bools:
    """Which cells are to be hidden, those already hidden among them.

    Args:
        hidden: Which cells are hidden by themselves.
        few: Which of them hold fewer than `least` units; every other cell holds more.
        sizes: A number for each cell that grows with its units; decides which is the next smallest.
        small: The units of the cells in `few`, as pairs of cell and unit.
        least: The smallest group.
        slices: The totals, from `totals`.

    One cell more is always enough: a shown one holds at least `least` units.
    """
    hidden = hidden.copy()
    cells, units = small
    if not few.any():
        return hidden
    settled = False
    while not settled:
        settled = True
        # the finest totals first: a companion in one of them is one in the coarser ones too
        for slice_ in reversed(slices):
            count = int(slice_.max(initial=-1)) + 1
            # slices with a hidden cell that alone holds enough
            enough = np.bincount(slice_[hidden & ~few], minlength=count) > 0
            together = _distinct(slice_[cells], units, count)
            short = ~enough & (together > 0) & (together < least)
            for number in np.flatnonzero(short):
                shown = np.flatnonzero((slice_ == number) & ~hidden)
                if len(shown):
                    hidden[shown[np.argmin(sizes[shown])]] = True
                    settled = False
    return hidden


def _distinct(slices: Ints, units: Words, count: int) -> Ints:
    """Distinct units of each slice."""
    order = np.lexsort((units, slices))
    slices, units = slices[order], units[order]
    first = np.ones(len(slices), np.bool_)
    first[1:] = (slices[1:] != slices[:-1]) | (units[1:] != units[:-1])
    return np.bincount(slices[first], minlength=count)
