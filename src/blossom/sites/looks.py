"""Decisions that a site remembers: the same look at rows that have not changed is not taken twice.

A decision depends on the rows looked at, on the rules and on the ledger. Rows and rules are the key. The ledger may have grown
since, but that changes nothing: every figure that was let on stands in it, and to give the same figures again tells nothing new;
what was held back stays back. Whatever is released later is compared with them as ever.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from blossom.plan.expressions import IMPURE, Subquery, has, walk
from blossom.plan.relations import (
    Aggregate,
    Constant,
    Distinct,
    Filter,
    Join,
    Project,
    Relation,
    Scan,
    SetOperation,
    Sort,
)
from blossom.plan.wire import fingerprint
from blossom.policy.guards import Stage
from blossom.policy.keys import Index
from blossom.policy.release import Decision

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

MOST_BYTES = 64 << 20
"""What a site's looks may take together."""

_REPEATABLE = (Aggregate, Constant, Distinct, Filter, Join, Project, Scan, SetOperation, Sort)
"""Relations that are the same for the same rows: no sample, no limit, no function, nothing received."""

_UNSTEADY = IMPURE | {
    "WindowFunction", "First", "Last", "Arbitrary", "ArgMin", "ArgMax", "Mode", "ArrayCollect", "GroupConcat",
}  # fmt: skip
"""Operations whose answer may differ for the same rows in another order, or at another time."""


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """A decision and the cells that it is about.

    Attributes:
        keys: Their group keys, one row a cell.
        controls: Rows of each facet in each cell.
        shown: Which cells may leave.
        hidden: How many cells each rule held back.
    """

    keys: pa.Table
    controls: tuple[Ints, ...]
    shown: Bools
    hidden: Mapping[str, int]

    def decision(self, keys: pa.Table, controls: Sequence[Ints]) -> Decision | None:
        """The decision about the same cells in whatever order; None where they are not the same.

        Args:
            keys: The group keys of a new result.
            controls: Its counts.
        """
        number = len(self.shown)
        if keys.num_rows != number or keys.schema != self.keys.schema:
            return None
        columns = [
            column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
            for column in keys.columns
        ]
        own = Index(self.keys, number).cells(columns, number)
        if (np.bincount(own, minlength=number + 1)[:number] != 1).any():
            return None
        if not all(
            np.array_equal(known[own], new) for known, new in zip(self.controls, controls, strict=True)
        ):
            return None
        return Decision(self.shown[own], self.hidden, ())

    @property
    def nbytes(self) -> int:
        """What it takes."""
        return self.keys.nbytes + self.shown.nbytes + sum(one.nbytes for one in self.controls)


class Looks:
    """The looks of one site, for as long as its process lives; the least recently used ones go first. Safe for many threads."""

    def __init__(self, most: int = MOST_BYTES) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._looks: OrderedDict[Hashable, Look] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._looks)

    def get(self, key: Hashable) -> Look | None:
        """The look under a key."""
        with self._lock:
            look = self._looks.get(key)
            if look is not None:
                self._looks.move_to_end(key)
            return look

    def put(self, key: Hashable, look: Look) -> None:
        """Remember a look, unless it alone is too large. Its figures must be in the ledger."""
        if look.nbytes > self._most:
            return
        with self._lock:
            known = self._looks.pop(key, None)
            self._bytes += look.nbytes - (0 if known is None else known.nbytes)
            self._looks[key] = look
            while self._bytes > self._most:
                self._bytes -= self._looks.popitem(last=False)[1].nbytes


def key(stage: Stage, version: Hashable) -> Hashable:
    """What a decision about a stage depends on, apart from the ledger.

    Args:
        stage: The stage.
        version: The versions of all its tables.
    """
    return fingerprint(stage.detail), stage.keys, stage.units, stage.facets, version


def tables(stage: Stage) -> frozenset[str] | None:
    """The tables whose rows alone decide what a stage sees; None where something else does."""
    found: set[str] = set()
    waiting: list[Relation] = [stage.query, stage.detail]
    while waiting:
        for node in waiting.pop().walk():
            if not isinstance(node, _REPEATABLE):
                return None
            if isinstance(node, Scan):
                found.add(node.table)
            for expression in node.expressions():
                if has(expression, _UNSTEADY):
                    return None
                waiting.extend(item.plan for item in walk(expression) if isinstance(item, Subquery))
    return frozenset(found)
