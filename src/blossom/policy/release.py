"""A release decided: which cells of an aggregate may leave, rule by rule, and which figures the ledger must know then."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from blossom.policy.cells import Cells, Track
from blossom.policy.facets import Facet
from blossom.policy.ledger import Book, Figure
from blossom.policy.sketch import differing
from blossom.policy.suppression import secondary, totals

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

HIDDEN_BY = ("min_group", "dominance", "secondary", "differencing")
"""The rules that hold cells back, in the order in which they are asked."""


@dataclass(frozen=True, slots=True, eq=False)
class Decision:
    """What may leave of a release.

    Attributes:
        shown: Which cells, one a row of the query's result.
        hidden: How many cells each rule held back. For the site's own log: even whether it is 0 tells something.
        figures: What the ledger must know before they leave; what it knew already is left out.
    """

    shown: Bools
    hidden: Mapping[str, int]
    figures: tuple[Figure, ...]


def decide(cells: Cells, keys: pa.Table, book: Book) -> Decision:
    """Decide a release.

    Args:
        cells: Its cells, read.
        keys: Their group keys, one row a cell.
        book: The ledger. It is not changed.
    """
    deciding = _Deciding(cells, totals(keys, cells.number))
    deciding.hide("min_group", cells.judged[cells.few()])
    deciding.hide("dominance", cells.judged[cells.dominated])
    deciding.secondary()
    deciding.hide("differencing", cells.judged[_apart(cells)])
    deciding.secondary()
    figures = deciding.differencing(book)
    return Decision(~deciding.hidden, dict(deciding.count), figures)


def _apart(cells: Cells) -> Bools:
    """In which cells two facets differ by the rows of a few units: the two figures would describe these few."""
    found = np.zeros(len(cells.judged), np.bool_)
    for tracks in cells.tracks:
        for i, one in enumerate(tracks):
            for other in tracks[:i]:
                if one.sketch is not other.sketch:
                    apart = differing(one.sketch, other.sketch)
                    found |= (apart > 0) & (apart < one.least)
    return found


@dataclass(slots=True)
class _Deciding:
    cells: Cells
    slices: tuple[Ints, ...]
    hidden: Bools = field(init=False)
    few: list[Bools] = field(init=False, default_factory=list)
    sizes: Ints = field(init=False)
    count: dict[str, int] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        cells = self.cells
        self.hidden = np.ones(cells.number, np.bool_)
        self.hidden[cells.judged] = False
        self.count = dict.fromkeys(HIDDEN_BY, 0)
        self.count["min_group"] = cells.number - len(cells.judged)
        self.sizes = np.zeros(cells.number, np.int64)
        if cells.tracks:
            first = cells.tracks[0][0]
            # buckets filled grow with units until all are full; then rows decide
            self.sizes[cells.judged] = (first.counts << 32) + np.minimum(
                first.rows.sum(axis=1), (1 << 32) - 1
            )
        for tracks in cells.tracks:
            few = np.ones(cells.number, np.bool_)
            few[cells.judged] = tracks[0].counts < tracks[0].least
            self.few.append(few)

    def hide(self, rule: str, which: Ints) -> None:
        """Hold cells back."""
        fresh = which[~self.hidden[which]]
        self.hidden[fresh] = True
        self.count[rule] += len(fresh)

    def secondary(self) -> None:
        """Hold back what would give the hidden cells away."""
        while True:
            before = int(self.hidden.sum())
            for i, unit in enumerate(self.cells.units):
                hidden = secondary(
                    self.hidden, self.few[i], self.sizes, self.cells.small(i), unit.min_group, self.slices
                )
                self.hide("secondary", np.flatnonzero(hidden & ~self.hidden))
            if int(self.hidden.sum()) == before:
                return

    def differencing(self, book: Book) -> tuple[Figure, ...]:
        """Hold back what differs too little from what is known; gives the figures that are not known yet."""
        shown = self._shown()
        alone = [list(_figures(self.cells, place)) for place in shown]
        fresh: list[list[Figure]] = []
        conflicts, known = book.judge([figure for figures in alone for figure in figures])
        at = 0
        kept: dict[int, list[Figure]] = {}
        for place, figures in zip(shown, alone, strict=True):
            stop = at + len(figures)
            if conflicts[at:stop].any():
                self.hide("differencing", self.cells.judged[place : place + 1])
            else:
                kept[int(place)] = [f for f, k in zip(figures, known[at:stop], strict=True) if not k]
            at = stop
        for slices in self.slices:
            fresh += self._totals(slices, book)
        left = set(self._shown().tolist())
        mine = [figure for place, figures in kept.items() if place in left for figure in figures]
        return (*mine, *(figure for figures in fresh for figure in figures))

    def _shown(self) -> Ints:
        return np.flatnonzero(~self.hidden[self.cells.judged])

    def _totals(self, slices: Ints, book: Book) -> list[list[Figure]]:
        """The totals of shown cells, which anyone can make, as figures of their own."""
        own = slices[self.cells.judged]
        fresh: list[list[Figure]] = []
        for number in np.unique(own[self._shown()]):
            while True:
                members = self._shown()
                members = members[own[members] == number]
                if len(members) < 2:
                    break
                figures = list(_figures(self.cells, members))
                conflicts, known = book.judge(figures)
                if not conflicts.any():
                    fresh.append([f for f, k in zip(figures, known, strict=True) if not k])
                    break
                smallest = members[np.argmin(self.sizes[self.cells.judged[members]])]
                self.hide("differencing", self.cells.judged[smallest : smallest + 1])
        return fresh


def _figures(cells: Cells, places: Ints | np.int64) -> Iterator[Figure]:
    """The figures of one judged cell, or of several together; facets that hold the same rows are one."""
    for tracks in cells.tracks:
        found: list[tuple[NDArray[np.uint32], dict[str, NDArray[np.uint32]]]] = []
        for track, facet in zip(tracks, cells.facets, strict=True):
            if track.least <= 1:
                continue  # the owner lets figures about single units leave
            rows = _sum(track.sketch, places)
            for contents in _contents(track, facet, places):
                for known, others in found:
                    if np.array_equal(known, rows) and not contents.keys() & others.keys():
                        others.update(contents)
                        break
                else:
                    found.append((rows, contents))
        for rows, contents in found:
            yield Figure(tracks[0].least, rows, contents)


def _contents(track: Track, facet: Facet, places: Ints | np.int64) -> list[dict[str, NDArray[np.uint32]]]:
    """Contents by label; one more mapping where two values of a facet have the same label."""
    found: list[dict[str, NDArray[np.uint32]]] = [{}]
    for content in facet.contents:
        if not content.labels:
            continue
        sketch = _sum(track.contents[content.factors], places)
        for label in sorted(content.labels):
            for one in found:
                if label not in one:
                    one[label] = sketch
                    break
            else:
                found.append({label: sketch})
    return found


def _sum(sketches: NDArray[np.uint32], places: Ints | np.int64) -> NDArray[np.uint32]:
    if isinstance(places, np.ndarray):
        return sketches[places].sum(axis=0, dtype=np.uint32)
    return sketches[places].copy()
