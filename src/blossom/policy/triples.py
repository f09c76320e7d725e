"""Differences over three figures: a new one that nearly is the sum or the difference of two others.

Who asks about two halves and about both together gets one person as the difference of three figures, no two of which are alike.
So a new figure f is looked for as a + x and as a - x, up to the rows of fewer units than the smallest group, where a is known and
x is known or of the same release. Sketches are linear, so this is a search for three sketches whose combination fills few buckets.

The buckets of a sketch's first turn stand in blocks of 16, and each block has a signature, a linear form of its buckets modulo
2^32. Where fewer units are left over than there are blocks, some block holds none of them, and there the signatures combine
exactly: one sorted lookup for each known figure finds the third. What is found is compared bucket by bucket.

- Found for certain: every such triple whose left-over units are fewer than the blocks searched (as many as the smallest group has
  units, at most 16), unless in each block that they leave alone more figures agree than `_MOST` lets be compared, or all three
  figures are empty there. Those of a few dozen units, whose blocks may be empty, are searched for in all 16.
- Work is bounded by `WORK` lookups a release. A release of many cells against a large ledger is searched in fewer blocks, never
  fewer than two, so that a difference of one unit is found; and if that is still too much, against the newest figures only.
- Cells of one release are disjoint: three of them tell nothing of each other, and are not compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blossom.policy.sketch import Sketches

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Words = NDArray[np.uint32]

WORK = 1 << 26
"""Lookups of one release: about a second."""

_BLOCK = 16
_SEARCHED = 16
"""Blocks that are searched, at most."""

_THIN = 4
"""A figure that fills fewer buckets a block leaves blocks empty, and is searched for in all."""

_CHUNK = 1 << 18
"""Lookups at once: they stay in the processor's cache."""

_MOST = 1 << 17
"""Candidates that one chunk of lookups in one block may bring; those of the most crowded signatures are left out."""

_FRESH = 4096
"""Figures whose index is sorted anew at every change, before it is merged with the large one."""


@dataclass(frozen=True, slots=True)
class Triple:
    """f = a + x or f = a - x, up to few units.

    Attributes:
        figure: The number of f, among those that were asked for.
        known: The number of a, among known figures.
        other: The number of x: among known figures, or where `fresh` among those that were asked for.
        fresh: Whether x is of the same release.
        sign: What x is multiplied by when it is taken from f - a: f - a - sign * x is what is left over, up to its own sign.
        minus: Whether it is a that is the largest: a = f + x.
    """

    figure: int
    known: int
    other: int
    fresh: bool
    minus: bool


class Triples:
    """The search; holds signatures only.

    Args:
        width: Buckets of a sketch's turn.
    """

    def __init__(self, width: int) -> None:
        self._width, self._blocks = width, max(1, width // _BLOCK)
        self._block = width // self._blocks
        generator = np.random.default_rng(
            20_26
        )  # any odd numbers do: what hides the units is the key of their hashes
        self._odd = (generator.integers(0, 1 << 31, (self._blocks, self._block)) * 2 + 1).astype(np.uint32)
        self._signatures = np.zeros((self._blocks, 0), np.uint32)
        self._owners = np.zeros(0, np.int64)
        self._count = 0
        self._known: dict[bytes, int] = {}
        self._large = _Index(self._signatures)
        self._fresh: _Index | None = None

    def __len__(self) -> int:
        return self._count

    def sign(self, rows: Sketches) -> Words:
        """The signatures of sketches, shape (blocks, sketches)."""
        first = rows[:, : self._width].reshape(len(rows), self._blocks, self._block)
        found = np.empty((self._blocks, len(rows)), np.uint32)
        for start in range(0, len(rows), 4096):
            part = slice(start, start + 4096)
            found[:, part] = (first[part] * self._odd).sum(axis=2, dtype=np.uint32).T
        return found

    def add(self, rows: Sketches, numbers: Ints) -> Ints:
        """Take in known figures by their numbers; of figures over the same rows the first stands for all. Gives these first ones."""
        signatures = self.sign(rows)
        new: list[int] = []
        first = numbers.copy()
        for i, key in enumerate(map(bytes, np.ascontiguousarray(signatures.T))):
            first[i] = self._known.setdefault(key, int(numbers[i]))
            if first[i] == numbers[i]:
                new.append(i)
        if not new:
            return first
        stop = self._count + len(new)
        if stop > self._signatures.shape[1]:
            room = max(1024, stop, 2 * self._signatures.shape[1])
            grown = np.zeros((self._blocks, room), np.uint32)
            grown[:, : self._count] = self._signatures[:, : self._count]
            owners = np.zeros(room, np.int64)
            owners[: self._count] = self._owners[: self._count]
            self._signatures, self._owners = grown, owners
        self._signatures[:, self._count : stop] = signatures[:, new]
        self._owners[self._count : stop] = numbers[new]
        self._count = stop
        self._fresh = None
        return first

    def _parts(self) -> Sequence[tuple[_Index, int]]:
        """Indexes of the known figures, and where each begins."""
        if self._count - len(self._large) > max(_FRESH, len(self._large) // 8):
            self._large = _Index(self._signatures[:, : self._count].copy())
            self._fresh = None
        if self._fresh is None:
            self._fresh = _Index(self._signatures[:, len(self._large) : self._count].copy())
        return (self._large, 0), (self._fresh, len(self._large))

    def search(
        self,
        rows: Sketches,
        chosen: Ints,
        least: int,
        known: Callable[[Ints], Sketches],
        *,
        exact: bool = False,
    ) -> Iterator[tuple[Triple, Words]]:
        """All near triples of new figures, each with what is left over.

        Args:
            rows: Sketches of the new figures, shape (figures, size).
            chosen: Which of them to search for; all may stand as the third one.
            least: Fewer units than this are few.
            known: Gives sketches of known figures by their numbers.
            exact: Look only for triples that leave nothing over, in fewer blocks.
        """
        if not self._count or not len(chosen):
            return
        own = self.sign(rows)
        parts = [*self._parts(), (_Index(own[:, :0] if len(rows) == 1 else own), self._count)]
        thin = np.count_nonzero(rows[chosen, : self._width], axis=1) < _THIN * self._blocks
        needed = max(1, self._blocks - (0 if exact else least - 1))
        found = [np.zeros((0, 4), np.int64)]
        for some, wanted in ((chosen[thin], _SEARCHED), (chosen[~thin], 2 if exact else least)):
            if not len(some):
                continue
            blocks, begin = self._affordable(len(some), wanted)
            step = max(1, _CHUNK // (self._count - begin))
            for block in range(blocks):
                for start in range(0, len(some), step):
                    found += [
                        self._agreeing(candidates, own, needed)
                        for candidates in self._candidates(
                            block, some[start : start + step], own, parts, begin
                        )
                    ]
        triples = np.unique(np.concatenate(found), axis=0)
        yield from self._left_over(triples, rows, least, known)

    def _affordable(self, figures: int, wanted: int) -> tuple[int, int]:
        """How many blocks are searched, and from which known figure on."""
        most = min(wanted, self._blocks, _SEARCHED)
        pairs = 2 * figures * self._count
        blocks = max(min(2, most), min(most, WORK // pairs))
        begin = max(0, self._count - max(1, WORK // (2 * blocks * figures)))
        return blocks, begin

    def _candidates(
        self, block: int, chosen: Ints, own: Words, parts: Sequence[tuple[_Index, int]], begin: int
    ) -> Iterator[Ints]:
        """Quadruples (f, a, x, minus) that combine exactly in a block; x counts from the known figures on to the new ones."""
        known = self._signatures[block, begin : self._count]
        width = len(known)
        for minus in (0, 1):
            mine = own[block, chosen][:, None]
            wanted = (known[None, :] - mine if minus else mine - known[None, :]).reshape(-1)
            for index, offset in parts:
                at, third = index.find(block, wanted)
                if not len(at):
                    continue
                f, a, x = chosen[at // width], at % width, third + offset
                empty = (wanted[at] == 0) & (known[a] == 0)  # all three are empty here: that tells nothing
                a = a + begin
                fair = ~empty & (x != a) & (x != f + self._count)
                if not minus:
                    fair &= (x >= a) | (x < begin)  # a + x is x + a
                yield np.stack([f, a, x, np.full(len(f), minus)], axis=1)[fair]

    def _agreeing(self, candidates: Ints, own: Words, needed: int) -> Ints:
        """Those that combine exactly in as many blocks as few left-over units leave alone at least."""
        if not len(candidates):
            return candidates
        f, a, x, minus = candidates.T
        first, second = own[:, f], self._signatures[:, a]
        left = np.where(minus == 1, second - first, first - second)
        third, fresh = np.empty_like(left), x >= self._count
        third[:, fresh] = own[:, x[fresh] - self._count]
        third[:, ~fresh] = self._signatures[:, x[~fresh]]
        return candidates[np.count_nonzero(left == third, axis=0) >= needed]

    def _left_over(
        self, triples: Ints, rows: Sketches, least: int, known: Callable[[Ints], Sketches]
    ) -> Iterator[tuple[Triple, Words]]:
        for start in range(0, len(triples), 1024):
            f, a, x, minus = triples[start : start + 1024].T
            fresh = x >= self._count
            first, second = rows[f], known(self._owners[a])
            third = np.empty_like(first)
            third[fresh] = rows[x[fresh] - self._count]
            third[~fresh] = known(self._owners[x[~fresh]])
            left = np.where(minus[:, None] == 1, second - first, first - second) - third
            few = np.count_nonzero(left[:, : self._width], axis=1) < least
            for i in np.flatnonzero(few):
                other = int(x[i] - self._count) if fresh[i] else int(self._owners[x[i]])
                yield (
                    Triple(int(f[i]), int(self._owners[a[i]]), other, bool(fresh[i]), bool(minus[i])),
                    left[i],
                )


class _Index:
    """Signatures, sorted block by block, each block when it is first searched."""

    def __init__(self, signatures: Words) -> None:
        self._signatures = signatures
        self._sorted: dict[int, tuple[Words, Ints, tuple[Bools, Bools]]] = {}
        bits = max(16, min(24, (16 * len(self)).bit_length()))
        self._shift, self._mask = np.uint32(32 - bits), np.uint32((1 << bits) - 1)

    def __len__(self) -> int:
        return self._signatures.shape[1]

    def _block(self, block: int) -> tuple[Words, Ints, tuple[Bools, Bools]]:
        found = self._sorted.get(block)
        if found is None:
            order = np.argsort(self._signatures[block], kind="stable")
            values = self._signatures[block][order]
            upper, lower = (np.zeros(int(self._mask) + 1, np.bool_) for _ in range(2))
            upper[values >> self._shift] = lower[values & self._mask] = True
            found = self._sorted[block] = (values, order, (upper, lower))
        return found

    def find(self, block: int, wanted: Words) -> tuple[Ints, Ints]:
        """Pairs of a wanted signature's place and a figure that has it."""
        if not len(self):
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        values, order, there = self._block(block)
        # most are not there: tables of their upper and lower bits tell so faster than a search
        upper, lower = there
        at = np.flatnonzero(upper.take(wanted >> self._shift))
        at = at[lower.take(wanted[at] & self._mask)]
        own = wanted[at]
        start = np.searchsorted(values, own, "left")
        found = values.take(start, mode="clip") == own
        at, start = at[found], start[found]
        counts = np.searchsorted(values, own[found], "right") - start
        if counts.sum() > _MOST:
            rare = np.argsort(counts, kind="stable")
            rare = rare[np.cumsum(counts[rare]) <= _MOST]
            at, start, counts = at[rare], start[rare], counts[rare]
        place = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
        return np.repeat(at, counts), order[np.repeat(start, counts) + place]
