"""A release decided: which cells of an aggregate may leave, rule by rule, and which figures the ledger must know then."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from blossom.policy.cells import Cells, Track
from blossom.policy.facets import Facet
from blossom.policy.ledger import Book, Figure
from blossom.policy.sketch import Sketches, differing
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
    deciding.hide("differencing", cells.judged[_apart(cells)])
    # before the companions of hidden cells are chosen: one that is hidden anyway is companion enough
    alone = deciding.differencing(book)
    deciding.secondary()
    together = deciding.totals(book)
    figures = (*(figure for place in deciding.shown().tolist() for figure in alone[place]), *together)
    return Decision(~deciding.hidden, dict(deciding.count), figures)


def _apart(cells: Cells) -> Bools:
    """In which cells facets differ by the rows of a few units, or one from two others together: they would describe these few.

    So would two values folded over the same rows that are equal but for a few units.
    """
    found = np.zeros(len(cells.judged), np.bool_)
    for tracks in cells.tracks:
        different = {id(track.sketch): track.sketch for track in tracks}
        for one, other in combinations(different.values(), 2):
            found |= _few(one - other, tracks[0].least)
        for one, two, three in combinations(different.values(), 3):
            for left in (one - two - three, two - one - three, three - one - two):
                found |= _few(left, tracks[0].least)
        folded = [(track.sketch, one) for track in tracks for one in track.contents.values()]
        for (rows, one), (others, other) in combinations(folded, 2):
            apart = _few(one - other, tracks[0].least)
            if apart.any():
                found |= apart & ~(rows - others).any(axis=1)
    return found


def _few(left: Sketches, least: int) -> Bools:
    apart = differing(left, np.zeros_like(left))
    return (apart > 0) & (apart < least)


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
            self.sizes[cells.judged] = (first.counts << 32) + np.minimum(first.rows, (1 << 32) - 1)
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

    def differencing(self, book: Book) -> dict[int, list[Figure]]:
        """Hold back what differs too little from what is known; gives each other cell's figures that are not known yet."""
        shown = self.shown()
        shown = shown[np.argsort(-self.sizes[self.cells.judged[shown]], kind="stable")]  # large ones first
        conflicts, fresh = self._judged([np.array([place]) for place in shown], book)
        self.hide("differencing", self.cells.judged[shown[conflicts]])
        return dict(zip(shown.tolist(), fresh, strict=True))

    def shown(self) -> Ints:
        """Which of the judged cells are not held back."""
        return np.flatnonzero(~self.hidden[self.cells.judged])

    def _judged(self, groups: Sequence[Ints], book: Book) -> tuple[Bools, list[list[Figure]]]:
        """Of some groups of cells: which may not be known together, and each one's figures that are not known yet."""
        figures = [list(_figures(self.cells, places)) for places in groups]
        conflicts, known = book.judge([figure for own in figures for figure in own])
        found, fresh, at = np.zeros(len(groups), np.bool_), list[list[Figure]](), 0
        for number, own in enumerate(figures):
            stop = at + len(own)
            found[number] = conflicts[at:stop].any()
            fresh.append([f for f, k in zip(own, known[at:stop], strict=True) if not k])
            at = stop
        return found, fresh

    def totals(self, book: Book) -> list[Figure]:
        """The totals of shown cells, which anyone can make, as figures of their own; the total of all comes last.

        What is hidden because of one total is missing in the others: they are made anew until none is hidden any more.
        """
        settled: dict[tuple[int, ...], list[Figure]] = {}
        while True:
            waiting = [group for group in self._groups() if tuple(group) not in settled]
            if not waiting:
                break
            conflicts, fresh = self._judged(waiting, book)
            for group, conflict, figures in zip(waiting, conflicts, fresh, strict=True):
                if not conflict:
                    settled[tuple(group)] = figures
                elif not self.hidden[self.cells.judged[group]].any():  # else it is another total by now
                    smallest = group[np.argmin(self.sizes[self.cells.judged[group]])]
                    self.hide("differencing", self.cells.judged[smallest : smallest + 1])
        return [figure for group in self._groups() for figure in settled[tuple(group)]]

    def _groups(self) -> list[Ints]:
        """The cells of each total of at least two shown ones, each total once."""
        shown = self.shown()
        found: dict[tuple[int, ...], Ints] = {}
        for slices in reversed(self.slices):
            own = slices[self.cells.judged][shown]
            order = np.argsort(own, kind="stable")
            for group in np.split(shown[order], np.flatnonzero(np.diff(own[order])) + 1):
                if len(group) > 1:
                    found.setdefault(tuple(group), group)
        return list(found.values())


def _figures(cells: Cells, places: Ints) -> Iterator[Figure]:
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


def _contents(track: Track, facet: Facet, places: Ints) -> list[dict[str, NDArray[np.uint32]]]:
    """Contents by label; all of a value's together; one more mapping where two values share a label."""
    found: list[dict[str, NDArray[np.uint32]]] = [{}]
    for content in facet.contents:
        if not content.labels:
            continue
        sketch = _sum(track.contents[content.factors], places)
        own = dict.fromkeys(sorted(content.labels), sketch)
        for one in found:
            if not own.keys() & one.keys():
                one.update(own)
                break
        else:
            found.append(own)
    return found


def _sum(sketches: Sketches, places: Ints) -> NDArray[np.uint32]:
    return sketches[places].sum(axis=0, dtype=np.uint32)
