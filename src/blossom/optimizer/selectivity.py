"""The share of rows that a predicate keeps: from column statistics where they are known, else by textbook guesses."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from blossom.optimizer.statistics import ColumnStatistics, NameStatistics, number, of_expression
from blossom.plan.expressions import Call, Expression, Literal, Subquery, conjuncts

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

LEAST = 1e-6
"""Statistics may be old: no predicate is taken to keep nothing, or less than this share."""

MIRRORED = {"Less": "Greater", "LessEqual": "GreaterEqual", "Greater": "Less", "GreaterEqual": "LessEqual"}
"""The comparison seen from the other side."""


def nothing(_: object) -> None:
    """Where no statistics are known."""


def selectivity(predicate: Expression, of: NameStatistics = nothing) -> float:
    """The share of rows for which a predicate is expected to hold."""
    if isinstance(predicate, Literal):
        return 1.0 if predicate.value is True else 0.0
    if isinstance(predicate, Subquery):
        return SUBQUERY_SELECTIVITY
    if not isinstance(predicate, Call):
        return 1 / 2  # a bare boolean column
    match predicate.op, predicate.args:
        case "And", (left, right):
            return selectivity(left, of) * selectivity(right, of)  # pyright: ignore[reportArgumentType]
        case "Or", (left, right):
            one, two = selectivity(left, of), selectivity(right, of)  # pyright: ignore[reportArgumentType]
            return one + two - one * two
        case "Not", (inner,):
            return 1 - selectivity(inner, of)  # pyright: ignore[reportArgumentType]
        case "InValues", (needle, tuple() as options):
            each = _equal(needle, of)  # pyright: ignore[reportArgumentType]
            if each is None:
                return min(IN_LIST_MOST, len(options) * SELECTIVITY["Equals"])
            return min(1.0, len(options) * each)
        case (("Equals" | "IdenticalTo" | "NotEquals"), (left, right)):
            one, two = _equal(left, of), _equal(right, of)  # pyright: ignore[reportArgumentType]
            shares = [each for each in (one, two) if each is not None]
            if not shares or (len(shares) == 1 and not _has_literal(predicate)):
                return SELECTIVITY[predicate.op]
            return 1 - min(shares) if predicate.op == "NotEquals" else min(shares)
        case (("IsNull" | "NotNull"), (inner,)):
            found = of_expression(inner, of)  # pyright: ignore[reportArgumentType]
            if found is None:
                return SELECTIVITY[predicate.op]
            return max(LEAST, found.nulls if predicate.op == "IsNull" else 1 - found.nulls)
        case op, _:
            within = _range(predicate, of)
            return SELECTIVITY.get(op, OTHER_SELECTIVITY) if within is None else within.share


def all_of(predicates: Iterable[Expression], of: NameStatistics = nothing) -> float:
    """The share of rows for which every predicate holds. Bounds of one column are taken together, others as independent."""
    share = 1.0
    ranges: dict[Expression, _Range] = {}
    for predicate in predicates:
        for part in conjuncts(predicate):
            found = _range(part, of)
            if found is None:
                share *= selectivity(part, of)
            else:
                known = ranges.get(found.value)
                ranges[found.value] = found if known is None else known.and_(found)
    return share * math.prod(found.share for found in ranges.values())


@dataclass(frozen=True, slots=True)
class _Range:
    """Bounds on one value whose least and greatest are known."""

    value: Expression
    low: float
    high: float
    statistics: ColumnStatistics

    def and_(self, other: _Range) -> _Range:
        return _Range(self.value, max(self.low, other.low), min(self.high, other.high), self.statistics)

    @property
    def share(self) -> float:
        """As though the values were spread evenly."""
        low, high = self.statistics.low, self.statistics.high
        assert low is not None
        assert high is not None
        width = max(high - low, 1e-9)
        first, last = max(self.low, low), min(self.high, high)
        within = (last - first) / width
        if self.statistics.distinct and first <= last:  # one value at least
            within = max(within, 1 / self.statistics.distinct)
        return max(LEAST, min(1.0, within)) * (1 - self.statistics.nulls)


def _range(predicate: Expression, of: NameStatistics) -> _Range | None:
    """A comparison with a constant as bounds; None for everything else."""
    if not isinstance(predicate, Call):
        return None
    match predicate.op, predicate.args:
        case "Between", (value, Literal(one), Literal(two)):
            low, high = number(one), number(two)
        case (("Less" | "LessEqual" | "Greater" | "GreaterEqual") as op, (left, right)):
            if isinstance(left, Literal):
                op, left, right = MIRRORED[op], right, left
            if not isinstance(right, Literal):
                return None
            value, bound = left, number(right.value)
            low, high = (-math.inf, bound) if op.startswith("Less") else (bound, math.inf)
        case _:
            return None
    if low is None or high is None:
        return None
    found = of_expression(value, of)  # pyright: ignore[reportArgumentType]
    if found is None or found.low is None or found.high is None:
        return None
    return _Range(value, low, high, found)  # pyright: ignore[reportArgumentType]


def _equal(value: Expression, of: NameStatistics) -> float | None:
    """The share of rows that have any one value; None where the number of values is not known."""
    if isinstance(value, Literal):
        return None
    found = of_expression(value, of)
    if found is None or not found.distinct:
        return None
    return max(LEAST, (1 - found.nulls) / max(found.distinct, 1.0))


def _has_literal(predicate: Call) -> bool:
    return any(isinstance(arg, Literal) for arg in predicate.args)
