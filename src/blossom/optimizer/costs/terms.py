"""The terms that every cost is a sum of: how much of each kind of work a node is, in rows, pairs, bytes and values.

A cost is `sum(amount[term] * seconds_per_unit[term])`. The amounts here depend on the plan only; what a unit costs depends on
the engine (`prior`), and is learned for each platform of each site (`learned`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blossom.optimizer.cardinality import Cardinality
from blossom.plan.expressions import Call, conjuncts, has_window
from blossom.plan.relations import (
    Aggregate,
    Constant,
    Copies,
    Distinct,
    Filter,
    Join,
    Limit,
    MapBatches,
    Model,
    Parts,
    Predict,
    Project,
    Received,
    Relation,
    Sample,
    Scan,
    SetOperation,
    Sort,
    Unnest,
)

Floats = NDArray[np.float64]

ROWS = ("scan", "map", "join", "aggregate", "sort", "window", "function", "predict", "pass")
"""Kinds of work that are counted in rows."""

PAIRS = ("compare", "lookup")
"""Counted in pairs of rows that a join looks at: without any equality, and for a semi or anti join by equality (which most
engines do by hashing, for nothing more)."""

READ = ("read_bytes", "read_rows", "read_values")
"""Arrow that a platform takes in."""

WRITE = ("write_bytes", "write_rows", "write_values")
"""Arrow that a platform gives out."""

TERMS = ("start", "worker", *ROWS, *PAIRS, *READ, *WRITE)
"""Every term of a platform. `start` is counted in fragments, `worker` in Python functions, each of which gets a process."""

NUMBER: Mapping[str, int] = {term: number for number, term in enumerate(TERMS)}
MOVED = len(READ)
"""How many terms a move has at either end: bytes, rows, values."""

READS = slice(NUMBER[READ[0]], NUMBER[READ[0]] + MOVED)
WRITES = slice(NUMBER[WRITE[0]], NUMBER[WRITE[0]] + MOVED)

WORK: Mapping[type[Relation], str] = {
    Scan: "scan",
    Constant: "pass",
    Model: "pass",
    Project: "map",
    Filter: "map",
    Sample: "map",
    Unnest: "map",
    Join: "join",
    Aggregate: "aggregate",
    Distinct: "aggregate",
    Sort: "sort",
    Limit: "pass",
    SetOperation: "pass",
    Parts: "pass",
    Copies: "pass",
    MapBatches: "function",
    Predict: "predict",
}
"""The kind of work of each node."""

SURPRISE = 100.0
"""Rows after several joins and filters are often a hundredfold more than expected, and comparing pairs grows with their product."""


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """A node with the sizes that its work is counted from.

    Attributes:
        relation: The node.
        below: Sizes of what it reads.
        own: The size of what it gives.
    """

    relation: Relation
    below: Sequence[Cardinality]
    own: Cardinality


def amounts(work: Sequence[Work]) -> Floats:
    """(n, terms) the amount of each node's own work; moves and starts are not in it.

    >>> from blossom.plan.schema import Schema
    >>> scan = Work(Scan("t", Schema([("a", "int64")]), "north"), [], Cardinality.known(6e6, 32))
    >>> float(amounts([scan])[0, NUMBER["scan"]])
    6000000.0
    """
    found: Floats = np.zeros((len(work), len(TERMS)))
    for number, one in enumerate(work):
        _count(found[number], one)
    return found


def kind_of(relation: Relation) -> str:
    """The kind of a node's work, a key of `NUMBER`."""
    if isinstance(relation, Project) and any(has_window(value) for value in relation.expressions()):
        return "window"
    if isinstance(relation, Aggregate) and not relation.groups:
        return "map"  # rows are folded as they pass
    return WORK[type(relation)]


def _count(row: Floats, one: Work) -> None:
    node, below, own = one.relation, one.below, one.own
    if isinstance(node, Received):
        return  # taking it in is a move
    kind = kind_of(node)
    rows = sum(size.expected for size in below) + (own.expected if kind != "pass" or not below else 0.0)
    if isinstance(node, Scan):
        rows = own.expected
    elif kind in ("map", "aggregate", "sort", "window", "function", "predict"):
        rows = max(below[0].expected if below else 0.0, own.expected)
    row[NUMBER[kind]] = rows
    if isinstance(node, MapBatches):
        row[NUMBER["worker"]] = 1.0
    if isinstance(node, Join):
        for link, size in zip(node.links, below[1:], strict=False):
            equal = any(
                isinstance(p, Call) and p.op == "Equals" for each in link.predicates for p in conjuncts(each)
            )
            if equal and link.how not in ("semi", "anti"):
                continue
            pairs = min(below[0].high, SURPRISE * below[0].expected) * size.expected
            row[NUMBER["lookup" if equal else "compare"]] += pairs


def moved(size: Cardinality, columns: int) -> tuple[float, float, float]:
    """What a move of a relation is counted by: bytes, rows, values."""
    return size.bytes, size.expected, size.expected * columns
