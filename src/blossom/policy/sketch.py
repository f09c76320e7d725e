"""Sketches of row sets: the units of the rows, hashed into buckets, each bucket a sum of keyed hashes modulo 2^32.

A sketch is linear in rows: that of a union of disjoint row sets is the sum. Where two row sets differ in the rows of d units, at
most d buckets differ, so fewer differing buckets than `min_group` are found for every difference that small, in the multiplicity
of a unit's rows as in its presence. (A differing bucket looks equal with probability 2^-32, and the key is the site's secret.)
The number of differing buckets never exceeds d; it is less where units share a bucket, so a comparison may be too strict, never
too lax. So that it rarely is, units are hashed into buckets in three turns, and the turn with most differing buckets counts: of 10
units, two share a bucket in every turn with probability 0.004. Unlike a bitmap of units, a sketch needs no dictionary of units and tells nothing about them without the key.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from typing import Any, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from blossom.policy.scatter import Scatter

Words = NDArray[np.uint64]
Sketches = NDArray[np.uint32]
"""One sketch a row, shape (cells, TURNS * width)."""

TURNS = 3

NARROWEST = 256


def _siphash(texts: Any, key: str) -> Words:
    """SipHash of texts, by pandas: imported when first needed, so that opening a federation does not wait for it."""
    from pandas import util

    hashing = cast("Callable[..., Words]", util.hash_array)
    return hashing(texts, hash_key=key, categorize=False)


_A, _B = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def width_for(least: int) -> int:
    """Buckets of a turn that tell differences of `least` units apart from smaller ones nearly always: a power of two.

    >>> width_for(10), width_for(100)
    (256, 1024)
    """
    return max(NARROWEST, 1 << (8 * max(least, 1) - 1).bit_length())


class Hashing:
    """Keyed 64-bit hashes of units and of their values; the same for equal values in every engine, run and process.

    Args:
        secret: 32 bytes.
        width: Buckets of a turn, a power of two.
    """

    def __init__(self, secret: bytes, width: int = NARROWEST) -> None:
        if len(secret) != 32 or width < 2 or width & (width - 1):
            raise ValueError("a secret of 32 bytes and a power of two are needed")
        self.width = width
        self.size = TURNS * width
        """Numbers of a sketch."""
        self._keys = np.frombuffer(secret, np.uint64)
        self._text = secret[:16].hex()[:16]
        self._bits = width.bit_length() - 1
        self.null = self._mixed(np.array([0x6E756C6C], np.uint64), 3)[0] | np.uint64(1)
        """The hash of the unit that is null."""

    def units(self, values: pa.Array) -> Words:
        """A hash of each unit; nulls give any."""
        return self._mixed(self.words(values), 0) | np.uint64(1)

    def slots(self, places: NDArray[np.int64], hashes: Words) -> list[NDArray[np.int64]]:
        """Where the rows of these places and units are summed: for each turn a number of a flat (places, width) array."""
        first = (places << self._bits).view(np.uint64)
        found: list[NDArray[np.int64]] = []
        for turn in range(TURNS):
            slots = hashes << np.uint64(turn * self._bits)
            slots >>= np.uint64(64 - self._bits)
            slots |= first  # the bits below those of the place are those of the bucket
            found.append(slots.view(np.int64))
        return found

    def contents(self, hashes: Words, values: pa.Array) -> Words:
        """A hash of each pair of unit and value, its low 32 bits for summing; 0 where the value is 0.

        Equal numbers of any type are equal values.
        """
        if pa.types.is_integer(values.type) or pa.types.is_boolean(values.type):
            values = values.cast(pa.int8()) if pa.types.is_boolean(values.type) else values
            values = values.cast(pa.float64(), safe=False)
        words = self.words(values)
        found = self._mixed(hashes + words * _A, 1)
        # a value of zero adds nothing to a sum: a product with a flag is then the values of those who have it, and no more
        found[words == 0] = 0
        return found

    def words(self, values: pa.Array) -> Words:
        """64 bits of each value; equal values of the same kind of type have equal ones. Nulls give any."""
        kind = values.type
        if pa.types.is_dictionary(kind):
            values, kind = values.dictionary_decode(), kind.value_type
        if pa.types.is_boolean(kind):
            values = values.cast(pa.int64())
        elif pa.types.is_uint64(kind):
            return _numpy(values, 0).astype(np.uint64, copy=False)
        elif pa.types.is_floating(kind) or pa.types.is_decimal(kind):
            floats = _numpy(values.cast(pa.float64(), safe=False), 0.0) + 0.0  # -0.0 is 0.0
            floats[np.isnan(floats)] = np.nan  # of all its bit patterns one
            return floats.view(np.uint64)
        elif pa.types.is_temporal(kind):
            return self.words(_ticks(values))
        elif not pa.types.is_integer(kind):
            return self._texts(values)
        return _numpy(values.cast(pa.int64()), 0).astype(np.int64, copy=False).view(np.uint64)

    def _texts(self, values: pa.Array) -> Words:
        if not _is_text(values.type):
            values = values.cast(pa.string())
        # SipHash with the site's key: whoever chooses a text cannot choose its hash
        if _mostly_different(values):
            return _siphash(_numpy(values, b"" if _is_binary(values.type) else ""), self._text)
        encoded = values.dictionary_encode()
        table = _siphash(encoded.dictionary.to_numpy(zero_copy_only=False), self._text)
        table = np.append(table, np.uint64(0))
        codes = encoded.indices.fill_null(len(table) - 1).to_numpy(zero_copy_only=False)
        return table[codes]

    def _mixed(self, words: Words, key: int) -> Words:
        """Two rounds of SplitMix64's finalizer (Steele, Lea, Flood 2014) with a key before each."""
        z = words ^ self._keys[key]
        for other in ((key + 1) % 4, None):
            z ^= z >> np.uint64(30)
            z *= _A
            z ^= z >> np.uint64(27)
            z *= _B
            z ^= z >> np.uint64(31)
            if other is not None:
                z += self._keys[other]
        return z


class Sums:
    """Sketches while rows are still summed into them.

    Args:
        places: Sketches.
        hashing: The site's hashes.
    """

    def __init__(self, places: int, hashing: Hashing) -> None:
        self._turns = [Scatter((places, hashing.width), np.uint32) for _ in range(TURNS)]

    def add(self, slots: Sequence[NDArray[np.int64]], hashes: Words) -> None:
        """Sum rows: their slots, from `Hashing.slots`, and the hashes whose low 32 bits they add."""
        words = low(hashes)
        for turn, at in zip(self._turns, slots, strict=True):
            turn.add(at, words)

    def filled(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many buckets of the first turn are not zero, in some of the sketches: no more than there are units."""
        return np.count_nonzero(self._turns[0].sums[places], axis=1).astype(np.int64)

    def copy(self) -> Sums:
        """The same, to go on from apart."""
        copied = copy(self)
        copied._turns = [turn.copy() for turn in self._turns]
        return copied

    def sketches(self) -> Sketches:
        """What was summed, one sketch a row."""
        return np.concatenate([turn.sums for turn in self._turns], axis=1)


def differing(one: Sketches, other: Sketches) -> NDArray[np.int64]:
    """In how many units sketches differ at least; shapes (..., size), the result without the last axis.

    >>> differing(np.array([1, 2, 3, 4, 5, 6], np.uint32), np.array([1, 0, 0, 4, 0, 0], np.uint32)).tolist()
    2
    """
    apart = one != other
    return np.count_nonzero(apart.reshape(*apart.shape[:-1], TURNS, apart.shape[-1] // TURNS), axis=-1).max(
        axis=-1
    )


def low(hashes: Words) -> NDArray[np.uint32]:
    """What a bucket sums. Those of units are odd and have an inverse, so that `span` can eliminate each unit."""
    return hashes.astype(np.uint32)


_PROBE = 1024


def _mostly_different(values: pa.Array) -> bool:
    """Whether a dictionary of the values would be about as long as they are, by the first of them."""
    return len(values) > _PROBE and len(values[:_PROBE].unique()) * 2 > _PROBE


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or _is_binary(kind)


def _is_binary(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _ticks(values: pa.Array) -> pa.Array:
    kind = values.type
    if pa.types.is_timestamp(kind):
        return values.cast(pa.timestamp("us", kind.tz), safe=False).cast(pa.int64())
    if pa.types.is_date(kind):
        return values.cast(pa.date32(), safe=False).cast(pa.int32())
    if pa.types.is_time(kind):
        return values.cast(pa.time64("us"), safe=False).cast(pa.int64())
    if pa.types.is_duration(kind):
        return values.cast(pa.duration("us"), safe=False).cast(pa.int64())
    return values.cast(pa.string())


def _numpy(values: pa.Array, null: Any) -> NDArray[Any]:
    if values.null_count:
        values = values.fill_null(null)
    return values.to_numpy(zero_copy_only=False)
