"""How many rows and bytes each node gives: intervals from table sizes by textbook selectivities; true sizes seen before win."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import ibis.expr.datatypes as dt

from blossom.plan.expressions import (
    Call,
    Expression,
    Literal,
    Subquery,
    conjuncts,
)
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

SELECTIVITY: Mapping[str, float] = {
    # Selinger et al., "Access path selection in a relational database management system", 1979, table 1, and habit.
    "Equals": 1 / 10,
    "IdenticalTo": 1 / 10,
    "NotEquals": 9 / 10,
    "Less": 1 / 3,
    "LessEqual": 1 / 3,
    "Greater": 1 / 3,
    "GreaterEqual": 1 / 3,
    "Between": 1 / 4,
    "StringSQLLike": 1 / 10,
    "StringSQLILike": 1 / 10,
    "StringContains": 1 / 10,
    "StartsWith": 1 / 10,
    "EndsWith": 1 / 10,
    "RegexSearch": 1 / 10,
    "IsNull": 1 / 20,
    "NotNull": 19 / 20,
}
OTHER_SELECTIVITY = 1 / 3
SUBQUERY_SELECTIVITY = 1 / 2
IN_LIST_MOST = 1 / 2

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


def selectivity(predicate: Expression) -> float:
    """The share of rows for which a predicate is expected to hold."""
    if isinstance(predicate, Literal):
        return 1.0 if predicate.value is True else 0.0
    if isinstance(predicate, Subquery):
        return SUBQUERY_SELECTIVITY
    if not isinstance(predicate, Call):
        return 1 / 2  # a bare boolean column
    match predicate.op, predicate.args:
        case "And", (left, right):
            return selectivity(left) * selectivity(right)  # pyright: ignore[reportArgumentType]
        case "Or", (left, right):
            one, two = selectivity(left), selectivity(right)  # pyright: ignore[reportArgumentType]
            return one + two - one * two
        case "Not", (inner,):
            return 1 - selectivity(inner)  # pyright: ignore[reportArgumentType]
        case "InValues", (_, tuple() as options):
            return min(IN_LIST_MOST, len(options) * SELECTIVITY["Equals"])
        case op, _:
            return SELECTIVITY.get(op, OTHER_SELECTIVITY)


class Sizes:
    """Sizes of the nodes of one plan, computed once each.

    Args:
        rows: Rows of each table by (site, table); None where nothing is known.
        remembered: True rows of sub-plans by fingerprint.
        fingerprint: Gives a sub-plan's fingerprint; needed where sizes are remembered.
    """

    def __init__(
        self,
        rows: Callable[[str, str], int | None],
        remembered: Mapping[str, int] | None = None,
        fingerprint: Callable[[Relation], str] | None = None,
    ) -> None:
        self._rows = rows
        self._remembered = remembered or {}
        self._fingerprint = fingerprint if self._remembered else None
        self._done: dict[int, tuple[Relation, Cardinality]] = {}

    def of(self, root: Relation) -> Cardinality:
        """The size of a node's output."""
        ready = all(id(child) in self._done for child in root.inputs)
        for node in (root,) if ready else root.walk():
            if id(node) not in self._done:
                self._done[id(node)] = node, self._one(node)
        return self._done[id(root)][1]

    def _one(self, node: Relation) -> Cardinality:
        wide = width(node.schema)
        if self._fingerprint is not None:
            seen = self._remembered.get(self._fingerprint(node))
            if seen is not None:
                return Cardinality.known(seen, wide)
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
                share = 1.0
                for predicate in node.predicates:
                    for part in conjuncts(predicate):
                        share *= selectivity(part)
                (one,) = below
                return 0, one.expected * share, one.high
            case Join():
                return _join(node, below)
            case Aggregate(groups=()):
                return 1, 1, 1
            case Aggregate():
                return _distinct(below[0], len(node.groups))
            case Distinct():
                return _distinct(below[0], len(node.schema))
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


def _distinct(one: Cardinality, keys: int) -> tuple[float, float, float]:
    """n ** (keys / (keys + 1)) groups: one key has about the square root of n values, and each further key splits them."""
    return min(1.0, one.low), max(one.expected, 0.0) ** (keys / (keys + 1)), one.high


def _join(node: Join, below: list[Cardinality]) -> tuple[float, float, float]:
    expected, high = below[0].expected, below[0].high
    low = below[0].low
    for link, right in zip(node.links, below[1:], strict=True):
        low, expected, high = _link(link, (low, expected, high), right)
    return low, expected, high


def _link(link: Link, left: tuple[float, float, float], right: Cardinality) -> tuple[float, float, float]:
    low, expected, high = left
    parts = [part for predicate in link.predicates for part in conjuncts(predicate)]
    keys = [part for part in parts if isinstance(part, Call) and part.op in ("Equals", "IdenticalTo")]
    matches = expected * right.expected
    if keys:  # each row of the larger side meets one of the smaller: keys and foreign keys
        matches /= max(expected, right.expected, 1.0)
    for part in parts:
        if part not in keys:
            matches *= selectivity(part)
    most = high * right.high
    match link.how:
        case "semi":
            return 0, expected / 2, high
        case "anti":
            return 0, expected / 2, high
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
