"""The cells of a release as the rules see them: for each its units, what they contribute, and sketches of its rows.

Rows are read once, as a stream; memory grows with cells, not with rows. Units are counted exactly below `min_group`. What units
contribute is first bounded by buckets of units; only cells that the bound cannot clear are looked at again, exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import copy

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from blossom.plan.errors import PolicyError, SiteError
from blossom.policy.dominance import Contributions, product
from blossom.policy.facets import Facet
from blossom.policy.keys import Index
from blossom.policy.pairs import Collected, Pairs, joined
from blossom.policy.sketch import Hashing, Sketches, Sums, Words
from blossom.policy.states import Unit, null_column, unit_column
from blossom.policy.weighing import Weighing

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

CHUNK = 1 << 16
"""Rows looked at together, at most: what is made of them stays in the processor's cache."""

_SMALL = 1 << 14
"""Batches smaller than this are joined first."""

MOST_CELLS = 1 << 15
"""Cells with rows enough to leave, in one release: each costs a few kilobytes while it is judged."""


class Changed(SiteError):
    """A table changed between two looks at it."""


class Track:
    """One kind of unit on one facet, over the cells that are judged. Known once all rows were read:

    Attributes:
        rows: Rows of each cell that have a unit; shape (cells,), as all arrays but sketches, which are (cells, size).
        sketch: Sums of the units' hashes.
        contents: Sums of the contents' hashes, by the content's factors.
        counts: Distinct units of each cell, exact below `least`; above it no more than there are.
        few: The units of cells with fewer than `least`: what secondary suppression counts.
        sums: What the buckets contribute, by the content's factors.
    """

    rows: Ints
    sketch: Sketches
    counts: Ints
    few: Pairs

    def __init__(self, facet: Facet, cells: int, hashing: Hashing, least: int) -> None:
        self.least = least
        self.contents: dict[tuple[str, ...], Sketches] = {}
        self.sums = {
            content.factors: Contributions(content.weights, (cells, hashing.width), computed=content.computed)
            for content in facet.contents
            if content.weights or content.computed
        }
        self.folded = {content.factors: Sums(cells, hashing) for content in facet.contents if content.labels}
        """Of contents, while rows are read."""
        self._units = Units(cells, hashing, least)

    def like(self, other: Track) -> None:
        """Go on from what another track has counted."""
        self._units = other._units.copy()

    def add(self, cells: Ints, slots: Sequence[Ints], hashes: Words) -> None:
        """Count rows: the cell of each, its slots in the sketches, and its unit's hash."""
        self._units.add(cells, slots, hashes)

    def settle(self) -> None:
        """No more rows come."""
        self.rows, self.sketch, self.counts, self.few = self._units.settled()

    def share(self, other: Track) -> None:
        """The rows are those of another track, settled before."""
        self.rows, self.sketch, self.counts, self.few = other.rows, other.sketch, other.counts, other.few

    def close(self) -> None:
        """Make sketches of the contents."""
        self.contents = {factors: sums.sketches() for factors, sums in self.folded.items()}
        self.folded = {}


class Units:
    """The units of the rows seen so far, cell by cell.

    Buckets tell units apart without a dictionary: as soon as a cell fills `least` of them it has enough. Until then its units are
    collected one by one.
    """

    def __init__(self, cells: int, hashing: Hashing, least: int) -> None:
        self._least = least
        self._sums = Sums(cells, hashing)
        self._rows = np.zeros(cells, np.int64)
        self._open = np.ones(cells, np.bool_)
        self._opened = cells
        self._unsure = 0
        self._pairs = Collected()

    def copy(self) -> Units:
        """The same, to go on from apart."""
        copied = copy(self)
        copied._sums, copied._pairs = self._sums.copy(), self._pairs.copy()
        copied._rows, copied._open = self._rows.copy(), self._open.copy()
        return copied

    def add(self, cells: Ints, slots: Sequence[Ints], hashes: Words) -> None:
        """Take in rows: the cell of each, its slots in the sketches, and its unit's hash."""
        self._rows += np.bincount(cells, minlength=len(self._rows))
        self._sums.add(slots, hashes)
        if not self._opened:
            return
        self._unsure += len(cells)
        if self._unsure >= self._opened:  # else a look at all open cells would cost more than it saves
            self._look()
            if not self._opened:
                return
        few = self._open[cells]
        self._pairs.add(cells[few], hashes[few])

    def _look(self) -> None:
        places = np.flatnonzero(self._open)
        self._open[places[self._sums.filled(places) >= self._least]] = False
        self._opened, self._unsure = int(np.count_nonzero(self._open)), 0

    def settled(self) -> tuple[Ints, Sketches, Ints, Pairs]:
        """Rows, sketches, counts of units, and the units of the cells with few."""
        places = np.arange(len(self._rows))
        # a bucket that was filled may have come to zero again; what was counted before holds
        counts = np.maximum(self._sums.filled(places), self._least)
        cells, units = self._pairs.pairs()
        inside = self._open[cells]
        cells, units = cells[inside], units[inside]
        counts[self._open] = np.bincount(cells, minlength=len(counts))[self._open]
        few = (counts < self._least)[cells]
        return self._rows, self._sums.sketches(), counts, (cells[few], units[few])


class Cells:
    """The cells of one release.

    Args:
        keys: The group keys as the query gave them, one row a cell; a table without columns for a single cell.
        controls: Rows of each facet in each cell, as the query counted them.
        units: The kinds of unit.
        facets: The sets of rows looked at.
        hashing: The site's hashes.
    """

    def __init__(
        self,
        keys: pa.Table,
        controls: Sequence[Ints],
        units: Sequence[Unit],
        facets: Sequence[Facet],
        hashing: Hashing,
    ) -> None:
        self.number = len(controls[0])
        self.units, self.facets = tuple(units), tuple(facets)
        self._controls = controls
        self._hashing = hashing
        self._index = Index(keys, self.number)
        self._keys = [f"__key_{i}" for i in range(keys.num_columns)]
        least = min((unit.min_group for unit in self.units), default=1)
        self.judged = np.flatnonzero(controls[0] >= max(least, 1))
        """The cells with as many rows as the smallest group has units; no other can leave."""
        if len(self.judged) > MOST_CELLS:
            raise PolicyError(
                f"a release of {len(self.judged)} groups is too large to be judged",
                hint=f"ask for at most {MOST_CELLS} groups at once",
            )
        self._place = np.full(self.number + 1, -1, np.int64)
        self._place[self.judged] = np.arange(len(self.judged))
        self._partly = len(self.judged) < self.number
        self.tracks = tuple(
            tuple(Track(facet, len(self.judged), hashing, max(unit.min_group, 1)) for facet in self.facets)
            for unit in self.units
        )
        """For each kind of unit one track a facet."""
        self._apart = [[number == 0 for number in range(len(self.facets))] for _ in self.units]
        self._tiny = [Collected() for _ in self.units]
        self.dominated: Bools = np.zeros(len(self.judged), np.bool_)
        """Of the judged cells: in which one unit outweighs the others."""

    # ---- reading

    def read(self, rows: Callable[[], Iterable[pa.RecordBatch]]) -> None:
        """Look at the rows, a second time where units may dominate.

        Args:
            rows: Gives the detail's rows, each time from the start.

        Raises:
            Changed: The rows are not those that the query counted.
        """
        counted = [np.zeros(self.number, np.int64) for _ in self.facets]
        for chunk in chunks(rows()):
            self._add(chunk, counted)
        self._compare(counted)
        for tracks, apart in zip(self.tracks, self._apart, strict=True):
            for track, own in zip(tracks, apart, strict=True):
                if own:
                    track.settle()
                else:
                    track.share(tracks[0])
                track.close()
        self._weigh(rows)

    def _weigh(self, rows: Callable[[], Iterable[pa.RecordBatch]]) -> None:
        """Who dominates? Buckets of units clear most cells; the others are looked at unit by unit."""
        suspects = np.zeros(
            len(self.judged) + 1, np.bool_
        )  # the last one stands for cells that are not judged
        for tracks in self.tracks:
            for track in tracks:
                if track.least > 1:
                    for sums in track.sums.values():
                        suspects[:-1] |= sums.dominated(track.least) & (track.counts >= track.least)
        if not suspects.any():
            return
        weighing = Weighing(self.units, self.facets, len(self.judged))
        counted = [np.zeros(self.number, np.int64) for _ in self.facets]
        for chunk in chunks(rows()):
            cells, masks = self._seen(chunk, counted)
            places = self._place[cells]
            chosen = np.flatnonzero(suspects[places])
            if not len(chosen):
                continue
            own = chunk.take(pa.array(chosen))
            for i in range(len(self.units)):
                hashes, there = self._unit_hashes(own, i)
                weighing.add(
                    i, own, places[chosen], hashes, there,
                    [None if mask is None else mask[chosen] for mask in masks],
                )  # fmt: skip
        self._compare(counted)
        self.dominated = weighing.dominated()

    def _compare(self, counted: Sequence[Ints]) -> None:
        if not all(np.array_equal(a, b) for a, b in zip(counted, self._controls, strict=True)):
            raise Changed("the table changed while it was read, so nothing leaves", hint="ask again")

    def _seen(self, chunk: pa.RecordBatch, counted: list[Ints]) -> tuple[Ints, list[Bools | None]]:
        """Each row's cell, and which rows each facet holds (None: all)."""
        cells = self._index.cells([chunk.column(name) for name in self._keys], chunk.num_rows)
        masks = [_mask(chunk, facet) for facet in self.facets]
        whole = None
        for number, mask in enumerate(masks):
            if mask is None and whole is not None:
                counts = whole
            else:
                inside = cells if mask is None else cells[mask]
                counts = np.bincount(inside, minlength=self.number + 1)[: self.number]
            whole = counts if mask is None else whole
            counted[number] += counts
        return cells, masks

    def _add(self, chunk: pa.RecordBatch, counted: list[Ints]) -> None:
        cells, masks = self._seen(chunk, counted)
        partly = self._partly or bool((cells == self.number).any())
        places = self._place[cells] if partly else cells
        outside = places < 0 if partly else None
        if outside is not None and not outside.any():
            outside = None
        for i in range(len(self.units)):
            hashes, there = self._unit_hashes(chunk, i)
            usable = there
            if outside is not None:
                small = outside & (cells < self.number)
                if there is not None:
                    small &= there
                self._tiny[i].add(cells[small], hashes[small])
                usable = ~outside if there is None else there & ~outside
            self._fill(chunk, i, places, hashes, usable, masks)

    def _unit_hashes(self, chunk: pa.RecordBatch, i: int) -> tuple[Words, Bools | None]:
        """The hash of each row's unit, and which rows have one (None: all)."""
        values = chunk.column(unit_column(i))
        hashes = self._hashing.units(values)
        if not values.null_count:
            return hashes, None
        missing = values.is_null().to_numpy(zero_copy_only=False)
        null = chunk.column(null_column(i)).fill_null(0).to_numpy(zero_copy_only=False) == 1
        hashes = np.where(missing, self._hashing.null, hashes)
        there = ~missing | null
        return hashes, None if there.all() else there

    def _fill(
        self, chunk: pa.RecordBatch, i: int, places: Ints, hashes: Words, usable: Bools | None,
        masks: Sequence[Bools | None],
    ) -> None:  # fmt: skip
        turns = self._hashing.slots(places, hashes)
        tracks, apart = self.tracks[i], self._apart[i]
        # the first facet comes last: a facet that turns out to be smaller goes on from what the first one was before
        for number in reversed(range(len(self.facets))):
            track, mask, facet = tracks[number], masks[number], self.facets[number]
            if mask is not None and not apart[number]:
                apart[number] = True
                track.like(tracks[0])
            chosen = usable if mask is None else mask if usable is None else usable & mask
            at, own, into = places, hashes, turns
            if chosen is not None:
                at, own, into = places[chosen], hashes[chosen], [turn[chosen] for turn in turns]
            if apart[number]:
                track.add(at, into, own)
            for content in facet.contents:
                values = product([chunk.column(factor) for factor in content.factors])
                if chosen is not None:
                    values = values.filter(pa.array(chosen))
                if content.labels:
                    track.folded[content.factors].add(into, self._hashing.contents(own, values))
                if content.factors in track.sums:
                    track.sums[content.factors].add(into[0], values)

    # ---- what the rules ask

    def few(self) -> Bools:
        """Of the judged cells: in which some facet holds fewer units than a table's smallest group."""
        few = np.zeros(len(self.judged), np.bool_)
        for tracks in self.tracks:
            for track in tracks:
                few |= track.counts < track.least
        return few

    def small(self, i: int) -> Pairs:
        """The units of kind `i` in cells with too few of them, as (cell, unit) pairs; cells are those of the query."""
        cells, units = self.tracks[i][0].few
        return joined([self._tiny[i].pairs(), (self.judged[cells], units)])


def _mask(chunk: pa.RecordBatch, facet: Facet) -> Bools | None:
    """Which rows a facet holds; None: all of them."""
    mask: Bools | None = None
    for name in facet.where:
        column = chunk.column(name)
        own = (column.fill_null(False) if column.null_count else column).to_numpy(zero_copy_only=False)
        mask = own if mask is None else mask & own
    for name in facet.present:
        column = chunk.column(name)
        if column.null_count:
            own = column.is_valid().to_numpy(zero_copy_only=False)
            mask = own if mask is None else mask & own
    return None if mask is None or bool(mask.all()) else mask


def chunks(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same rows in batches that are worth a look and stay in the processor's cache."""
    waiting: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        if not batch.num_rows:
            continue
        waiting.append(batch)
        rows += batch.num_rows
        if rows >= _SMALL:
            yield from _pieces(waiting, rows)
            waiting, rows = [], 0
    if waiting:
        yield from _pieces(waiting, rows)


def _pieces(batches: list[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    joined_ = batches if len(batches) == 1 else pa.Table.from_batches(batches).combine_chunks().to_batches()
    for batch in joined_:
        parts = -(-batch.num_rows // CHUNK)
        size = -(-batch.num_rows // parts)
        for start in range(0, batch.num_rows, size):
            yield batch if parts == 1 else batch.slice(start, size)
