"""The cells of a release as the rules see them: for each its units, what they contribute, and sketches of its rows.

Rows are read once, as a stream; memory grows with cells, not with rows. Units are counted exactly below `min_group`. What units
contribute is first bounded by buckets of units; only cells that the bound cannot clear are looked at again, exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from blossom.plan.errors import PolicyError, SiteError
from blossom.policy.dominance import Contributions, dominated_by, numbers, product
from blossom.policy.facets import Facet
from blossom.policy.sketch import Hashing, Words, fold
from blossom.policy.states import Unit, null_column, unit_column

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Pairs = tuple[Ints, Words]
"""Cells and their units, pair by pair."""

CHUNK = 1 << 17
"""Rows looked at together: what is made of them stays in the processor's cache."""

MOST_CELLS = 1 << 15
"""Cells with rows enough to leave, in one release: each costs a few kilobytes while it is judged."""

_SPARSE = 1 << 22
"""Above this many codes, combinations of keys are searched instead of looked up."""


class Changed(SiteError):
    """A table changed between two looks at it."""


class Track:
    """One kind of unit on one facet, over the cells that are judged; arrays are (cells, buckets).

    Attributes:
        rows: Rows of each bucket.
        sketch: Sums of the units' hashes.
        contents: Sums of the contents' hashes, by the content's factors.
        sums: What the buckets contribute, by the content's factors.
        counts: Distinct units of each cell, exact below `least`; known once all rows were read.
    """

    def __init__(self, facet: Facet, cells: int, hashing: Hashing, least: int) -> None:
        self.least = least
        shape, whole = (cells, hashing.width), (cells, hashing.size)
        self.rows = np.zeros(shape, np.int64)
        self.sketch = np.zeros(whole, np.uint32)
        self.contents = {
            content.factors: np.zeros(whole, np.uint32) for content in facet.contents if content.labels
        }
        self.sums = {
            content.factors: Contributions(content.weights, shape, computed=content.computed)
            for content in facet.contents
            if content.weights
        }
        self.counts = np.zeros(shape[0], np.int64)
        self.pairs: list[Pairs] = []
        self._open = np.ones(shape[0], np.bool_)

    def like(self, other: Track) -> None:
        """Go on from what another track has counted."""
        self.rows, self.sketch = other.rows.copy(), other.sketch.copy()
        self.pairs, self._open = list(other.pairs), other._open.copy()

    def add(self, slots: Ints, turns: Sequence[Ints], hashes: Words) -> None:
        """Count rows: the slot (cell and bucket) of each, its slots in the sketches, and its unit's hash."""
        width = self.rows.shape[1]
        self.rows += np.bincount(slots, minlength=self.rows.size).reshape(self.rows.shape)
        fold(self.sketch, turns, hashes)
        if self._open.any():
            self._open &= np.count_nonzero(self.rows, axis=1) < self.least
            cells = slots // width
            few = self._open[cells]
            if few.any():
                self.pairs.append(distinct(cells[few], hashes[few]))

    def settle(self) -> None:
        """Count the units."""
        self.counts = np.count_nonzero(self.rows, axis=1).astype(np.int64)
        cells, units = joined(self.pairs)
        exact = np.bincount(cells, minlength=len(self.counts))
        self.counts[self._open] = exact[self._open]
        # the units of cells with too few: what secondary suppression counts
        few = self.counts < self.least
        inside = few[cells]
        self.few: list[Pairs] = [(cells[inside], units[inside])]
        self.pairs = []


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
        self._index = _Index(keys, self.number)
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
        self.tracks = tuple(
            tuple(Track(facet, len(self.judged), hashing, max(unit.min_group, 1)) for facet in self.facets)
            for unit in self.units
        )
        """For each kind of unit one track a facet."""
        self._apart = [[number == 0 for number in range(len(self.facets))] for _ in self.units]
        self._tiny: list[list[Pairs]] = [[] for _ in self.units]
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
                    track.rows, track.sketch, track.counts = (
                        tracks[0].rows,
                        tracks[0].sketch,
                        tracks[0].counts,
                    )
        self._weigh(rows)

    def _weigh(self, rows: Callable[[], Iterable[pa.RecordBatch]]) -> None:
        """Who dominates? Buckets of units clear most cells; the others are looked at unit by unit."""
        suspects = np.zeros(len(self.judged), np.bool_)
        for tracks in self.tracks:
            for track in tracks:
                if track.least > 1:
                    for sums in track.sums.values():
                        suspects |= sums.dominated(track.rows, track.least) & (track.counts >= track.least)
        if suspects.any():
            weighing = Weighing(self, np.flatnonzero(suspects))
            counted = [np.zeros(self.number, np.int64) for _ in self.facets]
            for chunk in chunks(rows()):
                cells, masks = self._seen(chunk, counted)
                for i in range(len(self.units)):
                    hashes, there = self._unit_hashes(chunk, i)
                    weighing.add(i, chunk, self._place[cells], hashes, there, masks)
            self._compare(counted)
            self.dominated = weighing.dominated()

    def _compare(self, counted: Sequence[Ints]) -> None:
        if not all(np.array_equal(a, b) for a, b in zip(counted, self._controls, strict=True)):
            raise Changed("the table changed while it was read, so nothing leaves", hint="ask again")

    def _seen(self, chunk: pa.RecordBatch, counted: list[Ints]) -> tuple[Ints, list[Bools | None]]:
        """Each row's cell, and which rows each facet holds (None: all)."""
        cells = self._index.cells(chunk)
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
        places = self._place[cells]
        for i in range(len(self.units)):
            hashes, there = self._unit_hashes(chunk, i)
            small = places < 0
            if small.any():
                small &= cells < self.number
                small = small if there is None else small & there
                self._tiny[i].append(distinct(cells[small], hashes[small]))
            self._fill(chunk, i, places, hashes, there, masks)

    def _unit_hashes(self, chunk: pa.RecordBatch, i: int) -> tuple[Words, Bools | None]:
        """The hash of each row's unit, and which rows have one (None: all)."""
        values = chunk.column(unit_column(i))
        hashes = self._hashing.units(values)
        if not values.null_count:
            return hashes, None
        missing = values.is_null().to_numpy(zero_copy_only=False)
        null = chunk.column(null_column(i)).fill_null(0).to_numpy(zero_copy_only=False) == 1
        hashes = np.where(missing, self._hashing.null, hashes)
        return hashes, ~missing | null

    def _fill(
        self, chunk: pa.RecordBatch, i: int, places: Ints, hashes: Words, there: Bools | None,
        masks: Sequence[Bools | None],
    ) -> None:  # fmt: skip
        usable = places >= 0 if there is None else (places >= 0) & there
        whole = bool(usable.all())
        slots = places * self._hashing.width + self._hashing.buckets(hashes)
        turns = self._hashing.slots(places, hashes)
        tracks, apart = self.tracks[i], self._apart[i]
        # the first facet comes last: a facet that turns out to be smaller goes on from what the first one was before
        for number in reversed(range(len(self.facets))):
            track, mask, facet = tracks[number], masks[number], self.facets[number]
            if mask is not None and not apart[number]:
                apart[number] = True
                track.like(tracks[0])
            chosen = None if whole and mask is None else usable if mask is None else usable & mask
            at, own, into = slots, hashes, turns
            if chosen is not None:
                at, own, into = slots[chosen], hashes[chosen], [turn[chosen] for turn in turns]
            if apart[number]:
                track.add(at, into, own)
            for content in facet.contents:
                values = product([chunk.column(factor) for factor in content.factors])
                if chosen is not None:
                    values = values.filter(pa.array(chosen))
                if content.labels:
                    fold(track.contents[content.factors], into, self._hashing.contents(own, values))
                if content.weights:
                    track.sums[content.factors].add(at, values)

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
        return joined(
            [*self._tiny[i], *((self.judged[cells], units) for cells, units in self.tracks[i][0].few)]
        )


class Weighing:
    """A second look at some cells, unit by unit."""

    def __init__(self, cells: Cells, suspects: Ints) -> None:
        self._cells = cells
        self._suspect = np.zeros(len(cells.judged), np.bool_)
        self._suspect[suspects] = True
        self._taken: dict[tuple[int, int, tuple[str, ...]], list[tuple[Ints, Words, Floats]]] = {}

    def add(
        self, i: int, chunk: pa.RecordBatch, places: Ints, hashes: Words, there: Bools | None,
        masks: Sequence[Bools | None],
    ) -> None:  # fmt: skip
        """Take in the rows of one chunk."""
        chosen = (places >= 0) & self._suspect[places]
        if there is not None:
            chosen &= there
        for number, facet in enumerate(self._cells.facets):
            mask = masks[number]
            own = chosen if mask is None else chosen & mask
            if not own.any():
                continue
            for content in facet.contents:
                if content.weights:
                    values = numbers(chunk.column(content.factors[0]).filter(pa.array(own)))
                    taken = self._taken.setdefault((i, number, content.factors), [])
                    taken.append((places[own], hashes[own], values))

    def dominated(self) -> Bools:
        """Which cells one unit dominates."""
        found = np.zeros(len(self._suspect), np.bool_)
        for (i, number, factors), parts in self._taken.items():
            least = self._cells.units[i].min_group
            content = next(one for one in self._cells.facets[number].contents if one.factors == factors)
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


class _Index:
    """Finds the cell of a row by its keys."""

    def __init__(self, keys: pa.Table, number: int) -> None:
        self._number = number
        self._values: list[pa.Array] = []
        self._strides: list[int] = []
        codes = np.zeros(number, np.int64)
        size = 1
        for i, column in enumerate(keys.columns):
            values = _key(column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column)
            distinct_ = values.unique()
            self._values.append(distinct_)
            self._strides.append(size)
            codes += _codes(values, distinct_, i) * size
            size *= max(len(distinct_), 1)
        if size > 1 << 62:
            raise PolicyError(
                "too many combinations of group keys to be judged", hint="group by fewer columns"
            )
        self._order = np.argsort(codes, kind="stable")
        self._sorted = codes[self._order]
        self._table: Ints | None = None
        if size <= _SPARSE:
            self._table = np.full(size, number, np.int64)
            self._table[codes] = np.arange(number)

    def cells(self, chunk: pa.RecordBatch) -> Ints:
        """The cell of each row; the number of cells for rows of none."""
        if not self._values:
            return np.zeros(chunk.num_rows, np.int64)
        codes = np.zeros(chunk.num_rows, np.int64)
        unknown: Bools | None = None
        for i, (values, stride) in enumerate(zip(self._values, self._strides, strict=True)):
            own = _codes(_key(chunk.column(f"__key_{i}")), values, i)
            if len(own) and own.min() < 0:
                unknown = own < 0 if unknown is None else unknown | (own < 0)
            codes += own * stride
        if unknown is not None:
            codes[unknown] = 0
        if not self._number:
            return np.zeros(chunk.num_rows, np.int64)
        if self._table is not None:
            found = self._table[codes]
        else:
            at = np.minimum(np.searchsorted(self._sorted, codes), self._number - 1)
            found = np.where(self._sorted[at] == codes, self._order[at], self._number)
        if unknown is not None:
            found[unknown] = self._number
        return found


def _key(values: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if pa.types.is_floating(values.type):
        return pc.call_function("add", [values, pa.scalar(0.0, values.type)])  # -0.0 and 0.0 are one group
    return values


def _codes(values: pa.Array, distinct_: pa.Array, i: int) -> Ints:
    try:
        found = pc.call_function(
            "index_in", [values], pc.SetLookupOptions(value_set=distinct_.cast(values.type))
        )
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid) as error:
        raise PolicyError(
            f"groups by a key of type {values.type} cannot be told apart (key {i + 1})",
            hint="group by plain values",
        ) from error
    return found.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)


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
    """The same rows in batches large enough to be worth a look."""
    waiting: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        if not batch.num_rows:
            continue
        waiting.append(batch)
        rows += batch.num_rows
        if rows >= CHUNK:
            yield from pa.Table.from_batches(waiting).combine_chunks().to_batches()
            waiting, rows = [], 0
    if waiting:
        yield from pa.Table.from_batches(waiting).combine_chunks().to_batches()


def distinct(cells: Ints, units: Words) -> Pairs:
    """The distinct pairs of cell and unit."""
    order = np.lexsort((units, cells))
    cells, units = cells[order], units[order]
    first = np.ones(len(cells), np.bool_)
    first[1:] = (cells[1:] != cells[:-1]) | (units[1:] != units[:-1])
    return cells[first], units[first]


def joined(parts: Sequence[Pairs]) -> Pairs:
    """The distinct pairs of several parts."""
    if not parts:
        return np.zeros(0, np.int64), np.zeros(0, np.uint64)
    return distinct(np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts]))
