"""A second look at the cells where buckets of units could not rule out that one unit dominates: unit by unit, exactly."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from blossom.policy.dominance import dominated_by, numbers, product
from blossom.policy.facets import Facet
from blossom.policy.sketch import Words
from blossom.policy.states import Unit

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]


class Weighing:
    """What each unit contributes to the suspected cells.

    Args:
        units: The kinds of unit.
        facets: The sets of rows looked at.
        number: Cells, suspected or not.
    """

    def __init__(self, units: Sequence[Unit], facets: Sequence[Facet], number: int) -> None:
        self._units, self._facets, self._number = units, facets, number
        self._taken: dict[tuple[int, int, tuple[str, ...]], list[tuple[Ints, Words, Floats]]] = {}

    def add(
        self, i: int, rows: pa.RecordBatch, cells: Ints, hashes: Words, there: Bools | None,
        masks: Sequence[Bools | None],
    ) -> None:  # fmt: skip
        """Take in rows of suspected cells.

        Args:
            i: The kind of unit.
            rows: The detail's rows.
            cells: The cell of each.
            hashes: The hash of each one's unit.
            there: Which rows have a unit (None: all).
            masks: Which rows each facet holds (None: all).
        """
        for number, facet in enumerate(self._facets):
            mask = masks[number]
            own = mask if there is None else there if mask is None else there & mask
            for content in facet.contents:
                if (content.weights or content.computed) and (own is None or own.any()):
                    values = numbers(product([rows.column(factor) for factor in content.factors]))
                    part = (cells, hashes, values) if own is None else (cells[own], hashes[own], values[own])
                    self._taken.setdefault((i, number, content.factors), []).append(part)

    def dominated(self) -> Bools:
        """Which cells one unit dominates."""
        found = np.zeros(self._number, np.bool_)
        for (i, number, factors), parts in self._taken.items():
            least = self._units[i].min_group
            content = next(one for one in self._facets[number].contents if one.factors == factors)
            places = np.concatenate([part[0] for part in parts])
            order = np.argsort(places, kind="stable")
            units = np.concatenate([part[1] for part in parts])[order]
            values = np.concatenate([part[2] for part in parts])[order]
            own, starts = np.unique(places[order], return_index=True)
            for place, start, stop in zip(own, starts, [*starts[1:], len(places)], strict=True):
                _, unit = np.unique(units[start:stop], return_inverse=True)
                found[place] |= dominated_by(
                    values[start:stop], unit, content.weights, least, computed=content.computed
                )
        return found
