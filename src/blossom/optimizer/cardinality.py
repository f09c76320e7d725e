"""How many rows and bytes each node gives: intervals from table sizes and column statistics; true sizes seen before win."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import ibis.expr.datatypes as dt

from blossom.optimizer.provenance import Provenance, StatisticsOf
from blossom.optimizer.selectivity import OTHER_SELECTIVITY, all_of, selectivity
from blossom.optimizer.statistics import NameStatistics, spread
from blossom.plan.expressions import Call, Column, Expression, columns, conjuncts
from blossom.plan.relations import (
    Aggregate,
    Constant,
    Copies,
    Distinct,
    Filter,
    Join,
    Limit,
    Link,
    MapBatches,
    Model,
    Parts,
    Predict,
    Relation,
    Sample,
    Scan,
    SetOperation,
    Train,
    Unnest,
)
from blossom.plan.schema import Schema, datatype

UNKNOWN_ROWS = (0.0, 100_000.0, 1e9)
"""Low, expected and high rows of a table of which nothing is known."""

UNNEST_ROWS = 5.0
"""Elements of an array, on average."""
ROW_FUNCTION_ROWS = 3.0
"""Rows that a row function gives for one row, on average."""

VARIABLE_BYTES = 24.0
"""Bytes of a string or binary value, its offset included."""
NESTED_BYTES = 64.0


@dataclass(frozen=True, slots=True)
class Cardinality:
    """Rows of a relation, and the bytes of one as Arrow.

    `low` and `high` bound what the planner holds possible; `expected` is what it costs with.
    """

    low: float
    expected: float
    high: float
    width: float

    @property
    def bytes(self) -> float:
        """Expected bytes of the whole relation."""
        return self.expected * self.width

    @classmethod
    def known(cls, rows: float, width: float) -> Cardinality:
        """A size that is certain."""
        return cls(rows, rows, rows, width)


@lru_cache(maxsize=4096)
def width(schema: Schema) -> float:
    """Bytes of one row as Arrow.

    >>> width(Schema([("a", "int64"), ("b", "boolean"), ("c", "string")]))
    32.125
    """
    return sum(_bytes_of(datatype(text)) for text in schema.values()) or 1.0


def _bytes_of(dtype: dt.DataType) -> float:
    if dtype.is_boolean():
        return 0.125
    if dtype.is_integer() or dtype.is_floating():
        return float(getattr(dtype, "nbytes", 8))
    if dtype.is_decimal() or dtype.is_uuid() or dtype.is_interval():
        return 16.0
    if dtype.is_date():
        return 4.0
    if dtype.is_timestamp() or dtype.is_time():
        return 8.0
    if dtype.is_string() or dtype.is_binary():
        return VARIABLE_BYTES
    return NESTED_BYTES


@dataclass(frozen=True, slots=True)
class Rows:
    """How many rows something had when it last ran: exact where the three are equal, else as closely as its owner tells."""

    low: float
    expected: float
    high: float

    @classmethod
    def exactly(cls, rows: float) -> Rows:
        """A count."""
        return cls(rows, rows, rows)

    @classmethod
    def rounded(cls, rows: float) -> Rows:
        """A count that was rounded up to a power of two."""
        return cls(rows / 2, rows * 0.75, rows)


class Sizes:
    """Sizes of the nodes of one plan, computed once each.

    Args:
        rows: Rows of each table by (site, table); None where nothing is known.
        remembered: True rows of sub-plans by fingerprint.
        fingerprint: Gives a sub-plan's fingerprint; needed where sizes are remembered. It is asked inputs before users.
        statistics: What is known of a column by (site, table, column).
        known: Sizes of nodes that need no estimate, such as `Received` leaves.
    """

    def __init__(
        self,
        rows: Callable[[str, str], int | None],
        remembered: Mapping[str, Rows] | None = None,
        fingerprint: Callable[[Relation], str] | None = None,
        statistics: StatisticsOf | None = None,
        known: Mapping[Relation, Cardinality] | None = None,
    ) -> None:
        self._rows = rows
        self._remembered = remembered or {}
        self._fingerprint = fingerprint if self._remembered else None
        self._known = known or {}
        self._done: dict[int, tuple[Relation, Cardinality]] = {}
        self._columns = Provenance(statistics, lambda node: self._done[id(node)][1].expected)

    def of(self, root: Relation) -> Cardinality:
        """The size of a node's output."""
        ready = all(id(child) in self._done for child in root.inputs)
        for node in (root,) if ready else root.walk():
            if id(node) not in self._done:
                self._done[id(node)] = node, self._one(node)
        return self._done[id(root)][1]

    def _one(self, node: Relation) -> Cardinality:
        known = self._known.get(node)
        if known is not None:
            return known
        wide = width(node.schema)
        if self._fingerprint is not None:
            seen = self._remembered.get(self._fingerprint(node))
            if seen is not None:
                return Cardinality(seen.low, seen.expected, seen.high, wide)
        below = [self._done[id(child)][1] for child in node.inputs]
        low, expected, high = self._interval(node, below)
        return Cardinality(min(low, expected), expected, max(high, expected), wide)

    def _interval(self, node: Relation, below: list[Cardinality]) -> tuple[float, float, float]:
        match node:
            case Scan():
                known = self._rows(node.site or "", node.table)
                return UNKNOWN_ROWS if known is None else (known, known, known)
            case Constant() | Model() | Train():
                return 1, 1, 1
            case Filter():
                (one,) = below
                share = all_of(node.predicates, lambda column: self._columns.of(node.input, column.name))
                return 0, one.expected * share, one.high
            case Join():
                return self._join(node, below)
            case Aggregate(groups=()):
                return 1, 1, 1
            case Aggregate():
                return self._groups(node, [value for _, value in node.groups], below[0])
            case Distinct():
                return self._groups(node, [node.input.column(name) for name in node.schema], below[0])
            case Limit():
                (one,) = below
                n = float("inf") if node.n is None else float(node.n)
                low, expected, high = (
                    min(n, max(0.0, rows - node.offset)) for rows in (one.low, one.expected, one.high)
                )
                return low, expected, high
            case Sample():
                (one,) = below
                return 0, one.expected * node.fraction, one.high
            case Unnest():
                (one,) = below
                return 0, one.expected * UNNEST_ROWS, one.high * UNNEST_ROWS**2
            case MapBatches(per="keep"):
                (one,) = below
                return 0, one.expected * OTHER_SELECTIVITY, one.high
            case MapBatches(per="group" | "fold"):
                return _distinct(below[0], len(node.by)) if node.by else (0, 1, below[0].high)
            case MapBatches(per="row"):
                (one,) = below
                return 0, one.expected * ROW_FUNCTION_ROWS, one.high * ROW_FUNCTION_ROWS**2
            case Predict():
                return below[0].low, below[0].expected, below[0].high
            case SetOperation(kind="intersection"):
                least = min(below, key=lambda one: one.expected)
                return 0, least.expected / 2, min(one.high for one in below)
            case SetOperation(kind="difference"):
                return 0, below[0].expected / 2, below[0].high
            case SetOperation(distinct=True):
                return (
                    0,
                    sum(one.expected for one in below) * 0.75,
                    sum(one.high for one in below),
                )
            case SetOperation() | Parts():
                return (
                    sum(one.low for one in below),
                    sum(one.expected for one in below),
                    sum(one.high for one in below),
                )
            case Copies():
                return below[0].low, below[0].expected, below[0].high
            case _:  # Project, Sort, MapBatches over batches: row for row
                return below[0].low, below[0].expected, below[0].high

    def _groups(
        self, node: Relation, keys: Sequence[Expression], one: Cardinality
    ) -> tuple[float, float, float]:
        """As many groups as the keys have values together; a key of which nothing is known splits the rows by a root of their number."""
        rows = max(one.expected, 0.0)
        found = [self._columns.made(key, node) for key in keys]
        counts = [each.distinct for each in found if each is not None and each.distinct is not None]
        if not counts:
            return _distinct(one, len(keys))
        unknown = len(keys) - len(counts)
        groups = spread(math.prod(counts), rows) * rows ** (unknown / (unknown + 2))
        return min(1.0, one.low), max(min(1.0, rows), min(groups, rows)), one.high

    def _join(self, node: Join, below: list[Cardinality]) -> tuple[float, float, float]:
        bounds = below[0].low, below[0].expected, below[0].high
        for i, (link, right) in enumerate(zip(node.links, below[1:], strict=True), 1):
            values = self._values(node, i, bounds[1], right.expected)
            bounds = _link(
                link, bounds, right, values, lambda c: self._columns.of(node.tables[c.input], c.name)
            )
        return bounds

    def _values(
        self, node: Join, right: int, left_rows: float, right_rows: float
    ) -> tuple[float, float] | None:
        """How many values the equal keys have among the tables before and in table `right`; None without such keys."""
        counts, most = [1.0, 1.0], [0.0, 0.0]
        bases: list[float] = []
        found = False
        for predicate in node.links[right - 1].predicates:
            for part in conjuncts(predicate):
                if not isinstance(part, Call) or part.op not in ("Equals", "IdenticalTo"):
                    continue
                sides = [arg for arg in part.args if isinstance(arg, Call | Column)]
                here = [arg for arg in sides if {c.input for c in columns(arg)} == {right}]
                there = [arg for arg in sides if right not in {c.input for c in columns(arg)}]
                if len(here) != 1 or len(there) != 1:
                    continue
                found = True
                for i, (side, rows) in enumerate(((there[0], left_rows), (here[0], right_rows))):
                    base = self._columns.base(side, node, rows)
                    most[i] = max(most[i], base)
                    known = self._columns.made(side, node)
                    counts[i] *= rows if known is None or known.distinct is None else known.distinct
                    if known is None or known.distinct is None:
                        bases.append(base)
        if not found:
            return None
        if bases:
            # Keys are unique on the smaller of the two, and the other's are found among them.
            several = min(bases) if len(bases) > 1 else min(bases[0], max(counts))
            return max(1.0, several), max(1.0, several)
        # the values of several keys together are no more than the rows that hold them
        return max(1.0, min(counts[0], most[0])), max(1.0, min(counts[1], most[1]))


def _distinct(one: Cardinality, keys: int) -> tuple[float, float, float]:
    """n ** (keys / (keys + 1)) groups: one key has about the square root of n values, and each further key splits them."""
    return min(1.0, one.low), max(one.expected, 0.0) ** (keys / (keys + 1)), one.high


def _link(
    link: Link,
    left: tuple[float, float, float],
    right: Cardinality,
    values: tuple[float, float] | None,
    of: NameStatistics,
) -> tuple[float, float, float]:
    """Rows after one more table.

    Args:
        link: How it joins.
        left: Rows of the tables before: low, expected, high.
        right: The table's.
        values: How many values its equal keys have on either side; the fewer are all found among the more (Selinger, 1979).
        of: Statistics of the join's input columns.
    """
    low, expected, high = left
    parts = [part for predicate in link.predicates for part in conjuncts(predicate)]
    keys = [part for part in parts if isinstance(part, Call) and part.op in ("Equals", "IdenticalTo")]
    matches = expected * right.expected
    met = 1 / 2
    if values is not None:
        matches /= max(values)
        met = min(1.0, spread(values[1], right.expected) / values[0])
    elif keys:
        matches /= max(expected, right.expected, 1.0)
    rest = math.prod(selectivity(part, of) for part in parts if part not in keys)
    matches *= rest
    most = high * right.high
    match link.how:
        case "semi":
            return 0, expected * met, high
        case "anti":
            return 0, expected * max(1 - met, LEAST_ANTI), high
        case "asof" | "any_left":
            return low, expected, high
        case "any_inner":
            return 0, min(expected, matches), high
        case "positional":
            return max(low, right.low), max(expected, right.expected), max(high, right.high)
        case "left":
            return low, max(expected, matches), max(high, most)
        case "right":
            return right.low, max(right.expected, matches), max(right.high, most)
        case "outer":
            return max(low, right.low), max(expected, right.expected, matches), most + high + right.high
        case _:
            return 0, matches, most


LEAST_ANTI = 1 / 10
"""The least share of rows that an anti join is taken to leave: that every key is found elsewhere is hardly ever why one is asked."""
