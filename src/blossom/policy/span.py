"""Differences over many figures: a new one that with earlier ones, each any number of times, tells about one unit.

Sums over known rows are linear equations, and whoever solves four of them together needs no two or three that are alike. Holding back
what would complete a solution is auditing (Chin and Özsoyoğlu, "Auditing and inference control in statistical databases", IEEE
TSE 8(6), 1982). The ledger keeps the row space of the newest figures, by their sketches, in reduced echelon form modulo 2^32.

- *One unit.* A unit's sketch is one odd number, once in each turn. So it lies in the row space just where the coordinates of a
  vector orthogonal to that space, at one bucket of each turn, sum to 0. Random orthogonal vectors (Freivalds) and a look at all
  pairs of buckets of the first two turns find every such unit without knowing any.
- *Few units.* What is left of a new figure once it is reduced is a combination of figures. Where it fills fewer buckets than the
  smallest group has units, it is about these few. That is seen where their buckets are no pivots: mostly, while figures are few.

Found for certain: every combination of the kept figures that tells about a single unit. `capacity` figures are kept, two for each bucket
of a turn, not counting those that are combinations of others: in a table of no more units all are. Beyond, the older half is
forgotten here (never by the search for pairs and triples). Of a release of more than 64 figures the totals are kept, and its cells are
looked at for few units only. Any combination counts, whatever the columns that were folded.

What a pivot cannot divide by, as 2 does not divide odd numbers modulo 2^32, is halved, and an upper bit of the sketches is given up for
it, `_LOST` of the 32 at most.
"""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from blossom.policy.sketch import TURNS, Sketches, differing

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Words = NDArray[np.uint32]

_LOST = 10
_WHOLE = 64
"""Of a release of more figures only as many enter, its last ones: those are its totals."""

_ORTHOGONAL = 4
"""Orthogonal vectors: one is used up by the new figure, the others must agree."""

_HALVES = 8
"""How often a combination with a new figure may be halved to tell about a unit: so many more upper bits do not count."""


class Span:
    """The row space of the newest figures.

    Args:
        width: Buckets of a sketch's turn.
    """

    def __init__(self, width: int) -> None:
        self.capacity = 2 * width
        self._width = width
        self._newest: deque[tuple[Words, int]] = deque()
        self._waiting: deque[tuple[Words, int]] = deque(maxlen=self.capacity)
        self._forms = self._empty()

    def _empty(self) -> tuple[Echelon, ...]:
        order = np.random.default_rng(1982).permutation(TURNS * self._width)
        return Echelon(order), Echelon(order[::-1])

    def _copy(self) -> Span:
        copied = Span(self._width)
        copied._newest = self._newest.copy()
        copied._forms = tuple(form.copy() for form in self._forms)
        return copied

    def release(self, rows: Sketches, least: Ints) -> None:
        """Take in the figures of one release; looked at when something is next asked, then the newest of all."""
        self._waiting.extend(
            (row, int(few)) for row, few in zip(rows[-_WHOLE:], least[-_WHOLE:], strict=True)
        )

    def judge(self, rows: Sketches, least: Ints) -> Bools:
        """Which figures of one release tell about few units once they are combined with those known.

        The figures of a small release count as known for those after them.

        Args:
            rows: Shape (figures, size).
            least: Their smallest groups, shape (figures,).
        """
        while self._waiting:
            self._add(*self._waiting.popleft())
        if len(rows) > _WHOLE:
            return self._few(rows, least)
        found = np.zeros(len(rows), np.bool_)
        trial = self
        for i in range(len(rows)):
            found[i] = trial._forms[0].isolates(rows[i]) or trial._few(rows[i : i + 1], least[i : i + 1])[0]
            if not found[i] and i + 1 < len(rows):
                trial = self._copy() if trial is self else trial
                trial._add(rows[i], int(least[i]))
        return found

    def _few(self, rows: Sketches, least: Ints) -> Bools:
        found = np.zeros(len(rows), np.bool_)
        for form in self._forms:
            found |= form.leaves_few(rows, least)
        return found

    def _add(self, rows: Words, least: int) -> None:
        entered = [form.add(rows, least) for form in self._forms]
        if not any(entered):
            return  # a combination of others
        self._newest.append((rows, least))
        if len(self._newest) > self.capacity:
            while len(self._newest) > self.capacity // 2:
                self._newest.popleft()
            self._forms = self._empty()
            for known, few in self._newest:
                for form in self._forms:
                    form.add(known, few)


class Echelon:
    """A reduced echelon form modulo 2^32.

    Args:
        order: In which order buckets are tried as pivots.
    """

    def __init__(self, order: Ints) -> None:
        self._order = order
        self._rows = np.zeros((0, len(order)), np.uint32)
        self._pivots = np.zeros(0, np.int64)
        self._least = np.zeros(0, np.int64)
        self._lost = 0
        self._orthogonal: Words | None = None

    def copy(self) -> Echelon:
        """The same, to go on from apart: arrays are replaced, never changed."""
        copied = Echelon(self._order)
        copied.__dict__.update(self.__dict__)
        return copied

    def leaves_few(self, rows: Sketches, least: Ints) -> Bools:
        """Which figures, each by itself, leave the rows of few units."""
        found = np.zeros(len(rows), np.bool_)
        if not len(self._pivots):
            return found
        lost = np.uint32(self._lost)
        coefficients = rows[:, self._pivots]
        used = (coefficients << lost) != 0
        limits = np.maximum(least, np.where(used, self._least[None, :], 0).max(axis=1))
        # most figures fill nearly all buckets, so a few of those that were tried last as pivots are looked at first
        out = self._order[-128:]
        rest = rows[:, out] - _product(coefficients, self._rows[:, out])
        some = np.flatnonzero(used.any(axis=1) & (np.count_nonzero(rest << lost, axis=1) < 3 * limits))
        if len(some):
            whole = (rows[some] - _product(coefficients[some], self._rows)) << lost
            apart = differing(whole, np.zeros_like(whole))
            found[some] = (apart > 0) & (apart < limits[some])
        return found

    def isolates(self, rows: Words) -> bool:
        """Whether a figure, combined with those known, tells about one unit that they do not tell about by themselves."""
        if not len(self._pivots):
            return False
        if self._orthogonal is None:
            self._orthogonal = self._drawn()
        lost = np.uint32(self._lost)
        products = (self._orthogonal * rows).sum(axis=1, dtype=np.uint32)
        if not (products << lost).any():
            return False  # the figure is a combination of those known
        # the one least divisible by 2 clears the others
        powers = [int(value & -value) if value else 1 << 32 for value in map(int, products)]
        first = int(np.argmin(powers))
        shift = np.uint32(powers[first].bit_length() - 1)
        factors = (products >> shift) * _inverse(products[first] >> shift)
        rest = np.delete(self._orthogonal - factors[:, None] * self._orthogonal[first], first, axis=0)
        found = self._units(rest << (lost + np.uint32(_HALVES)))
        before = (self._orthogonal << lost)[:, found].sum(axis=1, dtype=np.uint32)
        return bool(before.any())

    def _units(self, orthogonal: Words) -> Ints:
        """The buckets of all units whose sketch is orthogonal to some vectors, shape (TURNS, units)."""
        one, two, three = orthogonal.reshape(len(orthogonal), TURNS, -1).swapaxes(0, 1)
        order = np.argsort(three[0])
        values = three[0][order]
        there = np.zeros(1 << 16, np.bool_)
        there[values >> np.uint32(16)] = True
        wanted = np.negative(one[0][:, None] + two[0][None, :]).reshape(-1)
        at = np.flatnonzero(there.take(wanted >> np.uint32(16)))
        start = np.searchsorted(values, wanted[at], "left")
        counts = np.searchsorted(values, wanted[at], "right") - start
        place = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
        at, third = np.repeat(at, counts), order[np.repeat(start, counts) + place]
        first, second = np.divmod(at, one.shape[1])
        agree = (one[:, first] + two[:, second] + three[:, third] == 0).all(axis=0)
        width = one.shape[1]
        return np.stack([first, second + width, third + 2 * width])[:, agree]

    def _drawn(self) -> Words:
        """Random vectors orthogonal to all rows, shape (_ORTHOGONAL, size)."""
        size = len(self._order)
        drawn = np.random.default_rng(len(self._pivots)).integers(0, 1 << 32, (_ORTHOGONAL, size), np.uint32)
        drawn[:, self._pivots] = 0
        drawn[:, self._pivots] = np.negative(_product(drawn, self._rows.T))
        return drawn

    def add(self, rows: Words, least: int) -> bool:
        """Take in a figure; False where it is a combination of others, or where no pivot can be had."""
        coefficients = rows[self._pivots]
        rest = rows - _product(coefficients[None, :], self._rows)[0]
        if not (rest << np.uint32(self._lost)).any():
            return False
        lost = self._lost
        while not (rest & np.uint32(1)).any():
            rest = rest >> np.uint32(1)
            lost += 1
        if lost > _LOST:
            return False
        self._lost = lost
        pivot = int(self._order[np.argmax(rest[self._order] & np.uint32(1))])
        rest = rest * _inverse(rest[pivot])
        grown = np.empty((len(self._rows) + 1, self._rows.shape[1]), np.uint32)
        np.multiply(self._rows[:, pivot, None], rest[None, :], out=grown[:-1])
        np.subtract(self._rows, grown[:-1], out=grown[:-1])
        grown[-1] = rest
        self._rows = grown
        self._pivots = np.append(self._pivots, pivot)
        self._least = np.append(self._least, max(least, int(self._least[coefficients != 0].max(initial=0))))
        self._orthogonal = None
        return True


def _inverse(odd: np.uint32) -> np.uint32:
    """The inverse modulo 2^32, by Newton's iteration, which doubles the bits that are right.

    >>> int(_inverse(np.uint32(7))) * 7 % 2**32
    1
    """
    value = int(odd)
    found = value
    for _ in range(5):
        found = found * (2 - value * found) & 0xFFFFFFFF
    return np.uint32(found)


def _product(one: Words, other: Words) -> Words:
    """The matrix product modulo 2^32. Large ones by floating point, which is exact here: halves of 16 bits, at most 2^20 terms."""
    if len(one) <= 4:
        return np.stack([(row[:, None] * other).sum(axis=0, dtype=np.uint32) for row in one])
    low = np.uint32(0xFFFF)
    a, b = (one & low).astype(np.float64), (one >> np.uint32(16)).astype(np.float64)
    c, d = (other & low).astype(np.float64), (other >> np.uint32(16)).astype(np.float64)
    cross = (a @ d + b @ c).astype(np.uint64) << np.uint64(16)
    return ((a @ c).astype(np.uint64) + cross).astype(np.uint32)
