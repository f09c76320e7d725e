"""Rule 4, differencing: two released figures may not differ by the rows of a few units.

The ledger knows a sketch of the rows behind every figure that was released, of any table of the site and to whomever. A new
figure is compared with all of them: where its rows are those of a known figure but for 1 to `min_group` - 1 units, the difference
of the two would describe these few. Where the rows are the same in number, unit by unit, the values that both figures fold must be
the same, or differ in at least `min_group` units.

The search finds every such pair without looking at all: two sketches that differ in fewer than k buckets agree in at least one of
any k buckets that the known one fills. So a known figure is entered in an index under k of its filled buckets, and a new one is
looked up under all of its own. Known figures that fill fewer than k buckets are few units' and are compared one by one, with new
ones that fill few buckets too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from blossom.policy.sketch import Sketches, differing

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
        return any(
            0 < differing(own, other.contents[label]) < least
            for label, own in self.contents.items()
            if label in other.contents
        )

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

    def __len__(self) -> int:
        return len(self.figures)

    def add(self, figures: Sequence[Figure]) -> None:
        """Take in released figures."""
        self.figures.extend(figures)

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
        """Which of some new figures may not be released, and which the ledger knows already."""
        conflicts = np.zeros(len(figures), np.bool_)
        known = np.zeros(len(figures), np.bool_)
        if not figures:
            return conflicts, known
        rows = np.stack([figure.rows for figure in figures])
        near = self.near(rows, max(figure.least for figure in figures))
        for number, (figure, others) in enumerate(zip(figures, near, strict=True)):
            for other in others:
                one = self.figures[other]
                if figure.tells_apart(one):
                    conflicts[number] = True
                    break
                known[number] = known[number] or one.covers(figure)
        return conflicts, known


def _key(bucket: Ints, value: NDArray[np.uint32]) -> NDArray[np.uint64]:
    return (bucket.astype(np.uint64) << np.uint64(32)) | value.astype(np.uint64)
