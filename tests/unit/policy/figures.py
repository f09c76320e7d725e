"""Figures over units of a test's choice."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from blossom.policy.ledger import Figure
from blossom.policy.sketch import Hashing, Sums

LEAST = 4
HASHING = Hashing(bytes(range(32)))


def figure(units: dict[int, int], least: int = LEAST, contents: dict[int, int] | None = None) -> Figure:
    """A figure over rows: unit -> how many; contents: unit -> the value folded."""
    hashes = HASHING.units(pa.array(list(units)))
    slots = HASHING.slots(np.zeros(len(units), np.int64), hashes)

    def sketch(words):
        sums = Sums(1, HASHING)
        sums.add(slots, words)
        return sums.sketches()[0]

    rows = np.repeat(hashes, list(units.values()))
    sums = Sums(1, HASHING)
    sums.add(HASHING.slots(np.zeros(len(rows), np.int64), rows), rows)
    held = {}
    if contents is not None:
        held["t.x"] = sketch(HASHING.contents(hashes, pa.array([contents[unit] for unit in units])))
    return Figure(least, sums.sketches()[0], held)
