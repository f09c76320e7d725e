"""Rule 4, differencing: two released figures may not differ by the rows of a few units.

The ledger knows a sketch of the rows behind every figure that was released, of any table of the site and to whomever. A new
figure is compared with all of them: where its rows are those of a known figure but for 1 to `min_group` - 1 units, the difference
of the two would describe these few. Where the rows are the same in number, unit by unit, the values that both figures fold must be
the same, or differ in at least `min_group` units.

Two more searches go beyond pairs: `triples` for sums and differences of two figures, `span` for combinations of any number of them.

The search for pairs finds every such pair without looking at all: two sketches that differ in fewer than k buckets agree in at least one of
any k buckets that the known one fills. So a known figure is entered in an index under k of its filled buckets, and a new one is
looked up under all of its own. Known figures that fill fewer than k buckets are few units' and are compared one by one, with new
ones that fill few buckets too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from blossom.policy.sketch import TURNS, Sketches, differing
from blossom.policy.span import Span
from blossom.policy.triples import Triple, Triples

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Sketch = NDArray[np.uint32]

_FRESH = 4096
"""Figures that wait, compared one by one, before the index is sorted anew."""


@dataclass(frozen=True, slots=True, eq=False)
class Figure:
    """The rows behind one released figure.

    Attributes:
        least: The smallest group of the table that it describes.
        rows: The sketch of its units, each as often as it has rows.
        contents: Sketches of the values that it folds, by label.
    """

    least: int
    rows: Sketch
    contents: Mapping[str, Sketch] = field(default_factory=dict)

    def tells_apart(self, other: Figure) -> bool:
        """Whether the two together would describe fewer units than either may.

        >>> one = np.arange(6, dtype=np.uint32)
        >>> Figure(2, one).tells_apart(Figure(2, np.array([0, 1, 2, 3, 4, 9], np.uint32)))
        True
        >>> Figure(2, one).tells_apart(Figure(2, one)), Figure(1, one).tells_apart(Figure(1, one + one))
        (False, False)
        """
        least = max(self.least, other.least)
        apart = int(differing(self.rows, other.rows))
        if apart:
            return apart < least
        # whatever the columns are called: two that are equal but for a few people tell about these few
        known = _distinct(other.contents.values())
        return any(
            0 < differing(own, one) < least for own in _distinct(self.contents.values()) for one in known
        )

    def multiplied(self, label: str) -> bool:
        """Whether the column is folded as a factor beside another."""
        own = self.contents[label]
        return any(other != label and np.array_equal(own, one) for other, one in self.contents.items())

    def covers(self, other: Figure) -> bool:
        """Whether releasing `other` after this one tells nothing new to the ledger."""
        return (
            self.least >= other.least
            and np.array_equal(self.rows, other.rows)
            and all(
                label in self.contents and np.array_equal(self.contents[label], own)
                for label, own in other.contents.items()
            )
        )


class Book:
    """The figures known, searchable.

    Args:
        width: Buckets of a sketch's turn. The index holds those of the first one.
    """

    def __init__(self, width: int) -> None:
        self.width = width
        self.figures: list[Figure] = []
        self._least = 1
        self._keys = np.zeros(0, np.uint64)
        self._owners = np.zeros(0, np.int64)
        self._thin = np.zeros(0, np.int64)
        self._indexed = 0
        self._signed = 0
        self._folded: dict[int, dict[str, list[Sketch]]] = {}
        """Sketches of the values folded over the same rows, by the number of the first figure over them."""
        self._triples = Triples(width)
        self._span = Span(width)
        self._equations: dict[str, Span] = {}
        """For each column what is known of its values: each figure that folds it is an equation."""
        self._multiplied: set[str] = set()

    def __len__(self) -> int:
        return len(self.figures)

    def add(self, figures: Sequence[Figure]) -> None:
        """Take in the figures of one release."""
        self.figures.extend(figures)
        if figures:
            self._span.release(
                np.stack([figure.rows for figure in figures]),
                np.array([figure.least for figure in figures], np.int64),
            )
        for figure in figures:
            for label, own in figure.contents.items():
                self._equation(label).release(own[None, :], np.array([figure.least], np.int64))
                if figure.multiplied(label):
                    self._multiplied.add(label)

    def near(self, rows: Sketches, least: int) -> list[Ints]:
        """For each of some sketches the known figures that it may differ from by fewer than `least` units, or equal.

        Args:
            rows: Shape (sketches, size).
            least: The largest smallest group of those who ask.
        """
        self._index(least)
        found: list[list[Ints]] = [[] for _ in rows]
        filled = rows[:, : self.width] != 0
        which, bucket = np.nonzero(filled)
        keys = _key(bucket, rows[which, bucket])
        start = np.searchsorted(self._keys, keys, "left")
        stop = np.searchsorted(self._keys, keys, "right")
        for at in np.flatnonzero(stop > start):
            found[which[at]].append(self._owners[start[at] : stop[at]])
        self._compare_thin(rows, filled, found)
        fresh = np.arange(self._indexed, len(self.figures))
        return [np.unique(np.concatenate([*parts, fresh])) for parts in found]

    def _compare_thin(self, rows: Sketches, filled: Bools, found: list[list[Ints]]) -> None:
        if not len(self._thin):
            return
        # a thin figure fills fewer buckets than the smallest group has units: none further than that is near
        candidates = np.flatnonzero(filled.sum(axis=1) < 2 * self._least)
        if not len(candidates):
            return
        known = np.stack([self.figures[i].rows for i in self._thin])
        for at in candidates:
            apart = differing(known, rows[at])
            found[at].append(self._thin[apart < self._least])

    def _index(self, least: int) -> None:
        """Bring the index up to date; it must hold as many buckets of each figure as any smallest group has units."""
        fresh = self.figures[self._indexed :]
        needed = max([least, self._least, *(figure.least for figure in fresh)])
        if needed > self._least:
            self._least = needed
            self._keys, self._owners = np.zeros(0, np.uint64), np.zeros(0, np.int64)
            self._thin, self._indexed = np.zeros(0, np.int64), 0
            fresh = self.figures
        elif len(fresh) <= _FRESH and not (len(fresh) > 64 and len(fresh) * 8 > self._indexed):
            return
        if not fresh:
            return
        rows = np.stack([figure.rows[: self.width] for figure in fresh])
        filled = rows != 0
        order = np.cumsum(filled, axis=1)
        thick = order[:, -1] >= self._least
        which, bucket = np.nonzero(filled & (order <= self._least) & thick[:, None])
        keys = np.concatenate([self._keys, _key(bucket, rows[which, bucket])])
        owners = np.concatenate([self._owners, which + self._indexed])
        sort = np.argsort(keys, kind="stable")
        self._keys, self._owners = keys[sort], owners[sort]
        self._thin = np.concatenate([self._thin, np.flatnonzero(~thick) + self._indexed])
        self._indexed = len(self.figures)

    def judge(self, figures: Sequence[Figure]) -> tuple[Bools, Bools]:
        """Which new figures of one release may not be released, and which the ledger knows already.

        Where only one of two may leave, it is the first: give first what is wanted most.
        """
        conflicts = np.zeros(len(figures), np.bool_)
        known = np.zeros(len(figures), np.bool_)
        if not figures:
            return conflicts, known
        rows = np.stack([figure.rows for figure in figures])
        near = self.near(rows, max(figure.least for figure in figures))
        same = np.zeros(len(figures), np.bool_)
        for number, (figure, others) in enumerate(zip(figures, near, strict=True)):
            found = [self.figures[other] for other in others]
            known[number] = any(one.covers(figure) for one in found)
            same[number] = known[number] or any(np.array_equal(one.rows, figure.rows) for one in found)
            # what is known already tells nothing new, whatever else was released beside it: the same question, the same answer
            conflicts[number] = not known[number] and any(figure.tells_apart(one) for one in found)
        self._judge_triples(figures, rows, same, known, conflicts)
        self._judge_span(figures, rows, known, conflicts)
        self._judge_equations(figures, known, conflicts)
        return conflicts, known

    def _judge_triples(
        self, figures: Sequence[Figure], rows: Sketches, same: Bools, known: Bools, conflicts: Bools
    ) -> None:
        self._enter()
        open_ = ~conflicts & ~known
        least = max([self._least, *(figure.least for figure in figures)])
        pairs: list[tuple[int, int]] = []
        for exact in (False, True):
            # over rows that are known, only the values folded may tell something new
            chosen = np.flatnonzero(open_ & (same if exact else ~same))
            for triple, left in self._triples.search(rows, chosen, least, self._rows, exact=exact):
                if triple.fresh and known[triple.other]:
                    continue  # it stands among the known ones too
                if self._tell(figures, triple, left):
                    if triple.fresh:
                        pairs.append((triple.figure, triple.other))
                    else:
                        conflicts[triple.figure] = True
        for one, other in sorted(pairs, key=max):
            if not conflicts[one] and not conflicts[other]:
                conflicts[max(one, other)] = True

    def _judge_span(self, figures: Sequence[Figure], rows: Sketches, known: Bools, conflicts: Bools) -> None:
        chosen = np.flatnonzero(~conflicts & ~known)
        if len(chosen):
            least = np.array([figure.least for figure in figures], np.int64)[chosen]
            conflicts[chosen] = self._span.judge(rows[chosen], least)

    def _equation(self, label: str) -> Span:
        return self._equations.setdefault(label, Span(self.width))

    def _judge_equations(self, figures: Sequence[Figure], known: Bools, conflicts: Bools) -> None:
        """Products of a column with others are further equations in its values, over the same rows: n of them tell n values.

        While only sums of the column alone are known, their rows tell as much, and those are judged, all columns together.
        """
        asked: dict[str, list[tuple[int, Sketch, bool]]] = {}
        for number in np.flatnonzero(~conflicts & ~known).tolist():
            contents = figures[number].contents
            for label, own in contents.items():
                asked.setdefault(label, []).append((number, own, figures[number].multiplied(label)))
        for label, found in asked.items():
            if not any(product for _, _, product in found) and label not in self._multiplied:
                continue
            found.sort(key=lambda one: one[2])  # the sums alone first
            least = np.array([figures[number].least for number, _, _ in found], np.int64)
            told = self._equation(label).judge(np.stack([own for _, own, _ in found]), least)
            conflicts[[number for (number, _, _), tells in zip(found, told, strict=True) if tells]] = True

    def _tell(self, figures: Sequence[Figure], triple: Triple, left: Sketch) -> bool:
        """Whether three figures together would describe fewer units than any of them may."""
        figure, known = figures[triple.figure], self.figures[triple.known]
        third = (figures if triple.fresh else self.figures)[triple.other]
        least = max(figure.least, known.least, third.least)
        apart = int(differing(left, np.zeros_like(left)))
        if apart:
            return apart < least
        of_known = self._folded[triple.known]
        of_third = _by_label([third]) if triple.fresh else self._folded[triple.other]
        return any(
            0 < differing(first - own if triple.minus else own - first, second) < least
            for label, own in figure.contents.items()
            for first in of_known.get(label, ())
            for second in of_third.get(label, ())
        )

    def _enter(self) -> None:
        """Sign the figures that were added since."""
        fresh = self.figures[self._signed :]
        if not fresh:
            return
        numbers = np.arange(self._signed, len(self.figures))
        for figure, first in zip(
            fresh, self._triples.add(np.stack([figure.rows for figure in fresh]), numbers), strict=True
        ):
            held = self._folded.setdefault(int(first), {})
            for label, sketches in _by_label([figure]).items():
                held.setdefault(label, []).extend(sketches)
        self._signed = len(self.figures)

    def _rows(self, numbers: Ints) -> Sketches:
        size = TURNS * self.width
        found = [self.figures[number].rows for number in numbers]
        return np.stack(found) if found else np.zeros((0, size), np.uint32)


def _distinct(sketches: Iterable[Sketch]) -> list[Sketch]:
    return list({id(sketch): sketch for sketch in sketches}.values())


def _by_label(figures: Sequence[Figure]) -> dict[str, list[Sketch]]:
    found: dict[str, list[Sketch]] = {}
    for figure in figures:
        for label, sketch in figure.contents.items():
            found.setdefault(label, []).append(sketch)
    return found


def _key(bucket: Ints, value: NDArray[np.uint32]) -> NDArray[np.uint64]:
    return (bucket.astype(np.uint64) << np.uint64(32)) | value.astype(np.uint64)
